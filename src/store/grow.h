/*
 * Grow-only array in chunks that never move, so that readers need no lock: a chunk's address is
 * stored with release before any index in it is published. One writer at a time.
 */
#ifndef HK_STORE_GROW_H
#define HK_STORE_GROW_H

#include "base/mem.h"

#include <stdatomic.h>

enum { HK_GROW_CHUNK_BITS = 14, HK_GROW_CHUNKS_MAX = 1 << 14 };

struct hk_grow {
    _Atomic(unsigned char *) chunks[HK_GROW_CHUNKS_MAX];
    size_t item_bytes;
    uint64_t bytes; /* allocated so far */
};

/* Empty array of items of `item_bytes`. `grow` must be zeroed memory. */
static inline void hk_grow_init(struct hk_grow *grow, size_t item_bytes) {
    grow->item_bytes = item_bytes;
}

/* Frees the chunks. */
static inline void hk_grow_deinit(struct hk_grow *grow) {
    for (size_t i = 0; i < HK_GROW_CHUNKS_MAX; i++) {
        hk_mem_free(atomic_load_explicit(&grow->chunks[i], memory_order_relaxed));
    }
}

/* Writer: makes item `index` usable (chunks before it may be missing), zeroed. HK_E_NOMEM,
 * HK_E_LIMIT. */
static inline hk_err hk_grow_reserve(struct hk_grow *grow, uint32_t index) {
    uint32_t chunk = index >> HK_GROW_CHUNK_BITS;
    if (HK_UNLIKELY(chunk >= HK_GROW_CHUNKS_MAX)) return HK_E_LIMIT;
    if (atomic_load_explicit(&grow->chunks[chunk], memory_order_relaxed) != NULL) return HK_OK;
    unsigned char *memory = hk_mem_alloc((size_t)1 << HK_GROW_CHUNK_BITS, grow->item_bytes);
    if (memory == NULL) return HK_E_NOMEM;
    grow->bytes += ((size_t)1 << HK_GROW_CHUNK_BITS) * grow->item_bytes;
    /* Pairs with the acquire in hk_grow_at of any reader. */
    atomic_store_explicit(&grow->chunks[chunk], memory, memory_order_release);
    return HK_OK;
}

/* Is item `index` reserved? */
static inline bool hk_grow_has(const struct hk_grow *grow, uint32_t index) {
    uint32_t chunk = index >> HK_GROW_CHUNK_BITS;
    return chunk < HK_GROW_CHUNKS_MAX &&
           atomic_load_explicit(&grow->chunks[chunk], memory_order_acquire) != NULL;
}

/* Address of a reserved item. */
static inline void *hk_grow_at(const struct hk_grow *grow, uint32_t index) {
    unsigned char *chunk =
        atomic_load_explicit(&grow->chunks[index >> HK_GROW_CHUNK_BITS], memory_order_acquire);
    return chunk + (size_t)(index & ((1U << HK_GROW_CHUNK_BITS) - 1)) * grow->item_bytes;
}

#endif
