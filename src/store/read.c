/*
 * Queries: series from the directory, samples from blocks, tails, late samples and slabs, in this
 * order of precedence, merged by stamp (see store.h, visibility).
 *
 * A selection pins the slabs first and copies the matching records; read() then looks at the tail
 * and at the blocks of a snapshot taken after. So no sample is missed on its way.
 */
#include "store/store_internal.h"

#include "base/mem.h"
#include "model/histogram.h"

#include <stdlib.h>

struct chosen {
    struct hk_directory_view *view; /* keeps refs and strings */
    uint32_t *refs;                 /* in order of labels; HK_REF_NONE: only blocks have it */
    uint32_t count;
    struct hk_labels *labels;
    uint32_t *hit_from;  /* count + 1 offsets into hits */
    int64_t *hit_stamps; /* samples from slabs, by series, in order of arrival */
    double *hit_values;
    struct hk_str *hit_payloads; /* NULL when all are floats */
    struct hk_blockset_snapshot *snapshot;
    struct hk_blockset_series *in_blocks; /* per series, place_count 0 = none */
    int64_t from_ms, to_ms;
    uint64_t flush_epoch; /* of the tails when the snapshot was taken */
    struct hk_slab *slabs[HK_SLABS_MAX + HK_STORE_SHARDS_MAX];
    uint32_t slab_count;
};

/* Pins all slabs, oldest first per shard. */
static void pin_slabs(struct hk_store *store, struct chosen *chosen) {
    hk_mutex_lock(&store->slabs_lock);
    for (uint32_t i = 0; i < store->options.shards; i++) {
        struct hk_store_shard *shard = &store->shards[i];
        for (struct hk_slab *slab = shard->closed_first; slab != NULL; slab = slab->next) {
            chosen->slabs[chosen->slab_count++] = slab;
        }
        chosen->slabs[chosen->slab_count++] = shard->published_open;
    }
    for (uint32_t i = 0; i < chosen->slab_count; i++) {
        atomic_fetch_add_explicit(&chosen->slabs[i]->users, 1, memory_order_relaxed);
    }
    hk_mutex_unlock(&store->slabs_lock);
}

static void unpin_slabs(struct chosen *chosen) {
    for (uint32_t i = 0; i < chosen->slab_count; i++) {
        atomic_fetch_sub_explicit(&chosen->slabs[i]->users, 1, memory_order_release);
    }
    chosen->slab_count = 0;
}

/* Which series of the selection a ref is. */
struct places {
    uint64_t *words;     /* bitmap of the chosen refs */
    uint32_t *series_of; /* by ref, set for the chosen ones only: index in the selection */
    uint32_t ref_end;
};

static hk_err make_places(const struct chosen *chosen, struct hk_arena *arena, struct places *out) {
    uint32_t ref_end = 0;
    for (uint32_t i = 0; i < chosen->count; i++) {
        if (chosen->refs[i] >= ref_end) ref_end = chosen->refs[i] + 1;
    }
    out->ref_end = ref_end;
    out->words = hk_arena_alloc(arena, (size_t)ref_end / 64 + 1, sizeof(uint64_t));
    out->series_of = hk_arena_alloc_raw(arena, ref_end, sizeof(uint32_t));
    if (out->words == NULL || out->series_of == NULL) return HK_E_NOMEM;
    for (uint32_t i = 0; i < chosen->count; i++) {
        uint32_t ref = chosen->refs[i];
        out->words[ref >> 6] |= 1ULL << (ref & 63);
        out->series_of[ref] = i;
    }
    return HK_OK;
}

static inline bool is_chosen(const struct places *places, uint32_t ref) {
    return ref < places->ref_end && (places->words[ref >> 6] >> (ref & 63) & 1) != 0;
}

/* A sample from a slab: a float, or a payload of `bytes` bytes when there are any. */
struct hit {
    int64_t stamp_ms;
    union {
        double value;
        const uint8_t *data;
    };
    uint32_t series, bytes;
};

struct hits {
    struct hit *items;
    size_t count, capacity;
    bool payloads; /* there are some */
    int64_t from_ms, to_ms;
};

static inline hk_err add_hit(struct hits *hits, struct hit hit) {
    if (hit.stamp_ms < hits->from_ms || hit.stamp_ms > hits->to_ms) return HK_OK;
    if (HK_UNLIKELY(hits->count == hits->capacity)) {
        HK_TRY(hk_mem_grow(&hits->items, &hits->capacity, hits->count + 1, sizeof(hit)));
    }
    hits->items[hits->count++] = hit;
    return HK_OK;
}

static hk_err
scan_slab(const struct hk_slab *slab, const struct places *places, struct hits *hits) {
    uint32_t count = atomic_load_explicit(&slab->count, memory_order_acquire);
    const struct hk_record *records = slab->records;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t ref = records[i].ref;
        int64_t stamp_ms = slab->base_ms + records[i].delta_ms;
        if (HK_UNLIKELY(ref == HK_RECORD_FAR)) {
            if (++i == count) break;
            memcpy(&stamp_ms, &records[i - 1].value, sizeof(stamp_ms));
            ref = records[i].ref;
        }
        if (!is_chosen(places, ref)) continue;
        struct hit hit = { .stamp_ms = stamp_ms, .series = places->series_of[ref] };
        hit.value = records[i].value;
        HK_TRY(add_hit(hits, hit));
    }
    uint32_t sides = atomic_load_explicit(&slab->side_count, memory_order_acquire);
    for (uint32_t i = 0; i < sides; i++) {
        const struct hk_side_item *item = &slab->sides[i];
        if (item->kind != HK_SIDE_HISTOGRAM || !is_chosen(places, item->ref)) continue;
        struct hit hit = { .stamp_ms = item->stamp_ms,
                           .series = places->series_of[item->ref],
                           .bytes = item->bytes };
        hit.data = item->data;
        hits->payloads = true;
        HK_TRY(add_hit(hits, hit));
    }
    return HK_OK;
}

/* Samples that came too late for the tails. */
static hk_err
scan_late(const struct hk_store *store, const struct places *places, struct hits *hits) {
    for (size_t i = 0; i < store->late_count; i++) {
        const struct hk_late *late = &store->late[i];
        if (!is_chosen(places, late->ref)) continue;
        struct hit hit = { .stamp_ms = late->stamp_ms, .series = places->series_of[late->ref] };
        hit.value = late->value;
        HK_TRY(add_hit(hits, hit));
    }
    return HK_OK;
}

/* Sorts the hits by series (counting sort, stable) into the selection. */
static hk_err group_hits(struct chosen *chosen, const struct hits *hits, struct hk_arena *arena) {
    chosen->hit_from = hk_arena_alloc(arena, (size_t)chosen->count + 2, sizeof(uint32_t));
    chosen->hit_stamps = hk_arena_alloc_raw(arena, hits->count, sizeof(int64_t));
    chosen->hit_values = hk_arena_alloc_raw(arena, hits->count, sizeof(double));
    if (hits->payloads) {
        chosen->hit_payloads = hk_arena_alloc(arena, hits->count, sizeof(struct hk_str));
        if (chosen->hit_payloads == NULL) return HK_E_NOMEM;
    }
    if (chosen->hit_from == NULL || chosen->hit_stamps == NULL || chosen->hit_values == NULL) {
        return HK_E_NOMEM;
    }
    uint32_t *from = chosen->hit_from;
    for (size_t i = 0; i < hits->count; i++)
        from[hits->items[i].series + 2]++;
    for (uint32_t i = 0; i < chosen->count; i++)
        from[i + 2] += from[i + 1];
    for (size_t i = 0; i < hits->count; i++) {
        const struct hit *hit = &hits->items[i];
        uint32_t at = from[hit->series + 1]++;
        chosen->hit_stamps[at] = hit->stamp_ms;
        chosen->hit_values[at] = hit->bytes > 0 ? 0 : hit->value;
        if (hit->bytes == 0) continue;
        char *copy = hk_arena_alloc_raw(arena, hit->bytes, 1); /* the slab may go before */
        if (copy == NULL) return HK_E_NOMEM;
        memcpy(copy, hit->data, hit->bytes);
        chosen->hit_payloads[at] = (struct hk_str){ copy, hit->bytes };
    }
    return HK_OK;
}

static hk_err scan_slabs(
    struct hk_store *store, const struct hk_select *request, struct chosen *chosen,
    struct hk_arena *arena) {
    struct places places;
    HK_TRY(make_places(chosen, arena, &places));
    struct hits hits = { .from_ms = request->from_ms, .to_ms = request->to_ms };
    hk_rwlock_read(&store->tails_lock);
    hk_err err = scan_late(store, &places, &hits);
    hk_rwlock_unlock(&store->tails_lock);
    for (uint32_t i = 0; i < chosen->slab_count && err >= 0; i++) {
        err = scan_slab(chosen->slabs[i], &places, &hits);
        bool stop =
            request->cancel != NULL && atomic_load_explicit(request->cancel, memory_order_relaxed);
        if (stop && err >= 0) err = HK_E_CANCELED;
    }
    if (err >= 0) err = group_hits(chosen, &hits, arena);
    hk_mem_free(hits.items);
    return err;
}

/* Scratch memory for reading blocks: kept in the store between reads. */
static hk_err take_work(struct hk_store *store, struct hk_block_work **out) {
    hk_mutex_lock(&store->works_lock);
    struct hk_block_work *work = store->work_count > 0 ? store->works[--store->work_count] : NULL;
    hk_mutex_unlock(&store->works_lock);
    if (work == NULL) return hk_block_work_create(out);
    *out = work;
    return HK_OK;
}

static void give_work(struct hk_store *store, struct hk_block_work *work) {
    hk_mutex_lock(&store->works_lock);
    bool kept = store->work_count < HK_COUNT(store->works);
    if (kept) store->works[store->work_count++] = work;
    hk_mutex_unlock(&store->works_lock);
    if (!kept) hk_block_work_destroy(work);
}

static hk_err make_labels(
    const struct chosen *chosen, uint32_t ref, struct hk_arena *arena, struct hk_labels *out) {
    uint32_t count = hk_view_label_count(chosen->view, ref);
    struct hk_label *items = hk_arena_alloc_raw(arena, count, sizeof(*items));
    if (items == NULL) return HK_E_NOMEM;
    *out = hk_view_labels(chosen->view, ref, items);
    return HK_OK;
}

static hk_err fill_labels(struct chosen *chosen, struct hk_arena *arena) {
    if (chosen->labels != NULL) return HK_OK;
    struct hk_labels *labels = hk_arena_alloc(arena, chosen->count, sizeof(struct hk_labels));
    if (labels == NULL) return HK_E_NOMEM;
    for (uint32_t i = 0; i < chosen->count; i++) {
        HK_TRY(make_labels(chosen, chosen->refs[i], arena, &labels[i]));
    }
    chosen->labels = labels;
    return HK_OK;
}

/* Series that are in blocks only (they died, or were dropped from the directory by damage). */
static uint32_t count_extras(
    const struct chosen *chosen, const struct hk_blockset_series *found, uint32_t found_count) {
    uint32_t extras = 0;
    uint32_t i = 0;
    for (uint32_t k = 0; k < found_count; k++) {
        int order = 1;
        while (i < chosen->count &&
               (order = hk_labels_cmp(chosen->labels[i], found[k].labels)) < 0) {
            i++;
        }
        extras += i == chosen->count || order != 0;
    }
    return extras;
}

/* Both lists are sorted by labels: the chosen become their union, with the places in blocks. */
static hk_err unite(
    const struct hk_select *request, struct chosen *chosen, const struct hk_blockset_series *found,
    uint32_t found_count, struct hk_arena *arena) {
    struct chosen old = *chosen;
    uint32_t count = old.count + count_extras(chosen, found, found_count);
    if (request->series_max > 0 && count > request->series_max) {
        return hk_fail(HK_E_LIMIT, "selector matches more than %u series", request->series_max);
    }
    uint32_t *hit_from = hk_arena_alloc(arena, (size_t)count + 2, sizeof(uint32_t));
    chosen->refs = hk_arena_alloc_raw(arena, count, sizeof(uint32_t));
    chosen->labels = hk_arena_alloc_raw(arena, count, sizeof(struct hk_labels));
    chosen->in_blocks = hk_arena_alloc(arena, count, sizeof(chosen->in_blocks[0]));
    if (hit_from == NULL || chosen->refs == NULL || chosen->labels == NULL ||
        chosen->in_blocks == NULL) {
        return HK_E_NOMEM;
    }
    uint32_t i = 0;
    uint32_t k = 0;
    for (uint32_t at = 0; at < count; at++) {
        int order = i == old.count     ? 1
                    : k == found_count ? -1
                                       : hk_labels_cmp(old.labels[i], found[k].labels);
        chosen->refs[at] = order <= 0 ? old.refs[i] : HK_REF_NONE;
        chosen->labels[at] = order <= 0 ? old.labels[i] : found[k].labels;
        if (order >= 0) chosen->in_blocks[at] = found[k++];
        if (order <= 0) i++;
        if (old.hit_from != NULL) hit_from[at + 1] = old.hit_from[i];
    }
    chosen->count = count;
    chosen->hit_from = hit_from;
    return HK_OK;
}

/* Finds where each chosen series lives in the blocks, and adds those that only blocks have. */
static hk_err find_in_blocks(
    struct hk_store *store, const struct hk_select *request, struct chosen *chosen,
    struct hk_arena *arena) {
    hk_rwlock_read(&store->tails_lock);
    chosen->flush_epoch = store->flush_epoch;
    hk_rwlock_unlock(&store->tails_lock);
    chosen->snapshot = hk_blockset_snapshot(store->blocks);
    if (chosen->snapshot == NULL) return HK_E_NOMEM;
    if (chosen->snapshot->count == 0) return HK_OK;
    struct hk_block_work *work = NULL;
    HK_TRY(take_work(store, &work));
    struct hk_blockset_series *found = NULL;
    uint32_t found_count = 0;
    hk_err err = hk_blockset_select(
        chosen->snapshot, work, 0, request->matchers, request->matcher_count, request->from_ms,
        request->to_ms, request->series_max, request->cancel, arena, &found, &found_count);
    give_work(store, work);
    if (err < 0 || found_count == 0) return err;
    HK_TRY(fill_labels(chosen, arena));
    return unite(request, chosen, found, found_count, arena);
}

/* Drops the dead one of two refs with the same labels: it came back while we were looking. */
static void drop_doubles(const struct hk_store *store, struct chosen *chosen) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < chosen->count; i++) {
        uint32_t ref = chosen->refs[i];
        bool again = count > 0 && hk_view_same(chosen->view, chosen->refs[count - 1], ref);
        if (!again)
            chosen->refs[count++] = ref;
        else if (hk_directory_is_dead(store->directory, chosen->refs[count - 1])) {
            chosen->refs[count - 1] = ref;
        }
    }
    chosen->count = count;
}

static void release(void *self, struct hk_selection *selection) {
    struct hk_store *store = self;
    struct chosen *chosen = selection->impl;
    if (chosen == NULL) return;
    unpin_slabs(chosen);
    hk_directory_release(store->directory, chosen->view);
    chosen->view = NULL;
    hk_blockset_snapshot_unref(chosen->snapshot);
    chosen->snapshot = NULL;
    selection->impl = NULL;
}

static hk_err select_series(
    void *self, const struct hk_select *request, struct hk_arena *arena, struct hk_selection *out) {
    struct hk_store *store = self;
    struct chosen *chosen = hk_arena_alloc(arena, 1, sizeof(*chosen));
    if (chosen == NULL) return HK_E_NOMEM;
    chosen->from_ms = request->from_ms;
    chosen->to_ms = request->to_ms;
    struct hk_selection selection = { .impl = chosen };
    chosen->view = hk_directory_hold(store->directory);
    /* Slabs first: their samples cannot slip into a tail or block unseen (see above). */
    if (!request->labels_only) pin_slabs(store, chosen);
    hk_err err = hk_view_select(
        chosen->view, request->matchers, request->matcher_count, request->series_max,
        request->cancel, arena, &chosen->refs, &chosen->count);
    if (err >= 0) err = hk_view_sort(chosen->view, chosen->refs, chosen->count);
    if (err >= 0) drop_doubles(store, chosen);
    if (err >= 0 && !request->labels_later) err = fill_labels(chosen, arena);
    if (err >= 0 && !request->labels_only) err = scan_slabs(store, request, chosen, arena);
    unpin_slabs(chosen);
    if (err >= 0) err = find_in_blocks(store, request, chosen, arena);
    if (err < 0) {
        release(store, &selection);
        return err;
    }
    selection.labels = chosen->labels;
    selection.refs = chosen->refs;
    selection.count = chosen->count;
    *out = selection;
    return HK_OK;
}

/* One sample while merging; `payload` for histograms. */
struct merged {
    int64_t *stamps;
    double *values;
    struct hk_str *payloads; /* NULL until the first histogram */
    uint32_t count, capacity;
    bool disorder;
    struct hk_arena *arena;
};

static hk_err merged_grow(struct merged *merged, uint32_t more) {
    if (merged->capacity - merged->count >= more) return HK_OK;
    uint32_t capacity = merged->capacity * 2 + more + 16;
    int64_t *stamps = hk_arena_alloc_raw(merged->arena, capacity, sizeof(int64_t));
    double *values = hk_arena_alloc_raw(merged->arena, capacity, sizeof(double));
    if (stamps == NULL || values == NULL) return HK_E_NOMEM;
    if (merged->count > 0) {
        memcpy(stamps, merged->stamps, (size_t)merged->count * sizeof(stamps[0]));
        memcpy(values, merged->values, (size_t)merged->count * sizeof(values[0]));
    }
    if (merged->payloads != NULL) {
        struct hk_str *payloads = hk_arena_alloc(merged->arena, capacity, sizeof(struct hk_str));
        if (payloads == NULL) return HK_E_NOMEM;
        memcpy(payloads, merged->payloads, (size_t)merged->count * sizeof(payloads[0]));
        merged->payloads = payloads;
    }
    merged->stamps = stamps;
    merged->values = values;
    merged->capacity = capacity;
    return HK_OK;
}

static hk_err
merged_add(struct merged *merged, int64_t stamp_ms, double value, struct hk_str payload) {
    HK_TRY(merged_grow(merged, 1));
    uint32_t at = merged->count;
    if (payload.ptr != NULL && merged->payloads == NULL) {
        merged->payloads = hk_arena_alloc(merged->arena, merged->capacity, sizeof(struct hk_str));
        if (merged->payloads == NULL) return HK_E_NOMEM;
    }
    merged->disorder |= at > 0 && stamp_ms <= merged->stamps[at - 1];
    merged->stamps[at] = stamp_ms;
    merged->values[at] = value;
    if (merged->payloads != NULL) merged->payloads[at] = payload;
    merged->count++;
    return HK_OK;
}

static hk_err read_blocks(
    struct hk_store *store, const struct hk_blockset_snapshot *snapshot,
    const struct hk_blockset_series *series, const struct chosen *chosen, struct merged *merged) {
    if (series->place_count == 0) return HK_OK;
    struct hk_block_work *work = NULL;
    HK_TRY(take_work(store, &work));
    struct hk_blockset_samples samples = { 0 };
    hk_err err = hk_blockset_read(
        snapshot, work, series, chosen->from_ms, chosen->to_ms, merged->arena, &samples);
    give_work(store, work);
    if (err < 0) return err;
    HK_TRY(merged_grow(merged, samples.count));
    for (uint32_t i = 0; i < samples.count; i++) {
        struct hk_str payload = { NULL, 0 };
        if (samples.payloads != NULL) payload = samples.payloads[i];
        HK_TRY(merged_add(merged, samples.stamps_ms[i], samples.values[i], payload));
    }
    return HK_OK;
}

/* A flush came between the selection and this read: look again, in the blocks of now. */
static hk_err read_newer_blocks(
    struct hk_store *store, const struct chosen *chosen, uint32_t index, struct merged *merged) {
    struct hk_blockset_snapshot *snapshot = hk_blockset_snapshot(store->blocks);
    struct hk_block_work *work = NULL;
    if (snapshot == NULL) return HK_E_NOMEM;
    struct hk_blockset_series series = { 0 };
    struct hk_labels labels = { NULL, 0 };
    hk_err err = HK_OK;
    if (chosen->labels != NULL)
        labels = chosen->labels[index];
    else
        err = make_labels(chosen, chosen->refs[index], merged->arena, &labels);
    if (err >= 0) err = take_work(store, &work);
    if (err >= 0) {
        err = hk_blockset_find(
            snapshot, work, 0, labels, chosen->from_ms, chosen->to_ms, merged->arena, &series);
        give_work(store, work);
    }
    if (err >= 0) err = read_blocks(store, snapshot, &series, chosen, merged);
    hk_blockset_snapshot_unref(snapshot);
    return err;
}

static hk_err
add_tail(struct hk_store *store, const struct chosen *chosen, uint32_t ref, struct merged *merged) {
    if (ref >= store->tails_count) return HK_OK;
    const struct hk_tail *tail = hk_grow_at(&store->tails, ref);
    bool outside =
        tail->count == 0 || tail->last_ms < chosen->from_ms || tail->first_ms > chosen->to_ms;
    if (outside) return HK_OK;
    HK_TRY(merged_grow(merged, tail->count));
    int64_t *stamps = merged->stamps + merged->count;
    double *values = merged->values + merged->count;
    hk_tail_decode(tail, stamps, values);
    uint32_t from = 0;
    uint32_t to = tail->count;
    while (from < to && stamps[from] < chosen->from_ms)
        from++;
    while (to > from && stamps[to - 1] > chosen->to_ms)
        to--;
    if (to == from) return HK_OK;
    merged->disorder |= merged->count > 0 && stamps[from] <= merged->stamps[merged->count - 1];
    memmove(stamps, stamps + from, (size_t)(to - from) * sizeof(stamps[0]));
    memmove(values, values + from, (size_t)(to - from) * sizeof(values[0]));
    merged->count += to - from;
    return HK_OK;
}

static hk_err add_payloads(
    struct hk_store *store, const struct chosen *chosen, uint32_t ref, struct merged *merged) {
    if (ref / (1U << HK_GROW_CHUNK_BITS) >= HK_GROW_CHUNKS_MAX ||
        atomic_load_explicit(
            &store->side_tails.chunks[ref >> HK_GROW_CHUNK_BITS], memory_order_acquire) == NULL) {
        return HK_OK;
    }
    const struct hk_side_tail *side =
        *(struct hk_side_tail *const *)hk_grow_at(&store->side_tails, ref);
    for (uint32_t i = 0; side != NULL && i < side->count; i++) {
        const struct hk_side_entry *entry = &side->entries[i];
        bool wanted = entry->kind == HK_SIDE_HISTOGRAM && entry->stamp_ms >= chosen->from_ms &&
                      entry->stamp_ms <= chosen->to_ms;
        if (!wanted) continue;
        char *copy = hk_arena_alloc_raw(merged->arena, entry->bytes, 1);
        if (copy == NULL) return HK_E_NOMEM;
        memcpy(copy, entry->data, entry->bytes);
        HK_TRY(merged_add(merged, entry->stamp_ms, 0, (struct hk_str){ copy, entry->bytes }));
    }
    return HK_OK;
}

/* Puts `recent` behind what is there. */
static hk_err merged_append(struct merged *merged, const struct merged *recent) {
    if (merged->count == 0) {
        *merged = *recent;
        return HK_OK;
    }
    HK_TRY(merged_grow(merged, recent->count));
    for (uint32_t i = 0; i < recent->count; i++) {
        struct hk_str payload = { NULL, 0 };
        if (recent->payloads != NULL) payload = recent->payloads[i];
        HK_TRY(merged_add(merged, recent->stamps[i], recent->values[i], payload));
    }
    merged->disorder |= recent->disorder;
    return HK_OK;
}

/* Puts the samples from slabs behind what is there; floats alone stay where they are. */
static hk_err merged_hits(struct merged *merged, const struct chosen *chosen, uint32_t index) {
    uint32_t from = chosen->hit_from[index];
    uint32_t count = chosen->hit_from[index + 1] - from;
    if (count == 0) return HK_OK;
    const int64_t *stamps = chosen->hit_stamps + from;
    const double *values = chosen->hit_values + from;
    if (chosen->hit_payloads != NULL || merged->payloads != NULL) {
        for (uint32_t i = 0; i < count; i++) {
            struct hk_str payload = { NULL, 0 };
            if (chosen->hit_payloads != NULL) payload = chosen->hit_payloads[from + i];
            HK_TRY(merged_add(merged, stamps[i], values[i], payload));
        }
        return HK_OK;
    }
    merged->disorder |= merged->count > 0 && stamps[0] <= merged->stamps[merged->count - 1];
    for (uint32_t i = 1; i < count; i++)
        merged->disorder |= stamps[i] <= stamps[i - 1];
    if (merged->count == 0) {
        merged->stamps = chosen->hit_stamps + from;
        merged->values = chosen->hit_values + from;
        merged->capacity = count;
        merged->count = count;
        return HK_OK;
    }
    HK_TRY(merged_grow(merged, count));
    memcpy(merged->stamps + merged->count, stamps, (size_t)count * sizeof(stamps[0]));
    memcpy(merged->values + merged->count, values, (size_t)count * sizeof(values[0]));
    merged->count += count;
    return HK_OK;
}

struct order {
    int64_t stamp_ms;
    uint32_t at;
};

static int compare_order(const void *a, const void *b) {
    const struct order *left = a;
    const struct order *right = b;
    if (left->stamp_ms != right->stamp_ms) return left->stamp_ms < right->stamp_ms ? -1 : 1;
    return (left->at > right->at) - (left->at < right->at);
}

/* Sorts by stamp; of equal stamps the last in arrival order stays. */
static hk_err put_in_order(struct merged *merged) {
    if (!merged->disorder) return HK_OK;
    struct order *order = hk_arena_alloc_raw(merged->arena, merged->count, sizeof(*order));
    struct merged sorted = { .arena = merged->arena };
    if (order == NULL) return HK_E_NOMEM;
    for (uint32_t i = 0; i < merged->count; i++)
        order[i] = (struct order){ merged->stamps[i], i };
    qsort(order, merged->count, sizeof(order[0]), compare_order);
    HK_TRY(merged_grow(&sorted, merged->count));
    if (merged->payloads != NULL) {
        sorted.payloads = hk_arena_alloc(merged->arena, sorted.capacity, sizeof(struct hk_str));
        if (sorted.payloads == NULL) return HK_E_NOMEM;
    }
    for (uint32_t i = 0; i < merged->count; i++) {
        if (i + 1 < merged->count && order[i + 1].stamp_ms == order[i].stamp_ms) continue;
        uint32_t at = order[i].at;
        sorted.stamps[sorted.count] = merged->stamps[at];
        sorted.values[sorted.count] = merged->values[at];
        if (merged->payloads != NULL) sorted.payloads[sorted.count] = merged->payloads[at];
        sorted.count++;
    }
    *merged = sorted;
    return HK_OK;
}

static hk_err decode_payloads(const struct merged *merged, struct hk_samples *out) {
    if (merged->payloads == NULL) return HK_OK;
    const struct hk_histogram **histograms =
        hk_arena_alloc(merged->arena, merged->count, sizeof(histograms[0]));
    if (histograms == NULL) return HK_E_NOMEM;
    for (uint32_t i = 0; i < merged->count; i++) {
        if (merged->payloads[i].ptr == NULL) continue;
        struct hk_histogram *histogram =
            hk_arena_alloc(merged->arena, 1, sizeof(struct hk_histogram));
        if (histogram == NULL) return HK_E_NOMEM;
        HK_TRY(hk_histogram_decode(merged->payloads[i], merged->arena, histogram));
        histograms[i] = histogram;
    }
    out->histograms = histograms;
    return HK_OK;
}

static hk_err read_series(
    void *self, struct hk_selection *selection, uint32_t index, struct hk_arena *arena,
    struct hk_samples *out) {
    struct hk_store *store = self;
    const struct chosen *chosen = selection->impl;
    hk_assert(index < chosen->count);
    struct merged merged = { .arena = arena };
    struct merged recent = { .arena = arena };
    uint32_t ref = chosen->refs[index];
    hk_rwlock_read(&store->tails_lock);
    uint64_t epoch = store->flush_epoch;
    hk_err err = add_tail(store, chosen, ref, &recent);
    if (err >= 0) err = add_payloads(store, chosen, ref, &recent);
    hk_rwlock_unlock(&store->tails_lock);
    if (err < 0) return err;
    if (epoch != chosen->flush_epoch)
        err = read_newer_blocks(store, chosen, index, &merged);
    else if (chosen->in_blocks != NULL) {
        err = read_blocks(store, chosen->snapshot, &chosen->in_blocks[index], chosen, &merged);
    }
    if (err >= 0) err = merged_append(&merged, &recent);
    if (err < 0) return err;
    HK_TRY(merged_hits(&merged, chosen, index));
    HK_TRY(put_in_order(&merged));
    *out = (struct hk_samples){ .stamps_ms = merged.stamps,
                                .values = merged.values,
                                .count = merged.count };
    return decode_payloads(&merged, out);
}

/* The newest sample among those from slabs: of equal stamps the last that came. */
static bool newest_hit(const struct chosen *chosen, uint32_t index, struct hk_newest *out) {
    uint32_t end = chosen->hit_from[index + 1];
    uint32_t best = chosen->hit_from[index];
    if (best == end) return false;
    for (uint32_t i = best + 1; i < end; i++) {
        if (chosen->hit_stamps[i] >= chosen->hit_stamps[best]) best = i;
    }
    *out =
        (struct hk_newest){ chosen->hit_stamps[best], chosen->hit_values[best], HK_NEWEST_FLOAT };
    bool payload = chosen->hit_payloads != NULL && chosen->hit_payloads[best].ptr != NULL;
    if (payload) out->kind = HK_NEWEST_READ;
    return true;
}

static bool has_payloads(const struct hk_store *store, uint32_t ref) {
    if (ref >> HK_GROW_CHUNK_BITS >= HK_GROW_CHUNKS_MAX) return false;
    if (atomic_load_explicit(
            &store->side_tails.chunks[ref >> HK_GROW_CHUNK_BITS], memory_order_acquire) == NULL) {
        return false;
    }
    return *(struct hk_side_tail *const *)hk_grow_at(&store->side_tails, ref) != NULL;
}

/* As read would give it last, if slabs and the end of the tail suffice to tell. Under tails_lock.
 */
static struct hk_newest
newest_of(const struct hk_store *store, const struct chosen *chosen, uint32_t index) {
    struct hk_newest found = { .kind = HK_NEWEST_NONE };
    const struct hk_newest ask = { .kind = HK_NEWEST_READ };
    uint32_t ref = chosen->refs[index];
    bool flushed = store->flush_epoch != chosen->flush_epoch;
    if (flushed || has_payloads(store, ref)) return ask;
    bool hit = newest_hit(chosen, index, &found);
    if (found.kind == HK_NEWEST_READ) return ask;
    if (chosen->in_blocks != NULL && chosen->in_blocks[index].place_count > 0) return ask;
    if (ref >= store->tails_count) return found;
    const struct hk_tail *tail = hk_grow_at(&store->tails, ref);
    bool outside =
        tail->count == 0 || tail->last_ms < chosen->from_ms || tail->first_ms > chosen->to_ms;
    if (outside) return found;
    if (tail->last_ms > chosen->to_ms) return ask;
    if (hit && found.stamp_ms >= tail->last_ms) return found;
    return (struct hk_newest){ tail->last_ms, tail->last_value, HK_NEWEST_FLOAT };
}

static void newest_samples(
    void *self, struct hk_selection *selection, uint32_t first, uint32_t count,
    struct hk_newest *out) {
    struct hk_store *store = self;
    const struct chosen *chosen = selection->impl;
    hk_assert(first <= chosen->count && count <= chosen->count - first);
    hk_rwlock_read(&store->tails_lock);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t ref = chosen->refs[first + i];
        if (ref < store->tails_count) __builtin_prefetch(hk_grow_at(&store->tails, ref));
    }
    for (uint32_t i = 0; i < count; i++)
        out[i] = newest_of(store, chosen, first + i);
    hk_rwlock_unlock(&store->tails_lock);
}

static hk_err labels_of(
    void *self, struct hk_selection *selection, uint32_t index, struct hk_arena *arena,
    struct hk_labels *out) {
    const struct chosen *chosen = selection->impl;
    (void)self;
    hk_assert(index < chosen->count);
    return make_labels(chosen, chosen->refs[index], arena, out);
}

static hk_err group_series(
    void *self, struct hk_selection *selection, const struct hk_str *names, uint32_t name_count,
    bool with, struct hk_arena *arena, uint32_t **out_numbers, uint32_t *out_count) {
    const struct chosen *chosen = selection->impl;
    (void)self;
    return hk_view_group(
        chosen->view, chosen->refs, chosen->count, names, name_count, with, arena, out_numbers,
        out_count);
}

/* ------------------------------------------------------------------ names and values */

struct texts {
    struct hk_str *items;
    size_t count, capacity;
    hk_err err;
};

static bool add_text(void *self, struct hk_str text) {
    struct texts *texts = self;
    texts->err =
        hk_mem_grow(&texts->items, &texts->capacity, texts->count + 1, sizeof(texts->items[0]));
    if (texts->err < 0) return false;
    texts->items[texts->count++] = text;
    return true;
}

static int compare_texts(const void *a, const void *b) {
    return hk_str_cmp(*(const struct hk_str *)a, *(const struct hk_str *)b);
}

/* Sorted, distinct, at most `limit`, copied to the arena; frees texts->items. */
static hk_err finish_texts(
    struct texts *texts, uint32_t limit, struct hk_arena *arena, struct hk_str **out,
    uint32_t *out_count) {
    size_t count = 0;
    if (texts->count > 1) {
        qsort(texts->items, texts->count, sizeof(texts->items[0]), compare_texts);
    }
    for (size_t i = 0; i < texts->count; i++) {
        if (count > 0 && hk_str_eq(texts->items[count - 1], texts->items[i])) continue;
        texts->items[count++] = texts->items[i];
    }
    if (limit > 0 && count > limit) count = limit;
    struct hk_str *items = hk_arena_alloc(arena, count, sizeof(struct hk_str));
    hk_err err = items == NULL ? HK_E_NOMEM : texts->err;
    /* Copies: the view is not held any longer. */
    for (size_t i = 0; i < count && err >= 0; i++) {
        items[i] = hk_arena_str(arena, texts->items[i]);
        if (items[i].ptr == NULL) err = HK_E_NOMEM;
    }
    hk_mem_free(texts->items);
    if (err < 0) return err;
    *out = items;
    *out_count = (uint32_t)count;
    return HK_OK;
}

/* Adds names (or values of `name`) of the series that one request selects. */
static hk_err visit_selected(
    struct hk_store *store, const struct hk_select *request, const struct hk_str *name,
    struct hk_arena *arena, struct texts *texts) {
    struct hk_select only = *request;
    struct hk_selection selection;
    only.labels_only = true;
    HK_TRY(select_series(store, &only, arena, &selection));
    for (uint32_t i = 0; i < selection.count && texts->err >= 0; i++) {
        struct hk_labels labels = selection.labels[i];
        for (uint32_t k = 0; k < labels.count; k++) {
            if (name == NULL)
                (void)add_text(texts, labels.items[k].name);
            else if (hk_str_eq(labels.items[k].name, *name)) {
                (void)add_text(texts, labels.items[k].value);
            }
        }
    }
    release(store, &selection);
    return texts->err;
}

/* Adds names (or values of `name`) of all blocks. */
static hk_err visit_blocks(
    struct hk_store *store, const struct hk_str *name, struct hk_arena *arena,
    struct texts *texts) {
    struct hk_blockset_snapshot *snapshot = hk_blockset_snapshot(store->blocks);
    struct hk_block_work *work = NULL;
    if (snapshot == NULL) return HK_E_NOMEM;
    hk_err err = take_work(store, &work);
    for (uint32_t i = 0; i < snapshot->count && err >= 0; i++) {
        struct hk_str *found = NULL;
        uint32_t count = 0;
        struct hk_block *block = snapshot->blocks[i];
        err = name == NULL ? hk_block_label_names(block, work, arena, &found, &count)
                           : hk_block_label_values(block, work, *name, arena, &found, NULL, &count);
        for (uint32_t k = 0; k < count && err >= 0; k++) {
            (void)add_text(texts, found[k]);
            err = texts->err;
        }
    }
    if (work != NULL) give_work(store, work);
    hk_blockset_snapshot_unref(snapshot);
    return err;
}

/* Names, or values of `name`. The view is held until the texts were copied. */
static hk_err list_texts(
    struct hk_store *store, const struct hk_str *name, const struct hk_select *requests,
    uint32_t request_count, uint32_t limit, struct hk_arena *arena, struct hk_str **out,
    uint32_t *out_count) {
    struct texts texts = { 0 };
    struct hk_directory_view *view = hk_directory_hold(store->directory);
    if (request_count == 0) {
        if (name == NULL)
            hk_view_visit_names(view, add_text, &texts);
        else
            hk_view_visit_values(view, *name, add_text, &texts);
        if (texts.err >= 0) texts.err = visit_blocks(store, name, arena, &texts);
    }
    for (uint32_t i = 0; i < request_count && texts.err >= 0; i++) {
        texts.err = visit_selected(store, &requests[i], name, arena, &texts);
    }
    hk_err err = finish_texts(&texts, limit, arena, out, out_count);
    hk_directory_release(store->directory, view);
    return err;
}

static hk_err label_names(
    void *self, const struct hk_select *requests, uint32_t request_count, uint32_t limit,
    struct hk_arena *arena, struct hk_str **out_names, uint32_t *out_count) {
    return list_texts(self, NULL, requests, request_count, limit, arena, out_names, out_count);
}

static hk_err label_values(
    void *self, struct hk_str name, const struct hk_select *requests, uint32_t request_count,
    uint32_t limit, struct hk_arena *arena, struct hk_str **out_values, uint32_t *out_count) {
    return list_texts(self, &name, requests, request_count, limit, arena, out_values, out_count);
}

struct hk_source hk_store_source(struct hk_store *store) {
    return (struct hk_source){
        .self = store,
        .select = select_series,
        .read = read_series,
        .release = release,
        .newest = newest_samples,
        .labels_of = labels_of,
        .group = group_series,
        .label_names = label_names,
        .label_values = label_values,
    };
}
