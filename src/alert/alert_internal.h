/* What the files of this folder share. */
#ifndef HK_ALERT_ALERT_INTERNAL_H
#define HK_ALERT_ALERT_INTERNAL_H

#include "alert/alert.h"
#include "base/deadline.h"
#include "base/hashindex.h"

struct hk_alert {
    struct hk_deadline due; /* first: found from the heap by its address */
    struct hk_alert_rule *rule;
    struct hk_labels series, labels, annotations; /* each one block of memory, see pack */
    uint64_t series_hash, fingerprint;
    uint32_t slot;
    enum hk_alert_state state;
    bool restored;   /* loaded, and no verdict since */
    bool held;       /* loaded while pending: hk_alert_confirm() moves its deadline */
    int64_t seen_ms; /* last verdict "active" */
    int64_t episode_ms, active_ms, fires_ms; /* fires_ms: when `for` ends */
    int64_t fired_ms, resolved_ms, keep_since_ms;
    double value;
};

struct rule_pair {
    struct hk_str name;
    struct hk_template *value;
};

struct hk_alert_rule {
    struct hk_arena arena; /* strings and pairs */
    struct hk_alert_options options;
    struct rule_pair *labels, *annotations;
    bool waiting; /* restored alerts are not confirmed yet */
    uint32_t pending, firing, remembered, slot_count;
    size_t slot_capacity;
    struct hk_alert **slots; /* may have gaps */
    uint32_t *gaps;
    size_t gap_count, gap_capacity;
    struct hk_hashindex by_series, by_fingerprint; /* values are slots */
    struct hk_deadlines due;
    struct hk_alert_counts counts;
};

/* Copies labels into one heap block that starts at `items`; free with hk_mem_free of it. */
hk_err hk_alert_pack(struct hk_labels labels, struct hk_labels *out) HK_MUST_CHECK;
void hk_alert_unpack(struct hk_labels *labels);

/* Labels of a new alert: the series' without __name__, the rule's expanded, alertname. */
hk_err hk_alert_expand_labels(
    struct hk_alert_rule *rule, struct hk_labels series, double value, int64_t at_ms,
    struct hk_labels *out) HK_MUST_CHECK;

/* Expands the annotations anew; keeps the old ones when memory is out. */
void hk_alert_expand_annotations(struct hk_alert *alert, int64_t at_ms);

/* The alert of a series, NULL if there is none. */
struct hk_alert *
hk_alert_find(const struct hk_alert_rule *rule, struct hk_labels series, uint64_t hash);

/* Puts an alert with labels into slot and indexes. HK_E_NOMEM. */
hk_err hk_alert_link(struct hk_alert_rule *rule, struct hk_alert *alert) HK_MUST_CHECK;

/* Takes it out of slot, indexes and heap. */
void hk_alert_unlink(struct hk_alert *alert);

/* Frees an alert that is not linked. */
void hk_alert_free(struct hk_alert *alert);

/* Changes the state and the counts. */
void hk_alert_set_state(struct hk_alert *alert, enum hk_alert_state state);

/* Sets or clears the deadline that its state needs. */
void hk_alert_schedule(struct hk_alert *alert);

static inline uint64_t hk_alert_hash(struct hk_labels labels) {
    return hk_labels_hash(labels).low;
}

#endif
