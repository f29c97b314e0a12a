/*
 * A source in memory for tests of queries: series in the notation of Prometheus' rule tests,
 *
 *     metric{a="b"} 1 2+1x10 3x2 _ _x3 stale {{schema:0 sum:5 count:3 buckets:[1 2]}}x4
 *
 * one value per step from 0 on: `v` one, `vxn` n + 1 times, `a+bxn` n + 1 values rising by b, `_`
 * none, `stale` the stale marker, {{…}} a native histogram ({{…}}+{{…}}xn: rising).
 * Needs base, model, lang and query. Header-only; not thread-safe.
 */
#ifndef HK_MEM_SOURCE_H
#define HK_MEM_SOURCE_H

#include "base/mem.h"
#include "lang/promql.h"
#include "model/source.h"
#include "query/hist.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>

struct mem_series {
    struct hk_labels labels;
    int64_t *stamps_ms;
    double *values;
    const struct hk_histogram **histograms; /* all NULL when floats only */
    uint32_t count, capacity;
    bool has_histogram;
};

struct mem_source {
    struct hk_source source; /* hand this to the engine */
    struct hk_arena arena;
    struct mem_series *series;
    uint32_t count, capacity;
    uint32_t open; /* selections not yet released */
};

struct mem_selection {
    uint32_t *indexes;
    int64_t from_ms, to_ms;
};

static inline int mem_series_cmp(const void *a, const void *b, void *arg) {
    const struct mem_source *source = arg;
    return hk_labels_cmp(
        source->series[*(const uint32_t *)a].labels, source->series[*(const uint32_t *)b].labels);
}

static inline hk_err mem_select(
    void *self, const struct hk_select *request, struct hk_arena *arena, struct hk_selection *out) {
    struct mem_source *source = self;
    struct mem_selection *selection = hk_arena_alloc(arena, 1, sizeof(*selection));
    uint32_t *indexes = hk_arena_alloc(arena, source->count, sizeof(uint32_t));
    struct hk_labels *labels = hk_arena_alloc(arena, source->count, sizeof(*labels));
    if (selection == NULL || indexes == NULL || labels == NULL) return HK_E_NOMEM;
    uint32_t count = 0;
    for (uint32_t i = 0; i < source->count; i++) {
        if (hk_matchers_accept(request->matchers, request->matcher_count, source->series[i].labels))
            indexes[count++] = i;
    }
    if (request->series_max > 0 && count > request->series_max)
        return hk_fail(HK_E_LIMIT, "selector matches more than %u series", request->series_max);
    qsort_r(indexes, count, sizeof(uint32_t), mem_series_cmp, source);
    for (uint32_t i = 0; i < count; i++)
        labels[i] = source->series[indexes[i]].labels;
    *selection = (struct mem_selection){ indexes, request->from_ms, request->to_ms };
    *out = (struct hk_selection){ .labels = request->labels_later ? NULL : labels,
                                  .count = count,
                                  .impl = selection };
    source->open++;
    return HK_OK;
}

/* Index of the first sample at or after the stamp. */
static inline uint32_t mem_lower(const struct mem_series *series, int64_t stamp_ms) {
    uint32_t low = 0;
    uint32_t high = series->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (series->stamps_ms[middle] < stamp_ms)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static inline hk_err mem_read(
    void *self, struct hk_selection *selection, uint32_t index, struct hk_arena *arena,
    struct hk_samples *out) {
    const struct mem_source *source = self;
    const struct mem_selection *own = selection->impl;
    const struct mem_series *series = &source->series[own->indexes[index]];
    (void)arena;
    uint32_t from = mem_lower(series, own->from_ms);
    uint32_t to = own->to_ms == INT64_MAX ? series->count : mem_lower(series, own->to_ms + 1);
    if (to < from) to = from;
    *out =
        (struct hk_samples){ series->stamps_ms + from, series->values + from,
                             series->has_histogram ? series->histograms + from : NULL, to - from };
    return HK_OK;
}

static inline void mem_newest(
    void *self, struct hk_selection *selection, uint32_t first, uint32_t count,
    struct hk_newest *out) {
    for (uint32_t i = 0; i < count; i++) {
        struct hk_samples samples = { 0 };
        hk_err err = mem_read(self, selection, first + i, NULL, &samples);
        out[i] = (struct hk_newest){ .kind = HK_NEWEST_NONE };
        if (err < 0 || samples.histograms != NULL) {
            out[i].kind = HK_NEWEST_READ;
        } else if (samples.count > 0) {
            out[i] = (struct hk_newest){ samples.stamps_ms[samples.count - 1],
                                         samples.values[samples.count - 1], HK_NEWEST_FLOAT };
        }
    }
}

static inline hk_err mem_labels_of(
    void *self, struct hk_selection *selection, uint32_t index, struct hk_arena *arena,
    struct hk_labels *out) {
    const struct mem_source *source = self;
    const struct mem_selection *own = selection->impl;
    (void)arena;
    *out = source->series[own->indexes[index]].labels;
    return HK_OK;
}

/* Have both the same labels with (or without) the names? */
static inline bool mem_same_group(
    struct hk_labels a, struct hk_labels b, const struct hk_str *names, uint32_t name_count,
    bool with) {
    for (uint32_t i = 0; i < a.count; i++) {
        bool listed = false;
        for (uint32_t k = 0; k < name_count; k++)
            listed = listed || hk_str_eq(names[k], a.items[i].name);
        if (listed == with && !hk_str_eq(hk_labels_get(b, a.items[i].name), a.items[i].value))
            return false;
    }
    return true;
}

static inline hk_err mem_group(
    void *self, struct hk_selection *selection, const struct hk_str *names, uint32_t name_count,
    bool with, struct hk_arena *arena, uint32_t **out_numbers, uint32_t *out_count) {
    const struct mem_source *source = self;
    const struct mem_selection *own = selection->impl;
    uint32_t *numbers = hk_arena_alloc(arena, selection->count, sizeof(uint32_t));
    if (numbers == NULL) return HK_E_NOMEM;
    *out_count = 0;
    for (uint32_t i = 0; i < selection->count; i++) {
        struct hk_labels labels = source->series[own->indexes[i]].labels;
        uint32_t k = 0;
        for (; k < i; k++) {
            struct hk_labels other = source->series[own->indexes[k]].labels;
            if (mem_same_group(labels, other, names, name_count, with) &&
                mem_same_group(other, labels, names, name_count, with))
                break;
        }
        numbers[i] = k < i ? numbers[k] : (*out_count)++;
    }
    *out_numbers = numbers;
    return HK_OK;
}

static inline void mem_release(void *self, struct hk_selection *selection) {
    struct mem_source *source = self;
    (void)selection;
    source->open--;
}

static inline void mem_source_init(struct mem_source *source) {
    *source = (struct mem_source){ .count = 0 };
    hk_arena_init(&source->arena, (size_t)256 << 20);
    source->source.self = source;
    source->source.select = mem_select;
    source->source.read = mem_read;
    source->source.release = mem_release;
    source->source.newest = mem_newest;
    source->source.labels_of = mem_labels_of;
    source->source.group = mem_group;
}

static inline void mem_source_deinit(struct mem_source *source) {
    for (uint32_t i = 0; i < source->count; i++) {
        hk_mem_free(source->series[i].stamps_ms);
        hk_mem_free(source->series[i].values);
        hk_mem_free(source->series[i].histograms);
    }
    hk_mem_free(source->series);
    hk_arena_deinit(&source->arena);
    *source = (struct mem_source){ .count = 0 };
}

/* The series of these labels, made if there is none. */
static inline struct mem_series *
mem_source_series(struct mem_source *source, struct hk_labels labels) {
    for (uint32_t i = 0; i < source->count; i++) {
        if (hk_labels_cmp(source->series[i].labels, labels) == 0) return &source->series[i];
    }
    if (source->count == source->capacity) {
        uint32_t wanted = source->capacity == 0 ? 64 : source->capacity * 2;
        void *bigger = hk_mem_resize(source->series, wanted, sizeof(struct mem_series));
        if (bigger == NULL) abort();
        source->series = bigger;
        source->capacity = wanted;
    }
    struct hk_label *items = hk_arena_alloc(&source->arena, labels.count, sizeof(*items));
    if (items == NULL) abort();
    for (uint32_t i = 0; i < labels.count; i++) {
        items[i].name = hk_arena_str(&source->arena, labels.items[i].name);
        items[i].value = hk_arena_str(&source->arena, labels.items[i].value);
    }
    struct mem_series *series = &source->series[source->count++];
    *series = (struct mem_series){ .labels = { items, labels.count } };
    return series;
}

/* Adds a sample; stamps in any order, a later one at the same stamp replaces. */
static inline void mem_series_add(
    struct mem_series *series, int64_t stamp_ms, double value,
    const struct hk_histogram *histogram) {
    if (series->count == series->capacity) {
        uint32_t wanted = series->capacity == 0 ? 16 : series->capacity * 2;
        series->stamps_ms = hk_mem_resize(series->stamps_ms, wanted, sizeof(int64_t));
        series->values = hk_mem_resize(series->values, wanted, sizeof(double));
        series->histograms =
            hk_mem_resize((void *)(uintptr_t)series->histograms, wanted, sizeof(void *));
        if (series->stamps_ms == NULL || series->values == NULL || series->histograms == NULL)
            abort();
        series->capacity = wanted;
    }
    uint32_t at = series->count;
    while (at > 0 && series->stamps_ms[at - 1] > stamp_ms)
        at--;
    if (at == 0 || series->stamps_ms[at - 1] != stamp_ms) {
        for (uint32_t i = series->count; i > at; i--) {
            series->stamps_ms[i] = series->stamps_ms[i - 1];
            series->values[i] = series->values[i - 1];
            series->histograms[i] = series->histograms[i - 1];
        }
        series->count++;
        at++;
    }
    series->stamps_ms[at - 1] = stamp_ms;
    series->values[at - 1] = histogram == NULL ? value : 0;
    series->histograms[at - 1] = histogram;
    series->has_histogram = series->has_histogram || histogram != NULL;
}

/* ---- the notation ---- */

struct mem_value {
    bool omitted;
    double value;
    const struct hk_histogram *histogram;
};

struct mem_values {
    struct mem_value *items;
    uint32_t count, capacity;
};

static inline void mem_values_add(struct mem_values *values, struct mem_value value) {
    if (values->count == values->capacity) {
        uint32_t wanted = values->capacity == 0 ? 64 : values->capacity * 2;
        values->items = hk_mem_resize(values->items, wanted, sizeof(value));
        if (values->items == NULL) abort();
        values->capacity = wanted;
    }
    values->items[values->count++] = value;
}

/* Number at `*at`: no hexadecimal ("0x3" repeats). False: there is none. */
static inline bool mem_number(const char **at, double *out) {
    const char *start = *at;
    const char *digits = *start == '-' || *start == '+' ? start + 1 : start;
    if (digits[0] == '0' && (digits[1] == 'x' || digits[1] == 'X')) {
        *out = *start == '-' ? -0.0 : 0;
        *at = digits + 1;
        return true;
    }
    char *end = NULL;
    *out = strtod(start, &end);
    if (end == start) return false;
    *at = end;
    return true;
}

static inline uint32_t mem_numbers(struct hk_arena *arena, const char **at, double **out) {
    double *numbers = hk_arena_alloc(arena, 1024, sizeof(double));
    uint32_t count = 0;
    if (numbers == NULL || **at != '[') return 0;
    (*at)++;
    while (**at != 0 && **at != ']' && count < 1024) {
        while (**at == ' ')
            (*at)++;
        if (**at == ']' || !mem_number(at, &numbers[count])) break;
        count++;
    }
    while (**at == ' ')
        (*at)++;
    if (**at == ']') (*at)++;
    *out = numbers;
    return count;
}

static inline void mem_side(
    struct hk_arena *arena, struct hk_histogram_side *side, double *counts, uint32_t count,
    int32_t offset) {
    struct hk_histogram_span *span = hk_arena_alloc(arena, 1, sizeof(*span));
    if (span == NULL) abort();
    *span = (struct hk_histogram_span){ offset, count };
    *side = (struct hk_histogram_side){ span, counts, count > 0, count };
}

/* "{{schema:1 sum:5 …}}" at `*at`; NULL if it is broken. */
static inline const struct hk_histogram *mem_histogram(struct hk_arena *arena, const char **at) {
    struct hk_histogram *made = hk_arena_alloc(arena, 1, sizeof(*made));
    double *counts[2] = { NULL, NULL };
    uint32_t sizes[2] = { 0, 0 };
    int32_t offsets[2] = { 0, 0 };
    if (made == NULL || strncmp(*at, "{{", 2) != 0) return NULL;
    *at += 2;
    for (;;) {
        while (**at == ' ')
            (*at)++;
        if (strncmp(*at, "}}", 2) == 0) break;
        char key[32];
        size_t len = 0;
        while (len < sizeof(key) - 1 && (isalpha((unsigned char)**at) || **at == '_'))
            key[len++] = *(*at)++;
        key[len] = 0;
        if (**at != ':') return NULL;
        (*at)++;
        if (strcmp(key, "buckets") == 0) {
            sizes[0] = mem_numbers(arena, at, &counts[0]);
            continue;
        }
        if (strcmp(key, "n_buckets") == 0) {
            sizes[1] = mem_numbers(arena, at, &counts[1]);
            continue;
        }
        if (strcmp(key, "custom_values") == 0) {
            double *bounds = NULL;
            made->custom_count = mem_numbers(arena, at, &bounds);
            made->custom_values = bounds;
            continue;
        }
        if (strcmp(key, "counter_reset_hint") == 0) {
            static const char *const hints[] = { "unknown", "reset", "not_reset", "gauge" };
            for (int i = 0; i < 4; i++) {
                size_t bytes = strlen(hints[i]);
                if (strncmp(*at, hints[i], bytes) != 0) continue;
                made->reset_hint = (enum hk_reset_hint)i;
                *at += bytes;
                break;
            }
            continue;
        }
        double number = 0;
        if (!mem_number(at, &number)) return NULL;
        if (strcmp(key, "schema") == 0)
            made->schema = (int32_t)number;
        else if (strcmp(key, "sum") == 0)
            made->sum = number;
        else if (strcmp(key, "count") == 0)
            made->count = number;
        else if (strcmp(key, "z_bucket") == 0)
            made->zero_count = number;
        else if (strcmp(key, "z_bucket_w") == 0)
            made->zero_threshold = number;
        else if (strcmp(key, "offset") == 0)
            offsets[0] = (int32_t)number;
        else if (strcmp(key, "n_offset") == 0)
            offsets[1] = (int32_t)number;
        else
            return NULL;
    }
    *at += 2;
    mem_side(arena, &made->positive, counts[0], sizes[0], offsets[0]);
    mem_side(arena, &made->negative, counts[1], sizes[1], offsets[1]);
    return made;
}

static inline bool mem_repeat(const char **at, long *out) {
    *out = 0;
    if (**at != 'x') return false;
    char *end = NULL;
    *out = strtol(*at + 1, &end, 10);
    *at = end;
    return true;
}

static inline bool
mem_histogram_token(struct hk_arena *arena, const char **at, struct mem_values *out) {
    const struct hk_histogram *histogram = mem_histogram(arena, at);
    const struct hk_histogram *step = NULL;
    long repeat = 0;
    if (histogram == NULL) return false;
    char sign = **at;
    if (sign == '+' || sign == '-') {
        (*at)++;
        step = mem_histogram(arena, at);
        if (step == NULL) return false;
    }
    (void)mem_repeat(at, &repeat);
    for (long i = 0; i <= repeat; i++) {
        mem_values_add(out, (struct mem_value){ false, 0, histogram });
        if (step != NULL &&
            hk_hist_add(arena, histogram, step, sign == '-', &histogram) != HIST_FITS)
            return false;
    }
    return true;
}

/* The values of the notation; false: broken. Free items with hk_mem_free. */
static inline bool
mem_values_parse(struct hk_arena *arena, const char *at, struct mem_values *out) {
    for (;;) {
        while (*at == ' ' || *at == '\t')
            at++;
        if (*at == 0) return true;
        if (strncmp(at, "{{", 2) == 0) {
            if (!mem_histogram_token(arena, &at, out)) return false;
            continue;
        }
        struct mem_value value = { false, 0, NULL };
        double step = 0;
        long repeat = 0;
        if (*at == '_') {
            at++;
            value.omitted = true;
            if (mem_repeat(&at, &repeat)) repeat--;
        } else if (strncmp(at, "stale", 5) == 0) {
            at += 5;
            value.value = hk_stale_value();
            (void)mem_repeat(&at, &repeat);
        } else {
            if (!mem_number(&at, &value.value)) return false;
            if ((*at == '+' || *at == '-') && !mem_number(&at, &step)) return false;
            (void)mem_repeat(&at, &repeat);
        }
        for (long i = 0; i <= repeat; i++) {
            mem_values_add(out, value);
            value.value += step;
        }
        if (*at != 0 && *at != ' ' && *at != '\t') return false;
    }
}

/* Bytes of the metric at the start of a line. */
static inline size_t mem_metric_bytes(const char *line) {
    size_t at = 0;
    while (line[at] != 0 && line[at] != ' ' && line[at] != '\t' && line[at] != '{')
        at++;
    if (line[at] != '{' || line[at + 1] == '{') return at;
    char quote = 0;
    for (; line[at] != 0; at++) {
        char c = line[at];
        if (quote != 0 && c == '\\' && quote != '`' && line[at + 1] != 0)
            at++;
        else if (quote != 0)
            quote = c == quote ? 0 : quote;
        else if (c == '"' || c == '\'' || c == '`')
            quote = c;
        else if (c == '}')
            return at + 1;
    }
    return at;
}

/* Labels of "metric{a="b"}" in the arena; false: broken. */
static inline bool mem_labels(struct hk_arena *arena, struct hk_str text, struct hk_labels *out) {
    struct hk_promql *promql = NULL;
    if (text.len == 0) {
        *out = (struct hk_labels){ NULL, 0 };
        return true;
    }
    if (hk_promql_parse_selector(text, arena, &promql) < 0) return false;
    struct hk_label_set *set = hk_arena_alloc(arena, 1, sizeof(*set));
    const struct hk_promql_node *root = promql->root;
    if (set == NULL) return false;
    hk_label_set_clear(set);
    for (uint32_t i = 0; i < root->selector.matcher_count; i++)
        hk_label_set_put(set, root->selector.matchers[i].name, root->selector.matchers[i].value);
    hk_promql_release(promql);
    return hk_label_set_finish(set, out) == HK_OK;
}

/* Loads one series line; the first value stands at 0, the others `step_ms` apart. */
static inline hk_err mem_source_load(struct mem_source *source, const char *line, int64_t step_ms) {
    struct hk_labels labels;
    struct mem_values values = { NULL, 0, 0 };
    while (*line == ' ' || *line == '\t')
        line++;
    size_t bytes = mem_metric_bytes(line);
    if (!mem_labels(&source->arena, (struct hk_str){ line, bytes }, &labels))
        return hk_fail(HK_E_MALFORMED, "broken series: %s", line);
    struct mem_series *series = mem_source_series(source, labels);
    bool fine = mem_values_parse(&source->arena, line + bytes, &values);
    for (uint32_t i = 0; fine && i < values.count; i++) {
        if (!values.items[i].omitted)
            mem_series_add(series, step_ms * i, values.items[i].value, values.items[i].histogram);
    }
    hk_mem_free(values.items);
    return fine ? HK_OK : hk_fail(HK_E_MALFORMED, "broken values: %s", line);
}

#endif
