/*
 * Columns: up to 1,024 values (doubles) or stamps (int64 ms) ⇄ bytes, bit for bit.
 *
 * Values that are short decimals become integers (times 10^e, without the common power of two)
 * and are stored as constant, frame of reference, delta or double delta with a packed width and
 * patches for the outliers; what is no decimal (-0.0, infinities, NaN with any payload, stale
 * markers) is an exception. Other columns get a dictionary or transposed bytes with zstd. Stamps
 * use the same integer forms. The layout is in docs/formats/block.md.
 *
 * Pure but for the work area. Encoded bytes do not depend on the processor.
 */
#ifndef HK_CODEC_COLUMN_H
#define HK_CODEC_COLUMN_H

#include "base/err.h"

enum { HK_COLUMN_COUNT_MAX = 1024 };

/* Room that encoding `count` values or stamps may need, in bytes. */
#define HK_COLUMN_BYTES_MAX(count) ((size_t)(count)*8 + 64)

/* Scratch memory (about 100 KiB) and zstd contexts. Used by one thread at a time. */
struct hk_column_work;

/* NULL when out of memory. The caller ends it with hk_column_work_destroy. */
struct hk_column_work *hk_column_work_create(void);

/* NULL is fine. */
void hk_column_work_destroy(struct hk_column_work *work);

/* Encodes `count` (1…1,024) values into `out`, which has HK_COLUMN_BYTES_MAX(count) bytes.
 * Returns the bytes used. Cannot fail. */
size_t hk_column_encode_values(
    struct hk_column_work *work, const double *values, uint32_t count, uint8_t *out);

/* Decodes exactly `bytes` bytes into `count` (1…1,024) values. HK_E_CORRUPT when they are not a
 * column of that many values, HK_E_NOMEM; `out` is undefined then. */
hk_err hk_column_decode_values(
    struct hk_column_work *work, const uint8_t *from, size_t bytes, uint32_t count,
    double *out) HK_MUST_CHECK;

/* As hk_column_encode_values, for stamps; any int64 values in any order are kept. `base_ms` is
 * subtracted before (choose a number near them) and must be given again to decode. */
size_t hk_column_encode_stamps(
    struct hk_column_work *work, const int64_t *stamps_ms, uint32_t count, int64_t base_ms,
    uint8_t *out);

/* As hk_column_decode_values, for stamps. Does not check that they ascend. */
hk_err hk_column_decode_stamps(
    struct hk_column_work *work, const uint8_t *from, size_t bytes, uint32_t count, int64_t base_ms,
    int64_t *out) HK_MUST_CHECK;

/* The decimal exponent e (0…14) of an encoded value column whose values are all integers divided
 * by 10^e, but for exceptions; -1 for the forms without one. Looks at the first byte only. */
int hk_column_exponent(const uint8_t *from, size_t bytes);

/* Test and benchmark hook: use the portable twins (false) or what the processor has (true, the
 * default). Returns whether the fast forms are in use now. Not thread-safe. */
int hk_column_use_simd(int wanted);

#endif
