/* OpenMetrics text: as the Prometheus format, stricter, with exemplars and an end mark. */
#include "ingest/openmetrics.h"

#include "ingest/exposition_scan.h"
#include "model/exemplar.h"

#include <math.h>

void hk_openmetrics_init(
    struct hk_openmetrics *state, struct hk_str input, const struct hk_context *context,
    int64_t stamp_ms) {
    *state = (struct hk_openmetrics){ .input = input, .context = context, .stamp_ms = stamp_ms };
}

/* Moves past `c`; false when something else stands there. */
HK_SCAN_INLINE bool scan_char(struct hk_scan *scan, char c) {
    if (!hk_scan_is(scan, c)) return false;
    scan->at++;
    return true;
}

/* ` value`. */
HK_SCAN_INLINE bool scan_number(struct hk_scan *scan, double *out, const char *error) {
    const char *first = scan->at;
    if (scan_char(scan, ' ') && hk_scan_value(hk_scan_token(scan), out) == HK_OK) return true;
    scan->at = first;
    return hk_scan_miss(scan, error);
}

/* Seconds, whole or with a fraction, to ms without a detour over a double where it is a plain
 * decimal; otherwise truncated as Prometheus does. */
static bool seconds_to_ms(struct hk_str text, int64_t *out_ms) {
    const size_t point = hk_str_find(text, '.', 0);
    struct hk_str fraction = hk_str_part(text, point + 1, text.len);
    int64_t seconds = 0;
    uint64_t parts = 0;
    if (fraction.len <= 18 && (fraction.len == 0 || hk_parse_u64(fraction, &parts) == HK_OK) &&
        hk_parse_i64(hk_str_part(text, 0, point), &seconds) == HK_OK) {
        for (size_t len = fraction.len; len < 3; len++)
            parts *= 10;
        for (size_t len = fraction.len; len > 3; len--)
            parts /= 10;
        const int64_t ms = text.ptr[0] == '-' ? -(int64_t)parts : (int64_t)parts;
        return !__builtin_mul_overflow(seconds, (int64_t)1000, out_ms) &&
               !__builtin_add_overflow(*out_ms, ms, out_ms);
    }
    double value = 0;
    if (hk_scan_value(text, &value) < 0) return false;
    value *= 1000;
    if (!(value > -0x1p63 && value < 0x1p63)) return false;
    *out_ms = (int64_t)value;
    return true;
}

/* ` timestamp`, unless what follows is no blank or an exemplar. */
static bool scan_stamp(struct hk_scan *scan, int64_t *out_ms) {
    const char *first = scan->at;
    if (!hk_scan_is(scan, ' ') || (scan->end - first > 1 && first[1] == '#')) return true;
    scan->at++;
    int64_t stamp_ms = 0;
    if (!seconds_to_ms(hk_scan_token(scan), &stamp_ms)) {
        scan->at = first;
        return hk_scan_miss(scan, "expected a timestamp in seconds");
    }
    *out_ms = stamp_ms;
    return true;
}

bool hk_openmetrics_exemplar_fits(struct hk_labels labels) {
    size_t chars = 0;
    for (uint32_t i = 0; i < labels.count; i++) {
        const struct hk_str parts[] = { labels.items[i].name, labels.items[i].value };
        for (size_t k = 0; k < HK_COUNT(parts); k++) {
            for (size_t at = 0; at < parts[k].len; at++)
                chars += ((unsigned char)parts[k].ptr[at] & 0xc0) != 0x80;
        }
    }
    return chars <= HK_OPENMETRICS_EXEMPLAR_CHARS_MAX;
}

/* ` # {…} value [timestamp]`, the scan being at the first blank. Adds the entry behind its sample.
 * A NULL error means out of memory. */
static bool
scan_exemplar(struct hk_openmetrics *state, struct hk_scan *scan, struct hk_batch *batch) {
    struct hk_label_set set;
    struct hk_exemplar exemplar = { .stamp_ms = HK_EXEMPLAR_NO_STAMP };
    if (scan->end - scan->at < 4 || memcmp(scan->at, " # {", 4) != 0) {
        return hk_scan_miss(scan, "expected a new line or ' # {' and an exemplar");
    }
    scan->at += 4;
    hk_label_set_clear(&set);
    if (!hk_scan_labels(scan, true, true, &set, batch->arena)) return false;
    if (!scan_number(scan, &exemplar.value, "expected the exemplar's value")) return false;
    if (!scan_stamp(scan, &exemplar.stamp_ms)) return false;
    struct hk_str payload = { "", 0 };
    hk_err err = hk_label_set_finish(&set, &exemplar.labels);
    if (err == HK_OK && !hk_openmetrics_exemplar_fits(exemplar.labels)) err = HK_E_LIMIT;
    if (err == HK_OK) err = hk_exemplar_encode(&exemplar, batch->arena, &payload);
    if (err == HK_E_NOMEM) return false;
    if (err < 0) {
        state->exemplars_rejected++;
        return true;
    }
    struct hk_entry *entry = &batch->entries[batch->count];
    *entry = entry[-1];
    entry->kind = HK_ENTRY_EXEMPLAR;
    entry->value = exemplar.value;
    /* Else the sample's stays. */
    if (exemplar.stamp_ms != HK_EXEMPLAR_NO_STAMP) entry->stamp_ms = exemplar.stamp_ms;
    entry->payload = payload.ptr;
    entry->payload_bytes = (uint32_t)payload.len;
    batch->count++;
    return true;
}

/* A sample line; there is room for two entries. */
static bool
scan_sample(struct hk_openmetrics *state, struct hk_scan *scan, struct hk_batch *batch) {
    const char *first = scan->at;
    if (!hk_scan_series(scan, true, NULL, NULL)) return false;
    struct hk_entry *entry = &batch->entries[batch->count];
    *entry = (struct hk_entry){
        .key = first,
        .key_bytes = (uint32_t)(scan->at - first),
        .ref = HK_REF_NONE,
        .part = state->part,
        .context = state->context,
        .kind = HK_ENTRY_SET,
    };
    if (!scan_number(scan, &entry->value, "expected ' ' and a value behind the series")) {
        return false;
    }
    int64_t stamp_ms = state->stamp_ms;
    if (!scan_stamp(scan, &stamp_ms)) return false;
    entry->stamp_ms = state->ignore_stamps ? state->stamp_ms : stamp_ms;
    if (HK_LIKELY(scan_char(scan, '\n'))) {
        batch->count++;
        batch->points++;
        return true;
    }
    batch->count++;
    const bool fine = scan_exemplar(state, scan, batch);
    if (fine && scan_char(scan, '\n')) {
        batch->points++;
        return true;
    }
    batch->count = (uint32_t)(entry - batch->entries);
    return !fine ? false : hk_scan_miss(scan, "expected a new line behind the exemplar");
}

static const char *const types[] = { "counter", "gauge",    "histogram", "gaugehistogram",
                                     "summary", "stateset", "info",      "unknown" };

/* `# UNIT name unit`: the name ends in `_unit`. */
static bool unit_fits(struct hk_str name, struct hk_str unit) {
    return unit.len == 0 || (hk_str_ends(name, unit) && name.len > unit.len &&
                             name.ptr[name.len - unit.len - 1] == '_');
}

/* Sets one field of the meta. NULL, or what is wrong; `*nomem` when it is memory. */
static const char *set_meta(
    struct hk_batch_meta *meta, char word, struct hk_str text, struct hk_arena *arena,
    bool *nomem) {
    if (word == 'T') {
        for (size_t i = 0; i < HK_COUNT(types); i++) {
            if (!hk_str_is(text, types[i])) continue;
            meta->type = hk_str_from(types[i]);
            return NULL;
        }
        return "expected counter, gauge, histogram, gaugehistogram, summary, stateset, info or "
               "unknown";
    }
    if (!hk_utf8_valid(text)) return "a text that is not valid UTF-8";
    if (word == 'U') {
        if (!unit_fits(meta->metric, text)) return "a unit that is no suffix of the metric's name";
        meta->unit = text;
        return NULL;
    }
    const bool escaped = hk_str_find(text, '\\', 0) < text.len;
    meta->help = hk_scan_unescape((struct hk_scan_quoted){ text, escaped }, true, arena);
    *nomem = meta->help.ptr == NULL;
    return NULL;
}

/* `# EOF`, behind its last letter: nothing but a newline may follow. */
static hk_err read_end(struct hk_openmetrics *state, struct hk_scan *scan) {
    (void)scan_char(scan, '\n');
    state->ended = true;
    if (scan->at == scan->end) return HK_OK;
    (void)hk_scan_miss(scan, "expected nothing behind # EOF");
    return HK_E_MALFORMED;
}

/* A line that begins with '#'. HK_FULL when there is no room: nothing was consumed. */
static hk_err
read_comment(struct hk_openmetrics *state, struct hk_scan *scan, struct hk_batch *batch) {
    static const char *const words[] = { "# HELP ", "# TYPE ", "# UNIT " };
    const struct hk_str line = { scan->at, (size_t)(scan->end - scan->at) };
    if (hk_str_starts(line, HK_STR("# EOF"))) {
        if (hk_scan_meta_flush(&state->meta, batch) == HK_FULL) return HK_FULL;
        scan->at += 5;
        return read_end(state, scan);
    }
    char word = 0;
    for (size_t i = 0; i < HK_COUNT(words) && word == 0; i++) {
        if (hk_str_starts(line, hk_str_from(words[i]))) word = words[i][2];
    }
    if (word == 0) {
        (void)hk_scan_miss(scan, "expected # HELP, # TYPE, # UNIT or # EOF");
        return HK_E_MALFORMED;
    }
    scan->at += 7;
    struct hk_str name = { "", 0 };
    if (!hk_scan_meta_name(scan, true, batch->arena, &name)) {
        return scan->error == NULL ? HK_E_NOMEM : HK_E_MALFORMED;
    }
    if (hk_scan_meta_turn(&state->meta, name, batch) == HK_FULL) return HK_FULL;
    const struct hk_str text = hk_scan_meta_text(scan);
    bool nomem = false;
    const char *error = set_meta(&state->meta, word, text, batch->arena, &nomem);
    if (word == 'T') state->part = hk_scan_part_of(state->meta.type);
    if (error == NULL) return nomem ? HK_E_NOMEM : HK_OK;
    scan->at = text.ptr;
    (void)hk_scan_miss(scan, error);
    return HK_E_MALFORMED;
}

/* One line. HK_OK, HK_FULL, or an error with the scan's text. */
static hk_err
read_line(struct hk_openmetrics *state, struct hk_scan *scan, struct hk_batch *batch) {
    if (scan->at == scan->end) {
        (void)hk_scan_miss(scan, "expected # EOF");
        return HK_E_MALFORMED;
    }
    if (*scan->at == '#') return read_comment(state, scan, batch);
    if (batch->count + 2 > HK_BATCH_ENTRIES_MAX) return HK_FULL;
    if (HK_LIKELY(scan_sample(state, scan, batch))) return HK_OK;
    return scan->error == NULL ? HK_E_NOMEM : HK_E_MALFORMED;
}

static hk_err openmetrics_parse(void *parser_state, struct hk_batch *batch) {
    struct hk_openmetrics *state = parser_state;
    const struct hk_str input = state->input;
    if (input.len >= UINT32_MAX) return hk_fail(HK_E_LIMIT, "exposition of 4 GiB or more");
    if (input.len == 0) return hk_fail(HK_E_MALFORMED, "line 1: expected # EOF, got no input");
    struct hk_scan scan = { input.ptr + state->at, input.ptr + input.len, NULL };
    hk_err err = HK_OK;
    while (err == HK_OK && !state->ended) {
        state->at = (size_t)(scan.at - input.ptr);
        err = read_line(state, &scan, batch);
    }
    if (err == HK_OK) state->at = input.len;
    if (err == HK_E_NOMEM) return hk_fail(err, "exposition: out of memory for texts and exemplars");
    return err == HK_E_MALFORMED ? hk_scan_fail(input, scan.at, scan.error) : err;
}

static hk_err openmetrics_labels(
    void *parser_state, struct hk_batch *batch, const struct hk_entry *entry,
    struct hk_label_set *out) {
    (void)parser_state;
    return hk_scan_key_labels(entry, true, batch->arena, out);
}

const struct hk_metric_parser hk_openmetrics_parser = {
    .name = "openmetrics",
    .parse = openmetrics_parse,
    .labels = openmetrics_labels,
};
