/*
 * Growable byte buffer with a limit. Writes after a failure do nothing; check `err` once at the
 * end. Owner: whoever initialised it. Not thread-safe.
 */
#ifndef HK_BASE_BUF_H
#define HK_BASE_BUF_H

#include "base/err.h"
#include "base/str.h"

struct hk_buf {
    char *ptr; /* not NUL-terminated; see hk_buf_text */
    size_t len;
    size_t capacity;
    size_t bytes_max;
    hk_err err; /* HK_OK, HK_E_NOMEM or HK_E_LIMIT; sticky */
};

/* Empty buffer that holds at most `bytes_max` bytes. */
void hk_buf_init(struct hk_buf *buf, size_t bytes_max);

/* Frees the memory; the buffer is empty and usable again. */
void hk_buf_deinit(struct hk_buf *buf);

/* Empties it, keeps the memory and clears the error. */
void hk_buf_clear(struct hk_buf *buf);

/* Makes room for `bytes` more and returns where to write them (add to len yourself), or NULL. */
char *hk_buf_reserve(struct hk_buf *buf, size_t bytes);

/* Appending. */
void hk_buf_bytes(struct hk_buf *buf, const void *from, size_t bytes);
void hk_buf_str(struct hk_buf *buf, struct hk_str str);
void hk_buf_text(struct hk_buf *buf, const char *text);
void hk_buf_char(struct hk_buf *buf, char c);
void hk_buf_printf(struct hk_buf *buf, const char *format, ...) HK_PRINTF(2, 3);

/* Number as hk_format_double writes it. */
void hk_buf_double(struct hk_buf *buf, double value);

/* JSON string with quotes; bytes that are not UTF-8 become U+FFFD. */
void hk_buf_json(struct hk_buf *buf, struct hk_str str);

/* The content, borrowed until the next write. */
static inline struct hk_str hk_buf_get(const struct hk_buf *buf) {
    return (struct hk_str){ buf->ptr == NULL ? "" : buf->ptr, buf->len };
}

#endif
