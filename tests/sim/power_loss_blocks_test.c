/*
 * Goal: whatever moment the power goes while blocks are published, merged and retired, every sample
 * of an acknowledged block is there after the restart, once, with the newest value; nothing is left
 * over. HK_SIM_CUTS sets the number of cuts.
 */
#include "hk_test.h"
#include "os_sim.h"
#include "store/blockset.h"

#include <stdlib.h>

enum { SERIES = 3, SLOTS = 90, LIVES = 3, VERSIONS_MAX = 64 };

static const int64_t start_ms = 1700006400000;
static const int64_t step_ms = 60000;

/* What was published: a version covers the slots [first, end) of the series in mask. */
struct published {
    uint32_t first, end, mask;
    bool acked;
};

static struct published versions[VERSIONS_MAX];
static uint32_t version_count;

static bool covers(uint32_t version, uint32_t series, uint32_t slot) {
    const struct published *block = &versions[version];
    return (block->mask >> series & 1) != 0 && slot >= block->first && slot < block->end;
}

static double value_of(uint32_t version, uint32_t series, uint32_t slot) {
    return (double)(version * 100000 + series * 10000 + slot * 7 % 1009);
}

static struct hk_blockset *open_set(void) {
    const struct hk_blockset_options options = { .directory = "blocks", .fan_in = 3 };
    struct hk_blockset *set = NULL;
    return hk_blockset_open(&options, &set) < 0 ? NULL : set;
}

static hk_err write_series(struct hk_block_writer *writer, uint32_t version, uint32_t series) {
    static const char *const names[SERIES] = { "a", "b", "c" };
    const struct hk_label label = { HK_STR("n"), hk_str_from(names[series]) };
    int64_t stamps[SLOTS];
    double values[SLOTS];
    uint32_t count = 0;
    for (uint32_t slot = 0; slot < SLOTS; slot++) {
        if (!covers(version, series, slot)) continue;
        stamps[count] = start_ms + step_ms * (int64_t)slot;
        values[count++] = value_of(version, series, slot);
    }
    HK_TRY(hk_block_writer_series(writer, (struct hk_labels){ &label, 1 }));
    return hk_block_writer_floats(writer, stamps, values, count);
}

static hk_err publish(struct hk_blockset *set, uint32_t version) {
    struct hk_block_writer *writer = NULL;
    HK_TRY(hk_blockset_writer(set, 0, HK_STR(""), &writer));
    hk_err err = HK_OK;
    for (uint32_t series = 0; err == HK_OK && series < SERIES; series++) {
        if ((versions[version].mask >> series & 1) != 0)
            err = write_series(writer, version, series);
    }
    if (err == HK_OK) return hk_blockset_publish(set, writer, NULL);
    hk_block_writer_destroy(writer);
    return err;
}

/* Publishes and merges until the power goes or the life has had its share. */
static void live(struct hk_blockset *set) {
    for (int i = 0; i < 6 && !hk_sim_is_off() && version_count < VERSIONS_MAX; i++) {
        const uint32_t version = version_count++;
        const uint32_t first = (uint32_t)(hk_test_random() % (SLOTS - 10));
        versions[version] = (struct published){
            .first = first,
            .end = first + 1 + (uint32_t)(hk_test_random() % (SLOTS - first)),
            .mask = 1 + (uint32_t)(hk_test_random() % 7),
        };
        versions[version].acked = publish(set, version) == HK_OK;
        hk_err err = HK_MORE;
        while (err == HK_MORE)
            err = hk_blockset_compact_step(set, start_ms, NULL);
        if (i == 3) err = hk_blockset_retain(set, start_ms);
        CHECK(err == HK_OK || hk_sim_is_off());
    }
}

/* The newest acknowledged version of a cell, or an unacknowledged one after it. */
static bool is_allowed(double value, uint32_t series, uint32_t slot) {
    for (uint32_t version = version_count; version > 0; version--) {
        if (!covers(version - 1, series, slot)) continue;
        if (value == value_of(version - 1, series, slot)) return true;
        if (versions[version - 1].acked) return false;
    }
    return false;
}

static bool must_be_there(uint32_t series, uint32_t slot) {
    for (uint32_t version = 0; version < version_count; version++) {
        if (versions[version].acked && covers(version, series, slot)) return true;
    }
    return false;
}

static void check_series(
    const struct hk_blockset_snapshot *snapshot, struct hk_block_work *work, uint32_t series,
    const struct hk_blockset_series *found, struct hk_arena *arena) {
    struct hk_blockset_samples samples = { 0 };
    CHECK_INT(
        hk_blockset_read(snapshot, work, found, INT64_MIN, INT64_MAX, arena, &samples), HK_OK);
    uint32_t at = 0;
    for (uint32_t slot = 0; slot < SLOTS; slot++) {
        const bool here =
            at < samples.count && samples.stamps_ms[at] == start_ms + step_ms * (int64_t)slot;
        CHECK(here || !must_be_there(series, slot));
        if (!here) continue;
        CHECK(is_allowed(samples.values[at], series, slot));
        at++;
    }
    CHECK_INT(at, samples.count);
}

static void check_set(struct hk_blockset *set) {
    static const char *const names[SERIES] = { "a", "b", "c" };
    struct hk_block_work *work = NULL;
    CHECK_INT(hk_block_work_create(&work), HK_OK);
    struct hk_arena arena;
    hk_arena_init(&arena, 1 << 24);
    struct hk_blockset_snapshot *snapshot = hk_blockset_snapshot(set);
    for (uint32_t i = 0; i < snapshot->count; i++) {
        CHECK_INT(hk_block_verify(snapshot->blocks[i], work), HK_OK);
        const struct hk_block_info *info = hk_block_info(snapshot->blocks[i]);
        for (uint32_t k = 0; k < info->replaces_count; k++) {
            for (uint32_t m = 0; m < snapshot->count; m++)
                CHECK(hk_block_info(snapshot->blocks[m])->id != info->replaces[k]);
        }
    }
    for (uint32_t series = 0; series < SERIES; series++) {
        const struct hk_label label = { HK_STR("n"), hk_str_from(names[series]) };
        struct hk_blockset_series found = { 0 };
        CHECK_INT(
            hk_blockset_find(
                snapshot, work, 0, (struct hk_labels){ &label, 1 }, INT64_MIN, INT64_MAX, &arena,
                &found),
            HK_OK);
        check_series(snapshot, work, series, &found, &arena);
    }
    hk_blockset_snapshot_unref(snapshot);
    hk_arena_deinit(&arena);
    hk_block_work_destroy(work);
    struct hk_blockset_stats stats;
    hk_blockset_stats(set, &stats);
    CHECK_INT(stats.problems, 0);
    CHECK_INT(stats.quarantined, 0);
}

static unsigned cuts_wanted(void) {
    const char *text = getenv("HK_SIM_CUTS");
    return text == NULL ? 400 : (unsigned)strtoul(text, NULL, 10);
}

PROPERTY(power_loss_at_any_step) {
    const unsigned cuts = cuts_wanted();
    unsigned hit = 0;
    for (unsigned round = 0; round < cuts; round++) {
        hk_sim_reset(hk_test_random());
        version_count = 0;
        for (int life = 0; life < LIVES; life++) {
            hk_sim_cut_after(1 + hk_test_random() % 120);
            struct hk_blockset *set = open_set();
            CHECK(set != NULL || hk_sim_is_off());
            if (set != NULL) live(set);
            hit += hk_sim_is_off();
            hk_blockset_close(set);
            hk_sim_reboot();
            hk_sim_cut_after(0);
            set = open_set();
            CHECK(set != NULL);
            if (set == NULL) return;
            check_set(set);
            hk_blockset_close(set);
        }
    }
    printf("# %u cuts\n", hit);
    CHECK(hit > cuts);
}

HK_TEST_MAIN()
