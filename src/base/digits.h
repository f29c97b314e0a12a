/*
 * Numbers to decimal digits, without the C library: what answers with many samples spend their time
 * on. Pure; any thread.
 */
#ifndef HK_BASE_DIGITS_H
#define HK_BASE_DIGITS_H

#include <stddef.h>
#include <stdint.h>

enum { HK_DIGITS_MAX = 20 };

/* Decimal digits of `value`, not terminated: at most HK_DIGITS_MAX. Gives their number. */
size_t hk_digits_u64(uint64_t value, char *out);

/*
 * The shortest digits that read back as `value` (finite, > 0), of those the nearest to it:
 * d.ddd × 10^*out_exponent, no zeros at the end, not terminated, at most HK_DIGITS_MAX. Gives their
 * number.
 */
size_t hk_digits_double(double value, char *out, int *out_exponent);

#endif
