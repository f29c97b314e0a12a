/* Time and randomness from the system. Thread-safe. */
#ifndef HK_OS_CLOCK_H
#define HK_OS_CLOCK_H

#include <stddef.h>
#include <stdint.h>

/* Wall clock in ns / ms since 1970-01-01 UTC. */
int64_t hk_clock_realtime_ns(void);
int64_t hk_clock_realtime_ms(void);

/* Monotonic clock in ns, arbitrary origin. */
int64_t hk_clock_monotonic_ns(void);

/* CPU time of the whole process in ns. */
int64_t hk_clock_process_cpu_ns(void);

/* Fills `bytes` bytes with randomness fit for keys; aborts if the system has none. */
void hk_random(void *out, size_t bytes);

/* Sleeps about `ns`; may return early on a signal. */
void hk_sleep_ns(int64_t ns);

#endif
