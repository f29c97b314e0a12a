/* Query results as JSON, in the form of Prometheus' HTTP API. Pure. */
#ifndef HK_QUERY_JSON_H
#define HK_QUERY_JSON_H

#include "query/engine.h"

/*
 * Appends the `data` object: {"resultType":"vector","result":[…]}. Samples are [seconds,"value"],
 * native histograms {"count","sum","buckets"}. Errors are sticky in `out`.
 */
void hk_query_json(const struct hk_query_result *result, struct hk_buf *out);

/*
 * Appends the whole answer of a successful query:
 * {"status":"success","data":{…}} with "warnings" and "infos" when there are any.
 */
void hk_query_json_answer(const struct hk_query_result *result, struct hk_buf *out);

/* Appends {"status":"error","errorType":"…","error":"…"}. */
void hk_query_json_error(enum hk_query_error kind, struct hk_str text, struct hk_buf *out);

/* Appends a stamp in ms as seconds: 1435781451.781. */
void hk_query_json_stamp(int64_t stamp_ms, struct hk_buf *out);

/* Appends a histogram as JSON: count, sum and the buckets that are not empty. */
void hk_query_json_histogram(const struct hk_histogram *histogram, struct hk_buf *out);

#endif
