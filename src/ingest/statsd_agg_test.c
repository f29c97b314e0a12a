/* Goal: histograms and distinct counts are right, bounded, and forgotten when idle. */
#include "ingest/statsd_agg.h"

#include "hk_test.h"
#include "ingest/statsd_sketch.h"
#include "model/histogram.h"

#include <math.h>

static struct hk_batch batch;
static struct hk_arena arena;
static const struct hk_context context = { { 1, 2 }, NULL };

static struct hk_statsd_agg *make(uint32_t series_max, size_t bytes_max, int64_t idle_ms) {
    const struct hk_statsd_agg_options options = { series_max, bytes_max, idle_ms };
    struct hk_statsd_agg *agg = NULL;
    CHECK_INT(hk_statsd_agg_create(&options, &agg), HK_OK);
    hk_arena_init(&arena, 1 << 24);
    batch.arena = &arena;
    hk_batch_clear(&batch);
    return agg;
}

static void end(struct hk_statsd_agg *agg) {
    hk_statsd_agg_destroy(agg);
    hk_arena_deinit(&arena);
}

/* Decodes the histogram of an entry and checks it. */
static struct hk_histogram decode(const struct hk_entry *entry) {
    struct hk_histogram histogram = { 0 };
    CHECK_INT(entry->kind, HK_ENTRY_HISTOGRAM);
    const struct hk_str bytes = { entry->payload, entry->payload_bytes };
    CHECK_INT(hk_histogram_decode(bytes, &arena, &histogram), HK_OK);
    CHECK_INT(hk_histogram_check(&histogram), HK_OK);
    return histogram;
}

/* Count of the bucket that holds `value`, found by its bounds. */
static double count_at(const struct hk_histogram *histogram, double value) {
    const struct hk_histogram_side *side = value > 0 ? &histogram->positive : &histogram->negative;
    const double step = ldexp(1, -histogram->schema);
    int64_t bucket = 0;
    uint32_t at = 0;
    for (uint32_t i = 0; i < side->span_count; i++) {
        bucket += side->spans[i].offset;
        for (uint32_t k = 0; k < side->spans[i].length; k++, bucket++, at++) {
            const double low = exp2((double)(bucket - 1) * step),
                         high = exp2((double)bucket * step);
            if (fabs(value) > low * (1 + 1e-12) && fabs(value) <= high * (1 + 1e-12)) {
                return side->counts[at];
            }
        }
    }
    return 0;
}

TEST(a_timer_becomes_a_histogram) {
    struct hk_statsd_agg *agg = make(10, 0, 0);
    static const double values[] = { 1, 2, 2, 4, 100.5, 0.001, -3, -3, -3 };
    for (size_t i = 0; i < HK_COUNT(values); i++)
        CHECK_INT(hk_statsd_agg_timer(agg, HK_STR("t"), values[i], 1, 500), HK_OK);
    CHECK_INT(hk_statsd_agg_timer(agg, HK_STR("t"), 0, 10, 500), HK_OK);
    CHECK_INT(hk_statsd_agg_timer(agg, HK_STR("t"), 100.5, 4, 600), HK_OK);
    CHECK_INT(hk_statsd_agg_flush(agg, &batch, &context, 1000), HK_OK);
    CHECK_INT(batch.count, 1);
    CHECK_INT(batch.entries[0].start_ms, 500);
    CHECK_INT(batch.entries[0].stamp_ms, 1000);
    CHECK(batch.entries[0].context == &context);
    const struct hk_histogram histogram = decode(&batch.entries[0]);
    CHECK_INT(histogram.schema, 3);
    CHECK_DOUBLE(histogram.count, 23);
    CHECK_DOUBLE(histogram.zero_count, 10);
    CHECK(fabs(histogram.sum - (1 + 2 + 2 + 4 + 5 * 100.5 + 0.001 - 9)) < 1e-9);
    CHECK_DOUBLE(count_at(&histogram, 1), 1);
    CHECK_DOUBLE(count_at(&histogram, 2), 2);
    CHECK_DOUBLE(count_at(&histogram, 4), 1);
    CHECK_DOUBLE(count_at(&histogram, 100.5), 5);
    CHECK_DOUBLE(count_at(&histogram, 0.001), 1);
    CHECK_DOUBLE(count_at(&histogram, -3), 3);
    end(agg);
}

/* Nothing new, no entry; then the histogram goes on from where it was. */
TEST(histograms_are_cumulative_and_only_changes_are_shown) {
    struct hk_statsd_agg *agg = make(10, 0, 0);
    CHECK_INT(hk_statsd_agg_timer(agg, HK_STR("t"), 1, 1, 0), HK_OK);
    CHECK_INT(hk_statsd_agg_flush(agg, &batch, &context, 1000), HK_OK);
    CHECK_INT(batch.count, 1);
    hk_batch_clear(&batch);
    CHECK_INT(hk_statsd_agg_flush(agg, &batch, &context, 2000), HK_OK);
    CHECK_INT(batch.count, 0);
    CHECK_INT(hk_statsd_agg_timer(agg, HK_STR("t"), 1, 1, 2500), HK_OK);
    CHECK_INT(hk_statsd_agg_flush(agg, &batch, &context, 3000), HK_OK);
    CHECK_INT(batch.count, 1);
    CHECK_DOUBLE(decode(&batch.entries[0]).count, 2);
    end(agg);
}

/* Any spread of values fits: the resolution falls, no observation is lost. */
PROPERTY(resolution_falls_instead_of_memory_growing) {
    struct hk_sketch_budget budget = { 0, 1 << 20 };
    hk_arena_init(&arena, 1 << 24);
    for (unsigned round = 0; round < 50; round++) {
        struct hk_sketch_histogram sketch;
        struct hk_str bytes = { NULL, 0 };
        struct hk_histogram histogram;
        double seen[64];
        hk_sketch_histogram_init(&sketch);
        const double spread = ldexp(1, (int)(hk_test_random() % 12));
        for (size_t i = 0; i < HK_COUNT(seen); i++) {
            const double unit = (double)(hk_test_random() >> 11) / 9007199254740992.0;
            seen[i] = exp2((unit - 0.5) * spread);
            if (hk_test_random() % 4 == 0) seen[i] = -seen[i];
            CHECK_INT(hk_sketch_histogram_add(&sketch, seen[i], 1, &budget), HK_OK);
        }
        CHECK(budget.bytes <= 2 * HK_STATSD_BUCKETS_MAX * sizeof(double));
        CHECK_INT(hk_sketch_histogram_encode(&sketch, &arena, &bytes), HK_OK);
        CHECK_INT(hk_histogram_decode(bytes, &arena, &histogram), HK_OK);
        CHECK_DOUBLE(histogram.count, HK_COUNT(seen));
        for (size_t i = 0; i < HK_COUNT(seen); i++) {
            CHECK(fabs(seen[i]) <= 0x1p-128 || count_at(&histogram, seen[i]) >= 1);
        }
        hk_sketch_histogram_deinit(&sketch, &budget);
        CHECK_INT(budget.bytes, 0);
    }
    hk_arena_deinit(&arena);
}

TEST(extreme_values_fit) {
    struct hk_sketch_budget budget = { 0, 1 << 20 };
    struct hk_sketch_histogram sketch;
    static const double values[] = { 0x1p-127,  0x1.fffffffffffffp+1023,
                                     -0x1p-127, -0x1p+1023,
                                     0x1p-1074, 0 };
    hk_sketch_histogram_init(&sketch);
    for (size_t i = 0; i < HK_COUNT(values); i++)
        CHECK_INT(hk_sketch_histogram_add(&sketch, values[i], 1, &budget), HK_OK);
    CHECK(sketch.schema >= HK_HISTOGRAM_SCHEMA_MIN);
    CHECK_DOUBLE(sketch.zero_count, 2);
    hk_sketch_histogram_deinit(&sketch, &budget);
}

TEST(sets_count_distinct_members_of_an_interval) {
    struct hk_statsd_agg *agg = make(10, 0, 0);
    static const char *const members[] = { "a", "b", "a", "", "b" };
    for (size_t i = 0; i < HK_COUNT(members); i++)
        CHECK_INT(hk_statsd_agg_set(agg, HK_STR("s"), hk_str_from(members[i]), 0), HK_OK);
    static const double want[] = { 3, 0, 1, 0 };
    for (size_t i = 0; i < HK_COUNT(want); i++) {
        if (i == 2) CHECK_INT(hk_statsd_agg_set(agg, HK_STR("s"), HK_STR("a"), 0), HK_OK);
        hk_batch_clear(&batch);
        CHECK_INT(hk_statsd_agg_flush(agg, &batch, &context, 1000), HK_OK);
        CHECK_INT(batch.count, 1);
        CHECK_INT(batch.entries[0].kind, HK_ENTRY_SET);
        CHECK_DOUBLE(batch.entries[0].value, want[i]);
    }
    hk_batch_clear(&batch);
    CHECK_INT(hk_statsd_agg_flush(agg, &batch, &context, 1000), HK_OK);
    CHECK_INT(batch.count, 0);
    end(agg);
}

/* Exact while small; within five standard errors (8 %) beyond, at every size. */
TEST(large_sets_are_estimated) {
    static const uint32_t sizes[] = { 1, 127, 128, 129, 1000, 5000, 20000, 100000 };
    struct hk_sketch_budget budget = { 0, 1 << 20 };
    struct hk_sketch_set set = { 0 };
    for (size_t i = 0; i < HK_COUNT(sizes); i++) {
        uint64_t seed = 42;
        hk_sketch_set_clear(&set);
        for (uint32_t k = 0; k < sizes[i]; k++) {
            hk_test_seed = seed++;
            const uint64_t hash = hk_test_random();
            CHECK_INT(hk_sketch_set_add(&set, hash, &budget), HK_OK);
            CHECK_INT(hk_sketch_set_add(&set, hash, &budget), HK_OK);
        }
        const double count = hk_sketch_set_count(&set);
        if (sizes[i] <= HK_STATSD_SET_EXACT_MAX) CHECK_DOUBLE(count, sizes[i]);
        CHECK(fabs(count - sizes[i]) <= 0.08 * sizes[i]);
    }
    CHECK(budget.bytes <= 8192);
    hk_sketch_set_deinit(&set, &budget);
    CHECK_INT(budget.bytes, 0);
}

TEST(limits_refuse_and_count) {
    struct hk_statsd_agg *agg = make(2, 0, 0);
    CHECK_INT(hk_statsd_agg_timer(agg, HK_STR("a"), 1, 1, 0), HK_OK);
    CHECK_INT(hk_statsd_agg_set(agg, HK_STR("a"), HK_STR("x"), 0), HK_OK);
    CHECK_INT(hk_statsd_agg_timer(agg, HK_STR("b"), 1, 1, 0), HK_E_LIMIT);
    CHECK_INT(hk_statsd_agg_timer(agg, HK_STR("a"), 1, 1, 0), HK_OK);
    CHECK_INT(hk_statsd_agg_stats(agg).refused, 1);
    CHECK_INT(hk_statsd_agg_stats(agg).series_count, 2);
    end(agg);
    agg = make(1000, 4096, 0);
    unsigned taken = 0;
    for (unsigned i = 0; i < 1000; i++) {
        char key[16];
        (void)snprintf(key, sizeof(key), "k%u", i);
        taken += hk_statsd_agg_timer(agg, hk_str_from(key), 1, 1, 0) == HK_OK;
    }
    CHECK(taken > 5 && taken < 50);
    CHECK_INT(hk_statsd_agg_stats(agg).refused, 1000 - taken);
    CHECK(hk_statsd_agg_stats(agg).bytes <= 4096);
    end(agg);
    const struct hk_statsd_agg_options huge = { .series_max = UINT32_MAX };
    CHECK_INT(hk_statsd_agg_create(&huge, &agg), HK_E_INVALID);
}

TEST(idle_series_are_forgotten) {
    struct hk_statsd_agg *agg = make(100, 0, 5000);
    for (unsigned i = 0; i < 100; i++) {
        char key[16];
        (void)snprintf(key, sizeof(key), "k%u", i);
        const int64_t now_ms = i % 2 == 0 ? 0 : 4000;
        CHECK_INT(hk_statsd_agg_timer(agg, hk_str_from(key), 1, 1, now_ms), HK_OK);
    }
    CHECK_INT(hk_statsd_agg_flush(agg, &batch, &context, 4000), HK_OK);
    CHECK_INT(batch.count, 100);
    hk_batch_clear(&batch);
    CHECK_INT(hk_statsd_agg_flush(agg, &batch, &context, 5000), HK_OK);
    CHECK_INT(batch.count, 0);
    CHECK_INT(hk_statsd_agg_stats(agg).series_count, 50);
    CHECK_INT(hk_statsd_agg_stats(agg).expired, 50);
    CHECK_INT(hk_statsd_agg_timer(agg, HK_STR("k1"), 1, 1, 5000), HK_OK);
    CHECK_INT(hk_statsd_agg_timer(agg, HK_STR("k0"), 1, 1, 5000), HK_OK);
    CHECK_INT(hk_statsd_agg_flush(agg, &batch, &context, 6000), HK_OK);
    CHECK_INT(batch.count, 2);
    CHECK_DOUBLE(decode(&batch.entries[0]).count, 2);
    CHECK_DOUBLE(decode(&batch.entries[1]).count, 1);
    CHECK_INT(batch.entries[1].start_ms, 5000);
    end(agg);
}

TEST(a_flush_resumes) {
    struct hk_statsd_agg *agg = make(2000, 0, 0);
    for (unsigned i = 0; i < 1300; i++) {
        char key[16];
        (void)snprintf(key, sizeof(key), "k%u", i);
        CHECK_INT(hk_statsd_agg_timer(agg, hk_str_from(key), i, 1, 0), HK_OK);
    }
    static const struct {
        hk_err err;
        uint32_t count;
    } turns[] = { { HK_FULL, 512 }, { HK_FULL, 512 }, { HK_OK, 276 }, { HK_OK, 0 } };
    for (size_t i = 0; i < HK_COUNT(turns); i++) {
        hk_batch_clear(&batch);
        CHECK_INT(hk_statsd_agg_flush(agg, &batch, &context, 1000), turns[i].err);
        CHECK_INT(batch.count, turns[i].count);
    }
    end(agg);
}

static hk_err fill(void) {
    const struct hk_statsd_agg_options options = { .series_max = 4 };
    struct hk_statsd_agg *agg = NULL;
    HK_TRY(hk_statsd_agg_create(&options, &agg));
    hk_err err = hk_statsd_agg_timer(agg, HK_STR("t"), 1, 1, 0);
    if (err == HK_OK) err = hk_statsd_agg_timer(agg, HK_STR("t"), 1e6, 1, 0);
    for (unsigned i = 0; i < 200 && err == HK_OK; i++)
        err = hk_statsd_agg_set(agg, HK_STR("s"), (struct hk_str){ (const char *)&i, 4 }, 0);
    hk_statsd_agg_destroy(agg);
    return err;
}

TEST(running_out_of_memory_is_an_error) {
    SWEEP_ALLOC(fill());
}

HK_TEST_MAIN()
