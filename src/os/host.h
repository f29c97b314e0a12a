/*
 * Facts about this host that are not plain files: identity, file system usage, directories read
 * without allocation. Functions return 0 or a count, negative errno on failure. Thread-safe for
 * distinct descriptors.
 */
#ifndef HK_OS_HOST_H
#define HK_OS_HOST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Opens a directory for hk_dir_read; close with hk_file_close. */
int hk_dir_open(const char *path);

/* Fills `to` with raw entries from the current position; returns bytes, 0 at the end. */
int64_t hk_dir_read(int fd, void *to, size_t bytes);

/* Name of the entry at `*at` in a buffer filled by hk_dir_read, NULL at its end; moves `*at` on. */
const char *hk_dir_next(const void *entries, size_t bytes, size_t *at);

/* Back to the first entry. */
int hk_dir_rewind(int fd);

/* Opens `path` below the directory `fd` for reading, close-on-exec. */
int hk_file_open_at(int fd, const char *path);

/* As hk_file_read at offset 0, but with a single system call: for short /proc and /sys files. */
int64_t hk_file_read_once(int fd, void *to, size_t bytes);

/* What tells versions of a file apart. */
struct hk_file_version {
    uint64_t device, inode;
    int64_t bytes, changed_ns; /* time of the last change of content, ns since 1970 */
};

/* Version of the file at `path`, symbolic links followed. */
int hk_file_get_version(const char *path, struct hk_file_version *out);

struct hk_disk_usage {
    uint64_t total_bytes, free_bytes, available_bytes;
    uint64_t files, files_free;
    bool read_only;
};

/* Usage of the file system mounted at `path`. May block when that file system is remote. */
int hk_disk_usage(const char *path, struct hk_disk_usage *out);

struct hk_uname {
    char system[65], release[65], version[65], machine[65], node[65], domain[65];
};

/* Identity of kernel and host. */
int hk_uname(struct hk_uname *out);

/* Bytes of a memory page; clock ticks per second as /proc counts them. */
uint64_t hk_page_bytes(void);
uint64_t hk_clock_ticks_per_second(void);

/* Soft limits of this process: open files and address space in bytes; UINT64_MAX = none. */
void hk_process_limits(uint64_t *out_open_files, uint64_t *out_address_bytes);

/* Number of open descriptors as the size of an open /proc/<pid>/fd tells it; 0 = it does not. */
uint64_t hk_dir_size_hint(int fd);

/* Seconds east of UTC now and the zone's name (NUL-terminated, at most `bytes`). */
int64_t hk_time_zone(char *out_name, size_t bytes);

#endif
