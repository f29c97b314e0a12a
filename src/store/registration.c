/*
 * The registration file (docs/formats/registration.md): names, pairs and label sets in the order
 * of their ids, in groups with a CRC. Append-only; written by the log thread, read at open.
 */
#include "store/directory_internal.h"

#include "base/log.h"
#include "os/file.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

enum {
    HEADER_BYTES = 64,
    GROUP_HEADER_BYTES = 24,
    RECORD_NAME = 1,
    RECORD_PAIR = 2,
    RECORD_SET = 3,    /* the ref behind the highest so far */
    RECORD_SET_AT = 4, /* any ref */
    VERSION_MAJOR = 2,
    GROUP_BYTES_MAX = 1 << 30,
};

static const char file_magic[8] = { 'H', 'A', 'R', 'K', 'R', 'E', 'G', 0 };
static const uint32_t group_magic = 0x47524b48; /* "HKRG" */

struct group_header {
    uint32_t magic, crc; /* of all that follows in the header and of the payload */
    uint64_t number;
    uint32_t bytes, reserved;
};
static_assert(sizeof(struct group_header) == GROUP_HEADER_BYTES, "no padding");

static void put_varint(struct hk_buf *buf, uint64_t value) {
    unsigned char bytes[10];
    size_t count = 0;
    while (value >= 0x80) {
        bytes[count++] = (unsigned char)(value | 0x80);
        value >>= 7;
    }
    bytes[count++] = (unsigned char)value;
    hk_buf_bytes(buf, bytes, count);
}

void hk_registration_name(struct hk_buf *buf, struct hk_str name) {
    hk_buf_char(buf, RECORD_NAME);
    put_varint(buf, name.len);
    hk_buf_str(buf, name);
}

void hk_registration_pair(struct hk_buf *buf, uint32_t name, struct hk_str value) {
    hk_buf_char(buf, RECORD_PAIR);
    put_varint(buf, name);
    put_varint(buf, value.len);
    hk_buf_str(buf, value);
}

void hk_registration_set(
    struct hk_buf *buf, uint32_t *ref_end, uint32_t ref, const uint32_t *ids, uint32_t count) {
    bool next = ref == *ref_end;
    hk_buf_char(buf, next ? RECORD_SET : RECORD_SET_AT);
    if (!next) put_varint(buf, ref);
    put_varint(buf, count);
    for (uint32_t i = 0; i < count; i++)
        put_varint(buf, ids[i]);
    if (ref >= *ref_end) *ref_end = ref + 1;
}

static hk_err io_fail(const struct hk_directory *directory, const char *what, int err) {
    return hk_fail(
        hk_file_is_full(err) ? HK_E_NOSPACE : HK_E_IO, "%s %s: %s", what, directory->path,
        strerror(-err));
}

/* Writes and syncs one group at `at`. */
static int write_group_at(int fd, uint64_t number, const struct hk_buf *payload, int64_t at) {
    struct group_header header = {
        .magic = group_magic,
        .number = number,
        .bytes = (uint32_t)payload->len,
    };
    header.crc = hk_crc32c(0, &header.number, sizeof(header) - 8);
    header.crc = hk_crc32c(header.crc, payload->ptr, payload->len);
    struct iovec parts[2] = {
        { &header, sizeof(header) },
        { payload->ptr, payload->len },
    };
    int err = hk_file_writev(fd, parts, 2, at);
    return err < 0 ? err : hk_file_sync(fd);
}

static hk_err write_group(struct hk_directory *directory) {
    size_t bytes = sizeof(struct group_header) + directory->writing.len;
    int err = write_group_at(
        directory->fd, directory->group_next, &directory->writing, directory->file_bytes);
    if (err < 0) return io_fail(directory, "write", err);
    directory->file_bytes += (int64_t)bytes;
    directory->group_next++;
    hk_buf_clear(&directory->writing);
    return HK_OK;
}

/* The file's name is durable after this. */
static int sync_folder(const struct hk_directory *directory) {
    char folder[sizeof(directory->path)];
    memcpy(folder, directory->path, sizeof(folder));
    char *slash = strrchr(folder, '/');
    if (slash == NULL) return hk_dir_sync(".");
    *slash = 0;
    return hk_dir_sync(folder);
}

static void new_path(const struct hk_directory *directory, char *out, size_t bytes) {
    (void)snprintf(out, bytes, "%.4080s.new", directory->path);
}

/* What is in `writing` becomes durable; then a rewritten file takes its place. */
static hk_err write_waiting(struct hk_directory *directory) {
    if (directory->writing.len > 0) HK_TRY(write_group(directory));
    if (!directory->rename_due) return HK_OK;
    char path[sizeof(directory->path)];
    new_path(directory, path, sizeof(path));
    int err = hk_file_rename(path, directory->path);
    if (err >= 0) err = sync_folder(directory);
    if (err < 0) return io_fail(directory, "rename", err);
    directory->rename_due = false;
    return HK_OK;
}

hk_err hk_directory_sync(struct hk_directory *directory) {
    if (!atomic_load_explicit(&directory->dirty, memory_order_acquire)) return HK_OK;
    hk_mutex_lock(&directory->sync_lock);
    /* What a failed attempt left goes first, in its own group. */
    hk_err err = write_waiting(directory);
    if (err >= 0) {
        hk_mutex_lock(&directory->lock);
        struct hk_buf swap = directory->writing;
        directory->writing = directory->pending;
        directory->pending = swap;
        atomic_store_explicit(&directory->dirty, false, memory_order_relaxed);
        hk_mutex_unlock(&directory->lock);
        err = write_waiting(directory);
        if (err < 0) atomic_store_explicit(&directory->dirty, true, memory_order_release);
    }
    hk_mutex_unlock(&directory->sync_lock);
    return err;
}

struct cursor {
    const unsigned char *at, *end;
};

static bool get_varint(struct cursor *cursor, uint64_t *out) {
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        if (cursor->at == cursor->end) return false;
        unsigned char byte = *cursor->at++;
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            *out = value;
            return true;
        }
    }
    return false;
}

static bool get_text(struct cursor *cursor, struct hk_str *out) {
    uint64_t len = 0;
    if (!get_varint(cursor, &len) || len > (uint64_t)(cursor->end - cursor->at)) return false;
    *out = (struct hk_str){ (const char *)cursor->at, (size_t)len };
    cursor->at += len;
    return true;
}

/* The series was registered, maybe again: hk_view_fill_tables looks for earlier refs. */
static hk_err
define(struct hk_directory *directory, uint32_t ref, const uint32_t *ids, uint32_t count) {
    struct hk_directory_view *view = hk_view_now(directory);
    HK_TRY(hk_directory_reserve(directory, ref));
    _Atomic uint8_t *state = hk_directory_state(directory, ref);
    if (atomic_load_explicit(state, memory_order_relaxed) != HK_SERIES_FREE) return HK_E_CORRUPT;
    HK_TRY(hk_view_add_set(view, ref, ids, count));
    atomic_store_explicit(state, HK_SERIES_LIVE, memory_order_relaxed);
    atomic_fetch_add_explicit(&directory->live_count, 1, memory_order_relaxed);
    if (ref >= directory->file_ref_end) directory->file_ref_end = ref + 1;
    return HK_OK;
}

static hk_err read_set(struct hk_directory *directory, struct cursor *cursor, bool explicit_ref) {
    uint64_t count = 0;
    uint32_t ids[HK_LABELS_MAX];
    struct hk_directory_view *view = hk_view_now(directory);
    uint32_t pairs = atomic_load_explicit(&view->pair_count, memory_order_relaxed);
    uint64_t ref = directory->file_ref_end;
    if (explicit_ref && !get_varint(cursor, &ref)) return HK_E_CORRUPT;
    if (ref >= HK_DIRECTORY_SERIES_MAX) return HK_E_CORRUPT;
    if (!get_varint(cursor, &count) || count > HK_LABELS_MAX) return HK_E_CORRUPT;
    for (uint64_t i = 0; i < count; i++) {
        uint64_t id = 0;
        if (!get_varint(cursor, &id) || id >= pairs) return HK_E_CORRUPT;
        ids[i] = (uint32_t)id;
    }
    return define(directory, (uint32_t)ref, ids, (uint32_t)count);
}

static hk_err read_record(struct hk_directory *directory, struct cursor *cursor) {
    struct hk_directory_view *view = hk_view_now(directory);
    unsigned char type = *cursor->at++;
    struct hk_str text;
    uint64_t name = 0;
    uint32_t id = 0;
    switch (type) {
    case RECORD_NAME:
        if (!get_text(cursor, &text)) return HK_E_CORRUPT;
        return hk_view_add_name(view, text, &id);
    case RECORD_PAIR:
        if (!get_varint(cursor, &name) || !get_text(cursor, &text)) return HK_E_CORRUPT;
        if (name >= atomic_load_explicit(&view->name_count, memory_order_relaxed)) {
            return HK_E_CORRUPT;
        }
        return hk_view_add_pair(view, (uint32_t)name, text, &id);
    case RECORD_SET:
    case RECORD_SET_AT:
        return read_set(directory, cursor, type == RECORD_SET_AT);
    default:
        return HK_E_CORRUPT;
    }
}

static hk_err read_groups(
    struct hk_directory *directory, const unsigned char *data, size_t bytes,
    struct hk_directory_report *report) {
    size_t at = HEADER_BYTES;
    hk_view_now(directory)->loads = true;
    while (bytes - at >= GROUP_HEADER_BYTES) {
        struct group_header header;
        memcpy(&header, data + at, sizeof(header));
        size_t room = bytes - at - sizeof(header);
        if (header.magic != group_magic || header.bytes > room) break;
        const unsigned char *payload = data + at + sizeof(header);
        uint32_t crc = hk_crc32c(0, data + at + 8, sizeof(header) - 8);
        crc = hk_crc32c(crc, payload, header.bytes);
        if (crc != header.crc || header.number != directory->group_next) break;
        struct cursor cursor = { payload, payload + header.bytes };
        while (cursor.at < cursor.end) {
            hk_err err = read_record(directory, &cursor);
            if (err < 0) return hk_fail_note(err, "%s: bad record", directory->path);
        }
        directory->group_next++;
        at += sizeof(header) + header.bytes;
    }
    HK_TRY(hk_view_fill_tables(hk_view_now(directory)));
    directory->file_bytes = (int64_t)at;
    report->bytes_torn = bytes - at;
    report->series = hk_directory_live(directory);
    report->pairs = atomic_load_explicit(&hk_view_now(directory)->pair_count, memory_order_relaxed);
    return HK_OK;
}

/* Is there a whole group behind the place where reading stopped? Then it is damage, not a tear. */
static bool group_follows(const unsigned char *data, size_t bytes, size_t from) {
    for (size_t at = from + 1; at + GROUP_HEADER_BYTES <= bytes; at++) {
        struct group_header header;
        memcpy(&header, data + at, sizeof(header));
        if (header.magic != group_magic) continue;
        if (header.bytes > bytes - at - sizeof(header)) continue;
        uint32_t crc = hk_crc32c(0, data + at + 8, sizeof(header) - 8);
        if (hk_crc32c(crc, data + at + sizeof(header), header.bytes) == header.crc) return true;
    }
    return false;
}

static int write_header_to(int fd) {
    unsigned char header[HEADER_BYTES] = { 0 };
    memcpy(header, file_magic, sizeof(file_magic));
    header[8] = VERSION_MAJOR;
    return hk_file_write(fd, header, sizeof(header), 0);
}

static hk_err write_file_header(struct hk_directory *directory) {
    int err = write_header_to(directory->fd);
    if (err >= 0) err = hk_file_truncate(directory->fd, HEADER_BYTES);
    if (err >= 0) err = hk_file_sync(directory->fd);
    if (err >= 0) err = sync_folder(directory);
    if (err < 0) return io_fail(directory, "write", err);
    directory->file_bytes = HEADER_BYTES;
    return HK_OK;
}

/* A file of version 1 has no records of kind 4; it may get some from now on. */
static hk_err raise_version(struct hk_directory *directory) {
    int err = write_header_to(directory->fd);
    if (err >= 0) err = hk_file_sync(directory->fd);
    return err < 0 ? io_fail(directory, "write", err) : HK_OK;
}

/* ------------------------------------------------------------------ rewriting */

hk_err hk_rewrite_open(const struct hk_directory *directory, struct hk_rewrite *out) {
    char path[sizeof(directory->path)];
    new_path(directory, path, sizeof(path));
    int fd = hk_file_open(path, HK_FILE_READ | HK_FILE_WRITE | HK_FILE_CREATE | HK_FILE_TRUNCATE);
    if (fd < 0) return io_fail(directory, "open the successor of", fd);
    *out = (struct hk_rewrite){ .fd = fd, .bytes = HEADER_BYTES };
    int err = write_header_to(fd);
    if (err >= 0) return HK_OK;
    hk_rewrite_abandon(directory, out);
    return io_fail(directory, "write the successor of", err);
}

hk_err hk_rewrite_group(
    const struct hk_directory *directory, struct hk_rewrite *rewrite,
    const struct hk_buf *payload) {
    if (payload->err < 0) return payload->err;
    if (payload->len == 0) return HK_OK;
    int err = write_group_at(rewrite->fd, rewrite->group_next, payload, rewrite->bytes);
    if (err < 0) return io_fail(directory, "write the successor of", err);
    rewrite->bytes += (int64_t)(sizeof(struct group_header) + payload->len);
    rewrite->group_next++;
    return HK_OK;
}

void hk_rewrite_abandon(const struct hk_directory *directory, struct hk_rewrite *rewrite) {
    char path[sizeof(directory->path)];
    new_path(directory, path, sizeof(path));
    hk_file_close(rewrite->fd);
    rewrite->fd = -1;
    (void)hk_file_remove(path);
}

/* ------------------------------------------------------------------ loading */

static hk_err load_bytes(
    struct hk_directory *directory, const unsigned char *data, size_t bytes,
    struct hk_directory_report *report) {
    if (bytes < HEADER_BYTES) {
        report->bytes_torn = bytes;
        return write_file_header(directory);
    }
    if (memcmp(data, file_magic, sizeof(file_magic)) != 0) {
        return hk_fail(
            HK_E_CORRUPT, "%s: not a registration file (bad magic at byte 0)", directory->path);
    }
    if (data[8] > VERSION_MAJOR) {
        return hk_fail(
            HK_E_VERSION, "%s: written by a newer hark (format %u, this one reads %d)",
            directory->path, data[8], VERSION_MAJOR);
    }
    if (data[8] < VERSION_MAJOR) HK_TRY(raise_version(directory));
    HK_TRY(read_groups(directory, data, bytes, report));
    size_t good = (size_t)directory->file_bytes;
    if (good == bytes) return HK_OK;
    if (group_follows(data, bytes, good)) {
        report->corrupt = true;
        return hk_fail(
            HK_E_CORRUPT, "%s: damaged group at byte %zu with whole groups behind it",
            directory->path, good);
    }
    (void)snprintf(
        report->text, sizeof(report->text), "%.150s: torn tail of %zu bytes cut at byte %zu",
        directory->path, bytes - good, good);
    int err = hk_file_truncate(directory->fd, directory->file_bytes);
    if (err >= 0) err = hk_file_sync(directory->fd);
    return err < 0 ? io_fail(directory, "truncate", err) : HK_OK;
}

/* Refs that the file leaves out may be given out. */
static hk_err free_holes(struct hk_directory *directory) {
    uint32_t end = hk_directory_count(directory);
    for (uint32_t ref = end; ref-- > 0;) {
        if (atomic_load_explicit(hk_directory_state(directory, ref), memory_order_relaxed) !=
            HK_SERIES_FREE) {
            continue;
        }
        HK_TRY(hk_mem_grow(
            &directory->free_refs, &directory->free_capacity, directory->free_count + 1,
            sizeof(uint32_t)));
        directory->free_refs[directory->free_count++] = ref;
    }
    return HK_OK;
}

hk_err
hk_registration_load(struct hk_directory *directory, struct hk_directory_report *out_report) {
    char successor[sizeof(directory->path)];
    new_path(directory, successor, sizeof(successor));
    (void)hk_file_remove(successor); /* it never took its place */
    int fd = hk_file_open(directory->path, HK_FILE_READ | HK_FILE_WRITE | HK_FILE_CREATE);
    if (fd < 0) return io_fail(directory, "open", fd);
    directory->fd = fd;
    int64_t bytes = hk_file_size(fd);
    if (bytes < 0) return io_fail(directory, "stat", (int)bytes);
    unsigned char *data HK_CLEANUP(hk_mem_free_at) =
        hk_mem_resize(NULL, bytes == 0 ? 1 : (size_t)bytes, 1);
    if (data == NULL) return HK_E_NOMEM;
    int64_t got = hk_file_read(fd, data, (size_t)bytes, 0);
    if (got < 0) return io_fail(directory, "read", (int)got);
    HK_TRY(load_bytes(directory, data, (size_t)got, out_report));
    return free_holes(directory);
}
