/* Poller and wake-up descriptor on Linux. */
#include "os/poll.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

int hk_poll_open(void) {
    int fd = epoll_create1(EPOLL_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

void hk_poll_close(int poll) {
    if (poll >= 0) (void)close(poll);
}

static int control(int poll, int op, int fd, unsigned events, void *user) {
    struct epoll_event event = { .data.ptr = user };
    if ((events & HK_POLL_READ) != 0) event.events |= EPOLLIN;
    if ((events & HK_POLL_WRITE) != 0) event.events |= EPOLLOUT;
    return epoll_ctl(poll, op, fd, &event) < 0 ? -errno : 0;
}

int hk_poll_add(int poll, int fd, unsigned events, void *user) {
    return control(poll, EPOLL_CTL_ADD, fd, events, user);
}

int hk_poll_change(int poll, int fd, unsigned events, void *user) {
    return control(poll, EPOLL_CTL_MOD, fd, events, user);
}

int hk_poll_remove(int poll, int fd) {
    return control(poll, EPOLL_CTL_DEL, fd, 0, NULL);
}

/* epoll_pwait2 has nanoseconds; a kernel or sandbox without it gets milliseconds, rounded up. */
static int wait_events(int poll, struct epoll_event *events, int count, int64_t timeout_ns) {
    static int no_pwait2;
    if (timeout_ns <= 0) return epoll_wait(poll, events, count, timeout_ns < 0 ? -1 : 0);
    if (__atomic_load_n(&no_pwait2, __ATOMIC_RELAXED) == 0) {
        struct timespec timeout = { timeout_ns / 1000000000, timeout_ns % 1000000000 };
        int got = epoll_pwait2(poll, events, count, &timeout, NULL);
        if (got >= 0 || (errno != ENOSYS && errno != EPERM)) return got;
        __atomic_store_n(&no_pwait2, 1, __ATOMIC_RELAXED);
    }
    int64_t timeout_ms = timeout_ns / 1000000 + (timeout_ns % 1000000 != 0);
    return epoll_wait(poll, events, count, timeout_ms > 60000 ? 60000 : (int)timeout_ms);
}

int hk_poll_wait(int poll, struct hk_poll_event *out, int count, int64_t timeout_ns) {
    struct epoll_event events[HK_POLL_EVENTS_MAX];
    if (count > HK_POLL_EVENTS_MAX) count = HK_POLL_EVENTS_MAX;
    int got = wait_events(poll, events, count, timeout_ns);
    if (got < 0) return errno == EINTR ? 0 : -errno;
    for (int i = 0; i < got; i++) {
        unsigned bits = 0;
        if ((events[i].events & EPOLLIN) != 0) bits |= HK_POLL_READ;
        if ((events[i].events & EPOLLOUT) != 0) bits |= HK_POLL_WRITE;
        if ((events[i].events & (EPOLLERR | EPOLLHUP)) != 0) bits |= HK_POLL_ERROR;
        out[i] = (struct hk_poll_event){ events[i].data.ptr, bits };
    }
    return got;
}

int hk_wake_open(void) {
    int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

void hk_wake_raise(int fd) {
    uint64_t one = 1;
    ssize_t done = 0;
    do {
        done = write(fd, &one, sizeof(one));
    } while (done < 0 && errno == EINTR);
}

void hk_wake_take(int fd) {
    uint64_t count = 0;
    ssize_t done = 0;
    do {
        done = read(fd, &count, sizeof(count));
    } while (done < 0 && errno == EINTR);
}
