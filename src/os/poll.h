/*
 * Waiting for many descriptors (epoll) and a descriptor that wakes a waiter (eventfd). Functions
 * return 0 or a count on success and a negative errno value on failure.
 */
#ifndef HK_OS_POLL_H
#define HK_OS_POLL_H

#include <stdint.h>

enum { HK_POLL_READ = 1, HK_POLL_WRITE = 2, HK_POLL_ERROR = 4 };

struct hk_poll_event {
    void *user;
    unsigned events; /* HK_POLL_ bits; ERROR: hung up or failed */
};

enum { HK_POLL_EVENTS_MAX = 256 };

/* A new poller, close-on-exec; closed with hk_poll_close. */
int hk_poll_open(void);
void hk_poll_close(int poll);

/* Watches `fd` (level-triggered) for HK_POLL_READ | HK_POLL_WRITE; `user` comes with its events. */
int hk_poll_add(int poll, int fd, unsigned events, void *user);
int hk_poll_change(int poll, int fd, unsigned events, void *user);
int hk_poll_remove(int poll, int fd);

/*
 * Waits at most `timeout_ns` (negative: for ever, 0: not at all) and stores up to `count`
 * (at most HK_POLL_EVENTS_MAX) events. Returns how many; 0 after a signal or the timeout.
 */
int hk_poll_wait(int poll, struct hk_poll_event *out, int count, int64_t timeout_ns);

/* A descriptor that becomes readable by hk_wake_raise (any thread) until hk_wake_take. */
int hk_wake_open(void);
void hk_wake_raise(int fd);
void hk_wake_take(int fd);

#endif
