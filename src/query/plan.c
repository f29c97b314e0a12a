/*
 * Planning: which nodes are the same at every step (evaluated once and spread), at which steps each
 * node is evaluated, and which nodes their parents evaluate themselves.
 */
#include "query/eval_internal.h"

int64_t hk_ev_time(const struct eval *eval, const struct hk_promql_time *time, int64_t ms) {
    switch (time->at) {
    case HK_PROMQL_AT_TIME:
        ms = time->at_ms;
        break;
    case HK_PROMQL_AT_START:
        ms = eval->start_ms;
        break;
    case HK_PROMQL_AT_END:
        ms = eval->end_ms;
        break;
    case HK_PROMQL_AT_NONE:
    default:
        break;
    }
    return time_sub(ms, time->offset_ms);
}

/* Functions whose result depends on the evaluation time although their arguments do not. */
static bool reads_time(enum hk_promql_function_id id) {
    switch ((int)id) {
    case HK_PROMQL_FN_days_in_month:
    case HK_PROMQL_FN_day_of_month:
    case HK_PROMQL_FN_day_of_week:
    case HK_PROMQL_FN_day_of_year:
    case HK_PROMQL_FN_hour:
    case HK_PROMQL_FN_minute:
    case HK_PROMQL_FN_month:
    case HK_PROMQL_FN_year:
    case HK_PROMQL_FN_predict_linear:
    case HK_PROMQL_FN_time:
    case HK_PROMQL_FN_timestamp:
        return true;
    default:
        return false;
    }
}

static bool is_invariant(const struct eval *eval, const struct hk_promql_node *node) {
    switch (node->kind) {
    case HK_PROMQL_NUMBER:
    case HK_PROMQL_TEXT:
        return true;
    case HK_PROMQL_SELECTOR:
        return node->selector.time.at != HK_PROMQL_AT_NONE;
    case HK_PROMQL_SUBQUERY:
        return node->subquery.time.at != HK_PROMQL_AT_NONE;
    case HK_PROMQL_AGGREGATE:
        /* As in Prometheus, the parameter does not count. */
        return eval->plans[node->children[0]->id].invariant;
    case HK_PROMQL_CALL:
        if (reads_time(node->call.function->id)) return false;
        break;
    case HK_PROMQL_RANGE:
    case HK_PROMQL_BINARY:
    case HK_PROMQL_NEGATE:
    case HK_PROMQL_PLUS:
    case HK_PROMQL_PAREN:
    default:
        break;
    }
    for (uint32_t i = 0; i < node->child_count; i++) {
        if (!eval->plans[node->children[i]->id].invariant) return false;
    }
    return true;
}

/* The steps of what is inside a subquery: multiples of its step from behind the oldest window's
 * start to the newest window's end. */
static hk_err subquery_frame(
    const struct eval *eval, const struct hk_promql_node *node, const struct frame *outer,
    struct frame *out) {
    const struct hk_promql_time *time = &node->subquery.time;
    int64_t step_ms = node->subquery.step_ms;
    if (step_ms == 0) step_ms = eval->options.subquery_step_ms;
    int64_t last_ms = outer->count == 0 ? outer->start_ms : frame_time(outer, outer->count - 1);
    int64_t first_ms = hk_ev_time(eval, time, outer->start_ms);
    int64_t end_ms = hk_ev_time(eval, time, last_ms);
    int64_t begin_ms = time_sub(first_ms, node->subquery.range_ms);
    *out = (struct frame){ .start_ms = begin_ms, .step_ms = step_ms };
    int64_t start_ms = step_ms * (begin_ms / step_ms);
    if (start_ms <= begin_ms) start_ms = time_add(start_ms, step_ms);
    if (outer->count == 0 || start_ms > end_ms) return HK_OK;
    uint64_t count = ((uint64_t)end_ms - (uint64_t)start_ms) / (uint64_t)step_ms + 1;
    if (count > eval->options.samples_max || count > UINT32_MAX / 2) {
        return hk_fail(
            HK_E_EXECUTION,
            "query processing would load too many samples into memory in query execution");
    }
    out->start_ms = start_ms;
    out->count = (uint32_t)count;
    return HK_OK;
}

static bool is_fusable(enum hk_promql_aggregation op) {
    return op <= HK_PROMQL_STDVAR;
}

/* The function that reads this child series by series, without a table between? */
static bool is_fused(const struct hk_promql_node *node) {
    const struct hk_promql_node *parent = node->parent;
    if (parent == NULL) return false;
    if (parent->kind == HK_PROMQL_CALL && parent->call.function->id == HK_PROMQL_FN_timestamp) {
        return node->kind == HK_PROMQL_SELECTOR;
    }
    if (parent->kind != HK_PROMQL_AGGREGATE || parent->children[0] != node ||
        !is_fusable(parent->aggregate.op)) {
        return false;
    }
    if (node->kind == HK_PROMQL_SELECTOR) return true;
    return node->kind == HK_PROMQL_CALL && hk_ev_range_argument(node) != UINT32_MAX &&
           node->call.function->id != HK_PROMQL_FN_absent_over_time;
}

static bool is_skipped(const struct hk_promql_node *node) {
    const struct hk_promql_node *parent = node->parent;
    if (node->kind == HK_PROMQL_TEXT || node->kind == HK_PROMQL_RANGE) return true;
    if (node->kind == HK_PROMQL_SELECTOR && parent != NULL && parent->kind == HK_PROMQL_RANGE) {
        return true;
    }
    if (parent != NULL && parent->kind == HK_PROMQL_CALL &&
        parent->call.function->id == HK_PROMQL_FN_info) {
        return parent->children[0] != node;
    }
    return is_fused(node);
}

hk_err hk_ev_plan(struct eval *eval, struct frame root) {
    const struct hk_promql *promql = eval->promql;
    for (uint32_t i = 0; i < promql->node_count; i++) {
        eval->plans[i].invariant = is_invariant(eval, promql->nodes[i]);
        eval->plans[i].skip = is_skipped(promql->nodes[i]);
    }
    for (uint32_t i = promql->node_count; i-- > 0;) {
        const struct hk_promql_node *node = promql->nodes[i];
        struct plan *plan = &eval->plans[i];
        struct frame outer = root;
        if (node->parent != NULL) {
            const struct frame *above = &eval->plans[node->parent->id].frame;
            outer = *above;
            if (node->parent->kind == HK_PROMQL_SUBQUERY)
                HK_TRY(subquery_frame(eval, node->parent, above, &outer));
        }
        plan->frame = outer;
        bool literal = node->kind == HK_PROMQL_NUMBER || node->kind == HK_PROMQL_TEXT;
        if (!plan->invariant || literal || outer.count <= 1) continue;
        plan->frame.count = 1;
        /* Matrices are not spread: their reader looks at one window. */
        if (node->type != HK_PROMQL_MATRIX) plan->spread = outer.count;
    }
    return HK_OK;
}

static void widen(int64_t from_ms, int64_t to_ms, int64_t *out_from_ms, int64_t *out_to_ms) {
    if (from_ms < *out_from_ms) *out_from_ms = from_ms;
    if (to_ms > *out_to_ms) *out_to_ms = to_ms;
}

void hk_query_time_range(
    const struct hk_promql *promql, int64_t start_ms, int64_t end_ms, int64_t lookback_ms,
    int64_t *out_from_ms, int64_t *out_to_ms) {
    struct eval eval = { .promql = promql, .start_ms = start_ms, .end_ms = end_ms };
    if (lookback_ms <= 0) lookback_ms = 300000;
    int64_t from_ms = INT64_MAX;
    int64_t to_ms = INT64_MIN;
    for (uint32_t i = 0; i < promql->node_count; i++) {
        const struct hk_promql_node *node = promql->nodes[i];
        if (node->kind != HK_PROMQL_SELECTOR) continue;
        bool range = node->parent != NULL && node->parent->kind == HK_PROMQL_RANGE;
        int64_t reach_ms = (range ? node->parent->range.range_ms : lookback_ms) - 1;
        int64_t first_ms = time_sub(hk_ev_time(&eval, &node->selector.time, start_ms), reach_ms);
        int64_t last_ms = hk_ev_time(&eval, &node->selector.time, end_ms);
        bool fixed = node->selector.time.at != HK_PROMQL_AT_NONE;
        for (const struct hk_promql_node *at = node->parent; at != NULL && !fixed;
             at = at->parent) {
            if (at->kind != HK_PROMQL_SUBQUERY) continue;
            const struct hk_promql_time *time = &at->subquery.time;
            int64_t moved_ms = time_add(time->offset_ms, at->subquery.range_ms);
            fixed = time->at != HK_PROMQL_AT_NONE;
            if (fixed) {
                int64_t shift_ms = hk_ev_time(&eval, time, 0);
                first_ms = time_add(
                    time_sub(first_ms, start_ms), time_sub(shift_ms, at->subquery.range_ms));
                last_ms = time_add(time_sub(last_ms, end_ms), shift_ms);
            } else {
                first_ms = time_sub(first_ms, moved_ms);
                last_ms = time_sub(last_ms, time->offset_ms);
            }
        }
        widen(first_ms, last_ms, &from_ms, &to_ms);
    }
    bool none = from_ms == INT64_MAX && to_ms == INT64_MIN;
    *out_from_ms = none ? 0 : from_ms;
    *out_to_ms = none ? 0 : to_ms;
}
