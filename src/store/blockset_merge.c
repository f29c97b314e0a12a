/*
 * Merging by time, and reading over several blocks.
 *
 * The merge works in runs: from the source with the smallest stamp everything is taken that lies
 * before the smallest stamp of the others. Sources that do not overlap cost one step each.
 */
#include "base/mem.h"
#include "store/blockset_internal.h"

/* ------------------------------------------------------------------ the merge */

/* First index from `at` on with a stamp >= limit; near ones are found first. */
static uint32_t gallop(const struct hk_merge_source *source, int64_t limit) {
    uint32_t step = 1, low = source->at, high = low + 1;
    while (high < source->count && source->stamps_ms[high] < limit) {
        low = high;
        step *= 2;
        high = step > source->count - high ? source->count : high + step;
    }
    /* stamps[low] < limit, and stamps[high] >= limit or high == count */
    while (high - low > 1) {
        const uint32_t middle = low + (high - low) / 2;
        if (source->stamps_ms[middle] < limit) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return high;
}

bool hk_merge_next(struct hk_merge_source *sources, uint32_t count, struct hk_merge_run *out) {
    uint32_t best = count;
    for (uint32_t i = 0; i < count; i++) {
        const struct hk_merge_source *source = &sources[i];
        if (source->at == source->count) continue;
        if (best == count ||
            source->stamps_ms[source->at] <= sources[best].stamps_ms[sources[best].at]) {
            best = i; /* of equal stamps the last, which wins */
        }
    }
    if (best == count) return false;
    struct hk_merge_source *chosen = &sources[best];
    const int64_t stamp = chosen->stamps_ms[chosen->at];
    struct hk_merge_run run = { best, chosen->at, 0, 0 };
    int64_t limit = INT64_MAX;
    bool limited = false;
    for (uint32_t i = 0; i < count; i++) {
        struct hk_merge_source *source = &sources[i];
        if (i == best || source->at == source->count) continue;
        if (source->stamps_ms[source->at] == stamp) {
            source->at++;
            run.dropped++;
            /* What it holds next may be unknown until it is refilled. */
            if (source->at == source->count) {
                limit = stamp;
                limited = true;
                continue;
            }
        }
        const int64_t next = source->stamps_ms[source->at];
        if (!limited || next < limit) limit = next;
        limited = true;
    }
    const uint32_t end = !limited         ? chosen->count
                         : limit == stamp ? chosen->at + 1
                                          : gallop(chosen, limit);
    run.count = end - chosen->at;
    chosen->at = end;
    *out = run;
    return true;
}

/* ------------------------------------------------------------------ reading one series */

static hk_err no_memory(void) {
    return hk_fail(HK_E_NOMEM, "out of memory for samples of blocks");
}

/* Reads float and histogram samples of one place into two sources. */
static hk_err read_place(
    struct hk_block *block, struct hk_block_work *work, uint32_t number, int64_t from_ms,
    int64_t to_ms, struct hk_arena *arena, struct hk_merge_source *out) {
    int64_t *stamps_ms = NULL;
    double *values = NULL;
    struct hk_str *payloads = NULL;
    HK_TRY(hk_block_read_floats(
        block, work, number, from_ms, to_ms, arena, &stamps_ms, &values, &out[0].count));
    out[0].stamps_ms = stamps_ms;
    out[0].values = values;
    HK_TRY(hk_block_read_payloads(
        block, work, number, HK_BLOCK_HISTOGRAM, from_ms, to_ms, arena, &stamps_ms, &payloads,
        &out[1].count));
    out[1].stamps_ms = stamps_ms;
    out[1].payloads = payloads;
    return HK_OK;
}

static hk_err merge_sources(
    struct hk_merge_source *sources, uint32_t count, struct hk_arena *arena,
    struct hk_blockset_samples *out) {
    size_t all = 0;
    bool histograms = false;
    for (uint32_t i = 0; i < count; i++) {
        all += sources[i].count;
        histograms = histograms || (sources[i].payloads != NULL && sources[i].count > 0);
    }
    if (all > UINT32_MAX) return hk_fail(HK_E_LIMIT, "a series with too many samples");
    struct hk_blockset_samples merged = { 0 };
    merged.stamps_ms = hk_arena_alloc_raw(arena, all, sizeof(*merged.stamps_ms));
    merged.values = hk_arena_alloc(arena, all, sizeof(*merged.values));
    if (histograms) merged.payloads = hk_arena_alloc(arena, all, sizeof(*merged.payloads));
    if (merged.stamps_ms == NULL || merged.values == NULL ||
        (histograms && merged.payloads == NULL)) {
        return no_memory();
    }
    struct hk_merge_run run;
    while (hk_merge_next(sources, count, &run)) {
        const struct hk_merge_source *source = &sources[run.source];
        memcpy(
            merged.stamps_ms + merged.count, source->stamps_ms + run.first,
            run.count * sizeof(*merged.stamps_ms));
        if (source->payloads == NULL) {
            memcpy(
                merged.values + merged.count, source->values + run.first,
                run.count * sizeof(*merged.values));
        } else if (merged.payloads != NULL) {
            memcpy(
                merged.payloads + merged.count, source->payloads + run.first,
                run.count * sizeof(*merged.payloads));
        }
        merged.count += run.count;
    }
    *out = merged;
    return HK_OK;
}

hk_err hk_blockset_read(
    const struct hk_blockset_snapshot *snapshot, struct hk_block_work *work,
    const struct hk_blockset_series *series, int64_t from_ms, int64_t to_ms, struct hk_arena *arena,
    struct hk_blockset_samples *out) {
    struct hk_merge_source *sources =
        hk_arena_alloc(arena, series->place_count * 2UL, sizeof(*sources));
    if (sources == NULL) return no_memory();
    uint32_t used = 0;
    for (uint32_t i = 0; i < series->place_count; i++) {
        struct hk_block *block = snapshot->blocks[series->places[i * 2]];
        const struct hk_block_info *info = hk_block_info(block);
        if (info->max_ms < from_ms || info->min_ms > to_ms) continue;
        struct hk_merge_source pair[2] = { 0 };
        HK_TRY(read_place(block, work, series->places[i * 2 + 1], from_ms, to_ms, arena, pair));
        for (int k = 0; k < 2; k++) {
            if (pair[k].count > 0) sources[used++] = pair[k];
        }
    }
    if (used == 1 && sources[0].payloads == NULL) {
        /* The arrays are the arena's: give them as they are. */
        *out = (struct hk_blockset_samples){ .count = sources[0].count };
        memcpy(&out->stamps_ms, &sources[0].stamps_ms, sizeof(out->stamps_ms));
        memcpy(&out->values, &sources[0].values, sizeof(out->values));
        return HK_OK;
    }
    return merge_sources(sources, used, arena, out);
}

/* ------------------------------------------------------------------ finding series */

static bool wanted(const struct hk_block *block, uint32_t tenant, int64_t from_ms, int64_t to_ms) {
    const struct hk_block_info *info = hk_block_info(block);
    return info->tenant == tenant && info->max_ms >= from_ms && info->min_ms <= to_ms;
}

hk_err hk_blockset_find(
    const struct hk_blockset_snapshot *snapshot, struct hk_block_work *work, uint32_t tenant,
    struct hk_labels labels, int64_t from_ms, int64_t to_ms, struct hk_arena *arena,
    struct hk_blockset_series *out) {
    uint32_t *places = hk_arena_alloc_raw(arena, snapshot->count * 2UL, sizeof(*places));
    if (places == NULL) return no_memory();
    uint32_t count = 0;
    for (uint32_t i = 0; i < snapshot->count; i++) {
        if (!wanted(snapshot->blocks[i], tenant, from_ms, to_ms)) continue;
        uint32_t number = 0;
        hk_err err = hk_block_find(snapshot->blocks[i], work, labels, &number);
        if (err == HK_E_NOT_FOUND) continue;
        HK_TRY(err);
        places[count * 2] = i;
        places[count * 2 + 1] = number;
        count++;
    }
    *out = (struct hk_blockset_series){ labels, places, count };
    return HK_OK;
}

/* A series found so far; places are a list, newest first. */
struct place {
    struct place *next;
    uint32_t block, number;
};

struct node {
    struct hk_labels labels;
    struct place *places;
    uint32_t place_count;
};

struct selecting {
    struct hk_arena *arena;
    struct hk_arena scratch; /* labels of the block's current series */
    struct node **nodes;     /* sorted */
    struct node **merged;    /* the next generation of nodes */
    size_t count, capacity, merged_capacity;
    uint32_t series_max;
};

static hk_err copy_labels(struct hk_arena *arena, struct hk_labels from, struct hk_labels *out) {
    struct hk_label *items = hk_arena_alloc_raw(arena, from.count, sizeof(*items));
    if (items == NULL) return no_memory();
    for (uint32_t i = 0; i < from.count; i++) {
        items[i].name = hk_arena_str(arena, from.items[i].name);
        items[i].value = hk_arena_str(arena, from.items[i].value);
        if (items[i].name.ptr == NULL || items[i].value.ptr == NULL) return no_memory();
    }
    *out = (struct hk_labels){ items, from.count };
    return HK_OK;
}

static hk_err
add_place(struct selecting *selecting, struct node *node, uint32_t block, uint32_t number) {
    struct place *place = hk_arena_alloc_raw(selecting->arena, 1, sizeof(*place));
    if (place == NULL) return no_memory();
    *place = (struct place){ node->places, block, number };
    node->places = place;
    node->place_count++;
    return HK_OK;
}

static hk_err new_node(struct selecting *selecting, struct hk_labels labels, struct node **out) {
    struct node *node = hk_arena_alloc(selecting->arena, 1, sizeof(*node));
    if (node == NULL) return no_memory();
    HK_TRY(copy_labels(selecting->arena, labels, &node->labels));
    *out = node;
    return HK_OK;
}

/* Merges the sorted series `numbers` of a block into the sorted nodes. */
static hk_err merge_block(
    struct selecting *selecting, struct hk_block *block, uint32_t block_index,
    struct hk_block_work *work, const uint32_t *numbers, uint32_t count,
    const _Atomic bool *cancel) {
    if (hk_mem_grow(
            &selecting->merged, &selecting->merged_capacity, selecting->count + count,
            sizeof(struct node *)) < 0) {
        return no_memory();
    }
    size_t old = 0, used = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (i % 64 == 0 && cancel != NULL && atomic_load_explicit(cancel, memory_order_relaxed)) {
            return hk_fail(HK_E_CANCELED, "canceled");
        }
        struct hk_labels labels;
        hk_arena_reset(&selecting->scratch);
        HK_TRY(hk_block_labels(block, work, numbers[i], &selecting->scratch, &labels));
        int order = 1;
        while (old < selecting->count) {
            order = hk_labels_cmp(selecting->nodes[old]->labels, labels);
            if (order >= 0) break;
            selecting->merged[used++] = selecting->nodes[old++];
            order = 1;
        }
        struct node *node = NULL;
        if (order == 0) {
            node = selecting->nodes[old++];
        } else {
            HK_TRY(new_node(selecting, labels, &node));
        }
        HK_TRY(add_place(selecting, node, block_index, numbers[i]));
        selecting->merged[used++] = node;
        if (selecting->series_max > 0 && used > selecting->series_max) {
            return hk_fail(
                HK_E_LIMIT, "the selector matches more than %u series", selecting->series_max);
        }
    }
    while (old < selecting->count)
        selecting->merged[used++] = selecting->nodes[old++];
    struct node **nodes = selecting->nodes;
    const size_t capacity = selecting->capacity;
    selecting->nodes = selecting->merged;
    selecting->capacity = selecting->merged_capacity;
    selecting->merged = nodes;
    selecting->merged_capacity = capacity;
    selecting->count = used;
    return HK_OK;
}

static hk_err finish(
    const struct selecting *selecting, struct hk_blockset_series **out_series,
    uint32_t *out_count) {
    struct hk_arena *arena = selecting->arena;
    if (selecting->series_max > 0 && selecting->count > selecting->series_max) {
        return hk_fail(
            HK_E_LIMIT, "the selector matches more than %u series", selecting->series_max);
    }
    struct hk_blockset_series *series =
        hk_arena_alloc_raw(arena, selecting->count, sizeof(*series));
    if (series == NULL) return no_memory();
    for (size_t i = 0; i < selecting->count; i++) {
        const struct node *node = selecting->nodes[i];
        uint32_t *places = hk_arena_alloc_raw(arena, node->place_count * 2UL, sizeof(*places));
        if (places == NULL) return no_memory();
        uint32_t at = node->place_count;
        for (const struct place *place = node->places; place != NULL; place = place->next) {
            at--; /* newest first to ascending */
            places[at * 2] = place->block;
            places[at * 2 + 1] = place->number;
        }
        series[i] = (struct hk_blockset_series){ node->labels, places, node->place_count };
    }
    *out_series = series;
    *out_count = (uint32_t)selecting->count;
    return HK_OK;
}

hk_err hk_blockset_select(
    const struct hk_blockset_snapshot *snapshot, struct hk_block_work *work, uint32_t tenant,
    const struct hk_matcher *matchers, uint32_t matcher_count, int64_t from_ms, int64_t to_ms,
    uint32_t series_max, const _Atomic bool *cancel, struct hk_arena *arena,
    struct hk_blockset_series **out_series, uint32_t *out_count) {
    struct selecting selecting = { .arena = arena, .series_max = series_max };
    hk_arena_init(&selecting.scratch, (size_t)64 << 20);
    hk_err err = HK_OK;
    for (uint32_t i = 0; err == HK_OK && i < snapshot->count; i++) {
        struct hk_block *block = snapshot->blocks[i];
        if (!wanted(block, tenant, from_ms, to_ms)) continue;
        uint32_t *numbers = NULL, count = 0;
        err =
            hk_block_select(block, work, matchers, matcher_count, cancel, arena, &numbers, &count);
        if (err == HK_OK) {
            err = merge_block(&selecting, block, i, work, numbers, count, cancel);
        }
    }
    if (err == HK_OK) err = finish(&selecting, out_series, out_count);
    hk_arena_deinit(&selecting.scratch);
    hk_mem_free(selecting.nodes);
    hk_mem_free(selecting.merged);
    return err;
}
