/* File operations of the block module: hk_err codes, texts that name the file, a test hook. */
#include "base/hash.h"
#include "os/file.h"
#include "store/block_internal.h"

#include <errno.h>

/* Test hook; counts changing operations. */
static _Atomic uint64_t io_done, io_fail_from;

uint64_t hk_block_io_fail_at(uint64_t n) {
    atomic_store_explicit(&io_fail_from, n, memory_order_relaxed);
    return atomic_exchange_explicit(&io_done, 0, memory_order_relaxed);
}

/* Is the process "dead" for this operation? */
static bool io_dead(void) {
    uint64_t done = atomic_fetch_add_explicit(&io_done, 1, memory_order_relaxed) + 1;
    uint64_t from = atomic_load_explicit(&io_fail_from, memory_order_relaxed);
    return HK_UNLIKELY(from != 0 && done >= from);
}

static _Atomic bool checksums_ignored;

void hk_block_ignore_checksums(bool ignore) {
    atomic_store_explicit(&checksums_ignored, ignore, memory_order_relaxed);
}

bool hk_block_crc_good(const void *from, size_t bytes, uint32_t crc) {
    return hk_crc32c(0, from, bytes) == crc ||
           HK_UNLIKELY(atomic_load_explicit(&checksums_ignored, memory_order_relaxed));
}

static hk_err io_error(int64_t result, const char *what, const char *path) {
    const int code = (int)-result;
    hk_err err = hk_file_is_full(-code) ? HK_E_NOSPACE : code == ENOENT ? HK_E_NOT_FOUND : HK_E_IO;
    return hk_fail(err, "%s %s: %s", what, path, strerrordesc_np(code));
}

hk_err hk_block_file_open(const char *path, int flags, int *out_fd) {
    if ((flags & HK_FILE_WRITE) != 0 && io_dead()) return io_error(-EIO, "cannot open", path);
    int fd = hk_file_open(path, flags);
    if (fd < 0) return io_error(fd, "cannot open", path);
    *out_fd = fd;
    return HK_OK;
}

hk_err
hk_block_file_write(int fd, const char *path, const void *from, size_t bytes, uint64_t offset) {
    int result = io_dead() ? -EIO : hk_file_write(fd, from, bytes, (int64_t)offset);
    return result < 0 ? io_error(result, "cannot write", path) : HK_OK;
}

hk_err hk_block_file_sync(int fd, const char *path) {
    int result = io_dead() ? -EIO : hk_file_sync(fd);
    return result < 0 ? io_error(result, "cannot sync", path) : HK_OK;
}

hk_err hk_block_file_rename(const char *from, const char *to) {
    int result = io_dead() ? -EIO : hk_file_rename(from, to);
    return result < 0 ? io_error(result, "cannot rename", from) : HK_OK;
}

hk_err hk_block_file_remove(const char *path) {
    int result = io_dead() ? -EIO : hk_file_remove(path);
    return result < 0 ? io_error(result, "cannot remove", path) : HK_OK;
}

hk_err hk_block_dir_sync(const char *path) {
    int result = io_dead() ? -EIO : hk_dir_sync(path);
    return result < 0 ? io_error(result, "cannot sync directory", path) : HK_OK;
}

hk_err hk_block_file_read(int fd, const char *path, void *to, size_t bytes, uint64_t offset) {
    int64_t got = hk_file_read(fd, to, bytes, (int64_t)offset);
    if (got < 0) return io_error(got, "cannot read", path);
    if ((size_t)got == bytes) return HK_OK;
    return hk_fail(
        HK_E_CORRUPT, "block %s: the file ends in the %zu bytes at offset %llu", path, bytes,
        (unsigned long long)offset);
}
