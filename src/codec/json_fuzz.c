/* Fuzz: any text gives tokens, an end or an error; depth and offset stay in bounds. */
#include "codec/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    struct hk_arena arena;
    struct hk_json json;
    hk_arena_init(&arena, 1 << 24);
    hk_json_init(&json, (struct hk_str){ (const char *)data, bytes }, &arena);
    size_t tokens = 0;
    while (hk_json_next(&json) == HK_OK) {
        int64_t i64 = 0;
        double real = 0;
        hk_assert(json.depth <= HK_JSON_DEPTH_MAX && hk_json_offset(&json) <= bytes);
        hk_assert(++tokens <= bytes);
        if (hk_json_i64(&json, &i64) == HK_OK) hk_assert(hk_json_double(&json, &real) == HK_OK);
    }
    hk_arena_deinit(&arena);
    return 0;
}
