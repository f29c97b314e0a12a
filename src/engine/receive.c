/* The receivers that come over HTTP and gRPC: which request is whose, and its headers. */
#include "engine/engine_internal.h"

static const struct {
    const char *path;
    enum hk_ledger_receiver receiver;
} receivers[] = {
    { "/api/v1/write", HK_RECEIVER_REMOTE_WRITE },
    { "/v1/metrics", HK_RECEIVER_OTLP_HTTP },
    { "/api/v1/otlp/v1/metrics", HK_RECEIVER_OTLP_HTTP },
    { "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export", HK_RECEIVER_OTLP_GRPC },
};

/* google.rpc.Code of an HTTP status (OTLP specification, "Failures"). */
static int grpc_code(int status) {
    switch (status) {
    case 400:
    case 415:
        return 3;
    case 413:
    case 429:
    case HK_STATUS_DISK_FULL:
        return 8;
    case 503:
        return 14;
    default:
        return 13;
    }
}

void hk_receive_refuse(
    struct hk_http_exchange *exchange, enum hk_answer answer, int status, struct hk_str text,
    int retry_s) {
    int http_status = status == HK_STATUS_DISK_FULL ? 503 : status;
    struct hk_buf details;
    hk_buf_init(&details, 65536);
    if (retry_s > 0) {
        hk_http_add_header(
            exchange, HK_STR("Retry-After"),
            hk_arena_printf(hk_http_arena(exchange), "%d", retry_s));
    }
    switch (answer) {
    case HK_ANSWER_OTLP_GRPC:
        hk_rpc_status(grpc_code(status), text, retry_s * 1000, &details);
        hk_grpc_respond(
            exchange, grpc_code(status), HK_STR(""), text,
            retry_s > 0 ? hk_buf_get(&details) : HK_STR(""));
        break;
    case HK_ANSWER_OTLP_PROTO:
        hk_rpc_status(grpc_code(status), text, 0, &details);
        hk_http_respond(
            exchange, http_status, HK_STR("application/x-protobuf"), hk_buf_get(&details));
        break;
    case HK_ANSWER_OTLP_JSON:
        hk_rpc_status_json(grpc_code(status), text, 0, &details);
        hk_http_respond(exchange, http_status, HK_STR("application/json"), hk_buf_get(&details));
        break;
    case HK_ANSWER_INFLUX:
        hk_http_respond(exchange, http_status, HK_STR("application/json"), text);
        break;
    case HK_ANSWER_NO_CONTENT:
    case HK_ANSWER_RW2:
    case HK_ANSWER_OK:
    case HK_ANSWER_ACCEPTED:
    default:
        hk_buf_str(&details, text);
        hk_buf_char(&details, '\n');
        hk_http_respond(
            exchange, http_status, HK_STR("text/plain; charset=utf-8"), hk_buf_get(&details));
        break;
    }
    hk_buf_deinit(&details);
}

/* ------------------------------------------------------------------ headers */

/* 0, or the status to refuse with (the text is hk_fail_text()). */
static int check_remote_write(const struct hk_http_request *http, struct hk_body *body) {
    bool known = false;
    struct hk_str type = hk_http_header_get(http, HK_STR("content-type"));
    bool second = hk_rw_content_type_is_v2(type, &known);
    if (!known && type.len > 0) {
        (void)hk_fail(HK_E_UNSUPPORTED, "content type %.*s is not supported", HK_STR_ARG(type));
        return 415;
    }
    body->answer = second ? HK_ANSWER_RW2 : HK_ANSWER_NO_CONTENT;
    struct hk_str encoding = hk_http_header_get(http, HK_STR("content-encoding"));
    /* zstd and gzip were undone by the HTTP layer. */
    bool plain = hk_str_is(encoding, "zstd") || hk_str_is(encoding, "gzip");
    if (plain) return 0;
    body->coding = HK_BODY_SNAPPY;
    if (encoding.len == 0 || hk_str_is(encoding, "snappy")) return 0;
    (void)hk_fail(
        HK_E_UNSUPPORTED, "content encoding %.*s is not supported, use snappy or zstd",
        HK_STR_ARG(encoding));
    return 415;
}

static int check_otlp(const struct hk_http_request *http, struct hk_body *body) {
    if (body->answer == HK_ANSWER_OTLP_GRPC) return 0;
    struct hk_str type = hk_http_header_get(http, HK_STR("content-type"));
    if (hk_str_starts(type, HK_STR("application/json"))) {
        body->answer = HK_ANSWER_OTLP_JSON;
        body->coding = HK_BODY_OTLP_JSON;
        return 0;
    }
    if (hk_str_starts(type, HK_STR("application/x-protobuf"))) return 0;
    (void)hk_fail(
        HK_E_UNSUPPORTED,
        "content type \"%.*s\" is not supported, use application/x-protobuf or application/json",
        HK_STR_ARG(type));
    return 415;
}

/* ------------------------------------------------------------------ a request */

static enum hk_answer first_guess(enum hk_ledger_receiver receiver) {
    if (receiver == HK_RECEIVER_OTLP_GRPC) return HK_ANSWER_OTLP_GRPC;
    if (receiver == HK_RECEIVER_OTLP_HTTP) return HK_ANSWER_OTLP_PROTO;
    return HK_ANSWER_NO_CONTENT;
}

/* Refuses while nothing can be made durable or there is no room. False: refused. */
static bool
may_receive(struct hk_shard *shard, struct hk_http_exchange *exchange, enum hk_answer answer) {
    int disk = atomic_load_explicit(&shard->disk_err, memory_order_acquire);
    if (disk < 0) {
        struct hk_str text = disk == HK_E_NOSPACE
                                 ? HK_STR("disk is full: nothing can be made durable")
                                 : HK_STR("the log cannot be written");
        int status = disk == HK_E_NOSPACE ? HK_STATUS_DISK_FULL : 503;
        hk_receive_refuse(exchange, answer, status, text, 5);
        return false;
    }
    if (!hk_store_has_room(shard->pass.shard)) {
        hk_receive_refuse(exchange, answer, 503, HK_STR("sealing does not keep up, send again"), 1);
        return false;
    }
    hk_arena_reset(&shard->arena);
    hk_fail_clear();
    return true;
}

static void receive(
    struct hk_shard *shard, struct hk_http_exchange *exchange, enum hk_ledger_receiver receiver) {
    const struct hk_http_request *http = hk_http_get_request(exchange);
    if (!hk_str_is(http->method, "POST")) {
        hk_http_respond(exchange, 405, HK_STR("text/plain"), HK_STR("use POST\n"));
        return;
    }
    enum hk_answer answer = first_guess(receiver);
    if (!may_receive(shard, exchange, answer)) return;
    struct hk_body *body = hk_arena_alloc(hk_http_arena(exchange), 1, sizeof(*body));
    if (body == NULL) {
        hk_receive_refuse(exchange, answer, 503, HK_STR("out of memory"), 1);
        return;
    }
    body->exchange = exchange;
    body->receiver = receiver;
    body->answer = answer;
    int status = receiver == HK_RECEIVER_REMOTE_WRITE ? check_remote_write(http, body)
                                                      : check_otlp(http, body);
    if (status != 0) {
        hk_receive_refuse(exchange, body->answer, status, hk_str_from(hk_fail_text()), 0);
        return;
    }
    hk_bodies_add(shard, body);
}

/* Paths of Influx and Pushgateway clients. */
static bool receive_others(
    struct hk_shard *shard, struct hk_http_exchange *exchange, const struct hk_http_request *http) {
    bool post = hk_str_is(http->method, "POST");
    bool v1 = hk_str_is(http->path, "/write");
    bool v2 = hk_str_is(http->path, "/api/v2/write");
    if (shard->engine->config->influx.enabled && post && (v1 || v2)) {
        if (may_receive(shard, exchange, HK_ANSWER_INFLUX)) hk_receive_influx(shard, exchange, v2);
        return true;
    }
    if (hk_str_is(http->path, "/ping")) {
        hk_http_add_header(exchange, HK_STR("X-Influxdb-Version"), HK_STR("hark " HK_VERSION));
        hk_http_respond(exchange, 204, HK_STR(""), HK_STR(""));
        return true;
    }
    bool changes = post || hk_str_is(http->method, "PUT") || hk_str_is(http->method, "DELETE");
    bool pushed = hk_str_starts(http->path, HK_STR("/metrics/job"));
    if (shard->push == NULL || !changes || !pushed) return false;
    if (may_receive(shard, exchange, HK_ANSWER_NO_CONTENT)) hk_receive_push(shard, exchange);
    return true;
}

bool hk_receive(struct hk_shard *shard, struct hk_http_exchange *exchange) {
    const struct hk_http_request *http = hk_http_get_request(exchange);
    if (receive_others(shard, exchange, http)) return true;
    for (size_t i = 0; i < HK_COUNT(receivers); i++) {
        if (!hk_str_is(http->path, receivers[i].path)) continue;
        bool grpc = receivers[i].receiver == HK_RECEIVER_OTLP_GRPC;
        if (grpc != http->grpc) continue;
        receive(shard, exchange, receivers[i].receiver);
        return true;
    }
    return false;
}
