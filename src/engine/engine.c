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
    RECALLED_BYTES_MAX = 1 << 30,
};

static const uint64_t memory_default = 4ULL << 30;

/* ------------------------------------------------------------------ configuration */

static hk_err load_config(struct hk_engine *engine, const struct hk_serve_options *options) {
    struct hk_conf_report report;
    hk_conf_report_init(&report);
    struct hk_conf_source source = { 0 };
    hk_err err = options->config_path != NULL
                     ? hk_config_load(options->config_path, &source, &report, &engine->config)
                     : hk_config_parse(HK_STR(""), HK_STR(""), &source, &report, &engine->config);
    struct hk_buf text;
    hk_buf_init(&text, 1 << 20);
    hk_conf_report_print(&report, &text);
    if (text.len > 0) (void)fprintf(stderr, "%.*s", HK_STR_ARG(hk_buf_get(&text)));
    hk_buf_deinit(&text);
    hk_conf_report_deinit(&report);
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
        .shards = engine->shard_count,
        .memory_max = engine->memory_max,
        .retention_ms = options->retention_given ? options->retention_ms : config->retention_ms,
        .retention_bytes = config->retention_bytes,
        .exemplars_max = config->storage.exemplars.max > 0 ? config->storage.exemplars.max : -1,
        .durable = hk_shard_durable,
        .side = restore_side,
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

static struct hk_str address_of(
    const struct hk_engine *engine, const struct hk_serve_options *options,
    enum hk_listener listener) {
    const struct hk_conf_server *server = &engine->config->server;
    switch (listener) {
    case HK_LISTEN_OTLP_GRPC:
        return options->otlp_grpc != NULL ? hk_str_from(options->otlp_grpc) : server->otlp_grpc;
    case HK_LISTEN_OTLP_HTTP:
        return options->otlp_http != NULL ? hk_str_from(options->otlp_http) : server->otlp_http;
    case HK_LISTEN_HTTP:
    case HK_LISTENERS:
    default:
        return options->http != NULL ? hk_str_from(options->http) : server->http;
    }
}

static bool is_loopback(struct hk_str address) {
    return hk_str_starts(address, HK_STR("127.")) || hk_str_starts(address, HK_STR("localhost:")) ||
           hk_str_starts(address, HK_STR("[::1]:")) || hk_str_starts(address, HK_STR("unix:"));
}

static hk_err check_exposure(const struct hk_engine *engine, struct hk_str address) {
    const struct hk_conf_server *server = &engine->config->server;
    if (is_loopback(address) || server->insecure) return HK_OK;
    if (server->tls != NULL && engine->token.len > 0) return HK_OK;
    return hk_fail(
        HK_E_INVALID,
        "%.*s is reachable from other hosts but has no TLS and token; set server.tls and "
        "server.token, or server.insecure: true if the network is trusted",
        HK_STR_ARG(address));
}

static hk_err open_door(struct hk_engine *engine) {
    const struct hk_conf_server *server = &engine->config->server;
    engine->token = server->token.value;
    if (server->token_file.len > 0) {
        char path[4096];
        char text[4096] = { 0 };
        (void)snprintf(path, sizeof(path), "%.*s", HK_STR_ARG(server->token_file));
        int fd = hk_file_open(path, HK_FILE_READ);
        int64_t got = fd < 0 ? fd : hk_file_read(fd, text, sizeof(text) - 1, 0);
        hk_file_close(fd);
        if (got < 0) return hk_fail(HK_E_IO, "server.token_file %s: %s", path, strerror((int)-got));
        struct hk_str token = hk_str_trim((struct hk_str){ text, (size_t)got });
        if (token.len == 0) return hk_fail(HK_E_INVALID, "server.token_file %s is empty", path);
        char *copy = hk_mem_copy(token.ptr, token.len);
        if (copy == NULL) return HK_E_NOMEM;
        engine->token = (struct hk_str){ copy, token.len };
        engine->token_memory = copy;
    }
    if (server->tls == NULL) return HK_OK;
    struct hk_tls_options tls = {
        .cert_file = server->tls->cert_file,
        .key_file = server->tls->key_file,
        .client_ca_file = server->tls->client_ca_file,
    };
    return hk_tls_create(&tls, &engine->tls);
}

static hk_err listen_all(struct hk_engine *engine, const struct hk_serve_options *options) {
    for (unsigned i = 0; i < HK_LISTENERS; i++) {
        struct hk_str address = address_of(engine, options, (enum hk_listener)i);
        if (address.len == 0) continue;
        HK_TRY(check_exposure(engine, address));
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
    char temporary[4096];
    int len = snprintf(
        text, sizeof(text), "{\"http\":%u,\"otlp_grpc\":%u,\"otlp_http\":%u}\n",
        port_of(engine, HK_LISTEN_HTTP), port_of(engine, HK_LISTEN_OTLP_GRPC),
        port_of(engine, HK_LISTEN_OTLP_HTTP));
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
static void wait_for_end(void) {
    sigset_t set;
    int got = 0;
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGINT);
    while (sigwait(&set, &got) != 0) {
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
}

/* ------------------------------------------------------------------ life */

static hk_err start(struct hk_engine *engine, const struct hk_serve_options *options) {
    HK_TRY(load_config(engine, options));
    int64_t shards = options->shards_given ? (int64_t)options->shards : engine->config->shards;
    if (shards > 1) {
        return hk_fail(
            HK_E_UNSUPPORTED, "%lld shards: this version runs one; leave --shards out",
            (long long)shards);
    }
    engine->shard_count = 1;
    engine->spin = options->spin_given ? options->spin : (enum hk_spin)engine->config->spin;
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
    HK_TRY(open_door(engine));
    HK_TRY(listen_all(engine, options));
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
    atomic_store_explicit(&engine->ready, true, memory_order_release);
    return write_port_file(engine, options->port_file);
}

static void stop(struct hk_engine *engine) {
    atomic_store_explicit(&engine->stop, true, memory_order_release);
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
    hk_mem_free(engine->token_memory);
    hk_tls_destroy(engine->tls);
    hk_exec_helper_stop(engine->exec);
    hk_config_destroy(engine->config);
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
        wait_for_end();
    }
    stop(&engine);
    return err < 0 ? 1 : 0;
}
