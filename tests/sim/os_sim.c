/* The simulated disk. One lock; sizes are small. */
#include "os_sim.h"

#include "os/file.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { INODES = 4096, NAMES = 4096, FDS = 512, SECTOR = 512 };

struct extent {
    uint64_t at, bytes;
    unsigned char *data; /* copy of what was written */
};

struct content {
    unsigned char *data;
    uint64_t bytes, capacity;
};

struct inode {
    struct content now, durable;
    struct extent *unsynced;
    uint32_t unsynced_count, unsynced_capacity;
    bool used;
};

struct entry {
    char *name;
    int now, durable; /* inode, −1 = not there */
};

static struct inode inodes[INODES];
static struct entry names[NAMES];
static uint32_t name_count;
static int fds[FDS]; /* inode + 1 */
static uint64_t operations, cut_at, random_state, disk_bytes;
static bool power_off;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static uint64_t chance(void) {
    uint64_t x = random_state += 0x9e3779b97f4a7c15ULL;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
    return x ^ (x >> 31);
}

/* Counts an operation; false when the power is gone. */
static bool power(void) {
    operations++;
    if (cut_at != 0 && operations >= cut_at) power_off = true;
    return !power_off;
}

static void put(struct content *to, uint64_t at, const unsigned char *data, uint64_t bytes) {
    if (at + bytes > to->capacity) {
        uint64_t capacity = (at + bytes) * 2;
        to->data = realloc(to->data, capacity);
        if (to->data == NULL) abort();
        memset(to->data + to->capacity, 0, capacity - to->capacity);
        to->capacity = capacity;
    }
    if (bytes > 0) memcpy(to->data + at, data, bytes);
    if (at + bytes > to->bytes) to->bytes = at + bytes;
}

static void cut(struct content *of, uint64_t bytes) {
    if (bytes < of->bytes) memset(of->data + bytes, 0, of->bytes - bytes);
    if (bytes > of->bytes) put(of, bytes, NULL, 0);
    of->bytes = bytes;
}

static void copy(struct content *to, const struct content *from) {
    to->bytes = 0;
    put(to, 0, from->data, from->bytes);
    cut(to, from->bytes);
}

static void forget_writes(struct inode *inode) {
    for (uint32_t i = 0; i < inode->unsynced_count; i++)
        free(inode->unsynced[i].data);
    inode->unsynced_count = 0;
}

static void free_inode(struct inode *inode) {
    forget_writes(inode);
    free(inode->unsynced);
    free(inode->now.data);
    free(inode->durable.data);
    memset(inode, 0, sizeof(*inode));
}

static struct entry *find(const char *name) {
    for (uint32_t i = 0; i < name_count; i++) {
        if (strcmp(names[i].name, name) == 0) return &names[i];
    }
    return NULL;
}

static struct entry *find_or_add(const char *name) {
    struct entry *entry = find(name);
    if (entry != NULL) return entry;
    if (name_count == NAMES) abort();
    names[name_count] = (struct entry){ strdup(name), -1, -1 };
    return &names[name_count++];
}

static int new_inode(void) {
    for (int i = 0; i < INODES; i++) {
        if (inodes[i].used) continue;
        inodes[i].used = true;
        return i;
    }
    abort();
}

void hk_sim_reset(uint64_t seed) {
    for (size_t i = 0; i < INODES; i++)
        free_inode(&inodes[i]);
    for (uint32_t i = 0; i < name_count; i++)
        free(names[i].name);
    name_count = 0;
    memset(fds, 0, sizeof(fds));
    operations = 0;
    cut_at = 0;
    disk_bytes = 0;
    power_off = false;
    random_state = seed;
}

void hk_sim_cut_after(uint64_t n) {
    cut_at = n == 0 ? 0 : operations + n;
}

bool hk_sim_is_off(void) {
    return power_off;
}

uint64_t hk_sim_operations(void) {
    return operations;
}

void hk_sim_disk_bytes(uint64_t bytes) {
    disk_bytes = bytes;
}

/* What of the unsynced writes reached the disk: nothing, all, or sectors by chance. */
static void settle(struct inode *inode) {
    unsigned kind = (unsigned)(chance() % 4);
    for (uint32_t i = 0; i < inode->unsynced_count && kind != 0; i++) {
        const struct extent *extent = &inode->unsynced[i];
        for (uint64_t from = 0; from < extent->bytes;) {
            uint64_t border = (extent->at + from) / SECTOR * SECTOR + SECTOR;
            uint64_t part = border - (extent->at + from);
            if (part > extent->bytes - from) part = extent->bytes - from;
            if (kind == 1 || chance() % 2 == 0) {
                put(&inode->durable, extent->at + from, extent->data + from, part);
            }
            from += part;
        }
    }
    forget_writes(inode);
    copy(&inode->now, &inode->durable);
}

void hk_sim_reboot(void) {
    memset(fds, 0, sizeof(fds));
    for (size_t i = 0; i < INODES; i++) {
        if (inodes[i].used) settle(&inodes[i]);
    }
    bool kept[INODES] = { false };
    for (uint32_t i = 0; i < name_count; i++) {
        if (names[i].now != names[i].durable && chance() % 2 == 0) {
            names[i].durable = names[i].now;
        }
        names[i].now = names[i].durable;
        if (names[i].now >= 0) kept[names[i].now] = true;
    }
    for (size_t i = 0; i < INODES; i++) {
        if (inodes[i].used && !kept[i]) free_inode(&inodes[i]);
    }
    power_off = false;
    cut_at = 0;
}

bool hk_sim_flip(const char *path, uint64_t byte, unsigned bit) {
    struct entry *entry = find(path);
    if (entry == NULL || entry->now < 0 || byte >= inodes[entry->now].now.bytes) return false;
    inodes[entry->now].now.data[byte] ^= (unsigned char)(1U << bit);
    copy(&inodes[entry->now].durable, &inodes[entry->now].now);
    return true;
}

int64_t hk_sim_size(const char *path) {
    const struct entry *entry = find(path);
    return entry == NULL || entry->now < 0 ? -1 : (int64_t)inodes[entry->now].now.bytes;
}

const char *hk_sim_name(uint32_t n) {
    for (uint32_t i = 0; i < name_count; i++) {
        if (names[i].now >= 0 && n-- == 0) return names[i].name;
    }
    return NULL;
}

/* ------------------------------------------------------------------ os/file.h */

static int open_locked(const char *path, int flags) {
    if (!power()) return -EIO;
    struct entry *entry = find(path);
    bool there = entry != NULL && entry->now >= 0;
    if (there && (flags & HK_FILE_EXCLUSIVE) != 0) return -EEXIST;
    if (!there && (flags & HK_FILE_CREATE) == 0) return -ENOENT;
    if (!there) {
        entry = find_or_add(path);
        entry->now = new_inode();
    }
    if ((flags & HK_FILE_TRUNCATE) != 0) cut(&inodes[entry->now].now, 0);
    for (int fd = 0; fd < FDS; fd++) {
        if (fds[fd] != 0) continue;
        fds[fd] = entry->now + 1;
        return fd;
    }
    return -EMFILE;
}

int hk_file_open(const char *path, int flags) {
    pthread_mutex_lock(&lock);
    int fd = open_locked(path, flags);
    pthread_mutex_unlock(&lock);
    return fd;
}

void hk_file_close(int fd) {
    if (fd < 0) return;
    pthread_mutex_lock(&lock);
    fds[fd] = 0;
    pthread_mutex_unlock(&lock);
}

int64_t hk_file_read(int fd, void *to, size_t bytes, int64_t offset) {
    int64_t got = -EIO;
    pthread_mutex_lock(&lock);
    if (power()) {
        const struct content *now = &inodes[fds[fd] - 1].now;
        uint64_t at = (uint64_t)offset;
        uint64_t left = at < now->bytes ? now->bytes - at : 0;
        uint64_t part = left < bytes ? left : bytes;
        if (part > 0) memcpy(to, now->data + at, part);
        got = (int64_t)part;
    }
    pthread_mutex_unlock(&lock);
    return got;
}

static int write_locked(int fd, const void *from, size_t bytes, int64_t offset) {
    if (!power()) return -EIO;
    uint64_t total = 0;
    for (size_t i = 0; disk_bytes != 0 && i < INODES; i++)
        total += inodes[i].now.bytes;
    if (disk_bytes != 0 && total + bytes > disk_bytes) return -ENOSPC;
    struct inode *inode = &inodes[fds[fd] - 1];
    put(&inode->now, (uint64_t)offset, from, bytes);
    if (inode->unsynced_count == inode->unsynced_capacity) {
        inode->unsynced_capacity = inode->unsynced_capacity * 2 + 8;
        inode->unsynced =
            realloc(inode->unsynced, inode->unsynced_capacity * sizeof(inode->unsynced[0]));
        if (inode->unsynced == NULL) abort();
    }
    struct extent extent = { (uint64_t)offset, bytes, malloc(bytes == 0 ? 1 : bytes) };
    if (extent.data == NULL) abort();
    memcpy(extent.data, from, bytes);
    inode->unsynced[inode->unsynced_count++] = extent;
    return 0;
}

int hk_file_write(int fd, const void *from, size_t bytes, int64_t offset) {
    pthread_mutex_lock(&lock);
    int err = write_locked(fd, from, bytes, offset);
    pthread_mutex_unlock(&lock);
    return err;
}

int hk_file_writev(int fd, const struct iovec *parts, int count, int64_t offset) {
    int err = 0;
    for (int i = 0; i < count && err == 0; i++) {
        err = hk_file_write(fd, parts[i].iov_base, parts[i].iov_len, offset);
        offset += (int64_t)parts[i].iov_len;
    }
    return err;
}

int hk_file_sync(int fd) {
    int err = -EIO;
    pthread_mutex_lock(&lock);
    if (power()) {
        struct inode *inode = &inodes[fds[fd] - 1];
        copy(&inode->durable, &inode->now);
        forget_writes(inode);
        err = 0;
    }
    pthread_mutex_unlock(&lock);
    return err;
}

int hk_dir_sync(const char *path) {
    int err = -EIO;
    size_t len = strlen(path);
    pthread_mutex_lock(&lock);
    if (power()) {
        for (uint32_t i = 0; i < name_count; i++) {
            const char *name = names[i].name;
            bool inside = strncmp(name, path, len) == 0 && name[len] == '/' &&
                          strchr(name + len + 1, '/') == NULL;
            if (inside) names[i].durable = names[i].now;
        }
        err = 0;
    }
    pthread_mutex_unlock(&lock);
    return err;
}

int64_t hk_file_size(int fd) {
    pthread_mutex_lock(&lock);
    int64_t bytes = power() ? (int64_t)inodes[fds[fd] - 1].now.bytes : -EIO;
    pthread_mutex_unlock(&lock);
    return bytes;
}

int hk_file_truncate(int fd, int64_t bytes) {
    int err = -EIO;
    pthread_mutex_lock(&lock);
    if (power()) {
        cut(&inodes[fds[fd] - 1].now, (uint64_t)bytes);
        err = 0;
    }
    pthread_mutex_unlock(&lock);
    return err;
}

int hk_file_lock(int fd) {
    (void)fd;
    return 0;
}

int hk_file_rename(const char *from, const char *to) {
    int err = -EIO;
    pthread_mutex_lock(&lock);
    if (power()) {
        struct entry *target = find_or_add(to); /* entries never move */
        struct entry *source = find(from);
        err = source == NULL || source->now < 0 ? -ENOENT : 0;
        if (err == 0 && source != NULL) {
            target->now = source->now;
            source->now = -1;
        }
    }
    pthread_mutex_unlock(&lock);
    return err;
}

int hk_file_remove(const char *path) {
    int err = -EIO;
    pthread_mutex_lock(&lock);
    if (power()) {
        struct entry *entry = find(path);
        err = entry == NULL || entry->now < 0 ? -ENOENT : 0;
        if (err == 0) entry->now = -1;
    }
    pthread_mutex_unlock(&lock);
    return err;
}

int hk_dir_create(const char *path) {
    (void)path;
    pthread_mutex_lock(&lock);
    int err = power() ? 0 : -EIO;
    pthread_mutex_unlock(&lock);
    return err;
}

int hk_dir_list(const char *path, int (*visit)(void *self, const char *name), void *self) {
    size_t len = strlen(path);
    static char found[256][256]; /* only the main thread lists */
    uint32_t count = 0;
    pthread_mutex_lock(&lock);
    bool on = power();
    for (uint32_t i = 0; on && i < name_count && count < 256; i++) {
        const char *name = names[i].name;
        bool inside = names[i].now >= 0 && strncmp(name, path, len) == 0 && name[len] == '/' &&
                      strchr(name + len + 1, '/') == NULL;
        if (inside) (void)snprintf(found[count++], sizeof(found[0]), "%s", name + len + 1);
    }
    pthread_mutex_unlock(&lock);
    if (!on) return -EIO;
    for (uint32_t i = 0; i < count; i++) {
        int result = visit(self, found[i]);
        if (result != 0) return result;
    }
    return 0;
}

int hk_disk_space(const char *path, uint64_t *out_free_bytes, uint64_t *out_total_bytes) {
    (void)path;
    *out_free_bytes = 1ULL << 40;
    *out_total_bytes = 1ULL << 41;
    return 0;
}
