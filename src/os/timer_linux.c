/* Timer descriptors on Linux. */
#include "os/timer.h"

#include <errno.h>
#include <sys/timerfd.h>

int hk_timer_create(void) {
    int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    return fd < 0 ? -errno : fd;
}

int hk_timer_arm(int fd, int64_t at_ns) {
    struct itimerspec when = { .it_value = { 0, 0 } };
    if (at_ns != INT64_MAX) {
        if (at_ns < 1) at_ns = 1; /* zero would disarm */
        when.it_value.tv_sec = at_ns / 1000000000;
        when.it_value.tv_nsec = at_ns % 1000000000;
    }
    return timerfd_settime(fd, TFD_TIMER_ABSTIME, &when, NULL) < 0 ? -errno : 0;
}
