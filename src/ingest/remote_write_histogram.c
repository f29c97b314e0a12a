/*
 * Native histograms of Remote Write, both versions (the messages differ in one field). Walked
 * twice: to count what the repeated fields hold, then to read them. Integer histograms carry
 * their buckets as differences, float ones as values.
 */
#include "ingest/histogram_entry.h"
#include "ingest/remote_write_internal.h"

enum {
    COUNT_INT = HK_PROTO_TAG(1, HK_PROTO_VARINT),
    COUNT_FLOAT = HK_PROTO_TAG(2, HK_PROTO_FIXED64),
    SUM = HK_PROTO_TAG(3, HK_PROTO_FIXED64),
    SCHEMA = HK_PROTO_TAG(4, HK_PROTO_VARINT),
    ZERO_THRESHOLD = HK_PROTO_TAG(5, HK_PROTO_FIXED64),
    ZERO_COUNT_INT = HK_PROTO_TAG(6, HK_PROTO_VARINT),
    ZERO_COUNT_FLOAT = HK_PROTO_TAG(7, HK_PROTO_FIXED64),
    RESET_HINT = HK_PROTO_TAG(14, HK_PROTO_VARINT),
    STAMP = HK_PROTO_TAG(15, HK_PROTO_VARINT),
    START = HK_PROTO_TAG(17, HK_PROTO_VARINT),
    /* Numbers of repeated fields. */
    NEGATIVE_SPANS = 8,
    NEGATIVE_DELTAS = 9,
    NEGATIVE_COUNTS = 10,
    POSITIVE_SPANS = 11,
    POSITIVE_DELTAS = 12,
    POSITIVE_COUNTS = 13,
    CUSTOM_VALUES = 16,
    NUMBERS = 17,
    SPAN_OFFSET = HK_PROTO_TAG(1, HK_PROTO_VARINT),
    SPAN_LENGTH = HK_PROTO_TAG(2, HK_PROTO_VARINT),
    ITEMS_MAX = 65536,
};

/* Fields that are no arrays. */
struct scalars {
    struct hk_histogram histogram;
    int64_t stamp_ms, start_ms;
    bool is_float;
};

static void read_scalar(const struct hk_proto_field *field, struct scalars *out) {
    struct hk_histogram *histogram = &out->histogram;
    switch (field->tag) {
    case COUNT_INT:
        histogram->count = (double)field->value;
        out->is_float = false;
        break;
    case COUNT_FLOAT:
        histogram->count = hk_proto_double(field->value);
        out->is_float = true;
        break;
    case SUM:
        histogram->sum = hk_proto_double(field->value);
        break;
    case SCHEMA:
        histogram->schema = (int32_t)hk_proto_zigzag(field->value & UINT32_MAX);
        break;
    case ZERO_THRESHOLD:
        histogram->zero_threshold = hk_proto_double(field->value);
        break;
    case ZERO_COUNT_INT:
        histogram->zero_count = (double)field->value;
        break;
    case ZERO_COUNT_FLOAT:
        histogram->zero_count = hk_proto_double(field->value);
        break;
    case RESET_HINT:
        histogram->reset_hint =
            field->value <= HK_RESET_GAUGE ? (enum hk_reset_hint)field->value : HK_RESET_UNKNOWN;
        break;
    case STAMP:
        out->stamp_ms = (int64_t)field->value;
        break;
    case START:
        out->start_ms = (int64_t)field->value;
        break;
    default:
        break;
    }
}

/* How many items a field of a repeated kind holds. */
static uint64_t items_of(const struct hk_proto_field *field) {
    const bool packed = (field->tag & 7) == HK_PROTO_BYTES;
    switch (field->tag >> 3) {
    case NEGATIVE_SPANS:
    case POSITIVE_SPANS:
        return packed;
    case NEGATIVE_DELTAS:
    case POSITIVE_DELTAS: {
        if (!packed) return (field->tag & 7) == HK_PROTO_VARINT;
        uint64_t count = 0;
        for (uint64_t i = 0; i < field->value; i++)
            count += field->ptr[i] < 0x80; /* last bytes of varints */
        return count;
    }
    case NEGATIVE_COUNTS:
    case POSITIVE_COUNTS:
    case CUSTOM_VALUES:
        return packed ? field->value / 8 : (field->tag & 7) == HK_PROTO_FIXED64;
    default:
        return 0;
    }
}

/* Arrays of one histogram; `room` is what the first walk counted. */
struct arrays {
    uint64_t room[NUMBERS];
    uint32_t count[NUMBERS];
    struct hk_histogram_span *spans[NUMBERS]; /* of the numbers that are spans */
    double *values[NUMBERS];                  /* of the others */
    int64_t last[NUMBERS];                    /* of the deltas: the former bucket */
};

static bool is_spans(uint32_t number) {
    return number == NEGATIVE_SPANS || number == POSITIVE_SPANS;
}

_Static_assert(sizeof(struct hk_histogram_span) == sizeof(double), "one size for all items");

static hk_err make_room(struct arrays *arrays, struct hk_arena *arena) {
    for (uint32_t i = 0; i < NUMBERS; i++) {
        const uint64_t room = arrays->room[i];
        if (room == 0) continue;
        if (room > ITEMS_MAX) return hk_fail(HK_E_LIMIT, "histogram: over %d buckets", ITEMS_MAX);
        void *memory = hk_arena_alloc(arena, room, sizeof(double));
        if (memory == NULL) return hk_fail(HK_E_NOMEM, "histogram: out of memory");
        if (is_spans(i)) {
            arrays->spans[i] = memory;
        } else {
            arrays->values[i] = memory;
        }
    }
    return HK_OK;
}

static hk_err read_span(struct hk_proto reader, struct hk_histogram_span *out) {
    struct hk_proto_field field = { 0 };
    hk_err err = HK_OK;
    while ((err = hk_proto_next(&reader, &field)) == HK_OK) {
        if (field.tag == SPAN_OFFSET) {
            out->offset = (int32_t)hk_proto_zigzag(field.value & UINT32_MAX);
        } else if (field.tag == SPAN_LENGTH) {
            out->length = (uint32_t)field.value;
        }
    }
    return err == HK_END ? HK_OK : err;
}

/* Reads one field of a repeated kind behind what its array holds already. */
static hk_err read_items(const struct hk_proto_field *field, struct arrays *arrays) {
    const uint32_t number = field->tag >> 3;
    const uint64_t items = items_of(field);
    const bool packed = (field->tag & 7) == HK_PROTO_BYTES;
    if (items == 0) return HK_OK;
    if (is_spans(number)) {
        return read_span(hk_proto_sub(field), &arrays->spans[number][arrays->count[number]++]);
    }
    double *to = arrays->values[number] + arrays->count[number];
    arrays->count[number] += (uint32_t)items;
    if (number != NEGATIVE_DELTAS && number != POSITIVE_DELTAS) {
        if (packed && field->value % 8 != 0) return HK_E_MALFORMED;
        memcpy(to, field->ptr, items * 8);
        return HK_OK;
    }
    struct hk_proto reader = packed ? hk_proto_sub(field) : (struct hk_proto){ NULL, NULL };
    for (uint64_t i = 0; i < items; i++) {
        uint64_t raw = field->value;
        if (packed && !hk_proto_varint(&reader, &raw)) return HK_E_MALFORMED;
        int64_t *last = &arrays->last[number];
        /* An overflow shows as a negative bucket, which the check refuses. */
        *last = (int64_t)((uint64_t)*last + (uint64_t)hk_proto_zigzag(raw));
        to[i] = (double)*last;
    }
    return !packed || reader.at == reader.end ? HK_OK : HK_E_MALFORMED;
}

static struct hk_histogram_side
side(const struct arrays *arrays, uint32_t spans, uint32_t deltas, uint32_t counts, bool is_float) {
    const uint32_t values = is_float ? counts : deltas;
    return (struct hk_histogram_side){
        .spans = arrays->spans[spans],
        .span_count = arrays->count[spans],
        .counts = arrays->values[values],
        .count = arrays->count[values],
    };
}

static hk_err read_histogram(struct hk_proto reader, struct hk_arena *arena, struct scalars *out) {
    struct arrays arrays = { 0 };
    struct hk_proto_field field = { 0 };
    struct hk_proto again = reader;
    hk_err err = HK_OK;
    while ((err = hk_proto_next(&reader, &field)) == HK_OK) {
        read_scalar(&field, out);
        const uint64_t items = items_of(&field);
        if (items > 0) arrays.room[field.tag >> 3] += items;
    }
    if (err < 0) return err;
    HK_TRY(make_room(&arrays, arena));
    while (hk_proto_next(&again, &field) == HK_OK)
        HK_TRY(read_items(&field, &arrays));
    struct hk_histogram *histogram = &out->histogram;
    const bool is_float = out->is_float;
    histogram->negative = side(&arrays, NEGATIVE_SPANS, NEGATIVE_DELTAS, NEGATIVE_COUNTS, is_float);
    histogram->positive = side(&arrays, POSITIVE_SPANS, POSITIVE_DELTAS, POSITIVE_COUNTS, is_float);
    histogram->custom_values = arrays.values[CUSTOM_VALUES];
    histogram->custom_count = arrays.count[CUSTOM_VALUES];
    return HK_OK;
}

hk_err hk_rw_put_histogram(
    struct hk_batch *batch, struct hk_entry *entry, struct hk_str message,
    struct hk_rw_counts *counts) {
    struct scalars scalars = { 0 };
    hk_err err = read_histogram(hk_proto_from(message.ptr, message.len), batch->arena, &scalars);
    /* Wire format that is broken has no text yet and breaks the request. */
    if (err == HK_E_MALFORMED) return err;
    if (err == HK_OK) err = hk_histogram_entry(&scalars.histogram, batch, entry);
    if (err == HK_E_NOMEM) return err;
    if (err < 0) {
        hk_batch_reject(batch, 1, "remote write: %s", hk_fail_text());
        return HK_OK;
    }
    entry->kind = HK_ENTRY_HISTOGRAM;
    entry->stamp_ms = scalars.stamp_ms;
    entry->start_ms = scalars.start_ms;
    entry->value = scalars.histogram.sum;
    batch->count++;
    batch->points++;
    counts->histograms++;
    return HK_OK;
}
