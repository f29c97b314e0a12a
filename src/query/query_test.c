/* Goal: results are Prometheus' own, limits end queries with the right error, and a range query is
 * the instant query at every step. */
#include "hk_test.h"
#include "promtest.h"

#include "os/clock.h"

#include <dirent.h>

/* Goal: every file of tests/promql holds. HK_PROMTEST names one further file. */
TEST(query_files) {
    unsigned evals = 0;
    DIR *dir = opendir("tests/promql");
    CHECK(dir != NULL);
    for (const struct dirent *entry = dir == NULL ? NULL : readdir(dir); entry != NULL;
         entry = readdir(dir)) {
        char path[512];
        if (!hk_str_ends(hk_str_from(entry->d_name), HK_STR(".test"))) continue;
        (void)snprintf(path, sizeof(path), "tests/promql/%s", entry->d_name);
        CHECK(promtest_run(path, &evals));
    }
    if (dir != NULL) (void)closedir(dir);
    if (getenv("HK_PROMTEST") != NULL) CHECK(promtest_run(getenv("HK_PROMTEST"), &evals));
    CHECK(evals > 200);
}

struct run {
    struct hk_arena arena;
    struct hk_promql *promql;
    struct hk_query_result result;
    hk_err err;
};

static struct run run_query(
    struct mem_source *source, const char *text, int64_t start_ms, int64_t end_ms, int64_t step_ms,
    const struct hk_query_options *options) {
    struct run run = { .err = HK_OK };
    static const struct hk_query_options none = { 0 };
    hk_arena_init(&run.arena, (size_t)64 << 20);
    run.err = hk_promql_parse(hk_str_from(text), &run.arena, &run.promql);
    if (run.err < 0) return run;
    run.err = hk_query_run(
        &source->source, run.promql, start_ms, end_ms, step_ms, options == NULL ? &none : options,
        &run.arena, &run.result);
    CHECK_INT(source->open, 0);
    return run;
}

static void run_end(struct run *run) {
    hk_promql_release(run->promql);
    hk_arena_deinit(&run->arena);
}

static void load(struct mem_source *source, const char *const *lines, size_t count) {
    mem_source_init(source);
    for (size_t i = 0; i < count; i++)
        CHECK_INT(mem_source_load(source, lines[i], 60000), HK_OK);
}

static const char *const small[] = {
    "a_total{x=\"1\"} 0+1x30",
    "a_total{x=\"2\"} 0+2x10 3+2x19",
    "b{x=\"1\"} 5 _ 7 stale 9x5 NaN 1e300 -1 0x12",
    "b{x=\"2\"} 1+0.1x30",
    "lat_bucket{le=\"1\"} 0+1x30",
    "lat_bucket{le=\"+Inf\"} 0+3x30",
    "h {{schema:0 count:3 sum:5 buckets:[1 2]}}+{{schema:0 count:3 sum:5 buckets:[1 2]}}x30",
};

static const char *const queries[] = {
    "a_total",
    "rate(a_total[5m])",
    "increase(a_total[3m30s])",
    "irate(a_total[7m]) + on (x) b",
    "sum(rate(a_total[5m]))",
    "avg by (x) (b)",
    "stddev(b)",
    "quantile(0.3, b)",
    "topk(1, a_total)",
    "max_over_time(b[4m]) - min_over_time(b[4m])",
    "sum_over_time(b[11m])",
    "avg_over_time(b[150s])",
    "quantile_over_time(0.7, b[6m])",
    "stdvar_over_time(b[6m])",
    "deriv(b[6m])",
    "predict_linear(b[6m], 60)",
    "changes(b[10m]) + resets(a_total[20m])",
    "b > 3",
    "b > bool 3",
    "a_total and b",
    "a_total or b",
    "a_total unless on (x) (b > 3)",
    "a_total / on (x) group_left b",
    "histogram_quantile(0.5, rate(lat_bucket[5m]))",
    "histogram_quantile(0.5, rate(h[5m]))",
    "sum(h) / 2",
    "max_over_time(rate(a_total[2m])[5m:30s])",
    "sum_over_time((b > 2)[4m:1m] offset 1m)",
    "count_over_time(b[3m] offset -1m)",
    "absent(b > 5)",
    "absent_over_time(b[45s])",
    "label_replace(b, \"y\", \"$1-\", \"x\", \"(.*)\")",
    "vector(scalar(b{x=\"2\"}) * time())",
    "minute() + hour(b)",
    "count_values(\"v\", b)",
    "clamp(round(b, 0.5), 2, 8)",
    "timestamp(b)",
    "b @ 300 + b",
    "sgn(b - b offset 2m)",
    "double_exponential_smoothing(b[8m], 0.3, 0.4)",
};

/* The point of the series of these labels; NULL if there is none. */
static const struct hk_query_series *
series_of(const struct hk_query_result *result, struct hk_labels labels) {
    for (uint32_t i = 0; i < result->series_count; i++) {
        if (hk_labels_cmp(result->series[i].labels, labels) == 0) return &result->series[i];
    }
    return NULL;
}

static bool same_bits(double a, double b) {
    return memcmp(&a, &b, 8) == 0 || (isnan(a) && isnan(b));
}

static void compare_step(
    const struct hk_query_result *range, const struct hk_query_result *instant, int64_t stamp_ms,
    const char *query) {
    uint32_t points = 0;
    for (uint32_t i = 0; i < range->series_count; i++)
        points += promtest_point(&range->series[i], stamp_ms) != UINT32_MAX;
    bool same = points == instant->series_count;
    for (uint32_t i = 0; same && i < instant->series_count; i++) {
        const struct hk_query_series *one = &instant->series[i];
        const struct hk_query_series *series = series_of(range, one->labels);
        uint32_t at = series == NULL ? UINT32_MAX : promtest_point(series, stamp_ms);
        same = at != UINT32_MAX && same_bits(series->values[at], one->values[0]);
        const struct hk_histogram *a =
            !same || series->histograms == NULL ? NULL : series->histograms[at];
        const struct hk_histogram *b = one->histograms == NULL ? NULL : one->histograms[0];
        same = same && (a != NULL) == (b != NULL);
        if (same && a != NULL) same = a->count == b->count && same_bits(a->sum, b->sum);
    }
    if (!same) printf("# %s differs at %lld\n", query, (long long)stamp_ms);
    CHECK(same);
}

PROPERTY(range_is_instant_at_every_step) {
    struct mem_source source;
    load(&source, small, HK_COUNT(small));
    for (size_t i = 0; i < HK_COUNT(queries); i++) {
        int64_t start_ms = (int64_t)(hk_test_random() % 600000);
        int64_t step_ms = 1 + (int64_t)(hk_test_random() % 200000);
        int64_t end_ms = start_ms + step_ms * (int64_t)(hk_test_random() % 20);
        struct run range = run_query(&source, queries[i], start_ms, end_ms, step_ms, NULL);
        CHECK_INT(range.err, HK_OK);
        if (range.err < 0) printf("# %s: %s\n", queries[i], hk_fail_text());
        for (int64_t at_ms = start_ms; range.err == HK_OK && at_ms <= end_ms; at_ms += step_ms) {
            struct run instant = run_query(&source, queries[i], at_ms, at_ms, 0, NULL);
            CHECK_INT(instant.err, HK_OK);
            if (instant.err == HK_OK)
                compare_step(&range.result, &instant.result, at_ms, queries[i]);
            run_end(&instant);
        }
        run_end(&range);
    }
    mem_source_deinit(&source);
}

/* What sliding windows give is what a plain look at all samples gives. */
PROPERTY(windows) {
    struct mem_source source;
    mem_source_init(&source);
    struct hk_label label = { HK_STR("__name__"), HK_STR("m") };
    struct mem_series *series = mem_source_series(&source, (struct hk_labels){ &label, 1 });
    int64_t stamp_ms = 0;
    for (int i = 0; i < 200; i++) {
        stamp_ms += 1 + (int64_t)(hk_test_random() % 20000);
        mem_series_add(series, stamp_ms, (double)(hk_test_random() % 100), NULL);
    }
    struct run run = run_query(&source, "sum_over_time(m[31s])", 0, stamp_ms, 7001, NULL);
    CHECK_INT(run.err, HK_OK);
    const struct hk_query_series *result = run.result.series;
    for (int64_t at_ms = 0; at_ms <= stamp_ms; at_ms += 7001) {
        double sum = 0;
        bool any = false;
        for (uint32_t i = 0; i < series->count; i++) {
            if (series->stamps_ms[i] > at_ms || series->stamps_ms[i] <= at_ms - 31000) continue;
            sum += series->values[i];
            any = true;
        }
        uint32_t at = promtest_point(result, at_ms);
        CHECK(any == (at != UINT32_MAX));
        if (any && at != UINT32_MAX) CHECK_DOUBLE(result->values[at], sum);
    }
    run_end(&run);
    mem_source_deinit(&source);
}

static const struct {
    const char *query;
    const char *json;
} answers[] = {
    { "1", "{\"resultType\":\"scalar\",\"result\":[90.5,\"1\"]}" },
    { "1e21", "{\"resultType\":\"scalar\",\"result\":[90.5,\"1000000000000000000000\"]}" },
    { "vector(1e21)",
      "{\"resultType\":\"vector\",\"result\":[{\"metric\":{},\"value\":[90.5,\"1e+21\"]}]}" },
    { "vector(1e-9)",
      "{\"resultType\":\"vector\",\"result\":[{\"metric\":{},\"value\":[90.5,\"1e-09\"]}]}" },
    { "\"a\\\"\\n\"", "{\"resultType\":\"string\",\"result\":[90.5,\"a\\\"\\n\"]}" },
    { "b{x=\"1\"}", "{\"resultType\":\"vector\",\"result\":[{\"metric\":{\"__name__\":\"b\",\"x\":"
                    "\"1\"},\"value\":[90.5,\"5\"]}]}" },
    { "nope", "{\"resultType\":\"vector\",\"result\":[]}" },
    { "a_total{x=\"1\"}[100s]",
      "{\"resultType\":\"matrix\",\"result\":[{\"metric\":{\"__name__\":\"a_total\",\"x\":\"1\"},"
      "\"values\":[[0,\"0\"],[60,\"1\"]]}]}" },
    { "h", "{\"resultType\":\"vector\",\"result\":[{\"metric\":{\"__name__\":\"h\"},"
           "\"histogram\":[90.5,{\"count\":\"6\",\"sum\":\"10\",\"buckets\":[[0,\"0.5\",\"1\","
           "\"2\"],[0,\"1\",\"2\",\"4\"]]}]}]}" },
    { "h[40s]", "{\"resultType\":\"matrix\",\"result\":[{\"metric\":{\"__name__\":\"h\"},"
                "\"histograms\":[[60,{\"count\":\"6\",\"sum\":\"10\",\"buckets\":[[0,\"0.5\",\"1\","
                "\"2\"],[0,\"1\",\"2\",\"4\"]]}]]}]}" },
};

TEST(json) {
    struct mem_source source;
    load(&source, small, HK_COUNT(small));
    for (size_t i = 0; i < HK_COUNT(answers); i++) {
        struct run run = run_query(&source, answers[i].query, 90500, 90500, 0, NULL);
        struct hk_buf buf;
        CHECK_INT(run.err, HK_OK);
        hk_buf_init(&buf, 65536);
        if (run.err == HK_OK) hk_query_json(&run.result, &buf);
        CHECK_STR(hk_buf_get(&buf), hk_str_from(answers[i].json));
        hk_buf_deinit(&buf);
        run_end(&run);
    }
    mem_source_deinit(&source);
}

TEST(json_answers) {
    struct mem_source source;
    struct hk_buf buf;
    load(&source, small, HK_COUNT(small));
    hk_buf_init(&buf, 65536);
    struct run run = run_query(&source, "rate(b{x=\"2\"}[3m])", 300000, 300000, 0, NULL);
    CHECK_INT(run.err, HK_OK);
    hk_query_json_answer(&run.result, &buf);
    CHECK_STR(
        hk_buf_get(&buf),
        HK_STR(
            "{\"status\":\"success\",\"data\":{\"resultType\":\"vector\",\"result\":[{\"metric\":"
            "{\"x\":\"2\"},\"value\":[300,\"0.001666666666666668\"]}]},\"infos\":[\"PromQL "
            "info: metric might not be a counter, name does not end in "
            "_total/_sum/_count/_bucket: \\\"b\\\" (1:6)\"]}"));
    run_end(&run);
    hk_buf_clear(&buf);
    hk_query_json_error(HK_QUERY_BAD_DATA, HK_STR("no \"x\""), &buf);
    CHECK_STR(
        hk_buf_get(&buf),
        HK_STR("{\"status\":\"error\",\"errorType\":\"bad_data\",\"error\":\"no \\\"x\\\"\"}"));
    hk_buf_clear(&buf);
    static const int64_t stamps[] = { 0, 1, 10, 100, 1000, 1435781451781, -1500 };
    for (size_t i = 0; i < HK_COUNT(stamps); i++) {
        hk_query_json_stamp(stamps[i], &buf);
        hk_buf_char(&buf, ' ');
    }
    CHECK_STR(hk_buf_get(&buf), HK_STR("0 0.001 0.01 0.1 1 1435781451.781 -1.5 "));
    hk_buf_deinit(&buf);
    mem_source_deinit(&source);
}

/* Goal: every limit ends the query with its kind of error. */
TEST(limits) {
    struct mem_source source;
    load(&source, small, HK_COUNT(small));
    struct run run = run_query(
        &source, "{__name__=~\".+\"}", 300000, 300000, 0,
        &(struct hk_query_options){ .series_max = 2 });
    CHECK_INT(hk_query_error_of(run.err), HK_QUERY_EXECUTION);
    run_end(&run);
    run = run_query(
        &source, "sum_over_time(b[30m])", 1800000, 1800000, 0,
        &(struct hk_query_options){ .samples_max = 10 });
    CHECK_INT(run.err, HK_E_EXECUTION);
    run_end(&run);
    _Atomic bool cancel = true;
    run =
        run_query(&source, "b", 300000, 300000, 0, &(struct hk_query_options){ .cancel = &cancel });
    CHECK_INT(hk_query_error_of(run.err), HK_QUERY_CANCELED);
    run_end(&run);
    run =
        run_query(&source, "b", 300000, 300000, 0, &(struct hk_query_options){ .deadline_ns = 1 });
    CHECK_INT(hk_query_error_of(run.err), HK_QUERY_TIMEOUT);
    run_end(&run);
    run = run_query(&source, "b", 0, 600000, 1, &(struct hk_query_options){ .points_max = 600000 });
    CHECK_INT(run.err, HK_OK);
    run_end(&run);
    run = run_query(&source, "b", 0, 600000, 1, NULL);
    CHECK_INT(hk_query_error_of(run.err), HK_QUERY_BAD_DATA);
    run_end(&run);
    run = run_query(&source, "b", 600000, 0, 1, NULL);
    CHECK_INT(hk_query_error_of(run.err), HK_QUERY_BAD_DATA);
    run_end(&run);
    run = run_query(&source, "b + ", 0, 0, 0, NULL);
    CHECK_INT(hk_query_error_of(run.err), HK_QUERY_BAD_DATA);
    run_end(&run);
    CHECK_TEXT(hk_query_error_text(HK_QUERY_INTERNAL), "internal");
    mem_source_deinit(&source);
}

/* Goal: too little memory is an error, whatever allocation it hits. */
TEST(memory) {
    struct mem_source source;
    load(&source, small, HK_COUNT(small));
    for (size_t i = 0; i < HK_COUNT(queries); i++) {
        for (size_t bytes = 1024; bytes < (size_t)1 << 22; bytes += bytes / 3) {
            struct hk_arena arena;
            struct hk_promql *promql = NULL;
            struct hk_query_result result;
            static const struct hk_query_options options = { 0 };
            hk_arena_init(&arena, bytes);
            hk_err err = hk_promql_parse(hk_str_from(queries[i]), &arena, &promql);
            if (err == HK_OK) {
                err = hk_query_run(
                    &source.source, promql, 0, 1200000, 60000, &options, &arena, &result);
            }
            CHECK(err == HK_OK || err == HK_E_NOMEM);
            CHECK_INT(source.open, 0);
            hk_promql_release(promql);
            hk_arena_deinit(&arena);
            if (err == HK_OK) break;
        }
    }
    mem_source_deinit(&source);
}

static const struct {
    const char *query;
    int64_t start_ms, end_ms, from_ms, to_ms;
} ranges[] = {
    { "1", 1000000, 2000000, 0, 0 },
    { "a", 1000000, 2000000, 700001, 2000000 },
    { "a offset 1m", 1000000, 2000000, 640001, 1940000 },
    { "a[1m]", 1000000, 1000000, 940001, 1000000 },
    { "rate(a[1m] @ 100)", 1000000, 2000000, 40001, 100000 },
    { "a @ start()", 1000000, 2000000, 700001, 1000000 },
    { "a @ end()", 1000000, 2000000, 1700001, 2000000 },
    { "sum_over_time(a[10m:1m])", 1000000, 1000000, 100001, 1000000 },
    { "sum_over_time(a[10m:1m] offset 1m)", 1000000, 1000000, 40001, 940000 },
    { "sum_over_time(a[10m:1m] @ 5000)", 1000000, 2000000, 4100001, 5000000 },
    { "a + b offset -1m", 1000000, 2000000, 700001, 2060000 },
};

TEST(time_ranges) {
    for (size_t i = 0; i < HK_COUNT(ranges); i++) {
        struct hk_arena arena;
        struct hk_promql *promql = NULL;
        int64_t from_ms = 0;
        int64_t to_ms = 0;
        hk_arena_init(&arena, 1 << 20);
        CHECK_INT(hk_promql_parse(hk_str_from(ranges[i].query), &arena, &promql), HK_OK);
        hk_query_time_range(promql, ranges[i].start_ms, ranges[i].end_ms, 0, &from_ms, &to_ms);
        CHECK_INT(from_ms, ranges[i].from_ms);
        CHECK_INT(to_ms, ranges[i].to_ms);
        hk_promql_release(promql);
        hk_arena_deinit(&arena);
    }
}

HK_TEST_MAIN()
