/*
 * A tiny HTTP/1.1 server for tests: one thread, blocking sockets behind poll(2), a free loopback
 * port. Paths choose the answer; see `answer`. Only for tests, included once per executable.
 */
#ifndef HK_INGEST_SCRAPE_SERVER_TEST_H
#define HK_INGEST_SCRAPE_SERVER_TEST_H

#include "base/buf.h"
#include "os/thread.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>
#include <zlib.h>

enum { SERVER_CONNECTIONS_MAX = 64 };

struct server_connection {
    int fd;
    bool slow; /* asked for /slow: never answered */
    size_t len;
    char request[4096];
};

struct server {
    struct hk_thread thread;
    int listener, wake[2];
    char address[64];
    _Atomic unsigned connections, slow_open, slow_max;
    struct server_connection open[SERVER_CONNECTIONS_MAX];
    uint32_t open_count;
    struct hk_mutex lock;
    char page[65536]; /* body of /page, under lock */
    char page_type[64];
};

static inline void server_send(int fd, const void *data, size_t bytes) {
    const char *from = data;
    while (bytes > 0) {
        ssize_t sent = send(fd, from, bytes, MSG_NOSIGNAL);
        if (sent <= 0) return;
        from += sent;
        bytes -= (size_t)sent;
    }
}

static inline void
server_reply(int fd, const char *status, const char *headers, const void *body, size_t body_bytes) {
    char head[1024];
    int len = snprintf(
        head, sizeof(head), "HTTP/1.1 %s\r\n%sContent-Length: %zu\r\n\r\n", status, headers,
        body_bytes);
    server_send(fd, head, (size_t)len);
    server_send(fd, body, body_bytes);
}

static inline void server_text(int fd, const char *type, const char *body) {
    char header[128];
    (void)snprintf(header, sizeof(header), "Content-Type: %s\r\n", type);
    server_reply(fd, "200 OK", header, body, strlen(body));
}

/* `text` repeated, compressed as gzip. */
static inline void server_gzip(int fd, const char *text, unsigned times) {
    static unsigned char out[65536];
    z_stream stream = { 0 };
    (void)deflateInit2(&stream, 9, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY);
    stream.next_out = out;
    stream.avail_out = sizeof(out);
    for (unsigned i = 0; i < times; i++) {
        union {
            const char *text;
            unsigned char *bytes;
        } input = { text };
        stream.next_in = input.bytes;
        stream.avail_in = (unsigned)strlen(text);
        (void)deflate(&stream, i + 1 == times ? Z_FINISH : Z_NO_FLUSH);
    }
    size_t bytes = sizeof(out) - stream.avail_out;
    (void)deflateEnd(&stream);
    server_reply(
        fd, "200 OK", "Content-Type: text/plain\r\nContent-Encoding: gzip\r\n", out, bytes);
}

static inline bool server_path_is(const char *request, const char *path) {
    size_t len = strlen(path);
    return strncmp(request, "GET ", 4) == 0 && strncmp(request + 4, path, len) == 0 &&
           strchr(" ?", request[4 + len]) != NULL;
}

static inline void server_page(struct server *server, int fd) {
    hk_mutex_lock(&server->lock);
    server_text(fd, server->page_type, server->page);
    hk_mutex_unlock(&server->lock);
}

/* False: the connection shall be closed. */
static inline bool server_answer(struct server *server, struct server_connection *connection) {
    const char *request = connection->request;
    int fd = connection->fd;
    static const char text_type[] = "text/plain; version=0.0.4";
    if (server_path_is(request, "/metrics")) {
        server_text(fd, text_type, "up_and_running 1\n");
    } else if (server_path_is(request, "/openmetrics")) {
        server_text(fd, "application/openmetrics-text; version=1.0.0", "# EOF\n");
    } else if (server_path_is(request, "/protobuf")) {
        server_text(
            fd,
            "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; "
            "encoding=delimited",
            "");
    } else if (server_path_is(request, "/gzip")) {
        server_gzip(fd, "compressed 42\n", 1);
    } else if (server_path_is(request, "/bomb")) {
        server_gzip(fd, "compressed 42\n", 10000);
    } else if (server_path_is(request, "/redirect")) {
        server_reply(fd, "302 Found", "Location: /metrics\r\n", "moved", 5);
    } else if (server_path_is(request, "/loop")) {
        server_reply(fd, "302 Found", "Location: /loop\r\n", "", 0);
    } else if (server_path_is(request, "/chunked")) {
        static const char chunked[] = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
                                      "Transfer-Encoding: chunked\r\n\r\n"
                                      "3\r\nin_\r\n9\r\nchunks 7\n\r\n0\r\n\r\n";
        server_send(fd, chunked, sizeof(chunked) - 1);
    } else if (server_path_is(request, "/empty")) {
        server_text(fd, text_type, "");
    } else if (server_path_is(request, "/html")) {
        server_text(fd, "text/html", "<html></html>");
    } else if (server_path_is(request, "/500")) {
        server_reply(fd, "500 Internal Server Error", "", "broken", 6);
    } else if (server_path_is(request, "/big")) {
        static char big[2000];
        memset(big, 'a', sizeof(big));
        server_reply(fd, "200 OK", "Content-Type: text/plain\r\n", big, sizeof(big));
    } else if (server_path_is(request, "/cut")) {
        static const char cut[] =
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 100\r\n\r\nhalf";
        server_send(fd, cut, sizeof(cut) - 1);
        return false;
    } else if (server_path_is(request, "/trickle")) {
        static const char start[] =
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 100\r\n\r\nfirst";
        server_send(fd, start, sizeof(start) - 1);
    } else if (server_path_is(request, "/slow")) {
        connection->slow = true;
        unsigned open = atomic_fetch_add(&server->slow_open, 1) + 1;
        if (open > atomic_load(&server->slow_max)) atomic_store(&server->slow_max, open);
    } else if (server_path_is(request, "/echo")) {
        server_text(fd, "text/plain", request);
    } else if (server_path_is(request, "/page")) {
        server_page(server, fd);
    } else {
        server_reply(fd, "404 Not Found", "", "", 0);
    }
    return true;
}

static inline void server_close(struct server *server, uint32_t at) {
    if (server->open[at].slow) atomic_fetch_sub(&server->slow_open, 1);
    (void)close(server->open[at].fd);
    server->open[at] = server->open[--server->open_count];
}

/* Reads what has come; true when the connection lives on. */
static inline bool server_read(struct server *server, struct server_connection *connection) {
    ssize_t got = recv(
        connection->fd, connection->request + connection->len,
        sizeof(connection->request) - 1 - connection->len, 0);
    if (got <= 0) return false;
    connection->len += (size_t)got;
    connection->request[connection->len] = 0;
    if (strstr(connection->request, "\r\n\r\n") == NULL) return true;
    connection->len = 0;
    return server_answer(server, connection);
}

static inline void server_run(void *arg) {
    struct server *server = arg;
    for (;;) {
        struct pollfd fds[SERVER_CONNECTIONS_MAX + 2] = { { server->wake[0], POLLIN, 0 },
                                                          { server->listener, POLLIN, 0 } };
        uint32_t count = server->open_count;
        for (uint32_t i = 0; i < count; i++)
            fds[i + 2] = (struct pollfd){ server->open[i].fd, POLLIN, 0 };
        if (poll(fds, count + 2, -1) < 0) continue;
        if (fds[0].revents != 0) return;
        for (uint32_t i = count; i > 0; i--) {
            if (fds[i + 1].revents != 0 && !server_read(server, &server->open[i - 1]))
                server_close(server, i - 1);
        }
        if (fds[1].revents == 0) continue;
        int fd = accept(server->listener, NULL, NULL);
        if (fd < 0) continue;
        if (server->open_count == SERVER_CONNECTIONS_MAX) {
            (void)close(fd);
            continue;
        }
        int on = 1; /* head and body are two writes: without it the second waits for an ack */
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        server->open[server->open_count++] = (struct server_connection){ .fd = fd };
        atomic_fetch_add(&server->connections, 1);
    }
}

static inline struct server *server_start(void) {
    struct server *server = hk_mem_alloc(1, sizeof(*server));
    hk_assert(server != NULL);
    struct sockaddr_in own = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
    socklen_t own_bytes = sizeof(own);
    hk_mutex_init(&server->lock);
    server->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    hk_assert(bind(server->listener, (struct sockaddr *)&own, sizeof(own)) == 0);
    hk_assert(listen(server->listener, 64) == 0);
    hk_assert(getsockname(server->listener, (struct sockaddr *)&own, &own_bytes) == 0);
    hk_assert(pipe(server->wake) == 0);
    (void)snprintf(server->address, sizeof(server->address), "127.0.0.1:%u", ntohs(own.sin_port));
    hk_assert(hk_thread_start(&server->thread, "test-server", server_run, server) == 0);
    return server;
}

static inline struct hk_str server_address(const struct server *server) {
    static char copy[64]; /* outlives the server */
    (void)snprintf(copy, sizeof(copy), "%s", server->address);
    return hk_str_from(copy);
}

static inline unsigned server_connections(struct server *server) {
    return atomic_load(&server->connections);
}

/* Most requests for /slow that were open at once. */
static inline unsigned server_open_slow_max(struct server *server) {
    return atomic_load(&server->slow_max);
}

/* Content of /page. */
static inline void server_set_page(struct server *server, const char *type, const char *text) {
    hk_mutex_lock(&server->lock);
    (void)snprintf(server->page, sizeof(server->page), "%s", text);
    (void)snprintf(server->page_type, sizeof(server->page_type), "%s", type);
    hk_mutex_unlock(&server->lock);
}

static inline void server_stop(struct server *server) {
    hk_assert(write(server->wake[1], "x", 1) == 1);
    hk_thread_join(&server->thread);
    while (server->open_count > 0)
        server_close(server, 0);
    (void)close(server->listener);
    (void)close(server->wake[0]);
    (void)close(server->wake[1]);
    hk_mutex_deinit(&server->lock);
    hk_mem_free(server);
}

#endif
