/*
 * Scanning shared by the Prometheus text format and OpenMetrics: names, quoted strings and the
 * label block, checked where they stand, without copies. Tokens are short and of varying length,
 * so 16 bytes are compared at a time: a loop over bytes would pay a wrong branch at each end.
 * Pure; bytes at or past `end` are never read.
 */
#ifndef HK_INGEST_EXPOSITION_SCAN_H
#define HK_INGEST_EXPOSITION_SCAN_H

#include "model/batch.h"

#if defined(__SSE2__) && !defined(HK_SIMD_NONE)
#include <emmintrin.h>
#define HK_SCAN_SSE2 1
#else
#define HK_SCAN_SSE2 0
#endif

#define HK_SCAN_INLINE static inline __attribute__((always_inline))

/* Where the scan stands, and what it missed there. */
struct hk_scan {
    const char *at, *end;
    const char *error; /* constant text once a read has failed, else NULL */
};

/* A quoted string without its quotes. */
struct hk_scan_quoted {
    struct hk_str raw;
    bool escaped; /* holds a backslash */
};

/* Is it [a-zA-Z0-9_], or ':' if `metric`? */
static inline bool hk_scan_is_name_char(char c, bool metric) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           (c == ':' && metric);
}

/* The end of the run of [a-zA-Z0-9_], and ':' if `metric`, that begins at `at`. */
HK_SCAN_INLINE const char *hk_scan_name_end(const char *at, const char *end, bool metric) {
#if HK_SCAN_SSE2
    const __m128i case_bit = _mm_set1_epi8(0x20), under = _mm_set1_epi8('_');
    const __m128i letter_first = _mm_set1_epi8('a'), letter_span = _mm_set1_epi8('z' - 'a');
    const __m128i digit_first = _mm_set1_epi8('0'), digit_span = _mm_set1_epi8(metric ? 10 : 9);
    while (end - at >= 16) {
        const __m128i text = _mm_loadu_si128((const __m128i *)(const void *)at);
        /* x <= span, unsigned, is min(x, span) == x. */
        __m128i letter = _mm_sub_epi8(_mm_or_si128(text, case_bit), letter_first);
        __m128i digit = _mm_sub_epi8(text, digit_first);
        letter = _mm_cmpeq_epi8(_mm_min_epu8(letter, letter_span), letter);
        digit = _mm_cmpeq_epi8(_mm_min_epu8(digit, digit_span), digit);
        const __m128i fine = _mm_or_si128(_mm_or_si128(letter, digit), _mm_cmpeq_epi8(text, under));
        const unsigned other = ~(unsigned)_mm_movemask_epi8(fine) & 0xffffU;
        if (HK_LIKELY(other != 0)) return at + __builtin_ctz(other);
        at += 16;
    }
#endif
    while (at < end && hk_scan_is_name_char(*at, metric))
        at++;
    return at;
}

/*
 * The first '"', '\\' or, if `line`, '\n' at or after `at`; `end` if there is none. Sets `*high`
 * when a byte before it is not ASCII (it may also do so for bytes shortly behind: a hint).
 */
HK_SCAN_INLINE const char *
hk_scan_quote_end(const char *at, const char *end, bool line, bool *high) {
#if HK_SCAN_SSE2
    const __m128i quote = _mm_set1_epi8('"'), slash = _mm_set1_epi8('\\');
    const __m128i newline = _mm_set1_epi8('\n');
    while (end - at >= 16) {
        const __m128i text = _mm_loadu_si128((const __m128i *)(const void *)at);
        __m128i hit = _mm_or_si128(_mm_cmpeq_epi8(text, quote), _mm_cmpeq_epi8(text, slash));
        if (line) hit = _mm_or_si128(hit, _mm_cmpeq_epi8(text, newline));
        if (HK_UNLIKELY(_mm_movemask_epi8(text) != 0)) *high = true;
        const unsigned hits = (unsigned)_mm_movemask_epi8(hit);
        if (HK_LIKELY(hits != 0)) return at + __builtin_ctz(hits);
        at += 16;
    }
#endif
    for (; at < end && *at != '"' && *at != '\\' && !(line && *at == '\n'); at++) {
        if ((unsigned char)*at >= 0x80) *high = true;
    }
    return at;
}

/* The first space, tab or newline at or after `at`; `end` if there is none. */
HK_SCAN_INLINE const char *hk_scan_token_end(const char *at, const char *end) {
#if HK_SCAN_SSE2
    const __m128i space = _mm_set1_epi8(' '), tab = _mm_set1_epi8('\t');
    const __m128i newline = _mm_set1_epi8('\n');
    while (end - at >= 16) {
        const __m128i text = _mm_loadu_si128((const __m128i *)(const void *)at);
        const __m128i blank = _mm_or_si128(_mm_cmpeq_epi8(text, space), _mm_cmpeq_epi8(text, tab));
        const unsigned hits =
            (unsigned)_mm_movemask_epi8(_mm_or_si128(blank, _mm_cmpeq_epi8(text, newline)));
        if (HK_LIKELY(hits != 0)) return at + __builtin_ctz(hits);
        at += 16;
    }
#endif
    while (at < end && *at != ' ' && *at != '\t' && *at != '\n')
        at++;
    return at;
}

/* Moves past spaces and tabs. */
HK_SCAN_INLINE void hk_scan_blanks(struct hk_scan *scan) {
    while (scan->at < scan->end && (*scan->at == ' ' || *scan->at == '\t'))
        scan->at++;
}

/* Text up to the next blank or newline; moves there. */
HK_SCAN_INLINE struct hk_str hk_scan_token(struct hk_scan *scan) {
    const char *first = scan->at;
    scan->at = hk_scan_token_end(first, scan->end);
    return (struct hk_str){ first, (size_t)(scan->at - first) };
}

/* Is the next byte `c`? */
HK_SCAN_INLINE bool hk_scan_is(const struct hk_scan *scan, char c) {
    return scan->at < scan->end && *scan->at == c;
}

/* Notes what is wrong at the place where the scan stands. Always false. */
static inline bool hk_scan_miss(struct hk_scan *scan, const char *error) {
    scan->error = error;
    return false;
}

/*
 * Reads "…" at the scan's place: any bytes of UTF-8, a backslash hides the byte behind it; a
 * newline must be escaped if `line`. False with `error` set when it is not well formed.
 */
HK_SCAN_INLINE bool hk_scan_quoted(struct hk_scan *scan, bool line, struct hk_scan_quoted *out) {
    if (HK_UNLIKELY(!hk_scan_is(scan, '"'))) return hk_scan_miss(scan, "expected a quoted string");
    const char *first = scan->at + 1, *at = first;
    bool high = false;
    out->escaped = false;
    for (;;) {
        at = hk_scan_quote_end(at, scan->end, line, &high);
        if (HK_UNLIKELY(at == scan->end || *at == '\n')) {
            return hk_scan_miss(scan, "a quoted string without its end");
        }
        if (HK_LIKELY(*at == '"')) break;
        out->escaped = true;
        if (scan->end - at < 2 || (line && at[1] == '\n')) {
            return hk_scan_miss(scan, "a quoted string without its end");
        }
        high = high || (unsigned char)at[1] >= 0x80;
        at += 2;
    }
    out->raw = (struct hk_str){ first, (size_t)(at - first) };
    if (HK_UNLIKELY(high) && !hk_utf8_valid(out->raw)) {
        return hk_scan_miss(scan, "a string that is not valid UTF-8");
    }
    scan->at = at + 1;
    return true;
}

/* The name [a-zA-Z_][a-zA-Z0-9_]*, with colons if `metric`; empty when there is none. */
HK_SCAN_INLINE struct hk_str hk_scan_name(struct hk_scan *scan, bool metric) {
    const char *first = scan->at;
    if (first == scan->end || (*first >= '0' && *first <= '9')) return (struct hk_str){ first, 0 };
    scan->at = hk_scan_name_end(first, scan->end, metric);
    return (struct hk_str){ first, (size_t)(scan->at - first) };
}

/*
 * Resolves \\, \n and, if `quotes`, \"; an unknown escape stays as it is (Prometheus reads them
 * so). Borrows the text when nothing is escaped, else copies to `arena`; `ptr` NULL when that is
 * full.
 */
struct hk_str hk_scan_unescape(struct hk_scan_quoted text, bool quotes, struct hk_arena *arena);

/* Puts a name and a value, which may need unescaping, into `out`. False: out of memory. */
bool hk_scan_add_label(
    struct hk_label_set *out, struct hk_arena *arena, struct hk_scan_quoted name,
    struct hk_scan_quoted value);

/*
 * Reads the label block behind its '{' up to and past its '}'. `has_name`: the metric name stood
 * before it; otherwise a quoted name must stand inside. `strict` is OpenMetrics: no blanks, commas
 * between labels. Adds to `out` unless it is NULL. False with `error` set; a NULL error then means
 * out of memory.
 */
HK_SCAN_INLINE bool hk_scan_labels(
    struct hk_scan *scan, bool strict, bool has_name, struct hk_label_set *out,
    struct hk_arena *arena) {
    for (;;) {
        struct hk_scan_quoted name = { { "", 0 }, false }, value;
        if (!strict) hk_scan_blanks(scan);
        if (hk_scan_is(scan, '}')) {
            if (!has_name) return hk_scan_miss(scan, "a series without a metric name");
            scan->at++;
            return true;
        }
        const bool quoted = hk_scan_is(scan, '"');
        if (quoted) {
            if (!hk_scan_quoted(scan, strict, &name)) return false;
        } else {
            name.raw = hk_scan_name(scan, false);
        }
        if (name.raw.len == 0) return hk_scan_miss(scan, "expected a label name");
        if (!strict) hk_scan_blanks(scan);
        if (quoted && (hk_scan_is(scan, ',') || hk_scan_is(scan, '}'))) {
            if (has_name) return hk_scan_miss(scan, "a second metric name");
            has_name = true;
            if (hk_scan_is(scan, ',')) scan->at++;
            const struct hk_scan_quoted key = { HK_STR("__name__"), false };
            if (out != NULL && !hk_scan_add_label(out, arena, key, name)) return false;
            continue;
        }
        if (!hk_scan_is(scan, '=')) return hk_scan_miss(scan, "expected '=' behind a label name");
        scan->at++;
        if (!strict) hk_scan_blanks(scan);
        if (!hk_scan_quoted(scan, strict, &value)) return false;
        if (out != NULL && !hk_scan_add_label(out, arena, name, value)) return false;
        if (!strict) hk_scan_blanks(scan);
        if (hk_scan_is(scan, ',')) {
            scan->at++;
        } else if (strict && !hk_scan_is(scan, '}')) {
            return hk_scan_miss(scan, "expected ',' or '}' behind a label value");
        }
    }
}

/*
 * A series: `name`, `name{…}` or `{"name",…}`, to its last byte. Parameters and result as of
 * hk_scan_labels.
 */
HK_SCAN_INLINE bool hk_scan_series(
    struct hk_scan *scan, bool strict, struct hk_label_set *out, struct hk_arena *arena) {
    const struct hk_str name = hk_scan_name(scan, true);
    if (HK_UNLIKELY(name.len == 0) && !hk_scan_is(scan, '{')) {
        return hk_scan_miss(scan, "expected a metric name or '{'");
    }
    if (out != NULL && name.len > 0) hk_label_set_add(out, HK_STR("__name__"), name);
    const char *name_end = scan->at;
    if (!strict) hk_scan_blanks(scan);
    if (!hk_scan_is(scan, '{')) {
        scan->at = name_end; /* the key ends before the blanks */
        return true;
    }
    scan->at++;
    return hk_scan_labels(scan, strict, name.len > 0, out, arena);
}

/* `part` of a text entry: the label of its family's type that holds a number. */
enum { HK_SCAN_PART_PLAIN, HK_SCAN_PART_BUCKET, HK_SCAN_PART_QUANTILE };

/* The part for samples behind a TYPE line of that type. */
uint64_t hk_scan_part_of(struct hk_str type);

/*
 * Adds the labels of an entry whose key is a series; `le` and `quantile` in canonical form, as the
 * part says. HK_E_MALFORMED, HK_E_NOMEM with a text.
 */
hk_err hk_scan_key_labels(
    const struct hk_entry *entry, bool strict, struct hk_arena *arena,
    struct hk_label_set *out) HK_MUST_CHECK;

/*
 * The metric name of a metadata line, classic or quoted, up to the blank behind it. False with
 * `error` set; a NULL error means out of memory.
 */
bool hk_scan_meta_name(
    struct hk_scan *scan, bool strict, struct hk_arena *arena, struct hk_str *out);

/* The rest of a metadata line behind its one blank; moves past the newline. */
struct hk_str hk_scan_meta_text(struct hk_scan *scan);

/* Hands out a gathered meta, if any, and empties it. HK_FULL: no room in the batch. */
hk_err hk_scan_meta_flush(struct hk_batch_meta *meta, struct hk_batch *batch);

/* Makes `meta` that of metric `name`: hands out the one of another metric first. HK_FULL. */
hk_err hk_scan_meta_turn(struct hk_batch_meta *meta, struct hk_str name, struct hk_batch *batch);

/*
 * A sample value: Go's ParseFloat without hexadecimal numbers, and no number beyond the doubles
 * (Prometheus refuses both). HK_E_MALFORMED.
 */
hk_err hk_scan_value(struct hk_str text, double *out) HK_MUST_CHECK;

enum { HK_SCAN_EXCERPT_BYTES_MAX = 80 };

/* The beginning of a line for a message: printable bytes up to a newline, others as '?'. `out` has
 * HK_SCAN_EXCERPT_BYTES_MAX + 1 bytes; returns `out`. */
const char *hk_scan_excerpt(struct hk_str text, char *out);

/*
 * "line <n>: <what>, got \"<excerpt>\"" as this thread's error; `at` is a place in `input`.
 * Returns HK_E_MALFORMED. Costs a pass over the input.
 */
hk_err hk_scan_fail(struct hk_str input, const char *at, const char *what);

#endif
