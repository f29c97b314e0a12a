/* Receivers, route and Alertmanagers of the configuration in the form that respond takes. */
#include "engine/engine_internal.h"

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
            .concurrency_max = (uint32_t)from->concurrency_max,
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

hk_err hk_alerts_respond_config(
    const struct hk_engine *engine, const struct hk_config *config, struct hk_arena *arena,
    struct hk_respond_config *out) {
    const struct hk_conf_alertmanager *conf = config->alertmanager;
    *out = (struct hk_respond_config){
        .directory = engine->data_dir,
        .external_url = engine->external_url,
        .exec = engine->exec,
    };
    HK_TRY(make_push(arena, config, &out->push));
    if (conf == NULL) return HK_OK;
    struct hk_receiver_config *receivers =
        hk_arena_alloc(arena, (size_t)conf->receivers.count + 1, sizeof(*receivers));
    if (receivers == NULL) return HK_E_NOMEM;
    for (uint32_t i = 0; i < conf->receivers.count; i++) {
        HK_TRY(make_receiver(arena, conf, &conf->receivers.items[i], &receivers[i]));
    }
    out->receivers = receivers;
    out->receiver_count = conf->receivers.count;
    make_route(&conf->route, &out->route);
    return HK_OK;
}
