/*
 * Speed and size of the column codec on a node_exporter-like mix: half of the columns constant, a
 * quarter counters (steady, noisy, bursty), a quarter gauges with decimals. Prints bytes per value
 * and ns per value, encode and decode, for whole columns of 1,024 and 128 values.
 */
#include "base/hash.h"
#include "codec/column.h"
#include "os/clock.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { COLUMNS = 400, ROUNDS = 9 };

static double values[COLUMNS][HK_COLUMN_COUNT_MAX];
static uint8_t coded[COLUMNS][HK_COLUMN_BYTES_MAX(HK_COLUMN_COUNT_MAX)];
static size_t lengths[COLUMNS];

static uint64_t seed = 1;

static uint64_t next(void) {
    uint64_t x = seed += 0x9e3779b97f4a7c15ULL;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
    return x ^ (x >> 31);
}

/* Roughly normal with deviation 1. */
static double normal(void) {
    double sum = 0;
    for (int i = 0; i < 12; i++)
        sum += (double)(next() >> 11) * 0x1p-53;
    return sum - 6;
}

static void fill(unsigned column, const char **out_kind) {
    double *to = values[column];
    double at = (double)(next() % 100000000);
    const unsigned kind = column % 16;
    static const char *const kinds[] = {
        "constant",   "counter cpu seconds", "counter bytes", "counter packets",  "counter rare",
        "gauge load", "gauge memory",        "gauge percent", "gauge temperature"
    };
    const unsigned row = kind < 8 ? 0 : kind - 7;
    *out_kind = kinds[row];
    for (unsigned i = 0; i < HK_COLUMN_COUNT_MAX; i++) {
        switch (row) {
        case 0:
            to[i] = column % 3;
            break;
        case 1:
            at += 1400 + 40 * normal();
            to[i] = floor(at) / 100;
            break;
        case 2:
            at += fabs(2e5 + 1e5 * normal());
            to[i] = floor(at);
            break;
        case 3:
            at += floor(fabs(30 + 10 * normal()));
            to[i] = floor(at);
            break;
        case 4:
            at += next() % 40 == 0 ? (double)(next() % 8) : 0;
            to[i] = at;
            break;
        case 5:
            at = i == 0 ? 1.5 : fabs(at + 0.05 * normal());
            to[i] = floor(at * 100) / 100;
            break;
        case 6:
            at = i == 0 ? 2e6 : at + 200 * normal();
            to[i] = 4096 * floor(at);
            break;
        case 7:
            to[i] = floor(fabs(300 + 60 * normal())) / 10;
            break;
        default:
            to[i] = 40 + floor(4 * normal());
            break;
        }
    }
}

static int by_size(const void *a, const void *b) {
    double x = 0, y = 0;
    memcpy(&x, a, sizeof(x));
    memcpy(&y, b, sizeof(y));
    return (x > y) - (x < y);
}

static double
encode_ns(struct hk_column_work *work, unsigned first, unsigned step, uint32_t count) {
    double ns[ROUNDS];
    for (int round = 0; round < ROUNDS; round++) {
        int64_t begin = hk_clock_monotonic_ns();
        unsigned columns = 0;
        for (unsigned c = first; c < COLUMNS; c += step, columns++)
            lengths[c] = hk_column_encode_values(work, values[c], count, coded[c]);
        ns[round] = (double)(hk_clock_monotonic_ns() - begin) / columns / count;
    }
    qsort(ns, ROUNDS, sizeof(*ns), by_size);
    return ns[ROUNDS / 2];
}

static double
decode_ns(struct hk_column_work *work, unsigned first, unsigned step, uint32_t count) {
    static double out[HK_COLUMN_COUNT_MAX];
    double ns[ROUNDS];
    for (int round = 0; round < ROUNDS; round++) {
        int64_t begin = hk_clock_monotonic_ns();
        unsigned columns = 0;
        for (unsigned c = first; c < COLUMNS; c += step, columns++) {
            if (hk_column_decode_values(work, coded[c], lengths[c], count, out) != HK_OK) abort();
        }
        ns[round] = (double)(hk_clock_monotonic_ns() - begin) / columns / count;
    }
    qsort(ns, ROUNDS, sizeof(*ns), by_size);
    return ns[ROUNDS / 2];
}

static void
row(struct hk_column_work *work, const char *name, unsigned first, unsigned step, uint32_t count) {
    (void)hk_column_use_simd(1);
    double encode = encode_ns(work, first, step, count);
    double decode = decode_ns(work, first, step, count);
    (void)hk_column_use_simd(0);
    double plain_encode = encode_ns(work, first, step, count);
    double plain = decode_ns(work, first, step, count);
    size_t bytes = 0, columns = 0;
    for (unsigned c = first; c < COLUMNS; c += step, columns++)
        bytes += lengths[c];
    (void)printf(
        "%-22s %5u %8.3f %8.2f %8.2f %10.2f %10.2f\n", name, count,
        (double)bytes / (double)columns / count, encode, decode, plain_encode, plain);
}

int main(void) {
    struct hk_column_work *work = hk_column_work_create();
    if (work == NULL) return 1;
    const char *kinds[COLUMNS];
    for (unsigned c = 0; c < COLUMNS; c++)
        fill(c, &kinds[c]);
    (void)printf(
        "%-22s %5s %8s %8s %8s %10s %10s\n", "column", "n", "B/value", "enc ns", "dec ns",
        "plain enc", "plain dec");
    for (uint32_t count = HK_COLUMN_COUNT_MAX; count >= 128; count /= 8) {
        row(work, "mix", 0, 1, count);
        for (unsigned kind = 7; kind < 16; kind++)
            row(work, kinds[kind], kind, 16, count);
    }
    hk_column_work_destroy(work);
    return 0;
}
