/*
 * Latency per hop, from the moment a request was readable: decided (rules saw it), durable (synced
 * and acknowledged), acted (notification written). Native histograms as Prometheus has them, in
 * seconds, of schema 4: 16 buckets an octave (relative error at most 4.4 %), written by shards with
 * relaxed adds, read by any thread. And how long the turns of the shards' loops are: nothing is
 * served while one lasts.
 */
#ifndef HK_STREAM_LAG_H
#define HK_STREAM_LAG_H

#include "base/buf.h"

#include <stdatomic.h>

enum hk_hop { HK_HOP_DECIDED, HK_HOP_VISIBLE, HK_HOP_DURABLE, HK_HOP_ACTED, HK_HOPS };

enum { HK_LAG_BUCKETS = 16 * 48, HK_LAG_SCHEMA = 4 };

/* What a turn of a shard's loop is spent on; a turn that does several things counts as the last. */
enum hk_turn {
    HK_TURN_OTHER,
    HK_TURN_SOCKET,   /* accepting, reading, framing, writing */
    HK_TURN_LOG,      /* handing the gathered commit to the log */
    HK_TURN_ANSWER,   /* answers of durable commits */
    HK_TURN_DOCUMENT, /* answers of the API that are made on the shard */
    HK_TURN_TICK,     /* rules' and groups' timers */
    HK_TURN_PARSE,    /* a part of a body: parse, identity, new series */
    HK_TURN_DECODE,   /* inflating a body */
    HK_TURN_DATAGRAM,
    HK_TURN_SCRAPE,
    HK_TURN_COMMIT,  /* append, rules and notifications of a body that took several turns */
    HK_TURN_REQUEST, /* a request that is taken within one turn */
    HK_TURNS
};

struct hk_lag_histogram {
    _Atomic uint64_t buckets[HK_LAG_BUCKETS];
    _Atomic uint64_t count, sum_ns, max_ns;
};

struct hk_lag {
    struct hk_lag_histogram hops[HK_HOPS];
    struct hk_lag_histogram turns[HK_TURNS];
};

/* Counts one observation. */
void hk_lag_add(struct hk_lag *lag, enum hk_hop hop, int64_t ns);

/* Counts a turn of a shard's loop. */
void hk_lag_turn(struct hk_lag *lag, enum hk_turn turn, int64_t ns);

/* Upper bound of the quantile `q` in ns; 0 when nothing was observed. */
int64_t hk_lag_quantile(const struct hk_lag *lag, enum hk_hop hop, double q);

/* {"hops":[{"hop":"decided","count":…,"p50_ns":…,"p90_ns":…,"p99_ns":…,"p999_ns":…,"max_ns":…,
 * "mean_ns":…}],"turns":[{"turn":"socket",…}]} */
void hk_lag_json(const struct hk_lag *lag, struct hk_buf *out);

/* Prometheus text: classic histograms hark_hop_seconds{hop="…"} and hark_turn_seconds{turn="…"}
 * with a bound per two octaves. */
void hk_lag_text(const struct hk_lag *lag, struct hk_buf *out);

/* The same as MetricFamilies of io.prometheus.client with their lengths before them: native
 * histograms with the classic bounds beside them. `start_ms`: when counting began. */
void hk_lag_proto(const struct hk_lag *lag, int64_t start_ms, struct hk_buf *out);

#endif
