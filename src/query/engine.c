/* Running a query: limits, the loop over the nodes, the result. */
#include "query/engine.h"

#include "os/clock.h"
#include "query/eval_internal.h"

#include <stdatomic.h>
#include <stdlib.h>

enum { POLL_EVERY = 64, LOOKBACK_MS = 300000, SUBQUERY_STEP_MS = 60000, POINTS_MAX = 11000 };
static const uint64_t SAMPLES_MAX = 50000000;

hk_err hk_ev_poll(struct eval *eval) {
    if (eval->polls++ % POLL_EVERY != 0) return HK_OK;
    const _Atomic bool *cancel = eval->options.cancel;
    if (cancel != NULL && atomic_load_explicit(cancel, memory_order_relaxed)) {
        return hk_fail(HK_E_CANCELED, "query was canceled in expression evaluation");
    }
    int64_t deadline_ns = eval->options.deadline_ns;
    if (deadline_ns != 0 && hk_clock_monotonic_ns() > deadline_ns) {
        return hk_fail(HK_E_TIMEOUT, "query timed out in expression evaluation");
    }
    return HK_OK;
}

hk_err hk_ev_hold(struct eval *eval, uint64_t count) {
    eval->held += count;
    if (eval->held <= eval->options.samples_max) return HK_OK;
    return hk_fail(
        HK_E_EXECUTION,
        "query processing would load too many samples into memory in query execution");
}

hk_err hk_ev_fail_same_labels(void) {
    return hk_fail(HK_E_EXECUTION, "vector cannot contain metrics with the same labelset");
}

const double *hk_ev_scalar(const struct eval *eval, const struct hk_promql_node *node) {
    return eval->tables[node->id].columns[0].values;
}

static hk_err eval_number(struct eval *eval, const struct hk_promql_node *node, struct table *out) {
    struct column column;
    HK_TRY(hk_ev_column(eval, out->frame.count, true, &column));
    for (uint32_t i = 0; i < out->frame.count; i++)
        column.values[i] = node->number.value;
    return hk_ev_add(eval, out, &column);
}

static hk_err eval_negate(struct eval *eval, const struct hk_promql_node *node, struct table *out) {
    const struct table *in = &eval->tables[node->children[0]->id];
    struct name_drop drop = { 0 };
    for (uint32_t i = 0; i < in->count; i++) {
        const struct column *from = &in->columns[i];
        struct column column;
        HK_TRY(hk_ev_poll(eval));
        HK_TRY(hk_ev_column(eval, out->frame.count, false, &column));
        if (node->type == HK_PROMQL_VECTOR)
            HK_TRY(hk_ev_drop_name(eval, from->labels, &drop, &column.labels));
        for (uint32_t s = 0; s < out->frame.count; s++) {
            const struct hk_histogram *histogram = column_histogram(from, s);
            if (histogram != NULL) {
                HK_TRY(hk_hist_scale(eval->arena, histogram, -1, &histogram));
                HK_TRY(hk_ev_put(eval, &column, out->frame.count, s, 0, histogram));
            } else if (!is_absent(from->values[s])) {
                column.values[s] = -from->values[s];
            }
        }
        HK_TRY(hk_ev_add(eval, out, &column));
    }
    return drop.mixed ? hk_ev_merge(eval, out, true) : HK_OK;
}

hk_err hk_ev_produce(
    struct eval *eval, const struct hk_promql_node *node, const struct frame *frame,
    struct sink *sink) {
    if (node->kind == HK_PROMQL_SELECTOR) return hk_ev_select(eval, node, frame, false, sink);
    return hk_ev_range_call(eval, node, frame, sink);
}

static hk_err eval_node(struct eval *eval, const struct hk_promql_node *node, struct table *out) {
    struct table_sink sink;
    switch (node->kind) {
    case HK_PROMQL_NUMBER:
        return eval_number(eval, node, out);
    case HK_PROMQL_SELECTOR:
        hk_ev_table_sink(eval, out, &sink);
        return hk_ev_select(eval, node, &out->frame, false, &sink.sink);
    case HK_PROMQL_CALL:
        return hk_ev_call(eval, node, out);
    case HK_PROMQL_AGGREGATE:
        return hk_ev_aggregate(eval, node, out);
    case HK_PROMQL_BINARY:
        return hk_ev_binary(eval, node, out);
    case HK_PROMQL_NEGATE:
        return eval_negate(eval, node, out);
    case HK_PROMQL_PLUS:
    case HK_PROMQL_PAREN:
    case HK_PROMQL_SUBQUERY:
        /* The child's table is the node's: same labels, for a subquery in the child's frame. */
        *out = eval->tables[node->children[0]->id];
        return HK_OK;
    case HK_PROMQL_TEXT:
    case HK_PROMQL_RANGE:
    default:
        return HK_OK;
    }
}

/* A node's children are not needed any more: what they held counts no longer. */
static void release_children(struct eval *eval, const struct hk_promql_node *node) {
    if (node->kind == HK_PROMQL_PAREN || node->kind == HK_PROMQL_PLUS ||
        node->kind == HK_PROMQL_SUBQUERY) {
        return;
    }
    for (uint32_t i = 0; i < node->child_count; i++) {
        const struct table *table = &eval->tables[node->children[i]->id];
        uint64_t held = (uint64_t)table->count * table->frame.count;
        eval->held -= held < eval->held ? held : eval->held;
    }
}

static hk_err eval_all(struct eval *eval) {
    for (uint32_t i = 0; i < eval->promql->node_count; i++) {
        const struct hk_promql_node *node = eval->promql->nodes[i];
        const struct plan *plan = &eval->plans[i];
        struct table *table = &eval->tables[i];
        if (plan->skip) continue;
        HK_TRY(hk_ev_poll(eval));
        table->frame = plan->frame;
        HK_TRY(eval_node(eval, node, table));
        release_children(eval, node);
        if (plan->spread > 0) {
            struct frame frame = { plan->frame.start_ms, plan->frame.step_ms, plan->spread };
            HK_TRY(hk_ev_spread(eval, table, &frame));
        }
    }
    return HK_OK;
}

/* The points of a column; one stamp array serves all columns without gaps. */
static hk_err result_series(
    struct eval *eval, const struct column *column, const struct frame *frame,
    const int64_t **dense, struct hk_query_series *out) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < frame->count; i++)
        count += !is_absent(column->values[i]);
    out->labels = column->labels;
    out->count = count;
    if (count == frame->count && *dense != NULL) {
        out->stamps_ms = *dense;
        out->values = column->values;
        out->histograms = column->histograms;
        return HK_OK;
    }
    int64_t *stamps = hk_arena_alloc_raw(eval->arena, count, sizeof(*stamps));
    if (stamps == NULL) return hk_ev_nomem(eval);
    uint32_t at = 0;
    for (uint32_t i = 0; i < frame->count; i++) {
        if (is_absent(column->values[i])) continue;
        stamps[at] = frame_time(frame, i);
        column->values[at] = column->values[i];
        if (column->histograms != NULL) column->histograms[at] = column->histograms[i];
        at++;
    }
    if (count == frame->count) *dense = stamps;
    out->stamps_ms = stamps;
    out->values = column->values;
    out->histograms = column->histograms;
    return HK_OK;
}

static int series_cmp(const void *a, const void *b) {
    return hk_labels_cmp(
        ((const struct hk_query_series *)a)->labels, ((const struct hk_query_series *)b)->labels);
}

static hk_err result_table(
    struct eval *eval, const struct table *table, bool sorted, struct hk_query_result *out) {
    struct hk_query_series *series = hk_arena_alloc(eval->arena, table->count, sizeof(*series));
    if (series == NULL) return hk_ev_nomem(eval);
    const int64_t *dense = NULL;
    for (uint32_t i = 0; i < table->count; i++)
        HK_TRY(result_series(eval, &table->columns[i], &table->frame, &dense, &series[i]));
    if (sorted && table->count > 1) qsort(series, table->count, sizeof(*series), series_cmp);
    out->series = series;
    out->series_count = table->count;
    return HK_OK;
}

static hk_err result(struct eval *eval, bool range, struct hk_query_result *out) {
    const struct hk_promql_node *root = eval->promql->root;
    const struct hk_promql_node *inner = hk_promql_unwrap(root);
    const struct table *table = &eval->tables[root->id];
    out->type = range ? HK_PROMQL_MATRIX : root->type;
    out->stamp_ms = eval->start_ms;
    HK_TRY(hk_ev_annotations(eval, out));
    if (range) return result_table(eval, table, true, out);
    switch (root->type) {
    case HK_PROMQL_SCALAR:
        out->scalar = table->columns[0].values[0];
        return HK_OK;
    case HK_PROMQL_STRING:
        out->text = hk_arena_str(eval->arena, inner->text);
        return out->text.ptr == NULL ? hk_ev_nomem(eval) : HK_OK;
    case HK_PROMQL_MATRIX:
        if (inner->kind == HK_PROMQL_RANGE) return hk_ev_raw_range(eval, inner, out);
        return result_table(eval, table, true, out);
    case HK_PROMQL_VECTOR:
    case HK_PROMQL_NONE:
    default:
        return result_table(eval, table, false, out);
    }
}

struct label_copy {
    struct hk_str from, copy;
};

static hk_err check_range(
    const struct hk_promql *promql, int64_t start_ms, int64_t end_ms, int64_t step_ms,
    const struct hk_query_options *options) {
    if (end_ms < start_ms) {
        return hk_fail(HK_E_INVALID, "end timestamp must not be before start time");
    }
    if (step_ms < 0) {
        return hk_fail(
            HK_E_INVALID, "zero or negative query resolution step widths are not accepted. Try a "
                          "positive integer");
    }
    if (step_ms == 0) {
        if (start_ms == end_ms) return HK_OK;
        return hk_fail(HK_E_INVALID, "an instant query has one time, not a range");
    }
    if (((uint64_t)end_ms - (uint64_t)start_ms) / (uint64_t)step_ms > options->points_max) {
        return hk_fail(
            HK_E_INVALID,
            "exceeded maximum resolution of %u,%03u points per timeseries. Try "
            "decreasing the query resolution (?step=XX)",
            options->points_max / 1000, options->points_max % 1000);
    }
    enum hk_promql_type type = promql->root->type;
    if (type == HK_PROMQL_SCALAR || type == HK_PROMQL_VECTOR) return HK_OK;
    return hk_fail(
        HK_E_INVALID,
        "invalid expression type \"%s\" for range query, must be Scalar or instant Vector",
        hk_promql_type_text(type));
}

/* A copy of `text`, or the copy made of the same bytes just before. */
static hk_err
copy_text(struct eval *eval, struct hk_str text, struct label_copy *last, struct hk_str *out) {
    if (last->from.ptr != text.ptr || last->from.len != text.len || last->copy.ptr == NULL) {
        last->from = text;
        last->copy = hk_arena_str(eval->arena, text);
        if (last->copy.ptr == NULL) return hk_ev_nomem(eval);
    }
    *out = last->copy;
    return HK_OK;
}

/* The labels may be the source's; the result must outlive its selections. */
static hk_err copy_labels(struct eval *eval, struct hk_query_result *out) {
    struct hk_query_series *series =
        hk_arena_alloc_raw(eval->arena, out->series_count, sizeof(*series));
    struct label_copy *last = hk_arena_alloc(eval->arena, (size_t)HK_LABELS_MAX * 2, sizeof(*last));
    if (series == NULL || last == NULL) return hk_ev_nomem(eval);
    for (uint32_t i = 0; i < out->series_count; i++) {
        struct hk_labels from = out->series[i].labels;
        series[i] = out->series[i];
        struct hk_label *items = hk_arena_alloc_raw(eval->arena, from.count, sizeof(*items));
        if (items == NULL) return hk_ev_nomem(eval);
        for (uint32_t k = 0; k < from.count; k++) {
            struct label_copy *slot = &last[k % HK_LABELS_MAX * 2];
            HK_TRY(copy_text(eval, from.items[k].name, slot, &items[k].name));
            HK_TRY(copy_text(eval, from.items[k].value, slot + 1, &items[k].value));
        }
        series[i].labels = (struct hk_labels){ items, from.count };
    }
    out->series = series;
    return HK_OK;
}

static hk_err run(struct eval *eval, struct frame frame, bool range, struct hk_query_result *out) {
    uint32_t count = eval->promql->node_count;
    eval->plans = hk_arena_alloc(eval->arena, count, sizeof(struct plan));
    eval->tables = hk_arena_alloc(eval->arena, count, sizeof(struct table));
    if (eval->plans == NULL || eval->tables == NULL) return hk_ev_nomem(eval);
    HK_TRY(hk_ev_plan(eval, frame));
    HK_TRY(eval_all(eval));
    HK_TRY(result(eval, range, out));
    return copy_labels(eval, out);
}

hk_err hk_query_run(
    const struct hk_source *source, const struct hk_promql *promql, int64_t start_ms,
    int64_t end_ms, int64_t step_ms, const struct hk_query_options *options, struct hk_arena *arena,
    struct hk_query_result *out) {
    struct eval *eval = hk_arena_alloc(arena, 1, sizeof(*eval));
    if (eval == NULL) return hk_fail(HK_E_NOMEM, "query: out of memory");
    int64_t began_ns = hk_clock_monotonic_ns();
    eval->source = source;
    eval->promql = promql;
    eval->options = *options;
    eval->arena = arena;
    eval->start_ms = start_ms;
    eval->end_ms = end_ms;
    struct hk_query_options *own = &eval->options;
    if (own->lookback_ms <= 0) own->lookback_ms = LOOKBACK_MS;
    if (own->subquery_step_ms <= 0) own->subquery_step_ms = SUBQUERY_STEP_MS;
    if (own->points_max == 0) own->points_max = POINTS_MAX;
    if (own->samples_max == 0) own->samples_max = SAMPLES_MAX;
    HK_TRY(check_range(promql, start_ms, end_ms, step_ms, own));
    struct frame frame = { .start_ms = start_ms, .step_ms = 1, .count = 1 };
    if (step_ms > 0) {
        frame.step_ms = step_ms;
        frame.count = (uint32_t)(((uint64_t)end_ms - (uint64_t)start_ms) / (uint64_t)step_ms) + 1;
    }
    struct hk_query_result made = { .type = HK_PROMQL_NONE };
    hk_arena_init(&eval->scratch, arena->bytes_max);
    hk_arena_init(&eval->series, arena->bytes_max);
    hk_arena_init(&eval->work, arena->bytes_max);
    hk_err err = run(eval, frame, step_ms > 0, &made);
    hk_ev_close(eval);
    hk_arena_deinit(&eval->scratch);
    hk_arena_deinit(&eval->series);
    hk_arena_deinit(&eval->work);
    if (err < 0) return err;
    made.stats = eval->stats;
    made.stats.duration_ns = hk_clock_monotonic_ns() - began_ns;
    *out = made;
    return HK_OK;
}

enum hk_query_error hk_query_error_of(hk_err err) {
    switch (err) {
    case HK_E_MALFORMED:
    case HK_E_INVALID:
        return HK_QUERY_BAD_DATA;
    case HK_E_TIMEOUT:
        return HK_QUERY_TIMEOUT;
    case HK_E_CANCELED:
        return HK_QUERY_CANCELED;
    case HK_E_EXECUTION:
    case HK_E_NOMEM:
    case HK_E_LIMIT:
    case HK_E_UNSUPPORTED:
        return HK_QUERY_EXECUTION;
    default:
        return HK_QUERY_INTERNAL;
    }
}

const char *hk_query_error_text(enum hk_query_error error) {
    static const char *const texts[] = { "bad_data", "execution", "timeout", "canceled",
                                         "internal" };
    return texts[error];
}
