/* What functions over ranges do with native histograms. Shared inside query. */
#ifndef HK_QUERY_RANGE_HIST_H
#define HK_QUERY_RANGE_HIST_H

#include "query/eval_internal.h"

/* The increase over the histograms of a window (at least two), before extrapolation; counter resets
 * count if `counter`. `*out` NULL: they do not fit together, an annotation says so. */
hk_err hk_ev_histogram_increase(
    struct range_call *call, const struct range_series *series, const struct range_window *window,
    bool counter, const struct hk_histogram **out) HK_MUST_CHECK;

/* The change from one histogram to the next (irate, idelta), NULL as above. */
hk_err hk_ev_histogram_change(
    struct range_call *call, const struct range_series *series, const struct hk_histogram *first,
    const struct hk_histogram *second, bool rate, const struct hk_histogram **out) HK_MUST_CHECK;

/* Is `now` after `before` a counter reset, or else: is it different? */
hk_err hk_ev_histogram_step(
    struct range_call *call, const struct hk_histogram *before, const struct hk_histogram *now,
    bool reset, bool *out) HK_MUST_CHECK;

/* Sum or mean of the histograms of a window, NULL as above. */
hk_err hk_ev_histogram_fold(
    struct range_call *call, const struct range_series *series, const struct range_window *window,
    bool mean, const struct hk_histogram **out) HK_MUST_CHECK;

#endif
