/* Interning of names, pairs and label sets. Readers are lock-free; creators hold the mutex. */
#include "store/directory_internal.h"

#include "os/file.h"

enum { TABLE_SLOTS_MIN = 1024, CHUNK_BYTES_FIRST = 16384, CHUNK_BYTES = 1 << 20, DEAD_MIN = 1024 };

static uint64_t pair_hash(uint32_t name, struct hk_str value) {
    return hk_hash64(value.ptr, value.len) * 0x9e3779b97f4a7c15ULL + name * 0xc2b2ae3d27d4eb4fULL;
}

static uint64_t set_hash(const uint32_t *ids, uint32_t count) {
    return hk_hash64(ids, (size_t)count * sizeof(ids[0]));
}

static struct hk_str pair_value(const struct hk_directory_view *view, uint32_t id) {
    const struct hk_pair *pair = hk_grow_at(&view->pairs, id);
    return (struct hk_str){ pair->value, pair->value_len };
}

static hk_err table_create(
    struct hk_directory_view *view, uint64_t slots, struct hk_id_table *older,
    struct hk_id_table **out) {
    size_t bytes = sizeof(struct hk_id_table) + slots * sizeof(uint32_t);
    struct hk_id_table *table = hk_mem_alloc(1, bytes);
    if (table == NULL) return HK_E_NOMEM;
    table->mask = slots - 1;
    table->older = older;
    view->table_bytes += bytes;
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
    const struct hk_directory_view *view, const _Atomic(struct hk_id_table *) *which, uint32_t id) {
    if (which == &view->name_table) {
        const struct hk_str *name = hk_grow_at(&view->names, id);
        return hk_hash64(name->ptr, name->len);
    }
    if (which == &view->pair_table) {
        const struct hk_pair *pair = hk_grow_at(&view->pairs, id);
        return pair_hash(pair->name, pair_value(view, id));
    }
    /* Sets are in the table by ref, and counted by definition. */
    const uint32_t *set = hk_view_set(view, id);
    return set_hash(set + 1, set[0]);
}

static uint32_t id_of(
    const struct hk_directory_view *view, const _Atomic(struct hk_id_table *) *which, uint32_t n) {
    return which == &view->set_table ? *(uint32_t *)hk_grow_at(&view->order, n) : n;
}

enum { AHEAD = 16 };

/* Replaces the table by one of `slots` slots with the first `count` ids. Slots are asked for ahead:
 * they are all over memory. */
static hk_err table_grow(
    struct hk_directory_view *view, _Atomic(struct hk_id_table *) *which, uint64_t slots,
    uint32_t count) {
    struct hk_id_table *grown = NULL;
    uint64_t hashes[AHEAD];
    struct hk_id_table *old = atomic_load_explicit(which, memory_order_relaxed);
    HK_TRY(table_create(view, slots, old, &grown));
    for (uint64_t i = 0; i < (uint64_t)count + AHEAD; i++) {
        uint64_t *hash = &hashes[i % AHEAD];
        if (i >= AHEAD) table_put(grown, *hash, id_of(view, which, (uint32_t)(i - AHEAD)));
        if (i >= count) continue;
        *hash = hash_of(view, which, id_of(view, which, (uint32_t)i));
        __builtin_prefetch(&grown->slots[*hash >> 20 & grown->mask], 1);
    }
    atomic_store_explicit(which, grown, memory_order_release);
    return HK_OK;
}

/* Inserts `id`, after growing the table when it is 2/3 full. `count` = ids in it. */
static hk_err table_add(
    struct hk_directory_view *view, _Atomic(struct hk_id_table *) *which, uint64_t hash,
    uint32_t id, uint32_t count) {
    struct hk_id_table *table = atomic_load_explicit(which, memory_order_relaxed);
    if (view->loads && which != &view->name_table) return HK_OK;
    if ((uint64_t)count * 3 >= (table->mask + 1) * 2) {
        HK_TRY(table_grow(view, which, (table->mask + 1) * 2, count));
        table = atomic_load_explicit(which, memory_order_relaxed);
    }
    table_put(table, hash, id);
    return HK_OK;
}

uint32_t hk_view_find_name(const struct hk_directory_view *view, struct hk_str name) {
    const struct hk_id_table *table = atomic_load_explicit(&view->name_table, memory_order_acquire);
    uint64_t at = (hk_hash64(name.ptr, name.len) >> 20) & table->mask;
    for (;; at = (at + 1) & table->mask) {
        uint32_t slot = atomic_load_explicit(&table->slots[at], memory_order_acquire);
        if (slot == 0) return HK_ID_NONE;
        const struct hk_str *found = hk_grow_at(&view->names, slot - 1);
        if (hk_str_eq(*found, name)) return slot - 1;
    }
}

uint32_t
hk_view_find_pair(const struct hk_directory_view *view, uint32_t name, struct hk_str value) {
    const struct hk_id_table *table = atomic_load_explicit(&view->pair_table, memory_order_acquire);
    uint64_t at = (pair_hash(name, value) >> 20) & table->mask;
    for (;; at = (at + 1) & table->mask) {
        uint32_t slot = atomic_load_explicit(&table->slots[at], memory_order_acquire);
        if (slot == 0) return HK_ID_NONE;
        const struct hk_pair *pair = hk_grow_at(&view->pairs, slot - 1);
        if (pair->name == name && pair->value_len == value.len &&
            memcmp(pair->value, value.ptr, value.len) == 0) {
            return slot - 1;
        }
    }
}

uint32_t
hk_view_find_set(const struct hk_directory_view *view, const uint32_t *ids, uint32_t count) {
    const struct hk_id_table *table = atomic_load_explicit(&view->set_table, memory_order_acquire);
    uint64_t at = (set_hash(ids, count) >> 20) & table->mask;
    for (;; at = (at + 1) & table->mask) {
        uint32_t slot = atomic_load_explicit(&table->slots[at], memory_order_acquire);
        if (slot == 0) return HK_ID_NONE;
        const uint32_t *set = hk_view_set(view, slot - 1);
        if (hk_series_is_dead(view->directory, slot - 1)) continue;
        if (set[0] == count && memcmp(set + 1, ids, (size_t)count * sizeof(ids[0])) == 0) {
            return slot - 1;
        }
    }
}

/* ------------------------------------------------------------------ the end of loading */

static uint64_t slots_for(uint32_t count) {
    uint64_t slots = TABLE_SLOTS_MIN;
    while ((uint64_t)count * 3 >= slots * 2)
        slots *= 2;
    return slots;
}

static bool same_sets(const uint32_t *a, const uint32_t *b) {
    return a[0] == b[0] && memcmp(a, b, ((size_t)a[0] + 1) * sizeof(a[0])) == 0;
}

/*
 * The series was registered again when an earlier ref with its labels had died: that one is dead
 * then, and what the log says of it is in blocks. `tags` holds part of the hash by slot, so that
 * only equal sets are looked at.
 */
static hk_err put_set(
    struct hk_directory_view *view, struct hk_id_table *table, uint32_t *tags, uint64_t hash,
    uint32_t ref) {
    struct hk_directory *directory = view->directory;
    uint64_t at = hash >> 20 & table->mask;
    uint32_t tag = (uint32_t)hash;
    for (;; at = (at + 1) & table->mask) {
        uint32_t slot = atomic_load_explicit(&table->slots[at], memory_order_relaxed);
        if (slot == 0) break;
        uint32_t earlier = slot - 1;
        if (tags[at] != tag || hk_series_is_dead(directory, earlier) ||
            !same_sets(hk_view_set(view, earlier), hk_view_set(view, ref))) {
            continue;
        }
        atomic_store_explicit(
            hk_directory_state(directory, earlier), HK_SERIES_DEAD, memory_order_relaxed);
        atomic_fetch_sub_explicit(&directory->live_count, 1, memory_order_relaxed);
        HK_TRY(hk_directory_forgotten(directory, &earlier, 1));
    }
    tags[at] = tag;
    atomic_store_explicit(&table->slots[at], ref + 1, memory_order_release);
    return HK_OK;
}

static hk_err fill_sets(struct hk_directory_view *view, uint32_t count) {
    uint64_t slots = slots_for(count);
    struct hk_id_table *table = NULL;
    uint64_t hashes[AHEAD];
    uint32_t *tags HK_CLEANUP(hk_mem_free_at) = hk_mem_alloc(slots, sizeof(tags[0]));
    if (tags == NULL) return HK_E_NOMEM;
    struct hk_id_table *old = atomic_load_explicit(&view->set_table, memory_order_relaxed);
    HK_TRY(table_create(view, slots, old, &table));
    atomic_store_explicit(&view->set_table, table, memory_order_release);
    for (uint64_t i = 0; i < (uint64_t)count + AHEAD; i++) {
        uint64_t *hash = &hashes[i % AHEAD];
        if (i >= AHEAD) {
            uint32_t ref = *(const uint32_t *)hk_grow_at(&view->order, (uint32_t)(i - AHEAD));
            HK_TRY(put_set(view, table, tags, *hash, ref));
        }
        if (i >= count) continue;
        uint32_t ref = *(const uint32_t *)hk_grow_at(&view->order, (uint32_t)i);
        *hash = hash_of(view, &view->set_table, ref);
        __builtin_prefetch(&table->slots[*hash >> 20 & table->mask], 1);
        __builtin_prefetch(&tags[*hash >> 20 & table->mask], 1);
    }
    return HK_OK;
}

hk_err hk_view_fill_tables(struct hk_directory_view *view) {
    uint32_t pairs = atomic_load_explicit(&view->pair_count, memory_order_relaxed);
    uint32_t sets = atomic_load_explicit(&view->set_count, memory_order_relaxed);
    view->loads = false;
    HK_TRY(table_grow(view, &view->pair_table, slots_for(pairs), pairs));
    return fill_sets(view, sets);
}

/* Memory for strings and label arrays, 4-aligned, that lives until close. */
static void *string_alloc(struct hk_directory_view *view, size_t bytes) {
    bytes = (bytes + 3) & ~(size_t)3;
    struct hk_string_chunk *chunk = view->strings;
    if (chunk == NULL || chunk->bytes - chunk->used < bytes) {
        size_t want = chunk == NULL ? CHUNK_BYTES_FIRST : CHUNK_BYTES;
        if (want < bytes) want = bytes;
        chunk = hk_mem_resize(NULL, sizeof(*chunk) + want, 1);
        if (chunk == NULL) return NULL;
        chunk->next = view->strings;
        chunk->used = 0;
        chunk->bytes = want;
        view->strings = chunk;
        view->string_bytes += want;
    }
    void *memory = chunk->data + chunk->used;
    chunk->used += bytes;
    return memory;
}

static hk_err string_copy(struct hk_directory_view *view, struct hk_str text, const char **out) {
    char *copy = string_alloc(view, text.len + 1);
    if (copy == NULL) return HK_E_NOMEM;
    if (text.len > 0) memcpy(copy, text.ptr, text.len);
    copy[text.len] = 0;
    *out = copy;
    return HK_OK;
}

void hk_directory_count_bytes(struct hk_directory *directory) {
    uint64_t bytes = directory->states.bytes;
    for (const struct hk_directory_view *view = hk_view_now(directory); view != NULL;
         view = view->older) {
        bytes += view->string_bytes + view->table_bytes + view->names.bytes + view->pairs.bytes +
                 view->sets.bytes + view->order.bytes;
    }
    atomic_store_explicit(&directory->bytes, bytes, memory_order_relaxed);
}

hk_err hk_view_add_name(struct hk_directory_view *view, struct hk_str name, uint32_t *out) {
    uint32_t id = atomic_load_explicit(&view->name_count, memory_order_relaxed);
    HK_TRY(hk_grow_reserve(&view->names, id));
    struct hk_str *item = hk_grow_at(&view->names, id);
    HK_TRY(string_copy(view, name, &item->ptr));
    item->len = name.len;
    HK_TRY(table_add(view, &view->name_table, hk_hash64(name.ptr, name.len), id, id));
    atomic_store_explicit(&view->name_count, id + 1, memory_order_release);
    *out = id;
    return HK_OK;
}

hk_err hk_view_add_pair(
    struct hk_directory_view *view, uint32_t name, struct hk_str value, uint32_t *out) {
    uint32_t id = atomic_load_explicit(&view->pair_count, memory_order_relaxed);
    HK_TRY(hk_grow_reserve(&view->pairs, id));
    struct hk_pair *item = hk_grow_at(&view->pairs, id);
    HK_TRY(string_copy(view, value, &item->value));
    item->value_len = (uint32_t)value.len;
    item->name = name;
    HK_TRY(table_add(view, &view->pair_table, pair_hash(name, value), id, id));
    atomic_store_explicit(&view->pair_count, id + 1, memory_order_release);
    *out = id;
    return HK_OK;
}

hk_err hk_directory_reserve(struct hk_directory *directory, uint32_t ref) {
    for (;;) {
        uint32_t end = atomic_load_explicit(&directory->ref_end, memory_order_relaxed);
        if (ref < end) return HK_OK;
        if (end == HK_DIRECTORY_SERIES_MAX) return HK_E_LIMIT;
        HK_TRY(hk_grow_reserve(&directory->states, end));
        atomic_store_explicit(&directory->ref_end, end + 1, memory_order_release);
    }
}

hk_err
hk_view_add_set(struct hk_directory_view *view, uint32_t ref, const uint32_t *ids, uint32_t count) {
    uint32_t number = atomic_load_explicit(&view->set_count, memory_order_relaxed);
    HK_TRY(hk_grow_reserve(&view->order, number));
    HK_TRY(hk_grow_reserve(&view->sets, ref));
    uint32_t *set = string_alloc(view, ((size_t)count + 1) * sizeof(ids[0]));
    if (set == NULL) return HK_E_NOMEM;
    set[0] = count;
    if (count > 0) memcpy(set + 1, ids, (size_t)count * sizeof(ids[0]));
    *(const uint32_t **)hk_grow_at(&view->sets, ref) = set;
    *(uint32_t *)hk_grow_at(&view->order, number) = ref;
    HK_TRY(table_add(view, &view->set_table, set_hash(ids, count), ref, number));
    atomic_store_explicit(&view->set_count, number + 1, memory_order_release); /* (1) */
    return HK_OK;
}

/* Pair id of a label, HK_ID_NONE when unknown. `like` is the pair at the same place of the newest
 * series: most labels of a series equal those of the one before, which saves the look-up. */
static uint32_t
find_id(const struct hk_directory_view *view, const struct hk_label *label, uint32_t like) {
    uint32_t name = HK_ID_NONE;
    if (like != HK_ID_NONE) {
        const struct hk_pair *pair = hk_grow_at(&view->pairs, like);
        const struct hk_str *text = hk_grow_at(&view->names, pair->name);
        if (hk_str_eq(*text, label->name)) {
            struct hk_str value = { pair->value, pair->value_len };
            if (hk_str_eq(value, label->value)) return like;
            name = pair->name;
        }
    }
    if (name == HK_ID_NONE) name = hk_view_find_name(view, label->name);
    return name == HK_ID_NONE ? name : hk_view_find_pair(view, name, label->value);
}

/* Pair ids of the labels, HK_ID_NONE for those unknown. Returns the set's ref, HK_ID_NONE for a new
 * one. */
static uint32_t
find_ids(const struct hk_directory_view *view, struct hk_labels labels, uint32_t *out_ids) {
    /* Pairs with the release in create(). */
    uint32_t newest = atomic_load_explicit(&view->newest, memory_order_acquire);
    const uint32_t *set = newest == 0 ? NULL : hk_view_set(view, newest - 1);
    bool all = true;
    for (uint32_t i = 0; i < labels.count; i++) {
        uint32_t like = set != NULL && i < set[0] ? set[1 + i] : HK_ID_NONE;
        out_ids[i] = find_id(view, &labels.items[i], like);
        all = all && out_ids[i] != HK_ID_NONE;
    }
    return all ? hk_view_find_set(view, out_ids, labels.count) : HK_ID_NONE;
}

uint32_t hk_directory_find(struct hk_directory *directory, struct hk_labels labels) {
    uint32_t ids[HK_LABELS_MAX];
    if (labels.count > HK_LABELS_MAX) return HK_ID_NONE;
    struct hk_directory_view *view = hk_directory_hold(directory);
    uint32_t ref = find_ids(view, labels, ids);
    hk_directory_release(directory, view);
    return ref;
}

/* A pair that does not exist yet, with its name if need be. */
static hk_err
add_pair(struct hk_directory *directory, const struct hk_label *label, uint32_t *out) {
    struct hk_directory_view *view = hk_view_now(directory);
    uint32_t name = hk_view_find_name(view, label->name);
    if (name == HK_ID_NONE) {
        HK_TRY(hk_view_add_name(view, label->name, &name));
        hk_registration_name(&directory->pending, label->name);
    }
    HK_TRY(hk_view_add_pair(view, name, label->value, out));
    hk_registration_pair(&directory->pending, name, label->value);
    return HK_OK;
}

/* `ids` has HK_ID_NONE for pairs that do not exist yet. */
static hk_err
create(struct hk_directory *directory, struct hk_labels labels, uint32_t *ids, uint32_t *out_ref) {
    if (atomic_load_explicit(&directory->bytes, memory_order_relaxed) >= directory->bytes_max) {
        return hk_fail(HK_E_LIMIT, "series directory is full (memory limit): no new series");
    }
    if (atomic_load_explicit(&directory->refuse, memory_order_relaxed)) {
        return hk_fail(HK_E_LIMIT, "memory limit (--memory): no new series");
    }
    for (uint32_t i = 0; i < labels.count; i++) {
        if (ids[i] == HK_ID_NONE) HK_TRY(add_pair(directory, &labels.items[i], &ids[i]));
    }
    bool again = directory->free_count > 0;
    uint32_t ref = again ? directory->free_refs[directory->free_count - 1]
                         : atomic_load_explicit(&directory->ref_end, memory_order_relaxed);
    struct hk_directory_view *view = hk_view_now(directory);
    HK_TRY(hk_directory_reserve(directory, ref));
    HK_TRY(hk_view_add_set(view, ref, ids, labels.count));
    if (again) directory->free_count--;
    atomic_store_explicit(hk_directory_state(directory, ref), HK_SERIES_LIVE, memory_order_release);
    atomic_fetch_add_explicit(&directory->live_count, 1, memory_order_relaxed);
    hk_registration_set(
        &directory->pending, &directory->file_ref_end, ref, ids, labels.count); /* (3) */
    hk_directory_count_bytes(directory);
    atomic_store_explicit(&directory->dirty, true, memory_order_release);
    atomic_store_explicit(&view->newest, ref + 1, memory_order_release);
    *out_ref = ref;
    return directory->pending.err;
}

hk_err hk_directory_intern(
    struct hk_directory *directory, struct hk_labels labels, uint32_t *out_ref, bool *out_created) {
    *out_created = false;
    if (labels.count > HK_LABELS_MAX) return hk_fail(HK_E_LIMIT, "too many labels");
    uint32_t ids[HK_LABELS_MAX] = { 0 };
    hk_mutex_lock(&directory->lock);
    uint32_t ref = find_ids(hk_view_now(directory), labels, ids);
    hk_err err = HK_OK;
    /* It may die between the two looks: then it is a new series. */
    if (ref == HK_ID_NONE || !hk_directory_touch(directory, ref)) {
        err = create(directory, labels, ids, &ref);
        *out_created = err >= 0;
    }
    hk_mutex_unlock(&directory->lock);
    if (err >= 0) *out_ref = ref;
    return err;
}

void hk_directory_refuse(struct hk_directory *directory, bool refuse) {
    atomic_store_explicit(&directory->refuse, refuse, memory_order_relaxed);
}

uint32_t hk_directory_count(const struct hk_directory *directory) {
    return atomic_load_explicit(&directory->ref_end, memory_order_acquire);
}

uint32_t hk_directory_live(const struct hk_directory *directory) {
    return atomic_load_explicit(&directory->live_count, memory_order_relaxed);
}

uint64_t hk_directory_bytes(const struct hk_directory *directory) {
    return atomic_load_explicit(&directory->bytes, memory_order_relaxed);
}

static const uint32_t *set_or_null(const struct hk_directory_view *view, uint32_t ref) {
    if (ref >= hk_directory_count(view->directory)) return NULL;
    if (!hk_grow_has(&view->sets, ref)) return NULL;
    return hk_view_set(view, ref);
}

bool hk_view_same(const struct hk_directory_view *view, uint32_t a, uint32_t b) {
    const uint32_t *left = hk_view_set(view, a);
    const uint32_t *right = hk_view_set(view, b);
    return left[0] == right[0] && memcmp(left + 1, right + 1, left[0] * sizeof(left[0])) == 0;
}

uint32_t hk_view_label_count(const struct hk_directory_view *view, uint32_t ref) {
    const uint32_t *set = set_or_null(view, ref);
    return set == NULL ? 0 : set[0];
}

struct hk_labels
hk_view_labels(const struct hk_directory_view *view, uint32_t ref, struct hk_label *items) {
    const uint32_t *set = set_or_null(view, ref);
    if (set == NULL) return (struct hk_labels){ items, 0 };
    for (uint32_t i = 0; i < set[0]; i++) {
        const struct hk_pair *pair = hk_grow_at(&view->pairs, set[1 + i]);
        items[i].name = *(const struct hk_str *)hk_grow_at(&view->names, pair->name);
        items[i].value = (struct hk_str){ pair->value, pair->value_len };
    }
    return (struct hk_labels){ items, set[0] };
}

struct hk_labels
hk_directory_labels(const struct hk_directory *directory, uint32_t ref, struct hk_label *items) {
    return hk_view_labels(hk_view_now(directory), ref, items);
}

void hk_view_visit_names(
    struct hk_directory_view *view, bool (*visit)(void *self, struct hk_str name), void *self) {
    uint32_t count = atomic_load_explicit(&view->name_count, memory_order_acquire);
    for (uint32_t i = 0; i < count; i++) {
        if (!visit(self, *(const struct hk_str *)hk_grow_at(&view->names, i))) return;
    }
}

void hk_view_visit_values(
    struct hk_directory_view *view, struct hk_str name,
    bool (*visit)(void *self, struct hk_str value), void *self) {
    uint32_t name_id = hk_view_find_name(view, name);
    uint32_t count = atomic_load_explicit(&view->pair_count, memory_order_acquire);
    for (uint32_t i = 0; i < count && name_id != HK_ID_NONE; i++) {
        const struct hk_pair *pair = hk_grow_at(&view->pairs, i);
        if (pair->name == name_id && !visit(self, pair_value(view, i))) return;
    }
}

/* ------------------------------------------------------------------ views */

static void table_free(struct hk_id_table *table) {
    while (table != NULL) {
        struct hk_id_table *older = table->older;
        hk_mem_free(table);
        table = older;
    }
}

void hk_view_destroy(struct hk_directory_view *view) {
    if (view == NULL) return;
    hk_grow_deinit(&view->names);
    hk_grow_deinit(&view->pairs);
    hk_grow_deinit(&view->sets);
    hk_grow_deinit(&view->order);
    table_free(atomic_load_explicit(&view->name_table, memory_order_relaxed));
    table_free(atomic_load_explicit(&view->pair_table, memory_order_relaxed));
    table_free(atomic_load_explicit(&view->set_table, memory_order_relaxed));
    while (view->strings != NULL) {
        struct hk_string_chunk *next = view->strings->next;
        hk_mem_free(view->strings);
        view->strings = next;
    }
    hk_label_index_free(view->index);
    hk_rwlock_deinit(&view->index_lock);
    hk_mem_free(view);
}

hk_err hk_view_create(struct hk_directory *directory, struct hk_directory_view **out) {
    struct hk_directory_view *view = hk_mem_alloc(1, sizeof(*view));
    if (view == NULL) return HK_E_NOMEM;
    view->directory = directory;
    hk_rwlock_init(&view->index_lock);
    hk_grow_init(&view->names, sizeof(struct hk_str));
    hk_grow_init(&view->pairs, sizeof(struct hk_pair));
    hk_grow_init(&view->sets, sizeof(const uint32_t *));
    hk_grow_init(&view->order, sizeof(uint32_t));
    _Atomic(struct hk_id_table *) *tables[] = { &view->name_table, &view->pair_table,
                                                &view->set_table };
    hk_err err = HK_OK;
    for (size_t i = 0; i < HK_COUNT(tables) && err >= 0; i++) {
        struct hk_id_table *table = NULL;
        err = table_create(view, TABLE_SLOTS_MIN, NULL, &table);
        atomic_init(tables[i], table);
    }
    if (err < 0) {
        hk_view_destroy(view);
        return err;
    }
    *out = view;
    return HK_OK;
}

struct hk_directory_view *hk_directory_hold(struct hk_directory *directory) {
    hk_mutex_lock(&directory->views_lock);
    struct hk_directory_view *view = hk_view_now(directory);
    view->users++;
    hk_mutex_unlock(&directory->views_lock);
    return view;
}

void hk_directory_release(struct hk_directory *directory, struct hk_directory_view *view) {
    if (view == NULL) return;
    hk_mutex_lock(&directory->views_lock);
    hk_assert(view->users > 0);
    view->users--;
    hk_mutex_unlock(&directory->views_lock);
}

hk_err hk_directory_open(
    const struct hk_directory_options *options, struct hk_directory **out,
    struct hk_directory_report *out_report) {
    *out_report = (struct hk_directory_report){ 0 };
    struct hk_directory *directory = hk_mem_alloc(1, sizeof(*directory));
    if (directory == NULL) return HK_E_NOMEM;
    hk_mutex_init(&directory->lock);
    hk_mutex_init(&directory->sync_lock);
    hk_mutex_init(&directory->views_lock);
    hk_grow_init(&directory->states, sizeof(uint8_t));
    hk_buf_init(&directory->pending, 1U << 30);
    hk_buf_init(&directory->writing, 1U << 30);
    directory->bytes_max = options->bytes_max;
    directory->dead_min = options->dead_min == 0 ? DEAD_MIN : options->dead_min;
    directory->fd = -1;
    size_t path_len = strlen(options->path);
    hk_err err = path_len >= sizeof(directory->path) - 8 ? HK_E_LIMIT : HK_OK;
    if (err >= 0) memcpy(directory->path, options->path, path_len + 1);
    struct hk_directory_view *view = NULL;
    if (err >= 0) err = hk_view_create(directory, &view);
    atomic_init(&directory->view, view);
    if (err >= 0) err = hk_registration_load(directory, out_report);
    if (err >= 0) err = hk_directory_index(directory);
    if (err < 0) {
        hk_directory_close(directory);
        return err;
    }
    hk_directory_count_bytes(directory);
    *out = directory;
    return HK_OK;
}

void hk_directory_close(struct hk_directory *directory) {
    if (directory == NULL) return;
    hk_file_close(directory->fd);
    hk_buf_deinit(&directory->pending);
    hk_buf_deinit(&directory->writing);
    struct hk_directory_view *view = hk_view_now(directory);
    while (view != NULL) {
        struct hk_directory_view *older = view->older;
        hk_view_destroy(view);
        view = older;
    }
    hk_grow_deinit(&directory->states);
    hk_mem_free(directory->free_refs);
    hk_mem_free(directory->dead);
    hk_mem_free(directory->limbo);
    hk_mutex_deinit(&directory->lock);
    hk_mutex_deinit(&directory->sync_lock);
    hk_mutex_deinit(&directory->views_lock);
    hk_mem_free(directory);
}
