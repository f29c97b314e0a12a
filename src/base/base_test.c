/* Goal: numbers, durations, times and buffers read and print as Prometheus does. */
#include "base/arena.h"
#include "base/buf.h"
#include "base/digits.h"
#include "base/hash.h"
#include "base/regex.h"
#include "hk_test.h"

#include <math.h>

static const struct {
    const char *text;
    double value;
    const char *printed;
} doubles[] = {
    { "0", 0, "0" },
    { "1", 1, "1" },
    { "-0.1", -0.1, "-0.1" },
    { "1e3", 1000, "1000" },
    { "0.000001", 1e-6, "0.000001" },
    { "1e-7", 1e-7, "1e-07" },
    { "1.5e300", 1.5e300, "1.5e+300" },
    { "123456789012345680000", 123456789012345680000.0, "123456789012345680000" },
    { "0x10", 16, "16" },
    { "+Inf", HUGE_VAL, "+Inf" },
    { "-inf", -HUGE_VAL, "-Inf" },
    { "3.9152411e+06", 3915241.1, "3915241.1" },
    { "1E-3", 0.001, "0.001" },
    { "3.141592653589793", 3.141592653589793, "3.141592653589793" },
    { "0.30000000000000004", 0.1 + 0.2, "0.30000000000000004" },
    { "5.684341886080802e-14", 0x1p-44, "5.684341886080802e-14" }, /* narrower below */
    { "9007199254740993", 9007199254740992.0, "9007199254740992" },
    { "1.7976931348623157e+308", 0x1.fffffffffffffp1023, "1.7976931348623157e+308" },
    { "5e-324", 0x1p-1074, "5e-324" },
    { "2.2250738585072014e-308", 0x1p-1022, "2.2250738585072014e-308" },
    { "9.5367431640625e-07", 0x1p-20, "9.5367431640625e-07" },
    { "1000000000000000000000", 1e21, "1e+21" },
    { "0.1", 0.1, "0.1" },
    { "1e-40", 1e-40, "1e-40" },
    { "3e+60", 3e60, "3e+60" },
};

TEST(doubles) {
    for (size_t i = 0; i < HK_COUNT(doubles); i++) {
        double value = 0;
        CHECK_INT(hk_parse_double(hk_str_from(doubles[i].text), &value), HK_OK);
        CHECK_DOUBLE(value, doubles[i].value);
        char text[HK_DOUBLE_BYTES_MAX];
        size_t len = hk_format_double(value, text);
        CHECK_STR(((struct hk_str){ text, len }), hk_str_from(doubles[i].printed));
    }
    static const char *const broken[] = { "",   "x",  "1x", " 1", "1 ",  "--1", "1_0",
                                          "0x", "in", "1e", "e5", "1e+", ".",   "1.2.3" };
    for (size_t i = 0; i < HK_COUNT(broken); i++) {
        double value = 0;
        CHECK_INT(hk_parse_double(hk_str_from(broken[i]), &value), HK_E_MALFORMED);
    }
}

/* The fast way for short decimals rounds as the C library does. */
PROPERTY(doubles_match_strtod) {
    for (unsigned i = 0; i < 20000; i++) {
        char text[64];
        const int digits = (int)(hk_test_random() % 17);
        const int exponent = (int)(hk_test_random() % 60) - 30;
        const double mantissa = (double)(hk_test_random() >> 11) / 9007199254740992.0;
        (void)snprintf(text, sizeof(text), "%.*fe%+03d", digits, mantissa * 10, exponent);
        double value = 0;
        CHECK_INT(hk_parse_double(hk_str_from(text), &value), HK_OK);
        CHECK_DOUBLE(value, strtod(text, NULL));
    }
}

PROPERTY(doubles_round_trip) {
    for (int i = 0; i < 20000; i++) {
        uint64_t bits = hk_test_random();
        double value = 0;
        memcpy(&value, &bits, 8);
        if (isnan(value)) continue;
        char text[HK_DOUBLE_BYTES_MAX];
        size_t len = hk_format_double(value, text);
        double back = 0;
        CHECK_INT(hk_parse_double((struct hk_str){ text, len }, &back), HK_OK);
        CHECK_DOUBLE(back, value);
    }
}

/* Shortest: no decimal of one digit less reads back; nearest: as the C library rounds to as many
 * digits, but where the interval below a power of two is narrower. */
PROPERTY(doubles_shortest) {
    for (int i = 0; i < 20000; i++) {
        uint64_t bits = hk_test_random();
        double value = 0;
        if (i % 2 == 0) bits = (bits & 0x800fffffffffffffULL) | (0x360ULL + bits % 170) << 52;
        memcpy(&value, &bits, 8);
        value = fabs(value);
        if (i % 4 == 1) value = (double)(bits % 100000000) / 10000;
        if (!isfinite(value) || value == 0) continue;
        char digits[HK_DIGITS_MAX];
        char text[64];
        char wanted[64];
        int exponent = 0;
        int count = (int)hk_digits_double(value, digits, &exponent);
        (void)snprintf(
            text, sizeof(text), "%c.%.*se%+03d", digits[0], count - 1, digits + 1, exponent);
        CHECK_DOUBLE(strtod(text, NULL), value);
        if ((bits & 0xfffffffffffffULL) == 0) continue;
        (void)snprintf(wanted, sizeof(wanted), "%.*e", count - 1, value);
        CHECK_DOUBLE(strtod(wanted, NULL), value);
        if (count == 1) continue;
        CHECK_STR(hk_str_from(text), hk_str_from(wanted));
        (void)snprintf(wanted, sizeof(wanted), "%.*e", count - 2, value);
        CHECK(strtod(wanted, NULL) != value);
    }
}

TEST(durations) {
    static const struct {
        const char *text;
        int64_t ms;
    } cases[] = { { "0", 0 },         { "5m", 300000 },   { "1h30m", 5400000 }, { "100ms", 100 },
                  { "1d", 86400000 }, { "1m1ms", 60001 }, { "1y", 31536000000 } };
    for (size_t i = 0; i < HK_COUNT(cases); i++) {
        int64_t ms = -1;
        CHECK_INT(hk_parse_duration_ms(hk_str_from(cases[i].text), &ms), HK_OK);
        CHECK_INT(ms, cases[i].ms);
    }
    static const char *const broken[] = { "", "5", "m", "1m1h", "5 m", "-1s", "1m1m" };
    for (size_t i = 0; i < HK_COUNT(broken); i++) {
        int64_t ms = -1;
        CHECK_INT(hk_parse_duration_ms(hk_str_from(broken[i]), &ms), HK_E_MALFORMED);
    }
}

TEST(times) {
    int64_t ns = 0;
    CHECK_INT(hk_parse_rfc3339_ns(HK_STR("2026-01-02T03:04:05.678Z"), &ns), HK_OK);
    CHECK_INT(ns, 1767323045678000000LL);
    CHECK_INT(hk_parse_rfc3339_ns(HK_STR("1970-01-01T01:00:00+01:00"), &ns), HK_OK);
    CHECK_INT(ns, 0);
    CHECK_INT(hk_parse_rfc3339_ns(HK_STR("2026-13-02T03:04:05Z"), &ns), HK_E_MALFORMED);
    CHECK_INT(hk_parse_rfc3339_ns(HK_STR("2026-01-02"), &ns), HK_E_MALFORMED);
    char text[HK_TIME_BYTES_MAX];
    size_t len = hk_format_time_ms(1767323045678, text);
    CHECK_STR(((struct hk_str){ text, len }), HK_STR("2026-01-02T03:04:05.678Z"));
    len = hk_format_duration_ms(5400000, text);
    CHECK_STR(((struct hk_str){ text, len }), HK_STR("1h30m"));
    uint64_t bytes = 0;
    CHECK_INT(hk_parse_bytes(HK_STR("64MiB"), &bytes), HK_OK);
    CHECK_INT(bytes, 64 << 20);
}

TEST(json_text) {
    struct hk_buf buf;
    hk_buf_init(&buf, 1000);
    hk_buf_json(&buf, HK_STR("a\"\\\n\x01\xff\xc3\xa4"));
    CHECK_STR(hk_buf_get(&buf), HK_STR("\"a\\\"\\\\\\n\\u0001\xef\xbf\xbd\xc3\xa4\""));
    CHECK_INT(buf.err, HK_OK);
    for (int i = 0; i < 100; i++)
        hk_buf_text(&buf, "0123456789");
    CHECK_INT(buf.err, HK_E_LIMIT);
    hk_buf_deinit(&buf);
}

TEST(crc32c) {
    /* RFC 3720 appendix B.4: 32 bytes of zeros, and the check value of "123456789". */
    static const unsigned char zeros[32] = { 0 };
    CHECK_INT(hk_crc32c(0, zeros, 32), 0x8a9136aa);
    CHECK_INT(hk_crc32c(0, "123456789", 9), 0xe3069283);
    CHECK_INT(hk_crc32c(hk_crc32c(0, "1234", 4), "56789", 5), 0xe3069283);
}

static bool same_hash(struct hk_hash128 a, struct hk_hash128 b) {
    return a.low == b.low || a.high == b.high;
}

/* Goal: a hash depends on every byte and on the length, not on the place in memory. */
TEST(hash_bytes) {
    static unsigned char bytes[1100], moved[1101];
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (unsigned char)(i * 7 >> 3);
    for (size_t len = 0; len <= sizeof(bytes); len += len < 100 || len > 1000 ? 1 : 37) {
        const struct hk_hash128 whole = hk_hash128(bytes, len);
        memcpy(moved + 1, bytes, len);
        const struct hk_hash128 again = hk_hash128(moved + 1, len);
        CHECK(whole.low == again.low && whole.high == again.high);
        if (len > 0) CHECK(!same_hash(whole, hk_hash128(bytes, len - 1)));
        for (size_t i = 0; i < len; i++) {
            bytes[i] ^= 0x10;
            CHECK(!same_hash(whole, hk_hash128(bytes, len)));
            bytes[i] ^= 0x10;
        }
    }
    /* Zeros at the end count. */
    memset(bytes, 0, sizeof(bytes));
    for (size_t len = 1; len < sizeof(bytes); len++)
        CHECK(!same_hash(hk_hash128(bytes, len), hk_hash128(bytes, len - 1)));
}

TEST(regex) {
    struct hk_regex *regex = NULL;
    CHECK_INT(hk_regex_create(HK_STR("a(b+)"), &regex), HK_OK);
    CHECK(hk_regex_match(regex, HK_STR("abbb")));
    CHECK(!hk_regex_match(regex, HK_STR("xabbb")));
    struct hk_str groups[2];
    CHECK(hk_regex_match_groups(regex, HK_STR("abbb"), groups, 2));
    CHECK_STR(groups[1], HK_STR("bbb"));
    hk_regex_destroy(regex);
    CHECK_INT(hk_regex_create(HK_STR("a(?=b)"), &regex), HK_E_INVALID);
}

TEST(arena_limit) {
    struct hk_arena arena;
    hk_arena_init(&arena, 10000);
    CHECK(hk_arena_alloc(&arena, 10, 100) != NULL);
    CHECK(hk_arena_alloc(&arena, SIZE_MAX / 2, 3) == NULL);
    CHECK(hk_arena_alloc(&arena, 1, 9500) == NULL);
    hk_arena_reset(&arena);
    CHECK(hk_arena_alloc(&arena, 1, 5000) != NULL);
    hk_arena_deinit(&arena);
}

HK_TEST_MAIN()
