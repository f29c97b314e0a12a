/*
 * The project's test header: TAP output, filter by name (argument), seeded properties, allocation
 * failure sweeps. One executable per file; HK_TEST_MAIN() at its end.
 */
#ifndef HK_TEST_H
#define HK_TEST_H

#include "base/err.h"
#include "base/mem.h"
#include "base/str.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct hk_test {
    const char *name;
    void (*run)(void);
    struct hk_test *next;
};

static struct hk_test *hk_test_first, **hk_test_last = &hk_test_first;
static unsigned hk_test_failures, hk_test_checks;
static uint64_t hk_test_seed;

#define TEST(test_name)                                                                            \
    static void test_##test_name(void);                                                            \
    static struct hk_test entry_##test_name = { #test_name, test_##test_name, NULL };              \
    __attribute__((constructor)) static void add_##test_name(void) {                               \
        *hk_test_last = &entry_##test_name;                                                        \
        hk_test_last = &entry_##test_name.next;                                                    \
    }                                                                                              \
    static void test_##test_name(void)

/* A property runs once per process with a seed that is printed; HK_TEST_SEED=n repeats it. */
#define PROPERTY(test_name) TEST(test_name)

static inline void hk_test_fail(const char *file, int line, const char *what) {
    hk_test_failures++;
    printf("# %s:%d: %s\n", file, line, what);
}

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        hk_test_checks++;                                                                          \
        if (!(condition)) hk_test_fail(__FILE__, __LINE__, "is false: " #condition);               \
    } while (0)

#define CHECK_INT(got, want)                                                                       \
    do {                                                                                           \
        long long hk_got_ = (long long)(got), hk_want_ = (long long)(want);                        \
        hk_test_checks++;                                                                          \
        if (hk_got_ != hk_want_) {                                                                 \
            printf("# %s is %lld, wanted %lld\n", #got, hk_got_, hk_want_);                        \
            hk_test_fail(__FILE__, __LINE__, "not equal");                                         \
        }                                                                                          \
    } while (0)

#define CHECK_DOUBLE(got, want)                                                                    \
    do {                                                                                           \
        double hk_got_ = (got), hk_want_ = (want);                                                 \
        hk_test_checks++;                                                                          \
        if (memcmp(&hk_got_, &hk_want_, 8) != 0 && !(hk_got_ == hk_want_)) {                       \
            printf("# %s is %.17g, wanted %.17g\n", #got, hk_got_, hk_want_);                      \
            hk_test_fail(__FILE__, __LINE__, "not equal");                                         \
        }                                                                                          \
    } while (0)

/* Both are struct hk_str. */
#define CHECK_STR(got, want)                                                                       \
    do {                                                                                           \
        struct hk_str hk_got_ = (got), hk_want_ = (want);                                          \
        hk_test_checks++;                                                                          \
        if (!hk_str_eq(hk_got_, hk_want_)) {                                                       \
            printf("# %s is «%.*s»\n", #got, HK_STR_ARG(hk_got_));                                 \
            printf("#   wanted «%.*s»\n", HK_STR_ARG(hk_want_));                                   \
            hk_test_fail(__FILE__, __LINE__, "not equal");                                         \
        }                                                                                          \
    } while (0)

#define CHECK_TEXT(got, want) CHECK_STR(hk_str_from(got), hk_str_from(want))

/* Next pseudo-random number of the seeded sequence (splitmix64). */
static inline uint64_t hk_test_random(void) {
    uint64_t x = hk_test_seed += 0x9e3779b97f4a7c15ULL;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
    return x ^ (x >> 31);
}

/* Runs `call` with the first, second, … allocation failing until none fails; the call must
 * return an error whenever an allocation failed. */
#define SWEEP_ALLOC(call)                                                                          \
    for (uint64_t hk_n_ = 1; hk_n_ < 100000; hk_n_++) {                                            \
        hk_mem_fail_at(hk_n_);                                                                     \
        hk_err hk_err_ = (call);                                                                   \
        bool hk_hit_ = hk_mem_failed();                                                            \
        hk_mem_fail_at(0);                                                                         \
        if (!hk_hit_) {                                                                            \
            CHECK_INT(hk_err_ < 0, 0);                                                             \
            break;                                                                                 \
        }                                                                                          \
        CHECK(hk_err_ < 0);                                                                        \
    }

static inline int hk_test_main(int argc, char **argv) {
    const char *seed = getenv("HK_TEST_SEED");
    const uint64_t first =
        seed != NULL ? strtoull(seed, NULL, 10) : (uint64_t)time(NULL) * 2654435761U;
    unsigned count = 0, failed = 0;
    for (struct hk_test *test = hk_test_first; test != NULL; test = test->next) {
        if (argc > 1 && strstr(test->name, argv[1]) == NULL) continue;
        hk_test_seed = first;
        hk_test_failures = 0;
        hk_test_checks = 0;
        test->run();
        if (hk_test_checks == 0) hk_test_fail(__FILE__, __LINE__, "the test checked nothing");
        if (hk_test_failures > 0) printf("# repeat with HK_TEST_SEED=%" PRIu64 "\n", first);
        failed += hk_test_failures > 0;
        printf("%sok %u - %s\n", hk_test_failures > 0 ? "not " : "", ++count, test->name);
        (void)fflush(stdout);
    }
    printf("1..%u\n", count);
    return failed > 0 ? 1 : 0;
}

#define HK_TEST_MAIN()                                                                             \
    int main(int argc, char **argv) {                                                              \
        return hk_test_main(argc, argv);                                                           \
    }

#endif
