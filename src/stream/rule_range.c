/*
 * Range functions over the samples of one window, as Prometheus 3.x computes them, and when their
 * value can change by the passing of time alone.
 */
#include "stream/rule_plan.h"

#include <math.h>

struct window {
    const struct hk_rule_point *points;
    uint32_t count;
    int64_t now_ms, range_ms;
};

bool hk_rule_function_known(enum hk_promql_function_id function) {
    switch ((int)function) {
    case HK_PROMQL_FN_rate:
    case HK_PROMQL_FN_increase:
    case HK_PROMQL_FN_delta:
    case HK_PROMQL_FN_irate:
    case HK_PROMQL_FN_idelta:
    case HK_PROMQL_FN_changes:
    case HK_PROMQL_FN_resets:
    case HK_PROMQL_FN_sum_over_time:
    case HK_PROMQL_FN_avg_over_time:
    case HK_PROMQL_FN_min_over_time:
    case HK_PROMQL_FN_max_over_time:
    case HK_PROMQL_FN_count_over_time:
    case HK_PROMQL_FN_last_over_time:
    case HK_PROMQL_FN_present_over_time:
        return true;
    default:
        return false;
    }
}

bool hk_rule_function_varies(enum hk_promql_function_id function) {
    return function == HK_PROMQL_FN_rate || function == HK_PROMQL_FN_increase ||
           function == HK_PROMQL_FN_delta;
}

/* The line's next bend is near `at_ms`: look a ms early, as rounding may have moved it. */
static void bend(const struct window *window, double at_ms, struct hk_rule_line *line) {
    double early_ms = floor(at_ms) - 1;
    if (!(early_ms < (double)line->next_ms)) return;
    bool passed = early_ms <= (double)window->now_ms;
    line->next_ms = passed ? window->now_ms + 1 : (int64_t)early_ms;
}

/* Prometheus' extrapolatedRate for floats. */
static bool
extrapolated(const struct window *window, bool counter, bool per_second, struct hk_rule_line *out) {
    uint32_t n = window->count;
    const struct hk_rule_point *points = window->points;
    if (n < 2) return false;
    double first = points[0].value;
    int64_t first_ms = points[0].stamp_ms;
    int64_t last_ms = points[n - 1].stamp_ms;
    double result = points[n - 1].value - first;
    for (uint32_t i = 1; counter && i < n; i++) {
        if (points[i].value < points[i - 1].value) result += points[i - 1].value;
    }
    double to_start = (double)(first_ms - (window->now_ms - window->range_ms)) / 1000;
    double to_end = (double)(window->now_ms - last_ms) / 1000;
    double sampled = (double)(last_ms - first_ms) / 1000;
    double average = sampled / (double)(n - 1);
    double threshold = average * 1.1;
    bool start_cut = to_start >= threshold;
    bool end_cut = to_end >= threshold;
    double opens_ms = (double)(first_ms + window->range_ms);
    if (start_cut) {
        to_start = average / 2;
        bend(window, opens_ms - threshold * 1000, out);
    }
    bool zero_cut = false;
    if (counter && result > 0 && first >= 0) {
        double to_zero = sampled * (first / result);
        zero_cut = to_zero < to_start;
        if (zero_cut) to_start = to_zero;
        if (zero_cut && !start_cut) bend(window, opens_ms - to_zero * 1000, out);
    }
    if (end_cut)
        to_end = average / 2;
    else
        bend(window, (double)last_ms + threshold * 1000, out);
    double factor = (sampled + to_start + to_end) / sampled;
    /* The start's part shrinks and the end's grows by one ms each ms, unless cut. */
    double moves = 0;
    if (!end_cut) moves += 0.001;
    if (!start_cut && !zero_cut) moves -= 0.001;
    double unit = per_second ? (double)window->range_ms / 1000 : 1;
    out->value = result * (per_second ? factor / unit : factor);
    out->slope = moves == 0 ? 0 : result / sampled * moves / unit;
    return true;
}

/* irate and idelta: the last two samples. */
static bool instant(const struct window *window, bool per_second, double *out_value) {
    uint32_t n = window->count;
    if (n < 2) return false;
    double last = window->points[n - 1].value;
    double before = window->points[n - 2].value;
    double result = per_second && last < before ? last : last - before;
    int64_t step_ms = window->points[n - 1].stamp_ms - window->points[n - 2].stamp_ms;
    if (step_ms == 0) return false;
    *out_value = per_second ? result / ((double)step_ms / 1000) : result;
    return true;
}

static double count_changes(const struct window *window, bool resets) {
    double changes = 0;
    for (uint32_t i = 1; i < window->count; i++) {
        double now = window->points[i].value;
        double before = window->points[i - 1].value;
        if (resets)
            changes += now < before;
        else
            changes += now != before && !(isnan(now) && isnan(before));
    }
    return changes;
}

/* Neumaier's compensated sum, in the order of the samples. */
static double sum(const struct window *window) {
    double total = 0;
    double rest = 0;
    for (uint32_t i = 0; i < window->count; i++) {
        double value = window->points[i].value;
        double next = total + value;
        if (isinf(next))
            rest = 0;
        else if (fabs(total) >= fabs(value))
            rest += (total - next) + value;
        else
            rest += (value - next) + total;
        total = next;
    }
    return total + rest;
}

static double extreme(const struct window *window, bool smallest) {
    double best = window->points[0].value;
    for (uint32_t i = 1; i < window->count; i++) {
        double value = window->points[i].value;
        bool better = smallest ? value < best : value > best;
        if (better || isnan(best)) best = value;
    }
    return best;
}

static bool
compute(const struct hk_rule_side *side, const struct window *window, struct hk_rule_line *out) {
    double *out_value = &out->value;
    switch ((int)side->function) {
    case HK_PROMQL_FN_rate:
        return extrapolated(window, true, true, out);
    case HK_PROMQL_FN_increase:
        return extrapolated(window, true, false, out);
    case HK_PROMQL_FN_delta:
        return extrapolated(window, false, false, out);
    case HK_PROMQL_FN_irate:
        return instant(window, true, out_value);
    case HK_PROMQL_FN_idelta:
        return instant(window, false, out_value);
    case HK_PROMQL_FN_changes:
        *out_value = count_changes(window, false);
        return true;
    case HK_PROMQL_FN_resets:
        *out_value = count_changes(window, true);
        return true;
    case HK_PROMQL_FN_sum_over_time:
        *out_value = sum(window);
        return true;
    case HK_PROMQL_FN_avg_over_time:
        *out_value = sum(window) / (double)window->count;
        return true;
    case HK_PROMQL_FN_min_over_time:
    case HK_PROMQL_FN_max_over_time:
        *out_value = extreme(window, (int)side->function == HK_PROMQL_FN_min_over_time);
        return true;
    case HK_PROMQL_FN_count_over_time:
        *out_value = window->count;
        return true;
    case HK_PROMQL_FN_last_over_time:
        *out_value = window->points[window->count - 1].value;
        return true;
    case HK_PROMQL_FN_present_over_time:
        *out_value = 1;
        return true;
    default:
        return false;
    }
}

bool hk_rule_range(
    const struct hk_rule_side *side, const struct hk_rule_point *points, uint32_t count,
    int64_t now_ms, struct hk_rule_line *out) {
    *out = (struct hk_rule_line){ .next_ms = INT64_MAX };
    if (count == 0) return false;
    struct window window = { points, count, now_ms, side->range_ms };
    out->next_ms = points[0].stamp_ms + side->range_ms; /* then the oldest sample leaves */
    return compute(side, &window, out);
}
