/*
 * JSON reader. Invariants: (1) start <= at <= end; (2) the innermost `depth` bits of `arrays` tell
 * the open levels, bit depth - 1 the innermost.
 */
#include "codec/json.h"

void hk_json_init(struct hk_json *json, struct hk_str text, struct hk_arena *arena) {
    const char *start = text.len == 0 ? "" : text.ptr;
    *json = (struct hk_json){
        .key = { "", 0 },
        .text = { "", 0 },
        .start = start,
        .at = start,
        .end = start + text.len,
        .arena = arena,
        .first = true,
    };
}

hk_err hk_json_fail(const struct hk_json *json, const char *what) {
    return hk_fail(HK_E_MALFORMED, "json: %s at byte %zu", what, hk_json_offset(json));
}

static void skip_space(struct hk_json *json) {
    const char *at = json->at;
    while (at < json->end && (*at == ' ' || *at == '\n' || *at == '\r' || *at == '\t'))
        at++;
    json->at = at;
}

/* Length of the UTF-8 sequence at `at` (RFC 3629), 0 if there is none. */
static size_t utf8_len(const char *text, const char *end) {
    const unsigned char *at = (const unsigned char *)text;
    const size_t left = (size_t)(end - text);
    const unsigned char c = at[0];
    size_t len = c < 0x80 ? 1 : c >= 0xc2 && c < 0xe0 ? 2 : (c & 0xf0) == 0xe0 ? 3 : 0;
    if (c >= 0xf0 && c < 0xf5) len = 4;
    if (len == 0 || len > left) return 0;
    for (size_t i = 1; i < len; i++) {
        if ((at[i] & 0xc0) != 0x80) return 0;
    }
    if ((c == 0xe0 && at[1] < 0xa0) || (c == 0xed && at[1] > 0x9f)) return 0;
    if ((c == 0xf0 && at[1] < 0x90) || (c == 0xf4 && at[1] > 0x8f)) return 0;
    return len;
}

static int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

/* The four hex digits at `at`, -1 if they are not. */
static int32_t hex4(const char *at, const char *end) {
    if (end - at < 4) return -1;
    int32_t value = 0;
    for (unsigned i = 0; i < 4; i++) {
        const int digit = hex_digit(at[i]);
        if (digit < 0) return -1;
        value = value << 4 | digit;
    }
    return value;
}

static char *put_utf8(char *to, uint32_t code) {
    if (code < 0x80) {
        *to++ = (char)code;
    } else if (code < 0x800) {
        *to++ = (char)(0xc0 | code >> 6);
        *to++ = (char)(0x80 | (code & 63));
    } else if (code < 0x10000) {
        *to++ = (char)(0xe0 | code >> 12);
        *to++ = (char)(0x80 | (code >> 6 & 63));
        *to++ = (char)(0x80 | (code & 63));
    } else {
        *to++ = (char)(0xf0 | code >> 18);
        *to++ = (char)(0x80 | (code >> 12 & 63));
        *to++ = (char)(0x80 | (code >> 6 & 63));
        *to++ = (char)(0x80 | (code & 63));
    }
    return to;
}

/* \uXXXX at `*at` (behind the u), with its second half if it is a surrogate pair; -1: malformed. */
static int32_t read_unicode(const char **at, const char *end) {
    const int32_t code = hex4(*at, end);
    if (code < 0) return -1;
    *at += 4;
    if (code < 0xd800 || code > 0xdfff) return code;
    if (code < 0xdc00 && end - *at >= 6 && (*at)[0] == '\\' && (*at)[1] == 'u') {
        const int32_t low = hex4(*at + 2, end);
        if (low >= 0xdc00 && low <= 0xdfff) {
            *at += 6;
            return 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
        }
    }
    return 0xfffd;
}

/* What a one-character escape stands for, 0 if it is none. */
static char simple_escape(char c) {
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    const char *found = c == 0 ? NULL : strchr(from, c);
    return found == NULL ? 0 : to[found - from];
}

/* The rest of a string with escapes: `from` is its first character, json->at the first backslash,
 * `close` its closing quote. Unescaped text is never longer than the escaped one. */
static hk_err
unescape(struct hk_json *json, const char *from, const char *close, struct hk_str *out) {
    char *text = hk_arena_alloc_raw(json->arena, (size_t)(close - from) + 1, 1);
    if (text == NULL) return hk_fail(HK_E_NOMEM, "json: out of memory");
    char *to = text;
    const char *at = from;
    while (at < close) {
        if (*at != '\\') {
            *to++ = *at++;
            continue;
        }
        json->at = at++;
        if (*at == 'u') {
            at++;
            const int32_t code = read_unicode(&at, close);
            if (code < 0) return hk_json_fail(json, "bad \\u escape");
            to = put_utf8(to, (uint32_t)code);
            continue;
        }
        const char plain = simple_escape(*at++);
        if (plain == 0) return hk_json_fail(json, "unknown escape");
        *to++ = plain;
    }
    *to = 0;
    *out = (struct hk_str){ text, (size_t)(to - text) };
    return HK_OK;
}

/* A string whose opening quote is at json->at. */
static hk_err read_string(struct hk_json *json, struct hk_str *out) {
    const char *from = ++json->at;
    bool escaped = false;
    for (;;) {
        if (json->at == json->end) return hk_json_fail(json, "the text ends inside a string");
        const unsigned char c = (unsigned char)*json->at;
        if (c == '"') break;
        if (c < 0x20) return hk_json_fail(json, "control character in a string");
        if (c == '\\') {
            escaped = true;
            if (json->end - json->at < 2) return hk_json_fail(json, "the text ends in an escape");
            json->at += 2; /* a non-ASCII byte behind it fails as an escape later */
            continue;
        }
        const size_t len = c < 0x80 ? 1 : utf8_len(json->at, json->end);
        if (len == 0) return hk_json_fail(json, "invalid UTF-8");
        json->at += len;
    }
    const char *close = json->at;
    if (escaped) {
        HK_TRY(unescape(json, from, close, out));
    } else {
        *out = (struct hk_str){ from, (size_t)(close - from) };
    }
    json->at = close + 1;
    return HK_OK;
}

static bool is_digit(const struct hk_json *json) {
    return json->at < json->end && *json->at >= '0' && *json->at <= '9';
}

static bool skip_digits(struct hk_json *json) {
    if (!is_digit(json)) return false;
    while (is_digit(json))
        json->at++;
    return true;
}

static bool skip_char(struct hk_json *json, char c) {
    if (json->at == json->end || *json->at != c) return false;
    json->at++;
    return true;
}

/* RFC 8259 §6. */
static hk_err read_number(struct hk_json *json) {
    const char *from = json->at;
    (void)skip_char(json, '-');
    const bool zero = skip_char(json, '0');
    if (!zero && !skip_digits(json)) return hk_json_fail(json, "unexpected character");
    if (zero && is_digit(json)) return hk_json_fail(json, "number with a leading zero");
    if (skip_char(json, '.') && !skip_digits(json)) return hk_json_fail(json, "bad number");
    if (skip_char(json, 'e') || skip_char(json, 'E')) {
        if (!skip_char(json, '-')) (void)skip_char(json, '+');
        if (!skip_digits(json)) return hk_json_fail(json, "bad number");
    }
    json->type = HK_JSON_NUMBER;
    json->text = (struct hk_str){ from, (size_t)(json->at - from) };
    return HK_OK;
}

static hk_err read_word(struct hk_json *json, const char *word, enum hk_json_type type) {
    const size_t len = strlen(word);
    if ((size_t)(json->end - json->at) < len || memcmp(json->at, word, len) != 0) {
        return hk_json_fail(json, "unexpected character");
    }
    json->at += len;
    json->type = type;
    return HK_OK;
}

static hk_err open_level(struct hk_json *json, bool array) {
    if (json->depth == HK_JSON_DEPTH_MAX) {
        return hk_fail(
            HK_E_LIMIT, "json: nested over %d deep at byte %zu", HK_JSON_DEPTH_MAX,
            hk_json_offset(json));
    }
    const uint64_t bit = 1ULL << json->depth++; /* (2) */
    json->arrays = array ? json->arrays | bit : json->arrays & ~bit;
    json->first = true;
    json->at++;
    json->type = array ? HK_JSON_ARRAY : HK_JSON_OBJECT;
    return HK_OK;
}

static hk_err read_value(struct hk_json *json) {
    if (json->at == json->end) return hk_json_fail(json, "the text ends where a value should be");
    switch (*json->at) {
    case '{':
        return open_level(json, false);
    case '[':
        return open_level(json, true);
    case '"':
        json->type = HK_JSON_STRING;
        return read_string(json, &json->text);
    case 't':
        return read_word(json, "true", HK_JSON_TRUE);
    case 'f':
        return read_word(json, "false", HK_JSON_FALSE);
    case 'n':
        return read_word(json, "null", HK_JSON_NULL);
    default:
        return read_number(json);
    }
}

static hk_err read_key(struct hk_json *json) {
    if (json->at == json->end || *json->at != '"') return hk_json_fail(json, "expected a key");
    HK_TRY(read_string(json, &json->key));
    skip_space(json);
    if (!skip_char(json, ':')) return hk_json_fail(json, "expected ':'");
    skip_space(json);
    return HK_OK;
}

hk_err hk_json_next(struct hk_json *json) {
    json->key = json->text = (struct hk_str){ "", 0 };
    skip_space(json);
    hk_assert_slow(json->at <= json->end); /* (1) */
    if (json->depth == 0) {
        if (json->type == HK_JSON_NONE) return read_value(json);
        return json->at == json->end ? HK_END : hk_json_fail(json, "text behind the value");
    }
    const bool array = (json->arrays >> (json->depth - 1) & 1) != 0;
    if (json->at < json->end && *json->at == (array ? ']' : '}')) {
        json->at++;
        json->depth--;
        json->first = false;
        json->type = array ? HK_JSON_ARRAY_END : HK_JSON_OBJECT_END;
        return HK_OK;
    }
    if (!json->first) {
        if (!skip_char(json, ',')) {
            return hk_json_fail(json, array ? "expected ',' or ']'" : "expected ',' or '}'");
        }
        skip_space(json);
    }
    json->first = false;
    if (!array) HK_TRY(read_key(json));
    return read_value(json);
}

hk_err hk_json_skip(struct hk_json *json) {
    if (json->type != HK_JSON_OBJECT && json->type != HK_JSON_ARRAY) return HK_OK;
    const uint32_t depth = json->depth - 1;
    while (json->depth > depth)
        HK_TRY(hk_json_next(json));
    return HK_OK;
}

static const char *type_text(enum hk_json_type type) {
    static const char *const texts[] = {
        [HK_JSON_NONE] = "nothing",    [HK_JSON_OBJECT] = "an object",
        [HK_JSON_OBJECT_END] = "'}'",  [HK_JSON_ARRAY] = "an array",
        [HK_JSON_ARRAY_END] = "']'",   [HK_JSON_STRING] = "a string",
        [HK_JSON_NUMBER] = "a number", [HK_JSON_TRUE] = "true",
        [HK_JSON_FALSE] = "false",     [HK_JSON_NULL] = "null",
    };
    return texts[type];
}

/* "json: "port" should be a number, but is …". */
static hk_err wrong(const struct hk_json *json, const char *want) {
    const size_t offset = hk_json_offset(json);
    if (json->key.len == 0) {
        return hk_fail(
            HK_E_MALFORMED, "json: expected %s, found %s at byte %zu", want, type_text(json->type),
            offset);
    }
    return hk_fail(
        HK_E_MALFORMED, "json: \"%.*s\" should be %s, found %s at byte %zu", HK_STR_ARG(json->key),
        want, type_text(json->type), offset);
}

hk_err hk_json_begin(struct hk_json *json, enum hk_json_type type) {
    HK_TRY(hk_json_next(json));
    return json->type == type ? HK_OK : wrong(json, type_text(type));
}

static bool is_numeric(const struct hk_json *json) {
    return json->type == HK_JSON_NUMBER || json->type == HK_JSON_STRING;
}

hk_err hk_json_i64(const struct hk_json *json, int64_t *out) {
    double real = 0;
    if (!is_numeric(json)) return wrong(json, "an integer");
    if (hk_parse_i64(json->text, out) == HK_OK) return HK_OK;
    if (hk_parse_double(json->text, &real) < 0) return wrong(json, "an integer");
    /* Limits: doubles at and beyond 2^63 do not fit. */
    if (!(real >= -0x1p63 && real < 0x1p63)) return wrong(json, "a 64-bit integer");
    if ((double)(int64_t)real != real) return wrong(json, "an integer");
    *out = (int64_t)real;
    return HK_OK;
}

hk_err hk_json_u64(const struct hk_json *json, uint64_t *out) {
    double real = 0;
    if (!is_numeric(json)) return wrong(json, "an integer");
    if (hk_parse_u64(json->text, out) == HK_OK) return HK_OK;
    if (hk_parse_double(json->text, &real) < 0) return wrong(json, "an integer");
    if (!(real >= 0 && real < 0x1p64)) return wrong(json, "an unsigned 64-bit integer");
    if ((double)(uint64_t)real != real) return wrong(json, "an integer");
    *out = (uint64_t)real;
    return HK_OK;
}

hk_err hk_json_double(const struct hk_json *json, double *out) {
    if (!is_numeric(json)) return wrong(json, "a number");
    if (hk_parse_double(json->text, out) < 0) return wrong(json, "a number");
    return HK_OK;
}

hk_err hk_json_bool(const struct hk_json *json, bool *out) {
    if (json->type != HK_JSON_TRUE && json->type != HK_JSON_FALSE) {
        return wrong(json, "true or false");
    }
    *out = json->type == HK_JSON_TRUE;
    return HK_OK;
}

hk_err hk_json_str(const struct hk_json *json, struct hk_str *out) {
    if (json->type != HK_JSON_STRING) return wrong(json, "a string");
    *out = json->text;
    return HK_OK;
}
