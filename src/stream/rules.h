/*
 * Rules judged on arrival. A rule whose expression has a shape that can be kept incrementally
 * (rule_plan.h) holds the exact inputs of its verdict per bound series and group; a commit updates
 * them and decides before the disk is asked. All other rules run on a tick through the query
 * engine, on a worker; hk_rules_json() says which way each took and why.
 *
 * Time is wall-clock ms. Truth changes by arrival, by samples leaving windows, by staleness and by
 * `for`: the last three through timers that hk_rules_tick() serves (at least every 50 ms).
 *
 * One set belongs to one shard's thread; only the functions that say so may be called elsewhere.
 * Source: Prometheus' rule and staleness semantics (3.x, left-open ranges), decisions D8 to D10.
 */
#ifndef HK_STREAM_RULES_H
#define HK_STREAM_RULES_H

#include "conf/rules.h"
#include "model/alert.h"
#include "model/source.h"
#include "store/directory.h"

struct hk_rules;

struct hk_rules_options {
    const struct hk_rule_set *set; /* outlives the rules */
    struct hk_source source;
    struct hk_directory *directory;
    int64_t lookback_ms; /* 0 = 5 minutes */
    struct hk_labels external_labels;
    struct hk_str external_url;
    struct hk_alert_sink sink; /* firing and resolved, on the shard's thread */
    /* Writes a sample of a recording rule, ALERTS or ALERTS_FOR_STATE. On the shard's thread. */
    hk_err (*put)(void *self, struct hk_labels labels, int64_t stamp_ms, double value);
    /* Runs `task` on the shard's thread; called by the worker. */
    void (*post)(void *self, void (*run)(void *arg), void *arg);
    /* An alert changed: the bytes replace its former record (the engine logs them). */
    void (*save)(void *self, uint32_t rule, struct hk_str record);
    /* Binding in the background has moved the array of hk_rules_bound(). On the shard's thread. */
    void (*bound_moved)(void *self);
    void *self;
};

hk_err hk_rules_create(const struct hk_rules_options *options, struct hk_rules **out) HK_MUST_CHECK;

/* Binds the series that exist and reads what they need from the source (priming): at once when they
 * are few, in the background when they are many. Before it is done, the set judges nothing.
 * `down_from_ms`: last time known alive; the time since does not count for `for`. On the shard's
 * thread, or before it runs. */
hk_err hk_rules_start(struct hk_rules *rules, int64_t down_from_ms, int64_t now_ms) HK_MUST_CHECK;

/* Between recall and start: an event for every alert that was firing when the server stopped. */
void hk_rules_firing(
    const struct hk_rules *rules, void (*visit)(void *self, const struct hk_alert_event *event),
    void *self);

/* Stops the worker and frees everything; no events. */
void hk_rules_destroy(struct hk_rules *rules);

/* A series was created. */
void hk_rules_series(struct hk_rules *rules, uint32_t ref, struct hk_labels labels);

/* The series is retired: its ref may come again for another one. Its alerts resolve. */
void hk_rules_forget(struct hk_rules *rules, uint32_t ref);

/* Longest window of the rules that are judged on arrival, ms: a series that has been idle for less
 * must not be forgotten. */
int64_t hk_rules_window_ms(const struct hk_rules *rules);

/* Per ref: 1 where hk_rules_sample() wants the samples; valid until the next call that binds. */
const uint8_t *hk_rules_bound(const struct hk_rules *rules, uint32_t *out_count);

/* A commit begins at wall clock `now_ms`: samples stamped later wait for their time. */
void hk_rules_begin(struct hk_rules *rules, int64_t now_ms);

/* A sample of a bound series arrived. */
void hk_rules_sample(struct hk_rules *rules, uint32_t ref, int64_t stamp_ms, double value);

/* End of a commit at wall clock `now_ms`: decides what its samples changed. */
void hk_rules_commit(struct hk_rules *rules, int64_t now_ms);

/* Serves timers that are due. */
void hk_rules_tick(struct hk_rules *rules, int64_t now_ms);

/* Restart: a record that `save` gave before the stop. Between create and start. */
void hk_rules_recall(struct hk_rules *rules, struct hk_str record);

/*
 * Reload: takes over the alerts of `old`, a set that judged until now, rule by rule: those with the
 * same group, name and labels (Prometheus: Group.CopyState). They wait for start as after a
 * restart; what is left in `old` belongs to rules that are gone, and the series that those wrote
 * get stale markers. Between create and start, on the shard's thread. HK_E_NOMEM: nothing was done.
 */
hk_err hk_rules_adopt(struct hk_rules *rules, struct hk_rules *old, int64_t now_ms) HK_MUST_CHECK;

/* Ends the worker of a set that was replaced and waits for it; what it posted before is still
 * valid until destroy. Any thread, after the last call on the shard's. */
void hk_rules_stop(struct hk_rules *rules);

/* Calls `save` for the state of every alert (complete snapshot). */
void hk_rules_save_all(struct hk_rules *rules);

/* Appends the `data` of /api/v1/rules and /api/v1/alerts. On the shard's thread. */
void hk_rules_json(struct hk_rules *rules, struct hk_buf *out);
void hk_rules_alerts_json(struct hk_rules *rules, struct hk_buf *out);

struct hk_rules_stats {
    uint32_t rules, on_arrival, on_tick, members, groups;
    uint64_t samples, evaluations, transitions, confirmations, late, tick_runs, tick_failures;
    uint64_t memory_failures; /* what a lack of memory has put off */
};
void hk_rules_get_stats(const struct hk_rules *rules, struct hk_rules_stats *out);

#endif
