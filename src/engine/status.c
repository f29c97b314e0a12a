/* Documents that say how the server runs: Prometheus' /api/v1/status/…. */
#include "engine/engine_internal.h"

#include "os/clock.h"

#include <inttypes.h>
#include <stdio.h>

void hk_status_config(void *self, struct hk_http_exchange *exchange) {
    const struct hk_engine *engine = self;
    struct hk_buf body;
    hk_buf_init(&body, HK_API_ANSWER_BYTES_MAX);
    hk_buf_text(&body, "{\"yaml\":");
    hk_buf_json(&body, engine->config->canonical);
    hk_buf_char(&body, '}');
    hk_api_respond_data(exchange, hk_buf_get(&body));
    hk_buf_deinit(&body);
}

/* A flag with the value in force, as a string. */
static void flag(struct hk_buf *out, const char *name, struct hk_str value) {
    hk_buf_printf(out, "%s\"%s\":", out->len == 1 ? "" : ",", name);
    hk_buf_json(out, value);
}

void hk_status_flags(void *self, struct hk_http_exchange *exchange) {
    static const char *const spins[] = { "off", "adaptive", "always" };
    static const char *const listeners[] = { "http", "otlp-grpc", "otlp-http", "otlp-legacy" };
    const struct hk_engine *engine = self;
    const struct hk_serve_options *options = &engine->options;
    char text[64];
    struct hk_buf body;
    hk_buf_init(&body, 1 << 20);
    hk_buf_char(&body, '{');
    flag(&body, "config", hk_str_from(options->config_path == NULL ? "" : options->config_path));
    flag(&body, "data", engine->data_dir);
    for (unsigned i = 0; i < HK_LISTENERS; i++) {
        flag(&body, listeners[i], hk_engine_address(options, engine->boot, (enum hk_listener)i));
    }
    flag(&body, "port-file", hk_str_from(options->port_file == NULL ? "" : options->port_file));
    int64_t retention_ms =
        options->retention_given ? options->retention_ms : engine->boot->retention_ms;
    size_t len = hk_format_duration_ms(retention_ms, text);
    flag(&body, "retention", (struct hk_str){ text, len });
    (void)snprintf(text, sizeof(text), "%" PRIu64, engine->memory_max);
    flag(&body, "memory", hk_str_from(text));
    (void)snprintf(text, sizeof(text), "%u", engine->shard_count);
    flag(&body, "shards", hk_str_from(text));
    flag(&body, "spin", hk_str_from(spins[engine->spin]));
    hk_buf_char(&body, '}');
    hk_api_respond_data(exchange, hk_buf_get(&body));
    hk_buf_deinit(&body);
}

static void put_time(struct hk_buf *out, const char *key, int64_t stamp_ms) {
    char text[HK_TIME_BYTES_MAX];
    size_t len = hk_format_time_ms(stamp_ms, text);
    hk_buf_printf(out, "\"%s\":\"%.*s\",", key, (int)len, text);
}

void hk_status_runtime(void *self, struct hk_http_exchange *exchange) {
    const struct hk_engine *engine = self;
    const struct hk_reload *reload = &engine->reload;
    struct hk_blockset_stats blocks;
    char text[64];
    struct hk_buf body;
    hk_blockset_stats(hk_store_blocks(engine->store), &blocks);
    hk_buf_init(&body, 1 << 20);
    hk_buf_char(&body, '{');
    put_time(&body, "startTime", engine->start_ms);
    put_time(&body, "serverTime", hk_clock_realtime_ms());
    put_time(
        &body, "lastConfigTime", atomic_load_explicit(&reload->success_ms, memory_order_relaxed));
    bool successful = atomic_load_explicit(&reload->successful, memory_order_relaxed);
    int64_t retention_ms =
        engine->options.retention_given ? engine->options.retention_ms : engine->boot->retention_ms;
    size_t len = hk_format_duration_ms(retention_ms, text);
    hk_buf_printf(
        &body,
        "\"reloadConfigSuccess\":%s,\"corruptionCount\":%" PRIu64 ",\"storageRetention\":\"%.*s\"}",
        successful ? "true" : "false", (uint64_t)blocks.problems, (int)len, text);
    hk_api_respond_data(exchange, hk_buf_get(&body));
    hk_buf_deinit(&body);
}
