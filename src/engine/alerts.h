/* Rules, alerts and notifications of a shard: what connects stream, alert, respond and net. */
#ifndef HK_ENGINE_ALERTS_H
#define HK_ENGINE_ALERTS_H

#include "conf/rules.h"
#include "respond/respond.h"
#include "stream/rules.h"

struct hk_engine;
struct hk_shard;

/* A rule set with what it borrows: what its rules call back until another one takes its place. */
struct hk_rules_home {
    struct hk_shard *shard;
    struct hk_rule_set *set;
    struct hk_rules *rules; /* NULL until it is opened */
    struct hk_labels external_labels;
    struct hk_arena arena;
    bool retired; /* its results are of no interest any more; shard's thread */
};

struct hk_alert_orphan;

struct hk_alerts {
    struct hk_rules_home *home;
    struct hk_rules *rules; /* of `home` */
    struct hk_respond *respond;
    struct hk_respond_plan *plan; /* the same as respond has, for comparison */
    struct hk_dispatch *dispatch;
    struct hk_transport transport;
    struct hk_alert_orphan *orphans; /* firing alerts whose rules are gone */
    int64_t orphans_next_ms;
    int64_t saved_ms;  /* last complete snapshot in the log */
    bool changed;      /* alerts or ledger changed since */
    bool rules_failed; /* the rules could not be started */
};

/* Loads the rule files and opens the outbox; no thread of the shard runs yet. */
hk_err hk_alerts_open(struct hk_shard *shard) HK_MUST_CHECK;
void hk_alerts_close(struct hk_shard *shard);

/* On the shard: a request or scrape is about to be taken. */
void hk_alerts_begin(struct hk_shard *shard, int64_t now_ms);

/* On the shard: samples arrived and were published; decides. */
void hk_alerts_commit(struct hk_shard *shard, int64_t now_ms);

/* On the shard, at least every 50 ms. */
void hk_alerts_tick(struct hk_shard *shard, int64_t now_ms);

/* Complete snapshot of the alerts into the log. */
void hk_alerts_save(struct hk_shard *shard);

/* --- reload ----------------------------------------------------------------------------------- */

/* What another configuration changes here; NULL parts stay as they are. */
struct hk_alerts_next {
    struct hk_rules_home *home;
    struct hk_respond_plan *plan, *reference; /* two of the same */
    struct hk_rules_home *old;                /* after the swap: to be ended */
    hk_err err;                               /* of the swap */
};

/* Any thread but the shard's, one at a time: checks and makes everything. What there is to say
 * about the rule files goes to `said`. HK_E_INVALID, HK_E_NOMEM: nothing is left to end. */
hk_err hk_alerts_prepare(
    struct hk_shard *shard, const struct hk_config *config, struct hk_buf *said,
    struct hk_alerts_next *out) HK_MUST_CHECK;

/* On the shard: takes over. Fails only for want of memory (`err`); what failed stays. */
void hk_alerts_swap(struct hk_shard *shard, struct hk_alerts_next *next);

/* As prepare, after the swap: stops what was replaced. Its memory may go once all tasks that were
 * posted to the shard before have run: hk_alerts_discard(). */
void hk_alerts_retire(struct hk_alerts_next *next);

/* Frees what was not taken and what was replaced. */
void hk_alerts_discard(struct hk_alerts_next *next);

/* On the shard: alerts of rules that are gone end when nobody has repeated them for long enough. */
void hk_alerts_end_orphans(struct hk_shard *shard, int64_t now_ms);
void hk_alerts_forget_orphans(struct hk_shard *shard);

/* --- between the files of this module --------------------------------------------------------- */

/* Reads the rule files into a home without rules; then makes the rules. */
hk_err hk_rules_home_load(
    struct hk_shard *shard, const struct hk_config *config, struct hk_buf *said,
    struct hk_rules_home **out) HK_MUST_CHECK;
hk_err hk_rules_home_open(struct hk_rules_home *home) HK_MUST_CHECK;
void hk_rules_home_destroy(struct hk_rules_home *home);

/* Starts the shard's present rules; a failure is logged and shown as a metric, the server goes on.
 */
void hk_alerts_start_rules(struct hk_shard *shard, int64_t down_from_ms, int64_t now_ms);

/* Tells the store how long a series may be idle: by the configuration and the rules' windows. */
void hk_alerts_apply_idle(struct hk_shard *shard);

/* `self` is the shard: the dispatcher learns of an alert that fires. */
void hk_alerts_restore(void *self, const struct hk_alert_event *event);

/* Receivers, route and Alertmanagers; everything is in `arena` or borrowed from both. */
hk_err hk_alerts_respond_config(
    const struct hk_engine *engine, const struct hk_config *config, struct hk_arena *arena,
    struct hk_respond_config *out) HK_MUST_CHECK;

#endif
