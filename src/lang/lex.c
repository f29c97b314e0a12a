/*
 * Lexer of PromQL. The states are flags rather than functions: brace_open, bracket_open and
 * duration_start choose the rules for the next byte.
 */
#include "lang/lex_internal.h"

#include "base/buf.h"
#include "lang/text.h"

#include <stdarg.h>
#include <stdio.h>

static const struct {
    const char *word;
    enum token_kind kind;
} words[] = {
    { "and", TOKEN_LAND },
    { "or", TOKEN_LOR },
    { "unless", TOKEN_LUNLESS },
    { "atan2", TOKEN_ATAN2 },
    { "sum", TOKEN_SUM },
    { "avg", TOKEN_AVG },
    { "count", TOKEN_COUNT },
    { "min", TOKEN_MIN },
    { "max", TOKEN_MAX },
    { "group", TOKEN_GROUP },
    { "stddev", TOKEN_STDDEV },
    { "stdvar", TOKEN_STDVAR },
    { "topk", TOKEN_TOPK },
    { "bottomk", TOKEN_BOTTOMK },
    { "count_values", TOKEN_COUNT_VALUES },
    { "quantile", TOKEN_QUANTILE },
    { "limitk", TOKEN_LIMITK },
    { "limit_ratio", TOKEN_LIMIT_RATIO },
    { "offset", TOKEN_OFFSET },
    { "by", TOKEN_BY },
    { "without", TOKEN_WITHOUT },
    { "on", TOKEN_ON },
    { "ignoring", TOKEN_IGNORING },
    { "group_left", TOKEN_GROUP_LEFT },
    { "group_right", TOKEN_GROUP_RIGHT },
    { "bool", TOKEN_BOOL },
    { "start", TOKEN_START },
    { "end", TOKEN_END },
    { "inf", TOKEN_NUMBER },
    { "nan", TOKEN_NUMBER },
};

void hk_lex_init(struct lexer *lexer, struct hk_str input) {
    *lexer = (struct lexer){ .input = input };
}

static bool is_digit(int c) {
    return c >= '0' && c <= '9';
}

static bool is_alpha(int c) {
    return c == '_' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_alnum(int c) {
    return is_alpha(c) || is_digit(c);
}

static bool is_space(int c) {
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* The byte `ahead` of the next one, -1 at the end. */
static int peek(const struct lexer *lexer, uint32_t ahead) {
    size_t at = (size_t)lexer->at + ahead;
    return at < lexer->input.len ? (unsigned char)lexer->input.ptr[at] : -1;
}

static bool in_set(const char *set, int c) {
    return c > 0 && strchr(set, c) != NULL;
}

static bool accept(struct lexer *lexer, const char *set) {
    if (!in_set(set, peek(lexer, 0))) return false;
    lexer->at++;
    return true;
}

static struct token emit(struct lexer *lexer, enum token_kind kind) {
    struct token token = { kind, lexer->start, lexer->at };
    lexer->start = lexer->at;
    return token;
}

/* An error at the start of the token. `rune_at` UINT32_MAX: no rune; else the rune at that byte
 * (or what stands for the end of input) is put behind the text in single quotes. */
static struct token fail(struct lexer *lexer, const char *text, uint32_t rune_at) {
    struct hk_buf buf;
    hk_buf_init(&buf, sizeof(lexer->error) - 1);
    hk_buf_text(&buf, text);
    if (rune_at != UINT32_MAX) {
        size_t bytes = 0;
        hk_buf_char(&buf, ' ');
        hk_quote_rune(
            rune_at < lexer->input.len ? hk_rune_decode(lexer->input, rune_at, &bytes)
                                       : HK_RUNE_ERROR,
            &buf);
    }
    struct hk_str got = hk_buf_get(&buf);
    memcpy(lexer->error, got.ptr, got.len);
    lexer->error[got.len] = 0;
    hk_buf_deinit(&buf);
    lexer->error_at = lexer->start;
    return (struct token){ TOKEN_ERROR, lexer->start, lexer->start };
}

/* An error whose text ends with the input from the token's start on, quoted. */
static struct token fail_quoting(struct lexer *lexer, const char *text) {
    struct hk_buf buf;
    hk_buf_init(&buf, 4096);
    struct hk_str part = hk_str_part(lexer->input, lexer->start, lexer->at);
    hk_quote(hk_str_part(part, 0, 200), &buf);
    (void)snprintf(
        lexer->error, sizeof(lexer->error), "%s: %.*s", text, (int)hk_buf_get(&buf).len,
        hk_buf_get(&buf).ptr);
    hk_buf_deinit(&buf);
    lexer->error_at = lexer->start;
    return (struct token){ TOKEN_ERROR, lexer->start, lexer->start };
}

/* "U+0078 'x'", as Go's %#U. */
static struct token
fail_escape(struct lexer *lexer, const char *before, uint32_t at, bool illegal) {
    if (at >= lexer->input.len) {
        return fail(lexer, "escape sequence not terminated", UINT32_MAX);
    }
    size_t bytes = 0;
    uint32_t rune = hk_rune_decode(lexer->input, at, &bytes);
    struct hk_buf buf;
    hk_buf_init(&buf, 256);
    hk_buf_printf(&buf, "%s U+%04X", before, rune);
    if (hk_rune_printable(rune)) {
        hk_buf_text(&buf, " '");
        hk_rune_encode(rune, &buf);
        hk_buf_char(&buf, '\'');
    }
    if (illegal) hk_buf_text(&buf, " in escape sequence");
    hk_buf_char(&buf, 0);
    struct token token = fail(lexer, hk_buf_get(&buf).ptr, UINT32_MAX);
    hk_buf_deinit(&buf);
    return token;
}

/* Numbers of every form, and much that is no number: the parser judges. The rules are those of
 * Prometheus' lexer: an optional point, then digits, points, exponents and underscores. */
static bool scan_number(struct lexer *lexer) {
    uint32_t first = lexer->at;
    const char *digits = "0123456789";
    bool hex = false;
    if (accept(lexer, "0") && accept(lexer, "xX")) {
        (void)accept(lexer, "_");
        digits = "0123456789abcdefABCDEF";
        hex = true;
    }
    (void)accept(lexer, ".");
    (void)accept(lexer, digits);
    bool point = false;
    bool exponent = false;
    for (;;) {
        int c = peek(lexer, 0);
        if (!in_set(digits, c) && !in_set("._eE", c)) break;
        if (c == '.' && point) {
            lexer->at++;
            return false;
        }
        if (in_set("eE", c) && exponent) {
            lexer->at++;
            return false;
        }
        if (accept(lexer, ".")) {
            point = true;
            if (accept(lexer, "_.") || hex) return false;
        } else if (accept(lexer, "eE")) {
            exponent = true;
            (void)accept(lexer, "+-");
            if (accept(lexer, "._eE") || peek(lexer, 0) < 0) return false;
        } else if (accept(lexer, "_")) {
            if (accept(lexer, "._eE") || peek(lexer, 0) < 0) return false;
        } else {
            while (accept(lexer, digits)) {
            }
        }
    }
    return lexer->at != first && !is_alnum(peek(lexer, 0));
}

/* The rest of a duration, the first number of which was read. */
static bool scan_duration_rest(struct lexer *lexer) {
    if (!accept(lexer, "smhdwy")) return false;
    (void)accept(lexer, "s");
    while (accept(lexer, "0123456789")) {
        while (accept(lexer, "0123456789")) {
        }
        if (!accept(lexer, "smhdw")) return false;
        (void)accept(lexer, "s");
    }
    if (!is_alnum(peek(lexer, 0))) return true;
    lexer->at++;
    return false;
}

static struct token lex_number(struct lexer *lexer) {
    if (scan_number(lexer)) return emit(lexer, TOKEN_NUMBER);
    if (scan_duration_rest(lexer)) return emit(lexer, TOKEN_DURATION);
    return fail_quoting(lexer, "bad number or duration syntax");
}

static unsigned digit_value(int c) {
    if (is_digit(c)) return (unsigned)(c - '0');
    if (c >= 'a' && c <= 'f') return (unsigned)(c - 'a') + 10;
    if (c >= 'A' && c <= 'F') return (unsigned)(c - 'A') + 10;
    return 16;
}

/* An escape; the backslash was read. False: `*out` is the error. */
static bool lex_escape(struct lexer *lexer, char quote, struct token *out) {
    int c = peek(lexer, 0);
    if (c == quote || in_set("abfnrtv\\", c)) {
        lexer->at++;
        return true;
    }
    unsigned count = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : (c >= '0' && c <= '7') ? 3 : 0;
    unsigned base = count == 3 ? 8 : 16;
    if (count == 0) {
        *out = fail_escape(lexer, "unknown escape sequence", lexer->at, false);
        return false;
    }
    if (base == 16) lexer->at++;
    uint64_t value = 0;
    for (; count > 0; count--, lexer->at++) {
        unsigned digit = digit_value(peek(lexer, 0));
        if (digit >= base) {
            *out = fail_escape(lexer, "illegal character", lexer->at, true);
            return false;
        }
        value = value * base + digit;
    }
    uint64_t value_max = (c == 'u' || c == 'U') ? 0x10ffff : 255;
    if (value > value_max || (value >= 0xd800 && value < 0xe000)) {
        *out = fail(lexer, "escape sequence is an invalid Unicode code point", UINT32_MAX);
        return false;
    }
    return true;
}

static struct token lex_string(struct lexer *lexer, char quote) {
    bool raw = quote == '`';
    for (;;) {
        int c = peek(lexer, 0);
        if (c < 0 || (c == '\n' && !raw)) {
            return fail(
                lexer, raw ? "unterminated raw string" : "unterminated quoted string", UINT32_MAX);
        }
        size_t bytes = 0;
        uint32_t rune = hk_rune_decode(lexer->input, lexer->at, &bytes);
        if (rune == HK_RUNE_ERROR) return fail(lexer, "invalid UTF-8 rune", UINT32_MAX);
        lexer->at += (uint32_t)bytes;
        if (c == quote) return emit(lexer, TOKEN_STRING);
        struct token error;
        if (c == '\\' && !raw && !lex_escape(lexer, quote, &error)) return error;
    }
}

static struct token lex_word(struct lexer *lexer) {
    bool colon = false;
    while (is_alnum(peek(lexer, 0)) || peek(lexer, 0) == ':') {
        colon = colon || peek(lexer, 0) == ':';
        lexer->at++;
    }
    struct hk_str word = hk_str_part(lexer->input, lexer->start, lexer->at);
    for (size_t i = 0; i < HK_COUNT(words); i++) {
        if (hk_str_eq_nocase(word, hk_str_from(words[i].word))) return emit(lexer, words[i].kind);
    }
    return emit(lexer, colon ? TOKEN_METRIC_IDENTIFIER : TOKEN_IDENTIFIER);
}

/* Between { and }: words are identifiers, never keywords. */
static struct token lex_in_braces(struct lexer *lexer) {
    uint32_t at = lexer->at;
    int c = peek(lexer, 0);
    if (c < 0) return fail(lexer, "unexpected end of input inside braces", UINT32_MAX);
    lexer->at++;
    if (is_alpha(c)) {
        while (is_alnum(peek(lexer, 0)))
            lexer->at++;
        return emit(lexer, TOKEN_IDENTIFIER);
    }
    switch (c) {
    case ',':
        return emit(lexer, TOKEN_COMMA);
    case '"':
    case '\'':
    case '`':
        return lex_string(lexer, (char)c);
    case '=':
        return emit(lexer, accept(lexer, "~") ? TOKEN_EQL_REGEX : TOKEN_EQL);
    case '!':
        if (accept(lexer, "~")) return emit(lexer, TOKEN_NEQ_REGEX);
        if (accept(lexer, "=")) return emit(lexer, TOKEN_NEQ);
        return fail(lexer, "unexpected character after '!' inside braces:", lexer->at);
    case '{':
        return fail(lexer, "unexpected left brace", at);
    case '}':
        lexer->brace_open = false;
        return emit(lexer, TOKEN_RIGHT_BRACE);
    default:
        return fail(lexer, "unexpected character inside braces:", at);
    }
}

static struct token lex_right_paren(struct lexer *lexer, uint32_t at) {
    lexer->paren_depth--;
    struct token token = emit(lexer, TOKEN_RIGHT_PAREN);
    if (lexer->paren_depth < 0) return fail(lexer, "unexpected right parenthesis", at);
    return token;
}

static enum token_kind arithmetic(int c) {
    switch (c) {
    case '*':
        return TOKEN_MUL;
    case '/':
        return TOKEN_DIV;
    case '%':
        return TOKEN_MOD;
    case '+':
        return TOKEN_ADD;
    case '-':
        return TOKEN_SUB;
    case '^':
        return TOKEN_POW;
    default:
        return TOKEN_EOF;
    }
}

/* Behind "[", until the first number. */
static struct token lex_duration_start(struct lexer *lexer) {
    uint32_t at = lexer->at;
    int c = peek(lexer, 0);
    if (c < 0) return fail(lexer, "unexpected end of input in duration expression", UINT32_MAX);
    if (is_digit(c) || (c == '.' && is_digit(peek(lexer, 1)))) {
        lexer->got_duration = true;
        lexer->duration_start = false;
        return lex_number(lexer);
    }
    lexer->at++;
    if (arithmetic(c) != TOKEN_EOF) return emit(lexer, arithmetic(c));
    switch (c) {
    case ']':
        lexer->bracket_open = lexer->got_colon = lexer->duration_start = false;
        return emit(lexer, TOKEN_RIGHT_BRACKET);
    case ':': {
        struct token token = emit(lexer, TOKEN_COLON);
        if (!lexer->got_duration) {
            return fail(
                lexer, "unexpected colon before duration in duration expression", UINT32_MAX);
        }
        if (lexer->got_colon) {
            return fail(lexer, "unexpected repeated colon in duration expression", UINT32_MAX);
        }
        lexer->got_colon = true;
        return token;
    }
    case '(':
        lexer->paren_depth++;
        return emit(lexer, TOKEN_LEFT_PAREN);
    case ')':
        return lex_right_paren(lexer, at);
    default:
        return fail(lexer, "unexpected character in duration expression:", at);
    }
}

static struct token lex_compare(struct lexer *lexer, int c) {
    uint32_t next = lexer->at;
    switch (c) {
    case '=':
        if (accept(lexer, "=")) return emit(lexer, TOKEN_EQLC);
        if (peek(lexer, 0) == '~') return fail(lexer, "unexpected character after '=':", next);
        return emit(lexer, TOKEN_EQL);
    case '!':
        if (accept(lexer, "=")) return emit(lexer, TOKEN_NEQ);
        return fail(lexer, "unexpected character after '!':", next);
    case '<':
        return emit(lexer, accept(lexer, "=") ? TOKEN_LTE : TOKEN_LSS);
    default:
        return emit(lexer, accept(lexer, "=") ? TOKEN_GTE : TOKEN_GTR);
    }
}

static struct token lex_bracket(struct lexer *lexer, int c, uint32_t at) {
    if (c == '[') {
        if (lexer->bracket_open) return fail(lexer, "unexpected left bracket", at);
        lexer->got_colon = false;
        lexer->bracket_open = lexer->duration_start = true;
        return emit(lexer, TOKEN_LEFT_BRACKET);
    }
    if (!lexer->bracket_open) return fail(lexer, "unexpected right bracket", at);
    lexer->bracket_open = false;
    return emit(lexer, TOKEN_RIGHT_BRACKET);
}

static struct token lex_statement(struct lexer *lexer) {
    uint32_t at = lexer->at;
    int c = peek(lexer, 0);
    if (c < 0) {
        if (lexer->paren_depth != 0) return fail(lexer, "unclosed left parenthesis", UINT32_MAX);
        if (lexer->bracket_open) return fail(lexer, "unclosed left bracket", UINT32_MAX);
        return emit(lexer, TOKEN_EOF);
    }
    if (is_digit(c) || (c == '.' && is_digit(peek(lexer, 1)))) return lex_number(lexer);
    if (is_alpha(c) || c == ':') {
        if (!lexer->bracket_open) return lex_word(lexer);
        if (lexer->got_colon) return fail(lexer, "unexpected colon", at);
        lexer->at++;
        lexer->got_colon = true;
        return emit(lexer, TOKEN_COLON);
    }
    lexer->at++;
    if (arithmetic(c) != TOKEN_EOF) return emit(lexer, arithmetic(c));
    switch (c) {
    case ',':
        return emit(lexer, TOKEN_COMMA);
    case '=':
    case '!':
    case '<':
    case '>':
        return lex_compare(lexer, c);
    case '"':
    case '\'':
    case '`':
        return lex_string(lexer, (char)c);
    case '(':
        lexer->paren_depth++;
        return emit(lexer, TOKEN_LEFT_PAREN);
    case ')':
        return lex_right_paren(lexer, at);
    case '{':
        lexer->brace_open = true;
        return emit(lexer, TOKEN_LEFT_BRACE);
    case '[':
    case ']':
        return lex_bracket(lexer, c, at);
    case '@':
        return emit(lexer, TOKEN_AT);
    default:
        return fail(lexer, "unexpected character:", at);
    }
}

struct token hk_lex_next(struct lexer *lexer) {
    for (;;) {
        if (is_space(peek(lexer, 0))) {
            lexer->at++;
        } else if (peek(lexer, 0) == '#' && !lexer->duration_start) {
            while (peek(lexer, 0) >= 0 && peek(lexer, 0) != '\n' && peek(lexer, 0) != '\r')
                lexer->at++;
        } else {
            break;
        }
    }
    lexer->start = lexer->at;
    if (lexer->brace_open) return lex_in_braces(lexer);
    if (lexer->duration_start) return lex_duration_start(lexer);
    return lex_statement(lexer);
}

/* The first ten characters quoted, as Go's %.10q. */
static void describe_long(struct hk_str text, struct hk_buf *out) {
    size_t end = 0;
    for (int i = 0; i < 10 && end < text.len; i++) {
        size_t bytes = 0;
        (void)hk_rune_decode(text, end, &bytes);
        end += bytes;
    }
    hk_quote(hk_str_part(text, 0, end), out);
    hk_buf_text(out, "...");
}

void hk_lex_describe(struct hk_str input, struct token token, struct hk_buf *out) {
    struct hk_str text = hk_str_part(input, token.from, token.to);
    static const char *const names[] = {
        [TOKEN_IDENTIFIER] = "identifier ", [TOKEN_METRIC_IDENTIFIER] = "metric identifier ",
        [TOKEN_NUMBER] = "number ",         [TOKEN_DURATION] = "duration ",
        [TOKEN_STRING] = "string ",
    };
    if (token.kind == TOKEN_EOF) {
        hk_buf_text(out, "end of input");
        return;
    }
    if (token.kind < HK_COUNT(names) && names[token.kind] != NULL)
        hk_buf_text(out, names[token.kind]);
    bool identifier = token.kind == TOKEN_IDENTIFIER || token.kind == TOKEN_METRIC_IDENTIFIER;
    if (token.kind >= TOKEN_BOOL && token.kind <= TOKEN_WITHOUT) {
        hk_buf_printf(out, "<%.*s>", HK_STR_ARG(text));
    } else if (
        token_is_operator(token.kind) || token.kind == TOKEN_EQL_REGEX ||
        token.kind == TOKEN_NEQ_REGEX || token.kind == TOKEN_AT) {
        hk_buf_printf(out, "<op:%.*s>", HK_STR_ARG(text));
    } else if (token_is_aggregation(token.kind)) {
        hk_buf_printf(out, "<aggr:%.*s>", HK_STR_ARG(text));
    } else if (text.len > 10 && !identifier) {
        describe_long(text, out);
    } else {
        hk_quote(text, out);
    }
}
