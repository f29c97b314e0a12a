/* The functions over ranges of floats. Those over histograms are in range_hist.c. */
#include "query/eval_internal.h"

#include "query/hist.h"
#include "query/range_hist.h"

static const char MIXED[] = "encountered a mix of histograms and floats for metric name";
static const char IGNORED[] =
    "ignored histograms in a range containing both floats and histograms for metric name";

/* The floats of a window. */
struct floats {
    const double *values;
    const int64_t *stamps;
    uint32_t count;
};

static struct floats
floats_of(const struct range_series *series, const struct range_window *window) {
    return (struct floats){ series->floats + window->float_from,
                            series->float_stamps + window->float_from,
                            window->float_to - window->float_from };
}

static uint32_t histogram_count(const struct range_window *window) {
    return window->histogram_to - window->histogram_from;
}

/* Says that a function of floats leaves histograms out. */
static void note_ignored(
    struct range_call *call, const struct range_series *series, const struct range_window *window) {
    if (histogram_count(window) > 0)
        hk_ev_info_metric(call->eval, call->argument, IGNORED, series->metric);
}

/*
 * Prometheus' extrapolation: the increase between the first and the last sample is stretched to the
 * window's edges where a sample is within 1.1 average distances of them, else by half a distance;
 * a counter is not stretched below zero. Returns the factor.
 */
static double extrapolation(
    const struct range_call *call, const struct range_window *window, int64_t first_ms,
    int64_t last_ms, uint32_t count, const double *counter_first, double increase,
    bool per_second) {
    double to_start = (double)(first_ms - window->start_ms) / 1000;
    double to_end = (double)(window->end_ms - last_ms) / 1000;
    double sampled = (double)(last_ms - first_ms) / 1000;
    double average = sampled / (double)(count - 1);
    double threshold = average * 1.1;
    double interval = sampled;
    if (to_start >= threshold) to_start = average / 2;
    if (counter_first != NULL && increase > 0 && *counter_first >= 0) {
        double to_zero = sampled * (*counter_first / increase);
        if (to_zero < to_start) to_start = to_zero;
    }
    interval += to_start;
    if (to_end >= threshold) to_end = average / 2;
    interval += to_end;
    double factor = interval / sampled;
    return per_second ? factor / call->range_seconds : factor;
}

static hk_err extrapolated(
    struct range_call *call, const struct range_series *series, const struct range_window *window,
    bool counter, bool per_second, struct range_point *out) {
    struct floats floats = floats_of(series, window);
    uint32_t histograms = histogram_count(window);
    out->present = false;
    if (floats.count > 0 && histograms > 0) {
        hk_ev_warn_metric(call->eval, call->argument, MIXED, series->metric);
        return HK_OK;
    }
    if (histograms > 1) {
        const int64_t *stamps = series->histogram_stamps + window->histogram_from;
        HK_TRY(hk_ev_histogram_increase(call, series, window, counter, &out->histogram));
        if (out->histogram == NULL) return HK_OK;
        out->present = true;
        double factor = extrapolation(
            call, window, stamps[0], stamps[histograms - 1], histograms, NULL, 0, per_second);
        if (hk_hist_scale(call->eval->arena, out->histogram, factor, &out->histogram) < 0)
            return hk_ev_nomem(call->eval);
        return HK_OK;
    }
    if (floats.count < 2) return HK_OK;
    double increase = floats.values[floats.count - 1] - floats.values[0];
    if (counter) {
        for (uint32_t i = window->reset_from; i < series->reset_count; i++) {
            if (series->resets[i] >= window->float_to) break;
            increase += series->floats[series->resets[i] - 1];
        }
    }
    double factor = extrapolation(
        call, window, floats.stamps[0], floats.stamps[floats.count - 1], floats.count,
        counter ? floats.values : NULL, increase, per_second);
    out->value = increase * factor;
    out->present = true;
    return HK_OK;
}

#define RANGE_FUNCTION(name)                                                                       \
    static hk_err fn_##name(                                                                       \
        struct range_call *call, const struct range_series *series,                                \
        const struct range_window *window, struct range_point *out)

RANGE_FUNCTION(rate) {
    return extrapolated(call, series, window, true, true, out);
}

RANGE_FUNCTION(increase) {
    return extrapolated(call, series, window, true, false, out);
}

RANGE_FUNCTION(delta) {
    return extrapolated(call, series, window, false, false, out);
}

/* The last two samples of either kind, in order; false if there are not two. */
struct last_two {
    int64_t stamps[2];
    double values[2];
    const struct hk_histogram *histograms[2];
};

static bool last_two(
    const struct range_series *series, const struct range_window *window, struct last_two *out) {
    uint32_t f = window->float_to;
    uint32_t h = window->histogram_to;
    for (int i = 1; i >= 0; i--) {
        bool has_float = f > window->float_from;
        bool has_histogram = h > window->histogram_from;
        if (!has_float && !has_histogram) return false;
        bool take_float = has_float && (!has_histogram || series->float_stamps[f - 1] >
                                                              series->histogram_stamps[h - 1]);
        if (take_float) {
            f--;
            out->stamps[i] = series->float_stamps[f];
            out->values[i] = series->floats[f];
            out->histograms[i] = NULL;
        } else {
            h--;
            out->stamps[i] = series->histogram_stamps[h];
            out->values[i] = 0;
            out->histograms[i] = series->histograms[h];
        }
    }
    return true;
}

static hk_err instant_change(
    struct range_call *call, const struct range_series *series, const struct range_window *window,
    bool rate, struct range_point *out) {
    struct last_two two;
    out->present = false;
    if (!last_two(series, window, &two) || two.stamps[0] == two.stamps[1]) return HK_OK;
    double seconds = (double)(two.stamps[1] - two.stamps[0]) / 1000;
    if ((two.histograms[0] == NULL) != (two.histograms[1] == NULL)) {
        hk_ev_warn_metric(call->eval, call->argument, MIXED, series->metric);
        return HK_OK;
    }
    if (two.histograms[0] != NULL) {
        HK_TRY(hk_ev_histogram_change(
            call, series, two.histograms[0], two.histograms[1], rate, &out->histogram));
        if (out->histogram == NULL) return HK_OK;
        out->present = true;
        if (rate && hk_hist_divide(call->eval->arena, out->histogram, seconds, &out->histogram) < 0)
            return hk_ev_nomem(call->eval);
        return HK_OK;
    }
    bool reset = rate && two.values[1] < two.values[0];
    out->value = reset ? two.values[1] : two.values[1] - two.values[0];
    if (rate) out->value /= seconds;
    out->present = true;
    return HK_OK;
}

RANGE_FUNCTION(irate) {
    return instant_change(call, series, window, true, out);
}

RANGE_FUNCTION(idelta) {
    return instant_change(call, series, window, false, out);
}

/* Counts the steps from one sample to the next that are a reset, or a change. */
static hk_err count_steps(
    struct range_call *call, const struct range_series *series, const struct range_window *window,
    bool resets, struct range_point *out) {
    uint32_t f = window->float_from;
    uint32_t h = window->histogram_from;
    const struct hk_histogram *last_histogram = NULL;
    double last = 0;
    uint32_t count = 0;
    for (bool first = true; f < window->float_to || h < window->histogram_to; first = false) {
        bool take_float =
            f < window->float_to &&
            (h == window->histogram_to || series->float_stamps[f] < series->histogram_stamps[h]);
        const struct hk_histogram *histogram = take_float ? NULL : series->histograms[h++];
        double value = take_float ? series->floats[f++] : 0;
        bool counts = false;
        if (first) {
            counts = false;
        } else if ((histogram == NULL) != (last_histogram == NULL)) {
            counts = true;
        } else if (histogram == NULL) {
            counts = resets ? value < last : value != last && !(isnan(value) && isnan(last));
        } else {
            HK_TRY(hk_ev_histogram_step(call, last_histogram, histogram, resets, &counts));
        }
        count += counts;
        last = value;
        last_histogram = histogram;
    }
    out->value = count;
    return HK_OK;
}

RANGE_FUNCTION(resets) {
    return count_steps(call, series, window, true, out);
}

RANGE_FUNCTION(changes) {
    return count_steps(call, series, window, false, out);
}

/* Least squares with compensated sums; x is seconds from `origin_ms`. */
static void regression(struct floats floats, int64_t origin_ms, double *slope, double *intercept) {
    double sum_x = 0;
    double sum_y = 0;
    double sum_xy = 0;
    double sum_xx = 0;
    double comp_x = 0;
    double comp_y = 0;
    double comp_xy = 0;
    double comp_xx = 0;
    bool constant = true;
    double n = floats.count;
    for (uint32_t i = 0; i < floats.count; i++) {
        double y = floats.values[i];
        double x = (double)(floats.stamps[i] - origin_ms) / 1e3;
        if (i > 0 && y != floats.values[0]) constant = false;
        kahan_add(x, &sum_x, &comp_x);
        kahan_add(y, &sum_y, &comp_y);
        kahan_add(x * y, &sum_xy, &comp_xy);
        kahan_add(x * x, &sum_xx, &comp_xx);
    }
    if (constant) {
        bool infinite = isinf(floats.values[0]);
        *slope = infinite ? nan_value() : 0;
        *intercept = infinite ? nan_value() : floats.values[0];
        return;
    }
    sum_x += comp_x;
    sum_y += comp_y;
    sum_xy += comp_xy;
    sum_xx += comp_xx;
    double covariance = sum_xy - sum_x * sum_y / n;
    double variance = sum_xx - sum_x * sum_x / n;
    *slope = covariance / variance;
    *intercept = sum_y / n - *slope * sum_x / n;
}

/* For functions that need two floats: false, and the annotation, when there are fewer. */
static bool need_two(
    struct range_call *call, const struct range_series *series, const struct range_window *window,
    struct range_point *out) {
    uint32_t count = window->float_to - window->float_from;
    if (count >= 1) note_ignored(call, series, window);
    out->present = count >= 2;
    return out->present;
}

RANGE_FUNCTION(deriv) {
    if (!need_two(call, series, window, out)) return HK_OK;
    struct floats floats = floats_of(series, window);
    double intercept = 0;
    regression(floats, floats.stamps[0], &out->value, &intercept);
    return HK_OK;
}

RANGE_FUNCTION(predict_linear) {
    if (!need_two(call, series, window, out)) return HK_OK;
    double slope = 0;
    double intercept = 0;
    regression(floats_of(series, window), window->time_ms, &slope, &intercept);
    out->value = slope * call->scalars[1][window->step] + intercept;
    return HK_OK;
}

RANGE_FUNCTION(double_exponential_smoothing) {
    double smoothing = call->scalars[1][window->step];
    double trend = call->scalars[2][window->step];
    if (smoothing <= 0 || smoothing >= 1) {
        return hk_fail(
            HK_E_EXECUTION, "invalid smoothing factor. Expected: 0 < sf < 1, got: %f", smoothing);
    }
    if (trend <= 0 || trend >= 1) {
        return hk_fail(
            HK_E_EXECUTION, "invalid trend factor. Expected: 0 < tf < 1, got: %f", trend);
    }
    if (!need_two(call, series, window, out)) return HK_OK;
    struct floats floats = floats_of(series, window);
    double before = 0;
    double level = floats.values[0];
    double slope = floats.values[1] - floats.values[0];
    for (uint32_t i = 1; i < floats.count; i++) {
        double x = smoothing * floats.values[i];
        if (i > 1) slope = trend * (level - before) + (1 - trend) * slope;
        double y = (1 - smoothing) * (level + slope);
        before = level;
        level = x + y;
    }
    out->value = level;
    return HK_OK;
}

/* The mean: of the compensated sum while that is finite, then incremental. */
static double mean_of(struct floats floats) {
    double sum = floats.values[0];
    double mean = 0;
    double compensation = 0;
    bool incremental = false;
    for (uint32_t i = 1; i < floats.count; i++) {
        double value = floats.values[i];
        double count = (double)i + 1;
        if (!incremental) {
            double new_sum = sum;
            double new_compensation = compensation;
            kahan_add(value, &new_sum, &new_compensation);
            if (!isinf(new_sum)) {
                sum = new_sum;
                compensation = new_compensation;
                continue;
            }
            incremental = true;
            mean = sum / (count - 1);
            compensation /= count - 1;
        }
        double q = (count - 1) / count;
        mean *= q;
        compensation *= q;
        kahan_add(value / count, &mean, &compensation);
    }
    if (incremental) return mean + compensation;
    double count = floats.count;
    return sum / count + compensation / count;
}

/* Sum or mean of a window of one kind; a mix has none. */
static hk_err fold(
    struct range_call *call, const struct range_series *series, const struct range_window *window,
    bool mean, struct range_point *out) {
    struct floats floats = floats_of(series, window);
    if (floats.count > 0 && histogram_count(window) > 0) {
        hk_ev_warn_metric(call->eval, call->argument, MIXED, series->metric);
        out->present = false;
        return HK_OK;
    }
    if (floats.count == 0) {
        HK_TRY(hk_ev_histogram_fold(call, series, window, mean, &out->histogram));
        out->present = out->histogram != NULL;
        return HK_OK;
    }
    if (mean) {
        out->value = mean_of(floats);
        return HK_OK;
    }
    double sum = 0;
    double compensation = 0;
    for (uint32_t i = 0; i < floats.count; i++)
        kahan_add(floats.values[i], &sum, &compensation);
    out->value = isinf(sum) ? sum : sum + compensation;
    return HK_OK;
}

RANGE_FUNCTION(sum_over_time) {
    return fold(call, series, window, false, out);
}

RANGE_FUNCTION(avg_over_time) {
    return fold(call, series, window, true, out);
}

RANGE_FUNCTION(count_over_time) {
    (void)call;
    (void)series;
    out->value = (double)(window->float_to - window->float_from + histogram_count(window));
    return HK_OK;
}

RANGE_FUNCTION(present_over_time) {
    (void)call;
    (void)series;
    (void)window;
    out->value = 1;
    return HK_OK;
}

/* Is the newest sample a float? */
static bool last_is_float(const struct range_series *series, const struct range_window *window) {
    if (histogram_count(window) == 0) return true;
    return window->float_to > window->float_from &&
           series->histogram_stamps[window->histogram_to - 1] <
               series->float_stamps[window->float_to - 1];
}

RANGE_FUNCTION(last_over_time) {
    if (last_is_float(series, window)) {
        out->value = series->floats[window->float_to - 1];
        return HK_OK;
    }
    out->histogram =
        hk_histogram_copy(series->histograms[window->histogram_to - 1], call->eval->arena);
    return out->histogram == NULL ? hk_ev_nomem(call->eval) : HK_OK;
}

RANGE_FUNCTION(ts_of_last_over_time) {
    (void)call;
    int64_t stamp_ms = last_is_float(series, window)
                           ? series->float_stamps[window->float_to - 1]
                           : series->histogram_stamps[window->histogram_to - 1];
    out->value = (double)stamp_ms / 1000;
    return HK_OK;
}

/* The floats of a window; false when there are none, an annotation when histograms are left out. */
static bool only_floats(
    struct range_call *call, const struct range_series *series, const struct range_window *window,
    struct range_point *out) {
    out->present = window->float_to > window->float_from;
    if (out->present) note_ignored(call, series, window);
    return out->present;
}

/* Index of the extreme; of equal ones the first, or the last. */
static uint32_t extreme(struct floats floats, bool maximum, bool last) {
    uint32_t best = 0;
    for (uint32_t i = 0; i < floats.count; i++) {
        double value = floats.values[i];
        double top = floats.values[best];
        bool better = maximum ? value > top : value < top;
        if (better || isnan(top) || (last && value == top)) best = i;
    }
    return best;
}

RANGE_FUNCTION(max_over_time) {
    if (!only_floats(call, series, window, out)) return HK_OK;
    struct floats floats = floats_of(series, window);
    out->value = floats.values[extreme(floats, true, false)];
    return HK_OK;
}

RANGE_FUNCTION(min_over_time) {
    if (!only_floats(call, series, window, out)) return HK_OK;
    struct floats floats = floats_of(series, window);
    out->value = floats.values[extreme(floats, false, false)];
    return HK_OK;
}

RANGE_FUNCTION(ts_of_max_over_time) {
    if (!only_floats(call, series, window, out)) return HK_OK;
    struct floats floats = floats_of(series, window);
    out->value = (double)floats.stamps[extreme(floats, true, true)] / 1000;
    return HK_OK;
}

RANGE_FUNCTION(ts_of_min_over_time) {
    if (!only_floats(call, series, window, out)) return HK_OK;
    struct floats floats = floats_of(series, window);
    out->value = (double)floats.stamps[extreme(floats, false, true)] / 1000;
    return HK_OK;
}

static double variance_of(struct floats floats) {
    double mean = 0;
    double mean_comp = 0;
    double aux = 0;
    double aux_comp = 0;
    for (uint32_t i = 0; i < floats.count; i++) {
        double value = floats.values[i];
        double delta = value - (mean + mean_comp);
        kahan_add(delta / ((double)i + 1), &mean, &mean_comp);
        kahan_add(delta * (value - (mean + mean_comp)), &aux, &aux_comp);
    }
    return (aux + aux_comp) / floats.count;
}

RANGE_FUNCTION(stdvar_over_time) {
    if (!only_floats(call, series, window, out)) return HK_OK;
    out->value = variance_of(floats_of(series, window));
    return HK_OK;
}

RANGE_FUNCTION(stddev_over_time) {
    if (!only_floats(call, series, window, out)) return HK_OK;
    out->value = sqrt(variance_of(floats_of(series, window)));
    return HK_OK;
}

/* A copy of the values that may be sorted. */
static hk_err copy_values(struct range_call *call, struct floats floats, double **out) {
    if (call->value_capacity < floats.count) {
        size_t wanted = floats.count * 2;
        call->values = hk_arena_alloc_raw(call->eval->arena, wanted, sizeof(double));
        if (call->values == NULL) return hk_ev_nomem(call->eval);
        call->value_capacity = wanted;
    }
    memcpy(call->values, floats.values, floats.count * sizeof(double));
    *out = call->values;
    return HK_OK;
}

RANGE_FUNCTION(quantile_over_time) {
    double q = call->scalars[0][window->step];
    double *values = NULL;
    if (window->float_to == window->float_from) {
        out->present = false;
        return HK_OK;
    }
    hk_ev_check_quantile(call->eval, call->node->children[0], q);
    if (histogram_count(window) > 0)
        hk_ev_info_metric(call->eval, call->node->children[0], IGNORED, series->metric);
    struct floats floats = floats_of(series, window);
    HK_TRY(copy_values(call, floats, &values));
    out->value = hk_ev_quantile(q, values, floats.count);
    return HK_OK;
}

RANGE_FUNCTION(mad_over_time) {
    double *values = NULL;
    if (!only_floats(call, series, window, out)) return HK_OK;
    struct floats floats = floats_of(series, window);
    HK_TRY(copy_values(call, floats, &values));
    double median = hk_ev_quantile(0.5, values, floats.count);
    for (uint32_t i = 0; i < floats.count; i++)
        values[i] = fabs(floats.values[i] - median);
    out->value = hk_ev_quantile(0.5, values, floats.count);
    return HK_OK;
}

/* A flat switch: one line per function of the language that reads a range. */
range_function hk_ev_range_function(enum hk_promql_function_id id) {
#define ROW(name)                                                                                  \
    case HK_PROMQL_FN_##name:                                                                      \
        return fn_##name
    switch ((int)id) {
        ROW(rate);
        ROW(increase);
        ROW(delta);
        ROW(irate);
        ROW(idelta);
        ROW(resets);
        ROW(changes);
        ROW(deriv);
        ROW(predict_linear);
        ROW(double_exponential_smoothing);
        ROW(sum_over_time);
        ROW(avg_over_time);
        ROW(count_over_time);
        ROW(present_over_time);
        ROW(last_over_time);
        ROW(ts_of_last_over_time);
        ROW(max_over_time);
        ROW(min_over_time);
        ROW(ts_of_max_over_time);
        ROW(ts_of_min_over_time);
        ROW(stdvar_over_time);
        ROW(stddev_over_time);
        ROW(quantile_over_time);
        ROW(mad_over_time);
    case HK_PROMQL_FN_absent_over_time:
        return fn_present_over_time;
    default:
        return NULL;
    }
#undef ROW
}
