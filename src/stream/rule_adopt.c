/* A new rule set takes over alerts and series of the one before (reload of the configuration). */
#include "stream/rules_internal.h"

#include "base/mem.h"
#include "stream/rule_recorded.h"

#include <stdatomic.h>
#include <stdlib.h>

/* A rule of the old set by what makes it the same in the new one. */
struct key {
    uint64_t hash; /* of group, name and labels */
    uint32_t rule;
};

static uint64_t add_text(uint64_t hash, struct hk_str text) {
    hash = hk_fnv1a(hash, &text.len, sizeof(text.len));
    return hk_fnv1a(hash, text.ptr, text.len);
}

static uint64_t add_labels(uint64_t hash, struct hk_labels labels) {
    for (uint32_t i = 0; i < labels.count; i++) {
        hash = add_text(hash, labels.items[i].name);
        hash = add_text(hash, labels.items[i].value);
    }
    return hk_fnv1a(hash, &labels.count, sizeof(labels.count));
}

uint64_t hk_rule_identity(const struct hk_rule_state *state) {
    uint64_t hash = add_text(HK_FNV1A_START, state->group->name);
    hash = add_text(hash, state->conf->alert);
    hash = add_text(hash, state->conf->record);
    hash = add_labels(hash, state->group->labels);
    return add_labels(hash, state->conf->labels);
}

static bool same_rule(const struct hk_rule_state *left, const struct hk_rule_state *right) {
    return hk_str_eq(left->group->name, right->group->name) &&
           hk_str_eq(left->conf->alert, right->conf->alert) &&
           hk_str_eq(left->conf->record, right->conf->record) &&
           hk_labels_cmp(left->group->labels, right->group->labels) == 0 &&
           hk_labels_cmp(left->conf->labels, right->conf->labels) == 0;
}

struct marker {
    struct hk_rules *rules;
    int64_t at_ms;
};

static void write_marker(void *self, struct hk_labels labels) {
    const struct marker *marker = self;
    const struct hk_rules_options *options = &marker->rules->options;
    if (options->put(options->self, labels, marker->at_ms, hk_stale_value()) < 0)
        marker->rules->stats.tick_failures++;
}

static int by_hash(const void *a, const void *b) {
    const struct key *left = a;
    const struct key *right = b;
    if (left->hash != right->hash) return left->hash < right->hash ? -1 : 1;
    return left->rule < right->rule ? -1 : left->rule > right->rule; /* order within the file */
}

static size_t first_of(const struct key *keys, size_t count, uint64_t hash) {
    size_t low = 0;
    while (low < count) {
        size_t middle = low + (count - low) / 2;
        if (keys[middle].hash < hash)
            low = middle + 1;
        else
            count = middle;
    }
    return low;
}

/* The new rule goes on where the old one stood. */
static void take_over(struct hk_rule_state *state, struct hk_rule_state *from) {
    if (state->alert != NULL) hk_alert_move(state->alert, from->alert);
    state->recorded = from->recorded;
    from->recorded = NULL;
}

/* What the old rules of no new one had written becomes stale. */
static void end_recorded(struct hk_rules *old, int64_t now_ms) {
    struct marker marker = { old, now_ms };
    for (uint32_t i = 0; i < old->count; i++) {
        if (old->states[i].recorded != NULL)
            hk_rule_recorded_end(old->states[i].recorded, write_marker, &marker);
    }
}

/* The old rules that are the same, each once. */
static void match(
    struct hk_rules *rules, struct hk_rules *old, struct key *keys, size_t count, bool same_file,
    bool *done) {
    for (uint32_t i = 0; i < rules->count; i++) {
        struct hk_rule_state *state = &rules->states[i];
        if (done[i]) continue;
        uint64_t hash = state->identity;
        for (size_t k = first_of(keys, count, hash); k < count && keys[k].hash == hash; k++) {
            if (keys[k].rule == HK_NO_INDEX) continue;
            struct hk_rule_state *from = &old->states[keys[k].rule];
            if (same_file && !hk_str_eq(from->group->file, state->group->file)) continue;
            if (!same_rule(from, state)) continue;
            take_over(state, from);
            keys[k].rule = HK_NO_INDEX;
            done[i] = true;
            break;
        }
    }
}

hk_err hk_rules_adopt(struct hk_rules *rules, struct hk_rules *old, int64_t now_ms) {
    struct key *keys HK_CLEANUP(hk_mem_free_at) =
        hk_mem_alloc((size_t)old->count + 1, sizeof(*keys));
    bool *done HK_CLEANUP(hk_mem_free_at) = hk_mem_alloc((size_t)rules->count + 1, sizeof(*done));
    size_t count = 0;
    if (keys == NULL || done == NULL) return HK_E_NOMEM;
    for (uint32_t i = 0; i < old->count; i++) {
        keys[count++] = (struct key){ old->states[i].identity, i };
    }
    if (count > 1) qsort(keys, count, sizeof(keys[0]), by_hash);
    /* A group that moved to another file is found when no rule of the same file wants it. */
    match(rules, old, keys, count, true, done);
    match(rules, old, keys, count, false, done);
    end_recorded(old, now_ms);
    /* Here, on the shard: no task that runs later goes on with the old set. */
    atomic_store_explicit(&old->stop, true, memory_order_release);
    return HK_OK;
}

void hk_rules_stop(struct hk_rules *rules) {
    atomic_store_explicit(&rules->stop, true, memory_order_release);
    atomic_store_explicit(&rules->cancel, true, memory_order_release);
    if (rules->worker.running) hk_event_raise(&rules->wake);
    hk_thread_join(&rules->worker);
}
