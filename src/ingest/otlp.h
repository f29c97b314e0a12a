/*
 * OTLP metrics (ExportMetricsServiceRequest, opentelemetry-proto 1.x) as series of the Prometheus
 * data model: resumable parser of the protobuf body, see model/batch.h. One state per request, on
 * the shard's thread. JSON bodies go through ingest/otlp_json.h first.
 *
 * Identity. Context = keyed hash of tenant and epoch (`base`), the resource's bytes, the scope's
 * bytes, and the metric's header (name, description, unit, type, temporality). Key = the point's
 * attribute fields as they stand on the wire; scattered ones are put together in the batch arena.
 *
 * One point gives: gauge and sum one entry; histogram `_sum`, `_count` and a cumulative `_bucket`
 * for each bound and +Inf; exponential histogram one native histogram; summary `_sum`, `_count`
 * and one entry per quantile. Exemplars follow their point. A resource with attributes beyond
 * service.* gives one target_info entry, stamped with its newest point. Delta points are
 * HK_ENTRY_ADD (HK_ENTRY_HISTOGRAM_ADD): the store accumulates and checks start stamps.
 */
#ifndef HK_INGEST_OTLP_H
#define HK_INGEST_OTLP_H

#include "codec/proto.h"
#include "ingest/meta_seen.h"
#include "model/batch.h"

enum {
    HK_OTLP_TURN_FIELDS = 4096,          /* fields looked at in one turn, then HK_FULL */
    HK_OTLP_MESSAGE_BYTES_MAX = 1 << 20, /* one point, one resource, one scope: HK_E_LIMIT beyond */
    HK_OTLP_VALUE_DEPTH_MAX = 16,        /* arrays and maps in an attribute value */
};

/* How names become Prometheus names (`otlp.translation_strategy`). */
enum hk_otlp_naming {
    HK_OTLP_UNDERSCORES_SUFFIXES, /* UnderscoreEscapingWithSuffixes, the default */
    HK_OTLP_UTF8_SUFFIXES,        /* NoUTF8EscapingWithSuffixes */
    HK_OTLP_UNDERSCORES,          /* UnderscoreEscapingWithoutSuffixes */
    HK_OTLP_AS_IS,                /* NoTranslation */
};

/* Borrowed for as long as a parser uses it; part of the configuration epoch. Zeroed = defaults. */
struct hk_otlp_options {
    enum hk_otlp_naming naming;
    bool promote_scope;           /* otel_scope_name, …_version, …_schema_url and attributes */
    bool promote_all_resource;    /* all resource attributes but those of `promote` */
    bool keep_identifying;        /* service.* attributes stay on target_info */
    const struct hk_str *promote; /* resource attributes to put on every series */
    uint32_t promote_count;
};

enum hk_otlp_type {
    HK_OTLP_GAUGE,
    HK_OTLP_COUNTER, /* monotonic sum */
    HK_OTLP_SUM,     /* other sum */
    HK_OTLP_HISTOGRAM,
    HK_OTLP_EXPONENTIAL,
    HK_OTLP_SUMMARY,
    HK_OTLP_TARGET_INFO,
};

/* `part` of an entry: 0 = the point's one value; a histogram's bucket or a summary's quantile has
 * the bits of its bound (never NaN); sum and count have these NaN patterns. */
#define HK_OTLP_PART_SUM   0xfff8000000000001ULL
#define HK_OTLP_PART_COUNT 0xfff8000000000002ULL

/* What a context stands for; hk_context.data points to one. Strings borrow from the body. */
struct hk_otlp_context {
    struct hk_str resource, scope; /* messages */
    struct hk_str scope_schema_url;
    struct hk_str name, description, unit;
    uint8_t type;        /* enum hk_otlp_type */
    uint8_t temporality; /* 1 delta, 2 cumulative */
};

struct hk_otlp_slot {
    struct hk_context context;
    struct hk_otlp_context data;
};

/* One level of the request's tree: walked ahead once for its header fields, then for its children.
 * rest.at == NULL: closed. */
struct hk_otlp_level {
    struct hk_proto rest, scan;
};

/* A point that gives more than one entry. */
struct hk_otlp_point {
    bool open;
    bool stale; /* flag "no recorded value" */
    bool has_sum;
    uint8_t kind; /* enum hk_entry_kind of its entries */
    const void *key;
    uint32_t key_bytes;
    int64_t stamp_ms, start_ms;
    uint64_t count;
    double sum;
    uint32_t next;                  /* 0 sum, 1 count, then buckets */
    const uint8_t *bounds, *counts; /* little-endian doubles and u64, unaligned */
    uint32_t bound_count;
    uint32_t count_count;
    uint64_t cumulative;
    struct hk_proto quantiles; /* of a summary: rest of the point; at == NULL: none left */
    struct hk_proto exemplars; /* likewise */
};

struct hk_otlp_counts {
    uint64_t exemplars, exemplars_rejected;
    uint64_t points_without_series; /* accepted, but the entry's series is refused: by the caller */
};

struct hk_otlp {
    const struct hk_otlp_options *options;
    struct hk_meta_seen *seen; /* or NULL: metadata of every metric is reported */
    const uint8_t *start;
    struct hk_hash128 base;
    struct hk_proto body;
    struct hk_otlp_level resource, scope, metric, points;
    struct hk_str resource_bytes, scope_bytes, scope_schema_url;
    struct hk_hash128 resource_hash, scope_hash;
    int64_t newest_ms; /* of the resource's points; INT64_MIN = none */
    bool target_info;  /* the resource deserves one */
    /* The metric's header while its fields are collected. */
    struct hk_otlp_context header;
    struct hk_str header_bytes; /* name, description, unit as one run, if they are one */
    uint32_t header_last;       /* number of the last field of the run; 16 = no longer a run */
    uint32_t data_tag;          /* of the oneof `data` */
    struct hk_str data_bytes;
    bool monotonic;
    const char *refuse; /* why all points of this metric are refused, or NULL */
    struct hk_otlp_point point;
    struct hk_otlp_counts counts;
    uint32_t budget; /* fields left in this turn */
    uint32_t slot;   /* of the open metric */
    bool slot_used;
    struct hk_otlp_slot slots[HK_BATCH_ENTRIES_MAX + 1]; /* of the current batch */
};

/* Begins a request. `base` stands for tenant and configuration epoch (which covers `options`).
 * Entries' contexts live in `otlp` until the next call of parse. */
void hk_otlp_init(
    struct hk_otlp *otlp, struct hk_str body, struct hk_hash128 base,
    const struct hk_otlp_options *options, struct hk_meta_seen *seen);

/* State: struct hk_otlp. parse may return HK_FULL without entries (a long turn was cut). */
extern const struct hk_metric_parser hk_parser_otlp;

/* Metric name by the given rules: `type` decides on _total and _ratio. In `arena` (or `name`
 * itself). HK_E_MALFORMED with a text when nothing is left of it, HK_E_NOMEM. */
hk_err hk_otlp_metric_name(
    enum hk_otlp_naming naming, struct hk_str name, struct hk_str unit, enum hk_otlp_type type,
    struct hk_arena *arena, struct hk_str *out) HK_MUST_CHECK;

/* Label name by the given rules, likewise. */
hk_err hk_otlp_label_name(
    enum hk_otlp_naming naming, struct hk_str name, struct hk_arena *arena,
    struct hk_str *out) HK_MUST_CHECK;

/* The unit as Prometheus' metadata show it ("By/s" → "bytes_per_second"). */
hk_err hk_otlp_unit_name(
    enum hk_otlp_naming naming, struct hk_str unit, struct hk_arena *arena,
    struct hk_str *out) HK_MUST_CHECK;

/* Text of an AnyValue message: strings as they are, true/false, numbers, base64 for bytes, JSON for
 * arrays and maps (keys sorted). In `arena` or borrowed. HK_E_MALFORMED, HK_E_LIMIT, HK_E_NOMEM. */
hk_err
hk_otlp_value_text(struct hk_str message, struct hk_arena *arena, struct hk_str *out) HK_MUST_CHECK;

#endif
