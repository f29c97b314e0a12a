/* TLS connections on non-blocking sockets. */
#include "base/mem.h"
#include "net/tls_context.h"
#include "os/socket.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>

struct hk_tls_conn {
    SSL *ssl;
    SSL_SESSION *session; /* client: the newest that the server offered */
    bool ready, failed;
    bool drained; /* the last read took all the socket had */
    bool wants_write;
    char error[160];
};

/* BIO: the descriptor is its data. */

static int bio_fd(BIO *bio) {
    return (int)(intptr_t)BIO_get_data(bio);
}

static int bio_read(BIO *bio, char *to, int bytes) {
    int64_t got = hk_socket_recv(bio_fd(bio), to, (size_t)bytes);
    BIO_clear_retry_flags(bio);
    if (got == -EAGAIN) BIO_set_retry_read(bio);
    if (got == 0) BIO_set_flags(bio, BIO_FLAGS_IN_EOF);
    return got < 0 ? -1 : (int)got;
}

static int bio_write(BIO *bio, const char *from, int bytes) {
    struct iovec part = { (void *)(uintptr_t)from, (size_t)bytes };
    int64_t done = hk_socket_send(bio_fd(bio), &part, 1);
    BIO_clear_retry_flags(bio);
    if (done == -EAGAIN) BIO_set_retry_write(bio);
    return done < 0 ? -1 : (int)done;
}

static long bio_control(BIO *bio, int command, long number, void *pointer) {
    (void)number;
    (void)pointer;
    if (command == BIO_CTRL_FLUSH) return 1;
    if (command == BIO_CTRL_EOF) return BIO_test_flags(bio, BIO_FLAGS_IN_EOF) != 0;
    return 0;
}

static int bio_create(BIO *bio) {
    BIO_set_init(bio, 1);
    return 1;
}

BIO_METHOD *hk_tls_bio_method(void) {
    BIO_METHOD *method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "hark socket");
    if (method == NULL) return NULL;
    (void)BIO_meth_set_read(method, bio_read);
    (void)BIO_meth_set_write(method, bio_write);
    (void)BIO_meth_set_ctrl(method, bio_control);
    (void)BIO_meth_set_create(method, bio_create);
    return method;
}

/* Sessions arrive after the handshake in TLS 1.3. Returning 1 keeps the reference. */
static int new_session(SSL *ssl, SSL_SESSION *session) {
    struct hk_tls_conn *conn = SSL_get_app_data(ssl);
    SSL_SESSION_free(conn->session);
    conn->session = session;
    return 1;
}

void hk_tls_keep_sessions(SSL_CTX *context) {
    (void)SSL_CTX_set_session_cache_mode(
        context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(context, new_session);
}

/* Life. */

static struct hk_tls_conn *create(struct hk_tls *tls, int fd) {
    struct hk_tls_conn *conn = hk_mem_alloc(1, sizeof(*conn));
    if (conn == NULL) return NULL;
    hk_mutex_lock(&tls->lock);
    conn->ssl = SSL_new(tls->context);
    hk_mutex_unlock(&tls->lock);
    BIO *bio = conn->ssl == NULL ? NULL : BIO_new(tls->bio_method);
    if (bio == NULL) {
        hk_tls_conn_destroy(conn);
        return NULL;
    }
    BIO_set_data(bio, (void *)(intptr_t)fd);
    SSL_set_bio(conn->ssl, bio, bio);
    (void)SSL_set_app_data(conn->ssl, conn);
    return conn;
}

struct hk_tls_conn *hk_tls_accept(struct hk_tls *tls, int fd) {
    struct hk_tls_conn *conn = create(tls, fd);
    if (conn != NULL) SSL_set_accept_state(conn->ssl);
    return conn;
}

/* The certificate must be for the name or address (RFC 9525). */
static bool expect_host(SSL *ssl, const char *host, bool verify) {
    ASN1_OCTET_STRING *address = a2i_IPADDRESS(host);
    bool is_address = address != NULL;
    ASN1_OCTET_STRING_free(address);
    ERR_clear_error();
    /* SSL_set_tlsext_host_name() without its cast, which clang refuses. */
    void *name = (void *)(uintptr_t)host;
    if (!is_address &&
        SSL_ctrl(ssl, SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_host_name, name) != 1)
        return false;
    if (!verify) return true;
    if (is_address) return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host) == 1;
    SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return SSL_set1_host(ssl, host) == 1;
}

struct hk_tls_conn *
hk_tls_connect(struct hk_tls *tls, int fd, const char *host, SSL_SESSION *session) {
    struct hk_tls_conn *conn = create(tls, fd);
    if (conn == NULL) return NULL;
    SSL_set_connect_state(conn->ssl);
    if (!expect_host(conn->ssl, host, tls->verify)) {
        hk_tls_conn_destroy(conn);
        return NULL;
    }
    if (session != NULL) (void)SSL_set_session(conn->ssl, session);
    return conn;
}

void hk_tls_conn_destroy(struct hk_tls_conn *conn) {
    if (conn == NULL) return;
    /* Without this OpenSSL would take the session for broken and not resume it. */
    if (conn->ssl != NULL && conn->ready && !conn->failed)
        SSL_set_shutdown(conn->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    SSL_SESSION_free(conn->session);
    SSL_free(conn->ssl);
    hk_mem_free(conn);
}

/* Input and output. */

static void keep_error(struct hk_tls_conn *conn) {
    long verify = SSL_get_verify_result(conn->ssl);
    const char *reason = ERR_reason_error_string(ERR_peek_last_error());
    const char *text = verify != X509_V_OK ? X509_verify_cert_error_string(verify)
                       : reason != NULL    ? reason
                                           : "the connection was closed";
    size_t len = strlen(text);
    if (len >= sizeof(conn->error)) len = sizeof(conn->error) - 1;
    memcpy(conn->error, text, len);
    conn->error[len] = 0;
}

/* What a call that did not succeed means: -EAGAIN, 0 for the end, or -EPROTO. */
static int outcome(struct hk_tls_conn *conn, int done) {
    switch (SSL_get_error(conn->ssl, done)) {
    case SSL_ERROR_WANT_READ:
        conn->drained = true;
        return -EAGAIN;
    case SSL_ERROR_WANT_WRITE:
        conn->wants_write = true;
        return -EAGAIN;
    case SSL_ERROR_ZERO_RETURN:
        return 0;
    default:
        conn->failed = true;
        keep_error(conn);
        return -EPROTO;
    }
}

int hk_tls_handshake(struct hk_tls_conn *conn) {
    if (conn->ready) return 0;
    if (conn->failed) return -EPROTO;
    ERR_clear_error();
    conn->wants_write = false;
    int done = SSL_do_handshake(conn->ssl);
    if (done == 1) {
        conn->ready = true;
        return 0;
    }
    int err = outcome(conn, done);
    if (err != 0) return err;
    conn->failed = true;
    return -EPROTO;
}

bool hk_tls_is_ready(const struct hk_tls_conn *conn) {
    return conn->ready;
}

int64_t hk_tls_recv(struct hk_tls_conn *conn, void *to, size_t bytes) {
    int err = hk_tls_handshake(conn);
    if (err != 0) return err;
    if (conn->failed) return -EPROTO;
    char *at = to;
    size_t got = 0;
    conn->wants_write = conn->drained = false;
    while (got < bytes) {
        size_t part = 0;
        ERR_clear_error();
        int done = SSL_read_ex(conn->ssl, at + got, bytes - got, &part);
        got += part;
        if (done == 1) continue;
        err = outcome(conn, done);
        return got > 0 ? (int64_t)got : err; /* the end or a failure comes again */
    }
    return (int64_t)got;
}

int64_t hk_tls_send(struct hk_tls_conn *conn, const struct iovec *parts, int count) {
    if (conn->failed) return -EPROTO;
    if (!conn->ready) return -EAGAIN;
    int64_t sent = 0;
    for (int i = 0; i < count; i++) {
        size_t at = 0;
        while (at < parts[i].iov_len) {
            size_t part = 0;
            const char *from = parts[i].iov_base;
            ERR_clear_error();
            int done = SSL_write_ex(conn->ssl, from + at, parts[i].iov_len - at, &part);
            if (done != 1) {
                bool drained = conn->drained;
                bool wants_write = conn->wants_write;
                int err = outcome(conn, done);
                conn->drained = drained; /* that is about reading */
                conn->wants_write = wants_write;
                return sent > 0 ? sent : err == 0 ? -EPIPE : err;
            }
            at += part;
            sent += (int64_t)part;
        }
    }
    return sent;
}

bool hk_tls_has_input(const struct hk_tls_conn *conn) {
    return conn->ready && !conn->failed && !conn->drained && SSL_has_pending(conn->ssl) == 1;
}

bool hk_tls_wants_write(const struct hk_tls_conn *conn) {
    return conn->wants_write;
}

void hk_tls_shutdown(struct hk_tls_conn *conn) {
    if (!conn->ready || conn->failed) return;
    ERR_clear_error();
    (void)SSL_shutdown(conn->ssl);
}

size_t hk_tls_peer_subject(const struct hk_tls_conn *conn, char *out, size_t bytes) {
    X509 *peer = SSL_get1_peer_certificate(conn->ssl);
    out[0] = 0;
    if (peer == NULL || SSL_get_verify_result(conn->ssl) != X509_V_OK) {
        X509_free(peer);
        return 0;
    }
    BIO *text = BIO_new(BIO_s_mem());
    size_t len = 0;
    if (text != NULL &&
        X509_NAME_print_ex(text, X509_get_subject_name(peer), 0, XN_FLAG_RFC2253) >= 0) {
        char *data = NULL;
        long all = BIO_get_mem_data(text, &data);
        /* A subject cut short could be another's name: it counts as none. */
        if (all > 0 && (size_t)all < bytes) {
            len = (size_t)all;
            memcpy(out, data, len);
            out[len] = 0;
        }
    }
    BIO_free(text);
    X509_free(peer);
    return len;
}

SSL_SESSION *hk_tls_take_session(struct hk_tls_conn *conn) {
    SSL_SESSION *session = conn->session;
    conn->session = NULL;
    return session;
}

void hk_tls_session_free(SSL_SESSION *session) {
    SSL_SESSION_free(session);
}

const char *hk_tls_conn_error(const struct hk_tls_conn *conn) {
    return conn->error[0] == 0 ? "the connection was closed" : conn->error;
}
