/*
 * Runs query test files in the format of Prometheus' query tests:
 *
 *     load 5m
 *       metric{a="b"} 0+10x10
 *     eval instant at 50m sum(metric)
 *       {} 100
 *     eval range from 0 to 10m step 5m metric
 *       metric{a="b"} 0 10 20
 *     eval_fail, eval_warn, eval_info, eval_ordered; expect fail|warn|info|no_warn|no_info|ordered
 *     clear
 *
 * Every instant evaluation is checked a second time as the middle step of a range.
 */
#ifndef HK_PROMTEST_H
#define HK_PROMTEST_H

#include "mem_source.h"
#include "query/engine.h"
#include "query/json.h"

#include <stdio.h>

struct promtest {
    const char *path;
    unsigned line, evals, failures;
    struct mem_source source;
    int64_t load_step_ms;
    char *lines; /* the file, lines ended by NUL */
    size_t bytes, at;
};

struct promtest_eval {
    char expr[8192];
    int64_t start_ms, end_ms, step_ms;
    bool range, fail, warn, info, no_warn, no_info, ordered;
    unsigned line;
    char fail_text[2048], warn_text[2048], info_text[2048];
};

static inline void promtest_fail(
    struct promtest *test, const struct promtest_eval *eval, const char *what, const char *detail) {
    test->failures++;
    printf(
        "# %s:%u: %s\n#   %s: %s\n", test->path, eval == NULL ? test->line : eval->line,
        eval == NULL ? "" : eval->expr, what, detail);
}

/* As Prometheus compares: relative, NaN equals NaN. */
static inline bool promtest_close(double a, double b) {
    if (isnan(a) && isnan(b)) return true;
    if (a == b) return true;
    double sum = fabs(a) + fabs(b);
    double difference = fabs(a - b);
    if (a == 0 || b == 0 || sum < 2.2250738585072014e-308)
        return difference < 1e-6 * 2.2250738585072014e-308;
    return difference / fmin(sum, 1.7976931348623157e308) < 1e-6;
}

static inline bool promtest_same_histogram(
    struct hk_arena *arena, const struct hk_histogram *a, const struct hk_histogram *b) {
    const struct hk_histogram *x = NULL;
    const struct hk_histogram *y = NULL;
    if (hk_hist_compact(arena, a, &x) < 0 || hk_hist_compact(arena, b, &y) < 0) return false;
    if (x->schema != y->schema || !promtest_close(x->count, y->count) ||
        !promtest_close(x->sum, y->sum) || x->zero_threshold != y->zero_threshold ||
        !promtest_close(x->zero_count, y->zero_count) || x->custom_count != y->custom_count)
        return false;
    for (uint32_t i = 0; i < x->custom_count; i++) {
        if (x->custom_values[i] != y->custom_values[i]) return false;
    }
    const struct hk_histogram_side *sides[2][2] = { { &x->positive, &y->positive },
                                                    { &x->negative, &y->negative } };
    for (int i = 0; i < 2; i++) {
        const struct hk_histogram_side *l = sides[i][0];
        const struct hk_histogram_side *r = sides[i][1];
        if (l->count != r->count || l->span_count != r->span_count) return false;
        for (uint32_t k = 0; k < l->span_count; k++) {
            if (l->spans[k].offset != r->spans[k].offset ||
                l->spans[k].length != r->spans[k].length)
                return false;
        }
        for (uint32_t k = 0; k < l->count; k++) {
            if (!promtest_close(l->counts[k], r->counts[k])) return false;
        }
    }
    return true;
}

/* The next line, trimmed at its end; NULL at the end of the file. */
static inline char *promtest_line(struct promtest *test) {
    if (test->at >= test->bytes) return NULL;
    char *line = test->lines + test->at;
    test->at += strlen(line) + 1;
    test->line++;
    size_t len = strlen(line);
    while (len > 0 && isspace((unsigned char)line[len - 1]))
        line[--len] = 0;
    return line;
}

static inline char *promtest_skip(char *at) {
    while (*at == ' ' || *at == '\t')
        at++;
    return at;
}

/* Does the next line belong to the command before (indented or an expectation, not empty)? */
static inline char *promtest_inner(struct promtest *test) {
    for (;;) {
        if (test->at >= test->bytes) return NULL;
        char *line = test->lines + test->at;
        char *text = promtest_skip(line);
        if (*text == 0) return NULL;
        if (*text == '#') {
            (void)promtest_line(test);
            continue;
        }
        if (strncmp(text, "eval", 4) == 0 || strncmp(text, "load", 4) == 0 ||
            strcmp(text, "clear") == 0)
            return NULL;
        return promtest_skip(promtest_line(test));
    }
}

static inline int64_t promtest_time(const char *text) {
    int64_t ms = 0;
    double seconds = 0;
    bool negative = *text == '-';
    struct hk_str str = hk_str_from(negative ? text + 1 : text);
    if (hk_parse_double(str, &seconds) == HK_OK)
        ms = llround(seconds * 1000);
    else if (hk_parse_duration_ms(str, &ms) < 0)
        printf("# bad time %s\n", text);
    return negative ? -ms : ms;
}

/* Points of a result series at a time; the index or UINT32_MAX. */
static inline uint32_t promtest_point(const struct hk_query_series *series, int64_t stamp_ms) {
    for (uint32_t i = 0; i < series->count; i++) {
        if (series->stamps_ms[i] == stamp_ms) return i;
    }
    return UINT32_MAX;
}

struct promtest_want {
    struct hk_labels labels;
    struct mem_values values;
    bool scalar;
};

static inline void promtest_compare(
    struct promtest *test, const struct promtest_eval *eval, struct hk_arena *arena,
    const struct hk_query_result *result, const struct promtest_want *wants, uint32_t count,
    int64_t start_ms, int64_t step_ms, uint32_t steps) {
    uint32_t points = 0;
    struct hk_buf text;
    hk_buf_init(&text, 65536);
    hk_query_json(result, &text);
    hk_buf_char(&text, 0);
    const char *shown = hk_buf_get(&text).ptr;
    if (count == 1 && wants[0].scalar && result->type == HK_PROMQL_SCALAR) {
        if (!promtest_close(result->scalar, wants[0].values.items[0].value))
            promtest_fail(test, eval, "wrong scalar", shown);
        hk_buf_deinit(&text);
        return;
    }
    for (uint32_t i = 0; i < result->series_count; i++) {
        for (uint32_t s = 0; s < steps; s++)
            points += promtest_point(&result->series[i], start_ms + s * step_ms) != UINT32_MAX;
    }
    uint32_t wanted = 0;
    for (uint32_t w = 0; w < count; w++) {
        const struct hk_query_series *series = NULL;
        for (uint32_t i = 0; i < result->series_count && series == NULL; i++) {
            if (hk_labels_cmp(result->series[i].labels, wants[w].labels) == 0)
                series = &result->series[i];
        }
        if (eval->ordered && (w >= result->series_count || series != &result->series[w])) {
            promtest_fail(test, eval, "wrong order", shown);
            break;
        }
        for (uint32_t s = 0; s < wants[w].values.count && s < steps; s++) {
            const struct mem_value *value = &wants[w].values.items[s];
            if (value->omitted) continue;
            wanted++;
            uint32_t at =
                series == NULL ? UINT32_MAX : promtest_point(series, start_ms + s * step_ms);
            const struct hk_histogram *histogram =
                at == UINT32_MAX || series->histograms == NULL ? NULL : series->histograms[at];
            bool same = at != UINT32_MAX && (histogram != NULL) == (value->histogram != NULL);
            if (same && histogram != NULL)
                same = promtest_same_histogram(arena, histogram, value->histogram);
            else if (same)
                same = promtest_close(series->values[at], value->value);
            if (same) continue;
            struct hk_buf name;
            hk_buf_init(&name, 4096);
            hk_labels_format(wants[w].labels, &name);
            hk_buf_printf(&name, " step %u wanted %g, got ", s, value->value);
            hk_buf_text(&name, shown);
            hk_buf_char(&name, 0);
            promtest_fail(test, eval, "wrong point", hk_buf_get(&name).ptr);
            hk_buf_deinit(&name);
            goto out;
        }
    }
    if (wanted != points) promtest_fail(test, eval, "too many or too few points", shown);
out:
    hk_buf_deinit(&text);
}

/* Is the text (or, if it is empty, anything) among the annotations? */
static inline bool promtest_has(const struct hk_str *items, uint32_t count, const char *text) {
    for (uint32_t i = 0; i < count; i++) {
        if (text[0] == 0 || hk_str_is(items[i], text)) return true;
    }
    return false;
}

static inline void promtest_annotations(
    struct promtest *test, const struct promtest_eval *eval, const struct hk_query_result *result) {
    char none[] = "";
    if (eval->warn && result->warning_count == 0) promtest_fail(test, eval, "no warning", none);
    if (eval->info && result->info_count == 0) promtest_fail(test, eval, "no info", none);
    if (eval->no_warn && result->warning_count > 0)
        promtest_fail(test, eval, "warning", result->warnings[0].ptr);
    if (eval->no_info && result->info_count > 0)
        promtest_fail(test, eval, "info", result->infos[0].ptr);
}

static inline void promtest_run_eval(
    struct promtest *test, const struct promtest_eval *eval, const struct promtest_want *wants,
    uint32_t count) {
    struct hk_arena arena;
    struct hk_promql *promql = NULL;
    struct hk_query_result result = { 0 };
    const struct hk_query_options options = { .subquery_step_ms = 60000 };
    hk_arena_init(&arena, (size_t)256 << 20);
    test->evals++;
    hk_err err = hk_promql_parse(hk_str_from(eval->expr), &arena, &promql);
    if (err == HK_OK) {
        err = hk_query_run(
            &test->source.source, promql, eval->start_ms, eval->end_ms,
            eval->range ? eval->step_ms : 0, &options, &arena, &result);
    }
    if (eval->fail != (err < 0)) {
        promtest_fail(
            test, eval, err < 0 ? "failed" : "did not fail", err < 0 ? hk_fail_text() : "");
        goto out;
    }
    if (err < 0) {
        if (eval->fail_text[0] != 0 && strcmp(eval->fail_text, hk_fail_text()) != 0)
            promtest_fail(test, eval, "failed with another text", hk_fail_text());
        goto out;
    }
    promtest_annotations(test, eval, &result);
    uint32_t steps =
        eval->range ? (uint32_t)((eval->end_ms - eval->start_ms) / eval->step_ms) + 1 : 1;
    promtest_compare(
        test, eval, &arena, &result, wants, count, eval->start_ms, eval->step_ms, steps);
    bool number = result.type == HK_PROMQL_SCALAR || result.type == HK_PROMQL_VECTOR;
    if (!eval->range && number && !eval->ordered) {
        err = hk_query_run(
            &test->source.source, promql, eval->start_ms - 60000, eval->start_ms + 60000, 60000,
            &options, &arena, &result);
        if (err < 0)
            promtest_fail(test, eval, "failed as a range", hk_fail_text());
        else
            promtest_compare(test, eval, &arena, &result, wants, count, eval->start_ms, 60000, 1);
    }
out:
    if (test->source.open != 0) promtest_fail(test, eval, "selection left open", "");
    hk_promql_release(promql);
    hk_arena_deinit(&arena);
}

/* The text behind "msg:", if there is one; `out` has 2048 bytes. */
static inline void promtest_message(char *out, const char *text) {
    const char *message = strstr(text, "msg:");
    if (message != NULL) (void)snprintf(out, 2048, "%s", message + 5);
}

static inline void promtest_expect(struct promtest_eval *eval, const char *text) {
    if (strncmp(text, "fail", 4) == 0) {
        eval->fail = true;
        promtest_message(eval->fail_text, text);
    } else if (strncmp(text, "no_warn", 7) == 0) {
        eval->no_warn = true;
    } else if (strncmp(text, "no_info", 7) == 0) {
        eval->no_info = true;
    } else if (strncmp(text, "warn", 4) == 0) {
        eval->warn = true;
        promtest_message(eval->warn_text, text);
    } else if (strncmp(text, "info", 4) == 0) {
        eval->info = true;
        promtest_message(eval->info_text, text);
    } else if (strncmp(text, "ordered", 7) == 0) {
        eval->ordered = true;
    }
}

enum { PROMTEST_WANTS_MAX = 256 };

static inline void promtest_eval_body(struct promtest *test, struct promtest_eval *eval) {
    struct promtest_want *wants = hk_mem_alloc(PROMTEST_WANTS_MAX, sizeof(*wants));
    uint32_t count = 0;
    if (wants == NULL) abort();
    for (char *line = promtest_inner(test); line != NULL; line = promtest_inner(test)) {
        if (strncmp(line, "expect ", 7) == 0) {
            promtest_expect(eval, promtest_skip(line + 7));
            continue;
        }
        if (strncmp(line, "expected_fail_message", 21) == 0) {
            (void)snprintf(
                eval->fail_text, sizeof(eval->fail_text), "%s", promtest_skip(line + 21));
            continue;
        }
        if (strncmp(line, "expected_fail_regexp", 20) == 0) continue;
        if (count == PROMTEST_WANTS_MAX) break;
        struct promtest_want *want = &wants[count++];
        const char *rest = line;
        double number = 0;
        want->scalar = mem_number(&rest, &number) && *promtest_skip((char *)(uintptr_t)rest) == 0;
        if (want->scalar) {
            mem_values_add(&want->values, (struct mem_value){ false, number, NULL });
            continue;
        }
        size_t bytes = mem_metric_bytes(line);
        struct hk_str metric = { line, bytes };
        if (!mem_labels(&test->source.arena, metric, &want->labels) ||
            !mem_values_parse(&test->source.arena, line + bytes, &want->values))
            promtest_fail(test, eval, "broken expectation", line);
    }
    promtest_run_eval(test, eval, wants, count);
    for (uint32_t i = 0; i < count; i++)
        hk_mem_free(wants[i].values.items);
    hk_mem_free(wants);
}

/* The next word of `*at`, ended by NUL. */
static inline char *promtest_word(char **at) {
    char *word = promtest_skip(*at);
    char *end = word;
    while (*end != 0 && *end != ' ' && *end != '\t')
        end++;
    if (*end != 0) *end++ = 0;
    *at = end;
    return word;
}

static inline void promtest_eval(struct promtest *test, char *line) {
    struct promtest_eval eval = { .line = test->line, .step_ms = 1 };
    char *at = line;
    const char *command = promtest_word(&at);
    eval.fail = strcmp(command, "eval_fail") == 0;
    eval.warn = strcmp(command, "eval_warn") == 0;
    eval.info = strcmp(command, "eval_info") == 0;
    eval.ordered = strcmp(command, "eval_ordered") == 0;
    bool plain = strcmp(command, "eval") == 0 || eval.ordered;
    if (strcmp(promtest_word(&at), "range") == 0) {
        eval.range = true;
        (void)promtest_word(&at); /* from */
        eval.start_ms = promtest_time(promtest_word(&at));
        (void)promtest_word(&at); /* to */
        eval.end_ms = promtest_time(promtest_word(&at));
        (void)promtest_word(&at); /* step */
        eval.step_ms = promtest_time(promtest_word(&at));
    } else {
        (void)promtest_word(&at); /* at */
        eval.start_ms = eval.end_ms = promtest_time(promtest_word(&at));
    }
    (void)snprintf(eval.expr, sizeof(eval.expr), "%s", promtest_skip(at));
    eval.no_warn = plain;
    eval.no_info = plain;
    /* Expectations about annotations replace the rule that there are none. */
    size_t old_at = test->at;
    unsigned old_line = test->line;
    for (char *inner = promtest_inner(test); inner != NULL; inner = promtest_inner(test)) {
        if (strncmp(inner, "expect ", 7) == 0) eval.no_warn = eval.no_info = false;
    }
    test->at = old_at;
    test->line = old_line;
    promtest_eval_body(test, &eval);
}

/* Runs a file; false if anything differs. */
static inline bool promtest_run(const char *path, unsigned *out_evals) {
    struct promtest test = { .path = path };
    FILE *file = fopen(path, "rb");
    enum { BYTES_MAX = 4 << 20 };
    test.lines = hk_mem_alloc(BYTES_MAX, 1);
    if (file == NULL || test.lines == NULL) {
        printf("# cannot read %s\n", path);
        return false;
    }
    test.bytes = fread(test.lines, 1, BYTES_MAX - 1, file);
    (void)fclose(file);
    for (size_t i = 0; i < test.bytes; i++) {
        if (test.lines[i] == '\n') test.lines[i] = 0;
    }
    mem_source_init(&test.source);
    for (char *line = promtest_line(&test); line != NULL; line = promtest_line(&test)) {
        char *text = promtest_skip(line);
        if (*text == 0 || *text == '#') continue;
        if (strcmp(text, "clear") == 0) {
            mem_source_deinit(&test.source);
            mem_source_init(&test.source);
        } else if (strncmp(text, "load", 4) == 0) {
            char *at = text;
            const char *command = promtest_word(&at);
            int64_t step_ms = promtest_time(promtest_word(&at));
            if (strcmp(command, "load") != 0) printf("# %s: not supported: %s\n", path, command);
            for (char *inner = promtest_inner(&test); inner != NULL;
                 inner = promtest_inner(&test)) {
                if (mem_source_load(&test.source, inner, step_ms) < 0)
                    promtest_fail(&test, NULL, "load", hk_fail_text());
            }
        } else if (strncmp(text, "eval", 4) == 0) {
            promtest_eval(&test, text);
        } else {
            promtest_fail(&test, NULL, "unknown command", text);
        }
    }
    mem_source_deinit(&test.source);
    hk_mem_free(test.lines);
    *out_evals += test.evals;
    return test.failures == 0;
}

#endif
