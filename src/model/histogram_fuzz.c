/* Fuzz: any bytes are a histogram or refused; what is read is valid and writes to bytes that read
 * back the same. */
#include "model/histogram.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    struct hk_arena arena;
    struct hk_histogram histogram;
    hk_arena_init(&arena, (size_t)16 << 20);
    if (hk_histogram_decode((struct hk_str){ (const char *)data, bytes }, &arena, &histogram) ==
        HK_OK) {
        struct hk_histogram again;
        struct hk_buf first;
        struct hk_buf second;
        hk_buf_init(&first, (size_t)4 << 20);
        hk_buf_init(&second, (size_t)4 << 20);
        hk_assert(hk_histogram_check(&histogram) == HK_OK);
        hk_histogram_encode(&histogram, &first);
        hk_assert(first.err == HK_OK);
        hk_assert(hk_histogram_decode(hk_buf_get(&first), &arena, &again) == HK_OK);
        hk_histogram_encode(&again, &second);
        hk_assert(hk_str_eq(hk_buf_get(&first), hk_buf_get(&second)));
        hk_assert(hk_histogram_copy(&histogram, &arena) != NULL);
        hk_buf_deinit(&second);
        hk_buf_deinit(&first);
    }
    hk_arena_deinit(&arena);
    return 0;
}
