/*
 * Arithmetic of native histograms, with Prometheus' rules for different resolutions, zero buckets
 * and reset hints. Pure; results live in the given arena, arguments are never changed.
 *
 * Results are compact: no empty buckets, no adjacent spans (hk_hist_scale keeps the layout).
 */
#ifndef HK_QUERY_HIST_H
#define HK_QUERY_HIST_H

#include "model/histogram.h"

/* Outcomes of combining two histograms that do not fit: positive, so no failure of the query. */
enum hist_fit {
    HIST_FITS = 0,
    HIST_BAD_SCHEMA = 1, /* exponential with custom buckets */
    HIST_BAD_BOUNDS = 2, /* different custom bounds */
};

/* A bucket with its bounds. */
struct hist_bucket {
    double lower, upper, count;
    bool lower_inclusive, upper_inclusive;
};

/* a + b, or a - b if `subtract`. HIST_FITS, HIST_BAD_SCHEMA, HIST_BAD_BOUNDS or HK_E_NOMEM. */
int hk_hist_add(
    struct hk_arena *arena, const struct hk_histogram *a, const struct hk_histogram *b,
    bool subtract, const struct hk_histogram **out) HK_MUST_CHECK;

/* All counts and the sum times `factor`. HK_E_NOMEM. */
hk_err hk_hist_scale(
    struct hk_arena *arena, const struct hk_histogram *histogram, double factor,
    const struct hk_histogram **out) HK_MUST_CHECK;

/* All counts and the sum divided by `divisor`; by 0: no buckets are left. HK_E_NOMEM. */
hk_err hk_hist_divide(
    struct hk_arena *arena, const struct hk_histogram *histogram, double divisor,
    const struct hk_histogram **out) HK_MUST_CHECK;

/* Without empty buckets. HK_E_NOMEM. */
hk_err hk_hist_compact(
    struct hk_arena *arena, const struct hk_histogram *histogram,
    const struct hk_histogram **out) HK_MUST_CHECK;

/* With the buckets merged to a lower resolution. HK_E_NOMEM. */
hk_err hk_hist_reduce(
    struct hk_arena *arena, const struct hk_histogram *histogram, int32_t schema,
    const struct hk_histogram **out) HK_MUST_CHECK;

/* The same data, bit by bit? Reset hints do not count. Works in `arena`; HK_E_NOMEM. */
hk_err hk_hist_equal(
    struct hk_arena *arena, const struct hk_histogram *a, const struct hk_histogram *b,
    bool *out) HK_MUST_CHECK;

/* Was there a counter reset between `before` and `now`? Works in `arena`; HK_E_NOMEM. */
hk_err hk_hist_is_reset(
    struct hk_arena *arena, const struct hk_histogram *now, const struct hk_histogram *before,
    bool *out) HK_MUST_CHECK;

/* All buckets in ascending order, the zero bucket (if not empty) between. HK_E_NOMEM. */
hk_err hk_hist_buckets(
    struct hk_arena *arena, const struct hk_histogram *histogram, struct hist_bucket **out,
    uint32_t *out_count) HK_MUST_CHECK;

/* Appends Prometheus' text: {count:3, sum:5, [-1,1]:1, (1,2]:2}. Works in `arena`. */
hk_err hk_hist_print(
    struct hk_arena *arena, const struct hk_histogram *histogram, struct hk_buf *out) HK_MUST_CHECK;

/* Upper bound of bucket `index` of an exponential schema. */
double hk_hist_bound(int32_t index, int32_t schema);

#endif
