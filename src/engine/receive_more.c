/* Receivers of other protocols over HTTP: Influx line protocol and Pushgateway paths. */
#include "engine/engine_internal.h"

#include "base/mem.h"
#include "ingest/exposition.h"
#include "ingest/influx.h"
#include "ingest/openmetrics.h"
#include "ingest/prom_proto.h"
#include "os/clock.h"

enum { ERRORS_BYTES_MAX = 65536 };

static hk_err
run(struct hk_shard *shard, const struct hk_http_request *http, enum hk_ledger_receiver receiver,
    const struct hk_metric_parser *parser, void *state, struct hk_pass_run *out) {
    *out = (struct hk_pass_run){
        .receiver = receiver,
        .parser = parser,
        .state = state,
        .arena = &shard->arena,
        .cursor = hk_pass_cursor(&shard->pass, http->peer),
    };
    shard->readable_ns = http->readable_ns;
    hk_shard_turn(shard, HK_TURN_REQUEST);
    hk_alerts_begin(shard, hk_clock_realtime_ms());
    hk_err err = hk_pass_run(&shard->pass, out);
    hk_alerts_commit(shard, hk_clock_realtime_ms());
    hk_lag_add(&shard->engine->lag, HK_HOP_DECIDED, hk_clock_monotonic_ns() - http->readable_ns);
    return err;
}

static void wait_for_commit(
    struct hk_shard *shard, struct hk_http_exchange *exchange, enum hk_answer answer, int status,
    struct hk_str text) {
    struct hk_arena *arena = hk_http_arena(exchange);
    struct hk_waiting *waiting = hk_arena_alloc(arena, 1, sizeof(*waiting));
    uint64_t commit = hk_store_publish(shard->pass.shard);
    if (waiting == NULL) {
        hk_receive_refuse(exchange, answer, 503, HK_STR("out of memory"), 1);
        return;
    }
    *waiting = (struct hk_waiting){
        .exchange = exchange,
        .commit = commit,
        .received_ns = hk_http_get_request(exchange)->readable_ns,
        .answer = answer,
        .status = status,
        .text = hk_arena_str(arena, text),
    };
    hk_shard_wait(shard, waiting);
}

/* ------------------------------------------------------------------ Influx */

void hk_receive_influx(struct hk_shard *shard, struct hk_http_exchange *exchange, bool v2) {
    const struct hk_http_request *http = hk_http_get_request(exchange);
    struct hk_str text = HK_STR("");
    enum hk_influx_precision precision = HK_INFLUX_NS;
    struct hk_buf errors;
    struct hk_buf body;
    hk_buf_init(&errors, ERRORS_BYTES_MAX);
    hk_buf_init(&body, ERRORS_BYTES_MAX * 2);
    (void)hk_http_param(http, HK_STR("precision"), 0, &shard->arena, &text);
    if (hk_influx_precision_parse(text, &precision) < 0) {
        hk_receive_refuse(exchange, HK_ANSWER_NO_CONTENT, 400, hk_str_from(hk_fail_text()), 0);
        return;
    }
    struct hk_context context = {
        .hash = hk_hash_mix(shard->engine->identity_base, hk_hash128("influx", 6)),
    };
    struct hk_influx state;
    hk_influx_init(&state, http->body, &context, hk_clock_realtime_ms(), precision);
    state.errors = &errors;
    struct hk_pass_run result;
    hk_err err = run(shard, http, HK_RECEIVER_INFLUX, &hk_influx_parser, &state, &result);
    int status = result.refused_memory ? 429 : err < 0 || state.lines_bad > 0 ? 400 : 0;
    struct hk_str detail = errors.len > 0 ? hk_buf_get(&errors) : hk_str_from(result.text);
    if (status != 0 && v2) {
        hk_influx_error_v2(
            &body, status == 429 ? "too many requests" : "invalid", detail, state.line_first_bad);
    } else if (status != 0) {
        hk_influx_error_v1(&body, detail, result.stored, state.lines_bad);
    }
    wait_for_commit(shard, exchange, HK_ANSWER_INFLUX, status, hk_buf_get(&body));
    hk_buf_deinit(&errors);
    hk_buf_deinit(&body);
}

/* ------------------------------------------------------------------ Pushgateway */

union push_parser {
    struct hk_exposition text;
    struct hk_openmetrics openmetrics;
    struct hk_prom_proto proto;
};

/* Plain text is also what comes without a type, and with the ones that curl --data-binary and other
 * simple clients send. */
static bool is_push_text(struct hk_str media) {
    return media.len == 0 || hk_str_eq_nocase(media, HK_STR("text/plain")) ||
           hk_str_eq_nocase(media, HK_STR("application/x-www-form-urlencoded")) ||
           hk_str_eq_nocase(media, HK_STR("application/octet-stream"));
}

static hk_err begin_push(
    union push_parser *state, const struct hk_http_request *http, const struct hk_context *context,
    const struct hk_metric_parser **out) {
    struct hk_str type = hk_http_header_get(http, HK_STR("content-type"));
    struct hk_str media = hk_str_trim(hk_str_part(type, 0, hk_str_find(type, ';', 0)));
    if (hk_str_eq_nocase(media, HK_STR("application/openmetrics-text"))) {
        hk_openmetrics_init(&state->openmetrics, http->body, context, HK_PUSH_NO_STAMP);
        *out = &hk_openmetrics_parser;
    } else if (hk_str_eq_nocase(media, HK_STR("application/vnd.google.protobuf"))) {
        hk_prom_proto_init(&state->proto, http->body, context, HK_PUSH_NO_STAMP);
        *out = &hk_prom_proto_parser;
    } else if (is_push_text(media)) {
        hk_exposition_init(&state->text, http->body, context, HK_PUSH_NO_STAMP);
        *out = &hk_exposition_parser;
    } else {
        return hk_fail(
            HK_E_UNSUPPORTED,
            "content type \"%.*s\" is not supported, use text/plain, application/openmetrics-text "
            "or application/vnd.google.protobuf",
            HK_STR_ARG(hk_str_part(type, 0, 200)));
    }
    return HK_OK;
}

/* Reads the whole body into the group. */
static hk_err fill_group(
    struct hk_shard *shard, const struct hk_http_request *http, struct hk_labels group,
    enum hk_push_method method) {
    union push_parser *state HK_CLEANUP(hk_mem_free_at) = hk_mem_alloc(1, sizeof(*state));
    if (state == NULL) return HK_E_NOMEM;
    struct hk_context context = { .hash = shard->engine->identity_base };
    const struct hk_metric_parser *parser = NULL;
    HK_TRY(begin_push(state, http, &context, &parser));
    HK_TRY(hk_push_begin(shard->push, group, method, hk_clock_realtime_ms()));
    struct hk_batch *batch = shard->pass.batch;
    hk_err err = HK_FULL;
    while (err == HK_FULL) {
        hk_batch_clear(batch);
        batch->arena = &shard->arena;
        err = parser->parse(state, batch);
        if (err >= 0 && hk_push_add(shard->push, parser, state, batch) < 0) err = HK_E_MALFORMED;
        if (err >= 0) hk_store_take_metas(shard->pass.shard, batch->metas, batch->meta_count);
    }
    if (err < 0) {
        hk_push_abort(shard->push);
        return err;
    }
    return hk_push_commit(shard->push);
}

/* Hands out what changed in the groups. */
static void hand_out(struct hk_shard *shard, const struct hk_http_request *http) {
    struct hk_pass_run result;
    if (run(shard, http, HK_RECEIVER_PUSHGATEWAY, &hk_push_parser, shard->push, &result) < 0) {
        hk_fail_clear();
    }
}

void hk_receive_push(struct hk_shard *shard, struct hk_http_exchange *exchange) {
    const struct hk_http_request *http = hk_http_get_request(exchange);
    struct hk_label_set *set = shard->pass.set;
    struct hk_labels group;
    hk_label_set_clear(set);
    hk_err err = hk_push_path_parse(http->path, &shard->arena, set);
    if (err >= 0) err = hk_label_set_finish(set, &group);
    if (err < 0) {
        hk_receive_refuse(exchange, HK_ANSWER_NO_CONTENT, 400, hk_str_from(hk_fail_text()), 0);
        return;
    }
    bool remove = hk_str_is(http->method, "DELETE");
    if (remove) {
        /* An unknown group is gone already. */
        if (hk_push_delete(shard->push, group, hk_clock_realtime_ms()) < 0) hk_fail_clear();
    } else {
        bool put = hk_str_is(http->method, "PUT");
        err = fill_group(shard, http, group, put ? HK_PUSH_PUT : HK_PUSH_POST);
    }
    hk_arena_reset(&shard->arena);
    if (err < 0) {
        const char *text = hk_fail_text()[0] != 0 ? hk_fail_text() : hk_err_text(err);
        int status = err == HK_E_LIMIT ? 429 : err == HK_E_UNSUPPORTED ? 415 : 400;
        hk_receive_refuse(exchange, HK_ANSWER_NO_CONTENT, status, hk_str_from(text), 0);
        return;
    }
    hand_out(shard, http);
    wait_for_commit(shard, exchange, remove ? HK_ANSWER_ACCEPTED : HK_ANSWER_OK, 0, HK_STR(""));
}

void hk_push_turn(struct hk_shard *shard, int64_t now_ms) {
    if (shard->push == NULL || now_ms < shard->push_next_ms) return;
    shard->push_next_ms = now_ms + 1000;
    hk_push_tick(shard->push, now_ms);
    hk_arena_reset(&shard->arena);
    struct hk_pass_run result = {
        .receiver = HK_RECEIVER_PUSHGATEWAY,
        .parser = &hk_push_parser,
        .state = shard->push,
        .arena = &shard->arena,
        .cursor = hk_pass_cursor(&shard->pass, HK_STR("pushgateway")),
    };
    if (hk_pass_run(&shard->pass, &result) < 0) hk_fail_clear();
    (void)hk_store_publish(shard->pass.shard);
}

hk_err hk_push_open(struct hk_shard *shard) {
    const struct hk_conf_pushgateway *conf = &shard->engine->config->pushgateway;
    if (!conf->enabled) return HK_OK;
    struct hk_push_options options = { .ttl_ms = conf->ttl_ms };
    shard->push_context.hash = hk_hash_mix(shard->engine->identity_base, hk_hash128("push", 4));
    return hk_push_create(&options, &shard->push_context, &shard->push);
}
