/*
 * The scrape thread: a heap of slots by due time, one timer descriptor, libcurl's multi interface.
 *
 * Schedule: a target with interval I is due when the wall clock modulo I equals its hash modulo I,
 * so targets spread over the interval, keep their phase over restarts, and stamps are evenly
 * spaced. A stamp within min(I / 100, 2 ms) of its due time is set to it (Prometheus aligns
 * likewise): equal distances compress well.
 */
#include "base/log.h"
#include "base/mem.h"
#include "ingest/scrape_internal.h"
#include "os/clock.h"
#include "os/file.h"
#include "os/timer.h"

#include <stdio.h>

enum {
    POLL_MS_MAX = 1000,
    TOLERANCE_NS_MAX = 2000000,
    SHED_FACTOR = 4, /* results that only say "shed" may pass results_max by this */
};

/* One HTTP request under way; kept for reuse with its handle. */
struct hk_scrape_transfer {
    struct hk_scrape_transfer *next, *previous;
    CURL *easy;
    struct curl_slist *headers, *connect_to;
    struct hk_scrape_slot *slot;
    struct hk_scrape_target *target; /* with a reference: the slot's may change meanwhile */
    struct hk_buf body;
    bool over_limit, out_of_memory;
    int64_t start_ms, start_ns;
    char error[CURL_ERROR_SIZE];
};

/* --- heap ------------------------------------------------------------------------------------- */

static void heap_set(struct hk_scrape *scrape, size_t at, struct hk_scrape_slot *slot) {
    scrape->heap[at] = slot;
    slot->heap_at = (uint32_t)at + 1;
}

static void heap_up(struct hk_scrape *scrape, size_t at) {
    struct hk_scrape_slot *slot = scrape->heap[at];
    while (at > 0 && scrape->heap[(at - 1) / 2]->due_ns > slot->due_ns) {
        heap_set(scrape, at, scrape->heap[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    heap_set(scrape, at, slot);
}

static void heap_down(struct hk_scrape *scrape, size_t at) {
    struct hk_scrape_slot *slot = scrape->heap[at];
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= scrape->heap_count) break;
        if (child + 1 < scrape->heap_count &&
            scrape->heap[child + 1]->due_ns < scrape->heap[child]->due_ns) {
            child++;
        }
        if (scrape->heap[child]->due_ns >= slot->due_ns) break;
        heap_set(scrape, at, scrape->heap[child]);
        at = child;
    }
    heap_set(scrape, at, slot);
}

/* --- schedule --------------------------------------------------------------------------------- */

/* Wall time since the slot's last point of the grid, ns. */
static int64_t since_grid_ns(const struct hk_scrape_target *target, int64_t wall_ns) {
    int64_t interval_ns = target->interval_ms * 1000000;
    int64_t phase_ns = (int64_t)(target->hash % (uint64_t)target->interval_ms) * 1000000;
    int64_t since_ns = (wall_ns - phase_ns) % interval_ns;
    return since_ns < 0 ? since_ns + interval_ns : since_ns;
}

static int64_t next_due_ns(const struct hk_scrape_target *target, int64_t now_ns) {
    int64_t interval_ns = target->interval_ms * 1000000;
    return now_ns + interval_ns - since_grid_ns(target, hk_clock_realtime_ns());
}

static int64_t aligned_stamp_ms(const struct hk_scrape_target *target) {
    int64_t wall_ns = hk_clock_realtime_ns();
    int64_t interval_ns = target->interval_ms * 1000000;
    int64_t tolerance_ns =
        interval_ns / 100 < TOLERANCE_NS_MAX ? interval_ns / 100 : TOLERANCE_NS_MAX;
    int64_t since_ns = since_grid_ns(target, wall_ns);
    if (since_ns <= tolerance_ns) return (wall_ns - since_ns) / 1000000;
    if (interval_ns - since_ns <= tolerance_ns) return (wall_ns - since_ns + interval_ns) / 1000000;
    return wall_ns / 1000000;
}

hk_err hk_scrape_schedule(struct hk_scrape *scrape, struct hk_scrape_slot *slot) {
    hk_assert(slot->heap_at == 0);
    HK_TRY(hk_mem_grow(
        &scrape->heap, &scrape->heap_capacity, scrape->heap_count + 1,
        sizeof(struct hk_scrape_slot *)));
    slot->due_ns = next_due_ns(slot->target, hk_clock_monotonic_ns());
    scrape->heap[scrape->heap_count] = slot;
    heap_up(scrape, scrape->heap_count++);
    return HK_OK;
}

void hk_scrape_unschedule(struct hk_scrape *scrape, struct hk_scrape_slot *slot) {
    if (slot->heap_at == 0) return;
    size_t at = slot->heap_at - 1U;
    hk_assert(at < scrape->heap_count && scrape->heap[at] == slot);
    struct hk_scrape_slot *last = scrape->heap[--scrape->heap_count];
    slot->heap_at = 0;
    if (last == slot) return;
    heap_set(scrape, at, last);
    heap_up(scrape, at);
    heap_down(scrape, last->heap_at - 1U);
}

/* Moves a slot that was due to its next time. A point of the grid that has passed meanwhile is
 * missed, and counted; one that is nearer than half an interval is the one just served. */
static void reschedule(struct hk_scrape *scrape, struct hk_scrape_slot *slot, int64_t now_ns) {
    int64_t interval_ns = slot->target->interval_ms * 1000000;
    int64_t late_ns = now_ns - slot->due_ns;
    if (late_ns >= interval_ns) {
        hk_scrape_count(&scrape->counters.skipped_overlap, (uint64_t)(late_ns / interval_ns));
    }
    int64_t due_ns = next_due_ns(slot->target, now_ns);
    if (due_ns - slot->due_ns < interval_ns / 2) due_ns += interval_ns;
    slot->due_ns = due_ns;
    heap_down(scrape, slot->heap_at - 1U);
}

/* --- results ---------------------------------------------------------------------------------- */

void hk_scrape_deliver(struct hk_scrape *scrape, struct hk_scrape_result *result) {
    scrape->sink.done(scrape->sink.self, result);
}

/* A result of the slot, counted in in_flight; NULL (counted as lost) when out of memory. */
static struct hk_scrape_result *
new_result(struct hk_scrape *scrape, struct hk_scrape_slot *slot, struct hk_scrape_target *target) {
    struct hk_scrape_result *result = hk_mem_alloc(1, sizeof(*result));
    if (result == NULL) {
        hk_scrape_count(&scrape->counters.lost, 1);
        return NULL;
    }
    atomic_fetch_add_explicit(&slot->references, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&scrape->in_flight, 1, memory_order_relaxed);
    result->slot = slot;
    result->target = hk_scrape_target_ref(target);
    result->target_id = slot->id;
    hk_buf_init(&result->body, HK_SCRAPE_BODY_BYTES_MAX);
    return result;
}

static void set_error(struct hk_scrape_result *result, hk_err err, const char *text) {
    result->err = err;
    (void)snprintf(
        result->error, sizeof(result->error), "%s", text[0] == 0 ? hk_err_text(err) : text);
}

/* Notes the outcome in the slot and hands the result over. */
static void finish(struct hk_scrape *scrape, struct hk_scrape_result *result) {
    struct hk_scrape_slot *slot = result->slot;
    hk_scrape_count(&scrape->counters.scrapes, 1);
    if (result->err < 0) hk_scrape_count(&scrape->counters.failed, 1);
    hk_scrape_count(&scrape->counters.body_bytes, result->body.len);
    hk_mutex_lock(&scrape->lock);
    slot->last_scrape_ms = result->start_ms;
    slot->last_duration_ns = result->duration_ns;
    slot->health = result->err < 0 ? HK_SCRAPE_DOWN : HK_SCRAPE_UP;
    memcpy(slot->error, result->error, sizeof(slot->error));
    hk_mutex_unlock(&scrape->lock);
    slot->delivered = true;
    hk_scrape_deliver(scrape, result);
}

/* A scrape that fails before it begins. */
static void
fail_at_once(struct hk_scrape *scrape, struct hk_scrape_slot *slot, hk_err err, const char *text) {
    struct hk_scrape_result *result = new_result(scrape, slot, slot->target);
    if (result == NULL) return;
    result->start_ms = aligned_stamp_ms(slot->target);
    result->shed = err == HK_E_BUSY;
    set_error(result, err, text);
    finish(scrape, result);
}

/* --- transfers -------------------------------------------------------------------------------- */

static uint64_t body_bytes_max(const struct hk_scrape_target *target) {
    uint64_t limit = target->limits.body_bytes;
    return limit == 0 || limit > HK_SCRAPE_BODY_BYTES_MAX ? HK_SCRAPE_BODY_BYTES_MAX : limit;
}

/* Body bytes as they come, decompressed. Returning less than `bytes` ends the transfer. */
static size_t take_body(char *data, size_t size, size_t count, void *user) {
    struct hk_scrape_transfer *transfer = user;
    struct hk_scrape *scrape = transfer->slot->scrape;
    size_t bytes = size * count;
    long status = 0;
    (void)curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &status);
    if (status != 200) return bytes; /* the page of an error is of no use */
    uint64_t body_max = body_bytes_max(transfer->target);
    if (bytes > body_max - transfer->body.len) {
        transfer->over_limit = true;
        return 0;
    }
    uint64_t all = atomic_fetch_add_explicit(&scrape->in_flight_bytes, bytes, memory_order_relaxed);
    size_t before = transfer->body.len;
    if (all + bytes <= scrape->results_bytes_max) hk_buf_bytes(&transfer->body, data, bytes);
    if (transfer->body.len == before + bytes) return bytes;
    atomic_fetch_sub_explicit(&scrape->in_flight_bytes, bytes, memory_order_relaxed);
    transfer->out_of_memory = true;
    return 0;
}

static struct hk_scrape_transfer *get_transfer(struct hk_scrape *scrape) {
    struct hk_scrape_transfer *transfer = scrape->idle;
    if (transfer != NULL) {
        scrape->idle = transfer->next;
    } else {
        transfer = hk_mem_alloc(1, sizeof(*transfer));
        if (transfer == NULL) return NULL;
        transfer->easy = curl_easy_init();
        if (transfer->easy == NULL) {
            hk_mem_free(transfer);
            return NULL;
        }
    }
    transfer->previous = NULL;
    transfer->next = scrape->running;
    if (scrape->running != NULL) scrape->running->previous = transfer;
    scrape->running = transfer;
    hk_buf_init(&transfer->body, HK_SCRAPE_BODY_BYTES_MAX);
    transfer->over_limit = false;
    transfer->out_of_memory = false;
    transfer->error[0] = 0;
    return transfer;
}

/* From running to idle; connections stay with the multi handle. The body must have been taken. */
static void put_transfer(struct hk_scrape *scrape, struct hk_scrape_transfer *transfer) {
    if (transfer->previous != NULL)
        transfer->previous->next = transfer->next;
    else
        scrape->running = transfer->next;
    if (transfer->next != NULL) transfer->next->previous = transfer->previous;
    curl_easy_reset(transfer->easy);
    curl_slist_free_all(transfer->headers);
    curl_slist_free_all(transfer->connect_to);
    transfer->headers = NULL;
    transfer->connect_to = NULL;
    if (transfer->slot != NULL) transfer->slot->transfer = NULL;
    transfer->slot = NULL;
    hk_scrape_target_unref(transfer->target);
    transfer->target = NULL;
    transfer->next = scrape->idle;
    scrape->idle = transfer;
}

/* Drops what has been received. */
static void drop_body(struct hk_scrape *scrape, struct hk_scrape_transfer *transfer) {
    atomic_fetch_sub_explicit(&scrape->in_flight_bytes, transfer->body.len, memory_order_relaxed);
    hk_buf_deinit(&transfer->body);
}

void hk_scrape_abort(struct hk_scrape *scrape, struct hk_scrape_slot *slot) {
    struct hk_scrape_transfer *transfer = slot->transfer;
    if (transfer == NULL) return;
    (void)curl_multi_remove_handle(scrape->multi, transfer->easy);
    drop_body(scrape, transfer);
    put_transfer(scrape, transfer);
    atomic_fetch_sub_explicit(&scrape->in_flight, 1, memory_order_relaxed);
}

static hk_err setup_transfer(struct hk_scrape_transfer *transfer) {
    const struct hk_scrape_target *target = transfer->target;
    const struct hk_scrape_job *job = target->job;
    CURL *easy = transfer->easy;
    char seconds[HK_DOUBLE_BYTES_MAX];
    size_t len = hk_format_double((double)target->timeout_ms / 1000.0, seconds);
    if (!hk_scrape_http_header(&transfer->headers, "Accept: %.*s", HK_STR_ARG(job->accept)) ||
        !hk_scrape_http_header(
            &transfer->headers, "X-Prometheus-Scrape-Timeout-Seconds: %.*s", (int)len, seconds)) {
        return HK_E_NOMEM;
    }
    HK_TRY(hk_scrape_http_setup(
        easy, &job->config.http, target->url, &transfer->headers, &transfer->connect_to));
    (void)curl_easy_setopt(easy, CURLOPT_HTTPHEADER, transfer->headers);
    (void)curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)target->timeout_ms);
    (void)curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)target->timeout_ms);
    (void)curl_easy_setopt(easy, CURLOPT_PRIVATE, transfer);
    (void)curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, take_body);
    (void)curl_easy_setopt(easy, CURLOPT_WRITEDATA, transfer);
    (void)curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, transfer->error);
    if (!job->config.no_compression) (void)curl_easy_setopt(easy, CURLOPT_ACCEPT_ENCODING, "gzip");
    return HK_OK;
}

static void begin_transfer(struct hk_scrape *scrape, struct hk_scrape_slot *slot) {
    struct hk_scrape_transfer *transfer = get_transfer(scrape);
    if (transfer == NULL) {
        fail_at_once(scrape, slot, HK_E_NOMEM, "");
        return;
    }
    transfer->slot = slot;
    transfer->target = hk_scrape_target_ref(slot->target);
    transfer->start_ms = aligned_stamp_ms(slot->target);
    transfer->start_ns = hk_clock_monotonic_ns();
    slot->transfer = transfer;
    hk_fail_clear();
    hk_err err = setup_transfer(transfer);
    if (err >= 0) {
        (void)hk_buf_reserve(&transfer->body, slot->body_bytes_last);
        CURLMcode code = curl_multi_add_handle(scrape->multi, transfer->easy);
        if (code == CURLM_OK) {
            atomic_fetch_add_explicit(&scrape->in_flight, 1, memory_order_relaxed);
            return;
        }
        err = hk_fail(HK_E_IO, "%s", curl_multi_strerror(code));
    }
    hk_buf_deinit(&transfer->body);
    put_transfer(scrape, transfer);
    fail_at_once(scrape, slot, err, hk_fail_text());
}

/* Why a transfer that libcurl ended with `code` is no scrape; HK_OK when it is one. */
static hk_err judge(
    struct hk_scrape *scrape, struct hk_scrape_transfer *transfer, CURLcode code,
    struct hk_scrape_result *result) {
    const struct hk_scrape_target *target = transfer->target;
    uint64_t body_max = body_bytes_max(target);
    long status = 0;
    char *content_type = NULL;
    (void)curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &status);
    (void)curl_easy_getinfo(transfer->easy, CURLINFO_CONTENT_TYPE, &content_type);
    result->status = (int)status;
    if (transfer->over_limit) {
        return hk_fail(
            HK_E_LIMIT, "body size limit exceeded (%llu bytes)", (unsigned long long)body_max);
    }
    if (transfer->out_of_memory) return hk_fail(HK_E_NOMEM, "no memory for the body");
    if (code == CURLE_OPERATION_TIMEDOUT) {
        hk_scrape_count(&scrape->counters.timeouts, 1);
        return hk_fail(
            HK_E_TIMEOUT,
            "no complete answer within %lld ms: raise scrape_timeout or lighten "
            "the target",
            (long long)target->timeout_ms);
    }
    if (code != CURLE_OK) {
        const char *text = transfer->error[0] != 0 ? transfer->error : curl_easy_strerror(code);
        return hk_fail(HK_E_IO, "%s", text);
    }
    if (status != 200) {
        return hk_fail(HK_E_IO, "server returned HTTP status %ld", status);
    }
    return hk_scrape_format_of(
        hk_str_from(content_type), target->job->config.fallback_protocol, &result->format);
}

static void
end_transfer(struct hk_scrape *scrape, struct hk_scrape_transfer *transfer, CURLcode code) {
    struct hk_scrape_slot *slot = transfer->slot;
    struct hk_scrape_result *result = new_result(scrape, slot, transfer->target);
    (void)curl_multi_remove_handle(scrape->multi, transfer->easy);
    if (result != NULL) {
        result->start_ms = transfer->start_ms;
        result->duration_ns = hk_clock_monotonic_ns() - transfer->start_ns;
        hk_err err = judge(scrape, transfer, code, result);
        if (err < 0) set_error(result, err, hk_fail_text());
    }
    if (result == NULL || result->err < 0) {
        drop_body(scrape, transfer);
    } else {
        slot->body_bytes_last = transfer->body.len;
        result->body = transfer->body;
        result->body_bytes = transfer->body.len;
    }
    put_transfer(scrape, transfer);
    atomic_fetch_sub_explicit(&scrape->in_flight, 1, memory_order_relaxed);
    if (result != NULL) finish(scrape, result);
}

/* --- one round -------------------------------------------------------------------------------- */

static void run_internal(struct hk_scrape *scrape, struct hk_scrape_slot *slot) {
    const struct hk_scrape_job_config *config = &slot->target->job->config;
    struct hk_scrape_result *result = new_result(scrape, slot, slot->target);
    if (result == NULL) return;
    int64_t start_ns = hk_clock_monotonic_ns();
    result->start_ms = aligned_stamp_ms(slot->target);
    (void)hk_buf_reserve(&result->body, slot->body_bytes_last + 1024);
    hk_fail_clear();
    hk_err err = config->body(config->body_self, &result->body);
    if (err >= 0) err = result->body.err;
    result->duration_ns = hk_clock_monotonic_ns() - start_ns;
    slot->body_bytes_last = result->body.len;
    if (err < 0) {
        set_error(result, err, hk_fail_text());
        hk_buf_deinit(&result->body);
    }
    result->body_bytes = result->body.len;
    atomic_fetch_add_explicit(&scrape->in_flight_bytes, result->body_bytes, memory_order_relaxed);
    finish(scrape, result);
}

static void scrape_slot(struct hk_scrape *scrape, struct hk_scrape_slot *slot, int64_t now_ns) {
    reschedule(scrape, slot, now_ns);
    if (slot->transfer != NULL) {
        hk_scrape_count(&scrape->counters.skipped_overlap, 1);
        return;
    }
    if (slot->refusal != NULL) {
        fail_at_once(scrape, slot, HK_E_LIMIT, slot->refusal);
        return;
    }
    uint32_t in_flight = atomic_load_explicit(&scrape->in_flight, memory_order_relaxed);
    uint64_t bytes = atomic_load_explicit(&scrape->in_flight_bytes, memory_order_relaxed);
    if (in_flight >= scrape->results_max || bytes >= scrape->results_bytes_max) {
        hk_scrape_count(&scrape->counters.shed, 1);
        if (in_flight / SHED_FACTOR >= scrape->results_max)
            hk_scrape_count(&scrape->counters.lost, 1);
        else
            fail_at_once(scrape, slot, HK_E_BUSY, "not scraped: too many results wait");
        return;
    }
    if (slot->target->job->config.body != NULL)
        run_internal(scrape, slot);
    else
        begin_transfer(scrape, slot);
}

static void scrape_due(struct hk_scrape *scrape) {
    int64_t now_ns = hk_clock_monotonic_ns();
    /* A slot moves behind `now_ns` when served, so each is visited once at most. */
    while (scrape->heap_count > 0 && scrape->heap[0]->due_ns <= now_ns)
        scrape_slot(scrape, scrape->heap[0], now_ns);
    (void)hk_timer_arm(
        scrape->timer_fd, scrape->heap_count > 0 ? scrape->heap[0]->due_ns : INT64_MAX);
}

static void end_finished(struct hk_scrape *scrape) {
    int left = 0;
    const CURLMsg *message = NULL;
    while ((message = curl_multi_info_read(scrape->multi, &left)) != NULL) {
        if (message->msg != CURLMSG_DONE) continue;
        struct hk_scrape_transfer *transfer = NULL;
        CURLcode code = message->data.result;
        (void)curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &transfer);
        end_transfer(scrape, transfer, code);
    }
}

/* Takes the messages that wait; false when the thread shall end. */
static bool take_messages(struct hk_scrape *scrape) {
    hk_mutex_lock(&scrape->lock);
    struct hk_scrape_message *message = scrape->messages;
    scrape->messages = NULL;
    scrape->messages_end = &scrape->messages;
    bool stop = scrape->stop;
    hk_mutex_unlock(&scrape->lock);
    while (message != NULL) {
        struct hk_scrape_message *next = message->next;
        hk_scrape_merge(scrape, message);
        message = next;
    }
    return !stop;
}

static void free_transfers(struct hk_scrape *scrape) {
    while (scrape->running != NULL)
        hk_scrape_abort(scrape, scrape->running->slot);
    while (scrape->idle != NULL) {
        struct hk_scrape_transfer *transfer = scrape->idle;
        scrape->idle = transfer->next;
        curl_easy_cleanup(transfer->easy);
        hk_mem_free(transfer);
    }
}

void hk_scrape_run(void *arg) {
    struct hk_scrape *scrape = arg;
    while (take_messages(scrape)) {
        scrape_due(scrape);
        int running = 0;
        (void)curl_multi_perform(scrape->multi, &running);
        end_finished(scrape);
        struct curl_waitfd timer = { .fd = scrape->timer_fd, .events = CURL_WAIT_POLLIN };
        (void)curl_multi_poll(scrape->multi, &timer, 1, POLL_MS_MAX, NULL);
    }
    free_transfers(scrape);
}
