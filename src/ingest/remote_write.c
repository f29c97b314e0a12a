/* Remote Write: what both versions share. */
#include "ingest/remote_write.h"

#include "ingest/remote_write_internal.h"
#include "model/exemplar.h"

struct hk_str hk_rw_type_text(uint64_t type) {
    static const struct hk_str texts[] = {
        { "unknown", 7 },         { "counter", 7 }, { "gauge", 5 }, { "histogram", 9 },
        { "gaugehistogram", 14 }, { "summary", 7 }, { "info", 4 },  { "stateset", 8 },
    };
    return texts[type < HK_COUNT(texts) ? type : 0];
}

hk_err hk_rw_malformed(const uint8_t *start, const uint8_t *at) {
    return hk_fail(
        HK_E_MALFORMED, "remote write: the body is not valid protobuf from byte %td on",
        at - start);
}

hk_err hk_rw_check_size(struct hk_proto series) {
    if (series.end - series.at <= HK_RW_SERIES_BYTES_MAX) return HK_OK;
    return hk_fail(
        HK_E_LIMIT, "remote write: a series over %d bytes, send it in parts",
        HK_RW_SERIES_BYTES_MAX);
}

static hk_err read_exemplar(
    struct hk_str message, hk_rw_exemplar_label *label, void *self, struct hk_label_set *set,
    struct hk_exemplar *out) {
    struct hk_proto reader = hk_proto_from(message.ptr, message.len);
    struct hk_proto_field field = { 0 };
    hk_err err = HK_OK;
    while ((err = hk_proto_next(&reader, &field)) == HK_OK) {
        if (field.tag == HK_PROTO_TAG(2, HK_PROTO_FIXED64)) {
            out->value = hk_proto_double(field.value);
        } else if (field.tag == HK_PROTO_TAG(3, HK_PROTO_VARINT)) {
            out->stamp_ms = (int64_t)field.value;
        } else if (field.tag >> 3 == 1) {
            HK_TRY(label(self, &field, set));
        }
    }
    if (err < 0) return err;
    return hk_label_set_finish(set, &out->labels);
}

hk_err hk_rw_put_exemplar(
    struct hk_batch *batch, struct hk_entry *entry, struct hk_str message,
    hk_rw_exemplar_label *label, void *self, struct hk_rw_counts *counts) {
    struct hk_label_set set;
    struct hk_exemplar exemplar = { 0 };
    struct hk_str payload = { 0 };
    hk_label_set_clear(&set);
    hk_err err = read_exemplar(message, label, self, &set, &exemplar);
    if (err == HK_OK) err = hk_exemplar_encode(&exemplar, batch->arena, &payload);
    if (err == HK_E_NOMEM) return err;
    if (err < 0) {
        counts->exemplars_rejected++;
        return HK_OK;
    }
    entry->kind = HK_ENTRY_EXEMPLAR;
    entry->stamp_ms = exemplar.stamp_ms;
    entry->value = exemplar.value;
    entry->payload = payload.ptr;
    entry->payload_bytes = (uint32_t)payload.len;
    batch->count++;
    counts->exemplars++;
    return HK_OK;
}
