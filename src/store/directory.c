/* Interning of names, pairs and label sets. Readers are lock-free; creators hold the mutex. */
#include "store/directory_internal.h"

#include "os/file.h"

enum { TABLE_SLOTS_MIN = 1024, CHUNK_BYTES_FIRST = 16384, CHUNK_BYTES = 1 << 20 };

static uint64_t pair_hash(uint32_t name, struct hk_str value) {
    return hk_hash64(value.ptr, value.len) * 0x9e3779b97f4a7c15ULL + name * 0xc2b2ae3d27d4eb4fULL;
}

static uint64_t set_hash(const uint32_t *ids, uint32_t count) {
    return hk_hash64(ids, (size_t)count * sizeof(ids[0]));
}

static const uint32_t *set_at(const struct hk_directory *directory, uint32_t ref) {
    return *(const uint32_t **)hk_grow_at(&directory->sets, ref);
}

static struct hk_str pair_value(const struct hk_directory *directory, uint32_t id) {
    const struct hk_pair *pair = hk_grow_at(&directory->pairs, id);
    return (struct hk_str){ pair->value, pair->value_len };
}

static hk_err table_create(
    struct hk_directory *directory, uint64_t slots, struct hk_id_table *older,
    struct hk_id_table **out) {
    size_t bytes = sizeof(struct hk_id_table) + slots * sizeof(uint32_t);
    struct hk_id_table *table = hk_mem_alloc(1, bytes);
    if (table == NULL) return HK_E_NOMEM;
    table->mask = slots - 1;
    table->older = older;
    directory->table_bytes += bytes;
    *out = table;
    return HK_OK;
}

/* Puts id + 1 into the first free slot of its probe sequence; release pairs with find's acquire. */
static void table_put(struct hk_id_table *table, uint64_t hash, uint32_t id) {
    uint64_t at = (hash >> 20) & table->mask;
    while (atomic_load_explicit(&table->slots[at], memory_order_relaxed) != 0) {
        at = (at + 1) & table->mask;
    }
    atomic_store_explicit(&table->slots[at], id + 1, memory_order_release);
}

static uint64_t hash_of(
    const struct hk_directory *directory, const _Atomic(struct hk_id_table *) *which, uint32_t id) {
    if (which == &directory->name_table) {
        const struct hk_str *name = hk_grow_at(&directory->names, id);
        return hk_hash64(name->ptr, name->len);
    }
    if (which == &directory->pair_table) {
        const struct hk_pair *pair = hk_grow_at(&directory->pairs, id);
        return pair_hash(pair->name, pair_value(directory, id));
    }
    const uint32_t *set = set_at(directory, id);
    return set_hash(set + 1, set[0]);
}

/* Inserts `id`, after growing the table when it is 2/3 full. `count` = ids in it. */
static hk_err table_add(
    struct hk_directory *directory, _Atomic(struct hk_id_table *) *which, uint64_t hash,
    uint32_t id, uint32_t count) {
    struct hk_id_table *table = atomic_load_explicit(which, memory_order_relaxed);
    if ((uint64_t)count * 3 >= (table->mask + 1) * 2) {
        struct hk_id_table *grown = NULL;
        HK_TRY(table_create(directory, (table->mask + 1) * 2, table, &grown));
        for (uint32_t i = 0; i < count; i++)
            table_put(grown, hash_of(directory, which, i), i);
        atomic_store_explicit(which, grown, memory_order_release);
        table = grown;
    }
    table_put(table, hash, id);
    return HK_OK;
}

uint32_t hk_directory_find_name(const struct hk_directory *directory, struct hk_str name) {
    const struct hk_id_table *table =
        atomic_load_explicit(&directory->name_table, memory_order_acquire);
    uint64_t at = (hk_hash64(name.ptr, name.len) >> 20) & table->mask;
    for (;; at = (at + 1) & table->mask) {
        uint32_t slot = atomic_load_explicit(&table->slots[at], memory_order_acquire);
        if (slot == 0) return HK_ID_NONE;
        const struct hk_str *found = hk_grow_at(&directory->names, slot - 1);
        if (hk_str_eq(*found, name)) return slot - 1;
    }
}

uint32_t
hk_directory_find_pair(const struct hk_directory *directory, uint32_t name, struct hk_str value) {
    const struct hk_id_table *table =
        atomic_load_explicit(&directory->pair_table, memory_order_acquire);
    uint64_t at = (pair_hash(name, value) >> 20) & table->mask;
    for (;; at = (at + 1) & table->mask) {
        uint32_t slot = atomic_load_explicit(&table->slots[at], memory_order_acquire);
        if (slot == 0) return HK_ID_NONE;
        const struct hk_pair *pair = hk_grow_at(&directory->pairs, slot - 1);
        if (pair->name == name && pair->value_len == value.len &&
            memcmp(pair->value, value.ptr, value.len) == 0) {
            return slot - 1;
        }
    }
}

uint32_t
hk_directory_find_set(const struct hk_directory *directory, const uint32_t *ids, uint32_t count) {
    const struct hk_id_table *table =
        atomic_load_explicit(&directory->set_table, memory_order_acquire);
    uint64_t at = (set_hash(ids, count) >> 20) & table->mask;
    for (;; at = (at + 1) & table->mask) {
        uint32_t slot = atomic_load_explicit(&table->slots[at], memory_order_acquire);
        if (slot == 0) return HK_ID_NONE;
        const uint32_t *set = set_at(directory, slot - 1);
        if (set[0] == count && memcmp(set + 1, ids, (size_t)count * sizeof(ids[0])) == 0) {
            return slot - 1;
        }
    }
}

/* Memory for strings and label arrays, 4-aligned, that lives until close. */
static void *string_alloc(struct hk_directory *directory, size_t bytes) {
    bytes = (bytes + 3) & ~(size_t)3;
    struct hk_string_chunk *chunk = directory->strings;
    if (chunk == NULL || chunk->bytes - chunk->used < bytes) {
        size_t want = chunk == NULL ? CHUNK_BYTES_FIRST : CHUNK_BYTES;
        if (want < bytes) want = bytes;
        chunk = hk_mem_resize(NULL, sizeof(*chunk) + want, 1);
        if (chunk == NULL) return NULL;
        chunk->next = directory->strings;
        chunk->used = 0;
        chunk->bytes = want;
        directory->strings = chunk;
        directory->string_bytes += want;
    }
    void *memory = chunk->data + chunk->used;
    chunk->used += bytes;
    return memory;
}

static hk_err string_copy(struct hk_directory *directory, struct hk_str text, const char **out) {
    char *copy = string_alloc(directory, text.len + 1);
    if (copy == NULL) return HK_E_NOMEM;
    if (text.len > 0) memcpy(copy, text.ptr, text.len);
    copy[text.len] = 0;
    *out = copy;
    return HK_OK;
}

static void count_bytes(struct hk_directory *directory) {
    uint64_t bytes = directory->string_bytes + directory->table_bytes + directory->names.bytes +
                     directory->pairs.bytes + directory->sets.bytes;
    atomic_store_explicit(&directory->bytes, bytes, memory_order_relaxed);
}

hk_err hk_directory_add_name(struct hk_directory *directory, struct hk_str name, uint32_t *out) {
    uint32_t id = atomic_load_explicit(&directory->name_count, memory_order_relaxed);
    HK_TRY(hk_grow_reserve(&directory->names, id));
    struct hk_str *item = hk_grow_at(&directory->names, id);
    HK_TRY(string_copy(directory, name, &item->ptr));
    item->len = name.len;
    HK_TRY(table_add(directory, &directory->name_table, hk_hash64(name.ptr, name.len), id, id));
    atomic_store_explicit(&directory->name_count, id + 1, memory_order_release);
    *out = id;
    return HK_OK;
}

hk_err hk_directory_add_pair(
    struct hk_directory *directory, uint32_t name, struct hk_str value, uint32_t *out) {
    uint32_t id = atomic_load_explicit(&directory->pair_count, memory_order_relaxed);
    HK_TRY(hk_grow_reserve(&directory->pairs, id));
    struct hk_pair *item = hk_grow_at(&directory->pairs, id);
    HK_TRY(string_copy(directory, value, &item->value));
    item->value_len = (uint32_t)value.len;
    item->name = name;
    HK_TRY(table_add(directory, &directory->pair_table, pair_hash(name, value), id, id));
    atomic_store_explicit(&directory->pair_count, id + 1, memory_order_release);
    *out = id;
    return HK_OK;
}

hk_err hk_directory_add_set(
    struct hk_directory *directory, const uint32_t *ids, uint32_t count, uint32_t *out) {
    uint32_t ref = atomic_load_explicit(&directory->set_count, memory_order_relaxed);
    HK_TRY(hk_grow_reserve(&directory->sets, ref));
    uint32_t *set = string_alloc(directory, ((size_t)count + 1) * sizeof(ids[0]));
    if (set == NULL) return HK_E_NOMEM;
    set[0] = count;
    if (count > 0) memcpy(set + 1, ids, (size_t)count * sizeof(ids[0]));
    *(const uint32_t **)hk_grow_at(&directory->sets, ref) = set;
    HK_TRY(table_add(directory, &directory->set_table, set_hash(ids, count), ref, ref));
    atomic_store_explicit(&directory->set_count, ref + 1, memory_order_release); /* (1) */
    count_bytes(directory);
    *out = ref;
    return HK_OK;
}

/* Pair id of a label, HK_ID_NONE when unknown. `like` is the pair at the same place of the newest
 * series: most labels of a series equal those of the one before, which saves the look-up. */
static uint32_t
find_id(const struct hk_directory *directory, const struct hk_label *label, uint32_t like) {
    uint32_t name = HK_ID_NONE;
    if (like != HK_ID_NONE) {
        const struct hk_pair *pair = hk_grow_at(&directory->pairs, like);
        if (hk_str_eq(
                *(const struct hk_str *)hk_grow_at(&directory->names, pair->name), label->name)) {
            if (hk_str_eq(pair_value(directory, like), label->value)) return like;
            name = pair->name;
        }
    }
    if (name == HK_ID_NONE) name = hk_directory_find_name(directory, label->name);
    return name == HK_ID_NONE ? name : hk_directory_find_pair(directory, name, label->value);
}

/* Pair ids of the labels, HK_ID_NONE for those unknown. True: all are known. */
static bool
find_ids(const struct hk_directory *directory, struct hk_labels labels, uint32_t *out_ids) {
    uint32_t newest = atomic_load_explicit(&directory->newest, memory_order_acquire);
    const uint32_t *set = newest == 0 ? NULL : set_at(directory, newest - 1);
    bool all = true;
    for (uint32_t i = 0; i < labels.count; i++) {
        uint32_t like = set != NULL && i < set[0] ? set[1 + i] : HK_ID_NONE;
        out_ids[i] = find_id(directory, &labels.items[i], like);
        all = all && out_ids[i] != HK_ID_NONE;
    }
    return all;
}

uint32_t hk_directory_find(struct hk_directory *directory, struct hk_labels labels) {
    uint32_t ids[HK_LABELS_MAX];
    if (labels.count > HK_LABELS_MAX || !find_ids(directory, labels, ids)) return HK_ID_NONE;
    return hk_directory_find_set(directory, ids, labels.count);
}

static hk_err
intern_pair(struct hk_directory *directory, const struct hk_label *label, uint32_t *out) {
    uint32_t name = hk_directory_find_name(directory, label->name);
    if (name == HK_ID_NONE) {
        HK_TRY(hk_directory_add_name(directory, label->name, &name));
        hk_registration_name(directory, label->name);
    }
    HK_TRY(hk_directory_add_pair(directory, name, label->value, out));
    hk_registration_pair(directory, name, label->value);
    return HK_OK;
}

/* Under the lock. `ids` has HK_ID_NONE for pairs that do not exist yet. */
static hk_err
create(struct hk_directory *directory, struct hk_labels labels, uint32_t *ids, uint32_t *out_ref) {
    if (atomic_load_explicit(&directory->bytes, memory_order_relaxed) >= directory->bytes_max) {
        return hk_fail(HK_E_LIMIT, "series directory is full (memory limit): no new series");
    }
    for (uint32_t i = 0; i < labels.count; i++) {
        if (ids[i] == HK_ID_NONE) HK_TRY(intern_pair(directory, &labels.items[i], &ids[i]));
    }
    HK_TRY(hk_directory_add_set(directory, ids, labels.count, out_ref));
    hk_registration_set(directory, ids, labels.count); /* (3) */
    atomic_store_explicit(&directory->dirty, true, memory_order_release);
    atomic_store_explicit(&directory->newest, *out_ref + 1, memory_order_release);
    return directory->pending.err;
}

/* Under the lock: another shard may have created the series, or some of its pairs, in between. */
static hk_err find_or_create(
    struct hk_directory *directory, struct hk_labels labels, uint32_t *ids, uint32_t *out_ref,
    bool *out_created) {
    bool all = true;
    for (uint32_t i = 0; i < labels.count; i++) {
        if (ids[i] == HK_ID_NONE) ids[i] = find_id(directory, &labels.items[i], HK_ID_NONE);
        all = all && ids[i] != HK_ID_NONE;
    }
    *out_ref = all ? hk_directory_find_set(directory, ids, labels.count) : HK_ID_NONE;
    if (*out_ref != HK_ID_NONE) return HK_OK;
    hk_err err = create(directory, labels, ids, out_ref);
    *out_created = err >= 0;
    return err;
}

hk_err hk_directory_intern(
    struct hk_directory *directory, struct hk_labels labels, uint32_t *out_ref, bool *out_created) {
    *out_created = false;
    if (labels.count > HK_LABELS_MAX) return hk_fail(HK_E_LIMIT, "too many labels");
    uint32_t ids[HK_LABELS_MAX];
    uint32_t ref = HK_ID_NONE;
    if (find_ids(directory, labels, ids)) {
        ref = hk_directory_find_set(directory, ids, labels.count);
    }
    if (ref != HK_ID_NONE) {
        *out_ref = ref;
        return HK_OK;
    }
    hk_mutex_lock(&directory->lock);
    hk_err err = find_or_create(directory, labels, ids, &ref, out_created);
    hk_mutex_unlock(&directory->lock);
    if (err >= 0) *out_ref = ref;
    return err;
}

uint32_t hk_directory_count(const struct hk_directory *directory) {
    return atomic_load_explicit(&directory->set_count, memory_order_acquire);
}

uint64_t hk_directory_bytes(const struct hk_directory *directory) {
    return atomic_load_explicit(&directory->bytes, memory_order_relaxed);
}

uint32_t hk_directory_label_count(const struct hk_directory *directory, uint32_t ref) {
    return set_at(directory, ref)[0];
}

struct hk_labels
hk_directory_labels(const struct hk_directory *directory, uint32_t ref, struct hk_label *items) {
    const uint32_t *set = set_at(directory, ref);
    for (uint32_t i = 0; i < set[0]; i++) {
        const struct hk_pair *pair = hk_grow_at(&directory->pairs, set[1 + i]);
        items[i].name = *(const struct hk_str *)hk_grow_at(&directory->names, pair->name);
        items[i].value = (struct hk_str){ pair->value, pair->value_len };
    }
    return (struct hk_labels){ items, set[0] };
}

void hk_directory_visit_names(
    struct hk_directory *directory, bool (*visit)(void *self, struct hk_str name), void *self) {
    uint32_t count = atomic_load_explicit(&directory->name_count, memory_order_acquire);
    for (uint32_t i = 0; i < count; i++) {
        if (!visit(self, *(const struct hk_str *)hk_grow_at(&directory->names, i))) return;
    }
}

void hk_directory_visit_values(
    struct hk_directory *directory, struct hk_str name,
    bool (*visit)(void *self, struct hk_str value), void *self) {
    uint32_t name_id = hk_directory_find_name(directory, name);
    uint32_t count = atomic_load_explicit(&directory->pair_count, memory_order_acquire);
    for (uint32_t i = 0; i < count && name_id != HK_ID_NONE; i++) {
        const struct hk_pair *pair = hk_grow_at(&directory->pairs, i);
        if (pair->name == name_id && !visit(self, pair_value(directory, i))) return;
    }
}

hk_err hk_directory_open(
    const struct hk_directory_options *options, struct hk_directory **out,
    struct hk_directory_report *out_report) {
    *out_report = (struct hk_directory_report){ 0 };
    struct hk_directory *directory = hk_mem_alloc(1, sizeof(*directory));
    if (directory == NULL) return HK_E_NOMEM;
    hk_mutex_init(&directory->lock);
    hk_mutex_init(&directory->sync_lock);
    hk_rwlock_init(&directory->index_lock);
    hk_grow_init(&directory->names, sizeof(struct hk_str));
    hk_grow_init(&directory->pairs, sizeof(struct hk_pair));
    hk_grow_init(&directory->sets, sizeof(const uint32_t *));
    hk_buf_init(&directory->pending, 1U << 30);
    hk_buf_init(&directory->writing, 1U << 30);
    directory->bytes_max = options->bytes_max;
    directory->fd = -1;
    size_t path_len = strlen(options->path);
    hk_err err = path_len >= sizeof(directory->path) ? HK_E_LIMIT : HK_OK;
    if (err >= 0) memcpy(directory->path, options->path, path_len + 1);
    _Atomic(struct hk_id_table *) *tables[] = { &directory->name_table, &directory->pair_table,
                                                &directory->set_table };
    for (size_t i = 0; i < HK_COUNT(tables) && err >= 0; i++) {
        struct hk_id_table *table = NULL;
        err = table_create(directory, TABLE_SLOTS_MIN, NULL, &table);
        atomic_init(tables[i], table);
    }
    if (err >= 0) err = hk_registration_load(directory, out_report);
    if (err >= 0) err = hk_directory_index(directory);
    if (err < 0) {
        hk_directory_close(directory);
        return err;
    }
    count_bytes(directory);
    *out = directory;
    return HK_OK;
}

static void table_free(struct hk_id_table *table) {
    while (table != NULL) {
        struct hk_id_table *older = table->older;
        hk_mem_free(table);
        table = older;
    }
}

void hk_directory_close(struct hk_directory *directory) {
    if (directory == NULL) return;
    hk_file_close(directory->fd);
    hk_buf_deinit(&directory->pending);
    hk_buf_deinit(&directory->writing);
    hk_grow_deinit(&directory->names);
    hk_grow_deinit(&directory->pairs);
    hk_grow_deinit(&directory->sets);
    table_free(atomic_load_explicit(&directory->name_table, memory_order_relaxed));
    table_free(atomic_load_explicit(&directory->pair_table, memory_order_relaxed));
    table_free(atomic_load_explicit(&directory->set_table, memory_order_relaxed));
    while (directory->strings != NULL) {
        struct hk_string_chunk *next = directory->strings->next;
        hk_mem_free(directory->strings);
        directory->strings = next;
    }
    hk_label_index_free(directory->index);
    hk_mutex_deinit(&directory->lock);
    hk_mutex_deinit(&directory->sync_lock);
    hk_rwlock_deinit(&directory->index_lock);
    hk_mem_free(directory);
}
