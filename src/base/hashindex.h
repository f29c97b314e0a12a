/*
 * Hash to numbers: open addressing, several numbers per hash allowed; the caller compares what they
 * stand for. Hashes must be keyed (base/hash.h) where input decides them. Not thread-safe.
 */
#ifndef HK_BASE_HASHINDEX_H
#define HK_BASE_HASHINDEX_H

#include "base/mem.h"

#define HK_HASHINDEX_NONE UINT32_MAX

struct hk_hashindex_slot {
    uint32_t tag, value; /* value HK_HASHINDEX_NONE = empty */
};

/* Zero-initialise. Invariant (1): at most three quarters are used, so that probing ends. */
struct hk_hashindex {
    struct hk_hashindex_slot *slots;
    size_t size, count; /* size is 0 or a power of two */
};

static inline void hk_hashindex_deinit(struct hk_hashindex *index) {
    hk_mem_free(index->slots);
    *index = (struct hk_hashindex){ 0 };
}

/* Private: the part of the hash that is kept. */
static inline uint32_t hk_hashindex_tag(uint64_t hash) {
    return (uint32_t)(hash ^ (hash >> 32));
}

/* Private: adds where there is room. */
static inline void
hk_hashindex_place(struct hk_hashindex_slot *slots, size_t size, uint32_t tag, uint32_t value) {
    size_t at = tag & (size - 1);
    while (slots[at].value != HK_HASHINDEX_NONE)
        at = (at + 1) & (size - 1);
    slots[at] = (struct hk_hashindex_slot){ tag, value };
}

/* Adds a pair. HK_E_NOMEM leaves all as it was. */
static inline HK_MUST_CHECK hk_err
hk_hashindex_put(struct hk_hashindex *index, uint64_t hash, uint32_t value) {
    if (index->count * 4 >= index->size * 3) { /* (1) */
        size_t size = index->size == 0 ? 16 : index->size * 2;
        struct hk_hashindex_slot *slots = hk_mem_resize(NULL, size, sizeof(slots[0]));
        if (slots == NULL) return HK_E_NOMEM;
        for (size_t i = 0; i < size; i++)
            slots[i].value = HK_HASHINDEX_NONE;
        for (size_t i = 0; i < index->size; i++) {
            if (index->slots[i].value == HK_HASHINDEX_NONE) continue;
            hk_hashindex_place(slots, size, index->slots[i].tag, index->slots[i].value);
        }
        hk_mem_free(index->slots);
        index->slots = slots;
        index->size = size;
    }
    hk_hashindex_place(index->slots, index->size, hk_hashindex_tag(hash), value);
    index->count++;
    return HK_OK;
}

/* Walks the numbers of a hash: `*cursor` starts at 0. HK_HASHINDEX_NONE at the end. */
static inline uint32_t
hk_hashindex_find(const struct hk_hashindex *index, uint64_t hash, size_t *cursor) {
    uint32_t tag = hk_hashindex_tag(hash);
    for (; *cursor < index->size; (*cursor)++) {
        const struct hk_hashindex_slot *slot = &index->slots[(tag + *cursor) & (index->size - 1)];
        if (slot->value == HK_HASHINDEX_NONE) break;
        if (slot->tag != tag) continue;
        (*cursor)++;
        return slot->value;
    }
    return HK_HASHINDEX_NONE;
}

/* Removes a pair; fine if it is not there. */
static inline void hk_hashindex_remove(struct hk_hashindex *index, uint64_t hash, uint32_t value) {
    if (index->size == 0) return;
    size_t mask = index->size - 1;
    uint32_t tag = hk_hashindex_tag(hash);
    size_t at = tag & mask;
    while (index->slots[at].value != value || index->slots[at].tag != tag) {
        if (index->slots[at].value == HK_HASHINDEX_NONE) return;
        at = (at + 1) & mask;
    }
    /* Moves later ones of the run into the gap where their own place allows it. */
    for (size_t next = (at + 1) & mask; index->slots[next].value != HK_HASHINDEX_NONE;
         next = (next + 1) & mask) {
        size_t home = index->slots[next].tag & mask;
        if (((next - home) & mask) < ((next - at) & mask)) continue;
        index->slots[at] = index->slots[next];
        at = next;
    }
    index->slots[at].value = HK_HASHINDEX_NONE;
    index->count--;
}

#endif
