/* Sorting many integers. Pure; any thread. */
#ifndef HK_STORE_RADIX_H
#define HK_STORE_RADIX_H

#include "base/err.h"

#include <stdint.h>

/*
 * Sorts ascending by the bits from `low_bit` (a multiple of 8) up: a pass over each byte in which
 * the keys differ. Keys that are equal there stay in their order. HK_E_NOMEM (the keys are
 * unchanged).
 */
hk_err hk_radix_sort(uint64_t *keys, uint32_t count, unsigned low_bit) HK_MUST_CHECK;

struct hk_radix_item {
    uint64_t key;
    uint32_t id;
};

/* The same for items, by all bits of their keys. */
hk_err hk_radix_sort_items(struct hk_radix_item *items, uint32_t count) HK_MUST_CHECK;

#endif
