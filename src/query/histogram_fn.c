/*
 * histogram_quantile(), histogram_fraction() and the functions of single native histograms. Classic
 * histograms are grouped by their labels without "le" once, their bounds sorted once; each step
 * then looks at the buckets that have a point.
 */
#include "query/eval_internal.h"

#include "lang/text.h"

#include <stdlib.h>

struct bound {
    double upper;
    uint32_t column, order;
};

struct bucket {
    double upper, count;
};

/* A classic histogram: the columns of its buckets. */
struct classic {
    struct hk_labels labels; /* without le */
    struct bound *bounds;
    uint32_t count;
    struct column out;
};

struct histograms {
    struct eval *eval;
    const struct hk_promql_node *node, *argument;
    const struct table *in;
    struct table *out;
    uint32_t steps;
    const double *first, *second; /* scalar arguments */
    struct label_map map;
    struct classic *classics;
    uint32_t classic_count;
    uint32_t *group_of; /* per column, UINT32_MAX: no bucket of a classic histogram */
    double *uppers;     /* per column */
    struct bucket *buckets;
};

static int bound_cmp(const void *a, const void *b) {
    const struct bound *x = a;
    const struct bound *y = b;
    if (isnan(x->upper) || isnan(y->upper)) {
        if (isnan(x->upper) != isnan(y->upper)) return isnan(x->upper) ? 1 : -1;
    } else if (x->upper != y->upper) {
        return x->upper < y->upper ? -1 : 1;
    }
    return (x->order > y->order) - (x->order < y->order);
}

static bool has_floats(const struct column *column, uint32_t steps) {
    for (uint32_t s = 0; s < steps; s++) {
        if (!is_absent(column->values[s]) && column_histogram(column, s) == NULL) return true;
    }
    return false;
}

static void note_bad_bound(struct histograms *in, struct hk_labels labels) {
    struct hk_buf buf;
    hk_buf_init(&buf, 900);
    hk_buf_text(&buf, "bucket label \"le\" is missing or has a malformed value of ");
    hk_quote(hk_labels_get(labels, HK_STR("le")), &buf);
    hk_buf_text(&buf, " for metric name ");
    hk_quote(hk_labels_get(labels, HK_STR("__name__")), &buf);
    hk_ev_warn(in->eval, in->argument, "%.*s", HK_STR_ARG(hk_buf_get(&buf)));
    hk_buf_deinit(&buf);
}

/* Puts each column with floats to its histogram. */
static hk_err group_buckets(struct histograms *in, uint32_t *sizes) {
    static const struct hk_str le[1] = { { "le", 2 } };
    for (uint32_t i = 0; i < in->in->count; i++) {
        const struct column *column = &in->in->columns[i];
        in->group_of[i] = UINT32_MAX;
        if (column->histograms != NULL && !has_floats(column, in->steps)) continue;
        struct hk_str text = hk_labels_get(column->labels, HK_STR("le"));
        if (hk_parse_double(text, &in->uppers[i]) < 0) {
            note_bad_bound(in, column->labels);
            continue;
        }
        bool is_new = false;
        uint32_t number = 0;
        HK_TRY(hk_ev_map(
            in->eval, &in->map, hk_ev_hash(column->labels, le, 1, false), in->classic_count,
            &number, &is_new));
        if (is_new) {
            HK_TRY(
                hk_ev_pick(in->eval, column->labels, le, 1, false, &in->classics[number].labels));
            in->classic_count++;
        }
        in->group_of[i] = number;
        sizes[number]++;
    }
    return HK_OK;
}

static hk_err sort_buckets(struct histograms *in, const uint32_t *sizes) {
    for (uint32_t i = 0; i < in->classic_count; i++) {
        struct classic *classic = &in->classics[i];
        classic->bounds = hk_arena_alloc_raw(in->eval->arena, sizes[i], sizeof(struct bound));
        if (classic->bounds == NULL) return hk_ev_nomem(in->eval);
    }
    for (uint32_t i = 0; i < in->in->count; i++) {
        if (in->group_of[i] == UINT32_MAX) continue;
        struct classic *classic = &in->classics[in->group_of[i]];
        classic->bounds[classic->count] = (struct bound){ in->uppers[i], i, classic->count };
        classic->count++;
    }
    for (uint32_t i = 0; i < in->classic_count; i++) {
        struct classic *classic = &in->classics[i];
        qsort(classic->bounds, classic->count, sizeof(struct bound), bound_cmp);
    }
    return HK_OK;
}

static hk_err load(struct histograms *in) {
    struct hk_arena *arena = in->eval->arena;
    uint32_t count = in->in->count;
    uint32_t *sizes = hk_arena_alloc(arena, count, sizeof(uint32_t));
    in->classics = hk_arena_alloc(arena, count, sizeof(struct classic));
    in->group_of = hk_arena_alloc_raw(arena, count, sizeof(uint32_t));
    in->uppers = hk_arena_alloc(arena, count, sizeof(double));
    in->buckets = hk_arena_alloc_raw(arena, count, sizeof(struct bucket));
    if (sizes == NULL || in->classics == NULL || in->group_of == NULL || in->uppers == NULL ||
        in->buckets == NULL) {
        return hk_ev_nomem(in->eval);
    }
    HK_TRY(group_buckets(in, sizes));
    return sort_buckets(in, sizes);
}

/* The buckets that have a point at the step, those of the same bound added up. */
static uint32_t
step_buckets(const struct histograms *in, const struct classic *classic, uint32_t step) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < classic->count; i++) {
        const struct column *column = &in->in->columns[classic->bounds[i].column];
        double value = column->values[step];
        double upper = classic->bounds[i].upper;
        if (is_absent(value) || column_histogram(column, step) != NULL) continue;
        if (count > 0 && in->buckets[count - 1].upper == upper)
            in->buckets[count - 1].count += value;
        else
            in->buckets[count++] = (struct bucket){ upper, value };
    }
    return count;
}

/* Relative equality, as Prometheus compares bucket counts. */
static bool almost_equal(double a, double b, double epsilon) {
    if (isnan(a) && isnan(b)) return true;
    if (a == b) return true;
    double sum = fabs(a) + fabs(b);
    double difference = fabs(a - b);
    if (a == 0 || b == 0 || sum < 2.2250738585072014e-308)
        return difference < epsilon * 2.2250738585072014e-308;
    return difference / fmin(sum, 1.7976931348623157e308) < epsilon;
}

/* Counts must not fall: small differences are noise, larger ones are noted. */
static bool make_monotonic(struct bucket *buckets, uint32_t count) {
    bool forced = false;
    double before = buckets[0].count;
    for (uint32_t i = 1; i < count; i++) {
        double now = buckets[i].count;
        if (now == before) continue;
        bool small = almost_equal(before, now, 1e-12);
        if (small || now < before) {
            buckets[i].count = before;
            forced = forced || !small;
            continue;
        }
        before = now;
    }
    return forced;
}

static double classic_quantile(double q, struct bucket *buckets, uint32_t count, bool *forced) {
    *forced = false;
    if (isnan(q)) return nan_value();
    if (q < 0 || q > 1) return q < 0 ? -HUGE_VAL : HUGE_VAL;
    double top = buckets[count - 1].upper;
    if (!isinf(top) || top < 0) return nan_value();
    *forced = make_monotonic(buckets, count);
    double observations = buckets[count - 1].count;
    if (count < 2 || observations == 0) {
        *forced = false;
        return nan_value();
    }
    double rank = q * observations;
    uint32_t low = 0;
    uint32_t high = count - 1;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (buckets[middle].count >= rank)
            high = middle;
        else
            low = middle + 1;
    }
    if (low == count - 1) return buckets[count - 2].upper;
    if (low == 0 && buckets[0].upper <= 0) return buckets[0].upper;
    double start = 0;
    double inside = buckets[low].count;
    if (low > 0) {
        start = buckets[low - 1].upper;
        inside -= buckets[low - 1].count;
        rank -= buckets[low - 1].count;
    }
    return start + (buckets[low].upper - start) * (rank / inside);
}

/* Where the bounds of a fraction stand among the observations. */
struct ranks {
    double bounds[2], ranks[2];
    bool set[2];
};

/* A bound at the lower edge of a bucket. True: both are known. */
static bool rank_at_edge(struct ranks *ranks, double lower, double rank) {
    for (int i = 0; i < 2; i++) {
        if (ranks->set[i] || lower < ranks->bounds[i]) continue;
        ranks->ranks[i] = rank;
        ranks->set[i] = true;
    }
    return ranks->set[0] && ranks->set[1];
}

static double finish_fraction(struct ranks *ranks, double count, double divisor) {
    for (int i = 0; i < 2; i++) {
        if (!ranks->set[i] || ranks->ranks[i] > count) ranks->ranks[i] = count;
    }
    return (ranks->ranks[1] - ranks->ranks[0]) / divisor;
}

static double
classic_fraction(double lower, double upper, const struct bucket *buckets, uint32_t count) {
    double top = buckets[count - 1].upper;
    if (!isinf(top) || top < 0) return nan_value();
    double total = buckets[count - 1].count;
    if (total == 0 || isnan(lower) || isnan(upper)) return nan_value();
    if (lower >= upper) return 0;
    struct ranks ranks = { .bounds = { lower, upper } };
    double rank = 0;
    for (uint32_t i = 0; i < count; i++) {
        /* As for quantiles, the lowest bucket begins at 0 if it holds positive values. */
        double lowest = buckets[0].upper > 0 ? 0 : -HUGE_VAL;
        double from = i == 0 ? lowest : buckets[i - 1].upper;
        double to = buckets[i].upper;
        if (rank_at_edge(&ranks, from, rank)) break;
        for (int k = 0; k < 2; k++) {
            double bound = ranks.bounds[k];
            if (ranks.set[k] || !(from < bound && to > bound)) continue;
            double share = isinf(from) ? 1 : (bound - from) / (to - from);
            ranks.ranks[k] = rank + (buckets[i].count - rank) * share;
            ranks.set[k] = true;
        }
        if (ranks.set[0] && ranks.set[1]) break;
        rank = buckets[i].count;
    }
    return finish_fraction(&ranks, total, total);
}

static hk_err native_buckets(
    struct histograms *in, const struct hk_histogram *histogram, struct hist_bucket **out,
    uint32_t *out_count) {
    hk_arena_reset(&in->eval->work);
    return hk_hist_buckets(&in->eval->work, histogram, out, out_count) < 0 ? hk_ev_nomem(in->eval)
                                                                           : HK_OK;
}

/* The zero bucket of a histogram that has buckets on one side only reaches to 0. */
static void trim_zero_bucket(const struct hk_histogram *histogram, struct hist_bucket *bucket) {
    if (histogram->negative.count == 0 && histogram->positive.count > 0)
        bucket->lower = 0;
    else if (histogram->positive.count == 0 && histogram->negative.count > 0)
        bucket->upper = 0;
}

/* The bucket that a quantile falls into. */
struct found {
    struct hist_bucket bucket;
    double count, rank; /* observations up to its end; the wanted one */
    uint32_t next;      /* bucket behind it, in the order of the search */
    bool forward;
};

static struct found find_bucket(
    double q, const struct hk_histogram *histogram, const struct hist_bucket *buckets,
    uint32_t count) {
    struct found found = { .forward = isnan(histogram->sum) || q < 0.5 };
    found.rank = (found.forward ? q : 1 - q) * histogram->count;
    while (found.next < count) {
        uint32_t i = found.forward ? found.next : count - 1 - found.next;
        found.next++;
        found.bucket = buckets[i];
        if (buckets[i].count == 0) continue;
        found.count += buckets[i].count;
        if (found.count >= found.rank) break;
    }
    return found;
}

static double interpolate(const struct hist_bucket *bucket, double fraction, bool linear) {
    if (linear || (bucket->lower <= 0 && bucket->upper >= 0))
        return bucket->lower + (bucket->upper - bucket->lower) * fraction;
    double low = log2(fabs(bucket->lower));
    double high = log2(fabs(bucket->upper));
    if (bucket->lower > 0) return exp2(low + (high - low) * fraction);
    return -exp2(high + (low - high) * (1 - fraction));
}

static hk_err native_quantile(
    struct histograms *in, double q, const struct hk_histogram *histogram, struct hk_str metric,
    double *out) {
    struct hist_bucket *buckets = NULL;
    uint32_t count = 0;
    *out = q < 0 ? -HUGE_VAL : q > 1 ? HUGE_VAL : nan_value();
    if (!(q >= 0 && q <= 1) || histogram->count == 0) return HK_OK;
    HK_TRY(native_buckets(in, histogram, &buckets, &count));
    bool custom = hk_histogram_is_custom(histogram);
    struct found found = find_bucket(q, histogram, buckets, count);
    struct hist_bucket *bucket = &found.bucket;
    if (!custom && bucket->lower < 0 && bucket->upper > 0) {
        trim_zero_bucket(histogram, bucket);
    } else if (custom && isinf(bucket->lower)) {
        *out = bucket->upper;
        if (bucket->upper <= 0) return HK_OK;
        bucket->lower = 0;
    } else if (custom && isinf(bucket->upper)) {
        *out = bucket->lower;
        return HK_OK;
    }
    if (found.count > histogram->count) found.count = histogram->count;
    const struct hk_promql_node *at = in->node->children[0];
    if (found.count < found.rank) {
        *out = isnan(histogram->sum) ? nan_value() : bucket->upper;
        if (isnan(histogram->sum)) {
            hk_ev_info_metric(
                in->eval, at,
                "input to histogram_quantile has NaN observations, result is NaN for metric name",
                metric);
        }
        return HK_OK;
    }
    double rank =
        found.forward ? found.rank - (found.count - bucket->count) : found.count - found.rank;
    if (isnan(histogram->sum)) {
        for (uint32_t i = found.next; i < count; i++)
            found.count += buckets[i].count;
        if (found.count < histogram->count) {
            hk_ev_info_metric(
                in->eval, at,
                "input to histogram_quantile has NaN observations, result is skewed higher for "
                "metric name",
                metric);
        }
        /* Prometheus goes on with the last bucket that it counted. */
        if (found.next < count) *bucket = buckets[count - 1];
    }
    *out = interpolate(bucket, rank / bucket->count, custom);
    return HK_OK;
}

static double
rank_inside(const struct hist_bucket *bucket, double rank, double bound, bool linear) {
    if (linear) {
        return rank + bucket->count * (bound - bucket->lower) / (bucket->upper - bucket->lower);
    }
    double low = log2(fabs(bucket->lower));
    double high = log2(fabs(bucket->upper));
    double at = log2(fabs(bound));
    double fraction = bound > 0 ? (at - low) / (high - low) : 1 - (at - high) / (low - high);
    return rank + bucket->count * fraction;
}

static hk_err native_fraction(
    struct histograms *in, double lower, double upper, const struct hk_histogram *histogram,
    struct hk_str metric, double *out) {
    struct hist_bucket *buckets = NULL;
    uint32_t count = 0;
    *out = nan_value();
    if (histogram->count == 0 || isnan(lower) || isnan(upper)) return HK_OK;
    *out = 0;
    if (lower >= upper) return HK_OK;
    HK_TRY(native_buckets(in, histogram, &buckets, &count));
    struct ranks ranks = { .bounds = { lower, upper } };
    double rank = 0;
    double seen = 0;
    uint32_t next = 0;
    while (next < count) {
        struct hist_bucket bucket = buckets[next++];
        bool zero = bucket.lower <= 0 && bucket.upper >= 0;
        seen += bucket.count;
        if (zero) trim_zero_bucket(histogram, &bucket);
        if (rank_at_edge(&ranks, bucket.lower, rank)) break;
        for (int k = 0; k < 2; k++) {
            double bound = ranks.bounds[k];
            if (ranks.set[k] || !(bucket.lower < bound && bucket.upper > bound)) continue;
            ranks.ranks[k] =
                rank_inside(&bucket, rank, bound, zero || hk_histogram_is_custom(histogram));
            ranks.set[k] = true;
        }
        if (ranks.set[0] && ranks.set[1]) break;
        rank += bucket.count;
    }
    if (isnan(histogram->sum)) {
        for (; next < count; next++)
            seen += buckets[next].count;
        if (seen < histogram->count) {
            hk_ev_info_metric(
                in->eval, in->node->children[0],
                "input to histogram_fraction has NaN observations, which are excluded from all "
                "fractions for metric name",
                metric);
        }
    } else {
        seen = histogram->count;
    }
    *out = finish_fraction(&ranks, seen, histogram->count);
    return HK_OK;
}

static bool is_quantile(const struct histograms *in) {
    return in->node->call.function->id == HK_PROMQL_FN_histogram_quantile;
}

static void classic_step(struct histograms *in, struct classic *classic, uint32_t step) {
    uint32_t count = step_buckets(in, classic, step);
    bool forced = false;
    if (count == 0) return;
    if (!is_quantile(in)) {
        classic->out.values[step] =
            classic_fraction(in->first[step], in->second[step], in->buckets, count);
        return;
    }
    classic->out.values[step] = classic_quantile(in->first[step], in->buckets, count, &forced);
    if (!forced) return;
    hk_ev_info_metric(
        in->eval, in->argument,
        "input to histogram_quantile needed to be fixed for monotonicity (see "
        "https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile) for "
        "metric name",
        hk_labels_get(classic->labels, HK_STR("__name__")));
}

/* A native histogram beside a classic one of the same labels: neither counts at that step. */
static bool conflicts(struct histograms *in, const struct column *column, uint32_t step) {
    uint32_t number = hk_ev_map_find(&in->map, hk_ev_hash(column->labels, NULL, 0, false));
    if (number == UINT32_MAX || step_buckets(in, &in->classics[number], step) == 0) return false;
    hk_ev_warn_metric(
        in->eval, in->argument,
        "vector contains a mix of classic and native histograms for metric name",
        hk_labels_get(column->labels, HK_STR("__name__")));
    in->classics[number].out.values[step] = absent_value();
    return true;
}

static hk_err native_column(struct histograms *in, const struct column *from, struct column *out) {
    for (uint32_t s = 0; s < in->steps; s++) {
        const struct hk_histogram *histogram = column_histogram(from, s);
        /* Prometheus names the metric as it is after the name was dropped: not at all. */
        struct hk_str metric = { "", 0 };
        if (histogram == NULL || conflicts(in, from, s)) continue;
        if (is_quantile(in)) {
            HK_TRY(native_quantile(in, in->first[s], histogram, metric, &out->values[s]));
        } else {
            HK_TRY(native_fraction(
                in, in->first[s], in->second[s], histogram, metric, &out->values[s]));
        }
    }
    return HK_OK;
}

static hk_err eval_classics(struct histograms *in) {
    for (uint32_t i = 0; i < in->classic_count; i++) {
        struct classic *classic = &in->classics[i];
        HK_TRY(hk_ev_poll(in->eval));
        HK_TRY(hk_ev_column(in->eval, in->steps, false, &classic->out));
        for (uint32_t s = 0; s < in->steps; s++)
            classic_step(in, classic, s);
    }
    return HK_OK;
}

static hk_err eval_distributions(struct histograms *in) {
    struct name_drop drop = { 0 };
    HK_TRY(load(in));
    for (uint32_t s = 0; is_quantile(in) && s < in->steps; s++)
        hk_ev_check_quantile(in->eval, in->node->children[0], in->first[s]);
    HK_TRY(eval_classics(in));
    for (uint32_t i = 0; i < in->in->count; i++) {
        const struct column *from = &in->in->columns[i];
        struct column column;
        if (from->histograms == NULL) continue;
        HK_TRY(hk_ev_poll(in->eval));
        HK_TRY(hk_ev_column(in->eval, in->steps, false, &column));
        HK_TRY(hk_ev_drop_name(in->eval, from->labels, &drop, &column.labels));
        HK_TRY(native_column(in, from, &column));
        HK_TRY(hk_ev_add(in->eval, in->out, &column));
    }
    for (uint32_t i = 0; i < in->classic_count; i++) {
        struct classic *classic = &in->classics[i];
        HK_TRY(hk_ev_drop_name(in->eval, classic->labels, &drop, &classic->out.labels));
        HK_TRY(hk_ev_add(in->eval, in->out, &classic->out));
    }
    /* A native and a classic one may have the same labels too. */
    return hk_ev_merge(in->eval, in->out, false);
}

/* Variance around the mean: a bucket stands at its middle, geometric for exponential ones. */
static hk_err
variance_of(struct histograms *in, const struct hk_histogram *histogram, double *out) {
    struct hist_bucket *buckets = NULL;
    uint32_t count = 0;
    HK_TRY(native_buckets(in, histogram, &buckets, &count));
    double mean = histogram->sum / histogram->count;
    double variance = 0;
    double compensation = 0;
    for (uint32_t i = 0; i < count; i++) {
        const struct hist_bucket *bucket = &buckets[i];
        if (bucket->count == 0) continue;
        double value = 0;
        if (hk_histogram_is_custom(histogram)) {
            value = (bucket->upper + bucket->lower) / 2.0;
        } else if (!(bucket->lower <= 0 && bucket->upper >= 0)) {
            value = sqrt(bucket->upper * bucket->lower);
            if (bucket->upper < 0) value = -value;
        }
        double delta = value - mean;
        kahan_add(bucket->count * delta * delta, &variance, &compensation);
    }
    *out = (variance + compensation) / histogram->count;
    return HK_OK;
}

static hk_err
single_value(struct histograms *in, const struct hk_histogram *histogram, double *out) {
    switch ((int)in->node->call.function->id) {
    case HK_PROMQL_FN_histogram_count:
        *out = histogram->count;
        return HK_OK;
    case HK_PROMQL_FN_histogram_sum:
        *out = histogram->sum;
        return HK_OK;
    case HK_PROMQL_FN_histogram_avg:
        *out = histogram->sum / histogram->count;
        return HK_OK;
    case HK_PROMQL_FN_histogram_stddev:
        HK_TRY(variance_of(in, histogram, out));
        *out = sqrt(*out);
        return HK_OK;
    default:
        return variance_of(in, histogram, out);
    }
}

static hk_err eval_singles(struct histograms *in) {
    struct name_drop drop = { 0 };
    for (uint32_t i = 0; i < in->in->count; i++) {
        const struct column *from = &in->in->columns[i];
        struct column column;
        if (from->histograms == NULL) continue;
        HK_TRY(hk_ev_poll(in->eval));
        HK_TRY(hk_ev_column(in->eval, in->steps, false, &column));
        HK_TRY(hk_ev_drop_name(in->eval, from->labels, &drop, &column.labels));
        for (uint32_t s = 0; s < in->steps; s++) {
            const struct hk_histogram *histogram = column_histogram(from, s);
            if (histogram == NULL) continue;
            HK_TRY(single_value(in, histogram, &column.values[s]));
            if (is_absent(column.values[s])) column.values[s] = nan_value();
        }
        HK_TRY(hk_ev_add(in->eval, in->out, &column));
    }
    return drop.mixed ? hk_ev_merge(in->eval, in->out, false) : HK_OK;
}

hk_err
hk_ev_histogram_call(struct eval *eval, const struct hk_promql_node *node, struct table *out) {
    uint32_t last = node->child_count - 1;
    struct histograms in = {
        .eval = eval,
        .node = node,
        .argument = node->children[last],
        .in = &eval->tables[node->children[last]->id],
        .out = out,
        .steps = out->frame.count,
    };
    if (last == 0) return eval_singles(&in);
    in.first = hk_ev_scalar(eval, node->children[0]);
    in.second = hk_ev_scalar(eval, node->children[last - 1]); /* the first again if it is alone */
    return eval_distributions(&in);
}
