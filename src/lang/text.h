/*
 * Texts as Go writes and reads them, which is what Prometheus' messages and labels hold: quoted
 * strings (strconv.Quote), their inverse, and numbers without exponent. Pure.
 */
#ifndef HK_LANG_TEXT_H
#define HK_LANG_TEXT_H

#include "base/buf.h"
#include "base/str.h"

enum {
    HK_RUNE_ERROR = 0xfffd,    /* what a byte that is not UTF-8 decodes to */
    HK_PLAIN_BYTES_MAX = 1100, /* longest number without exponent, sign and point included */
    HK_GENERAL_BYTES_MAX = 40, /* longest number as Go's %g writes it */
};

/* The rune at `at` (which is inside `text`) and its length in bytes; HK_RUNE_ERROR and 1 for a byte
 * that is not UTF-8. */
uint32_t hk_rune_decode(struct hk_str text, size_t at, size_t *out_bytes);

/* Appends the rune as UTF-8. */
void hk_rune_encode(uint32_t rune, struct hk_buf *out);

/* Would Go print it as itself in a quoted string? */
bool hk_rune_printable(uint32_t rune);

/* Appends `text` in double quotes with Go's escapes (%q). */
void hk_quote(struct hk_str text, struct hk_buf *out);

/* Appends a rune in single quotes with Go's escapes (%q of a rune). */
void hk_quote_rune(uint32_t rune, struct hk_buf *out);

/*
 * Appends what a quoted literal ("…", '…' or `…`, quotes included) stands for. HK_E_MALFORMED when
 * it is none; `out` may then hold a part.
 */
hk_err hk_unquote(struct hk_str literal, struct hk_buf *out) HK_MUST_CHECK;

/* Shortest decimal text that reads back as `value`, never with an exponent (Go 'f', -1): returns
 * the length; `out` has HK_PLAIN_BYTES_MAX bytes. */
size_t hk_format_plain(double value, char *out);

/* As Go's %g: exponent form below 1e-4 and from 1e6 on; `out` has HK_GENERAL_BYTES_MAX bytes. */
size_t hk_format_general(double value, char *out);

#endif
