/* Values as text: Go's %v, Sprintf, and Prometheus' humanize functions. */
#include "lang/template_internal.h"

#include <math.h>
#include <stdio.h>

enum { NUMBER_BYTES_MAX = 512, PRECISION_MAX = 100, WIDTH_MAX = 1000 };

bool hk_template_truth(const struct hk_template_value *value) {
    switch (value->kind) {
    case HK_TEMPLATE_BOOL:
        return value->as.boolean;
    case HK_TEMPLATE_INT:
        return value->as.integer != 0;
    case HK_TEMPLATE_FLOAT:
        return value->as.number != 0;
    case HK_TEMPLATE_STRING:
        return value->as.text.len > 0;
    case HK_TEMPLATE_LIST:
        return value->count > 0;
    case HK_TEMPLATE_OBJECT:
        return !value->type->is_map || value->type->count(value->as.self) > 0;
    case HK_TEMPLATE_TIME:
        return true;
    case HK_TEMPLATE_NIL:
    default:
        return false;
    }
}

const char *hk_template_type_name(const struct hk_template_value *value) {
    switch (value->kind) {
    case HK_TEMPLATE_BOOL:
        return "bool";
    case HK_TEMPLATE_INT:
        return "int";
    case HK_TEMPLATE_FLOAT:
        return "float64";
    case HK_TEMPLATE_STRING:
        return "string";
    case HK_TEMPLATE_LIST:
        return "list";
    case HK_TEMPLATE_OBJECT:
        return value->type->name;
    case HK_TEMPLATE_TIME:
        return "*time.Time";
    case HK_TEMPLATE_NIL:
    default:
        return "<nil>";
    }
}

/* Shortest digits that read back as `value` (finite, ≥ 0) in "%.*e" form. */
static size_t shortest(double value, char *out, size_t room) {
    int len = 0;
    for (int precision = 0; precision <= 16; precision++) {
        len = snprintf(out, room, "%.*e", precision, value);
        double back = 0;
        if (hk_parse_double((struct hk_str){ out, (size_t)len }, &back) >= 0 && back == value)
            break;
    }
    return (size_t)len;
}

/* NaN and infinities; true if it was one. */
static bool put_special(double value, struct hk_buf *out) {
    if (isnan(value)) hk_buf_text(out, "NaN");
    if (isinf(value)) hk_buf_text(out, value > 0 ? "+Inf" : "-Inf");
    return isnan(value) || isinf(value);
}

void hk_template_float(double value, struct hk_buf *out) {
    if (put_special(value, out)) return;
    double size = fabs(value);
    char text[NUMBER_BYTES_MAX];
    /* %v of Go: exponent form below 1e-4 and from 1e6 on. */
    if (size != 0 && (size < 1e-4 || size >= 1e6)) {
        if (signbit(value)) hk_buf_char(out, '-');
        hk_buf_bytes(out, text, shortest(size, text, sizeof(text)));
        return;
    }
    hk_buf_double(out, value);
}

static void print_flat(const struct hk_template_value *value, struct hk_buf *out) {
    switch (value->kind) {
    case HK_TEMPLATE_BOOL:
        hk_buf_text(out, value->as.boolean ? "true" : "false");
        return;
    case HK_TEMPLATE_INT:
        hk_buf_printf(out, "%lld", (long long)value->as.integer);
        return;
    case HK_TEMPLATE_FLOAT:
        hk_template_float(value->as.number, out);
        return;
    case HK_TEMPLATE_STRING:
        hk_buf_str(out, value->as.text);
        return;
    case HK_TEMPLATE_TIME:
        hk_template_time_text(value->as.integer, out);
        return;
    case HK_TEMPLATE_NIL:
        hk_buf_text(out, "<no value>");
        return;
    case HK_TEMPLATE_LIST:
    case HK_TEMPLATE_OBJECT:
    default:
        hk_buf_printf(out, "<%s>", hk_template_type_name(value));
    }
}

/* Maps one level deep: what is inside them is flat. */
static void print_object(const struct hk_template_value *value, struct hk_buf *out) {
    if (value->kind != HK_TEMPLATE_OBJECT || value->type->count == NULL) {
        print_flat(value, out);
        return;
    }
    uint32_t count = value->type->count(value->as.self);
    hk_buf_text(out, "map[");
    for (uint32_t i = 0; i < count && out->err >= 0; i++) {
        struct hk_str key = { "", 0 };
        struct hk_template_value item;
        value->type->at(value->as.self, i, &key, &item);
        if (i > 0) hk_buf_char(out, ' ');
        hk_buf_str(out, key);
        hk_buf_char(out, ':');
        print_flat(&item, out);
    }
    hk_buf_char(out, ']');
}

void hk_template_print(const struct hk_template_value *value, struct hk_buf *out) {
    if (value->kind != HK_TEMPLATE_LIST) {
        print_object(value, out);
        return;
    }
    hk_buf_char(out, '[');
    for (uint32_t i = 0; i < value->count && out->err >= 0; i++) {
        if (i > 0) hk_buf_char(out, ' ');
        print_object(&value->as.items[i], out);
    }
    hk_buf_char(out, ']');
}

void hk_template_quote(struct hk_str text, struct hk_buf *out) {
    static const char plain[] = "\a\b\f\n\r\t\v\\\"";
    static const char letters[] = "abfnrtv\\\"";
    hk_buf_char(out, '"');
    bool utf8 = hk_utf8_valid(text);
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        const char *found = c == 0 ? NULL : strchr(plain, c);
        unsigned char byte = (unsigned char)c;
        if (found != NULL) {
            hk_buf_char(out, '\\');
            hk_buf_char(out, letters[found - plain]);
        } else if (byte < 0x20 || byte == 0x7f || (byte >= 0x80 && !utf8)) {
            hk_buf_printf(out, "\\x%02x", byte);
        } else {
            hk_buf_char(out, c);
        }
    }
    hk_buf_char(out, '"');
}

/* --- Sprintf ---------------------------------------------------------------------------------- */

struct verb {
    bool minus, plus, sharp, space, zero, has_precision, has_width;
    int width, precision;
    char letter;
};

static size_t rune_count(struct hk_str text) {
    size_t count = 0;
    for (size_t i = 0; i < text.len; i++)
        count += (text.ptr[i] & 0xc0) != 0x80;
    return count;
}

/* Writes `text` padded to the verb's width; zeros go behind a sign. */
static void
put_padded(const struct verb *verb, struct hk_str text, bool number, struct hk_buf *out) {
    size_t runes = rune_count(text);
    size_t pad = verb->has_width && (size_t)verb->width > runes ? (size_t)verb->width - runes : 0;
    bool zeros = verb->zero && !verb->minus && number;
    bool sign = text.len > 0 && (text.ptr[0] == '-' || text.ptr[0] == '+' || text.ptr[0] == ' ');
    if (zeros && sign) {
        hk_buf_char(out, text.ptr[0]);
        text = hk_str_part(text, 1, text.len);
    }
    for (size_t i = 0; i < pad && !verb->minus; i++)
        hk_buf_char(out, zeros ? '0' : ' ');
    hk_buf_str(out, text);
    for (size_t i = 0; i < pad && verb->minus; i++)
        hk_buf_char(out, ' ');
}

static void put_integer(const struct verb *verb, int64_t value, struct hk_buf *out) {
    char text[80];
    size_t at = sizeof(text);
    unsigned base = verb->letter == 'b'                          ? 2
                    : verb->letter == 'o' || verb->letter == 'O' ? 8
                    : verb->letter == 'x' || verb->letter == 'X' ? 16
                                                                 : 10;
    const char *digits = verb->letter == 'X' ? "0123456789ABCDEF" : "0123456789abcdef";
    uint64_t size = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    do {
        text[--at] = digits[size % base];
        size /= base;
    } while (size > 0);
    if ((base == 16 && verb->sharp) || verb->letter == 'O') {
        text[--at] = verb->letter;
        if (verb->letter == 'O') text[at] = 'o';
        text[--at] = '0';
    } else if (base == 8 && verb->sharp) {
        text[--at] = '0';
    }
    if (value < 0)
        text[--at] = '-';
    else if (verb->plus || verb->space)
        text[--at] = verb->plus ? '+' : ' ';
    put_padded(verb, (struct hk_str){ text + at, sizeof(text) - at }, true, out);
}

/* Digits of a finite number ≥ 0 after the verb. */
static size_t float_digits(const struct verb *verb, double size, char *out, size_t room) {
    int precision = verb->has_precision ? verb->precision : 6;
    switch (verb->letter) {
    case 'f':
    case 'F':
        return (size_t)snprintf(out, room, "%.*f", precision, size);
    case 'e':
        return (size_t)snprintf(out, room, "%.*e", precision, size);
    case 'E':
        return (size_t)snprintf(out, room, "%.*E", precision, size);
    case 'G':
        if (verb->has_precision) return (size_t)snprintf(out, room, "%.*G", precision, size);
        break;
    default:
        if (verb->has_precision) return (size_t)snprintf(out, room, "%.*g", precision, size);
        break;
    }
    struct hk_buf text;
    hk_buf_init(&text, room);
    hk_template_float(size, &text);
    size_t len = text.len < room ? text.len : room;
    if (len > 0) memcpy(out, text.ptr, len);
    hk_buf_deinit(&text);
    return len;
}

static void put_float(const struct verb *verb, double value, struct hk_buf *out) {
    char text[NUMBER_BYTES_MAX];
    size_t len = 0;
    bool finite = !isnan(value) && !isinf(value);
    if (signbit(value) && !isnan(value))
        text[len++] = '-';
    else if (verb->plus || isinf(value))
        text[len++] = '+';
    else if (verb->space)
        text[len++] = ' ';
    if (finite)
        len += float_digits(verb, fabs(value), text + len, sizeof(text) - len);
    else
        len += (size_t)snprintf(text + len, 8, "%s", isnan(value) ? "NaN" : "Inf");
    struct verb spaced = *verb;
    if (!finite) spaced.zero = false;
    put_padded(&spaced, (struct hk_str){ text, len }, true, out);
}

static void put_string(const struct verb *verb, struct hk_str text, struct hk_buf *out) {
    if (verb->has_precision && verb->letter != 'x' && verb->letter != 'X') {
        size_t at = 0;
        for (int runes = 0; at < text.len; at++) {
            if ((text.ptr[at] & 0xc0) != 0x80 && runes++ == verb->precision) break;
        }
        text.len = at;
    }
    struct hk_buf quoted;
    hk_buf_init(&quoted, text.len * 4 + 16);
    for (size_t i = 0; (verb->letter | 32) == 'x' && i < text.len; i++) {
        unsigned byte = (unsigned char)text.ptr[i];
        if (verb->letter == 'x')
            hk_buf_printf(&quoted, "%02x", byte);
        else
            hk_buf_printf(&quoted, "%02X", byte);
    }
    if (verb->letter == 'q') hk_template_quote(text, &quoted);
    bool changed = verb->letter == 'q' || (verb->letter | 32) == 'x';
    put_padded(verb, changed ? hk_buf_get(&quoted) : text, false, out);
    if (quoted.err < 0) out->err = quoted.err;
    hk_buf_deinit(&quoted);
}

/* %!d(string=text): the verb does not fit the value. */
static void
put_mismatch(const struct verb *verb, const struct hk_template_value *value, struct hk_buf *out) {
    hk_buf_text(out, "%!");
    hk_buf_char(out, verb->letter);
    hk_buf_char(out, '(');
    hk_buf_text(out, hk_template_type_name(value));
    if (value->kind != HK_TEMPLATE_NIL) {
        hk_buf_char(out, '=');
        hk_template_print(value, out);
    }
    hk_buf_char(out, ')');
}

static void put_char(const struct verb *verb, int64_t rune, struct hk_buf *out) {
    char text[8];
    uint32_t code = rune < 0 || rune > 0x10ffff ? 0xfffd : (uint32_t)rune;
    size_t len = 0;
    if (code < 0x80) {
        text[len++] = (char)code;
    } else if (code < 0x800) {
        text[len++] = (char)(0xc0 | (code >> 6));
    } else if (code < 0x10000) {
        text[len++] = (char)(0xe0 | (code >> 12));
        text[len++] = (char)(0x80 | ((code >> 6) & 63));
    } else {
        text[len++] = (char)(0xf0 | (code >> 18));
        text[len++] = (char)(0x80 | ((code >> 12) & 63));
        text[len++] = (char)(0x80 | ((code >> 6) & 63));
    }
    if (code >= 0x80) text[len++] = (char)(0x80 | (code & 63));
    put_padded(verb, (struct hk_str){ text, len }, false, out);
}

static void
put_printed(const struct verb *verb, const struct hk_template_value *value, struct hk_buf *out) {
    struct hk_buf text;
    hk_buf_init(&text, HK_TEMPLATE_OUTPUT_BYTES_MAX);
    hk_template_print(value, &text);
    put_padded(verb, hk_buf_get(&text), false, out);
    if (text.err < 0) out->err = text.err;
    hk_buf_deinit(&text);
}

static void
put_verb(const struct verb *verb, const struct hk_template_value *value, struct hk_buf *out) {
    char letter = verb->letter;
    if (letter == 'T') {
        put_string(verb, hk_str_from(hk_template_type_name(value)), out);
        return;
    }
    switch (value->kind) {
    case HK_TEMPLATE_INT:
        if (letter == 'c') {
            put_char(verb, value->as.integer, out);
        } else if (strchr("vdbxXoO", letter) != NULL) {
            put_integer(verb, value->as.integer, out);
        } else {
            put_mismatch(verb, value, out);
        }
        return;
    case HK_TEMPLATE_FLOAT:
        if (strchr("veEfFgG", letter) != NULL)
            put_float(verb, value->as.number, out);
        else
            put_mismatch(verb, value, out);
        return;
    case HK_TEMPLATE_STRING:
        if (strchr("vsqxX", letter) != NULL)
            put_string(verb, value->as.text, out);
        else
            put_mismatch(verb, value, out);
        return;
    case HK_TEMPLATE_BOOL:
        if (letter == 't' || letter == 'v')
            put_printed(verb, value, out);
        else
            put_mismatch(verb, value, out);
        return;
    case HK_TEMPLATE_NIL:
        if (letter == 'v')
            hk_buf_text(out, "<nil>");
        else
            put_mismatch(verb, value, out);
        return;
    case HK_TEMPLATE_LIST:
    case HK_TEMPLATE_OBJECT:
    case HK_TEMPLATE_TIME:
    default:
        if (letter == 'v' || letter == 's')
            put_printed(verb, value, out);
        else
            put_mismatch(verb, value, out);
    }
}

struct arguments {
    const struct hk_template_value *items;
    uint32_t count, next;
};

/* A number in the format, or `*`: the next argument. False: a `*` without an integer. */
static bool read_count(
    struct hk_str format, size_t *at, struct arguments *args, int max, bool *out_has, int *out) {
    if (*at < format.len && format.ptr[*at] == '*') {
        (*at)++;
        if (args->next >= args->count || args->items[args->next].kind != HK_TEMPLATE_INT) {
            args->next += args->next < args->count;
            return false;
        }
        int64_t value = args->items[args->next++].as.integer;
        if (value < -max || value > max) return false;
        *out = (int)value;
        *out_has = true;
        return true;
    }
    int value = 0;
    for (; *at < format.len && format.ptr[*at] >= '0' && format.ptr[*at] <= '9'; (*at)++) {
        *out_has = true;
        if (value <= max) value = value * 10 + (format.ptr[*at] - '0');
    }
    *out = value > max ? max : value;
    return true;
}

/* From behind the % to the letter, which may be missing (0). */
static void read_verb(
    struct hk_str format, size_t *at, struct arguments *args, struct verb *verb,
    struct hk_buf *out) {
    for (; *at < format.len; (*at)++) {
        char c = format.ptr[*at];
        if (c == '-')
            verb->minus = true;
        else if (c == '+')
            verb->plus = true;
        else if (c == '#')
            verb->sharp = true;
        else if (c == ' ')
            verb->space = true;
        else if (c == '0')
            verb->zero = true;
        else
            break;
    }
    if (!read_count(format, at, args, WIDTH_MAX, &verb->has_width, &verb->width))
        hk_buf_text(out, "%!(BADWIDTH)");
    if (verb->width < 0) {
        verb->minus = true;
        verb->width = -verb->width;
    }
    if (*at < format.len && format.ptr[*at] == '.') {
        (*at)++;
        verb->has_precision = true;
        if (!read_count(format, at, args, PRECISION_MAX, &verb->has_precision, &verb->precision))
            hk_buf_text(out, "%!(BADPREC)");
        if (verb->precision < 0) {
            verb->precision = 0;
            verb->has_precision = false;
        }
    }
    if (*at < format.len) verb->letter = format.ptr[(*at)++];
}

void hk_template_printf(
    struct hk_str format, const struct hk_template_value *values, uint32_t argc,
    struct hk_buf *out) {
    struct arguments args = { values, argc, 0 };
    size_t at = 0;
    while (at < format.len && out->err >= 0) {
        size_t percent = hk_str_find(format, '%', at);
        hk_buf_str(out, hk_str_part(format, at, percent));
        at = percent + 1;
        if (percent == format.len) break;
        struct verb verb = { 0 };
        read_verb(format, &at, &args, &verb, out);
        if (verb.letter == 0) {
            hk_buf_text(out, "%!(NOVERB)");
        } else if (verb.letter == '%') {
            hk_buf_char(out, '%');
        } else if (args.next >= args.count) {
            hk_buf_text(out, "%!");
            hk_buf_char(out, verb.letter);
            hk_buf_text(out, "(MISSING)");
        } else {
            put_verb(&verb, &args.items[args.next++], out);
        }
    }
    if (args.next >= args.count) return;
    hk_buf_text(out, "%!(EXTRA ");
    for (uint32_t i = args.next; i < args.count; i++) {
        if (i > args.next) hk_buf_text(out, ", ");
        hk_buf_text(out, hk_template_type_name(&args.items[i]));
        hk_buf_char(out, '=');
        hk_template_print(&args.items[i], out);
    }
    hk_buf_char(out, ')');
}

/* --- Humanize --------------------------------------------------------------------------------- */

static void put_short(double value, const char *suffix, struct hk_buf *out) {
    if (!put_special(value, out)) hk_buf_printf(out, "%.4g", value);
    hk_buf_text(out, suffix);
}

/* Divides by `step` while the size is at least that. */
static const char *
scale(double *value, double step, const char *const *names, size_t count, bool up) {
    const char *name = "";
    for (size_t i = 0; i < count; i++) {
        if (up ? fabs(*value) < step : fabs(*value) >= 1) break;
        name = names[i];
        *value = up ? *value / step : *value * step;
    }
    return name;
}

static const char *const small_names[] = { "m", "u", "n", "p", "f", "a", "z", "y" };

void hk_humanize(double value, struct hk_buf *out) {
    static const char *const names[] = { "k", "M", "G", "T", "P", "E", "Z", "Y" };
    const char *name = "";
    if (value != 0 && !isnan(value) && !isinf(value)) {
        name = fabs(value) >= 1 ? scale(&value, 1000, names, HK_COUNT(names), true)
                                : scale(&value, 1000, small_names, HK_COUNT(small_names), false);
    }
    put_short(value, name, out);
}

void hk_humanize_1024(double value, struct hk_buf *out) {
    static const char *const names[] = { "ki", "Mi", "Gi", "Ti", "Pi", "Ei", "Zi", "Yi" };
    const char *name = "";
    if (fabs(value) > 1 && !isinf(value)) name = scale(&value, 1024, names, HK_COUNT(names), true);
    put_short(value, name, out);
}

void hk_humanize_duration(double seconds, struct hk_buf *out) {
    if (isnan(seconds) || isinf(seconds)) {
        put_short(seconds, "", out);
        return;
    }
    if (fabs(seconds) < 1) {
        const char *name =
            seconds == 0 ? "" : scale(&seconds, 1000, small_names, HK_COUNT(small_names), false);
        put_short(seconds, name, out);
        hk_buf_char(out, 's');
        return;
    }
    const char *sign = seconds < 0 ? "-" : "";
    seconds = fabs(seconds);
    long long whole = seconds < 9.2e18 ? (long long)seconds : INT64_MAX;
    long long days = whole / 86400;
    long long hours = whole / 3600 % 24;
    long long minutes = whole / 60 % 60;
    hk_buf_text(out, sign);
    if (days > 0)
        hk_buf_printf(out, "%lldd %lldh %lldm %llds", days, hours, minutes, whole % 60);
    else if (hours > 0)
        hk_buf_printf(out, "%lldh %lldm %llds", hours, minutes, whole % 60);
    else if (minutes > 0)
        hk_buf_printf(out, "%lldm %llds", minutes, whole % 60);
    else
        put_short(seconds, "s", out);
}

/* --- Case ------------------------------------------------------------------------------------- */

/* Upper or lower form of a code point of two bytes; itself where there is none. */
static uint32_t case_of(uint32_t rune, bool upper) {
    uint32_t lower_from[] = { 0xe0, 0x3b1, 0x430, 0x450 };
    uint32_t lower_to[] = { 0xfe, 0x3c9, 0x44f, 0x45f };
    uint32_t distance[] = { 0x20, 0x20, 0x20, 0x50 };
    for (size_t i = 0; i < HK_COUNT(distance); i++) {
        uint32_t shift = upper ? 0 : distance[i];
        bool inside = rune + shift >= lower_from[i] && rune + shift <= lower_to[i];
        if (!inside || rune == 0xf7 || rune == 0xd7 || rune == 0x3c2 || rune == 0x3a2) continue;
        return upper ? rune - distance[i] : rune + distance[i];
    }
    bool pairs = (rune >= 0x100 && rune <= 0x12f) || (rune >= 0x14a && rune <= 0x177);
    if (pairs) return upper ? rune & ~1U : rune | 1U;
    return rune;
}

static char ascii_case(char c, bool upper) {
    if (upper) return c >= 'a' && c <= 'z' ? (char)(c - 32) : c;
    return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

static bool is_separator(char c) {
    bool word = (c >= '0' && c <= '9') || ascii_case(c, false) != c || ascii_case(c, true) != c ||
                c == '_' || (c & 0x80) != 0;
    return !word;
}

void hk_template_case(struct hk_str text, bool upper, bool title, struct hk_buf *out) {
    bool start = true;
    for (size_t i = 0; i < text.len && out->err >= 0; i++) {
        char c = text.ptr[i];
        unsigned char byte = (unsigned char)c;
        bool change = !title || start;
        start = is_separator(c);
        if (byte < 0x80) {
            hk_buf_char(out, change ? ascii_case(c, upper) : c);
        } else if (change && byte >= 0xc3 && byte < 0xe0 && i + 1 < text.len) {
            uint32_t rune = ((byte & 31U) << 6) | ((unsigned char)text.ptr[i + 1] & 63U);
            rune = case_of(rune, upper);
            hk_buf_char(out, (char)(0xc0 | (rune >> 6)));
            hk_buf_char(out, (char)(0x80 | (rune & 63)));
            i++;
        } else {
            hk_buf_char(out, c);
        }
    }
}
