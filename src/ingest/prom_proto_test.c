/* Goal: each kind of metric of the protobuf exposition, and each way to break the messages. */
#include "ingest/prom_proto.h"

#include "hk_test.h"
#include "model/exemplar.h"
#include "model/histogram.h"

#include <math.h>

static struct hk_batch batch;
static struct hk_arena arena;
static const struct hk_context context = { { 1, 2 }, NULL };

enum { COUNTER, GAUGE, SUMMARY, UNTYPED, HISTOGRAM, GAUGE_HISTOGRAM };

static void put_label(struct hk_buf *buf, const char *name, const char *value) {
    const size_t label = hk_proto_begin(buf, 1);
    hk_proto_put_str(buf, 1, hk_str_from(name));
    hk_proto_put_str(buf, 2, hk_str_from(value));
    hk_proto_end(buf, label);
}

static void put_stamp(struct hk_buf *buf, uint32_t field, uint64_t seconds, uint64_t nanos) {
    const size_t stamp = hk_proto_begin(buf, field);
    hk_proto_put_varint(buf, 1, seconds);
    hk_proto_put_varint(buf, 2, nanos);
    hk_proto_end(buf, stamp);
}

static void put_exemplar(struct hk_buf *buf, uint32_t field, const char *trace, double value) {
    const size_t exemplar = hk_proto_begin(buf, field);
    put_label(buf, "trace_id", trace);
    hk_proto_put_double(buf, 2, value);
    put_stamp(buf, 3, 7, 5000000);
    hk_proto_end(buf, exemplar);
}

/* A family with its head; ended by end_family. */
static void begin_family(struct hk_buf *buf, const char *name, unsigned type) {
    hk_buf_init(buf, 1 << 20);
    hk_proto_put_str(buf, 1, hk_str_from(name));
    hk_proto_put_str(buf, 2, HK_STR("Help."));
    hk_proto_put_varint(buf, 3, type);
}

/* Appends the family behind its length to `out` and frees it. */
static void end_family(struct hk_buf *family, struct hk_buf *out) {
    hk_proto_put_raw_varint(out, family->len);
    hk_buf_str(out, hk_buf_get(family));
    hk_buf_deinit(family);
}

/* A counter, gauge or untyped metric: field is that of Metric. */
static void put_simple(struct hk_buf *buf, const char *label, uint32_t field, double value) {
    const size_t metric = hk_proto_begin(buf, 4);
    if (label != NULL) put_label(buf, "l", label);
    const size_t message = hk_proto_begin(buf, field);
    hk_proto_put_double(buf, 1, value);
    hk_proto_end(buf, message);
    hk_proto_end(buf, metric);
}

static void put_bucket(struct hk_buf *buf, uint64_t count, double bound, const char *trace) {
    const size_t bucket = hk_proto_begin(buf, 3);
    hk_proto_put_varint(buf, 1, count);
    hk_proto_put_double(buf, 2, bound);
    if (trace != NULL) put_exemplar(buf, 3, trace, bound / 2);
    hk_proto_end(buf, bucket);
}

static void put_span(struct hk_buf *buf, uint32_t field, int64_t offset, uint64_t length) {
    const size_t span = hk_proto_begin(buf, field);
    hk_proto_put_zigzag(buf, 1, offset);
    hk_proto_put_varint(buf, 2, length);
    hk_proto_end(buf, span);
}

static void collect_payload(const struct hk_entry *entry, struct hk_buf *out) {
    const struct hk_str bytes = { entry->payload, entry->payload_bytes };
    if (entry->kind == HK_ENTRY_EXEMPLAR) {
        struct hk_exemplar exemplar;
        CHECK_INT(hk_exemplar_decode(bytes, &arena, &exemplar), HK_OK);
        hk_buf_text(out, "# ");
        hk_labels_format(exemplar.labels, out);
    } else if (entry->kind == HK_ENTRY_HISTOGRAM) {
        struct hk_histogram histogram = { 0 };
        CHECK_INT(hk_histogram_decode(bytes, &arena, &histogram), HK_OK);
        hk_buf_printf(
            out, "[s%d n%g sum%g z%g", histogram.schema, histogram.count, histogram.sum,
            histogram.zero_count);
        for (uint32_t i = 0; i < histogram.negative.count; i++)
            hk_buf_printf(out, " -%g", histogram.negative.counts[i]);
        for (uint32_t i = 0; i < histogram.positive.span_count; i++)
            hk_buf_printf(out, " @%d", histogram.positive.spans[i].offset);
        for (uint32_t i = 0; i < histogram.positive.count; i++)
            hk_buf_printf(out, " %g", histogram.positive.counts[i]);
        hk_buf_text(out, histogram.reset_hint == HK_RESET_GAUGE ? " gauge]" : "]");
    }
}

static void collect(struct hk_prom_proto *state, struct hk_buf *out) {
    for (uint32_t i = 0; i < batch.meta_count; i++) {
        const struct hk_batch_meta *meta = &batch.metas[i];
        hk_buf_printf(
            out, "%.*s(%.*s|%.*s|%.*s);", HK_STR_ARG(meta->metric), HK_STR_ARG(meta->type),
            HK_STR_ARG(meta->help), HK_STR_ARG(meta->unit));
    }
    for (uint32_t i = 0; i < batch.count; i++) {
        const struct hk_entry *entry = &batch.entries[i];
        struct hk_label_set set;
        struct hk_labels labels = { NULL, 0 };
        hk_label_set_clear(&set);
        CHECK_INT(hk_prom_proto_parser.labels(state, &batch, entry, &set), HK_OK);
        if (hk_label_set_finish(&set, &labels) < 0) {
            hk_buf_text(out, "invalid");
        } else {
            hk_labels_format(labels, out);
        }
        collect_payload(entry, out);
        hk_buf_char(out, ' ');
        hk_buf_double(out, entry->value);
        if (entry->stamp_ms != 1000) hk_buf_printf(out, " %" PRId64, entry->stamp_ms);
        if (entry->start_ms != 0) hk_buf_printf(out, " from %" PRId64, entry->start_ms);
        hk_buf_char(out, ';');
    }
    if (batch.rejected > 0) {
        hk_buf_printf(out, "!%" PRIu64 " %s", batch.rejected, batch.reject_text);
    }
}

static uint64_t exemplars_rejected, points;

/* Parses an exact-size copy of `input`. */
static hk_err run(struct hk_str input, bool classic_too, struct hk_buf *out) {
    struct hk_prom_proto state;
    char *exact = hk_mem_resize(hk_mem_copy(input.ptr, input.len), input.len + 1, 1);
    if (input.len > 0) exact = hk_mem_resize(exact, input.len, 1);
    hk_arena_init(&arena, 1 << 24);
    hk_prom_proto_init(&state, (struct hk_str){ exact, input.len }, &context, 1000);
    state.classic_too = classic_too;
    batch.arena = &arena;
    points = 0;
    hk_err err = HK_FULL;
    while (err == HK_FULL) {
        hk_batch_clear(&batch);
        hk_arena_reset(&arena);
        err = hk_prom_proto_parser.parse(&state, &batch);
        points += batch.points;
        if (err == HK_OK || err == HK_FULL) collect(&state, out);
    }
    exemplars_rejected = state.exemplars_rejected;
    hk_mem_free(exact);
    hk_arena_deinit(&arena);
    return err;
}

/* Runs what was built in `text` and compares; frees it. */
static void expect(struct hk_buf *text, bool classic_too, const char *want) {
    struct hk_buf out;
    hk_buf_init(&out, 1 << 20);
    CHECK_INT(run(hk_buf_get(text), classic_too, &out), HK_OK);
    CHECK_STR(hk_buf_get(&out), hk_str_from(want));
    hk_buf_deinit(&out);
    hk_buf_deinit(text);
}

TEST(no_input_is_fine) {
    struct hk_buf text;
    hk_buf_init(&text, 16);
    expect(&text, false, "");
}

TEST(simple_metrics) {
    struct hk_buf family, text;
    hk_buf_init(&text, 1 << 20);
    begin_family(&family, "c_total", COUNTER);
    put_simple(&family, NULL, 3, 5);
    put_simple(&family, "x", 3, 6);
    end_family(&family, &text);
    begin_family(&family, "g h", GAUGE);
    put_simple(&family, "x", 2, (double)NAN);
    hk_proto_put_str(&family, 5, HK_STR("bytes"));
    end_family(&family, &text);
    begin_family(&family, "u", UNTYPED);
    put_simple(&family, "x", 5, -1.5);
    put_simple(&family, "y", 3, 9); /* another type's value: counts as none */
    end_family(&family, &text);
    begin_family(&family, "empty", GAUGE);
    end_family(&family, &text);
    expect(
        &text, false,
        "c_total(counter|Help.|);g h(gauge|Help.|bytes);u(unknown|Help.|);empty(gauge|Help.|);"
        "c_total 5;c_total{l=\"x\"} 6;{\"g h\", l=\"x\"} NaN;u{l=\"x\"} -1.5;u{l=\"y\"} 0;");
}

TEST(stamps_created_and_exemplars) {
    struct hk_buf family, text;
    hk_buf_init(&text, 1 << 20);
    begin_family(&family, "c", COUNTER);
    const size_t metric = hk_proto_begin(&family, 4);
    const size_t counter = hk_proto_begin(&family, 3);
    hk_proto_put_double(&family, 1, 5);
    put_exemplar(&family, 2, "abc", 0.5);
    put_stamp(&family, 3, 3, 999999999);
    hk_proto_end(&family, counter);
    hk_proto_put_varint(&family, 6, 123456);
    put_label(&family, "a", "1"); /* not where labels stand as a rule */
    hk_proto_put_varint(&family, 99, 1);
    put_label(&family, "b", "2");
    hk_proto_end(&family, metric);
    end_family(&family, &text);
    expect(
        &text, false,
        "c(counter|Help.|);c{a=\"1\", b=\"2\"} 5 123456 from 3999;"
        "c{a=\"1\", b=\"2\"}# {trace_id=\"abc\"} 0.5 7005;");
}

TEST(summaries) {
    struct hk_buf family, text;
    hk_buf_init(&text, 1 << 20);
    begin_family(&family, "s", SUMMARY);
    const size_t metric = hk_proto_begin(&family, 4);
    put_label(&family, "l", "x");
    const size_t summary = hk_proto_begin(&family, 4);
    hk_proto_put_varint(&family, 1, 10);
    hk_proto_put_double(&family, 2, 12.5);
    for (unsigned i = 1; i <= 2; i++) {
        const size_t quantile = hk_proto_begin(&family, 3);
        hk_proto_put_double(&family, 1, i * 0.5);
        hk_proto_put_double(&family, 2, i);
        hk_proto_end(&family, quantile);
    }
    put_stamp(&family, 4, 2, 0);
    hk_proto_end(&family, summary);
    hk_proto_end(&family, metric);
    end_family(&family, &text);
    expect(
        &text, false,
        "s(summary|Help.|);s_count{l=\"x\"} 10 from 2000;s_sum{l=\"x\"} 12.5 from 2000;"
        "s{l=\"x\", quantile=\"0.5\"} 1 from 2000;s{l=\"x\", quantile=\"1.0\"} 2 from 2000;");
}

static void put_classic(struct hk_buf *family, bool infinity) {
    const size_t metric = hk_proto_begin(family, 4);
    const size_t histogram = hk_proto_begin(family, 7);
    hk_proto_put_varint(family, 1, 10);
    hk_proto_put_double(family, 2, 12.5);
    put_bucket(family, 3, 1, NULL);
    put_bucket(family, 7, 2.5, "abc");
    if (infinity) put_bucket(family, 10, HUGE_VAL, NULL);
    hk_proto_end(family, histogram);
    hk_proto_end(family, metric);
}

TEST(classic_histograms) {
    for (int infinity = 0; infinity < 2; infinity++) {
        struct hk_buf family, text;
        hk_buf_init(&text, 1 << 20);
        begin_family(&family, "h", HISTOGRAM);
        put_classic(&family, infinity == 1);
        end_family(&family, &text);
        expect(
            &text, false,
            "h(histogram|Help.|);h_count 10;h_sum 12.5;h_bucket{le=\"1.0\"} 3;"
            "h_bucket{le=\"2.5\"} 7;h_bucket{le=\"2.5\"}# {trace_id=\"abc\"} 1.25 7005;"
            "h_bucket{le=\"+Inf\"} 10;");
    }
}

/* Counts 2 and 3 in a span at 1, 4 behind a gap, one negative bucket, 1 zero. */
static void put_native(struct hk_buf *family, bool floats, uint64_t count) {
    const size_t metric = hk_proto_begin(family, 4);
    const size_t histogram = hk_proto_begin(family, 7);
    hk_proto_put_varint(family, 1, floats ? 0 : count);
    hk_proto_put_double(family, 2, 12.5);
    put_bucket(family, 12, 1, NULL);
    if (floats) hk_proto_put_double(family, 4, (double)count);
    hk_proto_put_zigzag(family, 5, 3);
    hk_proto_put_double(family, 6, 1e-9);
    if (floats)
        hk_proto_put_double(family, 8, 1);
    else
        hk_proto_put_varint(family, 7, 1);
    put_span(family, 9, -2, 1);
    if (floats) {
        hk_proto_put_double(family, 11, 2);
    } else {
        hk_proto_put_zigzag(family, 10, 2);
    }
    put_span(family, 12, 1, 2);
    put_span(family, 12, 3, 1);
    const size_t packed = hk_proto_begin(family, floats ? 14 : 13);
    static const double floats_sent[] = { 2, 3, 4 };
    static const uint8_t deltas_sent[] = { 4, 2, 2 }; /* +2 +1 +1 in zigzag */
    if (floats)
        hk_buf_bytes(family, floats_sent, sizeof(floats_sent));
    else
        hk_buf_bytes(family, deltas_sent, sizeof(deltas_sent));
    hk_proto_end(family, packed);
    put_stamp(family, 15, 2, 0);
    put_exemplar(family, 16, "abc", 0.5);
    hk_proto_end(family, histogram);
    hk_proto_end(family, metric);
}

TEST(native_histograms) {
    for (int floats = 0; floats < 2; floats++) {
        struct hk_buf family, text;
        hk_buf_init(&text, 1 << 20);
        begin_family(&family, "h", HISTOGRAM);
        put_native(&family, floats == 1, 12);
        end_family(&family, &text);
        expect(
            &text, false,
            "h(histogram|Help.|);h[s3 n12 sum12.5 z1 -2 @1 @3 2 3 4] 0 from 2000;"
            "h# {trace_id=\"abc\"} 0.5 7005;");
    }
    struct hk_buf family, text;
    hk_buf_init(&text, 1 << 20);
    begin_family(&family, "h", GAUGE_HISTOGRAM);
    put_native(&family, false, 12);
    end_family(&family, &text);
    expect(
        &text, true,
        "h(gaugehistogram|Help.|);h[s3 n12 sum12.5 z1 -2 @1 @3 2 3 4 gauge] 0 from 2000;"
        "h# {trace_id=\"abc\"} 0.5 7005;h_count 12 from 2000;h_sum 12.5 from 2000;"
        "h_bucket{le=\"1.0\"} 12 from 2000;h_bucket{le=\"+Inf\"} 12 from 2000;");
}

TEST(an_invalid_native_histogram_is_counted) {
    struct hk_buf family, text, out;
    hk_buf_init(&text, 1 << 20);
    hk_buf_init(&out, 1 << 20);
    begin_family(&family, "h", HISTOGRAM);
    size_t metric = hk_proto_begin(&family, 4);
    size_t histogram = hk_proto_begin(&family, 7);
    hk_proto_put_varint(&family, 1, 5);
    put_span(&family, 12, 0, 4); /* spans without counts */
    hk_proto_end(&family, histogram);
    hk_proto_end(&family, metric);
    put_native(&family, false, 12);
    end_family(&family, &text);
    CHECK_INT(run(hk_buf_get(&text), false, &out), HK_OK);
    CHECK_INT(points, 1);
    CHECK_INT(batch.rejected, 1);
    CHECK(hk_str_starts(hk_str_from(batch.reject_text), HK_STR("metric \"h\": ")));
    hk_buf_deinit(&out);
    hk_buf_deinit(&text);
}

TEST(unfit_exemplars_are_left_out_and_counted) {
    struct hk_buf family, text, out;
    char longest[200];
    memset(longest, 'x', sizeof(longest));
    longest[199] = 0;
    hk_buf_init(&text, 1 << 20);
    hk_buf_init(&out, 1 << 20);
    begin_family(&family, "c", COUNTER);
    const size_t metric = hk_proto_begin(&family, 4);
    const size_t counter = hk_proto_begin(&family, 3);
    hk_proto_put_double(&family, 1, 5);
    put_exemplar(&family, 2, longest, 0.5);
    hk_proto_end(&family, counter);
    hk_proto_end(&family, metric);
    end_family(&family, &text);
    CHECK_INT(run(hk_buf_get(&text), false, &out), HK_OK);
    CHECK_STR(hk_buf_get(&out), HK_STR("c(counter|Help.|);c 5;"));
    CHECK_INT(exemplars_rejected, 1);
    hk_buf_deinit(&out);
    hk_buf_deinit(&text);
}

/* Histograms of every size from 1 to 60 buckets with exemplars: batches are cut everywhere. */
TEST(resumes_at_every_boundary) {
    struct hk_buf text, out;
    hk_buf_init(&text, 1 << 22);
    hk_buf_init(&out, 1 << 22);
    size_t samples = 0, exemplars = 0;
    for (unsigned n = 1; n <= 60; n++) {
        struct hk_buf family;
        char name[16];
        (void)snprintf(name, sizeof(name), "h%u", n);
        begin_family(&family, name, HISTOGRAM);
        const size_t metric = hk_proto_begin(&family, 4);
        const size_t histogram = hk_proto_begin(&family, 7);
        for (unsigned i = 0; i < n; i++) {
            put_bucket(&family, i, i, i % 2 == 0 ? "abc" : NULL);
            exemplars += i % 2 == 0;
        }
        hk_proto_end(&family, histogram);
        hk_proto_end(&family, metric);
        end_family(&family, &text);
        samples += n + 3;
    }
    CHECK_INT(run(hk_buf_get(&text), false, &out), HK_OK);
    CHECK_INT(points, samples);
    const struct hk_str all = hk_buf_get(&out);
    size_t entries = 0, marks = 0;
    for (size_t at = 0; at < all.len; at = hk_str_find(all, ';', at) + 1) {
        const struct hk_str item = hk_str_part(all, at, hk_str_find(all, ';', at));
        marks += hk_str_find(item, '#', 0) < item.len;
        entries += hk_str_find(item, '(', 0) == item.len;
    }
    CHECK_INT(marks, exemplars);
    CHECK_INT(entries, samples + exemplars);
    hk_buf_deinit(&out);
    hk_buf_deinit(&text);
}

/* The same, but one metric alone over several batches, and a limit. */
TEST(many_buckets) {
    static const struct {
        unsigned buckets;
        hk_err err;
    } cases[] = { { 1500, HK_OK },
                  { HK_PROM_PROTO_BUCKETS_MAX - 2, HK_OK },
                  { 20000, HK_E_LIMIT } };
    for (size_t i = 0; i < HK_COUNT(cases); i++) {
        struct hk_buf family, text, out;
        hk_buf_init(&text, 1 << 22);
        hk_buf_init(&out, 1 << 22);
        begin_family(&family, "h", HISTOGRAM);
        const size_t metric = hk_proto_begin(&family, 4);
        const size_t histogram = hk_proto_begin(&family, 7);
        for (unsigned k = 0; k < cases[i].buckets; k++)
            put_bucket(&family, k, k, NULL);
        hk_proto_end(&family, histogram);
        hk_proto_end(&family, metric);
        end_family(&family, &text);
        CHECK_INT(run(hk_buf_get(&text), false, &out), cases[i].err);
        if (cases[i].err == HK_OK) CHECK_INT(points, cases[i].buckets + 3);
        hk_buf_deinit(&out);
        hk_buf_deinit(&text);
    }
}

TEST(more_families_than_metas_of_a_batch) {
    struct hk_buf text, out;
    hk_buf_init(&text, 1 << 20);
    hk_buf_init(&out, 1 << 20);
    for (unsigned i = 0; i < 200; i++) {
        struct hk_buf family;
        begin_family(&family, "g", GAUGE);
        put_simple(&family, "x", 2, i);
        end_family(&family, &text);
    }
    CHECK_INT(run(hk_buf_get(&text), false, &out), HK_OK);
    CHECK_INT(points, 200);
    hk_buf_deinit(&out);
    hk_buf_deinit(&text);
}

/* Same labels under another name or type are another series; the same again is the same. */
TEST(identity_is_context_part_and_key) {
    struct hk_prom_proto state;
    struct hk_buf text;
    struct hk_hash128 hashes[4] = { { 0, 0 } };
    static const struct {
        const char *name;
        unsigned type;
    } families[] = { { "a", GAUGE }, { "b", GAUGE }, { "a", UNTYPED }, { "a", GAUGE } };
    hk_buf_init(&text, 65536);
    for (size_t i = 0; i < HK_COUNT(families); i++) {
        struct hk_buf family;
        begin_family(&family, families[i].name, families[i].type);
        put_simple(&family, "x", families[i].type == GAUGE ? 2 : 5, 1);
        end_family(&family, &text);
    }
    hk_arena_init(&arena, 65536);
    batch.arena = &arena;
    hk_batch_clear(&batch);
    hk_prom_proto_init(&state, hk_buf_get(&text), &context, 0);
    CHECK_INT(hk_prom_proto_parser.parse(&state, &batch), HK_OK);
    CHECK_INT(batch.count, 4);
    for (size_t i = 0; i < 4; i++)
        hashes[i] = batch.entries[i].context->hash;
    CHECK(memcmp(&hashes[0], &hashes[1], sizeof(hashes[0])) != 0);
    CHECK(memcmp(&hashes[0], &hashes[2], sizeof(hashes[0])) != 0);
    CHECK(memcmp(&hashes[0], &hashes[3], sizeof(hashes[0])) == 0);
    hk_arena_deinit(&arena);
    hk_buf_deinit(&text);
}

static const struct {
    const char *bytes;
    size_t len;
    const char *text;
} broken[] = {
#define BYTES(text) text, sizeof(text) - 1
    { BYTES("\x05"), "metric family at byte 0: its length is beyond the end of input" },
    { BYTES("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"),
      "metric family at byte 0: its length is beyond the end of input" },
    { BYTES("\x00"), "metric family at byte 0: no name" },
    { BYTES("\x03\x0a\x01"
            "a\x01\x0b"),
      "metric family at byte 4: no protobuf message" },
    { BYTES("\x03\x0a\x01\xff"), "metric family at byte 0: name, help or unit is not valid UTF-8" },
    { BYTES("\x05\x0a\x01"
            "a\x18\x06"),
      "metric family at byte 0: unknown type 6" },
    { BYTES("\x06\x0a\x01"
            "a\x22\x01\x0a"),
      "metric family \"a\": malformed metric" },
    { BYTES("\x08\x0a\x01"
            "a\x22\x03\x0a\x01\x0a"),
      "metric family \"a\": malformed metric" },
    { BYTES("\x08\x0a\x01"
            "a\x22\x03\x1a\x01\x09"),
      "metric family \"a\": malformed metric" },
};

TEST(broken_messages) {
    for (size_t i = 0; i < HK_COUNT(broken); i++) {
        struct hk_buf out;
        hk_buf_init(&out, 65536);
        hk_fail_clear();
        const struct hk_str input = { broken[i].bytes, broken[i].len };
        CHECK_INT(run(input, false, &out), HK_E_MALFORMED);
        CHECK_TEXT(hk_fail_text(), broken[i].text);
        hk_buf_deinit(&out);
    }
}

TEST(every_truncation_is_refused_and_safe) {
    struct hk_buf family, text;
    hk_buf_init(&text, 1 << 20);
    begin_family(&family, "h", HISTOGRAM);
    put_native(&family, false, 12);
    put_classic(&family, true);
    end_family(&family, &text);
    for (size_t len = 1; len < text.len; len++) {
        struct hk_buf out;
        hk_buf_init(&out, 65536);
        CHECK_INT(run((struct hk_str){ text.ptr, len }, true, &out), HK_E_MALFORMED);
        hk_buf_deinit(&out);
    }
    hk_buf_deinit(&text);
}

HK_TEST_MAIN()
