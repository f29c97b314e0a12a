/*
 * OTLP exponential histograms as native histograms (OpenTelemetry specification, "Prometheus and
 * OpenMetrics Compatibility", Exponential Histograms). Bucket i of OTLP covers (base^i,
 * base^(i+1)], the native bucket i + 1 the same. Scales over 8 are merged down to 8: bucket i of
 * scale s lies in bucket i >> (s - 8) of scale 8. Scales under -4 have no native form.
 */
#include "ingest/histogram_entry.h"
#include "ingest/otlp_internal.h"

enum {
    POINT_ATTRIBUTE = HK_PROTO_TAG(1, HK_PROTO_BYTES),
    POINT_START = HK_PROTO_TAG(2, HK_PROTO_FIXED64),
    POINT_TIME = HK_PROTO_TAG(3, HK_PROTO_FIXED64),
    POINT_COUNT = HK_PROTO_TAG(4, HK_PROTO_FIXED64),
    POINT_SUM = HK_PROTO_TAG(5, HK_PROTO_FIXED64),
    POINT_SCALE = HK_PROTO_TAG(6, HK_PROTO_VARINT),
    POINT_ZERO_COUNT = HK_PROTO_TAG(7, HK_PROTO_FIXED64),
    POINT_POSITIVE = HK_PROTO_TAG(8, HK_PROTO_BYTES),
    POINT_NEGATIVE = HK_PROTO_TAG(9, HK_PROTO_BYTES),
    POINT_FLAGS = HK_PROTO_TAG(10, HK_PROTO_VARINT),
    POINT_EXEMPLAR = HK_PROTO_TAG(11, HK_PROTO_BYTES),
    POINT_ZERO_THRESHOLD = HK_PROTO_TAG(14, HK_PROTO_FIXED64),
    BUCKETS_OFFSET = HK_PROTO_TAG(1, HK_PROTO_VARINT),
    BUCKETS_COUNTS = HK_PROTO_TAG(2, HK_PROTO_BYTES), /* packed */
    BUCKETS_ONE_COUNT = HK_PROTO_TAG(2, HK_PROTO_VARINT),
    GAP_MAX = 2, /* empty buckets kept inside a span; more begin a new one */
};

/* Width of the zero bucket when the sender names none. */
static const double zero_threshold_default = 1e-128;

struct fields {
    struct hk_otlp_run run;
    struct hk_histogram histogram;
    struct hk_str positive, negative;
    uint64_t start_ns, time_ns, flags;
    int64_t scale;
    bool exemplars;
};

static hk_err read_point(struct hk_proto reader, struct fields *out) {
    struct hk_proto_field field = { 0 };
    for (;;) {
        const uint8_t *from = reader.at;
        const hk_err err = hk_proto_next(&reader, &field);
        if (err != HK_OK) return err == HK_END ? HK_OK : err;
        switch (field.tag) {
        case POINT_ATTRIBUTE:
            hk_otlp_run_add(&out->run, from, reader.at);
            break;
        case POINT_START:
            out->start_ns = field.value;
            break;
        case POINT_TIME:
            out->time_ns = field.value;
            break;
        case POINT_COUNT:
            out->histogram.count = (double)field.value;
            break;
        case POINT_SUM:
            out->histogram.sum = hk_proto_double(field.value);
            break;
        case POINT_SCALE:
            out->scale = (int32_t)hk_proto_zigzag(field.value & UINT32_MAX);
            break;
        case POINT_ZERO_COUNT:
            out->histogram.zero_count = (double)field.value;
            break;
        case POINT_POSITIVE:
            out->positive = hk_proto_str(&field);
            break;
        case POINT_NEGATIVE:
            out->negative = hk_proto_str(&field);
            break;
        case POINT_FLAGS:
            out->flags = field.value;
            break;
        case POINT_EXEMPLAR:
            out->exemplars = true;
            break;
        case POINT_ZERO_THRESHOLD:
            out->histogram.zero_threshold = hk_proto_double(field.value);
            break;
        default:
            break;
        }
    }
}

/* A side under construction. */
struct side {
    struct hk_histogram_span *spans;
    double *counts;
    uint32_t span_count, count, room;
    int64_t next; /* index behind the last bucket */
};

/* Adds `value` to the native bucket `index`; indexes do not fall. */
static void add_bucket(struct side *side, int64_t index, double value) {
    if (side->count > 0 && index == side->next - 1) {
        side->counts[side->count - 1] += value;
        return;
    }
    if (value == 0) return;
    const int64_t gap = index - side->next;
    if (side->count == 0 || gap > GAP_MAX) {
        side->spans[side->span_count++] = (struct hk_histogram_span){ (int32_t)gap, 0 };
    } else {
        for (int64_t i = 0; i < gap; i++) {
            side->counts[side->count++] = 0;
            side->spans[side->span_count - 1].length++;
        }
    }
    side->counts[side->count++] = value;
    side->spans[side->span_count - 1].length++;
    side->next = index + 1;
}

/* How many counts a Buckets message holds, and its offset. */
static hk_err measure(struct hk_str message, uint64_t *out_count, int64_t *out_offset) {
    struct hk_proto reader = hk_proto_from(message.ptr, message.len);
    struct hk_proto_field field = { 0 };
    hk_err err = HK_OK;
    *out_count = 0;
    *out_offset = 0;
    while ((err = hk_proto_next(&reader, &field)) == HK_OK) {
        if (field.tag == BUCKETS_OFFSET) {
            *out_offset = (int32_t)hk_proto_zigzag(field.value & UINT32_MAX);
        }
        if (field.tag == BUCKETS_ONE_COUNT) ++*out_count;
        if (field.tag != BUCKETS_COUNTS) continue;
        for (uint64_t i = 0; i < field.value; i++)
            *out_count += field.ptr[i] < 0x80;
    }
    return err == HK_END ? HK_OK : err;
}

/* Reads a Buckets message as a side whose scale is `shift` lower. */
static hk_err read_side(
    struct hk_str message, unsigned shift, struct hk_arena *arena, struct hk_histogram_side *out) {
    uint64_t count = 0;
    int64_t offset = 0;
    HK_TRY(measure(message, &count, &offset));
    if (count == 0) return HK_OK;
    if (count > HK_HISTOGRAM_BUCKETS_MAX) {
        return hk_fail(HK_E_LIMIT, "histogram: over %d buckets", HK_HISTOGRAM_BUCKETS_MAX);
    }
    if (offset < INT32_MIN / 2 || offset > INT32_MAX / 2) {
        return hk_fail(HK_E_LIMIT, "histogram: bucket offset out of range");
    }
    struct side side = { .room = (uint32_t)count };
    side.spans = hk_arena_alloc(arena, count, sizeof(*side.spans));
    side.counts = hk_arena_alloc(arena, count, sizeof(*side.counts));
    if (side.spans == NULL || side.counts == NULL) {
        return hk_fail(HK_E_NOMEM, "histogram: out of memory");
    }
    struct hk_proto reader = hk_proto_from(message.ptr, message.len);
    struct hk_proto_field field = { 0 };
    int64_t index = offset;
    while (hk_proto_next(&reader, &field) == HK_OK) {
        if (field.tag == BUCKETS_ONE_COUNT) {
            add_bucket(&side, (index++ >> shift) + 1, (double)field.value);
        }
        if (field.tag != BUCKETS_COUNTS) continue;
        struct hk_proto packed = hk_proto_sub(&field);
        while (packed.at < packed.end) {
            uint64_t value = 0;
            if (!hk_proto_varint(&packed, &value)) return HK_E_MALFORMED;
            add_bucket(&side, (index++ >> shift) + 1, (double)value);
        }
    }
    hk_assert(side.count <= side.room && side.span_count <= side.room);
    *out = (struct hk_histogram_side){ side.spans, side.counts, side.span_count, side.count };
    return HK_OK;
}

/* Completes the histogram: scale, zero bucket, sides; or the stale marker. */
static hk_err complete(struct fields *fields, struct hk_arena *arena) {
    struct hk_histogram *histogram = &fields->histogram;
    if ((fields->flags & FLAG_NO_VALUE) != 0) {
        *histogram = (struct hk_histogram){ .sum = hk_stale_value() };
        return HK_OK;
    }
    if (fields->scale < HK_HISTOGRAM_SCHEMA_MIN) {
        return hk_fail(
            HK_E_LIMIT, "histogram: scale %d is under %d", (int)fields->scale,
            HK_HISTOGRAM_SCHEMA_MIN);
    }
    const int64_t over = fields->scale - HK_HISTOGRAM_SCHEMA_MAX;
    const unsigned shift = over <= 0 ? 0 : over > 62 ? 62 : (unsigned)over;
    histogram->schema = over > 0 ? HK_HISTOGRAM_SCHEMA_MAX : (int32_t)fields->scale;
    if (histogram->zero_threshold == 0) histogram->zero_threshold = zero_threshold_default;
    HK_TRY(read_side(fields->positive, shift, arena, &histogram->positive));
    return read_side(fields->negative, shift, arena, &histogram->negative);
}

hk_err
hk_otlp_open_exponential(struct hk_otlp *otlp, struct hk_batch *batch, struct hk_proto reader) {
    struct fields fields = { .positive = { "", 0 }, .negative = { "", 0 } };
    struct hk_otlp_point *point = &otlp->point;
    HK_TRY(read_point(reader, &fields));
    *point = (struct hk_otlp_point){ .next = UINT32_MAX, .exemplars = reader };
    hk_err err = complete(&fields, batch->arena);
    if (err == HK_E_MALFORMED) return err;
    if (err == HK_OK && fields.time_ns == 0) err = hk_fail(HK_E_INVALID, "it has no time");
    if (err == HK_OK) {
        err = hk_otlp_run_key(
            &fields.run, reader, POINT_ATTRIBUTE, batch, &point->key, &point->key_bytes);
    }
    const bool delta =
        otlp->header.temporality == TEMPORALITY_DELTA && (fields.flags & FLAG_NO_VALUE) == 0;
    point->kind = delta ? HK_ENTRY_HISTOGRAM_ADD : HK_ENTRY_HISTOGRAM;
    point->stamp_ms = hk_otlp_ms(fields.time_ns);
    point->start_ms = hk_otlp_ms(fields.start_ns);
    struct hk_entry *entry = NULL;
    if (err == HK_OK) {
        entry = hk_otlp_entry(otlp, batch, 0); /* there is room: the caller looked */
        entry->value = fields.histogram.sum;
        err = hk_histogram_entry(&fields.histogram, batch, entry);
    }
    if (err == HK_E_NOMEM) return err;
    if (err < 0) {
        hk_batch_reject(
            batch, 1, "otlp: metric \"%.*s\": %s", HK_STR_ARG(otlp->header.name), hk_fail_text());
        return HK_OK;
    }
    hk_otlp_commit(otlp, batch);
    hk_otlp_accept(otlp, batch, point->stamp_ms);
    point->open = fields.exemplars;
    return HK_OK;
}
