/*
 * The set of blocks of a directory: opening, publishing, snapshots, removal.
 *
 * (1) A file is removed only after the snapshot without its block is in place, and only if its
 *     samples are in a durable block or retention ended them.
 * (2) While a removal is not known durable no merge runs, so a replaced block can never come back
 *     after the block that names it is gone.
 */
#include "store/blockset.h"

#include "base/mem.h"
#include "os/file.h"
#include "store/blockset_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { DEFAULT_FAN_IN = 8, ID_DIGITS = 16 };

#define DEFAULT_OUTPUT_BYTES ((uint64_t)1 << 30)
#define HOUR_MS              ((int64_t)3600000)

/* ------------------------------------------------------------------ small parts */

void hk_blockset_path(const struct hk_blockset *set, uint64_t id, const char *suffix, char *out) {
    char name[32];
    hk_block_name(id, name);
    (void)snprintf(out, HK_BLOCK_PATH_BYTES_MAX, "%s/%s%s", set->directory, name, suffix);
}

void hk_blockset_note_problem(struct hk_blockset *set) {
    const char *text = hk_fail_text();
    hk_mutex_lock(&set->lock);
    set->stats.problems++;
    if (set->problem_count < HK_BLOCKSET_PROBLEMS_MAX) {
        char *copy = hk_mem_copy(text, strlen(text));
        if (copy != NULL) set->problems[set->problem_count++] = copy;
    }
    hk_mutex_unlock(&set->lock);
}

const char *hk_blockset_problem(struct hk_blockset *set, uint32_t index) {
    hk_mutex_lock(&set->lock);
    const char *text = index < set->problem_count ? set->problems[index] : NULL;
    hk_mutex_unlock(&set->lock);
    return text;
}

uint64_t hk_blockset_next_id(struct hk_blockset *set) {
    hk_mutex_lock(&set->lock);
    const uint64_t id = set->next_id++;
    hk_mutex_unlock(&set->lock);
    return id;
}

void hk_blockset_limits(struct hk_blockset *set, int64_t retention_ms, uint64_t bytes_max) {
    hk_mutex_lock(&set->lock);
    set->options.retention_ms = retention_ms;
    set->options.bytes_max = bytes_max;
    hk_mutex_unlock(&set->lock);
}

/* ------------------------------------------------------------------ snapshots */

static struct hk_blockset_list *list_create(uint32_t count) {
    struct hk_blockset_list *list =
        hk_mem_alloc(1, sizeof(*list) + count * sizeof(struct hk_block *));
    if (list == NULL) return NULL;
    atomic_init(&list->refs, 1);
    list->snapshot.blocks = list->blocks;
    return list;
}

struct hk_blockset_snapshot *hk_blockset_snapshot(struct hk_blockset *set) {
    hk_mutex_lock(&set->lock);
    struct hk_blockset_list *list = set->list;
    (void)atomic_fetch_add_explicit(&list->refs, 1, memory_order_relaxed);
    hk_mutex_unlock(&set->lock);
    return &list->snapshot;
}

void hk_blockset_snapshot_unref(struct hk_blockset_snapshot *snapshot) {
    if (snapshot == NULL) return;
    struct hk_blockset_list *list = (struct hk_blockset_list *)(void *)snapshot;
    if (atomic_fetch_sub_explicit(&list->refs, 1, memory_order_acq_rel) != 1) return;
    for (uint32_t i = 0; i < snapshot->count; i++)
        hk_block_unref(list->blocks[i]);
    hk_mem_free(list);
}

static bool is_before(const struct hk_block *a, const struct hk_block *b) {
    const struct hk_block_info *x = hk_block_info(a), *y = hk_block_info(b);
    return x->order != y->order ? x->order < y->order : x->id < y->id;
}

static void add_sorted(struct hk_blockset_list *list, struct hk_block *block) {
    uint32_t i = list->snapshot.count++;
    for (; i > 0 && is_before(block, list->blocks[i - 1]); i--)
        list->blocks[i] = list->blocks[i - 1];
    list->blocks[i] = block;
}

static bool is_among(const struct hk_block *block, struct hk_block *const *list, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        if (list[i] == block) return true;
    }
    return false;
}

hk_err hk_blockset_swap(
    struct hk_blockset *set, struct hk_block *const *remove, uint32_t remove_count,
    struct hk_block *add) {
    hk_mutex_lock(&set->lock);
    struct hk_blockset_list *old = set->list;
    struct hk_blockset_list *list = list_create(old->snapshot.count + 1);
    if (list != NULL) {
        for (uint32_t i = 0; i < old->snapshot.count; i++) {
            if (is_among(old->blocks[i], remove, remove_count)) continue;
            list->blocks[list->snapshot.count++] = hk_block_ref(old->blocks[i]);
        }
        if (add != NULL) add_sorted(list, add);
        set->list = list;
    }
    hk_mutex_unlock(&set->lock);
    if (list == NULL) return hk_fail(HK_E_NOMEM, "block set %s: out of memory", set->directory);
    hk_blockset_snapshot_unref(&old->snapshot);
    return HK_OK;
}

void hk_blockset_stats(struct hk_blockset *set, struct hk_blockset_stats *out) {
    struct hk_blockset_snapshot *snapshot = hk_blockset_snapshot(set);
    hk_mutex_lock(&set->lock);
    struct hk_blockset_stats stats = set->stats;
    hk_mutex_unlock(&set->lock);
    stats.min_ms = INT64_MAX;
    stats.max_ms = INT64_MIN;
    for (uint32_t i = 0; i < snapshot->count; i++) {
        const struct hk_block_info *info = hk_block_info(snapshot->blocks[i]);
        stats.blocks++;
        stats.bytes += info->bytes;
        stats.series += info->series_count;
        stats.samples += info->sample_count;
        stats.min_ms = info->min_ms < stats.min_ms ? info->min_ms : stats.min_ms;
        stats.max_ms = info->max_ms > stats.max_ms ? info->max_ms : stats.max_ms;
    }
    hk_blockset_snapshot_unref(snapshot);
    *out = stats;
}

/* ------------------------------------------------------------------ removal */

/* The file is gone after this, or the id is doomed. False when doomed. */
static bool remove_file(struct hk_blockset *set, uint64_t id) {
    char path[HK_BLOCK_PATH_BYTES_MAX];
    hk_blockset_path(set, id, "", path);
    hk_err err = hk_block_file_remove(path);
    return err == HK_OK || err == HK_E_NOT_FOUND;
}

/* Makes removals durable; sets `unsynced` when that fails. */
static void sync_removals(struct hk_blockset *set) {
    const hk_err err = hk_block_dir_sync(set->directory);
    if (err < 0) hk_blockset_note_problem(set);
    hk_mutex_lock(&set->lock);
    set->unsynced = err < 0;
    hk_mutex_unlock(&set->lock);
}

void hk_blockset_remove_files(struct hk_blockset *set, const uint64_t *ids, uint32_t count) {
    bool changed = false;
    for (uint32_t i = 0; i < count; i++) {
        char path[HK_BLOCK_PATH_BYTES_MAX];
        hk_blockset_path(set, ids[i], "", path);
        const hk_err err = hk_block_file_remove(path);
        if (err == HK_E_NOT_FOUND) continue;
        changed = true;
        if (err == HK_OK) continue;
        hk_blockset_note_problem(set);
        hk_mutex_lock(&set->lock);
        if (hk_mem_grow(
                &set->doomed, &set->doomed_capacity, set->doomed_count + 1, sizeof(*set->doomed)) ==
            HK_OK) {
            set->doomed[set->doomed_count++] = ids[i];
        } else {
            set->unsynced = true; /* no merge until the next start, which removes it (2) */
        }
        hk_mutex_unlock(&set->lock);
    }
    if (changed) sync_removals(set);
}

bool hk_blockset_remove_doomed(struct hk_blockset *set) {
    /* Only maintenance, one at a time, changes the list. */
    hk_mutex_lock(&set->lock);
    size_t left = 0;
    bool changed = set->unsynced;
    for (size_t i = 0; i < set->doomed_count; i++) {
        if (remove_file(set, set->doomed[i])) {
            changed = true;
        } else {
            set->doomed[left++] = set->doomed[i];
        }
    }
    set->doomed_count = left;
    hk_mutex_unlock(&set->lock);
    if (changed) sync_removals(set);
    hk_mutex_lock(&set->lock);
    const bool clean = set->doomed_count == 0 && !set->unsynced;
    hk_mutex_unlock(&set->lock);
    return clean;
}

static hk_err rename_quarantined(struct hk_blockset *set, uint64_t id) {
    char from[HK_BLOCK_PATH_BYTES_MAX], to[HK_BLOCK_PATH_BYTES_MAX];
    hk_blockset_path(set, id, "", from);
    hk_blockset_path(set, id, ".quarantined", to);
    HK_TRY(hk_block_file_rename(from, to));
    hk_mutex_lock(&set->lock);
    set->stats.quarantined++;
    hk_mutex_unlock(&set->lock);
    return HK_OK;
}

void hk_blockset_quarantine(struct hk_blockset *set, struct hk_block *block) {
    hk_blockset_note_problem(set);
    if (rename_quarantined(set, hk_block_info(block)->id) < 0) hk_blockset_note_problem(set);
    if (hk_blockset_swap(set, &block, 1, NULL) < 0) hk_blockset_note_problem(set);
}

/* ------------------------------------------------------------------ opening */

/* A file of the directory that may be a block. */
struct found {
    uint64_t id;
    struct hk_block *block; /* NULL when corrupt */
    bool gone;              /* replaced, or quarantined */
};

struct opening {
    struct hk_blockset *set;
    struct found *found;
    size_t count, capacity;
    struct hk_buf temporary; /* names, each with a NUL */
    hk_err err;
};

/* The id of "<16 hex digits>.block<rest>"; *out_rest is what follows. */
static bool parse_name(const char *name, uint64_t *out_id, const char **out_rest) {
    uint64_t id = 0;
    for (int i = 0; i < ID_DIGITS; i++) {
        const char c = name[i];
        const bool digit = c >= '0' && c <= '9', letter = c >= 'a' && c <= 'f';
        if (!digit && !letter) return false;
        id = id * 16 + (uint64_t)(digit ? c - '0' : c - 'a' + 10);
    }
    if (strncmp(name + ID_DIGITS, ".block", 6) != 0 || id == 0) return false;
    *out_id = id;
    *out_rest = name + ID_DIGITS + 6;
    return true;
}

static int visit_name(void *self, const char *name) {
    struct opening *opening = self;
    uint64_t id = 0;
    const char *rest = NULL;
    if (!parse_name(name, &id, &rest)) return 0; /* not ours */
    if (id >= opening->set->next_id) opening->set->next_id = id + 1;
    if (strcmp(rest, ".tmp") == 0) {
        hk_buf_bytes(&opening->temporary, name, strlen(name) + 1);
        opening->err = opening->temporary.err;
    } else if (rest[0] == 0) {
        opening->err = hk_mem_grow(
            &opening->found, &opening->capacity, opening->count + 1, sizeof(*opening->found));
        if (opening->err == HK_OK) opening->found[opening->count++] = (struct found){ .id = id };
    }
    return opening->err < 0 ? 1 : 0;
}

static int by_id_falling(const void *a, const void *b) {
    const struct found *x = a, *y = b;
    return (x->id < y->id) - (x->id > y->id);
}

/* Opens one file; corrupt ones are noted and stay NULL. */
static hk_err open_found(struct hk_blockset *set, struct found *found) {
    char path[HK_BLOCK_PATH_BYTES_MAX];
    hk_blockset_path(set, found->id, "", path);
    hk_err err = hk_block_open(path, &found->block);
    if (err == HK_E_VERSION || err == HK_E_NOMEM) return err;
    if (err == HK_OK) {
        const struct hk_block_info *info = hk_block_info(found->block);
        if (info->order >= set->next_id) set->next_id = info->order + 1;
        if (info->id == found->id) return HK_OK;
        hk_block_unref(found->block);
        found->block = NULL;
        err =
            hk_fail(HK_E_CORRUPT, "block %s: the file holds the block %016" PRIx64, path, info->id);
    }
    hk_blockset_note_problem(set);
    /* What cannot be read now may be readable later: leave it. */
    if (err != HK_E_CORRUPT) found->gone = true;
    return HK_OK;
}

static struct found *find_id(struct opening *opening, uint64_t id) {
    const struct found key = { .id = id };
    if (opening->count == 0) return NULL;
    return bsearch(&key, opening->found, opening->count, sizeof(*opening->found), by_id_falling);
}

/* Removes the blocks that `by` replaces. Before that, `by` is read as a whole: a merged block that
 * turns out corrupt must not cost its inputs. */
static hk_err drop_replaced(struct opening *opening, struct found *by, struct hk_block_work *work) {
    const struct hk_block_info *info = hk_block_info(by->block);
    bool verified = by->gone;
    for (uint32_t i = 0; i < info->replaces_count; i++) {
        struct found *old = find_id(opening, info->replaces[i]);
        if (old == NULL || old == by || old->id > by->id || old->gone) continue;
        if (!verified) {
            hk_err err = hk_block_verify(by->block, work);
            if (err == HK_E_CORRUPT) {
                hk_blockset_note_problem(opening->set);
                hk_block_unref(by->block);
                by->block = NULL;
                return HK_OK;
            }
            HK_TRY(err);
            verified = true;
        }
        old->gone = true;
        HK_TRY(remove_file(opening->set, old->id) ? HK_OK : HK_E_IO);
    }
    return HK_OK;
}

/* Removes temporary and replaced files, quarantines corrupt ones. */
static hk_err clean_directory(struct opening *opening) {
    struct hk_blockset *set = opening->set;
    for (size_t at = 0; at < opening->temporary.len;) {
        const char *name = opening->temporary.ptr + at;
        char path[HK_BLOCK_PATH_BYTES_MAX];
        (void)snprintf(path, sizeof(path), "%s/%s", set->directory, name);
        HK_TRY(hk_block_file_remove(path));
        at += strlen(name) + 1;
    }
    struct hk_block_work *work = NULL;
    HK_TRY(hk_block_work_create(&work));
    hk_err err = HK_OK;
    for (size_t i = 0; err == HK_OK && i < opening->count; i++) {
        if (opening->found[i].block != NULL) err = drop_replaced(opening, &opening->found[i], work);
    }
    hk_block_work_destroy(work);
    for (size_t i = 0; err == HK_OK && i < opening->count; i++) {
        struct found *found = &opening->found[i];
        if (found->block != NULL || found->gone) continue;
        err = rename_quarantined(set, found->id);
        found->gone = true;
    }
    HK_TRY(err);
    return hk_block_dir_sync(set->directory);
}

static hk_err open_directory(struct opening *opening) {
    struct hk_blockset *set = opening->set;
    int result = hk_dir_create(set->directory);
    if (result == 0) result = hk_dir_list(set->directory, visit_name, opening);
    if (opening->err < 0) return hk_fail(HK_E_NOMEM, "block set: out of memory");
    if (result < 0) {
        return hk_fail(
            HK_E_IO, "cannot read directory %s: %s", set->directory, strerrordesc_np(-result));
    }
    if (opening->count > 0) {
        qsort(opening->found, opening->count, sizeof(*opening->found), by_id_falling);
    }
    for (size_t i = 0; i < opening->count; i++)
        HK_TRY(open_found(set, &opening->found[i]));
    HK_TRY(clean_directory(opening));
    set->list = list_create((uint32_t)opening->count);
    if (set->list == NULL) return hk_fail(HK_E_NOMEM, "block set: out of memory");
    for (size_t i = opening->count; i > 0; i--) {
        struct found *found = &opening->found[i - 1];
        if (found->block == NULL || found->gone) continue;
        add_sorted(set->list, found->block);
        found->block = NULL;
    }
    return HK_OK;
}

static void set_defaults(struct hk_blockset_options *options) {
    if (options->output_bytes_max == 0) options->output_bytes_max = DEFAULT_OUTPUT_BYTES;
    if (options->fan_in < 2) options->fan_in = DEFAULT_FAN_IN;
    if (options->fan_in > HK_BLOCKSET_INPUTS_MAX) options->fan_in = HK_BLOCKSET_INPUTS_MAX;
    if (options->grace_ms == 0) options->grace_ms = HOUR_MS / 2;
    if (options->partition_ms[0] != 0) return;
    options->partition_ms[0] = 2 * HOUR_MS;
    options->partition_ms[1] = 24 * HOUR_MS;
    options->partition_ms[2] = 192 * HOUR_MS;
    options->partition_ms[3] = 0;
}

hk_err hk_blockset_open(const struct hk_blockset_options *options, struct hk_blockset **out) {
    if (strlen(options->directory) + 64 > HK_BLOCK_PATH_BYTES_MAX) {
        return hk_fail(HK_E_INVALID, "block set: the directory's path is too long");
    }
    struct hk_blockset *set = hk_mem_alloc(1, sizeof(*set));
    if (set == NULL) return hk_fail(HK_E_NOMEM, "block set: out of memory");
    hk_mutex_init(&set->lock);
    set->next_id = 1;
    set->options = *options;
    set_defaults(&set->options);
    set->directory = hk_mem_copy(options->directory, strlen(options->directory));
    set->options.directory = set->directory;
    struct opening opening = { .set = set };
    hk_buf_init(&opening.temporary, (size_t)1 << 26);
    hk_err err = set->directory == NULL ? hk_fail(HK_E_NOMEM, "block set: out of memory")
                                        : open_directory(&opening);
    for (size_t i = 0; i < opening.count; i++)
        hk_block_unref(opening.found[i].block);
    hk_mem_free(opening.found);
    hk_buf_deinit(&opening.temporary);
    if (err < 0) {
        hk_blockset_close(set);
        return err;
    }
    *out = set;
    return HK_OK;
}

void hk_blockset_close(struct hk_blockset *set) {
    if (set == NULL) return;
    if (set->list != NULL) hk_blockset_snapshot_unref(&set->list->snapshot);
    for (uint32_t i = 0; i < set->problem_count; i++)
        hk_mem_free(set->problems[i]);
    hk_mem_free(set->committing);
    hk_mem_free(set->doomed);
    hk_mem_free(set->directory);
    hk_mutex_deinit(&set->lock);
    hk_mem_free(set);
}

/* ------------------------------------------------------------------ publishing */

hk_err hk_blockset_writer(
    struct hk_blockset *set, uint32_t tenant, struct hk_str note, struct hk_block_writer **out) {
    const struct hk_block_writer_options options = {
        .directory = set->directory,
        .id = hk_blockset_next_id(set),
        .tenant = tenant,
        .note = note,
    };
    return hk_block_writer_create(&options, out);
}

/* Gives an order, which is kept in `committing` until
 * hk_blockset_end_commit. */
hk_err hk_blockset_begin_commit(struct hk_blockset *set, uint64_t *out_order) {
    hk_mutex_lock(&set->lock);
    hk_err err = hk_mem_grow(
        &set->committing, &set->committing_capacity, set->committing_count + 1,
        sizeof(*set->committing));
    if (err == HK_OK) {
        *out_order = set->next_id++;
        set->committing[set->committing_count++] = *out_order;
    }
    hk_mutex_unlock(&set->lock);
    return err < 0 ? hk_fail(err, "block set: out of memory") : HK_OK;
}

void hk_blockset_end_commit(struct hk_blockset *set, uint64_t order) {
    hk_mutex_lock(&set->lock);
    for (size_t i = 0; i < set->committing_count; i++) {
        if (set->committing[i] != order) continue;
        set->committing[i] = set->committing[--set->committing_count];
        break;
    }
    hk_mutex_unlock(&set->lock);
}

hk_err hk_blockset_commit(
    struct hk_blockset *set, struct hk_block_writer *writer, struct hk_block *const *inputs,
    uint32_t input_count, struct hk_block_info *out_info) {
    const uint64_t id = hk_block_writer_id(writer);
    char path[HK_BLOCK_PATH_BYTES_MAX];
    hk_blockset_path(set, id, "", path);
    struct hk_block *block = NULL;
    hk_err err = hk_block_writer_commit(writer);
    if (err == HK_OK) err = hk_block_open(path, &block);
    if (err == HK_OK && out_info != NULL) *out_info = *hk_block_info(block);
    if (err == HK_OK) err = hk_blockset_swap(set, inputs, input_count, block);
    if (err == HK_OK) return HK_OK;
    /* The samples are safe where they came from; a file that nobody sees would only take room. */
    char text[512];
    (void)snprintf(text, sizeof(text), "%s", hk_fail_text());
    hk_block_unref(block);
    hk_blockset_remove_files(set, &id, 1);
    return hk_fail(err, "%s", text);
}

static hk_err
commit_and_add(struct hk_blockset *set, struct hk_block_writer *writer, uint64_t order) {
    hk_block_writer_set_order(writer, order);
    return hk_blockset_commit(set, writer, NULL, 0, NULL);
}

hk_err
hk_blockset_publish(struct hk_blockset *set, struct hk_block_writer *writer, uint64_t *out_id) {
    uint64_t order = 0;
    const uint64_t id = hk_block_writer_id(writer);
    hk_err err = hk_blockset_begin_commit(set, &order);
    if (err == HK_OK) {
        err = commit_and_add(set, writer, order);
        hk_blockset_end_commit(set, order);
    }
    hk_block_writer_destroy(writer);
    if (err == HK_OK && out_id != NULL) *out_id = id;
    return err;
}

/* ------------------------------------------------------------------ retention */

/* The block to go next: the one with the oldest newest sample; NULL when none may go. */
static struct hk_block *oldest(const struct hk_blockset_snapshot *snapshot) {
    struct hk_block *found = NULL;
    for (uint32_t i = 0; i < snapshot->count; i++) {
        if (found == NULL ||
            hk_block_info(snapshot->blocks[i])->max_ms < hk_block_info(found)->max_ms) {
            found = snapshot->blocks[i];
        }
    }
    return found;
}

/* Bytes of all blocks and of the output of a compaction that is due. */
static uint64_t
bytes_wanted(struct hk_blockset *set, const struct hk_blockset_snapshot *snapshot, int64_t now_ms) {
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < snapshot->count; i++)
        bytes += hk_block_info(snapshot->blocks[i])->bytes;
    struct hk_block *inputs[HK_BLOCKSET_INPUTS_MAX];
    uint32_t level = 0;
    const uint32_t count = hk_blockset_plan(set, snapshot, now_ms, inputs, &level);
    for (uint32_t i = 0; i < count; i++)
        bytes += hk_block_info(inputs[i])->bytes;
    return bytes;
}

/* Retires one block if a limit asks for it: HK_MORE, else HK_OK. */
static hk_err retire_one(struct hk_blockset *set, int64_t now_ms) {
    hk_mutex_lock(&set->lock);
    const int64_t retention_ms = set->options.retention_ms;
    const uint64_t bytes_max = set->options.bytes_max;
    hk_mutex_unlock(&set->lock);
    struct hk_blockset_snapshot *snapshot = hk_blockset_snapshot(set);
    struct hk_block *block = oldest(snapshot);
    hk_err err = HK_OK;
    const bool aged =
        block != NULL && retention_ms > 0 && hk_block_info(block)->max_ms < now_ms - retention_ms;
    /* The last block stays, whatever its size. */
    const bool large =
        snapshot->count > 1 && bytes_max > 0 && bytes_wanted(set, snapshot, now_ms) > bytes_max;
    if (aged || large) {
        const struct hk_block_info info = *hk_block_info(block);
        err = hk_blockset_swap(set, &block, 1, NULL);
        if (err == HK_OK) {
            hk_blockset_remove_files(set, &info.id, 1);
            hk_mutex_lock(&set->lock);
            set->stats.retired_blocks++;
            set->stats.retired_bytes += info.bytes;
            set->stats.retired_samples += info.sample_count;
            hk_mutex_unlock(&set->lock);
            err = HK_MORE;
        }
    }
    hk_blockset_snapshot_unref(snapshot);
    return err;
}

hk_err hk_blockset_retain(struct hk_blockset *set, int64_t now_ms) {
    if (atomic_exchange_explicit(&set->maintaining, true, memory_order_acquire)) return HK_E_BUSY;
    (void)hk_blockset_remove_doomed(set);
    hk_err err = HK_MORE;
    while (err == HK_MORE)
        err = retire_one(set, now_ms);
    atomic_store_explicit(&set->maintaining, false, memory_order_release);
    return err;
}
