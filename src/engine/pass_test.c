/*
 * Goal: a body that is taken in turns of any size, with other bodies in between, leaves the same
 * samples, results and ledger as one that is taken at once; before its commit nothing of it can be
 * seen; and the ledger balances after every outcome.
 */
#include "engine/pass.h"

#include "base/mem.h"
#include "hk_otlp_build.h"
#include "hk_test.h"
#include "ingest/otlp.h"
#include "os/file.h"

#include <unistd.h>

enum { SERIES_MAX = 100000, SAMPLES_MAX = 200000 };

static const int64_t stamp_ms = 1700000000123;
static const enum hk_ledger_receiver ours = HK_RECEIVER_REMOTE_WRITE;
static const enum hk_ledger_receiver others = HK_RECEIVER_SCRAPE;

/* A store with a pass, and what its rules were shown. */
struct site {
    char directory[64];
    struct hk_store *store;
    struct hk_ledger ledger;
    struct hk_pass pass;
    struct hk_arena arena;
    struct hk_stage stage;
    struct hk_rw1 rw1;
    struct hk_otlp otlp;
    struct hk_pass_guess guess;
    struct hk_key_predictor predictor;
    struct hk_pass_cursor cursor;
    bool counts;                 /* samples are noted */
    uint64_t series[SERIES_MAX]; /* hash of the labels */
    struct noted {
        uint64_t series;
        int64_t stamp_ms;
        double value;
    } samples[SAMPLES_MAX];
    size_t count;
};

static uint8_t all_bound[SERIES_MAX];

static int remove_below(void *self, const char *name) {
    char path[512];
    (void)snprintf(path, sizeof(path), "%s/%s", (const char *)self, name);
    if (hk_file_remove(path) == 0) return 0;
    int err = hk_dir_list(path, remove_below, path);
    return err != 0 ? err : rmdir(path);
}

static void on_series(void *self, uint32_t ref, struct hk_labels labels) {
    struct site *site = self;
    if (ref < SERIES_MAX) site->series[ref] = hk_labels_hash(labels).low;
}

static void on_sample(void *self, uint32_t ref, int64_t at_ms, double value) {
    struct site *site = self;
    if (!site->counts || site->count == SAMPLES_MAX) return;
    site->samples[site->count++] = (struct noted){ site->series[ref], at_ms, value };
}

static struct site *open_site(void) {
    struct site *site = hk_mem_alloc(1, sizeof(*site));
    struct hk_store_report report;
    if (site == NULL) abort();
    (void)snprintf(site->directory, sizeof(site->directory), "/tmp/hk-pass-XXXXXX");
    CHECK(mkdtemp(site->directory) != NULL);
    struct hk_store_options options = { .dir = site->directory,
                                        .shards = 1,
                                        .memory_max = 1ULL << 30 };
    CHECK_INT(hk_store_open(&options, &site->store, &report), HK_OK);
    CHECK_INT(hk_pass_init(&site->pass, site->store, 0, &site->ledger, 1ULL << 28), HK_OK);
    hk_arena_init(&site->arena, 1 << 28);
    hk_ident_cursor_init(&site->cursor.order);
    site->cursor.at = HK_REF_NONE;
    site->pass.rules_self = site;
    site->pass.series_created = on_series;
    site->pass.sample = on_sample;
    memset(all_bound, 1, sizeof(all_bound));
    site->pass.bound = all_bound;
    site->pass.bound_count = SERIES_MAX;
    return site;
}

static void close_site(struct site *site) {
    hk_pass_deinit(&site->pass);
    hk_store_close(site->store);
    hk_arena_deinit(&site->arena);
    hk_mem_free(site->stage.entries);
    CHECK_INT(hk_dir_list(site->directory, remove_below, site->directory), 0);
    CHECK_INT(rmdir(site->directory), 0);
    hk_mem_free(site);
}

static void check_ledger(const struct site *site) {
    for (size_t i = 0; i < HK_LEDGER_RECEIVER_COUNT; i++) {
        const struct hk_ledger_account *account = &site->ledger.accounts[i];
        uint64_t sum = account->appended;
        for (size_t k = 0; k < HK_LEDGER_REASON_COUNT; k++)
            sum += account->dropped[k];
        CHECK_INT(account->received, sum);
    }
}

/* ------------------------------------------------------------------ bodies */

static void put_label(struct hk_buf *to, const char *name, const char *value) {
    const size_t label = hk_proto_begin(to, 1);
    hk_proto_put_str(to, 1, hk_str_from(name));
    hk_proto_put_str(to, 2, hk_str_from(value));
    hk_proto_end(to, label);
}

static void put_sample(struct hk_buf *to, double value, int64_t at_ms) {
    const size_t sample = hk_proto_begin(to, 2);
    hk_proto_put_double(to, 1, value);
    hk_proto_put_varint(to, 2, (uint64_t)at_ms);
    hk_proto_end(to, sample);
}

/* `count` series; some without labels or name, some with several samples. */
static void write_body(struct hk_buf *to, unsigned count, bool faults, int64_t at_ms) {
    for (unsigned i = 0; i < count; i++) {
        char text[32];
        unsigned kind = faults ? (unsigned)(hk_test_random() % 16) : 15;
        const size_t series = hk_proto_begin(to, 1);
        (void)snprintf(text, sizeof(text), "series_%u", i);
        if (kind != 0) put_label(to, kind == 1 ? "unnamed" : "__name__", text);
        if (kind != 0) put_label(to, "job", "node");
        for (unsigned k = 0; k < (kind == 2 ? 5 : 1); k++)
            put_sample(to, (double)i + 0.5, at_ms + (int64_t)k);
        hk_proto_end(to, series);
    }
}

static struct hk_str otlp_body(unsigned points) {
    o_reset();
    o_resource("shop", "eu");
    o_metric("requests", "", "1", 7);
    for (unsigned i = 0; i < points; i++) {
        char host[16];
        (void)snprintf(host, sizeof(host), "h%u", (unsigned)(hk_test_random() % 300));
        o_number((double)(i % 7), host, (int64_t)(i % 3));
    }
    o_metric_end((unsigned)(hk_test_random() % 2) + 1, true);
    o_end();
    o_end();
    return hk_buf_get(&o.buf);
}

/* ------------------------------------------------------------------ ways of taking */

static struct hk_pass_run begin_rw(struct site *site, struct hk_str body) {
    hk_arena_reset(&site->arena);
    hk_rw1_init(&site->rw1, body, (struct hk_hash128){ 1, 2 });
    site->guess = (struct hk_pass_guess){
        .pass = &site->pass,
        .cursor = &site->cursor,
        .context = &site->rw1.context,
        .rw1 = &site->rw1,
    };
    site->predictor = (struct hk_key_predictor){ &site->guess, hk_pass_predict };
    site->rw1.predictor = &site->predictor;
    return (struct hk_pass_run){
        .receiver = ours,
        .parser = &hk_parser_remote_write_1,
        .state = &site->rw1,
        .arena = &site->arena,
        .cursor = &site->cursor,
    };
}

static struct hk_pass_run begin_otlp(struct site *site, struct hk_str body) {
    static const struct hk_otlp_options plain;
    hk_arena_reset(&site->arena);
    hk_otlp_init(&site->otlp, body, (struct hk_hash128){ 1, 2 }, &plain, NULL);
    return (struct hk_pass_run){
        .receiver = ours,
        .parser = &hk_parser_otlp,
        .state = &site->otlp,
        .arena = &site->arena,
        .cursor = &site->cursor,
    };
}

typedef struct hk_pass_run begin_run(struct site *site, struct hk_str body);

/* A body of another connection, taken at once between two turns. */
static void interfere(struct site *site) {
    static struct hk_rw1 rw1;
    struct hk_buf body;
    struct hk_arena arena;
    hk_buf_init(&body, 1 << 20);
    hk_arena_init(&arena, 1 << 20);
    for (unsigned i = 0; i < 3; i++) {
        char text[32];
        const size_t series = hk_proto_begin(&body, 1);
        (void)snprintf(text, sizeof(text), "other_%u", (unsigned)(hk_test_random() % 64));
        put_label(&body, "__name__", text);
        put_sample(&body, i, stamp_ms);
        hk_proto_end(&body, series);
    }
    hk_rw1_init(&rw1, hk_buf_get(&body), (struct hk_hash128){ 3, 4 });
    struct hk_pass_run run = {
        .receiver = others,
        .parser = &hk_parser_remote_write_1,
        .state = &rw1,
        .arena = &arena,
        .cursor = &site->pass.cursors[7],
    };
    bool counted = site->counts;
    site->counts = false;
    CHECK_INT(hk_pass_run(&site->pass, &run), HK_OK);
    site->counts = counted;
    hk_buf_deinit(&body);
    hk_arena_deinit(&arena);
}

static hk_err take_in_turns(struct site *site, struct hk_pass_run *run) {
    uint64_t before = site->ledger.accounts[ours].received;
    size_t shown = site->count;
    run->stage = &site->stage;
    hk_pass_begin(run);
    hk_err err = HK_FULL;
    while (err == HK_FULL) {
        run->room = 1 + (uint32_t)(hk_test_random() % HK_BATCH_ENTRIES_MAX);
        if (run->room < 4) run->room = 4; /* a histogram's sum and count stand together */
        err = hk_pass_step(&site->pass, run);
        CHECK_INT(site->ledger.accounts[ours].received, before);
        CHECK_INT(site->count, shown);
        if (hk_test_random() % 2 == 0) interfere(site);
    }
    hk_err committed = hk_pass_commit(&site->pass, run);
    return err < 0 ? err : committed;
}

static void compare(const struct site *whole, const struct site *turns) {
    CHECK_INT(turns->count, whole->count);
    size_t count = turns->count < whole->count ? turns->count : whole->count;
    CHECK(memcmp(turns->samples, whole->samples, count * sizeof(whole->samples[0])) == 0);
    const struct hk_ledger_account *a = &whole->ledger.accounts[ours];
    const struct hk_ledger_account *b = &turns->ledger.accounts[ours];
    CHECK_INT(b->received, a->received);
    CHECK_INT(b->appended, a->appended);
    for (size_t i = 0; i < HK_LEDGER_REASON_COUNT; i++)
        CHECK_INT(b->dropped[i], a->dropped[i]);
    check_ledger(whole);
    check_ledger(turns);
}

/* The same body at two sites, at once and in turns. */
static void
take_both(struct site *whole, struct site *turns, begin_run *begin, struct hk_str body) {
    whole->counts = turns->counts = true;
    struct hk_pass_run a = begin(whole, body);
    hk_err first = hk_pass_run(&whole->pass, &a);
    struct hk_pass_run b = begin(turns, body);
    hk_err second = take_in_turns(turns, &b);
    CHECK_INT(second, first);
    CHECK_INT(b.points, a.points);
    CHECK_INT(b.stored, a.stored);
    CHECK_INT(b.rejected, a.rejected);
    CHECK_INT(b.series_added, a.series_added);
    CHECK_INT(b.refused_memory, a.refused_memory);
    /* Of several faults the first may be told, and parser and pass see them in batches. */
    CHECK_INT(b.text[0] != 0, a.text[0] != 0);
    if (first < 0) CHECK_TEXT(b.text, a.text);
    (void)hk_store_publish(whole->pass.shard);
    (void)hk_store_publish(turns->pass.shard);
    compare(whole, turns);
}

/* ------------------------------------------------------------------ tests */

PROPERTY(turns_of_any_size_give_the_same) {
    struct site *whole = open_site();
    struct site *turns = open_site();
    struct hk_buf body;
    hk_buf_init(&body, 1 << 26);
    for (unsigned round = 0; round < 12; round++) {
        hk_buf_clear(&body);
        bool faults = round % 3 == 2;
        write_body(&body, (unsigned)(hk_test_random() % 3000), faults, stamp_ms + round * 1000);
        take_both(whole, turns, begin_rw, hk_buf_get(&body));
        take_both(whole, turns, begin_otlp, otlp_body((unsigned)(hk_test_random() % 1500)));
    }
    CHECK(whole->count > 0);
    hk_buf_deinit(&body);
    close_site(whole);
    close_site(turns);
}

PROPERTY(a_body_that_breaks_off_gives_the_same) {
    struct site *whole = open_site();
    struct site *turns = open_site();
    struct hk_buf body;
    hk_buf_init(&body, 1 << 26);
    for (unsigned round = 0; round < 20; round++) {
        hk_buf_clear(&body);
        write_body(&body, 900, round % 2 == 1, stamp_ms + round * 1000);
        size_t cut = hk_test_random() % (body.len + 1);
        take_both(whole, turns, begin_rw, hk_str_part(hk_buf_get(&body), 0, cut));
    }
    CHECK(whole->count > 0);
    hk_buf_deinit(&body);
    close_site(whole);
    close_site(turns);
}

TEST(a_huge_body_is_committed_in_parts) {
    struct site *site = open_site();
    struct hk_buf body;
    hk_buf_init(&body, 1 << 26);
    const size_t series = hk_proto_begin(&body, 1);
    put_label(&body, "__name__", "many");
    for (unsigned i = 0; i < HK_STAGE_ENTRIES_MAX * 2 + 100; i++)
        put_sample(&body, i, stamp_ms + i);
    hk_proto_end(&body, series);
    struct hk_pass_run run = begin_rw(site, hk_buf_get(&body));
    run.stage = &site->stage;
    hk_pass_begin(&run);
    unsigned parts = 0;
    hk_err err = HK_FULL;
    while (err == HK_FULL) {
        if (hk_pass_stage_full(&site->stage)) {
            CHECK_INT(hk_pass_commit(&site->pass, &run), HK_OK);
            parts++;
        }
        err = hk_pass_step(&site->pass, &run);
        CHECK(site->stage.count <= HK_STAGE_ENTRIES_MAX);
    }
    CHECK_INT(err, HK_OK);
    CHECK_INT(hk_pass_commit(&site->pass, &run), HK_OK);
    CHECK_INT(parts, 2);
    CHECK_INT(run.stored, HK_STAGE_ENTRIES_MAX * 2 + 100);
    CHECK_INT(site->ledger.accounts[ours].appended, HK_STAGE_ENTRIES_MAX * 2 + 100);
    check_ledger(site);
    hk_buf_deinit(&body);
    close_site(site);
}

TEST(turns_are_short_while_series_are_new) {
    struct site *site = open_site();
    struct hk_buf body;
    hk_buf_init(&body, 1 << 26);
    write_body(&body, 2000, false, stamp_ms);
    uint32_t turns[2] = { 0, 0 };
    for (unsigned round = 0; round < 2; round++) {
        struct hk_pass_run run = begin_rw(site, hk_buf_get(&body));
        run.stage = &site->stage;
        hk_pass_begin(&run);
        hk_err err = HK_FULL;
        while (err == HK_FULL) {
            uint64_t before = run.series_added;
            err = hk_pass_step(&site->pass, &run);
            CHECK(run.series_added - before <= HK_STEP_ENTRIES_MIN);
            turns[round]++;
        }
        CHECK_INT(hk_pass_commit(&site->pass, &run), HK_OK);
        CHECK_INT(run.stored, 2000);
    }
    CHECK(turns[0] >= 2000 / HK_STEP_ENTRIES_MIN);
    CHECK(turns[1] < 10);
    hk_buf_deinit(&body);
    close_site(site);
}

static hk_err take_small(struct site *site, struct hk_str body) {
    struct hk_pass_run run = begin_rw(site, body);
    hk_err err = take_in_turns(site, &run);
    check_ledger(site);
    if (err >= 0 && run.refused_memory) return HK_E_NOMEM;
    return err;
}

TEST(out_of_memory_keeps_the_balance) {
    struct hk_buf body;
    struct site *site = open_site();
    hk_buf_init(&body, 1 << 20);
    for (uint64_t n = 1; n < 200; n++) {
        hk_buf_clear(&body);
        write_body(&body, 40, false, stamp_ms + (int64_t)n);
        hk_mem_free(site->stage.entries);
        site->stage = (struct hk_stage){ 0 };
        hk_mem_fail_at(n);
        (void)!take_small(site, hk_buf_get(&body));
        bool failed = hk_mem_failed();
        hk_mem_fail_at(0);
        if (!failed) break;
    }
    hk_buf_deinit(&body);
    close_site(site);
}

HK_TEST_MAIN()
