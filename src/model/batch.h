/*
 * A batch: what a receiver's parser hands to the ingest pass, at most HK_BATCH_ENTRIES_MAX entries
 * at a time so that they stay in cache. Entries borrow from the input, which outlives the batch.
 *
 * Identity is bytes, not labels: an entry carries its key (the label block as it stands on the
 * wire), a part number for points that yield several series, and a context (what surrounds the
 * point: target, or OTLP resource + scope + metric). Labels are built once per series, by the
 * parser's `labels` function, when (context, part, key) is seen for the first time.
 */
#ifndef HK_MODEL_BATCH_H
#define HK_MODEL_BATCH_H

#include "base/hash.h"
#include "model/labels.h"

enum { HK_BATCH_ENTRIES_MAX = 512 };

#define HK_REF_NONE UINT32_MAX

/* What surrounds a point. `data` is for the parser's `labels` function. */
struct hk_context {
    struct hk_hash128 hash; /* keyed hash of what `data` stands for, protocol included */
    const void *data;
};

enum hk_entry_kind {
    HK_ENTRY_SET,           /* value replaces: gauges, cumulative counters */
    HK_ENTRY_ADD,           /* value is added to the series' last value (delta counters, StatsD) */
    HK_ENTRY_HISTOGRAM,     /* `payload` is an encoded native histogram (model/histogram.h) */
    HK_ENTRY_EXEMPLAR,      /* `payload` is an encoded exemplar of the series (model/exemplar.h) */
    HK_ENTRY_HISTOGRAM_ADD, /* as HISTOGRAM, added to the series' last one (delta temporality) */
};

struct hk_entry {
    const void *key; /* identity bytes, borrowed */
    uint32_t key_bytes;
    uint32_t ref;  /* HK_REF_NONE until resolved; parsers with prediction may set it */
    uint64_t part; /* 0, or what tells series of one point apart (bucket bound bits, …) */
    const struct hk_context *context;
    int64_t stamp_ms;
    double value;
    int64_t start_ms; /* start stamp of a cumulative or delta point, 0 = unknown */
    const void *payload;
    uint32_t payload_bytes;
    uint8_t kind; /* enum hk_entry_kind */
};

/* Metadata of a metric family, borrowed. */
struct hk_batch_meta {
    struct hk_str metric, type, help, unit;
};

enum { HK_BATCH_META_MAX = 64 };

struct hk_batch {
    uint32_t count;
    uint32_t meta_count;
    uint64_t points;        /* points on the wire that the entries of this batch stand for */
    uint64_t rejected;      /* points on the wire skipped as malformed since the last drain */
    struct hk_arena *arena; /* of the request: contexts, payloads, unescaped strings */
    char reject_text[256];  /* why the first of the rejected points was refused */
    struct hk_entry entries[HK_BATCH_ENTRIES_MAX];
    struct hk_batch_meta metas[HK_BATCH_META_MAX];
};

/* Empties it for the next turn; keeps the arena. */
static inline void hk_batch_clear(struct hk_batch *batch) {
    batch->count = 0;
    batch->meta_count = 0;
    batch->points = 0;
    batch->rejected = 0;
    batch->reject_text[0] = 0;
}

/*
 * A metric parser: resumable, pure. `state` is the parser's own, set up by its init function.
 * HK_OK: input consumed. HK_FULL: the batch is full, drain it and call again. HK_E_MALFORMED: the
 * input is broken from here on (entries already in the batch are valid). A bad record among good
 * ones is skipped and counted in `rejected`.
 */
struct hk_metric_parser {
    const char *name;
    hk_err (*parse)(void *state, struct hk_batch *batch);
    /* Labels of an entry for the series' creation: adds to `out` (not finished); strings may live
     * in `batch->arena`. HK_E_MALFORMED with a text when the key is not a valid label block. */
    hk_err (*labels)(
        void *state, struct hk_batch *batch, const struct hk_entry *entry,
        struct hk_label_set *out);
};

#endif
