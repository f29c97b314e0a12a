/*
 * HTTP/1.1 connections (RFC 9112). A head is looked for where the bytes were read; only what is
 * left over is kept in `in`. A body with known length is read from the socket straight into its
 * buffer.
 */
#include "net/http_internal.h"

#include <errno.h>

enum {
    HEAD_READ_BYTES = 16384,   /* of the first read of a request: small, the body has its own */
    BODY_STEP_BYTES = 1 << 20, /* a declared length is not believed further than this ahead */
    BODY_READS_MAX = 4,
    BLANK_LINES_MAX = 4,
    TURN_REQUESTS_MAX = 32, /* pipelined requests until other connections have their turn */
    BIG_ANSWER_BYTES = 16384,
};

/* Refuses what cannot be answered by an exchange of its own yet. */
static void fail(struct hk_conn *conn, int status, const char *text) {
    struct hk_http_exchange *exchange = conn->h1.exchange;
    if (exchange == NULL) exchange = hk_exchange_create(conn);
    if (exchange == NULL) {
        conn->dead = true;
        return;
    }
    conn->h1.exchange = exchange;
    exchange->keep_alive = false;
    hk_exchange_refuse(exchange, status, text);
}

static void end_request(struct hk_conn *conn) {
    conn->h1.state = HK_H1_HANDED;
    hk_exchange_dispatch(conn->h1.exchange);
}

/* Body. */

static bool add_body(struct hk_conn *conn, struct hk_str bytes) {
    int status = 0;
    char *to = hk_exchange_room(conn->h1.exchange, bytes.len, &status);
    if (to == NULL) {
        fail(
            conn, status,
            status == 413 ? "the body is larger than the limit\n"
                          : "out of memory; try again later\n");
        return false;
    }
    memcpy(to, bytes.ptr, bytes.len);
    conn->h1.exchange->body.len += bytes.len;
    return true;
}

static size_t body_length_input(struct hk_conn *conn, const char *data, size_t len) {
    size_t take = len < conn->h1.left ? len : (size_t)conn->h1.left;
    if (!add_body(conn, (struct hk_str){ data, take })) return len;
    conn->h1.left -= take;
    if (conn->h1.left == 0) end_request(conn);
    return take;
}

static size_t body_chunked_input(struct hk_conn *conn, const char *data, size_t len) {
    struct hk_str piece;
    int64_t took = hk_h1_chunks_next(&conn->h1.chunks, data, len, &piece);
    if (took < 0) {
        fail(conn, 400, "the chunked body is malformed\n");
        return len;
    }
    if (piece.len > 0 && !add_body(conn, piece)) return len;
    if (conn->h1.chunks.state == HK_H1_CHUNK_DONE) end_request(conn);
    return (size_t)took;
}

/* Head. */

static int fill_request(
    struct hk_http_exchange *exchange, char *data, size_t len, struct hk_h1_head *head,
    const char **out_text) {
    struct hk_http_server *server = exchange->server;
    int status = hk_h1_parse_request(data, len, server->headers, head);
    *out_text = head->reason;
    exchange->head_only = hk_str_is(head->method, "HEAD");
    exchange->http10 = head->minor == 0;
    if (status != 0) return status;
    exchange->keep_alive = head->keep_alive;
    struct hk_http_request *request = &exchange->request;
    size_t bytes = head->header_count * sizeof(struct hk_http_header);
    struct hk_http_header *headers = hk_arena_alloc_raw(&exchange->arena, bytes + 1, 1);
    if (headers == NULL) return 503;
    memcpy(headers, server->headers, bytes);
    request->headers = headers;
    request->header_count = head->header_count;
    request->method = head->method;
    request->authority = head->host.ptr == NULL ? HK_STR("") : head->host;
    if (!hk_exchange_set_target(exchange, head->target)) {
        *out_text = "the request target is not a valid path";
        return 400;
    }
    return hk_exchange_read_codings(exchange, out_text);
}

/* The body's framing is known: 0, or the status to refuse with. */
static int begin_body(struct hk_conn *conn, const struct hk_h1_head *head, const char **out_text) {
    struct hk_http_exchange *exchange = conn->h1.exchange;
    const struct hk_http_limits *limits = &conn->server->options.limits;
    if (head->has_length && head->content_length > limits->body_bytes_max) {
        *out_text = "the body is larger than the limit\n";
        return 413;
    }
    int status = hk_exchange_admit(exchange, out_text);
    if (status != 0) return status;
    if (conn->server->memory + head->content_length > limits->memory_max) {
        *out_text = "out of memory; try again later\n";
        return 503;
    }
    conn->h1.left = head->content_length;
    conn->h1.chunks = (struct hk_h1_chunks){ 0 };
    conn->h1.state = head->chunked ? HK_H1_BODY_CHUNKED : HK_H1_BODY_LENGTH;
    return 0;
}

static void begin_request(struct hk_conn *conn, const char *data, size_t len, bool body_waits) {
    struct hk_http_exchange *exchange = hk_exchange_create(conn);
    char *copy = exchange == NULL ? NULL : hk_arena_alloc_raw(&exchange->arena, len, 1);
    conn->h1.exchange = exchange;
    if (copy == NULL) {
        fail(conn, 503, "out of memory; try again later\n");
        return;
    }
    memcpy(copy, data, len);
    struct hk_h1_head head;
    const char *text = "";
    int status = fill_request(exchange, copy, len, &head, &text);
    bool has_body = head.chunked || head.content_length > 0;
    if (status == 0) status = begin_body(conn, &head, &text);
    if (status != 0) {
        if (has_body) exchange->keep_alive = false;
        if (status < 401 || status > 404) exchange->keep_alive = false;
        hk_exchange_refuse(exchange, status, text);
        return;
    }
    conn->turn_requests++;
    exchange->since_ns = conn->since_ns = hk_loop_now_ns(conn->server->loop);
    if (!has_body) {
        end_request(conn);
    } else if (head.expect_continue && !body_waits) {
        hk_buf_text(hk_conn_out(conn), "HTTP/1.1 100 Continue\r\n\r\n");
        hk_conn_flush(conn);
    }
}

static size_t head_input(struct hk_conn *conn, const char *data, size_t len) {
    struct hk_h1 *h1 = &conn->h1;
    if (!conn->begun) conn->since_ns = hk_loop_now_ns(conn->server->loop);
    conn->begun = true;
    /* RFC 9112 §2.2: an empty line before the request line is skipped. */
    if (len >= 2 && data[0] == '\r' && data[1] == '\n' && h1->blank_lines < BLANK_LINES_MAX) {
        h1->blank_lines++;
        return 2;
    }
    size_t bytes_max = conn->server->options.limits.header_bytes_max;
    int64_t end = hk_h1_find_end(data, len, &h1->scanned);
    if (end < 0) {
        fail(conn, 400, "a line of the head does not end in CR LF\n");
    } else if (end > (int64_t)bytes_max || (end == 0 && len > bytes_max)) {
        fail(conn, 431, "the request's headers are larger than the limit\n");
    } else if (end > 0) {
        h1->scanned = 0;
        h1->blank_lines = 0;
        begin_request(conn, data, (size_t)end, len > (size_t)end);
        return (size_t)end;
    } else {
        return 0;
    }
    return len;
}

/* Takes input as far as possible; returns the bytes taken. */
static size_t input(struct hk_conn *conn, const char *data, size_t len) {
    size_t at = 0;
    while (at < len && !conn->dead && !conn->closing) {
        size_t took = 0;
        switch (conn->h1.state) {
        case HK_H1_HEAD:
            conn->paused = hk_conn_pending(conn) > HK_HTTP_OUT_PAUSE;
            conn->yields = conn->turn_requests >= TURN_REQUESTS_MAX;
            if (conn->paused || conn->yields) return at;
            took = head_input(conn, data + at, len - at);
            break;
        case HK_H1_BODY_LENGTH:
            took = body_length_input(conn, data + at, len - at);
            break;
        case HK_H1_BODY_CHUNKED:
            took = body_chunked_input(conn, data + at, len - at);
            break;
        case HK_H1_HANDED:
        default:
            break;
        }
        if (took == 0) break;
        at += took;
    }
    return conn->dead || conn->closing ? len : at;
}

void hk_h1_go_on(struct hk_conn *conn) {
    conn->yields = false;
    if (conn->in.len == 0) return;
    size_t took = input(conn, conn->in.ptr, conn->in.len);
    conn->in.len -= took;
    if (conn->in.len == 0)
        hk_buf_deinit(&conn->in);
    else if (took > 0)
        memmove(conn->in.ptr, conn->in.ptr + took, conn->in.len);
    if (conn->in.len == 0 && conn->h1.state == HK_H1_HEAD) conn->begun = false;
}

/* What was read into the scratch buffer, or behind what `in` holds already. */
static void take(struct hk_conn *conn, const char *data, size_t len) {
    bool behind = conn->in.len > 0;
    size_t took = behind ? 0 : input(conn, data, len);
    hk_buf_bytes(&conn->in, data + took, len - took);
    if (conn->in.err < 0) conn->dead = true;
    if (behind && !conn->dead) hk_h1_go_on(conn);
    if (conn->in.len == 0 && conn->h1.state == HK_H1_HEAD) conn->begun = false;
}

/* Reads into the body itself. Returns what hk_conn_recv returned, 0 bytes wanted as -EAGAIN. */
static int64_t read_body(struct hk_conn *conn, size_t *out_wanted) {
    struct hk_http_exchange *exchange = conn->h1.exchange;
    struct hk_buf *body = &exchange->body;
    size_t bytes = conn->h1.left < BODY_STEP_BYTES ? (size_t)conn->h1.left : BODY_STEP_BYTES;
    int status = 0;
    char *to = hk_exchange_room(exchange, bytes, &status);
    if (to == NULL) {
        fail(conn, status, "out of memory; try again later\n");
        return -EAGAIN;
    }
    *out_wanted = bytes;
    int64_t got = hk_conn_recv(conn, to, bytes);
    if (got <= 0) return got;
    body->len += (size_t)got;
    conn->h1.left -= (uint64_t)got;
    if (conn->h1.left == 0) end_request(conn);
    return got;
}

static void end_of_stream(struct hk_conn *conn) {
    conn->eof = true;
    if (conn->h1.exchange == NULL) return; /* earlier answers are written, then it closes */
    if (conn->h1.state == HK_H1_HANDED) {
        hk_exchange_tell_gone(conn->h1.exchange);
        return;
    }
    hk_conn_flush(conn);
    conn->dead = true;
}

void hk_h1_read(struct hk_conn *conn) {
    for (int i = 0; i < BODY_READS_MAX && !conn->dead && !conn->closing; i++) {
        bool chunked = conn->h1.state == HK_H1_BODY_CHUNKED;
        size_t wanted = chunked ? HK_HTTP_SCRATCH_BYTES : HEAD_READ_BYTES;
        int64_t got = 0;
        if (conn->h1.state == HK_H1_BODY_LENGTH && conn->in.len == 0) {
            got = read_body(conn, &wanted);
        } else {
            got = hk_conn_recv(conn, conn->server->scratch, wanted);
            if (got > 0) take(conn, conn->server->scratch, (size_t)got);
        }
        if (got == 0) end_of_stream(conn);
        if (got < 0 && got != -EAGAIN) conn->dead = true;
        if (got < (int64_t)wanted) return; /* drained */
        if (conn->in.len >= HK_HTTP_PIPELINE_MAX || conn->yields) return;
    }
}

/* Answers. */

static const char *reason_of(int status) {
    static const struct {
        int status;
        const char *text;
    } reasons[] = {
        { 200, "OK" },
        { 201, "Created" },
        { 202, "Accepted" },
        { 204, "No Content" },
        { 301, "Moved Permanently" },
        { 302, "Found" },
        { 303, "See Other" },
        { 304, "Not Modified" },
        { 307, "Temporary Redirect" },
        { 308, "Permanent Redirect" },
        { 400, "Bad Request" },
        { 401, "Unauthorized" },
        { 403, "Forbidden" },
        { 404, "Not Found" },
        { 405, "Method Not Allowed" },
        { 406, "Not Acceptable" },
        { 408, "Request Timeout" },
        { 409, "Conflict" },
        { 413, "Content Too Large" },
        { 415, "Unsupported Media Type" },
        { 417, "Expectation Failed" },
        { 421, "Misdirected Request" },
        { 422, "Unprocessable Content" },
        { 429, "Too Many Requests" },
        { 431, "Request Header Fields Too Large" },
        { 499, "Client Closed Request" },
        { 500, "Internal Server Error" },
        { 501, "Not Implemented" },
        { 502, "Bad Gateway" },
        { 503, "Service Unavailable" },
        { 504, "Gateway Timeout" },
        { 505, "HTTP Version Not Supported" },
    };
    for (size_t i = 0; i < HK_COUNT(reasons); i++) {
        if (reasons[i].status == status) return reasons[i].text;
    }
    return "Status";
}

static void write_field(struct hk_buf *out, struct hk_str name, struct hk_str value) {
    hk_buf_str(out, name);
    hk_buf_bytes(out, ": ", 2);
    hk_buf_str(out, value);
    hk_buf_bytes(out, "\r\n", 2);
}

static void write_framing(
    struct hk_http_exchange *exchange, const struct hk_http_answer *answer, struct hk_buf *out) {
    bool bodiless = answer->status == 204 || answer->status == 304;
    if (answer->coding != HK_CODING_IDENTITY) {
        const char *name = answer->coding == HK_CODING_ZSTD ? "zstd" : "gzip";
        write_field(out, HK_STR("Content-Encoding"), hk_str_from(name));
        write_field(out, HK_STR("Vary"), HK_STR("Accept-Encoding"));
    }
    if (answer->streaming && !exchange->http10)
        hk_buf_text(out, "Transfer-Encoding: chunked\r\n");
    else if (!answer->streaming && !bodiless)
        hk_buf_printf(out, "Content-Length: %zu\r\n", answer->body.len);
    if (!exchange->keep_alive)
        hk_buf_text(out, "Connection: close\r\n");
    else if (exchange->http10)
        hk_buf_text(out, "Connection: keep-alive\r\n");
}

static void write_head(
    struct hk_http_exchange *exchange, const struct hk_http_answer *answer, struct hk_buf *out) {
    hk_buf_printf(out, "HTTP/1.1 %d %s\r\n", answer->status, reason_of(answer->status));
    if (answer->type.len > 0) write_field(out, HK_STR("Content-Type"), answer->type);
    write_field(out, HK_STR("Date"), hk_server_date(exchange->server));
    for (uint32_t i = 0; i < exchange->added_count; i++) {
        write_field(out, exchange->added[i].name, exchange->added[i].value);
    }
    write_framing(exchange, answer, out);
    hk_buf_bytes(out, "\r\n", 2);
}

/* The answer is complete: the connection takes the next request, or closes. */
static void finish(struct hk_http_exchange *exchange) {
    struct hk_conn *conn = exchange->conn;
    if (!exchange->keep_alive) conn->closing = true;
    conn->h1.exchange = NULL;
    conn->h1.state = HK_H1_HEAD;
    conn->h1.scanned = 0;
    conn->begun = conn->in.len > 0;
    conn->since_ns = hk_loop_now_ns(conn->server->loop);
    hk_exchange_release(exchange);
    if (!conn->busy) hk_conn_resume(conn);
}

void hk_h1_answer(struct hk_http_exchange *exchange, const struct hk_http_answer *answer) {
    struct hk_conn *conn = exchange->conn;
    bool last = conn->eof && conn->in.len == 0;
    if (conn->server->draining || last) exchange->keep_alive = false;
    if (answer->streaming && exchange->http10) exchange->keep_alive = false;
    struct hk_buf *out = hk_conn_out(conn);
    write_head(exchange, answer, out);
    bool body = !exchange->head_only && answer->status != 204 && answer->status != 304;
    if (body && answer->owned != NULL && out == &conn->out && answer->body.len > BIG_ANSWER_BYTES) {
        hk_buf_deinit(&conn->big);
        conn->big = *answer->owned;
        conn->big.bytes_max = conn->out.bytes_max;
        hk_buf_init(answer->owned, answer->owned->bytes_max);
    } else if (body) {
        hk_buf_str(out, answer->body);
    }
    if (!answer->streaming)
        finish(exchange);
    else
        hk_conn_settle(conn);
}

size_t hk_h1_stream_write(struct hk_http_exchange *exchange, struct hk_str bytes) {
    struct hk_conn *conn = exchange->conn;
    if (exchange->head_only || conn->dead) return 0;
    if (!hk_server_has_room(conn)) {
        hk_conn_settle(conn);
        return 0;
    }
    struct hk_buf *out = hk_conn_out(conn);
    if (!exchange->http10) hk_buf_printf(out, "%zx\r\n", bytes.len);
    hk_buf_str(out, bytes);
    if (!exchange->http10) hk_buf_bytes(out, "\r\n", 2);
    hk_conn_settle(conn);
    if (exchange->conn == NULL) return 0;
    return hk_conn_pending(conn);
}

void hk_h1_stream_end(struct hk_http_exchange *exchange) {
    struct hk_conn *conn = exchange->conn;
    if (!exchange->http10 && !exchange->head_only) hk_buf_text(hk_conn_out(conn), "0\r\n\r\n");
    finish(exchange);
}

/* Timeouts. */

int64_t hk_h1_deadline(const struct hk_conn *conn) {
    const struct hk_http_limits *limits = &conn->server->options.limits;
    switch (conn->h1.state) {
    case HK_H1_HANDED:
        return INT64_MAX;
    case HK_H1_BODY_LENGTH:
    case HK_H1_BODY_CHUNKED:
        return conn->since_ns + limits->body_timeout_ns;
    case HK_H1_HEAD:
    default:
        return conn->since_ns + (conn->begun ? limits->header_timeout_ns : limits->idle_timeout_ns);
    }
}

void hk_h1_timeout(struct hk_conn *conn) {
    if (conn->h1.state == HK_H1_HANDED) return;
    fail(conn, 408, "the request did not arrive in time\n");
}

void hk_h1_detach(struct hk_conn *conn) {
    struct hk_http_exchange *exchange = conn->h1.exchange;
    conn->h1.exchange = NULL;
    if (exchange != NULL) hk_exchange_detach(exchange);
}
