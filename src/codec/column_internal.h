/* Parts of the column codec that its files share; see column.h and docs/formats/block.md. */
#ifndef HK_CODEC_COLUMN_INTERNAL_H
#define HK_CODEC_COLUMN_INTERNAL_H

#include "codec/column.h"

#include <stdbool.h>
#include <string.h>

enum hk_column_kind {
    HK_COLUMN_CONSTANT, /* one value */
    HK_COLUMN_FOR,      /* integers minus their base, packed */
    HK_COLUMN_DELTA,    /* first differences, packed likewise */
    HK_COLUMN_DOUBLE,   /* second differences */
    HK_COLUMN_SHORT,    /* varints of first differences; at most HK_COLUMN_SHORT_MAX values */
    HK_COLUMN_DICT,     /* up to 64 distinct doubles and packed indexes */
    HK_COLUMN_RAW,      /* 8 bytes per value */
    HK_COLUMN_ZSTD,     /* the same transposed, one zstd frame */
};

enum {
    HK_COLUMN_SHORT_MAX = 16,
    HK_COLUMN_EXPONENT_MAX = 14,
    HK_COLUMN_EXPONENT_SHIFTED = 15, /* e = 0 and a byte with the power of two */
    HK_COLUMN_DICT_MAX = 64,
    HK_COLUMN_EXCEPTIONS = 0x80, /* bit of the first byte */
    HK_COLUMN_PATCHES = 0x80,    /* bit of the width byte */
    HK_COLUMN_PACK_SLACK = 16,   /* bytes that hk_bits_pack may write past the end */
};

/* Input of a decoder: never read at or behind `end`. */
struct hk_column_in {
    const uint8_t *at, *end;
};

/* Fixed-size scratch. */
struct hk_column_work {
    int64_t ints[HK_COLUMN_COUNT_MAX];
    uint64_t residuals[3][HK_COLUMN_COUNT_MAX]; /* of FOR, DELTA, DOUBLE */
    uint64_t packed[HK_COLUMN_COUNT_MAX];
    uint16_t positions[HK_COLUMN_COUNT_MAX]; /* of exceptions */
    uint8_t bytes[HK_COLUMN_COUNT_MAX * 8];  /* transposed */
    uint8_t draft[HK_COLUMN_COUNT_MAX * 16]; /* a form that may lose */
    struct ZSTD_CCtx_s *compressor;          /* made at first use */
    struct ZSTD_DCtx_s *decompressor;        /* likewise */
};

/* Bits needed for `x`: 0 for 0, 64 for the largest. */
static inline unsigned hk_bits_of(uint64_t x) {
    return x == 0 ? 0 : 64 - (unsigned)__builtin_clzll(x);
}

static inline size_t hk_bits_bytes(size_t count, unsigned width) {
    return (count * width + 7) / 8;
}

static inline uint64_t hk_zigzag(int64_t x) {
    return ((uint64_t)x << 1) ^ (uint64_t)(x >> 63);
}

static inline int64_t hk_unzigzag(uint64_t x) {
    return (int64_t)((x >> 1) ^ (0 - (x & 1)));
}

/* Writes a varint (LEB128); returns the end. */
static inline uint8_t *hk_varint_put(uint8_t *to, uint64_t x) {
    for (; x >= 128; x >>= 7)
        *to++ = (uint8_t)(x | 128);
    *to++ = (uint8_t)x;
    return to;
}

/* Bytes of the varint of `x`. */
static inline size_t hk_varint_bytes(uint64_t x) {
    return x == 0 ? 1 : (hk_bits_of(x) + 6) / 7;
}

/* Reads a varint; false when it is cut off or longer than 64 bits. */
static inline bool hk_varint_get(struct hk_column_in *in, uint64_t *out) {
    uint64_t x = 0;
    for (unsigned shift = 0; shift < 64 && in->at < in->end; shift += 7) {
        uint8_t byte = *in->at++;
        if (shift == 63 && byte > 1) return false;
        x |= (uint64_t)(byte & 127) << shift;
        if (byte < 128) {
            *out = x;
            return true;
        }
    }
    return false;
}

static inline bool hk_signed_get(struct hk_column_in *in, int64_t *out) {
    uint64_t x = 0;
    if (!hk_varint_get(in, &x)) return false;
    *out = hk_unzigzag(x);
    return true;
}

static inline bool hk_byte_get(struct hk_column_in *in, uint8_t *out) {
    if (in->at >= in->end) return false;
    *out = *in->at++;
    return true;
}

/* Packs the low `width` (0…64) bits of each value, LSB first; returns the end. May write
 * HK_COLUMN_PACK_SLACK bytes more. */
uint8_t *hk_bits_pack(const uint64_t *values, size_t count, unsigned width, uint8_t *to);

/* Reads `count` values of `width` bits and moves `in` behind them; false when they are cut off. */
bool hk_bits_unpack(struct hk_column_in *in, size_t count, unsigned width, uint64_t *out);

/* Integer columns: chooses among FOR, DELTA, DOUBLE and SHORT, writes it (without the first byte)
 * and sets the kind; returns the end. `work->ints` holds the `count` integers. */
uint8_t *hk_ints_encode(
    struct hk_column_work *work, uint32_t count, uint8_t *to, enum hk_column_kind *out_kind);

/* The reverse; false when malformed. */
bool hk_ints_decode(
    struct hk_column_work *work, struct hk_column_in *in, enum hk_column_kind kind, uint32_t count,
    int64_t *out);

/* The vector forms or their portable twins; both give the same results. */
struct hk_column_forms {
    /* Unpacks whole groups of eight values of 1…57 bits; every group's loads stay below `limit`.
     * Returns the number of values done. */
    size_t (*unpack)(
        const uint8_t *from, const uint8_t *limit, size_t count, unsigned width, uint64_t *out);
    /* out[i] = (double)(ints[i] << shift) / scale */
    void (*to_doubles)(
        const int64_t *ints, uint32_t count, unsigned shift, double scale, double *out);
    /* ints[i] = the integer with ints[i] / scale == values[i] bit for bit; where there is none the
     * integer before (0 at the start) and the position is listed. Returns the positions. */
    uint32_t (*to_ints)(
        const double *values, uint32_t count, double scale, int64_t *ints, uint16_t *positions);

    /* First and second differences of r0[0 … count) and the ranges (as signed numbers) of all
     * three; ranges of empty ones are not set. */
    void (*differences)(
        const uint64_t *r0, uint32_t count, uint64_t *r1, uint64_t *r2, int64_t min[3],
        int64_t max[3]);
    /* counts[b] += number of residuals whose distance to `base` has b bits. */
    void (*widths)(const uint64_t *residuals, uint32_t count, uint64_t base, uint32_t counts[65]);
    /* to[i] = from[i] + low; in place is fine. */
    void (*add)(const uint64_t *from, uint32_t count, uint64_t low, uint64_t *to);
    /* to[i] = start + the sum of from[0 … i] + (i + 1) · low; in place is fine. */
    void (*sums)(const uint64_t *from, uint32_t count, uint64_t low, uint64_t start, uint64_t *to);
};

/* What the processor allows, or the portable twins (hk_column_use_simd). */
const struct hk_column_forms *hk_column_forms(void);

/* The integer that, divided by `scale`, gives `value` bit for bit; false when there is none. */
bool hk_decimal_of(double value, double scale, int64_t *out);

#endif
