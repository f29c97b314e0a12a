/*
 * Protobuf wire format (protobuf.dev, "Encoding"): a pull reader without objects and a small
 * writer. The reader walks one message; nested messages are read by a reader over their bytes.
 * Unknown fields are handed out like known ones, callers skip them by not looking. Groups (wire
 * types 3 and 4) and field number 0 are malformed. Pure functions, any thread.
 */
#ifndef HK_CODEC_PROTO_H
#define HK_CODEC_PROTO_H

#include "base/buf.h"
#include "base/str.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "hark needs a little-endian machine"
#endif

enum {
    HK_PROTO_VARINT = 0,
    HK_PROTO_FIXED64 = 1,
    HK_PROTO_BYTES = 2,
    HK_PROTO_FIXED32 = 5,
};

/* Number and wire type as they stand on the wire; what readers switch on. */
#define HK_PROTO_TAG(number, type) (((uint32_t)(number) << 3) | (uint32_t)(type))

/* What is left of a message; borrowed bytes. Invariant: at <= end. */
struct hk_proto {
    const uint8_t *at, *end;
};

/* One field. `value` is the varint, the fixed bits, or the length of the bytes at `ptr`. */
struct hk_proto_field {
    uint32_t tag;
    uint64_t value;
    const uint8_t *ptr; /* start of the content, whatever its type */
};

/* Reader over `bytes` bytes; NULL with 0 is an empty message. */
static inline struct hk_proto hk_proto_from(const void *data, size_t bytes) {
    const uint8_t *at = data == NULL ? (const uint8_t *)"" : data;
    return (struct hk_proto){ at, at + bytes };
}

/* Eight bytes as a little-endian number; no alignment needed. */
static inline uint64_t hk_proto_load64(const uint8_t *at) {
    uint64_t word = 0;
    memcpy(&word, at, sizeof(word));
    return word;
}

/* Four bytes as a little-endian number; no alignment needed. */
static inline uint32_t hk_proto_load32(const uint8_t *at) {
    uint32_t word = 0;
    memcpy(&word, at, sizeof(word));
    return word;
}

/* Bits of a fixed64 field as a double. */
static inline double hk_proto_double(uint64_t bits) {
    double value = 0;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

/* sint32 and sint64: 0, -1, 1, -2, … are sent as 0, 1, 2, 3, … */
static inline int64_t hk_proto_zigzag(uint64_t value) {
    return (int64_t)(value >> 1) ^ -(int64_t)(value & 1);
}

/* A varint of more than two bytes: the out-of-line half of hk_proto_varint. */
bool hk_proto_varint_long(struct hk_proto *reader, uint64_t *out);

/* Reads a varint of at most ten bytes; false (reader unmoved) when it is cut off or longer. */
static inline bool hk_proto_varint(struct hk_proto *reader, uint64_t *out) {
    if (HK_LIKELY(reader->at < reader->end && *reader->at < 0x80)) {
        *out = *reader->at++;
        return true;
    }
    if (reader->end - reader->at >= 2 && reader->at[1] < 0x80) {
        *out = (reader->at[0] & 0x7fU) | (uint64_t)reader->at[1] << 7;
        reader->at += 2;
        return true;
    }
    return hk_proto_varint_long(reader, out);
}

/* Next field: HK_OK, HK_END at the end of the message, HK_E_MALFORMED (no text; see the offset
 * of reader->at). */
static inline hk_err hk_proto_next(struct hk_proto *reader, struct hk_proto_field *out) {
    if (reader->at == reader->end) return HK_END;
    uint64_t tag = 0;
    if (!hk_proto_varint(reader, &tag) || tag < 8 || tag > UINT32_MAX) return HK_E_MALFORMED;
    out->tag = (uint32_t)tag;
    out->ptr = reader->at;
    const size_t left = (size_t)(reader->end - reader->at);
    switch (tag & 7) {
    case HK_PROTO_VARINT:
        return hk_proto_varint(reader, &out->value) ? HK_OK : HK_E_MALFORMED;
    case HK_PROTO_FIXED64:
        if (left < 8) return HK_E_MALFORMED;
        out->value = hk_proto_load64(reader->at);
        reader->at += 8;
        return HK_OK;
    case HK_PROTO_BYTES:
        if (!hk_proto_varint(reader, &out->value)) return HK_E_MALFORMED;
        out->ptr = reader->at;
        if (out->value > (uint64_t)(reader->end - reader->at)) return HK_E_MALFORMED;
        reader->at += out->value;
        return HK_OK;
    case HK_PROTO_FIXED32:
        if (left < 4) return HK_E_MALFORMED;
        out->value = hk_proto_load32(reader->at);
        reader->at += 4;
        return HK_OK;
    default:
        return HK_E_MALFORMED;
    }
}

/* Hot paths: content of a field at `at` whose tag is the one byte `tag` (of a HK_PROTO_BYTES field)
 * and whose length takes one or two bytes, all before `end`: its start, and its end in *out_end.
 * NULL: anything else, ask hk_proto_next. */
static inline const uint8_t *
hk_proto_usual(const uint8_t *at, const uint8_t *end, uint8_t tag, const uint8_t **out_end) {
    size_t left = (size_t)(end - at);
    if (left < 3 || at[0] != tag) return NULL;
    size_t bytes = at[1];
    at += 2;
    left -= 2;
    if (bytes >= 0x80) {
        if (*at >= 0x80) return NULL;
        bytes = (bytes & 0x7f) | (size_t)*at << 7;
        at++;
        left--;
    }
    if (bytes > left) return NULL;
    *out_end = at + bytes;
    return at;
}

/* Hot paths: bytes of the run of fields with this one-byte tag (of HK_PROTO_BYTES fields) that
 * begins `bytes` bytes before the end. The loop is as short as it can be: a hop may step over the
 * end by less than 16 KiB, which shows as a result greater than `bytes`; nothing is read there. A
 * field of over 16 KiB, or of no content as the last one, ends the run early. */
static inline size_t hk_proto_run(const uint8_t *at, size_t bytes, uint8_t tag) {
    size_t i = 0;
    while (i + 2 < bytes && at[i] == tag) {
        const size_t len = at[i + 1];
        if (HK_LIKELY(len < 0x80)) {
            i += 2 + len;
        } else {
            if (at[i + 2] >= 0x80) break;
            i += 3 + ((len & 0x7f) | (size_t)at[i + 2] << 7);
        }
    }
    return i;
}

/* Reader over the content of a HK_PROTO_BYTES field. */
static inline struct hk_proto hk_proto_sub(const struct hk_proto_field *field) {
    return (struct hk_proto){ field->ptr, field->ptr + field->value };
}

/* Content of a HK_PROTO_BYTES field, borrowed. */
static inline struct hk_str hk_proto_str(const struct hk_proto_field *field) {
    return (struct hk_str){ (const char *)field->ptr, (size_t)field->value };
}

/* Walks all of a message without going into nested ones: HK_OK or HK_E_MALFORMED. */
hk_err hk_proto_check(struct hk_proto reader) HK_MUST_CHECK;

/* Appending fields to `buf`; a failure sticks in buf->err. */
void hk_proto_put_raw_varint(struct hk_buf *buf, uint64_t value);
void hk_proto_put_varint(struct hk_buf *buf, uint32_t number, uint64_t value);
void hk_proto_put_zigzag(struct hk_buf *buf, uint32_t number, int64_t value);
void hk_proto_put_fixed64(struct hk_buf *buf, uint32_t number, uint64_t bits);
void hk_proto_put_fixed32(struct hk_buf *buf, uint32_t number, uint32_t bits);
void hk_proto_put_double(struct hk_buf *buf, uint32_t number, double value);
void hk_proto_put_str(struct hk_buf *buf, uint32_t number, struct hk_str str);

/* Begins a nested message; returns what hk_proto_end wants. Messages nest like brackets. */
size_t hk_proto_begin(struct hk_buf *buf, uint32_t number);

/* Ends it: writes its length in shortest form (moves the content when it has over 127 bytes). */
void hk_proto_end(struct hk_buf *buf, size_t begin);

#endif
