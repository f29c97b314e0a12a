/* Go's quoting and number forms. */
#include "lang/text.h"

#include <math.h>
#include <stdio.h>

uint32_t hk_rune_decode(struct hk_str text, size_t at, size_t *out_bytes) {
    const unsigned char *byte = (const unsigned char *)text.ptr + at;
    size_t left = text.len - at;
    unsigned char first = byte[0];
    *out_bytes = 1;
    if (first < 0x80) return first;
    size_t bytes = (first >= 0xc2 && first < 0xe0) ? 2 : (first & 0xf0) == 0xe0 ? 3 : 0;
    if (first >= 0xf0 && first < 0xf5) bytes = 4;
    if (bytes == 0 || bytes > left) return HK_RUNE_ERROR;
    uint32_t rune = first & (0xffU >> (bytes + 1));
    for (size_t i = 1; i < bytes; i++) {
        if ((byte[i] & 0xc0) != 0x80) return HK_RUNE_ERROR;
        rune = rune << 6 | (byte[i] & 0x3fU);
    }
    if ((bytes == 3 && rune < 0x800) || (bytes == 4 && (rune < 0x10000 || rune > 0x10ffff)) ||
        (rune >= 0xd800 && rune < 0xe000)) {
        return HK_RUNE_ERROR;
    }
    *out_bytes = bytes;
    return rune;
}

void hk_rune_encode(uint32_t rune, struct hk_buf *out) {
    if (rune < 0x80) {
        hk_buf_char(out, (char)rune);
    } else if (rune < 0x800) {
        hk_buf_char(out, (char)(0xc0 | rune >> 6));
        hk_buf_char(out, (char)(0x80 | (rune & 0x3f)));
    } else if (rune < 0x10000) {
        hk_buf_char(out, (char)(0xe0 | rune >> 12));
        hk_buf_char(out, (char)(0x80 | (rune >> 6 & 0x3f)));
        hk_buf_char(out, (char)(0x80 | (rune & 0x3f)));
    } else {
        hk_buf_char(out, (char)(0xf0 | rune >> 18));
        hk_buf_char(out, (char)(0x80 | (rune >> 12 & 0x3f)));
        hk_buf_char(out, (char)(0x80 | (rune >> 6 & 0x3f)));
        hk_buf_char(out, (char)(0x80 | (rune & 0x3f)));
    }
}

/* Ranges that Unicode assigns to spaces, controls, formats, surrogates and private use; the rest
 * counts as printable. */
static const struct {
    uint32_t first, last;
} unprintable[] = {
    { 0x00, 0x1f },       { 0x7f, 0xa0 },          { 0xad, 0xad },       { 0x600, 0x605 },
    { 0x61c, 0x61c },     { 0x6dd, 0x6dd },        { 0x70f, 0x70f },     { 0x1680, 0x1680 },
    { 0x180e, 0x180e },   { 0x2000, 0x200f },      { 0x2028, 0x202f },   { 0x205f, 0x206f },
    { 0x3000, 0x3000 },   { 0xd800, 0xf8ff },      { 0xfeff, 0xfeff },   { 0xfff0, 0xfffb },
    { 0xfffe, 0xffff },   { 0x110bd, 0x110bd },    { 0x1bca0, 0x1bca3 }, { 0x1d173, 0x1d17a },
    { 0xe0000, 0xe00ff }, { 0xe01f0, UINT32_MAX },
};

bool hk_rune_printable(uint32_t rune) {
    for (size_t i = 0; i < HK_COUNT(unprintable); i++) {
        if (rune >= unprintable[i].first && rune <= unprintable[i].last) return false;
    }
    return true;
}

static void quote_one(uint32_t rune, char quote, struct hk_buf *out) {
    static const char escapes[] = "\a\b\f\n\r\t\v";
    static const char letters[] = "abfnrtv";
    const char *found = rune > 0 && rune < 0x80 ? strchr(escapes, (int)rune) : NULL;
    if (rune == (uint32_t)quote || rune == '\\') {
        hk_buf_char(out, '\\');
        hk_buf_char(out, (char)rune);
    } else if (found != NULL) {
        hk_buf_char(out, '\\');
        hk_buf_char(out, letters[found - escapes]);
    } else if (hk_rune_printable(rune)) {
        hk_rune_encode(rune, out);
    } else if (rune < 0x20 || rune == 0x7f) {
        hk_buf_printf(out, "\\x%02x", rune);
    } else if (rune < 0x10000) {
        hk_buf_printf(out, "\\u%04x", rune);
    } else {
        hk_buf_printf(out, "\\U%08x", rune);
    }
}

void hk_quote(struct hk_str text, struct hk_buf *out) {
    hk_buf_char(out, '"');
    for (size_t at = 0; at < text.len;) {
        size_t bytes = 0;
        uint32_t rune = hk_rune_decode(text, at, &bytes);
        if (rune == HK_RUNE_ERROR && bytes == 1)
            hk_buf_printf(out, "\\x%02x", (unsigned)(unsigned char)text.ptr[at]);
        else
            quote_one(rune, '"', out);
        at += bytes;
    }
    hk_buf_char(out, '"');
}

void hk_quote_rune(uint32_t rune, struct hk_buf *out) {
    hk_buf_char(out, '\'');
    quote_one(rune, '\'', out);
    hk_buf_char(out, '\'');
}

static bool
read_digits(struct hk_str text, size_t *at, size_t count, unsigned base, uint32_t *out_value) {
    uint32_t value = 0;
    for (size_t i = 0; i < count; i++, (*at)++) {
        if (*at >= text.len) return false;
        char c = text.ptr[*at];
        unsigned digit = c >= '0' && c <= '9'   ? (unsigned)(c - '0')
                         : c >= 'a' && c <= 'f' ? (unsigned)(c - 'a') + 10
                         : c >= 'A' && c <= 'F' ? (unsigned)(c - 'A') + 10
                                                : 16;
        if (digit >= base) return false;
        value = value * base + digit;
    }
    *out_value = value;
    return true;
}

/* One escape; `*at` is behind the backslash. */
static hk_err unquote_escape(struct hk_str text, size_t *at, char quote, struct hk_buf *out) {
    static const char letters[] = "abfnrtv\\";
    static const char values[] = "\a\b\f\n\r\t\v\\";
    if (*at >= text.len) return HK_E_MALFORMED;
    char c = text.ptr[(*at)++];
    const char *found = c == 0 ? NULL : strchr(letters, c);
    if (found != NULL) {
        hk_buf_char(out, values[found - letters]);
        return HK_OK;
    }
    if (c == quote) {
        hk_buf_char(out, c);
        return HK_OK;
    }
    uint32_t value = 0;
    if (c >= '0' && c <= '7') {
        (*at)--;
        if (!read_digits(text, at, 3, 8, &value) || value > 255) return HK_E_MALFORMED;
        hk_buf_char(out, (char)value);
        return HK_OK;
    }
    size_t count = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
    if (count == 0 || !read_digits(text, at, count, 16, &value)) return HK_E_MALFORMED;
    if (c == 'x') {
        hk_buf_char(out, (char)value);
        return HK_OK;
    }
    if (value > 0x10ffff || (value >= 0xd800 && value < 0xe000)) return HK_E_MALFORMED;
    hk_rune_encode(value, out);
    return HK_OK;
}

hk_err hk_unquote(struct hk_str literal, struct hk_buf *out) {
    if (literal.len < 2 || literal.ptr[0] != literal.ptr[literal.len - 1]) return HK_E_MALFORMED;
    char quote = literal.ptr[0];
    struct hk_str text = hk_str_part(literal, 1, literal.len - 1);
    if (quote == '`') {
        if (hk_str_find(text, '`', 0) < text.len) return HK_E_MALFORMED;
        hk_buf_str(out, text);
        return HK_OK;
    }
    if (quote != '"' && quote != '\'') return HK_E_MALFORMED;
    for (size_t at = 0; at < text.len;) {
        char c = text.ptr[at++];
        if (c == quote || c == '\n') return HK_E_MALFORMED;
        if (c == '\\')
            HK_TRY(unquote_escape(text, &at, quote, out));
        else
            hk_buf_char(out, c);
    }
    return HK_OK;
}

static size_t format_special(double value, char *out) {
    const char *text = isnan(value) ? "NaN" : value > 0 ? "+Inf" : "-Inf";
    memcpy(out, text, strlen(text) + 1);
    return strlen(text);
}

/* Shortest digits of a finite positive value, no point; the decimal point stands behind digit
 * number `*out_point` (may be negative or beyond the digits). */
static size_t shortest(double value, char *digits, int *out_point) {
    char text[HK_DOUBLE_BYTES_MAX];
    size_t len = hk_format_double(value, text);
    size_t count = 0;
    int point = 0;
    int exponent = 0;
    bool behind = false;
    for (size_t i = 0; i < len; i++) {
        if (text[i] == 'e') {
            bool negative = text[i + 1] == '-';
            for (size_t k = i + 2; k < len; k++)
                exponent = exponent * 10 + (text[k] - '0');
            if (negative) exponent = -exponent;
            break;
        }
        if (text[i] == '.') {
            behind = true;
            continue;
        }
        if (count > 0 || text[i] != '0') digits[count++] = text[i];
        if (!behind && count > 0)
            point++;
        else if (behind && count == 0)
            point--;
    }
    while (count > 0 && digits[count - 1] == '0')
        count--;
    *out_point = point + exponent;
    return count;
}

size_t hk_format_plain(double value, char *out) {
    if (!isfinite(value)) return format_special(value, out);
    char digits[HK_DOUBLE_BYTES_MAX];
    size_t len = 0;
    if (signbit(value)) out[len++] = '-';
    int point = 0;
    int count = value == 0 ? 0 : (int)shortest(fabs(value), digits, &point);
    if (point <= 0) out[len++] = '0';
    for (int i = 0; i < point; i++)
        out[len++] = i < count ? digits[i] : '0';
    if (count > point) {
        out[len++] = '.';
        for (int i = point; i < count; i++)
            out[len++] = i < 0 ? '0' : digits[i];
    }
    out[len] = 0;
    return len;
}

size_t hk_format_general(double value, char *out) {
    if (!isfinite(value)) return format_special(value, out);
    char digits[HK_DOUBLE_BYTES_MAX] = { 0 };
    int point = 0;
    size_t count = value == 0 ? 0 : shortest(fabs(value), digits, &point);
    int exponent = point - 1;
    if (value == 0 || (exponent >= -4 && exponent < 6)) {
        char plain[HK_PLAIN_BYTES_MAX];
        size_t len = hk_format_plain(value, plain);
        memcpy(out, plain, len + 1);
        return len;
    }
    size_t len = 0;
    if (signbit(value)) out[len++] = '-';
    out[len++] = digits[0];
    if (count > 1) {
        out[len++] = '.';
        memcpy(out + len, digits + 1, count - 1);
        len += count - 1;
    }
    return len + (size_t)snprintf(out + len, HK_GENERAL_BYTES_MAX - len, "e%+03d", exponent);
}
