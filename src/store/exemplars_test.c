/* Goal: the rules of Prometheus' exemplar storage; the ring drops the oldest, within its bytes;
 * selections, and the way through the file. */
#include "store/exemplars.h"

#include "hk_test.h"
#include "os/file.h"

#include <math.h>
#include <unistd.h>

struct bench {
    struct hk_exemplars *exemplars;
    struct hk_arena arena;
};

static void begin(struct bench *bench, uint64_t count_max, uint64_t bytes_max) {
    hk_arena_init(&bench->arena, 64 << 20);
    CHECK_INT(hk_exemplars_create(count_max, bytes_max, &bench->exemplars), HK_OK);
}

static void end(struct bench *bench) {
    hk_exemplars_destroy(bench->exemplars);
    hk_arena_deinit(&bench->arena);
}

static hk_err put_at(
    struct bench *bench, const char *series, const char *trace, double value, int64_t own_ms,
    int64_t stamp_ms) {
    const struct hk_label labels[] = {
        { HK_STR("__name__"), HK_STR("m") },
        { HK_STR("s"), hk_str_from(series) },
    };
    const struct hk_label own[] = { { HK_STR("trace_id"), hk_str_from(trace) } };
    struct hk_exemplar exemplar = { .labels = { own, 1 }, .value = value, .stamp_ms = own_ms };
    struct hk_str payload = { 0 };
    CHECK_INT(hk_exemplar_encode(&exemplar, &bench->arena, &payload), HK_OK);
    return hk_exemplars_put(bench->exemplars, (struct hk_labels){ labels, 2 }, stamp_ms, payload);
}

static hk_err
put(struct bench *bench, const char *series, const char *trace, double value, int64_t stamp_ms) {
    return put_at(bench, series, trace, value, stamp_ms, 0);
}

/* "series trace value stamp;" of the exemplars whose series is not equal to `without`. */
static struct hk_str
list(struct bench *bench, const char *without, int64_t from_ms, int64_t to_ms) {
    static struct hk_buf out;
    struct hk_matcher matcher = { .type = HK_MATCH_NOT_EQUAL,
                                  .name = HK_STR("s"),
                                  .value = hk_str_from(without) };
    struct hk_select request = { .matchers = &matcher, .matcher_count = 1 };
    struct hk_exemplar_series *series = NULL;
    uint32_t count = 0;
    hk_buf_init(&out, 1 << 20);
    CHECK_INT(
        hk_exemplars_select(
            bench->exemplars, &request, 1, from_ms, to_ms, &bench->arena, &series, &count),
        HK_OK);
    for (uint32_t i = 0; i < count; i++) {
        for (uint32_t k = 0; k < series[i].count; k++) {
            const struct hk_exemplar *item = &series[i].items[k];
            hk_buf_printf(
                &out, "%.*s %.*s %g %lld;", HK_STR_ARG(series[i].labels.items[1].value),
                HK_STR_ARG(item->labels.items[0].value), item->value, (long long)item->stamp_ms);
        }
    }
    struct hk_str text = hk_arena_str(&bench->arena, hk_buf_get(&out));
    hk_buf_deinit(&out);
    return text;
}

TEST(rules) {
    static const struct {
        const char *trace;
        double value;
        int64_t own_ms, stamp_ms;
        hk_err err;
    } cases[] = {
        { "b", 2, 1000, 0, HK_OK },
        { "b", 2, 1000, 0, HK_END },      /* the same */
        { "b", 2, 999, 0, HK_E_EXISTS },  /* before it */
        { "b", 1, 1000, 0, HK_E_EXISTS }, /* equal stamps: by value, then by labels */
        { "a", 2, 1000, 0, HK_E_EXISTS },
        { "c", 2, 1000, 0, HK_OK },
        { "a", 3, 1000, 0, HK_OK },
        { "a", 3, 1001, 0, HK_OK }, /* seen again later */
        { "a", 3, HK_EXEMPLAR_NO_STAMP, 2000, HK_OK },
        { "a", 3, HK_EXEMPLAR_NO_STAMP, 3000, HK_END }, /* without stamps: the same */
        { "x", 3, HK_EXEMPLAR_NO_STAMP, 3000, HK_OK },
        { "x", (double)NAN, 4000, 0, HK_OK },
        { "x", (double)NAN, 4000, 0, HK_END },
    };
    struct bench bench;
    begin(&bench, 100, 1 << 20);
    for (size_t i = 0; i < HK_COUNT(cases); i++) {
        hk_err err = put_at(
            &bench, "one", cases[i].trace, cases[i].value, cases[i].own_ms, cases[i].stamp_ms);
        CHECK_INT(err, cases[i].err);
    }
    CHECK_INT(put(&bench, "two", "z", 1, 1), HK_OK); /* each series for itself */
    CHECK_STR(
        list(&bench, "two", 0, 3000),
        HK_STR("one b 2 1000;one c 2 1000;one a 3 1000;one a 3 1001;one a 3 2000;one x 3 3000;"));
    CHECK_STR(list(&bench, "", 1001, 2000), HK_STR("one a 3 1001;one a 3 2000;"));
    end(&bench);
}

TEST(lengths) {
    char text[200];
    struct bench bench;
    begin(&bench, 100, 1 << 20);
    memset(text, 'x', sizeof(text));
    text[121] = 0; /* with "trace_id": 129 */
    CHECK_INT(put(&bench, "one", text, 1, 1), HK_E_LIMIT);
    text[120] = 0;
    CHECK_INT(put(&bench, "one", text, 1, 1), HK_OK);
    for (size_t i = 0; i < 90; i++) /* characters, not bytes */
        memcpy(text + 2 * i, "\xc3\xa9", 2);
    text[180] = 0;
    CHECK_INT(put(&bench, "one", text, 1, 2), HK_OK);
    struct hk_labels none = { NULL, 0 };
    CHECK_INT(hk_exemplars_put(bench.exemplars, none, 0, HK_STR("short")), HK_E_CORRUPT);
    end(&bench);
}

TEST(ring) {
    struct bench bench;
    struct hk_exemplars_stats stats;
    begin(&bench, 3, 1 << 20);
    CHECK_INT(put(&bench, "a", "1", 1, 1), HK_OK);
    CHECK_INT(put(&bench, "b", "2", 1, 2), HK_OK);
    CHECK_INT(put(&bench, "b", "3", 1, 3), HK_OK);
    CHECK_INT(put(&bench, "b", "4", 1, 4), HK_OK);
    CHECK_STR(list(&bench, "", 0, 9), HK_STR("b 2 1 2;b 3 1 3;b 4 1 4;"));
    CHECK_INT(put(&bench, "c", "5", 1, 5), HK_OK);
    CHECK_STR(list(&bench, "", 0, 9), HK_STR("b 3 1 3;b 4 1 4;c 5 1 5;"));
    hk_exemplars_get_stats(bench.exemplars, &stats);
    CHECK_INT(stats.kept, 3);
    CHECK_INT(stats.series, 2);
    CHECK_INT(stats.displaced, 2);
    end(&bench);
    begin(&bench, 0, 1 << 20);
    CHECK_INT(put(&bench, "a", "1", 1, 1), HK_E_UNSUPPORTED);
    end(&bench);
}

PROPERTY(bytes_stay_within) {
    struct bench bench;
    struct hk_exemplars_stats stats;
    char series[16];
    char trace[64];
    begin(&bench, 5000, 300000);
    for (int i = 0; i < 20000; i++) {
        (void)snprintf(series, sizeof(series), "s%u", (unsigned)(hk_test_random() % 3000));
        memset(trace, 'a' + i % 26, sizeof(trace) - 1);
        trace[1 + hk_test_random() % 62] = 0;
        CHECK_INT(put(&bench, series, trace, i, i), HK_OK);
        if (i % 100 == 0) hk_arena_reset(&bench.arena);
    }
    hk_exemplars_get_stats(bench.exemplars, &stats);
    CHECK(stats.bytes <= 300000);
    CHECK(stats.kept > 500 && stats.kept <= 5000);
    CHECK_INT(stats.kept + stats.displaced, stats.stored);
    struct hk_str all = list(&bench, "", 0, INT64_MAX);
    uint64_t found = 0;
    for (size_t i = 0; i < all.len; i++)
        found += all.ptr[i] == ';';
    CHECK_INT(found, stats.kept);
    end(&bench);
}

TEST(file) {
    char dir[] = "/tmp/hk_exemplars_test_XXXXXX";
    char path[128];
    char series[16];
    struct bench bench;
    struct bench back;
    struct hk_keep_report report;
    CHECK(mkdtemp(dir) != NULL);
    begin(&bench, 1000, 1 << 20);
    begin(&back, 1000, 1 << 20);
    for (int i = 0; i < 1500; i++) {
        (void)snprintf(series, sizeof(series), "s%d", i % 37);
        CHECK_INT(put(&bench, series, i % 2 == 0 ? "even" : "odd", i, i), HK_OK);
    }
    CHECK_INT(put_at(&bench, "timeless", "t", 1, HK_EXEMPLAR_NO_STAMP, 7), HK_OK);
    CHECK_INT(hk_exemplars_save(bench.exemplars, dir), HK_OK);
    CHECK_INT(hk_exemplars_load(back.exemplars, dir, &report), HK_OK);
    CHECK_INT(report.damaged, 0);
    CHECK_STR(list(&bench, "", 0, INT64_MAX), list(&back, "", 0, INT64_MAX));
    CHECK_INT(put_at(&back, "timeless", "t", 1, HK_EXEMPLAR_NO_STAMP, 9), HK_END);
    CHECK_INT(hk_exemplars_save(bench.exemplars, dir), HK_OK); /* nothing new */
    (void)snprintf(path, sizeof(path), "%s/exemplars", dir);
    (void)hk_file_remove(path);
    (void)rmdir(dir);
    end(&bench);
    end(&back);
}

HK_TEST_MAIN()
