/* Memory of pushed groups: creation, tables, budget, and the ends of series and groups. */
#include "ingest/pushgateway_internal.h"

enum {
    GROUPS_MAX_DEFAULT = 10000,
    SERIES_MAX_DEFAULT = 100000,
    COUNT_LIMIT = 1 << 24,
};

static const size_t bytes_max_default = (size_t)64 << 20;
static const int64_t ttl_ms_default = 604800000, repeat_ms_default = 60000;

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
    push->series_table =
        hk_mem_alloc((size_t)push->series_mask + 1, sizeof(struct hk_push_series *));
    push->group_table = hk_mem_alloc((size_t)push->group_mask + 1, sizeof(struct hk_push_group *));
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

void hk_push_free_series(struct hk_push *push, struct hk_push_series *series) {
    push->stats.bytes -= sizeof(*series) + series->key_bytes + series->payload_bytes;
    push->stats.series_count--;
    hk_mem_free(series);
}

void hk_push_free_list(struct hk_push *push, struct hk_push_series *first) {
    while (first != NULL) {
        struct hk_push_series *next = first->next;
        hk_push_free_series(push, first);
        first = next;
    }
}

void hk_push_free_group(struct hk_push *push, struct hk_push_group *group) {
    push->stats.bytes -= sizeof(*group) + group->key_bytes;
    push->stats.group_count--;
    hk_mem_free(group);
}

void hk_push_destroy(struct hk_push *push) {
    if (push == NULL) return;
    hk_push_free_list(push, push->transaction.staged);
    hk_push_free_list(push, push->dying);
    while (push->groups != NULL) {
        struct hk_push_group *next = push->groups->next;
        hk_push_free_list(push, push->groups->series);
        hk_push_free_group(push, push->groups);
        push->groups = next;
    }
    hk_assert(push->stats.bytes == 0 && push->stats.series_count == 0); /* (3) */
    hk_buf_deinit(&push->scratch);
    hk_buf_deinit(&push->transaction.key);
    hk_mem_free(push->series_table);
    hk_mem_free(push->group_table);
    hk_mem_free(push);
}

hk_err hk_push_encode(struct hk_labels labels, struct hk_buf *out) {
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

struct hk_str hk_push_next_string(struct hk_str *key) {
    uint32_t len = 0;
    hk_assert(key->len >= sizeof(len));
    memcpy(&len, key->ptr, sizeof(len));
    hk_assert(len <= key->len - sizeof(len));
    const struct hk_str string = { key->ptr + sizeof(len), len };
    *key = hk_str_part(*key, sizeof(len) + len, key->len);
    return string;
}

hk_err hk_push_charge(struct hk_push *push, size_t bytes) {
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

struct hk_push_group *
hk_push_find_group(const struct hk_push *push, struct hk_str key, uint64_t hash) {
    struct hk_push_group *group = push->group_table[hash & push->group_mask];
    for (; group != NULL; group = group->chain) {
        const struct hk_str other = { group->key, group->key_bytes };
        if (group->hash == hash && hk_str_eq(other, key)) break;
    }
    return group;
}

hk_err hk_push_add_group(struct hk_push *push, struct hk_str key, struct hk_push_group **out) {
    if (push->stats.group_count == push->groups_max) {
        return hk_fail(
            HK_E_LIMIT, "more than %u pushed groups: delete groups or raise the limit",
            push->groups_max);
    }
    HK_TRY(hk_push_charge(push, sizeof(struct hk_push_group) + key.len));
    struct hk_push_group *group = hk_mem_alloc(1, sizeof(struct hk_push_group) + key.len);
    if (group == NULL) {
        push->stats.bytes -= sizeof(struct hk_push_group) + key.len;
        return hk_fail(HK_E_NOMEM, "push: out of memory");
    }
    push->stats.group_count++;
    group->hash = hk_hash64(key.ptr, key.len);
    group->key_bytes = (uint32_t)key.len;
    if (key.len > 0) memcpy(group->key, key.ptr, key.len);
    struct hk_push_group **chain = &push->group_table[group->hash & push->group_mask];
    group->chain = *chain;
    *chain = group;
    group->next = push->groups;
    push->groups = group;
    *out = group;
    return HK_OK;
}

struct hk_push_series **hk_push_series_chain(struct hk_push *push, uint64_t hash) {
    return &push->series_table[hash & push->series_mask];
}

struct hk_push_series *
hk_push_find_series(struct hk_push *push, struct hk_str key, uint64_t hash, bool staged) {
    struct hk_push_series *series = *hk_push_series_chain(push, hash);
    for (; series != NULL; series = series->chain) {
        const struct hk_str other = { series->bytes, series->key_bytes };
        if (series->hash == hash && series->staged == staged && hk_str_eq(other, key)) break;
    }
    return series;
}

void hk_push_unchain(struct hk_push *push, struct hk_push_series *series) {
    struct hk_push_series **link = hk_push_series_chain(push, series->hash);
    while (*link != series)
        link = &(*link)->chain;
    *link = series->chain;
    series->chain = NULL;
}

void hk_push_kill_series(struct hk_push *push, struct hk_push_series *series, int64_t now_ms) {
    hk_push_unchain(push, series);
    series->group = NULL;
    series->stale_ms = now_ms;
    series->next = push->dying;
    push->dying = series;
}

void hk_push_remove_group(struct hk_push *push, struct hk_push_group *group, int64_t now_ms) {
    while (group->series != NULL) {
        struct hk_push_series *series = group->series;
        group->series = series->next;
        hk_push_kill_series(push, series, now_ms);
    }
    struct hk_push_group **link = &push->group_table[group->hash & push->group_mask];
    while (*link != group)
        link = &(*link)->chain;
    *link = group->chain;
    for (link = &push->groups; *link != group;)
        link = &(*link)->next;
    *link = group->next;
    struct hk_push_group *before = NULL;
    for (struct hk_push_group *at = push->dirty_first; group->dirty && at != group;
         at = at->dirty_next)
        before = at;
    if (group->dirty) {
        if (before == NULL)
            push->dirty_first = group->dirty_next;
        else
            before->dirty_next = group->dirty_next;
        if (push->dirty_last == group) push->dirty_last = before;
    }
    hk_push_free_group(push, group);
}
