/*
 * Snappy blocks (github.com/google/snappy, format_description.txt), never the framed format. The
 * declared length is compared with the limit before anything is allocated. Any thread.
 */
#ifndef HK_CODEC_SNAPPY_H
#define HK_CODEC_SNAPPY_H

#include "base/arena.h"
#include "base/buf.h"

/* Bytes that decompressing may write behind the end of its result, within the memory it took. */
enum { HK_SNAPPY_SLACK = 64 };

/* Bytes that the block declares, unchecked; 0 when it is none. */
size_t hk_snappy_declared(struct hk_str packed);

/* Decompresses `packed` into memory of `arena`. HK_E_LIMIT when more than `bytes_max` are declared,
 * HK_E_MALFORMED when it is not a snappy block, HK_E_NOMEM; all with a text. */
hk_err hk_snappy_decompress(
    struct hk_str packed, size_t bytes_max, struct hk_arena *arena,
    struct hk_str *out) HK_MUST_CHECK;

/* The same, appended to a buffer (which the caller may keep for the next request) with room for
 * HK_SNAPPY_SLACK bytes more. */
hk_err
hk_snappy_decompress_buf(struct hk_str packed, size_t bytes_max, struct hk_buf *out) HK_MUST_CHECK;

/* Appends `bytes` as one block. HK_E_NOMEM, HK_E_LIMIT of the buffer. */
hk_err hk_snappy_compress(struct hk_str bytes, struct hk_buf *out) HK_MUST_CHECK;

#endif
