/* Goal: what HTTP/1.1 clients may send is answered as RFC 9112 says, however it is cut into
 * packets, and what could be read in two ways is refused. */
#include "net/http_test_server.h"
#include "os/clock.h"

#include <sys/un.h>
#include <zlib.h>
#include <zstd.h>

enum { TEXT_MAX = 1 << 16 };

static void answer_later(struct hk_timer *timer) {
    struct test_server *server = (void *)((char *)timer - offsetof(struct test_server, later));
    struct hk_http_exchange *exchange = server->waiting;
    server->waiting = NULL;
    hk_http_respond(exchange, 202, HK_STR("text/plain"), HK_STR("later\n"));
}

static void stream_gone(struct hk_http_exchange *exchange) {
    struct test_server *server = hk_http_get_user(exchange);
    server->stream = NULL;
    (void)__atomic_add_fetch(&server->gone, 1, __ATOMIC_RELAXED);
    hk_http_stream_end(exchange);
}

static void stream_next(struct hk_timer *timer) {
    struct test_server *server = (void *)((char *)timer - offsetof(struct test_server, later));
    if (server->stream == NULL) return;
    (void)hk_http_stream_write(server->stream, HK_STR("data: more\n\n"));
    hk_assert(hk_loop_arm(server->loop, timer, hk_loop_now_ns(server->loop) + 200000) == HK_OK);
}

/* "/echo" gives method, path, query and body back; other paths have their own ways. */
static void handle(void *self, struct hk_http_exchange *exchange) {
    struct test_server *server = self;
    const struct hk_http_request *request = hk_http_get_request(exchange);
    server->handled++;
    hk_http_set_user(exchange, server);
    if (hk_str_is(request->path, "/later")) {
        server->waiting = exchange;
        server->later.fire = answer_later;
        hk_assert(
            hk_loop_arm(server->loop, &server->later, hk_loop_now_ns(server->loop) + 1000000) ==
            HK_OK);
    } else if (hk_str_is(request->path, "/stream")) {
        hk_http_on_gone(exchange, stream_gone);
        hk_http_stream_begin(exchange, 200, HK_STR("text/event-stream"));
        (void)hk_http_stream_write(exchange, HK_STR("data: first\n\n"));
        if (hk_str_is(request->query, "endless")) {
            server->stream = exchange;
            server->later.fire = stream_next;
            hk_assert(hk_loop_arm(server->loop, &server->later, 0) == HK_OK);
            return;
        }
        (void)hk_http_stream_write(exchange, HK_STR("data: second\n\n"));
        hk_http_stream_end(exchange);
    } else if (hk_str_is(request->path, "/big")) {
        struct hk_buf big;
        hk_buf_init(&big, 1 << 24);
        int lines = hk_str_is(request->query, "small") ? 20000 : 200000;
        for (int i = 0; i < lines; i++) {
            hk_buf_printf(&big, "line %d\n", i);
        }
        hk_http_respond_buf(exchange, 200, HK_STR("text/plain"), &big);
        hk_assert(big.len == 0);
    } else {
        struct hk_buf out;
        hk_buf_init(&out, 1 << 26);
        hk_buf_printf(
            &out, "%.*s|%.*s|%.*s|", HK_STR_ARG(request->method), HK_STR_ARG(request->path),
            HK_STR_ARG(request->query));
        hk_buf_str(&out, request->body);
        hk_http_add_header(exchange, HK_STR("x-test"), HK_STR("yes"));
        hk_http_add_header(exchange, HK_STR("x-bad"), HK_STR("a\r\nb: c"));
        hk_http_respond_buf(exchange, 200, HK_STR("text/plain"), &out);
    }
}

static int admit(void *self, const struct hk_http_request *request, const char **out_text) {
    (void)self;
    if (!hk_str_starts(request->path, HK_STR("/private"))) return 0;
    *out_text = "not for you\n";
    return 401;
}

static void defaults(struct test_server *server) {
    memset(server, 0, sizeof(*server));
    hk_http_limits_default(&server->options.limits);
    server->options.handle = handle;
    server->options.admit = admit;
}

/* Sends `request` in one piece or in two cut at `cut`, ends our side, and returns the answer. */
static void talk(uint16_t port, const char *request, size_t len, size_t cut, char *out) {
    int fd = test_connect(port);
    if (cut > 0) {
        CHECK(test_send(fd, request, cut));
        struct timespec moment = { 0, 20000 };
        (void)nanosleep(&moment, NULL); /* makes two packets likely; either way is right */
    }
    (void)test_send(fd, request + cut, len - cut);
    (void)shutdown(fd, SHUT_WR);
    (void)test_recv(fd, out, TEXT_MAX, NULL);
    (void)close(fd);
}

static const struct {
    const char *request, *status, *body;
} cases[] = {
    { "GET /a HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200 ", "GET|/a||" },
    { "\r\nGET /a HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200 ", "GET|/a||" },
    { "GET /a%2Fb%20c?q=%20&z HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200 ",
      "GET|/a/b c|q=%20&z|" },
    { "GET http://other/x?y HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200 ", "GET|/x|y|" },
    { "GET http://other HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200 ", "GET|/||" },
    { "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200 ", "OPTIONS|*||" },
    { "GET / HTTP/1.0\r\n\r\n", "HTTP/1.1 200 ", "GET|/||" },
    { "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello", "HTTP/1.1 200 ",
      "POST|/||hello" },
    { "POST / HTTP/1.1\r\nHost: x\r\ncontent-length:0\r\n\r\n", "HTTP/1.1 200 ", "POST|/||" },
    { "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: Chunked\r\n\r\n"
      "3\r\nabc\r\n0A;x=\"y\"\r\n0123456789\r\n0\r\nTrailer: t\r\n\r\n",
      "HTTP/1.1 200 ", "POST|/||abc0123456789" },
    { "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "HTTP/1.1 200 ",
      "POST|/||" },
    { "POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nok",
      "HTTP/1.1 ", "POST|/||ok" },
    { "GET /later HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 202 ", "later\n" },
    { "GET /stream HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200 ",
      "\r\n\r\nd\r\ndata: first\n\n\r\ne\r\ndata: second\n\n\r\n0\r\n\r\n" },
    { "GET /stream HTTP/1.0\r\n\r\n", "HTTP/1.1 200 ", "\r\n\r\ndata: first\n\ndata: second\n\n" },
    { "GET /private HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 401 ", "not for you\n" },
    { "POST /private HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc", "HTTP/1.1 401 ",
      "not for you\n" },
    /* Broken or doubtful. */
    { "GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 400 ", "Host is missing" },
    { "GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", "HTTP/1.1 400 ", "" },
    { "GET / HTTP/1.1\r\nHost: x y\r\n\r\n", "HTTP/1.1 400 ", "" },
    { "GET / HTTP/1.1\r\nHost: u@x/\r\n\r\n", "HTTP/1.1 400 ", "" },
    { "GET / HTTP/1.1\nHost: x\n\n", "HTTP/1.1 400 ", "CR LF" },
    { "GET / HTTP/1.1\r\nHost: x\n\r\n", "HTTP/1.1 400 ", "CR LF" },
    { "GET / HTTP/1.1\r\nHost: x\rA: b\r\n\r\n", "HTTP/1.1 400 ", "control" },
    { "GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n folded\r\n\r\n", "HTTP/1.1 400 ", "obs-fold" },
    { "GET / HTTP/1.1\r\nHost: x\r\nA : b\r\n\r\n", "HTTP/1.1 400 ", "" },
    { "GET / HTTP/1.1\r\nHost: x\r\n: b\r\n\r\n", "HTTP/1.1 400 ", "" },
    { "GET / HTTP/1.1\r\nHost: x\r\nnocolon\r\n\r\n", "HTTP/1.1 400 ", "" },
    { "GET  / HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 400 ", "" },
    { "GET / x HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 400 ", "" },
    { "GET /\r\nHost: x\r\n\r\n", "HTTP/1.1 400 ", "" },
    { "G(T / HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 400 ", "" },
    { "GET / HTTP/1.2\r\nHost: x\r\n\r\n", "HTTP/1.1 505 ", "" },
    { "GET / HTTP/3.0\r\nHost: x\r\n\r\n", "HTTP/1.1 505 ", "" },
    { "GET / http/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 400 ", "" },
    { "GET /%00 HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 400 ", "" },
    { "GET /%4 HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 400 ", "" },
    { "GET relative HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 400 ", "" },
    { "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n"
      "0\r\n\r\n",
      "HTTP/1.1 400 ", "both" },
    { "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
      "HTTP/1.1 400 ", "twice" },
    { "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3, 3\r\n\r\nabc", "HTTP/1.1 400 ", "" },
    { "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +3\r\n\r\nabc", "HTTP/1.1 400 ", "" },
    { "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0x3\r\n\r\nabc", "HTTP/1.1 400 ", "" },
    { "POST / HTTP/1.1\r\nHost: x\r\nContent-Length:\r\n\r\nabc", "HTTP/1.1 400 ", "" },
    { "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n", "HTTP/1.1 400 ",
      "" },
    { "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999999\r\n\r\n", "HTTP/1.1 413 ", "" },
    { "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
      "HTTP/1.1 501 ", "" },
    { "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
      "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
      "HTTP/1.1 400 ", "" },
    { "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "HTTP/1.1 400 ", "" },
    { "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n",
      "HTTP/1.1 400 ", "chunked" },
    { "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n",
      "HTTP/1.1 400 ", "chunked" },
    { "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n-3\r\nabc\r\n0\r\n\r\n",
      "HTTP/1.1 400 ", "chunked" },
    { "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
      "1000000000000000\r\nabc\r\n0\r\n\r\n",
      "HTTP/1.1 400 ", "chunked" },
    { "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n\r\nabc\r\n0\r\n\r\n",
      "HTTP/1.1 400 ", "chunked" },
    { "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: b\n\r\n",
      "HTTP/1.1 400 ", "chunked" },
    { "POST / HTTP/1.1\r\nHost: x\r\nExpect: tea\r\nContent-Length: 2\r\n\r\nok", "HTTP/1.1 417 ",
      "" },
    { "POST / HTTP/1.1\r\nHost: x\r\nContent-Encoding: br\r\nContent-Length: 2\r\n\r\nok",
      "HTTP/1.1 415 ", "" },
    { "POST / HTTP/1.1\r\nHost: x\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\nok",
      "HTTP/1.1 400 ", "" },
    { "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", "HTTP/1.1 505 ", "" },
};

TEST(requests_in_one_piece) {
    static struct test_server server;
    static char out[TEXT_MAX];
    defaults(&server);
    test_server_start(&server, "127.0.0.1:0");
    for (size_t i = 0; i < HK_COUNT(cases); i++) {
        talk(server.port, cases[i].request, strlen(cases[i].request), 0, out);
        bool right = strstr(out, cases[i].status) == out && strstr(out, cases[i].body) != NULL;
        if (!right) printf("# %zu: «%s» was answered «%s»\n", i, cases[i].request, out);
        CHECK(right);
        CHECK(strstr(out, "x-bad") == NULL && strstr(out, "b: c") == NULL);
    }
    test_server_stop(&server);
}

TEST(requests_cut_anywhere) {
    static struct test_server server;
    static char out[TEXT_MAX];
    defaults(&server);
    test_server_start(&server, "localhost:0");
    for (size_t i = 0; i < HK_COUNT(cases); i++) {
        size_t len = strlen(cases[i].request);
        for (size_t cut = 1; cut < len; cut += 1 + (i * 7 + cut) % 3) {
            talk(server.port, cases[i].request, len, cut, out);
            bool right = strstr(out, cases[i].status) != NULL && strstr(out, cases[i].body) != NULL;
            if (!right) printf("# %zu cut at %zu was answered «%s»\n", i, cut, out);
            CHECK(right);
        }
    }
    test_server_stop(&server);
}

static unsigned count_of(const char *text, const char *part) {
    unsigned count = 0;
    for (const char *at = strstr(text, part); at != NULL; at = strstr(at + 1, part))
        count++;
    return count;
}

TEST(pipelining_keeps_order) {
    static struct test_server server;
    static char out[TEXT_MAX];
    defaults(&server);
    test_server_start(&server, "127.0.0.1:0");
    static char requests[4096];
    size_t requests_len = 0;
    for (int i = 0; i < 20; i++) {
        requests_len += (size_t)snprintf(
            requests + requests_len, sizeof(requests) - requests_len,
            "GET /%s?%d HTTP/1.1\r\nHost: x\r\n%s\r\n", i % 5 == 3 ? "later" : "n", i,
            i == 19 ? "Connection: close\r\n" : "");
    }
    int fd = test_connect(server.port);
    CHECK(test_send(fd, requests, requests_len));
    (void)test_recv(fd, out, sizeof(out), NULL);
    (void)close(fd);
    CHECK_INT(count_of(out, "HTTP/1.1 200 OK\r\n"), 16);
    CHECK_INT(count_of(out, "HTTP/1.1 202 "), 4);
    CHECK(strstr(out, "|16|") != NULL && strstr(out, "|17|") > strstr(out, "|16|"));
    CHECK_INT(count_of(out, "Connection: close"), 1);
    test_server_stop(&server);
    CHECK_INT(server.handled, 20);
}

TEST(many_pipelined_requests_in_turns) {
    static struct test_server server;
    static char requests[TEXT_MAX], out[1 << 20];
    enum { COUNT = 1000 };
    defaults(&server);
    test_server_start(&server, "127.0.0.1:0");
    size_t len = 0;
    for (int i = 0; i < COUNT; i++)
        len += (size_t)snprintf(
            requests + len, sizeof(requests) - len, "GET /%d HTTP/1.1\r\nHost: x\r\n\r\n", i);
    int fd = test_connect(server.port);
    CHECK(test_send(fd, requests, len));
    (void)shutdown(fd, SHUT_WR);
    (void)test_recv(fd, out, sizeof(out), NULL);
    (void)close(fd);
    CHECK_INT(count_of(out, "HTTP/1.1 200 OK\r\n"), COUNT);
    CHECK(strstr(out, "GET|/999||") != NULL);
    test_server_stop(&server);
}

/* Any allocation may fail: that request gets an error or a closed connection, the next one works,
 * and nothing leaks. */
TEST(out_of_memory) {
    static struct test_server server;
    static char out[TEXT_MAX];
    /* Preface, empty SETTINGS, and HEADERS of GET / with :authority "local0". */
    static const char h2_request[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0"
                                     "\0\0\x0b\1\5\0\0\0\1\x82\x86\x84\x41\x06local0";
    static const char *const requests[] = {
        "GET /stream HTTP/1.1\r\nHost: x\r\n\r\nGET /later HTTP/1.1\r\nHost: x\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\nContent-Length: 5\r\n\r\nhello",
        h2_request,
    };
    static const size_t sizes[] = { 0, 0, sizeof(h2_request) - 1 };
    for (size_t i = 0; i < HK_COUNT(requests); i++) {
        size_t len = sizes[i] == 0 ? strlen(requests[i]) : sizes[i];
        for (uint64_t n = 1; n < 40; n++) {
            defaults(&server);
            test_server_start(&server, "127.0.0.1:0");
            hk_mem_fail_at(n);
            talk(server.port, requests[i], len, 0, out);
            hk_mem_fail_at(0);
            talk(server.port, "GET /ok HTTP/1.0\r\n\r\n", 20, 0, out);
            CHECK(strstr(out, "GET|/ok||") != NULL);
            test_server_stop(&server);
        }
    }
}

TEST(head_has_no_body) {
    static struct test_server server;
    static char out[TEXT_MAX];
    defaults(&server);
    test_server_start(&server, "127.0.0.1:0");
    const char *request = "HEAD /big HTTP/1.1\r\nHost: x\r\n\r\n";
    talk(server.port, request, strlen(request), 0, out);
    CHECK(strstr(out, "Content-Length: 2288890\r\n") != NULL);
    CHECK(strstr(out, "\r\nDate: ") != NULL && strstr(out, " GMT\r\n") != NULL);
    CHECK_TEXT(strstr(out, "\r\n\r\n"), "\r\n\r\n");
    test_server_stop(&server);
}

TEST(large_bodies_both_ways) {
    static struct test_server server;
    defaults(&server);
    test_server_start(&server, "127.0.0.1:0");
    enum { BYTES = 3 << 20 };
    char *body = hk_mem_alloc(BYTES, 1);
    char *out = hk_mem_alloc(BYTES + 4096, 1);
    for (size_t i = 0; i < BYTES; i++)
        body[i] = (char)('a' + i % 23);
    for (int chunked = 0; chunked < 2; chunked++) {
        int fd = test_connect(server.port);
        char head[256];
        (void)snprintf(
            head, sizeof(head), "POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n%s: %d\r\n\r\n",
            "Content-Length", BYTES);
        const char *chunk_head = "POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
                                 "Transfer-Encoding: chunked\r\n\r\n300000\r\n";
        const char *first = chunked ? chunk_head : head;
        CHECK(test_send(fd, first, strlen(first)));
        CHECK(test_send(fd, body, BYTES));
        if (chunked) CHECK(test_send(fd, "\r\n0\r\n\r\n", 7));
        size_t len = test_recv(fd, out, BYTES + 4096, NULL);
        const char *got = strstr(out, "POST|/||");
        CHECK(got != NULL && len > BYTES);
        if (got != NULL) CHECK(memcmp(got + 8, body, BYTES) == 0);
        (void)close(fd);
    }
    hk_mem_free(body);
    hk_mem_free(out);
    test_server_stop(&server);
}

/* Encoded forms of `size` bytes 'z'. */
static size_t make_gzip(char *out, size_t max, size_t size, int window) {
    char *plain = hk_mem_alloc(size, 1);
    memset(plain, 'z', size);
    z_stream stream = { 0 };
    CHECK_INT(deflateInit2(&stream, 6, Z_DEFLATED, window, 8, Z_DEFAULT_STRATEGY), Z_OK);
    stream.next_in = (Bytef *)plain;
    stream.avail_in = (uInt)size;
    stream.next_out = (Bytef *)out;
    stream.avail_out = (uInt)max;
    CHECK_INT(deflate(&stream, Z_FINISH), Z_STREAM_END);
    size_t len = max - stream.avail_out;
    (void)deflateEnd(&stream);
    hk_mem_free(plain);
    return len;
}

static void
post_encoded(uint16_t port, const char *coding, const char *body, size_t len, char *out) {
    static char request[TEXT_MAX];
    int head = snprintf(
        request, sizeof(request),
        "POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Encoding: %s\r\n"
        "Content-Length: %zu\r\n\r\n",
        coding, len);
    memcpy(request + head, body, len);
    talk(port, request, (size_t)head + len, 0, out);
}

TEST(encoded_bodies_and_bombs) {
    static struct test_server server;
    static char out[TEXT_MAX];
    static char packed[32768];
    defaults(&server);
    server.options.limits.body_bytes_max_decoded = 1 << 20;
    test_server_start(&server, "127.0.0.1:0");
    static const struct {
        const char *coding;
        int window;
    } codings[] = { { "gzip", 31 }, { "x-gzip", 31 }, { "deflate", 15 }, { "deflate", -15 } };
    for (size_t i = 0; i < HK_COUNT(codings); i++) {
        size_t len = make_gzip(packed, sizeof(packed), 300, codings[i].window);
        post_encoded(server.port, codings[i].coding, packed, len, out);
        const char *got = strstr(out, "POST|/||");
        CHECK(got != NULL && strspn(got + 8, "z") == 300);
        post_encoded(server.port, codings[i].coding, packed, len - 1, out);
        CHECK(strstr(out, "HTTP/1.1 400 ") == out);
        len = make_gzip(packed, sizeof(packed), 1 << 20, codings[i].window);
        post_encoded(server.port, codings[i].coding, packed, len, out);
        CHECK(strstr(out, "HTTP/1.1 200 ") == out);
        len = make_gzip(packed, sizeof(packed), (1 << 20) + 1, codings[i].window);
        post_encoded(server.port, codings[i].coding, packed, len, out);
        CHECK(strstr(out, "HTTP/1.1 413 ") == out);
    }
    for (size_t size = 1000; size <= 4000000; size *= 2000) {
        char *plain = hk_mem_alloc(size, 1);
        size_t len = ZSTD_compress(packed, sizeof(packed), plain, size, 1);
        post_encoded(server.port, "zstd", packed, len, out);
        CHECK(strstr(out, size == 1000 ? "HTTP/1.1 200 " : "HTTP/1.1 413 ") == out);
        post_encoded(server.port, "zstd", packed, len / 2, out);
        CHECK(strstr(out, size == 1000 ? "HTTP/1.1 400 " : "HTTP/1.1 4") == out);
        hk_mem_free(plain);
    }
    post_encoded(server.port, "snappy", "left as it is", 13, out);
    CHECK(strstr(out, "left as it is") != NULL);
    test_server_stop(&server);
}

TEST(answers_are_compressed_when_accepted) {
    static struct test_server server;
    static const struct {
        const char *accept, *coding;
    } accepts[] = {
        { "gzip", "Content-Encoding: gzip\r\n" },
        { "gzip, deflate, br, zstd", "Content-Encoding: zstd\r\n" },
        { "zstd;q=0.5, gzip;q=0.7", "Content-Encoding: gzip\r\n" },
        { "gzip;q=0", NULL },
        { "br", NULL },
        { "", NULL },
    };
    defaults(&server);
    test_server_start(&server, "127.0.0.1:0");
    enum { BYTES = 4 << 20 };
    char *out = hk_mem_alloc(BYTES, 1);
    char *plain = hk_mem_alloc(BYTES, 1);
    for (size_t i = 0; i < HK_COUNT(accepts); i++) {
        char request[256];
        int len = snprintf(
            request, sizeof(request), "GET /big?small HTTP/1.0\r\nAccept-Encoding: %s\r\n\r\n",
            accepts[i].accept);
        int fd = test_connect(server.port);
        CHECK(test_send(fd, request, (size_t)len));
        size_t got = test_recv(fd, out, BYTES, NULL);
        (void)close(fd);
        const char *body = strstr(out, "\r\n\r\n");
        CHECK(body != NULL);
        if (body == NULL) continue;
        body += 4;
        size_t bytes = got - (size_t)(body - out);
        if (accepts[i].coding == NULL) {
            CHECK_INT(bytes, 208890);
            CHECK(strstr(out, "Content-Encoding") == NULL);
            continue;
        }
        CHECK(strstr(out, accepts[i].coding) != NULL);
        CHECK(bytes < 208890 / 2);
        if (strstr(accepts[i].coding, "zstd") != NULL)
            CHECK_INT(ZSTD_decompress(plain, BYTES, body, bytes), 208890);
    }
    hk_mem_free(out);
    hk_mem_free(plain);
    test_server_stop(&server);
}

TEST(limits_are_answered) {
    static struct test_server server;
    static char out[TEXT_MAX];
    static char request[TEXT_MAX];
    defaults(&server);
    server.options.limits.header_bytes_max = 1000;
    server.options.limits.body_bytes_max = 1000;
    server.options.limits.connections_max = 3;
    test_server_start(&server, "127.0.0.1:0");
    int len = snprintf(request, sizeof(request), "GET / HTTP/1.1\r\nHost: x\r\nA: ");
    memset(request + len, 'a', 2000);
    talk(server.port, request, (size_t)len + 2000, 0, out);
    CHECK(strstr(out, "HTTP/1.1 431 ") == out);
    const char *chunked =
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffff\r\n";
    (void)snprintf(request, sizeof(request), "%s", chunked);
    memset(request + strlen(chunked), 'b', 2000);
    talk(server.port, request, strlen(chunked) + 2000, 0, out);
    CHECK(strstr(out, "HTTP/1.1 413 ") == out);
    int fds[4];
    for (int i = 0; i < 4; i++) {
        fds[i] = test_connect(server.port);
        (void)test_send(fds[i], "GET / HTTP/1.1\r\nHost: x\r\n\r\n", 27);
        size_t got = test_recv(fds[i], out, sizeof(out), "GET|");
        CHECK_INT(got > 0, i < 3);
    }
    for (int i = 0; i < 4; i++)
        (void)close(fds[i]);
    test_server_stop(&server);
}

TEST(timeouts_end_slow_clients) {
    static struct test_server server;
    static char out[TEXT_MAX];
    defaults(&server);
    server.options.limits.header_timeout_ns = 20000000;
    server.options.limits.body_timeout_ns = 20000000;
    server.options.limits.idle_timeout_ns = 20000000;
    server.options.limits.write_timeout_ns = 20000000;
    test_server_start(&server, "127.0.0.1:0");
    static const struct {
        const char *sent, *answer;
    } slow[] = {
        { "", "" },
        { "GET / HT", "HTTP/1.1 408 " },
        { "PRI * HTTP/2", "" },
        { "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc", "HTTP/1.1 408 " },
        { "GET / HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200 " },
    };
    for (size_t i = 0; i < HK_COUNT(slow); i++) {
        int fd = test_connect(server.port);
        CHECK(test_send(fd, slow[i].sent, strlen(slow[i].sent)));
        (void)test_recv(fd, out, sizeof(out), NULL);
        CHECK(strstr(out, slow[i].answer) == out);
        (void)close(fd);
    }
    /* A client that asks and does not read. */
    int fd = test_connect(server.port);
    for (int i = 0; i < 100; i++)
        (void)test_send(fd, "GET /big HTTP/1.1\r\nHost: x\r\n\r\n", 30);
    while (send(fd, "G", 1, MSG_NOSIGNAL) == 1) {
        struct hk_http_stats stats;
        hk_http_get_stats(server.http, &stats);
        if (stats.connections_open == 0) break;
        hk_sleep_ns(1000000);
    }
    (void)close(fd);
    test_server_stop(&server);
}

TEST(gone_clients_are_told) {
    static struct test_server server;
    static char out[TEXT_MAX];
    defaults(&server);
    test_server_start(&server, "127.0.0.1:0");
    int fd = test_connect(server.port);
    const char *request = "GET /stream?endless HTTP/1.1\r\nHost: x\r\n\r\n";
    CHECK(test_send(fd, request, strlen(request)));
    (void)test_recv(fd, out, sizeof(out), "more");
    (void)close(fd);
    while (__atomic_load_n(&server.gone, __ATOMIC_RELAXED) == 0)
        hk_sleep_ns(100000);
    CHECK_INT(server.gone, 1);
    /* The server may be closed with an exchange open. */
    fd = test_connect(server.port);
    CHECK(test_send(fd, request, strlen(request)));
    (void)test_recv(fd, out, sizeof(out), "more");
    test_server_stop(&server);
    CHECK_INT(server.gone, 2);
    (void)close(fd);
}

static void drain_task(struct hk_task *task) {
    struct test_server *server = (void *)((char *)task - offsetof(struct test_server, task));
    hk_http_drain(server->http);
}

TEST(drain_ends_idle_and_answers_the_rest) {
    static struct test_server server;
    static char out[TEXT_MAX];
    defaults(&server);
    test_server_start(&server, "127.0.0.1:0");
    int idle = test_connect(server.port);
    int busy = test_connect(server.port);
    const char *get = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    CHECK(test_send(idle, get, strlen(get)));
    (void)test_recv(idle, out, sizeof(out), "GET|");
    const char *part = "POST /late HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n";
    CHECK(test_send(busy, part, strlen(part)));
    struct hk_http_stats stats = { 0 };
    while (stats.bytes_in < strlen(get) + strlen(part))
        hk_http_get_stats(server.http, &stats);
    server.task.run = drain_task;
    hk_loop_post(server.loop, &server.task);
    CHECK_INT(test_recv(idle, out, sizeof(out), NULL), 0);
    CHECK(test_send(busy, "ok", 2));
    (void)test_recv(busy, out, sizeof(out), NULL);
    CHECK(strstr(out, "Connection: close\r\n") != NULL);
    CHECK(strstr(out, "POST|/late||ok") != NULL);
    (void)close(idle);
    (void)close(busy);
    test_server_stop(&server);
}

TEST(unix_sockets) {
    static struct test_server server;
    static char out[TEXT_MAX];
    char dir[] = "/tmp/hk_http_XXXXXX";
    CHECK(mkdtemp(dir) != NULL);
    char address[64];
    (void)snprintf(address, sizeof(address), "unix:%s/s", dir);
    for (int i = 0; i < 2; i++) {
        defaults(&server);
        test_server_start(&server, address);
        int fd = socket(AF_UNIX, SOCK_STREAM, 0);
        struct sockaddr_un to = { .sun_family = AF_UNIX };
        (void)snprintf(to.sun_path, sizeof(to.sun_path), "%s", address + 5);
        CHECK_INT(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
        CHECK(test_send(fd, "GET /u HTTP/1.0\r\n\r\n", 19));
        (void)test_recv(fd, out, sizeof(out), NULL);
        CHECK(strstr(out, "GET|/u||") != NULL);
        (void)close(fd);
        test_server_stop(&server);
    }
    CHECK_INT(rmdir(dir), 0);
}

TEST(addresses) {
    static const char *const bad[] = { "",       "nowhere", "localhost:",   "localhost:99999",
                                       "::1:80", "[::1]",   "host.name:80", "127.0.0.1:-1",
                                       "unix:",  "1.2.3:80" };
    struct hk_loop *loop = NULL;
    CHECK_INT(hk_loop_create(HK_SPIN_OFF, &loop), HK_OK);
    struct hk_http_options options = { .handle = handle };
    hk_http_limits_default(&options.limits);
    struct hk_http_server *server = NULL;
    for (size_t i = 0; i < HK_COUNT(bad); i++) {
        CHECK_INT(hk_http_listen(loop, hk_str_from(bad[i]), &options, &server), HK_E_INVALID);
    }
    CHECK_INT(hk_http_listen(loop, HK_STR("192.0.2.1:80"), &options, &server), HK_E_IO);
    CHECK_INT(hk_http_listen(loop, HK_STR(":0"), &options, &server), HK_OK);
    CHECK(hk_http_server_port(server) > 0);
    hk_http_close(server);
    hk_loop_destroy(loop);
}

static hk_err listen_and_close(void) {
    struct hk_loop *loop = NULL;
    struct hk_http_server *server = NULL;
    struct hk_http_options options = { .handle = handle };
    hk_http_limits_default(&options.limits);
    HK_TRY(hk_loop_create(HK_SPIN_OFF, &loop));
    hk_err err = hk_http_listen(loop, HK_STR("127.0.0.1:0"), &options, &server);
    hk_http_close(server);
    hk_loop_destroy(loop);
    return err;
}

TEST(listening_without_memory) {
    SWEEP_ALLOC(listen_and_close());
}

TEST(params) {
    struct hk_http_header type = { HK_STR("content-type"),
                                   HK_STR("application/x-www-form-urlencoded; charset=utf-8") };
    struct hk_http_request request = { .query = HK_STR("a=1&b=x%20y+z&a=%zz&c&=d&%61=3"),
                                       .body = HK_STR("a=body&q=up%7B%7D"),
                                       .headers = &type,
                                       .header_count = 1 };
    struct hk_arena arena;
    hk_arena_init(&arena, 1 << 16);
    static const struct {
        const char *name;
        uint32_t n;
        const char *value;
    } wanted[] = {
        { "a", 0, "body" }, { "a", 1, "1" },    { "a", 2, "%zz" },
        { "a", 3, "3" },    { "a", 4, NULL },   { "b", 0, "x y z" },
        { "c", 0, "" },     { "q", 0, "up{}" }, { "d", 0, NULL },
    };
    for (size_t i = 0; i < HK_COUNT(wanted); i++) {
        struct hk_str value = { 0 };
        bool found =
            hk_http_param(&request, hk_str_from(wanted[i].name), wanted[i].n, &arena, &value);
        CHECK_INT(found, wanted[i].value != NULL);
        if (found && wanted[i].value != NULL) CHECK_STR(value, hk_str_from(wanted[i].value));
    }
    hk_arena_deinit(&arena);
}

HK_TEST_MAIN()
