/* Answers of the API as tables. Pure: trees in, rows out. */
#ifndef HK_CLI_ANSWERS_H
#define HK_CLI_ANSWERS_H

#include "cli/table.h"
#include "cli/value.h"

/*
 * Each function begins a table in `table` (ended by the caller) for one kind of answer; `root` is
 * the whole answer. HK_E_MALFORMED when it is of another shape, HK_E_NOMEM, HK_E_LIMIT.
 */

/* /api/v1/query and query_range: vector, matrix, scalar, string. */
hk_err hk_answer_query(const struct hk_value *root, struct hk_arena *arena, struct hk_table *table)
    HK_MUST_CHECK;

/* /api/v1/targets: active targets, then jobs that hark cannot discover. */
hk_err hk_answer_targets(
    const struct hk_value *root, struct hk_arena *arena, struct hk_table *table) HK_MUST_CHECK;

/* /api/v1/rules: one row per rule, with the way it is judged and why. */
hk_err hk_answer_rules(const struct hk_value *root, struct hk_arena *arena, struct hk_table *table)
    HK_MUST_CHECK;

/* /api/v1/alerts. */
hk_err hk_answer_alerts(const struct hk_value *root, struct hk_arena *arena, struct hk_table *table)
    HK_MUST_CHECK;

/* /api/hark/v1/ledger. */
hk_err hk_answer_ledger(const struct hk_value *root, struct hk_arena *arena, struct hk_table *table)
    HK_MUST_CHECK;

/* /api/hark/v1/lag. */
hk_err hk_answer_lag(const struct hk_value *root, struct hk_arena *arena, struct hk_table *table)
    HK_MUST_CHECK;

/* `name{a="b"}` of an object of labels, in the arena; its ptr is NULL when out of memory. */
struct hk_str hk_answer_labels(const struct hk_value *labels, struct hk_arena *arena);

#endif
