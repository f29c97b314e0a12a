/* Sorting integers by their bytes, the lowest first. */
#include "store/radix.h"

#include "base/mem.h"

#include <stdbool.h>
#include <string.h>

enum { COUNT_MIN = 64, DIGITS = 256 };

static void insertion_sort(uint64_t *keys, uint32_t count, unsigned low_bit) {
    for (uint32_t i = 1; i < count; i++) {
        uint64_t key = keys[i];
        uint32_t at = i;
        for (; at > 0 && keys[at - 1] >> low_bit > key >> low_bit; at--)
            keys[at] = keys[at - 1];
        keys[at] = key;
    }
}

/* One stable pass by the byte at `shift`. */
static void pass(const uint64_t *from, uint32_t count, unsigned shift, uint64_t *to) {
    uint32_t at[DIGITS] = { 0 };
    for (uint32_t i = 0; i < count; i++)
        at[from[i] >> shift & (DIGITS - 1)]++;
    uint32_t sum = 0;
    for (uint32_t i = 0; i < DIGITS; i++) {
        uint32_t here = at[i];
        at[i] = sum;
        sum += here;
    }
    for (uint32_t i = 0; i < count; i++)
        to[at[from[i] >> shift & (DIGITS - 1)]++] = from[i];
}

hk_err hk_radix_sort(uint64_t *keys, uint32_t count, unsigned low_bit) {
    if (count < COUNT_MIN) {
        insertion_sort(keys, count, low_bit);
        return HK_OK;
    }
    uint64_t differ = 0;
    bool sorted = true;
    for (uint32_t i = 1; i < count; i++) {
        differ |= keys[i] ^ keys[0];
        sorted = sorted && keys[i - 1] >> low_bit <= keys[i] >> low_bit;
    }
    if (sorted) return HK_OK;
    uint64_t *other HK_CLEANUP(hk_mem_free_at) = hk_mem_resize(NULL, count, sizeof(keys[0]));
    if (other == NULL) return HK_E_NOMEM;
    uint64_t *from = keys;
    uint64_t *to = other;
    for (unsigned shift = low_bit; shift < 64; shift += 8) {
        if ((differ >> shift & (DIGITS - 1)) == 0) continue;
        pass(from, count, shift, to);
        uint64_t *swap = from;
        from = to;
        to = swap;
    }
    if (from != keys) memcpy(keys, from, count * sizeof(keys[0]));
    return HK_OK;
}

static void insertion_sort_items(struct hk_radix_item *items, uint32_t count) {
    for (uint32_t i = 1; i < count; i++) {
        struct hk_radix_item item = items[i];
        uint32_t at = i;
        for (; at > 0 && items[at - 1].key > item.key; at--)
            items[at] = items[at - 1];
        items[at] = item;
    }
}

static void pass_items(
    const struct hk_radix_item *from, uint32_t count, unsigned shift, struct hk_radix_item *to) {
    uint32_t at[DIGITS] = { 0 };
    for (uint32_t i = 0; i < count; i++)
        at[from[i].key >> shift & (DIGITS - 1)]++;
    uint32_t sum = 0;
    for (uint32_t i = 0; i < DIGITS; i++) {
        uint32_t here = at[i];
        at[i] = sum;
        sum += here;
    }
    for (uint32_t i = 0; i < count; i++)
        to[at[from[i].key >> shift & (DIGITS - 1)]++] = from[i];
}

hk_err hk_radix_sort_items(struct hk_radix_item *items, uint32_t count) {
    if (count < COUNT_MIN) {
        insertion_sort_items(items, count);
        return HK_OK;
    }
    uint64_t differ = 0;
    bool sorted = true;
    for (uint32_t i = 1; i < count; i++) {
        differ |= items[i].key ^ items[0].key;
        sorted = sorted && items[i - 1].key <= items[i].key;
    }
    if (sorted) return HK_OK;
    struct hk_radix_item *other HK_CLEANUP(hk_mem_free_at) =
        hk_mem_resize(NULL, count, sizeof(items[0]));
    if (other == NULL) return HK_E_NOMEM;
    struct hk_radix_item *from = items;
    struct hk_radix_item *to = other;
    for (unsigned shift = 0; shift < 64; shift += 8) {
        if ((differ >> shift & (DIGITS - 1)) == 0) continue;
        pass_items(from, count, shift, to);
        struct hk_radix_item *swap = from;
        from = to;
        to = swap;
    }
    if (from != items) memcpy(items, from, count * sizeof(items[0]));
    return HK_OK;
}
