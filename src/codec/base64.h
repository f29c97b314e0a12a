/* Base64 (RFC 4648 §4 and, when reading, also the URL-safe alphabet of §5). Pure functions. */
#ifndef HK_CODEC_BASE64_H
#define HK_CODEC_BASE64_H

#include "base/arena.h"
#include "base/buf.h"

/* Appends `bytes` in the standard alphabet with padding. */
void hk_base64_encode(struct hk_str bytes, struct hk_buf *out);

/* Appends the bytes that `text` stands for; padding may be missing. HK_E_MALFORMED for any other
 * character, a bad length or set bits behind the end; `out` then holds a part. */
hk_err hk_base64_decode(struct hk_str text, struct hk_buf *out) HK_MUST_CHECK;

#endif
