/*
 * Aggregator of StatsD timers and sets, which are single observations on the wire: each timer
 * series accumulates a native histogram, each set series counts distinct members per flush.
 *
 * A histogram starts at schema 3 (bucket bounds 9 % apart) and halves its resolution whenever a
 * side would need more than HK_STATSD_BUCKETS_MAX buckets. It is cumulative from the series'
 * creation (start_ms) until the series has been idle for `idle_ms` and is forgotten. A set is
 * exact up to HK_STATSD_SET_EXACT_MAX members, then a HyperLogLog of 4,096 registers (standard
 * error 1.6 %).
 *
 * Everything is bounded by `series_max` and `bytes_max`; what does not fit is refused with
 * HK_E_LIMIT, never dropped silently. One thread, the owner's.
 */
#ifndef HK_INGEST_STATSD_AGG_H
#define HK_INGEST_STATSD_AGG_H

#include "model/batch.h"

enum { HK_STATSD_BUCKETS_MAX = 160, HK_STATSD_SET_EXACT_MAX = 128 };

struct hk_statsd_agg;

struct hk_statsd_agg_options {
    uint32_t series_max; /* 0 = 10,000 */
    size_t bytes_max;    /* of all series together; 0 = 64 MiB */
    int64_t idle_ms;     /* a series without data for so long is forgotten; 0 = 1 h */
};

/* What an aggregator holds, for limits and self-monitoring. */
struct hk_statsd_agg_stats {
    uint32_t series_count;
    size_t bytes;
    uint64_t refused; /* observations refused because a limit was reached */
    uint64_t expired; /* series forgotten because they were idle */
};

/* Makes an empty aggregator; HK_E_NOMEM. Ended by hk_statsd_agg_destroy. */
hk_err hk_statsd_agg_create(const struct hk_statsd_agg_options *options, struct hk_statsd_agg **out)
    HK_MUST_CHECK;

/* NULL is fine. Entries of a flush must not be in use. */
void hk_statsd_agg_destroy(struct hk_statsd_agg *agg);

/* Adds an observation of `weight` (> 0, finite) to the timer series `key`; `value` must be finite.
 * HK_E_LIMIT, HK_E_NOMEM: the observation was refused and counted. */
hk_err hk_statsd_agg_timer(
    struct hk_statsd_agg *agg, struct hk_str key, double value, double weight,
    int64_t now_ms) HK_MUST_CHECK;

/* Adds a member to the set series `key`. Errors as above. */
hk_err hk_statsd_agg_set(
    struct hk_statsd_agg *agg, struct hk_str key, struct hk_str member,
    int64_t now_ms) HK_MUST_CHECK;

/*
 * Appends an entry, stamped `now_ms`, for each series that changed since its last flush: timers as
 * cumulative histograms, sets as gauges (and once as 0 when they fell silent). Forgets idle series.
 * HK_OK: done, the next call starts a new round. HK_FULL: drain the batch and call again with the
 * same `now_ms`. HK_E_NOMEM: the arena is full; drain, reset it, call again. Keys of the entries
 * are borrowed from the aggregator until it forgets the series: drain before the next round.
 */
hk_err hk_statsd_agg_flush(
    struct hk_statsd_agg *agg, struct hk_batch *batch, const struct hk_context *context,
    int64_t now_ms);

/* Current figures. */
struct hk_statsd_agg_stats hk_statsd_agg_stats(const struct hk_statsd_agg *agg);

#endif
