/* What the aggregations share. Inside query only. */
#ifndef HK_QUERY_AGGREGATE_H
#define HK_QUERY_AGGREGATE_H

#include "query/eval_internal.h"

/* by or without: which labels make a group, and the groups met so far. */
struct grouping {
    struct hk_str *names; /* sorted; of without: with __name__ */
    uint32_t name_count;
    bool with; /* by */
    struct label_map map;
    uint32_t count;
};

/* Prepares the grouping of a node; `extra` (may be empty) is added to the labels of by. */
hk_err hk_ev_grouping(
    struct eval *eval, const struct hk_promql_node *node, struct hk_str extra,
    struct grouping *out) HK_MUST_CHECK;

/* The number of the group of these labels; numbers go up from 0. */
hk_err hk_ev_group(
    struct eval *eval, struct grouping *grouping, struct hk_labels labels, uint32_t *out,
    bool *out_new) HK_MUST_CHECK;

/* topk, bottomk, limitk, limit_ratio; quantile; count_values. */
hk_err hk_ev_aggregate_k(struct eval *eval, const struct hk_promql_node *node, struct table *out)
    HK_MUST_CHECK;
hk_err hk_ev_aggregate_quantile(
    struct eval *eval, const struct hk_promql_node *node, struct table *out) HK_MUST_CHECK;
hk_err hk_ev_aggregate_values(
    struct eval *eval, const struct hk_promql_node *node, struct table *out) HK_MUST_CHECK;

#endif
