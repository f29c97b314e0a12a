/* Exchanges: life, request, and the answers that handlers give. */
#include "base/mem.h"
#include "net/http_internal.h"

enum {
    COMPRESS_BYTES_MIN = 1024,
    /* Above these the loop would stand still for longer than the network saves. */
    GZIP_BYTES_MAX = 1 << 20,
    ZSTD_BYTES_MAX = 4 << 20,
    ARENA_EXTRA = 1 << 20,
};

struct hk_http_exchange *hk_exchange_create(struct hk_conn *conn) {
    struct hk_http_server *server = conn->server;
    struct hk_http_exchange *exchange = server->pool;
    if (exchange != NULL) {
        server->pool = exchange->next;
        server->pool_bytes -= exchange->body.capacity + exchange->plain.capacity;
    } else {
        exchange = hk_mem_alloc(1, sizeof(*exchange));
        if (exchange == NULL) return NULL;
        exchange->server = server;
        hk_arena_init(
            &exchange->arena, server->options.limits.body_bytes_max_decoded + ARENA_EXTRA);
    }
    exchange->conn = conn;
    exchange->next = exchange->prev = NULL;
    exchange->body.bytes_max = server->options.limits.body_bytes_max;
    exchange->answer.bytes_max = SIZE_MAX;
    exchange->since_ns = hk_loop_now_ns(server->loop);
    exchange->request = (struct hk_http_request){
        .method = HK_STR(""),
        .path = HK_STR(""),
        .query = HK_STR(""),
        .authority = HK_STR(""),
        .body = HK_STR(""),

        .peer = hk_arena_str(&exchange->arena, conn->peer),
        .peer_identity = hk_arena_str(&exchange->arena, conn->identity),
        .tls = conn->tls != NULL,
    };
    return exchange;
}

static void free_exchange(struct hk_http_exchange *exchange) {
    hk_arena_deinit(&exchange->arena);
    hk_buf_deinit(&exchange->body);
    hk_buf_deinit(&exchange->plain);
    hk_buf_deinit(&exchange->answer);
    hk_mem_free(exchange);
}

void hk_exchange_end(struct hk_http_exchange *exchange) {
    exchange->answered = true;
    if (!exchange->handed) return;
    struct hk_http_server *server = exchange->server;
    exchange->handed = false;
    if (exchange->prev != NULL)
        exchange->prev->next = exchange->next;
    else
        server->open = exchange->next;
    if (exchange->next != NULL) exchange->next->prev = exchange->prev;
    server->open_count--;
}

void hk_exchange_account(struct hk_http_exchange *exchange) {
    size_t now = exchange->body.capacity + exchange->plain.capacity + exchange->answer.capacity;
    hk_server_account(exchange->server, &exchange->accounted, now);
}

void hk_exchange_release(struct hk_http_exchange *exchange) {
    struct hk_http_server *server = exchange->server;
    hk_exchange_end(exchange);
    hk_server_account(server, &exchange->accounted, 0);
    size_t bytes = exchange->body.capacity + exchange->plain.capacity;
    if (server->pool_bytes + bytes > HK_HTTP_POOL_BYTES_MAX) {
        free_exchange(exchange);
        return;
    }
    hk_arena_reset(&exchange->arena);
    hk_buf_deinit(&exchange->answer);
    struct hk_http_exchange kept = {
        .server = server,
        .arena = exchange->arena,
        .body = exchange->body,
        .plain = exchange->plain,
    };
    hk_buf_clear(&kept.body);
    hk_buf_clear(&kept.plain);
    kept.next = server->pool;
    *exchange = kept;
    server->pool = exchange;
    server->pool_bytes += bytes;
}

void hk_exchange_free_pool(struct hk_http_server *server) {
    while (server->pool != NULL) {
        struct hk_http_exchange *exchange = server->pool;
        server->pool = exchange->next;
        free_exchange(exchange);
    }
    server->pool_bytes = 0;
}

void hk_exchange_tell_gone(struct hk_http_exchange *exchange) {
    if (!exchange->handed || exchange->gone_called || exchange->gone == NULL) return;
    exchange->gone_called = true;
    exchange->gone(exchange); /* may answer, which releases the exchange */
}

void hk_exchange_detach(struct hk_http_exchange *exchange) {
    exchange->conn = NULL;
    if (!exchange->handed) {
        hk_exchange_release(exchange);
        return;
    }
    struct hk_http_server *server = exchange->server;
    exchange->tell_later = true;
    /* The timer is always armed, so that this needs no memory. */
    if (HK_NEVER(hk_loop_arm(server->loop, &server->tell, 0) < 0)) return;
}

void hk_exchange_tell_all(struct hk_http_server *server) {
    struct hk_http_exchange *exchange = server->open;
    while (exchange != NULL) {
        if (!exchange->tell_later) {
            exchange = exchange->next;
            continue;
        }
        exchange->tell_later = false;
        hk_exchange_tell_gone(exchange);
        exchange = server->open; /* the list may be another one now */
    }
}

/* Request. */

static int hex_value(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

/* Percent-decoding of a path (RFC 3986 §2.1) in place; NUL and broken escapes are refused. */
static bool decode_path(char *text, size_t *len) {
    size_t to = 0;
    for (size_t from = 0; from < *len; from++) {
        char c = text[from];
        if (c == '%') {
            int high = from + 2 < *len ? hex_value(text[from + 1]) : -1;
            int low = from + 2 < *len ? hex_value(text[from + 2]) : -1;
            if (high < 0 || low < 0 || (high | low) == 0) return false;
            c = (char)(high * 16 + low);
            from += 2;
        }
        text[to++] = c;
    }
    *len = to;
    return true;
}

bool hk_exchange_set_target(struct hk_http_exchange *exchange, struct hk_str target) {
    struct hk_http_request *request = &exchange->request;
    bool options = hk_str_is(request->method, "OPTIONS");
    size_t scheme = hk_str_starts(target, HK_STR("http://"))    ? 7
                    : hk_str_starts(target, HK_STR("https://")) ? 8
                                                                : 0;
    if (scheme > 0) { /* absolute-form, RFC 9112 §3.2.2 */
        size_t end = scheme;
        while (end < target.len && target.ptr[end] != '/' && target.ptr[end] != '?')
            end++;
        request->authority = hk_str_part(target, scheme, end);
        if (request->authority.len == 0) return false;
        target = end < target.len ? hk_str_part(target, end, target.len) : HK_STR("/");
    }
    if (target.len == 0 || (target.ptr[0] != '/' && !(options && hk_str_is(target, "*")))) {
        if (scheme == 0) return false;
    }
    size_t mark = hk_str_find(target, '?', 0);
    size_t fragment = hk_str_find(target, '#', 0);
    if (fragment < target.len) return false;
    request->query = hk_str_part(target, mark + 1, target.len);
    struct hk_str raw = hk_str_part(target, 0, mark);
    if (raw.len == 0) raw = HK_STR("/");
    char *path = hk_arena_alloc_raw(&exchange->arena, raw.len, 1);
    if (path == NULL) return false;
    memcpy(path, raw.ptr, raw.len);
    request->path = (struct hk_str){ path, raw.len };
    return decode_path(path, &request->path.len);
}

int hk_exchange_read_codings(struct hk_http_exchange *exchange, const char **out_text) {
    const struct hk_http_request *request = &exchange->request;
    struct hk_str coding = hk_http_header_get(request, HK_STR("content-encoding"));
    exchange->coding = hk_coding_named(coding);
    exchange->accept = hk_coding_accepted(hk_http_header_get(request, HK_STR("accept-encoding")));
    if (exchange->coding != HK_CODING_UNKNOWN) return 0;
    *out_text = "unknown Content-Encoding; send identity, gzip, deflate, zstd or snappy\n";
    return 415;
}

int hk_exchange_admit(struct hk_http_exchange *exchange, const char **out_text) {
    const struct hk_http_options *options = &exchange->server->options;
    if (options->admit == NULL) return 0;
    *out_text = "refused\n";
    return options->admit(options->handler_self, &exchange->request, out_text);
}

char *hk_exchange_room(struct hk_http_exchange *exchange, size_t bytes, int *out_status) {
    struct hk_http_server *server = exchange->server;
    size_t before = exchange->body.capacity;
    *out_status = 503;
    if (before - exchange->body.len < bytes &&
        server->memory + bytes > server->options.limits.memory_max)
        return NULL;
    char *to = hk_buf_reserve(&exchange->body, bytes);
    if (to == NULL && exchange->body.err == HK_E_LIMIT) *out_status = 413;
    hk_exchange_account(exchange);
    return to;
}

static void hand_over(struct hk_http_exchange *exchange) {
    struct hk_http_server *server = exchange->server;
    exchange->handed = true;
    exchange->prev = NULL;
    exchange->next = server->open;
    if (server->open != NULL) server->open->prev = exchange;
    server->open = exchange;
    server->open_count++;
    server->options.handle(server->options.handler_self, exchange);
}

/* Decodes `in` into exchange->plain; 0 or the HTTP status to answer with. */
static int decode_body(
    struct hk_http_exchange *exchange, enum hk_coding coding, struct hk_str *body,
    const char **out_text) {
    struct hk_http_server *server = exchange->server;
    size_t bytes_max = server->options.limits.body_bytes_max_decoded;
    hk_buf_clear(&exchange->plain);
    hk_err err = hk_codec_decode(&server->codec, coding, *body, bytes_max, &exchange->plain);
    *body = hk_buf_get(&exchange->plain);
    hk_exchange_account(exchange);
    if (err == HK_OK && server->memory <= server->options.limits.memory_max) return 0;
    if (err == HK_E_MALFORMED) {
        *out_text = "the body is not what its encoding says, or it ends early\n";
        return 400;
    }
    *out_text = err == HK_E_LIMIT ? "the decompressed body is larger than the limit\n"
                                  : "out of memory; try again later\n";
    return err == HK_E_LIMIT ? 413 : 503;
}

static void dispatch_grpc(struct hk_http_exchange *exchange) {
    const char *text = "";
    struct hk_str message = exchange->request.body;
    int status = hk_grpc_unframe(exchange, &message, &text);
    if (status != 0) {
        hk_stat_add(&exchange->server->stats.malformed, 1);
        hk_grpc_respond(exchange, status, HK_STR(""), hk_str_from(text), HK_STR(""));
        return;
    }
    if (exchange->coding != HK_CODING_IDENTITY) {
        int http_status = decode_body(exchange, exchange->coding, &message, &text);
        if (http_status != 0) {
            hk_exchange_refuse(exchange, http_status, text);
            return;
        }
    }
    exchange->request.body = message;
    hand_over(exchange);
}

void hk_exchange_dispatch(struct hk_http_exchange *exchange) {
    struct hk_http_request *request = &exchange->request;
    hk_stat_add(&exchange->server->stats.requests_total, 1);
    exchange->complete = true;
    request->wire_bytes = exchange->body.len;
    request->body = hk_buf_get(&exchange->body);
    request->readable_ns = exchange->conn->readable_ns;
    if (request->grpc) {
        dispatch_grpc(exchange);
        return;
    }
    if (exchange->coding != HK_CODING_IDENTITY && exchange->coding != HK_CODING_SNAPPY &&
        request->body.len > 0) {
        const char *text = "";
        int status = decode_body(exchange, exchange->coding, &request->body, &text);
        if (status != 0) {
            hk_exchange_refuse(exchange, status, text);
            return;
        }
    }
    hand_over(exchange);
}

void hk_exchange_refuse(struct hk_http_exchange *exchange, int status, const char *text) {
    struct hk_http_stats *stats = &exchange->server->stats;
    if (status == 413 || status == 431) hk_stat_add(&stats->too_large, 1);
    if (status == 400 || status == 501 || status == 505) hk_stat_add(&stats->malformed, 1);
    if (status == 408) hk_stat_add(&stats->timeouts, 1);
    struct hk_str body = hk_str_from(text);
    if (exchange->request.grpc) {
        hk_grpc_respond(
            exchange, hk_grpc_status_of(status), HK_STR(""), hk_str_trim(body), HK_STR(""));
        return;
    }
    if (status == 503) hk_http_add_header(exchange, HK_STR("retry-after"), HK_STR("1"));
    hk_http_respond(exchange, status, HK_STR("text/plain; charset=utf-8"), body);
}

/* What handlers call. */

const struct hk_http_request *hk_http_get_request(const struct hk_http_exchange *exchange) {
    return &exchange->request;
}

struct hk_arena *hk_http_arena(struct hk_http_exchange *exchange) {
    return &exchange->arena;
}

void hk_http_set_user(struct hk_http_exchange *exchange, void *user) {
    exchange->user = user;
}

void *hk_http_get_user(const struct hk_http_exchange *exchange) {
    return exchange->user;
}

void hk_http_on_gone(struct hk_http_exchange *exchange, void (*gone)(struct hk_http_exchange *)) {
    exchange->gone = gone;
}

void hk_http_add_header(
    struct hk_http_exchange *exchange, struct hk_str name, struct hk_str value) {
    /* A name or value that would break the head is left out rather than sent (RFC 9110 §5.5). */
    if (exchange->conn == NULL || !hk_http_is_token(name) || !hk_http_is_value(value)) return;
    if (exchange->added_count == HK_HTTP_ADDED_MAX) return;
    char *lower = hk_arena_alloc_raw(&exchange->arena, name.len, 1);
    struct hk_http_header header = { { lower, name.len }, hk_arena_str(&exchange->arena, value) };
    if (lower == NULL || header.value.ptr == NULL) return;
    for (size_t i = 0; i < name.len; i++) {
        char c = name.ptr[i];
        lower[i] = c >= 'A' && c <= 'Z' ? (char)(c + 32) : c; /* RFC 9113 §8.2 */
    }
    exchange->added[exchange->added_count++] = header;
}

static bool was_added(const struct hk_http_exchange *exchange, struct hk_str name) {
    for (uint32_t i = 0; i < exchange->added_count; i++) {
        if (hk_str_eq_nocase(exchange->added[i].name, name)) return true;
    }
    return false;
}

/* Types that do not shrink are sent as they are. */
static bool compressible(struct hk_str type) {
    static const char *const plain[] = { "text/",
                                         "application/json",
                                         "application/xml",
                                         "application/javascript",
                                         "application/openmetrics",
                                         "application/x-ndjson",
                                         "application/yaml",
                                         "image/svg" };
    for (size_t i = 0; i < HK_COUNT(plain); i++) {
        if (hk_str_starts(type, hk_str_from(plain[i]))) return true;
    }
    return false;
}

static void compress_answer(
    struct hk_http_exchange *exchange, struct hk_http_answer *answer, struct hk_buf *small) {
    if (exchange->accept == HK_CODING_IDENTITY || answer->body.len < COMPRESS_BYTES_MIN) return;
    size_t bytes_max = exchange->accept == HK_CODING_ZSTD ? ZSTD_BYTES_MAX : GZIP_BYTES_MAX;
    if (answer->body.len > bytes_max || !compressible(answer->type) ||
        was_added(exchange, HK_STR("content-encoding")))
        return;
    hk_err err = hk_codec_encode(&exchange->server->codec, exchange->accept, answer->body, small);
    if (err < 0 || small->len >= answer->body.len) return;
    answer->coding = exchange->accept;
    answer->body = hk_buf_get(small);
    answer->owned = small;
}

static void send_answer(struct hk_http_exchange *exchange, const struct hk_http_answer *answer) {
    if (exchange->conn == NULL)
        hk_exchange_release(exchange);
    else if (exchange->conn->protocol == HK_CONN_HTTP2)
        hk_h2_answer(exchange, answer);
    else
        hk_h1_answer(exchange, answer);
}

static void respond(
    struct hk_http_exchange *exchange, int status, struct hk_str type, struct hk_str body,
    struct hk_buf *owned) {
    struct hk_http_answer answer = { status, type, body, owned, HK_CODING_IDENTITY, false };
    struct hk_buf small = { 0 };
    if (exchange->conn != NULL && !exchange->head_only) compress_answer(exchange, &answer, &small);
    send_answer(exchange, &answer);
    hk_buf_deinit(&small);
}

void hk_http_respond(
    struct hk_http_exchange *exchange, int status, struct hk_str content_type, struct hk_str body) {
    respond(exchange, status, content_type, body, NULL);
}

void hk_http_respond_buf(
    struct hk_http_exchange *exchange, int status, struct hk_str content_type,
    struct hk_buf *body) {
    respond(exchange, status, content_type, hk_buf_get(body), body);
    hk_buf_deinit(body);
}

void hk_http_stream_begin(
    struct hk_http_exchange *exchange, int status, struct hk_str content_type) {
    struct hk_http_answer answer = { .status = status, .type = content_type, .streaming = true };
    exchange->streaming = true;
    if (exchange->conn != NULL) send_answer(exchange, &answer);
}

size_t hk_http_stream_write(struct hk_http_exchange *exchange, struct hk_str bytes) {
    if (exchange->conn == NULL || bytes.len == 0) return 0;
    if (exchange->conn->protocol == HK_CONN_HTTP2) return hk_h2_stream_write(exchange, bytes);
    return hk_h1_stream_write(exchange, bytes);
}

void hk_http_stream_end(struct hk_http_exchange *exchange) {
    if (exchange->conn == NULL)
        hk_exchange_release(exchange);
    else if (exchange->conn->protocol == HK_CONN_HTTP2)
        hk_h2_stream_end(exchange);
    else
        hk_h1_stream_end(exchange);
}

void hk_grpc_respond(
    struct hk_http_exchange *exchange, int grpc_status, struct hk_str message, struct hk_str text,
    struct hk_str details) {
    if (exchange->conn == NULL)
        hk_exchange_release(exchange);
    else if (exchange->conn->protocol == HK_CONN_HTTP2)
        hk_h2_answer_grpc(exchange, grpc_status, message, text, details);
    else
        hk_http_respond(exchange, 415, HK_STR("text/plain"), HK_STR("gRPC needs HTTP/2\n"));
}
