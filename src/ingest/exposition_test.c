/* Goal: each rule of the text format, each way to break it, resumption and truncation. */
#include "ingest/exposition.h"

#include "hk_test.h"
#include "ingest/exposition_float.h"
#include "ingest/exposition_scan.h"

#include <math.h>

static struct hk_batch batch;
static struct hk_arena arena;
static const struct hk_context context = { { 1, 2 }, NULL };

/* Appends `labels value stamp` of each entry and `meta(type|help)` to `out`. */
static void collect(struct hk_exposition *state, struct hk_buf *out) {
    for (uint32_t i = 0; i < batch.count; i++) {
        const struct hk_entry *entry = &batch.entries[i];
        struct hk_label_set set;
        struct hk_labels labels = { NULL, 0 };
        hk_label_set_clear(&set);
        CHECK(entry->context == &context && entry->ref == HK_REF_NONE);
        CHECK_INT(hk_exposition_parser.labels(state, &batch, entry, &set), HK_OK);
        if (hk_label_set_finish(&set, &labels) < 0) {
            hk_buf_text(out, "invalid");
        } else {
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
            out, "%.*s(%.*s|%.*s);", HK_STR_ARG(meta->metric), HK_STR_ARG(meta->type),
            HK_STR_ARG(meta->help));
    }
}

/* Parses an exact-size copy of `input` and collects all that it gives; the parser's last word. */
static hk_err run(struct hk_str input, struct hk_buf *out) {
    struct hk_exposition state;
    char *copy = hk_mem_copy(input.ptr, input.len);
    char *exact = hk_mem_resize(copy, input.len + 1, 1);
    hk_arena_init(&arena, 1 << 20);
    hk_exposition_init(&state, (struct hk_str){ exact, input.len }, &context, 1000);
    batch.arena = &arena;
    hk_err err = HK_FULL;
    while (err == HK_FULL) {
        hk_batch_clear(&batch);
        err = hk_exposition_parser.parse(&state, &batch);
        CHECK_INT(batch.points, batch.count);
        if (err == HK_OK || err == HK_FULL) collect(&state, out);
    }
    hk_mem_free(exact);
    hk_arena_deinit(&arena);
    return err;
}

static const struct {
    const char *input, *want;
} good[] = {
    { "", "" },
    { "\n\n \n", "" },
    { "up 1", "up 1;" },
    { "up 1\n", "up 1;" },
    { "  up\t 1\t\n", "up 1;" },
    { "up 1 1234\nup -1 -5", "up 1 1234;up -1 -5;" },
    { "up 1 1234 \n", "up 1 1234;" },
    { "a:b_C9{x=\"1\",y=\"2\"} 3\n", "a:b_C9{x=\"1\", y=\"2\"} 3;" },
    { "a{} 1\na{x=\"1\",} 2\n", "a 1;a{x=\"1\"} 2;" },
    { "a { x = \"1\" , y =\"2\" } 3", "a{x=\"1\", y=\"2\"} 3;" },
    { "a{x=\"1\" y=\"2\"}3", "a{x=\"1\", y=\"2\"} 3;" },
    { "a{x=\"}\",y=\",\",z=\"=\"} 1", "a{x=\"}\", y=\",\", z=\"=\"} 1;" },
    { "a{x=\"\"} 1", "a 1;" },
    { "a{x=\"\\\\ \\\" \\n \\q\"} 1", "a{x=\"\\\\ \\\" \\n \\\\q\"} 1;" },
    { "a{x=\"one\ntwo\"} 1", "a{x=\"one\\ntwo\"} 1;" },
    { "a{x=\"caf\xc3\xa9\"} 1", "a{x=\"caf\xc3\xa9\"} 1;" },
    { "{\"http.requests\",method=\"GET\"} 5", "{\"http.requests\", method=\"GET\"} 5;" },
    { "{\"http.requests\"} 5", "{\"http.requests\"} 5;" },
    { "{method=\"GET\",\"http.requests\"} 5", "{\"http.requests\", method=\"GET\"} 5;" },
    { "{\"plain\",\"a.b\"=\"c\"} 5", "plain{\"a.b\"=\"c\"} 5;" },
    { "a{\"b c\"=\"d\"} 5", "a{\"b c\"=\"d\"} 5;" },
    { "{\"q\\\"uote\"} 5", "{\"q\\\"uote\"} 5;" },
    { "{ \"a b\" , x=\"1\" } 5", "{\"a b\", x=\"1\"} 5;" },
    { "a +Inf\na -Inf\na NaN\na nan\na inf", "a +Inf;a -Inf;a NaN;a NaN;a +Inf;" },
    { "a 1e3\na 1.5E-3\na .5\na 5.\na +1", "a 1000;a 0.0015;a 0.5;a 5;a 1;" },
    { "a 0.1234567890123456789012", "a 0.12345678901234568;" },
    { "#", "" },
    { "# comment\n#HELP x y\n#\n# HELPX y z\n# TYPO x y", "" },
    { "# HELP", "" },
    { "# HELP a What a is.\n# TYPE a counter\na 1\n", "a 1;a(counter|What a is.);" },
    { "# TYPE a gauge\n# TYPE b summary\n# TYPE c histogram\n",
      "a(gauge|);b(summary|);c(histogram|);" },
    { "# TYPE a untyped", "a(unknown|);" },
    { "#\tTYPE\ta  gauge ", "a(gauge|);" },
    { "# HELP a back\\\\slash new\\nline qu\\\"ote", "a(|back\\slash new\nline qu\\\"ote);" },
    { "# HELP a", "a(|);" },
    { "# HELP a \n# HELP b  two", "a(|);b(| two);" },
    { "# HELP \"a b\" help\n# TYPE \"a b\" gauge", "a b(gauge|help);" },
    { "# TYPE \"a\\\\b\" gauge\n# HELP \"a\\\\b\" h", "a\\b(gauge|h);" },
    { "a{x=\"1\",x=\"2\"} 1", "invalid 1;" },
    { "a{le=\"1\"} 1\n# TYPE a histogram\na_bucket{le=\"1\"} 2\na_bucket{le=\"x\",quantile=\"1\"} "
      "3\n# TYPE b summary\nb{le=\"1\",quantile=\"1.00\"} 4\n# TYPE c gauge\nc{le=\"1\"} 5",
      "a{le=\"1\"} 1;a_bucket{le=\"1.0\"} 2;a_bucket{le=\"x\", quantile=\"1\"} 3;"
      "b{le=\"1\", quantile=\"1.0\"} 4;c{le=\"1\"} 5;a(histogram|);b(summary|);c(gauge|);" },
};

TEST(good_lines) {
    for (size_t i = 0; i < HK_COUNT(good); i++) {
        struct hk_buf out;
        hk_buf_init(&out, 65536);
        CHECK_INT(run(hk_str_from(good[i].input), &out), HK_OK);
        CHECK_STR(hk_buf_get(&out), hk_str_from(good[i].want));
        hk_buf_deinit(&out);
    }
}

static const struct {
    const char *input, *text;
} bad[] = {
    { "a", "line 1: expected a value behind the series, got the end of input" },
    { "up 1\nup\n", "line 2: expected a value behind the series, got \"\"" },
    { "a 1x", "line 1: expected a value behind the series, got \"1x\"" },
    { "a 1\r\n", "line 1: expected a value behind the series, got \"1?\"" },
    { "a 0x10", "line 1: expected a value behind the series, got \"0x10\"" },
    { "a 0x1p4", "line 1: expected a value behind the series, got \"0x1p4\"" },
    { "a 1e999", "line 1: expected a value behind the series, got \"1e999\"" },
    { "a 1_000", "line 1: expected a value behind the series, got \"1_000\"" },
    { "a 1 x", "line 1: expected a timestamp in ms or a new line, got \"x\"" },
    { "a 1 1.5", "line 1: expected a timestamp in ms or a new line, got \"1.5\"" },
    { "a 1 99999999999999999999",
      "line 1: expected a timestamp in ms or a new line, got \"99999999999999999999\"" },
    { "a 1 2 3", "line 1: expected a new line behind the timestamp, got \"3\"" },
    { "9a 1", "line 1: expected a metric name or '{', got \"9a 1\"" },
    { "-a 1", "line 1: expected a metric name or '{', got \"-a 1\"" },
    { "a-b 1", "line 1: expected a value behind the series, got \"-b 1\"" },
    { "a.b 1", "line 1: expected a value behind the series, got \".b 1\"" },
    { "{x=\"1\"} 1", "line 1: a series without a metric name, got \"} 1\"" },
    { "{} 1", "line 1: a series without a metric name, got \"} 1\"" },
    { "{\"\"} 1", "line 1: expected a label name, got \"} 1\"" },
    { "a{\"b\"} 1", "line 1: a second metric name, got \"} 1\"" },
    { "{\"a\",\"b\"} 1", "line 1: a second metric name, got \"} 1\"" },
    { "a{x} 1", "line 1: expected '=' behind a label name, got \"} 1\"" },
    { "a{x:y=\"1\"} 1", "line 1: expected '=' behind a label name, got \":y=\"1\"} 1\"" },
    { "a{1x=\"1\"} 1", "line 1: expected a label name, got \"1x=\"1\"} 1\"" },
    { "a{,} 1", "line 1: expected a label name, got \",} 1\"" },
    { "a{x=\"1\",,} 1", "line 1: expected a label name, got \",} 1\"" },
    { "a{x=1} 1", "line 1: expected a quoted string, got \"1} 1\"" },
    { "a{x=} 1", "line 1: expected a quoted string, got \"} 1\"" },
    { "a{x=\"1} 1\n", "line 1: a quoted string without its end, got \"\"1} 1\"" },
    { "a{x=\"1\\", "line 1: a quoted string without its end, got \"\"1\\\"" },
    { "a{x=\"1\"", "line 1: expected a label name, got the end of input" },
    { "a{x=\"1\"\n} 1", "line 1: expected a label name, got \"\"" },
    { "a{", "line 1: expected a label name, got the end of input" },
    { "a{x=\"\xff\"} 1", "line 1: a string that is not valid UTF-8, got \"\"?\"} 1\"" },
    { "a{x=\"\\\xff\"} 1", "line 1: a string that is not valid UTF-8, got \"\"\\?\"} 1\"" },
    { "# TYPE a thing", "line 1: expected counter, gauge, histogram, summary or untyped, got "
                        "\"thing\"" },
    { "# TYPE a", "line 1: expected counter, gauge, histogram, summary or untyped, got the end of "
                  "input" },
    { "# TYPE 9 gauge", "line 1: expected a metric name, got \"9 gauge\"" },
    { "# TYPE a.b gauge", "line 1: expected a metric name, got \"a.b gauge\"" },
    { "# HELP \n", "line 1: expected a metric name, got \"\"" },
    { "# TYPE \"a gauge", "line 1: a quoted string without its end, got \"\"a gauge\"" },
    { "x 1\n\n# HELP a \xff", "line 3: help that is not valid UTF-8, got \"?\"" },
};

TEST(bad_lines) {
    for (size_t i = 0; i < HK_COUNT(bad); i++) {
        struct hk_buf out;
        hk_buf_init(&out, 65536);
        hk_fail_clear();
        CHECK_INT(run(hk_str_from(bad[i].input), &out), HK_E_MALFORMED);
        CHECK_TEXT(hk_fail_text(), bad[i].text);
        hk_buf_deinit(&out);
    }
}

static const char page[] = "# HELP node_cpu_seconds_total Seconds the CPUs spent in each mode.\n"
                           "# TYPE node_cpu_seconds_total counter\n"
                           "node_cpu_seconds_total{cpu=\"0\",mode=\"idle\"} 3.9152411e+06 17\n"
                           "{\"\xc3\xa4\\\"b\", x=\"\\n\xe2\x82\xac\" , \"y z\"=\"}\"} -1e-3\n"
                           "a{le=\"+Inf\"} +Inf\n";

/* No prefix of a page reads past its end (the copies are exact: a sanitizer sees it). */
TEST(every_truncation_is_safe) {
    for (size_t len = 0; len < sizeof(page); len++) {
        struct hk_buf out;
        hk_buf_init(&out, 65536);
        const hk_err err = run((struct hk_str){ page, len }, &out);
        CHECK(err == HK_OK || err == HK_E_MALFORMED);
        hk_buf_deinit(&out);
    }
}

/* A page of n lines gives the same entries and metas wherever the batches are cut. */
TEST(resumes_at_every_boundary) {
    static const size_t counts[] = { 1, 63, 64, 65, 511, 512, 513, 1023, 1024, 1025, 3000 };
    for (size_t i = 0; i < HK_COUNT(counts); i++) {
        struct hk_buf text, want, got;
        hk_buf_init(&text, 1 << 20);
        hk_buf_init(&want, 1 << 20);
        hk_buf_init(&got, 1 << 20);
        for (size_t k = 0; k < counts[i]; k++) {
            hk_buf_printf(&text, "# TYPE m%zu gauge\nm%zu{i=\"%zu\"} %zu\n", k, k, k, k);
        }
        CHECK_INT(run(hk_buf_get(&text), &got), HK_OK);
        size_t samples = 0, metas = 0;
        const struct hk_str all = hk_buf_get(&got);
        for (size_t at = 0; at < all.len; at = hk_str_find(all, ';', at) + 1) {
            samples += all.ptr[at] == 'm' && all.ptr[hk_str_find(all, ';', at) - 1] != ')';
            metas += all.ptr[hk_str_find(all, ';', at) - 1] == ')';
        }
        CHECK_INT(samples, counts[i]);
        CHECK_INT(metas, counts[i]);
        hk_buf_deinit(&text);
        hk_buf_deinit(&want);
        hk_buf_deinit(&got);
    }
}

TEST(keys_are_the_bytes_on_the_line) {
    static const struct {
        const char *input, *key;
    } cases[] = {
        { "a 1", "a" },
        { " a   1", "a" },
        { "a {x=\"1\"}  1", "a {x=\"1\"}" },
        { "{\"a b\"}1", "{\"a b\"}" },
    };
    struct hk_exposition state;
    for (size_t i = 0; i < HK_COUNT(cases); i++) {
        hk_exposition_init(&state, hk_str_from(cases[i].input), &context, 0);
        hk_batch_clear(&batch);
        CHECK_INT(hk_exposition_parser.parse(&state, &batch), HK_OK);
        CHECK_INT(batch.count, 1);
        CHECK_STR(
            ((struct hk_str){ batch.entries[0].key, batch.entries[0].key_bytes }),
            hk_str_from(cases[i].key));
    }
}

static const struct {
    double value;
    const char *text;
} floats[] = {
    { 0, "0.0" },
    { -0.0, "0.0" },
    { 1, "1.0" },
    { -1, "-1.0" },
    { 0.5, "0.5" },
    { 2.5, "2.5" },
    { 100, "100.0" },
    { 123456, "123456.0" },
    { 999999, "999999.0" },
    { 1e6, "1e+06" },
    { 1234567, "1.234567e+06" },
    { 123456.7, "123456.7" },
    { 1.5e300, "1.5e+300" },
    { 0.0001, "0.0001" },
    { 0.00001, "1e-05" },
    { -0.0000125, "-1.25e-05" },
    { 1e-7, "1e-07" },
    { 9007199254740992.0, "9.007199254740992e+15" },
    { HUGE_VAL, "+Inf" },
    { -HUGE_VAL, "-Inf" },
};

TEST(canonical_numbers) {
    for (size_t i = 0; i < HK_COUNT(floats); i++) {
        char text[HK_DOUBLE_BYTES_MAX];
        const size_t len = hk_exposition_float(floats[i].value, text);
        CHECK_STR(((struct hk_str){ text, len }), hk_str_from(floats[i].text));
    }
}

TEST(stamps_can_be_ignored) {
    struct hk_exposition state;
    hk_exposition_init(&state, HK_STR("a 1 55\n"), &context, 7);
    state.ignore_stamps = true;
    hk_batch_clear(&batch);
    CHECK_INT(hk_exposition_parser.parse(&state, &batch), HK_OK);
    CHECK_INT(batch.entries[0].stamp_ms, 7);
}

TEST(a_full_arena_is_an_error) {
    struct hk_exposition state;
    hk_arena_init(&arena, 8);
    batch.arena = &arena;
    hk_exposition_init(&state, HK_STR("# HELP a \\\\ a long text to copy\n"), &context, 7);
    hk_batch_clear(&batch);
    CHECK_INT(hk_exposition_parser.parse(&state, &batch), HK_E_NOMEM);
    hk_arena_deinit(&arena);
}

/* The 16-byte scans find what a loop over bytes finds, at every length and place. */
PROPERTY(scans_match_a_plain_loop) {
    static const char alphabet[] = "abZ09:_\"\\\n {}\xc3@[`/";
    for (unsigned round = 0; round < 3000; round++) {
        char text[70];
        const size_t len = hk_test_random() % sizeof(text);
        for (size_t i = 0; i < len; i++) {
            const bool plain = hk_test_random() % 8 != 0;
            text[i] = alphabet[hk_test_random() % (plain ? 7 : sizeof(alphabet) - 1)];
        }
        size_t name = 0, quote = 0, label = 0, token = 0;
        while (label < len && hk_scan_is_name_char(text[label], false))
            label++;
        while (token < len && text[token] != ' ' && text[token] != '\n')
            token++;
        while (name < len && hk_scan_is_name_char(text[name], true))
            name++;
        while (quote < len && text[quote] != '"' && text[quote] != '\\' && text[quote] != '\n')
            quote++;
        bool high = false, want_high = false;
        for (size_t i = 0; i < quote; i++)
            want_high = want_high || (unsigned char)text[i] >= 0x80;
        char *exact = hk_mem_resize(NULL, len + 1, 1);
        memcpy(exact, text, len);
        exact = hk_mem_resize(exact, len == 0 ? 1 : len, 1);
        CHECK_INT(hk_scan_name_end(exact, exact + len, true) - exact, name);
        CHECK_INT(hk_scan_quote_end(exact, exact + len, true, &high) - exact, quote);
        CHECK_INT(hk_scan_name_end(exact, exact + len, false) - exact, label);
        CHECK_INT(hk_scan_token_end(exact, exact + len) - exact, token);
        CHECK(high || !want_high);
        hk_mem_free(exact);
    }
}

HK_TEST_MAIN()
