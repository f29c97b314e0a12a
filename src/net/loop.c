/*
 * Event loop over the poller.
 *
 * (1) timers[0..timer_count) is a binary heap by at_ns; timers[i]->heap_at == i + 1.
 * (2) Tasks are an intrusive queue for many senders and one receiver: a sender exchanges `tail`
 *     and then links its predecessor; between the two the chain is torn, which the receiver takes
 *     for "not yet there". `stub` keeps the queue from ever being empty.
 * (3) A sender raises the wake-up only when it finds `sleeping` set. The loop sets it before it
 *     looks at `tail` for the last time; sender and loop both use sequential consistency there, so
 *     one of them sees the other.
 * (4) Queued work keeps the loop from sleeping: it polls without waiting while there is some.
 */
#include "net/loop.h"

#include "base/mem.h"
#include "os/clock.h"
#include "os/poll.h"

#include <errno.h>
#include <string.h>

enum { SPIN_NS = 50000, TASKS_PER_ROUND = 1024, ROUND_LONG_NS = 1000000 };

_Static_assert(HK_IO_READ == (int)HK_POLL_READ && HK_IO_WRITE == (int)HK_POLL_WRITE, "same bits");
_Static_assert(HK_IO_ERROR == (int)HK_POLL_ERROR, "same bits");

struct hk_loop {
    int poll;
    struct hk_io wake;
    enum hk_spin spin;
    int64_t now_ns;
    int64_t last_work_ns;
    struct hk_timer **timers;
    size_t timer_count, timer_capacity;
    struct hk_poll_event events[HK_POLL_EVENTS_MAX];
    int event_at, event_count; /* of this round; [event_at, event_count) are not handled yet */
    void (*round_end)(void *self);
    void *round_end_self;
    void (*on_turn)(void *self, enum hk_loop_source source, int64_t spent_ns);
    void *on_turn_self;
    void (*on_idle)(void *self);
    void *on_idle_self;
    int64_t turn_ns;                    /* when the turn began */
    struct hk_work *works, **works_end; /* FIFO */
    struct hk_task *head;               /* receiver's end of the task queue */
    struct hk_task stub;
    struct hk_loop_stats stats; /* written by the loop, read relaxed by any thread */
    uint64_t taken;             /* tasks run */
    char apart[64];             /* keeps the senders' writes off the loop's cache lines */
    struct hk_task *tail;       /* senders' end */
    uint64_t posted;            /* tasks posted, relaxed */
    bool sleeping, stop;
};

static void add_stat(uint64_t *stat, uint64_t value) {
    __atomic_store_n(stat, *stat + value, __ATOMIC_RELAXED);
}

static void max_stat(uint64_t *stat, uint64_t value) {
    if (value > *stat) __atomic_store_n(stat, value, __ATOMIC_RELAXED);
}

static void wake_ready(struct hk_io *io, unsigned events) {
    (void)events;
    hk_wake_take(io->fd);
}

hk_err hk_loop_create(enum hk_spin spin, struct hk_loop **out) {
    struct hk_loop *loop = hk_mem_alloc(1, sizeof(*loop));
    if (loop == NULL) return hk_fail(HK_E_NOMEM, "event loop: out of memory");
    loop->spin = spin;
    loop->head = loop->tail = &loop->stub;
    loop->works_end = &loop->works;
    loop->wake.ready = wake_ready;
    loop->wake.fd = -1;
    loop->now_ns = hk_clock_monotonic_ns();
    loop->poll = hk_poll_open();
    if (loop->poll >= 0) loop->wake.fd = hk_wake_open();
    int err = loop->poll < 0 ? loop->poll : loop->wake.fd;
    if (err >= 0) err = hk_poll_add(loop->poll, loop->wake.fd, HK_POLL_READ, &loop->wake);
    if (err < 0) {
        hk_loop_destroy(loop);
        return hk_fail(HK_E_IO, "event loop: %s", strerror(-err));
    }
    *out = loop;
    return HK_OK;
}

void hk_loop_destroy(struct hk_loop *loop) {
    if (loop == NULL) return;
    hk_poll_close(loop->wake.fd);
    hk_poll_close(loop->poll);
    hk_mem_free(loop->timers);
    hk_mem_free(loop);
}

/* A callback has returned: tells how long it took. */
static void end_turn(struct hk_loop *loop, enum hk_loop_source source) {
    if (loop->on_turn == NULL) return;
    int64_t now_ns = hk_clock_monotonic_ns();
    loop->on_turn(loop->on_turn_self, source, now_ns - loop->turn_ns);
    loop->turn_ns = now_ns;
}

/* Tasks: sender. */

static void push(struct hk_loop *loop, struct hk_task *task) {
    __atomic_store_n(&task->next, NULL, __ATOMIC_RELAXED);
    struct hk_task *before = __atomic_exchange_n(&loop->tail, task, __ATOMIC_SEQ_CST); /* (2) (3) */
    __atomic_store_n(&before->next, task, __ATOMIC_RELEASE); /* pairs with pop */
}

static void wake(struct hk_loop *loop) {
    if (!__atomic_load_n(&loop->sleeping, __ATOMIC_SEQ_CST)) return; /* (3) */
    if (__atomic_exchange_n(&loop->sleeping, false, __ATOMIC_SEQ_CST)) hk_wake_raise(loop->wake.fd);
}

void hk_loop_post(struct hk_loop *loop, struct hk_task *task) {
    (void)__atomic_add_fetch(&loop->posted, 1, __ATOMIC_RELAXED);
    push(loop, task);
    wake(loop);
}

void hk_loop_stop(struct hk_loop *loop) {
    __atomic_store_n(&loop->stop, true, __ATOMIC_SEQ_CST);
    wake(loop);
}

/* Tasks: receiver. */

static bool tasks_wait(struct hk_loop *loop) {
    return loop->head != &loop->stub ||
           __atomic_load_n(&loop->tail, __ATOMIC_SEQ_CST) != &loop->stub;
}

/* The oldest task, or NULL: none, or the chain is torn and will be whole in a moment. (2) */
static struct hk_task *pop(struct hk_loop *loop) {
    struct hk_task *head = loop->head;
    struct hk_task *next = __atomic_load_n(&head->next, __ATOMIC_ACQUIRE);
    if (head == &loop->stub) {
        if (next == NULL) return NULL;
        loop->head = head = next;
        next = __atomic_load_n(&head->next, __ATOMIC_ACQUIRE);
    }
    if (next == NULL) {
        if (__atomic_load_n(&loop->tail, __ATOMIC_ACQUIRE) != head) return NULL;
        push(loop, &loop->stub);
        next = __atomic_load_n(&head->next, __ATOMIC_ACQUIRE);
        if (next == NULL) return NULL;
    }
    loop->head = next;
    return head;
}

static unsigned run_tasks(struct hk_loop *loop) {
    unsigned count = 0;
    if (!tasks_wait(loop)) return 0;
    max_stat(
        &loop->stats.tasks_waiting_max,
        __atomic_load_n(&loop->posted, __ATOMIC_RELAXED) - loop->taken);
    while (count < TASKS_PER_ROUND) {
        struct hk_task *task = pop(loop);
        if (task == NULL) break;
        count++;
        loop->taken++;
        task->run(task);
        end_turn(loop, HK_LOOP_TASK);
    }
    return count;
}

/* Descriptors. */

hk_err hk_loop_watch(struct hk_loop *loop, struct hk_io *io, unsigned events) {
    int err = hk_poll_add(loop->poll, io->fd, events, io);
    return err < 0 ? hk_fail(HK_E_IO, "watch descriptor %d: %s", io->fd, strerror(-err)) : HK_OK;
}

hk_err hk_loop_rewatch(struct hk_loop *loop, struct hk_io *io, unsigned events) {
    int err = hk_poll_change(loop->poll, io->fd, events, io);
    return err < 0 ? hk_fail(HK_E_IO, "watch descriptor %d: %s", io->fd, strerror(-err)) : HK_OK;
}

void hk_loop_unwatch(struct hk_loop *loop, struct hk_io *io) {
    (void)hk_poll_remove(loop->poll, io->fd);
    for (int i = loop->event_at; i < loop->event_count; i++) {
        if (loop->events[i].user == io) loop->events[i].user = NULL;
    }
}

static void run_events(struct hk_loop *loop) {
    while (loop->event_at < loop->event_count) {
        struct hk_poll_event event = loop->events[loop->event_at++];
        struct hk_io *io = event.user;
        if (io == NULL) continue;
        io->ready(io, event.events);
        end_turn(loop, HK_LOOP_IO);
    }
}

/* Timers. */

static void heap_put(struct hk_loop *loop, size_t at, struct hk_timer *timer) {
    loop->timers[at] = timer;
    timer->heap_at = (uint32_t)at + 1;
}

static void sift_up(struct hk_loop *loop, size_t at) {
    struct hk_timer *timer = loop->timers[at];
    while (at > 0) {
        size_t parent = (at - 1) / 2;
        if (loop->timers[parent]->at_ns <= timer->at_ns) break;
        heap_put(loop, at, loop->timers[parent]);
        at = parent;
    }
    heap_put(loop, at, timer);
}

static void sift_down(struct hk_loop *loop, size_t at) {
    struct hk_timer *timer = loop->timers[at];
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= loop->timer_count) break;
        if (child + 1 < loop->timer_count &&
            loop->timers[child + 1]->at_ns < loop->timers[child]->at_ns)
            child++;
        if (timer->at_ns <= loop->timers[child]->at_ns) break;
        heap_put(loop, at, loop->timers[child]);
        at = child;
    }
    heap_put(loop, at, timer);
}

hk_err hk_loop_arm(struct hk_loop *loop, struct hk_timer *timer, int64_t at_ns) {
    if (timer->heap_at == 0) {
        size_t count = loop->timer_count;
        HK_TRY(hk_mem_grow(
            &loop->timers, &loop->timer_capacity, count + 1, sizeof(struct hk_timer *)));
        timer->at_ns = at_ns;
        loop->timers[count] = timer;
        loop->timer_count++;
        sift_up(loop, count);
        return HK_OK;
    }
    size_t at = timer->heap_at - 1;
    hk_assert(at < loop->timer_count && loop->timers[at] == timer); /* (1) */
    bool earlier = at_ns < timer->at_ns;
    timer->at_ns = at_ns;
    if (earlier)
        sift_up(loop, at);
    else
        sift_down(loop, at);
    return HK_OK;
}

void hk_loop_disarm(struct hk_loop *loop, struct hk_timer *timer) {
    if (timer->heap_at == 0) return;
    size_t at = timer->heap_at - 1;
    hk_assert(at < loop->timer_count && loop->timers[at] == timer); /* (1) */
    timer->heap_at = 0;
    struct hk_timer *last = loop->timers[--loop->timer_count];
    if (last == timer) return;
    heap_put(loop, at, last);
    sift_up(loop, at);
    sift_down(loop, last->heap_at - 1);
}

/* Fires what is due now; what is armed again for a past time waits for the next round. */
static unsigned run_timers(struct hk_loop *loop) {
    unsigned count = 0;
    size_t budget = loop->timer_count;
    while (loop->timer_count > 0 && budget-- > 0) {
        struct hk_timer *timer = loop->timers[0];
        if (timer->at_ns > loop->now_ns) break;
        hk_loop_disarm(loop, timer);
        count++;
        timer->fire(timer);
        end_turn(loop, HK_LOOP_TIMER);
    }
    return count;
}

/* Work. */

void hk_loop_work(struct hk_loop *loop, struct hk_work *work) {
    if (work->queued) return;
    work->queued = true;
    work->next = NULL;
    *loop->works_end = work;
    loop->works_end = &work->next;
}

void hk_loop_unwork(struct hk_loop *loop, struct hk_work *work) {
    if (!work->queued) return;
    struct hk_work **at = &loop->works;
    while (*at != work)
        at = &(*at)->next;
    *at = work->next;
    if (loop->works_end == &work->next) loop->works_end = at;
    work->queued = false;
}

static unsigned run_works(struct hk_loop *loop) {
    unsigned count = 0;
    if (loop->works == NULL) return 0;
    int64_t until_ns = hk_clock_monotonic_ns() + HK_LOOP_WORK_NS;
    do {
        struct hk_work *work = loop->works;
        hk_loop_unwork(loop, work);
        count++;
        if (work->turn(work)) hk_loop_work(loop, work);
        end_turn(loop, HK_LOOP_WORK);
    } while (loop->works != NULL && hk_clock_monotonic_ns() < until_ns);
    return count;
}

/* Rounds. */

static int64_t wait_ns(struct hk_loop *loop) {
    if (loop->spin == HK_SPIN_ALWAYS || loop->works != NULL) return 0; /* (4) */
    int64_t now_ns = hk_clock_monotonic_ns();
    if (loop->spin == HK_SPIN_ADAPTIVE && now_ns - loop->last_work_ns < SPIN_NS) return 0;
    if (loop->timer_count == 0) return -1;
    int64_t wait = loop->timers[0]->at_ns - now_ns;
    return wait < 0 ? 0 : wait;
}

static void wait_for_events(struct hk_loop *loop) {
    int64_t timeout_ns = wait_ns(loop);
    if (timeout_ns != 0) {
        __atomic_store_n(&loop->sleeping, true, __ATOMIC_SEQ_CST); /* (3) */
        if (tasks_wait(loop) || __atomic_load_n(&loop->stop, __ATOMIC_SEQ_CST)) timeout_ns = 0;
    }
    int got = hk_poll_wait(loop->poll, loop->events, HK_POLL_EVENTS_MAX, timeout_ns);
    __atomic_store_n(&loop->sleeping, false, __ATOMIC_RELAXED);
    loop->event_at = 0;
    loop->event_count = got < 0 ? 0 : got;
    loop->now_ns = loop->turn_ns = hk_clock_monotonic_ns();
}

static void run_round(struct hk_loop *loop) {
    wait_for_events(loop);
    unsigned work = (unsigned)loop->event_count;
    run_events(loop);
    work += run_timers(loop);
    work += run_tasks(loop);
    work += run_works(loop);
    if (work == 0) {
        if (loop->on_idle != NULL) loop->on_idle(loop->on_idle_self);
        return;
    }
    if (loop->round_end != NULL) {
        loop->round_end(loop->round_end_self);
        end_turn(loop, HK_LOOP_ROUND_END);
    }
    loop->last_work_ns = hk_clock_monotonic_ns();
    uint64_t spent_ns = (uint64_t)(loop->last_work_ns - loop->now_ns);
    add_stat(&loop->stats.rounds, 1);
    add_stat(&loop->stats.wakeups_ns_total, spent_ns);
    max_stat(&loop->stats.round_ns_max, spent_ns);
    if (spent_ns > ROUND_LONG_NS) add_stat(&loop->stats.rounds_over_1ms, 1);
}

void hk_loop_run(struct hk_loop *loop) {
    while (!__atomic_exchange_n(&loop->stop, false, __ATOMIC_ACQ_REL)) {
        run_round(loop);
    }
}

int64_t hk_loop_now_ns(const struct hk_loop *loop) {
    return loop->now_ns;
}

void hk_loop_on_round_end(struct hk_loop *loop, void (*hook)(void *self), void *self) {
    loop->round_end = hook;
    loop->round_end_self = self;
}

void hk_loop_on_turn(
    struct hk_loop *loop, void (*hook)(void *self, enum hk_loop_source source, int64_t spent_ns),
    void *self) {
    loop->on_turn = hook;
    loop->on_turn_self = self;
}

void hk_loop_on_idle(struct hk_loop *loop, void (*hook)(void *self), void *self) {
    loop->on_idle = hook;
    loop->on_idle_self = self;
}

void hk_loop_get_stats(const struct hk_loop *loop, struct hk_loop_stats *out) {
    const struct hk_loop_stats *from = &loop->stats;
    out->rounds = __atomic_load_n(&from->rounds, __ATOMIC_RELAXED);
    out->wakeups_ns_total = __atomic_load_n(&from->wakeups_ns_total, __ATOMIC_RELAXED);
    out->round_ns_max = __atomic_load_n(&from->round_ns_max, __ATOMIC_RELAXED);
    out->rounds_over_1ms = __atomic_load_n(&from->rounds_over_1ms, __ATOMIC_RELAXED);
    out->tasks_waiting_max = __atomic_load_n(&from->tasks_waiting_max, __ATOMIC_RELAXED);
}
