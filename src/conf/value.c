/* One scalar to one typed value. */
#include "conf/read.h"

#include <stdio.h>

static hk_err
wrong(struct hk_conf_why *why, struct hk_str text, const char *wanted, const char *mend) {
    int len = (int)(text.len < 120 ? text.len : 120);
    (void)snprintf(why->text, sizeof(why->text), "\"%.*s\" is not %s", len, text.ptr, wanted);
    (void)snprintf(why->mend, sizeof(why->mend), "%s", mend);
    return HK_E_INVALID;
}

/* The words of YAML 1.1. */
static hk_err to_bool(struct hk_str text, bool *out, struct hk_conf_why *why) {
    static const char *const words[2][4] = { { "false", "no", "off", "n" },
                                             { "true", "yes", "on", "y" } };
    for (size_t value = 0; value < 2; value++) {
        for (size_t i = 0; i < 4; i++) {
            if (!hk_str_eq_nocase(text, hk_str_from(words[value][i]))) continue;
            *out = value == 1;
            return HK_OK;
        }
    }
    return wrong(why, text, "true or false", "write true or false");
}

/* Decimal with underscores, or 0x…, as YAML 1.1 has it. */
static hk_err to_int(struct hk_str text, int64_t *out, struct hk_conf_why *why) {
    char digits[64];
    size_t len = 0;
    bool fine = text.len > 0 && text.len < sizeof(digits);
    for (size_t i = 0; i < text.len && fine; i++) {
        if (text.ptr[i] != '_') digits[len++] = text.ptr[i];
    }
    struct hk_str plain = { digits, len };
    if (fine && hk_str_starts(plain, HK_STR("0x")) && len > 2 && len <= 17) {
        int64_t value = 0;
        for (size_t i = 2; i < len && fine; i++) {
            static const char hex[] = "0123456789abcdef";
            const char *at = memchr(hex, digits[i] | 0x20, 16);
            fine = at != NULL && value <= (INT64_MAX >> 4);
            if (fine) value = value * 16 + (at - hex);
        }
        *out = fine ? value : *out;
    } else {
        fine = fine && hk_parse_i64(plain, out) == HK_OK;
    }
    return fine ? HK_OK : wrong(why, text, "a whole number", "write digits only, as in 10");
}

static hk_err to_duration(struct hk_str text, int64_t *out, struct hk_conf_why *why) {
    if (hk_parse_duration_ms(text, out) == HK_OK) return HK_OK;
    double number = 0;
    bool seconds = text.len > 1 && text.ptr[text.len - 1] == 's' &&
                   hk_parse_double(hk_str_part(text, 0, text.len - 1), &number) == HK_OK;
    if (seconds && number > 0 && number < 1e6) {
        char mend[80];
        (void)snprintf(
            mend, sizeof(mend), "write %.0fms, durations have no fractions", number * 1000);
        return wrong(why, text, "a duration", mend);
    }
    if (hk_parse_double(text, &number) == HK_OK && number > 0 && text.len < 20) {
        char mend[80];
        (void)snprintf(
            mend, sizeof(mend), "give a unit: %.*ss, %.*sms or %.*sm", HK_STR_ARG(text),
            HK_STR_ARG(text), HK_STR_ARG(text));
        return wrong(why, text, "a duration", mend);
    }
    return wrong(
        why, text, "a duration", "write it as 100ms, 15s, 5m, 1h30m or 7d, largest unit first");
}

/* Digits, perhaps a fraction, and a unit of powers of 1024, as Prometheus' base-2 sizes. */
static hk_err to_size(struct hk_str text, uint64_t *out, struct hk_conf_why *why) {
    static const char *const mend = "write it as 512MB, 64MiB or 1GiB";
    static const char letters[] = "KMGTPE";
    size_t end = 0;
    while (end < text.len &&
           (text.ptr[end] == '.' || (text.ptr[end] >= '0' && text.ptr[end] <= '9')))
        end++;
    struct hk_str unit = hk_str_part(text, end, text.len);
    unsigned shift = 0;
    bool fine = end > 0 && end < 30;
    if (unit.len > 0 && !hk_str_eq_nocase(unit, HK_STR("B"))) {
        const char *at = memchr(letters, unit.ptr[0] & ~0x20, 6);
        struct hk_str rest = hk_str_part(unit, 1, unit.len);
        fine = fine && at != NULL && at < letters + 6 &&
               (rest.len == 0 || hk_str_eq_nocase(rest, HK_STR("B")) ||
                hk_str_eq_nocase(rest, HK_STR("iB")));
        shift = at == NULL ? 0 : 10U * (unsigned)(at - letters + 1);
    }
    struct hk_str digits = hk_str_part(text, 0, end);
    uint64_t whole = 0;
    double number = 0;
    if (!fine) return wrong(why, text, "a size", mend);
    if (hk_parse_u64(digits, &whole) == HK_OK) {
        if (shift > 0 && whole >> (64 - shift) != 0) return wrong(why, text, "a size", mend);
        *out = whole << shift;
        return HK_OK;
    }
    if (hk_parse_double(digits, &number) < 0) return wrong(why, text, "a size", mend);
    number *= (double)(1ULL << shift);
    if (!(number >= 0 && number < 9e18)) return wrong(why, text, "a size", mend);
    *out = (uint64_t)number;
    return HK_OK;
}

static hk_err to_url(struct hk_str text, struct hk_str *out, struct hk_conf_why *why) {
    size_t scheme = hk_str_starts(text, HK_STR("http://"))    ? 7
                    : hk_str_starts(text, HK_STR("https://")) ? 8
                                                              : 0;
    bool fine = scheme > 0 && text.len > scheme && text.ptr[scheme] != '/';
    for (size_t i = 0; i < text.len && fine; i++)
        fine = (unsigned char)text.ptr[i] > ' ' && text.ptr[i] != 0x7f;
    if (!fine) return wrong(why, text, "an http or https URL", "write it as http://host:port/path");
    *out = text;
    return HK_OK;
}

static hk_err
to_enum(const struct hk_option *option, struct hk_str text, int *out, struct hk_conf_why *why) {
    struct hk_str names[64];
    size_t count = 0;
    for (; option->choices[count] != NULL && count < HK_COUNT(names); count++)
        names[count] = hk_str_from(option->choices[count]);
    for (int nocase = 0; nocase < 2; nocase++) {
        for (size_t i = 0; i < count; i++) {
            bool same = nocase == 0 ? hk_str_eq(names[i], text) : hk_str_eq_nocase(names[i], text);
            if (!same) continue;
            *out = (int)i;
            return HK_OK;
        }
    }
    struct hk_str near = hk_nearest_name(text, names, count);
    size_t len = 0;
    char mend[HK_CONF_WHY_BYTES] = "";
    if (near.len > 0) {
        len = (size_t)snprintf(mend, sizeof(mend), "did you mean %.*s? ", HK_STR_ARG(near));
    }
    len += (size_t)snprintf(mend + len, sizeof(mend) - len, "Choose");
    if (near.len == 0) mend[len - 6] = 'c';
    bool first = true;
    for (size_t i = 0; i < count && len + 40 < sizeof(mend); i++) {
        if (names[i].len == 0) continue;
        const char *between = first ? " " : i + 1 == count ? " or " : ", ";
        len += (size_t)snprintf(
            mend + len, sizeof(mend) - len, "%s%.*s", between, HK_STR_ARG(names[i]));
        first = false;
    }
    char wanted[100];
    (void)snprintf(wanted, sizeof(wanted), "a value of %s", option->key);
    return wrong(why, text, wanted, mend);
}

/* Writes a bound as the option's values are written. */
static void print_bound(const struct hk_option *option, int64_t value, char *out, size_t bytes) {
    char text[HK_TIME_BYTES_MAX] = "";
    if (option->type == HK_OPTION_DURATION) {
        size_t len = hk_format_duration_ms(value, text);
        (void)snprintf(out, bytes, "%.*s", (int)len, text);
        return;
    }
    bool size = option->type == HK_OPTION_SIZE;
    static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB" };
    size_t unit = 0;
    while (size && unit < 4 && value >= 1024 && value % 1024 == 0) {
        value /= 1024;
        unit++;
    }
    (void)snprintf(out, bytes, "%lld%s", (long long)value, size ? units[unit] : "");
}

static hk_err check_range(const struct hk_option *option, double value, struct hk_conf_why *why) {
    if (option->min >= option->max) return HK_OK;
    if (value >= (double)option->min && value <= (double)option->max) return HK_OK;
    char low[64];
    char high[64];
    print_bound(option, option->min, low, sizeof(low));
    print_bound(option, option->max, high, sizeof(high));
    const char *unit = option->unit == NULL ? "" : option->unit;
    const char *space = unit[0] == 0 ? "" : " ";
    bool below = value < (double)option->min;
    (void)snprintf(
        why->text, sizeof(why->text), "%s is %s %s", option->key, below ? "below" : "above",
        below ? low : high);
    if (option->max == INT64_MAX) {
        (void)snprintf(why->mend, sizeof(why->mend), "choose %s%s%s or more", low, space, unit);
    } else {
        (void)snprintf(why->mend, sizeof(why->mend), "choose %s to %s%s%s", low, high, space, unit);
    }
    return HK_E_INVALID;
}

hk_err hk_conf_convert(
    const struct hk_option *option, struct hk_str text, void *field, struct hk_conf_why *why) {
    /* A flat switch over the scalar types; the others never come here. */
    switch (option->type) {
    case HK_OPTION_BOOL:
        return to_bool(text, field, why);
    case HK_OPTION_INT:
        HK_TRY(to_int(text, field, why));
        return check_range(option, (double)*(int64_t *)field, why);
    case HK_OPTION_DOUBLE:
        if (hk_parse_double(text, field) < 0) {
            return wrong(why, text, "a number", "write it as 0.5 or 10");
        }
        return check_range(option, *(double *)field, why);
    case HK_OPTION_DURATION:
        HK_TRY(to_duration(text, field, why));
        return check_range(option, (double)*(int64_t *)field, why);
    case HK_OPTION_SIZE:
        HK_TRY(to_size(text, field, why));
        return check_range(option, (double)*(uint64_t *)field, why);
    case HK_OPTION_URL:
        return to_url(text, field, why);
    case HK_OPTION_ENUM:
    case HK_OPTION_ENUMS:
        return to_enum(option, text, field, why);
    case HK_OPTION_STRING:
    case HK_OPTION_FILE:
    case HK_OPTION_STRINGS:
    case HK_OPTION_FILES:
    case HK_OPTION_LABELS:
    case HK_OPTION_MAP:
    case HK_OPTION_PARAMS:
    case HK_OPTION_SECRET:
    case HK_OPTION_SECRETS:
        /* struct hk_secret is one struct hk_str. */
        *(struct hk_str *)field = text;
        return HK_OK;
    case HK_OPTION_INLINE:
    case HK_OPTION_STRUCT:
    case HK_OPTION_OPTIONAL:
    case HK_OPTION_STRUCTS:
    case HK_OPTION_NAMED:
    case HK_OPTION_ANY:
    default:
        return HK_E_INVALID;
    }
}
