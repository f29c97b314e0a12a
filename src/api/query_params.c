/* Parameters of query requests, with Prometheus' error texts. */
#include "api/api_internal.h"

#include "os/clock.h"

#include <math.h>

static bool param(
    struct hk_job *job, const struct hk_http_request *request, const char *name,
    struct hk_str *out) {
    return hk_http_param(request, hk_str_from(name), 0, &job->arena, out) && out->len > 0;
}

static hk_err bad(const char *name, struct hk_str value, const char *what) {
    return hk_fail(
        HK_E_INVALID, "invalid parameter \"%s\": cannot parse \"%.*s\" to a valid %s", name,
        HK_STR_ARG(value), what);
}

/* Unix seconds with decimals, or RFC 3339. */
static hk_err parse_time(const char *name, struct hk_str text, int64_t *out_ms) {
    double seconds = 0;
    int64_t ns = 0;
    if (hk_parse_double(text, &seconds) >= 0) {
        if (!(fabs(seconds) < 9e15)) return bad(name, text, "timestamp");
        *out_ms = (int64_t)llround(seconds * 1000);
        return HK_OK;
    }
    if (hk_parse_rfc3339_ns(text, &ns) >= 0) {
        *out_ms = ns / 1000000;
        return HK_OK;
    }
    return bad(name, text, "timestamp");
}

/* Seconds with decimals, or a Prometheus duration. */
static hk_err parse_span(const char *name, struct hk_str text, int64_t *out_ms) {
    double seconds = 0;
    if (hk_parse_double(text, &seconds) >= 0) {
        if (!(fabs(seconds) < 9e15)) return bad(name, text, "duration. It overflows int64");
        *out_ms = (int64_t)llround(seconds * 1000);
        return HK_OK;
    }
    if (hk_parse_duration_ms(text, out_ms) >= 0) return HK_OK;
    return bad(name, text, "duration");
}

static hk_err time_param(
    struct hk_job *job, const struct hk_http_request *request, const char *name, bool needed,
    int64_t otherwise_ms, int64_t *out_ms) {
    struct hk_str text;
    *out_ms = otherwise_ms;
    if (param(job, request, name, &text)) return parse_time(name, text, out_ms);
    if (!needed) return HK_OK;
    return bad(name, HK_STR(""), "timestamp");
}

static hk_err read_range(struct hk_job *job, const struct hk_http_request *request) {
    struct hk_str text;
    HK_TRY(time_param(job, request, "start", true, 0, &job->start_ms));
    HK_TRY(time_param(job, request, "end", true, 0, &job->end_ms));
    if (job->end_ms < job->start_ms) {
        return hk_fail(
            HK_E_INVALID, "invalid parameter \"end\": end timestamp must not be before start time");
    }
    if (!param(job, request, "step", &text)) return bad("step", HK_STR(""), "duration");
    HK_TRY(parse_span("step", text, &job->step_ms));
    if (job->step_ms <= 0) {
        return hk_fail(
            HK_E_INVALID, "invalid parameter \"step\": zero or negative query resolution step "
                          "widths are not accepted. Try a positive integer");
    }
    return HK_OK;
}

static hk_err read_selectors(struct hk_job *job, const struct hk_http_request *request) {
    struct hk_str text;
    uint32_t n = 0;
    while (hk_http_param(request, HK_STR("match[]"), n, &job->arena, &text)) {
        if (n == HK_JOB_SELECTORS_MAX) {
            return hk_fail(HK_E_INVALID, "more than %d match[] parameters", HK_JOB_SELECTORS_MAX);
        }
        job->selectors[n++] = text;
    }
    job->selector_count = n;
    if (n == 0 && job->kind == HK_JOB_SERIES) {
        return hk_fail(HK_E_INVALID, "no match[] parameter provided");
    }
    HK_TRY(time_param(job, request, "start", false, INT64_MIN, &job->start_ms));
    return time_param(job, request, "end", false, INT64_MAX, &job->end_ms);
}

static hk_err read_common(struct hk_job *job, const struct hk_http_request *request) {
    struct hk_str text;
    int64_t ms = 0;
    uint64_t limit = 0;
    if (param(job, request, "timeout", &text)) {
        HK_TRY(parse_span("timeout", text, &ms));
        if (ms > 0 && ms < job->timeout_ns / 1000000) job->timeout_ns = ms * 1000000;
    }
    if (param(job, request, "lookback_delta", &text)) {
        HK_TRY(parse_span("lookback_delta", text, &job->lookback_ms));
    }
    if (param(job, request, "limit", &text)) {
        if (hk_parse_u64(text, &limit) < 0 || limit > UINT32_MAX) {
            return bad("limit", text, "limit");
        }
        job->limit = (uint32_t)limit;
    }
    return HK_OK;
}

static hk_err read_exemplars(struct hk_job *job, const struct hk_http_request *request) {
    HK_TRY(time_param(job, request, "start", false, INT64_MIN, &job->start_ms));
    HK_TRY(time_param(job, request, "end", false, INT64_MAX, &job->end_ms));
    if (job->end_ms < job->start_ms) {
        return hk_fail(HK_E_INVALID, "end timestamp must not be before start timestamp");
    }
    if (!param(job, request, "query", &job->query)) job->query = HK_STR("");
    return HK_OK;
}

static hk_err read_limit(
    struct hk_job *job, const struct hk_http_request *request, const char *name, int64_t *out) {
    struct hk_str text;
    *out = -1;
    if (!param(job, request, name, &text) || hk_parse_i64(text, out) >= 0) return HK_OK;
    return hk_fail(HK_E_INVALID, "%s must be a number", name);
}

static hk_err read_metadata(struct hk_job *job, const struct hk_http_request *request) {
    struct hk_meta_request *metadata = &job->metadata;
    HK_TRY(read_limit(job, request, "limit", &metadata->limit));
    HK_TRY(read_limit(job, request, "limit_per_metric", &metadata->limit_per_metric));
    if (!param(job, request, "metric", &metadata->metric)) metadata->metric = HK_STR("");
    return HK_OK;
}

hk_err hk_job_read(struct hk_job *job, const struct hk_http_request *request) {
    int64_t timeout_ns = job->api->options.query_timeout_ns;
    job->timeout_ns = timeout_ns > 0 ? timeout_ns : 120LL * 1000000000;
    if (job->kind == HK_JOB_METADATA) return read_metadata(job, request);
    HK_TRY(read_common(job, request));
    if (job->kind == HK_JOB_EXEMPLARS) return read_exemplars(job, request);
    if (job->kind != HK_JOB_QUERY && job->kind != HK_JOB_QUERY_RANGE) {
        if (job->label.len > 0) {
            job->label = hk_arena_str(&job->arena, job->label);
            if (job->label.ptr == NULL) return HK_E_NOMEM;
        }
        return read_selectors(job, request);
    }
    if (!param(job, request, "query", &job->query)) job->query = HK_STR("");
    if (job->kind == HK_JOB_QUERY_RANGE) return read_range(job, request);
    HK_TRY(time_param(job, request, "time", false, hk_clock_realtime_ms(), &job->start_ms));
    job->end_ms = job->start_ms;
    return HK_OK;
}
