/*
 * Inside of the HTTP server. All of it runs on the loop's thread.
 *
 * (1) A connection owns its buffers; an exchange owns arena, head, body and answer. The exchange
 *     may outlive its connection: `conn` is NULL then, and the answer is dropped.
 * (2) HTTP/1 has at most one exchange per connection; pipelined requests wait in `in`.
 * (3) While `busy` is set some function on the stack works on the connection: nobody destroys it,
 *     `dead` is set instead, and the function that set `busy` calls hk_conn_settle.
 */
#ifndef HK_NET_HTTP_INTERNAL_H
#define HK_NET_HTTP_INTERNAL_H

#include "net/http.h"
#include "net/http1_parse.h"
#include "net/http_codec.h"
#include "os/socket.h"

enum {
    HK_HTTP_SCRATCH_BYTES = 65536,
    HK_HTTP_ADDED_MAX = 32,          /* headers a handler may add */
    HK_HTTP_OUT_PAUSE = 262144,      /* no further request is begun above this much output */
    HK_HTTP_PIPELINE_MAX = 65536,    /* input held while an exchange is open */
    HK_HTTP_POOL_BYTES_MAX = 8 << 20 /* buffers kept for the next exchanges */
};

enum hk_conn_protocol { HK_CONN_DETECT, HK_CONN_HTTP1, HK_CONN_HTTP2 };

enum hk_h1_state { HK_H1_HEAD, HK_H1_BODY_LENGTH, HK_H1_BODY_CHUNKED, HK_H1_HANDED };

struct hk_h1 {
    enum hk_h1_state state;
    size_t scanned;       /* of the head */
    uint64_t left;        /* of a body with Content-Length */
    unsigned blank_lines; /* before the request line */
    struct hk_h1_chunks chunks;
    struct hk_http_exchange *exchange; /* (2) */
};

struct hk_h2;
struct hk_tls_conn;

struct hk_conn {
    struct hk_io io;
    struct hk_timer timer;
    struct hk_http_server *server;
    struct hk_conn *next, *prev;
    struct hk_tls_conn *tls; /* NULL: plain */
    enum hk_conn_protocol protocol;
    unsigned watched;
    bool busy, dead; /* (3) */
    bool eof;        /* the peer sends no more */
    bool closing;    /* close when the output is written */
    bool lingering;  /* our end is shut; reading what still comes, to avoid a reset */
    bool begun;      /* part of a request has arrived */
    bool goaway;     /* HTTP/2: sent */
    bool yields;     /* HTTP/1: requests in `in` wait for the next round */
    unsigned turn_requests;
    bool reread;       /* TLS holds input; the timer reads it */
    bool paused;       /* too much output waits to begin the next request */
    struct hk_buf in;  /* read and not parsed yet */
    struct hk_buf out; /* waits for the socket, from out_at */
    size_t out_at;
    struct hk_buf big; /* a large answer behind `out`, from big_at */
    size_t big_at;
    size_t accounted;       /* bytes of the buffers that server->memory counts */
    size_t linger_bytes;    /* discarded while lingering */
    int64_t readable_ns;    /* last time found readable */
    int64_t since_ns;       /* begin of the present phase: accepted, first byte, head, idle */
    int64_t write_since_ns; /* last progress of the waiting output */
    struct hk_h1 h1;
    struct hk_h2 *h2;
    struct hk_str peer, identity;
    char *identity_text;
    char peer_text[HK_SOCKADDR_TEXT_MAX];
};

struct hk_http_exchange {
    struct hk_http_server *server;
    struct hk_conn *conn;                               /* (1) */
    struct hk_http_exchange *next, *prev;               /* open list or pool */
    struct hk_http_exchange *stream_next, *stream_prev; /* HTTP/2: of the connection */
    int32_t stream_id;                                  /* HTTP/2 */
    bool handed;                                        /* the handler has it: on the open list */
    bool answered;   /* the answer is complete, if not yet sent */
    bool streaming;  /* the answer is a stream */
    bool complete;   /* the whole request has arrived */
    bool tell_later; /* `gone` is due */
    bool gone_called;
    bool keep_alive, head_only, http10;
    bool in_head, discard; /* HTTP/2: head is arriving; body is thrown away */
    uint64_t length;       /* HTTP/2: declared, 0 = unknown */
    enum hk_coding coding, accept;
    struct hk_arena arena;
    struct hk_http_request request;
    struct hk_buf body, plain, answer;
    size_t answer_at; /* HTTP/2: bytes given to frames */
    size_t accounted;
    int64_t since_ns; /* end of headers */
    struct hk_http_header added[HK_HTTP_ADDED_MAX];
    uint32_t added_count;
    struct hk_http_header trailers[4];
    uint32_t trailer_count;
    void *user;
    void (*gone)(struct hk_http_exchange *);
};

struct hk_http_server {
    struct hk_loop *loop;
    struct hk_http_options options;
    struct hk_io listener;
    struct hk_timer accept_again;
    struct hk_timer tell; /* always armed; tells handlers of gone clients */
    struct hk_sockaddr address;
    struct hk_conn *conns;
    struct hk_http_exchange *open; /* handed to the handler */
    struct hk_http_exchange *pool;
    uint32_t open_count;
    size_t pool_bytes;
    size_t memory; /* all accounted buffers */
    bool draining;
    struct hk_http_stats stats;
    struct hk_codec codec;
    int64_t handshake_round_ns, handshake_spent_ns;
    int64_t date_until_ns;
    char date[32];
    struct hk_http_header headers[HK_HTTP_HEADERS_MAX];
    char scratch[HK_HTTP_SCRATCH_BYTES];
};

/* What is to be sent. */
struct hk_http_answer {
    int status;
    struct hk_str type;
    struct hk_str body;
    struct hk_buf *owned; /* memory of `body` to take, or NULL: copy */
    enum hk_coding coding;
    bool streaming;
};

/* Adds to a counter that other threads read. */
static inline void hk_stat_add(uint64_t *stat, uint64_t value) {
    __atomic_store_n(stat, *stat + value, __ATOMIC_RELAXED);
}

/* http_server.c */

/* The Date value of now (RFC 9110 §5.6.7), 29 bytes. */
struct hk_str hk_server_date(struct hk_http_server *server);

/* Makes `server->memory` count `now` bytes where it counted `*slot`. */
void hk_server_account(struct hk_http_server *server, size_t *slot, size_t now);

/* A stream that is written faster than it is read has filled the server's memory: false, and the
 * connection is given up. */
bool hk_server_has_room(struct hk_conn *conn);

/* http_conn.c */

/* Takes the accepted descriptor; closes it when out of memory. */
void hk_conn_create(struct hk_http_server *server, int fd, const struct hk_sockaddr *peer);

/* Closes at once; exchanges on it are told. */
void hk_conn_destroy(struct hk_conn *conn);

/* Ends a turn: writes, closes, watches and arms the timer. The connection may be gone after. */
void hk_conn_settle(struct hk_conn *conn);

/* Goes on with what `in` holds after an exchange has ended outside of a turn; settles. */
void hk_conn_resume(struct hk_conn *conn);

/* Reads: > 0 bytes, 0 end of stream, negative errno. */
int64_t hk_conn_recv(struct hk_conn *conn, void *to, size_t bytes);

/* Output that the socket has not taken yet. */
size_t hk_conn_pending(const struct hk_conn *conn);

/* Where the next output goes, so that order is kept. */
struct hk_buf *hk_conn_out(struct hk_conn *conn);

/* Writes what waits, as far as the socket takes it. */
void hk_conn_flush(struct hk_conn *conn);

/* http1.c */

/* One turn of reading. Sets conn->eof or conn->dead. */
void hk_h1_read(struct hk_conn *conn);

/* Parses `conn->in` as far as possible. */
void hk_h1_go_on(struct hk_conn *conn);

/* Sends head and body, or the head of a stream. */
void hk_h1_answer(struct hk_http_exchange *exchange, const struct hk_http_answer *answer);
size_t hk_h1_stream_write(struct hk_http_exchange *exchange, struct hk_str bytes);
void hk_h1_stream_end(struct hk_http_exchange *exchange);

/* When the present phase ends with a timeout; INT64_MAX: never. */
int64_t hk_h1_deadline(const struct hk_conn *conn);

/* The deadline has passed. */
void hk_h1_timeout(struct hk_conn *conn);

/* The connection ends: lets go of the exchange. */
void hk_h1_detach(struct hk_conn *conn);

/* http2.c: the preface has been seen */

/* Makes the session. On failure the connection must be destroyed. */
hk_err hk_h2_begin(struct hk_conn *conn) HK_MUST_CHECK;

/* Parses `data`, all of it. */
void hk_h2_input(struct hk_conn *conn, const char *data, size_t len);

/* One turn of reading. Sets conn->eof or conn->dead. */
void hk_h2_read(struct hk_conn *conn);

/* Makes frames into conn->out until enough waits there. Not from inside a callback. */
void hk_h2_pump(struct hk_conn *conn);

/* Nothing more will be read or written? */
bool hk_h2_is_over(const struct hk_conn *conn);

/* Tells the peer to open no more streams. */
void hk_h2_drain(struct hk_conn *conn);

/* The connection ends: lets go of all exchanges. */
void hk_h2_detach(struct hk_conn *conn);

/* When to look for late streams, and looking for them. */
int64_t hk_h2_check_ns(const struct hk_conn *conn);
void hk_h2_timeout(struct hk_conn *conn);

/* http2_answer.c */

/* As their HTTP/1 twins. */
void hk_h2_answer(struct hk_http_exchange *exchange, const struct hk_http_answer *answer);
size_t hk_h2_stream_write(struct hk_http_exchange *exchange, struct hk_str bytes);
void hk_h2_stream_end(struct hk_http_exchange *exchange);

/* Message and trailers, or trailers only. */
void hk_h2_answer_grpc(
    struct hk_http_exchange *exchange, int grpc_status, struct hk_str message, struct hk_str text,
    struct hk_str details);

/* http_exchange.c */

/* A fresh exchange from the pool, NULL when out of memory. */
struct hk_http_exchange *hk_exchange_create(struct hk_conn *conn);

/* Back to the pool. It must not be handed, or must be answered. */
void hk_exchange_release(struct hk_http_exchange *exchange);

/* Frees the pool. */
void hk_exchange_free_pool(struct hk_http_server *server);

/* The handler is done with it: off the open list. */
void hk_exchange_end(struct hk_http_exchange *exchange);

/* Counts its buffers in server->memory. */
void hk_exchange_account(struct hk_http_exchange *exchange);

/*
 * The connection or stream is lost: releases the exchange, or, if the handler has it, has the
 * handler told in a turn of its own (it may be in the middle of answering another exchange).
 */
void hk_exchange_detach(struct hk_http_exchange *exchange);

/* Tells all handlers that are to be told. */
void hk_exchange_tell_all(struct hk_http_server *server);

/* Tells the handler once that nobody waits for the answer any more. */
void hk_exchange_tell_gone(struct hk_http_exchange *exchange);

/* Splits and decodes the request target. False: malformed. */
bool hk_exchange_set_target(struct hk_http_exchange *exchange, struct hk_str target);

/* Reads the headers that concern codings; 0 or the HTTP status to refuse with. */
int hk_exchange_read_codings(struct hk_http_exchange *exchange, const char **out_text);

/* Asks the handler's `admit`; 0 or the HTTP status to refuse with. */
int hk_exchange_admit(struct hk_http_exchange *exchange, const char **out_text);

/* Room for `bytes` more of body: NULL when a limit is passed, with the status to answer. */
char *hk_exchange_room(struct hk_http_exchange *exchange, size_t bytes, int *out_status);

/* The request is complete: decodes the body and hands it over (or answers with the error). */
void hk_exchange_dispatch(struct hk_http_exchange *exchange);

/* Answers with a plain text made here; gRPC requests get the matching gRPC status. */
void hk_exchange_refuse(struct hk_http_exchange *exchange, int status, const char *text);

/* http_grpc.c */

/* Takes the single message out of its frame (RFC: gRPC over HTTP/2). 0 or a gRPC status. */
int hk_grpc_unframe(
    struct hk_http_exchange *exchange, struct hk_str *out_message, const char **out_text);

/* `text` as grpc-message wants it: percent-encoded. ptr NULL when out of memory. */
struct hk_str hk_grpc_text(struct hk_arena *arena, struct hk_str text);

/* `bytes` in base64 without padding, as binary metadata is sent. */
struct hk_str hk_grpc_base64(struct hk_arena *arena, struct hk_str bytes);

/* The gRPC status for an HTTP status (gRPC's http-grpc-status-mapping, and 413/415/503). */
int hk_grpc_status_of(int http_status);

#endif
