/*
 * Pools: the active targets of each job, brought in line with a new plan on the scrape thread.
 * A target that is in both keeps its slot with state and schedule. One whose labels are the same
 * but whose address, path or interval changed keeps its slot too: its series go on.
 */
#include "base/log.h"
#include "base/mem.h"
#include "ingest/scrape_internal.h"

#include <stdlib.h>

/* Work of one merge. */
struct merge {
    struct hk_scrape_slot **kept, **removed;
    struct hk_scrape_target **added;
    uint32_t kept_count, removed_count, added_count;
};

void hk_scrape_unref(struct hk_scrape *scrape) {
    /* Release our uses, acquire those of the others before freeing. */
    if (atomic_fetch_sub_explicit(&scrape->references, 1, memory_order_acq_rel) != 1) return;
    hk_mutex_deinit(&scrape->control);
    hk_mutex_deinit(&scrape->lock);
    hk_mem_free(scrape);
}

void hk_scrape_slot_unref(struct hk_scrape_slot *slot) {
    if (atomic_fetch_sub_explicit(&slot->references, 1, memory_order_acq_rel) != 1) return;
    struct hk_scrape *scrape = slot->scrape;
    hk_scrape_target_unref(slot->target);
    hk_mem_free(slot->gone);
    hk_mem_free(slot);
    hk_scrape_unref(scrape);
}

/* Takes `target`. NULL when out of memory. */
static struct hk_scrape_slot *new_slot(struct hk_scrape *scrape, struct hk_scrape_target *target) {
    struct hk_scrape_slot *slot = hk_mem_alloc(1, sizeof(*slot));
    struct hk_scrape_result *gone = hk_mem_alloc(1, sizeof(*gone));
    if (slot == NULL || gone == NULL) {
        hk_mem_free(slot);
        hk_mem_free(gone);
        return NULL;
    }
    atomic_init(&slot->references, 1);
    atomic_fetch_add_explicit(&scrape->references, 1, memory_order_relaxed);
    slot->scrape = scrape;
    slot->gone = gone;
    slot->target = target;
    slot->id = ++scrape->id_next;
    if (hk_scrape_schedule(scrape, slot) < 0) {
        slot->target = NULL; /* stays the caller's */
        hk_scrape_slot_unref(slot);
        return NULL;
    }
    slot->attached = true;
    return slot;
}

/* Ends a slot: no more scrapes, one last result if there ever was one. Takes the pool's reference.
 */
static void end_slot(struct hk_scrape *scrape, struct hk_scrape_slot *slot, bool deliver) {
    hk_scrape_unschedule(scrape, slot);
    hk_scrape_abort(scrape, slot);
    slot->attached = false;
    if (!deliver || !slot->delivered) {
        hk_scrape_slot_unref(slot);
        return;
    }
    struct hk_scrape_result *gone = slot->gone;
    slot->gone = NULL;
    gone->slot = slot; /* takes over the pool's reference */
    gone->target = hk_scrape_target_ref(slot->target);
    gone->target_id = slot->id;
    gone->gone = true;
    gone->err = HK_E_CLOSED;
    hk_buf_init(&gone->body, 0);
    atomic_fetch_add_explicit(&scrape->in_flight, 1, memory_order_relaxed);
    hk_scrape_deliver(scrape, gone);
}

static int order_slots(const void *a, const void *b) {
    const struct hk_scrape_slot *const *left = a;
    const struct hk_scrape_slot *const *right = b;
    return hk_scrape_target_cmp((*left)->target, (*right)->target);
}

static int order_slots_by_labels(const void *a, const void *b) {
    const struct hk_scrape_slot *const *left = a;
    const struct hk_scrape_slot *const *right = b;
    return hk_labels_cmp((*left)->target->labels, (*right)->target->labels);
}

static int order_targets_by_labels(const void *a, const void *b) {
    const struct hk_scrape_target *const *left = a;
    const struct hk_scrape_target *const *right = b;
    return hk_labels_cmp((*left)->labels, (*right)->labels);
}

/* Takes `target`; a slot of an unchanged job keeps the snapshot that it has. Under lock. */
static void renew_target(struct hk_scrape_slot *slot, struct hk_scrape_target *target) {
    if (slot->target->job == target->job && hk_scrape_target_cmp(slot->target, target) == 0) {
        hk_scrape_target_unref(target);
        return;
    }
    hk_scrape_target_unref(slot->target);
    slot->target = target;
}

/* Both sides are sorted: what is in both is kept, the rest is removed or added. */
static void
split(const struct hk_scrape_pool *pool, struct hk_scrape_plan *plan, struct merge *merge) {
    uint32_t i = 0;
    uint32_t k = 0;
    while (i < pool->slot_count || k < plan->target_count) {
        int order = i == pool->slot_count ? 1
                    : k == plan->target_count
                        ? -1
                        : hk_scrape_target_cmp(pool->slots[i]->target, plan->targets[k]);
        if (order < 0) {
            merge->removed[merge->removed_count++] = pool->slots[i++];
        } else if (order > 0) {
            merge->added[merge->added_count++] = plan->targets[k++];
        } else {
            renew_target(pool->slots[i], plan->targets[k++]);
            merge->kept[merge->kept_count++] = pool->slots[i++];
        }
    }
    plan->target_count = 0; /* all taken */
}

/* Slots that would end go over to new targets with the same visible labels. */
static void adopt(struct hk_scrape *scrape, struct merge *merge) {
    if (merge->removed_count == 0 || merge->added_count == 0) return;
    qsort(
        merge->removed, merge->removed_count, sizeof(struct hk_scrape_slot *),
        order_slots_by_labels);
    qsort(
        merge->added, merge->added_count, sizeof(struct hk_scrape_target *),
        order_targets_by_labels);
    uint32_t removed = 0;
    uint32_t added = 0;
    uint32_t i = 0;
    uint32_t k = 0;
    while (i < merge->removed_count && k < merge->added_count) {
        struct hk_scrape_slot *slot = merge->removed[i];
        int order = hk_labels_cmp(slot->target->labels, merge->added[k]->labels);
        if (order < 0) {
            merge->removed[removed++] = merge->removed[i++];
        } else if (order > 0) {
            merge->added[added++] = merge->added[k++];
        } else {
            hk_scrape_abort(scrape, slot);
            renew_target(slot, merge->added[k++]);
            hk_scrape_unschedule(scrape, slot);
            hk_err err = hk_scrape_schedule(scrape, slot); /* its place in the heap is free */
            hk_assert(err == HK_OK);
            merge->kept[merge->kept_count++] = slot;
            i++;
        }
    }
    while (i < merge->removed_count)
        merge->removed[removed++] = merge->removed[i++];
    while (k < merge->added_count)
        merge->added[added++] = merge->added[k++];
    merge->removed_count = removed;
    merge->added_count = added;
}

static void add_slots(struct hk_scrape *scrape, struct merge *merge) {
    for (uint32_t i = 0; i < merge->added_count; i++) {
        struct hk_scrape_slot *slot = new_slot(scrape, merge->added[i]);
        if (slot == NULL) {
            hk_scrape_count(&scrape->counters.lost, 1);
            hk_scrape_target_unref(merge->added[i]);
            continue;
        }
        merge->kept[merge->kept_count++] = slot;
    }
    merge->added_count = 0;
}

static hk_err merge_init(struct merge *merge, size_t old_count, size_t new_count) {
    *merge = (struct merge){
        .kept = hk_mem_alloc(old_count + new_count, sizeof(struct hk_scrape_slot *)),
        .removed = hk_mem_alloc(old_count, sizeof(struct hk_scrape_slot *)),
        .added = hk_mem_alloc(new_count, sizeof(struct hk_scrape_target *)),
    };
    bool ok = merge->kept != NULL && merge->removed != NULL && merge->added != NULL;
    return ok ? HK_OK : HK_E_NOMEM;
}

static void merge_deinit(struct merge *merge) {
    hk_mem_free(merge->kept);
    hk_mem_free(merge->removed);
    hk_mem_free(merge->added);
}

static void free_dropped(struct hk_scrape_pool *pool) {
    for (uint32_t i = 0; i < pool->dropped_count; i++)
        hk_scrape_target_unref(pool->dropped[i]);
    hk_mem_free(pool->dropped);
    pool->dropped = NULL;
    pool->dropped_count = 0;
}

static void set_refusal(struct hk_scrape_pool *pool) {
    uint64_t limit = pool->job->config.limits.targets;
    bool over = limit > 0 && pool->slot_count > limit;
    for (uint32_t i = 0; i < pool->slot_count; i++)
        pool->slots[i]->refusal = over ? "target_limit exceeded: more targets in the pool than "
                                         "it allows"
                                       : NULL;
}

/* Takes the content of the plan. On failure the pool stays as it was. */
static hk_err
merge_pool(struct hk_scrape *scrape, struct hk_scrape_pool *pool, struct hk_scrape_plan *plan) {
    struct merge merge;
    hk_err err = merge_init(&merge, pool->slot_count, plan->target_count);
    if (err < 0) {
        merge_deinit(&merge);
        return err;
    }
    hk_scrape_count(&scrape->counters.targets_invalid, plan->invalid);
    hk_mutex_lock(&scrape->lock);
    split(pool, plan, &merge);
    adopt(scrape, &merge);
    add_slots(scrape, &merge);
    qsort(merge.kept, merge.kept_count, sizeof(struct hk_scrape_slot *), order_slots);
    hk_mem_free(pool->slots);
    pool->slots = merge.kept;
    pool->slot_count = merge.kept_count;
    merge.kept = NULL;
    hk_scrape_job_unref(pool->job);
    pool->job = plan->job;
    plan->job = NULL;
    free_dropped(pool);
    pool->dropped = plan->dropped;
    pool->dropped_count = plan->dropped_count;
    pool->dropped_total = plan->dropped_total;
    plan->dropped = NULL;
    plan->dropped_count = 0;
    set_refusal(pool);
    hk_mutex_unlock(&scrape->lock);
    for (uint32_t i = 0; i < merge.removed_count; i++)
        end_slot(scrape, merge.removed[i], true);
    merge_deinit(&merge);
    return HK_OK;
}

/* Ends all slots of a pool that is no longer in the list. */
static void end_pool(struct hk_scrape *scrape, struct hk_scrape_pool *pool, bool deliver) {
    for (uint32_t i = 0; i < pool->slot_count; i++)
        end_slot(scrape, pool->slots[i], deliver);
    hk_mem_free(pool->slots);
    free_dropped(pool);
    hk_scrape_job_unref(pool->job);
}

void hk_scrape_end_pools(struct hk_scrape *scrape) {
    for (uint32_t i = 0; i < scrape->pool_count; i++)
        end_pool(scrape, &scrape->pools[i], false);
    hk_mem_free(scrape->pools);
    scrape->pools = NULL;
    scrape->pool_count = 0;
}

static struct hk_scrape_pool *find_pool(struct hk_scrape *scrape, struct hk_str name) {
    for (uint32_t i = 0; i < scrape->pool_count; i++) {
        struct hk_scrape_pool *pool = &scrape->pools[i];
        if (pool->job != NULL && hk_str_eq(pool->job->config.name, name)) return pool;
    }
    return NULL;
}

/* One pool per plan, in the order of the plans; pools without a plan end. */
static hk_err replace_pools(struct hk_scrape *scrape, const struct hk_scrape_message *message) {
    struct hk_scrape_pool *pools = hk_mem_alloc(message->plan_count, sizeof(*pools));
    if (pools == NULL) return HK_E_NOMEM;
    hk_mutex_lock(&scrape->lock);
    for (uint32_t i = 0; i < message->plan_count; i++) {
        struct hk_scrape_pool *old = find_pool(scrape, message->plans[i].job->config.name);
        if (old != NULL) {
            pools[i] = *old;
            *old = (struct hk_scrape_pool){ .job = NULL };
        } else {
            pools[i].job = hk_scrape_job_ref(message->plans[i].job);
        }
    }
    struct hk_scrape_pool *ended = scrape->pools;
    uint32_t ended_count = scrape->pool_count;
    scrape->pools = pools;
    scrape->pool_count = message->plan_count;
    hk_mutex_unlock(&scrape->lock);
    for (uint32_t i = 0; i < ended_count; i++)
        end_pool(scrape, &ended[i], true);
    hk_mem_free(ended);
    return HK_OK;
}

void hk_scrape_merge(struct hk_scrape *scrape, struct hk_scrape_message *message) {
    hk_err err = message->all ? replace_pools(scrape, message) : HK_OK;
    for (uint32_t i = 0; i < message->plan_count && err >= 0; i++) {
        struct hk_scrape_plan *plan = &message->plans[i];
        struct hk_scrape_pool *pool = find_pool(scrape, plan->job->config.name);
        /* A plan for a configuration that has been replaced meanwhile is out of date. */
        if (pool == NULL || (!message->all && pool->job != plan->job)) continue;
        err = merge_pool(scrape, pool, plan);
    }
    if (err < 0) {
        hk_scrape_count(&scrape->counters.lost, 1);
        hk_log(HK_LOG_ERROR, "scrape: a change of targets was lost: %s", hk_err_text(err));
    }
    hk_scrape_message_free(message);
}
