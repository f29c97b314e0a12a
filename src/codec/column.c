/*
 * Columns of values and stamps. First byte of a value column: bits 0-2 the kind, bits 3-6 the
 * decimal exponent e (15: e = 0 and a byte with the power of two follows; of a constant: eight raw
 * bytes follow), bit 7: exceptions stand at the end.
 */
#include "codec/column.h"

#include "base/mem.h"
#include "codec/column_internal.h"

#include <math.h>
#include <zstd.h>

enum {
    EXPONENT_SHIFT = 3,
    SAMPLES = 16,
    RAISES_MAX = 3,  /* times that a greater exponent is tried for values that missed */
    RAISE_LOOKS = 8, /* missed values that are looked at for that */
    ZSTD_MIN = 32,   /* shorter columns stay raw */
    DICT_SLOTS = 256,
};

static const double powers[HK_COLUMN_EXPONENT_MAX + 1] = { 1e0,  1e1,  1e2,  1e3,  1e4,
                                                           1e5,  1e6,  1e7,  1e8,  1e9,
                                                           1e10, 1e11, 1e12, 1e13, 1e14 };

struct hk_column_work *hk_column_work_create(void) {
    return hk_mem_alloc(1, sizeof(struct hk_column_work));
}

void hk_column_work_destroy(struct hk_column_work *work) {
    if (work == NULL) return;
    (void)ZSTD_freeCCtx(work->compressor);
    (void)ZSTD_freeDCtx(work->decompressor);
    hk_mem_free(work);
}

static uint64_t bits_of(double value) {
    uint64_t bits = 0;
    memcpy(&bits, &value, 8);
    return bits;
}

static uint8_t *put64(uint8_t *to, uint64_t word) {
    for (unsigned i = 0; i < 8; i++)
        to[i] = (uint8_t)(word >> (8 * i));
    return to + 8;
}

static uint64_t get64(const uint8_t *from) {
    uint64_t word = 0;
    for (unsigned i = 0; i < 8; i++)
        word |= (uint64_t)from[i] << (8 * i);
    return word;
}

static uint8_t first_byte(enum hk_column_kind kind, unsigned exponent, bool exceptions) {
    unsigned byte = (unsigned)kind | exponent << EXPONENT_SHIFT;
    if (exceptions) byte |= HK_COLUMN_EXCEPTIONS;
    return (uint8_t)byte;
}

static bool is_constant(const double *values, uint32_t count) {
    return memcmp(values, values + 1, (count - 1) * sizeof(*values)) == 0;
}

/* Smallest exponent from `from` up that makes `value` an integer; false when there is none. */
static bool find_exponent(double value, unsigned from, unsigned *out) {
    int64_t whole = 0;
    for (unsigned e = from; e <= HK_COLUMN_EXPONENT_MAX; e++) {
        if (!hk_decimal_of(value, powers[e], &whole)) continue;
        *out = e;
        return true;
    }
    return false;
}

static uint8_t *put_constant(double value, uint8_t *to) {
    unsigned exponent = 0;
    int64_t whole = 0;
    if (find_exponent(value, 0, &exponent) && hk_decimal_of(value, powers[exponent], &whole) &&
        hk_varint_bytes(hk_zigzag(whole)) < 8) {
        *to++ = first_byte(HK_COLUMN_CONSTANT, exponent, false);
        return hk_varint_put(to, hk_zigzag(whole));
    }
    *to++ = first_byte(HK_COLUMN_CONSTANT, HK_COLUMN_EXPONENT_SHIFTED, false);
    return put64(to, bits_of(value));
}

/* The exponent that samples of the column need; false when most are no decimals. */
static bool sample_exponent(const double *values, uint32_t count, unsigned *out) {
    const uint32_t taken = count < SAMPLES ? count : SAMPLES;
    unsigned exponent = 0;
    uint32_t missed = 0;
    for (uint32_t i = 0; i < taken; i++) {
        double value = values[(uint64_t)i * count / taken];
        if (!isfinite(value)) continue;
        if (find_exponent(value, exponent, &exponent)) continue;
        missed++;
        if (missed >= 4 && missed * 2 > i + 1) return false;
    }
    *out = exponent;
    return missed * 2 <= taken;
}

/* A greater exponent for the values that missed, if it costs fewer bits than keeping them as
 * exceptions (log2 10 = 3.3 bits per step and value against 74 bits). */
static bool raise_exponent(
    const struct hk_column_work *work, const double *values, uint32_t count, uint32_t missed,
    unsigned *exponent) {
    unsigned raised = *exponent;
    uint32_t fixed = 0;
    const uint32_t looks = missed < RAISE_LOOKS ? missed : RAISE_LOOKS;
    for (uint32_t i = 0; i < looks; i++) {
        double value = values[work->positions[(uint64_t)i * missed / looks]];
        fixed += isfinite(value) && find_exponent(value, raised, &raised);
    }
    if (fixed == 0) return false;
    uint64_t saved = (uint64_t)missed * fixed / looks * 740;
    if (saved < (uint64_t)count * 33 * (raised - *exponent)) return false;
    *exponent = raised;
    return true;
}

/* Exceptions: count·2 + same | positions | one value when all are the same bits, else each. */
static uint8_t *put_exceptions(
    struct hk_column_work *work, const double *values, uint32_t count, uint32_t missed,
    uint8_t *to) {
    bool same = true;
    for (uint32_t i = 0; i < missed; i++) {
        work->packed[i] = work->positions[i];
        same = same && bits_of(values[work->positions[i]]) == bits_of(values[work->positions[0]]);
    }
    to = hk_varint_put(to, (uint64_t)missed * 2 + same);
    to = hk_bits_pack(work->packed, missed, hk_bits_of(count - 1), to);
    for (uint32_t i = 0; i < (same ? 1 : missed); i++)
        to = put64(to, bits_of(values[work->positions[i]]));
    return to;
}

/* The decimal form, in work->draft; 0 when the column has none. */
static size_t draft_decimal(struct hk_column_work *work, const double *values, uint32_t count) {
    unsigned exponent = 0;
    if (!sample_exponent(values, count, &exponent)) return 0;
    const struct hk_column_forms *forms = hk_column_forms();
    uint32_t missed = 0;
    for (unsigned i = 0;; i++) {
        missed = forms->to_ints(values, count, powers[exponent], work->ints, work->positions);
        if (missed == 0 || i == RAISES_MAX) break;
        if (!raise_exponent(work, values, count, missed, &exponent)) break;
    }
    if (missed * 2 > count) return 0;
    uint64_t all = 0;
    for (uint32_t i = 0; i < count; i++)
        all |= (uint64_t)work->ints[i];
    unsigned shift = exponent == 0 && all != 0 ? (unsigned)__builtin_ctzll(all) : 0;
    uint8_t *to = work->draft + 1;
    if (shift > 0) {
        exponent = HK_COLUMN_EXPONENT_SHIFTED;
        *to++ = (uint8_t)shift;
        for (uint32_t i = 0; i < count; i++)
            work->ints[i] >>= shift;
    }
    enum hk_column_kind kind = HK_COLUMN_FOR;
    to = hk_ints_encode(work, count, to, &kind);
    work->draft[0] = first_byte(kind, exponent, missed > 0);
    if (missed > 0) to = put_exceptions(work, values, count, missed, to);
    return (size_t)(to - work->draft);
}

/* The dictionary form into `to`: kind, distinct - 1, the doubles, packed indexes. 0 when there are
 * too many distinct values or it would need `bytes_max` or more. */
static size_t put_dictionary(
    struct hk_column_work *work, const double *values, uint32_t count, size_t bytes_max,
    uint8_t *to) {
    uint8_t slots[DICT_SLOTS] = { 0 }; /* index + 1 of a distinct value */
    uint64_t distinct[HK_COLUMN_DICT_MAX];
    uint32_t found = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint64_t bits = bits_of(values[i]);
        uint8_t at = (uint8_t)((bits * 0x9e3779b97f4a7c15ULL) >> 56);
        while (slots[at] != 0 && distinct[slots[at] - 1] != bits)
            at++;
        if (slots[at] == 0) {
            if (found == HK_COLUMN_DICT_MAX) return 0;
            distinct[found++] = bits;
            slots[at] = (uint8_t)found;
        }
        work->packed[i] = slots[at] - 1U;
    }
    const unsigned width = hk_bits_of(found - 1);
    const size_t bytes = 2 + 8 * (size_t)found + hk_bits_bytes(count, width);
    if (bytes >= bytes_max) return 0;
    *to++ = first_byte(HK_COLUMN_DICT, 0, false);
    *to++ = (uint8_t)(found - 1);
    for (uint32_t i = 0; i < found; i++)
        to = put64(to, distinct[i]);
    (void)hk_bits_pack(work->packed, count, width, to);
    return bytes;
}

/* The transposed bytes with zstd in work->draft; 0 when that is no win over `bytes_max`. */
static size_t
draft_zstd(struct hk_column_work *work, const double *values, uint32_t count, size_t bytes_max) {
    if (count < ZSTD_MIN) return 0;
    if (work->compressor == NULL) work->compressor = ZSTD_createCCtx();
    if (work->compressor == NULL) return 0; /* raw is always possible */
    for (uint32_t i = 0; i < count; i++) {
        uint64_t bits = bits_of(values[i]);
        for (unsigned k = 0; k < 8; k++)
            work->bytes[k * count + i] = (uint8_t)(bits >> (8 * k));
    }
    size_t bytes = ZSTD_compressCCtx(
        work->compressor, work->draft + 1, sizeof(work->draft) - 1, work->bytes, count * 8UL, 1);
    if (ZSTD_isError(bytes) || bytes + 1 >= bytes_max) return 0;
    work->draft[0] = first_byte(HK_COLUMN_ZSTD, 0, false);
    return bytes + 1;
}

size_t hk_column_encode_values(
    struct hk_column_work *work, const double *values, uint32_t count, uint8_t *out) {
    hk_assert(count >= 1 && count <= HK_COLUMN_COUNT_MAX);
    if (is_constant(values, count)) return (size_t)(put_constant(values[0], out) - out);
    const size_t raw = 1 + 8 * (size_t)count;
    size_t best = draft_decimal(work, values, count);
    if (best > 0 && best < raw) {
        memcpy(out, work->draft, best);
    } else {
        best = 0;
    }
    /* Above 12 bits per value few distinct values may be cheaper by number. */
    if (best == 0 || best > count * 3UL / 2 + 4) {
        size_t bytes = put_dictionary(work, values, count, best == 0 ? raw : best, out);
        if (bytes > 0) return bytes;
    }
    if (best > 0 && best < count * 5UL) return best;
    size_t squeezed = draft_zstd(work, values, count, best == 0 ? raw : best);
    if (squeezed > 0) memcpy(out, work->draft, squeezed);
    if (squeezed > 0) return squeezed;
    if (best > 0) return best;
    uint8_t *to = out;
    *to++ = first_byte(HK_COLUMN_RAW, 0, false);
    for (uint32_t i = 0; i < count; i++)
        to = put64(to, bits_of(values[i]));
    return raw;
}

static double value_of(uint64_t bits) {
    double value = 0;
    memcpy(&value, &bits, 8);
    return value;
}

static bool get_constant(struct hk_column_in *in, unsigned exponent, uint32_t count, double *out) {
    double value = 0;
    if (exponent == HK_COLUMN_EXPONENT_SHIFTED) {
        if (in->end - in->at < 8) return false;
        value = value_of(get64(in->at));
        in->at += 8;
    } else {
        int64_t whole = 0;
        if (!hk_signed_get(in, &whole)) return false;
        value = (double)whole / powers[exponent];
    }
    for (uint32_t i = 0; i < count; i++)
        out[i] = value;
    return true;
}

static bool
get_exceptions(struct hk_column_work *work, struct hk_column_in *in, uint32_t count, double *out) {
    uint64_t head = 0;
    if (!hk_varint_get(in, &head)) return false;
    const uint64_t missed = head / 2;
    const bool same = head % 2 != 0;
    if (missed == 0 || missed > count) return false;
    if (!hk_bits_unpack(in, missed, hk_bits_of(count - 1), work->packed)) return false;
    if ((uint64_t)(in->end - in->at) < 8 * (same ? 1 : missed)) return false;
    for (uint64_t i = 0; i < missed; i++) {
        if (work->packed[i] >= count) return false;
        out[work->packed[i]] = value_of(get64(in->at + (same ? 0 : 8 * i)));
    }
    in->at += 8 * (same ? 1 : missed);
    return true;
}

static bool get_decimal(
    struct hk_column_work *work, struct hk_column_in *in, uint8_t first, uint32_t count,
    double *out) {
    unsigned exponent = (first >> EXPONENT_SHIFT) & 15U;
    uint8_t shift = 0;
    if (exponent == HK_COLUMN_EXPONENT_SHIFTED) {
        if (!hk_byte_get(in, &shift) || shift > 63) return false;
        exponent = 0;
    }
    enum hk_column_kind kind = (enum hk_column_kind)(first & 7U);
    if (!hk_ints_decode(work, in, kind, count, work->ints)) return false;
    hk_column_forms()->to_doubles(work->ints, count, shift, powers[exponent], out);
    return (first & HK_COLUMN_EXCEPTIONS) == 0 || get_exceptions(work, in, count, out);
}

static bool
get_dictionary(struct hk_column_work *work, struct hk_column_in *in, uint32_t count, double *out) {
    uint8_t last = 0;
    if (!hk_byte_get(in, &last) || last >= HK_COLUMN_DICT_MAX) return false;
    const size_t distinct = last + 1U;
    if ((size_t)(in->end - in->at) < 8 * distinct) return false;
    double values[HK_COLUMN_DICT_MAX];
    for (size_t i = 0; i < distinct; i++)
        values[i] = value_of(get64(in->at + 8 * i));
    in->at += 8 * distinct;
    if (!hk_bits_unpack(in, count, hk_bits_of(last), work->packed)) return false;
    for (uint32_t i = 0; i < count; i++) {
        if (work->packed[i] >= distinct) return false;
        out[i] = values[work->packed[i]];
    }
    return true;
}

static bool get_raw(struct hk_column_in *in, uint32_t count, double *out) {
    if ((size_t)(in->end - in->at) < 8 * (size_t)count) return false;
    for (uint32_t i = 0; i < count; i++)
        out[i] = value_of(get64(in->at + 8 * (size_t)i));
    in->at += 8 * (size_t)count;
    return true;
}

static hk_err
get_zstd(struct hk_column_work *work, struct hk_column_in *in, uint32_t count, double *out) {
    if (work->decompressor == NULL) work->decompressor = ZSTD_createDCtx();
    if (work->decompressor == NULL) return HK_E_NOMEM;
    size_t bytes = ZSTD_decompressDCtx(
        work->decompressor, work->bytes, count * 8UL, in->at, (size_t)(in->end - in->at));
    if (ZSTD_isError(bytes) || bytes != count * 8UL) return HK_E_CORRUPT;
    in->at = in->end;
    for (uint32_t i = 0; i < count; i++) {
        uint64_t bits = 0;
        for (unsigned k = 0; k < 8; k++)
            bits |= (uint64_t)work->bytes[k * count + i] << (8 * k);
        out[i] = value_of(bits);
    }
    return HK_OK;
}

hk_err hk_column_decode_values(
    struct hk_column_work *work, const uint8_t *from, size_t bytes, uint32_t count, double *out) {
    hk_assert(count >= 1 && count <= HK_COLUMN_COUNT_MAX);
    struct hk_column_in in = { from, from + bytes };
    uint8_t first = 0;
    if (!hk_byte_get(&in, &first)) return HK_E_CORRUPT;
    const enum hk_column_kind kind = (enum hk_column_kind)(first & 7U);
    const bool plain = kind == HK_COLUMN_DICT || kind == HK_COLUMN_RAW || kind == HK_COLUMN_ZSTD;
    if (plain && first != (uint8_t)kind) return HK_E_CORRUPT;
    hk_err err = HK_OK;
    bool good = true;
    switch (kind) {
    case HK_COLUMN_CONSTANT:
        good = (first & HK_COLUMN_EXCEPTIONS) == 0 &&
               get_constant(&in, first >> EXPONENT_SHIFT, count, out);
        break;
    case HK_COLUMN_FOR:
    case HK_COLUMN_DELTA:
    case HK_COLUMN_DOUBLE:
    case HK_COLUMN_SHORT:
        good = get_decimal(work, &in, first, count, out);
        break;
    case HK_COLUMN_DICT:
        good = get_dictionary(work, &in, count, out);
        break;
    case HK_COLUMN_RAW:
        good = get_raw(&in, count, out);
        break;
    case HK_COLUMN_ZSTD:
        err = get_zstd(work, &in, count, out);
        break;
    default:
        good = false;
        break;
    }
    if (err != HK_OK) return err;
    return good && in.at == in.end ? HK_OK : HK_E_CORRUPT;
}

/*
 * Stamps. First byte: kind, and in bits 3-6 the exponent (0 or 3: all distances are whole seconds).
 * Then the zigzag distance of the first stamp to the base; then, unless constant, the integers
 * (stamp - first) / 10^e.
 */
size_t hk_column_encode_stamps(
    struct hk_column_work *work, const int64_t *stamps_ms, uint32_t count, int64_t base_ms,
    uint8_t *out) {
    hk_assert(count >= 1 && count <= HK_COLUMN_COUNT_MAX);
    const uint64_t first = (uint64_t)stamps_ms[0];
    bool same = true, seconds = true;
    for (uint32_t i = 0; i < count; i++) {
        int64_t distance = (int64_t)((uint64_t)stamps_ms[i] - first);
        work->ints[i] = distance;
        same = same && distance == 0;
        seconds = seconds && distance % 1000 == 0;
    }
    uint8_t *to = hk_varint_put(out + 1, hk_zigzag((int64_t)(first - (uint64_t)base_ms)));
    enum hk_column_kind kind = HK_COLUMN_CONSTANT;
    const unsigned exponent = seconds && !same ? 3 : 0;
    if (exponent > 0) {
        for (uint32_t i = 0; i < count; i++)
            work->ints[i] /= 1000;
    }
    if (!same) to = hk_ints_encode(work, count, to, &kind);
    out[0] = first_byte(kind, exponent, false);
    return (size_t)(to - out);
}

hk_err hk_column_decode_stamps(
    struct hk_column_work *work, const uint8_t *from, size_t bytes, uint32_t count, int64_t base_ms,
    int64_t *out) {
    hk_assert(count >= 1 && count <= HK_COLUMN_COUNT_MAX);
    struct hk_column_in in = { from, from + bytes };
    uint8_t head = 0;
    int64_t distance = 0;
    if (!hk_byte_get(&in, &head) || !hk_signed_get(&in, &distance)) return HK_E_CORRUPT;
    const enum hk_column_kind kind = (enum hk_column_kind)(head & 7U);
    const unsigned exponent = head >> EXPONENT_SHIFT; /* bit 7 makes it invalid */
    if (exponent != 0 && exponent != 3) return HK_E_CORRUPT;
    const uint64_t first = (uint64_t)base_ms + (uint64_t)distance;
    if (kind == HK_COLUMN_CONSTANT) {
        for (uint32_t i = 0; i < count; i++)
            out[i] = (int64_t)first;
        return in.at == in.end ? HK_OK : HK_E_CORRUPT;
    }
    if (!hk_ints_decode(work, &in, kind, count, out) || in.at != in.end) return HK_E_CORRUPT;
    const uint64_t unit = exponent == 3 ? 1000 : 1;
    for (uint32_t i = 0; i < count; i++)
        out[i] = (int64_t)(first + (uint64_t)out[i] * unit);
    return HK_OK;
}

int hk_column_exponent(const uint8_t *from, size_t bytes) {
    if (bytes == 0) return -1;
    const unsigned kind = from[0] & 7U, exponent = (from[0] >> EXPONENT_SHIFT) & 15U;
    if (kind > HK_COLUMN_SHORT) return -1;
    if (exponent <= HK_COLUMN_EXPONENT_MAX) return (int)exponent;
    return kind == HK_COLUMN_CONSTANT ? -1 : 0;
}
