/* Goal: HTTP/1.1 and HTTP/2 over TLS, client certificates, reload, and failures that are errors. */
#include "net/tls.h"

#include "net/http_test_server.h"
#include "net/tls_test_certs.h"

#include <curl/curl.h>
#include <openssl/ssl.h>

enum { BIG_BYTES = 700000 };

static void handle(void *self, struct hk_http_exchange *exchange) {
    (void)self;
    const struct hk_http_request *request = hk_http_get_request(exchange);
    struct hk_buf out;
    hk_buf_init(&out, 1 << 24);
    hk_buf_printf(
        &out, "%.*s|%.*s|%d|", HK_STR_ARG(request->path), HK_STR_ARG(request->peer_identity),
        request->tls);
    hk_buf_str(&out, request->body);
    hk_http_respond_buf(exchange, 200, HK_STR("application/x-test"), &out);
}

struct fixture {
    struct test_certs certs;
    struct hk_tls *tls;
    struct test_server server;
    char cert[64], key[64], ca[64];
};

static void start(struct fixture *fixture, bool client_ca, bool optional) {
    memset(fixture, 0, sizeof(*fixture));
    test_certs_init(&fixture->certs);
    test_cert_write(&fixture->certs, "server", "localhost", "DNS:localhost,IP:127.0.0.1", 7);
    test_cert_write(&fixture->certs, "client", "alice, of \"x\"", "DNS:alice", 8);
    test_cert_path(&fixture->certs, "server.pem", fixture->cert);
    test_cert_path(&fixture->certs, "server.key", fixture->key);
    test_cert_path(&fixture->certs, "ca.pem", fixture->ca);
    const struct hk_tls_options options = {
        .cert_file = hk_str_from(fixture->cert),
        .key_file = hk_str_from(fixture->key),
        .client_ca_file = client_ca ? hk_str_from(fixture->ca) : HK_STR(""),
        .client_optional = optional,
    };
    CHECK_INT(hk_tls_create(&options, &fixture->tls), HK_OK);
    hk_http_limits_default(&fixture->server.options.limits);
    fixture->server.options.handle = handle;
    fixture->server.options.tls = fixture->tls;
    test_server_start(&fixture->server, "127.0.0.1:0");
}

static void stop(struct fixture *fixture) {
    test_server_stop(&fixture->server);
    hk_tls_destroy(fixture->tls);
    test_certs_deinit(&fixture->certs);
}

static size_t take_body(char *data, size_t size, size_t count, void *self) {
    hk_buf_bytes(self, data, size * count);
    return size * count;
}

/* One POST by libcurl; returns its result. */
static CURLcode post(
    struct fixture *fixture, long version, bool with_cert, struct hk_str body, struct hk_buf *out) {
    char url[64], cert[64], key[64];
    (void)snprintf(url, sizeof(url), "https://localhost:%d/p", fixture->server.port);
    test_cert_path(&fixture->certs, "client.pem", cert);
    test_cert_path(&fixture->certs, "client.key", key);
    CURL *curl = curl_easy_init();
    (void)curl_easy_setopt(curl, CURLOPT_URL, url);
    (void)curl_easy_setopt(curl, CURLOPT_HTTP_VERSION, version);
    (void)curl_easy_setopt(curl, CURLOPT_CAINFO, fixture->ca);
    (void)curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE, (long)body.len);
    (void)curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body.ptr);
    (void)curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take_body);
    (void)curl_easy_setopt(curl, CURLOPT_WRITEDATA, out);
    (void)curl_easy_setopt(curl, CURLOPT_IPRESOLVE, (long)CURL_IPRESOLVE_V4);
    if (with_cert) {
        (void)curl_easy_setopt(curl, CURLOPT_SSLCERT, cert);
        (void)curl_easy_setopt(curl, CURLOPT_SSLKEY, key);
    }
    CURLcode code = curl_easy_perform(curl);
    curl_easy_cleanup(curl);
    return code;
}

TEST(both_protocols_and_large_bodies) {
    static struct fixture fixture;
    start(&fixture, false, false);
    char *body = hk_mem_alloc(BIG_BYTES, 1);
    for (size_t i = 0; i < BIG_BYTES; i++)
        body[i] = (char)('a' + i % 23);
    static const long versions[] = { CURL_HTTP_VERSION_1_1, CURL_HTTP_VERSION_2TLS };
    for (size_t i = 0; i < HK_COUNT(versions); i++) {
        for (size_t len = 5; len <= BIG_BYTES; len = len * 50 + 1000) {
            struct hk_buf out;
            hk_buf_init(&out, 1 << 24);
            CHECK_INT(post(&fixture, versions[i], false, (struct hk_str){ body, len }, &out), 0);
            CHECK(hk_str_starts(hk_buf_get(&out), HK_STR("/p||1|")));
            CHECK_INT(out.len, len + 6);
            if (out.len == len + 6) CHECK(memcmp(out.ptr + 6, body, len) == 0);
            hk_buf_deinit(&out);
        }
    }
    hk_mem_free(body);
    stop(&fixture);
}

TEST(client_certificates) {
    static struct fixture fixture;
    for (int optional = 0; optional < 2; optional++) {
        start(&fixture, true, optional != 0);
        struct hk_buf out;
        hk_buf_init(&out, 1 << 16);
        CHECK_INT(post(&fixture, CURL_HTTP_VERSION_1_1, true, HK_STR("x"), &out), 0);
        CHECK_STR(hk_buf_get(&out), HK_STR("/p|CN=alice\\, of \\\"x\\\"|1|x"));
        hk_buf_clear(&out);
        CURLcode code = post(&fixture, CURL_HTTP_VERSION_2TLS, false, HK_STR("x"), &out);
        CHECK_INT(code == CURLE_OK, optional);
        CHECK_STR(hk_buf_get(&out), optional ? HK_STR("/p||1|x") : HK_STR(""));
        hk_buf_deinit(&out);
        stop(&fixture);
    }
}

/* Serial number of the server's certificate, and "GET /" over TLS. */
static long serial_seen(uint16_t port, SSL *ssl_of[1]) {
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    SSL *ssl = SSL_new(context);
    int fd = test_connect(port);
    (void)SSL_set_fd(ssl, fd);
    CHECK_INT(SSL_connect(ssl), 1);
    X509 *cert = SSL_get1_peer_certificate(ssl);
    long serial = cert == NULL ? -1 : ASN1_INTEGER_get(X509_get0_serialNumber(cert));
    X509_free(cert);
    SSL_CTX_free(context);
    ssl_of[0] = ssl;
    return serial;
}

static bool get_works(SSL *ssl) {
    char text[2048] = "";
    const char *request = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    if (SSL_write(ssl, request, (int)strlen(request)) <= 0) return false;
    int len = SSL_read(ssl, text, sizeof(text) - 1);
    return len > 0 && strstr(text, "HTTP/1.1 200 OK") == text;
}

static void end_ssl(SSL *ssl) {
    (void)close(SSL_get_fd(ssl));
    SSL_free(ssl);
}

TEST(reload_keeps_connections) {
    static struct fixture fixture;
    start(&fixture, false, false);
    SSL *old[1], *fresh[1];
    CHECK_INT(serial_seen(fixture.server.port, old), 7);
    CHECK(get_works(old[0]));
    test_cert_write(&fixture.certs, "server", "localhost", "DNS:localhost", 9);
    CHECK_INT(hk_tls_reload(fixture.tls), HK_OK);
    CHECK_INT(serial_seen(fixture.server.port, fresh), 9);
    CHECK(get_works(old[0]) && get_works(fresh[0]));
    end_ssl(fresh[0]);
    /* A broken file leaves what was there. */
    FILE *file = fopen(fixture.cert, "w");
    CHECK(file != NULL && fputs("not a certificate", file) >= 0);
    (void)fclose(file);
    CHECK_INT(hk_tls_reload(fixture.tls), HK_E_INVALID);
    CHECK(strstr(hk_fail_text(), fixture.cert) != NULL);
    CHECK_INT(serial_seen(fixture.server.port, fresh), 9);
    end_ssl(fresh[0]);
    end_ssl(old[0]);
    stop(&fixture);
}

TEST(changed_files) {
    static struct fixture fixture;
    start(&fixture, false, false);
    SSL *fresh[1];
    CHECK(!hk_tls_has_changed(fixture.tls));
    test_cert_write(&fixture.certs, "server", "localhost", "DNS:localhost", 9);
    CHECK(hk_tls_has_changed(fixture.tls));
    CHECK(!hk_tls_has_changed(fixture.tls)); /* said once */
    CHECK_INT(hk_tls_reload(fixture.tls), HK_OK);
    CHECK(!hk_tls_has_changed(fixture.tls));
    /* Other files take their place. */
    char cert[64];
    char key[64];
    test_cert_write(&fixture.certs, "other", "localhost", "DNS:localhost", 11);
    test_cert_path(&fixture.certs, "other.pem", cert);
    test_cert_path(&fixture.certs, "other.key", key);
    const struct hk_tls_options options = { .cert_file = hk_str_from(cert),
                                            .key_file = hk_str_from(key) };
    struct hk_tls *next = NULL;
    CHECK_INT(hk_tls_create(&options, &next), HK_OK);
    hk_tls_replace(fixture.tls, next);
    CHECK_INT(serial_seen(fixture.server.port, fresh), 11);
    end_ssl(fresh[0]);
    test_cert_write(&fixture.certs, "server", "localhost", "DNS:localhost", 12);
    CHECK(!hk_tls_has_changed(fixture.tls));
    CHECK_INT(unlink(key), 0);
    CHECK(hk_tls_has_changed(fixture.tls));
    CHECK_INT(hk_tls_reload(fixture.tls), HK_E_INVALID);
    stop(&fixture);
}

TEST(wrong_files) {
    struct test_certs certs;
    test_certs_init(&certs);
    test_cert_write(&certs, "server", "localhost", "DNS:localhost", 7);
    test_cert_write(&certs, "other", "other", "DNS:other", 8);
    char cert[64], key[64], other[64], ca[64];
    test_cert_path(&certs, "server.pem", cert);
    test_cert_path(&certs, "server.key", key);
    test_cert_path(&certs, "other.key", other);
    test_cert_path(&certs, "ca.pem", ca);
    const struct hk_tls_options cases[] = {
        { .cert_file = HK_STR("/nowhere/x.pem"), .key_file = hk_str_from(key) },
        { .cert_file = hk_str_from(cert), .key_file = HK_STR("/nowhere/x.key") },
        { .cert_file = hk_str_from(cert), .key_file = hk_str_from(other) },
        { .cert_file = hk_str_from(cert), .key_file = hk_str_from(cert) },
        { .cert_file = hk_str_from(cert) },
        { .cert_file = hk_str_from(cert),
          .key_file = hk_str_from(key),
          .client_ca_file = HK_STR("/nowhere/ca.pem") },
    };
    for (size_t i = 0; i < HK_COUNT(cases); i++) {
        struct hk_tls *tls = NULL;
        CHECK_INT(hk_tls_create(&cases[i], &tls), HK_E_INVALID);
        CHECK(strlen(hk_fail_text()) > 20);
    }
    test_certs_deinit(&certs);
}

TEST(strangers_at_the_door) {
    static struct fixture fixture;
    start(&fixture, false, false);
    static const char *const talk[] = { "GET / HTTP/1.1\r\nHost: x\r\n\r\n", "\x16\x03\x01", "",
                                        "\x16\x03\x01\x00\x05xxxxx" };
    char out[512];
    for (size_t i = 0; i < HK_COUNT(talk); i++) {
        int fd = test_connect(fixture.server.port);
        CHECK(test_send(fd, talk[i], strlen(talk[i])));
        (void)shutdown(fd, SHUT_WR);
        (void)test_recv(fd, out, sizeof(out), NULL);
        CHECK(strstr(out, "HTTP/1.1 200") == NULL);
        (void)close(fd);
    }
    /* Closing the server in the middle of a handshake leaks nothing. */
    int fd = test_connect(fixture.server.port);
    CHECK(test_send(fd, "\x16\x03\x01", 3));
    struct hk_http_stats stats = { 0 };
    while (stats.connections_total < HK_COUNT(talk) + 1)
        hk_http_get_stats(fixture.server.http, &stats);
    stop(&fixture);
    (void)close(fd);
}

HK_TEST_MAIN()
