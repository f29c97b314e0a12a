/* Content codings of requests and answers (RFC 9110 §8.4): gzip, deflate, zstd. */
#ifndef HK_NET_HTTP_CODEC_H
#define HK_NET_HTTP_CODEC_H

#include "base/buf.h"

enum hk_coding {
    HK_CODING_IDENTITY,
    HK_CODING_GZIP,
    HK_CODING_DEFLATE,
    HK_CODING_ZSTD,
    HK_CODING_SNAPPY,  /* left to the handler */
    HK_CODING_UNKNOWN, /* not understood here */
};

/* Reused compressors; belongs to one thread. Zero-initialise. */
struct hk_codec {
    struct z_stream_s *inflate, *deflate;
    struct ZSTD_DCtx_s *zstd_in;
    struct ZSTD_CCtx_s *zstd_out;
};

/* Frees the compressors. */
void hk_codec_deinit(struct hk_codec *codec);

/* The coding named by a Content-Encoding or grpc-encoding value. */
enum hk_coding hk_coding_named(struct hk_str name);

/*
 * Decodes `in` (gzip, deflate or zstd) into the empty buffer `out`, at most `bytes_max` bytes.
 * HK_E_LIMIT beyond, HK_E_MALFORMED when it is broken or ends early, HK_E_NOMEM.
 */
hk_err hk_codec_decode(
    struct hk_codec *codec, enum hk_coding coding, struct hk_str in, size_t bytes_max,
    struct hk_buf *out) HK_MUST_CHECK;

/* Encodes `in` (gzip or zstd) into the empty buffer `out`. HK_E_NOMEM. */
hk_err hk_codec_encode(
    struct hk_codec *codec, enum hk_coding coding, struct hk_str in,
    struct hk_buf *out) HK_MUST_CHECK;

/* The best coding (zstd, gzip or identity) that an Accept-Encoding value allows. */
enum hk_coding hk_coding_accepted(struct hk_str accept_encoding);

#endif
