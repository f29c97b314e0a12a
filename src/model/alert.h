/*
 * What happens to an alert, as the alert states tell it to whoever notifies and acts. All pointers
 * are borrowed during the call. Times are milliseconds since 1970.
 */
#ifndef HK_MODEL_ALERT_H
#define HK_MODEL_ALERT_H

#include "model/labels.h"

struct hk_alert_event {
    struct hk_str rule, group, generator_url;
    struct hk_labels labels, annotations; /* final: templates are expanded, alertname is set */
    uint64_t fingerprint;                 /* of `labels`, as Alertmanager computes it */
    int64_t episode_ms; /* tells episodes of one fingerprint apart; survives a restart */
    int64_t active_ms;  /* the condition holds since */
    int64_t starts_ms;  /* firing since */
    int64_t ends_ms;    /* resolved at, 0 while firing */
    int64_t at_ms;      /* evaluation time of this event */
    double value;
    uint64_t rule_hash; /* of the rule's text, chosen by the engine; for replay */
    bool resolved;
};

/* Receives events on the thread that owns the rule's state. Must not block. */
struct hk_alert_sink {
    void *self;
    void (*event)(void *self, const struct hk_alert_event *event);
};

#define HK_FNV1A_START 14695981039346656037ULL

/* FNV-1a, 64 bit, continued from `hash`: unkeyed, for identities that others compute as well or
 * that are kept on disk. Not for hash tables over input. */
static inline uint64_t hk_fnv1a(uint64_t hash, const void *data, size_t bytes) {
    const unsigned char *at = data;
    for (size_t i = 0; i < bytes; i++)
        hash = (hash ^ at[i]) * 1099511628211ULL;
    return hash;
}

/* Fingerprint of a label set: FNV-1a over name 0xff value 0xff of the sorted labels (the
 * Prometheus project's model.Fingerprint). Printed as 16 hex digits. */
static inline uint64_t hk_fingerprint(struct hk_labels labels) {
    uint64_t hash = HK_FNV1A_START;
    for (uint32_t i = 0; i < labels.count; i++) {
        hash = hk_fnv1a(hash, labels.items[i].name.ptr, labels.items[i].name.len);
        hash = hk_fnv1a(hash, "\xff", 1);
        hash = hk_fnv1a(hash, labels.items[i].value.ptr, labels.items[i].value.len);
        hash = hk_fnv1a(hash, "\xff", 1);
    }
    return hash;
}

#endif
