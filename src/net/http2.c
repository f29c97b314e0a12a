/*
 * HTTP/2 connections (RFC 9113) over nghttp2, which does framing, header compression and flow
 * control; here are streams, limits and answers.
 *
 * (1) An exchange is on its connection's stream list from its first header until the stream is
 *     closed, and is the stream's user data that long.
 * (2) nghttp2 calls back from mem_recv and mem_send only; output is made by hk_h2_pump, never from
 *     inside a callback.
 * (3) Frames that cost the sender next to nothing are paid from `credit`, which requests and time
 *     refill: resets (CVE-2023-44487), pings, settings, empty data.
 */
#include "net/http2_internal.h"

#include "base/mem.h"
#include "os/clock.h"

#include <stdio.h>

enum {
    STREAM_WINDOW = 16 << 20,
    CONN_WINDOW = 32 << 20,
    OUT_STEP_BYTES = 262144, /* frames are made while less than this waits */
    READS_MAX = 4,
    TURN_NS_MAX = 200000, /* until other connections have their turn */
    CREDIT_MAX = 1000,
    CREDIT_PER_SECOND = 100,
    CREDIT_PER_REQUEST = 4,
    CREDIT_RESET = 6,
    HEADER_OVERHEAD = 32, /* per field, RFC 9113 §6.5.2 */
};

static void *h2_malloc(size_t size, void *self) {
    (void)self;
    return hk_mem_resize(NULL, size, 1);
}

static void h2_free(void *memory, void *self) {
    (void)self;
    hk_mem_free(memory);
}

static void *h2_calloc(size_t count, size_t size, void *self) {
    (void)self;
    return hk_mem_alloc(count, size);
}

static void *h2_realloc(void *memory, size_t size, void *self) {
    (void)self;
    return hk_mem_resize(memory, size, 1);
}

/* (3) False: the peer has used up its credit. */
static bool pay(struct hk_h2 *h2, int price) {
    int64_t now_ns = hk_loop_now_ns(h2->conn->server->loop);
    int64_t refill = (now_ns - h2->credit_at_ns) / (1000000000 / CREDIT_PER_SECOND);
    if (refill > 0) {
        h2->credit_at_ns = now_ns;
        h2->credit = refill > CREDIT_MAX - h2->credit ? CREDIT_MAX : h2->credit + (int)refill;
    }
    h2->credit -= price;
    if (h2->credit >= 0) return true;
    h2->credit = 0;
    hk_stat_add(&h2->conn->server->stats.malformed, 1);
    (void)nghttp2_session_terminate_session(h2->session, NGHTTP2_ENHANCE_YOUR_CALM);
    return false;
}

/* Streams. */

static void link_stream(struct hk_h2 *h2, struct hk_http_exchange *exchange) {
    exchange->stream_prev = NULL;
    exchange->stream_next = h2->streams;
    if (h2->streams != NULL) h2->streams->stream_prev = exchange;
    h2->streams = exchange;
    h2->stream_count++;
}

static void unlink_stream(struct hk_h2 *h2, struct hk_http_exchange *exchange) {
    if (exchange->stream_prev != NULL)
        exchange->stream_prev->stream_next = exchange->stream_next;
    else
        h2->streams = exchange->stream_next;
    if (exchange->stream_next != NULL) exchange->stream_next->stream_prev = exchange->stream_prev;
    h2->stream_count--;
}

static struct hk_http_exchange *exchange_of(nghttp2_session *session, int32_t stream_id) {
    return nghttp2_session_get_stream_user_data(session, stream_id);
}

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *self) {
    struct hk_h2 *h2 = self;
    h2->header_count = 0;
    h2->header_bytes = 0;
    h2->header_status = 0;
    if (frame->hd.type != NGHTTP2_HEADERS || frame->headers.cat != NGHTTP2_HCAT_REQUEST) return 0;
    struct hk_http_exchange *exchange = hk_exchange_create(h2->conn);
    if (exchange == NULL) return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    exchange->stream_id = frame->hd.stream_id;
    exchange->in_head = true;
    link_stream(h2, exchange);
    int err = nghttp2_session_set_stream_user_data(session, frame->hd.stream_id, exchange);
    if (err == 0) return 0;
    unlink_stream(h2, exchange);
    hk_exchange_release(exchange);
    return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
}

static void set_pseudo(
    struct hk_http_request *request, struct hk_str *target, struct hk_str name,
    struct hk_str value) {
    if (hk_str_is(name, ":method"))
        request->method = value;
    else if (hk_str_is(name, ":path"))
        *target = value;
    else if (hk_str_is(name, ":authority"))
        request->authority = value;
}

static int on_header(
    nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name_ptr, size_t name_len,
    const uint8_t *value_ptr, size_t value_len, uint8_t flags, void *self) {
    struct hk_h2 *h2 = self;
    struct hk_http_server *server = h2->conn->server;
    struct hk_http_exchange *exchange = exchange_of(session, frame->hd.stream_id);
    (void)flags;
    if (exchange == NULL) return 0;
    h2->header_bytes += name_len + value_len + HEADER_OVERHEAD;
    if (h2->header_bytes > server->options.limits.header_bytes_max ||
        h2->header_count == HK_HTTP_HEADERS_MAX)
        h2->header_status = 431;
    if (!exchange->in_head || h2->header_status != 0) return 0; /* trailers are dropped */
    struct hk_str name =
        hk_arena_str(&exchange->arena, (struct hk_str){ (const char *)name_ptr, name_len });
    struct hk_str value =
        hk_arena_str(&exchange->arena, (struct hk_str){ (const char *)value_ptr, value_len });
    if (name.ptr == NULL || value.ptr == NULL) {
        h2->header_status = 503;
    } else if (name.len > 0 && name.ptr[0] == ':') {
        set_pseudo(&exchange->request, &h2->target, name, value);
    } else {
        server->headers[h2->header_count++] = (struct hk_http_header){ name, value };
    }
    return 0;
}

/* nghttp2 would leave such a field out; a field that another party reads differently is no
 * smaller a danger here than in HTTP/1. */
static int on_invalid_header(
    nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_len,
    const uint8_t *value, size_t value_len, uint8_t flags, void *self) {
    (void)session, (void)frame, (void)name, (void)name_len, (void)value, (void)value_len;
    (void)flags;
    struct hk_h2 *h2 = self;
    hk_stat_add(&h2->conn->server->stats.malformed, 1);
    return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
}

/* "application/grpc", alone or with "+proto", ";…"; not "application/grpc-web". */
static bool is_grpc(const struct hk_http_request *request) {
    struct hk_str type = hk_http_header_get(request, HK_STR("content-type"));
    if (!hk_str_starts(type, HK_STR("application/grpc"))) return false;
    return type.len == 16 || type.ptr[16] == '+' || type.ptr[16] == ';';
}

/* The head is complete: 0, or the status to refuse with. */
static int
fill_request(struct hk_h2 *h2, struct hk_http_exchange *exchange, const char **out_text) {
    struct hk_http_request *request = &exchange->request;
    struct hk_http_server *server = exchange->server;
    exchange->in_head = false;
    exchange->keep_alive = true;
    exchange->since_ns = hk_loop_now_ns(server->loop);
    size_t bytes = h2->header_count * sizeof(struct hk_http_header);
    struct hk_http_header *headers = hk_arena_alloc_raw(&exchange->arena, bytes + 1, 1);
    *out_text = "out of memory; try again later\n";
    if (headers == NULL) return 503;
    memcpy(headers, server->headers, bytes);
    request->headers = headers;
    request->header_count = h2->header_count;
    request->grpc = is_grpc(request);
    exchange->head_only = hk_str_is(request->method, "HEAD");
    if (request->authority.len == 0)
        request->authority = hk_http_header_get(request, HK_STR("host"));
    *out_text = "the request's headers are larger than the limit\n";
    if (h2->header_status != 0) return h2->header_status;
    *out_text = "the request target is not a valid path\n";
    if (!hk_exchange_set_target(exchange, h2->target)) return 400;
    int status = hk_exchange_read_codings(exchange, out_text);
    if (status != 0) return status;
    return hk_exchange_admit(exchange, out_text);
}

static int check_length(struct hk_http_exchange *exchange, const char **out_text) {
    struct hk_str text = hk_http_header_get(&exchange->request, HK_STR("content-length"));
    uint64_t length = 0;
    if (hk_parse_u64(text, &length) < 0) return 0; /* missing; nghttp2 has checked the rest */
    exchange->length = length;
    if (length > exchange->server->options.limits.body_bytes_max) {
        *out_text = "the body is larger than the limit\n";
        return 413;
    }
    if (exchange->server->memory + length > exchange->server->options.limits.memory_max) {
        *out_text = "out of memory; try again later\n";
        return 503;
    }
    return 0;
}

static void head_complete(struct hk_h2 *h2, struct hk_http_exchange *exchange, bool ended) {
    const char *text = "";
    h2->credit =
        h2->credit > CREDIT_MAX - CREDIT_PER_REQUEST ? CREDIT_MAX : h2->credit + CREDIT_PER_REQUEST;
    int status = fill_request(h2, exchange, &text);
    h2->target = HK_STR("");
    if (status == 0) status = check_length(exchange, &text);
    if (status != 0) {
        exchange->complete = ended;
        exchange->discard = true;
        hk_exchange_refuse(exchange, status, text);
    } else if (ended) {
        hk_exchange_dispatch(exchange);
    }
}

static int on_frame_recv(nghttp2_session *session, const nghttp2_frame *frame, void *self) {
    struct hk_h2 *h2 = self;
    struct hk_http_exchange *exchange = NULL;
    bool ended = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    switch (frame->hd.type) {
    case NGHTTP2_HEADERS:
        exchange = exchange_of(session, frame->hd.stream_id);
        if (exchange == NULL) break;
        if (frame->headers.cat == NGHTTP2_HCAT_REQUEST) {
            head_complete(h2, exchange, ended);
        } else if (ended && !exchange->discard) {
            hk_exchange_dispatch(exchange); /* trailers end the body */
        } else if (ended) {
            exchange->complete = true;
        }
        break;
    case NGHTTP2_DATA:
        exchange = exchange_of(session, frame->hd.stream_id);
        if (!ended && frame->hd.length == 0) (void)pay(h2, 1);
        if (exchange == NULL || !ended) break;
        if (!exchange->discard)
            hk_exchange_dispatch(exchange);
        else
            exchange->complete = true;
        break;
    case NGHTTP2_RST_STREAM:
        (void)pay(h2, CREDIT_RESET);
        break;
    case NGHTTP2_PING:
    case NGHTTP2_SETTINGS:
    case NGHTTP2_PRIORITY:
        (void)pay(h2, 1);
        break;
    default:
        break;
    }
    return 0;
}

static int on_data_chunk(
    nghttp2_session *session, uint8_t flags, int32_t stream_id, const uint8_t *data, size_t len,
    void *self) {
    (void)flags;
    (void)self;
    struct hk_http_exchange *exchange = exchange_of(session, stream_id);
    if (exchange == NULL || exchange->discard) return 0;
    struct hk_buf *body = &exchange->body;
    /* The declared length is believed a step ahead, so that a large body is not moved often. */
    size_t want = len;
    if (exchange->length > body->len + len) {
        size_t more = (size_t)exchange->length - body->len;
        want = more < OUT_STEP_BYTES * 4 ? more : OUT_STEP_BYTES * 4;
    }
    if (want < len || body->capacity - body->len >= len) want = len;
    int status = 0;
    char *to = hk_exchange_room(exchange, want, &status);
    if (to == NULL) {
        exchange->discard = true;
        hk_exchange_refuse(
            exchange, status,
            status == 413 ? "the body is larger than the limit\n"
                          : "out of memory; try again later\n");
        return 0;
    }
    memcpy(to, data, len);
    body->len += len;
    return 0;
}

static int
on_stream_close(nghttp2_session *session, int32_t stream_id, uint32_t error_code, void *self) {
    (void)error_code;
    struct hk_h2 *h2 = self;
    struct hk_http_exchange *exchange = exchange_of(session, stream_id);
    if (exchange == NULL) return 0;
    unlink_stream(h2, exchange);
    if (h2->stream_count == 0) h2->conn->since_ns = hk_loop_now_ns(h2->conn->server->loop);
    hk_exchange_detach(exchange);
    return 0;
}

/* RFC 9113 §8.1: an answer that did not wait for the whole request asks to stop sending it. */
static int on_frame_send(nghttp2_session *session, const nghttp2_frame *frame, void *self) {
    (void)self;
    bool ended = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    if (!ended || (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA)) return 0;
    const struct hk_http_exchange *exchange = exchange_of(session, frame->hd.stream_id);
    if (exchange == NULL || exchange->complete) return 0;
    return nghttp2_submit_rst_stream(
        session, NGHTTP2_FLAG_NONE, frame->hd.stream_id, NGHTTP2_NO_ERROR);
}

/* Session. */

static nghttp2_session_callbacks *make_callbacks(void) {
    nghttp2_session_callbacks *callbacks = NULL;
    if (nghttp2_session_callbacks_new(&callbacks) != 0) return NULL;
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_invalid_header_callback(callbacks, on_invalid_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame_recv);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data_chunk);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
    nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, on_frame_send);
    return callbacks;
}

static int make_session(struct hk_h2 *h2) {
    nghttp2_mem memory = { NULL, h2_malloc, h2_free, h2_calloc, h2_realloc };
    nghttp2_session_callbacks *callbacks = make_callbacks();
    nghttp2_option *option = NULL;
    int err = callbacks == NULL ? NGHTTP2_ERR_NOMEM : nghttp2_option_new(&option);
    if (err == 0) {
        nghttp2_option_set_no_closed_streams(option, 1);
        nghttp2_option_set_max_outbound_ack(option, 1000);
        err = nghttp2_session_server_new3(&h2->session, callbacks, h2, option, &memory);
    }
    nghttp2_option_del(option);
    nghttp2_session_callbacks_del(callbacks);
    return err;
}

static int submit_settings(struct hk_h2 *h2) {
    const struct hk_http_limits *limits = &h2->conn->server->options.limits;
    const nghttp2_settings_entry settings[] = {
        { NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, limits->streams_max },
        { NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, STREAM_WINDOW },
        { NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, (uint32_t)limits->header_bytes_max },
        { NGHTTP2_SETTINGS_MAX_FRAME_SIZE, 65536 },
    };
    int err = nghttp2_submit_settings(h2->session, NGHTTP2_FLAG_NONE, settings, HK_COUNT(settings));
    if (err != 0) return err;
    return nghttp2_session_set_local_window_size(h2->session, NGHTTP2_FLAG_NONE, 0, CONN_WINDOW);
}

hk_err hk_h2_begin(struct hk_conn *conn) {
    struct hk_h2 *h2 = hk_mem_alloc(1, sizeof(*h2));
    if (h2 == NULL) return HK_E_NOMEM;
    h2->conn = conn;
    h2->credit = CREDIT_MAX;
    h2->credit_at_ns = hk_loop_now_ns(conn->server->loop);
    h2->target = HK_STR("");
    conn->h2 = h2;
    conn->protocol = HK_CONN_HTTP2;
    return make_session(h2) == 0 && submit_settings(h2) == 0 ? HK_OK : HK_E_NOMEM;
}

void hk_h2_input(struct hk_conn *conn, const char *data, size_t len) {
    ssize_t took = nghttp2_session_mem_recv(conn->h2->session, (const uint8_t *)data, len);
    if (took >= 0) return;
    /* Flooded, out of memory, or not HTTP/2. */
    hk_stat_add(&conn->server->stats.malformed, 1);
    uint32_t error = took == NGHTTP2_ERR_FLOODED ? NGHTTP2_ENHANCE_YOUR_CALM
                     : took == NGHTTP2_ERR_NOMEM ? NGHTTP2_INTERNAL_ERROR
                                                 : NGHTTP2_PROTOCOL_ERROR;
    if (nghttp2_session_terminate_session(conn->h2->session, error) != 0) conn->dead = true;
    conn->closing = true;
}

void hk_h2_read(struct hk_conn *conn) {
    char *scratch = conn->server->scratch;
    int64_t begin_ns = hk_clock_monotonic_ns();
    for (int i = 0; i < READS_MAX && !conn->dead && !conn->closing; i++) {
        if (i > 0 && hk_clock_monotonic_ns() - begin_ns > TURN_NS_MAX) return;
        int64_t got = hk_conn_recv(conn, scratch, HK_HTTP_SCRATCH_BYTES);
        if (got > 0) hk_h2_input(conn, scratch, (size_t)got);
        if (got == 0) conn->eof = true;
        if (got < 0 && got != -EAGAIN) conn->dead = true;
        if (got < HK_HTTP_SCRATCH_BYTES) return;
    }
}

void hk_h2_pump(struct hk_conn *conn) {
    while (hk_conn_pending(conn) < OUT_STEP_BYTES) {
        const uint8_t *data = NULL;
        ssize_t len = nghttp2_session_mem_send(conn->h2->session, &data);
        if (len < 0) conn->dead = true;
        if (len <= 0) return;
        hk_buf_bytes(&conn->out, data, (size_t)len);
    }
}

bool hk_h2_is_over(const struct hk_conn *conn) {
    const struct hk_h2 *h2 = conn->h2;
    if (conn->server->draining && h2->stream_count == 0) return true;
    return nghttp2_session_want_read(h2->session) == 0 &&
           nghttp2_session_want_write(h2->session) == 0;
}

void hk_h2_drain(struct hk_conn *conn) {
    nghttp2_session *session = conn->h2->session;
    int32_t last = nghttp2_session_get_last_proc_stream_id(session);
    int err = nghttp2_submit_goaway(session, NGHTTP2_FLAG_NONE, last, NGHTTP2_NO_ERROR, NULL, 0);
    if (err != 0) conn->dead = true;
}

void hk_h2_detach(struct hk_conn *conn) {
    struct hk_h2 *h2 = conn->h2;
    if (h2 == NULL) return;
    conn->h2 = NULL;
    while (h2->streams != NULL) {
        struct hk_http_exchange *exchange = h2->streams;
        unlink_stream(h2, exchange);
        hk_exchange_detach(exchange);
    }
    nghttp2_session_del(h2->session);
    hk_mem_free(h2);
}

/* Timeouts. */

int64_t hk_h2_check_ns(const struct hk_conn *conn) {
    const struct hk_http_limits *limits = &conn->server->options.limits;
    int64_t least_ns = limits->idle_timeout_ns;
    if (limits->header_timeout_ns < least_ns) least_ns = limits->header_timeout_ns;
    if (limits->body_timeout_ns < least_ns) least_ns = limits->body_timeout_ns;
    if (limits->write_timeout_ns < least_ns) least_ns = limits->write_timeout_ns;
    return hk_loop_now_ns(conn->server->loop) + least_ns;
}

static bool stream_is_late(const struct hk_http_exchange *exchange, int64_t now_ns) {
    const struct hk_http_limits *limits = &exchange->server->options.limits;
    int64_t age_ns = now_ns - exchange->since_ns;
    if (exchange->in_head) return age_ns >= limits->header_timeout_ns;
    if (exchange->answered || exchange->streaming)
        return exchange->answer_at < exchange->answer.len && age_ns >= limits->write_timeout_ns;
    return !exchange->complete && age_ns >= limits->body_timeout_ns;
}

void hk_h2_timeout(struct hk_conn *conn) {
    struct hk_h2 *h2 = conn->h2;
    const struct hk_http_limits *limits = &conn->server->options.limits;
    int64_t now_ns = hk_loop_now_ns(conn->server->loop);
    if (h2->stream_count == 0 && now_ns - conn->since_ns >= limits->idle_timeout_ns)
        (void)nghttp2_session_terminate_session(h2->session, NGHTTP2_NO_ERROR);
    struct hk_http_exchange *next = NULL;
    for (struct hk_http_exchange *exchange = h2->streams; exchange != NULL; exchange = next) {
        next = exchange->stream_next;
        if (!stream_is_late(exchange, now_ns)) continue;
        if (exchange->in_head) {
            /* The header block fills the whole connection until it ends. */
            hk_stat_add(&conn->server->stats.timeouts, 1);
            conn->dead = true;
            return;
        }
        if (!exchange->answered && !exchange->streaming) {
            exchange->discard = true;
            hk_exchange_refuse(exchange, 408, "the request did not arrive in time\n");
            continue;
        }
        hk_stat_add(&conn->server->stats.timeouts, 1);
        exchange->since_ns = now_ns;
        int err = nghttp2_submit_rst_stream(
            h2->session, NGHTTP2_FLAG_NONE, exchange->stream_id, NGHTTP2_CANCEL);
        if (err != 0) conn->dead = true;
    }
}
