/* A descriptor that becomes readable at a monotonic time: for loops that are not ours. */
#ifndef HK_OS_TIMER_H
#define HK_OS_TIMER_H

#include <stdint.h>

/* A new timer, not armed; negative errno. Close with hk_file_close. */
int hk_timer_create(void);

/* Readable from the monotonic time `at_ns` on; INT64_MAX disarms. Clears an earlier expiry. */
int hk_timer_arm(int fd, int64_t at_ns);

#endif
