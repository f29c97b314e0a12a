/* The receivers that come over HTTP and gRPC: check, decode, pass, answer when durable. */
#include "engine/engine_internal.h"

#include "base/mem.h"
#include "ingest/remote_write_fast.h"
#include "os/clock.h"

#include <snappy-c.h>
#include <stdio.h>
#include <stdlib.h>

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

/* ------------------------------------------------------------------ remote write */

/* Uncompressed body of a snappy block, in shard->decoded. HK_E_MALFORMED, HK_E_LIMIT. */
static hk_err unsnap(struct hk_shard *shard, struct hk_str body, struct hk_str *out) {
    size_t bytes = 0;
    if (snappy_uncompressed_length(body.ptr, body.len, &bytes) != SNAPPY_OK) {
        return hk_fail(HK_E_MALFORMED, "snappy: the body is not a snappy block");
    }
    size_t bytes_max = (size_t)shard->engine->config->limits.decoded_bytes;
    if (bytes > bytes_max) {
        return hk_fail(
            HK_E_LIMIT, "snappy: %zu bytes uncompressed, at most %zu are accepted", bytes,
            bytes_max);
    }
    hk_buf_clear(&shard->decoded);
    char *to = hk_buf_reserve(&shard->decoded, bytes + 1);
    if (to == NULL) return HK_E_NOMEM;
    if (snappy_uncompress(body.ptr, body.len, to, &bytes) != SNAPPY_OK) {
        return hk_fail(HK_E_MALFORMED, "snappy: damaged block");
    }
    *out = (struct hk_str){ to, bytes };
    return HK_OK;
}

/* Remote Write 1.0 with this shard's predictor compiled in. */
static hk_err parse_rw1(void *state, struct hk_batch *batch) {
    struct hk_pass_guess *guess = state;
    return hk_rw1_parse_with(guess->rw1, batch, hk_pass_predict, guess);
}

static hk_err labels_rw1(
    void *state, struct hk_batch *batch, const struct hk_entry *entry, struct hk_label_set *out) {
    struct hk_pass_guess *guess = state;
    return hk_parser_remote_write_1.labels(guess->rw1, batch, entry, out);
}

static const struct hk_metric_parser parser_rw1 = {
    .name = "remote_write_1",
    .parse = parse_rw1,
    .labels = labels_rw1,
};

/* ------------------------------------------------------------------ a request */

struct request {
    struct hk_shard *shard;
    struct hk_http_exchange *exchange;
    const struct hk_http_request *http;
    enum hk_ledger_receiver receiver;
    enum hk_answer answer;
    struct hk_str body; /* decoded */
};

/* 0, or the status to refuse with (the text is hk_fail_text()). */
static int decode_remote_write(struct request *request) {
    bool known = false;
    struct hk_str type = hk_http_header_get(request->http, HK_STR("content-type"));
    bool second = hk_rw_content_type_is_v2(type, &known);
    if (!known && type.len > 0) {
        (void)hk_fail(HK_E_UNSUPPORTED, "content type %.*s is not supported", HK_STR_ARG(type));
        return 415;
    }
    request->answer = second ? HK_ANSWER_RW2 : HK_ANSWER_NO_CONTENT;
    struct hk_str encoding = hk_http_header_get(request->http, HK_STR("content-encoding"));
    /* zstd and gzip were undone by the HTTP layer. */
    bool plain = hk_str_is(encoding, "zstd") || hk_str_is(encoding, "gzip");
    request->body = request->http->body;
    if (plain) return 0;
    if (encoding.len > 0 && !hk_str_is(encoding, "snappy")) {
        (void)hk_fail(
            HK_E_UNSUPPORTED, "content encoding %.*s is not supported, use snappy or zstd",
            HK_STR_ARG(encoding));
        return 415;
    }
    hk_err err = unsnap(request->shard, request->http->body, &request->body);
    return err >= 0 ? 0 : err == HK_E_LIMIT ? 413 : err == HK_E_NOMEM ? 503 : 400;
}

static int decode_otlp(struct request *request) {
    struct hk_shard *shard = request->shard;
    request->body = request->http->body;
    if (request->answer == HK_ANSWER_OTLP_GRPC) return 0;
    struct hk_str type = hk_http_header_get(request->http, HK_STR("content-type"));
    if (hk_str_starts(type, HK_STR("application/json"))) {
        request->answer = HK_ANSWER_OTLP_JSON;
        hk_buf_clear(&shard->decoded);
        hk_err err = hk_otlp_json_to_proto(HK_OTLP_METRICS, request->body, &shard->decoded);
        if (err < 0) return err == HK_E_NOMEM ? 503 : err == HK_E_LIMIT ? 413 : 400;
        request->body = hk_buf_get(&shard->decoded);
        return 0;
    }
    if (hk_str_starts(type, HK_STR("application/x-protobuf"))) return 0;
    (void)hk_fail(
        HK_E_UNSUPPORTED,
        "content type \"%.*s\" is not supported, use application/x-protobuf or application/json",
        HK_STR_ARG(type));
    return 415;
}

static hk_err run_pass(const struct request *request, struct hk_pass_run *run) {
    struct hk_shard *shard = request->shard;
    struct hk_engine *engine = shard->engine;
    if (request->answer == HK_ANSWER_NO_CONTENT) {
        hk_rw1_init(&shard->rw1, request->body, engine->identity_base);
        struct hk_pass_guess guess = {
            .pass = &shard->pass,
            .cursor = run->cursor,
            .context = &shard->rw1.context,
            .rw1 = &shard->rw1,
        };
        run->parser = &parser_rw1;
        run->state = &guess;
        return hk_pass_run(&shard->pass, run);
    }
    if (request->answer == HK_ANSWER_RW2) {
        hk_rw2_init(shard->rw2, request->body, engine->identity_base, shard->seen);
        run->parser = &hk_parser_remote_write_2;
        run->state = shard->rw2;
        return hk_pass_run(&shard->pass, run);
    }
    hk_otlp_init(shard->otlp, request->body, engine->identity_base, &engine->otlp, shard->seen);
    run->parser = &hk_parser_otlp;
    run->state = shard->otlp;
    return hk_pass_run(&shard->pass, run);
}

/* Status of a request that was taken: 0 = success. */
static int status_of(const struct request *request, hk_err err, const struct hk_pass_run *run) {
    bool otlp = request->answer != HK_ANSWER_NO_CONTENT && request->answer != HK_ANSWER_RW2;
    if (run->refused_memory) return 429;
    if (err == HK_E_LIMIT) return 413;
    if (err == HK_E_NOMEM) return 503;
    if (err < 0) return 400;
    return run->rejected > 0 && !otlp ? 400 : 0;
}

static void take(struct request *request) {
    struct hk_shard *shard = request->shard;
    struct hk_pass_run run = {
        .receiver = request->receiver,
        .arena = &shard->arena,
        .cursor = hk_pass_cursor(&shard->pass, request->http->peer),
    };
    shard->readable_ns = request->http->readable_ns;
    hk_alerts_begin(shard, hk_clock_realtime_ms());
    hk_err err = run_pass(request, &run);
    hk_alerts_commit(shard, hk_clock_realtime_ms());
    int64_t decided_ns = hk_clock_monotonic_ns();
    uint64_t commit = hk_store_publish(shard->pass.shard);
    hk_lag_add(&shard->engine->lag, HK_HOP_DECIDED, decided_ns - request->http->readable_ns);
    hk_lag_add(
        &shard->engine->lag, HK_HOP_VISIBLE, hk_clock_monotonic_ns() - request->http->readable_ns);
    struct hk_arena *arena = hk_http_arena(request->exchange);
    struct hk_waiting *waiting = hk_arena_alloc(arena, 1, sizeof(*waiting));
    if (waiting == NULL) {
        hk_receive_refuse(request->exchange, request->answer, 503, HK_STR("out of memory"), 1);
        return;
    }
    *waiting = (struct hk_waiting){
        .exchange = request->exchange,
        .commit = commit,
        .received_ns = request->http->readable_ns,
        .answer = request->answer,
        .status = status_of(request, err, &run),
        .text = hk_arena_str(arena, hk_str_from(run.text)),
        .rejected = run.rejected,
        .samples = run.stored - run.histograms,
        .histograms = run.histograms,
        .exemplars = run.exemplars,
    };
    hk_shard_wait(shard, waiting);
}

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
    struct request request = {
        .shard = shard,
        .exchange = exchange,
        .http = hk_http_get_request(exchange),
        .receiver = receiver,
        .answer = first_guess(receiver),
    };
    if (!hk_str_is(request.http->method, "POST")) {
        hk_http_respond(exchange, 405, HK_STR("text/plain"), HK_STR("use POST\n"));
        return;
    }
    if (!may_receive(shard, exchange, request.answer)) return;
    int status = receiver == HK_RECEIVER_REMOTE_WRITE ? decode_remote_write(&request)
                                                      : decode_otlp(&request);
    if (status != 0) {
        hk_receive_refuse(
            exchange, request.answer, status, hk_str_from(hk_fail_text()), status == 503 ? 1 : 0);
        return;
    }
    take(&request);
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
