/*
 * Sorting many series by labels without comparing strings each time: pairs get numbers in their
 * order, sets become integers made of these numbers, and integers are sorted by their bytes. What
 * does not fit into the integers is compared.
 */
#include "base/mem.h"
#include "store/directory_internal.h"
#include "store/radix.h"

#include <stdlib.h>

struct ranking {
    struct hk_directory_view *view;
    uint32_t pair_count, name_count;
    uint32_t *name_rank;
    uint32_t *pair_rank;
    struct hk_radix_item *items; /* room for the larger of pairs and refs */
    uint64_t *bitmap;            /* over pair ranks */
    uint32_t *before;            /* bits set before each word */
};

static struct hk_str name_at(const struct hk_directory_view *view, uint32_t name) {
    return *(const struct hk_str *)hk_grow_at(&view->names, name);
}

static const struct hk_pair *pair_at(const struct hk_directory_view *view, uint32_t pair) {
    return hk_grow_at(&view->pairs, pair);
}

static struct hk_str value_at(const struct hk_directory_view *view, uint32_t id) {
    const struct hk_pair *pair = pair_at(view, id);
    return (struct hk_str){ pair->value, pair->value_len };
}

/* ------------------------------------------------------------------ names and pairs */

static int order_names(const void *a, const void *b, void *self) {
    const struct hk_directory_view *view = self;
    return hk_str_cmp(
        name_at(view, ((const struct hk_radix_item *)a)->id),
        name_at(view, ((const struct hk_radix_item *)b)->id));
}

static void rank_names(struct ranking *ranking) {
    uint32_t count = ranking->name_count;
    for (uint32_t i = 0; i < count; i++)
        ranking->items[i].id = i;
    if (count > 1)
        qsort_r(ranking->items, count, sizeof(ranking->items[0]), order_names, ranking->view);
    for (uint32_t i = 0; i < count; i++)
        ranking->name_rank[ranking->items[i].id] = i;
}

static int order_values(const void *a, const void *b, void *self) {
    const struct hk_directory_view *view = self;
    return hk_str_cmp(
        value_at(view, ((const struct hk_radix_item *)a)->id),
        value_at(view, ((const struct hk_radix_item *)b)->id));
}

/* Eight bytes of `text` from `from` on as a number that orders as they do. */
static uint64_t eight_bytes(struct hk_str text, size_t from) {
    uint64_t key = 0;
    if (text.len >= from + sizeof(key)) {
        memcpy(&key, text.ptr + from, sizeof(key));
        return __builtin_bswap64(key);
    }
    for (size_t i = from; i < text.len; i++)
        key |= (uint64_t)(unsigned char)text.ptr[i] << (56 - 8 * (i - from));
    return key;
}

/* Length of what all values of the items begin with. */
static size_t common_prefix(
    const struct hk_directory_view *view, const struct hk_radix_item *items, uint32_t count) {
    struct hk_str first = value_at(view, items[0].id);
    size_t common = first.len;
    for (uint32_t i = 1; i < count && common > 0; i++) {
        struct hk_str text = value_at(view, items[i].id);
        size_t same = 0;
        size_t end = common < text.len ? common : text.len;
        while (same < end && text.ptr[same] == first.ptr[same])
            same++;
        common = same;
    }
    return common;
}

/* Sorts items of equal keys with `order`. */
static void sort_runs(
    struct hk_directory_view *view, struct hk_radix_item *items, uint32_t count,
    int (*order)(const void *, const void *, void *)) {
    for (uint32_t i = 0; i < count;) {
        uint32_t end = i + 1;
        while (end < count && items[end].key == items[i].key)
            end++;
        if (end - i > 1) qsort_r(items + i, end - i, sizeof(items[0]), order, view);
        i = end;
    }
}

/* Sorts the pairs of one name by value. */
static hk_err
sort_values(struct hk_directory_view *view, struct hk_radix_item *items, uint32_t count) {
    if (count < 2) return HK_OK;
    size_t common = common_prefix(view, items, count);
    for (uint32_t i = 0; i < count; i++)
        items[i].key = eight_bytes(value_at(view, items[i].id), common);
    HK_TRY(hk_radix_sort_items(items, count));
    sort_runs(view, items, count, order_values);
    return HK_OK;
}

static hk_err rank_pairs(struct ranking *ranking) {
    const struct hk_directory_view *view = ranking->view;
    struct hk_radix_item *items = ranking->items;
    rank_names(ranking);
    for (uint32_t i = 0; i < ranking->pair_count; i++) {
        items[i].key = ranking->name_rank[pair_at(view, i)->name];
        items[i].id = i;
    }
    HK_TRY(hk_radix_sort_items(items, ranking->pair_count));
    for (uint32_t i = 0; i < ranking->pair_count;) {
        uint32_t end = i + 1;
        while (end < ranking->pair_count && items[end].key == items[i].key)
            end++;
        HK_TRY(sort_values(ranking->view, items + i, end - i));
        i = end;
    }
    for (uint32_t i = 0; i < ranking->pair_count; i++)
        ranking->pair_rank[items[i].id] = i;
    return HK_OK;
}

/* ------------------------------------------------------------------ sets */

/* Marks the pairs at `place` of the sets; gives how many distinct ones there are. */
static uint32_t mark_place(struct ranking *ranking, uint32_t count, uint32_t place) {
    size_t words = (size_t)ranking->pair_count / 64 + 1;
    memset(ranking->bitmap, 0, words * sizeof(ranking->bitmap[0]));
    for (uint32_t i = 0; i < count; i++) {
        const uint32_t *set = hk_view_set(ranking->view, ranking->items[i].id);
        if (place >= set[0]) continue;
        uint32_t rank = ranking->pair_rank[set[1 + place]];
        ranking->bitmap[rank >> 6] |= 1ULL << (rank & 63);
    }
    uint32_t distinct = 0;
    for (size_t i = 0; i < words; i++) {
        ranking->before[i] = distinct;
        distinct += (uint32_t)__builtin_popcountll(ranking->bitmap[i]);
    }
    return distinct;
}

/* Appends the number among the marked pairs to the keys; 0 for sets that have ended. */
static void append_place(struct ranking *ranking, uint32_t count, uint32_t place, unsigned bits) {
    for (uint32_t i = 0; i < count; i++) {
        const uint32_t *set = hk_view_set(ranking->view, ranking->items[i].id);
        uint64_t number = 0;
        if (place < set[0]) {
            uint32_t rank = ranking->pair_rank[set[1 + place]];
            uint64_t below = ranking->bitmap[rank >> 6] & ((1ULL << (rank & 63)) - 1);
            number = 1 + ranking->before[rank >> 6] + (uint32_t)__builtin_popcountll(below);
        }
        ranking->items[i].key = ranking->items[i].key << bits | number;
    }
}

static int order_sets(const void *a, const void *b, void *self) {
    const struct hk_directory_view *view = self;
    return hk_view_compare(
        view, ((const struct hk_radix_item *)a)->id, ((const struct hk_radix_item *)b)->id);
}

static hk_err sort_sets(struct ranking *ranking, uint32_t *refs, uint32_t count) {
    struct hk_radix_item *items = ranking->items;
    uint32_t longest = 0;
    for (uint32_t i = 0; i < count; i++) {
        items[i] = (struct hk_radix_item){ 0, refs[i] };
        uint32_t len = hk_view_set(ranking->view, refs[i])[0];
        if (len > longest) longest = len;
    }
    unsigned used = 0;
    uint32_t place = 0;
    for (; place < longest; place++) {
        uint32_t distinct = mark_place(ranking, count, place);
        unsigned bits = 32U - (unsigned)__builtin_clz(distinct | 1);
        if (used + bits > 64) break;
        append_place(ranking, count, place, bits);
        used += bits;
    }
    HK_TRY(hk_radix_sort_items(items, count));
    if (place < longest) sort_runs(ranking->view, items, count, order_sets);
    for (uint32_t i = 0; i < count; i++)
        refs[i] = items[i].id;
    return HK_OK;
}

hk_err hk_view_rank_sort(struct hk_directory_view *view, uint32_t *refs, uint32_t count) {
    struct ranking ranking = { .view = view };
    ranking.pair_count = atomic_load_explicit(&view->pair_count, memory_order_acquire);
    ranking.name_count = atomic_load_explicit(&view->name_count, memory_order_acquire);
    size_t words = (size_t)ranking.pair_count / 64 + 1;
    size_t room = (size_t)(count > ranking.pair_count ? count : ranking.pair_count);
    if (room < ranking.name_count) room = ranking.name_count;
    uint32_t *name_rank HK_CLEANUP(hk_mem_free_at) =
        hk_mem_alloc((size_t)ranking.name_count + 1, sizeof(uint32_t));
    uint32_t *pair_rank HK_CLEANUP(hk_mem_free_at) =
        hk_mem_alloc((size_t)ranking.pair_count + 1, sizeof(uint32_t));
    struct hk_radix_item *items HK_CLEANUP(hk_mem_free_at) =
        hk_mem_resize(NULL, room + 1, sizeof(*items));
    uint64_t *bitmap HK_CLEANUP(hk_mem_free_at) = hk_mem_alloc(words, sizeof(uint64_t));
    uint32_t *before HK_CLEANUP(hk_mem_free_at) = hk_mem_alloc(words, sizeof(uint32_t));
    if (name_rank == NULL || pair_rank == NULL || items == NULL || bitmap == NULL ||
        before == NULL) {
        return HK_E_NOMEM;
    }
    ranking.name_rank = name_rank;
    ranking.pair_rank = pair_rank;
    ranking.items = items;
    ranking.bitmap = bitmap;
    ranking.before = before;
    HK_TRY(rank_pairs(&ranking));
    return sort_sets(&ranking, refs, count);
}
