/* Rules and notifications of a shard. */
#include "engine/alerts.h"

#include "base/log.h"
#include "base/mem.h"
#include "engine/engine_internal.h"
#include "engine/rule_checks.h"
#include "os/clock.h"

#include <stdio.h>
#include <string.h>

enum { SAVE_EVERY_MS = 10000, CONFIG_ARENA_MAX = 64 << 20 };

/* ------------------------------------------------------------------ rules' surroundings */

static void on_event(void *self, const struct hk_alert_event *event) {
    const struct hk_rules_home *home = self;
    struct hk_shard *shard = home->shard;
    if (home->retired || shard->alerts.dispatch == NULL) return;
    hk_dispatch_sink(shard->alerts.dispatch, event);
}

void hk_alerts_restore(void *self, const struct hk_alert_event *event) {
    struct hk_shard *shard = self;
    hk_err err = hk_dispatch_restore(shard->alerts.dispatch, event, hk_clock_realtime_ms());
    if (err < 0) hk_log(HK_LOG_ERROR, "alerts: a firing alert was not restored");
}

static hk_err on_put(void *self, struct hk_labels labels, int64_t stamp_ms, double value) {
    const struct hk_rules_home *home = self;
    struct hk_shard *shard = home->shard;
    if (home->retired) return HK_OK;
    struct hk_pass_run run = { .receiver = HK_RECEIVER_RULES };
    uint32_t ref = 0;
    hk_err err = hk_pass_put(&shard->pass, &run, labels, stamp_ms, value, &ref);
    (void)hk_store_publish(shard->pass.shard);
    return err;
}

struct posted {
    struct hk_task task; /* first */
    void (*run)(void *arg);
    void *arg;
};

static void run_posted(struct hk_task *task) {
    struct posted *posted = (struct posted *)task;
    posted->run(posted->arg);
    hk_mem_free(posted);
}

static void on_post(void *self, void (*run)(void *arg), void *arg) {
    const struct hk_rules_home *home = self;
    struct hk_shard *shard = home->shard;
    struct posted *posted = hk_mem_alloc(1, sizeof(*posted));
    if (posted == NULL) {
        hk_log(HK_LOG_ERROR, "rules: a result was lost: out of memory");
        return;
    }
    *posted = (struct posted){ .task.run = run_posted, .run = run, .arg = arg };
    hk_loop_post(shard->loop, &posted->task);
}

static void on_bound_moved(void *self) {
    struct hk_shard *shard = ((struct hk_rules_home *)self)->shard;
    if (shard->alerts.home != self) return; /* being replaced */
    shard->pass.bound = hk_rules_bound(shard->alerts.rules, &shard->pass.bound_count);
}

static void on_save(void *self, uint32_t rule, struct hk_str record) {
    const struct hk_rules_home *home = self;
    struct hk_shard *shard = home->shard;
    if (home->retired) return;
    shard->alerts.changed = true;
    if (hk_store_append_side(shard->pass.shard, HK_SIDE_ALERTS, rule, 0, record) < 0) {
        hk_log(HK_LOG_ERROR, "alerts: a state could not be logged");
    }
}

static void on_series(void *self, uint32_t ref, struct hk_labels labels) {
    struct hk_shard *shard = self;
    hk_rules_series(shard->alerts.rules, ref, labels);
    shard->pass.bound = hk_rules_bound(shard->alerts.rules, &shard->pass.bound_count);
}

static void on_sample(void *self, uint32_t ref, int64_t stamp_ms, double value) {
    struct hk_shard *shard = self;
    hk_rules_sample(shard->alerts.rules, ref, stamp_ms, value);
}

/* ------------------------------------------------------------------ life */

static hk_err open_respond(struct hk_shard *shard) {
    struct hk_alerts *alerts = &shard->alerts;
    struct hk_arena arena;
    struct hk_respond_config respond;
    hk_arena_init(&arena, CONFIG_ARENA_MAX);
    hk_err err = hk_alerts_respond_config(shard->engine, shard->engine->config, &arena, &respond);
    if (err >= 0) err = hk_respond_plan_create(&respond, &alerts->plan);
    if (err >= 0) err = hk_respond_create(&respond, &alerts->respond);
    hk_arena_deinit(&arena);
    HK_TRY(err);
    alerts->transport = hk_warm_transport(shard);
    return hk_dispatch_create(alerts->respond, &alerts->transport, &alerts->dispatch);
}

static hk_err
load_rules(const struct hk_config *config, struct hk_buf *said, struct hk_rule_set **out) {
    struct hk_conf_report report;
    hk_conf_report_init(&report);
    hk_err err = hk_rules_load(config, NULL, hk_engine_rule_checks(), &report, out);
    hk_conf_report_print(&report, said);
    hk_conf_report_deinit(&report);
    return err;
}

static hk_err copy_labels(struct hk_arena *arena, struct hk_labels from, struct hk_labels *out) {
    struct hk_label *items = hk_arena_alloc(arena, (size_t)from.count + 1, sizeof(items[0]));
    if (items == NULL) return HK_E_NOMEM;
    for (uint32_t i = 0; i < from.count; i++) {
        items[i].name = hk_arena_str(arena, from.items[i].name);
        items[i].value = hk_arena_str(arena, from.items[i].value);
        if (items[i].name.ptr == NULL || items[i].value.ptr == NULL) return HK_E_NOMEM;
    }
    *out = (struct hk_labels){ items, from.count };
    return HK_OK;
}

hk_err hk_rules_home_load(
    struct hk_shard *shard, const struct hk_config *config, struct hk_buf *said,
    struct hk_rules_home **out) {
    struct hk_rules_home *home = hk_mem_alloc(1, sizeof(*home));
    if (home == NULL) return HK_E_NOMEM;
    home->shard = shard;
    hk_arena_init(&home->arena, CONFIG_ARENA_MAX);
    hk_err err = copy_labels(&home->arena, config->global.external_labels, &home->external_labels);
    if (err >= 0) err = load_rules(config, said, &home->set);
    if (err < 0) {
        hk_rules_home_destroy(home);
        return err;
    }
    *out = home;
    return HK_OK;
}

hk_err hk_rules_home_open(struct hk_rules_home *home) {
    struct hk_engine *engine = home->shard->engine;
    struct hk_rules_options options = {
        .set = home->set,
        .source = engine->source,
        .directory = hk_store_directory(engine->store),
        .external_labels = home->external_labels,
        .external_url = engine->external_url,
        .sink = { home, on_event },
        .put = on_put,
        .post = on_post,
        .save = on_save,
        .bound_moved = on_bound_moved,
        .self = home,
    };
    return hk_rules_create(&options, &home->rules);
}

void hk_rules_home_destroy(struct hk_rules_home *home) {
    if (home == NULL) return;
    hk_rules_destroy(home->rules);
    hk_rule_set_destroy(home->set);
    hk_arena_deinit(&home->arena);
    hk_mem_free(home);
}

/* A series must outlive the windows of the rules that are judged on arrival. */
static int64_t idle_ms(const struct hk_shard *shard) {
    int64_t wanted_ms = shard->engine->config->series_idle_ms;
    int64_t window_ms = hk_rules_window_ms(shard->alerts.rules);
    return wanted_ms == 0 || wanted_ms > window_ms ? wanted_ms : window_ms;
}

void hk_alerts_apply_idle(struct hk_shard *shard) {
    hk_store_set_idle(shard->engine->store, idle_ms(shard));
}

void hk_alerts_start_rules(struct hk_shard *shard, int64_t down_from_ms, int64_t now_ms) {
    struct hk_alerts *alerts = &shard->alerts;
    hk_fail_clear();
    hk_err err = hk_rules_start(alerts->rules, down_from_ms, now_ms);
    alerts->rules_failed = err < 0;
    if (err < 0) {
        const char *text = hk_fail_text()[0] != 0 ? hk_fail_text() : hk_err_text(err);
        hk_log(HK_LOG_ERROR, "rules do not judge: %s; reload or restart with more memory", text);
    }
    hk_alerts_apply_idle(shard);
    shard->pass.bound = hk_rules_bound(alerts->rules, &shard->pass.bound_count);
}

/* Hands the alert states that recovery found in the log to the rules. */
static void recall(struct hk_shard *shard) {
    struct hk_str rest = hk_buf_get(&shard->recalled);
    uint32_t bytes = 0;
    while (rest.len >= sizeof(bytes)) {
        memcpy(&bytes, rest.ptr, sizeof(bytes));
        rest = hk_str_part(rest, sizeof(bytes), rest.len);
        hk_rules_recall(shard->alerts.rules, hk_str_part(rest, 0, bytes));
        rest = hk_str_part(rest, bytes, rest.len);
    }
    hk_buf_deinit(&shard->recalled);
}

hk_err hk_alerts_open(struct hk_shard *shard) {
    struct hk_alerts *alerts = &shard->alerts;
    struct hk_buf said;
    hk_buf_init(&said, 1 << 20);
    hk_err err = hk_rules_home_load(shard, shard->engine->config, &said, &alerts->home);
    if (said.len > 0) (void)fprintf(stderr, "%.*s", HK_STR_ARG(hk_buf_get(&said)));
    hk_buf_deinit(&said);
    HK_TRY(err);
    HK_TRY(open_respond(shard));
    HK_TRY(hk_rules_home_open(alerts->home));
    alerts->rules = alerts->home->rules;
    recall(shard);
    int64_t now_ms = hk_clock_realtime_ms();
    int64_t down_from_ms = shard->engine->report.last_commit_ms;
    if (down_from_ms == 0 || down_from_ms > now_ms) down_from_ms = now_ms;
    hk_rules_firing(alerts->rules, hk_alerts_restore, shard);
    shard->pass.rules_self = shard;
    shard->pass.series_created = on_series;
    shard->pass.sample = on_sample;
    hk_alerts_start_rules(shard, down_from_ms, now_ms);
    return HK_OK;
}

void hk_alerts_close(struct hk_shard *shard) {
    struct hk_alerts *alerts = &shard->alerts;
    hk_rules_home_destroy(alerts->home);
    hk_dispatch_destroy(alerts->dispatch);
    hk_respond_destroy(alerts->respond);
    hk_respond_plan_destroy(alerts->plan);
    hk_alerts_forget_orphans(shard);
}

void hk_alerts_begin(struct hk_shard *shard, int64_t now_ms) {
    hk_rules_begin(shard->alerts.rules, now_ms);
}

void hk_alerts_commit(struct hk_shard *shard, int64_t now_ms) {
    hk_rules_commit(shard->alerts.rules, now_ms);
}

void hk_alerts_save(struct hk_shard *shard) {
    hk_rules_save_all(shard->alerts.rules);
}

void hk_alerts_tick(struct hk_shard *shard, int64_t now_ms) {
    struct hk_alerts *alerts = &shard->alerts;
    shard->readable_ns = hk_clock_monotonic_ns();
    hk_rules_tick(alerts->rules, now_ms);
    hk_alerts_end_orphans(shard, now_ms);
    if (hk_dispatch_next_ms(alerts->dispatch) <= now_ms) {
        hk_dispatch_tick(alerts->dispatch, now_ms);
    }
    if (now_ms - alerts->saved_ms >= SAVE_EVERY_MS) {
        alerts->saved_ms = now_ms;
        shard->snapshot_due = true;
    }
}
