/* Scanning of /proc texts and writing of the Prometheus text form. Pure functions. */
#include "ingest/host_internal.h"

void hk_put_u64(struct hk_buf *out, uint64_t value) {
    char text[20];
    size_t at = sizeof(text);
    do {
        text[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    hk_buf_bytes(out, text + at, sizeof(text) - at);
}

void hk_put_i64(struct hk_buf *out, int64_t value) {
    if (value < 0) hk_buf_char(out, '-');
    hk_put_u64(out, value < 0 ? 0 - (uint64_t)value : (uint64_t)value);
}

void hk_put_fixed(struct hk_buf *out, uint64_t value, uint32_t digits) {
    uint64_t unit = 1;
    hk_assert(digits <= 18);
    for (uint32_t i = 0; i < digits; i++)
        unit *= 10;
    hk_put_u64(out, value / unit);
    uint64_t rest = value % unit;
    if (rest == 0) return;
    char text[19] = { '.' };
    for (uint32_t i = digits; i > 0; i--) {
        text[i] = (char)('0' + rest % 10);
        rest /= 10;
    }
    hk_buf_bytes(out, text, digits + 1);
}

void hk_put_ratio(struct hk_buf *out, uint64_t value, uint64_t divisor) {
    uint32_t digits = 0;
    uint64_t unit = 1;
    while (unit < divisor && digits < 18) {
        unit *= 10;
        digits++;
    }
    if (unit == divisor)
        hk_put_fixed(out, value, digits);
    else
        hk_buf_double(out, (double)value / (double)(divisor == 0 ? 1 : divisor));
}

void hk_put_label(struct hk_buf *out, struct hk_str value) {
    bool valid = hk_utf8_valid(value);
    size_t plain = 0;
    for (size_t i = 0; i < value.len; i++) {
        char c = value.ptr[i];
        bool high = !valid && (c & 0x80) != 0;
        if (c != '"' && c != '\\' && c != '\n' && !high) continue;
        hk_buf_bytes(out, value.ptr + plain, i - plain);
        plain = i + 1;
        if (high)
            hk_buf_char(out, '?');
        else if (c == '\n')
            HK_PUT(out, "\\n");
        else
            hk_buf_bytes(out, (const char[]){ '\\', c }, 2);
    }
    hk_buf_bytes(out, value.ptr + plain, value.len - plain);
}

void hk_put_device(struct hk_buf *out, const struct hk_host_family *family, const char *device) {
    hk_buf_str(out, family->sample);
    hk_put_label(out, hk_str_from(device));
    HK_PUT(out, "\"} ");
}

bool hk_next_line(struct hk_str *rest, struct hk_str *out) {
    if (rest->len == 0) return false;
    const char *end = memchr(rest->ptr, '\n', rest->len);
    size_t len = end == NULL ? rest->len : (size_t)(end - rest->ptr);
    *out = (struct hk_str){ rest->ptr, len };
    size_t used = end == NULL ? len : len + 1;
    *rest = (struct hk_str){ rest->ptr + used, rest->len - used };
    return true;
}

static bool is_space(char c) {
    return c == ' ' || c == '\t';
}

bool hk_next_word(struct hk_str *line, struct hk_str *out) {
    size_t from = 0;
    while (from < line->len && is_space(line->ptr[from]))
        from++;
    size_t to = from;
    while (to < line->len && !is_space(line->ptr[to]))
        to++;
    if (to == from) return false;
    *out = (struct hk_str){ line->ptr + from, to - from };
    *line = (struct hk_str){ line->ptr + to, line->len - to };
    return true;
}

bool hk_next_u64(struct hk_str *line, uint64_t *out) {
    struct hk_str rest = *line;
    struct hk_str word;
    if (!hk_next_word(&rest, &word)) return false;
    uint64_t value = 0;
    for (size_t i = 0; i < word.len; i++) {
        unsigned digit = (unsigned)(unsigned char)word.ptr[i] - '0';
        if (digit > 9 || __builtin_mul_overflow(value, (uint64_t)10, &value) ||
            __builtin_add_overflow(value, (uint64_t)digit, &value)) {
            return false;
        }
    }
    *out = value;
    *line = rest;
    return true;
}

bool hk_copy_name(char *to, size_t bytes, struct hk_str from) {
    size_t len = from.len < bytes - 1 ? from.len : bytes - 1;
    if (len > 0) memcpy(to, from.ptr, len);
    to[len] = 0;
    return len == from.len;
}
