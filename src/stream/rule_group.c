/*
 * Groups: sums of contributions, and the verdict with its transitions.
 *
 * A group keeps sums of its members' lines (value at an origin, slope), so that its value is known
 * at any time without looking at the members. Each addition is exact but for the rounding of the
 * compensation (Neumaier), whose bound is carried in `error`. A verdict is taken from the sums only
 * when it is the same over the whole interval of that bound; else, and at every transition, the
 * members are evaluated anew.
 */
#include "stream/rules_internal.h"

#include "base/mem.h"

#include <math.h>

enum { GROUP_SLOTS_MIN = 256, EXACT_WORK = 16, CHANGES_MIN = 64 };

/* Relative: roundings of members' lines (theirs and the engine's), and of a final sum. */
#define LINE_ERROR 0x1p-44
#define SUM_ERROR  0x1p-50

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

static hk_err grow_slots(struct hk_rules *rules) {
    if (rules->group_slots != NULL && (rules->group_used + 1) * 2 <= rules->group_mask + 1) {
        return HK_OK;
    }
    uint32_t slots = rules->group_slots == NULL ? GROUP_SLOTS_MIN : (rules->group_mask + 1) * 2;
    uint32_t *grown = hk_mem_alloc(slots, sizeof(uint32_t));
    if (grown == NULL) return HK_E_NOMEM;
    for (uint32_t i = 0; i < rules->group_count; i++) {
        if (!rules->groups[i].used) continue;
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

static hk_err new_group(struct hk_rules *rules, uint32_t *out_index) {
    if (rules->free_group != 0) {
        *out_index = rules->free_group - 1;
        rules->free_group = rules->groups[*out_index].rule;
        return HK_OK;
    }
    HK_TRY(hk_mem_grow(
        &rules->groups, &rules->group_capacity, rules->group_count + 1, sizeof(rules->groups[0])));
    *out_index = (uint32_t)rules->group_count++;
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
    struct hk_labels copy;
    HK_TRY(hk_labels_copy(own, &copy));
    uint32_t index = 0;
    hk_err err = new_group(rules, &index);
    if (err < 0) {
        hk_labels_free(copy);
        return err;
    }
    struct hk_rule_group *group = &rules->groups[index];
    *group = (struct hk_rule_group){
        .hash = hash, .labels = copy, .rule = rule, .used = true, .origin_ms = rules->now_ms
    };
    for (size_t i = 0; i < HK_RULE_SIDES_MAX; i++)
        group->sides[i].first = HK_NO_INDEX;
    rules->group_slots[at] = index + 1;
    rules->group_used++;
    rules->stats.groups = rules->group_used;
    *out_group = index;
    return HK_OK;
}

/* Takes the group out of the hash table (linear probing: what follows moves back) and frees it. */
static void free_group(struct hk_rules *rules, uint32_t index) {
    struct hk_rule_group *group = &rules->groups[index];
    uint32_t mask = rules->group_mask;
    uint32_t at = (uint32_t)group->hash.low & mask;
    while (rules->group_slots[at] != index + 1)
        at = (at + 1) & mask;
    for (uint32_t next = (at + 1) & mask; rules->group_slots[next] != 0; next = (next + 1) & mask) {
        uint32_t home = (uint32_t)rules->groups[rules->group_slots[next] - 1].hash.low & mask;
        if (((next - home) & mask) < ((next - at) & mask)) continue;
        rules->group_slots[at] = rules->group_slots[next];
        at = next;
    }
    rules->group_slots[at] = 0;
    hk_rule_timer_drop(rules, index | HK_RULE_OF_GROUP);
    hk_labels_free(group->labels);
    *group = (struct hk_rule_group){ .rule = rules->free_group };
    rules->free_group = index + 1;
    rules->group_used--;
    rules->stats.groups = rules->group_used;
}

void hk_groups_free(struct hk_rules *rules) {
    for (size_t i = 0; i < rules->group_count; i++) {
        hk_labels_free(rules->groups[i].labels);
    }
    hk_mem_free(rules->groups);
    hk_mem_free(rules->group_slots);
}

void hk_group_join(struct hk_rules *rules, uint32_t group, uint32_t index) {
    struct hk_rule_member *member = &rules->members[index];
    struct hk_rule_group_side *side = &rules->groups[group].sides[member->side];
    member->group = group;
    member->next_of_group = side->first;
    member->prev_of_group = HK_NO_INDEX;
    if (side->first != HK_NO_INDEX) rules->members[side->first].prev_of_group = index;
    side->first = index;
    side->members++;
}

void hk_group_leave(struct hk_rules *rules, uint32_t index) {
    struct hk_rule_member *member = &rules->members[index];
    struct hk_rule_group_side *side = &rules->groups[member->group].sides[member->side];
    hk_group_change(rules, member, NULL);
    hk_group_mark(rules, member->group); /* an empty group is freed when it is decided */
    if (member->next_of_group != HK_NO_INDEX) {
        rules->members[member->next_of_group].prev_of_group = member->prev_of_group;
    }
    if (member->prev_of_group != HK_NO_INDEX)
        rules->members[member->prev_of_group].next_of_group = member->next_of_group;
    else
        side->first = member->next_of_group;
    side->members--;
}

/* ------------------------------------------------------------------ sums */

static void add(struct hk_rule_group_side *side, double value) {
    double next = side->sum + value;
    double lost = 0;
    if (isinf(next))
        side->rest = 0;
    else if (fabs(side->sum) >= fabs(value))
        lost = (side->sum - next) + value;
    else
        lost = (value - next) + side->sum;
    side->sum = next;
    if (lost == 0) return;
    side->rest += lost; /* `lost` is exact; this addition may round */
    side->error += fabs(side->rest) * 0x1p-52;
}

static void add_slope(struct hk_rule_group_side *side, double slope) {
    if (slope == 0) return;
    side->slope += slope;
    side->slope_error += fabs(side->slope) * 0x1p-52;
}

static bool is_extreme(const struct hk_rule_side *plan) {
    return plan->aggregated &&
           (plan->aggregation == HK_PROMQL_MIN || plan->aggregation == HK_PROMQL_MAX);
}

static bool better(const struct hk_rule_side *plan, double value, double than) {
    if (isnan(than)) return true;
    return plan->aggregation == HK_PROMQL_MIN ? value < than : value > than;
}

void hk_group_mark(struct hk_rules *rules, uint32_t index) {
    struct hk_rule_group *group = &rules->groups[index];
    if (group->dirty) return;
    hk_err err = hk_mem_grow(
        &rules->dirty, &rules->dirty_capacity, rules->dirty_count + 1, sizeof(rules->dirty[0]));
    if (err < 0) {
        rules->stats.memory_failures++; /* stays as it was until its next change */
        return;
    }
    group->dirty = true;
    rules->dirty[rules->dirty_count++] = index;
}

static uint64_t bits_of(double value) {
    uint64_t bits = 0;
    memcpy(&bits, &value, sizeof(bits));
    return bits;
}

static double slope_of(const struct hk_rule_member *member) {
    return member->window != NULL ? member->window->slope : 0;
}

/* The smallest or largest contribution follows one that comes or goes. */
static void follow_best(
    struct hk_rule_group_side *side, const struct hk_rule_side *plan, double value, bool comes) {
    if (!side->best_known) return;
    if (!comes) {
        if (!(better(plan, side->best, value))) side->best_known = false;
        return;
    }
    if (side->present == 0 || better(plan, value, side->best)) side->best = value;
}

void hk_group_change(
    struct hk_rules *rules, struct hk_rule_member *member, const struct hk_rule_line *line) {
    struct hk_rule_group *group = &rules->groups[member->group];
    struct hk_rule_group_side *side = &group->sides[member->side];
    const struct hk_rule_side *plan = &rules->states[member->rule].plan.sides[member->side];
    double slope = line != NULL ? line->slope : 0;
    double value = 0;
    if (line != NULL) {
        value = line->value - slope * (double)(rules->now_ms - group->origin_ms);
    }
    bool same = member->present == (line != NULL) &&
                (line == NULL ||
                 (bits_of(member->contribution) == bits_of(value) && slope_of(member) == slope));
    if (same) {
        /* Two sides: the other may wait for this stamp. */
        if (group->wait_ms != 0) hk_group_mark(rules, member->group);
        return;
    }
    bool extreme = is_extreme(plan);
    if (member->present) {
        side->present--;
        add(side, -member->contribution);
        add_slope(side, -slope_of(member));
        if (extreme) follow_best(side, plan, member->contribution, false);
    }
    if (line != NULL) {
        if (extreme) follow_best(side, plan, value, true);
        side->present++;
        add(side, value);
        add_slope(side, slope);
        side->magnitude += fabs(value);
    }
    side->changes++;
    member->present = line != NULL;
    member->contribution = value;
    if (member->window != NULL) member->window->slope = slope;
    hk_group_mark(rules, member->group);
}

/* All members anew, the origin is now: the sums are exact as the engine computes them. */
static void make_exact(struct hk_rules *rules, struct hk_rule_group *group) {
    struct hk_rule_hot *hot = &rules->hot[group->rule];
    const struct hk_rule_plan *plan = &rules->states[group->rule].plan;
    group->origin_ms = rules->now_ms;
    for (uint32_t s = 0; s < plan->side_count; s++) {
        struct hk_rule_group_side *side = &group->sides[s];
        bool extreme = is_extreme(&plan->sides[s]);
        side->sum = side->rest = side->error = side->magnitude = 0;
        side->slope = side->slope_error = 0;
        side->present = side->changes = 0;
        side->best_known = true;
        hot->work += side->members + EXACT_WORK;
        for (uint32_t i = side->first; i != HK_NO_INDEX; i = rules->members[i].next_of_group) {
            struct hk_rule_member *member = &rules->members[i];
            if (hot->varies) {
                struct hk_rule_line line;
                member->present = hk_member_line(rules, member, &line);
                member->contribution = line.value;
                if (member->window != NULL) member->window->slope = line.slope;
                hk_rule_timer_set(rules, i, line.next_ms);
            }
            if (!member->present) continue;
            if (extreme) follow_best(side, &plan->sides[s], member->contribution, true);
            side->present++;
            add(side, member->contribution);
            add_slope(side, slope_of(member));
            side->magnitude += fabs(member->contribution);
        }
    }
}

static void find_best(
    struct hk_rules *rules, const struct hk_rule_side *plan, struct hk_rule_group_side *side) {
    bool any = false;
    for (uint32_t i = side->first; i != HK_NO_INDEX; i = rules->members[i].next_of_group) {
        const struct hk_rule_member *member = &rules->members[i];
        rules->hot[member->rule].work++;
        if (!member->present) continue;
        if (!any || better(plan, member->contribution, side->best)) {
            side->best = member->contribution;
        }
        any = true;
    }
    side->best_known = true;
}

/* ------------------------------------------------------------------ verdicts */

static struct hk_rule_interval between(double a, double b, double error) {
    struct hk_rule_interval out = { .low = fmin(a, b) - error, .high = fmax(a, b) + error };
    out.unknown = !isfinite(out.low) || !isfinite(out.high);
    return out;
}

/* Smallest or largest of moving lines over [now, now + span]. */
static struct hk_rule_interval extreme_of_lines(
    struct hk_rules *rules, const struct hk_rule_side *plan, const struct hk_rule_group *group,
    const struct hk_rule_group_side *side, double span_ms) {
    struct hk_rule_interval out = { .low = (double)NAN, .high = (double)NAN };
    double from_ms = (double)(rules->now_ms - group->origin_ms);
    for (uint32_t i = side->first; i != HK_NO_INDEX; i = rules->members[i].next_of_group) {
        const struct hk_rule_member *member = &rules->members[i];
        rules->hot[member->rule].work++;
        if (!member->present) continue;
        double begin = member->contribution + slope_of(member) * from_ms;
        double end = begin + slope_of(member) * span_ms;
        double error = (fabs(member->contribution) + fabs(end)) * LINE_ERROR;
        struct hk_rule_interval one = between(begin, end, error);
        if (one.unknown) return one;
        if (better(plan, one.low, out.low)) out.low = one.low;
        if (better(plan, one.high, out.high)) out.high = one.high;
    }
    return out;
}

/* All values of the side over [now, now + span]. The side is present. */
static struct hk_rule_interval
side_interval(struct hk_rules *rules, struct hk_rule_group *group, uint32_t index, double span_ms) {
    const struct hk_rule_hot *hot = &rules->hot[group->rule];
    const struct hk_rule_side *plan = &rules->states[group->rule].plan.sides[index];
    struct hk_rule_group_side *side = &group->sides[index];
    if (plan->aggregated) {
        switch ((int)plan->aggregation) {
        case HK_PROMQL_COUNT:
            return (struct hk_rule_interval){ .low = side->present, .high = side->present };
        case HK_PROMQL_GROUP:
            return (struct hk_rule_interval){ .low = 1, .high = 1 };
        case HK_PROMQL_MIN:
        case HK_PROMQL_MAX:
            if (hot->varies) return extreme_of_lines(rules, plan, group, side, span_ms);
            if (!side->best_known) find_best(rules, plan, side);
            return between(side->best, side->best, 0);
        default:
            break;
        }
    }
    double from_ms = (double)(rules->now_ms - group->origin_ms);
    double begin = side->sum + side->rest + side->slope * from_ms;
    double end = begin + side->slope * span_ms;
    double error = side->error;
    if (side->rest != 0 || error != 0) error += fabs(begin) * SUM_ERROR;
    if (hot->varies) {
        double reach_ms = fabs(from_ms) + span_ms;
        error += (side->magnitude + fabs(side->slope) * reach_ms) * LINE_ERROR;
        error += side->slope_error * reach_ms;
    }
    struct hk_rule_interval out = between(begin, end, error);
    if (plan->aggregated && plan->aggregation == HK_PROMQL_AVG && !out.unknown) {
        double n = side->present;
        bool exact = out.low == out.high;
        out.low /= n;
        out.high /= n;
        if (!exact) {
            out.low -= fabs(out.low) * SUM_ERROR;
            out.high += fabs(out.high) * SUM_ERROR;
        }
    }
    return out;
}

static bool all_present(const struct hk_rule_plan *plan, const struct hk_rule_group *group) {
    for (uint32_t i = 0; i < plan->side_count; i++) {
        if (group->sides[i].present == 0) return false;
    }
    return true;
}

/* The verdict over [now, now + span], from the sums. */
static enum hk_rule_truth
judge(struct hk_rules *rules, struct hk_rule_group *group, double span_ms) {
    const struct hk_rule_plan *plan = &rules->states[group->rule].plan;
    struct hk_rule_interval inputs[HK_RULE_SIDES_MAX] = { 0 };
    if (!all_present(plan, group)) return HK_RULE_FALSE;
    for (uint32_t i = 0; i < plan->side_count; i++) {
        inputs[i] = side_interval(rules, group, i, span_ms);
    }
    return hk_rule_plan_judge(plan, inputs);
}

static double side_value(struct hk_rules *rules, struct hk_rule_group *group, uint32_t index) {
    const struct hk_rule_side *plan = &rules->states[group->rule].plan.sides[index];
    struct hk_rule_group_side *side = &group->sides[index];
    double sum = isfinite(side->rest) ? side->sum + side->rest : side->sum;
    sum += side->slope * (double)(rules->now_ms - group->origin_ms);
    if (!plan->aggregated) return sum;
    switch ((int)plan->aggregation) {
    case HK_PROMQL_SUM:
        return sum;
    case HK_PROMQL_AVG:
        return sum / (double)side->present;
    case HK_PROMQL_COUNT:
        return side->present;
    case HK_PROMQL_MIN:
    case HK_PROMQL_MAX:
        if (!side->best_known) find_best(rules, plan, side);
        return side->best;
    default:
        return 1; /* group */
    }
}

/* Value and verdict at this moment; exact after make_exact(). */
static bool evaluate(struct hk_rules *rules, struct hk_rule_group *group, double *out_value) {
    const struct hk_rule_plan *plan = &rules->states[group->rule].plan;
    double inputs[HK_RULE_SIDES_MAX] = { 0 };
    if (!all_present(plan, group)) return false;
    for (uint32_t i = 0; i < plan->side_count; i++)
        inputs[i] = side_value(rules, group, i);
    double left = hk_rule_run(&plan->left, inputs);
    *out_value = left;
    if (!plan->compares) return true;
    double right = hk_rule_run(&plan->right, inputs);
    if (plan->value_is_right) *out_value = right;
    return hk_rule_compare(plan->comparison, left, right);
}

/* Two sides that do not carry the same stamp wait for each other, HK_RULE_SETTLE_MS at most. */
static bool must_settle(struct hk_rules *rules, struct hk_rule_group *group) {
    const struct hk_rule_group_side *left = &group->sides[0];
    const struct hk_rule_group_side *right = &group->sides[1];
    bool moved = left->newest_ms != left->decided_ms || right->newest_ms != right->decided_ms;
    /* What only time has changed has nothing to wait for, nor has the state at the start. */
    if (!rules->hot[group->rule].settles || !rules->judging ||
        left->newest_ms == right->newest_ms || !moved) {
        group->wait_ms = 0;
        return false;
    }
    if (group->wait_ms == 0) group->wait_ms = rules->now_ms + HK_RULE_SETTLE_MS;
    if (rules->now_ms < group->wait_ms) return true;
    group->wait_ms = 0;
    return false;
}

/* The verdict of moving sides is looked at again when it may change. */
static void look_ahead(struct hk_rules *rules, uint32_t index) {
    struct hk_rule_group *group = &rules->groups[index];
    const struct hk_rule_plan *plan = &rules->states[group->rule].plan;
    if (!plan->compares || !all_present(plan, group)) return;
    bool moves = false;
    for (uint32_t i = 0; i < plan->side_count; i++) {
        moves = moves || group->sides[i].slope != 0 || is_extreme(&plan->sides[i]);
    }
    if (!moves) return;
    int64_t span_ms = HK_RULE_FOREVER_MS;
    while (span_ms > 1 && judge(rules, group, (double)span_ms) == HK_RULE_UNSURE)
        span_ms /= 4;
    if (span_ms < 1) span_ms = 1;
    hk_rule_timer_set(rules, index | HK_RULE_OF_GROUP, rules->now_ms + span_ms);
}

/* Magnitudes only grow: after many changes the members are summed anew. */
static bool is_worn(const struct hk_rules *rules, const struct hk_rule_group *group) {
    if (!rules->hot[group->rule].varies) return false;
    for (size_t i = 0; i < HK_RULE_SIDES_MAX; i++) {
        if (group->sides[i].changes > CHANGES_MIN + 4 * group->sides[i].members) return true;
    }
    return false;
}

static void decide(struct hk_rules *rules, uint32_t index) {
    struct hk_rule_group *group = &rules->groups[index];
    for (size_t i = 0; i < HK_RULE_SIDES_MAX; i++) {
        group->sides[i].decided_ms = group->sides[i].newest_ms;
    }
    rules->stats.evaluations++;
    enum hk_rule_truth truth = judge(rules, group, 0);
    bool active = truth == HK_RULE_TRUE;
    if (truth == HK_RULE_UNSURE || active != group->active || is_worn(rules, group)) {
        rules->stats.confirmations++;
        make_exact(rules, group);
        active = evaluate(rules, group, &group->value);
    } else if (active) {
        (void)evaluate(rules, group, &group->value);
    }
    if (rules->hot[group->rule].varies) look_ahead(rules, index);
    if (!active && !group->active) return;
    rules->stats.transitions += active != group->active;
    group->active = active;
    hk_rules_verdict(rules, group->rule, group->labels, group->value, active);
}

static void decide_groups(struct hk_rules *rules) {
    size_t kept = 0;
    for (size_t i = 0; i < rules->dirty_count; i++) {
        uint32_t index = rules->dirty[i];
        struct hk_rule_group *group = &rules->groups[index];
        bool on_arrival = rules->hot[group->rule].on_arrival;
        if (on_arrival && must_settle(rules, group)) {
            rules->dirty[kept++] = index;
            continue;
        }
        group->dirty = false;
        if (on_arrival) decide(rules, index);
        if (group->sides[0].members + group->sides[1].members == 0) free_group(rules, index);
    }
    rules->dirty_count = kept;
}

void hk_rules_decide(struct hk_rules *rules) {
    for (size_t i = 0; i < rules->dirty_member_count; i++) {
        uint32_t index = rules->dirty_members[i];
        rules->members[index].dirty = false;
        hk_member_compute(rules, index);
    }
    rules->dirty_member_count = 0;
    if (rules->dirty_count > 0 && rules->phase == HK_RULE_PRIMED) decide_groups(rules);
}
