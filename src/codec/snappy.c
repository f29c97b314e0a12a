/* Snappy blocks by libsnappy. */
#include "codec/snappy.h"

#include <snappy-c.h>

/* Declared length within the limit. */
static hk_err declared(struct hk_str block, size_t bytes_max, size_t *out) {
    size_t bytes = 0;
    if (snappy_uncompressed_length(block.ptr, block.len, &bytes) != SNAPPY_OK) {
        return hk_fail(HK_E_MALFORMED, "snappy: not a block (no valid length at its start)");
    }
    if (bytes > bytes_max) {
        return hk_fail(
            HK_E_LIMIT, "snappy: the block declares %zu bytes, the limit is %zu", bytes, bytes_max);
    }
    /* A copy element of three bytes yields at most 64: nothing valid expands more than this. */
    if (bytes / 32 > block.len) {
        return hk_fail(HK_E_MALFORMED, "snappy: %zu bytes cannot stand for %zu", block.len, bytes);
    }
    *out = bytes;
    return HK_OK;
}

static hk_err decompress(struct hk_str block, char *to, size_t bytes) {
    size_t written = bytes;
    if (snappy_uncompress(block.ptr, block.len, to, &written) != SNAPPY_OK || written != bytes) {
        return hk_fail(HK_E_MALFORMED, "snappy: corrupt block");
    }
    return HK_OK;
}

hk_err hk_snappy_decompress(
    struct hk_str block, size_t bytes_max, struct hk_arena *arena, struct hk_str *out) {
    size_t bytes = 0;
    HK_TRY(declared(block, bytes_max, &bytes));
    char *to = hk_arena_alloc_raw(arena, bytes + 1, 1);
    if (to == NULL) return hk_fail(HK_E_NOMEM, "snappy: out of memory");
    HK_TRY(decompress(block, to, bytes));
    *out = (struct hk_str){ to, bytes };
    return HK_OK;
}

hk_err hk_snappy_decompress_buf(struct hk_str block, size_t bytes_max, struct hk_buf *out) {
    size_t bytes = 0;
    HK_TRY(declared(block, bytes_max, &bytes));
    char *to = hk_buf_reserve(out, bytes + 1);
    if (to == NULL) return hk_fail(out->err, "snappy: out of memory");
    HK_TRY(decompress(block, to, bytes));
    out->len += bytes;
    return HK_OK;
}

hk_err hk_snappy_compress(struct hk_str bytes, struct hk_buf *out) {
    size_t room = snappy_max_compressed_length(bytes.len);
    char *to = hk_buf_reserve(out, room);
    if (to == NULL) return hk_fail(out->err, "snappy: out of memory");
    const char *from = bytes.len == 0 ? "" : bytes.ptr;
    if (snappy_compress(from, bytes.len, to, &room) != SNAPPY_OK) {
        return hk_fail(HK_E_LIMIT, "snappy: cannot compress %zu bytes", bytes.len);
    }
    out->len += room;
    return HK_OK;
}
