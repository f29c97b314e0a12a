/* Files of records that are written whole. */
#include "store/keep.h"

#include "base/hash.h"
#include "base/mem.h"
#include "os/file.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

enum { VERSION_MAJOR = 1, FLUSH_BYTES = 1 << 18 };

struct keep_header {
    uint64_t magic;
    uint16_t major, minor;
    uint32_t tenant;
    uint64_t features;
    uint32_t reserved, crc; /* crc of the bytes before it */
};
static_assert(sizeof(struct keep_header) == 32, "no padding");

#define RECORD_MAGIC 0x43455248U /* "HREC" */

/* Before each record: its length, and the checksum of length and content. */
struct record_header {
    uint32_t magic, bytes, crc;
};

static hk_err fail_io(const char *what, const char *path, int err) {
    hk_err code = err == -ENOSPC ? HK_E_NOSPACE : HK_E_IO;
    return hk_fail(code, "%s %s: %s", what, path, strerror(-err));
}

static void make_path(
    const struct hk_keep_writer *writer, const char *suffix, char out[HK_KEEP_PATH_BYTES_MAX]) {
    (void)snprintf(
        out, HK_KEEP_PATH_BYTES_MAX, "%.3900s/%.31s%s", writer->dir, writer->name, suffix);
}

hk_err
hk_keep_begin(struct hk_keep_writer *writer, const char *dir, const char *name, uint64_t magic) {
    char path[HK_KEEP_PATH_BYTES_MAX];
    *writer = (struct hk_keep_writer){ .fd = -1 };
    (void)snprintf(writer->dir, sizeof(writer->dir), "%s", dir);
    (void)snprintf(writer->name, sizeof(writer->name), "%s", name);
    make_path(writer, ".tmp", path);
    int fd = hk_file_open(path, HK_FILE_WRITE | HK_FILE_CREATE | HK_FILE_TRUNCATE);
    if (fd < 0) return fail_io("open", path, fd);
    writer->fd = fd;
    hk_buf_init(&writer->buf, (size_t)FLUSH_BYTES + HK_KEEP_RECORD_BYTES_MAX + 64);
    struct keep_header header = { .magic = magic, .major = VERSION_MAJOR };
    header.crc = hk_crc32c(0, &header, offsetof(struct keep_header, crc));
    hk_buf_bytes(&writer->buf, &header, sizeof(header));
    return HK_OK;
}

static void write_out(struct hk_keep_writer *writer) {
    if (writer->err >= 0) writer->err = writer->buf.err;
    if (writer->err < 0) return;
    int err = hk_file_write(writer->fd, writer->buf.ptr, writer->buf.len, writer->at);
    if (err < 0) writer->err = fail_io("write", writer->name, err);
    writer->at += (int64_t)writer->buf.len;
    hk_buf_clear(&writer->buf);
}

void hk_keep_put(struct hk_keep_writer *writer, struct hk_str record) {
    if (writer->err < 0) return;
    if (record.len > HK_KEEP_RECORD_BYTES_MAX) {
        writer->err = hk_fail(HK_E_LIMIT, "%s: a record over 1 MiB", writer->name);
        return;
    }
    struct record_header header = { .magic = RECORD_MAGIC, .bytes = (uint32_t)record.len };
    header.crc = hk_crc32c(0, &header.bytes, sizeof(header.bytes));
    header.crc = hk_crc32c(header.crc, record.ptr, record.len);
    hk_buf_bytes(&writer->buf, &header, sizeof(header));
    hk_buf_str(&writer->buf, record);
    if (writer->buf.len >= FLUSH_BYTES) write_out(writer);
}

hk_err hk_keep_end(struct hk_keep_writer *writer) {
    char path[HK_KEEP_PATH_BYTES_MAX];
    char temporary[HK_KEEP_PATH_BYTES_MAX];
    make_path(writer, "", path);
    make_path(writer, ".tmp", temporary);
    write_out(writer);
    hk_buf_deinit(&writer->buf);
    int err = writer->err < 0 ? 0 : hk_file_sync(writer->fd);
    hk_file_close(writer->fd);
    writer->fd = -1;
    if (writer->err < 0) return writer->err;
    if (err >= 0) err = hk_file_rename(temporary, path);
    if (err >= 0) err = hk_dir_sync(writer->dir);
    return err < 0 ? fail_io("replace", path, err) : HK_OK;
}

/* ------------------------------------------------------------------ reading */

static void note_damage(struct hk_keep_report *report, size_t at, const char *what) {
    if (report->damaged++ > 0) return;
    (void)snprintf(
        report->text, sizeof(report->text), "damaged at byte %zu (%s), passed over", at, what);
}

/* Is there a whole record at `at`? */
static bool record_at(struct hk_str data, size_t at, struct hk_str *out) {
    struct record_header header = { 0 };
    if (data.len - at < sizeof(header)) return false;
    memcpy(&header, data.ptr + at, sizeof(header));
    size_t left = data.len - at - sizeof(header);
    bool sane = header.magic == RECORD_MAGIC && header.bytes <= left &&
                header.bytes <= HK_KEEP_RECORD_BYTES_MAX;
    if (!sane) return false;
    *out = (struct hk_str){ data.ptr + at + sizeof(header), header.bytes };
    uint32_t crc = hk_crc32c(0, &header.bytes, sizeof(header.bytes));
    return hk_crc32c(crc, out->ptr, out->len) == header.crc;
}

/* Next whole record at or behind `at`; the end when there is none. */
static size_t seek_record(struct hk_str data, size_t at) {
    struct hk_str record = { "", 0 };
    while (at < data.len && !record_at(data, at, &record))
        at++;
    return at;
}

static hk_err take_records(
    struct hk_str data, hk_err (*take)(void *self, struct hk_str record), void *self,
    struct hk_keep_report *report) {
    size_t at = sizeof(struct keep_header);
    while (at < data.len) {
        struct hk_str record = { "", 0 };
        if (!record_at(data, at, &record)) {
            note_damage(report, at, "bad record");
            at = seek_record(data, at + 1);
            continue;
        }
        hk_err err = take(self, record);
        if (err < 0 && err != HK_E_CORRUPT) return err;
        if (err == HK_E_CORRUPT)
            note_damage(report, at, "bad record");
        else
            report->records++;
        at += sizeof(struct record_header) + record.len;
    }
    return HK_OK;
}

hk_err hk_keep_parse(
    struct hk_str data, uint64_t magic, hk_err (*take)(void *self, struct hk_str record),
    void *self, struct hk_keep_report *out_report) {
    *out_report = (struct hk_keep_report){ 0 };
    struct keep_header header = { 0 };
    if (data.len < sizeof(header)) {
        note_damage(out_report, 0, "the file is cut off");
        return HK_OK;
    }
    memcpy(&header, data.ptr, sizeof(header));
    bool fine = header.crc == hk_crc32c(0, &header, offsetof(struct keep_header, crc));
    if (fine && header.magic == magic && header.major > VERSION_MAJOR) {
        return hk_fail(
            HK_E_VERSION, "written by a newer hark (format %u, this one reads %d)", header.major,
            VERSION_MAJOR);
    }
    /* A damaged header does not hide the records behind it. */
    if (!fine || header.magic != magic) note_damage(out_report, 0, "bad header");
    return take_records(data, take, self, out_report);
}

hk_err hk_keep_read(
    const char *dir, const char *name, uint64_t magic,
    hk_err (*take)(void *self, struct hk_str record), void *self,
    struct hk_keep_report *out_report) {
    char path[HK_KEEP_PATH_BYTES_MAX];
    *out_report = (struct hk_keep_report){ 0 };
    (void)snprintf(path, sizeof(path), "%.3900s/%.31s", dir, name);
    int fd = hk_file_open(path, HK_FILE_READ);
    if (fd == -ENOENT) return HK_OK;
    if (fd < 0) return fail_io("open", path, fd);
    int64_t bytes = hk_file_size(fd);
    char *data HK_CLEANUP(hk_mem_free_at) =
        bytes < 0 ? NULL : hk_mem_resize(NULL, (size_t)bytes + 1, 1);
    int64_t got = data == NULL ? -EIO : hk_file_read(fd, data, (size_t)bytes, 0);
    hk_file_close(fd);
    if (bytes >= 0 && data == NULL) return hk_fail(HK_E_NOMEM, "%s: out of memory", path);
    if (got < 0) return fail_io("read", path, (int)got);
    hk_err err = hk_keep_parse((struct hk_str){ data, (size_t)got }, magic, take, self, out_report);
    if (err < 0) return hk_fail_note(err, "%s", path);
    if (out_report->damaged == 0) return HK_OK;
    char text[sizeof(out_report->text)];
    memcpy(text, out_report->text, sizeof(text));
    (void)snprintf(out_report->text, sizeof(out_report->text), "%.300s: %.200s", path, text);
    return HK_OK;
}
