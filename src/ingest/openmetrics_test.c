/* Goal: each rule of OpenMetrics text, each way to break it, exemplars, resumption, truncation. */
#include "ingest/openmetrics.h"

#include "hk_test.h"
#include "model/exemplar.h"

static struct hk_batch batch;
static struct hk_arena arena;
static const struct hk_context context = { { 1, 2 }, NULL };

static void collect_exemplar(const struct hk_entry *entry, struct hk_buf *out) {
    struct hk_exemplar exemplar;
    const struct hk_str bytes = { entry->payload, entry->payload_bytes };
    CHECK_INT(hk_exemplar_decode(bytes, &arena, &exemplar), HK_OK);
    const bool stamped = exemplar.stamp_ms != HK_EXEMPLAR_NO_STAMP;
    CHECK_INT(stamped ? exemplar.stamp_ms : 1000, entry->stamp_ms);
    CHECK_DOUBLE(exemplar.value, entry->value);
    hk_buf_text(out, "# ");
    hk_labels_format(exemplar.labels, out);
}

static void collect(struct hk_openmetrics *state, struct hk_buf *out) {
    for (uint32_t i = 0; i < batch.count; i++) {
        const struct hk_entry *entry = &batch.entries[i];
        struct hk_label_set set;
        struct hk_labels labels = { NULL, 0 };
        hk_label_set_clear(&set);
        CHECK(entry->context == &context && entry->ref == HK_REF_NONE);
        CHECK_INT(hk_openmetrics_parser.labels(state, &batch, entry, &set), HK_OK);
        CHECK_INT(hk_label_set_finish(&set, &labels), HK_OK);
        if (entry->kind == HK_ENTRY_EXEMPLAR) {
            CHECK(i > 0 && entry->key == batch.entries[i - 1].key);
            collect_exemplar(entry, out);
        } else {
            CHECK_INT(entry->kind, HK_ENTRY_SET);
            hk_labels_format(labels, out);
        }
        hk_buf_char(out, ' ');
        hk_buf_double(out, entry->value);
        if (entry->stamp_ms != 1000) hk_buf_printf(out, " %" PRId64, entry->stamp_ms);
        hk_buf_char(out, ';');
    }
    for (uint32_t i = 0; i < batch.meta_count; i++) {
        const struct hk_batch_meta *meta = &batch.metas[i];
        hk_buf_printf(
            out, "%.*s(%.*s|%.*s|%.*s);", HK_STR_ARG(meta->metric), HK_STR_ARG(meta->type),
            HK_STR_ARG(meta->help), HK_STR_ARG(meta->unit));
    }
}

/* Parses an exact-size copy of `input`; `points` and `rejected` exemplars may be NULL. */
static hk_err run(struct hk_str input, struct hk_buf *out, uint64_t *points, uint64_t *rejected) {
    struct hk_openmetrics state;
    char *exact = hk_mem_resize(hk_mem_copy(input.ptr, input.len), input.len + 1, 1);
    if (input.len > 0) exact = hk_mem_resize(exact, input.len, 1);
    hk_arena_init(&arena, 1 << 22);
    hk_openmetrics_init(&state, (struct hk_str){ exact, input.len }, &context, 1000);
    batch.arena = &arena;
    hk_err err = HK_FULL;
    if (points != NULL) *points = 0;
    while (err == HK_FULL) {
        hk_batch_clear(&batch);
        err = hk_openmetrics_parser.parse(&state, &batch);
        if (points != NULL) *points += batch.points;
        if (err == HK_OK || err == HK_FULL) collect(&state, out);
    }
    if (rejected != NULL) *rejected = state.exemplars_rejected;
    hk_mem_free(exact);
    hk_arena_deinit(&arena);
    return err;
}

static const struct {
    const char *input, *want;
} good[] = {
    { "", "" },
    { "a 1\n", "a 1;" },
    { "a{} 1\na{x=\"1\",} 2\n", "a 1;a{x=\"1\"} 2;" },
    { "a{x=\"1\",y=\"\\\\\\\"\\n\"} 1\n", "a{x=\"1\", y=\"\\\\\\\"\\n\"} 1;" },
    { "{\"a b\",\"c d\"=\"e\"} 1\n", "{\"a b\", \"c d\"=\"e\"} 1;" },
    { "a 1 5\na 1 1520879607.789\na 1 -1.5\na 1 +2.25\n", "a 1 5000;a 1 1520879607789;a 1 -1500;"
                                                          "a 1 2250;" },
    { "a 1 1.52e9\na 1 0.1239\na 1 .5\na 1 -0.001\n", "a 1 1520000000000;a 1 123;a 1 500;a 1 -1;" },
    { "a 1 1.1234567890123456789\n", "a 1 1123;" },
    { "a +Inf\na NaN\na -1e3\n", "a +Inf;a NaN;a -1000;" },
    { "a_total 1\na_created 1520430000.123\n", "a_total 1;a_created 1520430000.123;" },
    { "# HELP a What \\\\ \\n \\\" is\n# TYPE a counter\na_total 1\n",
      "a_total 1;a(counter|What \\ \n \" is|);" },
    { "# TYPE a_seconds gauge\n# UNIT a_seconds seconds\n", "a_seconds(gauge||seconds);" },
    { "# UNIT a \n# HELP a \n# TYPE b info\n", "a(||);b(info||);" },
    { "# TYPE a gaugehistogram\n# TYPE b stateset\n# TYPE c unknown\n# TYPE d summary\n",
      "a(gaugehistogram||);b(stateset||);c(unknown||);d(summary||);" },
    { "# TYPE \"a b\" histogram\n", "a b(histogram||);" },
    { "a 1 # {trace_id=\"abc\"} 2\n", "a 1;# {trace_id=\"abc\"} 2;" },
    { "a{le=\"1\"} 1 5 # {x=\"1\",y=\"2\"} 0.5 6.5\nb 2\n",
      "a{le=\"1\"} 1 5000;# {x=\"1\", y=\"2\"} 0.5 6500;b 2;" },
    { "# TYPE a histogram\na_bucket{le=\"1\"} 1 # {x=\"1\"} 2\n",
      "a_bucket{le=\"1.0\"} 1;# {x=\"1\"} 2;a(histogram||);" },
    { "a 1 # {} 2\n", "a 1;# {} 2;" },
    { "a 1 # {x=\"\\\"\\n\"} 2 3\n", "a 1;# {x=\"\\\"\\n\"} 2 3000;" },
};

TEST(good_lines) {
    for (size_t i = 0; i < HK_COUNT(good); i++) {
        for (int newline = 0; newline < 2; newline++) {
            struct hk_buf text, out;
            hk_buf_init(&text, 65536);
            hk_buf_init(&out, 65536);
            hk_buf_printf(&text, "%s# EOF%s", good[i].input, newline == 1 ? "\n" : "");
            CHECK_INT(run(hk_buf_get(&text), &out, NULL, NULL), HK_OK);
            CHECK_STR(hk_buf_get(&out), hk_str_from(good[i].want));
            hk_buf_deinit(&out);
            hk_buf_deinit(&text);
        }
    }
}

static const struct {
    const char *input, *text;
} bad[] = {
    { "", "line 1: expected # EOF, got no input" },
    { "a 1\n", "line 2: expected # EOF, got the end of input" },
    { "# EOF\n\n", "line 2: expected nothing behind # EOF, got \"\"" },
    { "# EOF\na 1", "line 2: expected nothing behind # EOF, got \"a 1\"" },
    { "# EOFX", "line 1: expected nothing behind # EOF, got \"X\"" },
    { "\n# EOF", "line 1: expected a metric name or '{', got \"\"" },
    { " a 1\n# EOF", "line 1: expected a metric name or '{', got \" a 1\"" },
    { "# comment\n", "line 1: expected # HELP, # TYPE, # UNIT or # EOF, got \"# comment\"" },
    { "#TYPE a gauge\n",
      "line 1: expected # HELP, # TYPE, # UNIT or # EOF, got \"#TYPE a gauge\"" },
    { "# TYPE a untyped\n", "line 1: expected counter, gauge, histogram, gaugehistogram, summary, "
                            "stateset, info or unknown, got \"untyped\"" },
    { "# TYPE a  gauge\n", "line 1: expected counter, gauge, histogram, gaugehistogram, summary, "
                           "stateset, info or unknown, got \" gauge\"" },
    { "# TYPE a.b gauge\n", "line 1: expected a metric name, got \"a.b gauge\"" },
    { "# UNIT a_seconds second\n",
      "line 1: a unit that is no suffix of the metric's name, got \"second\"" },
    { "# UNIT seconds seconds\n",
      "line 1: a unit that is no suffix of the metric's name, got \"seconds\"" },
    { "# UNIT aseconds seconds\n",
      "line 1: a unit that is no suffix of the metric's name, got \"seconds\"" },
    { "# HELP a \xff\n", "line 1: a text that is not valid UTF-8, got \"?\"" },
    { "a  1\n", "line 1: expected ' ' and a value behind the series, got \"  1\"" },
    { "a\t1\n", "line 1: expected ' ' and a value behind the series, got \"?1\"" },
    { "a {x=\"1\"} 1\n",
      "line 1: expected ' ' and a value behind the series, got \" {x=\"1\"} 1\"" },
    { "a{x=\"1\"}1\n", "line 1: expected ' ' and a value behind the series, got \"1\"" },
    { "a\n", "line 1: expected ' ' and a value behind the series, got \"\"" },
    { "a 1", "line 1: expected a new line or ' # {' and an exemplar, got the end of input" },
    { "a 1 \n", "line 1: expected a timestamp in seconds, got \" \"" },
    { "a 1 x\n", "line 1: expected a timestamp in seconds, got \" x\"" },
    { "a 1 NaN\n", "line 1: expected a timestamp in seconds, got \" NaN\"" },
    { "a 1 1e300\n", "line 1: expected a timestamp in seconds, got \" 1e300\"" },
    { "a 1 9223372036854775807\n",
      "line 1: expected a timestamp in seconds, got \" 9223372036854775807\"" },
    { "a 1 2 3\n", "line 1: expected a new line or ' # {' and an exemplar, got \" 3\"" },
    { "a{ x=\"1\"} 1\n", "line 1: expected a label name, got \" x=\"1\"} 1\"" },
    { "a{x=\"1\" y=\"2\"} 1\n",
      "line 1: expected ',' or '}' behind a label value, got \" y=\"2\"} 1\"" },
    { "a{x=\"1\ny\"} 1\n", "line 1: a quoted string without its end, got \"\"1\"" },
    { "a{x=\"1\\\ny\"} 1\n", "line 1: a quoted string without its end, got \"\"1\\\"" },
    { "a 1 # x\n", "line 1: expected a new line or ' # {' and an exemplar, got \" # x\"" },
    { "a 1 # {x=\"1\"}\n", "line 1: expected the exemplar's value, got \"\"" },
    { "a 1 # {x=\"1\"} y\n", "line 1: expected the exemplar's value, got \" y\"" },
    { "a 1 # {x=\"1\"} 1 y\n", "line 1: expected a timestamp in seconds, got \" y\"" },
    { "a 1 # {x=\"1\"} 1 2 3\n", "line 1: expected a new line behind the exemplar, got \" 3\"" },
    { "a 1 # {x=\"1\"} 1 # {x=\"1\"} 1\n",
      "line 1: expected a new line behind the exemplar, got \" # {x=\"1\"} 1\"" },
    { "a 1 # {\"x\"} 1\n", "line 1: a second metric name, got \"} 1\"" },
};

TEST(bad_lines) {
    for (size_t i = 0; i < HK_COUNT(bad); i++) {
        struct hk_buf out;
        hk_buf_init(&out, 65536);
        hk_fail_clear();
        CHECK_INT(run(hk_str_from(bad[i].input), &out, NULL, NULL), HK_E_MALFORMED);
        CHECK_TEXT(hk_fail_text(), bad[i].text);
        hk_buf_deinit(&out);
    }
}

/* Such an exemplar does not fail the scrape: its sample stays. */
TEST(unfit_exemplars_are_left_out_and_counted) {
    struct hk_buf text, out;
    uint64_t points = 0, rejected = 0;
    hk_buf_init(&text, 65536);
    hk_buf_init(&out, 65536);
    for (int len = 126; len <= 128; len++) {
        hk_buf_printf(&text, "a 1 # {x=\"%0*d\"} 2\n", len, 0);
    }
    hk_buf_text(&text, "b 1 # {x=\"1\",x=\"2\"} 2\nc 3\n# EOF\n");
    CHECK_INT(run(hk_buf_get(&text), &out, &points, &rejected), HK_OK);
    CHECK_INT(points, 5);
    CHECK_INT(rejected, 2);
    hk_buf_deinit(&out);
    hk_buf_deinit(&text);
}

static const char page[] = "# HELP a_seconds Time.\n# TYPE a_seconds histogram\n"
                           "# UNIT a_seconds seconds\n"
                           "a_seconds_bucket{le=\"0.5\"} 3 17.25 # {trace_id=\"4bf9\"} 0.3 17.1\n"
                           "{\"\xc3\xa4\\\"b\",\"y z\"=\"}\"} -1e-3\n# EOF\n";

TEST(every_truncation_is_refused_and_safe) {
    for (size_t len = 0; len <= sizeof(page) - 1; len++) {
        struct hk_buf out;
        hk_buf_init(&out, 65536);
        const hk_err err = run((struct hk_str){ page, len }, &out, NULL, NULL);
        CHECK_INT(err, len + 2 >= sizeof(page) ? HK_OK : HK_E_MALFORMED);
        hk_buf_deinit(&out);
    }
}

/* Samples with and without exemplars and metas: same result wherever batches are cut. */
TEST(resumes_at_every_boundary) {
    for (size_t shift = 0; shift < 4; shift++) {
        struct hk_buf text, out;
        uint64_t points = 0;
        size_t exemplars = 0, metas = 0;
        hk_buf_init(&text, 1 << 20);
        hk_buf_init(&out, 1 << 20);
        for (size_t k = 0; k < 1200 + shift; k++) {
            const bool exemplar = (k + shift) % 3 == 0;
            hk_buf_printf(&text, "# TYPE m%zu gauge\nm%zu{i=\"%zu\"} %zu", k, k, k, k);
            if (exemplar) hk_buf_printf(&text, " # {t=\"%zu\"} 1", k);
            hk_buf_char(&text, '\n');
            exemplars += exemplar;
        }
        hk_buf_text(&text, "# EOF\n");
        CHECK_INT(run(hk_buf_get(&text), &out, &points, NULL), HK_OK);
        CHECK_INT(points, 1200 + shift);
        const struct hk_str all = hk_buf_get(&out);
        for (size_t at = 0; at < all.len; at = hk_str_find(all, ';', at) + 1) {
            exemplars -= all.ptr[at] == '#';
            metas += all.ptr[hk_str_find(all, ';', at) - 1] == ')';
        }
        CHECK_INT(exemplars, 0);
        CHECK_INT(metas, 1200 + shift);
        hk_buf_deinit(&out);
        hk_buf_deinit(&text);
    }
}

TEST(stamps_can_be_ignored) {
    struct hk_openmetrics state;
    hk_arena_init(&arena, 65536);
    batch.arena = &arena;
    hk_openmetrics_init(&state, HK_STR("a 1 55 # {x=\"1\"} 1 54\n# EOF\n"), &context, 7);
    state.ignore_stamps = true;
    hk_batch_clear(&batch);
    CHECK_INT(hk_openmetrics_parser.parse(&state, &batch), HK_OK);
    CHECK_INT(batch.entries[0].stamp_ms, 7);
    CHECK_INT(batch.entries[1].stamp_ms, 54000);
    hk_arena_deinit(&arena);
}

HK_TEST_MAIN()
