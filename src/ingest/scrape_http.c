/*
 * What scraping and http_sd share of HTTP: options of a libcurl handle from a configuration, and
 * the meaning of Content-Type (RFC 9110 §8.3; formats: Prometheus' exposition formats).
 */
#include "base/mem.h"
#include "ingest/scrape_internal.h"
#include "os/file.h"

#include <stdarg.h>
#include <stdio.h>

enum { SECRET_BYTES_MAX = 65536, REDIRECTS_MAX = 10 };

bool hk_scrape_http_header(struct curl_slist **headers, const char *format, ...) {
    char *line = NULL;
    va_list args;
    va_start(args, format);
    int len = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (len >= 0) line = hk_mem_alloc((size_t)len + 1, 1);
    if (line == NULL) return false;
    va_start(args, format);
    (void)vsnprintf(line, (size_t)len + 1, format, args);
    va_end(args);
    /* A value with a line break would smuggle a header. */
    struct curl_slist *longer =
        strpbrk(line, "\r\n") == NULL ? curl_slist_append(*headers, line) : NULL;
    hk_mem_free(line);
    if (longer == NULL) return false;
    *headers = longer;
    return true;
}

/* Path or secret as a C string; curl copies it. */
static hk_err set_text(CURL *easy, CURLoption option, struct hk_str text) {
    char *copy = hk_mem_copy(text.ptr, text.len);
    if (copy == NULL) return HK_E_NOMEM;
    CURLcode code = curl_easy_setopt(easy, option, copy);
    hk_mem_free(copy);
    return code == CURLE_OK ? HK_OK : hk_fail(HK_E_INVALID, "%s", curl_easy_strerror(code));
}

static hk_err set_optional(CURL *easy, CURLoption option, struct hk_str text) {
    return text.len == 0 ? HK_OK : set_text(easy, option, text);
}

static hk_err set_blob(CURL *easy, CURLoption option, struct hk_str text) {
    if (text.len == 0) return HK_OK;
    union {
        const char *borrowed;
        void *data;
    } at = { text.ptr };
    struct curl_blob blob = { .data = at.data, .len = text.len, .flags = CURL_BLOB_COPY };
    return curl_easy_setopt(easy, option, &blob) == CURLE_OK ? HK_OK : HK_E_NOMEM;
}

/* The content of a file without white space at its ends. */
static hk_err read_secret(struct hk_str path, char *to, struct hk_str *out) {
    char name[4097];
    if (path.len >= sizeof(name)) return hk_fail(HK_E_LIMIT, "path of a secret is too long");
    memcpy(name, path.ptr, path.len);
    name[path.len] = 0;
    int fd = hk_file_open(name, HK_FILE_READ);
    if (fd < 0) return hk_fail(HK_E_IO, "cannot open %s: %s", name, strerror(-fd));
    int64_t got = hk_file_read(fd, to, SECRET_BYTES_MAX, 0);
    hk_file_close(fd);
    if (got < 0) return hk_fail(HK_E_IO, "cannot read %s: %s", name, strerror((int)-got));
    if (got == SECRET_BYTES_MAX) return hk_fail(HK_E_LIMIT, "%s is too long for a secret", name);
    *out = hk_str_trim((struct hk_str){ to, (size_t)got });
    return HK_OK;
}

/* The value itself, or what stands in its file. */
static hk_err set_secret(CURL *easy, CURLoption option, struct hk_str value, struct hk_str file) {
    if (file.len == 0) return set_optional(easy, option, value);
    char *text = hk_mem_alloc(SECRET_BYTES_MAX, 1);
    if (text == NULL) return HK_E_NOMEM;
    struct hk_str secret = HK_STR("");
    hk_err err = read_secret(file, text, &secret);
    if (err >= 0) err = set_text(easy, option, secret);
    hk_mem_free(text);
    return err;
}

static hk_err set_authorization(const struct hk_scrape_http *http, struct curl_slist **headers) {
    if (http->credentials.len == 0 && http->credentials_file.len == 0) return HK_OK;
    struct hk_str type =
        http->authorization_type.len == 0 ? HK_STR("Bearer") : http->authorization_type;
    char *text = hk_mem_alloc(SECRET_BYTES_MAX, 1);
    if (text == NULL) return HK_E_NOMEM;
    struct hk_str secret = http->credentials;
    hk_err err = HK_OK;
    if (http->credentials_file.len > 0) err = read_secret(http->credentials_file, text, &secret);
    if (err >= 0 &&
        !hk_scrape_http_header(
            headers, "Authorization: %.*s %.*s", HK_STR_ARG(type), HK_STR_ARG(secret))) {
        err = hk_fail(HK_E_INVALID, "credentials contain a line break");
    }
    hk_mem_free(text);
    return err;
}

static long tls_version(int32_t version) {
    switch (version) {
    case 10:
        return CURL_SSLVERSION_TLSv1_0;
    case 11:
        return CURL_SSLVERSION_TLSv1_1;
    case 13:
        return CURL_SSLVERSION_TLSv1_3;
    default:
        return CURL_SSLVERSION_TLSv1_2;
    }
}

static long tls_version_max(int32_t version) {
    switch (version) {
    case 10:
        return CURL_SSLVERSION_MAX_TLSv1_0;
    case 11:
        return CURL_SSLVERSION_MAX_TLSv1_1;
    case 12:
        return CURL_SSLVERSION_MAX_TLSv1_2;
    case 13:
        return CURL_SSLVERSION_MAX_TLSv1_3;
    default:
        return CURL_SSLVERSION_MAX_DEFAULT;
    }
}

static hk_err set_tls(CURL *easy, const struct hk_scrape_tls *tls) {
    (void)curl_easy_setopt(
        easy, CURLOPT_SSLVERSION,
        tls_version(tls->version_min) | tls_version_max(tls->version_max));
    (void)curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, tls->insecure_skip_verify ? 0L : 1L);
    (void)curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, tls->insecure_skip_verify ? 0L : 2L);
    (void)curl_easy_setopt(easy, CURLOPT_CA_CACHE_TIMEOUT, 60L); /* rotated authorities */
    HK_TRY(set_optional(easy, CURLOPT_CAINFO, tls->ca_file));
    HK_TRY(set_blob(easy, CURLOPT_CAINFO_BLOB, tls->ca));
    HK_TRY(set_optional(easy, CURLOPT_SSLCERT, tls->cert_file));
    HK_TRY(set_blob(easy, CURLOPT_SSLCERT_BLOB, tls->cert));
    HK_TRY(set_optional(easy, CURLOPT_SSLKEY, tls->key_file));
    return set_blob(easy, CURLOPT_SSLKEY_BLOB, tls->key);
}

/* Host and port of a URL of ours: what stands between "://" and the path. */
static struct hk_str authority_of(struct hk_str url) {
    const char *from = memmem(url.ptr, url.len, "://", 3);
    size_t start = from == NULL ? 0 : (size_t)(from - url.ptr) + 3;
    size_t end = hk_str_find(url, '/', start);
    size_t query = hk_str_find(url, '?', start);
    return hk_str_part(url, start, query < end ? query : end);
}

/*
 * With server_name, the URL names that host (so that SNI and the check use it), the connection goes
 * to the real address, and Host says the address, as Prometheus' client does.
 */
static hk_err set_server_name(
    CURL *easy, const struct hk_scrape_http *http, struct hk_str url, struct curl_slist **headers,
    struct curl_slist **connect_to) {
    struct hk_str authority = authority_of(url);
    size_t bracket = hk_str_find(authority, ']', 0);
    size_t colon = hk_str_find(authority, ':', bracket == authority.len ? 0 : bracket);
    struct hk_str host = hk_str_part(authority, 0, colon);
    struct hk_str port =
        colon < authority.len ? hk_str_part(authority, colon + 1, authority.len) : HK_STR("443");
    struct hk_str name = http->tls.server_name;
    struct hk_buf text;
    hk_buf_init(&text, 1 << 20);
    hk_buf_printf(&text, "https://%.*s:%.*s", HK_STR_ARG(name), HK_STR_ARG(port));
    hk_buf_str(&text, hk_str_part(url, 8 + authority.len, url.len));
    hk_err err = text.err < 0 ? text.err : set_text(easy, CURLOPT_URL, hk_buf_get(&text));
    hk_buf_deinit(&text);
    HK_TRY(err);
    if (!hk_scrape_http_header(headers, "Host: %.*s", HK_STR_ARG(authority)) ||
        !hk_scrape_http_header(
            connect_to, "%.*s:%.*s:%.*s:%.*s", HK_STR_ARG(name), HK_STR_ARG(port), HK_STR_ARG(host),
            HK_STR_ARG(port))) {
        return HK_E_NOMEM;
    }
    return curl_easy_setopt(easy, CURLOPT_CONNECT_TO, *connect_to) == CURLE_OK ? HK_OK
                                                                               : HK_E_INVALID;
}

hk_err hk_scrape_http_setup(
    CURL *easy, const struct hk_scrape_http *http, struct hk_str url, struct curl_slist **headers,
    struct curl_slist **connect_to) {
    (void)curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    (void)curl_easy_setopt(easy, CURLOPT_NOPROGRESS, 1L);
    /* After a timeout do not wait for a resolver thread that hangs: it ends on its own, and waiting
     * would hold up all other targets. */
    (void)curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);
    (void)curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    (void)curl_easy_setopt(easy, CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
    (void)curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, http->follow_redirects ? 1L : 0L);
    (void)curl_easy_setopt(easy, CURLOPT_MAXREDIRS, (long)REDIRECTS_MAX);
    (void)curl_easy_setopt(
        easy, CURLOPT_HTTP_VERSION,
        http->enable_http2 ? (long)CURL_HTTP_VERSION_2TLS : (long)CURL_HTTP_VERSION_1_1);
    (void)curl_easy_setopt(easy, CURLOPT_USERAGENT, "hark/" HK_VERSION);
    (void)curl_easy_setopt(easy, CURLOPT_TCP_NODELAY, 1L);
    (void)curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
    HK_TRY(set_text(easy, CURLOPT_PROXY, http->proxy_url)); /* empty: none, whatever the env says */
    HK_TRY(set_text(easy, CURLOPT_NOPROXY, http->no_proxy));
    HK_TRY(set_text(easy, CURLOPT_URL, url));
    if (http->username.len > 0 || http->username_file.len > 0) {
        (void)curl_easy_setopt(easy, CURLOPT_HTTPAUTH, (long)CURLAUTH_BASIC);
        HK_TRY(set_secret(easy, CURLOPT_USERNAME, http->username, http->username_file));
        HK_TRY(set_secret(easy, CURLOPT_PASSWORD, http->password, http->password_file));
    }
    HK_TRY(set_authorization(http, headers));
    for (uint32_t i = 0; i + 1 < http->headers.count; i += 2) {
        if (!hk_scrape_http_header(
                headers, "%.*s: %.*s", HK_STR_ARG(http->headers.items[i]),
                HK_STR_ARG(http->headers.items[i + 1]))) {
            return hk_fail(HK_E_INVALID, "a header contains a line break");
        }
    }
    if (!hk_str_starts(url, HK_STR("https://"))) return HK_OK;
    HK_TRY(set_tls(easy, &http->tls));
    if (http->tls.server_name.len == 0) return HK_OK;
    return set_server_name(easy, http, url, headers, connect_to);
}

/* Value of a parameter of a media type, quotes taken off; empty if missing. */
static struct hk_str media_parameter(struct hk_str type, const char *name) {
    for (size_t at = hk_str_find(type, ';', 0); at < type.len;) {
        size_t end = hk_str_find(type, ';', at + 1);
        struct hk_str part = hk_str_trim(hk_str_part(type, at + 1, end));
        size_t equal = hk_str_find(part, '=', 0);
        if (hk_str_eq_nocase(hk_str_part(part, 0, equal), hk_str_from(name))) {
            struct hk_str value = hk_str_trim(hk_str_part(part, equal + 1, part.len));
            bool quoted = value.len >= 2 && value.ptr[0] == '"' && value.ptr[value.len - 1] == '"';
            return quoted ? hk_str_part(value, 1, value.len - 1) : value;
        }
        at = end;
    }
    return HK_STR("");
}

static bool is_metric_protobuf(struct hk_str content_type) {
    return hk_str_is(media_parameter(content_type, "proto"), "io.prometheus.client.MetricFamily") &&
           hk_str_is(media_parameter(content_type, "encoding"), "delimited");
}

hk_err
hk_scrape_format_of(struct hk_str content_type, int32_t fallback, enum hk_scrape_format *out) {
    struct hk_str media =
        hk_str_trim(hk_str_part(content_type, 0, hk_str_find(content_type, ';', 0)));
    if (hk_str_eq_nocase(media, HK_STR("text/plain"))) {
        *out = HK_SCRAPE_TEXT;
        return HK_OK;
    }
    if (hk_str_eq_nocase(media, HK_STR("application/openmetrics-text"))) {
        *out = HK_SCRAPE_OPENMETRICS;
        return HK_OK;
    }
    if (hk_str_eq_nocase(media, HK_STR("application/vnd.google.protobuf")) &&
        is_metric_protobuf(content_type)) {
        *out = HK_SCRAPE_PROTOBUF;
        return HK_OK;
    }
    if (fallback == HK_SCRAPE_PROTO_NONE && media.len > 0) {
        return hk_fail(
            HK_E_UNSUPPORTED,
            "received unsupported Content-Type \"%.*s\" and no fallback_scrape_protocol is set",
            HK_STR_ARG(hk_str_part(content_type, 0, 200)));
    }
    bool openmetrics =
        fallback == HK_SCRAPE_PROTO_OPENMETRICS_001 || fallback == HK_SCRAPE_PROTO_OPENMETRICS_100;
    *out = fallback == HK_SCRAPE_PROTO_PROTOBUF ? HK_SCRAPE_PROTOBUF
           : openmetrics                        ? HK_SCRAPE_OPENMETRICS
                                                : HK_SCRAPE_TEXT;
    return HK_OK;
}
