/*
 * Metric store: shards append to their slab (which is also the log's payload), a log thread makes
 * commits durable, a worker folds closed slabs into packed tails and flushes tails into blocks,
 * queries read slabs, tails and blocks together (docs/formats/, decisions D1, D2, D14, D15).
 *
 * Threads: hk_store_shard functions belong to the shard's thread and never wait for a lock held
 * over I/O; hk_store_work belongs to one worker thread; hk_store_source may be used by any thread.
 *
 * Visibility: a reader copies the list of slabs first, then looks at tails, then at blocks. A
 * sample moves only slab → tail → block, and leaves a place only after it is in the next, so a
 * reader sees it at least once; equal stamps are merged, the later place in arrival order wins.
 */
#ifndef HK_STORE_STORE_H
#define HK_STORE_STORE_H

#include "model/source.h"
#include "store/blockset.h"
#include "store/directory.h"
#include "store/exemplars.h"
#include "store/ident.h"
#include "store/meta.h"
#include "store/wal.h"

struct hk_store;
struct hk_store_shard;

enum { HK_STORE_SHARDS_MAX = 16, HK_SLAB_RECORDS = 1 << 18 };

struct hk_store_options {
    const char *dir;      /* data directory, made if missing; locked while open */
    int64_t lock_wait_ms; /* for a server that is just ending; 0 = do not wait */
    uint32_t shards;
    uint64_t memory_max;      /* budget of the store's arrays, bytes */
    uint64_t wal_bytes_max;   /* flush to blocks when the log is half as large; 0 = 512 MiB */
    int64_t retention_ms;     /* 0 = no age limit */
    uint64_t retention_bytes; /* of blocks; 0 = no limit */
    /* Series without samples for so long are retired when their samples are in blocks; 0 = never.
     * Both calls come from the worker, for one batch at a time; the shard answers on its thread.
     * `sweep`: give up every form and ref of a series for which hk_directory_is_leaving, then call
     * hk_store_swept. `forget`: these refs are dead: give up all state of them, then call
     * hk_store_forgot; `refs` stay in place until then. */
    int64_t series_idle_ms;
    uint32_t dead_min; /* see directory.h; 0 = default */
    void (*sweep)(void *self, uint32_t shard);
    void (*forget)(void *self, uint32_t shard, const uint32_t *refs, uint32_t count);
    int64_t exemplars_max; /* kept; 0 = HK_EXEMPLARS_DEFAULT, negative = none */
    /* Log thread of `shard`: commits up to the submitted one are durable, or the disk refuses. */
    void (*durable)(void *self, uint32_t shard, hk_err err);
    /* At open, in order: side records of other modules (ledger, alerts) found in the log. */
    void (*side)(
        void *self, uint32_t shard, enum hk_side_kind kind, uint32_t ref, int64_t stamp_ms,
        struct hk_str bytes);
    /* May be NULL. On the worker (and at open), between parts of its work of some tens of
     * microseconds, holding no lock: may sleep. */
    void (*breathe)(void *self);
    void *self;
};

struct hk_store_report {
    struct hk_directory_report directory;
    struct hk_wal_report wal; /* added over the shards, text of the first */
    uint64_t took_ns;
    int64_t last_commit_ms;                    /* wall clock of the newest commit found, 0 = none */
    struct hk_keep_report metadata, exemplars; /* of their keep files */
};

/* Opens or makes the data directory and recovers. HK_E_BUSY when another process has it. */
hk_err hk_store_open(
    const struct hk_store_options *options, struct hk_store **out,
    struct hk_store_report *out_report) HK_MUST_CHECK;

/* Shards and readers have stopped. Waits for the commit in flight. */
void hk_store_close(struct hk_store *store);

struct hk_directory *hk_store_directory(struct hk_store *store);
struct hk_blockset *hk_store_blocks(struct hk_store *store);
struct hk_meta *hk_store_meta(struct hk_store *store);
struct hk_exemplars *hk_store_exemplars(struct hk_store *store);
struct hk_store_shard *hk_store_get_shard(struct hk_store *store, uint32_t index);

/* The interface that queries read from. */
struct hk_source hk_store_source(struct hk_store *store);

/* ------------------------------------------------------------------ a shard's own thread */

/* Is there room to take another request (sealing keeps up, memory within budget)? */
bool hk_store_has_room(const struct hk_store_shard *shard);

/* Appends a sample: visible after hk_store_publish. HK_E_NOMEM, HK_E_LIMIT when no slab is free. */
hk_err hk_store_append(struct hk_store_shard *shard, uint32_t ref, int64_t stamp_ms, double value)
    HK_MUST_CHECK;

/* Appends a side record; histograms become visible to queries, the other kinds are only logged (for
 * exemplars and metadata use the functions of their headers). `bytes` are copied. */
hk_err hk_store_append_side(
    struct hk_store_shard *shard, enum hk_side_kind kind, uint32_t ref, int64_t stamp_ms,
    struct hk_str bytes) HK_MUST_CHECK;

/* The side records appended since the last publish are a complete snapshot of the other modules'
 * state (ledger, alerts): once they are durable, older groups are no longer needed for it. */
void hk_store_state_mark(struct hk_store_shard *shard);

/* Answers to the callbacks of retirement: no form leads to a leaving series; all is forgotten. */
void hk_store_swept(struct hk_store_shard *shard);
void hk_store_forgot(struct hk_store_shard *shard);

/* Makes everything appended so far visible and part of the commit that gathers; returns that
 * commit's number. */
uint64_t hk_store_publish(struct hk_store_shard *shard);

/* Hands the gathered commit to the log thread when it is idle. Call at the end of a loop round and
 * when told of a durable commit. */
void hk_store_kick(struct hk_store_shard *shard, int64_t now_ms);

/* Is no commit of the shard in flight? */
bool hk_store_idle(const struct hk_store_shard *shard);

/* Number of the newest durable commit. */
uint64_t hk_store_durable(const struct hk_store_shard *shard);

/* Is there anything that was published and is not durable? */
bool hk_store_pending(const struct hk_store_shard *shard);

/* Newest value and stamp of a series as far as memory has it (tail); HK_E_NOT_FOUND. May wait a
 * fraction of a millisecond for the folding worker: for rare use only. */
hk_err hk_store_last(struct hk_store *store, uint32_t ref, int64_t *out_stamp_ms, double *out_value)
    HK_MUST_CHECK;

/* Newest histogram of a series likewise, its bytes in `arena`. */
hk_err hk_store_last_histogram(
    struct hk_store *store, uint32_t ref, struct hk_arena *arena, int64_t *out_stamp_ms,
    struct hk_str *out_bytes) HK_MUST_CHECK;

/* ------------------------------------------------------------------ the worker */

/* Does the folding, flushing, indexing, compaction and retention that are due. HK_MORE: there is
 * more to do at once. Failures are returned once and tried again at a later call. */
hk_err hk_store_work(struct hk_store *store, int64_t now_ms) HK_MUST_CHECK;

/* Sets how long a series may be idle; 0 = for ever. Any thread. */
void hk_store_set_idle(struct hk_store *store, int64_t series_idle_ms);

/* Folds and flushes everything now (tests, snapshots). */
hk_err hk_store_flush(struct hk_store *store, int64_t now_ms) HK_MUST_CHECK;

struct hk_store_stats {
    uint64_t series, head_samples, head_bytes, slabs_used, slabs_max, wal_bytes, wal_syncs;
    uint64_t overwritten, out_of_order, flushes, flush_failures, folded;
    uint64_t directory_bytes, memory_max;
    uint64_t retired; /* series, since the start */
};

/* Relaxed snapshot, any thread. */
void hk_store_get_stats(struct hk_store *store, struct hk_store_stats *out);

#endif
