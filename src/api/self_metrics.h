/*
 * /metrics in Prometheus' protobuf form: which form a scraper wants, and the server's own text page
 * made into messages. Pure, any thread.
 */
#ifndef HK_API_SELF_METRICS_H
#define HK_API_SELF_METRICS_H

#include "base/buf.h"

#define HK_SELF_PROTO_TYPE                                                                         \
    "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"

/* Does the Accept header (RFC 9110 §12.5.1) prefer delimited MetricFamily messages over text? */
bool hk_self_wants_proto(struct hk_str accept);

/* Turns text (version 0.0.4; counters and gauges with TYPE lines, label values without escapes)
 * into MetricFamily messages, each with its length before it. Lines of other kinds are left out. */
void hk_self_proto(struct hk_str text, struct hk_buf *out);

#endif
