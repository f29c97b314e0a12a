/*
 * Reload: another configuration while the server runs. A thread of its own reads, checks and makes
 * everything; only then the shard takes it over in one task. What needs a restart stays as it was
 * at the start and is named. The thread also looks for changed certificates.
 *
 * (1) One reload at a time; requests that come meanwhile are served by the next one together.
 * (2) A failure leaves the old configuration, all of it: what can fail comes before the task.
 */
#include "engine/engine_internal.h"

#include "base/log.h"
#include "base/mem.h"
#include "os/clock.h"

#include <stdio.h>

enum { SAID_BYTES_MAX = 1 << 20, TLS_LOOK_NS = 1000000000 };

/* A request that waits for its reload. */
struct hk_reload_waiter {
    struct hk_reload_waiter *next;
    struct hk_http_exchange *exchange;
    uint64_t number;
};

/* One reload. */
struct attempt {
    struct hk_engine *engine;
    uint64_t number; /* of the newest request that it serves */
    struct hk_config *config;
    struct hk_door door;
    struct hk_tls *tls;
    struct hk_alerts_next alerts;
    struct hk_buf said;
    hk_err err;
};

/* ------------------------------------------------------------------ the shard's part */

struct call {
    struct hk_task task; /* first */
    void (*run)(struct attempt *attempt);
    struct attempt *attempt;
};

static void run_call(struct hk_task *task) {
    struct call *call = (struct call *)task;
    struct hk_reload *reload = &call->attempt->engine->reload;
    call->run(call->attempt);
    hk_event_raise(&reload->done); /* `call` is gone from here on */
}

/* Runs it on the shard and waits; also: all tasks that were posted before have run. */
static void on_shard(struct attempt *attempt, void (*run)(struct attempt *attempt)) {
    struct call call = { .task.run = run_call, .run = run, .attempt = attempt };
    hk_loop_post(attempt->engine->shards[0].loop, &call.task);
    while (!hk_event_wait(&attempt->engine->reload.done, -1)) {
    }
}

static void nothing(struct attempt *attempt) {
    (void)attempt;
}

static void take_over(struct attempt *attempt) {
    struct hk_engine *engine = attempt->engine;
    struct hk_config *config = engine->config;
    struct hk_door door = engine->door;
    engine->config = attempt->config;
    engine->door = attempt->door;
    attempt->config = config;
    attempt->door = door;
    hk_alerts_swap(&engine->shards[0], &attempt->alerts);
}

static void answer(struct attempt *attempt) {
    struct hk_reload *reload = &attempt->engine->reload;
    for (struct hk_reload_waiter **at = &reload->waiters; *at != NULL;) {
        struct hk_reload_waiter *waiter = *at;
        if (waiter->number > attempt->number) {
            at = &waiter->next;
            continue;
        }
        *at = waiter->next;
        hk_http_respond(
            waiter->exchange, attempt->err < 0 ? 500 : 200, HK_STR("text/plain; charset=utf-8"),
            hk_buf_get(&attempt->said));
        hk_mem_free(waiter);
    }
}

/* ------------------------------------------------------------------ what needs a restart */

static void warn(struct attempt *attempt, const char *key) {
    hk_buf_printf(
        &attempt->said, "warning: %s has changed: that needs a restart; the old value stays\n",
        key);
}

static void keep_str(
    struct attempt *attempt, const char *key, bool flag, struct hk_str boot, struct hk_str *now) {
    if (!flag && !hk_str_eq(boot, *now)) warn(attempt, key);
    *now = boot;
}

static void
keep_int(struct attempt *attempt, const char *key, bool flag, int64_t boot, int64_t *now) {
    if (!flag && boot != *now) warn(attempt, key);
    *now = boot;
}

static void
keep_size(struct attempt *attempt, const char *key, bool flag, uint64_t boot, uint64_t *now) {
    if (!flag && boot != *now) warn(attempt, key);
    *now = boot;
}

static void keep_limits(
    struct attempt *attempt, const struct hk_conf_limits *boot, struct hk_conf_limits *now) {
    keep_size(attempt, "limits.request_bytes", false, boot->request_bytes, &now->request_bytes);
    keep_size(attempt, "limits.decoded_bytes", false, boot->decoded_bytes, &now->decoded_bytes);
    keep_size(attempt, "limits.header_bytes", false, boot->header_bytes, &now->header_bytes);
    keep_int(attempt, "limits.connections", false, boot->connections, &now->connections);
    keep_int(attempt, "limits.streams", false, boot->streams, &now->streams);
    keep_int(attempt, "limits.headers", false, boot->headers, &now->headers);
    keep_int(
        attempt, "limits.header_timeout", false, boot->header_timeout_ms, &now->header_timeout_ms);
    keep_int(
        attempt, "limits.request_timeout", false, boot->request_timeout_ms,
        &now->request_timeout_ms);
    keep_int(attempt, "limits.idle_timeout", false, boot->idle_timeout_ms, &now->idle_timeout_ms);
}

static void
keep_receivers(struct attempt *attempt, const struct hk_config *boot, struct hk_config *now) {
    const struct hk_conf_statsd *left = boot->statsd;
    const struct hk_conf_statsd *right = now->statsd;
    bool same = (left == NULL) == (right == NULL);
    if (same && left != NULL) {
        same = hk_str_eq(left->listen, right->listen) && hk_str_eq(left->socket, right->socket) &&
               left->flush_ms == right->flush_ms;
    }
    if (!same) warn(attempt, "statsd");
    now->statsd = boot->statsd;
    if (boot->pushgateway.enabled != now->pushgateway.enabled ||
        boot->pushgateway.ttl_ms != now->pushgateway.ttl_ms) {
        warn(attempt, "pushgateway");
    }
    now->pushgateway = boot->pushgateway;
}

static void keep_boot(struct attempt *attempt) {
    static const char *const listeners[] = { "server.http", "server.otlp_grpc", "server.otlp_http",
                                             "server.otlp_legacy" };
    const struct hk_serve_options *options = &attempt->engine->options;
    const struct hk_config *boot = attempt->engine->boot;
    struct hk_config *now = attempt->config;
    const bool given[] = { options->http != NULL, options->otlp_grpc != NULL,
                           options->otlp_http != NULL, options->otlp_legacy != NULL };
    const struct hk_str from[] = { boot->server.http, boot->server.otlp_grpc,
                                   boot->server.otlp_http, boot->server.otlp_legacy };
    struct hk_str *to[] = { &now->server.http, &now->server.otlp_grpc, &now->server.otlp_http,
                            &now->server.otlp_legacy };
    for (size_t i = 0; i < HK_COUNT(listeners); i++)
        keep_str(attempt, listeners[i], given[i], from[i], to[i]);
    if ((boot->server.tls == NULL) != (now->server.tls == NULL)) {
        warn(attempt, "server.tls");
        now->server.tls = boot->server.tls;
    }
    int64_t spin = now->spin;
    keep_int(attempt, "spin", options->spin_given, boot->spin, &spin);
    now->spin = boot->spin;
    keep_str(attempt, "data_dir", options->data_dir != NULL, boot->data_dir, &now->data_dir);
    keep_int(
        attempt, "retention", options->retention_given, boot->retention_ms, &now->retention_ms);
    keep_size(attempt, "retention_size", false, boot->retention_bytes, &now->retention_bytes);
    keep_size(attempt, "memory", options->memory_given, boot->memory_bytes, &now->memory_bytes);
    keep_int(attempt, "shards", options->shards_given, boot->shards, &now->shards);
    keep_limits(attempt, &boot->limits, &now->limits);
    keep_receivers(attempt, boot, now);
}

/* ------------------------------------------------------------------ reading and making */

static hk_err check_door(struct attempt *attempt) {
    const struct hk_engine *engine = attempt->engine;
    HK_TRY(hk_door_load(attempt->config, &attempt->door));
    for (unsigned i = 0; i < HK_LISTENERS; i++) {
        struct hk_str address =
            hk_engine_address(&engine->options, attempt->config, (enum hk_listener)i);
        if (address.len > 0) HK_TRY(hk_door_check(attempt->config, &attempt->door, address));
    }
    if (engine->tls == NULL || attempt->config->server.tls == NULL) return HK_OK;
    struct hk_tls_options options = hk_engine_tls_options(attempt->config->server.tls);
    return hk_tls_create(&options, &attempt->tls);
}

/* Everything that can be wrong. The scrape jobs are last: they are taken or refused as one. */
static hk_err make(struct attempt *attempt) {
    struct hk_shard *shard = &attempt->engine->shards[0];
    HK_TRY(hk_engine_load_config(&attempt->engine->options, &attempt->said, &attempt->config));
    keep_boot(attempt);
    HK_TRY(check_door(attempt));
    HK_TRY(hk_alerts_prepare(shard, attempt->config, &attempt->said, &attempt->alerts));
    return hk_scraping_apply(shard, attempt->config);
}

static hk_err apply(struct attempt *attempt) {
    struct hk_engine *engine = attempt->engine;
    HK_TRY(make(attempt));
    on_shard(attempt, take_over);
    if (attempt->tls != NULL) {
        hk_tls_replace(engine->tls, attempt->tls);
        attempt->tls = NULL;
    }
    hk_alerts_retire(&attempt->alerts);
    on_shard(attempt, nothing); /* what the old rules had posted has run */
    struct hk_config *before = engine->reload.before;
    engine->reload.before = attempt->config == engine->boot ? NULL : attempt->config;
    attempt->config = NULL;
    hk_config_destroy(before);
    if (attempt->alerts.err < 0)
        return hk_fail(attempt->alerts.err, "rules or receivers were not taken: out of memory");
    return HK_OK;
}

/* The reason, with file, line and column where there is one, in front of what was said. */
static void explain(struct attempt *attempt) {
    const char *text = hk_fail_text()[0] != 0 ? hk_fail_text() : hk_err_text(attempt->err);
    struct hk_buf all;
    hk_buf_init(&all, SAID_BYTES_MAX);
    hk_buf_printf(&all, "failed to reload config: %s\n", text);
    hk_buf_str(&all, hk_str_part(hk_buf_get(&attempt->said), 0, SAID_BYTES_MAX / 2));
    hk_buf_deinit(&attempt->said);
    attempt->said = all;
    hk_log(HK_LOG_ERROR, "the configuration is not reloaded, the old one stays: %s", text);
}

static void reload(struct hk_engine *engine, uint64_t number) {
    struct hk_reload *state = &engine->reload;
    struct attempt attempt = { .engine = engine, .number = number };
    int64_t start_ns = hk_clock_monotonic_ns();
    hk_buf_init(&attempt.said, SAID_BYTES_MAX);
    hk_fail_clear();
    attempt.err = apply(&attempt);
    if (attempt.said.len > 0) (void)fprintf(stderr, "%.*s", HK_STR_ARG(hk_buf_get(&attempt.said)));
    atomic_store_explicit(&state->successful, attempt.err >= 0, memory_order_relaxed);
    if (attempt.err < 0) {
        explain(&attempt);
        atomic_fetch_add_explicit(&state->failures, 1, memory_order_relaxed);
    } else {
        double took_ms = (double)(hk_clock_monotonic_ns() - start_ns) / 1e6;
        hk_log(HK_LOG_INFO, "configuration reloaded in %.1f ms", took_ms);
        hk_buf_text(&attempt.said, "configuration reloaded\n");
        atomic_store_explicit(&state->success_ms, hk_clock_realtime_ms(), memory_order_relaxed);
    }
    on_shard(&attempt, answer);
    hk_alerts_discard(&attempt.alerts);
    hk_tls_destroy(attempt.tls);
    hk_door_deinit(&attempt.door);
    hk_config_destroy(attempt.config);
    hk_buf_deinit(&attempt.said);
}

/* ------------------------------------------------------------------ the thread */

struct hk_tls_options hk_engine_tls_options(const struct hk_conf_server_tls *conf) {
    return (struct hk_tls_options){
        .cert_file = conf->cert_file,
        .key_file = conf->key_file,
        .client_ca_file = conf->client_ca_file,
    };
}

/* Certificates are often renewed one file after the other: a pair that does not fit is looked at
 * again at its next change. */
static void look_at_certificates(struct hk_engine *engine) {
    if (engine->tls == NULL || !hk_tls_has_changed(engine->tls)) return;
    hk_fail_clear();
    if (hk_tls_reload(engine->tls) >= 0) {
        hk_log(HK_LOG_INFO, "the certificates of the listeners have been read again");
        return;
    }
    atomic_fetch_add_explicit(&engine->reload.tls_failures, 1, memory_order_relaxed);
    hk_log(HK_LOG_WARN, "the old certificates stay: %s", hk_fail_text());
}

static void run(void *arg) {
    struct hk_engine *engine = arg;
    struct hk_reload *state = &engine->reload;
    uint64_t served = 0;
    while (!atomic_load_explicit(&state->stop, memory_order_acquire)) {
        uint64_t asked = atomic_load_explicit(&state->asked, memory_order_acquire);
        if (asked != served) {
            reload(engine, asked); /* (1) */
            served = asked;
            continue;
        }
        look_at_certificates(engine);
        (void)hk_event_wait(&state->wake, engine->tls == NULL ? -1 : TLS_LOOK_NS);
    }
}

void hk_reload_init(struct hk_engine *engine) {
    struct hk_reload *state = &engine->reload;
    hk_event_init(&state->wake);
    hk_event_init(&state->done);
    atomic_store_explicit(&state->successful, true, memory_order_relaxed);
    atomic_store_explicit(&state->success_ms, hk_clock_realtime_ms(), memory_order_relaxed);
}

hk_err hk_reload_open(struct hk_engine *engine) {
    struct hk_reload *state = &engine->reload;
    if (hk_thread_start(&state->thread, "hark-reload", run, engine) < 0)
        return hk_fail(HK_E_IO, "cannot start the thread that reloads");
    return HK_OK;
}

void hk_reload_close(struct hk_engine *engine) {
    struct hk_reload *state = &engine->reload;
    atomic_store_explicit(&state->stop, true, memory_order_release);
    if (!state->thread.running) return;
    hk_event_raise(&state->wake);
    hk_thread_join(&state->thread);
}

void hk_reload_deinit(struct hk_engine *engine) {
    struct hk_reload *state = &engine->reload;
    while (state->waiters != NULL) {
        struct hk_reload_waiter *next = state->waiters->next;
        hk_mem_free(state->waiters);
        state->waiters = next;
    }
    hk_config_destroy(state->before);
    hk_event_deinit(&state->wake);
    hk_event_deinit(&state->done);
}

/* ------------------------------------------------------------------ asking */

uint64_t hk_reload_ask(struct hk_engine *engine) {
    struct hk_reload *state = &engine->reload;
    uint64_t number = atomic_fetch_add_explicit(&state->asked, 1, memory_order_acq_rel) + 1;
    hk_event_raise(&state->wake);
    return number;
}

void hk_reload_handle(void *self, struct hk_http_exchange *exchange) {
    struct hk_engine *engine = self;
    struct hk_reload_waiter *waiter = hk_mem_alloc(1, sizeof(*waiter));
    if (waiter == NULL) {
        hk_http_respond(exchange, 500, HK_STR("text/plain"), HK_STR("out of memory\n"));
        return;
    }
    waiter->exchange = exchange;
    waiter->next = engine->reload.waiters;
    engine->reload.waiters = waiter;
    waiter->number = hk_reload_ask(engine);
}
