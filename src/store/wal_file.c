/* Staged, direct writing of log segments. */
#include "store/wal_file.h"

#include "base/mem.h"
#include "os/file.h"

#include <errno.h>
#include <string.h>

enum {
    BLOCK = HK_FILE_DIRECT_BYTES,
    STAGE_BYTES = 256 << 10,
    AHEAD_BYTES_MIN = 64 << 10,
    AHEAD_BYTES_MAX = 1 << 20,
};

static int64_t round_up(int64_t bytes) {
    return (bytes + BLOCK - 1) / BLOCK * BLOCK;
}

static int need_stage(struct hk_wal_file *file) {
    if (file->memory != NULL) return 0;
    file->memory = hk_mem_alloc(STAGE_BYTES + BLOCK, 1);
    if (file->memory == NULL) return -ENOMEM;
    size_t over = (uintptr_t)file->memory % BLOCK;
    file->stage = file->memory + (over == 0 ? 0 : BLOCK - over);
    return 0;
}

int hk_wal_file_open(struct hk_wal_file *file, const char *path) {
    hk_wal_file_abandon(file);
    int err = need_stage(file);
    if (err < 0) return err;
    int fd = hk_file_open(path, HK_FILE_READ | HK_FILE_WRITE | HK_FILE_CREATE | HK_FILE_DIRECT);
    if (fd < 0) return fd;
    int64_t bytes = hk_file_size(fd);
    if (bytes < 0) {
        hk_file_close(fd);
        return (int)bytes;
    }
    file->fd = fd;
    file->ready = bytes / BLOCK * BLOCK;
    return 0;
}

/* Zeros behind the block that ends at `end`, as many as the log is long, within bounds. A disk
 * that has no room for them may still have room for the log: failures wait for that. */
static void prepare(struct hk_wal_file *file, int64_t end) {
    if (end <= file->ready) return;
    int64_t ahead = end < AHEAD_BYTES_MIN ? AHEAD_BYTES_MIN : end;
    if (ahead > AHEAD_BYTES_MAX) ahead = AHEAD_BYTES_MAX;
    static const _Alignas(HK_FILE_DIRECT_BYTES) uint8_t zeros[AHEAD_BYTES_MIN];
    int64_t stop = round_up(end + ahead);
    for (int64_t at = end; at < stop; at += AHEAD_BYTES_MIN) {
        size_t part = stop - at < AHEAD_BYTES_MIN ? (size_t)(stop - at) : sizeof(zeros);
        if (hk_file_write(file->fd, zeros, part, at) < 0) return;
        file->ready = at + (int64_t)part;
    }
}

/* Writes the stage in whole blocks. */
static int write_stage(struct hk_wal_file *file) {
    size_t padded = (size_t)round_up((int64_t)file->staged);
    hk_assert(padded <= STAGE_BYTES);
    memset(file->stage + file->staged, 0, padded - file->staged);
    prepare(file, file->base + (int64_t)padded);
    return hk_file_write(file->fd, file->stage, padded, file->base);
}

/* Drops whole blocks that were written. */
static void keep_rest(struct hk_wal_file *file) {
    size_t whole = file->staged / BLOCK * BLOCK;
    file->staged -= whole;
    memmove(file->stage, file->stage + whole, file->staged);
    file->base += (int64_t)whole;
}

int hk_wal_file_put(struct hk_wal_file *file, const void *from, size_t bytes) {
    const uint8_t *at = from;
    while (bytes > 0) {
        size_t part = STAGE_BYTES - file->staged;
        if (part > bytes) part = bytes;
        memcpy(file->stage + file->staged, at, part);
        file->staged += part;
        file->at += (int64_t)part;
        at += part;
        bytes -= part;
        if (file->staged < STAGE_BYTES) continue;
        int err = write_stage(file);
        if (err < 0) return err;
        keep_rest(file);
    }
    return 0;
}

int hk_wal_file_sync(struct hk_wal_file *file) {
    if (file->staged > 0) {
        int err = write_stage(file);
        if (err < 0) return err;
        keep_rest(file);
    }
    return hk_file_sync(file->fd);
}

void hk_wal_file_abandon(struct hk_wal_file *file) {
    hk_file_close(file->fd);
    file->fd = -1;
    file->at = 0;
    file->base = 0;
    file->ready = 0;
    file->staged = 0;
}

void hk_wal_file_deinit(struct hk_wal_file *file) {
    hk_wal_file_abandon(file);
    hk_mem_free(file->memory);
    file->memory = NULL;
    file->stage = NULL;
}
