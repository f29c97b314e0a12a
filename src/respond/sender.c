/*
 * Requests through libcurl's multi interface, on the outbox's thread: retries, receivers without a
 * warm connection, pushes to Alertmanagers. No redirects are followed: a receiver must not send us
 * elsewhere.
 */
#include "base/mem.h"
#include "os/file.h"
#include "respond/respond_internal.h"

#include <curl/curl.h>
#include <stdio.h>

enum {
    TRANSFERS_MAX = 64,
    PER_HOST_MAX = 4,
    TIMEOUT_MS_DEFAULT = 10000,
    ANSWER_BYTES_MAX = 1 << 20,
    TOKEN_BYTES_MAX = 4096
};

struct transfer {
    struct transfer *next, *before;
    CURL *easy;
    struct curl_slist *headers;
    char *body;
    char answer[RESULT_TEXT_MAX];
    size_t answer_len, answer_bytes;
    char error[CURL_ERROR_SIZE];
    void (*done)(void *ctx, uint64_t key, const struct hk_post_result *result);
    void *ctx;
    uint64_t key;
};

struct sender {
    CURLM *multi;
    struct transfer *transfers;
    uint32_t active;
};

hk_err hk_sender_create(struct sender **out) {
    struct sender *sender = hk_mem_alloc(1, sizeof(*sender));
    if (sender == NULL) return HK_E_NOMEM;
    (void)curl_global_init(CURL_GLOBAL_DEFAULT);
    sender->multi = curl_multi_init();
    if (sender->multi == NULL) {
        hk_mem_free(sender);
        return HK_E_NOMEM;
    }
    (void)curl_multi_setopt(sender->multi, CURLMOPT_MAX_HOST_CONNECTIONS, (long)PER_HOST_MAX);
    (void)curl_multi_setopt(sender->multi, CURLMOPT_MAXCONNECTS, (long)TRANSFERS_MAX);
    *out = sender;
    return HK_OK;
}

static void free_transfer(struct transfer *transfer) {
    if (transfer->easy != NULL) curl_easy_cleanup(transfer->easy);
    curl_slist_free_all(transfer->headers);
    hk_mem_free(transfer->body);
    hk_mem_free(transfer);
}

static void unlist(struct sender *sender, struct transfer *transfer) {
    if (transfer->next != NULL) transfer->next->before = transfer->before;
    if (transfer->before != NULL)
        transfer->before->next = transfer->next;
    else
        sender->transfers = transfer->next;
    sender->active--;
}

void hk_sender_destroy(struct sender *sender) {
    if (sender == NULL) return;
    /* What is still under way is in the outbox and goes again after the next start. */
    while (sender->transfers != NULL) {
        struct transfer *transfer = sender->transfers;
        (void)curl_multi_remove_handle(sender->multi, transfer->easy);
        unlist(sender, transfer);
        free_transfer(transfer);
    }
    (void)curl_multi_cleanup(sender->multi);
    hk_mem_free(sender);
}

void hk_sender_forget(struct sender *sender, const void *ctx) {
    struct transfer *next = NULL;
    for (struct transfer *transfer = sender->transfers; transfer != NULL; transfer = next) {
        next = transfer->next;
        if (transfer->ctx != ctx) continue;
        (void)curl_multi_remove_handle(sender->multi, transfer->easy);
        unlist(sender, transfer);
        free_transfer(transfer);
    }
}

static size_t keep_answer(char *data, size_t size, size_t count, void *ctx) {
    struct transfer *transfer = ctx;
    size_t bytes = size * count;
    size_t room = sizeof(transfer->answer) - transfer->answer_len;
    size_t part = bytes < room ? bytes : room;
    memcpy(transfer->answer + transfer->answer_len, data, part);
    transfer->answer_len += part;
    transfer->answer_bytes += bytes;
    return transfer->answer_bytes > ANSWER_BYTES_MAX ? 0 : bytes;
}

static hk_err add_header(struct transfer *transfer, const char *name, struct hk_str value) {
    char line[TOKEN_BYTES_MAX + 128];
    int len = snprintf(line, sizeof(line), "%s: %.*s", name, HK_STR_ARG(value));
    if (len < 0 || (size_t)len >= sizeof(line)) return HK_E_LIMIT;
    for (int i = 0; i < len; i++) {
        if (line[i] == '\r' || line[i] == '\n' || line[i] == 0) return HK_E_INVALID;
    }
    struct curl_slist *grown = curl_slist_append(transfer->headers, line);
    if (grown == NULL) return HK_E_NOMEM;
    transfer->headers = grown;
    return HK_OK;
}

/* The first line of the file, read anew each time: tokens are rotated. */
static hk_err add_token(struct transfer *transfer, struct hk_str path) {
    char name[1024];
    char token[TOKEN_BYTES_MAX];
    char value[TOKEN_BYTES_MAX + 8];
    if (path.len >= sizeof(name)) return HK_E_INVALID;
    memcpy(name, path.ptr, path.len);
    name[path.len] = 0;
    int fd = hk_file_open(name, HK_FILE_READ);
    int64_t len = fd < 0 ? fd : hk_file_read(fd, token, sizeof(token), 0);
    hk_file_close(fd);
    if (len < 0) {
        return hk_fail(
            HK_E_IO, "cannot read the credentials file %s: %s", name, strerror((int)-len));
    }
    struct hk_str trimmed = hk_str_trim((struct hk_str){ token, (size_t)len });
    int used = snprintf(value, sizeof(value), "Bearer %.*s", HK_STR_ARG(trimmed));
    return add_header(transfer, "Authorization", (struct hk_str){ value, (size_t)used });
}

static hk_err set_text(CURL *easy, CURLoption option, struct hk_str text, bool optional) {
    char copy[8192];
    if (text.len == 0 && optional) return HK_OK;
    if (text.len >= sizeof(copy)) return hk_fail(HK_E_INVALID, "URL or path too long");
    memcpy(copy, text.ptr, text.len);
    copy[text.len] = 0;
    return curl_easy_setopt(easy, option, copy) == CURLE_OK ? HK_OK : HK_E_INVALID;
}

static hk_err
set_up(struct transfer *transfer, const struct hk_endpoint_config *endpoint, size_t body_bytes) {
    CURL *easy = transfer->easy;
    long timeout_ms = (long)(endpoint->timeout_ms > 0 ? endpoint->timeout_ms : TIMEOUT_MS_DEFAULT);
    HK_TRY(set_text(easy, CURLOPT_URL, endpoint->url, false));
    HK_TRY(set_text(easy, CURLOPT_CAINFO, endpoint->ca_file, true));
    HK_TRY(set_text(easy, CURLOPT_SSLCERT, endpoint->cert_file, true));
    HK_TRY(set_text(easy, CURLOPT_SSLKEY, endpoint->key_file, true));
    HK_TRY(set_text(easy, CURLOPT_PROXY, endpoint->proxy_url, true));
    (void)curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    (void)curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
    (void)curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    (void)curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, timeout_ms);
    (void)curl_easy_setopt(easy, CURLOPT_POST, 1L);
    (void)curl_easy_setopt(easy, CURLOPT_POSTFIELDS, transfer->body);
    (void)curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)body_bytes);
    (void)curl_easy_setopt(easy, CURLOPT_HTTPHEADER, transfer->headers);
    (void)curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, keep_answer);
    (void)curl_easy_setopt(easy, CURLOPT_WRITEDATA, transfer);
    (void)curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, transfer->error);
    (void)curl_easy_setopt(easy, CURLOPT_PRIVATE, transfer);
    (void)curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    if (endpoint->insecure_skip_verify) {
        (void)curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 0L);
        (void)curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 0L);
    }
    return HK_OK;
}

static hk_err begin_transfer(
    struct sender *sender, struct transfer *transfer, const struct hk_endpoint_config *endpoint,
    struct hk_str body, struct hk_str id) {
    transfer->body = hk_mem_copy(body.ptr, body.len);
    transfer->easy = curl_easy_init();
    if (transfer->body == NULL || transfer->easy == NULL) return HK_E_NOMEM;
    HK_TRY(add_header(transfer, "Content-Type", HK_STR("application/json")));
    HK_TRY(add_header(transfer, "User-Agent", HK_STR("hark/" HK_VERSION)));
    HK_TRY(add_header(transfer, "Expect", HK_STR("")));
    if (id.len > 0) HK_TRY(add_header(transfer, "X-Hark-Notification-Id", id));
    if (endpoint->authorization.len > 0)
        HK_TRY(add_header(transfer, "Authorization", endpoint->authorization));
    if (endpoint->authorization_file.len > 0)
        HK_TRY(add_token(transfer, endpoint->authorization_file));
    HK_TRY(set_up(transfer, endpoint, body.len));
    if (curl_multi_add_handle(sender->multi, transfer->easy) != CURLM_OK) return HK_E_NOMEM;
    return HK_OK;
}

hk_err hk_sender_post(
    struct sender *sender, const struct hk_endpoint_config *endpoint, struct hk_str body,
    struct hk_str id, void (*done)(void *ctx, uint64_t key, const struct hk_post_result *result),
    void *ctx, uint64_t key) {
    if (sender->active >= TRANSFERS_MAX) return HK_E_BUSY;
    struct transfer *transfer = hk_mem_alloc(1, sizeof(*transfer));
    if (transfer == NULL) return HK_E_NOMEM;
    transfer->done = done;
    transfer->ctx = ctx;
    transfer->key = key;
    hk_err err = begin_transfer(sender, transfer, endpoint, body, id);
    if (err < 0) {
        free_transfer(transfer);
        return err;
    }
    transfer->next = sender->transfers;
    if (transfer->next != NULL) transfer->next->before = transfer;
    sender->transfers = transfer;
    sender->active++;
    return HK_OK;
}

static void end_transfer(struct sender *sender, CURL *easy, CURLcode code) {
    struct transfer *transfer = NULL;
    long status = 0;
    curl_off_t retry_after = 0;
    (void)curl_easy_getinfo(easy, CURLINFO_PRIVATE, &transfer);
    (void)curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
    (void)curl_easy_getinfo(easy, CURLINFO_RETRY_AFTER, &retry_after);
    struct hk_post_result result = { .status = code == CURLE_OK ? (int)status : 0,
                                     .retry_after = retry_after,
                                     .text = { transfer->answer, transfer->answer_len } };
    if (code != CURLE_OK) {
        result.err = code == CURLE_OPERATION_TIMEDOUT ? HK_E_TIMEOUT : HK_E_IO;
        result.text =
            hk_str_from(transfer->error[0] != 0 ? transfer->error : curl_easy_strerror(code));
    }
    (void)curl_multi_remove_handle(sender->multi, easy);
    unlist(sender, transfer);
    transfer->done(transfer->ctx, transfer->key, &result);
    free_transfer(transfer);
}

void hk_sender_run(struct sender *sender) {
    int running = 0;
    (void)curl_multi_perform(sender->multi, &running);
    for (;;) {
        int left = 0;
        const CURLMsg *message = curl_multi_info_read(sender->multi, &left);
        if (message == NULL) return;
        if (message->msg == CURLMSG_DONE)
            end_transfer(sender, message->easy_handle, message->data.result);
    }
}

void hk_sender_wait(struct sender *sender, int fd, int64_t timeout_ms) {
    struct curl_waitfd extra = { .fd = fd, .events = CURL_WAIT_POLLIN };
    if (timeout_ms < 0) timeout_ms = 0;
    if (timeout_ms > 60000) timeout_ms = 60000;
    (void)curl_multi_poll(
        sender->multi, fd >= 0 ? &extra : NULL, fd >= 0 ? 1 : 0, (int)timeout_ms, NULL);
}

void hk_sender_wake(struct sender *sender) {
    (void)curl_multi_wakeup(sender->multi);
}
