/* What both versions of Remote Write share. */
#ifndef HK_INGEST_REMOTE_WRITE_INTERNAL_H
#define HK_INGEST_REMOTE_WRITE_INTERNAL_H

#include "ingest/reject.h"
#include "ingest/remote_write.h"

/* Next free entry, filled with the series' identity and kind; NULL when the batch is full. The
 * caller counts it with batch->count++ once it is complete. */
static inline struct hk_entry *hk_rw_entry(
    struct hk_batch *batch, const struct hk_rw_series *series, const struct hk_context *context,
    enum hk_entry_kind kind) {
    if (batch->count == HK_BATCH_ENTRIES_MAX) return NULL;
    struct hk_entry *entry = &batch->entries[batch->count];
    *entry = (struct hk_entry){
        .key = series->key,
        .key_bytes = series->key_bytes,
        .ref = series->ref,
        .context = context,
        .kind = (uint8_t)kind,
    };
    return entry;
}

/* Text of a metric type as both versions number them ("unknown", "counter", …). */
struct hk_str hk_rw_type_text(uint64_t type);

/* The label set of an exemplar: pairs of strings, from the version's own walker. */
typedef hk_err
hk_rw_exemplar_label(void *self, const struct hk_proto_field *field, struct hk_label_set *out);

/* {2: value, 3: stamp}, and through `label` the fields with tag HK_PROTO_BYTES 1 (and, in 2.0,
 * unpacked varints): entry with the exemplar. HK_OK also when it was refused and counted. */
hk_err hk_rw_put_exemplar(
    struct hk_batch *batch, struct hk_entry *entry, struct hk_str message,
    hk_rw_exemplar_label *label, void *self, struct hk_rw_counts *counts) HK_MUST_CHECK;

/* prometheus.Histogram of either version into the entry; refused ones are counted in the batch. */
hk_err hk_rw_put_histogram(
    struct hk_batch *batch, struct hk_entry *entry, struct hk_str message,
    struct hk_rw_counts *counts) HK_MUST_CHECK;

/* A series is walked in one turn: HK_E_LIMIT with a text when it is over HK_RW_SERIES_BYTES_MAX. */
hk_err hk_rw_check_size(struct hk_proto series) HK_MUST_CHECK;

/* Stores "remote write: … at byte N" and returns HK_E_MALFORMED. */
hk_err hk_rw_malformed(const uint8_t *start, const uint8_t *at);

#endif
