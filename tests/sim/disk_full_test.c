/*
 * Goal: a full disk is told (HK_E_NOSPACE), loses nothing that was acknowledged, leaves no heap of
 * files, and heals without a restart when there is room again: then what waited is durable too.
 */
#include "hk_test.h"
#include "os/thread.h"
#include "os_sim.h"
#include "store/store.h"

#include <stdatomic.h>

enum { SERIES = 40, BATCH = 200 };

static struct hk_event told;
static _Atomic int disk_err;
static _Atomic uint32_t failures;

static void on_durable(void *self, uint32_t shard, hk_err err) {
    (void)self;
    (void)shard;
    atomic_store_explicit(&disk_err, err, memory_order_release);
    if (err < 0) atomic_fetch_add_explicit(&failures, 1, memory_order_relaxed);
    hk_event_raise(&told);
}

static struct hk_store *open_store(void) {
    struct hk_store_options options = {
        .dir = "data", .shards = 1, .memory_max = 1ULL << 30, .durable = on_durable
    };
    struct hk_store *store = NULL;
    struct hk_store_report report;
    atomic_store_explicit(&disk_err, HK_OK, memory_order_release);
    CHECK_INT(hk_store_open(&options, &store, &report), HK_OK);
    return store;
}

static uint64_t disk_used(void) {
    uint64_t used = 0;
    for (uint32_t i = 0; hk_sim_name(i) != NULL; i++)
        used += (uint64_t)hk_sim_size(hk_sim_name(i));
    return used;
}

static uint32_t file_count(void) {
    uint32_t count = 0;
    while (hk_sim_name(count) != NULL)
        count++;
    return count;
}

/* Samples [number × BATCH, …) of all series; gives the commit to wait for. */
static uint64_t append(struct hk_store *store, uint32_t number) {
    struct hk_store_shard *shard = hk_store_get_shard(store, 0);
    for (uint32_t i = 0; i < BATCH; i++) {
        char text[16];
        (void)snprintf(text, sizeof(text), "s%u", number / 4 * SERIES + i % SERIES);
        struct hk_label items[2] = {
            { HK_STR("__name__"), HK_STR("metric") },
            { HK_STR("n"), hk_str_from(text) },
        };
        uint32_t ref = 0;
        bool created = false;
        struct hk_labels labels = { items, 2 };
        CHECK_INT(hk_directory_intern(hk_store_directory(store), labels, &ref, &created), HK_OK);
        int64_t stamp_ms = 1000000 + (int64_t)number * BATCH + i;
        CHECK_INT(hk_store_append(shard, ref, stamp_ms, (double)stamp_ms), HK_OK);
    }
    return hk_store_publish(shard);
}

/* Waits for the commit, or for the disk's refusal. */
static bool wait_durable(struct hk_store *store, uint64_t number) {
    struct hk_store_shard *shard = hk_store_get_shard(store, 0);
    while (hk_store_durable(shard) < number) {
        hk_store_kick(shard, 1);
        if (atomic_load_explicit(&disk_err, memory_order_acquire) < 0) return false;
        (void)hk_event_wait(&told, 1000000);
    }
    return true;
}

static void wait_healed(struct hk_store *store, uint64_t number) {
    struct hk_store_shard *shard = hk_store_get_shard(store, 0);
    while (hk_store_durable(shard) < number) {
        hk_store_kick(shard, 1);
        (void)hk_event_wait(&told, 1000000);
    }
}

/* Samples of all series. */
static uint64_t count_samples(struct hk_store *store) {
    struct hk_source source = hk_store_source(store);
    struct hk_matcher matcher = { .type = HK_MATCH_EQUAL,
                                  .name = HK_STR("__name__"),
                                  .value = HK_STR("metric") };
    struct hk_select request = { .matchers = &matcher, .matcher_count = 1, .to_ms = INT64_MAX };
    struct hk_arena arena;
    struct hk_selection selection;
    uint64_t count = 0;
    hk_arena_init(&arena, 256 << 20);
    CHECK_INT(source.select(source.self, &request, &arena, &selection), HK_OK);
    for (uint32_t i = 0; i < selection.count; i++) {
        struct hk_samples samples = { 0 };
        CHECK_INT(source.read(source.self, &selection, i, &arena, &samples), HK_OK);
        for (uint32_t k = 0; k < samples.count; k++)
            count += samples.values[k] == (double)samples.stamps_ms[k];
    }
    source.release(source.self, &selection);
    hk_arena_deinit(&arena);
    return count;
}

/* Room for `spare` bytes more; the commit that does not fit is refused, and heals. */
static void fill_and_heal(uint64_t spare, bool restart) {
    hk_sim_reset(hk_test_random());
    struct hk_store *store = open_store();
    uint32_t number = 0;
    CHECK(wait_durable(store, append(store, number++)));
    hk_sim_disk_bytes(disk_used() + spare);
    uint32_t acked = number;
    uint64_t commit = 0;
    for (;;) {
        commit = append(store, number++);
        if (!wait_durable(store, commit)) break;
        acked = number;
    }
    CHECK_INT(atomic_load_explicit(&disk_err, memory_order_acquire), HK_E_NOSPACE);
    uint32_t files = file_count();
    struct hk_event never;
    hk_event_init(&never);
    if (!restart) (void)hk_event_wait(&never, 150000000); /* one more attempt of the log thread */
    hk_event_deinit(&never);
    CHECK(file_count() <= files + 1);
    CHECK_INT(count_samples(store), number * BATCH); /* what waits is visible */
    hk_store_kick(hk_store_get_shard(store, 0), INT64_MAX / 2);
    if (restart) {
        hk_store_close(store);
        hk_sim_reboot();
        hk_sim_disk_bytes(0);
        store = open_store();
        CHECK(count_samples(store) >= (uint64_t)acked * BATCH);
    } else {
        hk_sim_disk_bytes(0);
        wait_healed(store, commit);
        CHECK_INT(atomic_load_explicit(&disk_err, memory_order_acquire), HK_OK);
        CHECK(wait_durable(store, append(store, number++)));
        hk_store_close(store);
        hk_sim_reboot();
        store = open_store();
        CHECK_INT(count_samples(store), number * BATCH);
    }
    hk_store_close(store);
}

TEST(a_full_disk_is_told_and_heals) {
    hk_event_init(&told);
    static const uint64_t spares[] = { 0, 10, 100, 3000, 3300, 20000 };
    for (size_t i = 0; i < HK_COUNT(spares); i++) {
        fill_and_heal(spares[i], false);
        fill_and_heal(spares[i], true);
    }
    hk_event_deinit(&told);
}

/* Flushing needs room for a block: it fails, nothing is lost, and a later attempt succeeds. */
TEST(a_flush_that_finds_no_room_is_tried_again) {
    hk_event_init(&told);
    hk_sim_reset(hk_test_random());
    struct hk_store *store = open_store();
    uint32_t number = 0;
    while (number < 20)
        CHECK(wait_durable(store, append(store, number++)));
    struct hk_store_shard *shard = hk_store_get_shard(store, 0);
    while (!hk_store_idle(shard)) {
    }
    hk_store_kick(shard, INT64_MAX / 2); /* closes the slab */
    hk_sim_disk_bytes(disk_used() + 500);
    uint32_t files = file_count();
    for (int i = 0; i < 5; i++)
        CHECK_INT(hk_store_flush(store, 1), HK_E_NOSPACE);
    CHECK(file_count() <= files + 1);
    CHECK_INT(count_samples(store), number * BATCH);
    hk_sim_disk_bytes(0);
    CHECK_INT(hk_store_flush(store, 1), HK_OK);
    CHECK_INT(count_samples(store), number * BATCH);
    hk_store_close(store);
    hk_sim_reboot();
    store = open_store();
    CHECK_INT(count_samples(store), number * BATCH);
    hk_store_close(store);
    hk_event_deinit(&told);
}

HK_TEST_MAIN()
