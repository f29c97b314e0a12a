/*
 * A JSON answer as a tree, for looking things up in small answers. In an arena; bounded by it.
 */
#ifndef HK_CLI_VALUE_H
#define HK_CLI_VALUE_H

#include "codec/json.h"

struct hk_value {
    enum hk_json_type type; /* OBJECT, ARRAY, STRING, NUMBER, TRUE, FALSE, NULL */
    struct hk_str key;
    struct hk_str text;
    uint32_t count; /* of children */
    struct hk_value *first, *next;
};

/* Parses the whole text. HK_E_MALFORMED, HK_E_LIMIT, HK_E_NOMEM. */
hk_err hk_value_parse(struct hk_str text, struct hk_arena *arena, const struct hk_value **out)
    HK_MUST_CHECK;

/* Member `key` of an object, NULL when there is none; `value` may be NULL. */
const struct hk_value *hk_value_get(const struct hk_value *value, const char *key);

/* Item `index` of an array, NULL when there is none; `value` may be NULL. */
const struct hk_value *hk_value_at(const struct hk_value *value, uint32_t index);

/* Text of a string or number, "true", "false", or "" (also for NULL, objects and arrays). */
struct hk_str hk_value_text(const struct hk_value *value);

/* Number of a number or string, `otherwise` when it is none. */
double hk_value_number(const struct hk_value *value, double otherwise);

#endif
