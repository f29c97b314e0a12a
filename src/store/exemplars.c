/* The ring of exemplars. */
#include "store/exemplars.h"

#include "store/exemplars_internal.h"
#include "store/store_internal.h"

#include <math.h>
#include <stdlib.h>

enum { STEP_BACK_TURNS = 1000 };

hk_err hk_exemplars_create(uint64_t count_max, uint64_t bytes_max, struct hk_exemplars **out) {
    struct hk_exemplars *exemplars = hk_mem_alloc(1, sizeof(*exemplars));
    if (exemplars == NULL) return HK_E_NOMEM;
    if (count_max > HK_EXEMPLARS_MOST) count_max = HK_EXEMPLARS_MOST;
    hk_mutex_init(&exemplars->lock);
    exemplars->count_max = count_max;
    exemplars->bytes_max = bytes_max;
    exemplars->head = 1;
    exemplars->tail = 1;
    exemplars->saved = 1;
    exemplars->chunks = hk_mem_alloc(
        (size_t)count_max / HK_EXEMPLARS_CHUNK + 1, sizeof(struct hk_exemplars_item *));
    if (exemplars->chunks == NULL) {
        hk_exemplars_destroy(exemplars);
        return HK_E_NOMEM;
    }
    *out = exemplars;
    return HK_OK;
}

void hk_exemplars_destroy(struct hk_exemplars *exemplars) {
    if (exemplars == NULL) return;
    for (uint64_t i = exemplars->tail; i < exemplars->head; i++)
        hk_mem_free(hk_exemplars_at(exemplars, i)->payload);
    for (size_t i = 0; i < exemplars->slot_count; i++)
        hk_mem_free(exemplars->slots[i]);
    for (uint64_t i = 0; exemplars->chunks != NULL; i++) {
        if (i > exemplars->count_max / HK_EXEMPLARS_CHUNK) break;
        hk_mem_free(exemplars->chunks[i]);
    }
    hk_mem_free(exemplars->chunks);
    hk_mem_free(exemplars->slots);
    hk_mem_free(exemplars->free_slots);
    hk_hashindex_deinit(&exemplars->index);
    hk_mutex_deinit(&exemplars->lock);
    hk_mem_free(exemplars);
}

static void lock_first(struct hk_exemplars *exemplars) {
    atomic_fetch_add_explicit(&exemplars->waiting, 1, memory_order_relaxed);
    hk_mutex_lock(&exemplars->lock);
    atomic_fetch_sub_explicit(&exemplars->waiting, 1, memory_order_relaxed);
}

void hk_exemplars_lock_turn(struct hk_exemplars *exemplars) {
    for (unsigned i = 0; i < STEP_BACK_TURNS; i++) {
        if (atomic_load_explicit(&exemplars->waiting, memory_order_relaxed) == 0) break;
    }
    hk_mutex_lock(&exemplars->lock);
}

/* ------------------------------------------------------------------ series */

static struct hk_exemplars_series *
find_series(const struct hk_exemplars *exemplars, uint64_t hash, struct hk_labels labels) {
    size_t cursor = 0;
    uint32_t slot = 0;
    while ((slot = hk_hashindex_find(&exemplars->index, hash, &cursor)) != HK_HASHINDEX_NONE) {
        struct hk_exemplars_series *series = exemplars->slots[slot];
        struct hk_labels known = { series->labels, series->label_count };
        if (hk_labels_cmp(known, labels) == 0) return series;
    }
    return NULL;
}

static size_t label_bytes(struct hk_labels labels) {
    size_t bytes = 0;
    for (uint32_t i = 0; i < labels.count; i++)
        bytes += labels.items[i].name.len + labels.items[i].value.len;
    return bytes;
}

static struct hk_str put_text(char **to, struct hk_str text) {
    struct hk_str copy = { *to, text.len };
    if (text.len > 0) memcpy(*to, text.ptr, text.len);
    *to += text.len;
    return copy;
}

/* A slot for a new series; HK_E_NOMEM. */
static hk_err take_slot(struct hk_exemplars *exemplars, uint32_t *out) {
    if (exemplars->free_count > 0) {
        *out = exemplars->free_slots[--exemplars->free_count];
        return HK_OK;
    }
    size_t count = exemplars->slot_count + 1;
    HK_TRY(hk_mem_grow(
        &exemplars->slots, &exemplars->slot_capacity, count, sizeof(struct hk_exemplars_series *)));
    HK_TRY(hk_mem_grow(
        &exemplars->free_slots, &exemplars->free_capacity, count,
        sizeof(exemplars->free_slots[0])));
    exemplars->slots[exemplars->slot_count] = NULL;
    *out = (uint32_t)exemplars->slot_count++;
    return HK_OK;
}

static void give_slot(struct hk_exemplars *exemplars, uint32_t slot) {
    hk_assert(exemplars->free_count < exemplars->free_capacity);
    exemplars->slots[slot] = NULL;
    exemplars->free_slots[exemplars->free_count++] = slot;
}

static hk_err make_series(
    struct hk_exemplars *exemplars, uint64_t hash, struct hk_labels labels, uint32_t *out_slot) {
    size_t bytes = sizeof(struct hk_exemplars_series) + labels.count * sizeof(struct hk_label) +
                   label_bytes(labels);
    struct hk_exemplars_series *series = hk_mem_alloc(1, bytes);
    if (series == NULL) return HK_E_NOMEM;
    char *at = (char *)(series->labels + labels.count);
    series->id = ++exemplars->series_ids;
    series->hash = hash;
    series->bytes = bytes;
    series->label_count = labels.count;
    for (uint32_t i = 0; i < labels.count; i++) {
        series->labels[i].name = put_text(&at, labels.items[i].name);
        series->labels[i].value = put_text(&at, labels.items[i].value);
    }
    uint32_t slot = 0;
    hk_err err = take_slot(exemplars, &slot);
    if (err >= 0) {
        err = hk_hashindex_put(&exemplars->index, hash, slot);
        if (err < 0) give_slot(exemplars, slot);
    }
    if (err < 0) {
        hk_mem_free(series);
        return err;
    }
    exemplars->slots[slot] = series;
    exemplars->bytes += bytes;
    exemplars->stats.series++;
    *out_slot = slot;
    return HK_OK;
}

static void end_series(struct hk_exemplars *exemplars, uint32_t slot) {
    struct hk_exemplars_series *series = exemplars->slots[slot];
    hk_hashindex_remove(&exemplars->index, series->hash, slot);
    exemplars->bytes -= series->bytes;
    exemplars->stats.series--;
    hk_mem_free(series);
    give_slot(exemplars, slot);
}

/* ------------------------------------------------------------------ rules */

/* An exemplar that wants in. */
struct candidate {
    struct hk_labels series;
    struct hk_str payload;
    uint64_t hash;
    int64_t stamp_ms;
    double value;
    bool stamped;
};

static hk_err read_candidate(
    struct hk_labels series, int64_t stamp_ms, struct hk_str payload, struct candidate *out) {
    uint32_t chars = 0;
    int64_t own_ms = 0;
    HK_TRY(hk_exemplar_chars(payload, &chars));
    if (chars > HK_EXEMPLAR_CHARS_MAX) return HK_E_LIMIT;
    if (label_bytes(series) > HK_EXEMPLARS_LABEL_BYTES_MAX) return HK_E_LIMIT;
    *out = (struct candidate){ .series = series, .payload = payload };
    memcpy(&out->value, payload.ptr + payload.len - HK_EXEMPLARS_TAIL_BYTES, sizeof(out->value));
    memcpy(&own_ms, payload.ptr + payload.len - sizeof(own_ms), sizeof(own_ms));
    out->stamped = own_ms != HK_EXEMPLAR_NO_STAMP;
    out->stamp_ms = out->stamped ? own_ms : stamp_ms;
    out->hash = hk_labels_hash(series).low;
    return HK_OK;
}

static int compare_labels(struct hk_str a, struct hk_str b) {
    a.len -= HK_EXEMPLARS_TAIL_BYTES;
    b.len -= HK_EXEMPLARS_TAIL_BYTES;
    return hk_str_cmp(a, b);
}

/* May it follow the newest of its series? HK_OK, HK_END, HK_E_EXISTS. Under the lock. */
static hk_err judge(const struct hk_exemplars *exemplars, const struct candidate *candidate) {
    const struct hk_exemplars_series *series =
        find_series(exemplars, candidate->hash, candidate->series);
    if (series == NULL) return HK_OK;
    const struct hk_exemplars_item *newest = hk_exemplars_at(exemplars, series->last);
    int order =
        compare_labels(candidate->payload, (struct hk_str){ newest->payload, newest->bytes });
    bool timeless = !candidate->stamped && !newest->stamped;
    bool same_time = timeless || candidate->stamp_ms == newest->stamp_ms;
    bool same_value =
        candidate->value == newest->value || (isnan(candidate->value) && isnan(newest->value));
    if (order == 0 && same_value && same_time) return HK_END;
    if (candidate->stamp_ms != newest->stamp_ms) {
        return candidate->stamp_ms < newest->stamp_ms ? HK_E_EXISTS : HK_OK;
    }
    bool before =
        candidate->value < newest->value || (candidate->value == newest->value && order < 0);
    return before ? HK_E_EXISTS : HK_OK;
}

/* ------------------------------------------------------------------ the ring */

static uint64_t chunk_of(const struct hk_exemplars *exemplars, uint64_t number) {
    return number % exemplars->count_max / HK_EXEMPLARS_CHUNK;
}

/* Frees the chunk that the tail has left, unless the head is in it already. */
static void leave_chunk(struct hk_exemplars *exemplars) {
    uint64_t chunk = chunk_of(exemplars, exemplars->tail - 1);
    if (chunk == chunk_of(exemplars, exemplars->tail)) return;
    if (chunk == chunk_of(exemplars, exemplars->head - 1)) return;
    hk_mem_free(exemplars->chunks[chunk]);
    exemplars->chunks[chunk] = NULL;
}

static void drop_oldest(struct hk_exemplars *exemplars) {
    struct hk_exemplars_item *item = hk_exemplars_at(exemplars, exemplars->tail);
    struct hk_exemplars_series *series = exemplars->slots[item->series];
    hk_assert(series != NULL && series->first == exemplars->tail); /* (1) */
    exemplars->bytes -= item->bytes + sizeof(*item);
    hk_mem_free(item->payload);
    item->payload = NULL;
    series->first = item->next;
    if (item->next == 0) end_series(exemplars, item->series);
    exemplars->tail++;
    exemplars->stats.displaced++;
    leave_chunk(exemplars);
}

/* Makes room for `bytes`; HK_E_LIMIT when there is none even in an empty ring. */
static hk_err make_room(struct hk_exemplars *exemplars, size_t bytes) {
    while (exemplars->tail < exemplars->head &&
           (exemplars->head - exemplars->tail >= exemplars->count_max ||
            exemplars->bytes + bytes > exemplars->bytes_max)) {
        drop_oldest(exemplars);
    }
    bool fits = exemplars->bytes + bytes <= exemplars->bytes_max && exemplars->count_max > 0;
    return fits ? HK_OK : HK_E_LIMIT;
}

static hk_err reserve_place(struct hk_exemplars *exemplars) {
    uint64_t chunk = chunk_of(exemplars, exemplars->head);
    if (exemplars->chunks[chunk] != NULL) return HK_OK;
    exemplars->chunks[chunk] = hk_mem_alloc(HK_EXEMPLARS_CHUNK, sizeof(struct hk_exemplars_item));
    return exemplars->chunks[chunk] == NULL ? HK_E_NOMEM : HK_OK;
}

static uint32_t slot_of(const struct hk_exemplars *exemplars, const struct candidate *candidate) {
    size_t cursor = 0;
    uint32_t slot = 0;
    const struct hk_hashindex *index = &exemplars->index;
    while ((slot = hk_hashindex_find(index, candidate->hash, &cursor)) != HK_HASHINDEX_NONE) {
        struct hk_labels known = { exemplars->slots[slot]->labels,
                                   exemplars->slots[slot]->label_count };
        if (hk_labels_cmp(known, candidate->series) == 0) return slot;
    }
    return HK_HASHINDEX_NONE;
}

/* Under the lock, after judge() said HK_OK. */
static hk_err push(struct hk_exemplars *exemplars, const struct candidate *candidate) {
    size_t most = candidate->payload.len + sizeof(struct hk_exemplars_item) +
                  sizeof(struct hk_exemplars_series) +
                  candidate->series.count * sizeof(struct hk_label) +
                  label_bytes(candidate->series);
    HK_TRY(make_room(exemplars, most));
    HK_TRY(reserve_place(exemplars));
    char *payload = hk_mem_copy(candidate->payload.ptr, candidate->payload.len);
    if (payload == NULL) return HK_E_NOMEM;
    uint32_t slot = slot_of(exemplars, candidate);
    hk_err err = HK_OK;
    if (slot == HK_HASHINDEX_NONE) {
        err = make_series(exemplars, candidate->hash, candidate->series, &slot);
    }
    if (err < 0) {
        hk_mem_free(payload);
        return err;
    }
    struct hk_exemplars_series *series = exemplars->slots[slot];
    uint64_t number = exemplars->head++;
    if (series->first == 0)
        series->first = number;
    else
        hk_exemplars_at(exemplars, series->last)->next = number;
    series->last = number;
    *hk_exemplars_at(exemplars, number) = (struct hk_exemplars_item){
        .payload = payload,
        .bytes = (uint32_t)candidate->payload.len,
        .series = slot,
        .stamp_ms = candidate->stamp_ms,
        .value = candidate->value,
        .stamped = candidate->stamped,
    };
    exemplars->bytes += candidate->payload.len + sizeof(struct hk_exemplars_item);
    exemplars->stats.stored++;
    return HK_OK;
}

static void count_refused(struct hk_exemplars *exemplars, hk_err err) {
    struct hk_exemplars_stats *stats = &exemplars->stats;
    if (err == HK_END)
        stats->duplicate++;
    else if (err == HK_E_EXISTS)
        stats->out_of_order++;
    else if (err == HK_E_LIMIT)
        stats->too_long++;
    else if (err < 0)
        stats->refused++;
}

static hk_err
append(struct hk_store_shard *shard, uint32_t ref, const struct candidate *candidate, hk_err err) {
    struct hk_exemplars *exemplars = shard->store->exemplars;
    lock_first(exemplars);
    if (err >= 0 && exemplars->count_max == 0) err = HK_E_UNSUPPORTED;
    if (err >= 0) err = judge(exemplars, candidate);
    /* The log first: what is listed can be found again. */
    if (err == HK_OK) {
        err = hk_store_append_side(
            shard, HK_SIDE_EXEMPLAR, ref, candidate->stamp_ms, candidate->payload);
    }
    if (err == HK_OK) err = push(exemplars, candidate);
    count_refused(exemplars, err);
    hk_mutex_unlock(&exemplars->lock);
    return err;
}

hk_err hk_store_append_exemplar(
    struct hk_store_shard *shard, uint32_t ref, int64_t stamp_ms, struct hk_str payload) {
    struct hk_directory *directory = shard->store->directory;
    struct hk_label items[HK_LABELS_MAX];
    struct candidate candidate = { 0 };
    struct hk_directory_view *view = hk_directory_hold(directory);
    struct hk_labels labels = hk_view_labels(view, ref, items);
    hk_err err =
        labels.count == 0 ? HK_E_NOT_FOUND : read_candidate(labels, stamp_ms, payload, &candidate);
    err = append(shard, ref, &candidate, err);
    hk_directory_release(directory, view);
    return err;
}

hk_err hk_exemplars_put(
    struct hk_exemplars *exemplars, struct hk_labels series, int64_t stamp_ms,
    struct hk_str payload) {
    struct candidate candidate = { 0 };
    hk_err err = read_candidate(series, stamp_ms, payload, &candidate);
    hk_mutex_lock(&exemplars->lock);
    if (err >= 0 && exemplars->count_max == 0) err = HK_E_UNSUPPORTED;
    if (err >= 0) err = judge(exemplars, &candidate);
    if (err == HK_OK) err = push(exemplars, &candidate);
    hk_mutex_unlock(&exemplars->lock);
    return err;
}

void hk_exemplars_get_stats(struct hk_exemplars *exemplars, struct hk_exemplars_stats *out) {
    hk_mutex_lock(&exemplars->lock);
    *out = exemplars->stats;
    out->kept = exemplars->head - exemplars->tail;
    out->bytes = exemplars->bytes;
    hk_mutex_unlock(&exemplars->lock);
}

/* ------------------------------------------------------------------ reading */

/* A selection on its way. `want[slot]` is the series' place in the result + 1. */
struct selection {
    struct hk_exemplars *exemplars;
    const struct hk_select *requests;
    uint32_t request_count;
    int64_t from_ms, to_ms;
    struct hk_arena *arena;
    struct chosen {
        struct hk_exemplar_series series;
        uint32_t capacity;
        uint64_t id;
    } * chosen;
    size_t count, capacity; /* of `chosen`, on the heap */
    uint32_t *want;
    size_t want_count, want_capacity;
};

static bool is_wanted(const struct selection *selection, struct hk_labels labels) {
    for (uint32_t i = 0; i < selection->request_count; i++) {
        const struct hk_select *request = &selection->requests[i];
        if (hk_matchers_accept(request->matchers, request->matcher_count, labels)) return true;
    }
    return false;
}

static bool is_canceled(const struct selection *selection) {
    const _Atomic bool *cancel =
        selection->request_count == 0 ? NULL : selection->requests[0].cancel;
    return cancel != NULL && atomic_load_explicit(cancel, memory_order_relaxed);
}

static hk_err copy_labels(struct hk_arena *arena, struct hk_labels from, struct hk_labels *out) {
    struct hk_label *items = hk_arena_alloc_raw(arena, (size_t)from.count + 1, sizeof(*items));
    if (items == NULL) return HK_E_NOMEM;
    for (uint32_t i = 0; i < from.count; i++) {
        items[i].name = hk_arena_str(arena, from.items[i].name);
        items[i].value = hk_arena_str(arena, from.items[i].value);
        if (items[i].name.ptr == NULL || items[i].value.ptr == NULL) return HK_E_NOMEM;
    }
    *out = (struct hk_labels){ items, from.count };
    return HK_OK;
}

static hk_err choose(struct selection *selection, size_t slot) {
    const struct hk_exemplars_series *series = selection->exemplars->slots[slot];
    HK_TRY(hk_mem_grow(
        &selection->want, &selection->want_capacity, slot + 1, sizeof(selection->want[0])));
    while (selection->want_count <= slot)
        selection->want[selection->want_count++] = 0;
    if (series == NULL) return HK_OK;
    struct hk_labels labels = { series->labels, series->label_count };
    if (!is_wanted(selection, labels)) return HK_OK;
    HK_TRY(hk_mem_grow(
        &selection->chosen, &selection->capacity, selection->count + 1,
        sizeof(selection->chosen[0])));
    struct chosen *chosen = &selection->chosen[selection->count];
    *chosen = (struct chosen){ .id = series->id };
    HK_TRY(copy_labels(selection->arena, labels, &chosen->series.labels));
    selection->want[slot] = (uint32_t)++selection->count;
    return HK_OK;
}

static hk_err choose_series(struct selection *selection) {
    struct hk_exemplars *exemplars = selection->exemplars;
    hk_err err = HK_OK;
    size_t at = 0;
    bool more = true;
    while (err >= 0 && more) {
        hk_exemplars_lock_turn(exemplars);
        for (size_t i = 0; i < HK_EXEMPLARS_TURN && at < exemplars->slot_count && err >= 0; i++) {
            err = choose(selection, at++);
        }
        more = at < exemplars->slot_count;
        hk_mutex_unlock(&exemplars->lock);
        if (err >= 0 && is_canceled(selection)) err = HK_E_CANCELED;
    }
    return err;
}

static hk_err
add_item(struct selection *selection, struct chosen *chosen, const struct hk_exemplars_item *item) {
    struct hk_exemplar_series *series = &chosen->series;
    if (series->count == chosen->capacity) {
        uint32_t capacity = chosen->capacity * 2 + 4;
        struct hk_exemplar *grown =
            hk_arena_alloc_raw(selection->arena, capacity, sizeof(grown[0]));
        if (grown == NULL) return HK_E_NOMEM;
        if (series->count > 0) memcpy(grown, series->items, series->count * sizeof(grown[0]));
        series->items = grown;
        chosen->capacity = capacity;
    }
    struct hk_str copy =
        hk_arena_str(selection->arena, (struct hk_str){ item->payload, item->bytes });
    if (copy.ptr == NULL) return HK_E_NOMEM;
    struct hk_exemplar *to = &series->items[series->count];
    HK_TRY(hk_exemplar_decode(copy, selection->arena, to));
    to->stamp_ms = item->stamp_ms;
    series->count++;
    return HK_OK;
}

/* Adds a kept item if it is asked for. Under the lock. */
static hk_err take_item(struct selection *selection, uint64_t number) {
    const struct hk_exemplars *exemplars = selection->exemplars;
    const struct hk_exemplars_item *item = hk_exemplars_at(exemplars, number);
    bool inside = item->stamp_ms >= selection->from_ms && item->stamp_ms <= selection->to_ms;
    if (!inside || item->series >= selection->want_count) return HK_OK;
    uint32_t place = selection->want[item->series];
    if (place == 0) return HK_OK;
    struct chosen *chosen = &selection->chosen[place - 1];
    if (exemplars->slots[item->series]->id != chosen->id) return HK_OK;
    return add_item(selection, chosen, item);
}

static hk_err take_items(struct selection *selection) {
    struct hk_exemplars *exemplars = selection->exemplars;
    hk_err err = HK_OK;
    uint64_t at = 0;
    uint64_t end = 0;
    do {
        hk_exemplars_lock_turn(exemplars);
        if (end == 0) end = exemplars->head;
        if (at < exemplars->tail) at = exemplars->tail;
        for (size_t i = 0; i < HK_EXEMPLARS_TURN && at < end && err >= 0; i++)
            err = take_item(selection, at++);
        hk_mutex_unlock(&exemplars->lock);
        if (err >= 0 && is_canceled(selection)) err = HK_E_CANCELED;
    } while (err >= 0 && at < end);
    return err;
}

static int by_labels(const void *a, const void *b) {
    const struct hk_exemplar_series *left = a;
    const struct hk_exemplar_series *right = b;
    return hk_labels_cmp(left->labels, right->labels);
}

static hk_err
finish(const struct selection *selection, struct hk_exemplar_series **out, uint32_t *out_count) {
    struct hk_exemplar_series *all =
        hk_arena_alloc_raw(selection->arena, selection->count + 1, sizeof(*all));
    if (all == NULL) return HK_E_NOMEM;
    uint32_t count = 0;
    for (size_t i = 0; i < selection->count; i++) {
        if (selection->chosen[i].series.count > 0) all[count++] = selection->chosen[i].series;
    }
    if (count > 1) qsort(all, count, sizeof(all[0]), by_labels);
    *out = all;
    *out_count = count;
    return HK_OK;
}

hk_err hk_exemplars_select(
    struct hk_exemplars *exemplars, const struct hk_select *requests, uint32_t request_count,
    int64_t from_ms, int64_t to_ms, struct hk_arena *arena, struct hk_exemplar_series **out,
    uint32_t *out_count) {
    struct selection selection = {
        .exemplars = exemplars,
        .requests = requests,
        .request_count = request_count,
        .from_ms = from_ms,
        .to_ms = to_ms,
        .arena = arena,
    };
    hk_err err = choose_series(&selection);
    if (err >= 0) err = take_items(&selection);
    if (err >= 0) err = finish(&selection, out, out_count);
    hk_mem_free(selection.chosen);
    hk_mem_free(selection.want);
    return err;
}
