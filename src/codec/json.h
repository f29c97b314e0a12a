/*
 * JSON (RFC 8259) as a stream of tokens: strict, bounded, without recursion and without a tree.
 * Strings come unescaped (borrowed from the input when nothing was escaped, else in the arena),
 * numbers as their text. Lone surrogates become U+FFFD; invalid UTF-8 is malformed. Resumable by
 * nature: the caller asks for one token at a time. Not thread-safe.
 *
 *     struct hk_json json;
 *     hk_json_init(&json, text, arena);
 *     HK_TRY(hk_json_begin(&json, HK_JSON_OBJECT));
 *     while ((err = hk_json_next(&json)) == HK_OK && json.type != HK_JSON_OBJECT_END) {
 *         if (hk_str_is(json.key, "port")) HK_TRY(hk_json_i64(&json, &port));
 *         else HK_TRY(hk_json_skip(&json));
 *     }
 */
#ifndef HK_CODEC_JSON_H
#define HK_CODEC_JSON_H

#include "base/arena.h"
#include "base/str.h"

enum { HK_JSON_DEPTH_MAX = 64 };

enum hk_json_type {
    HK_JSON_NONE, /* before the first token */
    HK_JSON_OBJECT,
    HK_JSON_OBJECT_END,
    HK_JSON_ARRAY,
    HK_JSON_ARRAY_END,
    HK_JSON_STRING,
    HK_JSON_NUMBER,
    HK_JSON_TRUE,
    HK_JSON_FALSE,
    HK_JSON_NULL,
};

struct hk_json {
    /* The current token. */
    enum hk_json_type type;
    struct hk_str key;  /* of a value in an object; empty elsewhere and for ends */
    struct hk_str text; /* string without escapes, number as written */
    uint32_t depth;     /* open objects and arrays, this one included */
    /* Private. */
    const char *start, *at, *end;
    struct hk_arena *arena;
    uint64_t arrays; /* bit per level: is it an array? */
    bool first;      /* no element of the innermost level was read yet */
};

/* Reads `text` (borrowed); unescaped strings live in `arena`. */
void hk_json_init(struct hk_json *json, struct hk_str text, struct hk_arena *arena);

/* Next token: HK_OK, HK_END behind the one value that a text holds, HK_E_MALFORMED (text with the
 * byte offset), HK_E_LIMIT (too deep), HK_E_NOMEM. After a failure the reader is not used again. */
hk_err hk_json_next(struct hk_json *json) HK_MUST_CHECK;

/* If the current token opens an object or array: goes to its end. Else nothing. */
hk_err hk_json_skip(struct hk_json *json) HK_MUST_CHECK;

/* Next token, which must be of this type: HK_E_MALFORMED says what it is instead. */
hk_err hk_json_begin(struct hk_json *json, enum hk_json_type type) HK_MUST_CHECK;

/*
 * Value of the current token. Numbers may be written as strings too (proto3 JSON does so for 64-bit
 * integers), integers also as 1.0 or 1e3; hk_json_double also takes "NaN", "Infinity" and
 * "-Infinity". HK_E_MALFORMED with the key and the offset otherwise; `out` is left alone then.
 */
hk_err hk_json_i64(const struct hk_json *json, int64_t *out) HK_MUST_CHECK;
hk_err hk_json_u64(const struct hk_json *json, uint64_t *out) HK_MUST_CHECK;
hk_err hk_json_double(const struct hk_json *json, double *out) HK_MUST_CHECK;
hk_err hk_json_bool(const struct hk_json *json, bool *out) HK_MUST_CHECK;
hk_err hk_json_str(const struct hk_json *json, struct hk_str *out) HK_MUST_CHECK;

/* Bytes of the input read so far: where the current token ends. */
static inline size_t hk_json_offset(const struct hk_json *json) {
    return (size_t)(json->at - json->start);
}

/* Stores "json: <what> at byte N" and returns HK_E_MALFORMED. */
hk_err hk_json_fail(const struct hk_json *json, const char *what);

#endif
