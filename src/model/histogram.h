/*
 * Native histograms (Prometheus model, float form): exponential buckets (schema -4 to 8) or custom
 * ones (schema -53), all counts as double. Pure data and pure functions; a histogram is immutable
 * once it is shared. Not thread-safe while being built.
 *
 * Bytes: hk_histogram_encode gives the form that the log and blocks hold; docs/formats describes
 * it. Stale marker of a histogram series: a histogram whose `sum` is hk_stale_value().
 */
#ifndef HK_MODEL_HISTOGRAM_H
#define HK_MODEL_HISTOGRAM_H

#include "base/arena.h"
#include "base/buf.h"
#include "model/source.h"

enum {
    HK_HISTOGRAM_SCHEMA_MIN = -4,
    HK_HISTOGRAM_SCHEMA_MAX = 8,
    HK_HISTOGRAM_SCHEMA_CUSTOM = -53,
    HK_HISTOGRAM_BUCKETS_MAX = 65536, /* buckets of one sign, and custom bounds */
    HK_HISTOGRAM_SPANS_MAX = 65536,   /* spans of one sign */
};

/* What the sender knows of a counter reset between the former histogram and this one. */
enum hk_reset_hint {
    HK_RESET_UNKNOWN,
    HK_RESET_YES,
    HK_RESET_NO,
    HK_RESET_GAUGE, /* not a counter at all */
};

/* A run of buckets: `offset` = gap to the end of the former run (the first: index of its first
 * bucket), `length` buckets. Bucket i of schema s covers (base^(i-1), base^i], base = 2^(2^-s). */
struct hk_histogram_span {
    int32_t offset;
    uint32_t length;
};

/* The buckets of one sign: `count` absolute (not cumulative) counts, as many as the spans' lengths
 * add up to. */
struct hk_histogram_side {
    const struct hk_histogram_span *spans;
    const double *counts;
    uint32_t span_count;
    uint32_t count;
};

struct hk_histogram {
    int32_t schema;
    enum hk_reset_hint reset_hint;
    double zero_threshold; /* the zero bucket covers [-zero_threshold, zero_threshold] */
    double zero_count;
    double count; /* of all observations */
    double sum;   /* of all observations */
    struct hk_histogram_side positive, negative;
    /* Schema -53 only: upper bounds of the buckets, ascending, without the last (+Inf). */
    const double *custom_values;
    uint32_t custom_count;
};

/*
 * Checks what came from outside: schema known, spans and counts agree, counts not negative (NaN
 * neither), custom bounds ascending and finite, within the limits above, a bucket of its bound.
 * HK_E_MALFORMED or HK_E_LIMIT with a text.
 */
hk_err hk_histogram_check(const struct hk_histogram *histogram) HK_MUST_CHECK;

/* Appends the bytes of a checked histogram; errors are sticky in `out`. Integral counts cost about
 * one byte per bucket. */
void hk_histogram_encode(const struct hk_histogram *histogram, struct hk_buf *out);

/*
 * Reads what hk_histogram_encode wrote; everything in `out` lives in `arena`, nothing points into
 * `bytes`. The whole of `bytes` must be one histogram. HK_E_CORRUPT, HK_E_LIMIT, HK_E_NOMEM.
 * The result passes hk_histogram_check.
 */
hk_err hk_histogram_decode(struct hk_str bytes, struct hk_arena *arena, struct hk_histogram *out)
    HK_MUST_CHECK;

/* Deep copy in `arena`, NULL when out of memory. */
struct hk_histogram *
hk_histogram_copy(const struct hk_histogram *histogram, struct hk_arena *arena);

/* Is it the stale marker of its series? */
static inline bool hk_histogram_is_stale(const struct hk_histogram *histogram) {
    return hk_is_stale(histogram->sum);
}

/* Does it use custom buckets? */
static inline bool hk_histogram_is_custom(const struct hk_histogram *histogram) {
    return histogram->schema == HK_HISTOGRAM_SCHEMA_CUSTOM;
}

#endif
