/* Routes of the API and the answers' common forms. */
#include "api/api_internal.h"

#include "api/page.h"
#include "base/mem.h"

static const struct {
    const char *path;
    enum hk_job_kind kind;
} query_paths[] = {
    { "/api/v1/query", HK_JOB_QUERY },
    { "/api/v1/query_range", HK_JOB_QUERY_RANGE },
    { "/api/v1/series", HK_JOB_SERIES },
    { "/api/v1/labels", HK_JOB_LABELS },
    { "/api/v1/query_exemplars", HK_JOB_EXEMPLARS },
    { "/api/v1/metadata", HK_JOB_METADATA },
};

hk_err hk_api_create(const struct hk_api_options *options, struct hk_api **out) {
    struct hk_api *api = hk_mem_alloc(1, sizeof(*api));
    if (api == NULL) return HK_E_NOMEM;
    api->options = *options;
    api->last = &api->first;
    hk_err err = hk_jobs_open(api);
    if (err < 0) {
        hk_api_destroy(api);
        return err;
    }
    *out = api;
    return HK_OK;
}

void hk_api_destroy(struct hk_api *api) {
    if (api == NULL) return;
    hk_jobs_close(api);
    hk_mem_free(api);
}

void hk_api_route(
    struct hk_api *api, const char *method, const char *path, bool prefix,
    void (*handle)(void *self, struct hk_http_exchange *exchange), void *self) {
    hk_assert(api->route_count < HK_API_ROUTES_MAX);
    api->routes[api->route_count++] =
        (struct hk_api_route_row){ method, path, prefix, handle, self };
}

void hk_api_respond_data(struct hk_http_exchange *exchange, struct hk_str data) {
    struct hk_buf body;
    hk_buf_init(&body, HK_API_ANSWER_BYTES_MAX);
    hk_buf_text(&body, "{\"status\":\"success\",\"data\":");
    hk_buf_str(&body, data);
    hk_buf_char(&body, '}');
    hk_http_respond_buf(exchange, 200, HK_STR("application/json"), &body);
    hk_buf_deinit(&body);
}

void hk_api_respond_error(
    struct hk_http_exchange *exchange, int status, const char *kind, struct hk_str text) {
    struct hk_buf body;
    hk_buf_init(&body, HK_API_ANSWER_BYTES_MAX);
    hk_buf_printf(&body, "{\"status\":\"error\",\"errorType\":\"%s\",\"error\":", kind);
    hk_buf_json(&body, text);
    hk_buf_char(&body, '}');
    hk_http_respond_buf(exchange, status, HK_STR("application/json"), &body);
    hk_buf_deinit(&body);
}

static bool method_fits(struct hk_str method, const char *wanted) {
    if (hk_str_is(method, wanted)) return true;
    return strcmp(wanted, "GET") == 0 && hk_str_is(method, "HEAD");
}

/* Value of <name> in /api/v1/label/<name>/values; empty when the path is another. */
static struct hk_str label_of(struct hk_str path) {
    struct hk_str before = HK_STR("/api/v1/label/");
    struct hk_str after = HK_STR("/values");
    if (!hk_str_starts(path, before) || !hk_str_ends(path, after)) return HK_STR("");
    if (path.len <= before.len + after.len) return HK_STR("");
    return hk_str_part(path, before.len, path.len - after.len);
}

static bool query_kind(struct hk_str path, enum hk_job_kind *out) {
    for (size_t i = 0; i < HK_COUNT(query_paths); i++) {
        if (!hk_str_is(path, query_paths[i].path)) continue;
        *out = query_paths[i].kind;
        return true;
    }
    *out = HK_JOB_LABEL_VALUES;
    return label_of(path).len > 0;
}

static void start_query(
    struct hk_api *api, struct hk_loop *loop, struct hk_http_exchange *exchange,
    enum hk_job_kind kind) {
    const struct hk_http_request *request = hk_http_get_request(exchange);
    bool get = hk_str_is(request->method, "GET") || hk_str_is(request->method, "HEAD");
    bool post_too = kind != HK_JOB_LABEL_VALUES && kind != HK_JOB_METADATA;
    if (!get && !(hk_str_is(request->method, "POST") && post_too)) {
        hk_api_respond_error(exchange, 405, "bad_data", HK_STR("method not allowed"));
        return;
    }
    struct hk_job *job = hk_mem_alloc(1, sizeof(*job));
    if (job == NULL) {
        hk_api_respond_error(exchange, 503, "internal", HK_STR("out of memory"));
        return;
    }
    job->api = api;
    job->loop = loop;
    job->exchange = exchange;
    job->kind = kind;
    job->label = label_of(request->path);
    hk_arena_init(&job->arena, HK_API_QUERY_ARENA_MAX);
    hk_buf_init(&job->body, HK_API_ANSWER_BYTES_MAX);
    hk_err err = hk_job_read(job, request);
    if (err < 0) {
        hk_api_respond_error(exchange, 400, "bad_data", hk_str_from(hk_fail_text()));
        hk_arena_deinit(&job->arena);
        hk_mem_free(job);
        return;
    }
    hk_job_start(job);
}

void hk_api_handle(struct hk_api *api, struct hk_loop *loop, struct hk_http_exchange *exchange) {
    const struct hk_http_request *request = hk_http_get_request(exchange);
    enum hk_job_kind kind = HK_JOB_QUERY;
    if (query_kind(request->path, &kind)) {
        start_query(api, loop, exchange, kind);
        return;
    }
    bool path_known = false;
    for (uint32_t i = 0; i < api->route_count; i++) {
        const struct hk_api_route_row *row = &api->routes[i];
        bool fits = row->prefix ? hk_str_starts(request->path, hk_str_from(row->path))
                                : hk_str_is(request->path, row->path);
        if (!fits) continue;
        path_known = true;
        if (!method_fits(request->method, row->method)) continue;
        row->handle(row->self, exchange);
        return;
    }
    if (!path_known && hk_page_respond(exchange)) return;
    if (path_known) {
        hk_api_respond_error(exchange, 405, "bad_data", HK_STR("method not allowed"));
        return;
    }
    hk_api_respond_error(
        exchange, 404, "not_found",
        hk_arena_printf(hk_http_arena(exchange), "no such path: %.*s", HK_STR_ARG(request->path)));
}
