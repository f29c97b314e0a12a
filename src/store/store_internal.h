/* Shared by store.c (open, close), head.c (shard side), fold.c (worker) and read.c (queries). */
#ifndef HK_STORE_STORE_INTERNAL_H
#define HK_STORE_STORE_INTERNAL_H

#include "os/thread.h"
#include "store/grow.h"
#include "store/store.h"
#include "store/tail.h"

enum { HK_SLAB_SIDES = 1 << 16, HK_SLABS_MAX = 48, HK_SLAB_AGE_MS = 20000 };

struct hk_side_item {
    const uint8_t *data;
    int64_t stamp_ms;
    uint32_t ref, bytes;
    uint8_t kind;
};

struct hk_slab_bytes {
    struct hk_slab_bytes *next;
    size_t used, bytes;
    uint8_t data[];
};

struct hk_slab {
    struct hk_record *records;
    struct hk_side_item *sides; /* NULL until the first side record */
    struct hk_slab_bytes *bytes;
    _Atomic uint32_t count, side_count; /* published: release by the shard, acquire by readers */
    _Atomic uint32_t users;             /* readers */
    uint32_t used, side_used;           /* shard only */
    int64_t base_ms;
    int64_t opened_ms;    /* wall clock of the first sample, 0 = none yet */
    uint64_t last_commit; /* newest commit with data of this slab */
    uint64_t last_group;  /* its last group, set when submitted */
    uint64_t serial;      /* slabs of a shard are numbered from 1 */
    struct hk_slab *next;
};

struct hk_store_shard {
    struct hk_store *store;
    uint32_t index;
    struct hk_wal *wal;
    struct hk_slab *open;
    /* What gathers: spans of slabs since the last submit, and side bytes. */
    struct hk_slab *gather_slab[HK_WAL_SPANS_MAX];
    uint32_t gather_from[HK_WAL_SPANS_MAX];
    uint32_t gather_count;
    struct hk_buf side[2]; /* [0] gathers, [1] is in flight */
    bool gather_dirty;
    uint64_t commit_next;              /* number of the commit that gathers */
    uint64_t submitted;                /* newest commit handed to the log */
    _Atomic uint64_t submitted_commit; /* same, for the log thread */
    _Atomic uint64_t durable_commit;
    /* The newest complete snapshot of other modules' state: its groups must stay in the log. */
    bool state_gathers;           /* it is in the commit that gathers */
    uint64_t state_submitted;     /* first group of the commit in flight that holds one, 0 = none */
    _Atomic uint64_t state_group; /* first group of the newest durable one, 0 = none needed */
    /* Closed slabs, oldest first; under slabs_lock. */
    struct hk_slab *closed_first, **closed_last;
    uint64_t folded_group;          /* worker: all groups up to it are in tails or blocks */
    uint64_t folded_serial;         /* worker: the newest slab that was folded */
    uint64_t swept_serial;          /* newest slab that may name series of the batch */
    struct hk_slab *published_open; /* copy of `open` under slabs_lock for readers */
};

/* Payload samples (histograms) of one series since its last block. */
struct hk_side_tail {
    struct hk_side_tail *next_ref; /* list of all, for the flush */
    uint32_t ref, count;
    size_t capacity;
    struct hk_side_entry {
        int64_t stamp_ms;
        uint8_t *data;
        uint32_t bytes;
        uint8_t kind;
    } * entries;
};

struct hk_late {
    int64_t stamp_ms;
    double value;
    uint32_t ref, number; /* order of arrival */
};

/* Retirement of idle series, one batch at a time (retire.c); worker only but for `waiting`. */
struct hk_retire {
    enum { HK_RETIRE_IDLE, HK_RETIRE_SWEEP, HK_RETIRE_SETTLE, HK_RETIRE_FORGET } phase;
    _Atomic uint32_t waiting; /* shards that have not answered yet */
    _Atomic int64_t idle_ms;  /* 0 = never */
    int64_t next_ms;          /* wall clock of the next look */
    struct hk_grow seen; /* by ref: wall clock in s (uint32_t) of its last flush, 0 = unknown */
    uint32_t *refs;      /* the batch */
    size_t count, capacity;
};

struct hk_store {
    struct hk_store_options options;
    struct hk_retire retire;
    bool marks_written; /* the newest flush is complete with its marks */
    char dir[3000];
    int lock_fd;
    struct hk_directory *directory;
    struct hk_blockset *blocks;
    struct hk_meta *meta;
    struct hk_exemplars *exemplars;
    struct hk_store_shard shards[HK_STORE_SHARDS_MAX];

    struct hk_mutex slabs_lock; /* lists of slabs, held for a few instructions */
    struct hk_slab *free_slabs, *limbo;
    _Atomic uint32_t slabs_used;
    uint32_t slabs_made;

    struct hk_rwlock tails_lock; /* write: worker while it changes tails; read: queries */
    struct hk_grow tails;        /* struct hk_tail by ref */
    struct hk_grow side_tails;   /* struct hk_side_tail * by ref */
    struct hk_side_tail *side_first;
    struct hk_late *late;
    size_t late_count, late_capacity;
    uint32_t tails_count; /* refs with a reserved tail */
    _Atomic uint64_t tail_bytes, tail_samples;
    uint64_t flush_epoch; /* changes whenever tails are forgotten; under tails_lock */
    struct hk_mutex works_lock;
    struct hk_block_work *works[16];
    uint32_t work_count;
    int64_t oldest_ms; /* wall clock when the oldest unflushed sample was folded, 0 = none */
    int64_t flush_retry_ms, maintain_ms;

    _Atomic uint64_t overwritten, out_of_order, flushes, flush_failures, folded;
};

/* Worker: folds one slab's records and sides. Holds the write lock in turns. */
hk_err hk_fold_slab(struct hk_store *store, const struct hk_slab *slab);

/* Folds records that do not come from a live slab (recovery). */
hk_err hk_fold_records(
    struct hk_store *store, const struct hk_record *records, uint32_t count, int64_t base_ms);
hk_err hk_fold_side(
    struct hk_store *store, enum hk_side_kind kind, uint32_t ref, int64_t stamp_ms,
    const uint8_t *data, uint32_t bytes);

/* Bitmap of the refs below tails_count that have samples outside of blocks and slabs. NULL: no
 * memory. */
uint64_t *hk_fold_used(struct hk_store *store);

/* Retirement: a series had samples in the flush at `now_ms`; one step of the batch. */
hk_err hk_retire_seen(struct hk_store *store, uint32_t ref, int64_t now_ms);
hk_err hk_retire_step(struct hk_store *store, int64_t now_ms);
void hk_retire_deinit(struct hk_store *store);

/* Writes all tails into one block and forgets them. */
hk_err hk_flush_tails(struct hk_store *store, int64_t now_ms);

/* Shard side. */
hk_err hk_shard_init(struct hk_store_shard *shard, struct hk_store *store, uint32_t index);
void hk_shard_deinit(struct hk_store_shard *shard);
void hk_slab_free(struct hk_slab *slab);

/* Takes the oldest closed slab of a shard whose data are durable, or NULL. */
struct hk_slab *hk_shard_take_closed(struct hk_store_shard *shard);

/* Gives a folded slab back (at once, or when its last reader is gone). */
void hk_slab_recycle(struct hk_store *store, struct hk_slab *slab);

/* Parses side records of a log group. False: malformed. */
bool hk_side_next(
    struct hk_str *rest, enum hk_side_kind *out_kind, uint32_t *out_ref, int64_t *out_stamp_ms,
    struct hk_str *out_bytes);

#endif
