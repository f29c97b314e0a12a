/* TLS 1.2+ through OpenSSL: certificates of a listener, reloaded without closing connections. */
#ifndef HK_NET_TLS_H
#define HK_NET_TLS_H

#include "base/str.h"

struct hk_tls;

struct hk_tls_options {
    struct hk_str cert_file, key_file; /* PEM */
    struct hk_str client_ca_file;      /* not empty: clients must present a certificate (mTLS) */
    bool client_optional;              /* mTLS: ask, but accept clients without a certificate */
};

/* Loads the files. HK_E_INVALID with file and reason. */
hk_err hk_tls_create(const struct hk_tls_options *options, struct hk_tls **out) HK_MUST_CHECK;

/* After the servers that use it are closed. NULL is fine. */
void hk_tls_destroy(struct hk_tls *tls);

/* Any thread, as hk_tls_reload: `tls` takes over certificates and files of `next`, which is
 * destroyed; connections stay as they are. */
void hk_tls_replace(struct hk_tls *tls, struct hk_tls *next);

/* Any thread, as hk_tls_reload: have the files changed since they were loaded or looked at here?
 * Asks the disk for their sizes and times. */
bool hk_tls_has_changed(struct hk_tls *tls);

/* Any thread, one at a time: loads the files again; on failure the old certificates stay. Blocks on
 * the disk, so better not the loop's thread. */
hk_err hk_tls_reload(struct hk_tls *tls) HK_MUST_CHECK;

#endif
