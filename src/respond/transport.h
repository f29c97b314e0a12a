/*
 * How a dispatcher sends on the warm path: an interface that the engine implements with net's
 * client on the shard's own loop. All calls on the thread of the dispatcher.
 */
#ifndef HK_RESPOND_TRANSPORT_H
#define HK_RESPOND_TRANSPORT_H

#include "base/str.h"

/* Where and how to send. Borrowed; `files` are read by whoever connects. */
struct hk_endpoint_config {
    struct hk_str url;                /* http:// or https:// */
    struct hk_str authorization;      /* value of the Authorization header, or empty */
    struct hk_str authorization_file; /* file with bearer credentials, read anew, or empty */
    struct hk_str ca_file, cert_file, key_file, server_name; /* TLS, empty = default */
    struct hk_str proxy_url;                                 /* only used off the warm path */
    bool insecure_skip_verify;
    int64_t timeout_ms; /* per request, 0 = 10 s */
};

/* Outcome of one request: status is 0 when no answer came (`err` and `text` say why). */
struct hk_post_result {
    hk_err err;
    int status;
    struct hk_str text;  /* first bytes of the answer's body, or the reason; borrowed */
    int64_t written_ns;  /* monotonic: when the last byte was handed to the kernel, 0 = not */
    int64_t retry_after; /* seconds from the answer's header, 0 = none */
};

struct hk_transport {
    void *self;
    /* Opens a warm connection ahead of need. The endpoint lives until close(). */
    hk_err (*open)(void *self, const struct hk_endpoint_config *config, void **out_endpoint);
    /* Waiting requests end with HK_E_CANCELED before it returns. */
    void (*close)(void *self, void *endpoint);
    /*
     * Writes the request now if the connection is warm, else queues it. `body` and headers (pairs
     * name, value) are borrowed during the call. `done` is called exactly once after HK_OK, later
     * (never within the call); never after an error. HK_E_BUSY: the queue is full or the peer is
     * down.
     */
    hk_err (*post)(
        void *self, void *endpoint, struct hk_str content_type, struct hk_str body,
        const struct hk_str *headers, uint32_t header_count,
        void (*done)(void *ctx, const struct hk_post_result *result), void *ctx);
};

#endif
