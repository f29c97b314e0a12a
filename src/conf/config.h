/*
 * The configuration: one YAML file read into plain, typed, immutable structs. Everything lives in
 * the configuration's own arena; the engine swaps whole snapshots. Thread-safe for readers.
 *
 * An unmodified prometheus.yml (Prometheus 3.5) is valid. Keys are described by the tables of
 * option.h; `hark help config` prints them. In values, ${NAME}, ${NAME:-default} and ${file:path}
 * are replaced, $${…} stands for ${…}; never in relabel rules, whose $ has its own meaning.
 */
#ifndef HK_CONF_CONFIG_H
#define HK_CONF_CONFIG_H

#include "conf/problem.h"
#include "model/labels.h"
#include "model/relabel.h"

enum {
    HK_CONF_FILE_BYTES_MAX = 16 << 20,   /* of one file */
    HK_CONF_ARENA_BYTES_MAX = 256 << 20, /* of everything read */
    HK_CONF_DEPTH_MAX = 48,              /* nesting of mappings and lists */
    HK_CONF_NODES_MAX = 400000,          /* values of one file, aliases expanded */
    HK_CONF_SCALAR_BYTES_MAX = 1 << 20,  /* of one value, also after substitution */
    HK_CONF_FILES_MAX = 4096,            /* files that globs may name */
};

/* A value that must never be printed or logged; a type of its own so that it cannot be by chance.
 */
struct hk_secret {
    struct hk_str value;
};

/* A list in the arena. */
#define HK_CONF_LIST(type)                                                                         \
    struct {                                                                                       \
        type *items;                                                                               \
        uint32_t count;                                                                            \
    }

struct hk_conf_strings {
    struct hk_str *items;
    uint32_t count;
};

struct hk_conf_secrets {
    struct hk_secret *items;
    uint32_t count;
};

struct hk_conf_enums {
    int *items;
    uint32_t count;
};

struct hk_conf_param {
    struct hk_str name;
    struct hk_conf_strings values;
};

struct hk_conf_params {
    struct hk_conf_param *items;
    uint32_t count;
};

/* --- how an HTTP client connects: scraping, discovery, webhooks, Alertmanagers ---------------- */

enum hk_conf_tls_version {
    HK_CONF_TLS_DEFAULT,
    HK_CONF_TLS10,
    HK_CONF_TLS11,
    HK_CONF_TLS12,
    HK_CONF_TLS13,
};

struct hk_conf_tls_client {
    struct hk_str ca, ca_file, cert, cert_file, key_file, server_name;
    struct hk_secret key;
    bool insecure_skip_verify;
    int min_version, max_version; /* enum hk_conf_tls_version */
};

struct hk_conf_basic_auth {
    struct hk_str username, username_file, password_file;
    struct hk_secret password;
};

struct hk_conf_authorization {
    struct hk_str type; /* "Bearer" */
    struct hk_secret credentials;
    struct hk_str credentials_file;
};

struct hk_conf_oauth2 {
    struct hk_str client_id, client_secret_file, token_url;
    struct hk_secret client_secret;
    struct hk_conf_strings scopes;
    struct hk_labels endpoint_params;
    struct hk_conf_tls_client tls;
};

struct hk_conf_header {
    struct hk_str name;
    struct hk_conf_strings values, files;
    struct hk_conf_secrets secrets;
};

struct hk_conf_http {
    struct hk_conf_basic_auth *basic_auth;
    struct hk_conf_authorization *authorization; /* also what bearer_token[_file] said */
    struct hk_conf_oauth2 *oauth2;
    struct hk_secret bearer_token; /* moved to `authorization` by the loader */
    struct hk_str bearer_token_file;
    struct hk_conf_tls_client tls;
    bool follow_redirects, enable_http2;
    struct hk_str proxy_url, no_proxy;
    bool proxy_from_environment;
    struct hk_conf_params proxy_connect_header;
    HK_CONF_LIST(struct hk_conf_header) headers;
};

/* --- relabelling ------------------------------------------------------------------------------ */

struct hk_conf_relabel {
    struct hk_conf_strings source_labels;
    struct hk_str separator, regex, target_label, replacement;
    int64_t modulus;
    int action; /* enum hk_relabel_action */
};

/* --- scraping --------------------------------------------------------------------------------- */

struct hk_conf_static {
    struct hk_conf_strings targets;
    struct hk_labels labels;
};

struct hk_conf_file_sd {
    struct hk_conf_strings files; /* patterns */
    int64_t refresh_ms;
};

struct hk_conf_http_sd {
    struct hk_str url;
    int64_t refresh_ms;
    struct hk_conf_http http;
};

enum hk_conf_dns_type {
    HK_CONF_DNS_SRV,
    HK_CONF_DNS_A,
    HK_CONF_DNS_AAAA,
    HK_CONF_DNS_MX,
    HK_CONF_DNS_NS
};

struct hk_conf_dns_sd {
    struct hk_conf_strings names;
    int64_t refresh_ms;
    int type; /* enum hk_conf_dns_type */
    int64_t port;
};

/* Where targets come from. */
struct hk_conf_discovery {
    HK_CONF_LIST(struct hk_conf_static) statics;
    HK_CONF_LIST(struct hk_conf_file_sd) files;
    HK_CONF_LIST(struct hk_conf_http_sd) https;
    HK_CONF_LIST(struct hk_conf_dns_sd) dns;
    struct hk_conf_strings unsupported; /* keys that hark does not act on: "consul_sd_configs" */
};

enum hk_conf_scheme { HK_CONF_SCHEME_HTTP, HK_CONF_SCHEME_HTTPS };

enum hk_conf_protocol {
    HK_CONF_PROTO_DEFAULT, /* only as fallback: none */
    HK_CONF_PROTOBUF,
    HK_CONF_OPENMETRICS_001,
    HK_CONF_OPENMETRICS_100,
    HK_CONF_TEXT_004,
    HK_CONF_TEXT_100,
};

enum hk_conf_validation {
    HK_CONF_VALIDATION_DEFAULT,
    HK_CONF_VALIDATION_UTF8,
    HK_CONF_VALIDATION_LEGACY
};

enum hk_conf_escaping {
    HK_CONF_ESCAPING_DEFAULT,
    HK_CONF_ESCAPING_ALLOW_UTF8,
    HK_CONF_ESCAPING_UNDERSCORES,
    HK_CONF_ESCAPING_DOTS,
    HK_CONF_ESCAPING_VALUES,
};

/* Limits of one scrape; 0 = none. */
struct hk_conf_scrape_limits {
    uint64_t body_bytes;
    int64_t samples, targets, labels, label_name_bytes, label_value_bytes, dropped_targets;
};

struct hk_conf_global {
    int64_t scrape_interval_ms, scrape_timeout_ms, evaluation_interval_ms, rule_query_offset_ms;
    struct hk_conf_enums protocols; /* enum hk_conf_protocol, in order of preference */
    struct hk_labels external_labels;
    struct hk_conf_scrape_limits limits;
    int validation, escaping; /* enum hk_conf_validation, hk_conf_escaping */
    bool convert_classic_to_nhcb, always_scrape_classic, scrape_native, extra_scrape_metrics;
};

/* One scrape job; everything that `global` says in its place is filled in. */
struct hk_conf_job {
    struct hk_str name;
    struct hk_str file; /* where it stands */
    uint32_t line, column;
    bool honor_labels, honor_timestamps, track_timestamps_staleness, enable_compression;
    bool convert_classic_to_nhcb, always_scrape_classic, scrape_native, extra_scrape_metrics;
    int64_t interval_ms, timeout_ms;
    struct hk_conf_params params;
    struct hk_conf_enums protocols;
    int fallback_protocol; /* enum hk_conf_protocol */
    struct hk_str metrics_path;
    int scheme; /* enum hk_conf_scheme */
    struct hk_conf_scrape_limits limits;
    int64_t native_histogram_buckets;
    double native_histogram_min_factor;
    int validation, escaping;
    struct hk_conf_http http;
    struct hk_conf_discovery discovery;
    HK_CONF_LIST(struct hk_conf_relabel) relabel;
    HK_CONF_LIST(struct hk_conf_relabel) metric_relabel;
};

/* --- a separate Alertmanager that hark pushes alerts to --------------------------------------- */

struct hk_conf_alertmanager_peer {
    int scheme; /* enum hk_conf_scheme */
    struct hk_str path_prefix;
    int64_t timeout_ms;
    struct hk_conf_http http;
    struct hk_conf_discovery discovery;
    HK_CONF_LIST(struct hk_conf_relabel) relabel;
    HK_CONF_LIST(struct hk_conf_relabel) alert_relabel;
};

struct hk_conf_alerting {
    HK_CONF_LIST(struct hk_conf_relabel) alert_relabel;
    HK_CONF_LIST(struct hk_conf_alertmanager_peer) alertmanagers;
};

/* --- forwarding (read, not acted on yet) ------------------------------------------------------ */

struct hk_conf_remote_write {
    struct hk_str url, name;
    int64_t timeout_ms;
    struct hk_labels headers;
    bool send_exemplars, send_native_histograms;
    int message; /* 0: remote write 1.0, 1: 2.0 */
    struct hk_conf_http http;
    HK_CONF_LIST(struct hk_conf_relabel) write_relabel;
    int64_t capacity, shards_max, shards_min, samples_per_send_max;
    int64_t batch_deadline_ms, backoff_min_ms, backoff_max_ms, sample_age_max_ms;
    bool retry_on_429;
};

/* --- OTLP ------------------------------------------------------------------------------------- */

enum hk_conf_translation {
    HK_CONF_UNDERSCORES_WITH_SUFFIXES,
    HK_CONF_UTF8_WITH_SUFFIXES,
    HK_CONF_UNDERSCORES_WITHOUT_SUFFIXES,
    HK_CONF_NO_TRANSLATION,
};

struct hk_conf_otlp {
    struct hk_conf_strings promote, ignore; /* resource attributes */
    bool promote_all, keep_identifying, convert_histograms_to_nhcb, promote_scope_metadata;
    int translation; /* enum hk_conf_translation */
};

/* --- alerts inside hark: an Alertmanager's configuration -------------------------------------- */

struct hk_conf_route {
    struct hk_str receiver;
    struct hk_conf_strings group_by; /* "..." = by all labels */
    struct hk_conf_strings matchers; /* as written: name="value" */
    struct hk_labels match, match_re;
    struct hk_conf_strings mute_time_intervals, active_time_intervals;
    bool continue_matching;
    int64_t group_wait_ms, group_interval_ms, repeat_interval_ms; /* -1 = as the parent's */
    HK_CONF_LIST(struct hk_conf_route) routes;
};

struct hk_conf_webhook {
    struct hk_secret url;
    struct hk_str url_file;
    bool send_resolved;
    int64_t alerts_max;        /* per message, 0 = all */
    int64_t timeout_ms;        /* 0 = hark's default */
    struct hk_conf_http *http; /* NULL: as alertmanager.global.http_config */
};

struct hk_conf_exec {
    struct hk_conf_strings command; /* argv; the first is an absolute path */
    struct hk_labels env;           /* added to the environment */
    int64_t timeout_ms;
    bool send_resolved;
    int64_t concurrency_max; /* runs at a time */
};

struct hk_conf_receiver {
    struct hk_str name;
    HK_CONF_LIST(struct hk_conf_webhook) webhooks;
    HK_CONF_LIST(struct hk_conf_exec) execs;
    struct hk_conf_strings unsupported; /* keys that hark does not act on: "slack_configs" */
};

struct hk_conf_alertmanager {
    int64_t resolve_timeout_ms;
    struct hk_conf_http http; /* alertmanager.global.http_config */
    struct hk_conf_route route;
    HK_CONF_LIST(struct hk_conf_receiver) receivers;
    struct hk_conf_strings templates; /* patterns */
};

/* --- hark's own ------------------------------------------------------------------------------- */

struct hk_conf_host_metrics {
    bool enabled;
    int64_t interval_ms;
};

struct hk_conf_server_tls {
    struct hk_str cert_file, key_file, client_ca_file;
    int min_version; /* enum hk_conf_tls_version: TLS12 or TLS13 */
};

struct hk_conf_server {
    struct hk_str http, otlp_grpc, otlp_http, otlp_legacy; /* addresses; "" = not listening */
    struct hk_conf_server_tls *tls;                        /* NULL = plain text */
    struct hk_secret token;
    struct hk_str token_file;
    struct hk_conf_strings allowed_hosts, allowed_origins;
    bool insecure; /* off loopback without TLS and token */
};

struct hk_conf_statsd {
    struct hk_str listen; /* UDP address */
    struct hk_str socket; /* path of a Unix datagram socket */
    int64_t flush_ms;
};

struct hk_conf_influx {
    bool enabled;
};

struct hk_conf_pushgateway {
    bool enabled;
    int64_t ttl_ms; /* 0 = groups live until deleted */
};

struct hk_conf_exemplars {
    int64_t max; /* 0 or less = none */
};

struct hk_conf_storage {
    struct hk_conf_exemplars exemplars;
};

struct hk_conf_remote_write_receiver {
    bool enabled;
};

enum hk_conf_spin { HK_CONF_SPIN_OFF, HK_CONF_SPIN_ADAPTIVE, HK_CONF_SPIN_ALWAYS };
enum hk_conf_ack { HK_CONF_ACK_DURABLE, HK_CONF_ACK_MEMORY };

/* Doors and budgets of the server; see the rows for units and ranges. */
struct hk_conf_limits {
    uint64_t request_bytes, decoded_bytes;
    int64_t connections, headers, streams;
    uint64_t header_bytes;
    int64_t header_timeout_ms, request_timeout_ms, idle_timeout_ms;
    int64_t series, labels, query_series, query_points, query_timeout_ms, queries;
};

struct hk_config {
    struct hk_arena arena;   /* owns everything below */
    struct hk_str path, dir; /* of the file; "" when there is none */

    struct hk_conf_global global;
    struct hk_conf_strings rule_files;          /* patterns, relative to the file resolved */
    struct hk_conf_strings scrape_config_files; /* patterns; their jobs are in `jobs` */
    HK_CONF_LIST(struct hk_conf_job) jobs;
    struct hk_conf_alerting alerting;
    HK_CONF_LIST(struct hk_conf_remote_write) remote_write;
    struct hk_conf_otlp otlp;
    struct hk_conf_storage storage;

    struct hk_conf_alertmanager *alertmanager; /* NULL when neither key is given */
    struct hk_str alertmanager_file;
    struct hk_conf_host_metrics host_metrics;
    struct hk_conf_server server;
    struct hk_str data_dir;
    int64_t retention_ms;     /* 0 = no age limit */
    uint64_t retention_bytes; /* 0 = half of the free disk, at most 50 GiB */
    int64_t series_idle_ms;   /* 0 = series are never retired */
    uint64_t memory_bytes;    /* 0 = no cap */
    int64_t shards;           /* 0 = half of the processors */
    int spin;                 /* enum hk_conf_spin */
    int ack;                  /* enum hk_conf_ack */
    struct hk_conf_limits limits;
    struct hk_conf_statsd *statsd; /* NULL = off */
    struct hk_conf_influx influx;
    struct hk_conf_pushgateway pushgateway;

    /* YAML with all defaults, secrets hidden: /api/v1/status/config; and the same of what
     * `alertmanager` or `alertmanager_file` says, "" when there is none: /api/v2/status. */
    struct hk_str canonical, alertmanager_canonical;
};

/* Where values come from; all zero = the process' environment and file system. */
struct hk_conf_source {
    void *self;
    const char *(*env)(void *self, const char *name); /* NULL = the process' environment */
    bool no_files; /* refuse to open anything but the given text */
};

/*
 * Reads the file at `path` and the files it names (scrape_config_files, alertmanager_file). All
 * problems go to `report` (initialised by the caller, sorted here). HK_OK with a configuration to
 * be ended by hk_config_destroy, also when there are warnings; HK_E_INVALID when there are errors,
 * HK_E_NOT_FOUND or HK_E_IO when `path` cannot be read (also in the report), HK_E_NOMEM.
 */
hk_err hk_config_load(
    const char *path, const struct hk_conf_source *source, struct hk_conf_report *report,
    struct hk_config **out) HK_MUST_CHECK;

/* As hk_config_load, but from `text`; `path` names it in problems and gives its folder. An empty
 * text gives the configuration with all defaults. */
hk_err hk_config_parse(
    struct hk_str path, struct hk_str text, const struct hk_conf_source *source,
    struct hk_conf_report *report, struct hk_config **out) HK_MUST_CHECK;

/*
 * Is it an address to listen on: host:port, [v6]:port, :port (all interfaces)? `out_loopback`: can
 * only this host reach it (127.0.0.0/8, ::1, localhost)? HK_E_MALFORMED.
 */
hk_err hk_conf_address(struct hk_str address, bool *out_loopback) HK_MUST_CHECK;

/* The steps in the form of model/relabel.h: `out` has room for `count`; strings are borrowed. */
void hk_conf_relabel_configs(
    const struct hk_conf_relabel *rules, uint32_t count, struct hk_relabel_config *out);

/*
 * Compiles relabelling steps of a configuration; the result copies everything and is ended by
 * hk_relabel_destroy. HK_E_INVALID with the reason, HK_E_LIMIT, HK_E_NOMEM.
 */
hk_err hk_conf_relabel_compile(
    const struct hk_conf_relabel *rules, uint32_t count, struct hk_relabel **out) HK_MUST_CHECK;

/* Frees it with everything in it; NULL is fine. */
void hk_config_destroy(struct hk_config *config);

#endif
