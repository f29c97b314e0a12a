/* A shard: loop, ingest pass, and the requests that wait for their commit. */
#include "engine/engine_internal.h"

#include "base/log.h"
#include "base/mem.h"
#include "os/clock.h"

enum { TICK_NS = 50000000 };

/* ------------------------------------------------------------------ answers */

static void add_count(struct hk_http_exchange *exchange, struct hk_str name, uint64_t count) {
    hk_http_add_header(
        exchange, name,
        hk_arena_printf(hk_http_arena(exchange), "%llu", (unsigned long long)count));
}

static void answer_otlp(struct hk_waiting *waiting) {
    struct hk_buf body;
    hk_buf_init(&body, 65536);
    struct hk_otlp_partial partial = { .rejected = waiting->rejected, .text = waiting->text };
    bool json = waiting->answer == HK_ANSWER_OTLP_JSON;
    if (json)
        hk_otlp_response_json(&partial, &body);
    else
        hk_otlp_response(&partial, &body);
    if (waiting->answer == HK_ANSWER_OTLP_GRPC) {
        hk_grpc_respond(waiting->exchange, 0, hk_buf_get(&body), HK_STR(""), HK_STR(""));
    } else {
        struct hk_str type = json ? HK_STR("application/json") : HK_STR("application/x-protobuf");
        hk_http_respond(waiting->exchange, 200, type, hk_buf_get(&body));
    }
    hk_buf_deinit(&body);
}

static void answer(struct hk_waiting *waiting) {
    struct hk_http_exchange *exchange = waiting->exchange;
    if (waiting->answer == HK_ANSWER_RW2) {
        add_count(exchange, HK_STR("X-Prometheus-Remote-Write-Samples-Written"), waiting->samples);
        add_count(
            exchange, HK_STR("X-Prometheus-Remote-Write-Histograms-Written"), waiting->histograms);
        add_count(
            exchange, HK_STR("X-Prometheus-Remote-Write-Exemplars-Written"), waiting->exemplars);
    }
    if (waiting->status != 0) {
        hk_receive_refuse(exchange, waiting->answer, waiting->status, waiting->text, 0);
    } else if (
        waiting->answer == HK_ANSWER_NO_CONTENT || waiting->answer == HK_ANSWER_RW2 ||
        waiting->answer == HK_ANSWER_INFLUX) {
        hk_http_respond(exchange, 204, HK_STR(""), HK_STR(""));
    } else if (waiting->answer == HK_ANSWER_OK || waiting->answer == HK_ANSWER_ACCEPTED) {
        int status = waiting->answer == HK_ANSWER_OK ? 200 : 202;
        hk_http_respond(exchange, status, HK_STR(""), HK_STR(""));
    } else {
        answer_otlp(waiting);
    }
}

/* Answers everything up to the newest durable commit. */
static void answer_durable(struct hk_shard *shard) {
    uint64_t durable = hk_store_durable(shard->pass.shard);
    int64_t now_ns = hk_clock_monotonic_ns();
    while (shard->waiting_first != NULL && shard->waiting_first->commit <= durable) {
        struct hk_waiting *waiting = shard->waiting_first;
        shard->waiting_first = waiting->next;
        if (shard->waiting_first == NULL) shard->waiting_last = &shard->waiting_first;
        hk_lag_add(&shard->engine->lag, HK_HOP_DURABLE, now_ns - waiting->received_ns);
        answer(waiting);
    }
}

/* The disk refuses: who waits must send again. */
static void refuse_waiting(struct hk_shard *shard, int err) {
    const char *text = err == HK_E_NOSPACE ? "disk is full: nothing can be made durable"
                                           : "the log cannot be written";
    int status = err == HK_E_NOSPACE ? HK_STATUS_DISK_FULL : 503;
    while (shard->waiting_first != NULL) {
        struct hk_waiting *waiting = shard->waiting_first;
        shard->waiting_first = waiting->next;
        hk_receive_refuse(waiting->exchange, waiting->answer, status, hk_str_from(text), 5);
    }
    shard->waiting_last = &shard->waiting_first;
}

void hk_shard_wait(struct hk_shard *shard, struct hk_waiting *waiting) {
    bool memory = shard->engine->config->ack == HK_CONF_ACK_MEMORY;
    if (memory || waiting->commit <= hk_store_durable(shard->pass.shard)) {
        answer(waiting);
        return;
    }
    waiting->next = NULL;
    *shard->waiting_last = waiting;
    shard->waiting_last = &waiting->next;
}

/* ------------------------------------------------------------------ commits */

static uint64_t points_counted(const struct hk_ledger *ledger) {
    uint64_t total = 0;
    for (size_t i = 0; i < HK_LEDGER_RECEIVER_COUNT; i++) {
        total += atomic_load_explicit(&ledger->accounts[i].received, memory_order_relaxed);
    }
    return total;
}

/* Hands over the gathered commit; its totals go along. */
static void kick(struct hk_shard *shard) {
    struct hk_store_shard *store = shard->pass.shard;
    if (!hk_store_idle(store)) return;
    uint64_t points = points_counted(&shard->ledger);
    if (points != shard->accounted || shard->snapshot_due) {
        if (shard->snapshot_due) hk_alerts_save(shard);
        hk_buf_clear(&shard->ledger_record);
        hk_ledger_submit(&shard->ledger, &shard->ledger_record);
        hk_err err =
            hk_store_append_side(store, HK_SIDE_LEDGER, 0, 0, hk_buf_get(&shard->ledger_record));
        if (err >= 0) {
            shard->accounted = points;
            if (shard->snapshot_due) hk_store_state_mark(store);
            shard->snapshot_due = false;
        }
    }
    hk_store_kick(store, hk_clock_realtime_ms());
}

static void on_durable(struct hk_task *task) {
    struct hk_shard *shard =
        (struct hk_shard *)(void *)((char *)task - offsetof(struct hk_shard, durable_task));
    atomic_store_explicit(&shard->durable_posted, false, memory_order_release);
    int err = atomic_load_explicit(&shard->disk_err, memory_order_acquire);
    if (err < 0) {
        hk_log(HK_LOG_ERROR, "log cannot be written: %s", hk_err_text(err));
        refuse_waiting(shard, err);
        return;
    }
    hk_shard_turn(shard, HK_TURN_ANSWER);
    hk_ledger_durable(&shard->ledger);
    answer_durable(shard);
    kick(shard);
}

void hk_shard_durable(void *self, uint32_t index, hk_err err) {
    struct hk_engine *engine = self;
    struct hk_shard *shard = &engine->shards[index];
    atomic_store_explicit(&shard->disk_err, err, memory_order_release);
    if (atomic_exchange_explicit(&shard->durable_posted, true, memory_order_acq_rel)) return;
    hk_loop_post(shard->loop, &shard->durable_task);
}

static void round_end(void *self) {
    struct hk_shard *shard = self;
    hk_shard_turn(shard, HK_TURN_LOG);
    kick(shard);
}

/* A spinning shard without a processor of its own: the log thread goes first. */
static void on_idle(void *self) {
    struct hk_shard *shard = self;
    if (!hk_store_idle(shard->pass.shard)) hk_thread_yield();
}

/* How long the turn was; what it was spent on is known by who did the work, or by the source. */
static void on_turn(void *self, enum hk_loop_source source, int64_t spent_ns) {
    struct hk_shard *shard = self;
    if (source == HK_LOOP_IO) hk_shard_turn(shard, HK_TURN_SOCKET);
    hk_lag_turn(&shard->engine->lag, shard->turn, spent_ns);
    shard->turn = HK_TURN_OTHER;
}

static void on_tick(struct hk_timer *timer) {
    struct hk_shard *shard =
        (struct hk_shard *)(void *)((char *)timer - offsetof(struct hk_shard, tick));
    int64_t now_ms = hk_clock_realtime_ms();
    hk_shard_turn(shard, HK_TURN_TICK);
    hk_alerts_tick(shard, now_ms);
    hk_datagrams_tick(shard, now_ms);
    hk_push_turn(shard, now_ms);
    kick(shard);
    if (hk_loop_arm(shard->loop, timer, hk_loop_now_ns(shard->loop) + TICK_NS) < 0) {
        hk_log(HK_LOG_ERROR, "shard %u lost its timer", shard->index);
    }
}

/* ------------------------------------------------------------------ requests */

void hk_shard_handle(void *self, struct hk_http_exchange *exchange) {
    struct hk_shard *shard = self;
    if (hk_receive(shard, exchange)) return;
    const struct hk_http_request *request = hk_http_get_request(exchange);
    if (request->grpc) {
        hk_grpc_respond(exchange, 12, HK_STR(""), HK_STR("unknown service or method"), HK_STR(""));
        return;
    }
    hk_shard_turn(shard, HK_TURN_DOCUMENT);
    hk_api_handle(shard->engine->api, shard->loop, exchange);
}

hk_err hk_shard_open(struct hk_shard *shard, struct hk_engine *engine, uint32_t index) {
    shard->engine = engine;
    shard->index = index;
    shard->waiting_last = &shard->waiting_first;
    shard->durable_task.run = on_durable;
    shard->tick.fire = on_tick;
    hk_retiring_open(shard);
    shard->snapshot_due = true;
    hk_arena_init(&shard->arena, HK_REQUEST_ARENA_MAX);
    hk_buf_init(&shard->ledger_record, 65536);
    shard->seen = hk_mem_alloc(1, sizeof(*shard->seen));
    if (shard->seen == NULL) return HK_E_NOMEM;
    HK_TRY(hk_bodies_open(shard));
    enum hk_spin spin = engine->spin;
    HK_TRY(hk_loop_create(spin, &shard->loop));
    HK_TRY(
        hk_pass_init(&shard->pass, engine->store, index, &shard->ledger, engine->memory_max / 4));
    hk_loop_on_round_end(shard->loop, round_end, shard);
    hk_loop_on_turn(shard->loop, on_turn, shard);
    if (engine->shares_cpu) hk_loop_on_idle(shard->loop, on_idle, shard);
    return hk_loop_arm(shard->loop, &shard->tick, hk_clock_monotonic_ns() + TICK_NS);
}

void hk_shard_close(struct hk_shard *shard) {
    for (size_t i = 0; i < HK_LISTENERS; i++)
        hk_http_close(shard->servers[i]);
    hk_datagrams_close(shard);
    hk_push_destroy(shard->push);
    hk_alerts_close(shard);
    hk_bodies_close(shard);
    hk_pass_deinit(&shard->pass);
    hk_buf_deinit(&shard->recalled);
    hk_loop_destroy(shard->loop);
    hk_arena_deinit(&shard->arena);
    hk_buf_deinit(&shard->ledger_record);
    hk_mem_free(shard->seen);
}
