/*
 * The series that a rule wrote at its last evaluation: one that it does not write again gets a
 * stale marker, as Prometheus does (rules/group.go's staleness of a rule's own results). Belongs to
 * the shard's thread.
 */
#ifndef HK_STREAM_RULE_RECORDED_H
#define HK_STREAM_RULE_RECORDED_H

#include "model/labels.h"

struct hk_rule_recorded;

/* NULL when out of memory. */
struct hk_rule_recorded *hk_rule_recorded_create(void);
void hk_rule_recorded_destroy(struct hk_rule_recorded *recorded);

/* The evaluation in hand has written this series. HK_E_NOMEM, HK_E_LIMIT: it will get no marker. */
hk_err
hk_rule_recorded_add(struct hk_rule_recorded *recorded, struct hk_labels labels) HK_MUST_CHECK;

/* Ends the evaluation: visits each series of the one before that was not written again. */
void hk_rule_recorded_end(
    struct hk_rule_recorded *recorded, void (*gone)(void *self, struct hk_labels labels),
    void *self);

#endif
