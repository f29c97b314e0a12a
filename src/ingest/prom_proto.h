/*
 * Prometheus protobuf exposition: MetricFamily messages of io.prometheus.client, each behind its
 * length ("encoding=delimited").
 *
 *   counter, gauge, untyped   the family's name
 *   summary                   `_count`, `_sum`, and the name with `quantile`
 *   histogram without spans   `_count`, `_sum`, and `_bucket` with `le`, the last one "+Inf"
 *   histogram with spans or   a native histogram (HK_ENTRY_HISTOGRAM) under the family's name;
 *   a zero bucket             the classic series, too, if `classic_too`
 *
 * Key of an entry = the bytes of the metric's label fields; context = the caller's mixed with the
 * family's name and type; `part` tells the series of one metric apart (HK_PROM_PROTO_PART_…, or
 * the bits of bound or quantile). Created stamps become start_ms. Exemplars follow their sample;
 * unfit ones are left out and counted. An invalid native histogram is counted in `rejected`.
 *
 * All or nothing as in exposition.h: bytes that are no such messages end the parse with
 * HK_E_MALFORMED and a text. Pure, used by one thread at a time.
 */
#ifndef HK_INGEST_PROM_PROTO_H
#define HK_INGEST_PROM_PROTO_H

#include "codec/proto.h"
#include "model/batch.h"

enum {
    HK_PROM_PROTO_BUCKETS_MAX = 10000, /* buckets, quantiles, exemplars of one metric */
    HK_PROM_PROTO_NAME_BYTES_MAX = HK_LABEL_NAME_BYTES_MAX,
};

/* Parts that are no number: NaNs, which no bound or quantile is. */
#define HK_PROM_PROTO_PART_VALUE  0xfff8000000000001ULL
#define HK_PROM_PROTO_PART_COUNT  0xfff8000000000002ULL
#define HK_PROM_PROTO_PART_SUM    0xfff8000000000003ULL
#define HK_PROM_PROTO_PART_NATIVE 0xfff8000000000004ULL

struct hk_prom_proto_family;

struct hk_prom_proto {
    struct hk_str input; /* borrowed, outlives the batches; below 4 GiB */
    size_t at;           /* offset of the first family not yet opened */
    const struct hk_context *context;
    int64_t stamp_ms;            /* of metrics without their own */
    bool ignore_stamps;          /* the metrics' own stamps are not used */
    bool classic_too;            /* classic series beside native histograms */
    uint64_t exemplars_rejected; /* left out since init */

    /* The family under way. */
    struct hk_proto rest;   /* fields not yet walked; at == NULL: no family is open */
    struct hk_proto metric; /* the metric under way; at == NULL: none */
    uint32_t metric_done;   /* entries of that metric which are handed out */
    struct hk_batch_meta meta;
    uint64_t type;
    const struct hk_prom_proto_family *family; /* of this turn, in the batch's arena */
};

/* Starts a parse of `input`; everything is borrowed. */
void hk_prom_proto_init(
    struct hk_prom_proto *state, struct hk_str input, const struct hk_context *context,
    int64_t stamp_ms);

/* `state` is a struct hk_prom_proto. Each family gives one meta, before its samples. Besides
 * HK_E_MALFORMED: HK_E_NOMEM (arena), HK_E_LIMIT (input ≥ 4 GiB, too many buckets). */
extern const struct hk_metric_parser hk_prom_proto_parser;

#endif
