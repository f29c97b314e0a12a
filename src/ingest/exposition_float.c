/* Canonical numbers of OpenMetrics ("Considerations: Canonical Numbers"). */
#include "ingest/exposition_float.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* Digits and decimal exponent (d.ddd × 10^e) of a number that hk_format_double wrote. */
static size_t split_digits(struct hk_str text, char *digits, int *out_exponent) {
    size_t count = 0, point = text.len, first = text.len, end = text.len;
    for (size_t i = 0; i < text.len; i++) {
        const char c = text.ptr[i];
        if (c == 'e') {
            end = i;
            break;
        }
        if (c == '.') point = i;
        if (c < '0' || c > '9' || (c == '0' && count == 0)) continue;
        if (count == 0) first = i;
        digits[count++] = c;
    }
    if (point > end) point = end;
    *out_exponent = first < point ? (int)(point - first) - 1 : -(int)(first - point);
    if (end < text.len) *out_exponent += (int)strtol(text.ptr + end + 1, NULL, 10);
    while (count > 1 && digits[count - 1] == '0')
        count--;
    return count;
}

size_t hk_exposition_float(double value, char *out) {
    char text[HK_DOUBLE_BYTES_MAX + 1], digits[HK_DOUBLE_BYTES_MAX] = { 0 };
    size_t len = hk_format_double(value, out);
    if (isnan(value) || isinf(value)) return len;
    if (value == 0) return (size_t)snprintf(out, HK_DOUBLE_BYTES_MAX, "0.0");
    memcpy(text, out, len);
    text[len] = 0;
    int exponent = 0;
    const size_t count = split_digits((struct hk_str){ text, len }, digits, &exponent);
    if (exponent >= -4 && exponent < 6) {
        if (memchr(out, '.', len) != NULL) return len;
        memcpy(out + len, ".0", 2);
        return len + 2;
    }
    len = value < 0 ? 1 : 0;
    out[len++] = digits[0];
    if (count > 1) {
        out[len++] = '.';
        memcpy(out + len, digits + 1, count - 1);
        len += count - 1;
    }
    return len + (size_t)snprintf(out + len, HK_DOUBLE_BYTES_MAX - len, "e%+03d", exponent);
}
