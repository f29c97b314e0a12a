/* Exponential histogram and distinct count with bounded memory. */
#include "ingest/statsd_sketch.h"

#include "base/mem.h"
#include "ingest/statsd_agg.h"
#include "model/histogram.h"

#include <math.h>

enum { SCHEMA_FIRST = 3, HLL_BITS = 12, HLL_COUNT = 1 << HLL_BITS, HLL_RANK_MAX = 65 - HLL_BITS };

/* Prometheus' default: values this close to zero share one bucket. */
static const double zero_threshold = 0x1p-128;

hk_err hk_sketch_charge(struct hk_sketch_budget *budget, size_t bytes) {
    hk_assert(budget->bytes <= budget->bytes_max);
    if (bytes > budget->bytes_max - budget->bytes) return HK_E_LIMIT;
    budget->bytes += bytes;
    return HK_OK;
}

void hk_sketch_release(struct hk_sketch_budget *budget, size_t bytes) {
    hk_assert(bytes <= budget->bytes);
    budget->bytes -= bytes;
}

void hk_sketch_histogram_init(struct hk_sketch_histogram *histogram) {
    *histogram = (struct hk_sketch_histogram){ .schema = SCHEMA_FIRST };
}

static void free_side(struct hk_sketch_side *side, struct hk_sketch_budget *budget) {
    hk_sketch_release(budget, side->capacity * sizeof(double));
    hk_mem_free(side->counts);
    *side = (struct hk_sketch_side){ .counts = NULL };
}

void hk_sketch_histogram_deinit(
    struct hk_sketch_histogram *histogram, struct hk_sketch_budget *budget) {
    free_side(&histogram->positive, budget);
    free_side(&histogram->negative, budget);
}

/* Bucket of a positive value at the first schema: (2^((i-1)/8), 2^(i/8)]. */
static int32_t bucket_of(double value) {
    /* 2^(k/8 - 1): upper bounds within an octave of frexp's fraction in [0.5, 1). */
    static const double bounds[] = { 0.5,
                                     0x1.172b83c7d517bp-1,
                                     0x1.306fe0a31b715p-1,
                                     0x1.4bfdad5362a27p-1,
                                     0x1.6a09e667f3bcdp-1,
                                     0x1.8ace5422aa0dbp-1,
                                     0x1.ae89f995ad3adp-1,
                                     0x1.d5818dcfba487p-1 };
    int exponent = 0;
    const double fraction = frexp(value, &exponent);
    int32_t step = 0;
    while (step < (int32_t)HK_COUNT(bounds) && fraction > bounds[step])
        step++;
    return (exponent - 1) * (int32_t)HK_COUNT(bounds) + step;
}

/* Index of a bucket when pairs are merged `times` times: ceil(index / 2^times). */
static int32_t lower_index(int32_t index, int32_t times) {
    return (index + (1 << times) - 1) >> times;
}

static void lower_side(struct hk_sketch_side *side) {
    if (side->count == 0) return;
    const int32_t first = lower_index(side->first, 1);
    uint32_t last = 0;
    for (uint32_t i = 0; i < side->count; i++) {
        const double count = side->counts[i];
        side->counts[i] = 0;
        last = (uint32_t)(lower_index(side->first + (int32_t)i, 1) - first);
        side->counts[last] += count;
    }
    side->first = first;
    side->count = last + 1;
}

/* Makes the window hold [first, first + count), which contains it. */
static hk_err grow_side(
    struct hk_sketch_side *side, int32_t first, uint32_t count, struct hk_sketch_budget *budget) {
    if (count > side->capacity) {
        uint32_t capacity = side->capacity == 0 ? 8 : side->capacity;
        while (capacity < count)
            capacity *= 2;
        if (capacity > HK_STATSD_BUCKETS_MAX) capacity = HK_STATSD_BUCKETS_MAX;
        const size_t more = (capacity - side->capacity) * sizeof(double);
        HK_TRY(hk_sketch_charge(budget, more));
        double *counts = hk_mem_resize(side->counts, capacity, sizeof(double));
        if (counts == NULL) {
            hk_sketch_release(budget, more);
            return HK_E_NOMEM;
        }
        side->counts = counts;
        side->capacity = capacity;
    }
    const uint32_t shift = side->count == 0 ? 0 : (uint32_t)(side->first - first);
    memmove(side->counts + shift, side->counts, side->count * sizeof(double));
    memset(side->counts, 0, shift * sizeof(double));
    memset(side->counts + shift + side->count, 0, (count - shift - side->count) * sizeof(double));
    side->first = first;
    side->count = count;
    return HK_OK;
}

hk_err hk_sketch_histogram_add(
    struct hk_sketch_histogram *histogram, double value, double weight,
    struct hk_sketch_budget *budget) {
    if (fabs(value) <= zero_threshold) {
        histogram->zero_count += weight;
        histogram->sum += value * weight;
        return HK_OK;
    }
    struct hk_sketch_side *side = value > 0 ? &histogram->positive : &histogram->negative;
    const int32_t finest = bucket_of(fabs(value));
    for (;;) {
        const int32_t index = lower_index(finest, SCHEMA_FIRST - histogram->schema);
        const int32_t last = side->first + (int32_t)side->count - 1;
        const int32_t low = side->count == 0 || index < side->first ? index : side->first;
        const int32_t high = side->count == 0 || index > last ? index : last;
        const uint32_t width = (uint32_t)(high - low) + 1;
        if (HK_UNLIKELY(width > HK_STATSD_BUCKETS_MAX)) {
            hk_assert(histogram->schema > HK_HISTOGRAM_SCHEMA_MIN); /* (2) of statsd_agg.c */
            lower_side(&histogram->positive);
            lower_side(&histogram->negative);
            histogram->schema--;
            continue;
        }
        if (width > side->count) HK_TRY(grow_side(side, low, width, budget));
        side->counts[index - low] += weight;
        histogram->sum += value * weight;
        return HK_OK;
    }
}

/* Spans and counts of a side without its empty buckets; gaps of up to two are kept as zeros. */
struct packed_side {
    struct hk_histogram_span spans[HK_STATSD_BUCKETS_MAX];
    double counts[HK_STATSD_BUCKETS_MAX];
};

static struct hk_histogram_side
pack_side(const struct hk_sketch_side *side, struct packed_side *packed, double *total) {
    uint32_t span_count = 0, count = 0, end = 0; /* end: behind the last bucket taken */
    for (uint32_t i = 0; i < side->count; i++) {
        if (!(side->counts[i] > 0)) continue;
        *total += side->counts[i];
        if (span_count > 0 && i - end <= 2) {
            for (; end < i; end++) {
                packed->spans[span_count - 1].length++;
                packed->counts[count++] = 0;
            }
        } else {
            const int32_t offset = span_count == 0 ? side->first + (int32_t)i : (int32_t)(i - end);
            packed->spans[span_count++] = (struct hk_histogram_span){ offset, 0 };
        }
        packed->spans[span_count - 1].length++;
        packed->counts[count++] = side->counts[i];
        end = i + 1;
    }
    return (struct hk_histogram_side){ packed->spans, packed->counts, span_count, count };
}

hk_err hk_sketch_histogram_encode(
    const struct hk_sketch_histogram *histogram, struct hk_arena *arena, struct hk_str *out) {
    struct packed_side positive, negative;
    struct hk_histogram encoded = {
        .schema = histogram->schema,
        .reset_hint = HK_RESET_UNKNOWN,
        .zero_threshold = zero_threshold,
        .zero_count = histogram->zero_count,
        .count = histogram->zero_count,
        .sum = histogram->sum,
    };
    encoded.positive = pack_side(&histogram->positive, &positive, &encoded.count);
    encoded.negative = pack_side(&histogram->negative, &negative, &encoded.count);
    struct hk_buf buf;
    hk_buf_init(&buf, 65536);
    hk_histogram_encode(&encoded, &buf);
    if (buf.err == HK_OK) *out = hk_arena_str(arena, hk_buf_get(&buf));
    const bool fine = buf.err == HK_OK && out->ptr != NULL;
    hk_buf_deinit(&buf);
    return fine ? HK_OK : hk_fail(HK_E_NOMEM, "statsd: no memory for a histogram");
}

void hk_sketch_set_deinit(struct hk_sketch_set *set, struct hk_sketch_budget *budget) {
    hk_sketch_release(budget, set->capacity * sizeof(uint64_t));
    if (set->registers != NULL) hk_sketch_release(budget, HLL_COUNT);
    hk_mem_free(set->hashes);
    hk_mem_free(set->registers);
    *set = (struct hk_sketch_set){ .hashes = NULL };
}

/* Flajolet et al. 2007: the first bits choose a register, which keeps the longest run of zeros. */
static void add_to_registers(uint8_t *registers, uint64_t hash) {
    const uint64_t rest = hash << HLL_BITS;
    const int rank = rest == 0 ? HLL_RANK_MAX : __builtin_clzll(rest) + 1;
    uint8_t *at = &registers[hash >> (64 - HLL_BITS)];
    if (*at < rank) *at = (uint8_t)rank;
}

static hk_err start_estimating(struct hk_sketch_set *set, struct hk_sketch_budget *budget) {
    if (set->registers == NULL) {
        HK_TRY(hk_sketch_charge(budget, HLL_COUNT));
        set->registers = hk_mem_alloc(HLL_COUNT, 1);
        if (set->registers == NULL) {
            hk_sketch_release(budget, HLL_COUNT);
            return HK_E_NOMEM;
        }
    }
    memset(set->registers, 0, HLL_COUNT);
    for (uint32_t i = 0; i < set->count; i++)
        add_to_registers(set->registers, set->hashes[i]);
    set->estimating = true;
    return HK_OK;
}

hk_err
hk_sketch_set_add(struct hk_sketch_set *set, uint64_t hash, struct hk_sketch_budget *budget) {
    for (uint32_t i = 0; i < set->count && !set->estimating; i++) {
        if (set->hashes[i] == hash) return HK_OK;
    }
    if (!set->estimating && set->count == HK_STATSD_SET_EXACT_MAX) {
        HK_TRY(start_estimating(set, budget));
    }
    if (set->estimating) {
        add_to_registers(set->registers, hash);
        return HK_OK;
    }
    if (set->count == set->capacity) {
        const uint32_t capacity = set->capacity == 0 ? 4 : set->capacity * 2;
        const size_t more = (capacity - set->capacity) * sizeof(uint64_t);
        HK_TRY(hk_sketch_charge(budget, more));
        uint64_t *hashes = hk_mem_resize(set->hashes, capacity, sizeof(uint64_t));
        if (hashes == NULL) {
            hk_sketch_release(budget, more);
            return HK_E_NOMEM;
        }
        set->hashes = hashes;
        set->capacity = capacity;
    }
    set->hashes[set->count++] = hash;
    return HK_OK;
}

/* Sigma and tau of Ertl, "New cardinality estimation algorithms for HyperLogLog sketches", 2017,
 * section 2.4: the shares of empty and of saturated registers. Both converge within 64 turns. */
static double sigma(double x) {
    double y = 1, z = x;
    for (int turn = 0; turn < 64; turn++) {
        const double before = z;
        x *= x;
        z += x * y;
        y += y;
        if (z == before) break;
    }
    return z;
}

static double tau(double x) {
    if (x == 0 || x == 1) return 0;
    double y = 1, z = 1 - x;
    for (int turn = 0; turn < 64; turn++) {
        const double before = z;
        x = sqrt(x);
        y *= 0.5;
        z -= (1 - x) * (1 - x) * y;
        if (z == before) break;
    }
    return z / 3;
}

double hk_sketch_set_count(const struct hk_sketch_set *set) {
    if (!set->estimating) return set->count;
    uint32_t histogram[HLL_RANK_MAX + 1] = { 0 };
    for (size_t i = 0; i < HLL_COUNT; i++)
        histogram[set->registers[i]]++;
    double z = HLL_COUNT * tau(1 - (double)histogram[HLL_RANK_MAX] / HLL_COUNT);
    for (int rank = HLL_RANK_MAX - 1; rank >= 1; rank--)
        z = 0.5 * (z + histogram[rank]);
    z += HLL_COUNT * sigma((double)histogram[0] / HLL_COUNT);
    return round((double)HLL_COUNT * HLL_COUNT / (2 * M_LN2 * z));
}

void hk_sketch_set_clear(struct hk_sketch_set *set) {
    set->count = 0;
    set->estimating = false;
}
