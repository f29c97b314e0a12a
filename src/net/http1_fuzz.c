/* Goal: no request head or chunked body breaks the parser, and where the input is cut makes no
 * difference to what is read. */
#include "base/mem.h"
#include "net/http1_parse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

/* Length of the head when the input comes in steps of `step` bytes. */
static int64_t find_end(const char *data, size_t len, size_t step) {
    size_t scanned = 0;
    for (size_t at = step; at < len; at += step) {
        int64_t end = hk_h1_find_end(data, at, &scanned);
        if (end != 0) return end;
    }
    return hk_h1_find_end(data, len, &scanned);
}

/* Bytes taken and payload of a chunked body; false on a syntax error. */
static bool
read_chunks(const char *data, size_t len, size_t step, size_t *out_taken, size_t *out_payload) {
    struct hk_h1_chunks chunks = { 0 };
    size_t at = 0;
    *out_payload = 0;
    while (at < len && chunks.state != HK_H1_CHUNK_DONE) {
        struct hk_str piece;
        size_t part = len - at < step ? len - at : step;
        int64_t took = hk_h1_chunks_next(&chunks, data + at, part, &piece);
        if (took < 0) return false;
        hk_assert(took > 0 && (size_t)took <= part);
        hk_assert(piece.ptr >= data + at && piece.ptr + piece.len <= data + at + took);
        *out_payload += piece.len;
        at += (size_t)took;
    }
    *out_taken = at;
    return true;
}

static void parse_head(const char *data, size_t len) {
    static struct hk_http_header headers[HK_HTTP_HEADERS_MAX];
    struct hk_h1_head head;
    char *copy = hk_mem_copy(data, len);
    if (copy == NULL) return;
    int status = hk_h1_parse_request(copy, len, headers, &head);
    hk_assert(status == 0 || (status >= 400 && status < 600 && head.reason != NULL));
    if (status == 0) {
        hk_assert(!(head.chunked && head.has_length));
        hk_assert(hk_http_is_token(head.method) && head.target.len > 0);
    }
    for (uint32_t i = 0; status == 0 && i < head.header_count; i++) {
        hk_assert(hk_http_is_token(headers[i].name) && hk_http_is_value(headers[i].value));
    }
    hk_mem_free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    if (bytes < 2) return 0;
    size_t step = 1 + data[0] % 32;
    const char *text = (const char *)data + 1;
    size_t len = bytes - 1;
    int64_t end = find_end(text, len, len);
    hk_assert(find_end(text, len, step) == end);
    if (end > 0) {
        parse_head(text, (size_t)end);
        text += end;
        len -= (size_t)end;
    }
    size_t taken[2] = { 0 };
    size_t payload[2] = { 0 };
    bool whole = len > 0 && read_chunks(text, len, len, &taken[0], &payload[0]);
    bool cut = len > 0 && read_chunks(text, len, step, &taken[1], &payload[1]);
    hk_assert(whole == cut);
    if (whole) hk_assert(taken[0] == taken[1] && payload[0] == payload[1]);
    return 0;
}
