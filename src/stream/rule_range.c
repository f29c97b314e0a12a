/*
 * Range functions over the samples of one window, as Prometheus 3.x computes them, and when their
 * value can change by the passing of time alone.
 */
#include "stream/rule_plan.h"

#include <math.h>

enum { VARYING_MS = 1 };

struct window {
    const int64_t *stamps_ms;
    const double *values;
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

/* Prometheus' extrapolatedRate for floats. */
static bool extrapolated(
    const struct window *window, bool counter, bool per_second, double *out_value,
    int64_t *out_next_ms) {
    uint32_t n = window->count;
    if (n < 2) return false;
    double first = window->values[0];
    int64_t first_ms = window->stamps_ms[0];
    int64_t last_ms = window->stamps_ms[n - 1];
    double result = window->values[n - 1] - first;
    for (uint32_t i = 1; counter && i < n; i++) {
        if (window->values[i] < window->values[i - 1]) result += window->values[i - 1];
    }
    double to_start = (double)(first_ms - (window->now_ms - window->range_ms)) / 1000;
    double to_end = (double)(window->now_ms - last_ms) / 1000;
    double sampled = (double)(last_ms - first_ms) / 1000;
    double average = sampled / (double)(n - 1);
    double threshold = average * 1.1;
    bool start_cut = to_start >= threshold;
    bool end_cut = to_end >= threshold;
    if (start_cut) to_start = average / 2;
    bool zero_cut = false;
    if (counter && result > 0 && first >= 0) {
        double to_zero = sampled * (first / result);
        zero_cut = to_zero < to_start;
        if (zero_cut) to_start = to_zero;
    }
    if (end_cut) to_end = average / 2;
    double factor = (sampled + to_start + to_end) / sampled;
    if (per_second) factor /= (double)window->range_ms / 1000;
    *out_value = result * factor;
    bool start_moves = !start_cut && !zero_cut;
    if (start_moves != !end_cut) {
        *out_next_ms = window->now_ms + VARYING_MS;
        return true;
    }
    /* Either both ends move and cancel out, or none does: until a clamp or the window changes. */
    int64_t step_ms = (int64_t)floor(threshold * 1000);
    int64_t start_opens_ms = first_ms + window->range_ms - step_ms - 1;
    /* Rounding may put the opening into the past although it has not come: look again at once. */
    if (start_cut && start_opens_ms <= window->now_ms) start_opens_ms = window->now_ms + VARYING_MS;
    if (start_cut && start_opens_ms < *out_next_ms) *out_next_ms = start_opens_ms;
    if (!end_cut && last_ms + step_ms < *out_next_ms) *out_next_ms = last_ms + step_ms;
    if (zero_cut && *out_next_ms > window->now_ms + VARYING_MS) {
        *out_next_ms = window->now_ms + VARYING_MS;
    }
    return true;
}

/* irate and idelta: the last two samples. */
static bool instant(const struct window *window, bool per_second, double *out_value) {
    uint32_t n = window->count;
    if (n < 2) return false;
    double last = window->values[n - 1];
    double before = window->values[n - 2];
    double result = per_second && last < before ? last : last - before;
    int64_t step_ms = window->stamps_ms[n - 1] - window->stamps_ms[n - 2];
    if (step_ms == 0) return false;
    *out_value = per_second ? result / ((double)step_ms / 1000) : result;
    return true;
}

static double count_changes(const struct window *window, bool resets) {
    double changes = 0;
    for (uint32_t i = 1; i < window->count; i++) {
        double now = window->values[i];
        double before = window->values[i - 1];
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
        double value = window->values[i];
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
    double best = window->values[0];
    for (uint32_t i = 1; i < window->count; i++) {
        double value = window->values[i];
        bool better = smallest ? value < best : value > best;
        if (better || isnan(best)) best = value;
    }
    return best;
}

static bool compute(
    const struct hk_rule_side *side, const struct window *window, double *out_value,
    int64_t *out_next_ms) {
    switch ((int)side->function) {
    case HK_PROMQL_FN_rate:
        return extrapolated(window, true, true, out_value, out_next_ms);
    case HK_PROMQL_FN_increase:
        return extrapolated(window, true, false, out_value, out_next_ms);
    case HK_PROMQL_FN_delta:
        return extrapolated(window, false, false, out_value, out_next_ms);
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
        *out_value = window->values[window->count - 1];
        return true;
    case HK_PROMQL_FN_present_over_time:
        *out_value = 1;
        return true;
    default:
        return false;
    }
}

bool hk_rule_range(
    const struct hk_rule_side *side, const int64_t *stamps_ms, const double *values, uint32_t count,
    int64_t now_ms, double *out_value, int64_t *out_next_ms) {
    *out_next_ms = INT64_MAX;
    if (count == 0) return false;
    struct window window = { stamps_ms, values, count, now_ms, side->range_ms };
    *out_next_ms = stamps_ms[0] + side->range_ms; /* then the oldest sample leaves */
    return compute(side, &window, out_value, out_next_ms);
}
