/*
 * Integer columns: the residuals of FOR (the integers), DELTA (first differences) and DOUBLE
 * (second differences) are compared by the bits that they need; the best one is packed with a
 * width that most residuals fit, the others are patched.
 *
 * All arithmetic is modulo 2^64, so no input overflows; a residual below the base becomes a large
 * number and hence a patch.
 *
 * Layout: width byte (bit 7: patches) | zigzag base | first integer (DELTA, DOUBLE) | first
 * difference (DOUBLE) | packed residuals | patches: count, width byte, positions, high bits.
 */
#include "codec/column_internal.h"

enum { SAMPLES_MAX = 32, FORMS = 3 };

/* How one form would be packed. */
struct plan {
    uint64_t base;
    uint32_t count;   /* residuals */
    uint32_t patches; /* residuals wider than width */
    unsigned width;
    unsigned patch_width;
    size_t bits; /* all in all, without the fixed parts */
};

/* Range of a form's residuals. */
struct range {
    int64_t min;
    int64_t inner_min; /* where the bulk of them begins, by samples */
    unsigned bits, inner_bits;
};

/* The second smallest and second largest of samples bound the bulk. */
static struct range range_of(const uint64_t *residuals, uint32_t count, int64_t min, int64_t max) {
    struct range range = { min, min, hk_bits_of((uint64_t)max - (uint64_t)min), 0 };
    range.inner_bits = range.bits;
    if (count < 24) return range;
    int64_t low[2] = { INT64_MAX, INT64_MAX }, high[2] = { INT64_MIN, INT64_MIN };
    const uint32_t taken = count < 256 ? SAMPLES_MAX / 2 : SAMPLES_MAX, step = count / taken;
    for (uint32_t i = 0; i < taken; i++) {
        int64_t x = (int64_t)residuals[i * step];
        low[1] = x < low[0] ? low[0] : x < low[1] ? x : low[1];
        low[0] = x < low[0] ? x : low[0];
        high[1] = x > high[0] ? high[0] : x > high[1] ? x : high[1];
        high[0] = x > high[0] ? x : high[0];
    }
    const uint64_t width = (uint64_t)high[1] - (uint64_t)low[1];
    range.inner_bits = hk_bits_of(width);
    /* A margin of half the inner width, so that only far outliers fall below. */
    const uint64_t margin = width / 2 + 1;
    if ((uint64_t)low[1] - (uint64_t)min > margin) {
        range.inner_min = (int64_t)((uint64_t)low[1] - margin);
    }
    return range;
}

/* Chooses the packed width for residuals above `base`. */
static struct plan plan_width(const uint64_t *residuals, uint32_t count, uint64_t base) {
    uint32_t counts[65] = { 0 };
    hk_column_forms()->widths(residuals, count, base, counts);
    unsigned widest = 64;
    while (widest > 0 && counts[widest] == 0)
        widest--;
    const unsigned position_bits = hk_bits_of(count - 1);
    struct plan plan = { base, count, 0, widest, 0, (size_t)count * widest };
    uint32_t above = 0;
    for (unsigned width = widest; width > 0; width--) {
        above += counts[width];
        if (above > HK_COLUMN_COUNT_MAX / 2) break;
        size_t bits = (size_t)count * (width - 1) + 24 +
                      (size_t)above * (position_bits + widest - (width - 1));
        if (bits >= plan.bits) continue;
        plan.bits = bits;
        plan.width = width - 1;
        plan.patches = above;
        plan.patch_width = widest - (width - 1);
    }
    return plan;
}

/* Tries the base at the minimum and, if there are far outliers below, the one at the bulk. */
static struct plan plan_form(const uint64_t *residuals, uint32_t count, const struct range *range) {
    struct plan plan = plan_width(residuals, count, (uint64_t)range->min);
    if (range->inner_min == range->min) return plan;
    struct plan inner = plan_width(residuals, count, (uint64_t)range->inner_min);
    return inner.bits < plan.bits ? inner : plan;
}

static uint8_t *put_patches(
    struct hk_column_work *work, const struct plan *plan, const uint64_t *residuals, uint8_t *to) {
    uint64_t *positions = work->packed, *high = work->packed + plan->patches;
    hk_assert(plan->patches <= HK_COLUMN_COUNT_MAX / 2);
    uint32_t found = 0;
    for (uint32_t i = 0; i < plan->count && found < plan->patches; i++) {
        uint64_t x = (residuals[i] - plan->base) >> plan->width;
        if (x == 0) continue;
        positions[found] = i;
        high[found++] = x;
    }
    hk_assert(found == plan->patches);
    to = hk_varint_put(to, found);
    *to++ = (uint8_t)plan->patch_width;
    to = hk_bits_pack(positions, found, hk_bits_of(plan->count - 1), to);
    return hk_bits_pack(high, found, plan->patch_width, to);
}

static uint8_t *
put_packed(struct hk_column_work *work, const struct plan *plan, unsigned form, uint8_t *to) {
    const uint64_t *residuals = work->residuals[form];
    *to++ = (uint8_t)(plan->width | (plan->patches > 0 ? HK_COLUMN_PATCHES : 0));
    to = hk_varint_put(to, hk_zigzag((int64_t)plan->base));
    for (unsigned i = 0; i < form; i++)
        to = hk_varint_put(to, hk_zigzag((int64_t)work->residuals[i][0]));
    hk_column_forms()->add(residuals, plan->count, 0 - plan->base, work->packed);
    to = hk_bits_pack(work->packed, plan->count, plan->width, to);
    return plan->patches > 0 ? put_patches(work, plan, residuals, to) : to;
}

/* Bytes of the SHORT form. */
static size_t short_bytes(const struct hk_column_work *work, uint32_t count) {
    size_t bytes = hk_varint_bytes(hk_zigzag(work->ints[0]));
    for (uint32_t i = 0; i + 1 < count; i++)
        bytes += hk_varint_bytes(hk_zigzag((int64_t)work->residuals[1][i]));
    return bytes;
}

static size_t
plan_bytes(const struct hk_column_work *work, const struct plan *plan, unsigned form) {
    size_t bytes = 1 + hk_varint_bytes(hk_zigzag((int64_t)plan->base)) + (plan->bits + 7) / 8;
    for (unsigned i = 0; i < form; i++)
        bytes += hk_varint_bytes(hk_zigzag((int64_t)work->residuals[i][0]));
    return bytes;
}

uint8_t *hk_ints_encode(
    struct hk_column_work *work, uint32_t count, uint8_t *to, enum hk_column_kind *out_kind) {
    const unsigned forms = count < FORMS ? count : FORMS;
    int64_t min[FORMS], max[FORMS];
    memcpy(work->residuals[0], work->ints, count * sizeof(*work->ints));
    hk_column_forms()->differences(
        work->residuals[0], count, work->residuals[1], work->residuals[2], min, max);
    struct range ranges[FORMS] = { 0 };
    unsigned fewest = 64;
    for (unsigned form = 0; form < forms; form++) {
        ranges[form] = range_of(work->residuals[form], count - form, min[form], max[form]);
        if (ranges[form].inner_bits < fewest) fewest = ranges[form].inner_bits;
    }
    struct plan best = { 0 };
    unsigned best_form = FORMS;
    size_t best_bytes = SIZE_MAX;
    for (unsigned form = 0; form < forms; form++) {
        if (ranges[form].inner_bits > fewest) continue;
        struct plan plan = plan_form(work->residuals[form], count - form, &ranges[form]);
        size_t bytes = plan_bytes(work, &plan, form);
        if (bytes >= best_bytes) continue;
        best = plan;
        best_form = form;
        best_bytes = bytes;
    }
    hk_assert(best_form < FORMS);
    if (count <= HK_COLUMN_SHORT_MAX && short_bytes(work, count) <= best_bytes) {
        *out_kind = HK_COLUMN_SHORT;
        to = hk_varint_put(to, hk_zigzag(work->ints[0]));
        for (uint32_t i = 0; i + 1 < count; i++)
            to = hk_varint_put(to, hk_zigzag((int64_t)work->residuals[1][i]));
        return to;
    }
    *out_kind = (enum hk_column_kind)(HK_COLUMN_FOR + (int)best_form);
    return put_packed(work, &best, best_form, to);
}

static bool get_patches(
    struct hk_column_work *work, struct hk_column_in *in, uint32_t count, unsigned width,
    uint64_t *residuals) {
    uint64_t patches = 0;
    uint8_t patch_width = 0;
    if (!hk_varint_get(in, &patches) || !hk_byte_get(in, &patch_width)) return false;
    if (patches > count || patches > HK_COLUMN_COUNT_MAX / 2 || width + patch_width > 64 ||
        patch_width == 0) {
        return false;
    }
    uint64_t *positions = work->packed, *high = work->packed + patches;
    if (!hk_bits_unpack(in, patches, hk_bits_of(count - 1), positions)) return false;
    if (!hk_bits_unpack(in, patches, patch_width, high)) return false;
    for (uint64_t i = 0; i < patches; i++) {
        if (positions[i] >= count) return false;
        residuals[positions[i]] |= high[i] << width;
    }
    return true;
}

static bool get_short(struct hk_column_in *in, uint32_t count, int64_t *out) {
    int64_t x = 0;
    for (uint32_t i = 0; i < count; i++) {
        int64_t step = 0;
        if (!hk_signed_get(in, &step)) return false;
        x = (int64_t)((uint64_t)x + (uint64_t)step);
        out[i] = x;
    }
    return true;
}

bool hk_ints_decode(
    struct hk_column_work *work, struct hk_column_in *in, enum hk_column_kind kind, uint32_t count,
    int64_t *out) {
    if (kind == HK_COLUMN_SHORT) return count <= HK_COLUMN_SHORT_MAX && get_short(in, count, out);
    if (kind < HK_COLUMN_FOR || kind > HK_COLUMN_DOUBLE) return false;
    const unsigned form = (unsigned)(kind - HK_COLUMN_FOR);
    if (count <= form) return false;
    uint8_t head = 0;
    int64_t base = 0, start[2] = { 0 };
    if (!hk_byte_get(in, &head) || !hk_signed_get(in, &base)) return false;
    for (unsigned i = 0; i < form; i++) {
        if (!hk_signed_get(in, &start[i])) return false;
    }
    const unsigned width = head & 127U;
    const uint32_t left = count - form;
    uint64_t *residuals = work->residuals[0];
    if (width > 64 || !hk_bits_unpack(in, left, width, residuals)) return false;
    if ((head & HK_COLUMN_PATCHES) != 0 &&
        (width > 63 || !get_patches(work, in, left, width, residuals))) {
        return false;
    }
    const struct hk_column_forms *forms = hk_column_forms();
    const uint64_t low = (uint64_t)base, first = (uint64_t)start[0], step = (uint64_t)start[1];
    uint64_t *to = (uint64_t *)out;
    switch (form) {
    case 0:
        forms->add(residuals, left, low, to);
        break;
    case 1:
        to[0] = first;
        forms->sums(residuals, left, low, first, to + 1);
        break;
    default:
        to[0] = first;
        to[1] = first + step;
        forms->sums(residuals, left, low, step, residuals);
        forms->sums(residuals, left, 0, first + step, to + 2);
        break;
    }
    return true;
}
