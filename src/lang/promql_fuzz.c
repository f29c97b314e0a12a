/* Fuzz: any text is parsed or refused; what is printed parses again to the same text. */
#include "lang/promql.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static hk_err print(struct hk_str text, struct hk_buf *out) {
    struct hk_arena arena;
    struct hk_promql *promql = NULL;
    hk_arena_init(&arena, (size_t)64 << 20);
    hk_err err = hk_promql_parse(text, &arena, &promql);
    if (err == HK_OK) hk_promql_print(promql, out);
    hk_promql_release(promql);
    hk_arena_deinit(&arena);
    return err;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    struct hk_buf first;
    struct hk_buf second;
    if (bytes > 65536) return 0;
    hk_buf_init(&first, (size_t)16 << 20);
    hk_buf_init(&second, (size_t)16 << 20);
    if (print((struct hk_str){ (const char *)data, bytes }, &first) == HK_OK) {
        hk_assert(first.err == HK_OK);
        hk_assert(print(hk_buf_get(&first), &second) == HK_OK);
        hk_assert(hk_str_eq(hk_buf_get(&first), hk_buf_get(&second)));
    }
    hk_buf_deinit(&second);
    hk_buf_deinit(&first);
    return 0;
}
