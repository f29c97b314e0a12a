/*
 * OTLP/JSON (OTLP specification 1.x, "JSON Protobuf Encoding"): proto3 JSON, but ids are hex and
 * enums are numbers. The text is written anew as protobuf, which then takes the one way that OTLP
 * takes, so that both encodings of a request give the same contexts and keys. Members come out in
 * the order of the text; members with their default value are left out, as in protobuf.
 * On the shard's thread, in short turns.
 */
#ifndef HK_INGEST_OTLP_JSON_H
#define HK_INGEST_OTLP_JSON_H

#include "codec/json.h"
#include "ingest/otlp.h"

enum hk_otlp_signal { HK_OTLP_METRICS, HK_OTLP_LOGS, HK_OTLP_TRACES };

struct hk_otlp_json_message; /* table of a message's members */
struct hk_otlp_json_field;

/* An open object or array. */
struct hk_otlp_json_frame {
    const struct hk_otlp_json_message *message; /* of an object, NULL for an array */
    const struct hk_otlp_json_field *field;     /* of an array: what its items are */
    size_t begin;                               /* see hk_proto_begin; 0 = nothing to end */
};

struct hk_otlp_transcoder {
    struct hk_json json;
    struct hk_arena arena; /* unescaped strings of the current turn */
    struct hk_buf out;
    const struct hk_otlp_json_message *root;
    struct hk_otlp_json_frame frames[HK_JSON_DEPTH_MAX];
    uint32_t depth;
    uint32_t skip_depth; /* unknown member: skip until the reader is this deep; 0 = none */
};

/* Begins a request of `signal`; `text` is borrowed, the result has at most `bytes_max` bytes. */
void hk_otlp_transcoder_init(
    struct hk_otlp_transcoder *transcoder, enum hk_otlp_signal signal, struct hk_str text,
    size_t bytes_max);

/* Frees the result and everything else. */
void hk_otlp_transcoder_deinit(struct hk_otlp_transcoder *transcoder);

/* Goes on for `tokens_max` tokens: HK_OK when done, HK_MORE, HK_E_MALFORMED (with the byte offset),
 * HK_E_LIMIT, HK_E_NOMEM. */
hk_err
hk_otlp_transcoder_step(struct hk_otlp_transcoder *transcoder, uint32_t tokens_max) HK_MUST_CHECK;

/* The protobuf request, once step gave HK_OK; lives until deinit. */
static inline struct hk_str hk_otlp_transcoder_get(const struct hk_otlp_transcoder *transcoder) {
    return hk_buf_get(&transcoder->out);
}

/* All at once, appended to `out` (whose limit counts): for short texts, or off the shard's thread.
 * Errors as of step. */
hk_err hk_otlp_json_to_proto(enum hk_otlp_signal signal, struct hk_str text, struct hk_buf *out)
    HK_MUST_CHECK;

struct hk_otlp_json {
    struct hk_otlp_transcoder transcoder;
    struct hk_otlp otlp;
    struct hk_hash128 base;
    const struct hk_otlp_options *options;
    struct hk_meta_seen *seen;
    bool ready; /* the transcoder is done */
};

/* As hk_otlp_init for a JSON body whose protobuf form has at most `bytes_max` bytes. */
void hk_otlp_json_init(
    struct hk_otlp_json *state, struct hk_str body, size_t bytes_max, struct hk_hash128 base,
    const struct hk_otlp_options *options, struct hk_meta_seen *seen);

/* When the last batch of the request was drained. */
void hk_otlp_json_deinit(struct hk_otlp_json *state);

/* State: struct hk_otlp_json; parse gives HK_FULL without entries while it reads the text.
 * Counters are in state->otlp.counts. */
extern const struct hk_metric_parser hk_parser_otlp_json;

#endif
