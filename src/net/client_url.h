/* Addresses of webhooks: http and https, host, port, path and query. */
#ifndef HK_NET_CLIENT_URL_H
#define HK_NET_CLIENT_URL_H

#include "base/str.h"

struct hk_url {
    char *host;      /* name or address, without brackets */
    char *authority; /* host and port as written, for the Host header */
    char *target;    /* path and query, begins with a slash */
    uint16_t port;
    bool https;
};

/* Takes `url` apart into heap copies. HK_E_INVALID says what is wrong, HK_E_NOMEM. */
hk_err hk_url_parse(struct hk_str url, struct hk_url *out) HK_MUST_CHECK;

/* Frees the copies; fine for a zeroed one. */
void hk_url_deinit(struct hk_url *url);

#endif
