/*
 * Event loop: one thread, epoll, timers, and messages from other threads. Everything below but
 * hk_loop_post() and hk_loop_stop() must be called on the loop's own thread (or before it runs).
 * Callbacks must not block and should return within tens of microseconds.
 */
#ifndef HK_NET_LOOP_H
#define HK_NET_LOOP_H

#include "base/err.h"

#include <stdbool.h>

struct hk_loop;

enum hk_spin { HK_SPIN_OFF, HK_SPIN_ADAPTIVE, HK_SPIN_ALWAYS };

enum { HK_IO_READ = 1, HK_IO_WRITE = 2, HK_IO_ERROR = 4 };

/* Time of queued work in a round. */
enum { HK_LOOP_WORK_NS = 20000 };

/* A watched descriptor; embedded in its owner, stays at its address while watched. */
struct hk_io {
    int fd;
    void (*ready)(struct hk_io *io, unsigned events); /* HK_IO_ bits */
};

/* A timer; embedded in its owner. `fire` may arm it again. Zero-initialise before first use. */
struct hk_timer {
    void (*fire)(struct hk_timer *timer);
    int64_t at_ns;    /* monotonic */
    uint32_t heap_at; /* private: place in the heap plus one, 0 = not armed */
};

/* A message from any thread: `run` is called on the loop. Owned by the sender until then. */
struct hk_task {
    void (*run)(struct hk_task *task);
    struct hk_task *next; /* private */
};

/* Work that is done in turns between the events; embedded in its owner. Zero-initialise before use.
 * `turn` does a part of at most some tens of microseconds; true: there is more to do. */
struct hk_work {
    bool (*turn)(struct hk_work *work);
    struct hk_work *next; /* private */
    bool queued;          /* private */
};

/* What a turn of the loop was spent on. */
enum hk_loop_source { HK_LOOP_IO, HK_LOOP_TIMER, HK_LOOP_TASK, HK_LOOP_WORK, HK_LOOP_ROUND_END };

hk_err hk_loop_create(enum hk_spin spin, struct hk_loop **out) HK_MUST_CHECK;
void hk_loop_destroy(struct hk_loop *loop);

/* Runs until hk_loop_stop(). */
void hk_loop_run(struct hk_loop *loop);

/* Any thread: makes hk_loop_run return after the current round. */
void hk_loop_stop(struct hk_loop *loop);

/* Any thread: `task->run` is called on the loop, in the order posted. Wait-free for the sender. */
void hk_loop_post(struct hk_loop *loop, struct hk_task *task);

/* Watches `io->fd` (edge or level is the loop's choice: `ready` must read or write until EAGAIN or
 * come back by itself). `events`: HK_IO_READ | HK_IO_WRITE. */
hk_err hk_loop_watch(struct hk_loop *loop, struct hk_io *io, unsigned events) HK_MUST_CHECK;

/* Changes the events of a watched descriptor. */
hk_err hk_loop_rewatch(struct hk_loop *loop, struct hk_io *io, unsigned events) HK_MUST_CHECK;

/* Stops watching; no further `ready`, not even in this round. The descriptor stays open. */
void hk_loop_unwatch(struct hk_loop *loop, struct hk_io *io);

/* Arms or re-arms: fires once at or after the monotonic time `at_ns`. HK_E_NOMEM. */
hk_err hk_loop_arm(struct hk_loop *loop, struct hk_timer *timer, int64_t at_ns) HK_MUST_CHECK;

/* Disarms; fine if not armed. */
void hk_loop_disarm(struct hk_loop *loop, struct hk_timer *timer);

/* Queues work behind what waits already (nothing happens if it is queued). In each round, after
 * events, timers and tasks, works take turns, one after the other, for about HK_LOOP_WORK_NS; then
 * the loop looks at its descriptors again. */
void hk_loop_work(struct hk_loop *loop, struct hk_work *work);

/* Takes work out of the queue; fine if it is not in it. Not from inside of its `turn`. */
void hk_loop_unwork(struct hk_loop *loop, struct hk_work *work);

/* Monotonic time at the start of this round, ns. */
int64_t hk_loop_now_ns(const struct hk_loop *loop);

/* Called at the end of every round that did work (group commit, flushing of outputs). One hook. */
void hk_loop_on_round_end(struct hk_loop *loop, void (*hook)(void *self), void *self);

/* Called after every callback with the time it took. One hook; it must be short. */
void hk_loop_on_turn(
    struct hk_loop *loop, void (*hook)(void *self, enum hk_loop_source source, int64_t spent_ns),
    void *self);

/* Called in a round that found nothing to do while the loop spins. One hook. */
void hk_loop_on_idle(struct hk_loop *loop, void (*hook)(void *self), void *self);

struct hk_loop_stats {
    uint64_t rounds, wakeups_ns_total; /* time spent working, ns */
    uint64_t round_ns_max, rounds_over_1ms;
    uint64_t tasks_waiting_max;
};

/* Any thread: relaxed snapshot of the counters. */
void hk_loop_get_stats(const struct hk_loop *loop, struct hk_loop_stats *out);

#endif
