/* Builds OTLP metric requests in tests and benchmarks. One buffer, `o`; messages nest. */
#ifndef HK_OTLP_BUILD_H
#define HK_OTLP_BUILD_H

#include "codec/proto.h"

enum { O_DEPTH_MAX = 16 };

struct otlp_build {
    struct hk_buf buf;
    size_t open[O_DEPTH_MAX];
    unsigned depth;
};

static struct otlp_build o;

static inline void o_begin(uint32_t number) {
    hk_assert(o.depth < O_DEPTH_MAX);
    o.open[o.depth++] = hk_proto_begin(&o.buf, number);
}

static inline void o_end(void) {
    hk_assert(o.depth > 0);
    hk_proto_end(&o.buf, o.open[--o.depth]);
}

static inline void o_reset(void) {
    if (o.buf.bytes_max == 0) hk_buf_init(&o.buf, 1 << 26);
    hk_buf_clear(&o.buf);
    o.depth = 0;
}

/* KeyValue with a string. */
static inline void o_attr(uint32_t number, const char *key, const char *value) {
    o_begin(number);
    hk_proto_put_str(&o.buf, 1, hk_str_from(key));
    o_begin(2);
    hk_proto_put_str(&o.buf, 1, hk_str_from(value));
    o_end();
    o_end();
}

/* KeyValue with an integer. */
static inline void o_attr_int(uint32_t number, const char *key, int64_t value) {
    o_begin(number);
    hk_proto_put_str(&o.buf, 1, hk_str_from(key));
    o_begin(2);
    hk_proto_put_varint(&o.buf, 3, (uint64_t)value);
    o_end();
    o_end();
}

/* ResourceMetrics with a usual resource; the scope stays open. Two o_end() close it. */
static inline void o_resource(const char *service, const char *extra) {
    o_begin(1);
    o_begin(1);
    if (service != NULL) o_attr(1, "service.name", service);
    if (extra != NULL) o_attr(1, "host.name", extra);
    o_end();
    o_begin(2);
    o_begin(1);
    hk_proto_put_str(&o.buf, 1, HK_STR("scope"));
    hk_proto_put_str(&o.buf, 2, HK_STR("1.0"));
    o_end();
}

/* Metric header; `data` is the field number of the oneof. Metric and data stay open. */
static inline void o_metric(const char *name, const char *help, const char *unit, uint32_t data) {
    o_begin(2);
    hk_proto_put_str(&o.buf, 1, hk_str_from(name));
    if (help[0] != 0) hk_proto_put_str(&o.buf, 2, hk_str_from(help));
    if (unit[0] != 0) hk_proto_put_str(&o.buf, 3, hk_str_from(unit));
    o_begin(data);
}

/* Ends data and metric; temporality 0: none written. */
static inline void o_metric_end(unsigned temporality, bool monotonic) {
    if (temporality != 0) hk_proto_put_varint(&o.buf, 2, temporality);
    if (monotonic) hk_proto_put_varint(&o.buf, 3, 1);
    o_end();
    o_end();
}

#define O_START_NS 1700000000000000000ULL
#define O_TIME_NS  1700000060500000000ULL

/* NumberDataPoint with one or two attributes. */
static inline void o_number(double value, const char *host, int64_t code) {
    o_begin(1);
    hk_proto_put_fixed64(&o.buf, 2, O_START_NS);
    hk_proto_put_fixed64(&o.buf, 3, O_TIME_NS);
    hk_proto_put_double(&o.buf, 4, value);
    if (host != NULL) o_attr(7, "host", host);
    if (code != 0) o_attr_int(7, "http.code", code);
    o_end();
}

#endif
