/* Prometheus text format: one pass over the lines, nothing copied but escaped names and help. */
#include "ingest/exposition.h"

#include "ingest/exposition_scan.h"

void hk_exposition_init(
    struct hk_exposition *state, struct hk_str input, const struct hk_context *context,
    int64_t stamp_ms) {
    *state = (struct hk_exposition){ .input = input, .context = context, .stamp_ms = stamp_ms };
}

/* Moves past the newline or to the end; false when something else stands there. */
HK_SCAN_INLINE bool scan_line_end(struct hk_scan *scan) {
    if (scan->at == scan->end) return true;
    if (*scan->at != '\n') return false;
    scan->at++;
    return true;
}

/* `name`, `name{…}` or `{"name",…}`. */
HK_SCAN_INLINE bool
scan_series(struct hk_scan *scan, struct hk_label_set *out, struct hk_arena *arena) {
    const struct hk_str name = hk_scan_name(scan, true);
    if (name.len == 0 && !hk_scan_is(scan, '{')) {
        return hk_scan_miss(scan, "expected a metric name or '{'");
    }
    if (out != NULL && name.len > 0) hk_label_set_add(out, HK_STR("__name__"), name);
    const char *name_end = scan->at;
    hk_scan_blanks(scan);
    if (!hk_scan_is(scan, '{')) {
        scan->at = name_end; /* the key ends before the blanks */
        return true;
    }
    scan->at++;
    return hk_scan_labels(scan, false, name.len > 0, out, arena);
}

/* The optional stamp behind the value and the end of the line. */
HK_SCAN_INLINE bool scan_stamp(struct hk_scan *scan, bool ignore, int64_t *stamp_ms) {
    if (HK_LIKELY(scan_line_end(scan))) return true;
    hk_scan_blanks(scan);
    if (scan_line_end(scan)) return true;
    const char *first = scan->at;
    int64_t stamp = 0;
    if (hk_parse_i64(hk_scan_token(scan), &stamp) < 0) {
        scan->at = first;
        return hk_scan_miss(scan, "expected a timestamp in ms or a new line");
    }
    if (!ignore) *stamp_ms = stamp;
    hk_scan_blanks(scan);
    if (scan_line_end(scan)) return true;
    return hk_scan_miss(scan, "expected a new line behind the timestamp");
}

HK_SCAN_INLINE bool
scan_sample(const struct hk_exposition *state, struct hk_scan *scan, struct hk_entry *entry) {
    const char *first = scan->at;
    if (!scan_series(scan, NULL, NULL)) return false;
    *entry = (struct hk_entry){
        .key = first,
        .key_bytes = (uint32_t)(scan->at - first),
        .ref = HK_REF_NONE,
        .context = state->context,
        .stamp_ms = state->stamp_ms,
        .kind = HK_ENTRY_SET,
    };
    hk_scan_blanks(scan);
    const char *value = scan->at;
    if (HK_UNLIKELY(hk_scan_value(hk_scan_token(scan), &entry->value) < 0)) {
        scan->at = value;
        return hk_scan_miss(scan, "expected a value behind the series");
    }
    return scan_stamp(scan, state->ignore_stamps, &entry->stamp_ms);
}

static void skip_line(struct hk_scan *scan) {
    const char *newline = memchr(scan->at, '\n', (size_t)(scan->end - scan->at));
    scan->at = newline == NULL ? scan->end : newline + 1;
}

static const char *const types[] = { "counter", "gauge", "histogram", "summary" };

/* Name of a type that outlives the input; ptr NULL for one that the format does not know. */
static struct hk_str known_type(struct hk_str text) {
    for (size_t i = 0; i < HK_COUNT(types); i++) {
        if (hk_str_is(text, types[i])) return hk_str_from(types[i]);
    }
    if (hk_str_is(text, "untyped")) return HK_STR("unknown");
    return (struct hk_str){ NULL, 0 };
}

static hk_err flush_meta(struct hk_exposition *state, struct hk_batch *batch) {
    if (state->meta.metric.len == 0) return HK_OK;
    if (batch->meta_count == HK_BATCH_META_MAX) return HK_FULL;
    batch->metas[batch->meta_count++] = state->meta;
    state->meta = (struct hk_batch_meta){ { "", 0 }, { "", 0 }, { "", 0 }, { "", 0 } };
    return HK_OK;
}

/* The metric name of a HELP or TYPE line. A NULL error means out of memory. */
static bool scan_meta_name(struct hk_scan *scan, struct hk_arena *arena, struct hk_str *out) {
    const char *first = scan->at;
    struct hk_scan_quoted name = { hk_scan_name(scan, true), false };
    if (name.raw.len == 0 && hk_scan_is(scan, '"') && !hk_scan_quoted(scan, false, &name)) {
        return false;
    }
    const bool ended =
        scan->at == scan->end || *scan->at == ' ' || *scan->at == '\t' || *scan->at == '\n';
    if (name.raw.len == 0 || !ended) {
        scan->at = first;
        return hk_scan_miss(scan, "expected a metric name behind HELP or TYPE");
    }
    *out = hk_scan_unescape(name, true, arena);
    return out->ptr != NULL;
}

/* Behind "# HELP " or "# TYPE ". HK_FULL when there is no room: nothing was consumed. */
static hk_err
read_meta(struct hk_exposition *state, struct hk_scan *scan, struct hk_batch *batch, bool is_help) {
    struct hk_str name = { "", 0 };
    if (!scan_meta_name(scan, batch->arena, &name)) {
        return scan->error == NULL ? HK_E_NOMEM : HK_E_MALFORMED;
    }
    if (!hk_str_eq(state->meta.metric, name)) {
        if (flush_meta(state, batch) == HK_FULL) return HK_FULL;
        state->meta.metric = name;
    }
    if (scan->at < scan->end && *scan->at != '\n') scan->at++; /* one blank */
    const char *first = scan->at;
    skip_line(scan);
    struct hk_str text = { first, (size_t)(scan->at - first) };
    if (text.len > 0 && text.ptr[text.len - 1] == '\n') text.len--;
    if (!is_help) {
        state->meta.type = known_type(hk_str_trim(text));
        if (state->meta.type.ptr != NULL) return HK_OK;
        scan->at = first;
        (void)hk_scan_miss(scan, "expected counter, gauge, histogram, summary or untyped");
        return HK_E_MALFORMED;
    }
    if (!hk_utf8_valid(text)) {
        scan->at = first;
        (void)hk_scan_miss(scan, "help that is not valid UTF-8");
        return HK_E_MALFORMED;
    }
    const bool escaped = hk_str_find(text, '\\', 0) < text.len;
    state->meta.help =
        hk_scan_unescape((struct hk_scan_quoted){ text, escaped }, false, batch->arena);
    return state->meta.help.ptr == NULL ? HK_E_NOMEM : HK_OK;
}

/* A line that begins with '#': HELP, TYPE or a comment of no meaning. */
static hk_err
read_comment(struct hk_exposition *state, struct hk_scan *scan, struct hk_batch *batch) {
    scan->at++;
    const char *word = scan->at;
    hk_scan_blanks(scan);
    const size_t left = (size_t)(scan->end - scan->at);
    const bool is_help = left > 4 && memcmp(scan->at, "HELP", 4) == 0;
    const bool is_type = left > 4 && memcmp(scan->at, "TYPE", 4) == 0;
    if (scan->at == word || !(is_help || is_type) || !(scan->at[4] == ' ' || scan->at[4] == '\t')) {
        skip_line(scan);
        return HK_OK;
    }
    scan->at += 4;
    hk_scan_blanks(scan);
    return read_meta(state, scan, batch, is_help);
}

/* One line that is not a sample. */
static hk_err
read_other(struct hk_exposition *state, struct hk_scan *scan, struct hk_batch *batch) {
    if (*scan->at == '#') return read_comment(state, scan, batch);
    scan->at++; /* newline */
    return HK_OK;
}

static hk_err exposition_parse(void *parser_state, struct hk_batch *batch) {
    struct hk_exposition *state = parser_state;
    const struct hk_str input = state->input;
    if (input.len >= UINT32_MAX) return hk_fail(HK_E_LIMIT, "exposition of 4 GiB or more");
    struct hk_scan scan = { input.ptr + state->at, input.ptr + input.len, NULL };
    hk_err err = HK_OK;
    for (;;) {
        state->at = (size_t)(scan.at - input.ptr);
        hk_scan_blanks(&scan);
        if (scan.at == scan.end) break;
        if (HK_UNLIKELY(*scan.at == '#' || *scan.at == '\n')) {
            err = read_other(state, &scan, batch);
            if (err != HK_OK) break;
            continue;
        }
        if (batch->count == HK_BATCH_ENTRIES_MAX) return HK_FULL;
        if (HK_UNLIKELY(!scan_sample(state, &scan, &batch->entries[batch->count]))) {
            err = HK_E_MALFORMED;
            break;
        }
        batch->count++;
        batch->points++;
    }
    if (err == HK_OK) return flush_meta(state, batch);
    if (err == HK_E_NOMEM) return hk_fail(err, "exposition: too many escaped names and texts");
    return err == HK_FULL ? err : hk_scan_fail(input, scan.at, scan.error);
}

static hk_err exposition_labels(
    void *parser_state, struct hk_batch *batch, const struct hk_entry *entry,
    struct hk_label_set *out) {
    (void)parser_state;
    struct hk_scan scan = { entry->key, (const char *)entry->key + entry->key_bytes, NULL };
    if (!scan_series(&scan, out, batch->arena)) {
        if (scan.error == NULL) return hk_fail(HK_E_NOMEM, "labels: out of memory");
        return hk_fail(HK_E_MALFORMED, "series: %s", scan.error);
    }
    return HK_OK;
}

const struct hk_metric_parser hk_exposition_parser = {
    .name = "prometheus-text",
    .parse = exposition_parse,
    .labels = exposition_labels,
};
