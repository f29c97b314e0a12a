/*
 * Who may come in, decided on the headers before a body is read: Host must be loopback or
 * configured (DNS rebinding), Origin must match on every changing request (CSRF), and off loopback
 * a token is needed.
 */
#include "engine/engine_internal.h"

#include "base/mem.h"
#include "os/file.h"

#include <openssl/crypto.h>
#include <stdio.h>

static struct hk_str without_port(struct hk_str authority) {
    if (authority.len > 0 && authority.ptr[0] == '[') {
        size_t end = hk_str_find(authority, ']', 0);
        return hk_str_part(authority, 1, end);
    }
    return hk_str_part(authority, 0, hk_str_find(authority, ':', 0));
}

static bool is_loopback_name(struct hk_str host) {
    if (hk_str_eq_nocase(host, HK_STR("localhost")) || hk_str_is(host, "::1")) return true;
    if (!hk_str_starts(host, HK_STR("127."))) return false;
    size_t dots = 0;
    for (size_t i = 0; i < host.len; i++) {
        if (host.ptr[i] == '.')
            dots++;
        else if (host.ptr[i] < '0' || host.ptr[i] > '9')
            return false;
    }
    return dots == 3;
}

static bool is_listed(const struct hk_conf_strings *list, struct hk_str text) {
    for (uint32_t i = 0; i < list->count; i++) {
        if (hk_str_eq_nocase(list->items[i], text)) return true;
    }
    return false;
}

static bool host_is_fine(const struct hk_config *config, struct hk_str authority) {
    struct hk_str host = without_port(authority);
    if (host.len == 0) return true; /* HTTP/1.0 without Host: no browser sends that */
    if (is_loopback_name(host)) return true;
    const struct hk_conf_strings *allowed = &config->server.allowed_hosts;
    return is_listed(allowed, host) || is_listed(allowed, authority);
}

static bool origin_is_fine(
    const struct hk_config *config, struct hk_str origin, struct hk_str authority, bool tls) {
    if (origin.len == 0) return true; /* not a browser, or the same origin by GET */
    if (is_listed(&config->server.allowed_origins, origin)) return true;
    struct hk_str scheme = tls ? HK_STR("https://") : HK_STR("http://");
    if (!hk_str_starts(origin, scheme)) return false;
    return hk_str_eq_nocase(hk_str_part(origin, scheme.len, origin.len), authority);
}

static bool changes(struct hk_str method) {
    return !hk_str_is(method, "GET") && !hk_str_is(method, "HEAD") && !hk_str_is(method, "OPTIONS");
}

static bool token_is_right(const struct hk_engine *engine, const struct hk_http_request *request) {
    struct hk_str wanted = engine->door.token;
    if (wanted.len == 0) return true;
    struct hk_str given = hk_http_header_get(request, HK_STR("authorization"));
    struct hk_str bearer = HK_STR("Bearer ");
    if (given.len < bearer.len) return false;
    if (!hk_str_eq_nocase(hk_str_part(given, 0, bearer.len), bearer)) return false;
    given = hk_str_part(given, bearer.len, given.len);
    return given.len == wanted.len && CRYPTO_memcmp(given.ptr, wanted.ptr, wanted.len) == 0;
}

int hk_shard_admit(void *self, const struct hk_http_request *request, const char **out_text) {
    const struct hk_shard *shard = self;
    const struct hk_engine *engine = shard->engine;
    if (!host_is_fine(engine->config, request->authority)) {
        *out_text = "host is not allowed; add it to server.allowed_hosts";
        return 421;
    }
    struct hk_str origin = hk_http_header_get(request, HK_STR("origin"));
    if (changes(request->method) &&
        !origin_is_fine(engine->config, origin, request->authority, request->tls)) {
        *out_text = "origin is not allowed; add it to server.allowed_origins";
        return 403;
    }
    bool open = hk_str_is(request->path, "/-/healthy") || hk_str_is(request->path, "/-/ready");
    if (!open && !token_is_right(engine, request)) {
        *out_text = "a bearer token is needed (server.token)";
        return 401;
    }
    return 0;
}

/* ------------------------------------------------------------------ opening */

static bool is_loopback(struct hk_str address) {
    return hk_str_starts(address, HK_STR("127.")) || hk_str_starts(address, HK_STR("localhost:")) ||
           hk_str_starts(address, HK_STR("[::1]:")) || hk_str_starts(address, HK_STR("unix:"));
}

hk_err
hk_door_check(const struct hk_config *config, const struct hk_door *door, struct hk_str address) {
    const struct hk_conf_server *server = &config->server;
    if (is_loopback(address) || server->insecure) return HK_OK;
    if (server->tls != NULL && door->token.len > 0) return HK_OK;
    return hk_fail(
        HK_E_INVALID,
        "%.*s is reachable from other hosts but has no TLS and token; set server.tls and "
        "server.token, or server.insecure: true if the network is trusted",
        HK_STR_ARG(address));
}

hk_err hk_door_load(const struct hk_config *config, struct hk_door *out) {
    const struct hk_conf_server *server = &config->server;
    char text[4096] = { 0 };
    struct hk_str token = server->token.value;
    *out = (struct hk_door){ .token = { "", 0 } };
    if (server->token_file.len > 0) {
        char path[4096];
        (void)snprintf(path, sizeof(path), "%.*s", HK_STR_ARG(server->token_file));
        int fd = hk_file_open(path, HK_FILE_READ);
        int64_t got = fd < 0 ? fd : hk_file_read(fd, text, sizeof(text) - 1, 0);
        hk_file_close(fd);
        if (got < 0) return hk_fail(HK_E_IO, "server.token_file %s: %s", path, strerror((int)-got));
        token = hk_str_trim((struct hk_str){ text, (size_t)got });
        if (token.len == 0) return hk_fail(HK_E_INVALID, "server.token_file %s is empty", path);
    }
    if (token.len == 0) return HK_OK;
    out->memory = hk_mem_copy(token.ptr, token.len);
    if (out->memory == NULL) return HK_E_NOMEM;
    out->token = (struct hk_str){ out->memory, token.len };
    return HK_OK;
}

void hk_door_deinit(struct hk_door *door) {
    hk_mem_free(door->memory);
    *door = (struct hk_door){ .token = { "", 0 } };
}
