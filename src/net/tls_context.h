/* What tls.c and tls_conn.c share. */
#ifndef HK_NET_TLS_CONTEXT_H
#define HK_NET_TLS_CONTEXT_H

#include "net/tls_internal.h"
#include "os/thread.h"

#include <openssl/ssl.h>

struct hk_tls {
    struct hk_mutex lock; /* guards `context`; held for the exchange of a pointer only */
    SSL_CTX *context;
    BIO_METHOD *bio_method;
    char *cert_file, *key_file, *client_ca_file;
    bool client_optional;
    uint64_t stamp; /* of the files as last looked at */
    bool verify;    /* client: check the server's name */
};

/* A BIO over os/socket.h, which never raises SIGPIPE. NULL when out of memory. */
BIO_METHOD *hk_tls_bio_method(void);

/* Client contexts: every connection keeps its newest session for hk_tls_take_session. */
void hk_tls_keep_sessions(SSL_CTX *context);

#endif
