/*
 * Shortest decimal digits of doubles, after R. Giulietti, "The Schubfach way to render doubles":
 * of the decimals 10^k apart, with 10^k just below the width of the interval that rounds to the
 * value, at most two lie next to it; a multiple of 10^(k+1) in the interval is shorter.
 */
#include "base/digits.h"

#include "base/digits_powers.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FRACTION_BITS = 52, EXPONENT_BIAS = 1075 };

__extension__ typedef unsigned __int128 wide;

static const char pairs[] = "00010203040506070809101112131415161718192021222324252627282930313233"
                            "34353637383940414243444546474849505152535455565758596061626364656667"
                            "68697071727374757677787980818283848586878889909192939495969798"
                            "99";

size_t hk_digits_u64(uint64_t value, char *out) {
    char text[HK_DIGITS_MAX];
    size_t at = sizeof(text);
    while (value >= 100) {
        memcpy(text + (at -= 2), pairs + value % 100 * 2, 2);
        value /= 100;
    }
    if (value >= 10)
        memcpy(text + (at -= 2), pairs + value * 2, 2);
    else
        text[--at] = (char)('0' + value);
    memcpy(out, text + at, sizeof(text) - at);
    return sizeof(text) - at;
}

/* As hk_digits_double for values whose power of ten is not in the table. */
static size_t digits_by_trial(double value, char *out, int *out_exponent) {
    char text[64];
    for (int precision = 0; precision < 17; precision++) {
        (void)snprintf(text, sizeof(text), "%.*e", precision, value);
        if (precision == 16 || strtod(text, NULL) == value) break;
    }
    size_t count = 0;
    const char *at = text;
    for (; *at != 0 && *at != 'e'; at++) {
        if (*at >= '0' && *at <= '9' && count < HK_DIGITS_MAX) out[count++] = *at;
    }
    *out_exponent = *at == 'e' ? (int)strtol(at + 1, NULL, 10) : 0;
    while (count > 1 && out[count - 1] == '0')
        count--;
    return count;
}

/* floor(power × factor / 2^128), with its last bit set when the fraction is not next to 0. */
static uint64_t scale(const uint64_t power[2], uint64_t factor) {
    wide low = (wide)power[1] * factor;
    wide high = (wide)power[0] * factor + (uint64_t)(low >> 64);
    return (uint64_t)(high >> 64) | ((uint64_t)high > 1);
}

/* The shortest decimal × 10^k in the interval of c × 2^q; false when the table ends before. */
static bool shortest(uint64_t c, int q, bool narrow_below, uint64_t *out, int *out_k) {
    /* floor(log10(2^q)), or of 3/4 of it; shifts of negative numbers round down. */
    int k = (q * 1262611 - (narrow_below ? 524031 : 0)) >> 22;
    if (-k < HK_POWERS_MIN || -k > HK_POWERS_MAX) return false;
    int shift = q + ((-k * 1741647) >> 19) + 1; /* 1 to 4 */
    const uint64_t *power = hk_powers_of_ten[-k - HK_POWERS_MIN];
    bool odd = (c & 1) != 0; /* the ends of the interval round to the even neighbour */
    uint64_t middle = scale(power, (4 * c) << shift);
    uint64_t lower = scale(power, (4 * c - 2 + narrow_below) << shift) + odd;
    uint64_t upper = scale(power, (4 * c + 2) << shift) - odd;
    uint64_t below = middle / 4;
    if (below >= 10) {
        uint64_t tens = below / 10;
        bool down = lower <= 40 * tens;
        bool up = 40 * tens + 40 <= upper;
        if (down != up) {
            *out = tens + up;
            *out_k = k + 1;
            return true;
        }
    }
    bool down = lower <= 4 * below;
    bool up = 4 * below + 4 <= upper;
    bool nearer_up = middle > 4 * below + 2 || (middle == 4 * below + 2 && (below & 1) != 0);
    *out = below + (down != up ? up : nearer_up);
    *out_k = k;
    return true;
}

size_t hk_digits_double(double value, char *out, int *out_exponent) {
    uint64_t bits = 0;
    memcpy(&bits, &value, sizeof(bits));
    uint64_t fraction = bits & ((1ULL << FRACTION_BITS) - 1);
    int exponent = (int)(bits >> FRACTION_BITS & 2047);
    uint64_t c = exponent == 0 ? fraction : fraction | 1ULL << FRACTION_BITS;
    int q = (exponent == 0 ? 1 : exponent) - EXPONENT_BIAS;
    uint64_t decimal = 0;
    int k = 0;
    if (!shortest(c, q, fraction == 0 && exponent > 1, &decimal, &k)) {
        return digits_by_trial(value, out, out_exponent);
    }
    size_t count = hk_digits_u64(decimal, out);
    *out_exponent = k + (int)count - 1;
    while (count > 1 && out[count - 1] == '0')
        count--;
    return count;
}
