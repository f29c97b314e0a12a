/* TLS contexts: certificates, client verification, reload. */
#include "net/tls_internal.h"

#include "base/hash.h"
#include "base/mem.h"
#include "net/tls_context.h"
#include "os/file.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>

enum { VERIFY_DEPTH_MAX = 8, READ_AHEAD_BYTES = 65536 };

/* "<what> <file>: <OpenSSL's reason>". */
static hk_err fail_file(const char *what, const char *file) {
    unsigned long code = ERR_peek_last_error();
    const char *reason = ERR_reason_error_string(code);
    if (ERR_GET_LIB(code) == ERR_LIB_SYS) reason = strerror(ERR_GET_REASON(code));
    ERR_clear_error();
    return hk_fail(
        HK_E_INVALID, "TLS: %s %s: %s", what, file, reason == NULL ? "cannot be used" : reason);
}

/* RFC 7301: HTTP/2 first; a client that asks for neither of ours is refused. */
static int choose_protocol(
    SSL *ssl, const unsigned char **out, unsigned char *out_len, const unsigned char *in,
    unsigned in_len, void *self) {
    static const unsigned char ours[] = "\x02h2\x08http/1.1";
    (void)ssl;
    (void)self;
    unsigned char *chosen = NULL;
    if (SSL_select_next_proto(&chosen, out_len, ours, sizeof(ours) - 1, in, in_len) !=
        OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

static SSL_CTX *new_context(const SSL_METHOD *method) {
    SSL_CTX *context = SSL_CTX_new(method);
    if (context == NULL) return NULL;
    (void)SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
    /* Many peers end without close_notify; where it matters HTTP says how long a message is. */
    (void)SSL_CTX_set_options(
        context, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION | SSL_OP_IGNORE_UNEXPECTED_EOF);
    (void)SSL_CTX_set_mode(
        context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                     SSL_MODE_RELEASE_BUFFERS);
    /* Forward secrecy and authenticated encryption only (RFC 9325 §4.2). */
    (void)SSL_CTX_set_cipher_list(context, "ECDHE+AESGCM:ECDHE+CHACHA20");
    SSL_CTX_set_read_ahead(context, 1);
    SSL_CTX_set_default_read_buffer_len(context, READ_AHEAD_BYTES);
    SSL_CTX_set_verify_depth(context, VERIFY_DEPTH_MAX);
    return context;
}

static hk_err load_client_ca(const struct hk_tls *tls, SSL_CTX *context) {
    hk_assert(tls->client_ca_file != NULL); /* empty is the way to say "no client certificates" */
    if (tls->client_ca_file[0] == 0) return HK_OK;
    STACK_OF(X509_NAME) *names = SSL_load_client_CA_file(tls->client_ca_file);
    if (names == NULL || SSL_CTX_load_verify_file(context, tls->client_ca_file) != 1) {
        sk_X509_NAME_pop_free(names, X509_NAME_free);
        return fail_file("client CA file", tls->client_ca_file);
    }
    SSL_CTX_set_client_CA_list(context, names);
    int mode = SSL_VERIFY_PEER;
    if (!tls->client_optional) mode |= SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
    SSL_CTX_set_verify(context, mode, NULL);
    return HK_OK;
}

static hk_err load_server(const struct hk_tls *tls, SSL_CTX *context) {
    if (SSL_CTX_use_certificate_chain_file(context, tls->cert_file) != 1)
        return fail_file("certificate file", tls->cert_file);
    if (SSL_CTX_use_PrivateKey_file(context, tls->key_file, SSL_FILETYPE_PEM) != 1)
        return fail_file("key file", tls->key_file);
    if (SSL_CTX_check_private_key(context) != 1)
        return fail_file("the key does not belong to the certificate:", tls->key_file);
    (void)SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    (void)SSL_CTX_set_session_id_context(context, (const unsigned char *)"hark", 4);
    (void)SSL_CTX_set_num_tickets(context, 1);
    SSL_CTX_set_alpn_select_cb(context, choose_protocol, NULL);
    return load_client_ca(tls, context);
}

static char *copy_path(struct hk_str path) {
    return hk_mem_copy(path.ptr, path.len);
}

/* One number for size, time and place of all files; a file that is missing counts, too. */
static uint64_t stamp_of(const struct hk_tls *tls) {
    const char *const paths[] = { tls->cert_file, tls->key_file, tls->client_ca_file };
    uint64_t stamps[HK_COUNT(paths)] = { 0 };
    for (size_t i = 0; i < HK_COUNT(paths); i++) {
        if (paths[i] != NULL && paths[i][0] != 0) stamps[i] = hk_file_stamp(paths[i]);
    }
    return hk_hash64(stamps, sizeof(stamps));
}

bool hk_tls_has_changed(struct hk_tls *tls) {
    uint64_t stamp = stamp_of(tls);
    bool changed = stamp != tls->stamp;
    tls->stamp = stamp;
    return changed;
}

void hk_tls_replace(struct hk_tls *tls, struct hk_tls *next) {
    hk_mutex_lock(&tls->lock);
    SSL_CTX *context = tls->context;
    char *paths[] = { tls->cert_file, tls->key_file, tls->client_ca_file };
    tls->context = next->context;
    tls->cert_file = next->cert_file;
    tls->key_file = next->key_file;
    tls->client_ca_file = next->client_ca_file;
    tls->client_optional = next->client_optional;
    tls->stamp = next->stamp;
    next->context = context;
    next->cert_file = paths[0];
    next->key_file = paths[1];
    next->client_ca_file = paths[2];
    hk_mutex_unlock(&tls->lock);
    hk_tls_destroy(next);
}

hk_err hk_tls_reload(struct hk_tls *tls) {
    /* Before they are read: a change meanwhile is seen the next time. */
    tls->stamp = stamp_of(tls);
    SSL_CTX *context = new_context(TLS_server_method());
    if (context == NULL) return hk_fail(HK_E_NOMEM, "TLS: out of memory");
    hk_err err = load_server(tls, context);
    if (err < 0) {
        SSL_CTX_free(context);
        return err;
    }
    hk_mutex_lock(&tls->lock);
    SSL_CTX *old = tls->context;
    tls->context = context;
    hk_mutex_unlock(&tls->lock);
    SSL_CTX_free(old); /* connections hold their own references */
    return HK_OK;
}

/* NULL when out of memory, with the error text set. */
static struct hk_tls *new_tls(void) {
    struct hk_tls *tls = hk_mem_alloc(1, sizeof(*tls));
    BIO_METHOD *method = tls == NULL ? NULL : hk_tls_bio_method();
    if (method == NULL) {
        hk_mem_free(tls);
        (void)hk_fail(HK_E_NOMEM, "TLS: out of memory");
        return NULL;
    }
    hk_mutex_init(&tls->lock);
    tls->bio_method = method;
    return tls;
}

hk_err hk_tls_create(const struct hk_tls_options *options, struct hk_tls **out) {
    if (options->cert_file.len == 0 || options->key_file.len == 0)
        return hk_fail(HK_E_INVALID, "TLS: a certificate file and a key file are needed");
    struct hk_tls *tls = new_tls();
    if (tls == NULL) return HK_E_NOMEM;
    tls->cert_file = copy_path(options->cert_file);
    tls->key_file = copy_path(options->key_file);
    tls->client_ca_file = copy_path(options->client_ca_file);
    tls->client_optional = options->client_optional;
    hk_err err = HK_OK;
    if (tls->cert_file == NULL || tls->key_file == NULL || tls->client_ca_file == NULL)
        err = hk_fail(HK_E_NOMEM, "TLS: out of memory");
    if (err == HK_OK) err = hk_tls_reload(tls);
    if (err < 0) {
        hk_tls_destroy(tls);
        return err;
    }
    *out = tls;
    return HK_OK;
}

static hk_err load_trust(SSL_CTX *context, struct hk_str ca_file) {
    if (ca_file.len == 0) {
        if (SSL_CTX_set_default_verify_paths(context) == 1) return HK_OK;
        return fail_file("trust store", "of the system");
    }
    char *path = copy_path(ca_file);
    if (path == NULL) return hk_fail(HK_E_NOMEM, "TLS: out of memory");
    hk_err err = HK_OK;
    if (SSL_CTX_load_verify_file(context, path) != 1) err = fail_file("CA file", path);
    hk_mem_free(path);
    return err;
}

hk_err hk_tls_create_client(struct hk_str ca_file, bool insecure_skip_verify, struct hk_tls **out) {
    static const unsigned char protocols[] = "\x08http/1.1";
    struct hk_tls *tls = new_tls();
    if (tls == NULL) return HK_E_NOMEM;
    hk_err err = HK_OK;
    tls->context = new_context(TLS_client_method());
    if (tls->context == NULL) err = hk_fail(HK_E_NOMEM, "TLS: out of memory");
    if (err == HK_OK && !insecure_skip_verify) {
        SSL_CTX_set_verify(tls->context, SSL_VERIFY_PEER, NULL);
        err = load_trust(tls->context, ca_file);
    }
    if (err < 0) {
        hk_tls_destroy(tls);
        return err;
    }
    tls->verify = !insecure_skip_verify;
    (void)SSL_CTX_set_alpn_protos(tls->context, protocols, sizeof(protocols) - 1);
    hk_tls_keep_sessions(tls->context);
    *out = tls;
    return HK_OK;
}

void hk_tls_destroy(struct hk_tls *tls) {
    if (tls == NULL) return;
    SSL_CTX_free(tls->context);
    BIO_meth_free(tls->bio_method);
    hk_mutex_deinit(&tls->lock);
    hk_mem_free(tls->cert_file);
    hk_mem_free(tls->key_file);
    hk_mem_free(tls->client_ca_file);
    hk_mem_free(tls);
}
