/* Collectors: netstat, sockstat. Source: proc(5), RFC 1213 and successors for the names. */
#include "ingest/host_internal.h"

/* node_exporter's default set; a '*' at the end stands for any rest. */
static const struct {
    const char *protocol;
    const char *fields[8];
} wanted[] = {
    { "Ip", { "Forwarding" } },
    { "Ip6", { "InOctets", "OutOctets" } },
    { "IpExt", { "InOctets", "OutOctets" } },
    { "Icmp", { "InMsgs", "OutMsgs" } },
    { "Icmp6", { "InMsgs", "OutMsgs" } },
    { "TcpExt",
      { "Listen*", "Syncookies*", "TCPSynRetrans", "TCPTimeouts", "TCPOFOQueue", "TCPRcvQDrop" } },
    { "Tcp",
      { "ActiveOpens", "InSegs", "OutSegs", "OutRsts", "PassiveOpens", "RetransSegs",
        "CurrEstab" } },
    { "Udp", { "InDatagrams", "OutDatagrams", "NoPorts", "RcvbufErrors", "SndbufErrors" } },
    { "Udp6", { "InDatagrams", "OutDatagrams", "NoPorts", "RcvbufErrors", "SndbufErrors" } },
};

static bool field_matches(struct hk_str field, const char *pattern) {
    size_t len = strlen(pattern);
    if (len > 0 && pattern[len - 1] == '*')
        return hk_str_starts(field, (struct hk_str){ pattern, len - 1 });
    return hk_str_is(field, pattern);
}

static bool netstat_wanted(struct hk_str protocol, struct hk_str field) {
    if (hk_str_is(field, "InErrors") || hk_str_is(field, "InErrs")) return true;
    for (size_t i = 0; i < HK_COUNT(wanted); i++) {
        if (!hk_str_is(protocol, wanted[i].protocol)) continue;
        for (size_t k = 0; k < HK_COUNT(wanted[i].fields) && wanted[i].fields[k] != NULL; k++) {
            if (field_matches(field, wanted[i].fields[k])) return true;
        }
    }
    return false;
}

static void
put_netstat(struct hk_buf *out, struct hk_str protocol, struct hk_str field, struct hk_str value) {
    HK_PUT(out, "# HELP node_netstat_");
    hk_buf_str(out, protocol);
    hk_buf_char(out, '_');
    hk_buf_str(out, field);
    HK_PUT(out, " Statistic ");
    hk_buf_str(out, protocol);
    hk_buf_str(out, field);
    HK_PUT(out, ".\n# TYPE node_netstat_");
    hk_buf_str(out, protocol);
    hk_buf_char(out, '_');
    hk_buf_str(out, field);
    HK_PUT(out, " untyped\nnode_netstat_");
    hk_buf_str(out, protocol);
    hk_buf_char(out, '_');
    hk_buf_str(out, field);
    hk_buf_char(out, ' ');
    hk_buf_str(out, value);
    hk_buf_char(out, '\n');
}

static bool is_integer(struct hk_str text) {
    int64_t number = 0;
    uint64_t unsigned_number = 0;
    return hk_parse_i64(text, &number) == HK_OK || hk_parse_u64(text, &unsigned_number) == HK_OK;
}

/* Pairs of lines: "Tcp: InSegs OutSegs", "Tcp: 12 34". */
hk_err hk_host_parse_netstat(struct hk_str text, struct hk_buf *out) {
    struct hk_str names;
    struct hk_str values;
    while (hk_next_line(&text, &names) && hk_next_line(&text, &values)) {
        struct hk_str protocol;
        struct hk_str again;
        if (!hk_next_word(&names, &protocol) || !hk_next_word(&values, &again)) continue;
        if (!hk_str_eq(protocol, again) || protocol.len < 2) {
            return hk_fail(HK_E_MALFORMED, "net/snmp: lines that are no pair");
        }
        protocol = hk_str_part(protocol, 0, protocol.len - 1);
        if (!hk_name_is_classic(protocol, false)) continue;
        struct hk_str field;
        struct hk_str value;
        while (hk_next_word(&names, &field) && hk_next_word(&values, &value)) {
            if (!netstat_wanted(protocol, field) || !is_integer(value)) continue;
            put_netstat(out, protocol, field, value);
        }
    }
    return HK_OK;
}

/* "Icmp6InMsgs  12": the protocol's name ends with the 6. */
hk_err hk_host_parse_snmp6(struct hk_str text, struct hk_buf *out) {
    struct hk_str line;
    while (hk_next_line(&text, &line)) {
        struct hk_str key;
        struct hk_str value;
        if (!hk_next_word(&line, &key) || !hk_next_word(&line, &value)) continue;
        size_t six = hk_str_find(key, '6', 0);
        if (six + 1 >= key.len || !hk_name_is_classic(key, false) || !is_integer(value)) continue;
        struct hk_str protocol = hk_str_part(key, 0, six + 1);
        struct hk_str field = hk_str_part(key, six + 1, key.len);
        if (netstat_wanted(protocol, field)) put_netstat(out, protocol, field, value);
    }
    return HK_OK;
}

hk_err hk_collect_netstat(struct hk_host *host, struct hk_buf *out) {
    struct hk_str text;
    HK_TRY(hk_host_read(host, HK_HOST_FILE_NETSTAT, &text));
    HK_TRY(hk_host_parse_netstat(text, out));
    HK_TRY(hk_host_read(host, HK_HOST_FILE_SNMP, &text));
    HK_TRY(hk_host_parse_netstat(text, out));
    if (hk_host_read(host, HK_HOST_FILE_SNMP6, &text) < 0) return HK_OK; /* no IPv6 */
    return hk_host_parse_snmp6(text, out);
}

static void
put_sockstat(struct hk_buf *out, struct hk_str protocol, struct hk_str state, uint64_t value) {
    HK_PUT(out, "# HELP node_sockstat_");
    hk_buf_str(out, protocol);
    hk_buf_char(out, '_');
    hk_buf_str(out, state);
    HK_PUT(out, " Number of ");
    hk_buf_str(out, protocol);
    HK_PUT(out, " sockets in state ");
    hk_buf_str(out, state);
    HK_PUT(out, ".\n# TYPE node_sockstat_");
    hk_buf_str(out, protocol);
    hk_buf_char(out, '_');
    hk_buf_str(out, state);
    HK_PUT(out, " gauge\nnode_sockstat_");
    hk_buf_str(out, protocol);
    hk_buf_char(out, '_');
    hk_buf_str(out, state);
    hk_buf_char(out, ' ');
    hk_put_u64(out, value);
    hk_buf_char(out, '\n');
}

/* "TCP: inuse 1 orphan 0 mem 126": pairs of state and count; mem counts pages. */
hk_err
hk_host_parse_sockstat(struct hk_host *host, struct hk_str text, bool v6, struct hk_buf *out) {
    struct hk_str line;
    while (hk_next_line(&text, &line)) {
        struct hk_str protocol;
        struct hk_str state;
        uint64_t value = 0;
        if (!hk_next_word(&line, &protocol) || protocol.len < 2) continue;
        protocol = hk_str_part(protocol, 0, protocol.len - 1);
        if (!hk_name_is_classic(protocol, false)) continue;
        bool sum = hk_str_is(protocol, "sockets");
        while (hk_next_word(&line, &state) && hk_next_u64(&line, &value)) {
            if (!hk_name_is_classic(state, false)) continue;
            if (sum && !v6 && hk_str_is(state, "used")) {
                HK_SINGLE(
                    out, "node_sockstat_sockets_used", "gauge", "Number of IPv4 sockets in use.",
                    value);
            } else if (!sum) {
                put_sockstat(out, protocol, state, value);
                if (hk_str_is(state, "mem"))
                    put_sockstat(out, protocol, HK_STR("mem_bytes"), value * host->page_bytes);
            }
        }
    }
    return HK_OK;
}

hk_err hk_collect_sockstat(struct hk_host *host, struct hk_buf *out) {
    struct hk_str text;
    HK_TRY(hk_host_read(host, HK_HOST_FILE_SOCKSTAT, &text));
    HK_TRY(hk_host_parse_sockstat(host, text, false, out));
    if (hk_host_read(host, HK_HOST_FILE_SOCKSTAT6, &text) < 0) return HK_OK; /* no IPv6 */
    return hk_host_parse_sockstat(host, text, true, out);
}
