/* The engine's parts: engine.c (life), shard.c (loop), receive.c (requests), door.c (who may). */
#ifndef HK_ENGINE_ENGINE_INTERNAL_H
#define HK_ENGINE_ENGINE_INTERNAL_H

#include "api/api.h"
#include "conf/config.h"
#include "engine/alerts.h"
#include "engine/bodies.h"
#include "engine/datagrams.h"
#include "engine/pass.h"
#include "engine/scraping.h"
#include "engine/serve.h"
#include "ingest/meta_seen.h"
#include "ingest/otlp.h"
#include "ingest/otlp_json.h"
#include "ingest/otlp_response.h"
#include "ingest/pushgateway.h"
#include "net/http.h"
#include "net/loop.h"
#include "net/tls.h"
#include "os/thread.h"
#include "stream/lag.h"

enum hk_listener {
    HK_LISTEN_HTTP,
    HK_LISTEN_OTLP_GRPC,
    HK_LISTEN_OTLP_HTTP,
    HK_LISTEN_OTLP_LEGACY, /* OTLP/HTTP once more, on the port it had before 4318 */
    HK_LISTENERS,
};

enum { HK_REQUEST_ARENA_MAX = 256 << 20, HK_DECODED_BYTES_MAX = 256 << 20 };

struct hk_engine;
struct hk_shard;

struct hk_shard {
    struct hk_engine *engine;
    uint32_t index;
    struct hk_loop *loop;
    struct hk_thread thread;
    struct hk_pass pass;
    struct hk_ledger ledger;
    struct hk_http_server *servers[HK_LISTENERS];
    struct hk_waiting *waiting_first, **waiting_last;
    struct hk_task durable_task;
    _Atomic bool durable_posted;
    _Atomic int disk_err;  /* HK_OK, or why commits do not become durable */
    struct hk_arena arena; /* of what is taken in one turn */
    struct hk_bodies bodies;
    enum hk_turn turn; /* what the turn in hand is spent on, for the latencies */
    struct hk_buf ledger_record;
    struct hk_timer tick;
    struct hk_meta_seen *seen;
    struct hk_alerts alerts;
    struct hk_scraping scraping;
    struct hk_datagrams datagrams;
    struct hk_push *push; /* NULL = off */
    struct hk_context push_context;
    int64_t push_next_ms;
    struct hk_buf recalled; /* alert states found in the log: u32 bytes and the record, each */
    int64_t readable_ns;    /* of the request in hand, for the latency of actions */
    bool snapshot_due;      /* the next commit carries a complete snapshot of states */
    uint64_t accounted;     /* points of the newest ledger record */
    /* Retirement (retiring.c): the worker asks, the shard works in slices. */
    struct hk_task sweep_task, forget_task;
    struct hk_work swept_work; /* swept, but for bodies in work */
    uint64_t swept_bodies;     /* that were begun before the sweep's end */
    const uint32_t *forget_refs;
    uint32_t forget_count, forget_at;
    bool sweeping;
};

/* The bearer token that requests need. */
struct hk_door {
    struct hk_str token; /* empty = none */
    char *memory;        /* owned */
};

struct hk_reload_waiter;

/* Reloading: reload.c. */
struct hk_reload {
    struct hk_thread thread;
    struct hk_event wake, done; /* of the thread; of what the shard does for it */
    _Atomic bool stop;
    _Atomic uint64_t asked; /* number of the newest request */
    _Atomic bool successful;
    _Atomic int64_t success_ms; /* since 1970 */
    _Atomic uint64_t failures, tls_failures;
    struct hk_config *before;         /* of the last but one: nobody should look at it any more */
    struct hk_reload_waiter *waiters; /* shard's thread */
};

struct hk_engine {
    struct hk_serve_options options;
    struct hk_config *boot;   /* that of the start: lives to the end */
    struct hk_config *config; /* the present one; replaced on the shard's thread */
    struct hk_reload reload;
    struct hk_store *store;
    struct hk_source source;
    struct hk_api *api;
    struct hk_shard *shards;
    uint32_t shard_count;
    struct hk_str data_dir, external_url;
    struct hk_exec_helper *exec; /* NULL when it could not be started */
    struct hk_tls *tls;
    struct hk_door door;
    enum hk_spin spin;
    uint64_t memory_max;
    struct hk_hash128 identity_base; /* tenant and configuration epoch */
    struct hk_otlp_options otlp;
    struct hk_lag lag;
    struct hk_thread worker;
    struct hk_event worker_wake;
    _Atomic bool stop, ready;
    bool shares_cpu;     /* a shard has no processor of its own */
    int64_t breathed_ns; /* worker: when its present stretch of work began */
    int64_t start_ms;
    struct hk_store_report report;
    uint32_t problems_logged; /* of the blocks; worker, before it the main thread */
};

/* A request of any listener. */
void hk_shard_handle(void *self, struct hk_http_exchange *exchange);
int hk_shard_admit(void *self, const struct hk_http_request *request, const char **out_text);

/* Reads the token, also from its file. HK_E_IO, HK_E_INVALID, HK_E_NOMEM. */
hk_err hk_door_load(const struct hk_config *config, struct hk_door *out) HK_MUST_CHECK;
void hk_door_deinit(struct hk_door *door);

/* May this address be listened on? HK_E_INVALID: it is reachable from elsewhere, but open. */
hk_err hk_door_check(
    const struct hk_config *config, const struct hk_door *door,
    struct hk_str address) HK_MUST_CHECK;

/* Where a listener listens: the flag, else the configuration. */
struct hk_str hk_engine_address(
    const struct hk_serve_options *options, const struct hk_config *config,
    enum hk_listener listener);

/* Reads the configuration; all there is to say about it is appended to `said`. */
hk_err hk_engine_load_config(
    const struct hk_serve_options *options, struct hk_buf *said,
    struct hk_config **out) HK_MUST_CHECK;

struct hk_tls_options hk_engine_tls_options(const struct hk_conf_server_tls *conf);

/* Reloading. init() comes before any thread; the thread starts when shards run, and ends before
 * they do. */
void hk_reload_init(struct hk_engine *engine);
hk_err hk_reload_open(struct hk_engine *engine) HK_MUST_CHECK;
void hk_reload_close(struct hk_engine *engine);
void hk_reload_deinit(struct hk_engine *engine); /* shards are gone */

/* Any thread: asks for a reload; its number. */
uint64_t hk_reload_ask(struct hk_engine *engine);

/* On the shard: asks, and answers the exchange when it is done. `self` is the engine. */
void hk_reload_handle(void *self, struct hk_http_exchange *exchange);

/* A status for hk_receive_refuse: the disk is full. 503 over HTTP, RESOURCE_EXHAUSTED over gRPC. */
enum { HK_STATUS_DISK_FULL = 507 };

/* Refuses in the protocol's own form; `retry_s` 0 = no Retry-After. Ends the exchange. */
void hk_receive_refuse(
    struct hk_http_exchange *exchange, enum hk_answer answer, int status, struct hk_str text,
    int retry_s);

/* Is it a receiver's request? Then takes and answers it. */
bool hk_receive(struct hk_shard *shard, struct hk_http_exchange *exchange);

/* Influx line protocol, v1 and v2; the request has been admitted and there is room. */
void hk_receive_influx(struct hk_shard *shard, struct hk_http_exchange *exchange, bool v2);

/* PUT, POST and DELETE of /metrics/job/…; likewise. */
void hk_receive_push(struct hk_shard *shard, struct hk_http_exchange *exchange);

/* Pushed groups: makes the registry; expires and repeats groups. */
hk_err hk_push_open(struct hk_shard *shard) HK_MUST_CHECK;
void hk_push_turn(struct hk_shard *shard, int64_t now_ms);

/* Answers when `commit` is durable (at once if it is). */
void hk_shard_wait(struct hk_shard *shard, struct hk_waiting *waiting);

/* Makes a shard with its pass; the store is open. */
hk_err hk_shard_open(struct hk_shard *shard, struct hk_engine *engine, uint32_t index);
void hk_shard_close(struct hk_shard *shard);

/* respond's transport on the shard's loop. */
struct hk_transport hk_warm_transport(struct hk_shard *shard);

/* Retirement of series: called by the store's worker (store.h). */
void hk_retiring_open(struct hk_shard *shard);
void hk_retiring_sweep(void *self, uint32_t shard);
void hk_retiring_forget(void *self, uint32_t shard, const uint32_t *refs, uint32_t count);

/* The log thread says: durable, or the disk refuses. */
void hk_shard_durable(void *self, uint32_t shard, hk_err err);

/* The turn in hand does this, if nothing more important was said of it before. */
static inline void hk_shard_turn(struct hk_shard *shard, enum hk_turn turn) {
    if (turn > shard->turn) shard->turn = turn;
}
/* Documents that say how the server runs. `self` is the engine. */
void hk_status_config(void *self, struct hk_http_exchange *exchange);
void hk_status_flags(void *self, struct hk_http_exchange *exchange);
void hk_status_runtime(void *self, struct hk_http_exchange *exchange);

/* Adds the engine's documents to the API. */
void hk_engine_documents(struct hk_engine *engine);

#endif
