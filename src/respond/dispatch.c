/*
 * Groups of alerts (Alertmanager: group_by, group_wait, group_interval, repeat_interval).
 * Invariants: (1) An entry is in the table, in the index, and in exactly one group. (2) A group has
 * at least one entry, or is about to be removed. (3) After group_wait a group sends at ticks: phase
 * + n × group_interval; with an interval of 0 at once.
 */
#include "base/mem.h"
#include "os/clock.h"
#include "respond/dispatch_internal.h"

enum { SCRATCH_BYTES_MAX = 4 << 20 };

/* --- Tables ----------------------------------------------------------------------------------- */

static hk_err take_slot(struct slots *slots, void *item, uint32_t *out) {
    if (slots->gap_count > 0) {
        *out = slots->gaps[--slots->gap_count];
        slots->items[*out] = item;
        return HK_OK;
    }
    size_t need = (size_t)slots->count + 1;
    HK_TRY(hk_mem_grow(&slots->items, &slots->capacity, need, sizeof(slots->items[0])));
    HK_TRY(hk_mem_grow(&slots->gaps, &slots->gap_capacity, need, sizeof(slots->gaps[0])));
    *out = slots->count++;
    slots->items[*out] = item;
    return HK_OK;
}

static void give_slot(struct slots *slots, uint32_t slot) {
    slots->items[slot] = NULL;
    slots->gaps[slots->gap_count++] = slot; /* room was made when the slot was */
}

static void free_slots(struct slots *slots) {
    hk_mem_free(slots->items);
    hk_mem_free(slots->gaps);
}

static struct group *
find_group(const struct hk_dispatch *dispatch, struct hk_labels labels, uint64_t hash) {
    size_t cursor = 0;
    for (;;) {
        uint32_t slot = hk_hashindex_find(&dispatch->by_group, hash, &cursor);
        if (slot == HK_HASHINDEX_NONE) return NULL;
        struct group *group = dispatch->groups.items[slot];
        if (group->hash == hash && hk_labels_cmp(group->labels, labels) == 0) return group;
    }
}

static struct entry *
find_entry(const struct hk_dispatch *dispatch, const struct hk_alert_event *event) {
    size_t cursor = 0;
    for (;;) {
        uint32_t slot = hk_hashindex_find(&dispatch->by_alert, event->fingerprint, &cursor);
        if (slot == HK_HASHINDEX_NONE) return NULL;
        struct entry *entry = dispatch->alerts.items[slot];
        if (hk_labels_cmp(entry->shown.labels, event->labels) == 0) return entry;
    }
}

/* --- Copies ----------------------------------------------------------------------------------- */

static size_t labels_bytes(struct hk_labels labels) {
    size_t bytes = labels.count * sizeof(struct hk_label);
    for (uint32_t i = 0; i < labels.count; i++)
        bytes += labels.items[i].name.len + labels.items[i].value.len;
    return bytes;
}

/* `items` is where the labels go, `*space` where the text goes. */
static struct hk_labels put_labels(struct hk_label *items, char **space, struct hk_labels labels) {
    for (uint32_t i = 0; i < labels.count; i++) {
        items[i].name = message_put(space, labels.items[i].name);
        items[i].value = message_put(space, labels.items[i].value);
    }
    return (struct hk_labels){ items, labels.count };
}

static struct entry *copy_event(struct hk_dispatch *dispatch, const struct hk_alert_event *event) {
    struct hk_buf *scratch = &dispatch->scratch;
    hk_buf_clear(scratch);
    hk_labels_json(event->labels, scratch);
    size_t cut = scratch->len;
    hk_labels_json(event->annotations, scratch);
    if (scratch->err < 0) return NULL;
    size_t bytes = sizeof(struct entry) + labels_bytes(event->labels) +
                   labels_bytes(event->annotations) + scratch->len + event->generator_url.len;
    struct entry *entry = hk_mem_resize(NULL, bytes, 1);
    if (entry == NULL) return NULL;
    struct hk_label *items = (struct hk_label *)(entry + 1);
    char *space = (char *)(items + event->labels.count + event->annotations.count);
    struct hk_str json = hk_buf_get(scratch);
    *entry = (struct entry){ .episode_ms = event->episode_ms, .value = event->value };
    entry->shown = (struct hk_webhook_alert){
        .labels = put_labels(items, &space, event->labels),
        .annotations = put_labels(items + event->labels.count, &space, event->annotations),
        .labels_json = message_put(&space, hk_str_part(json, 0, cut)),
        .annotations_json = message_put(&space, hk_str_part(json, cut, json.len)),
        .generator_url = message_put(&space, event->generator_url),
        .fingerprint = event->fingerprint,
        .starts_ms = event->starts_ms,
        .ends_ms = event->ends_ms,
        .resolved = event->resolved,
    };
    return entry;
}

/* The labels by which the route groups. */
static struct hk_labels
group_labels(const struct hk_route_config *route, struct hk_labels labels, struct hk_label *items) {
    if (route->group_by_all) return labels;
    uint32_t count = 0;
    for (uint32_t i = 0; i < labels.count; i++) {
        bool wanted = false;
        for (uint32_t k = 0; k < route->group_by_count && !wanted; k++)
            wanted = hk_str_eq(labels.items[i].name, route->group_by[k]);
        if (wanted) items[count++] = labels.items[i];
    }
    return (struct hk_labels){ items, count };
}

static struct group *
make_group(struct hk_dispatch *dispatch, struct hk_labels labels, uint64_t hash) {
    struct hk_buf *scratch = &dispatch->scratch;
    uint32_t sent_count = dispatch->plan->route_count;
    hk_buf_clear(scratch);
    hk_group_key(labels, scratch);
    size_t bytes = sizeof(struct group) + sent_count * sizeof(struct sent) + labels_bytes(labels) +
                   scratch->len;
    struct group *group = scratch->err < 0 ? NULL : hk_mem_alloc(1, bytes);
    if (group == NULL) return NULL;
    struct hk_label *items = (struct hk_label *)(void *)&group->sent[sent_count];
    char *space = (char *)(items + labels.count);
    group->hash = hash;
    group->serial = ++dispatch->serial;
    group->labels = put_labels(items, &space, labels);
    group->key = message_put(&space, hk_buf_get(scratch));
    hk_err err = take_slot(&dispatch->groups, group, &group->slot);
    if (err >= 0) {
        err = hk_deadline_set(&dispatch->due, &group->due, INT64_MAX);
        if (err >= 0) err = hk_hashindex_put(&dispatch->by_group, hash, group->slot);
        if (err < 0) {
            hk_deadline_clear(&dispatch->due, &group->due);
            give_slot(&dispatch->groups, group->slot);
        }
    }
    if (err < 0) {
        hk_mem_free(group);
        return NULL;
    }
    for (uint32_t i = 0; i < sent_count; i++) {
        const struct sent_line *line =
            hk_respond_sent(dispatch->respond, dispatch->plan->integrations[i].name, group->key);
        if (line == NULL) continue;
        group->sent[i] = (struct sent){ line->sent_ms, line->repeat_count };
        group->flushed = true;
        if (line->sent_ms > group->phase_ms) group->phase_ms = group->last_ms = line->sent_ms;
    }
    dispatch->stats.groups++;
    return group;
}

/* Forgets the group, also on disk if something was sent. */
static void remove_group(struct hk_dispatch *dispatch, struct group *group) {
    bool sent = false;
    for (uint32_t i = 0; i < dispatch->plan->route_count; i++)
        sent = sent || group->sent[i].sent_ms > 0;
    char *space = NULL;
    struct message *message =
        sent ? hk_respond_message(MESSAGE_FORGET, group->key.len, &space) : NULL;
    if (message != NULL) {
        message->group_key = message_put(&space, group->key);
        (void)hk_respond_send(dispatch->respond, message, true);
    }
    hk_deadline_clear(&dispatch->due, &group->due);
    hk_hashindex_remove(&dispatch->by_group, group->hash, group->slot);
    give_slot(&dispatch->groups, group->slot);
    hk_mem_free(group->entries);
    hk_mem_free(group);
    dispatch->stats.groups--;
}

/* --- Entries ---------------------------------------------------------------------------------- */

static void remove_entry(struct hk_dispatch *dispatch, struct entry *entry) {
    struct group *group = entry->group;
    struct entry *last = group->entries[--group->entry_count];
    group->entries[entry->place] = last;
    last->place = entry->place;
    hk_hashindex_remove(&dispatch->by_alert, entry->shown.fingerprint, entry->slot);
    give_slot(&dispatch->alerts, entry->slot);
    hk_mem_free(entry);
    dispatch->stats.alerts--;
}

/* Which integrations were told of this episode before the restart. */
static void recall(struct hk_dispatch *dispatch, struct entry *entry) {
    const struct hk_respond *respond = dispatch->respond;
    const struct hk_respond_plan *plan = dispatch->plan;
    for (uint32_t i = 0; i < plan->route_count && respond->sent_count > 0; i++) {
        const struct sent_line *line =
            hk_respond_sent(respond, plan->integrations[i].name, entry->group->key);
        uint32_t low = 0;
        uint32_t high = line == NULL ? 0 : line->told_count;
        while (low < high) { /* sorted by fingerprint */
            uint32_t middle = low + (high - low) / 2;
            if (line->told[middle].fingerprint < entry->shown.fingerprint)
                low = middle + 1;
            else
                high = middle;
        }
        bool known = line != NULL && low < line->told_count &&
                     line->told[low].fingerprint == entry->shown.fingerprint &&
                     line->told[low].episode_ms == entry->episode_ms;
        if (!known) continue;
        entry->told_firing |= 1ULL << i;
        if (line->told[low].resolved != 0) entry->told_resolved |= 1ULL << i;
    }
}

static hk_err add_entry(struct hk_dispatch *dispatch, struct group *group, struct entry *entry) {
    HK_TRY(hk_mem_grow(
        &group->entries, &group->entry_capacity, group->entry_count + 1,
        sizeof(group->entries[0])));
    HK_TRY(take_slot(&dispatch->alerts, entry, &entry->slot));
    hk_err err = hk_hashindex_put(&dispatch->by_alert, entry->shown.fingerprint, entry->slot);
    if (err < 0) {
        give_slot(&dispatch->alerts, entry->slot);
        return err;
    }
    entry->group = group;
    entry->place = (uint32_t)group->entry_count;
    group->entries[group->entry_count++] = entry; /* (1) */
    dispatch->stats.alerts++;
    recall(dispatch, entry);
    return HK_OK;
}

/* A new state of an alert that is known: what it was told stays with it. */
static hk_err replace_entry(
    struct hk_dispatch *dispatch, struct entry *old, const struct hk_alert_event *event,
    struct entry **out) {
    struct entry *entry = copy_event(dispatch, event);
    if (entry == NULL) return HK_E_NOMEM;
    entry->told_firing = old->told_firing;
    entry->told_resolved = event->resolved ? old->told_resolved : 0;
    entry->group = old->group;
    entry->slot = old->slot;
    entry->place = old->place;
    entry->group->entries[entry->place] = entry;
    dispatch->alerts.items[entry->slot] = entry;
    hk_mem_free(old);
    *out = entry;
    return HK_OK;
}

static hk_err
new_entry(struct hk_dispatch *dispatch, const struct hk_alert_event *event, struct entry **out) {
    struct hk_label items[HK_LABELS_MAX];
    struct hk_labels by = group_labels(&dispatch->plan->config.route, event->labels, items);
    uint64_t hash = hk_labels_hash(by).low;
    if (dispatch->stats.alerts >= HK_RESPOND_ALERTS_MAX) return HK_E_LIMIT;
    struct entry *entry = copy_event(dispatch, event);
    if (entry == NULL) return HK_E_NOMEM;
    struct group *group = find_group(dispatch, by, hash);
    if (group == NULL) group = make_group(dispatch, by, hash);
    hk_err err = group == NULL ? HK_E_NOMEM : add_entry(dispatch, group, entry);
    if (err < 0) {
        if (group != NULL && group->entry_count == 0) remove_group(dispatch, group);
        hk_mem_free(entry);
        return err;
    }
    *out = entry;
    return HK_OK;
}

/* --- Time ------------------------------------------------------------------------------------- */

/* The first tick of the group at or after `at_ms`, but after its last flush. (3) */
static int64_t
next_tick(const struct hk_dispatch *dispatch, const struct group *group, int64_t at_ms) {
    int64_t interval_ms = dispatch->plan->config.route.group_interval_ms;
    if (interval_ms <= 0) return at_ms;
    if (at_ms <= group->last_ms) at_ms = group->last_ms + 1;
    int64_t since_ms = at_ms - group->phase_ms;
    if (since_ms <= 0) return group->phase_ms;
    return group->phase_ms + (since_ms + interval_ms - 1) / interval_ms * interval_ms;
}

static void set_due(struct hk_dispatch *dispatch, struct group *group, int64_t at_ms) {
    /* It is in the heap already. */
    hk_err err = hk_deadline_set(&dispatch->due, &group->due, at_ms);
    hk_assert(err >= 0);
}

/* Flushes, lets resolved alerts go, and plans the next time. The group may be gone afterwards. */
static void flush_group(struct hk_dispatch *dispatch, struct group *group, int64_t now_ms) {
    const struct hk_respond_plan *plan = dispatch->plan;
    if (!group->flushed) group->phase_ms = now_ms;
    group->flushed = true;
    group->last_ms = now_ms;
    if (!hk_dispatch_flush(dispatch, group, now_ms)) {
        set_due(dispatch, group, now_ms + RETRY_REFUSED_MS);
        return;
    }
    for (size_t i = group->entry_count; i > 0; i--) {
        if (group->entries[i - 1]->shown.resolved) remove_entry(dispatch, group->entries[i - 1]);
    }
    if (group->entry_count == 0) { /* (2) */
        remove_group(dispatch, group);
        return;
    }
    int64_t next_ms = INT64_MAX;
    for (uint32_t i = 0; i < plan->route_count; i++) {
        bool repeats = plan->integrations[i].kind == INTEGRATION_WEBHOOK &&
                       plan->config.route.repeat_interval_ms > 0 && group->sent[i].sent_ms > 0;
        if (!repeats) continue;
        int64_t at_ms = group->sent[i].sent_ms + plan->config.route.repeat_interval_ms + 1;
        if (at_ms < next_ms) next_ms = at_ms;
    }
    set_due(
        dispatch, group, next_ms == INT64_MAX ? INT64_MAX : next_tick(dispatch, group, next_ms));
}

/* Something in the group has changed. */
static void changed(
    struct hk_dispatch *dispatch, struct group *group, const struct entry *entry, int64_t now_ms) {
    int64_t wait_ms = dispatch->plan->config.route.group_wait_ms;
    int64_t at_ms = group->due.at_ms;
    if (group->flushed)
        at_ms = next_tick(dispatch, group, now_ms);
    else if (wait_ms <= 0 || entry->shown.starts_ms + wait_ms <= now_ms)
        at_ms = now_ms;
    else if (at_ms == INT64_MAX)
        at_ms = now_ms + wait_ms;
    if (at_ms <= now_ms)
        flush_group(dispatch, group, now_ms);
    else if (at_ms < group->due.at_ms)
        set_due(dispatch, group, at_ms);
}

static hk_err
take_event(struct hk_dispatch *dispatch, const struct hk_alert_event *event, int64_t now_ms) {
    struct entry *entry = find_entry(dispatch, event);
    if (dispatch->plan->route_count == 0) return HK_OK;
    if (entry != NULL && event->episode_ms < entry->episode_ms) return HK_OK; /* from the past */
    if (entry != NULL)
        HK_TRY(replace_entry(dispatch, entry, event, &entry));
    else
        HK_TRY(new_entry(dispatch, event, &entry));
    changed(dispatch, entry->group, entry, now_ms);
    return HK_OK;
}

hk_err hk_dispatch_event(
    struct hk_dispatch *dispatch, const struct hk_alert_event *event, int64_t now_ms) {
    int64_t start_ns = hk_clock_monotonic_ns();
    hk_err err = take_event(dispatch, event, now_ms);
    dispatch->stats.events++;
    if (err < 0) dispatch->stats.refused++;
    hk_dispatch_push(dispatch, event);
    int64_t took_ns = hk_clock_monotonic_ns() - start_ns;
    if (took_ns > dispatch->stats.event_ns_max) dispatch->stats.event_ns_max = took_ns;
    return err;
}

void hk_dispatch_sink(void *self, const struct hk_alert_event *event) {
    (void)hk_dispatch_event(self, event, hk_clock_realtime_ms());
}

hk_err hk_dispatch_restore(
    struct hk_dispatch *dispatch, const struct hk_alert_event *event, int64_t now_ms) {
    /* What was sent before is looked up for every new entry, so this is an event like others. */
    return hk_dispatch_event(dispatch, event, now_ms);
}

void hk_dispatch_tick(struct hk_dispatch *dispatch, int64_t now_ms) {
    for (;;) {
        struct hk_deadline *first = hk_deadlines_first(&dispatch->due);
        if (first == NULL || first->at_ms > now_ms) return;
        flush_group(dispatch, (struct group *)first, now_ms);
    }
}

int64_t hk_dispatch_next_ms(const struct hk_dispatch *dispatch) {
    const struct hk_deadline *first = hk_deadlines_first(&dispatch->due);
    return first == NULL ? INT64_MAX : first->at_ms;
}

void hk_dispatch_get_stats(const struct hk_dispatch *dispatch, struct hk_dispatch_stats *out) {
    *out = dispatch->stats;
}

/* --- Start and end ---------------------------------------------------------------------------- */

static hk_err open_endpoints(struct hk_dispatch *dispatch) {
    const struct hk_respond_plan *plan = dispatch->plan;
    dispatch->endpoints =
        hk_mem_alloc((size_t)plan->route_count + 1, sizeof(dispatch->endpoints[0]));
    if (dispatch->endpoints == NULL) return HK_E_NOMEM;
    for (uint32_t i = 0; i < plan->route_count && dispatch->has_transport; i++) {
        const struct integration *integration = &plan->integrations[i];
        /* Proxies and client certificates are libcurl's business. */
        bool plain = integration->kind == INTEGRATION_WEBHOOK &&
                     integration->webhook.endpoint.proxy_url.len == 0 &&
                     integration->webhook.endpoint.cert_file.len == 0;
        if (!plain) continue;
        void *endpoint = NULL;
        if (dispatch->transport.open(
                dispatch->transport.self, &integration->webhook.endpoint, &endpoint) >= 0) {
            dispatch->endpoints[i] = endpoint;
        }
    }
    return HK_OK;
}

static hk_err create(
    struct hk_respond *respond, const struct hk_respond_plan *plan,
    const struct hk_transport *transport, struct hk_dispatch **out) {
    struct hk_dispatch *dispatch = hk_mem_alloc(1, sizeof(*dispatch));
    if (dispatch == NULL) return HK_E_NOMEM;
    dispatch->respond = respond;
    dispatch->plan = plan;
    dispatch->has_transport = transport != NULL;
    if (transport != NULL) dispatch->transport = *transport;
    hk_buf_init(&dispatch->body, HK_RESPOND_BODY_BYTES_MAX);
    hk_buf_init(&dispatch->scratch, SCRATCH_BYTES_MAX);
    hk_err err = open_endpoints(dispatch);
    if (err < 0) {
        hk_dispatch_destroy(dispatch);
        return err;
    }
    *out = dispatch;
    return HK_OK;
}

hk_err hk_dispatch_create(
    struct hk_respond *respond, const struct hk_transport *transport, struct hk_dispatch **out) {
    return create(respond, respond->plan, transport, out);
}

/* What was posted and not answered ends here: the outbox repeats it. */
static void close_endpoints(struct hk_dispatch *dispatch) {
    for (uint32_t i = 0; dispatch->endpoints != NULL && i < dispatch->plan->route_count; i++) {
        if (dispatch->endpoints[i] != NULL)
            dispatch->transport.close(dispatch->transport.self, dispatch->endpoints[i]);
        dispatch->endpoints[i] = NULL;
    }
}

void hk_dispatch_destroy(struct hk_dispatch *dispatch) {
    if (dispatch == NULL) return;
    close_endpoints(dispatch);
    for (uint32_t i = 0; i < dispatch->alerts.count; i++)
        hk_mem_free(dispatch->alerts.items[i]);
    for (uint32_t i = 0; i < dispatch->groups.count; i++) {
        struct group *group = dispatch->groups.items[i];
        if (group != NULL) hk_mem_free(group->entries);
        hk_mem_free(group);
    }
    free_slots(&dispatch->alerts);
    free_slots(&dispatch->groups);
    hk_hashindex_deinit(&dispatch->by_group);
    hk_hashindex_deinit(&dispatch->by_alert);
    hk_deadlines_deinit(&dispatch->due);
    hk_buf_deinit(&dispatch->body);
    hk_buf_deinit(&dispatch->scratch);
    hk_mem_free(dispatch->chosen);
    hk_mem_free(dispatch->told);
    hk_mem_free(dispatch->endpoints);
    hk_mem_free(dispatch);
}

/* --- Another configuration -------------------------------------------------------------------- */

/* The new integration of the same name for each old one of the route, -1 = there is none. */
struct successors {
    int64_t of[INTEGRATIONS_MAX];
    uint32_t count;
};

static void find_successors(
    const struct hk_respond_plan *old, const struct hk_respond_plan *plan, struct successors *out) {
    out->count = old->route_count;
    for (uint32_t i = 0; i < old->route_count; i++) {
        out->of[i] = hk_respond_find(plan, old->integrations[i].name);
        if (out->of[i] >= (int64_t)plan->route_count) out->of[i] = -1;
    }
}

static uint64_t translate(const struct successors *successors, uint64_t mask) {
    uint64_t out = 0;
    for (uint32_t i = 0; i < successors->count; i++) {
        if ((mask & (1ULL << i)) != 0 && successors->of[i] >= 0) out |= 1ULL << successors->of[i];
    }
    return out;
}

/* What was sent for the group that the alert was in counts for the one that it is in now. */
static void
carry_group(const struct group *old, struct group *group, const struct successors *successors) {
    bool same = hk_str_eq(old->key, group->key);
    for (uint32_t i = 0; i < successors->count; i++) {
        if (successors->of[i] < 0) continue;
        struct sent *sent = &group->sent[successors->of[i]];
        if (old->sent[i].sent_ms <= sent->sent_ms) continue;
        *sent = (struct sent){ old->sent[i].sent_ms, same ? old->sent[i].repeat_count : 0 };
    }
    if (!same) return;
    group->flushed = old->flushed;
    group->phase_ms = old->phase_ms;
    group->last_ms = old->last_ms;
}

static void carry_entry(
    struct hk_dispatch *dispatch, const struct entry *old, const struct successors *successors) {
    const struct hk_webhook_alert *shown = &old->shown;
    struct hk_alert_event event = {
        .generator_url = shown->generator_url,
        .labels = shown->labels,
        .annotations = shown->annotations,
        .fingerprint = shown->fingerprint,
        .episode_ms = old->episode_ms,
        .starts_ms = shown->starts_ms,
        .ends_ms = shown->ends_ms,
        .value = old->value,
        .resolved = shown->resolved,
    };
    struct entry *entry = NULL;
    if (new_entry(dispatch, &event, &entry) < 0) {
        dispatch->stats.refused++;
        return;
    }
    entry->told_firing |= translate(successors, old->told_firing);
    entry->told_resolved |= translate(successors, old->told_resolved);
    carry_group(old->group, entry->group, successors);
}

/* When a group that was carried over has to look what is needed. */
static void plan_group(struct hk_dispatch *dispatch, struct group *group, int64_t now_ms) {
    int64_t wait_ms = dispatch->plan->config.route.group_wait_ms;
    int64_t at_ms = group->flushed ? next_tick(dispatch, group, now_ms) : INT64_MAX;
    for (size_t i = 0; i < group->entry_count && !group->flushed; i++) {
        int64_t entry_ms = group->entries[i]->shown.starts_ms + wait_ms;
        if (entry_ms < at_ms) at_ms = entry_ms;
    }
    set_due(dispatch, group, at_ms < now_ms ? now_ms : at_ms);
}

hk_err hk_dispatch_replan(struct hk_dispatch **dispatch, struct hk_respond_plan *plan) {
    struct hk_dispatch *old = *dispatch;
    struct hk_dispatch *next = NULL;
    struct successors successors;
    char *space = NULL;
    struct message *message = hk_respond_message(MESSAGE_PLAN, 0, &space);
    if (message == NULL) return HK_E_NOMEM;
    hk_err err = create(old->respond, plan, old->has_transport ? &old->transport : NULL, &next);
    if (err < 0) {
        hk_mem_free(message);
        return err;
    }
    close_endpoints(old);
    find_successors(old->plan, plan, &successors);
    next->serial = old->serial;
    next->stats = old->stats;
    next->stats.groups = next->stats.alerts = 0;
    for (uint32_t i = 0; i < old->alerts.count && plan->route_count > 0; i++) {
        if (old->alerts.items[i] != NULL) carry_entry(next, old->alerts.items[i], &successors);
    }
    int64_t now_ms = hk_clock_realtime_ms();
    for (uint32_t i = 0; i < next->groups.count; i++) {
        if (next->groups.items[i] != NULL) plan_group(next, next->groups.items[i], now_ms);
    }
    hk_dispatch_destroy(old);
    message->plan = plan;
    (void)hk_respond_send(next->respond, message, true);
    *dispatch = next;
    return HK_OK;
}
