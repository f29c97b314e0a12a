/* gRPC on top of HTTP/2: message frames and status codes. */
#include "codec/base64.h"
#include "net/http_internal.h"

enum {
    GRPC_INVALID_ARGUMENT = 3,
    GRPC_PERMISSION_DENIED = 7,
    GRPC_RESOURCE_EXHAUSTED = 8,
    GRPC_UNIMPLEMENTED = 12,
    GRPC_INTERNAL = 13,
    GRPC_UNAVAILABLE = 14,
    GRPC_UNAUTHENTICATED = 16,
    GRPC_UNKNOWN = 2,
    GRPC_DEADLINE = 4,
    PREFIX_BYTES = 5,
};

int hk_grpc_status_of(int http_status) {
    switch (http_status) {
    case 400:
        return GRPC_INVALID_ARGUMENT;
    case 401:
        return GRPC_UNAUTHENTICATED;
    case 403:
        return GRPC_PERMISSION_DENIED;
    case 404:
    case 415:
        return GRPC_UNIMPLEMENTED;
    case 408:
        return GRPC_DEADLINE;
    case 413:
    case 431:
        return GRPC_RESOURCE_EXHAUSTED;
    case 429:
    case 502:
    case 503:
    case 504:
        return GRPC_UNAVAILABLE;
    case 500:
        return GRPC_INTERNAL;
    default:
        return GRPC_UNKNOWN;
    }
}

int hk_grpc_unframe(
    struct hk_http_exchange *exchange, struct hk_str *out_message, const char **out_text) {
    struct hk_str frame = *out_message;
    const struct hk_http_request *request = &exchange->request;
    *out_text = "the request is not one gRPC message: 1 byte flag, 4 bytes length, message";
    if (frame.len < PREFIX_BYTES) return GRPC_INTERNAL;
    const unsigned char *prefix = (const unsigned char *)frame.ptr;
    size_t len = (size_t)prefix[1] << 24 | (size_t)prefix[2] << 16 | (size_t)prefix[3] << 8 |
                 (size_t)prefix[4];
    if (prefix[0] > 1) return GRPC_INTERNAL;
    if (len != frame.len - PREFIX_BYTES) return GRPC_INTERNAL;
    *out_message = hk_str_part(frame, PREFIX_BYTES, frame.len);
    exchange->coding = HK_CODING_IDENTITY;
    if (prefix[0] == 0) return 0;
    struct hk_str name = hk_http_header_get(request, HK_STR("grpc-encoding"));
    exchange->coding = hk_coding_named(name);
    if (exchange->coding == HK_CODING_IDENTITY) {
        *out_text = "the message is flagged as compressed, but grpc-encoding is missing";
        return GRPC_INTERNAL;
    }
    if (exchange->coding == HK_CODING_UNKNOWN || exchange->coding == HK_CODING_SNAPPY) {
        *out_text = "unknown grpc-encoding; send identity, gzip, deflate or zstd";
        return GRPC_UNIMPLEMENTED;
    }
    return 0;
}

/* gRPC over HTTP/2, "Status-Message": bytes outside of printable ASCII, and '%'. */
struct hk_str hk_grpc_text(struct hk_arena *arena, struct hk_str text) {
    static const char hex[] = "0123456789ABCDEF";
    char *to = text.len > SIZE_MAX / 3 ? NULL : hk_arena_alloc_raw(arena, text.len * 3 + 1, 1);
    if (to == NULL) return (struct hk_str){ NULL, 0 };
    size_t len = 0;
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        if (c >= 0x20 && c < 0x7f && c != '%') {
            to[len++] = (char)c;
            continue;
        }
        to[len++] = '%';
        to[len++] = hex[c >> 4];
        to[len++] = hex[c & 15];
    }
    return (struct hk_str){ to, len };
}

struct hk_str hk_grpc_base64(struct hk_arena *arena, struct hk_str bytes) {
    struct hk_buf text;
    hk_buf_init(&text, SIZE_MAX / 2);
    hk_base64_encode(bytes, &text);
    while (text.len > 0 && text.ptr[text.len - 1] == '=')
        text.len--;
    struct hk_str copy = { NULL, 0 };
    if (text.err == HK_OK) copy = hk_arena_str(arena, hk_buf_get(&text));
    hk_buf_deinit(&text);
    return copy;
}
