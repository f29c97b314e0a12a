/*
 * Write-ahead log of one shard (docs/formats/wal.md): groups of sample records in segment files.
 *
 * One log thread per shard writes and syncs; the shard hands it one set of spans at a time and
 * gathers the next meanwhile (group commit). A group is durable when `durable` is called.
 * Invariants: (1) group numbers grow by one; (2) registrations of every ref in a group are synced
 * before the group is written; (3) a segment is removed only when all its groups are released;
 * (4) after a failed write or sync the segment is abandoned and the same groups go to a new one.
 */
#ifndef HK_STORE_WAL_H
#define HK_STORE_WAL_H

#include "base/buf.h"
#include "store/directory.h"

/* One sample: 16 bytes, in memory and on disk. */
struct hk_record {
    uint32_t ref;     /* or HK_RECORD_FAR */
    int32_t delta_ms; /* stamp minus the slab's base */
    double value;
};

/* The next record's stamp is the int64 whose bits are in `value` (its own delta is ignored). */
#define HK_RECORD_FAR UINT32_MAX

/* Kinds of side records: u8 kind, u32 ref, i64 stamp, u32 bytes, then the bytes. */
enum hk_side_kind {
    HK_SIDE_HISTOGRAM = 1,
    HK_SIDE_EXEMPLAR = 2,
    HK_SIDE_LEDGER = 3,
    HK_SIDE_ALERTS = 4,
    HK_SIDE_META = 5,
};

enum { HK_SIDE_HEADER_BYTES = 17, HK_WAL_SPANS_MAX = 16 };

struct hk_wal_span {
    const struct hk_record *records; /* stay in place until durable */
    uint32_t count;
    int64_t base_ms;
};

struct hk_wal_commit {
    struct hk_wal_span spans[HK_WAL_SPANS_MAX];
    uint32_t span_count;
    struct hk_str side; /* side records, stay in place until durable */
    int64_t commit_ms;  /* wall clock of the newest request in it */
};

struct hk_wal;

struct hk_wal_options {
    const char *dir; /* exists already */
    uint32_t shard;
    uint32_t segment_bytes; /* default 64 MiB */
    struct hk_directory *directory;
    /* Log thread, may be NULL: the commit in hand is durable; before the next one can be handed
     * over, so that what belongs to this one can be told apart. `durable` follows. */
    void (*settled)(void *self);
    /* Log thread: groups up to `group` are durable, or (err < 0) the disk refuses: the commit is
     * kept and tried again, and this is called again when it succeeds. */
    void (*durable)(void *self, uint64_t group, hk_err err);
    void *self;
};

struct hk_wal_report {
    uint64_t groups, records, bytes_torn;
    uint32_t gaps;  /* damaged stretches that were skipped */
    char text[512]; /* names file and place of the first damage, or of the torn tail */
};

/* What recovery hands over, in order. Refs were checked against the directory's count. */
struct hk_wal_replay {
    void *self;
    hk_err (*group)(
        void *self, uint64_t number, const struct hk_wal_span *span, struct hk_str side,
        int64_t commit_ms);
};

/* Reads all segments, replays groups above `released`, starts the log thread. */
hk_err hk_wal_open(
    const struct hk_wal_options *options, uint64_t released, const struct hk_wal_replay *replay,
    struct hk_wal **out, struct hk_wal_report *out_report) HK_MUST_CHECK;

/* Shard: is no commit in flight? */
bool hk_wal_idle(const struct hk_wal *wal);

/* Shard: number that the first group of the next commit gets. */
uint64_t hk_wal_next(const struct hk_wal *wal);

/* Shard: hands over a commit (copied; its records and side bytes are borrowed until durable).
 * Only when idle. Returns the number that the last group of the commit gets. */
uint64_t hk_wal_submit(struct hk_wal *wal, const struct hk_wal_commit *commit);

/* Worker: groups up to `group` are no longer needed; whole segments are reused or removed. */
void hk_wal_release(struct hk_wal *wal, uint64_t group);

/* Bytes of all segments that are still needed. */
uint64_t hk_wal_bytes(const struct hk_wal *wal);

/* Number of syncs so far (each acked group was covered by one). */
uint64_t hk_wal_syncs(const struct hk_wal *wal);

/* Stops the thread after the commit in flight; a commit that the disk refuses is given up. */
void hk_wal_close(struct hk_wal *wal);

#endif
