/* Times in templates: Go's layouts ("2006-01-02 15:04:05"), UTC only. */
#include "lang/template_internal.h"

#include <stdio.h>

static const char *const months[] = { "January",   "February", "March",    "April",
                                      "May",       "June",     "July",     "August",
                                      "September", "October",  "November", "December" };
static const char *const weekdays[] = { "Sunday",   "Monday", "Tuesday", "Wednesday",
                                        "Thursday", "Friday", "Saturday" };

const char *hk_template_month(int64_t month) {
    return month < 1 || month > 12 ? "" : months[month - 1];
}

const char *hk_template_weekday(int64_t day) {
    return day < 0 || day > 6 ? "" : weekdays[day];
}

static int64_t floor_div(int64_t a, int64_t b) {
    return a / b - (a % b < 0);
}

/* Number written in `text` at [from, from + len). */
static int64_t digits(const char *text, size_t from, size_t len) {
    int64_t value = 0;
    for (size_t i = from; i < from + len; i++)
        value = value * 10 + (text[i] - '0');
    return value;
}

int64_t hk_template_time_part(int64_t stamp_ms, char part) {
    static const int before[] = { 0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334 };
    char text[HK_TIME_BYTES_MAX];
    int64_t day = floor_div(stamp_ms, 86400000);
    int64_t rest = stamp_ms - day * 86400000;
    /* hk_format_time_ms knows the calendar; years have four digits between 0 and 9999. */
    if (stamp_ms < -62135596800000 || stamp_ms > 253402300799999) return 0;
    (void)hk_format_time_ms(stamp_ms, text);
    int64_t year = digits(text, 0, 4);
    int64_t month = digits(text, 5, 2);
    int64_t of_month = digits(text, 8, 2);
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    switch (part) {
    case 'y':
        return year;
    case 'm':
        return month;
    case 'd':
        return of_month;
    case 'h':
        return rest / 3600000;
    case 'M':
        return rest / 60000 % 60;
    case 's':
        return rest / 1000 % 60;
    case 'w':
        return ((day % 7) + 11) % 7; /* 1970-01-01 was a Thursday */
    case 'D':
        return before[month - 1] + of_month + (leap && month > 2);
    default:
        return rest % 1000;
    }
}

void hk_template_time_text(int64_t stamp_ms, struct hk_buf *out) {
    hk_template_time_format(stamp_ms, HK_STR("2006-01-02 15:04:05.999 -0700 MST"), out);
}

static void put_number(struct hk_buf *out, int64_t value, unsigned width, char fill) {
    char text[24];
    int len = snprintf(text, sizeof(text), "%lld", (long long)value);
    for (unsigned i = (unsigned)len; i < width; i++)
        hk_buf_char(out, fill);
    hk_buf_text(out, text);
}

/* ".000" keeps zeros, ".999" drops them; `count` digits, of which ms fill three. */
static void put_fraction(struct hk_buf *out, int64_t ms, size_t count, bool keep, char point) {
    char text[12];
    size_t len = (size_t)snprintf(text, sizeof(text), "%03d000000", (int)ms);
    if (len > count) len = count;
    while (!keep && len > 0 && text[len - 1] == '0')
        len--;
    if (len == 0) return;
    hk_buf_char(out, point);
    hk_buf_bytes(out, text, len);
}

enum element {
    E_MONTH_LONG,
    E_MONTH_SHORT,
    E_MONTH_2,
    E_MONTH,
    E_WEEKDAY_LONG,
    E_WEEKDAY_SHORT,
    E_DAY_OF_YEAR,
    E_DAY_2,
    E_DAY_SPACE,
    E_DAY,
    E_YEAR,
    E_YEAR_2,
    E_HOUR_24,
    E_HOUR_12_2,
    E_HOUR_12,
    E_MINUTE_2,
    E_MINUTE,
    E_SECOND_2,
    E_SECOND,
    E_PM,
    E_PM_LOW,
    E_ZONE,
    E_OFFSET_COLON,
    E_OFFSET,
    E_ISO_COLON,
    E_ISO,
};

/* Longer ones first where one begins another. */
static const struct {
    const char *text;
    enum element element;
} elements[] = {
    { "January", E_MONTH_LONG },
    { "Jan", E_MONTH_SHORT },
    { "Monday", E_WEEKDAY_LONG },
    { "Mon", E_WEEKDAY_SHORT },
    { "MST", E_ZONE },
    { "2006", E_YEAR },
    { "002", E_DAY_OF_YEAR },
    { "01", E_MONTH_2 },
    { "02", E_DAY_2 },
    { "03", E_HOUR_12_2 },
    { "04", E_MINUTE_2 },
    { "05", E_SECOND_2 },
    { "06", E_YEAR_2 },
    { "15", E_HOUR_24 },
    { "_2", E_DAY_SPACE },
    { "PM", E_PM },
    { "pm", E_PM_LOW },
    { "-07:00", E_OFFSET_COLON },
    { "-0700", E_OFFSET },
    { "Z07:00", E_ISO_COLON },
    { "Z0700", E_ISO },
    { "1", E_MONTH },
    { "2", E_DAY },
    { "3", E_HOUR_12 },
    { "4", E_MINUTE },
    { "5", E_SECOND },
};

static int64_t hour_12(int64_t stamp_ms) {
    int64_t hour = hk_template_time_part(stamp_ms, 'h') % 12;
    return hour == 0 ? 12 : hour;
}

/* Long, but a flat switch. */
static void put_element(struct hk_buf *out, enum element element, int64_t at) {
    switch (element) {
    case E_MONTH_LONG:
        hk_buf_text(out, hk_template_month(hk_template_time_part(at, 'm')));
        return;
    case E_MONTH_SHORT:
        hk_buf_str(
            out, hk_str_part(hk_str_from(hk_template_month(hk_template_time_part(at, 'm'))), 0, 3));
        return;
    case E_WEEKDAY_LONG:
        hk_buf_text(out, hk_template_weekday(hk_template_time_part(at, 'w')));
        return;
    case E_WEEKDAY_SHORT:
        hk_buf_str(
            out,
            hk_str_part(hk_str_from(hk_template_weekday(hk_template_time_part(at, 'w'))), 0, 3));
        return;
    case E_MONTH_2:
    case E_MONTH:
        put_number(out, hk_template_time_part(at, 'm'), element == E_MONTH_2 ? 2 : 1, '0');
        return;
    case E_DAY_OF_YEAR:
        put_number(out, hk_template_time_part(at, 'D'), 3, '0');
        return;
    case E_DAY_2:
    case E_DAY:
        put_number(out, hk_template_time_part(at, 'd'), element == E_DAY_2 ? 2 : 1, '0');
        return;
    case E_DAY_SPACE:
        put_number(out, hk_template_time_part(at, 'd'), 2, ' ');
        return;
    case E_YEAR:
        put_number(out, hk_template_time_part(at, 'y'), 4, '0');
        return;
    case E_YEAR_2:
        put_number(out, hk_template_time_part(at, 'y') % 100, 2, '0');
        return;
    case E_HOUR_24:
        put_number(out, hk_template_time_part(at, 'h'), 2, '0');
        return;
    case E_HOUR_12_2:
    case E_HOUR_12:
        put_number(out, hour_12(at), element == E_HOUR_12_2 ? 2 : 1, '0');
        return;
    case E_MINUTE_2:
    case E_MINUTE:
        put_number(out, hk_template_time_part(at, 'M'), element == E_MINUTE_2 ? 2 : 1, '0');
        return;
    case E_SECOND_2:
    case E_SECOND:
        put_number(out, hk_template_time_part(at, 's'), element == E_SECOND_2 ? 2 : 1, '0');
        return;
    case E_PM:
        hk_buf_text(out, hk_template_time_part(at, 'h') >= 12 ? "PM" : "AM");
        return;
    case E_PM_LOW:
        hk_buf_text(out, hk_template_time_part(at, 'h') >= 12 ? "pm" : "am");
        return;
    case E_ZONE:
        hk_buf_text(out, "UTC");
        return;
    case E_OFFSET_COLON:
        hk_buf_text(out, "+00:00");
        return;
    case E_OFFSET:
        hk_buf_text(out, "+0000");
        return;
    case E_ISO_COLON:
    case E_ISO:
    default:
        hk_buf_char(out, 'Z');
    }
}

/* Fraction of a second at `rest`: a point or comma and then only zeros or only nines, which no
 * digit follows. 0 = it is none, otherwise the count of digits. */
static size_t fraction_len(struct hk_str rest) {
    if (rest.len < 2 || (rest.ptr[0] != '.' && rest.ptr[0] != ',')) return 0;
    char digit = rest.ptr[1];
    if (digit != '0' && digit != '9') return 0;
    size_t count = 0;
    while (count + 1 < rest.len && rest.ptr[count + 1] == digit)
        count++;
    bool more = count + 1 < rest.len && rest.ptr[count + 1] >= '0' && rest.ptr[count + 1] <= '9';
    return more || count > 9 ? 0 : count;
}

void hk_template_time_format(int64_t stamp_ms, struct hk_str layout, struct hk_buf *out) {
    size_t at = 0;
    while (at < layout.len && out->err >= 0) {
        struct hk_str rest = hk_str_part(layout, at, layout.len);
        size_t fraction = fraction_len(rest);
        if (fraction > 0) {
            int64_t ms = hk_template_time_part(stamp_ms, 'f');
            put_fraction(out, ms, fraction, rest.ptr[1] == '0', rest.ptr[0]);
            at += fraction + 1;
            continue;
        }
        size_t i = 0;
        while (i < HK_COUNT(elements) && !hk_str_starts(rest, hk_str_from(elements[i].text)))
            i++;
        if (i == HK_COUNT(elements)) {
            hk_buf_char(out, rest.ptr[0]);
            at++;
            continue;
        }
        put_element(out, elements[i].element, stamp_ms);
        at += strlen(elements[i].text);
    }
}
