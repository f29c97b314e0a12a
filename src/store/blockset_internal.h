/* What the files of the block set share. */
#ifndef HK_STORE_BLOCKSET_INTERNAL_H
#define HK_STORE_BLOCKSET_INTERNAL_H

#include "os/thread.h"
#include "store/block_internal.h"
#include "store/blockset.h"

enum {
    HK_BLOCKSET_PROBLEMS_MAX = 256,
    HK_BLOCKSET_INPUTS_MAX = 32, /* blocks of one compaction */
};

/* A snapshot with its count of holders. */
struct hk_blockset_list {
    struct hk_blockset_snapshot snapshot; /* first: handed out */
    _Atomic uint32_t refs;
    struct hk_block *blocks[];
};

struct hk_blockset {
    char *directory;
    struct hk_blockset_options options; /* limits under `lock` */
    _Atomic bool maintaining;           /* one compaction or retention at a time */

    struct hk_mutex lock; /* all below */
    struct hk_blockset_list *list;
    uint64_t next_id; /* of blocks, and orders */
    /* Orders given to blocks that are being committed: not visible yet. */
    uint64_t *committing;
    size_t committing_count, committing_capacity;
    /* Ids of replaced or retired blocks whose files could not be removed yet, and whether the last
     * removals are known durable. */
    uint64_t *doomed;
    size_t doomed_count, doomed_capacity;
    bool unsynced;
    char *problems[HK_BLOCKSET_PROBLEMS_MAX];
    uint32_t problem_count;
    struct hk_blockset_stats stats;
};

/* Notes this thread's error text as a problem of the set. */
void hk_blockset_note_problem(struct hk_blockset *set);

/* Path of the block's file with a suffix, in `out` of HK_BLOCK_PATH_BYTES_MAX bytes. */
void hk_blockset_path(const struct hk_blockset *set, uint64_t id, const char *suffix, char *out);

/* Swaps the snapshot for one without `remove` (may be NULL) and with `add` (may be NULL), whose
 * reference is taken on success. HK_E_NOMEM changes nothing. */
hk_err hk_blockset_swap(
    struct hk_blockset *set, struct hk_block *const *remove, uint32_t remove_count,
    struct hk_block *add) HK_MUST_CHECK;

/* Commits the writer and swaps `inputs` for the new block; on failure the file is removed and the
 * snapshot is as it was. `out_info` may be NULL. */
hk_err hk_blockset_commit(
    struct hk_blockset *set, struct hk_block_writer *writer, struct hk_block *const *inputs,
    uint32_t input_count, struct hk_block_info *out_info) HK_MUST_CHECK;

/* Removes the files of `ids`, or puts them on the list of the doomed; then syncs. A failure is a
 * problem of the set, not an error. */
void hk_blockset_remove_files(struct hk_blockset *set, const uint64_t *ids, uint32_t count);

/* Tries again what hk_blockset_remove_files could not do. False while something is left. */
bool hk_blockset_remove_doomed(struct hk_blockset *set);

/* Renames a damaged block's file to "….quarantined", counts it, takes it from the snapshot. */
void hk_blockset_quarantine(struct hk_blockset *set, struct hk_block *block);

/* Next id or order. */
uint64_t hk_blockset_next_id(struct hk_blockset *set);

/* Gives the order of a block that is about to be committed, and ends that state. In between no
 * merge passes the order by. */
hk_err hk_blockset_begin_commit(struct hk_blockset *set, uint64_t *out_order) HK_MUST_CHECK;
void hk_blockset_end_commit(struct hk_blockset *set, uint64_t order);

/* Blocks to merge, ascending by order; 0 = none is due. Borrowed from `snapshot`. */
uint32_t hk_blockset_plan(
    struct hk_blockset *set, const struct hk_blockset_snapshot *snapshot, int64_t now_ms,
    struct hk_block *out_inputs[HK_BLOCKSET_INPUTS_MAX], uint32_t *out_level);

/* ------------------------------------------------------------------ merging by time */

/* Samples in ascending time; the source of the higher index wins on equal stamps. */
struct hk_merge_source {
    const int64_t *stamps_ms;
    const double *values;          /* or */
    const struct hk_str *payloads; /* NULL for floats */
    uint32_t count, at;
};

/* The next run of samples that come from one source: [first, first + count) of source `source`;
 * `dropped` samples of the same stamps in other sources were passed over. False at the end of all
 * sources. A source with at == count is taken as ended: refill it before the call. */
struct hk_merge_run {
    uint32_t source, first, count, dropped;
};

bool hk_merge_next(struct hk_merge_source *sources, uint32_t count, struct hk_merge_run *out);

#endif
