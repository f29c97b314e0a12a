/* Packed tails. */
#include "store/tail.h"

#include "base/mem.h"

#include <math.h>
#include <string.h>

enum { SCALE_MAX = 6, VALUE_SAME = 0, VALUE_XOR = 1, VALUE_INTEGER = 2, BYTES_FIRST = 24 };

static const double powers[SCALE_MAX + 1] = { 1, 10, 100, 1000, 10000, 100000, 1000000 };

static uint64_t bits_of(double value) {
    uint64_t bits = 0;
    memcpy(&bits, &value, sizeof(bits));
    return bits;
}

static uint64_t zigzag(int64_t value) {
    return ((uint64_t)value << 1) ^ (uint64_t)(value >> 63);
}

static int64_t unzigzag(uint64_t value) {
    return (int64_t)(value >> 1) ^ -(int64_t)(value & 1);
}

/* round(value × 10^scale) if that is exact both ways and below 2^53; false for −0 and NaN. */
static bool scaled(double value, unsigned scale, int64_t *out) {
    double product = scale == 0 ? value : value * powers[scale];
    if (!(product > -9007199254740992.0 && product < 9007199254740992.0)) return false;
    int64_t integer = (int64_t)(product + (product < 0 ? -0.5 : 0.5));
    *out = integer;
    double back = scale == 0 ? (double)integer : (double)integer / powers[scale];
    return bits_of(back) == bits_of(value);
}

/* Smallest scale from `from` on at which both are exact; SCALE_MAX + 1 when there is none. */
static unsigned
find_scale(double before, double value, unsigned from, int64_t *out_before, int64_t *out_value) {
    for (unsigned scale = from; scale <= SCALE_MAX; scale++) {
        if (scaled(value, scale, out_value) && scaled(before, scale, out_before)) return scale;
    }
    return SCALE_MAX + 1;
}

/* Writes eight bytes always: a sample's room has them, and a fixed width is one store. */
static uint8_t *put(uint8_t *at, uint64_t value, unsigned bytes) {
    memcpy(at, &value, sizeof(value)); /* little endian: the low bytes come first */
    return at + bytes;
}

static uint8_t *put_value(struct hk_tail *tail, double value, uint8_t *at, uint8_t *control) {
    uint64_t xor = bits_of(value) ^ bits_of(tail->last_value);
    if (xor == 0) return at;
    int64_t now = 0;
    int64_t before = 0;
    unsigned scale = find_scale(tail->last_value, value, tail->scale, &before, &now);
    if (scale > SCALE_MAX) scale = find_scale(tail->last_value, value, 0, &before, &now);
    if (scale <= SCALE_MAX) {
        uint64_t change = zigzag(now - before);
        unsigned size = change < 1U << 8 ? 0 : change < 1U << 16 ? 1 : change < 1ULL << 32 ? 2 : 3;
        tail->scale = (uint8_t)scale;
        *control |= (uint8_t)(VALUE_INTEGER + 4 * scale + size);
        return put(at, change, 1U << size);
    }
    unsigned low = (unsigned)__builtin_ctzll(xor) / 8;
    unsigned bytes = 8 - low - (unsigned)__builtin_clzll(xor) / 8;
    *control |= VALUE_XOR;
    *at++ = (uint8_t)(low << 4 | bytes);
    return put(at, xor >> (8 * low), bytes);
}

static hk_err grow(struct hk_tail *tail) {
    uint32_t capacity = tail->capacity == 0 ? BYTES_FIRST : tail->capacity + tail->capacity / 2;
    if (capacity < tail->len + HK_TAIL_SAMPLE_BYTES_MAX) {
        capacity = tail->len + HK_TAIL_SAMPLE_BYTES_MAX;
    }
    uint8_t *bytes = hk_mem_resize(tail->bytes, capacity, 1);
    if (bytes == NULL) return HK_E_NOMEM;
    tail->bytes = bytes;
    tail->capacity = capacity;
    return HK_OK;
}

static int32_t saturate(int64_t value) {
    return value > INT32_MAX ? INT32_MAX : value < INT32_MIN ? INT32_MIN : (int32_t)value;
}

hk_err hk_tail_append(struct hk_tail *tail, int64_t stamp_ms, double value) {
    if (HK_UNLIKELY(tail->capacity - tail->len < HK_TAIL_SAMPLE_BYTES_MAX)) HK_TRY(grow(tail));
    uint8_t *control = tail->bytes + tail->len;
    uint8_t *at = control + 1;
    *control = 0;
    if (tail->count == 0) {
        tail->first_ms = stamp_ms;
        tail->last_ms = 0;
        tail->step_ms = 0;
        tail->last_value = 0;
    }
    int64_t step = (int64_t)((uint64_t)stamp_ms - (uint64_t)tail->last_ms);
    int64_t turn = (int64_t)((uint64_t)step - (uint64_t)(int64_t)tail->step_ms);
    if (turn != 0) {
        uint64_t code = zigzag(turn);
        unsigned kind = code < 1U << 8 ? 1 : code < 1U << 16 ? 2 : 3;
        *control = (uint8_t)(kind << 6);
        at = put(at, code, kind == 3 ? 8 : kind);
    }
    at = put_value(tail, value, at, control);
    tail->len = (uint32_t)(at - tail->bytes);
    hk_assert(tail->len <= tail->capacity);
    tail->step_ms = saturate(step);
    tail->last_ms = stamp_ms;
    tail->last_value = value;
    tail->count++;
    return HK_OK;
}

static const uint8_t *get(const uint8_t *at, unsigned bytes, uint64_t *out) {
    uint64_t value = 0;
    memcpy(&value, at, bytes);
    *out = value;
    return at + bytes;
}

static const uint8_t *get_value(const uint8_t *at, unsigned code, double *value) {
    uint64_t raw = 0;
    if (code == VALUE_SAME) return at;
    if (code == VALUE_XOR) {
        unsigned low = *at >> 4;
        unsigned bytes = *at & 15;
        at = get(at + 1, bytes, &raw);
        uint64_t bits = bits_of(*value) ^ (raw << (8 * low));
        memcpy(value, &bits, sizeof(bits));
        return at;
    }
    unsigned scale = (code - VALUE_INTEGER) / 4;
    at = get(at, 1U << ((code - VALUE_INTEGER) % 4), &raw);
    double product = *value * powers[scale];
    int64_t before = (int64_t)(product + (product < 0 ? -0.5 : 0.5));
    *value = (double)(before + unzigzag(raw)) / powers[scale];
    return at;
}

void hk_tail_decode(const struct hk_tail *tail, int64_t *out_stamps_ms, double *out_values) {
    const uint8_t *at = tail->bytes;
    int64_t stamp = 0;
    int64_t step = 0;
    double value = 0;
    for (uint32_t i = 0; i < tail->count; i++) {
        uint8_t control = *at++;
        unsigned kind = control >> 6;
        uint64_t code = 0;
        if (kind != 0) at = get(at, kind == 3 ? 8 : kind, &code);
        step = (int64_t)((uint64_t)saturate(step) + (uint64_t)unzigzag(code));
        stamp = (int64_t)((uint64_t)stamp + (uint64_t)step);
        at = get_value(at, control & 63, &value);
        out_stamps_ms[i] = stamp;
        out_values[i] = value;
    }
}

void hk_tail_clear(struct hk_tail *tail) {
    hk_mem_free(tail->bytes);
    *tail = (struct hk_tail){ .last_ms = tail->last_ms };
}
