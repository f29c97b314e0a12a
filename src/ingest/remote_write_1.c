/*
 * Remote Write 1.0: the general walker behind remote_write_fast.h. A series is walked twice: once
 * to check its fields and find its labels, once to hand out samples, histograms and exemplars,
 * with a stop wherever the batch is full.
 */
#include "ingest/remote_write_fast.h"
#include "ingest/remote_write_internal.h"

enum { KEY_BYTES_MAX = 1 << 20 };

/* prometheus.WriteRequest, TimeSeries, Label, Sample, MetricMetadata (apis: Remote Write 1.0). */
enum {
    REQUEST_SERIES = HK_PROTO_TAG(1, HK_PROTO_BYTES),
    REQUEST_METADATA = HK_PROTO_TAG(3, HK_PROTO_BYTES),
    SERIES_LABEL = HK_PROTO_TAG(1, HK_PROTO_BYTES),
    SERIES_SAMPLE = HK_PROTO_TAG(2, HK_PROTO_BYTES),
    SERIES_EXEMPLAR = HK_PROTO_TAG(3, HK_PROTO_BYTES),
    SERIES_HISTOGRAM = HK_PROTO_TAG(4, HK_PROTO_BYTES),
    LABEL_NAME = HK_PROTO_TAG(1, HK_PROTO_BYTES),
    LABEL_VALUE = HK_PROTO_TAG(2, HK_PROTO_BYTES),
    SAMPLE_VALUE = HK_PROTO_TAG(1, HK_PROTO_FIXED64),
    SAMPLE_STAMP = HK_PROTO_TAG(2, HK_PROTO_VARINT),
    META_TYPE = HK_PROTO_TAG(1, HK_PROTO_VARINT),
    META_METRIC = HK_PROTO_TAG(2, HK_PROTO_BYTES),
    META_HELP = HK_PROTO_TAG(4, HK_PROTO_BYTES),
    META_UNIT = HK_PROTO_TAG(5, HK_PROTO_BYTES),
};

void hk_rw1_init(struct hk_rw1 *rw, struct hk_str body, struct hk_hash128 base) {
    *rw = (struct hk_rw1){ .body = hk_proto_from(body.ptr, body.len) };
    rw->start = rw->body.at;
    rw->context.hash = hk_hash_mix(base, hk_hash128("remote_write_1", 14));
    rw->context.data = rw;
}

static hk_err rw1_parse(void *state, struct hk_batch *batch) {
    struct hk_rw1 *rw = state;
    const struct hk_key_predictor *predictor = rw->predictor;
    if (predictor == NULL) return hk_rw1_parse_with(rw, batch, NULL, NULL);
    return hk_rw1_parse_with(rw, batch, predictor->next, predictor->self);
}

static hk_err read_label(struct hk_str message, struct hk_label *out) {
    struct hk_proto reader = hk_proto_from(message.ptr, message.len);
    struct hk_proto_field field = { 0 };
    hk_err err = HK_OK;
    *out = (struct hk_label){ { "", 0 }, { "", 0 } };
    while ((err = hk_proto_next(&reader, &field)) == HK_OK) {
        if (field.tag == LABEL_NAME) out->name = hk_proto_str(&field);
        if (field.tag == LABEL_VALUE) out->value = hk_proto_str(&field);
    }
    if (err < 0) return hk_fail(HK_E_MALFORMED, "remote write: broken label");
    if (out->name.len == 0) return hk_fail(HK_E_MALFORMED, "remote write: label without a name");
    return HK_OK;
}

static hk_err rw1_labels(
    void *state, struct hk_batch *batch, const struct hk_entry *entry, struct hk_label_set *out) {
    (void)state;
    (void)batch;
    struct hk_proto reader = hk_proto_from(entry->key, entry->key_bytes);
    struct hk_proto_field field = { 0 };
    bool named = false;
    hk_err err = HK_OK;
    while ((err = hk_proto_next(&reader, &field)) == HK_OK) {
        struct hk_label label;
        if (field.tag != SERIES_LABEL) break;
        HK_TRY(read_label(hk_proto_str(&field), &label));
        named = named || (hk_str_is(label.name, "__name__") && label.value.len > 0);
        hk_label_set_add(out, label.name, label.value);
    }
    if (err != HK_END) return hk_fail(HK_E_MALFORMED, "remote write: broken label block");
    if (!named) return hk_fail(HK_E_MALFORMED, "remote write: series without a metric name");
    return HK_OK;
}

const struct hk_metric_parser hk_parser_remote_write_1 = {
    .name = "remote_write_1",
    .parse = rw1_parse,
    .labels = rw1_labels,
};

/* What the first walk finds out about a series. */
struct shape {
    const uint8_t *labels, *labels_end; /* first run of labels */
    size_t label_bytes;                 /* of all label fields */
    uint64_t points;
    bool scattered;
};

static hk_err look(struct hk_proto reader, struct shape *out) {
    struct hk_proto_field field = { 0 };
    *out = (struct shape){ 0 };
    for (;;) {
        const uint8_t *at = reader.at;
        const hk_err err = hk_proto_next(&reader, &field);
        if (err != HK_OK) return err == HK_END ? HK_OK : err;
        out->points += field.tag == SERIES_SAMPLE || field.tag == SERIES_HISTOGRAM;
        if (field.tag != SERIES_LABEL) continue;
        if (out->labels == NULL) out->labels = out->labels_end = at;
        out->scattered = out->scattered || out->labels_end != at;
        out->label_bytes += (size_t)(reader.at - at);
        if (!out->scattered) out->labels_end = reader.at;
    }
}

/* Copies all label fields of the series to `to`, which has room for them. */
static void gather(struct hk_proto reader, uint8_t *to) {
    struct hk_proto_field field = { 0 };
    const uint8_t *at = reader.at;
    while (hk_proto_next(&reader, &field) == HK_OK) {
        const size_t bytes = (size_t)(reader.at - at);
        if (field.tag == SERIES_LABEL) {
            memcpy(to, at, bytes);
            to += bytes;
        }
        at = reader.at;
    }
}

static hk_err open_series(
    struct hk_rw1 *rw, struct hk_batch *batch, struct hk_proto content, uint32_t ref,
    uint32_t ref_bytes) {
    struct shape shape;
    HK_TRY(hk_rw_check_size(content));
    if (look(content, &shape) < 0) return hk_rw_malformed(rw->start, content.at);
    if (shape.label_bytes == 0 || shape.label_bytes > KEY_BYTES_MAX) {
        hk_batch_reject(
            batch, shape.points, "remote write: series %s",
            shape.label_bytes == 0 ? "without labels" : "with over 1 MiB of labels");
        return HK_OK;
    }
    const uint8_t *key = shape.labels;
    if (shape.scattered) {
        uint8_t *copy = hk_arena_alloc_raw(batch->arena, shape.label_bytes, 1);
        if (copy == NULL) return hk_fail(HK_E_NOMEM, "remote write: out of memory");
        gather(content, copy);
        key = copy;
    }
    const bool guessed = key == content.at && ref_bytes == shape.label_bytes;
    rw->series = (struct hk_rw_series){
        .rest = content,
        .key = key,
        .key_bytes = (uint32_t)shape.label_bytes,
        .ref = guessed ? ref : HK_REF_NONE,
    };
    return hk_rw1_walk_open(rw, batch);
}

static hk_err read_sample(struct hk_str message, struct hk_entry *entry) {
    struct hk_proto reader = hk_proto_from(message.ptr, message.len);
    struct hk_proto_field field = { 0 };
    hk_err err = HK_OK;
    while ((err = hk_proto_next(&reader, &field)) == HK_OK) {
        if (field.tag == SAMPLE_VALUE) entry->value = hk_proto_double(field.value);
        if (field.tag == SAMPLE_STAMP) entry->stamp_ms = (int64_t)field.value;
    }
    return err == HK_END ? HK_OK : err;
}

static hk_err
exemplar_label(void *self, const struct hk_proto_field *field, struct hk_label_set *out) {
    (void)self;
    struct hk_label label;
    if (field->tag != SERIES_LABEL) return HK_OK;
    HK_TRY(read_label(hk_proto_str(field), &label));
    hk_label_set_add(out, label.name, label.value);
    return HK_OK;
}

/* Hands out one field of the open series; HK_FULL leaves it for the next turn. */
static hk_err
walk_series_field(struct hk_rw1 *rw, struct hk_batch *batch, const struct hk_proto_field *field) {
    const bool sample = field->tag == SERIES_SAMPLE;
    if (!sample && field->tag != SERIES_EXEMPLAR && field->tag != SERIES_HISTOGRAM) return HK_OK;
    struct hk_entry *entry = hk_rw_entry(batch, &rw->series, &rw->context, HK_ENTRY_SET);
    if (entry == NULL) return HK_FULL;
    const struct hk_str message = hk_proto_str(field);
    if (field->tag == SERIES_EXEMPLAR) {
        return hk_rw_put_exemplar(batch, entry, message, exemplar_label, NULL, &rw->counts);
    }
    if (!sample) return hk_rw_put_histogram(batch, entry, message, &rw->counts);
    if (read_sample(message, entry) < 0) return HK_E_MALFORMED;
    batch->count++;
    batch->points++;
    rw->counts.samples++;
    return HK_OK;
}

hk_err hk_rw1_walk_open(struct hk_rw1 *rw, struct hk_batch *batch) {
    for (;;) {
        const uint8_t *at = rw->series.rest.at;
        struct hk_proto_field field = { 0 };
        hk_err err = hk_proto_next(&rw->series.rest, &field);
        if (err == HK_END) {
            rw->series.rest.at = NULL;
            return HK_OK;
        }
        if (err == HK_OK) err = walk_series_field(rw, batch, &field);
        if (err == HK_OK) continue;
        rw->series.rest.at = at;
        return err == HK_E_MALFORMED ? hk_rw_malformed(rw->start, at) : err;
    }
}

static hk_err read_metadata(struct hk_str message, struct hk_batch_meta *out) {
    struct hk_proto reader = hk_proto_from(message.ptr, message.len);
    struct hk_proto_field field = { 0 };
    hk_err err = HK_OK;
    *out = (struct hk_batch_meta){ { "", 0 }, hk_rw_type_text(0), { "", 0 }, { "", 0 } };
    while ((err = hk_proto_next(&reader, &field)) == HK_OK) {
        if (field.tag == META_TYPE) out->type = hk_rw_type_text(field.value);
        if (field.tag == META_METRIC) out->metric = hk_proto_str(&field);
        if (field.tag == META_HELP) out->help = hk_proto_str(&field);
        if (field.tag == META_UNIT) out->unit = hk_proto_str(&field);
    }
    return err == HK_END ? HK_OK : err;
}

hk_err
hk_rw1_walk_field(struct hk_rw1 *rw, struct hk_batch *batch, uint32_t ref, uint32_t ref_bytes) {
    const uint8_t *at = rw->body.at;
    struct hk_proto_field field = { 0 };
    if (hk_proto_next(&rw->body, &field) < 0) return hk_rw_malformed(rw->start, at);
    if (field.tag == REQUEST_SERIES) {
        return open_series(rw, batch, hk_proto_sub(&field), ref, ref_bytes);
    }
    if (field.tag != REQUEST_METADATA) return HK_OK;
    if (batch->meta_count == HK_BATCH_META_MAX) {
        rw->body.at = at;
        return HK_FULL;
    }
    struct hk_batch_meta *meta = &batch->metas[batch->meta_count];
    if (read_metadata(hk_proto_str(&field), meta) < 0) return hk_rw_malformed(rw->start, at);
    batch->meta_count += meta->metric.len > 0;
    return HK_OK;
}
