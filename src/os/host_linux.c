/* Facts about this host on Linux. */
#include "os/host.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

/* What getdents64(2) writes; the C library declares it only for its own use. */
struct raw_entry {
    uint64_t inode;
    int64_t offset;
    uint16_t bytes;
    uint8_t type;
    char name[];
};

int hk_dir_open(const char *path) {
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

int64_t hk_dir_read(int fd, void *to, size_t bytes) {
    long got = syscall(SYS_getdents64, fd, to, bytes);
    return got < 0 ? -errno : got;
}

const char *hk_dir_next(const void *entries, size_t bytes, size_t *at) {
    const size_t head = offsetof(struct raw_entry, name);
    if (*at > bytes || bytes - *at < head) return NULL;
    const unsigned char *entry = (const unsigned char *)entries + *at;
    uint16_t entry_bytes = 0;
    memcpy(&entry_bytes, entry + offsetof(struct raw_entry, bytes), sizeof(entry_bytes));
    if (entry_bytes <= head || entry_bytes > bytes - *at) return NULL;
    *at += entry_bytes;
    return (const char *)entry + head;
}

int hk_dir_rewind(int fd) {
    return lseek(fd, 0, SEEK_SET) < 0 ? -errno : 0;
}

int hk_file_open_at(int dir_fd, const char *path) {
    int fd = openat(dir_fd, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    return fd < 0 ? -errno : fd;
}

int64_t hk_file_read_once(int fd, void *to, size_t bytes) {
    ssize_t got = 0;
    do {
        got = pread(fd, to, bytes, 0);
    } while (got < 0 && errno == EINTR);
    return got < 0 ? -errno : got;
}

int hk_file_get_version(const char *path, struct hk_file_version *out) {
    struct stat info;
    if (stat(path, &info) < 0) return -errno;
    *out = (struct hk_file_version){
        .device = info.st_dev,
        .inode = info.st_ino,
        .bytes = info.st_size,
        .changed_ns = (int64_t)info.st_mtim.tv_sec * 1000000000 + info.st_mtim.tv_nsec,
    };
    return 0;
}

int hk_disk_usage(const char *path, struct hk_disk_usage *out) {
    struct statvfs info;
    if (statvfs(path, &info) < 0) return -errno;
    uint64_t unit = info.f_frsize > 0 ? info.f_frsize : info.f_bsize;
    *out = (struct hk_disk_usage){
        .total_bytes = info.f_blocks * unit,
        .free_bytes = info.f_bfree * unit,
        .available_bytes = info.f_bavail * unit,
        .files = info.f_files,
        .files_free = info.f_ffree,
        .read_only = (info.f_flag & ST_RDONLY) != 0,
    };
    return 0;
}

static void copy_text(char *to, size_t bytes, const char *from) {
    (void)snprintf(to, bytes, "%s", from);
}

int hk_uname(struct hk_uname *out) {
    struct utsname name;
    if (uname(&name) < 0) return -errno;
    copy_text(out->system, sizeof(out->system), name.sysname);
    copy_text(out->release, sizeof(out->release), name.release);
    copy_text(out->version, sizeof(out->version), name.version);
    copy_text(out->machine, sizeof(out->machine), name.machine);
    copy_text(out->node, sizeof(out->node), name.nodename);
    copy_text(out->domain, sizeof(out->domain), name.domainname);
    return 0;
}

uint64_t hk_page_bytes(void) {
    long bytes = sysconf(_SC_PAGESIZE);
    return bytes <= 0 ? 4096 : (uint64_t)bytes;
}

uint64_t hk_clock_ticks_per_second(void) {
    long ticks = sysconf(_SC_CLK_TCK);
    return ticks <= 0 ? 100 : (uint64_t)ticks;
}

static uint64_t soft_limit(const struct rlimit *limit) {
    return limit->rlim_cur == RLIM_INFINITY ? UINT64_MAX : (uint64_t)limit->rlim_cur;
}

void hk_process_limits(uint64_t *out_open_files, uint64_t *out_address_bytes) {
    struct rlimit files = { RLIM_INFINITY, RLIM_INFINITY };
    struct rlimit memory = { RLIM_INFINITY, RLIM_INFINITY };
    (void)getrlimit(RLIMIT_NOFILE, &files);
    (void)getrlimit(RLIMIT_AS, &memory);
    *out_open_files = soft_limit(&files);
    *out_address_bytes = soft_limit(&memory);
}

uint64_t hk_dir_size_hint(int fd) {
    struct stat info;
    if (fstat(fd, &info) < 0 || info.st_size < 0) return 0;
    return (uint64_t)info.st_size;
}

int64_t hk_time_zone(char *out_name, size_t bytes) {
    time_t now = time(NULL);
    struct tm local = { 0 };
    if (localtime_r(&now, &local) == NULL) local.tm_zone = "UTC";
    copy_text(out_name, bytes, local.tm_zone == NULL ? "UTC" : local.tm_zone);
    return local.tm_gmtoff;
}
