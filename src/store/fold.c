/*
 * The worker's side: closed slabs are folded into packed tails, tails are flushed into blocks.
 * Only the worker changes tails; it holds the write lock for at most FOLD_TURN records.
 */
#include "store/store_internal.h"

#include "base/log.h"
#include "base/mem.h"

#include <stdlib.h>

enum { FOLD_TURN = 1024, CHUNK_SAMPLES = HK_BLOCK_CHUNK_COUNT_MAX };

static void breathe(const struct hk_store *store) {
    if (store->options.breathe != NULL) store->options.breathe(store->options.self);
}

static hk_err reserve_tails(struct hk_store *store, uint32_t count) {
    while (store->tails_count < count) {
        HK_TRY(hk_grow_reserve(&store->tails, store->tails_count));
        store->tails_count++;
    }
    return HK_OK;
}

static hk_err add_late(struct hk_store *store, uint32_t ref, int64_t stamp_ms, double value) {
    HK_TRY(hk_mem_grow(
        &store->late, &store->late_capacity, store->late_count + 1, sizeof(store->late[0])));
    store->late[store->late_count] = (struct hk_late){
        .stamp_ms = stamp_ms,
        .value = value,
        .ref = ref,
        .number = (uint32_t)store->late_count,
    };
    store->late_count++;
    return HK_OK;
}

static hk_err fold_one(struct hk_store *store, uint32_t ref, int64_t stamp_ms, double value) {
    struct hk_tail *tail = hk_grow_at(&store->tails, ref);
    if (HK_UNLIKELY(tail->count > 0 && stamp_ms <= tail->last_ms)) {
        _Atomic uint64_t *counter =
            stamp_ms == tail->last_ms ? &store->overwritten : &store->out_of_order;
        atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
        return add_late(store, ref, stamp_ms, value);
    }
    uint32_t before = tail->capacity;
    HK_TRY(hk_tail_append(tail, stamp_ms, value));
    if (HK_UNLIKELY(tail->capacity != before)) {
        atomic_fetch_add_explicit(
            &store->tail_bytes, tail->capacity - before, memory_order_relaxed);
    }
    return HK_OK;
}

/* Folds records [*at, end) until the turn is over. `*at` moves on. */
static hk_err fold_turn(
    struct hk_store *store, const struct hk_record *records, uint32_t *at, uint32_t end,
    int64_t base_ms) {
    uint32_t stop = end - *at > FOLD_TURN ? *at + FOLD_TURN : end;
    uint32_t i = *at;
    while (i < stop) {
        int64_t stamp_ms = base_ms + records[i].delta_ms;
        if (HK_UNLIKELY(records[i].ref == HK_RECORD_FAR)) {
            if (i + 1 == end) break; /* a lone far record says nothing */
            memcpy(&stamp_ms, &records[i].value, sizeof(stamp_ms));
            i++;
        }
        HK_TRY(fold_one(store, records[i].ref, stamp_ms, records[i].value));
        i++;
    }
    atomic_fetch_add_explicit(&store->tail_samples, i - *at, memory_order_relaxed);
    *at = i == *at ? end : i;
    return HK_OK;
}

hk_err hk_fold_records(
    struct hk_store *store, const struct hk_record *records, uint32_t count, int64_t base_ms) {
    uint32_t at = 0;
    while (at < count) {
        hk_rwlock_write(&store->tails_lock);
        hk_err err = reserve_tails(store, hk_directory_count(store->directory));
        if (err >= 0) err = fold_turn(store, records, &at, count, base_ms);
        hk_rwlock_unlock(&store->tails_lock);
        if (err < 0) return err;
        breathe(store);
    }
    atomic_fetch_add_explicit(&store->folded, count, memory_order_relaxed);
    return HK_OK;
}

hk_err hk_fold_side(
    struct hk_store *store, enum hk_side_kind kind, uint32_t ref, int64_t stamp_ms,
    const uint8_t *data, uint32_t bytes) {
    HK_TRY(hk_grow_reserve(&store->side_tails, ref));
    struct hk_side_tail **slot = hk_grow_at(&store->side_tails, ref);
    if (*slot == NULL) {
        struct hk_side_tail *fresh = hk_mem_alloc(1, sizeof(*fresh));
        if (fresh == NULL) return HK_E_NOMEM;
        fresh->ref = ref;
        fresh->next_ref = store->side_first;
        store->side_first = fresh;
        *slot = fresh;
    }
    struct hk_side_tail *tail = *slot;
    HK_TRY(hk_mem_grow(
        &tail->entries, &tail->capacity, (size_t)tail->count + 1, sizeof(tail->entries[0])));
    uint8_t *copy = (uint8_t *)hk_mem_copy(data, bytes);
    if (copy == NULL) return HK_E_NOMEM;
    tail->entries[tail->count++] = (struct hk_side_entry){
        .stamp_ms = stamp_ms,
        .data = copy,
        .bytes = bytes,
        .kind = (uint8_t)kind,
    };
    atomic_fetch_add_explicit(
        &store->tail_bytes, bytes + sizeof(tail->entries[0]), memory_order_relaxed);
    atomic_fetch_add_explicit(&store->tail_samples, 1, memory_order_relaxed);
    return HK_OK;
}

hk_err hk_fold_slab(struct hk_store *store, const struct hk_slab *slab) {
    uint32_t count = atomic_load_explicit(&slab->count, memory_order_acquire);
    uint32_t sides = atomic_load_explicit(&slab->side_count, memory_order_acquire);
    HK_TRY(hk_fold_records(store, slab->records, count, slab->base_ms));
    hk_err err = HK_OK;
    for (uint32_t i = 0; i < sides && err >= 0; i++) {
        const struct hk_side_item *item = &slab->sides[i];
        hk_rwlock_write(&store->tails_lock);
        err = hk_fold_side(
            store, (enum hk_side_kind)item->kind, item->ref, item->stamp_ms, item->data,
            item->bytes);
        hk_rwlock_unlock(&store->tails_lock);
    }
    return err;
}

/* ------------------------------------------------------------------ flush */

struct flush {
    struct hk_directory_view *view;
    struct hk_store *store;
    struct hk_block_writer *writer;
    int64_t *stamps;
    double *values;
    struct hk_str *payloads;
    size_t capacity, value_capacity, payload_capacity;
    size_t late_at; /* next entry of the sorted late samples */
};

static int late_order(const void *a, const void *b) {
    const struct hk_late *left = a;
    const struct hk_late *right = b;
    if (left->ref != right->ref) return left->ref < right->ref ? -1 : 1;
    if (left->stamp_ms != right->stamp_ms) return left->stamp_ms < right->stamp_ms ? -1 : 1;
    return (left->number > right->number) - (left->number < right->number);
}

static hk_err need_room(struct flush *flush, size_t count) {
    HK_TRY(hk_mem_grow(&flush->stamps, &flush->capacity, count, sizeof(int64_t)));
    HK_TRY(hk_mem_grow(&flush->values, &flush->value_capacity, count, sizeof(double)));
    return HK_OK;
}

/* Merges late samples [from, to) of one series (sorted) into the decoded tail; the later arrival
 * wins. Both are ascending; the result replaces the arrays. */
static size_t merge_late(
    int64_t *stamps, double *values, size_t count, const struct hk_late *late, size_t late_count) {
    /* Keep the last of equal late stamps, from the back so that the merge can run in place. */
    size_t total = count + late_count;
    size_t write = total;
    size_t left = count;
    size_t right = late_count;
    while (right > 0) {
        const struct hk_late *item = &late[right - 1];
        if (left > 0 && stamps[left - 1] > item->stamp_ms) {
            write--;
            left--;
            stamps[write] = stamps[left];
            values[write] = values[left];
            continue;
        }
        if (left > 0 && stamps[left - 1] == item->stamp_ms) left--;
        write--;
        stamps[write] = item->stamp_ms;
        values[write] = item->value;
        while (right > 0 && late[right - 1].stamp_ms == item->stamp_ms)
            right--;
    }
    size_t moved = total - write;
    memmove(stamps + left, stamps + write, moved * sizeof(stamps[0]));
    memmove(values + left, values + write, moved * sizeof(values[0]));
    return left + moved;
}

static hk_err flush_floats(struct flush *flush, uint32_t ref) {
    struct hk_store *store = flush->store;
    const struct hk_tail *tail = hk_grow_at(&store->tails, ref);
    struct hk_late key = { .ref = ref };
    size_t low = 0;
    size_t high = store->late_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (store->late[middle].ref < key.ref)
            low = middle + 1;
        else
            high = middle;
    }
    size_t end = low;
    while (end < store->late_count && store->late[end].ref == ref)
        end++;
    size_t count = tail->count;
    if (count + (end - low) == 0) return HK_OK;
    HK_TRY(need_room(flush, count + (end - low)));
    hk_tail_decode(tail, flush->stamps, flush->values);
    if (end > low) {
        count = merge_late(flush->stamps, flush->values, count, store->late + low, end - low);
    }
    for (size_t at = 0; at < count; at += CHUNK_SAMPLES) {
        size_t left = count - at;
        uint32_t part = (uint32_t)(left < CHUNK_SAMPLES ? left : CHUNK_SAMPLES);
        HK_TRY(hk_block_writer_floats(flush->writer, flush->stamps + at, flush->values + at, part));
    }
    return HK_OK;
}

static int entry_order(const void *a, const void *b) {
    const struct hk_side_entry *left = a;
    const struct hk_side_entry *right = b;
    return (left->stamp_ms > right->stamp_ms) - (left->stamp_ms < right->stamp_ms);
}

static hk_err flush_kind(
    struct flush *flush, const struct hk_side_tail *tail, enum hk_side_kind kind,
    enum hk_block_column column) {
    HK_TRY(need_room(flush, tail->count));
    HK_TRY(hk_mem_grow(
        &flush->payloads, &flush->payload_capacity, tail->count, sizeof(struct hk_str)));
    size_t count = 0;
    for (uint32_t i = 0; i < tail->count; i++) {
        const struct hk_side_entry *entry = &tail->entries[i];
        if (entry->kind != (uint8_t)kind) continue;
        bool again = count > 0 && flush->stamps[count - 1] == entry->stamp_ms;
        if (again && kind == HK_SIDE_HISTOGRAM) count--; /* the later arrival wins */
        flush->stamps[count] = entry->stamp_ms;
        flush->payloads[count++] = (struct hk_str){ (const char *)entry->data, entry->bytes };
    }
    for (size_t at = 0; at < count; at += CHUNK_SAMPLES) {
        size_t left = count - at;
        uint32_t part = (uint32_t)(left < CHUNK_SAMPLES ? left : CHUNK_SAMPLES);
        HK_TRY(hk_block_writer_payloads(
            flush->writer, column, flush->stamps + at, flush->payloads + at, part));
    }
    return HK_OK;
}

static struct hk_side_tail *side_tail_of(struct hk_store *store, uint32_t ref) {
    if (atomic_load_explicit(
            &store->side_tails.chunks[ref >> HK_GROW_CHUNK_BITS], memory_order_acquire) == NULL) {
        return NULL;
    }
    return *(struct hk_side_tail **)hk_grow_at(&store->side_tails, ref);
}

static hk_err flush_series(struct flush *flush, uint32_t ref) {
    struct hk_label items[HK_LABELS_MAX];
    struct hk_labels labels = hk_view_labels(flush->view, ref, items);
    HK_TRY(hk_block_writer_series(flush->writer, labels));
    HK_TRY(flush_floats(flush, ref));
    struct hk_side_tail *side = side_tail_of(flush->store, ref);
    if (side == NULL || side->count == 0) return HK_OK;
    /* The sort must keep the order of arrival among equal stamps: stamps rise as a rule. */
    bool sorted = true;
    for (uint32_t i = 1; i < side->count; i++) {
        sorted = sorted && side->entries[i - 1].stamp_ms <= side->entries[i].stamp_ms;
    }
    if (!sorted) {
        hk_rwlock_write(&flush->store->tails_lock);
        qsort(side->entries, side->count, sizeof(side->entries[0]), entry_order);
        hk_rwlock_unlock(&flush->store->tails_lock);
    }
    return flush_kind(flush, side, HK_SIDE_HISTOGRAM, HK_BLOCK_HISTOGRAM);
}

static bool has_data(struct hk_store *store, uint32_t ref) {
    const struct hk_tail *tail = hk_grow_at(&store->tails, ref);
    if (tail->count > 0) return true;
    const struct hk_side_tail *side = side_tail_of(store, ref);
    return side != NULL && side->count > 0;
}

uint64_t *hk_fold_used(struct hk_store *store) {
    uint32_t count = store->tails_count;
    uint64_t *used = hk_mem_alloc((size_t)count / 64 + 1, sizeof(uint64_t));
    if (used == NULL) return NULL;
    for (size_t i = 0; i < store->late_count; i++) {
        uint32_t ref = store->late[i].ref;
        used[ref >> 6] |= 1ULL << (ref & 63);
    }
    for (uint32_t ref = 0; ref < count; ref++) {
        if (has_data(store, ref)) used[ref >> 6] |= 1ULL << (ref & 63);
    }
    return used;
}

static hk_err write_block(struct flush *flush, int64_t now_ms) {
    struct hk_store *store = flush->store;
    uint32_t count = store->tails_count;
    uint64_t *with_data HK_CLEANUP(hk_mem_free_at) = hk_fold_used(store);
    uint32_t *order HK_CLEANUP(hk_mem_free_at) = hk_mem_alloc((size_t)count + 1, sizeof(uint32_t));
    if (with_data == NULL || order == NULL) return HK_E_NOMEM;
    uint32_t used = 0;
    for (uint32_t ref = 0; ref < count; ref++) {
        if ((with_data[ref >> 6] >> (ref & 63) & 1) != 0) order[used++] = ref;
    }
    for (uint32_t i = 0; i < used; i++)
        HK_TRY(hk_retire_seen(store, order[i], now_ms));
    HK_TRY(hk_view_sort(flush->view, order, used));
    for (uint32_t i = 0; i < used; i++) {
        HK_TRY(flush_series(flush, order[i]));
        breathe(store);
    }
    return HK_OK;
}

/* What the block's note says: up to which log group each shard is contained in blocks. */
static struct hk_str flush_note(const struct hk_store *store, uint64_t *out) {
    for (uint32_t i = 0; i < store->options.shards; i++)
        out[i] = store->shards[i].folded_group;
    return (struct hk_str){ (const char *)out, store->options.shards * sizeof(out[0]) };
}

static void forget_tails(struct hk_store *store) {
    hk_rwlock_write(&store->tails_lock);
    for (uint32_t ref = 0; ref < store->tails_count; ref++) {
        struct hk_tail *tail = hk_grow_at(&store->tails, ref);
        if (tail->count > 0) hk_tail_clear(tail);
    }
    for (struct hk_side_tail *side = store->side_first; side != NULL; side = side->next_ref) {
        for (uint32_t i = 0; i < side->count; i++)
            hk_mem_free(side->entries[i].data);
        side->count = 0;
    }
    store->late_count = 0;
    atomic_store_explicit(&store->tail_bytes, 0, memory_order_relaxed);
    atomic_store_explicit(&store->tail_samples, 0, memory_order_relaxed);
    store->oldest_ms = 0;
    store->flush_epoch++;
    hk_rwlock_unlock(&store->tails_lock);
}

hk_err hk_flush_tails(struct hk_store *store, int64_t now_ms) {
    if (atomic_load_explicit(&store->tail_samples, memory_order_relaxed) == 0) return HK_OK;
    if (store->late_count > 1) {
        hk_rwlock_write(&store->tails_lock);
        qsort(store->late, store->late_count, sizeof(store->late[0]), late_order);
        for (size_t i = 0; i < store->late_count; i++)
            store->late[i].number = (uint32_t)i;
        hk_rwlock_unlock(&store->tails_lock);
    }
    uint64_t note[HK_STORE_SHARDS_MAX];
    struct flush flush = { .store = store };
    hk_err err = hk_blockset_writer(store->blocks, 0, flush_note(store, note), &flush.writer);
    if (err < 0) return err;
    flush.view = hk_directory_hold(store->directory);
    err = write_block(&flush, now_ms);
    hk_directory_release(store->directory, flush.view);
    hk_mem_free(flush.stamps);
    hk_mem_free(flush.values);
    hk_mem_free(flush.payloads);
    if (err < 0) {
        hk_block_writer_destroy(flush.writer);
        return err;
    }
    HK_TRY(hk_blockset_publish(store->blocks, flush.writer, NULL));
    forget_tails(store);
    atomic_fetch_add_explicit(&store->flushes, 1, memory_order_relaxed);
    return HK_OK;
}
