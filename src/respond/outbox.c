/*
 * The outbox's thread: makes intents durable, sends what the shards did not or could not, repeats
 * what was not answered, hands commands to the helper. Everything here runs on that one thread; the
 * lock is held while its tables change, so that the API can read them, and never while it waits for
 * the disk or the network.
 *
 * (1) A command is handed to the helper only after the commit of its intent.
 * (2) A row of `open` is on disk (rowid > 0), or its body is in memory.
 * (3) An intent leaves the disk only when it was answered, refused for good or given up.
 */
#include "base/log.h"
#include "base/mem.h"
#include "os/clock.h"
#include "respond/respond_internal.h"

#include <inttypes.h>
#include <stdio.h>

enum {
    BATCH_MAX = 512, /* messages in one transaction */
    RETRY_FIRST_MS = 1000,
    RETRY_LAST_MS = 300000,
    CLAIM_MS = 3600000,
    BUSY_RETRY_MS = 200, /* too many transfers at once */
    TRIM_EVERY_MS = 60000
};

/* --- Open rows -------------------------------------------------------------------------------- */

static uint64_t hash_id(const char *id) {
    return hk_hash64(id, strlen(id));
}

static struct open_row *find_open(const struct hk_respond *respond, const char *id) {
    size_t cursor = 0;
    for (;;) {
        uint32_t slot = hk_hashindex_find(&respond->open_index, hash_id(id), &cursor);
        if (slot == HK_HASHINDEX_NONE) return NULL;
        if (strcmp(respond->open[slot]->id, id) == 0) return respond->open[slot];
    }
}

static void count_open(struct hk_respond *respond) {
    stat_set(respond, STAT_OPEN, respond->open_count);
}

static hk_err add_open(struct hk_respond *respond, const char *id, struct open_row **out) {
    if (respond->open_count >= HK_RESPOND_OUTBOX_MAX) return HK_E_LIMIT;
    uint32_t slot = 0;
    /* Slots are taken from the end; the last row moves into the gap of a removed one. */
    slot = respond->open_count;
    HK_TRY(hk_mem_grow(
        &respond->open, &respond->open_capacity, (size_t)slot + 1, sizeof(respond->open[0])));
    struct open_row *row = hk_mem_alloc(1, sizeof(*row));
    if (row == NULL) return HK_E_NOMEM;
    row->slot = slot;
    (void)snprintf(row->id, sizeof(row->id), "%s", id);
    row->id_hash = hash_id(id);
    hk_err err = hk_deadline_set(&respond->due, &row->due, INT64_MAX);
    if (err >= 0) err = hk_hashindex_put(&respond->open_index, row->id_hash, slot);
    if (err < 0) {
        hk_deadline_clear(&respond->due, &row->due);
        hk_mem_free(row);
        return err;
    }
    respond->open[slot] = row;
    respond->open_count++;
    count_open(respond);
    *out = row;
    return HK_OK;
}

static void remove_open(struct hk_respond *respond, struct open_row *row) {
    struct open_row *last = respond->open[respond->open_count - 1];
    hk_deadline_clear(&respond->due, &row->due);
    hk_hashindex_remove(&respond->open_index, row->id_hash, row->slot);
    if (last != row) {
        hk_hashindex_remove(&respond->open_index, last->id_hash, last->slot);
        last->slot = row->slot;
        respond->open[last->slot] = last;
        /* A place has just become free in the index. */
        hk_err err = hk_hashindex_put(&respond->open_index, last->id_hash, last->slot);
        hk_assert(err >= 0);
    }
    respond->open_count--;
    count_open(respond);
    if (row->body.ptr != NULL) hk_mem_free_at(&row->body.ptr);
    hk_mem_free(row->held);
    hk_mem_free(row);
}

static void plan(struct hk_respond *respond, struct open_row *row, int64_t at_ms) {
    /* It is in the heap already. */
    hk_err err = hk_deadline_set(&respond->due, &row->due, at_ms);
    hk_assert(err >= 0);
}

void hk_respond_free_open(struct hk_respond *respond) {
    while (respond->open_count > 0)
        remove_open(respond, respond->open[respond->open_count - 1]);
    hk_mem_free(respond->open);
    hk_hashindex_deinit(&respond->open_index);
    hk_deadlines_deinit(&respond->due);
}

/* --- Transactions ----------------------------------------------------------------------------- */

static void complain(const char *what) {
    hk_log(HK_LOG_ERROR, "notifications: %s: %s", what, hk_fail_text());
}

static bool in_transaction(struct hk_respond *respond) {
    if (respond->dirty) return true;
    if (hk_database_begin(respond->database) < 0) {
        complain("the outbox cannot be written");
        return false;
    }
    respond->dirty = true;
    return true;
}

static bool commit(struct hk_respond *respond) {
    if (!respond->dirty) return true;
    respond->dirty = false;
    int64_t start_ns = hk_clock_monotonic_ns();
    hk_err err = hk_database_commit(respond->database);
    stat_set(respond, STAT_COMMIT_NS, (uint64_t)(hk_clock_monotonic_ns() - start_ns));
    if (err < 0) complain("the outbox cannot be written");
    return err >= 0;
}

/* --- Ends ------------------------------------------------------------------------------------- */

void hk_outbox_end(
    struct hk_respond *respond, struct open_row *row, enum row_state state, bool answered,
    int status, struct hk_str text, struct hk_str output) {
    int64_t now_ms = hk_clock_realtime_ms();
    struct integration *integration = &respond->plan->integrations[row->integration];
    struct history entry = { .created_ms = row->created_ms,
                             .finished_ms = now_ms,
                             .state = state,
                             .is_exec = row->is_exec,
                             .resolved = row->resolved,
                             .answered = answered,
                             .status = status,
                             .attempts = row->attempts };
    (void)snprintf(entry.id, sizeof(entry.id), "%s", row->id);
    (void)snprintf(
        entry.integration, sizeof(entry.integration), "%.*s", HK_STR_ARG(integration->name));
    (void)snprintf(
        entry.text, sizeof(entry.text), "%.*s",
        HK_STR_ARG(hk_str_part(text, 0, RESULT_TEXT_MAX - 1)));
    if (output.len > 0) entry.output = hk_mem_copy(output.ptr, output.len);
    hk_respond_remember(respond, &entry);
    integration->last_ms = now_ms;
    integration->last_status = status;
    integration->sent += answered;
    integration->failed += !answered;
    (void)snprintf(integration->last_text, sizeof(integration->last_text), "%s", entry.text);
    if (row->is_exec) hk_command_release(respond, row);
    if (row->rowid > 0 && in_transaction(respond)) {
        hk_err err = answered && !row->is_exec
                         ? hk_database_remove(respond->database, row->rowid)
                         : hk_database_finish(
                               respond->database, row->rowid, state, row->attempts, status, now_ms,
                               hk_str_from(entry.text), output);
        if (err < 0) complain("an ended notification stays in the outbox");
        respond->untrimmed = true;
    }
    remove_open(respond, row);
}

void hk_outbox_fail(
    struct hk_respond *respond, struct open_row *row, enum row_state state, int status,
    struct hk_str text) {
    enum counter stat = STAT_FAILED;
    if (row->is_exec) stat = state == ROW_UNKNOWN ? STAT_EXEC_UNKNOWN : STAT_EXEC_REFUSED;
    stat_add(respond, stat, 1);
    hk_log(
        HK_LOG_WARN, "notification %s: %s: %.*s", row->id,
        state == ROW_UNKNOWN ? "nobody knows whether the command ran" : "not delivered",
        HK_STR_ARG(hk_str_part(text, 0, 200)));
    hk_outbox_end(respond, row, state, false, status, text, (struct hk_str){ "", 0 });
}

static void retry_later(
    struct hk_respond *respond, struct open_row *row, const struct hk_post_result *result,
    int64_t now_ms) {
    int64_t first_ms = respond->plan->config.retry_first_ms > 0
                           ? respond->plan->config.retry_first_ms
                           : (int64_t)RETRY_FIRST_MS;
    int64_t last_ms = respond->plan->config.retry_last_ms > 0 ? respond->plan->config.retry_last_ms
                                                              : (int64_t)RETRY_LAST_MS;
    int64_t delay_ms = first_ms;
    for (int i = 1; i < row->attempts && delay_ms < last_ms; i++)
        delay_ms *= 2;
    if (delay_ms > last_ms) delay_ms = last_ms;
    delay_ms += (int64_t)(row->id_hash % 64) * delay_ms / 256; /* so that not all come at once */
    int64_t asked_ms =
        result->retry_after > 0 && result->retry_after < 86400 ? result->retry_after * 1000 : 0;
    plan(respond, row, now_ms + (asked_ms > delay_ms ? asked_ms : delay_ms));
}

/* The answer to one attempt, of a shard or our own. */
static void
take_result(struct hk_respond *respond, struct open_row *row, const struct hk_post_result *result) {
    int64_t now_ms = hk_clock_realtime_ms();
    struct hk_str none = { "", 0 };
    row->sending = false;
    row->attempts++;
    if (result->status >= 200 && result->status < 300) {
        stat_add(respond, STAT_ANSWERED, 1);
        hk_outbox_end(respond, row, ROW_DONE, true, result->status, none, none);
    } else if (result->status > 0 && result->status < 500) {
        hk_outbox_fail(respond, row, ROW_FAILED, result->status, result->text);
    } else if (now_ms - row->created_ms > GIVE_UP_MS) {
        hk_outbox_fail(
            respond, row, ROW_FAILED, result->status, HK_STR("given up: nobody took it for a day"));
    } else {
        struct integration *integration = &respond->plan->integrations[row->integration];
        integration->last_ms = now_ms;
        integration->last_status = result->status;
        (void)snprintf(
            integration->last_text, sizeof(integration->last_text), "%.*s",
            HK_STR_ARG(hk_str_part(result->text, 0, RESULT_TEXT_MAX - 1)));
        retry_later(respond, row, result, now_ms);
    }
}

/* --- Sending ---------------------------------------------------------------------------------- */

static void on_posted(void *ctx, uint64_t key, const struct hk_post_result *result) {
    struct hk_respond *respond = ctx;
    /* `key` is the hash of the id: rows move between slots. */
    size_t cursor = 0;
    for (;;) {
        uint32_t slot = hk_hashindex_find(&respond->open_index, key, &cursor);
        if (slot == HK_HASHINDEX_NONE) return;
        if (respond->open[slot]->id_hash != key || !respond->open[slot]->sending) continue;
        take_result(respond, respond->open[slot], result);
        return;
    }
}

static void post_row(struct hk_respond *respond, struct open_row *row, struct hk_str body) {
    int64_t now_ms = hk_clock_realtime_ms();
    const struct integration *integration = &respond->plan->integrations[row->integration];
    if (row->attempts > 0) stat_add(respond, STAT_RETRIED, 1);
    hk_err err = hk_sender_post(
        respond->sender, &integration->webhook.endpoint, body, hk_str_from(row->id), on_posted,
        respond, row->id_hash);
    if (err == HK_E_BUSY) {
        plan(respond, row, now_ms + BUSY_RETRY_MS);
    } else if (err < 0) {
        struct hk_post_result result = { .err = err, .text = hk_str_from(hk_fail_text()) };
        take_result(respond, row, &result);
    } else {
        row->sending = true;
        plan(respond, row, INT64_MAX);
    }
}

/* A row's time has come: a retry, or a shard that never reported. */
static void send_row(struct hk_respond *respond, struct open_row *row) {
    if (row->body.ptr != NULL) {
        post_row(respond, row, row->body);
        return;
    }
    struct hk_buf body;
    hk_buf_init(&body, HK_RESPOND_BODY_BYTES_MAX);
    hk_err err = hk_database_body(respond->database, row->rowid, &body);
    if (err >= 0)
        post_row(respond, row, hk_buf_get(&body));
    else
        hk_outbox_fail(
            respond, row, ROW_FAILED, 0, HK_STR("it cannot be read back from the outbox"));
    hk_buf_deinit(&body);
}

static void send_due(struct hk_respond *respond, int64_t now_ms) {
    for (int count = 0; count < BATCH_MAX; count++) {
        struct hk_deadline *first = hk_deadlines_first(&respond->due);
        if (first == NULL || first->at_ms > now_ms) return;
        send_row(respond, (struct open_row *)first);
    }
}

/* --- Messages --------------------------------------------------------------------------------- */

static hk_err
store(struct hk_respond *respond, const struct message *message, struct open_row *row) {
    const struct integration *integration = &respond->plan->integrations[message->integration];
    if (!in_transaction(respond)) return HK_E_IO;
    HK_TRY(hk_database_add(respond->database, message, integration, row->created_ms, &row->rowid));
    HK_TRY(hk_database_set_sent(
        respond->database, integration->name, message->group_key, message->now_ms,
        message->repeat_count, message->told, message->told_count));
    stat_add(respond, STAT_WRITTEN, 1);
    return HK_OK;
}

/* True: the message goes on after the commit. */
static bool take_notify(struct hk_respond *respond, const struct message *message) {
    struct open_row *row = NULL;
    hk_err err = add_open(respond, message->id, &row);
    if (err < 0) {
        stat_add(respond, STAT_REFUSED, 1);
        hk_log(HK_LOG_ERROR, "notification %s: the outbox is full", message->id);
        return false;
    }
    row->integration = message->integration;
    row->created_ms = hk_clock_realtime_ms();
    row->resolved = message->resolved;
    row->is_exec = respond->plan->integrations[message->integration].kind == INTEGRATION_EXEC;
    err = store(respond, message, row);
    if (err < 0) {
        complain("a notification is not durable");
        row->rowid = 0;
    }
    if (!row->is_exec && !message->send) {
        row->sending = true;
        plan(respond, row, row->created_ms + SHARD_LEASE_MS);
    }
    return true;
}

static void take_shard_result(struct hk_respond *respond, const struct message *message) {
    struct open_row *row = find_open(respond, message->id);
    if (row != NULL) take_result(respond, row, &message->result);
}

static void take_forget(struct hk_respond *respond, const struct message *message) {
    if (!in_transaction(respond)) return;
    if (hk_database_forget(respond->database, message->group_key) < 0)
        complain("a group that is gone stays in the outbox");
}

/* True: the message goes on after the commit. */
static bool take_message(struct hk_respond *respond, struct message *message) {
    switch (message->kind) {
    case MESSAGE_NOTIFY:
        return take_notify(respond, message);
    case MESSAGE_RESULT:
        take_shard_result(respond, message);
        return false;
    case MESSAGE_FORGET:
        take_forget(respond, message);
        return false;
    case MESSAGE_PLAN:
        hk_outbox_take_plan(respond, message->plan);
        return false;
    case MESSAGE_EVENT:
        if (respond->push != NULL) hk_push_event(respond->push, message);
        return false;
    case MESSAGE_FLUSH:
        return true;
    case MESSAGE_STOP:
        respond->stop = true;
        return false;
    default:
        return false;
    }
}

static uint32_t take_messages(struct hk_respond *respond) {
    uint32_t count = 0;
    respond->after = NULL;
    respond->after_last = &respond->after;
    for (; count < BATCH_MAX; count++) {
        struct message *message = hk_respond_queue_pop(&respond->queue);
        if (message == NULL) break;
        if (!take_message(respond, message)) {
            hk_mem_free(message);
            continue;
        }
        message->later = NULL;
        *respond->after_last = message;
        respond->after_last = &message->later;
    }
    return count;
}

/* A notification whose intent is on disk, or cannot be put there. (1) True: it was kept. */
static bool go_on_notify(struct hk_respond *respond, struct message *message, bool committed) {
    struct open_row *row = find_open(respond, message->id);
    if (row == NULL) return false; /* answered meanwhile */
    if (!committed) row->rowid = 0;
    if (row->is_exec) {
        if (row->rowid > 0) return hk_command_run(respond, row, message);
        hk_outbox_fail(respond, row, ROW_FAILED, 0, HK_STR("not run: its intent is not durable"));
        return false;
    }
    if (row->rowid == 0) { /* (2) */
        char *copy = hk_mem_copy(message->body.ptr, message->body.len);
        if (copy != NULL) row->body = (struct hk_str){ copy, message->body.len };
    }
    if (message->send) post_row(respond, row, message->body);
    return false;
}

/* What waited for the commit. */
static void go_on(struct hk_respond *respond, bool committed) {
    while (respond->after != NULL) {
        struct message *message = respond->after;
        respond->after = message->later;
        if (message->kind == MESSAGE_FLUSH)
            hk_event_raise(message->event);
        else if (go_on_notify(respond, message, committed))
            continue;
        hk_mem_free(message);
    }
}

/* --- Loop ------------------------------------------------------------------------------------- */

static void publish_push(struct hk_respond *respond) {
    struct push_stats stats;
    if (respond->push == NULL) return;
    hk_push_get_stats(respond->push, &stats);
    stat_set(respond, STAT_PUSH_SENT, stats.sent);
    stat_set(respond, STAT_PUSH_FAILED, stats.failed);
    stat_set(respond, STAT_PUSH_DROPPED, stats.dropped);
    stat_set(respond, STAT_PUSH_ALERTS, stats.alerts);
}

/* Lines about groups that nobody has asked for since the start, after a good while: their rules are
 * gone. */
static void forget_unclaimed(struct hk_respond *respond, int64_t now_ms) {
    if (respond->claims_checked || now_ms < respond->start_ms + CLAIM_MS) return;
    respond->claims_checked = true;
    if (respond->sent_count == 0 || !in_transaction(respond)) return;
    for (size_t i = 0; i < respond->sent_count; i++) {
        const struct sent_line *line = &respond->sent[i];
        if (atomic_load_explicit(&line->claimed, memory_order_relaxed)) continue;
        if (line->sent_ms > now_ms - SENT_KEEP_MS) continue;
        if (hk_database_forget(respond->database, line->group_key) < 0)
            complain("a group that is gone stays in the outbox");
    }
}

static void trim(struct hk_respond *respond, int64_t now_ms) {
    forget_unclaimed(respond, now_ms);
    if (!respond->untrimmed || now_ms < respond->trim_ms || !in_transaction(respond)) return;
    respond->trim_ms = now_ms + TRIM_EVERY_MS;
    respond->untrimmed = false;
    if (hk_database_trim(respond->database) < 0) complain("the outbox is not trimmed");
}

/* One round; returns when the next one has work at the latest, 0 = at once. */
static int64_t turn(struct hk_respond *respond) {
    hk_mutex_lock(&respond->lock);
    uint32_t count = take_messages(respond);
    hk_mutex_unlock(&respond->lock);
    bool committed = commit(respond);
    int64_t now_ms = hk_clock_realtime_ms();
    hk_mutex_lock(&respond->lock);
    go_on(respond, committed);
    hk_commands_serve(respond);
    hk_sender_run(respond->sender);
    send_due(respond, now_ms);
    int64_t next_ms = respond->push == NULL ? INT64_MAX : hk_push_run(respond->push, now_ms);
    hk_sender_run(respond->sender);
    publish_push(respond);
    trim(respond, now_ms);
    const struct hk_deadline *first = hk_deadlines_first(&respond->due);
    if (first != NULL && first->at_ms < next_ms) next_ms = first->at_ms;
    hk_mutex_unlock(&respond->lock);
    (void)commit(respond);
    return count > 0 ? 0 : next_ms;
}

/* Commands that were never begun must not look as if they may have run. */
static void give_up_waiting(struct hk_respond *respond) {
    hk_mutex_lock(&respond->lock);
    for (uint32_t i = respond->open_count; i > 0; i--) {
        struct open_row *row = respond->open[i - 1];
        if (row->held == NULL) continue;
        hk_outbox_fail(
            respond, row, ROW_FAILED, 0, HK_STR("not run: the server ended while it waited"));
    }
    hk_mutex_unlock(&respond->lock);
    (void)commit(respond);
}

void hk_respond_run(void *self) {
    struct hk_respond *respond = self;
    hk_thread_lower_priority(0); /* waking up must not hold up the shard that hands over */
    for (;;) {
        int64_t next_ms = turn(respond);
        if (next_ms == 0) continue;
        if (respond->stop) {
            give_up_waiting(respond);
            return;
        }
        /* Partner: hk_respond_send, which queues first and then looks at `sleeping`. */
        atomic_store_explicit(&respond->sleeping, true, memory_order_seq_cst);
        int64_t wait_ms = next_ms == INT64_MAX ? 60000 : next_ms - hk_clock_realtime_ms();
        if (atomic_load_explicit(&respond->queue.count, memory_order_seq_cst) > 0) wait_ms = 0;
        int fd = respond->plan->config.exec == NULL ? -1 : hk_exec_fd(respond->plan->config.exec);
        if (wait_ms > 0) hk_sender_wait(respond->sender, fd, wait_ms);
        atomic_store_explicit(&respond->sleeping, false, memory_order_relaxed);
    }
}

hk_err hk_respond_send(struct hk_respond *respond, struct message *message, bool force) {
    hk_err err = hk_respond_queue_push(&respond->queue, message, force);
    if (err < 0) {
        stat_add(respond, STAT_REFUSED, 1);
        return err;
    }
    stat_add(respond, STAT_QUEUED, 1);
    atomic_thread_fence(memory_order_seq_cst);
    if (atomic_exchange_explicit(&respond->sleeping, false, memory_order_seq_cst))
        hk_sender_wake(respond->sender);
    return HK_OK;
}

/* --- After a restart -------------------------------------------------------------------------- */

static void remember_row(struct hk_respond *respond, const struct row *row) {
    struct history entry = { .created_ms = row->created_ms,
                             .finished_ms = row->finished_ms,
                             .state = row->state,
                             .is_exec = row->kind == INTEGRATION_EXEC,
                             .resolved = row->resolved,
                             .answered = row->state == ROW_DONE,
                             .status = row->status,
                             .attempts = row->attempts };
    (void)snprintf(entry.id, sizeof(entry.id), "%.*s", HK_STR_ARG(row->id));
    (void)snprintf(
        entry.integration, sizeof(entry.integration), "%.*s", HK_STR_ARG(row->integration));
    (void)snprintf(entry.text, sizeof(entry.text), "%.*s", HK_STR_ARG(row->text));
    if (row->output.len > 0) entry.output = hk_mem_copy(row->output.ptr, row->output.len);
    hk_respond_remember(respond, &entry);
}

static hk_err recover_row(void *self, const struct row *row) {
    struct hk_respond *respond = self;
    char id[ID_BYTES_MAX];
    struct open_row *open = NULL;
    if (row->state != ROW_OPEN) {
        remember_row(respond, row);
        return HK_OK;
    }
    (void)snprintf(id, sizeof(id), "%.*s", HK_STR_ARG(row->id));
    hk_err err = add_open(respond, id, &open);
    if (err < 0) return err == HK_E_LIMIT ? HK_OK : err; /* the next restart takes them */
    int64_t integration = hk_respond_find(respond->plan, row->integration);
    open->lost = integration < 0;
    /* Behind the last one stands the nameless one of receivers that are gone. */
    open->integration = integration < 0 ? respond->plan->integration_count : (uint32_t)integration;
    open->rowid = row->rowid;
    open->created_ms = row->created_ms;
    open->resolved = row->resolved;
    open->is_exec = row->kind == INTEGRATION_EXEC;
    if (!open->is_exec && !open->lost) {
        plan(respond, open, 0);
        stat_add(respond, STAT_DUPLICATES, 1);
    }
    return HK_OK;
}

static hk_err recover_sent(
    void *self, struct hk_str integration, struct hk_str group_key, int64_t sent_ms,
    uint32_t repeat_count, const struct told *told, uint32_t told_count) {
    struct hk_respond *respond = self;
    struct told *copy = hk_arena_alloc_raw(&respond->sent_arena, told_count + 1, sizeof(told[0]));
    struct sent_line line = { .integration = hk_arena_str(&respond->sent_arena, integration),
                              .group_key = hk_arena_str(&respond->sent_arena, group_key),
                              .sent_ms = sent_ms,
                              .repeat_count = repeat_count,
                              .told_count = told_count,
                              .told = copy };
    if (copy == NULL || line.integration.ptr == NULL || line.group_key.ptr == NULL)
        return HK_E_NOMEM;
    if (told_count > 0) memcpy(copy, (const void *)told, told_count * sizeof(told[0]));
    HK_TRY(hk_mem_grow(
        &respond->sent, &respond->sent_capacity, respond->sent_count + 1, sizeof(line)));
    HK_TRY(hk_hashindex_put(
        &respond->sent_index, hk_hash64(group_key.ptr, group_key.len),
        (uint32_t)respond->sent_count));
    respond->sent[respond->sent_count++] = line;
    return HK_OK;
}

const struct sent_line *hk_respond_sent(
    const struct hk_respond *respond, struct hk_str integration, struct hk_str group_key) {
    size_t cursor = 0;
    uint64_t hash = hk_hash64(group_key.ptr, group_key.len);
    for (;;) {
        uint32_t at = hk_hashindex_find(&respond->sent_index, hash, &cursor);
        if (at == HK_HASHINDEX_NONE) return NULL;
        const struct sent_line *line = &respond->sent[at];
        if (!hk_str_eq(line->group_key, group_key) || !hk_str_eq(line->integration, integration))
            continue;
        atomic_store_explicit(&respond->sent[at].claimed, true, memory_order_relaxed);
        return line;
    }
}

hk_err hk_respond_recover(struct hk_respond *respond) {
    HK_TRY(hk_database_rows(respond->database, recover_row, respond));
    HK_TRY(hk_database_sent(respond->database, recover_sent, respond));
    for (uint32_t i = respond->open_count; i > 0; i--) {
        struct open_row *row = respond->open[i - 1];
        if (row->is_exec) {
            hk_outbox_fail(
                respond, row, ROW_UNKNOWN, 0,
                HK_STR("the server died; the command may have run, ask a person"));
        } else if (row->lost) {
            hk_outbox_fail(
                respond, row, ROW_FAILED, 0, HK_STR("its receiver is no longer configured"));
        }
    }
    respond->start_ms = hk_clock_realtime_ms();
    trim(respond, respond->start_ms);
    (void)commit(respond);
    return HK_OK;
}
