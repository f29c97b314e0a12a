/*
 * Inside of scraping. Who may touch what:
 * (1) A job and a target are immutable and reference-counted.
 * (2) Plans (which targets a job has) are made under `control`: by hk_scrape_apply and by the
 *     discovery thread. They go to the scrape thread as messages, in order.
 * (3) Pools and slots belong to the scrape thread; what others read of them (lists of pools and
 *     slots, a slot's target and state) changes under `lock` only.
 * (4) `control` is taken before `lock`, never the other way round.
 */
#ifndef HK_INGEST_SCRAPE_INTERNAL_H
#define HK_INGEST_SCRAPE_INTERNAL_H

#include "ingest/discovery.h"
#include "ingest/scrape.h"
#include "os/thread.h"

#include <curl/curl.h>

/* --- jobs: scrape_job.c ----------------------------------------------------------------------- */

struct hk_scrape_job {
    _Atomic uint32_t references;
    struct hk_arena arena;
    struct hk_scrape_job_config config; /* deep copy with defaults filled in */
    struct hk_str key;                  /* bytes that are equal for equal configurations */
    struct hk_relabel *relabel, *metric_relabel;
    struct hk_str accept; /* value of the Accept header */
    struct hk_discovery_provider **providers;
    uint32_t provider_count;
};

/* Checks, copies and compiles; one reference for the caller. HK_E_INVALID with name and reason. */
hk_err hk_scrape_job_create(const struct hk_scrape_job_config *config, struct hk_scrape_job **out)
    HK_MUST_CHECK;
struct hk_scrape_job *hk_scrape_job_ref(struct hk_scrape_job *job);
void hk_scrape_job_unref(struct hk_scrape_job *job);

/* Appends bytes that are equal for equal configurations of one provider. */
void hk_scrape_key_file_sd(const struct hk_scrape_file_sd *config, struct hk_buf *out);
void hk_scrape_key_http_sd(const struct hk_scrape_http_sd *config, struct hk_buf *out);
void hk_scrape_key_dns_sd(const struct hk_scrape_dns_sd *config, struct hk_buf *out);

/* Deep copies into `arena`. HK_E_NOMEM. */
hk_err hk_scrape_copy_file_sd(struct hk_scrape_file_sd *config, struct hk_arena *arena);
hk_err hk_scrape_copy_http_sd(struct hk_scrape_http_sd *config, struct hk_arena *arena);
hk_err hk_scrape_copy_dns_sd(struct hk_scrape_dns_sd *config, struct hk_arena *arena);

/* --- targets: scrape_target.c ----------------------------------------------------------------- */

/*
 * Builds one target: `own` labels (with __address__), then those of its group, then the job's.
 * HK_OK: `*out` has one reference; HK_END: dropped by relabelling, `*out` is a target that shows
 * `discovered` only; HK_E_INVALID with the reason, HK_E_NOMEM. `scratch` is reset by the caller.
 */
hk_err hk_scrape_target_create(
    struct hk_scrape_job *job, struct hk_labels own, struct hk_labels group,
    struct hk_arena *scratch, struct hk_scrape_target **out) HK_MUST_CHECK;

/* Order by hash, then by all labels and the URL: 0 = the same target. */
int hk_scrape_target_cmp(const struct hk_scrape_target *a, const struct hk_scrape_target *b);

/* --- plans: scrape_plan.c --------------------------------------------------------------------- */

/* The targets of one job, sorted by hk_scrape_target_cmp, without duplicates. Owns references. */
struct hk_scrape_plan {
    struct hk_scrape_job *job;
    struct hk_scrape_target **targets;
    uint32_t target_count;
    struct hk_scrape_target **dropped;
    uint32_t dropped_count; /* kept for display */
    uint32_t dropped_total;
    uint32_t invalid;
};

/* Builds the plan of a job from its static targets and what its providers have found last. */
hk_err hk_scrape_plan_build(struct hk_scrape_job *job, struct hk_scrape_plan *out) HK_MUST_CHECK;
void hk_scrape_plan_deinit(struct hk_scrape_plan *plan);

/* --- HTTP: scrape_http.c ---------------------------------------------------------------------- */

/* Sets URL, credentials (files are read now), TLS, redirects. `*headers` and `*connect_to` grow;
 * the caller frees both after the transfer. HK_E_INVALID, HK_E_IO with the reason, HK_E_NOMEM. */
hk_err hk_scrape_http_setup(
    CURL *easy, const struct hk_scrape_http *http, struct hk_str url, struct curl_slist **headers,
    struct curl_slist **connect_to) HK_MUST_CHECK;

/* Appends "name: value"; false when out of memory. */
bool hk_scrape_http_header(struct curl_slist **headers, const char *format, ...) HK_PRINTF(2, 3);

/* Which parser a Content-Type asks for; HK_E_UNSUPPORTED with a text when there is none. */
hk_err hk_scrape_format_of(struct hk_str content_type, int32_t fallback, enum hk_scrape_format *out)
    HK_MUST_CHECK;

/* --- the scrape thread: scrape_loop.c --------------------------------------------------------- */

struct hk_scrape_transfer;

/* One active target. */
struct hk_scrape_slot {
    _Atomic uint32_t references;     /* the pool's and one per result */
    struct hk_scrape *scrape;        /* with a reference */
    struct hk_scrape_target *target; /* under lock */
    uint64_t id;
    bool attached;       /* in a pool */
    bool delivered;      /* a result has gone out, so a last one must */
    const char *refusal; /* static text: not to be scraped, e.g. target_limit; NULL = none */
    struct hk_scrape_transfer *transfer; /* running, NULL = none */
    struct hk_scrape_result *gone;       /* kept ready so that it cannot fail */
    int64_t due_ns;                      /* monotonic */
    uint32_t heap_at;                    /* place in the heap plus one, 0 = none */
    size_t body_bytes_last;
    /* under lock */
    int64_t last_scrape_ms, last_duration_ns;
    enum hk_scrape_health health;
    char error[HK_SCRAPE_ERROR_BYTES_MAX];
};

struct hk_scrape_pool {
    struct hk_scrape_job *job;
    struct hk_scrape_slot **slots; /* sorted by target */
    uint32_t slot_count;
    struct hk_scrape_target **dropped;
    uint32_t dropped_count, dropped_total;
};

/* A change for the scrape thread; `all`: pools not named end. Owns its plans. */
struct hk_scrape_message {
    struct hk_scrape_message *next;
    bool all;
    uint32_t plan_count;
    struct hk_scrape_plan plans[];
};

struct hk_scrape {
    _Atomic uint32_t references; /* the owner's and one per slot */
    struct hk_scrape_sink sink;
    uint32_t results_max;
    uint64_t results_bytes_max;
    char external_host[256];
    struct hk_thread thread;
    struct hk_discovery *discovery;
    CURLM *multi;
    int timer_fd;

    struct hk_mutex control; /* (2) */
    struct hk_scrape_job **jobs;
    uint32_t job_count;

    struct hk_mutex lock; /* (3) */
    struct hk_scrape_pool *pools;
    uint32_t pool_count;
    struct hk_scrape_message *messages, **messages_end;
    bool stop;

    /* of the scrape thread */
    struct hk_scrape_slot **heap;
    size_t heap_count, heap_capacity;
    struct hk_scrape_transfer *idle;    /* for reuse */
    struct hk_scrape_transfer *running; /* list */
    uint64_t id_next;

    _Atomic uint32_t in_flight;
    _Atomic uint64_t in_flight_bytes;
    struct {
        _Atomic uint64_t scrapes, failed, timeouts, skipped_overlap, shed, lost, body_bytes;
        _Atomic uint64_t targets_invalid;
    } counters;
};

/* Main function of the scrape thread. */
void hk_scrape_run(void *scrape);

/* Applies a message; scrape thread (scrape_pool.c). Frees it. */
void hk_scrape_merge(struct hk_scrape *scrape, struct hk_scrape_message *message);
void hk_scrape_message_free(struct hk_scrape_message *message);

/* Ends all pools without last results: at shutdown, when the thread has ended. */
void hk_scrape_end_pools(struct hk_scrape *scrape);

/* A slot joins or leaves the schedule. HK_E_NOMEM. */
hk_err hk_scrape_schedule(struct hk_scrape *scrape, struct hk_scrape_slot *slot) HK_MUST_CHECK;
void hk_scrape_unschedule(struct hk_scrape *scrape, struct hk_scrape_slot *slot);

/* Ends a running transfer of the slot without a result. */
void hk_scrape_abort(struct hk_scrape *scrape, struct hk_scrape_slot *slot);

/* Gives a result to the sink. */
void hk_scrape_deliver(struct hk_scrape *scrape, struct hk_scrape_result *result);

/* References of slots and of the manager itself. */
void hk_scrape_slot_unref(struct hk_scrape_slot *slot);
void hk_scrape_unref(struct hk_scrape *scrape);

static inline void hk_scrape_count(_Atomic uint64_t *counter, uint64_t by) {
    atomic_fetch_add_explicit(counter, by, memory_order_relaxed);
}

#endif
