/*
 * The query engine: evaluates a PromQL tree over a source (model/source.h) at one time or at the
 * steps of a range, with Prometheus 3.5's results. Runs in the caller's thread; several queries may
 * run in parallel threads with an arena each. Pure apart from what the source does.
 */
#ifndef HK_QUERY_ENGINE_H
#define HK_QUERY_ENGINE_H

#include "lang/promql.h"
#include "model/histogram.h"
#include "model/source.h"

/* Zero means the default in brackets. */
struct hk_query_options {
    int64_t lookback_ms;        /* how old an instant vector's sample may be [300000] */
    int64_t subquery_step_ms;   /* step of subqueries that name none [60000] */
    uint32_t series_max;        /* series of one selector [no limit] */
    uint64_t samples_max;       /* samples and results held at once [50,000,000] */
    uint32_t points_max;        /* steps of a range query [11000] */
    int64_t deadline_ns;        /* hk_clock_monotonic_ns() after which the query ends [none] */
    const _Atomic bool *cancel; /* ends the query when true [NULL: never] */
};

/* One series of a result. Points ascend in time; a vector has exactly one point per series. */
struct hk_query_series {
    struct hk_labels labels;
    const int64_t *stamps_ms;
    const double *values;
    /* NULL when all points are floats; else an entry is NULL where the point is a float. */
    const struct hk_histogram *const *histograms;
    uint32_t count;
};

struct hk_query_stats {
    uint64_t series_read;
    uint64_t samples_read; /* read from the source */
    int64_t duration_ns;
};

/* Everything lives in the arena given to hk_query_run. */
struct hk_query_result {
    enum hk_promql_type type; /* of a range query always HK_PROMQL_MATRIX */
    int64_t stamp_ms;         /* of scalar, string and vector: the evaluation time */
    double scalar;
    struct hk_str text; /* of HK_PROMQL_STRING */
    const struct hk_query_series *series;
    uint32_t series_count;
    uint32_t warning_count, info_count;
    const struct hk_str *warnings; /* "PromQL warning: …", as Prometheus words them */
    const struct hk_str *infos;
    struct hk_query_stats stats;
};

/* Prometheus' errorType of a failed query. */
enum hk_query_error {
    HK_QUERY_BAD_DATA,  /* "bad_data" */
    HK_QUERY_EXECUTION, /* "execution" */
    HK_QUERY_TIMEOUT,   /* "timeout" */
    HK_QUERY_CANCELED,  /* "canceled" */
    HK_QUERY_INTERNAL,  /* "internal" */
};

/*
 * Runs the query. `step_ms` 0: at the one time `start_ms` (= `end_ms`); else at start_ms,
 * start_ms + step_ms, … up to end_ms. `out` lives in `arena`, whose limit bounds the memory; the
 * regular expressions and texts of `promql` are borrowed by nothing afterwards, its strings are.
 * Failures: see hk_query_error_of; the message is hk_fail_text().
 */
hk_err hk_query_run(
    const struct hk_source *source, const struct hk_promql *promql, int64_t start_ms,
    int64_t end_ms, int64_t step_ms, const struct hk_query_options *options, struct hk_arena *arena,
    struct hk_query_result *out) HK_MUST_CHECK;

/* The kind of a failure of hk_query_run or hk_promql_parse. */
enum hk_query_error hk_query_error_of(hk_err err);

/* "bad_data", "execution", … */
const char *hk_query_error_text(enum hk_query_error error);

/*
 * The oldest and newest stamp that the query may read, both inclusive (as Prometheus'
 * FindMinMaxTime); 0 and 0 when it has no selector.
 */
void hk_query_time_range(
    const struct hk_promql *promql, int64_t start_ms, int64_t end_ms, int64_t lookback_ms,
    int64_t *out_from_ms, int64_t *out_to_ms);

#endif
