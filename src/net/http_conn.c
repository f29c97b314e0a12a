/* Connections: reading, the output queue, closing, timeouts. */
#include "base/mem.h"
#include "net/http_internal.h"
#include "net/tls_internal.h"
#include "os/clock.h"

#include <errno.h>

enum {
    FIRST_READ_BYTES = 4096,
    LINGER_NS = 2000000000,
    HANDSHAKE_NS_PER_ROUND = 2000000,
    SUBJECT_BYTES_MAX = 1024,
    LINGER_BYTES_MAX = 4 << 20,
    OUT_KEPT_BYTES = 16384, /* an idle connection keeps no larger buffer */
};

static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
enum { PREFACE_BYTES = sizeof(preface) - 1 };

static struct hk_conn *conn_of_io(struct hk_io *io) {
    return (void *)((char *)io - offsetof(struct hk_conn, io));
}

static struct hk_conn *conn_of_timer(struct hk_timer *timer) {
    return (void *)((char *)timer - offsetof(struct hk_conn, timer));
}

/* Input and output. */

int64_t hk_conn_recv(struct hk_conn *conn, void *to, size_t bytes) {
    int64_t got = conn->tls != NULL ? hk_tls_recv(conn->tls, to, bytes)
                                    : hk_socket_recv(conn->io.fd, to, bytes);
    if (got > 0) hk_stat_add(&conn->server->stats.bytes_in, (uint64_t)got);
    return got;
}

size_t hk_conn_pending(const struct hk_conn *conn) {
    return conn->out.len - conn->out_at + conn->big.len - conn->big_at;
}

struct hk_buf *hk_conn_out(struct hk_conn *conn) {
    return conn->big.len > 0 ? &conn->big : &conn->out;
}

static void took(struct hk_buf *buf, size_t *at, size_t *bytes) {
    size_t take = buf->len - *at < *bytes ? buf->len - *at : *bytes;
    *at += take;
    *bytes -= take;
    if (*at < buf->len) return;
    *at = 0;
    if (buf->capacity > OUT_KEPT_BYTES)
        hk_buf_deinit(buf);
    else
        hk_buf_clear(buf);
}

static char *part_at(const struct hk_buf *buf, size_t at) {
    return buf->ptr == NULL ? NULL : buf->ptr + at;
}

void hk_conn_flush(struct hk_conn *conn) {
    if (conn->out.err < 0 || conn->big.err < 0) conn->dead = true; /* an answer has a hole */
    while (!conn->dead && hk_conn_pending(conn) > 0) {
        struct iovec parts[2] = {
            { part_at(&conn->out, conn->out_at), conn->out.len - conn->out_at },
            { part_at(&conn->big, conn->big_at), conn->big.len - conn->big_at },
        };
        int first = parts[0].iov_len == 0;
        int count = 2 - first - (parts[1].iov_len == 0);
        int64_t done = conn->tls != NULL ? hk_tls_send(conn->tls, parts + first, count)
                                         : hk_socket_send(conn->io.fd, parts + first, count);
        if (done == -EAGAIN) {
            if (conn->write_since_ns == 0)
                conn->write_since_ns = hk_loop_now_ns(conn->server->loop);
            return;
        }
        if (done < 0) {
            conn->dead = true;
            return;
        }
        hk_stat_add(&conn->server->stats.bytes_out, (uint64_t)done);
        size_t bytes = (size_t)done;
        took(&conn->out, &conn->out_at, &bytes);
        took(&conn->big, &conn->big_at, &bytes);
        conn->write_since_ns = 0;
    }
}

/* Protocol. */

/* HTTP/2 with prior knowledge begins with the preface (RFC 9113 §3.4). HK_MORE: cannot say yet. */
static hk_err detect(struct hk_conn *conn) {
    size_t len = conn->in.len < PREFACE_BYTES ? conn->in.len : PREFACE_BYTES;
    if (len > 0 && memcmp(conn->in.ptr, preface, len) != 0) {
        conn->protocol = HK_CONN_HTTP1;
        return HK_OK;
    }
    if (len < PREFACE_BYTES) return HK_MORE;
    if (hk_h2_begin(conn) < 0) conn->dead = true;
    return HK_OK;
}

/* What was read before the protocol was known. */
static void input_first(struct hk_conn *conn) {
    if (conn->protocol != HK_CONN_HTTP2) {
        hk_h1_go_on(conn);
        return;
    }
    hk_h2_input(conn, conn->in.ptr, conn->in.len);
    hk_buf_deinit(&conn->in);
}

/* True: there may be more to read, and the protocol is known. */
static bool read_first(struct hk_conn *conn) {
    char *to = hk_buf_reserve(&conn->in, FIRST_READ_BYTES);
    int64_t got = to == NULL ? -ENOMEM : hk_conn_recv(conn, to, FIRST_READ_BYTES);
    if (got == -EAGAIN) return false;
    if (got < 0) conn->dead = true;
    if (got == 0) conn->eof = true;
    if (got <= 0) return false;
    conn->in.len += (size_t)got;
    if (!conn->begun) conn->since_ns = hk_loop_now_ns(conn->server->loop);
    conn->begun = true;
    if (detect(conn) == HK_OK && !conn->dead) input_first(conn);
    return got == FIRST_READ_BYTES && conn->protocol != HK_CONN_DETECT && !conn->dead;
}

static void linger(struct hk_conn *conn) {
    for (int i = 0; i < 4; i++) {
        int64_t got = hk_conn_recv(conn, conn->server->scratch, HK_HTTP_SCRATCH_BYTES);
        if (got == -EAGAIN) return;
        if (got > 0) conn->linger_bytes += (size_t)got;
        if (got <= 0 || conn->linger_bytes > LINGER_BYTES_MAX) {
            conn->dead = true;
            return;
        }
    }
}

/*
 * Goes on with the handshake. One costs up to a millisecond, so there is a budget per round of the
 * loop; who comes too late is still readable in the next round.
 */
static bool handshake(struct hk_conn *conn) {
    struct hk_http_server *server = conn->server;
    if (server->handshake_round_ns != conn->readable_ns) {
        server->handshake_round_ns = conn->readable_ns;
        server->handshake_spent_ns = 0;
    }
    if (server->handshake_spent_ns > HANDSHAKE_NS_PER_ROUND) return false;
    int64_t begin_ns = hk_clock_monotonic_ns();
    int err = hk_tls_handshake(conn->tls);
    server->handshake_spent_ns += hk_clock_monotonic_ns() - begin_ns;
    if (err == -EAGAIN) return false;
    if (err < 0) {
        hk_stat_add(&server->stats.malformed, 1);
        conn->dead = true;
        return false;
    }
    size_t len = hk_tls_peer_subject(conn->tls, server->scratch, SUBJECT_BYTES_MAX);
    if (len > 0) conn->identity_text = hk_mem_copy(server->scratch, len);
    if (len > 0 && conn->identity_text == NULL) conn->dead = true;
    if (conn->identity_text != NULL) conn->identity = (struct hk_str){ conn->identity_text, len };
    conn->begun = false;
    conn->since_ns = conn->readable_ns;
    return !conn->dead;
}

static void conn_read(struct hk_conn *conn) {
    conn->readable_ns = hk_loop_now_ns(conn->server->loop);
    if (conn->tls != NULL && !hk_tls_is_ready(conn->tls) && !handshake(conn)) return;
    if (conn->lingering) {
        linger(conn);
        return;
    }
    if (conn->closing) return;
    if (conn->protocol == HK_CONN_DETECT && !read_first(conn)) return;
    if (conn->protocol == HK_CONN_HTTP2)
        hk_h2_read(conn);
    else
        hk_h1_read(conn);
}

static void conn_ready(struct hk_io *io, unsigned events) {
    struct hk_conn *conn = conn_of_io(io);
    conn->busy = true;
    conn->turn_requests = 0;
    if ((events & HK_IO_WRITE) != 0) {
        hk_conn_flush(conn);
        if (!conn->dead && !conn->closing && conn->protocol == HK_CONN_HTTP1) hk_h1_go_on(conn);
    }
    bool tls_waits = conn->tls != NULL && hk_tls_wants_write(conn->tls);
    if (!conn->dead && ((events & HK_IO_READ) != 0 || tls_waits)) conn_read(conn);
    if ((events & HK_IO_ERROR) != 0 && (events & HK_IO_READ) == 0) conn->dead = true;
    conn->busy = false;
    hk_conn_settle(conn);
}

void hk_conn_resume(struct hk_conn *conn) {
    conn->busy = true;
    conn->turn_requests = 0;
    if (!conn->dead && !conn->closing && conn->protocol == HK_CONN_HTTP1) hk_h1_go_on(conn);
    conn->busy = false;
    hk_conn_settle(conn);
}

/* Timeouts: one timer, armed for the earliest deadline it was ever told; when it fires early it
 * is armed again. So the common request touches the heap not at all. */

static int64_t deadline_of(const struct hk_conn *conn) {
    const struct hk_http_limits *limits = &conn->server->options.limits;
    if (conn->lingering) return conn->since_ns + LINGER_NS;
    if (conn->write_since_ns != 0) return conn->write_since_ns + limits->write_timeout_ns;
    if (conn->protocol == HK_CONN_HTTP1) return hk_h1_deadline(conn);
    if (conn->protocol == HK_CONN_HTTP2) return hk_h2_check_ns(conn);
    return conn->since_ns + (conn->begun ? limits->header_timeout_ns : limits->idle_timeout_ns);
}

static void arm(struct hk_conn *conn) {
    /* In the next round, after the others. */
    bool soon = conn->reread || conn->yields;
    int64_t deadline_ns = soon ? hk_loop_now_ns(conn->server->loop) + 1 : deadline_of(conn);
    if (deadline_ns == INT64_MAX) return;
    if (conn->timer.heap_at != 0 && conn->timer.at_ns <= deadline_ns) return;
    if (hk_loop_arm(conn->server->loop, &conn->timer, deadline_ns) < 0) conn->dead = true;
}

/* The phase's time is over. */
static void expire(struct hk_conn *conn) {
    bool waits = conn->lingering || conn->write_since_ns != 0;
    if (!waits && conn->protocol == HK_CONN_HTTP1 && conn->begun) {
        hk_h1_timeout(conn);
        return;
    }
    if (!conn->lingering && (conn->begun || waits)) hk_stat_add(&conn->server->stats.timeouts, 1);
    conn->dead = true;
}

static void conn_timer(struct hk_timer *timer) {
    struct hk_conn *conn = conn_of_timer(timer);
    bool streams = conn->protocol == HK_CONN_HTTP2 && !conn->lingering;
    conn->busy = true;
    conn->turn_requests = 0;
    if ((conn->reread || conn->yields) && !conn->dead) {
        if (conn->yields) hk_h1_go_on(conn);
        if (conn->reread && !conn->dead) conn_read(conn);
    } else if (hk_loop_now_ns(conn->server->loop) >= deadline_of(conn))
        expire(conn);
    else if (streams)
        hk_h2_timeout(conn);
    conn->busy = false;
    hk_conn_settle(conn);
}

/* Life. */

static void count_open(struct hk_http_server *server, uint32_t change) {
    uint32_t *open = &server->stats.connections_open;
    __atomic_store_n(open, *open + change, __ATOMIC_RELAXED);
}

void hk_conn_create(struct hk_http_server *server, int fd, const struct hk_sockaddr *peer) {
    struct hk_conn *conn = hk_mem_alloc(1, sizeof(*conn));
    if (conn == NULL) {
        hk_socket_close(fd);
        return;
    }
    conn->io = (struct hk_io){ fd, conn_ready };
    conn->timer.fire = conn_timer;
    conn->server = server;
    conn->in.bytes_max = conn->out.bytes_max = conn->big.bytes_max = SIZE_MAX / 2;
    conn->since_ns = hk_loop_now_ns(server->loop);
    if (server->options.tls != NULL) {
        conn->tls = hk_tls_accept(server->options.tls, fd);
        conn->begun = true; /* the handshake has the time of a head */
        if (conn->tls == NULL) conn->dead = true;
    }
    conn->peer = (struct hk_str){ conn->peer_text, hk_sockaddr_text(peer, conn->peer_text) };
    conn->identity = HK_STR("");
    conn->watched = HK_IO_READ;
    conn->next = server->conns;
    if (conn->next != NULL) conn->next->prev = conn;
    server->conns = conn;
    count_open(server, 1);
    hk_stat_add(&server->stats.connections_total, 1);
    if (hk_loop_watch(server->loop, &conn->io, HK_IO_READ) < 0) conn->dead = true;
    hk_conn_settle(conn);
}

void hk_conn_destroy(struct hk_conn *conn) {
    struct hk_http_server *server = conn->server;
    hk_loop_unwatch(server->loop, &conn->io);
    hk_loop_disarm(server->loop, &conn->timer);
    conn->dead = conn->busy = true; /* (3) answers given by `gone` do not come back here */
    hk_h1_detach(conn);
    hk_h2_detach(conn);
    if (conn->tls != NULL) hk_tls_shutdown(conn->tls);
    hk_tls_conn_destroy(conn->tls);
    hk_socket_close(conn->io.fd);
    hk_mem_free(conn->identity_text);
    hk_server_account(server, &conn->accounted, 0);
    hk_buf_deinit(&conn->in);
    hk_buf_deinit(&conn->out);
    hk_buf_deinit(&conn->big);
    if (conn->prev != NULL)
        conn->prev->next = conn->next;
    else
        server->conns = conn->next;
    if (conn->next != NULL) conn->next->prev = conn->prev;
    count_open(server, (uint32_t)-1);
    hk_mem_free(conn);
}

/* All output is written: end our side and wait a moment for the peer's (RFC 9112 §9.6). */
static void begin_linger(struct hk_conn *conn) {
    if (conn->eof) {
        conn->dead = true;
        return;
    }
    if (conn->tls != NULL) hk_tls_shutdown(conn->tls);
    hk_socket_shutdown_write(conn->io.fd);
    conn->lingering = true;
    conn->since_ns = hk_loop_now_ns(conn->server->loop);
}

static void watch(struct hk_conn *conn) {
    unsigned want = 0;
    bool waits = conn->paused || conn->yields || conn->h1.state == HK_H1_HANDED;
    bool full = waits && conn->in.len >= HK_HTTP_PIPELINE_MAX;
    if (!conn->eof && !full && (conn->lingering || !conn->closing)) want |= HK_IO_READ;
    if (hk_conn_pending(conn) > 0) want |= HK_IO_WRITE;
    if (conn->tls != NULL && hk_tls_wants_write(conn->tls)) want |= HK_IO_WRITE;
    /* Input that TLS holds already is not seen by the poller. */
    conn->reread = (want & HK_IO_READ) != 0 && conn->tls != NULL && hk_tls_has_input(conn->tls);
    if (want == conn->watched) return;
    if (hk_loop_rewatch(conn->server->loop, &conn->io, want) < 0) conn->dead = true;
    conn->watched = want;
}

static void account(struct hk_conn *conn) {
    size_t bytes = conn->in.capacity + conn->out.capacity + conn->big.capacity;
    hk_server_account(conn->server, &conn->accounted, bytes);
}

/* Requests that waited for the output to shrink. */
static void unpause(struct hk_conn *conn) {
    conn->busy = true;
    while (conn->paused && !conn->dead && hk_conn_pending(conn) <= HK_HTTP_OUT_PAUSE) {
        conn->paused = false;
        hk_h1_go_on(conn);
        hk_conn_flush(conn);
    }
    conn->busy = false;
}

/* Makes and writes frames as long as the socket takes them. */
static void pump(struct hk_conn *conn) {
    if (conn->server->draining && !conn->goaway) {
        conn->goaway = true;
        hk_h2_drain(conn);
    }
    conn->busy = true;
    size_t before = 0;
    do {
        hk_h2_pump(conn);
        before = hk_conn_pending(conn);
        if (!conn->dead) hk_conn_flush(conn);
    } while (!conn->dead && before > 0 && hk_conn_pending(conn) == 0);
    conn->busy = false;
}

/* All output is written: is this the end? */
static void end_if_over(struct hk_conn *conn) {
    bool http2 = conn->protocol == HK_CONN_HTTP2;
    bool more = !http2 && (conn->h1.exchange != NULL || conn->paused || conn->yields);
    if (conn->eof && !more) conn->dead = true;
    if (http2 && !conn->dead && hk_h2_is_over(conn)) conn->closing = true;
    if (conn->closing && !conn->lingering && !conn->dead) begin_linger(conn);
    if (conn->server->draining && !conn->begun && !conn->lingering) conn->dead = true;
}

void hk_conn_settle(struct hk_conn *conn) {
    if (conn->busy) return; /* (3) */
    if (conn->protocol == HK_CONN_HTTP2 && !conn->dead && !conn->lingering)
        pump(conn);
    else if (!conn->dead)
        hk_conn_flush(conn);
    unpause(conn);
    if (!conn->dead && hk_conn_pending(conn) == 0) end_if_over(conn);
    if (!conn->dead) watch(conn);
    if (!conn->dead) arm(conn);
    account(conn);
    if (conn->dead) hk_conn_destroy(conn);
}
