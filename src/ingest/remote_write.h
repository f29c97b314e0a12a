/*
 * Prometheus Remote Write 1.0 (prometheus.WriteRequest) and 2.0 (io.prometheus.write.v2.Request):
 * resumable parsers of the uncompressed body, see model/batch.h. One state per request, on the
 * shard's thread. Not copied: keys point into the body.
 *
 * Identity. 1.0: the bytes of the series' label fields as they stand on the wire; scattered label
 * fields are first put together in the batch arena. 2.0: 16 bytes, a keyed hash over the keyed
 * hashes of the symbols in order, so that the numbering of symbols in a request does not matter.
 * It holds for one process only: on disk it means nothing.
 */
#ifndef HK_INGEST_REMOTE_WRITE_H
#define HK_INGEST_REMOTE_WRITE_H

#include "codec/proto.h"
#include "ingest/meta_seen.h"
#include "model/batch.h"

enum {
    HK_RW_SERIES_BYTES_MAX = 4 << 20, /* one series of a request: HK_E_LIMIT beyond */
    HK_RW2_SYMBOLS_MAX = 1 << 18,     /* of one request: HK_E_LIMIT beyond */
    HK_RW2_TURN_SYMBOLS = 1024,       /* collected in one turn */
    HK_RW_TURN_FIELDS = 4096, /* unusual fields and series walked in one turn, then HK_FULL */
};

/*
 * Handed out in entries so far (what the 2.0 answer's X-Prometheus-Remote-Write-…-Written headers
 * report, less what the ingest pass drops later; entries tell their kind). Exemplars are no points.
 */
struct hk_rw_counts {
    uint64_t samples, histograms, exemplars;
    uint64_t exemplars_rejected; /* too large or malformed */
};

/*
 * Guess of the next series, verified: does its label block begin at `at`? On true, the bytes
 * [at, at + *out_key_bytes) with *out_key_bytes <= left are the key of series *out_ref, compared
 * byte for byte. Called once for every series of the body, in order, whatever became of the one
 * before. The parser still refuses the guess when more labels follow.
 */
typedef bool hk_key_predict(
    void *self, const uint8_t *at, size_t left, uint32_t *out_ref, uint32_t *out_key_bytes);

struct hk_key_predictor {
    void *self;
    hk_key_predict *next;
};

/* A series whose samples did not all fit the batch, or that needs the general walker. */
struct hk_rw_series {
    struct hk_proto rest; /* fields not handed out yet; at == NULL: no series is open */
    const void *key;
    uint32_t key_bytes;
    uint32_t ref;
};

struct hk_rw1 {
    struct hk_proto body; /* what is left */
    const uint8_t *start;
    struct hk_rw_series series;
    struct hk_context context;
    const struct hk_key_predictor *predictor; /* or NULL */
    struct hk_rw_counts counts;
};

/* Begins a 1.0 request. `base` stands for tenant and configuration epoch in the identity. */
void hk_rw1_init(struct hk_rw1 *rw, struct hk_str body, struct hk_hash128 base);

/* State: struct hk_rw1. parse may return HK_FULL without entries (a long turn was cut). */
extern const struct hk_metric_parser hk_parser_remote_write_1;

struct hk_rw2_symbol {
    struct hk_hash128 hash;
    struct hk_str text;
};

/* Behind an entry's key (key_bytes is 16, the hash): where `labels` finds the symbols. */
struct hk_rw2_key {
    struct hk_hash128 hash;
    const uint8_t *refs; /* varints */
    uint32_t refs_bytes;
};

struct hk_rw2 {
    struct hk_proto body;
    struct hk_proto index; /* walks ahead for the symbols; at == NULL: done */
    const uint8_t *start;
    struct hk_rw2_symbol *symbols; /* in the batch arena */
    uint32_t symbol_count, symbol_room;
    struct hk_rw_series series;
    struct hk_hash128 name_hash;   /* of "__name__" */
    struct hk_hash128 series_name; /* hash of the symbol that is the metric name */
    struct hk_str series_metric;
    struct hk_context context;
    struct hk_meta_seen *seen; /* or NULL: metadata of every series is reported */
    struct hk_rw_counts counts;
    uint32_t key_count;
    struct hk_rw2_key keys[HK_BATCH_ENTRIES_MAX]; /* of the current batch: valid until next parse */
};

/* Begins a 2.0 request. While it collects symbols, parse may return HK_FULL with no entries. */
void hk_rw2_init(
    struct hk_rw2 *rw, struct hk_str body, struct hk_hash128 base, struct hk_meta_seen *seen);

/* State: struct hk_rw2. */
extern const struct hk_metric_parser hk_parser_remote_write_2;

/* Is this the Content-Type of version 2.0 (application/x-protobuf with its proto parameter)? False
 * with *out_known set to false for a type that is neither. */
bool hk_rw_content_type_is_v2(struct hk_str content_type, bool *out_known);

#endif
