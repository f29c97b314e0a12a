/*
 * HTTP/1.1 message syntax (RFC 9112), strict: what two parsers could read differently is refused,
 * so that no proxy in front can be tricked into request smuggling (RFC 9112 §11.2). Pure functions.
 */
#ifndef HK_NET_HTTP1_PARSE_H
#define HK_NET_HTTP1_PARSE_H

#include "net/http.h"

enum { HK_HTTP_HEADERS_MAX = 256 };

/* Start line and header fields; everything points into the parsed bytes. */
struct hk_h1_head {
    struct hk_str method, target; /* of a request */
    int status;                   /* of an answer */
    unsigned minor;               /* HTTP/1.minor, 0 or 1 */
    uint32_t header_count;
    uint64_t content_length; /* valid if has_length */
    bool has_length, chunked, keep_alive, expect_continue;
    struct hk_str host;
    const char *reason; /* why it was refused, static text */
};

/*
 * Looks for the end of the head in `data[0..len)`. `*scanned` is what earlier calls have seen
 * (0 at first). Returns the head's length including the empty line, 0 when more bytes are needed,
 * or -1 when a line does not end in CRLF.
 */
int64_t hk_h1_find_end(const char *data, size_t len, size_t *scanned);

/*
 * Parses the head of a request found by hk_h1_find_end; header names are made lower case in place.
 * `headers` has HK_HTTP_HEADERS_MAX places. Returns 0 or the HTTP status to answer with.
 */
int hk_h1_parse_request(
    char *data, size_t len, struct hk_http_header *headers, struct hk_h1_head *out);

/* The same for the head of an answer (status line). Returns 0 or -1 with out->reason. */
int hk_h1_parse_answer(
    char *data, size_t len, struct hk_http_header *headers, struct hk_h1_head *out);

enum hk_h1_chunk_state {
    HK_H1_CHUNK_SIZE,
    HK_H1_CHUNK_EXTENSION,
    HK_H1_CHUNK_SIZE_LF,
    HK_H1_CHUNK_DATA,
    HK_H1_CHUNK_DATA_CR,
    HK_H1_CHUNK_DATA_LF,
    HK_H1_CHUNK_TRAILER,
    HK_H1_CHUNK_DONE,
};

/* Decoder of the chunked coding; zero-initialise. */
struct hk_h1_chunks {
    enum hk_h1_chunk_state state;
    uint64_t left;         /* bytes of the current chunk still to come */
    unsigned digits;       /* of the size read so far */
    size_t overhead_bytes; /* extensions and trailers so far */
    size_t trailer_line;   /* bytes of the present trailer line */
    char last;             /* byte before the present one, in trailers */
};

/*
 * Takes bytes of `data[0..len)` up to the next piece of payload. Sets `*out` to the piece (empty
 * when there is none yet) and returns the bytes taken including it, or -1 on a syntax error.
 * The body is complete when state is HK_H1_CHUNK_DONE.
 */
int64_t
hk_h1_chunks_next(struct hk_h1_chunks *chunks, const char *data, size_t len, struct hk_str *out);

/* Is `str` a token (RFC 9110 §5.6.2) of at least one byte? */
bool hk_http_is_token(struct hk_str str);

/* May `str` stand in a field value: no control bytes but tab (RFC 9110 §5.5)? */
bool hk_http_is_value(struct hk_str str);

/* Does the comma-separated list hold `word` (ASCII case-insensitive)? */
bool hk_http_list_has(struct hk_str list, struct hk_str word);

#endif
