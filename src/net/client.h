/*
 * Outgoing HTTP/1.1 for the warm alert path: one kept connection per endpoint, opened before it is
 * needed, TLS session resumed. Belongs to one loop. Everything else outbound goes through libcurl.
 */
#ifndef HK_NET_CLIENT_H
#define HK_NET_CLIENT_H

#include "base/buf.h"
#include "net/loop.h"

struct hk_client;

struct hk_client_options {
    struct hk_str url;           /* http:// or https://, host, optional port and path */
    struct hk_str authorization; /* value of the Authorization header, or empty */
    struct hk_str ca_file;       /* PEM bundle for https, empty = the system's */
    bool insecure_skip_verify;
    int64_t timeout_ns; /* per request, default 10 s */
    uint32_t queue_max; /* requests waiting for the connection, default 64 */
};

/* Outcome of one request: status is 0 when no answer came (`err` says why, and hk_fail_text()
 * during the call). A request of which something was written is never repeated here; written_ns is
 * 0 while its last byte has not been handed over. */
struct hk_client_result {
    hk_err err;
    int status;
    struct hk_str body; /* first 64 KiB, borrowed during the call */
    int64_t written_ns; /* monotonic: when the last byte was handed to the kernel */
};

/* Resolves, connects and keeps the connection warm (reconnects with backoff). HK_E_INVALID. */
hk_err hk_client_create(
    struct hk_loop *loop, const struct hk_client_options *options,
    struct hk_client **out) HK_MUST_CHECK;

/* Waiting requests end with HK_E_CANCELED. Not from inside of `done`. NULL is fine. */
void hk_client_destroy(struct hk_client *client);

/* Connected and idle, so that the next request is written at once? */
bool hk_client_is_warm(const struct hk_client *client);

/*
 * POSTs `body` (borrowed only during the call if it could be written at once, otherwise copied).
 * When the connection is warm the bytes are written inside this call. `done` is called exactly
 * once, later, on the loop. HK_E_BUSY when the queue is full.
 */
hk_err hk_client_post(
    struct hk_client *client, struct hk_str content_type, struct hk_str body,
    const struct hk_str *extra_headers, /* pairs name, value */
    uint32_t extra_header_count,        /* pairs */
    void (*done)(void *self, const struct hk_client_result *result), void *self) HK_MUST_CHECK;

#endif
