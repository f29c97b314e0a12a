/* Goal: columns come back bit for bit whatever they hold, by every form, with and without vector
 * instructions; hostile bytes are refused; typical columns are as small as they should be. */
#include "codec/column.h"
#include "codec/column_internal.h"
#include "hk_test.h"

#include <math.h>

enum { MAX = HK_COLUMN_COUNT_MAX };

static double values[MAX], back[MAX];
static int64_t stamps[MAX], stamps_back[MAX];
static uint8_t coded[HK_COLUMN_BYTES_MAX(MAX)], other[HK_COLUMN_BYTES_MAX(MAX)];

static double from_bits(uint64_t bits) {
    double value = 0;
    memcpy(&value, &bits, 8);
    return value;
}

/* Encodes and decodes with and without vector forms; returns the size. */
static size_t round_trip(struct hk_column_work *work, uint32_t count) {
    (void)hk_column_use_simd(1);
    size_t bytes = hk_column_encode_values(work, values, count, coded);
    CHECK(bytes <= 1 + 8 * (size_t)count);
    (void)hk_column_use_simd(0);
    size_t same = hk_column_encode_values(work, values, count, other);
    CHECK_INT(same, bytes);
    CHECK(memcmp(coded, other, bytes) == 0);
    uint8_t *exact = hk_mem_alloc(bytes, 1); /* so that a sanitizer sees reads past the end */
    memcpy(exact, coded, bytes);
    for (int simd = 0; simd < 2; simd++) {
        (void)hk_column_use_simd(simd);
        memset(back, 0xee, sizeof(back));
        CHECK_INT(hk_column_decode_values(work, exact, bytes, count, back), HK_OK);
        CHECK(memcmp(values, back, count * sizeof(*values)) == 0);
    }
    hk_mem_free(exact);
    return bytes;
}

/* Families of columns, by number. */
enum { FAMILIES = 16 };

static double walk;

static double family_value(unsigned family, uint32_t i) {
    const uint64_t random = hk_test_random();
    switch (family) {
    case 0:
        return 42;
    case 1: /* steady counter */
        return 1e9 + 150.0 * i;
    case 2: /* counter with noise */
        return walk += (double)(random % 1000);
    case 3: /* counter with resets */
        return walk = random % 200 == 0 ? 0 : walk + (double)(random % 50);
    case 4: /* seconds with two decimals */
        return floor((walk += 15 * (double)(random % 100) / 100) * 100) / 100;
    case 5: /* gauge with one decimal */
        return (double)(random % 1000) / 10;
    case 6: /* multiples of a page */
        return 4096.0 * (double)(1000000 + random % 1000);
    case 7: /* random bits */
        return from_bits(random);
    case 8: /* decimals with stale markers and other NaN */
        return random % 20 == 0 ? from_bits(0x7ff0000000000002ULL + random % 3)
                                : (double)(random % 77) / 1000;
    case 9: /* few distinct, not decimal */
        return sqrt((double)(random % 40));
    case 10: /* ratios: all 17 digits */
        return (double)(random % 100000) / 99991.0;
    case 11: /* rare changes */
        return walk += random % 100 == 0 ? 1 : 0;
    case 12: /* infinities and zeros of both signs */
        return random % 4 == 0   ? HUGE_VAL
               : random % 4 == 1 ? -0.0
               : random % 4 == 2 ? 0.0
                                 : -HUGE_VAL;
    case 13: /* huge integers */
        return (double)(int64_t)(random >> (random % 64));
    case 14: /* any number of decimals */
        return (double)(int64_t)(random % 2000000 - 1000000) / pow(10, (double)(random % 16));
    default: /* mostly constant with an outlier either way */
        return random % 50 == 0 ? -1e15 : random % 50 == 1 ? 1e300 : 7;
    }
}

PROPERTY(values_round_trip) {
    struct hk_column_work *work = hk_column_work_create();
    for (unsigned round = 0; round < 160; round++) {
        unsigned family = round % FAMILIES;
        uint32_t count = 1 + (uint32_t)(hk_test_random() % (round % 3 == 0 ? MAX : 20));
        if (round < FAMILIES) count = MAX;
        walk = (double)(hk_test_random() % 1000000);
        for (uint32_t i = 0; i < count; i++)
            values[i] = family_value(family, i);
        (void)round_trip(work, count);
    }
    hk_column_work_destroy(work);
}

/* Every width and every count near a group: the ends of the packed bytes. */
TEST(widths_and_ends) {
    struct hk_column_work *work = hk_column_work_create();
    uint64_t in[64], out[64];
    for (unsigned width = 0; width <= 64; width++) {
        for (uint32_t count = 1; count < 40; count++) {
            uint64_t mask = width == 64 ? UINT64_MAX : ((uint64_t)1 << width) - 1;
            for (uint32_t i = 0; i < count; i++)
                in[i] = hk_test_random() & mask;
            uint8_t *end = hk_bits_pack(in, count, width, coded);
            size_t bytes = (size_t)(end - coded);
            CHECK_INT(bytes, hk_bits_bytes(count, width));
            uint8_t *exact = hk_mem_alloc(bytes, 1);
            memcpy(exact, coded, bytes);
            for (int simd = 0; simd < 2; simd++) {
                (void)hk_column_use_simd(simd);
                struct hk_column_in from = { exact, exact + bytes };
                CHECK(hk_bits_unpack(&from, count, width, out));
                CHECK(from.at == from.end);
                CHECK(memcmp(in, out, count * sizeof(*in)) == 0);
            }
            hk_mem_free(exact);
        }
    }
    (void)hk_column_use_simd(1);
    hk_column_work_destroy(work);
}

static size_t stamps_round_trip(struct hk_column_work *work, uint32_t count, int64_t base) {
    size_t bytes = hk_column_encode_stamps(work, stamps, count, base, coded);
    CHECK(bytes <= sizeof(coded) - 8);
    CHECK_INT(hk_column_decode_stamps(work, coded, bytes, count, base, stamps_back), HK_OK);
    CHECK(memcmp(stamps, stamps_back, count * sizeof(*stamps)) == 0);
    return bytes;
}

PROPERTY(stamps_round_trip_any) {
    struct hk_column_work *work = hk_column_work_create();
    for (unsigned round = 0; round < 200; round++) {
        uint32_t count = 1 + (uint32_t)(hk_test_random() % (round % 2 == 0 ? MAX : 12));
        int64_t at = 1700000000000;
        for (uint32_t i = 0; i < count; i++) {
            uint64_t random = hk_test_random();
            switch (round % 5) {
            case 0:
                at += 15000;
                break;
            case 1:
                at += 14997 + (int64_t)(random % 7);
                break;
            case 2:
                at += 1000 * (int64_t)(1 + random % 100);
                break;
            case 3:
                at = (int64_t)random;
                break;
            default:
                at += random % 30 == 0 ? 3600000 : 10000;
                break;
            }
            stamps[i] = at;
        }
        (void)stamps_round_trip(work, count, (int64_t)hk_test_random());
        (void)stamps_round_trip(work, count, stamps[0]);
    }
    hk_column_work_destroy(work);
}

/* Sizes in bytes that typical columns must not exceed. */
TEST(sizes) {
    struct hk_column_work *work = hk_column_work_create();
    for (uint32_t i = 0; i < MAX; i++) {
        values[i] = 0;
        stamps[i] = 1700000000000 + 15000 * (int64_t)i;
    }
    CHECK_INT(round_trip(work, MAX), 2);
    CHECK_INT(round_trip(work, 1), 2);
    CHECK(stamps_round_trip(work, MAX, stamps[0]) <= 10);
    CHECK(stamps_round_trip(work, 1, stamps[0]) <= 2);
    CHECK(stamps_round_trip(work, 2, stamps[0]) <= 5);
    for (uint32_t i = 0; i < MAX; i++)
        values[i] = 123456 + 30.0 * i;
    CHECK(round_trip(work, MAX) <= 10);
    CHECK(round_trip(work, 2) <= 6);
    CHECK(round_trip(work, 8) <= 8);
    for (uint32_t i = 0; i < MAX; i++)
        values[i] = (double)(20000 + hk_test_random() % 100) / 100;
    CHECK(round_trip(work, MAX) <= MAX * 7 / 8 + 10);
    values[1000] = hk_test_random() % 2 == 0 ? HUGE_VAL : from_bits(0x7ff0000000000002ULL);
    values[17] = 1e12; /* exception and outlier cost little */
    CHECK(round_trip(work, MAX) <= MAX * 7 / 8 + 45);
    for (uint32_t i = 0; i < MAX; i++)
        values[i] = i % 2 == 0 ? M_PI : M_E;
    CHECK(round_trip(work, MAX) <= 2 + 16 + MAX / 8);
    for (uint32_t i = 0; i < MAX; i++)
        values[i] = from_bits(hk_test_random());
    CHECK(round_trip(work, MAX) <= 1 + MAX * 8);
    CHECK_INT(hk_column_exponent((const uint8_t *)"\x11", 1), 2);
    CHECK_INT(hk_column_exponent((const uint8_t *)"\x06", 1), -1);
    hk_column_work_destroy(work);
}

/* Cut or flipped bytes are refused or give some values; nothing is touched outside. */
PROPERTY(broken_bytes) {
    struct hk_column_work *work = hk_column_work_create();
    unsigned refused = 0;
    for (unsigned round = 0; round < 400; round++) {
        uint32_t count = 1 + (uint32_t)(hk_test_random() % 100);
        walk = 1000;
        for (uint32_t i = 0; i < count; i++)
            values[i] = family_value(round % FAMILIES, i);
        size_t bytes = hk_column_encode_values(work, values, count, coded);
        size_t cut = hk_test_random() % bytes;
        uint8_t *exact = hk_mem_alloc(cut, 1);
        memcpy(exact, coded, cut);
        CHECK_INT(hk_column_decode_values(work, exact, cut, count, back), HK_E_CORRUPT);
        hk_mem_free(exact);
        coded[hk_test_random() % bytes] ^= (uint8_t)(1 + hk_test_random() % 255);
        refused += hk_column_decode_values(work, coded, bytes, count, back) != HK_OK;
        coded[bytes] = 0;
        CHECK(hk_column_decode_values(work, coded, bytes + 1, count, back) != HK_OK || refused > 0);
    }
    CHECK(refused > 0);
    hk_column_work_destroy(work);
}

HK_TEST_MAIN()
