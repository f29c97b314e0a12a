/* Start, end, numbers and lists of the outbox. */
#include "base/log.h"
#include "base/mem.h"
#include "os/clock.h"
#include "os/file.h"
#include "respond/respond_internal.h"

#include <inttypes.h>
#include <stdio.h>

enum { SENT_BYTES_MAX = 256 << 20 };

/* --- Start and end ---------------------------------------------------------------------------- */

static void free_history(struct hk_respond *respond) {
    for (uint32_t i = 0; i < HK_RESPOND_HISTORY_MAX && respond->history != NULL; i++)
        hk_mem_free(respond->history[i].output);
    hk_mem_free(respond->history);
}

static void free_respond(struct hk_respond *respond) {
    for (;;) {
        struct message *message = hk_respond_queue_pop(&respond->queue);
        if (message == NULL) break;
        hk_respond_plan_destroy(message->plan);
        hk_mem_free(message);
    }
    hk_alert_push_destroy(respond->push);
    hk_sender_destroy(respond->sender);
    hk_database_close(respond->database);
    hk_respond_free_open(respond);
    free_history(respond);
    hk_mem_free(respond->sent);
    hk_hashindex_deinit(&respond->sent_index);
    hk_arena_deinit(&respond->sent_arena);
    hk_respond_plan_destroy(respond->plan);
    hk_mutex_deinit(&respond->lock);
    hk_mem_free(respond);
}

/* A file that SQLite finds damaged is put aside, named in the log, and a new one begun. */
static hk_err open_database(struct hk_respond *respond) {
    struct hk_str directory = respond->plan->config.directory;
    hk_err err = hk_database_open(directory, &respond->database);
    if (err != HK_E_CORRUPT) return err;
    static const char *const endings[] = { "", "-wal", "-shm" };
    int64_t now_ms = hk_clock_realtime_ms();
    hk_log(
        HK_LOG_ERROR, "%s; it is put aside as outbox.db.damaged-%" PRId64, hk_fail_text(), now_ms);
    for (size_t i = 0; i < HK_COUNT(endings); i++) {
        char from[4200];
        char to[4300];
        (void)snprintf(from, sizeof(from), "%.*s/outbox.db%s", HK_STR_ARG(directory), endings[i]);
        (void)snprintf(
            to, sizeof(to), "%.*s/outbox.db.damaged-%" PRId64 "%s", HK_STR_ARG(directory), now_ms,
            endings[i]);
        (void)hk_file_rename(from, to);
    }
    return hk_database_open(directory, &respond->database);
}

static hk_err begin(struct hk_respond *respond, const struct hk_respond_config *config) {
    HK_TRY(hk_respond_plan_create(config, &respond->plan));
    respond->history = hk_mem_alloc(HK_RESPOND_HISTORY_MAX, sizeof(respond->history[0]));
    if (respond->history == NULL) return HK_E_NOMEM;
    HK_TRY(hk_sender_create(&respond->sender));
    if (respond->plan->config.push.endpoint_count > 0)
        HK_TRY(hk_alert_push_create(&respond->plan->config.push, respond->sender, &respond->push));
    HK_TRY(open_database(respond));
    stat_set(respond, STAT_EXEC_ALIVE, config->exec != NULL && hk_exec_fd(config->exec) >= 0);
    HK_TRY(hk_respond_recover(respond));
    int err = hk_thread_start(&respond->thread, "hark-respond", hk_respond_run, respond);
    if (err < 0) return hk_fail(HK_E_IO, "cannot start a thread: %s", strerror(-err));
    return HK_OK;
}

hk_err hk_respond_create(const struct hk_respond_config *config, struct hk_respond **out) {
    struct hk_respond *respond = hk_mem_alloc(1, sizeof(*respond));
    if (respond == NULL) return HK_E_NOMEM;
    hk_arena_init(&respond->sent_arena, SENT_BYTES_MAX);
    hk_mutex_init(&respond->lock);
    hk_respond_queue_init(&respond->queue);
    hk_err err = begin(respond, config);
    if (err < 0) {
        free_respond(respond);
        return err;
    }
    *out = respond;
    return HK_OK;
}

void hk_respond_destroy(struct hk_respond *respond) {
    if (respond == NULL) return;
    char *space = NULL;
    struct message *message = hk_respond_message(MESSAGE_STOP, 0, &space);
    while (message == NULL) { /* nothing but memory can be missing, and it comes back */
        hk_sleep_ns(1000000);
        message = hk_respond_message(MESSAGE_STOP, 0, &space);
    }
    (void)hk_respond_send(respond, message, true);
    hk_thread_join(&respond->thread);
    free_respond(respond);
}

bool hk_respond_flush(struct hk_respond *respond, int64_t timeout_ms) {
    /* On the heap and left there on a timeout: the outbox raises it later. */
    struct hk_event *event = hk_mem_alloc(1, sizeof(*event));
    char *space = NULL;
    struct message *message = hk_respond_message(MESSAGE_FLUSH, 0, &space);
    if (event == NULL || message == NULL) {
        hk_mem_free(event);
        hk_mem_free(message);
        return false;
    }
    hk_event_init(event);
    message->event = event;
    (void)hk_respond_send(respond, message, true);
    if (!hk_event_wait(event, timeout_ms * 1000000)) return false;
    hk_event_deinit(event);
    hk_mem_free(event);
    return true;
}

/* --- Numbers ---------------------------------------------------------------------------------- */

static uint64_t stat_get(struct hk_respond *respond, enum counter stat) {
    return atomic_load_explicit(&respond->stat[stat], memory_order_relaxed);
}

void hk_respond_get_stats(struct hk_respond *respond, struct hk_respond_stats *out) {
    *out = (struct hk_respond_stats){
        .queued = stat_get(respond, STAT_QUEUED),
        .refused = stat_get(respond, STAT_REFUSED),
        .written = stat_get(respond, STAT_WRITTEN),
        .answered = stat_get(respond, STAT_ANSWERED),
        .retried = stat_get(respond, STAT_RETRIED),
        .failed = stat_get(respond, STAT_FAILED),
        .duplicates_after_restart = stat_get(respond, STAT_DUPLICATES),
        .exec_started = stat_get(respond, STAT_EXEC_STARTED),
        .exec_done = stat_get(respond, STAT_EXEC_DONE),
        .exec_failed = stat_get(respond, STAT_EXEC_FAILED),
        .exec_refused = stat_get(respond, STAT_EXEC_REFUSED),
        .exec_unknown = stat_get(respond, STAT_EXEC_UNKNOWN),
        .exec_crowded = stat_get(respond, STAT_EXEC_CROWDED),
        .exec_running = (uint32_t)stat_get(respond, STAT_EXEC_RUNNING),
        .exec_waiting = (uint32_t)stat_get(respond, STAT_EXEC_WAITING),
        .push_sent = stat_get(respond, STAT_PUSH_SENT),
        .push_failed = stat_get(respond, STAT_PUSH_FAILED),
        .push_dropped = stat_get(respond, STAT_PUSH_DROPPED),
        .unanswered = (uint32_t)stat_get(respond, STAT_OPEN),
        .push_alerts = (uint32_t)stat_get(respond, STAT_PUSH_ALERTS),
        .exec_alive = stat_get(respond, STAT_EXEC_ALIVE) != 0,
        .commit_ns = (int64_t)stat_get(respond, STAT_COMMIT_NS),
    };
}

/* --- Lists ------------------------------------------------------------------------------------ */

void hk_respond_remember(struct hk_respond *respond, const struct history *entry) {
    struct history *place = &respond->history[respond->history_next];
    hk_mem_free(place->output);
    *place = *entry;
    respond->history_next = (respond->history_next + 1) % HK_RESPOND_HISTORY_MAX;
    if (respond->history_count < HK_RESPOND_HISTORY_MAX) respond->history_count++;
}

static void put_time(const char *key, int64_t stamp_ms, struct hk_buf *out) {
    char text[HK_TIME_BYTES_MAX];
    if (stamp_ms == 0) return;
    hk_buf_printf(out, ",\"%s\":\"", key);
    hk_buf_bytes(out, text, hk_format_time_ms(stamp_ms, text));
    hk_buf_char(out, '"');
}

/* Without user and password, and without the path, which is a secret for some receivers. */
static void put_url(struct hk_str url, struct hk_buf *out) {
    size_t start = hk_str_find(url, ':', 0) + 3;
    size_t end = hk_str_find(url, '/', start);
    size_t at = start;
    for (size_t i = start; i < end; i++) {
        if (url.ptr[i] == '@') at = i + 1;
    }
    struct hk_buf shown;
    hk_buf_init(&shown, url.len + 16);
    hk_buf_str(&shown, hk_str_part(url, 0, start));
    hk_buf_str(&shown, hk_str_part(url, at, end));
    if (end < url.len) hk_buf_text(&shown, "/…");
    hk_buf_json(out, hk_buf_get(&shown));
    hk_buf_deinit(&shown);
}

static void put_integration(const struct integration *integration, struct hk_buf *out) {
    bool exec = integration->kind == INTEGRATION_EXEC;
    hk_buf_text(out, "{\"name\":");
    hk_buf_json(out, integration->name);
    hk_buf_text(out, ",\"receiver\":");
    hk_buf_json(out, integration->receiver);
    hk_buf_text(out, exec ? ",\"kind\":\"exec\",\"command\":" : ",\"kind\":\"webhook\",\"url\":");
    if (exec)
        hk_buf_json(out, integration->exec.argv[0]);
    else
        put_url(integration->webhook.endpoint.url, out);
    hk_buf_printf(
        out, ",\"sendResolved\":%s,\"sent\":%" PRIu64 ",\"failed\":%" PRIu64 ",\"lastStatus\":%d",
        integration->send_resolved ? "true" : "false", integration->sent, integration->failed,
        integration->last_status);
    put_time("lastAt", integration->last_ms, out);
    hk_buf_text(out, ",\"lastText\":");
    hk_buf_json(out, hk_str_from(integration->last_text));
    hk_buf_char(out, '}');
}

void hk_respond_json_receivers(struct hk_respond *respond, struct hk_buf *out) {
    hk_mutex_lock(&respond->lock);
    hk_buf_char(out, '[');
    for (uint32_t i = 0; i < respond->plan->integration_count; i++) {
        if (i > 0) hk_buf_char(out, ',');
        put_integration(&respond->plan->integrations[i], out);
    }
    hk_buf_char(out, ']');
    hk_mutex_unlock(&respond->lock);
}

static const char *state_text(const struct history *entry) {
    if (entry->answered) return entry->is_exec ? "done" : "sent";
    return entry->state == ROW_UNKNOWN ? "unknown" : "failed";
}

static void put_entry(const struct history *entry, const char *state, struct hk_buf *out) {
    hk_buf_text(out, "{\"id\":");
    hk_buf_json(out, hk_str_from(entry->id));
    hk_buf_text(out, ",\"integration\":");
    hk_buf_json(out, hk_str_from(entry->integration));
    hk_buf_printf(
        out, ",\"state\":\"%s\",\"status\":\"%s\",\"attempts\":%d,\"%s\":%d", state,
        entry->resolved ? "resolved" : "firing", entry->attempts,
        entry->is_exec ? "exitCode" : "httpStatus", entry->status);
    put_time("createdAt", entry->created_ms, out);
    put_time("finishedAt", entry->finished_ms, out);
    hk_buf_text(out, ",\"text\":");
    hk_buf_json(out, hk_str_from(entry->text));
    if (entry->is_exec) {
        hk_buf_text(out, ",\"output\":");
        hk_buf_json(out, hk_str_from(entry->output));
    }
    hk_buf_char(out, '}');
}

static void
put_open(const struct hk_respond *respond, const struct open_row *row, struct hk_buf *out) {
    struct history entry = { .created_ms = row->created_ms,
                             .is_exec = row->is_exec,
                             .resolved = row->resolved,
                             .attempts = row->attempts };
    const struct integration *integration = &respond->plan->integrations[row->integration];
    (void)snprintf(entry.id, sizeof(entry.id), "%s", row->id);
    (void)snprintf(
        entry.integration, sizeof(entry.integration), "%.*s", HK_STR_ARG(integration->name));
    const char *state = row->is_exec   ? (row->started ? "running" : "waiting")
                        : row->sending ? "sending"
                                       : "waiting";
    put_entry(&entry, state, out);
}

/* Open ones first, then the finished ones, newest first. */
static void put_list(struct hk_respond *respond, bool exec, uint32_t limit, struct hk_buf *out) {
    uint32_t count = 0;
    hk_mutex_lock(&respond->lock);
    hk_buf_char(out, '[');
    for (uint32_t i = respond->open_count; i > 0 && count < limit; i--) {
        if (respond->open[i - 1]->is_exec != exec) continue;
        if (count++ > 0) hk_buf_char(out, ',');
        put_open(respond, respond->open[i - 1], out);
    }
    for (uint32_t i = 1; i <= respond->history_count && count < limit; i++) {
        uint32_t at = (respond->history_next + HK_RESPOND_HISTORY_MAX - i) % HK_RESPOND_HISTORY_MAX;
        const struct history *entry = &respond->history[at];
        if (entry->is_exec != exec) continue;
        if (count++ > 0) hk_buf_char(out, ',');
        put_entry(entry, state_text(entry), out);
    }
    hk_buf_char(out, ']');
    hk_mutex_unlock(&respond->lock);
}

void hk_respond_json_notifications(struct hk_respond *respond, uint32_t limit, struct hk_buf *out) {
    put_list(respond, false, limit, out);
}

void hk_respond_json_actions(struct hk_respond *respond, uint32_t limit, struct hk_buf *out) {
    put_list(respond, true, limit, out);
}
