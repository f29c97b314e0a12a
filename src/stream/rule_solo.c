/* Members judged alone: rules over one plain selector. */
#include "stream/rules_internal.h"

#include <math.h>

/* Of a line's ends: the engine's and our roundings together, relative. */
#define LINE_ERROR 0x1p-44

static bool verdict(const struct hk_rule_plan *plan, double input, double *out_value) {
    double inputs[HK_RULE_SIDES_MAX] = { input };
    double left = hk_rule_run(&plan->left, inputs);
    *out_value = left;
    if (!plan->compares) return true;
    double right = hk_rule_run(&plan->right, inputs);
    if (plan->value_is_right) *out_value = right;
    return hk_rule_compare(plan->comparison, left, right);
}

/* Until when the verdict over a moving line cannot change. */
static int64_t sure_until(
    const struct hk_rules *rules, const struct hk_rule_plan *plan,
    const struct hk_rule_line *line) {
    int64_t span_ms = HK_RULE_FOREVER_MS;
    if (line->next_ms - rules->now_ms < span_ms) span_ms = line->next_ms - rules->now_ms;
    for (; span_ms >= 1; span_ms /= 4) {
        double end = line->value + line->slope * (double)span_ms;
        double error = (fabs(line->value) + fabs(end)) * LINE_ERROR;
        struct hk_rule_interval inputs[HK_RULE_SIDES_MAX] = {
            { .low = fmin(line->value, end) - error, .high = fmax(line->value, end) + error },
        };
        if (hk_rule_plan_judge(plan, inputs) != HK_RULE_UNSURE) return rules->now_ms + span_ms;
    }
    return rules->now_ms + 1;
}

/* Tells the alerts of the rule. The key is the result's label set, as ticks give it. */
static void publish(struct hk_rules *rules, const struct hk_rule_member *member, double value) {
    struct hk_label items[HK_LABELS_MAX];
    struct hk_directory_view *view = hk_directory_hold(rules->options.directory);
    struct hk_labels labels = hk_view_labels(view, member->ref, items);
    if (!rules->hot[member->rule].keeps_name) {
        uint32_t count = 0;
        for (uint32_t i = 0; i < labels.count; i++) {
            if (!hk_str_is(labels.items[i].name, "__name__")) items[count++] = labels.items[i];
        }
        labels = (struct hk_labels){ items, count };
    }
    hk_rules_verdict(rules, member->rule, labels, value, member->active);
    hk_directory_release(rules->options.directory, view);
}

void hk_solo_decide(
    struct hk_rules *rules, uint32_t index, bool present, const struct hk_rule_line *line) {
    struct hk_rule_member *member = &rules->members[index];
    const struct hk_rule_plan *plan = &rules->states[member->rule].plan;
    double value = 0;
    rules->stats.evaluations++;
    bool active = present && verdict(plan, line->value, &value);
    int64_t next_ms = line->next_ms;
    if (present && line->slope != 0) next_ms = sure_until(rules, plan, line);
    hk_rule_timer_set(rules, index, next_ms);
    member->present = present;
    if (!active && !member->active) return;
    rules->stats.transitions += active != member->active;
    member->active = active;
    publish(rules, member, value);
}

void hk_solo_forget(struct hk_rules *rules, struct hk_rule_member *member) {
    if (!member->active) return;
    member->active = false;
    publish(rules, member, 0);
}
