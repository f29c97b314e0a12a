/* Goal: paths of pushes, and PUT, POST, DELETE, failure, repetition and expiry of groups. */
#include "ingest/pushgateway.h"

#include "hk_test.h"
#include "ingest/exposition.h"
#include "model/source.h"

static struct hk_batch batch;
static struct hk_arena arena;
static const struct hk_context context = { { 1, 2 }, NULL };

static const struct {
    const char *path;
    hk_err err;
    const char *want; /* labels or text */
} paths[] = {
    { "/metrics/job/a", HK_OK, "{job=\"a\"}" },
    { "/metrics/job/a/", HK_OK, "{job=\"a\"}" },
    { "/metrics/job/a/instance/b", HK_OK, "{instance=\"b\", job=\"a\"}" },
    { "/metrics/job/a/z/1/y/2/", HK_OK, "{job=\"a\", y=\"2\", z=\"1\"}" },
    { "/metrics/job@base64/YS9i", HK_OK, "{job=\"a/b\"}" },
    { "/metrics/job/a/path@base64/L3Zhci90bXA", HK_OK, "{job=\"a\", path=\"/var/tmp\"}" },
    { "/metrics/job/a/path@base64/L3Zhci90bXA=", HK_OK, "{job=\"a\", path=\"/var/tmp\"}" },
    { "/metrics/job/a/u@base64/4oKsPz8-", HK_OK, "{job=\"a\", u=\"\xe2\x82\xac?\?>\"}" },
    { "/metrics/job/a/u@base64/4oKsPz8+", HK_OK, "{job=\"a\", u=\"\xe2\x82\xac?\?>\"}" },
    { "/metrics/job/a/empty@base64/=", HK_OK, "{job=\"a\"}" },
    { "/metrics/job/a/x//y/1", HK_OK, "{job=\"a\", y=\"1\"}" },
    { "/metrics", HK_E_MALFORMED, "expected /metrics/job/<job>{/<label>/<value>}" },
    { "/metrics/jobs/a", HK_E_MALFORMED, "expected /metrics/job/<job>{/<label>/<value>}" },
    { "/metrics/job", HK_E_MALFORMED,
      "job name is required: expected /metrics/job/<job>{/<label>/<value>}" },
    { "/metrics/job/", HK_E_MALFORMED,
      "job name is required: expected /metrics/job/<job>{/<label>/<value>}" },
    { "/metrics/job//x/y", HK_E_MALFORMED,
      "job name is required: expected /metrics/job/<job>{/<label>/<value>}" },
    { "/metrics/job@base64/=", HK_E_MALFORMED,
      "job name is required: expected /metrics/job/<job>{/<label>/<value>}" },
    { "/metrics/job/a/x", HK_E_MALFORMED,
      "label \"x\" has no value in the path (an empty one is written <label>@base64/=)" },
    { "/metrics/job/a/9x/1", HK_E_MALFORMED, "improper label name \"9x\" in the path" },
    { "/metrics/job/a/__x/1", HK_E_MALFORMED, "improper label name \"__x\" in the path" },
    { "/metrics/job/a//1", HK_E_MALFORMED, "improper label name \"\" in the path" },
    { "/metrics/job/a/job/b", HK_E_MALFORMED, "label \"job\" stands twice in the path" },
    { "/metrics/job/a/x/1/x/2", HK_E_MALFORMED, "label \"x\" stands twice in the path" },
    { "/metrics/job/a/x@base64/!!!!", HK_E_MALFORMED,
      "invalid base64 in the value of label \"x\"" },
    { "/metrics/job/a/x@base64/YWJjZ", HK_E_MALFORMED,
      "invalid base64 in the value of label \"x\"" },
    { "/metrics/job/a/x@base64/_w", HK_E_MALFORMED, "the value of label \"x\" is not valid UTF-8" },
    { "/metrics/job/a/x/\xff", HK_E_MALFORMED, "the value of label \"x\" is not valid UTF-8" },
};

TEST(paths_of_pushes) {
    hk_arena_init(&arena, 65536);
    for (size_t i = 0; i < HK_COUNT(paths); i++) {
        struct hk_label_set set;
        struct hk_labels labels = { NULL, 0 };
        struct hk_buf out;
        hk_buf_init(&out, 4096);
        hk_label_set_clear(&set);
        hk_fail_clear();
        CHECK_INT(hk_push_path_parse(hk_str_from(paths[i].path), &arena, &set), paths[i].err);
        if (paths[i].err == HK_OK) {
            CHECK_INT(hk_label_set_finish(&set, &labels), HK_OK);
            hk_labels_format(labels, &out);
        } else {
            hk_buf_text(&out, hk_fail_text());
        }
        CHECK_STR(hk_buf_get(&out), hk_str_from(paths[i].want));
        hk_buf_deinit(&out);
    }
    hk_arena_deinit(&arena);
}

/* A label per path segment pair is bounded, not only by the path's length. */
TEST(labels_of_a_path_are_bounded) {
    struct hk_buf path;
    struct hk_label_set set;
    hk_buf_init(&path, 65536);
    hk_arena_init(&arena, 65536);
    hk_buf_text(&path, "/metrics/job/a");
    for (unsigned i = 0; i < HK_LABELS_MAX; i++)
        hk_buf_printf(&path, "/l%u/v", i);
    hk_label_set_clear(&set);
    CHECK_INT(hk_push_path_parse(hk_buf_get(&path), &arena, &set), HK_E_MALFORMED);
    hk_arena_deinit(&arena);
    hk_buf_deinit(&path);
}

static struct hk_push *make(uint32_t groups_max, uint32_t series_max, size_t bytes_max) {
    const struct hk_push_options options = { groups_max, series_max, bytes_max, 100000, 10000 };
    struct hk_push *push = NULL;
    CHECK_INT(hk_push_create(&options, &context, &push), HK_OK);
    return push;
}

/* The group of `path`; its labels live in `arena`. */
static struct hk_labels group_of(const char *path, struct hk_label_set *set) {
    struct hk_labels labels = { NULL, 0 };
    hk_label_set_clear(set);
    CHECK_INT(hk_push_path_parse(hk_str_from(path), &arena, set), HK_OK);
    CHECK_INT(hk_label_set_finish(set, &labels), HK_OK);
    return labels;
}

static hk_err send(
    struct hk_push *push, const char *path, enum hk_push_method method, const char *body,
    int64_t now_ms) {
    struct hk_exposition state;
    struct hk_label_set set;
    hk_arena_init(&arena, 1 << 22);
    batch.arena = &arena;
    hk_fail_clear();
    hk_err err = hk_push_begin(push, group_of(path, &set), method, now_ms);
    hk_exposition_init(&state, hk_str_from(body), &context, HK_PUSH_NO_STAMP);
    for (bool more = err == HK_OK; more;) {
        hk_batch_clear(&batch);
        err = hk_exposition_parser.parse(&state, &batch);
        more = err == HK_FULL;
        if (err >= 0) {
            const hk_err added = hk_push_add(push, &hk_exposition_parser, &state, &batch);
            if (added < 0) err = added;
        }
        more = more && err >= 0;
    }
    if (err < 0)
        hk_push_abort(push);
    else
        err = hk_push_commit(push);
    hk_arena_deinit(&arena);
    return err;
}

static int compare_lines(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* All that the registry hands out, one sorted line per entry; the time series without labels
 * but job are left out unless `times`. Freed by the caller. */
static char *shown(struct hk_push *push, bool times) {
    static char *lines[4096];
    size_t count = 0;
    struct hk_buf out, all;
    hk_arena_init(&arena, 1 << 22);
    batch.arena = &arena;
    hk_buf_init(&out, 65536);
    hk_buf_init(&all, 1 << 20);
    hk_err err = HK_FULL;
    while (err == HK_FULL) {
        hk_batch_clear(&batch);
        err = hk_push_parser.parse(push, &batch);
        for (uint32_t i = 0; i < batch.count && count < HK_COUNT(lines); i++) {
            const struct hk_entry *entry = &batch.entries[i];
            struct hk_label_set set;
            struct hk_labels labels = { NULL, 0 };
            hk_label_set_clear(&set);
            CHECK(entry->context == &context);
            CHECK_INT(hk_push_parser.labels(push, &batch, entry, &set), HK_OK);
            CHECK_INT(hk_label_set_finish(&set, &labels), HK_OK);
            const struct hk_str name = hk_labels_get(labels, HK_STR("__name__"));
            if (!times && hk_str_starts(name, HK_STR("push_"))) continue;
            hk_buf_clear(&out);
            hk_labels_format(labels, &out);
            hk_buf_char(&out, ' ');
            if (hk_is_stale(entry->value))
                hk_buf_text(&out, "stale");
            else
                hk_buf_double(&out, entry->value);
            hk_buf_printf(&out, " @%" PRId64 ";", entry->stamp_ms);
            lines[count++] = hk_mem_copy(out.ptr, out.len);
        }
    }
    CHECK_INT(err, HK_OK);
    qsort(lines, count, sizeof(lines[0]), compare_lines);
    for (size_t i = 0; i < count; i++) {
        hk_buf_text(&all, lines[i]);
        hk_mem_free(lines[i]);
    }
    char *text = hk_mem_copy(hk_buf_get(&all).ptr, all.len);
    hk_buf_deinit(&all);
    hk_buf_deinit(&out);
    hk_arena_deinit(&arena);
    return text;
}

static void expect(struct hk_push *push, bool times, const char *want) {
    char *text = shown(push, times);
    CHECK_TEXT(text, want);
    hk_mem_free(text);
}

TEST(a_push_shows_with_the_labels_of_its_group) {
    struct hk_push *push = make(0, 0, 0);
    CHECK_INT(
        send(push, "/metrics/job/j/x/1", HK_PUSH_PUT, "a{x=\"2\",job=\"other\",y=\"3\"} 5\n", 1500),
        HK_OK);
    expect(
        push, true,
        "a{job=\"j\", x=\"1\", y=\"3\"} 5 @1500;"
        "push_failure_time_seconds{job=\"j\", x=\"1\"} 0 @1500;"
        "push_time_seconds{job=\"j\", x=\"1\"} 1.5 @1500;");
    expect(push, true, "");
    hk_push_destroy(push);
}

TEST(put_replaces_the_group) {
    struct hk_push *push = make(0, 0, 0);
    CHECK_INT(send(push, "/metrics/job/j", HK_PUSH_PUT, "a 1\nb{l=\"1\"} 2\nb{l=\"2\"} 3\n", 1), 0);
    expect(push, false, "a{job=\"j\"} 1 @1;b{job=\"j\", l=\"1\"} 2 @1;b{job=\"j\", l=\"2\"} 3 @1;");
    CHECK_INT(send(push, "/metrics/job/j", HK_PUSH_PUT, "b{l=\"2\"} 4\nc 5\n", 2), 0);
    expect(
        push, false,
        "a{job=\"j\"} stale @2;b{job=\"j\", l=\"1\"} stale @2;b{job=\"j\", l=\"2\"} 4 @2;"
        "c{job=\"j\"} 5 @2;");
    CHECK_INT(send(push, "/metrics/job/j", HK_PUSH_PUT, "", 3), 0);
    expect(push, false, "b{job=\"j\", l=\"2\"} stale @3;c{job=\"j\"} stale @3;");
    CHECK_INT(hk_push_stats(push).series_count, 2);
    hk_push_destroy(push);
}

TEST(post_replaces_series_of_the_names_it_has) {
    struct hk_push *push = make(0, 0, 0);
    CHECK_INT(
        send(push, "/metrics/job/j", HK_PUSH_POST, "a 1\nb{l=\"1\"} 2\nb{l=\"2\"} 3\n", 1), 0);
    CHECK_INT(hk_push_stats(push).series_count, 5);
    expect(push, false, "a{job=\"j\"} 1 @1;b{job=\"j\", l=\"1\"} 2 @1;b{job=\"j\", l=\"2\"} 3 @1;");
    CHECK_INT(send(push, "/metrics/job/j", HK_PUSH_POST, "b{l=\"2\"} 4\n", 2), 0);
    expect(push, false, "b{job=\"j\", l=\"1\"} stale @2;b{job=\"j\", l=\"2\"} 4 @2;");
    CHECK_INT(send(push, "/metrics/job/j", HK_PUSH_POST, "", 3), 0);
    expect(
        push, true,
        "push_failure_time_seconds{job=\"j\"} 0 @3;push_time_seconds{job=\"j\"} 0.003 @3;");
    hk_push_destroy(push);
}

TEST(delete_ends_the_group) {
    struct hk_push *push = make(0, 0, 0);
    struct hk_label_set set;
    CHECK_INT(send(push, "/metrics/job/j", HK_PUSH_PUT, "a 1\n", 1), 0);
    CHECK_INT(send(push, "/metrics/job/k", HK_PUSH_PUT, "a 2\n", 1), 0);
    hk_arena_init(&arena, 65536);
    CHECK_INT(hk_push_delete(push, group_of("/metrics/job/j", &set), 2), HK_OK);
    CHECK_INT(hk_push_delete(push, group_of("/metrics/job/j", &set), 2), HK_E_NOT_FOUND);
    CHECK_INT(hk_push_delete(push, group_of("/metrics/job/j/x/y", &set), 2), HK_E_NOT_FOUND);
    hk_arena_deinit(&arena);
    expect(
        push, true,
        "a{job=\"j\"} stale @2;a{job=\"k\"} 2 @1;push_failure_time_seconds{job=\"j\"} stale @2;"
        "push_failure_time_seconds{job=\"k\"} 0 @1;push_time_seconds{job=\"j\"} stale @2;"
        "push_time_seconds{job=\"k\"} 0.001 @1;");
    CHECK_INT(hk_push_stats(push).group_count, 1);
    CHECK_INT(hk_push_stats(push).series_count, 3);
    hk_push_destroy(push);
}

static const struct {
    const char *body, *text;
} refused[] = {
    { "a 1 55\n", "pushed metrics must not have timestamps: a{job=\"j\"}" },
    { "a 1\na 2\n", "series a{job=\"j\"} stands twice in the pushed metrics" },
    { "a{job=\"x\"} 1\na{job=\"y\"} 2\n",
      "series a{job=\"j\"} stands twice in the pushed metrics" },
    { "b{x=\"1\"} 1\n", "series b{job=\"j\", x=\"1\"} belongs to another pushed group" },
    { "a{x=\"1\",x=\"2\"} 1\n", "duplicate label name \"x\"" },
    { "a 1\nbad\n", "line 2: expected a value behind the series, got \"\"" },
    { "push_time_seconds 1\n",
      "series push_time_seconds{job=\"j\"} stands twice in the pushed metrics" },
};

/* Nothing of a refused push shows but the time of the failure, in a group that exists. */
TEST(a_bad_push_changes_nothing) {
    for (size_t i = 0; i < HK_COUNT(refused); i++) {
        for (int exists = 0; exists < 2; exists++) {
            struct hk_push *push = make(0, 0, 0);
            CHECK_INT(send(push, "/metrics/job/j/x/1", HK_PUSH_PUT, "b 1\n", 1), 0);
            if (exists == 1) CHECK_INT(send(push, "/metrics/job/j", HK_PUSH_PUT, "a 7\n", 1), 0);
            hk_mem_free(shown(push, true));
            CHECK_INT(
                send(push, "/metrics/job/j", HK_PUSH_PUT, refused[i].body, 2500), HK_E_MALFORMED);
            CHECK_TEXT(hk_fail_text(), refused[i].text);
            expect(
                push, true,
                exists == 0 ? ""
                            : "push_failure_time_seconds{job=\"j\"} 2.5 @2500;"
                              "push_time_seconds{job=\"j\"} 0.001 @2500;");
            CHECK_INT(hk_push_stats(push).series_count, exists == 0 ? 3 : 6);
            hk_push_destroy(push);
        }
    }
}

TEST(values_are_repeated_and_groups_expire) {
    struct hk_push *push = make(0, 0, 0); /* repeat 10 s, ttl 100 s */
    CHECK_INT(send(push, "/metrics/job/j", HK_PUSH_PUT, "a 1\n", 1000), 0);
    expect(push, false, "a{job=\"j\"} 1 @1000;");
    hk_push_tick(push, 10999);
    expect(push, false, "");
    hk_push_tick(push, 11000);
    expect(push, false, "a{job=\"j\"} 1 @11000;");
    hk_push_tick(push, 11001);
    expect(push, false, "");
    hk_push_tick(push, 101000);
    expect(push, false, "a{job=\"j\"} stale @101000;");
    CHECK_INT(hk_push_stats(push).group_count, 0);
    CHECK_INT(hk_push_stats(push).series_count, 0);
    CHECK_INT(hk_push_stats(push).expired, 1);
    CHECK_INT(hk_push_stats(push).bytes, 0);
    hk_push_destroy(push);
}

/* Groups that end while they wait to be shown leave the queue in order. */
TEST(deleting_queued_groups) {
    for (unsigned victim = 0; victim < 3; victim++) {
        static const char *const jobs[] = { "/metrics/job/a", "/metrics/job/b", "/metrics/job/c" };
        struct hk_push *push = make(0, 0, 0);
        struct hk_label_set set;
        for (size_t i = 0; i < HK_COUNT(jobs); i++)
            CHECK_INT(send(push, jobs[i], HK_PUSH_PUT, "x 1\n", 1), 0);
        hk_arena_init(&arena, 65536);
        CHECK_INT(hk_push_delete(push, group_of(jobs[victim], &set), 2), HK_OK);
        hk_arena_deinit(&arena);
        CHECK_INT(send(push, "/metrics/job/d", HK_PUSH_PUT, "x 1\n", 1), 0);
        char want[200];
        (void)snprintf(
            want, sizeof(want),
            "x{job=\"a\"} %s;x{job=\"b\"} %s;x{job=\"c\"} %s;x{job=\"d\"} 1 @1;",
            victim == 0 ? "stale @2" : "1 @1", victim == 1 ? "stale @2" : "1 @1",
            victim == 2 ? "stale @2" : "1 @1");
        expect(push, false, want);
        hk_push_destroy(push);
    }
}

TEST(limits_refuse_with_a_text) {
    struct hk_push *push = make(1, 0, 0);
    CHECK_INT(send(push, "/metrics/job/j", HK_PUSH_PUT, "a 1\n", 1), 0);
    CHECK_INT(send(push, "/metrics/job/k", HK_PUSH_PUT, "a 1\n", 1), HK_E_LIMIT);
    CHECK_TEXT(hk_fail_text(), "more than 1 pushed groups: delete groups or raise the limit");
    CHECK_INT(hk_push_stats(push).series_count, 3);
    hk_push_destroy(push);
    push = make(0, 5, 0);
    CHECK_INT(send(push, "/metrics/job/j", HK_PUSH_PUT, "a 1\nb 2\nc 3\n", 1), 0);
    CHECK_INT(send(push, "/metrics/job/j", HK_PUSH_PUT, "a 2\nb 3\nc 4\n", 2), 0);
    CHECK_INT(send(push, "/metrics/job/j", HK_PUSH_POST, "d 1\n", 3), HK_E_LIMIT);
    CHECK_TEXT(hk_fail_text(), "more than 5 pushed series: delete groups or raise the limit");
    CHECK_INT(send(push, "/metrics/job/j", HK_PUSH_PUT, "a 3\nb 4\nbad\n", 3), HK_E_MALFORMED);
    expect(push, false, "a{job=\"j\"} 2 @3;b{job=\"j\"} 3 @3;c{job=\"j\"} 4 @3;");
    hk_push_destroy(push);
    push = make(0, 0, 1000);
    CHECK_INT(
        send(push, "/metrics/job/j", HK_PUSH_PUT, "a 1\nb 2\nc 3\nd 4\ne 5\nf 6\ng 7\n", 1),
        HK_E_LIMIT);
    CHECK_INT(hk_push_stats(push).bytes, 0);
    hk_push_destroy(push);
    const struct hk_push_options huge = { .series_max = UINT32_MAX };
    CHECK_INT(hk_push_create(&huge, &context, &push), HK_E_INVALID);
}

TEST(one_push_at_a_time) {
    struct hk_push *push = make(0, 0, 0);
    struct hk_label_set set;
    hk_arena_init(&arena, 65536);
    CHECK_INT(hk_push_begin(push, group_of("/metrics/job/j", &set), HK_PUSH_PUT, 1), HK_OK);
    CHECK_INT(hk_push_begin(push, group_of("/metrics/job/j", &set), HK_PUSH_PUT, 1), HK_E_BUSY);
    hk_push_abort(push);
    hk_push_abort(push);
    CHECK_INT(hk_push_begin(push, group_of("/metrics/job/j", &set), HK_PUSH_PUT, 1), HK_OK);
    hk_arena_deinit(&arena);
    hk_push_destroy(push); /* with a push under way */
}

TEST(showing_resumes) {
    struct hk_push *push = make(0, 0, 0);
    struct hk_buf body;
    struct hk_label_set set;
    hk_buf_init(&body, 1 << 20);
    for (unsigned i = 0; i < 1300; i++)
        hk_buf_printf(&body, "m{i=\"%u\"} %u\n", i, i);
    hk_buf_char(&body, 0);
    CHECK_INT(send(push, "/metrics/job/j", HK_PUSH_PUT, body.ptr, 1), 0);
    for (int turn = 0; turn < 2; turn++) {
        size_t count = 0;
        hk_err err = HK_FULL;
        hk_arena_init(&arena, 1 << 20);
        batch.arena = &arena;
        for (size_t i = 0; i < 10 && err == HK_FULL; i++) {
            hk_batch_clear(&batch);
            err = hk_push_parser.parse(push, &batch);
            count += batch.count;
        }
        CHECK_INT(err, HK_OK);
        CHECK_INT(count, 1302);
        if (turn == 0) CHECK_INT(hk_push_delete(push, group_of("/metrics/job/j", &set), 2), HK_OK);
        hk_arena_deinit(&arena);
    }
    hk_push_destroy(push);
    hk_buf_deinit(&body);
}

static struct hk_push *swept;

static hk_err push_twice(void) {
    static const struct hk_push_options options = { 4, 16, 65536, 1000, 100 };
    struct hk_label label = { HK_STR("job"), HK_STR("j") };
    const struct hk_labels group = { &label, 1 };
    HK_TRY(hk_push_create(&options, &context, &swept));
    hk_err err = HK_OK;
    hk_arena_init(&arena, 65536);
    batch.arena = &arena;
    for (int turn = 0; turn < 2 && err == HK_OK; turn++) {
        struct hk_exposition state;
        hk_exposition_init(&state, HK_STR("a 1\nb 2\n"), &context, HK_PUSH_NO_STAMP);
        err = hk_push_begin(swept, group, HK_PUSH_POST, turn);
        hk_batch_clear(&batch);
        if (err == HK_OK) err = hk_exposition_parser.parse(&state, &batch);
        if (err == HK_OK) err = hk_push_add(swept, &hk_exposition_parser, &state, &batch);
        if (err == HK_OK) err = hk_push_commit(swept);
        hk_push_abort(swept);
    }
    hk_arena_deinit(&arena);
    hk_push_destroy(swept);
    return err;
}

TEST(running_out_of_memory_is_an_error) {
    SWEEP_ALLOC(push_twice());
}

HK_TEST_MAIN()
