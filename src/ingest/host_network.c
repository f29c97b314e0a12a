/* Collectors: netdev, netclass, netstat, sockstat. Sources: proc(5), sysfs-class-net. */
#include "ingest/host_internal.h"

#include <stdio.h>

enum { DEVICES_READ_PER_ROUND = 8 };

#define RECEIVE(field)                                                                             \
    HK_DEVICE_FAMILY(                                                                              \
        "node_network_receive_" field "_total", "counter",                                         \
        "Network device statistic receive_" field ".")
#define TRANSMIT(field)                                                                            \
    HK_DEVICE_FAMILY(                                                                              \
        "node_network_transmit_" field "_total", "counter",                                        \
        "Network device statistic transmit_" field ".")

/* Columns of /proc/net/dev. */
static const struct hk_host_family traffic[HK_HOST_NET_FIELDS] = {
    RECEIVE("bytes"),  RECEIVE("packets"),  RECEIVE("errs"),       RECEIVE("drop"),
    RECEIVE("fifo"),   RECEIVE("frame"),    RECEIVE("compressed"), RECEIVE("multicast"),
    TRANSMIT("bytes"), TRANSMIT("packets"), TRANSMIT("errs"),      TRANSMIT("drop"),
    TRANSMIT("fifo"),  TRANSMIT("colls"),   TRANSMIT("carrier"),   TRANSMIT("compressed"),
};

static struct hk_host_net *find_net(struct hk_host *host, struct hk_str name) {
    for (uint32_t i = 0; i < host->net_count; i++) {
        if (hk_str_is(name, host->nets[i].name)) return &host->nets[i];
    }
    return NULL;
}

/* Forgets devices that the last listing did not name. */
static void drop_unlisted(struct hk_host *host) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < host->net_count; i++) {
        if (!host->nets[i].listed) continue;
        if (count != i) host->nets[count] = host->nets[i];
        count++;
    }
    host->net_count = count;
}

/* "  eth0: 1 2 3 …" (the first number may touch the colon). */
static hk_err parse_net_line(struct hk_host *host, struct hk_str line) {
    size_t colon = line.len; /* the last one: names of aliases contain colons */
    while (colon > 0 && line.ptr[colon - 1] != ':')
        colon--;
    if (colon == 0) return HK_OK;
    struct hk_str name = hk_str_trim(hk_str_part(line, 0, colon - 1));
    struct hk_str rest = hk_str_part(line, colon, line.len);
    uint64_t fields[HK_HOST_NET_FIELDS] = { 0 };
    if (name.len == 0 || name.len >= sizeof(host->nets[0].name)) return HK_OK;
    if (!hk_next_u64(&rest, &fields[0])) return HK_OK;
    for (size_t i = 1; i < HK_HOST_NET_FIELDS; i++) {
        if (!hk_next_u64(&rest, &fields[i])) break;
    }
    struct hk_host_net *net = find_net(host, name);
    if (net == NULL) {
        if (host->net_count == HK_HOST_NETS_MAX) return HK_E_LIMIT;
        net = &host->nets[host->net_count++];
        *net = (struct hk_host_net){ .attributes_known = false };
        (void)hk_copy_name(net->name, sizeof(net->name), name);
    }
    memcpy(net->fields, fields, sizeof(fields));
    net->listed = true;
    return HK_OK;
}

hk_err hk_host_parse_net_dev(struct hk_host *host, struct hk_str text) {
    hk_err err = HK_OK;
    struct hk_str line;
    for (uint32_t i = 0; i < host->net_count; i++)
        host->nets[i].listed = false;
    while (hk_next_line(&text, &line)) {
        hk_err line_err = parse_net_line(host, line);
        if (line_err < 0) err = line_err;
    }
    drop_unlisted(host);
    if (err < 0) return hk_fail(err, "more than %d network devices", HK_HOST_NETS_MAX);
    return HK_OK;
}

hk_err hk_collect_netdev(struct hk_host *host, struct hk_buf *out) {
    struct hk_str text;
    hk_err err = hk_host_read(host, HK_HOST_FILE_NET_DEV, &text);
    if (err < 0) host->net_count = 0;
    HK_TRY(err);
    err = hk_host_parse_net_dev(host, text);
    for (size_t i = 0; i < HK_HOST_NET_FIELDS && host->net_count > 0; i++) {
        hk_buf_str(out, traffic[i].head);
        for (uint32_t k = 0; k < host->net_count; k++) {
            hk_put_device(out, &traffic[i], host->nets[k].name);
            hk_put_u64(out, host->nets[k].fields[i]);
            hk_buf_char(out, '\n');
        }
    }
    return err;
}

#define PROPERTY_AS(name, type)                                                                    \
    HK_DEVICE_FAMILY("node_network_" name, type, "Network device property: " name)

/* Where flags stand in net_numbers. */
enum { NUMBER_FLAGS = 7, NUMBER_SPEED = 15 };

/* Numeric attributes; the kernel writes some in hexadecimal with "0x". */
static const struct {
    const char *file;
    struct hk_host_family family;
} net_numbers[HK_HOST_NET_NUMBERS] = {
    { "addr_assign_type", PROPERTY_AS("address_assign_type", "gauge") },
    { "carrier", PROPERTY_AS("carrier", "gauge") },
    { "carrier_changes", PROPERTY_AS("carrier_changes_total", "counter") },
    { "carrier_up_count", PROPERTY_AS("carrier_up_changes_total", "counter") },
    { "carrier_down_count", PROPERTY_AS("carrier_down_changes_total", "counter") },
    { "dev_id", PROPERTY_AS("device_id", "gauge") },
    { "dormant", PROPERTY_AS("dormant", "gauge") },
    { "flags", PROPERTY_AS("flags", "gauge") },
    { "ifindex", PROPERTY_AS("iface_id", "gauge") },
    { "iflink", PROPERTY_AS("iface_link", "gauge") },
    { "link_mode", PROPERTY_AS("iface_link_mode", "gauge") },
    { "mtu", PROPERTY_AS("mtu_bytes", "gauge") },
    { "name_assign_type", PROPERTY_AS("name_assign_type", "gauge") },
    { "netdev_group", PROPERTY_AS("net_dev_group", "gauge") },
    { "type", PROPERTY_AS("protocol_type", "gauge") },
    { "speed", PROPERTY_AS("speed_bytes", "gauge") }, /* Mbit/s, becomes bytes/s */
    { "tx_queue_len", PROPERTY_AS("transmit_queue_length", "gauge") },
    { "statistics/rx_nohandler", RECEIVE("nohandler") },
};

enum { TEXT_ADDRESS, TEXT_BROADCAST, TEXT_DUPLEX, TEXT_ALIAS, TEXT_STATE };

static const char *const net_texts[HK_HOST_NET_TEXTS] = { "address", "broadcast", "duplex",
                                                          "ifalias", "operstate" };

/* Decimal with sign, or "0x…". */
static bool parse_attribute(struct hk_str text, int64_t *out) {
    text = hk_str_trim(text);
    if (!hk_str_starts(text, HK_STR("0x"))) return hk_parse_i64(text, out) == HK_OK;
    int64_t value = 0;
    if (text.len < 3 || text.len > 2 + 15) return false;
    for (size_t i = 2; i < text.len; i++) {
        char c = text.ptr[i];
        int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
        if (digit < 0) return false;
        value = value * 16 + digit;
    }
    *out = value;
    return true;
}

static void read_attributes(const struct hk_host *host, struct hk_host_net *net) {
    char path[HK_HOST_PATH_BYTES_MAX];
    char text[256];
    struct hk_str value;
    net->numbers_set = 0;
    for (uint32_t i = 0; i < HK_HOST_NET_NUMBERS; i++) {
        (void)snprintf(
            path, sizeof(path), "%s/class/net/%s/%s", host->sys_root, net->name,
            net_numbers[i].file);
        if (hk_host_read_path(path, text, sizeof(text), &value) < 0) continue;
        if (!parse_attribute(value, &net->numbers[i])) continue;
        if (i == NUMBER_SPEED &&
            __builtin_mul_overflow(net->numbers[i], (int64_t)125000, &net->numbers[i])) {
            continue;
        }
        net->numbers_set |= 1U << i;
    }
    for (uint32_t i = 0; i < HK_HOST_NET_TEXTS; i++) {
        (void)snprintf(
            path, sizeof(path), "%s/class/net/%s/%s", host->sys_root, net->name, net_texts[i]);
        if (hk_host_read_path(path, text, sizeof(text), &value) < 0) value = HK_STR("");
        (void)hk_copy_name(net->texts[i], sizeof(net->texts[i]), value);
    }
    net->attributes_known = true;
}

static void put_net_info(struct hk_buf *out, const struct hk_host_net *net) {
    bool up = (net->numbers_set & 1U << NUMBER_FLAGS) != 0 && (net->numbers[NUMBER_FLAGS] & 1) != 0;
    HK_PUT(out, "node_network_info{address=\"");
    hk_put_label(out, hk_str_from(net->texts[TEXT_ADDRESS]));
    HK_PUT(out, "\",adminstate=\"");
    hk_buf_text(out, up ? "up" : "down");
    HK_PUT(out, "\",broadcast=\"");
    hk_put_label(out, hk_str_from(net->texts[TEXT_BROADCAST]));
    HK_PUT(out, "\",device=\"");
    hk_put_label(out, hk_str_from(net->name));
    HK_PUT(out, "\",duplex=\"");
    hk_put_label(out, hk_str_from(net->texts[TEXT_DUPLEX]));
    HK_PUT(out, "\",ifalias=\"");
    hk_put_label(out, hk_str_from(net->texts[TEXT_ALIAS]));
    HK_PUT(out, "\",operstate=\"");
    hk_put_label(out, hk_str_from(net->texts[TEXT_STATE]));
    HK_PUT(out, "\"} 1\n");
}

static void put_net_numbers(const struct hk_host *host, struct hk_buf *out) {
    for (uint32_t i = 0; i < HK_HOST_NET_NUMBERS; i++) {
        bool headed = false;
        for (uint32_t k = 0; k < host->net_count; k++) {
            const struct hk_host_net *net = &host->nets[k];
            if ((net->numbers_set & 1U << i) == 0) continue;
            if (!headed) hk_buf_str(out, net_numbers[i].family.head);
            headed = true;
            hk_put_device(out, &net_numbers[i].family, net->name);
            hk_put_i64(out, net->numbers[i]);
            hk_buf_char(out, '\n');
        }
    }
}

/* Attributes cost an open and a read each, and hardly change: at most eight known devices are read
 * again per round, in turn; new ones at once. */
static void refresh_attributes(struct hk_host *host) {
    for (uint32_t k = 0; k < host->net_count; k++) {
        if (!host->nets[k].attributes_known) read_attributes(host, &host->nets[k]);
    }
    uint32_t count = host->net_count;
    for (uint32_t k = 0; k < count && k < DEVICES_READ_PER_ROUND; k++) {
        host->net_cursor = host->net_cursor + 1 >= count ? 0 : host->net_cursor + 1;
        read_attributes(host, &host->nets[host->net_cursor]);
    }
}

hk_err hk_collect_netclass(struct hk_host *host, struct hk_buf *out) {
    static const struct hk_host_family up = HK_DEVICE_FAMILY(
        "node_network_up", "gauge", "Value is 1 if operstate is 'up', 0 otherwise.");
    refresh_attributes(host);
    uint32_t known = 0;
    for (uint32_t k = 0; k < host->net_count; k++)
        known += host->nets[k].numbers_set != 0;
    if (known == 0) return hk_fail(HK_E_NOT_FOUND, "%s/class/net: no device", host->sys_root);
    HK_FAMILY(
        out, "node_network_info", "gauge",
        "Non-numeric data from /sys/class/net/<iface>, value is always 1.");
    for (uint32_t k = 0; k < host->net_count; k++) {
        if (host->nets[k].numbers_set != 0) put_net_info(out, &host->nets[k]);
    }
    hk_buf_str(out, up.head);
    for (uint32_t k = 0; k < host->net_count; k++) {
        const struct hk_host_net *net = &host->nets[k];
        if (net->numbers_set == 0) continue;
        hk_put_device(out, &up, net->name);
        hk_buf_text(out, strcmp(net->texts[TEXT_STATE], "up") == 0 ? "1\n" : "0\n");
    }
    put_net_numbers(host, out);
    return HK_OK;
}
