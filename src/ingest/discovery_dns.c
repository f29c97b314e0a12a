/*
 * dns_sd: A and AAAA through getaddrinfo(3), SRV (RFC 2782), MX and NS (RFC 1035) through the stub
 * resolver. Answers are read with bounds of their own: a name server is a stranger. A name that
 * fails keeps what was found before for all names of the provider.
 */
#include "base/mem.h"
#include "ingest/discovery_internal.h"

#include <arpa/nameser.h>
#include <netdb.h>
#include <resolv.h>
#include <stdio.h>

enum { ANSWER_BYTES_MAX = 65536, HEADER_BYTES = 12, RECORDS_MAX = 4096, POINTERS_MAX = 128 };

static hk_err
add(struct hk_discovery_finding *finding, struct hk_discovery_draft *draft, struct hk_str name,
    const struct hk_label *labels, size_t label_count, struct hk_str address) {
    HK_TRY(hk_discovery_add_target(finding, draft, address));
    HK_TRY(hk_discovery_add_label(finding, draft, HK_STR("__meta_dns_name"), name));
    for (size_t i = 0; i < label_count; i++)
        HK_TRY(hk_discovery_add_label(finding, draft, labels[i].name, labels[i].value));
    return hk_discovery_end_group(finding, draft);
}

/* "host:port", an IPv6 address in brackets. */
static hk_err add_host(
    struct hk_discovery_finding *finding, struct hk_discovery_draft *draft, struct hk_str name,
    const struct hk_label *labels, size_t label_count, const char *host, uint32_t port) {
    char text[NS_MAXDNAME + 16];
    bool v6 = strchr(host, ':') != NULL;
    int len = snprintf(text, sizeof(text), v6 ? "[%s]:%u" : "%s:%u", host, port);
    if (len < 0 || (size_t)len >= sizeof(text)) return hk_fail(HK_E_LIMIT, "host name too long");
    return add(finding, draft, name, labels, label_count, (struct hk_str){ text, (size_t)len });
}

static hk_err find_addresses(
    const struct hk_scrape_dns_sd *config, struct hk_str name, const char *host,
    struct hk_discovery_finding *finding, struct hk_discovery_draft *draft) {
    struct addrinfo hints = { .ai_family = config->type == HK_SCRAPE_DNS_A ? AF_INET : AF_INET6,
                              .ai_socktype = SOCK_STREAM };
    struct addrinfo *found = NULL;
    int failure = getaddrinfo(host, NULL, &hints, &found);
    if (failure == EAI_NONAME || failure == EAI_NODATA) return HK_OK; /* no targets */
    if (failure != 0) return hk_fail(HK_E_IO, "dns_sd %s: %s", host, gai_strerror(failure));
    hk_err err = HK_OK;
    for (const struct addrinfo *at = found; at != NULL && err >= 0; at = at->ai_next) {
        char text[NI_MAXHOST];
        if (getnameinfo(at->ai_addr, at->ai_addrlen, text, sizeof(text), NULL, 0, NI_NUMERICHOST) ==
            0)
            err = add_host(finding, draft, name, NULL, 0, text, config->port);
    }
    freeaddrinfo(found);
    return err;
}

/* --- messages, RFC 1035 §4 -------------------------------------------------------------------- */

struct message {
    const unsigned char *bytes;
    size_t len, at;
};

static bool get16(struct message *message, uint16_t *out) {
    if (message->len - message->at < 2) return false;
    const unsigned char *at = message->bytes + message->at;
    *out = (uint16_t)(at[0] << 8 | at[1]);
    message->at += 2;
    return true;
}

static bool skip(struct message *message, size_t bytes) {
    if (message->len - message->at < bytes) return false;
    message->at += bytes;
    return true;
}

/*
 * A name with its final dot into `out` (NS_MAXDNAME bytes), compression resolved (RFC 1035 §4.1.4).
 * Bytes that do not belong in a host name become '_'.
 */
static bool get_name(struct message *message, char *out) {
    size_t at = message->at;
    size_t len = 0;
    bool jumped = false;
    for (unsigned pointers = 0; at < message->len;) {
        unsigned size = message->bytes[at++];
        if (size >= 0xc0) {
            if (at == message->len || ++pointers > POINTERS_MAX) return false;
            size_t to = (size_t)(size & 0x3f) << 8 | message->bytes[at++];
            if (!jumped) message->at = at;
            jumped = true;
            at = to;
            continue;
        }
        if (size == 0) {
            if (!jumped) message->at = at;
            if (len == 0) out[len++] = '.';
            out[len] = 0;
            return true;
        }
        if (size > 63 || message->len - at < size || len + size + 2 > NS_MAXDNAME) return false;
        for (unsigned i = 0; i < size; i++) {
            unsigned char c = message->bytes[at + i];
            bool fine = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                        (c >= '0' && c <= '9') || c == '-' || c == '_';
            out[len++] = fine ? (char)c : '_';
        }
        out[len++] = '.';
        at += size;
    }
    return false;
}

/* Without the final dot, in place. */
static void trim_dot(char *name) {
    size_t len = strlen(name);
    if (len > 1 && name[len - 1] == '.') name[len - 1] = 0;
}

/* One record of the wanted type, `data` limited to it. HK_E_MALFORMED when it lies. */
static hk_err take_record(
    const struct hk_scrape_dns_sd *config, struct hk_str name, struct message *data,
    struct hk_discovery_finding *finding, struct hk_discovery_draft *draft) {
    char host[NS_MAXDNAME];
    char port_text[8];
    uint16_t port = (uint16_t)config->port;
    bool srv = config->type == HK_SCRAPE_DNS_SRV;
    bool mx = config->type == HK_SCRAPE_DNS_MX;
    /* SRV: priority, weight, port, target. MX: preference, host. NS: host. */
    bool ok = !srv || (skip(data, 4) && get16(data, &port));
    ok = ok && (!mx || skip(data, 2)) && get_name(data, host);
    if (!ok) return hk_fail(HK_E_MALFORMED, "broken record");
    char rooted[NS_MAXDNAME];
    memcpy(rooted, host, strlen(host) + 1);
    trim_dot(host);
    (void)snprintf(port_text, sizeof(port_text), "%u", (unsigned)port);
    struct hk_str label_name = srv  ? HK_STR("__meta_dns_srv_record_target")
                               : mx ? HK_STR("__meta_dns_mx_record_target")
                                    : HK_STR("__meta_dns_ns_record_target");
    const struct hk_label labels[] = {
        { label_name, hk_str_from(rooted) },
        { HK_STR("__meta_dns_srv_record_port"), hk_str_from(port_text) },
    };
    return add_host(finding, draft, name, labels, srv ? 2 : 1, host, port);
}

static uint16_t type_number(int32_t type) {
    switch (type) {
    case HK_SCRAPE_DNS_SRV:
        return 33;
    case HK_SCRAPE_DNS_MX:
        return 15;
    default:
        return 2; /* NS */
    }
}

/* Resource record: name, type, class, TTL, length, data (RFC 1035 §4.1.3). */
static hk_err read_record(
    const struct hk_scrape_dns_sd *config, struct hk_str name, struct message *message,
    struct hk_discovery_finding *finding, struct hk_discovery_draft *draft) {
    char owner[NS_MAXDNAME];
    uint16_t type = 0;
    uint16_t bytes = 0;
    bool ok = get_name(message, owner) && get16(message, &type) && skip(message, 6) &&
              get16(message, &bytes);
    if (!ok || message->len - message->at < bytes) return hk_fail(HK_E_MALFORMED, "cut short");
    size_t end = message->at + bytes;
    hk_err err = HK_OK;
    if (type == type_number(config->type)) {
        struct message data = { message->bytes, end, message->at };
        err = take_record(config, name, &data, finding, draft);
    }
    message->at = end;
    return err;
}

hk_err hk_discovery_parse_dns(
    const struct hk_scrape_dns_sd *config, struct hk_str name, const void *answer, size_t bytes,
    struct hk_discovery_finding *finding, struct hk_discovery_draft *draft) {
    struct message message = { answer, bytes, 4 };
    char question[NS_MAXDNAME];
    uint16_t questions = 0;
    uint16_t answers = 0;
    if (bytes < HEADER_BYTES || !get16(&message, &questions) || !get16(&message, &answers)) {
        return hk_fail(HK_E_MALFORMED, "cut short");
    }
    message.at = HEADER_BYTES;
    if (answers > RECORDS_MAX) return hk_fail(HK_E_LIMIT, "more than %d records", RECORDS_MAX);
    for (uint16_t i = 0; i < questions; i++) {
        if (!get_name(&message, question) || !skip(&message, 4)) {
            return hk_fail(HK_E_MALFORMED, "broken question");
        }
    }
    for (uint16_t i = 0; i < answers; i++)
        HK_TRY(read_record(config, name, &message, finding, draft));
    return HK_OK;
}

static hk_err find_records(
    const struct hk_scrape_dns_sd *config, struct hk_str name, const char *host,
    struct hk_discovery_finding *finding, struct hk_discovery_draft *draft) {
    struct __res_state state;
    memset(&state, 0, sizeof(state));
    unsigned char *answer = hk_mem_alloc(ANSWER_BYTES_MAX, 1);
    if (answer == NULL) return HK_E_NOMEM;
    hk_err err = HK_OK;
    if (res_ninit(&state) != 0) {
        err = hk_fail(HK_E_IO, "dns_sd %s: resolv.conf cannot be read", host);
    } else {
        int bytes =
            res_nquery(&state, host, ns_c_in, type_number(config->type), answer, ANSWER_BYTES_MAX);
        int failure = state.res_h_errno;
        res_nclose(&state);
        if (bytes > ANSWER_BYTES_MAX) bytes = ANSWER_BYTES_MAX;
        if (bytes >= 0)
            err = hk_discovery_parse_dns(config, name, answer, (size_t)bytes, finding, draft);
        else if (failure != HOST_NOT_FOUND && failure != NO_DATA)
            err = hk_fail(HK_E_IO, "%s", hstrerror(failure));
        if (err < 0) err = hk_fail_note(err, "dns_sd %s", host);
    }
    hk_mem_free(answer);
    return err;
}

static hk_err find_name(
    const struct hk_scrape_dns_sd *config, struct hk_str name, struct hk_discovery_finding *finding,
    struct hk_discovery_draft *draft) {
    char host[NS_MAXDNAME];
    if (name.len == 0 || name.len >= sizeof(host)) {
        return hk_fail(HK_E_INVALID, "dns_sd: a name is empty or too long");
    }
    memcpy(host, name.ptr, name.len);
    host[name.len] = 0;
    bool addresses = config->type == HK_SCRAPE_DNS_A || config->type == HK_SCRAPE_DNS_AAAA;
    return addresses ? find_addresses(config, name, host, finding, draft)
                     : find_records(config, name, host, finding, draft);
}

hk_err hk_discovery_refresh_dns(
    struct hk_discovery_provider *provider, struct hk_discovery_finding **out) {
    const struct hk_scrape_dns_sd *config = &provider->config.dns;
    struct hk_discovery_finding *finding = hk_discovery_finding_create();
    if (finding == NULL) return HK_E_NOMEM;
    struct hk_discovery_draft draft;
    hk_discovery_draft_init(&draft);
    hk_err err = HK_OK;
    for (uint32_t i = 0; i < config->names.count && err >= 0; i++)
        err = find_name(config, config->names.items[i], finding, &draft);
    hk_discovery_draft_deinit(&draft);
    if (err < 0) {
        hk_discovery_finding_unref(finding);
        return err;
    }
    *out = finding;
    return HK_OK;
}
