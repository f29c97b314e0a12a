/* Queries on worker threads. A job belongs to one thread at a time: loop, worker, loop. */
#include "api/api_internal.h"

#include "base/mem.h"
#include "os/clock.h"
#include "query/json.h"

#include <stdatomic.h>
#include <stdio.h>

void hk_job_error(struct hk_job *job, enum hk_query_error kind, const char *text) {
    hk_buf_clear(&job->body);
    hk_query_json_error(kind, hk_str_from(text), &job->body);
    switch (kind) {
    case HK_QUERY_BAD_DATA:
        job->status = 400;
        return;
    case HK_QUERY_EXECUTION:
        job->status = 422;
        return;
    case HK_QUERY_TIMEOUT:
    case HK_QUERY_CANCELED:
        job->status = 503;
        return;
    case HK_QUERY_INTERNAL:
    default:
        job->status = 500;
        return;
    }
}

static void run_query(struct hk_job *job) {
    struct hk_promql *promql = NULL;
    hk_fail_clear();
    hk_err err = hk_promql_parse(job->query, &job->arena, &promql);
    if (err < 0) {
        char text[1280];
        (void)snprintf(
            text, sizeof(text), "invalid parameter \"query\": %s",
            hk_fail_text()[0] != 0 ? hk_fail_text() : hk_err_text(err));
        hk_job_error(job, err == HK_E_NOMEM ? HK_QUERY_INTERNAL : HK_QUERY_BAD_DATA, text);
        return;
    }
    struct hk_query_options options = job->api->options.query;
    options.deadline_ns = hk_clock_monotonic_ns() + job->timeout_ns;
    options.cancel = &job->cancel;
    if (job->lookback_ms > 0) options.lookback_ms = job->lookback_ms;
    struct hk_query_result result;
    err = hk_query_run(
        &job->api->options.source, promql, job->start_ms, job->end_ms, job->step_ms, &options,
        &job->arena, &result);
    if (err < 0) {
        hk_job_error(
            job, hk_query_error_of(err),
            hk_fail_text()[0] != 0 ? hk_fail_text() : hk_err_text(err));
    } else {
        job->status = 200;
        if (job->limit > 0 && result.series_count > job->limit) result.series_count = job->limit;
        hk_query_json_answer(&result, &job->body);
    }
    hk_promql_release(promql);
}

struct selects {
    struct hk_promql *parsed[HK_JOB_SELECTORS_MAX];
    struct hk_select requests[HK_JOB_SELECTORS_MAX];
    uint32_t count;
};

static hk_err make_selects(struct hk_job *job, struct selects *selects) {
    for (uint32_t i = 0; i < job->selector_count; i++) {
        struct hk_promql *promql = NULL;
        hk_err err = hk_promql_parse_selector(job->selectors[i], &job->arena, &promql);
        if (err < 0) {
            return hk_fail_note(err, "invalid parameter \"match[]\"");
        }
        selects->parsed[selects->count] = promql;
        const struct hk_promql_node *root = promql->root;
        selects->requests[selects->count++] = (struct hk_select){
            .matchers = root->selector.matchers,
            .matcher_count = root->selector.matcher_count,
            .from_ms = job->start_ms,
            .to_ms = job->end_ms,
            .labels_only = true,
            .cancel = &job->cancel,
        };
        if (hk_promql_matchers_empty(root->selector.matchers, root->selector.matcher_count)) {
            return hk_fail(
                HK_E_MALFORMED, "invalid parameter \"match[]\": match[] must contain at least one "
                                "non-empty matcher");
        }
    }
    return HK_OK;
}

/* Series of all selectors, each once. Selections are sorted, so equal ones stand together after a
 * merge; here a plain scan of what was written before is enough for one selector. */
static hk_err render_series(struct hk_job *job, struct selects *selects) {
    const struct hk_source *source = &job->api->options.source;
    hk_buf_text(&job->body, "{\"status\":\"success\",\"data\":[");
    uint32_t written = 0;
    for (uint32_t i = 0; i < selects->count; i++) {
        struct hk_selection selection;
        HK_TRY(source->select(source->self, &selects->requests[i], &job->arena, &selection));
        for (uint32_t k = 0; k < selection.count; k++) {
            struct hk_labels labels = selection.labels[k];
            bool again = false;
            for (uint32_t earlier = 0; earlier < i && !again; earlier++) {
                const struct hk_select *request = &selects->requests[earlier];
                again = hk_matchers_accept(request->matchers, request->matcher_count, labels);
            }
            if (again || (job->limit > 0 && written >= job->limit)) continue;
            if (written++ > 0) hk_buf_char(&job->body, ',');
            hk_labels_json(labels, &job->body);
        }
        source->release(source->self, &selection);
    }
    hk_buf_text(&job->body, "]}");
    return HK_OK;
}

static hk_err render_texts(struct hk_job *job, struct selects *selects) {
    const struct hk_source *source = &job->api->options.source;
    struct hk_str *texts = NULL;
    uint32_t count = 0;
    if (job->kind == HK_JOB_LABELS) {
        HK_TRY(source->label_names(
            source->self, selects->requests, selects->count, job->limit, &job->arena, &texts,
            &count));
    } else {
        HK_TRY(source->label_values(
            source->self, job->label, selects->requests, selects->count, job->limit, &job->arena,
            &texts, &count));
    }
    hk_buf_text(&job->body, "{\"status\":\"success\",\"data\":[");
    for (uint32_t i = 0; i < count; i++) {
        if (i > 0) hk_buf_char(&job->body, ',');
        hk_buf_json(&job->body, texts[i]);
    }
    hk_buf_text(&job->body, "]}");
    return HK_OK;
}

static void run_select(struct hk_job *job) {
    struct selects *selects = hk_arena_alloc(&job->arena, 1, sizeof(*selects));
    hk_fail_clear();
    hk_err err = selects == NULL ? HK_E_NOMEM : make_selects(job, selects);
    job->status = 200;
    if (err >= 0) {
        err = job->kind == HK_JOB_SERIES ? render_series(job, selects) : render_texts(job, selects);
    }
    if (err < 0) {
        hk_job_error(
            job, hk_query_error_of(err),
            hk_fail_text()[0] != 0 ? hk_fail_text() : hk_err_text(err));
    }
    for (uint32_t i = 0; selects != NULL && i < selects->count; i++) {
        hk_promql_release(selects->parsed[i]);
    }
}

void hk_job_run(struct hk_job *job) {
    if (job->kind == HK_JOB_QUERY || job->kind == HK_JOB_QUERY_RANGE)
        run_query(job);
    else if (job->kind == HK_JOB_EXEMPLARS)
        hk_job_exemplars(job);
    else if (job->kind == HK_JOB_METADATA)
        hk_job_metadata(job);
    else
        run_select(job);
    if (job->body.err < 0) {
        const char *text = "the answer is larger than the limit; ask for less";
        hk_job_error(job, HK_QUERY_EXECUTION, text);
    }
}

/* Back on the loop. */
static void answer(struct hk_task *task) {
    struct hk_job *job = (struct hk_job *)task; /* the first member */
    hk_http_respond_buf(job->exchange, job->status, HK_STR("application/json"), &job->body);
    hk_buf_deinit(&job->body);
    hk_arena_deinit(&job->arena);
    hk_mem_free(job);
}

struct worker {
    struct hk_api *api;
    uint32_t index;
};

static struct hk_job *take(struct hk_api *api, bool *out_stop) {
    hk_mutex_lock(&api->lock);
    struct hk_job *job = api->first;
    if (job != NULL) {
        api->first = job->next;
        if (api->first == NULL) api->last = &api->first;
        api->waiting--;
    }
    *out_stop = api->stop;
    hk_mutex_unlock(&api->lock);
    return job;
}

static void worker_main(void *arg) {
    struct worker worker = *(struct worker *)arg;
    hk_mem_free(arg);
    for (;;) {
        bool stop = false;
        struct hk_job *job = take(worker.api, &stop);
        if (job == NULL) {
            if (stop) return;
            (void)hk_event_wait(&worker.api->wake[worker.index], -1);
            continue;
        }
        hk_job_run(job);
        job->answer.run = answer;
        hk_loop_post(job->loop, &job->answer);
    }
}

hk_err hk_jobs_open(struct hk_api *api) {
    hk_mutex_init(&api->lock);
    uint32_t count = api->options.workers == 0 ? 1 : api->options.workers;
    if (count > HK_COUNT(api->workers)) count = HK_COUNT(api->workers);
    for (uint32_t i = 0; i < count; i++) {
        struct worker *worker = hk_mem_alloc(1, sizeof(*worker));
        if (worker == NULL) return HK_E_NOMEM;
        *worker = (struct worker){ api, i };
        hk_event_init(&api->wake[i]);
        if (hk_thread_start(&api->workers[i], "hark-query", worker_main, worker) < 0) {
            hk_mem_free(worker);
            return hk_fail(HK_E_IO, "cannot start a query thread");
        }
        api->worker_count++;
    }
    return HK_OK;
}

void hk_jobs_close(struct hk_api *api) {
    hk_mutex_lock(&api->lock);
    api->stop = true;
    hk_mutex_unlock(&api->lock);
    for (uint32_t i = 0; i < api->worker_count; i++)
        hk_event_raise(&api->wake[i]);
    for (uint32_t i = 0; i < api->worker_count; i++) {
        hk_thread_join(&api->workers[i]);
        hk_event_deinit(&api->wake[i]);
    }
    hk_mutex_deinit(&api->lock);
}

static void client_gone(struct hk_http_exchange *exchange) {
    struct hk_job *job = hk_http_get_user(exchange);
    atomic_store_explicit(&job->cancel, true, memory_order_relaxed);
}

void hk_job_start(struct hk_job *job) {
    struct hk_api *api = job->api;
    hk_http_set_user(job->exchange, job);
    hk_http_on_gone(job->exchange, client_gone);
    hk_mutex_lock(&api->lock);
    bool full = api->waiting >= HK_API_QUEUE_MAX;
    if (!full) {
        *api->last = job;
        api->last = &job->next;
        api->waiting++;
    }
    hk_mutex_unlock(&api->lock);
    if (full) {
        hk_http_add_header(job->exchange, HK_STR("Retry-After"), HK_STR("1"));
        job->status = 503;
        hk_query_json_error(
            HK_QUERY_TIMEOUT, HK_STR("too many queries wait; try again"), &job->body);
        answer(&job->answer);
        return;
    }
    for (uint32_t i = 0; i < api->worker_count; i++)
        hk_event_raise(&api->wake[i]);
}
