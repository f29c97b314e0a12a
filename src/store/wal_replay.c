/*
 * Reading the log at start: segments in order, groups by number. Reading goes on behind a bad
 * stretch to the next valid group with a higher number; only a bad end of the last segment is a
 * torn tail, everything else is damage and named. Old groups in a reused segment have lower
 * numbers and end it.
 */
#include "store/wal_internal.h"

#include "base/mem.h"
#include "os/file.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

struct replay {
    const struct hk_wal_options *options;
    const struct hk_wal_replay *sink;
    struct hk_wal_found *found;
    struct hk_wal_report *report;
    uint64_t released;
    bool have_group; /* some valid group was seen */
    char path[4096];
    /* A bad stretch whose meaning is open: damage if a higher group follows, else a torn tail. */
    char bad_path[4096];
    size_t bad_at, bad_bytes;
    bool bad;
};

static int add_segment(void *self, const char *name) {
    struct hk_wal_found *found = self;
    char *end = NULL;
    if (strlen(name) != 20 || strcmp(name + 16, ".wal") != 0) return 0;
    uint64_t sequence = strtoull(name, &end, 16);
    if (end != name + 16) return 0;
    if (hk_mem_grow(
            &found->segments, &found->capacity, found->count + 1, sizeof(found->segments[0])) < 0) {
        return HK_E_NOMEM;
    }
    found->segments[found->count++] = (struct hk_wal_segment){ .sequence = sequence };
    if (sequence > found->sequence_max) found->sequence_max = sequence;
    return 0;
}

static int by_sequence(const void *a, const void *b) {
    const struct hk_wal_segment *left = a;
    const struct hk_wal_segment *right = b;
    return (left->sequence > right->sequence) - (left->sequence < right->sequence);
}

/* Is there a whole group at `at`? Gives its header. */
static bool group_at(
    const unsigned char *data, size_t bytes, size_t at, struct hk_wal_group_header *out_header) {
    if (bytes - at < sizeof(*out_header)) return false;
    memcpy(out_header, data + at, sizeof(*out_header));
    if (out_header->magic != HK_WAL_GROUP_MAGIC) return false;
    uint64_t payload =
        (uint64_t)out_header->records * sizeof(struct hk_record) + out_header->side_bytes;
    if (payload > bytes - at - sizeof(*out_header)) return false;
    uint32_t crc = hk_crc32c(0, data + at + 8, sizeof(*out_header) - 8);
    crc = hk_crc32c(crc, data + at + sizeof(*out_header), (size_t)payload);
    return crc == out_header->crc;
}

static void note_damage(struct replay *replay) {
    struct hk_wal_report *report = replay->report;
    if (report->gaps++ == 0) {
        (void)snprintf(
            report->text, sizeof(report->text), "%.400s: damaged at byte %zu, skipped",
            replay->bad_path, replay->bad_at);
    }
    replay->bad = false;
}

static hk_err take_group(
    struct replay *replay, const struct hk_wal_group_header *header, const unsigned char *payload) {
    struct hk_wal_found *found = replay->found;
    uint64_t before = found->last_group > replay->released ? found->last_group : replay->released;
    if (header->number <= before + 1) {
        replay->bad = false; /* nothing is missing: it was a torn tail before a restart */
    } else {
        if (!replay->bad) {
            memcpy(replay->bad_path, replay->path, sizeof(replay->path));
            replay->bad_at = 0;
        }
        note_damage(replay);
    }
    replay->have_group = true;
    found->last_group = header->number;
    if (header->number <= replay->released) return HK_OK;
    uint32_t series = hk_directory_count(replay->options->directory);
    struct hk_record *records HK_CLEANUP(hk_mem_free_at) =
        hk_mem_resize(NULL, (size_t)header->records + 1, sizeof(struct hk_record));
    if (records == NULL) return HK_E_NOMEM;
    memcpy(records, payload, (size_t)header->records * sizeof(records[0]));
    for (uint32_t i = 0; i < header->records; i++) {
        if (records[i].ref != HK_RECORD_FAR && records[i].ref >= series) {
            return hk_fail(
                HK_E_CORRUPT, "%s: group %" PRIu64 " names series %u, only %u are registered",
                replay->path, header->number, records[i].ref, series);
        }
    }
    struct hk_wal_span span = { records, header->records, header->base_ms };
    struct hk_str side = {
        (const char *)payload + (size_t)header->records * sizeof(struct hk_record),
        header->side_bytes,
    };
    replay->report->groups++;
    replay->report->records += header->records;
    return replay->sink->group(replay->sink->self, header->number, &span, side, header->commit_ms);
}

/* Next valid group of a higher number at or behind `at`; `bytes` when there is none. */
static size_t
seek_group(const struct replay *replay, const unsigned char *data, size_t bytes, size_t at) {
    for (; at + sizeof(struct hk_wal_group_header) <= bytes; at++) {
        struct hk_wal_group_header header;
        uint32_t magic = 0;
        memcpy(&magic, data + at, sizeof(magic));
        if (magic != HK_WAL_GROUP_MAGIC || !group_at(data, bytes, at, &header)) continue;
        if (!replay->have_group || header.number > replay->found->last_group) return at;
    }
    return bytes;
}

static bool is_zero(const unsigned char *data, size_t bytes) {
    for (size_t i = 0; i < bytes; i++) {
        if (data[i] != 0) return false;
    }
    return true;
}

static hk_err read_groups(
    struct replay *replay, struct hk_wal_segment *segment, const unsigned char *data,
    size_t bytes) {
    size_t at = sizeof(struct hk_wal_segment_header);
    struct hk_wal_group_header header;
    while (at < bytes) {
        bool whole = group_at(data, bytes, at, &header);
        if (whole && replay->have_group && header.number <= replay->found->last_group) {
            break; /* an old group of a reused file: the end */
        }
        if (!whole) {
            size_t next = seek_group(replay, data, bytes, at + 1);
            size_t rest = bytes - at;
            if (next == bytes && is_zero(data + at, rest)) break;
            while (next == bytes && data[at + rest - 1] == 0)
                rest--; /* the zeros are room for later groups */
            if (!replay->bad) {
                replay->bad = true;
                memcpy(replay->bad_path, replay->path, sizeof(replay->path));
                replay->bad_at = at;
                replay->bad_bytes = rest;
            }
            at = next;
            continue;
        }
        HK_TRY(take_group(replay, &header, data + at + sizeof(header)));
        if (segment->first_group == 0) segment->first_group = header.number;
        segment->last_group = header.number;
        at +=
            sizeof(header) + (size_t)header.records * sizeof(struct hk_record) + header.side_bytes;
        segment->bytes = (int64_t)at;
    }
    return HK_OK;
}

static hk_err read_segment(struct replay *replay, struct hk_wal_segment *segment) {
    hk_wal_path(replay->options->dir, segment->sequence, replay->path, sizeof(replay->path));
    int fd = hk_file_open(replay->path, HK_FILE_READ);
    if (fd < 0) return hk_fail(HK_E_IO, "open %s: %s", replay->path, strerror(-fd));
    int64_t bytes = hk_file_size(fd);
    unsigned char *data HK_CLEANUP(hk_mem_free_at) =
        bytes < 0 ? NULL : hk_mem_resize(NULL, (size_t)bytes + 1, 1);
    int64_t got = data == NULL ? -1 : hk_file_read(fd, data, (size_t)bytes, 0);
    hk_file_close(fd);
    if (data == NULL) return HK_E_NOMEM;
    if (got < 0) return hk_fail(HK_E_IO, "read %s: %s", replay->path, strerror((int)-got));
    struct hk_wal_segment_header header = { 0 };
    if ((size_t)got < sizeof(header)) return HK_OK; /* made, but the crash came first */
    memcpy(&header, data, sizeof(header));
    uint32_t crc = hk_crc32c(0, &header, offsetof(struct hk_wal_segment_header, crc));
    if (header.magic == HK_WAL_SEGMENT_MAGIC && header.major > HK_WAL_VERSION_MAJOR) {
        return hk_fail(
            HK_E_VERSION, "%s: written by a newer hark (format %u, this one reads %d)",
            replay->path, header.major, HK_WAL_VERSION_MAJOR);
    }
    bool fine = header.magic == HK_WAL_SEGMENT_MAGIC && header.crc == crc;
    /* A damaged header does not hide the groups behind it. */
    if (!fine && !is_zero(data, (size_t)got) && !replay->bad) {
        replay->bad = true;
        memcpy(replay->bad_path, replay->path, sizeof(replay->path));
        replay->bad_at = 0;
        replay->bad_bytes = (size_t)got;
    }
    return read_groups(replay, segment, data, (size_t)got);
}

hk_err hk_wal_recover(
    const struct hk_wal_options *options, uint64_t released, const struct hk_wal_replay *sink,
    struct hk_wal_found *out, struct hk_wal_report *report) {
    int listed = hk_dir_list(options->dir, add_segment, out);
    if (listed < 0) return hk_fail(HK_E_IO, "cannot list %s", options->dir);
    if (out->count > 1) qsort(out->segments, out->count, sizeof(out->segments[0]), by_sequence);
    struct replay *replay HK_CLEANUP(hk_mem_free_at) = hk_mem_alloc(1, sizeof(*replay));
    if (replay == NULL) return HK_E_NOMEM;
    replay->options = options;
    replay->sink = sink;
    replay->found = out;
    replay->report = report;
    replay->released = released;
    for (size_t i = 0; i < out->count; i++)
        HK_TRY(read_segment(replay, &out->segments[i]));
    if (replay->bad) {
        report->bytes_torn = replay->bad_bytes;
        if (report->gaps == 0) {
            (void)snprintf(
                report->text, sizeof(report->text), "%.400s: torn tail of %zu bytes at byte %zu",
                replay->bad_path, replay->bad_bytes, replay->bad_at);
        }
    }
    return HK_OK;
}
