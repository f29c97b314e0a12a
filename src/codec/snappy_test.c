/* Goal: blocks come back, the declared length is checked first, damage is an error. */
#include "codec/snappy.h"
#include "hk_test.h"

TEST(round_trip) {
    struct hk_arena arena;
    struct hk_buf block, back;
    hk_arena_init(&arena, 1 << 22);
    hk_buf_init(&block, 1 << 22);
    hk_buf_init(&back, 1 << 22);
    static char text[100000];
    for (size_t i = 0; i < sizeof(text); i++)
        text[i] = (char)("series"[i % 6] + (int)(i / 1000) % 7);
    static const size_t sizes[] = { 0, 1, 63, 64, 65535, 65536, 100000 };
    for (size_t i = 0; i < HK_COUNT(sizes); i++) {
        const struct hk_str from = { text, sizes[i] };
        struct hk_str got = { "", 0 };
        hk_buf_clear(&block);
        hk_buf_clear(&back);
        CHECK_INT(hk_snappy_compress(from, &block), HK_OK);
        CHECK_INT(hk_snappy_decompress(hk_buf_get(&block), sizes[i], &arena, &got), HK_OK);
        CHECK(hk_str_eq(got, from));
        CHECK_INT(hk_snappy_decompress_buf(hk_buf_get(&block), sizes[i], &back), HK_OK);
        CHECK(hk_str_eq(hk_buf_get(&back), from));
        if (sizes[i] == 0) continue;
        const size_t bytes_max = sizes[i] - 1;
        CHECK_INT(hk_snappy_decompress(hk_buf_get(&block), bytes_max, &arena, &got), HK_E_LIMIT);
    }
    hk_buf_deinit(&block);
    hk_buf_deinit(&back);
    hk_arena_deinit(&arena);
}

TEST(damage) {
    struct hk_arena arena;
    struct hk_buf block;
    hk_arena_init(&arena, 1 << 22);
    hk_buf_init(&block, 1 << 22);
    struct hk_str got = { "", 0 };
    CHECK_INT(hk_snappy_decompress(HK_STR(""), 100, &arena, &got), HK_E_MALFORMED);
    CHECK_INT(
        hk_snappy_decompress(HK_STR("\xff\xff\xff\xff\xff\xff"), 100, &arena, &got),
        HK_E_MALFORMED);
    /* A bomb: 4 GiB declared by five bytes. */
    const struct hk_str bomb = HK_STR("\xff\xff\xff\xff\x0f");
    CHECK_INT(hk_snappy_decompress(bomb, SIZE_MAX, &arena, &got), HK_E_MALFORMED);
    CHECK_INT(hk_snappy_decompress(bomb, 1 << 20, &arena, &got), HK_E_LIMIT);
    CHECK_INT(hk_snappy_compress(HK_STR("some text, some text, some text"), &block), HK_OK);
    for (size_t len = 0; len < block.len; len++) {
        const struct hk_str cut = { block.ptr, len };
        CHECK_INT(hk_snappy_decompress(cut, 1 << 20, &arena, &got), HK_E_MALFORMED);
    }
    hk_buf_deinit(&block);
    hk_arena_deinit(&arena);
}

HK_TEST_MAIN()
