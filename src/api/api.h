/*
 * The HTTP API: Prometheus' query endpoints, the pages and documents that the engine registers, and
 * JSON errors for everything else. Requests arrive on a shard's loop; queries run on worker threads
 * and are answered back on the loop that asked.
 */
#ifndef HK_API_API_H
#define HK_API_API_H

#include "net/http.h"
#include "query/engine.h"
#include "store/exemplars.h"
#include "store/meta.h"

struct hk_api;

enum {
    HK_API_ROUTES_MAX = 64,
    HK_API_QUEUE_MAX = 256,              /* queries that wait for a worker; beyond: 503 */
    HK_API_QUERY_ARENA_MAX = 512 << 20,  /* memory of one query */
    HK_API_ANSWER_BYTES_MAX = 256 << 20, /* one answer */
};

struct hk_api_options {
    struct hk_source source;
    struct hk_meta *meta;
    struct hk_exemplars *exemplars;
    uint32_t workers;              /* query threads, 0 = 1 */
    struct hk_query_options query; /* defaults: lookback, limits */
    int64_t query_timeout_ns;      /* 0 = 2 minutes */
};

hk_err hk_api_create(const struct hk_api_options *options, struct hk_api **out) HK_MUST_CHECK;

/* The loops have stopped. Waits for the workers. */
void hk_api_destroy(struct hk_api *api);

/*
 * Adds a document or action: `handle` is called on the loop for requests of `method` ("GET" also
 * takes HEAD) to exactly `path`, or below it when `path` ends with "/" and `prefix` is set. Before
 * any request arrives.
 */
void hk_api_route(
    struct hk_api *api, const char *method, const char *path, bool prefix,
    void (*handle)(void *self, struct hk_http_exchange *exchange), void *self);

/* Answers the request, now or later. On the loop `loop`. */
void hk_api_handle(struct hk_api *api, struct hk_loop *loop, struct hk_http_exchange *exchange);

/* Answers with a JSON body {"status":"success","data":<data>}. */
void hk_api_respond_data(struct hk_http_exchange *exchange, struct hk_str data);

/* Answers with Prometheus' JSON error of a kind ("bad_data", "not_found", …). */
void hk_api_respond_error(
    struct hk_http_exchange *exchange, int status, const char *kind, struct hk_str text);

#endif
