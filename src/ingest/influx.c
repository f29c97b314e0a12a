/*
 * Influx line protocol. One pass over a line writes its entries; a bad line takes them back. A line
 * that does not fit behind other lines is begun again with an empty batch, so that this is always
 * possible.
 */
#include "ingest/influx.h"

#include "ingest/exposition_scan.h"
#include "ingest/reject.h"

#include <inttypes.h>
#include <math.h>

/* What a byte can end or begin. */
enum { COMMA = 1, EQUAL = 2, SPACE = 4, NEWLINE = 8, SLASH = 16, QUOTE = 32 };

static const uint8_t classes[256] = {
    [','] = COMMA, ['='] = EQUAL, [' '] = SPACE, ['\n'] = NEWLINE, ['\\'] = SLASH, ['"'] = QUOTE,
};

static const struct {
    const char *text;
    enum hk_influx_precision precision;
} precisions[] = {
    { "", HK_INFLUX_NS },
    { "n", HK_INFLUX_NS },
    { "ns", HK_INFLUX_NS },
    { "nanosecond", HK_INFLUX_NS },
    { "u", HK_INFLUX_US },
    { "us", HK_INFLUX_US },
    { "\xc2\xb5", HK_INFLUX_US },
    { "\xc2\xb5s", HK_INFLUX_US },
    { "microsecond", HK_INFLUX_US },
    { "ms", HK_INFLUX_MS },
    { "millisecond", HK_INFLUX_MS },
    { "s", HK_INFLUX_S },
    { "second", HK_INFLUX_S },
    { "m", HK_INFLUX_MIN },
    { "h", HK_INFLUX_HOUR },
    { "auto", HK_INFLUX_AUTO },
};

hk_err hk_influx_precision_parse(struct hk_str text, enum hk_influx_precision *out) {
    for (size_t i = 0; i < HK_COUNT(precisions); i++) {
        if (!hk_str_is(text, precisions[i].text)) continue;
        *out = precisions[i].precision;
        return HK_OK;
    }
    return hk_fail(HK_E_INVALID, "invalid precision: expected one of ns, us, ms, s, m, h");
}

void hk_influx_init(
    struct hk_influx *state, struct hk_str input, const struct hk_context *context,
    int64_t stamp_ms, enum hk_influx_precision precision) {
    *state = (struct hk_influx){
        .input = input,
        .line = 1,
        .context = context,
        .stamp_ms = stamp_ms,
        .precision = precision,
    };
}

static int64_t floor_div(int64_t value, int64_t by) {
    return value / by - (value % by < 0 ? 1 : 0);
}

/* Timestamp to milliseconds. False when it does not fit. */
static bool to_ms(int64_t value, enum hk_influx_precision precision, int64_t *out) {
    static const int64_t seconds_max = 5000000000; /* auto: seconds up to the year 2128 */
    static const int64_t factors[] = { [HK_INFLUX_MS] = 1,
                                       [HK_INFLUX_S] = 1000,
                                       [HK_INFLUX_MIN] = 60000,
                                       [HK_INFLUX_HOUR] = 3600000 };
    if (precision == HK_INFLUX_AUTO) {
        const int64_t size = value < 0 ? -(value + 1) : value;
        precision = size < seconds_max             ? HK_INFLUX_S
                    : size < seconds_max * 1000    ? HK_INFLUX_MS
                    : size < seconds_max * 1000000 ? HK_INFLUX_US
                                                   : HK_INFLUX_NS;
    }
    if (precision == HK_INFLUX_NS || precision == HK_INFLUX_US) {
        *out = floor_div(value, precision == HK_INFLUX_NS ? 1000000 : 1000);
        return true;
    }
    return !__builtin_mul_overflow(value, factors[precision], out);
}

/* The first byte of a class in `stops` that no backslash hides, or `end`. */
static const char *scan_until(const char *at, const char *end, unsigned stops) {
    for (; at < end; at++) {
        const unsigned class = classes[(unsigned char)*at];
        if (HK_LIKELY(class == 0)) continue;
        if (class & stops) return at;
        if (class == SLASH && end - at > 1 && at[1] != '\n') at++;
    }
    return end;
}

static bool is_at(const char *at, const char *end, char c) {
    return at < end && *at == c;
}

/* `measurement[,tag=value…]`: moves the scan to the blank behind it. */
static bool scan_series(struct hk_scan *scan) {
    const char *first = scan->at;
    scan->at = scan_until(first, scan->end, COMMA | SPACE | NEWLINE);
    if (scan->at == first) return hk_scan_miss(scan, "missing measurement");
    while (is_at(scan->at, scan->end, ',')) {
        const char *key = scan->at + 1;
        const char *equal = scan_until(key, scan->end, EQUAL | COMMA | SPACE | NEWLINE);
        if (equal == key) return hk_scan_miss(scan, "missing tag key");
        if (!is_at(equal, scan->end, '=')) return hk_scan_miss(scan, "missing tag value");
        const char *value = equal + 1;
        scan->at = scan_until(value, scan->end, EQUAL | COMMA | SPACE | NEWLINE);
        if (scan->at == value) return hk_scan_miss(scan, "missing tag value");
        if (is_at(scan->at, scan->end, '=')) return hk_scan_miss(scan, "invalid tag format");
    }
    if (!is_at(scan->at, scan->end, ' ')) return hk_scan_miss(scan, "missing fields");
    return true;
}

/* Moves past a string, which begins at the scan. */
static bool scan_string(struct hk_scan *scan) {
    const char *last = scan_until(scan->at + 1, scan->end, QUOTE);
    /* A backslash before a newline hides nothing, which is as well. */
    if (last == scan->end) return hk_scan_miss(scan, "unbalanced quotes");
    scan->at = last + 1;
    return true;
}

static bool read_bool(struct hk_str text, double *out) {
    static const char *const words[2][5] = { { "f", "F", "false", "False", "FALSE" },
                                             { "t", "T", "true", "True", "TRUE" } };
    for (size_t i = 0; i < 10; i++) {
        if (!hk_str_is(text, words[i / 5][i % 5])) continue;
        *out = (double)(i / 5);
        return true;
    }
    return false;
}

/* A field's value that is not a string. */
static bool read_value(struct hk_str text, double *out) {
    if (text.len == 0) return false;
    const char last = text.ptr[text.len - 1];
    const struct hk_str digits = hk_str_part(text, 0, text.len - 1);
    if (last == 'i') {
        int64_t value = 0;
        if (digits.len > 0 && digits.ptr[0] == '+') return false;
        if (hk_parse_i64(digits, &value) < 0) return false;
        *out = (double)value;
        return true;
    }
    if (last == 'u') {
        uint64_t value = 0;
        if (hk_parse_u64(digits, &value) < 0) return false;
        *out = (double)value;
        return true;
    }
    return (hk_scan_value(text, out) == HK_OK && isfinite(*out)) || read_bool(text, out);
}

/* One `key=value`; sets `is_string` or `value`. The scan ends behind it. */
static bool scan_field(struct hk_scan *scan, struct hk_str *key, double *value, bool *is_string) {
    const char *first = scan->at;
    const char *equal = scan_until(first, scan->end, EQUAL | COMMA | SPACE | NEWLINE);
    if (equal == first) return hk_scan_miss(scan, "missing field key");
    if (!is_at(equal, scan->end, '=')) return hk_scan_miss(scan, "missing field value");
    *key = (struct hk_str){ first, (size_t)(equal - first) };
    scan->at = equal + 1;
    *is_string = is_at(scan->at, scan->end, '"');
    if (*is_string) return scan_string(scan);
    scan->at = scan_until(equal + 1, scan->end, COMMA | SPACE | NEWLINE);
    struct hk_str text = { equal + 1, (size_t)(scan->at - equal - 1) };
    if (is_at(scan->at, scan->end, '\n') || scan->at == scan->end) {
        if (text.len > 0 && text.ptr[text.len - 1] == '\r') text.len--;
    }
    if (text.len == 0) return hk_scan_miss(scan, "missing field value");
    return read_value(text, value) || hk_scan_miss(scan, "invalid field value");
}

static void scan_spaces(struct hk_scan *scan) {
    while (is_at(scan->at, scan->end, ' '))
        scan->at++;
}

/* The optional timestamp and the end of the line. */
static bool scan_stamp(struct hk_scan *scan, const struct hk_influx *state, int64_t *out_ms) {
    scan_spaces(scan);
    const char *first = scan->at;
    scan->at = scan_until(first, scan->end, NEWLINE);
    const struct hk_str text = hk_str_trim((struct hk_str){ first, (size_t)(scan->at - first) });
    if (scan->at < scan->end) scan->at++;
    int64_t stamp = 0;
    *out_ms = state->stamp_ms;
    if (text.len == 0) return true;
    if (hk_parse_i64(text, &stamp) < 0) return hk_scan_miss(scan, "bad timestamp");
    return to_ms(stamp, state->precision, out_ms) || hk_scan_miss(scan, "timestamp out of range");
}

/* All of a line that is neither blank nor a comment. HK_OK, HK_FULL or HK_E_MALFORMED with the
 * scan's error; entries of an unfinished line are for the caller to take back. */
static hk_err read_line(struct hk_influx *state, struct hk_batch *batch, struct hk_scan *scan) {
    const uint32_t first = batch->count;
    const char *key = scan->at;
    uint64_t strings = 0;
    if (!scan_series(scan)) return HK_E_MALFORMED;
    const uint32_t key_bytes = (uint32_t)(scan->at - key);
    scan_spaces(scan);
    for (;;) {
        struct hk_str field;
        double value = 0;
        bool is_string = false;
        if (scan->at == scan->end || *scan->at == '\n' || *scan->at == '\r') {
            (void)hk_scan_miss(scan, "missing fields");
            return HK_E_MALFORMED;
        }
        if (!scan_field(scan, &field, &value, &is_string)) return HK_E_MALFORMED;
        if (is_string) {
            strings++;
        } else {
            if (batch->count == HK_BATCH_ENTRIES_MAX) return HK_FULL;
            batch->entries[batch->count++] = (struct hk_entry){
                .key = key,
                .key_bytes = key_bytes,
                .ref = HK_REF_NONE,
                .part = hk_hash64(field.ptr, field.len),
                .context = state->context,
                .value = value,
                .kind = HK_ENTRY_SET,
            };
        }
        if (!is_at(scan->at, scan->end, ',')) break;
        scan->at++;
    }
    if (scan->at < scan->end && *scan->at != ' ' && *scan->at != '\n' && *scan->at != '\r') {
        (void)hk_scan_miss(scan, "invalid field value"); /* behind a string */
        return HK_E_MALFORMED;
    }
    int64_t stamp_ms = 0;
    if (!scan_stamp(scan, state, &stamp_ms)) return HK_E_MALFORMED;
    for (uint32_t i = first; i < batch->count; i++)
        batch->entries[i].stamp_ms = stamp_ms;
    state->strings_skipped += strings;
    return HK_OK;
}

/* Notes why a line was refused. */
static void
reject(struct hk_influx *state, struct hk_batch *batch, struct hk_str text, const char *why) {
    static const char format[] = "line %" PRIu64 ": unable to parse '%s': %s";
    char excerpt[HK_SCAN_EXCERPT_BYTES_MAX + 1];
    (void)hk_scan_excerpt(text, excerpt);
    hk_batch_reject(batch, 1, format, state->line, excerpt, why);
    if (state->lines_bad++ == 0) state->line_first_bad = state->line;
    if (state->errors == NULL || state->lines_bad > HK_INFLUX_ERRORS_MAX) return;
    if (state->errors->len > 0) hk_buf_char(state->errors, '\n');
    hk_buf_printf(state->errors, format, state->line, excerpt, why);
}

/* Moves to `next`, a place behind the current line, and counts lines (strings may hold some). */
static void advance(struct hk_influx *state, const char *next) {
    const char *at = state->input.ptr + state->at;
    while (at < next) {
        const char *newline = memchr(at, '\n', (size_t)(next - at));
        if (newline == NULL) break;
        state->line++;
        at = newline + 1;
    }
    state->at = (size_t)(next - state->input.ptr);
}

static const char *line_end(struct hk_str input, size_t from) {
    const size_t newline = hk_str_find(input, '\n', from);
    return input.ptr + (newline < input.len ? newline + 1 : input.len);
}

static hk_err influx_parse(void *parser_state, struct hk_batch *batch) {
    struct hk_influx *state = parser_state;
    const struct hk_str input = state->input;
    if (input.len >= UINT32_MAX) return hk_fail(HK_E_LIMIT, "line protocol of 4 GiB or more");
    while (state->at < input.len) {
        size_t at = state->at;
        while (at < input.len && (input.ptr[at] == ' ' || input.ptr[at] == '\t'))
            at++;
        const char c = at < input.len ? input.ptr[at] : '\n';
        if (c == '#' || c == '\n' || c == '\r') {
            advance(state, line_end(input, at));
            continue;
        }
        if (batch->count == HK_BATCH_ENTRIES_MAX) return HK_FULL;
        const uint32_t first = batch->count;
        struct hk_scan scan = { input.ptr + at, input.ptr + input.len, NULL };
        const hk_err err = read_line(state, batch, &scan);
        if (err == HK_OK) {
            batch->points += batch->count - first;
            advance(state, scan.at);
            continue;
        }
        batch->count = first;
        if (err == HK_FULL && first > 0) return HK_FULL;
        reject(
            state, batch, hk_str_part(input, at, input.len),
            err == HK_FULL ? "more than 512 fields" : scan.error);
        advance(state, line_end(input, at));
    }
    return HK_OK;
}

/* The text without escapes; ptr NULL when out of memory. */
static struct hk_str unescape(struct hk_str text, struct hk_arena *arena) {
    if (hk_str_find(text, '\\', 0) == text.len) return text;
    char *copy = hk_arena_alloc_raw(arena, text.len + 1, 1);
    if (copy == NULL) return (struct hk_str){ NULL, 0 };
    size_t len = 0;
    for (size_t i = 0; i < text.len; i++) {
        const unsigned next = i + 1 < text.len ? classes[(unsigned char)text.ptr[i + 1]] : 0;
        if (text.ptr[i] == '\\' && (next & (COMMA | EQUAL | SPACE | SLASH)) != 0) i++;
        copy[len++] = text.ptr[i];
    }
    return (struct hk_str){ copy, len };
}

/* Finds the name of the field whose hash is `part` behind the series. */
static bool find_field(struct hk_scan *scan, uint64_t part, struct hk_str *out) {
    scan_spaces(scan);
    for (;;) {
        double value = 0;
        bool is_string = false;
        if (!scan_field(scan, out, &value, &is_string)) return false;
        if (!is_string && hk_hash64(out->ptr, out->len) == part) return true;
        if (!is_at(scan->at, scan->end, ',')) return false;
        scan->at++;
    }
}

/* Metric name of a measurement and a field. */
static struct hk_str
metric_name(struct hk_str measurement, struct hk_str field, struct hk_arena *arena) {
    measurement = unescape(measurement, arena);
    field = unescape(field, arena);
    if (measurement.ptr == NULL || field.ptr == NULL) return (struct hk_str){ NULL, 0 };
    if (hk_str_is(field, "value")) return measurement;
    char *name = hk_arena_alloc_raw(arena, measurement.len + 1 + field.len, 1);
    if (name == NULL) return (struct hk_str){ NULL, 0 };
    memcpy(name, measurement.ptr, measurement.len);
    name[measurement.len] = '_';
    memcpy(name + measurement.len + 1, field.ptr, field.len);
    return (struct hk_str){ name, measurement.len + 1 + field.len };
}

static hk_err influx_labels(
    void *parser_state, struct hk_batch *batch, const struct hk_entry *entry,
    struct hk_label_set *out) {
    const struct hk_influx *state = parser_state;
    const char *at = entry->key, *end = at + entry->key_bytes;
    const char *input_end = state->input.ptr + state->input.len;
    struct hk_scan behind = { end, input_end, NULL };
    struct hk_str field = { "", 0 };
    if (!find_field(&behind, entry->part, &field)) {
        return hk_fail(HK_E_MALFORMED, "line protocol: the field of a series is not in its line");
    }
    const char *last = scan_until(at, end, COMMA);
    const struct hk_str measurement = { at, (size_t)(last - at) };
    const struct hk_str name = metric_name(measurement, field, batch->arena);
    bool fine = name.ptr != NULL;
    hk_label_set_add(out, HK_STR("__name__"), name);
    while (last < end && fine) {
        const char *key = last + 1;
        const char *equal = scan_until(key, end, EQUAL);
        const char *value = equal < end ? equal + 1 : end;
        last = scan_until(value, end, COMMA);
        const struct hk_str label_name =
            unescape((struct hk_str){ key, (size_t)(equal - key) }, batch->arena);
        const struct hk_str label_value =
            unescape((struct hk_str){ value, (size_t)(last - value) }, batch->arena);
        fine = label_name.ptr != NULL && label_value.ptr != NULL;
        hk_label_set_add(out, label_name, label_value);
    }
    return fine ? HK_OK : hk_fail(HK_E_NOMEM, "line protocol: no memory for labels");
}

const struct hk_metric_parser hk_influx_parser = {
    .name = "influx",
    .parse = influx_parse,
    .labels = influx_labels,
};

void hk_influx_error_v1(
    struct hk_buf *out, struct hk_str detail, uint64_t points, uint64_t lines_bad) {
    struct hk_buf text;
    hk_buf_init(&text, 1 << 20);
    if (points > 0) hk_buf_text(&text, "partial write: ");
    hk_buf_str(&text, detail);
    if (points > 0) hk_buf_printf(&text, " dropped=%" PRIu64, lines_bad);
    hk_buf_text(out, "{\"error\":");
    hk_buf_json(out, hk_buf_get(&text));
    hk_buf_text(out, "}\n");
    hk_buf_deinit(&text);
}

void hk_influx_error_v2(
    struct hk_buf *out, const char *code, struct hk_str message, uint64_t line) {
    hk_buf_text(out, "{\"code\":");
    hk_buf_json(out, hk_str_from(code));
    hk_buf_text(out, ",\"message\":");
    hk_buf_json(out, message);
    if (line > 0) hk_buf_printf(out, ",\"line\":%" PRIu64, line);
    hk_buf_text(out, "}\n");
}
