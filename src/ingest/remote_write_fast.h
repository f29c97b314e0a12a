/*
 * The hot path of Remote Write 1.0, in a header so that its user can have the predictor inlined:
 *
 *     err = hk_rw1_parse_with(rw, batch, my_predict, self);   (my_predict may be static inline)
 *
 * It takes series of the usual shape, labels first and then exactly one float sample, and leaves
 * the rest to the general walker. What makes it safe: (1) a series' end is checked against the
 * body's end once; (2) every hop over a label is checked against the series' end; (3) the sample
 * must fill the bytes between the last label and the series' end exactly.
 */
#ifndef HK_INGEST_REMOTE_WRITE_FAST_H
#define HK_INGEST_REMOTE_WRITE_FAST_H

#include "ingest/remote_write.h"

/* Walks on from where a turn stopped, or through one field that the fast path refused. Forwarded
 * outcomes as in hk_metric_parser.parse; HK_OK: go on. `ref` with `ref_bytes` is a guess for the
 * field's label block, HK_REF_NONE without one. Not for use outside this header. */
hk_err hk_rw1_walk_open(struct hk_rw1 *rw, struct hk_batch *batch) HK_MUST_CHECK;
hk_err hk_rw1_walk_field(
    struct hk_rw1 *rw, struct hk_batch *batch, uint32_t ref, uint32_t ref_bytes) HK_MUST_CHECK;

/* Stamp varint of six bytes (years 1971 to 2109) that ends at `end`; at least eight bytes are
 * readable before `end`. */
static inline bool hk_rw1_stamp(const uint8_t *end, int64_t *out) {
    uint64_t word = hk_proto_load64(end - 8) >> 16;
    if ((word & 0x808080808080) != 0x008080808080) return false;
    word &= 0x7f7f7f7f7f7f;
    word = (word & 0x007f007f007f) | (word & 0x7f007f007f00) >> 1;
    *out = (int64_t)((word & 0x3fff) | (word >> 2 & 0xfffc000) | (word >> 4 & 0x3fff0000000));
    return true;
}

/* The one sample that fills the `left` bytes before `end`: {1: double, 2: stamp}, or without the
 * value when it is 0. `left` may be any number. */
static inline bool
hk_rw1_sample(const uint8_t *end, size_t left, double *out_value, int64_t *out_stamp_ms) {
    if (HK_LIKELY(left == 18)) { /* (3) */
        const uint8_t *at = end - 18;
        if (at[0] != 0x12 || at[1] != 16 || at[2] != 0x09 || at[11] != 0x10) return false;
        *out_value = hk_proto_double(hk_proto_load64(at + 3));
        return hk_rw1_stamp(end, out_stamp_ms);
    }
    if (left != 9 || end[-9] != 0x12 || end[-8] != 7 || end[-7] != 0x10) return false;
    *out_value = 0;
    return hk_rw1_stamp(end, out_stamp_ms);
}

/* Takes one series of the usual shape into `entry`: its end, or NULL when it has another shape. A
 * guess that was made is left in *out_ref and *out_ref_bytes for the general walker. */
static inline __attribute__((always_inline)) const uint8_t *hk_rw1_take(
    const uint8_t *from, const uint8_t *body_end, struct hk_entry *entry, hk_key_predict *next,
    void *self, uint32_t *out_ref, uint32_t *out_ref_bytes) {
    const uint8_t *end = NULL;
    const uint8_t *at = hk_proto_usual(from, body_end, 0x0a, &end);
    if (HK_UNLIKELY(at == NULL)) return NULL;
    const size_t bytes = (size_t)(end - at);
    size_t key_bytes = 0;
    if (next != NULL && next(self, at, bytes, out_ref, out_ref_bytes)) {
        key_bytes = *out_ref_bytes;
    } else {
        *out_ref = HK_REF_NONE;
        key_bytes = hk_proto_run(at, bytes, 0x0a);
    }
    double value = 0;
    int64_t stamp_ms = 0;
    if (HK_UNLIKELY(key_bytes == 0 || !hk_rw1_sample(end, bytes - key_bytes, &value, &stamp_ms))) {
        return NULL;
    }
    entry->key = at;
    entry->key_bytes = (uint32_t)key_bytes;
    entry->ref = *out_ref;
    entry->part = 0;
    entry->stamp_ms = stamp_ms;
    entry->value = value;
    entry->start_ms = 0;
    entry->payload = NULL;
    entry->payload_bytes = 0;
    entry->kind = HK_ENTRY_SET;
    return end;
}

/* hk_metric_parser.parse with a predictor known at compile time; `next` may be NULL. */
static inline __attribute__((always_inline)) hk_err
hk_rw1_parse_with(struct hk_rw1 *rw, struct hk_batch *batch, hk_key_predict *next, void *self) {
    if (HK_UNLIKELY(rw->series.rest.at != NULL)) {
        const hk_err err = hk_rw1_walk_open(rw, batch);
        if (err != HK_OK) return err;
    }
    for (uint32_t others = 0; others < HK_RW_TURN_FIELDS; others++) {
        const uint8_t *at = rw->body.at, *const end = rw->body.end;
        uint32_t ref = HK_REF_NONE, ref_bytes = 0;
        const uint32_t first = batch->count;
        uint32_t count = first;
        while (at < end && count < HK_BATCH_ENTRIES_MAX) {
            struct hk_entry *entry = &batch->entries[count];
            ref_bytes = 0;
            const uint8_t *past = hk_rw1_take(at, end, entry, next, self, &ref, &ref_bytes);
            if (HK_UNLIKELY(past == NULL)) break;
            entry->context = &rw->context;
            at = past;
            count++;
        }
        batch->count = count;
        batch->points += count - first;
        rw->counts.samples += count - first;
        rw->body.at = at;
        if (at == end) return HK_OK;
        if (count == HK_BATCH_ENTRIES_MAX) return HK_FULL;
        const hk_err err = hk_rw1_walk_field(rw, batch, ref, ref_bytes);
        if (err != HK_OK) return err;
    }
    return HK_FULL; /* the turn is long enough */
}

#endif
