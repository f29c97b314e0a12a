/* Identity table: open addressing over form numbers, hashes live in the forms. */
#include "store/ident.h"

#include "base/mem.h"

enum { SLOTS_MIN = 4096, CHUNK_FORMS = 1 << HK_IDENT_CHUNK_BITS };

hk_err hk_ident_init(struct hk_ident *ident, uint64_t bytes_max) {
    *ident = (struct hk_ident){ .bytes_max = bytes_max, .mask = SLOTS_MIN - 1 };
    ident->slots = hk_mem_alloc(SLOTS_MIN, sizeof(uint32_t));
    if (ident->slots == NULL) return HK_E_NOMEM;
    ident->bytes = SLOTS_MIN * sizeof(uint32_t);
    return HK_OK;
}

void hk_ident_deinit(struct hk_ident *ident) {
    for (size_t i = 0; i < ident->chunk_count; i++)
        hk_mem_free(ident->chunks[i]);
    hk_mem_free(ident->chunks);
    hk_mem_free(ident->slots);
    *ident = (struct hk_ident){ 0 };
}

static bool same(struct hk_hash128 a, struct hk_hash128 b) {
    return a.low == b.low && a.high == b.high;
}

uint32_t
hk_ident_find(struct hk_ident *ident, struct hk_ident_cursor *cursor, struct hk_hash128 hash) {
    uint32_t guess = hk_ident_predicted(ident, cursor);
    if (HK_LIKELY(guess != HK_REF_NONE)) {
        const struct hk_form *form = hk_ident_form(ident, guess);
        if (HK_LIKELY(same(form->hash, hash))) {
            hk_ident_advance(ident, cursor, guess);
            ident->predicted++;
            return form->ref;
        }
    }
    ident->looked_up++;
    for (uint64_t at = hash.low & ident->mask;; at = (at + 1) & ident->mask) {
        uint32_t slot = ident->slots[at];
        if (slot == 0) break;
        const struct hk_form *form = hk_ident_form(ident, slot - 1);
        if (!same(form->hash, hash)) continue;
        hk_ident_advance(ident, cursor, slot - 1);
        return form->ref;
    }
    ident->missed++;
    return HK_REF_NONE;
}

static void put(uint32_t *slots, uint64_t mask, uint64_t hash_low, uint32_t form) {
    uint64_t at = hash_low & mask;
    while (slots[at] != 0)
        at = (at + 1) & mask;
    slots[at] = form + 1;
}

/* Doubles the table at load 1/2. */
static hk_err grow_slots(struct hk_ident *ident) {
    uint64_t mask = ident->mask * 2 + 1;
    if (ident->bytes + (mask + 1) * sizeof(uint32_t) > ident->bytes_max) return HK_E_LIMIT;
    uint32_t *slots = hk_mem_alloc(mask + 1, sizeof(uint32_t));
    if (slots == NULL) return HK_E_NOMEM;
    for (uint32_t i = 0; i < ident->count; i++) {
        const struct hk_form *form = hk_ident_form(ident, i);
        if (form->ref != HK_REF_NONE) put(slots, mask, form->hash.low, i);
    }
    ident->bytes += (mask - ident->mask) * sizeof(uint32_t);
    hk_mem_free(ident->slots);
    ident->slots = slots;
    ident->mask = mask;
    return HK_OK;
}

static hk_err grow_forms(struct hk_ident *ident) {
    uint64_t bytes = (uint64_t)CHUNK_FORMS * sizeof(struct hk_form);
    if (ident->bytes + bytes > ident->bytes_max) return HK_E_LIMIT;
    HK_TRY(hk_mem_grow(
        &ident->chunks, &ident->chunk_capacity, ident->chunk_count + 1, sizeof(ident->chunks[0])));
    struct hk_form *chunk = hk_mem_alloc(CHUNK_FORMS, sizeof(struct hk_form));
    if (chunk == NULL) return HK_E_NOMEM;
    ident->chunks[ident->chunk_count++] = chunk;
    ident->bytes += bytes;
    return HK_OK;
}

/* Number of a form that may be written, with a place in the table for it. */
static hk_err take_form(struct hk_ident *ident, uint32_t *out) {
    uint64_t in_use = (uint64_t)ident->count - ident->free_count;
    if ((in_use + 1) * 2 > ident->mask + 1) HK_TRY(grow_slots(ident));
    if (ident->free_first != 0) {
        *out = ident->free_first - 1;
        ident->free_first = hk_ident_form(ident, *out)->used;
        ident->free_count--;
        return HK_OK;
    }
    if (ident->count == HK_REF_NONE - 1) return HK_E_LIMIT;
    if (ident->count >> HK_IDENT_CHUNK_BITS >= ident->chunk_count) HK_TRY(grow_forms(ident));
    *out = ident->count++;
    return HK_OK;
}

hk_err hk_ident_add(
    struct hk_ident *ident, struct hk_ident_cursor *cursor, struct hk_hash128 hash,
    uint32_t key_bytes, uint32_t ref) {
    uint32_t form = 0;
    hk_assert(ref != HK_REF_NONE);
    HK_TRY(take_form(ident, &form));
    *hk_ident_form(ident, form) = (struct hk_form){
        .hash = hash,
        .ref = ref,
        .key_bytes = key_bytes,
        .next = HK_REF_NONE,
        .used = 1,
    };
    put(ident->slots, ident->mask, hash.low, form);
    hk_ident_advance(ident, cursor, form);
    return HK_OK;
}

/* Takes a form out of the table: what follows it in its run moves up. */
static void unput(struct hk_ident *ident, uint32_t number) {
    uint64_t mask = ident->mask;
    uint64_t hole = hk_ident_form(ident, number)->hash.low & mask;
    while (ident->slots[hole] != number + 1)
        hole = (hole + 1) & mask;
    for (uint64_t at = (hole + 1) & mask; ident->slots[at] != 0; at = (at + 1) & mask) {
        uint64_t home = hk_ident_form(ident, ident->slots[at] - 1)->hash.low & mask;
        /* It may move only if its home is not behind the hole. */
        if (((at - home) & mask) < ((at - hole) & mask)) continue;
        ident->slots[hole] = ident->slots[at];
        hole = at;
    }
    ident->slots[hole] = 0;
}

bool hk_ident_sweep(
    struct hk_ident *ident, uint32_t *at, uint32_t budget, bool aging,
    bool (*leaves)(void *self, uint32_t ref), void *self) {
    uint32_t left = ident->count - *at;
    uint32_t end = *at + (left < budget ? left : budget);
    for (; *at < end; ++*at) {
        struct hk_form *form = hk_ident_form(ident, *at);
        if (form->ref == HK_REF_NONE) continue;
        bool unused = aging && form->used == 0;
        if (aging) form->used = 0;
        if (!unused && !leaves(self, form->ref)) continue;
        unput(ident, *at);
        *form = (struct hk_form){
            .ref = HK_REF_NONE,
            .next = HK_REF_NONE,
            .used = ident->free_first,
        };
        ident->free_first = *at + 1;
        ident->free_count++;
    }
    return *at == ident->count;
}
