/* Goal: the warm client answers each request exactly once: with the server's answer, or with the
 * reason why there is none. */
#include "net/client.h"

#include "net/client_parse.h"
#include "net/http.h"
#include "net/tls.h"
#include "net/tls_context.h"
#include "net/tls_test_certs.h"
#include "os/clock.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>

struct outcome {
    struct fixture *fixture;
    unsigned calls;
    hk_err err;
    int status;
    int64_t written_ns;
    char body[256], why[256];
};

/* Server and client on one loop, turned by the test. */
struct fixture {
    struct hk_loop *loop;
    struct hk_http_server *server;
    struct hk_http_options options;
    struct hk_client *client;
    struct hk_timer tick;
    struct hk_http_exchange *held;
    unsigned requests;
    char seen[512];
};

static void handle(void *self, struct hk_http_exchange *exchange) {
    struct fixture *fixture = self;
    const struct hk_http_request *request = hk_http_get_request(exchange);
    fixture->requests++;
    (void)snprintf(
        fixture->seen, sizeof(fixture->seen), "%.*s|%.*s|%.*s|%.*s|%.*s|%.40s",
        HK_STR_ARG(request->method), HK_STR_ARG(request->path), HK_STR_ARG(request->query),
        HK_STR_ARG(hk_http_header_get(request, HK_STR("authorization"))),
        HK_STR_ARG(hk_http_header_get(request, HK_STR("x-id"))),
        request->body.len == 0 ? "" : request->body.ptr);
    fixture->seen[strcspn(fixture->seen, "\n")] = 0;
    if (hk_str_is(request->path, "/hold")) {
        fixture->held = exchange;
    } else if (hk_str_is(request->path, "/stream")) {
        hk_http_stream_begin(exchange, 200, HK_STR("text/plain"));
        (void)hk_http_stream_write(exchange, HK_STR("one "));
        (void)hk_http_stream_write(exchange, HK_STR("two"));
        hk_http_stream_end(exchange);
    } else {
        hk_http_respond(exchange, 201, HK_STR("text/plain"), HK_STR("made"));
    }
}

static void setup(struct fixture *fixture, const char *address, struct hk_tls *tls) {
    memset(fixture, 0, sizeof(*fixture));
    CHECK_INT(hk_loop_create(HK_SPIN_OFF, &fixture->loop), HK_OK);
    hk_http_limits_default(&fixture->options.limits);
    fixture->options.handle = handle;
    fixture->options.handler_self = fixture;
    fixture->options.tls = tls;
    if (address == NULL) return;
    CHECK_INT(
        hk_http_listen(fixture->loop, hk_str_from(address), &fixture->options, &fixture->server),
        HK_OK);
}

static void teardown(struct fixture *fixture) {
    hk_client_destroy(fixture->client);
    hk_http_close(fixture->server);
    hk_loop_destroy(fixture->loop);
}

static void make_client(struct fixture *fixture, const char *scheme, const char *path) {
    char url[128];
    (void)snprintf(
        url, sizeof(url), "%s://localhost:%d%s", scheme, hk_http_server_port(fixture->server),
        path);
    const struct hk_client_options options = { .url = hk_str_from(url),
                                               .authorization = HK_STR("Bearer t") };
    CHECK_INT(hk_client_create(fixture->loop, &options, &fixture->client), HK_OK);
}

static void stop_tick(struct hk_timer *timer) {
    hk_loop_stop(
        ((struct fixture *)(void *)((char *)timer - offsetof(struct fixture, tick)))->loop);
}

/* Turns the loop for about a millisecond. */
static void turn(struct fixture *fixture) {
    fixture->tick.fire = stop_tick;
    CHECK_INT(hk_loop_arm(fixture->loop, &fixture->tick, hk_clock_monotonic_ns() + 1000000), HK_OK);
    hk_loop_run(fixture->loop);
}

static void until_warm(struct fixture *fixture) {
    for (int i = 0; i < 20000 && !hk_client_is_warm(fixture->client); i++)
        turn(fixture);
    CHECK(hk_client_is_warm(fixture->client));
}

static void done(void *self, const struct hk_client_result *result) {
    struct outcome *outcome = self;
    outcome->calls++;
    outcome->err = result->err;
    outcome->status = result->status;
    outcome->written_ns = result->written_ns;
    (void)snprintf(outcome->body, sizeof(outcome->body), "%.*s", HK_STR_ARG(result->body));
    (void)snprintf(outcome->why, sizeof(outcome->why), "%s", result->err < 0 ? hk_fail_text() : "");
}

static void until_done(struct fixture *fixture, const struct outcome *outcome) {
    for (int i = 0; i < 20000 && outcome->calls == 0; i++)
        turn(fixture);
    CHECK_INT(outcome->calls, 1);
}

static hk_err post(struct fixture *fixture, struct hk_str body, struct outcome *outcome) {
    const struct hk_str extra[] = { HK_STR("X-Id"), HK_STR("7") };
    *outcome = (struct outcome){ .fixture = fixture };
    return hk_client_post(
        fixture->client, HK_STR("application/json"), body, extra, 1, done, outcome);
}

TEST(one_connection_serves_many) {
    static struct fixture fixture;
    static struct outcome outcome, second;
    setup(&fixture, "127.0.0.1:0", NULL);
    make_client(&fixture, "http", "/hook?a=b");
    until_warm(&fixture);
    for (int i = 0; i < 3; i++) {
        CHECK_INT(post(&fixture, HK_STR("{}\n"), &outcome), HK_OK);
        CHECK(!hk_client_is_warm(fixture.client));
        CHECK_INT(outcome.calls, 0);
        CHECK_INT(post(&fixture, HK_STR("{}\n"), &second), HK_OK); /* waits for the first */
        until_done(&fixture, &outcome);
        until_done(&fixture, &second);
        CHECK_INT(outcome.err, HK_OK);
        CHECK_INT(outcome.status, 201);
        CHECK_TEXT(outcome.body, "made");
        CHECK(outcome.written_ns > 0 && outcome.written_ns <= second.written_ns);
        CHECK_TEXT(fixture.seen, "POST|/hook|a=b|Bearer t|7|{}");
    }
    struct hk_http_stats stats;
    hk_http_get_stats(fixture.server, &stats);
    CHECK_INT(stats.connections_total, 1);
    CHECK_INT(fixture.requests, 6);
    const struct hk_str bad[] = { HK_STR("X\r\n"), HK_STR("7") };
    CHECK(hk_client_post(fixture.client, HK_STR(""), HK_STR(""), bad, 1, done, &outcome) < 0);
    teardown(&fixture);
}

TEST(large_body_and_chunked_answer) {
    static struct fixture fixture;
    static struct outcome outcome;
    enum { BYTES = 8 << 20 };
    setup(&fixture, "127.0.0.1:0", NULL);
    make_client(&fixture, "http", "/stream");
    until_warm(&fixture);
    char *body = hk_mem_alloc(BYTES, 1);
    memset(body, 'x', BYTES);
    CHECK_INT(post(&fixture, (struct hk_str){ body, BYTES }, &outcome), HK_OK);
    memset(body, 'y', BYTES); /* what was not written has been copied */
    hk_mem_free(body);
    until_done(&fixture, &outcome);
    CHECK_INT(outcome.status, 200);
    CHECK_TEXT(outcome.body, "one two");
    CHECK(strstr(fixture.seen, "|xxx") != NULL);
    teardown(&fixture);
}

TEST(waits_for_a_server_and_comes_back) {
    static struct fixture fixture;
    static struct outcome outcome;
    setup(&fixture, "127.0.0.1:0", NULL);
    make_client(&fixture, "http", "/");
    until_warm(&fixture);
    char address[64];
    (void)snprintf(address, sizeof(address), "127.0.0.1:%d", hk_http_server_port(fixture.server));
    hk_http_close(fixture.server);
    fixture.server = NULL;
    for (int i = 0; i < 1000 && hk_client_is_warm(fixture.client); i++)
        turn(&fixture);
    CHECK(!hk_client_is_warm(fixture.client));
    CHECK_INT(post(&fixture, HK_STR("{}"), &outcome), HK_OK);
    turn(&fixture);
    CHECK_INT(outcome.calls, 0);
    CHECK_INT(
        hk_http_listen(fixture.loop, hk_str_from(address), &fixture.options, &fixture.server),
        HK_OK);
    until_done(&fixture, &outcome);
    CHECK_INT(outcome.status, 201);
    teardown(&fixture);
}

TEST(no_answer_is_an_error) {
    static struct fixture fixture;
    static struct outcome outcome[4];
    setup(&fixture, "127.0.0.1:0", NULL);
    char url[64];
    (void)snprintf(
        url, sizeof(url), "http://127.0.0.1:%d/hold", hk_http_server_port(fixture.server));
    const struct hk_client_options options = { .url = hk_str_from(url),
                                               .timeout_ns = 30000000,
                                               .queue_max = 2 };
    CHECK_INT(hk_client_create(fixture.loop, &options, &fixture.client), HK_OK);
    until_warm(&fixture);
    CHECK_INT(post(&fixture, HK_STR("a"), &outcome[0]), HK_OK);
    CHECK_INT(post(&fixture, HK_STR("b"), &outcome[1]), HK_OK);
    CHECK_INT(post(&fixture, HK_STR("c"), &outcome[2]), HK_E_BUSY);
    until_done(&fixture, &outcome[0]);
    until_done(&fixture, &outcome[1]);
    CHECK_INT(outcome[0].err, HK_E_TIMEOUT);
    CHECK_INT(outcome[0].status, 0);
    CHECK(outcome[0].written_ns > 0);
    CHECK_INT(outcome[1].err, HK_E_TIMEOUT);
    CHECK(strstr(outcome[0].why, "127.0.0.1") != NULL);
    CHECK_INT(outcome[2].calls, 0);
    /* Destroying cancels what is in work and what waits. */
    until_warm(&fixture);
    CHECK_INT(post(&fixture, HK_STR("a"), &outcome[0]), HK_OK);
    CHECK_INT(post(&fixture, HK_STR("b"), &outcome[1]), HK_OK);
    hk_client_destroy(fixture.client);
    fixture.client = NULL;
    for (int i = 0; i < 2; i++) {
        CHECK_INT(outcome[i].calls, 1);
        CHECK_INT(outcome[i].err, HK_E_CANCELED);
    }
    teardown(&fixture);
}

TEST(tls_is_verified) {
    static struct fixture fixture;
    static struct outcome outcome;
    struct test_certs certs;
    char cert[64], key[64], ca[64], url[64];
    test_certs_init(&certs);
    test_cert_write(&certs, "server", "localhost", "DNS:localhost", 7);
    test_cert_path(&certs, "server.pem", cert);
    test_cert_path(&certs, "server.key", key);
    test_cert_path(&certs, "ca.pem", ca);
    const struct hk_tls_options tls_options = { .cert_file = hk_str_from(cert),
                                                .key_file = hk_str_from(key) };
    struct hk_tls *tls = NULL;
    CHECK_INT(hk_tls_create(&tls_options, &tls), HK_OK);
    static const struct {
        const char *host;
        bool with_ca, skip, works;
    } cases[] = {
        { "localhost", true, false, true },
        { "localhost", false, false, false },
        { "127.0.0.1", true, false, false },
        { "127.0.0.1", true, true, true },
    };
    for (size_t i = 0; i < HK_COUNT(cases); i++) {
        setup(&fixture, "127.0.0.1:0", tls);
        (void)snprintf(
            url, sizeof(url), "https://%s:%d/", cases[i].host, hk_http_server_port(fixture.server));
        const struct hk_client_options options = {
            .url = hk_str_from(url),
            .ca_file = cases[i].with_ca ? hk_str_from(ca) : HK_STR(""),
            .insecure_skip_verify = cases[i].skip,
            .timeout_ns = 100000000,
        };
        CHECK_INT(hk_client_create(fixture.loop, &options, &fixture.client), HK_OK);
        if (cases[i].works) until_warm(&fixture);
        CHECK_INT(post(&fixture, HK_STR("x"), &outcome), HK_OK);
        until_done(&fixture, &outcome);
        CHECK_INT(outcome.status, cases[i].works ? 201 : 0);
        if (!cases[i].works) CHECK(strstr(outcome.why, "TLS: ") != NULL);
        CHECK_INT(fixture.requests, cases[i].works);
        teardown(&fixture);
    }
    hk_tls_destroy(tls);
    test_certs_deinit(&certs);
}

TEST(sessions_are_resumed) {
    static struct fixture fixture;
    static struct outcome outcome;
    struct test_certs certs;
    char cert[64], key[64], ca[64], url[64], address[64];
    test_certs_init(&certs);
    test_cert_write(&certs, "server", "localhost", "DNS:localhost", 7);
    test_cert_path(&certs, "server.pem", cert);
    test_cert_path(&certs, "server.key", key);
    test_cert_path(&certs, "ca.pem", ca);
    const struct hk_tls_options tls_options = { .cert_file = hk_str_from(cert),
                                                .key_file = hk_str_from(key) };
    struct hk_tls *tls = NULL;
    CHECK_INT(hk_tls_create(&tls_options, &tls), HK_OK);
    setup(&fixture, "127.0.0.1:0", tls);
    int port = hk_http_server_port(fixture.server);
    (void)snprintf(url, sizeof(url), "https://localhost:%d/", port);
    (void)snprintf(address, sizeof(address), "127.0.0.1:%d", port);
    const struct hk_client_options options = { .url = hk_str_from(url),
                                               .ca_file = hk_str_from(ca) };
    CHECK_INT(hk_client_create(fixture.loop, &options, &fixture.client), HK_OK);
    until_warm(&fixture);
    CHECK_INT(post(&fixture, HK_STR("x"), &outcome), HK_OK);
    until_done(&fixture, &outcome);
    hk_http_close(fixture.server);
    fixture.server = NULL;
    CHECK_INT(
        hk_http_listen(fixture.loop, hk_str_from(address), &fixture.options, &fixture.server),
        HK_OK);
    for (int i = 0; i < 1000 && hk_client_is_warm(fixture.client); i++)
        turn(&fixture);
    CHECK_INT(post(&fixture, HK_STR("x"), &outcome), HK_OK);
    until_done(&fixture, &outcome);
    CHECK_INT(outcome.status, 201);
    CHECK(SSL_CTX_sess_hits(tls->context) >= 1);
    teardown(&fixture);
    hk_tls_destroy(tls);
    test_certs_deinit(&certs);
}

TEST(names_are_resolved) {
    static struct fixture fixture;
    static struct outcome outcome;
    setup(&fixture, "127.0.0.1:0", NULL);
    /* RFC 6761 §6.4: ".invalid" never has an address. */
    const struct hk_client_options options = { .url = HK_STR("http://hark.invalid/"),
                                               .timeout_ns = 20000000 };
    CHECK_INT(hk_client_create(fixture.loop, &options, &fixture.client), HK_OK);
    CHECK_INT(post(&fixture, HK_STR("x"), &outcome), HK_OK);
    until_done(&fixture, &outcome);
    CHECK_INT(outcome.err, HK_E_TIMEOUT);
    teardown(&fixture);
}

TEST(urls) {
    static const char *const bad[] = { "",
                                       "localhost",
                                       "ftp://x/",
                                       "http://",
                                       "http:///x",
                                       "http://x:0/",
                                       "http://x:99999/",
                                       "http://x:1x/",
                                       "http://[::1/",
                                       "http://[::1]x/",
                                       "http://u:p@x/",
                                       "http://x/a b",
                                       "http://x/\r\nA: b" };
    struct hk_loop *loop = NULL;
    CHECK_INT(hk_loop_create(HK_SPIN_OFF, &loop), HK_OK);
    for (size_t i = 0; i < HK_COUNT(bad); i++) {
        struct hk_client *client = NULL;
        const struct hk_client_options options = { .url = hk_str_from(bad[i]) };
        CHECK_INT(hk_client_create(loop, &options, &client), HK_E_INVALID);
    }
    static const char *const good[] = { "http://[::1]:1", "http://127.0.0.1:1?x",
                                        "https://[::1]/#f" };
    for (size_t i = 0; i < HK_COUNT(good); i++) {
        struct hk_client *client = NULL;
        const struct hk_client_options options = { .url = hk_str_from(good[i]) };
        CHECK_INT(hk_client_create(loop, &options, &client), HK_OK);
        hk_client_destroy(client);
    }
    hk_loop_destroy(loop);
}

static hk_err create_and_destroy(void) {
    struct hk_loop *loop = NULL;
    struct hk_client *client = NULL;
    const struct hk_client_options options = { .url = HK_STR("https://127.0.0.1:1/x"),
                                               .insecure_skip_verify = true };
    HK_TRY(hk_loop_create(HK_SPIN_OFF, &loop));
    hk_err err = hk_client_create(loop, &options, &client);
    hk_client_destroy(client);
    hk_loop_destroy(loop);
    return err;
}

TEST(creating_without_memory) {
    SWEEP_ALLOC(create_and_destroy());
}

/* Goal: answers of all framings, cut at every byte; broken ones are refused. */
static const struct {
    const char *answer;
    hk_err err; /* at the end of the stream if not before */
    int status;
    bool keep_alive;
    const char *body;
} answers[] = {
    { "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", HK_OK, 200, true, "ok" },
    { "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", HK_OK, 200, true, "" },
    { "HTTP/1.1 204 \r\n\r\n", HK_OK, 204, true, "" },
    { "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx", HK_OK, 200,
      true, "x" },
    { "HTTP/1.1 500 Oops\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
      "2\r\nab\r\n1\r\nc\r\n0\r\n\r\n",
      HK_OK, 500, false, "abc" },
    { "HTTP/1.0 200 OK\r\n\r\nuntil the end", HK_OK, 200, false, "until the end" },
    { "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\nx", HK_OK, 200, true,
      "x" },
    { "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nok", HK_E_CLOSED, 0, false, NULL },
    { "HTTP/1.1 200 OK\r\n", HK_E_CLOSED, 0, false, NULL },
    { "", HK_E_CLOSED, 0, false, NULL },
    { "HTTP/1.1 101 Switching\r\n\r\n", HK_E_MALFORMED, 0, false, NULL },
    { "HTTP/2 200\r\n\r\n", HK_E_MALFORMED, 0, false, NULL },
    { "HTTP/1.1 20 OK\r\n\r\n", HK_E_MALFORMED, 0, false, NULL },
    { "HTTP/1.1 2000\r\n\r\n", HK_E_MALFORMED, 0, false, NULL },
    { "SSH-2.0-OpenSSH\r\n\r\n", HK_E_MALFORMED, 0, false, NULL },
    { "HTTP/1.1 200 OK\nContent-Length: 2\n\nok", HK_E_MALFORMED, 0, false, NULL },
    { "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n", HK_E_MALFORMED,
      0, false, NULL },
    { "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", HK_E_MALFORMED, 0, false, NULL },
    { "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", HK_E_MALFORMED, 0, false,
      NULL },
};

static hk_err parse(struct hk_answer_parser *parser, const char *text, size_t cut) {
    size_t len = strlen(text);
    size_t used = 0;
    hk_answer_reset(parser);
    hk_err err = hk_answer_feed(parser, text, cut, &used);
    if (err == HK_MORE) err = hk_answer_feed(parser, text + cut, len - cut, &used);
    return err == HK_MORE ? hk_answer_end(parser) : err;
}

TEST(answers_cut_anywhere) {
    struct hk_answer_parser parser = { 0 };
    for (size_t i = 0; i < HK_COUNT(answers); i++) {
        for (size_t cut = 0; cut <= strlen(answers[i].answer); cut++) {
            hk_err err = parse(&parser, answers[i].answer, cut);
            CHECK_INT(err, answers[i].err);
            if (err != HK_OK || answers[i].body == NULL) continue;
            CHECK_INT(parser.status, answers[i].status);
            CHECK_INT(parser.keep_alive, answers[i].keep_alive);
            CHECK_STR(hk_buf_get(&parser.body), hk_str_from(answers[i].body));
        }
    }
    hk_answer_deinit(&parser);
}

HK_TEST_MAIN()
