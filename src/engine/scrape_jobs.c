/* Scrape jobs of the configuration in the form that the scrape manager takes. */
#include "engine/engine_internal.h"
#include "engine/scraping.h"

#include <stdio.h>

static struct hk_str_list list_of(const struct hk_conf_strings *strings) {
    return (struct hk_str_list){ strings->items, strings->count };
}

static int32_t protocol_of(int conf) {
    switch (conf) {
    case HK_CONF_PROTOBUF:
        return HK_SCRAPE_PROTO_PROTOBUF;
    case HK_CONF_OPENMETRICS_001:
        return HK_SCRAPE_PROTO_OPENMETRICS_001;
    case HK_CONF_OPENMETRICS_100:
        return HK_SCRAPE_PROTO_OPENMETRICS_100;
    case HK_CONF_TEXT_004:
        return HK_SCRAPE_PROTO_TEXT_004;
    case HK_CONF_TEXT_100:
        return HK_SCRAPE_PROTO_TEXT_100;
    default:
        return HK_SCRAPE_PROTO_NONE;
    }
}

static int32_t tls_version(int conf) {
    return conf == HK_CONF_TLS_DEFAULT ? 0 : 10 + (conf - HK_CONF_TLS10);
}

static struct hk_scrape_http http_of(const struct hk_conf_http *conf) {
    struct hk_scrape_http out = {
        .proxy_url = conf->proxy_url,
        .no_proxy = conf->no_proxy,
        .follow_redirects = conf->follow_redirects,
        .enable_http2 = conf->enable_http2,
        .tls = {
            .ca_file = conf->tls.ca_file,
            .ca = conf->tls.ca,
            .cert_file = conf->tls.cert_file,
            .cert = conf->tls.cert,
            .key_file = conf->tls.key_file,
            .key = conf->tls.key.value,
            .server_name = conf->tls.server_name,
            .insecure_skip_verify = conf->tls.insecure_skip_verify,
            .version_min = tls_version(conf->tls.min_version),
            .version_max = tls_version(conf->tls.max_version),
        },
    };
    if (conf->basic_auth != NULL) {
        out.username = conf->basic_auth->username;
        out.username_file = conf->basic_auth->username_file;
        out.password = conf->basic_auth->password.value;
        out.password_file = conf->basic_auth->password_file;
    }
    if (conf->authorization != NULL) {
        out.authorization_type = conf->authorization->type;
        out.credentials = conf->authorization->credentials.value;
        out.credentials_file = conf->authorization->credentials_file;
    }
    return out;
}

static const struct hk_relabel_config *
relabel_of(struct hk_arena *arena, const struct hk_conf_relabel *rules, uint32_t count) {
    struct hk_relabel_config *out = hk_arena_alloc(arena, count, sizeof(*out));
    if (out != NULL) hk_conf_relabel_configs(rules, count, out);
    return out;
}

static hk_err make_sources(
    struct hk_arena *arena, const struct hk_conf_discovery *conf,
    struct hk_scrape_job_config *out) {
    struct hk_scrape_static *statics = hk_arena_alloc(arena, conf->statics.count, sizeof(*statics));
    struct hk_scrape_file_sd *files = hk_arena_alloc(arena, conf->files.count, sizeof(*files));
    struct hk_scrape_http_sd *https = hk_arena_alloc(arena, conf->https.count, sizeof(*https));
    struct hk_scrape_dns_sd *dns = hk_arena_alloc(arena, conf->dns.count, sizeof(*dns));
    if (statics == NULL || files == NULL || https == NULL || dns == NULL) return HK_E_NOMEM;
    for (uint32_t i = 0; i < conf->statics.count; i++) {
        statics[i].targets = list_of(&conf->statics.items[i].targets);
        statics[i].labels = conf->statics.items[i].labels;
    }
    for (uint32_t i = 0; i < conf->files.count; i++) {
        files[i].patterns = list_of(&conf->files.items[i].files);
        files[i].refresh_ms = conf->files.items[i].refresh_ms;
    }
    for (uint32_t i = 0; i < conf->https.count; i++) {
        https[i].url = conf->https.items[i].url;
        https[i].refresh_ms = conf->https.items[i].refresh_ms;
        https[i].http = http_of(&conf->https.items[i].http);
    }
    for (uint32_t i = 0; i < conf->dns.count; i++) {
        dns[i].names = list_of(&conf->dns.items[i].names);
        dns[i].refresh_ms = conf->dns.items[i].refresh_ms;
        dns[i].type = conf->dns.items[i].type; /* both enums have the same order */
        dns[i].port = (uint32_t)conf->dns.items[i].port;
    }
    out->statics.items = statics;
    out->statics.count = conf->statics.count;
    out->files.items = files;
    out->files.count = conf->files.count;
    out->https.items = https;
    out->https.count = conf->https.count;
    out->dns.items = dns;
    out->dns.count = conf->dns.count;
    return HK_OK;
}

static hk_err make_params(
    struct hk_arena *arena, const struct hk_conf_params *conf, struct hk_scrape_job_config *out) {
    struct hk_scrape_param *params = hk_arena_alloc(arena, conf->count, sizeof(*params));
    if (params == NULL) return HK_E_NOMEM;
    for (uint32_t i = 0; i < conf->count; i++) {
        params[i].name = conf->items[i].name;
        params[i].values = list_of(&conf->items[i].values);
    }
    out->params.items = params;
    out->params.count = conf->count;
    return HK_OK;
}

static hk_err
make_job(struct hk_arena *arena, const struct hk_conf_job *conf, struct hk_scrape_job_config *out) {
    int32_t *protocols = hk_arena_alloc(arena, conf->protocols.count, sizeof(*protocols));
    if (protocols == NULL) return HK_E_NOMEM;
    for (uint32_t i = 0; i < conf->protocols.count; i++) {
        protocols[i] = protocol_of(conf->protocols.items[i]);
    }
    *out = (struct hk_scrape_job_config){
        .name = conf->name,
        .scheme = conf->scheme == HK_CONF_SCHEME_HTTPS ? HK_STR("https") : HK_STR("http"),
        .metrics_path = conf->metrics_path,
        .interval_ms = conf->interval_ms,
        .timeout_ms = conf->timeout_ms,
        .honor_labels = conf->honor_labels,
        .ignore_timestamps = !conf->honor_timestamps,
        .track_timestamps_staleness = conf->track_timestamps_staleness,
        .no_compression = !conf->enable_compression,
        .scrape_native = conf->scrape_native,
        .protocols = protocols,
        .protocol_count = conf->protocols.count,
        .fallback_protocol = protocol_of(conf->fallback_protocol),
        .limits = {
            .body_bytes = conf->limits.body_bytes,
            .samples = (uint64_t)conf->limits.samples,
            .targets = (uint64_t)conf->limits.targets,
            .labels = (uint64_t)conf->limits.labels,
            .label_name_bytes = (uint64_t)conf->limits.label_name_bytes,
            .label_value_bytes = (uint64_t)conf->limits.label_value_bytes,
        },
        .http = http_of(&conf->http),
    };
    out->relabel.items = relabel_of(arena, conf->relabel.items, conf->relabel.count);
    out->relabel.count = conf->relabel.count;
    out->metric_relabel.items =
        relabel_of(arena, conf->metric_relabel.items, conf->metric_relabel.count);
    out->metric_relabel.count = conf->metric_relabel.count;
    if (out->relabel.items == NULL || out->metric_relabel.items == NULL) return HK_E_NOMEM;
    HK_TRY(make_params(arena, &conf->params, out));
    return make_sources(arena, &conf->discovery, out);
}

/* The host's own metrics: an internal target under job "hark-host". */
static hk_err make_host_job(
    struct hk_arena *arena, struct hk_host *host, int64_t interval_ms,
    struct hk_scrape_job_config *out) {
    char name[HK_HOST_NAME_BYTES_MAX];
    hk_host_name(name, sizeof(name));
    struct hk_scrape_static *target = hk_arena_alloc(arena, 1, sizeof(*target));
    struct hk_str *address = hk_arena_alloc(arena, 1, sizeof(*address));
    if (target == NULL || address == NULL) return HK_E_NOMEM;
    *address = hk_arena_str(arena, hk_str_from(name));
    if (address->ptr == NULL) return HK_E_NOMEM;
    target->targets = (struct hk_str_list){ address, 1 };
    *out = (struct hk_scrape_job_config){
        .name = HK_STR("hark-host"),
        .interval_ms = interval_ms,
        .timeout_ms = interval_ms,
        .body = hk_host_body,
        .body_self = host,
        .statics = { target, 1 },
    };
    return HK_OK;
}

hk_err hk_scraping_apply(struct hk_shard *shard, const struct hk_config *config) {
    struct hk_scraping *scraping = &shard->scraping;
    struct hk_arena arena;
    hk_arena_init(&arena, 256 << 20);
    bool host = config->host_metrics.enabled && scraping->host != NULL;
    uint32_t count = 0;
    hk_err err = HK_OK;
    struct hk_scrape_job_config *jobs =
        hk_arena_alloc(&arena, (size_t)config->jobs.count + 1, sizeof(*jobs));
    if (jobs == NULL) err = HK_E_NOMEM;
    if (err >= 0 && host) {
        err =
            make_host_job(&arena, scraping->host, config->host_metrics.interval_ms, &jobs[count++]);
    }
    for (uint32_t i = 0; i < config->jobs.count && err >= 0; i++) {
        err = make_job(&arena, &config->jobs.items[i], &jobs[count++]);
    }
    if (err >= 0) err = hk_scrape_apply(scraping->manager, jobs, count);
    hk_arena_deinit(&arena);
    return err;
}
