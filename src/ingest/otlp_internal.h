/* OTLP metrics: what its files share. Field numbers are those of opentelemetry-proto. */
#ifndef HK_INGEST_OTLP_INTERNAL_H
#define HK_INGEST_OTLP_INTERNAL_H

#include "ingest/otlp.h"
#include "ingest/reject.h"

enum {
    KEY_VALUE_KEY = HK_PROTO_TAG(1, HK_PROTO_BYTES),
    KEY_VALUE_VALUE = HK_PROTO_TAG(2, HK_PROTO_BYTES),
    RESOURCE_ATTRIBUTE = HK_PROTO_TAG(1, HK_PROTO_BYTES),
    SCOPE_NAME = HK_PROTO_TAG(1, HK_PROTO_BYTES),
    SCOPE_VERSION = HK_PROTO_TAG(2, HK_PROTO_BYTES),
    SCOPE_ATTRIBUTE = HK_PROTO_TAG(3, HK_PROTO_BYTES),
    TEMPORALITY_DELTA = 1,
    TEMPORALITY_CUMULATIVE = 2,
    FLAG_NO_VALUE = 1,
};

/* A key and the bytes of its AnyValue, as a KeyValue message holds them. HK_E_MALFORMED, no text.
 */
static inline hk_err hk_otlp_key_value(struct hk_str message, struct hk_label *out) {
    struct hk_proto reader = hk_proto_from(message.ptr, message.len);
    struct hk_proto_field field = { 0 };
    hk_err err = HK_OK;
    *out = (struct hk_label){ { "", 0 }, { "", 0 } };
    while ((err = hk_proto_next(&reader, &field)) == HK_OK) {
        if (field.tag == KEY_VALUE_KEY) out->name = hk_proto_str(&field);
        if (field.tag == KEY_VALUE_VALUE) out->value = hk_proto_str(&field);
    }
    return err == HK_END ? HK_OK : err;
}

/* Where a point's attribute fields are: one run, or scattered. */
struct hk_otlp_run {
    const uint8_t *start, *end;
    size_t bytes;
    bool scattered;
};

/* Adds the field(s) at [from, to) to the run. */
static inline void
hk_otlp_run_add(struct hk_otlp_run *run, const uint8_t *from, const uint8_t *to) {
    if (run->start == NULL) {
        run->start = from;
    } else if (run->end != from) {
        run->scattered = true;
    }
    run->end = to;
    run->bytes += (size_t)(to - from);
}

/* The run as a key; scattered fields with `tag` of `point` are copied to the batch arena. */
hk_err hk_otlp_run_key(
    const struct hk_otlp_run *run, struct hk_proto point, uint32_t tag, struct hk_batch *batch,
    const void **out_key, uint32_t *out_bytes) HK_MUST_CHECK;

/* OTLP nanoseconds as milliseconds. */
static inline int64_t hk_otlp_ms(uint64_t ns) {
    return (int64_t)(ns / 1000000);
}

/* Stores "otlp: … at byte N" and returns HK_E_MALFORMED. */
hk_err hk_otlp_malformed(const struct hk_otlp *otlp, const uint8_t *at);

/* Counts the open metric's point as accepted: newest stamp of the resource, points of the batch. */
void hk_otlp_accept(struct hk_otlp *otlp, struct hk_batch *batch, int64_t stamp_ms);

/* Next free entry for the open metric with the point's key, stamps and kind; NULL = batch full.
 * It counts only after hk_otlp_commit. */
struct hk_entry *hk_otlp_entry(struct hk_otlp *otlp, struct hk_batch *batch, uint64_t part);

/* Counts the entry that was last asked for; its context stays as it is until the next turn. */
static inline void hk_otlp_commit(struct hk_otlp *otlp, struct hk_batch *batch) {
    batch->count++;
    otlp->slot_used = true;
}

/* Opens a point that gives several entries: reads it into otlp->point, or refuses and counts it.
 * HK_E_MALFORMED without a text for broken protobuf. */
hk_err hk_otlp_open_histogram(struct hk_otlp *otlp, struct hk_batch *batch, struct hk_proto point)
    HK_MUST_CHECK;
hk_err hk_otlp_open_summary(struct hk_otlp *otlp, struct hk_batch *batch, struct hk_proto point)
    HK_MUST_CHECK;
hk_err hk_otlp_open_exponential(struct hk_otlp *otlp, struct hk_batch *batch, struct hk_proto point)
    HK_MUST_CHECK;

/* Hands out what is left of the open point: HK_OK when done, HK_FULL. */
hk_err hk_otlp_walk_point(struct hk_otlp *otlp, struct hk_batch *batch) HK_MUST_CHECK;

/* Labels of an entry, see hk_metric_parser.labels. */
hk_err hk_otlp_labels(
    void *state, struct hk_batch *batch, const struct hk_entry *entry, struct hk_label_set *out);

#endif
