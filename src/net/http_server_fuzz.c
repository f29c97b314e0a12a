/* Goal: whatever a client sends over a connection, HTTP/1 or HTTP/2, the server survives, answers
 * each exchange at most once and lets go of the connection in the end. The first byte chooses the
 * size of the packets and whether the HTTP/2 preface and settings go ahead. */
#include "net/http_internal.h"

#include "base/mem.h"

#include <sys/socket.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0";

struct turns {
    struct hk_task task;
    struct hk_loop *loop;
    struct hk_http_exchange *held;
};

static void stop(struct hk_task *task) {
    hk_loop_stop(((struct turns *)task)->loop);
}

static void gone(struct hk_http_exchange *exchange) {
    struct turns *turns = hk_http_get_user(exchange);
    if (turns->held == exchange) turns->held = NULL;
    hk_http_respond(exchange, 499, HK_STR(""), HK_STR(""));
}

/* Several ways of answering, chosen by the path. */
static void handle(void *self, struct hk_http_exchange *exchange) {
    struct turns *turns = self;
    const struct hk_http_request *request = hk_http_get_request(exchange);
    struct hk_str value = { 0 };
    (void)hk_http_param(request, HK_STR("q"), 0, hk_http_arena(exchange), &value);
    hk_http_add_header(exchange, HK_STR("x-echo"), value);
    hk_http_set_user(exchange, turns);
    hk_http_on_gone(exchange, gone);
    if (request->grpc) {
        hk_grpc_respond(exchange, (int)(request->path.len % 3), request->body, value, value);
    } else if (request->path.len % 4 == 1 && turns->held == NULL) {
        turns->held = exchange;
    } else if (request->path.len % 4 == 2) {
        hk_http_stream_begin(exchange, 200, HK_STR("text/plain"));
        (void)hk_http_stream_write(exchange, request->body);
        hk_http_stream_end(exchange);
    } else {
        hk_http_respond(exchange, 200, HK_STR("text/plain"), request->body);
    }
}

static int admit(void *self, const struct hk_http_request *request, const char **out_text) {
    (void)self;
    *out_text = "no\n";
    return hk_str_starts(request->path, HK_STR("/no")) ? 403 : 0;
}

/* A few rounds of the loop; answers what is held. */
static void turn(struct turns *turns) {
    for (int i = 0; i < 3; i++) {
        hk_loop_post(turns->loop, &turns->task);
        hk_loop_run(turns->loop);
        struct hk_http_exchange *held = turns->held;
        turns->held = NULL;
        if (held != NULL && i == 1)
            hk_http_respond(held, 202, HK_STR("text/plain"), HK_STR("late"));
        else
            turns->held = held;
    }
}

static struct hk_http_server *make_server(struct turns *turns) {
    struct hk_http_options options = { .handle = handle, .admit = admit, .handler_self = turns };
    hk_http_limits_default(&options.limits);
    options.limits.body_bytes_max = 1 << 16;
    options.limits.body_bytes_max_decoded = 1 << 18;
    struct hk_http_server *server = NULL;
    turns->task.run = stop;
    hk_assert(hk_loop_create(HK_SPIN_OFF, &turns->loop) == HK_OK);
    hk_assert(hk_http_listen(turns->loop, HK_STR("127.0.0.1:0"), &options, &server) == HK_OK);
    return server;
}

static void drain(int fd) {
    static char sink[65536];
    while (recv(fd, sink, sizeof(sink), MSG_DONTWAIT) > 0) {
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    static struct turns turns;
    static struct hk_http_server *server;
    if (bytes < 2) return 0;
    if (server == NULL) server = make_server(&turns);
    int pair[2];
    hk_assert(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair) == 0);
    const struct hk_sockaddr peer = { .addr.ss_family = AF_UNIX };
    hk_conn_create(server, pair[0], &peer);
    if ((data[0] & 0x80) != 0) (void)send(pair[1], preface, sizeof(preface), MSG_NOSIGNAL);
    size_t step = (data[0] & 0x7f) == 0 ? bytes : (size_t)(data[0] & 0x7f) * 4;
    for (size_t at = 1; at < bytes; at += step) {
        size_t part = bytes - at < step ? bytes - at : step;
        if (send(pair[1], data + at, part, MSG_NOSIGNAL) < 0) break;
        turn(&turns);
        drain(pair[1]);
    }
    (void)close(pair[1]);
    for (int i = 0; i < 100 && server->conns != NULL; i++) {
        turn(&turns);
    }
    turn(&turns);
    hk_assert(server->conns == NULL && server->open_count == 0);
    hk_assert(server->memory == 0);
    return 0;
}
