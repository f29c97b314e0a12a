/* Goal: HTTP/2 with prior knowledge and gRPC unary calls work, limits are answered, and peers that
 * flood are sent away. */
#include "net/http_test_server.h"
#include "os/clock.h"

#include <curl/curl.h>
#include <nghttp2/nghttp2.h>
#include <zlib.h>

enum { STREAMS_MAX = 64, FIELDS_TEXT_MAX = 2048 };

struct reply {
    char fields[FIELDS_TEXT_MAX]; /* "name: value\n" of headers and trailers */
    struct hk_buf body;
    bool closed;
    uint32_t error;
};

struct client {
    nghttp2_session *session;
    int fd;
    struct reply replies[STREAMS_MAX];
    bool goaway;
    uint32_t goaway_error;
    unsigned pongs;
};

struct upload {
    struct hk_str body;
    size_t at;
    bool hold; /* sends the body but never ends */
};

static struct reply *reply_of(struct client *client, int32_t stream_id) {
    return &client->replies[(unsigned)stream_id / 2 % STREAMS_MAX];
}

static int on_header(
    nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_len,
    const uint8_t *value, size_t value_len, uint8_t flags, void *self) {
    (void)session, (void)flags;
    struct reply *reply = reply_of(self, frame->hd.stream_id);
    size_t at = strlen(reply->fields);
    (void)snprintf(
        reply->fields + at, sizeof(reply->fields) - at, "%.*s: %.*s\n", (int)name_len,
        (const char *)name, (int)value_len, (const char *)value);
    return 0;
}

static int on_data(
    nghttp2_session *session, uint8_t flags, int32_t stream_id, const uint8_t *data, size_t len,
    void *self) {
    (void)session, (void)flags;
    hk_buf_bytes(&reply_of(self, stream_id)->body, data, len);
    return 0;
}

static int on_close(nghttp2_session *session, int32_t stream_id, uint32_t error, void *self) {
    (void)session;
    reply_of(self, stream_id)->closed = true;
    reply_of(self, stream_id)->error = error;
    return 0;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *self) {
    struct client *client = self;
    (void)session;
    client->pongs += frame->hd.type == NGHTTP2_PING;
    if (frame->hd.type == NGHTTP2_GOAWAY) {
        client->goaway = true;
        client->goaway_error = frame->goaway.error_code;
    }
    return 0;
}

static ssize_t read_upload(
    nghttp2_session *session, int32_t stream_id, uint8_t *to, size_t max, uint32_t *flags,
    nghttp2_data_source *source, void *self) {
    (void)session, (void)stream_id, (void)self;
    struct upload *upload = source->ptr;
    size_t take = upload->body.len - upload->at;
    if (take == 0 && upload->hold) return NGHTTP2_ERR_DEFERRED;
    if (take > max) take = max;
    if (take > 0) memcpy(to, upload->body.ptr + upload->at, take);
    upload->at += take;
    if (upload->at == upload->body.len && !upload->hold) *flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)take;
}

static void client_open(struct client *client, uint16_t port) {
    memset(client, 0, sizeof(*client));
    for (int i = 0; i < STREAMS_MAX; i++)
        hk_buf_init(&client->replies[i].body, 1 << 26);
    client->fd = test_connect(port);
    nghttp2_session_callbacks *callbacks = NULL;
    nghttp2_option *option = NULL;
    CHECK_INT(nghttp2_session_callbacks_new(&callbacks), 0);
    CHECK_INT(nghttp2_option_new(&option), 0);
    nghttp2_option_set_no_http_messaging(option, 1);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_close);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
    CHECK_INT(nghttp2_session_client_new2(&client->session, callbacks, client, option), 0);
    nghttp2_session_callbacks_del(callbacks);
    nghttp2_option_del(option);
    CHECK_INT(nghttp2_submit_settings(client->session, 0, NULL, 0), 0);
}

static void client_close(struct client *client) {
    for (int i = 0; i < STREAMS_MAX; i++)
        hk_buf_deinit(&client->replies[i].body);
    nghttp2_session_del(client->session);
    (void)close(client->fd);
}

/* Writes what can be written, reads once. False: the connection has ended. */
static bool client_turn(struct client *client) {
    static uint8_t in[65536];
    const uint8_t *data = NULL;
    ssize_t len = 0;
    while ((len = nghttp2_session_mem_send(client->session, &data)) > 0) {
        if (!test_send(client->fd, data, (size_t)len)) break;
    }
    ssize_t got = recv(client->fd, in, sizeof(in), 0);
    return got > 0 && nghttp2_session_mem_recv(client->session, in, (size_t)got) == got;
}

/* Until that stream is closed. */
static struct reply *client_wait(struct client *client, int32_t stream_id) {
    while (!reply_of(client, stream_id)->closed && client_turn(client)) {
    }
    CHECK(reply_of(client, stream_id)->closed);
    return reply_of(client, stream_id);
}

/* `fields`: pairs, ended by NULL. */
static int32_t client_request(
    struct client *client, const char *method, const char *path, struct upload *upload,
    const char *const *fields) {
    nghttp2_nv list[32];
    const char *pairs[32] = { ":method", method, ":path",      path,
                              ":scheme", "http", ":authority", "localhost" };
    size_t count = 8;
    for (size_t i = 0; fields != NULL && fields[i] != NULL; i++)
        pairs[count++] = fields[i];
    for (size_t i = 0; i < count / 2; i++) {
        list[i] = (nghttp2_nv){ (uint8_t *)(uintptr_t)pairs[2 * i],
                                (uint8_t *)(uintptr_t)pairs[2 * i + 1], strlen(pairs[2 * i]),
                                strlen(pairs[2 * i + 1]), 0 };
    }
    nghttp2_data_provider provider = { .source.ptr = upload, .read_callback = read_upload };
    int32_t stream_id = nghttp2_submit_request(
        client->session, NULL, list, count / 2, upload == NULL ? NULL : &provider, NULL);
    CHECK(stream_id > 0);
    *reply_of(client, stream_id) =
        (struct reply){ .body = { .bytes_max = 1 << 26,
                                  .ptr = reply_of(client, stream_id)->body.ptr,
                                  .capacity = reply_of(client, stream_id)->body.capacity } };
    return stream_id;
}

/* Server. */

static void gone(struct hk_http_exchange *exchange) {
    struct test_server *server = hk_http_get_user(exchange);
    (void)__atomic_add_fetch(&server->gone, 1, __ATOMIC_RELAXED);
    if (server->waiting == exchange) server->waiting = NULL;
    hk_http_respond(exchange, 499, HK_STR(""), HK_STR(""));
}

static void answer_later(struct hk_timer *timer) {
    struct test_server *server = (void *)((char *)timer - offsetof(struct test_server, later));
    struct hk_http_exchange *exchange = server->waiting;
    server->waiting = NULL;
    if (exchange != NULL) hk_http_respond(exchange, 202, HK_STR("text/plain"), HK_STR("later\n"));
}

static void handle_grpc(struct hk_http_exchange *exchange) {
    const struct hk_http_request *request = hk_http_get_request(exchange);
    if (hk_str_is(request->path, "/test.T/Fail"))
        hk_grpc_respond(
            exchange, 3, HK_STR(""), HK_STR("50% of \xc3\xa4\n"), HK_STR("\x08\x03\x12\x01x"));
    else
        hk_grpc_respond(exchange, 0, request->body, HK_STR(""), HK_STR(""));
}

static void handle(void *self, struct hk_http_exchange *exchange) {
    struct test_server *server = self;
    const struct hk_http_request *request = hk_http_get_request(exchange);
    server->handled++;
    hk_http_set_user(exchange, server);
    if (request->grpc) {
        handle_grpc(exchange);
    } else if (hk_str_is(request->path, "/later") || hk_str_is(request->path, "/never")) {
        hk_http_on_gone(exchange, gone);
        server->later.fire = answer_later;
        if (hk_str_is(request->path, "/never")) return;
        server->waiting = exchange;
        hk_assert(
            hk_loop_arm(server->loop, &server->later, hk_loop_now_ns(server->loop) + 1000000) ==
            HK_OK);
    } else if (hk_str_is(request->path, "/stream")) {
        hk_http_stream_begin(exchange, 200, HK_STR("text/event-stream"));
        for (int i = 0; i < 1000; i++)
            (void)hk_http_stream_write(exchange, HK_STR("data: x\n\n"));
        hk_http_stream_end(exchange);
    } else {
        struct hk_buf out;
        hk_buf_init(&out, 1 << 26);
        hk_buf_printf(
            &out, "%.*s|%.*s|%.*s|%.*s|", HK_STR_ARG(request->method), HK_STR_ARG(request->path),
            HK_STR_ARG(request->query), HK_STR_ARG(request->authority));
        hk_buf_str(&out, request->body);
        hk_http_add_header(exchange, HK_STR("X-Test"), HK_STR("yes"));
        hk_http_respond_buf(exchange, 200, HK_STR("application/x-test"), &out);
    }
}

static int admit(void *self, const struct hk_http_request *request, const char **out_text) {
    (void)self;
    *out_text = "not for you\n";
    return hk_str_starts(request->path, HK_STR("/private")) ? 401 : 0;
}

static void start(struct test_server *server) {
    if (server->options.handle == NULL) hk_http_limits_default(&server->options.limits);
    server->options.handle = handle;
    server->options.admit = admit;
    test_server_start(server, "127.0.0.1:0");
}

TEST(requests) {
    static struct test_server server;
    static struct client client;
    start(&server);
    client_open(&client, server.port);
    int32_t get = client_request(&client, "GET", "/a%20b?c=d", NULL, NULL);
    int32_t head = client_request(&client, "HEAD", "/h", NULL, NULL);
    int32_t later = client_request(&client, "GET", "/later", NULL, NULL);
    int32_t stream = client_request(&client, "GET", "/stream", NULL, NULL);
    int32_t bad = client_request(&client, "GET", "/%00", NULL, NULL);
    int32_t private = client_request(&client, "GET", "/private", NULL, NULL);
    const struct reply *reply = client_wait(&client, get);
    CHECK(strstr(reply->fields, ":status: 200\n") == reply->fields);
    CHECK(strstr(reply->fields, "x-test: yes\n") != NULL);
    CHECK(strstr(reply->fields, "date: ") != NULL);
    CHECK_STR(hk_buf_get(&reply->body), HK_STR("GET|/a b|c=d|localhost|"));
    reply = client_wait(&client, head);
    CHECK(strstr(reply->fields, "content-length: 19\n") != NULL);
    CHECK_INT(reply->body.len, 0);
    reply = client_wait(&client, later);
    CHECK(strstr(reply->fields, ":status: 202\n") != NULL);
    reply = client_wait(&client, stream);
    CHECK_INT(reply->body.len, 9000);
    reply = client_wait(&client, bad);
    CHECK(strstr(reply->fields, ":status: 400\n") != NULL);
    reply = client_wait(&client, private);
    CHECK(strstr(reply->fields, ":status: 401\n") != NULL);
    CHECK_STR(hk_buf_get(&reply->body), HK_STR("not for you\n"));
    client_close(&client);
    test_server_stop(&server);
}

TEST(large_bodies_in_parallel) {
    static struct test_server server;
    static struct client client;
    enum { COUNT = 20, BYTES = 300000 };
    static struct upload uploads[COUNT];
    start(&server);
    client_open(&client, server.port);
    char *body = hk_mem_alloc(BYTES, 1);
    for (size_t i = 0; i < BYTES; i++)
        body[i] = (char)('a' + i % 23);
    int32_t ids[COUNT];
    for (int i = 0; i < COUNT; i++) {
        uploads[i] = (struct upload){ { body, BYTES }, 0, false };
        ids[i] = client_request(&client, "POST", "/p", &uploads[i], NULL);
    }
    for (int i = 0; i < COUNT; i++) {
        const struct reply *reply = client_wait(&client, ids[i]);
        CHECK_INT(reply->body.len, BYTES + 19);
        if (reply->body.len == BYTES + 19) CHECK(memcmp(reply->body.ptr + 19, body, BYTES) == 0);
    }
    hk_mem_free(body);
    client_close(&client);
    test_server_stop(&server);
}

static size_t gzip(char *out, size_t max, const char *text, size_t len) {
    z_stream stream = { 0 };
    CHECK_INT(deflateInit2(&stream, 6, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY), Z_OK);
    stream.next_in = (Bytef *)(uintptr_t)text;
    stream.avail_in = (uInt)len;
    stream.next_out = (Bytef *)out;
    stream.avail_out = (uInt)max;
    CHECK_INT(deflate(&stream, Z_FINISH), Z_STREAM_END);
    (void)deflateEnd(&stream);
    return max - stream.avail_out;
}

static struct reply *
call(struct client *client, const char *path, const char *coding, const void *frame, size_t len) {
    struct upload upload = { { frame, len }, 0, false };
    const char *fields[] = { "content-type",
                             "application/grpc+proto",
                             "te",
                             "trailers",
                             coding == NULL ? NULL : "grpc-encoding",
                             coding,
                             NULL };
    return client_wait(client, client_request(client, "POST", path, &upload, fields));
}

TEST(grpc_unary) {
    static struct test_server server;
    static struct client client;
    start(&server);
    client_open(&client, server.port);
    const struct reply *reply = call(&client, "/test.T/Echo", NULL, "\0\0\0\0\5hello", 10);
    CHECK(strstr(reply->fields, ":status: 200\ncontent-type: application/grpc\n") != NULL);
    CHECK(strstr(reply->fields, "grpc-status: 0\n") != NULL);
    CHECK_STR(hk_buf_get(&reply->body), ((struct hk_str){ "\0\0\0\0\5hello", 10 }));
    reply = call(&client, "/test.T/Echo", "gzip", "\0\0\0\0\0", 5); /* the empty message */
    CHECK(strstr(reply->fields, "grpc-status: 0\n") != NULL);
    CHECK_INT(reply->body.len, 5);
    char frame[256] = { 1 };
    size_t len = gzip(frame + 5, sizeof(frame) - 5, "packed text", 11);
    frame[4] = (char)len;
    reply = call(&client, "/test.T/Echo", "gzip", frame, len + 5);
    CHECK_STR(hk_buf_get(&reply->body), ((struct hk_str){ "\0\0\0\0\x0bpacked text", 16 }));
    reply = call(&client, "/test.T/Fail", NULL, "\0\0\0\0\0", 5);
    CHECK(strstr(reply->fields, ":status: 200\n") != NULL);
    CHECK(strstr(reply->fields, "grpc-status: 3\n") != NULL);
    CHECK(strstr(reply->fields, "grpc-message: 50%25 of %C3%A4%0A\n") != NULL);
    CHECK(strstr(reply->fields, "grpc-status-details-bin: CAMSAXg\n") != NULL);
    CHECK_INT(reply->body.len, 0);
    client_close(&client);
    test_server_stop(&server);
}

TEST(grpc_wrong_frames) {
    static struct test_server server;
    static struct client client;
    static const struct {
        const char *coding, *frame;
        size_t len;
        const char *status;
    } cases[] = {
        { NULL, "", 0, "grpc-status: 13\n" },
        { NULL, "\0\0\0\0", 4, "grpc-status: 13\n" },
        { NULL, "\0\0\0\0\2a", 6, "grpc-status: 13\n" },
        { NULL, "\0\0\0\0\1ab", 7, "grpc-status: 13\n" },
        { NULL, "\2\0\0\0\1a", 6, "grpc-status: 13\n" },
        { NULL, "\1\0\0\0\1a", 6, "grpc-status: 13\n" },
        { NULL, "\0\377\377\377\377a", 6, "grpc-status: 13\n" },
        { "br", "\1\0\0\0\1a", 6, "grpc-status: 12\n" },
        { "gzip", "\1\0\0\0\1a", 6, "grpc-status: 3\n" },
        { "gzip", "\1\0\0\0\0", 5, "grpc-status: 3\n" },
    };
    start(&server);
    client_open(&client, server.port);
    for (size_t i = 0; i < HK_COUNT(cases); i++) {
        const struct reply *reply =
            call(&client, "/test.T/Echo", cases[i].coding, cases[i].frame, cases[i].len);
        CHECK(strstr(reply->fields, ":status: 200\n") != NULL);
        bool right = strstr(reply->fields, cases[i].status) != NULL;
        if (!right) printf("# case %zu: %s\n", i, reply->fields);
        CHECK(right);
        CHECK(strstr(reply->fields, "grpc-message: ") != NULL);
    }
    const struct reply *reply = call(&client, "/private/x", NULL, "\0\0\0\0\0", 5);
    CHECK(strstr(reply->fields, "grpc-status: 16\n") != NULL);
    client_close(&client);
    test_server_stop(&server);
    CHECK_INT(server.handled, 0);
}

TEST(limits) {
    static struct test_server server = { 0 };
    static struct client client;
    hk_http_limits_default(&server.options.limits);
    server.options.limits.body_bytes_max = 100000;
    server.options.limits.header_bytes_max = 2000;
    server.options.handle = handle;
    start(&server);
    client_open(&client, server.port);
    char *body = hk_mem_alloc(300000, 1);
    struct upload upload = { { body, 300000 }, 0, false };
    const struct reply *reply =
        client_wait(&client, client_request(&client, "POST", "/", &upload, NULL));
    CHECK(strstr(reply->fields, ":status: 413\n") != NULL);
    CHECK_INT(reply->error, NGHTTP2_NO_ERROR);
    upload = (struct upload){ { body, 300000 }, 0, false };
    static const char *const declared[] = { "content-length", "300000", NULL };
    reply = client_wait(&client, client_request(&client, "POST", "/", &upload, declared));
    CHECK(strstr(reply->fields, ":status: 413\n") != NULL);
    memset(body, 0, 5);
    body[1] = 1;
    reply = call(&client, "/test.T/Echo", NULL, body, 300000);
    CHECK(strstr(reply->fields, "grpc-status: 8\n") != NULL);
    memset(body, 'x', 3000);
    body[3000] = 0;
    const char *const large[] = { "x-large", body, NULL };
    reply = client_wait(&client, client_request(&client, "GET", "/", NULL, large));
    CHECK(strstr(reply->fields, ":status: 431\n") != NULL);
    static const char *const control[] = { "x-control", "a\x01z", NULL };
    reply = client_wait(&client, client_request(&client, "GET", "/", NULL, control));
    CHECK_INT(reply->fields[0], 0);
    CHECK(reply->error != NGHTTP2_NO_ERROR);
    reply = client_wait(&client, client_request(&client, "GET", "/still", NULL, NULL));
    CHECK(strstr(reply->fields, ":status: 200\n") != NULL);
    hk_mem_free(body);
    client_close(&client);
    test_server_stop(&server);
}

TEST(canceled_streams_are_told) {
    static struct test_server server;
    static struct client client;
    start(&server);
    client_open(&client, server.port);
    int32_t never = client_request(&client, "GET", "/never", NULL, NULL);
    (void)client_wait(&client, client_request(&client, "GET", "/", NULL, NULL));
    CHECK_INT(nghttp2_submit_rst_stream(client.session, 0, never, NGHTTP2_CANCEL), 0);
    (void)client_wait(&client, client_request(&client, "GET", "/", NULL, NULL));
    while (__atomic_load_n(&server.gone, __ATOMIC_RELAXED) < 1)
        hk_sleep_ns(100000);
    (void)client_request(&client, "GET", "/never", NULL, NULL);
    (void)client_wait(&client, client_request(&client, "GET", "/", NULL, NULL));
    client_close(&client);
    while (__atomic_load_n(&server.gone, __ATOMIC_RELAXED) < 2)
        hk_sleep_ns(100000);
    client_open(&client, server.port);
    (void)client_request(&client, "GET", "/never", NULL, NULL);
    (void)client_wait(&client, client_request(&client, "GET", "/", NULL, NULL));
    test_server_stop(&server);
    CHECK_INT(server.gone, 3);
    client_close(&client);
}

static void flood(const char *kind) {
    static struct test_server server;
    static struct client client;
    memset(&server, 0, sizeof(server));
    start(&server);
    client_open(&client, server.port);
    (void)client_wait(&client, client_request(&client, "GET", "/", NULL, NULL));
    for (int i = 0; i < 5000 && !client.goaway; i++) {
        if (strcmp(kind, "reset") == 0) {
            int32_t id = client_request(&client, "GET", "/never", NULL, NULL);
            const uint8_t *data = NULL;
            ssize_t len = nghttp2_session_mem_send(client.session, &data);
            CHECK(len >= 0);
            if (!test_send(client.fd, data, (size_t)len)) break;
            CHECK_INT(nghttp2_submit_rst_stream(client.session, 0, id, NGHTTP2_CANCEL), 0);
        } else if (strcmp(kind, "ping") == 0) {
            CHECK_INT(nghttp2_submit_ping(client.session, 0, NULL), 0);
        } else {
            CHECK_INT(nghttp2_submit_settings(client.session, 0, NULL, 0), 0);
        }
        const uint8_t *data = NULL;
        ssize_t len = 0;
        bool sent = true;
        while (sent && (len = nghttp2_session_mem_send(client.session, &data)) > 0)
            sent = test_send(client.fd, data, (size_t)len);
        if (!sent || len < 0) break;
    }
    while (client_turn(&client)) {
    }
    CHECK(client.goaway);
    CHECK_INT(client.goaway_error, NGHTTP2_ENHANCE_YOUR_CALM);
    client_close(&client);
    test_server_stop(&server);
}

TEST(floods_are_sent_away) {
    flood("reset");
    flood("ping");
    flood("settings");
}

static void drain_task(struct hk_task *task) {
    struct test_server *server = (void *)((char *)task - offsetof(struct test_server, task));
    hk_http_drain(server->http);
}

TEST(drain) {
    static struct test_server server;
    static struct client client, idle;
    start(&server);
    client_open(&client, server.port);
    client_open(&idle, server.port);
    (void)client_wait(&idle, client_request(&idle, "GET", "/", NULL, NULL));
    int32_t later = client_request(&client, "GET", "/later", NULL, NULL);
    (void)client_wait(&client, client_request(&client, "GET", "/", NULL, NULL));
    server.task.run = drain_task;
    hk_loop_post(server.loop, &server.task);
    const struct reply *reply = client_wait(&client, later);
    CHECK(strstr(reply->fields, ":status: 202\n") != NULL);
    while (client_turn(&client)) {
    }
    while (client_turn(&idle)) {
    }
    CHECK(client.goaway && idle.goaway);
    client_close(&client);
    client_close(&idle);
    test_server_stop(&server);
}

TEST(timeouts) {
    static struct test_server server;
    static struct client client;
    hk_http_limits_default(&server.options.limits);
    server.options.limits.header_timeout_ns = server.options.limits.body_timeout_ns = 20000000;
    server.options.limits.idle_timeout_ns = 60000000;
    server.options.handle = handle;
    start(&server);
    client_open(&client, server.port);
    struct upload upload = { HK_STR("part"), 0, true };
    const struct reply *reply =
        client_wait(&client, client_request(&client, "POST", "/", &upload, NULL));
    CHECK(strstr(reply->fields, ":status: 408\n") != NULL);
    while (client_turn(&client)) {
    }
    CHECK(client.goaway);
    CHECK_INT(client.goaway_error, NGHTTP2_NO_ERROR);
    client_close(&client);
    test_server_stop(&server);
}

/* A peer that gives no window holds an answer only for a while. */
TEST(stalled_windows_time_out) {
    static struct test_server server;
    static struct client client;
    hk_http_limits_default(&server.options.limits);
    server.options.limits.write_timeout_ns = 20000000;
    server.options.handle = handle;
    start(&server);
    client_open(&client, server.port);
    const nghttp2_settings_entry none = { NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 0 };
    CHECK_INT(nghttp2_submit_settings(client.session, 0, &none, 1), 0);
    const struct reply *reply =
        client_wait(&client, client_request(&client, "GET", "/stream", NULL, NULL));
    CHECK(strstr(reply->fields, ":status: 200\n") != NULL);
    CHECK_INT(reply->body.len, 0);
    CHECK_INT(reply->error, NGHTTP2_CANCEL);
    client_close(&client);
    test_server_stop(&server);
}

static size_t take_body(char *data, size_t size, size_t count, void *self) {
    hk_buf_bytes(self, data, size * count);
    return size * count;
}

TEST(curl_speaks_h2c) {
    static struct test_server server;
    start(&server);
    char url[64];
    (void)snprintf(url, sizeof(url), "http://127.0.0.1:%d/curl?x", server.port);
    struct hk_buf body;
    hk_buf_init(&body, 1 << 20);
    CURL *curl = curl_easy_init();
    (void)curl_easy_setopt(curl, CURLOPT_URL, url);
    (void)curl_easy_setopt(curl, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE);
    (void)curl_easy_setopt(curl, CURLOPT_POSTFIELDS, "posted");
    (void)curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take_body);
    (void)curl_easy_setopt(curl, CURLOPT_WRITEDATA, &body);
    CHECK_INT(curl_easy_perform(curl), CURLE_OK);
    char wanted[128];
    (void)snprintf(wanted, sizeof(wanted), "POST|/curl|x|127.0.0.1:%d|posted", server.port);
    CHECK_STR(hk_buf_get(&body), hk_str_from(wanted));
    curl_easy_cleanup(curl);
    hk_buf_deinit(&body);
    test_server_stop(&server);
}

HK_TEST_MAIN()
