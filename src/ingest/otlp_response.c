/* Answers of OTLP. */
#include "ingest/otlp_response.h"

#include <inttypes.h>

static const char retry_type[] = "type.googleapis.com/google.rpc.RetryInfo";

void hk_otlp_response(const struct hk_otlp_partial *partial, struct hk_buf *out) {
    if (partial->rejected == 0 && partial->text.len == 0) return;
    const size_t begin = hk_proto_begin(out, 1);
    if (partial->rejected > 0) hk_proto_put_varint(out, 1, partial->rejected);
    if (partial->text.len > 0) hk_proto_put_str(out, 2, partial->text);
    hk_proto_end(out, begin);
}

void hk_otlp_response_json(const struct hk_otlp_partial *partial, struct hk_buf *out) {
    static const char *const counts[] = {
        [HK_OTLP_METRICS] = "rejectedDataPoints",
        [HK_OTLP_LOGS] = "rejectedLogRecords",
        [HK_OTLP_TRACES] = "rejectedSpans",
    };
    hk_buf_char(out, '{');
    if (partial->rejected > 0 || partial->text.len > 0) {
        hk_buf_printf(
            out,
            "\"partialSuccess\":{\"%s\":\"%" PRIu64 "\",\"errorMessage\":", counts[partial->signal],
            partial->rejected);
        hk_buf_json(out, partial->text);
        hk_buf_char(out, '}');
    }
    hk_buf_char(out, '}');
}

void hk_rpc_status(int grpc_code, struct hk_str text, int64_t retry_ms, struct hk_buf *out) {
    if (grpc_code != 0) hk_proto_put_varint(out, 1, (uint64_t)grpc_code);
    if (text.len > 0) hk_proto_put_str(out, 2, text);
    if (retry_ms <= 0) return;
    const size_t any = hk_proto_begin(out, 3);
    hk_proto_put_str(out, 1, hk_str_from(retry_type));
    const size_t info = hk_proto_begin(out, 2);
    const size_t delay = hk_proto_begin(out, 1);
    if (retry_ms >= 1000) hk_proto_put_varint(out, 1, (uint64_t)(retry_ms / 1000));
    if (retry_ms % 1000 != 0) hk_proto_put_varint(out, 2, (uint64_t)(retry_ms % 1000) * 1000000);
    hk_proto_end(out, delay);
    hk_proto_end(out, info);
    hk_proto_end(out, any);
}

void hk_rpc_status_json(int grpc_code, struct hk_str text, int64_t retry_ms, struct hk_buf *out) {
    hk_buf_printf(out, "{\"code\":%d,\"message\":", grpc_code);
    hk_buf_json(out, text);
    if (retry_ms > 0) {
        hk_buf_printf(
            out, ",\"details\":[{\"@type\":\"%s\",\"retryDelay\":\"%" PRId64 ".%03ds\"}]",
            retry_type, retry_ms / 1000, (int)(retry_ms % 1000));
    }
    hk_buf_char(out, '}');
}
