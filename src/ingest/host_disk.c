/*
 * Collectors: diskstats, filesystem. Sources: Documentation/admin-guide/iostats.rst, proc(5),
 * statvfs(3).
 */
#include "ingest/host_internal.h"
#include "os/host.h"

enum { SECTOR_BYTES = 512 };

enum disk_unit { COUNT, MILLISECONDS, SECTORS_AS_BYTES };

/* Fields of /proc/diskstats behind the device's name, in their order. */
static const struct {
    struct hk_host_family family;
    enum disk_unit unit;
} disk_fields[HK_HOST_DISK_FIELDS] = {
    { HK_DEVICE_FAMILY(
          "node_disk_reads_completed_total", "counter",
          "The total number of reads completed successfully."),
      COUNT },
    { HK_DEVICE_FAMILY(
          "node_disk_reads_merged_total", "counter", "The total number of reads merged."),
      COUNT },
    { HK_DEVICE_FAMILY(
          "node_disk_read_bytes_total", "counter", "The total number of bytes read successfully."),
      SECTORS_AS_BYTES },
    { HK_DEVICE_FAMILY(
          "node_disk_read_time_seconds_total", "counter",
          "The total number of seconds spent by all reads."),
      MILLISECONDS },
    { HK_DEVICE_FAMILY(
          "node_disk_writes_completed_total", "counter",
          "The total number of writes completed successfully."),
      COUNT },
    { HK_DEVICE_FAMILY("node_disk_writes_merged_total", "counter", "The number of writes merged."),
      COUNT },
    { HK_DEVICE_FAMILY(
          "node_disk_written_bytes_total", "counter",
          "The total number of bytes written successfully."),
      SECTORS_AS_BYTES },
    { HK_DEVICE_FAMILY(
          "node_disk_write_time_seconds_total", "counter",
          "This is the total number of seconds spent by all writes."),
      MILLISECONDS },
    { HK_DEVICE_FAMILY("node_disk_io_now", "gauge", "The number of I/Os currently in progress."),
      COUNT },
    { HK_DEVICE_FAMILY(
          "node_disk_io_time_seconds_total", "counter", "Total seconds spent doing I/Os."),
      MILLISECONDS },
    { HK_DEVICE_FAMILY(
          "node_disk_io_time_weighted_seconds_total", "counter",
          "The weighted # of seconds spent doing I/Os."),
      MILLISECONDS },
    { HK_DEVICE_FAMILY(
          "node_disk_discards_completed_total", "counter",
          "The total number of discards completed successfully."),
      COUNT },
    { HK_DEVICE_FAMILY(
          "node_disk_discards_merged_total", "counter", "The total number of discards merged."),
      COUNT },
    { HK_DEVICE_FAMILY(
          "node_disk_discarded_sectors_total", "counter",
          "The total number of sectors discarded successfully."),
      COUNT },
    { HK_DEVICE_FAMILY(
          "node_disk_discard_time_seconds_total", "counter",
          "This is the total number of seconds spent by all discards."),
      MILLISECONDS },
    { HK_DEVICE_FAMILY(
          "node_disk_flush_requests_total", "counter",
          "The total number of flush requests completed successfully"),
      COUNT },
    { HK_DEVICE_FAMILY(
          "node_disk_flush_requests_time_seconds_total", "counter",
          "This is the total number of seconds spent by all flush requests."),
      MILLISECONDS },
};

static bool all_digits(struct hk_str text) {
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] < '0' || text.ptr[i] > '9') return false;
    }
    return text.len > 0;
}

/* Without the digits at its end; `*out_digits` tells whether there were any. */
static struct hk_str trim_digits(struct hk_str text, bool *out_digits) {
    size_t len = text.len;
    while (len > 0 && text.ptr[len - 1] >= '0' && text.ptr[len - 1] <= '9')
        len--;
    *out_digits = len < text.len;
    return hk_str_part(text, 0, len);
}

/* node_exporter's default: ^(z?ram|loop|fd|(h|s|v|xv)d[a-z]|nvme\d+n\d+p)\d+$ */
static bool disk_excluded(struct hk_str name) {
    bool digits = false;
    struct hk_str stem = trim_digits(name, &digits);
    if (!digits) return false;
    static const char *const stems[] = { "ram", "zram", "loop", "fd" };
    for (size_t i = 0; i < HK_COUNT(stems); i++) {
        if (hk_str_is(stem, stems[i])) return true;
    }
    if (stem.len >= 3 && stem.ptr[stem.len - 1] >= 'a' && stem.ptr[stem.len - 1] <= 'z') {
        struct hk_str bus = hk_str_part(stem, 0, stem.len - 1);
        static const char *const buses[] = { "hd", "sd", "vd", "xvd" };
        for (size_t i = 0; i < HK_COUNT(buses); i++) {
            if (hk_str_is(bus, buses[i])) return true;
        }
    }
    if (!hk_str_starts(stem, HK_STR("nvme")) || !hk_str_ends(stem, HK_STR("p"))) return false;
    size_t n = hk_str_find(stem, 'n', 4);
    return all_digits(hk_str_part(stem, 4, n)) && n + 1 < stem.len &&
           all_digits(hk_str_part(stem, n + 1, stem.len - 1));
}

/* "254 0 vda 1 2 3 …"; false for lines that are not wanted. */
static bool parse_disk(struct hk_str line, struct hk_host_disk *out) {
    uint64_t major = 0;
    uint64_t minor = 0;
    struct hk_str name;
    if (!hk_next_u64(&line, &major) || !hk_next_u64(&line, &minor)) return false;
    if (!hk_next_word(&line, &name) || disk_excluded(name)) return false;
    *out = (struct hk_host_disk){ .major = (uint32_t)major, .minor = (uint32_t)minor };
    if (!hk_copy_name(out->name, sizeof(out->name), name)) return false;
    while (out->field_count < HK_HOST_DISK_FIELDS &&
           hk_next_u64(&line, &out->fields[out->field_count]))
        out->field_count++;
    return out->field_count > 0;
}

static void put_disk_value(struct hk_buf *out, uint64_t value, enum disk_unit unit) {
    if (unit == MILLISECONDS)
        hk_put_fixed(out, value, 3);
    else
        hk_put_u64(out, unit == SECTORS_AS_BYTES ? value * SECTOR_BYTES : value);
    hk_buf_char(out, '\n');
}

static void put_disk_info(const struct hk_host *host, struct hk_buf *out) {
    static const struct hk_host_family info =
        HK_DEVICE_FAMILY("node_disk_info", "gauge", "Info of /sys/block/<block_device>.");
    hk_buf_str(out, info.head);
    for (uint32_t k = 0; k < host->disk_count; k++) {
        hk_buf_str(out, info.sample);
        hk_put_label(out, hk_str_from(host->disks[k].name));
        HK_PUT(out, "\",major=\"");
        hk_put_u64(out, host->disks[k].major);
        HK_PUT(out, "\",minor=\"");
        hk_put_u64(out, host->disks[k].minor);
        HK_PUT(out, "\"} 1\n");
    }
}

hk_err hk_host_parse_diskstats(struct hk_host *host, struct hk_str text, struct hk_buf *out) {
    struct hk_str line;
    bool over = false;
    host->disk_count = 0;
    while (!over && hk_next_line(&text, &line)) {
        struct hk_host_disk disk;
        if (!parse_disk(line, &disk)) continue;
        over = host->disk_count == HK_HOST_DISKS_MAX;
        if (!over) host->disks[host->disk_count++] = disk;
    }
    if (host->disk_count == 0) return HK_OK;
    put_disk_info(host, out);
    for (uint32_t i = 0; i < HK_HOST_DISK_FIELDS; i++) {
        bool headed = false;
        for (uint32_t k = 0; k < host->disk_count; k++) {
            const struct hk_host_disk *disk = &host->disks[k];
            if (i >= disk->field_count) continue; /* older kernels write fewer fields */
            if (!headed) hk_buf_str(out, disk_fields[i].family.head);
            headed = true;
            hk_put_device(out, &disk_fields[i].family, disk->name);
            put_disk_value(out, disk->fields[i], disk_fields[i].unit);
        }
    }
    return over ? hk_fail(HK_E_LIMIT, "more than %d disks", HK_HOST_DISKS_MAX) : HK_OK;
}

hk_err hk_collect_diskstats(struct hk_host *host, struct hk_buf *out) {
    struct hk_str text;
    HK_TRY(hk_host_read(host, HK_HOST_FILE_DISKSTATS, &text));
    return hk_host_parse_diskstats(host, text, out);
}

/* Never shown: node_exporter's default list. */
static const char *const types_excluded[] = {
    "autofs",   "binfmt_misc", "bpf",   "cgroup",  "cgroup2",   "configfs",   "debugfs",
    "devpts",   "devtmpfs",    "erofs", "fusectl", "hugetlbfs", "iso9660",    "mqueue",
    "nsfs",     "overlay",     "proc",  "procfs",  "pstore",    "rpc_pipefs", "securityfs",
    "squashfs", "selinuxfs",   "sysfs", "tracefs",
};

/* statvfs may wait for a server or a user process that does not answer: counted, not asked. */
static const char *const types_remote[] = {
    "9p",   "afs",   "beegfs",    "ceph",  "cifs",   "coda",  "davfs",
    "fuse", "gfs2",  "glusterfs", "gpfs",  "lustre", "ncpfs", "nfs",
    "nfs4", "ocfs2", "orangefs",  "pvfs2", "smb3",   "smbfs", "virtiofs",
};

static bool type_in(struct hk_str type, const char *const *types, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (hk_str_is(type, types[i])) return true;
    }
    return false;
}

static bool under(struct hk_str point, struct hk_str folder) {
    return hk_str_starts(point, folder) &&
           (point.len == folder.len || point.ptr[folder.len] == '/');
}

/*
 * node_exporter's default:
 * ^/(dev|proc|run/credentials/.+|sys|var/lib/docker/.+|var/lib/containers/storage/.+)($|/)
 */
static bool point_excluded(struct hk_str point) {
    if (under(point, HK_STR("/dev")) || under(point, HK_STR("/proc")) ||
        under(point, HK_STR("/sys"))) {
        return true;
    }
    static const struct hk_str folders[] = { HK_TEXT("/run/credentials/"),
                                             HK_TEXT("/var/lib/docker/"),
                                             HK_TEXT("/var/lib/containers/storage/") };
    for (size_t i = 0; i < HK_COUNT(folders); i++) {
        if (hk_str_starts(point, folders[i]) && point.len > folders[i].len) return true;
    }
    return false;
}

/* Octal escapes of getmntent(3), \040 for a space, undone in place. */
static struct hk_str unescape(struct hk_str text) {
    union {
        const char *borrowed;
        char *own; /* the read buffer, ours to write */
    } at = { text.ptr };
    size_t len = 0;
    for (size_t i = 0; i < text.len; i++, len++) {
        const char *from = text.ptr + i;
        bool octal = from[0] == '\\' && text.len - i >= 4;
        for (size_t k = 1; octal && k < 4; k++)
            octal = from[k] >= '0' && from[k] <= '7';
        if (octal) {
            at.own[len] = (char)((from[1] - '0') << 6 | (from[2] - '0') << 3 | (from[3] - '0'));
            i += 3;
        } else {
            at.own[len] = from[0];
        }
    }
    return (struct hk_str){ text.ptr, len };
}

static bool has_option(struct hk_str options, const char *wanted) {
    for (size_t at = 0; at <= options.len;) {
        size_t end = hk_str_find(options, ',', at);
        if (hk_str_is(hk_str_part(options, at, end), wanted)) return true;
        at = end + 1;
    }
    return false;
}

static bool mount_known(const struct hk_host *host, const struct hk_host_mount *mount) {
    for (uint32_t i = 0; i < host->mount_count; i++) {
        if (hk_str_eq(host->mounts[i].point, mount->point) &&
            hk_str_eq(host->mounts[i].device, mount->device)) {
            return true;
        }
    }
    return false;
}

hk_err hk_host_parse_mounts(struct hk_host *host, struct hk_str text) {
    struct hk_str line;
    host->mount_count = 0;
    host->mounts_skipped = 0;
    while (hk_next_line(&text, &line)) {
        struct hk_host_mount mount = { 0 };
        struct hk_str options;
        if (!hk_next_word(&line, &mount.device) || !hk_next_word(&line, &mount.point)) continue;
        if (!hk_next_word(&line, &mount.type) || !hk_next_word(&line, &options)) continue;
        if (type_in(mount.type, types_excluded, HK_COUNT(types_excluded))) continue;
        mount.point = unescape(mount.point);
        if (point_excluded(mount.point)) continue;
        if (type_in(mount.type, types_remote, HK_COUNT(types_remote)) ||
            hk_str_starts(mount.type, HK_STR("fuse."))) {
            host->mounts_skipped++;
            continue;
        }
        mount.device = unescape(mount.device);
        mount.read_only = has_option(options, "ro");
        if (mount_known(host, &mount)) continue;
        if (host->mount_count == HK_HOST_MOUNTS_MAX) {
            return hk_fail(HK_E_LIMIT, "more than %d file systems", HK_HOST_MOUNTS_MAX);
        }
        host->mounts[host->mount_count++] = mount;
    }
    return HK_OK;
}

static void ask_usage(struct hk_host_mount *mount) {
    char path[4097]; /* PATH_MAX */
    struct hk_disk_usage usage;
    mount->failed =
        !hk_copy_name(path, sizeof(path), mount->point) || hk_disk_usage(path, &usage) < 0;
    if (mount->failed) return;
    mount->values[0] = usage.total_bytes;
    mount->values[1] = usage.free_bytes;
    mount->values[2] = usage.available_bytes;
    mount->values[3] = usage.files;
    mount->values[4] = usage.files_free;
}

static void put_mount(
    struct hk_buf *out, const struct hk_host_family *family, const struct hk_host_mount *mount,
    uint64_t value) {
    hk_buf_str(out, family->sample);
    hk_put_label(out, mount->device);
    HK_PUT(out, "\",fstype=\"");
    hk_put_label(out, mount->type);
    HK_PUT(out, "\",mountpoint=\"");
    hk_put_label(out, mount->point);
    HK_PUT(out, "\"} ");
    hk_put_u64(out, value);
    hk_buf_char(out, '\n');
}

/* By the index in hk_host_mount.values. */
static const struct hk_host_family mount_families[] = {
    HK_DEVICE_FAMILY("node_filesystem_size_bytes", "gauge", "Filesystem size in bytes."),
    HK_DEVICE_FAMILY("node_filesystem_free_bytes", "gauge", "Filesystem free space in bytes."),
    HK_DEVICE_FAMILY(
        "node_filesystem_avail_bytes", "gauge",
        "Filesystem space available to non-root users in bytes."),
    HK_DEVICE_FAMILY("node_filesystem_files", "gauge", "Filesystem total file nodes."),
    HK_DEVICE_FAMILY("node_filesystem_files_free", "gauge", "Filesystem total free file nodes."),
};

static void put_mounts(const struct hk_host *host, struct hk_buf *out) {
    static const struct hk_host_family error = HK_DEVICE_FAMILY(
        "node_filesystem_device_error", "gauge",
        "Whether an error occurred while getting statistics for the given device.");
    static const struct hk_host_family read_only =
        HK_DEVICE_FAMILY("node_filesystem_readonly", "gauge", "Filesystem read-only status.");
    hk_buf_str(out, error.head);
    for (uint32_t k = 0; k < host->mount_count; k++)
        put_mount(out, &error, &host->mounts[k], host->mounts[k].failed);
    hk_buf_str(out, read_only.head);
    for (uint32_t k = 0; k < host->mount_count; k++)
        put_mount(out, &read_only, &host->mounts[k], host->mounts[k].read_only);
    for (size_t i = 0; i < HK_COUNT(mount_families); i++) {
        hk_buf_str(out, mount_families[i].head);
        for (uint32_t k = 0; k < host->mount_count; k++) {
            if (host->mounts[k].failed) continue;
            put_mount(out, &mount_families[i], &host->mounts[k], host->mounts[k].values[i]);
        }
    }
}

hk_err hk_collect_filesystem(struct hk_host *host, struct hk_buf *out) {
    /* Process 1 sees the host's mounts also when ours are a sandbox. */
    struct hk_str text;
    if (hk_host_read(host, HK_HOST_FILE_MOUNTS, &text) < 0)
        HK_TRY(hk_host_read(host, HK_HOST_FILE_MOUNTS_SELF, &text));
    hk_err err = hk_host_parse_mounts(host, text);
    for (uint32_t k = 0; k < host->mount_count; k++)
        ask_usage(&host->mounts[k]);
    if (host->mount_count > 0) put_mounts(host, out);
    HK_SINGLE(
        out, "hark_host_filesystems_skipped", "gauge",
        "File systems that are not asked for their usage because the answer may block.",
        host->mounts_skipped);
    return err;
}
