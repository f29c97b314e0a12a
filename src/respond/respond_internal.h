/* What the files of this folder share. See README.md for who owns what. */
#ifndef HK_RESPOND_RESPOND_INTERNAL_H
#define HK_RESPOND_RESPOND_INTERNAL_H

#include "base/deadline.h"
#include "base/hashindex.h"
#include "os/thread.h"
#include "respond/respond.h"
#include "respond/webhook.h"

#include <stdatomic.h>

enum {
    ID_BYTES_MAX = 96,
    INTEGRATIONS_MAX = 64, /* of one route: bits of a mask */
    RESULT_TEXT_MAX = 256,
    SHARD_LEASE_MS = 60000,     /* a shard that does not report within this has lost it */
    GIVE_UP_MS = 24 * 3600000,  /* a notification that nobody takes for so long has failed */
    SENT_KEEP_MS = 7 * 86400000 /* what was sent is remembered this long after a restart */
};

/* --- Integrations: one webhook or command of a receiver --------------------------------------- */

enum integration_kind { INTEGRATION_WEBHOOK, INTEGRATION_EXEC };

struct integration {
    enum integration_kind kind;
    struct hk_str receiver;
    struct hk_str name; /* "receiver/webhook/0": key on disk */
    uint64_t hash;      /* of the name, unkeyed */
    bool send_resolved;
    union {
        struct hk_webhook_config webhook;
        struct hk_exec_config exec;
    };
    /* Written by the outbox's thread, read under the lock. */
    uint32_t running, waiting;               /* commands */
    struct open_row *held_first, *held_last; /* those that wait */
    uint64_t sent, failed;
    int64_t last_ms;
    int last_status;
    char last_text[RESULT_TEXT_MAX];
};

/* One configuration: immutable, but for the integrations' last results. */
struct hk_respond_plan {
    struct hk_arena arena;
    struct hk_respond_config config;
    struct integration *integrations; /* all; those of the route's receiver come first */
    uint32_t integration_count, route_count;
    struct hk_hash128 digest, push_digest; /* of everything, of what the push needs */
};

/* Index of an integration by its name, -1 if it is not configured. */
int64_t hk_respond_find(const struct hk_respond_plan *plan, struct hk_str name);

/* --- Messages to the outbox ------------------------------------------------------------------- */

/* What one notification told about one alert. */
struct told {
    uint64_t fingerprint;
    int64_t episode_ms;
    uint64_t resolved;
};

enum message_kind {
    MESSAGE_NOTIFY, /* make durable; `send`: and send, otherwise the shard has */
    MESSAGE_RESULT, /* the shard's answer */
    MESSAGE_FORGET, /* the group is gone */
    MESSAGE_PLAN,   /* another configuration from here on */
    MESSAGE_EVENT,  /* for the push to Alertmanagers */
    MESSAGE_FLUSH,  /* raises `event` when all before it is durable */
    MESSAGE_STOP,
};

/* One block of memory: the strings point behind the struct. */
struct message {
    _Atomic(struct message *) next;
    struct message *later; /* the outbox's list of what waits for the commit */
    size_t bytes;
    enum message_kind kind;
    uint32_t integration; /* index */
    bool send, resolved, repeat;
    uint32_t told_count, repeat_count;
    int64_t now_ms;
    char id[ID_BYTES_MAX];
    struct hk_str group_key, body, environment; /* environment: NUL-terminated strings in a row */
    const struct told *told;
    struct hk_post_result result;
    struct hk_event *event;
    struct hk_respond_plan *plan; /* MESSAGE_PLAN: owned */
    /* MESSAGE_EVENT */
    uint64_t fingerprint;
    int64_t starts_ms, ends_ms;
    struct hk_str generator_url, annotations_json, labels_json; /* and body: unused */
};

/* Many producers, one consumer, bounded by count and bytes. */
struct queue {
    _Atomic(struct message *) head; /* producers swap themselves in */
    struct message *tail;           /* consumer */
    struct message stub;
    _Atomic uint64_t count, bytes;
};

void hk_respond_queue_init(struct queue *queue);

/* A zeroed message with `bytes` bytes behind it; NULL when memory is out. */
struct message *hk_respond_message(enum message_kind kind, size_t bytes, char **out_space);

/* Takes the message; HK_E_LIMIT frees it (`force` is for messages that must get through). */
hk_err hk_respond_queue_push(struct queue *queue, struct message *message, bool force);

/* The next message (to be freed with hk_mem_free) or NULL. Consumer. */
struct message *hk_respond_queue_pop(struct queue *queue);

/* Copies a string into a message's space. */
static inline struct hk_str message_put(char **space, struct hk_str text) {
    struct hk_str copy = { *space, text.len };
    if (text.len > 0) memcpy(*space, text.ptr, text.len);
    *space += text.len;
    return copy;
}

/* --- Disk ------------------------------------------------------------------------------------- */

struct database;

enum row_state {
    ROW_OPEN,    /* not answered */
    ROW_DONE,    /* a command that ended; answered notifications are deleted */
    ROW_FAILED,  /* refused for good, or given up */
    ROW_UNKNOWN, /* a command that was begun, or may have been, when the server died */
};

struct row {
    int64_t rowid, created_ms, finished_ms;
    enum row_state state;
    enum integration_kind kind;
    bool resolved;
    int attempts, status;
    struct hk_str id, integration, group_key, text, output;
};

/* Opens or makes the file; damaged ones are put aside under another name and reported by the
 * error text of HK_E_CORRUPT in `out_note`. HK_E_IO. */
hk_err hk_database_open(struct hk_str directory, struct database **out) HK_MUST_CHECK;
void hk_database_close(struct database *database);

/* Transactions; errors are HK_E_IO or HK_E_NOSPACE with SQLite's text. */
hk_err hk_database_begin(struct database *database) HK_MUST_CHECK;
hk_err hk_database_commit(struct database *database) HK_MUST_CHECK;

hk_err hk_database_add(
    struct database *database, const struct message *message, const struct integration *integration,
    int64_t created_ms, int64_t *out_rowid) HK_MUST_CHECK;
hk_err hk_database_remove(struct database *database, int64_t rowid) HK_MUST_CHECK;
hk_err hk_database_finish(
    struct database *database, int64_t rowid, enum row_state state, int attempts, int status,
    int64_t now_ms, struct hk_str text, struct hk_str output) HK_MUST_CHECK;

/* Body of a row, appended to `out`. HK_E_NOT_FOUND. */
hk_err hk_database_body(struct database *database, int64_t rowid, struct hk_buf *out) HK_MUST_CHECK;

hk_err hk_database_set_sent(
    struct database *database, struct hk_str integration, struct hk_str group_key, int64_t sent_ms,
    uint32_t repeat_count, const struct told *told, uint32_t told_count) HK_MUST_CHECK;
hk_err hk_database_forget(struct database *database, struct hk_str group_key) HK_MUST_CHECK;

/* Forgets all but the newest finished rows. */
hk_err hk_database_trim(struct database *database) HK_MUST_CHECK;

/* Calls `visit` for each row, oldest first; strings are borrowed during the call. */
hk_err hk_database_rows(
    struct database *database, hk_err (*visit)(void *self, const struct row *row),
    void *self) HK_MUST_CHECK;
hk_err hk_database_sent(
    struct database *database,
    hk_err (*visit)(
        void *self, struct hk_str integration, struct hk_str group_key, int64_t sent_ms,
        uint32_t repeat_count, const struct told *told, uint32_t told_count),
    void *self) HK_MUST_CHECK;

/* --- What was sent before the restart: read-only after the start ------------------------------ */

struct sent_line {
    struct hk_str integration, group_key;
    int64_t sent_ms;
    uint32_t repeat_count, told_count;
    const struct told *told;
    _Atomic bool claimed; /* its group lives */
};

const struct sent_line *hk_respond_sent(
    const struct hk_respond *respond, struct hk_str integration, struct hk_str group_key);

/* --- Commands --------------------------------------------------------------------------------- */

enum exec_state { EXEC_STARTED, EXEC_ENDED, EXEC_REFUSED };

/* What the helper reports. */
struct exec_report {
    uint64_t request;
    enum exec_state state;
    int32_t pid, exit_code, signal; /* exit_code -1 when a signal ended it */
    bool timed_out;
    int64_t duration_ns;
    uint64_t output_bytes; /* all that was written */
    struct hk_str head, tail;
    struct hk_str text; /* why it was refused */
};

struct exec_request {
    uint64_t request;
    const struct hk_exec_config *config;
    struct hk_str environment; /* NUL-terminated strings in a row */
    struct hk_str input;
};

/* Hands a request to the helper without waiting. HK_E_CLOSED: the helper is dead. HK_E_BUSY: its
 * socket is full. HK_E_LIMIT: too large. */
hk_err
hk_exec_send(struct hk_exec_helper *helper, const struct exec_request *request) HK_MUST_CHECK;

/* Reads reports that are there; `visit` is called for each. HK_E_CLOSED: the helper is dead. */
hk_err hk_exec_receive(
    struct hk_exec_helper *helper, void (*visit)(void *self, const struct exec_report *report),
    void *self) HK_MUST_CHECK;

/* Descriptor to wait for reports, -1 when the helper is dead. */
int hk_exec_fd(const struct hk_exec_helper *helper);

/* --- Sending through libcurl (outbox's thread) ------------------------------------------------ */

struct sender;

hk_err hk_sender_create(struct sender **out) HK_MUST_CHECK;
void hk_sender_destroy(struct sender *sender);

/* Starts a request; `body` is copied. `done` is called from hk_sender_run. HK_E_BUSY: too many. */
hk_err hk_sender_post(
    struct sender *sender, const struct hk_endpoint_config *endpoint, struct hk_str body,
    struct hk_str id, void (*done)(void *ctx, uint64_t key, const struct hk_post_result *result),
    void *ctx, uint64_t key) HK_MUST_CHECK;

/* Ends the transfers of `ctx` without a word to it. */
void hk_sender_forget(struct sender *sender, const void *ctx);

/* Moves transfers on and calls `done` of those that ended. */
void hk_sender_run(struct sender *sender);

/* Waits for sockets, `fd` (may be -1), a wake-up or the timeout. */
void hk_sender_wait(struct sender *sender, int fd, int64_t timeout_ms);

/* Any thread: ends a wait. */
void hk_sender_wake(struct sender *sender);

/* --- Push to Alertmanagers (outbox's thread) -------------------------------------------------- */

struct push;

hk_err hk_alert_push_create(
    const struct hk_push_config *config, struct sender *sender, struct push **out) HK_MUST_CHECK;
void hk_alert_push_destroy(struct push *push);

/* The same configuration at another address. */
void hk_alert_push_move(struct push *push, const struct hk_push_config *config);

/* Takes in an event. */
void hk_push_event(struct push *push, const struct message *message);

/* Sends what is due; returns when it wants to be called again. */
int64_t hk_push_run(struct push *push, int64_t now_ms);

struct push_stats {
    uint64_t sent, failed, dropped;
    uint32_t alerts;
};

void hk_push_get_stats(const struct push *push, struct push_stats *out);

/* --- The whole -------------------------------------------------------------------------------- */

/* A notification that is not answered, by its place in `open`. */
struct open_row {
    struct hk_deadline due; /* first: retry, or the end of the shard's lease */
    int64_t rowid;          /* 0: not on disk */
    int64_t created_ms;
    uint64_t id_hash;
    uint32_t integration, slot;
    int attempts;
    bool resolved, sending, is_exec, started;
    bool lost;            /* its integration is no longer configured */
    bool handed;          /* a command: the helper has it */
    struct message *held; /* a command that waits for another to end; owned */
    struct open_row *held_next;
    char id[ID_BYTES_MAX];
    struct hk_str body; /* only while it is not on disk */
};

/* One finished notification or command for the API. */
struct history {
    int64_t created_ms, finished_ms;
    enum row_state state;
    bool is_exec, resolved, answered;
    int status, attempts;
    char id[ID_BYTES_MAX];
    char integration[128];
    char text[RESULT_TEXT_MAX];
    char *output; /* of commands, may be NULL; owned */
};

struct hk_respond {
    struct hk_respond_plan *plan; /* replaced by the thread, under the lock */
    struct queue queue;
    _Atomic bool sleeping; /* the thread waits, or is about to */
    struct hk_thread thread;
    struct database *database;
    struct sender *sender;
    struct push *push;
    struct hk_arena sent_arena;
    struct sent_line *sent;
    size_t sent_count, sent_capacity;
    struct hk_hashindex sent_index;
    /* Outbox's thread. */
    bool stop, dirty;
    struct open_row **open;
    size_t open_capacity;
    uint32_t open_count, open_slots;
    struct hk_hashindex open_index;
    struct hk_deadlines due;
    struct message *after; /* messages that go on after the commit */
    struct message **after_last;
    int64_t trim_ms, start_ms;
    bool claims_checked, untrimmed;
    bool commands_ended; /* those that wait may begin */
    uint32_t commands_running, commands_waiting;
    size_t held_bytes;
    _Atomic uint64_t stat[24]; /* enum counter */
    /* Under the lock. */
    struct hk_mutex lock;
    struct history *history; /* ring */
    uint32_t history_next, history_count;
};

enum counter {
    STAT_QUEUED,
    STAT_REFUSED,
    STAT_WRITTEN,
    STAT_ANSWERED,
    STAT_RETRIED,
    STAT_FAILED,
    STAT_DUPLICATES,
    STAT_EXEC_STARTED,
    STAT_EXEC_DONE,
    STAT_EXEC_FAILED,
    STAT_EXEC_REFUSED,
    STAT_EXEC_UNKNOWN,
    STAT_PUSH_SENT,
    STAT_PUSH_FAILED,
    STAT_PUSH_DROPPED,
    STAT_OPEN,
    STAT_PUSH_ALERTS,
    STAT_EXEC_ALIVE,
    STAT_COMMIT_NS,
    STAT_EXEC_CROWDED,
    STAT_EXEC_RUNNING,
    STAT_EXEC_WAITING,
};

static inline void stat_add(struct hk_respond *respond, enum counter stat, uint64_t count) {
    atomic_fetch_add_explicit(&respond->stat[stat], count, memory_order_relaxed);
}

static inline void stat_set(struct hk_respond *respond, enum counter stat, uint64_t value) {
    atomic_store_explicit(&respond->stat[stat], value, memory_order_relaxed);
}

/* Any thread: queues a message and wakes the outbox. */
hk_err hk_respond_send(struct hk_respond *respond, struct message *message, bool force);

/* The outbox's parts, on its thread and under the lock. */

/* Ends a row: into the history, off the disk or marked there, counted; the row is gone. */
void hk_outbox_end(
    struct hk_respond *respond, struct open_row *row, enum row_state state, bool answered,
    int status, struct hk_str text, struct hk_str output);
void hk_outbox_fail(
    struct hk_respond *respond, struct open_row *row, enum row_state state, int status,
    struct hk_str text);

/* Another configuration; takes it. */
void hk_outbox_take_plan(struct hk_respond *respond, struct hk_respond_plan *plan);

/* A command whose intent is durable: runs, waits or is refused. True: `message` was taken. */
bool hk_command_run(struct hk_respond *respond, struct open_row *row, struct message *message);

/* The row ends: gives back its place among those that run or wait. */
void hk_command_release(struct hk_respond *respond, struct open_row *row);

/* Takes the helper's reports and starts what waited. */
void hk_commands_serve(struct hk_respond *respond);

/* Running and waiting commands go over to the integrations of the new plan, by name. */
void hk_commands_replan(struct hk_respond *respond, struct hk_respond_plan *plan);

/* Body of the thread. */
void hk_respond_run(void *self);

/* Reads the rows that are left from before. */
hk_err hk_respond_recover(struct hk_respond *respond) HK_MUST_CHECK;

/* Frees the thread's tables. */
void hk_respond_free_open(struct hk_respond *respond);

/* Adds a finished one to the list; `output` may be NULL, is taken. Locks. */
void hk_respond_remember(struct hk_respond *respond, const struct history *entry);

#endif
