/*
 * Metadata of metrics: type, help and unit by metric name, as senders and targets say. Names that
 * several senders describe differently keep the newest HK_META_TEXTS_MAX descriptions.
 *
 * New descriptions go to the log as side records (HK_SIDE_META) and, before the log is released,
 * to the keep file "metadata". Bounded in names and bytes; what does not fit is counted.
 * Any thread; the lock is held for a few microseconds at a time.
 */
#ifndef HK_STORE_META_H
#define HK_STORE_META_H

#include "model/batch.h"
#include "model/source.h"
#include "store/keep.h"

struct hk_meta;
struct hk_store_shard;

enum {
    HK_META_NAMES_MAX = 1 << 17,
    HK_META_TEXTS_MAX = 4,          /* descriptions of one name */
    HK_META_NAME_BYTES_MAX = 4096,  /* of a metric name, a unit */
    HK_META_HELP_BYTES_MAX = 65000, /* of a help text */
};

/* HK_E_NOMEM. */
hk_err hk_meta_create(uint64_t bytes_max, struct hk_meta **out) HK_MUST_CHECK;
void hk_meta_destroy(struct hk_meta *meta);

/* Remembers a description (copied). HK_OK: it is new. HK_END: known already. HK_E_LIMIT: no room or
 * too long, counted. HK_E_NOMEM. */
hk_err hk_meta_put(struct hk_meta *meta, const struct hk_metric_meta *item) HK_MUST_CHECK;

/* Bytes of a description for log and file; the metric name is not empty and all texts are within
 * the limits above. */
void hk_meta_encode(const struct hk_metric_meta *item, struct hk_buf *out);

/* Reads them; strings borrow from `bytes`. HK_E_CORRUPT. */
hk_err hk_meta_decode(struct hk_str bytes, struct hk_metric_meta *out) HK_MUST_CHECK;

/* Shard: takes what a parser reported: into the log's gathering commit and here. */
void hk_store_take_metas(
    struct hk_store_shard *shard, const struct hk_batch_meta *items, uint32_t count);

/* What to list; limits below 0 (or, for `limit_per_metric`, 0) mean none. */
struct hk_meta_request {
    struct hk_str metric; /* empty: all */
    int64_t limit, limit_per_metric;
};

/* Descriptions sorted by metric name, those of one name oldest first; all in the arena. */
hk_err hk_meta_list(
    struct hk_meta *meta, const struct hk_meta_request *request, struct hk_arena *arena,
    struct hk_metric_meta **out, uint32_t *out_count) HK_MUST_CHECK;

/* Writes the keep file if anything changed since it was written last. */
hk_err hk_meta_save(struct hk_meta *meta, const char *dir) HK_MUST_CHECK;

/* Reads it at start. Damage is in the report. */
hk_err hk_meta_load(struct hk_meta *meta, const char *dir, struct hk_keep_report *out_report)
    HK_MUST_CHECK;

struct hk_meta_stats {
    uint64_t names, bytes;
    uint64_t replaced; /* descriptions that gave way to newer ones of their name */
    uint64_t left_out; /* descriptions that did not fit */
};

/* Snapshot. */
void hk_meta_get_stats(struct hk_meta *meta, struct hk_meta_stats *out);

#endif
