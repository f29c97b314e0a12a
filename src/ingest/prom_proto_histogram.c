/* Native histograms of the protobuf exposition: spans, and deltas or floats, to the model's form.
 */
#include "ingest/prom_proto_internal.h"
#include "model/histogram.h"

enum {
    STAMP_SECONDS = HK_PROTO_TAG(1, HK_PROTO_VARINT),
    STAMP_NANOS = HK_PROTO_TAG(2, HK_PROTO_VARINT),
    SPAN_OFFSET = HK_PROTO_TAG(1, HK_PROTO_VARINT),
    SPAN_LENGTH = HK_PROTO_TAG(2, HK_PROTO_VARINT),
    BUCKET_BOUND = HK_PROTO_TAG(2, HK_PROTO_FIXED64),
};

hk_err hk_prom_proto_stamp(struct hk_str message, int64_t *out_ms) {
    struct hk_proto reader = hk_proto_from(message.ptr, message.len);
    struct hk_proto_field field;
    int64_t seconds = 0, nanos = 0;
    hk_err err = HK_OK;
    while ((err = hk_proto_next(&reader, &field)) == HK_OK) {
        if (field.tag == STAMP_SECONDS) seconds = (int64_t)field.value;
        if (field.tag == STAMP_NANOS) nanos = (int64_t)field.value;
    }
    if (err < 0 || nanos < 0 || nanos > 999999999) return HK_E_MALFORMED;
    if (__builtin_mul_overflow(seconds, (int64_t)1000, out_ms) ||
        __builtin_add_overflow(*out_ms, nanos / 1000000, out_ms)) {
        return HK_E_MALFORMED;
    }
    return HK_OK;
}

/* The fields that stand for themselves. */
static hk_err read_scalar(const struct hk_proto_field *field, struct hk_prom_proto_histogram *out) {
    switch (field->tag) {
    case HISTOGRAM_COUNT:
        if (!out->floats) out->count = (double)field->value;
        break;
    case HISTOGRAM_SUM:
        out->sum = hk_proto_double(field->value);
        break;
    case HISTOGRAM_COUNT_FLOAT:
        if (!(hk_proto_double(field->value) > 0)) break;
        out->count = hk_proto_double(field->value);
        out->floats = true;
        break;
    case HISTOGRAM_SCHEMA: {
        const int64_t schema = hk_proto_zigzag(field->value);
        if (schema != (int32_t)schema) return HK_E_MALFORMED;
        out->schema = (int32_t)schema;
        break;
    }
    case HISTOGRAM_ZERO_THRESHOLD:
        out->zero_threshold = hk_proto_double(field->value);
        out->native = out->native || out->zero_threshold > 0;
        break;
    case HISTOGRAM_ZERO_COUNT:
        if (field->value == 0) break;
        out->zero_count = (double)field->value;
        out->native = true;
        break;
    case HISTOGRAM_ZERO_COUNT_FLOAT:
        if (!(hk_proto_double(field->value) > 0)) break;
        out->zero_count = hk_proto_double(field->value);
        out->native = true;
        out->floats = true;
        break;
    case HISTOGRAM_CREATED:
        return hk_prom_proto_stamp(hk_proto_str(field), &out->created_ms);
    case HISTOGRAM_NEGATIVE_SPAN:
    case HISTOGRAM_POSITIVE_SPAN:
        out->native = true;
        break;
    case HISTOGRAM_NEGATIVE_FLOAT:
    case HISTOGRAM_NEGATIVE_FLOATS:
    case HISTOGRAM_POSITIVE_FLOAT:
    case HISTOGRAM_POSITIVE_FLOATS:
        out->floats = true; /* even when all counts are 0 */
        break;
    default:
        break;
    }
    return HK_OK;
}

static bool bucket_is_infinity(struct hk_str message) {
    struct hk_proto reader = hk_proto_from(message.ptr, message.len);
    struct hk_proto_field field;
    double bound = 0;
    while (hk_proto_next(&reader, &field) == HK_OK) {
        if (field.tag == BUCKET_BOUND) bound = hk_proto_double(field.value);
    }
    return __builtin_isinf(bound) && bound > 0;
}

hk_err hk_prom_proto_histogram_read(struct hk_str message, struct hk_prom_proto_histogram *out) {
    struct hk_proto reader = hk_proto_from(message.ptr, message.len);
    struct hk_proto_field field;
    struct hk_prom_proto_histogram histogram = { .message = message };
    hk_err err = HK_OK;
    while ((err = hk_proto_next(&reader, &field)) == HK_OK) {
        const bool bucket = field.tag == HISTOGRAM_BUCKET;
        if (bucket && bucket_is_infinity(hk_proto_str(&field))) histogram.has_infinity = true;
        if (field.tag == HISTOGRAM_EXEMPLAR) histogram.exemplars = true;
        HK_TRY(read_scalar(&field, &histogram));
    }
    if (err < 0) return err;
    *out = histogram;
    return HK_OK;
}

/* Spans and counts of one sign while they are read. */
struct side {
    struct hk_histogram_span *spans;
    double *counts;
    uint32_t span_count, count;
    uint32_t span_max, count_max;
    uint64_t running; /* the last integer count, mod 2^64 */
};

/* How many elements a packed or plain repeated field adds at most. */
static uint64_t elements_of(const struct hk_proto_field *field, uint64_t bytes_each) {
    return (field->tag & 7) == HK_PROTO_BYTES ? field->value / bytes_each : 1;
}

static hk_err size_sides(struct hk_str message, struct side *negative, struct side *positive) {
    struct hk_proto reader = hk_proto_from(message.ptr, message.len);
    struct hk_proto_field field;
    uint64_t spans[2] = { 0, 0 }, counts[2] = { 0, 0 };
    hk_err err = HK_OK;
    while ((err = hk_proto_next(&reader, &field)) == HK_OK) {
        const uint32_t number = field.tag >> 3;
        const uint32_t sign = number >= 12 ? 1 : 0;
        if (field.tag == HISTOGRAM_NEGATIVE_SPAN || field.tag == HISTOGRAM_POSITIVE_SPAN) {
            spans[sign]++;
        } else if (number == 10 || number == 13) {
            counts[sign] += elements_of(&field, 1);
        } else if (number == 11 || number == 14) {
            counts[sign] += elements_of(&field, 8);
        }
    }
    if (err < 0) return err;
    for (size_t i = 0; i < 2; i++) {
        if (spans[i] > HK_HISTOGRAM_SPANS_MAX || counts[i] > 10ULL * HK_HISTOGRAM_BUCKETS_MAX) {
            return hk_fail(HK_E_LIMIT, "a native histogram with too many spans or buckets");
        }
    }
    negative->span_max = (uint32_t)spans[0];
    negative->count_max = (uint32_t)counts[0];
    positive->span_max = (uint32_t)spans[1];
    positive->count_max = (uint32_t)counts[1];
    return HK_OK;
}

static hk_err alloc_side(struct side *side, struct hk_arena *arena) {
    side->spans = hk_arena_alloc(arena, side->span_max, sizeof(struct hk_histogram_span));
    side->counts = hk_arena_alloc(arena, side->count_max, sizeof(double));
    return side->spans == NULL || side->counts == NULL ? HK_E_NOMEM : HK_OK;
}

static hk_err read_span(const struct hk_proto_field *span, struct side *side) {
    struct hk_proto reader = hk_proto_sub(span);
    struct hk_proto_field field;
    int64_t offset = 0;
    uint64_t length = 0;
    hk_err err = HK_OK;
    while ((err = hk_proto_next(&reader, &field)) == HK_OK) {
        if (field.tag == SPAN_OFFSET) offset = hk_proto_zigzag(field.value);
        if (field.tag == SPAN_LENGTH) length = field.value;
    }
    if (err < 0 || offset != (int32_t)offset || length > UINT32_MAX) return HK_E_MALFORMED;
    side->spans[side->span_count++] =
        (struct hk_histogram_span){ (int32_t)offset, (uint32_t)length };
    return HK_OK;
}

/* One count: `bits` is a delta in zigzag, or a float. */
static void read_count(uint64_t bits, bool is_float, struct side *side) {
    hk_assert(side->count < side->count_max);
    if (!is_float) side->running += (uint64_t)hk_proto_zigzag(bits);
    side->counts[side->count++] = is_float ? hk_proto_double(bits) : (double)(int64_t)side->running;
}

/* Counts, packed or not. */
static hk_err read_counts(const struct hk_proto_field *field, bool is_float, struct side *side) {
    if ((field->tag & 7) != HK_PROTO_BYTES) {
        read_count(field->value, is_float, side);
        return HK_OK;
    }
    struct hk_proto reader = hk_proto_sub(field);
    if (is_float && field->value % 8 != 0) return HK_E_MALFORMED;
    while (reader.at < reader.end) {
        uint64_t bits = 0;
        if (is_float) {
            bits = hk_proto_load64(reader.at);
            reader.at += 8;
        } else if (!hk_proto_varint(&reader, &bits)) {
            return HK_E_MALFORMED;
        }
        read_count(bits, is_float, side);
    }
    return HK_OK;
}

static hk_err read_sides(
    const struct hk_prom_proto_histogram *histogram, struct side *negative, struct side *positive) {
    struct hk_proto reader = hk_proto_from(histogram->message.ptr, histogram->message.len);
    struct hk_proto_field field;
    hk_err err = HK_OK;
    while ((err = hk_proto_next(&reader, &field)) == HK_OK) {
        struct side *side = (field.tag >> 3) >= 12 ? positive : negative;
        switch (field.tag) {
        case HISTOGRAM_NEGATIVE_SPAN:
        case HISTOGRAM_POSITIVE_SPAN:
            err = read_span(&field, side);
            break;
        case HISTOGRAM_NEGATIVE_DELTA:
        case HISTOGRAM_NEGATIVE_DELTAS:
        case HISTOGRAM_POSITIVE_DELTA:
        case HISTOGRAM_POSITIVE_DELTAS:
            if (!histogram->floats) err = read_counts(&field, false, side);
            break;
        case HISTOGRAM_NEGATIVE_FLOAT:
        case HISTOGRAM_NEGATIVE_FLOATS:
        case HISTOGRAM_POSITIVE_FLOAT:
        case HISTOGRAM_POSITIVE_FLOATS:
            if (histogram->floats) err = read_counts(&field, true, side);
            break;
        default:
            break;
        }
        HK_TRY(err);
    }
    return err < 0 ? err : HK_OK;
}

static struct hk_histogram_side side_of(const struct side *side) {
    return (struct hk_histogram_side){ side->spans, side->counts, side->span_count, side->count };
}

hk_err hk_prom_proto_histogram_encode(
    const struct hk_prom_proto_histogram *histogram, bool gauge, struct hk_arena *arena,
    struct hk_str *out) {
    struct side negative = { .spans = NULL }, positive = { .spans = NULL };
    HK_TRY(size_sides(histogram->message, &negative, &positive));
    HK_TRY(alloc_side(&negative, arena));
    HK_TRY(alloc_side(&positive, arena));
    if (read_sides(histogram, &negative, &positive) < 0) {
        return hk_fail(HK_E_MALFORMED, "native histogram: malformed spans or counts");
    }
    const struct hk_histogram model = {
        .schema = histogram->schema,
        .reset_hint = gauge ? HK_RESET_GAUGE : HK_RESET_UNKNOWN,
        .zero_threshold = histogram->zero_threshold,
        .zero_count = histogram->zero_count,
        .count = histogram->count,
        .sum = histogram->sum,
        .positive = side_of(&positive),
        .negative = side_of(&negative),
    };
    HK_TRY(hk_histogram_check(&model));
    struct hk_buf buf;
    hk_buf_init(&buf, 4U << 20);
    hk_histogram_encode(&model, &buf);
    hk_err err = buf.err;
    if (err == HK_OK) {
        *out = hk_arena_str(arena, hk_buf_get(&buf));
        if (out->ptr == NULL) err = HK_E_NOMEM;
    }
    hk_buf_deinit(&buf);
    return err;
}
