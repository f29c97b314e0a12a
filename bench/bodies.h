/*
 * What the load generators share: remote-write 1.0 bodies over series shaped as node_exporter's.
 */
#pragma once
#include "base/buf.h"

/* A whole HTTP request; `bytes` is owned and never freed, a generator ends with its run. */
struct bench_body {
    char *bytes;
    size_t count;
};

/* Reproducible sequence of 64 random bits; one thread. */
uint64_t bench_random(void);

/* Appends one label pair of a remote-write series. */
void bench_put_label(struct hk_buf *buf, const char *name, const char *value);

/* Appends the value and the stamp (milliseconds since 1970) of a remote-write series. */
void bench_put_sample(struct hk_buf *buf, double value, int64_t stamp_ms);

/* Appends `one`, a series, to the write request `buf`. */
void bench_put_entry(struct hk_buf *buf, const struct hk_buf *one);

/* Appends series number `series` with its value of `round`, stamped `stamp_ms` since 1970. */
void bench_put_series(struct hk_buf *buf, uint32_t series, uint32_t round, int64_t stamp_ms);

/* Compresses the write request `raw` and puts the headers of a POST to `path` before it. */
struct bench_body bench_pack(const struct hk_buf *raw, const char *path);
