/*
 * Latency per hop, from the moment a request was readable: decided (rules saw it), durable (synced
 * and acknowledged), acted (notification written). Native histograms as Prometheus has them, in
 * seconds, of schema 4: 16 buckets an octave (relative error at most 4.4 %), written by shards with
 * relaxed adds, read by any thread.
 */
#ifndef HK_STREAM_LAG_H
#define HK_STREAM_LAG_H

#include "base/buf.h"

#include <stdatomic.h>

enum hk_hop { HK_HOP_DECIDED, HK_HOP_VISIBLE, HK_HOP_DURABLE, HK_HOP_ACTED, HK_HOPS };

enum { HK_LAG_BUCKETS = 16 * 48, HK_LAG_SCHEMA = 4 };

struct hk_lag {
    struct hk_lag_hop {
        _Atomic uint64_t buckets[HK_LAG_BUCKETS];
        _Atomic uint64_t count, sum_ns;
    } hops[HK_HOPS];
};

/* Counts one observation. */
void hk_lag_add(struct hk_lag *lag, enum hk_hop hop, int64_t ns);

/* Upper bound of the quantile `q` in ns; 0 when nothing was observed. */
int64_t hk_lag_quantile(const struct hk_lag *lag, enum hk_hop hop, double q);

/* {"hops":[{"hop":"decided","count":…,"p50_ns":…,"p90_ns":…,"p99_ns":…,"p999_ns":…,
 * "mean_ns":…}]} */
void hk_lag_json(const struct hk_lag *lag, struct hk_buf *out);

/* Prometheus text: a classic histogram hark_hop_seconds{hop="…"} with a bound per two octaves. */
void hk_lag_text(const struct hk_lag *lag, struct hk_buf *out);

/* The same as a MetricFamily of io.prometheus.client with its length before it: a native histogram
 * with the classic bounds beside it. `start_ms`: when counting began. */
void hk_lag_proto(const struct hk_lag *lag, int64_t start_ms, struct hk_buf *out);

#endif
