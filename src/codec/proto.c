/* Protobuf: long varints and the writer. */
#include "codec/proto.h"

enum { VARINT_BYTES_MAX = 10 };

bool hk_proto_varint_long(struct hk_proto *reader, uint64_t *out) {
    uint64_t value = 0;
    const size_t left = (size_t)(reader->end - reader->at);
    const size_t count = left < VARINT_BYTES_MAX ? left : VARINT_BYTES_MAX;
    for (size_t i = 0; i < count; i++) {
        const uint64_t byte = reader->at[i];
        value |= (byte & 0x7f) << (7 * i); /* bits beyond 64 are dropped, as protobuf does */
        if (byte < 0x80) {
            reader->at += i + 1;
            *out = value;
            return true;
        }
    }
    return false;
}

hk_err hk_proto_check(struct hk_proto reader) {
    struct hk_proto_field field = { 0 };
    hk_err err = HK_OK;
    while ((err = hk_proto_next(&reader, &field)) == HK_OK) {
    }
    return err == HK_END ? HK_OK : err;
}

static size_t varint_write(uint8_t *out, uint64_t value) {
    size_t len = 0;
    while (value >= 0x80) {
        out[len++] = (uint8_t)(value | 0x80);
        value >>= 7;
    }
    out[len++] = (uint8_t)value;
    return len;
}

void hk_proto_put_raw_varint(struct hk_buf *buf, uint64_t value) {
    uint8_t bytes[VARINT_BYTES_MAX];
    hk_buf_bytes(buf, bytes, varint_write(bytes, value));
}

void hk_proto_put_varint(struct hk_buf *buf, uint32_t number, uint64_t value) {
    hk_proto_put_raw_varint(buf, HK_PROTO_TAG(number, HK_PROTO_VARINT));
    hk_proto_put_raw_varint(buf, value);
}

void hk_proto_put_zigzag(struct hk_buf *buf, uint32_t number, int64_t value) {
    hk_proto_put_varint(buf, number, ((uint64_t)value << 1) ^ (uint64_t)(value >> 63));
}

void hk_proto_put_fixed64(struct hk_buf *buf, uint32_t number, uint64_t bits) {
    hk_proto_put_raw_varint(buf, HK_PROTO_TAG(number, HK_PROTO_FIXED64));
    hk_buf_bytes(buf, &bits, sizeof(bits));
}

void hk_proto_put_fixed32(struct hk_buf *buf, uint32_t number, uint32_t bits) {
    hk_proto_put_raw_varint(buf, HK_PROTO_TAG(number, HK_PROTO_FIXED32));
    hk_buf_bytes(buf, &bits, sizeof(bits));
}

void hk_proto_put_double(struct hk_buf *buf, uint32_t number, double value) {
    uint64_t bits = 0;
    memcpy(&bits, &value, sizeof(bits));
    hk_proto_put_fixed64(buf, number, bits);
}

void hk_proto_put_str(struct hk_buf *buf, uint32_t number, struct hk_str str) {
    hk_proto_put_raw_varint(buf, HK_PROTO_TAG(number, HK_PROTO_BYTES));
    hk_proto_put_raw_varint(buf, str.len);
    hk_buf_str(buf, str);
}

size_t hk_proto_begin(struct hk_buf *buf, uint32_t number) {
    hk_proto_put_raw_varint(buf, HK_PROTO_TAG(number, HK_PROTO_BYTES));
    hk_buf_char(buf, 0); /* room for the usual length of one byte */
    return buf->len;
}

void hk_proto_end(struct hk_buf *buf, size_t begin) {
    if (buf->err < 0) return;
    const size_t bytes = buf->len - begin;
    uint8_t prefix[VARINT_BYTES_MAX];
    const size_t len = varint_write(prefix, bytes);
    if (len > 1) {
        if (hk_buf_reserve(buf, len - 1) == NULL) return;
        memmove(buf->ptr + begin + len - 1, buf->ptr + begin, bytes);
        buf->len += len - 1;
    }
    memcpy(buf->ptr + begin - 1, prefix, len);
}
