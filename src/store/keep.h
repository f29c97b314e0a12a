/*
 * Keep files: small state that is written whole and read at start (docs/formats/keep.md). Records
 * of bytes with a checksum each, so that a flipped bit costs one record, is named, and the rest
 * serves. A file is replaced by rename after it was synced: old or new, never half.
 * One thread at a time per file.
 */
#ifndef HK_STORE_KEEP_H
#define HK_STORE_KEEP_H

#include "base/buf.h"

enum { HK_KEEP_RECORD_BYTES_MAX = 1 << 20, HK_KEEP_PATH_BYTES_MAX = 4096 };

#define HK_KEEP_META      0x4154454d4b524148ULL /* "HARKMETA" */
#define HK_KEEP_EXEMPLARS 0x4c504d454b524148ULL /* "HARKEMPL" */

struct hk_keep_writer {
    char dir[HK_KEEP_PATH_BYTES_MAX], name[32];
    int fd;
    int64_t at;
    struct hk_buf buf;
    hk_err err; /* sticky */
};

/* Begins the file `dir`/`name` beside the old one. HK_E_IO, HK_E_NOSPACE; then nothing to end. */
hk_err hk_keep_begin(
    struct hk_keep_writer *writer, const char *dir, const char *name, uint64_t magic) HK_MUST_CHECK;

/* Adds a record of at most HK_KEEP_RECORD_BYTES_MAX; a failure shows at the end. */
void hk_keep_put(struct hk_keep_writer *writer, struct hk_str record);

/* Syncs and replaces the old file, or gives up when anything failed. Call once after begin. */
hk_err hk_keep_end(struct hk_keep_writer *writer) HK_MUST_CHECK;

struct hk_keep_report {
    uint64_t records, damaged; /* damaged: records that were passed over, at least */
    char text[512];            /* names the file and the place of the first damage, or "" */
};

/* Calls `take` for each whole record; one that `take` calls HK_E_CORRUPT counts as damaged. A
 * missing file has none. HK_E_IO, HK_E_NOMEM, HK_E_VERSION (a newer hark wrote it) or what `take`
 * fails with. */
hk_err hk_keep_read(
    const char *dir, const char *name, uint64_t magic,
    hk_err (*take)(void *self, struct hk_str record), void *self,
    struct hk_keep_report *out_report) HK_MUST_CHECK;

/* The same from memory, for tests: `data` is a whole file. */
hk_err hk_keep_parse(
    struct hk_str data, uint64_t magic, hk_err (*take)(void *self, struct hk_str record),
    void *self, struct hk_keep_report *out_report) HK_MUST_CHECK;

#endif
