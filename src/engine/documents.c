/* Documents and actions of the API that come from the engine. */
#include "engine/engine_internal.h"

#include "api/self_metrics.h"
#include "os/clock.h"

static void healthy(void *self, struct hk_http_exchange *exchange) {
    (void)self;
    hk_http_respond(exchange, 200, HK_STR("text/plain"), HK_STR("hark is healthy.\n"));
}

static void ready(void *self, struct hk_http_exchange *exchange) {
    const struct hk_engine *engine = self;
    if (!atomic_load_explicit(&engine->ready, memory_order_acquire)) {
        hk_http_respond(exchange, 503, HK_STR("text/plain"), HK_STR("hark is starting.\n"));
        return;
    }
    hk_http_respond(exchange, 200, HK_STR("text/plain"), HK_STR("hark is ready.\n"));
}

static void buildinfo(void *self, struct hk_http_exchange *exchange) {
    (void)self;
    hk_api_respond_data(
        exchange, HK_STR("{\"version\":\"" HK_VERSION "\",\"revision\":\"\",\"branch\":\"\","
                         "\"buildUser\":\"\",\"buildDate\":\"\",\"goVersion\":\"\"}"));
}

static uint32_t
ledgers_of(const struct hk_engine *engine, const struct hk_ledger *out[HK_STORE_SHARDS_MAX]) {
    for (uint32_t i = 0; i < engine->shard_count; i++)
        out[i] = &engine->shards[i].ledger;
    return engine->shard_count;
}

static void ledger(void *self, struct hk_http_exchange *exchange) {
    const struct hk_ledger *ledgers[HK_STORE_SHARDS_MAX];
    uint32_t count = ledgers_of(self, ledgers);
    struct hk_buf body;
    hk_buf_init(&body, 1 << 20);
    hk_ledger_json(ledgers, count, &body);
    hk_http_respond_buf(exchange, 200, HK_STR("application/json"), &body);
    hk_buf_deinit(&body);
}

static void lag(void *self, struct hk_http_exchange *exchange) {
    const struct hk_engine *engine = self;
    struct hk_buf body;
    hk_buf_init(&body, 1 << 20);
    hk_lag_json(&engine->lag, &body);
    hk_http_respond_buf(exchange, 200, HK_STR("application/json"), &body);
    hk_buf_deinit(&body);
}

static void rules(void *self, struct hk_http_exchange *exchange) {
    struct hk_engine *engine = self;
    struct hk_buf body;
    hk_buf_init(&body, HK_API_ANSWER_BYTES_MAX);
    hk_rules_json(engine->shards[0].alerts.rules, &body);
    hk_api_respond_data(exchange, hk_buf_get(&body));
    hk_buf_deinit(&body);
}

static void alerts(void *self, struct hk_http_exchange *exchange) {
    struct hk_engine *engine = self;
    struct hk_buf body;
    hk_buf_init(&body, HK_API_ANSWER_BYTES_MAX);
    hk_rules_alerts_json(engine->shards[0].alerts.rules, &body);
    hk_api_respond_data(exchange, hk_buf_get(&body));
    hk_buf_deinit(&body);
}

static void targets(void *self, struct hk_http_exchange *exchange) {
    struct hk_engine *engine = self;
    const struct hk_http_request *request = hk_http_get_request(exchange);
    struct hk_arena *arena = hk_http_arena(exchange);
    struct hk_str pool = HK_STR("");
    struct hk_str state = HK_STR("");
    (void)hk_http_param(request, HK_STR("scrapePool"), 0, arena, &pool);
    (void)hk_http_param(request, HK_STR("state"), 0, arena, &state);
    struct hk_buf body;
    hk_buf_init(&body, HK_API_ANSWER_BYTES_MAX);
    hk_scraping_json(&engine->shards[0], pool, state, &body);
    hk_api_respond_data(exchange, hk_buf_get(&body));
    hk_buf_deinit(&body);
}

static void gauge(struct hk_buf *out, const char *name, const char *type, double value) {
    hk_buf_printf(out, "# TYPE %s %s\n%s ", name, type, name);
    hk_buf_double(out, value);
    hk_buf_char(out, '\n');
}

static void keeps_text(const struct hk_engine *engine, struct hk_buf *out) {
    struct hk_meta_stats meta;
    struct hk_exemplars_stats exemplars;
    hk_meta_get_stats(hk_store_meta(engine->store), &meta);
    hk_exemplars_get_stats(hk_store_exemplars(engine->store), &exemplars);
    gauge(out, "hark_metadata_metrics", "gauge", (double)meta.names);
    gauge(out, "hark_metadata_bytes", "gauge", (double)meta.bytes);
    gauge(out, "hark_metadata_replaced_total", "counter", (double)meta.replaced);
    gauge(out, "hark_metadata_left_out_total", "counter", (double)meta.left_out);
    gauge(out, "hark_exemplars", "gauge", (double)exemplars.kept);
    gauge(out, "hark_exemplar_series", "gauge", (double)exemplars.series);
    gauge(out, "hark_exemplar_bytes", "gauge", (double)exemplars.bytes);
    gauge(out, "hark_exemplars_stored_total", "counter", (double)exemplars.stored);
    gauge(out, "hark_exemplars_displaced_total", "counter", (double)exemplars.displaced);
    const struct {
        const char *reason;
        uint64_t count;
    } dropped[] = {
        { "duplicate", exemplars.duplicate },
        { "out_of_order", exemplars.out_of_order },
        { "too_long", exemplars.too_long },
        { "refused", exemplars.refused },
    };
    hk_buf_text(out, "# TYPE hark_exemplars_dropped_total counter\n");
    for (size_t i = 0; i < HK_COUNT(dropped); i++) {
        hk_buf_printf(
            out, "hark_exemplars_dropped_total{reason=\"%s\"} %llu\n", dropped[i].reason,
            (unsigned long long)dropped[i].count);
    }
}

static void store_text(const struct hk_engine *engine, struct hk_buf *out) {
    struct hk_store_stats stats;
    hk_store_get_stats(engine->store, &stats);
    gauge(out, "hark_series", "gauge", (double)stats.series);
    gauge(out, "hark_series_retired_total", "counter", (double)stats.retired);
    gauge(out, "hark_head_samples", "gauge", (double)stats.head_samples);
    gauge(out, "hark_head_bytes", "gauge", (double)stats.head_bytes);
    gauge(out, "hark_slabs_used", "gauge", (double)stats.slabs_used);
    gauge(out, "hark_slabs_max", "gauge", (double)stats.slabs_max);
    gauge(out, "hark_wal_bytes", "gauge", (double)stats.wal_bytes);
    gauge(out, "hark_wal_syncs_total", "counter", (double)stats.wal_syncs);
    gauge(out, "hark_samples_overwritten_total", "counter", (double)stats.overwritten);
    gauge(out, "hark_samples_out_of_order_total", "counter", (double)stats.out_of_order);
    gauge(out, "hark_flushes_total", "counter", (double)stats.flushes);
    gauge(out, "hark_flush_failures_total", "counter", (double)stats.flush_failures);
    keeps_text(engine, out);
    struct hk_blockset_stats blocks;
    hk_blockset_stats(hk_store_blocks(engine->store), &blocks);
    gauge(out, "hark_blocks", "gauge", (double)blocks.blocks);
    gauge(out, "hark_block_bytes", "gauge", (double)blocks.bytes);
    gauge(out, "hark_block_samples", "gauge", (double)blocks.samples);
    gauge(out, "hark_block_problems_total", "counter", (double)blocks.problems);
    gauge(out, "hark_compactions_total", "counter", (double)blocks.compactions);
}

static void reload_text(const struct hk_engine *engine, struct hk_buf *out) {
    const struct hk_reload *reload = &engine->reload;
    gauge(
        out, "hark_config_last_reload_successful", "gauge",
        atomic_load_explicit(&reload->successful, memory_order_relaxed));
    gauge(
        out, "hark_config_last_reload_success_timestamp_seconds", "gauge",
        (double)atomic_load_explicit(&reload->success_ms, memory_order_relaxed) / 1e3);
    gauge(
        out, "hark_config_reload_failures_total", "counter",
        (double)atomic_load_explicit(&reload->failures, memory_order_relaxed));
    gauge(
        out, "hark_tls_reload_failures_total", "counter",
        (double)atomic_load_explicit(&reload->tls_failures, memory_order_relaxed));
}

static void respond_text(const struct hk_engine *engine, struct hk_buf *out) {
    struct hk_respond_stats stats;
    const struct hk_alerts *alerts = &engine->shards[0].alerts;
    hk_respond_get_stats(alerts->respond, &stats);
    gauge(out, "hark_rules_failed", "gauge", alerts->rules_failed);
    gauge(out, "hark_commands_running", "gauge", stats.exec_running);
    gauge(out, "hark_commands_waiting", "gauge", stats.exec_waiting);
    gauge(out, "hark_commands_crowded_total", "counter", (double)stats.exec_crowded);
}

static void metrics(void *self, struct hk_http_exchange *exchange) {
    const struct hk_engine *engine = self;
    const struct hk_ledger *ledgers[HK_STORE_SHARDS_MAX];
    uint32_t count = ledgers_of(engine, ledgers);
    struct hk_buf body;
    hk_buf_init(&body, 4 << 20);
    hk_ledger_text(ledgers, count, &body);
    store_text(engine, &body);
    const struct hk_ident *ident = &engine->shards[0].pass.ident;
    gauge(&body, "hark_identity_predicted_total", "counter", (double)ident->predicted);
    gauge(&body, "hark_identity_looked_up_total", "counter", (double)ident->looked_up);
    gauge(&body, "process_start_time_seconds", "gauge", (double)engine->start_ms / 1e3);
    gauge(&body, "process_cpu_seconds_total", "counter", (double)hk_clock_process_cpu_ns() / 1e9);
    reload_text(engine, &body);
    respond_text(engine, &body);
    const struct hk_http_request *request = hk_http_get_request(exchange);
    if (hk_self_wants_proto(hk_http_header_get(request, HK_STR("accept")))) {
        struct hk_buf messages;
        hk_buf_init(&messages, 4 << 20);
        hk_self_proto(hk_buf_get(&body), &messages);
        hk_lag_proto(&engine->lag, engine->start_ms, &messages);
        hk_http_respond_buf(exchange, 200, HK_STR(HK_SELF_PROTO_TYPE), &messages);
        hk_buf_deinit(&messages);
    } else {
        struct hk_str type = HK_STR("text/plain; version=0.0.4; charset=utf-8");
        hk_lag_text(&engine->lag, &body);
        hk_http_respond_buf(exchange, 200, type, &body);
    }
    hk_buf_deinit(&body);
}

void hk_engine_documents(struct hk_engine *engine) {
    static const struct {
        const char *path;
        void (*handle)(void *self, struct hk_http_exchange *exchange);
    } documents[] = {
        { "/-/healthy", healthy },
        { "/-/ready", ready },
        { "/api/v1/status/buildinfo", buildinfo },
        { "/api/hark/v1/ledger", ledger },
        { "/api/hark/v1/lag", lag },
        { "/api/v1/rules", rules },
        { "/api/v1/alerts", alerts },
        { "/api/v1/targets", targets },
        { "/api/v1/status/config", hk_status_config },
        { "/api/v1/status/flags", hk_status_flags },
        { "/api/v1/status/runtimeinfo", hk_status_runtime },
        { "/metrics", metrics },
    };
    for (size_t i = 0; i < HK_COUNT(documents); i++) {
        hk_api_route(engine->api, "GET", documents[i].path, false, documents[i].handle, engine);
    }
    static const char *const changing[] = { "POST", "PUT" };
    for (size_t i = 0; i < HK_COUNT(changing); i++)
        hk_api_route(engine->api, changing[i], "/-/reload", false, hk_reload_handle, engine);
}
