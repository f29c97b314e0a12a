/* Goal: no server's answer breaks the client's parser, however it is cut. */
#include "net/client_parse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static hk_err parse(struct hk_answer_parser *parser, const char *data, size_t len, size_t step) {
    hk_answer_reset(parser);
    for (size_t at = 0; at < len; at += step) {
        size_t used = 0;
        size_t part = len - at < step ? len - at : step;
        hk_err err = hk_answer_feed(parser, data + at, part, &used);
        hk_assert(used <= part);
        if (err != HK_MORE) return err;
    }
    return hk_answer_end(parser);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    static struct hk_answer_parser whole, cut;
    if (bytes < 2) return 0;
    const char *text = (const char *)data + 1;
    hk_err first = parse(&whole, text, bytes - 1, bytes - 1);
    hk_err second = parse(&cut, text, bytes - 1, 1 + data[0] % 32);
    hk_assert(first == second);
    if (first != HK_OK) return 0;
    hk_assert(whole.status == cut.status && whole.status >= 200);
    hk_assert(hk_str_eq(hk_buf_get(&whole.body), hk_buf_get(&cut.body)));
    hk_assert(whole.body_bytes == cut.body_bytes && whole.keep_alive == cut.keep_alive);
    return 0;
}
