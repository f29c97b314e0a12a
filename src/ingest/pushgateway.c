/*
 * Registry of pushed groups.
 *
 * (1) A series has one owner: the push under way (staged), its group, or the list of the dying,
 *     which wait for their stale marker. Staged and owned ones stand in the hash table; the dying
 *     do not.
 * (2) Series are immutable but for bookkeeping: a new value is a new series in place of the old.
 * (3) `bytes` is the sum of what series and groups take and never passes `bytes_max`.
 *
 * Key of a series = its canonical labels, each name and value behind its length (4 bytes).
 */
#include "ingest/pushgateway.h"

#include "base/mem.h"
#include "model/histogram.h"

#include <stdlib.h>

enum {
    GROUPS_MAX_DEFAULT = 10000,
    SERIES_MAX_DEFAULT = 100000,
    COUNT_LIMIT = 1 << 24,
};

static const size_t bytes_max_default = (size_t)64 << 20;
static const int64_t ttl_ms_default = 604800000, repeat_ms_default = 60000;

struct group;

struct series {
    struct series *chain; /* of the table */
    struct series *next;  /* of its owner's list */
    struct group *group;  /* NULL while staged or dying */
    uint64_t hash, name_hash;
    double value;
    int64_t stale_ms; /* of a dying one: stamp of its marker */
    uint32_t key_bytes, payload_bytes;
    bool staged, dirty, seen; /* seen: part of the push being committed */
    char bytes[];             /* key, payload of a histogram */
};

struct group {
    struct group *chain; /* of the table */
    struct group *next;  /* of all groups */
    struct group *dirty_next;
    struct series *series;
    struct series *cursor; /* next to hand out while dirty */
    uint64_t hash;
    int64_t push_ms, failure_ms; /* 0 = never */
    int64_t shown_ms;            /* stamp of the entries being handed out */
    bool dirty, show_all;
    uint32_t key_bytes;
    char key[]; /* canonical labels */
};

/* The push under way. */
struct transaction {
    struct hk_buf key; /* of the group */
    struct series *staged;
    enum hk_push_method method;
    int64_t now_ms;
    uint32_t twins; /* staged series that take the place of one */
    bool open;
};

struct hk_push {
    const struct hk_context *context;
    struct series **series_table;
    struct group **group_table;
    struct group *groups;
    struct group *dirty_first, *dirty_last;
    struct series *dying;
    uint32_t series_mask, group_mask;
    uint32_t groups_max, series_max;
    size_t bytes_max;
    int64_t ttl_ms, repeat_ms;
    struct transaction transaction;
    struct hk_buf scratch; /* a key */
    struct hk_push_stats stats;
};

static uint32_t table_size(uint32_t count) {
    uint32_t size = 1;
    while (size < count)
        size *= 2;
    return size;
}

hk_err hk_push_create(
    const struct hk_push_options *options, const struct hk_context *context, struct hk_push **out) {
    const uint32_t groups_max = options->groups_max == 0 ? GROUPS_MAX_DEFAULT : options->groups_max;
    const uint32_t series_max = options->series_max == 0 ? SERIES_MAX_DEFAULT : options->series_max;
    if (groups_max > COUNT_LIMIT || series_max > COUNT_LIMIT) {
        return hk_fail(HK_E_INVALID, "push: at most %d groups and series", COUNT_LIMIT);
    }
    struct hk_push *push = hk_mem_alloc(1, sizeof(*push));
    if (push == NULL) return hk_fail(HK_E_NOMEM, "push: out of memory");
    push->context = context;
    push->groups_max = groups_max;
    push->series_max = series_max;
    push->bytes_max = options->bytes_max == 0 ? bytes_max_default : options->bytes_max;
    push->ttl_ms = options->ttl_ms == 0 ? ttl_ms_default : options->ttl_ms;
    push->repeat_ms = options->repeat_ms == 0 ? repeat_ms_default : options->repeat_ms;
    push->series_mask = table_size(series_max) - 1;
    push->group_mask = table_size(groups_max) - 1;
    push->series_table = hk_mem_alloc((size_t)push->series_mask + 1, sizeof(struct series *));
    push->group_table = hk_mem_alloc((size_t)push->group_mask + 1, sizeof(struct group *));
    const size_t key_bytes_max =
        (size_t)HK_LABELS_MAX * (HK_LABEL_NAME_BYTES_MAX + HK_LABEL_VALUE_BYTES_MAX + 8);
    hk_buf_init(&push->scratch, key_bytes_max);
    hk_buf_init(&push->transaction.key, key_bytes_max);
    if (push->series_table == NULL || push->group_table == NULL) {
        hk_push_destroy(push);
        return hk_fail(HK_E_NOMEM, "push: no memory for %u series", series_max);
    }
    *out = push;
    return HK_OK;
}

static void free_series(struct hk_push *push, struct series *series) {
    push->stats.bytes -= sizeof(*series) + series->key_bytes + series->payload_bytes;
    push->stats.series_count--;
    hk_mem_free(series);
}

static void free_list(struct hk_push *push, struct series *first) {
    while (first != NULL) {
        struct series *next = first->next;
        free_series(push, first);
        first = next;
    }
}

static void free_group(struct hk_push *push, struct group *group) {
    push->stats.bytes -= sizeof(*group) + group->key_bytes;
    push->stats.group_count--;
    hk_mem_free(group);
}

void hk_push_destroy(struct hk_push *push) {
    if (push == NULL) return;
    free_list(push, push->transaction.staged);
    free_list(push, push->dying);
    while (push->groups != NULL) {
        struct group *next = push->groups->next;
        free_list(push, push->groups->series);
        free_group(push, push->groups);
        push->groups = next;
    }
    hk_assert(push->stats.bytes == 0 && push->stats.series_count == 0); /* (3) */
    hk_buf_deinit(&push->scratch);
    hk_buf_deinit(&push->transaction.key);
    hk_mem_free(push->series_table);
    hk_mem_free(push->group_table);
    hk_mem_free(push);
}

/* Canonical labels as bytes. HK_E_NOMEM, HK_E_LIMIT. */
static hk_err encode_labels(struct hk_labels labels, struct hk_buf *out) {
    hk_buf_clear(out);
    for (uint32_t i = 0; i < labels.count; i++) {
        const struct hk_str parts[] = { labels.items[i].name, labels.items[i].value };
        for (size_t k = 0; k < HK_COUNT(parts); k++) {
            const uint32_t len = (uint32_t)parts[k].len;
            hk_buf_bytes(out, &len, sizeof(len));
            hk_buf_str(out, parts[k]);
        }
    }
    return out->err;
}

/* The next string of a key; moves past it. Keys are our own: always well formed. */
static struct hk_str next_string(struct hk_str *key) {
    uint32_t len = 0;
    hk_assert(key->len >= sizeof(len));
    memcpy(&len, key->ptr, sizeof(len));
    hk_assert(len <= key->len - sizeof(len));
    const struct hk_str string = { key->ptr + sizeof(len), len };
    *key = hk_str_part(*key, sizeof(len) + len, key->len);
    return string;
}

static void decode_labels(struct hk_str key, struct hk_label_set *out) {
    while (key.len > 0) {
        const struct hk_str name = next_string(&key);
        hk_label_set_add(out, name, next_string(&key));
    }
}

static hk_err charge(struct hk_push *push, size_t bytes) {
    hk_assert(push->stats.bytes <= push->bytes_max);
    if (bytes > push->bytes_max - push->stats.bytes) {
        return hk_fail(
            HK_E_LIMIT,
            "pushed groups would take more than %zu bytes: delete groups or raise the "
            "limit",
            push->bytes_max);
    }
    push->stats.bytes += bytes;
    return HK_OK;
}

static struct group *find_group(const struct hk_push *push, struct hk_str key, uint64_t hash) {
    struct group *group = push->group_table[hash & push->group_mask];
    for (; group != NULL; group = group->chain) {
        const struct hk_str other = { group->key, group->key_bytes };
        if (group->hash == hash && hk_str_eq(other, key)) break;
    }
    return group;
}

static hk_err add_group(struct hk_push *push, struct hk_str key, struct group **out) {
    if (push->stats.group_count == push->groups_max) {
        return hk_fail(
            HK_E_LIMIT, "more than %u pushed groups: delete groups or raise the limit",
            push->groups_max);
    }
    HK_TRY(charge(push, sizeof(struct group) + key.len));
    struct group *group = hk_mem_alloc(1, sizeof(struct group) + key.len);
    if (group == NULL) {
        push->stats.bytes -= sizeof(struct group) + key.len;
        return hk_fail(HK_E_NOMEM, "push: out of memory");
    }
    push->stats.group_count++;
    group->hash = hk_hash64(key.ptr, key.len);
    group->key_bytes = (uint32_t)key.len;
    if (key.len > 0) memcpy(group->key, key.ptr, key.len);
    struct group **chain = &push->group_table[group->hash & push->group_mask];
    group->chain = *chain;
    *chain = group;
    group->next = push->groups;
    push->groups = group;
    *out = group;
    return HK_OK;
}

static struct series **series_chain(struct hk_push *push, uint64_t hash) {
    return &push->series_table[hash & push->series_mask];
}

static struct series *
find_series(struct hk_push *push, struct hk_str key, uint64_t hash, bool staged) {
    struct series *series = *series_chain(push, hash);
    for (; series != NULL; series = series->chain) {
        const struct hk_str other = { series->bytes, series->key_bytes };
        if (series->hash == hash && series->staged == staged && hk_str_eq(other, key)) break;
    }
    return series;
}

/* Takes a series out of the table. */
static void unchain(struct hk_push *push, struct series *series) {
    struct series **link = series_chain(push, series->hash);
    while (*link != series)
        link = &(*link)->chain;
    *link = series->chain;
    series->chain = NULL;
}

hk_err hk_push_begin(
    struct hk_push *push, struct hk_labels group, enum hk_push_method method, int64_t now_ms) {
    struct transaction *transaction = &push->transaction;
    if (transaction->open) return hk_fail(HK_E_BUSY, "another push is under way");
    if (encode_labels(group, &transaction->key) < 0) {
        return hk_fail(HK_E_NOMEM, "push: no memory for the group's labels");
    }
    transaction->method = method;
    transaction->twins = 0;
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
    if (find_series(push, key, hash, true) != NULL) {
        describe(labels, text, sizeof(text));
        return hk_fail(HK_E_MALFORMED, "series %s stands twice in the pushed metrics", text);
    }
    const struct series *live = find_series(push, key, hash, false);
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
    if (encode_labels(labels, &push->scratch) < 0) {
        return hk_fail(HK_E_NOMEM, "push: no memory for labels");
    }
    const struct hk_str key = hk_buf_get(&push->scratch);
    const uint64_t hash = hk_hash64(key.ptr, key.len);
    bool twin = false;
    HK_TRY(check_place(push, labels, key, hash, &twin));
    const size_t bytes = sizeof(struct series) + key.len + payload.len;
    HK_TRY(charge(push, bytes));
    struct series *series = hk_mem_alloc(1, bytes);
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
    struct series **chain = series_chain(push, hash);
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
        const struct hk_str name = next_string(&key);
        hk_label_set_put(set, name, next_string(&key));
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
    struct transaction *transaction = &push->transaction;
    for (struct series *at = transaction->staged; at != NULL; at = at->next)
        unchain(push, at);
    free_list(push, transaction->staged);
    transaction->staged = NULL;
    transaction->open = false;
}

/* Queues a group for handing out, from its first series on. */
static void mark_dirty(struct hk_push *push, struct group *group, int64_t now_ms) {
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
static uint64_t *staged_names(const struct transaction *transaction, size_t *out_count) {
    size_t count = 0;
    for (const struct series *at = transaction->staged; at != NULL; at = at->next)
        count++;
    uint64_t *names = hk_mem_alloc(count + 1, sizeof(*names));
    if (names == NULL) return NULL;
    *out_count = 0;
    for (const struct series *at = transaction->staged; at != NULL; at = at->next)
        names[(*out_count)++] = at->name_hash;
    qsort(names, *out_count, sizeof(*names), compare_hashes);
    return names;
}

/* Moves a series of a group, already off the group's list, to the dying. */
static void kill_series(struct hk_push *push, struct series *series, int64_t now_ms) {
    unchain(push, series);
    series->group = NULL;
    series->stale_ms = now_ms;
    series->next = push->dying;
    push->dying = series;
}

/* Moves what is staged into the group; series that it replaces end silently. */
static void adopt_staged(struct hk_push *push, struct group *group) {
    struct transaction *transaction = &push->transaction;
    for (struct series *at = transaction->staged; at != NULL; at = at->next) {
        const struct hk_str key = { at->bytes, at->key_bytes };
        struct series *old = find_series(push, key, at->hash, false);
        if (old != NULL) old->seen = true;
    }
    struct series **link = &group->series;
    while (*link != NULL) {
        struct series *series = *link;
        if (!series->seen) {
            link = &series->next;
            continue;
        }
        *link = series->next;
        unchain(push, series);
        free_series(push, series);
    }
    while (transaction->staged != NULL) {
        struct series *series = transaction->staged;
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
static void
end_vanished(struct hk_push *push, struct group *group, const uint64_t *names, size_t count) {
    struct series **link = &group->series;
    while (*link != NULL) {
        struct series *series = *link;
        const struct hk_str key = { series->bytes, series->key_bytes };
        const bool named =
            names == NULL ||
            bsearch(&series->name_hash, names, count, sizeof(*names), compare_hashes) != NULL;
        if (!named || find_series(push, key, series->hash, true) != NULL) {
            link = &series->next;
            continue;
        }
        *link = series->next;
        kill_series(push, series, push->transaction.now_ms);
    }
}

/* The part of a commit that may fail. */
static hk_err
prepare(struct hk_push *push, struct group **out_group, uint64_t **out_names, size_t *out_count) {
    struct transaction *transaction = &push->transaction;
    const struct hk_str key = hk_buf_get(&transaction->key);
    struct group *group = find_group(push, key, hk_hash64(key.ptr, key.len));
    HK_TRY(stage_times(push, transaction->now_ms, group == NULL ? 0 : group->failure_ms));
    if (transaction->method == HK_PUSH_POST) {
        *out_names = staged_names(transaction, out_count);
        if (*out_names == NULL) return hk_fail(HK_E_NOMEM, "push: out of memory");
    }
    const hk_err err = group == NULL ? add_group(push, key, &group) : HK_OK;
    if (err < 0) {
        hk_mem_free(*out_names);
        return err;
    }
    *out_group = group;
    return HK_OK;
}

hk_err hk_push_commit(struct hk_push *push) {
    struct transaction *transaction = &push->transaction;
    struct group *group = NULL;
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
    mark_dirty(push, group, transaction->now_ms);
    close_transaction(push);
    return HK_OK;
}

void hk_push_abort(struct hk_push *push) {
    struct transaction *transaction = &push->transaction;
    if (!transaction->open) return;
    const struct hk_str key = hk_buf_get(&transaction->key);
    struct group *group = find_group(push, key, hk_hash64(key.ptr, key.len));
    close_transaction(push);
    if (group == NULL) return;
    group->failure_ms = transaction->now_ms;
    transaction->open = true;
    const hk_err err = stage_times(push, group->push_ms, group->failure_ms);
    if (err == HK_OK) {
        adopt_staged(push, group);
        mark_dirty(push, group, transaction->now_ms);
    }
    close_transaction(push); /* no room for the note: the failure shows with the next push */
}

static void remove_group(struct hk_push *push, struct group *group, int64_t now_ms) {
    while (group->series != NULL) {
        struct series *series = group->series;
        group->series = series->next;
        kill_series(push, series, now_ms);
    }
    struct group **link = &push->group_table[group->hash & push->group_mask];
    while (*link != group)
        link = &(*link)->chain;
    *link = group->chain;
    for (link = &push->groups; *link != group;)
        link = &(*link)->next;
    *link = group->next;
    struct group *before = NULL;
    for (struct group *at = push->dirty_first; group->dirty && at != group; at = at->dirty_next)
        before = at;
    if (group->dirty) {
        if (before == NULL)
            push->dirty_first = group->dirty_next;
        else
            before->dirty_next = group->dirty_next;
        if (push->dirty_last == group) push->dirty_last = before;
    }
    free_group(push, group);
}

hk_err hk_push_delete(struct hk_push *push, struct hk_labels labels, int64_t now_ms) {
    if (encode_labels(labels, &push->scratch) < 0) {
        return hk_fail(HK_E_NOMEM, "push: no memory for the group's labels");
    }
    const struct hk_str key = hk_buf_get(&push->scratch);
    struct group *group = find_group(push, key, hk_hash64(key.ptr, key.len));
    if (group == NULL) return hk_fail(HK_E_NOT_FOUND, "no such pushed group");
    remove_group(push, group, now_ms);
    return HK_OK;
}

void hk_push_tick(struct hk_push *push, int64_t now_ms) {
    struct group *next = NULL;
    for (struct group *group = push->groups; group != NULL; group = next) {
        next = group->next;
        if (now_ms - group->push_ms >= push->ttl_ms) {
            push->stats.expired++;
            remove_group(push, group, now_ms);
        } else if (!group->dirty && now_ms - group->shown_ms >= push->repeat_ms) {
            group->show_all = true;
            mark_dirty(push, group, now_ms);
        }
    }
}

/* An entry of a series; the key lives as long as the series. */
static struct hk_entry
entry_of(const struct hk_push *push, const struct series *series, int64_t stamp_ms) {
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
        struct series *series = push->dying;
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
        free_series(push, series);
    }
    return HK_OK;
}

static hk_err push_parse(void *state, struct hk_batch *batch) {
    struct hk_push *push = state;
    const hk_err err = show_dying(push, batch);
    if (err == HK_E_NOMEM) return hk_fail(err, "push: no memory for stale markers");
    if (err != HK_OK) return err;
    while (push->dirty_first != NULL) {
        struct group *group = push->dirty_first;
        for (; group->cursor != NULL; group->cursor = group->cursor->next) {
            struct series *series = group->cursor;
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
