/* Exemplars as bytes. Model and codec are neighbours, so the few varints here are its own. */
#include "model/exemplar.h"

enum { VARINT_BYTES_MAX = 3 }; /* lengths are under 2^21 */

static size_t varint_bytes(size_t value) {
    return value < 1U << 7 ? 1 : value < 1U << 14 ? 2 : VARINT_BYTES_MAX;
}

static uint8_t *put_varint(uint8_t *to, size_t value) {
    for (; value >= 0x80; value >>= 7)
        *to++ = (uint8_t)(value | 0x80);
    *to++ = (uint8_t)value;
    return to;
}

static uint8_t *put_str(uint8_t *to, struct hk_str str) {
    to = put_varint(to, str.len);
    if (str.len > 0) memcpy(to, str.ptr, str.len);
    return to + str.len;
}

hk_err
hk_exemplar_encode(const struct hk_exemplar *exemplar, struct hk_arena *arena, struct hk_str *out) {
    const struct hk_labels labels = exemplar->labels;
    if (labels.count > HK_EXEMPLAR_LABELS_MAX) {
        return hk_fail(HK_E_LIMIT, "exemplar with over %d labels", HK_EXEMPLAR_LABELS_MAX);
    }
    size_t bytes = varint_bytes(labels.count) + 16;
    for (uint32_t i = 0; i < labels.count; i++) {
        const struct hk_str name = labels.items[i].name, value = labels.items[i].value;
        if (name.len > HK_EXEMPLAR_BYTES_MAX || value.len > HK_EXEMPLAR_BYTES_MAX) {
            return hk_fail(HK_E_LIMIT, "exemplar over %d bytes", HK_EXEMPLAR_BYTES_MAX);
        }
        bytes += varint_bytes(name.len) + name.len + varint_bytes(value.len) + value.len;
    }
    if (bytes > HK_EXEMPLAR_BYTES_MAX) {
        return hk_fail(HK_E_LIMIT, "exemplar over %d bytes", HK_EXEMPLAR_BYTES_MAX);
    }
    uint8_t *start = hk_arena_alloc_raw(arena, bytes, 1);
    if (start == NULL) return hk_fail(HK_E_NOMEM, "exemplar: out of memory");
    uint8_t *to = put_varint(start, labels.count);
    for (uint32_t i = 0; i < labels.count; i++) {
        to = put_str(to, labels.items[i].name);
        to = put_str(to, labels.items[i].value);
    }
    memcpy(to, &exemplar->value, 8);
    memcpy(to + 8, &exemplar->stamp_ms, 8);
    hk_assert(to + 16 == start + bytes);
    *out = (struct hk_str){ (const char *)start, bytes };
    return HK_OK;
}

struct reader {
    const uint8_t *at, *end;
};

static bool get_varint(struct reader *reader, size_t *out) {
    size_t value = 0;
    for (unsigned i = 0; i < VARINT_BYTES_MAX && reader->at < reader->end; i++) {
        const uint8_t byte = *reader->at++;
        value |= (size_t)(byte & 0x7f) << (7 * i);
        if (byte < 0x80) {
            *out = value;
            return true;
        }
    }
    return false;
}

static bool get_str(struct reader *reader, struct hk_str *out) {
    size_t len = 0;
    if (!get_varint(reader, &len) || len > (size_t)(reader->end - reader->at)) return false;
    *out = (struct hk_str){ (const char *)reader->at, len };
    reader->at += len;
    return true;
}

hk_err hk_exemplar_decode(struct hk_str bytes, struct hk_arena *arena, struct hk_exemplar *out) {
    const uint8_t *start = (const uint8_t *)bytes.ptr;
    struct reader reader = { start, start + bytes.len };
    size_t count = 0;
    if (bytes.len < 17 || bytes.len > HK_EXEMPLAR_BYTES_MAX || !get_varint(&reader, &count) ||
        count > HK_EXEMPLAR_LABELS_MAX) {
        return hk_fail(HK_E_CORRUPT, "exemplar: bad header");
    }
    struct hk_label *labels = hk_arena_alloc(arena, count == 0 ? 1 : count, sizeof(*labels));
    if (labels == NULL) return hk_fail(HK_E_NOMEM, "exemplar: out of memory");
    for (size_t i = 0; i < count; i++) {
        if (!get_str(&reader, &labels[i].name) || !get_str(&reader, &labels[i].value)) {
            return hk_fail(HK_E_CORRUPT, "exemplar: cut off in label %zu", i);
        }
    }
    if (reader.end - reader.at != 16) return hk_fail(HK_E_CORRUPT, "exemplar: wrong length");
    *out = (struct hk_exemplar){ .labels = { labels, (uint32_t)count } };
    memcpy(&out->value, reader.at, 8);
    memcpy(&out->stamp_ms, reader.at + 8, 8);
    return HK_OK;
}

static uint32_t chars_of(struct hk_str text) {
    uint32_t chars = 0;
    for (size_t i = 0; i < text.len; i++)
        chars += ((unsigned char)text.ptr[i] & 0xc0) != 0x80;
    return chars;
}

hk_err hk_exemplar_chars(struct hk_str bytes, uint32_t *out_chars) {
    const uint8_t *start = (const uint8_t *)bytes.ptr;
    struct reader reader = { start, start + bytes.len };
    size_t count = 0;
    uint32_t chars = 0;
    if (bytes.len < 17 || bytes.len > HK_EXEMPLAR_BYTES_MAX || !get_varint(&reader, &count) ||
        count > HK_EXEMPLAR_LABELS_MAX) {
        return HK_E_CORRUPT;
    }
    for (size_t i = 0; i < 2 * count; i++) {
        struct hk_str text = { "", 0 };
        if (!get_str(&reader, &text)) return HK_E_CORRUPT;
        chars += chars_of(text);
    }
    if (reader.end - reader.at != 16) return HK_E_CORRUPT;
    *out_chars = chars;
    return HK_OK;
}
