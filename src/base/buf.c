/* Growable byte buffer. Invariant (1): len <= capacity <= bytes_max. */
#include "base/buf.h"

#include "base/mem.h"

#include <stdarg.h>
#include <stdio.h>

void hk_buf_init(struct hk_buf *buf, size_t bytes_max) {
    *buf = (struct hk_buf){ .bytes_max = bytes_max };
}

void hk_buf_deinit(struct hk_buf *buf) {
    hk_mem_free(buf->ptr);
    hk_buf_init(buf, buf->bytes_max);
}

void hk_buf_clear(struct hk_buf *buf) {
    buf->len = 0;
    buf->err = HK_OK;
}

char *hk_buf_reserve(struct hk_buf *buf, size_t bytes) {
    if (buf->err < 0) return NULL;
    hk_assert(buf->len <= buf->capacity); /* (1) */
    if (HK_LIKELY(buf->capacity - buf->len >= bytes && buf->ptr != NULL))
        return buf->ptr + buf->len;
    if (bytes > buf->bytes_max || buf->len > buf->bytes_max - bytes) {
        buf->err = HK_E_LIMIT;
        return NULL;
    }
    size_t want = buf->capacity < 128 ? 256 : buf->capacity * 2;
    if (want < buf->len + bytes) want = buf->len + bytes;
    if (want > buf->bytes_max) want = buf->bytes_max;
    char *grown = hk_mem_resize(buf->ptr, want, 1);
    if (grown == NULL) {
        buf->err = HK_E_NOMEM;
        return NULL;
    }
    buf->ptr = grown;
    buf->capacity = want;
    return grown + buf->len;
}

void hk_buf_bytes(struct hk_buf *buf, const void *from, size_t bytes) {
    if (bytes == 0) return;
    char *to = hk_buf_reserve(buf, bytes);
    if (to == NULL) return;
    memcpy(to, from, bytes);
    buf->len += bytes;
}

void hk_buf_str(struct hk_buf *buf, struct hk_str str) {
    hk_buf_bytes(buf, str.ptr, str.len);
}

void hk_buf_text(struct hk_buf *buf, const char *text) {
    hk_buf_bytes(buf, text, strlen(text));
}

void hk_buf_char(struct hk_buf *buf, char c) {
    hk_buf_bytes(buf, &c, 1);
}

void hk_buf_printf(struct hk_buf *buf, const char *format, ...) {
    char small[256];
    va_list args;
    va_start(args, format);
    int len = vsnprintf(small, sizeof(small), format, args);
    va_end(args);
    if (len < 0) return;
    if ((size_t)len < sizeof(small)) {
        hk_buf_bytes(buf, small, (size_t)len);
        return;
    }
    char *to = hk_buf_reserve(buf, (size_t)len + 1);
    if (to == NULL) return;
    va_start(args, format);
    (void)vsnprintf(to, (size_t)len + 1, format, args);
    va_end(args);
    buf->len += (size_t)len;
}

void hk_buf_double(struct hk_buf *buf, double value) {
    char text[HK_DOUBLE_BYTES_MAX];
    hk_buf_bytes(buf, text, hk_format_double(value, text));
}

/* Length of the well-formed UTF-8 sequence at `at` (RFC 3629), 0 if there is none. */
static size_t utf8_len(const unsigned char *at, size_t left) {
    unsigned char c = at[0];
    size_t len = c < 0x80 ? 1 : (c >= 0xc2 && c < 0xe0) ? 2 : (c >= 0xe0 && c < 0xf0) ? 3 : 0;
    if (c >= 0xf0 && c < 0xf5) len = 4;
    if (len == 0 || len > left) return 0;
    for (size_t i = 1; i < len; i++) {
        if ((at[i] & 0xc0) != 0x80) return 0;
    }
    if (c == 0xe0 && at[1] < 0xa0) return 0;
    if (c == 0xed && at[1] > 0x9f) return 0;
    if (c == 0xf0 && at[1] < 0x90) return 0;
    if (c == 0xf4 && at[1] > 0x8f) return 0;
    return len;
}

static void json_escape(struct hk_buf *buf, unsigned char c) {
    switch (c) {
    case '"':
        hk_buf_text(buf, "\\\"");
        return;
    case '\\':
        hk_buf_text(buf, "\\\\");
        return;
    case '\n':
        hk_buf_text(buf, "\\n");
        return;
    case '\r':
        hk_buf_text(buf, "\\r");
        return;
    case '\t':
        hk_buf_text(buf, "\\t");
        return;
    default:
        hk_buf_printf(buf, "\\u%04x", c);
        return;
    }
}

void hk_buf_json(struct hk_buf *buf, struct hk_str str) {
    hk_buf_char(buf, '"');
    const unsigned char *bytes = (const unsigned char *)str.ptr;
    size_t plain = 0; /* start of the run not written yet */
    size_t i = 0;
    while (i < str.len) {
        unsigned char c = bytes[i];
        bool ascii = c >= 0x20 && c < 0x7f && c != '"' && c != '\\';
        size_t len = ascii ? 1 : c >= 0x80 ? utf8_len(bytes + i, str.len - i) : 0;
        if (len > 0) {
            i += len;
            continue;
        }
        hk_buf_bytes(buf, bytes + plain, i - plain);
        if (c < 0x80)
            json_escape(buf, c);
        else
            hk_buf_text(buf, "\xef\xbf\xbd");
        plain = ++i;
    }
    if (i > plain) hk_buf_bytes(buf, bytes + plain, i - plain);
    hk_buf_char(buf, '"');
}
