/*
 * Speed and size of blocks on a node_exporter-like mix (half of the series constant): eight sealed
 * blocks of 128 samples per series, merged into one of 1,024; then selecting and reading.
 */
#include "os/clock.h"
#include "os/file.h"
#include "store/blockset.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { SERIES = 20000, TARGETS = 20, BLOCKS = 8, COUNT = 128 };

static const int64_t start_ms = 1700006400000;
static double state[SERIES];

static uint64_t seed = 1;

static uint64_t next(void) {
    uint64_t x = seed += 0x9e3779b97f4a7c15ULL;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
    return x ^ (x >> 31);
}

static double next_value(uint32_t series) {
    const uint32_t metric = series / TARGETS, random = (uint32_t)(next() >> 40);
    if (metric % 2 == 0) return metric % 3;
    switch (metric % 8) {
    case 1:
        return round((state[series] += 14 + (double)(random % 80) / 100) * 100) / 100;
    case 3:
        return state[series] += random % 30 == 0 ? random % 5 : 0;
    case 5:
        return state[series] += 20 + random % 40;
    default:
        return 40 + (double)(random % 60) / 10;
    }
}

static void must(hk_err err, const char *what) {
    if (err >= 0) return;
    (void)fprintf(stderr, "%s: %s\n", what, hk_fail_text());
    exit(1);
}

static void write_block(struct hk_blockset *set, uint32_t block) {
    struct hk_block_writer *writer = NULL;
    must(hk_blockset_writer(set, 0, HK_STR(""), &writer), "writer");
    int64_t stamps[COUNT];
    double values[COUNT];
    for (uint32_t series = 0; series < SERIES; series++) {
        char name[64], device[32], instance[64];
        const uint32_t metric = series / TARGETS, target = series % TARGETS;
        (void)snprintf(name, sizeof(name), "node_subsystem%04u_something_total", metric / 8);
        (void)snprintf(device, sizeof(device), "device%u", metric % 8);
        (void)snprintf(instance, sizeof(instance), "host%02u.example.org:9100", target);
        const struct hk_label labels[] = { { HK_STR("__name__"), hk_str_from(name) },
                                           { HK_STR("device"), hk_str_from(device) },
                                           { HK_STR("instance"), hk_str_from(instance) },
                                           { HK_STR("job"), HK_STR("node") } };
        for (uint32_t i = 0; i < COUNT; i++) {
            stamps[i] = start_ms + 700 * (int64_t)target + 15000LL * (block * COUNT + i);
            values[i] = next_value(series);
        }
        must(hk_block_writer_series(writer, (struct hk_labels){ labels, 4 }), "series");
        must(hk_block_writer_floats(writer, stamps, values, COUNT), "floats");
    }
    must(hk_blockset_publish(set, writer, NULL), "publish");
}

static double per_sample(int64_t begin_ns, uint64_t samples) {
    return (double)(hk_clock_monotonic_ns() - begin_ns) / (double)samples;
}

static void print_size(struct hk_blockset *set, const char *what) {
    struct hk_blockset_stats stats;
    hk_blockset_stats(set, &stats);
    (void)printf(
        "%-28s %8.3f bytes/sample in %u blocks\n", what,
        (double)stats.bytes / (double)stats.samples, (unsigned)stats.blocks);
}

static void read_some(struct hk_blockset *set, const char *name, const char *value) {
    struct hk_block_work *work = NULL;
    must(hk_block_work_create(&work), "work");
    struct hk_arena arena, samples_arena;
    hk_arena_init(&arena, (size_t)1 << 30);
    hk_arena_init(&samples_arena, (size_t)1 << 30);
    const struct hk_matcher matcher = { HK_MATCH_EQUAL, hk_str_from(name), hk_str_from(value),
                                        NULL };
    struct hk_blockset_snapshot *snapshot = hk_blockset_snapshot(set);
    struct hk_blockset_series *series = NULL;
    uint32_t count = 0;
    int64_t begin = hk_clock_monotonic_ns();
    must(
        hk_blockset_select(
            snapshot, work, 0, &matcher, 1, INT64_MIN, INT64_MAX, 0, NULL, &arena, &series, &count),
        "select");
    const double select_us = (double)(hk_clock_monotonic_ns() - begin) / 1000;
    uint64_t all = 0;
    begin = hk_clock_monotonic_ns();
    for (uint32_t i = 0; i < count; i++) {
        struct hk_blockset_samples samples;
        hk_arena_reset(&samples_arena);
        must(
            hk_blockset_read(
                snapshot, work, &series[i], INT64_MIN, INT64_MAX, &samples_arena, &samples),
            "read");
        all += samples.count;
    }
    (void)printf(
        "select %s=%s: %u series, %.0f us; read %.2f ns/sample\n", name, value, count, select_us,
        per_sample(begin, all == 0 ? 1 : all));
    hk_blockset_snapshot_unref(snapshot);
    hk_arena_deinit(&samples_arena);
    hk_arena_deinit(&arena);
    hk_block_work_destroy(work);
}

static int remove_entry(void *self, const char *name) {
    char path[512];
    (void)snprintf(path, sizeof(path), "%s/%s", (const char *)self, name);
    return hk_file_remove(path);
}

int main(void) {
    char directory[] = "/tmp/hark-block-bench-XXXXXX";
    if (mkdtemp(directory) == NULL) return 1;
    const struct hk_blockset_options options = { .directory = directory };
    struct hk_blockset *set = NULL;
    must(hk_blockset_open(&options, &set), "open");
    int64_t begin = hk_clock_monotonic_ns();
    for (uint32_t block = 0; block < BLOCKS; block++)
        write_block(set, block);
    const uint64_t samples = (uint64_t)SERIES * COUNT * BLOCKS;
    (void)printf("seal (values made too)       %8.2f ns/sample\n", per_sample(begin, samples));
    print_size(set, "128 samples per chunk");
    read_some(set, "instance", "host07.example.org:9100");
    read_some(set, "__name__", "node_subsystem0077_something_total");
    const int64_t later = start_ms + 30LL * 86400000;
    begin = hk_clock_monotonic_ns();
    hk_err err = HK_MORE;
    unsigned steps = 0;
    for (; err == HK_MORE; steps++)
        err = hk_blockset_compact_step(set, later, NULL);
    must(err, "compact");
    (void)printf(
        "merge in %u steps             %8.2f ns/sample\n", steps - 1, per_sample(begin, samples));
    print_size(set, "merged");
    read_some(set, "instance", "host07.example.org:9100");
    read_some(set, "__name__", "node_subsystem0077_something_total");
    hk_blockset_close(set);
    (void)hk_dir_list(directory, remove_entry, directory);
    return rmdir(directory) == 0 ? 0 : 1;
}
