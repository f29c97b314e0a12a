/* JSON answers as trees. */
#include "cli/value.h"

/* Open objects and arrays with the place where the next child is linked. */
struct level {
    struct hk_value *value;
    struct hk_value **last;
};

static bool is_open(enum hk_json_type type) {
    return type == HK_JSON_OBJECT || type == HK_JSON_ARRAY;
}

hk_err hk_value_parse(struct hk_str text, struct hk_arena *arena, const struct hk_value **out) {
    struct hk_json json;
    struct level levels[HK_JSON_DEPTH_MAX + 1];
    struct hk_value *root = NULL;
    size_t depth = 0;
    levels[0] = (struct level){ NULL, &root };
    hk_json_init(&json, text, arena);
    for (;;) {
        hk_err err = hk_json_next(&json);
        if (err < 0) return err;
        if (err == HK_END) break;
        if (json.type == HK_JSON_OBJECT_END || json.type == HK_JSON_ARRAY_END) {
            if (HK_NEVER(depth == 0)) return HK_E_MALFORMED;
            depth--;
            continue;
        }
        struct hk_value *value = hk_arena_alloc(arena, 1, sizeof(*value));
        if (value == NULL) return HK_E_NOMEM;
        *value = (struct hk_value){ .type = json.type, .key = json.key, .text = json.text };
        *levels[depth].last = value;
        levels[depth].last = &value->next;
        if (levels[depth].value != NULL) levels[depth].value->count++;
        if (!is_open(json.type)) continue;
        if (HK_NEVER(depth == HK_JSON_DEPTH_MAX)) return HK_E_LIMIT;
        levels[++depth] = (struct level){ value, &value->first };
    }
    *out = root;
    return root == NULL ? HK_E_MALFORMED : HK_OK;
}

const struct hk_value *hk_value_get(const struct hk_value *value, const char *key) {
    if (value == NULL || value->type != HK_JSON_OBJECT) return NULL;
    for (const struct hk_value *child = value->first; child != NULL; child = child->next) {
        if (hk_str_is(child->key, key)) return child;
    }
    return NULL;
}

const struct hk_value *hk_value_at(const struct hk_value *value, uint32_t index) {
    if (value == NULL || value->type != HK_JSON_ARRAY) return NULL;
    const struct hk_value *child = value->first;
    for (uint32_t i = 0; i < index && child != NULL; i++)
        child = child->next;
    return child;
}

struct hk_str hk_value_text(const struct hk_value *value) {
    struct hk_str none = { "", 0 };
    if (value == NULL) return none;
    if (value->type == HK_JSON_TRUE) return HK_STR("true");
    if (value->type == HK_JSON_FALSE) return HK_STR("false");
    bool text = value->type == HK_JSON_STRING || value->type == HK_JSON_NUMBER;
    return text ? value->text : none;
}

double hk_value_number(const struct hk_value *value, double otherwise) {
    double number = 0;
    return hk_parse_double(hk_value_text(value), &number) == HK_OK ? number : otherwise;
}
