/* Collectors: uname, time, filefd, entropy. */
#include "ingest/host_internal.h"
#include "os/clock.h"
#include "os/host.h"

static void put_label_pair(struct hk_buf *out, const char *name, const char *value) {
    hk_buf_text(out, name);
    HK_PUT(out, "=\"");
    hk_put_label(out, hk_str_from(value));
    hk_buf_char(out, '"');
}

hk_err hk_collect_uname(struct hk_host *host, struct hk_buf *out) {
    (void)host;
    struct hk_uname name;
    if (hk_uname(&name) < 0) return HK_E_IO;
    const char *const pairs[][2] = {
        { "domainname", name.domain }, { ",machine", name.machine }, { ",nodename", name.node },
        { ",release", name.release },  { ",sysname", name.system },  { ",version", name.version },
    };
    HK_FAMILY(
        out, "node_uname_info", "gauge",
        "Labeled system information as provided by the uname system call.");
    HK_PUT(out, "node_uname_info{");
    for (size_t i = 0; i < HK_COUNT(pairs); i++)
        put_label_pair(out, pairs[i][0], pairs[i][1]);
    HK_PUT(out, "} 1\n");
    return HK_OK;
}

static void
put_clocksource(struct hk_buf *out, struct hk_str head, struct hk_str sample, struct hk_str names) {
    struct hk_str name;
    bool headed = false;
    names = hk_str_trim(names);
    while (hk_next_word(&names, &name)) {
        if (!headed) hk_buf_str(out, head);
        headed = true;
        hk_buf_str(out, sample);
        hk_put_label(out, name);
        HK_PUT(out, "\",device=\"0\"} 1\n");
    }
}

hk_err hk_collect_time(struct hk_host *host, struct hk_buf *out) {
    char zone[64];
    int64_t offset_s = hk_time_zone(zone, sizeof(zone));
    int64_t now_ns = hk_clock_realtime_ns();
    HK_FAMILY(out, "node_time_seconds", "gauge", "System time in seconds since epoch (1970).");
    HK_PUT(out, "node_time_seconds ");
    hk_put_fixed(out, now_ns < 0 ? 0 : (uint64_t)now_ns, 9);
    HK_PUT(out, "\n");
    HK_FAMILY(out, "node_time_zone_offset_seconds", "gauge", "System time zone offset in seconds.");
    HK_PUT(out, "node_time_zone_offset_seconds{");
    put_label_pair(out, "time_zone", zone);
    HK_PUT(out, "} ");
    hk_put_i64(out, offset_s);
    HK_PUT(out, "\n");
    struct hk_str names;
    if (hk_host_read(host, HK_HOST_FILE_CLOCKSOURCES, &names) == HK_OK) {
        put_clocksource(
            out,
            HK_STR("# HELP node_time_clocksource_available_info Available clocksources read from "
                   "'/sys/devices/system/clocksource'.\n"
                   "# TYPE node_time_clocksource_available_info gauge\n"),
            HK_STR("node_time_clocksource_available_info{clocksource=\""), names);
    }
    if (hk_host_read(host, HK_HOST_FILE_CLOCKSOURCE, &names) == HK_OK) {
        put_clocksource(
            out,
            HK_STR("# HELP node_time_clocksource_current_info Current clocksource read from "
                   "'/sys/devices/system/clocksource'.\n"
                   "# TYPE node_time_clocksource_current_info gauge\n"),
            HK_STR("node_time_clocksource_current_info{clocksource=\""), names);
    }
    return HK_OK;
}

hk_err hk_collect_filefd(struct hk_host *host, struct hk_buf *out) {
    struct hk_str text;
    uint64_t allocated = 0;
    uint64_t unused = 0;
    uint64_t maximum = 0;
    HK_TRY(hk_host_read(host, HK_HOST_FILE_FILE_NR, &text));
    text = hk_str_trim(text);
    if (!hk_next_u64(&text, &allocated) || !hk_next_u64(&text, &unused) ||
        !hk_next_u64(&text, &maximum)) {
        return hk_fail(HK_E_MALFORMED, "sys/fs/file-nr: not three numbers");
    }
    HK_SINGLE(
        out, "node_filefd_allocated", "gauge", "File descriptor statistics: allocated.", allocated);
    HK_SINGLE(out, "node_filefd_maximum", "gauge", "File descriptor statistics: maximum.", maximum);
    return HK_OK;
}

hk_err hk_collect_entropy(struct hk_host *host, struct hk_buf *out) {
    struct hk_str text;
    uint64_t value = 0;
    HK_TRY(hk_host_read(host, HK_HOST_FILE_ENTROPY_AVAILABLE, &text));
    text = hk_str_trim(text);
    if (!hk_next_u64(&text, &value)) return hk_fail(HK_E_MALFORMED, "entropy_avail: no number");
    HK_SINGLE(out, "node_entropy_available_bits", "gauge", "Bits of available entropy.", value);
    HK_TRY(hk_host_read(host, HK_HOST_FILE_ENTROPY_POOL, &text));
    text = hk_str_trim(text);
    if (!hk_next_u64(&text, &value)) return hk_fail(HK_E_MALFORMED, "poolsize: no number");
    HK_SINGLE(out, "node_entropy_pool_size_bits", "gauge", "Bits of entropy pool.", value);
    return HK_OK;
}
