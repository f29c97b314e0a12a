/*
 * Native histograms as bytes. Layout (varint = base-128, little end first; signed ones zigzag):
 *
 *   flags (1 byte): bit 0 counts are whole numbers, bits 1-2 reset hint, bit 3 zero bucket present,
 *     bit 4 negative side present, bit 5 positive side present, bit 6 custom values present
 *   schema (signed varint), sum (8 bytes), count (number)
 *   [zero threshold (8 bytes), zero count (number)]
 *   [custom values: count (varint), each 8 bytes]
 *   [positive side] [negative side], each: span count (varint); per span offset (signed varint) and
 *     length (varint); then the counts: whole ones as signed varints of the difference to the one
 *     before, others as 8 bytes
 *
 * A number is a varint when counts are whole, else 8 bytes. 8 bytes are a little-endian double.
 */
#include "model/histogram.h"

#include <math.h>

enum {
    FLAG_WHOLE = 1,
    FLAG_HINT_SHIFT = 1,
    FLAG_ZERO = 8,
    FLAG_NEGATIVE = 16,
    FLAG_POSITIVE = 32,
    FLAG_CUSTOM = 64,
};

static const double WHOLE_MAX = 9007199254740992.0; /* 2^53 */

static hk_err check_side(const struct hk_histogram_side *side, bool custom, const char *name) {
    if (side->span_count > HK_HISTOGRAM_SPANS_MAX || side->count > HK_HISTOGRAM_BUCKETS_MAX) {
        return hk_fail(HK_E_LIMIT, "histogram: more than %d buckets", HK_HISTOGRAM_BUCKETS_MAX);
    }
    uint64_t total = 0;
    int64_t index = 0;
    for (uint32_t i = 0; i < side->span_count; i++) {
        if (side->spans[i].offset < 0 && (i > 0 || custom)) {
            return hk_fail(HK_E_MALFORMED, "histogram: %s span %u begins before its end", name, i);
        }
        index += side->spans[i].offset;
        index += side->spans[i].length;
        total += side->spans[i].length;
        if (index > INT32_MAX / 2 || index < INT32_MIN / 2) {
            return hk_fail(HK_E_MALFORMED, "histogram: %s bucket index out of range", name);
        }
    }
    if (total != side->count) {
        return hk_fail(
            HK_E_MALFORMED, "histogram: %s spans need %llu buckets, have %u", name,
            (unsigned long long)total, side->count);
    }
    for (uint32_t i = 0; i < side->count; i++) {
        if (side->counts[i] >= 0) continue;
        return hk_fail(HK_E_MALFORMED, "histogram: %s bucket %u has a negative count", name, i);
    }
    return HK_OK;
}

static hk_err check_custom(const struct hk_histogram *histogram) {
    if (histogram->zero_count != 0 || histogram->zero_threshold != 0 ||
        histogram->negative.span_count > 0 || histogram->negative.count > 0) {
        return hk_fail(
            HK_E_MALFORMED, "histogram: custom buckets have no zero bucket and no negative side");
    }
    if (histogram->custom_count > HK_HISTOGRAM_BUCKETS_MAX) {
        return hk_fail(HK_E_LIMIT, "histogram: more than %d bounds", HK_HISTOGRAM_BUCKETS_MAX);
    }
    for (uint32_t i = 0; i < histogram->custom_count; i++) {
        double value = histogram->custom_values[i];
        if (!isfinite(value) || (i > 0 && value <= histogram->custom_values[i - 1])) {
            return hk_fail(HK_E_MALFORMED, "histogram: custom bounds are not ascending");
        }
    }
    uint64_t reach = 0;
    for (uint32_t i = 0; i < histogram->positive.span_count; i++) {
        const struct hk_histogram_span *span = &histogram->positive.spans[i];
        reach += (uint64_t)(span->offset < 0 ? 0 : span->offset) + span->length;
    }
    if (reach > (uint64_t)histogram->custom_count + 1) {
        return hk_fail(
            HK_E_MALFORMED, "histogram: %u custom bounds are too few for %llu buckets",
            histogram->custom_count, (unsigned long long)reach);
    }
    return HK_OK;
}

hk_err hk_histogram_check(const struct hk_histogram *histogram) {
    bool custom = hk_histogram_is_custom(histogram);
    if (!custom && (histogram->schema < HK_HISTOGRAM_SCHEMA_MIN ||
                    histogram->schema > HK_HISTOGRAM_SCHEMA_MAX)) {
        return hk_fail(HK_E_MALFORMED, "histogram: unknown schema %d", histogram->schema);
    }
    if (!(histogram->count >= 0) || !(histogram->zero_count >= 0) ||
        !(histogram->zero_threshold >= 0) || isinf(histogram->zero_threshold)) {
        return hk_fail(HK_E_MALFORMED, "histogram: negative count or zero threshold");
    }
    if (custom) {
        HK_TRY(check_custom(histogram));
    } else if (histogram->custom_count > 0) {
        return hk_fail(HK_E_MALFORMED, "histogram: exponential buckets have no custom bounds");
    }
    HK_TRY(check_side(&histogram->positive, custom, "positive"));
    return check_side(&histogram->negative, custom, "negative");
}

static bool is_whole(double value) {
    return value >= 0 && value < WHOLE_MAX && floor(value) == value &&
           !(value == 0 && signbit(value));
}

static bool side_is_whole(const struct hk_histogram_side *side) {
    for (uint32_t i = 0; i < side->count; i++) {
        if (!is_whole(side->counts[i])) return false;
    }
    return true;
}

static void put_varint(struct hk_buf *out, uint64_t value) {
    while (value >= 0x80) {
        hk_buf_char(out, (char)(value | 0x80));
        value >>= 7;
    }
    hk_buf_char(out, (char)value);
}

static void put_signed(struct hk_buf *out, int64_t value) {
    put_varint(out, ((uint64_t)value << 1) ^ (uint64_t)(value >> 63));
}

static void put_double(struct hk_buf *out, double value) {
    uint64_t bits = 0;
    unsigned char bytes[8];
    memcpy(&bits, &value, sizeof(bits));
    for (unsigned i = 0; i < 8; i++)
        bytes[i] = (unsigned char)(bits >> (8 * i));
    hk_buf_bytes(out, bytes, sizeof(bytes));
}

static void put_number(struct hk_buf *out, bool whole, double value) {
    if (whole)
        put_varint(out, (uint64_t)value);
    else
        put_double(out, value);
}

static void put_side(struct hk_buf *out, bool whole, const struct hk_histogram_side *side) {
    put_varint(out, side->span_count);
    for (uint32_t i = 0; i < side->span_count; i++) {
        put_signed(out, side->spans[i].offset);
        put_varint(out, side->spans[i].length);
    }
    int64_t before = 0;
    for (uint32_t i = 0; i < side->count; i++) {
        if (!whole) {
            put_double(out, side->counts[i]);
            continue;
        }
        int64_t count = (int64_t)side->counts[i];
        put_signed(out, count - before);
        before = count;
    }
}

void hk_histogram_encode(const struct hk_histogram *histogram, struct hk_buf *out) {
    bool whole = is_whole(histogram->count) && is_whole(histogram->zero_count) &&
                 side_is_whole(&histogram->positive) && side_is_whole(&histogram->negative);
    bool zero = histogram->zero_threshold != 0 || histogram->zero_count != 0;
    unsigned flags =
        (whole ? FLAG_WHOLE : 0U) | ((unsigned)histogram->reset_hint << FLAG_HINT_SHIFT) |
        (zero ? FLAG_ZERO : 0U) | (histogram->negative.span_count > 0 ? FLAG_NEGATIVE : 0U) |
        (histogram->positive.span_count > 0 ? FLAG_POSITIVE : 0U) |
        (histogram->custom_count > 0 ? FLAG_CUSTOM : 0U);
    hk_buf_char(out, (char)flags);
    put_signed(out, histogram->schema);
    put_double(out, histogram->sum);
    put_number(out, whole, histogram->count);
    if (zero) {
        put_double(out, histogram->zero_threshold);
        put_number(out, whole, histogram->zero_count);
    }
    if (histogram->custom_count > 0) {
        put_varint(out, histogram->custom_count);
        for (uint32_t i = 0; i < histogram->custom_count; i++)
            put_double(out, histogram->custom_values[i]);
    }
    if (histogram->positive.span_count > 0) put_side(out, whole, &histogram->positive);
    if (histogram->negative.span_count > 0) put_side(out, whole, &histogram->negative);
}

struct reader {
    const unsigned char *at, *end;
    bool whole;
    struct hk_arena *arena;
};

static hk_err corrupt(void) {
    return hk_fail(HK_E_CORRUPT, "histogram: broken encoding");
}

static hk_err get_varint(struct reader *reader, uint64_t *out) {
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        if (reader->at == reader->end) return corrupt();
        unsigned char byte = *reader->at++;
        if (shift == 63 && byte > 1) return corrupt();
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            *out = value;
            return HK_OK;
        }
    }
    return corrupt();
}

static hk_err get_signed(struct reader *reader, int64_t *out) {
    uint64_t value = 0;
    HK_TRY(get_varint(reader, &value));
    *out = (int64_t)(value >> 1) ^ -(int64_t)(value & 1);
    return HK_OK;
}

static hk_err get_double(struct reader *reader, double *out) {
    if (reader->end - reader->at < 8) return corrupt();
    uint64_t bits = 0;
    for (unsigned i = 0; i < 8; i++)
        bits |= (uint64_t)reader->at[i] << (8 * i);
    reader->at += 8;
    memcpy(out, &bits, sizeof(bits));
    return HK_OK;
}

static hk_err get_number(struct reader *reader, double *out) {
    if (!reader->whole) return get_double(reader, out);
    uint64_t value = 0;
    HK_TRY(get_varint(reader, &value));
    if ((double)value >= WHOLE_MAX) return corrupt();
    *out = (double)value;
    return HK_OK;
}

/* A count of things, at most `max`, and no more than bytes are left (`bytes_each` at least). */
static hk_err get_count(struct reader *reader, uint64_t max, uint64_t bytes_each, uint32_t *out) {
    uint64_t count = 0;
    HK_TRY(get_varint(reader, &count));
    if (count > max || count > (uint64_t)(reader->end - reader->at) / bytes_each) return corrupt();
    *out = (uint32_t)count;
    return HK_OK;
}

static hk_err get_spans(struct reader *reader, struct hk_histogram_side *out) {
    uint32_t count = 0;
    HK_TRY(get_count(reader, HK_HISTOGRAM_SPANS_MAX, 2, &count));
    struct hk_histogram_span *spans = hk_arena_alloc_raw(reader->arena, count, sizeof(*spans));
    if (spans == NULL) return HK_E_NOMEM;
    uint64_t total = 0;
    for (uint32_t i = 0; i < count; i++) {
        int64_t offset = 0;
        uint64_t length = 0;
        HK_TRY(get_signed(reader, &offset));
        HK_TRY(get_varint(reader, &length));
        if (offset > INT32_MAX || offset < INT32_MIN || length > HK_HISTOGRAM_BUCKETS_MAX) {
            return corrupt();
        }
        spans[i] = (struct hk_histogram_span){ (int32_t)offset, (uint32_t)length };
        total += length;
    }
    if (total > HK_HISTOGRAM_BUCKETS_MAX) return corrupt();
    *out = (struct hk_histogram_side){ spans, NULL, count, (uint32_t)total };
    return HK_OK;
}

static hk_err get_side(struct reader *reader, struct hk_histogram_side *out) {
    HK_TRY(get_spans(reader, out));
    uint64_t bytes_each = reader->whole ? 1 : 8;
    if (out->count > (uint64_t)(reader->end - reader->at) / bytes_each) return corrupt();
    double *counts = hk_arena_alloc_raw(reader->arena, out->count, sizeof(*counts));
    if (counts == NULL) return HK_E_NOMEM;
    int64_t count = 0;
    for (uint32_t i = 0; i < out->count; i++) {
        if (!reader->whole) {
            HK_TRY(get_double(reader, &counts[i]));
            continue;
        }
        int64_t difference = 0;
        HK_TRY(get_signed(reader, &difference));
        if (__builtin_add_overflow(count, difference, &count) || count < 0 ||
            (double)count >= WHOLE_MAX) {
            return corrupt();
        }
        counts[i] = (double)count;
    }
    out->counts = counts;
    return HK_OK;
}

static hk_err get_custom(struct reader *reader, struct hk_histogram *out) {
    HK_TRY(get_count(reader, HK_HISTOGRAM_BUCKETS_MAX, 8, &out->custom_count));
    double *values = hk_arena_alloc_raw(reader->arena, out->custom_count, sizeof(*values));
    if (values == NULL) return HK_E_NOMEM;
    for (uint32_t i = 0; i < out->custom_count; i++)
        HK_TRY(get_double(reader, &values[i]));
    out->custom_values = values;
    return HK_OK;
}

static hk_err decode(struct reader *reader, struct hk_histogram *out) {
    if (reader->at == reader->end) return corrupt();
    unsigned flags = *reader->at++;
    int64_t schema = 0;
    reader->whole = (flags & FLAG_WHOLE) != 0;
    out->reset_hint = (enum hk_reset_hint)(flags >> FLAG_HINT_SHIFT & 3);
    if ((flags & 0x80) != 0) return corrupt();
    HK_TRY(get_signed(reader, &schema));
    if (schema < HK_HISTOGRAM_SCHEMA_CUSTOM || schema > HK_HISTOGRAM_SCHEMA_MAX) return corrupt();
    out->schema = (int32_t)schema;
    HK_TRY(get_double(reader, &out->sum));
    HK_TRY(get_number(reader, &out->count));
    if ((flags & FLAG_ZERO) != 0) {
        HK_TRY(get_double(reader, &out->zero_threshold));
        HK_TRY(get_number(reader, &out->zero_count));
    }
    if ((flags & FLAG_CUSTOM) != 0) HK_TRY(get_custom(reader, out));
    if ((flags & FLAG_POSITIVE) != 0) HK_TRY(get_side(reader, &out->positive));
    if ((flags & FLAG_NEGATIVE) != 0) HK_TRY(get_side(reader, &out->negative));
    return reader->at == reader->end ? HK_OK : corrupt();
}

hk_err hk_histogram_decode(struct hk_str bytes, struct hk_arena *arena, struct hk_histogram *out) {
    struct reader reader = { .at = (const unsigned char *)bytes.ptr, .arena = arena };
    reader.end = reader.at + bytes.len;
    struct hk_histogram made = { .schema = 0 };
    HK_TRY(decode(&reader, &made));
    if (hk_histogram_check(&made) < 0) return HK_E_CORRUPT;
    *out = made;
    return HK_OK;
}

static bool copy_side(
    const struct hk_histogram_side *from, struct hk_arena *arena, struct hk_histogram_side *out) {
    struct hk_histogram_span *spans = hk_arena_alloc_raw(arena, from->span_count, sizeof(*spans));
    double *counts = hk_arena_alloc_raw(arena, from->count, sizeof(*counts));
    if (spans == NULL || counts == NULL) return false;
    if (from->span_count > 0) memcpy(spans, from->spans, from->span_count * sizeof(*spans));
    if (from->count > 0) memcpy(counts, from->counts, from->count * sizeof(*counts));
    *out = (struct hk_histogram_side){ spans, counts, from->span_count, from->count };
    return true;
}

struct hk_histogram *
hk_histogram_copy(const struct hk_histogram *histogram, struct hk_arena *arena) {
    struct hk_histogram *copy = hk_arena_alloc_raw(arena, 1, sizeof(*copy));
    if (copy == NULL) return NULL;
    *copy = *histogram;
    if (!copy_side(&histogram->positive, arena, &copy->positive)) return NULL;
    if (!copy_side(&histogram->negative, arena, &copy->negative)) return NULL;
    if (histogram->custom_count > 0) {
        double *values = hk_arena_alloc_raw(arena, histogram->custom_count, sizeof(*values));
        if (values == NULL) return NULL;
        memcpy(values, histogram->custom_values, histogram->custom_count * sizeof(*values));
        copy->custom_values = values;
    }
    return copy;
}
