/* The log thread: writes commits, syncs, rotates and reuses segments. */
#include "store/wal_file.h"
#include "store/wal_internal.h"

#include "base/mem.h"
#include "os/clock.h"
#include "os/file.h"
#include "os/thread.h"

#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>

enum { SEGMENTS_SPARE_MAX = 4, RETRY_MS = 100 };

struct hk_wal {
    struct hk_wal_options options;
    char dir[3800];
    struct hk_thread thread;
    struct hk_event wake;
    _Atomic bool stop, busy; /* busy: a commit is in flight; the log thread clears it */
    struct hk_wal_commit commit;
    _Atomic uint64_t bytes, syncs;

    /* Log thread only. */
    struct hk_wal_file file; /* current segment */
    uint64_t sequence_next, group_next;

    struct hk_mutex lock; /* the list below: log thread and worker */
    struct hk_wal_segment *segments;
    size_t segment_count, segment_capacity;
    bool is_open;                       /* the last one of the list is being written */
    uint64_t spare[SEGMENTS_SPARE_MAX]; /* sequences of files that may be overwritten */
    size_t spare_count;

    uint64_t submitted; /* shard only: last group number handed out */
};

void hk_wal_path(const char *dir, uint64_t sequence, char *out, size_t out_bytes) {
    (void)snprintf(out, out_bytes, "%s/%016" PRIx64 ".wal", dir, sequence);
}

static void count_bytes(struct hk_wal *wal) {
    uint64_t bytes = 0;
    for (size_t i = 0; i < wal->segment_count; i++)
        bytes += (uint64_t)wal->segments[i].bytes;
    atomic_store_explicit(&wal->bytes, bytes, memory_order_relaxed);
}

/* Opens the next segment: a spare one under its new name, or a new file. */
static int open_file(struct hk_wal *wal, uint64_t sequence) {
    char path[4096];
    hk_wal_path(wal->dir, sequence, path, sizeof(path));
    uint64_t spare = 0;
    hk_mutex_lock(&wal->lock);
    if (wal->spare_count > 0) spare = wal->spare[--wal->spare_count];
    hk_mutex_unlock(&wal->lock);
    if (spare != 0) {
        char old[4096];
        hk_wal_path(wal->dir, spare, old, sizeof(old));
        int err = hk_file_rename(old, path);
        if (err < 0) return err;
    }
    return hk_wal_file_open(&wal->file, path);
}

static void abandon(struct hk_wal *wal) {
    hk_mutex_lock(&wal->lock);
    wal->is_open = false;
    hk_mutex_unlock(&wal->lock);
    hk_wal_file_abandon(&wal->file);
}

static void remove_segment(const struct hk_wal *wal, uint64_t sequence) {
    char path[4096];
    hk_wal_path(wal->dir, sequence, path, sizeof(path));
    (void)hk_file_remove(path);
}

/* After a failed commit. A segment without a group goes: not one more file with each attempt. */
static void abandon_empty(struct hk_wal *wal) {
    abandon(wal);
    hk_mutex_lock(&wal->lock);
    const struct hk_wal_segment *segment = &wal->segments[wal->segment_count - 1];
    if (segment->last_group == 0) {
        remove_segment(wal, segment->sequence);
        wal->segment_count--;
        count_bytes(wal);
    }
    hk_mutex_unlock(&wal->lock);
}

/* Adds the segment that begins to the list. */
static int list_segment(struct hk_wal *wal, uint64_t sequence) {
    hk_mutex_lock(&wal->lock);
    int err = hk_mem_grow(
                  &wal->segments, &wal->segment_capacity, wal->segment_count + 1,
                  sizeof(wal->segments[0])) < 0
                  ? -ENOMEM
                  : 0;
    if (err >= 0) {
        wal->segments[wal->segment_count++] = (struct hk_wal_segment){
            .sequence = sequence, .first_group = wal->group_next, .bytes = wal->file.at
        };
        wal->is_open = true;
        count_bytes(wal);
    }
    hk_mutex_unlock(&wal->lock);
    return err;
}

static int begin_segment(struct hk_wal *wal) {
    abandon(wal);
    uint64_t sequence = wal->sequence_next++;
    int err = open_file(wal, sequence);
    if (err < 0) return err;
    struct hk_wal_segment_header header = {
        .magic = HK_WAL_SEGMENT_MAGIC,
        .major = HK_WAL_VERSION_MAJOR,
        .shard = wal->options.shard,
        .sequence = sequence,
        .first_group = wal->group_next,
    };
    header.crc = hk_crc32c(0, &header, offsetof(struct hk_wal_segment_header, crc));
    err = hk_wal_file_put(&wal->file, &header, sizeof(header));
    if (err >= 0) err = hk_wal_file_sync(&wal->file);
    if (err >= 0) err = hk_dir_sync(wal->dir);
    if (err >= 0) err = list_segment(wal, sequence);
    if (err < 0) {
        abandon(wal);
        remove_segment(wal, sequence); /* not one more file with each attempt */
    }
    return err;
}

static size_t commit_bytes(const struct hk_wal_commit *commit) {
    size_t bytes = commit->side.len;
    for (uint32_t i = 0; i < commit->span_count; i++) {
        bytes += sizeof(struct hk_wal_group_header) +
                 (size_t)commit->spans[i].count * sizeof(struct hk_record);
    }
    return bytes;
}

/* Writes and syncs the commit's groups at the end of the current segment. */
static int write_groups(struct hk_wal *wal) {
    const struct hk_wal_commit *commit = &wal->commit;
    uint32_t series = hk_directory_count(wal->options.directory);
    int err = 0;
    for (uint32_t i = 0; i < commit->span_count && err >= 0; i++) {
        const struct hk_wal_span *span = &commit->spans[i];
        bool last = i + 1 == commit->span_count;
        size_t record_bytes = (size_t)span->count * sizeof(struct hk_record);
        struct hk_wal_group_header header = {
            .magic = HK_WAL_GROUP_MAGIC,
            .number = wal->group_next + i,
            .base_ms = span->base_ms,
            .commit_ms = commit->commit_ms,
            .records = span->count,
            .side_bytes = last ? (uint32_t)commit->side.len : 0,
            .series = series,
        };
        uint32_t crc = hk_crc32c(0, &header.number, sizeof(header) - 8);
        crc = hk_crc32c(crc, span->records, record_bytes);
        if (last) crc = hk_crc32c(crc, commit->side.ptr, commit->side.len);
        header.crc = crc;
        err = hk_wal_file_put(&wal->file, &header, sizeof(header));
        if (err >= 0) err = hk_wal_file_put(&wal->file, span->records, record_bytes);
    }
    if (err >= 0) err = hk_wal_file_put(&wal->file, commit->side.ptr, commit->side.len);
    if (err >= 0) err = hk_wal_file_sync(&wal->file);
    if (err < 0) return err;
    atomic_fetch_add_explicit(&wal->syncs, 1, memory_order_relaxed);
    return 0;
}

static int try_commit(struct hk_wal *wal) {
    hk_err err = hk_directory_sync(wal->options.directory); /* (2) */
    if (err < 0) return err == HK_E_NOSPACE ? -ENOSPC : -EIO;
    size_t bytes = commit_bytes(&wal->commit);
    if (wal->file.fd < 0 || wal->file.at + (int64_t)bytes > (int64_t)wal->options.segment_bytes) {
        int opened = begin_segment(wal);
        if (opened < 0) return opened;
    }
    int written = write_groups(wal);
    if (written < 0) {
        abandon_empty(wal); /* (4) */
        return written;
    }
    wal->group_next += wal->commit.span_count; /* (1) */
    hk_mutex_lock(&wal->lock);
    struct hk_wal_segment *segment = &wal->segments[wal->segment_count - 1];
    segment->last_group = wal->group_next - 1;
    segment->bytes = wal->file.at;
    count_bytes(wal);
    hk_mutex_unlock(&wal->lock);
    return 0;
}

static void log_main(void *arg) {
    struct hk_wal *wal = arg;
    bool failing = false;
    while (!atomic_load_explicit(&wal->stop, memory_order_acquire) ||
           atomic_load_explicit(&wal->busy, memory_order_acquire)) {
        if (!atomic_load_explicit(&wal->busy, memory_order_acquire)) {
            (void)hk_event_wait(&wal->wake, -1);
            continue;
        }
        int err = try_commit(wal);
        if (err < 0) {
            if (!failing) {
                wal->options.durable(
                    wal->options.self, wal->group_next - 1,
                    hk_file_is_full(err) ? HK_E_NOSPACE : HK_E_IO);
            }
            failing = true;
            if (atomic_load_explicit(&wal->stop, memory_order_acquire)) return;
            (void)hk_event_wait(&wal->wake, (int64_t)RETRY_MS * 1000000);
            continue;
        }
        failing = false;
        uint64_t durable = wal->group_next - 1;
        if (wal->options.settled != NULL) wal->options.settled(wal->options.self);
        atomic_store_explicit(&wal->busy, false, memory_order_release);
        wal->options.durable(wal->options.self, durable, HK_OK);
    }
}

bool hk_wal_idle(const struct hk_wal *wal) {
    return !atomic_load_explicit(&wal->busy, memory_order_acquire);
}

uint64_t hk_wal_next(const struct hk_wal *wal) {
    return wal->submitted + 1;
}

uint64_t hk_wal_submit(struct hk_wal *wal, const struct hk_wal_commit *commit) {
    hk_assert(hk_wal_idle(wal));
    hk_assert(commit->span_count > 0 && commit->span_count <= HK_WAL_SPANS_MAX);
    wal->commit = *commit;
    wal->submitted += commit->span_count;
    atomic_store_explicit(&wal->busy, true, memory_order_release);
    hk_event_raise(&wal->wake);
    return wal->submitted;
}

void hk_wal_release(struct hk_wal *wal, uint64_t group) {
    hk_mutex_lock(&wal->lock);
    size_t kept = 0;
    for (size_t i = 0; i < wal->segment_count; i++) {
        struct hk_wal_segment segment = wal->segments[i];
        bool current = i + 1 == wal->segment_count && wal->is_open;
        if (current || segment.last_group > group) {
            wal->segments[kept++] = segment;
            continue;
        }
        bool full = segment.bytes > (int64_t)wal->options.segment_bytes / 2;
        if (full && wal->spare_count < SEGMENTS_SPARE_MAX) {
            wal->spare[wal->spare_count++] = segment.sequence;
            continue;
        }
        char path[4096];
        hk_wal_path(wal->dir, segment.sequence, path, sizeof(path));
        (void)hk_file_remove(path);
    }
    wal->segment_count = kept; /* (3) */
    count_bytes(wal);
    hk_mutex_unlock(&wal->lock);
}

uint64_t hk_wal_bytes(const struct hk_wal *wal) {
    return atomic_load_explicit(&wal->bytes, memory_order_relaxed);
}

uint64_t hk_wal_syncs(const struct hk_wal *wal) {
    return atomic_load_explicit(&wal->syncs, memory_order_relaxed);
}

hk_err hk_wal_open(
    const struct hk_wal_options *options, uint64_t released, const struct hk_wal_replay *replay,
    struct hk_wal **out, struct hk_wal_report *out_report) {
    *out_report = (struct hk_wal_report){ 0 };
    struct hk_wal_found found = { 0 };
    struct hk_wal *wal = hk_mem_alloc(1, sizeof(*wal));
    if (wal == NULL) return HK_E_NOMEM;
    wal->options = *options;
    if (wal->options.segment_bytes == 0) wal->options.segment_bytes = 64U << 20;
    hk_wal_file_init(&wal->file);
    hk_mutex_init(&wal->lock);
    hk_event_init(&wal->wake);
    size_t dir_len = strlen(options->dir);
    hk_err err = dir_len >= sizeof(wal->dir) ? hk_fail(HK_E_LIMIT, "path too long") : HK_OK;
    if (err >= 0) memcpy(wal->dir, options->dir, dir_len + 1);
    if (err >= 0) err = hk_wal_recover(options, released, replay, &found, out_report);
    wal->segments = found.segments;
    wal->segment_count = found.count;
    wal->segment_capacity = found.capacity;
    wal->sequence_next = found.sequence_max + 1;
    if (found.last_group < released) found.last_group = released;
    wal->group_next = found.last_group + 1;
    wal->submitted = found.last_group;
    count_bytes(wal);
    if (err >= 0) hk_wal_release(wal, released);
    if (err >= 0) {
        int started = hk_thread_start(&wal->thread, "hark-log", log_main, wal);
        if (started < 0) err = hk_fail(HK_E_IO, "cannot start the log thread");
    }
    if (err < 0) {
        hk_wal_close(wal);
        return err;
    }
    *out = wal;
    return HK_OK;
}

void hk_wal_close(struct hk_wal *wal) {
    if (wal == NULL) return;
    atomic_store_explicit(&wal->stop, true, memory_order_release);
    hk_event_raise(&wal->wake);
    hk_thread_join(&wal->thread);
    hk_wal_file_deinit(&wal->file);
    hk_mem_free(wal->segments);
    hk_mutex_deinit(&wal->lock);
    hk_event_deinit(&wal->wake);
    hk_mem_free(wal);
}
