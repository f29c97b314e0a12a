/*
 * Collector: cgroup, the version 2 control group that hark itself runs in, so that limits set by
 * systemd or a container show beside the host's numbers. Files that the group's controllers do
 * not offer are left out. Source: Documentation/admin-guide/cgroup-v2.rst.
 */
#include "ingest/host_internal.h"

#include <stdio.h>

hk_err hk_host_parse_cgroup(struct hk_str text, struct hk_str *out) {
    struct hk_str line;
    while (hk_next_line(&text, &line)) {
        if (!hk_str_starts(line, HK_STR("0::/"))) continue;
        struct hk_str path = hk_str_part(line, 3, line.len);
        if (memmem(path.ptr, path.len, "..", 2) != NULL) break;
        *out = path.len == 1 ? HK_STR("") : path;
        return HK_OK;
    }
    return hk_fail(HK_E_NOT_FOUND, "self/cgroup: not in a cgroup of version 2");
}

static const struct {
    const char *key;
    struct hk_str head;
    uint32_t digits; /* decimals of the value in seconds, 0 = a count */
} cpu_lines[] = {
    { "usage_usec",
      HK_TEXT("# HELP node_cgroup_cpu_usage_seconds_total CPU time of the cgroup in seconds.\n"
              "# TYPE node_cgroup_cpu_usage_seconds_total counter\n"
              "node_cgroup_cpu_usage_seconds_total "),
      6 },
    { "user_usec",
      HK_TEXT("# HELP node_cgroup_cpu_user_seconds_total CPU time of the cgroup in user mode.\n"
              "# TYPE node_cgroup_cpu_user_seconds_total counter\n"
              "node_cgroup_cpu_user_seconds_total "),
      6 },
    { "system_usec",
      HK_TEXT("# HELP node_cgroup_cpu_system_seconds_total CPU time of the cgroup in the kernel.\n"
              "# TYPE node_cgroup_cpu_system_seconds_total counter\n"
              "node_cgroup_cpu_system_seconds_total "),
      6 },
    { "nr_periods",
      HK_TEXT("# HELP node_cgroup_cpu_periods_total Enforcement periods of the CPU quota.\n"
              "# TYPE node_cgroup_cpu_periods_total counter\nnode_cgroup_cpu_periods_total "),
      0 },
    { "nr_throttled",
      HK_TEXT("# HELP node_cgroup_cpu_throttled_periods_total Periods in which the cgroup was "
              "throttled.\n# TYPE node_cgroup_cpu_throttled_periods_total counter\n"
              "node_cgroup_cpu_throttled_periods_total "),
      0 },
    { "throttled_usec",
      HK_TEXT("# HELP node_cgroup_cpu_throttled_seconds_total Time for which the cgroup was "
              "throttled.\n# TYPE node_cgroup_cpu_throttled_seconds_total counter\n"
              "node_cgroup_cpu_throttled_seconds_total "),
      6 },
};

hk_err hk_host_parse_cpu_stat(struct hk_str text, struct hk_buf *out) {
    struct hk_str line;
    unsigned seen = 0;
    while (hk_next_line(&text, &line)) {
        struct hk_str key;
        uint64_t value = 0;
        if (!hk_next_word(&line, &key) || !hk_next_u64(&line, &value)) continue;
        for (size_t i = 0; i < HK_COUNT(cpu_lines); i++) {
            if ((seen & 1U << i) != 0 || !hk_str_is(key, cpu_lines[i].key)) continue;
            hk_buf_str(out, cpu_lines[i].head);
            hk_put_fixed(out, value, cpu_lines[i].digits);
            hk_buf_char(out, '\n');
            seen |= 1U << i;
        }
    }
    return HK_OK;
}

static const struct {
    const char *key;
    struct hk_host_family family;
} io_fields[] = {
    { "rbytes",
      HK_DEVICE_FAMILY("node_cgroup_io_read_bytes_total", "counter", "Bytes read by the cgroup.") },
    { "wbytes",
      HK_DEVICE_FAMILY(
          "node_cgroup_io_written_bytes_total", "counter", "Bytes written by the cgroup.") },
    { "rios",
      HK_DEVICE_FAMILY("node_cgroup_io_reads_total", "counter", "Read operations of the cgroup.") },
    { "wios", HK_DEVICE_FAMILY(
                  "node_cgroup_io_writes_total", "counter", "Write operations of the cgroup.") },
    { "dbytes",
      HK_DEVICE_FAMILY(
          "node_cgroup_io_discarded_bytes_total", "counter", "Bytes discarded by the cgroup.") },
    { "dios",
      HK_DEVICE_FAMILY("node_cgroup_io_discards_total", "counter", "Discards of the cgroup.") },
};

/* Value of "key=" among the words of `line`. */
static bool find_field(struct hk_str line, const char *key, uint64_t *out) {
    struct hk_str word;
    size_t len = strlen(key);
    while (hk_next_word(&line, &word)) {
        if (word.len <= len || memcmp(word.ptr, key, len) != 0 || word.ptr[len] != '=') continue;
        struct hk_str digits = hk_str_part(word, len + 1, word.len);
        return hk_next_u64(&digits, out);
    }
    return false;
}

hk_err hk_host_parse_io_stat(struct hk_str text, struct hk_buf *out) {
    for (size_t i = 0; i < HK_COUNT(io_fields); i++) {
        struct hk_str rest = text;
        struct hk_str line;
        bool headed = false;
        uint32_t count = 0;
        while (hk_next_line(&rest, &line) && count++ < HK_HOST_DISKS_MAX) {
            struct hk_str device;
            uint64_t value = 0;
            if (!hk_next_word(&line, &device) || !find_field(line, io_fields[i].key, &value))
                continue;
            if (!headed) hk_buf_str(out, io_fields[i].family.head);
            headed = true;
            hk_buf_str(out, io_fields[i].family.sample);
            hk_put_label(out, device);
            HK_PUT(out, "\"} ");
            hk_put_u64(out, value);
            hk_buf_char(out, '\n');
        }
    }
    return HK_OK;
}

/* Files with one number, or "max" for none. */
static const struct {
    const char *file;
    struct hk_str head;
} single_files[] = {
    { "memory.current",
      HK_TEXT("# HELP node_cgroup_memory_current_bytes Memory used by the cgroup in bytes.\n"
              "# TYPE node_cgroup_memory_current_bytes gauge\n"
              "node_cgroup_memory_current_bytes ") },
    { "memory.max",
      HK_TEXT("# HELP node_cgroup_memory_max_bytes Memory limit of the cgroup in bytes.\n"
              "# TYPE node_cgroup_memory_max_bytes gauge\nnode_cgroup_memory_max_bytes ") },
    { "memory.swap.current",
      HK_TEXT("# HELP node_cgroup_memory_swap_current_bytes Swap used by the cgroup in bytes.\n"
              "# TYPE node_cgroup_memory_swap_current_bytes gauge\n"
              "node_cgroup_memory_swap_current_bytes ") },
    { "pids.current",
      HK_TEXT("# HELP node_cgroup_pids_current Processes and threads in the cgroup.\n"
              "# TYPE node_cgroup_pids_current gauge\nnode_cgroup_pids_current ") },
    { "pids.max", HK_TEXT("# HELP node_cgroup_pids_max Limit on processes in the cgroup.\n"
                          "# TYPE node_cgroup_pids_max gauge\nnode_cgroup_pids_max ") },
};

static void put_single_files(const char *folder, struct hk_buf *out) {
    for (size_t i = 0; i < HK_COUNT(single_files); i++) {
        char path[HK_HOST_PATH_BYTES_MAX + 32];
        char text[64];
        struct hk_str value;
        uint64_t number = 0;
        (void)snprintf(path, sizeof(path), "%s/%s", folder, single_files[i].file);
        if (hk_host_read_path(path, text, sizeof(text), &value) < 0) continue;
        bool unlimited = hk_str_is(value, "max");
        if (!unlimited && !hk_next_u64(&value, &number)) continue;
        hk_buf_str(out, single_files[i].head);
        if (unlimited)
            HK_PUT(out, "+Inf");
        else
            hk_put_u64(out, number);
        hk_buf_char(out, '\n');
    }
}

hk_err hk_collect_cgroup(struct hk_host *host, struct hk_buf *out) {
    static const char *const mounts[] = { "fs/cgroup", "fs/cgroup/unified" };
    char folder[HK_HOST_PATH_BYTES_MAX];
    char path[HK_HOST_PATH_BYTES_MAX + 32];
    char text[8192];
    struct hk_str own = HK_STR("");
    struct hk_str content;
    struct hk_str all;
    HK_TRY(hk_host_read(host, HK_HOST_FILE_SELF_CGROUP, &all));
    HK_TRY(hk_host_parse_cgroup(all, &own));
    hk_err err = HK_E_NOT_FOUND;
    for (size_t i = 0; i < HK_COUNT(mounts) && err < 0; i++) {
        int len = snprintf(
            folder, sizeof(folder), "%s/%s%.*s", host->sys_root, mounts[i], HK_STR_ARG(own));
        if (len < 0 || (size_t)len >= sizeof(folder)) return HK_E_LIMIT;
        (void)snprintf(path, sizeof(path), "%s/cpu.stat", folder);
        err = hk_host_read_path(path, text, sizeof(text), &content);
    }
    if (err < 0) return hk_fail(err, "no cgroup of version 2 below %s/fs/cgroup", host->sys_root);
    HK_FAMILY(out, "node_cgroup_info", "gauge", "The cgroup that hark runs in.");
    HK_PUT(out, "node_cgroup_info{cgroup=\"");
    hk_put_label(out, own.len == 0 ? HK_STR("/") : own);
    HK_PUT(out, "\"} 1\n");
    HK_TRY(hk_host_parse_cpu_stat(content, out));
    put_single_files(folder, out);
    (void)snprintf(path, sizeof(path), "%s/io.stat", folder);
    if (hk_host_read_path(path, text, sizeof(text), &content) < 0) return HK_OK;
    return hk_host_parse_io_stat(content, out);
}
