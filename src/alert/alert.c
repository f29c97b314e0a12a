/*
 * The states of the alerts of one rule (Prometheus, alerting rules). Invariants:
 * (1) An alert is linked (slot, both indexes) from its creation to its end.
 * (2) pending + firing = active alerts ≤ limit; remembered ones are resolved and wait to go.
 * (3) While the rule waits for hk_alert_confirm(), restored alerts have no deadline.
 * (4) An event is made exactly at the changes pending → firing and firing → inactive.
 */
#include "alert/alert_internal.h"

/* --- Rule ------------------------------------------------------------------------------------- */

static hk_err make_pairs(
    struct hk_alert_rule *rule, const struct hk_alert_pair *from, uint32_t count, const char *kind,
    struct rule_pair **out, uint32_t *out_count) {
    if (count > HK_ALERT_PAIRS_MAX) {
        return hk_fail(
            HK_E_LIMIT, "alert %.*s: more than %d %ss", HK_STR_ARG(rule->options.name),
            HK_ALERT_PAIRS_MAX, kind);
    }
    struct hk_str title =
        hk_arena_printf(&rule->arena, "__alert_%.*s", HK_STR_ARG(rule->options.name));
    *out = hk_arena_alloc(&rule->arena, count == 0 ? 1 : count, sizeof(**out));
    if (*out == NULL || title.ptr == NULL) return HK_E_NOMEM;
    for (uint32_t i = 0; i < count; i++) {
        /* Sorted by name: annotations are shown and compared in this order. */
        uint32_t at = i;
        struct rule_pair pair = { hk_arena_str(&rule->arena, from[i].name), NULL };
        struct hk_template_source source = { title, from[i].text };
        if (pair.name.ptr == NULL) return HK_E_NOMEM;
        hk_err err = hk_template_create(&source, 1, &pair.value);
        if (err < 0) {
            return hk_fail_note(
                err == HK_E_MALFORMED ? HK_E_INVALID : err, "alert %.*s: %s \"%.*s\"",
                HK_STR_ARG(rule->options.name), kind, HK_STR_ARG(from[i].name));
        }
        for (; at > 0 && hk_str_cmp((*out)[at - 1].name, pair.name) > 0; at--)
            (*out)[at] = (*out)[at - 1];
        (*out)[at] = pair;
        *out_count = i + 1;
    }
    return HK_OK;
}

static hk_err copy_options(struct hk_alert_rule *rule, const struct hk_alert_options *options) {
    rule->options = *options;
    rule->options.labels = rule->options.annotations = NULL;
    rule->options.label_count = rule->options.annotation_count = 0;
    struct hk_str *texts[] = { &rule->options.name, &rule->options.group,
                               &rule->options.generator_url, &rule->options.external_url };
    for (size_t i = 0; i < HK_COUNT(texts); i++) {
        *texts[i] = hk_arena_str(&rule->arena, *texts[i]);
        if (texts[i]->ptr == NULL) return HK_E_NOMEM;
    }
    uint32_t count = options->external_labels.count;
    struct hk_label *labels = hk_arena_alloc(&rule->arena, count + 1, sizeof(labels[0]));
    if (labels == NULL) return HK_E_NOMEM;
    for (uint32_t i = 0; i < count; i++) {
        labels[i].name = hk_arena_str(&rule->arena, options->external_labels.items[i].name);
        labels[i].value = hk_arena_str(&rule->arena, options->external_labels.items[i].value);
        if (labels[i].name.ptr == NULL || labels[i].value.ptr == NULL) return HK_E_NOMEM;
    }
    rule->options.external_labels = (struct hk_labels){ labels, count };
    if (rule->options.limit == 0) rule->options.limit = HK_ALERT_ACTIVE_MAX;
    return HK_OK;
}

hk_err hk_alert_rule_create(const struct hk_alert_options *options, struct hk_alert_rule **out) {
    struct hk_alert_rule *rule = hk_mem_alloc(1, sizeof(*rule));
    if (rule == NULL) return HK_E_NOMEM;
    hk_arena_init(&rule->arena, 4 << 20);
    hk_err err = copy_options(rule, options);
    if (err >= 0) {
        err = make_pairs(
            rule, options->labels, options->label_count, "label", &rule->labels,
            &rule->options.label_count);
    }
    if (err >= 0) {
        err = make_pairs(
            rule, options->annotations, options->annotation_count, "annotation", &rule->annotations,
            &rule->options.annotation_count);
    }
    if (err < 0) {
        hk_alert_rule_destroy(rule);
        return err;
    }
    *out = rule;
    return HK_OK;
}

void hk_alert_rule_destroy(struct hk_alert_rule *rule) {
    if (rule == NULL) return;
    for (uint32_t i = 0; i < rule->slot_count; i++) {
        if (rule->slots[i] != NULL) hk_alert_free(rule->slots[i]);
    }
    for (uint32_t i = 0; i < rule->options.label_count; i++)
        hk_template_destroy(rule->labels[i].value);
    for (uint32_t i = 0; i < rule->options.annotation_count; i++)
        hk_template_destroy(rule->annotations[i].value);
    hk_mem_free(rule->slots);
    hk_mem_free(rule->gaps);
    hk_hashindex_deinit(&rule->by_series);
    hk_hashindex_deinit(&rule->by_fingerprint);
    hk_deadlines_deinit(&rule->due);
    hk_arena_deinit(&rule->arena);
    hk_mem_free(rule);
}

/* --- Table of alerts -------------------------------------------------------------------------- */

struct hk_alert *
hk_alert_find(const struct hk_alert_rule *rule, struct hk_labels series, uint64_t hash) {
    size_t cursor = 0;
    for (;;) {
        uint32_t slot = hk_hashindex_find(&rule->by_series, hash, &cursor);
        if (slot == HK_HASHINDEX_NONE) return NULL;
        if (hk_labels_cmp(rule->slots[slot]->series, series) == 0) return rule->slots[slot];
    }
}

/* Another alert with these final labels, NULL if there is none. */
static struct hk_alert *find_twin(const struct hk_alert_rule *rule, const struct hk_alert *alert) {
    size_t cursor = 0;
    for (;;) {
        uint32_t slot = hk_hashindex_find(&rule->by_fingerprint, alert->fingerprint, &cursor);
        if (slot == HK_HASHINDEX_NONE) return NULL;
        if (hk_labels_cmp(rule->slots[slot]->labels, alert->labels) == 0) return rule->slots[slot];
    }
}

hk_err hk_alert_link(struct hk_alert_rule *rule, struct hk_alert *alert) {
    /* Room for everything first, so that nothing has to be undone. */
    HK_TRY(hk_mem_grow(
        &rule->slots, &rule->slot_capacity, rule->slot_count + 1, sizeof(rule->slots[0])));
    HK_TRY(
        hk_mem_grow(&rule->gaps, &rule->gap_capacity, rule->slot_count + 1, sizeof(rule->gaps[0])));
    uint32_t slot = rule->gap_count > 0 ? rule->gaps[rule->gap_count - 1] : rule->slot_count;
    HK_TRY(hk_deadline_set(&rule->due, &alert->due, INT64_MAX));
    hk_err err = hk_hashindex_put(&rule->by_series, alert->series_hash, slot);
    if (err >= 0) {
        err = hk_hashindex_put(&rule->by_fingerprint, alert->fingerprint, slot);
        if (err < 0) hk_hashindex_remove(&rule->by_series, alert->series_hash, slot);
    }
    if (err < 0) {
        hk_deadline_clear(&rule->due, &alert->due);
        return err;
    }
    if (rule->gap_count > 0)
        rule->gap_count--;
    else
        rule->slot_count++;
    rule->slots[slot] = alert;
    alert->slot = slot;
    alert->rule = rule;
    uint32_t *counts[] = { &rule->remembered, &rule->pending, &rule->firing };
    (*counts[alert->state])++;
    return HK_OK;
}

void hk_alert_unlink(struct hk_alert *alert) {
    struct hk_alert_rule *rule = alert->rule;
    uint32_t *counts[] = { &rule->remembered, &rule->pending, &rule->firing };
    (*counts[alert->state])--;
    hk_deadline_clear(&rule->due, &alert->due);
    hk_hashindex_remove(&rule->by_series, alert->series_hash, alert->slot);
    hk_hashindex_remove(&rule->by_fingerprint, alert->fingerprint, alert->slot);
    rule->slots[alert->slot] = NULL;
    rule->gaps[rule->gap_count++] = alert->slot;
}

void hk_alert_free(struct hk_alert *alert) {
    hk_alert_unpack(&alert->series);
    hk_alert_unpack(&alert->labels);
    hk_alert_unpack(&alert->annotations);
    hk_mem_free(alert);
}

void hk_alert_set_state(struct hk_alert *alert, enum hk_alert_state state) {
    struct hk_alert_rule *rule = alert->rule;
    uint32_t *counts[] = { &rule->remembered, &rule->pending, &rule->firing };
    (*counts[alert->state])--;
    (*counts[state])++;
    alert->state = state;
}

void hk_alert_schedule(struct hk_alert *alert) {
    struct hk_alert_rule *rule = alert->rule;
    int64_t at = INT64_MAX;
    if (alert->state == HK_ALERT_PENDING) at = alert->fires_ms;
    if (alert->state == HK_ALERT_FIRING && alert->keep_since_ms > 0)
        at = alert->keep_since_ms + rule->options.keep_firing_ms;
    if (alert->state == HK_ALERT_INACTIVE) at = alert->resolved_ms + HK_ALERT_RESOLVED_KEEP_MS;
    if (rule->waiting && (alert->restored || alert->held)) at = INT64_MAX; /* (3) */
    /* A linked alert is in the heap, so this only moves it. */
    hk_err err = hk_deadline_set(&rule->due, &alert->due, at);
    hk_assert(err >= 0);
}

/* --- Changes ---------------------------------------------------------------------------------- */

static void changed(struct hk_alert *alert, bool gone) {
    const struct hk_alert_options *options = &alert->rule->options;
    if (options->changed != NULL) options->changed(options->changed_self, alert, gone);
}

static void emit(struct hk_alert *alert, int64_t at_ms, bool resolved) {
    struct hk_alert_rule *rule = alert->rule;
    rule->counts.events++;
    if (rule->options.sink.event == NULL) return;
    struct hk_alert_event event = {
        .rule = rule->options.name,
        .group = rule->options.group,
        .generator_url = rule->options.generator_url,
        .labels = alert->labels,
        .annotations = alert->annotations,
        .fingerprint = alert->fingerprint,
        .episode_ms = alert->episode_ms,
        .active_ms = alert->active_ms,
        .starts_ms = alert->fired_ms,
        .ends_ms = resolved ? alert->resolved_ms : 0,
        .at_ms = at_ms,
        .value = alert->value,
        .rule_hash = rule->options.rule_hash,
        .resolved = resolved,
    };
    rule->options.sink.event(rule->options.sink.self, &event);
}

static void end_alert(struct hk_alert *alert) {
    changed(alert, true);
    hk_alert_unlink(alert);
    hk_alert_free(alert);
}

static void fire(struct hk_alert *alert, int64_t at_ms) {
    hk_assert(alert->state == HK_ALERT_PENDING); /* (4) */
    alert->fired_ms = at_ms;
    hk_alert_expand_annotations(alert, at_ms);
    hk_alert_set_state(alert, HK_ALERT_FIRING);
    hk_alert_schedule(alert);
    emit(alert, at_ms, false);
    changed(alert, false);
}

static void resolve(struct hk_alert *alert, int64_t at_ms) {
    hk_assert(alert->state == HK_ALERT_FIRING); /* (4) */
    alert->resolved_ms = at_ms;
    alert->keep_since_ms = 0;
    hk_alert_set_state(alert, HK_ALERT_INACTIVE);
    hk_alert_schedule(alert);
    emit(alert, at_ms, true);
    changed(alert, false);
}

static void become_inactive(struct hk_alert *alert, int64_t at_ms) {
    int64_t keep_ms = alert->rule->options.keep_firing_ms;
    alert->restored = alert->held = false;
    if (alert->state == HK_ALERT_PENDING) {
        end_alert(alert);
        return;
    }
    if (alert->state != HK_ALERT_FIRING) return;
    bool begins = keep_ms > 0 && alert->keep_since_ms == 0;
    if (begins) alert->keep_since_ms = at_ms;
    if (keep_ms == 0 || at_ms - alert->keep_since_ms >= keep_ms) {
        resolve(alert, at_ms);
        return;
    }
    hk_alert_schedule(alert);
    if (begins) changed(alert, false);
}

static void stay_active(struct hk_alert *alert, double value, int64_t at_ms) {
    bool kept = alert->keep_since_ms > 0;
    alert->value = value;
    alert->seen_ms = at_ms;
    alert->restored = false;
    alert->keep_since_ms = 0;
    if (kept) {
        hk_alert_schedule(alert);
        changed(alert, false);
    }
    bool held = alert->held && alert->rule->waiting;
    if (alert->state == HK_ALERT_PENDING && !held && at_ms >= alert->fires_ms) fire(alert, at_ms);
}

/* A new alert for `series`; `episode_min` keeps episodes of one alert apart. */
static hk_err become_active(
    struct hk_alert_rule *rule, struct hk_labels series, uint64_t hash, double value, int64_t at_ms,
    int64_t episode_min) {
    if (rule->pending + rule->firing >= rule->options.limit) { /* (2) */
        rule->counts.refused_limit++;
        return hk_fail(
            HK_E_LIMIT, "alert %.*s: more than %u active alerts; raise the group's limit",
            HK_STR_ARG(rule->options.name), rule->options.limit);
    }
    struct hk_alert *alert = hk_mem_alloc(1, sizeof(*alert));
    if (alert == NULL) return HK_E_NOMEM;
    alert->rule = rule;
    alert->state = HK_ALERT_PENDING;
    alert->series_hash = hash;
    alert->value = value;
    alert->seen_ms = alert->active_ms = at_ms;
    alert->episode_ms = at_ms > episode_min ? at_ms : episode_min;
    alert->fires_ms = at_ms + rule->options.for_ms;
    hk_err err = hk_alert_pack(series, &alert->series);
    if (err >= 0) err = hk_alert_expand_labels(rule, series, value, at_ms, &alert->labels);
    if (err >= 0) {
        alert->fingerprint = hk_fingerprint(alert->labels);
        const struct hk_alert *twin = find_twin(rule, alert);
        if (twin != NULL && twin->state != HK_ALERT_INACTIVE) {
            rule->counts.refused_duplicate++;
            err = hk_fail(
                HK_E_EXISTS,
                "alert %.*s: two series have the same labels after the rule's labels were applied",
                HK_STR_ARG(rule->options.name));
        } else if (twin != NULL && twin->episode_ms >= alert->episode_ms) {
            alert->episode_ms = twin->episode_ms + 1;
        }
    }
    if (err >= 0) err = hk_alert_link(rule, alert); /* (1) */
    if (err < 0) {
        if (err != HK_E_EXISTS) rule->counts.refused_other++;
        hk_alert_free(alert);
        return err;
    }
    if (rule->options.for_ms <= 0) {
        fire(alert, at_ms);
        return HK_OK;
    }
    hk_alert_expand_annotations(alert, at_ms);
    hk_alert_schedule(alert);
    changed(alert, false);
    return HK_OK;
}

hk_err hk_alert_update(
    struct hk_alert_rule *rule, struct hk_labels labels, double value, bool active, int64_t at_ms) {
    uint64_t hash = hk_alert_hash(labels);
    hk_alert_tick(rule, at_ms - 1); /* what was due before must not be changed by a late tick */
    struct hk_alert *alert = hk_alert_find(rule, labels, hash);
    if (alert != NULL && !active) become_inactive(alert, at_ms);
    if (!active) return HK_OK;
    if (alert != NULL && alert->state != HK_ALERT_INACTIVE) {
        stay_active(alert, value, at_ms);
        return HK_OK;
    }
    int64_t episode_min = INT64_MIN;
    if (alert != NULL) { /* a resolved one that is still remembered makes room */
        episode_min = alert->episode_ms + 1;
        hk_alert_unlink(alert);
        hk_alert_free(alert);
    }
    return become_active(rule, labels, hash, value, at_ms, episode_min);
}

void hk_alert_sweep(struct hk_alert_rule *rule, int64_t at_ms) {
    for (uint32_t i = 0; i < rule->slot_count; i++) {
        struct hk_alert *alert = rule->slots[i];
        if (alert != NULL && alert->seen_ms != at_ms) become_inactive(alert, at_ms);
    }
}

void hk_alert_tick(struct hk_alert_rule *rule, int64_t now_ms) {
    for (;;) {
        struct hk_deadline *first = hk_deadlines_first(&rule->due);
        if (first == NULL || first->at_ms == INT64_MAX || first->at_ms > now_ms) return;
        struct hk_alert *alert = (struct hk_alert *)first;
        if (alert->state == HK_ALERT_PENDING)
            fire(alert, first->at_ms);
        else if (alert->state == HK_ALERT_FIRING)
            resolve(alert, first->at_ms);
        else
            end_alert(alert);
    }
}

int64_t hk_alert_next_ms(const struct hk_alert_rule *rule) {
    const struct hk_deadline *first = hk_deadlines_first(&rule->due);
    return first == NULL ? INT64_MAX : first->at_ms;
}

void hk_alert_confirm(struct hk_alert_rule *rule, int64_t down_from_ms, int64_t now_ms) {
    rule->waiting = false;
    int64_t down_ms = now_ms > down_from_ms ? now_ms - down_from_ms : 0;
    for (uint32_t i = 0; i < rule->slot_count; i++) {
        struct hk_alert *alert = rule->slots[i];
        if (alert == NULL) continue;
        bool held = alert->held;
        bool silent = alert->restored && alert->state != HK_ALERT_INACTIVE;
        alert->restored = alert->held = false;
        if (silent) {
            become_inactive(alert, now_ms);
            continue;
        }
        if (held && alert->state == HK_ALERT_PENDING) {
            alert->fires_ms += down_ms;
            changed(alert, false);
        }
        hk_alert_schedule(alert);
    }
}

void hk_alert_move(struct hk_alert_rule *rule, struct hk_alert_rule *old) {
    rule->waiting = true;
    for (uint32_t i = 0; i < old->slot_count; i++) {
        struct hk_alert *alert = old->slots[i];
        if (alert == NULL) continue;
        hk_alert_unlink(alert);
        alert->fires_ms += rule->options.for_ms - old->options.for_ms;
        alert->restored = alert->state != HK_ALERT_INACTIVE;
        if (hk_alert_find(rule, alert->series, alert->series_hash) != NULL ||
            hk_alert_link(rule, alert) < 0) {
            rule->counts.refused_other++;
            hk_alert_free(alert);
            continue;
        }
        hk_alert_schedule(alert);
    }
}

/* --- Reading ---------------------------------------------------------------------------------- */

void hk_alert_get(const struct hk_alert *alert, struct hk_alert_view *out) {
    *out = (struct hk_alert_view){
        .labels = alert->labels,
        .annotations = alert->annotations,
        .series = alert->series,
        .state = alert->state,
        .fingerprint = alert->fingerprint,
        .episode_ms = alert->episode_ms,
        .active_ms = alert->active_ms,
        .fired_ms = alert->fired_ms,
        .resolved_ms = alert->resolved_ms,
        .keep_firing_since_ms = alert->keep_since_ms,
        .value = alert->value,
    };
}

const struct hk_alert *hk_alert_each(const struct hk_alert_rule *rule, uint32_t *cursor) {
    while (*cursor < rule->slot_count) {
        const struct hk_alert *alert = rule->slots[(*cursor)++];
        if (alert != NULL) return alert;
    }
    return NULL;
}

void hk_alert_count(const struct hk_alert_rule *rule, struct hk_alert_counts *out) {
    *out = rule->counts;
    out->pending = rule->pending;
    out->firing = rule->firing;
    out->remembered = rule->remembered;
}

enum hk_alert_state hk_alert_rule_state(const struct hk_alert_rule *rule) {
    if (rule->firing > 0) return HK_ALERT_FIRING;
    return rule->pending > 0 ? HK_ALERT_PENDING : HK_ALERT_INACTIVE;
}
