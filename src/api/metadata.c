/* GET /api/v1/metadata: type, help and unit by metric name. */
#include "api/api_internal.h"

static void render(const struct hk_metric_meta *item, struct hk_buf *out) {
    hk_buf_text(out, "{\"type\":");
    hk_buf_json(out, item->type);
    hk_buf_text(out, ",\"unit\":");
    hk_buf_json(out, item->unit);
    hk_buf_text(out, ",\"help\":");
    hk_buf_json(out, item->help);
    hk_buf_char(out, '}');
}

/* Items are sorted by metric. */
static void render_all(const struct hk_metric_meta *items, uint32_t count, struct hk_buf *out) {
    hk_buf_text(out, "{\"status\":\"success\",\"data\":{");
    for (uint32_t i = 0; i < count && out->err >= 0; i++) {
        bool first = i == 0 || !hk_str_eq(items[i - 1].metric, items[i].metric);
        bool last = i + 1 == count || !hk_str_eq(items[i + 1].metric, items[i].metric);
        if (i > 0) hk_buf_char(out, ',');
        if (first) {
            hk_buf_json(out, items[i].metric);
            hk_buf_text(out, ":[");
        }
        render(&items[i], out);
        if (last) hk_buf_char(out, ']');
    }
    hk_buf_text(out, "}}");
}

void hk_job_metadata(struct hk_job *job) {
    struct hk_metric_meta *items = NULL;
    uint32_t count = 0;
    hk_fail_clear();
    hk_err err = hk_meta_list(job->api->options.meta, &job->metadata, &job->arena, &items, &count);
    job->status = 200;
    if (err >= 0)
        render_all(items, count, &job->body);
    else
        hk_job_error(job, HK_QUERY_INTERNAL, hk_err_text(err));
}
