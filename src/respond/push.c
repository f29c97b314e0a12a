/*
 * Alerts pushed to real Alertmanagers as Prometheus' notifier does it: POST /api/v2/alerts with up
 * to 64 alerts, again every `resend_ms` while they fire (with an end of four intervals ahead, so
 * that they end by themselves if hark dies), and for 15 minutes after they were resolved. A lost
 * request is made good by the next resend; so a failed one is only repeated while its queue has
 * room.
 */
#include "base/mem.h"
#include "respond/respond_internal.h"

enum {
    BATCH_MAX = 64,   /* alerts in one request */
    QUEUE_MAX = 256,  /* requests waiting for one Alertmanager */
    RETRY_MS = 1000,  /* after a failure */
    ATTEMPTS_MAX = 5, /* of one request; the resend comes then */
    RESEND_MS_DEFAULT = 60000,
    RESOLVED_MS = 15 * 60000, /* resolved alerts are sent this long */
    BODY_BYTES_MAX = 16 << 20
};

struct push_alert {
    struct hk_deadline due; /* first */
    uint64_t fingerprint;
    uint32_t slot;
    int64_t starts_ms, ends_ms;                       /* ends 0 = firing */
    struct hk_str labels, annotations, generator_url; /* JSON; one block at labels.ptr */
};

/* A body that several endpoints send. */
struct batch {
    uint32_t users, alerts;
    size_t bytes;
    char data[];
};

struct endpoint {
    struct push *push;
    const struct hk_endpoint_config *config;
    struct batch *queue[QUEUE_MAX];
    uint32_t first, count;
    uint32_t attempts;
    bool sending;
    int64_t retry_ms;
};

struct push {
    const struct hk_push_config *config;
    struct sender *sender;
    struct endpoint *endpoints;
    struct push_alert **alerts;
    size_t capacity;
    uint32_t slot_count;
    uint32_t *gaps;
    size_t gap_count, gap_capacity;
    struct hk_hashindex index;
    struct hk_deadlines due;
    struct push_stats stats;
    int64_t now_ms;
};

hk_err hk_alert_push_create(
    const struct hk_push_config *config, struct sender *sender, struct push **out) {
    struct push *push = hk_mem_alloc(1, sizeof(*push));
    if (push == NULL) return HK_E_NOMEM;
    push->config = config;
    push->sender = sender;
    push->endpoints = hk_mem_alloc(config->endpoint_count, sizeof(push->endpoints[0]));
    if (push->endpoints == NULL) {
        hk_mem_free(push);
        return HK_E_NOMEM;
    }
    for (uint32_t i = 0; i < config->endpoint_count; i++) {
        push->endpoints[i].push = push;
        push->endpoints[i].config = &config->endpoints[i];
    }
    *out = push;
    return HK_OK;
}

static void drop_batch(struct batch *batch) {
    if (--batch->users == 0) hk_mem_free(batch);
}

static void free_alert(struct push_alert *alert) {
    hk_mem_free_at(&alert->labels.ptr);
    hk_mem_free(alert);
}

void hk_alert_push_destroy(struct push *push) {
    if (push == NULL) return;
    for (uint32_t i = 0; i < push->slot_count; i++) {
        if (push->alerts[i] != NULL) free_alert(push->alerts[i]);
    }
    for (uint32_t i = 0; i < push->config->endpoint_count; i++) {
        struct endpoint *endpoint = &push->endpoints[i];
        for (uint32_t k = 0; k < endpoint->count; k++)
            drop_batch(endpoint->queue[(endpoint->first + k) % QUEUE_MAX]);
    }
    hk_mem_free(push->endpoints);
    hk_mem_free(push->alerts);
    hk_mem_free(push->gaps);
    hk_hashindex_deinit(&push->index);
    hk_deadlines_deinit(&push->due);
    hk_mem_free(push);
}

void hk_alert_push_move(struct push *push, const struct hk_push_config *config) {
    push->config = config;
    for (uint32_t i = 0; i < config->endpoint_count; i++)
        push->endpoints[i].config = &config->endpoints[i];
}

/* --- Alerts ----------------------------------------------------------------------------------- */

static struct push_alert *find_alert(const struct push *push, const struct message *message) {
    size_t cursor = 0;
    for (;;) {
        uint32_t slot = hk_hashindex_find(&push->index, message->fingerprint, &cursor);
        if (slot == HK_HASHINDEX_NONE) return NULL;
        struct push_alert *alert = push->alerts[slot];
        if (alert->fingerprint == message->fingerprint &&
            hk_str_eq(alert->labels, message->labels_json)) {
            return alert;
        }
    }
}

static void remove_alert(struct push *push, struct push_alert *alert) {
    hk_deadline_clear(&push->due, &alert->due);
    hk_hashindex_remove(&push->index, alert->fingerprint, alert->slot);
    push->alerts[alert->slot] = NULL;
    push->gaps[push->gap_count++] = alert->slot;
    push->stats.alerts--;
    free_alert(alert);
}

/* Labels, annotations and URL into one block. */
static hk_err copy_texts(struct push_alert *alert, const struct message *message) {
    size_t bytes =
        message->labels_json.len + message->annotations_json.len + message->generator_url.len;
    char *block = hk_mem_resize(NULL, bytes + 1, 1);
    if (block == NULL) return HK_E_NOMEM;
    hk_mem_free_at(&alert->labels.ptr);
    char *at = block;
    alert->labels = message_put(&at, message->labels_json);
    alert->annotations = message_put(&at, message->annotations_json);
    alert->generator_url = message_put(&at, message->generator_url);
    return HK_OK;
}

static hk_err add_alert(struct push *push, const struct message *message, struct push_alert **out) {
    if (push->stats.alerts >= HK_RESPOND_PUSH_ALERTS_MAX) return HK_E_LIMIT;
    HK_TRY(
        hk_mem_grow(&push->alerts, &push->capacity, push->slot_count + 1, sizeof(push->alerts[0])));
    HK_TRY(
        hk_mem_grow(&push->gaps, &push->gap_capacity, push->slot_count + 1, sizeof(push->gaps[0])));
    struct push_alert *alert = hk_mem_alloc(1, sizeof(*alert));
    if (alert == NULL) return HK_E_NOMEM;
    alert->fingerprint = message->fingerprint;
    alert->slot = push->gap_count > 0 ? push->gaps[push->gap_count - 1] : push->slot_count;
    hk_err err = copy_texts(alert, message);
    if (err >= 0) err = hk_hashindex_put(&push->index, alert->fingerprint, alert->slot);
    if (err < 0) {
        free_alert(alert);
        return err;
    }
    if (push->gap_count > 0)
        push->gap_count--;
    else
        push->slot_count++;
    push->alerts[alert->slot] = alert;
    push->stats.alerts++;
    *out = alert;
    return HK_OK;
}

void hk_push_event(struct push *push, const struct message *message) {
    struct push_alert *alert = find_alert(push, message);
    hk_err err = HK_OK;
    if (alert == NULL && message->resolved) return; /* it was never pushed */
    if (alert != NULL && message->resolved && message->starts_ms < alert->starts_ms) {
        return; /* an end of the past: it fires anew */
    }
    if (alert == NULL)
        err = add_alert(push, message, &alert);
    else
        err = copy_texts(alert, message);
    if (alert == NULL || err < 0) {
        push->stats.dropped++;
        return;
    }
    alert->starts_ms = message->starts_ms;
    alert->ends_ms = message->resolved ? message->ends_ms : 0;
    if (hk_deadline_set(&push->due, &alert->due, 0) < 0) {
        push->stats.dropped++;
        remove_alert(push, alert);
    }
}

/* --- Requests --------------------------------------------------------------------------------- */

static int64_t resend_ms(const struct push *push) {
    return push->config->resend_ms > 0 ? push->config->resend_ms : RESEND_MS_DEFAULT;
}

static void enqueue(struct push *push, struct hk_str body, uint32_t alerts) {
    struct batch *batch = hk_mem_alloc(1, sizeof(*batch) + body.len);
    if (batch == NULL) {
        push->stats.dropped += alerts;
        return;
    }
    batch->users = 1;
    batch->alerts = alerts;
    batch->bytes = body.len;
    memcpy(batch->data, body.ptr, body.len);
    for (uint32_t i = 0; i < push->config->endpoint_count; i++) {
        struct endpoint *endpoint = &push->endpoints[i];
        if (endpoint->count == QUEUE_MAX) { /* the oldest waiting one goes; [0] may be under way */
            uint32_t victim = (endpoint->first + 1) % QUEUE_MAX;
            push->stats.dropped += endpoint->queue[victim]->alerts;
            drop_batch(endpoint->queue[victim]);
            for (uint32_t k = 1; k + 1 < QUEUE_MAX; k++) {
                endpoint->queue[(endpoint->first + k) % QUEUE_MAX] =
                    endpoint->queue[(endpoint->first + k + 1) % QUEUE_MAX];
            }
            endpoint->count--;
        }
        endpoint->queue[(endpoint->first + endpoint->count++) % QUEUE_MAX] = batch;
        batch->users++;
    }
    drop_batch(batch);
}

/* Renders one alert that is due and plans its next time. */
static void render_due(struct push *push, struct push_alert *alert, struct hk_buf *body) {
    int64_t ends_ms = alert->ends_ms;
    if (ends_ms == 0) ends_ms = push->now_ms + 4 * resend_ms(push);
    hk_push_render(
        alert->labels, alert->annotations, alert->starts_ms, ends_ms, alert->generator_url, body);
    if (alert->ends_ms > 0 && push->now_ms + resend_ms(push) > alert->ends_ms + RESOLVED_MS) {
        remove_alert(push, alert);
        return;
    }
    /* It is in the heap, so this cannot fail. */
    hk_err err = hk_deadline_set(&push->due, &alert->due, push->now_ms + resend_ms(push));
    hk_assert(err >= 0);
}

static void collect_due(struct push *push) {
    struct hk_buf body;
    hk_buf_init(&body, BODY_BYTES_MAX);
    uint32_t count = 0;
    for (;;) {
        struct hk_deadline *first = hk_deadlines_first(&push->due);
        bool due = first != NULL && first->at_ms <= push->now_ms;
        if (due) {
            hk_buf_char(&body, count == 0 ? '[' : ',');
            render_due(push, (struct push_alert *)first, &body);
            count++;
        }
        if (count > 0 && (count == BATCH_MAX || !due)) {
            hk_buf_char(&body, ']');
            if (body.err >= 0)
                enqueue(push, hk_buf_get(&body), count);
            else
                push->stats.dropped += count;
            hk_buf_clear(&body);
            count = 0;
        }
        if (!due) break;
    }
    hk_buf_deinit(&body);
}

static void take_first(struct endpoint *endpoint) {
    drop_batch(endpoint->queue[endpoint->first]);
    endpoint->first = (endpoint->first + 1) % QUEUE_MAX;
    endpoint->count--;
    endpoint->attempts = 0;
}

static void on_done(void *ctx, uint64_t key, const struct hk_post_result *result) {
    struct push *push = ctx;
    struct endpoint *endpoint = &push->endpoints[key];
    uint32_t alerts = endpoint->queue[endpoint->first]->alerts;
    endpoint->sending = false;
    bool fine = result->status >= 200 && result->status < 300;
    bool again = result->status == 0 || result->status >= 500;
    endpoint->attempts++;
    if (fine) {
        push->stats.sent += alerts;
        take_first(endpoint);
    } else if (again && endpoint->attempts < ATTEMPTS_MAX) {
        endpoint->retry_ms = push->now_ms + RETRY_MS * (1 << (endpoint->attempts - 1));
    } else {
        push->stats.failed += alerts;
        take_first(endpoint);
    }
}

int64_t hk_push_run(struct push *push, int64_t now_ms) {
    push->now_ms = now_ms;
    collect_due(push);
    const struct hk_deadline *first = hk_deadlines_first(&push->due);
    int64_t next_ms = first == NULL ? INT64_MAX : first->at_ms;
    for (uint32_t i = 0; i < push->config->endpoint_count; i++) {
        struct endpoint *endpoint = &push->endpoints[i];
        if (endpoint->sending || endpoint->count == 0) continue;
        if (now_ms >= endpoint->retry_ms) {
            const struct batch *batch = endpoint->queue[endpoint->first];
            hk_err err = hk_sender_post(
                push->sender, endpoint->config, (struct hk_str){ batch->data, batch->bytes },
                (struct hk_str){ "", 0 }, on_done, push, i);
            endpoint->sending = err >= 0;
            if (err < 0) endpoint->retry_ms = now_ms + RETRY_MS;
        }
        if (!endpoint->sending && endpoint->retry_ms < next_ms) next_ms = endpoint->retry_ms;
    }
    return next_ms;
}

void hk_push_get_stats(const struct push *push, struct push_stats *out) {
    *out = push->stats;
}
