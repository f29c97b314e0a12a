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
    double scale;                           /* of the program, where the function varies */
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

/* One arithmetic operation as PromQL has it; NaN for other operators. */
double hk_rule_binary(enum hk_promql_op op, double a, double b);

/*
 * Is the program a straight line, scale × input + constant? Then `*out_scale` is its slope. Only
 * such programs may follow a function whose value moves with time.
 */
bool hk_rule_slope(const struct hk_rule_program *program, double *out_scale);

/* Truth of a comparison as PromQL has it (NaN: only != is true). */
bool hk_rule_compare(enum hk_promql_op op, double left, double right);

/* Can the side's function be kept on arrival? */
bool hk_rule_function_known(enum hk_promql_function_id function);

/* Does its value move with time alone (the extrapolating ones)? */
bool hk_rule_function_varies(enum hk_promql_function_id function);

/* --- Intervals: verdicts that hold for a while (rule_interval.c) --------------------------------
 */

/* Closed; `unknown`: anything, NaN too; `nan`: surely NaN. */
struct hk_rule_interval {
    double low, high;
    bool unknown, nan;
};

enum hk_rule_truth { HK_RULE_FALSE, HK_RULE_TRUE, HK_RULE_UNSURE };

/* The interval that holds the program's value for all inputs of the given intervals. */
struct hk_rule_interval
hk_rule_run_interval(const struct hk_rule_program *program, const struct hk_rule_interval *inputs);

/* Is the comparison the same for all values of both intervals? */
enum hk_rule_truth hk_rule_judge(
    enum hk_promql_op op, const struct hk_rule_interval *left,
    const struct hk_rule_interval *right);

/* The rule's verdict over inputs that are all present. */
enum hk_rule_truth
hk_rule_plan_judge(const struct hk_rule_plan *plan, const struct hk_rule_interval *inputs);

/* --- Ranges (rule_range.c) ----------------------------------------------------------------------
 */

struct hk_rule_point {
    int64_t stamp_ms;
    double value;
};

/*
 * Value of a range function at `now_ms` over the samples in (now − range, now], ascending, without
 * stale markers. False: no value. Until `*out_next_ms` (INT64_MAX = always) and without a new
 * sample, the value at a time t is value + slope × (t − now), up to rounding.
 */
struct hk_rule_line {
    double value, slope; /* slope per ms */
    int64_t next_ms;
};
bool hk_rule_range(
    const struct hk_rule_side *side, const struct hk_rule_point *points, uint32_t count,
    int64_t now_ms, struct hk_rule_line *out);

#endif
