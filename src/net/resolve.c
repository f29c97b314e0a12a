/*
 * The helper thread and the loop share one object with two owners; whoever is last frees it. The
 * thread never touches the loop: it raises a descriptor that the loop watches.
 */
#include "net/resolve.h"

#include "base/mem.h"
#include "os/poll.h"
#include "os/thread.h"

#include <string.h>

struct hk_resolve {
    struct hk_io io; /* its descriptor is raised when the answer is there */
    struct hk_loop *loop;
    void (*done)(void *self, const struct hk_sockaddr *addresses, int count);
    void *self;
    char *host;
    uint16_t port;
    int owners; /* atomic: thread and loop */
    int count;  /* atomic; written by the thread before the descriptor is raised */
    struct hk_sockaddr addresses[HK_RESOLVE_MAX];
};

static void release(struct hk_resolve *resolve) {
    if (__atomic_sub_fetch(&resolve->owners, 1, __ATOMIC_ACQ_REL) > 0) return;
    hk_poll_close(resolve->io.fd);
    hk_mem_free(resolve->host);
    hk_mem_free(resolve);
}

static void resolve_thread(void *arg) {
    struct hk_resolve *resolve = arg;
    int count =
        hk_sockaddr_resolve(resolve->host, resolve->port, resolve->addresses, HK_RESOLVE_MAX);
    __atomic_store_n(&resolve->count, count, __ATOMIC_RELEASE); /* pairs with answered */
    hk_wake_raise(resolve->io.fd);
    release(resolve);
}

static void answered(struct hk_io *io, unsigned events) {
    struct hk_resolve *resolve = (void *)((char *)io - offsetof(struct hk_resolve, io));
    (void)events;
    hk_loop_unwatch(resolve->loop, io);
    int count = __atomic_load_n(&resolve->count, __ATOMIC_ACQUIRE); /* pairs with the thread */
    resolve->done(resolve->self, resolve->addresses, count);
    release(resolve);
}

hk_err hk_resolve_begin(
    struct hk_loop *loop, const char *host, uint16_t port,
    void (*done)(void *self, const struct hk_sockaddr *addresses, int count), void *self,
    struct hk_resolve **out) {
    struct hk_resolve *resolve = hk_mem_alloc(1, sizeof(*resolve));
    if (resolve == NULL) return hk_fail(HK_E_NOMEM, "resolve %s: out of memory", host);
    *resolve = (struct hk_resolve){
        .io = { hk_wake_open(), answered },
        .loop = loop,
        .done = done,
        .self = self,
        .host = hk_mem_copy(host, strlen(host)),
        .port = port,
        .owners = 1,
    };
    hk_err err = HK_OK;
    if (resolve->host == NULL || resolve->io.fd < 0)
        err = hk_fail(HK_E_NOMEM, "resolve %s: out of memory or descriptors", host);
    if (err == HK_OK) err = hk_loop_watch(loop, &resolve->io, HK_IO_READ);
    if (err == HK_OK) {
        struct hk_thread thread = { 0 };
        resolve->owners = 2;
        if (hk_thread_start(&thread, "hark-resolve", resolve_thread, resolve) < 0) {
            resolve->owners = 1;
            hk_loop_unwatch(loop, &resolve->io);
            err = hk_fail(HK_E_IO, "resolve %s: cannot start a thread", host);
        } else {
            (void)pthread_detach(thread.id);
        }
    }
    if (err < 0) {
        release(resolve);
        return err;
    }
    *out = resolve;
    return HK_OK;
}

void hk_resolve_cancel(struct hk_resolve *resolve) {
    if (resolve == NULL) return;
    hk_loop_unwatch(resolve->loop, &resolve->io);
    release(resolve);
}
