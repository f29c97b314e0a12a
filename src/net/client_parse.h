/* Parser of HTTP/1.1 answers (RFC 9112 §6.3 for requests that are POST). Pure, incremental. */
#ifndef HK_NET_CLIENT_PARSE_H
#define HK_NET_CLIENT_PARSE_H

#include "net/http1_parse.h"

enum { HK_ANSWER_HEAD_MAX = 65536, HK_ANSWER_BODY_KEPT = 65536 };

enum hk_answer_state {
    HK_ANSWER_HEAD,
    HK_ANSWER_LENGTH,
    HK_ANSWER_CHUNKED,
    HK_ANSWER_TO_END, /* the body ends with the connection */
    HK_ANSWER_DONE,
};

struct hk_answer_parser {
    enum hk_answer_state state;
    struct hk_buf head; /* until it is complete */
    size_t scanned;
    struct hk_h1_chunks chunks;
    uint64_t left;
    uint64_t body_bytes; /* all, also what is not kept */
    struct hk_buf body;  /* the first HK_ANSWER_BODY_KEPT bytes */
    int status;
    bool keep_alive;
    const char *reason; /* why it is malformed, static text */
};

/* Prepares for the next answer; buffers are kept. Zero-initialise before the first time. */
void hk_answer_reset(struct hk_answer_parser *parser);

/* Frees the buffers. */
void hk_answer_deinit(struct hk_answer_parser *parser);

/*
 * Takes the next bytes. HK_OK when the answer is complete (`*out_used` says where it ended),
 * HK_MORE, HK_E_MALFORMED, HK_E_LIMIT or HK_E_NOMEM.
 */
hk_err hk_answer_feed(
    struct hk_answer_parser *parser, const char *data, size_t len, size_t *out_used) HK_MUST_CHECK;

/* The connection has ended: HK_OK if that completes the answer, HK_E_CLOSED otherwise. */
hk_err hk_answer_end(struct hk_answer_parser *parser) HK_MUST_CHECK;

#endif
