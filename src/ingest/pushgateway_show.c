/* What the registry hands out: new values, repetitions, stale markers. */
#include "ingest/pushgateway_internal.h"
#include "model/histogram.h"

void hk_push_mark_dirty(struct hk_push *push, struct hk_push_group *group, int64_t now_ms) {
    group->shown_ms = now_ms;
    group->cursor = group->series;
    if (group->dirty) return;
    group->dirty = true;
    group->dirty_next = NULL;
    if (push->dirty_last == NULL)
        push->dirty_first = group;
    else
        push->dirty_last->dirty_next = group;
    push->dirty_last = group;
}

void hk_push_tick(struct hk_push *push, int64_t now_ms) {
    struct hk_push_group *next = NULL;
    for (struct hk_push_group *group = push->groups; group != NULL; group = next) {
        next = group->next;
        if (now_ms - group->push_ms >= push->ttl_ms) {
            push->stats.expired++;
            hk_push_remove_group(push, group, now_ms);
        } else if (!group->dirty && now_ms - group->shown_ms >= push->repeat_ms) {
            group->show_all = true;
            hk_push_mark_dirty(push, group, now_ms);
        }
    }
}

/* An entry of a series; the key lives as long as the series. */
static struct hk_entry
entry_of(const struct hk_push *push, const struct hk_push_series *series, int64_t stamp_ms) {
    return (struct hk_entry){
        .key = series->bytes,
        .key_bytes = series->key_bytes,
        .ref = HK_REF_NONE,
        .context = push->context,
        .stamp_ms = stamp_ms,
        .value = series->value,
        .payload = series->payload_bytes == 0 ? NULL : series->bytes + series->key_bytes,
        .payload_bytes = series->payload_bytes,
        .kind = series->payload_bytes == 0 ? HK_ENTRY_SET : HK_ENTRY_HISTOGRAM,
    };
}

/* Stale marker of a histogram series, in `arena`. */
static hk_err stale_histogram(struct hk_arena *arena, struct hk_entry *entry) {
    const struct hk_histogram stale = { .sum = hk_stale_value() };
    struct hk_buf buf;
    hk_buf_init(&buf, 4096);
    hk_histogram_encode(&stale, &buf);
    struct hk_str payload = { NULL, 0 };
    if (buf.err == HK_OK) payload = hk_arena_str(arena, hk_buf_get(&buf));
    hk_buf_deinit(&buf);
    entry->payload = payload.ptr;
    entry->payload_bytes = (uint32_t)payload.len;
    return payload.ptr == NULL ? HK_E_NOMEM : HK_OK;
}

/* Stale markers; the series end here, so their keys move to the arena. */
static hk_err show_dying(struct hk_push *push, struct hk_batch *batch) {
    while (push->dying != NULL) {
        struct hk_push_series *series = push->dying;
        if (batch->count == HK_BATCH_ENTRIES_MAX) return HK_FULL;
        struct hk_entry entry = entry_of(push, series, series->stale_ms);
        const struct hk_str key =
            hk_arena_str(batch->arena, (struct hk_str){ series->bytes, series->key_bytes });
        if (key.ptr == NULL) return HK_E_NOMEM;
        entry.key = key.ptr;
        entry.value = hk_stale_value();
        if (entry.kind == HK_ENTRY_HISTOGRAM) HK_TRY(stale_histogram(batch->arena, &entry));
        batch->entries[batch->count++] = entry;
        batch->points++;
        push->dying = series->next;
        hk_push_free_series(push, series);
    }
    return HK_OK;
}

static hk_err push_parse(void *state, struct hk_batch *batch) {
    struct hk_push *push = state;
    const hk_err err = show_dying(push, batch);
    if (err == HK_E_NOMEM) return hk_fail(err, "push: no memory for stale markers");
    if (err != HK_OK) return err;
    while (push->dirty_first != NULL) {
        struct hk_push_group *group = push->dirty_first;
        for (; group->cursor != NULL; group->cursor = group->cursor->next) {
            struct hk_push_series *series = group->cursor;
            if (!series->dirty && !group->show_all) continue;
            if (batch->count == HK_BATCH_ENTRIES_MAX) return HK_FULL;
            batch->entries[batch->count++] = entry_of(push, series, group->shown_ms);
            batch->points++;
            series->dirty = false;
        }
        group->dirty = false;
        group->show_all = false;
        push->dirty_first = group->dirty_next;
        if (push->dirty_first == NULL) push->dirty_last = NULL;
    }
    return HK_OK;
}

static void decode_labels(struct hk_str key, struct hk_label_set *out) {
    while (key.len > 0) {
        const struct hk_str name = hk_push_next_string(&key);
        hk_label_set_add(out, name, hk_push_next_string(&key));
    }
}

static hk_err push_labels(
    void *state, struct hk_batch *batch, const struct hk_entry *entry, struct hk_label_set *out) {
    (void)state;
    (void)batch;
    decode_labels((struct hk_str){ entry->key, entry->key_bytes }, out);
    return HK_OK;
}

const struct hk_metric_parser hk_push_parser = {
    .name = "pushgateway",
    .parse = push_parse,
    .labels = push_labels,
};

struct hk_push_stats hk_push_stats(const struct hk_push *push) {
    return push->stats;
}
