/* For tests: a server on its own thread, and a blocking client socket. */
#ifndef HK_NET_HTTP_TEST_SERVER_H
#define HK_NET_HTTP_TEST_SERVER_H

#include "hk_test.h"
#include "net/http.h"
#include "os/thread.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

struct test_server {
    struct hk_loop *loop;
    struct hk_http_server *http;
    struct hk_http_options options;
    struct hk_thread thread;
    uint16_t port;
    struct hk_timer later;            /* answers `waiting` */
    struct hk_http_exchange *waiting; /* deferred */
    struct hk_http_exchange *stream;  /* streamed until the client is gone */
    uint32_t gone, refused, handled;  /* read after the thread has ended, or relaxed */
    struct hk_task task;
};

static inline void test_server_run(void *arg) {
    hk_loop_run(((struct test_server *)arg)->loop);
}

/* `server->options` is set before (limits too). */
static inline void test_server_start(struct test_server *server, const char *address) {
    CHECK_INT(hk_loop_create(HK_SPIN_OFF, &server->loop), HK_OK);
    server->options.handler_self = server;
    hk_err err =
        hk_http_listen(server->loop, hk_str_from(address), &server->options, &server->http);
    if (err < 0) printf("# %s\n", hk_fail_text());
    CHECK_INT(err, HK_OK);
    server->port = hk_http_server_port(server->http);
    CHECK_INT(hk_thread_start(&server->thread, "server", test_server_run, server), 0);
}

static inline void test_server_stop(struct test_server *server) {
    hk_loop_stop(server->loop);
    hk_thread_join(&server->thread);
    hk_http_close(server->http);
    hk_loop_destroy(server->loop);
}

static inline int test_connect(uint16_t port) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(port) };
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    struct timeval timeout = { 10, 0 };
    int one = 1;
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    CHECK_INT(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
    return fd;
}

static inline bool test_send(int fd, const void *bytes, size_t len) {
    const char *at = bytes;
    while (len > 0) {
        ssize_t done = send(fd, at, len, MSG_NOSIGNAL);
        if (done <= 0) return false;
        at += done;
        len -= (size_t)done;
    }
    return true;
}

/* Reads until the end of the stream, or until `until` was seen (NULL: only the end). The result is
 * NUL-terminated in `out`; returns its length. */
static inline size_t test_recv(int fd, char *out, size_t max, const char *until) {
    size_t len = 0;
    out[0] = 0;
    while (len + 1 < max) {
        ssize_t got = recv(fd, out + len, max - 1 - len, 0);
        if (got <= 0) break;
        len += (size_t)got;
        out[len] = 0;
        if (until != NULL && strstr(out, until) != NULL) break;
    }
    return len;
}

#endif
