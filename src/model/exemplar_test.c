/* Goal: exemplars come back as they went in; no cut or flipped byte is read outside. */
#include "hk_test.h"
#include "model/exemplar.h"

static const struct hk_label labels[] = {
    { { "span_id", 7 }, { "00f067aa0ba902b7", 16 } },
    { { "trace_id", 8 }, { "4bf92f3577b34da6a3ce929d0e0e4736", 32 } },
};

static struct hk_str encode(struct hk_arena *arena) {
    const struct hk_exemplar exemplar = { .labels = { labels, 2 },
                                          .value = 0.25,
                                          .stamp_ms = 1700000000123 };
    struct hk_str bytes = { 0 };
    CHECK_INT(hk_exemplar_encode(&exemplar, arena, &bytes), HK_OK);
    return bytes;
}

TEST(round_trip) {
    struct hk_arena arena;
    hk_arena_init(&arena, 1 << 20);
    struct hk_exemplar back = { 0 };
    CHECK_INT(hk_exemplar_decode(encode(&arena), &arena, &back), HK_OK);
    CHECK_INT(hk_labels_cmp(back.labels, (struct hk_labels){ labels, 2 }), 0);
    CHECK_DOUBLE(back.value, 0.25);
    CHECK_INT(back.stamp_ms, 1700000000123);
    hk_arena_deinit(&arena);
}

TEST(no_labels) {
    struct hk_arena arena;
    hk_arena_init(&arena, 1 << 20);
    const struct hk_exemplar exemplar = { .value = -1, .stamp_ms = -5 };
    struct hk_str bytes = { 0 };
    CHECK_INT(hk_exemplar_encode(&exemplar, &arena, &bytes), HK_OK);
    CHECK_INT(bytes.len, 17);
    struct hk_exemplar back = { 0 };
    CHECK_INT(hk_exemplar_decode(bytes, &arena, &back), HK_OK);
    CHECK_INT(back.labels.count, 0);
    CHECK_DOUBLE(back.value, -1);
    CHECK_INT(back.stamp_ms, -5);
    hk_arena_deinit(&arena);
}

TEST(damage) {
    struct hk_arena arena;
    hk_arena_init(&arena, 1 << 20);
    const struct hk_str bytes = encode(&arena);
    struct hk_exemplar back = { 0 };
    for (size_t len = 0; len < bytes.len; len++) {
        char *cut = hk_mem_copy(bytes.ptr, len);
        CHECK_INT(hk_exemplar_decode((struct hk_str){ cut, len }, &arena, &back), HK_E_CORRUPT);
        hk_mem_free(cut);
    }
    for (size_t i = 0; i < bytes.len; i++) {
        char *bent = hk_mem_copy(bytes.ptr, bytes.len);
        bent[i] = (char)(bent[i] ^ 0x55);
        const hk_err err = hk_exemplar_decode((struct hk_str){ bent, bytes.len }, &arena, &back);
        CHECK(err == HK_OK || err == HK_E_CORRUPT);
        hk_mem_free(bent);
    }
    hk_arena_deinit(&arena);
}

TEST(limits) {
    struct hk_arena arena;
    hk_arena_init(&arena, 1 << 20);
    struct hk_label many[HK_EXEMPLAR_LABELS_MAX + 1];
    for (size_t i = 0; i < HK_COUNT(many); i++)
        many[i] = labels[0];
    struct hk_str bytes = { 0 };
    struct hk_exemplar exemplar = { .labels = { many, HK_COUNT(many) } };
    CHECK_INT(hk_exemplar_encode(&exemplar, &arena, &bytes), HK_E_LIMIT);
    char *text = hk_mem_alloc(HK_EXEMPLAR_BYTES_MAX, 1);
    memset(text, 'a', HK_EXEMPLAR_BYTES_MAX);
    many[0].value = (struct hk_str){ text, HK_EXEMPLAR_BYTES_MAX };
    exemplar.labels.count = 1;
    CHECK_INT(hk_exemplar_encode(&exemplar, &arena, &bytes), HK_E_LIMIT);
    many[0].value.len = 4000;
    CHECK_INT(hk_exemplar_encode(&exemplar, &arena, &bytes), HK_OK);
    struct hk_exemplar back = { 0 };
    CHECK_INT(hk_exemplar_decode(bytes, &arena, &back), HK_OK);
    CHECK_STR(back.labels.items[0].value, many[0].value);
    hk_mem_free(text);
    hk_arena_deinit(&arena);
}

HK_TEST_MAIN()
