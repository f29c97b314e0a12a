/* Sections of prometheus.yml (Prometheus 3.5): global, jobs, Alertmanagers, remote write, OTLP. */
#include "conf/table.h"

static const char *const schemes[] = { "http", "https", NULL };
static const char *const validations[] = { "", "utf8", "legacy", NULL };
static const char *const escapings[] = { "", "allow-utf-8", "underscores", "dots", "values", NULL };
static const char *const protocols[] = {
    "",
    "PrometheusProto",
    "OpenMetricsText0.0.1",
    "OpenMetricsText1.0.0",
    "PrometheusText0.0.4",
    "PrometheusText1.0.0",
    NULL,
};

#define NAMES_AS_SENT LATER("names are taken as the target sends them, all of UTF-8")
#define NO_NHCB       LATER("classic histograms stay classic")
#define NO_FILE_LOG   LATER("no such file is written; /api/v1/targets shows why a scrape failed")

#define T             struct hk_conf_scrape_limits
static const struct hk_option limit_options[] = {
    SIZE("body_size_limit", body_bytes, .help = "Largest uncompressed answer; 0 = no limit"),
    INT("sample_limit", samples, RANGE(0, INT64_MAX), .unit = "samples",
        .help = "Most samples of one scrape; more fail it; 0 = no limit"),
    INT("target_limit", targets, RANGE(0, INT64_MAX), .unit = "targets",
        .help = "Most targets of one job; more fail all of them; 0 = no limit"),
    INT("label_limit", labels, RANGE(0, INT64_MAX), .unit = "labels",
        .help = "Most labels of one sample; more fail the scrape; 0 = no limit"),
    INT("label_name_length_limit", label_name_bytes, RANGE(0, INT64_MAX), .unit = "bytes",
        .help = "Longest label name; longer ones fail the scrape; 0 = no limit"),
    INT("label_value_length_limit", label_value_bytes, RANGE(0, INT64_MAX), .unit = "bytes",
        .help = "Longest label value; longer ones fail the scrape; 0 = no limit"),
    INT("keep_dropped_targets", dropped_targets, RANGE(0, INT64_MAX), .unit = "targets",
        .help = "Most dropped targets to remember for the API; 0 = no limit"),
};
static const struct hk_option_table limits_table = {
    .name = "scrape_limits",
    .summary = "Limits of scrapes; these keys stand directly in global and in scrape_config.",
    ROWS(limit_options),
    .bytes = sizeof(T),
};
#undef T

#define T struct hk_conf_global
static const struct hk_option global_options[] = {
    DURATION(
        "scrape_interval", scrape_interval_ms, .fallback = "1m", RANGE(0, INT64_MAX),
        .help = "How often to scrape a target"),
    DURATION(
        "scrape_timeout", scrape_timeout_ms, .fallback_text = "10s", RANGE(0, INT64_MAX),
        .help = "Longest scrape; at most scrape_interval"),
    ENUMS(
        "scrape_protocols", protocols, .choices = protocols,
        .fallback_text = "OpenMetricsText1.0.0 OpenMetricsText0.0.1 PrometheusText1.0.0 "
                         "PrometheusText0.0.4",
        .help = "Formats to ask for, best first; PrometheusProto comes first by default when "
                "scrape_native_histograms is true"),
    DURATION(
        "evaluation_interval", evaluation_interval_ms, .fallback = "1m", RANGE(0, INT64_MAX),
        .help = "Interval of rule groups: recording rules are written this often; alerts are "
                "judged on arrival"),
    DURATION(
        "rule_query_offset", rule_query_offset_ms, .fallback = "0s", RANGE(0, INT64_MAX),
        .help = "Evaluate rules this far in the past"),
    LABELS(
        "external_labels", external_labels, .flags = HK_OPTION_GO_ENV,
        .help = "Labels to add to alerts that leave this server; $NAME and ${NAME} are replaced, "
                "$$ is a dollar sign"),
    UNSTORED(
        STRING, "query_log_file", .help = "File to log queries to",
        LATER("queries are not logged to a file")),
    UNSTORED(
        STRING, "scrape_failure_log_file", .help = "File to log failed scrapes to", NO_FILE_LOG),
    INLINE(limits, limits_table),
    ENUM(
        "metric_name_validation_scheme", validation, .choices = validations, .fallback = "",
        .fallback_text = "utf8", .help = "Which names are valid", NAMES_AS_SENT),
    ENUM(
        "metric_name_escaping_scheme", escaping, .choices = escapings, .fallback = "",
        .fallback_text = "allow-utf-8", .help = "How to ask targets to escape names",
        NAMES_AS_SENT),
    BOOL(
        "scrape_native_histograms", scrape_native, .fallback = "false",
        .help = "Ask for native histograms first"),
    BOOL(
        "convert_classic_histograms_to_nhcb", convert_classic_to_nhcb, .fallback = "false",
        .help = "Store classic histograms as native ones with custom buckets", NO_NHCB),
    BOOL(
        "always_scrape_classic_histograms", always_scrape_classic, .fallback = "false",
        .help = "Also store the classic buckets of a native histogram"),
    BOOL(
        "extra_scrape_metrics", extra_scrape_metrics, .fallback = "false",
        .help = "Also write scrape_timeout_seconds, scrape_sample_limit and "
                "scrape_body_size_bytes"),
};
const struct hk_option_table hk_table_global = {
    .name = "global",
    .summary = "Defaults of everything below.",
    ROWS(global_options),
    .bytes = sizeof(T),
    .check = hk_check_global,
};
#undef T

#define T struct hk_conf_job
static const struct hk_option job_options[] = {
    STRING(
        "job_name", name, .flags = HK_OPTION_REQUIRED,
        .help = "Name of the job, the label job of its series; unique"),
    DURATION(
        "scrape_interval", interval_ms, .fallback_text = "global.scrape_interval",
        RANGE(0, INT64_MAX), .help = "How often to scrape; 100ms is fine"),
    DURATION(
        "scrape_timeout", timeout_ms, .fallback_text = "global.scrape_timeout", RANGE(0, INT64_MAX),
        .help = "Longest scrape; at most scrape_interval"),
    ENUMS(
        "scrape_protocols", protocols, .choices = protocols,
        .fallback_text = "global.scrape_protocols", .help = "Formats to ask for, best first"),
    ENUM(
        "fallback_scrape_protocol", fallback_protocol, .choices = protocols, .fallback = "",
        .help = "Format to assume when the answer does not say one"),
    BOOL(
        "honor_labels", honor_labels, .fallback = "false",
        .help = "Labels of the target win over job, instance and the labels here"),
    BOOL(
        "honor_timestamps", honor_timestamps, .fallback = "true",
        .help = "Keep time stamps that the target gives"),
    BOOL(
        "track_timestamps_staleness", track_timestamps_staleness, .fallback = "false",
        .help = "Mark series with own time stamps stale when they vanish"),
    PARAMS("params", params, .help = "Query parameters of the scrape"),
    STRING("metrics_path", metrics_path, .fallback = "/metrics", .help = "Path of the scrape"),
    ENUM("scheme", scheme, .choices = schemes, .fallback = "http", .help = "http or https"),
    BOOL(
        "enable_compression", enable_compression, .fallback = "true",
        .help = "Ask for compressed answers"),
    UNSTORED(
        STRING, "scrape_failure_log_file", .help = "File to log failed scrapes to", NO_FILE_LOG),
    INLINE(limits, limits_table),
    INT("native_histogram_bucket_limit", native_histogram_buckets, RANGE(0, INT64_MAX),
        .unit = "buckets", .help = "Most buckets of a native histogram",
        LATER("native histograms keep the resolution that the target sends")),
    DOUBLE(
        "native_histogram_min_bucket_factor", native_histogram_min_factor, RANGE(0, 1000000),
        .help = "Least growth from one bucket to the next",
        LATER("native histograms keep the resolution that the target sends")),
    ENUM(
        "metric_name_validation_scheme", validation, .choices = validations, .fallback = "",
        .fallback_text = "global.metric_name_validation_scheme", .help = "Which names are valid",
        NAMES_AS_SENT),
    ENUM(
        "metric_name_escaping_scheme", escaping, .choices = escapings, .fallback = "",
        .fallback_text = "global.metric_name_escaping_scheme",
        .help = "How to ask targets to escape names", NAMES_AS_SENT),
    BOOL(
        "scrape_native_histograms", scrape_native,
        .fallback_text = "global.scrape_native_histograms",
        .help = "Ask for native histograms first"),
    BOOL(
        "convert_classic_histograms_to_nhcb", convert_classic_to_nhcb,
        .fallback_text = "global.convert_classic_histograms_to_nhcb",
        .help = "Store classic histograms as native ones with custom buckets", NO_NHCB),
    BOOL(
        "always_scrape_classic_histograms", always_scrape_classic,
        .fallback_text = "global.always_scrape_classic_histograms",
        .help = "Also store the classic buckets of a native histogram"),
    BOOL(
        "extra_scrape_metrics", extra_scrape_metrics,
        .fallback_text = "global.extra_scrape_metrics",
        .help = "Also write scrape_timeout_seconds, scrape_sample_limit and "
                "scrape_body_size_bytes"),
    STRUCTS("relabel_configs", relabel, hk_table_relabel, .help = "Relabelling of targets"),
    STRUCTS(
        "metric_relabel_configs", metric_relabel, hk_table_relabel,
        .help = "Relabelling of scraped series"),
    INLINE(http, hk_table_http),
    INLINE(discovery, hk_table_discovery),
};
const struct hk_option_table hk_table_scrape_config = {
    .name = "scrape_config",
    .summary = "One scrape job. The keys of http_config and discovery stand directly in it.",
    ROWS(job_options),
    .bytes = sizeof(T),
    .check = hk_check_job,
};
#undef T

/* A file that scrape_config_files names; `jobs` is the only field. */
#define T struct hk_config
static const struct hk_option scrape_file_options[] = {
    STRUCTS("scrape_configs", jobs, hk_table_scrape_config, .help = "Scrape jobs"),
};
const struct hk_option_table hk_table_scrape_config_file = {
    .name = "scrape_config_file",
    .summary = "A file that scrape_config_files names.",
    ROWS(scrape_file_options),
    .bytes = sizeof(T),
};
#undef T

static const struct hk_option sigv4_options[] = {
    UNSTORED(STRING, "region", .help = "AWS region"),
    UNSTORED(STRING, "access_key", .help = "Access key"),
    UNSTORED(SECRET, "secret_key", .help = "Secret key"),
    UNSTORED(STRING, "profile", .help = "Profile of the AWS configuration"),
    UNSTORED(STRING, "role_arn", .help = "Role to take"),
    UNSTORED(STRING, "external_id", .help = "External id of the role"),
    UNSTORED(BOOL, "use_fips_sts_endpoint", .help = "Use the FIPS endpoint"),
    UNSTORED(STRING, "service_name", .help = "Name of the service to sign for"),
};
const struct hk_option_table hk_table_sigv4 = {
    .name = "sigv4",
    .summary = "AWS Signature Version 4.",
    ROWS(sigv4_options),
};

static const char *const api_versions[] = { "v2", "v1", NULL };

#define T struct hk_conf_alertmanager_peer
static const struct hk_option peer_options[] = {
    ENUM("scheme", scheme, .choices = schemes, .fallback = "http", .help = "http or https"),
    STRING("path_prefix", path_prefix, .help = "Path before /api/v2/alerts"),
    DURATION(
        "timeout", timeout_ms, .fallback = "10s", RANGE(1, INT64_MAX),
        .help = "Longest push of alerts"),
    UNSTORED(
        ENUM, "api_version", .choices = api_versions, .fallback = "v2",
        .help = "Version of the API; v1 is gone"),
    UNSTORED(
        OPTIONAL, "sigv4", .table = &hk_table_sigv4, .help = "Sign requests for AWS",
        LATER("requests are not signed")),
    STRUCTS(
        "relabel_configs", relabel, hk_table_relabel,
        .help = "Relabelling of the Alertmanagers found"),
    STRUCTS(
        "alert_relabel_configs", alert_relabel, hk_table_relabel,
        .help = "Relabelling of alerts for these Alertmanagers"),
    INLINE(http, hk_table_http),
    INLINE(discovery, hk_table_discovery),
};
static const struct hk_option_table peer_table = {
    .name = "alertmanager_config",
    .summary = "A separate Alertmanager to push alerts to. The keys of http_config and discovery "
               "stand directly in it.",
    ROWS(peer_options),
    .bytes = sizeof(T),
};
#undef T

#define T struct hk_conf_alerting
static const struct hk_option alerting_options[] = {
    STRUCTS(
        "alert_relabel_configs", alert_relabel, hk_table_relabel,
        .help = "Relabelling of alerts before they are pushed"),
    STRUCTS(
        "alertmanagers", alertmanagers, peer_table,
        .help = "Separate Alertmanagers to push alerts to"),
};
const struct hk_option_table hk_table_alerting = {
    .name = "alerting",
    .summary = "Separate Alertmanagers. For routing and actions inside of hark see alertmanager.",
    ROWS(alerting_options),
    .bytes = sizeof(T),
};
#undef T

static const char *const messages[] = {
    "prometheus.WriteRequest",
    "io.prometheus.write.v2.Request",
    NULL,
};

static const struct hk_option azure_identity_options[] = {
    UNSTORED(STRING, "client_id", .help = "Client"),
    UNSTORED(SECRET, "client_secret", .help = "Its secret"),
    UNSTORED(STRING, "tenant_id", .help = "Tenant"),
};
static const struct hk_option_table azure_identity_table = {
    .name = "azuread_identity",
    .summary = "An identity of Azure AD.",
    ROWS(azure_identity_options),
};
static const struct hk_option azuread_options[] = {
    UNSTORED(OPTIONAL, "managed_identity", .table = &azure_identity_table, .help = "Managed"),
    UNSTORED(OPTIONAL, "workload_identity", .table = &azure_identity_table, .help = "Workload"),
    UNSTORED(OPTIONAL, "oauth", .table = &azure_identity_table, .help = "By OAuth"),
    UNSTORED(OPTIONAL, "sdk", .table = &azure_identity_table, .help = "By the SDK's environment"),
    UNSTORED(STRING, "cloud", .help = "Azure cloud"),
    UNSTORED(STRING, "scope", .help = "Scope of the token"),
};
static const struct hk_option_table azuread_table = {
    .name = "azuread",
    .summary = "Log in by Azure AD.",
    ROWS(azuread_options),
};
static const struct hk_option google_iam_options[] = {
    UNSTORED(FILE, "credentials_file", .help = "File with credentials"),
};
static const struct hk_option_table google_iam_table = {
    .name = "google_iam",
    .summary = "Log in by Google IAM.",
    ROWS(google_iam_options),
};

#define T struct hk_conf_remote_write
static const struct hk_option queue_options[] = {
    INT("capacity", capacity, .fallback = "10000", RANGE(1, INT64_MAX), .unit = "samples",
        .help = "Samples to hold per shard"),
    INT("max_shards", shards_max, .fallback = "50", RANGE(1, 100000), .help = "Most senders"),
    INT("min_shards", shards_min, .fallback = "1", RANGE(1, 100000), .help = "Least senders"),
    INT("max_samples_per_send", samples_per_send_max, .fallback = "2000", RANGE(1, INT64_MAX),
        .unit = "samples", .help = "Most samples of one request"),
    DURATION(
        "batch_send_deadline", batch_deadline_ms, .fallback = "5s",
        .help = "Longest wait before a request is sent"),
    DURATION(
        "min_backoff", backoff_min_ms, .fallback = "30ms", .help = "First wait after a failure"),
    DURATION(
        "max_backoff", backoff_max_ms, .fallback = "5s", .help = "Longest wait after failures"),
    BOOL("retry_on_http_429", retry_on_429, .fallback = "false", .help = "Try again after 429"),
    DURATION(
        "sample_age_limit", sample_age_max_ms, .fallback = "0s",
        .help = "Drop samples older than this; 0 = none"),
};
static const struct hk_option_table queue_table = {
    .name = "queue_config",
    .summary = "The queue of a remote write.",
    ROWS(queue_options),
    .bytes = sizeof(T),
};
static const struct hk_option metadata_options[] = {
    UNSTORED(BOOL, "send", .help = "Send metadata", .fallback = "true"),
    UNSTORED(DURATION, "send_interval", .help = "How often", .fallback = "1m"),
    UNSTORED(
        INT, "max_samples_per_send", .help = "Most entries of one request", .fallback = "2000"),
};
static const struct hk_option_table metadata_table = {
    .name = "metadata_config",
    .summary = "Metadata of a remote write.",
    ROWS(metadata_options),
};
static const struct hk_option remote_write_options[] = {
    URL("url", url, .flags = HK_OPTION_REQUIRED, .help = "Where to send samples"),
    STRING("name", name, .help = "Name for logs and metrics; unique"),
    DURATION(
        "remote_timeout", timeout_ms, .fallback = "30s", RANGE(1, INT64_MAX),
        .help = "Longest request"),
    ENUM(
        "protobuf_message", message, .choices = messages, .fallback = "prometheus.WriteRequest",
        .help = "Version of the protocol"),
    MAP("headers", headers, .flags = HK_OPTION_HIDE, .help = "Headers to add"),
    STRUCTS(
        "write_relabel_configs", write_relabel, hk_table_relabel,
        .help = "Relabelling before sending"),
    BOOL("send_exemplars", send_exemplars, .fallback = "false", .help = "Also send exemplars"),
    BOOL(
        "send_native_histograms", send_native_histograms, .fallback = "false",
        .help = "Also send native histograms"),
    UNSTORED(BOOL, "round_robin_dns", .help = "Take another address at each connection"),
    STRUCT("queue_config", url, queue_table, .help = "The queue"),
    UNSTORED(OPTIONAL, "metadata_config", .table = &metadata_table, .help = "Metadata"),
    UNSTORED(OPTIONAL, "sigv4", .table = &hk_table_sigv4, .help = "Sign requests for AWS"),
    UNSTORED(OPTIONAL, "azuread", .table = &azuread_table, .help = "Log in by Azure AD"),
    UNSTORED(OPTIONAL, "google_iam", .table = &google_iam_table, .help = "Log in by Google IAM"),
    INLINE(http, hk_table_http),
};
const struct hk_option_table hk_table_remote_write = {
    .name = "remote_write",
    .summary = "Forwarding by Prometheus remote write. The keys of http_config stand directly in "
               "it.",
    ROWS(remote_write_options),
    .bytes = sizeof(T),
};
#undef T

static const struct hk_option remote_read_options[] = {
    UNSTORED(URL, "url", .flags = HK_OPTION_REQUIRED, .help = "Where to read"),
    UNSTORED(STRING, "name", .help = "Name for logs and metrics"),
    UNSTORED(DURATION, "remote_timeout", .help = "Longest request", .fallback = "1m"),
    UNSTORED(INT, "chunked_read_limit", .help = "Bytes of one frame"),
    UNSTORED(MAP, "headers", .flags = HK_OPTION_HIDE, .help = "Headers to add"),
    UNSTORED(MAP, "required_matchers", .help = "Read only for selectors with these"),
    UNSTORED(BOOL, "read_recent", .help = "Read also what is stored here"),
    UNSTORED(BOOL, "filter_external_labels", .help = "Ask for the external labels"),
    { .type = HK_OPTION_INLINE, .offset = HK_OPTION_NOT_STORED, .table = &hk_table_http },
};
const struct hk_option_table hk_table_remote_read = {
    .name = "remote_read",
    .summary = "Reading from another server. The keys of http_config stand directly in it.",
    ROWS(remote_read_options),
};

static const char *const translations[] = {
    "UnderscoreEscapingWithSuffixes",
    "NoUTF8EscapingWithSuffixes",
    "UnderscoreEscapingWithoutSuffixes",
    "NoTranslation",
    NULL,
};

#define T struct hk_conf_otlp
static const struct hk_option otlp_options[] = {
    STRINGS(
        "promote_resource_attributes", promote,
        .help = "Resource attributes that become labels of every series"),
    BOOL(
        "promote_all_resource_attributes", promote_all, .fallback = "false",
        .help = "All resource attributes become labels"),
    STRINGS(
        "ignore_resource_attributes", ignore,
        .help = "But not these; only with promote_all_resource_attributes"),
    ENUM(
        "translation_strategy", translation, .choices = translations,
        .fallback = "UnderscoreEscapingWithSuffixes", .help = "How OTLP names become metric names"),
    BOOL(
        "keep_identifying_resource_attributes", keep_identifying, .fallback = "false",
        .help = "Keep service.name, service.namespace and service.instance.id in target_info"),
    BOOL(
        "convert_histograms_to_nhcb", convert_histograms_to_nhcb, .fallback = "false",
        .help = "Store histograms with explicit buckets as native ones with custom buckets",
        LATER("they stay classic histograms")),
    BOOL(
        "promote_scope_metadata", promote_scope_metadata, .fallback = "false",
        .help = "Name, version and attributes of the scope become labels otel_scope_…",
        LATER("scopes do not become labels")),
    UNSTORED(
        BOOL, "label_name_underscore_sanitization",
        .help = "Put key in front of labels that begin with an underscore",
        LATER("names of labels are translated as Prometheus 3.5 does")),
    UNSTORED(
        BOOL, "label_name_preserve_multiple_underscores",
        .help = "Keep several underscores in a row",
        LATER("names of labels are translated as Prometheus 3.5 does")),
};
const struct hk_option_table hk_table_otlp = {
    .name = "otlp",
    .summary = "How OTLP metrics become series.",
    ROWS(otlp_options),
    .bytes = sizeof(T),
    .check = hk_check_otlp,
};
#undef T
