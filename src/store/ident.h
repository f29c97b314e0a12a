/*
 * Identity: from (context, part, key bytes) to the series' ref, without looking at labels.
 *
 * Each distinct byte form of a series is stored as a keyed 128-bit hash; two forms (another order
 * of labels, another protocol) may lead to one ref. The hash is keyed with a random secret that
 * never leaves the process, so equality of hashes stands for equality of bytes
 * (docs/decisions/identity.md). `next` of a form is the form that followed it last time: senders
 * repeat their order, so most look-ups are one comparison against the predicted successor.
 *
 * Owned by one shard; no function may be called from another thread.
 */
#ifndef HK_STORE_IDENT_H
#define HK_STORE_IDENT_H

#include "model/batch.h"

struct hk_form {
    struct hk_hash128 hash;
    uint32_t ref;
    uint32_t key_bytes;
    uint32_t next; /* form that followed last time, HK_REF_NONE = unknown */
    uint32_t used; /* seen since the last sweep; of a free form: the next free one plus 1 */
};

struct hk_ident {
    struct hk_form **chunks; /* HK_IDENT_CHUNK forms each */
    uint32_t count;          /* forms given out, free ones among them */
    uint32_t free_first;     /* plus 1, 0 = none */
    uint32_t free_count;
    size_t chunk_count, chunk_capacity;
    uint32_t *slots; /* form + 1 by hash, 0 = free */
    uint64_t mask;
    uint64_t bytes, bytes_max;
    uint64_t predicted, looked_up, missed; /* counters */
};

enum { HK_IDENT_CHUNK_BITS = 14 };

/* A connection's place in the order of forms. */
struct hk_ident_cursor {
    uint32_t form;  /* last form seen, HK_REF_NONE at the start */
    uint32_t first; /* first form of the previous body */
    bool started;
};

/* HK_E_NOMEM. */
hk_err hk_ident_init(struct hk_ident *ident, uint64_t bytes_max) HK_MUST_CHECK;
void hk_ident_deinit(struct hk_ident *ident);

/* A cursor without history. */
static inline void hk_ident_cursor_init(struct hk_ident_cursor *cursor) {
    *cursor = (struct hk_ident_cursor){ HK_REF_NONE, HK_REF_NONE, false };
}

/* A new body begins on the cursor's connection. */
static inline void hk_ident_cursor_begin(struct hk_ident_cursor *cursor) {
    cursor->form = HK_REF_NONE;
    cursor->started = false;
}

static inline struct hk_form *hk_ident_form(const struct hk_ident *ident, uint32_t form) {
    return &ident->chunks[form >> HK_IDENT_CHUNK_BITS][form & ((1U << HK_IDENT_CHUNK_BITS) - 1)];
}

/* Hash of an entry's identity. */
static inline struct hk_hash128
hk_ident_hash(const struct hk_context *context, uint64_t part, const void *key, size_t key_bytes) {
    struct hk_hash128 hash = hk_hash_mix(context->hash, hk_hash128(key, key_bytes));
    if (part != 0) {
        hash.low ^= part * 0x9e3779b97f4a7c15ULL;
        hash = hk_hash_mix(hash, (struct hk_hash128){ part, ~part });
    }
    return hash;
}

/* Predicted next form of the cursor, HK_REF_NONE if there is no prediction. */
static inline uint32_t
hk_ident_predicted(const struct hk_ident *ident, const struct hk_ident_cursor *cursor) {
    if (HK_UNLIKELY(cursor->form == HK_REF_NONE)) {
        return cursor->started ? HK_REF_NONE : cursor->first;
    }
    return hk_ident_form(ident, cursor->form)->next;
}

/* The cursor moves on to `form`, which was found to follow. */
static inline void
hk_ident_advance(struct hk_ident *ident, struct hk_ident_cursor *cursor, uint32_t form) {
    if (HK_UNLIKELY(cursor->form == HK_REF_NONE)) {
        if (!cursor->started) cursor->first = form;
    } else {
        struct hk_form *before = hk_ident_form(ident, cursor->form);
        before->next = form;
        before->used = 1;
    }
    cursor->started = true;
    cursor->form = form;
}

/*
 * Ref of an identity whose hash is `hash`: prediction first, then the table. HK_REF_NONE when it
 * is new (create the series, then hk_ident_add).
 */
uint32_t
hk_ident_find(struct hk_ident *ident, struct hk_ident_cursor *cursor, struct hk_hash128 hash);

/*
 * Looks at forms from `*at` on, at most `budget` of them, and drops those whose ref `leaves` names;
 * with `aging` also those that were not seen since the last sweep (they are found again by their
 * labels). `*at` moves on; true: all were seen. Cursors stay valid: what they predict is compared.
 */
bool hk_ident_sweep(
    struct hk_ident *ident, uint32_t *at, uint32_t budget, bool aging,
    bool (*leaves)(void *self, uint32_t ref), void *self);

/* Adds a form of `ref` and moves the cursor to it. HK_E_NOMEM, HK_E_LIMIT (memory budget). */
hk_err hk_ident_add(
    struct hk_ident *ident, struct hk_ident_cursor *cursor, struct hk_hash128 hash,
    uint32_t key_bytes, uint32_t ref) HK_MUST_CHECK;

#endif
