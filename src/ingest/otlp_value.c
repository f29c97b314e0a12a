/* Attribute values as text. Nested values are written with an explicit stack. */
#include "codec/base64.h"
#include "ingest/otlp_internal.h"

#include <stdlib.h>

enum {
    ANY_STRING = HK_PROTO_TAG(1, HK_PROTO_BYTES),
    ANY_BOOL = HK_PROTO_TAG(2, HK_PROTO_VARINT),
    ANY_INT = HK_PROTO_TAG(3, HK_PROTO_VARINT),
    ANY_DOUBLE = HK_PROTO_TAG(4, HK_PROTO_FIXED64),
    ANY_ARRAY = HK_PROTO_TAG(5, HK_PROTO_BYTES),
    ANY_MAP = HK_PROTO_TAG(6, HK_PROTO_BYTES),
    ANY_BYTES = HK_PROTO_TAG(7, HK_PROTO_BYTES),
    ITEM = HK_PROTO_TAG(1, HK_PROTO_BYTES), /* of ArrayValue and KeyValueList */
    ITEMS_MAX = HK_LABEL_VALUE_BYTES_MAX / 2,
};

/* An array or map that is being written. */
struct frame {
    struct hk_label *items; /* name: key of a map; value: AnyValue message */
    uint32_t count, next;
    bool map;
};

/* The field of the oneof that counts: the last one. tag 0 = no value. */
static hk_err read_any(struct hk_str message, struct hk_proto_field *out) {
    struct hk_proto reader = hk_proto_from(message.ptr, message.len);
    struct hk_proto_field field = { 0 };
    hk_err err = HK_OK;
    *out = (struct hk_proto_field){ .ptr = (const uint8_t *)"" };
    while ((err = hk_proto_next(&reader, &field)) == HK_OK) {
        if (field.tag >> 3 >= 1 && field.tag >> 3 <= 7) *out = field;
    }
    return err == HK_END ? HK_OK : hk_fail(HK_E_MALFORMED, "otlp: broken attribute value");
}

static int by_key(const void *a, const void *b) {
    return hk_str_cmp(((const struct hk_label *)a)->name, ((const struct hk_label *)b)->name);
}

static hk_err
open_frame(const struct hk_proto_field *field, struct hk_arena *arena, struct frame *out) {
    *out = (struct frame){ .map = field->tag == ANY_MAP };
    struct hk_proto reader = hk_proto_sub(field);
    struct hk_proto_field item = { 0 };
    hk_err err = HK_OK;
    while ((err = hk_proto_next(&reader, &item)) == HK_OK)
        out->count += item.tag == ITEM;
    if (err < 0) return hk_fail(HK_E_MALFORMED, "otlp: broken attribute value");
    if (out->count > ITEMS_MAX) return hk_fail(HK_E_LIMIT, "otlp: attribute value too large");
    out->items = hk_arena_alloc(arena, (size_t)out->count + 1, sizeof(*out->items));
    if (out->items == NULL) return hk_fail(HK_E_NOMEM, "otlp: out of memory");
    reader = hk_proto_sub(field);
    uint32_t i = 0;
    while (hk_proto_next(&reader, &item) == HK_OK) {
        if (item.tag != ITEM) continue;
        struct hk_label *to = &out->items[i++];
        to->value = hk_proto_str(&item);
        if (out->map && hk_otlp_key_value(to->value, to) < 0) {
            return hk_fail(HK_E_MALFORMED, "otlp: broken attribute value");
        }
    }
    if (out->map && out->count > 1) qsort(out->items, out->count, sizeof(*out->items), by_key);
    return HK_OK;
}

/* Writes a value that is no array or map; `json`: as JSON, else as plain text. */
static void put_scalar(const struct hk_proto_field *field, bool json, struct hk_buf *out) {
    const double number = hk_proto_double(field->value);
    const bool quote = json && (field->tag == ANY_BYTES ||
                                (field->tag == ANY_DOUBLE && !__builtin_isfinite(number)));
    if (quote) hk_buf_char(out, '"');
    switch (field->tag) {
    case ANY_STRING:
        if (json) {
            hk_buf_json(out, hk_proto_str(field));
        } else {
            hk_buf_str(out, hk_proto_str(field));
        }
        break;
    case ANY_BOOL:
        hk_buf_text(out, field->value != 0 ? "true" : "false");
        break;
    case ANY_INT:
        hk_buf_printf(out, "%lld", (long long)field->value);
        break;
    case ANY_DOUBLE:
        hk_buf_double(out, number);
        break;
    case ANY_BYTES:
        hk_base64_encode(hk_proto_str(field), out);
        break;
    default:
        if (json) hk_buf_text(out, "null");
        break;
    }
    if (quote) hk_buf_char(out, '"');
}

static bool is_nested(const struct hk_proto_field *field) {
    return field->tag == ANY_ARRAY || field->tag == ANY_MAP;
}

static hk_err
put_nested(const struct hk_proto_field *root, struct hk_arena *arena, struct hk_buf *out) {
    struct frame stack[HK_OTLP_VALUE_DEPTH_MAX];
    uint32_t depth = 1;
    HK_TRY(open_frame(root, arena, &stack[0]));
    hk_buf_char(out, stack[0].map ? '{' : '[');
    while (depth > 0 && out->err == HK_OK) {
        struct frame *top = &stack[depth - 1];
        if (top->next == top->count) {
            hk_buf_char(out, top->map ? '}' : ']');
            depth--;
            continue;
        }
        const struct hk_label *item = &top->items[top->next];
        if (top->next++ > 0) hk_buf_char(out, ',');
        if (top->map) {
            hk_buf_json(out, item->name);
            hk_buf_char(out, ':');
        }
        struct hk_proto_field field = { 0 };
        HK_TRY(read_any(item->value, &field));
        if (!is_nested(&field)) {
            put_scalar(&field, true, out);
            continue;
        }
        if (depth == HK_OTLP_VALUE_DEPTH_MAX) {
            return hk_fail(
                HK_E_LIMIT, "otlp: attribute value nested over %d deep", HK_OTLP_VALUE_DEPTH_MAX);
        }
        HK_TRY(open_frame(&field, arena, &stack[depth]));
        hk_buf_char(out, stack[depth++].map ? '{' : '[');
    }
    return HK_OK;
}

hk_err hk_otlp_value_text(struct hk_str message, struct hk_arena *arena, struct hk_str *out) {
    struct hk_proto_field field = { 0 };
    HK_TRY(read_any(message, &field));
    if (field.tag == ANY_STRING) {
        *out = hk_proto_str(&field);
        return HK_OK;
    }
    struct hk_buf buf;
    hk_buf_init(&buf, HK_LABEL_VALUE_BYTES_MAX);
    hk_err err = HK_OK;
    if (is_nested(&field)) {
        err = put_nested(&field, arena, &buf);
    } else {
        put_scalar(&field, false, &buf);
    }
    if (err == HK_OK && buf.err < 0) {
        err = hk_fail(buf.err, "otlp: attribute value over %d bytes", HK_LABEL_VALUE_BYTES_MAX);
    }
    if (err == HK_OK) {
        *out = hk_arena_str(arena, hk_buf_get(&buf));
        if (out->ptr == NULL) err = hk_fail(HK_E_NOMEM, "otlp: out of memory");
    }
    hk_buf_deinit(&buf);
    return err;
}
