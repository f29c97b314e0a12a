/*
 * Protobuf exposition. A family is walked twice: for what it says of itself, then metric by metric.
 * A metric is a row of steps (entries, or exemplars left out); when the batch is full the number of
 * steps done is kept, and the next turn walks the metric again behind them.
 */
#include "ingest/prom_proto.h"

#include "ingest/exposition_float.h"
#include "ingest/openmetrics.h"
#include "ingest/prom_proto_internal.h"
#include "ingest/reject.h"
#include "model/exemplar.h"

#include <inttypes.h>
#include <math.h>

enum {
    FAMILY_NAME = HK_PROTO_TAG(1, HK_PROTO_BYTES),
    FAMILY_HELP = HK_PROTO_TAG(2, HK_PROTO_BYTES),
    FAMILY_TYPE = HK_PROTO_TAG(3, HK_PROTO_VARINT),
    FAMILY_METRIC = HK_PROTO_TAG(4, HK_PROTO_BYTES),
    FAMILY_UNIT = HK_PROTO_TAG(5, HK_PROTO_BYTES),
    METRIC_LABEL = HK_PROTO_TAG(1, HK_PROTO_BYTES),
    METRIC_GAUGE = HK_PROTO_TAG(2, HK_PROTO_BYTES),
    METRIC_COUNTER = HK_PROTO_TAG(3, HK_PROTO_BYTES),
    METRIC_SUMMARY = HK_PROTO_TAG(4, HK_PROTO_BYTES),
    METRIC_UNTYPED = HK_PROTO_TAG(5, HK_PROTO_BYTES),
    METRIC_STAMP = HK_PROTO_TAG(6, HK_PROTO_VARINT),
    METRIC_HISTOGRAM = HK_PROTO_TAG(7, HK_PROTO_BYTES),
    LABEL_NAME = HK_PROTO_TAG(1, HK_PROTO_BYTES),
    LABEL_VALUE = HK_PROTO_TAG(2, HK_PROTO_BYTES),
    SIMPLE_VALUE = HK_PROTO_TAG(1, HK_PROTO_FIXED64), /* of Counter, Gauge, Untyped */
    COUNTER_EXEMPLAR = HK_PROTO_TAG(2, HK_PROTO_BYTES),
    COUNTER_CREATED = HK_PROTO_TAG(3, HK_PROTO_BYTES),
    SUMMARY_COUNT = HK_PROTO_TAG(1, HK_PROTO_VARINT),
    SUMMARY_SUM = HK_PROTO_TAG(2, HK_PROTO_FIXED64),
    SUMMARY_QUANTILE = HK_PROTO_TAG(3, HK_PROTO_BYTES),
    SUMMARY_CREATED = HK_PROTO_TAG(4, HK_PROTO_BYTES),
    QUANTILE_QUANTILE = HK_PROTO_TAG(1, HK_PROTO_FIXED64),
    QUANTILE_VALUE = HK_PROTO_TAG(2, HK_PROTO_FIXED64),
    BUCKET_COUNT = HK_PROTO_TAG(1, HK_PROTO_VARINT),
    BUCKET_BOUND = HK_PROTO_TAG(2, HK_PROTO_FIXED64),
    BUCKET_EXEMPLAR = HK_PROTO_TAG(3, HK_PROTO_BYTES),
    BUCKET_COUNT_FLOAT = HK_PROTO_TAG(4, HK_PROTO_FIXED64),
    EXEMPLAR_LABEL = HK_PROTO_TAG(1, HK_PROTO_BYTES),
    EXEMPLAR_VALUE = HK_PROTO_TAG(2, HK_PROTO_FIXED64),
    EXEMPLAR_STAMP = HK_PROTO_TAG(3, HK_PROTO_BYTES),
};

/* MetricType. */
enum { COUNTER, GAUGE, SUMMARY, UNTYPED, HISTOGRAM, GAUGE_HISTOGRAM, TYPE_COUNT };

static const struct {
    const char *name;
    uint32_t field; /* of Metric */
} types[TYPE_COUNT] = {
    [COUNTER] = { "counter", METRIC_COUNTER },
    [GAUGE] = { "gauge", METRIC_GAUGE },
    [SUMMARY] = { "summary", METRIC_SUMMARY },
    [UNTYPED] = { "unknown", METRIC_UNTYPED },
    [HISTOGRAM] = { "histogram", METRIC_HISTOGRAM },
    [GAUGE_HISTOGRAM] = { "gaugehistogram", METRIC_HISTOGRAM },
};

struct hk_prom_proto_family {
    struct hk_context context; /* its data is this family */
    struct hk_str name;
    uint64_t type;
};

void hk_prom_proto_init(
    struct hk_prom_proto *state, struct hk_str input, const struct hk_context *context,
    int64_t stamp_ms) {
    *state = (struct hk_prom_proto){ .input = input, .context = context, .stamp_ms = stamp_ms };
}

/* Reads what a family says of itself and checks it. */
static hk_err read_family(struct hk_proto reader, struct hk_batch_meta *meta, uint64_t *type) {
    struct hk_proto_field field;
    hk_err err = HK_OK;
    const struct hk_str empty = { "", 0 };
    *meta = (struct hk_batch_meta){ empty, empty, empty, empty };
    *type = COUNTER;
    while ((err = hk_proto_next(&reader, &field)) == HK_OK) {
        if (field.tag == FAMILY_NAME) meta->metric = hk_proto_str(&field);
        if (field.tag == FAMILY_HELP) meta->help = hk_proto_str(&field);
        if (field.tag == FAMILY_UNIT) meta->unit = hk_proto_str(&field);
        if (field.tag == FAMILY_TYPE) *type = field.value;
    }
    if (err < 0) return hk_fail(err, "no protobuf message");
    if (meta->metric.len == 0) return hk_fail(HK_E_MALFORMED, "no name");
    if (meta->metric.len > HK_PROM_PROTO_NAME_BYTES_MAX) {
        return hk_fail(HK_E_MALFORMED, "name over %d bytes", HK_PROM_PROTO_NAME_BYTES_MAX);
    }
    if (!hk_utf8_valid(meta->metric) || !hk_utf8_valid(meta->help) || !hk_utf8_valid(meta->unit)) {
        return hk_fail(HK_E_MALFORMED, "name, help or unit is not valid UTF-8");
    }
    if (*type >= TYPE_COUNT) return hk_fail(HK_E_MALFORMED, "unknown type %" PRIu64, *type);
    meta->type = hk_str_from(types[*type].name);
    return HK_OK;
}

/* Opens the next family and hands out its meta. HK_OK, HK_END, HK_FULL (nothing was consumed). */
static hk_err open_family(struct hk_prom_proto *state, struct hk_batch *batch) {
    if (state->at == state->input.len) return HK_END;
    if (batch->meta_count == HK_BATCH_META_MAX) return HK_FULL;
    struct hk_proto reader =
        hk_proto_from(state->input.ptr + state->at, state->input.len - state->at);
    uint64_t bytes = 0;
    if (!hk_proto_varint(&reader, &bytes) || bytes > (uint64_t)(reader.end - reader.at)) {
        return hk_fail(HK_E_MALFORMED, "its length is beyond the end of input");
    }
    reader.end = reader.at + bytes;
    HK_TRY(read_family(reader, &state->meta, &state->type));
    batch->metas[batch->meta_count++] = state->meta;
    state->rest = reader;
    state->family = NULL;
    state->at = (size_t)((const char *)reader.end - state->input.ptr);
    return HK_OK;
}

/* The context of the open family, made once per turn. NULL: out of memory. */
static const struct hk_context *
family_context(struct hk_prom_proto *state, struct hk_batch *batch) {
    if (state->family != NULL) return &state->family->context;
    struct hk_prom_proto_family *family = hk_arena_alloc(batch->arena, 1, sizeof(*family));
    if (family == NULL) return NULL;
    const struct hk_str name = state->meta.metric;
    struct hk_hash128 hash = hk_hash_mix(state->context->hash, hk_hash128(name.ptr, name.len));
    family->context.hash = hk_hash_mix(hash, (struct hk_hash128){ state->type, 0x50 });
    family->context.data = family;
    family->name = name;
    family->type = state->type;
    state->family = family;
    return &family->context;
}

/* A metric taken apart. */
struct metric {
    struct hk_prom_proto *state;
    struct hk_batch *batch;
    struct hk_str message; /* of the value, empty when absent */
    struct hk_entry base;
    uint32_t step; /* of this walk */
};

/* Copies label fields that do not stand together into one piece. */
static hk_err
gather_labels(struct hk_proto reader, size_t bytes, struct hk_arena *arena, struct hk_str *out) {
    char *copy = hk_arena_alloc_raw(arena, bytes, 1);
    if (copy == NULL) return HK_E_NOMEM;
    struct hk_proto_field field;
    size_t len = 0;
    for (const uint8_t *first = reader.at; hk_proto_next(&reader, &field) == HK_OK;
         first = reader.at) {
        if (field.tag != METRIC_LABEL) continue;
        memcpy(copy + len, first, (size_t)(reader.at - first));
        len += (size_t)(reader.at - first);
    }
    hk_assert(len == bytes);
    *out = (struct hk_str){ copy, len };
    return HK_OK;
}

/* Finds key, value and stamp of the metric under way. */
static hk_err read_metric(struct metric *metric) {
    struct hk_prom_proto *state = metric->state;
    struct hk_proto reader = state->metric;
    struct hk_proto_field field;
    struct hk_str key = { (const char *)reader.at, 0 };
    size_t label_bytes = 0;
    int64_t stamp_ms = 0;
    hk_err err = HK_OK;
    for (const uint8_t *first = reader.at; (err = hk_proto_next(&reader, &field)) == HK_OK;
         first = reader.at) {
        if (field.tag == METRIC_LABEL) {
            HK_TRY(hk_proto_check(hk_proto_sub(&field)));
            if (label_bytes == 0) key.ptr = (const char *)first;
            label_bytes += (size_t)(reader.at - first);
            key.len = (size_t)((const char *)reader.at - key.ptr);
        } else if (field.tag == types[state->type].field) {
            metric->message = hk_proto_str(&field);
        } else if (field.tag == METRIC_STAMP) {
            stamp_ms = (int64_t)field.value;
        }
    }
    if (err < 0) return err;
    if (key.len != label_bytes) {
        HK_TRY(gather_labels(state->metric, label_bytes, metric->batch->arena, &key));
    }
    metric->base = (struct hk_entry){
        .key = key.ptr,
        .key_bytes = (uint32_t)key.len,
        .ref = HK_REF_NONE,
        .context = family_context(state, metric->batch),
        .stamp_ms = stamp_ms == 0 || state->ignore_stamps ? state->stamp_ms : stamp_ms,
        .kind = HK_ENTRY_SET,
    };
    return metric->base.context == NULL ? HK_E_NOMEM : HK_OK;
}

/* Begins a step: HK_OK do it, HK_END it was done in a former turn, HK_FULL, HK_E_LIMIT. */
static hk_err begin_step(struct metric *metric) {
    if (metric->step > HK_PROM_PROTO_BUCKETS_MAX) {
        return hk_fail(
            HK_E_LIMIT, "a metric with over %d buckets, quantiles and exemplars",
            HK_PROM_PROTO_BUCKETS_MAX);
    }
    if (metric->step++ < metric->state->metric_done) return HK_END;
    if (metric->batch->count == HK_BATCH_ENTRIES_MAX) return HK_FULL;
    metric->state->metric_done++;
    return HK_OK;
}

/* One step: a sample of the series `part`. HK_OK or HK_FULL. */
static hk_err put_value(struct metric *metric, uint64_t part, double value) {
    const hk_err err = begin_step(metric);
    if (err != HK_OK) return err == HK_END ? HK_OK : err;
    struct hk_entry *entry = &metric->batch->entries[metric->batch->count++];
    *entry = metric->base;
    entry->part = part;
    entry->value = value;
    metric->batch->points++;
    return HK_OK;
}

/* Part of a bound or quantile. False for NaN. */
static bool number_part(double number, uint64_t *out) {
    memcpy(out, &number, sizeof(number));
    return !isnan(number);
}

static hk_err read_label(struct hk_str message, struct hk_label *out) {
    struct hk_proto reader = hk_proto_from(message.ptr, message.len);
    struct hk_proto_field field;
    hk_err err = HK_OK;
    *out = (struct hk_label){ { "", 0 }, { "", 0 } };
    while ((err = hk_proto_next(&reader, &field)) == HK_OK) {
        if (field.tag == LABEL_NAME) out->name = hk_proto_str(&field);
        if (field.tag == LABEL_VALUE) out->value = hk_proto_str(&field);
    }
    return err < 0 ? err : HK_OK;
}

/* Reads an exemplar message; labels into `set`, unfinished. HK_E_MALFORMED. */
static hk_err
read_exemplar(struct hk_str message, struct hk_label_set *set, struct hk_exemplar *out) {
    struct hk_proto reader = hk_proto_from(message.ptr, message.len);
    struct hk_proto_field field;
    hk_err err = HK_OK;
    hk_label_set_clear(set);
    while ((err = hk_proto_next(&reader, &field)) == HK_OK) {
        if (field.tag == EXEMPLAR_LABEL) {
            struct hk_label label;
            HK_TRY(read_label(hk_proto_str(&field), &label));
            hk_label_set_add(set, label.name, label.value);
        } else if (field.tag == EXEMPLAR_VALUE) {
            out->value = hk_proto_double(field.value);
        } else if (field.tag == EXEMPLAR_STAMP) {
            HK_TRY(hk_prom_proto_stamp(hk_proto_str(&field), &out->stamp_ms));
        }
    }
    return err < 0 ? err : HK_OK;
}

/* One step: an exemplar of the series `part`, or none if it does not fit. */
static hk_err put_exemplar(struct metric *metric, uint64_t part, struct hk_str message) {
    hk_err err = begin_step(metric);
    if (err != HK_OK) return err == HK_END ? HK_OK : err;
    struct hk_label_set set;
    struct hk_exemplar exemplar = { .stamp_ms = HK_EXEMPLAR_NO_STAMP };
    struct hk_str payload = { "", 0 };
    HK_TRY(read_exemplar(message, &set, &exemplar));
    bool stamped = exemplar.stamp_ms != HK_EXEMPLAR_NO_STAMP;
    err = hk_label_set_finish(&set, &exemplar.labels);
    /* As Prometheus: without a stamp, repeats on a native histogram cannot be told from news. */
    if (err == HK_OK && part == HK_PROM_PROTO_PART_NATIVE && !stamped) err = HK_E_MALFORMED;
    if (err == HK_OK && !hk_openmetrics_exemplar_fits(exemplar.labels)) err = HK_E_LIMIT;
    if (err == HK_OK) err = hk_exemplar_encode(&exemplar, metric->batch->arena, &payload);
    if (err == HK_E_NOMEM) return err;
    if (err < 0) {
        metric->state->exemplars_rejected++;
        return HK_OK;
    }
    struct hk_entry *entry = &metric->batch->entries[metric->batch->count++];
    *entry = metric->base;
    entry->part = part;
    entry->kind = HK_ENTRY_EXEMPLAR;
    entry->value = exemplar.value;
    if (stamped) entry->stamp_ms = exemplar.stamp_ms;
    entry->start_ms = 0;
    entry->payload = payload.ptr;
    entry->payload_bytes = (uint32_t)payload.len;
    return HK_OK;
}

/* Forwards failures and a full batch alike. */
#define PUT(call)                                                                                  \
    do {                                                                                           \
        const hk_err put_err_ = (call);                                                            \
        if (put_err_ != HK_OK) return put_err_;                                                    \
    } while (0)

/* Counter, gauge, untyped. */
static hk_err walk_simple(struct metric *metric) {
    struct hk_proto reader = hk_proto_from(metric->message.ptr, metric->message.len);
    struct hk_proto_field field;
    struct hk_str exemplar = { NULL, 0 };
    const bool counter = metric->state->type == COUNTER;
    double value = 0;
    hk_err err = HK_OK;
    while ((err = hk_proto_next(&reader, &field)) == HK_OK) {
        if (field.tag == SIMPLE_VALUE) value = hk_proto_double(field.value);
        if (field.tag == COUNTER_EXEMPLAR && counter) exemplar = hk_proto_str(&field);
        if (field.tag == COUNTER_CREATED && counter) {
            HK_TRY(hk_prom_proto_stamp(hk_proto_str(&field), &metric->base.start_ms));
        }
    }
    if (err < 0) return err;
    PUT(put_value(metric, HK_PROM_PROTO_PART_VALUE, value));
    if (exemplar.ptr == NULL) return HK_OK;
    return put_exemplar(metric, HK_PROM_PROTO_PART_VALUE, exemplar);
}

static hk_err walk_quantile(struct metric *metric, struct hk_str message) {
    struct hk_proto reader = hk_proto_from(message.ptr, message.len);
    struct hk_proto_field field;
    double quantile = 0, value = 0;
    uint64_t part = 0;
    hk_err err = HK_OK;
    while ((err = hk_proto_next(&reader, &field)) == HK_OK) {
        if (field.tag == QUANTILE_QUANTILE) quantile = hk_proto_double(field.value);
        if (field.tag == QUANTILE_VALUE) value = hk_proto_double(field.value);
    }
    if (err < 0 || !number_part(quantile, &part)) return HK_E_MALFORMED;
    return put_value(metric, part, value);
}

static hk_err walk_summary(struct metric *metric) {
    const struct hk_proto start = hk_proto_from(metric->message.ptr, metric->message.len);
    struct hk_proto reader = start;
    struct hk_proto_field field;
    double count = 0, sum = 0;
    hk_err err = HK_OK;
    while ((err = hk_proto_next(&reader, &field)) == HK_OK) {
        if (field.tag == SUMMARY_COUNT) count = (double)field.value;
        if (field.tag == SUMMARY_SUM) sum = hk_proto_double(field.value);
        if (field.tag == SUMMARY_CREATED) {
            HK_TRY(hk_prom_proto_stamp(hk_proto_str(&field), &metric->base.start_ms));
        }
    }
    if (err < 0) return err;
    PUT(put_value(metric, HK_PROM_PROTO_PART_COUNT, count));
    PUT(put_value(metric, HK_PROM_PROTO_PART_SUM, sum));
    for (reader = start; hk_proto_next(&reader, &field) == HK_OK;) {
        if (field.tag == SUMMARY_QUANTILE) PUT(walk_quantile(metric, hk_proto_str(&field)));
    }
    return HK_OK;
}

/* A bucket: its count if `classic`, and its exemplar, for the native histogram otherwise. */
static hk_err
walk_bucket(struct metric *metric, struct hk_str message, bool classic, bool exemplars) {
    struct hk_proto reader = hk_proto_from(message.ptr, message.len);
    struct hk_proto_field field;
    struct hk_str exemplar = { NULL, 0 };
    double count = 0, bound = 0;
    uint64_t part = 0;
    hk_err err = HK_OK;
    while ((err = hk_proto_next(&reader, &field)) == HK_OK) {
        if (field.tag == BUCKET_COUNT && count == 0) count = (double)field.value;
        if (field.tag == BUCKET_BOUND) bound = hk_proto_double(field.value);
        if (field.tag == BUCKET_EXEMPLAR) exemplar = hk_proto_str(&field);
        if (field.tag == BUCKET_COUNT_FLOAT && hk_proto_double(field.value) > 0) {
            count = hk_proto_double(field.value);
        }
    }
    if (err < 0 || !number_part(bound, &part)) return HK_E_MALFORMED;
    if (classic) PUT(put_value(metric, part, count));
    if (exemplar.ptr == NULL || !exemplars) return HK_OK;
    return put_exemplar(metric, classic ? part : HK_PROM_PROTO_PART_NATIVE, exemplar);
}

static hk_err walk_classic(struct metric *metric, const struct hk_prom_proto_histogram *histogram) {
    struct hk_proto reader = hk_proto_from(metric->message.ptr, metric->message.len);
    struct hk_proto_field field;
    uint64_t part = 0;
    PUT(put_value(metric, HK_PROM_PROTO_PART_COUNT, histogram->count));
    PUT(put_value(metric, HK_PROM_PROTO_PART_SUM, histogram->sum));
    while (hk_proto_next(&reader, &field) == HK_OK) {
        if (field.tag == HISTOGRAM_BUCKET) {
            PUT(walk_bucket(metric, hk_proto_str(&field), true, true));
        }
    }
    if (histogram->has_infinity || !number_part(HUGE_VAL, &part)) return HK_OK;
    return put_value(metric, part, histogram->count);
}

/* One step: the native histogram itself; an invalid one is counted and left out. */
static hk_err put_native(struct metric *metric, const struct hk_prom_proto_histogram *histogram) {
    hk_err err = begin_step(metric);
    if (err != HK_OK) return err == HK_END ? HK_OK : err;
    struct hk_batch *batch = metric->batch;
    const bool gauge = metric->state->type == GAUGE_HISTOGRAM;
    struct hk_str payload = { "", 0 };
    err = hk_prom_proto_histogram_encode(histogram, gauge, batch->arena, &payload);
    if (err == HK_E_NOMEM) return err;
    if (err < 0) {
        const struct hk_str name = hk_str_part(metric->state->meta.metric, 0, 100);
        hk_batch_reject(batch, 1, "metric \"%.*s\": %s", HK_STR_ARG(name), hk_fail_text());
        return HK_OK;
    }
    struct hk_entry *entry = &batch->entries[batch->count++];
    *entry = metric->base;
    entry->part = HK_PROM_PROTO_PART_NATIVE;
    entry->kind = HK_ENTRY_HISTOGRAM;
    entry->payload = payload.ptr;
    entry->payload_bytes = (uint32_t)payload.len;
    batch->points++;
    return HK_OK;
}

static hk_err walk_histogram(struct metric *metric) {
    struct hk_prom_proto_histogram histogram;
    HK_TRY(hk_prom_proto_histogram_read(metric->message, &histogram));
    metric->base.start_ms = histogram.created_ms;
    if (!histogram.native) return walk_classic(metric, &histogram);
    PUT(put_native(metric, &histogram));
    struct hk_proto reader = hk_proto_from(metric->message.ptr, metric->message.len);
    struct hk_proto_field field;
    while (hk_proto_next(&reader, &field) == HK_OK) {
        if (field.tag == HISTOGRAM_EXEMPLAR) {
            PUT(put_exemplar(metric, HK_PROM_PROTO_PART_NATIVE, hk_proto_str(&field)));
        } else if (field.tag == HISTOGRAM_BUCKET && !histogram.exemplars) {
            PUT(walk_bucket(metric, hk_proto_str(&field), false, true));
        }
    }
    return metric->state->classic_too ? walk_classic(metric, &histogram) : HK_OK;
}

/* Hands out what is left of the metric under way. */
static hk_err walk_metric(struct hk_prom_proto *state, struct hk_batch *batch) {
    struct metric metric = { .state = state, .batch = batch, .message = { "", 0 } };
    HK_TRY(read_metric(&metric));
    switch (state->type) {
    case SUMMARY:
        return walk_summary(&metric);
    case HISTOGRAM:
    case GAUGE_HISTOGRAM:
        return walk_histogram(&metric);
    default:
        return walk_simple(&metric);
    }
}

/* Hands out what is left of the open family; closes it with HK_OK. */
static hk_err walk_family(struct hk_prom_proto *state, struct hk_batch *batch) {
    for (;;) {
        struct hk_proto_field field;
        if (state->metric.at != NULL) {
            PUT(walk_metric(state, batch));
            state->metric.at = NULL;
        }
        const hk_err err = hk_proto_next(&state->rest, &field); /* walked before: not malformed */
        if (err != HK_OK) break;
        if (field.tag != FAMILY_METRIC) continue;
        state->metric = hk_proto_sub(&field);
        state->metric_done = 0;
    }
    state->rest.at = NULL;
    return HK_OK;
}

static hk_err prom_proto_parse(void *parser_state, struct hk_batch *batch) {
    struct hk_prom_proto *state = parser_state;
    if (state->input.len >= UINT32_MAX) return hk_fail(HK_E_LIMIT, "exposition of 4 GiB or more");
    state->family = NULL; /* the arena may be another or reset */
    hk_err err = HK_OK;
    while (err == HK_OK) {
        if (state->rest.at == NULL) {
            const size_t at = state->at;
            err = open_family(state, batch);
            if (err < 0) return hk_fail_note(err, "metric family at byte %zu", at);
            if (err != HK_OK) break;
        }
        err = walk_family(state, batch);
    }
    if (err >= 0) return err == HK_END ? HK_OK : err;
    struct hk_str name = hk_str_part(state->meta.metric, 0, 100);
    if (err == HK_E_LIMIT) return hk_fail_note(err, "metric family \"%.*s\"", HK_STR_ARG(name));
    return hk_fail(
        err, "metric family \"%.*s\": %s", HK_STR_ARG(name),
        err == HK_E_NOMEM ? "out of memory" : "malformed metric");
}

/* The name with a suffix; ptr NULL when out of memory. */
static struct hk_str add_suffix(struct hk_str name, struct hk_str suffix, struct hk_arena *arena) {
    if (suffix.len == 0) return name;
    char *copy = hk_arena_alloc_raw(arena, name.len + suffix.len, 1);
    if (copy == NULL) return (struct hk_str){ NULL, 0 };
    memcpy(copy, name.ptr, name.len);
    memcpy(copy + name.len, suffix.ptr, suffix.len);
    return (struct hk_str){ copy, name.len + suffix.len };
}

/* Adds the metric name and, for buckets and quantiles, the label with the number. */
static hk_err add_part(
    const struct hk_prom_proto_family *family, uint64_t part, struct hk_arena *arena,
    struct hk_label_set *out) {
    const bool number = part != HK_PROM_PROTO_PART_VALUE && part != HK_PROM_PROTO_PART_COUNT &&
                        part != HK_PROM_PROTO_PART_SUM && part != HK_PROM_PROTO_PART_NATIVE;
    const bool summary = family->type == SUMMARY;
    const struct hk_str suffix = part == HK_PROM_PROTO_PART_COUNT ? HK_STR("_count")
                                 : part == HK_PROM_PROTO_PART_SUM ? HK_STR("_sum")
                                 : number && !summary             ? HK_STR("_bucket")
                                                                  : HK_STR("");
    const struct hk_str name = add_suffix(family->name, suffix, arena);
    if (name.ptr == NULL) return HK_E_NOMEM;
    hk_label_set_add(out, HK_STR("__name__"), name);
    if (!number) return HK_OK;
    char text[HK_DOUBLE_BYTES_MAX];
    const size_t len = hk_exposition_float(hk_proto_double(part), text);
    const struct hk_str value = hk_arena_str(arena, (struct hk_str){ text, len });
    if (value.ptr == NULL) return HK_E_NOMEM;
    hk_label_set_add(out, summary ? HK_STR("quantile") : HK_STR("le"), value);
    return HK_OK;
}

static hk_err prom_proto_labels(
    void *parser_state, struct hk_batch *batch, const struct hk_entry *entry,
    struct hk_label_set *out) {
    (void)parser_state;
    const struct hk_prom_proto_family *family = entry->context->data;
    if (add_part(family, entry->part, batch->arena, out) < 0) {
        return hk_fail(HK_E_NOMEM, "labels: out of memory");
    }
    struct hk_proto reader = hk_proto_from(entry->key, entry->key_bytes);
    struct hk_proto_field field;
    hk_err err = HK_OK;
    while ((err = hk_proto_next(&reader, &field)) == HK_OK) {
        struct hk_label label;
        if (read_label(hk_proto_str(&field), &label) < 0) {
            return hk_fail(HK_E_MALFORMED, "a malformed label");
        }
        hk_label_set_add(out, label.name, label.value);
    }
    return err < 0 ? hk_fail(HK_E_MALFORMED, "a malformed label") : HK_OK;
}

const struct hk_metric_parser hk_prom_proto_parser = {
    .name = "prometheus-protobuf",
    .parse = prom_proto_parse,
    .labels = prom_proto_labels,
};
