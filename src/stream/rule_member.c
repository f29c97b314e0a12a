/* Members: the samples of a bound series, what they contribute, and when that can change. */
#include "stream/rules_internal.h"

#include "base/mem.h"

/* ------------------------------------------------------------------ timer heap */

static void heap_put(struct hk_rules *rules, size_t at, uint32_t member) {
    rules->heap[at] = member;
    rules->members[member].heap_at = (uint32_t)at + 1;
}

static void sift_up(struct hk_rules *rules, size_t at) {
    uint32_t member = rules->heap[at];
    int64_t due_ms = rules->members[member].due_ms;
    while (at > 0) {
        size_t parent = (at - 1) / 2;
        if (rules->members[rules->heap[parent]].due_ms <= due_ms) break;
        heap_put(rules, at, rules->heap[parent]);
        at = parent;
    }
    heap_put(rules, at, member);
}

static void sift_down(struct hk_rules *rules, size_t at) {
    uint32_t member = rules->heap[at];
    int64_t due_ms = rules->members[member].due_ms;
    for (;;) {
        size_t child = at * 2 + 1;
        if (child >= rules->heap_count) break;
        if (child + 1 < rules->heap_count && rules->members[rules->heap[child + 1]].due_ms <
                                                 rules->members[rules->heap[child]].due_ms) {
            child++;
        }
        if (rules->members[rules->heap[child]].due_ms >= due_ms) break;
        heap_put(rules, at, rules->heap[child]);
        at = child;
    }
    heap_put(rules, at, member);
}

/*
 * The member's timer is due at `due_ms`. A later time than the one in the heap is only noted: the
 * heap's order is repaired when the old time comes, which saves the work on every sample.
 */
static void set_timer(struct hk_rules *rules, uint32_t index, int64_t due_ms) {
    struct hk_rule_member *member = &rules->members[index];
    if (due_ms <= rules->now_ms) due_ms = rules->now_ms + 1;
    if (member->heap_at == 0) {
        if (due_ms == INT64_MAX) return;
        member->due_ms = due_ms;
        hk_err err = hk_mem_grow(
            &rules->heap, &rules->heap_capacity, rules->heap_count + 1, sizeof(rules->heap[0]));
        if (err < 0) return; /* the next sample tries again */
        rules->heap[rules->heap_count] = index;
        sift_up(rules, rules->heap_count++);
        return;
    }
    bool earlier = due_ms < member->due_ms;
    if (!earlier) return; /* recomputed when the present time comes */
    member->due_ms = due_ms;
    sift_up(rules, member->heap_at - 1);
}

/* Takes the member's timer out of the heap. */
static void unset_timer(struct hk_rules *rules, uint32_t index) {
    struct hk_rule_member *member = &rules->members[index];
    if (member->heap_at == 0) return;
    size_t hole = member->heap_at - 1;
    member->heap_at = 0;
    rules->heap_count--;
    if (hole == rules->heap_count) return;
    rules->heap[hole] = rules->heap[rules->heap_count];
    rules->members[rules->heap[hole]].heap_at = (uint32_t)hole + 1;
    sift_down(rules, hole);
    sift_up(rules, rules->members[rules->heap[hole]].heap_at - 1);
}

void hk_member_drop(struct hk_rules *rules, uint32_t index) {
    struct hk_rule_member *member = &rules->members[index];
    struct hk_rule_group_side *side = &rules->groups[member->group].sides[member->side];
    if (member->present) hk_group_change(rules, member, false, 0);
    unset_timer(rules, index);
    uint32_t *at = &side->first;
    while (*at != index)
        at = &rules->members[*at].next_of_group;
    *at = member->next_of_group;
    side->members--;
    rules->states[member->rule].members--;
    hk_mem_free(member->stamps_ms);
    hk_mem_free(member->values);
    *member = (struct hk_rule_member){
        .ref = HK_NO_INDEX,
        .next_of_ref = rules->free_member,
        .next_of_group = HK_NO_INDEX,
    };
    rules->free_member = index;
    rules->stats.members--;
}

void hk_member_timers(struct hk_rules *rules, int64_t now_ms, uint32_t budget) {
    while (budget-- > 0 && rules->heap_count > 0 &&
           rules->members[rules->heap[0]].due_ms <= now_ms) {
        uint32_t index = rules->heap[0];
        rules->members[index].heap_at = 0;
        rules->heap_count--;
        if (rules->heap_count > 0) {
            rules->heap[0] = rules->heap[rules->heap_count];
            sift_down(rules, 0);
        }
        hk_member_compute(rules, index);
    }
}

/* ------------------------------------------------------------------ samples */

static hk_err make_room(struct hk_rule_member *member) {
    if (member->count < member->capacity) return HK_OK;
    uint32_t capacity = member->capacity == 0 ? 2 : member->capacity * 2;
    int64_t *stamps = hk_mem_resize(member->stamps_ms, capacity, sizeof(int64_t));
    if (stamps == NULL) return HK_E_NOMEM;
    member->stamps_ms = stamps;
    double *values = hk_mem_resize(member->values, capacity, sizeof(double));
    if (values == NULL) return HK_E_NOMEM;
    member->values = values;
    member->capacity = capacity;
    return HK_OK;
}

static void forget_first(struct hk_rule_member *member, uint32_t n) {
    if (n == 0) return;
    member->count -= n;
    memmove(member->stamps_ms, member->stamps_ms + n, (size_t)member->count * sizeof(int64_t));
    memmove(member->values, member->values + n, (size_t)member->count * sizeof(double));
}

/* Forgets what no evaluation at or after now can see. */
static void trim(const struct hk_rules *rules, struct hk_rule_member *member) {
    const struct hk_rule_side *side = &rules->states[member->rule].plan.sides[member->side];
    uint32_t gone = 0;
    if (side->range_ms == 0) {
        /* The newest sample that is not in the future, and those of the future. */
        while (gone + 1 < member->count && member->stamps_ms[gone + 1] <= rules->now_ms)
            gone++;
    } else {
        int64_t from_ms = rules->now_ms - side->range_ms;
        while (gone < member->count && member->stamps_ms[gone] <= from_ms)
            gone++;
    }
    forget_first(member, gone);
}

static void leave_arrival(struct hk_rules *rules, uint32_t rule, const char *why) {
    struct hk_rule_state *state = &rules->states[rule];
    if (!state->plan.on_arrival) return;
    state->plan.on_arrival = false;
    state->plan.reason = why;
    state->next_ms = rules->now_ms;
    rules->stats.on_arrival--;
    rules->stats.on_tick++;
}

/* Puts a sample at its place; the same stamp again replaces the value. False: refused. */
static bool
insert(struct hk_rules *rules, struct hk_rule_member *member, int64_t stamp_ms, double value) {
    uint32_t at = member->count;
    while (at > 0 && member->stamps_ms[at - 1] > stamp_ms)
        at--;
    if (at > 0 && member->stamps_ms[at - 1] == stamp_ms) {
        member->values[at - 1] = value;
        return true;
    }
    if (at < member->count) rules->stats.late++;
    if (member->count == HK_RULE_WINDOW_MAX) {
        leave_arrival(rules, member->rule, "more than 4096 samples in a window");
        return false;
    }
    if (make_room(member) < 0) {
        leave_arrival(rules, member->rule, "out of memory for its windows");
        return false;
    }
    size_t behind = member->count - at;
    memmove(member->stamps_ms + at + 1, member->stamps_ms + at, behind * sizeof(int64_t));
    memmove(member->values + at + 1, member->values + at, behind * sizeof(double));
    member->stamps_ms[at] = stamp_ms;
    member->values[at] = value;
    member->count++;
    return true;
}

void hk_member_sample(struct hk_rules *rules, uint32_t index, int64_t stamp_ms, double value) {
    struct hk_rule_member *member = &rules->members[index];
    if (!rules->states[member->rule].plan.on_arrival) return;
    const struct hk_rule_side *side = &rules->states[member->rule].plan.sides[member->side];
    rules->stats.samples++;
    if (member->count > 8 || (side->range_ms == 0 && member->count > 0)) trim(rules, member);
    bool too_late = side->range_ms == 0 && member->count > 0 &&
                    member->stamps_ms[0] <= rules->now_ms && stamp_ms < member->stamps_ms[0];
    if (too_late) {
        rules->stats.late++;
        return;
    }
    if (!insert(rules, member, stamp_ms, value)) return;
    if (stamp_ms > member->newest_ms) member->newest_ms = stamp_ms;
    struct hk_rule_group_side *group = &rules->groups[member->group].sides[member->side];
    if (stamp_ms > group->newest_ms) group->newest_ms = stamp_ms;
    /* Two sides wait for each other from the arrival on, whether the value changes or not. */
    if (rules->states[member->rule].plan.side_count > 1) hk_group_mark(rules, member->group);
    hk_member_compute(rules, index);
}

/* ------------------------------------------------------------------ contributions */

/* Samples that an evaluation now sees: [*out_from, *out_to). */
static void
visible(const struct hk_rules *rules, const struct hk_rule_member *member, uint32_t *out_to) {
    uint32_t to = member->count;
    while (to > 0 && member->stamps_ms[to - 1] > rules->now_ms)
        to--;
    *out_to = to;
}

static bool instant_value(
    const struct hk_rules *rules, const struct hk_rule_member *member, uint32_t to,
    double *out_value, int64_t *out_next_ms) {
    int64_t lookback_ms = rules->options.lookback_ms;
    *out_next_ms = INT64_MAX;
    if (to == 0) return false;
    int64_t ends_ms = member->stamps_ms[to - 1] + lookback_ms;
    if (hk_is_stale(member->values[to - 1]) || rules->now_ms >= ends_ms) return false;
    *out_value = member->values[to - 1];
    *out_next_ms = ends_ms;
    return true;
}

static bool range_value(
    const struct hk_rules *rules, const struct hk_rule_member *member,
    const struct hk_rule_side *side, uint32_t to, double *out_value, int64_t *out_next_ms) {
    bool stale = false;
    for (uint32_t i = 0; i < to && !stale; i++)
        stale = hk_is_stale(member->values[i]);
    if (!stale) {
        return hk_rule_range(
            side, member->stamps_ms, member->values, to, rules->now_ms, out_value, out_next_ms);
    }
    /* Rare: copy without the markers. */
    int64_t *stamps = hk_mem_resize(NULL, to, sizeof(int64_t));
    double *values = hk_mem_resize(NULL, to, sizeof(double));
    uint32_t count = 0;
    for (uint32_t i = 0; i < to && stamps != NULL && values != NULL; i++) {
        if (hk_is_stale(member->values[i])) continue;
        stamps[count] = member->stamps_ms[i];
        values[count++] = member->values[i];
    }
    bool present =
        hk_rule_range(side, stamps, values, count, rules->now_ms, out_value, out_next_ms);
    hk_mem_free(stamps);
    hk_mem_free(values);
    return present;
}

void hk_member_compute(struct hk_rules *rules, uint32_t index) {
    struct hk_rule_member *member = &rules->members[index];
    const struct hk_rule_side *side = &rules->states[member->rule].plan.sides[member->side];
    trim(rules, member);
    uint32_t to = 0;
    visible(rules, member, &to);
    double value = 0;
    int64_t next_ms = INT64_MAX;
    bool present = side->range_ms == 0 ? instant_value(rules, member, to, &value, &next_ms)
                                       : range_value(rules, member, side, to, &value, &next_ms);
    if (to < member->count && member->stamps_ms[to] < next_ms) next_ms = member->stamps_ms[to];
    set_timer(rules, index, next_ms);
    double contribution = present ? hk_rule_run(&side->program, &value) : 0;
    hk_group_change(rules, member, present, contribution);
}
