/* Goal: each rule of StatsD and DogStatsD lines, each way to break them, and the labels. */
#include "ingest/statsd.h"

#include "hk_test.h"
#include "ingest/statsd_agg.h"

static struct hk_batch batch;
static struct hk_arena arena;
static const struct hk_context context = { { 1, 2 }, NULL };

static void collect(struct hk_statsd *state, struct hk_buf *out) {
    for (uint32_t i = 0; i < batch.count; i++) {
        const struct hk_entry *entry = &batch.entries[i];
        struct hk_label_set set;
        struct hk_labels labels = { NULL, 0 };
        hk_label_set_clear(&set);
        CHECK(entry->context == &context && entry->ref == HK_REF_NONE);
        CHECK_INT(hk_statsd_parser.labels(state, &batch, entry, &set), HK_OK);
        if (hk_label_set_finish(&set, &labels) < 0) {
            hk_buf_text(out, "invalid");
        } else {
            hk_labels_format(labels, out);
        }
        hk_buf_text(out, entry->kind == HK_ENTRY_ADD ? " +" : entry->payload != NULL ? " h" : " ");
        hk_buf_double(out, entry->value);
        if (entry->stamp_ms != 1000) hk_buf_printf(out, " %" PRId64, entry->stamp_ms);
        hk_buf_char(out, ';');
    }
    if (batch.rejected > 0) {
        hk_buf_printf(out, "!%" PRIu64 " %s", batch.rejected, batch.reject_text);
    }
}

/* Parses an exact-size copy of a datagram; returns the events skipped. */
static uint64_t run(struct hk_str input, struct hk_statsd_agg *agg, struct hk_buf *out) {
    struct hk_statsd state;
    char *exact = hk_mem_resize(hk_mem_copy(input.ptr, input.len), input.len + 1, 1);
    if (input.len > 0) exact = hk_mem_resize(exact, input.len, 1);
    hk_arena_init(&arena, 1 << 22);
    hk_statsd_init(&state, (struct hk_str){ exact, input.len }, &context, agg, 1000);
    batch.arena = &arena;
    hk_err err = HK_FULL;
    while (err == HK_FULL) {
        hk_batch_clear(&batch);
        err = hk_statsd_parser.parse(&state, &batch);
        collect(&state, out);
    }
    CHECK_INT(err, HK_OK);
    hk_mem_free(exact);
    hk_arena_deinit(&arena);
    return state.unsupported;
}

static const struct {
    const char *input, *want;
} lines[] = {
    { "", "" },
    { "\n\r\n\n", "" },
    { "hits:1|c", "hits +1;" },
    { "hits:1|c\nup:3|g\n", "hits +1;up 3;" },
    { "hits:1|c\r\nup:3|g\r\n", "hits +1;up 3;" },
    { "hits:2|c|@0.1", "hits +20;" },
    { "hits:1:2:3.5|c", "hits +6.5;" },
    { "hits:1:2|c|@0.5", "hits +6;" },
    { "hits:-1|c", "hits +-1;" },
    { "temp:-5|g", "temp +-5;" },
    { "temp:+5|g", "temp +5;" },
    { "temp:5.5|g|@0.1", "temp 5.5;" },
    { "temp:1:2|g", "temp 2;" },
    { "temp:1:+2|g", "temp 3;" },
    { "temp:+1:-3|g", "temp +-2;" },
    { "a.b-c d/e:1|c", "a_b_c_d_e +1;" },
    { "9x:1|c", "_9x +1;" },
    { "a:1|c|#env:prod,role:web", "a{env=\"prod\", role=\"web\"} +1;" },
    { "a:1|c|#canary", "a{canary=\"true\"} +1;" },
    { "a:1|c|#x:", "a +1;" },
    { "a:1|c|#", "a +1;" },
    { "a:1|c|#,x:1,,", "a{x=\"1\"} +1;" },
    { "a:1|c|#url:http://h:80/", "a{url=\"http://h:80/\"} +1;" },
    { "a:1|c|#my.tag-1:v,2:w,:z", "a{_=\"z\", _2=\"w\", my_tag_1=\"v\"} +1;" },
    { "a:1|c|#t:1,t:2,t:3", "a{t=\"1,2,3\"} +1;" },
    { "a:1|c|#t:x,t", "a{t=\"x,true\"} +1;" },
    { "a:1|c|#__name__:evil,__x:1", "a{tag__name__=\"evil\", tag__x=\"1\"} +1;" },
    { "a:1|c|#t:caf\xc3\xa9", "a{t=\"caf\xc3\xa9\"} +1;" },
    { "a:1|c|#x:1|@0.5", "a{x=\"1\"} +2;" },
    { "a:1|c|@0.5|#x:1|c:ci-1234|T1700000000", "a{x=\"1\"} +2 1700000000000;" },
    { "a:1|g|T1700000000", "a 1 1700000000000;" },
    { "a:1|c|e:it-false,cn-x|card:low|future|", "a +1;" },
    { "hits", "!1 statsd: expected name:value|type, got \"hits\"" },
    { ":1|c", "!1 statsd: expected name:value|type, got \":1|c\"" },
    { "a|b:1|c", "!1 statsd: expected name:value|type, got \"a|b:1|c\"" },
    { "a:1", "!1 statsd: expected |type behind the value, got \"a:1\"" },
    { "a:1|", "!1 statsd: the type is none of c, g, ms, h, d, s, got \"a:1|\"" },
    { "a:1|x", "!1 statsd: the type is none of c, g, ms, h, d, s, got \"a:1|x\"" },
    { "a:1|C", "!1 statsd: the type is none of c, g, ms, h, d, s, got \"a:1|C\"" },
    { "a:|c", "!1 statsd: the value is empty, got \"a:|c\"" },
    { "a:1x|c", "!1 statsd: the value is not a finite number, got \"a:1x|c\"" },
    { "a:nan|g", "!1 statsd: the value is not a finite number, got \"a:nan|g\"" },
    { "a:inf|g", "!1 statsd: the value is not a finite number, got \"a:inf|g\"" },
    { "a:1:x:3|c", "!3 statsd: the value is not a finite number, got \"a:1:x:3|c\"" },
    { "a:1::3|c", "!3 statsd: the value is not a finite number, got \"a:1::3|c\"" },
    { "a:1e308|c|@0.1", "!1 statsd: the value is out of range, got \"a:1e308|c|@0.1\"" },
    { "a:1|c|@0", "!1 statsd: the sample rate is not in [1e-9, 1], got \"a:1|c|@0\"" },
    { "a:1|c|@2", "!1 statsd: the sample rate is not in [1e-9, 1], got \"a:1|c|@2\"" },
    { "a:1|c|@x", "!1 statsd: the sample rate is not in [1e-9, 1], got \"a:1|c|@x\"" },
    { "a:1|c|@nan", "!1 statsd: the sample rate is not in [1e-9, 1], got \"a:1|c|@nan\"" },
    { "a:1|c|T", "!1 statsd: the timestamp is not in seconds since 1970, got \"a:1|c|T\"" },
    { "a:1|c|T-5", "!1 statsd: the timestamp is not in seconds since 1970, got \"a:1|c|T-5\"" },
    { "a:1|c|T9223372036854775807",
      "!1 statsd: the timestamp is not in seconds since 1970, got \"a:1|c|T9223372036854775807\"" },
    { "a:1|c|#t:\xff", "!1 statsd: a tag is not valid UTF-8, got \"a:1|c|#t:?\"" },
    { "a:1|ms", "!1 statsd: timers and sets are not aggregated here, got \"a:1|ms\"" },
    { "a:1x|c\nb:3|g\nc\n", "b 3;!2 statsd: the value is not a finite number, got \"a:1x|c\"" },
};

TEST(lines_of_the_grammar) {
    for (size_t i = 0; i < HK_COUNT(lines); i++) {
        struct hk_buf out;
        hk_buf_init(&out, 65536);
        CHECK_INT(run(hk_str_from(lines[i].input), NULL, &out), 0);
        CHECK_STR(hk_buf_get(&out), hk_str_from(lines[i].want));
        hk_buf_deinit(&out);
    }
}

TEST(events_and_checks_are_counted) {
    struct hk_buf out;
    hk_buf_init(&out, 65536);
    const struct hk_str datagram =
        HK_STR("_e{5,4}:title|text|#a:b\n_sc|db|0|m:fine\n_sc:1|c\n_ex:2|c");
    CHECK_INT(run(datagram, NULL, &out), 2);
    CHECK_STR(hk_buf_get(&out), HK_STR("_sc +1;_ex +2;"));
    hk_buf_deinit(&out);
}

TEST(timers_and_sets_go_to_the_aggregator) {
    static const struct hk_statsd_agg_options options = { .series_max = 3 };
    struct hk_statsd_agg *agg = NULL;
    struct hk_buf out;
    hk_buf_init(&out, 65536);
    CHECK_INT(hk_statsd_agg_create(&options, &agg), HK_OK);
    (void)run(
        HK_STR("t:1:2:3|ms|#a:b\nt:4|h|#a:b\nt:4|d|@0.5\nu:x:y|s\nu:x:y|s\nu:z|s\nv:1|ms|Tx\nw:|s"),
        agg, &out);
    CHECK_STR(
        hk_buf_get(&out),
        HK_STR("!2 statsd: the aggregator holds no more series, got \"v:1|ms|Tx\""));
    hk_buf_clear(&out);
    hk_arena_init(&arena, 1 << 20);
    batch.arena = &arena;
    hk_batch_clear(&batch);
    CHECK_INT(hk_statsd_agg_flush(agg, &batch, &context, 1000), HK_OK);
    collect(NULL, &out);
    CHECK_STR(hk_buf_get(&out), HK_STR("t{a=\"b\"} h0;t h0;u 2;"));
    hk_arena_deinit(&arena);
    hk_statsd_agg_destroy(agg);
    hk_buf_deinit(&out);
}

TEST(resumes_at_every_boundary) {
    static const size_t counts[] = { 1, 511, 512, 513, 1024, 1025, 2000 };
    for (size_t i = 0; i < HK_COUNT(counts); i++) {
        struct hk_buf text, want, got;
        hk_buf_init(&text, 1 << 20);
        hk_buf_init(&want, 1 << 20);
        hk_buf_init(&got, 1 << 20);
        for (size_t k = 0; k < counts[i]; k++) {
            hk_buf_printf(&text, "m%zu:%zu|g|#k:%zu\n", k, k, k);
            hk_buf_printf(&want, "m%zu{k=\"%zu\"} %zu;", k, k, k);
        }
        (void)run(hk_buf_get(&text), NULL, &got);
        CHECK_STR(hk_buf_get(&got), hk_buf_get(&want));
        hk_buf_deinit(&text);
        hk_buf_deinit(&want);
        hk_buf_deinit(&got);
    }
}

TEST(every_truncation_is_safe) {
    static const char text[] =
        "a.b:1:2|c|@0.5|#x:1,y|T1700000000|c:1\n_e{1,1}:a|b\nb:+1|g\n_sc|x|0";
    for (size_t len = 0; len < sizeof(text); len++) {
        struct hk_buf out;
        hk_buf_init(&out, 65536);
        (void)run((struct hk_str){ text, len }, NULL, &out);
        hk_buf_deinit(&out);
    }
}

TEST(several_datagrams_fill_one_batch) {
    struct hk_statsd state;
    hk_batch_clear(&batch);
    for (unsigned i = 0; i < 3; i++) {
        hk_statsd_init(&state, HK_STR("a:1|c\nb:1|c"), &context, NULL, 5);
        CHECK_INT(hk_statsd_parser.parse(&state, &batch), HK_OK);
    }
    CHECK_INT(batch.count, 6);
    CHECK_INT(batch.points, 6);
}

TEST(limits_are_errors) {
    struct hk_buf text;
    struct hk_statsd state;
    struct hk_label_set set;
    hk_buf_init(&text, 65536);
    hk_arena_init(&arena, 8192);
    batch.arena = &arena;
    hk_buf_text(&text, "a:1|c|#");
    for (unsigned i = 0; i <= HK_LABELS_MAX; i++)
        hk_buf_printf(&text, "t%u:1,", i);
    hk_statsd_init(&state, hk_buf_get(&text), &context, NULL, 0);
    hk_batch_clear(&batch);
    CHECK_INT(hk_statsd_parser.parse(&state, &batch), HK_OK);
    hk_label_set_clear(&set);
    CHECK_INT(hk_statsd_parser.labels(&state, &batch, &batch.entries[0], &set), HK_E_LIMIT);
    for (unsigned i = 0; i <= HK_LABELS_MAX; i++)
        hk_buf_printf(&text, "t%u:1,", i);
    hk_buf_printf(&text, "\na:1|c|#%.*s", 2000, text.ptr + 7);
    hk_buf_printf(&text, "\na:1|c|#%.*s", 2000, text.ptr + 7);
    hk_statsd_init(&state, hk_buf_get(&text), &context, NULL, 0);
    hk_batch_clear(&batch);
    CHECK_INT(hk_statsd_parser.parse(&state, &batch), HK_E_NOMEM);
    hk_arena_deinit(&arena);
    hk_buf_deinit(&text);
}

HK_TEST_MAIN()
