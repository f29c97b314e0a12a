/* Type, help and unit of metrics. Names stay for good, so lists walk them in turns by number. */
#include "store/meta.h"

#include "base/hashindex.h"
#include "os/thread.h"
#include "store/store_internal.h"

#include <stdlib.h>

enum { LIST_TURN = 64, RECORD_HEADER_BYTES = 9 };

static const char *const types[] = {
    "unknown", "counter", "gauge", "histogram", "gaugehistogram", "summary", "info", "stateset",
};

struct description {
    uint32_t help_bytes;
    uint16_t unit_bytes;
    uint8_t type;
    char text[]; /* help, unit */
};

struct name {
    char *metric;
    struct description *items[HK_META_TEXTS_MAX]; /* oldest first */
    uint32_t metric_bytes, count;
};

struct hk_meta {
    struct hk_mutex lock; /* of everything below */
    struct hk_hashindex index;
    struct name *names;
    size_t name_count, capacity;
    uint64_t bytes, bytes_max;
    uint64_t replaced, left_out;
    uint64_t changes, saved; /* numbers of changes */
};

hk_err hk_meta_create(uint64_t bytes_max, struct hk_meta **out) {
    struct hk_meta *meta = hk_mem_alloc(1, sizeof(*meta));
    if (meta == NULL) return HK_E_NOMEM;
    hk_mutex_init(&meta->lock);
    meta->bytes_max = bytes_max;
    *out = meta;
    return HK_OK;
}

void hk_meta_destroy(struct hk_meta *meta) {
    if (meta == NULL) return;
    for (size_t i = 0; i < meta->name_count; i++) {
        for (uint32_t k = 0; k < meta->names[i].count; k++)
            hk_mem_free(meta->names[i].items[k]);
        hk_mem_free(meta->names[i].metric);
    }
    hk_mem_free(meta->names);
    hk_hashindex_deinit(&meta->index);
    hk_mutex_deinit(&meta->lock);
    hk_mem_free(meta);
}

static uint8_t type_of(struct hk_str text) {
    for (uint8_t i = 0; i < HK_COUNT(types); i++) {
        if (hk_str_is(text, types[i])) return i;
    }
    return 0;
}

/* ------------------------------------------------------------------ bytes */

void hk_meta_encode(const struct hk_metric_meta *item, struct hk_buf *out) {
    char header[RECORD_HEADER_BYTES];
    uint16_t metric_bytes = (uint16_t)item->metric.len;
    uint16_t unit_bytes = (uint16_t)item->unit.len;
    uint32_t help_bytes = (uint32_t)item->help.len;
    header[0] = (char)type_of(item->type);
    memcpy(header + 1, &metric_bytes, sizeof(metric_bytes));
    memcpy(header + 3, &unit_bytes, sizeof(unit_bytes));
    memcpy(header + 5, &help_bytes, sizeof(help_bytes));
    hk_buf_bytes(out, header, sizeof(header));
    hk_buf_str(out, item->metric);
    hk_buf_str(out, item->unit);
    hk_buf_str(out, item->help);
}

hk_err hk_meta_decode(struct hk_str bytes, struct hk_metric_meta *out) {
    uint16_t metric_bytes = 0;
    uint16_t unit_bytes = 0;
    uint32_t help_bytes = 0;
    if (bytes.len < RECORD_HEADER_BYTES) return HK_E_CORRUPT;
    uint8_t type = (uint8_t)bytes.ptr[0];
    memcpy(&metric_bytes, bytes.ptr + 1, sizeof(metric_bytes));
    memcpy(&unit_bytes, bytes.ptr + 3, sizeof(unit_bytes));
    memcpy(&help_bytes, bytes.ptr + 5, sizeof(help_bytes));
    uint64_t total = (uint64_t)RECORD_HEADER_BYTES + metric_bytes + unit_bytes + help_bytes;
    bool fine = total == bytes.len && metric_bytes > 0 && metric_bytes <= HK_META_NAME_BYTES_MAX &&
                unit_bytes <= HK_META_NAME_BYTES_MAX && help_bytes <= HK_META_HELP_BYTES_MAX;
    if (!fine) return HK_E_CORRUPT;
    const char *at = bytes.ptr + RECORD_HEADER_BYTES;
    *out = (struct hk_metric_meta){
        .metric = { at, metric_bytes },
        .unit = { at + metric_bytes, unit_bytes },
        .help = { at + metric_bytes + unit_bytes, help_bytes },
        .type = hk_str_from(types[type < HK_COUNT(types) ? type : 0]),
    };
    return HK_OK;
}

/* ------------------------------------------------------------------ putting */

static struct name *find(struct hk_meta *meta, uint64_t hash, struct hk_str metric) {
    size_t cursor = 0;
    uint32_t at = 0;
    while ((at = hk_hashindex_find(&meta->index, hash, &cursor)) != HK_HASHINDEX_NONE) {
        struct name *name = &meta->names[at];
        if (hk_str_eq((struct hk_str){ name->metric, name->metric_bytes }, metric)) return name;
    }
    return NULL;
}

static struct hk_metric_meta item_of(const struct name *name, uint32_t number) {
    const struct description *text = name->items[number];
    return (struct hk_metric_meta){
        .metric = { name->metric, name->metric_bytes },
        .type = hk_str_from(types[text->type]),
        .help = { text->text, text->help_bytes },
        .unit = { text->text + text->help_bytes, text->unit_bytes },
    };
}

static bool has(const struct name *name, const struct hk_metric_meta *item) {
    for (uint32_t i = 0; i < name->count; i++) {
        struct hk_metric_meta known = item_of(name, i);
        bool same = name->items[i]->type == type_of(item->type) &&
                    hk_str_eq(known.help, item->help) && hk_str_eq(known.unit, item->unit);
        if (same) return true;
    }
    return false;
}

static size_t description_bytes(const struct description *text) {
    return sizeof(*text) + text->help_bytes + text->unit_bytes;
}

static struct description *describe(const struct hk_metric_meta *item) {
    size_t bytes = sizeof(struct description) + item->help.len + item->unit.len;
    struct description *text = hk_mem_alloc(1, bytes);
    if (text == NULL) return NULL;
    text->type = type_of(item->type);
    text->help_bytes = (uint32_t)item->help.len;
    text->unit_bytes = (uint16_t)item->unit.len;
    if (item->help.len > 0) memcpy(text->text, item->help.ptr, item->help.len);
    if (item->unit.len > 0) {
        memcpy(text->text + item->help.len, item->unit.ptr, item->unit.len);
    }
    return text;
}

static hk_err
add_name(struct hk_meta *meta, uint64_t hash, struct hk_str metric, struct name **out) {
    HK_TRY(
        hk_mem_grow(&meta->names, &meta->capacity, meta->name_count + 1, sizeof(meta->names[0])));
    char *copy = hk_mem_copy(metric.ptr, metric.len);
    if (copy == NULL) return HK_E_NOMEM;
    if (hk_hashindex_put(&meta->index, hash, (uint32_t)meta->name_count) < 0) {
        hk_mem_free(copy);
        return HK_E_NOMEM;
    }
    *out = &meta->names[meta->name_count++];
    **out = (struct name){ .metric = copy, .metric_bytes = (uint32_t)metric.len };
    meta->bytes += sizeof(struct name) + metric.len;
    return HK_OK;
}

static bool is_sane(const struct hk_metric_meta *item) {
    return item->metric.len > 0 && item->metric.len <= HK_META_NAME_BYTES_MAX &&
           item->unit.len <= HK_META_NAME_BYTES_MAX && item->help.len <= HK_META_HELP_BYTES_MAX;
}

/* HK_OK: it is new and there is room for it. HK_END: known. HK_E_LIMIT. Under the lock. */
static hk_err look(struct hk_meta *meta, const struct hk_metric_meta *item, uint64_t hash) {
    if (!is_sane(item)) return HK_E_LIMIT;
    const struct name *name = find(meta, hash, item->metric);
    if (name != NULL && has(name, item)) return HK_END;
    size_t bytes = sizeof(struct description) + item->help.len + item->unit.len;
    if (name == NULL) {
        if (meta->name_count >= HK_META_NAMES_MAX) return HK_E_LIMIT;
        bytes += sizeof(struct name) + item->metric.len;
    }
    return meta->bytes + bytes > meta->bytes_max ? HK_E_LIMIT : HK_OK;
}

/* Under the lock, after look() said HK_OK. */
static hk_err insert(struct hk_meta *meta, const struct hk_metric_meta *item, uint64_t hash) {
    struct name *name = find(meta, hash, item->metric);
    struct description *text = describe(item);
    if (text == NULL) return HK_E_NOMEM;
    if (name == NULL) {
        hk_err err = add_name(meta, hash, item->metric, &name);
        if (err < 0) {
            hk_mem_free(text);
            return err;
        }
    }
    if (name->count == HK_META_TEXTS_MAX) {
        meta->bytes -= description_bytes(name->items[0]);
        hk_mem_free(name->items[0]);
        name->count--;
        memmove(name->items, name->items + 1, name->count * sizeof(struct description *));
        meta->replaced++;
    }
    name->items[name->count++] = text;
    meta->bytes += description_bytes(text);
    meta->changes++;
    return HK_OK;
}

hk_err hk_meta_put(struct hk_meta *meta, const struct hk_metric_meta *item) {
    uint64_t hash = hk_hash64(item->metric.ptr, item->metric.len);
    hk_mutex_lock(&meta->lock);
    hk_err err = look(meta, item, hash);
    if (err == HK_OK) err = insert(meta, item, hash);
    meta->left_out += err < 0;
    hk_mutex_unlock(&meta->lock);
    return err;
}

void hk_store_take_metas(
    struct hk_store_shard *shard, const struct hk_batch_meta *items, uint32_t count) {
    struct hk_meta *meta = shard->store->meta;
    struct hk_buf record;
    hk_buf_init(&record, 1 << 17);
    hk_mutex_lock(&meta->lock);
    for (uint32_t i = 0; i < count; i++) {
        struct hk_metric_meta item = {
            .metric = items[i].metric,
            .type = items[i].type,
            .help = items[i].help,
            .unit = items[i].unit,
        };
        uint64_t hash = hk_hash64(item.metric.ptr, item.metric.len);
        hk_err err = look(meta, &item, hash);
        if (err == HK_OK) { /* the log first: what is listed can be found again */
            hk_buf_clear(&record);
            hk_meta_encode(&item, &record);
            err = record.err;
            if (err >= 0) {
                err = hk_store_append_side(shard, HK_SIDE_META, 0, 0, hk_buf_get(&record));
            }
            if (err >= 0) err = insert(meta, &item, hash);
        }
        meta->left_out += err < 0;
    }
    hk_mutex_unlock(&meta->lock);
    hk_buf_deinit(&record);
}

/* ------------------------------------------------------------------ listing */

struct list {
    struct hk_arena *arena;
    struct hk_metric_meta *items;
    uint32_t count, capacity;
};

static hk_err list_add(struct list *list, struct hk_metric_meta item) {
    if (list->count == list->capacity) {
        uint32_t capacity = list->capacity * 2 + 64;
        struct hk_metric_meta *grown = hk_arena_alloc_raw(list->arena, capacity, sizeof(item));
        if (grown == NULL) return HK_E_NOMEM;
        if (list->count > 0) memcpy(grown, list->items, list->count * sizeof(item));
        list->items = grown;
        list->capacity = capacity;
    }
    item.metric = hk_arena_str(list->arena, item.metric);
    item.help = hk_arena_str(list->arena, item.help);
    item.unit = hk_arena_str(list->arena, item.unit);
    if (item.metric.ptr == NULL || item.help.ptr == NULL || item.unit.ptr == NULL) {
        return HK_E_NOMEM;
    }
    list->items[list->count++] = item;
    return HK_OK;
}

/* The newest ones when there are more than asked for. Under the lock. */
static hk_err
list_name(struct list *list, const struct name *name, const struct hk_meta_request *request) {
    uint32_t from = 0;
    int64_t most = request->limit_per_metric;
    if (most > 0 && most < name->count) from = name->count - (uint32_t)most;
    for (uint32_t i = from; i < name->count; i++)
        HK_TRY(list_add(list, item_of(name, i)));
    return HK_OK;
}

static hk_err
list_all(struct hk_meta *meta, struct list *list, const struct hk_meta_request *request) {
    hk_err err = HK_OK;
    size_t at = 0;
    bool more = true;
    while (err >= 0 && more) {
        hk_mutex_lock(&meta->lock);
        for (size_t turn = 0; turn < LIST_TURN && at < meta->name_count && err >= 0; turn++) {
            err = list_name(list, &meta->names[at++], request);
        }
        more = at < meta->name_count;
        hk_mutex_unlock(&meta->lock);
    }
    return err;
}

struct sortable {
    struct hk_metric_meta item;
    uint32_t number;
};

static int by_name(const void *a, const void *b) {
    const struct sortable *left = a;
    const struct sortable *right = b;
    int order = hk_str_cmp(left->item.metric, right->item.metric);
    return order != 0 ? order : (left->number > right->number) - (left->number < right->number);
}

static hk_err sort_list(struct list *list) {
    struct sortable *items = hk_arena_alloc_raw(list->arena, list->count, sizeof(*items));
    if (items == NULL) return HK_E_NOMEM;
    for (uint32_t i = 0; i < list->count; i++)
        items[i] = (struct sortable){ list->items[i], i };
    if (list->count > 1) qsort(items, list->count, sizeof(items[0]), by_name);
    for (uint32_t i = 0; i < list->count; i++)
        list->items[i] = items[i].item;
    return HK_OK;
}

/* Keeps the first `limit` names. */
static void cut_list(struct list *list, int64_t limit) {
    int64_t names = 0;
    for (uint32_t i = 0; i < list->count; i++) {
        bool fresh = i == 0 || !hk_str_eq(list->items[i - 1].metric, list->items[i].metric);
        if (fresh && names++ == limit) {
            list->count = i;
            return;
        }
    }
}

hk_err hk_meta_list(
    struct hk_meta *meta, const struct hk_meta_request *request, struct hk_arena *arena,
    struct hk_metric_meta **out, uint32_t *out_count) {
    struct list list = { .arena = arena };
    hk_err err = HK_OK;
    if (request->metric.len > 0) {
        hk_mutex_lock(&meta->lock);
        uint64_t hash = hk_hash64(request->metric.ptr, request->metric.len);
        const struct name *name = find(meta, hash, request->metric);
        if (name != NULL) err = list_name(&list, name, request);
        hk_mutex_unlock(&meta->lock);
    } else {
        err = list_all(meta, &list, request);
    }
    if (err >= 0 && list.count > 1) err = sort_list(&list);
    if (err < 0) return err;
    if (request->limit >= 0) cut_list(&list, request->limit);
    *out = list.items;
    *out_count = list.count;
    return HK_OK;
}

/* ------------------------------------------------------------------ file */

hk_err hk_meta_save(struct hk_meta *meta, const char *dir) {
    hk_mutex_lock(&meta->lock);
    uint64_t changes = meta->changes;
    bool due = changes != meta->saved;
    hk_mutex_unlock(&meta->lock);
    if (!due) return HK_OK;
    struct hk_keep_writer *writer HK_CLEANUP(hk_mem_free_at) = hk_mem_alloc(1, sizeof(*writer));
    if (writer == NULL) return HK_E_NOMEM;
    HK_TRY(hk_keep_begin(writer, dir, "metadata", HK_KEEP_META));
    struct hk_arena arena;
    struct hk_buf record;
    hk_arena_init(&arena, meta->bytes_max * 4 + (1 << 20));
    hk_buf_init(&record, 1 << 17);
    struct hk_meta_request all = { .limit = -1 };
    struct hk_metric_meta *items = NULL;
    uint32_t count = 0;
    hk_err err = hk_meta_list(meta, &all, &arena, &items, &count);
    for (uint32_t i = 0; i < count && err >= 0; i++) {
        hk_buf_clear(&record);
        hk_meta_encode(&items[i], &record);
        err = record.err;
        hk_keep_put(writer, hk_buf_get(&record));
    }
    hk_buf_deinit(&record);
    hk_arena_deinit(&arena);
    if (err < 0) writer->err = err;
    HK_TRY(hk_keep_end(writer));
    meta->saved = changes;
    return HK_OK;
}

static hk_err take_record(void *self, struct hk_str record) {
    struct hk_metric_meta item;
    HK_TRY(hk_meta_decode(record, &item));
    hk_err err = hk_meta_put(self, &item);
    return err == HK_E_LIMIT ? HK_OK : err; /* counted */
}

hk_err hk_meta_load(struct hk_meta *meta, const char *dir, struct hk_keep_report *out_report) {
    hk_err err = hk_keep_read(dir, "metadata", HK_KEEP_META, take_record, meta, out_report);
    /* A damaged file is written anew soon. */
    if (out_report->damaged == 0) meta->saved = meta->changes;
    return err;
}

void hk_meta_get_stats(struct hk_meta *meta, struct hk_meta_stats *out) {
    hk_mutex_lock(&meta->lock);
    *out = (struct hk_meta_stats){
        .names = meta->name_count,
        .bytes = meta->bytes,
        .replaced = meta->replaced,
        .left_out = meta->left_out,
    };
    hk_mutex_unlock(&meta->lock);
}
