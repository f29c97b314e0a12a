/* Stream sockets on Linux. */
#include "os/socket.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

static struct sockaddr_in *as_v4(struct hk_sockaddr *address) {
    return (struct sockaddr_in *)&address->addr;
}

static struct sockaddr_in6 *as_v6(struct hk_sockaddr *address) {
    return (struct sockaddr_in6 *)&address->addr;
}

int hk_sockaddr_numeric(const char *host, uint16_t port, struct hk_sockaddr *out) {
    struct hk_sockaddr address = { 0 };
    if (strcmp(host, "localhost") == 0) host = "127.0.0.1";
    if (inet_pton(AF_INET, host, &as_v4(&address)->sin_addr) == 1) {
        as_v4(&address)->sin_family = AF_INET;
        as_v4(&address)->sin_port = htons(port);
        address.len = sizeof(struct sockaddr_in);
    } else if (inet_pton(AF_INET6, host, &as_v6(&address)->sin6_addr) == 1) {
        as_v6(&address)->sin6_family = AF_INET6;
        as_v6(&address)->sin6_port = htons(port);
        address.len = sizeof(struct sockaddr_in6);
    } else {
        return -EINVAL;
    }
    *out = address;
    return 0;
}

void hk_sockaddr_any(uint16_t port, struct hk_sockaddr *out) {
    int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    (void)hk_sockaddr_numeric(fd < 0 ? "0.0.0.0" : "::", port, out);
    if (fd >= 0) (void)close(fd);
}

int hk_sockaddr_unix(const char *path, struct hk_sockaddr *out) {
    struct hk_sockaddr address = { 0 };
    struct sockaddr_un *local = (struct sockaddr_un *)&address.addr;
    size_t len = strlen(path);
    if (len == 0) return -EINVAL;
    if (len >= sizeof(local->sun_path)) return -ENAMETOOLONG;
    local->sun_family = AF_UNIX;
    memcpy(local->sun_path, path, len + 1);
    address.len = sizeof(*local);
    *out = address;
    return 0;
}

int hk_sockaddr_resolve(const char *host, uint16_t port, struct hk_sockaddr *out, int count) {
    char service[8];
    (void)snprintf(service, sizeof(service), "%u", (unsigned)port);
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG };
    struct addrinfo *first = NULL;
    int err = getaddrinfo(host, service, &hints, &first);
    if (err != 0) return err == EAI_AGAIN ? -EAGAIN : -ENOENT;
    int found = 0;
    for (const struct addrinfo *info = first; info != NULL && found < count; info = info->ai_next) {
        if (info->ai_addrlen > sizeof(out[found].addr)) continue;
        memset(&out[found], 0, sizeof(out[found]));
        memcpy(&out[found].addr, info->ai_addr, info->ai_addrlen);
        out[found++].len = info->ai_addrlen;
    }
    freeaddrinfo(first);
    return found == 0 ? -ENOENT : found;
}

size_t hk_sockaddr_text(const struct hk_sockaddr *address, char *out) {
    struct hk_sockaddr copy = *address;
    char host[INET6_ADDRSTRLEN] = "?";
    int len = 0;
    if (copy.addr.ss_family == AF_INET) {
        (void)inet_ntop(AF_INET, &as_v4(&copy)->sin_addr, host, sizeof(host));
        len = snprintf(out, HK_SOCKADDR_TEXT_MAX, "%s:%u", host, hk_sockaddr_port(address));
    } else if (copy.addr.ss_family == AF_INET6) {
        const struct in6_addr *v6 = &as_v6(&copy)->sin6_addr;
        int mapped = IN6_IS_ADDR_V4MAPPED(v6);
        const void *from = mapped ? (const void *)&v6->s6_addr[12] : (const void *)v6;
        (void)inet_ntop(mapped ? AF_INET : AF_INET6, from, host, sizeof(host));
        const char *format = mapped ? "%s:%u" : "[%s]:%u";
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        len = snprintf(out, HK_SOCKADDR_TEXT_MAX, format, host, hk_sockaddr_port(address));
#pragma GCC diagnostic pop
    } else {
        len = snprintf(out, HK_SOCKADDR_TEXT_MAX, "unix");
    }
    return len < 0 ? 0 : (size_t)len;
}

uint16_t hk_sockaddr_port(const struct hk_sockaddr *address) {
    struct hk_sockaddr copy = *address;
    if (copy.addr.ss_family == AF_INET) return ntohs(as_v4(&copy)->sin_port);
    if (copy.addr.ss_family == AF_INET6) return ntohs(as_v6(&copy)->sin6_port);
    return 0;
}

static void set_option(int fd, int level, int option, int value) {
    (void)setsockopt(fd, level, option, &value, sizeof(value));
}

/* A Unix socket's file that refuses connections was left behind by a process that is gone. */
static void take_over_unix(const struct hk_sockaddr *address) {
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return;
    int err = connect(fd, (const struct sockaddr *)&address->addr, address->len) < 0 ? errno : 0;
    (void)close(fd);
    if (err == ECONNREFUSED) hk_socket_unlink(address);
}

int hk_socket_listen(const struct hk_sockaddr *address, int backlog) {
    int family = address->addr.ss_family;
    if (family == AF_UNIX) take_over_unix(address);
    int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return -errno;
    if (family != AF_UNIX) {
        set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
        set_option(fd, SOL_SOCKET, SO_REUSEPORT, 1);
    }
    if (family == AF_INET6) set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, 0);
    if (bind(fd, (const struct sockaddr *)&address->addr, address->len) < 0 ||
        listen(fd, backlog) < 0) {
        int err = errno;
        (void)close(fd);
        return -err;
    }
    return fd;
}

int hk_socket_accept(int fd, struct hk_sockaddr *out_peer) {
    *out_peer = (struct hk_sockaddr){ .len = sizeof(out_peer->addr) };
    int got = accept4(
        fd, (struct sockaddr *)&out_peer->addr, &out_peer->len, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (got < 0) return -errno;
    if (out_peer->addr.ss_family != AF_UNIX) set_option(got, IPPROTO_TCP, TCP_NODELAY, 1);
    return got;
}

int hk_socket_connect(const struct hk_sockaddr *address) {
    int family = address->addr.ss_family;
    int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return -errno;
    if (family != AF_UNIX) set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    if (family != AF_UNIX) set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    int done = connect(fd, (const struct sockaddr *)&address->addr, address->len);
    if (done < 0 && errno != EINPROGRESS) {
        int err = errno;
        (void)close(fd);
        return -err;
    }
    return fd;
}

int hk_socket_error(int fd) {
    int err = 0;
    socklen_t len = sizeof(err);
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len) < 0) return -errno;
    return -err;
}

int hk_socket_local(int fd, struct hk_sockaddr *out) {
    *out = (struct hk_sockaddr){ .len = sizeof(out->addr) };
    return getsockname(fd, (struct sockaddr *)&out->addr, &out->len) < 0 ? -errno : 0;
}

int64_t hk_socket_recv(int fd, void *to, size_t bytes) {
    ssize_t got = 0;
    do {
        got = recv(fd, to, bytes, 0);
    } while (got < 0 && errno == EINTR);
    return got < 0 ? -errno : got;
}

int64_t hk_socket_send(int fd, const struct iovec *parts, int count) {
    /* The field is not const, the call is. */
    struct msghdr message = { .msg_iov = (struct iovec *)(uintptr_t)parts,
                              .msg_iovlen = (size_t)count };
    ssize_t done = 0;
    do {
        done = sendmsg(fd, &message, MSG_NOSIGNAL);
    } while (done < 0 && errno == EINTR);
    return done < 0 ? -errno : done;
}

void hk_socket_shutdown_write(int fd) {
    (void)shutdown(fd, SHUT_WR);
}

void hk_socket_close(int fd) {
    if (fd >= 0) (void)close(fd);
}

void hk_socket_unlink(const struct hk_sockaddr *address) {
    const struct sockaddr_un *local = (const struct sockaddr_un *)&address->addr;
    if (local->sun_family == AF_UNIX) (void)unlink(local->sun_path);
}
