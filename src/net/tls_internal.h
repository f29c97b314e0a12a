/*
 * TLS on non-blocking sockets, for the server and the outgoing client. A connection belongs to the
 * loop's thread; the context may be reloaded by any thread.
 */
#ifndef HK_NET_TLS_INTERNAL_H
#define HK_NET_TLS_INTERNAL_H

#include "net/tls.h"

#include <sys/uio.h>

struct hk_tls_conn;
struct ssl_session_st;

/* A context that verifies servers: `ca_file` (empty: the system's) or, if asked, not at all.
 * HK_E_INVALID with file and reason. Ended with hk_tls_destroy. */
hk_err hk_tls_create_client(struct hk_str ca_file, bool insecure_skip_verify, struct hk_tls **out)
    HK_MUST_CHECK;

/* The server's end of a connection on `fd` (borrowed). NULL when out of memory. */
struct hk_tls_conn *hk_tls_accept(struct hk_tls *tls, int fd);

/*
 * The client's end: `host` (NUL-terminated) is what the certificate must be for. `session` is
 * resumed if not NULL. NULL when out of memory.
 */
struct hk_tls_conn *
hk_tls_connect(struct hk_tls *tls, int fd, const char *host, struct ssl_session_st *session);

/* Frees it without a word on the wire; NULL is fine. */
void hk_tls_conn_destroy(struct hk_tls_conn *conn);

/* Goes on with the handshake: 0 when it is done, -EAGAIN, or another negative errno for failure
 * (hk_tls_conn_error says why). */
int hk_tls_handshake(struct hk_tls_conn *conn);

/* Has the handshake ended well? */
bool hk_tls_is_ready(const struct hk_tls_conn *conn);

/* Reads until `bytes` are there or the socket is drained; does the handshake first. Returns as
 * hk_socket_recv does, -EPROTO when the peer breaks the protocol. */
int64_t hk_tls_recv(struct hk_tls_conn *conn, void *to, size_t bytes);

/* As hk_socket_send; the same bytes must be offered again after -EAGAIN. */
int64_t hk_tls_send(struct hk_tls_conn *conn, const struct iovec *parts, int count);

/* Is there input that the poller does not know of, because it has been read from the socket? */
bool hk_tls_has_input(const struct hk_tls_conn *conn);

/* Does it wait for the socket to take output before it can read on? */
bool hk_tls_wants_write(const struct hk_tls_conn *conn);

/* Says goodbye (close_notify), as far as the socket takes it. */
void hk_tls_shutdown(struct hk_tls_conn *conn);

/* Subject of the peer's verified certificate as RFC 2253 text into `out` (NUL-terminated);
 * returns its length, 0 when there is none. */
size_t hk_tls_peer_subject(const struct hk_tls_conn *conn, char *out, size_t bytes);

/* The session to resume later, NULL if there is none yet. The caller frees it. */
struct ssl_session_st *hk_tls_take_session(struct hk_tls_conn *conn);
void hk_tls_session_free(struct ssl_session_st *session);

/* Why the handshake failed, static or in the connection. */
const char *hk_tls_conn_error(const struct hk_tls_conn *conn);

#endif
