/* Base64. */
#include "codec/base64.h"

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void hk_base64_encode(struct hk_str bytes, struct hk_buf *out) {
    for (size_t i = 0; i < bytes.len; i += 3) {
        const size_t left = bytes.len - i < 3 ? bytes.len - i : 3;
        uint32_t word = 0;
        for (size_t k = 0; k < 3; k++)
            word = word << 8 | (k < left ? (uint8_t)bytes.ptr[i + k] : 0);
        for (size_t k = 0; k < 4; k++)
            hk_buf_char(out, k <= left ? alphabet[word >> (18 - 6 * k) & 63] : '=');
    }
}

/* Value of a digit, 64 for anything else. */
static uint32_t digit(char c) {
    if (c >= 'A' && c <= 'Z') return (uint32_t)(c - 'A');
    if (c >= 'a' && c <= 'z') return (uint32_t)(c - 'a') + 26;
    if (c >= '0' && c <= '9') return (uint32_t)(c - '0') + 52;
    if (c == '+' || c == '-') return 62;
    return c == '/' || c == '_' ? 63 : 64;
}

hk_err hk_base64_decode(struct hk_str text, struct hk_buf *out) {
    size_t len = text.len;
    for (unsigned pad = 0; pad < 2 && len > 0 && text.ptr[len - 1] == '='; pad++)
        len--;
    const bool padded = len < text.len;
    if (len % 4 == 1 || (padded && text.len % 4 != 0)) return HK_E_MALFORMED;
    uint32_t word = 0;
    unsigned bits = 0;
    for (size_t i = 0; i < len; i++) {
        const uint32_t value = digit(text.ptr[i]);
        if (value == 64) return HK_E_MALFORMED;
        word = word << 6 | value;
        bits += 6;
        if (bits < 8) continue;
        bits -= 8;
        hk_buf_char(out, (char)(word >> bits & 255));
    }
    if ((word & ((1U << bits) - 1)) != 0) return HK_E_MALFORMED;
    return out->err;
}
