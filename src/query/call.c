/* Calls: mathematics, dates, scalars and sorting. Labels are in label_fn.c, classic and native
 * histograms in histogram_fn.c, ranges in range.c. */
#include "query/eval_internal.h"

#include "lang/text.h"

#include <stdlib.h>

static const struct table *argument(const struct eval *eval, const struct hk_promql_node *node) {
    return &eval->tables[node->children[0]->id];
}

/* Go's Max and Min: an infinity wins over NaN, NaN over numbers, 0 over -0. */
static double go_max(double a, double b) {
    if ((isinf(a) && a > 0) || (isinf(b) && b > 0)) return HUGE_VAL;
    if (isnan(a) || isnan(b)) return nan_value();
    if (a == 0 && b == 0) return signbit(a) ? b : a;
    return a > b ? a : b;
}

static double go_min(double a, double b) {
    if ((isinf(a) && a < 0) || (isinf(b) && b < 0)) return -HUGE_VAL;
    if (isnan(a) || isnan(b)) return nan_value();
    if (a == 0 && b == 0) return signbit(a) ? a : b;
    return a < b ? a : b;
}

static double sign_of(double value) {
    return value < 0 ? -1 : value > 0 ? 1 : value;
}

/* A flat switch: one line per function of one number. */
static double math_function(enum hk_promql_function_id id, double v) {
    switch ((int)id) {
    case HK_PROMQL_FN_abs:
        return fabs(v);
    case HK_PROMQL_FN_ceil:
        return ceil(v);
    case HK_PROMQL_FN_floor:
        return floor(v);
    case HK_PROMQL_FN_exp:
        return exp(v);
    case HK_PROMQL_FN_sqrt:
        return sqrt(v);
    case HK_PROMQL_FN_ln:
        return log(v);
    case HK_PROMQL_FN_log2:
        return log2(v);
    case HK_PROMQL_FN_log10:
        return log10(v);
    case HK_PROMQL_FN_sin:
        return sin(v);
    case HK_PROMQL_FN_cos:
        return cos(v);
    case HK_PROMQL_FN_tan:
        return tan(v);
    case HK_PROMQL_FN_asin:
        return asin(v);
    case HK_PROMQL_FN_acos:
        return acos(v);
    case HK_PROMQL_FN_atan:
        return atan(v);
    case HK_PROMQL_FN_sinh:
        return sinh(v);
    case HK_PROMQL_FN_cosh:
        return cosh(v);
    case HK_PROMQL_FN_tanh:
        return tanh(v);
    case HK_PROMQL_FN_asinh:
        return asinh(v);
    case HK_PROMQL_FN_acosh:
        return acosh(v);
    case HK_PROMQL_FN_atanh:
        return atanh(v);
    case HK_PROMQL_FN_rad:
        return v * M_PI / 180;
    case HK_PROMQL_FN_deg:
        return v * 180 / M_PI;
    case HK_PROMQL_FN_sgn:
        return sign_of(v);
    default:
        return v;
    }
}

struct date {
    int64_t year, day_of_year;
    int month, day, weekday, hour, minute, days_in_month;
};

static bool is_leap(int64_t year) {
    return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

/* Date of seconds since 1970, proleptic Gregorian (Hinnant, "chrono-Compatible Low-Level Date
 * Algorithms", civil_from_days). */
static struct date date_of(int64_t seconds) {
    static const int lengths[12] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
    struct date out;
    int64_t days = seconds / 86400;
    int64_t rest = seconds % 86400;
    if (rest < 0) {
        rest += 86400;
        days--;
    }
    out.hour = (int)(rest / 3600);
    out.minute = (int)(rest / 60 % 60);
    out.weekday = (int)(((days + 4) % 7 + 7) % 7);
    int64_t shifted = days + 719468;
    int64_t era = (shifted >= 0 ? shifted : shifted - 146096) / 146097;
    int64_t day_of_era = shifted - era * 146097;
    int64_t year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    int64_t day = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int64_t month = (5 * day + 2) / 153;
    out.day = (int)(day - (153 * month + 2) / 5 + 1);
    out.month = (int)(month < 10 ? month + 3 : month - 9);
    out.year = year_of_era + era * 400 + (out.month <= 2);
    bool leap = is_leap(out.year);
    out.days_in_month = lengths[out.month - 1] + (leap && out.month == 2);
    out.day_of_year = out.day;
    for (int i = 0; i < out.month - 1; i++)
        out.day_of_year += lengths[i] + (leap && i == 1);
    return out;
}

static double date_function(enum hk_promql_function_id id, int64_t seconds) {
    struct date date = date_of(seconds);
    switch ((int)id) {
    case HK_PROMQL_FN_days_in_month:
        return date.days_in_month;
    case HK_PROMQL_FN_day_of_month:
        return date.day;
    case HK_PROMQL_FN_day_of_week:
        return date.weekday;
    case HK_PROMQL_FN_day_of_year:
        return (double)date.day_of_year;
    case HK_PROMQL_FN_hour:
        return date.hour;
    case HK_PROMQL_FN_minute:
        return date.minute;
    case HK_PROMQL_FN_month:
        return date.month;
    default:
        return (double)date.year;
    }
}

/* Seconds as a whole number; what does not fit becomes the smallest one, as on amd64. */
static int64_t whole_seconds(double value) {
    return fabs(value) < 9223372036854775807.0 ? (int64_t)value : INT64_MIN;
}

static bool is_date(enum hk_promql_function_id id) {
    return id == HK_PROMQL_FN_days_in_month || id == HK_PROMQL_FN_day_of_month ||
           id == HK_PROMQL_FN_day_of_week || id == HK_PROMQL_FN_day_of_year ||
           id == HK_PROMQL_FN_hour || id == HK_PROMQL_FN_minute || id == HK_PROMQL_FN_month ||
           id == HK_PROMQL_FN_year;
}

/* The scalar arguments of a call, NULL where there is none. */
struct scalars {
    const double *values[HK_PROMQL_ARGUMENTS_MAX];
};

/* A missing argument counts as 1: that is what round() means by it. */
static bool one_value(
    enum hk_promql_function_id id, const struct scalars *scalars, uint32_t step, double value,
    double *out) {
    double second = scalars->values[1] == NULL ? 1 : scalars->values[1][step];
    double third = scalars->values[2] == NULL ? 1 : scalars->values[2][step];
    if (id == HK_PROMQL_FN_clamp && third < second) return false;
    if (id == HK_PROMQL_FN_clamp) {
        *out = go_max(second, go_min(third, value));
    } else if (id == HK_PROMQL_FN_clamp_max) {
        *out = go_max(-HUGE_VAL, go_min(second, value));
    } else if (id == HK_PROMQL_FN_clamp_min) {
        *out = go_max(second, go_min(HUGE_VAL, value));
    } else if (id == HK_PROMQL_FN_round) {
        double inverse = 1.0 / second;
        *out = floor(value * inverse + 0.5) / inverse;
    } else if (is_date(id)) {
        *out = date_function(id, whole_seconds(value));
    } else {
        *out = math_function(id, value);
    }
    if (is_absent(*out)) *out = nan_value();
    return true;
}

/* A function of every float of a vector; histograms are left out, the name is dropped. */
static hk_err map_floats(struct eval *eval, const struct hk_promql_node *node, struct table *out) {
    const struct table *in = argument(eval, node);
    enum hk_promql_function_id id = node->call.function->id;
    struct name_drop drop = { 0 };
    struct scalars scalars = { { NULL } };
    for (uint32_t i = 1; i < node->child_count; i++)
        scalars.values[i] = hk_ev_scalar(eval, node->children[i]);
    for (uint32_t i = 0; i < in->count; i++) {
        const struct column *from = &in->columns[i];
        struct column column;
        HK_TRY(hk_ev_poll(eval));
        HK_TRY(hk_ev_column(eval, out->frame.count, false, &column));
        HK_TRY(hk_ev_drop_name(eval, from->labels, &drop, &column.labels));
        for (uint32_t s = 0; s < out->frame.count; s++) {
            if (is_absent(from->values[s]) || column_histogram(from, s) != NULL) continue;
            (void)one_value(id, &scalars, s, from->values[s], &column.values[s]);
        }
        HK_TRY(hk_ev_add(eval, out, &column));
    }
    return drop.mixed ? hk_ev_merge(eval, out, false) : HK_OK;
}

/* A column without labels: what time(), vector() and the like give. */
static hk_err constant(struct eval *eval, const struct hk_promql_node *node, struct table *out) {
    enum hk_promql_function_id id = node->call.function->id;
    struct column column;
    HK_TRY(hk_ev_column(eval, out->frame.count, true, &column));
    const double *given = node->child_count > 0 ? hk_ev_scalar(eval, node->children[0]) : NULL;
    for (uint32_t s = 0; s < out->frame.count; s++) {
        int64_t time_ms = frame_time(&out->frame, s);
        if (given != NULL)
            column.values[s] = given[s];
        else if (id == HK_PROMQL_FN_pi)
            column.values[s] = M_PI;
        else if (id == HK_PROMQL_FN_time)
            column.values[s] = (double)time_ms / 1000;
        else
            column.values[s] = date_function(id, time_ms / 1000);
    }
    return hk_ev_add(eval, out, &column);
}

/* The only float of each step, NaN if there is none or more than one. */
static hk_err scalar_of(struct eval *eval, const struct hk_promql_node *node, struct table *out) {
    const struct table *in = argument(eval, node);
    struct column column;
    HK_TRY(hk_ev_column(eval, out->frame.count, true, &column));
    for (uint32_t s = 0; s < out->frame.count; s++) {
        uint32_t count = 0;
        for (uint32_t i = 0; i < in->count && count < 2; i++) {
            const struct column *from = &in->columns[i];
            if (is_absent(from->values[s]) || column_histogram(from, s) != NULL) continue;
            column.values[s] = from->values[s];
            count++;
        }
        if (count != 1) column.values[s] = nan_value();
    }
    return hk_ev_add(eval, out, &column);
}

static hk_err
timestamp_of(struct eval *eval, const struct hk_promql_node *node, struct table *out) {
    const struct hk_promql_node *child = hk_promql_unwrap(node->children[0]);
    struct table direct = { .frame = out->frame };
    const struct table *in = argument(eval, node);
    bool samples = child->kind == HK_PROMQL_SELECTOR;
    if (samples) {
        struct table_sink sink;
        hk_ev_table_sink(eval, &direct, &sink);
        HK_TRY(hk_ev_select(eval, child, &out->frame, true, &sink.sink));
        in = &direct;
    }
    struct name_drop drop = { 0 };
    for (uint32_t i = 0; i < in->count; i++) {
        const struct column *from = &in->columns[i];
        struct column column;
        HK_TRY(hk_ev_poll(eval));
        HK_TRY(hk_ev_column(eval, out->frame.count, false, &column));
        HK_TRY(hk_ev_drop_name(eval, from->labels, &drop, &column.labels));
        for (uint32_t s = 0; s < out->frame.count; s++) {
            if (is_absent(from->values[s])) continue;
            column.values[s] =
                samples ? from->values[s] : (double)frame_time(&out->frame, s) / 1000;
        }
        HK_TRY(hk_ev_add(eval, out, &column));
    }
    return drop.mixed ? hk_ev_merge(eval, out, false) : HK_OK;
}

/* The labels that the selector's = matchers name, each once; the name is not among them. */
static hk_err
absent_labels(struct eval *eval, const struct hk_promql_node *node, struct hk_labels *out) {
    if (node->kind == HK_PROMQL_RANGE) node = node->children[0];
    *out = (struct hk_labels){ NULL, 0 };
    if (node->kind != HK_PROMQL_SELECTOR) return HK_OK;
    const struct hk_matcher *matchers = node->selector.matchers;
    hk_label_set_clear(&eval->set);
    for (uint32_t i = 0; i < node->selector.matcher_count; i++) {
        if (hk_str_is(matchers[i].name, "__name__")) continue;
        bool again = false;
        for (uint32_t k = 0; k < i; k++)
            again = again || (matchers[k].type == HK_MATCH_EQUAL &&
                              hk_str_eq(matchers[k].name, matchers[i].name));
        bool keep = matchers[i].type == HK_MATCH_EQUAL && !again;
        hk_label_set_put(
            &eval->set, matchers[i].name, keep ? matchers[i].value : (struct hk_str){ "", 0 });
    }
    return hk_ev_labels(eval, &eval->set, out);
}

hk_err hk_ev_absent(
    struct eval *eval, const struct hk_promql_node *node, const bool *found, struct table *out) {
    struct column column;
    HK_TRY(hk_ev_column(eval, out->frame.count, false, &column));
    HK_TRY(absent_labels(eval, hk_promql_unwrap(node->children[0]), &column.labels));
    for (uint32_t s = 0; s < out->frame.count; s++) {
        if (!found[s]) column.values[s] = 1;
    }
    return hk_ev_add(eval, out, &column);
}

static hk_err absent_of(struct eval *eval, const struct hk_promql_node *node, struct table *out) {
    const struct table *in = argument(eval, node);
    struct table ranged = { .frame = out->frame };
    if (node->call.function->id == HK_PROMQL_FN_absent_over_time) {
        struct table_sink sink;
        hk_ev_table_sink(eval, &ranged, &sink);
        HK_TRY(hk_ev_range_call(eval, node, &out->frame, &sink.sink));
        in = &ranged;
    }
    bool *found = hk_arena_alloc(eval->arena, out->frame.count, sizeof(bool));
    if (found == NULL) return hk_ev_nomem(eval);
    for (uint32_t i = 0; i < in->count; i++) {
        for (uint32_t s = 0; s < out->frame.count; s++)
            found[s] = found[s] || !is_absent(in->columns[i].values[s]);
    }
    return hk_ev_absent(eval, node, found, out);
}

/* "a9" before "a10": runs of digits compare as numbers. */
static int natural_cmp(struct hk_str a, struct hk_str b) {
    size_t i = 0;
    size_t k = 0;
    while (i < a.len && k < b.len) {
        size_t i_end = i;
        size_t k_end = k;
        while (i_end < a.len && a.ptr[i_end] >= '0' && a.ptr[i_end] <= '9')
            i_end++;
        while (k_end < b.len && b.ptr[k_end] >= '0' && b.ptr[k_end] <= '9')
            k_end++;
        if (i_end == i || k_end == k) {
            if (a.ptr[i] != b.ptr[k])
                return (unsigned char)a.ptr[i] < (unsigned char)b.ptr[k] ? -1 : 1;
            i++;
            k++;
            continue;
        }
        size_t zeros_a = i;
        size_t zeros_b = k;
        while (zeros_a + 1 < i_end && a.ptr[zeros_a] == '0')
            zeros_a++;
        while (zeros_b + 1 < k_end && b.ptr[zeros_b] == '0')
            zeros_b++;
        struct hk_str left = hk_str_part(a, zeros_a, i_end);
        struct hk_str right = hk_str_part(b, zeros_b, k_end);
        if (left.len != right.len) return left.len < right.len ? -1 : 1;
        int order = hk_str_cmp(left, right);
        if (order != 0) return order;
        if (i_end - i != k_end - k) return i_end - i < k_end - k ? -1 : 1;
        i = i_end;
        k = k_end;
    }
    return (a.len - i > b.len - k) - (a.len - i < b.len - k);
}

struct sorting {
    const struct hk_promql_node *node;
    bool by_label, descending;
};

static int sort_cmp(const void *a, const void *b, void *arg) {
    const struct column *left = a;
    const struct column *right = b;
    const struct sorting *sorting = arg;
    int sign = sorting->descending ? -1 : 1;
    if (!sorting->by_label) {
        double x = left->values[0];
        double y = right->values[0];
        if (isnan(x) || isnan(y)) return (int)isnan(x) - (int)isnan(y);
        return sign * ((x > y) - (x < y));
    }
    for (uint32_t i = 1; i < sorting->node->child_count; i++) {
        struct hk_str name = hk_promql_unwrap(sorting->node->children[i])->text;
        struct hk_str x = hk_labels_get(left->labels, name);
        struct hk_str y = hk_labels_get(right->labels, name);
        if (!hk_str_eq(x, y)) return sign * (natural_cmp(x, y) < 0 ? -1 : 1);
    }
    return sign * hk_labels_cmp(left->labels, right->labels);
}

/* Merge sort of columns: stable. */
static void sort_columns(
    struct column *columns, uint32_t count, struct column *spare, struct sorting *sorting) {
    for (uint32_t width = 1; width < count; width *= 2) {
        for (uint32_t from = 0; from < count; from += 2 * width) {
            uint32_t middle = from + width < count ? from + width : count;
            uint32_t end = middle + width < count ? middle + width : count;
            uint32_t i = from;
            uint32_t k = middle;
            for (uint32_t at = from; at < end; at++) {
                bool left =
                    i < middle && (k >= end || sort_cmp(&columns[i], &columns[k], sorting) <= 0);
                spare[at] = left ? columns[i++] : columns[k++];
            }
        }
        memcpy(columns, spare, count * sizeof(*columns));
    }
}

/* Order matters to instant queries only; sort() and sort_desc() drop histograms. */
static hk_err sort_of(struct eval *eval, const struct hk_promql_node *node, struct table *out) {
    const struct table *in = argument(eval, node);
    enum hk_promql_function_id id = node->call.function->id;
    struct sorting sorting = {
        .node = node,
        .by_label = id == HK_PROMQL_FN_sort_by_label || id == HK_PROMQL_FN_sort_by_label_desc,
        .descending = id == HK_PROMQL_FN_sort_desc || id == HK_PROMQL_FN_sort_by_label_desc,
    };
    for (uint32_t i = 0; i < in->count; i++) {
        struct column column = in->columns[i];
        HK_TRY(hk_ev_poll(eval));
        if (!sorting.by_label && column.histograms != NULL) {
            HK_TRY(hk_ev_column(eval, out->frame.count, false, &column));
            column.labels = in->columns[i].labels;
            for (uint32_t s = 0; s < out->frame.count; s++) {
                if (column_histogram(&in->columns[i], s) == NULL)
                    column.values[s] = in->columns[i].values[s];
            }
        }
        HK_TRY(hk_ev_add(eval, out, &column));
    }
    if (out->frame.count != 1 || out->count < 2) return HK_OK;
    struct column *spare = hk_arena_alloc_raw(eval->arena, out->count, sizeof(*spare));
    if (spare == NULL) return hk_ev_nomem(eval);
    sort_columns(out->columns, out->count, spare, &sorting);
    return HK_OK;
}

static hk_err
call_special(struct eval *eval, const struct hk_promql_node *node, struct table *out) {
    switch ((int)node->call.function->id) {
    case HK_PROMQL_FN_time:
    case HK_PROMQL_FN_pi:
    case HK_PROMQL_FN_vector:
        return constant(eval, node, out);
    case HK_PROMQL_FN_scalar:
        return scalar_of(eval, node, out);
    case HK_PROMQL_FN_timestamp:
        return timestamp_of(eval, node, out);
    case HK_PROMQL_FN_absent:
    case HK_PROMQL_FN_absent_over_time:
        return absent_of(eval, node, out);
    case HK_PROMQL_FN_sort:
    case HK_PROMQL_FN_sort_desc:
    case HK_PROMQL_FN_sort_by_label:
    case HK_PROMQL_FN_sort_by_label_desc:
        return sort_of(eval, node, out);
    case HK_PROMQL_FN_label_replace:
    case HK_PROMQL_FN_label_join:
        return hk_ev_label_call(eval, node, out);
    case HK_PROMQL_FN_histogram_avg:
    case HK_PROMQL_FN_histogram_count:
    case HK_PROMQL_FN_histogram_sum:
    case HK_PROMQL_FN_histogram_stddev:
    case HK_PROMQL_FN_histogram_stdvar:
    case HK_PROMQL_FN_histogram_fraction:
    case HK_PROMQL_FN_histogram_quantile:
        return hk_ev_histogram_call(eval, node, out);
    case HK_PROMQL_FN_info:
        return hk_fail(HK_E_UNSUPPORTED, "function info() is not supported");
    default:
        return HK_END;
    }
}

hk_err hk_ev_call(struct eval *eval, const struct hk_promql_node *node, struct table *out) {
    hk_err err = call_special(eval, node, out);
    if (err != HK_END) return err;
    if (hk_ev_range_argument(node) != UINT32_MAX) {
        struct table_sink sink;
        hk_ev_table_sink(eval, out, &sink);
        return hk_ev_range_call(eval, node, &out->frame, &sink.sink);
    }
    if (node->child_count == 0) return constant(eval, node, out);
    return map_floats(eval, node, out);
}
