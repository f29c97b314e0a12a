/* The rule set: creation, priming, samples, timers, documents. */
#include "stream/rules_internal.h"

#include "base/log.h"
#include "base/mem.h"
#include "os/clock.h"
#include "query/json.h"

#include <stdio.h>

enum { ARENA_MAX = 1 << 30, RECORD_BYTES_MAX = 1 << 20 };

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
    uint64_t hash = hk_fnv1a(
        HK_FNV1A_START, saver->rules->states[saver->rule].conf->alert.ptr,
        saver->rules->states[saver->rule].conf->alert.len);
    hk_buf_bytes(&record, &hash, sizeof(hash));
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

static hk_err make_all(struct hk_rules *rules) {
    const struct hk_rule_set *set = rules->options.set;
    rules->states = hk_arena_alloc(&rules->arena, set->rule_count, sizeof(rules->states[0]));
    if (rules->states == NULL) return HK_E_NOMEM;
    for (uint32_t g = 0; g < set->group_count; g++) {
        const struct hk_conf_rule_group *group = &set->groups[g];
        for (uint32_t r = 0; r < group->rules.count; r++) {
            struct hk_rule_state *state = &rules->states[rules->count];
            state->conf = &group->rules.items[r];
            state->group = group;
            HK_TRY(make_rule(rules, rules->count));
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
    rules->free_member = HK_NO_INDEX;
    if (rules->options.lookback_ms == 0) rules->options.lookback_ms = HK_RULE_LOOKBACK_MS;
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
    }
    for (size_t i = 0; i < rules->member_count; i++) {
        hk_mem_free(rules->members[i].stamps_ms);
        hk_mem_free(rules->members[i].values);
    }
    hk_mem_free(rules->members);
    hk_mem_free(rules->groups);
    hk_mem_free(rules->group_slots);
    hk_mem_free(rules->first_member);
    hk_mem_free(rules->bound);
    hk_mem_free(rules->dirty);
    hk_mem_free(rules->heap);
    hk_mem_free(rules->selectors);
    hk_mem_free(rules->by_metric);
    hk_arena_deinit(&rules->arena);
    hk_mem_free(rules);
}

/* ------------------------------------------------------------------ priming */

/* Gives a side the samples that the store has of its window. */
static hk_err prime_side(
    struct hk_rules *rules, uint32_t rule, uint8_t side, int64_t now_ms, struct hk_arena *arena) {
    const struct hk_rule_side *plan = &rules->states[rule].plan.sides[side];
    int64_t window_ms = plan->range_ms > 0 ? plan->range_ms : rules->options.lookback_ms;
    struct hk_select request = {
        .matchers = plan->selector->selector.matchers,
        .matcher_count = plan->selector->selector.matcher_count,
        .from_ms = now_ms - window_ms + 1,
        .to_ms = now_ms,
    };
    const struct hk_source *source = &rules->options.source;
    struct hk_selection selection;
    HK_TRY(source->select(source->self, &request, arena, &selection));
    hk_err err = HK_OK;
    struct hk_arena samples_arena;
    hk_arena_init(&samples_arena, ARENA_MAX);
    for (uint32_t i = 0; i < selection.count && err >= 0; i++) {
        uint32_t ref = hk_directory_find(rules->options.directory, selection.labels[i]);
        struct hk_samples samples;
        hk_arena_reset(&samples_arena);
        err = source->read(source->self, &selection, i, &samples_arena, &samples);
        if (err < 0 || ref >= rules->ref_capacity) continue;
        uint32_t member = rules->first_member[ref] - 1;
        for (; member != HK_NO_INDEX; member = rules->members[member].next_of_ref) {
            struct hk_rule_member *found = &rules->members[member];
            if (found->rule == rule && found->side == side) break;
        }
        for (uint32_t k = 0; member != HK_NO_INDEX && k < samples.count; k++) {
            hk_member_sample(rules, member, samples.stamps_ms[k], samples.values[k]);
        }
    }
    hk_arena_deinit(&samples_arena);
    source->release(source->self, &selection);
    return err;
}

static hk_err prime(struct hk_rules *rules, int64_t now_ms) {
    struct hk_arena arena;
    hk_arena_init(&arena, ARENA_MAX);
    hk_err err = HK_OK;
    for (uint32_t rule = 0; rule < rules->count && err >= 0; rule++) {
        const struct hk_rule_plan *plan = &rules->states[rule].plan;
        for (uint32_t side = 0; plan->on_arrival && side < plan->side_count && err >= 0; side++) {
            err = prime_side(rules, rule, (uint8_t)side, now_ms, &arena);
            hk_arena_reset(&arena);
        }
    }
    hk_arena_deinit(&arena);
    return err;
}

hk_err hk_rules_start(struct hk_rules *rules, int64_t down_from_ms, int64_t now_ms) {
    struct hk_label items[HK_LABELS_MAX];
    uint32_t count = hk_directory_count(rules->options.directory);
    rules->now_ms = now_ms;
    rules->down_from_ms = down_from_ms;
    struct hk_directory_view *view = hk_directory_hold(rules->options.directory);
    hk_err bound = HK_OK;
    for (uint32_t ref = 0; rules->selector_count > 0 && ref < count && bound >= 0; ref++) {
        struct hk_labels labels = hk_view_labels(view, ref, items);
        /* Dead refs have no labels, or belong to nobody. */
        if (labels.count == 0 || hk_directory_is_dead(rules->options.directory, ref)) continue;
        bound = hk_rules_bind(rules, ref, labels, HK_NO_INDEX);
    }
    hk_directory_release(rules->options.directory, view);
    if (bound < 0) return bound;
    HK_TRY(prime(rules, now_ms));
    rules->started = true;
    hk_groups_decide(rules);
    for (uint32_t i = 0; i < rules->count; i++) {
        struct hk_rule_state *state = &rules->states[i];
        if (state->alert != NULL && state->plan.on_arrival) {
            hk_alert_confirm(state->alert, down_from_ms, now_ms);
        }
    }
    return HK_OK;
}

/* ------------------------------------------------------------------ the stream */

void hk_rules_series(struct hk_rules *rules, uint32_t ref, struct hk_labels labels) {
    if (hk_rules_bind(rules, ref, labels, HK_NO_INDEX) < 0) {
        hk_log(HK_LOG_ERROR, "rules: a series could not be bound: out of memory");
    }
}

const uint8_t *hk_rules_bound(const struct hk_rules *rules, uint32_t *out_count) {
    *out_count = (uint32_t)rules->bound_capacity;
    return rules->bound;
}

void hk_rules_begin(struct hk_rules *rules, int64_t now_ms) {
    if (now_ms > rules->now_ms) rules->now_ms = now_ms;
    if (rules->started) hk_member_timers(rules, rules->now_ms, HK_RULE_BEGIN_TIMERS);
}

void hk_rules_sample(struct hk_rules *rules, uint32_t ref, int64_t stamp_ms, double value) {
    uint32_t member = rules->first_member[ref] - 1;
    for (; member != HK_NO_INDEX; member = rules->members[member].next_of_ref) {
        hk_member_sample(rules, member, stamp_ms, value);
    }
}

void hk_rules_commit(struct hk_rules *rules, int64_t now_ms) {
    if (!rules->started) return;
    if (now_ms > rules->now_ms) rules->now_ms = now_ms;
    if (rules->dirty_count > 0) hk_groups_decide(rules);
}

void hk_rules_tick(struct hk_rules *rules, int64_t now_ms) {
    if (!rules->started) return;
    if (now_ms > rules->now_ms) rules->now_ms = now_ms;
    hk_member_timers(rules, rules->now_ms, UINT32_MAX);
    hk_groups_decide(rules);
    for (uint32_t i = 0; i < rules->count; i++) {
        struct hk_alert_rule *alert = rules->states[i].alert;
        if (alert != NULL && hk_alert_next_ms(alert) <= rules->now_ms) {
            hk_alert_tick(alert, rules->now_ms);
        }
    }
    hk_ticks_serve(rules, rules->now_ms);
}

void hk_rules_recall(struct hk_rules *rules, struct hk_str record) {
    uint64_t hash = 0;
    if (record.len < sizeof(hash)) return;
    memcpy(&hash, record.ptr, sizeof(hash));
    for (uint32_t i = 0; i < rules->count; i++) {
        struct hk_rule_state *state = &rules->states[i];
        if (state->alert == NULL) continue;
        uint64_t own = hk_fnv1a(HK_FNV1A_START, state->conf->alert.ptr, state->conf->alert.len);
        if (own != hash) continue;
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
