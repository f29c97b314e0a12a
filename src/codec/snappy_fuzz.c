/* Fuzz: any block is decompressed or refused; what is compressed comes back. */
#include "codec/snappy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    struct hk_arena arena;
    struct hk_buf block;
    const struct hk_str input = { (const char *)data, bytes };
    struct hk_str got = { "", 0 };
    hk_arena_init(&arena, 1 << 24);
    hk_buf_init(&block, 1 << 24);
    (void)!hk_snappy_decompress(input, 1 << 20, &arena, &got);
    hk_assert(hk_snappy_compress(input, &block) == HK_OK);
    hk_assert(hk_snappy_decompress(hk_buf_get(&block), bytes, &arena, &got) == HK_OK);
    hk_assert(hk_str_eq(got, input));
    hk_buf_deinit(&block);
    hk_arena_deinit(&arena);
    return 0;
}
