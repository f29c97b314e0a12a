/* Group labels in the path of a push. */
#include "ingest/pushgateway.h"

static const struct hk_str prefix = { "/metrics/job", 12 };
static const struct hk_str base64_mark = { "@base64", 7 };

/* Value of a base64 digit in either alphabet (RFC 4648 §4, §5), -1 if it is none. */
static int digit_of(char c) {
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    if (c == '-' || c == '+') return 62;
    return c == '_' || c == '/' ? 63 : -1;
}

/* Decodes base64. HK_E_MALFORMED, HK_E_NOMEM. */
static hk_err decode_base64(struct hk_str text, struct hk_arena *arena, struct hk_str *out) {
    while (text.len > 0 && text.ptr[text.len - 1] == '=')
        text.len--;
    if (text.len % 4 == 1) return HK_E_MALFORMED;
    char *bytes = hk_arena_alloc_raw(arena, text.len + 1, 1);
    if (bytes == NULL) return HK_E_NOMEM;
    size_t len = 0;
    uint32_t bits = 0;
    unsigned bit_count = 0;
    for (size_t i = 0; i < text.len; i++) {
        const int digit = digit_of(text.ptr[i]);
        if (digit < 0) return HK_E_MALFORMED;
        bits = (bits << 6) | (uint32_t)digit;
        bit_count += 6;
        if (bit_count < 8) continue;
        bit_count -= 8;
        bytes[len++] = (char)(uint8_t)(bits >> bit_count);
    }
    *out = (struct hk_str){ bytes, len };
    return HK_OK;
}

/* The next part of the path up to a slash, which is taken, too. False at the end. */
static bool next_part(struct hk_str path, size_t *at, struct hk_str *out) {
    if (*at >= path.len) return false;
    const size_t end = hk_str_find(path, '/', *at);
    *out = hk_str_part(path, *at, end);
    *at = end + 1;
    return true;
}

static hk_err add_label(
    struct hk_str name, struct hk_str value, bool base64, struct hk_arena *arena,
    struct hk_label_set *out) {
    const struct hk_str shown = hk_str_part(name, 0, 100);
    if (!hk_name_is_classic(name, false) || hk_str_starts(name, HK_STR("__"))) {
        return hk_fail(
            HK_E_MALFORMED, "improper label name \"%.*s\" in the path", HK_STR_ARG(shown));
    }
    if (base64) {
        const hk_err err = decode_base64(value, arena, &value);
        if (err == HK_E_NOMEM) return hk_fail(err, "push: no memory for the group's labels");
        if (err < 0) {
            return hk_fail(err, "invalid base64 in the value of label \"%.*s\"", HK_STR_ARG(shown));
        }
    }
    if (!hk_utf8_valid(value)) {
        return hk_fail(
            HK_E_MALFORMED, "the value of label \"%.*s\" is not valid UTF-8", HK_STR_ARG(shown));
    }
    for (uint32_t i = 0; i < out->count; i++) {
        if (!hk_str_eq(out->items[i].name, name)) continue;
        return hk_fail(
            HK_E_MALFORMED, "label \"%.*s\" stands twice in the path", HK_STR_ARG(shown));
    }
    hk_label_set_add(out, name, value);
    return out->err < 0 ? hk_fail(HK_E_MALFORMED, "more than %d labels in the path", HK_LABELS_MAX)
                        : HK_OK;
}

hk_err hk_push_path_parse(struct hk_str path, struct hk_arena *arena, struct hk_label_set *out) {
    static const char form[] = "expected /metrics/job/<job>{/<label>/<value>}";
    if (!hk_str_starts(path, prefix)) return hk_fail(HK_E_MALFORMED, "%s", form);
    size_t at = 9; /* at "job" */
    struct hk_str name, value;
    for (bool first = true; next_part(path, &at, &name); first = false) {
        const bool base64 = hk_str_ends(name, base64_mark);
        if (base64) name.len -= base64_mark.len;
        if (first && !hk_str_is(name, "job")) return hk_fail(HK_E_MALFORMED, "%s", form);
        if (!next_part(path, &at, &value)) {
            if (first) return hk_fail(HK_E_MALFORMED, "job name is required: %s", form);
            const struct hk_str shown = hk_str_part(name, 0, 100);
            return hk_fail(
                HK_E_MALFORMED,
                "label \"%.*s\" has no value in the path (an empty one is "
                "written <label>@base64/=)",
                HK_STR_ARG(shown));
        }
        HK_TRY(add_label(name, value, base64, arena, out));
        if (first && out->items[out->count - 1].value.len == 0) {
            return hk_fail(HK_E_MALFORMED, "job name is required: %s", form);
        }
    }
    return HK_OK;
}
