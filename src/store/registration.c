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
    RECORD_SET = 3,
    VERSION_MAJOR = 1,
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

void hk_registration_name(struct hk_directory *directory, struct hk_str name) {
    hk_buf_char(&directory->pending, RECORD_NAME);
    put_varint(&directory->pending, name.len);
    hk_buf_str(&directory->pending, name);
}

void hk_registration_pair(struct hk_directory *directory, uint32_t name, struct hk_str value) {
    hk_buf_char(&directory->pending, RECORD_PAIR);
    put_varint(&directory->pending, name);
    put_varint(&directory->pending, value.len);
    hk_buf_str(&directory->pending, value);
}

void hk_registration_set(struct hk_directory *directory, const uint32_t *ids, uint32_t count) {
    hk_buf_char(&directory->pending, RECORD_SET);
    put_varint(&directory->pending, count);
    for (uint32_t i = 0; i < count; i++)
        put_varint(&directory->pending, ids[i]);
}

static hk_err io_fail(const struct hk_directory *directory, const char *what, int err) {
    return hk_fail(
        err == -ENOSPC ? HK_E_NOSPACE : HK_E_IO, "%s %s: %s", what, directory->path,
        strerror(-err));
}

static hk_err write_group(struct hk_directory *directory) {
    struct hk_str payload = hk_buf_get(&directory->writing);
    struct group_header header = {
        .magic = group_magic,
        .number = directory->group_next,
        .bytes = (uint32_t)payload.len,
    };
    header.crc = hk_crc32c(0, &header.number, sizeof(header) - 8);
    header.crc = hk_crc32c(header.crc, payload.ptr, payload.len);
    struct iovec parts[2] = {
        { &header, sizeof(header) },
        { directory->writing.ptr, payload.len },
    };
    int err = hk_file_writev(directory->fd, parts, 2, directory->file_bytes);
    if (err < 0) return io_fail(directory, "write", err);
    err = hk_file_sync(directory->fd);
    if (err < 0) return io_fail(directory, "sync", err);
    directory->file_bytes += (int64_t)(sizeof(header) + payload.len);
    directory->group_next++;
    hk_buf_clear(&directory->writing);
    return HK_OK;
}

hk_err hk_directory_sync(struct hk_directory *directory) {
    if (!atomic_load_explicit(&directory->dirty, memory_order_acquire)) return HK_OK;
    hk_mutex_lock(&directory->sync_lock);
    hk_err err = HK_OK;
    /* What a failed attempt left goes first, in its own group. */
    if (directory->writing.len > 0) err = write_group(directory);
    if (err >= 0) {
        hk_mutex_lock(&directory->lock);
        struct hk_buf swap = directory->writing;
        directory->writing = directory->pending;
        directory->pending = swap;
        atomic_store_explicit(&directory->dirty, false, memory_order_relaxed);
        hk_mutex_unlock(&directory->lock);
        if (directory->writing.len > 0) err = write_group(directory);
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

static hk_err read_set(struct hk_directory *directory, struct cursor *cursor) {
    uint64_t count = 0;
    uint32_t ids[HK_LABELS_MAX];
    uint32_t pairs = atomic_load_explicit(&directory->pair_count, memory_order_relaxed);
    if (!get_varint(cursor, &count) || count > HK_LABELS_MAX) return HK_E_CORRUPT;
    for (uint64_t i = 0; i < count; i++) {
        uint64_t id = 0;
        if (!get_varint(cursor, &id) || id >= pairs) return HK_E_CORRUPT;
        ids[i] = (uint32_t)id;
    }
    uint32_t ref = 0;
    return hk_directory_add_set(directory, ids, (uint32_t)count, &ref);
}

static hk_err read_record(struct hk_directory *directory, struct cursor *cursor) {
    unsigned char type = *cursor->at++;
    struct hk_str text;
    uint64_t name = 0;
    uint32_t id = 0;
    switch (type) {
    case RECORD_NAME:
        if (!get_text(cursor, &text)) return HK_E_CORRUPT;
        return hk_directory_add_name(directory, text, &id);
    case RECORD_PAIR:
        if (!get_varint(cursor, &name) || !get_text(cursor, &text)) return HK_E_CORRUPT;
        if (name >= atomic_load_explicit(&directory->name_count, memory_order_relaxed)) {
            return HK_E_CORRUPT;
        }
        return hk_directory_add_pair(directory, (uint32_t)name, text, &id);
    case RECORD_SET:
        return read_set(directory, cursor);
    default:
        return HK_E_CORRUPT;
    }
}

static hk_err read_groups(
    struct hk_directory *directory, const unsigned char *data, size_t bytes,
    struct hk_directory_report *report) {
    size_t at = HEADER_BYTES;
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
    directory->file_bytes = (int64_t)at;
    report->bytes_torn = bytes - at;
    report->series = atomic_load_explicit(&directory->set_count, memory_order_relaxed);
    report->pairs = atomic_load_explicit(&directory->pair_count, memory_order_relaxed);
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

/* The file's name is durable after this. */
static int sync_folder(const struct hk_directory *directory) {
    char folder[sizeof(directory->path)];
    memcpy(folder, directory->path, sizeof(folder));
    char *slash = strrchr(folder, '/');
    if (slash == NULL) return hk_dir_sync(".");
    *slash = 0;
    return hk_dir_sync(folder);
}

static hk_err write_file_header(struct hk_directory *directory) {
    unsigned char header[HEADER_BYTES] = { 0 };
    memcpy(header, file_magic, sizeof(file_magic));
    header[8] = VERSION_MAJOR;
    int err = hk_file_write(directory->fd, header, sizeof(header), 0);
    if (err >= 0) err = hk_file_truncate(directory->fd, HEADER_BYTES);
    if (err >= 0) err = hk_file_sync(directory->fd);
    if (err >= 0) err = sync_folder(directory);
    if (err < 0) return io_fail(directory, "write", err);
    directory->file_bytes = HEADER_BYTES;
    return HK_OK;
}

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
    directory->loads = true;
    hk_err read = read_groups(directory, data, bytes, report);
    directory->loads = false;
    if (read >= 0) read = hk_directory_fill_tables(directory);
    HK_TRY(read);
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

hk_err
hk_registration_load(struct hk_directory *directory, struct hk_directory_report *out_report) {
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
    return load_bytes(directory, data, (size_t)got, out_report);
}
