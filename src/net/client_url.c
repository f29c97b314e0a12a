/* Addresses of webhooks (RFC 3986, the part of it that http and https use). */
#include "net/client_url.h"

#include "base/mem.h"

enum { HOST_BYTES_MAX = 256, URL_BYTES_MAX = 8192 };

static bool is_url_byte(char c) {
    return (unsigned char)c > 0x20 && (unsigned char)c != 0x7f;
}

static hk_err bad_url(const char *what) {
    return hk_fail(
        HK_E_INVALID, "webhook url: %s; write http://host:port/path or https://host/path", what);
}

static char *copy_of(struct hk_str str) {
    return hk_mem_copy(str.ptr, str.len);
}

/* "host", "host:port", "[v6]:port"; `*port` has the scheme's default. */
static hk_err split_authority(struct hk_str authority, struct hk_str *host, uint16_t *port) {
    size_t colon;
    if (authority.len > 0 && authority.ptr[0] == '[') {
        size_t close = hk_str_find(authority, ']', 0);
        *host = hk_str_part(authority, 1, close);
        if (close >= authority.len) return bad_url("the IPv6 address has no ]");
        colon = close + 1;
        if (colon < authority.len && authority.ptr[colon] != ':')
            return bad_url("something follows the ] of the address");
    } else {
        colon = hk_str_find(authority, ':', 0);
        *host = hk_str_part(authority, 0, colon);
    }
    if (host->len == 0 || host->len >= HOST_BYTES_MAX) return bad_url("it has no host name");
    if (colon >= authority.len) return HK_OK;
    uint64_t number = 0;
    struct hk_str text = hk_str_part(authority, colon + 1, authority.len);
    if (hk_parse_u64(text, &number) < 0 || number == 0 || number > 65535)
        return bad_url("the port is not a number from 1 to 65535");
    *port = (uint16_t)number;
    return HK_OK;
}

/* Path and query as they are sent: always with a slash in front. */
static char *copy_target(struct hk_str target) {
    char *copy = hk_mem_alloc(target.len + 2, 1);
    if (copy == NULL) return NULL;
    size_t at = 0;
    if (target.len == 0 || target.ptr[0] != '/') copy[at++] = '/';
    if (target.len > 0) memcpy(copy + at, target.ptr, target.len);
    return copy;
}

hk_err hk_url_parse(struct hk_str url, struct hk_url *out) {
    struct hk_url parsed = { 0 };
    for (size_t i = 0; i < url.len; i++) {
        if (!is_url_byte(url.ptr[i])) return bad_url("it holds a space or a control character");
    }
    if (url.len > URL_BYTES_MAX) return bad_url("it is too long");
    parsed.https = hk_str_starts(url, HK_STR("https://"));
    if (!parsed.https && !hk_str_starts(url, HK_STR("http://")))
        return bad_url("it does not begin with http:// or https://");
    size_t from = parsed.https ? 8 : 7;
    url = hk_str_part(url, 0, hk_str_find(url, '#', 0));
    size_t end = from;
    while (end < url.len && url.ptr[end] != '/' && url.ptr[end] != '?')
        end++;
    struct hk_str authority = hk_str_part(url, from, end);
    if (hk_str_find(authority, '@', 0) < authority.len)
        return bad_url("credentials do not belong into it, use the authorization setting");
    struct hk_str host = { 0 };
    parsed.port = parsed.https ? 443 : 80;
    HK_TRY(split_authority(authority, &host, &parsed.port));
    parsed.host = copy_of(host);
    parsed.authority = copy_of(authority);
    parsed.target = copy_target(hk_str_part(url, end, url.len));
    if (parsed.host == NULL || parsed.authority == NULL || parsed.target == NULL) {
        hk_url_deinit(&parsed);
        return hk_fail(HK_E_NOMEM, "webhook: out of memory");
    }
    *out = parsed;
    return HK_OK;
}

void hk_url_deinit(struct hk_url *url) {
    hk_mem_free(url->host);
    hk_mem_free(url->authority);
    hk_mem_free(url->target);
    *url = (struct hk_url){ 0 };
}
