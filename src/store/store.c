/* Opening, recovery, maintenance and closing of the store. */
#include "store/store_internal.h"

#include "base/log.h"
#include "base/mem.h"
#include "os/clock.h"
#include "os/file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    WAL_BYTES_DEFAULT = 512 << 20,
    FLUSH_AGE_MS = 7200000,
    FLUSH_RETRY_MS = 5000,
    MAINTAIN_MS = 10000,
    LOCK_POLL_NS = 5000000,
    LATE_MAX = 2 << 20,
    PRESSED_TAILS = 1 << 20, /* less is not worth a block */
    PRESSED_MS = 10000,
    SLABS_MIN = 16, /* has_room keeps 12 back */
    KEEP_BYTES_MIN = 1 << 20,
    META_BYTES_MAX = 64 << 20,
    COMPACTION_BYTES_MAX = 128 << 20, /* one merge holds up the folding for about a second */
};

static hk_err make_dir(const char *path) {
    int err = hk_dir_create(path);
    if (err < 0) return hk_fail(HK_E_IO, "cannot make directory %s: %s", path, strerror(-err));
    return HK_OK;
}

static hk_err lock_dir(struct hk_store *store) {
    char path[4096];
    HK_TRY(make_dir(store->dir));
    (void)snprintf(path, sizeof(path), "%s/lock", store->dir);
    int fd = hk_file_open(path, HK_FILE_READ | HK_FILE_WRITE | HK_FILE_CREATE);
    if (fd < 0) return hk_fail(HK_E_IO, "cannot open %s: %s", path, strerror(-fd));
    store->lock_fd = fd;
    int64_t end_ns = hk_clock_monotonic_ns() + store->options.lock_wait_ms * 1000000;
    int err = hk_file_lock(fd);
    while (err == -EWOULDBLOCK && hk_clock_monotonic_ns() < end_ns) {
        hk_sleep_ns(LOCK_POLL_NS);
        err = hk_file_lock(fd);
    }
    if (err < 0) {
        return hk_fail(
            HK_E_BUSY,
            "data directory %s is in use by another hark; stop it or choose another with --data",
            store->dir);
    }
    return HK_OK;
}

/* ------------------------------------------------------------------ recovery */

struct recovery {
    struct hk_store *store;
    struct hk_store_shard *shard;
    struct hk_store_report *report;
};

static hk_err replay_side(
    struct recovery *recovery, enum hk_side_kind kind, uint32_t ref, int64_t stamp_ms,
    struct hk_str bytes) {
    struct hk_store *store = recovery->store;
    bool unknown = ref >= hk_directory_count(store->directory);
    if (kind == HK_SIDE_HISTOGRAM && unknown) {
        return hk_fail(HK_E_CORRUPT, "log: side record of unknown series");
    }
    if (kind == HK_SIDE_HISTOGRAM) {
        return hk_fold_side(
            store, kind, ref, stamp_ms, (const uint8_t *)bytes.ptr, (uint32_t)bytes.len);
    }
    if (kind == HK_SIDE_EXEMPLAR) {
        struct hk_label items[HK_LABELS_MAX];
        /* Exemplars do not keep a series alive: it may be gone. */
        if (unknown) return HK_OK;
        struct hk_labels labels = hk_directory_labels(store->directory, ref, items);
        if (labels.count == 0) return HK_OK;
        hk_err err = hk_exemplars_put(store->exemplars, labels, stamp_ms, bytes);
        return err == HK_E_NOMEM ? err : HK_OK; /* else it is there already, or does not fit */
    }
    if (kind == HK_SIDE_META) {
        struct hk_metric_meta item;
        if (hk_meta_decode(bytes, &item) < 0) return HK_OK;
        hk_err err = hk_meta_put(store->meta, &item);
        return err == HK_E_NOMEM ? err : HK_OK;
    }
    if (store->options.side != NULL) {
        store->options.side(
            store->options.self, recovery->shard->index, kind, ref, stamp_ms, bytes);
    }
    return HK_OK;
}

static hk_err replay_group(
    void *self, uint64_t number, const struct hk_wal_span *span, struct hk_str side,
    int64_t commit_ms) {
    struct recovery *recovery = self;
    struct hk_store *store = recovery->store;
    HK_TRY(hk_fold_records(store, span->records, span->count, span->base_ms));
    enum hk_side_kind kind = HK_SIDE_META;
    uint32_t ref = 0;
    int64_t stamp_ms = 0;
    struct hk_str bytes;
    while (hk_side_next(&side, &kind, &ref, &stamp_ms, &bytes))
        HK_TRY(replay_side(recovery, kind, ref, stamp_ms, bytes));
    recovery->shard->folded_group = number;
    if (commit_ms > recovery->report->last_commit_ms) recovery->report->last_commit_ms = commit_ms;
    return HK_OK;
}

/* The shard hands over the next commit only after this: what it has submitted is this one. */
static void on_settled(void *self) {
    struct hk_store_shard *shard = self;
    uint64_t commit = atomic_load_explicit(&shard->submitted_commit, memory_order_acquire);
    if (shard->state_submitted != 0) {
        atomic_store_explicit(&shard->state_group, shard->state_submitted, memory_order_release);
        shard->state_submitted = 0;
    }
    atomic_store_explicit(&shard->durable_commit, commit, memory_order_release);
}

static void on_durable(void *self, uint64_t group, hk_err err) {
    struct hk_store_shard *shard = self;
    struct hk_store *store = shard->store;
    (void)group;
    if (store->options.durable != NULL) {
        store->options.durable(store->options.self, shard->index, err);
    }
}

/* Groups up to this number are in blocks, by the newest block that says so and the mark file. */
static uint64_t released_group(struct hk_store *store, uint32_t shard) {
    uint64_t released = 0;
    struct hk_blockset_snapshot *snapshot = hk_blockset_snapshot(store->blocks);
    for (uint32_t i = 0; snapshot != NULL && i < snapshot->count; i++) {
        struct hk_str note = hk_block_info(snapshot->blocks[i])->note;
        uint64_t group = 0;
        if (note.len < ((size_t)shard + 1) * sizeof(group)) continue;
        memcpy(&group, note.ptr + (size_t)shard * sizeof(group), sizeof(group));
        if (group > released) released = group;
    }
    hk_blockset_snapshot_unref(snapshot);
    char path[4096];
    char mark[64] = { 0 };
    (void)snprintf(path, sizeof(path), "%s/wal%u/flushed", store->dir, shard);
    int fd = hk_file_open(path, HK_FILE_READ);
    if (fd < 0) return released;
    uint64_t group = 0;
    if (hk_file_read(fd, mark, sizeof(mark) - 1, 0) > 0) group = strtoull(mark, NULL, 10);
    hk_file_close(fd);
    return group > released ? group : released;
}

/* Remembers outside of the blocks (compaction drops their notes) what was flushed. */
static hk_err write_mark(struct hk_store *store, uint32_t shard, uint64_t group) {
    char path[4096];
    char temporary[4096];
    char dir[4096];
    char text[32];
    (void)snprintf(dir, sizeof(dir), "%s/wal%u", store->dir, shard);
    (void)snprintf(path, sizeof(path), "%s/wal%u/flushed", store->dir, shard);
    (void)snprintf(temporary, sizeof(temporary), "%s/wal%u/flushed.tmp", store->dir, shard);
    int len = snprintf(text, sizeof(text), "%llu\n", (unsigned long long)group);
    int fd = hk_file_open(temporary, HK_FILE_WRITE | HK_FILE_CREATE | HK_FILE_TRUNCATE);
    if (fd < 0) return hk_fail(HK_E_IO, "open %s: %s", temporary, strerror(-fd));
    int err = hk_file_write(fd, text, (size_t)len, 0);
    if (err >= 0) err = hk_file_sync(fd);
    hk_file_close(fd);
    if (err >= 0) err = hk_file_rename(temporary, path);
    if (err >= 0) err = hk_dir_sync(dir);
    if (err < 0) {
        return hk_fail(
            hk_file_is_full(err) ? HK_E_NOSPACE : HK_E_IO, "write %s: %s", path, strerror(-err));
    }
    return HK_OK;
}

static hk_err open_shard(struct hk_store *store, uint32_t index, struct hk_store_report *report) {
    struct hk_store_shard *shard = &store->shards[index];
    HK_TRY(hk_shard_init(shard, store, index));
    char dir[4096];
    (void)snprintf(dir, sizeof(dir), "%s/wal%u", store->dir, index);
    HK_TRY(make_dir(dir));
    uint64_t released = released_group(store, index);
    shard->folded_group = released;
    struct recovery recovery = { store, shard, report };
    struct hk_wal_replay replay = { &recovery, replay_group };
    struct hk_wal_options options = {
        .dir = dir,
        .shard = index,
        .directory = store->directory,
        .settled = on_settled,
        .durable = on_durable,
        .self = shard,
    };
    struct hk_wal_report wal_report = { 0 };
    HK_TRY(hk_wal_open(&options, released, &replay, &shard->wal, &wal_report));
    report->wal.groups += wal_report.groups;
    report->wal.records += wal_report.records;
    report->wal.bytes_torn += wal_report.bytes_torn;
    report->wal.gaps += wal_report.gaps;
    if (report->wal.text[0] == 0) {
        memcpy(report->wal.text, wal_report.text, sizeof(report->wal.text));
    }
    return HK_OK;
}

static uint64_t budget(const struct hk_store *store, uint64_t part, uint64_t most) {
    uint64_t bytes = store->options.memory_max / part;
    if (bytes < KEEP_BYTES_MIN) bytes = KEEP_BYTES_MIN;
    return bytes > most ? most : bytes;
}

/* What is kept whole: from its file; the log's groups come on top. */
static hk_err open_keeps(struct hk_store *store, struct hk_store_report *report) {
    int64_t most = store->options.exemplars_max;
    uint64_t count = most == 0 ? HK_EXEMPLARS_DEFAULT : most < 0 ? 0 : (uint64_t)most;
    HK_TRY(hk_meta_create(budget(store, 64, META_BYTES_MAX), &store->meta));
    HK_TRY(hk_exemplars_create(count, budget(store, 32, UINT64_MAX), &store->exemplars));
    HK_TRY(hk_meta_load(store->meta, store->dir, &report->metadata));
    return hk_exemplars_load(store->exemplars, store->dir, &report->exemplars);
}

static hk_err open_parts(struct hk_store *store, struct hk_store_report *report) {
    char path[4096];
    HK_TRY(lock_dir(store));
    (void)snprintf(path, sizeof(path), "%s/series.reg", store->dir);
    struct hk_directory_options directory = {
        .path = path,
        .dead_min = store->options.dead_min,
        .bytes_max = store->options.memory_max,
    };
    HK_TRY(hk_directory_open(&directory, &store->directory, &report->directory));
    (void)snprintf(path, sizeof(path), "%s/blocks", store->dir);
    struct hk_blockset_options blocks = {
        .directory = path,
        .retention_ms = store->options.retention_ms,
        .bytes_max = store->options.retention_bytes,
        .output_bytes_max = COMPACTION_BYTES_MAX,
    };
    HK_TRY(hk_blockset_open(&blocks, &store->blocks));
    HK_TRY(open_keeps(store, report));
    for (uint32_t i = 0; i < store->options.shards; i++)
        HK_TRY(open_shard(store, i, report));
    return HK_OK;
}

hk_err hk_store_open(
    const struct hk_store_options *options, struct hk_store **out,
    struct hk_store_report *out_report) {
    int64_t start_ns = hk_clock_monotonic_ns();
    memset(out_report, 0, sizeof(*out_report));
    hk_assert(options->shards > 0 && options->shards <= HK_STORE_SHARDS_MAX);
    struct hk_store *store = hk_mem_alloc(1, sizeof(*store));
    if (store == NULL) return HK_E_NOMEM;
    store->options = *options;
    /* Slabs take a quarter of the memory at most. */
    uint64_t slabs = options->memory_max / 4 / (HK_SLAB_RECORDS * sizeof(struct hk_record));
    store->slabs_max = slabs < SLABS_MIN      ? SLABS_MIN
                       : slabs > HK_SLABS_MAX ? HK_SLABS_MAX
                                              : (uint32_t)slabs;
    store->lock_fd = -1;
    if (store->options.wal_bytes_max == 0) store->options.wal_bytes_max = WAL_BYTES_DEFAULT;
    hk_mutex_init(&store->slabs_lock);
    hk_mutex_init(&store->works_lock);
    hk_rwlock_init(&store->tails_lock);
    hk_grow_init(&store->tails, sizeof(struct hk_tail));
    hk_grow_init(&store->side_tails, sizeof(struct hk_side_tail *));
    hk_grow_init(&store->retire.seen, sizeof(uint32_t));
    hk_store_set_idle(store, options->series_idle_ms);
    store->marks_written = true;
    size_t dir_len = strlen(options->dir);
    hk_err err = dir_len >= sizeof(store->dir) ? hk_fail(HK_E_LIMIT, "path too long") : HK_OK;
    if (err >= 0) memcpy(store->dir, options->dir, dir_len + 1);
    if (err >= 0) err = open_parts(store, out_report);
    if (err < 0) {
        hk_store_close(store);
        return err;
    }
    out_report->took_ns = (uint64_t)(hk_clock_monotonic_ns() - start_ns);
    *out = store;
    return HK_OK;
}

static void free_tails(struct hk_store *store) {
    for (uint32_t ref = 0; ref < store->tails_count; ref++) {
        hk_tail_clear(hk_grow_at(&store->tails, ref));
    }
    while (store->side_first != NULL) {
        struct hk_side_tail *side = store->side_first;
        store->side_first = side->next_ref;
        for (uint32_t i = 0; i < side->count; i++)
            hk_mem_free(side->entries[i].data);
        hk_mem_free(side->entries);
        hk_mem_free(side);
    }
    hk_grow_deinit(&store->tails);
    hk_grow_deinit(&store->side_tails);
    hk_mem_free(store->late);
}

void hk_store_close(struct hk_store *store) {
    if (store == NULL) return;
    for (uint32_t i = 0; i < store->options.shards; i++) {
        hk_wal_close(store->shards[i].wal);
        if (store->shards[i].store != NULL) hk_shard_deinit(&store->shards[i]);
    }
    hk_slab_recycle(store, NULL);
    while (store->free_slabs != NULL) {
        struct hk_slab *next = store->free_slabs->next;
        hk_slab_free(store->free_slabs);
        store->free_slabs = next;
    }
    while (store->limbo != NULL) {
        struct hk_slab *next = store->limbo->next;
        hk_slab_free(store->limbo);
        store->limbo = next;
    }
    free_tails(store);
    hk_retire_deinit(store);
    for (uint32_t i = 0; i < store->work_count; i++)
        hk_block_work_destroy(store->works[i]);
    hk_meta_destroy(store->meta);
    hk_exemplars_destroy(store->exemplars);
    hk_blockset_close(store->blocks);
    hk_directory_close(store->directory);
    hk_file_close(store->lock_fd);
    hk_mutex_deinit(&store->slabs_lock);
    hk_mutex_deinit(&store->works_lock);
    hk_rwlock_deinit(&store->tails_lock);
    hk_mem_free(store);
}

struct hk_directory *hk_store_directory(struct hk_store *store) {
    return store->directory;
}

struct hk_blockset *hk_store_blocks(struct hk_store *store) {
    return store->blocks;
}

struct hk_meta *hk_store_meta(struct hk_store *store) {
    return store->meta;
}

struct hk_exemplars *hk_store_exemplars(struct hk_store *store) {
    return store->exemplars;
}

struct hk_store_shard *hk_store_get_shard(struct hk_store *store, uint32_t index) {
    hk_assert(index < store->options.shards);
    return &store->shards[index];
}

hk_err
hk_store_last(struct hk_store *store, uint32_t ref, int64_t *out_stamp_ms, double *out_value) {
    hk_err err = HK_E_NOT_FOUND;
    hk_rwlock_read(&store->tails_lock);
    if (ref < store->tails_count) {
        const struct hk_tail *tail = hk_grow_at(&store->tails, ref);
        if (tail->count > 0) {
            *out_stamp_ms = tail->last_ms;
            *out_value = tail->last_value;
            err = HK_OK;
        }
    }
    hk_rwlock_unlock(&store->tails_lock);
    return err;
}

hk_err hk_store_last_histogram(
    struct hk_store *store, uint32_t ref, struct hk_arena *arena, int64_t *out_stamp_ms,
    struct hk_str *out_bytes) {
    hk_err err = HK_E_NOT_FOUND;
    hk_rwlock_read(&store->tails_lock);
    const struct hk_side_tail *side =
        hk_grow_has(&store->side_tails, ref)
            ? *(struct hk_side_tail *const *)hk_grow_at(&store->side_tails, ref)
            : NULL;
    const struct hk_side_entry *last = NULL;
    for (uint32_t i = 0; side != NULL && i < side->count; i++) {
        const struct hk_side_entry *entry = &side->entries[i];
        if (entry->kind != HK_SIDE_HISTOGRAM) continue;
        if (last == NULL || entry->stamp_ms >= last->stamp_ms) last = entry;
    }
    if (last != NULL) {
        *out_stamp_ms = last->stamp_ms;
        *out_bytes = hk_arena_str(arena, (struct hk_str){ (const char *)last->data, last->bytes });
        err = out_bytes->ptr == NULL ? HK_E_NOMEM : HK_OK;
    }
    hk_rwlock_unlock(&store->tails_lock);
    return err;
}

/* ------------------------------------------------------------------ the worker */

/* Folds one durable closed slab of a shard. HK_MORE when it did. */
static hk_err fold_next(struct hk_store *store, struct hk_store_shard *shard, int64_t now_ms) {
    struct hk_slab *slab = hk_shard_take_closed(shard);
    if (slab == NULL) return HK_OK;
    HK_TRY(hk_fold_slab(store, slab));
    if (store->oldest_ms == 0) store->oldest_ms = now_ms;
    hk_mutex_lock(&store->slabs_lock);
    shard->closed_first = slab->next;
    if (shard->closed_first == NULL) shard->closed_last = &shard->closed_first;
    hk_mutex_unlock(&store->slabs_lock);
    shard->folded_group = slab->last_group;
    shard->folded_serial = slab->serial;
    hk_slab_recycle(store, slab);
    return HK_MORE;
}

static bool must_flush(struct hk_store *store, int64_t now_ms) {
    uint64_t wal_bytes = 0;
    for (uint32_t i = 0; i < store->options.shards; i++) {
        wal_bytes += hk_wal_bytes(store->shards[i].wal);
    }
    uint64_t tail_bytes = atomic_load_explicit(&store->tail_bytes, memory_order_relaxed);
    bool aged = store->oldest_ms != 0 && now_ms - store->oldest_ms > FLUSH_AGE_MS;
    bool pressed = hk_store_pressure(store) != HK_PRESSURE_NONE && tail_bytes > PRESSED_TAILS &&
                   (now_ms - store->pressed_ms > PRESSED_MS || now_ms < store->pressed_ms);
    if (pressed) store->pressed_ms = now_ms;
    return pressed || wal_bytes > store->options.wal_bytes_max / 2 ||
           tail_bytes > store->options.memory_max / 4 || store->late_count > LATE_MAX || aged;
}

static hk_err flush_and_release(struct hk_store *store, int64_t now_ms) {
    /* First: a new block or mark says that the groups before it are not needed any more. */
    HK_TRY(hk_meta_save(store->meta, store->dir));
    HK_TRY(hk_exemplars_save(store->exemplars, store->dir));
    store->marks_written = false;
    HK_TRY(hk_flush_tails(store, now_ms));
    for (uint32_t i = 0; i < store->options.shards; i++) {
        struct hk_store_shard *shard = &store->shards[i];
        HK_TRY(write_mark(store, i, shard->folded_group));
        uint64_t group = shard->folded_group;
        uint64_t state = atomic_load_explicit(&shard->state_group, memory_order_acquire);
        if (state > 0 && state <= group) group = state - 1;
        hk_wal_release(shard->wal, group);
    }
    store->marks_written = true;
    return HK_OK;
}

static hk_err maintain(struct hk_store *store, int64_t now_ms) {
    if (now_ms - store->maintain_ms < MAINTAIN_MS && now_ms >= store->maintain_ms) return HK_OK;
    hk_err err = hk_blockset_retain(store->blocks, now_ms);
    if (err >= 0) err = hk_blockset_compact_step(store->blocks, now_ms, NULL);
    if (err != HK_MORE) store->maintain_ms = now_ms;
    return err;
}

hk_err hk_store_work(struct hk_store *store, int64_t now_ms) {
    bool more = false;
    for (uint32_t i = 0; i < store->options.shards; i++) {
        hk_err err = fold_next(store, &store->shards[i], now_ms);
        if (err < 0) return err;
        more = more || err == HK_MORE;
    }
    hk_slab_recycle(store, NULL);
    HK_TRY(hk_directory_index(store->directory));
    if (must_flush(store, now_ms) && now_ms >= store->flush_retry_ms) {
        hk_err err = flush_and_release(store, now_ms);
        if (err < 0) {
            atomic_fetch_add_explicit(&store->flush_failures, 1, memory_order_relaxed);
            store->flush_retry_ms = now_ms + FLUSH_RETRY_MS;
            return err;
        }
    }
    if (more) return HK_MORE;
    hk_err retired = hk_retire_step(store, now_ms);
    hk_err maintained = maintain(store, now_ms);
    return retired < 0 ? retired : maintained;
}

hk_err hk_store_flush(struct hk_store *store, int64_t now_ms) {
    for (uint32_t i = 0; i < store->options.shards; i++) {
        for (;;) {
            hk_err err = fold_next(store, &store->shards[i], now_ms);
            if (err < 0) return err;
            if (err != HK_MORE) break;
        }
    }
    HK_TRY(hk_directory_index(store->directory));
    HK_TRY(flush_and_release(store, now_ms));
    return hk_retire_step(store, now_ms);
}

void hk_store_set_pressure(struct hk_store *store, enum hk_pressure pressure) {
    atomic_store_explicit(&store->pressure, (int)pressure, memory_order_relaxed);
    hk_directory_refuse(store->directory, pressure != HK_PRESSURE_NONE);
}

enum hk_pressure hk_store_pressure(const struct hk_store *store) {
    return (enum hk_pressure)atomic_load_explicit(&store->pressure, memory_order_relaxed);
}

void hk_store_set_idle(struct hk_store *store, int64_t series_idle_ms) {
    atomic_store_explicit(&store->retire.idle_ms, series_idle_ms, memory_order_relaxed);
}

void hk_store_get_stats(struct hk_store *store, struct hk_store_stats *out) {
    *out = (struct hk_store_stats){
        .series = hk_directory_live(store->directory),
        .head_samples = atomic_load_explicit(&store->tail_samples, memory_order_relaxed),
        .head_bytes = atomic_load_explicit(&store->tail_bytes, memory_order_relaxed),
        .slabs_used = atomic_load_explicit(&store->slabs_used, memory_order_relaxed),
        .slabs_max = store->slabs_max,
        .overwritten = atomic_load_explicit(&store->overwritten, memory_order_relaxed),
        .out_of_order = atomic_load_explicit(&store->out_of_order, memory_order_relaxed),
        .flushes = atomic_load_explicit(&store->flushes, memory_order_relaxed),
        .flush_failures = atomic_load_explicit(&store->flush_failures, memory_order_relaxed),
        .folded = atomic_load_explicit(&store->folded, memory_order_relaxed),
        .directory_bytes = hk_directory_bytes(store->directory),
        .memory_max = store->options.memory_max,
    };
    struct hk_directory_stats directory;
    hk_directory_get_stats(store->directory, &directory);
    out->retired = directory.retired;
    for (uint32_t i = 0; i < store->options.shards; i++) {
        out->wal_bytes += hk_wal_bytes(store->shards[i].wal);
        out->wal_syncs += hk_wal_syncs(store->shards[i].wal);
    }
}
