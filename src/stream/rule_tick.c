/*
 * Ticks: rules that are not kept incrementally, and recording rules, evaluated by the query engine
 * on a worker. The worker reads only what never changes (texts, trees) and the source; results go
 * back to the shard's thread, which alone touches states.
 *
 * Groups with a recording rule run whole, in order, at their interval aligned as Prometheus does.
 * Single alerting rules run every max(50 ms, 20 × their cost).
 */
#include "stream/rules_internal.h"

#include "base/log.h"
#include "base/mem.h"
#include "os/clock.h"
#include "stream/rule_recorded.h"

#include <stdatomic.h>
#include <stdio.h>

enum {
    QUERY_ARENA_MAX = 512 << 20,
    COST_FACTOR = 20,
    ERROR_WAIT_MS = 1000,
    DEFAULT_INTERVAL_MS = 60000,
};

/* The result of one evaluation, on its way back. */
struct outcome {
    struct hk_rules *rules;
    uint32_t rule;
    int64_t at_ms, cost_ns;
    hk_err err;
    char text[256];
    struct hk_arena arena;
    struct hk_query_result result;
    bool last; /* of its job */
    struct hk_rule_job *job;
};

/* ------------------------------------------------------------------ results, on the shard */

struct marker_writer {
    struct hk_rules *rules;
    int64_t at_ms;
};

static void write_marker(void *self, struct hk_labels labels) {
    const struct marker_writer *writer = self;
    struct hk_rules *rules = writer->rules;
    hk_err err = rules->options.put(rules->options.self, labels, writer->at_ms, hk_stale_value());
    if (err < 0) rules->stats.tick_failures++;
}

/* Ends the rule's writing of one evaluation: what it no longer wrote becomes stale. */
static void end_recording(struct hk_rules *rules, struct hk_rule_state *state, int64_t at_ms) {
    struct marker_writer writer = { rules, at_ms };
    if (state->recorded != NULL) hk_rule_recorded_end(state->recorded, write_marker, &writer);
}

static hk_err put_remembered(
    struct hk_rules *rules, struct hk_rule_state *state, struct hk_labels labels, int64_t at_ms,
    double value) {
    if (state->recorded == NULL) state->recorded = hk_rule_recorded_create();
    if (state->recorded == NULL) return HK_E_NOMEM;
    HK_TRY(hk_rule_recorded_add(state->recorded, labels));
    return rules->options.put(rules->options.self, labels, at_ms, value);
}

/* Labels of a recorded series: the rule's own win, the name is the rule's. */
static hk_err put_recorded(
    struct hk_rules *rules, struct hk_rule_state *state, const struct hk_query_series *row,
    int64_t at_ms) {
    struct hk_label_set *set = hk_mem_alloc(1, sizeof(*set));
    if (set == NULL) return HK_E_NOMEM;
    for (uint32_t i = 0; i < row->labels.count; i++) {
        hk_label_set_put(set, row->labels.items[i].name, row->labels.items[i].value);
    }
    hk_label_set_put(set, HK_STR("__name__"), state->conf->record);
    const struct hk_labels *extra[] = { &state->group->labels, &state->conf->labels };
    for (size_t e = 0; e < HK_COUNT(extra); e++) {
        for (uint32_t i = 0; i < extra[e]->count; i++) {
            hk_label_set_put(set, extra[e]->items[i].name, extra[e]->items[i].value);
        }
    }
    struct hk_labels labels;
    hk_err err = hk_label_set_finish(set, &labels);
    bool floats = row->histograms == NULL || row->histograms[0] == NULL;
    if (err >= 0 && floats) {
        err = put_remembered(rules, state, labels, at_ms, row->values[0]);
    }
    hk_mem_free(set);
    return err;
}

static hk_err apply(struct hk_rules *rules, const struct outcome *outcome) {
    struct hk_rule_state *state = &rules->states[outcome->rule];
    const struct hk_query_result *result = &outcome->result;
    struct hk_query_series single = { .values = &result->scalar, .count = 1 };
    const struct hk_query_series *rows = result->series;
    uint32_t count = result->series_count;
    if (result->type == HK_PROMQL_SCALAR) {
        rows = &single;
        count = 1;
    }
    hk_err err = HK_OK;
    for (uint32_t i = 0; i < count && err >= 0; i++) {
        if (state->alert == NULL) {
            err = put_recorded(rules, state, &rows[i], outcome->at_ms);
        } else {
            err = hk_alert_update(
                state->alert, rows[i].labels, rows[i].values[0], true, outcome->at_ms);
        }
    }
    if (state->alert != NULL && err >= 0) {
        hk_alert_sweep(state->alert, outcome->at_ms);
        hk_alert_confirm(state->alert, rules->down_from_ms, outcome->at_ms);
    }
    if (state->alert == NULL && err >= 0) end_recording(rules, state, outcome->at_ms);
    if (state->alert != NULL) hk_rules_note_alert(rules, outcome->rule);
    return err;
}

static void finish(void *arg) {
    struct outcome *outcome = arg;
    struct hk_rules *rules = outcome->rules;
    struct hk_rule_state *state = &rules->states[outcome->rule];
    hk_err err = outcome->err;
    rules->stats.tick_runs++;
    if (outcome->at_ms > rules->now_ms) rules->now_ms = outcome->at_ms;
    if (err >= 0) {
        err = apply(rules, outcome);
        if (err < 0) (void)snprintf(outcome->text, sizeof(outcome->text), "%s", hk_fail_text());
    }
    state->last_error[0] = 0;
    if (err < 0) {
        rules->stats.tick_failures++;
        memcpy(state->last_error, outcome->text, sizeof(state->last_error));
    }
    state->cost_ns = outcome->cost_ns;
    state->evaluated_ms = outcome->at_ms;
    state->running = false;
    if (outcome->last) {
        rules->jobs_out--;
        hk_mem_free(outcome->job);
    }
    hk_arena_deinit(&outcome->arena);
    hk_mem_free(outcome);
}

/* ------------------------------------------------------------------ evaluation, on the worker */

static void evaluate(struct hk_rules *rules, struct hk_rule_job *job, uint32_t rule, bool last) {
    struct outcome *outcome = hk_mem_alloc(1, sizeof(*outcome));
    if (outcome == NULL) return; /* the job stays out: nothing more is asked of a starved worker */
    outcome->rules = rules;
    outcome->rule = rule;
    outcome->at_ms = job->at_ms;
    outcome->last = last;
    outcome->job = job;
    hk_arena_init(&outcome->arena, QUERY_ARENA_MAX);
    struct hk_query_options options = { .lookback_ms = rules->options.lookback_ms,
                                        .cancel = &rules->cancel };
    int64_t start_ns = hk_clock_monotonic_ns();
    hk_fail_clear();
    outcome->err = hk_query_run(
        &rules->options.source, rules->states[rule].promql,
        job->at_ms - rules->states[rule].group->query_offset_ms,
        job->at_ms - rules->states[rule].group->query_offset_ms, 0, &options, &outcome->arena,
        &outcome->result);
    outcome->cost_ns = hk_clock_monotonic_ns() - start_ns;
    if (outcome->err < 0) {
        (void)snprintf(outcome->text, sizeof(outcome->text), "%s", hk_fail_text());
    }
    rules->options.post(rules->options.self, finish, outcome);
}

static void run_job(struct hk_rules *rules, struct hk_rule_job *job) {
    if (job->group == HK_NO_INDEX && job->rule == HK_NO_INDEX) {
        hk_rules_prime_job(rules, job->at_ms);
        hk_mem_free(job);
        return;
    }
    if (job->rule != HK_NO_INDEX) {
        evaluate(rules, job, job->rule, true);
        return;
    }
    const struct hk_conf_rule_group *group = &rules->options.set->groups[job->group];
    uint32_t last = HK_NO_INDEX;
    for (uint32_t i = 0; i < rules->count; i++) {
        if (rules->states[i].group == group && rules->states[i].alert == NULL) last = i;
    }
    for (uint32_t i = 0; i < rules->count; i++) {
        const struct hk_rule_state *state = &rules->states[i];
        if (state->group != group || state->alert != NULL) continue;
        evaluate(rules, job, i, i == last);
    }
}

static void worker_main(void *arg) {
    struct hk_rules *rules = arg;
    while (!atomic_load_explicit(&rules->stop, memory_order_acquire)) {
        hk_mutex_lock(&rules->lock);
        struct hk_rule_job *job = rules->jobs;
        if (job != NULL) rules->jobs = job->next;
        hk_mutex_unlock(&rules->lock);
        if (job == NULL) {
            (void)hk_event_wait(&rules->wake, -1);
            continue;
        }
        run_job(rules, job);
    }
}

static hk_err make_schedules(struct hk_rules *rules) {
    const struct hk_rule_set *set = rules->options.set;
    rules->schedules = hk_arena_alloc(&rules->arena, set->group_count, sizeof(rules->schedules[0]));
    if (rules->schedules == NULL) return HK_E_NOMEM;
    uint32_t rule = 0;
    for (uint32_t i = 0; i < set->group_count; i++) {
        struct hk_rule_schedule *schedule = &rules->schedules[i];
        int64_t interval_ms = set->groups[i].interval_ms;
        *schedule = (struct hk_rule_schedule){
            .interval_ms = interval_ms > 0 ? interval_ms : DEFAULT_INTERVAL_MS,
            .first = rule,
        };
        rule += set->groups[i].rules.count;
        schedule->end = rule;
        for (uint32_t r = schedule->first; r < rule; r++) {
            if (rules->states[r].alert != NULL) continue;
            schedule->records = true;
            schedule->records_last = r;
        }
    }
    return HK_OK;
}

hk_err hk_ticks_open(struct hk_rules *rules) {
    hk_mutex_init(&rules->lock);
    hk_event_init(&rules->wake);
    HK_TRY(make_schedules(rules));
    if (rules->stats.on_tick == 0 && rules->stats.on_arrival == 0) return HK_OK;
    if (hk_thread_start(&rules->worker, "hark-rules", worker_main, rules) < 0) {
        return hk_fail(HK_E_IO, "cannot start the rules' thread");
    }
    return HK_OK;
}

void hk_ticks_close(struct hk_rules *rules) {
    atomic_store_explicit(&rules->stop, true, memory_order_release);
    atomic_store_explicit(&rules->cancel, true, memory_order_release);
    if (rules->worker.running) hk_event_raise(&rules->wake);
    hk_thread_join(&rules->worker);
    while (rules->jobs != NULL) {
        struct hk_rule_job *next = rules->jobs->next;
        hk_mem_free(rules->jobs);
        rules->jobs = next;
    }
    hk_event_deinit(&rules->wake);
    hk_mutex_deinit(&rules->lock);
}

/* ------------------------------------------------------------------ scheduling, on the shard */

bool hk_rules_queue_job(struct hk_rules *rules, uint32_t group, uint32_t rule, int64_t at_ms) {
    struct hk_rule_job *job = hk_mem_alloc(1, sizeof(*job));
    if (job == NULL) return false;
    *job = (struct hk_rule_job){ rules, group, rule, at_ms, NULL };
    hk_mutex_lock(&rules->lock);
    struct hk_rule_job **at = &rules->jobs;
    while (*at != NULL)
        at = &(*at)->next;
    *at = job;
    hk_mutex_unlock(&rules->lock);
    rules->jobs_out++;
    hk_event_raise(&rules->wake);
    return true;
}

static void serve_alert(struct hk_rules *rules, uint32_t index, int64_t now_ms) {
    struct hk_rule_state *state = &rules->states[index];
    if (state->running || now_ms < state->next_ms) return;
    int64_t wait_ms = state->cost_ns / 1000000 * COST_FACTOR;
    if (wait_ms < HK_RULE_TICK_MIN_MS) wait_ms = HK_RULE_TICK_MIN_MS;
    if (state->last_error[0] != 0 && wait_ms < ERROR_WAIT_MS) wait_ms = ERROR_WAIT_MS;
    state->next_ms = now_ms + wait_ms;
    state->running = hk_rules_queue_job(rules, 0, index, now_ms);
}

/* ------------------------------------------------------------------ schedules of groups */

/* Prometheus: a group's evaluations are offset by the hash of its file and name. */
static int64_t
first_after(const struct hk_conf_rule_group *group, int64_t interval_ms, int64_t now_ms) {
    uint64_t hash = hk_fnv1a(HK_FNV1A_START, group->file.ptr, group->file.len);
    hash = hk_fnv1a(hash, group->name.ptr, group->name.len);
    int64_t offset_ms = (int64_t)(hash % (uint64_t)interval_ms);
    int64_t base_ms = now_ms - (now_ms - offset_ms) % interval_ms;
    return base_ms > now_ms ? base_ms : base_ms + interval_ms;
}

/* ALERTS and ALERTS_FOR_STATE of one alert. */
static void write_alert(
    struct hk_rules *rules, struct hk_rule_state *state, const struct hk_alert *alert,
    int64_t at_ms) {
    struct hk_alert_view view;
    hk_alert_get(alert, &view);
    if (view.state == HK_ALERT_INACTIVE) return;
    struct hk_label_set *set = hk_mem_alloc(1, sizeof(*set));
    if (set == NULL) {
        rules->stats.memory_failures++;
        return;
    }
    for (uint32_t i = 0; i < view.labels.count; i++) {
        hk_label_set_put(set, view.labels.items[i].name, view.labels.items[i].value);
    }
    hk_label_set_put(set, HK_STR("__name__"), HK_STR("ALERTS_FOR_STATE"));
    struct hk_labels labels;
    hk_err err = hk_label_set_finish(set, &labels);
    if (err >= 0) {
        err = put_remembered(rules, state, labels, at_ms, (double)(view.active_ms / 1000));
    }
    hk_label_set_put(set, HK_STR("__name__"), HK_STR("ALERTS"));
    hk_label_set_put(set, HK_STR("alertstate"), hk_str_from(hk_alert_state_text(view.state)));
    if (err >= 0) err = hk_label_set_finish(set, &labels);
    if (err >= 0) err = put_remembered(rules, state, labels, at_ms, 1);
    if (err < 0) rules->stats.tick_failures++;
    hk_mem_free(set);
}

static void write_alerts(struct hk_rules *rules, uint32_t index, int64_t at_ms) {
    struct hk_rule_state *state = &rules->states[index];
    uint32_t cursor = 0;
    for (const struct hk_alert *alert = hk_alert_each(state->alert, &cursor); alert != NULL;
         alert = hk_alert_each(state->alert, &cursor)) {
        write_alert(rules, state, alert, at_ms);
    }
    end_recording(rules, state, at_ms);
}

static void serve_group(struct hk_rules *rules, uint32_t index, int64_t now_ms) {
    struct hk_rule_schedule *schedule = &rules->schedules[index];
    const struct hk_conf_rule_group *group = &rules->options.set->groups[index];
    int64_t interval_ms = schedule->interval_ms;
    if (schedule->next_ms == 0) schedule->next_ms = first_after(group, interval_ms, now_ms);
    if (now_ms < schedule->next_ms) return;
    /* Evaluations that were missed are left out. */
    int64_t at_ms = schedule->next_ms + (now_ms - schedule->next_ms) / interval_ms * interval_ms;
    bool running = schedule->records && rules->states[schedule->records_last].running;
    schedule->next_ms = at_ms + interval_ms;
    if (schedule->records && !running) {
        rules->states[schedule->records_last].running =
            hk_rules_queue_job(rules, index, HK_NO_INDEX, at_ms);
    }
    for (uint32_t i = schedule->first; i < schedule->end; i++) {
        if (rules->states[i].alert != NULL) write_alerts(rules, i, at_ms);
    }
}

void hk_ticks_serve(struct hk_rules *rules, int64_t now_ms) {
    for (uint32_t i = 0; i < rules->tick_count; i++)
        serve_alert(rules, rules->tick_rules[i], now_ms);
    if (now_ms < rules->groups_due_ms) return;
    rules->groups_due_ms = INT64_MAX;
    for (uint32_t i = 0; i < rules->options.set->group_count; i++) {
        serve_group(rules, i, now_ms);
        if (rules->schedules[i].next_ms < rules->groups_due_ms) {
            rules->groups_due_ms = rules->schedules[i].next_ms;
        }
    }
}
