/*
 * Goal: every shape a WriteRequest can take gives the same entries as the usual one, whatever the
 * room in the batch; cut and bent bodies are refused, never read past.
 */
#include "hk_test.h"
#include "ingest/remote_write_fast.h"
#include "model/exemplar.h"
#include "os/clock.h"

static struct hk_buf out;

static void begin(void) {
    if (out.bytes_max == 0) hk_buf_init(&out, 1 << 26);
    hk_buf_clear(&out);
}

static void put_label(const char *name, const char *value) {
    const size_t label = hk_proto_begin(&out, 1);
    hk_proto_put_str(&out, 1, hk_str_from(name));
    hk_proto_put_str(&out, 2, hk_str_from(value));
    hk_proto_end(&out, label);
}

static void put_sample(double value, int64_t stamp_ms) {
    const size_t sample = hk_proto_begin(&out, 2);
    if (value != 0) hk_proto_put_double(&out, 1, value);
    hk_proto_put_varint(&out, 2, (uint64_t)stamp_ms);
    hk_proto_end(&out, sample);
}

static void put_exemplar(const char *trace, double value, int64_t stamp_ms) {
    const size_t exemplar = hk_proto_begin(&out, 3);
    put_label("trace_id", trace);
    hk_proto_put_double(&out, 2, value);
    hk_proto_put_varint(&out, 3, (uint64_t)stamp_ms);
    hk_proto_end(&out, exemplar);
}

static void put_meta(unsigned type, const char *metric, const char *help, const char *unit) {
    const size_t meta = hk_proto_begin(&out, 3);
    hk_proto_put_varint(&out, 1, type);
    hk_proto_put_str(&out, 2, hk_str_from(metric));
    hk_proto_put_str(&out, 4, hk_str_from(help));
    hk_proto_put_str(&out, 5, hk_str_from(unit));
    hk_proto_end(&out, meta);
}

enum { STAMP = 1700000000 };
static const int64_t stamp_ms = STAMP * 1000LL + 123;

/* A request of every kind of series; `n` numbers the series. */
static void put_series(unsigned n) {
    char text[32];
    const size_t series = hk_proto_begin(&out, 1);
    (void)snprintf(text, sizeof(text), "metric_%u", n);
    put_label("__name__", text);
    if (n % 8 == 5) put_sample(n, stamp_ms);
    put_label("job", "node");
    put_label("path", n % 3 == 0 ? "/" : "a longer value than the label block usually holds");
    if (n % 8 == 6) {
        char longer[301];
        memset(longer, 'x', 300);
        longer[300] = 0;
        put_label("wide", longer);
    }
    const unsigned samples = n % 8 == 2 ? 0 : n % 8 == 3 ? 3 : 1;
    for (unsigned i = 0; i < samples; i++)
        put_sample(n % 8 == 1 ? 0 : n + i, n % 8 == 4 ? 5 : stamp_ms + i);
    if (n % 8 == 7) put_exemplar("abc", n, stamp_ms);
    hk_proto_end(&out, series);
}

/* Flat text of all entries, so that runs can be compared; clears the batch in between. */
struct transcript {
    struct hk_buf text, metas;
    struct hk_arena arena;
    struct hk_batch *batch;
    hk_err err;
    uint64_t points, rejected, turns;
    struct hk_rw_counts counts;
};

static void note(struct transcript *to, struct hk_rw1 *rw, const struct hk_entry *entry) {
    struct hk_label_set set;
    struct hk_labels labels = { 0 };
    hk_label_set_clear(&set);
    hk_err err = hk_parser_remote_write_1.labels(rw, to->batch, entry, &set);
    if (err == HK_OK) err = hk_label_set_finish(&set, &labels);
    hk_buf_printf(&to->text, "%d %" PRId64 " ", entry->kind, entry->stamp_ms);
    hk_buf_double(&to->text, entry->value);
    hk_buf_char(&to->text, ' ');
    if (err < 0) {
        hk_buf_text(&to->text, hk_fail_text());
    } else {
        hk_labels_format(labels, &to->text);
    }
    hk_buf_char(&to->text, '\n');
}

/* Parses with `room` free entries in each turn. */
static void
run(struct transcript *to, struct hk_str body, uint32_t room, const struct hk_key_predictor *hook) {
    static struct hk_batch batch;
    struct hk_rw1 rw;
    hk_rw1_init(&rw, body, (struct hk_hash128){ 1, 2 });
    rw.predictor = hook;
    *to = (struct transcript){ .batch = &batch };
    hk_arena_init(&to->arena, 1 << 24);
    hk_buf_init(&to->text, 1 << 26);
    hk_buf_init(&to->metas, 1 << 20);
    batch.arena = &to->arena;
    do {
        hk_batch_clear(&batch);
        batch.count = HK_BATCH_ENTRIES_MAX - room;
        const uint32_t first = batch.count;
        to->err = hk_parser_remote_write_1.parse(&rw, &batch);
        for (uint32_t i = first; i < batch.count; i++)
            note(to, &rw, &batch.entries[i]);
        for (uint32_t i = 0; i < batch.meta_count; i++) {
            hk_buf_printf(
                &to->metas, "meta %.*s %.*s %.*s %.*s\n", HK_STR_ARG(batch.metas[i].metric),
                HK_STR_ARG(batch.metas[i].type), HK_STR_ARG(batch.metas[i].help),
                HK_STR_ARG(batch.metas[i].unit));
        }
        to->points += batch.points;
        to->rejected += batch.rejected;
        to->turns++;
    } while (to->err == HK_FULL && to->turns < 1000000);
    to->counts = rw.counts;
    hk_buf_str(&to->text, hk_buf_get(&to->metas));
}

static void end(struct transcript *to) {
    hk_buf_deinit(&to->text);
    hk_buf_deinit(&to->metas);
    hk_arena_deinit(&to->arena);
}

static void check_text(const char *want) {
    struct transcript got;
    run(&got, hk_buf_get(&out), HK_BATCH_ENTRIES_MAX, NULL);
    CHECK_INT(got.err, HK_OK);
    CHECK_STR(hk_buf_get(&got.text), hk_str_from(want));
    end(&got);
    hk_buf_clear(&out);
}

TEST(usual_series) {
    begin();
    const size_t series = hk_proto_begin(&out, 1);
    put_label("__name__", "up");
    put_label("job", "x");
    put_sample(1.5, stamp_ms);
    hk_proto_end(&out, series);
    check_text("0 1700000000123 1.5 up{job=\"x\"}\n");
}

TEST(shapes) {
    begin();
    size_t series = hk_proto_begin(&out, 1); /* labels behind and between */
    put_sample(1, stamp_ms);
    put_label("b", "2");
    put_sample(2, stamp_ms + 1);
    put_label("__name__", "late");
    hk_proto_end(&out, series);
    check_text("0 1700000000123 1 late{b=\"2\"}\n0 1700000000124 2 late{b=\"2\"}\n");

    series = hk_proto_begin(&out, 1); /* unknown fields everywhere */
    hk_proto_put_varint(&out, 99, 7);
    put_label("__name__", "m");
    hk_proto_put_fixed32(&out, 100, 7);
    put_sample(-3, 7);
    hk_proto_end(&out, series);
    hk_proto_put_str(&out, 77, HK_STR("skipped"));
    check_text("0 7 -3 m\n");

    series = hk_proto_begin(&out, 1); /* negative stamp: ten bytes */
    put_label("__name__", "m");
    put_sample(4, -1);
    hk_proto_end(&out, series);
    series = hk_proto_begin(&out, 1); /* no sample at all */
    put_label("__name__", "m");
    hk_proto_end(&out, series);
    check_text("0 -1 4 m\n");

    put_meta(1, "hits_total", "All hits.", "hits"); /* metadata */
    put_meta(4, "sizes", "", "");
    put_meta(99, "odd", "", "");
    check_text("meta hits_total counter All hits. hits\nmeta sizes gaugehistogram  \n"
               "meta odd unknown  \n");
}

TEST(invalid_series) {
    begin();
    size_t series = hk_proto_begin(&out, 1);
    put_label("job", "x");
    put_sample(1, stamp_ms);
    hk_proto_end(&out, series);
    check_text("0 1700000000123 1 remote write: series without a metric name\n");
    series = hk_proto_begin(&out, 1);
    put_label("__name__", "m");
    put_label("", "x");
    put_sample(1, stamp_ms);
    hk_proto_end(&out, series);
    check_text("0 1700000000123 1 remote write: label without a name\n");
    series = hk_proto_begin(&out, 1);
    put_label("__name__", "m");
    put_label("a", "1");
    put_label("a", "2");
    put_sample(1, stamp_ms);
    hk_proto_end(&out, series);
    check_text("0 1700000000123 1 duplicate label name \"a\"\n");
    series = hk_proto_begin(&out, 1);
    put_sample(1, stamp_ms);
    put_sample(2, stamp_ms);
    hk_proto_end(&out, series);
    struct transcript got;
    run(&got, hk_buf_get(&out), 8, NULL);
    CHECK_INT(got.err, HK_OK);
    CHECK_INT(got.rejected, 2);
    CHECK_INT(got.points, 0);
    CHECK_TEXT(got.batch->reject_text, "remote write: series without labels");
    end(&got);
    hk_buf_clear(&out);
}

TEST(exemplars) {
    begin();
    const size_t series = hk_proto_begin(&out, 1);
    put_label("__name__", "m");
    put_sample(1, stamp_ms);
    put_exemplar("4bf9", 0.5, 77);
    hk_proto_end(&out, series);
    static struct hk_batch batch;
    struct hk_arena arena;
    hk_arena_init(&arena, 1 << 20);
    hk_batch_clear(&batch);
    batch.arena = &arena;
    struct hk_rw1 rw;
    hk_rw1_init(&rw, hk_buf_get(&out), (struct hk_hash128){ 0, 0 });
    CHECK_INT(hk_parser_remote_write_1.parse(&rw, &batch), HK_OK);
    CHECK_INT(batch.count, 2);
    CHECK_INT(batch.points, 1);
    CHECK_INT(rw.counts.samples, 1);
    CHECK_INT(rw.counts.exemplars, 1);
    const struct hk_entry *entry = &batch.entries[1];
    CHECK_INT(entry->kind, HK_ENTRY_EXEMPLAR);
    CHECK(entry->key == batch.entries[0].key);
    struct hk_exemplar exemplar = { 0 };
    const struct hk_str payload = { entry->payload, entry->payload_bytes };
    CHECK_INT(hk_exemplar_decode(payload, &arena, &exemplar), HK_OK);
    CHECK_STR(hk_labels_get(exemplar.labels, HK_STR("trace_id")), HK_STR("4bf9"));
    CHECK_DOUBLE(exemplar.value, 0.5);
    CHECK_INT(exemplar.stamp_ms, 77);
    hk_arena_deinit(&arena);
    hk_buf_clear(&out);
}

static void put_request(unsigned series_count) {
    for (unsigned n = 0; n < series_count; n++) {
        put_series(n);
        if (n % 50 == 9) put_meta(2, "gauge", "help", "");
    }
}

TEST(any_room_gives_the_same) {
    begin();
    put_request(1500);
    struct transcript whole;
    run(&whole, hk_buf_get(&out), HK_BATCH_ENTRIES_MAX, NULL);
    CHECK_INT(whole.err, HK_OK);
    CHECK(whole.turns >= 4);
    CHECK_INT(whole.points, whole.counts.samples);
    static const uint32_t rooms[] = { 1, 2, 3, 7, 64, 511 };
    for (size_t i = 0; i < HK_COUNT(rooms); i++) {
        struct transcript got;
        run(&got, hk_buf_get(&out), rooms[i], NULL);
        CHECK_INT(got.err, HK_OK);
        CHECK_INT(got.points, whole.points);
        CHECK(hk_str_eq(hk_buf_get(&got.text), hk_buf_get(&whole.text)));
        end(&got);
    }
    end(&whole);
    hk_buf_clear(&out);
}

/* A predictor that knows the keys of a first pass, in order, and sometimes is wrong. */
struct chain {
    const struct hk_entry *entries;
    uint32_t count, at, asked, hits;
};

static bool
chain_next(void *self, const uint8_t *at, size_t left, uint32_t *out_ref, uint32_t *out_bytes) {
    struct chain *chain = self;
    chain->asked++;
    for (uint32_t i = 0; i < chain->count; i++) {
        const struct hk_entry *entry = &chain->entries[i];
        if (entry->key_bytes > left || memcmp(at, entry->key, entry->key_bytes) != 0) continue;
        *out_ref = i;
        *out_bytes = entry->key_bytes;
        chain->hits++;
        return true;
    }
    return false;
}

TEST(prediction) {
    begin();
    put_request(100);
    static struct hk_batch first;
    struct hk_arena arena;
    hk_arena_init(&arena, 1 << 20);
    hk_batch_clear(&first);
    first.arena = &arena;
    struct hk_rw1 rw;
    hk_rw1_init(&rw, hk_buf_get(&out), (struct hk_hash128){ 0, 0 });
    CHECK_INT(hk_parser_remote_write_1.parse(&rw, &first), HK_OK);
    struct chain chain = { first.entries, first.count, 0, 0, 0 };
    /* The second key is a prefix of its block: the parser must refuse this guess. */
    first.entries[1].key_bytes = 2 + ((const uint8_t *)first.entries[1].key)[1];
    const struct hk_key_predictor hook = { &chain, chain_next };
    static struct hk_batch second;
    hk_batch_clear(&second);
    second.arena = &arena;
    hk_rw1_init(&rw, hk_buf_get(&out), (struct hk_hash128){ 0, 0 });
    rw.predictor = &hook;
    CHECK_INT(hk_parser_remote_write_1.parse(&rw, &second), HK_OK);
    CHECK_INT(second.count, first.count);
    CHECK_INT(chain.asked, 100);
    uint32_t resolved = 0;
    for (uint32_t i = 0; i < second.count; i++) {
        const struct hk_entry *entry = &second.entries[i];
        CHECK_INT(entry->stamp_ms, first.entries[i].stamp_ms);
        CHECK_DOUBLE(entry->value, first.entries[i].value);
        if (entry->ref == HK_REF_NONE) continue;
        resolved++;
        CHECK_INT(entry->key_bytes, first.entries[entry->ref].key_bytes);
        CHECK(memcmp(entry->key, first.entries[entry->ref].key, entry->key_bytes) == 0);
    }
    CHECK_INT(second.entries[1].ref, HK_REF_NONE);
    CHECK(resolved > 90);
    hk_arena_deinit(&arena);
    hk_buf_clear(&out);
}

TEST(cut_anywhere) {
    begin();
    put_request(17);
    struct transcript whole;
    run(&whole, hk_buf_get(&out), HK_BATCH_ENTRIES_MAX, NULL);
    for (size_t len = 0; len < out.len; len++) {
        char *cut = hk_mem_copy(out.ptr, len); /* exact, so that a sanitizer sees each step over */
        struct transcript got;
        run(&got, (struct hk_str){ cut, len }, 5, NULL);
        CHECK(got.err == HK_OK || got.err == HK_E_MALFORMED);
        CHECK(got.points <= whole.points);
        end(&got);
        hk_mem_free(cut);
    }
    end(&whole);
    hk_buf_clear(&out);
}

PROPERTY(bent_bytes) {
    begin();
    put_request(17);
    for (int i = 0; i < 4000; i++) {
        char *bent = hk_mem_copy(out.ptr, out.len);
        for (int k = 0; k < 2; k++)
            bent[hk_test_random() % out.len] = (char)hk_test_random();
        struct transcript got;
        run(&got, (struct hk_str){ bent, out.len }, 100, NULL);
        CHECK(got.err == HK_OK || got.err == HK_E_MALFORMED);
        end(&got);
        hk_mem_free(bent);
    }
    hk_buf_clear(&out);
}

TEST(broken_says_where) {
    begin();
    put_series(0);
    const size_t good = out.len;
    hk_buf_text(&out, "\x0a\x05xx");
    struct transcript got;
    run(&got, hk_buf_get(&out), 8, NULL);
    CHECK_INT(got.err, HK_E_MALFORMED);
    CHECK_INT(got.points, 1);
    char want[128];
    (void)snprintf(
        want, sizeof(want), "remote write: the body is not valid protobuf from byte %zu on", good);
    CHECK_TEXT(hk_fail_text(), want);
    end(&got);
    hk_buf_deinit(&out);
}

HK_TEST_MAIN()
