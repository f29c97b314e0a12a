/* Host metrics: the list of collectors, their files, one round. */
#include "ingest/host.h"

#include "base/mem.h"
#include "ingest/host_internal.h"
#include "os/clock.h"
#include "os/file.h"
#include "os/host.h"

#include <stdio.h>

struct host_path {
    bool sys;
    const char *path;
};

/* By enum hk_host_file. */
static const struct host_path paths[HK_HOST_FILE_COUNT] = {
    [HK_HOST_FILE_STAT] = { false, "stat" },
    [HK_HOST_FILE_LOADAVG] = { false, "loadavg" },
    [HK_HOST_FILE_PRESSURE_CPU] = { false, "pressure/cpu" },
    [HK_HOST_FILE_PRESSURE_IO] = { false, "pressure/io" },
    [HK_HOST_FILE_PRESSURE_MEMORY] = { false, "pressure/memory" },
    [HK_HOST_FILE_PRESSURE_IRQ] = { false, "pressure/irq" },
    [HK_HOST_FILE_MEMINFO] = { false, "meminfo" },
    [HK_HOST_FILE_VMSTAT] = { false, "vmstat" },
    [HK_HOST_FILE_DISKSTATS] = { false, "diskstats" },
    [HK_HOST_FILE_MOUNTS] = { false, "1/mounts" },
    [HK_HOST_FILE_MOUNTS_SELF] = { false, "self/mounts" },
    [HK_HOST_FILE_NET_DEV] = { false, "net/dev" },
    [HK_HOST_FILE_NETSTAT] = { false, "net/netstat" },
    [HK_HOST_FILE_SNMP] = { false, "net/snmp" },
    [HK_HOST_FILE_SNMP6] = { false, "net/snmp6" },
    [HK_HOST_FILE_SOCKSTAT] = { false, "net/sockstat" },
    [HK_HOST_FILE_SOCKSTAT6] = { false, "net/sockstat6" },
    [HK_HOST_FILE_FILE_NR] = { false, "sys/fs/file-nr" },
    [HK_HOST_FILE_ENTROPY_AVAILABLE] = { false, "sys/kernel/random/entropy_avail" },
    [HK_HOST_FILE_ENTROPY_POOL] = { false, "sys/kernel/random/poolsize" },
    [HK_HOST_FILE_THREADS_MAX] = { false, "sys/kernel/threads-max" },
    [HK_HOST_FILE_PID_MAX] = { false, "sys/kernel/pid_max" },
    [HK_HOST_FILE_SELF_STAT] = { false, "self/stat" },
    [HK_HOST_FILE_SELF_CGROUP] = { false, "self/cgroup" },
    [HK_HOST_FILE_CLOCKSOURCE] = { true,
                                   "devices/system/clocksource/clocksource0/current_clocksource" },
    [HK_HOST_FILE_CLOCKSOURCES] = { true, "devices/system/clocksource/clocksource0/"
                                          "available_clocksource" },
};

/* In the order of the output. netdev comes before netclass, which takes its list of devices. */
static const struct {
    const char *name;
    hk_err (*collect)(struct hk_host *host, struct hk_buf *out);
} collectors[] = {
    { "cpu", hk_collect_cpu },
    { "stat", hk_collect_stat },
    { "loadavg", hk_collect_loadavg },
    { "pressure", hk_collect_pressure },
    { "meminfo", hk_collect_meminfo },
    { "vmstat", hk_collect_vmstat },
    { "diskstats", hk_collect_diskstats },
    { "filesystem", hk_collect_filesystem },
    { "netdev", hk_collect_netdev },
    { "netclass", hk_collect_netclass },
    { "netstat", hk_collect_netstat },
    { "sockstat", hk_collect_sockstat },
    { "uname", hk_collect_uname },
    { "time", hk_collect_time },
    { "filefd", hk_collect_filefd },
    { "entropy", hk_collect_entropy },
    { "processes", hk_collect_processes },
    { "cgroup", hk_collect_cgroup },
    { "process", hk_collect_process },
};

static bool set_root(char *to, const char *root, const char *root_default) {
    const char *from = root == NULL ? root_default : root;
    return hk_copy_name(to, HK_HOST_ROOT_BYTES_MAX + 1, hk_str_from(from));
}

hk_err hk_host_create(const struct hk_host_options *options, struct hk_host **out) {
    struct hk_host *host = hk_mem_alloc(1, sizeof(*host));
    if (host == NULL) return HK_E_NOMEM;
    for (size_t i = 0; i < HK_HOST_FILE_COUNT; i++)
        host->files[i] = -1;
    host->processes_fd = -1;
    hk_buf_init(&host->text, HK_HOST_READ_BYTES_MAX);
    if (!set_root(host->proc_root, options->proc_root, "/proc") ||
        !set_root(host->sys_root, options->sys_root, "/sys")) {
        hk_host_destroy(host);
        return hk_fail(HK_E_LIMIT, "host: root path over %d bytes", HK_HOST_ROOT_BYTES_MAX);
    }
    host->cpus = hk_mem_alloc(HK_HOST_CPUS_MAX, sizeof(*host->cpus));
    host->disks = hk_mem_alloc(HK_HOST_DISKS_MAX, sizeof(*host->disks));
    host->mounts = hk_mem_alloc(HK_HOST_MOUNTS_MAX, sizeof(*host->mounts));
    host->nets = hk_mem_alloc(HK_HOST_NETS_MAX, sizeof(*host->nets));
    (void)hk_buf_reserve(&host->text, 65536);
    if (host->cpus == NULL || host->disks == NULL || host->mounts == NULL || host->nets == NULL ||
        host->text.err < 0) {
        hk_host_destroy(host);
        return HK_E_NOMEM;
    }
    host->page_bytes = hk_page_bytes();
    host->ticks_per_second = hk_clock_ticks_per_second();
    *out = host;
    return HK_OK;
}

void hk_host_destroy(struct hk_host *host) {
    if (host == NULL) return;
    for (size_t i = 0; i < HK_HOST_FILE_COUNT; i++)
        hk_file_close(host->files[i]);
    hk_file_close(host->processes_fd);
    hk_buf_deinit(&host->text);
    hk_mem_free(host->cpus);
    hk_mem_free(host->disks);
    hk_mem_free(host->mounts);
    hk_mem_free(host->nets);
    hk_mem_free(host);
}

/* Reads all of an open file into host->text, which grows once for a longer file. */
static hk_err read_all(struct hk_host *host, int fd) {
    hk_buf_clear(&host->text);
    for (;;) {
        size_t room = host->text.capacity - host->text.len;
        char *to = hk_buf_reserve(&host->text, room);
        if (to == NULL) return host->text.err;
        int64_t got = hk_file_read(fd, to, room, (int64_t)host->text.len);
        if (got < 0) return HK_E_IO;
        host->text.len += (size_t)got;
        if ((size_t)got < room) return HK_OK;
        if (host->text.len == HK_HOST_READ_BYTES_MAX) return HK_OK; /* cut */
        if (hk_buf_reserve(&host->text, 1) == NULL) return host->text.err;
    }
}

hk_err hk_host_read(struct hk_host *host, enum hk_host_file file, struct hk_str *out) {
    hk_err err = HK_E_IO;
    for (int attempt = 0; attempt < 2 && err == HK_E_IO; attempt++) {
        if (host->files[file] < 0) {
            char path[HK_HOST_PATH_BYTES_MAX];
            (void)snprintf(
                path, sizeof(path), "%s/%s", paths[file].sys ? host->sys_root : host->proc_root,
                paths[file].path);
            int fd = hk_file_open(path, HK_FILE_READ);
            if (fd < 0) return hk_fail(HK_E_IO, "%s: %s", path, strerror(-fd));
            host->files[file] = fd;
        }
        err = read_all(host, host->files[file]);
        if (err != HK_E_IO) break;
        hk_file_close(host->files[file]);
        host->files[file] = -1;
    }
    if (err < 0) return hk_fail(err, "cannot read %s", paths[file].path);
    *out = hk_buf_get(&host->text);
    return HK_OK;
}

hk_err hk_host_read_path(const char *path, char *to, size_t bytes, struct hk_str *out) {
    int fd = hk_file_open(path, HK_FILE_READ);
    if (fd < 0) return HK_E_NOT_FOUND;
    int64_t got = hk_file_read_once(fd, to, bytes);
    hk_file_close(fd);
    if (got < 0) return HK_E_IO;
    struct hk_str text = { to, (size_t)got };
    if (text.len > 0 && text.ptr[text.len - 1] == '\n') text.len--;
    *out = text;
    return HK_OK;
}

hk_err hk_host_render(struct hk_host *host, struct hk_buf *out) {
    bool success[HK_COUNT(collectors)];
    int64_t duration_ns[HK_COUNT(collectors)];
    for (size_t i = 0; i < HK_COUNT(collectors); i++) {
        size_t mark = out->len;
        int64_t start_ns = hk_clock_monotonic_ns();
        hk_err err = collectors[i].collect(host, out);
        duration_ns[i] = hk_clock_monotonic_ns() - start_ns;
        success[i] = err >= 0;
        /* What fits a limit is worth having; anything else failed half-way. */
        if (err < 0 && err != HK_E_LIMIT && out->err == HK_OK) out->len = mark;
    }
    HK_FAMILY(
        out, "node_scrape_collector_duration_seconds", "gauge",
        "node_exporter: Duration of a collector scrape.");
    for (size_t i = 0; i < HK_COUNT(collectors); i++) {
        HK_PUT(out, "node_scrape_collector_duration_seconds{collector=\"");
        hk_buf_text(out, collectors[i].name);
        HK_PUT(out, "\"} ");
        hk_put_fixed(out, duration_ns[i] < 0 ? 0 : (uint64_t)duration_ns[i], 9);
        hk_buf_char(out, '\n');
    }
    HK_FAMILY(
        out, "node_scrape_collector_success", "gauge",
        "node_exporter: Whether a collector succeeded.");
    for (size_t i = 0; i < HK_COUNT(collectors); i++) {
        HK_PUT(out, "node_scrape_collector_success{collector=\"");
        hk_buf_text(out, collectors[i].name);
        hk_buf_text(out, success[i] ? "\"} 1\n" : "\"} 0\n");
    }
    return out->err;
}

hk_err hk_host_body(void *self, struct hk_buf *out) {
    return hk_host_render(self, out);
}

void hk_host_name(char *out, size_t bytes) {
    struct hk_uname name;
    hk_err found = hk_uname(&name);
    (void)hk_copy_name(
        out, bytes, hk_str_from(found < 0 || name.node[0] == 0 ? "localhost" : name.node));
}
