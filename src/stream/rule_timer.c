/* Timers of members and groups: a binary heap by due time; owners know their place in it. */
#include "stream/rules_internal.h"

#include "base/mem.h"

static uint32_t *place_of(struct hk_rules *rules, uint32_t owner) {
    if (owner & HK_RULE_OF_GROUP) return &rules->groups[owner & ~HK_RULE_OF_GROUP].heap_at;
    return &rules->members[owner].heap_at;
}

static void put(struct hk_rules *rules, size_t at, struct hk_rule_timer timer) {
    rules->heap[at] = timer;
    *place_of(rules, timer.owner) = (uint32_t)at + 1;
}

static void sift_up(struct hk_rules *rules, size_t at, struct hk_rule_timer timer) {
    while (at > 0) {
        size_t parent = (at - 1) / 2;
        if (rules->heap[parent].due_ms <= timer.due_ms) break;
        put(rules, at, rules->heap[parent]);
        at = parent;
    }
    put(rules, at, timer);
}

static void sift_down(struct hk_rules *rules, size_t at, struct hk_rule_timer timer) {
    for (;;) {
        size_t child = at * 2 + 1;
        if (child >= rules->heap_count) break;
        if (child + 1 < rules->heap_count &&
            rules->heap[child + 1].due_ms < rules->heap[child].due_ms) {
            child++;
        }
        if (rules->heap[child].due_ms >= timer.due_ms) break;
        put(rules, at, rules->heap[child]);
        at = child;
    }
    put(rules, at, timer);
}

void hk_rule_timer_set(struct hk_rules *rules, uint32_t owner, int64_t due_ms) {
    if (due_ms == INT64_MAX) return;
    if (due_ms <= rules->now_ms) due_ms = rules->now_ms + 1;
    struct hk_rule_timer timer = { due_ms, owner };
    uint32_t place = *place_of(rules, owner);
    if (place != 0) {
        if (due_ms < rules->heap[place - 1].due_ms) sift_up(rules, place - 1, timer);
        return;
    }
    hk_err err = hk_mem_grow(
        &rules->heap, &rules->heap_capacity, rules->heap_count + 1, sizeof(rules->heap[0]));
    if (err < 0) {
        rules->stats.memory_failures++; /* the next sample tries again */
        return;
    }
    sift_up(rules, rules->heap_count++, timer);
}

static void take(struct hk_rules *rules, size_t at) {
    *place_of(rules, rules->heap[at].owner) = 0;
    rules->heap_count--;
    if (at == rules->heap_count) return;
    struct hk_rule_timer last = rules->heap[rules->heap_count];
    if (at > 0 && rules->heap[(at - 1) / 2].due_ms > last.due_ms)
        sift_up(rules, at, last);
    else
        sift_down(rules, at, last);
}

void hk_rule_timer_drop(struct hk_rules *rules, uint32_t owner) {
    uint32_t place = *place_of(rules, owner);
    if (place != 0) take(rules, place - 1);
}

void hk_rule_timers_serve(struct hk_rules *rules, int64_t now_ms, uint32_t budget) {
    while (budget-- > 0 && rules->heap_count > 0 && rules->heap[0].due_ms <= now_ms) {
        uint32_t owner = rules->heap[0].owner;
        take(rules, 0);
        if (owner & HK_RULE_OF_GROUP)
            hk_group_mark(rules, owner & ~HK_RULE_OF_GROUP);
        else
            hk_member_mark(rules, owner);
    }
}
