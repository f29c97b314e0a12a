/* Parser of HTTP/1.1 answers. */
#include "net/client_parse.h"

void hk_answer_reset(struct hk_answer_parser *parser) {
    struct hk_buf head = parser->head;
    struct hk_buf body = parser->body;
    hk_buf_clear(&head);
    hk_buf_clear(&body);
    head.bytes_max = HK_ANSWER_HEAD_MAX;
    body.bytes_max = HK_ANSWER_BODY_KEPT;
    *parser = (struct hk_answer_parser){ .head = head, .body = body };
}

void hk_answer_deinit(struct hk_answer_parser *parser) {
    hk_buf_deinit(&parser->head);
    hk_buf_deinit(&parser->body);
}

static hk_err malformed(struct hk_answer_parser *parser, const char *reason) {
    parser->reason = reason;
    return HK_E_MALFORMED;
}

/* RFC 9112 §6.3: where the body ends. */
static hk_err begin_body(struct hk_answer_parser *parser, const struct hk_h1_head *head) {
    parser->keep_alive = head->keep_alive;
    parser->status = head->status;
    if (head->status == 101) return malformed(parser, "the server switched protocols");
    if (head->status < 200) {
        hk_buf_clear(&parser->head); /* 1xx: the real answer follows */
        parser->scanned = 0;
        parser->status = 0;
    } else if (head->status == 204 || head->status == 304) {
        parser->state = HK_ANSWER_DONE;
    } else if (head->chunked) {
        parser->state = HK_ANSWER_CHUNKED;
    } else if (head->has_length) {
        parser->left = head->content_length;
        parser->state = parser->left > 0 ? HK_ANSWER_LENGTH : HK_ANSWER_DONE;
    } else {
        parser->state = HK_ANSWER_TO_END;
        parser->keep_alive = false;
    }
    return HK_OK;
}

/* Takes bytes up to the end of the head. */
static hk_err
feed_head(struct hk_answer_parser *parser, const char *data, size_t len, size_t *used) {
    struct hk_http_header headers[HK_HTTP_HEADERS_MAX];
    size_t before = parser->head.len;
    size_t room = HK_ANSWER_HEAD_MAX - before;
    size_t take = len < room ? len : room;
    hk_buf_bytes(&parser->head, data, take);
    if (parser->head.err < 0) return parser->head.err;
    int64_t end = hk_h1_find_end(parser->head.ptr, parser->head.len, &parser->scanned);
    if (end < 0) return malformed(parser, "a line of the head does not end in CR LF");
    if (end == 0) {
        *used = take;
        if (parser->head.len == HK_ANSWER_HEAD_MAX) return HK_E_LIMIT;
        return HK_OK;
    }
    *used = (size_t)end - before;
    struct hk_h1_head head;
    if (hk_h1_parse_answer(parser->head.ptr, (size_t)end, headers, &head) != 0)
        return malformed(parser, head.reason);
    return begin_body(parser, &head);
}

static hk_err keep(struct hk_answer_parser *parser, const char *data, size_t len) {
    size_t room = HK_ANSWER_BODY_KEPT - parser->body.len;
    parser->body_bytes += len;
    hk_buf_bytes(&parser->body, data, len < room ? len : room);
    return parser->body.err;
}

static hk_err
feed_chunks(struct hk_answer_parser *parser, const char *data, size_t len, size_t *used) {
    struct hk_str piece;
    int64_t took = hk_h1_chunks_next(&parser->chunks, data, len, &piece);
    if (took < 0) return malformed(parser, "the chunked body is malformed");
    *used = (size_t)took;
    if (parser->chunks.state == HK_H1_CHUNK_DONE) parser->state = HK_ANSWER_DONE;
    return keep(parser, piece.ptr, piece.len);
}

static hk_err
feed_step(struct hk_answer_parser *parser, const char *data, size_t len, size_t *used) {
    switch (parser->state) {
    case HK_ANSWER_HEAD:
        return feed_head(parser, data, len, used);
    case HK_ANSWER_CHUNKED:
        return feed_chunks(parser, data, len, used);
    case HK_ANSWER_LENGTH:
        *used = len < parser->left ? len : (size_t)parser->left;
        parser->left -= *used;
        if (parser->left == 0) parser->state = HK_ANSWER_DONE;
        return keep(parser, data, *used);
    case HK_ANSWER_TO_END:
        *used = len;
        return keep(parser, data, len);
    case HK_ANSWER_DONE:
    default:
        return HK_OK;
    }
}

hk_err
hk_answer_feed(struct hk_answer_parser *parser, const char *data, size_t len, size_t *out_used) {
    size_t at = 0;
    while (at < len && parser->state != HK_ANSWER_DONE) {
        size_t used = 0;
        HK_TRY(feed_step(parser, data + at, len - at, &used));
        at += used;
    }
    *out_used = at;
    return parser->state == HK_ANSWER_DONE ? HK_OK : HK_MORE;
}

hk_err hk_answer_end(struct hk_answer_parser *parser) {
    if (parser->state == HK_ANSWER_TO_END) parser->state = HK_ANSWER_DONE;
    return parser->state == HK_ANSWER_DONE ? HK_OK : HK_E_CLOSED;
}
