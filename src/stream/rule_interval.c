/*
 * Programs over intervals: is a verdict the same for all inputs of given intervals? Ends are
 * widened by a rounding of each operation, so that "sure" holds for the engine's own rounding too.
 * Method: Moore, Kearfott, Cloud, "Introduction to Interval Analysis" (2009), chapter 2.
 */
#include "stream/rule_plan.h"

#include <math.h>

/* Relative: some roundings of the engine's and of ours. */
#define WIDEN 0x1p-50

static const struct hk_rule_interval anything = { .low = -(double)INFINITY,
                                                  .high = (double)INFINITY,
                                                  .unknown = true };

static struct hk_rule_interval point(double value) {
    if (isnan(value)) return anything;
    return (struct hk_rule_interval){ .low = value, .high = value };
}

static struct hk_rule_interval widened(double low, double high) {
    if (isnan(low) || isnan(high)) return anything;
    return (struct hk_rule_interval){ .low = low - fabs(low) * WIDEN,
                                      .high = high + fabs(high) * WIDEN };
}

static bool is_point(const struct hk_rule_interval *at) {
    return at->low == at->high;
}

static struct hk_rule_interval
multiply(const struct hk_rule_interval *a, const struct hk_rule_interval *b) {
    double ends[4] = { a->low * b->low, a->low * b->high, a->high * b->low, a->high * b->high };
    double low = ends[0];
    double high = ends[0];
    for (int i = 0; i < 4; i++) {
        if (isnan(ends[i])) return anything;
        if (ends[i] < low) low = ends[i];
        if (ends[i] > high) high = ends[i];
    }
    return widened(low, high);
}

static struct hk_rule_interval
divide(const struct hk_rule_interval *a, const struct hk_rule_interval *b) {
    if (b->low == 0 && b->high == 0 && !signbit(b->low) && !signbit(b->high)) {
        /* x / 0: an infinity, or NaN whatever the rounding. */
        if (a->low > 0) return point((double)INFINITY);
        if (a->high < 0) return point(-(double)INFINITY);
        if (a->low == 0 && a->high == 0) return (struct hk_rule_interval){ .nan = true };
        return anything;
    }
    if (b->low <= 0 && b->high >= 0) return anything;
    struct hk_rule_interval inverse = { .low = 1 / b->high, .high = 1 / b->low };
    if (isinf(b->low) || isinf(b->high)) return anything;
    struct hk_rule_interval out = multiply(a, &inverse);
    return out.unknown ? out : widened(out.low, out.high);
}

static struct hk_rule_interval
binary(enum hk_promql_op op, const struct hk_rule_interval *a, const struct hk_rule_interval *b) {
    if (a->unknown || b->unknown) return anything;
    if (a->nan || b->nan) return (struct hk_rule_interval){ .nan = true };
    switch ((int)op) {
    case HK_PROMQL_ADD:
        return widened(a->low + b->low, a->high + b->high);
    case HK_PROMQL_SUB:
        return widened(a->low - b->high, a->high - b->low);
    case HK_PROMQL_MUL:
        return multiply(a, b);
    case HK_PROMQL_DIV:
        return divide(a, b);
    default:
        /* Not monotone: only points are known. */
        if (!is_point(a) || !is_point(b)) return anything;
        double value = hk_rule_binary(op, a->low, b->low);
        return widened(value, value);
    }
}

struct hk_rule_interval
hk_rule_run_interval(const struct hk_rule_program *program, const struct hk_rule_interval *inputs) {
    struct hk_rule_interval stack[HK_RULE_PROGRAM_MAX + 1] = { 0 };
    uint32_t depth = 0;
    for (uint32_t i = 0; i < program->count; i++) {
        const struct hk_rule_op *op = &program->ops[i];
        switch (op->kind) {
        case HK_RULE_PUSH_NUMBER:
            stack[depth++] = point(op->number);
            break;
        case HK_RULE_PUSH_INPUT:
            stack[depth++] = inputs[op->input];
            break;
        case HK_RULE_NEGATE:
            stack[depth - 1] = (struct hk_rule_interval){
                .low = -stack[depth - 1].high,
                .high = -stack[depth - 1].low,
                .unknown = stack[depth - 1].unknown,
                .nan = stack[depth - 1].nan,
            };
            break;
        case HK_RULE_BINARY:
        default:
            depth--;
            stack[depth - 1] = binary(op->op, &stack[depth - 1], &stack[depth]);
            break;
        }
    }
    return stack[0];
}

enum hk_rule_truth hk_rule_judge(
    enum hk_promql_op op, const struct hk_rule_interval *left,
    const struct hk_rule_interval *right) {
    if (left->unknown || right->unknown) return HK_RULE_UNSURE;
    if (left->nan || right->nan) return op == HK_PROMQL_NE ? HK_RULE_TRUE : HK_RULE_FALSE;
    bool apart = left->high < right->low || left->low > right->high;
    bool same = is_point(left) && is_point(right) && left->low == right->low;
    switch ((int)op) {
    case HK_PROMQL_EQ:
        return apart ? HK_RULE_FALSE : same ? HK_RULE_TRUE : HK_RULE_UNSURE;
    case HK_PROMQL_NE:
        return apart ? HK_RULE_TRUE : same ? HK_RULE_FALSE : HK_RULE_UNSURE;
    case HK_PROMQL_GT:
        if (left->low > right->high) return HK_RULE_TRUE;
        return left->high <= right->low ? HK_RULE_FALSE : HK_RULE_UNSURE;
    case HK_PROMQL_GE:
        if (left->low >= right->high) return HK_RULE_TRUE;
        return left->high < right->low ? HK_RULE_FALSE : HK_RULE_UNSURE;
    case HK_PROMQL_LT:
        if (left->high < right->low) return HK_RULE_TRUE;
        return left->low >= right->high ? HK_RULE_FALSE : HK_RULE_UNSURE;
    case HK_PROMQL_LE:
        if (left->high <= right->low) return HK_RULE_TRUE;
        return left->low > right->high ? HK_RULE_FALSE : HK_RULE_UNSURE;
    default:
        return HK_RULE_UNSURE;
    }
}

enum hk_rule_truth
hk_rule_plan_judge(const struct hk_rule_plan *plan, const struct hk_rule_interval *inputs) {
    if (!plan->compares) return HK_RULE_TRUE;
    struct hk_rule_interval left = hk_rule_run_interval(&plan->left, inputs);
    struct hk_rule_interval right = hk_rule_run_interval(&plan->right, inputs);
    return hk_rule_judge(plan->comparison, &left, &right);
}
