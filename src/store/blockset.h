/*
 * The blocks of one directory: opened and checked at start, published and replaced atomically,
 * read through snapshots, merged and retired by a worker.
 *
 * Crash safety: a block appears by rename after its bytes are durable, and names the blocks it
 * replaces; at start replaced blocks are removed, so that a crash between publishing a merged
 * block and removing its inputs neither loses nor doubles a sample. Temporary files are removed,
 * files that are not sound are renamed to "<name>.quarantined" and reported.
 *
 * Threads: every function may be called from any worker thread; hk_blockset_compact_step and
 * hk_blockset_retain run one at a time (a second caller gets HK_E_BUSY). Never on a shard.
 */
#ifndef HK_STORE_BLOCKSET_H
#define HK_STORE_BLOCKSET_H

#include "store/block.h"

struct hk_blockset;

enum { HK_BLOCKSET_LEVELS_MAX = 4 };

struct hk_blockset_options {
    const char *directory;     /* made if missing */
    int64_t retention_ms;      /* age of the newest sample beyond which a block goes; 0 = keep */
    uint64_t bytes_max;        /* of all blocks and one compaction output; 0 = no limit */
    uint64_t output_bytes_max; /* inputs of one compaction together; 0 = 1 GiB */
    uint32_t fan_in;           /* blocks of a level that are merged without waiting; 0 = 8 */
    int64_t grace_ms;          /* a partition closes that long after its end; 0 = 30 min */
    /* Time partitions of the levels 1, 2, … in ms; the first 0 ends; all 0 = 2 h, 1 day, 8 days */
    int64_t partition_ms[HK_BLOCKSET_LEVELS_MAX];
};

/* Opens all blocks of the directory, which nobody else uses. Removes temporary and replaced files,
 * quarantines what is corrupt (see hk_blockset_problems) and goes on. HK_E_IO when the directory
 * cannot be used, HK_E_VERSION when a block needs a newer hark (nothing is changed then). */
hk_err
hk_blockset_open(const struct hk_blockset_options *options, struct hk_blockset **out) HK_MUST_CHECK;

/* Snapshots that are still held stay usable. NULL is fine. */
void hk_blockset_close(struct hk_blockset *set);

/* Sets retention and size limit (a configuration reload). */
void hk_blockset_limits(struct hk_blockset *set, int64_t retention_ms, uint64_t bytes_max);

/* What was found wrong since the start, oldest first; texts are stable until close. `index` counts
 * from 0; NULL beyond the last. At most 256 are kept, hk_blockset_stats counts all. */
const char *hk_blockset_problem(struct hk_blockset *set, uint32_t index);

struct hk_blockset_stats {
    uint64_t blocks, bytes, series, samples; /* now; series of different blocks are added */
    int64_t min_ms, max_ms;                  /* min > max when there is no sample */
    uint64_t problems;                       /* corrupt, unreadable or unremovable files */
    uint64_t quarantined;                    /* files renamed because corrupt */
    uint64_t compactions, compaction_failures, compacted_bytes_in, compacted_bytes_out;
    uint64_t overwritten; /* samples that a newer block replaced at merging */
    uint64_t retired_blocks, retired_bytes, retired_samples; /* by retention and size limit */
};

/* Copies the counters. */
void hk_blockset_stats(struct hk_blockset *set, struct hk_blockset_stats *out);

/* ------------------------------------------------------------------ publishing */

/* A writer of a new block with the next id; for the sealer. `note` as in the writer's options. */
hk_err hk_blockset_writer(
    struct hk_blockset *set, uint32_t tenant, struct hk_str note,
    struct hk_block_writer **out) HK_MUST_CHECK;

/* Commits and destroys the writer (also on failure) and adds the block: durable and visible to
 * later snapshots after HK_OK; `out_id` (may be NULL) is its id. */
hk_err hk_blockset_publish(
    struct hk_blockset *set, struct hk_block_writer *writer, uint64_t *out_id) HK_MUST_CHECK;

/* ------------------------------------------------------------------ reading */

/* An immutable list of blocks, by ascending order (the last wins). */
struct hk_blockset_snapshot {
    struct hk_block *const *blocks;
    uint32_t count;
};

/* The blocks of now. Give it back with hk_blockset_snapshot_unref; files of blocks that are
 * removed meanwhile stay readable. Cheap: a lock and a count. */
struct hk_blockset_snapshot *hk_blockset_snapshot(struct hk_blockset *set);
void hk_blockset_snapshot_unref(struct hk_blockset_snapshot *snapshot);

/* A series found in one or several blocks of a snapshot. */
struct hk_blockset_series {
    struct hk_labels labels;
    const uint32_t *places; /* pairs: index in the snapshot, number within the block */
    uint32_t place_count;   /* pairs */
};

/* Series of `tenant` in the blocks that overlap [from_ms, to_ms] and that all matchers accept,
 * sorted by hk_labels_cmp, without doubles, in `arena`. HK_E_LIMIT beyond `series_max` (0 = no
 * limit), HK_E_CANCELED. */
hk_err hk_blockset_select(
    const struct hk_blockset_snapshot *snapshot, struct hk_block_work *work, uint32_t tenant,
    const struct hk_matcher *matchers, uint32_t matcher_count, int64_t from_ms, int64_t to_ms,
    uint32_t series_max, const _Atomic bool *cancel, struct hk_arena *arena,
    struct hk_blockset_series **out_series, uint32_t *out_count) HK_MUST_CHECK;

/* Merged samples of a series: floats, histograms (`payloads[i].ptr` not NULL where the sample is a
 * histogram, the value is 0 then; `payloads` itself is NULL when all are floats). */
struct hk_blockset_samples {
    int64_t *stamps_ms;
    double *values;
    struct hk_str *payloads;
    uint32_t count;
};

/* Samples of a selected series in [from_ms, to_ms] from all its blocks, ascending, no stamp twice:
 * the block of the highest order wins. Everything in `arena`. */
hk_err hk_blockset_read(
    const struct hk_blockset_snapshot *snapshot, struct hk_block_work *work,
    const struct hk_blockset_series *series, int64_t from_ms, int64_t to_ms, struct hk_arena *arena,
    struct hk_blockset_samples *out) HK_MUST_CHECK;

/* The places of the series of `tenant` with exactly these labels; HK_OK with place_count 0 when no
 * block has it. `out->labels` is `labels`. */
hk_err hk_blockset_find(
    const struct hk_blockset_snapshot *snapshot, struct hk_block_work *work, uint32_t tenant,
    struct hk_labels labels, int64_t from_ms, int64_t to_ms, struct hk_arena *arena,
    struct hk_blockset_series *out) HK_MUST_CHECK;

/* ------------------------------------------------------------------ maintenance, on a worker */

/* Merges one group of blocks, if one is due at `now_ms` (wall clock), into one new block. HK_MORE:
 * done, call again; HK_OK: nothing to do; HK_E_CANCELED when `cancel` became true, HK_E_BUSY,
 * HK_E_NOSPACE when there is no room for the output. A corrupt input is quarantined. */
hk_err hk_blockset_compact_step(struct hk_blockset *set, int64_t now_ms, const _Atomic bool *cancel)
    HK_MUST_CHECK;

/* Removes blocks beyond retention, then the oldest ones until the rest and the next compaction's
 * output fit into bytes_max. */
hk_err hk_blockset_retain(struct hk_blockset *set, int64_t now_ms) HK_MUST_CHECK;

#endif
