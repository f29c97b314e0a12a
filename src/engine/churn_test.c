/*
 * Goal (decision D4): seven simulated days in which 10 % of the series are replaced every hour
 * leave memory flat; dead series still answer queries, before and after a restart; one that comes
 * back goes on. HK_CHURN_SERIES and HK_CHURN_STEP_S set the size (tests/e2e, --full).
 */
#include "engine/pass.h"

#include "base/mem.h"
#include "hk_test.h"
#include "os/clock.h"
#include "os/file.h"
#include "os/thread.h"

#include <malloc.h>
#include <stdlib.h>
#include <unistd.h>

enum { SERIES = 2000, DAYS = 7, STEP_S = 1800, HOUR_MS = 3600000, COMES_BACK_EVERY = 50 };

struct world {
    char dir[64];
    struct hk_store *store;
    struct hk_ledger ledger;
    struct hk_pass pass;
    struct hk_arena arena;
    struct hk_context context;
    struct hk_event told;
    int64_t start_ms, now_ms;
    uint32_t active, step_s;
    uint32_t *ids; /* of the active series */
    uint32_t id_next;
    uint32_t at; /* parser */
    uint64_t sent;
};

static struct world world;

/* ------------------------------------------------------------------ a sender */

static hk_err parse(void *state, struct hk_batch *batch) {
    struct world *w = state;
    while (w->at < w->active) {
        if (batch->count == HK_BATCH_ENTRIES_MAX) return HK_FULL;
        batch->entries[batch->count++] = (struct hk_entry){
            .key = &w->ids[w->at],
            .key_bytes = sizeof(w->ids[0]),
            .ref = HK_REF_NONE,
            .context = &w->context,
            .stamp_ms = w->now_ms,
            .value = w->ids[w->at] + (double)((w->now_ms - w->start_ms) / 1000),
        };
        batch->points++;
        w->at++;
    }
    return HK_OK;
}

static hk_err labels(
    void *state, struct hk_batch *batch, const struct hk_entry *entry, struct hk_label_set *out) {
    uint32_t id = 0;
    (void)state;
    memcpy(&id, entry->key, sizeof(id));
    struct hk_str pod = hk_arena_printf(batch->arena, "frontend-7d4b9c-%08x", id * 2654435761U);
    hk_label_set_add(out, HK_STR("__name__"), HK_STR("requests_total"));
    hk_label_set_add(out, HK_STR("namespace"), HK_STR("production"));
    hk_label_set_add(out, HK_STR("pod"), pod);
    return HK_OK;
}

static const struct hk_metric_parser parser = { "churn", parse, labels };

/* ------------------------------------------------------------------ the store's surroundings */

static void on_durable(void *self, uint32_t shard, hk_err err) {
    (void)self;
    (void)shard;
    (void)err;
    hk_event_raise(&world.told);
}

static void on_sweep(void *self, uint32_t shard) {
    (void)self;
    (void)shard;
    hk_pass_sweep_begin(&world.pass, world.now_ms);
    while (!hk_pass_sweep(&world.pass)) {
    }
    hk_store_swept(world.pass.shard);
}

static void on_forget(void *self, uint32_t shard, const uint32_t *refs, uint32_t count) {
    (void)self;
    (void)shard;
    for (uint32_t i = 0; i < count; i++)
        hk_pass_forget(&world.pass, refs[i]);
    hk_store_forgot(world.pass.shard);
}

static void open_world(struct world *w) {
    struct hk_store_options options = {
        .dir = w->dir,
        .shards = 1,
        .memory_max = 1ULL << 30,
        .series_idle_ms = 2 * HOUR_MS,
        .sweep = on_sweep,
        .forget = on_forget,
        .durable = on_durable,
    };
    struct hk_store_report report;
    CHECK_INT(hk_store_open(&options, &w->store, &report), HK_OK);
    CHECK_INT(hk_pass_init(&w->pass, w->store, 0, &w->ledger, 1ULL << 30), HK_OK);
}

static void close_world(struct world *w) {
    hk_pass_deinit(&w->pass);
    hk_store_close(w->store);
}

static void commit(struct world *w) {
    struct hk_store_shard *shard = w->pass.shard;
    uint64_t number = hk_store_publish(shard);
    hk_store_kick(shard, w->now_ms);
    while (hk_store_durable(shard) < number) {
        (void)hk_event_wait(&w->told, 100000000);
        hk_store_kick(shard, w->now_ms);
    }
    hk_ledger_durable(&w->ledger);
    while (!hk_store_idle(shard)) {
    }
    hk_store_kick(shard, w->now_ms); /* the slab is old: it closes */
}

static void send(struct world *w) {
    struct hk_pass_run run = {
        .receiver = HK_RECEIVER_REMOTE_WRITE,
        .parser = &parser,
        .state = w,
        .arena = &w->arena,
        .cursor = hk_pass_cursor(&w->pass, HK_STR("churn")),
    };
    w->at = 0;
    hk_ident_cursor_begin(&run.cursor->order);
    CHECK_INT(hk_pass_run(&w->pass, &run), HK_OK);
    CHECK_INT(run.stored, w->active);
    w->sent += run.points;
    struct hk_buf record;
    hk_buf_init(&record, 65536);
    hk_ledger_submit(&w->ledger, &record);
    hk_buf_deinit(&record);
    commit(w);
    hk_arena_reset(&w->arena);
}

/* One step: some series are replaced, everyone sends, the worker works. */
static void step(struct world *w) {
    w->now_ms += (int64_t)w->step_s * 1000;
    uint64_t replaced = (uint64_t)w->active * w->step_s / 36000;
    uint64_t first = hk_test_random() % w->active;
    for (uint64_t i = 0; i < replaced; i++) {
        uint64_t at = (first + i) % w->active;
        bool back = w->id_next > 8 * w->active && i % COMES_BACK_EVERY == 0;
        w->ids[at] = back ? w->id_next - 8 * w->active + (uint32_t)i : w->id_next++;
    }
    send(w);
    for (int i = 0; i < 6; i++) {
        hk_err err = HK_MORE;
        while (err == HK_MORE)
            err = hk_store_work(w->store, w->now_ms);
        CHECK_INT(err, HK_OK);
    }
}

/* Of the sanitizers' heap, which mallinfo2() does not know; NULL without one. */
extern size_t __sanitizer_get_current_allocated_bytes(void) __attribute__((weak));

static uint64_t memory_used(void) {
    if (__sanitizer_get_current_allocated_bytes != NULL) {
        return __sanitizer_get_current_allocated_bytes();
    }
    struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
}

/* ------------------------------------------------------------------ questions */

/* Samples of one series in all time; UINT32_MAX when one of them is wrong. */
static uint32_t ask(struct world *w, uint32_t id) {
    struct hk_source source = hk_store_source(w->store);
    char pod[64];
    (void)snprintf(pod, sizeof(pod), "frontend-7d4b9c-%08x", id * 2654435761U);
    struct hk_matcher matcher = { .type = HK_MATCH_EQUAL,
                                  .name = HK_STR("pod"),
                                  .value = hk_str_from(pod) };
    struct hk_select request = {
        .matchers = &matcher, .matcher_count = 1, .from_ms = w->start_ms, .to_ms = w->now_ms
    };
    struct hk_selection selection;
    struct hk_samples samples = { 0 };
    CHECK_INT(source.select(source.self, &request, &w->arena, &selection), HK_OK);
    CHECK_INT(selection.count, 1);
    if (selection.count == 1) {
        CHECK_INT(source.read(source.self, &selection, 0, &w->arena, &samples), HK_OK);
    }
    uint32_t right = 0;
    for (uint32_t i = 0; i < samples.count; i++) {
        right += samples.values[i] == id + (double)((samples.stamps_ms[i] - w->start_ms) / 1000);
    }
    uint32_t result = right == samples.count ? right : UINT32_MAX;
    source.release(source.self, &selection);
    hk_arena_reset(&w->arena);
    return result;
}

static uint32_t count_values(struct world *w) {
    struct hk_source source = hk_store_source(w->store);
    struct hk_str *values = NULL;
    uint32_t count = 0;
    CHECK_INT(
        source.label_values(source.self, HK_STR("pod"), NULL, 0, 0, &w->arena, &values, &count),
        HK_OK);
    hk_arena_reset(&w->arena);
    return count;
}

static uint64_t check_dead(struct world *w) {
    uint64_t samples = 0;
    for (uint32_t id = 0; id < w->id_next; id += 97) {
        uint32_t found = ask(w, id);
        CHECK(found > 0 && found != UINT32_MAX);
        samples += found;
    }
    CHECK_INT(count_values(w), w->id_next);
    return samples;
}

static uint32_t number_of(const char *name, uint32_t fallback) {
    const char *text = getenv(name);
    return text == NULL ? fallback : (uint32_t)strtoul(text, NULL, 10);
}

/* ------------------------------------------------------------------ the test */

static void begin(struct world *w) {
    memcpy(w->dir, "/tmp/hark-churn-XXXXXX", 23);
    CHECK(mkdtemp(w->dir) != NULL);
    hk_event_init(&w->told);
    hk_arena_init(&w->arena, 1ULL << 30);
    w->active = number_of("HK_CHURN_SERIES", SERIES);
    w->step_s = number_of("HK_CHURN_STEP_S", STEP_S);
    w->ids = hk_mem_alloc(w->active, sizeof(w->ids[0]));
    for (uint32_t i = 0; i < w->active; i++)
        w->ids[i] = w->id_next++;
    /* Ahead of the real clock, by which the age of a slab is judged. */
    w->start_ms = hk_clock_realtime_ms() + HOUR_MS;
    w->now_ms = w->start_ms;
    w->context.hash = hk_hash128("churn", 5);
}

static int remove_entry(void *self, const char *name) {
    char path[512];
    (void)snprintf(path, sizeof(path), "%s/%s", (const char *)self, name);
    if (hk_file_remove(path) < 0) { /* a folder: one level is all there is */
        (void)hk_dir_list(path, remove_entry, path);
        CHECK_INT(rmdir(path), 0);
    }
    return 0;
}

static void end(struct world *w) {
    (void)hk_dir_list(w->dir, remove_entry, w->dir);
    CHECK_INT(rmdir(w->dir), 0);
    hk_arena_deinit(&w->arena);
    hk_event_deinit(&w->told);
    hk_mem_free(w->ids);
}

TEST(seven_days_of_churn_leave_memory_flat) {
    struct world *w = &world;
    uint64_t peak[DAYS] = { 0 };
    begin(w);
    open_world(w);
    send(w);
    for (uint32_t day = 0; day < DAYS; day++) {
        for (uint32_t s = 0; s < 86400; s += w->step_s) {
            step(w);
            uint64_t used = memory_used();
            if (used > peak[day]) peak[day] = used;
        }
        struct hk_store_stats stats;
        hk_store_get_stats(w->store, &stats);
        printf(
            "# day %u: %.2f MB, %" PRIu64 " series of %u so far, %" PRIu64
            " retired, %u refs, %u forms\n",
            day + 1, (double)peak[day] / 1e6, stats.series, w->id_next, stats.retired,
            hk_directory_count(hk_store_directory(w->store)), w->pass.ident.count);
    }
    struct hk_store_stats stats;
    hk_store_get_stats(w->store, &stats);
    /* 2 h of idling, the flush before and a quarter between two looks: half an hour more. */
    CHECK(stats.series < w->active + w->active / 10 * 6);
    CHECK_INT(stats.series + stats.retired, w->pass.series_created_total);
    CHECK(hk_directory_count(hk_store_directory(w->store)) < 3 * w->active);
    CHECK(peak[1] > 0);
    CHECK(peak[DAYS - 1] < peak[1] + peak[1] / 20);
    const struct hk_ledger_account *account = &w->ledger.accounts[HK_RECEIVER_REMOTE_WRITE];
    CHECK_INT(account->received, w->sent);
    CHECK_INT(account->stored, w->sent);
    uint64_t samples = check_dead(w);
    close_world(w);
    open_world(w);
    CHECK_INT(check_dead(w), samples);
    step(w);
    CHECK(hk_directory_count(hk_store_directory(w->store)) < 3 * w->active);
    close_world(w);
    end(w);
}

HK_TEST_MAIN()
