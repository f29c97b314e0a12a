/* HTTP servers: listening, accepting, draining, closing. */
#include "base/mem.h"
#include "net/http_internal.h"
#include "os/clock.h"

#include <stdio.h>

#include <errno.h>

enum {
    ACCEPT_BATCH = 64,
    BACKLOG = 1024,
    ACCEPT_PAUSE_NS = 100000000, /* after running out of descriptors */
    DATE_KEPT_NS = 250000000,
    HOST_BYTES_MAX = 256,
};

void hk_http_limits_default(struct hk_http_limits *out) {
    *out = (struct hk_http_limits){
        .header_bytes_max = 65536,
        .body_bytes_max = (size_t)64 << 20,
        .body_bytes_max_decoded = (size_t)256 << 20,
        .connections_max = 4096,
        .streams_max = 256,
        .header_timeout_ns = 10000000000,
        .body_timeout_ns = 60000000000,
        .idle_timeout_ns = 120000000000,
        .write_timeout_ns = 30000000000,
        .memory_max = (size_t)512 << 20,
    };
}

void hk_server_account(struct hk_http_server *server, size_t *slot, size_t now) {
    server->memory = server->memory - *slot + now;
    *slot = now;
}

bool hk_server_has_room(struct hk_conn *conn) {
    struct hk_http_server *server = conn->server;
    if (server->memory <= server->options.limits.memory_max) return true;
    hk_stat_add(&server->stats.too_large, 1);
    conn->dead = true;
    return false;
}

struct hk_str hk_server_date(struct hk_http_server *server) {
    static const char days[] = "ThuFriSatSunMonTueWed"; /* 1970-01-01 was a Thursday */
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    int64_t now_ns = hk_loop_now_ns(server->loop);
    if (now_ns >= server->date_until_ns) {
        int64_t now_ms = hk_clock_realtime_ms();
        char text[HK_TIME_BYTES_MAX]; /* 2026-01-02T03:04:05.678Z */
        (void)hk_format_time_ms(now_ms, text);
        int month = (text[5] - '0') * 10 + text[6] - '1';
        (void)snprintf(
            server->date, sizeof(server->date), "%.3s, %.2s %.3s %.4s %.8s GMT",
            days + 3 * (now_ms / 86400000 % 7), text + 8, months + 3 * month, text, text + 11);
        int64_t left_ns = (1000 - now_ms % 1000) * 1000000;
        server->date_until_ns = now_ns + (left_ns < DATE_KEPT_NS ? left_ns : DATE_KEPT_NS);
    }
    return (struct hk_str){ server->date, 29 };
}

/* Accepting. */

static struct hk_http_server *server_of_timer(struct hk_timer *timer) {
    return (void *)((char *)timer - offsetof(struct hk_http_server, accept_again));
}

static void accept_again(struct hk_timer *timer) {
    struct hk_http_server *server = server_of_timer(timer);
    if (server->draining || server->listener.fd < 0) return;
    if (hk_loop_watch(server->loop, &server->listener, HK_IO_READ) == HK_OK) return;
    int64_t at_ns = hk_loop_now_ns(server->loop) + ACCEPT_PAUSE_NS;
    /* The heap has the place that this timer has just left. */
    if (HK_NEVER(hk_loop_arm(server->loop, timer, at_ns) < 0)) return;
}

static void tell_gone(struct hk_timer *timer) {
    struct hk_http_server *server = (void *)((char *)timer - offsetof(struct hk_http_server, tell));
    if (HK_NEVER(hk_loop_arm(server->loop, timer, INT64_MAX) < 0)) return;
    hk_exchange_tell_all(server);
}

/* The process has no descriptors left: a listener that stays readable would spin. */
static void pause_accepting(struct hk_http_server *server) {
    hk_stat_add(&server->stats.connections_refused, 1);
    int64_t at_ns = hk_loop_now_ns(server->loop) + ACCEPT_PAUSE_NS;
    if (hk_loop_arm(server->loop, &server->accept_again, at_ns) < 0) return;
    hk_loop_unwatch(server->loop, &server->listener);
}

static void listener_ready(struct hk_io *io, unsigned events) {
    struct hk_http_server *server =
        (void *)((char *)io - offsetof(struct hk_http_server, listener));
    (void)events;
    for (int i = 0; i < ACCEPT_BATCH; i++) {
        struct hk_sockaddr peer;
        int fd = hk_socket_accept(io->fd, &peer);
        if (fd == -EAGAIN) return;
        if (fd == -EMFILE || fd == -ENFILE || fd == -ENOBUFS || fd == -ENOMEM) {
            pause_accepting(server);
            return;
        }
        if (fd < 0) continue; /* that connection broke before it was taken */
        if (server->stats.connections_open >= server->options.limits.connections_max) {
            hk_stat_add(&server->stats.connections_refused, 1);
            hk_socket_close(fd);
            continue;
        }
        hk_conn_create(server, fd, &peer);
    }
}

/* Addresses. */

static hk_err parse_port(struct hk_str text, uint16_t *out) {
    uint64_t port = 0;
    if (hk_parse_u64(text, &port) < 0 || port > 65535) return HK_E_INVALID;
    *out = (uint16_t)port;
    return HK_OK;
}

static hk_err parse_address(struct hk_str address, struct hk_sockaddr *out) {
    char host[HOST_BYTES_MAX];
    bool local = hk_str_starts(address, HK_STR("unix:"));
    size_t colon = address.len;
    while (!local && colon > 0 && address.ptr[colon - 1] != ':')
        colon--;
    struct hk_str name = local ? hk_str_part(address, 5, address.len)
                               : hk_str_part(address, 0, colon == 0 ? 0 : colon - 1);
    bool bracket = name.len >= 2 && name.ptr[0] == '[' && name.ptr[name.len - 1] == ']';
    if (bracket) name = hk_str_part(name, 1, name.len - 1);
    uint16_t port = 0;
    bool bad = name.len >= sizeof(host) || memchr(name.ptr, 0, name.len) != NULL;
    if (!local && parse_port(hk_str_part(address, colon, address.len), &port) < 0) bad = true;
    if (!local && (colon == 0 || (!bracket && hk_str_find(name, ':', 0) < name.len))) bad = true;
    int err = bad ? -EINVAL : 0;
    if (!bad) {
        memcpy(host, name.ptr, name.len);
        host[name.len] = 0;
        if (local)
            err = hk_sockaddr_unix(host, out);
        else if (name.len == 0)
            hk_sockaddr_any(port, out);
        else
            err = hk_sockaddr_numeric(host, port, out);
    }
    if (err == 0) return HK_OK;
    return hk_fail(
        HK_E_INVALID,
        "listen address \"%.*s\": write \"host:port\" with a numeric address or localhost, "
        "\"[IPv6]:port\", \":port\" for all interfaces, or \"unix:/path\"",
        HK_STR_ARG(address));
}

hk_err hk_http_listen(
    struct hk_loop *loop, struct hk_str address, const struct hk_http_options *options,
    struct hk_http_server **out) {
    struct hk_sockaddr parsed;
    HK_TRY(parse_address(address, &parsed));
    struct hk_http_server *server = hk_mem_alloc(1, sizeof(*server));
    if (server == NULL) return hk_fail(HK_E_NOMEM, "listen: out of memory");
    server->loop = loop;
    server->options = *options;
    server->address = parsed;
    server->accept_again.fire = accept_again;
    server->tell.fire = tell_gone;
    server->listener = (struct hk_io){ hk_socket_listen(&parsed, BACKLOG), listener_ready };
    hk_err err = HK_OK;
    if (server->listener.fd < 0) {
        err = hk_fail(
            HK_E_IO, "listen on %.*s: %s", HK_STR_ARG(address), strerror(-server->listener.fd));
    } else {
        (void)hk_socket_local(server->listener.fd, &server->address);
        err = hk_loop_watch(loop, &server->listener, HK_IO_READ);
    }
    if (err == HK_OK) {
        err = hk_loop_arm(loop, &server->tell, INT64_MAX);
        if (err < 0) hk_loop_unwatch(loop, &server->listener);
    }
    if (err < 0) {
        hk_socket_close(server->listener.fd);
        hk_mem_free(server);
        return err;
    }
    *out = server;
    return HK_OK;
}

uint16_t hk_http_server_port(const struct hk_http_server *server) {
    return hk_sockaddr_port(&server->address);
}

static void stop_listening(struct hk_http_server *server) {
    if (server->listener.fd < 0) return;
    hk_loop_disarm(server->loop, &server->accept_again);
    hk_loop_unwatch(server->loop, &server->listener);
    hk_socket_close(server->listener.fd);
    hk_socket_unlink(&server->address);
    server->listener.fd = -1;
}

void hk_http_drain(struct hk_http_server *server) {
    stop_listening(server);
    server->draining = true;
    struct hk_conn *next = NULL;
    for (struct hk_conn *conn = server->conns; conn != NULL; conn = next) {
        next = conn->next; /* settling ends this connection only */
        hk_conn_settle(conn);
    }
}

uint32_t hk_http_open_exchanges(const struct hk_http_server *server) {
    return server->open_count;
}

void hk_http_close(struct hk_http_server *server) {
    if (server == NULL) return;
    stop_listening(server);
    while (server->conns != NULL) {
        hk_conn_destroy(server->conns);
    }
    hk_exchange_tell_all(server);
    hk_loop_disarm(server->loop, &server->tell);
    /* What the handler still holds has been told `gone`, and is canceled here. */
    while (server->open != NULL) {
        hk_exchange_release(server->open);
    }
    hk_exchange_free_pool(server);
    hk_codec_deinit(&server->codec);
    hk_mem_free(server);
}

void hk_http_get_stats(const struct hk_http_server *server, struct hk_http_stats *out) {
    const struct hk_http_stats *from = &server->stats;
    out->connections_total = __atomic_load_n(&from->connections_total, __ATOMIC_RELAXED);
    out->connections_refused = __atomic_load_n(&from->connections_refused, __ATOMIC_RELAXED);
    out->requests_total = __atomic_load_n(&from->requests_total, __ATOMIC_RELAXED);
    out->bytes_in = __atomic_load_n(&from->bytes_in, __ATOMIC_RELAXED);
    out->bytes_out = __atomic_load_n(&from->bytes_out, __ATOMIC_RELAXED);
    out->timeouts = __atomic_load_n(&from->timeouts, __ATOMIC_RELAXED);
    out->malformed = __atomic_load_n(&from->malformed, __ATOMIC_RELAXED);
    out->too_large = __atomic_load_n(&from->too_large, __ATOMIC_RELAXED);
    out->connections_open = __atomic_load_n(&from->connections_open, __ATOMIC_RELAXED);
}
