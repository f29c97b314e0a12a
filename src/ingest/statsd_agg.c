/*
 * StatsD aggregator. A chained hash table of series, each allocated on its own, and a dense array
 * of them for the walk of a flush.
 *
 * (1) `bytes` is the sum of what the series' memory counts; it never passes `bytes_max`.
 * (2) Buckets of a side are a window of at most HK_STATSD_BUCKETS_MAX indexes; at schema -4 every
 *     double fits in it, so lowering the schema ends.
 */
#include "ingest/statsd_agg.h"

#include "base/mem.h"
#include "ingest/statsd_sketch.h"

enum { SERIES_MAX_DEFAULT = 10000, SERIES_MAX_LIMIT = 1 << 24 };

static const size_t bytes_max_default = (size_t)64 << 20;
static const int64_t idle_ms_default = 3600000;

struct series {
    struct series *next; /* of its hash chain */
    uint64_t hash;
    int64_t created_ms, seen_ms;
    struct hk_sketch_histogram timer;
    struct hk_sketch_set set;
    uint32_t key_bytes;
    bool is_set;
    bool changed; /* since its last flush */
    bool shown;   /* a set whose last flush was not 0 */
    char key[];
};

struct hk_statsd_agg {
    struct series **chains; /* chain_count, a power of two */
    struct series **all;    /* series_count used of series_max */
    uint32_t chain_count, series_count, series_max;
    uint32_t cursor; /* next of `all` in the flush under way */
    struct hk_sketch_budget budget;
    int64_t idle_ms;
    uint64_t refused, expired;
};

hk_err
hk_statsd_agg_create(const struct hk_statsd_agg_options *options, struct hk_statsd_agg **out) {
    const uint32_t series_max = options->series_max == 0 ? SERIES_MAX_DEFAULT : options->series_max;
    if (series_max > SERIES_MAX_LIMIT) {
        return hk_fail(HK_E_INVALID, "statsd: at most %d series", SERIES_MAX_LIMIT);
    }
    struct hk_statsd_agg *agg = hk_mem_alloc(1, sizeof(*agg));
    if (agg == NULL) return hk_fail(HK_E_NOMEM, "statsd: no memory for the aggregator");
    agg->series_max = series_max;
    agg->chain_count = 1;
    while (agg->chain_count < series_max)
        agg->chain_count *= 2;
    agg->budget.bytes_max = options->bytes_max == 0 ? bytes_max_default : options->bytes_max;
    agg->idle_ms = options->idle_ms == 0 ? idle_ms_default : options->idle_ms;
    agg->chains = hk_mem_alloc(agg->chain_count, sizeof(struct series *));
    agg->all = hk_mem_alloc(series_max, sizeof(struct series *));
    if (agg->chains == NULL || agg->all == NULL) {
        hk_statsd_agg_destroy(agg);
        return hk_fail(HK_E_NOMEM, "statsd: no memory for %u series", series_max);
    }
    *out = agg;
    return HK_OK;
}

static void free_series(struct hk_statsd_agg *agg, struct series *series) {
    hk_sketch_histogram_deinit(&series->timer, &agg->budget);
    hk_sketch_set_deinit(&series->set, &agg->budget);
    hk_sketch_release(&agg->budget, sizeof(*series) + series->key_bytes);
    hk_mem_free(series);
}

void hk_statsd_agg_destroy(struct hk_statsd_agg *agg) {
    if (agg == NULL) return;
    for (uint32_t i = 0; agg->all != NULL && i < agg->series_count; i++)
        free_series(agg, agg->all[i]);
    hk_assert(agg->budget.bytes == 0); /* (1) */
    hk_mem_free(agg->chains);
    hk_mem_free(agg->all);
    hk_mem_free(agg);
}

static struct series **chain_of(struct hk_statsd_agg *agg, uint64_t hash) {
    return &agg->chains[hash & (agg->chain_count - 1)];
}

static hk_err add_series(
    struct hk_statsd_agg *agg, struct hk_str key, uint64_t hash, int64_t now_ms,
    struct series **out) {
    if (agg->series_count == agg->series_max) return HK_E_LIMIT;
    const size_t bytes = sizeof(struct series) + key.len;
    HK_TRY(hk_sketch_charge(&agg->budget, bytes));
    struct series *series = hk_mem_alloc(1, bytes);
    if (series == NULL) {
        hk_sketch_release(&agg->budget, bytes);
        return HK_E_NOMEM;
    }
    hk_sketch_histogram_init(&series->timer);
    series->hash = hash;
    series->created_ms = now_ms;
    series->key_bytes = (uint32_t)key.len;
    if (key.len > 0) memcpy(series->key, key.ptr, key.len);
    struct series **chain = chain_of(agg, hash);
    series->next = *chain;
    *chain = series;
    agg->all[agg->series_count++] = series;
    *out = series;
    return HK_OK;
}

/* Finds or makes the series of a key and kind. */
static hk_err get_series(
    struct hk_statsd_agg *agg, struct hk_str key, bool is_set, int64_t now_ms,
    struct series **out) {
    const uint64_t hash = hk_hash64(key.ptr, key.len) + (is_set ? 1 : 0);
    struct series *series = *chain_of(agg, hash);
    for (; series != NULL; series = series->next) {
        const struct hk_str other = { series->key, series->key_bytes };
        if (series->hash == hash && series->is_set == is_set && hk_str_eq(other, key)) break;
    }
    if (series == NULL) HK_TRY(add_series(agg, key, hash, now_ms, &series));
    series->is_set = is_set;
    series->seen_ms = now_ms;
    *out = series;
    return HK_OK;
}

hk_err hk_statsd_agg_timer(
    struct hk_statsd_agg *agg, struct hk_str key, double value, double weight, int64_t now_ms) {
    struct series *series = NULL;
    hk_err err = get_series(agg, key, false, now_ms, &series);
    if (err == HK_OK) err = hk_sketch_histogram_add(&series->timer, value, weight, &agg->budget);
    if (err == HK_OK)
        series->changed = true;
    else
        agg->refused++;
    return err;
}

hk_err hk_statsd_agg_set(
    struct hk_statsd_agg *agg, struct hk_str key, struct hk_str member, int64_t now_ms) {
    struct series *series = NULL;
    hk_err err = get_series(agg, key, true, now_ms, &series);
    const uint64_t hash = hk_hash64(member.ptr, member.len);
    if (err == HK_OK) err = hk_sketch_set_add(&series->set, hash, &agg->budget);
    if (err == HK_OK)
        series->changed = true;
    else
        agg->refused++;
    return err;
}

/* Takes the series at the cursor out; the last one moves to its place. */
static void forget_series(struct hk_statsd_agg *agg) {
    struct series *series = agg->all[agg->cursor];
    struct series **link = chain_of(agg, series->hash);
    while (*link != series)
        link = &(*link)->next;
    *link = series->next;
    agg->all[agg->cursor] = agg->all[--agg->series_count];
    agg->expired++;
    free_series(agg, series);
}

/* Appends the entry of a series that changed. */
static hk_err show_series(
    struct series *series, struct hk_batch *batch, const struct hk_context *context,
    int64_t now_ms) {
    struct hk_entry entry = {
        .key = series->key,
        .key_bytes = series->key_bytes,
        .ref = HK_REF_NONE,
        .part = series->is_set ? 1 : 0,
        .context = context,
        .stamp_ms = now_ms,
        .kind = HK_ENTRY_SET,
    };
    if (series->is_set) {
        entry.value = hk_sketch_set_count(&series->set);
        hk_sketch_set_clear(&series->set);
        series->shown = entry.value > 0;
    } else {
        struct hk_str payload;
        HK_TRY(hk_sketch_histogram_encode(&series->timer, batch->arena, &payload));
        entry.kind = HK_ENTRY_HISTOGRAM;
        entry.start_ms = series->created_ms;
        entry.payload = payload.ptr;
        entry.payload_bytes = (uint32_t)payload.len;
    }
    series->changed = false;
    batch->entries[batch->count++] = entry;
    return HK_OK;
}

hk_err hk_statsd_agg_flush(
    struct hk_statsd_agg *agg, struct hk_batch *batch, const struct hk_context *context,
    int64_t now_ms) {
    while (agg->cursor < agg->series_count) {
        struct series *series = agg->all[agg->cursor];
        if (series->changed || series->shown) {
            if (batch->count == HK_BATCH_ENTRIES_MAX) return HK_FULL;
            HK_TRY(show_series(series, batch, context, now_ms));
        } else if (now_ms - series->seen_ms >= agg->idle_ms) {
            forget_series(agg);
            continue;
        }
        agg->cursor++;
    }
    agg->cursor = 0;
    return HK_OK;
}

struct hk_statsd_agg_stats hk_statsd_agg_stats(const struct hk_statsd_agg *agg) {
    return (struct hk_statsd_agg_stats){
        .series_count = agg->series_count,
        .bytes = agg->budget.bytes,
        .refused = agg->refused,
        .expired = agg->expired,
    };
}
