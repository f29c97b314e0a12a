/*
 * Rules and receivers of another configuration take the place of those that run. Alerts of rules
 * that stay (same group, name and labels) go over with their state, told is told. Rules that are
 * gone take no leave: as with Prometheus, which stops repeating such alerts, they end when the time
 * is over that Prometheus gives an alert that is not repeated (rules/manager.go: ValidUntil = four
 * times the interval or the resend delay of a minute).
 */
#include "base/log.h"
#include "base/mem.h"
#include "engine/engine_internal.h"
#include "os/clock.h"

enum { RESEND_DELAY_MS = 60000, VALID_TIMES = 4, CONFIG_ARENA_MAX = 64 << 20 };

/* ------------------------------------------------------------------ the same as before? */

static bool same_labels(struct hk_labels left, struct hk_labels right) {
    return hk_labels_cmp(left, right) == 0;
}

static bool same_rule(const struct hk_conf_rule *left, const struct hk_conf_rule *right) {
    return hk_str_eq(left->record, right->record) && hk_str_eq(left->alert, right->alert) &&
           hk_str_eq(left->expr, right->expr) && left->for_ms == right->for_ms &&
           left->keep_firing_for_ms == right->keep_firing_for_ms &&
           same_labels(left->labels, right->labels) &&
           same_labels(left->annotations, right->annotations);
}

static bool
same_group(const struct hk_conf_rule_group *left, const struct hk_conf_rule_group *right) {
    bool same = hk_str_eq(left->name, right->name) && hk_str_eq(left->file, right->file) &&
                left->interval_ms == right->interval_ms &&
                left->query_offset_ms == right->query_offset_ms && left->limit == right->limit &&
                same_labels(left->labels, right->labels) && left->rules.count == right->rules.count;
    for (uint32_t i = 0; i < left->rules.count && same; i++)
        same = same_rule(&left->rules.items[i], &right->rules.items[i]);
    return same;
}

static bool same_home(const struct hk_rules_home *left, const struct hk_rules_home *right) {
    bool same = left->set->group_count == right->set->group_count &&
                same_labels(left->external_labels, right->external_labels);
    for (uint32_t i = 0; i < left->set->group_count && same; i++)
        same = same_group(&left->set->groups[i], &right->set->groups[i]);
    return same;
}

/* ------------------------------------------------------------------ making */

static hk_err prepare_respond(
    struct hk_shard *shard, const struct hk_config *config, struct hk_alerts_next *out) {
    struct hk_arena arena;
    struct hk_respond_config respond;
    hk_arena_init(&arena, CONFIG_ARENA_MAX);
    hk_err err = hk_alerts_respond_config(shard->engine, config, &arena, &respond);
    if (err >= 0) err = hk_respond_plan_create(&respond, &out->plan);
    if (err >= 0) err = hk_respond_plan_create(&respond, &out->reference);
    hk_arena_deinit(&arena);
    return err;
}

static hk_err prepare(
    struct hk_shard *shard, const struct hk_config *config, struct hk_buf *said,
    struct hk_alerts_next *out) {
    const struct hk_alerts *alerts = &shard->alerts;
    HK_TRY(prepare_respond(shard, config, out));
    if (hk_respond_plan_same(alerts->plan, out->plan)) {
        hk_respond_plan_destroy(out->plan);
        hk_respond_plan_destroy(out->reference);
        out->plan = out->reference = NULL;
    }
    HK_TRY(hk_rules_home_load(shard, config, said, &out->home));
    if (same_home(alerts->home, out->home) && !alerts->rules_failed) {
        hk_rules_home_destroy(out->home);
        out->home = NULL;
        return HK_OK;
    }
    return hk_rules_home_open(out->home);
}

hk_err hk_alerts_prepare(
    struct hk_shard *shard, const struct hk_config *config, struct hk_buf *said,
    struct hk_alerts_next *out) {
    *out = (struct hk_alerts_next){ 0 };
    hk_err err = prepare(shard, config, said, out);
    if (err < 0) hk_alerts_discard(out);
    return err;
}

void hk_alerts_retire(struct hk_alerts_next *next) {
    if (next->old != NULL) hk_rules_stop(next->old->rules);
}

void hk_alerts_discard(struct hk_alerts_next *next) {
    hk_rules_home_destroy(next->home);
    hk_rules_home_destroy(next->old);
    hk_respond_plan_destroy(next->plan);
    hk_respond_plan_destroy(next->reference);
    *next = (struct hk_alerts_next){ 0 };
}

/* ------------------------------------------------------------------ alerts without a rule */

/* One block of memory with all that the event points to. */
struct hk_alert_orphan {
    struct hk_alert_orphan *next;
    int64_t due_ms;
    struct hk_alert_event event;
};

static struct hk_str put_text(char **space, struct hk_str text) {
    struct hk_str copy = { *space, text.len };
    if (text.len > 0) memcpy(*space, text.ptr, text.len);
    *space += text.len;
    return copy;
}

static size_t labels_bytes(struct hk_labels labels) {
    size_t bytes = labels.count * sizeof(struct hk_label);
    for (uint32_t i = 0; i < labels.count; i++)
        bytes += labels.items[i].name.len + labels.items[i].value.len;
    return bytes;
}

static struct hk_labels put_labels(struct hk_label *items, char **space, struct hk_labels labels) {
    for (uint32_t i = 0; i < labels.count; i++) {
        items[i].name = put_text(space, labels.items[i].name);
        items[i].value = put_text(space, labels.items[i].value);
    }
    return (struct hk_labels){ items, labels.count };
}

static struct hk_alert_orphan *copy_event(const struct hk_alert_event *event) {
    size_t bytes = sizeof(struct hk_alert_orphan) + labels_bytes(event->labels) +
                   labels_bytes(event->annotations) + event->rule.len + event->group.len +
                   event->generator_url.len;
    struct hk_alert_orphan *orphan = hk_mem_alloc(1, bytes);
    if (orphan == NULL) return NULL;
    struct hk_label *items = (struct hk_label *)(orphan + 1);
    char *space = (char *)(items + event->labels.count + event->annotations.count);
    orphan->event = *event;
    orphan->event.labels = put_labels(items, &space, event->labels);
    orphan->event.annotations = put_labels(items + event->labels.count, &space, event->annotations);
    orphan->event.rule = put_text(&space, event->rule);
    orphan->event.group = put_text(&space, event->group);
    orphan->event.generator_url = put_text(&space, event->generator_url);
    return orphan;
}

static int64_t interval_of(const struct hk_rule_set *set, struct hk_str group) {
    int64_t interval_ms = RESEND_DELAY_MS;
    for (uint32_t i = 0; i < set->group_count; i++) {
        if (hk_str_eq(set->groups[i].name, group) && set->groups[i].interval_ms > interval_ms)
            interval_ms = set->groups[i].interval_ms;
    }
    return interval_ms;
}

/* An alert that fires and that no rule of the new set has taken over. */
static void on_orphan(void *self, const struct hk_alert_event *event) {
    struct hk_shard *shard = self;
    struct hk_alerts *alerts = &shard->alerts;
    struct hk_alert_orphan *orphan = copy_event(event);
    if (orphan == NULL) {
        hk_log(HK_LOG_ERROR, "alerts: the end of an alert without a rule is not told: no memory");
        return;
    }
    orphan->due_ms =
        hk_clock_realtime_ms() + VALID_TIMES * interval_of(alerts->home->set, event->group);
    if (alerts->orphans == NULL || orphan->due_ms < alerts->orphans_next_ms)
        alerts->orphans_next_ms = orphan->due_ms;
    orphan->next = alerts->orphans;
    alerts->orphans = orphan;
}

void hk_alerts_end_orphans(struct hk_shard *shard, int64_t now_ms) {
    struct hk_alerts *alerts = &shard->alerts;
    if (alerts->orphans == NULL || now_ms < alerts->orphans_next_ms) return;
    alerts->orphans_next_ms = INT64_MAX;
    for (struct hk_alert_orphan **at = &alerts->orphans; *at != NULL;) {
        struct hk_alert_orphan *orphan = *at;
        if (orphan->due_ms > now_ms) {
            if (orphan->due_ms < alerts->orphans_next_ms) alerts->orphans_next_ms = orphan->due_ms;
            at = &orphan->next;
            continue;
        }
        *at = orphan->next;
        orphan->event.resolved = true;
        orphan->event.ends_ms = orphan->event.at_ms = orphan->due_ms;
        hk_dispatch_sink(alerts->dispatch, &orphan->event);
        hk_mem_free(orphan);
    }
}

void hk_alerts_forget_orphans(struct hk_shard *shard) {
    while (shard->alerts.orphans != NULL) {
        struct hk_alert_orphan *next = shard->alerts.orphans->next;
        hk_mem_free(shard->alerts.orphans);
        shard->alerts.orphans = next;
    }
}

/* ------------------------------------------------------------------ taking over */

static hk_err swap_plan(struct hk_alerts *alerts, struct hk_alerts_next *next) {
    HK_TRY(hk_dispatch_replan(&alerts->dispatch, next->plan));
    hk_respond_plan_destroy(alerts->plan);
    alerts->plan = next->reference;
    next->plan = next->reference = NULL;
    return HK_OK;
}

static hk_err swap_rules(struct hk_shard *shard, struct hk_alerts_next *next, int64_t now_ms) {
    struct hk_alerts *alerts = &shard->alerts;
    struct hk_rules_home *old = alerts->home;
    HK_TRY(hk_rules_adopt(next->home->rules, old->rules, now_ms));
    hk_rules_firing(old->rules, on_orphan, shard);
    old->retired = true;
    alerts->home = next->home;
    alerts->rules = next->home->rules;
    next->home = NULL;
    next->old = old;
    hk_alerts_start_rules(shard, now_ms, now_ms);
    return HK_OK;
}

void hk_alerts_swap(struct hk_shard *shard, struct hk_alerts_next *next) {
    struct hk_alerts *alerts = &shard->alerts;
    int64_t now_ms = hk_clock_realtime_ms();
    bool replanned = next->plan != NULL;
    shard->readable_ns = hk_clock_monotonic_ns();
    if (replanned) next->err = swap_plan(alerts, next);
    if (next->err >= 0 && next->home != NULL) next->err = swap_rules(shard, next, now_ms);
    /* New receivers and Alertmanagers learn of what fires; the others have been told. */
    if (replanned) hk_rules_firing(alerts->rules, hk_alerts_restore, shard);
    hk_alerts_apply_idle(shard);
    shard->snapshot_due = true;
}
