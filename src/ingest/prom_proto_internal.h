/* Between the walk over families and the reading of native histograms. */
#ifndef HK_INGEST_PROM_PROTO_INTERNAL_H
#define HK_INGEST_PROM_PROTO_INTERNAL_H

#include "ingest/prom_proto.h"

/* io.prometheus.client.Histogram. */
enum {
    HISTOGRAM_COUNT = HK_PROTO_TAG(1, HK_PROTO_VARINT),
    HISTOGRAM_SUM = HK_PROTO_TAG(2, HK_PROTO_FIXED64),
    HISTOGRAM_BUCKET = HK_PROTO_TAG(3, HK_PROTO_BYTES),
    HISTOGRAM_COUNT_FLOAT = HK_PROTO_TAG(4, HK_PROTO_FIXED64),
    HISTOGRAM_SCHEMA = HK_PROTO_TAG(5, HK_PROTO_VARINT),
    HISTOGRAM_ZERO_THRESHOLD = HK_PROTO_TAG(6, HK_PROTO_FIXED64),
    HISTOGRAM_ZERO_COUNT = HK_PROTO_TAG(7, HK_PROTO_VARINT),
    HISTOGRAM_ZERO_COUNT_FLOAT = HK_PROTO_TAG(8, HK_PROTO_FIXED64),
    HISTOGRAM_NEGATIVE_SPAN = HK_PROTO_TAG(9, HK_PROTO_BYTES),
    HISTOGRAM_NEGATIVE_DELTAS = HK_PROTO_TAG(10, HK_PROTO_BYTES), /* packed */
    HISTOGRAM_NEGATIVE_DELTA = HK_PROTO_TAG(10, HK_PROTO_VARINT),
    HISTOGRAM_NEGATIVE_FLOATS = HK_PROTO_TAG(11, HK_PROTO_BYTES), /* packed */
    HISTOGRAM_NEGATIVE_FLOAT = HK_PROTO_TAG(11, HK_PROTO_FIXED64),
    HISTOGRAM_POSITIVE_SPAN = HK_PROTO_TAG(12, HK_PROTO_BYTES),
    HISTOGRAM_POSITIVE_DELTAS = HK_PROTO_TAG(13, HK_PROTO_BYTES), /* packed */
    HISTOGRAM_POSITIVE_DELTA = HK_PROTO_TAG(13, HK_PROTO_VARINT),
    HISTOGRAM_POSITIVE_FLOATS = HK_PROTO_TAG(14, HK_PROTO_BYTES), /* packed */
    HISTOGRAM_POSITIVE_FLOAT = HK_PROTO_TAG(14, HK_PROTO_FIXED64),
    HISTOGRAM_CREATED = HK_PROTO_TAG(15, HK_PROTO_BYTES),
    HISTOGRAM_EXEMPLAR = HK_PROTO_TAG(16, HK_PROTO_BYTES),
};

/* What a histogram message says besides its buckets, exemplars and spans. */
struct hk_prom_proto_histogram {
    struct hk_str message;
    double count, sum;
    int32_t schema;
    double zero_threshold, zero_count;
    bool native;       /* spans or a zero bucket */
    bool floats;       /* counts are floats, not deltas of integers */
    bool exemplars;    /* has exemplars of its own, not only in buckets */
    bool has_infinity; /* a classic bucket of +Inf */
    int64_t created_ms;
};

/* A google.protobuf.Timestamp in ms. HK_E_MALFORMED. */
hk_err hk_prom_proto_stamp(struct hk_str message, int64_t *out_ms) HK_MUST_CHECK;

/* Reads all but buckets and exemplars; of those it only notes
 * whether they are there. HK_E_MALFORMED. */
hk_err hk_prom_proto_histogram_read(struct hk_str message, struct hk_prom_proto_histogram *out)
    HK_MUST_CHECK;

/* Bytes of the native histogram (model/histogram.h), in `arena`. HK_E_MALFORMED with a text: it is
 * no valid histogram. HK_E_LIMIT with a text, HK_E_NOMEM. */
hk_err hk_prom_proto_histogram_encode(
    const struct hk_prom_proto_histogram *histogram, bool gauge, struct hk_arena *arena,
    struct hk_str *out) HK_MUST_CHECK;

#endif
