/* Native histograms in functions over ranges. What is only needed on the way lives in the work
 * arena, emptied per window, results in the query's. */
#include "query/range_hist.h"

#include "query/hist.h"

static const char MIXED_KINDS[] =
    "vector contains a mix of histograms with exponential and custom buckets schemas for metric "
    "name";
static const char MIXED_BOUNDS[] =
    "vector contains histograms with incompatible custom buckets for metric name";
static const char NOT_COUNTER[] = "this native histogram metric is not a counter:";
static const char NOT_GAUGE[] = "this native histogram metric is not a gauge:";

/* Says why two histograms do not fit. */
static void note_misfit(struct range_call *call, const struct range_series *series, int fit) {
    hk_ev_warn_metric(
        call->eval, call->argument, fit == HIST_BAD_SCHEMA ? MIXED_KINDS : MIXED_BOUNDS,
        series->metric);
}

static void note(struct range_call *call, const struct range_series *series, const char *text) {
    hk_ev_warn_metric(call->eval, call->argument, text, series->metric);
}

/* Copies the result out of the work arena. */
static hk_err keep(
    struct range_call *call, const struct hk_histogram *from, enum hk_reset_hint hint,
    const struct hk_histogram **out) {
    const struct hk_histogram *compact = NULL;
    if (hk_hist_compact(call->eval->arena, from, &compact) < 0) return hk_ev_nomem(call->eval);
    struct hk_histogram *copy = hk_arena_alloc_raw(call->eval->arena, 1, sizeof(*copy));
    if (copy == NULL) return hk_ev_nomem(call->eval);
    *copy = *compact;
    copy->reset_hint = hint;
    *out = copy;
    return HK_OK;
}

static bool is_gauge(const struct hk_histogram *histogram) {
    return histogram->reset_hint == HK_RESET_GAUGE;
}

struct increase {
    struct range_call *call;
    const struct range_series *series;
    const struct hk_histogram *const *points;
    uint32_t count;
    bool counter;
    struct hk_histogram empty; /* stands for a first one that was reset away */
    const struct hk_histogram *first;
};

/* The first histogram counts for nothing when a reset follows it. */
static hk_err increase_first(struct increase *in) {
    const struct hk_histogram *second = in->points[1];
    bool reset = false;
    in->first = in->points[0];
    if (!in->counter) return HK_OK;
    if (hk_hist_is_reset(&in->call->eval->work, second, in->first, &reset) < 0)
        return hk_ev_nomem(in->call->eval);
    if (!reset) return HK_OK;
    in->empty = (struct hk_histogram){ .schema = second->schema,
                                       .custom_values = second->custom_values,
                                       .custom_count = second->custom_count };
    in->first = &in->empty;
    return HK_OK;
}

/* Checks kinds and finds the lowest resolution; false: they do not fit. */
static bool increase_schema(struct increase *in, int32_t *out_schema) {
    const struct hk_histogram *last = in->points[in->count - 1];
    bool custom = hk_histogram_is_custom(in->first);
    int32_t schema = last->schema < in->first->schema ? last->schema : in->first->schema;
    if (in->counter && (is_gauge(in->points[0]) || is_gauge(last)))
        note(in->call, in->series, NOT_COUNTER);
    bool fits = hk_histogram_is_custom(last) == custom;
    for (uint32_t i = 1; fits && in->counter && i + 1 < in->count; i++) {
        const struct hk_histogram *point = in->points[i];
        if (is_gauge(point)) note(in->call, in->series, NOT_COUNTER);
        if (point->schema < schema) schema = point->schema;
        fits = hk_histogram_is_custom(point) == custom;
    }
    if (!fits) note(in->call, in->series, MIXED_KINDS);
    *out_schema = schema;
    return fits;
}

/* Adds what was lost in resets. `*total` NULL: misfit. */
static hk_err increase_resets(struct increase *in, const struct hk_histogram **total) {
    struct hk_arena *arena = &in->call->eval->work;
    const struct hk_histogram *before = in->first;
    for (uint32_t i = 1; i < in->count; i++) {
        bool reset = false;
        if (hk_hist_is_reset(arena, in->points[i], before, &reset) < 0)
            return hk_ev_nomem(in->call->eval);
        if (reset) {
            int fit = hk_hist_add(arena, *total, before, false, total);
            if (fit < 0) return hk_ev_nomem(in->call->eval);
            if (fit != HIST_FITS) {
                note_misfit(in->call, in->series, fit);
                *total = NULL;
                return HK_OK;
            }
        }
        before = in->points[i];
    }
    return HK_OK;
}

hk_err hk_ev_histogram_increase(
    struct range_call *call, const struct range_series *series, const struct range_window *window,
    bool counter, const struct hk_histogram **out) {
    struct increase in = { .call = call,
                           .series = series,
                           .points = series->histograms + window->histogram_from,
                           .count = window->histogram_to - window->histogram_from,
                           .counter = counter };
    struct hk_arena *arena = &call->eval->work;
    const struct hk_histogram *total = NULL;
    int32_t schema = 0;
    *out = NULL;
    hk_arena_reset(arena);
    HK_TRY(increase_first(&in));
    if (!increase_schema(&in, &schema)) return HK_OK;
    const struct hk_histogram *last = in.points[in.count - 1];
    total = last;
    if (schema != last->schema && hk_hist_reduce(arena, last, schema, &total) < 0)
        return hk_ev_nomem(call->eval);
    int fit = hk_hist_add(arena, total, in.first, true, &total);
    if (fit < 0) return hk_ev_nomem(call->eval);
    if (fit != HIST_FITS) {
        note_misfit(call, series, fit);
        return HK_OK;
    }
    if (counter) {
        HK_TRY(increase_resets(&in, &total));
        if (total == NULL) return HK_OK;
    } else if (!is_gauge(in.points[0]) || !is_gauge(last)) {
        note(call, series, NOT_GAUGE);
    }
    return keep(call, total, HK_RESET_GAUGE, out);
}

hk_err hk_ev_histogram_change(
    struct range_call *call, const struct range_series *series, const struct hk_histogram *first,
    const struct hk_histogram *second, bool rate, const struct hk_histogram **out) {
    struct hk_arena *arena = &call->eval->work;
    const struct hk_histogram *total = second;
    bool reset = false;
    *out = NULL;
    hk_arena_reset(arena);
    if (rate && (is_gauge(first) || is_gauge(second))) note(call, series, NOT_COUNTER);
    if (!rate && (!is_gauge(first) || !is_gauge(second))) note(call, series, NOT_GAUGE);
    if (rate && hk_hist_is_reset(arena, second, first, &reset) < 0) return hk_ev_nomem(call->eval);
    if (!reset) {
        int fit = hk_hist_add(arena, second, first, true, &total);
        if (fit < 0) return hk_ev_nomem(call->eval);
        if (fit != HIST_FITS) {
            note_misfit(call, series, fit);
            return HK_OK;
        }
    }
    return keep(call, total, HK_RESET_GAUGE, out);
}

hk_err hk_ev_histogram_step(
    struct range_call *call, const struct hk_histogram *before, const struct hk_histogram *now,
    bool reset, bool *out) {
    struct hk_arena *arena = &call->eval->work;
    hk_arena_reset(arena);
    hk_err err =
        reset ? hk_hist_is_reset(arena, now, before, out) : hk_hist_equal(arena, now, before, out);
    if (err < 0) return hk_ev_nomem(call->eval);
    if (!reset) *out = !*out;
    return HK_OK;
}

/* mean + (point - mean) / count. */
static int step_mean(
    struct hk_arena *arena, const struct hk_histogram *point, double count,
    const struct hk_histogram **mean) {
    const struct hk_histogram *left = NULL;
    const struct hk_histogram *right = NULL;
    HK_TRY(hk_hist_divide(arena, point, count, &left));
    HK_TRY(hk_hist_divide(arena, *mean, count, &right));
    int fit = hk_hist_add(arena, left, right, true, &left);
    return fit != HIST_FITS ? fit : hk_hist_add(arena, *mean, left, false, mean);
}

hk_err hk_ev_histogram_fold(
    struct range_call *call, const struct range_series *series, const struct range_window *window,
    bool mean, const struct hk_histogram **out) {
    struct hk_arena *arena = &call->eval->work;
    const struct hk_histogram *total = series->histograms[window->histogram_from];
    *out = NULL;
    hk_arena_reset(arena);
    for (uint32_t i = window->histogram_from + 1; i < window->histogram_to; i++) {
        const struct hk_histogram *point = series->histograms[i];
        double count = (double)(i - window->histogram_from) + 1;
        int fit = mean ? step_mean(arena, point, count, &total)
                       : hk_hist_add(arena, total, point, false, &total);
        if (fit < 0) return hk_ev_nomem(call->eval);
        if (fit != HIST_FITS) {
            note_misfit(call, series, fit);
            return HK_OK;
        }
    }
    return keep(call, total, total->reset_hint, out);
}
