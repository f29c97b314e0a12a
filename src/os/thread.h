/* Threads, mutexes and events. Locks are for control paths and workers, never for shards. */
#ifndef HK_OS_THREAD_H
#define HK_OS_THREAD_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct hk_thread {
    pthread_t id;
    bool running;
};

/*
 * Starts `run(arg)` on a new thread called `name` (15 bytes at most) with all signals blocked.
 * 0 or a negative errno.
 */
int hk_thread_start(struct hk_thread *thread, const char *name, void (*run)(void *arg), void *arg);

/* Waits for the thread's end; does nothing if it was never started. */
void hk_thread_join(struct hk_thread *thread);

/* Pins the calling thread to one processor; negative errno when that is not allowed. */
int hk_thread_pin(unsigned cpu);

/* Lowers the calling thread's priority (nice value for this thread), and it no longer interrupts
 * another one when it wakes up (batch scheduling). */
void hk_thread_lower_priority(int nice);

/* Lets another thread of this processor run, if one waits. */
void hk_thread_yield(void);

/* Processors this process may use. */
unsigned hk_cpu_count(void);

struct hk_mutex {
    pthread_mutex_t lock;
};

void hk_mutex_init(struct hk_mutex *mutex);
void hk_mutex_deinit(struct hk_mutex *mutex);
void hk_mutex_lock(struct hk_mutex *mutex);
void hk_mutex_unlock(struct hk_mutex *mutex);

struct hk_rwlock {
    pthread_rwlock_t lock;
};

void hk_rwlock_init(struct hk_rwlock *lock);
void hk_rwlock_deinit(struct hk_rwlock *lock);
void hk_rwlock_read(struct hk_rwlock *lock);
void hk_rwlock_write(struct hk_rwlock *lock);
void hk_rwlock_unlock(struct hk_rwlock *lock);

/* A wake-up that one thread waits for and any thread raises; no system call unless it sleeps. */
struct hk_event {
    _Atomic uint32_t state;
};

void hk_event_init(struct hk_event *event);
void hk_event_deinit(struct hk_event *event);

/* Wakes the waiter (or lets its next wait return at once). */
void hk_event_raise(struct hk_event *event);

/* Waits until raised since the last wait, at most `timeout_ns` (negative: for ever). True = raised.
 */
bool hk_event_wait(struct hk_event *event, int64_t timeout_ns);

#endif
