/* Goal: alerts live as Prometheus' do, survive a restart, and make each event once. */
#include "alert/alert.h"
#include "hk_test.h"

#define LIT(text)                                                                                  \
    { text, sizeof(text) - 1 }

static const struct hk_label series_a[] = { { LIT("__name__"), LIT("m") },
                                            { LIT("instance"), LIT("a") } };
static const struct hk_label series_b[] = { { LIT("__name__"), LIT("m") },
                                            { LIT("instance"), LIT("b") } };
static const struct hk_labels label_a = { series_a, 2 };
static const struct hk_labels label_b = { series_b, 2 };

/* Events as text: "F a@100 ..." one per line. */
static struct hk_buf events;

static void on_event(void *self, const struct hk_alert_event *event) {
    (void)self;
    hk_buf_printf(
        &events, "%c %.*s at=%lld starts=%lld ends=%lld episode=%lld\n",
        event->resolved ? 'R' : 'F', HK_STR_ARG(hk_labels_get(event->labels, HK_STR("instance"))),
        (long long)event->at_ms, (long long)event->starts_ms, (long long)event->ends_ms,
        (long long)event->episode_ms);
}

static struct hk_alert_rule *make_rule(int64_t for_ms, int64_t keep_ms, uint32_t limit) {
    const struct hk_alert_pair labels[] = { { HK_STR("severity"), HK_STR("page") } };
    const struct hk_alert_pair annotations[] = {
        { HK_STR("summary"), HK_STR("{{ $labels.instance }} is {{ $value }}") }
    };
    struct hk_alert_options options = {
        .name = HK_STR("Up"),
        .group = HK_STR("g"),
        .labels = labels,
        .label_count = 1,
        .annotations = annotations,
        .annotation_count = 1,
        .for_ms = for_ms,
        .keep_firing_ms = keep_ms,
        .limit = limit,
        .sink = { NULL, on_event },
    };
    struct hk_alert_rule *rule = NULL;
    CHECK_INT(hk_alert_rule_create(&options, &rule), HK_OK);
    return rule;
}

static void begin(void) {
    hk_buf_init(&events, 1 << 20);
}

static void check_events(const char *want) {
    CHECK_STR(hk_buf_get(&events), hk_str_from(want));
    hk_buf_clear(&events);
}

TEST(at_once) {
    begin();
    struct hk_alert_rule *rule = make_rule(0, 0, 0);
    CHECK_INT(hk_alert_update(rule, label_a, 7, true, 100), HK_OK);
    check_events("F a at=100 starts=100 ends=0 episode=100\n");
    CHECK_INT(hk_alert_update(rule, label_a, 8, true, 200), HK_OK);
    check_events("");
    CHECK_INT(hk_alert_update(rule, label_a, 0, false, 300), HK_OK);
    check_events("R a at=300 starts=100 ends=300 episode=100\n");
    CHECK_INT(hk_alert_update(rule, label_a, 0, false, 300), HK_OK);
    CHECK_INT(hk_alert_update(rule, label_a, 9, true, 300), HK_OK);
    check_events("F a at=300 starts=300 ends=0 episode=300\n");
    CHECK_INT(hk_alert_update(rule, label_a, 0, false, 300), HK_OK);
    CHECK_INT(hk_alert_update(rule, label_a, 9, true, 300), HK_OK);
    check_events("R a at=300 starts=300 ends=300 episode=300\n"
                 "F a at=300 starts=300 ends=0 episode=301\n");
    hk_alert_rule_destroy(rule);
    hk_buf_deinit(&events);
}

TEST(for_and_keep) {
    begin();
    struct hk_alert_rule *rule = make_rule(1000, 500, 0);
    CHECK_INT(hk_alert_next_ms(rule), INT64_MAX);
    CHECK_INT(hk_alert_update(rule, label_a, 1, true, 100), HK_OK);
    CHECK_INT(hk_alert_rule_state(rule), HK_ALERT_PENDING);
    CHECK_INT(hk_alert_next_ms(rule), 1100);
    hk_alert_tick(rule, 1099);
    check_events("");
    hk_alert_tick(rule, 1150);
    check_events("F a at=1100 starts=1100 ends=0 episode=100\n");
    CHECK_INT(hk_alert_update(rule, label_a, 1, false, 2000), HK_OK);
    CHECK_INT(hk_alert_next_ms(rule), 2500);
    CHECK_INT(hk_alert_update(rule, label_a, 1, true, 2100), HK_OK);
    hk_alert_tick(rule, 2600);
    check_events("");
    CHECK_INT(hk_alert_update(rule, label_a, 1, false, 3000), HK_OK);
    hk_alert_tick(rule, 3500);
    check_events("R a at=3500 starts=1100 ends=3500 episode=100\n");
    CHECK_INT(hk_alert_next_ms(rule), 3500 + HK_ALERT_RESOLVED_KEEP_MS);
    hk_alert_tick(rule, 3500 + HK_ALERT_RESOLVED_KEEP_MS);
    uint32_t cursor = 0;
    CHECK(hk_alert_each(rule, &cursor) == NULL);
    /* Pending and gone again: nobody hears of it. */
    CHECK_INT(hk_alert_update(rule, label_a, 1, true, 2000000), HK_OK);
    CHECK_INT(hk_alert_update(rule, label_a, 1, false, 2000999), HK_OK);
    hk_alert_tick(rule, 3000000);
    check_events("");
    hk_alert_rule_destroy(rule);
    hk_buf_deinit(&events);
}

TEST(limit_and_duplicates) {
    begin();
    struct hk_alert_rule *rule = make_rule(0, 0, 1);
    CHECK_INT(hk_alert_update(rule, label_a, 1, true, 100), HK_OK);
    CHECK_INT(hk_alert_update(rule, label_b, 1, true, 100), HK_E_LIMIT);
    CHECK_INT(hk_alert_update(rule, label_a, 1, false, 200), HK_OK);
    CHECK_INT(hk_alert_update(rule, label_b, 1, true, 200), HK_OK);
    struct hk_alert_counts counts;
    hk_alert_count(rule, &counts);
    CHECK_INT(counts.refused_limit, 1);
    CHECK_INT(counts.firing, 1);
    CHECK_INT(counts.remembered, 1);
    hk_alert_rule_destroy(rule);
    rule = make_rule(0, 0, 0);
    const struct hk_label other[] = { { HK_STR("__name__"), HK_STR("n") },
                                      { HK_STR("instance"), HK_STR("a") } };
    CHECK_INT(hk_alert_update(rule, label_a, 1, true, 100), HK_OK);
    CHECK_INT(hk_alert_update(rule, (struct hk_labels){ other, 2 }, 1, true, 100), HK_E_EXISTS);
    hk_alert_rule_destroy(rule);
    hk_buf_deinit(&events);
}

TEST(sweep) {
    begin();
    struct hk_alert_rule *rule = make_rule(0, 0, 0);
    CHECK_INT(hk_alert_update(rule, label_a, 1, true, 100), HK_OK);
    CHECK_INT(hk_alert_update(rule, label_b, 1, true, 100), HK_OK);
    hk_alert_sweep(rule, 100);
    hk_buf_clear(&events);
    CHECK_INT(hk_alert_update(rule, label_b, 1, true, 200), HK_OK);
    hk_alert_sweep(rule, 200);
    check_events("R a at=200 starts=100 ends=200 episode=100\n");
    hk_alert_rule_destroy(rule);
    hk_buf_deinit(&events);
}

TEST(json) {
    begin();
    struct hk_alert_rule *rule = make_rule(0, 0, 0);
    CHECK_INT(hk_alert_update(rule, label_a, 150, true, 1767323045678), HK_OK);
    struct hk_buf out;
    hk_buf_init(&out, 10000);
    uint32_t cursor = 0;
    bool first = true;
    CHECK(!hk_alert_json_some(rule, &cursor, &first, 10, &out));
    CHECK_STR(
        hk_buf_get(&out),
        HK_STR("{\"labels\":{\"alertname\":\"Up\",\"instance\":\"a\",\"severity\":\"page\"},"
               "\"annotations\":{\"summary\":\"a is 150\"},\"state\":\"firing\","
               "\"activeAt\":\"2026-01-02T03:04:05.678Z\",\"value\":\"1.5e+02\","
               "\"fingerprint\":\"e7fff4f33fdf79f1\"}"));
    hk_buf_deinit(&out);
    hk_alert_rule_destroy(rule);
    hk_buf_deinit(&events);
}

TEST(fingerprints) {
    /* Start value of FNV-1a for no labels, as model.LabelSet{}.Fingerprint() gives. */
    CHECK_INT(hk_fingerprint((struct hk_labels){ NULL, 0 }), (long long)0xcbf29ce484222325ULL);
}

/* Restart in the middle: state is saved, loaded into a new rule and confirmed. */
TEST(restart) {
    begin();
    struct hk_buf saved;
    hk_buf_init(&saved, 1 << 20);
    struct hk_alert_rule *rule = make_rule(1000, 0, 0);
    CHECK_INT(hk_alert_update(rule, label_a, 1, true, 100), HK_OK);
    hk_alert_tick(rule, 1100);
    CHECK_INT(hk_alert_update(rule, label_b, 1, true, 1600), HK_OK);
    hk_buf_clear(&events);
    hk_alert_save(rule, &saved);
    hk_alert_rule_destroy(rule);
    /* Both are still true after two seconds: no second event for a, b waits 1000 ms in all. */
    rule = make_rule(1000, 0, 0);
    CHECK_INT(hk_alert_load(rule, hk_buf_get(&saved)), HK_OK);
    hk_alert_tick(rule, 4000);
    CHECK_INT(hk_alert_update(rule, label_a, 1, true, 4000), HK_OK);
    CHECK_INT(hk_alert_update(rule, label_b, 1, true, 4000), HK_OK);
    check_events("");
    hk_alert_confirm(rule, 2000, 4000);
    CHECK_INT(hk_alert_next_ms(rule), 4600);
    hk_alert_tick(rule, 4600);
    check_events("F b at=4600 starts=4600 ends=0 episode=1600\n");
    hk_alert_rule_destroy(rule);
    /* Neither is true any more: a is resolved, b was never heard of. */
    rule = make_rule(1000, 0, 0);
    CHECK_INT(hk_alert_load(rule, hk_buf_get(&saved)), HK_OK);
    hk_alert_confirm(rule, 2000, 4000);
    check_events("R a at=4000 starts=1100 ends=4000 episode=100\n");
    struct hk_alert_counts counts;
    hk_alert_count(rule, &counts);
    CHECK_INT(counts.pending + counts.firing, 0);
    hk_alert_rule_destroy(rule);
    /* A cut record is found; what came before it stays. */
    rule = make_rule(1000, 0, 0);
    CHECK_INT(hk_alert_load(rule, hk_str_part(hk_buf_get(&saved), 0, saved.len - 1)), HK_E_CORRUPT);
    hk_alert_count(rule, &counts);
    CHECK_INT(counts.pending + counts.firing, 1);
    hk_alert_rule_destroy(rule);
    hk_buf_deinit(&saved);
    hk_buf_deinit(&events);
}

TEST(reload) {
    begin();
    struct hk_alert_rule *old = make_rule(1000, 0, 0);
    struct hk_alert_rule *rule = make_rule(3000, 0, 0);
    CHECK_INT(hk_alert_update(old, label_a, 1, true, 100), HK_OK);
    hk_alert_move(rule, old);
    hk_alert_rule_destroy(old);
    CHECK_INT(hk_alert_next_ms(rule), INT64_MAX);
    CHECK_INT(hk_alert_update(rule, label_a, 1, true, 200), HK_OK);
    hk_alert_confirm(rule, 200, 200);
    CHECK_INT(hk_alert_next_ms(rule), 3100);
    hk_alert_tick(rule, 3100);
    check_events("F a at=3100 starts=3100 ends=0 episode=100\n");
    /* The new rule does not find it any more. */
    struct hk_alert_rule *third = make_rule(3000, 0, 0);
    hk_alert_move(third, rule);
    hk_alert_rule_destroy(rule);
    hk_buf_clear(&events);
    hk_alert_confirm(third, 4000, 4000);
    check_events("R a at=4000 starts=3100 ends=4000 episode=100\n");
    hk_alert_rule_destroy(third);
    hk_buf_deinit(&events);
}

TEST(bad_rules) {
    struct hk_alert_pair pair = { HK_STR("summary"), HK_STR("{{ $x }}") };
    struct hk_alert_options options = { .name = HK_STR("A"),
                                        .annotations = &pair,
                                        .annotation_count = 1 };
    struct hk_alert_rule *rule = NULL;
    CHECK_INT(hk_alert_rule_create(&options, &rule), HK_E_INVALID);
    CHECK_TEXT(
        hk_fail_text(),
        "alert A: annotation \"summary\": template: __alert_A:1:4: undefined variable \"$x\"");
}

/* --- Reference model -------------------------------------------------------------------------- */

/* One alert, evaluated at every millisecond, in the words of Prometheus' rule loop. */
struct model {
    enum hk_alert_state state;
    int64_t active, keep_since, fired;
};

static void model_eval(
    struct model *model, bool truth, int64_t at, int64_t for_ms, int64_t keep_ms, char name,
    struct hk_buf *out) {
    if (truth && model->state == HK_ALERT_INACTIVE) {
        model->state = HK_ALERT_PENDING;
        model->active = at;
    }
    if (truth) model->keep_since = 0;
    if (!truth && model->state == HK_ALERT_PENDING) model->state = HK_ALERT_INACTIVE;
    if (!truth && model->state == HK_ALERT_FIRING) {
        if (keep_ms > 0 && model->keep_since == 0) model->keep_since = at;
        if (keep_ms > 0 && at - model->keep_since < keep_ms) return;
        model->state = HK_ALERT_INACTIVE;
        model->keep_since = 0;
        hk_buf_printf(out, "R %c at=%lld\n", name, (long long)at);
    }
    if (model->state == HK_ALERT_PENDING && at - model->active >= for_ms) {
        model->state = HK_ALERT_FIRING;
        model->fired = at;
        hk_buf_printf(out, "F %c at=%lld\n", name, (long long)at);
    }
}

static void on_event_short(void *self, const struct hk_alert_event *event) {
    hk_buf_printf(
        self, "%c %.*s at=%lld\n", event->resolved ? 'R' : 'F',
        HK_STR_ARG(hk_labels_get(event->labels, HK_STR("instance"))), (long long)event->at_ms);
}

/* Random verdicts; the rule hears only changes and ticks, the model is asked every ms. Saving and
 * loading at random moments must not change anything. */
PROPERTY(like_the_model) {
    for (int round = 0; round < 60; round++) {
        int64_t for_ms = (int64_t)(hk_test_random() % 3) * 20;
        int64_t keep_ms = (int64_t)(hk_test_random() % 3) * 15;
        struct hk_buf got;
        struct hk_buf want;
        struct hk_buf saved;
        hk_buf_init(&got, 1 << 20);
        hk_buf_init(&want, 1 << 20);
        hk_buf_init(&saved, 1 << 20);
        struct hk_alert_options options = { .name = HK_STR("M"),
                                            .for_ms = for_ms,
                                            .keep_firing_ms = keep_ms,
                                            .sink = { &got, on_event_short } };
        struct hk_alert_rule *rule = NULL;
        CHECK_INT(hk_alert_rule_create(&options, &rule), HK_OK);
        struct model models[2] = { 0 };
        bool truth[2] = { false, false };
        const struct hk_labels labels[2] = { label_a, label_b };
        for (int64_t at = 1; at < 1500; at++) {
            for (int i = 0; i < 2; i++) {
                if (hk_test_random() % 16 == 0) {
                    truth[i] = !truth[i];
                    CHECK_INT(hk_alert_update(rule, labels[i], 1, truth[i], at), HK_OK);
                }
            }
            if (hk_test_random() % 4 == 0) hk_alert_tick(rule, at); /* ticks may be late */
            for (int i = 0; i < 2; i++)
                model_eval(&models[i], truth[i], at, for_ms, keep_ms, "ab"[i], &want);
            if (hk_test_random() % 100 == 0) {
                hk_alert_tick(rule, at - 1);
                hk_buf_clear(&saved);
                hk_alert_save(rule, &saved);
                hk_alert_rule_destroy(rule);
                CHECK_INT(hk_alert_rule_create(&options, &rule), HK_OK);
                CHECK_INT(hk_alert_load(rule, hk_buf_get(&saved)), HK_OK);
                for (int i = 0; i < 2; i++) {
                    if (truth[i]) CHECK_INT(hk_alert_update(rule, labels[i], 1, true, at), HK_OK);
                }
                hk_alert_confirm(rule, at, at);
            }
        }
        hk_alert_tick(rule, 1499);
        /* Events of one millisecond may come in another order: compare alert by alert. */
        CHECK_INT(got.len, want.len);
        for (int i = 0; i < 2; i++) {
            char marks[2][4] = { { 'F', ' ', "ab"[i], 0 }, { 'R', ' ', "ab"[i], 0 } };
            struct hk_str texts[2] = { hk_buf_get(&got), hk_buf_get(&want) };
            uint64_t sums[2] = { HK_FNV1A_START, HK_FNV1A_START };
            for (int t = 0; t < 2; t++) {
                for (size_t from = 0; from < texts[t].len;) {
                    size_t end = hk_str_find(texts[t], '\n', from);
                    struct hk_str line = hk_str_part(texts[t], from, end);
                    if (hk_str_starts(line, hk_str_from(marks[0])) ||
                        hk_str_starts(line, hk_str_from(marks[1])))
                        sums[t] = hk_fnv1a(sums[t], line.ptr, line.len);
                    from = end + 1;
                }
            }
            CHECK(sums[0] == sums[1]);
        }
        hk_alert_rule_destroy(rule);
        hk_buf_deinit(&got);
        hk_buf_deinit(&want);
        hk_buf_deinit(&saved);
    }
}

static hk_err live_once(void) {
    struct hk_alert_pair pair = { HK_STR("x"), HK_STR("{{ $value }}") };
    struct hk_alert_options options = { .name = HK_STR("A"), .labels = &pair, .label_count = 1 };
    struct hk_alert_rule *rule = NULL;
    hk_err err = hk_alert_rule_create(&options, &rule);
    if (err >= 0) err = hk_alert_update(rule, label_a, 1, true, 100);
    if (err >= 0) err = hk_alert_update(rule, label_a, 1, false, 200);
    hk_alert_rule_destroy(rule);
    return err;
}

/* Annotations keep what they were when memory is out, so this rule has none. */
TEST(out_of_memory) {
    for (uint64_t n = 1; n < 1000; n++) {
        hk_mem_fail_at(n);
        (void)live_once();
        bool hit = hk_mem_failed();
        hk_mem_fail_at(0);
        CHECK(true);
        if (!hit) break;
    }
}

HK_TEST_MAIN()
