/* Summaries of float chunks and postings of label pairs: bytes ⇄ structures (see block.md). */
#include "store/block_internal.h"

#include <float.h>
#include <math.h>

enum {
    HAS_NAN = 1,
    EXACT = 2,
    MIN_IS_FIRST = 4,
    MAX_IS_LAST = 8,
    EXPONENT_SHIFT = 4,
    EXPONENT_MAX = 14,
};

#define INTEGER_MAX 0x1p53

void hk_block_summary_of(const double *values, uint32_t count, struct hk_block_summary *out) {
    struct hk_block_summary summary = { .min = HUGE_VAL, .max = -HUGE_VAL, .exact = true };
    for (uint32_t i = 0; i < count; i++) {
        double value = values[i];
        if (isnan(value)) {
            summary.has_nan = true;
            continue;
        }
        summary.min = value < summary.min ? value : summary.min;
        summary.max = value > summary.max ? value : summary.max;
        summary.sum += value;
    }
    summary.first = values[0];
    summary.last = values[count - 1];
    *out = summary;
}

/* The same in integers of 10^-e; false when a value is none or the sum might not be exact. */
struct whole {
    int64_t min, max, sum, first, last;
};

static bool to_whole(const double *values, uint32_t count, double scale, struct whole *out) {
    struct whole all = { .min = INT64_MAX, .max = INT64_MIN };
    for (uint32_t i = 0; i < count; i++) {
        double scaled = rint(values[i] * scale);
        if (!(fabs(scaled) < INTEGER_MAX) || scaled / scale != values[i]) return false;
        int64_t x = (int64_t)scaled;
        all.min = x < all.min ? x : all.min;
        all.max = x > all.max ? x : all.max;
        all.sum += x; /* at most 2^10 numbers under 2^53 */
        all.first = i == 0 ? x : all.first;
        all.last = x;
    }
    *out = all;
    return true;
}

static void put_float(struct hk_buf *buf, double value, bool down) {
    float narrow = (float)value;
    if (down && (double)narrow > value) narrow = nextafterf(narrow, -HUGE_VALF);
    if (!down && (double)narrow < value) narrow = nextafterf(narrow, HUGE_VALF);
    hk_buf_bytes(buf, &narrow, sizeof(narrow));
}

static double powers_of_ten(int exponent) {
    double power = 1;
    for (int i = 0; i < exponent; i++)
        power *= 10; /* exact up to 10^22 */
    return power;
}

void hk_block_summary_put(struct hk_buf *buf, const double *values, uint32_t count, int exponent) {
    struct whole all = { 0 };
    if (exponent >= 0 && exponent <= EXPONENT_MAX &&
        to_whole(values, count, powers_of_ten(exponent), &all)) {
        const bool low = all.min == all.first, high = all.max == all.last;
        int head = EXACT | exponent << EXPONENT_SHIFT;
        if (low) head |= MIN_IS_FIRST;
        if (high) head |= MAX_IS_LAST;
        hk_buf_char(buf, (char)head);
        hk_block_signed(buf, all.first);
        hk_block_signed(buf, all.last - all.first);
        if (!low) hk_block_varint(buf, (uint64_t)(all.first - all.min));
        if (!high) hk_block_varint(buf, (uint64_t)(all.max - all.last));
        hk_block_signed(buf, all.sum - (int64_t)count * all.first);
        return;
    }
    struct hk_block_summary summary;
    hk_block_summary_of(values, count, &summary);
    hk_buf_char(buf, summary.has_nan ? HAS_NAN : 0);
    put_float(buf, summary.min, true);
    put_float(buf, summary.max, false);
}

bool hk_block_summary_get(struct hk_block_in *in, uint32_t count, struct hk_block_summary *out) {
    const uint8_t *head = hk_block_get_bytes(in, 1);
    if (head == NULL) return false;
    const int exponent = *head >> EXPONENT_SHIFT;
    *out = (struct hk_block_summary){ .has_nan = (*head & HAS_NAN) != 0 };
    if ((*head & EXACT) == 0) {
        float bounds[2] = { 0 };
        const uint8_t *from = hk_block_get_bytes(in, sizeof(bounds));
        if (from == NULL || exponent != 0) return false;
        memcpy(bounds, from, sizeof(bounds));
        out->min = (double)bounds[0];
        out->max = (double)bounds[1];
        return true;
    }
    if (exponent > EXPONENT_MAX || out->has_nan) return false;
    const double scale = powers_of_ten(exponent);
    /* Unsigned: hostile numbers may wrap, harmlessly. */
    uint64_t first = (uint64_t)hk_block_get_signed(in);
    uint64_t last = first + (uint64_t)hk_block_get_signed(in);
    uint64_t min = (*head & MIN_IS_FIRST) != 0 ? first : first - hk_block_get(in);
    uint64_t max = (*head & MAX_IS_LAST) != 0 ? last : last + hk_block_get(in);
    uint64_t sum = (uint64_t)hk_block_get_signed(in) + first * count;
    out->exact = true;
    out->first = (double)(int64_t)first / scale;
    out->last = (double)(int64_t)last / scale;
    out->min = (double)(int64_t)min / scale;
    out->max = (double)(int64_t)max / scale;
    out->sum = (double)(int64_t)sum / scale;
    return !in->bad;
}

/* ------------------------------------------------------------------ postings */

static size_t varint_bytes(uint64_t x) {
    return x < 128 ? 1 : (size_t)(63 - __builtin_clzll(x)) / 7 + 1;
}

static void put_deltas(struct hk_buf *out, const uint32_t *numbers, uint32_t count) {
    uint64_t next = 0;
    for (uint32_t i = 0; i < count; i++) {
        hk_block_varint(out, numbers[i] + 1ULL - next);
        next = numbers[i] + 1ULL;
    }
}

static void put_runs(struct hk_buf *out, const uint32_t *numbers, uint32_t count) {
    uint64_t end = 0;
    for (uint32_t i = 0; i < count;) {
        uint32_t len = 1;
        while (i + len < count && numbers[i + len] == numbers[i] + len)
            len++;
        hk_block_varint(out, numbers[i] - end);
        hk_block_varint(out, len);
        end = (uint64_t)numbers[i] + len;
        i += len;
    }
}

static void put_bitmap(struct hk_buf *out, const uint32_t *numbers, uint32_t count) {
    const uint32_t first = numbers[0] / 8, bytes = numbers[count - 1] / 8 - first + 1;
    hk_block_varint(out, first);
    char *to = hk_buf_reserve(out, bytes);
    if (to == NULL) return;
    memset(to, 0, bytes);
    for (uint32_t i = 0; i < count; i++) {
        unsigned char byte = (unsigned char)to[numbers[i] / 8 - first];
        to[numbers[i] / 8 - first] = (char)(byte | 1U << numbers[i] % 8);
    }
    out->len += bytes;
}

enum hk_block_postings hk_block_postings_put(
    struct hk_buf *out, const uint32_t *numbers, uint32_t count, uint32_t series_count) {
    hk_assert(count > 0 && count <= series_count);
    if (count == series_count) return HK_POSTINGS_ALL;
    size_t deltas = 0, runs = 0;
    uint64_t end = 0;
    for (uint32_t i = 0; i < count; i++) {
        const uint64_t gap = numbers[i] - end;
        deltas += varint_bytes(gap + 1);
        if (gap > 0 || i == 0) runs += varint_bytes(gap) + 2; /* an estimate for the length */
        end = numbers[i] + 1ULL;
    }
    const size_t bitmap = (numbers[count - 1] - numbers[0]) / 8 + 4;
    if (runs <= deltas && runs <= bitmap) {
        put_runs(out, numbers, count);
        return HK_POSTINGS_RUNS;
    }
    if (deltas <= bitmap) {
        put_deltas(out, numbers, count);
        return HK_POSTINGS_DELTAS;
    }
    put_bitmap(out, numbers, count);
    return HK_POSTINGS_BITMAP;
}

static void set_bits(uint64_t *bitmap, uint64_t from, uint64_t to) {
    for (; from < to && from % 64 != 0; from++)
        bitmap[from / 64] |= 1ULL << from % 64;
    for (; from + 64 <= to; from += 64)
        bitmap[from / 64] = UINT64_MAX;
    for (; from < to; from++)
        bitmap[from / 64] |= 1ULL << from % 64;
}

static bool get_deltas(struct hk_block_in *in, uint32_t count, uint32_t all, uint64_t *bitmap) {
    uint64_t next = 0; /* one more than the number before */
    for (uint32_t i = 0; i < count; i++) {
        uint32_t step = hk_block_get_max(in, all);
        next += step;
        if (step == 0 || next > all) return false;
        bitmap[(next - 1) / 64] |= 1ULL << (next - 1) % 64;
    }
    return true;
}

static bool get_runs(struct hk_block_in *in, uint32_t count, uint32_t all, uint64_t *bitmap) {
    uint64_t at = 0, found = 0;
    while (found < count) {
        at += hk_block_get_max(in, all);
        uint32_t len = hk_block_get_max(in, all);
        if (in->bad || len == 0 || at + len > all) return false;
        set_bits(bitmap, at, at + len);
        at += len;
        found += len;
    }
    return found == count;
}

static bool get_bitmap(struct hk_block_in *in, uint32_t count, uint32_t all, uint64_t *bitmap) {
    const uint32_t first = hk_block_get_max(in, all / 8);
    const uint64_t bytes = (uint64_t)(in->end - in->at);
    if (in->bad || first + bytes > (all + 7ULL) / 8) return false;
    uint32_t found = 0;
    for (uint64_t i = 0; i < bytes; i++) {
        const uint64_t at = (first + i) * 8;
        if (at + 8 > all && in->at[i] >> (all - at) != 0) return false;
        bitmap[at / 64] |= (uint64_t)in->at[i] << at % 64;
        found += (uint32_t)__builtin_popcount(in->at[i]);
    }
    in->at = in->end;
    return found == count;
}

bool hk_block_postings_get(
    enum hk_block_postings kind, struct hk_block_in *in, uint32_t count, uint32_t series_count,
    uint64_t *bitmap) {
    if (count == 0 || count > series_count) return false;
    bool good = false;
    switch (kind) {
    case HK_POSTINGS_ALL:
        good = count == series_count;
        if (good) set_bits(bitmap, 0, series_count);
        break;
    case HK_POSTINGS_DELTAS:
        good = get_deltas(in, count, series_count, bitmap);
        break;
    case HK_POSTINGS_RUNS:
        good = get_runs(in, count, series_count, bitmap);
        break;
    case HK_POSTINGS_BITMAP:
        good = get_bitmap(in, count, series_count, bitmap);
        break;
    default:
        break;
    }
    return good && !in->bad && in->at == in->end;
}
