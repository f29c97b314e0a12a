/* Bodies in turns: lanes, takings, commits. */
#include "engine/bodies.h"

#include "base/mem.h"
#include "codec/snappy.h"
#include "engine/engine_internal.h"
#include "ingest/remote_write_fast.h"
#include "os/clock.h"

enum { KEPT_BYTES_MAX = 32 << 20 };

/* Parser and memory of a body in work. */
struct hk_taking {
    struct hk_taking *next; /* idle ones */
    bool parsed;            /* what is left is the commit */
    uint64_t number;        /* of the body among those begun, from 1 */
    hk_err err;             /* of the parser, once parsed */
    struct hk_str bytes;    /* decoded */
    struct hk_arena arena;
    struct hk_buf decoded;
    struct hk_stage stage;
    struct hk_pass_run run;
    struct hk_pass_guess guess;
    struct hk_rw1 rw1;
    struct hk_rw2 *rw2;   /* made when needed */
    struct hk_otlp *otlp; /* likewise */
};

static const struct hk_http_request *http_of(const struct hk_body *body) {
    return hk_http_get_request(body->exchange);
}

/* ------------------------------------------------------------------ takings */

static struct hk_taking *taking_create(void) {
    struct hk_taking *taking = hk_mem_alloc(1, sizeof(*taking));
    if (taking == NULL) return NULL;
    hk_arena_init(&taking->arena, HK_REQUEST_ARENA_MAX);
    hk_buf_init(&taking->decoded, HK_DECODED_BYTES_MAX);
    return taking;
}

static void taking_destroy(struct hk_taking *taking) {
    if (taking == NULL) return;
    hk_arena_deinit(&taking->arena);
    hk_buf_deinit(&taking->decoded);
    hk_mem_free(taking->stage.entries);
    hk_mem_free(taking->rw2);
    hk_mem_free(taking->otlp);
    hk_mem_free(taking);
}

/* Puts it on the idle list; its buffer stays for the next body if there is room for it. */
static void taking_rest(struct hk_bodies *bodies, struct hk_taking *taking) {
    hk_arena_reset(&taking->arena);
    if (bodies->kept_bytes + taking->decoded.capacity > KEPT_BYTES_MAX)
        hk_buf_deinit(&taking->decoded);
    bodies->kept_bytes += taking->decoded.capacity;
    taking->next = bodies->idle;
    bodies->idle = taking;
}

/* ------------------------------------------------------------------ decoding */

/* Bytes that the body will have, as far as it says so itself. */
static uint64_t announced_bytes(const struct hk_body *body) {
    struct hk_str wire = http_of(body)->body;
    if (body->coding != HK_BODY_SNAPPY) return wire.len;
    return hk_snappy_declared(wire);
}

/* HK_E_MALFORMED, HK_E_LIMIT, HK_E_NOMEM. */
static hk_err
unsnap(struct hk_taking *taking, struct hk_str body, size_t bytes_max, struct hk_str *out) {
    HK_TRY(hk_snappy_decompress_buf(body, bytes_max, &taking->decoded));
    *out = hk_buf_get(&taking->decoded);
    return HK_OK;
}

/* 0, or the status to refuse with (the text is hk_fail_text()). */
static int
decode(const struct hk_shard *shard, const struct hk_body *body, struct hk_taking *taking) {
    struct hk_str wire = http_of(body)->body;
    hk_err err = HK_OK;
    hk_fail_clear();
    switch (body->coding) {
    case HK_BODY_SNAPPY:
        err = unsnap(
            taking, wire, (size_t)shard->engine->config->limits.decoded_bytes, &taking->bytes);
        break;
    case HK_BODY_OTLP_JSON:
        err = hk_otlp_json_to_proto(HK_OTLP_METRICS, wire, &taking->decoded);
        taking->bytes = hk_buf_get(&taking->decoded);
        break;
    case HK_BODY_PLAIN:
    default:
        taking->bytes = wire;
        break;
    }
    return err >= 0 ? 0 : err == HK_E_LIMIT ? 413 : err == HK_E_NOMEM ? 503 : 400;
}

/* ------------------------------------------------------------------ parsers */

/* Remote Write 1.0 with this shard's predictor compiled in. */
static hk_err parse_rw1(void *state, struct hk_batch *batch) {
    struct hk_pass_guess *guess = state;
    return hk_rw1_parse_with(guess->rw1, batch, hk_pass_predict, guess);
}

static hk_err labels_rw1(
    void *state, struct hk_batch *batch, const struct hk_entry *entry, struct hk_label_set *out) {
    struct hk_pass_guess *guess = state;
    return hk_parser_remote_write_1.labels(guess->rw1, batch, entry, out);
}

static const struct hk_metric_parser parser_rw1 = {
    .name = "remote_write_1",
    .parse = parse_rw1,
    .labels = labels_rw1,
};

static hk_err
begin_parser(struct hk_shard *shard, const struct hk_body *body, struct hk_taking *taking) {
    struct hk_engine *engine = shard->engine;
    struct hk_pass_run *run = &taking->run;
    if (body->answer == HK_ANSWER_NO_CONTENT) {
        hk_rw1_init(&taking->rw1, taking->bytes, engine->identity_base);
        taking->guess = (struct hk_pass_guess){
            .pass = &shard->pass,
            .cursor = run->cursor,
            .context = &taking->rw1.context,
            .rw1 = &taking->rw1,
        };
        run->parser = &parser_rw1;
        run->state = &taking->guess;
        return HK_OK;
    }
    if (body->answer == HK_ANSWER_RW2) {
        if (taking->rw2 == NULL) taking->rw2 = hk_mem_alloc(1, sizeof(*taking->rw2));
        if (taking->rw2 == NULL) return HK_E_NOMEM;
        hk_rw2_init(taking->rw2, taking->bytes, engine->identity_base, shard->seen);
        run->parser = &hk_parser_remote_write_2;
        run->state = taking->rw2;
        return HK_OK;
    }
    if (taking->otlp == NULL) taking->otlp = hk_mem_alloc(1, sizeof(*taking->otlp));
    if (taking->otlp == NULL) return HK_E_NOMEM;
    hk_otlp_init(taking->otlp, taking->bytes, engine->identity_base, &engine->otlp, shard->seen);
    run->parser = &hk_parser_otlp;
    run->state = taking->otlp;
    return HK_OK;
}

/* Decodes the body and sets up its parser. False: it was refused and answered. */
static bool
begin_taking(struct hk_shard *shard, const struct hk_body *body, struct hk_taking *taking) {
    hk_arena_reset(&taking->arena);
    hk_buf_clear(&taking->decoded);
    taking->parsed = false;
    int status = decode(shard, body, taking);
    taking->run = (struct hk_pass_run){
        .receiver = body->receiver,
        .arena = &taking->arena,
        .cursor = hk_pass_cursor(&shard->pass, http_of(body)->peer),
        .stage = &taking->stage,
    };
    if (status == 0 && begin_parser(shard, body, taking) < 0) status = 503;
    if (status == 0) return true;
    const char *text = hk_fail_text()[0] != 0 ? hk_fail_text() : "out of memory";
    hk_receive_refuse(
        body->exchange, body->answer, status, hk_str_from(text), status == 503 ? 1 : 0);
    return false;
}

/* ------------------------------------------------------------------ commits */

/* Status of a request that was taken: 0 = success. */
static int status_of(const struct hk_body *body, hk_err err, const struct hk_pass_run *run) {
    bool otlp = body->answer != HK_ANSWER_NO_CONTENT && body->answer != HK_ANSWER_RW2;
    if (run->refused_memory) return 429;
    if (err == HK_E_LIMIT) return 413;
    if (err == HK_E_NOMEM) return 503;
    if (err < 0) return 400;
    return run->rejected > 0 && !otlp ? 400 : 0;
}

/* The verdict fell: the body's points become visible, and the answer waits for the disk. */
static void
finish(struct hk_shard *shard, struct hk_body *body, const struct hk_pass_run *run, hk_err err) {
    const int64_t readable_ns = http_of(body)->readable_ns;
    struct hk_lag *lag = &shard->engine->lag;
    hk_lag_add(lag, HK_HOP_DECIDED, hk_clock_monotonic_ns() - readable_ns);
    uint64_t commit = hk_store_publish(shard->pass.shard);
    hk_lag_add(lag, HK_HOP_VISIBLE, hk_clock_monotonic_ns() - readable_ns);
    body->waiting = (struct hk_waiting){
        .exchange = body->exchange,
        .commit = commit,
        .received_ns = readable_ns,
        .answer = body->answer,
        .status = status_of(body, err, run),
        .text = hk_arena_str(hk_http_arena(body->exchange), hk_str_from(run->text)),
        .rejected = run->rejected,
        .samples = run->stored - run->histograms,
        .histograms = run->histograms,
        .exemplars = run->exemplars,
    };
    hk_shard_wait(shard, &body->waiting);
}

/* Commits what is staged. */
static hk_err commit(struct hk_shard *shard, const struct hk_body *body, struct hk_pass_run *run) {
    hk_shard_turn(shard, HK_TURN_COMMIT);
    shard->readable_ns = http_of(body)->readable_ns;
    hk_alerts_begin(shard, hk_clock_realtime_ms());
    hk_err err = hk_pass_commit(&shard->pass, run);
    hk_alerts_commit(shard, hk_clock_realtime_ms());
    return err;
}

/* A small body, at once: nothing is staged. */
static void take_at_once(struct hk_shard *shard, struct hk_body *body) {
    struct hk_taking *taking = shard->bodies.small;
    hk_shard_turn(shard, HK_TURN_REQUEST);
    if (!begin_taking(shard, body, taking)) return;
    taking->run.stage = NULL;
    shard->readable_ns = http_of(body)->readable_ns;
    hk_alerts_begin(shard, hk_clock_realtime_ms());
    hk_err err = hk_pass_run(&shard->pass, &taking->run);
    hk_alerts_commit(shard, hk_clock_realtime_ms());
    finish(shard, body, &taking->run, err);
}

/* ------------------------------------------------------------------ lanes */

static void put_in_ring(struct hk_bodies *bodies, struct hk_lane *lane) {
    lane->next = NULL;
    *bodies->ring_last = lane;
    bodies->ring_last = &lane->next;
}

static struct hk_lane *take_from_ring(struct hk_bodies *bodies) {
    struct hk_lane *lane = bodies->ring;
    if (lane == NULL) return NULL;
    bodies->ring = lane->next;
    if (bodies->ring == NULL) bodies->ring_last = &bodies->ring;
    return lane;
}

static struct hk_body *shift(struct hk_lane *lane) {
    struct hk_body *body = lane->first;
    lane->first = body->next;
    if (lane->first == NULL) lane->last = &lane->first;
    return body;
}

/* The lane's first body gets a taking, or it is answered in another way. False: not yet (2). */
static bool begin(struct hk_shard *shard, struct hk_lane *lane) {
    struct hk_bodies *bodies = &shard->bodies;
    const struct hk_body *body = lane->first;
    uint64_t decoded_max = (uint64_t)shard->engine->config->limits.decoded_bytes;
    bool fits = bodies->used == 0 || bodies->decoded_bytes + body->decoded_bytes <= decoded_max;
    if (!fits) return false;
    if (bodies->idle == NULL && bodies->takings < HK_TAKINGS_MAX) {
        bodies->idle = taking_create();
        bodies->takings += bodies->idle != NULL;
    }
    struct hk_taking *taking = bodies->idle;
    if (taking == NULL && bodies->used > 0) return false;
    if (taking == NULL) {
        body = shift(lane);
        hk_receive_refuse(body->exchange, body->answer, 503, HK_STR("out of memory"), 1);
        return true;
    }
    bodies->idle = taking->next;
    bodies->kept_bytes -= taking->decoded.capacity;
    if (!begin_taking(shard, body, taking)) {
        taking_rest(bodies, taking);
        (void)shift(lane);
        return true;
    }
    bodies->used++;
    bodies->decoded_bytes += body->decoded_bytes;
    hk_pass_begin(&taking->run);
    taking->number = ++bodies->begun;
    lane->taking = taking;
    return true;
}

/* The lane's first body is done: answers it when it is durable. */
static void end(struct hk_shard *shard, struct hk_lane *lane) {
    struct hk_bodies *bodies = &shard->bodies;
    struct hk_taking *taking = lane->taking;
    struct hk_body *body = shift(lane);
    hk_err err = commit(shard, body, &taking->run);
    lane->taking = NULL;
    bodies->used--;
    bodies->decoded_bytes -= body->decoded_bytes;
    finish(shard, body, &taking->run, taking->err < 0 ? taking->err : err);
    taking_rest(bodies, taking);
}

/* A part of the body in work. */
static void step(struct hk_shard *shard, struct hk_lane *lane) {
    struct hk_taking *taking = lane->taking;
    if (taking->parsed) {
        end(shard, lane);
        return;
    }
    if (hk_pass_stage_full(&taking->stage)) {
        hk_err err = commit(shard, lane->first, &taking->run);
        (void)hk_store_publish(shard->pass.shard);
        taking->parsed = err < 0;
        taking->err = err;
        return;
    }
    hk_err err = hk_pass_step(&shard->pass, &taking->run);
    if (err == HK_FULL) return;
    taking->parsed = true;
    taking->err = err;
}

static bool turn(struct hk_work *work) {
    struct hk_bodies *bodies =
        (struct hk_bodies *)(void *)((char *)work - offsetof(struct hk_bodies, work));
    struct hk_shard *shard =
        (struct hk_shard *)(void *)((char *)bodies - offsetof(struct hk_shard, bodies));
    struct hk_lane *lane = take_from_ring(bodies);
    if (lane == NULL) return false;
    hk_shard_turn(shard, HK_TURN_PARSE);
    if (lane->taking != NULL) {
        step(shard, lane);
    } else {
        hk_shard_turn(shard, HK_TURN_DECODE);
        (void)begin(shard, lane);
    }
    if (lane->first != NULL) put_in_ring(bodies, lane);
    return bodies->ring != NULL;
}

void hk_bodies_add(struct hk_shard *shard, struct hk_body *body) {
    struct hk_bodies *bodies = &shard->bodies;
    const struct hk_pass_cursor *cursor = hk_pass_cursor(&shard->pass, http_of(body)->peer);
    struct hk_lane *lane = &bodies->lanes[cursor - shard->pass.cursors]; /* (1) */
    body->decoded_bytes = announced_bytes(body);
    body->next = NULL;
    bool free = lane->first == NULL;
    if (free && body->decoded_bytes <= HK_BODY_SMALL_BYTES) {
        take_at_once(shard, body);
        return;
    }
    *lane->last = body;
    lane->last = &body->next;
    if (free) put_in_ring(bodies, lane);
    hk_loop_work(shard->loop, &bodies->work);
}

/* ------------------------------------------------------------------ life */

hk_err hk_bodies_open(struct hk_shard *shard) {
    struct hk_bodies *bodies = &shard->bodies;
    bodies->work.turn = turn;
    bodies->ring_last = &bodies->ring;
    for (size_t i = 0; i < HK_COUNT(bodies->lanes); i++)
        bodies->lanes[i].last = &bodies->lanes[i].first;
    bodies->small = taking_create();
    return bodies->small == NULL ? HK_E_NOMEM : HK_OK;
}

bool hk_bodies_are_past(const struct hk_shard *shard, uint64_t begun) {
    const struct hk_bodies *bodies = &shard->bodies;
    for (size_t i = 0; bodies->used > 0 && i < HK_COUNT(bodies->lanes); i++) {
        const struct hk_taking *taking = bodies->lanes[i].taking;
        if (taking != NULL && taking->number <= begun) return false;
    }
    return true;
}

void hk_bodies_close(struct hk_shard *shard) {
    struct hk_bodies *bodies = &shard->bodies;
    if (shard->loop != NULL) hk_loop_unwork(shard->loop, &bodies->work);
    for (size_t i = 0; i < HK_COUNT(bodies->lanes); i++)
        taking_destroy(bodies->lanes[i].taking);
    while (bodies->idle != NULL) {
        struct hk_taking *next = bodies->idle->next;
        taking_destroy(bodies->idle);
        bodies->idle = next;
    }
    taking_destroy(bodies->small);
}
