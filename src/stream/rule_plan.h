/*
 * Which rules can be judged on arrival, and how. Understood: comparisons between, and plain forms
 * of, arithmetic over numbers and at most two sides; a side is a selector, or a range function of
 * one, with arithmetic by numbers, possibly under one aggregation (sum, avg, count, min, max,
 * group). Two sides must match by the same labels. Pure.
 */
#ifndef HK_STREAM_RULE_PLAN_H
#define HK_STREAM_RULE_PLAN_H

#include "lang/promql.h"

enum { HK_RULE_SIDES_MAX = 2, HK_RULE_PROGRAM_MAX = 32 };

enum hk_rule_op_kind { HK_RULE_PUSH_NUMBER, HK_RULE_PUSH_INPUT, HK_RULE_NEGATE, HK_RULE_BINARY };

/* One step of a stack program. */
struct hk_rule_op {
    enum hk_rule_op_kind kind;
    enum hk_promql_op op; /* of HK_RULE_BINARY */
    uint8_t input;        /* of HK_RULE_PUSH_INPUT: side (group programs); 0 (side programs) */
    double number;
};

struct hk_rule_program {
    struct hk_rule_op ops[HK_RULE_PROGRAM_MAX];
    uint32_t count;
};

struct hk_rule_side {
    const struct hk_promql_node *selector;
    int64_t range_ms;                    /* 0 = instant */
    enum hk_promql_function_id function; /* with a range */
    struct hk_rule_program program;      /* from the series' value to its contribution */
    bool aggregated;
    enum hk_promql_aggregation aggregation;
    const struct hk_promql_node *aggregate; /* by / without labels */
};

struct hk_rule_plan {
    bool on_arrival;
    const char *reason; /* why not, for people */
    struct hk_rule_side sides[HK_RULE_SIDES_MAX];
    uint32_t side_count;
    struct hk_rule_program left, right; /* right is empty without a comparison */
    bool compares;
    enum hk_promql_op comparison;
    bool value_is_right; /* the result's value: number on the left, vector on the right */
};

/* Plans a parsed expression. `out->on_arrival` false is an answer, not an error. */
void hk_rule_plan_make(const struct hk_promql *promql, struct hk_rule_plan *out);

/* Runs a program over its inputs. */
double hk_rule_run(const struct hk_rule_program *program, const double *inputs);

/* Truth of a comparison as PromQL has it (NaN: only != is true). */
bool hk_rule_compare(enum hk_promql_op op, double left, double right);

/* Can the side's function be kept on arrival? */
bool hk_rule_function_known(enum hk_promql_function_id function);

/*
 * Value of a range function at `now_ms` over the samples in (now − range, now], ascending, without
 * stale markers. False: no value. `*out_next_ms`: the earliest later time at which the value may
 * change without a new sample (INT64_MAX = never).
 */
bool hk_rule_range(
    const struct hk_rule_side *side, const int64_t *stamps_ms, const double *values, uint32_t count,
    int64_t now_ms, double *out_value, int64_t *out_next_ms);

#endif
