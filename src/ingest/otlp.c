/*
 * OTLP metrics: the walk through resources, scopes, metrics and points.
 *
 * Header fields may stand behind the children they belong to (temporality always does), so each
 * level is walked ahead once (`scan`), then again for its children (`rest`). Both stop when the
 * turn's budget of fields is used up. Invariants: (1) a level is open only while all above it are;
 * (2) the slot of the open metric is not reused before the metric is closed and the batch drained.
 */
#include "ingest/otlp.h"

#include "ingest/otlp_internal.h"
#include "model/source.h"

enum {
    REQUEST_RESOURCE = HK_PROTO_TAG(1, HK_PROTO_BYTES), /* resource_metrics */
    RM_RESOURCE = HK_PROTO_TAG(1, HK_PROTO_BYTES),
    RM_SCOPE = HK_PROTO_TAG(2, HK_PROTO_BYTES), /* scope_metrics */
    SM_SCOPE = HK_PROTO_TAG(1, HK_PROTO_BYTES),
    SM_METRIC = HK_PROTO_TAG(2, HK_PROTO_BYTES),
    SM_SCHEMA_URL = HK_PROTO_TAG(3, HK_PROTO_BYTES),
    METRIC_NAME = HK_PROTO_TAG(1, HK_PROTO_BYTES),
    METRIC_DESCRIPTION = HK_PROTO_TAG(2, HK_PROTO_BYTES),
    METRIC_UNIT = HK_PROTO_TAG(3, HK_PROTO_BYTES),
    METRIC_GAUGE = HK_PROTO_TAG(5, HK_PROTO_BYTES),
    METRIC_SUM = HK_PROTO_TAG(7, HK_PROTO_BYTES),
    METRIC_HISTOGRAM = HK_PROTO_TAG(9, HK_PROTO_BYTES),
    METRIC_EXPONENTIAL = HK_PROTO_TAG(10, HK_PROTO_BYTES),
    METRIC_SUMMARY = HK_PROTO_TAG(11, HK_PROTO_BYTES),
    DATA_POINT = HK_PROTO_TAG(1, HK_PROTO_BYTES),
    DATA_TEMPORALITY = HK_PROTO_TAG(2, HK_PROTO_VARINT),
    DATA_MONOTONIC = HK_PROTO_TAG(3, HK_PROTO_VARINT),
    POINT_START = HK_PROTO_TAG(2, HK_PROTO_FIXED64),
    POINT_TIME = HK_PROTO_TAG(3, HK_PROTO_FIXED64),
    NUMBER_DOUBLE = HK_PROTO_TAG(4, HK_PROTO_FIXED64),
    NUMBER_EXEMPLAR = HK_PROTO_TAG(5, HK_PROTO_BYTES),
    NUMBER_INT = HK_PROTO_TAG(6, HK_PROTO_FIXED64),
    NUMBER_ATTRIBUTE = HK_PROTO_TAG(7, HK_PROTO_BYTES),
    NUMBER_FLAGS = HK_PROTO_TAG(8, HK_PROTO_VARINT),
};

void hk_otlp_init(
    struct hk_otlp *otlp, struct hk_str body, struct hk_hash128 base,
    const struct hk_otlp_options *options, struct hk_meta_seen *seen) {
    static const struct hk_otlp_options defaults = { .naming = HK_OTLP_UNDERSCORES_SUFFIXES };
    /* The slots need no zeroing and are most of the struct. */
    memset(otlp, 0, offsetof(struct hk_otlp, slots));
    otlp->options = options == NULL ? &defaults : options;
    otlp->seen = seen;
    otlp->body = hk_proto_from(body.ptr, body.len);
    otlp->start = otlp->body.at;
    otlp->base = hk_hash_mix(base, hk_hash128("otlp", 4));
}

hk_err hk_otlp_malformed(const struct hk_otlp *otlp, const uint8_t *at) {
    return hk_fail(
        HK_E_MALFORMED, "otlp: the body is not valid protobuf from byte %td on", at - otlp->start);
}

/* Next field of a level within the turn's budget: HK_OK, HK_END, HK_FULL, HK_E_MALFORMED. */
static inline hk_err
next_field(struct hk_otlp *otlp, struct hk_proto *reader, struct hk_proto_field *out) {
    if (HK_UNLIKELY(otlp->budget == 0)) return reader->at == reader->end ? HK_END : HK_FULL;
    otlp->budget--;
    const uint8_t *at = reader->at;
    const hk_err err = hk_proto_next(reader, out);
    return HK_UNLIKELY(err < 0) ? hk_otlp_malformed(otlp, at) : err;
}

static void open_level(struct hk_otlp_level *level, struct hk_str bytes) {
    level->rest = level->scan = hk_proto_from(bytes.ptr, bytes.len);
}

/* A singular message that comes twice is merged, which for bytes means: put one behind the other
 * (protobuf.dev, "Last one wins"). */
static hk_err
merge(struct hk_str *into, const struct hk_proto_field *field, struct hk_arena *arena) {
    const struct hk_str more = hk_proto_str(field);
    if (into->len == 0 || more.len == 0) {
        if (into->len == 0) *into = more;
        return HK_OK;
    }
    char *both = hk_arena_alloc_raw(arena, into->len + more.len, 1);
    if (both == NULL) return hk_fail(HK_E_NOMEM, "otlp: out of memory");
    memcpy(both, into->ptr, into->len);
    memcpy(both + into->len, more.ptr, more.len);
    *into = (struct hk_str){ both, into->len + more.len };
    return HK_OK;
}

static hk_err check_size(struct hk_str message, const char *what) {
    if (message.len <= HK_OTLP_MESSAGE_BYTES_MAX) return HK_OK;
    return hk_fail(HK_E_LIMIT, "otlp: %s over %d bytes", what, HK_OTLP_MESSAGE_BYTES_MAX);
}

/* Is there something to tell about the resource beside job and instance, and one of these two? */
static bool deserves_target_info(const struct hk_otlp *otlp) {
    struct hk_proto reader = hk_proto_from(otlp->resource_bytes.ptr, otlp->resource_bytes.len);
    struct hk_proto_field field = { 0 };
    bool identified = false, others = false;
    while (hk_proto_next(&reader, &field) == HK_OK) {
        struct hk_label pair;
        if (field.tag != RESOURCE_ATTRIBUTE) continue;
        if (hk_otlp_key_value(hk_proto_str(&field), &pair) < 0) return false;
        const bool name = hk_str_is(pair.name, "service.name");
        const bool instance = hk_str_is(pair.name, "service.instance.id");
        identified = identified || name || instance;
        others = others || !(name || instance || hk_str_is(pair.name, "service.namespace"));
    }
    return identified && others;
}

/* Scans ResourceMetrics for its resource. */
static hk_err scan_resource(struct hk_otlp *otlp, struct hk_batch *batch) {
    struct hk_proto_field field = { 0 };
    hk_err err = HK_OK;
    while ((err = next_field(otlp, &otlp->resource.scan, &field)) == HK_OK) {
        if (field.tag != RM_RESOURCE) continue;
        HK_TRY(merge(&otlp->resource_bytes, &field, batch->arena));
    }
    if (err != HK_END) return err;
    const struct hk_str bytes = otlp->resource_bytes;
    HK_TRY(check_size(bytes, "a resource"));
    struct hk_proto reader = hk_proto_from(bytes.ptr, bytes.len);
    if (hk_proto_check(reader) < 0) return hk_otlp_malformed(otlp, otlp->resource.rest.at);
    otlp->resource_hash = hk_hash_mix(otlp->base, hk_hash128(bytes.ptr, bytes.len));
    otlp->target_info = deserves_target_info(otlp);
    otlp->resource.scan.at = NULL;
    return HK_OK;
}

/* Scans ScopeMetrics for scope and schema. */
static hk_err scan_scope(struct hk_otlp *otlp, struct hk_batch *batch) {
    struct hk_proto_field field = { 0 };
    hk_err err = HK_OK;
    while ((err = next_field(otlp, &otlp->scope.scan, &field)) == HK_OK) {
        if (field.tag == SM_SCOPE) HK_TRY(merge(&otlp->scope_bytes, &field, batch->arena));
        if (field.tag == SM_SCHEMA_URL) otlp->scope_schema_url = hk_proto_str(&field);
    }
    if (err != HK_END) return err;
    const struct hk_str bytes = otlp->scope_bytes, url = otlp->scope_schema_url;
    HK_TRY(check_size(bytes, "a scope"));
    struct hk_hash128 hash = hk_hash_mix(otlp->resource_hash, hk_hash128(bytes.ptr, bytes.len));
    if (url.len > 0) hash = hk_hash_mix(hash, hk_hash128(url.ptr, url.len));
    otlp->scope_hash = hash;
    otlp->scope.scan.at = NULL;
    return HK_OK;
}

/* Notes a header field that stands at [from, to); see header_bytes. */
static void note_header(
    struct hk_otlp *otlp, const struct hk_proto_field *field, const uint8_t *from,
    const uint8_t *to) {
    const uint32_t number = field->tag >> 3;
    struct hk_str *run = &otlp->header_bytes;
    const bool follows = run->len == 0 || (const uint8_t *)run->ptr + run->len == from;
    if (number > otlp->header_last && follows && otlp->header_last < 16) {
        if (run->len == 0) run->ptr = (const char *)from;
        run->len += (size_t)(to - from);
        otlp->header_last = number;
    } else {
        otlp->header_last = 16;
    }
    if (field->tag == METRIC_NAME) otlp->header.name = hk_proto_str(field);
    if (field->tag == METRIC_DESCRIPTION) otlp->header.description = hk_proto_str(field);
    if (field->tag == METRIC_UNIT) otlp->header.unit = hk_proto_str(field);
}

/* The header in the form that writers in field order give it, for one and the same hash. */
static hk_err rebuild_header(struct hk_otlp *otlp, struct hk_arena *arena) {
    const struct hk_str parts[] = { otlp->header.name, otlp->header.description,
                                    otlp->header.unit };
    struct hk_buf buf;
    hk_buf_init(&buf, 1 << 30);
    for (uint32_t i = 0; i < HK_COUNT(parts); i++) {
        if (parts[i].len > 0) hk_proto_put_str(&buf, i + 1, parts[i]);
    }
    otlp->header_bytes = hk_arena_str(arena, hk_buf_get(&buf));
    const bool failed = buf.err < 0 || otlp->header_bytes.ptr == NULL;
    hk_buf_deinit(&buf);
    return failed ? hk_fail(HK_E_NOMEM, "otlp: out of memory") : HK_OK;
}

static void note_data(
    struct hk_otlp *otlp, const struct hk_proto_field *field, hk_err *err, struct hk_arena *arena) {
    if (otlp->data_tag != field->tag) otlp->data_bytes = (struct hk_str){ "", 0 };
    otlp->data_tag = field->tag;
    *err = merge(&otlp->data_bytes, field, arena);
}

/* Scans Metric for its header and data, then the data for temporality. */
static hk_err scan_metric(struct hk_otlp *otlp, struct hk_batch *batch) {
    struct hk_proto_field field = { 0 };
    hk_err err = HK_OK;
    for (;;) {
        const uint8_t *from = otlp->metric.scan.at;
        err = next_field(otlp, &otlp->metric.scan, &field);
        if (err != HK_OK) break;
        switch (field.tag) {
        case METRIC_NAME:
        case METRIC_DESCRIPTION:
        case METRIC_UNIT:
            note_header(otlp, &field, from, otlp->metric.scan.at);
            break;
        case METRIC_GAUGE:
        case METRIC_SUM:
        case METRIC_HISTOGRAM:
        case METRIC_EXPONENTIAL:
        case METRIC_SUMMARY:
            note_data(otlp, &field, &err, batch->arena);
            if (err < 0) return err;
            break;
        default:
            break;
        }
    }
    if (err != HK_END) return err;
    if (otlp->header_last == 16) HK_TRY(rebuild_header(otlp, batch->arena));
    otlp->metric.scan.at = NULL;
    if (otlp->data_tag == 0) {
        otlp->metric.rest.at = NULL; /* no data, or of a kind that is not known */
    } else {
        open_level(&otlp->points, otlp->data_bytes);
    }
    return HK_OK;
}

/* Type and refusal of the metric from what the scans found. */
static void settle_type(struct hk_otlp *otlp) {
    struct hk_otlp_context *header = &otlp->header;
    otlp->refuse = header->name.len == 0 ? "a metric without a name" : NULL;
    switch (otlp->data_tag) {
    case METRIC_SUM:
        header->type = otlp->monotonic ? HK_OTLP_COUNTER : HK_OTLP_SUM;
        break;
    case METRIC_HISTOGRAM:
        header->type = HK_OTLP_HISTOGRAM;
        break;
    case METRIC_EXPONENTIAL:
        header->type = HK_OTLP_EXPONENTIAL;
        break;
    case METRIC_SUMMARY:
        header->type = HK_OTLP_SUMMARY;
        header->temporality = TEMPORALITY_CUMULATIVE;
        return;
    default:
        header->type = HK_OTLP_GAUGE;
        header->temporality = TEMPORALITY_CUMULATIVE;
        return;
    }
    const uint8_t temporality = header->temporality;
    if (temporality != TEMPORALITY_DELTA && temporality != TEMPORALITY_CUMULATIVE) {
        otlp->refuse = "a metric without aggregation temporality";
    }
}

static struct hk_str type_text(uint8_t type) {
    static const struct hk_str texts[] = {
        [HK_OTLP_GAUGE] = { "gauge", 5 },
        [HK_OTLP_COUNTER] = { "counter", 7 },
        [HK_OTLP_SUM] = { "gauge", 5 },
        [HK_OTLP_HISTOGRAM] = { "histogram", 9 },
        [HK_OTLP_EXPONENTIAL] = { "histogram", 9 },
        [HK_OTLP_SUMMARY] = { "summary", 7 },
        [HK_OTLP_TARGET_INFO] = { "info", 4 },
    };
    return texts[type];
}

/* Reports the metadata of the metric unless it is known; HK_FULL when there is no room. */
static hk_err report_meta(struct hk_otlp *otlp, struct hk_batch *batch, struct hk_hash128 hash) {
    const struct hk_otlp_context *header = &otlp->header;
    const uint64_t key = hk_hash_mix(otlp->base, hash).low;
    if (otlp->refuse != NULL || hk_meta_seen_has(otlp->seen, key)) return HK_OK;
    if (batch->meta_count == HK_BATCH_META_MAX) return HK_FULL;
    struct hk_batch_meta meta = { .type = type_text(header->type), .help = header->description };
    hk_err err = hk_otlp_metric_name(
        otlp->options->naming, header->name, header->unit, header->type, batch->arena,
        &meta.metric);
    if (err == HK_OK) {
        err = hk_otlp_unit_name(otlp->options->naming, header->unit, batch->arena, &meta.unit);
    }
    if (err == HK_E_NOMEM) return err;
    if (err == HK_OK) batch->metas[batch->meta_count++] = meta;
    hk_meta_seen_put(otlp->seen, key);
    return HK_OK;
}

/* A slot for a context that no entry of this batch uses yet. (2) */
static struct hk_otlp_slot *next_slot(struct hk_otlp *otlp) {
    if (otlp->slot_used) otlp->slot++;
    otlp->slot_used = false;
    hk_assert(otlp->slot < HK_COUNT(otlp->slots));
    return &otlp->slots[otlp->slot];
}

/* Skips points of the data message while it is scanned, up to a length that takes no long turn. */
static void skip_points(struct hk_otlp *otlp) {
    enum { STEP_BYTES = 16384, FIELD_BYTES = 64 };
    struct hk_proto *scan = &otlp->points.scan;
    const size_t bytes = (size_t)(scan->end - scan->at);
    const size_t run = hk_proto_run(scan->at, bytes < STEP_BYTES ? bytes : STEP_BYTES, DATA_POINT);
    if (run > bytes) return; /* cut off: the next step says where */
    scan->at += run;
    const uint32_t fields = (uint32_t)(run / FIELD_BYTES);
    otlp->budget -= otlp->budget < fields ? otlp->budget : fields;
}

/* Scans the data message, then makes the metric's context. */
static hk_err scan_points(struct hk_otlp *otlp, struct hk_batch *batch) {
    struct hk_proto_field field = { 0 };
    hk_err err = HK_OK;
    /* Only sums and histograms have fields behind the points. */
    const bool plain = otlp->data_tag == METRIC_GAUGE || otlp->data_tag == METRIC_SUMMARY;
    if (plain) otlp->points.scan.at = otlp->points.scan.end;
    skip_points(otlp);
    while ((err = next_field(otlp, &otlp->points.scan, &field)) == HK_OK) {
        if (field.tag == DATA_POINT) skip_points(otlp);
        if (field.tag == DATA_TEMPORALITY) {
            otlp->header.temporality = field.value < 3 ? (uint8_t)field.value : 0;
        } else if (field.tag == DATA_MONOTONIC) {
            otlp->monotonic = field.value != 0;
        }
    }
    if (err != HK_END) return err;
    settle_type(otlp);
    struct hk_otlp_context *header = &otlp->header;
    const struct hk_hash128 kind = { (uint64_t)header->type << 8 | header->temporality, 1 };
    struct hk_hash128 hash = hk_hash128(otlp->header_bytes.ptr, otlp->header_bytes.len);
    hash = hk_hash_mix(hash, kind);
    err = report_meta(otlp, batch, hash);
    if (err != HK_OK) return err;
    header->resource = otlp->resource_bytes;
    header->scope = otlp->scope_bytes;
    header->scope_schema_url = otlp->scope_schema_url;
    struct hk_otlp_slot *slot = next_slot(otlp);
    slot->data = *header;
    slot->context.hash = hk_hash_mix(otlp->scope_hash, hash);
    slot->context.data = &slot->data;
    otlp->points.scan.at = NULL;
    return HK_OK;
}

static hk_err next_metric(struct hk_otlp *otlp) {
    struct hk_proto_field field = { 0 };
    const hk_err err = next_field(otlp, &otlp->scope.rest, &field);
    if (err == HK_END) otlp->scope.rest.at = NULL;
    if (err != HK_OK) return err == HK_END ? HK_OK : err;
    if (field.tag != SM_METRIC) return HK_OK;
    otlp->header = (struct hk_otlp_context){ .name = { "", 0 }, .unit = { "", 0 } };
    otlp->header.description = (struct hk_str){ "", 0 };
    otlp->header_bytes = otlp->data_bytes = (struct hk_str){ "", 0 };
    otlp->header_last = otlp->data_tag = 0;
    otlp->monotonic = false;
    open_level(&otlp->metric, hk_proto_str(&field));
    return HK_OK;
}

static hk_err next_scope(struct hk_otlp *otlp) {
    struct hk_proto_field field = { 0 };
    const hk_err err = next_field(otlp, &otlp->resource.rest, &field);
    if (err == HK_END) otlp->resource.rest.at = NULL;
    if (err != HK_OK) return err == HK_END ? HK_OK : err;
    if (field.tag != RM_SCOPE) return HK_OK;
    otlp->scope_bytes = otlp->scope_schema_url = (struct hk_str){ "", 0 };
    open_level(&otlp->scope, hk_proto_str(&field));
    return HK_OK;
}

static hk_err next_resource(struct hk_otlp *otlp) {
    struct hk_proto_field field = { 0 };
    const hk_err err = next_field(otlp, &otlp->body, &field);
    if (err != HK_OK || field.tag != REQUEST_RESOURCE) return err;
    otlp->resource_bytes = (struct hk_str){ "", 0 };
    otlp->newest_ms = INT64_MIN;
    otlp->target_info = false;
    open_level(&otlp->resource, hk_proto_str(&field));
    return HK_OK;
}

/* The resource's target_info, once all its points went out. */
static hk_err put_target_info(struct hk_otlp *otlp, struct hk_batch *batch) {
    if (batch->count == HK_BATCH_ENTRIES_MAX) return HK_FULL;
    otlp->target_info = false;
    if (otlp->newest_ms == INT64_MIN) return HK_OK;
    struct hk_otlp_slot *slot = next_slot(otlp);
    slot->data = (struct hk_otlp_context){
        .resource = otlp->resource_bytes,
        .name = HK_STR("target_info"),
        .type = HK_OTLP_TARGET_INFO,
    };
    const struct hk_hash128 kind = { HK_OTLP_TARGET_INFO, 2 };
    slot->context.hash = hk_hash_mix(otlp->resource_hash, kind);
    slot->context.data = &slot->data;
    otlp->point =
        (struct hk_otlp_point){ .key = "", .stamp_ms = otlp->newest_ms, .kind = HK_ENTRY_SET };
    struct hk_entry *entry = hk_otlp_entry(otlp, batch, 0);
    entry->value = 1;
    hk_otlp_commit(otlp, batch);
    return HK_OK;
}

void hk_otlp_accept(struct hk_otlp *otlp, struct hk_batch *batch, int64_t stamp_ms) {
    batch->points++;
    if (stamp_ms > otlp->newest_ms) otlp->newest_ms = stamp_ms;
}

struct hk_entry *hk_otlp_entry(struct hk_otlp *otlp, struct hk_batch *batch, uint64_t part) {
    if (batch->count == HK_BATCH_ENTRIES_MAX) return NULL;
    const struct hk_otlp_point *point = &otlp->point;
    struct hk_entry *entry = &batch->entries[batch->count];
    *entry = (struct hk_entry){
        .key = point->key,
        .key_bytes = point->key_bytes,
        .ref = HK_REF_NONE,
        .part = part,
        .context = &otlp->slots[otlp->slot].context,
        .stamp_ms = point->stamp_ms,
        .start_ms = point->start_ms,
        .kind = point->kind,
    };
    return entry;
}

hk_err hk_otlp_run_key(
    const struct hk_otlp_run *run, struct hk_proto point, uint32_t tag, struct hk_batch *batch,
    const void **out_key, uint32_t *out_bytes) {
    *out_bytes = (uint32_t)run->bytes; /* under HK_OTLP_MESSAGE_BYTES_MAX */
    *out_key = run->start == NULL ? (const void *)"" : run->start;
    if (HK_LIKELY(!run->scattered)) return HK_OK;
    uint8_t *to = hk_arena_alloc_raw(batch->arena, run->bytes, 1);
    if (to == NULL) return hk_fail(HK_E_NOMEM, "otlp: out of memory");
    *out_key = to;
    struct hk_proto_field field = { 0 };
    const uint8_t *from = point.at;
    while (hk_proto_next(&point, &field) == HK_OK) {
        const size_t bytes = (size_t)(point.at - from);
        if (field.tag == tag) {
            memcpy(to, from, bytes);
            to += bytes;
        }
        from = point.at;
    }
    return HK_OK;
}

struct number {
    struct hk_otlp_run run;
    uint64_t start_ns, time_ns, bits, flags;
    uint32_t value_tag; /* 0 = none */
    bool exemplars;
};

static hk_err read_number(struct hk_proto reader, struct number *out) {
    struct hk_proto_field field = { 0 };
    *out = (struct number){ 0 };
    while (reader.at < reader.end) {
        const uint8_t *from = reader.at;
        if (hk_proto_next(&reader, &field) < 0) return HK_E_MALFORMED;
        switch (field.tag) {
        case POINT_START:
            out->start_ns = field.value;
            break;
        case POINT_TIME:
            out->time_ns = field.value;
            break;
        case NUMBER_DOUBLE:
        case NUMBER_INT:
            out->bits = field.value;
            out->value_tag = field.tag;
            break;
        case NUMBER_EXEMPLAR:
            out->exemplars = true;
            break;
        case NUMBER_ATTRIBUTE:
            hk_otlp_run_add(&out->run, from, reader.at);
            break;
        case NUMBER_FLAGS:
            out->flags = field.value;
            break;
        default:
            break;
        }
    }
    return HK_OK;
}

/* As read_number for the usual order of fields: start, time, value, attributes (or the value last).
 * False: read it the general way. */
static inline bool read_usual_number(struct hk_proto reader, struct number *out) {
    const uint8_t *at = reader.at, *const end = reader.end;
    if (end - at < 18) return false; /* time and value at least */
    out->start_ns = 0;
    if (*at == POINT_START) {
        out->start_ns = hk_proto_load64(at + 1);
        at += 9;
    }
    if (end - at < 18 || *at != POINT_TIME) return false;
    out->time_ns = hk_proto_load64(at + 1);
    at += 9;
    out->value_tag = *at;
    const bool value_first = *at == NUMBER_DOUBLE || *at == NUMBER_INT;
    if (value_first) {
        out->bits = hk_proto_load64(at + 1);
        at += 9;
    }
    const size_t bytes = (size_t)(end - at);
    const size_t run = hk_proto_run(at, bytes, NUMBER_ATTRIBUTE);
    out->run = (struct hk_otlp_run){ at, at, run, false };
    out->flags = 0;
    out->exemplars = false;
    if (value_first) return run == bytes;
    if (run + 9 != bytes) return false;
    at += run;
    out->value_tag = *at;
    out->bits = hk_proto_load64(at + 1);
    return *at == NUMBER_DOUBLE || *at == NUMBER_INT;
}

/* Hands out one gauge or sum point; there is room for an entry. */
static inline hk_err
take_number(struct hk_otlp *otlp, struct hk_batch *batch, struct hk_proto reader) {
    struct number number;
    if (HK_UNLIKELY(!read_usual_number(reader, &number))) {
        if (read_number(reader, &number) < 0) return HK_E_MALFORMED;
    }
    const bool stale = (number.flags & FLAG_NO_VALUE) != 0;
    if (HK_UNLIKELY(number.time_ns == 0 || (number.value_tag == 0 && !stale))) {
        hk_batch_reject(
            batch, 1, "otlp: metric \"%.*s\" has a point without a %s",
            HK_STR_ARG(otlp->header.name), number.time_ns == 0 ? "time" : "value");
        return HK_OK;
    }
    struct hk_entry *entry = &batch->entries[batch->count];
    entry->key = number.run.start;
    entry->key_bytes = (uint32_t)number.run.bytes;
    if (HK_UNLIKELY(number.run.scattered || number.run.start == NULL)) {
        HK_TRY(hk_otlp_run_key(
            &number.run, reader, NUMBER_ATTRIBUTE, batch, &entry->key, &entry->key_bytes));
    }
    const uint8_t type = otlp->header.type;
    const bool delta = otlp->header.temporality == TEMPORALITY_DELTA && !stale;
    entry->ref = HK_REF_NONE;
    entry->part = 0;
    entry->context = &otlp->slots[otlp->slot].context;
    entry->stamp_ms = hk_otlp_ms(number.time_ns);
    entry->start_ms = type == HK_OTLP_GAUGE ? 0 : hk_otlp_ms(number.start_ns);
    entry->value = number.value_tag == NUMBER_INT ? (double)(int64_t)number.bits
                                                  : hk_proto_double(number.bits);
    if (HK_UNLIKELY(stale)) entry->value = hk_stale_value();
    entry->payload = NULL;
    entry->payload_bytes = 0;
    entry->kind = delta ? HK_ENTRY_ADD : HK_ENTRY_SET;
    hk_otlp_commit(otlp, batch);
    hk_otlp_accept(otlp, batch, entry->stamp_ms);
    if (HK_UNLIKELY(number.exemplars && type != HK_OTLP_GAUGE)) {
        otlp->point = (struct hk_otlp_point){
            .open = true,
            .key = entry->key,
            .key_bytes = entry->key_bytes,
            .next = UINT32_MAX,
            .exemplars = reader,
        };
    }
    return HK_OK;
}

static hk_err
take_point(struct hk_otlp *otlp, struct hk_batch *batch, const struct hk_proto_field *field) {
    const struct hk_proto point = hk_proto_sub(field);
    if (HK_UNLIKELY(otlp->refuse != NULL)) {
        const struct hk_str name = otlp->header.name;
        hk_batch_reject(batch, 1, "otlp: %s (\"%.*s\")", otlp->refuse, HK_STR_ARG(name));
        return HK_OK;
    }
    HK_TRY(check_size(hk_proto_str(field), "a data point"));
    switch (otlp->header.type) {
    case HK_OTLP_HISTOGRAM:
        return hk_otlp_open_histogram(otlp, batch, point);
    case HK_OTLP_EXPONENTIAL:
        return hk_otlp_open_exponential(otlp, batch, point);
    case HK_OTLP_SUMMARY:
        return hk_otlp_open_summary(otlp, batch, point);
    default:
        return take_number(otlp, batch, point);
    }
}

/* Hands out gauge and sum points of the usual shape, as many as there are room and budget for. */
static hk_err next_numbers(struct hk_otlp *otlp, struct hk_batch *batch) {
    struct hk_proto *rest = &otlp->points.rest;
    while (batch->count < HK_BATCH_ENTRIES_MAX && otlp->budget > 0 && !otlp->point.open) {
        struct hk_proto point = { NULL, NULL };
        point.at = hk_proto_usual(rest->at, rest->end, DATA_POINT, &point.end);
        if (point.at == NULL) return HK_OK;
        const hk_err err = take_number(otlp, batch, point);
        if (err == HK_E_MALFORMED) return hk_otlp_malformed(otlp, rest->at);
        if (err < 0) return err;
        rest->at = point.end;
        otlp->budget--;
    }
    return HK_OK;
}

/* Hands out points of the open metric until one needs more than one entry. */
static hk_err next_points(struct hk_otlp *otlp, struct hk_batch *batch) {
    const bool numbers = otlp->header.type <= HK_OTLP_SUM && otlp->refuse == NULL;
    while (!otlp->point.open) {
        if (numbers) {
            HK_TRY(next_numbers(otlp, batch));
            if (otlp->point.open) break;
        }
        const uint8_t *at = otlp->points.rest.at;
        if (batch->count == HK_BATCH_ENTRIES_MAX && at < otlp->points.rest.end) return HK_FULL;
        struct hk_proto_field field = { 0 };
        hk_err err = next_field(otlp, &otlp->points.rest, &field);
        if (err == HK_END) {
            otlp->points.rest.at = otlp->metric.rest.at = NULL;
            return HK_OK;
        }
        if (err != HK_OK) return err;
        if (field.tag != DATA_POINT) continue;
        err = take_point(otlp, batch, &field);
        if (err == HK_E_MALFORMED) return hk_otlp_malformed(otlp, at);
        if (err < 0) return err;
    }
    return HK_OK;
}

/* Does what comes next, deepest level first. HK_END: the request is done. */
static hk_err step(struct hk_otlp *otlp, struct hk_batch *batch) {
    if (otlp->point.open) return hk_otlp_walk_point(otlp, batch);
    if (otlp->points.rest.at != NULL) {
        if (otlp->points.scan.at != NULL) return scan_points(otlp, batch);
        return next_points(otlp, batch);
    }
    if (otlp->metric.rest.at != NULL) return scan_metric(otlp, batch);
    if (otlp->scope.rest.at != NULL) {
        if (otlp->scope.scan.at != NULL) return scan_scope(otlp, batch);
        return next_metric(otlp);
    }
    if (otlp->resource.rest.at != NULL) {
        if (otlp->resource.scan.at != NULL) return scan_resource(otlp, batch);
        return next_scope(otlp);
    }
    if (otlp->target_info) return put_target_info(otlp, batch);
    return next_resource(otlp);
}

static hk_err otlp_parse(void *state, struct hk_batch *batch) {
    struct hk_otlp *otlp = state;
    /* The batch was drained: only the open metric's slot is still needed. */
    if (otlp->slot > 0 && otlp->points.rest.at != NULL) {
        otlp->slots[0] = otlp->slots[otlp->slot];
        otlp->slots[0].context.data = &otlp->slots[0].data;
    }
    otlp->slot = 0;
    otlp->slot_used = false;
    otlp->budget = HK_OTLP_TURN_FIELDS;
    hk_err err = HK_OK;
    while (err == HK_OK)
        err = step(otlp, batch);
    return err == HK_END ? HK_OK : err;
}

const struct hk_metric_parser hk_parser_otlp = {
    .name = "otlp",
    .parse = otlp_parse,
    .labels = hk_otlp_labels,
};
