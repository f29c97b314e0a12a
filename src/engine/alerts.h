/* Rules, alerts and notifications of a shard: what connects stream, alert, respond and net. */
#ifndef HK_ENGINE_ALERTS_H
#define HK_ENGINE_ALERTS_H

#include "conf/rules.h"
#include "respond/respond.h"
#include "stream/rules.h"

struct hk_engine;
struct hk_shard;

struct hk_alerts {
    struct hk_rule_set *set;
    struct hk_rules *rules;
    struct hk_respond *respond;
    struct hk_dispatch *dispatch;
    struct hk_transport transport;
    struct hk_arena arena; /* of the respond configuration */
    int64_t saved_ms;      /* last complete snapshot in the log */
    bool changed;          /* alerts or ledger changed since */
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

#endif
