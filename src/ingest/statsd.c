/* StatsD lines: split, check all of a line, then apply it. */
#include "ingest/statsd.h"

#include "ingest/exposition_scan.h"
#include "ingest/reject.h"
#include "ingest/statsd_agg.h"

#include <math.h>

void hk_statsd_init(
    struct hk_statsd *state, struct hk_str input, const struct hk_context *context,
    struct hk_statsd_agg *agg, int64_t stamp_ms) {
    *state =
        (struct hk_statsd){ .input = input, .context = context, .agg = agg, .stamp_ms = stamp_ms };
}

enum kind { KIND_COUNTER, KIND_GAUGE, KIND_TIMER, KIND_SET };

/* A line in parts, all borrowed. */
struct line {
    struct hk_str name, values, tags;
    enum kind kind;
    double rate;
    int64_t stamp_ms;
    uint32_t value_count;
    double total;  /* of the values; of a gauge: what it is set to or changed by */
    bool absolute; /* a gauge that is set */
};

/* Cuts the part before the first `c` off `rest`; all of it if there is none. Parts are a few bytes
 * long: a loop is faster than memchr. */
static inline struct hk_str cut(struct hk_str *rest, char c) {
    struct hk_str part = { rest->ptr, 0 };
    while (part.len < rest->len && part.ptr[part.len] != c)
        part.len++;
    const size_t taken = part.len < rest->len ? part.len + 1 : part.len;
    *rest = (struct hk_str){ rest->ptr + taken, rest->len - taken };
    return part;
}

static bool read_kind(struct hk_str type, enum kind *out) {
    const char first = type.len > 0 ? type.ptr[0] : 0;
    if (type.len == 2 && first == 'm' && type.ptr[1] == 's') {
        *out = KIND_TIMER;
        return true;
    }
    *out = first == 'c' ? KIND_COUNTER : first == 'g' ? KIND_GAUGE : KIND_TIMER;
    if (first == 's') *out = KIND_SET;
    return type.len == 1 && (*out != KIND_TIMER || first == 'h' || first == 'd');
}

/* One section behind the type. NULL, or what is wrong. */
static const char *read_section(struct hk_str section, struct line *line) {
    const char first = section.len > 0 ? section.ptr[0] : 0;
    const struct hk_str rest = hk_str_part(section, 1, section.len);
    if (first == '@') {
        if (hk_scan_value(rest, &line->rate) < 0 || !(line->rate >= 1e-9 && line->rate <= 1)) {
            return "the sample rate is not in [1e-9, 1]";
        }
    } else if (first == '#') {
        if (!hk_utf8_valid(rest)) return "a tag is not valid UTF-8";
        line->tags = rest;
    } else if (first == 'T' && (line->kind == KIND_COUNTER || line->kind == KIND_GAUGE)) {
        int64_t seconds = 0;
        if (hk_parse_i64(rest, &seconds) < 0 || seconds <= 0 || seconds > INT64_MAX / 1000) {
            return "the timestamp is not in seconds since 1970";
        }
        line->stamp_ms = seconds * 1000;
    }
    return NULL;
}

/* Adds one value to what the line's entry will say. */
static void fold_value(struct line *line, struct hk_str text, double value) {
    const bool relative = text.ptr[0] == '+' || text.ptr[0] == '-';
    if (line->kind == KIND_GAUGE && !relative) {
        line->total = value;
        line->absolute = true;
    } else {
        const bool scaled = line->kind == KIND_COUNTER && line->rate < 1;
        line->total += scaled ? value / line->rate : value;
    }
}

/* Checks and folds the packed values. NULL, or what is wrong. */
static const char *check_values(struct line *line) {
    struct hk_str rest = line->values;
    for (uint32_t i = 0; i < line->value_count && line->kind != KIND_SET; i++) {
        const struct hk_str text = cut(&rest, ':');
        double value = 0;
        if (hk_scan_value(text, &value) < 0 || !isfinite(value)) {
            return "the value is not a finite number";
        }
        fold_value(line, text, value);
    }
    return isfinite(line->total) ? NULL : "the value is out of range";
}

/* Splits and checks. NULL, or what is wrong. */
static const char *read_line(struct hk_str text, struct line *line) {
    const char *at = text.ptr, *end = text.ptr + text.len;
    uint32_t values = 1;
    while (at < end && *at != ':' && *at != '|')
        at++;
    line->value_count = 1;
    line->name = (struct hk_str){ text.ptr, (size_t)(at - text.ptr) };
    if (at == text.ptr || at == end || *at != ':') return "expected name:value|type";
    const char *first = ++at;
    for (; at < end && *at != '|'; at++)
        values += *at == ':';
    line->values = (struct hk_str){ first, (size_t)(at - first) };
    line->value_count = values;
    if (at == end) return "expected |type behind the value";
    struct hk_str rest = { at + 1, (size_t)(end - at - 1) };
    if (!read_kind(cut(&rest, '|'), &line->kind)) return "the type is none of c, g, ms, h, d, s";
    if (line->kind == KIND_SET) line->value_count = 1;
    if (line->values.len == 0) return "the value is empty";
    while (rest.len > 0) {
        const char *error = read_section(cut(&rest, '|'), line);
        if (error != NULL) return error;
    }
    return check_values(line);
}

static void reject(struct hk_batch *batch, struct hk_str text, uint32_t points, const char *why) {
    char excerpt[HK_SCAN_EXCERPT_BYTES_MAX + 1];
    excerpt[0] = 0;
    if (batch->rejected == 0) (void)hk_scan_excerpt(text, excerpt);
    hk_batch_reject(batch, points, "statsd: %s, got \"%s\"", why, excerpt);
}

/* `name` or `name|#tags` in one piece. */
static hk_err make_key(const struct line *line, struct hk_arena *arena, struct hk_str *out) {
    *out = line->name;
    if (line->tags.len == 0) return HK_OK;
    const size_t len = line->name.len + 2 + line->tags.len;
    char *copy = hk_arena_alloc_raw(arena, len, 1);
    if (copy == NULL) return hk_fail(HK_E_NOMEM, "statsd: the batch holds too many tagged keys");
    memcpy(copy, line->name.ptr, line->name.len);
    memcpy(copy + line->name.len, "|#", 2);
    memcpy(copy + line->name.len + 2, line->tags.ptr, line->tags.len);
    *out = (struct hk_str){ copy, len };
    return HK_OK;
}

/* Gives a checked line to the aggregator; how many of its values were taken. */
static uint32_t
aggregate(const struct hk_statsd *state, const struct line *line, struct hk_str key) {
    if (line->kind == KIND_SET) {
        return hk_statsd_agg_set(state->agg, key, line->values, state->stamp_ms) == HK_OK ? 1 : 0;
    }
    struct hk_str rest = line->values;
    for (uint32_t taken = 0; taken < line->value_count; taken++) {
        const struct hk_str text = cut(&rest, ':');
        double value = line->total;
        if (line->value_count > 1 && HK_NEVER(hk_scan_value(text, &value) < 0)) return taken;
        if (hk_statsd_agg_timer(state->agg, key, value, 1 / line->rate, state->stamp_ms) < 0) {
            return taken;
        }
    }
    return line->value_count;
}

static hk_err apply_line(
    struct hk_statsd *state, struct hk_batch *batch, struct hk_str text, const struct line *line) {
    struct hk_str key;
    HK_TRY(make_key(line, batch->arena, &key));
    if (line->kind == KIND_TIMER || line->kind == KIND_SET) {
        if (state->agg == NULL) {
            reject(batch, text, line->value_count, "timers and sets are not aggregated here");
            return HK_OK;
        }
        const uint32_t taken = aggregate(state, line, key);
        batch->points += taken;
        if (taken < line->value_count) {
            reject(batch, text, line->value_count - taken, "the aggregator holds no more series");
        }
        return HK_OK;
    }
    struct hk_entry *entry = &batch->entries[batch->count++];
    *entry = (struct hk_entry){
        .key = key.ptr,
        .key_bytes = (uint32_t)key.len,
        .ref = HK_REF_NONE,
        .context = state->context,
        .stamp_ms = line->stamp_ms,
        .value = line->total,
        .kind = line->absolute ? HK_ENTRY_SET : HK_ENTRY_ADD,
    };
    batch->points += line->value_count;
    return HK_OK;
}

static hk_err statsd_parse(void *parser_state, struct hk_batch *batch) {
    struct hk_statsd *state = parser_state;
    if (state->input.len >= UINT32_MAX) return hk_fail(HK_E_LIMIT, "datagram of 4 GiB or more");
    while (state->at < state->input.len) {
        if (batch->count == HK_BATCH_ENTRIES_MAX) return HK_FULL;
        const size_t end = hk_str_find(state->input, '\n', state->at);
        struct hk_str text = hk_str_part(state->input, state->at, end);
        if (text.len > 0 && text.ptr[text.len - 1] == '\r') text.len--;
        const bool maybe_event = text.len > 0 && text.ptr[0] == '_';
        if (maybe_event &&
            (hk_str_starts(text, HK_STR("_e{")) || hk_str_starts(text, HK_STR("_sc|")))) {
            state->unsupported++;
        } else if (text.len > 0) {
            struct line line = { .rate = 1, .stamp_ms = state->stamp_ms };
            const char *error = read_line(text, &line);
            if (error == NULL) {
                HK_TRY(apply_line(state, batch, text, &line));
            } else {
                reject(batch, text, line.value_count, error);
            }
        }
        state->at = end + 1 < state->input.len ? end + 1 : state->input.len;
    }
    return HK_OK;
}

/* The name with other bytes made '_'; ptr NULL when out of memory. */
static struct hk_str clean_name(struct hk_str name, bool metric, struct hk_arena *arena) {
    const bool reserved = !metric && hk_str_starts(name, HK_STR("__"));
    if (hk_name_is_classic(name, metric) && !reserved) return name;
    const struct hk_str prefix = reserved ? HK_STR("tag") : HK_STR("");
    char *copy = hk_arena_alloc_raw(arena, prefix.len + name.len + 1, 1);
    if (copy == NULL) return (struct hk_str){ NULL, 0 };
    size_t len = prefix.len;
    memcpy(copy, prefix.ptr, prefix.len);
    if (name.len == 0 || (name.ptr[0] >= '0' && name.ptr[0] <= '9')) copy[len++] = '_';
    for (size_t i = 0; i < name.len; i++) {
        copy[len++] = hk_scan_is_name_char(name.ptr[i], metric) ? name.ptr[i] : '_';
    }
    return (struct hk_str){ copy, len };
}

static hk_err add_tag(struct hk_str tag, struct hk_arena *arena, struct hk_label_set *out) {
    const bool has_value = hk_str_find(tag, ':', 0) < tag.len;
    struct hk_str value = tag;
    const struct hk_str name = clean_name(cut(&value, ':'), false, arena);
    if (name.ptr == NULL) return HK_E_NOMEM;
    if (!has_value) value = HK_STR("true");
    const struct hk_str old = hk_label_set_get(out, name);
    if (old.len > 0) {
        char *both = hk_arena_alloc_raw(arena, old.len + 1 + value.len, 1);
        if (both == NULL) return HK_E_NOMEM;
        memcpy(both, old.ptr, old.len);
        both[old.len] = ',';
        memcpy(both + old.len + 1, value.ptr, value.len);
        value = (struct hk_str){ both, old.len + 1 + value.len };
    }
    hk_label_set_put(out, name, value);
    return HK_OK;
}

static hk_err statsd_labels(
    void *parser_state, struct hk_batch *batch, const struct hk_entry *entry,
    struct hk_label_set *out) {
    (void)parser_state;
    struct hk_str tags = { entry->key, entry->key_bytes };
    const struct hk_str name = clean_name(cut(&tags, '|'), true, batch->arena);
    if (name.ptr == NULL) return hk_fail(HK_E_NOMEM, "statsd: no memory for labels");
    hk_label_set_add(out, HK_STR("__name__"), name);
    tags = hk_str_part(tags, 1, tags.len); /* '#' */
    for (uint32_t count = 0; tags.len > 0; count++) {
        if (count == HK_LABELS_MAX) {
            return hk_fail(HK_E_LIMIT, "statsd: more than %d tags", HK_LABELS_MAX);
        }
        const struct hk_str tag = cut(&tags, ',');
        if (tag.len > 0 && add_tag(tag, batch->arena, out) < 0) {
            return hk_fail(HK_E_NOMEM, "statsd: no memory for labels");
        }
    }
    return HK_OK;
}

const struct hk_metric_parser hk_statsd_parser = {
    .name = "statsd",
    .parse = statsd_parse,
    .labels = statsd_labels,
};
