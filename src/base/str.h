/*
 * Strings are pointer and length, borrowed, not NUL-terminated. Parsing of numbers, durations and
 * times as Prometheus writes them. Pure functions.
 */
#ifndef HK_BASE_STR_H
#define HK_BASE_STR_H

#include "base/err.h"

#include <stdbool.h>
#include <string.h>

struct hk_str {
    const char *ptr;
    size_t len;
};

/* A literal as hk_str. */
#define HK_STR(literal) ((struct hk_str){ "" literal, sizeof(literal) - 1 })

/* printf arguments for "%.*s". */
#define HK_STR_ARG(str) (int)(str).len, (str).ptr

/* NUL-terminated text (NULL gives an empty string). */
static inline struct hk_str hk_str_from(const char *text) {
    struct hk_str str = { text == NULL ? "" : text, text == NULL ? 0 : strlen(text) };
    return str;
}

/* Same bytes? */
static inline bool hk_str_eq(struct hk_str a, struct hk_str b) {
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

/* Same bytes as a NUL-terminated text? */
static inline bool hk_str_is(struct hk_str a, const char *text) {
    return hk_str_eq(a, hk_str_from(text));
}

/* Byte order: negative, 0, positive. */
static inline int hk_str_cmp(struct hk_str a, struct hk_str b) {
    size_t shorter = a.len < b.len ? a.len : b.len;
    int order = shorter == 0 ? 0 : memcmp(a.ptr, b.ptr, shorter);
    return order != 0 ? order : (a.len > b.len) - (a.len < b.len);
}

/* ASCII case-insensitive equality. */
bool hk_str_eq_nocase(struct hk_str a, struct hk_str b);

/* Does `str` begin / end with `part`? */
bool hk_str_starts(struct hk_str str, struct hk_str part);
bool hk_str_ends(struct hk_str str, struct hk_str part);

/* Without spaces, tabs, CR and LF at both ends. */
struct hk_str hk_str_trim(struct hk_str str);

/* Index of the first `c` at or after `from`, `str.len` if there is none. */
size_t hk_str_find(struct hk_str str, char c, size_t from);

/* Part [from, to), both clamped to the length. */
struct hk_str hk_str_part(struct hk_str str, size_t from, size_t to);

/* Whole-string decimal integers; HK_E_MALFORMED on anything else or overflow. */
hk_err hk_parse_i64(struct hk_str str, int64_t *out) HK_MUST_CHECK;
hk_err hk_parse_u64(struct hk_str str, uint64_t *out) HK_MUST_CHECK;

/*
 * Whole-string floating point number as Go's ParseFloat reads it: decimal, hexadecimal, Inf, +Inf,
 * -Inf, NaN in any case; no spaces. Correctly rounded; independent of the locale.
 */
hk_err hk_parse_double(struct hk_str str, double *out) HK_MUST_CHECK;

/* Prometheus duration ("1h30m", "15s", "100ms", "0") in ms. HK_E_MALFORMED, HK_E_LIMIT. */
hk_err hk_parse_duration_ms(struct hk_str str, int64_t *out) HK_MUST_CHECK;

/* RFC 3339 time in ns since 1970. HK_E_MALFORMED. */
hk_err hk_parse_rfc3339_ns(struct hk_str str, int64_t *out) HK_MUST_CHECK;

/* Size with optional unit B, K, KB, KiB, M, … T in powers of 1024, in bytes. */
hk_err hk_parse_bytes(struct hk_str str, uint64_t *out) HK_MUST_CHECK;

enum { HK_DOUBLE_BYTES_MAX = 40, HK_TIME_BYTES_MAX = 40 };

/*
 * Shortest text that reads back as `value`, as Prometheus prints samples (Go 'f' format, -1):
 * "1", "0.1", "1e+21" never, "+Inf", "-Inf", "NaN". Returns the length; `out` has
 * HK_DOUBLE_BYTES_MAX bytes, more only for huge exponents, which use exponent form (Go 'g').
 */
size_t hk_format_double(double value, char *out);

/* RFC 3339 UTC with ms ("2026-01-02T03:04:05.678Z"); returns the length. */
size_t hk_format_time_ms(int64_t stamp_ms, char *out);

/* Prometheus duration text ("1h30m", "0s") of `ms`; returns the length. */
size_t hk_format_duration_ms(int64_t ms, char *out);

#endif
