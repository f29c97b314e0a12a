/*
 * The ledger: for every receiver and signal, what was received, stored and dropped (by reason), in
 * points or records as they stood on the wire: received = stored + dropped + in flight.
 *
 * A shard counts for itself; any thread may read. `stored` follows durability: what a shard
 * appended is in flight until its log commit is durable. The totals travel inside the log, so that
 * a restart resumes at the last durable commit (decisions D19).
 */
#ifndef HK_STREAM_LEDGER_H
#define HK_STREAM_LEDGER_H

#include "base/buf.h"

#include <stdatomic.h>

/* Receivers: HK_RECEIVER(id, configuration and metric name, signal). */
#define HK_LEDGER_RECEIVERS(HK_RECEIVER)                                                           \
    HK_RECEIVER(REMOTE_WRITE, "remote_write", "metrics")                                           \
    HK_RECEIVER(OTLP_GRPC, "otlp_grpc", "metrics")                                                 \
    HK_RECEIVER(OTLP_HTTP, "otlp_http", "metrics")                                                 \
    HK_RECEIVER(SCRAPE, "scrape", "metrics")                                                       \
    HK_RECEIVER(HOST, "host", "metrics")                                                           \
    HK_RECEIVER(STATSD, "statsd", "metrics")                                                       \
    HK_RECEIVER(INFLUX, "influx", "metrics")                                                       \
    HK_RECEIVER(PUSHGATEWAY, "pushgateway", "metrics")                                             \
    HK_RECEIVER(RULES, "rules", "metrics")

/* Reasons for a drop: HK_REASON(id, name). Numbers are never reused (they are in the log). */
#define HK_LEDGER_REASONS(HK_REASON)                                                               \
    HK_REASON(MALFORMED, "malformed")                                                              \
    HK_REASON(INVALID_LABELS, "invalid_labels")                                                    \
    HK_REASON(RELABEL, "relabel")                                                                  \
    HK_REASON(MEMORY, "memory_limit")                                                              \
    HK_REASON(DUPLICATE, "duplicate_delta")                                                        \
    HK_REASON(SCRAPE_LIMIT, "scrape_limit")                                                        \
    HK_REASON(UNSUPPORTED, "unsupported")

#define HK_RECEIVER(id, name, signal) HK_RECEIVER_##id,
enum hk_ledger_receiver { HK_LEDGER_RECEIVERS(HK_RECEIVER) HK_LEDGER_RECEIVER_COUNT };
#undef HK_RECEIVER
#define HK_REASON(id, name) HK_DROP_##id,
enum hk_ledger_reason { HK_LEDGER_REASONS(HK_REASON) HK_LEDGER_REASON_COUNT };
#undef HK_REASON

struct hk_ledger_account {
    _Atomic uint64_t received;
    _Atomic uint64_t appended; /* in the log's buffer, durable or not */
    _Atomic uint64_t stored;   /* durable */
    _Atomic uint64_t dropped[HK_LEDGER_REASON_COUNT];
    uint64_t submitted; /* `appended` when the commit in flight was handed over; shard only */
};

struct hk_ledger {
    struct hk_ledger_account accounts[HK_LEDGER_RECEIVER_COUNT];
};

/* The counting shard: received points become appended or dropped within the same turn. */
void hk_ledger_received(struct hk_ledger *ledger, enum hk_ledger_receiver receiver, uint64_t n);
void hk_ledger_appended(struct hk_ledger *ledger, enum hk_ledger_receiver receiver, uint64_t n);
void hk_ledger_dropped(
    struct hk_ledger *ledger, enum hk_ledger_receiver receiver, enum hk_ledger_reason reason,
    uint64_t n);

/* Shard: a commit with everything appended so far goes to the log; its totals are appended to
 * `out`, as they will be when it is durable. */
void hk_ledger_submit(struct hk_ledger *ledger, struct hk_buf *out);

/* Shard: the commit in flight is durable. */
void hk_ledger_durable(struct hk_ledger *ledger);

/* At start: takes the totals of a log record; the last one counts. HK_E_CORRUPT. */
hk_err hk_ledger_restore(struct hk_ledger *ledger, struct hk_str record);

/* Any thread: {"accounts":[…]} over `count` shards' ledgers. */
void hk_ledger_json(const struct hk_ledger *const *ledgers, uint32_t count, struct hk_buf *out);

/* Any thread: the same as Prometheus text (hark_ledger_points_total{…}). */
void hk_ledger_text(const struct hk_ledger *const *ledgers, uint32_t count, struct hk_buf *out);

#endif
