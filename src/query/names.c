/* Labels of results: dropping, picking, hashing. Lists of names are sorted, so one pass suffices.
 */
#include "query/eval_internal.h"

#include "lang/text.h"

#include <stdlib.h>

static hk_err map_grow(struct eval *eval, struct label_map *map) {
    struct label_map bigger = { .capacity = map->capacity == 0 ? 64 : map->capacity * 2 };
    bigger.keys = hk_arena_alloc_raw(eval->arena, bigger.capacity, sizeof(bigger.keys[0]));
    bigger.numbers = hk_arena_alloc(eval->arena, bigger.capacity, sizeof(bigger.numbers[0]));
    if (bigger.keys == NULL || bigger.numbers == NULL) return hk_ev_nomem(eval);
    for (uint32_t i = 0; i < map->capacity; i++) {
        if (map->numbers[i] == 0) continue;
        uint32_t at = (uint32_t)map->keys[i].low & (bigger.capacity - 1);
        while (bigger.numbers[at] != 0)
            at = (at + 1) & (bigger.capacity - 1);
        bigger.keys[at] = map->keys[i];
        bigger.numbers[at] = map->numbers[i];
    }
    bigger.count = map->count;
    *map = bigger;
    return HK_OK;
}

hk_err hk_ev_map(
    struct eval *eval, struct label_map *map, struct hk_hash128 key, uint32_t number,
    uint32_t *out_number, bool *out_new) {
    if ((uint64_t)map->count * 2 >= map->capacity) HK_TRY(map_grow(eval, map));
    uint32_t at = (uint32_t)key.low & (map->capacity - 1);
    for (; map->numbers[at] != 0; at = (at + 1) & (map->capacity - 1)) {
        if (map->keys[at].low != key.low || map->keys[at].high != key.high) continue;
        *out_number = map->numbers[at] - 1;
        *out_new = false;
        return HK_OK;
    }
    map->keys[at] = key;
    map->numbers[at] = number + 1;
    map->count++;
    *out_number = number;
    *out_new = true;
    return HK_OK;
}

uint32_t hk_ev_map_find(const struct label_map *map, struct hk_hash128 key) {
    if (map->capacity == 0) return UINT32_MAX;
    uint32_t at = (uint32_t)key.low & (map->capacity - 1);
    for (; map->numbers[at] != 0; at = (at + 1) & (map->capacity - 1)) {
        if (map->keys[at].low == key.low && map->keys[at].high == key.high)
            return map->numbers[at] - 1;
    }
    return UINT32_MAX;
}

/* 0 __name__, 1 __type__, 2 __unit__, -1 another label. */
static int metadata_kind(struct hk_str name) {
    if (name.len != 8 || name.ptr[0] != '_' || name.ptr[1] != '_') return -1;
    if (memcmp(name.ptr, "__name__", 8) == 0) return 0;
    if (memcmp(name.ptr, "__type__", 8) == 0) return 1;
    return memcmp(name.ptr, "__unit__", 8) == 0 ? 2 : -1;
}

hk_err hk_ev_drop_name(
    struct eval *eval, struct hk_labels labels, struct name_drop *drop, struct hk_labels *out) {
    struct hk_str dropped[3] = { { "", 0 }, { "", 0 }, { "", 0 } };
    uint32_t count = 0;
    uint32_t last = 0;
    for (uint32_t i = 0; i < labels.count; i++) {
        int kind = metadata_kind(labels.items[i].name);
        if (kind < 0) continue;
        dropped[kind] = labels.items[i].value;
        count++;
        last = i;
    }
    for (int i = 0; i < 3; i++) {
        if (!drop->any)
            drop->dropped[i] = dropped[i];
        else if (!hk_str_eq(drop->dropped[i], dropped[i]))
            drop->mixed = true;
    }
    drop->any = true;
    if (count == 0) {
        *out = labels;
        return HK_OK;
    }
    if (count == last + 1) {
        *out = (struct hk_labels){ labels.items + count, labels.count - count };
        return HK_OK;
    }
    struct hk_label *items = hk_arena_alloc_raw(eval->arena, labels.count, sizeof(*items));
    if (items == NULL) return hk_ev_nomem(eval);
    uint32_t kept = 0;
    for (uint32_t i = 0; i < labels.count; i++) {
        if (metadata_kind(labels.items[i].name) < 0) items[kept++] = labels.items[i];
    }
    *out = (struct hk_labels){ items, kept };
    return HK_OK;
}

static int name_cmp(const void *a, const void *b) {
    return hk_str_cmp(*(const struct hk_str *)a, *(const struct hk_str *)b);
}

hk_err hk_ev_names_sort(
    struct eval *eval, const struct hk_str *names, uint32_t count, struct hk_str **out,
    uint32_t *out_count) {
    struct hk_str *sorted = hk_arena_alloc_raw(eval->arena, count + 1, sizeof(*sorted));
    if (sorted == NULL) return hk_ev_nomem(eval);
    if (count > 0) memcpy(sorted, names, count * sizeof(*sorted));
    if (count > 1) qsort(sorted, count, sizeof(*sorted), name_cmp);
    uint32_t kept = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (kept == 0 || !hk_str_eq(sorted[kept - 1], sorted[i])) sorted[kept++] = sorted[i];
    }
    *out = sorted;
    *out_count = kept;
    return HK_OK;
}

/* Is the label in the sorted list? `*at` moves on with the labels. */
static bool
is_listed(struct hk_str name, const struct hk_str *names, uint32_t count, uint32_t *at) {
    int order = 1;
    while (*at < count && (order = hk_str_cmp(names[*at], name)) < 0)
        (*at)++;
    return *at < count && order == 0;
}

struct hk_hash128
hk_ev_hash(struct hk_labels labels, const struct hk_str *names, uint32_t count, bool with) {
    struct hk_hash128 hash = { 0, 0 };
    uint32_t at = 0;
    for (uint32_t i = 0; i < labels.count; i++) {
        const struct hk_label *label = &labels.items[i];
        if (with && at == count) break;
        if (is_listed(label->name, names, count, &at) != with) continue;
        /* With a list, the number of the name stands for it. */
        struct hk_hash128 name = { at + 1, 0 };
        if (!with) name = hk_hash128(label->name.ptr, label->name.len);
        hash = hk_hash_mix(hash, name);
        hash = hk_hash_mix(hash, hk_hash128(label->value.ptr, label->value.len));
    }
    return hash;
}

hk_err hk_ev_pick(
    struct eval *eval, struct hk_labels labels, const struct hk_str *names, uint32_t count,
    bool with, struct hk_labels *out) {
    uint32_t room = with && count < labels.count ? count : labels.count;
    struct hk_label *items = hk_arena_alloc_raw(eval->arena, room, sizeof(*items));
    if (items == NULL) return hk_ev_nomem(eval);
    uint32_t kept = 0;
    uint32_t at = 0;
    for (uint32_t i = 0; i < labels.count; i++) {
        if (is_listed(labels.items[i].name, names, count, &at) == with)
            items[kept++] = labels.items[i];
    }
    *out = (struct hk_labels){ items, kept };
    return HK_OK;
}

hk_err hk_ev_labels(struct eval *eval, struct hk_label_set *set, struct hk_labels *out) {
    struct hk_labels made;
    hk_err err = hk_label_set_finish(set, &made);
    if (err < 0) {
        (void)hk_fail_note(HK_E_EXECUTION, "labels of a result");
        return HK_E_EXECUTION;
    }
    struct hk_label *items = hk_arena_alloc_raw(eval->arena, made.count, sizeof(*items));
    if (items == NULL) return hk_ev_nomem(eval);
    if (made.count > 0) memcpy(items, made.items, made.count * sizeof(*items));
    *out = (struct hk_labels){ items, made.count };
    return HK_OK;
}

void hk_ev_print_labels(struct hk_labels labels, struct hk_buf *out) {
    hk_buf_char(out, '{');
    for (uint32_t i = 0; i < labels.count; i++) {
        if (i > 0) hk_buf_text(out, ", ");
        if (hk_name_is_classic(labels.items[i].name, false))
            hk_buf_str(out, labels.items[i].name);
        else
            hk_quote(labels.items[i].name, out);
        hk_buf_char(out, '=');
        hk_quote(labels.items[i].value, out);
    }
    hk_buf_char(out, '}');
}
