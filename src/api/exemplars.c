/* GET and POST /api/v1/query_exemplars: exemplars of the series that an expression reads. */
#include "api/api_internal.h"

#include "query/json.h"

#include <stdio.h>

static void render(const struct hk_exemplar *exemplar, struct hk_buf *out) {
    hk_buf_text(out, "{\"labels\":");
    hk_labels_json(exemplar->labels, out);
    hk_buf_text(out, ",\"value\":\"");
    hk_buf_double(out, exemplar->value);
    hk_buf_text(out, "\",\"timestamp\":");
    hk_query_json_stamp(exemplar->stamp_ms, out);
    hk_buf_char(out, '}');
}

static void
render_all(const struct hk_exemplar_series *series, uint32_t count, struct hk_buf *out) {
    hk_buf_text(out, "{\"status\":\"success\",\"data\":[");
    for (uint32_t i = 0; i < count && out->err >= 0; i++) {
        hk_buf_text(out, i == 0 ? "{\"seriesLabels\":" : ",{\"seriesLabels\":");
        hk_labels_json(series[i].labels, out);
        hk_buf_text(out, ",\"exemplars\":[");
        for (uint32_t k = 0; k < series[i].count; k++) {
            if (k > 0) hk_buf_char(out, ',');
            render(&series[i].items[k], out);
        }
        hk_buf_text(out, "]}");
    }
    hk_buf_text(out, "]}");
}

static hk_err answer(struct hk_job *job, const struct hk_promql *promql) {
    struct hk_select *requests =
        hk_arena_alloc(&job->arena, (size_t)promql->node_count + 1, sizeof(*requests));
    struct hk_exemplar_series *series = NULL;
    uint32_t count = 0;
    uint32_t selectors = 0;
    if (requests == NULL) return HK_E_NOMEM;
    for (uint32_t i = 0; i < promql->node_count; i++) {
        const struct hk_promql_node *node = promql->nodes[i];
        if (node->kind != HK_PROMQL_SELECTOR) continue;
        requests[selectors++] = (struct hk_select){
            .matchers = node->selector.matchers,
            .matcher_count = node->selector.matcher_count,
            .cancel = &job->cancel,
        };
    }
    if (selectors == 0) { /* as Prometheus: no data at all */
        hk_buf_text(&job->body, "{\"status\":\"success\"}");
        return HK_OK;
    }
    HK_TRY(hk_exemplars_select(
        job->api->options.exemplars, requests, selectors, job->start_ms, job->end_ms, &job->arena,
        &series, &count));
    render_all(series, count, &job->body);
    return HK_OK;
}

void hk_job_exemplars(struct hk_job *job) {
    struct hk_promql *promql = NULL;
    hk_fail_clear();
    hk_err err = hk_promql_parse(job->query, &job->arena, &promql);
    enum hk_query_error kind = err == HK_E_NOMEM ? HK_QUERY_INTERNAL : HK_QUERY_BAD_DATA;
    job->status = 200;
    if (err >= 0) {
        err = answer(job, promql);
        kind = hk_query_error_of(err);
    }
    if (err < 0) {
        const char *text = hk_fail_text()[0] != 0 ? hk_fail_text() : hk_err_text(err);
        hk_job_error(job, kind, text);
    }
    hk_promql_release(promql);
}
