/* Numbers and times to text. */
#include "base/digits.h"
#include "base/str.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static size_t format_plain(const char *digits, size_t count, int exponent, char *out) {
    size_t len = 0;
    if (exponent < 0) {
        out[len++] = '0';
        out[len++] = '.';
        for (int i = -1; i > exponent; i--)
            out[len++] = '0';
        memcpy(out + len, digits, count);
        return len + count;
    }
    size_t whole = (size_t)exponent + 1;
    for (size_t i = 0; i < whole; i++)
        out[len++] = i < count ? digits[i] : '0';
    if (count > whole) {
        out[len++] = '.';
        memcpy(out + len, digits + whole, count - whole);
        len += count - whole;
    }
    return len;
}

size_t hk_format_double(double value, char *out) {
    if (isnan(value)) return (size_t)snprintf(out, HK_DOUBLE_BYTES_MAX, "NaN");
    if (isinf(value))
        return (size_t)snprintf(out, HK_DOUBLE_BYTES_MAX, value > 0 ? "+Inf" : "-Inf");
    size_t len = 0;
    if (signbit(value)) out[len++] = '-';
    value = fabs(value);
    if (value < 9007199254740992.0 && floor(value) == value) {
        len += hk_digits_u64((uint64_t)value, out + len);
        out[len] = 0;
        return len;
    }
    char digits[32] = { 0 };
    int exponent = 0;
    size_t count = hk_digits_double(value, digits, &exponent);
    if (value >= 1e-6 && value < 1e21) {
        len += format_plain(digits, count, exponent, out + len);
        out[len] = 0;
        return len;
    }
    out[len++] = digits[0];
    if (count > 1) {
        out[len++] = '.';
        memcpy(out + len, digits + 1, count - 1);
        len += count - 1;
    }
    return len + (size_t)snprintf(out + len, HK_DOUBLE_BYTES_MAX - len, "e%+03d", exponent);
}

/* Inverse of days_of_date in str.c (Hinnant, civil_from_days). */
static void date_of_days(int64_t days, int64_t *year, int64_t *month, int64_t *day) {
    days += 719468;
    int64_t era = (days >= 0 ? days : days - 146096) / 146097;
    int64_t day_of_era = days - era * 146097;
    int64_t year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int64_t shifted = (5 * day_of_year + 2) / 153;
    *day = day_of_year - (153 * shifted + 2) / 5 + 1;
    *month = shifted < 10 ? shifted + 3 : shifted - 9;
    *year = year_of_era + era * 400 + (*month <= 2);
}

size_t hk_format_time_ms(int64_t stamp_ms, char *out) {
    int64_t days = stamp_ms / 86400000;
    int64_t rest = stamp_ms % 86400000;
    if (rest < 0) {
        rest += 86400000;
        days--;
    }
    int64_t year = 0;
    int64_t month = 0;
    int64_t day = 0;
    date_of_days(days, &year, &month, &day);
    int len = snprintf(
        out, HK_TIME_BYTES_MAX, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", (int)year, (int)month,
        (int)day, (int)(rest / 3600000), (int)(rest / 60000 % 60), (int)(rest / 1000 % 60),
        (int)(rest % 1000));
    return (size_t)len;
}

size_t hk_format_duration_ms(int64_t ms, char *out) {
    static const struct {
        const char *unit;
        int64_t ms;
        bool exact; /* only when nothing is left over, as Prometheus does for weeks and years */
    } units[] = { { "y", 31536000000, true }, { "w", 604800000, true }, { "d", 86400000, false },
                  { "h", 3600000, false },    { "m", 60000, false },    { "s", 1000, false },
                  { "ms", 1, false } };
    if (ms == 0) return (size_t)snprintf(out, HK_TIME_BYTES_MAX, "0s");
    size_t len = 0;
    if (ms < 0) {
        out[len++] = '-';
        ms = -ms;
    }
    for (size_t i = 0; i < HK_COUNT(units); i++) {
        if (units[i].exact && ms % units[i].ms != 0) continue;
        int64_t number = ms / units[i].ms;
        if (number == 0) continue;
        int used = snprintf(
            out + len, HK_TIME_BYTES_MAX - len, "%lld%s", (long long)number, units[i].unit);
        len += (size_t)used;
        ms -= number * units[i].ms;
    }
    return len;
}
