/*
 * Snappy blocks: decompressed here, compressed by libsnappy.
 *
 * The fast loop copies in fixed widths and past the end of an element; the next element overwrites
 * what is too much. (1) The output has HK_SNAPPY_SLACK bytes behind its end for that; (2) the loop
 * runs only while INPUT_SURE bytes of input are left; (3) no element ends behind the output's end.
 */
#include "codec/snappy.h"

#include <assert.h>
#include <snappy-c.h>
#include <string.h>

enum { WIDE = 64, INPUT_SURE = WIDE + 1, LITERAL_SHORT_MAX = 60 };
static_assert((int)WIDE <= (int)HK_SNAPPY_SLACK, "(1)");

struct block {
    const uint8_t *in, *in_end;
    uint8_t *start, *out, *out_end;
};

/* Declared length: a varint of at most 32 bits. */
static bool read_length(struct block *block, size_t *out) {
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 35; shift += 7) {
        if (block->in == block->in_end) return false;
        const uint8_t byte = *block->in++;
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            *out = (size_t)value;
            return value <= UINT32_MAX;
        }
    }
    return false;
}

size_t hk_snappy_declared(struct hk_str packed) {
    const uint8_t *bytes = (const uint8_t *)packed.ptr;
    struct block block = { .in = bytes, .in_end = bytes + packed.len };
    size_t declared = 0;
    return read_length(&block, &declared) ? declared : 0;
}

/* Declared length within the limit. */
static hk_err declared(struct block *block, size_t bytes_max, size_t *out) {
    size_t bytes = 0;
    const size_t packed = (size_t)(block->in_end - block->in);
    if (!read_length(block, &bytes)) {
        return hk_fail(HK_E_MALFORMED, "snappy: not a block (no valid length at its start)");
    }
    if (bytes > bytes_max) {
        return hk_fail(
            HK_E_LIMIT, "snappy: %zu bytes uncompressed, at most %zu are accepted", bytes,
            bytes_max);
    }
    /* A copy element of three bytes yields at most 64: nothing valid expands more than this. */
    if (bytes / 32 > packed) {
        return hk_fail(HK_E_MALFORMED, "snappy: %zu bytes cannot stand for %zu", packed, bytes);
    }
    *out = bytes;
    return HK_OK;
}

static inline void copy_16(uint8_t *to, const uint8_t *from) {
    memcpy(to, from, 16);
}

/* 64 bytes in steps of 16: right also when `to` is at least 16 bytes behind `from`. */
static inline void copy_64(uint8_t *to, const uint8_t *from) {
    copy_16(to, from);
    copy_16(to + 16, from + 16);
    copy_16(to + 32, from + 32);
    copy_16(to + 48, from + 48);
}

static void copy_near(uint8_t *to, const uint8_t *from, size_t bytes) {
    for (size_t i = 0; i < bytes; i++)
        to[i] = from[i];
}

/* Length and offset of the copy element with `tag`; `next` are the four bytes behind it. Returns
 * how many of them belong to it. */
static size_t read_copy(uint32_t tag, uint32_t next, size_t *out_len, size_t *out_offset) {
    *out_len = 1 + (tag >> 2);
    switch (tag & 3) {
    case 1:
        *out_len = 4 + (tag >> 2 & 7);
        *out_offset = (tag & 0xe0) << 3 | (next & 0xff);
        return 1;
    case 2:
        *out_offset = next & 0xffff;
        return 2;
    default:
        *out_offset = next;
        return 4;
    }
}

/* Short elements in the middle of the block, as far as the usual ones reach. The kinds are told by
 * branches, so that the next element's place is guessed before this one's tag is known. False:
 * damaged. */
static bool run_fast(struct block *block) {
    const uint8_t *in = block->in;
    uint8_t *out = block->out;
    uint8_t *const out_end = block->out_end;
    const uint8_t *const stop = block->in_end - INPUT_SURE;
    while (in <= stop) { /* (2) */
        const uint32_t tag = *in;
        const size_t left = (size_t)(out_end - out);
        size_t len = (tag >> 2) + 1;
        if ((tag & 3) == 0) {
            if (HK_UNLIKELY(len > LITERAL_SHORT_MAX)) break;
            if (HK_UNLIKELY(len > left)) return false; /* (3) */
            copy_16(out, in + 1);
            if (len > 16) {
                copy_16(out + 16, in + 17);
                copy_16(out + 32, in + 33);
                copy_16(out + 48, in + 49);
            }
            in += 1 + len;
            out += len;
            continue;
        }
        size_t offset = 0;
        if (HK_LIKELY((tag & 3) == 2)) {
            offset = in[1] | (size_t)in[2] << 8;
            in += 3;
        } else if (HK_LIKELY((tag & 3) == 1)) {
            offset = (tag & 0xe0) << 3 | in[1];
            len = 4 + (tag >> 2 & 7);
            in += 2;
        } else {
            break;
        }
        if (HK_UNLIKELY(len > left)) return false; /* (3) */
        if (HK_UNLIKELY(offset - 1 >= (size_t)(out - block->start))) return false;
        if (HK_LIKELY(offset >= 16))
            copy_64(out, out - offset);
        else
            copy_near(out, out - offset, len);
        out += len;
    }
    block->in = in;
    block->out = out;
    return true;
}

/* Bytes of the literal whose tag was read; false: its length is cut off. */
static bool read_literal(struct block *block, uint32_t tag, size_t *out_len) {
    size_t len = tag >> 2;
    const size_t extra = len < LITERAL_SHORT_MAX ? 0 : len - LITERAL_SHORT_MAX + 1;
    if ((size_t)(block->in_end - block->in) < extra) return false;
    if (extra > 0) len = 0;
    for (size_t i = 0; i < extra; i++)
        len |= (size_t)block->in[i] << (8 * i);
    block->in += extra;
    *out_len = len + 1;
    return true;
}

/* One element of any kind, with every check. False: damaged. */
static bool run_one(struct block *block) {
    const uint32_t tag = *block->in++;
    size_t left = (size_t)(block->in_end - block->in);
    size_t len = 0;
    if ((tag & 3) == 0) {
        if (!read_literal(block, tag, &len)) return false;
        left = (size_t)(block->in_end - block->in);
        if (len > left || len > (size_t)(block->out_end - block->out)) return false;
        memcpy(block->out, block->in, len);
        block->in += len;
    } else {
        uint32_t next = 0;
        size_t offset = 0;
        for (size_t i = 0; i < 4 && i < left; i++)
            next |= (uint32_t)block->in[i] << (8 * i);
        const size_t extra = read_copy(tag, next, &len, &offset);
        if (extra > left || len > (size_t)(block->out_end - block->out)) return false;
        if (offset - 1 >= (size_t)(block->out - block->start)) return false;
        copy_near(block->out, block->out - offset, len);
        block->in += extra;
    }
    block->out += len;
    return true;
}

/* `to` has room for `bytes` and HK_SNAPPY_SLACK more. */
static hk_err decompress(struct block *block, char *to, size_t bytes) {
    block->start = block->out = (uint8_t *)to;
    block->out_end = block->start + bytes;
    bool good = true;
    while (good && block->in < block->in_end) {
        if (block->in_end - block->in >= INPUT_SURE) good = run_fast(block);
        if (good && block->in < block->in_end) good = run_one(block);
    }
    if (!good || block->out != block->out_end) {
        return hk_fail(HK_E_MALFORMED, "snappy: corrupt block");
    }
    return HK_OK;
}

static struct block block_from(struct hk_str bytes) {
    const uint8_t *at = (const uint8_t *)bytes.ptr;
    return (struct block){ .in = at, .in_end = at + bytes.len };
}

hk_err hk_snappy_decompress(
    struct hk_str packed, size_t bytes_max, struct hk_arena *arena, struct hk_str *out) {
    size_t bytes = 0;
    struct block block = block_from(packed);
    HK_TRY(declared(&block, bytes_max, &bytes));
    char *to = hk_arena_alloc_raw(arena, bytes + HK_SNAPPY_SLACK, 1);
    if (to == NULL) return hk_fail(HK_E_NOMEM, "snappy: out of memory");
    HK_TRY(decompress(&block, to, bytes));
    *out = (struct hk_str){ to, bytes };
    return HK_OK;
}

hk_err hk_snappy_decompress_buf(struct hk_str packed, size_t bytes_max, struct hk_buf *out) {
    size_t bytes = 0;
    struct block block = block_from(packed);
    HK_TRY(declared(&block, bytes_max, &bytes));
    char *to = hk_buf_reserve(out, bytes + HK_SNAPPY_SLACK);
    if (to == NULL) return hk_fail(out->err, "snappy: out of memory");
    HK_TRY(decompress(&block, to, bytes));
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
