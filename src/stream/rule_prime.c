/*
 * Priming: after a start, or when rules are loaded, the series that exist are bound and their
 * windows read from the store.
 *
 * With few series all of it happens at once. With many, the shard binds in slices between its other
 * work, the worker reads (one selection per side of a rule) and hands points back in portions, and
 * the shard computes the members in slices. No verdict is given before its windows are complete:
 * alerts that were restored wait until then.
 */
#include "stream/rules_internal.h"

#include "base/log.h"
#include "base/mem.h"
#include "os/clock.h"

#include <stdatomic.h>

enum {
    AT_ONCE_MAX = 20000,   /* series that are bound and read without slices */
    BIND_SLICE = 4096,     /* series */
    SETTLE_SLICE = 8192,   /* members */
    PORTION_POINTS = 8192, /* of one post */
    POINTS_OUT_MAX = 1 << 20,
    ARENA_MAX = 1 << 30,
    FUTURE_MS = 3600000, /* samples that wait for their time are read that far ahead */
};

struct prime_point {
    uint32_t ref;
    int64_t stamp_ms;
    double value;
};

/* Points of one side of one rule, or how its reading ended. */
struct portion {
    struct hk_rules *rules;
    uint32_t rule, count;
    uint8_t side;
    bool failed; /* the rule's windows could not be read */
    bool last;   /* of the whole job */
    struct prime_point points[];
};

/* ------------------------------------------------------------------ on the shard */

static void load(struct hk_rules *rules, const struct portion *portion) {
    for (uint32_t i = 0; i < portion->count; i++) {
        const struct prime_point *point = &portion->points[i];
        if (point->ref >= rules->ref_capacity) continue;
        uint32_t index = rules->first_member[point->ref] - 1;
        for (; index != HK_NO_INDEX; index = rules->members[index].next_of_ref) {
            const struct hk_rule_member *member = &rules->members[index];
            if (member->rule != portion->rule || member->side != portion->side) continue;
            hk_member_load(rules, index, point->stamp_ms, point->value);
            break;
        }
    }
}

static bool is_stopped(struct hk_rules *rules) {
    return atomic_load_explicit(&rules->stop, memory_order_acquire);
}

static void finish(struct hk_rules *rules) {
    rules->phase = HK_RULE_PRIMED;
    hk_rules_decide(rules); /* at once: restored alerts are confirmed by it */
    rules->judging = true;
    for (uint32_t i = 0; i < rules->count; i++) {
        struct hk_rule_state *state = &rules->states[i];
        if (state->alert == NULL) continue;
        if (rules->hot[i].on_arrival) {
            hk_alert_confirm(state->alert, rules->down_from_ms, rules->now_ms);
        }
        hk_rules_note_alert(rules, i);
    }
}

static void settle_slice(struct hk_rules *rules, uint32_t slice) {
    rules->phase = HK_RULE_SETTLING;
    for (; slice > 0 && rules->prime_member < rules->member_count; slice--) {
        uint32_t index = rules->prime_member++;
        if (rules->members[index].used) hk_member_compute(rules, index);
    }
}

static void settle_some(void *arg) {
    struct hk_rules *rules = arg;
    if (is_stopped(rules)) return;
    int64_t now_ms = hk_clock_realtime_ms();
    if (now_ms > rules->now_ms) rules->now_ms = now_ms;
    settle_slice(rules, SETTLE_SLICE);
    if (rules->prime_member < rules->member_count) {
        rules->options.post(rules->options.self, settle_some, rules);
        return;
    }
    finish(rules);
    hk_log(HK_LOG_INFO, "rules: all windows are read, %u members", rules->stats.members);
}

static void take_portion(void *arg) {
    struct portion *portion = arg;
    struct hk_rules *rules = portion->rules;
    load(rules, portion);
    if (portion->failed) {
        hk_rules_leave_arrival(rules, portion->rule, "its windows could not be read at the start");
    }
    atomic_fetch_sub_explicit(&rules->prime_points, portion->count, memory_order_relaxed);
    hk_event_raise(&rules->wake);
    if (portion->last) settle_some(rules);
    hk_mem_free(portion);
}

static void bind_slice(struct hk_rules *rules, uint32_t slice) {
    struct hk_label items[HK_LABELS_MAX];
    struct hk_directory *directory = rules->options.directory;
    struct hk_directory_view *view = hk_directory_hold(directory);
    for (; slice > 0 && rules->prime_ref < rules->prime_refs; slice--) {
        uint32_t ref = rules->prime_ref++;
        if (ref < rules->ref_capacity && rules->first_member[ref] != 0) continue; /* came again */
        struct hk_labels labels = hk_view_labels(view, ref, items);
        /* Dead refs have no labels, or belong to nobody. */
        if (labels.count == 0 || hk_directory_is_dead(directory, ref)) continue;
        if (hk_rules_bind(rules, ref, labels) >= 0) continue;
        hk_rules_bind_failed(rules);
        rules->prime_ref = rules->prime_refs;
    }
    hk_directory_release(directory, view);
}

static void bind_some(void *arg) {
    struct hk_rules *rules = arg;
    if (is_stopped(rules)) return;
    bind_slice(rules, BIND_SLICE);
    if (rules->options.bound_moved != NULL) rules->options.bound_moved(rules->options.self);
    if (rules->prime_ref < rules->prime_refs) {
        rules->options.post(rules->options.self, bind_some, rules);
        return;
    }
    int64_t now_ms = hk_clock_realtime_ms();
    if (!hk_rules_queue_job(rules, HK_NO_INDEX, HK_NO_INDEX, now_ms)) {
        hk_rules_bind_failed(rules);
        finish(rules);
    }
}

/* ------------------------------------------------------------------ reading */

struct reader {
    struct hk_rules *rules;
    uint32_t rule;
    uint8_t side;
    bool at_once; /* on the shard's thread: portions are loaded, not posted */
    struct portion *portion;
};

static struct portion *new_portion(const struct reader *reader) {
    struct portion *portion =
        hk_mem_resize(NULL, 1, sizeof(*portion) + PORTION_POINTS * sizeof(struct prime_point));
    if (portion == NULL) return NULL;
    *portion =
        (struct portion){ .rules = reader->rules, .rule = reader->rule, .side = reader->side };
    return portion;
}

static void hand_over(struct reader *reader) {
    struct hk_rules *rules = reader->rules;
    struct portion *portion = reader->portion;
    reader->portion = NULL;
    if (portion == NULL) return;
    if (reader->at_once) {
        load(rules, portion);
        hk_mem_free(portion);
        return;
    }
    atomic_fetch_add_explicit(&rules->prime_points, portion->count, memory_order_relaxed);
    rules->options.post(rules->options.self, take_portion, portion);
    while (atomic_load_explicit(&rules->prime_points, memory_order_relaxed) > POINTS_OUT_MAX &&
           !is_stopped(rules)) {
        (void)hk_event_wait(&rules->wake, 10);
    }
}

static hk_err give(struct reader *reader, uint32_t ref, int64_t stamp_ms, double value) {
    if (reader->portion == NULL) reader->portion = new_portion(reader);
    if (reader->portion == NULL) return HK_E_NOMEM;
    struct portion *portion = reader->portion;
    portion->points[portion->count++] = (struct prime_point){ ref, stamp_ms, value };
    if (portion->count == PORTION_POINTS) hand_over(reader);
    return HK_OK;
}

static hk_err give_samples(
    struct reader *reader, uint32_t ref, const struct hk_samples *samples, int64_t range_ms,
    int64_t at_ms) {
    uint32_t first = 0;
    /* Of an instant selector the newest that is not in the future, and those of the future. */
    while (range_ms == 0 && first + 1 < samples->count && samples->stamps_ms[first + 1] <= at_ms)
        first++;
    for (uint32_t k = first; k < samples->count; k++) {
        if (samples->histograms != NULL && samples->histograms[k] != NULL) continue;
        HK_TRY(give(reader, ref, samples->stamps_ms[k], samples->values[k]));
    }
    return HK_OK;
}

/* The samples that the store has of one side's windows. */
static hk_err read_side(struct reader *reader, int64_t at_ms, struct hk_arena *arena) {
    struct hk_rules *rules = reader->rules;
    const struct hk_rule_side *plan = &rules->states[reader->rule].plan.sides[reader->side];
    int64_t window_ms = plan->range_ms > 0 ? plan->range_ms : rules->options.lookback_ms;
    struct hk_select request = {
        .matchers = plan->selector->selector.matchers,
        .matcher_count = plan->selector->selector.matcher_count,
        .from_ms = at_ms - window_ms + 1,
        .to_ms = at_ms + FUTURE_MS,
        .cancel = &rules->cancel,
    };
    const struct hk_source *source = &rules->options.source;
    struct hk_selection selection;
    HK_TRY(source->select(source->self, &request, arena, &selection));
    hk_err err = HK_OK;
    struct hk_arena samples_arena;
    hk_arena_init(&samples_arena, ARENA_MAX);
    for (uint32_t i = 0; i < selection.count && err >= 0; i++) {
        struct hk_samples samples;
        hk_arena_reset(&samples_arena);
        err = source->read(source->self, &selection, i, &samples_arena, &samples);
        if (err < 0) continue;
        uint32_t ref = selection.refs != NULL
                           ? selection.refs[i]
                           : hk_directory_find(rules->options.directory, selection.labels[i]);
        err = give_samples(reader, ref, &samples, plan->range_ms, at_ms);
    }
    hk_arena_deinit(&samples_arena);
    source->release(source->self, &selection);
    return err;
}

static bool read_rule(struct hk_rules *rules, uint32_t rule, int64_t at_ms, bool at_once) {
    struct hk_arena arena;
    bool fine = true;
    hk_arena_init(&arena, ARENA_MAX);
    const struct hk_rule_plan *plan = &rules->states[rule].plan;
    for (uint32_t side = 0; side < plan->side_count && fine; side++) {
        struct reader reader = {
            .rules = rules, .rule = rule, .side = (uint8_t)side, .at_once = at_once
        };
        fine = read_side(&reader, at_ms, &arena) >= 0;
        hand_over(&reader);
        hk_arena_reset(&arena);
    }
    hk_arena_deinit(&arena);
    return fine;
}

void hk_rules_prime_job(struct hk_rules *rules, int64_t at_ms) {
    struct portion *end = hk_mem_alloc(1, sizeof(*end));
    while (end == NULL && !is_stopped(rules)) {
        (void)hk_event_wait(&rules->wake, 100);
        end = hk_mem_alloc(1, sizeof(*end));
    }
    for (uint32_t rule = 0; rule < rules->count; rule++) {
        if (is_stopped(rules)) break;
        if (!rules->states[rule].binds) continue;
        if (read_rule(rules, rule, at_ms, false)) continue;
        struct portion *failed = hk_mem_alloc(1, sizeof(*failed));
        if (failed == NULL) continue;
        *failed = (struct portion){ .rules = rules, .rule = rule, .failed = true };
        rules->options.post(rules->options.self, take_portion, failed);
    }
    if (end == NULL) return;
    *end = (struct portion){ .rules = rules, .last = true };
    rules->options.post(rules->options.self, take_portion, end);
}

hk_err hk_rules_start(struct hk_rules *rules, int64_t down_from_ms, int64_t now_ms) {
    rules->now_ms = now_ms;
    rules->budget_ms = now_ms;
    rules->down_from_ms = down_from_ms;
    rules->prime_refs = hk_directory_count(rules->options.directory);
    rules->started = true;
    if (rules->selector_count == 0) {
        finish(rules);
        return HK_OK;
    }
    if (rules->prime_refs > AT_ONCE_MAX) {
        rules->options.post(rules->options.self, bind_some, rules);
        return HK_OK;
    }
    bind_slice(rules, UINT32_MAX);
    for (uint32_t rule = 0; rule < rules->count && rules->prime_refs > 0; rule++) {
        if (!rules->hot[rule].on_arrival) continue;
        if (!read_rule(rules, rule, now_ms, true)) {
            hk_rules_leave_arrival(rules, rule, "its windows could not be read at the start");
        }
    }
    settle_slice(rules, UINT32_MAX);
    finish(rules);
    return HK_OK;
}
