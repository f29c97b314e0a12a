/* Binding: selectors by metric name, and the members of a series. */
#include "stream/rules_internal.h"

#include "base/mem.h"

static struct hk_str metric_of(const struct hk_promql_node *selector) {
    for (uint32_t i = 0; i < selector->selector.matcher_count; i++) {
        const struct hk_matcher *matcher = &selector->selector.matchers[i];
        if (matcher->type == HK_MATCH_EQUAL && hk_str_is(matcher->name, "__name__")) {
            return matcher->value;
        }
    }
    return HK_STR("");
}

static hk_err add_selector(struct hk_rules *rules, uint32_t rule, uint8_t side) {
    HK_TRY(hk_mem_grow(
        &rules->selectors, &rules->selector_capacity, rules->selector_count + 1,
        sizeof(rules->selectors[0])));
    rules->selectors[rules->selector_count++] = (struct hk_rule_selector){
        .metric = metric_of(rules->states[rule].plan.sides[side].selector),
        .rule = rule,
        .next = HK_NO_INDEX,
        .side = side,
    };
    return HK_OK;
}

hk_err hk_rules_index(struct hk_rules *rules) {
    for (uint32_t rule = 0; rule < rules->count; rule++) {
        const struct hk_rule_plan *plan = &rules->states[rule].plan;
        for (uint32_t side = 0; plan->on_arrival && side < plan->side_count; side++) {
            HK_TRY(add_selector(rules, rule, (uint8_t)side));
        }
    }
    uint32_t slots = 16;
    while (slots < rules->selector_count * 2)
        slots *= 2;
    rules->by_metric = hk_mem_alloc(slots, sizeof(uint32_t));
    if (rules->by_metric == NULL) return HK_E_NOMEM;
    rules->by_metric_mask = slots - 1;
    rules->any_metric = HK_NO_INDEX;
    for (uint32_t i = 0; i < rules->selector_count; i++) {
        struct hk_rule_selector *selector = &rules->selectors[i];
        if (selector->metric.len == 0) {
            selector->next = rules->any_metric;
            rules->any_metric = i;
            continue;
        }
        uint32_t at =
            (uint32_t)hk_hash64(selector->metric.ptr, selector->metric.len) & rules->by_metric_mask;
        selector->next = rules->by_metric[at] - 1; /* 0 − 1 = HK_NO_INDEX */
        rules->by_metric[at] = i + 1;
    }
    return HK_OK;
}

static hk_err need_refs(struct hk_rules *rules, uint32_t ref) {
    size_t before = rules->ref_capacity;
    HK_TRY(
        hk_mem_grow(&rules->first_member, &rules->ref_capacity, (size_t)ref + 1, sizeof(uint32_t)));
    if (rules->ref_capacity > before) {
        memset(rules->first_member + before, 0, (rules->ref_capacity - before) * sizeof(uint32_t));
    }
    before = rules->bound_capacity;
    HK_TRY(hk_mem_grow(&rules->bound, &rules->bound_capacity, (size_t)ref + 1, 1));
    if (rules->bound_capacity > before) {
        memset(rules->bound + before, 0, rules->bound_capacity - before);
    }
    return HK_OK;
}

static hk_err new_member(struct hk_rules *rules, uint32_t *out_index) {
    if (rules->free_member != 0) {
        *out_index = rules->free_member - 1;
        rules->free_member = rules->members[*out_index].next_of_ref;
        return HK_OK;
    }
    if (rules->member_count >= HK_RULE_OF_GROUP) return HK_E_LIMIT;
    HK_TRY(hk_mem_grow(
        &rules->members, &rules->member_capacity, rules->member_count + 1,
        sizeof(rules->members[0])));
    *out_index = (uint32_t)rules->member_count++;
    return HK_OK;
}

static hk_err add_member(
    struct hk_rules *rules, const struct hk_rule_selector *selector, uint32_t ref,
    struct hk_labels labels) {
    HK_TRY(need_refs(rules, ref));
    uint32_t group = HK_NO_INDEX;
    if (!rules->hot[selector->rule].solo) {
        HK_TRY(hk_group_of(rules, selector->rule, selector->side, labels, &group));
    }
    uint32_t index = 0;
    HK_TRY(new_member(rules, &index));
    rules->members[index] = (struct hk_rule_member){
        .ref = ref,
        .rule = selector->rule,
        .group = HK_NO_INDEX,
        .side = selector->side,
        .used = true,
        .next_of_ref = rules->first_member[ref] - 1, /* 0 − 1 = HK_NO_INDEX */
        .newest_ms = HK_NEVER_MS,
    };
    rules->first_member[ref] = index + 1;
    rules->bound[ref] = 1;
    if (group != HK_NO_INDEX) hk_group_join(rules, group, index);
    rules->states[selector->rule].members++;
    rules->stats.members++;
    return HK_OK;
}

static hk_err try_selector(
    struct hk_rules *rules, const struct hk_rule_selector *selector, uint32_t ref,
    struct hk_labels labels) {
    if (!rules->hot[selector->rule].on_arrival) return HK_OK;
    const struct hk_promql_node *node =
        rules->states[selector->rule].plan.sides[selector->side].selector;
    if (!hk_matchers_accept(node->selector.matchers, node->selector.matcher_count, labels)) {
        return HK_OK;
    }
    return add_member(rules, selector, ref, labels);
}

hk_err hk_rules_bind(struct hk_rules *rules, uint32_t ref, struct hk_labels labels) {
    if (rules->selector_count == 0) return HK_OK;
    struct hk_str metric = hk_labels_get(labels, HK_STR("__name__"));
    uint32_t at = (uint32_t)hk_hash64(metric.ptr, metric.len) & rules->by_metric_mask;
    for (uint32_t i = rules->by_metric[at] - 1; i != HK_NO_INDEX; i = rules->selectors[i].next) {
        if (!hk_str_eq(rules->selectors[i].metric, metric)) continue;
        HK_TRY(try_selector(rules, &rules->selectors[i], ref, labels));
    }
    for (uint32_t i = rules->any_metric; i != HK_NO_INDEX; i = rules->selectors[i].next) {
        HK_TRY(try_selector(rules, &rules->selectors[i], ref, labels));
    }
    return HK_OK;
}

void hk_rules_forget(struct hk_rules *rules, uint32_t ref) {
    if (ref >= rules->ref_capacity || rules->first_member[ref] == 0) return;
    hk_rules_decide(rules); /* no member is on a list afterwards */
    uint32_t index = rules->first_member[ref] - 1;
    while (index != HK_NO_INDEX) {
        struct hk_rule_member *member = &rules->members[index];
        uint32_t next = member->next_of_ref;
        if (member->group == HK_NO_INDEX)
            hk_solo_forget(rules, member);
        else
            hk_group_leave(rules, index);
        rules->states[member->rule].members--;
        rules->stats.members--;
        hk_member_free(rules, index);
        index = next;
    }
    rules->first_member[ref] = 0;
    rules->bound[ref] = 0;
}

int64_t hk_rules_window_ms(const struct hk_rules *rules) {
    int64_t longest_ms = rules->options.lookback_ms;
    for (uint32_t i = 0; i < rules->count; i++) {
        const struct hk_rule_plan *plan = &rules->states[i].plan;
        for (uint32_t side = 0; plan->on_arrival && side < plan->side_count; side++) {
            if (plan->sides[side].range_ms > longest_ms) longest_ms = plan->sides[side].range_ms;
        }
    }
    return longest_ms;
}
