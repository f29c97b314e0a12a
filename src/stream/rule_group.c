/* Groups: sums of contributions, and the verdict with its transitions. */
#include "stream/rules_internal.h"

#include "base/mem.h"

#include <math.h>

enum { EXACT_MEMBERS_MAX = 64, GROUP_SLOTS_MIN = 256 };

/* ------------------------------------------------------------------ labels of a group */

static bool named(const struct hk_promql_node *node, struct hk_str name) {
    for (uint32_t i = 0; i < node->aggregate.label_count; i++) {
        if (hk_str_eq(node->aggregate.labels[i], name)) return true;
    }
    return false;
}

/* Labels of the group that a series belongs to, borrowed. */
static struct hk_labels
group_labels(const struct hk_rule_side *side, struct hk_labels labels, struct hk_label *items) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < labels.count; i++) {
        struct hk_str name = labels.items[i].name;
        if (side->aggregated) {
            bool listed = named(side->aggregate, name);
            bool keep = side->aggregate->aggregate.without ? !listed && !hk_str_is(name, "__name__")
                                                           : listed;
            if (!keep) continue;
        } else if (hk_str_is(name, "__name__")) {
            continue;
        }
        items[count++] = labels.items[i];
    }
    return (struct hk_labels){ items, count };
}

static struct hk_labels copy_labels(struct hk_arena *arena, struct hk_labels labels) {
    struct hk_label *items = hk_arena_alloc(arena, labels.count, sizeof(*items));
    for (uint32_t i = 0; items != NULL && i < labels.count; i++) {
        items[i].name = hk_arena_str(arena, labels.items[i].name);
        items[i].value = hk_arena_str(arena, labels.items[i].value);
        if (items[i].name.ptr == NULL || items[i].value.ptr == NULL) return (struct hk_labels){ 0 };
    }
    return (struct hk_labels){ items, items == NULL ? 0 : labels.count };
}

static hk_err grow_slots(struct hk_rules *rules) {
    if (rules->group_slots != NULL && (rules->group_count + 1) * 2 <= rules->group_mask + 1) {
        return HK_OK;
    }
    uint32_t slots = rules->group_slots == NULL ? GROUP_SLOTS_MIN : (rules->group_mask + 1) * 2;
    uint32_t *grown = hk_mem_alloc(slots, sizeof(uint32_t));
    if (grown == NULL) return HK_E_NOMEM;
    for (uint32_t i = 0; i < rules->group_count; i++) {
        uint32_t at = (uint32_t)rules->groups[i].hash.low & (slots - 1);
        while (grown[at] != 0)
            at = (at + 1) & (slots - 1);
        grown[at] = i + 1;
    }
    hk_mem_free(rules->group_slots);
    rules->group_slots = grown;
    rules->group_mask = slots - 1;
    return HK_OK;
}

hk_err hk_group_of(
    struct hk_rules *rules, uint32_t rule, uint8_t side, struct hk_labels labels,
    uint32_t *out_group) {
    struct hk_label items[HK_LABELS_MAX];
    struct hk_labels own = group_labels(&rules->states[rule].plan.sides[side], labels, items);
    struct hk_hash128 hash = hk_labels_hash(own);
    hash.low ^= (uint64_t)rule * 0x9e3779b97f4a7c15ULL;
    HK_TRY(grow_slots(rules));
    uint32_t at = (uint32_t)hash.low & rules->group_mask;
    for (; rules->group_slots[at] != 0; at = (at + 1) & rules->group_mask) {
        struct hk_rule_group *group = &rules->groups[rules->group_slots[at] - 1];
        bool same = group->hash.low == hash.low && group->hash.high == hash.high &&
                    group->rule == rule && hk_labels_cmp(group->labels, own) == 0;
        if (!same) continue;
        *out_group = rules->group_slots[at] - 1;
        return HK_OK;
    }
    HK_TRY(hk_mem_grow(
        &rules->groups, &rules->group_capacity, rules->group_count + 1, sizeof(rules->groups[0])));
    struct hk_labels copy = copy_labels(&rules->arena, own);
    if (copy.count != own.count) return HK_E_NOMEM;
    struct hk_rule_group *group = &rules->groups[rules->group_count];
    *group = (struct hk_rule_group){ .hash = hash, .labels = copy, .rule = rule };
    for (size_t i = 0; i < HK_RULE_SIDES_MAX; i++)
        group->sides[i].first = HK_NO_INDEX;
    rules->group_slots[at] = (uint32_t)rules->group_count + 1;
    *out_group = (uint32_t)rules->group_count++;
    rules->stats.groups = (uint32_t)rules->group_count;
    return HK_OK;
}

/* ------------------------------------------------------------------ sums */

static void add(struct hk_rule_group_side *side, double value) {
    double next = side->sum + value;
    if (isinf(next))
        side->rest = 0;
    else if (fabs(side->sum) >= fabs(value))
        side->rest += (side->sum - next) + value;
    else
        side->rest += (value - next) + side->sum;
    side->sum = next;
    /* Neumaier: the error of each step is below eps² of what was added, plus one rounding. */
    side->error += (fabs(value) + fabs(next)) * 0x1p-52;
}

/* The sum again from its members: exact as the engine computes it. */
static void sum_exactly(struct hk_rules *rules, struct hk_rule_group_side *side) {
    side->sum = 0;
    side->rest = 0;
    for (uint32_t i = side->first; i != HK_NO_INDEX; i = rules->members[i].next_of_group) {
        if (rules->members[i].present) add(side, rules->members[i].contribution);
    }
    side->error = 0;
}

static double
extreme(const struct hk_rules *rules, const struct hk_rule_group_side *side, bool smallest) {
    double best = (double)NAN;
    for (uint32_t i = side->first; i != HK_NO_INDEX; i = rules->members[i].next_of_group) {
        if (!rules->members[i].present) continue;
        double value = rules->members[i].contribution;
        bool better = smallest ? value < best : value > best;
        if (better || isnan(best)) best = value;
    }
    return best;
}

void hk_group_mark(struct hk_rules *rules, uint32_t index) {
    struct hk_rule_group *group = &rules->groups[index];
    if (group->dirty) return;
    hk_err err = hk_mem_grow(
        &rules->dirty, &rules->dirty_capacity, rules->dirty_count + 1, sizeof(rules->dirty[0]));
    if (err < 0) return; /* stays as it was until its next change */
    group->dirty = true;
    rules->dirty[rules->dirty_count++] = index;
}

void hk_group_change(
    struct hk_rules *rules, struct hk_rule_member *member, bool present, double contribution) {
    struct hk_rule_group_side *side = &rules->groups[member->group].sides[member->side];
    bool same = member->present == present &&
                (!present || memcmp(&member->contribution, &contribution, 8) == 0);
    if (!same) {
        if (member->present) {
            side->present--;
            add(side, -member->contribution);
        }
        if (present) {
            side->present++;
            add(side, contribution);
        }
        member->present = present;
        member->contribution = contribution;
        hk_group_mark(rules, member->group);
        return;
    }
    /* Two sides: the other may wait for this stamp. */
    if (rules->groups[member->group].wait_ms != 0) hk_group_mark(rules, member->group);
}

/* ------------------------------------------------------------------ verdicts */

/* Value of one side; false: absent. `exact`: sums are made anew. `*out_error` bounds the error. */
static bool side_value(
    struct hk_rules *rules, const struct hk_rule_side *plan, struct hk_rule_group_side *side,
    bool exact, double *out_value, double *out_error) {
    *out_error = 0;
    if (side->present == 0) return false;
    if (!plan->aggregated) {
        for (uint32_t i = side->first; i != HK_NO_INDEX; i = rules->members[i].next_of_group) {
            if (!rules->members[i].present) continue;
            *out_value = rules->members[i].contribution;
            return true;
        }
        return false;
    }
    bool sums = plan->aggregation == HK_PROMQL_SUM || plan->aggregation == HK_PROMQL_AVG;
    bool bad = !isfinite(side->sum) || !isfinite(side->rest);
    if (sums && (exact || bad || side->members <= EXACT_MEMBERS_MAX)) sum_exactly(rules, side);
    double sum = isfinite(side->rest) ? side->sum + side->rest : side->sum;
    switch ((int)plan->aggregation) {
    case HK_PROMQL_SUM:
        *out_value = sum;
        *out_error = side->error;
        return true;
    case HK_PROMQL_AVG:
        *out_value = sum / (double)side->present;
        *out_error = side->error;
        return true;
    case HK_PROMQL_COUNT:
        *out_value = side->present;
        return true;
    case HK_PROMQL_MIN:
    case HK_PROMQL_MAX:
        *out_value = extreme(rules, side, (int)plan->aggregation == HK_PROMQL_MIN);
        return true;
    default:
        *out_value = 1; /* group */
        return true;
    }
}

/* Is the group in the rule's result? `*out_sure`: no rounding of the sums could change that. */
static bool evaluate(
    struct hk_rules *rules, struct hk_rule_group *group, bool exact, double *out_value,
    bool *out_sure) {
    const struct hk_rule_plan *plan = &rules->states[group->rule].plan;
    double inputs[HK_RULE_SIDES_MAX] = { 0 };
    bool rounded = false;
    *out_sure = true;
    rules->stats.evaluations++;
    for (uint32_t i = 0; i < plan->side_count; i++) {
        double error = 0;
        if (!side_value(rules, &plan->sides[i], &group->sides[i], exact, &inputs[i], &error)) {
            return false;
        }
        rounded = rounded || error != 0;
    }
    double left = hk_rule_run(&plan->left, inputs);
    *out_value = left;
    if (!plan->compares) return true;
    double right = hk_rule_run(&plan->right, inputs);
    if (plan->value_is_right) *out_value = right;
    /* Sums that were carried along are trusted only far from the threshold: 1e-6 of the larger
     * side is many orders above their error (test: sums_stay_within_their_bound). */
    double scale = fabs(left) > fabs(right) ? fabs(left) : fabs(right);
    *out_sure = !rounded || fabs(left - right) > scale * 1e-6;
    return hk_rule_compare(plan->comparison, left, right);
}

/* Two sides that do not carry the same stamp wait for each other, HK_RULE_SETTLE_MS at most. */
static bool must_settle(struct hk_rules *rules, struct hk_rule_group *group) {
    const struct hk_rule_plan *plan = &rules->states[group->rule].plan;
    const struct hk_rule_group_side *left = &group->sides[0];
    const struct hk_rule_group_side *right = &group->sides[1];
    bool moved = left->newest_ms != left->decided_ms || right->newest_ms != right->decided_ms;
    /* What only time has changed has nothing to wait for. */
    if (plan->side_count < 2 || left->newest_ms == right->newest_ms || !moved) {
        group->wait_ms = 0;
        return false;
    }
    if (group->wait_ms == 0) group->wait_ms = rules->now_ms + HK_RULE_SETTLE_MS;
    if (rules->now_ms < group->wait_ms) return true;
    group->wait_ms = 0;
    return false;
}

static void decide(struct hk_rules *rules, struct hk_rule_group *group) {
    struct hk_rule_state *state = &rules->states[group->rule];
    double value = 0;
    bool sure = false;
    bool active = evaluate(rules, group, false, &value, &sure);
    for (size_t i = 0; i < HK_RULE_SIDES_MAX; i++) {
        group->sides[i].decided_ms = group->sides[i].newest_ms;
    }
    if (!sure || active != group->active) {
        rules->stats.confirmations++;
        active = evaluate(rules, group, true, &value, &sure);
    }
    bool changed = active != group->active;
    group->active = active;
    group->value = value;
    if (state->alert == NULL || (!changed && !active)) return;
    if (changed) rules->stats.transitions++;
    hk_err err = hk_alert_update(state->alert, group->labels, value, active, rules->now_ms);
    if (err < 0) {
        strncpy(state->last_error, hk_fail_text(), sizeof(state->last_error) - 1);
    }
}

void hk_groups_decide(struct hk_rules *rules) {
    size_t kept = 0;
    for (size_t i = 0; i < rules->dirty_count; i++) {
        uint32_t index = rules->dirty[i];
        struct hk_rule_group *group = &rules->groups[index];
        if (!rules->states[group->rule].plan.on_arrival) {
            group->dirty = false;
            continue;
        }
        if (must_settle(rules, group)) {
            rules->dirty[kept++] = index;
            continue;
        }
        group->dirty = false;
        decide(rules, group);
    }
    rules->dirty_count = kept;
}
