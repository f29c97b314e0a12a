/* Goal: histograms survive the way to bytes and back; broken ones are refused. */
#include "hk_test.h"

#include "model/histogram.h"

#include <math.h>

static const struct hk_histogram_span one_span[] = { { -2, 3 } };
static const struct hk_histogram_span two_spans[] = { { 1, 2 }, { 4, 1 } };
static const double whole[] = { 5, 1000000, 7 };
static const double broken[] = { 5, -1, 7 };
static const double parts[] = { 0.5, 1e300, 7 };
static const double bounds[] = { -1.5, 0, 2.25 };

static struct hk_histogram sample(const double *counts) {
    return (struct hk_histogram){
        .schema = 3,
        .reset_hint = HK_RESET_NO,
        .zero_threshold = 0.001,
        .zero_count = 2,
        .count = 1000014,
        .sum = -17.25,
        .positive = { two_spans, counts, 2, 3 },
        .negative = { one_span, counts, 1, 3 },
    };
}

static struct hk_histogram custom(void) {
    static const struct hk_histogram_span span[] = { { 1, 3 } };
    return (struct hk_histogram){
        .schema = HK_HISTOGRAM_SCHEMA_CUSTOM,
        .count = 12,
        .sum = 3,
        .positive = { span, whole, 1, 3 },
        .custom_values = bounds,
        .custom_count = 3,
    };
}

static bool same_side(const struct hk_histogram_side *a, const struct hk_histogram_side *b) {
    return a->span_count == b->span_count && a->count == b->count &&
           (a->count == 0 ||
            (memcmp(a->spans, b->spans, a->span_count * sizeof(a->spans[0])) == 0 &&
             memcmp(a->counts, b->counts, a->count * sizeof(double)) == 0));
}

static void check_same(const struct hk_histogram *a, const struct hk_histogram *b) {
    CHECK_INT(a->schema, b->schema);
    CHECK_INT(a->reset_hint, b->reset_hint);
    CHECK_DOUBLE(a->zero_threshold, b->zero_threshold);
    CHECK_DOUBLE(a->zero_count, b->zero_count);
    CHECK_DOUBLE(a->count, b->count);
    CHECK(memcmp(&a->sum, &b->sum, 8) == 0);
    CHECK(same_side(&a->positive, &b->positive));
    CHECK(same_side(&a->negative, &b->negative));
    CHECK_INT(a->custom_count, b->custom_count);
    for (uint32_t i = 0; i < a->custom_count && i < b->custom_count; i++)
        CHECK_DOUBLE(a->custom_values[i], b->custom_values[i]);
}

/* Encodes, decodes, compares; gives the bytes used. */
static size_t round_trip(const struct hk_histogram *histogram) {
    struct hk_arena arena;
    struct hk_histogram back;
    struct hk_buf buf;
    hk_arena_init(&arena, 1 << 20);
    hk_buf_init(&buf, 1 << 20);
    CHECK_INT(hk_histogram_check(histogram), HK_OK);
    hk_histogram_encode(histogram, &buf);
    CHECK_INT(buf.err, HK_OK);
    size_t bytes = hk_buf_get(&buf).len;
    CHECK_INT(hk_histogram_decode(hk_buf_get(&buf), &arena, &back), HK_OK);
    check_same(histogram, &back);
    struct hk_histogram *copy = hk_histogram_copy(&back, &arena);
    CHECK(copy != NULL);
    if (copy != NULL) check_same(histogram, copy);
    /* Every cut is refused, and so is a byte too many. */
    for (size_t cut = 0; cut < bytes; cut++) {
        struct hk_str part = hk_str_part(hk_buf_get(&buf), 0, cut);
        CHECK_INT(hk_histogram_decode(part, &arena, &back), HK_E_CORRUPT);
    }
    hk_buf_char(&buf, 0);
    CHECK_INT(hk_histogram_decode(hk_buf_get(&buf), &arena, &back), HK_E_CORRUPT);
    hk_buf_deinit(&buf);
    hk_arena_deinit(&arena);
    return bytes;
}

TEST(round_trips) {
    struct hk_histogram integral = sample(whole);
    struct hk_histogram floating = sample(parts);
    struct hk_histogram bounded = custom();
    struct hk_histogram empty = { .schema = -4 };
    struct hk_histogram stale = { .sum = hk_stale_value() };
    CHECK_INT(round_trip(&integral), 44);
    CHECK(round_trip(&floating) > 80);
    (void)round_trip(&bounded);
    CHECK_INT(round_trip(&empty), 11);
    (void)round_trip(&stale);
    CHECK(hk_histogram_is_stale(&stale));
    CHECK(hk_histogram_is_custom(&bounded));
}

static struct hk_histogram broken_one(int kind) {
    struct hk_histogram made = kind >= 8 ? custom() : sample(whole);
    static const struct hk_histogram_span overlap[] = { { 1, 2 }, { -1, 1 } };
    static const struct hk_histogram_span far[] = { { INT32_MAX, 3 } };
    static const double falling[] = { 1, 1, 2 };
    static const double infinite[] = { 1, 2, HUGE_VAL };
    switch (kind) {
    case 0:
        made.schema = 9;
        break;
    case 1:
        made.schema = -5;
        break;
    case 2:
        made.count = (double)NAN;
        break;
    case 3:
        made.zero_threshold = -1;
        break;
    case 4:
        made.positive.counts = broken;
        break;
    case 5:
        made.positive.count = 2;
        break;
    case 6:
        made.positive.spans = overlap;
        break;
    case 7:
        made.negative.spans = far;
        break;
    case 8:
        made.custom_values = falling;
        break;
    case 9:
        made.custom_values = infinite;
        break;
    case 10:
        made.custom_count = 2;
        break;
    case 11:
        made.zero_count = 1;
        break;
    default:
        made.negative = made.positive;
        break;
    }
    return made;
}

TEST(broken_ones_are_refused) {
    for (int kind = 0; kind < 13; kind++) {
        struct hk_histogram made = broken_one(kind);
        CHECK_INT(hk_histogram_check(&made), HK_E_MALFORMED);
        CHECK(strlen(hk_fail_text()) > 10);
    }
    struct hk_histogram made = sample(whole);
    made.positive.count = HK_HISTOGRAM_BUCKETS_MAX + 1;
    CHECK_INT(hk_histogram_check(&made), HK_E_LIMIT);
}

PROPERTY(random_bytes_never_break_it) {
    struct hk_histogram from = sample(whole);
    struct hk_buf buf;
    hk_buf_init(&buf, 1 << 16);
    hk_histogram_encode(&from, &buf);
    char bytes[256];
    size_t len = hk_buf_get(&buf).len;
    for (int i = 0; i < 20000; i++) {
        struct hk_arena arena;
        struct hk_histogram back;
        memcpy(bytes, hk_buf_get(&buf).ptr, len);
        bytes[hk_test_random() % len] = (char)hk_test_random();
        hk_arena_init(&arena, 1 << 20);
        hk_err err = hk_histogram_decode((struct hk_str){ bytes, len }, &arena, &back);
        CHECK(err == HK_OK || err == HK_E_CORRUPT);
        if (err == HK_OK) CHECK_INT(hk_histogram_check(&back), HK_OK);
        hk_arena_deinit(&arena);
    }
    hk_buf_deinit(&buf);
}

HK_TEST_MAIN()
