/* The server's life: configuration, store, shards, workers, signals, drain. */
#include "engine/engine_internal.h"
#include "engine/serve.h"

#include "base/log.h"
#include "base/mem.h"
#include "os/clock.h"
#include "os/file.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    WORK_IDLE_NS = 50000000,
    BREATH_WORK_NS = 40000,
    BREATH_REST_NS = 100000,
    LOCK_WAIT_MS = 2000, /* a killed server may still be on its way out */
    RECALLED_BYTES_MAX = 1 << 30,
};

static const uint64_t memory_default = 4ULL << 30;

/* ------------------------------------------------------------------ configuration */

hk_err hk_engine_load_config(
    const struct hk_serve_options *options, struct hk_buf *said, struct hk_config **out) {
    struct hk_conf_report report;
    struct hk_conf_source source = { 0 };
    hk_conf_report_init(&report);
    hk_err err = options->config_path != NULL
                     ? hk_config_load(options->config_path, &source, &report, out)
                     : hk_config_parse(HK_STR(""), HK_STR(""), &source, &report, out);
    hk_conf_report_print(&report, said);
    hk_conf_report_deinit(&report);
    return err;
}

static hk_err load_config(struct hk_engine *engine) {
    struct hk_buf said;
    hk_buf_init(&said, 1 << 20);
    hk_err err = hk_engine_load_config(&engine->options, &said, &engine->config);
    if (said.len > 0) (void)fprintf(stderr, "%.*s", HK_STR_ARG(hk_buf_get(&said)));
    hk_buf_deinit(&said);
    engine->boot = engine->config;
    return err;
}

/* Half of the free disk, at most 50 GiB. */
static uint64_t default_quota(const char *dir) {
    uint64_t free_bytes = 0;
    uint64_t total_bytes = 0;
    const uint64_t most = 50ULL << 30;
    (void)hk_dir_create(dir);
    if (hk_disk_space(dir, &free_bytes, &total_bytes) < 0) return most;
    return free_bytes / 2 < most ? free_bytes / 2 : most;
}

static void restore_side(
    void *self, uint32_t shard, enum hk_side_kind kind, uint32_t ref, int64_t stamp_ms,
    struct hk_str bytes) {
    struct hk_engine *engine = self;
    (void)ref;
    (void)stamp_ms;
    if (kind == HK_SIDE_ALERTS) {
        struct hk_buf *recalled = &engine->shards[shard].recalled;
        uint32_t len = (uint32_t)bytes.len;
        hk_buf_bytes(recalled, &len, sizeof(len));
        hk_buf_str(recalled, bytes);
        return;
    }
    if (kind != HK_SIDE_LEDGER) return;
    if (hk_ledger_restore(&engine->shards[shard].ledger, bytes) < 0) {
        hk_log(HK_LOG_WARN, "log: a ledger record could not be read");
    }
}

/*
 * The worker, between parts of its work. Where it shares a processor with a shard that spins, the
 * kernel would give it slices of milliseconds; so it rests by itself, unless sealing gets behind
 * (decision D15).
 */
static void breathe(void *self) {
    struct hk_engine *engine = self;
    if (!engine->shares_cpu || engine->spin == HK_SPIN_OFF) return;
    if (!atomic_load_explicit(&engine->ready, memory_order_acquire)) return;
    int64_t now_ns = hk_clock_monotonic_ns();
    if (now_ns - engine->breathed_ns < BREATH_WORK_NS) return;
    struct hk_store_stats stats;
    hk_store_get_stats(engine->store, &stats);
    bool behind = stats.slabs_used * 4 > stats.slabs_max;
    if (!behind && !atomic_load_explicit(&engine->stop, memory_order_acquire)) {
        hk_sleep_ns(BREATH_REST_NS);
    }
    engine->breathed_ns = hk_clock_monotonic_ns();
}

/* Blocks that were found damaged since the last call. */
static void log_problems(struct hk_engine *engine) {
    struct hk_blockset *blocks = hk_store_blocks(engine->store);
    const char *text = NULL;
    while ((text = hk_blockset_problem(blocks, engine->problems_logged)) != NULL) {
        engine->problems_logged++;
        hk_log(HK_LOG_WARN, "%s", text);
    }
}

static hk_err open_store(struct hk_engine *engine, const struct hk_serve_options *options) {
    const struct hk_config *config = engine->config;
    const char *dir = options->data_dir != NULL  ? options->data_dir
                      : config->data_dir.len > 0 ? config->data_dir.ptr
                                                 : "hark-data";
    engine->data_dir = hk_str_from(dir);
    engine->memory_max = options->memory_given ? options->memory_bytes : config->memory_bytes;
    if (engine->memory_max == 0) engine->memory_max = memory_default;
    struct hk_store_options store = {
        .dir = dir,
        .lock_wait_ms = LOCK_WAIT_MS,
        .shards = engine->shard_count,
        .memory_max = engine->memory_max,
        .retention_ms = options->retention_given ? options->retention_ms : config->retention_ms,
        .retention_bytes = config->retention_bytes,
        .series_idle_ms = config->series_idle_ms,
        .sweep = hk_retiring_sweep,
        .forget = hk_retiring_forget,
        .exemplars_max = config->storage.exemplars.max > 0 ? config->storage.exemplars.max : -1,
        .durable = hk_shard_durable,
        .side = restore_side,
        .breathe = breathe,
        .self = engine,
    };
    if (store.retention_bytes == 0) store.retention_bytes = default_quota(dir);
    HK_TRY(hk_store_open(&store, &engine->store, &engine->report));
    engine->source = hk_store_source(engine->store);
    const struct hk_store_report *report = &engine->report;
    if (report->directory.text[0] != 0) hk_log(HK_LOG_WARN, "%s", report->directory.text);
    if (report->wal.text[0] != 0) hk_log(HK_LOG_WARN, "%s", report->wal.text);
    if (report->metadata.text[0] != 0) hk_log(HK_LOG_WARN, "%s", report->metadata.text);
    if (report->exemplars.text[0] != 0) hk_log(HK_LOG_WARN, "%s", report->exemplars.text);
    log_problems(engine);
    hk_log(
        HK_LOG_INFO,
        "data directory %s: %" PRIu64 " series, %" PRIu64 " samples from the log, %.1f ms", dir,
        report->directory.series, report->wal.records, (double)report->took_ns / 1e6);
    return HK_OK;
}

/* ------------------------------------------------------------------ listeners */

struct hk_str hk_engine_address(
    const struct hk_serve_options *options, const struct hk_config *config,
    enum hk_listener listener) {
    const struct hk_conf_server *server = &config->server;
    switch (listener) {
    case HK_LISTEN_OTLP_GRPC:
        return options->otlp_grpc != NULL ? hk_str_from(options->otlp_grpc) : server->otlp_grpc;
    case HK_LISTEN_OTLP_HTTP:
        return options->otlp_http != NULL ? hk_str_from(options->otlp_http) : server->otlp_http;
    case HK_LISTEN_OTLP_LEGACY:
        return options->otlp_legacy != NULL ? hk_str_from(options->otlp_legacy)
                                            : server->otlp_legacy;
    case HK_LISTEN_HTTP:
    case HK_LISTENERS:
    default:
        return options->http != NULL ? hk_str_from(options->http) : server->http;
    }
}

static hk_err open_tls(struct hk_engine *engine) {
    const struct hk_conf_server_tls *conf = engine->config->server.tls;
    if (conf == NULL) return HK_OK;
    struct hk_tls_options options = hk_engine_tls_options(conf);
    return hk_tls_create(&options, &engine->tls);
}

static hk_err listen_all(struct hk_engine *engine) {
    for (unsigned i = 0; i < HK_LISTENERS; i++) {
        struct hk_str address =
            hk_engine_address(&engine->options, engine->config, (enum hk_listener)i);
        if (address.len == 0) continue;
        HK_TRY(hk_door_check(engine->config, &engine->door, address));
        struct hk_shard *shard = &engine->shards[0];
        struct hk_http_options http = {
            .handle = hk_shard_handle,
            .admit = hk_shard_admit,
            .handler_self = shard,
            .tls = engine->tls,
        };
        hk_http_limits_default(&http.limits);
        const struct hk_conf_limits *limits = &engine->config->limits;
        http.limits.body_bytes_max = (size_t)limits->request_bytes;
        http.limits.body_bytes_max_decoded = (size_t)limits->decoded_bytes;
        http.limits.header_bytes_max = (size_t)limits->header_bytes;
        http.limits.connections_max = (uint32_t)limits->connections;
        http.limits.streams_max = (uint32_t)limits->streams;
        http.limits.header_timeout_ns = limits->header_timeout_ms * 1000000;
        http.limits.body_timeout_ns = limits->request_timeout_ms * 1000000;
        http.limits.idle_timeout_ns = limits->idle_timeout_ms * 1000000;
        hk_err err = hk_http_listen(shard->loop, address, &http, &shard->servers[i]);
        if (err < 0) return hk_fail_note(err, "listen on %.*s", HK_STR_ARG(address));
    }
    return HK_OK;
}

static unsigned port_of(const struct hk_engine *engine, enum hk_listener listener) {
    const struct hk_http_server *server = engine->shards[0].servers[listener];
    return server == NULL ? 0 : hk_http_server_port(server);
}

static hk_err write_port_file(const struct hk_engine *engine, const char *path) {
    if (path == NULL) return HK_OK;
    char text[128];
    char legacy[32] = "";
    char temporary[4096];
    const unsigned legacy_port = port_of(engine, HK_LISTEN_OTLP_LEGACY);
    if (legacy_port != 0)
        (void)snprintf(legacy, sizeof(legacy), ",\"otlp_legacy\":%u", legacy_port);
    int len = snprintf(
        text, sizeof(text), "{\"http\":%u,\"otlp_grpc\":%u,\"otlp_http\":%u%s}\n",
        port_of(engine, HK_LISTEN_HTTP), port_of(engine, HK_LISTEN_OTLP_GRPC),
        port_of(engine, HK_LISTEN_OTLP_HTTP), legacy);
    (void)snprintf(temporary, sizeof(temporary), "%s.tmp", path);
    int fd = hk_file_open(temporary, HK_FILE_WRITE | HK_FILE_CREATE | HK_FILE_TRUNCATE);
    int err = fd < 0 ? fd : hk_file_write(fd, text, (size_t)len, 0);
    hk_file_close(fd);
    if (err >= 0) err = hk_file_rename(temporary, path);
    if (err < 0) return hk_fail(HK_E_IO, "cannot write port file %s: %s", path, strerror(-err));
    return HK_OK;
}

/* ------------------------------------------------------------------ threads */

static void worker_main(void *arg) {
    struct hk_engine *engine = arg;
    hk_thread_lower_priority(5);
    while (!atomic_load_explicit(&engine->stop, memory_order_acquire)) {
        hk_fail_clear();
        hk_err err = hk_store_work(engine->store, hk_clock_realtime_ms());
        log_problems(engine);
        if (err == HK_MORE) continue;
        if (err < 0) hk_log(HK_LOG_ERROR, "store: %s: %s", hk_err_text(err), hk_fail_text());
        (void)hk_event_wait(&engine->worker_wake, WORK_IDLE_NS);
    }
}

static void shard_main(void *arg) {
    struct hk_shard *shard = arg;
    hk_loop_run(shard->loop);
}

/* Waits for a signal on the main thread; the others have all signals blocked. */
static void wait_for_end(struct hk_engine *engine) {
    sigset_t set;
    int got = 0;
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGINT);
    (void)sigaddset(&set, SIGHUP);
    for (;;) {
        if (sigwait(&set, &got) != 0) continue;
        if (got != SIGHUP) break;
        hk_log(HK_LOG_INFO, "SIGHUP: reloading the configuration");
        (void)hk_reload_ask(engine);
    }
    hk_log(HK_LOG_INFO, "signal %d: draining", got);
}

static void block_signals(void) {
    sigset_t set;
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGINT);
    (void)sigaddset(&set, SIGHUP);
    (void)pthread_sigmask(SIG_BLOCK, &set, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
    (void)signal(SIGXFSZ, SIG_IGN); /* a limit on files is answered like a full disk */
}

/* ------------------------------------------------------------------ life */

static hk_err start(struct hk_engine *engine, const struct hk_serve_options *options) {
    hk_reload_init(engine);
    engine->options = *options;
    HK_TRY(load_config(engine));
    int64_t shards = options->shards_given ? (int64_t)options->shards : engine->config->shards;
    if (shards > 1) {
        return hk_fail(
            HK_E_UNSUPPORTED, "%lld shards: this version runs one; leave --shards out",
            (long long)shards);
    }
    engine->shard_count = 1;
    engine->spin = options->spin_given ? options->spin : (enum hk_spin)engine->config->spin;
    engine->shares_cpu = hk_cpu_count() <= engine->shard_count;
    engine->shards = hk_mem_alloc(engine->shard_count, sizeof(engine->shards[0]));
    if (engine->shards == NULL) return HK_E_NOMEM;
    unsigned char key[64];
    hk_random(key, sizeof(key));
    hk_hash_set_key(key, sizeof(key));
    engine->identity_base = hk_hash128("tenant 0", 8);
    engine->external_url = HK_STR("http://127.0.0.1:9090");
    for (uint32_t i = 0; i < engine->shard_count; i++) {
        hk_buf_init(&engine->shards[i].recalled, RECALLED_BYTES_MAX);
    }
    HK_TRY(open_store(engine, options));
    for (uint32_t i = 0; i < engine->shard_count; i++) {
        HK_TRY(hk_shard_open(&engine->shards[i], engine, i));
        HK_TRY(hk_alerts_open(&engine->shards[i]));
        HK_TRY(hk_push_open(&engine->shards[i]));
        HK_TRY(hk_datagrams_open(&engine->shards[i]));
    }
    struct hk_api_options api = {
        .source = engine->source,
        .meta = hk_store_meta(engine->store),
        .exemplars = hk_store_exemplars(engine->store),
        .workers = 1,
    };
    HK_TRY(hk_api_create(&api, &engine->api));
    hk_engine_documents(engine);
    HK_TRY(hk_door_load(engine->config, &engine->door));
    HK_TRY(open_tls(engine));
    HK_TRY(listen_all(engine));
    HK_TRY(hk_scraping_open(&engine->shards[0]));
    hk_event_init(&engine->worker_wake);
    if (hk_thread_start(&engine->worker, "hark-worker", worker_main, engine) < 0) {
        return hk_fail(HK_E_IO, "cannot start the worker thread");
    }
    for (uint32_t i = 0; i < engine->shard_count; i++) {
        struct hk_shard *shard = &engine->shards[i];
        if (hk_thread_start(&shard->thread, "hark-shard", shard_main, shard) < 0) {
            return hk_fail(HK_E_IO, "cannot start a shard");
        }
    }
    HK_TRY(hk_reload_open(engine));
    atomic_store_explicit(&engine->ready, true, memory_order_release);
    return write_port_file(engine, options->port_file);
}

static void stop(struct hk_engine *engine) {
    atomic_store_explicit(&engine->stop, true, memory_order_release);
    hk_reload_close(engine); /* it waits for the shard */
    if (engine->shards != NULL) hk_scraping_close(&engine->shards[0]);
    for (uint32_t i = 0; engine->shards != NULL && i < engine->shard_count; i++) {
        struct hk_shard *shard = &engine->shards[i];
        if (shard->loop != NULL) hk_loop_stop(shard->loop);
        hk_thread_join(&shard->thread);
    }
    if (engine->worker.running) hk_event_raise(&engine->worker_wake);
    hk_thread_join(&engine->worker);
    hk_api_destroy(engine->api);
    for (uint32_t i = 0; engine->shards != NULL && i < engine->shard_count; i++) {
        if (engine->shards[i].engine != NULL) hk_shard_close(&engine->shards[i]);
    }
    hk_store_close(engine->store);
    hk_mem_free(engine->shards);
    hk_door_deinit(&engine->door);
    hk_reload_deinit(engine);
    hk_tls_destroy(engine->tls);
    hk_exec_helper_stop(engine->exec);
    if (engine->config != engine->boot) hk_config_destroy(engine->config);
    hk_config_destroy(engine->boot);
}

int hk_engine_serve(const struct hk_serve_options *options) {
    static struct hk_engine engine;
    engine.start_ms = hk_clock_realtime_ms();
    /* Before any thread, file or socket exists (decisions D12). */
    if (hk_exec_helper_start(&engine.exec) < 0) {
        hk_log(HK_LOG_WARN, "commands are refused: %s", hk_fail_text());
    }
    block_signals();
    hk_err err = start(&engine, options);
    if (err < 0) {
        const char *text = hk_fail_text()[0] != 0 ? hk_fail_text() : hk_err_text(err);
        (void)fprintf(stderr, "hark: %s\n", text);
    } else {
        hk_log(
            HK_LOG_INFO, "ready in %lld ms: http %u, otlp grpc %u, otlp http %u",
            (long long)(hk_clock_realtime_ms() - engine.start_ms), port_of(&engine, HK_LISTEN_HTTP),
            port_of(&engine, HK_LISTEN_OTLP_GRPC), port_of(&engine, HK_LISTEN_OTLP_HTTP));
        wait_for_end(&engine);
    }
    stop(&engine);
    return err < 0 ? 1 : 0;
}
