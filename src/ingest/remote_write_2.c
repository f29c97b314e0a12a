/*
 * Remote Write 2.0. First all symbols are collected and hashed, then the series are handed out.
 * A series is walked twice, as in version 1.0. Invariants: (1) each key of the batch but the last
 * belongs to an entry, so that there are never more keys than entries; (2) all refs of a key are
 * below symbol_count.
 */
#include "ingest/remote_write.h"
#include "ingest/remote_write_internal.h"

/* io.prometheus.write.v2: Request, TimeSeries, Sample, Metadata. */
enum {
    REQUEST_SYMBOL = HK_PROTO_TAG(4, HK_PROTO_BYTES),
    REQUEST_SERIES = HK_PROTO_TAG(5, HK_PROTO_BYTES),
    SERIES_REFS = HK_PROTO_TAG(1, HK_PROTO_BYTES), /* packed */
    SERIES_ONE_REF = HK_PROTO_TAG(1, HK_PROTO_VARINT),
    SERIES_SAMPLE = HK_PROTO_TAG(2, HK_PROTO_BYTES),
    SERIES_HISTOGRAM = HK_PROTO_TAG(3, HK_PROTO_BYTES),
    SERIES_EXEMPLAR = HK_PROTO_TAG(4, HK_PROTO_BYTES),
    SERIES_METADATA = HK_PROTO_TAG(5, HK_PROTO_BYTES),
    SAMPLE_VALUE = HK_PROTO_TAG(1, HK_PROTO_FIXED64),
    SAMPLE_STAMP = HK_PROTO_TAG(2, HK_PROTO_VARINT),
    SAMPLE_START = HK_PROTO_TAG(3, HK_PROTO_VARINT),
    META_TYPE = HK_PROTO_TAG(1, HK_PROTO_VARINT),
    META_HELP = HK_PROTO_TAG(3, HK_PROTO_VARINT),
    META_UNIT = HK_PROTO_TAG(4, HK_PROTO_VARINT),
    REFS_MAX = 2 * HK_LABELS_MAX,
    INDEX_STEP_BYTES = 16384,
    SYMBOLS_FIRST = 1024,
};

void hk_rw2_init(
    struct hk_rw2 *rw, struct hk_str body, struct hk_hash128 base, struct hk_meta_seen *seen) {
    memset(rw, 0, offsetof(struct hk_rw2, keys));
    rw->body = rw->index = hk_proto_from(body.ptr, body.len);
    rw->start = rw->body.at;
    rw->seen = seen;
    rw->name_hash = hk_hash128("__name__", 8);
    rw->context.hash = hk_hash_mix(base, hk_hash128("remote_write_2", 14));
    rw->context.data = rw;
}

static hk_err grow_symbols(struct hk_rw2 *rw, struct hk_arena *arena) {
    if (rw->symbol_count == HK_RW2_SYMBOLS_MAX) {
        return hk_fail(HK_E_LIMIT, "remote write: over %d symbols", HK_RW2_SYMBOLS_MAX);
    }
    const uint32_t room = rw->symbol_room == 0 ? SYMBOLS_FIRST : 2 * rw->symbol_room;
    struct hk_rw2_symbol *more = hk_arena_alloc_raw(arena, room, sizeof(*more));
    if (more == NULL) return hk_fail(HK_E_NOMEM, "remote write: out of memory");
    if (rw->symbol_count > 0) memcpy(more, rw->symbols, rw->symbol_count * sizeof(*more));
    rw->symbols = more;
    rw->symbol_room = room;
    return HK_OK;
}

/* Collects symbols for one turn: HK_OK when all are there, HK_FULL. */
static hk_err index_symbols(struct hk_rw2 *rw, struct hk_batch *batch) {
    for (uint32_t i = 0; i < HK_RW2_TURN_SYMBOLS; i++) {
        struct hk_proto_field field = { 0 };
        const uint8_t *at = rw->index.at;
        const hk_err err = hk_proto_next(&rw->index, &field);
        if (err < 0) return hk_rw_malformed(rw->start, at);
        if (err == HK_END) {
            rw->index.at = NULL;
            return HK_OK;
        }
        if (field.tag == REQUEST_SERIES) { /* hop over those that follow */
            const size_t bytes = (size_t)(rw->index.end - rw->index.at);
            const size_t step = bytes < INDEX_STEP_BYTES ? bytes : INDEX_STEP_BYTES;
            const size_t run = hk_proto_run(rw->index.at, step, REQUEST_SERIES);
            if (run <= bytes) rw->index.at += run;
        }
        if (field.tag != REQUEST_SYMBOL) continue;
        if (rw->symbol_count == rw->symbol_room) HK_TRY(grow_symbols(rw, batch->arena));
        struct hk_rw2_symbol *symbol = &rw->symbols[rw->symbol_count++];
        symbol->text = hk_proto_str(&field);
        symbol->hash = hk_hash128(symbol->text.ptr, symbol->text.len);
    }
    return HK_FULL;
}

/* What the first walk finds out about a series. */
struct shape {
    const uint8_t *refs;
    size_t refs_bytes;
    uint64_t points;
    struct hk_str metadata;
    bool scattered;
};

static hk_err look(struct hk_proto reader, struct shape *out) {
    struct hk_proto_field field = { 0 };
    *out = (struct shape){ .metadata = { NULL, 0 } };
    for (;;) {
        const hk_err err = hk_proto_next(&reader, &field);
        if (err != HK_OK) return err == HK_END ? HK_OK : err;
        out->points += field.tag == SERIES_SAMPLE || field.tag == SERIES_HISTOGRAM;
        if (field.tag == SERIES_METADATA) out->metadata = hk_proto_str(&field);
        if (field.tag != SERIES_REFS && field.tag != SERIES_ONE_REF) continue;
        out->scattered = out->scattered || out->refs != NULL;
        if (out->refs == NULL) out->refs = field.ptr;
        out->refs_bytes += (size_t)(reader.at - field.ptr);
    }
}

/* Copies the varints of all label refs of the series to `to`, which has room for them. */
static void gather(struct hk_proto reader, uint8_t *to) {
    struct hk_proto_field field = { 0 };
    while (hk_proto_next(&reader, &field) == HK_OK) {
        if (field.tag != SERIES_REFS && field.tag != SERIES_ONE_REF) continue;
        const size_t bytes = (size_t)(reader.at - field.ptr);
        memcpy(to, field.ptr, bytes);
        to += bytes;
    }
}

/* Odd numbers, one for each position. The symbols' hashes are random, so their sum weighted with
 * these tells two sequences apart as well as a hash of the sequence would. */
#define SPREAD(i) ((uint64_t)((i) + 1) * 0x9e3779b97f4a7c15ULL)
#define W1(i)     (((SPREAD(i) ^ SPREAD(i) >> 32) * 0xd6e8feb86659fd93ULL) | 1),
#define W8(i)     W1(i) W1(i + 1) W1(i + 2) W1(i + 3) W1(i + 4) W1(i + 5) W1(i + 6) W1(i + 7)
#define W64(i)    W8(i) W8(i + 8) W8(i + 16) W8(i + 24) W8(i + 32) W8(i + 40) W8(i + 48) W8(i + 56)
static const uint64_t weights[] = { W64(0) W64(64) W64(128) W64(192) W64(256) W64(320) W64(384)
                                        W64(448) };
_Static_assert(HK_COUNT(weights) == REFS_MAX, "a weight for each position");

/* Checks the refs and makes the key. NULL or what is wrong with the series. */
static const char *make_key(struct hk_rw2 *rw, struct hk_rw2_key *key) {
    struct hk_proto reader = hk_proto_from(key->refs, key->refs_bytes);
    struct hk_hash128 sum = { 0, 0 };
    uint64_t ref = 0, count = 0;
    bool name_next = false;
    rw->series_metric = (struct hk_str){ "", 0 };
    while (reader.at < reader.end) {
        if (!hk_proto_varint(&reader, &ref)) return "with broken label refs";
        if (ref >= rw->symbol_count) return "with a label ref beyond the symbols"; /* (2) */
        if (count == REFS_MAX) return "with too many labels";
        const struct hk_rw2_symbol *symbol = &rw->symbols[ref];
        const uint64_t by = weights[count];
        sum.low += symbol->hash.low * by;
        sum.high += symbol->hash.high * (by * 0xc2b2ae3d27d4eb4fULL);
        if (name_next) {
            rw->series_metric = symbol->text;
            rw->series_name = symbol->hash;
        }
        name_next = count++ % 2 == 0 && symbol->hash.low == rw->name_hash.low &&
                    symbol->hash.high == rw->name_hash.high;
    }
    if (count == 0) return "without labels";
    if (count % 2 != 0) return "with an odd number of label refs";
    key->hash = hk_hash_mix(sum, (struct hk_hash128){ count, 0 });
    return NULL;
}

static struct hk_rw2_symbol symbol_at(const struct hk_rw2 *rw, uint64_t ref) {
    static const struct hk_rw2_symbol empty = { .text = { "", 0 } };
    return ref < rw->symbol_count ? rw->symbols[ref] : empty;
}

/* Reports the series' metadata unless it is known; HK_FULL when there is no room. */
static hk_err report_meta(struct hk_rw2 *rw, struct hk_batch *batch, struct hk_str message) {
    if (message.ptr == NULL || rw->series_metric.len == 0) return HK_OK;
    struct hk_proto reader = hk_proto_from(message.ptr, message.len);
    struct hk_proto_field field = { 0 };
    uint64_t type = 0, help = 0, unit = 0;
    hk_err err = HK_OK;
    while ((err = hk_proto_next(&reader, &field)) == HK_OK) {
        if (field.tag == META_TYPE) type = field.value;
        if (field.tag == META_HELP) help = field.value;
        if (field.tag == META_UNIT) unit = field.value;
    }
    if (err < 0) return err;
    const struct hk_rw2_symbol help_text = symbol_at(rw, help), unit_text = symbol_at(rw, unit);
    if (type == 0 && help_text.text.len == 0 && unit_text.text.len == 0) return HK_OK;
    struct hk_hash128 hash = hk_hash_mix(rw->context.hash, rw->series_name);
    hash = hk_hash_mix(hash, help_text.hash);
    hash = hk_hash_mix(hash, unit_text.hash);
    hash = hk_hash_mix(hash, (struct hk_hash128){ type, 0 });
    if (hk_meta_seen_has(rw->seen, hash.low)) return HK_OK;
    if (batch->meta_count == HK_BATCH_META_MAX) return HK_FULL;
    batch->metas[batch->meta_count++] = (struct hk_batch_meta){
        .metric = rw->series_metric,
        .type = hk_rw_type_text(type),
        .help = help_text.text,
        .unit = unit_text.text,
    };
    hk_meta_seen_put(rw->seen, hash.low);
    return HK_OK;
}

/* Opens a series for walk_open, or refuses it. HK_FULL: there is no room for its metadata. */
static hk_err open_series(struct hk_rw2 *rw, struct hk_batch *batch, struct hk_proto content) {
    struct shape shape;
    HK_TRY(hk_rw_check_size(content));
    if (look(content, &shape) < 0) return hk_rw_malformed(rw->start, content.at);
    hk_assert(rw->key_count < HK_BATCH_ENTRIES_MAX); /* (1) */
    struct hk_rw2_key *key = &rw->keys[rw->key_count];
    *key = (struct hk_rw2_key){ .refs = shape.refs, .refs_bytes = (uint32_t)shape.refs_bytes };
    if (shape.refs_bytes > REFS_MAX * 10) key->refs_bytes = 0;
    if (shape.scattered && key->refs_bytes > 0) {
        uint8_t *copy = hk_arena_alloc_raw(batch->arena, shape.refs_bytes, 1);
        if (copy == NULL) return hk_fail(HK_E_NOMEM, "remote write: out of memory");
        gather(content, copy);
        key->refs = copy;
    }
    const char *fault = shape.refs_bytes > REFS_MAX * 10 ? "with too many labels" : NULL;
    if (fault == NULL) fault = make_key(rw, key);
    if (fault != NULL) {
        hk_batch_reject(batch, shape.points, "remote write: series %s", fault);
        return HK_OK;
    }
    const hk_err err = report_meta(rw, batch, shape.metadata);
    if (err != HK_OK) return err == HK_E_MALFORMED ? hk_rw_malformed(rw->start, content.at) : err;
    rw->series = (struct hk_rw_series){
        .rest = content,
        .key = key,
        .key_bytes = sizeof(key->hash),
        .ref = HK_REF_NONE,
    };
    return HK_OK;
}

static hk_err read_sample(struct hk_str message, struct hk_entry *entry) {
    struct hk_proto reader = hk_proto_from(message.ptr, message.len);
    struct hk_proto_field field = { 0 };
    hk_err err = HK_OK;
    while ((err = hk_proto_next(&reader, &field)) == HK_OK) {
        if (field.tag == SAMPLE_VALUE) entry->value = hk_proto_double(field.value);
        if (field.tag == SAMPLE_STAMP) entry->stamp_ms = (int64_t)field.value;
        if (field.tag == SAMPLE_START) entry->start_ms = (int64_t)field.value;
    }
    return err == HK_END ? HK_OK : err;
}

/* Label refs of an exemplar, which may come in several fields. */
struct exemplar_refs {
    const struct hk_rw2 *rw;
    struct hk_str name;
    bool named; /* a name waits for its value */
};

static hk_err add_ref(struct exemplar_refs *refs, uint64_t ref, struct hk_label_set *out) {
    if (ref >= refs->rw->symbol_count) return HK_E_MALFORMED;
    const struct hk_str text = refs->rw->symbols[ref].text;
    if (refs->named) hk_label_set_add(out, refs->name, text);
    refs->name = text;
    refs->named = !refs->named;
    return HK_OK;
}

static hk_err
exemplar_label(void *self, const struct hk_proto_field *field, struct hk_label_set *out) {
    struct exemplar_refs *refs = self;
    if (field->tag == SERIES_ONE_REF) return add_ref(refs, field->value, out);
    if (field->tag != SERIES_REFS) return HK_OK;
    struct hk_proto reader = hk_proto_sub(field);
    while (reader.at < reader.end) {
        uint64_t ref = 0;
        if (!hk_proto_varint(&reader, &ref)) return HK_E_MALFORMED;
        HK_TRY(add_ref(refs, ref, out));
    }
    return HK_OK;
}

static hk_err
walk_series_field(struct hk_rw2 *rw, struct hk_batch *batch, const struct hk_proto_field *field) {
    const bool sample = field->tag == SERIES_SAMPLE;
    if (!sample && field->tag != SERIES_EXEMPLAR && field->tag != SERIES_HISTOGRAM) return HK_OK;
    struct hk_entry *entry = hk_rw_entry(batch, &rw->series, &rw->context, HK_ENTRY_SET);
    if (entry == NULL) return HK_FULL;
    const struct hk_str message = hk_proto_str(field);
    if (field->tag == SERIES_EXEMPLAR) {
        struct exemplar_refs refs = { .rw = rw };
        return hk_rw_put_exemplar(batch, entry, message, exemplar_label, &refs, &rw->counts);
    }
    if (!sample) return hk_rw_put_histogram(batch, entry, message, &rw->counts);
    if (read_sample(message, entry) < 0) return HK_E_MALFORMED;
    batch->count++;
    batch->points++;
    rw->counts.samples++;
    return HK_OK;
}

/* Hands out what is left of the open series. */
static hk_err walk_open(struct hk_rw2 *rw, struct hk_batch *batch) {
    const uint32_t first = batch->count;
    hk_err err = HK_OK;
    while (err == HK_OK) {
        const uint8_t *at = rw->series.rest.at;
        struct hk_proto_field field = { 0 };
        err = hk_proto_next(&rw->series.rest, &field);
        if (err == HK_OK) err = walk_series_field(rw, batch, &field);
        if (err == HK_OK) continue;
        rw->series.rest.at = err == HK_END ? NULL : at;
        if (err == HK_E_MALFORMED) err = hk_rw_malformed(rw->start, at);
    }
    rw->key_count += batch->count > first; /* (1) */
    return err == HK_END ? HK_OK : err;
}

/* The batch was drained: only the open series' key is still needed. */
static void reuse_keys(struct hk_rw2 *rw) {
    rw->key_count = 0;
    if (rw->series.rest.at == NULL) return;
    rw->keys[0] = *(const struct hk_rw2_key *)rw->series.key;
    rw->series.key = &rw->keys[0];
}

static hk_err rw2_parse(void *state, struct hk_batch *batch) {
    struct hk_rw2 *rw = state;
    if (rw->index.at != NULL) {
        const hk_err err = index_symbols(rw, batch);
        if (err != HK_OK) return err;
    }
    reuse_keys(rw);
    for (uint32_t fields = 0; fields < HK_RW_TURN_FIELDS; fields++) {
        if (rw->series.rest.at != NULL) {
            const hk_err err = walk_open(rw, batch);
            if (err != HK_OK) return err;
        }
        const uint8_t *at = rw->body.at;
        if (at == rw->body.end) return HK_OK;
        if (batch->count == HK_BATCH_ENTRIES_MAX) return HK_FULL;
        struct hk_proto_field field = { 0 };
        if (hk_proto_next(&rw->body, &field) < 0) return hk_rw_malformed(rw->start, at);
        if (field.tag != REQUEST_SERIES) continue;
        const hk_err err = open_series(rw, batch, hk_proto_sub(&field));
        if (err == HK_FULL) rw->body.at = at;
        if (err != HK_OK) return err;
    }
    return HK_FULL; /* the turn is long enough */
}

static hk_err rw2_labels(
    void *state, struct hk_batch *batch, const struct hk_entry *entry, struct hk_label_set *out) {
    const struct hk_rw2 *rw = state;
    const struct hk_rw2_key *key = entry->key;
    struct hk_proto reader = hk_proto_from(key->refs, key->refs_bytes);
    bool named = false;
    (void)batch;
    while (reader.at < reader.end) {
        uint64_t name = 0, value = 0;
        const bool pair = hk_proto_varint(&reader, &name) && hk_proto_varint(&reader, &value);
        hk_assert(pair && name < rw->symbol_count && value < rw->symbol_count); /* (2) */
        const struct hk_str name_text = rw->symbols[name].text;
        const struct hk_str value_text = rw->symbols[value].text;
        if (name_text.len == 0)
            return hk_fail(HK_E_MALFORMED, "remote write: label without a name");
        named = named || (hk_str_is(name_text, "__name__") && value_text.len > 0);
        hk_label_set_add(out, name_text, value_text);
    }
    if (!named) return hk_fail(HK_E_MALFORMED, "remote write: series without a metric name");
    return HK_OK;
}

const struct hk_metric_parser hk_parser_remote_write_2 = {
    .name = "remote_write_2",
    .parse = rw2_parse,
    .labels = rw2_labels,
};

bool hk_rw_content_type_is_v2(struct hk_str content_type, bool *out_known) {
    const size_t end = hk_str_find(content_type, ';', 0);
    const struct hk_str type = hk_str_trim(hk_str_part(content_type, 0, end));
    *out_known = hk_str_eq_nocase(type, HK_STR("application/x-protobuf"));
    size_t at = end;
    while (*out_known && at < content_type.len) {
        const size_t next = hk_str_find(content_type, ';', at + 1);
        const struct hk_str part = hk_str_trim(hk_str_part(content_type, at + 1, next));
        const size_t equals = hk_str_find(part, '=', 0);
        const struct hk_str name = hk_str_part(part, 0, equals);
        struct hk_str value = hk_str_part(part, equals + 1, part.len);
        if (value.len >= 2 && value.ptr[0] == '"') value = hk_str_part(value, 1, value.len - 1);
        at = next;
        if (!hk_str_eq_nocase(name, HK_STR("proto"))) continue;
        if (hk_str_is(value, "io.prometheus.write.v2.Request")) return true;
        *out_known = hk_str_is(value, "prometheus.WriteRequest");
    }
    return false;
}
