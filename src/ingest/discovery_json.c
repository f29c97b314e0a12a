/*
 * Target groups as JSON (RFC 8259): [{"targets": ["host:port"], "labels": {"name": "value"}}]. The
 * shape is fixed, so the reader needs no stack; keys that do not belong there are refused, as
 * Prometheus does.
 */
#include "ingest/discovery_internal.h"

struct reader {
    struct hk_str text;
    size_t at;
    struct hk_buf string; /* the string read last, unescaped */
    struct hk_discovery_finding *finding;
    struct hk_discovery_draft *draft;
};

static hk_err broken(const struct reader *reader, const char *wanted) {
    size_t line = 1;
    size_t column = 1;
    for (size_t i = 0; i < reader->at && i < reader->text.len; i++) {
        bool end = reader->text.ptr[i] == '\n';
        line += end;
        column = end ? 1 : column + 1;
    }
    return hk_fail(HK_E_MALFORMED, "JSON, line %zu, column %zu: %s", line, column, wanted);
}

/* The next byte behind white space, 0 at the end. */
static char peek(struct reader *reader) {
    while (reader->at < reader->text.len) {
        char c = reader->text.ptr[reader->at];
        if (c != ' ' && c != '\t' && c != '\n' && c != '\r') return c;
        reader->at++;
    }
    return 0;
}

static bool take(struct reader *reader, char wanted) {
    if (peek(reader) != wanted || reader->at == reader->text.len) return false;
    reader->at++;
    return true;
}

static bool take_null(struct reader *reader) {
    (void)peek(reader);
    if (!hk_str_is(hk_str_part(reader->text, reader->at, reader->at + 4), "null")) return false;
    reader->at += 4;
    return true;
}

static int32_t hex4(const struct reader *reader) {
    int32_t value = 0;
    if (reader->text.len - reader->at < 4) return -1;
    for (size_t i = 0; i < 4; i++) {
        char c = reader->text.ptr[reader->at + i];
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;
        if (digit < 0) return -1;
        value = value * 16 + digit;
    }
    return value;
}

static void put_utf8(struct hk_buf *out, uint32_t c) {
    if (c < 0x80) {
        hk_buf_char(out, (char)c);
    } else if (c < 0x800) {
        hk_buf_char(out, (char)(0xc0 | c >> 6));
        hk_buf_char(out, (char)(0x80 | (c & 0x3f)));
    } else if (c < 0x10000) {
        hk_buf_char(out, (char)(0xe0 | c >> 12));
        hk_buf_char(out, (char)(0x80 | (c >> 6 & 0x3f)));
        hk_buf_char(out, (char)(0x80 | (c & 0x3f)));
    } else {
        hk_buf_char(out, (char)(0xf0 | c >> 18));
        hk_buf_char(out, (char)(0x80 | (c >> 12 & 0x3f)));
        hk_buf_char(out, (char)(0x80 | (c >> 6 & 0x3f)));
        hk_buf_char(out, (char)(0x80 | (c & 0x3f)));
    }
}

/* Behind "\u"; a surrogate without its other half becomes U+FFFD. */
static hk_err read_unicode(struct reader *reader) {
    int32_t first = hex4(reader);
    if (first < 0) return broken(reader, "expected four hexadecimal digits");
    reader->at += 4;
    uint32_t c = (uint32_t)first;
    if (c >= 0xd800 && c < 0xe000) {
        bool pair =
            c < 0xdc00 && hk_str_is(hk_str_part(reader->text, reader->at, reader->at + 2), "\\u");
        c = 0xfffd;
        if (pair) {
            size_t back = reader->at;
            reader->at += 2;
            int32_t second = hex4(reader);
            if (second >= 0xdc00 && second < 0xe000) {
                c = 0x10000 + (((uint32_t)first - 0xd800) << 10) + ((uint32_t)second - 0xdc00);
                reader->at += 4;
            } else {
                reader->at = back;
            }
        }
    }
    put_utf8(&reader->string, c);
    return HK_OK;
}

static hk_err read_escape(struct reader *reader) {
    static const char from[] = "\"\\/bfnrt";
    static const char to[] = "\"\\/\b\f\n\r\t";
    if (reader->at == reader->text.len) return broken(reader, "the string does not end");
    char c = reader->text.ptr[reader->at++];
    if (c == 'u') return read_unicode(reader);
    const char *found = c == 0 ? NULL : strchr(from, c);
    if (found == NULL) return broken(reader, "unknown escape in a string");
    hk_buf_char(&reader->string, to[found - from]);
    return HK_OK;
}

static hk_err read_string(struct reader *reader) {
    if (!take(reader, '"')) return broken(reader, "expected a string");
    hk_buf_clear(&reader->string);
    for (;;) {
        size_t from = reader->at;
        while (reader->at < reader->text.len &&
               (unsigned char)reader->text.ptr[reader->at] >= 0x20 &&
               reader->text.ptr[reader->at] != '"' && reader->text.ptr[reader->at] != '\\')
            reader->at++;
        hk_buf_str(&reader->string, hk_str_part(reader->text, from, reader->at));
        if (reader->at == reader->text.len) return broken(reader, "the string does not end");
        char c = reader->text.ptr[reader->at++];
        if (c == '"') return reader->string.err < 0 ? reader->string.err : HK_OK;
        if (c != '\\') return broken(reader, "control character in a string");
        HK_TRY(read_escape(reader));
    }
}

static hk_err read_targets(struct reader *reader) {
    if (take_null(reader)) return HK_OK;
    if (!take(reader, '[')) return broken(reader, "expected a list of targets");
    if (take(reader, ']')) return HK_OK;
    do {
        HK_TRY(read_string(reader));
        HK_TRY(
            hk_discovery_add_target(reader->finding, reader->draft, hk_buf_get(&reader->string)));
    } while (take(reader, ','));
    return take(reader, ']') ? HK_OK : broken(reader, "expected ',' or ']'");
}

static hk_err read_labels(struct reader *reader) {
    if (take_null(reader)) return HK_OK;
    if (!take(reader, '{')) return broken(reader, "expected an object of labels");
    if (take(reader, '}')) return HK_OK;
    struct hk_buf name;
    hk_buf_init(&name, HK_DISCOVERY_BYTES_MAX);
    hk_err err = HK_OK;
    do {
        hk_buf_clear(&name);
        err = read_string(reader);
        if (err < 0) break;
        hk_buf_str(&name, hk_buf_get(&reader->string));
        err = name.err < 0         ? name.err
              : !take(reader, ':') ? broken(reader, "expected ':'")
                                   : read_string(reader);
        if (err < 0) break;
        err = hk_discovery_add_label(
            reader->finding, reader->draft, hk_buf_get(&name), hk_buf_get(&reader->string));
    } while (err >= 0 && take(reader, ','));
    hk_buf_deinit(&name);
    HK_TRY(err);
    return take(reader, '}') ? HK_OK : broken(reader, "expected ',' or '}'");
}

static hk_err read_group(struct reader *reader) {
    if (!take(reader, '{')) return broken(reader, "expected a target group, '{'");
    if (take(reader, '}')) return HK_OK;
    do {
        HK_TRY(read_string(reader));
        struct hk_str key = hk_buf_get(&reader->string);
        bool targets = hk_str_is(key, "targets");
        if (!targets && !hk_str_is(key, "labels")) {
            return broken(reader, "unknown key: a target group has \"targets\" and \"labels\"");
        }
        if (!take(reader, ':')) return broken(reader, "expected ':'");
        HK_TRY(targets ? read_targets(reader) : read_labels(reader));
    } while (take(reader, ','));
    return take(reader, '}') ? HK_OK : broken(reader, "expected ',' or '}'");
}

static hk_err read_all(struct reader *reader, struct hk_str meta_name, struct hk_str meta_value) {
    if (!take(reader, '[')) return broken(reader, "expected a list of target groups, '['");
    bool empty = take(reader, ']');
    if (!empty) {
        do {
            HK_TRY(read_group(reader));
            HK_TRY(hk_discovery_add_label(reader->finding, reader->draft, meta_name, meta_value));
            HK_TRY(hk_discovery_end_group(reader->finding, reader->draft));
        } while (take(reader, ','));
        if (!take(reader, ']')) return broken(reader, "expected ',' or ']'");
    }
    (void)peek(reader);
    return reader->at == reader->text.len ? HK_OK : broken(reader, "text behind the list");
}

hk_err hk_discovery_parse_json(
    struct hk_str text, struct hk_str meta_name, struct hk_str meta_value,
    struct hk_discovery_finding *out) {
    struct hk_discovery_draft draft;
    struct reader reader = { .text = text, .finding = out, .draft = &draft };
    hk_discovery_draft_init(&draft);
    hk_buf_init(&reader.string, HK_DISCOVERY_BYTES_MAX);
    hk_err err = read_all(&reader, meta_name, meta_value);
    hk_buf_deinit(&reader.string);
    hk_discovery_draft_deinit(&draft);
    return err;
}
