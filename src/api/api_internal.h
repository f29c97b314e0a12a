/* Shared by api.c (routes), query_jobs.c (workers) and query_params.c (parameters). */
#ifndef HK_API_API_INTERNAL_H
#define HK_API_API_INTERNAL_H

#include "api/api.h"
#include "os/thread.h"

enum hk_job_kind {
    HK_JOB_QUERY,
    HK_JOB_QUERY_RANGE,
    HK_JOB_SERIES,
    HK_JOB_LABELS,
    HK_JOB_LABEL_VALUES,
    HK_JOB_EXEMPLARS,
    HK_JOB_METADATA,
};

enum { HK_JOB_SELECTORS_MAX = 64 };

/* A query on its way: made on a loop, run by a worker, answered on the same loop. */
struct hk_job {
    struct hk_task answer; /* posted to the loop */
    struct hk_job *next;
    struct hk_api *api;
    struct hk_loop *loop;
    struct hk_http_exchange *exchange;
    enum hk_job_kind kind;
    struct hk_arena arena;
    struct hk_str query, label;
    struct hk_str selectors[HK_JOB_SELECTORS_MAX];
    uint32_t selector_count, limit;
    int64_t start_ms, end_ms, step_ms, timeout_ns, lookback_ms;
    struct hk_meta_request metadata;
    _Atomic bool cancel;
    int status; /* of the answer */
    struct hk_buf body;
};

struct hk_api_route_row {
    const char *method, *path;
    bool prefix;
    void (*handle)(void *self, struct hk_http_exchange *exchange);
    void *self;
};

struct hk_api {
    struct hk_api_options options;
    struct hk_api_route_row routes[HK_API_ROUTES_MAX];
    uint32_t route_count;
    struct hk_thread workers[8];
    uint32_t worker_count;
    struct hk_mutex lock;
    struct hk_event wake[8];
    struct hk_job *first, **last;
    uint32_t waiting;
    bool stop;
};

/* Reads the parameters of a query request into the job. HK_E_INVALID with Prometheus' text. */
hk_err hk_job_read(struct hk_job *job, const struct hk_http_request *request);

/* Queues the job; it is answered with 503 when the queue is full. */
void hk_job_start(struct hk_job *job);

/* Runs a job's query and renders the answer. On a worker. */
void hk_job_run(struct hk_job *job);

/* The same for the kinds that have files of their own. */
void hk_job_exemplars(struct hk_job *job);
void hk_job_metadata(struct hk_job *job);

/* Makes the answer an error with the status of its kind. */
void hk_job_error(struct hk_job *job, enum hk_query_error kind, const char *text);

/* Starts and stops the workers. */
hk_err hk_jobs_open(struct hk_api *api);
void hk_jobs_close(struct hk_api *api);

#endif
