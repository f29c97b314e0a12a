/* The slow parts of scanning text expositions: escapes, labels, odd numbers and errors. */
#include "ingest/exposition_scan.h"

#include "ingest/exposition_float.h"

#include <inttypes.h>
#include <math.h>

struct hk_str hk_scan_unescape(struct hk_scan_quoted text, bool quotes, struct hk_arena *arena) {
    if (!text.escaped) return text.raw;
    char *copy = hk_arena_alloc_raw(arena, text.raw.len + 1, 1);
    if (copy == NULL) return (struct hk_str){ NULL, 0 };
    size_t len = 0;
    for (size_t i = 0; i < text.raw.len; i++) {
        char c = text.raw.ptr[i];
        const char next = i + 1 < text.raw.len ? text.raw.ptr[i + 1] : 0;
        if (c == '\\' && (next == '\\' || next == 'n' || (next == '"' && quotes))) {
            c = next == 'n' ? '\n' : next;
            i++;
        } else if (c == '\\' && i + 1 < text.raw.len) {
            copy[len++] = c;
            c = next;
            i++;
        }
        copy[len++] = c;
    }
    return (struct hk_str){ copy, len };
}

bool hk_scan_add_label(
    struct hk_label_set *out, struct hk_arena *arena, struct hk_scan_quoted name,
    struct hk_scan_quoted value) {
    const struct hk_str name_text = hk_scan_unescape(name, true, arena);
    const struct hk_str value_text = hk_scan_unescape(value, true, arena);
    if (name_text.ptr == NULL || value_text.ptr == NULL) return false;
    hk_label_set_add(out, name_text, value_text);
    return true;
}

uint64_t hk_scan_part_of(struct hk_str type) {
    if (hk_str_is(type, "histogram")) return HK_SCAN_PART_BUCKET;
    return hk_str_is(type, "summary") ? HK_SCAN_PART_QUANTILE : HK_SCAN_PART_PLAIN;
}

/* Rewrites a number; other text stays. False: out of memory. */
static bool canonical_number(struct hk_str *text, struct hk_arena *arena) {
    double value = 0;
    char number[HK_DOUBLE_BYTES_MAX];
    if (hk_scan_value(*text, &value) < 0) return true;
    *text = hk_arena_str(arena, (struct hk_str){ number, hk_exposition_float(value, number) });
    return text->ptr != NULL;
}

hk_err hk_scan_key_labels(
    const struct hk_entry *entry, bool strict, struct hk_arena *arena, struct hk_label_set *out) {
    struct hk_scan scan = { entry->key, (const char *)entry->key + entry->key_bytes, NULL };
    const uint32_t first = out->count;
    bool fine = hk_scan_series(&scan, strict, out, arena);
    if (scan.error != NULL) return hk_fail(HK_E_MALFORMED, "series: %s", scan.error);
    const struct hk_str number = entry->part == HK_SCAN_PART_BUCKET     ? HK_STR("le")
                                 : entry->part == HK_SCAN_PART_QUANTILE ? HK_STR("quantile")
                                                                        : HK_STR("");
    for (uint32_t i = first; i < out->count && number.len > 0 && fine; i++) {
        if (hk_str_eq(out->items[i].name, number)) {
            fine = canonical_number(&out->items[i].value, arena);
        }
    }
    return fine ? HK_OK : hk_fail(HK_E_NOMEM, "labels: out of memory");
}

bool hk_scan_meta_name(
    struct hk_scan *scan, bool strict, struct hk_arena *arena, struct hk_str *out) {
    const char *first = scan->at;
    struct hk_scan_quoted name = { hk_scan_name(scan, true), false };
    if (name.raw.len == 0 && hk_scan_is(scan, '"') && !hk_scan_quoted(scan, strict, &name)) {
        return false;
    }
    const bool ended = scan->at == scan->end || *scan->at == ' ' || *scan->at == '\n' ||
                       (*scan->at == '\t' && !strict);
    if (name.raw.len == 0 || !ended) {
        scan->at = first;
        return hk_scan_miss(scan, "expected a metric name");
    }
    *out = hk_scan_unescape(name, true, arena);
    return out->ptr != NULL;
}

struct hk_str hk_scan_meta_text(struct hk_scan *scan) {
    if (scan->at < scan->end && *scan->at != '\n') scan->at++;
    const char *first = scan->at;
    const char *newline =
        first == scan->end ? NULL : memchr(first, '\n', (size_t)(scan->end - first));
    const char *last = newline == NULL ? scan->end : newline;
    scan->at = newline == NULL ? scan->end : newline + 1;
    return (struct hk_str){ first, (size_t)(last - first) };
}

hk_err hk_scan_meta_flush(struct hk_batch_meta *meta, struct hk_batch *batch) {
    if (meta->metric.len == 0) return HK_OK;
    if (batch->meta_count == HK_BATCH_META_MAX) return HK_FULL;
    batch->metas[batch->meta_count++] = *meta;
    *meta = (struct hk_batch_meta){ { "", 0 }, { "", 0 }, { "", 0 }, { "", 0 } };
    return HK_OK;
}

hk_err hk_scan_meta_turn(struct hk_batch_meta *meta, struct hk_str name, struct hk_batch *batch) {
    if (hk_str_eq(meta->metric, name)) return HK_OK;
    if (hk_scan_meta_flush(meta, batch) == HK_FULL) return HK_FULL;
    meta->metric = name;
    return HK_OK;
}

hk_err hk_scan_value(struct hk_str text, double *out) {
    double value = 0;
    if (HK_UNLIKELY(hk_parse_double(text, &value) < 0)) return HK_E_MALFORMED;
    const bool hex = text.len > 2 && ((text.ptr[1] | 0x20) == 'x' || (text.ptr[2] | 0x20) == 'x');
    if (HK_UNLIKELY(hex)) return HK_E_MALFORMED;
    if (HK_UNLIKELY(isinf(value)) && memchr(text.ptr, 'n', text.len) == NULL &&
        memchr(text.ptr, 'N', text.len) == NULL) {
        return HK_E_MALFORMED; /* a number out of range, not "Inf" */
    }
    *out = value;
    return HK_OK;
}

const char *hk_scan_excerpt(struct hk_str text, char *out) {
    size_t len = 0;
    for (; len < text.len && len < HK_SCAN_EXCERPT_BYTES_MAX && text.ptr[len] != '\n'; len++) {
        const char c = text.ptr[len];
        out[len] = (c >= ' ' && c <= '~') ? c : '?';
    }
    out[len] = 0;
    return out;
}

hk_err hk_scan_fail(struct hk_str input, const char *at, const char *what) {
    uint64_t line = 1;
    const char *end = input.ptr + input.len;
    for (const char *next = input.ptr; next < at;) {
        next = memchr(next, '\n', (size_t)(at - next));
        if (next == NULL) break;
        next++;
        line++;
    }
    if (at == end) {
        return hk_fail(HK_E_MALFORMED, "line %" PRIu64 ": %s, got the end of input", line, what);
    }
    char excerpt[HK_SCAN_EXCERPT_BYTES_MAX + 1];
    const struct hk_str rest = { at, (size_t)(end - at) };
    return hk_fail(
        HK_E_MALFORMED, "line %" PRIu64 ": %s, got \"%s\"", line, what,
        hk_scan_excerpt(rest, excerpt));
}
