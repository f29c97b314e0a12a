/* From the syntax tree to an arrival plan, bottom-up over the node list (no recursion). */
#include "stream/rule_plan.h"

#include "base/mem.h"

#include <math.h>

/* What a node is, as far as plans go. */
struct value {
    enum { VALUE_NOTHING, VALUE_NUMBER, VALUE_VECTOR, VALUE_SELECTOR, VALUE_RANGE } kind;
    double number;
    struct hk_rule_program program; /* of a vector, over sides; side values have one PUSH_INPUT */
    int sides[HK_RULE_SIDES_MAX];   /* −1 = unused */
    bool aggregated;
    const struct hk_promql_node *selector;
    int64_t range_ms;
};

struct planner {
    const struct hk_promql *promql;
    struct hk_rule_plan *plan;
    struct value *values; /* by node id */
    const char *reason;
};

static void push(struct hk_rule_program *program, struct hk_rule_op op, struct planner *planner) {
    if (program->count == HK_RULE_PROGRAM_MAX) {
        planner->reason = "too many operators";
        return;
    }
    program->ops[program->count++] = op;
}

static void
append(struct hk_rule_program *to, const struct hk_rule_program *from, struct planner *planner) {
    for (uint32_t i = 0; i < from->count; i++)
        push(to, from->ops[i], planner);
}

/* A new side whose leaf is `value`'s selector; gives the vector that stands for it. */
static struct value
make_side(struct planner *planner, const struct value *leaf, enum hk_promql_function_id function) {
    struct value out = { .kind = VALUE_VECTOR, .sides = { -1, -1 } };
    struct hk_rule_plan *plan = planner->plan;
    if (plan->side_count == HK_RULE_SIDES_MAX) {
        planner->reason = "more than two selectors";
        return out;
    }
    const struct hk_promql_node *selector = leaf->selector;
    if (selector->selector.time.offset_ms != 0 || selector->selector.time.at != HK_PROMQL_AT_NONE) {
        planner->reason = "offset or @ looks at another time than the arrival's";
        return out;
    }
    uint32_t side = plan->side_count++;
    plan->sides[side] = (struct hk_rule_side){
        .selector = selector,
        .range_ms = leaf->range_ms,
        .function = function,
    };
    push(&plan->sides[side].program, (struct hk_rule_op){ .kind = HK_RULE_PUSH_INPUT }, planner);
    out.sides[0] = (int)side;
    push(
        &out.program, (struct hk_rule_op){ .kind = HK_RULE_PUSH_INPUT, .input = (uint8_t)side },
        planner);
    return out;
}

/* A selector becomes a vector the first time that it is used as one. */
static struct value as_vector(struct planner *planner, const struct hk_promql_node *node) {
    struct value value = planner->values[node->id];
    if (value.kind != VALUE_SELECTOR) return value;
    return make_side(planner, &value, HK_PROMQL_FN_COUNT);
}

static struct value plan_call(struct planner *planner, const struct hk_promql_node *node) {
    struct value out = { .sides = { -1, -1 } };
    const struct hk_promql_function *function = node->call.function;
    bool range =
        node->child_count == 1 && planner->values[node->children[0]->id].kind == VALUE_RANGE;
    if (!range || !hk_rule_function_known(function->id)) {
        planner->reason = "a function that is not kept incrementally";
        return out;
    }
    return make_side(planner, &planner->values[node->children[0]->id], function->id);
}

static struct value plan_aggregate(struct planner *planner, const struct hk_promql_node *node) {
    struct value out = { .sides = { -1, -1 } };
    switch (node->aggregate.op) {
    case HK_PROMQL_SUM:
    case HK_PROMQL_AVG:
    case HK_PROMQL_COUNT:
    case HK_PROMQL_MIN:
    case HK_PROMQL_MAX:
    case HK_PROMQL_GROUP:
        break;
    case HK_PROMQL_STDDEV:
    case HK_PROMQL_STDVAR:
    case HK_PROMQL_TOPK:
    case HK_PROMQL_BOTTOMK:
    case HK_PROMQL_COUNT_VALUES:
    case HK_PROMQL_QUANTILE:
    case HK_PROMQL_LIMITK:
    case HK_PROMQL_LIMIT_RATIO:
    default:
        planner->reason = "an aggregation that is not kept incrementally";
        return out;
    }
    struct value child = as_vector(planner, node->children[0]);
    if (planner->reason != NULL) return out;
    if (child.kind != VALUE_VECTOR || child.aggregated || child.sides[1] >= 0) {
        planner->reason = "an aggregation over an aggregation or over two selectors";
        return out;
    }
    struct hk_rule_side *side = &planner->plan->sides[child.sides[0]];
    /* The arithmetic so far happens per series. */
    side->program.count = 0;
    for (uint32_t i = 0; i < child.program.count; i++) {
        struct hk_rule_op op = child.program.ops[i];
        op.input = 0;
        push(&side->program, op, planner);
    }
    side->aggregated = true;
    side->aggregation = node->aggregate.op;
    side->aggregate = node;
    out.kind = VALUE_VECTOR;
    out.aggregated = true;
    out.sides[0] = child.sides[0];
    push(
        &out.program,
        (struct hk_rule_op){ .kind = HK_RULE_PUSH_INPUT, .input = (uint8_t)child.sides[0] },
        planner);
    return out;
}

static void
push_value(struct hk_rule_program *program, const struct value *value, struct planner *planner) {
    if (value->kind == VALUE_NUMBER) {
        push(
            program, (struct hk_rule_op){ .kind = HK_RULE_PUSH_NUMBER, .number = value->number },
            planner);
    } else {
        append(program, &value->program, planner);
    }
}

static bool has_label(const struct hk_promql_node *node, struct hk_str label) {
    for (uint32_t i = 0; i < node->aggregate.label_count; i++) {
        if (hk_str_eq(node->aggregate.labels[i], label)) return true;
    }
    return false;
}

/* Do both aggregations give the same label names to their groups? */
static bool same_grouping(const struct hk_promql_node *a, const struct hk_promql_node *b) {
    if (a->aggregate.without || b->aggregate.without) return false;
    for (uint32_t i = 0; i < a->aggregate.label_count; i++) {
        if (!has_label(b, a->aggregate.labels[i])) return false;
    }
    for (uint32_t i = 0; i < b->aggregate.label_count; i++) {
        if (!has_label(a, b->aggregate.labels[i])) return false;
    }
    return true;
}

/* Two vectors meet: they must match one to one by the labels of their groups. */
static void check_match(
    struct planner *planner, const struct hk_promql_node *node, const struct value *left,
    const struct value *right) {
    const struct hk_rule_plan *plan = planner->plan;
    bool plain = node->binary.card == HK_PROMQL_ONE_TO_ONE && !node->binary.on &&
                 node->binary.label_count == 0;
    if (!plain) {
        planner->reason = "on, ignoring, group_left or group_right";
        return;
    }
    if (left->aggregated != right->aggregated) {
        planner->reason = "an aggregation against plain series";
        return;
    }
    if (left->sides[1] >= 0 || right->sides[1] >= 0) {
        planner->reason = "more than two selectors";
        return;
    }
    if (!left->aggregated) return;
    if (!same_grouping(
            plan->sides[left->sides[0]].aggregate, plan->sides[right->sides[0]].aggregate)) {
        planner->reason = "aggregations by different labels";
    }
}

/* The comparison at the root of the expression. */
static struct value plan_comparison(
    struct planner *planner, const struct hk_promql_node *node, const struct value *left,
    const struct value *right) {
    struct value out = { .sides = { -1, -1 } };
    const struct hk_promql_node *root = hk_promql_unwrap(planner->promql->root);
    if (node != root || node->binary.return_bool) {
        planner->reason = "a comparison inside of the expression, or bool";
        return out;
    }
    struct hk_rule_plan *plan = planner->plan;
    push_value(&plan->left, left, planner);
    push_value(&plan->right, right, planner);
    plan->compares = true;
    plan->comparison = node->binary.op;
    plan->value_is_right = left->kind == VALUE_NUMBER;
    out.kind = VALUE_VECTOR;
    return out;
}

static struct value plan_binary(struct planner *planner, const struct hk_promql_node *node) {
    struct value out = { .sides = { -1, -1 } };
    if (hk_promql_op_is_set(node->binary.op)) {
        planner->reason = "a set operator";
        return out;
    }
    struct value left = as_vector(planner, node->children[0]);
    struct value right = as_vector(planner, node->children[1]);
    if (planner->reason != NULL) return out;
    if (left.kind == VALUE_VECTOR && right.kind == VALUE_VECTOR) {
        check_match(planner, node, &left, &right);
        if (planner->reason != NULL) return out;
    }
    if (hk_promql_op_is_comparison(node->binary.op)) {
        return plan_comparison(planner, node, &left, &right);
    }
    push_value(&out.program, &left, planner);
    push_value(&out.program, &right, planner);
    push(
        &out.program, (struct hk_rule_op){ .kind = HK_RULE_BINARY, .op = node->binary.op },
        planner);
    if (left.kind == VALUE_NUMBER && right.kind == VALUE_NUMBER) {
        out.kind = VALUE_NUMBER;
        out.number = hk_rule_run(&out.program, NULL);
        return out;
    }
    out.kind = VALUE_VECTOR;
    out.aggregated = left.aggregated || right.aggregated;
    const struct value *vector = left.kind == VALUE_VECTOR ? &left : &right;
    out.sides[0] = vector->sides[0];
    out.sides[1] = vector->sides[1];
    if (left.kind == VALUE_VECTOR && right.kind == VALUE_VECTOR) out.sides[1] = right.sides[0];
    return out;
}

static struct value plan_node(struct planner *planner, const struct hk_promql_node *node) {
    struct value out = { .sides = { -1, -1 } };
    switch (node->kind) {
    case HK_PROMQL_NUMBER:
        out.kind = VALUE_NUMBER;
        out.number = node->number.value;
        return out;
    case HK_PROMQL_SELECTOR:
        out.kind = VALUE_SELECTOR;
        out.selector = node;
        return out;
    case HK_PROMQL_RANGE:
        out = planner->values[node->children[0]->id];
        out.kind = VALUE_RANGE;
        out.range_ms = node->range.range_ms;
        return out;
    case HK_PROMQL_CALL:
        return plan_call(planner, node);
    case HK_PROMQL_AGGREGATE:
        return plan_aggregate(planner, node);
    case HK_PROMQL_BINARY:
        return plan_binary(planner, node);
    case HK_PROMQL_PAREN:
    case HK_PROMQL_PLUS:
        return planner->values[node->children[0]->id];
    case HK_PROMQL_NEGATE:
        out = as_vector(planner, node->children[0]);
        if (out.kind == VALUE_NUMBER)
            out.number = -out.number;
        else
            push(&out.program, (struct hk_rule_op){ .kind = HK_RULE_NEGATE }, planner);
        return out;
    case HK_PROMQL_TEXT:
    case HK_PROMQL_SUBQUERY:
    default:
        planner->reason = "a subquery or text";
        return out;
    }
}

/* Does the selector say one metric name? */
static bool names_metric(const struct hk_promql_node *selector) {
    for (uint32_t i = 0; i < selector->selector.matcher_count; i++) {
        const struct hk_matcher *matcher = &selector->selector.matchers[i];
        if (matcher->type == HK_MATCH_EQUAL && hk_str_is(matcher->name, "__name__")) return true;
    }
    return false;
}

void hk_rule_plan_make(const struct hk_promql *promql, struct hk_rule_plan *out) {
    *out = (struct hk_rule_plan){ .reason = "out of memory" };
    struct planner planner = { .promql = promql, .plan = out };
    planner.values = hk_mem_alloc(promql->node_count, sizeof(planner.values[0]));
    if (planner.values == NULL) return;
    for (uint32_t i = 0; i < promql->node_count && planner.reason == NULL; i++) {
        planner.values[i] = plan_node(&planner, promql->nodes[i]);
    }
    if (planner.reason == NULL && !out->compares) {
        struct value root = as_vector(&planner, hk_promql_unwrap(promql->root));
        if (root.kind == VALUE_VECTOR)
            out->left = root.program;
        else
            planner.reason = "the expression is no vector";
    }
    if (planner.reason == NULL && out->side_count == 0) planner.reason = "no selector";
    if (planner.reason == NULL && out->side_count == 2 &&
        out->sides[0].aggregated != out->sides[1].aggregated) {
        planner.reason = "an aggregation against plain series";
    }
    for (uint32_t i = 0; i < out->side_count && planner.reason == NULL; i++) {
        const struct hk_rule_side *side = &out->sides[i];
        if (!side->aggregated && !names_metric(side->selector)) {
            planner.reason = "plain series without one metric name";
        } else if (
            side->range_ms > 0 && hk_rule_function_varies(side->function) &&
            !hk_rule_slope(&side->program, &out->sides[i].scale)) {
            planner.reason = "arithmetic over a rate that is no straight line";
        }
    }
    hk_mem_free(planner.values);
    out->on_arrival = planner.reason == NULL;
    out->reason = planner.reason;
}

/* ------------------------------------------------------------------ running */

double hk_rule_binary(enum hk_promql_op op, double a, double b) {
    switch (op) {
    case HK_PROMQL_ADD:
        return a + b;
    case HK_PROMQL_SUB:
        return a - b;
    case HK_PROMQL_MUL:
        return a * b;
    case HK_PROMQL_DIV:
        return a / b;
    case HK_PROMQL_MOD:
        return fmod(a, b);
    case HK_PROMQL_POW:
        return pow(a, b);
    case HK_PROMQL_ATAN2:
        return atan2(a, b);
    case HK_PROMQL_EQ:
    case HK_PROMQL_NE:
    case HK_PROMQL_GT:
    case HK_PROMQL_LT:
    case HK_PROMQL_GE:
    case HK_PROMQL_LE:
    case HK_PROMQL_AND:
    case HK_PROMQL_OR:
    case HK_PROMQL_UNLESS:
    default:
        return (double)NAN;
    }
}

double hk_rule_run(const struct hk_rule_program *program, const double *inputs) {
    double stack[HK_RULE_PROGRAM_MAX + 1] = { 0 };
    uint32_t depth = 0;
    for (uint32_t i = 0; i < program->count; i++) {
        const struct hk_rule_op *op = &program->ops[i];
        switch (op->kind) {
        case HK_RULE_PUSH_NUMBER:
            stack[depth++] = op->number;
            break;
        case HK_RULE_PUSH_INPUT:
            stack[depth++] = inputs[op->input];
            break;
        case HK_RULE_NEGATE:
            stack[depth - 1] = -stack[depth - 1];
            break;
        case HK_RULE_BINARY:
        default:
            depth--;
            stack[depth - 1] = hk_rule_binary(op->op, stack[depth - 1], stack[depth]);
            break;
        }
    }
    return stack[0];
}

/* A value of the form scale × input + constant; `constant` alone has no input. */
struct affine {
    double scale, number;
};

static bool combine(enum hk_promql_op op, struct affine *a, const struct affine *b) {
    switch ((int)op) {
    case HK_PROMQL_ADD:
        a->scale += b->scale;
        a->number += b->number;
        return true;
    case HK_PROMQL_SUB:
        a->scale -= b->scale;
        a->number -= b->number;
        return true;
    case HK_PROMQL_MUL:
        if (a->scale != 0 && b->scale != 0) return false;
        a->scale = a->scale * b->number + b->scale * a->number;
        a->number *= b->number;
        return true;
    case HK_PROMQL_DIV:
        if (b->scale != 0) return false;
        a->scale /= b->number;
        a->number /= b->number;
        return true;
    default:
        a->number = hk_rule_binary(op, a->number, b->number);
        return a->scale == 0 && b->scale == 0;
    }
}

bool hk_rule_slope(const struct hk_rule_program *program, double *out_scale) {
    struct affine stack[HK_RULE_PROGRAM_MAX + 1] = { 0 };
    uint32_t depth = 0;
    bool straight = true;
    for (uint32_t i = 0; i < program->count && straight; i++) {
        const struct hk_rule_op *op = &program->ops[i];
        switch (op->kind) {
        case HK_RULE_PUSH_NUMBER:
            stack[depth++] = (struct affine){ 0, op->number };
            break;
        case HK_RULE_PUSH_INPUT:
            stack[depth++] = (struct affine){ 1, 0 };
            break;
        case HK_RULE_NEGATE:
            stack[depth - 1] = (struct affine){ -stack[depth - 1].scale, -stack[depth - 1].number };
            break;
        case HK_RULE_BINARY:
        default:
            depth--;
            straight = combine(op->op, &stack[depth - 1], &stack[depth]);
            break;
        }
    }
    *out_scale = stack[0].scale;
    return straight && isfinite(stack[0].scale) && isfinite(stack[0].number);
}

bool hk_rule_compare(enum hk_promql_op op, double left, double right) {
    switch (op) {
    case HK_PROMQL_EQ:
        return left == right;
    case HK_PROMQL_NE:
        return left != right;
    case HK_PROMQL_GT:
        return left > right;
    case HK_PROMQL_LT:
        return left < right;
    case HK_PROMQL_GE:
        return left >= right;
    case HK_PROMQL_LE:
        return left <= right;
    case HK_PROMQL_ADD:
    case HK_PROMQL_SUB:
    case HK_PROMQL_MUL:
    case HK_PROMQL_DIV:
    case HK_PROMQL_MOD:
    case HK_PROMQL_POW:
    case HK_PROMQL_ATAN2:
    case HK_PROMQL_AND:
    case HK_PROMQL_OR:
    case HK_PROMQL_UNLESS:
    default:
        return false;
    }
}
