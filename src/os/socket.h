/*
 * Stream sockets: addresses, listening, connecting, reading and writing; always non-blocking and
 * close-on-exec. Functions return 0, a count or a descriptor on success and a negative errno value
 * on failure (-EAGAIN: not now). Thread-safe for distinct sockets.
 */
#ifndef HK_OS_SOCKET_H
#define HK_OS_SOCKET_H

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/uio.h>

struct hk_sockaddr {
    struct sockaddr_storage addr;
    socklen_t len;
};

enum { HK_SOCKADDR_TEXT_MAX = 128 };

/* Numeric IPv4 or IPv6 address (without brackets), or "localhost". -EINVAL for anything else. */
int hk_sockaddr_numeric(const char *host, uint16_t port, struct hk_sockaddr *out);

/* The address that stands for all interfaces: IPv6 with IPv4 where the system has it. */
void hk_sockaddr_any(uint16_t port, struct hk_sockaddr *out);

/* A Unix socket's path; -ENAMETOOLONG. */
int hk_sockaddr_unix(const char *path, struct hk_sockaddr *out);

/* Asks the system's resolver; blocks. Stores up to `count` addresses, returns how many. -ENOENT
 * when the name has none. */
int hk_sockaddr_resolve(const char *host, uint16_t port, struct hk_sockaddr *out, int count);

/* Writes "127.0.0.1:80", "[::1]:80" or "unix" (at most HK_SOCKADDR_TEXT_MAX bytes with NUL). */
size_t hk_sockaddr_text(const struct hk_sockaddr *address, char *out);

/* Port in host byte order, 0 for Unix sockets. */
uint16_t hk_sockaddr_port(const struct hk_sockaddr *address);

/* Opens a listening socket (SO_REUSEADDR, SO_REUSEPORT). A Unix path that nobody serves any more
 * is taken over. */
int hk_socket_listen(const struct hk_sockaddr *address, int backlog);

/* Takes a waiting connection; TCP_NODELAY is set. */
int hk_socket_accept(int fd, struct hk_sockaddr *out_peer);

/* Begins to connect; the socket becomes writable when that has ended (hk_socket_error). */
int hk_socket_connect(const struct hk_sockaddr *address);

/* The pending error of the socket as negative errno, 0 if none. */
int hk_socket_error(int fd);

/* The address the socket is bound to. */
int hk_socket_local(int fd, struct hk_sockaddr *out);

/* Up to `bytes`; 0 at the end of the stream. */
int64_t hk_socket_recv(int fd, void *to, size_t bytes);

/* Up to all of the parts; never raises SIGPIPE. */
int64_t hk_socket_send(int fd, const struct iovec *parts, int count);

/* No more will be written; the peer sees the end of the stream. */
void hk_socket_shutdown_write(int fd);

/* Closes; negative descriptors are ignored. */
void hk_socket_close(int fd);

/* Removes a Unix socket's name. */
void hk_socket_unlink(const struct hk_sockaddr *address);

#endif
