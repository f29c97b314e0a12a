/*
 * Which metadata went out already: protocols that repeat type, help and unit with every request
 * report them only when they are new or changed. A lossy memory of hashes: forgetting costs one
 * repeated report, never a missing one (a false hit needs two equal keyed 64-bit hashes).
 * One per shard and tenant; not thread-safe.
 */
#ifndef HK_INGEST_META_SEEN_H
#define HK_INGEST_META_SEEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { HK_META_SEEN_SLOTS = 8192 };

struct hk_meta_seen {
    uint64_t slots[HK_META_SEEN_SLOTS]; /* zeroed at the start */
};

/* Is this hash known? NULL knows nothing. */
static inline bool hk_meta_seen_has(const struct hk_meta_seen *seen, uint64_t hash) {
    return seen != NULL && seen->slots[hash % HK_META_SEEN_SLOTS] == hash;
}

/* Remembers it. */
static inline void hk_meta_seen_put(struct hk_meta_seen *seen, uint64_t hash) {
    if (seen != NULL) seen->slots[hash % HK_META_SEEN_SLOTS] = hash;
}

#endif
