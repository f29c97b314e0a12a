/*
 * Aggregations that must see all series of a step: topk, bottomk, limitk, limit_ratio, quantile and
 * count_values. They work on the child's table.
 */
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "lang/text.h"
#include "query/aggregate.h"

#include <stdlib.h>

/* An element of a heap: the column it came from. */
struct element {
    double value;
    uint32_t column;
};

struct heap {
    struct element *items;
    uint32_t count;
};

struct ranking {
    struct eval *eval;
    const struct hk_promql_node *node;
    const struct table *in;
    uint32_t *group_of; /* per column */
    uint32_t group_count;
    struct heap *heaps;  /* per group */
    struct column *outs; /* per column, values NULL until a point is kept */
    bool bottom;
};

/* Is a nearer to the top of the heap than b? The top is what leaves first: the smallest of topk,
 * the largest of bottomk, NaN before all. */
static bool heap_less(bool bottom, double a, double b) {
    return isnan(a) || (bottom ? a > b : a < b);
}

static void heap_up(struct heap *heap, bool bottom, uint32_t at) {
    while (at > 0) {
        uint32_t parent = (at - 1) / 2;
        if (!heap_less(bottom, heap->items[at].value, heap->items[parent].value)) return;
        struct element swap = heap->items[at];
        heap->items[at] = heap->items[parent];
        heap->items[parent] = swap;
        at = parent;
    }
}

static void heap_down(struct heap *heap, bool bottom) {
    uint32_t at = 0;
    for (;;) {
        uint32_t child = 2 * at + 1;
        if (child >= heap->count) return;
        if (child + 1 < heap->count &&
            heap_less(bottom, heap->items[child + 1].value, heap->items[child].value))
            child++;
        if (!heap_less(bottom, heap->items[child].value, heap->items[at].value)) return;
        struct element swap = heap->items[at];
        heap->items[at] = heap->items[child];
        heap->items[child] = swap;
        at = child;
    }
}

static void rank_one(struct heap *heap, bool bottom, uint32_t k, struct element element) {
    if (heap->count < k) {
        heap->items[heap->count++] = element;
        heap_up(heap, bottom, heap->count - 1);
        return;
    }
    double top = heap->items[0].value;
    bool better = bottom ? top > element.value : top < element.value;
    if (!better && !(isnan(top) && !isnan(element.value))) return;
    heap->items[0] = element;
    heap_down(heap, bottom);
}

static hk_err keep_point(struct ranking *ranking, uint32_t index, uint32_t step) {
    uint32_t steps = ranking->in->frame.count;
    const struct column *from = &ranking->in->columns[index];
    struct column *out = &ranking->outs[index];
    if (out->values == NULL) {
        HK_TRY(hk_ev_column(ranking->eval, steps, false, out));
        out->labels = from->labels;
    }
    return hk_ev_put(
        ranking->eval, out, steps, step, from->values[step], column_histogram(from, step));
}

static void note_ignored(const struct ranking *ranking) {
    hk_ev_info(
        ranking->eval, ranking->node, "ignored histogram in %s aggregation",
        hk_promql_aggregation_text(ranking->node->aggregate.op));
}

/* topk and bottomk of one step: fills the heaps. */
static void rank_step(struct ranking *ranking, uint32_t step, uint32_t k) {
    for (uint32_t i = 0; i < ranking->group_count; i++)
        ranking->heaps[i].count = 0;
    for (uint32_t i = 0; i < ranking->in->count; i++) {
        const struct column *column = &ranking->in->columns[i];
        if (is_absent(column->values[step])) continue;
        if (column_histogram(column, step) != NULL) {
            note_ignored(ranking);
            continue;
        }
        rank_one(
            &ranking->heaps[ranking->group_of[i]], ranking->bottom, k,
            (struct element){ column->values[step], i });
    }
}

static int top_cmp(const void *a, const void *b) {
    const struct element *x = a;
    const struct element *y = b;
    if (isnan(x->value) || isnan(y->value)) {
        if (isnan(x->value) != isnan(y->value)) return isnan(x->value) ? 1 : -1;
    } else if (x->value != y->value) {
        return x->value > y->value ? -1 : 1;
    }
    return (x->column > y->column) - (x->column < y->column);
}

static int bottom_cmp(const void *a, const void *b) {
    const struct element *x = a;
    const struct element *y = b;
    if (isnan(x->value) || isnan(y->value) || x->value == y->value) return top_cmp(a, b);
    return x->value < y->value ? -1 : 1;
}

/* Best first; NaN last; equal ones as they lie in the heap while it is small. */
static void sort_heap(struct heap *heap, bool bottom) {
    if (heap->count > 64) {
        qsort(heap->items, heap->count, sizeof(heap->items[0]), bottom ? bottom_cmp : top_cmp);
        return;
    }
    for (uint32_t i = 1; i < heap->count; i++) {
        struct element element = heap->items[i];
        uint32_t at = i;
        for (; at > 0 && heap_less(bottom, heap->items[at - 1].value, element.value); at--)
            heap->items[at] = heap->items[at - 1];
        heap->items[at] = element;
    }
}

/* limitk: the first k series of each group that have a point. */
static hk_err limit_step(struct ranking *ranking, uint32_t step, uint32_t k) {
    for (uint32_t i = 0; i < ranking->group_count; i++)
        ranking->heaps[i].count = 0;
    for (uint32_t i = 0; i < ranking->in->count; i++) {
        struct heap *heap = &ranking->heaps[ranking->group_of[i]];
        if (is_absent(ranking->in->columns[i].values[step]) || heap->count == k) continue;
        heap->items[heap->count++] = (struct element){ 0, i };
        HK_TRY(keep_point(ranking, i, step));
    }
    return HK_OK;
}

static size_t put_size(unsigned char *out, size_t size) {
    if (size < 255) {
        out[0] = (unsigned char)size;
        return 1;
    }
    out[0] = 255;
    for (int i = 0; i < 3; i++)
        out[i + 1] = (unsigned char)(size >> (8 * i));
    return 4;
}

/* Where a series stands in [0, 1): XXH64 of its labels in Prometheus' memory form (each string
 * behind its length), so that the same series are chosen. */
static double ratio_offset(struct hk_labels labels) {
    XXH64_state_t state;
    (void)XXH64_reset(&state, 0);
    for (uint32_t i = 0; i < labels.count; i++) {
        struct hk_str parts[2] = { labels.items[i].name, labels.items[i].value };
        for (int k = 0; k < 2; k++) {
            unsigned char size[4];
            (void)XXH64_update(&state, size, put_size(size, parts[k].len));
            (void)XXH64_update(&state, parts[k].ptr, parts[k].len);
        }
    }
    return (double)XXH64_digest(&state) / 18446744073709551615.0;
}

static hk_err ratio_step(struct ranking *ranking, uint32_t step, double ratio) {
    ratio = ratio < -1 ? -1 : ratio > 1 ? 1 : ratio;
    for (uint32_t i = 0; i < ranking->in->count; i++) {
        const struct column *column = &ranking->in->columns[i];
        if (is_absent(column->values[step])) continue;
        double offset = ratio_offset(column->labels);
        bool chosen = ratio >= 0 ? offset < ratio : offset >= 1.0 + ratio;
        if (chosen) HK_TRY(keep_point(ranking, i, step));
    }
    return HK_OK;
}

/* One step; for topk and bottomk of an instant query the result is in rank order. */
static hk_err k_step(struct ranking *ranking, uint32_t step, double parameter, struct table *out) {
    enum hk_promql_aggregation op = ranking->node->aggregate.op;
    char text[HK_GENERAL_BYTES_MAX];
    (void)hk_format_general(parameter, text);
    if (op == HK_PROMQL_LIMIT_RATIO) {
        if (isnan(parameter)) return hk_fail(HK_E_EXECUTION, "Ratio value %s is NaN", text);
        return parameter == 0 ? HK_OK : ratio_step(ranking, step, parameter);
    }
    if (!(fabs(parameter) < 9223372036854775807.0)) {
        return hk_fail(HK_E_EXECUTION, "Scalar value %s overflows int64", text);
    }
    int64_t wanted = (int64_t)parameter;
    uint32_t k = wanted > (int64_t)ranking->in->count ? ranking->in->count : (uint32_t)wanted;
    if (wanted < 1) return HK_OK;
    if (op == HK_PROMQL_LIMITK) return limit_step(ranking, step, k);
    rank_step(ranking, step, k);
    for (uint32_t g = 0; g < ranking->group_count; g++) {
        struct heap *heap = &ranking->heaps[g];
        sort_heap(heap, ranking->bottom);
        for (uint32_t i = 0; i < heap->count; i++) {
            HK_TRY(keep_point(ranking, heap->items[i].column, step));
            if (out->frame.count == 1) {
                HK_TRY(hk_ev_add(ranking->eval, out, &ranking->outs[heap->items[i].column]));
                ranking->outs[heap->items[i].column].values = NULL;
            }
        }
    }
    return HK_OK;
}

static bool has_points_at(const struct table *in, uint32_t step) {
    for (uint32_t i = 0; i < in->count; i++) {
        if (!is_absent(in->columns[i].values[step])) return true;
    }
    return false;
}

/* The parameter as it is at the steps: the warnings of limit_ratio, and whether it ever matters. */
static bool k_matters(struct ranking *ranking, const double *parameter) {
    enum hk_promql_aggregation op = ranking->node->aggregate.op;
    const struct hk_promql_node *node = ranking->node->children[1];
    double largest = -HUGE_VAL;
    double smallest = HUGE_VAL;
    for (uint32_t s = 0; s < ranking->in->frame.count; s++) {
        if (isnan(parameter[s])) return true;
        if (parameter[s] > largest) largest = parameter[s];
        if (parameter[s] < smallest) smallest = parameter[s];
    }
    if (op != HK_PROMQL_LIMIT_RATIO) return largest >= 1;
    char text[HK_GENERAL_BYTES_MAX];
    static const char range[] = "ratio value should be between -1 and 1, got %s, capping to %d";
    if (largest > 1) {
        (void)hk_format_general(largest, text);
        hk_ev_warn(ranking->eval, node, range, text, 1);
    }
    if (smallest < -1) {
        (void)hk_format_general(smallest, text);
        hk_ev_warn(ranking->eval, node, range, text, -1);
    }
    return largest != 0 || smallest != 0;
}

static hk_err
group_columns(struct ranking *ranking, struct grouping *grouping, uint32_t **out_sizes) {
    struct eval *eval = ranking->eval;
    uint32_t count = ranking->in->count;
    ranking->group_of = hk_arena_alloc(eval->arena, count, sizeof(uint32_t));
    uint32_t *sizes = hk_arena_alloc(eval->arena, count, sizeof(uint32_t));
    if (ranking->group_of == NULL || sizes == NULL) return hk_ev_nomem(eval);
    for (uint32_t i = 0; i < count; i++) {
        bool is_new = false;
        HK_TRY(hk_ev_group(
            eval, grouping, ranking->in->columns[i].labels, &ranking->group_of[i], &is_new));
        sizes[ranking->group_of[i]]++;
    }
    ranking->group_count = grouping->count;
    *out_sizes = sizes;
    return HK_OK;
}

static hk_err make_heaps(struct ranking *ranking, const uint32_t *sizes) {
    struct eval *eval = ranking->eval;
    ranking->heaps = hk_arena_alloc(eval->arena, ranking->group_count, sizeof(struct heap));
    ranking->outs = hk_arena_alloc(eval->arena, ranking->in->count, sizeof(struct column));
    if (ranking->heaps == NULL || ranking->outs == NULL) return hk_ev_nomem(eval);
    for (uint32_t i = 0; i < ranking->group_count; i++) {
        ranking->heaps[i].items = hk_arena_alloc_raw(eval->arena, sizes[i], sizeof(struct element));
        if (ranking->heaps[i].items == NULL) return hk_ev_nomem(eval);
    }
    return HK_OK;
}

hk_err hk_ev_aggregate_k(struct eval *eval, const struct hk_promql_node *node, struct table *out) {
    const double *parameter = hk_ev_scalar(eval, node->children[1]);
    struct ranking ranking = { .eval = eval,
                               .node = node,
                               .in = &eval->tables[node->children[0]->id],
                               .bottom = node->aggregate.op == HK_PROMQL_BOTTOMK };
    struct grouping grouping;
    uint32_t *sizes = NULL;
    HK_TRY(hk_ev_grouping(eval, node, (struct hk_str){ "", 0 }, &grouping));
    if (out->frame.count == 0 || !k_matters(&ranking, parameter)) return HK_OK;
    HK_TRY(group_columns(&ranking, &grouping, &sizes));
    HK_TRY(make_heaps(&ranking, sizes));
    for (uint32_t s = 0; s < out->frame.count; s++) {
        HK_TRY(hk_ev_poll(eval));
        if (has_points_at(ranking.in, s)) HK_TRY(k_step(&ranking, s, parameter[s], out));
    }
    for (uint32_t i = 0; i < ranking.in->count; i++) {
        if (ranking.outs[i].values != NULL) HK_TRY(hk_ev_add(eval, out, &ranking.outs[i]));
    }
    return HK_OK;
}

/* The columns of each group, one behind the other. */
static void list_members(
    const struct ranking *ranking, const uint32_t *sizes, uint32_t *starts, uint32_t *members) {
    uint32_t at = 0;
    for (uint32_t g = 0; g < ranking->group_count; g++) {
        starts[g] = at;
        at += sizes[g];
    }
    for (uint32_t i = 0; i < ranking->in->count; i++)
        members[starts[ranking->group_of[i]]++] = i;
    for (uint32_t g = 0; g < ranking->group_count; g++)
        starts[g] -= sizes[g];
}

static hk_err quantile_group(
    struct ranking *ranking, const uint32_t *members, uint32_t count, const double *q,
    struct column *column) {
    struct eval *eval = ranking->eval;
    double *values = hk_arena_alloc_raw(eval->arena, count, sizeof(double));
    if (values == NULL) return hk_ev_nomem(eval);
    for (uint32_t s = 0; s < ranking->in->frame.count; s++) {
        uint32_t found = 0;
        for (uint32_t i = 0; i < count; i++) {
            const struct column *from = &ranking->in->columns[members[i]];
            if (is_absent(from->values[s])) continue;
            if (column_histogram(from, s) != NULL) {
                hk_ev_info(
                    eval, ranking->node->children[0], "ignored histogram in quantile aggregation");
                continue;
            }
            values[found++] = from->values[s];
        }
        if (found > 0) column->values[s] = hk_ev_quantile(q[s], values, found);
    }
    return HK_OK;
}

hk_err
hk_ev_aggregate_quantile(struct eval *eval, const struct hk_promql_node *node, struct table *out) {
    const double *q = hk_ev_scalar(eval, node->children[1]);
    struct ranking ranking = { .eval = eval,
                               .node = node,
                               .in = &eval->tables[node->children[0]->id] };
    struct grouping grouping;
    uint32_t *sizes = NULL;
    HK_TRY(hk_ev_grouping(eval, node, (struct hk_str){ "", 0 }, &grouping));
    HK_TRY(group_columns(&ranking, &grouping, &sizes));
    for (uint32_t s = 0; s < out->frame.count; s++)
        hk_ev_check_quantile(eval, node->children[1], q[s]);
    uint32_t *starts = hk_arena_alloc(eval->arena, grouping.count, sizeof(uint32_t));
    uint32_t *members = hk_arena_alloc(eval->arena, ranking.in->count, sizeof(uint32_t));
    if (starts == NULL || members == NULL) return hk_ev_nomem(eval);
    list_members(&ranking, sizes, starts, members);
    for (uint32_t g = 0; g < grouping.count; g++) {
        struct column column;
        HK_TRY(hk_ev_poll(eval));
        HK_TRY(hk_ev_column(eval, out->frame.count, false, &column));
        HK_TRY(hk_ev_pick(
            eval, ranking.in->columns[members[starts[g]]].labels, grouping.names,
            grouping.name_count, grouping.with, &column.labels));
        HK_TRY(quantile_group(&ranking, members + starts[g], sizes[g], q, &column));
        HK_TRY(hk_ev_add(eval, out, &column));
    }
    return HK_OK;
}

struct counting {
    struct eval *eval;
    struct grouping grouping;
    struct hk_str label;
    struct column *columns; /* per group */
    uint32_t capacity;
    uint32_t steps;
};

static hk_err count_room(struct counting *counting, uint32_t number) {
    if (number < counting->capacity) return HK_OK;
    uint32_t wanted = counting->capacity == 0 ? 16 : counting->capacity * 2;
    struct column *bigger = hk_arena_alloc(counting->eval->arena, wanted, sizeof(*bigger));
    if (bigger == NULL) return hk_ev_nomem(counting->eval);
    if (number > 0) memcpy(bigger, counting->columns, number * sizeof(*bigger));
    counting->columns = bigger;
    counting->capacity = wanted;
    return HK_OK;
}

/* The value as text, the label that it becomes. */
static hk_err value_text(
    struct counting *counting, const struct column *column, uint32_t step, struct hk_buf *out) {
    const struct hk_histogram *histogram = column_histogram(column, step);
    hk_buf_clear(out);
    if (histogram != NULL) {
        hk_arena_reset(&counting->eval->work);
        if (hk_hist_print(&counting->eval->work, histogram, out) < 0 || out->err < 0)
            return hk_ev_nomem(counting->eval);
        return HK_OK;
    }
    char text[HK_PLAIN_BYTES_MAX];
    hk_buf_bytes(out, text, hk_format_plain(column->values[step], text));
    return out->err;
}

static hk_err count_one(
    struct counting *counting, const struct column *column, uint32_t step, struct hk_str text) {
    struct eval *eval = counting->eval;
    struct hk_label_set *set = &eval->set;
    struct hk_labels labels;
    uint32_t number = 0;
    bool is_new = false;
    hk_label_set_clear(set);
    for (uint32_t i = 0; i < column->labels.count; i++)
        hk_label_set_add(set, column->labels.items[i].name, column->labels.items[i].value);
    hk_label_set_put(set, counting->label, text);
    if (hk_label_set_finish(set, &labels) < 0) {
        return hk_fail(HK_E_EXECUTION, "count_values: too many or too long labels");
    }
    HK_TRY(hk_ev_group(eval, &counting->grouping, labels, &number, &is_new));
    HK_TRY(count_room(counting, number));
    struct column *out = &counting->columns[number];
    if (is_new) {
        HK_TRY(hk_ev_column(eval, counting->steps, false, out));
        HK_TRY(hk_ev_pick(
            eval, labels, counting->grouping.names, counting->grouping.name_count,
            counting->grouping.with, &out->labels));
        /* Only the text is new: the other strings outlive the query. */
        struct hk_label *items =
            hk_arena_alloc_raw(eval->arena, out->labels.count, sizeof(struct hk_label));
        if (items == NULL) return hk_ev_nomem(eval);
        for (uint32_t i = 0; i < out->labels.count; i++) {
            items[i] = out->labels.items[i];
            if (items[i].value.ptr == text.ptr) items[i].value = hk_arena_str(eval->arena, text);
            if (items[i].value.ptr == NULL) return hk_ev_nomem(eval);
        }
        out->labels.items = items;
    }
    out->values[step] = is_absent(out->values[step]) ? 1 : out->values[step] + 1;
    return HK_OK;
}

hk_err
hk_ev_aggregate_values(struct eval *eval, const struct hk_promql_node *node, struct table *out) {
    struct hk_str label = hk_promql_unwrap(node->children[1])->text;
    const struct table *in = &eval->tables[node->children[0]->id];
    struct counting counting = { .eval = eval, .label = label, .steps = out->frame.count };
    if (label.len == 0 || !hk_utf8_valid(label)) {
        struct hk_buf name;
        hk_buf_init(&name, 900);
        hk_quote(label, &name);
        hk_err bad =
            hk_fail(HK_E_EXECUTION, "invalid label name %.*s", HK_STR_ARG(hk_buf_get(&name)));
        hk_buf_deinit(&name);
        return bad;
    }
    HK_TRY(hk_ev_grouping(eval, node, label, &counting.grouping));
    struct hk_buf text;
    hk_buf_init(&text, HK_LABEL_VALUE_BYTES_MAX);
    hk_err err = HK_OK;
    for (uint32_t i = 0; err == HK_OK && i < in->count; i++) {
        err = hk_ev_poll(eval);
        for (uint32_t s = 0; err == HK_OK && s < out->frame.count; s++) {
            if (is_absent(in->columns[i].values[s])) continue;
            err = value_text(&counting, &in->columns[i], s, &text);
            if (err == HK_OK) err = count_one(&counting, &in->columns[i], s, hk_buf_get(&text));
        }
    }
    hk_buf_deinit(&text);
    if (err < 0) return err;
    for (uint32_t i = 0; i < counting.grouping.count; i++)
        HK_TRY(hk_ev_add(eval, out, &counting.columns[i]));
    return HK_OK;
}
