/*
 * Scraping: fetches the metrics pages of targets at their intervals and hands each finished fetch
 * to a sink. One manager has two threads: "scrape" runs all transfers through libcurl's multi
 * interface (decision D17), "discovery" looks for targets. Parsing, `up` and the other samples of
 * a scrape, and stale markers are the sink's: this module knows bytes, not series.
 *
 * Targets, their labels and their URLs are built as Prometheus 3 builds them: __address__,
 * __scheme__, __metrics_path__, __param_<name>, __scrape_interval__, __scrape_timeout__, relabel
 * rules, `instance`. An address without a port is left as it is; the scheme's port is connected.
 */
#ifndef HK_INGEST_SCRAPE_H
#define HK_INGEST_SCRAPE_H

#include "base/buf.h"
#include "model/labels.h"
#include "model/relabel.h"

#include <stdatomic.h>

enum {
    HK_SCRAPE_INTERVAL_MS_MIN = 10,
    HK_SCRAPE_JOBS_MAX = 10000,
    HK_SCRAPE_TARGETS_MAX = 100000,       /* of one job */
    HK_SCRAPE_BODY_BYTES_MAX = 512 << 20, /* decompressed, also without body_size_limit */
    HK_SCRAPE_DROPPED_MAX = 1000,         /* dropped targets kept for display, per job */
    HK_SCRAPE_ERROR_BYTES_MAX = 512,
};

/* --- configuration: typed fields, borrowed during hk_scrape_apply ----------------------------- */

struct hk_str_list {
    const struct hk_str *items;
    uint32_t count;
};

struct hk_scrape_tls {
    struct hk_str ca_file, ca;     /* PEM; both empty: the system's authorities */
    struct hk_str cert_file, cert; /* client certificate, PEM */
    struct hk_str key_file, key;
    struct hk_str server_name; /* checked and sent (SNI) in place of the address' host */
    bool insecure_skip_verify;
    int32_t version_min, version_max; /* 10, 11, 12, 13; 0 = default */
};

/* How an HTTP client speaks. Empty strings: not set. Files are read again for each request. */
struct hk_scrape_http {
    struct hk_str username, username_file, password, password_file; /* basic auth */
    struct hk_str authorization_type;                               /* default "Bearer" */
    struct hk_str credentials, credentials_file;
    struct hk_scrape_tls tls;
    struct hk_str proxy_url, no_proxy; /* proxy variables of the environment are not followed */
    struct hk_str_list headers;        /* name, value, name, value, … */
    bool follow_redirects, enable_http2;
};

struct hk_scrape_param {
    struct hk_str name;
    struct hk_str_list values;
};

struct hk_scrape_static {
    struct hk_str_list targets;
    struct hk_labels labels;
};

struct hk_scrape_file_sd {
    struct hk_str_list patterns; /* paths whose last part may contain '*' */
    int64_t refresh_ms;
};

struct hk_scrape_http_sd {
    struct hk_str url;
    int64_t refresh_ms;
    struct hk_scrape_http http;
};

enum hk_scrape_dns_type {
    HK_SCRAPE_DNS_SRV,
    HK_SCRAPE_DNS_A,
    HK_SCRAPE_DNS_AAAA,
    HK_SCRAPE_DNS_MX,
    HK_SCRAPE_DNS_NS,
};

struct hk_scrape_dns_sd {
    struct hk_str_list names;
    int64_t refresh_ms;
    int32_t type;  /* enum hk_scrape_dns_type */
    uint32_t port; /* for all types but SRV */
};

enum hk_scrape_protocol {
    HK_SCRAPE_PROTO_NONE,
    HK_SCRAPE_PROTO_PROTOBUF,
    HK_SCRAPE_PROTO_OPENMETRICS_001,
    HK_SCRAPE_PROTO_OPENMETRICS_100,
    HK_SCRAPE_PROTO_TEXT_004,
    HK_SCRAPE_PROTO_TEXT_100,
};

/* Limits of one scrape; 0 = none. All but body_bytes and targets are the sink's to check. */
struct hk_scrape_limits {
    uint64_t body_bytes, samples, targets, labels, label_name_bytes, label_value_bytes;
};

/* One scrape job. Zero values of strings and numbers stand for Prometheus' defaults. */
struct hk_scrape_job_config {
    struct hk_str name;
    struct hk_str scheme;       /* "http" */
    struct hk_str metrics_path; /* "/metrics" */
    int64_t interval_ms;        /* 60,000; at least HK_SCRAPE_INTERVAL_MS_MIN */
    int64_t timeout_ms;         /* 10,000, but never above the interval */
    bool honor_labels;
    bool ignore_timestamps; /* the opposite of honor_timestamps */
    bool track_timestamps_staleness;
    bool no_compression;      /* do not ask for gzip */
    bool scrape_native;       /* native histograms: ask for protobuf first */
    const int32_t *protocols; /* enum hk_scrape_protocol, best first; none: the default list */
    uint32_t protocol_count;
    int32_t fallback_protocol; /* for answers without a usable Content-Type */
    struct hk_scrape_limits limits;
    struct hk_scrape_http http;
    struct {
        const struct hk_scrape_param *items;
        uint32_t count;
    } params;
    struct {
        const struct hk_scrape_static *items;
        uint32_t count;
    } statics;
    struct {
        const struct hk_scrape_file_sd *items;
        uint32_t count;
    } files;
    struct {
        const struct hk_scrape_http_sd *items;
        uint32_t count;
    } https;
    struct {
        const struct hk_scrape_dns_sd *items;
        uint32_t count;
    } dns;
    struct {
        const struct hk_relabel_config *items;
        uint32_t count;
    } relabel, metric_relabel;
    /*
     * Internal targets: not NULL, the body comes from this function (text format), called on the
     * scrape thread; nothing is connected. It may take a few ms and must not block. `body_self`
     * must live until hk_scrape_destroy, also when the job is replaced.
     */
    hk_err (*body)(void *self, struct hk_buf *out);
    void *body_self;
};

/* --- targets and results ---------------------------------------------------------------------- */

struct hk_scrape_job; /* private: configuration snapshot */

/* Immutable, reference-counted; what a result needs to become series. */
struct hk_scrape_target {
    _Atomic uint32_t references; /* private */
    struct hk_scrape_job *job;   /* private */
    uint64_t hash;               /* of all labels and the URL, the same in each process */
    struct hk_labels all;        /* private: with those that begin with "__" */
    struct hk_labels labels;     /* of each series: job, instance, … */
    struct hk_labels discovered; /* before relabelling */
    struct hk_str pool;          /* name of the job's configuration */
    struct hk_str url;
    int64_t interval_ms, timeout_ms;
    const struct hk_relabel *metric_relabel; /* NULL when there are no rules */
    struct hk_scrape_limits limits;
    bool honor_labels, honor_timestamps, track_timestamps_staleness;
};

/* Takes and gives back a reference; any thread. Unref of NULL is fine. */
struct hk_scrape_target *hk_scrape_target_ref(struct hk_scrape_target *target);
void hk_scrape_target_unref(struct hk_scrape_target *target);

enum hk_scrape_format { HK_SCRAPE_TEXT, HK_SCRAPE_OPENMETRICS, HK_SCRAPE_PROTOBUF };

/*
 * One finished scrape, owned by the sink until hk_scrape_result_end. Results of one target come in
 * order. `target_id` stays the same as long as the target's labels do, over reloads too; `target`
 * may be another snapshot then.
 */
struct hk_scrape_result {
    struct hk_scrape_target *target;
    uint64_t target_id;
    hk_err err; /* HK_OK: there is a body; negative: up = 0, `error` says why */
    bool gone;  /* the target has been removed: its series end; no body, last of this target_id */
    bool shed;  /* not fetched because too many results wait (err is HK_E_BUSY) */
    enum hk_scrape_format format;
    int status; /* HTTP status, 0 = no answer (or an internal target) */
    struct hk_buf body;
    int64_t start_ms;    /* stamp of the samples, ms since 1970 */
    int64_t duration_ns; /* from the start to the last byte */
    char error[HK_SCRAPE_ERROR_BYTES_MAX];
    void *slot;          /* private */
    uint64_t body_bytes; /* private: what the budget was charged with */
};

struct hk_scrape_sink {
    void *self;
    /* Takes `result`. Called on the scrape thread; must not block. */
    void (*done)(void *self, struct hk_scrape_result *result);
};

/*
 * Ends and frees a result; any thread. `error` not NULL: the body was refused (malformed, over a
 * limit), which shows as lastError and health "down"; NULL: nothing to add.
 */
void hk_scrape_result_end(struct hk_scrape_result *result, const char *error);

/* --- the manager ------------------------------------------------------------------------------ */

struct hk_scrape;

struct hk_scrape_options {
    struct hk_scrape_sink sink;
    uint32_t results_max;        /* running transfers + results not ended; 0 = 1,024 */
    uint64_t results_bytes_max;  /* bodies not ended; 0 = 512 MiB */
    struct hk_str external_host; /* stands for "localhost" in globalUrl; empty: the host's name */
    int64_t file_poll_ms;        /* how often files of file_sd are looked at; 0 = 1,000 */
};

/* Starts both threads. The options are copied. HK_E_NOMEM, HK_E_IO. */
hk_err
hk_scrape_create(const struct hk_scrape_options *options, struct hk_scrape **out) HK_MUST_CHECK;

/*
 * Stops the threads; no result is delivered any more, also none that says "gone". Results not
 * ended yet stay valid. NULL is fine.
 */
void hk_scrape_destroy(struct hk_scrape *scrape);

/*
 * Replaces all jobs at once: either all are valid and taken, or the old ones stay. Targets that
 * stay keep their state and schedule; removed ones deliver a last "gone" result. Any thread but
 * the sink's; does not wait for scrapes. HK_E_INVALID with job and reason, HK_E_LIMIT, HK_E_NOMEM.
 */
hk_err hk_scrape_apply(
    struct hk_scrape *scrape, const struct hk_scrape_job_config *jobs,
    uint32_t count) HK_MUST_CHECK;

enum hk_scrape_health { HK_SCRAPE_UNKNOWN, HK_SCRAPE_UP, HK_SCRAPE_DOWN };

/* What /api/v1/targets shows of an active target. */
struct hk_scrape_target_info {
    struct hk_labels discovered, labels;
    struct hk_str pool, url, global_url, last_error;
    int64_t last_scrape_ms; /* 0 = never */
    int64_t last_duration_ns;
    enum hk_scrape_health health;
    int64_t interval_ms, timeout_ms;
};

struct hk_scrape_dropped_info {
    struct hk_str pool;
    struct hk_labels discovered;
};

struct hk_scrape_pool_info {
    struct hk_str name;
    uint32_t active, dropped; /* dropped: all, also those not kept for display */
};

struct hk_scrape_listing {
    struct hk_scrape_target_info *active;
    struct hk_scrape_dropped_info *dropped;
    struct hk_scrape_pool_info *pools;
    uint32_t active_count, dropped_count, pool_count;
};

/* Lists the targets of one pool, or all when `pool` is empty, into `arena`; any thread. HK_E_NOMEM.
 */
hk_err hk_scrape_list(
    struct hk_scrape *scrape, struct hk_str pool, struct hk_arena *arena,
    struct hk_scrape_listing *out) HK_MUST_CHECK;

struct hk_scrape_stats {
    uint64_t scrapes, failed, timeouts;
    uint64_t skipped_overlap; /* due while the one before was still running */
    uint64_t shed;            /* due while too many results waited; delivered as up = 0 */
    uint64_t lost;            /* results that could not be delivered for want of memory */
    uint64_t body_bytes;
    uint64_t targets_invalid; /* targets whose labels or address were refused */
    uint64_t discovery_refreshes, discovery_failures;
    uint32_t active, in_flight;
};

/* Any thread: snapshot of the counters. */
void hk_scrape_get_stats(struct hk_scrape *scrape, struct hk_scrape_stats *out);

#endif
