/*
 * file_sd: target groups in JSON and YAML files. The files that the patterns match are looked at
 * once per poll and read again when inode, size or time of change differ, or when the refresh
 * interval is over. A file that cannot be read keeps the groups it had; one that is gone takes its
 * groups with it.
 */
#include "base/log.h"
#include "base/mem.h"
#include "ingest/discovery_internal.h"
#include "os/clock.h"
#include "os/file.h"

#include <fnmatch.h>
#include <stdlib.h>

enum { PATH_BYTES_MAX = 4096 };

struct scan {
    struct hk_discovery_provider *provider;
    struct hk_str folder; /* with its last slash, may be empty */
    char pattern[PATH_BYTES_MAX];
    bool changed;
    hk_err err;
};

static void free_file(struct hk_discovery_file *file) {
    hk_discovery_finding_unref(file->finding);
    hk_mem_free(file->name);
}

void hk_discovery_free_files(struct hk_discovery_provider *provider) {
    for (size_t i = 0; i < provider->file_count; i++)
        free_file(&provider->files[i]);
    hk_mem_free(provider->files);
    provider->files = NULL;
    provider->file_count = 0;
}

static hk_err list_file(struct scan *scan, const char *path) {
    struct hk_discovery_provider *provider = scan->provider;
    for (size_t i = 0; i < provider->file_count; i++) {
        if (strcmp(provider->files[i].name, path) != 0) continue;
        provider->files[i].listed = true;
        return HK_OK;
    }
    if (provider->file_count == HK_DISCOVERY_FILES_MAX) {
        return hk_fail(HK_E_LIMIT, "file_sd: more than %d files", HK_DISCOVERY_FILES_MAX);
    }
    HK_TRY(hk_mem_grow(
        &provider->files, &provider->file_capacity, provider->file_count + 1,
        sizeof(*provider->files)));
    char *name = hk_mem_copy(path, strlen(path));
    if (name == NULL) return HK_E_NOMEM;
    provider->files[provider->file_count++] =
        (struct hk_discovery_file){ .name = name, .listed = true };
    scan->changed = true;
    return HK_OK;
}

/* An entry of the pattern's folder. */
static int visit(void *self, const char *name) {
    struct scan *scan = self;
    char path[PATH_BYTES_MAX];
    if (fnmatch(scan->pattern, name, FNM_PERIOD) != 0) return 0;
    size_t len = strlen(name);
    if (scan->folder.len + len >= sizeof(path)) return 0;
    if (scan->folder.len > 0) memcpy(path, scan->folder.ptr, scan->folder.len);
    memcpy(path + scan->folder.len, name, len + 1);
    scan->err = list_file(scan, path);
    return scan->err < 0 ? 1 : 0;
}

/* Marks the files that one pattern matches; a folder that does not exist matches none. */
static hk_err scan_pattern(struct scan *scan, struct hk_str pattern) {
    size_t slash = pattern.len;
    while (slash > 0 && pattern.ptr[slash - 1] != '/')
        slash--;
    struct hk_str last = hk_str_part(pattern, slash, pattern.len);
    char folder[PATH_BYTES_MAX];
    if (slash >= sizeof(folder) || last.len >= sizeof(scan->pattern)) {
        return hk_fail(HK_E_LIMIT, "file_sd: path over %d bytes", PATH_BYTES_MAX);
    }
    scan->folder = hk_str_part(pattern, 0, slash);
    memcpy(scan->pattern, last.ptr, last.len);
    scan->pattern[last.len] = 0;
    if (slash > 0) memcpy(folder, pattern.ptr, slash);
    folder[slash] = 0;
    scan->err = HK_OK;
    (void)hk_dir_list(slash == 0 ? "." : folder, visit, scan);
    return scan->err;
}

static int order_files(const void *a, const void *b) {
    const struct hk_discovery_file *left = a;
    const struct hk_discovery_file *right = b;
    return strcmp(left->name, right->name);
}

static hk_err scan_all(struct scan *scan) {
    struct hk_discovery_provider *provider = scan->provider;
    const struct hk_scrape_file_sd *config = &provider->config.file;
    for (size_t i = 0; i < provider->file_count; i++)
        provider->files[i].listed = false;
    for (uint32_t i = 0; i < config->patterns.count; i++)
        HK_TRY(scan_pattern(scan, config->patterns.items[i]));
    size_t count = 0;
    for (size_t i = 0; i < provider->file_count; i++) {
        if (provider->files[i].listed) {
            provider->files[count++] = provider->files[i];
            continue;
        }
        free_file(&provider->files[i]);
        scan->changed = true;
    }
    provider->file_count = count;
    if (count > 0) qsort(provider->files, count, sizeof(*provider->files), order_files);
    return HK_OK;
}

/* The whole file in `out`. */
static hk_err read_file(const char *path, struct hk_buf *out) {
    int fd = hk_file_open(path, HK_FILE_READ);
    if (fd < 0) return hk_fail(HK_E_IO, "%s: %s", path, strerror(-fd));
    int64_t bytes = hk_file_size(fd);
    hk_err err = HK_OK;
    if (bytes < 0 || bytes > HK_DISCOVERY_BYTES_MAX) {
        err = hk_fail(HK_E_LIMIT, "%s: over %d bytes", path, HK_DISCOVERY_BYTES_MAX);
    } else if (hk_buf_reserve(out, (size_t)bytes + 1) == NULL) {
        err = HK_E_NOMEM;
    } else {
        int64_t got = hk_file_read(fd, out->ptr, (size_t)bytes, 0);
        if (got < 0) err = hk_fail(HK_E_IO, "%s: %s", path, strerror((int)-got));
        if (got > 0) out->len = (size_t)got;
    }
    hk_file_close(fd);
    return err;
}

static hk_err parse_file(const char *path, struct hk_discovery_finding **out) {
    struct hk_str name = hk_str_from(path);
    struct hk_str meta = HK_STR("__meta_filepath");
    struct hk_discovery_finding *finding = hk_discovery_finding_create();
    if (finding == NULL) return HK_E_NOMEM;
    struct hk_buf text;
    hk_buf_init(&text, HK_DISCOVERY_BYTES_MAX + 1);
    hk_err err = read_file(path, &text);
    if (err >= 0) {
        bool json = hk_str_ends(name, HK_STR(".json"));
        err = json ? hk_discovery_parse_json(hk_buf_get(&text), meta, name, finding)
                   : hk_discovery_parse_yaml(hk_buf_get(&text), meta, name, finding);
        if (err < 0) err = hk_fail_note(err, "%s", path);
    }
    hk_buf_deinit(&text);
    if (err < 0) {
        hk_discovery_finding_unref(finding);
        return err;
    }
    *out = finding;
    return HK_OK;
}

static bool same_version(const struct hk_file_version *a, const struct hk_file_version *b) {
    return a->device == b->device && a->inode == b->inode && a->bytes == b->bytes &&
           a->changed_ns == b->changed_ns;
}

/* Reads a file if it has changed. The version is taken first: a change meanwhile is seen at the
 * next poll. */
static hk_err update_file(struct hk_discovery_file *file, bool always, bool *changed) {
    struct hk_file_version version;
    int err = hk_file_get_version(file->name, &version);
    if (err < 0) return hk_fail(HK_E_IO, "%s: %s", file->name, strerror(-err));
    if (!always && same_version(&version, &file->version)) return HK_OK;
    file->version = version;
    struct hk_discovery_finding *finding = NULL;
    HK_TRY(parse_file(file->name, &finding));
    hk_discovery_finding_unref(file->finding);
    file->finding = finding;
    *changed = true;
    return HK_OK;
}

/* All groups of all files, which stay where they are. */
static hk_err
combine(const struct hk_discovery_provider *provider, struct hk_discovery_finding *all) {
    all->parts = hk_mem_alloc(provider->file_count, sizeof(struct hk_discovery_finding *));
    if (all->parts == NULL) return HK_E_NOMEM;
    for (size_t i = 0; i < provider->file_count; i++) {
        struct hk_discovery_finding *part = provider->files[i].finding;
        if (part == NULL) continue;
        if (all->target_count + part->target_count > HK_DISCOVERY_TARGETS_MAX) {
            return hk_fail(HK_E_LIMIT, "file_sd: more than %d targets", HK_DISCOVERY_TARGETS_MAX);
        }
        HK_TRY(hk_mem_grow(
            &all->groups, &all->group_capacity, all->group_count + part->group_count,
            sizeof(*all->groups)));
        atomic_fetch_add_explicit(&part->references, 1, memory_order_relaxed);
        all->parts[all->part_count++] = part;
        if (part->group_count > 0) {
            memcpy(
                all->groups + all->group_count, part->groups,
                part->group_count * sizeof(*part->groups));
        }
        all->group_count += part->group_count;
        all->target_count += part->target_count;
    }
    return HK_OK;
}

hk_err hk_discovery_refresh_files(
    struct hk_discovery_provider *provider, struct hk_discovery_finding **out) {
    struct scan scan = { .provider = provider, .changed = provider->finding == NULL };
    int64_t now_ns = hk_clock_monotonic_ns();
    bool always = now_ns >= provider->reread_ns;
    if (always) provider->reread_ns = now_ns + provider->config.file.refresh_ms * 1000000;
    HK_TRY(scan_all(&scan));
    for (size_t i = 0; i < provider->file_count; i++) {
        hk_err err = update_file(&provider->files[i], always, &scan.changed);
        if (err == HK_E_NOMEM) return err;
        if (err < 0) hk_discovery_note_failure(provider, err);
    }
    if (!scan.changed) return HK_END;
    struct hk_discovery_finding *all = hk_discovery_finding_create();
    hk_err err = all == NULL ? HK_E_NOMEM : combine(provider, all);
    if (err < 0) {
        hk_discovery_finding_unref(all);
        return err;
    }
    *out = all;
    return HK_OK;
}
