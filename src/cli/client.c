/* HTTP client of the subcommands. */
#include "cli/client.h"

#include "os/env.h"
#include "os/file.h"

#include <curl/curl.h>
#include <stdio.h>

enum {
    TOKEN_BYTES_MAX = 4096,
    ARENA_BYTES_MAX = 2000 << 20,
    CONNECT_TIMEOUT_MS = 5000,
    TIMEOUT_DEFAULT_MS = 30000,
};

hk_err hk_server_url(const char *text, char *out, size_t bytes) {
    struct hk_str url = hk_str_from(text);
    bool scheme = hk_str_starts(url, HK_STR("http://")) || hk_str_starts(url, HK_STR("https://"));
    while (url.len > 0 && url.ptr[url.len - 1] == '/')
        url.len--;
    bool fine = url.len > (scheme ? 8U : 0U);
    for (size_t i = 0; i < url.len && fine; i++)
        fine = (unsigned char)url.ptr[i] > ' ' && url.ptr[i] != 0x7f;
    if (!fine || (!scheme && strstr(text, "://") != NULL)) {
        return hk_fail(
            HK_E_INVALID, "\"%.100s\" is no server; write host:port, http://host:port or https://…",
            text);
    }
    bool port_only = !scheme && url.ptr[0] == ':';
    int len = snprintf(
        out, bytes, "%s%s%.*s", scheme ? "" : "http://", port_only ? "127.0.0.1" : "",
        HK_STR_ARG(url));
    if (len < 0 || (size_t)len >= bytes)
        return hk_fail(HK_E_INVALID, "the server's name is too long");
    return HK_OK;
}

static hk_err read_token(struct hk_client *client, const struct hk_call *call) {
    const char *path = call->values[FLAG_TOKEN_FILE];
    const char *variable = hk_env_get("HARK_TOKEN");
    if (path == NULL) {
        client->token = hk_str_from(variable);
        return HK_OK;
    }
    char *text = hk_arena_alloc(&client->arena, 1, TOKEN_BYTES_MAX);
    if (text == NULL) return HK_E_NOMEM;
    int fd = hk_file_open(path, HK_FILE_READ);
    int64_t bytes = fd < 0 ? fd : hk_file_read(fd, text, TOKEN_BYTES_MAX, 0);
    hk_file_close(fd);
    if (bytes < 0) return hk_fail(HK_E_INVALID, "--token-file: %.200s cannot be read", path);
    client->token = hk_str_trim((struct hk_str){ text, (size_t)bytes });
    return HK_OK;
}

static hk_err read_output(struct hk_client *client, const char *text) {
    static const char *const names[] = { "table", "json", "csv" };
    if (text == NULL) return HK_OK;
    for (size_t i = 0; i < HK_COUNT(names); i++) {
        if (strcmp(text, names[i]) != 0) continue;
        client->output = (enum hk_output)i;
        return HK_OK;
    }
    return hk_fail(
        HK_E_INVALID, "--output: \"%.50s\" is not valid; choose table, json or csv", text);
}

hk_err hk_client_init(struct hk_client *client, const struct hk_call *call) {
    *client = (struct hk_client){ .timeout_ms = TIMEOUT_DEFAULT_MS };
    hk_arena_init(&client->arena, ARENA_BYTES_MAX);
    const char *server = call->values[FLAG_SERVER];
    if (server == NULL) server = hk_env_get("HARK_SERVER");
    if (server == NULL || server[0] == 0) server = "http://127.0.0.1:9090";
    HK_TRY(hk_server_url(server, client->server, sizeof(client->server)));
    HK_TRY(read_output(client, call->values[FLAG_OUTPUT]));
    HK_TRY(read_token(client, call));
    client->ca = call->values[FLAG_CA];
    if (call->values[FLAG_TIMEOUT] != NULL) {
        int64_t timeout_ms = 0;
        HK_TRY(hk_flag_duration_ms(call, FLAG_TIMEOUT, &timeout_ms));
        if (timeout_ms < 1 || timeout_ms > 86400000) {
            return hk_fail(HK_E_INVALID, "--timeout: choose 1ms to 1d");
        }
        client->timeout_ms = (long)timeout_ms;
    }
    client->curl = curl_easy_init();
    return client->curl == NULL ? HK_E_NOMEM : HK_OK;
}

void hk_client_deinit(struct hk_client *client) {
    if (client->curl != NULL) curl_easy_cleanup(client->curl);
    client->curl = NULL;
    hk_arena_deinit(&client->arena);
}

static size_t on_body(char *data, size_t size, size_t count, void *self) {
    struct hk_buf *body = self;
    hk_buf_bytes(body, data, size * count);
    return body->err < 0 ? 0 : size * count;
}

static hk_err put_url(
    const struct hk_client *client, const char *path, const struct hk_param *params, size_t count,
    struct hk_buf *url) {
    hk_buf_printf(url, "%s%s", client->server, path);
    for (size_t i = 0; i < count; i++) {
        if (params[i].value.len > INT32_MAX) return HK_E_LIMIT;
        char *escaped =
            curl_easy_escape(client->curl, params[i].value.ptr, (int)params[i].value.len);
        if (escaped == NULL) return HK_E_NOMEM;
        hk_buf_printf(url, "%s%s=", i == 0 ? "?" : "&", params[i].name);
        hk_buf_text(url, params[i].value.len == 0 ? "" : escaped);
        curl_free(escaped);
    }
    hk_buf_char(url, 0);
    return url->err;
}

/* Why a transfer failed, and what to try. */
static hk_err explain(const struct hk_client *client, CURLcode code, const struct hk_buf *body) {
    if (body->err < 0) return hk_fail(body->err, "the answer is larger than 512 MiB");
    if (code == CURLE_OUT_OF_MEMORY) return HK_E_NOMEM;
    if (code == CURLE_OPERATION_TIMEDOUT) {
        return hk_fail(
            HK_E_IO, "%s did not answer in time; try a longer --timeout", client->server);
    }
    bool certificate = code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CACERT_BADFILE;
    if (certificate) {
        return hk_fail(
            HK_E_IO, "%s: %s; give the authority with --ca FILE", client->server,
            curl_easy_strerror(code));
    }
    return hk_fail(
        HK_E_IO,
        "no server at %s (%s); start one with hark serve, or name it with --server or HARK_SERVER",
        client->server, curl_easy_strerror(code));
}

static hk_err
perform(struct hk_client *client, const char *url, bool post, struct hk_buf *body, long *out) {
    CURL *curl = client->curl;
    struct curl_slist *headers = NULL;
    struct hk_buf line;
    hk_buf_init(&line, TOKEN_BYTES_MAX + 64);
    hk_buf_printf(&line, "Authorization: Bearer %.*s%c", HK_STR_ARG(client->token), 0);
    if (client->token.len > 0) {
        headers = curl_slist_append(NULL, line.ptr);
        if (headers == NULL) {
            hk_buf_deinit(&line);
            return HK_E_NOMEM;
        }
    }
    curl_easy_reset(curl);
    (void)curl_easy_setopt(curl, CURLOPT_URL, url);
    (void)curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    (void)curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
    (void)curl_easy_setopt(curl, CURLOPT_WRITEDATA, body);
    (void)curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, client->timeout_ms);
    (void)curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_TIMEOUT_MS);
    (void)curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    (void)curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    (void)curl_easy_setopt(curl, CURLOPT_NOPROXY, "*");
    (void)curl_easy_setopt(curl, CURLOPT_ACCEPT_ENCODING, "");
    (void)curl_easy_setopt(curl, CURLOPT_USERAGENT, "hark/" HK_VERSION);
    if (client->ca != NULL) (void)curl_easy_setopt(curl, CURLOPT_CAINFO, client->ca);
    if (post) (void)curl_easy_setopt(curl, CURLOPT_POSTFIELDS, "");
    CURLcode code = curl_easy_perform(curl);
    curl_slist_free_all(headers);
    hk_buf_deinit(&line);
    if (code != CURLE_OK) return explain(client, code, body);
    (void)curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, out);
    return HK_OK;
}

static hk_err
ask(struct hk_client *client, const char *path, const struct hk_param *params, size_t count,
    bool post, struct hk_answer *out) {
    struct hk_buf url;
    struct hk_buf body;
    hk_buf_init(&url, 4 << 20);
    hk_buf_init(&body, HK_ANSWER_BYTES_MAX);
    long status = 0;
    hk_err err = put_url(client, path, params, count, &url);
    if (err == HK_OK) err = perform(client, url.ptr, post, &body, &status);
    struct hk_str copy = { "", 0 };
    if (err == HK_OK) {
        copy = hk_arena_str(&client->arena, hk_buf_get(&body));
        if (copy.ptr == NULL) err = HK_E_NOMEM;
    }
    if (err == HK_OK) *out = (struct hk_answer){ status, copy };
    hk_buf_deinit(&url);
    hk_buf_deinit(&body);
    return err;
}

hk_err hk_client_get(
    struct hk_client *client, const char *path, const struct hk_param *params, size_t count,
    struct hk_answer *out) {
    return ask(client, path, params, count, false, out);
}

hk_err hk_client_tell(struct hk_client *client, const char *path, struct hk_answer *out) {
    return ask(client, path, NULL, 0, true, out);
}

/* The server's own words: `error` of the JSON envelope, else the first line of the body. */
static hk_err refuse(struct hk_client *client, const struct hk_answer *answer) {
    const struct hk_value *root = NULL;
    struct hk_str text = { "", 0 };
    if (hk_value_parse(answer->body, &client->arena, &root) == HK_OK) {
        text = hk_value_text(hk_value_get(root, "error"));
    }
    if (text.len == 0) text = hk_str_part(answer->body, 0, hk_str_find(answer->body, '\n', 0));
    if (text.len > 1000) text.len = 1000;
    if (answer->status == 401 || answer->status == 403) {
        return hk_fail(
            HK_E_EXECUTION, "the server refused (%ld): %.*s; give its token with --token-file",
            answer->status, HK_STR_ARG(text));
    }
    if (answer->status == 404) {
        return hk_fail(
            HK_E_EXECUTION, "the server does not know this request (404): %.*s; is %s a hark?",
            HK_STR_ARG(text), client->server);
    }
    return hk_fail(HK_E_EXECUTION, "%.*s (status %ld)", HK_STR_ARG(text), answer->status);
}

hk_err hk_client_json(
    struct hk_client *client, const char *path, const struct hk_param *params, size_t count,
    struct hk_answer *out_answer, const struct hk_value **out) {
    HK_TRY(hk_client_get(client, path, params, count, out_answer));
    if (out_answer->status < 200 || out_answer->status > 299) return refuse(client, out_answer);
    hk_err err = hk_value_parse(out_answer->body, &client->arena, out);
    if (err == HK_E_MALFORMED) {
        return hk_fail(err, "the answer of %s is not JSON; is it a hark?", client->server);
    }
    return err;
}

int hk_client_fail(struct hk_call *call, hk_err err) {
    const char *text = hk_fail_text();
    bool usage = err == HK_E_INVALID;
    hk_buf_text(call->error, "hark: ");
    hk_text_clean(hk_str_from(text[0] == 0 ? hk_err_text(err) : text), call->error);
    hk_buf_char(call->error, '\n');
    if (usage) hk_buf_printf(call->error, "hark %s --help says more.\n", call->command->name);
    return usage ? HK_EXIT_USAGE : err == HK_E_IO ? HK_EXIT_UNREACHABLE : HK_EXIT_FAILED;
}

int hk_client_show(
    const struct hk_client *client, const struct hk_table *table, struct hk_call *call) {
    if (table->err < 0) {
        hk_fail_clear();
        return hk_client_fail(call, table->err);
    }
    if (client->output == HK_OUTPUT_CSV) {
        hk_table_csv(table, call->out);
    } else {
        hk_table_print(table, call->out);
    }
    return HK_EXIT_FINE;
}
