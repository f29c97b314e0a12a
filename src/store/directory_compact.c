/*
 * Death of series (docs/decisions/series-death.md): states of refs, and the view and registration
 * file that are made anew without the dead. All by the worker, unless said otherwise.
 *
 * Argument: a dead ref is named by no form, binding, tail or log group that recovery would read.
 * Views that were held before the new one may still name it; so its number is given out again only
 * when they have no users. The file without it is in place before that.
 */
#include "store/directory_internal.h"

#include "os/file.h"

#include <stdlib.h>

enum { GROUP_BYTES = 4 << 20 };

/* ------------------------------------------------------------------ states */

static bool change(struct hk_directory *directory, uint32_t ref, uint8_t from, uint8_t to) {
    return atomic_compare_exchange_strong_explicit(
        hk_directory_state(directory, ref), &from, to, memory_order_acq_rel, memory_order_acquire);
}

bool hk_directory_leave(struct hk_directory *directory, uint32_t ref) {
    return change(directory, ref, HK_SERIES_LIVE, HK_SERIES_LEAVING);
}

void hk_directory_stay(struct hk_directory *directory, uint32_t ref) {
    (void)change(directory, ref, HK_SERIES_LEAVING, HK_SERIES_LIVE);
}

bool hk_directory_bury(struct hk_directory *directory, uint32_t ref) {
    if (!change(directory, ref, HK_SERIES_LEAVING, HK_SERIES_DEAD)) return false;
    atomic_fetch_sub_explicit(&directory->live_count, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&directory->retired, 1, memory_order_relaxed);
    return true;
}

bool hk_directory_is_dead(const struct hk_directory *directory, uint32_t ref) {
    return ref >= hk_directory_count(directory) || hk_series_is_dead(directory, ref);
}

bool hk_directory_is_leaving(const struct hk_directory *directory, uint32_t ref) {
    if (ref >= hk_directory_count(directory)) return true;
    return atomic_load_explicit(hk_directory_state(directory, ref), memory_order_acquire) !=
           HK_SERIES_LIVE;
}

bool hk_directory_touch(struct hk_directory *directory, uint32_t ref) {
    if (ref >= hk_directory_count(directory)) return false;
    uint8_t state = atomic_load_explicit(hk_directory_state(directory, ref), memory_order_acquire);
    if (HK_LIKELY(state == HK_SERIES_LIVE)) return true;
    return state == HK_SERIES_LEAVING &&
           (change(directory, ref, HK_SERIES_LEAVING, HK_SERIES_LIVE) ||
            !hk_directory_is_leaving(directory, ref));
}

hk_err
hk_directory_forgotten(struct hk_directory *directory, const uint32_t *refs, uint32_t count) {
    HK_TRY(hk_mem_grow(
        &directory->dead, &directory->dead_capacity, directory->dead_count + count,
        sizeof(uint32_t)));
    if (count > 0) {
        memcpy(directory->dead + directory->dead_count, refs, (size_t)count * sizeof(uint32_t));
    }
    directory->dead_count += count;
    return HK_OK;
}

/* ------------------------------------------------------------------ a new view */

struct compaction {
    struct hk_directory *directory;
    struct hk_directory_view *old, *fresh;
    uint32_t *names, *pairs; /* ids of the old view to those of the new one */
    size_t name_count, pair_count;
    struct hk_buf payload;
    uint32_t ref_end; /* of the new file */
    struct hk_rewrite rewrite;
};

/* Room in the maps for everything that the old view has now. */
static hk_err grow_maps(struct compaction *compaction) {
    uint32_t names = atomic_load_explicit(&compaction->old->name_count, memory_order_acquire);
    uint32_t pairs = atomic_load_explicit(&compaction->old->pair_count, memory_order_acquire);
    uint32_t *grown = hk_mem_resize(compaction->names, (size_t)names + 1, sizeof(uint32_t));
    if (grown == NULL) return HK_E_NOMEM;
    compaction->names = grown;
    grown = hk_mem_resize(compaction->pairs, (size_t)pairs + 1, sizeof(uint32_t));
    if (grown == NULL) return HK_E_NOMEM;
    compaction->pairs = grown;
    while (compaction->name_count < names)
        compaction->names[compaction->name_count++] = HK_ID_NONE;
    while (compaction->pair_count < pairs)
        compaction->pairs[compaction->pair_count++] = HK_ID_NONE;
    return HK_OK;
}

static hk_err copy_pair(struct compaction *compaction, uint32_t id, uint32_t *out) {
    const struct hk_pair *pair = hk_grow_at(&compaction->old->pairs, id);
    uint32_t *name = &compaction->names[pair->name];
    if (*name == HK_ID_NONE) {
        struct hk_str text =
            *(const struct hk_str *)hk_grow_at(&compaction->old->names, pair->name);
        HK_TRY(hk_view_add_name(compaction->fresh, text, name));
        hk_registration_name(&compaction->payload, text);
    }
    if (compaction->pairs[id] == HK_ID_NONE) {
        struct hk_str value = { pair->value, pair->value_len };
        HK_TRY(hk_view_add_pair(compaction->fresh, *name, value, &compaction->pairs[id]));
        hk_registration_pair(&compaction->payload, *name, value);
    }
    *out = compaction->pairs[id];
    return HK_OK;
}

/* Copies the definitions [from, to) of the old view that are not dead; `write`: groups go out. */
static hk_err copy_sets(struct compaction *compaction, uint32_t from, uint32_t to, bool write) {
    HK_TRY(grow_maps(compaction));
    for (uint32_t i = from; i < to; i++) {
        uint32_t ref = *(const uint32_t *)hk_grow_at(&compaction->old->order, i);
        if (hk_series_is_dead(compaction->directory, ref)) continue;
        const uint32_t *set = hk_view_set(compaction->old, ref);
        uint32_t ids[HK_LABELS_MAX];
        for (uint32_t k = 0; k < set[0]; k++)
            HK_TRY(copy_pair(compaction, set[1 + k], &ids[k]));
        HK_TRY(hk_view_add_set(compaction->fresh, ref, ids, set[0]));
        hk_registration_set(&compaction->payload, &compaction->ref_end, ref, ids, set[0]);
        if (!write || compaction->payload.len < GROUP_BYTES) continue;
        HK_TRY(hk_rewrite_group(compaction->directory, &compaction->rewrite, &compaction->payload));
        hk_buf_clear(&compaction->payload);
    }
    return compaction->payload.err;
}

/* Under both locks: the new view and file take over; the last group is in `writing`. */
static void take_over(struct compaction *compaction) {
    struct hk_directory *directory = compaction->directory;
    hk_file_close(directory->fd);
    directory->fd = compaction->rewrite.fd;
    directory->file_bytes = compaction->rewrite.bytes;
    directory->group_next = compaction->rewrite.group_next;
    directory->file_ref_end = compaction->ref_end;
    directory->rename_due = true;
    hk_buf_clear(&directory->pending);
    struct hk_buf swap = directory->writing;
    directory->writing = compaction->payload;
    compaction->payload = swap;
    compaction->fresh->older = compaction->old;
    hk_mutex_lock(&directory->views_lock);
    atomic_store_explicit(&directory->view, compaction->fresh, memory_order_release);
    hk_mutex_unlock(&directory->views_lock);
    atomic_store_explicit(&directory->dirty, true, memory_order_release);
    hk_directory_count_bytes(directory);
}

static hk_err replace(struct compaction *compaction) {
    struct hk_directory *directory = compaction->directory;
    struct hk_directory_view *old = compaction->old;
    uint32_t count = atomic_load_explicit(&old->set_count, memory_order_acquire);
    HK_TRY(copy_sets(compaction, 0, count, true));
    HK_TRY(hk_view_index(compaction->fresh, old->index, &compaction->fresh->index));
    HK_TRY(hk_rewrite_group(directory, &compaction->rewrite, &compaction->payload));
    hk_buf_clear(&compaction->payload);
    /* The rest is little; the log thread and creators wait for it. */
    hk_mutex_lock(&directory->sync_lock);
    hk_mutex_lock(&directory->lock);
    hk_err err = directory->rename_due ? HK_E_BUSY : HK_OK;
    uint32_t now = atomic_load_explicit(&old->set_count, memory_order_acquire);
    if (err >= 0) err = copy_sets(compaction, count, now, false);
    if (err >= 0) take_over(compaction);
    hk_mutex_unlock(&directory->lock);
    hk_mutex_unlock(&directory->sync_lock);
    return err;
}

static hk_err make_view(struct hk_directory *directory) {
    struct compaction compaction = { .directory = directory, .old = hk_view_now(directory) };
    HK_TRY(hk_view_create(directory, &compaction.fresh));
    hk_buf_init(&compaction.payload, 1U << 30);
    hk_err err = hk_rewrite_open(directory, &compaction.rewrite);
    if (err >= 0) {
        err = replace(&compaction);
        if (err < 0) hk_rewrite_abandon(directory, &compaction.rewrite);
    }
    if (err < 0) hk_view_destroy(compaction.fresh);
    hk_buf_deinit(&compaction.payload);
    hk_mem_free(compaction.names);
    hk_mem_free(compaction.pairs);
    if (err < 0) return err;
    hk_assert(directory->limbo_count == 0);
    hk_mem_free(directory->limbo);
    directory->limbo = directory->dead;
    directory->limbo_count = directory->dead_count;
    directory->dead = NULL;
    directory->dead_count = 0;
    directory->dead_capacity = 0;
    atomic_fetch_add_explicit(&directory->compactions, 1, memory_order_relaxed);
    return hk_directory_sync(directory);
}

/* ------------------------------------------------------------------ old views and refs */

/* Frees older views, the oldest first, so that a held view keeps all later ones. True: none left.
 */
static bool free_older(struct hk_directory *directory) {
    struct hk_directory_view *gone = NULL;
    hk_mutex_lock(&directory->lock); /* creators sum up the views' memory */
    hk_mutex_lock(&directory->views_lock);
    struct hk_directory_view *now = hk_view_now(directory);
    while (now->older != NULL) {
        struct hk_directory_view **at = &now->older;
        while ((*at)->older != NULL)
            at = &(*at)->older;
        if ((*at)->users > 0) break;
        struct hk_directory_view *oldest = *at;
        *at = NULL;
        oldest->older = gone;
        gone = oldest;
    }
    bool none = now->older == NULL;
    hk_mutex_unlock(&directory->views_lock);
    if (gone != NULL) hk_directory_count_bytes(directory);
    hk_mutex_unlock(&directory->lock);
    while (gone != NULL) {
        struct hk_directory_view *next = gone->older;
        hk_view_destroy(gone);
        gone = next;
    }
    return none;
}

static int descending(const void *a, const void *b) {
    uint32_t left = *(const uint32_t *)a;
    uint32_t right = *(const uint32_t *)b;
    return (left < right) - (left > right);
}

/* The refs of the limbo may be given out again. */
static hk_err free_limbo(struct hk_directory *directory) {
    if (directory->limbo_count == 0) return HK_OK;
    hk_mutex_lock(&directory->lock);
    hk_err err = hk_mem_grow(
        &directory->free_refs, &directory->free_capacity,
        directory->free_count + directory->limbo_count, sizeof(uint32_t));
    if (err >= 0) {
        for (size_t i = 0; i < directory->limbo_count; i++) {
            uint32_t ref = directory->limbo[i];
            atomic_store_explicit(
                hk_directory_state(directory, ref), HK_SERIES_FREE, memory_order_release);
            directory->free_refs[directory->free_count++] = ref;
        }
        qsort(directory->free_refs, directory->free_count, sizeof(uint32_t), descending);
        directory->limbo_count = 0;
    }
    hk_mutex_unlock(&directory->lock);
    return err;
}

hk_err hk_directory_compact(struct hk_directory *directory) {
    hk_mutex_lock(&directory->sync_lock);
    bool rename_due = directory->rename_due;
    hk_mutex_unlock(&directory->sync_lock);
    if (rename_due) HK_TRY(hk_directory_sync(directory));
    if (!free_older(directory)) return HK_OK;
    HK_TRY(free_limbo(directory));
    uint32_t live = hk_directory_live(directory);
    if (directory->dead_count < directory->dead_min || directory->dead_count < live / 4) {
        return HK_OK;
    }
    return make_view(directory);
}

void hk_directory_get_stats(const struct hk_directory *directory, struct hk_directory_stats *out) {
    *out = (struct hk_directory_stats){
        .live = hk_directory_live(directory),
        .dead = directory->dead_count + directory->limbo_count,
        .free = directory->free_count,
        .retired = atomic_load_explicit(&directory->retired, memory_order_relaxed),
        .compactions = atomic_load_explicit(&directory->compactions, memory_order_relaxed),
    };
}
