/*
 * HTTP server: HTTP/1.1 and HTTP/2 (prior knowledge h2c, Upgrade is not needed, ALPN under TLS) on
 * one port, gRPC framing on top of HTTP/2. One server belongs to one loop; several servers (one
 * per shard) may listen on one address with SO_REUSEPORT. Request bodies are handed over whole,
 * decompressed (Content-Encoding gzip, deflate, zstd; "snappy" is left to the handler), within
 * the limits. Sources: RFC 9110, 9112, 9113, gRPC over HTTP/2.
 */
#ifndef HK_NET_HTTP_H
#define HK_NET_HTTP_H

#include "base/arena.h"
#include "base/buf.h"
#include "net/loop.h"

#include <sys/socket.h>

struct hk_http_server;
struct hk_http_exchange; /* one request and its answer */
struct hk_tls;           /* certificates of a listener, see net/tls.h */

struct hk_http_header {
    struct hk_str name, value; /* name in lower case */
};

/* Borrowed until the exchange is answered. */
struct hk_http_request {
    struct hk_str method, path, query; /* path is decoded per RFC 3986 and never contains NUL */
    struct hk_str authority;           /* Host or :authority */
    const struct hk_http_header *headers;
    uint32_t header_count;
    struct hk_str body;  /* decompressed; for gRPC the single message without its prefix */
    uint64_t wire_bytes; /* of the body as received */
    bool grpc;           /* content-type application/grpc* over HTTP/2 */
    bool tls;
    struct hk_str peer;          /* "127.0.0.1:4711", or "unix" */
    struct hk_str peer_identity; /* subject of the verified client certificate, or empty */
    int64_t readable_ns;         /* monotonic: when the socket was found readable with the last
                                  * bytes of the request */
};

/* Value of a header (lower-case name), empty when missing; the first one if repeated. */
struct hk_str hk_http_header_get(const struct hk_http_request *request, struct hk_str name);

/*
 * Value of a parameter in the query or (for form bodies, POST) in the body, percent-decoded into
 * `arena`. The n-th occurrence, from 0. False when there is none.
 */
bool hk_http_param(
    const struct hk_http_request *request, struct hk_str name, uint32_t n, struct hk_arena *arena,
    struct hk_str *out);

struct hk_http_limits {
    size_t header_bytes_max;       /* default 65536: 431 beyond */
    size_t body_bytes_max;         /* on the wire, default 64 MiB: 413, gRPC RESOURCE_EXHAUSTED */
    size_t body_bytes_max_decoded; /* default 256 MiB: a bomb is stopped while inflating */
    uint32_t connections_max;      /* default 4096: new ones are closed, counted */
    uint32_t streams_max;          /* HTTP/2 streams per connection, default 256 */
    int64_t header_timeout_ns;     /* first byte to end of headers, default 10 s */
    int64_t body_timeout_ns;       /* end of headers to end of body, default 60 s */
    int64_t idle_timeout_ns;       /* keep-alive, default 120 s */
    int64_t write_timeout_ns;      /* a client that does not read, default 30 s */
    size_t memory_max;             /* all buffers of the server, default 512 MiB: 503 beyond */
};

void hk_http_limits_default(struct hk_http_limits *out);

struct hk_http_options {
    struct hk_http_limits limits;
    struct hk_tls *tls; /* NULL = plain text */
    /*
     * Called on the loop when a request is complete. Answer now or later, exactly once, on the
     * loop's thread with one of the functions below. `self` is `handler_self`.
     */
    void (*handle)(void *self, struct hk_http_exchange *exchange);
    /*
     * Optional: called when the headers are complete, before the body. Return 0 to go on, or an
     * HTTP status to refuse at once (401, 403, 413, 421 …); `out_text` may be set to a static text.
     */
    int (*admit)(void *self, const struct hk_http_request *request, const char **out_text);
    void *handler_self;
};

/*
 * Listens on "host:port" (IPv4, [IPv6], "localhost", port 0 = any free) or "unix:/path".
 * HK_E_INVALID for a bad address, HK_E_IO with the reason when it cannot listen.
 */
hk_err hk_http_listen(
    struct hk_loop *loop, struct hk_str address, const struct hk_http_options *options,
    struct hk_http_server **out) HK_MUST_CHECK;

/* The port that is listened on. */
uint16_t hk_http_server_port(const struct hk_http_server *server);

/* No new connections; HTTP/2 GOAWAY; idle connections close. */
void hk_http_drain(struct hk_http_server *server);

/* Requests not answered yet. */
uint32_t hk_http_open_exchanges(const struct hk_http_server *server);

/* Closes all. Open exchanges are told `gone`; what is not answered then is canceled and must not be
 * used after. Not from inside of a callback of this server. NULL is fine. */
void hk_http_close(struct hk_http_server *server);

/* The request of an exchange. */
const struct hk_http_request *hk_http_get_request(const struct hk_http_exchange *exchange);

/* Arena of the exchange: freed with it. */
struct hk_arena *hk_http_arena(struct hk_http_exchange *exchange);

/* The handler's own pointer on an exchange. */
void hk_http_set_user(struct hk_http_exchange *exchange, void *user);
void *hk_http_get_user(const struct hk_http_exchange *exchange);

/*
 * Optional: `gone` is called on the loop once if the client goes away before the answer is
 * finished, never from inside of one of the functions here but hk_http_close. The exchange stays
 * valid and must still be answered, in `gone` or later: the answer is dropped, or written to a
 * client that has only ended its sending half.
 */
void hk_http_on_gone(struct hk_http_exchange *exchange, void (*gone)(struct hk_http_exchange *));

/* Adds a header to the coming answer (at most 32); strings are copied. A name or value that is not
 * fit for a header (RFC 9110 §5.5) is left out. */
void hk_http_add_header(struct hk_http_exchange *exchange, struct hk_str name, struct hk_str value);

/*
 * Answers: status, content type (may be empty), body (copied). Compresses texts and JSON of over
 * 1 KiB with zstd (up to 4 MiB) or gzip (up to 1 MiB) when the client accepts it and no
 * content-encoding was added; larger ones would hold up the loop. Ends the exchange: it must not be
 * used after.
 */
void hk_http_respond(
    struct hk_http_exchange *exchange, int status, struct hk_str content_type, struct hk_str body);

/* As hk_http_respond, but takes the buffer's memory (the buffer is empty afterwards). */
void hk_http_respond_buf(
    struct hk_http_exchange *exchange, int status, struct hk_str content_type, struct hk_buf *body);

/* gRPC answer: status 0 with a message (may be empty), or an error status with text and optional
 * `google.rpc.Status` bytes for grpc-status-details-bin. Ends the exchange. */
void hk_grpc_respond(
    struct hk_http_exchange *exchange, int grpc_status, struct hk_str message, struct hk_str text,
    struct hk_str details);

/* Streaming answer (Server-Sent Events): begin once, write many times, end once. write returns the
 * bytes that wait in the socket's buffer, so that the writer can skip when a client is slow. */
void hk_http_stream_begin(
    struct hk_http_exchange *exchange, int status, struct hk_str content_type);
size_t hk_http_stream_write(struct hk_http_exchange *exchange, struct hk_str bytes);
void hk_http_stream_end(struct hk_http_exchange *exchange);

struct hk_http_stats {
    uint64_t connections_total, connections_refused, requests_total, bytes_in, bytes_out;
    uint64_t timeouts, malformed, too_large;
    uint32_t connections_open;
};

/* Any thread: relaxed snapshot. */
void hk_http_get_stats(const struct hk_http_server *server, struct hk_http_stats *out);

#endif
