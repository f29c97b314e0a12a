/*
 * Goal: certificates are checked against the configured authority and name, and the check can be
 * switched off; tokens come fresh from their file. Against a TLS server in a thread.
 */
#include "hk_test.h"
#include "ingest/scrape.h"
#include "os/file.h"
#include "os/thread.h"

#include <arpa/inet.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

/* --- certificate and server ------------------------------------------------------------------- */

struct server {
    struct hk_thread thread;
    SSL_CTX *context;
    int listener, wake[2];
    char address[64];
};

static void add_extension(X509 *cert, int nid, const char *value) {
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, NULL, nid, value);
    CHECK(extension != NULL);
    CHECK_INT(X509_add_ext(cert, extension, -1), 1);
    X509_EXTENSION_free(extension);
}

/* Self-signed for the name metrics.example; written to `path` as PEM. */
static X509 *make_certificate(EVP_PKEY *key, const char *path) {
    X509 *cert = X509_new();
    X509_NAME *name = X509_get_subject_name(cert);
    (void)X509_set_version(cert, 2);
    (void)ASN1_INTEGER_set(X509_get_serialNumber(cert), 1);
    (void)X509_gmtime_adj(X509_getm_notBefore(cert), -3600);
    (void)X509_gmtime_adj(X509_getm_notAfter(cert), 3600);
    (void)X509_set_pubkey(cert, key);
    (void)X509_NAME_add_entry_by_txt(
        name, "CN", MBSTRING_ASC, (const unsigned char *)"test", -1, -1, 0);
    (void)X509_set_issuer_name(cert, name);
    add_extension(cert, NID_subject_alt_name, "DNS:metrics.example");
    add_extension(cert, NID_basic_constraints, "critical,CA:TRUE");
    CHECK(X509_sign(cert, key, EVP_sha256()) > 0);
    FILE *file = fopen(path, "wb");
    CHECK(file != NULL && PEM_write_X509(file, cert) == 1);
    if (file != NULL) (void)fclose(file);
    return cert;
}

/* Answers one request with the request itself. */
static void serve(SSL_CTX *context, int fd) {
    char request[4096];
    char head[256];
    size_t len = 0;
    SSL *ssl = SSL_new(context);
    (void)SSL_set_fd(ssl, fd);
    if (SSL_accept(ssl) == 1) {
        while (len + 1 < sizeof(request)) {
            int got = SSL_read(ssl, request + len, (int)(sizeof(request) - 1 - len));
            if (got <= 0) break;
            len += (size_t)got;
            request[len] = 0;
            if (strstr(request, "\r\n\r\n") != NULL) break;
        }
        int head_len = snprintf(
            head, sizeof(head),
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %zu\r\n"
            "Connection: close\r\n\r\n",
            len);
        (void)SSL_write(ssl, head, head_len);
        if (len > 0) (void)SSL_write(ssl, request, (int)len);
        (void)SSL_shutdown(ssl);
    }
    SSL_free(ssl);
    (void)close(fd);
}

static void run_server(void *arg) {
    struct server *server = arg;
    for (;;) {
        struct pollfd fds[] = { { server->wake[0], POLLIN, 0 }, { server->listener, POLLIN, 0 } };
        if (poll(fds, 2, -1) < 0) continue;
        if (fds[0].revents != 0) return;
        int fd = accept(server->listener, NULL, NULL);
        if (fd >= 0) serve(server->context, fd);
    }
}

static void server_start(struct server *server, const char *cert_path) {
    struct sockaddr_in own = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
    socklen_t own_bytes = sizeof(own);
    EVP_PKEY *key = EVP_EC_gen("P-256");
    CHECK(key != NULL);
    X509 *cert = make_certificate(key, cert_path);
    server->context = SSL_CTX_new(TLS_server_method());
    CHECK_INT(SSL_CTX_use_certificate(server->context, cert), 1);
    CHECK_INT(SSL_CTX_use_PrivateKey(server->context, key), 1);
    X509_free(cert);
    EVP_PKEY_free(key);
    server->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK_INT(bind(server->listener, (struct sockaddr *)&own, sizeof(own)), 0);
    CHECK_INT(listen(server->listener, 16), 0);
    CHECK_INT(getsockname(server->listener, (struct sockaddr *)&own, &own_bytes), 0);
    CHECK_INT(pipe(server->wake), 0);
    (void)snprintf(server->address, sizeof(server->address), "127.0.0.1:%u", ntohs(own.sin_port));
    CHECK_INT(hk_thread_start(&server->thread, "tls-server", run_server, server), 0);
}

static void server_stop(struct server *server) {
    CHECK_INT(write(server->wake[1], "x", 1), 1);
    hk_thread_join(&server->thread);
    SSL_CTX_free(server->context);
    (void)close(server->listener);
    (void)close(server->wake[0]);
    (void)close(server->wake[1]);
}

/* --- one scrape ------------------------------------------------------------------------------- */

struct outcome {
    struct hk_event done;
    struct hk_mutex lock;
    bool known;
    hk_err err;
    char text[4096]; /* body or error */
};

static void take(void *self, struct hk_scrape_result *result) {
    struct outcome *outcome = self;
    hk_mutex_lock(&outcome->lock);
    if (!outcome->known && result->err != HK_E_TIMEOUT) {
        outcome->known = true;
        outcome->err = result->err;
        (void)snprintf(
            outcome->text, sizeof(outcome->text), "%.*s",
            result->err == HK_OK ? (int)result->body.len : (int)strlen(result->error),
            result->err == HK_OK ? result->body.ptr : result->error);
    }
    bool known = outcome->known;
    hk_mutex_unlock(&outcome->lock);
    hk_scrape_result_end(result, NULL);
    if (known) hk_event_raise(&outcome->done);
}

static void
scrape_once(const char *address, const struct hk_scrape_http *http, struct outcome *outcome) {
    struct hk_scrape *scrape = NULL;
    *outcome = (struct outcome){ .known = false };
    hk_event_init(&outcome->done);
    hk_mutex_init(&outcome->lock);
    struct hk_scrape_options options = { .sink = { outcome, take } };
    const struct hk_str target = hk_str_from(address);
    const struct hk_scrape_static all = { .targets = { &target, 1 } };
    const struct hk_scrape_job_config job = { .name = HK_STR("tls"),
                                              .scheme = HK_STR("https"),
                                              .interval_ms = 100,
                                              .timeout_ms = 100,
                                              .http = *http,
                                              .statics = { &all, 1 } };
    CHECK_INT(hk_scrape_create(&options, &scrape), HK_OK);
    CHECK_INT(hk_scrape_apply(scrape, &job, 1), HK_OK);
    CHECK(hk_event_wait(&outcome->done, 20000000000));
    hk_scrape_destroy(scrape);
    hk_event_deinit(&outcome->done);
    hk_mutex_deinit(&outcome->lock);
}

static void write_file(const char *path, const char *text) {
    int fd = hk_file_open(path, HK_FILE_WRITE | HK_FILE_CREATE | HK_FILE_TRUNCATE);
    CHECK(fd >= 0);
    CHECK_INT(hk_file_write(fd, text, strlen(text), 0), 0);
    hk_file_close(fd);
}

TEST(tls) {
    struct server server;
    struct outcome outcome;
    char folder[] = "/tmp/hark-test-XXXXXX";
    char cert[64];
    char token[64];
    CHECK(mkdtemp(folder) != NULL);
    (void)snprintf(cert, sizeof(cert), "%s/cert.pem", folder);
    (void)snprintf(token, sizeof(token), "%s/token", folder);
    server_start(&server, cert);

    struct hk_scrape_http http = { .tls = { .ca_file = hk_str_from(cert),
                                            .server_name = HK_STR("metrics.example") },
                                   .credentials_file = hk_str_from(token) };
    scrape_once(server.address, &http, &outcome);
    CHECK_INT(outcome.err, HK_E_IO);
    CHECK(strstr(outcome.text, "cannot open") != NULL && strstr(outcome.text, token) != NULL);

    write_file(token, "  secret-1\n");
    scrape_once(server.address, &http, &outcome);
    CHECK_INT(outcome.err, HK_OK);
    CHECK(strstr(outcome.text, "GET /metrics HTTP/1.1\r\n") != NULL);
    CHECK(strstr(outcome.text, "Authorization: Bearer secret-1\r\n") != NULL);
    char host[80];
    (void)snprintf(host, sizeof(host), "Host: %s\r\n", server.address);
    CHECK(strstr(outcome.text, host) != NULL);

    /* The certificate does not name the address, and without ca_file nobody knows its issuer. */
    http.tls.server_name = HK_STR("");
    scrape_once(server.address, &http, &outcome);
    CHECK_INT(outcome.err, HK_E_IO);
    http.tls = (struct hk_scrape_tls){ .server_name = HK_STR("metrics.example") };
    scrape_once(server.address, &http, &outcome);
    CHECK_INT(outcome.err, HK_E_IO);
    CHECK(strstr(outcome.text, "certificate") != NULL);

    http.tls = (struct hk_scrape_tls){ .insecure_skip_verify = true };
    scrape_once(server.address, &http, &outcome);
    CHECK_INT(outcome.err, HK_OK);

    server_stop(&server);
    (void)hk_file_remove(cert);
    (void)hk_file_remove(token);
    CHECK_INT(rmdir(folder), 0);
}

HK_TEST_MAIN()
