/*
 * Names of OpenTelemetry as Prometheus writes them (OpenTelemetry specification, "Prometheus and
 * OpenMetrics Compatibility"; the same results as Prometheus 3.5 gives with its default settings).
 */
#include "ingest/otlp_internal.h"

struct unit {
    const char *code; /* UCUM */
    const char *text;
};

static const struct unit units[] = {
    { "d", "days" },
    { "h", "hours" },
    { "min", "minutes" },
    { "s", "seconds" },
    { "ms", "milliseconds" },
    { "us", "microseconds" },
    { "ns", "nanoseconds" },
    { "By", "bytes" },
    { "KiBy", "kibibytes" },
    { "MiBy", "mebibytes" },
    { "GiBy", "gibibytes" },
    { "TiBy", "tibibytes" },
    { "KBy", "kilobytes" },
    { "MBy", "megabytes" },
    { "GBy", "gigabytes" },
    { "TBy", "terabytes" },
    { "m", "meters" },
    { "V", "volts" },
    { "A", "amperes" },
    { "J", "joules" },
    { "W", "watts" },
    { "g", "grams" },
    { "Cel", "celsius" },
    { "Hz", "hertz" },
    { "1", "" },
    { "%", "percent" },
};

static const struct unit per_units[] = {
    { "s", "second" }, { "m", "minute" }, { "h", "hour" }, { "d", "day" },
    { "w", "week" },   { "mo", "month" }, { "y", "year" },
};

static struct hk_str find_unit(const struct unit *table, size_t count, struct hk_str code) {
    for (size_t i = 0; i < count; i++) {
        if (hk_str_is(code, table[i].code)) return hk_str_from(table[i].text);
    }
    return code;
}

/* Is it an annotation like {request}, which is no unit? */
static bool has_braces(struct hk_str text) {
    return hk_str_find(text, '{', 0) < text.len || hk_str_find(text, '}', 0) < text.len;
}

/* The two halves of a unit such as "By/s" in words, each empty when there is none. */
struct unit_words {
    struct hk_str main, per;
};

static struct unit_words unit_words(struct hk_str unit) {
    struct unit_words words = { { "", 0 }, { "", 0 } };
    const size_t slash = hk_str_find(unit, '/', 0);
    const struct hk_str main = hk_str_trim(hk_str_part(unit, 0, slash));
    const struct hk_str per = hk_str_trim(hk_str_part(unit, slash + 1, unit.len));
    if (main.len > 0 && !has_braces(main)) words.main = find_unit(units, HK_COUNT(units), main);
    if (slash < unit.len && per.len > 0 && !has_braces(per)) {
        words.per = find_unit(per_units, HK_COUNT(per_units), per);
    }
    return words;
}

static bool is_alnum(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

/* Text under construction: in arena memory of known room. */
struct text {
    char *ptr;
    size_t len;
};

static void add(struct text *text, struct hk_str part) {
    if (part.len > 0) memcpy(text->ptr + text->len, part.ptr, part.len);
    text->len += part.len;
}

static hk_err no_memory(void) {
    return hk_fail(HK_E_NOMEM, "otlp: out of memory");
}

/* `unit` with each run of characters that no metric name has as one '_', none at the start, and
 * none at the end either when `trim`. */
static hk_err
clean_unit(struct hk_str unit, bool trim, struct hk_arena *arena, struct hk_str *out) {
    struct text text = { hk_arena_alloc_raw(arena, unit.len + 1, 1), 0 };
    if (text.ptr == NULL) return no_memory();
    for (size_t i = 0; i < unit.len; i++) {
        const char c = unit.ptr[i];
        const bool plain = is_alnum(c) || c == ':';
        if (!plain && (text.len == 0 || text.ptr[text.len - 1] == '_')) continue;
        text.ptr[text.len++] = c;
        if (!plain) text.ptr[text.len - 1] = '_';
    }
    if (trim && text.len > 0 && text.ptr[text.len - 1] == '_') text.len--;
    *out = (struct hk_str){ text.ptr, text.len };
    return HK_OK;
}

/* Parts of a name, to be joined with '_'. */
enum { TOKENS_MAX = 128 };

struct tokens {
    struct hk_str items[TOKENS_MAX];
    size_t count;
};

static hk_err split_name(struct hk_str name, struct tokens *out) {
    out->count = 0;
    size_t i = 0;
    while (i < name.len) {
        size_t end = i;
        while (end < name.len && (is_alnum(name.ptr[end]) || name.ptr[end] == ':'))
            end++;
        if (end > i) {
            if (out->count == TOKENS_MAX - 4) { /* the suffixes need room */
                return hk_fail(HK_E_MALFORMED, "otlp: metric name of over %d words", TOKENS_MAX);
            }
            out->items[out->count++] = hk_str_part(name, i, end);
        }
        i = end + 1;
    }
    return HK_OK;
}

static bool has_token(const struct tokens *tokens, struct hk_str token) {
    for (size_t i = 0; i < tokens->count; i++) {
        if (hk_str_eq(tokens->items[i], token)) return true;
    }
    return false;
}

/* Removes `token` wherever it is and puts it last. */
static void move_last(struct tokens *tokens, struct hk_str token) {
    size_t kept = 0;
    for (size_t i = 0; i < tokens->count; i++) {
        if (!hk_str_eq(tokens->items[i], token)) tokens->items[kept++] = tokens->items[i];
    }
    tokens->items[kept] = token;
    tokens->count = kept + 1;
}

/* Joins with '_', with '_' in front of a digit. */
static hk_err join(const struct tokens *tokens, struct hk_arena *arena, struct hk_str *out) {
    size_t bytes = 1;
    for (size_t i = 0; i < tokens->count; i++)
        bytes += tokens->items[i].len + 1;
    struct text text = { hk_arena_alloc_raw(arena, bytes + 1, 1), 0 };
    if (text.ptr == NULL) return no_memory();
    for (size_t i = 0; i < tokens->count; i++) {
        if (i > 0) add(&text, HK_STR("_"));
        if (text.len == 0 && tokens->items[i].len > 0 && is_digit(tokens->items[i].ptr[0])) {
            add(&text, HK_STR("_"));
        }
        add(&text, tokens->items[i]);
    }
    *out = (struct hk_str){ text.ptr, text.len };
    return HK_OK;
}

static hk_err add_units(struct tokens *tokens, struct hk_str unit, struct hk_arena *arena) {
    const struct unit_words words = unit_words(unit);
    struct hk_str main = { "", 0 }, per = { "", 0 };
    if (words.per.len > 0) {
        const struct hk_str text = hk_arena_printf(arena, "per_%.*s", HK_STR_ARG(words.per));
        if (text.ptr == NULL) return no_memory();
        HK_TRY(clean_unit(text, true, arena, &per));
        if (hk_str_is(per, "per") || has_token(tokens, per)) per.len = 0;
    }
    HK_TRY(clean_unit(words.main, per.len > 0, arena, &main));
    if (main.len > 0 && !has_token(tokens, main)) tokens->items[tokens->count++] = main;
    if (per.len > 0) tokens->items[tokens->count++] = per;
    return HK_OK;
}

static hk_err name_with_suffixes(
    struct hk_str name, struct hk_str unit, enum hk_otlp_type type, struct hk_arena *arena,
    struct hk_str *out) {
    struct tokens tokens;
    HK_TRY(split_name(name, &tokens));
    HK_TRY(add_units(&tokens, unit, arena));
    if (type == HK_OTLP_COUNTER) move_last(&tokens, HK_STR("total"));
    if (type == HK_OTLP_GAUGE && hk_str_is(unit, "1")) move_last(&tokens, HK_STR("ratio"));
    return join(&tokens, arena, out);
}

/* Words separated by characters that no name has, underscores kept. */
static hk_err
name_without_suffixes(struct hk_str name, struct hk_arena *arena, struct hk_str *out) {
    struct text text = { hk_arena_alloc_raw(arena, name.len + 2, 1), 0 };
    if (text.ptr == NULL) return no_memory();
    bool gap = false;
    for (size_t i = 0; i < name.len; i++) {
        const char c = name.ptr[i];
        const bool plain = is_alnum(c) || c == ':' || c == '_';
        if (plain && text.len == 0 && is_digit(c)) add(&text, HK_STR("_"));
        if (plain && gap && text.len > 0) add(&text, HK_STR("_"));
        gap = !plain;
        if (plain) text.ptr[text.len++] = c;
    }
    *out = (struct hk_str){ text.ptr, text.len };
    return HK_OK;
}

/* Without `suffix` and the character before it, unless nothing would be left. */
static struct hk_str trim_suffix(struct hk_str name, struct hk_str suffix) {
    if (!hk_str_ends(name, suffix) || name.len <= suffix.len + 1) return name;
    return hk_str_part(name, 0, name.len - suffix.len - 1);
}

static hk_err utf8_with_suffixes(
    struct hk_str name, struct hk_str unit, enum hk_otlp_type type, struct hk_arena *arena,
    struct hk_str *out) {
    const struct unit_words words = unit_words(unit);
    const bool ratio = type == HK_OTLP_GAUGE && hk_str_is(unit, "1");
    const bool total = type == HK_OTLP_COUNTER;
    if (ratio) name = trim_suffix(name, HK_STR("ratio"));
    if (total) name = trim_suffix(name, HK_STR("total"));
    struct hk_str per = { "", 0 };
    if (words.per.len > 0) {
        per = hk_arena_printf(arena, "per_%.*s", HK_STR_ARG(words.per));
        if (per.ptr == NULL) return no_memory();
        name = trim_suffix(name, per);
    }
    struct text text = { NULL, 0 };
    text.ptr = hk_arena_alloc_raw(arena, name.len + words.main.len + per.len + 16, 1);
    if (text.ptr == NULL) return no_memory();
    add(&text, name);
    if (words.main.len > 0 && !hk_str_ends(name, words.main)) {
        add(&text, HK_STR("_"));
        add(&text, words.main);
    }
    if (per.len > 0) {
        add(&text, HK_STR("_"));
        add(&text, per);
    }
    if (total) add(&text, HK_STR("_total"));
    if (ratio) add(&text, HK_STR("_ratio"));
    *out = (struct hk_str){ text.ptr, text.len };
    return HK_OK;
}

static bool only_underscores(struct hk_str name) {
    for (size_t i = 0; i < name.len; i++) {
        if (name.ptr[i] != '_') return false;
    }
    return true;
}

static hk_err check_name(const char *what, struct hk_str before, struct hk_str after) {
    const bool same = hk_str_eq(before, after) && after.len > 0;
    if (same || !only_underscores(after)) return HK_OK;
    return hk_fail(
        HK_E_MALFORMED, "otlp: nothing is left of %s \"%.*s\"", what, HK_STR_ARG(before));
}

hk_err hk_otlp_metric_name(
    enum hk_otlp_naming naming, struct hk_str name, struct hk_str unit, enum hk_otlp_type type,
    struct hk_arena *arena, struct hk_str *out) {
    struct hk_str result = name;
    if (name.len > HK_LABEL_NAME_BYTES_MAX || unit.len > HK_LABEL_NAME_BYTES_MAX) {
        return hk_fail(HK_E_MALFORMED, "otlp: metric name or unit too long");
    }
    switch (naming) {
    case HK_OTLP_UNDERSCORES_SUFFIXES:
        HK_TRY(name_with_suffixes(name, unit, type, arena, &result));
        break;
    case HK_OTLP_UTF8_SUFFIXES:
        HK_TRY(utf8_with_suffixes(name, unit, type, arena, &result));
        break;
    case HK_OTLP_UNDERSCORES:
        HK_TRY(name_without_suffixes(name, arena, &result));
        break;
    case HK_OTLP_AS_IS:
    default:
        break;
    }
    HK_TRY(check_name("metric name", name, result));
    *out = result;
    return HK_OK;
}

hk_err hk_otlp_label_name(
    enum hk_otlp_naming naming, struct hk_str name, struct hk_arena *arena, struct hk_str *out) {
    if (name.len == 0) return hk_fail(HK_E_MALFORMED, "otlp: attribute without a key");
    struct hk_str result = name;
    const bool escape = naming == HK_OTLP_UNDERSCORES_SUFFIXES || naming == HK_OTLP_UNDERSCORES;
    const bool lone = name.ptr[0] == '_' && (name.len == 1 || name.ptr[1] != '_');
    if (escape && (lone || !hk_name_is_classic(name, false))) {
        struct text text = { hk_arena_alloc_raw(arena, name.len + 5, 1), 4 };
        if (text.ptr == NULL) return no_memory();
        memcpy(text.ptr, "key_", 4); /* used when it is needed, see below */
        for (size_t i = 0; i < name.len; i++) {
            const char c = name.ptr[i];
            /* One '_' for a character, not for each of its bytes. */
            if (((uint8_t)c & 0xc0) == 0x80) continue;
            text.ptr[text.len++] = c;
            if (!is_alnum(c)) text.ptr[text.len - 1] = '_';
        }
        const struct hk_str plain = { text.ptr + 4, text.len - 4 };
        const bool single =
            hk_str_starts(plain, HK_STR("_")) && !hk_str_starts(plain, HK_STR("__"));
        result = plain;
        if (plain.len > 0 && is_digit(plain.ptr[0])) {
            result = (struct hk_str){ text.ptr, text.len }; /* key_1st */
        } else if (single) {
            memcpy(text.ptr + 1, "key", 3);
            result = (struct hk_str){ text.ptr + 1, text.len - 1 }; /* key_x */
        }
    }
    HK_TRY(check_name("attribute key", (struct hk_str){ "", 0 }, result));
    *out = result;
    return HK_OK;
}

hk_err hk_otlp_unit_name(
    enum hk_otlp_naming naming, struct hk_str unit, struct hk_arena *arena, struct hk_str *out) {
    if (unit.len > HK_LABEL_NAME_BYTES_MAX) {
        return hk_fail(HK_E_MALFORMED, "otlp: metric unit too long");
    }
    const struct unit_words words = unit_words(unit);
    struct hk_str text = words.main;
    if (words.per.len > 0) {
        text = hk_arena_printf(
            arena, "%.*s%sper_%.*s", HK_STR_ARG(words.main), words.main.len > 0 ? "_" : "",
            HK_STR_ARG(words.per));
        if (text.ptr == NULL) return no_memory();
    }
    if (naming == HK_OTLP_UTF8_SUFFIXES || naming == HK_OTLP_AS_IS) {
        *out = text;
        return HK_OK;
    }
    return clean_unit(text, true, arena, out);
}
