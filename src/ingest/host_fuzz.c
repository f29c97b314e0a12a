/* Goal: no /proc or /sys text, however broken, makes a collector's parser misbehave. */
#include "base/mem.h"
#include "ingest/host_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void parse(struct hk_host *host, unsigned which, struct hk_str text, struct hk_buf *out) {
    struct hk_host_processes processes = { 0 };
    struct hk_str path;
    uint64_t value = 0;
    switch (which % 15) {
    case 0:
        (void)hk_host_parse_stat(host, text, out);
        return;
    case 1:
        (void)hk_host_parse_cpu(host, text, out);
        (void)hk_host_parse_cpu(host, text, out);
        return;
    case 2:
        (void)hk_host_parse_loadavg(text, out);
        return;
    case 3:
        (void)hk_host_parse_meminfo(text, out);
        return;
    case 4:
        (void)hk_host_parse_vmstat(text, out);
        return;
    case 5:
        (void)hk_host_parse_diskstats(host, text, out);
        return;
    case 6:
        (void)hk_host_parse_mounts(host, text);
        return;
    case 7:
        (void)hk_host_parse_net_dev(host, text);
        (void)hk_host_parse_net_dev(host, text);
        return;
    case 8:
        (void)hk_host_parse_netstat(text, out);
        return;
    case 9:
        (void)hk_host_parse_snmp6(text, out);
        return;
    case 10:
        (void)hk_host_parse_sockstat(host, text, false, out);
        return;
    case 11:
        host->boot_time_s = 1;
        (void)hk_host_parse_process(host, text, out);
        hk_host_count_process(text, &processes);
        return;
    case 12:
        (void)hk_host_parse_io_stat(text, out);
        return;
    case 13:
        (void)hk_host_parse_cpu_stat(text, out);
        if (hk_host_parse_cgroup(text, &path) < 0) return;
        return;
    default:
        (void)hk_host_parse_pressure(text, "full", &value);
        return;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    static struct hk_host *host;
    if (host == NULL && hk_host_create(&(struct hk_host_options){ 0 }, &host) < 0) return 0;
    if (bytes == 0) return 0;
    char *copy = hk_mem_copy(data + 1, bytes - 1); /* mounts are unescaped in place */
    if (copy == NULL) return 0;
    struct hk_buf out;
    hk_buf_init(&out, 4 << 20);
    host->cpu_count = 0;
    host->net_count = 0;
    parse(host, data[0], (struct hk_str){ copy, bytes - 1 }, &out);
    hk_buf_deinit(&out);
    hk_mem_free(copy);
    return 0;
}
