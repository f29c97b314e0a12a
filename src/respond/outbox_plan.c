/* The outbox goes over to another configuration, on its thread and under its lock. */
#include "base/log.h"
#include "base/mem.h"
#include "respond/respond_internal.h"

/* What the API shows of an integration stays with its name. */
static void carry_results(const struct hk_respond_plan *old, struct hk_respond_plan *plan) {
    for (uint32_t i = 0; i < plan->integration_count; i++) {
        struct integration *to = &plan->integrations[i];
        int64_t at = hk_respond_find(old, to->name);
        if (at < 0) continue;
        const struct integration *from = &old->integrations[at];
        to->sent = from->sent;
        to->failed = from->failed;
        to->last_ms = from->last_ms;
        to->last_status = from->last_status;
        memcpy(to->last_text, from->last_text, sizeof(to->last_text));
    }
}

/* Open rows go on under the new index of their integration. */
static void renumber(struct hk_respond *respond, const struct hk_respond_plan *plan) {
    const struct hk_respond_plan *old = respond->plan;
    for (uint32_t i = 0; i < respond->open_count; i++) {
        struct open_row *row = respond->open[i];
        int64_t at =
            row->lost ? -1 : hk_respond_find(plan, old->integrations[row->integration].name);
        row->lost = at < 0;
        row->integration = at < 0 ? plan->integration_count : (uint32_t)at;
    }
}

/* Notifications and waiting commands of receivers that are gone end; commands that run may. */
static void end_lost(struct hk_respond *respond) {
    for (uint32_t i = respond->open_count; i > 0; i--) {
        struct open_row *row = respond->open[i - 1];
        if (!row->lost || row->handed) continue;
        if (row->is_exec && row->held == NULL) continue; /* its commit is not done: ends then */
        hk_outbox_fail(respond, row, ROW_FAILED, 0, HK_STR("its receiver is no longer configured"));
    }
}

/* The alerts of the push come again from the rules when it is made anew. */
static void renew_push(struct hk_respond *respond, const struct hk_respond_plan *old) {
    const struct hk_push_config *config = &respond->plan->config.push;
    struct hk_hash128 before = old->push_digest;
    struct hk_hash128 after = respond->plan->push_digest;
    if (before.low == after.low && before.high == after.high) {
        if (respond->push != NULL) hk_alert_push_move(respond->push, config);
        return;
    }
    if (respond->push != NULL) {
        hk_sender_forget(respond->sender, respond->push);
        hk_alert_push_destroy(respond->push);
        respond->push = NULL;
        stat_set(respond, STAT_PUSH_ALERTS, 0);
    }
    if (config->endpoint_count == 0) return;
    if (hk_alert_push_create(config, respond->sender, &respond->push) < 0)
        hk_log(HK_LOG_ERROR, "alerts are not pushed to Alertmanagers: out of memory");
}

void hk_outbox_take_plan(struct hk_respond *respond, struct hk_respond_plan *plan) {
    struct hk_respond_plan *old = respond->plan;
    carry_results(old, plan);
    hk_commands_replan(respond, plan);
    renumber(respond, plan);
    respond->plan = plan;
    end_lost(respond);
    renew_push(respond, old);
    hk_respond_plan_destroy(old);
}
