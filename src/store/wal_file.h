/*
 * The file that the log thread appends to: bytes are gathered in an aligned stage and written past
 * the page cache in whole blocks; the file is filled with zeros ahead of the log, so that a sync
 * has no new size or extents to record. Log thread only.
 *
 * The last block of a commit is written again by the next one, with the same bytes at its start: a
 * sector keeps what was durable whether or not the second write reaches it.
 */
#ifndef HK_STORE_WAL_FILE_H
#define HK_STORE_WAL_FILE_H

#include "base/err.h"

#include <stddef.h>
#include <stdint.h>

struct hk_wal_file {
    int fd;        /* -1: none is open */
    int64_t at;    /* bytes appended */
    int64_t base;  /* file offset of the stage */
    int64_t ready; /* the file holds bytes up to here: zeros or an old log */
    uint8_t *memory, *stage;
    size_t staged;
};

/* Zeroed memory becomes a file that is not open. */
static inline void hk_wal_file_init(struct hk_wal_file *file) {
    *file = (struct hk_wal_file){ .fd = -1 };
}

/* Opens or makes `path` and begins at its start; an open file is closed first. Negative errno. */
int hk_wal_file_open(struct hk_wal_file *file, const char *path) HK_MUST_CHECK;

/* Appends; what does not fit the stage is written. Negative errno: abandon the file. */
int hk_wal_file_put(struct hk_wal_file *file, const void *from, size_t bytes) HK_MUST_CHECK;

/* Everything appended is durable after this. Negative errno: abandon the file. */
int hk_wal_file_sync(struct hk_wal_file *file) HK_MUST_CHECK;

/* Closes without writing what is staged; keeps the stage. */
void hk_wal_file_abandon(struct hk_wal_file *file);

/* Closes and frees. */
void hk_wal_file_deinit(struct hk_wal_file *file);

#endif
