/*
 * Bit packing, LSB first: value i of width w begins at bit i·w, so a group of eight begins at byte
 * w·(i/8). Portable loads of eight bytes, and AVX2: load, byte shuffle, variable shift, mask.
 */
#include "codec/column_internal.h"

#include <math.h>

#if defined(__x86_64__) && !defined(HK_SIMD_NONE)
#define HAVE_AVX2 1
#include <cpuid.h>
#include <immintrin.h>
#else
#define HAVE_AVX2 0
#endif

static uint64_t load64(const uint8_t *from) {
    uint64_t word = 0;
    memcpy(&word, from, 8);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    word = __builtin_bswap64(word);
#endif
    return word;
}

static void store64(uint8_t *to, uint64_t word) {
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    word = __builtin_bswap64(word);
#endif
    memcpy(to, &word, 8);
}

static uint64_t mask_of(unsigned width) {
    return width >= 64 ? UINT64_MAX : ((uint64_t)1 << width) - 1;
}

uint8_t *hk_bits_pack(const uint64_t *values, size_t count, unsigned width, uint8_t *to) {
    if (width == 0) return to;
    const uint64_t mask = mask_of(width);
    uint8_t *const end = to + hk_bits_bytes(count, width);
    uint64_t word = 0;
    unsigned filled = 0;
    for (size_t i = 0; i < count; i++) {
        uint64_t value = values[i] & mask;
        word |= value << filled;
        filled += width;
        if (filled >= 64) {
            store64(to, word);
            to += 8;
            filled -= 64;
            /* The bits of this value that did not fit; none when it ended the word. */
            word = filled == 0 ? 0 : value >> (width - filled);
        }
    }
    if (filled > 0) store64(to, word);
    return end;
}

/* One value of up to 64 bits; 16 bytes from `from + bit / 8` are readable. */
static uint64_t unpack_one(const uint8_t *from, size_t bit, uint64_t mask) {
    const uint8_t *at = from + bit / 8;
    unsigned shift = bit % 8;
    uint64_t value = load64(at) >> shift;
    if (shift > 0) value |= (uint64_t)at[8] << (64 - shift);
    return value & mask;
}

static size_t unpack_portable(
    const uint8_t *from, const uint8_t *limit, size_t count, unsigned width, uint64_t *out) {
    const uint64_t mask = mask_of(width);
    size_t done = 0;
    for (; done + 8 <= count && (size_t)(limit - from) >= width + 8U; done += 8) {
        for (unsigned k = 0; k < 8; k++) {
            unsigned bit = k * width;
            out[done + k] = (load64(from + bit / 8) >> (bit % 8)) & mask;
        }
        from += width;
    }
    return done;
}

static void to_doubles_portable(
    const int64_t *ints, uint32_t count, unsigned shift, double scale, double *out) {
    if (scale == 1) {
        for (uint32_t i = 0; i < count; i++)
            out[i] = (double)(int64_t)((uint64_t)ints[i] << shift);
        return;
    }
    for (uint32_t i = 0; i < count; i++)
        out[i] = (double)ints[i] / scale;
}

/* Adding and subtracting 1.5 · 2^52 rounds |x| < 2^51 to the nearest integer. */
#define ROUND_MAGIC 0x1.8p52
#define ROUND_MAX   0x1p51
#define INT_MAX_OK  0x1p62

static bool same_bits(double a, double b) {
    return memcmp(&a, &b, 8) == 0;
}

bool hk_decimal_of(double value, double scale, int64_t *out) {
    double scaled = value * scale;
    if (!(fabs(scaled) < INT_MAX_OK)) return false;
    if (fabs(scaled) < ROUND_MAX) scaled = (scaled + ROUND_MAGIC) - ROUND_MAGIC;
    int64_t whole = (int64_t)scaled;
    if (!same_bits((double)whole / scale, value)) return false;
    *out = whole;
    return true;
}

static uint32_t to_ints_portable(
    const double *values, uint32_t count, double scale, int64_t *ints, uint16_t *positions) {
    uint32_t missed = 0;
    int64_t last = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (!hk_decimal_of(values[i], scale, &last)) positions[missed++] = (uint16_t)i;
        ints[i] = last;
    }
    return missed;
}

static void widen(int64_t x, int64_t *min, int64_t *max) {
    *min = x < *min ? x : *min;
    *max = x > *max ? x : *max;
}

/* From `first` on; the ranges hold what came before. */
static void differences_from(
    const uint64_t *r0, uint32_t first, uint32_t count, uint64_t *r1, uint64_t *r2, int64_t min[3],
    int64_t max[3]) {
    for (uint32_t i = first; i < count; i++) {
        widen((int64_t)r0[i], &min[0], &max[0]);
        if (i + 1 >= count) break;
        r1[i] = r0[i + 1] - r0[i];
        widen((int64_t)r1[i], &min[1], &max[1]);
        if (i + 2 >= count) continue;
        r2[i] = r0[i + 2] - 2 * r0[i + 1] + r0[i];
        widen((int64_t)r2[i], &min[2], &max[2]);
    }
}

static void differences_portable(
    const uint64_t *r0, uint32_t count, uint64_t *r1, uint64_t *r2, int64_t min[3],
    int64_t max[3]) {
    for (int i = 0; i < 3; i++) {
        min[i] = INT64_MAX;
        max[i] = INT64_MIN;
    }
    differences_from(r0, 0, count, r1, r2, min, max);
}

/* Four tables, so that equal widths in a row do not wait for one another. */
#define COUNT_WIDTHS(bits_of)                                                                      \
    uint32_t tables[4][65] = { 0 };                                                                \
    uint32_t i = 0;                                                                                \
    for (; i + 4 <= count; i += 4) {                                                               \
        for (unsigned k = 0; k < 4; k++)                                                           \
            tables[k][bits_of(residuals[i + k] - base)]++;                                         \
    }                                                                                              \
    for (; i < count; i++)                                                                         \
        tables[0][bits_of(residuals[i] - base)]++;                                                 \
    for (unsigned bits = 0; bits <= 64; bits++) {                                                  \
        counts[bits] += tables[0][bits] + tables[1][bits] + tables[2][bits] + tables[3][bits];     \
    }

static void
widths_portable(const uint64_t *residuals, uint32_t count, uint64_t base, uint32_t counts[65]) {
    COUNT_WIDTHS(hk_bits_of)
}

static void add_portable(const uint64_t *from, uint32_t count, uint64_t low, uint64_t *to) {
    for (uint32_t i = 0; i < count; i++)
        to[i] = from[i] + low;
}

static void
sums_portable(const uint64_t *from, uint32_t count, uint64_t low, uint64_t start, uint64_t *to) {
    for (uint32_t i = 0; i < count; i++)
        to[i] = start += from[i] + low;
}

static const struct hk_column_forms portable = {
    .unpack = unpack_portable,
    .to_doubles = to_doubles_portable,
    .to_ints = to_ints_portable,
    .differences = differences_portable,
    .widths = widths_portable,
    .add = add_portable,
    .sums = sums_portable,
};

#if HAVE_AVX2

/* Shuffles and shifts of a group of eight. Widths to 25: two halves of four 32-bit lanes, the
 * second half begins at bit 4w. Widths 26 to 57: four pairs of 64-bit lanes. */
struct group {
    uint8_t shuffle[64];
    union {
        uint32_t narrow[8];
        uint64_t wide[8];
    } shift;
    uint8_t offset[4]; /* of the loads, in bytes */
};

enum { NARROW_MAX = 25, WIDE_MAX = 57 };

static struct group groups[WIDE_MAX + 1]; /* written once, before main */

static void group_init(struct group *group, unsigned width) {
    const unsigned lanes = width <= NARROW_MAX ? 4 : 2; /* values of one 16-byte load */
    const unsigned lane_bytes = 16 / lanes;
    for (unsigned i = 0; i < 8; i++) {
        unsigned load = i / lanes, first = load * lanes * width / 8;
        unsigned bit = i * width - first * 8;
        group->offset[load] = (uint8_t)first;
        if (lanes == 4) {
            group->shift.narrow[i] = bit % 8;
        } else {
            group->shift.wide[i] = bit % 8;
        }
        for (unsigned b = 0; b < lane_bytes; b++) {
            unsigned byte = bit / 8 + b;
            group->shuffle[i * lane_bytes + b] = (uint8_t)(byte < 16 ? byte : 0x80);
        }
    }
}

__attribute__((constructor)) static void groups_init(void) {
    for (unsigned width = 1; width <= WIDE_MAX; width++)
        group_init(&groups[width], width);
}

#define AVX2 __attribute__((target("avx2")))

AVX2 static __m256i load_two(const uint8_t *low, const uint8_t *high) {
    __m128i first = _mm_loadu_si128((const __m128i_u *)low);
    __m128i second = _mm_loadu_si128((const __m128i_u *)high);
    return _mm256_inserti128_si256(_mm256_castsi128_si256(first), second, 1);
}

AVX2 static size_t unpack_narrow(
    const uint8_t *from, const uint8_t *limit, size_t count, unsigned width, uint64_t *out) {
    const struct group *group = &groups[width];
    const __m256i shuffle = _mm256_loadu_si256((const __m256i_u *)group->shuffle);
    const __m256i shift = _mm256_loadu_si256((const __m256i_u *)group->shift.narrow);
    const __m256i mask = _mm256_set1_epi32((int)mask_of(width));
    const unsigned offset = group->offset[1];
    size_t done = 0;
    for (; done + 8 <= count && (size_t)(limit - from) >= offset + 16U; done += 8) {
        __m256i x = _mm256_shuffle_epi8(load_two(from, from + offset), shuffle);
        x = _mm256_and_si256(_mm256_srlv_epi32(x, shift), mask);
        __m256i low = _mm256_cvtepu32_epi64(_mm256_castsi256_si128(x));
        __m256i high = _mm256_cvtepu32_epi64(_mm256_extracti128_si256(x, 1));
        _mm256_storeu_si256((__m256i_u *)(out + done), low);
        _mm256_storeu_si256((__m256i_u *)(out + done + 4), high);
        from += width;
    }
    return done;
}

AVX2 static size_t unpack_avx2(
    const uint8_t *from, const uint8_t *limit, size_t count, unsigned width, uint64_t *out) {
    if (width <= NARROW_MAX) return unpack_narrow(from, limit, count, width, out);
    const struct group *group = &groups[width];
    const __m256i mask = _mm256_set1_epi64x((long long)mask_of(width));
    const uint8_t *offset = group->offset;
    size_t done = 0;
    for (; done + 8 <= count && (size_t)(limit - from) >= offset[3] + 16U; done += 8) {
        for (unsigned half = 0; half < 2; half++) {
            __m256i shuffle = _mm256_loadu_si256((const __m256i_u *)(group->shuffle + half * 32));
            __m256i shift = _mm256_loadu_si256((const __m256i_u *)(group->shift.wide + half * 4));
            __m256i x = load_two(from + offset[half * 2], from + offset[half * 2 + 1]);
            x = _mm256_srlv_epi64(_mm256_shuffle_epi8(x, shuffle), shift);
            _mm256_storeu_si256((__m256i_u *)(out + done + half * 4), _mm256_and_si256(x, mask));
        }
        from += width;
    }
    return done;
}

/* Signed 64-bit integers to doubles, correctly rounded: the high 32 bits as a multiple of 2^32 in
 * the mantissa of 3·2^67, the low 32 bits in that of 2^52; one addition rounds. */
AVX2 static __m256d doubles_of(__m256i x) {
    __m256i high = _mm256_srai_epi32(x, 16);
    high = _mm256_blend_epi16(high, _mm256_setzero_si256(), 0x33);
    high = _mm256_add_epi64(high, _mm256_castpd_si256(_mm256_set1_pd(442721857769029238784.0)));
    __m256i low = _mm256_blend_epi16(x, _mm256_castpd_si256(_mm256_set1_pd(0x1p52)), 0x88);
    __m256d sum = _mm256_sub_pd(_mm256_castsi256_pd(high), _mm256_set1_pd(442726361368656609280.0));
    return _mm256_add_pd(sum, _mm256_castsi256_pd(low));
}

AVX2 static void
to_doubles_avx2(const int64_t *ints, uint32_t count, unsigned shift, double scale, double *out) {
    const __m128i bits = _mm_cvtsi32_si128((int)shift);
    const __m256d divisor = _mm256_set1_pd(scale);
    uint32_t i = 0;
    if (scale == 1) {
        for (; i + 4 <= count; i += 4) {
            __m256i x = _mm256_loadu_si256((const __m256i_u *)(ints + i));
            _mm256_storeu_pd(out + i, doubles_of(_mm256_sll_epi64(x, bits)));
        }
    } else {
        for (; i + 4 <= count; i += 4) {
            __m256i x = _mm256_loadu_si256((const __m256i_u *)(ints + i));
            _mm256_storeu_pd(out + i, _mm256_div_pd(doubles_of(x), divisor));
        }
    }
    to_doubles_portable(ints + i, count - i, shift, scale, out + i);
}

/* Four values at a time; a group with a value that is no short decimal goes the portable way. */
AVX2 static uint32_t to_ints_avx2(
    const double *values, uint32_t count, double scale, int64_t *ints, uint16_t *positions) {
    const __m256d factor = _mm256_set1_pd(scale), magic = _mm256_set1_pd(ROUND_MAGIC);
    const __m256d range = _mm256_set1_pd(ROUND_MAX);
    const __m256d no_sign = _mm256_castsi256_pd(_mm256_set1_epi64x(INT64_MAX));
    const __m256i magic_bits = _mm256_castpd_si256(magic);
    uint32_t missed = 0;
    int64_t last = 0;
    uint32_t i = 0;
    for (; i + 4 <= count; i += 4) {
        __m256d value = _mm256_loadu_pd(values + i);
        __m256d scaled = _mm256_mul_pd(value, factor);
        __m256d shifted = _mm256_add_pd(scaled, magic);
        __m256d whole = _mm256_sub_pd(shifted, magic);
        __m256d back = scale == 1 ? whole : _mm256_div_pd(whole, factor);
        __m256i same = _mm256_cmpeq_epi64(_mm256_castpd_si256(back), _mm256_castpd_si256(value));
        __m256d inside = _mm256_cmp_pd(_mm256_and_pd(scaled, no_sign), range, _CMP_LT_OQ);
        int good = _mm256_movemask_pd(_mm256_and_pd(_mm256_castsi256_pd(same), inside));
        if (HK_LIKELY(good == 15)) {
            __m256i x = _mm256_sub_epi64(_mm256_castpd_si256(shifted), magic_bits);
            _mm256_storeu_si256((__m256i_u *)(ints + i), x);
            last = ints[i + 3];
            continue;
        }
        for (uint32_t k = i; k < i + 4; k++) {
            if (!hk_decimal_of(values[k], scale, &last)) positions[missed++] = (uint16_t)k;
            ints[k] = last;
        }
    }
    for (; i < count; i++) {
        if (!hk_decimal_of(values[i], scale, &last)) positions[missed++] = (uint16_t)i;
        ints[i] = last;
    }
    return missed;
}

AVX2 static __m256i load4(const uint64_t *from) {
    return _mm256_loadu_si256((const __m256i_u *)from);
}

AVX2 static __m256i min4(__m256i a, __m256i b) {
    return _mm256_blendv_epi8(a, b, _mm256_cmpgt_epi64(a, b));
}

AVX2 static __m256i max4(__m256i a, __m256i b) {
    return _mm256_blendv_epi8(b, a, _mm256_cmpgt_epi64(a, b));
}

AVX2 static void differences_avx2(
    const uint64_t *r0, uint32_t count, uint64_t *r1, uint64_t *r2, int64_t min[3],
    int64_t max[3]) {
    if (count < 8) {
        differences_portable(r0, count, r1, r2, min, max);
        return;
    }
    __m256i low[3], high[3];
    for (int k = 0; k < 3; k++) {
        low[k] = _mm256_set1_epi64x(INT64_MAX);
        high[k] = _mm256_set1_epi64x(INT64_MIN);
    }
    uint32_t i = 0;
    for (; i + 6 <= count; i += 4) {
        const __m256i x = load4(r0 + i), y = load4(r0 + i + 1), z = load4(r0 + i + 2);
        const __m256i d = _mm256_sub_epi64(y, x);
        const __m256i dd = _mm256_sub_epi64(_mm256_sub_epi64(z, y), d);
        _mm256_storeu_si256((__m256i_u *)(r1 + i), d);
        _mm256_storeu_si256((__m256i_u *)(r2 + i), dd);
        low[0] = min4(low[0], x);
        high[0] = max4(high[0], x);
        low[1] = min4(low[1], d);
        high[1] = max4(high[1], d);
        low[2] = min4(low[2], dd);
        high[2] = max4(high[2], dd);
    }
    for (int k = 0; k < 3; k++) {
        int64_t parts[4];
        min[k] = INT64_MAX;
        max[k] = INT64_MIN;
        _mm256_storeu_si256((__m256i_u *)parts, low[k]);
        for (int p = 0; p < 4; p++)
            min[k] = parts[p] < min[k] ? parts[p] : min[k];
        _mm256_storeu_si256((__m256i_u *)parts, high[k]);
        for (int p = 0; p < 4; p++)
            max[k] = parts[p] > max[k] ? parts[p] : max[k];
    }
    differences_from(r0, i, count, r1, r2, min, max);
}

static inline __attribute__((target("avx2,lzcnt"), always_inline)) unsigned bits_lzcnt(uint64_t x) {
    return 64 - (unsigned)_lzcnt_u64(x);
}

__attribute__((target("avx2,lzcnt"))) static void
widths_lzcnt(const uint64_t *residuals, uint32_t count, uint64_t base, uint32_t counts[65]){
    COUNT_WIDTHS(bits_lzcnt)
}

AVX2 static void add_avx2(const uint64_t *from, uint32_t count, uint64_t low, uint64_t *to) {
    const __m256i base = _mm256_set1_epi64x((long long)low);
    uint32_t i = 0;
    for (; i + 4 <= count; i += 4) {
        _mm256_storeu_si256((__m256i_u *)(to + i), _mm256_add_epi64(load4(from + i), base));
    }
    add_portable(from + i, count - i, low, to + i);
}

/* Sums of four within the register; only the running total is carried from group to group. */
AVX2 static void
sums_avx2(const uint64_t *from, uint32_t count, uint64_t low, uint64_t start, uint64_t *to) {
    const __m256i base = _mm256_set1_epi64x((long long)low), zero = _mm256_setzero_si256();
    __m256i carry = _mm256_set1_epi64x((long long)start);
    uint32_t i = 0;
    for (; i + 4 <= count; i += 4) {
        __m256i x = _mm256_add_epi64(load4(from + i), base);
        x = _mm256_add_epi64(x, _mm256_slli_si256(x, 8)); /* pairs */
        const __m256i first = _mm256_permute4x64_epi64(x, 0x50);
        x = _mm256_add_epi64(x, _mm256_blend_epi32(zero, first, 0xf0));
        _mm256_storeu_si256((__m256i_u *)(to + i), _mm256_add_epi64(x, carry));
        carry = _mm256_add_epi64(carry, _mm256_permute4x64_epi64(x, 0xff));
    }
    sums_portable(from + i, count - i, low, (uint64_t)_mm256_extract_epi64(carry, 0), to + i);
}

static const struct hk_column_forms avx2 = {
    .unpack = unpack_avx2,
    .to_doubles = to_doubles_avx2,
    .to_ints = to_ints_avx2,
    .differences = differences_avx2,
    .widths = widths_lzcnt,
    .add = add_avx2,
    .sums = sums_avx2,
};

static const struct hk_column_forms *forms_best(void) {
    unsigned a = 0, b = 0, c = 0, d = 0;
    const bool has_lzcnt = __get_cpuid(0x80000001, &a, &b, &c, &d) != 0 && (c & bit_LZCNT) != 0;
    return has_lzcnt && __builtin_cpu_supports("avx2") ? &avx2 : &portable;
}
#else
static const struct hk_column_forms *forms_best(void) {
    return &portable;
}
#endif

static const struct hk_column_forms *forms = &portable; /* set before main and by the hook */

__attribute__((constructor)) static void forms_init(void) {
    forms = forms_best();
}

int hk_column_use_simd(int wanted) {
    forms = wanted != 0 ? forms_best() : &portable;
    return forms != &portable;
}

const struct hk_column_forms *hk_column_forms(void) {
    return forms;
}

bool hk_bits_unpack(struct hk_column_in *in, size_t count, unsigned width, uint64_t *out) {
    const size_t bytes = hk_bits_bytes(count, width);
    if (width > 64 || (size_t)(in->end - in->at) < bytes) return false;
    const uint8_t *from = in->at;
    in->at += bytes;
    if (width == 0) {
        memset(out, 0, count * sizeof(*out));
        return true;
    }
    size_t done = width > 57 ? 0 : forms->unpack(from, in->end, count, width, out);
    const uint64_t mask = mask_of(width);
    from += done / 8 * width; /* groups are whole bytes */
    /* What is left: from the input while sixteen bytes are readable, then from a padded copy. */
    size_t i = 0, left = count - done;
    out += done;
    for (; i < left && (size_t)(in->end - from) >= i * width / 8 + 16; i++)
        out[i] = unpack_one(from, i * width, mask);
    if (i == left) return true;
    uint8_t tail[40] = { 0 };
    size_t first = i * width / 8, rest = hk_bits_bytes(left, width) - first;
    hk_assert(rest <= 24);
    memcpy(tail, from + first, rest);
    for (; i < left; i++)
        out[i] = unpack_one(tail, i * width - first * 8, mask);
    return true;
}
