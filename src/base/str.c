/* Strings: comparison and the parsers that need no allocation. Formatting is in format.c. */
#include "base/str.h"

#include <ctype.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>

bool hk_str_eq_nocase(struct hk_str a, struct hk_str b) {
    if (a.len != b.len) return false;
    for (size_t i = 0; i < a.len; i++) {
        if (tolower((unsigned char)a.ptr[i]) != tolower((unsigned char)b.ptr[i])) return false;
    }
    return true;
}

bool hk_str_starts(struct hk_str str, struct hk_str part) {
    return str.len >= part.len && (part.len == 0 || memcmp(str.ptr, part.ptr, part.len) == 0);
}

bool hk_str_ends(struct hk_str str, struct hk_str part) {
    return str.len >= part.len &&
           (part.len == 0 || memcmp(str.ptr + str.len - part.len, part.ptr, part.len) == 0);
}

static bool is_space(char c) {
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

struct hk_str hk_str_trim(struct hk_str str) {
    while (str.len > 0 && is_space(str.ptr[0])) {
        str.ptr++;
        str.len--;
    }
    while (str.len > 0 && is_space(str.ptr[str.len - 1]))
        str.len--;
    return str;
}

size_t hk_str_find(struct hk_str str, char c, size_t from) {
    if (from >= str.len) return str.len;
    const char *at = memchr(str.ptr + from, c, str.len - from);
    return at == NULL ? str.len : (size_t)(at - str.ptr);
}

struct hk_str hk_str_part(struct hk_str str, size_t from, size_t to) {
    if (to > str.len) to = str.len;
    if (from > to) from = to;
    if (str.ptr == NULL) return str;
    return (struct hk_str){ str.ptr + from, to - from };
}

hk_err hk_parse_u64(struct hk_str str, uint64_t *out) {
    if (str.len == 0) return HK_E_MALFORMED;
    uint64_t value = 0;
    for (size_t i = 0; i < str.len; i++) {
        if (str.ptr[i] < '0' || str.ptr[i] > '9') return HK_E_MALFORMED;
        uint64_t digit = (uint64_t)(str.ptr[i] - '0');
        if (__builtin_mul_overflow(value, (uint64_t)10, &value)) return HK_E_MALFORMED;
        if (__builtin_add_overflow(value, digit, &value)) return HK_E_MALFORMED;
    }
    *out = value;
    return HK_OK;
}

hk_err hk_parse_i64(struct hk_str str, int64_t *out) {
    bool negative = str.len > 0 && str.ptr[0] == '-';
    bool sign = negative || (str.len > 0 && str.ptr[0] == '+');
    uint64_t value = 0;
    if (hk_parse_u64(hk_str_part(str, sign ? 1 : 0, str.len), &value) < 0) return HK_E_MALFORMED;
    if (value > (uint64_t)INT64_MAX + (negative ? 1U : 0U)) return HK_E_MALFORMED;
    *out = negative ? (int64_t)(0 - value) : (int64_t)value;
    return HK_OK;
}

static const double powers_of_ten[] = { 1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                        1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                        1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22 };

/* "e+06" behind a mantissa: at most three digits, to the end of the text. */
static bool parse_short_exponent(struct hk_str str, size_t at, int *out) {
    bool negative = false;
    if (at < str.len && (str.ptr[at] == '-' || str.ptr[at] == '+')) negative = str.ptr[at++] == '-';
    if (at == str.len || str.len - at > 3) return false;
    int value = 0;
    for (; at < str.len; at++) {
        if (str.ptr[at] < '0' || str.ptr[at] > '9') return false;
        value = value * 10 + (str.ptr[at] - '0');
    }
    *out = negative ? -value : value;
    return true;
}

/*
 * Short decimals: mantissa below 2^53 and a power of ten up to 22 are both exact doubles, so one
 * multiplication or division rounds correctly (Clinger 1990). False: use the slow way.
 */
static bool parse_short_decimal(struct hk_str str, double *out) {
    size_t i = 0;
    bool negative = false;
    if (i < str.len && (str.ptr[i] == '-' || str.ptr[i] == '+')) negative = str.ptr[i++] == '-';
    uint64_t mantissa = 0;
    const size_t first = i;
    size_t point = str.len; /* where the '.' stands */
    for (; i < str.len; i++) {
        const unsigned digit = (unsigned)(unsigned char)str.ptr[i] - '0';
        if (HK_LIKELY(digit <= 9)) {
            mantissa = mantissa * 10 + digit;
        } else if (str.ptr[i] == '.' && point == str.len) {
            point = i;
        } else {
            break;
        }
    }
    const bool has_point = point != str.len;
    const size_t digits = i - first - (has_point ? 1 : 0);
    if (digits == 0 || digits > 18 || mantissa >= (1ULL << 53)) return false;
    int exponent = 0;
    if (i < str.len) {
        if ((str.ptr[i] | 0x20) != 'e') return false;
        if (!parse_short_exponent(str, i + 1, &exponent)) return false;
    }
    if (has_point) exponent -= (int)(i - point - 1);
    if (exponent < -22 || exponent > 22) return false;
    double value = (double)mantissa;
    if (exponent < 0)
        value /= powers_of_ten[-exponent];
    else
        value *= powers_of_ten[exponent];
    *out = negative ? -value : value;
    return true;
}

static bool parse_named(struct hk_str str, double *out) {
    bool negative = str.len > 0 && str.ptr[0] == '-';
    bool sign = negative || (str.len > 0 && str.ptr[0] == '+');
    struct hk_str rest = hk_str_part(str, sign ? 1 : 0, str.len);
    if (hk_str_eq_nocase(rest, HK_STR("inf")) || hk_str_eq_nocase(rest, HK_STR("infinity"))) {
        *out = negative ? -HUGE_VAL : HUGE_VAL;
        return true;
    }
    if (!sign && hk_str_eq_nocase(rest, HK_STR("nan"))) {
        const uint64_t bits = 0x7ff8000000000001ULL;
        memcpy(out, &bits, sizeof(bits));
        return true;
    }
    return false;
}

hk_err hk_parse_double(struct hk_str str, double *out) {
    if (parse_short_decimal(str, out)) return HK_OK;
    if (str.len == 0 || str.len >= 1024) return HK_E_MALFORMED;
    if (parse_named(str, out)) return HK_OK;
    char text[1024];
    for (size_t i = 0; i < str.len; i++) {
        char c = str.ptr[i];
        bool fine = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F') ||
                    c == '.' || c == '+' || c == '-' || c == 'x' || c == 'X' || c == 'p' ||
                    c == 'P';
        if (!fine) return HK_E_MALFORMED;
        text[i] = c;
    }
    text[str.len] = 0;
    char *end = NULL;
    double value = strtod(text, &end);
    if (end != text + str.len) return HK_E_MALFORMED;
    *out = value;
    return HK_OK;
}

static const struct {
    const char *unit;
    int64_t ms;
} duration_units[] = {
    { "ms", 1 },      { "y", 31536000000 }, { "w", 604800000 }, { "d", 86400000 },
    { "h", 3600000 }, { "m", 60000 },       { "s", 1000 },
};

hk_err hk_parse_duration_ms(struct hk_str str, int64_t *out) {
    if (hk_str_is(str, "0")) {
        *out = 0;
        return HK_OK;
    }
    if (str.len == 0) return HK_E_MALFORMED;
    int64_t total = 0;
    int64_t last_ms = INT64_MAX;
    size_t i = 0;
    while (i < str.len) {
        size_t start = i;
        while (i < str.len && str.ptr[i] >= '0' && str.ptr[i] <= '9')
            i++;
        uint64_t number = 0;
        HK_TRY(hk_parse_u64(hk_str_part(str, start, i), &number));
        int64_t unit_ms = 0;
        for (size_t u = 0; u < HK_COUNT(duration_units) && unit_ms == 0; u++) {
            struct hk_str unit = hk_str_from(duration_units[u].unit);
            if (!hk_str_starts(hk_str_part(str, i, str.len), unit)) continue;
            unit_ms = duration_units[u].ms;
            i += unit.len;
        }
        if (unit_ms == 0 || unit_ms >= last_ms) return HK_E_MALFORMED;
        last_ms = unit_ms;
        int64_t part = 0;
        if (number > INT64_MAX || __builtin_mul_overflow((int64_t)number, unit_ms, &part) ||
            __builtin_add_overflow(total, part, &total)) {
            return HK_E_LIMIT;
        }
    }
    *out = total;
    return HK_OK;
}

hk_err hk_parse_bytes(struct hk_str str, uint64_t *out) {
    size_t digits = 0;
    while (digits < str.len && str.ptr[digits] >= '0' && str.ptr[digits] <= '9')
        digits++;
    uint64_t number = 0;
    HK_TRY(hk_parse_u64(hk_str_part(str, 0, digits), &number));
    struct hk_str unit = hk_str_part(str, digits, str.len);
    static const char letters[] = "KMGT";
    unsigned shift = 0;
    if (unit.len > 0 && !hk_str_eq_nocase(unit, HK_STR("B"))) {
        const char *at = memchr(letters, toupper((unsigned char)unit.ptr[0]), 4);
        struct hk_str rest = hk_str_part(unit, 1, unit.len);
        bool fine = rest.len == 0 || hk_str_eq_nocase(rest, HK_STR("B")) ||
                    hk_str_eq_nocase(rest, HK_STR("iB"));
        if (at == NULL || !fine) return HK_E_MALFORMED;
        shift = 10U * (unsigned)(at - letters + 1);
    }
    if (shift > 0 && number >> (64 - shift) != 0) return HK_E_LIMIT;
    *out = number << shift;
    return HK_OK;
}

/* Days since 1970-01-01 of a proleptic Gregorian date (Hinnant, "chrono-Compatible Low-Level Date
 * Algorithms", days_from_civil). */
static int64_t days_of_date(int64_t year, int64_t month, int64_t day) {
    year -= month <= 2;
    int64_t era = (year >= 0 ? year : year - 399) / 400;
    int64_t year_of_era = year - era * 400;
    int64_t day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return era * 146097 + day_of_era - 719468;
}

static bool read_number(struct hk_str str, size_t *at, size_t digits, int64_t max, int64_t *out) {
    uint64_t value = 0;
    if (str.len - *at < digits) return false;
    if (hk_parse_u64(hk_str_part(str, *at, *at + digits), &value) < 0) return false;
    if (value > (uint64_t)max) return false;
    *at += digits;
    *out = (int64_t)value;
    return true;
}

static bool read_char(struct hk_str str, size_t *at, const char *any) {
    if (*at >= str.len || strchr(any, str.ptr[*at]) == NULL || str.ptr[*at] == 0) return false;
    (*at)++;
    return true;
}

/* "Z" or "+hh:mm" at `*at`, the rest of the string; minutes east of UTC. */
static bool read_zone(struct hk_str str, size_t *at, int64_t *out_minutes) {
    *out_minutes = 0;
    if (read_char(str, at, "Zz")) return *at == str.len;
    bool west = *at < str.len && str.ptr[*at] == '-';
    int64_t hours = 0;
    int64_t minutes = 0;
    if (!read_char(str, at, "+-") || !read_number(str, at, 2, 23, &hours)) return false;
    if (!read_char(str, at, ":") || !read_number(str, at, 2, 59, &minutes)) return false;
    *out_minutes = (west ? -1 : 1) * (hours * 60 + minutes);
    return *at == str.len;
}

hk_err hk_parse_rfc3339_ns(struct hk_str str, int64_t *out) {
    size_t at = 0;
    int64_t part[6] = { 0 };
    static const int64_t part_max[6] = { 9999, 12, 31, 23, 59, 60 };
    static const char *const after[6] = { "-", "-", "Tt ", ":", ":", "" };
    for (size_t i = 0; i < 6; i++) {
        if (!read_number(str, &at, i == 0 ? 4 : 2, part_max[i], &part[i])) return HK_E_MALFORMED;
        if (i < 5 && !read_char(str, &at, after[i])) return HK_E_MALFORMED;
    }
    if (part[1] == 0 || part[2] == 0) return HK_E_MALFORMED;
    int64_t fraction_ns = 0;
    if (read_char(str, &at, ".,")) {
        int64_t scale = 100000000;
        size_t start = at;
        for (; at < str.len && str.ptr[at] >= '0' && str.ptr[at] <= '9'; at++) {
            fraction_ns += (str.ptr[at] - '0') * scale;
            scale /= 10;
        }
        if (at == start) return HK_E_MALFORMED;
    }
    int64_t zone_minutes = 0;
    if (!read_zone(str, &at, &zone_minutes)) return HK_E_MALFORMED;
    int64_t seconds = days_of_date(part[0], part[1], part[2]) * 86400 + part[3] * 3600 +
                      (part[4] - zone_minutes) * 60 + part[5];
    int64_t ns = 0;
    if (__builtin_mul_overflow(seconds, (int64_t)1000000000, &ns) ||
        __builtin_add_overflow(ns, fraction_ns, &ns)) {
        return HK_E_LIMIT;
    }
    *out = ns;
    return HK_OK;
}
