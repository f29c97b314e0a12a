/*
 * Histogram arithmetic on flat sides: index and count of every bucket in ascending index (on the
 * negative side that is descending value). Spans are made again at the end.
 */
#include "query/hist.h"

#include "lang/text.h"

#include <float.h>
#include <math.h>

struct side {
    int32_t *indexes;
    double *counts;
    uint32_t count;
};

struct flat {
    int32_t schema;
    enum hk_reset_hint reset_hint;
    double zero_threshold, zero_count, count, sum;
    struct side positive, negative;
    const double *custom_values;
    uint32_t custom_count;
};

/*
 * Bounds in [0.5, 1) of schemas 0 to 8, as the senders calculate them: every second one is the
 * coarser schema's, the others are the predecessor times the growth factor.
 */
static double bounds[HK_HISTOGRAM_SCHEMA_MAX + 1][1 << HK_HISTOGRAM_SCHEMA_MAX];

__attribute__((constructor)) static void bounds_init(void) {
    for (int schema = 0; schema <= HK_HISTOGRAM_SCHEMA_MAX; schema++) {
        double factor = exp2(exp2((double)-schema));
        bounds[schema][0] = 0.5;
        for (int i = 1; i < 1 << schema; i++) {
            bounds[schema][i] =
                i % 2 == 0 ? bounds[schema - 1][i / 2] : bounds[schema][i - 1] * factor;
        }
    }
}

double hk_hist_bound(int32_t index, int32_t schema) {
    /* The last bucket of ordinary numbers ends at the largest one, not at infinity. */
    if (schema < 0) {
        int64_t exponent = (int64_t)index * (1 << -schema);
        if (exponent == 1024) return DBL_MAX;
        return exponent > 2000 ? HUGE_VAL : exponent < -2000 ? 0 : ldexp(1, (int)exponent);
    }
    double fraction = bounds[schema][index & ((1 << schema) - 1)];
    int exponent = (index >> schema) + 1;
    if (fraction == 0.5 && exponent == 1025) return DBL_MAX;
    return ldexp(fraction, exponent);
}

static hk_err
flat_side(struct hk_arena *arena, const struct hk_histogram_side *from, struct side *out) {
    out->indexes = hk_arena_alloc_raw(arena, from->count, sizeof(int32_t));
    out->counts = hk_arena_alloc_raw(arena, from->count, sizeof(double));
    if (out->indexes == NULL || out->counts == NULL) return HK_E_NOMEM;
    uint32_t at = 0;
    int64_t index = 0;
    for (uint32_t i = 0; i < from->span_count; i++) {
        index += from->spans[i].offset;
        for (uint32_t k = 0; k < from->spans[i].length && at < from->count; k++)
            out->indexes[at++] = (int32_t)index++;
    }
    if (at > 0) memcpy(out->counts, from->counts, at * sizeof(double));
    out->count = at;
    return HK_OK;
}

static hk_err flat_load(struct hk_arena *arena, const struct hk_histogram *from, struct flat *out) {
    *out = (struct flat){
        .schema = from->schema,
        .reset_hint = from->reset_hint,
        .zero_threshold = from->zero_threshold,
        .zero_count = from->zero_count,
        .count = from->count,
        .sum = from->sum,
        .custom_values = from->custom_values,
        .custom_count = from->custom_count,
    };
    HK_TRY(flat_side(arena, &from->positive, &out->positive));
    return flat_side(arena, &from->negative, &out->negative);
}

static hk_err
side_store(struct hk_arena *arena, const struct side *from, struct hk_histogram_side *out) {
    struct hk_histogram_span *spans = hk_arena_alloc_raw(arena, from->count, sizeof(*spans));
    double *counts = hk_arena_alloc_raw(arena, from->count, sizeof(*counts));
    if (spans == NULL || counts == NULL) return HK_E_NOMEM;
    uint32_t span_count = 0;
    uint32_t count = 0;
    int64_t next = 0;
    for (uint32_t i = 0; i < from->count; i++) {
        if (from->counts[i] == 0) continue;
        if (span_count == 0 || from->indexes[i] != next) {
            spans[span_count++] =
                (struct hk_histogram_span){ (int32_t)(from->indexes[i] - next), 0 };
        }
        spans[span_count - 1].length++;
        counts[count++] = from->counts[i];
        next = (int64_t)from->indexes[i] + 1;
    }
    *out = (struct hk_histogram_side){ spans, counts, span_count, count };
    return HK_OK;
}

static hk_err
flat_store(struct hk_arena *arena, const struct flat *from, const struct hk_histogram **out) {
    struct hk_histogram *made = hk_arena_alloc(arena, 1, sizeof(*made));
    if (made == NULL) return HK_E_NOMEM;
    *made = (struct hk_histogram){
        .schema = from->schema,
        .reset_hint = from->reset_hint,
        .zero_threshold = from->zero_threshold,
        .zero_count = from->zero_count,
        .count = from->count,
        .sum = from->sum,
        .custom_count = from->custom_count,
    };
    if (from->custom_count > 0) {
        double *values = hk_arena_alloc_raw(arena, from->custom_count, sizeof(double));
        if (values == NULL) return HK_E_NOMEM;
        memcpy(values, from->custom_values, from->custom_count * sizeof(double));
        made->custom_values = values;
    }
    HK_TRY(side_store(arena, &from->positive, &made->positive));
    HK_TRY(side_store(arena, &from->negative, &made->negative));
    *out = made;
    return HK_OK;
}

static bool same_custom(const struct hk_histogram *a, const struct hk_histogram *b) {
    return a->custom_count == b->custom_count &&
           (a->custom_count == 0 ||
            memcmp(a->custom_values, b->custom_values, a->custom_count * sizeof(double)) == 0);
}

/* Merges buckets in place to a lower resolution. */
static void side_reduce(struct side *side, int32_t from_schema, int32_t to_schema) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < side->count; i++) {
        int32_t index = ((side->indexes[i] - 1) >> (from_schema - to_schema)) + 1;
        if (count > 0 && side->indexes[count - 1] == index) {
            side->counts[count - 1] += side->counts[i];
            continue;
        }
        side->indexes[count] = index;
        side->counts[count++] = side->counts[i];
    }
    side->count = count;
}

static void flat_reduce(struct flat *flat, int32_t schema) {
    if (flat->schema <= schema) return;
    side_reduce(&flat->positive, flat->schema, schema);
    side_reduce(&flat->negative, flat->schema, schema);
    flat->schema = schema;
}

/* Adds to `*count` the buckets of one side that begin below `threshold`. True: a bucket that is not
 * empty reaches beyond it; `*out_upper` is where that bucket ends. */
static bool count_below(
    const struct flat *flat, const struct side *side, double threshold, double *count,
    double *out_upper) {
    for (uint32_t i = 0; i < side->count; i++) {
        if (hk_hist_bound(side->indexes[i] - 1, flat->schema) >= threshold) return false;
        *count += side->counts[i];
        double upper = hk_hist_bound(side->indexes[i], flat->schema);
        if (upper <= threshold) continue;
        *out_upper = upper;
        return side->counts[i] != 0;
    }
    return false;
}

/* What the zero count would be with a larger threshold; the threshold moves up to the end of a
 * bucket that it would cut. */
static double zero_count_for(const struct flat *flat, double *threshold) {
    if (*threshold == flat->zero_threshold) return flat->zero_count;
    for (;;) {
        double count = flat->zero_count;
        double upper = 0;
        if (count_below(flat, &flat->positive, *threshold, &count, &upper)) *threshold = upper;
        if (!count_below(flat, &flat->negative, *threshold, &count, &upper)) return count;
        *threshold = upper;
    }
}

static void side_trim(struct flat *flat, struct side *side) {
    uint32_t gone = 0;
    while (gone < side->count &&
           hk_hist_bound(side->indexes[gone] - 1, flat->schema) < flat->zero_threshold)
        gone++;
    side->indexes += gone;
    side->counts += gone;
    side->count -= gone;
}

/* Widens the zero bucket of `flat` so that it holds both; gives the other's zero count. */
static double reconcile_zero(struct flat *flat, const struct flat *other) {
    double other_count = other->zero_count;
    double other_threshold = other->zero_threshold;
    while (other_threshold != flat->zero_threshold) {
        if (flat->zero_threshold > other_threshold) {
            other_threshold = flat->zero_threshold;
            other_count = zero_count_for(other, &other_threshold);
        }
        if (other_threshold > flat->zero_threshold) {
            double threshold = other_threshold;
            flat->zero_count = zero_count_for(flat, &threshold);
            flat->zero_threshold = threshold;
            side_trim(flat, &flat->positive);
            side_trim(flat, &flat->negative);
        }
    }
    return other_count;
}

/* a + sign × b; buckets of b inside the zero bucket are in the zero count already. */
static hk_err side_add(
    struct hk_arena *arena, const struct flat *flat, double sign, struct side *a,
    const struct side *b) {
    size_t room = (size_t)a->count + b->count;
    struct side out = { .indexes = hk_arena_alloc_raw(arena, room, sizeof(int32_t)),
                        .counts = hk_arena_alloc_raw(arena, room, sizeof(double)) };
    if (out.indexes == NULL || out.counts == NULL) return HK_E_NOMEM;
    uint32_t i = 0;
    uint32_t k = 0;
    if (flat->schema != HK_HISTOGRAM_SCHEMA_CUSTOM) {
        while (k < b->count && hk_hist_bound(b->indexes[k], flat->schema) <= flat->zero_threshold)
            k++;
    }
    while (i < a->count || k < b->count) {
        bool take_a = k == b->count || (i < a->count && a->indexes[i] <= b->indexes[k]);
        bool take_b = i == a->count || (k < b->count && b->indexes[k] <= a->indexes[i]);
        out.indexes[out.count] = take_a ? a->indexes[i] : b->indexes[k];
        double value = take_a ? a->counts[i++] : 0;
        if (take_b) value = take_a ? value + sign * b->counts[k] : sign * b->counts[k];
        k += take_b;
        out.counts[out.count++] = value;
    }
    *a = out;
    return HK_OK;
}

static enum hk_reset_hint add_hints(enum hk_reset_hint a, enum hk_reset_hint b) {
    if (a == b) return a;
    return a == HK_RESET_GAUGE || b == HK_RESET_GAUGE ? HK_RESET_GAUGE : HK_RESET_UNKNOWN;
}

int hk_hist_add(
    struct hk_arena *arena, const struct hk_histogram *a, const struct hk_histogram *b,
    bool subtract, const struct hk_histogram **out) {
    if (hk_histogram_is_custom(a) != hk_histogram_is_custom(b)) return HIST_BAD_SCHEMA;
    if (hk_histogram_is_custom(a) && !same_custom(a, b)) return HIST_BAD_BOUNDS;
    struct flat left;
    struct flat right;
    HK_TRY(flat_load(arena, a, &left));
    HK_TRY(flat_load(arena, b, &right));
    double sign = subtract ? -1 : 1;
    if (!subtract) left.reset_hint = add_hints(a->reset_hint, b->reset_hint);
    if (!hk_histogram_is_custom(a)) left.zero_count += sign * reconcile_zero(&left, &right);
    left.count += sign * right.count;
    left.sum += sign * right.sum;
    if (!hk_histogram_is_custom(a)) {
        flat_reduce(&left, right.schema);
        flat_reduce(&right, left.schema);
    }
    HK_TRY(side_add(arena, &left, sign, &left.positive, &right.positive));
    HK_TRY(side_add(arena, &left, sign, &left.negative, &right.negative));
    HK_TRY(flat_store(arena, &left, out));
    return HIST_FITS;
}

static hk_err scale_by(
    struct hk_arena *arena, const struct hk_histogram *histogram, double factor, bool divide,
    const struct hk_histogram **out) {
    struct hk_histogram *made = hk_histogram_copy(histogram, arena);
    double *counts[2];
    if (made == NULL) return HK_E_NOMEM;
    made->zero_count = divide ? made->zero_count / factor : made->zero_count * factor;
    made->count = divide ? made->count / factor : made->count * factor;
    made->sum = divide ? made->sum / factor : made->sum * factor;
    struct hk_histogram_side *sides[2] = { &made->positive, &made->negative };
    for (int i = 0; i < 2; i++) {
        if (divide && factor == 0) {
            *sides[i] = (struct hk_histogram_side){ .spans = NULL };
            continue;
        }
        counts[i] = hk_arena_alloc_raw(arena, sides[i]->count, sizeof(double));
        if (counts[i] == NULL) return HK_E_NOMEM;
        for (uint32_t k = 0; k < sides[i]->count; k++) {
            double count = sides[i]->counts[k];
            counts[i][k] = divide ? count / factor : count * factor;
        }
        sides[i]->counts = counts[i];
    }
    *out = made;
    return HK_OK;
}

hk_err hk_hist_scale(
    struct hk_arena *arena, const struct hk_histogram *histogram, double factor,
    const struct hk_histogram **out) {
    return scale_by(arena, histogram, factor, false, out);
}

hk_err hk_hist_divide(
    struct hk_arena *arena, const struct hk_histogram *histogram, double divisor,
    const struct hk_histogram **out) {
    return scale_by(arena, histogram, divisor, true, out);
}

hk_err hk_hist_compact(
    struct hk_arena *arena, const struct hk_histogram *histogram, const struct hk_histogram **out) {
    struct flat flat;
    HK_TRY(flat_load(arena, histogram, &flat));
    return flat_store(arena, &flat, out);
}

hk_err hk_hist_reduce(
    struct hk_arena *arena, const struct hk_histogram *histogram, int32_t schema,
    const struct hk_histogram **out) {
    struct flat flat;
    HK_TRY(flat_load(arena, histogram, &flat));
    if (schema < flat.schema) {
        flat_reduce(&flat, schema);
        flat.reset_hint = HK_RESET_UNKNOWN;
    }
    return flat_store(arena, &flat, out);
}

static bool same_bits(double a, double b) {
    return memcmp(&a, &b, sizeof(a)) == 0;
}

static bool same_side(const struct side *a, const struct side *b) {
    return a->count == b->count &&
           (a->count == 0 || (memcmp(a->indexes, b->indexes, a->count * sizeof(int32_t)) == 0 &&
                              memcmp(a->counts, b->counts, a->count * sizeof(double)) == 0));
}

hk_err hk_hist_equal(
    struct hk_arena *arena, const struct hk_histogram *a, const struct hk_histogram *b, bool *out) {
    struct flat left;
    struct flat right;
    HK_TRY(flat_load(arena, a, &left));
    HK_TRY(flat_load(arena, b, &right));
    *out = a->schema == b->schema && same_bits(a->count, b->count) && same_bits(a->sum, b->sum) &&
           (!hk_histogram_is_custom(a) || same_custom(a, b)) &&
           a->zero_threshold == b->zero_threshold && same_bits(a->zero_count, b->zero_count) &&
           same_side(&left.positive, &right.positive) && same_side(&left.negative, &right.negative);
    return HK_OK;
}

/* Buckets that end inside the zero bucket do not count. */
static struct side side_beyond(const struct flat *flat, struct side side, double threshold) {
    if (flat->schema == HK_HISTOGRAM_SCHEMA_CUSTOM || threshold == 0) return side;
    while (side.count > 0 && hk_hist_bound(side.indexes[0], flat->schema) <= threshold) {
        side.indexes++;
        side.counts++;
        side.count--;
    }
    return side;
}

static bool side_is_reset(struct side now, struct side before) {
    uint32_t i = 0;
    for (uint32_t k = 0; k < before.count; k++) {
        while (i < now.count && now.indexes[i] < before.indexes[k])
            i++;
        if (i == now.count || now.indexes[i] > before.indexes[k]) {
            if (before.counts[k] != 0) return true;
        } else if (now.counts[i] < before.counts[k]) {
            return true;
        }
    }
    return false;
}

hk_err hk_hist_is_reset(
    struct hk_arena *arena, const struct hk_histogram *now, const struct hk_histogram *before,
    bool *out) {
    *out = now->reset_hint == HK_RESET_YES;
    if (*out || now->reset_hint == HK_RESET_NO) return HK_OK;
    bool custom = hk_histogram_is_custom(now);
    *out = now->count < before->count || custom != hk_histogram_is_custom(before) ||
           (custom && !same_custom(now, before)) || now->schema > before->schema ||
           now->zero_threshold < before->zero_threshold;
    if (*out) return HK_OK;
    struct flat left;
    struct flat right;
    HK_TRY(flat_load(arena, now, &left));
    HK_TRY(flat_load(arena, before, &right));
    double threshold = now->zero_threshold;
    double before_zero = custom ? 0 : zero_count_for(&right, &threshold);
    *out = threshold != now->zero_threshold || now->zero_count < before_zero;
    if (*out) return HK_OK;
    if (!custom) flat_reduce(&right, left.schema);
    *out = side_is_reset(
               side_beyond(&left, left.positive, threshold),
               side_beyond(&right, right.positive, threshold)) ||
           side_is_reset(
               side_beyond(&left, left.negative, threshold),
               side_beyond(&right, right.negative, threshold));
    return HK_OK;
}

static double custom_bound(const struct flat *flat, int32_t index) {
    if (index < 0) return -HUGE_VAL;
    return index >= (int32_t)flat->custom_count ? HUGE_VAL : flat->custom_values[index];
}

static void clamp_to_zero(struct hist_bucket *bucket, double threshold) {
    if (bucket->upper < 0 && bucket->upper > -threshold)
        bucket->upper = -threshold;
    else if (bucket->lower > 0 && bucket->lower < threshold)
        bucket->lower = threshold;
}

static struct hist_bucket bucket_at(const struct flat *flat, bool positive, uint32_t i) {
    const struct side *side = positive ? &flat->positive : &flat->negative;
    int32_t index = side->indexes[i];
    struct hist_bucket out = { .count = side->counts[i] };
    if (flat->schema == HK_HISTOGRAM_SCHEMA_CUSTOM) {
        out.upper = custom_bound(flat, index);
        out.lower = custom_bound(flat, index - 1);
        out.lower_inclusive = index == 0;
        out.upper_inclusive = true;
        return out;
    }
    double far = hk_hist_bound(index, flat->schema);
    double near = hk_hist_bound(index - 1, flat->schema);
    out.upper = positive ? far : -near;
    out.lower = positive ? near : -far;
    out.lower_inclusive = out.lower < 0;
    out.upper_inclusive = out.upper > 0;
    clamp_to_zero(&out, flat->zero_threshold);
    return out;
}

hk_err hk_hist_buckets(
    struct hk_arena *arena, const struct hk_histogram *histogram, struct hist_bucket **out,
    uint32_t *out_count) {
    struct flat flat;
    HK_TRY(flat_load(arena, histogram, &flat));
    size_t room = (size_t)flat.positive.count + flat.negative.count + 1;
    struct hist_bucket *buckets = hk_arena_alloc_raw(arena, room, sizeof(*buckets));
    if (buckets == NULL) return HK_E_NOMEM;
    uint32_t count = 0;
    for (uint32_t i = flat.negative.count; i-- > 0;)
        buckets[count++] = bucket_at(&flat, false, i);
    if (flat.zero_count > 0) {
        buckets[count++] = (struct hist_bucket){ .lower = -flat.zero_threshold,
                                                 .upper = flat.zero_threshold,
                                                 .count = flat.zero_count,
                                                 .lower_inclusive = true,
                                                 .upper_inclusive = true };
    }
    for (uint32_t i = 0; i < flat.positive.count; i++)
        buckets[count++] = bucket_at(&flat, true, i);
    *out = buckets;
    *out_count = count;
    return HK_OK;
}

static void print_general(double value, struct hk_buf *out) {
    char text[HK_GENERAL_BYTES_MAX];
    hk_buf_bytes(out, text, hk_format_general(value, text));
}

hk_err
hk_hist_print(struct hk_arena *arena, const struct hk_histogram *histogram, struct hk_buf *out) {
    struct hist_bucket *buckets = NULL;
    uint32_t count = 0;
    HK_TRY(hk_hist_buckets(arena, histogram, &buckets, &count));
    hk_buf_text(out, "{count:");
    print_general(histogram->count, out);
    hk_buf_text(out, ", sum:");
    print_general(histogram->sum, out);
    for (uint32_t i = 0; i < count; i++) {
        if (buckets[i].count == 0) continue;
        hk_buf_text(out, buckets[i].lower_inclusive ? ", [" : ", (");
        print_general(buckets[i].lower, out);
        hk_buf_char(out, ',');
        print_general(buckets[i].upper, out);
        hk_buf_text(out, buckets[i].upper_inclusive ? "]:" : "):");
        print_general(buckets[i].count, out);
    }
    hk_buf_char(out, '}');
    return HK_OK;
}
