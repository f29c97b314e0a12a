/*
 * Exemplars: the newest ones of all series in one ring, with the rules of Prometheus' exemplar
 * storage: at most 128 characters in the labels; per series in order of stamp, value, labels; one
 * that equals the newest of its series is a duplicate, one before it is out of order.
 *
 * An accepted one goes to the log as a side record (HK_SIDE_EXEMPLAR) and, before the log is
 * released, to the keep file "exemplars". When the ring is full or its bytes are used up, the
 * oldest arrivals go, counted. Series are told by their labels, not by ref.
 *
 * Any thread. The lock is held for a few microseconds at a time: readers go in turns and step
 * back when a shard waits.
 */
#ifndef HK_STORE_EXEMPLARS_H
#define HK_STORE_EXEMPLARS_H

#include "model/exemplar.h"
#include "store/keep.h"

struct hk_exemplars;
struct hk_store_shard;

enum { HK_EXEMPLARS_DEFAULT = 100000, HK_EXEMPLARS_MOST = 1 << 24 };

/* `count_max` exemplars at most, 0 = none are taken. HK_E_NOMEM. */
hk_err hk_exemplars_create(uint64_t count_max, uint64_t bytes_max, struct hk_exemplars **out)
    HK_MUST_CHECK;
void hk_exemplars_destroy(struct hk_exemplars *exemplars);

/*
 * Shard: takes an encoded exemplar of a series into the log's gathering commit and the ring.
 * `stamp_ms` counts when the payload says HK_EXEMPLAR_NO_STAMP. HK_OK: stored. HK_END: a duplicate,
 * nothing to do. HK_E_LIMIT: too long, or switched off. HK_E_EXISTS: out of order. HK_E_CORRUPT,
 * HK_E_NOMEM. All counted.
 */
hk_err hk_store_append_exemplar(
    struct hk_store_shard *shard, uint32_t ref, int64_t stamp_ms,
    struct hk_str payload) HK_MUST_CHECK;

/* At start: the same for a record of the log or the keep file. */
hk_err hk_exemplars_put(
    struct hk_exemplars *exemplars, struct hk_labels series, int64_t stamp_ms,
    struct hk_str payload) HK_MUST_CHECK;

struct hk_exemplar_series {
    struct hk_labels labels;
    struct hk_exemplar *items; /* in ascending order; `series` is not set */
    uint32_t count;
};

/* Exemplars within [from_ms, to_ms] of the series that one of the requests selects (only matchers
 * and `cancel` count), sorted by labels; all in the arena. HK_E_NOMEM, HK_E_CANCELED. */
hk_err hk_exemplars_select(
    struct hk_exemplars *exemplars, const struct hk_select *requests, uint32_t request_count,
    int64_t from_ms, int64_t to_ms, struct hk_arena *arena, struct hk_exemplar_series **out,
    uint32_t *out_count) HK_MUST_CHECK;

/* Writes the keep file if anything changed since it was written last. One thread at a time. */
hk_err hk_exemplars_save(struct hk_exemplars *exemplars, const char *dir) HK_MUST_CHECK;

/* Reads it at start. Damage is in the report. */
hk_err hk_exemplars_load(
    struct hk_exemplars *exemplars, const char *dir,
    struct hk_keep_report *out_report) HK_MUST_CHECK;

/* Reads one record of the keep file, for tests. `self` is a struct hk_exemplars_reader. */
struct hk_exemplars_reader {
    struct hk_exemplars *exemplars;
    struct hk_str *series; /* label bytes by number; NULL where they were damaged */
    size_t count, capacity;
};
hk_err hk_exemplars_take_record(void *self, struct hk_str record) HK_MUST_CHECK;
void hk_exemplars_reader_deinit(struct hk_exemplars_reader *reader);

struct hk_exemplars_stats {
    uint64_t stored;              /* since the start, the recovered ones included */
    uint64_t kept, series, bytes; /* at present */
    uint64_t duplicate, out_of_order, too_long, displaced, refused;
};

/* Snapshot. */
void hk_exemplars_get_stats(struct hk_exemplars *exemplars, struct hk_exemplars_stats *out);

#endif
