/*
 * Goal: whatever moment the power goes, no sample whose commit was reported durable is lost or
 * wrong after the restart, likewise exemplars and metadata; and a flipped bit is found. HK_SIM_CUTS
 * sets the number of cuts.
 */
#include "hk_test.h"
#include "os/clock.h"
#include "os/thread.h"
#include "os_sim.h"
#include "store/store.h"

#include <stdatomic.h>
#include <unistd.h>

enum { SERIES_MAX = 24, STEPS_MAX = 30, SAMPLES_MAX = STEPS_MAX * 16 * 8 };

struct acked {
    uint32_t series;
    int64_t stamp_ms;
    double value;
};

static struct acked acked[SAMPLES_MAX];
static uint32_t acked_count;
static uint64_t stamps_used;
/* Exemplars (series, stamp, value) and metadata (number in the help text). */
static struct acked kept[SAMPLES_MAX];
static uint32_t kept_count;
static uint32_t metas[SAMPLES_MAX];
static uint32_t meta_count;
static struct hk_event told;
static _Atomic int disk_err;

static void on_durable(void *self, uint32_t shard, hk_err err) {
    (void)self;
    (void)shard;
    atomic_store_explicit(&disk_err, err, memory_order_release);
    hk_event_raise(&told);
}

/* Nobody keeps refs between steps: every one comes from the directory. */
static struct hk_store_shard *sim_shard;

static void on_sweep(void *self, uint32_t shard) {
    (void)self;
    (void)shard;
    hk_store_swept(sim_shard);
}

static void on_forget(void *self, uint32_t shard, const uint32_t *refs, uint32_t count) {
    (void)self;
    (void)shard;
    (void)refs;
    (void)count;
    hk_store_forgot(sim_shard);
}

static struct hk_store *open_store(struct hk_store_report *report) {
    struct hk_store_options options = {
        .dir = "data",
        .shards = 1,
        .memory_max = 1ULL << 30,
        .durable = on_durable,
        .series_idle_ms = 4000,
        .dead_min = 2,
        .sweep = on_sweep,
        .forget = on_forget,
    };
    struct hk_store *store = NULL;
    atomic_store_explicit(&disk_err, HK_OK, memory_order_release);
    return hk_store_open(&options, &store, report) < 0 ? NULL : store;
}

/* Ref of test series number `n`; HK_REF_NONE when it cannot be made. */
static uint32_t make_series(struct hk_store *store, uint32_t n) {
    char text[16];
    (void)snprintf(text, sizeof(text), "s%u", n);
    struct hk_label items[2] = {
        { HK_STR("__name__"), HK_STR("metric") },
        { HK_STR("n"), hk_str_from(text) },
    };
    uint32_t ref = 0;
    bool created = false;
    struct hk_labels labels = { items, 2 };
    hk_err err = hk_directory_intern(hk_store_directory(store), labels, &ref, &created);
    return err < 0 ? HK_REF_NONE : ref;
}

/* Waits until commit `number` is durable; false when the disk refuses. */
static bool wait_durable(struct hk_store_shard *shard, uint64_t number) {
    while (hk_store_durable(shard) < number) {
        hk_store_kick(shard, 1);
        if (hk_store_durable(shard) >= number) break;
        if (atomic_load_explicit(&disk_err, memory_order_acquire) < 0) return false;
        (void)hk_event_wait(&told, 1000000);
    }
    return true;
}

static struct hk_str exemplar_bytes(struct hk_arena *arena, double value, int64_t stamp_ms) {
    struct hk_exemplar exemplar = { .value = value, .stamp_ms = stamp_ms };
    struct hk_str payload = { "", 0 };
    return hk_exemplar_encode(&exemplar, arena, &payload) < 0 ? HK_STR("") : payload;
}

/* Now and then an exemplar and a description. False: no room. */
static bool add_kept(struct hk_store *store, struct hk_store_shard *shard, int64_t at_ms) {
    struct hk_arena arena;
    hk_arena_init(&arena, 1 << 20);
    bool fine = true;
    if (hk_test_random() % 2 == 0 && kept_count < SAMPLES_MAX) {
        uint32_t series = (uint32_t)(hk_test_random() % SERIES_MAX);
        uint32_t ref = make_series(store, series);
        int64_t stamp_ms = at_ms + (int64_t)++stamps_used;
        double value = (double)(hk_test_random() % 1000);
        struct hk_str payload = exemplar_bytes(&arena, value, stamp_ms);
        fine =
            ref != HK_REF_NONE && hk_store_append_exemplar(shard, ref, stamp_ms, payload) == HK_OK;
        kept[kept_count++] = (struct acked){ series, stamp_ms, value };
    }
    if (fine && hk_test_random() % 3 == 0 && meta_count < SAMPLES_MAX) {
        uint32_t number = (uint32_t)++stamps_used;
        struct hk_batch_meta meta = { .metric = hk_arena_printf(&arena, "m%u", number),
                                      .type = HK_STR("gauge"),
                                      .help = HK_STR("help"),
                                      .unit = HK_STR("") };
        hk_store_take_metas(shard, &meta, 1);
        metas[meta_count++] = number;
    }
    hk_arena_deinit(&arena);
    return fine;
}

/* One request: some samples, then its commit. Acked ones are remembered. */
static bool step(struct hk_store *store, struct hk_store_shard *shard, int64_t at_ms) {
    uint32_t first = acked_count;
    uint32_t first_kept = kept_count;
    uint32_t first_meta = meta_count;
    bool fine = add_kept(store, shard, at_ms);
    uint32_t count = 1 + (uint32_t)(hk_test_random() % 12);
    for (uint32_t i = 0; i < count && acked_count < SAMPLES_MAX; i++) {
        uint32_t series = (uint32_t)(hk_test_random() % SERIES_MAX);
        uint32_t ref = make_series(store, series);
        double value = (double)(hk_test_random() % 100000) / 16;
        int64_t stamp_ms = at_ms + (int64_t)++stamps_used;            /* no stamp twice */
        if (hk_test_random() % 20 == 0) stamp_ms -= (int64_t)1 << 33; /* far in the past */
        if (ref == HK_REF_NONE || hk_store_append(shard, ref, stamp_ms, value) < 0) return false;
        acked[acked_count++] = (struct acked){ series, stamp_ms, value };
    }
    uint64_t commit = hk_store_publish(shard);
    if (fine && wait_durable(shard, commit)) return true;
    acked_count = first;
    kept_count = first_kept;
    meta_count = first_meta;
    return false;
}

static bool check_sample(struct hk_store *store, const struct acked *wanted) {
    struct hk_source source = hk_store_source(store);
    char text[16];
    (void)snprintf(text, sizeof(text), "s%u", wanted->series);
    struct hk_matcher matcher = { .type = HK_MATCH_EQUAL,
                                  .name = HK_STR("n"),
                                  .value = hk_str_from(text) };
    struct hk_select request = {
        .matchers = &matcher,
        .matcher_count = 1,
        .from_ms = wanted->stamp_ms,
        .to_ms = wanted->stamp_ms,
    };
    struct hk_arena arena;
    hk_arena_init(&arena, 64 << 20);
    struct hk_selection selection;
    struct hk_samples samples = { 0 };
    bool found = false;
    if (source.select(source.self, &request, &arena, &selection) >= 0) {
        if (selection.count == 1 &&
            source.read(source.self, &selection, 0, &arena, &samples) >= 0) {
            found = samples.count == 1 && samples.stamps_ms[0] == wanted->stamp_ms;
        }
        source.release(source.self, &selection);
        found = found && samples.values[0] == wanted->value;
    }
    hk_arena_deinit(&arena);
    return found;
}

static bool check_kept(struct hk_store *store, const struct acked *wanted) {
    char text[16];
    (void)snprintf(text, sizeof(text), "s%u", wanted->series);
    struct hk_matcher matcher = { .type = HK_MATCH_EQUAL,
                                  .name = HK_STR("n"),
                                  .value = hk_str_from(text) };
    struct hk_select request = { .matchers = &matcher, .matcher_count = 1 };
    struct hk_exemplar_series *series = NULL;
    struct hk_arena arena;
    uint32_t count = 0;
    hk_arena_init(&arena, 64 << 20);
    hk_err err = hk_exemplars_select(
        hk_store_exemplars(store), &request, 1, wanted->stamp_ms, wanted->stamp_ms, &arena, &series,
        &count);
    bool found =
        err >= 0 && count == 1 && series[0].count == 1 && series[0].items[0].value == wanted->value;
    hk_arena_deinit(&arena);
    return found;
}

static bool check_meta(struct hk_store *store, uint32_t number) {
    struct hk_arena arena;
    hk_arena_init(&arena, 1 << 20);
    struct hk_meta_request request = { .metric = hk_arena_printf(&arena, "m%u", number),
                                       .limit = -1 };
    struct hk_metric_meta *items = NULL;
    uint32_t count = 0;
    hk_err err = hk_meta_list(hk_store_meta(store), &request, &arena, &items, &count);
    bool found = err >= 0 && count == 1 && hk_str_is(items[0].help, "help");
    hk_arena_deinit(&arena);
    return found;
}

/* All that was acked, of all kinds: gives the number that was lost. */
static uint64_t check_all(struct hk_store *store, uint64_t *checked) {
    uint64_t lost = 0;
    for (uint32_t i = 0; i < acked_count; i++)
        lost += !check_sample(store, &acked[i]);
    for (uint32_t i = 0; i < kept_count; i++)
        lost += !check_kept(store, &kept[i]);
    for (uint32_t i = 0; i < meta_count; i++)
        lost += !check_meta(store, metas[i]);
    *checked += (uint64_t)acked_count + kept_count + meta_count;
    return lost;
}

/* Runs until the power goes or the steps are done. */
static void run_until_cut(struct hk_store *store, int64_t start_ms) {
    struct hk_store_shard *shard = hk_store_get_shard(store, 0);
    sim_shard = shard;
    uint32_t steps = 3 + (uint32_t)(hk_test_random() % STEPS_MAX);
    for (uint32_t i = 0; i < steps; i++) {
        if (!step(store, shard, start_ms + (int64_t)i * 1000)) return;
        if (hk_test_random() % 6 != 0) continue;
        hk_store_kick(shard, INT64_MAX / 2); /* long after: the open slab is closed */
        if (hk_store_flush(store, start_ms + (int64_t)i * 1000) < 0) return;
        for (int turn = 0; turn < 4; turn++) { /* the phases of retirement */
            if (hk_store_work(store, start_ms + (int64_t)i * 1000) < 0) return;
        }
    }
}

static uint32_t cuts_wanted(void) {
    const char *text = getenv("HK_SIM_CUTS");
    return text == NULL ? 300 : (uint32_t)strtoul(text, NULL, 10);
}

PROPERTY(power_loss) {
    hk_event_init(&told);
    uint32_t cuts = cuts_wanted();
    uint64_t lost = 0;
    uint64_t checked = 0;
    uint64_t unopened = 0;
    for (uint32_t round = 0; round < cuts; round++) {
        if (round % 8 == 0) { /* a new disk now and then; in between it lives on */
            hk_sim_reset(hk_test_random());
            acked_count = 0;
            kept_count = 0;
            meta_count = 0;
        }
        struct hk_store_report report;
        hk_sim_cut_after(20 + hk_test_random() % 400);
        struct hk_store *store = open_store(&report);
        if (store != NULL) run_until_cut(store, 1000000 + (int64_t)round * 100000);
        hk_store_close(store);
        hk_sim_reboot();
        store = open_store(&report);
        unopened += store == NULL;
        CHECK_INT(report.wal.gaps, 0);
        CHECK_INT(report.metadata.damaged + report.exemplars.damaged, 0);
        if (store != NULL) lost += check_all(store, &checked);
        if (store == NULL) printf("# %s\n", hk_fail_text());
        hk_store_close(store);
    }
    printf(
        "# %u cuts, %" PRIu64 " acked samples and others checked, %" PRIu64 " lost\n", cuts,
        checked, lost);
    CHECK_INT(unopened, 0);
    CHECK_INT(lost, 0);
    CHECK(checked > 0);
    hk_event_deinit(&told);
}

HK_TEST_MAIN()
