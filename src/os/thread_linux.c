/* Threads on Linux. */
#include "os/thread.h"

#include <errno.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

struct start {
    void (*run)(void *arg);
    void *arg;
    char name[16];
};

static void *thread_main(void *arg) {
    struct start start = *(struct start *)arg;
    free(arg);
    (void)pthread_setname_np(pthread_self(), start.name);
    start.run(start.arg);
    return NULL;
}

int hk_thread_start(struct hk_thread *thread, const char *name, void (*run)(void *arg), void *arg) {
    struct start *start = calloc(1, sizeof(*start));
    if (start == NULL) return -ENOMEM;
    start->run = run;
    start->arg = arg;
    strncpy(start->name, name, sizeof(start->name) - 1);
    sigset_t all;
    sigset_t old;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &old);
    int err = pthread_create(&thread->id, NULL, thread_main, start);
    (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (err != 0) {
        free(start);
        return -err;
    }
    thread->running = true;
    return 0;
}

void hk_thread_join(struct hk_thread *thread) {
    if (!thread->running) return;
    (void)pthread_join(thread->id, NULL);
    thread->running = false;
}

int hk_thread_pin(unsigned cpu) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    return -pthread_setaffinity_np(pthread_self(), sizeof(set), &set);
}

void hk_thread_lower_priority(int nice_value) {
    const struct sched_param none = { 0 };
    (void)sched_setscheduler(0, SCHED_BATCH, &none);
    (void)setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), nice_value);
}

void hk_thread_yield(void) {
    (void)sched_yield();
}

unsigned hk_cpu_count(void) {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof(set), &set) < 0) return 1;
    int count = CPU_COUNT(&set);
    return count < 1 ? 1 : (unsigned)count;
}

void hk_mutex_init(struct hk_mutex *mutex) {
    (void)pthread_mutex_init(&mutex->lock, NULL);
}

void hk_mutex_deinit(struct hk_mutex *mutex) {
    (void)pthread_mutex_destroy(&mutex->lock);
}

void hk_mutex_lock(struct hk_mutex *mutex) {
    (void)pthread_mutex_lock(&mutex->lock);
}

void hk_mutex_unlock(struct hk_mutex *mutex) {
    (void)pthread_mutex_unlock(&mutex->lock);
}

void hk_rwlock_init(struct hk_rwlock *lock) {
    pthread_rwlockattr_t attr;
    (void)pthread_rwlockattr_init(&attr);
    (void)pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    (void)pthread_rwlock_init(&lock->lock, &attr);
    (void)pthread_rwlockattr_destroy(&attr);
}

void hk_rwlock_deinit(struct hk_rwlock *lock) {
    (void)pthread_rwlock_destroy(&lock->lock);
}

void hk_rwlock_read(struct hk_rwlock *lock) {
    (void)pthread_rwlock_rdlock(&lock->lock);
}

void hk_rwlock_write(struct hk_rwlock *lock) {
    (void)pthread_rwlock_wrlock(&lock->lock);
}

void hk_rwlock_unlock(struct hk_rwlock *lock) {
    (void)pthread_rwlock_unlock(&lock->lock);
}

enum { EVENT_IDLE, EVENT_RAISED, EVENT_ASLEEP };

void hk_event_init(struct hk_event *event) {
    atomic_init(&event->state, EVENT_IDLE);
}

void hk_event_deinit(struct hk_event *event) {
    (void)event;
}

/* What came before the raise is visible to who waited: both exchanges are acquire and release. */
void hk_event_raise(struct hk_event *event) {
    uint32_t before = atomic_exchange_explicit(&event->state, EVENT_RAISED, memory_order_acq_rel);
    if (before != EVENT_ASLEEP) return;
    (void)syscall(SYS_futex, &event->state, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

bool hk_event_wait(struct hk_event *event, int64_t timeout_ns) {
    struct timespec until = { 0 };
    if (timeout_ns >= 0) {
        (void)clock_gettime(CLOCK_MONOTONIC, &until);
        int64_t end_ns = (int64_t)until.tv_nsec + timeout_ns % 1000000000;
        until.tv_sec += (time_t)(timeout_ns / 1000000000 + end_ns / 1000000000);
        until.tv_nsec = (long)(end_ns % 1000000000);
    }
    uint32_t state = EVENT_IDLE;
    bool asleep = atomic_compare_exchange_strong_explicit(
        &event->state, &state, EVENT_ASLEEP, memory_order_acq_rel, memory_order_acquire);
    while (asleep) {
        long result = syscall(
            SYS_futex, &event->state, FUTEX_WAIT_BITSET_PRIVATE, EVENT_ASLEEP,
            timeout_ns < 0 ? NULL : &until, NULL, FUTEX_BITSET_MATCH_ANY);
        asleep = atomic_load_explicit(&event->state, memory_order_acquire) == EVENT_ASLEEP &&
                 !(result < 0 && errno == ETIMEDOUT);
    }
    return atomic_exchange_explicit(&event->state, EVENT_IDLE, memory_order_acq_rel) ==
           EVENT_RAISED;
}
