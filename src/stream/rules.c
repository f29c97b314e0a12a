/* The rule set: creation, priming, samples, timers, documents. */
#include "stream/rules_internal.h"

#include "base/log.h"
#include "base/mem.h"
#include "os/clock.h"
#include "query/json.h"
#include "stream/rule_recorded.h"

#include <stdio.h>

enum { ARENA_MAX = 1 << 30, RECORD_BYTES_MAX = 1 << 20, BUDGET_MS = 1000 };

enum { FETCH_MEMBERS = 8, FETCH_WINDOWS = 3 }; /* series ahead */

/* Prometheus' extrapolation multiplies an increase by that at most (rule_member.c). */
#define MOST_EXTRAPOLATION 3.2

/* Members that exact evaluations may visit per second: of one rule (about 5 % of a shard, D9), and
 * of all together. */
#define WORK_OF_RULE 5000000U
#define WORK_OF_ALL  25000000U

/* ------------------------------------------------------------------ creation */

struct hk_rule_saver {
    struct hk_rules *rules;
    uint32_t rule;
};

static void alert_changed(void *self, const struct hk_alert *alert, bool gone) {
    const struct hk_rule_saver *saver = self;
    const struct hk_rules_options *options = &saver->rules->options;
    if (options->save == NULL) return;
    struct hk_buf record;
    hk_buf_init(&record, RECORD_BYTES_MAX);
    uint64_t identity = saver->rules->states[saver->rule].identity;
    hk_buf_bytes(&record, &identity, sizeof(identity));
    hk_alert_encode(alert, gone, &record);
    if (record.err >= 0) options->save(options->self, saver->rule, hk_buf_get(&record));
    hk_buf_deinit(&record);
}

static hk_err make_pairs(
    struct hk_rules *rules, struct hk_labels base, struct hk_labels labels,
    struct hk_alert_pair **out, uint32_t *out_count) {
    struct hk_alert_pair *pairs =
        hk_arena_alloc(&rules->arena, (size_t)base.count + labels.count, sizeof(*pairs));
    if (pairs == NULL) return HK_E_NOMEM;
    uint32_t count = 0;
    for (uint32_t i = 0; i < base.count; i++) {
        if (hk_labels_get(labels, base.items[i].name).len > 0) continue; /* the rule's own wins */
        pairs[count++] = (struct hk_alert_pair){ base.items[i].name, base.items[i].value };
    }
    for (uint32_t i = 0; i < labels.count; i++) {
        pairs[count++] = (struct hk_alert_pair){ labels.items[i].name, labels.items[i].value };
    }
    *out = pairs;
    *out_count = count;
    return HK_OK;
}

static uint64_t rule_hash(const struct hk_conf_rule *conf) {
    uint64_t hash = hk_fnv1a(HK_FNV1A_START, conf->alert.ptr, conf->alert.len);
    hash = hk_fnv1a(hash, conf->expr.ptr, conf->expr.len);
    return hk_fnv1a(hash, &conf->for_ms, sizeof(conf->for_ms));
}

static hk_err make_alert(struct hk_rules *rules, uint32_t index) {
    struct hk_rule_state *state = &rules->states[index];
    const struct hk_conf_rule *conf = state->conf;
    struct hk_alert_pair *labels = NULL;
    struct hk_alert_pair *annotations = NULL;
    uint32_t label_count = 0;
    uint32_t annotation_count = 0;
    const struct hk_labels none = { 0 };
    HK_TRY(make_pairs(rules, state->group->labels, conf->labels, &labels, &label_count));
    HK_TRY(make_pairs(rules, none, conf->annotations, &annotations, &annotation_count));
    struct hk_rule_saver *saver = hk_arena_alloc(&rules->arena, 1, sizeof(*saver));
    if (saver == NULL) return HK_E_NOMEM;
    *saver = (struct hk_rule_saver){ rules, index };
    struct hk_alert_options options = {
        .name = conf->alert,
        .group = state->group->name,
        .labels = labels,
        .label_count = label_count,
        .annotations = annotations,
        .annotation_count = annotation_count,
        .for_ms = conf->for_ms,
        .keep_firing_ms = conf->keep_firing_for_ms,
        .limit = (uint32_t)state->group->limit,
        .rule_hash = rule_hash(conf),
        .external_labels = rules->options.external_labels,
        .external_url = rules->options.external_url,
        .sink = rules->options.sink,
        .changed = alert_changed,
        .changed_self = saver,
    };
    return hk_alert_rule_create(&options, &state->alert);
}

static hk_err make_rule(struct hk_rules *rules, uint32_t index) {
    struct hk_rule_state *state = &rules->states[index];
    state->identity = hk_rule_identity(state);
    hk_err err = hk_promql_parse(state->conf->expr, &rules->arena, &state->promql);
    if (err < 0) {
        return hk_fail_note(err, "%.*s:%u", HK_STR_ARG(state->group->file), state->conf->expr_line);
    }
    hk_rule_plan_make(state->promql, &state->plan);
    if (state->conf->alert.len == 0) {
        state->plan.on_arrival = false;
        state->plan.reason = "a recording rule runs at its group's interval";
        rules->stats.on_tick++;
        return HK_OK;
    }
    if (state->plan.on_arrival)
        rules->stats.on_arrival++;
    else
        rules->stats.on_tick++;
    return make_alert(rules, index);
}

/* Has the program no input? */
static bool is_number(const struct hk_rule_program *program) {
    for (uint32_t i = 0; i < program->count; i++) {
        if (program->ops[i].kind == HK_RULE_PUSH_INPUT) return false;
    }
    return true;
}

static bool is_input(const struct hk_rule_program *program) {
    return program->count == 1 && program->ops[0].kind == HK_RULE_PUSH_INPUT;
}

/* The comparison with its sides exchanged. */
static enum hk_promql_op mirrored(enum hk_promql_op op) {
    switch ((int)op) {
    case HK_PROMQL_GT:
        return HK_PROMQL_LT;
    case HK_PROMQL_LT:
        return HK_PROMQL_GT;
    case HK_PROMQL_GE:
        return HK_PROMQL_LE;
    case HK_PROMQL_LE:
        return HK_PROMQL_GE;
    default:
        return op;
    }
}

/* A plain value against a number? Then samples are judged without running programs. */
static void find_threshold(const struct hk_rule_plan *plan, struct hk_rule_hot *hot) {
    if (!hot->solo || !plan->compares) return;
    if (is_input(&plan->left) && is_number(&plan->right)) {
        hot->threshold = hk_rule_run(&plan->right, NULL);
        hot->op = plan->comparison;
    } else if (is_input(&plan->right) && is_number(&plan->left)) {
        hot->threshold = hk_rule_run(&plan->left, NULL);
        hot->op = mirrored(plan->comparison);
    } else {
        return;
    }
    hot->simple = true;
    const struct hk_rule_side *side = &plan->sides[0];
    bool rises = side->range_ms > 0 &&
                 (side->function == HK_PROMQL_FN_rate || side->function == HK_PROMQL_FN_increase);
    bool above = hot->op == HK_PROMQL_GT || hot->op == HK_PROMQL_GE;
    if (!rises || !above || !(hot->threshold > 0)) return;
    double increase = hot->threshold;
    if (side->function == HK_PROMQL_FN_rate) increase *= (double)side->range_ms / 1000;
    hot->rise_screen = increase / MOST_EXTRAPOLATION * (1 - 1e-6);
}

static void make_hot(const struct hk_rule_plan *plan, struct hk_rule_hot *hot) {
    *hot = (struct hk_rule_hot){
        .on_arrival = plan->on_arrival,
        .solo = plan->side_count == 1 && !plan->sides[0].aggregated,
        .settles = plan->side_count > 1,
        .alert_next_ms = INT64_MAX,
    };
    for (uint32_t i = 0; i < plan->side_count; i++) {
        const struct hk_rule_side *side = &plan->sides[i];
        hot->range_ms[i] = side->range_ms;
        if (side->range_ms > 0 && hk_rule_function_varies(side->function)) hot->varies = true;
    }
    find_threshold(plan, hot);
    const struct hk_rule_side *first = &plan->sides[0];
    bool plain = first->range_ms == 0 || first->function == HK_PROMQL_FN_last_over_time;
    hot->keeps_name =
        hot->solo && plain && (is_input(&plan->left) || (plan->compares && is_input(&plan->right)));
}

static hk_err make_all(struct hk_rules *rules) {
    const struct hk_rule_set *set = rules->options.set;
    rules->states = hk_arena_alloc(&rules->arena, set->rule_count, sizeof(rules->states[0]));
    rules->hot = hk_arena_alloc(&rules->arena, set->rule_count, sizeof(rules->hot[0]));
    rules->tick_rules = hk_arena_alloc(&rules->arena, set->rule_count, sizeof(uint32_t));
    if (rules->states == NULL || rules->hot == NULL || rules->tick_rules == NULL) {
        return HK_E_NOMEM;
    }
    for (uint32_t g = 0; g < set->group_count; g++) {
        const struct hk_conf_rule_group *group = &set->groups[g];
        for (uint32_t r = 0; r < group->rules.count; r++) {
            struct hk_rule_state *state = &rules->states[rules->count];
            state->conf = &group->rules.items[r];
            state->group = group;
            HK_TRY(make_rule(rules, rules->count));
            make_hot(&state->plan, &rules->hot[rules->count]);
            state->binds = state->plan.on_arrival;
            if (!state->plan.on_arrival && state->alert != NULL) {
                rules->tick_rules[rules->tick_count++] = rules->count;
            }
            rules->count++;
        }
    }
    rules->stats.rules = rules->count;
    return hk_rules_index(rules);
}

hk_err hk_rules_create(const struct hk_rules_options *options, struct hk_rules **out) {
    struct hk_rules *rules = hk_mem_alloc(1, sizeof(*rules));
    if (rules == NULL) return HK_E_NOMEM;
    rules->options = *options;
    if (rules->options.lookback_ms == 0) rules->options.lookback_ms = HK_RULE_LOOKBACK_MS;
    rules->alerts_due_ms = INT64_MAX;
    hk_arena_init(&rules->arena, ARENA_MAX);
    hk_err err = make_all(rules);
    if (err >= 0) err = hk_ticks_open(rules);
    if (err < 0) {
        hk_rules_destroy(rules);
        return err;
    }
    *out = rules;
    return HK_OK;
}

void hk_rules_destroy(struct hk_rules *rules) {
    if (rules == NULL) return;
    hk_ticks_close(rules);
    for (uint32_t i = 0; rules->states != NULL && i < rules->options.set->rule_count; i++) {
        hk_alert_rule_destroy(rules->states[i].alert);
        hk_promql_release(rules->states[i].promql);
        hk_rule_recorded_destroy(rules->states[i].recorded);
    }
    for (size_t i = 0; i < rules->member_count; i++)
        hk_mem_free(rules->members[i].window);
    hk_mem_free(rules->members);
    hk_groups_free(rules);
    hk_mem_free(rules->dirty_members);
    hk_mem_free(rules->first_member);
    hk_mem_free(rules->bound);
    hk_mem_free(rules->dirty);
    hk_mem_free(rules->heap);
    hk_mem_free(rules->selectors);
    hk_mem_free(rules->by_metric);
    hk_arena_deinit(&rules->arena);
    hk_mem_free(rules);
}

/* ------------------------------------------------------------------ ways */

void hk_rules_leave_arrival(struct hk_rules *rules, uint32_t rule, const char *why) {
    struct hk_rule_state *state = &rules->states[rule];
    if (!rules->hot[rule].on_arrival) return;
    rules->hot[rule].on_arrival = false;
    state->plan.on_arrival = false;
    state->plan.reason = why;
    state->next_ms = rules->now_ms;
    rules->tick_rules[rules->tick_count++] = rule;
    rules->stats.on_arrival--;
    rules->stats.on_tick++;
    hk_log(
        HK_LOG_WARN, "rules: %.*s is judged by ticks from now on: %s",
        HK_STR_ARG(state->conf->alert), why);
}

void hk_rules_bind_failed(struct hk_rules *rules) {
    rules->stats.memory_failures++;
    for (uint32_t i = 0; i < rules->count; i++) {
        hk_rules_leave_arrival(rules, i, "out of memory for its series");
    }
}

/* ------------------------------------------------------------------ the stream */

void hk_rules_series(struct hk_rules *rules, uint32_t ref, struct hk_labels labels) {
    if (hk_rules_bind(rules, ref, labels) < 0) hk_rules_bind_failed(rules);
}

const uint8_t *hk_rules_bound(const struct hk_rules *rules, uint32_t *out_count) {
    *out_count = (uint32_t)rules->bound_capacity;
    return rules->bound;
}

void hk_rules_begin(struct hk_rules *rules, int64_t now_ms) {
    if (now_ms > rules->now_ms) rules->now_ms = now_ms;
    if (rules->started) hk_rule_timers_serve(rules, rules->now_ms, HK_RULE_BEGIN_TIMERS);
}

/* Senders keep the order of series: what the next ones need is fetched while this one is judged. */
static void prefetch(const struct hk_rules *rules, uint32_t ref) {
    if (ref + FETCH_MEMBERS >= rules->ref_capacity) return;
    uint32_t far = rules->first_member[ref + FETCH_MEMBERS];
    if (far != 0) __builtin_prefetch(&rules->members[far - 1]);
    uint32_t near = rules->first_member[ref + FETCH_WINDOWS];
    if (near == 0) return;
    const struct hk_rule_window *window = rules->members[near - 1].window;
    if (window == NULL) return;
    __builtin_prefetch(window);
    __builtin_prefetch(&window->points[0]);
}

void hk_rules_sample(struct hk_rules *rules, uint32_t ref, int64_t stamp_ms, double value) {
    prefetch(rules, ref);
    uint32_t member = rules->first_member[ref] - 1;
    for (; member != HK_NO_INDEX; member = rules->members[member].next_of_ref) {
        hk_member_sample(rules, member, stamp_ms, value);
    }
}

void hk_rules_commit(struct hk_rules *rules, int64_t now_ms) {
    if (!rules->started) return;
    if (now_ms > rules->now_ms) rules->now_ms = now_ms;
    if (rules->dirty_count + rules->dirty_member_count > 0) hk_rules_decide(rules);
}

void hk_rules_note_alert(struct hk_rules *rules, uint32_t rule) {
    struct hk_rule_hot *hot = &rules->hot[rule];
    hot->alert_next_ms = hk_alert_next_ms(rules->states[rule].alert);
    if (hot->alert_next_ms < rules->alerts_due_ms) rules->alerts_due_ms = hot->alert_next_ms;
}

void hk_rules_verdict(
    struct hk_rules *rules, uint32_t rule, struct hk_labels labels, double value, bool active) {
    struct hk_rule_state *state = &rules->states[rule];
    if (state->alert == NULL) return;
    hk_err err = hk_alert_update(state->alert, labels, value, active, rules->now_ms);
    if (err < 0) {
        (void)snprintf(state->last_error, sizeof(state->last_error), "%s", hk_fail_text());
    }
    hk_rules_note_alert(rules, rule);
}

/* `for` and `keep_firing_for` end. */
static void serve_alerts(struct hk_rules *rules) {
    if (rules->now_ms < rules->alerts_due_ms) return;
    rules->alerts_due_ms = INT64_MAX;
    for (uint32_t i = 0; i < rules->count; i++) {
        struct hk_rule_hot *hot = &rules->hot[i];
        if (hot->alert_next_ms <= rules->now_ms) {
            hk_alert_tick(rules->states[i].alert, rules->now_ms);
            hot->alert_next_ms = hk_alert_next_ms(rules->states[i].alert);
        }
        if (hot->alert_next_ms < rules->alerts_due_ms) rules->alerts_due_ms = hot->alert_next_ms;
    }
}

/* Rules whose exact verdicts cost too much go to the tick. */
static void keep_budget(struct hk_rules *rules) {
    int64_t spent_ms = rules->now_ms - rules->budget_ms;
    if (spent_ms < BUDGET_MS) return;
    rules->budget_ms = rules->now_ms;
    uint64_t total = 0;
    uint32_t dearest = 0;
    for (uint32_t i = 0; i < rules->count; i++) {
        total += rules->hot[i].work;
        if (rules->hot[i].work > rules->hot[dearest].work) dearest = i;
    }
    for (uint32_t i = 0; i < rules->count; i++) {
        uint64_t per_second = rules->hot[i].work * 1000 / (uint64_t)spent_ms;
        bool worst = i == dearest && total * 1000 / (uint64_t)spent_ms > WORK_OF_ALL;
        if (per_second > WORK_OF_RULE || worst) {
            hk_rules_leave_arrival(rules, i, "its exact verdicts would cost too much of a shard");
        }
        rules->hot[i].work = 0;
    }
}

void hk_rules_tick(struct hk_rules *rules, int64_t now_ms) {
    if (!rules->started) return;
    if (now_ms > rules->now_ms) rules->now_ms = now_ms;
    hk_rule_timers_serve(rules, rules->now_ms, UINT32_MAX);
    hk_rules_decide(rules);
    serve_alerts(rules);
    hk_ticks_serve(rules, rules->now_ms);
    keep_budget(rules);
}

void hk_rules_recall(struct hk_rules *rules, struct hk_str record) {
    uint64_t hash = 0;
    if (record.len < sizeof(hash)) return;
    memcpy(&hash, record.ptr, sizeof(hash));
    for (uint32_t i = 0; i < rules->count; i++) {
        struct hk_rule_state *state = &rules->states[i];
        if (state->alert == NULL || state->identity != hash) continue;
        if (hk_alert_load(state->alert, hk_str_part(record, sizeof(hash), record.len)) < 0) {
            hk_log(HK_LOG_WARN, "rules: a saved alert could not be read");
        }
    }
}

void hk_rules_firing(
    const struct hk_rules *rules, void (*visit)(void *self, const struct hk_alert_event *event),
    void *self) {
    for (uint32_t i = 0; i < rules->count; i++) {
        const struct hk_rule_state *state = &rules->states[i];
        uint32_t cursor = 0;
        if (state->alert == NULL) continue;
        for (const struct hk_alert *alert = hk_alert_each(state->alert, &cursor); alert != NULL;
             alert = hk_alert_each(state->alert, &cursor)) {
            struct hk_alert_view view;
            hk_alert_get(alert, &view);
            if (view.state != HK_ALERT_FIRING) continue;
            struct hk_alert_event event = {
                .rule = state->conf->alert,
                .group = state->group->name,
                .labels = view.labels,
                .annotations = view.annotations,
                .fingerprint = view.fingerprint,
                .episode_ms = view.episode_ms,
                .active_ms = view.active_ms,
                .starts_ms = view.fired_ms,
                .at_ms = view.fired_ms,
                .value = view.value,
                .rule_hash = rule_hash(state->conf),
            };
            visit(self, &event);
        }
    }
}

void hk_rules_save_all(struct hk_rules *rules) {
    for (uint32_t i = 0; i < rules->count; i++) {
        struct hk_rule_state *state = &rules->states[i];
        if (state->alert == NULL) continue;
        struct hk_rule_saver saver = { rules, i };
        uint32_t cursor = 0;
        for (const struct hk_alert *alert = hk_alert_each(state->alert, &cursor); alert != NULL;
             alert = hk_alert_each(state->alert, &cursor)) {
            alert_changed(&saver, alert, false);
        }
    }
}

/* ------------------------------------------------------------------ documents */

static void labels_json(struct hk_labels base, struct hk_labels own, struct hk_buf *out) {
    struct hk_label items[HK_LABELS_MAX];
    uint32_t count = 0;
    for (uint32_t i = 0; i < base.count && count < HK_LABELS_MAX; i++) {
        if (hk_labels_get(own, base.items[i].name).len == 0) items[count++] = base.items[i];
    }
    for (uint32_t i = 0; i < own.count && count < HK_LABELS_MAX; i++)
        items[count++] = own.items[i];
    hk_labels_json((struct hk_labels){ items, count }, out);
}

static void rule_json(const struct hk_rule_state *state, struct hk_buf *out) {
    const struct hk_conf_rule *conf = state->conf;
    char time[HK_TIME_BYTES_MAX];
    bool alerting = state->alert != NULL;
    hk_buf_text(out, "{\"name\":");
    hk_buf_json(out, alerting ? conf->alert : conf->record);
    hk_buf_text(out, ",\"query\":");
    hk_buf_json(out, conf->expr);
    hk_buf_text(out, ",\"labels\":");
    labels_json(state->group->labels, conf->labels, out);
    if (alerting) {
        hk_buf_text(out, ",\"duration\":");
        hk_buf_double(out, (double)conf->for_ms / 1000);
        hk_buf_text(out, ",\"keepFiringFor\":");
        hk_buf_double(out, (double)conf->keep_firing_for_ms / 1000);
        hk_buf_text(out, ",\"annotations\":");
        hk_labels_json(conf->annotations, out);
        hk_buf_printf(
            out, ",\"state\":\"%s\",\"alerts\":[",
            hk_alert_state_text(hk_alert_rule_state(state->alert)));
        uint32_t cursor = 0;
        bool first = true;
        (void)hk_alert_json_some(state->alert, &cursor, &first, UINT32_MAX, out);
        hk_buf_char(out, ']');
    }
    hk_buf_printf(
        out, ",\"health\":\"%s\",\"evaluationTime\":", state->last_error[0] != 0 ? "err" : "ok");
    hk_buf_double(out, (double)state->cost_ns / 1e9);
    (void)hk_format_time_ms(state->evaluated_ms, time);
    hk_buf_printf(out, ",\"lastEvaluation\":\"%s\"", time);
    if (state->last_error[0] != 0) {
        hk_buf_text(out, ",\"lastError\":");
        hk_buf_json(out, hk_str_from(state->last_error));
    }
    hk_buf_printf(
        out, ",\"type\":\"%s\",\"path\":\"%s\"", alerting ? "alerting" : "recording",
        state->plan.on_arrival ? "arrival" : "tick");
    if (!state->plan.on_arrival) {
        hk_buf_text(out, ",\"pathReason\":");
        hk_buf_json(out, hk_str_from(state->plan.reason));
    }
    hk_buf_char(out, '}');
}

void hk_rules_json(struct hk_rules *rules, struct hk_buf *out) {
    hk_buf_text(out, "{\"groups\":[");
    for (uint32_t i = 0; i < rules->count; i++) {
        const struct hk_rule_state *state = &rules->states[i];
        bool opens = i == 0 || rules->states[i - 1].group != state->group;
        if (opens) {
            hk_buf_text(out, i == 0 ? "{\"name\":" : "]},{\"name\":");
            hk_buf_json(out, state->group->name);
            hk_buf_text(out, ",\"file\":");
            hk_buf_json(out, state->group->file);
            hk_buf_text(out, ",\"interval\":");
            hk_buf_double(out, (double)state->group->interval_ms / 1000);
            hk_buf_printf(out, ",\"limit\":%lld,\"rules\":[", (long long)state->group->limit);
        } else {
            hk_buf_char(out, ',');
        }
        rule_json(state, out);
    }
    hk_buf_text(out, rules->count > 0 ? "]}]}" : "]}");
}

void hk_rules_alerts_json(struct hk_rules *rules, struct hk_buf *out) {
    bool first = true;
    hk_buf_text(out, "{\"alerts\":[");
    for (uint32_t i = 0; i < rules->count; i++) {
        uint32_t cursor = 0;
        if (rules->states[i].alert == NULL) continue;
        (void)hk_alert_json_some(rules->states[i].alert, &cursor, &first, UINT32_MAX, out);
    }
    hk_buf_text(out, "]}");
}

void hk_rules_get_stats(const struct hk_rules *rules, struct hk_rules_stats *out) {
    *out = rules->stats;
}
