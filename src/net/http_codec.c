/* Content codings over zlib and zstd. Output grows by doubling and stops at the limit, so that a
 * decompression bomb costs no more than the limit. */
#include "net/http_codec.h"

#include "base/mem.h"

#include <zlib.h>
#include <zstd.h>

enum {
    STEP_BYTES = 65536,
    WINDOW_GZIP = 15 + 16, /* zlib's code for "gzip wrapper" */
    WINDOW_ZLIB = 15,
    WINDOW_RAW = -15,
    ZSTD_WINDOW_LOG_MAX = 23, /* 8 MiB, RFC 9659 */
    LEVEL = 1,
};

void hk_codec_deinit(struct hk_codec *codec) {
    if (codec->inflate != NULL) (void)inflateEnd(codec->inflate);
    if (codec->deflate != NULL) (void)deflateEnd(codec->deflate);
    hk_mem_free(codec->inflate);
    hk_mem_free(codec->deflate);
    (void)ZSTD_freeDCtx(codec->zstd_in);
    (void)ZSTD_freeCCtx(codec->zstd_out);
    *codec = (struct hk_codec){ 0 };
}

enum hk_coding hk_coding_named(struct hk_str name) {
    static const struct {
        const char *name;
        enum hk_coding coding;
    } names[] = {
        { "", HK_CODING_IDENTITY },       { "identity", HK_CODING_IDENTITY },
        { "gzip", HK_CODING_GZIP },       { "x-gzip", HK_CODING_GZIP },
        { "deflate", HK_CODING_DEFLATE }, { "zstd", HK_CODING_ZSTD },
        { "snappy", HK_CODING_SNAPPY },   { "x-snappy-framed", HK_CODING_SNAPPY },
    };
    for (size_t i = 0; i < HK_COUNT(names); i++) {
        if (hk_str_eq_nocase(name, hk_str_from(names[i].name))) return names[i].coding;
    }
    return HK_CODING_UNKNOWN;
}

/* Room for the next step of output: never more than one byte over the limit. */
static char *room(struct hk_buf *out, size_t bytes_max, size_t *bytes) {
    size_t left = bytes_max + 1 - out->len;
    size_t spare = out->capacity - out->len;
    *bytes = spare >= 4096 ? spare : STEP_BYTES;
    if (*bytes > left) *bytes = left;
    return hk_buf_reserve(out, *bytes);
}

static void first_room(struct hk_buf *out, size_t bytes_max, uint64_t guess) {
    if (guess > bytes_max) guess = bytes_max;
    if (guess > 0) (void)hk_buf_reserve(out, (size_t)guess);
}

/* A raw deflate stream does not begin with a zlib header (RFC 1950 §2.2); some senders mean it. */
static int window_for(enum hk_coding coding, struct hk_str in) {
    if (coding == HK_CODING_GZIP) return WINDOW_GZIP;
    if (in.len < 2) return WINDOW_ZLIB;
    unsigned cmf = (unsigned char)in.ptr[0];
    unsigned flags = (unsigned char)in.ptr[1];
    return (cmf & 15) == 8 && (cmf * 256 + flags) % 31 == 0 ? WINDOW_ZLIB : WINDOW_RAW;
}

static hk_err begin_inflate(struct hk_codec *codec, int window) {
    if (codec->inflate != NULL) {
        return inflateReset2(codec->inflate, window) == Z_OK ? HK_OK : HK_E_NOMEM;
    }
    struct z_stream_s *stream = hk_mem_alloc(1, sizeof(*stream));
    if (stream == NULL) return HK_E_NOMEM;
    if (inflateInit2(stream, window) != Z_OK) {
        hk_mem_free(stream);
        return HK_E_NOMEM;
    }
    codec->inflate = stream;
    return HK_OK;
}

static hk_err inflate_all(
    struct z_stream_s *stream, enum hk_coding coding, size_t bytes_max, struct hk_buf *out) {
    for (;;) {
        size_t bytes = 0;
        char *to = room(out, bytes_max, &bytes);
        if (to == NULL) return out->err;
        stream->next_out = (Bytef *)to;
        stream->avail_out = bytes > UINT32_MAX ? UINT32_MAX : (uInt)bytes;
        uInt before = stream->avail_out;
        int done = inflate(stream, Z_NO_FLUSH);
        out->len += before - stream->avail_out;
        if (out->len > bytes_max) return HK_E_LIMIT;
        if (done == Z_STREAM_END) {
            if (stream->avail_in == 0) return HK_OK;
            /* RFC 1952 §2.2: a gzip file may have several members. */
            if (coding != HK_CODING_GZIP || inflateReset(stream) != Z_OK) return HK_E_MALFORMED;
        } else if (done == Z_MEM_ERROR) {
            return HK_E_NOMEM;
        } else if (done != Z_OK || (stream->avail_in == 0 && stream->avail_out > 0)) {
            return HK_E_MALFORMED;
        }
    }
}

static hk_err decode_zlib(
    struct hk_codec *codec, enum hk_coding coding, struct hk_str in, size_t bytes_max,
    struct hk_buf *out) {
    if (in.len > UINT32_MAX) return HK_E_LIMIT;
    HK_TRY(begin_inflate(codec, window_for(coding, in)));
    struct z_stream_s *stream = codec->inflate;
    stream->next_in = (z_const Bytef *)(uintptr_t)in.ptr;
    stream->avail_in = (uInt)in.len;
    first_room(out, bytes_max, (uint64_t)in.len * 4);
    return inflate_all(stream, coding, bytes_max, out);
}

static hk_err
decode_zstd(struct hk_codec *codec, struct hk_str in, size_t bytes_max, struct hk_buf *out) {
    if (codec->zstd_in == NULL) {
        codec->zstd_in = ZSTD_createDCtx();
        if (codec->zstd_in == NULL) return HK_E_NOMEM;
        (void)ZSTD_DCtx_setParameter(codec->zstd_in, ZSTD_d_windowLogMax, ZSTD_WINDOW_LOG_MAX);
    }
    (void)ZSTD_DCtx_reset(codec->zstd_in, ZSTD_reset_session_only);
    unsigned long long size = ZSTD_getFrameContentSize(in.ptr, in.len);
    bool known = size != ZSTD_CONTENTSIZE_UNKNOWN && size != ZSTD_CONTENTSIZE_ERROR;
    if (known && size > bytes_max) return HK_E_LIMIT;
    /* A declared size is believed only as far as such a body could plausibly reach it. */
    first_room(out, bytes_max, known && size / 64 <= in.len ? size + 1 : in.len * 4);
    ZSTD_inBuffer from = { in.ptr, in.len, 0 };
    size_t left = 1;
    while (left != 0 || from.pos < from.size) {
        size_t bytes = 0;
        char *at = room(out, bytes_max, &bytes);
        if (at == NULL) return out->err;
        ZSTD_outBuffer to = { at, bytes, 0 };
        size_t read_before = from.pos;
        left = ZSTD_decompressStream(codec->zstd_in, &to, &from);
        if (ZSTD_isError(left)) return HK_E_MALFORMED;
        out->len += to.pos;
        if (out->len > bytes_max) return HK_E_LIMIT;
        if (left != 0 && to.pos == 0 && from.pos == read_before) return HK_E_MALFORMED;
    }
    return HK_OK;
}

hk_err hk_codec_decode(
    struct hk_codec *codec, enum hk_coding coding, struct hk_str in, size_t bytes_max,
    struct hk_buf *out) {
    out->bytes_max = bytes_max + 1;
    if (in.len == 0) return HK_E_MALFORMED;
    if (coding == HK_CODING_GZIP || coding == HK_CODING_DEFLATE)
        return decode_zlib(codec, coding, in, bytes_max, out);
    if (coding == HK_CODING_ZSTD) return decode_zstd(codec, in, bytes_max, out);
    return HK_E_UNSUPPORTED;
}

static hk_err encode_gzip(struct hk_codec *codec, struct hk_str in, struct hk_buf *out) {
    if (codec->deflate == NULL) {
        struct z_stream_s *stream = hk_mem_alloc(1, sizeof(*stream));
        if (stream == NULL) return HK_E_NOMEM;
        if (deflateInit2(stream, LEVEL, Z_DEFLATED, WINDOW_GZIP, 8, Z_DEFAULT_STRATEGY) != Z_OK) {
            hk_mem_free(stream);
            return HK_E_NOMEM;
        }
        codec->deflate = stream;
    }
    struct z_stream_s *stream = codec->deflate;
    if (deflateReset(stream) != Z_OK || in.len > UINT32_MAX / 2) return HK_E_NOMEM;
    size_t bytes = deflateBound(stream, (uLong)in.len);
    stream->next_in = (z_const Bytef *)(uintptr_t)in.ptr;
    stream->avail_in = (uInt)in.len;
    stream->next_out = (Bytef *)hk_buf_reserve(out, bytes);
    stream->avail_out = (uInt)bytes;
    if (stream->next_out == NULL || deflate(stream, Z_FINISH) != Z_STREAM_END) return HK_E_NOMEM;
    out->len += bytes - stream->avail_out;
    return HK_OK;
}

static hk_err encode_zstd(struct hk_codec *codec, struct hk_str in, struct hk_buf *out) {
    if (codec->zstd_out == NULL) codec->zstd_out = ZSTD_createCCtx();
    if (codec->zstd_out == NULL) return HK_E_NOMEM;
    size_t bytes = ZSTD_compressBound(in.len);
    char *to = hk_buf_reserve(out, bytes);
    if (to == NULL) return HK_E_NOMEM;
    size_t done = ZSTD_compressCCtx(codec->zstd_out, to, bytes, in.ptr, in.len, LEVEL);
    if (ZSTD_isError(done)) return HK_E_NOMEM;
    out->len += done;
    return HK_OK;
}

hk_err hk_codec_encode(
    struct hk_codec *codec, enum hk_coding coding, struct hk_str in, struct hk_buf *out) {
    out->bytes_max = SIZE_MAX;
    if (coding == HK_CODING_GZIP) return encode_gzip(codec, in, out);
    if (coding == HK_CODING_ZSTD) return encode_zstd(codec, in, out);
    return HK_E_UNSUPPORTED;
}

/* Weight of one element in thousandths (RFC 9110 §12.4.2); a broken weight counts as 0. */
static int weight_of(struct hk_str element) {
    size_t at = hk_str_find(element, ';', 0);
    if (at >= element.len) return 1000;
    struct hk_str param = hk_str_trim(hk_str_part(element, at + 1, element.len));
    double value = 0;
    if (param.len < 3 || (param.ptr[0] != 'q' && param.ptr[0] != 'Q') || param.ptr[1] != '=')
        return 0;
    if (hk_parse_double(hk_str_part(param, 2, param.len), &value) < 0) return 0;
    return value >= 0 && value <= 1 ? (int)(value * 1000) : 0;
}

enum hk_coding hk_coding_accepted(struct hk_str accept_encoding) {
    enum hk_coding best = HK_CODING_IDENTITY;
    int best_weight = 0;
    size_t at = 0;
    while (at < accept_encoding.len) {
        size_t end = hk_str_find(accept_encoding, ',', at);
        struct hk_str element = hk_str_trim(hk_str_part(accept_encoding, at, end));
        struct hk_str name = hk_str_trim(hk_str_part(element, 0, hk_str_find(element, ';', 0)));
        enum hk_coding coding = name.len == 0 ? HK_CODING_UNKNOWN : hk_coding_named(name);
        int weight = weight_of(element);
        bool ours = coding == HK_CODING_GZIP || coding == HK_CODING_ZSTD;
        if (ours && (weight > best_weight || (weight == best_weight && coding > best))) {
            best = weight > 0 ? coding : best;
            best_weight = weight;
        }
        at = end + 1;
    }
    return best;
}
