/* Goal: a tail gives back exactly what was appended, and stays small on usual series. */
#include "store/tail.h"

#include "hk_test.h"

#include <math.h>

static double make_value(unsigned kind, uint32_t i) {
    switch (kind) {
    case 0:
        return 42;
    case 1:
        return i * 7.0;
    case 2:
        return (double)(hk_test_random() % 10000) / 100;
    case 3:
        return (double)(hk_test_random() % 3) - 1;
    case 4:
        return i % 5 == 0   ? (double)NAN
               : i % 5 == 1 ? -0.0
               : i % 5 == 2 ? HUGE_VAL
                            : 1e300 / (i + 1);
    default: {
        uint64_t bits = hk_test_random();
        double value = 0;
        memcpy(&value, &bits, 8);
        return value;
    }
    }
}

PROPERTY(round_trip) {
    enum { COUNT = 500 };
    static int64_t stamps[COUNT], got_stamps[COUNT];
    static double values[COUNT], got_values[COUNT];
    for (unsigned kind = 0; kind < 12; kind++) {
        struct hk_tail tail = { 0 };
        int64_t stamp = kind % 3 == 0 ? 1700000000000 : 1;
        for (uint32_t i = 0; i < COUNT; i++) {
            stamp += kind < 6 ? 15000 : 1 + (int64_t)(hk_test_random() >> (20 + i % 40));
            stamps[i] = stamp;
            values[i] = make_value(kind % 6, i);
            CHECK_INT(hk_tail_append(&tail, stamps[i], values[i]), HK_OK);
        }
        CHECK_INT(tail.count, COUNT);
        hk_tail_decode(&tail, got_stamps, got_values);
        CHECK(memcmp(stamps, got_stamps, sizeof(stamps)) == 0);
        CHECK(memcmp(values, got_values, sizeof(values)) == 0);
        if (kind == 0) CHECK(tail.len < COUNT + 30);
        if (kind == 1) CHECK(tail.len < 2 * COUNT + 30);
        if (kind == 2) CHECK(tail.len < 3 * COUNT + 60);
        hk_tail_clear(&tail);
    }
}

HK_TEST_MAIN()
