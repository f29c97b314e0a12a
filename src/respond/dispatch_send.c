/*
 * Decides what a group's integrations need to be told (Alertmanager's deduplication: new firing
 * alerts, newly resolved ones, or the repeat interval) and hands it over: written to the warm
 * connection first, then queued for the outbox.
 */
#include "base/mem.h"
#include "os/clock.h"
#include "respond/dispatch_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum need { NEED_NOTHING, NEED_NEWS, NEED_REPEAT };

/* A notification on its way over the warm connection. */
struct sending {
    struct hk_dispatch *dispatch;
    uint64_t group_serial;
    uint32_t group_slot, integration;
    bool recorded; /* the outbox has it, and repeats it if need be */
    char id[ID_BYTES_MAX];
};

static enum need what_is_needed(
    const struct hk_dispatch *dispatch, const struct group *group, uint32_t index, int64_t now_ms) {
    const struct hk_respond_plan *plan = dispatch->plan;
    const struct integration *integration = &plan->integrations[index];
    const struct sent *sent = &group->sent[index];
    uint64_t bit = 1ULL << index;
    bool firing = false;
    bool new_firing = false;
    bool new_resolved = false; /* of what was told to fire */
    for (size_t i = 0; i < group->entry_count; i++) {
        const struct entry *entry = group->entries[i];
        bool told = (entry->told_firing & bit) != 0;
        if (!entry->shown.resolved) {
            firing = true;
            new_firing = new_firing || !told;
        } else if (told && (entry->told_resolved & bit) == 0) {
            new_resolved = true;
        }
    }
    if (new_firing) return NEED_NEWS;
    if (new_resolved && integration->send_resolved) return NEED_NEWS;
    bool repeat = firing && integration->kind == INTEGRATION_WEBHOOK && sent->sent_ms > 0 &&
                  plan->config.route.repeat_interval_ms > 0 &&
                  now_ms - sent->sent_ms > plan->config.route.repeat_interval_ms;
    return repeat ? NEED_REPEAT : NEED_NOTHING;
}

static int by_labels(const void *a, const void *b) {
    const struct hk_webhook_alert *const *left = a;
    const struct hk_webhook_alert *const *right = b;
    static const char *const first[] = { "job", "instance" };
    for (size_t i = 0; i < HK_COUNT(first); i++) {
        struct hk_str name = hk_str_from(first[i]);
        int order =
            hk_str_cmp(hk_labels_get((*left)->labels, name), hk_labels_get((*right)->labels, name));
        if (order != 0) return order;
    }
    return hk_labels_cmp((*left)->labels, (*right)->labels);
}

static int by_fingerprint(const void *a, const void *b) {
    const struct told *left = a;
    const struct told *right = b;
    return (left->fingerprint > right->fingerprint) - (left->fingerprint < right->fingerprint);
}

/* The alerts that the message shows, and what it tells about each. */
static hk_err choose(
    struct hk_dispatch *dispatch, const struct group *group, uint32_t index, uint32_t *out_count) {
    const struct integration *integration = &dispatch->plan->integrations[index];
    uint32_t count = 0;
    HK_TRY(hk_mem_grow(
        &dispatch->chosen, &dispatch->chosen_capacity, group->entry_count,
        sizeof(dispatch->chosen[0])));
    HK_TRY(hk_mem_grow(
        &dispatch->told, &dispatch->told_capacity, group->entry_count, sizeof(dispatch->told[0])));
    for (size_t i = 0; i < group->entry_count; i++) {
        const struct entry *entry = group->entries[i];
        bool told = (entry->told_firing & (1ULL << index)) != 0;
        if (entry->shown.resolved && (!told || !integration->send_resolved)) continue;
        dispatch->chosen[count] = &entry->shown;
        dispatch->told[count++] =
            (struct told){ entry->shown.fingerprint, entry->episode_ms, entry->shown.resolved };
    }
    if (count > 1) {
        qsort(dispatch->chosen, count, sizeof(dispatch->chosen[0]), by_labels);
        qsort(dispatch->told, count, sizeof(dispatch->told[0]), by_fingerprint);
    }
    *out_count = count;
    return HK_OK;
}

/*
 * The stable id: what it tells (one alert's fingerprint, or a hash over several), the newest
 * episode, the integration, the number of the repeat. The same after a restart.
 */
static void make_id(
    const struct integration *integration, const struct told *told, uint32_t count,
    uint32_t repeat_count, bool firing, char *out) {
    uint64_t subject = told[0].fingerprint;
    int64_t episode_ms = told[0].episode_ms;
    if (count > 1) subject = hk_fnv1a(HK_FNV1A_START, told, count * sizeof(told[0]));
    for (uint32_t i = 1; i < count; i++) {
        if (told[i].episode_ms > episode_ms) episode_ms = told[i].episode_ms;
    }
    (void)snprintf(
        out, ID_BYTES_MAX, "%016" PRIx64 "-%" PRIx64 "-%016" PRIx64 "-%s-%" PRIu32, subject,
        (uint64_t)episode_ms, integration->hash, firing ? "firing" : "resolved", repeat_count);
}

/* --- Environment of commands ------------------------------------------------------------------ */

/* NAME=value and NUL; bytes that cannot stand there are replaced. */
static void
put_variable(struct hk_buf *out, const char *prefix, struct hk_str name, struct hk_str value) {
    hk_buf_text(out, prefix);
    for (size_t i = 0; i < name.len; i++) {
        char c = name.ptr[i];
        bool word = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        hk_buf_char(out, word ? c : '_');
    }
    hk_buf_char(out, '=');
    for (size_t at = 0; at < value.len;) {
        size_t nul = hk_str_find(value, 0, at);
        hk_buf_str(out, hk_str_part(value, at, nul));
        if (nul < value.len) hk_buf_text(out, "\xef\xbf\xbd");
        at = nul + 1;
    }
    hk_buf_char(out, 0);
}

static void put_environment(
    const struct hk_webhook_message *message, struct hk_labels env, double value, bool firing,
    struct hk_buf *out) {
    static const struct hk_str none = { "", 0 };
    struct hk_label common[HK_LABELS_MAX];
    char text[64];
    uint32_t count = hk_webhook_common(message, false, common);
    struct hk_str path = HK_STR("/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    if (hk_labels_get(env, HK_STR("PATH")).len == 0) put_variable(out, "PATH", none, path);
    if (hk_labels_get(env, HK_STR("LANG")).len == 0)
        put_variable(out, "LANG", none, HK_STR("C.UTF-8"));
    for (uint32_t i = 0; i < env.count; i++)
        put_variable(out, "", env.items[i].name, env.items[i].value);
    put_variable(out, "HARK_STATUS", none, firing ? HK_STR("firing") : HK_STR("resolved"));
    put_variable(out, "HARK_RECEIVER", none, message->receiver);
    put_variable(out, "HARK_GROUP_KEY", none, message->group_key);
    put_variable(out, "HARK_EXTERNAL_URL", none, message->external_url);
    put_variable(out, "HARK_NOTIFICATION_ID", none, message->notification_id);
    (void)snprintf(text, sizeof(text), "%u", message->alert_count);
    put_variable(out, "HARK_ALERT_COUNT", none, hk_str_from(text));
    (void)snprintf(text, sizeof(text), "%016" PRIx64, message->alerts[0]->fingerprint);
    put_variable(out, "HARK_FINGERPRINT", none, hk_str_from(text));
    char number[HK_DOUBLE_BYTES_MAX];
    size_t len = hk_format_double(value, number);
    put_variable(out, "HARK_VALUE", none, (struct hk_str){ number, len });
    len = hk_format_time_ms(message->alerts[0]->starts_ms, text);
    put_variable(out, "HARK_STARTS_AT", none, (struct hk_str){ text, len });
    for (uint32_t i = 0; i < count; i++) {
        if (hk_str_is(common[i].name, "alertname"))
            put_variable(out, "HARK_ALERTNAME", none, common[i].value);
        put_variable(out, "HARK_LABEL_", common[i].name, common[i].value);
    }
}

/* --- Handing over ----------------------------------------------------------------------------- */

/* A notification that the outbox does not have was not delivered: it is news again. */
static void take_back(struct hk_dispatch *dispatch, const struct sending *sending) {
    if (sending->group_slot >= dispatch->groups.count) return;
    struct group *group = dispatch->groups.items[sending->group_slot];
    if (group == NULL || group->serial != sending->group_serial) return;
    for (size_t i = 0; i < group->entry_count; i++)
        group->entries[i]->told_firing &= ~(1ULL << sending->integration);
    int64_t at_ms = hk_clock_realtime_ms() + RETRY_REFUSED_MS;
    if (at_ms < group->due.at_ms) {
        hk_err err = hk_deadline_set(&dispatch->due, &group->due, at_ms);
        hk_assert(err >= 0); /* it is in the heap already */
    }
}

static void on_posted(void *ctx, const struct hk_post_result *result) {
    struct sending *sending = ctx;
    struct hk_dispatch *dispatch = sending->dispatch;
    size_t bytes = result->text.len < RESULT_TEXT_MAX ? result->text.len : RESULT_TEXT_MAX;
    bool delivered = result->status >= 200 && result->status < 300;
    char *space = NULL;
    struct message *message =
        sending->recorded ? hk_respond_message(MESSAGE_RESULT, bytes, &space) : NULL;
    if (message != NULL) {
        memcpy(message->id, sending->id, sizeof(message->id));
        message->result = *result;
        message->result.text = message_put(&space, hk_str_part(result->text, 0, bytes));
        /* Refused: the outbox learns of it when the shard's time is over. */
        (void)hk_respond_send(dispatch->respond, message, false);
    } else if (!sending->recorded && !delivered) {
        take_back(dispatch, sending);
    }
    hk_mem_free(sending);
}

/* Writes to the warm connection. NULL: it must go through the outbox. */
static struct sending *
post_warm(struct hk_dispatch *dispatch, const struct group *group, uint32_t index, const char *id) {
    if (dispatch->endpoints[index] == NULL) return NULL;
    struct sending *sending = hk_mem_resize(NULL, 1, sizeof(*sending));
    if (sending == NULL) return NULL;
    *sending = (struct sending){ .dispatch = dispatch,
                                 .group_serial = group->serial,
                                 .group_slot = group->slot,
                                 .integration = index,
                                 .recorded = true };
    memcpy(sending->id, id, sizeof(sending->id));
    const struct hk_str header[2] = { HK_STR("X-Hark-Notification-Id"), hk_str_from(id) };
    hk_err err = dispatch->transport.post(
        dispatch->transport.self, dispatch->endpoints[index], HK_STR("application/json"),
        hk_buf_get(&dispatch->body), header, 1, on_posted, sending);
    if (err >= 0) return sending;
    hk_mem_free(sending);
    return NULL;
}

/* Queues the notification for the outbox. */
static hk_err record(
    struct hk_dispatch *dispatch, const struct hk_webhook_message *shown, uint32_t index,
    uint32_t told_count, const struct message *head) {
    size_t bytes = told_count * sizeof(struct told) + shown->group_key.len + dispatch->body.len +
                   dispatch->scratch.len;
    char *space = NULL;
    struct message *message = hk_respond_message(MESSAGE_NOTIFY, bytes, &space);
    if (message == NULL) return HK_E_NOMEM;
    memcpy(space, dispatch->told, told_count * sizeof(struct told));
    message->told = (const struct told *)(const void *)space;
    space += told_count * sizeof(struct told);
    message->told_count = told_count;
    message->integration = index;
    message->send = head->send;
    message->resolved = head->resolved;
    message->repeat_count = head->repeat_count;
    message->now_ms = head->now_ms;
    memcpy(message->id, head->id, sizeof(message->id));
    message->group_key = message_put(&space, shown->group_key);
    message->body = message_put(&space, hk_buf_get(&dispatch->body));
    message->environment = message_put(&space, hk_buf_get(&dispatch->scratch));
    return hk_respond_send(dispatch->respond, message, false);
}

/* Everything of this message is told now. */
static void
mark(struct group *group, uint32_t index, bool send_resolved, const struct message *head) {
    uint64_t bit = 1ULL << index;
    for (size_t i = 0; i < group->entry_count; i++) {
        struct entry *entry = group->entries[i];
        if (!entry->shown.resolved)
            entry->told_firing |= bit;
        else if (send_resolved && (entry->told_firing & bit) != 0)
            entry->told_resolved |= bit;
    }
    group->sent[index] = (struct sent){ head->now_ms, head->repeat_count };
}

static double value_of(const struct hk_webhook_alert *shown) {
    return ((const struct entry *)(const void *)shown)->value; /* it is the entry's first member */
}

/* Renders and hands over. True when it was accepted by the connection or the outbox. */
static bool notify(
    struct hk_dispatch *dispatch, struct group *group, uint32_t index, enum need need,
    int64_t now_ms) {
    const struct hk_respond_plan *plan = dispatch->plan;
    const struct integration *integration = &plan->integrations[index];
    bool exec = integration->kind == INTEGRATION_EXEC;
    uint32_t count = 0;
    if (choose(dispatch, group, index, &count) < 0) return false;
    if (count == 0) return true;
    struct message head = { .now_ms = now_ms, .resolved = true };
    for (uint32_t i = 0; i < count && head.resolved; i++)
        head.resolved = dispatch->chosen[i]->resolved;
    head.repeat_count = group->sent[index].repeat_count + (need == NEED_REPEAT ? 1 : 0);
    make_id(
        integration, dispatch->told, count, need == NEED_REPEAT ? head.repeat_count : 0,
        !head.resolved, head.id);
    uint32_t max = exec ? 0 : integration->webhook.max_alerts;
    uint32_t shown_count = max > 0 && count > max ? max : count;
    struct hk_webhook_message shown = {
        .alerts = dispatch->chosen,
        .alert_count = shown_count,
        .truncated_count = count - shown_count,
        .receiver = integration->receiver,
        .group_key = group->key,
        .external_url = plan->config.external_url,
        .group_labels = group->labels,
        .notification_id = hk_str_from(head.id),
    };
    if (plan->config.route.group_by_all) shown.group_labels_json = dispatch->chosen[0]->labels_json;
    hk_buf_clear(&dispatch->body);
    hk_buf_clear(&dispatch->scratch);
    hk_webhook_render(&shown, &dispatch->body);
    if (dispatch->body.err < 0) {
        dispatch->stats.refused++;
        return true; /* a message over the limit will not get smaller by waiting */
    }
    struct sending *sending = exec ? NULL : post_warm(dispatch, group, index, head.id);
    if (exec)
        put_environment(
            &shown, integration->exec.env, value_of(dispatch->chosen[0]), !head.resolved,
            &dispatch->scratch);
    head.send = sending == NULL;
    hk_err err = record(dispatch, &shown, index, count, &head);
    if (err < 0) dispatch->stats.outbox_refused++;
    if (err < 0 && sending == NULL) return false;
    if (err < 0) sending->recorded = false;
    dispatch->stats.notifications++;
    if (sending != NULL)
        dispatch->stats.written_warm++;
    else
        dispatch->stats.queued_cold++;
    mark(group, index, integration->send_resolved, &head);
    return true;
}

bool hk_dispatch_flush(struct hk_dispatch *dispatch, struct group *group, int64_t now_ms) {
    bool accepted = true;
    for (uint32_t i = 0; i < dispatch->plan->route_count; i++) {
        enum need need = what_is_needed(dispatch, group, i, now_ms);
        if (need != NEED_NOTHING && !notify(dispatch, group, i, need, now_ms)) accepted = false;
    }
    return accepted;
}

/* --- Push ------------------------------------------------------------------------------------- */

/* The event's labels with the external ones that it does not have itself. */
static hk_err merge_external(
    struct hk_labels labels, struct hk_labels external, struct hk_label_set *set,
    struct hk_labels *out) {
    hk_label_set_clear(set);
    for (uint32_t i = 0; i < labels.count; i++)
        hk_label_set_add(set, labels.items[i].name, labels.items[i].value);
    for (uint32_t i = 0; i < external.count; i++) {
        if (hk_labels_get(labels, external.items[i].name).len == 0)
            hk_label_set_add(set, external.items[i].name, external.items[i].value);
    }
    return hk_label_set_finish(set, out);
}

static void push_event(struct hk_dispatch *dispatch, const struct hk_alert_event *event) {
    const struct hk_push_config *push = &dispatch->plan->config.push;
    struct hk_buf *scratch = &dispatch->scratch;
    struct hk_label_set set;
    struct hk_labels labels;
    hk_err err = merge_external(event->labels, push->external_labels, &set, &labels);
    hk_buf_clear(scratch);
    if (err >= 0) hk_labels_json(labels, scratch);
    size_t cut = scratch->len;
    hk_labels_json(event->annotations, scratch);
    char *space = NULL;
    struct message *message =
        err < 0 || scratch->err < 0
            ? NULL
            : hk_respond_message(MESSAGE_EVENT, scratch->len + event->generator_url.len, &space);
    if (message == NULL) {
        dispatch->stats.outbox_refused++;
        return;
    }
    struct hk_str json = hk_buf_get(scratch);
    message->labels_json = message_put(&space, hk_str_part(json, 0, cut));
    message->annotations_json = message_put(&space, hk_str_part(json, cut, json.len));
    message->generator_url = message_put(&space, event->generator_url);
    message->fingerprint = hk_fingerprint(labels);
    message->resolved = event->resolved;
    message->starts_ms = event->starts_ms;
    message->ends_ms = event->ends_ms;
    if (hk_respond_send(dispatch->respond, message, false) < 0) dispatch->stats.outbox_refused++;
}

/* Without endpoints the large label set is not even cleared. */
void hk_dispatch_push(struct hk_dispatch *dispatch, const struct hk_alert_event *event) {
    if (dispatch->plan->config.push.endpoint_count > 0) push_event(dispatch, event);
}
