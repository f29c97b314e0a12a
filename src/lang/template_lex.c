/* Tokens inside the actions of a template (Go text/template/parse). */
#include "lang/template_internal.h"

#include <stdarg.h>
#include <stdio.h>

static hk_err fail(const struct lexer *lexer, size_t at, const char *what) {
    return hk_template_fail_at(HK_E_MALFORMED, lexer->source_name, lexer->text, at, "%s", what);
}

hk_err hk_template_fail_at(
    hk_err code, struct hk_str name, struct hk_str text, size_t at, const char *format, ...) {
    unsigned line = 1;
    size_t start = 0;
    for (size_t i = 0; i < at && i < text.len; i++) {
        if (text.ptr[i] != '\n') continue;
        line++;
        start = i + 1;
    }
    char message[512];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(message, sizeof(message), format, args);
    va_end(args);
    return hk_fail(
        code, "template: %.*s:%u:%zu: %s", HK_STR_ARG(name), line, at - start + 1, message);
}

static bool is_space(char c) {
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static bool is_word(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           (c & 0x80) != 0;
}

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

static char byte_at(const struct lexer *lexer, size_t at) {
    return at < lexer->text.len ? lexer->text.ptr[at] : 0;
}

static struct hk_str take_word(struct lexer *lexer) {
    size_t from = lexer->at;
    while (lexer->at < lexer->text.len && is_word(lexer->text.ptr[lexer->at]))
        lexer->at++;
    return hk_str_part(lexer->text, from, lexer->at);
}

static size_t put_utf8(uint32_t rune, char *out) {
    if (rune > 0x10ffff || (rune >= 0xd800 && rune < 0xe000)) rune = 0xfffd;
    if (rune < 0x80) {
        out[0] = (char)rune;
        return 1;
    }
    if (rune < 0x800) {
        out[0] = (char)(0xc0 | (rune >> 6));
        out[1] = (char)(0x80 | (rune & 63));
        return 2;
    }
    if (rune < 0x10000) {
        out[0] = (char)(0xe0 | (rune >> 12));
        out[1] = (char)(0x80 | ((rune >> 6) & 63));
        out[2] = (char)(0x80 | (rune & 63));
        return 3;
    }
    out[0] = (char)(0xf0 | (rune >> 18));
    out[1] = (char)(0x80 | ((rune >> 12) & 63));
    out[2] = (char)(0x80 | ((rune >> 6) & 63));
    out[3] = (char)(0x80 | (rune & 63));
    return 4;
}

static int hex_digit(char c) {
    if (is_digit(c)) return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

/* `count` digits to the base at lexer->at; false if one is missing. */
static bool take_digits(struct lexer *lexer, unsigned count, unsigned base, uint32_t *out) {
    uint32_t value = 0;
    for (unsigned i = 0; i < count; i++) {
        int digit = hex_digit(byte_at(lexer, lexer->at));
        if (digit < 0 || (unsigned)digit >= base) return false;
        value = value * base + (uint32_t)digit;
        lexer->at++;
    }
    *out = value;
    return true;
}

/* One escape after the backslash; writes up to 4 bytes. */
static bool take_escape(struct lexer *lexer, char *out, size_t *len, uint32_t *out_rune) {
    static const char from[] = "abfnrtv\\'\"";
    static const char to[] = "\a\b\f\n\r\t\v\\'\"";
    char c = byte_at(lexer, lexer->at);
    const char *found = c == 0 ? NULL : strchr(from, c);
    uint32_t value = 0;
    if (found != NULL) {
        lexer->at++;
        out[0] = to[found - from];
        *len = 1;
        *out_rune = (uint32_t)(unsigned char)out[0];
        return true;
    }
    bool octal = c >= '0' && c <= '7';
    unsigned count = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : octal ? 3 : 0;
    if (count == 0) return false;
    if (!octal) lexer->at++;
    if (!take_digits(lexer, count, octal ? 8 : 16, &value)) return false;
    *out_rune = value;
    if (c == 'u' || c == 'U') {
        *len = put_utf8(value, out);
        return value <= 0x10ffff;
    }
    out[0] = (char)value;
    *len = 1;
    return value < 256;
}

static hk_err take_quoted(struct lexer *lexer, struct token *out) {
    size_t start = lexer->at++;
    size_t close = start + 1;
    while (close < lexer->text.len && lexer->text.ptr[close] != '"') {
        if (lexer->text.ptr[close] == '\n') break;
        close += lexer->text.ptr[close] == '\\' ? 2 : 1;
    }
    if (close >= lexer->text.len || lexer->text.ptr[close] != '"')
        return fail(lexer, start, "unterminated quoted string");
    size_t room = close - start;
    char *text = hk_arena_alloc_raw(lexer->arena, room * 2 + 4, 1);
    if (text == NULL) return HK_E_NOMEM;
    size_t len = 0;
    while (lexer->at < close) {
        char c = lexer->text.ptr[lexer->at++];
        size_t added = 1;
        uint32_t rune = 0;
        if (c != '\\')
            text[len] = c;
        else if (!take_escape(lexer, text + len, &added, &rune))
            return fail(lexer, start, "invalid escape in string");
        len += added;
    }
    lexer->at = close + 1;
    out->kind = TOK_STRING;
    out->text = (struct hk_str){ text, len };
    return HK_OK;
}

static hk_err take_raw(struct lexer *lexer, struct token *out) {
    size_t start = ++lexer->at;
    size_t close = hk_str_find(lexer->text, '`', start);
    if (close == lexer->text.len) return fail(lexer, start - 1, "unterminated raw quoted string");
    lexer->at = close + 1;
    out->kind = TOK_STRING;
    out->text = hk_str_part(lexer->text, start, close);
    return HK_OK;
}

static hk_err take_char(struct lexer *lexer, struct token *out) {
    size_t start = lexer->at++;
    char bytes[4];
    size_t len = 0;
    uint32_t rune = 0;
    unsigned char c = (unsigned char)byte_at(lexer, lexer->at++);
    if (c == '\\') {
        if (!take_escape(lexer, bytes, &len, &rune))
            return fail(lexer, start, "malformed character constant");
    } else if (c < 0x80) {
        rune = c;
    } else {
        unsigned more = c >= 0xf0 ? 3 : c >= 0xe0 ? 2 : 1;
        rune = c & (more == 3 ? 7U : more == 2 ? 15U : 31U);
        while (more-- > 0)
            rune = (rune << 6) | ((unsigned char)byte_at(lexer, lexer->at++) & 63U);
    }
    if (c == 0 || c == '\'' || c == '\n' || byte_at(lexer, lexer->at) != '\'')
        return fail(lexer, start, "malformed character constant");
    lexer->at++;
    out->kind = TOK_INT;
    out->integer = rune;
    return HK_OK;
}

/* Integers with prefix 0x, 0o, 0b (or a leading 0) and underscores; false: not an integer. */
static bool parse_integer(struct hk_str text, int64_t *out) {
    bool negative = text.len > 0 && text.ptr[0] == '-';
    size_t at = text.len > 0 && (text.ptr[0] == '-' || text.ptr[0] == '+') ? 1 : 0;
    unsigned base = 10;
    if (text.len - at >= 2 && text.ptr[at] == '0') {
        char kind = (char)(text.ptr[at + 1] | 32);
        base = kind == 'x' ? 16 : kind == 'b' ? 2 : 8;
        at += kind == 'x' || kind == 'b' || kind == 'o' ? 2 : 1;
    }
    if (at >= text.len) return false;
    uint64_t value = 0;
    for (; at < text.len; at++) {
        if (text.ptr[at] == '_') continue;
        int digit = hex_digit(text.ptr[at]);
        if (digit < 0 || (unsigned)digit >= base) return false;
        if (__builtin_mul_overflow(value, (uint64_t)base, &value)) return false;
        if (__builtin_add_overflow(value, (uint64_t)digit, &value)) return false;
    }
    if (value > (uint64_t)INT64_MAX) return false;
    *out = negative ? -(int64_t)value : (int64_t)value;
    return true;
}

static hk_err take_number(struct lexer *lexer, struct token *out) {
    size_t start = lexer->at;
    bool hex = false;
    if (byte_at(lexer, lexer->at) == '+' || byte_at(lexer, lexer->at) == '-') lexer->at++;
    if (byte_at(lexer, lexer->at) == '0' && (byte_at(lexer, lexer->at + 1) | 32) == 'x') hex = true;
    for (; lexer->at < lexer->text.len; lexer->at++) {
        char c = lexer->text.ptr[lexer->at];
        char before = lexer->text.ptr[lexer->at - (lexer->at > start)];
        bool exponent_sign =
            (c == '+' || c == '-') && ((before | 32) == 'p' || (!hex && (before | 32) == 'e'));
        if (!is_word(c) && c != '.' && !exponent_sign) break;
    }
    struct hk_str text = hk_str_part(lexer->text, start, lexer->at);
    out->kind = TOK_INT;
    if (parse_integer(text, &out->integer)) return HK_OK;
    out->kind = TOK_FLOAT;
    bool digits = is_digit(text.ptr[text.len - 1]) || text.ptr[text.len - 1] == '.';
    if (!digits || hk_parse_double(text, &out->number) < 0) {
        return hk_template_fail_at(
            HK_E_MALFORMED, lexer->source_name, lexer->text, start, "bad number syntax: \"%.*s\"",
            HK_STR_ARG(text));
    }
    return HK_OK;
}

static hk_err take_punctuation(struct lexer *lexer, struct token *out) {
    char c = byte_at(lexer, lexer->at);
    if (c == ':' && byte_at(lexer, lexer->at + 1) == '=') {
        lexer->at += 2;
        out->kind = TOK_DECLARE;
        return HK_OK;
    }
    static const char marks[] = "|()=,";
    static const enum tok kinds[] = { TOK_PIPE, TOK_OPEN, TOK_CLOSE, TOK_ASSIGN, TOK_COMMA };
    const char *found = c == 0 ? NULL : strchr(marks, c);
    if (found == NULL) {
        return hk_template_fail_at(
            HK_E_MALFORMED, lexer->source_name, lexer->text, lexer->at,
            "unexpected character 0x%02x (%c) in action", (unsigned char)c,
            c >= 0x20 && c < 0x7f ? c : '?');
    }
    lexer->at++;
    out->kind = kinds[found - marks];
    return HK_OK;
}

hk_err hk_template_lex(struct lexer *lexer, struct token *out) {
    size_t before = lexer->at;
    while (lexer->at < lexer->text.len && is_space(lexer->text.ptr[lexer->at]))
        lexer->at++;
    *out = (struct token){ .space_before = lexer->at > before, .at = (uint32_t)lexer->at };
    if (lexer->at >= lexer->text.len) return fail(lexer, before, "unclosed action");
    struct hk_str rest = hk_str_part(lexer->text, lexer->at, lexer->text.len);
    bool trim = out->space_before && hk_str_starts(rest, HK_STR("-}}"));
    if (trim || hk_str_starts(rest, HK_STR("}}"))) {
        lexer->at += trim ? 3 : 2;
        out->kind = TOK_END;
        out->trim = trim;
        return HK_OK;
    }
    char c = rest.ptr[0];
    char next = byte_at(lexer, lexer->at + 1);
    if (c == '"') return take_quoted(lexer, out);
    if (c == '`') return take_raw(lexer, out);
    if (c == '\'') return take_char(lexer, out);
    if (is_digit(c) || ((c == '+' || c == '-') && (is_digit(next) || next == '.')) ||
        (c == '.' && is_digit(next))) {
        return take_number(lexer, out);
    }
    if (c == '.') {
        lexer->at++;
        out->text = take_word(lexer);
        out->kind = out->text.len > 0 ? TOK_FIELD : TOK_DOT;
        return HK_OK;
    }
    if (c == '$') {
        lexer->at++;
        struct hk_str name = take_word(lexer);
        out->text = (struct hk_str){ rest.ptr, name.len + 1 };
        out->kind = TOK_VARIABLE;
        return HK_OK;
    }
    if (is_word(c)) {
        out->text = take_word(lexer);
        out->kind = TOK_IDENT;
        return HK_OK;
    }
    return take_punctuation(lexer, out);
}
