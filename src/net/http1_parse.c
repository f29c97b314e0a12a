/*
 * HTTP/1.1 message syntax. A head is parsed in one pass once its end has been found; the search
 * for the end refuses bare LF and bare CR at once.
 */
#include "net/http1_parse.h"

enum { CHUNK_DIGITS_MAX = 15, CHUNK_OVERHEAD_MAX = 16384, LENGTH_DIGITS_MAX = 18 };

/* RFC 9110 §5.6.2: tchar. */
static bool is_tchar(unsigned char c) {
    if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9')) return true;
    return c != 0 && strchr("!#$%&'*+-.^_`|~", c) != NULL;
}

bool hk_http_is_token(struct hk_str str) {
    for (size_t i = 0; i < str.len; i++) {
        if (!is_tchar((unsigned char)str.ptr[i])) return false;
    }
    return str.len > 0;
}

bool hk_http_is_value(struct hk_str str) {
    for (size_t i = 0; i < str.len; i++) {
        unsigned char c = (unsigned char)str.ptr[i];
        if ((c < 0x20 && c != '\t') || c == 0x7f) return false;
    }
    return true;
}

bool hk_http_list_has(struct hk_str list, struct hk_str word) {
    size_t at = 0;
    while (at <= list.len) {
        size_t end = hk_str_find(list, ',', at);
        if (hk_str_eq_nocase(hk_str_trim(hk_str_part(list, at, end)), word)) return true;
        at = end + 1;
    }
    return false;
}

int64_t hk_h1_find_end(const char *data, size_t len, size_t *scanned) {
    size_t at = *scanned;
    while (at < len) {
        const char *lf = memchr(data + at, '\n', len - at);
        if (lf == NULL) break;
        size_t end = (size_t)(lf - data);
        if (end == 0 || data[end - 1] != '\r') return -1;
        at = end + 1;
        if (end >= 3 && data[end - 2] == '\n') return (int64_t)at;
    }
    *scanned = len;
    return 0;
}

static int refuse(struct hk_h1_head *head, int status, const char *reason) {
    head->reason = reason;
    return status;
}

/* RFC 9110 §8.6: only digits; a list or a sign is refused. */
static bool parse_length(struct hk_str text, uint64_t *out) {
    uint64_t value = 0;
    if (text.len == 0 || text.len > LENGTH_DIGITS_MAX) return false;
    for (size_t i = 0; i < text.len; i++) {
        unsigned digit = (unsigned char)text.ptr[i] - (unsigned)'0';
        if (digit > 9) return false;
        value = value * 10 + digit;
    }
    *out = value;
    return true;
}

/* RFC 9112 §6: the fields that decide where the message ends. */
static int read_framing(struct hk_h1_head *head, const struct hk_http_header *field) {
    if (hk_str_is(field->name, "content-length")) {
        if (head->has_length) return refuse(head, 400, "Content-Length is given twice");
        if (!parse_length(field->value, &head->content_length))
            return refuse(head, 400, "Content-Length is not a number");
        head->has_length = true;
    } else if (hk_str_is(field->name, "transfer-encoding")) {
        if (head->chunked) return refuse(head, 400, "Transfer-Encoding is given twice");
        if (!hk_str_eq_nocase(field->value, HK_STR("chunked")))
            return refuse(head, 501, "the only Transfer-Encoding understood is \"chunked\"");
        head->chunked = true;
    }
    return 0;
}

/* RFC 9110 §7.2: host and port, loosely; what could be taken for another part of a URL is not. */
static bool is_host(struct hk_str host) {
    for (size_t i = 0; i < host.len; i++) {
        if (strchr(" \t/?#@\\<>\"{}|^`", host.ptr[i]) != NULL) return false;
    }
    return true;
}

static int read_field(struct hk_h1_head *head, const struct hk_http_header *field) {
    size_t len = field->name.len;
    if (len == 14 || len == 17) return read_framing(head, field);
    if (len == 4 && hk_str_is(field->name, "host")) {
        if (head->host.ptr != NULL) return refuse(head, 400, "Host is given twice");
        if (!is_host(field->value)) return refuse(head, 400, "Host is not a host name");
        head->host = field->value;
    } else if (len == 10 && hk_str_is(field->name, "connection")) {
        if (hk_http_list_has(field->value, HK_STR("close"))) head->keep_alive = false;
        if (head->minor == 0 && hk_http_list_has(field->value, HK_STR("keep-alive")))
            head->keep_alive = true;
    } else if (len == 6 && hk_str_is(field->name, "expect")) {
        if (!hk_str_eq_nocase(field->value, HK_STR("100-continue")))
            return refuse(head, 417, "the only expectation understood is \"100-continue\"");
        head->expect_continue = head->minor >= 1;
    }
    return 0;
}

/* One field line without its CRLF (RFC 9112 §5). */
static int
parse_field(char *line, size_t len, struct hk_http_header *field, struct hk_h1_head *head) {
    if (line[0] == ' ' || line[0] == '\t')
        return refuse(head, 400, "a header line begins with a space (obs-fold)");
    size_t colon = 0;
    while (colon < len && is_tchar((unsigned char)line[colon])) {
        if (line[colon] >= 'A' && line[colon] <= 'Z') line[colon] = (char)(line[colon] + 32);
        colon++;
    }
    if (colon == 0 || colon == len || line[colon] != ':')
        return refuse(head, 400, "a header line is not \"name: value\"");
    size_t from = colon + 1;
    size_t to = len;
    while (from < to && (line[from] == ' ' || line[from] == '\t'))
        from++;
    while (to > from && (line[to - 1] == ' ' || line[to - 1] == '\t'))
        to--;
    field->name = (struct hk_str){ line, colon };
    field->value = (struct hk_str){ line + from, to - from };
    if (!hk_http_is_value(field->value))
        return refuse(head, 400, "a header value holds a control character");
    return read_field(head, field);
}

/* All lines after the start line; data ends with an empty line. */
static int parse_fields(
    char *data, size_t at, size_t len, struct hk_http_header *headers, struct hk_h1_head *head) {
    while (at + 2 < len) {
        const char *lf = memchr(data + at, '\n', len - at);
        if (lf == NULL) return refuse(head, 400, "a header line has no end");
        size_t end = (size_t)(lf - data);
        if (end <= at + 1) return refuse(head, 400, "an empty line among the headers");
        if (head->header_count == HK_HTTP_HEADERS_MAX)
            return refuse(head, 431, "more than 256 header lines");
        int status = parse_field(data + at, end - 1 - at, &headers[head->header_count], head);
        if (status != 0) return status;
        head->header_count++;
        at = end + 1;
    }
    return 0;
}

/* RFC 9112 §3: method SP target SP version. */
static int parse_request_line(struct hk_str line, struct hk_h1_head *head) {
    size_t first = hk_str_find(line, ' ', 0);
    size_t second = hk_str_find(line, ' ', first + 1);
    if (second >= line.len) return refuse(head, 400, "the request line is not complete");
    head->method = hk_str_part(line, 0, first);
    head->target = hk_str_part(line, first + 1, second);
    struct hk_str version = hk_str_part(line, second + 1, line.len);
    if (!hk_http_is_token(head->method)) return refuse(head, 400, "the method is not a token");
    if (head->target.len == 0) return refuse(head, 400, "the request target is empty");
    if (!hk_http_is_value(head->target) || memchr(head->target.ptr, '\t', head->target.len) != NULL)
        return refuse(head, 400, "the request target holds a control character");
    if (version.len != 8 || memcmp(version.ptr, "HTTP/", 5) != 0 || version.ptr[6] != '.')
        return refuse(head, 400, "the request line does not end in an HTTP version");
    if (version.ptr[5] != '1' || (version.ptr[7] != '0' && version.ptr[7] != '1'))
        return refuse(head, 505, "only HTTP/1.0, HTTP/1.1 and HTTP/2 are spoken here");
    head->minor = version.ptr[7] == '1';
    head->keep_alive = head->minor == 1;
    return 0;
}

int hk_h1_parse_request(
    char *data, size_t len, struct hk_http_header *headers, struct hk_h1_head *out) {
    *out = (struct hk_h1_head){ 0 };
    const char *lf = memchr(data, '\n', len);
    if (lf == NULL || lf == data) return refuse(out, 400, "the request line is not complete");
    size_t end = (size_t)(lf - data);
    if (memchr(data, '\r', end - 1) != NULL) return refuse(out, 400, "a bare CR");
    int status = parse_request_line((struct hk_str){ data, end - 1 }, out);
    if (status == 0) status = parse_fields(data, end + 1, len, headers, out);
    if (status != 0) return status;
    if (out->chunked && out->has_length)
        return refuse(out, 400, "both Content-Length and Transfer-Encoding are given");
    if (out->chunked && out->minor == 0)
        return refuse(out, 400, "HTTP/1.0 has no Transfer-Encoding");
    if (out->host.ptr == NULL && out->minor == 1) return refuse(out, 400, "Host is missing");
    return 0;
}

int hk_h1_parse_answer(
    char *data, size_t len, struct hk_http_header *headers, struct hk_h1_head *out) {
    *out = (struct hk_h1_head){ 0 };
    const char *lf = memchr(data, '\n', len);
    size_t end = lf == NULL ? 0 : (size_t)(lf - data);
    /* RFC 9112 §4: "HTTP/1.1 200" and a reason of any text. */
    if (end < 13 || memcmp(data, "HTTP/1.", 7) != 0 || data[8] != ' ')
        return refuse(out, -1, "not an HTTP/1 status line");
    if (data[7] != '0' && data[7] != '1') return refuse(out, -1, "unknown HTTP version");
    for (int i = 9; i < 12; i++) {
        if (data[i] < '0' || data[i] > '9') return refuse(out, -1, "the status is not a number");
        out->status = out->status * 10 + (data[i] - '0');
    }
    if (out->status < 100 || (data[12] != ' ' && data[12] != '\r'))
        return refuse(out, -1, "the status is not a number of three digits");
    out->minor = data[7] == '1';
    out->keep_alive = out->minor == 1;
    if (parse_fields(data, end + 1, len, headers, out) != 0) return -1;
    if (out->chunked && out->has_length)
        return refuse(out, -1, "both Content-Length and Transfer-Encoding are given");
    return 0;
}

static int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

static bool chunk_size_byte(struct hk_h1_chunks *chunks, char c) {
    int digit = hex_digit(c);
    if (digit >= 0) {
        chunks->left = chunks->left * 16 + (unsigned)digit;
        return ++chunks->digits <= CHUNK_DIGITS_MAX;
    }
    if (chunks->digits == 0) return false;
    chunks->state = c == '\r' ? HK_H1_CHUNK_SIZE_LF : HK_H1_CHUNK_EXTENSION;
    return c == '\r' || c == ';' || c == ' ' || c == '\t';
}

static bool chunk_extension_byte(struct hk_h1_chunks *chunks, char c) {
    if (++chunks->overhead_bytes > CHUNK_OVERHEAD_MAX) return false;
    if (c == '\r') {
        chunks->state = HK_H1_CHUNK_SIZE_LF;
        return true;
    }
    return hk_http_is_value((struct hk_str){ &c, 1 });
}

/* Trailers are checked for line ends and length, and dropped (RFC 9110 §6.5.1). */
static bool chunk_trailer_byte(struct hk_h1_chunks *chunks, char c) {
    if (++chunks->overhead_bytes > CHUNK_OVERHEAD_MAX) return false;
    bool ok = true;
    if (c == '\n') {
        ok = chunks->last == '\r';
        if (chunks->trailer_line == 1) chunks->state = HK_H1_CHUNK_DONE;
        chunks->trailer_line = 0;
    } else {
        ok = chunks->last != '\r' && (c == '\r' || hk_http_is_value((struct hk_str){ &c, 1 }));
        chunks->trailer_line++;
    }
    chunks->last = c == '\n' ? 0 : c;
    return ok;
}

static bool chunk_frame_byte(struct hk_h1_chunks *chunks, char c) {
    switch (chunks->state) {
    case HK_H1_CHUNK_SIZE:
        return chunk_size_byte(chunks, c);
    case HK_H1_CHUNK_EXTENSION:
        return chunk_extension_byte(chunks, c);
    case HK_H1_CHUNK_SIZE_LF:
        chunks->state = chunks->left > 0 ? HK_H1_CHUNK_DATA : HK_H1_CHUNK_TRAILER;
        chunks->digits = 0;
        return c == '\n';
    case HK_H1_CHUNK_DATA_CR:
        chunks->state = HK_H1_CHUNK_DATA_LF;
        return c == '\r';
    case HK_H1_CHUNK_DATA_LF:
        chunks->state = HK_H1_CHUNK_SIZE;
        return c == '\n';
    case HK_H1_CHUNK_TRAILER:
        return chunk_trailer_byte(chunks, c);
    case HK_H1_CHUNK_DATA:
    case HK_H1_CHUNK_DONE:
    default:
        return false;
    }
}

int64_t
hk_h1_chunks_next(struct hk_h1_chunks *chunks, const char *data, size_t len, struct hk_str *out) {
    size_t at = 0;
    *out = (struct hk_str){ data, 0 };
    while (at < len && chunks->state != HK_H1_CHUNK_DATA && chunks->state != HK_H1_CHUNK_DONE) {
        if (!chunk_frame_byte(chunks, data[at])) return -1;
        at++;
    }
    if (chunks->state == HK_H1_CHUNK_DATA && at < len) {
        size_t take = len - at < chunks->left ? len - at : (size_t)chunks->left;
        *out = (struct hk_str){ data + at, take };
        chunks->left -= take;
        at += take;
        if (chunks->left == 0) chunks->state = HK_H1_CHUNK_DATA_CR;
    }
    return (int64_t)at;
}
