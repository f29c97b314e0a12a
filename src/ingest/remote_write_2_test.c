/*
 * Goal: version 2.0 gives what version 1.0 gives; identity does not depend on how a request
 * numbers its symbols; histograms of both versions arrive whole; broken requests are refused.
 */
#include "hk_test.h"
#include "ingest/remote_write.h"
#include "model/exemplar.h"
#include "model/histogram.h"

static struct hk_buf out;
static struct hk_arena arena;
static struct hk_batch batch;
static struct hk_rw2 rw;

/* The request's symbols; the series are collected apart and put behind. */
static const char *symbols[4096];
static uint32_t symbol_count;
static struct hk_buf series;

static void begin(void) {
    hk_buf_init(&out, 1 << 26);
    hk_buf_init(&series, 1 << 26);
    hk_arena_init(&arena, 1 << 26);
    symbols[0] = "";
    symbol_count = 1;
}

static void end(void) {
    hk_buf_deinit(&out);
    hk_buf_deinit(&series);
    hk_arena_deinit(&arena);
}

static uint32_t symbol(const char *text) {
    for (uint32_t i = 0; i < symbol_count; i++) {
        if (strcmp(symbols[i], text) == 0) return i;
    }
    symbols[symbol_count] = text;
    return symbol_count++;
}

static void put_refs(uint32_t number, const char *const *texts) {
    const size_t refs = hk_proto_begin(&series, number);
    for (; *texts != NULL; texts++)
        hk_proto_put_raw_varint(&series, symbol(*texts));
    hk_proto_end(&series, refs);
}

static void put_sample(double value, int64_t stamp_ms, int64_t start_ms) {
    const size_t sample = hk_proto_begin(&series, 2);
    hk_proto_put_double(&series, 1, value);
    hk_proto_put_varint(&series, 2, (uint64_t)stamp_ms);
    if (start_ms != 0) hk_proto_put_varint(&series, 3, (uint64_t)start_ms);
    hk_proto_end(&series, sample);
}

static void finish_request(bool symbols_first) {
    hk_buf_clear(&out);
    for (unsigned pass = 0; pass < 2; pass++) {
        if ((pass == 0) == symbols_first) {
            for (uint32_t i = 0; i < symbol_count; i++)
                hk_proto_put_str(&out, 4, hk_str_from(symbols[i]));
        } else {
            hk_buf_str(&out, hk_buf_get(&series));
        }
    }
}

static const char *const up[] = { "__name__", "up", "job", "x", NULL };
static const char *const down[] = { "__name__", "down", "job", "x", NULL };

/* Parses all of `out` into one batch. */
static hk_err parse(void) {
    hk_batch_clear(&batch);
    batch.arena = &arena;
    hk_rw2_init(&rw, hk_buf_get(&out), (struct hk_hash128){ 1, 2 }, NULL);
    hk_err err = HK_FULL;
    while (err == HK_FULL && batch.count == 0)
        err = hk_parser_remote_write_2.parse(&rw, &batch);
    return err;
}

static struct hk_str labels_text(const struct hk_entry *entry) {
    static struct hk_label_set set;
    static char text[1024];
    struct hk_labels labels = { 0 };
    struct hk_buf buf;
    hk_label_set_clear(&set);
    hk_buf_init(&buf, sizeof(text));
    hk_err err = hk_parser_remote_write_2.labels(&rw, &batch, entry, &set);
    if (err == HK_OK) err = hk_label_set_finish(&set, &labels);
    if (err < 0) {
        hk_buf_text(&buf, hk_fail_text());
    } else {
        hk_labels_format(labels, &buf);
    }
    memcpy(text, hk_buf_get(&buf).ptr, buf.len);
    const struct hk_str result = { text, buf.len };
    hk_buf_deinit(&buf);
    return result;
}

TEST(series) {
    for (unsigned order = 0; order < 2; order++) {
        begin();
        size_t one = hk_proto_begin(&series, 5);
        put_refs(1, up);
        put_sample(1.5, 1000, 500);
        put_sample(2.5, 2000, 0);
        hk_proto_end(&series, one);
        one = hk_proto_begin(&series, 5); /* samples first, refs unpacked and in parts */
        put_sample(7, 3000, 0);
        for (unsigned i = 0; i < 4; i++)
            hk_proto_put_varint(&series, 1, symbol(down[i]));
        hk_proto_end(&series, one);
        finish_request(order == 0);
        CHECK_INT(parse(), HK_OK);
        CHECK_INT(batch.count, 3);
        CHECK_INT(batch.points, 3);
        CHECK_INT(rw.counts.samples, 3);
        CHECK_STR(labels_text(&batch.entries[0]), HK_STR("up{job=\"x\"}"));
        CHECK_STR(labels_text(&batch.entries[2]), HK_STR("down{job=\"x\"}"));
        CHECK_DOUBLE(batch.entries[0].value, 1.5);
        CHECK_INT(batch.entries[0].stamp_ms, 1000);
        CHECK_INT(batch.entries[0].start_ms, 500);
        CHECK_DOUBLE(batch.entries[1].value, 2.5);
        CHECK_DOUBLE(batch.entries[2].value, 7);
        CHECK_INT(batch.entries[0].key_bytes, 16);
        CHECK(batch.entries[0].key == batch.entries[1].key);
        end();
    }
}

TEST(identity_is_not_the_numbering) {
    uint8_t keys[3][16];
    for (unsigned i = 0; i < 3; i++) {
        begin();
        if (i == 1) {
            (void)symbol("shift");
            (void)symbol("x"); /* another order of numbers */
        }
        const size_t one = hk_proto_begin(&series, 5);
        put_refs(1, i < 2 ? up : down);
        put_sample(1, 1000, 0);
        hk_proto_end(&series, one);
        finish_request(true);
        CHECK_INT(parse(), HK_OK);
        memcpy(keys[i], batch.entries[0].key, 16);
        end();
    }
    CHECK(memcmp(keys[0], keys[1], 16) == 0);
    CHECK(memcmp(keys[0], keys[2], 16) != 0);
}

/* Name and value exchanged, pairs exchanged: other strings in the same multiset of symbols. */
TEST(identity_is_the_order) {
    static const char *const forms[][9] = {
        { "__name__", "m", "a", "b", "b", "a", NULL },
        { "__name__", "m", "b", "a", "a", "b", NULL },
        { "__name__", "a", "a", "b", "b", "m", NULL },
        { "__name__", "m", "a", "b", NULL },
        { "__name__", "m", "a", "a", "b", "b", NULL },
        { "a", "b", "b", "a", "__name__", "m", NULL },
    };
    uint8_t keys[HK_COUNT(forms)][16];
    for (unsigned i = 0; i < HK_COUNT(forms); i++) {
        begin();
        const size_t one = hk_proto_begin(&series, 5);
        put_refs(1, forms[i]);
        put_sample(1, 1000, 0);
        hk_proto_end(&series, one);
        finish_request(true);
        CHECK_INT(parse(), HK_OK);
        memcpy(keys[i], batch.entries[0].key, 16);
        end();
        for (unsigned k = 0; k < i; k++)
            CHECK(memcmp(keys[i], keys[k], 16) != 0);
    }
}

TEST(refused_series) {
    static const char *const no_name[] = { "job", "x", NULL };
    static const char *const empty_name[] = { "__name__", "m", "", "x", NULL };
    static const char *const odd[] = { "__name__", "m", "job", NULL };
    static const char *const none[] = { NULL };
    static const struct {
        const char *const *refs;
        bool beyond;
        const char *reject, *labels;
    } cases[] = {
        { no_name, false, NULL, "remote write: series without a metric name" },
        { empty_name, false, NULL, "remote write: label without a name" },
        { odd, false, "remote write: series with an odd number of label refs", NULL },
        { none, false, "remote write: series without labels", NULL },
        { up, true, "remote write: series with a label ref beyond the symbols", NULL },
    };
    for (size_t i = 0; i < HK_COUNT(cases); i++) {
        begin();
        const size_t one = hk_proto_begin(&series, 5);
        put_refs(1, cases[i].refs);
        if (cases[i].beyond) hk_proto_put_varint(&series, 1, 77);
        put_sample(1, 1000, 0);
        put_sample(1, 1001, 0);
        hk_proto_end(&series, one);
        finish_request(true);
        CHECK_INT(parse(), HK_OK);
        if (cases[i].reject != NULL) {
            CHECK_INT(batch.count, 0);
            CHECK_INT(batch.rejected, 2);
            CHECK_TEXT(batch.reject_text, cases[i].reject);
        } else {
            CHECK_INT(batch.count, 2);
            CHECK_STR(labels_text(&batch.entries[0]), hk_str_from(cases[i].labels));
        }
        end();
    }
}

TEST(metadata_and_exemplars) {
    static struct hk_meta_seen seen;
    static const char *const trace[] = { "trace_id", "abc", NULL };
    begin();
    for (unsigned i = 0; i < 3; i++) {
        const size_t one = hk_proto_begin(&series, 5);
        put_refs(1, i < 2 ? up : down);
        put_sample(1, 1000 + i, 0);
        const size_t exemplar = hk_proto_begin(&series, 4);
        put_refs(1, trace);
        hk_proto_put_double(&series, 2, 0.25);
        hk_proto_put_varint(&series, 3, 999);
        hk_proto_end(&series, exemplar);
        const size_t meta = hk_proto_begin(&series, 5);
        hk_proto_put_varint(&series, 1, 2);
        hk_proto_put_varint(&series, 3, symbol("Is it up?"));
        hk_proto_put_varint(&series, 4, symbol("bool"));
        hk_proto_end(&series, meta);
        hk_proto_end(&series, one);
    }
    finish_request(true);
    CHECK_INT(parse(), HK_OK);
    CHECK_INT(batch.meta_count, 3);
    CHECK_INT(batch.count, 6);
    CHECK_INT(batch.points, 3);
    CHECK_INT(rw.counts.exemplars, 3);
    const struct hk_entry *entry = &batch.entries[1];
    CHECK_INT(entry->kind, HK_ENTRY_EXEMPLAR);
    struct hk_exemplar exemplar = { 0 };
    const struct hk_str payload = { entry->payload, entry->payload_bytes };
    CHECK_INT(hk_exemplar_decode(payload, &arena, &exemplar), HK_OK);
    CHECK_STR(hk_labels_get(exemplar.labels, HK_STR("trace_id")), HK_STR("abc"));
    CHECK_STR(batch.metas[2].metric, HK_STR("down"));
    CHECK_STR(batch.metas[2].type, HK_STR("gauge"));
    CHECK_STR(batch.metas[2].help, HK_STR("Is it up?"));
    CHECK_STR(batch.metas[2].unit, HK_STR("bool"));
    for (unsigned i = 0; i < 2; i++) { /* with a memory: once each, then never */
        hk_batch_clear(&batch);
        hk_rw2_init(&rw, hk_buf_get(&out), (struct hk_hash128){ 1, 2 }, &seen);
        CHECK_INT(hk_parser_remote_write_2.parse(&rw, &batch), HK_OK);
        CHECK_INT(batch.meta_count, i == 0 ? 2 : 0);
    }
    end();
}

static void put_packed(struct hk_buf *to, uint32_t number, const int64_t *deltas, unsigned count) {
    const size_t packed = hk_proto_begin(to, number);
    for (unsigned i = 0; i < count; i++)
        hk_proto_put_raw_varint(to, ((uint64_t)deltas[i] << 1) ^ (uint64_t)(deltas[i] >> 63));
    hk_proto_end(to, packed);
}

static void put_span(struct hk_buf *to, uint32_t number, int64_t offset, uint32_t length) {
    const size_t span = hk_proto_begin(to, number);
    hk_proto_put_zigzag(to, 1, offset);
    hk_proto_put_varint(to, 2, length);
    hk_proto_end(to, span);
}

static void put_integer_histogram(struct hk_buf *to, uint32_t number) {
    static const int64_t deltas[] = { 1, 2, -1 }, negative[] = { 5 };
    const size_t histogram = hk_proto_begin(to, number);
    hk_proto_put_varint(to, 1, 12);
    hk_proto_put_double(to, 3, 18.5);
    hk_proto_put_zigzag(to, 4, -2);
    hk_proto_put_double(to, 5, 0.001);
    hk_proto_put_varint(to, 6, 1);
    put_span(to, 8, -3, 1);
    put_packed(to, 9, negative, 1);
    put_span(to, 11, 2, 2);
    put_span(to, 11, 4, 1);
    put_packed(to, 12, deltas, 3);
    hk_proto_put_varint(to, 14, 3);
    hk_proto_put_varint(to, 15, 4000);
    hk_proto_put_varint(to, 17, 1000);
    hk_proto_end(to, histogram);
}

static void put_custom_histogram(struct hk_buf *to, uint32_t number) {
    static const double counts[] = { 0.5, 1.5 }, bounds[] = { 1, 2.5 };
    const size_t histogram = hk_proto_begin(to, number);
    hk_proto_put_double(to, 2, 2);
    hk_proto_put_double(to, 3, 4);
    hk_proto_put_zigzag(to, 4, -53);
    put_span(to, 11, 1, 2);
    const size_t packed = hk_proto_begin(to, 13);
    hk_buf_bytes(to, counts, sizeof(counts));
    hk_proto_end(to, packed);
    hk_proto_put_double(to, 16, bounds[0]); /* unpacked */
    hk_proto_put_double(to, 16, bounds[1]);
    hk_proto_put_varint(to, 15, 5000);
    hk_proto_end(to, histogram);
}

static void put_broken_histogram(struct hk_buf *to, uint32_t number) {
    const size_t histogram = hk_proto_begin(to, number);
    hk_proto_put_varint(to, 1, 12);
    put_span(to, 11, 2, 2); /* two buckets announced, none there */
    hk_proto_end(to, histogram);
}

static void check_histograms(const struct hk_entry *entries) {
    struct hk_histogram got = { 0 };
    CHECK_INT(entries[0].kind, HK_ENTRY_HISTOGRAM);
    CHECK_INT(entries[0].stamp_ms, 4000);
    struct hk_str payload = { entries[0].payload, entries[0].payload_bytes };
    CHECK_INT(hk_histogram_decode(payload, &arena, &got), HK_OK);
    CHECK_INT(got.schema, -2);
    CHECK_INT(got.reset_hint, HK_RESET_GAUGE);
    CHECK_DOUBLE(got.count, 12);
    CHECK_DOUBLE(got.sum, 18.5);
    CHECK_DOUBLE(got.zero_threshold, 0.001);
    CHECK_DOUBLE(got.zero_count, 1);
    CHECK_INT(got.positive.span_count, 2);
    CHECK_INT(got.positive.spans[0].offset, 2);
    CHECK_INT(got.positive.spans[1].offset, 4);
    CHECK_INT(got.positive.count, 3);
    CHECK_DOUBLE(got.positive.counts[0], 1);
    CHECK_DOUBLE(got.positive.counts[1], 3);
    CHECK_DOUBLE(got.positive.counts[2], 2);
    CHECK_INT(got.negative.count, 1);
    CHECK_INT(got.negative.spans[0].offset, -3);
    CHECK_DOUBLE(got.negative.counts[0], 5);
    payload = (struct hk_str){ entries[1].payload, entries[1].payload_bytes };
    CHECK_INT(hk_histogram_decode(payload, &arena, &got), HK_OK);
    CHECK_INT(got.schema, HK_HISTOGRAM_SCHEMA_CUSTOM);
    CHECK_INT(got.custom_count, 2);
    CHECK_DOUBLE(got.custom_values[1], 2.5);
    CHECK_DOUBLE(got.positive.counts[1], 1.5);
    CHECK_INT(entries[1].stamp_ms, 5000);
}

TEST(histograms_2) {
    begin();
    const size_t one = hk_proto_begin(&series, 5);
    put_refs(1, up);
    put_integer_histogram(&series, 3);
    put_custom_histogram(&series, 3);
    put_broken_histogram(&series, 3);
    hk_proto_end(&series, one);
    finish_request(true);
    CHECK_INT(parse(), HK_OK);
    CHECK_INT(batch.count, 2);
    CHECK_INT(batch.points, 2);
    CHECK_INT(batch.rejected, 1);
    CHECK_TEXT(batch.reject_text, "remote write: histogram: positive spans need 2 buckets, have 0");
    CHECK_INT(rw.counts.histograms, 2);
    CHECK_INT(batch.entries[0].start_ms, 1000);
    check_histograms(batch.entries);
    end();
}

TEST(histograms_1) {
    static struct hk_rw1 first;
    begin();
    const size_t one = hk_proto_begin(&out, 1);
    const size_t label = hk_proto_begin(&out, 1);
    hk_proto_put_str(&out, 1, HK_STR("__name__"));
    hk_proto_put_str(&out, 2, HK_STR("h"));
    hk_proto_end(&out, label);
    put_integer_histogram(&out, 4);
    put_custom_histogram(&out, 4);
    hk_proto_end(&out, one);
    hk_batch_clear(&batch);
    batch.arena = &arena;
    hk_rw1_init(&first, hk_buf_get(&out), (struct hk_hash128){ 1, 2 });
    CHECK_INT(hk_parser_remote_write_1.parse(&first, &batch), HK_OK);
    CHECK_INT(batch.count, 2);
    CHECK_INT(first.counts.histograms, 2);
    check_histograms(batch.entries);
    for (size_t len = 0; len < out.len; len++) {
        char *cut = hk_mem_copy(out.ptr, len);
        hk_batch_clear(&batch);
        hk_rw1_init(&first, (struct hk_str){ cut, len }, (struct hk_hash128){ 1, 2 });
        CHECK_INT(hk_parser_remote_write_1.parse(&first, &batch), len == 0 ? 0 : HK_E_MALFORMED);
        hk_mem_free(cut);
    }
    end();
}

/* A long request: more series than a batch, more symbols than a turn. */
static void put_many(unsigned count) {
    static char texts[3000][16];
    for (unsigned i = 0; i < count; i++) {
        (void)snprintf(texts[i], sizeof(texts[i]), "m%u", i);
        const char *refs[] = { "__name__", NULL, "job", "x", NULL };
        refs[1] = symbols[symbol_count++] = texts[i];
        const size_t one = hk_proto_begin(&series, 5);
        put_refs(1, refs);
        for (unsigned k = 0; k < i % 4; k++)
            put_sample(i + k, 1000 + k, 0);
        if (i % 5 == 0) put_integer_histogram(&series, 3);
        hk_proto_end(&series, one);
    }
    finish_request(true);
}

/* All entries as text, with `room` free entries in each turn. */
static hk_err transcript(struct hk_str body, uint32_t room, struct hk_buf *text) {
    hk_err err = HK_FULL;
    hk_rw2_init(&rw, body, (struct hk_hash128){ 1, 2 }, NULL);
    for (unsigned turns = 0; err == HK_FULL && turns < 100000; turns++) {
        hk_batch_clear(&batch);
        batch.arena = &arena;
        const uint32_t first = batch.count = HK_BATCH_ENTRIES_MAX - room;
        err = hk_parser_remote_write_2.parse(&rw, &batch);
        for (uint32_t i = first; i < batch.count; i++) {
            const struct hk_entry *entry = &batch.entries[i];
            hk_buf_str(text, labels_text(entry));
            hk_buf_printf(text, " %d %" PRId64 " ", entry->kind, entry->stamp_ms);
            hk_buf_double(text, entry->value);
            hk_buf_char(text, '\n');
        }
    }
    return err;
}

TEST(any_room_gives_the_same) {
    static const uint32_t rooms[] = { 1, 2, 3, 7, 64, 511 };
    struct hk_buf whole, got;
    begin();
    put_many(2500);
    hk_buf_init(&whole, 1 << 26);
    hk_buf_init(&got, 1 << 26);
    CHECK_INT(transcript(hk_buf_get(&out), HK_BATCH_ENTRIES_MAX, &whole), HK_OK);
    CHECK(whole.len > 100000);
    for (size_t i = 0; i < HK_COUNT(rooms); i++) {
        hk_buf_clear(&got);
        CHECK_INT(transcript(hk_buf_get(&out), rooms[i], &got), HK_OK);
        CHECK(hk_str_eq(hk_buf_get(&got), hk_buf_get(&whole)));
    }
    hk_buf_deinit(&whole);
    hk_buf_deinit(&got);
    end();
}

PROPERTY(damage) {
    struct hk_buf got;
    begin();
    put_many(20);
    hk_buf_init(&got, 1 << 20);
    for (size_t len = 0; len < out.len; len++) {
        char *cut = hk_mem_copy(out.ptr, len);
        hk_buf_clear(&got);
        const hk_err err = transcript((struct hk_str){ cut, len }, 9, &got);
        CHECK(err == HK_OK || err == HK_E_MALFORMED);
        hk_mem_free(cut);
    }
    for (int i = 0; i < 3000; i++) {
        char *bent = hk_mem_copy(out.ptr, out.len);
        for (int k = 0; k < 2; k++)
            bent[hk_test_random() % out.len] = (char)hk_test_random();
        hk_buf_clear(&got);
        const hk_err err = transcript((struct hk_str){ bent, out.len }, 100, &got);
        CHECK(err == HK_OK || err == HK_E_MALFORMED);
        hk_mem_free(bent);
        hk_arena_reset(&arena);
    }
    hk_buf_deinit(&got);
    end();
}

TEST(content_types) {
    static const struct {
        const char *text;
        bool v2, known;
    } cases[] = {
        { "application/x-protobuf", false, true },
        { "application/x-protobuf;proto=prometheus.WriteRequest", false, true },
        { "application/x-protobuf;proto=io.prometheus.write.v2.Request", true, true },
        { "Application/X-Protobuf; charset=x; Proto=\"io.prometheus.write.v2.Request\"", true,
          true },
        { "application/x-protobuf;proto=other", false, false },
        { "application/json", false, false },
        { "", false, false },
    };
    for (size_t i = 0; i < HK_COUNT(cases); i++) {
        bool known = false;
        CHECK_INT(hk_rw_content_type_is_v2(hk_str_from(cases[i].text), &known), cases[i].v2);
        CHECK_INT(known, cases[i].known);
    }
}

HK_TEST_MAIN()
