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
    if (!hk_scan_series(scan, false, NULL, NULL)) return false;
    *entry = (struct hk_entry){
        .key = first,
        .key_bytes = (uint32_t)(scan->at - first),
        .ref = HK_REF_NONE,
        .part = state->part,
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

/* Behind "# HELP " or "# TYPE ". HK_FULL when there is no room: nothing was consumed. */
static hk_err
read_meta(struct hk_exposition *state, struct hk_scan *scan, struct hk_batch *batch, bool is_help) {
    struct hk_str name = { "", 0 };
    if (!hk_scan_meta_name(scan, false, batch->arena, &name)) {
        return scan->error == NULL ? HK_E_NOMEM : HK_E_MALFORMED;
    }
    if (hk_scan_meta_turn(&state->meta, name, batch) == HK_FULL) return HK_FULL;
    const struct hk_str text = hk_scan_meta_text(scan);
    const char *first = text.ptr;
    if (!is_help) {
        state->meta.type = known_type(hk_str_trim(text));
        state->part = hk_scan_part_of(state->meta.type);
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
    if (err == HK_OK) return hk_scan_meta_flush(&state->meta, batch);
    if (err == HK_E_NOMEM) return hk_fail(err, "exposition: too many escaped names and texts");
    return err == HK_FULL ? err : hk_scan_fail(input, scan.at, scan.error);
}

static hk_err exposition_labels(
    void *parser_state, struct hk_batch *batch, const struct hk_entry *entry,
    struct hk_label_set *out) {
    (void)parser_state;
    return hk_scan_key_labels(entry, false, batch->arena, out);
}

const struct hk_metric_parser hk_exposition_parser = {
    .name = "prometheus-text",
    .parse = exposition_parse,
    .labels = exposition_labels,
};
