/*
 * Commands of the outbox (its thread): handed to the helper once their intent is durable, so many
 * at a time as the receiver allows; more wait here in order, and too many are refused.
 *
 * (1) A row waits in its integration's list, or was handed over and is counted in `running`.
 */
#include "base/log.h"
#include "base/mem.h"
#include "respond/respond_internal.h"

#include <inttypes.h>
#include <stdio.h>

enum { HELD_BYTES_MAX = 64 << 20 /* of all that wait */ };

/* --- Waiting ---------------------------------------------------------------------------------- */

static void publish(struct hk_respond *respond) {
    stat_set(respond, STAT_EXEC_RUNNING, respond->commands_running);
    stat_set(respond, STAT_EXEC_WAITING, respond->commands_waiting);
}

static void
append_held(struct hk_respond *respond, struct integration *integration, struct open_row *row) {
    row->held_next = NULL;
    if (integration->held_first == NULL)
        integration->held_first = row;
    else
        integration->held_last->held_next = row;
    integration->held_last = row;
    integration->waiting++;
    respond->commands_waiting++;
    respond->held_bytes += row->held->bytes;
}

/* Takes the row out of the list; its message stays with it. */
static void
remove_held(struct hk_respond *respond, struct integration *integration, struct open_row *row) {
    struct open_row *before = NULL;
    for (struct open_row *at = integration->held_first; at != row; at = at->held_next)
        before = at;
    if (before == NULL)
        integration->held_first = row->held_next;
    else
        before->held_next = row->held_next;
    if (integration->held_last == row) integration->held_last = before;
    integration->waiting--;
    respond->commands_waiting--;
    respond->held_bytes -= row->held->bytes;
}

void hk_command_release(struct hk_respond *respond, struct open_row *row) {
    struct integration *integration = &respond->plan->integrations[row->integration];
    if (row->held != NULL) {
        remove_held(respond, integration, row);
        hk_mem_free(row->held);
        row->held = NULL;
    } else if (row->handed) {
        row->handed = false;
        integration->running--;
        respond->commands_running--;
        respond->commands_ended = true;
    }
    publish(respond);
}

static void
hand_over(struct hk_respond *respond, struct open_row *row, const struct message *message) {
    struct integration *integration = &respond->plan->integrations[row->integration];
    struct exec_request request = { .request = row->id_hash,
                                    .config = &integration->exec,
                                    .environment = message->environment,
                                    .input = message->body };
    hk_err err = HK_E_CLOSED;
    row->handed = true;
    integration->running++;
    respond->commands_running++;
    publish(respond);
    if (respond->plan->config.exec != NULL)
        err = hk_exec_send(respond->plan->config.exec, &request);
    else
        err = hk_fail(err, "commands are off: the server has no helper process");
    if (err < 0) hk_outbox_fail(respond, row, ROW_FAILED, 0, hk_str_from(hk_fail_text()));
}

static bool is_free(const struct integration *integration) {
    uint32_t max = integration->exec.concurrency_max;
    return max == 0 || integration->running < max;
}

bool hk_command_run(struct hk_respond *respond, struct open_row *row, struct message *message) {
    struct integration *integration = &respond->plan->integrations[row->integration];
    if (row->lost) {
        hk_outbox_fail(
            respond, row, ROW_FAILED, 0, HK_STR("not run: its receiver is no longer configured"));
        return false;
    }
    if (is_free(integration) && integration->held_first == NULL) {
        hand_over(respond, row, message);
        return false;
    }
    bool full = integration->waiting >= HK_EXEC_WAITING_MAX ||
                respond->held_bytes + message->bytes > HELD_BYTES_MAX;
    if (full) {
        stat_add(respond, STAT_EXEC_CROWDED, 1);
        hk_outbox_fail(
            respond, row, ROW_FAILED, 0,
            HK_STR("not run: too many commands of this receiver wait; see max_concurrency"));
        return false;
    }
    row->held = message;
    append_held(respond, integration, row); /* (1) */
    publish(respond);
    return true;
}

/* Where one has ended the next of the same receiver begins. */
static void start_waiting(struct hk_respond *respond) {
    while (respond->commands_ended) {
        respond->commands_ended = false; /* again when one fails at once */
        for (uint32_t i = 0; i < respond->plan->integration_count; i++) {
            struct integration *integration = &respond->plan->integrations[i];
            while (integration->held_first != NULL && is_free(integration)) {
                struct open_row *row = integration->held_first;
                struct message *message = row->held;
                remove_held(respond, integration, row);
                row->held = NULL;
                hand_over(respond, row, message);
                hk_mem_free(message);
            }
        }
    }
}

/* --- Another configuration -------------------------------------------------------------------- */

/* Rows of the old integration `from` go to `to`, NULL when it is gone. Their index is not changed
 * here. */
static void
move_held(struct hk_respond *respond, struct integration *from, struct integration *to) {
    struct open_row *row = from->held_first;
    respond->commands_waiting -= from->waiting;
    from->held_first = from->held_last = NULL;
    from->waiting = 0;
    while (row != NULL) {
        struct open_row *next = row->held_next;
        respond->held_bytes -= row->held->bytes;
        append_held(respond, to, row);
        row = next;
    }
}

void hk_commands_replan(struct hk_respond *respond, struct hk_respond_plan *plan) {
    struct hk_respond_plan *old = respond->plan;
    for (uint32_t i = 0; i <= old->integration_count; i++) {
        struct integration *from = &old->integrations[i];
        int64_t at = i < old->integration_count ? hk_respond_find(plan, from->name) : -1;
        struct integration *to =
            &plan->integrations[at < 0 ? plan->integration_count : (uint32_t)at];
        to->running += from->running;
        move_held(respond, from, to);
    }
    respond->commands_ended = true; /* there may be more room now */
}

/* --- Reports ---------------------------------------------------------------------------------- */

static void put_output(const struct exec_report *report, struct hk_buf *out) {
    hk_buf_str(out, report->head);
    uint64_t kept = report->head.len + report->tail.len;
    if (report->output_bytes > kept) {
        hk_buf_printf(out, "\n[… %" PRIu64 " bytes are not kept …]\n", report->output_bytes - kept);
    }
    hk_buf_str(out, report->tail);
}

static void
end_command(struct hk_respond *respond, struct open_row *row, const struct exec_report *report) {
    struct hk_buf output;
    char text[RESULT_TEXT_MAX];
    bool fine = report->exit_code == 0 && !report->timed_out;
    hk_buf_init(&output, 4 * HK_EXEC_OUTPUT_BYTES);
    put_output(report, &output);
    int len = report->signal > 0
                  ? snprintf(text, sizeof(text), "ended by signal %d", report->signal)
                  : snprintf(text, sizeof(text), "exit code %d", report->exit_code);
    (void)snprintf(
        text + len, sizeof(text) - (size_t)len, "%s after %.3f s",
        report->timed_out ? ", timed out" : "", (double)report->duration_ns / 1e9);
    stat_add(respond, fine ? STAT_EXEC_DONE : STAT_EXEC_FAILED, 1);
    row->attempts = 1;
    hk_outbox_end(
        respond, row, fine ? ROW_DONE : ROW_FAILED, fine, report->exit_code, hk_str_from(text),
        hk_buf_get(&output));
    hk_buf_deinit(&output);
}

static void on_report(void *self, const struct exec_report *report) {
    struct hk_respond *respond = self;
    size_t cursor = 0;
    uint32_t slot = 0;
    do {
        slot = hk_hashindex_find(&respond->open_index, report->request, &cursor);
        if (slot == HK_HASHINDEX_NONE) return;
    } while (!respond->open[slot]->is_exec || respond->open[slot]->id_hash != report->request);
    struct open_row *row = respond->open[slot];
    if (report->state == EXEC_STARTED) {
        row->started = true;
        stat_add(respond, STAT_EXEC_STARTED, 1);
    } else if (report->state == EXEC_REFUSED) {
        hk_outbox_fail(respond, row, ROW_FAILED, 0, report->text);
    } else {
        end_command(respond, row, report);
    }
}

/* The helper is gone: nobody will report about its commands. */
static void lose_commands(struct hk_respond *respond) {
    if (atomic_load_explicit(&respond->stat[STAT_EXEC_ALIVE], memory_order_relaxed) == 0) return;
    stat_set(respond, STAT_EXEC_ALIVE, 0);
    hk_log(HK_LOG_ERROR, "the helper process for commands has died; commands are refused");
    for (uint32_t i = respond->open_count; i > 0; i--) {
        struct open_row *row = respond->open[i - 1];
        if (!row->is_exec) continue;
        if (row->handed) {
            hk_outbox_fail(
                respond, row, ROW_UNKNOWN, 0,
                HK_STR("the helper process died; the command may have run, ask a person"));
        } else if (row->held != NULL) {
            hk_outbox_fail(respond, row, ROW_FAILED, 0, HK_STR("not run: the helper process died"));
        }
    }
}

void hk_commands_serve(struct hk_respond *respond) {
    if (respond->plan->config.exec == NULL) return;
    if (hk_exec_receive(respond->plan->config.exec, on_report, respond) < 0) lose_commands(respond);
    start_waiting(respond);
}
