/*
 * Order of series by labels. The index keeps the rank of every series it covers, so that sorting
 * refs is sorting integers; series created since are compared by their labels.
 */
#include "store/directory_internal.h"
#include "store/radix.h"

#include <stdlib.h>

enum { MANY_MIN = 1024 };

/* As hk_labels_cmp; equal pair ids need no look at strings. */
static int
compare_sets(const struct hk_directory_view *view, const uint32_t *a, const uint32_t *b) {
    uint32_t shorter = a[0] < b[0] ? a[0] : b[0];
    for (uint32_t i = 1; i <= shorter; i++) {
        if (a[i] == b[i]) continue;
        const struct hk_pair *left = hk_grow_at(&view->pairs, a[i]);
        const struct hk_pair *right = hk_grow_at(&view->pairs, b[i]);
        if (left->name != right->name) {
            const struct hk_str *left_name = hk_grow_at(&view->names, left->name);
            const struct hk_str *right_name = hk_grow_at(&view->names, right->name);
            return hk_str_cmp(*left_name, *right_name);
        }
        struct hk_str left_value = { left->value, left->value_len };
        struct hk_str right_value = { right->value, right->value_len };
        return hk_str_cmp(left_value, right_value);
    }
    return (a[0] > b[0]) - (a[0] < b[0]);
}

int hk_view_compare(const struct hk_directory_view *view, uint32_t left, uint32_t right) {
    return compare_sets(view, hk_view_set(view, left), hk_view_set(view, right));
}

static int order_refs(const void *a, const void *b, void *self) {
    const struct hk_directory_view *view = self;
    uint32_t left = *(const uint32_t *)a;
    uint32_t right = *(const uint32_t *)b;
    if (left == right) return 0;
    return compare_sets(view, hk_view_set(view, left), hk_view_set(view, right));
}

/* Merges two runs that are sorted by labels into `out`. */
static void merge(
    struct hk_directory_view *view, const uint32_t *left, uint32_t left_count,
    const uint32_t *right, uint32_t right_count, uint32_t *out) {
    uint32_t i = 0;
    uint32_t k = 0;
    for (uint32_t at = 0; at < left_count + right_count; at++) {
        bool take_left =
            k == right_count || (i < left_count && order_refs(&left[i], &right[k], view) <= 0);
        out[at] = take_left ? left[i++] : right[k++];
    }
}

static uint32_t rank_of(const struct hk_label_index *index, uint32_t ref) {
    return index != NULL && ref < index->ref_end ? index->rank[ref] : HK_ID_NONE;
}

/* Refs that the old index ranks in its order (`out_known` has a place per rank), and the others as
 * they were defined. Gives the number of known ones. */
static uint32_t split(
    const struct hk_directory_view *view, const struct hk_label_index *old,
    const struct hk_label_index *index, uint32_t *out_known, uint32_t *out_added) {
    uint32_t ranks = old == NULL ? 0 : old->series;
    uint32_t added = 0;
    uint32_t known = 0;
    memset(out_known, 0xff, (size_t)ranks * sizeof(out_known[0])); /* HK_ID_NONE */
    for (uint32_t i = 0; i < index->series; i++) {
        uint32_t ref = *(const uint32_t *)hk_grow_at(&view->order, i);
        uint32_t rank = rank_of(old, ref);
        if (rank == HK_ID_NONE)
            out_added[added++] = ref;
        else
            out_known[rank] = ref;
    }
    for (uint32_t i = 0; i < ranks; i++) {
        if (out_known[i] != HK_ID_NONE) out_known[known++] = out_known[i];
    }
    return known;
}

hk_err hk_view_rank(
    struct hk_directory_view *view, const struct hk_label_index *old,
    struct hk_label_index *index) {
    size_t count = (size_t)index->series + 1;
    size_t ranks = old == NULL ? 1 : (size_t)old->series + 1;
    index->rank = hk_mem_alloc((size_t)index->ref_end + 1, sizeof(uint32_t));
    uint32_t *before HK_CLEANUP(hk_mem_free_at) = hk_mem_alloc(ranks, sizeof(uint32_t));
    uint32_t *added HK_CLEANUP(hk_mem_free_at) = hk_mem_alloc(count, sizeof(uint32_t));
    uint32_t *all HK_CLEANUP(hk_mem_free_at) = hk_mem_alloc(count, sizeof(uint32_t));
    if (index->rank == NULL || before == NULL || added == NULL || all == NULL) return HK_E_NOMEM;
    uint32_t known = split(view, old, index, before, added);
    uint32_t fresh = index->series - known;
    if (fresh > MANY_MIN && fresh > index->pairs / 8)
        HK_TRY(hk_view_rank_sort(view, added, fresh));
    else if (fresh > 1)
        qsort_r(added, fresh, sizeof(added[0]), order_refs, view);
    merge(view, before, known, added, fresh, all);
    memset(index->rank, 0xff, (size_t)index->ref_end * sizeof(uint32_t)); /* HK_ID_NONE */
    for (uint32_t i = 0; i < index->series; i++)
        index->rank[all[i]] = i;
    return HK_OK;
}

hk_err hk_view_sort(struct hk_directory_view *view, uint32_t *refs, uint32_t count) {
    if (count < 2) return HK_OK;
    uint64_t *keys HK_CLEANUP(hk_mem_free_at) = hk_mem_resize(NULL, count, sizeof(uint64_t));
    uint32_t *newer HK_CLEANUP(hk_mem_free_at) = hk_mem_resize(NULL, count, sizeof(uint32_t));
    uint32_t *ranked HK_CLEANUP(hk_mem_free_at) = hk_mem_resize(NULL, count, sizeof(uint32_t));
    if (keys == NULL || newer == NULL || ranked == NULL) return HK_E_NOMEM;
    uint32_t key_count = 0;
    uint32_t newer_count = 0;
    hk_rwlock_read(&view->index_lock);
    const struct hk_label_index *index = view->index;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t rank = rank_of(index, refs[i]);
        if (rank != HK_ID_NONE) {
            keys[key_count++] = (uint64_t)rank << 32 | refs[i];
        } else {
            newer[newer_count++] = refs[i];
        }
    }
    hk_rwlock_unlock(&view->index_lock);
    hk_label_index_miss(view, newer_count * 16ULL); /* each is compared about so often */
    HK_TRY(hk_radix_sort(keys, key_count, 32));
    for (uint32_t i = 0; i < key_count; i++)
        ranked[i] = (uint32_t)keys[i];
    if (newer_count > 1) qsort_r(newer, newer_count, sizeof(newer[0]), order_refs, view);
    merge(view, ranked, key_count, newer, newer_count, refs);
    return HK_OK;
}
