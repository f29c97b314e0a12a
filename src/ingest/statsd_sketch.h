/*
 * Sketches of the StatsD aggregator: an exponential histogram that lowers its resolution to stay
 * small, and a distinct count that is exact while small and a HyperLogLog beyond. Memory of all
 * sketches of an aggregator is charged to one budget. One thread, the owner's.
 */
#ifndef HK_INGEST_STATSD_SKETCH_H
#define HK_INGEST_STATSD_SKETCH_H

#include "base/arena.h"

/* Bytes in use against a limit. */
struct hk_sketch_budget {
    size_t bytes, bytes_max;
};

/* Takes `bytes`; HK_E_LIMIT when that would pass the limit. */
hk_err hk_sketch_charge(struct hk_sketch_budget *budget, size_t bytes) HK_MUST_CHECK;

/* Gives them back. */
void hk_sketch_release(struct hk_sketch_budget *budget, size_t bytes);

/* A window of buckets: counts[i] belongs to bucket first + i. */
struct hk_sketch_side {
    double *counts;
    int32_t first;
    uint32_t count, capacity;
};

struct hk_sketch_histogram {
    int32_t schema;
    double zero_count, sum;
    struct hk_sketch_side positive, negative;
};

/* Empty, at the finest schema. */
void hk_sketch_histogram_init(struct hk_sketch_histogram *histogram);

/* Frees its buckets. */
void hk_sketch_histogram_deinit(
    struct hk_sketch_histogram *histogram, struct hk_sketch_budget *budget);

/* Adds `weight` observations of the finite `value`. HK_E_LIMIT, HK_E_NOMEM: nothing was added. */
hk_err hk_sketch_histogram_add(
    struct hk_sketch_histogram *histogram, double value, double weight,
    struct hk_sketch_budget *budget) HK_MUST_CHECK;

/* Its bytes (model/histogram.h), in `arena`. HK_E_NOMEM. */
hk_err hk_sketch_histogram_encode(
    const struct hk_sketch_histogram *histogram, struct hk_arena *arena,
    struct hk_str *out) HK_MUST_CHECK;

struct hk_sketch_set {
    uint64_t *hashes;   /* distinct, `count` of `capacity`, while not estimating */
    uint8_t *registers; /* of the HyperLogLog, NULL until first needed */
    uint32_t count, capacity;
    bool estimating; /* the registers hold the members */
};

/* Frees its memory. */
void hk_sketch_set_deinit(struct hk_sketch_set *set, struct hk_sketch_budget *budget);

/* Adds the member with that 64-bit hash. HK_E_LIMIT, HK_E_NOMEM: it was not added. */
hk_err hk_sketch_set_add(struct hk_sketch_set *set, uint64_t hash, struct hk_sketch_budget *budget)
    HK_MUST_CHECK;

/* Number of distinct members, a whole number; exact for few, else estimated. */
double hk_sketch_set_count(const struct hk_sketch_set *set);

/* Empties it, keeps the memory. */
void hk_sketch_set_clear(struct hk_sketch_set *set);

#endif
