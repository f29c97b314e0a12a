/*
 * Outgoing HTTP/1.1 with a connection that is kept warm.
 *
 * (1) One request is on the wire at a time: `queue` is the one in work when state is BUSY.
 * (2) A request of which nothing was written waits for the next connection; one that was begun and
 *     got no answer ends with an error, because only the caller knows whether it may be repeated.
 * (3) `done` is never called from hk_client_post: failures there wait for the timer.
 */
#include "net/client.h"

#include "base/mem.h"
#include "net/client_parse.h"
#include "net/client_url.h"
#include "net/resolve.h"
#include "net/tls_internal.h"
#include "os/clock.h"
#include "os/socket.h"

#include <errno.h>
#include <stdio.h>

enum {
    READ_BYTES = 16384,
    QUEUE_DEFAULT = 64,
    WHY_BYTES_MAX = 160,
};

static const int64_t timeout_default_ns = 10000000000;
static const int64_t connect_timeout_ns = 5000000000;
static const int64_t backoff_min_ns = 100000000;
static const int64_t backoff_max_ns = 10000000000;
static const int64_t lived_ns = 1000000000; /* a connection that lasted so long was a good one */

enum state { WAITING, RESOLVING, CONNECTING, HANDSHAKE, IDLE, BUSY };

struct request {
    struct request *next;
    struct hk_buf bytes; /* head and body, or what is left of them */
    size_t at;
    int64_t deadline_ns, written_ns;
    bool begun; /* some of it was written */
    void (*done)(void *self, const struct hk_client_result *result);
    void *self;
};

struct hk_client {
    struct hk_io io;
    struct hk_timer timer;
    struct hk_loop *loop;
    struct hk_client_options options; /* strings are not kept */
    struct hk_url url;
    char *authorization;
    struct hk_tls *tls;
    struct hk_tls_conn *conn;
    struct ssl_session_st *session;
    enum state state;
    unsigned watched;
    bool broken;      /* the connection failed inside of hk_client_post */
    bool served;      /* this connection has answered at least one request */
    int64_t until_ns; /* WAITING: when to try again; CONNECTING, HANDSHAKE: when to give up */
    int64_t connected_ns, backoff_ns;
    struct hk_resolve *resolve;
    struct hk_sockaddr addresses[HK_RESOLVE_MAX];
    int address_count, address_at;
    int connect_err;                    /* negative errno */
    struct request *queue, **queue_end; /* (1) */
    uint32_t queue_count;
    struct hk_answer_parser parser;
    struct hk_buf head;      /* reused for the heads of requests */
    char why[WHY_BYTES_MAX]; /* what the last connection ended with */
    char scratch[READ_BYTES];
};

static void begin_connecting(struct hk_client *client);
static void go_on(struct hk_client *client);

/* Requests. */

static void finish(struct hk_client *client, hk_err err, int status) {
    struct request *request = client->queue;
    client->queue = request->next;
    if (client->queue == NULL) client->queue_end = &client->queue;
    client->queue_count--;
    struct hk_client_result result = {
        .err = err,
        .status = status,
        .body = err == HK_OK ? hk_buf_get(&client->parser.body) : HK_STR(""),
        .written_ns = request->written_ns,
    };
    if (err < 0)
        (void)hk_fail(err, "%s: %s; %s", client->url.authority, hk_err_text(err), client->why);
    request->done(request->self, &result);
    hk_buf_deinit(&request->bytes);
    hk_mem_free(request);
}

/* Connection. */

static void close_connection(struct hk_client *client) {
    if (client->io.fd >= 0) hk_loop_unwatch(client->loop, &client->io);
    if (client->conn != NULL) {
        struct ssl_session_st *session = hk_tls_take_session(client->conn);
        if (session != NULL) {
            hk_tls_session_free(client->session);
            client->session = session;
        }
        hk_tls_conn_destroy(client->conn);
        client->conn = NULL;
    }
    hk_socket_close(client->io.fd);
    client->io.fd = -1;
    client->watched = 0;
    client->broken = false;
}

/* Tries again: at once after a connection that was of use, after a growing pause otherwise. */
static void wait_again(struct hk_client *client, bool was_good) {
    int64_t now_ns = hk_loop_now_ns(client->loop);
    client->state = WAITING;
    client->until_ns = now_ns;
    if (was_good) {
        client->backoff_ns = 0;
        return;
    }
    int64_t pause_ns = client->backoff_ns * 2;
    if (pause_ns < backoff_min_ns) pause_ns = backoff_min_ns;
    if (pause_ns > backoff_max_ns) pause_ns = backoff_max_ns;
    client->backoff_ns = pause_ns;
    client->until_ns += pause_ns;
}

/* For the caller who asks later why nothing arrived. */
static void keep_reason(struct hk_client *client, hk_err err) {
    static const char *const phases[] = { "waiting", "resolving", "connecting",
                                          "TLS",     "idle",      "request" };
    const char *why = hk_err_text(err);
    /* What the first address said matters more than that the second is closed. */
    if (client->state == CONNECTING && client->address_at > 0) return;
    if (client->conn != NULL && err == HK_E_DENIED) why = hk_tls_conn_error(client->conn);
    if (err == HK_E_MALFORMED && client->parser.reason != NULL) why = client->parser.reason;
    if (client->state == CONNECTING && err == HK_E_IO && client->io.fd >= 0)
        why = strerror(-client->connect_err);
    (void)snprintf(
        client->why, sizeof(client->why), "last connection: %s: %s", phases[client->state], why);
}

/* The connection is of no use any more. */
static void lose(struct hk_client *client, hk_err err) {
    enum state before = client->state;
    bool was_connected = before == IDLE || before == BUSY;
    bool lived = hk_loop_now_ns(client->loop) - client->connected_ns > lived_ns;
    bool was_good = was_connected && (client->served || lived);
    keep_reason(client, err);
    close_connection(client);
    if (!was_connected && ++client->address_at < client->address_count) {
        client->state = WAITING; /* the name has another address */
        client->until_ns = hk_loop_now_ns(client->loop);
    } else {
        wait_again(client, was_good);
        client->address_count = 0; /* ask for the name again */
    }
    if (before == BUSY && client->queue->begun) finish(client, err, 0); /* (2) */
}

static void watch(struct hk_client *client, unsigned events) {
    if (client->conn != NULL && hk_tls_wants_write(client->conn)) events |= HK_IO_WRITE;
    if (client->watched == events) return;
    hk_err err = client->watched == 0 ? hk_loop_watch(client->loop, &client->io, events)
                                      : hk_loop_rewatch(client->loop, &client->io, events);
    client->watched = events;
    if (err < 0) client->broken = true;
}

static void connect_next(struct hk_client *client) {
    const struct hk_sockaddr *address = &client->addresses[client->address_at];
    client->state = CONNECTING;
    client->until_ns = hk_loop_now_ns(client->loop) + connect_timeout_ns;
    client->served = false;
    client->io.fd = hk_socket_connect(address);
    if (client->io.fd < 0)
        client->broken = true;
    else
        watch(client, HK_IO_WRITE);
}

static void resolved(void *self, const struct hk_sockaddr *addresses, int count) {
    struct hk_client *client = self;
    client->resolve = NULL;
    client->address_at = 0;
    client->address_count = count < 0 ? 0 : count;
    if (count > 0) {
        memcpy(client->addresses, addresses, (size_t)count * sizeof(*addresses));
        connect_next(client);
    } else {
        (void)snprintf(client->why, sizeof(client->why), "the host name has no address");
        wait_again(client, false);
    }
    go_on(client);
}

static void begin_connecting(struct hk_client *client) {
    if (client->address_at < client->address_count) {
        connect_next(client);
        return;
    }
    client->address_at = 0;
    if (hk_sockaddr_numeric(client->url.host, client->url.port, &client->addresses[0]) == 0) {
        client->address_count = 1;
        if (strcmp(client->url.host, "localhost") == 0 &&
            hk_sockaddr_numeric("::1", client->url.port, &client->addresses[1]) == 0)
            client->address_count = 2;
        connect_next(client);
        return;
    }
    client->state = RESOLVING;
    hk_err err = hk_resolve_begin(
        client->loop, client->url.host, client->url.port, resolved, client, &client->resolve);
    if (err < 0) wait_again(client, false);
}

static void connected(struct hk_client *client) {
    client->state = IDLE;
    client->connected_ns = hk_loop_now_ns(client->loop);
    watch(client, HK_IO_READ);
}

static void after_connect(struct hk_client *client) {
    client->connect_err = hk_socket_error(client->io.fd);
    if (client->connect_err < 0) {
        lose(client, HK_E_IO);
        return;
    }
    if (!client->url.https) {
        connected(client);
        return;
    }
    client->conn = hk_tls_connect(client->tls, client->io.fd, client->url.host, client->session);
    client->state = HANDSHAKE;
    if (client->conn == NULL) lose(client, HK_E_NOMEM);
}

static void handshake(struct hk_client *client) {
    int err = hk_tls_handshake(client->conn);
    if (err == 0)
        connected(client);
    else if (err == -EAGAIN)
        watch(client, HK_IO_READ);
    else
        lose(client, HK_E_DENIED);
}

/* Sending. */

static int64_t send_parts(struct hk_client *client, const struct iovec *parts, int count) {
    return client->conn != NULL ? hk_tls_send(client->conn, parts, count)
                                : hk_socket_send(client->io.fd, parts, count);
}

/* Goes on with what is left of the request in work. */
static void send_rest(struct hk_client *client) {
    struct request *request = client->queue;
    while (request->at < request->bytes.len) {
        struct iovec part = { request->bytes.ptr + request->at, request->bytes.len - request->at };
        int64_t done = send_parts(client, &part, 1);
        if (done == -EAGAIN) {
            watch(client, HK_IO_READ | HK_IO_WRITE);
            return;
        }
        if (done < 0) {
            client->broken = true;
            return;
        }
        request->begun = true;
        request->at += (size_t)done;
    }
    if (request->written_ns == 0) request->written_ns = hk_clock_monotonic_ns();
    watch(client, HK_IO_READ);
}

/* Takes the oldest waiting request into work. */
static void begin_request(struct hk_client *client) {
    client->state = BUSY;
    hk_answer_reset(&client->parser);
    send_rest(client);
}

/* Receiving. */

static void end_answer(struct hk_client *client) {
    bool keep = client->parser.keep_alive && client->queue->at == client->queue->bytes.len;
    client->served = true;
    client->backoff_ns = 0;
    int status = client->parser.status;
    client->state = IDLE;
    if (!keep) {
        close_connection(client);
        wait_again(client, true);
    }
    finish(client, HK_OK, status);
}

/* Data while no request is in work: the end, or a server that breaks the rules. */
static void receive_idle(struct hk_client *client) {
    char byte = 0;
    int64_t got = client->conn != NULL ? hk_tls_recv(client->conn, &byte, 1)
                                       : hk_socket_recv(client->io.fd, &byte, 1);
    if (got == -EAGAIN) {
        watch(client, HK_IO_READ);
        return;
    }
    if (got > 0) client->served = false;
    lose(client, HK_E_CLOSED);
}

static void receive(struct hk_client *client) {
    while (client->state == BUSY) {
        int64_t got = client->conn != NULL
                          ? hk_tls_recv(client->conn, client->scratch, READ_BYTES)
                          : hk_socket_recv(client->io.fd, client->scratch, READ_BYTES);
        if (got == -EAGAIN) return;
        hk_err err = HK_E_IO;
        size_t used = 0;
        if (got > 0)
            err = hk_answer_feed(&client->parser, client->scratch, (size_t)got, &used);
        else if (got == 0)
            err = hk_answer_end(&client->parser);
        if (got > 0 && used < (size_t)got && err == HK_OK)
            client->parser.keep_alive = false; /* bytes that belong to no answer */
        if (err == HK_OK)
            end_answer(client);
        else if (err < 0)
            lose(client, err);
    }
}

static void ready(struct hk_io *io, unsigned events) {
    struct hk_client *client = (void *)((char *)io - offsetof(struct hk_client, io));
    if (client->state == CONNECTING) after_connect(client);
    if (client->state == HANDSHAKE) {
        handshake(client);
    } else if (client->state == IDLE && (events & (HK_IO_READ | HK_IO_ERROR)) != 0) {
        receive_idle(client);
    } else if (client->state == BUSY) {
        receive(client);
        if (client->state == BUSY && client->queue->at < client->queue->bytes.len &&
            !client->broken)
            send_rest(client);
    }
    go_on(client);
}

/* Time. */

static void expire_requests(struct hk_client *client) {
    int64_t now_ns = hk_loop_now_ns(client->loop);
    while (client->queue != NULL && client->queue->deadline_ns <= now_ns) {
        bool begun = client->state == BUSY && client->queue->begun;
        if (client->state == BUSY) lose(client, HK_E_TIMEOUT);
        if (!begun) finish(client, HK_E_TIMEOUT, 0);
    }
}

static void fire(struct hk_timer *timer) {
    struct hk_client *client = (void *)((char *)timer - offsetof(struct hk_client, timer));
    int64_t now_ns = hk_loop_now_ns(client->loop);
    bool connecting = client->state == CONNECTING || client->state == HANDSHAKE;
    if (connecting && client->until_ns <= now_ns) lose(client, HK_E_TIMEOUT);
    go_on(client);
}

static void arm(struct hk_client *client) {
    int64_t at_ns = INT64_MAX;
    if (client->state == WAITING || client->state == CONNECTING || client->state == HANDSHAKE)
        at_ns = client->until_ns;
    if (client->queue != NULL && client->queue->deadline_ns < at_ns)
        at_ns = client->queue->deadline_ns;
    if (client->broken) at_ns = 0;
    /* The timer has been armed since the client was made, so this needs no memory. */
    if (HK_NEVER(hk_loop_arm(client->loop, &client->timer, at_ns) < 0)) return;
}

/* After every event: what comes next? Bounded: each step uses up a request, or an address. */
static void go_on(struct hk_client *client) {
    expire_requests(client);
    for (int i = 0; i < HK_RESOLVE_MAX && client->broken; i++) {
        lose(client, HK_E_IO);
        if (client->state == WAITING && client->until_ns <= hk_loop_now_ns(client->loop))
            begin_connecting(client);
    }
    if (client->state == WAITING && client->until_ns <= hk_loop_now_ns(client->loop))
        begin_connecting(client);
    if (client->state == IDLE && client->queue != NULL) begin_request(client);
    arm(client);
}

/* Life. */

hk_err hk_client_create(
    struct hk_loop *loop, const struct hk_client_options *options, struct hk_client **out) {
    if (!hk_http_is_value(options->authorization))
        return hk_fail(HK_E_INVALID, "webhook authorization: it holds a control character");
    struct hk_client *client = hk_mem_alloc(1, sizeof(*client));
    if (client == NULL) return hk_fail(HK_E_NOMEM, "webhook: out of memory");
    client->loop = loop;
    client->options = *options;
    if (client->options.timeout_ns <= 0) client->options.timeout_ns = timeout_default_ns;
    if (client->options.queue_max == 0) client->options.queue_max = QUEUE_DEFAULT;
    client->io = (struct hk_io){ -1, ready };
    client->timer.fire = fire;
    client->queue_end = &client->queue;
    hk_buf_init(&client->head, SIZE_MAX / 2);
    hk_answer_reset(&client->parser);
    (void)snprintf(client->why, sizeof(client->why), "not connected yet");
    client->authorization = hk_mem_copy(options->authorization.ptr, options->authorization.len);
    hk_err err = client->authorization != NULL ? hk_url_parse(options->url, &client->url)
                                               : hk_fail(HK_E_NOMEM, "webhook: out of memory");
    if (err == HK_OK && client->url.https)
        err = hk_tls_create_client(options->ca_file, options->insecure_skip_verify, &client->tls);
    if (err == HK_OK) err = hk_loop_arm(loop, &client->timer, 0);
    if (err < 0) {
        hk_client_destroy(client);
        return err;
    }
    client->until_ns = 0;
    go_on(client);
    *out = client;
    return HK_OK;
}

void hk_client_destroy(struct hk_client *client) {
    if (client == NULL) return;
    hk_resolve_cancel(client->resolve);
    close_connection(client);
    hk_loop_disarm(client->loop, &client->timer);
    client->state = RESOLVING; /* what `done` posts waits, and ends here, too */
    client->options.queue_max = 0;
    while (client->queue != NULL) {
        finish(client, HK_E_CANCELED, 0);
    }
    hk_tls_session_free(client->session);
    hk_tls_destroy(client->tls);
    hk_answer_deinit(&client->parser);
    hk_buf_deinit(&client->head);
    hk_url_deinit(&client->url);
    hk_mem_free(client->authorization);
    hk_mem_free(client);
}

bool hk_client_is_warm(const struct hk_client *client) {
    return client->state == IDLE && !client->broken && client->queue == NULL;
}

static hk_err write_head(
    struct hk_client *client, struct hk_str content_type, size_t body_bytes,
    const struct hk_str *extra, uint32_t count) {
    struct hk_buf *head = &client->head;
    hk_buf_clear(head);
    hk_buf_printf(
        head, "POST %s HTTP/1.1\r\nHost: %s\r\n", client->url.target, client->url.authority);
    hk_buf_printf(head, "Content-Length: %zu\r\n", body_bytes);
    if (content_type.len > 0) {
        if (!hk_http_is_value(content_type)) return HK_E_INVALID;
        hk_buf_printf(head, "Content-Type: %.*s\r\n", HK_STR_ARG(content_type));
    }
    if (client->authorization[0] != 0)
        hk_buf_printf(head, "Authorization: %s\r\n", client->authorization);
    for (uint32_t i = 0; i < count; i++) {
        struct hk_str name = extra[(size_t)2 * i];
        struct hk_str value = extra[(size_t)2 * i + 1];
        if (!hk_http_is_token(name) || !hk_http_is_value(value)) return HK_E_INVALID;
        hk_buf_printf(head, "%.*s: %.*s\r\n", HK_STR_ARG(name), HK_STR_ARG(value));
    }
    hk_buf_text(head, "\r\n");
    return head->err;
}

static void append(struct hk_client *client, struct request *request) {
    *client->queue_end = request;
    client->queue_end = &request->next;
    client->queue_count++;
}

/* The warm path: writes from the caller's memory; the copy of what is left comes after. */
static void write_now(struct hk_client *client, struct request *request, struct hk_str body) {
    struct hk_buf *head = &client->head;
    struct iovec parts[2] = { { head->ptr, head->len }, { (void *)(uintptr_t)body.ptr, body.len } };
    client->state = BUSY;
    hk_answer_reset(&client->parser);
    int64_t done = send_parts(client, parts, body.len > 0 ? 2 : 1);
    size_t sent = done > 0 ? (size_t)done : 0;
    if (done < 0 && done != -EAGAIN) client->broken = true;
    request->begun = sent > 0;
    if (sent == head->len + body.len) {
        request->written_ns = hk_clock_monotonic_ns();
        return;
    }
    size_t of_head = sent < head->len ? sent : head->len;
    hk_buf_bytes(&request->bytes, head->ptr + of_head, head->len - of_head);
    size_t of_body = sent - of_head;
    hk_buf_bytes(&request->bytes, body.ptr + of_body, body.len - of_body);
    if (request->bytes.err < 0) client->broken = request->begun = true; /* it ends with an error */
    if (!client->broken) watch(client, HK_IO_READ | HK_IO_WRITE);
}

hk_err hk_client_post(
    struct hk_client *client, struct hk_str content_type, struct hk_str body,
    const struct hk_str *extra_headers, uint32_t extra_header_count,
    void (*done)(void *self, const struct hk_client_result *result), void *self) {
    if (client->queue_count >= client->options.queue_max)
        return hk_fail(HK_E_BUSY, "webhook: %u requests are waiting already", client->queue_count);
    hk_err err = write_head(client, content_type, body.len, extra_headers, extra_header_count);
    if (err < 0) return hk_fail(err, "webhook: the headers cannot be sent as they are");
    struct request *request = hk_mem_alloc(1, sizeof(*request));
    if (request == NULL) return hk_fail(HK_E_NOMEM, "webhook: out of memory");
    request->done = done;
    request->self = self;
    hk_buf_init(&request->bytes, SIZE_MAX / 2);
    if (hk_client_is_warm(client)) {
        append(client, request);
        write_now(client, request, body);
    } else {
        hk_buf_str(&request->bytes, hk_buf_get(&client->head));
        hk_buf_str(&request->bytes, body);
        if (request->bytes.err < 0) {
            hk_buf_deinit(&request->bytes);
            hk_mem_free(request);
            return hk_fail(HK_E_NOMEM, "webhook: out of memory");
        }
        append(client, request);
    }
    request->deadline_ns = hk_clock_monotonic_ns() + client->options.timeout_ns;
    arm(client);
    return HK_OK;
}
