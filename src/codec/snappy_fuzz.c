/* Fuzz: any block is decompressed or refused, as libsnappy does; what is compressed comes back. */
#include "codec/snappy.h"

#include <snappy-c.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    struct hk_arena arena;
    struct hk_buf block;
    const struct hk_str input = { (const char *)data, bytes };
    struct hk_str got = { "", 0 };
    hk_arena_init(&arena, 1 << 24);
    hk_buf_init(&block, 1 << 24);
    const hk_err err = hk_snappy_decompress(input, 1 << 20, &arena, &got);
    size_t declared = 0;
    const bool sound = snappy_uncompressed_length(input.ptr, bytes, &declared) == SNAPPY_OK &&
                       declared <= 1 << 20 && declared / 32 <= bytes;
    char *peer = sound ? hk_arena_alloc_raw(&arena, declared + 1, 1) : NULL;
    if (peer != NULL && snappy_uncompress(input.ptr, bytes, peer, &declared) == SNAPPY_OK) {
        /* libsnappy takes a literal of 2^32 bytes for an empty one. */
        const bool wraps = memmem(data, bytes, "\xff\xff\xff\xff", 4) != NULL;
        hk_assert(wraps || err == HK_OK);
        hk_assert(err < 0 || hk_str_eq(got, (struct hk_str){ peer, declared }));
    } else {
        hk_assert(err < 0);
    }
    hk_assert(hk_snappy_compress(input, &block) == HK_OK);
    hk_assert(hk_snappy_decompress(hk_buf_get(&block), bytes, &arena, &got) == HK_OK);
    hk_assert(hk_str_eq(got, input));
    hk_buf_deinit(&block);
    hk_arena_deinit(&arena);
    return 0;
}
