/* The outermost table and hark's own sections. */
#include "conf/table.h"

#define KIB ((int64_t)1 << 10)
#define MIB ((int64_t)1 << 20)

#define T   struct hk_conf_host_metrics
static const struct hk_option host_options[] = {
    BOOL("enabled", enabled, .fallback = "true", .help = "Measure this host, as job hark-host"),
    DURATION("interval", interval_ms, .fallback = "1s", RANGE(100, 3600000), .help = "How often"),
};
const struct hk_option_table hk_table_host_metrics = {
    .name = "host_metrics",
    .summary = "Metrics of this host, with node_exporter's names.",
    ROWS(host_options),
    .bytes = sizeof(T),
};
#undef T

static const char *const server_tls_versions[] = { "", "TLS10", "TLS11", "TLS12", "TLS13", NULL };

#define T struct hk_conf_server_tls
static const struct hk_option server_tls_options[] = {
    FILENAME(
        "cert_file", cert_file, .flags = HK_OPTION_REQUIRED,
        .help = "Certificate chain, PEM; read again when it changes"),
    FILENAME("key_file", key_file, .flags = HK_OPTION_REQUIRED, .help = "Its key, PEM"),
    FILENAME(
        "client_ca_file", client_ca_file,
        .help = "Clients must show a certificate of one of these authorities"),
    ENUM(
        "min_version", min_version, .choices = server_tls_versions, .fallback = "TLS12",
        .help = "Lowest TLS version, TLS12 or TLS13"),
};
static const struct hk_option_table server_tls_table = {
    .name = "server_tls",
    .summary = "TLS on every listener.",
    ROWS(server_tls_options),
    .bytes = sizeof(T),
    .check = hk_check_server_tls,
};
#undef T

#define T struct hk_conf_server
static const struct hk_option server_options[] = {
    STRING(
        "http", http, .fallback = "127.0.0.1:9090",
        .help = "Address of page, API and remote write; port 0 = any free port"),
    STRING(
        "otlp_grpc", otlp_grpc, .fallback = "127.0.0.1:4317",
        .help = "Address of OTLP over gRPC; \"off\" = none"),
    STRING(
        "otlp_http", otlp_http, .fallback = "127.0.0.1:4318",
        .help = "Address of OTLP over HTTP; \"off\" = none"),
    STRING(
        "otlp_legacy", otlp_legacy, .fallback = "off",
        .help = "Another address of OTLP over HTTP, for senders that still use the old port: "
                "127.0.0.1:55681"),
    OPTIONAL("tls", tls, server_tls_table, .help = "TLS on every listener"),
    SECRET("token", token, .help = "Every request must carry it: Authorization: Bearer …"),
    FILENAME("token_file", token_file, .help = "File with the token"),
    STRINGS(
        "allowed_hosts", allowed_hosts, .help = "Host names that clients may use besides loopback"),
    STRINGS(
        "allowed_origins", allowed_origins,
        .help = "Origins whose pages may send changing requests, as https://host:port"),
    BOOL(
        "insecure", insecure, .fallback = "false",
        .help = "Listen off loopback without TLS and token"),
};
const struct hk_option_table hk_table_server = {
    .name = "server",
    .summary = "Where hark listens and who may talk to it. Flags of hark serve win over it.",
    ROWS(server_options),
    .bytes = sizeof(T),
    .check = hk_check_server,
};
#undef T

#define T struct hk_conf_limits
static const struct hk_option limits_options[] = {
    SIZE(
        "request_bytes", request_bytes, .fallback = "64MiB", RANGE(64 * KIB, 1024 * MIB),
        .help = "Largest request body as sent"),
    SIZE(
        "decoded_bytes", decoded_bytes, .fallback = "256MiB", RANGE(64 * KIB, 4096 * MIB),
        .help = "Largest request body after decompression"),
    INT("connections", connections, .fallback = "4096", RANGE(1, 1000000), .unit = "connections",
        .help = "Most connections at a time"),
    INT("streams", streams, .fallback = "256", RANGE(1, 65536), .unit = "streams",
        .help = "Most HTTP/2 streams of one connection"),
    INT("headers", headers, .fallback = "100", RANGE(10, 10000), .unit = "headers",
        .help = "Most headers of one request"),
    SIZE(
        "header_bytes", header_bytes, .fallback = "32KiB", RANGE(KIB, MIB),
        .help = "Largest head of a request"),
    DURATION(
        "header_timeout", header_timeout_ms, .fallback = "10s", RANGE(10, 3600000),
        .help = "Longest wait for the head of a request"),
    DURATION(
        "request_timeout", request_timeout_ms, .fallback = "1m", RANGE(10, 86400000),
        .help = "Longest wait for the body of a request"),
    DURATION(
        "idle_timeout", idle_timeout_ms, .fallback = "5m", RANGE(10, 86400000),
        .help = "A connection without requests is closed after it"),
    INT("series", series, .fallback = "0", RANGE(0, 1000000000), .unit = "series",
        .help = "Most active series; new ones beyond are refused; 0 = as memory allows"),
    INT("labels", labels, .fallback = "64", RANGE(1, HK_LABELS_MAX), .unit = "labels",
        .help = "Most labels of a series"),
    INT("queries", queries, .fallback = "20", RANGE(1, 1000), .unit = "queries",
        .help = "Most queries at a time"),
    INT("query_series", query_series, .fallback = "1000000", RANGE(1, 1000000000), .unit = "series",
        .help = "Most series that one query reads"),
    INT("query_points", query_points, .fallback = "50000000", RANGE(1000, 10000000000),
        .unit = "points", .help = "Most samples that one query reads"),
    DURATION(
        "query_timeout", query_timeout_ms, .fallback = "2m", RANGE(1, 86400000),
        .help = "Longest query"),
};
const struct hk_option_table hk_table_limits = {
    .name = "limits",
    .summary = "What hark accepts at most.",
    ROWS(limits_options),
    .bytes = sizeof(T),
};
#undef T

#define T struct hk_conf_statsd
static const struct hk_option statsd_options[] = {
    STRING("listen", listen, .help = "UDP address, for example 127.0.0.1:8125"),
    FILENAME("socket", socket, .help = "Path of a Unix datagram socket"),
    DURATION(
        "flush_interval", flush_ms, .fallback = "1s", RANGE(10, 3600000),
        .help = "How often sums and timers are written"),
};
const struct hk_option_table hk_table_statsd = {
    .name = "statsd",
    .summary = "StatsD and DogStatsD over UDP or a Unix socket; off when the key is missing.",
    ROWS(statsd_options),
    .bytes = sizeof(T),
    .check = hk_check_statsd,
};
#undef T

#define T struct hk_conf_influx
static const struct hk_option influx_options[] = {
    BOOL(
        "enabled", enabled, .fallback = "true",
        .help = "Take line protocol at /write and /api/v2/write"),
};
const struct hk_option_table hk_table_influx = {
    .name = "influx",
    .summary = "InfluxDB line protocol on the page's address.",
    ROWS(influx_options),
    .bytes = sizeof(T),
};
#undef T

#define T struct hk_conf_pushgateway
static const struct hk_option pushgateway_options[] = {
    BOOL("enabled", enabled, .fallback = "true", .help = "Take pushes at /metrics/job/…"),
    DURATION(
        "ttl", ttl_ms, .fallback = "0s", RANGE(0, INT64_MAX),
        .help = "A group that is not pushed for so long goes stale; 0 = never"),
};
const struct hk_option_table hk_table_pushgateway = {
    .name = "pushgateway",
    .summary = "The paths of the Pushgateway on the page's address.",
    ROWS(pushgateway_options),
    .bytes = sizeof(T),
};
#undef T

static const struct hk_option runtime_options[] = {
    UNSTORED(INT, "gogc", .help = "Setting of Go's garbage collector"),
};
static const struct hk_option_table runtime_table = {
    .name = "runtime",
    .summary = "Settings of Go.",
    ROWS(runtime_options),
};
static const struct hk_option retention_options[] = {
    UNSTORED(DURATION, "time", .help = "Oldest data"),
    UNSTORED(SIZE, "size", .help = "Most data"),
    UNSTORED(DOUBLE, "percentage", .help = "Most of the disk"),
};
static const struct hk_option_table tsdb_retention_table = {
    .name = "tsdb_retention",
    .summary = "How long Prometheus keeps data.",
    ROWS(retention_options),
};
static const struct hk_option tsdb_options[] = {
    UNSTORED(DURATION, "out_of_order_time_window", .help = "How late samples may be"),
    UNSTORED(DOUBLE, "stale_series_compaction_threshold", .help = "When to compact stale series"),
    UNSTORED(ANY, "chunk_encoding", .help = "Encoding of chunks", LATER("hark has its own")),
    UNSTORED(OPTIONAL, "retention", .table = &tsdb_retention_table, .help = "How long data stays"),
};
static const struct hk_option_table tsdb_table = {
    .name = "tsdb",
    .summary = "Settings of Prometheus' storage.",
    ROWS(tsdb_options),
};
#define T struct hk_conf_exemplars
static const struct hk_option exemplars_options[] = {
    INT("max_exemplars", max, .fallback = "100000", RANGE(INT32_MIN, 1 << 24), .unit = "exemplars",
        .help = "Most exemplars that are kept, the newest ones; 0 or less = none"),
};
static const struct hk_option_table exemplars_table = {
    .name = "exemplars",
    .summary = "How exemplars are kept.",
    ROWS(exemplars_options),
    .bytes = sizeof(T),
};
#undef T
#define T struct hk_conf_storage
static const struct hk_option storage_options[] = {
    UNSTORED(
        OPTIONAL, "tsdb", .table = &tsdb_table, .help = "Series",
        LATER("hark takes samples of any age; see retention and retention_size")),
    STRUCT("exemplars", exemplars, exemplars_table, .help = "Exemplars"),
};
static const struct hk_option_table storage_table = {
    .name = "storage",
    .summary = "Settings of Prometheus' storage.",
    ROWS(storage_options),
    .bytes = sizeof(T),
};
#undef T
static const struct hk_option tracing_options[] = {
    UNSTORED(STRING, "client_type", .help = "grpc or http"),
    UNSTORED(STRING, "endpoint", .help = "Where to send"),
    UNSTORED(DOUBLE, "sampling_fraction", .help = "How many of them"),
    UNSTORED(BOOL, "insecure", .help = "Without TLS"),
    UNSTORED(OPTIONAL, "tls_config", .table = &hk_table_tls_client, .help = "TLS"),
    UNSTORED(MAP, "headers", .flags = HK_OPTION_HIDE, .help = "Headers to add"),
    UNSTORED(STRING, "compression", .help = "gzip or none"),
    UNSTORED(DURATION, "timeout", .help = "Longest request"),
};
static const struct hk_option_table tracing_table = {
    .name = "tracing",
    .summary = "Traces of Prometheus itself.",
    ROWS(tracing_options),
};

static const char *const spins[] = { "off", "adaptive", "always", NULL };
static const char *const acks[] = { "durable", "memory", NULL };

#define T struct hk_config
static const struct hk_option config_options[] = {
    STRUCT("global", global, hk_table_global, .help = "Defaults"),
    FILENAMES("rule_files", rule_files, .help = "Patterns of rule files"),
    FILENAMES(
        "scrape_config_files", scrape_config_files,
        .help = "Patterns of files with more scrape jobs"),
    STRUCTS("scrape_configs", jobs, hk_table_scrape_config, .help = "Scrape jobs"),
    STRUCT("alerting", alerting, hk_table_alerting, .help = "Separate Alertmanagers to push to"),
    STRUCTS(
        "remote_write", remote_write, hk_table_remote_write,
        .help = "Servers to forward samples to", LATER("samples are not forwarded")),
    UNSTORED(
        STRUCTS, "remote_read", .table = &hk_table_remote_read, .help = "Servers to read from",
        LATER("queries read hark's own data only")),
    STRUCT("otlp", otlp, hk_table_otlp, .help = "How OTLP metrics become series"),
    STRUCT("storage", storage, storage_table, .help = "Prometheus' storage"),
    UNSTORED(
        OPTIONAL, "tracing", .table = &tracing_table, .help = "Traces of the server itself",
        LATER("hark sends no traces of itself")),
    UNSTORED(
        OPTIONAL, "runtime", .table = &runtime_table, .help = "Settings of Go",
        LATER("hark has no garbage collector")),
    OPTIONAL(
        "alertmanager", alertmanager, hk_table_alertmanager,
        .help = "Routing and actions inside of hark"),
    FILENAME(
        "alertmanager_file", alertmanager_file,
        .help = "The same in a file of its own: an alertmanager.yml"),
    STRUCT("host_metrics", host_metrics, hk_table_host_metrics, .help = "Metrics of this host"),
    STRUCT("server", server, hk_table_server, .help = "Where hark listens, and for whom"),
    FILENAME(
        "data_dir", data_dir, .fallback_text = "./hark-data, as a service /var/lib/hark",
        .help = "Folder of the data"),
    DURATION(
        "retention", retention_ms, .fallback = "0s", RANGE(0, INT64_MAX),
        .help = "Age at which data is dropped; 0 = no age"),
    SIZE(
        "retention_size", retention_bytes, .fallback = "0",
        .fallback_text = "half of the free disk, at most 50GiB", .help = "Most bytes on disk"),
    DURATION(
        "series_idle", series_idle_ms, .fallback = "2h", RANGE(0, INT64_MAX),
        .help = "Series without samples for so long leave memory, their data stays; 0 = never"),
    SIZE(
        "memory", memory_bytes, .fallback = "0",
        .help = "Hard cap on memory; new series are refused beyond it; 0 = none"),
    INT("shards", shards, .fallback = "0", .fallback_text = "half of the processors", RANGE(0, 256),
        .unit = "shards", .help = "Threads that receive"),
    ENUM(
        "spin", spin, .choices = spins, .fallback = "off",
        .help = "Whether shards poll in place of sleeping: lower latency for a busy processor"),
    ENUM(
        "ack", ack, .choices = acks, .fallback = "durable",
        .help = "When a sender hears that its data is safe: on disk, or in memory"),
    STRUCT("limits", limits, hk_table_limits, .help = "What hark accepts at most"),
    OPTIONAL("statsd", statsd, hk_table_statsd, .help = "StatsD and DogStatsD"),
    STRUCT("influx", influx, hk_table_influx, .help = "InfluxDB line protocol"),
    STRUCT("pushgateway", pushgateway, hk_table_pushgateway, .help = "Pushgateway paths"),
};
const struct hk_option_table hk_table_config = {
    .name = "config",
    .summary = "The whole file. An unmodified prometheus.yml is valid.",
    ROWS(config_options),
    .bytes = sizeof(T),
    .check = hk_check_config,
};
#undef T
