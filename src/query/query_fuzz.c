/* Fuzz: any query over a tiny source ends with a result or an error, within its limits. */
#include "mem_source.h"
#include "query/engine.h"
#include "query/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static const char *const lines[] = {
    "a{x=\"1\"} 0+1x9 3+2x9",
    "a{x=\"2\"} 5 _ 7 stale 9x5 NaN 1e300 -1 Inf",
    "b{x=\"1\", le=\"1\"} 0+1x19",
    "b{x=\"1\", le=\"+Inf\"} 0+3x19",
    "h{x=\"1\"} {{schema:0 count:3 sum:5 z_bucket:1 z_bucket_w:0.5 buckets:[1 2]}}x5 1 2",
    "h{x=\"2\"} {{schema:2 count:3 sum:5 buckets:[1 2] n_buckets:[3] counter_reset_hint:gauge}}x9",
    "c {{schema:-53 count:6 sum:20 custom_values:[1 5 10] buckets:[1 2 2 1]}}x9",
};

static struct mem_source *source(void) {
    static struct mem_source made;
    if (made.count > 0) return &made;
    mem_source_init(&made);
    for (size_t i = 0; i < HK_COUNT(lines); i++) {
        if (mem_source_load(&made, lines[i], 60000) < 0) abort();
    }
    return &made;
}

static void run(struct hk_promql *promql, struct hk_arena *arena, int64_t step_ms) {
    struct hk_query_result result;
    static const struct hk_query_options options = { .samples_max = 100000 };
    struct hk_buf json;
    hk_buf_init(&json, (size_t)64 << 20);
    hk_err err = hk_query_run(
        &source()->source, promql, 600000, step_ms == 0 ? 600000 : 1200000, step_ms, &options,
        arena, &result);
    if (err == HK_OK) hk_query_json_answer(&result, &json);
    hk_assert(source()->open == 0);
    hk_buf_deinit(&json);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    struct hk_arena arena;
    struct hk_promql *promql = NULL;
    if (bytes > 4096) return 0;
    hk_arena_init(&arena, (size_t)32 << 20);
    if (hk_promql_parse((struct hk_str){ (const char *)data, bytes }, &arena, &promql) == HK_OK) {
        run(promql, &arena, 0);
        run(promql, &arena, 150000);
    }
    hk_promql_release(promql);
    hk_arena_deinit(&arena);
    return 0;
}
