/*
 * Host names to addresses without blocking the loop: numeric addresses and "localhost" at once,
 * others by the system's resolver on a helper thread.
 */
#ifndef HK_NET_RESOLVE_H
#define HK_NET_RESOLVE_H

#include "net/loop.h"
#include "os/socket.h"

enum { HK_RESOLVE_MAX = 8 };

struct hk_resolve;

/*
 * Asks for `host` (copied, NUL-terminated). When it cannot be answered at once, `done` is called
 * on the loop with `self`, `count` addresses (negative errno on failure) borrowed for the call;
 * the question is over then. HK_OK: the thread is at work. HK_E_NOMEM, HK_E_IO: it is not.
 */
hk_err hk_resolve_begin(
    struct hk_loop *loop, const char *host, uint16_t port,
    void (*done)(void *self, const struct hk_sockaddr *addresses, int count), void *self,
    struct hk_resolve **out) HK_MUST_CHECK;

/* Forgets the question; `done` will not be called. NULL is fine. */
void hk_resolve_cancel(struct hk_resolve *resolve);

#endif
