/* Results as JSON. */
#include "query/json.h"

#include "base/digits.h"
#include "lang/text.h"
#include "query/hist.h"

#include <math.h>

enum { STAMP_BYTES_MAX = 1 + HK_DIGITS_MAX + 4 };

/* Writes a stamp as hk_query_json_stamp does, to STAMP_BYTES_MAX bytes; gives the length. */
static size_t put_stamp(int64_t stamp_ms, char *out) {
    uint64_t ms = stamp_ms < 0 ? 0 - (uint64_t)stamp_ms : (uint64_t)stamp_ms;
    size_t len = 0;
    if (stamp_ms < 0) out[len++] = '-';
    len += hk_digits_u64(ms / 1000, out + len);
    unsigned rest = (unsigned)(ms % 1000);
    if (rest == 0) return len;
    out[len++] = '.';
    out[len++] = (char)('0' + rest / 100);
    out[len++] = (char)('0' + rest / 10 % 10);
    out[len++] = (char)('0' + rest % 10);
    while (out[len - 1] == '0')
        len--;
    return len;
}

void hk_query_json_stamp(int64_t stamp_ms, struct hk_buf *out) {
    char text[STAMP_BYTES_MAX];
    hk_buf_bytes(out, text, put_stamp(stamp_ms, text));
}

static void number(double value, struct hk_buf *out) {
    hk_buf_char(out, '"');
    hk_buf_double(out, value);
    hk_buf_char(out, '"');
}

void hk_query_json_histogram(const struct hk_histogram *histogram, struct hk_buf *out) {
    struct hk_arena arena;
    struct hist_bucket *buckets = NULL;
    uint32_t count = 0;
    hk_arena_init(&arena, (size_t)16 << 20);
    if (hk_hist_buckets(&arena, histogram, &buckets, &count) < 0) out->err = HK_E_NOMEM;
    hk_buf_text(out, "{\"count\":");
    number(histogram->count, out);
    hk_buf_text(out, ",\"sum\":");
    number(histogram->sum, out);
    bool open = false;
    for (uint32_t i = 0; i < count; i++) {
        if (buckets[i].count == 0) continue;
        /* 0 open left, 1 open right, 2 open both, 3 closed both. */
        int rule = buckets[i].lower_inclusive ? (buckets[i].upper_inclusive ? 3 : 1)
                                              : (buckets[i].upper_inclusive ? 0 : 2);
        hk_buf_text(out, open ? ",[" : ",\"buckets\":[[");
        open = true;
        hk_buf_char(out, (char)('0' + rule));
        hk_buf_char(out, ',');
        number(buckets[i].lower, out);
        hk_buf_char(out, ',');
        number(buckets[i].upper, out);
        hk_buf_char(out, ',');
        number(buckets[i].count, out);
        hk_buf_char(out, ']');
    }
    if (open) hk_buf_char(out, ']');
    hk_buf_char(out, '}');
    hk_arena_deinit(&arena);
}

static const struct hk_histogram *
histogram_at(const struct hk_query_series *series, uint32_t index) {
    return series->histograms == NULL ? NULL : series->histograms[index];
}

/* `[stamp,"value"]`, the most of an answer: written in place. */
static void float_point(int64_t stamp_ms, double value, struct hk_buf *out) {
    char *to = hk_buf_reserve(out, 1 + STAMP_BYTES_MAX + 2 + HK_DOUBLE_BYTES_MAX + 2);
    if (to == NULL) return;
    size_t len = 0;
    to[len++] = '[';
    len += put_stamp(stamp_ms, to + len);
    to[len++] = ',';
    to[len++] = '"';
    len += hk_format_double(value, to + len);
    to[len++] = '"';
    to[len++] = ']';
    out->len += len;
}

static void
point(int64_t stamp_ms, double value, const struct hk_histogram *histogram, struct hk_buf *out) {
    if (histogram == NULL) {
        float_point(stamp_ms, value, out);
        return;
    }
    hk_buf_char(out, '[');
    hk_query_json_stamp(stamp_ms, out);
    hk_buf_char(out, ',');
    hk_query_json_histogram(histogram, out);
    hk_buf_char(out, ']');
}

/* The floats ("values") or the histograms of a series, if it has any. */
static void points(const struct hk_query_series *series, bool histograms, struct hk_buf *out) {
    bool open = false;
    for (uint32_t i = 0; i < series->count && out->err == HK_OK; i++) {
        const struct hk_histogram *histogram = histogram_at(series, i);
        if ((histogram != NULL) != histograms) continue;
        if (open)
            hk_buf_char(out, ',');
        else
            hk_buf_text(out, histograms ? ",\"histograms\":[" : ",\"values\":[");
        open = true;
        point(series->stamps_ms[i], series->values[i], histogram, out);
    }
    if (open) hk_buf_char(out, ']');
}

static void vector_element(
    const struct hk_query_result *result, const struct hk_query_series *series,
    struct hk_buf *out) {
    const struct hk_histogram *histogram = histogram_at(series, 0);
    hk_buf_text(out, histogram != NULL ? ",\"histogram\":" : ",\"value\":");
    point(result->stamp_ms, series->values[0], histogram, out);
}

static void all_series(const struct hk_query_result *result, struct hk_buf *out) {
    hk_buf_char(out, '[');
    for (uint32_t i = 0; i < result->series_count && out->err == HK_OK; i++) {
        const struct hk_query_series *series = &result->series[i];
        hk_buf_text(out, i == 0 ? "{\"metric\":" : ",{\"metric\":");
        hk_labels_json(series->labels, out);
        if (result->type == HK_PROMQL_VECTOR) {
            vector_element(result, series, out);
        } else {
            points(series, false, out);
            points(series, true, out);
        }
        hk_buf_char(out, '}');
    }
    hk_buf_char(out, ']');
}

void hk_query_json(const struct hk_query_result *result, struct hk_buf *out) {
    static const char *const types[] = { "none", "scalar", "string", "vector", "matrix" };
    hk_buf_printf(out, "{\"resultType\":\"%s\",\"result\":", types[result->type]);
    if (result->type == HK_PROMQL_SCALAR) {
        /* Unlike samples, a scalar never has an exponent. */
        char text[HK_PLAIN_BYTES_MAX];
        size_t len = hk_format_plain(result->scalar, text);
        hk_buf_char(out, '[');
        hk_query_json_stamp(result->stamp_ms, out);
        hk_buf_printf(out, ",\"%.*s\"]", (int)len, text);
    } else if (result->type == HK_PROMQL_STRING) {
        hk_buf_char(out, '[');
        hk_query_json_stamp(result->stamp_ms, out);
        hk_buf_char(out, ',');
        hk_buf_json(out, result->text);
        hk_buf_char(out, ']');
    } else {
        all_series(result, out);
    }
    hk_buf_char(out, '}');
}

static void
texts(const char *name, const struct hk_str *items, uint32_t count, struct hk_buf *out) {
    if (count == 0) return;
    hk_buf_printf(out, ",\"%s\":[", name);
    for (uint32_t i = 0; i < count; i++) {
        if (i > 0) hk_buf_char(out, ',');
        hk_buf_json(out, items[i]);
    }
    hk_buf_char(out, ']');
}

void hk_query_json_answer(const struct hk_query_result *result, struct hk_buf *out) {
    hk_buf_text(out, "{\"status\":\"success\",\"data\":");
    hk_query_json(result, out);
    texts("warnings", result->warnings, result->warning_count, out);
    texts("infos", result->infos, result->info_count, out);
    hk_buf_char(out, '}');
}

void hk_query_json_error(enum hk_query_error kind, struct hk_str text, struct hk_buf *out) {
    hk_buf_printf(
        out, "{\"status\":\"error\",\"errorType\":\"%s\",\"error\":", hk_query_error_text(kind));
    hk_buf_json(out, text);
    hk_buf_char(out, '}');
}
