/* Files on Linux. */
#include "os/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

int hk_file_open(const char *path, int flags) {
    int mode = O_CLOEXEC;
    if ((flags & HK_FILE_WRITE) != 0) mode |= (flags & HK_FILE_READ) != 0 ? O_RDWR : O_WRONLY;
    if ((flags & HK_FILE_CREATE) != 0) mode |= O_CREAT;
    if ((flags & HK_FILE_EXCLUSIVE) != 0) mode |= O_EXCL;
    if ((flags & HK_FILE_TRUNCATE) != 0) mode |= O_TRUNC;
    int fd = -1;
    if ((flags & HK_FILE_DIRECT) != 0) fd = open(path, mode | O_DIRECT, 0600);
    bool refused = fd < 0 && errno == EINVAL; /* no direct writes here, for example in memory */
    if ((flags & HK_FILE_DIRECT) == 0 || refused) fd = open(path, mode, 0600);
    return fd < 0 ? -errno : fd;
}

void hk_file_close(int fd) {
    if (fd >= 0) (void)close(fd);
}

int64_t hk_file_read(int fd, void *to, size_t bytes, int64_t offset) {
    size_t done = 0;
    while (done < bytes) {
        ssize_t got = pread(fd, (char *)to + done, bytes - done, offset + (int64_t)done);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return -errno;
        if (got == 0) break;
        done += (size_t)got;
    }
    return (int64_t)done;
}

int hk_file_write(int fd, const void *from, size_t bytes, int64_t offset) {
    size_t done = 0;
    while (done < bytes) {
        ssize_t put = pwrite(fd, (const char *)from + done, bytes - done, offset + (int64_t)done);
        if (put < 0 && errno == EINTR) continue;
        if (put < 0) return -errno;
        if (put == 0) return -EIO;
        done += (size_t)put;
    }
    return 0;
}

int hk_file_writev(int fd, const struct iovec *parts, int count, int64_t offset) {
    size_t bytes = 0;
    for (int i = 0; i < count; i++)
        bytes += parts[i].iov_len;
    ssize_t put = pwritev(fd, parts, count, offset);
    if (put < 0 && errno != EINTR) return -errno;
    size_t done = put < 0 ? 0 : (size_t)put;
    if (done == bytes) return 0;
    for (int i = 0; i < count; i++) {
        if (done >= parts[i].iov_len) {
            done -= parts[i].iov_len;
            offset += (int64_t)parts[i].iov_len;
            continue;
        }
        int err = hk_file_write(
            fd, (const char *)parts[i].iov_base + done, parts[i].iov_len - done,
            offset + (int64_t)done);
        if (err < 0) return err;
        offset += (int64_t)parts[i].iov_len;
        done = 0;
    }
    return 0;
}

int hk_file_sync(int fd) {
    return fdatasync(fd) < 0 ? -errno : 0;
}

int hk_dir_sync(const char *path) {
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return -errno;
    int err = fsync(fd) < 0 ? -errno : 0;
    (void)close(fd);
    return err;
}

int64_t hk_file_size(int fd) {
    struct stat info;
    return fstat(fd, &info) < 0 ? -errno : (int64_t)info.st_size;
}

uint64_t hk_file_stamp(const char *path) {
    struct stat info;
    if (stat(path, &info) < 0) return 0;
    const uint64_t parts[] = { (uint64_t)info.st_dev,          (uint64_t)info.st_ino,
                               (uint64_t)info.st_size,         (uint64_t)info.st_mtim.tv_sec,
                               (uint64_t)info.st_mtim.tv_nsec, (uint64_t)info.st_ctim.tv_sec,
                               (uint64_t)info.st_ctim.tv_nsec };
    uint64_t stamp = 14695981039346656037ULL;
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
        stamp = (stamp ^ parts[i]) * 1099511628211ULL;
    return stamp | 1;
}

int hk_file_truncate(int fd, int64_t bytes) {
    return ftruncate(fd, bytes) < 0 ? -errno : 0;
}

int hk_file_lock(int fd) {
    return flock(fd, LOCK_EX | LOCK_NB) < 0 ? -errno : 0;
}

int hk_file_rename(const char *from, const char *to) {
    return rename(from, to) < 0 ? -errno : 0;
}

int hk_file_remove(const char *path) {
    return unlink(path) < 0 ? -errno : 0;
}

int hk_dir_create(const char *path) {
    return mkdir(path, 0700) < 0 && errno != EEXIST ? -errno : 0;
}

int hk_dir_list(const char *path, int (*visit)(void *self, const char *name), void *self) {
    DIR *dir = opendir(path);
    if (dir == NULL) return -errno;
    int result = 0;
    for (;;) {
        errno = 0;
        const struct dirent *entry = readdir(dir);
        if (entry == NULL) {
            result = errno != 0 ? -errno : 0;
            break;
        }
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        result = visit(self, entry->d_name);
        if (result != 0) break;
    }
    (void)closedir(dir);
    return result;
}

int hk_disk_space(const char *path, uint64_t *out_free_bytes, uint64_t *out_total_bytes) {
    struct statvfs info;
    if (statvfs(path, &info) < 0) return -errno;
    *out_free_bytes = (uint64_t)info.f_bavail * info.f_frsize;
    *out_total_bytes = (uint64_t)info.f_blocks * info.f_frsize;
    return 0;
}
