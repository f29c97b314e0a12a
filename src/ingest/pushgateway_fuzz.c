/* Goal: no path and no body upsets the registry; whatever was pushed comes out and ends. The first
 * line is the path, the rest a body in the text format. */
#include "ingest/pushgateway.h"

#include "ingest/exposition.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static struct hk_batch batch;
static const struct hk_context context;

static void show(struct hk_push *push) {
    hk_err err = HK_FULL;
    while (err == HK_FULL) {
        hk_batch_clear(&batch);
        err = hk_push_parser.parse(push, &batch);
        for (uint32_t i = 0; i < batch.count; i++) {
            struct hk_label_set set;
            struct hk_labels labels;
            hk_label_set_clear(&set);
            hk_assert(hk_push_parser.labels(push, &batch, &batch.entries[i], &set) == HK_OK);
            hk_assert(hk_label_set_finish(&set, &labels) == HK_OK);
        }
    }
}

static void push_once(
    struct hk_push *push, struct hk_labels group, enum hk_push_method method, struct hk_str body,
    int64_t now_ms) {
    struct hk_exposition state;
    if (hk_push_begin(push, group, method, now_ms) < 0) return;
    hk_exposition_init(&state, body, &context, HK_PUSH_NO_STAMP);
    hk_err err = HK_FULL;
    while (err == HK_FULL) {
        hk_batch_clear(&batch);
        err = hk_exposition_parser.parse(&state, &batch);
        const hk_err added = hk_push_add(push, &hk_exposition_parser, &state, &batch);
        if (added < 0) err = added;
    }
    if (err < 0)
        hk_push_abort(push);
    else
        (void)!hk_push_commit(push);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    static const struct hk_push_options options = { 4, 16, 16384, 1000, 100 };
    const struct hk_str input = { (const char *)data, bytes };
    const size_t line = hk_str_find(input, '\n', 0);
    const struct hk_str body = hk_str_part(input, line + 1, bytes);
    struct hk_label_set set;
    struct hk_labels group;
    struct hk_arena arena;
    struct hk_push *push = NULL;
    hk_arena_init(&arena, 1 << 20);
    batch.arena = &arena;
    hk_label_set_clear(&set);
    if (hk_push_path_parse(hk_str_part(input, 0, line), &arena, &set) == HK_OK &&
        hk_label_set_finish(&set, &group) == HK_OK &&
        hk_push_create(&options, &context, &push) == HK_OK) {
        push_once(push, group, HK_PUSH_PUT, body, 1);
        push_once(push, group, HK_PUSH_POST, hk_str_part(body, 0, body.len / 2), 2);
        show(push);
        push_once(push, group, HK_PUSH_PUT, hk_str_part(body, body.len / 2, body.len), 3);
        hk_push_tick(push, 500);
        show(push);
        (void)hk_push_delete(push, group, 600);
        show(push);
        hk_assert(hk_push_stats(push).series_count == 0);
        hk_assert(hk_push_stats(push).bytes == 0);
        hk_push_destroy(push);
    }
    hk_arena_deinit(&arena);
    return 0;
}
