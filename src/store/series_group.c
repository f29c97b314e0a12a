/*
 * Groups of series by some of their labels: a group's key is the ids of the pairs, so no string is
 * looked at.
 */
#include "store/directory_internal.h"

enum { KEYS_FIRST = 64 };

/* Keys that appeared, open addressing; 0 in `numbers` = free. */
struct keys {
    struct hk_hash128 *keys;
    uint32_t *numbers; /* number + 1 */
    uint32_t count, capacity;
    struct hk_arena *arena;
};

struct by {
    const struct hk_directory_view *view;
    uint32_t *names; /* ids */
    uint32_t name_count;
    bool with;
    uint32_t place; /* where the only name of `with` stood last */
};

static hk_err keys_grow(struct keys *keys) {
    struct keys grown = { .arena = keys->arena, .count = keys->count };
    grown.capacity = keys->capacity == 0 ? KEYS_FIRST : keys->capacity * 2;
    grown.keys = hk_arena_alloc_raw(keys->arena, grown.capacity, sizeof(grown.keys[0]));
    grown.numbers = hk_arena_alloc(keys->arena, grown.capacity, sizeof(grown.numbers[0]));
    if (grown.keys == NULL || grown.numbers == NULL) return HK_E_NOMEM;
    for (uint32_t i = 0; i < keys->capacity; i++) {
        if (keys->numbers[i] == 0) continue;
        uint32_t at = (uint32_t)keys->keys[i].low & (grown.capacity - 1);
        while (grown.numbers[at] != 0)
            at = (at + 1) & (grown.capacity - 1);
        grown.keys[at] = keys->keys[i];
        grown.numbers[at] = keys->numbers[i];
    }
    *keys = grown;
    return HK_OK;
}

static hk_err number_of(struct keys *keys, struct hk_hash128 key, uint32_t *out) {
    if (keys->count * 2ULL >= keys->capacity) HK_TRY(keys_grow(keys));
    uint32_t at = (uint32_t)key.low & (keys->capacity - 1);
    for (; keys->numbers[at] != 0; at = (at + 1) & (keys->capacity - 1)) {
        if (keys->keys[at].low != key.low || keys->keys[at].high != key.high) continue;
        *out = keys->numbers[at] - 1;
        return HK_OK;
    }
    keys->keys[at] = key;
    keys->numbers[at] = ++keys->count;
    *out = keys->count - 1;
    return HK_OK;
}

static bool is_listed(const struct by *by, uint32_t pair) {
    uint32_t name = ((const struct hk_pair *)hk_grow_at(&by->view->pairs, pair))->name;
    for (uint32_t i = 0; i < by->name_count; i++) {
        if (by->names[i] == name) return true;
    }
    return false;
}

/* The pairs of a set that make its key. */
static uint32_t pick(struct by *by, const uint32_t *set, uint32_t *out) {
    if (by->with && by->name_count == 1 && by->place < set[0] &&
        is_listed(by, set[1 + by->place])) {
        out[0] = set[1 + by->place];
        return 1;
    }
    uint32_t count = 0;
    for (uint32_t i = 0; i < set[0]; i++) {
        if (is_listed(by, set[1 + i]) != by->with) continue;
        by->place = i;
        out[count++] = set[1 + i];
    }
    return count;
}

static hk_err group_refs(
    struct by *by, const uint32_t *refs, uint32_t count, struct keys *keys, uint32_t *numbers) {
    enum { AHEAD = 8 };
    uint32_t last[HK_LABELS_MAX];
    uint32_t ids[HK_LABELS_MAX];
    uint32_t last_count = UINT32_MAX;
    for (uint32_t i = 0; i < count; i++) {
        if (i + AHEAD < count) {
            __builtin_prefetch(hk_view_set(by->view, refs[i + AHEAD]));
        }
        const uint32_t *set = hk_view_set(by->view, refs[i]);
        uint32_t picked = pick(by, set, ids);
        /* Neighbours in the order of labels are often of one group. */
        if (picked == last_count && memcmp(ids, last, picked * sizeof(ids[0])) == 0) {
            numbers[i] = numbers[i - 1];
            continue;
        }
        HK_TRY(number_of(keys, hk_hash128(ids, picked * sizeof(ids[0])), &numbers[i]));
        memcpy(last, ids, picked * sizeof(ids[0]));
        last_count = picked;
    }
    return HK_OK;
}

hk_err hk_view_group(
    const struct hk_directory_view *view, const uint32_t *refs, uint32_t count,
    const struct hk_str *names, uint32_t name_count, bool with, struct hk_arena *arena,
    uint32_t **out_numbers, uint32_t *out_count) {
    struct by by = { .view = view, .with = with };
    struct keys keys = { .arena = arena };
    uint32_t *numbers = hk_arena_alloc(arena, count, sizeof(numbers[0]));
    by.names = hk_arena_alloc_raw(arena, name_count, sizeof(by.names[0]));
    if (numbers == NULL || by.names == NULL) return HK_E_NOMEM;
    for (uint32_t i = 0; i < name_count; i++) {
        uint32_t name = hk_view_find_name(view, names[i]);
        if (name != HK_ID_NONE) by.names[by.name_count++] = name;
    }
    *out_numbers = numbers;
    *out_count = count > 0;
    if (with && by.name_count == 0) return HK_OK; /* one group, numbered 0 */
    HK_TRY(group_refs(&by, refs, count, &keys, numbers));
    *out_count = keys.count;
    return HK_OK;
}
