/*
 * Files and directories. Every function returns 0 or a positive count on success and a negative
 * errno value on failure (-ENOSPC, -EIO, …). In the simulator the same functions are served by a
 * disk that forgets what was not synced. Thread-safe for distinct files.
 */
#ifndef HK_OS_FILE_H
#define HK_OS_FILE_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

enum {
    HK_FILE_READ = 1,
    HK_FILE_WRITE = 2,
    HK_FILE_CREATE = 4,    /* make it if missing */
    HK_FILE_EXCLUSIVE = 8, /* with CREATE: fail with -EEXIST */
    HK_FILE_TRUNCATE = 16,
    HK_FILE_DIRECT = 32, /* writes pass by the page cache where the file system can: memory, offset
                            and bytes of each must be multiples of HK_FILE_DIRECT_BYTES */
    HK_FILE_DIRECT_BYTES = 4096,
};

/* Does the error (negative errno) say that there is no room: disk, quota, or the limit on files? */
static inline bool hk_file_is_full(int err) {
    return err == -ENOSPC || err == -EDQUOT || err == -EFBIG;
}

/* Opens `path` with HK_FILE_ flags, close-on-exec; returns a descriptor. */
int hk_file_open(const char *path, int flags);

/* Closes; negative descriptors are ignored. */
void hk_file_close(int fd);

/* Reads up to `bytes` at `offset`; returns the count, less only at the end of the file. */
int64_t hk_file_read(int fd, void *to, size_t bytes, int64_t offset);

/* Writes all of it at `offset`, or fails. */
int hk_file_write(int fd, const void *from, size_t bytes, int64_t offset);
int hk_file_writev(int fd, const struct iovec *parts, int count, int64_t offset);

/* Data (and the size, if it grew) are durable after this. */
int hk_file_sync(int fd);

/* Entries of the directory are durable after this. */
int hk_dir_sync(const char *path);

/* Size in bytes. */
int64_t hk_file_size(int fd);

/* A number that changes with the file: made of device, inode, size and time of the last change;
 * 0 when there is none. Follows links. */
uint64_t hk_file_stamp(const char *path);

/* Cuts or extends to `bytes`. */
int hk_file_truncate(int fd, int64_t bytes);

/* Takes an exclusive advisory lock without waiting; -EWOULDBLOCK when another process has it. */
int hk_file_lock(int fd);

/* Renames within a file system, replacing `to`. */
int hk_file_rename(const char *from, const char *to);

/* Removes a file. */
int hk_file_remove(const char *path);

/* Makes one directory with mode 0700; 0 also when it exists. */
int hk_dir_create(const char *path);

/* Calls `visit` for each entry but "." and ".."; stops and returns its value when not 0. */
int hk_dir_list(const char *path, int (*visit)(void *self, const char *name), void *self);

/* Free and total bytes of the file system that holds `path`. */
int hk_disk_space(const char *path, uint64_t *out_free_bytes, uint64_t *out_total_bytes);

#endif
