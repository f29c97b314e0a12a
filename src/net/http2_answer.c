/* Answers over HTTP/2, plain and gRPC. The body waits in exchange->answer and is given to DATA
 * frames as flow control allows. */
#include "net/http2_internal.h"

#include <stdio.h>

enum { FIELDS_MAX = HK_HTTP_ADDED_MAX + 8, ANSWER_KEPT_BYTES = 65536 };

struct fields {
    nghttp2_nv list[FIELDS_MAX];
    size_t count;
};

/* Bytes of `str` as nghttp2 wants them; it copies and does not write. */
static uint8_t *bytes_of(struct hk_str str) {
    return (uint8_t *)(uintptr_t)str.ptr;
}

static void add(struct fields *fields, struct hk_str name, struct hk_str value) {
    hk_assert(fields->count < FIELDS_MAX);
    fields->list[fields->count++] =
        (nghttp2_nv){ bytes_of(name), bytes_of(value), name.len, value.len, NGHTTP2_NV_FLAG_NONE };
}

/* All of the body has been read: end the stream, with trailers if there are any. */
static void
end_of_body(nghttp2_session *session, struct hk_http_exchange *exchange, uint32_t *flags) {
    *flags |= NGHTTP2_DATA_FLAG_EOF;
    if (exchange->trailer_count == 0) return;
    struct fields fields = { .count = 0 };
    for (uint32_t i = 0; i < exchange->trailer_count; i++) {
        add(&fields, exchange->trailers[i].name, exchange->trailers[i].value);
    }
    *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
    if (nghttp2_submit_trailer(session, exchange->stream_id, fields.list, fields.count) != 0)
        exchange->conn->dead = true;
}

static ssize_t read_answer(
    nghttp2_session *session, int32_t stream_id, uint8_t *to, size_t max, uint32_t *flags,
    nghttp2_data_source *source, void *self) {
    (void)stream_id;
    (void)self;
    struct hk_http_exchange *exchange = source->ptr;
    struct hk_buf *answer = &exchange->answer;
    size_t take = answer->len - exchange->answer_at;
    if (take == 0 && !exchange->answered) return NGHTTP2_ERR_DEFERRED;
    if (take > max) take = max;
    if (take > 0) memcpy(to, answer->ptr + exchange->answer_at, take);
    exchange->answer_at += take;
    exchange->since_ns = hk_loop_now_ns(exchange->server->loop);
    if (exchange->answer_at == answer->len) {
        exchange->answer_at = 0;
        if (answer->capacity > ANSWER_KEPT_BYTES)
            hk_buf_deinit(answer);
        else
            hk_buf_clear(answer);
        if (exchange->answered) end_of_body(session, exchange, flags);
    }
    hk_exchange_account(exchange);
    return (ssize_t)take;
}

static void submit(struct hk_http_exchange *exchange, const struct fields *fields, bool has_body) {
    nghttp2_data_provider provider = { .source.ptr = exchange, .read_callback = read_answer };
    struct hk_conn *conn = exchange->conn;
    exchange->since_ns = hk_loop_now_ns(exchange->server->loop);
    int err = nghttp2_submit_response(
        conn->h2->session, exchange->stream_id, fields->list, fields->count,
        has_body ? &provider : NULL);
    if (err != 0) conn->dead = true;
}

static void add_added(struct fields *fields, const struct hk_http_exchange *exchange) {
    for (uint32_t i = 0; i < exchange->added_count; i++) {
        add(fields, exchange->added[i].name, exchange->added[i].value);
    }
}

/* Memory the handler gave, or a copy. */
static void take_body(struct hk_http_exchange *exchange, const struct hk_http_answer *answer) {
    if (answer->owned != NULL) {
        hk_buf_deinit(&exchange->answer);
        exchange->answer = *answer->owned;
        exchange->answer.bytes_max = SIZE_MAX / 2;
        hk_buf_init(answer->owned, answer->owned->bytes_max);
    } else {
        hk_buf_str(&exchange->answer, answer->body);
    }
    if (exchange->answer.err < 0) exchange->conn->dead = true; /* out of memory */
}

void hk_h2_answer(struct hk_http_exchange *exchange, const struct hk_http_answer *answer) {
    struct hk_conn *conn = exchange->conn;
    struct fields fields = { .count = 0 };
    char status[16];
    char length[32];
    size_t status_len = (size_t)snprintf(status, sizeof(status), "%d", answer->status);
    size_t len = (size_t)snprintf(length, sizeof(length), "%zu", answer->body.len);
    add(&fields, HK_STR(":status"), (struct hk_str){ status, status_len });
    if (answer->type.len > 0) add(&fields, HK_STR("content-type"), answer->type);
    add(&fields, HK_STR("date"), hk_server_date(exchange->server));
    if (answer->coding != HK_CODING_IDENTITY) {
        const char *name = answer->coding == HK_CODING_ZSTD ? "zstd" : "gzip";
        add(&fields, HK_STR("content-encoding"), hk_str_from(name));
        add(&fields, HK_STR("vary"), HK_STR("accept-encoding"));
    }
    bool bodiless = answer->status == 204 || answer->status == 304;
    if (!answer->streaming && !bodiless)
        add(&fields, HK_STR("content-length"), (struct hk_str){ length, len });
    add_added(&fields, exchange);
    bool has_body = !exchange->head_only && !bodiless;
    if (has_body && !answer->streaming) {
        take_body(exchange, answer);
        has_body = exchange->answer.len > 0;
    }
    if (!answer->streaming) hk_exchange_end(exchange);
    exchange->discard = true;
    submit(exchange, &fields, has_body);
    hk_exchange_account(exchange);
    hk_conn_settle(conn);
}

size_t hk_h2_stream_write(struct hk_http_exchange *exchange, struct hk_str bytes) {
    struct hk_conn *conn = exchange->conn;
    if (exchange->head_only || conn->dead) return 0;
    if (!hk_server_has_room(conn)) {
        hk_conn_settle(conn);
        return 0;
    }
    bool resume = exchange->answer.len == exchange->answer_at;
    hk_buf_str(&exchange->answer, bytes);
    if (exchange->answer.err < 0) conn->dead = true;
    if (resume) {
        exchange->since_ns = hk_loop_now_ns(exchange->server->loop);
        (void)nghttp2_session_resume_data(conn->h2->session, exchange->stream_id);
    }
    hk_exchange_account(exchange);
    hk_conn_settle(conn);
    if (exchange->conn == NULL) return 0;
    return exchange->answer.len - exchange->answer_at + hk_conn_pending(exchange->conn);
}

void hk_h2_stream_end(struct hk_http_exchange *exchange) {
    struct hk_conn *conn = exchange->conn;
    hk_exchange_end(exchange);
    (void)nghttp2_session_resume_data(conn->h2->session, exchange->stream_id);
    hk_conn_settle(conn);
}

/* gRPC. */

static void
add_trailer(struct hk_http_exchange *exchange, struct hk_str name, struct hk_str value) {
    if (value.ptr == NULL) return; /* out of memory: the status alone goes out */
    exchange->trailers[exchange->trailer_count++] = (struct hk_http_header){ name, value };
}

static void set_trailers(
    struct hk_http_exchange *exchange, int grpc_status, struct hk_str text, struct hk_str details) {
    struct hk_arena *arena = &exchange->arena;
    struct hk_str status = hk_arena_printf(arena, "%d", grpc_status);
    add_trailer(exchange, HK_STR("grpc-status"), status.ptr == NULL ? HK_STR("2") : status);
    if (text.len > 0) add_trailer(exchange, HK_STR("grpc-message"), hk_grpc_text(arena, text));
    if (details.len > 0)
        add_trailer(exchange, HK_STR("grpc-status-details-bin"), hk_grpc_base64(arena, details));
}

void hk_h2_answer_grpc(
    struct hk_http_exchange *exchange, int grpc_status, struct hk_str message, struct hk_str text,
    struct hk_str details) {
    struct hk_conn *conn = exchange->conn;
    struct fields fields = { .count = 0 };
    add(&fields, HK_STR(":status"), HK_STR("200"));
    add(&fields, HK_STR("content-type"), HK_STR("application/grpc"));
    add(&fields, HK_STR("grpc-accept-encoding"), HK_STR("identity,gzip,deflate,zstd"));
    add_added(&fields, exchange);
    set_trailers(exchange, grpc_status, text, details);
    bool has_body = grpc_status == 0;
    if (has_body) {
        const unsigned char prefix[5] = {
            0,
            (unsigned char)(message.len >> 24),
            (unsigned char)(message.len >> 16),
            (unsigned char)(message.len >> 8),
            (unsigned char)message.len,
        };
        hk_buf_bytes(&exchange->answer, prefix, sizeof(prefix));
        hk_buf_str(&exchange->answer, message);
        if (exchange->answer.err < 0) conn->dead = true; /* out of memory */
    } else {                                             /* trailers only */
        for (uint32_t i = 0; i < exchange->trailer_count; i++) {
            add(&fields, exchange->trailers[i].name, exchange->trailers[i].value);
        }
    }
    hk_exchange_end(exchange);
    exchange->discard = true;
    submit(exchange, &fields, has_body);
    hk_exchange_account(exchange);
    hk_conn_settle(conn);
}
