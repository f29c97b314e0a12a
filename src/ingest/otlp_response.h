/*
 * Answers of OTLP (OTLP specification 1.x, "OTLP/HTTP Response", "Failures"): the service's
 * response with or without partial success, and google.rpc.Status for failures, as protobuf (also
 * what goes into grpc-status-details-bin) or JSON. Pure; errors stick in the buffer.
 */
#ifndef HK_INGEST_OTLP_RESPONSE_H
#define HK_INGEST_OTLP_RESPONSE_H

#include "ingest/otlp_json.h"

/* What was not taken. A text with nothing rejected is a warning. */
struct hk_otlp_partial {
    uint64_t rejected;
    struct hk_str text;
    enum hk_otlp_signal signal; /* names the count in JSON; 0 = metrics */
};

/* Export…ServiceResponse: empty when nothing was rejected and there is no text. */
void hk_otlp_response(const struct hk_otlp_partial *partial, struct hk_buf *out);
void hk_otlp_response_json(const struct hk_otlp_partial *partial, struct hk_buf *out);

/* google.rpc.Status with a gRPC code, and a RetryInfo if `retry_ms` is greater than 0. */
void hk_rpc_status(int grpc_code, struct hk_str text, int64_t retry_ms, struct hk_buf *out);
void hk_rpc_status_json(int grpc_code, struct hk_str text, int64_t retry_ms, struct hk_buf *out);

#endif
