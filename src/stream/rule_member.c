/*
 * Members: the samples of a bound series and what they contribute.
 *
 * The screen of solo rate() and increase() rules with `> threshold`: let R be the sum of all steps
 * upwards (a reset counts as a step from 0) over the samples that the window holds. Whatever part
 * of them an evaluation sees, k ≥ 2 samples, the increase is at most R and Prometheus'
 * extrapolation multiplies it by at most (k + 1.2) / (k − 1) ≤ 3.2 (each end adds at most 1.1 mean
 * distances). So below threshold × range / 3.2 no passing of time can make the verdict true, and
 * neither the exact value nor a timer is needed. Test: rules_test.c compares with the engine.
 */
#include "stream/rules_internal.h"

#include "base/mem.h"

#include <math.h>

enum { WINDOW_MIN = 4, POINTS_PER_WORK = 8 };

/* ------------------------------------------------------------------ windows */

/* Forgets what no evaluation at or after now can see. */
static void trim(const struct hk_rules *rules, struct hk_rule_window *window, int64_t range_ms) {
    uint32_t gone = 0;
    const struct hk_rule_point *points = window->points + window->first;
    if (range_ms == 0) {
        /* The newest sample that is not in the future, and those of the future. */
        while (gone + 1 < window->count && points[gone + 1].stamp_ms <= rules->now_ms)
            gone++;
    } else {
        int64_t from_ms = rules->now_ms - range_ms;
        while (gone < window->count && points[gone].stamp_ms <= from_ms)
            gone++;
    }
    window->first += gone;
    window->count -= gone;
    if (window->count == 0) {
        window->first = 0;
        window->rise = 0;
        window->largest = 0;
    }
}

/* Room for one more point at the end: makes the first, moves to the front, or grows. */
static hk_err
make_room(const struct hk_rules *rules, struct hk_rule_member *member, int64_t range_ms) {
    struct hk_rule_window *window = member->window;
    uint32_t capacity = WINDOW_MIN;
    if (window != NULL) {
        if (window->first + window->count < window->capacity) return HK_OK;
        trim(rules, window, range_ms);
        if (window->count <= window->capacity - window->capacity / 4) {
            memmove(
                window->points, window->points + window->first,
                window->count * sizeof(window->points[0]));
            window->first = 0;
            if (window->count < window->capacity) return HK_OK;
        }
        capacity = window->capacity * 2;
    }
    struct hk_rule_window *grown =
        hk_mem_resize(window, 1, sizeof(*grown) + (size_t)capacity * sizeof(grown->points[0]));
    if (grown == NULL) return HK_E_NOMEM;
    if (window == NULL) *grown = (struct hk_rule_window){ 0 };
    grown->capacity = capacity;
    if (grown->first > 0) {
        memmove(
            grown->points, grown->points + grown->first, grown->count * sizeof(grown->points[0]));
        grown->first = 0;
    }
    member->window = grown;
    return HK_OK;
}

/* The step from `before` to `value` upwards; infinite when it cannot be bounded. */
static double step_of(double before, double value) {
    double step = value >= before ? value - before : value;
    if (isnan(step)) return (double)INFINITY;
    return step > 0 ? step : 0;
}

/* Puts a sample at its place; the same stamp again replaces the value. False: refused. */
static bool insert(
    struct hk_rules *rules, struct hk_rule_member *member, int64_t range_ms, int64_t stamp_ms,
    double value) {
    if (make_room(rules, member, range_ms) < 0) {
        rules->stats.memory_failures++;
        hk_rules_leave_arrival(rules, member->rule, "out of memory for its windows");
        return false;
    }
    struct hk_rule_window *window = member->window;
    struct hk_rule_point *points = window->points + window->first;
    uint32_t at = window->count;
    if (HK_LIKELY(at > 0 && points[at - 1].stamp_ms < stamp_ms)) {
        window->rise += step_of(points[at - 1].value, value);
    } else {
        while (at > 0 && points[at - 1].stamp_ms > stamp_ms)
            at--;
        if (window->count > 0) window->rise = (double)INFINITY; /* summed anew when needed */
        if (at > 0 && points[at - 1].stamp_ms == stamp_ms) {
            points[at - 1].value = value;
            return true;
        }
        if (at < window->count) rules->stats.late++;
    }
    if (window->count == HK_RULE_WINDOW_MAX) {
        hk_rules_leave_arrival(rules, member->rule, "more than 4096 samples in a window");
        return false;
    }
    memmove(points + at + 1, points + at, (window->count - at) * sizeof(points[0]));
    points[at] = (struct hk_rule_point){ stamp_ms, value };
    window->count++;
    if (fabs(value) > window->largest) window->largest = fabs(value);
    return true;
}

static void sum_rise(struct hk_rule_window *window) {
    const struct hk_rule_point *points = window->points + window->first;
    const struct hk_rule_point *before = NULL;
    window->rise = 0;
    window->largest = 0;
    for (uint32_t i = 0; i < window->count; i++) {
        if (hk_is_stale(points[i].value)) continue;
        if (before != NULL) window->rise += step_of(before->value, points[i].value);
        if (fabs(points[i].value) > window->largest) window->largest = fabs(points[i].value);
        before = &points[i];
    }
}

/* The rise with the rounding of its sums, and of the engine's. */
static double rise_bound(const struct hk_rule_window *window) {
    return window->rise + (double)window->count * window->largest * 0x1p-48;
}

/* ------------------------------------------------------------------ samples */

void hk_member_mark(struct hk_rules *rules, uint32_t index) {
    struct hk_rule_member *member = &rules->members[index];
    if (member->dirty || rules->phase == HK_RULE_LOADING) return;
    hk_err err = hk_mem_grow(
        &rules->dirty_members, &rules->dirty_member_capacity, rules->dirty_member_count + 1,
        sizeof(rules->dirty_members[0]));
    if (err < 0) {
        rules->stats.memory_failures++; /* its next sample or timer tries again */
        return;
    }
    member->dirty = true;
    rules->dirty_members[rules->dirty_member_count++] = index;
}

static void sample_of_range(
    struct hk_rules *rules, const struct hk_rule_hot *hot, uint32_t index, int64_t stamp_ms,
    double value) {
    struct hk_rule_member *member = &rules->members[index];
    int64_t range_ms = hot->range_ms[member->side];
    if (!insert(rules, member, range_ms, stamp_ms, value)) return;
    if (hot->rise_screen > 0 && !member->active) {
        struct hk_rule_window *window = member->window;
        if (rise_bound(window) < hot->rise_screen) return;
        trim(rules, window, range_ms);
        sum_rise(window);
        if (rise_bound(window) < hot->rise_screen) return;
    }
    hk_member_mark(rules, index);
}

/* An instant member whose samples do not simply follow each other: they go into a window. */
static void
sample_out_of_order(struct hk_rules *rules, uint32_t index, int64_t stamp_ms, double value) {
    struct hk_rule_member *member = &rules->members[index];
    if (member->window == NULL && member->newest_ms != HK_NEVER_MS) {
        if (stamp_ms < member->newest_ms && member->newest_ms <= rules->now_ms) {
            rules->stats.late++;
            return;
        }
        if (!insert(rules, member, 0, member->newest_ms, member->value)) return;
    }
    struct hk_rule_window *window = member->window;
    if (window != NULL) {
        trim(rules, window, 0);
        int64_t oldest_ms = window->points[window->first].stamp_ms;
        if (window->count > 0 && oldest_ms <= rules->now_ms && stamp_ms < oldest_ms) {
            rules->stats.late++;
            return;
        }
    }
    if (!insert(rules, member, 0, stamp_ms, value)) return;
    if (stamp_ms > member->newest_ms) member->newest_ms = stamp_ms;
    hk_member_mark(rules, index);
}

static void sample_of_instant(
    struct hk_rules *rules, const struct hk_rule_hot *hot, uint32_t index, int64_t stamp_ms,
    double value) {
    struct hk_rule_member *member = &rules->members[index];
    bool plain =
        member->window == NULL && stamp_ms >= member->newest_ms && stamp_ms <= rules->now_ms;
    if (HK_UNLIKELY(!plain)) {
        sample_out_of_order(rules, index, stamp_ms, value);
        return;
    }
    member->newest_ms = stamp_ms;
    member->value = value;
    if (hot->solo) {
        if (member->active || !hot->simple || hk_rule_compare(hot->op, value, hot->threshold)) {
            hk_member_mark(rules, index);
        }
        return;
    }
    hk_member_compute(rules, index);
}

void hk_member_sample(struct hk_rules *rules, uint32_t index, int64_t stamp_ms, double value) {
    struct hk_rule_member *member = &rules->members[index];
    const struct hk_rule_hot *hot = &rules->hot[member->rule];
    if (HK_UNLIKELY(!hot->on_arrival)) return;
    rules->stats.samples++;
    if (hot->range_ms[member->side] > 0)
        sample_of_range(rules, hot, index, stamp_ms, value);
    else
        sample_of_instant(rules, hot, index, stamp_ms, value);
    if (hot->settles) {
        /* Two sides wait for each other from the arrival on, whether the value changes or not. */
        struct hk_rule_group_side *side = &rules->groups[member->group].sides[member->side];
        if (stamp_ms > side->newest_ms) side->newest_ms = stamp_ms;
        hk_group_mark(rules, member->group);
    }
}

static bool has_stamp(const struct hk_rule_window *window, int64_t stamp_ms) {
    for (uint32_t i = window == NULL ? 0 : window->count; i > 0; i--) {
        int64_t at_ms = window->points[window->first + i - 1].stamp_ms;
        if (at_ms <= stamp_ms) return at_ms == stamp_ms;
    }
    return false;
}

void hk_member_load(struct hk_rules *rules, uint32_t index, int64_t stamp_ms, double value) {
    struct hk_rule_member *member = &rules->members[index];
    const struct hk_rule_hot *hot = &rules->hot[member->rule];
    if (!hot->on_arrival || has_stamp(member->window, stamp_ms)) return;
    int64_t range_ms = hot->range_ms[member->side];
    if (range_ms > 0) {
        (void)insert(rules, member, range_ms, stamp_ms, value);
        return;
    }
    if (member->window == NULL && stamp_ms <= member->newest_ms) return;
    hk_member_sample(rules, index, stamp_ms, value);
}

/* ------------------------------------------------------------------ contributions */

/* Back to the plain form when one visible sample is left. */
static void settle_instant(const struct hk_rules *rules, struct hk_rule_member *member) {
    struct hk_rule_window *window = member->window;
    if (window == NULL) return;
    trim(rules, window, 0);
    const struct hk_rule_point *first = &window->points[window->first];
    if (window->count != 1 || first->stamp_ms > rules->now_ms) return;
    member->newest_ms = first->stamp_ms;
    member->value = first->value;
    hk_mem_free(window);
    member->window = NULL;
}

static bool
instant_line(struct hk_rules *rules, struct hk_rule_member *member, struct hk_rule_line *out) {
    *out = (struct hk_rule_line){ .next_ms = INT64_MAX };
    settle_instant(rules, member);
    int64_t stamp_ms = member->newest_ms;
    double value = member->value;
    if (member->window != NULL) {
        const struct hk_rule_window *window = member->window;
        const struct hk_rule_point *points = window->points + window->first;
        bool seen = points[0].stamp_ms <= rules->now_ms;
        if (seen && window->count > 1) out->next_ms = points[1].stamp_ms;
        if (!seen) out->next_ms = points[0].stamp_ms;
        if (!seen) return false;
        stamp_ms = points[0].stamp_ms;
        value = points[0].value;
    }
    if (stamp_ms == HK_NEVER_MS || hk_is_stale(value)) return false;
    int64_t ends_ms = stamp_ms + rules->options.lookback_ms;
    if (rules->now_ms >= ends_ms) return false;
    if (ends_ms < out->next_ms) out->next_ms = ends_ms;
    out->value = value;
    return true;
}

/* Rare: the points without stale markers. */
static bool without_markers(
    struct hk_rules *rules, const struct hk_rule_side *side, const struct hk_rule_point *points,
    uint32_t count, struct hk_rule_line *out) {
    struct hk_rule_point *copy = hk_mem_resize(NULL, count, sizeof(*copy));
    uint32_t kept = 0;
    *out = (struct hk_rule_line){ .next_ms = rules->now_ms + HK_RULE_TICK_MIN_MS };
    if (copy == NULL) {
        rules->stats.memory_failures++;
        return false;
    }
    for (uint32_t i = 0; i < count; i++) {
        if (!hk_is_stale(points[i].value)) copy[kept++] = points[i];
    }
    bool present = hk_rule_range(side, copy, kept, rules->now_ms, out);
    hk_mem_free(copy);
    return present;
}

static bool range_line(
    struct hk_rules *rules, struct hk_rule_member *member, const struct hk_rule_side *side,
    struct hk_rule_line *out) {
    struct hk_rule_window *window = member->window;
    *out = (struct hk_rule_line){ .next_ms = INT64_MAX };
    if (window == NULL) return false;
    trim(rules, window, side->range_ms);
    const struct hk_rule_point *points = window->points + window->first;
    uint32_t to = window->count;
    while (to > 0 && points[to - 1].stamp_ms > rules->now_ms)
        to--;
    bool stale = false;
    for (uint32_t i = 0; i < to && !stale; i++)
        stale = hk_is_stale(points[i].value);
    bool present = stale ? without_markers(rules, side, points, to, out)
                         : hk_rule_range(side, points, to, rules->now_ms, out);
    rules->hot[member->rule].work += to / POINTS_PER_WORK;
    if (to < window->count && points[to].stamp_ms < out->next_ms) {
        out->next_ms = points[to].stamp_ms;
    }
    return present;
}

bool hk_member_line(
    struct hk_rules *rules, struct hk_rule_member *member, struct hk_rule_line *out) {
    const struct hk_rule_side *side = &rules->states[member->rule].plan.sides[member->side];
    bool present = side->range_ms > 0 ? range_line(rules, member, side, out)
                                      : instant_line(rules, member, out);
    if (present && side->program.count > 1) {
        double value = out->value;
        out->value = hk_rule_run(&side->program, &value);
        out->slope *= side->scale;
    }
    return present;
}

void hk_member_compute(struct hk_rules *rules, uint32_t index) {
    struct hk_rule_member *member = &rules->members[index];
    if (!rules->hot[member->rule].on_arrival || rules->phase == HK_RULE_LOADING) return;
    struct hk_rule_line line;
    bool present = hk_member_line(rules, member, &line);
    if (member->group == HK_NO_INDEX) {
        hk_solo_decide(rules, index, present, &line);
        return;
    }
    hk_rule_timer_set(rules, index, line.next_ms);
    hk_group_change(rules, member, present ? &line : NULL);
}

/* Frees the slot: the caller has taken it out of its group and of its series' chain. */
void hk_member_free(struct hk_rules *rules, uint32_t index) {
    struct hk_rule_member *member = &rules->members[index];
    hk_rule_timer_drop(rules, index);
    hk_mem_free(member->window);
    *member = (struct hk_rule_member){ .next_of_ref = rules->free_member };
    rules->free_member = index + 1;
}
