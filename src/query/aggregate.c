/*
 * Aggregations that fold: each series is added to its group, all steps at once, and is not needed
 * afterwards. Those that must see all series of a step are in aggregate_k.c.
 */
#include "query/aggregate.h"

enum {
    FLAG_SEEN = 1,
    FLAG_FLOAT = 2,
    FLAG_HISTOGRAM = 4,
    FLAG_MISFIT = 8,       /* histograms that do not fit together: no result */
    FLAG_INCREMENTAL = 16, /* the sum would overflow: incremental mean from here */
};

struct group {
    struct hk_labels labels;
    double *values, *compensations, *means, *counts; /* per step */
    uint8_t *flags;
    const struct hk_histogram **histograms;
};

struct fold {
    struct sink sink;
    struct eval *eval;
    const struct hk_promql_node *node;
    struct grouping grouping;
    uint32_t steps;
    struct group *groups;
    uint32_t capacity;
    uint32_t *numbers; /* by group of the source: number of the group + 1, 0 = not met */
};

hk_err hk_ev_grouping(
    struct eval *eval, const struct hk_promql_node *node, struct hk_str extra,
    struct grouping *out) {
    bool without = node->aggregate.without;
    uint32_t count = node->aggregate.label_count;
    struct hk_str *names = hk_arena_alloc_raw(eval->arena, (size_t)count + 1, sizeof(*names));
    if (names == NULL) return hk_ev_nomem(eval);
    if (count > 0) memcpy(names, node->aggregate.labels, count * sizeof(*names));
    if (without) extra = HK_STR("__name__");
    if (extra.len > 0) names[count++] = extra;
    *out = (struct grouping){ .with = !without };
    return hk_ev_names_sort(eval, names, count, &out->names, &out->name_count);
}

hk_err hk_ev_group(
    struct eval *eval, struct grouping *grouping, struct hk_labels labels, uint32_t *out,
    bool *out_new) {
    struct hk_hash128 key =
        hk_ev_hash(labels, grouping->names, grouping->name_count, grouping->with);
    HK_TRY(hk_ev_map(eval, &grouping->map, key, grouping->count, out, out_new));
    grouping->count += *out_new;
    return HK_OK;
}

static hk_err new_group(struct fold *fold, struct hk_labels labels, uint32_t number) {
    struct eval *eval = fold->eval;
    if (number == fold->capacity) {
        uint32_t wanted = fold->capacity == 0 ? 16 : fold->capacity * 2;
        struct group *bigger = hk_arena_alloc(eval->arena, wanted, sizeof(*bigger));
        if (bigger == NULL) return hk_ev_nomem(eval);
        if (number > 0) memcpy(bigger, fold->groups, number * sizeof(*bigger));
        fold->groups = bigger;
        fold->capacity = wanted;
    }
    struct group *group = &fold->groups[number];
    size_t steps = fold->steps;
    double *numbers = hk_arena_alloc(eval->arena, steps * 4, sizeof(double));
    group->flags = hk_arena_alloc(eval->arena, steps, 1);
    if (numbers == NULL || group->flags == NULL) return hk_ev_nomem(eval);
    group->values = numbers;
    group->compensations = numbers + steps;
    group->means = numbers + 2 * steps;
    group->counts = numbers + 3 * steps;
    return hk_ev_pick(
        eval, labels, fold->grouping.names, fold->grouping.name_count, fold->grouping.with,
        &group->labels);
}

static void fold_sum(struct group *group, const struct column *column, uint32_t steps) {
    for (uint32_t s = 0; s < steps; s++) {
        double value = column->values[s];
        if (is_absent(value) || column_histogram(column, s) != NULL) continue;
        if ((group->flags[s] & FLAG_SEEN) == 0)
            group->values[s] = value;
        else
            kahan_add(value, &group->values[s], &group->compensations[s]);
        group->flags[s] |= FLAG_SEEN | FLAG_FLOAT;
    }
}

/* One more value of a mean; `*count` includes it already. */
static void add_to_mean(struct group *group, uint32_t s, double value) {
    double count = group->counts[s];
    if ((group->flags[s] & FLAG_INCREMENTAL) == 0) {
        double sum = group->values[s];
        double compensation = group->compensations[s];
        kahan_add(value, &sum, &compensation);
        if (!isinf(sum)) {
            group->values[s] = sum;
            group->compensations[s] = compensation;
            return;
        }
        group->flags[s] |= FLAG_INCREMENTAL;
        group->means[s] = group->values[s] / (count - 1);
        group->compensations[s] /= count - 1;
    }
    double q = (count - 1) / count;
    group->means[s] *= q;
    group->compensations[s] *= q;
    kahan_add(value / count, &group->means[s], &group->compensations[s]);
}

static void fold_avg(struct group *group, const struct column *column, uint32_t steps) {
    for (uint32_t s = 0; s < steps; s++) {
        double value = column->values[s];
        if (is_absent(value) || column_histogram(column, s) != NULL) continue;
        bool first = (group->flags[s] & FLAG_SEEN) == 0;
        group->flags[s] |= FLAG_SEEN | FLAG_FLOAT;
        if ((group->flags[s] & FLAG_MISFIT) != 0) continue;
        group->counts[s]++;
        if (first)
            group->values[s] = value;
        else
            add_to_mean(group, s, value);
    }
}

static void fold_count(struct group *group, const struct column *column, uint32_t steps) {
    for (uint32_t s = 0; s < steps; s++) {
        if (is_absent(column->values[s])) continue;
        group->flags[s] |= FLAG_SEEN;
        group->counts[s]++;
    }
}

static void
fold_extreme(struct group *group, const struct column *column, uint32_t steps, bool maximum) {
    for (uint32_t s = 0; s < steps; s++) {
        double value = column->values[s];
        if (is_absent(value) || column_histogram(column, s) != NULL) continue;
        double old = group->values[s];
        bool better = maximum ? old < value : old > value;
        if ((group->flags[s] & FLAG_SEEN) == 0 || better || isnan(old)) group->values[s] = value;
        group->flags[s] |= FLAG_SEEN;
    }
}

static void fold_variance(struct group *group, const struct column *column, uint32_t steps) {
    for (uint32_t s = 0; s < steps; s++) {
        double value = column->values[s];
        if (is_absent(value) || column_histogram(column, s) != NULL) continue;
        if ((group->flags[s] & FLAG_SEEN) == 0) {
            group->flags[s] |= FLAG_SEEN;
            group->means[s] = value;
            group->counts[s] = 1;
            group->values[s] = isfinite(value) ? 0 : nan_value();
            continue;
        }
        group->counts[s]++;
        double delta = value - group->means[s];
        group->means[s] += delta / group->counts[s];
        group->values[s] += delta * (value - group->means[s]);
    }
}

/* Says that an aggregation of floats left a histogram out. */
static void note_ignored(struct fold *fold) {
    hk_ev_info(
        fold->eval, fold->node->children[0], "ignored histogram in %s aggregation",
        hk_promql_aggregation_text(fold->node->aggregate.op));
}

static hk_err
add_histogram(struct fold *fold, struct group *group, const struct column *column, uint32_t s) {
    struct hk_arena *arena = fold->eval->arena;
    const struct hk_histogram *histogram = column->histograms[s];
    const struct hk_histogram **total = &group->histograms[s];
    int fit = HIST_FITS;
    if (fold->node->aggregate.op == HK_PROMQL_SUM) {
        fit = hk_hist_add(arena, *total, histogram, false, total);
    } else {
        const struct hk_histogram *left = NULL;
        const struct hk_histogram *right = NULL;
        double count = group->counts[s];
        if (hk_hist_divide(arena, histogram, count, &left) < 0) return hk_ev_nomem(fold->eval);
        if (hk_hist_divide(arena, *total, count, &right) < 0) return hk_ev_nomem(fold->eval);
        fit = hk_hist_add(arena, left, right, true, &left);
        if (fit == HIST_FITS) fit = hk_hist_add(arena, *total, left, false, total);
    }
    if (fit < 0) return hk_ev_nomem(fold->eval);
    if (fit == HIST_FITS) return HK_OK;
    group->flags[s] |= FLAG_MISFIT;
    hk_ev_warn_metric(
        fold->eval, fold->node->children[0],
        fit == HIST_BAD_SCHEMA
            ? "vector contains a mix of histograms with exponential and custom buckets schemas "
              "for metric name"
            : "vector contains histograms with incompatible custom buckets for metric name",
        hk_labels_get(column->labels, HK_STR("__name__")));
    return HK_OK;
}

/* The histograms of a column in sum() or avg(). */
static hk_err fold_histograms(struct fold *fold, struct group *group, const struct column *column) {
    struct eval *eval = fold->eval;
    if (group->histograms == NULL) {
        group->histograms = hk_arena_alloc(eval->arena, fold->steps, sizeof(struct hk_histogram *));
        if (group->histograms == NULL) return hk_ev_nomem(eval);
    }
    for (uint32_t s = 0; s < fold->steps; s++) {
        if (column->histograms[s] == NULL) continue;
        bool first = (group->flags[s] & FLAG_SEEN) == 0;
        bool misfit = (group->flags[s] & FLAG_MISFIT) != 0;
        group->flags[s] |= FLAG_SEEN | FLAG_HISTOGRAM;
        if (misfit) continue;
        group->counts[s]++;
        if (first)
            group->histograms[s] = column->histograms[s];
        else if (group->histograms[s] != NULL)
            HK_TRY(add_histogram(fold, group, column, s));
    }
    return HK_OK;
}

/* The group of a column. */
static hk_err find_group(struct fold *fold, const struct column *column, uint32_t *out) {
    bool is_new = false;
    if (column->group == 0) {
        HK_TRY(hk_ev_group(fold->eval, &fold->grouping, column->labels, out, &is_new));
        return is_new ? new_group(fold, column->labels, *out) : HK_OK;
    }
    if (fold->numbers == NULL) {
        fold->numbers =
            hk_arena_alloc(fold->eval->arena, fold->sink.group_count, sizeof(fold->numbers[0]));
        if (fold->numbers == NULL) return hk_ev_nomem(fold->eval);
    }
    uint32_t *number = &fold->numbers[column->group - 1];
    if (*number == 0) {
        HK_TRY(new_group(fold, column->labels, fold->grouping.count));
        *number = ++fold->grouping.count;
    }
    *out = *number - 1;
    return HK_OK;
}

static hk_err push(struct sink *sink, struct column *column) {
    struct fold *fold = sink->self;
    enum hk_promql_aggregation op = fold->node->aggregate.op;
    uint32_t number = 0;
    if (fold->steps == 0) return HK_OK;
    HK_TRY(find_group(fold, column, &number));
    struct group *group = &fold->groups[number];
    bool adds = op == HK_PROMQL_SUM || op == HK_PROMQL_AVG;
    if (column->histograms != NULL && adds) HK_TRY(fold_histograms(fold, group, column));
    if (column->histograms != NULL && !adds && op != HK_PROMQL_COUNT && op != HK_PROMQL_GROUP)
        note_ignored(fold);
    if (op == HK_PROMQL_SUM)
        fold_sum(group, column, fold->steps);
    else if (op == HK_PROMQL_AVG)
        fold_avg(group, column, fold->steps);
    else if (op == HK_PROMQL_COUNT || op == HK_PROMQL_GROUP)
        fold_count(group, column, fold->steps);
    else if (op == HK_PROMQL_MIN || op == HK_PROMQL_MAX)
        fold_extreme(group, column, fold->steps, op == HK_PROMQL_MAX);
    else
        fold_variance(group, column, fold->steps);
    return HK_OK;
}

static double finish_avg(const struct group *group, uint32_t s) {
    if ((group->flags[s] & FLAG_INCREMENTAL) != 0) return group->means[s] + group->compensations[s];
    double count = group->counts[s];
    return group->values[s] / count + group->compensations[s] / count;
}

static double finish_value(const struct fold *fold, const struct group *group, uint32_t s) {
    switch ((int)fold->node->aggregate.op) {
    case HK_PROMQL_SUM:
        return group->values[s] + group->compensations[s];
    case HK_PROMQL_AVG:
        return finish_avg(group, s);
    case HK_PROMQL_COUNT:
        return group->counts[s];
    case HK_PROMQL_GROUP:
        return 1;
    case HK_PROMQL_STDVAR:
        return group->values[s] / group->counts[s];
    case HK_PROMQL_STDDEV:
        return sqrt(group->values[s] / group->counts[s]);
    default:
        return group->values[s];
    }
}

static hk_err finish_group(struct fold *fold, const struct group *group, struct table *out) {
    struct eval *eval = fold->eval;
    struct column column;
    HK_TRY(hk_ev_column(eval, fold->steps, false, &column));
    column.labels = group->labels;
    for (uint32_t s = 0; s < fold->steps; s++) {
        uint8_t flags = group->flags[s];
        if ((flags & FLAG_SEEN) == 0) continue;
        if ((flags & FLAG_FLOAT) != 0 && (flags & FLAG_HISTOGRAM) != 0) {
            hk_ev_warn(
                eval, fold->node->children[0],
                "encountered a mix of histograms and floats for aggregation");
            continue;
        }
        if ((flags & FLAG_MISFIT) != 0) continue;
        const struct hk_histogram *histogram = NULL;
        double value = 0;
        if ((flags & FLAG_HISTOGRAM) != 0) {
            if (hk_hist_compact(eval->arena, group->histograms[s], &histogram) < 0)
                return hk_ev_nomem(eval);
        } else {
            value = finish_value(fold, group, s);
        }
        HK_TRY(hk_ev_put(eval, &column, fold->steps, s, value, histogram));
    }
    return hk_ev_add(eval, out, &column);
}

static hk_err
aggregate_fold(struct eval *eval, const struct hk_promql_node *node, struct table *out) {
    const struct hk_promql_node *child = node->children[0];
    struct fold fold = { .eval = eval, .node = node, .steps = out->frame.count };
    fold.sink.push = push;
    fold.sink.self = &fold;
    HK_TRY(hk_ev_grouping(eval, node, (struct hk_str){ "", 0 }, &fold.grouping));
    if (eval->plans[child->id].skip) {
        fold.sink.grouping = &fold.grouping;
        HK_TRY(hk_ev_produce(eval, child, &out->frame, &fold.sink));
    } else {
        const struct table *in = &eval->tables[child->id];
        for (uint32_t i = 0; i < in->count; i++) {
            HK_TRY(hk_ev_poll(eval));
            HK_TRY(push(&fold.sink, &in->columns[i]));
        }
    }
    for (uint32_t i = 0; i < fold.grouping.count; i++)
        HK_TRY(finish_group(&fold, &fold.groups[i], out));
    return HK_OK;
}

hk_err hk_ev_aggregate(struct eval *eval, const struct hk_promql_node *node, struct table *out) {
    switch (node->aggregate.op) {
    case HK_PROMQL_TOPK:
    case HK_PROMQL_BOTTOMK:
    case HK_PROMQL_LIMITK:
    case HK_PROMQL_LIMIT_RATIO:
        return hk_ev_aggregate_k(eval, node, out);
    case HK_PROMQL_QUANTILE:
        return hk_ev_aggregate_quantile(eval, node, out);
    case HK_PROMQL_COUNT_VALUES:
        return hk_ev_aggregate_values(eval, node, out);
    case HK_PROMQL_SUM:
    case HK_PROMQL_AVG:
    case HK_PROMQL_COUNT:
    case HK_PROMQL_MIN:
    case HK_PROMQL_MAX:
    case HK_PROMQL_GROUP:
    case HK_PROMQL_STDDEV:
    case HK_PROMQL_STDVAR:
    default:
        return aggregate_fold(eval, node, out);
    }
}
