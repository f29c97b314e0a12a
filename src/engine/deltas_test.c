/*
 * Goal (decision D20): delta points become running totals; what was counted is not counted twice;
 * a restart goes on from the last durable record; resolutions meet at the coarser.
 */
#include "engine/deltas.h"

#include "base/mem.h"
#include "hk_test.h"
#include "model/histogram.h"
#include "os/clock.h"
#include "os/file.h"
#include "os/thread.h"

#include <stdlib.h>
#include <unistd.h>

struct world {
    char dir[64];
    struct hk_store *store;
    struct hk_ledger ledger;
    struct hk_pass pass;
    struct hk_arena arena;
    struct hk_event told;
    uint32_t ref;
};

static struct world world;

static void on_durable(void *self, uint32_t shard, hk_err err) {
    (void)self;
    (void)shard;
    (void)err;
    hk_event_raise(&world.told);
}

static void open_world(struct world *w) {
    struct hk_store_options options = {
        .dir = w->dir, .shards = 1, .memory_max = 1 << 28, .durable = on_durable
    };
    struct hk_store_report report;
    struct hk_label items[1] = { { HK_STR("__name__"), HK_STR("latency_seconds") } };
    bool created = false;
    CHECK_INT(hk_store_open(&options, &w->store, &report), HK_OK);
    CHECK_INT(hk_pass_init(&w->pass, w->store, 0, &w->ledger, 1 << 28), HK_OK);
    CHECK_INT(
        hk_directory_intern(w->pass.directory, (struct hk_labels){ items, 1 }, &w->ref, &created),
        HK_OK);
}

static void close_world(struct world *w) {
    hk_pass_deinit(&w->pass);
    hk_store_close(w->store);
}

static void begin(struct world *w) {
    memcpy(w->dir, "/tmp/hark-deltas-XXXXXX", 24);
    CHECK(mkdtemp(w->dir) != NULL);
    hk_event_init(&w->told);
    hk_arena_init(&w->arena, 1 << 28);
    open_world(w);
}

static int remove_entry(void *self, const char *name) {
    char path[512];
    (void)snprintf(path, sizeof(path), "%s/%s", (const char *)self, name);
    if (hk_file_remove(path) < 0) {
        (void)hk_dir_list(path, remove_entry, path);
        CHECK_INT(rmdir(path), 0);
    }
    return 0;
}

static void end(struct world *w) {
    close_world(w);
    (void)hk_dir_list(w->dir, remove_entry, w->dir);
    CHECK_INT(rmdir(w->dir), 0);
    hk_arena_deinit(&w->arena);
    hk_event_deinit(&w->told);
}

static void commit(struct world *w) {
    uint64_t number = hk_store_publish(w->pass.shard);
    while (hk_store_durable(w->pass.shard) < number) {
        hk_store_kick(w->pass.shard, 1);
        (void)hk_event_wait(&w->told, 1000000);
    }
}

/* A delta point with one bucket, taken as the pass takes it; the total in `out`. */
static hk_err take(
    struct world *w, int64_t start_ms, int64_t stamp_ms, int32_t schema, int32_t bucket,
    double count, struct hk_histogram *out) {
    struct hk_histogram_span span = { bucket, 1 };
    struct hk_histogram point = {
        .schema = schema,
        .zero_threshold = 1e-128,
        .count = count,
        .sum = 2 * count,
        .positive = { &span, &count, 1, 1 },
    };
    struct hk_buf buf;
    hk_buf_init(&buf, 65536);
    hk_histogram_encode(&point, &buf);
    struct hk_staged entry = {
        .ref = w->ref,
        .kind = HK_ENTRY_HISTOGRAM_ADD,
        .start_ms = start_ms,
        .stamp_ms = stamp_ms,
        .payload = buf.ptr,
        .payload_bytes = (uint32_t)buf.len,
    };
    struct hk_str bytes;
    hk_err err = hk_delta_histogram(&w->pass, &entry, &w->arena, &bytes);
    if (err >= 0) {
        CHECK_INT(hk_histogram_decode(bytes, &w->arena, out), HK_OK);
        CHECK_INT(
            hk_store_append_side(w->pass.shard, HK_SIDE_HISTOGRAM, w->ref, stamp_ms, bytes), HK_OK);
        commit(w);
    }
    hk_buf_deinit(&buf);
    return err;
}

TEST(histograms_add_up) {
    struct world *w = &world;
    struct hk_histogram total;
    begin(w);
    CHECK_INT(take(w, 1000, 2000, 3, 5, 4, &total), HK_OK);
    CHECK(total.count == 4 && total.sum == 8);
    CHECK_INT(take(w, 2000, 3000, 3, 6, 1, &total), HK_OK);
    CHECK(total.count == 5 && total.sum == 10);
    CHECK_INT(total.positive.count, 2);
    /* Again, and one that overlaps. */
    CHECK_INT(take(w, 2000, 3000, 3, 6, 1, &total), HK_E_EXISTS);
    CHECK_INT(take(w, 2500, 3500, 3, 6, 1, &total), HK_E_EXISTS);
    /* A gap is fine: the sender was restarted. */
    CHECK_INT(take(w, 9000, 10000, 3, 6, 1, &total), HK_OK);
    CHECK(total.count == 6);
    /* Coarser: buckets 5 and 6 of schema 3 lie in 3 of schema 2; then stays coarse. */
    CHECK_INT(take(w, 10000, 11000, 2, 3, 10, &total), HK_OK);
    CHECK_INT(total.schema, 2);
    CHECK_INT(total.positive.count, 1);
    CHECK(total.count == 16 && total.positive.counts[0] == 16);
    CHECK_INT(take(w, 11000, 12000, 3, 5, 1, &total), HK_OK);
    CHECK_INT(total.schema, 2);
    CHECK(total.count == 17);
    end(w);
}

TEST(a_restart_goes_on_from_the_last_durable_histogram) {
    struct world *w = &world;
    struct hk_histogram total;
    begin(w);
    CHECK_INT(take(w, 1000, 2000, 3, 5, 4, &total), HK_OK);
    CHECK_INT(take(w, 2000, 3000, 3, 5, 4, &total), HK_OK);
    close_world(w);
    open_world(w);
    CHECK_INT(take(w, 2000, 3000, 3, 5, 4, &total), HK_E_EXISTS);
    CHECK_INT(take(w, 3000, 4000, 3, 5, 1, &total), HK_OK);
    CHECK(total.count == 9);
    end(w);
}

TEST(totals_are_dropped_with_their_series) {
    struct world *w = &world;
    begin(w);
    enum { COUNT = 2000 };
    for (uint32_t ref = 0; ref < COUNT; ref++)
        CHECK_INT(hk_delta_set(&w->pass, ref, ref), HK_OK);
    for (uint32_t ref = 0; ref < COUNT; ref += 3)
        hk_delta_drop(&w->pass, ref);
    for (uint32_t ref = 0; ref < COUNT; ref++) {
        struct hk_staged entry = { .ref = ref, .value = 1, .stamp_ms = 1000, .kind = HK_ENTRY_ADD };
        double value = 0;
        CHECK_INT(hk_delta_add(&w->pass, &entry, &value), HK_OK);
        CHECK(value == (ref % 3 == 0 ? 1 : ref + 1.0));
    }
    CHECK_INT(w->pass.delta_count, COUNT);
    end(w);
}

HK_TEST_MAIN()
