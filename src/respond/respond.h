/*
 * Notifications and actions: groups alert events, renders them, sends them on the warm path while
 * the outbox makes them durable, repeats what was not answered, runs commands, and pushes to real
 * Alertmanagers. See README.md for threads and invariants. Times are ms since 1970.
 *
 *   struct hk_respond   one per process and configuration: thread with SQLite and libcurl
 *   struct hk_dispatch  one per shard: groups and warm connections, on that shard's thread
 */
#ifndef HK_RESPOND_RESPOND_H
#define HK_RESPOND_RESPOND_H

#include "base/buf.h"
#include "model/alert.h"
#include "model/labels.h"
#include "respond/exec.h"
#include "respond/transport.h"

enum {
    HK_RESPOND_QUEUE_MAX = 65536,           /* messages on their way to the outbox */
    HK_RESPOND_QUEUE_BYTES_MAX = 256 << 20, /* their bytes */
    HK_RESPOND_OUTBOX_MAX = 100000,         /* unanswered notifications on disk */
    HK_RESPOND_HISTORY_MAX = 1000,          /* finished ones that are listed */
    HK_RESPOND_ALERTS_MAX = 250000,         /* alerts in the groups of one dispatcher */
    HK_RESPOND_BODY_BYTES_MAX = 16 << 20,   /* one rendered notification */
    HK_RESPOND_RECEIVERS_MAX = 256,
    HK_RESPOND_PUSH_ALERTS_MAX = 250000, /* alerts that are pushed to Alertmanagers */
};

struct hk_webhook_config {
    struct hk_endpoint_config endpoint;
    bool send_resolved;  /* Alertmanager's default: true */
    uint32_t max_alerts; /* more are cut and counted in truncatedAlerts, 0 = all */
};

struct hk_exec_config {
    const struct hk_str *argv; /* [0] is an absolute path; no shell */
    uint32_t argc;
    struct hk_labels env;     /* variables to add to hark's own */
    int64_t timeout_ms;       /* then SIGTERM to the process group, 0 = 30 s */
    int64_t kill_wait_ms;     /* after it SIGKILL, 0 = 5 s */
    bool send_resolved;       /* run also on resolved; default false */
    uint64_t memory_max;      /* RLIMIT_AS in bytes, 0 = none */
    uint64_t cpu_s_max;       /* RLIMIT_CPU in seconds, 0 = none */
    uint32_t concurrency_max; /* runs at a time, more wait; 0 = no limit of its own */
};

struct hk_receiver_config {
    struct hk_str name;
    const struct hk_webhook_config *webhooks;
    uint32_t webhook_count;
    const struct hk_exec_config *execs;
    uint32_t exec_count;
};

struct hk_route_config {
    struct hk_str receiver;
    const struct hk_str *group_by;
    uint32_t group_by_count;
    bool group_by_all;         /* ['...'] */
    int64_t group_wait_ms;     /* 0: the first notification of a group goes out inside the call */
    int64_t group_interval_ms; /* 0: so do all others */
    int64_t repeat_interval_ms;
};

struct hk_push_config {
    const struct hk_endpoint_config *endpoints; /* url of each: up to and with /api/v2/alerts */
    uint32_t endpoint_count;
    struct hk_labels external_labels; /* added where the alert has no such label */
    int64_t resend_ms;                /* 0 = one minute */
};

/* Everything is copied. */
struct hk_respond_config {
    struct hk_str directory;    /* of outbox.db; made if missing */
    struct hk_str external_url; /* in messages */
    const struct hk_receiver_config *receivers;
    uint32_t receiver_count;
    struct hk_route_config route; /* receiver empty = no route: events only go to the push */
    struct hk_push_config push;
    struct hk_exec_helper *exec; /* borrowed; NULL = commands are refused */
    /* Test hooks; 0 = default. */
    int64_t retry_first_ms, retry_last_ms; /* 1 s … 5 min, doubled */
};

struct hk_respond;
struct hk_respond_plan;
struct hk_dispatch;

/* Checks and copies a configuration for hk_dispatch_replan(). Any thread. HK_E_INVALID (says
 * which), HK_E_LIMIT, HK_E_NOMEM. */
hk_err hk_respond_plan_create(const struct hk_respond_config *config, struct hk_respond_plan **out)
    HK_MUST_CHECK;

/* NULL is fine. */
void hk_respond_plan_destroy(struct hk_respond_plan *plan);

/* Do they say the same? */
bool hk_respond_plan_same(const struct hk_respond_plan *left, const struct hk_respond_plan *right);

/* Opens the outbox, reads what is unanswered and starts the thread. HK_E_INVALID for a
 * configuration error (says which), HK_E_IO, HK_E_CORRUPT. */
hk_err
hk_respond_create(const struct hk_respond_config *config, struct hk_respond **out) HK_MUST_CHECK;

/* Waits until everything queued is on disk, ends the thread. All dispatchers are gone before.
 * NULL is fine. */
void hk_respond_destroy(struct hk_respond *respond);

/* One per shard. `transport` is copied; NULL sends everything by the outbox's thread. */
hk_err hk_dispatch_create(
    struct hk_respond *respond, const struct hk_transport *transport,
    struct hk_dispatch **out) HK_MUST_CHECK;
void hk_dispatch_destroy(struct hk_dispatch *dispatch);

/*
 * Reload, on the dispatcher's thread: replaces `*dispatch` by one for `plan` that knows what was
 * told to whom (by the integrations' names), and hands the plan to the outbox, where open
 * notifications go on. The configuration's directory and `exec` stay those of the start. There is
 * one dispatcher. On failure (HK_E_NOMEM) everything is as before and the plan stays the caller's.
 */
hk_err
hk_dispatch_replan(struct hk_dispatch **dispatch, struct hk_respond_plan *plan) HK_MUST_CHECK;

/*
 * An alert fires or is resolved: the sink of alert/alert.h. With group_wait 0 the notification is
 * written to the warm connections inside this call. A route that groups alerts of several shards
 * needs one home: the engine hands such events to the dispatcher of one shard.
 * HK_E_LIMIT, HK_E_NOMEM: refused and counted; hand the alert in again by hk_dispatch_restore().
 */
hk_err
hk_dispatch_event(struct hk_dispatch *dispatch, const struct hk_alert_event *event, int64_t now_ms);

/* As a sink function: `self` is the dispatcher, errors are only counted, now = the event's at_ms.
 */
void hk_dispatch_sink(void *self, const struct hk_alert_event *event);

/* After a restart or a refusal: an alert that fires. Sent only if the outbox does not know that
 * this episode was sent. */
hk_err hk_dispatch_restore(
    struct hk_dispatch *dispatch, const struct hk_alert_event *event, int64_t now_ms);

/* Sends what is due (group_wait, group_interval, repeat_interval, refused messages). */
void hk_dispatch_tick(struct hk_dispatch *dispatch, int64_t now_ms);

/* When the next tick has work; INT64_MAX = never. */
int64_t hk_dispatch_next_ms(const struct hk_dispatch *dispatch);

struct hk_dispatch_stats {
    uint32_t groups, alerts;
    uint64_t events, refused, notifications, written_warm, queued_cold, outbox_refused;
    int64_t event_ns_max; /* longest hk_dispatch_event */
};

/* Dispatcher's thread. */
void hk_dispatch_get_stats(const struct hk_dispatch *dispatch, struct hk_dispatch_stats *out);

struct hk_respond_stats {
    uint64_t queued, refused, written, answered, retried, failed, duplicates_after_restart;
    uint64_t exec_started, exec_done, exec_failed, exec_refused, exec_unknown;
    uint64_t exec_crowded; /* refused (and counted there) because too many waited */
    uint32_t exec_running, exec_waiting;
    uint64_t push_sent, push_failed, push_dropped;
    uint32_t unanswered; /* rows in the outbox */
    uint32_t push_alerts;
    bool exec_alive;   /* the helper answers */
    int64_t commit_ns; /* the last transaction */
};

/* Any thread: relaxed snapshot. */
void hk_respond_get_stats(struct hk_respond *respond, struct hk_respond_stats *out);

/* Any thread: waits until everything queued before the call is on disk; false after the timeout. */
bool hk_respond_flush(struct hk_respond *respond, int64_t timeout_ms);

/* Any thread. JSON arrays for the API: receivers with their integrations and last results;
 * unanswered and finished notifications, newest first; commands with state, exit, output. */
void hk_respond_json_receivers(struct hk_respond *respond, struct hk_buf *out);
void hk_respond_json_notifications(struct hk_respond *respond, uint32_t limit, struct hk_buf *out);
void hk_respond_json_actions(struct hk_respond *respond, uint32_t limit, struct hk_buf *out);

#endif
