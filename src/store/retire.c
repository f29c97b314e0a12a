/*
 * Retirement of series without samples (docs/decisions/series-death.md), by the worker.
 *
 * A batch goes through four phases. (1) Series whose last samples were flushed long ago are marked
 * as leaving. (2) Every shard gives up the forms that lead to them; from then on a sample for one
 * comes by hk_directory_intern only, which makes it live again. (3) When all that was appended
 * before is folded, those that had no sample are buried: now their labels would get another ref.
 * (4) Every shard forgets the rest, bindings and running totals. Then no form, record, tail or
 * binding names them, and the directory may drop them.
 */
#include "store/store_internal.h"

#include "base/mem.h"

enum { LOOKS_PER_IDLE = 4, BATCH_MAX = 1 << 16 };

static uint32_t seconds(int64_t now_ms) {
    return now_ms < 1000 ? 1 : (uint32_t)(now_ms / 1000);
}

hk_err hk_retire_seen(struct hk_store *store, uint32_t ref, int64_t now_ms) {
    HK_TRY(hk_grow_reserve(&store->retire.seen, ref));
    *(uint32_t *)hk_grow_at(&store->retire.seen, ref) = seconds(now_ms);
    return HK_OK;
}

static bool is_used(const uint64_t *used, uint32_t count, uint32_t ref) {
    return ref < count && (used[ref >> 6] >> (ref & 63) & 1) != 0;
}

/* Marks the series that have been idle for long. */
static hk_err collect(struct hk_store *store, int64_t idle_ms, int64_t now_ms) {
    struct hk_retire *retire = &store->retire;
    uint64_t *used HK_CLEANUP(hk_mem_free_at) = hk_fold_used(store);
    if (used == NULL) return HK_E_NOMEM;
    int64_t idle_s = idle_ms / 1000;
    uint32_t count = hk_directory_count(store->directory);
    for (uint32_t ref = 0; ref < count && retire->count < BATCH_MAX; ref++) {
        HK_TRY(hk_grow_reserve(&retire->seen, ref));
        uint32_t *seen = hk_grow_at(&retire->seen, ref);
        if (*seen == 0 || is_used(used, store->tails_count, ref)) {
            *seen = seconds(now_ms);
            continue;
        }
        if ((int64_t)seconds(now_ms) - (int64_t)*seen < idle_s) continue;
        HK_TRY(hk_mem_grow(
            &retire->refs, &retire->capacity, retire->count + 1, sizeof(retire->refs[0])));
        if (hk_directory_leave(store->directory, ref)) retire->refs[retire->count++] = ref;
    }
    return HK_OK;
}

static void give_up(struct hk_store *store) {
    struct hk_retire *retire = &store->retire;
    for (size_t i = 0; i < retire->count; i++)
        hk_directory_stay(store->directory, retire->refs[i]);
    retire->count = 0;
}

static void ask(struct hk_store *store, bool sweep) {
    struct hk_retire *retire = &store->retire;
    atomic_store_explicit(&retire->waiting, store->options.shards, memory_order_release);
    retire->phase = sweep ? HK_RETIRE_SWEEP : HK_RETIRE_FORGET;
    for (uint32_t i = 0; i < store->options.shards; i++) {
        if (sweep)
            store->options.sweep(store->options.self, i);
        else
            store->options.forget(store->options.self, i, retire->refs, (uint32_t)retire->count);
    }
}

static hk_err begin(struct hk_store *store, int64_t now_ms) {
    struct hk_retire *retire = &store->retire;
    int64_t idle_ms = atomic_load_explicit(&retire->idle_ms, memory_order_relaxed);
    int64_t every_ms = idle_ms / LOOKS_PER_IDLE;
    bool due = now_ms >= retire->next_ms || retire->next_ms - now_ms > every_ms;
    bool able = idle_ms > 0 && store->options.sweep != NULL && store->options.forget != NULL &&
                store->marks_written;
    if (!due || !able) return HK_OK;
    hk_err err = collect(store, idle_ms, now_ms);
    if (err < 0) {
        give_up(store);
        return err;
    }
    /* A full batch: there are more, look again at once. */
    retire->next_ms = retire->count == BATCH_MAX ? now_ms : now_ms + every_ms;
    if (retire->count > 0) ask(store, true);
    return HK_OK;
}

/* Buries what got no sample since. */
static hk_err settle(struct hk_store *store) {
    struct hk_retire *retire = &store->retire;
    for (uint32_t i = 0; i < store->options.shards; i++) {
        if (store->shards[i].folded_serial < store->shards[i].swept_serial) return HK_OK;
    }
    uint64_t *used HK_CLEANUP(hk_mem_free_at) = hk_fold_used(store);
    if (used == NULL) return HK_E_NOMEM;
    size_t buried = 0;
    for (size_t i = 0; i < retire->count; i++) {
        uint32_t ref = retire->refs[i];
        if (is_used(used, store->tails_count, ref))
            hk_directory_stay(store->directory, ref);
        else if (hk_directory_bury(store->directory, ref)) {
            retire->refs[buried++] = ref;
        }
    }
    retire->count = buried;
    if (buried > 0)
        ask(store, false);
    else
        retire->phase = HK_RETIRE_IDLE;
    return HK_OK;
}

/* The last traces: when it was seen, and room for payloads. */
static void clear_traces(struct hk_store *store) {
    const struct hk_retire *retire = &store->retire;
    hk_rwlock_write(&store->tails_lock);
    for (size_t i = 0; i < retire->count; i++) {
        uint32_t ref = retire->refs[i];
        *(uint32_t *)hk_grow_at(&retire->seen, ref) = 0;
        if (!hk_grow_has(&store->side_tails, ref)) continue;
        struct hk_side_tail *side = *(struct hk_side_tail **)hk_grow_at(&store->side_tails, ref);
        if (side == NULL) continue;
        hk_assert(side->count == 0);
        hk_mem_free(side->entries);
        side->entries = NULL;
        side->capacity = 0;
    }
    hk_rwlock_unlock(&store->tails_lock);
}

static hk_err finish(struct hk_store *store) {
    struct hk_retire *retire = &store->retire;
    HK_TRY(hk_directory_forgotten(store->directory, retire->refs, (uint32_t)retire->count));
    clear_traces(store);
    retire->count = 0;
    retire->phase = HK_RETIRE_IDLE;
    return HK_OK;
}

hk_err hk_retire_step(struct hk_store *store, int64_t now_ms) {
    struct hk_retire *retire = &store->retire;
    bool answered = atomic_load_explicit(&retire->waiting, memory_order_acquire) == 0;
    switch (retire->phase) {
    case HK_RETIRE_IDLE:
        HK_TRY(begin(store, now_ms));
        if (retire->phase != HK_RETIRE_IDLE) break;
        /* Only now: until it is forgotten, a shard may ask for the labels of a dead series. */
        return hk_directory_compact(store->directory);
    case HK_RETIRE_SWEEP:
        if (answered) retire->phase = HK_RETIRE_SETTLE;
        break;
    case HK_RETIRE_SETTLE:
        HK_TRY(settle(store));
        break;
    case HK_RETIRE_FORGET:
        if (answered) HK_TRY(finish(store));
        break;
    }
    return HK_OK;
}

void hk_retire_deinit(struct hk_store *store) {
    hk_grow_deinit(&store->retire.seen);
    hk_mem_free(store->retire.refs);
}
