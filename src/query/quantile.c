/* Quantiles of values. */
#include "query/eval_internal.h"

#include "lang/text.h"

#include <stdlib.h>

static int value_cmp(const void *a, const void *b) {
    double x = *(const double *)a;
    double y = *(const double *)b;
    if (isnan(x) || isnan(y)) return (int)isnan(y) - (int)isnan(x);
    return (x > y) - (x < y);
}

void hk_ev_sort_values(double *values, size_t count) {
    if (count > 16) {
        qsort(values, count, sizeof(double), value_cmp);
        return;
    }
    for (size_t i = 1; i < count; i++) {
        double value = values[i];
        size_t at = i;
        for (; at > 0 && value_cmp(&values[at - 1], &value) > 0; at--)
            values[at] = values[at - 1];
        values[at] = value;
    }
}

double hk_ev_quantile(double q, double *values, size_t count) {
    if (count == 0 || isnan(q)) return nan_value();
    if (q < 0) return -HUGE_VAL;
    if (q > 1) return HUGE_VAL;
    hk_ev_sort_values(values, count);
    double n = (double)count;
    double rank = q * (n - 1);
    double lower = fmax(0, floor(rank));
    double upper = fmin(n - 1, lower + 1);
    double weight = rank - floor(rank);
    return values[(size_t)lower] * (1 - weight) + values[(size_t)upper] * weight;
}

void hk_ev_check_quantile(struct eval *eval, const struct hk_promql_node *node, double q) {
    if (q >= 0 && q <= 1) return;
    char text[HK_GENERAL_BYTES_MAX];
    size_t len = hk_format_general(q, text);
    hk_ev_warn(eval, node, "quantile value should be between 0 and 1, got %.*s", (int)len, text);
}
