/*
 * Goal: on arrival and as time passes, rules say exactly what the query engine says of the same
 * expression at the same moment. Random series, values, gaps, stale markers and late samples.
 */
#include "alert/alert.h"
#include "hk_test.h"
#include "os/file.h"
#include "query/engine.h"
#include "store/store.h"
#include "stream/rules_internal.h"

#include <unistd.h>

enum { METRICS = 4, SERIES = METRICS * 8, STEPS = 300 };

static const char rule_text[] =
    "groups:\n"
    "- name: g\n"
    "  rules:\n"
    "  - {alert: r0, expr: 'm0 > 50'}\n"
    "  - {alert: r1, expr: 'm1 * 2 + 1 >= 100'}\n"
    "  - {alert: r2, expr: 'sum by (a) (m0) > 120'}\n"
    "  - {alert: r3, expr: 'avg(m1) < 45'}\n"
    "  - {alert: r4, expr: 'min by (b) (m0) <= 7'}\n"
    "  - {alert: r5, expr: 'max(m1) != 99'}\n"
    "  - {alert: r6, expr: 'count(m0) > 5'}\n"
    "  - {alert: r7, expr: 'rate(m2[1m]) > 2'}\n"
    "  - {alert: r8, expr: 'sum by (a) (rate(m2[1m])) > 5'}\n"
    "  - {alert: r9, expr: 'increase(m3[5m]) > 300'}\n"
    "  - {alert: r10, expr: 'avg_over_time(m0[1m]) > 50'}\n"
    "  - {alert: r11, expr: 'sum(m0) / sum(m1) > 1.1'}\n"
    "  - {alert: r12, expr: 'sum by (a) (rate(m2[1m])) / sum by (a) (rate(m3[1m])) > 0.9'}\n"
    "  - {alert: r13, expr: 'm1 == 13'}\n"
    "  - {alert: r14, expr: 'delta(m0[2m]) < -20'}\n"
    "  - {alert: r15, expr: 'changes(m1[1m]) > 3'}\n"
    "  - {alert: r16, expr: 'sum without (b) (m0 - 10) > 90'}\n"
    "  - {alert: r17, expr: 'irate(m2[5m]) > 4'}\n"
    "  - {alert: r18, expr: 'max_over_time(m1[30s]) - 10 > 80'}\n"
    "  - {alert: r19, expr: '-m0 < -95'}\n"
    "  - {alert: r20, expr: 'm0{a=~\"[01]\"}'}\n"
    "  - {alert: r21, expr: 'sum(rate(m2{b=\"1\"}[1m])) by (b) > 3'}\n"
    "  - {alert: r22, expr: 'rate(m2[1m]) < 0.5'}\n"
    "  - {alert: r23, expr: 'max by (a) (rate(m2[1m])) > 2'}\n"
    "  - {alert: r24, expr: 'avg(rate(m3[2m])) * 60 > 80'}\n"
    "  - {alert: r25, expr: '100 <= increase(m2[2m])'}\n"
    "  - {alert: r26, expr: 'sum(increase(m3[1m])) - sum(increase(m2[1m])) > 20'}\n"
    "  - {alert: r27, expr: 'rate(m3[1m]) > 0'}\n"
    "  - {alert: r28, expr: 'last_over_time(m0[2m]) > 90'}\n"
    "  - {alert: r29, expr: 'sum(delta(m1[1m])) < 0'}\n"
    "  - {alert: r30, expr: '1 / rate(m2[1m]) > 0.5'}\n"
    "  - {alert: r31, expr: 'min by (b) (increase(m3[5m])) < 200'}\n"
    "  - {alert: r32, expr: 'rate(m2[1m]) > 0.8'}\n"
    "  - {alert: r33, expr: 'rate(m3[1m]) > 20'}\n";

static char directory[64];
static struct hk_store *store;
static struct hk_rules *rules;
static struct hk_rule_set *set;
static uint32_t refs[SERIES];
static double counters[SERIES];
static int64_t clock_ms = 1700000000000;
static uint64_t compared, differences;

static void on_event(void *self, const struct hk_alert_event *event) {
    (void)self;
    (void)event;
}

static hk_err on_put(void *self, struct hk_labels labels, int64_t stamp_ms, double value) {
    (void)self;
    (void)labels;
    (void)stamp_ms;
    (void)value;
    return HK_OK;
}

static int remove_below(void *self, const char *name) {
    char path[512];
    (void)snprintf(path, sizeof(path), "%s/%s", (const char *)self, name);
    if (hk_file_remove(path) == 0) return 0;
    int err = hk_dir_list(path, remove_below, path);
    return err != 0 ? err : rmdir(path);
}

static void set_up(void) {
    struct hk_conf_report report;
    struct hk_store_report store_report;
    (void)snprintf(directory, sizeof(directory), "/tmp/hk-rules-XXXXXX");
    CHECK(mkdtemp(directory) != NULL);
    struct hk_store_options options = { .dir = directory, .shards = 1, .memory_max = 1ULL << 30 };
    CHECK_INT(hk_store_open(&options, &store, &store_report), HK_OK);
    hk_conf_report_init(&report);
    CHECK_INT(hk_rules_parse(HK_STR("r.yml"), hk_str_from(rule_text), NULL, &report, &set), HK_OK);
    hk_conf_report_deinit(&report);
    struct hk_rules_options rule_options = {
        .set = set,
        .source = hk_store_source(store),
        .directory = hk_store_directory(store),
        .sink = { NULL, on_event },
        .put = on_put,
    };
    CHECK_INT(hk_rules_create(&rule_options, &rules), HK_OK);
    struct hk_rules_stats stats;
    hk_rules_get_stats(rules, &stats);
    CHECK_INT(stats.on_arrival, stats.rules);
    CHECK_INT(hk_rules_start(rules, clock_ms, clock_ms), HK_OK);
}

static void tear_down(void) {
    hk_rules_destroy(rules);
    hk_rule_set_destroy(set);
    hk_store_close(store);
    CHECK_INT(hk_dir_list(directory, remove_below, directory), 0);
    CHECK_INT(rmdir(directory), 0);
}

static uint32_t ref_of(uint32_t series) {
    char metric[16];
    char a[16];
    char b[16];
    (void)snprintf(metric, sizeof(metric), "m%u", series % METRICS);
    (void)snprintf(a, sizeof(a), "%u", series / METRICS % 4);
    (void)snprintf(b, sizeof(b), "%u", series / METRICS / 4);
    struct hk_label items[] = {
        { HK_STR("__name__"), hk_str_from(metric) },
        { HK_STR("a"), hk_str_from(a) },
        { HK_STR("b"), hk_str_from(b) },
    };
    struct hk_labels labels = { items, 3 };
    uint32_t ref = HK_REF_NONE;
    bool created = false;
    CHECK_INT(hk_directory_intern(hk_store_directory(store), labels, &ref, &created), HK_OK);
    if (created) hk_rules_series(rules, ref, labels);
    return ref;
}

static double next_value(uint32_t series) {
    uint64_t kind = hk_test_random() % 40;
    if (kind == 0) return hk_stale_value();
    if (series % METRICS < 2) return (double)(hk_test_random() % 100);
    if (kind == 1) counters[series] = 0; /* reset */
    counters[series] += (double)(hk_test_random() % 60);
    return counters[series];
}

static void put(uint32_t series, int64_t stamp_ms) {
    double value = next_value(series);
    uint32_t count = 0;
    struct hk_store_shard *shard = hk_store_get_shard(store, 0);
    refs[series] = ref_of(series);
    CHECK_INT(hk_store_append(shard, refs[series], stamp_ms, value), HK_OK);
    const uint8_t *bound = hk_rules_bound(rules, &count);
    if (refs[series] < count && bound[refs[series]] != 0) {
        hk_rules_sample(rules, refs[series], stamp_ms, value);
    }
}

/* Does the rule have an active alert for these labels of a result? */
static bool is_active(struct hk_alert_rule *alert, struct hk_labels labels) {
    uint32_t cursor = 0;
    for (const struct hk_alert *at = hk_alert_each(alert, &cursor); at != NULL;
         at = hk_alert_each(alert, &cursor)) {
        struct hk_alert_view view;
        hk_alert_get(at, &view);
        if (view.state == HK_ALERT_INACTIVE) continue;
        if (hk_labels_cmp(view.series, labels) == 0) return true;
    }
    return false;
}

static void compare(uint32_t rule, int64_t at_ms) {
    struct hk_arena arena;
    struct hk_query_options options = { 0 };
    struct hk_query_result result;
    struct hk_alert_counts counts;
    struct hk_source source = hk_store_source(store);
    const struct hk_rule_state *state = &rules->states[rule];
    hk_arena_init(&arena, 64 << 20);
    CHECK_INT(
        hk_query_run(&source, state->promql, at_ms, at_ms, 0, &options, &arena, &result), HK_OK);
    hk_alert_count(state->alert, &counts);
    bool same = counts.firing == result.series_count;
    for (uint32_t i = 0; same && i < result.series_count; i++) {
        same = is_active(state->alert, result.series[i].labels);
    }
    compared++;
    if (!same && differences++ < 5) {
        printf(
            "# %.*s at %lld: engine %u, on arrival %u\n", HK_STR_ARG(state->conf->expr),
            (long long)at_ms, result.series_count, counts.firing);
    }
    hk_arena_deinit(&arena);
}

/* How far time moves on between requests: mostly little, now and then beyond the lookback. */
static int64_t pause_ms(void) {
    uint64_t kind = hk_test_random() % 20;
    if (kind == 0) return 250000 + (int64_t)(hk_test_random() % 100000);
    if (kind < 4) return 1000 + (int64_t)(hk_test_random() % 40000);
    return 1 + (int64_t)(hk_test_random() % 3000);
}

PROPERTY(agrees_with_the_engine) {
    set_up();
    for (uint32_t step = 0; step < STEPS; step++) {
        clock_ms += pause_ms();
        hk_rules_tick(rules, clock_ms);
        hk_rules_begin(rules, clock_ms);
        uint32_t count = 1 + (uint32_t)(hk_test_random() % 12);
        bool late = hk_test_random() % 10 == 0;
        for (uint32_t i = 0; i < count; i++) {
            int64_t back_ms = late ? (int64_t)(hk_test_random() % 90000) : 0;
            if (hk_test_random() % 50 == 0) back_ms = -(int64_t)(hk_test_random() % 9000);
            put((uint32_t)(hk_test_random() % SERIES), clock_ms - back_ms);
        }
        (void)hk_store_publish(hk_store_get_shard(store, 0));
        hk_rules_commit(rules, clock_ms);
        for (uint32_t rule = 0; rule < rules->count; rule++) {
            if (rules->states[rule].plan.side_count == 1) compare(rule, clock_ms);
        }
        for (uint32_t i = 0; i < 3; i++) { /* time alone changes verdicts too */
            clock_ms += 50;
            hk_rules_tick(rules, clock_ms);
            for (uint32_t rule = 0; rule < rules->count; rule++) {
                if (rules->states[rule].plan.side_count == 1) compare(rule, clock_ms);
            }
        }
        clock_ms += 150; /* sides have settled */
        hk_rules_tick(rules, clock_ms);
        for (uint32_t rule = 0; rule < rules->count; rule++)
            compare(rule, clock_ms);
    }
    struct hk_rules_stats stats;
    hk_rules_get_stats(rules, &stats);
    printf(
        "# %" PRIu64 " comparisons, %" PRIu64 " transitions, %" PRIu64 " different\n", compared,
        stats.transitions, differences);
    CHECK(stats.transitions > 100);
    CHECK_INT(differences, 0);
    tear_down();
}

HK_TEST_MAIN()
