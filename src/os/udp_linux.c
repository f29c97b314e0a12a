/* Datagram sockets on Linux. */
#include "os/udp.h"

#include <errno.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <string.h>
#include <unistd.h>

enum { RECEIVE_BUFFER_BYTES = 8 << 20, CONTROL_BYTES = 64 };

int hk_udp_open(const struct hk_sockaddr *address) {
    int family = address->addr.ss_family;
    int fd = socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return -errno;
    int bytes = RECEIVE_BUFFER_BYTES;
    int on = 1;
    /* What the kernel does not grant is done without. */
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
    if (family != AF_UNIX) (void)setsockopt(fd, IPPROTO_UDP, UDP_GRO, &on, sizeof(on));
    if (family == AF_UNIX) hk_socket_unlink(address);
    if (bind(fd, (const struct sockaddr *)&address->addr, address->len) < 0) {
        int err = -errno;
        (void)close(fd);
        return err;
    }
    return fd;
}

int hk_udp_receive(int fd, struct hk_datagram *out, int count) {
    struct mmsghdr messages[HK_UDP_DATAGRAMS_MAX];
    struct iovec parts[HK_UDP_DATAGRAMS_MAX];
    _Alignas(struct cmsghdr) char controls[HK_UDP_DATAGRAMS_MAX][CONTROL_BYTES];
    if (count > HK_UDP_DATAGRAMS_MAX) count = HK_UDP_DATAGRAMS_MAX;
    memset(messages, 0, sizeof(messages));
    for (int i = 0; i < count; i++) {
        parts[i] = (struct iovec){ out[i].data, HK_UDP_BYTES_MAX };
        messages[i].msg_hdr.msg_iov = &parts[i];
        messages[i].msg_hdr.msg_iovlen = 1;
        messages[i].msg_hdr.msg_control = controls[i];
        messages[i].msg_hdr.msg_controllen = CONTROL_BYTES;
    }
    int got = recvmmsg(fd, messages, (unsigned)count, MSG_DONTWAIT, NULL);
    if (got < 0) return errno == EAGAIN || errno == EINTR ? 0 : -errno;
    for (int i = 0; i < got; i++) {
        out[i].bytes = messages[i].msg_len;
        out[i].segment = 0;
        struct msghdr *header = &messages[i].msg_hdr;
        for (struct cmsghdr *at = CMSG_FIRSTHDR(header); at != NULL; at = CMSG_NXTHDR(header, at)) {
            int size = 0;
            if (at->cmsg_level != IPPROTO_UDP || at->cmsg_type != UDP_GRO) continue;
            memcpy(&size, CMSG_DATA(at), sizeof(size));
            if (size > 0) out[i].segment = (size_t)size;
        }
    }
    return got;
}

uint64_t hk_udp_dropped(int fd) {
    uint32_t info[SK_MEMINFO_VARS] = { 0 };
    socklen_t bytes = sizeof(info);
    if (getsockopt(fd, SOL_SOCKET, SO_MEMINFO, info, &bytes) < 0) return 0;
    return info[SK_MEMINFO_DROPS];
}
