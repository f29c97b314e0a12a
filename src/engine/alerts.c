/* Rules and notifications of a shard. */
#include "engine/alerts.h"

#include "base/log.h"
#include "base/mem.h"
#include "engine/engine_internal.h"
#include "engine/rule_checks.h"
#include "os/clock.h"

#include <stdio.h>
#include <string.h>

enum { SAVE_EVERY_MS = 10000, CONFIG_ARENA_MAX = 64 << 20 };

/* ------------------------------------------------------------------ rules' surroundings */

static void on_event(void *self, const struct hk_alert_event *event) {
    struct hk_shard *shard = self;
    if (shard->alerts.dispatch == NULL) return;
    hk_dispatch_sink(shard->alerts.dispatch, event);
    hk_lag_add(&shard->engine->lag, HK_HOP_ACTED, hk_clock_monotonic_ns() - shard->readable_ns);
}

/* An alert that was firing before the restart: the dispatcher learns of it again. */
static void on_restored(void *self, const struct hk_alert_event *event) {
    struct hk_shard *shard = self;
    hk_err err = hk_dispatch_restore(shard->alerts.dispatch, event, hk_clock_realtime_ms());
    if (err < 0) hk_log(HK_LOG_ERROR, "alerts: a firing alert was not restored");
}

static hk_err on_put(void *self, struct hk_labels labels, int64_t stamp_ms, double value) {
    struct hk_shard *shard = self;
    struct hk_pass_run run = { .receiver = HK_RECEIVER_RULES };
    uint32_t ref = 0;
    hk_err err = hk_pass_put(&shard->pass, &run, labels, stamp_ms, value, &ref);
    (void)hk_store_publish(shard->pass.shard);
    return err;
}

struct posted {
    struct hk_task task; /* first */
    void (*run)(void *arg);
    void *arg;
};

static void run_posted(struct hk_task *task) {
    struct posted *posted = (struct posted *)task;
    posted->run(posted->arg);
    hk_mem_free(posted);
}

static void on_post(void *self, void (*run)(void *arg), void *arg) {
    struct hk_shard *shard = self;
    struct posted *posted = hk_mem_alloc(1, sizeof(*posted));
    if (posted == NULL) {
        hk_log(HK_LOG_ERROR, "rules: a result was lost: out of memory");
        return;
    }
    *posted = (struct posted){ .task.run = run_posted, .run = run, .arg = arg };
    hk_loop_post(shard->loop, &posted->task);
}

static void on_save(void *self, uint32_t rule, struct hk_str record) {
    struct hk_shard *shard = self;
    shard->alerts.changed = true;
    if (hk_store_append_side(shard->pass.shard, HK_SIDE_ALERTS, rule, 0, record) < 0) {
        hk_log(HK_LOG_ERROR, "alerts: a state could not be logged");
    }
}

static void on_series(void *self, uint32_t ref, struct hk_labels labels) {
    struct hk_shard *shard = self;
    hk_rules_series(shard->alerts.rules, ref, labels);
    shard->pass.bound = hk_rules_bound(shard->alerts.rules, &shard->pass.bound_count);
}

static void on_sample(void *self, uint32_t ref, int64_t stamp_ms, double value) {
    struct hk_shard *shard = self;
    hk_rules_sample(shard->alerts.rules, ref, stamp_ms, value);
}

/* ------------------------------------------------------------------ configuration */

static struct hk_endpoint_config endpoint_of(
    struct hk_arena *arena, struct hk_str url, const struct hk_conf_http *http,
    int64_t timeout_ms) {
    struct hk_endpoint_config out = { .url = url, .timeout_ms = timeout_ms };
    if (http == NULL) return out;
    if (http->authorization != NULL) {
        out.authorization = hk_arena_printf(
            arena, "%.*s %.*s", HK_STR_ARG(http->authorization->type),
            HK_STR_ARG(http->authorization->credentials.value));
        if (http->authorization->credentials_file.len > 0) {
            out.authorization = HK_STR("");
            out.authorization_file = http->authorization->credentials_file;
        }
    }
    out.ca_file = http->tls.ca_file;
    out.cert_file = http->tls.cert_file;
    out.key_file = http->tls.key_file;
    out.server_name = http->tls.server_name;
    out.insecure_skip_verify = http->tls.insecure_skip_verify;
    out.proxy_url = http->proxy_url;
    return out;
}

static hk_err make_receiver(
    struct hk_arena *arena, const struct hk_conf_alertmanager *alertmanager,
    const struct hk_conf_receiver *conf, struct hk_receiver_config *out) {
    struct hk_webhook_config *webhooks =
        hk_arena_alloc(arena, conf->webhooks.count, sizeof(*webhooks));
    struct hk_exec_config *execs = hk_arena_alloc(arena, conf->execs.count, sizeof(*execs));
    if (webhooks == NULL || execs == NULL) return HK_E_NOMEM;
    for (uint32_t i = 0; i < conf->webhooks.count; i++) {
        const struct hk_conf_webhook *from = &conf->webhooks.items[i];
        const struct hk_conf_http *http = from->http != NULL ? from->http : &alertmanager->http;
        webhooks[i] = (struct hk_webhook_config){
            .endpoint = endpoint_of(arena, from->url.value, http, from->timeout_ms),
            .send_resolved = from->send_resolved,
            .max_alerts = (uint32_t)from->alerts_max,
        };
    }
    for (uint32_t i = 0; i < conf->execs.count; i++) {
        const struct hk_conf_exec *from = &conf->execs.items[i];
        execs[i] = (struct hk_exec_config){
            .argv = from->command.items,
            .argc = from->command.count,
            .env = from->env,
            .timeout_ms = from->timeout_ms,
            .send_resolved = from->send_resolved,
        };
    }
    *out = (struct hk_receiver_config){
        .name = conf->name,
        .webhooks = webhooks,
        .webhook_count = conf->webhooks.count,
        .execs = execs,
        .exec_count = conf->execs.count,
    };
    return HK_OK;
}

static void make_route(const struct hk_conf_route *conf, struct hk_route_config *out) {
    *out = (struct hk_route_config){
        .receiver = conf->receiver,
        .group_by = conf->group_by.items,
        .group_by_count = conf->group_by.count,
        .group_wait_ms = conf->group_wait_ms >= 0 ? conf->group_wait_ms : 30000,
        .group_interval_ms = conf->group_interval_ms >= 0 ? conf->group_interval_ms : 300000,
        .repeat_interval_ms = conf->repeat_interval_ms >= 0 ? conf->repeat_interval_ms : 14400000,
    };
    for (uint32_t i = 0; i < conf->group_by.count; i++) {
        if (hk_str_is(conf->group_by.items[i], "...")) out->group_by_all = true;
    }
}

/* Endpoints of alerting.alertmanagers with static targets. */
static hk_err
make_push(struct hk_arena *arena, const struct hk_config *config, struct hk_push_config *out) {
    struct hk_endpoint_config *endpoints = hk_arena_alloc(arena, 64, sizeof(*endpoints));
    uint32_t count = 0;
    if (endpoints == NULL) return HK_E_NOMEM;
    for (uint32_t p = 0; p < config->alerting.alertmanagers.count; p++) {
        const struct hk_conf_alertmanager_peer *peer = &config->alerting.alertmanagers.items[p];
        const char *scheme = peer->scheme == HK_CONF_SCHEME_HTTPS ? "https" : "http";
        for (uint32_t s = 0; s < peer->discovery.statics.count; s++) {
            const struct hk_conf_strings *targets = &peer->discovery.statics.items[s].targets;
            for (uint32_t t = 0; t < targets->count && count < 64; t++) {
                struct hk_str prefix = peer->path_prefix;
                if (prefix.len > 0 && prefix.ptr[prefix.len - 1] == '/') prefix.len--;
                struct hk_str url = hk_arena_printf(
                    arena, "%s://%.*s%.*s/api/v2/alerts", scheme, HK_STR_ARG(targets->items[t]),
                    HK_STR_ARG(prefix));
                if (url.ptr == NULL) return HK_E_NOMEM;
                endpoints[count++] = endpoint_of(arena, url, &peer->http, peer->timeout_ms);
            }
        }
    }
    out->endpoints = endpoints;
    out->endpoint_count = count;
    out->external_labels = config->global.external_labels;
    return HK_OK;
}

static hk_err open_respond(struct hk_shard *shard) {
    struct hk_alerts *alerts = &shard->alerts;
    const struct hk_config *config = shard->engine->config;
    const struct hk_conf_alertmanager *conf = config->alertmanager;
    struct hk_respond_config respond = {
        .directory = shard->engine->data_dir,
        .external_url = shard->engine->external_url,
        .exec = shard->engine->exec,
    };
    HK_TRY(make_push(&alerts->arena, config, &respond.push));
    if (conf != NULL) {
        struct hk_receiver_config *receivers =
            hk_arena_alloc(&alerts->arena, conf->receivers.count, sizeof(*receivers));
        if (receivers == NULL) return HK_E_NOMEM;
        for (uint32_t i = 0; i < conf->receivers.count; i++) {
            HK_TRY(make_receiver(&alerts->arena, conf, &conf->receivers.items[i], &receivers[i]));
        }
        respond.receivers = receivers;
        respond.receiver_count = conf->receivers.count;
        make_route(&conf->route, &respond.route);
    }
    HK_TRY(hk_respond_create(&respond, &alerts->respond));
    alerts->transport = hk_warm_transport(shard);
    return hk_dispatch_create(alerts->respond, &alerts->transport, &alerts->dispatch);
}

static hk_err load_rules(struct hk_shard *shard) {
    struct hk_conf_report report;
    hk_conf_report_init(&report);
    hk_err err = hk_rules_load(
        shard->engine->config, NULL, hk_engine_rule_checks(), &report, &shard->alerts.set);
    struct hk_buf text;
    hk_buf_init(&text, 1 << 20);
    hk_conf_report_print(&report, &text);
    if (text.len > 0) (void)fprintf(stderr, "%.*s", HK_STR_ARG(hk_buf_get(&text)));
    hk_buf_deinit(&text);
    hk_conf_report_deinit(&report);
    return err;
}

/* Hands the alert states that recovery found in the log to the rules. */
static void recall(struct hk_shard *shard) {
    struct hk_str rest = hk_buf_get(&shard->recalled);
    uint32_t bytes = 0;
    while (rest.len >= sizeof(bytes)) {
        memcpy(&bytes, rest.ptr, sizeof(bytes));
        rest = hk_str_part(rest, sizeof(bytes), rest.len);
        hk_rules_recall(shard->alerts.rules, hk_str_part(rest, 0, bytes));
        rest = hk_str_part(rest, bytes, rest.len);
    }
    hk_buf_deinit(&shard->recalled);
}

/* A series must outlive the windows of the rules that are judged on arrival. */
static int64_t idle_ms(const struct hk_shard *shard) {
    int64_t wanted_ms = shard->engine->config->series_idle_ms;
    int64_t window_ms = hk_rules_window_ms(shard->alerts.rules);
    return wanted_ms == 0 || wanted_ms > window_ms ? wanted_ms : window_ms;
}

hk_err hk_alerts_open(struct hk_shard *shard) {
    struct hk_alerts *alerts = &shard->alerts;
    hk_arena_init(&alerts->arena, CONFIG_ARENA_MAX);
    HK_TRY(load_rules(shard));
    HK_TRY(open_respond(shard));
    struct hk_rules_options options = {
        .set = alerts->set,
        .source = shard->engine->source,
        .directory = hk_store_directory(shard->engine->store),
        .external_labels = shard->engine->config->global.external_labels,
        .external_url = shard->engine->external_url,
        .sink = { shard, on_event },
        .put = on_put,
        .post = on_post,
        .save = on_save,
        .self = shard,
    };
    HK_TRY(hk_rules_create(&options, &alerts->rules));
    recall(shard);
    int64_t now_ms = hk_clock_realtime_ms();
    int64_t down_from_ms = shard->engine->report.last_commit_ms;
    if (down_from_ms == 0 || down_from_ms > now_ms) down_from_ms = now_ms;
    hk_rules_firing(alerts->rules, on_restored, shard);
    shard->pass.rules_self = shard;
    shard->pass.series_created = on_series;
    shard->pass.sample = on_sample;
    HK_TRY(hk_rules_start(alerts->rules, down_from_ms, now_ms));
    hk_store_set_idle(shard->engine->store, idle_ms(shard));
    shard->pass.bound = hk_rules_bound(alerts->rules, &shard->pass.bound_count);
    return HK_OK;
}

void hk_alerts_close(struct hk_shard *shard) {
    struct hk_alerts *alerts = &shard->alerts;
    hk_rules_destroy(alerts->rules);
    hk_dispatch_destroy(alerts->dispatch);
    hk_respond_destroy(alerts->respond);
    hk_rule_set_destroy(alerts->set);
    hk_arena_deinit(&alerts->arena);
}

void hk_alerts_begin(struct hk_shard *shard, int64_t now_ms) {
    hk_rules_begin(shard->alerts.rules, now_ms);
}

void hk_alerts_commit(struct hk_shard *shard, int64_t now_ms) {
    hk_rules_commit(shard->alerts.rules, now_ms);
}

void hk_alerts_save(struct hk_shard *shard) {
    hk_rules_save_all(shard->alerts.rules);
}

void hk_alerts_tick(struct hk_shard *shard, int64_t now_ms) {
    struct hk_alerts *alerts = &shard->alerts;
    shard->readable_ns = hk_clock_monotonic_ns();
    hk_rules_tick(alerts->rules, now_ms);
    if (hk_dispatch_next_ms(alerts->dispatch) <= now_ms) {
        hk_dispatch_tick(alerts->dispatch, now_ms);
    }
    if (now_ms - alerts->saved_ms >= SAVE_EVERY_MS) {
        alerts->saved_ms = now_ms;
        shard->snapshot_due = true;
    }
}
