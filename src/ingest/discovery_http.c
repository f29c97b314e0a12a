/*
 * http_sd: an HTTP server that answers with target groups as JSON. A failed request keeps what was
 * found before. The request runs on the discovery thread, with a deadline.
 */
#include "base/mem.h"
#include "ingest/discovery_internal.h"
#include "ingest/scrape_internal.h"

#include <stdio.h>

enum { TIMEOUT_MS_MAX = 10000 };

struct fetch {
    CURL *easy;
    struct curl_slist *headers, *connect_to;
    struct hk_buf body;
    const _Atomic bool *stop;
    char error[CURL_ERROR_SIZE];
};

static size_t take_body(char *data, size_t size, size_t count, void *user) {
    struct fetch *fetch = user;
    hk_buf_bytes(&fetch->body, data, size * count);
    return fetch->body.err < 0 ? 0 : size * count;
}

/* Called about once a second: ends the request when the thread shall end. */
static int
watch(void *user, curl_off_t down_total, curl_off_t down, curl_off_t up_total, curl_off_t up) {
    (void)down_total;
    (void)down;
    (void)up_total;
    (void)up;
    const struct fetch *fetch = user;
    return atomic_load_explicit(fetch->stop, memory_order_acquire) ? 1 : 0;
}

static hk_err setup(struct fetch *fetch, const struct hk_discovery_provider *provider) {
    const struct hk_scrape_http_sd *config = &provider->config.http;
    CURL *easy = fetch->easy;
    char seconds[HK_DOUBLE_BYTES_MAX];
    size_t len = hk_format_double((double)provider->interval_ns / 1e9, seconds);
    int64_t interval_ms = provider->interval_ns / 1000000;
    long timeout_ms = interval_ms < TIMEOUT_MS_MAX ? (long)interval_ms : (long)TIMEOUT_MS_MAX;
    if (!hk_scrape_http_header(&fetch->headers, "Accept: application/json") ||
        !hk_scrape_http_header(
            &fetch->headers, "X-Prometheus-Refresh-Interval-Seconds: %.*s", (int)len, seconds)) {
        return HK_E_NOMEM;
    }
    HK_TRY(hk_scrape_http_setup(
        easy, &config->http, config->url, &fetch->headers, &fetch->connect_to));
    (void)curl_easy_setopt(easy, CURLOPT_HTTPHEADER, fetch->headers);
    (void)curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, timeout_ms);
    (void)curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, take_body);
    (void)curl_easy_setopt(easy, CURLOPT_WRITEDATA, fetch);
    (void)curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, fetch->error);
    (void)curl_easy_setopt(easy, CURLOPT_ACCEPT_ENCODING, "gzip");
    (void)curl_easy_setopt(easy, CURLOPT_NOPROGRESS, 0L);
    (void)curl_easy_setopt(easy, CURLOPT_XFERINFOFUNCTION, watch);
    (void)curl_easy_setopt(easy, CURLOPT_XFERINFODATA, fetch);
    return HK_OK;
}

static hk_err perform(struct fetch *fetch) {
    CURLcode code = curl_easy_perform(fetch->easy);
    if (fetch->body.err < 0) {
        return hk_fail(HK_E_LIMIT, "the answer is over %d bytes", HK_DISCOVERY_BYTES_MAX);
    }
    if (code != CURLE_OK) {
        return hk_fail(
            HK_E_IO, "%s", fetch->error[0] != 0 ? fetch->error : curl_easy_strerror(code));
    }
    long status = 0;
    char *type = NULL;
    (void)curl_easy_getinfo(fetch->easy, CURLINFO_RESPONSE_CODE, &status);
    (void)curl_easy_getinfo(fetch->easy, CURLINFO_CONTENT_TYPE, &type);
    if (status != 200) return hk_fail(HK_E_IO, "server returned HTTP status %ld", status);
    struct hk_str media = hk_str_from(type);
    media = hk_str_trim(hk_str_part(media, 0, hk_str_find(media, ';', 0)));
    if (!hk_str_eq_nocase(media, HK_STR("application/json"))) {
        return hk_fail(
            HK_E_UNSUPPORTED, "unsupported content type \"%.*s\": application/json is needed",
            HK_STR_ARG(hk_str_part(media, 0, 100)));
    }
    return HK_OK;
}

hk_err hk_discovery_refresh_http(
    struct hk_discovery_provider *provider, struct hk_discovery_finding **out) {
    struct hk_str url = provider->config.http.url;
    struct fetch fetch = { .easy = curl_easy_init(), .stop = &provider->discovery->stop };
    struct hk_discovery_finding *finding = hk_discovery_finding_create();
    hk_buf_init(&fetch.body, HK_DISCOVERY_BYTES_MAX);
    hk_err err = fetch.easy == NULL || finding == NULL ? HK_E_NOMEM : setup(&fetch, provider);
    if (err >= 0) err = perform(&fetch);
    if (err >= 0) {
        err = hk_discovery_parse_json(hk_buf_get(&fetch.body), HK_STR("__meta_url"), url, finding);
    }
    curl_easy_cleanup(fetch.easy);
    curl_slist_free_all(fetch.headers);
    curl_slist_free_all(fetch.connect_to);
    hk_buf_deinit(&fetch.body);
    if (err < 0) {
        hk_discovery_finding_unref(finding);
        return hk_fail_note(err, "http_sd %.*s", HK_STR_ARG(url));
    }
    *out = finding;
    return HK_OK;
}
