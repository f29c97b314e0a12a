/*
 * Label index: which series have a pair. An immutable index covers the series up to a count; the
 * newer ones are matched one by one, and a worker builds a new index when they are many, or when
 * queries have spent more on them than a new index costs. So a
 * creator does no index work, and a reader takes the lock only to pin the current index.
 */
#include "store/directory_internal.h"

enum { INDEX_LAG_MIN = 4096, INDEX_COST = 4, CANCEL_EVERY = 4096 };

void hk_label_index_free(struct hk_label_index *index) {
    if (index == NULL) return;
    hk_mem_free(index->postings_at);
    hk_mem_free(index->postings);
    hk_mem_free(index->counts);
    hk_mem_free(index->name_at);
    hk_mem_free(index->name_pairs);
    hk_mem_free(index->rank);
    hk_mem_free(index);
}

static unsigned varint_bytes(uint32_t value) {
    return 1U + (value >= 1U << 7) + (value >= 1U << 14) + (value >= 1U << 21) +
           (value >= 1U << 28);
}

static bool is_covered(const uint64_t *covered, uint32_t ref) {
    return (covered[ref >> 6] >> (ref & 63) & 1) != 0;
}

static void size_postings(
    const struct hk_directory_view *view, struct hk_label_index *index, const uint64_t *covered,
    uint32_t *last) {
    for (uint32_t ref = 0; ref < index->ref_end; ref++) {
        if (!is_covered(covered, ref)) continue;
        const uint32_t *set = hk_view_set(view, ref);
        for (uint32_t i = 1; i <= set[0]; i++) {
            uint32_t pair = set[i];
            index->postings_at[pair + 1] += varint_bytes(ref + 1 - last[pair]);
            last[pair] = ref + 1;
            index->counts[pair]++;
        }
    }
    for (uint32_t pair = 0; pair < index->pairs; pair++) {
        index->postings_at[pair + 1] += index->postings_at[pair];
    }
}

static void fill_postings(
    const struct hk_directory_view *view, struct hk_label_index *index, const uint64_t *covered,
    uint32_t *last, uint64_t *at) {
    memcpy(at, index->postings_at, (size_t)index->pairs * sizeof(at[0]));
    memset(last, 0, (size_t)index->pairs * sizeof(last[0]));
    for (uint32_t ref = 0; ref < index->ref_end; ref++) {
        if (!is_covered(covered, ref)) continue;
        const uint32_t *set = hk_view_set(view, ref);
        for (uint32_t i = 1; i <= set[0]; i++) {
            uint32_t pair = set[i];
            uint32_t delta = ref + 1 - last[pair];
            last[pair] = ref + 1;
            uint8_t *to = index->postings + at[pair];
            while (delta >= 0x80) {
                *to++ = (uint8_t)(delta | 0x80);
                delta >>= 7;
            }
            *to++ = (uint8_t)delta;
            at[pair] = (uint64_t)(to - index->postings);
        }
    }
}

static void group_by_name(const struct hk_directory_view *view, struct hk_label_index *index) {
    for (uint32_t i = 0; i < index->pairs; i++) {
        const struct hk_pair *pair = hk_grow_at(&view->pairs, i);
        index->name_at[pair->name + 1]++;
    }
    for (uint32_t i = 0; i < index->names; i++)
        index->name_at[i + 1] += index->name_at[i];
    /* Fill backwards so that name_at[name + 1] ends as the start of the next name. */
    for (uint32_t i = index->pairs; i > 0; i--) {
        const struct hk_pair *pair = hk_grow_at(&view->pairs, i - 1);
        index->name_pairs[--index->name_at[pair->name + 1]] = i - 1;
    }
    for (uint32_t i = 0; i < index->names; i++)
        index->name_at[i] = index->name_at[i + 1];
    index->name_at[index->names] = index->pairs;
}

/* Bitmap of the refs that the index covers. */
static uint64_t *make_covered(const struct hk_directory_view *view, struct hk_label_index *index) {
    /* Definitions first: their refs, pairs and names are then below the counts read after. */
    index->series = atomic_load_explicit(&view->set_count, memory_order_acquire);
    index->ref_end = hk_directory_count(view->directory);
    index->pairs = atomic_load_explicit(&view->pair_count, memory_order_acquire);
    index->names = atomic_load_explicit(&view->name_count, memory_order_acquire);
    uint64_t *covered = hk_mem_alloc((size_t)index->ref_end / 64 + 1, sizeof(uint64_t));
    for (uint32_t i = 0; covered != NULL && i < index->series; i++) {
        uint32_t ref = *(const uint32_t *)hk_grow_at(&view->order, i);
        covered[ref >> 6] |= 1ULL << (ref & 63);
    }
    return covered;
}

static hk_err build(struct hk_directory_view *view, struct hk_label_index *index) {
    uint64_t *covered HK_CLEANUP(hk_mem_free_at) = make_covered(view, index);
    index->postings_at = hk_mem_alloc((size_t)index->pairs + 1, sizeof(uint64_t));
    index->counts = hk_mem_alloc(index->pairs, sizeof(uint32_t));
    index->name_at = hk_mem_alloc((size_t)index->names + 2, sizeof(uint32_t));
    index->name_pairs = hk_mem_alloc(index->pairs, sizeof(uint32_t));
    uint32_t *last HK_CLEANUP(hk_mem_free_at) = hk_mem_alloc(index->pairs, sizeof(uint32_t));
    uint64_t *at HK_CLEANUP(hk_mem_free_at) = hk_mem_alloc(index->pairs, sizeof(uint64_t));
    if (covered == NULL || index->postings_at == NULL || index->counts == NULL ||
        index->name_at == NULL || index->name_pairs == NULL || last == NULL || at == NULL) {
        return HK_E_NOMEM;
    }
    size_postings(view, index, covered, last);
    index->postings = hk_mem_resize(NULL, index->postings_at[index->pairs] + 1, 1);
    if (index->postings == NULL) return HK_E_NOMEM;
    fill_postings(view, index, covered, last, at);
    group_by_name(view, index);
    index->bytes =
        index->postings_at[index->pairs] + (uint64_t)index->pairs * 16 + (uint64_t)index->names * 4;
    return HK_OK;
}

hk_err hk_view_index(
    struct hk_directory_view *view, const struct hk_label_index *old, struct hk_label_index **out) {
    struct hk_label_index *index = hk_mem_alloc(1, sizeof(*index));
    if (index == NULL) return HK_E_NOMEM;
    hk_err err = build(view, index);
    if (err >= 0) err = hk_view_rank(view, old, index);
    if (err < 0) {
        hk_label_index_free(index);
        return err;
    }
    *out = index;
    return HK_OK;
}

hk_err hk_directory_index(struct hk_directory *directory) {
    struct hk_directory_view *view = hk_view_now(directory);
    struct hk_label_index *old = view->index;
    uint32_t count = atomic_load_explicit(&view->set_count, memory_order_acquire);
    uint64_t missed = atomic_load_explicit(&view->index_missed, memory_order_relaxed);
    if (old != NULL) {
        bool is_new_enough = count - old->series < INDEX_LAG_MIN + old->series / 4 &&
                             missed < (uint64_t)count * INDEX_COST;
        if (is_new_enough || count == old->series) return HK_OK;
    }
    atomic_store_explicit(&view->index_missed, 0, memory_order_relaxed);
    struct hk_label_index *index = NULL;
    HK_TRY(hk_view_index(view, old, &index));
    hk_rwlock_write(&view->index_lock); /* readers hold it during a select */
    view->index = index;
    hk_rwlock_unlock(&view->index_lock);
    hk_label_index_free(old);
    return HK_OK;
}

/* One matcher made ready: the pairs it accepts among the pairs of its label name. */
struct ready {
    const struct hk_matcher *matcher;
    uint32_t name; /* name id, HK_ID_NONE when no series has the label */
    bool accepts_absent;
    bool is_single; /* exactly one accepted pair: `single` (HK_ID_NONE: none) */
    uint32_t single;
    uint64_t *accepted; /* bitmap over pair ids, unless is_single */
    uint64_t postings;  /* refs in the accepted pairs' postings */
};

struct select {
    struct hk_directory_view *view;
    const struct hk_label_index *index;
    struct ready *ready;
    uint32_t ready_count;
    const _Atomic bool *cancel;
    struct hk_arena *arena;
    uint32_t pair_count, series_count, series_max;
    uint32_t *refs;
    uint32_t count, capacity;
};

static bool is_cancelled(const struct select *select) {
    return select->cancel != NULL && atomic_load_explicit(select->cancel, memory_order_relaxed);
}

static void accept_pair(struct select *select, struct ready *ready, uint32_t id) {
    const struct hk_pair *pair = hk_grow_at(&select->view->pairs, id);
    struct hk_str value = { pair->value, pair->value_len };
    if (pair->name != ready->name || !hk_matcher_accepts(ready->matcher, value)) return;
    ready->accepted[id >> 6] |= 1ULL << (id & 63);
    if (id < select->index->pairs) ready->postings += select->index->counts[id];
}

static hk_err make_ready(struct select *select, struct ready *ready) {
    const struct hk_matcher *matcher = ready->matcher;
    ready->accepts_absent = hk_matcher_accepts(matcher, HK_STR(""));
    ready->name = hk_view_find_name(select->view, matcher->name);
    if (ready->name == HK_ID_NONE) {
        ready->is_single = true;
        ready->single = HK_ID_NONE;
        return HK_OK;
    }
    if (matcher->type == HK_MATCH_EQUAL && matcher->value.len > 0) {
        ready->is_single = true;
        ready->single = hk_view_find_pair(select->view, ready->name, matcher->value);
        if (ready->single != HK_ID_NONE && ready->single < select->index->pairs) {
            ready->postings = select->index->counts[ready->single];
        }
        return HK_OK;
    }
    size_t words = (size_t)select->pair_count / 64 + 1;
    ready->accepted = hk_arena_alloc(select->arena, words, sizeof(uint64_t));
    if (ready->accepted == NULL) return HK_E_NOMEM;
    const struct hk_label_index *index = select->index;
    if (ready->name < index->names) {
        for (uint32_t i = index->name_at[ready->name]; i < index->name_at[ready->name + 1]; i++) {
            accept_pair(select, ready, index->name_pairs[i]);
            if (i % CANCEL_EVERY == 0 && is_cancelled(select)) return HK_E_CANCELED;
        }
    }
    for (uint32_t id = index->pairs; id < select->pair_count; id++)
        accept_pair(select, ready, id);
    return HK_OK;
}

static bool
ready_accepts(const struct select *select, const struct ready *ready, const uint32_t *set) {
    if (ready->is_single) {
        if (ready->single == HK_ID_NONE && !ready->accepts_absent) return false;
        for (uint32_t i = 1; i <= set[0] && ready->single != HK_ID_NONE; i++) {
            if (set[i] == ready->single) return true;
        }
        if (ready->single != HK_ID_NONE) return false;
        return true; /* nobody has the label and absence is accepted */
    }
    for (uint32_t i = 1; i <= set[0]; i++) {
        const struct hk_pair *pair = hk_grow_at(&select->view->pairs, set[i]);
        if (pair->name != ready->name) continue;
        return set[i] < select->pair_count &&
               (ready->accepted[set[i] >> 6] >> (set[i] & 63) & 1) != 0;
    }
    return ready->accepts_absent;
}

static hk_err consider(struct select *select, uint32_t ref, const struct ready *known) {
    if (hk_series_is_dead(select->view->directory, ref)) return HK_OK;
    const uint32_t *set = hk_view_set(select->view, ref);
    for (uint32_t i = 0; i < select->ready_count; i++) {
        if (&select->ready[i] == known) continue;
        if (!ready_accepts(select, &select->ready[i], set)) return HK_OK;
    }
    if (select->series_max > 0 && select->count >= select->series_max) {
        return hk_fail(HK_E_LIMIT, "selector matches more than %u series", select->series_max);
    }
    if (select->count == select->capacity) {
        uint32_t capacity = select->capacity == 0 ? 64 : select->capacity * 2;
        uint32_t *grown = hk_arena_alloc_raw(select->arena, capacity, sizeof(uint32_t));
        if (grown == NULL) return HK_E_NOMEM;
        if (select->count > 0)
            memcpy(grown, select->refs, (size_t)select->count * sizeof(grown[0]));
        select->refs = grown;
        select->capacity = capacity;
    }
    select->refs[select->count++] = ref;
    return HK_OK;
}

static hk_err scan_pair(struct select *select, const struct ready *by, uint32_t pair) {
    const struct hk_label_index *index = select->index;
    if (pair >= index->pairs) return HK_OK;
    const uint8_t *at = index->postings + index->postings_at[pair];
    const uint8_t *end = index->postings + index->postings_at[pair + 1];
    uint32_t next = 0;
    uint32_t steps = 0;
    while (at < end) {
        uint32_t delta = 0;
        for (unsigned shift = 0;; shift += 7) {
            uint8_t byte = *at++;
            delta |= (uint32_t)(byte & 0x7f) << shift;
            if (byte < 0x80) break;
        }
        next += delta;
        HK_TRY(consider(select, next - 1, by));
        if (++steps % CANCEL_EVERY == 0 && is_cancelled(select)) return HK_E_CANCELED;
    }
    return HK_OK;
}

/* All definitions in [from, to). */
static hk_err scan_order(struct select *select, uint32_t from, uint32_t to) {
    for (uint32_t i = from; i < to; i++) {
        HK_TRY(consider(select, *(const uint32_t *)hk_grow_at(&select->view->order, i), NULL));
        if (i % CANCEL_EVERY == 0 && is_cancelled(select)) return HK_E_CANCELED;
    }
    return HK_OK;
}

static hk_err scan_indexed(struct select *select) {
    const struct ready *best = NULL;
    for (uint32_t i = 0; i < select->ready_count; i++) {
        const struct ready *ready = &select->ready[i];
        if (!ready->accepts_absent && (best == NULL || ready->postings < best->postings)) {
            best = ready;
        }
    }
    if (best == NULL) return scan_order(select, 0, select->index->series);
    if (best->is_single) {
        return best->single == HK_ID_NONE ? HK_OK : scan_pair(select, best, best->single);
    }
    const struct hk_label_index *index = select->index;
    if (best->name >= index->names) return HK_OK;
    for (uint32_t i = index->name_at[best->name]; i < index->name_at[best->name + 1]; i++) {
        uint32_t pair = index->name_pairs[i];
        if ((best->accepted[pair >> 6] >> (pair & 63) & 1) == 0) continue;
        HK_TRY(scan_pair(select, best, pair));
    }
    /* A series has a name once, so it came once. */
    return HK_OK;
}

static hk_err run(struct select *select) {
    for (uint32_t i = 0; i < select->ready_count; i++) {
        HK_TRY(make_ready(select, &select->ready[i]));
    }
    HK_TRY(scan_indexed(select));
    hk_label_index_miss(select->view, select->series_count - select->index->series);
    return scan_order(select, select->index->series, select->series_count);
}

hk_err hk_view_select(
    struct hk_directory_view *view, const struct hk_matcher *matchers, uint32_t matcher_count,
    uint32_t series_max, const _Atomic bool *cancel, struct hk_arena *arena, uint32_t **out_refs,
    uint32_t *out_count) {
    struct ready *ready = hk_arena_alloc(arena, matcher_count, sizeof(*ready));
    if (ready == NULL) return HK_E_NOMEM;
    for (uint32_t i = 0; i < matcher_count; i++)
        ready[i].matcher = &matchers[i];
    struct select select = {
        .view = view,
        .ready = ready,
        .ready_count = matcher_count,
        .cancel = cancel,
        .arena = arena,
        .series_max = series_max,
    };
    select.series_count = atomic_load_explicit(&view->set_count, memory_order_acquire);
    select.pair_count = atomic_load_explicit(&view->pair_count, memory_order_acquire);
    hk_rwlock_read(&view->index_lock);
    select.index = view->index;
    hk_err err = run(&select);
    hk_rwlock_unlock(&view->index_lock);
    if (err < 0) return err;
    *out_refs = select.refs;
    *out_count = select.count;
    return HK_OK;
}
