/*
 * OTLP metrics: points that give several entries (histograms and summaries) and exemplars. A point
 * is read into otlp->point first, then handed out entry by entry, with a stop wherever the batch
 * is full. Counts and bounds are read where they stand in the body.
 */
#include "ingest/otlp_internal.h"
#include "model/exemplar.h"
#include "model/source.h"

enum {
    POINT_START = HK_PROTO_TAG(2, HK_PROTO_FIXED64),
    POINT_TIME = HK_PROTO_TAG(3, HK_PROTO_FIXED64),
    POINT_COUNT = HK_PROTO_TAG(4, HK_PROTO_FIXED64),
    POINT_SUM = HK_PROTO_TAG(5, HK_PROTO_FIXED64),
    HISTOGRAM_COUNTS = HK_PROTO_TAG(6, HK_PROTO_BYTES), /* packed */
    HISTOGRAM_ONE_COUNT = HK_PROTO_TAG(6, HK_PROTO_FIXED64),
    HISTOGRAM_BOUNDS = HK_PROTO_TAG(7, HK_PROTO_BYTES), /* packed */
    HISTOGRAM_ONE_BOUND = HK_PROTO_TAG(7, HK_PROTO_FIXED64),
    HISTOGRAM_EXEMPLAR = HK_PROTO_TAG(8, HK_PROTO_BYTES),
    HISTOGRAM_ATTRIBUTE = HK_PROTO_TAG(9, HK_PROTO_BYTES),
    HISTOGRAM_FLAGS = HK_PROTO_TAG(10, HK_PROTO_VARINT),
    SUMMARY_QUANTILE = HK_PROTO_TAG(6, HK_PROTO_BYTES),
    SUMMARY_ATTRIBUTE = HK_PROTO_TAG(7, HK_PROTO_BYTES),
    SUMMARY_FLAGS = HK_PROTO_TAG(8, HK_PROTO_VARINT),
    QUANTILE_QUANTILE = HK_PROTO_TAG(1, HK_PROTO_FIXED64),
    QUANTILE_VALUE = HK_PROTO_TAG(2, HK_PROTO_FIXED64),
    NUMBER_EXEMPLAR = HK_PROTO_TAG(5, HK_PROTO_BYTES),
    EXPONENTIAL_EXEMPLAR = HK_PROTO_TAG(11, HK_PROTO_BYTES),
    EXEMPLAR_TIME = HK_PROTO_TAG(2, HK_PROTO_FIXED64),
    EXEMPLAR_DOUBLE = HK_PROTO_TAG(3, HK_PROTO_FIXED64),
    EXEMPLAR_SPAN_ID = HK_PROTO_TAG(4, HK_PROTO_BYTES),
    EXEMPLAR_TRACE_ID = HK_PROTO_TAG(5, HK_PROTO_BYTES),
    EXEMPLAR_INT = HK_PROTO_TAG(6, HK_PROTO_FIXED64),
    EXEMPLAR_ATTRIBUTE = HK_PROTO_TAG(7, HK_PROTO_BYTES),
};

/* An array of 8-byte numbers: where it stands if it is one packed run, else to be gathered. */
struct numbers {
    const uint8_t *at;
    uint32_t count;
    bool scattered;
};

struct fields {
    struct hk_otlp_run run;
    struct numbers bounds, counts;
    uint64_t start_ns, time_ns, flags;
};

static hk_err note_numbers(struct numbers *numbers, const struct hk_proto_field *field) {
    const bool packed = (field->tag & 7) == HK_PROTO_BYTES;
    const uint64_t bytes = packed ? field->value : 8;
    if (bytes % 8 != 0) return HK_E_MALFORMED;
    if (numbers->count > 0 && bytes > 0) numbers->scattered = true;
    if (numbers->count == 0) numbers->at = field->ptr;
    numbers->count += (uint32_t)(bytes / 8); /* a point has at most 1 MiB */
    return HK_OK;
}

/* Puts the parts of a scattered array together in the arena. */
static hk_err
gather(struct numbers *numbers, struct hk_proto point, uint32_t number, struct hk_arena *arena) {
    if (!numbers->scattered) return HK_OK;
    uint8_t *to = hk_arena_alloc_raw(arena, numbers->count, 8);
    if (to == NULL) return hk_fail(HK_E_NOMEM, "otlp: out of memory");
    numbers->at = to;
    struct hk_proto_field field = { 0 };
    while (hk_proto_next(&point, &field) == HK_OK) {
        const uint32_t type = field.tag & 7;
        if (field.tag >> 3 != number || (type != HK_PROTO_BYTES && type != HK_PROTO_FIXED64))
            continue;
        const size_t bytes = type == HK_PROTO_BYTES ? (size_t)field.value : 8;
        memcpy(to, field.ptr, bytes);
        to += bytes;
    }
    return HK_OK;
}

static hk_err
read_histogram(struct hk_proto reader, struct hk_otlp_point *point, struct fields *out) {
    struct hk_proto_field field = { 0 };
    for (;;) {
        const uint8_t *from = reader.at;
        const hk_err err = hk_proto_next(&reader, &field);
        if (err != HK_OK) return err == HK_END ? HK_OK : err;
        switch (field.tag) {
        case POINT_START:
            out->start_ns = field.value;
            break;
        case POINT_TIME:
            out->time_ns = field.value;
            break;
        case POINT_COUNT:
            point->count = field.value;
            break;
        case POINT_SUM:
            point->sum = hk_proto_double(field.value);
            point->has_sum = true;
            break;
        case HISTOGRAM_COUNTS:
        case HISTOGRAM_ONE_COUNT:
            HK_TRY(note_numbers(&out->counts, &field));
            break;
        case HISTOGRAM_BOUNDS:
        case HISTOGRAM_ONE_BOUND:
            HK_TRY(note_numbers(&out->bounds, &field));
            break;
        case HISTOGRAM_ATTRIBUTE:
            hk_otlp_run_add(&out->run, from, reader.at);
            break;
        case HISTOGRAM_FLAGS:
            out->flags = field.value;
            break;
        default:
            break;
        }
    }
}

static double number_at(const uint8_t *numbers, uint32_t index) {
    return hk_proto_double(hk_proto_load64(numbers + (size_t)index * 8));
}

/* What is wrong with the point, NULL if nothing. */
static const char *histogram_fault(const struct hk_otlp_point *point) {
    const uint32_t bounds = point->bound_count, counts = point->count_count;
    if (counts == 0 && bounds > 0 && !point->stale) return "without bucket counts";
    if (counts > 0 && counts != bounds + 1)
        return "whose bucket counts are not one more than its bounds";
    for (uint32_t i = 0; i < bounds; i++) {
        const double bound = number_at(point->bounds, i);
        const bool ascends = i == 0 || bound > number_at(point->bounds, i - 1);
        if (bound != bound || !ascends) return "whose bounds do not ascend";
    }
    return NULL;
}

static void
refuse(const struct hk_otlp *otlp, struct hk_batch *batch, const char *what, const char *fault) {
    hk_batch_reject(
        batch, 1, "otlp: metric \"%.*s\" has a %s %s", HK_STR_ARG(otlp->header.name), what, fault);
}

/* Opens the point in otlp->point, whose stamps and key come from `fields`. */
static hk_err open_point(
    struct hk_otlp *otlp, struct hk_batch *batch, struct hk_proto reader,
    const struct fields *fields, uint32_t attribute_tag) {
    struct hk_otlp_point *point = &otlp->point;
    HK_TRY(hk_otlp_run_key(
        &fields->run, reader, attribute_tag, batch, &point->key, &point->key_bytes));
    point->stamp_ms = hk_otlp_ms(fields->time_ns);
    point->start_ms = hk_otlp_ms(fields->start_ns);
    const bool delta = otlp->header.temporality == TEMPORALITY_DELTA && !point->stale;
    point->kind = delta ? HK_ENTRY_ADD : HK_ENTRY_SET;
    point->open = true;
    hk_otlp_accept(otlp, batch, point->stamp_ms);
    return HK_OK;
}

hk_err
hk_otlp_open_histogram(struct hk_otlp *otlp, struct hk_batch *batch, struct hk_proto reader) {
    struct hk_otlp_point *point = &otlp->point;
    struct fields fields = { 0 };
    *point = (struct hk_otlp_point){ .exemplars = reader };
    HK_TRY(read_histogram(reader, point, &fields));
    HK_TRY(gather(&fields.bounds, reader, HISTOGRAM_BOUNDS >> 3, batch->arena));
    HK_TRY(gather(&fields.counts, reader, HISTOGRAM_COUNTS >> 3, batch->arena));
    point->stale = (fields.flags & FLAG_NO_VALUE) != 0;
    point->bounds = fields.bounds.at;
    point->bound_count = fields.bounds.count;
    point->counts = fields.counts.at;
    point->count_count = fields.counts.count;
    const char *fault = fields.time_ns == 0 ? "without a time" : histogram_fault(point);
    if (fault != NULL) {
        refuse(otlp, batch, "histogram", fault);
        return HK_OK;
    }
    return open_point(otlp, batch, reader, &fields, HISTOGRAM_ATTRIBUTE);
}

hk_err hk_otlp_open_summary(struct hk_otlp *otlp, struct hk_batch *batch, struct hk_proto reader) {
    struct hk_otlp_point *point = &otlp->point;
    struct hk_proto_field field = { 0 };
    struct fields fields = { 0 };
    *point = (struct hk_otlp_point){ .has_sum = true, .quantiles = reader };
    struct hk_proto walk = reader;
    hk_err err = HK_OK;
    for (;;) {
        const uint8_t *from = walk.at;
        err = hk_proto_next(&walk, &field);
        if (err != HK_OK) break;
        if (field.tag == POINT_START) fields.start_ns = field.value;
        if (field.tag == POINT_TIME) fields.time_ns = field.value;
        if (field.tag == POINT_COUNT) point->count = field.value;
        if (field.tag == POINT_SUM) point->sum = hk_proto_double(field.value);
        if (field.tag == SUMMARY_FLAGS) fields.flags = field.value;
        if (field.tag == SUMMARY_ATTRIBUTE) hk_otlp_run_add(&fields.run, from, walk.at);
        if (field.tag != SUMMARY_QUANTILE) continue;
        if (hk_proto_check(hk_proto_sub(&field)) < 0) return HK_E_MALFORMED;
    }
    if (err < 0) return err;
    point->stale = (fields.flags & FLAG_NO_VALUE) != 0;
    if (fields.time_ns == 0) {
        refuse(otlp, batch, "summary", "without a time");
        return HK_OK;
    }
    return open_point(otlp, batch, reader, &fields, SUMMARY_ATTRIBUTE);
}

/* Value of a histogram's or summary's entry, or the stale marker. */
static bool put_value(struct hk_otlp *otlp, struct hk_batch *batch, uint64_t part, double value) {
    struct hk_entry *entry = hk_otlp_entry(otlp, batch, part);
    if (entry == NULL) return false;
    entry->value = otlp->point.stale ? hk_stale_value() : value;
    hk_otlp_commit(otlp, batch);
    return true;
}

static uint64_t bound_part(double bound) {
    uint64_t bits = 0;
    if (bound == 0) bound = 0; /* not -0 */
    memcpy(&bits, &bound, sizeof(bits));
    return bits;
}

/* Bits of +Inf: the last bucket. */
static const uint64_t part_infinity = 0x7ff0000000000000ULL;

/* The entry number `index` of a histogram or summary but quantiles; false when the batch is full.
 */
static bool put_part(struct hk_otlp *otlp, struct hk_batch *batch, uint32_t index) {
    struct hk_otlp_point *point = &otlp->point;
    if (index == 0) {
        return !point->has_sum || put_value(otlp, batch, HK_OTLP_PART_SUM, point->sum);
    }
    if (index == 1) return put_value(otlp, batch, HK_OTLP_PART_COUNT, (double)point->count);
    const uint32_t bucket = index - 2;
    if (bucket == point->bound_count) {
        return put_value(otlp, batch, part_infinity, (double)point->count);
    }
    uint64_t inside = point->cumulative;
    if (bucket < point->count_count) inside += hk_proto_load64(point->counts + (size_t)bucket * 8);
    const uint64_t part = bound_part(number_at(point->bounds, bucket));
    /* A last bound of +Inf is the last bucket itself. */
    if (part != part_infinity && !put_value(otlp, batch, part, (double)inside)) return false;
    point->cumulative = inside;
    return true;
}

static hk_err walk_parts(struct hk_otlp *otlp, struct hk_batch *batch) {
    struct hk_otlp_point *point = &otlp->point;
    const bool histogram = otlp->header.type == HK_OTLP_HISTOGRAM;
    const uint32_t count = histogram ? point->bound_count + 3 : 2;
    while (point->next < count) {
        if (!put_part(otlp, batch, point->next)) return HK_FULL;
        point->next++;
    }
    return HK_OK;
}

static hk_err walk_quantiles(struct hk_otlp *otlp, struct hk_batch *batch) {
    struct hk_proto *rest = &otlp->point.quantiles;
    while (rest->at != NULL) {
        const uint8_t *at = rest->at;
        struct hk_proto_field field = { 0 };
        if (hk_proto_next(rest, &field) != HK_OK) {
            rest->at = NULL;
            break;
        }
        if (field.tag != SUMMARY_QUANTILE) continue;
        struct hk_proto reader = hk_proto_sub(&field);
        double quantile = 0, value = 0;
        while (hk_proto_next(&reader, &field) == HK_OK) {
            if (field.tag == QUANTILE_QUANTILE) quantile = hk_proto_double(field.value);
            if (field.tag == QUANTILE_VALUE) value = hk_proto_double(field.value);
        }
        if (quantile != quantile) continue;
        if (!put_value(otlp, batch, bound_part(quantile), value)) {
            rest->at = at;
            return HK_FULL;
        }
    }
    return HK_OK;
}

static struct hk_str hex(struct hk_str bytes, struct hk_arena *arena) {
    static const char digits[] = "0123456789abcdef";
    char *text = hk_arena_alloc_raw(arena, bytes.len * 2 + 1, 1);
    if (text == NULL) return (struct hk_str){ NULL, 0 };
    for (size_t i = 0; i < bytes.len; i++) {
        text[2 * i] = digits[(uint8_t)bytes.ptr[i] >> 4];
        text[2 * i + 1] = digits[(uint8_t)bytes.ptr[i] & 15];
    }
    text[2 * bytes.len] = 0;
    return (struct hk_str){ text, bytes.len * 2 };
}

static hk_err
exemplar_id(const char *name, struct hk_str id, struct hk_arena *arena, struct hk_label_set *set) {
    if (id.len == 0) return HK_OK;
    if (id.len > 16) return hk_fail(HK_E_MALFORMED, "otlp: %s over 16 bytes", name);
    const struct hk_str text = hex(id, arena);
    if (text.ptr == NULL) return hk_fail(HK_E_NOMEM, "otlp: out of memory");
    hk_label_set_put(set, hk_str_from(name), text);
    return HK_OK;
}

static hk_err exemplar_attribute(
    const struct hk_otlp *otlp, struct hk_str message, struct hk_arena *arena,
    struct hk_label_set *set) {
    struct hk_label pair;
    HK_TRY(hk_otlp_key_value(message, &pair));
    HK_TRY(hk_otlp_label_name(otlp->options->naming, pair.name, arena, &pair.name));
    HK_TRY(hk_otlp_value_text(pair.value, arena, &pair.value));
    hk_label_set_put(set, pair.name, pair.value);
    return HK_OK;
}

static hk_err read_exemplar(
    const struct hk_otlp *otlp, struct hk_proto reader, struct hk_arena *arena,
    struct hk_label_set *set, struct hk_exemplar *out) {
    struct hk_proto_field field = { 0 };
    hk_err err = HK_OK;
    bool valued = false;
    while ((err = hk_proto_next(&reader, &field)) == HK_OK) {
        valued = valued || field.tag == EXEMPLAR_DOUBLE || field.tag == EXEMPLAR_INT;
        if (field.tag == EXEMPLAR_TIME) out->stamp_ms = hk_otlp_ms(field.value);
        if (field.tag == EXEMPLAR_DOUBLE) out->value = hk_proto_double(field.value);
        if (field.tag == EXEMPLAR_INT) out->value = (double)(int64_t)field.value;
        if (field.tag == EXEMPLAR_SPAN_ID)
            HK_TRY(exemplar_id("span_id", hk_proto_str(&field), arena, set));
        if (field.tag == EXEMPLAR_TRACE_ID)
            HK_TRY(exemplar_id("trace_id", hk_proto_str(&field), arena, set));
        if (field.tag == EXEMPLAR_ATTRIBUTE)
            HK_TRY(exemplar_attribute(otlp, hk_proto_str(&field), arena, set));
    }
    if (err < 0 || !valued) return HK_E_MALFORMED;
    return hk_label_set_finish(set, &out->labels);
}

/* As Prometheus: attributes that make an exemplar too long go, the ids stay. */
static hk_err
drop_attributes(struct hk_arena *arena, struct hk_exemplar *exemplar, struct hk_str *payload) {
    struct hk_label kept[2];
    struct hk_exemplar shorter = *exemplar;
    uint32_t chars = 0;
    HK_TRY(hk_exemplar_chars(*payload, &chars));
    if (chars <= HK_EXEMPLAR_CHARS_MAX) return HK_OK;
    shorter.labels = (struct hk_labels){ kept, 0 };
    for (uint32_t i = 0; i < exemplar->labels.count; i++) {
        const struct hk_str name = exemplar->labels.items[i].name;
        const bool id = hk_str_is(name, "span_id") || hk_str_is(name, "trace_id");
        if (id) kept[shorter.labels.count++] = exemplar->labels.items[i];
    }
    return hk_exemplar_encode(&shorter, arena, payload);
}

/* The series that an exemplar with this value belongs to. */
static uint64_t exemplar_part(const struct hk_otlp *otlp, double value) {
    const struct hk_otlp_point *point = &otlp->point;
    if (otlp->header.type != HK_OTLP_HISTOGRAM) return 0;
    uint32_t low = 0, high = point->bound_count;
    while (low < high) {
        const uint32_t middle = low + (high - low) / 2;
        if (number_at(point->bounds, middle) >= value) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return low == point->bound_count ? part_infinity : bound_part(number_at(point->bounds, low));
}

static hk_err put_exemplar(struct hk_otlp *otlp, struct hk_batch *batch, struct hk_proto message) {
    struct hk_label_set set;
    struct hk_exemplar exemplar = { 0 };
    struct hk_str payload = { 0 };
    hk_label_set_clear(&set);
    hk_err err = read_exemplar(otlp, message, batch->arena, &set, &exemplar);
    if (err == HK_OK) err = hk_exemplar_encode(&exemplar, batch->arena, &payload);
    if (err == HK_OK) err = drop_attributes(batch->arena, &exemplar, &payload);
    if (err == HK_E_NOMEM) return err;
    if (err < 0) {
        otlp->counts.exemplars_rejected++;
        return HK_OK;
    }
    struct hk_entry *entry = hk_otlp_entry(otlp, batch, exemplar_part(otlp, exemplar.value));
    entry->kind = HK_ENTRY_EXEMPLAR;
    entry->stamp_ms = exemplar.stamp_ms;
    entry->start_ms = 0;
    entry->value = exemplar.value;
    entry->payload = payload.ptr;
    entry->payload_bytes = (uint32_t)payload.len;
    hk_otlp_commit(otlp, batch);
    otlp->counts.exemplars++;
    return HK_OK;
}

static uint32_t exemplar_tag(uint8_t type) {
    if (type == HK_OTLP_HISTOGRAM) return HISTOGRAM_EXEMPLAR;
    return type == HK_OTLP_EXPONENTIAL ? EXPONENTIAL_EXEMPLAR : NUMBER_EXEMPLAR;
}

static hk_err walk_exemplars(struct hk_otlp *otlp, struct hk_batch *batch) {
    struct hk_proto *rest = &otlp->point.exemplars;
    const uint32_t tag = exemplar_tag(otlp->header.type);
    while (rest->at != NULL) {
        const uint8_t *at = rest->at;
        struct hk_proto_field field = { 0 };
        if (hk_proto_next(rest, &field) != HK_OK) {
            rest->at = NULL;
            break;
        }
        if (field.tag != tag) continue;
        if (batch->count == HK_BATCH_ENTRIES_MAX) {
            rest->at = at;
            return HK_FULL;
        }
        HK_TRY(put_exemplar(otlp, batch, hk_proto_sub(&field)));
    }
    return HK_OK;
}

hk_err hk_otlp_walk_point(struct hk_otlp *otlp, struct hk_batch *batch) {
    hk_err err = HK_OK;
    if (otlp->point.next != UINT32_MAX) err = walk_parts(otlp, batch);
    if (err == HK_OK) err = walk_quantiles(otlp, batch);
    if (err == HK_OK) err = walk_exemplars(otlp, batch);
    if (err == HK_OK) otlp->point.open = false;
    return err;
}
