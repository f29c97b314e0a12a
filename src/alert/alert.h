/*
 * The life of the alerts of one rule: inactive → pending → firing → resolved, with `for` and
 * `keep_firing_for` as Prometheus has them. Pure state: no clock, no I/O; verdicts and times come
 * in, events go out to a sink. One rule's state belongs to one thread. Times are ms since 1970.
 */
#ifndef HK_ALERT_ALERT_H
#define HK_ALERT_ALERT_H

#include "lang/template.h"
#include "model/alert.h"

enum {
    HK_ALERT_ACTIVE_MAX = 250000,           /* alerts of one rule when its group sets no limit */
    HK_ALERT_TEXT_BYTES_MAX = 65536,        /* one expanded label or annotation */
    HK_ALERT_BYTES_MAX = 262144,            /* labels and annotations of one alert together */
    HK_ALERT_RESOLVED_KEEP_MS = 15 * 60000, /* a resolved alert is remembered this long */
    HK_ALERT_PAIRS_MAX = 128,               /* labels, and annotations, that one rule may set */
};

enum hk_alert_state { HK_ALERT_INACTIVE, HK_ALERT_PENDING, HK_ALERT_FIRING };

struct hk_alert_rule;
struct hk_alert;

/* Name and template of a label or annotation. */
struct hk_alert_pair {
    struct hk_str name, text;
};

/* Everything is copied but the callbacks' selves. */
struct hk_alert_options {
    struct hk_str name;  /* becomes the label alertname */
    struct hk_str group; /* of the rule, for events */
    struct hk_str generator_url;
    const struct hk_alert_pair *labels, *annotations;
    uint32_t label_count, annotation_count;
    int64_t for_ms, keep_firing_ms;
    uint32_t limit; /* of the group: active alerts, 0 = HK_ALERT_ACTIVE_MAX */
    uint64_t rule_hash;
    struct hk_labels external_labels; /* for templates */
    struct hk_str external_url;       /* for templates */
    struct hk_alert_sink sink;
    /* Optional: an alert came, changed its state or went (`gone`: it is freed after the call); the
     * engine logs it with hk_alert_encode(). */
    void (*changed)(void *self, const struct hk_alert *alert, bool gone);
    void *changed_self;
    /* Optional: `query` of templates, see lang/template.h. */
    hk_err (*query)(
        void *self, struct hk_str expr, int64_t at_ms, struct hk_arena *arena,
        struct hk_template_sample **out, uint32_t *out_count);
    void *query_self;
};

/* Parses the templates. HK_E_INVALID naming the label or annotation, HK_E_LIMIT, HK_E_NOMEM. */
hk_err hk_alert_rule_create(const struct hk_alert_options *options, struct hk_alert_rule **out)
    HK_MUST_CHECK;

/* Frees it and its alerts; no events. NULL is fine. */
void hk_alert_rule_destroy(struct hk_alert_rule *rule);

/*
 * The verdict on one series of the rule's expression: `labels` is the result's label set (borrowed,
 * __name__ is removed), `active` whether it is in the result at `at_ms`. Needed on every change;
 * calling it again with the same verdict only refreshes the value. `at_ms` never goes back;
 * verdicts of one stamp come before hk_alert_tick() with that stamp. HK_E_LIMIT: refused, the rule
 * has `limit` active alerts (counted, existing ones go on). HK_E_EXISTS: another series already has
 * the same labels after the rule's labels were applied. HK_E_MALFORMED, HK_E_NOMEM.
 */
hk_err hk_alert_update(
    struct hk_alert_rule *rule, struct hk_labels labels, double value, bool active,
    int64_t at_ms) HK_MUST_CHECK;

/* As above with active = false for every series that was active and not updated at `at_ms`: ends a
 * whole evaluation (tick rules hand in their complete result this way). */
void hk_alert_sweep(struct hk_alert_rule *rule, int64_t at_ms);

/* Does what is due at `now_ms`: `for` and `keep_firing_for` end, old resolved alerts go. */
void hk_alert_tick(struct hk_alert_rule *rule, int64_t now_ms);

/* When hk_alert_tick() has something to do next; INT64_MAX = nothing waits. */
int64_t hk_alert_next_ms(const struct hk_alert_rule *rule);

/* --- Restart ---------------------------------------------------------------------------------- */

/* Appends one record: the present state of the alert (or, when `gone`, that it went). */
void hk_alert_encode(const struct hk_alert *alert, bool gone, struct hk_buf *out);

/* Appends records of all alerts. */
void hk_alert_save(const struct hk_alert_rule *rule, struct hk_buf *out);

/*
 * Applies records in order (the last one about an alert counts). Makes no events. Restored alerts
 * wait: nothing becomes firing or resolved until hk_alert_confirm(). HK_E_CORRUPT, HK_E_VERSION:
 * what came before stays applied.
 */
hk_err hk_alert_load(struct hk_alert_rule *rule, struct hk_str records) HK_MUST_CHECK;

/*
 * Takes over the alerts of `old` (the same rule before a reload); `old` is empty afterwards. Labels
 * and annotations stay as they were expanded; new `for` times apply to pending alerts. As after a
 * restart, nothing becomes firing or resolved until hk_alert_confirm().
 */
void hk_alert_move(struct hk_alert_rule *rule, struct hk_alert_rule *old);

/*
 * Ends the wait, after the first evaluation since the restart has called hk_alert_update() for all
 * that is active: restored alerts that were not updated are inactive at `now_ms`. The time between
 * `down_from_ms` (last time known alive) and `now_ms` does not count for `for`.
 */
void hk_alert_confirm(struct hk_alert_rule *rule, int64_t down_from_ms, int64_t now_ms);

/* --- Reading ---------------------------------------------------------------------------------- */

/* Of one alert; borrowed until the next call that changes the rule. */
struct hk_alert_view {
    struct hk_labels labels, annotations;
    struct hk_labels series; /* the expression's own labels, key of hk_alert_update() */
    enum hk_alert_state state;
    uint64_t fingerprint;
    int64_t episode_ms, active_ms, fired_ms, resolved_ms, keep_firing_since_ms; /* 0 = not */
    double value;
};

void hk_alert_get(const struct hk_alert *alert, struct hk_alert_view *out);

/*
 * Walks the alerts: `*cursor` starts at 0; returns NULL at the end. Alerts may change between
 * calls; each that lives throughout is seen once. Resolved ones that are still remembered are
 * included (state HK_ALERT_INACTIVE).
 */
const struct hk_alert *hk_alert_each(const struct hk_alert_rule *rule, uint32_t *cursor);

struct hk_alert_counts {
    uint32_t pending, firing, remembered;
    uint64_t refused_limit, refused_duplicate, refused_other, template_errors, events;
};

/* Numbers of the rule. */
void hk_alert_count(const struct hk_alert_rule *rule, struct hk_alert_counts *out);

/* The rule's own state: that of its most severe alert. */
enum hk_alert_state hk_alert_rule_state(const struct hk_alert_rule *rule);

/* "inactive", "pending", "firing". */
const char *hk_alert_state_text(enum hk_alert_state state);

/* Appends the alert as an object of /api/v1/alerts (Prometheus HTTP API). */
void hk_alert_json(const struct hk_alert *alert, struct hk_buf *out);

/*
 * Appends up to `count_max` pending and firing alerts as JSON objects separated by commas (also
 * before the first if `*cursor` > 0 and one was written: set `*first` to true at the start).
 * False when the end was reached: long lists can be written in turns.
 */
bool hk_alert_json_some(
    const struct hk_alert_rule *rule, uint32_t *cursor, bool *first, uint32_t count_max,
    struct hk_buf *out);

#endif
