/* Datagram sockets: UDP and Unix. Functions return negative errno values. */
#ifndef HK_OS_UDP_H
#define HK_OS_UDP_H

#include "os/socket.h"

enum { HK_UDP_DATAGRAMS_MAX = 64, HK_UDP_BYTES_MAX = 65535 };

/* One received datagram; with generic receive offload one buffer may hold several of `segment`
 * bytes each (the last may be shorter). */
struct hk_datagram {
    uint8_t *data;
    size_t bytes;
    size_t segment; /* 0 = the buffer is one datagram */
};

/* Binds a non-blocking datagram socket with a large receive buffer; GRO where the kernel has it. */
int hk_udp_open(const struct hk_sockaddr *address);

/* Receives up to HK_UDP_DATAGRAMS_MAX buffers at once (recvmmsg); `out[i].data` must have room for
 * HK_UDP_BYTES_MAX bytes. The count, 0 when nothing waits. */
int hk_udp_receive(int fd, struct hk_datagram *out, int count);

/* Datagrams that the kernel dropped for want of room since the socket was opened (Linux,
 * SO_MEMINFO), or 0. */
uint64_t hk_udp_dropped(int fd);

#endif
