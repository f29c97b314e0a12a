/* A push: what it stages, and what its commit makes of the group. */
#include "ingest/pushgateway_internal.h"

#include <stdlib.h>

hk_err hk_push_begin(
    struct hk_push *push, struct hk_labels group, enum hk_push_method method, int64_t now_ms) {
    struct hk_push_transaction *transaction = &push->transaction;
    if (transaction->open) return hk_fail(HK_E_BUSY, "another push is under way");
    if (hk_push_encode(group, &transaction->key) < 0) {
        return hk_fail(HK_E_NOMEM, "push: no memory for the group's labels");
    }
    transaction->method = method;
    transaction->now_ms = now_ms;
    transaction->open = true;
    return HK_OK;
}

/* Writes labels for a message, cut at a readable length. */
static void describe(struct hk_labels labels, char *out, size_t bytes) {
    struct hk_buf buf;
    hk_buf_init(&buf, 1 << 20);
    hk_labels_format(labels, &buf);
    const struct hk_str text = hk_str_part(hk_buf_get(&buf), 0, bytes - 1);
    memcpy(out, text.ptr, text.len);
    out[text.len] = 0;
    hk_buf_deinit(&buf);
}

/* Refuses a series that the push or another group has already, or for which there is no room.
 * `twin`: it takes the place of one. */
static hk_err check_place(
    struct hk_push *push, struct hk_labels labels, struct hk_str key, uint64_t hash, bool *twin) {
    char text[300];
    if (hk_push_find_series(push, key, hash, true) != NULL) {
        describe(labels, text, sizeof(text));
        return hk_fail(HK_E_MALFORMED, "series %s stands twice in the pushed metrics", text);
    }
    const struct hk_push_series *live = hk_push_find_series(push, key, hash, false);
    if (live == NULL) {
        if (push->stats.series_count - push->transaction.twins < push->series_max) return HK_OK;
        return hk_fail(
            HK_E_LIMIT, "more than %u pushed series: delete groups or raise the limit",
            push->series_max);
    }
    const struct hk_str other = { live->group->key, live->group->key_bytes };
    if (hk_str_eq(other, hk_buf_get(&push->transaction.key))) {
        *twin = true;
        return HK_OK;
    }
    describe(labels, text, sizeof(text));
    return hk_fail(HK_E_MALFORMED, "series %s belongs to another pushed group", text);
}

/* Stages a series of the push under way. */
static hk_err
stage(struct hk_push *push, struct hk_labels labels, double value, struct hk_str payload) {
    if (hk_push_encode(labels, &push->scratch) < 0) {
        return hk_fail(HK_E_NOMEM, "push: no memory for labels");
    }
    const struct hk_str key = hk_buf_get(&push->scratch);
    const uint64_t hash = hk_hash64(key.ptr, key.len);
    bool twin = false;
    HK_TRY(check_place(push, labels, key, hash, &twin));
    const size_t bytes = sizeof(struct hk_push_series) + key.len + payload.len;
    HK_TRY(hk_push_charge(push, bytes));
    struct hk_push_series *series = hk_mem_alloc(1, bytes);
    if (series == NULL) {
        push->stats.bytes -= bytes;
        return hk_fail(HK_E_NOMEM, "push: out of memory");
    }
    push->stats.series_count++;
    push->transaction.twins += twin ? 1 : 0;
    const struct hk_str name = hk_labels_get(labels, HK_STR("__name__"));
    series->hash = hash;
    series->name_hash = hk_hash64(name.ptr, name.len);
    series->value = value;
    series->key_bytes = (uint32_t)key.len;
    series->payload_bytes = (uint32_t)payload.len;
    series->staged = true;
    memcpy(series->bytes, key.ptr, key.len);
    if (payload.len > 0) memcpy(series->bytes + key.len, payload.ptr, payload.len);
    struct hk_push_series **chain = hk_push_series_chain(push, hash);
    series->chain = *chain;
    *chain = series;
    series->next = push->transaction.staged;
    push->transaction.staged = series;
    return HK_OK;
}

/* Puts the group's labels over those of the set. */
static void put_group_labels(const struct hk_push *push, struct hk_label_set *set) {
    struct hk_str key = hk_buf_get(&push->transaction.key);
    while (key.len > 0) {
        const struct hk_str name = hk_push_next_string(&key);
        hk_label_set_put(set, name, hk_push_next_string(&key));
    }
}

static hk_err add_entry(
    struct hk_push *push, const struct hk_metric_parser *parser, void *state,
    struct hk_batch *batch, const struct hk_entry *entry) {
    struct hk_label_set set;
    struct hk_labels labels;
    if (entry->kind == HK_ENTRY_EXEMPLAR) {
        push->stats.exemplars_skipped++;
        return HK_OK;
    }
    hk_label_set_clear(&set);
    HK_TRY(parser->labels(state, batch, entry, &set));
    put_group_labels(push, &set);
    HK_TRY(hk_label_set_finish(&set, &labels));
    if (entry->stamp_ms != HK_PUSH_NO_STAMP) {
        char text[300];
        describe(labels, text, sizeof(text));
        return hk_fail(HK_E_MALFORMED, "pushed metrics must not have timestamps: %s", text);
    }
    const struct hk_str payload = { entry->payload, entry->payload_bytes };
    return stage(push, labels, entry->value, payload);
}

hk_err hk_push_add(
    struct hk_push *push, const struct hk_metric_parser *parser, void *state,
    struct hk_batch *batch) {
    hk_assert(push->transaction.open);
    for (uint32_t i = 0; i < batch->count; i++)
        HK_TRY(add_entry(push, parser, state, batch, &batch->entries[i]));
    return HK_OK;
}

/* Forgets what is staged and ends the push. */
static void close_transaction(struct hk_push *push) {
    struct hk_push_transaction *transaction = &push->transaction;
    for (struct hk_push_series *at = transaction->staged; at != NULL; at = at->next)
        hk_push_unchain(push, at);
    hk_push_free_list(push, transaction->staged);
    transaction->staged = NULL;
    transaction->twins = 0;
    transaction->open = false;
}

/* Stages one of the group's own series, a time in seconds. */
static hk_err stage_time(struct hk_push *push, struct hk_str name, int64_t time_ms) {
    struct hk_label_set set;
    struct hk_labels labels;
    hk_label_set_clear(&set);
    hk_label_set_add(&set, HK_STR("__name__"), name);
    put_group_labels(push, &set);
    HK_TRY(hk_label_set_finish(&set, &labels));
    return stage(push, labels, (double)time_ms / 1000, (struct hk_str){ "", 0 });
}

static hk_err stage_times(struct hk_push *push, int64_t push_ms, int64_t failure_ms) {
    HK_TRY(stage_time(push, HK_STR("push_time_seconds"), push_ms));
    return stage_time(push, HK_STR("push_failure_time_seconds"), failure_ms);
}

static int compare_hashes(const void *a, const void *b) {
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* Sorted hashes of the metric names in the push; freed by the caller. NULL: out of memory. */
static uint64_t *staged_names(const struct hk_push_transaction *transaction, size_t *out_count) {
    size_t count = 0;
    for (const struct hk_push_series *at = transaction->staged; at != NULL; at = at->next)
        count++;
    uint64_t *names = hk_mem_alloc(count + 1, sizeof(*names));
    if (names == NULL) return NULL;
    *out_count = 0;
    for (const struct hk_push_series *at = transaction->staged; at != NULL; at = at->next)
        names[(*out_count)++] = at->name_hash;
    qsort(names, *out_count, sizeof(*names), compare_hashes);
    return names;
}

/* Moves what is staged into the group; series that it replaces end silently. */
static void adopt_staged(struct hk_push *push, struct hk_push_group *group) {
    struct hk_push_transaction *transaction = &push->transaction;
    for (struct hk_push_series *at = transaction->staged; at != NULL; at = at->next) {
        const struct hk_str key = { at->bytes, at->key_bytes };
        struct hk_push_series *old = hk_push_find_series(push, key, at->hash, false);
        if (old != NULL) old->seen = true;
    }
    struct hk_push_series **link = &group->series;
    while (*link != NULL) {
        struct hk_push_series *series = *link;
        if (!series->seen) {
            link = &series->next;
            continue;
        }
        *link = series->next;
        hk_push_unchain(push, series);
        hk_push_free_series(push, series);
    }
    while (transaction->staged != NULL) {
        struct hk_push_series *series = transaction->staged;
        transaction->staged = series->next;
        series->staged = false;
        series->group = group;
        series->dirty = true;
        series->next = group->series;
        group->series = series;
    }
}

/* Ends the series of the group that the push makes vanish; before the staged ones are adopted.
 * `names` is NULL for a push that replaces the whole group. */
static void end_vanished(
    struct hk_push *push, struct hk_push_group *group, const uint64_t *names, size_t count) {
    struct hk_push_series **link = &group->series;
    while (*link != NULL) {
        struct hk_push_series *series = *link;
        const struct hk_str key = { series->bytes, series->key_bytes };
        const bool named =
            names == NULL ||
            bsearch(&series->name_hash, names, count, sizeof(*names), compare_hashes) != NULL;
        if (!named || hk_push_find_series(push, key, series->hash, true) != NULL) {
            link = &series->next;
            continue;
        }
        *link = series->next;
        hk_push_kill_series(push, series, push->transaction.now_ms);
    }
}

/* The part of a commit that may fail. */
static hk_err prepare(
    struct hk_push *push, struct hk_push_group **out_group, uint64_t **out_names,
    size_t *out_count) {
    struct hk_push_transaction *transaction = &push->transaction;
    const struct hk_str key = hk_buf_get(&transaction->key);
    struct hk_push_group *group = hk_push_find_group(push, key, hk_hash64(key.ptr, key.len));
    HK_TRY(stage_times(push, transaction->now_ms, group == NULL ? 0 : group->failure_ms));
    if (transaction->method == HK_PUSH_POST) {
        *out_names = staged_names(transaction, out_count);
        if (*out_names == NULL) return hk_fail(HK_E_NOMEM, "push: out of memory");
    }
    const hk_err err = group == NULL ? hk_push_add_group(push, key, &group) : HK_OK;
    if (err < 0) {
        hk_mem_free(*out_names);
        return err;
    }
    *out_group = group;
    return HK_OK;
}

hk_err hk_push_commit(struct hk_push *push) {
    struct hk_push_transaction *transaction = &push->transaction;
    struct hk_push_group *group = NULL;
    uint64_t *names = NULL;
    size_t name_count = 0;
    hk_assert(transaction->open);
    const hk_err err = prepare(push, &group, &names, &name_count);
    if (err < 0) {
        hk_push_abort(push);
        return err;
    }
    end_vanished(push, group, names, name_count);
    hk_mem_free(names);
    adopt_staged(push, group);
    group->push_ms = transaction->now_ms;
    hk_push_mark_dirty(push, group, transaction->now_ms);
    close_transaction(push);
    return HK_OK;
}

void hk_push_abort(struct hk_push *push) {
    struct hk_push_transaction *transaction = &push->transaction;
    if (!transaction->open) return;
    const struct hk_str key = hk_buf_get(&transaction->key);
    struct hk_push_group *group = hk_push_find_group(push, key, hk_hash64(key.ptr, key.len));
    close_transaction(push);
    if (group == NULL) return;
    group->failure_ms = transaction->now_ms;
    transaction->open = true;
    const hk_err err = stage_times(push, group->push_ms, group->failure_ms);
    if (err == HK_OK) {
        adopt_staged(push, group);
        hk_push_mark_dirty(push, group, transaction->now_ms);
    }
    close_transaction(push); /* no room for the note: the failure shows with the next push */
}

hk_err hk_push_delete(struct hk_push *push, struct hk_labels labels, int64_t now_ms) {
    if (hk_push_encode(labels, &push->scratch) < 0) {
        return hk_fail(HK_E_NOMEM, "push: no memory for the group's labels");
    }
    const struct hk_str key = hk_buf_get(&push->scratch);
    struct hk_push_group *group = hk_push_find_group(push, key, hk_hash64(key.ptr, key.len));
    if (group == NULL) return hk_fail(HK_E_NOT_FOUND, "no such pushed group");
    hk_push_remove_group(push, group, now_ms);
    return HK_OK;
}
