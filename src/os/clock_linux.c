/* Time and randomness on Linux. */
#include "os/clock.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>

static int64_t read_clock(clockid_t id) {
    struct timespec now = { 0 };
    (void)clock_gettime(id, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

int64_t hk_clock_realtime_ns(void) {
    return read_clock(CLOCK_REALTIME);
}

int64_t hk_clock_realtime_ms(void) {
    return read_clock(CLOCK_REALTIME) / 1000000;
}

int64_t hk_clock_monotonic_ns(void) {
    return read_clock(CLOCK_MONOTONIC);
}

int64_t hk_clock_process_cpu_ns(void) {
    return read_clock(CLOCK_PROCESS_CPUTIME_ID);
}

void hk_random(void *out, size_t bytes) {
    unsigned char *at = out;
    while (bytes > 0) {
        ssize_t got = getrandom(at, bytes, 0);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) abort();
        at += got;
        bytes -= (size_t)got;
    }
}

void hk_sleep_ns(int64_t ns) {
    if (ns <= 0) return;
    struct timespec wait = { ns / 1000000000, ns % 1000000000 };
    (void)nanosleep(&wait, NULL);
}
