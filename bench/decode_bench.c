/*
 * What decoding alone costs, in ns per sample: bodies of 2,000 samples over 100,000 series like
 * those of node_exporter (11 labels, about 230 bytes), each body walked once per pass, as on the
 * wire. Prints the median of several passes, in CPU time.
 */
#include "hk_otlp_build.h"
#include "ingest/otlp.h"
#include "ingest/remote_write_fast.h"
#include "os/clock.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { SERIES = 100000, PER_BODY = 2000, BODIES = SERIES / PER_BODY, PASSES = 21 };

static struct hk_str bodies[BODIES];
static struct hk_batch batch;
static double results[PASSES];

static void put_label(struct hk_buf *out, const char *name, const char *value) {
    const size_t label = hk_proto_begin(out, 1);
    hk_proto_put_str(out, 1, hk_str_from(name));
    hk_proto_put_str(out, 2, hk_str_from(value));
    hk_proto_end(out, label);
}

static void put_rw1_series(struct hk_buf *out, unsigned n) {
    char metric[64], cpu[16], host[64];
    (void)snprintf(metric, sizeof(metric), "node_cpu_seconds_%u_total", n % 500);
    (void)snprintf(cpu, sizeof(cpu), "%u", n % 64);
    (void)snprintf(host, sizeof(host), "host-%04u.example.net:9100", n / 500);
    const size_t series = hk_proto_begin(out, 1);
    put_label(out, "__name__", metric);
    put_label(out, "cluster", "production-eu-1");
    put_label(out, "cpu", cpu);
    put_label(out, "datacenter", "fra1");
    put_label(out, "env", "prod");
    put_label(out, "instance", host);
    put_label(out, "job", "node-exporter");
    put_label(out, "mode", n % 2 == 0 ? "idle" : "system");
    put_label(out, "rack", "r17");
    put_label(out, "region", "eu-central");
    put_label(out, "team", "infrastructure");
    const size_t sample = hk_proto_begin(out, 2);
    if (n % 10 != 0) hk_proto_put_double(out, 1, 1234.5 + n);
    hk_proto_put_varint(out, 2, 1700000000000 + n / 500);
    hk_proto_end(out, sample);
    hk_proto_end(out, series);
}

/* The same series in version 2.0: the symbols of a body are numbered as they come. */
static struct {
    struct hk_buf symbols, series;
    uint64_t hashes[16384];
    uint32_t refs[16384];
    uint32_t count;
} two;

static void put_symbol(const char *text) {
    const struct hk_str str = hk_str_from(text);
    const uint64_t hash = hk_hash64(str.ptr, str.len) | 1;
    size_t slot = hash % HK_COUNT(two.hashes);
    while (two.hashes[slot] != 0 && two.hashes[slot] != hash)
        slot = (slot + 1) % HK_COUNT(two.hashes);
    if (two.hashes[slot] == 0) {
        two.hashes[slot] = hash;
        two.refs[slot] = two.count++;
        hk_proto_put_str(&two.symbols, 4, str);
    }
    hk_proto_put_raw_varint(&two.series, two.refs[slot]);
}

static void put_rw2_series(struct hk_buf *out, unsigned n) {
    static const char *const texts[] = {
        "cluster", "production-eu-1", "datacenter", "fra1", "env",    "prod",
        "job",     "node-exporter",   "rack",       "r17",  "region", "eu-central",
        "team",    "infrastructure",
    };
    char text[64];
    if (n % PER_BODY == 0) {
        hk_buf_clear(&two.symbols);
        hk_buf_clear(&two.series);
        two.symbols.bytes_max = two.series.bytes_max = 1 << 24;
        memset(two.hashes, 0, sizeof(two.hashes));
        hk_proto_put_str(&two.symbols, 4, HK_STR(""));
        two.count = 1;
    }
    const size_t series = hk_proto_begin(&two.series, 5);
    const size_t refs = hk_proto_begin(&two.series, 1);
    (void)snprintf(text, sizeof(text), "node_cpu_seconds_%u_total", n % 500);
    put_symbol("__name__");
    put_symbol(text);
    for (size_t i = 0; i < HK_COUNT(texts); i++)
        put_symbol(texts[i]);
    (void)snprintf(text, sizeof(text), "%u", n % 64);
    put_symbol("cpu");
    put_symbol(text);
    (void)snprintf(text, sizeof(text), "host-%04u.example.net:9100", n / 500);
    put_symbol("instance");
    put_symbol(text);
    put_symbol("mode");
    put_symbol(n % 2 == 0 ? "idle" : "system");
    hk_proto_end(&two.series, refs);
    const size_t sample = hk_proto_begin(&two.series, 2);
    hk_proto_put_double(&two.series, 1, 1234.5 + n);
    hk_proto_put_varint(&two.series, 2, 1700000000000 + n / 500);
    hk_proto_end(&two.series, sample);
    hk_proto_end(&two.series, series);
    if (n % PER_BODY != PER_BODY - 1) return;
    hk_buf_str(out, hk_buf_get(&two.symbols));
    hk_buf_str(out, hk_buf_get(&two.series));
}

/* One metric of 20 points each 20 calls, as an SDK writes them: 4 attributes a point. */
static void put_otlp(struct hk_buf *out, unsigned n) {
    char text[32];
    if (n % PER_BODY == 0) {
        o_reset();
        o_resource("checkout", "host-1");
    }
    if (n % 20 == 0) {
        (void)snprintf(text, sizeof(text), "http.server.requests.%u", n % 1000);
        o_metric(text, "Requests that were served.", "{request}", 7);
    }
    o_begin(1);
    hk_proto_put_fixed64(&o.buf, 2, O_START_NS);
    hk_proto_put_fixed64(&o.buf, 3, O_TIME_NS);
    hk_proto_put_double(&o.buf, 4, 1.5 * n);
    (void)snprintf(text, sizeof(text), "/api/v1/item/%u", n);
    o_attr(7, "http.route", text);
    o_attr(7, "http.method", n % 2 == 0 ? "GET" : "POST");
    o_attr_int(7, "http.status_code", 200);
    o_attr(7, "server.address", "shop.example.net");
    o_end();
    if (n % 20 == 19) o_metric_end(2, true);
    if (n % PER_BODY == PER_BODY - 1) {
        o_end();
        o_end();
        hk_buf_str(out, hk_buf_get(&o.buf));
    }
}

static void make(void (*put)(struct hk_buf *out, unsigned n)) {
    struct hk_buf out;
    hk_buf_init(&out, 1 << 24);
    size_t total = 0;
    for (unsigned body = 0; body < BODIES; body++) {
        hk_buf_clear(&out);
        for (unsigned i = 0; i < PER_BODY; i++)
            put(&out, body * PER_BODY + i);
        char *copy = malloc(out.len);
        if (copy == NULL) abort();
        memcpy(copy, out.ptr, out.len);
        bodies[body] = (struct hk_str){ copy, out.len };
        total += out.len;
    }
    printf("%.1f bytes per sample\n", (double)total / SERIES);
    hk_buf_deinit(&out);
}

static int by_value(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void report(const char *what) {
    qsort(results, PASSES, sizeof(results[0]), by_value);
    printf("%-28s %6.1f ns/sample (best %.1f)\n", what, results[PASSES / 2], results[0]);
}

static bool never(void *self, const uint8_t *at, size_t left, uint32_t *ref, uint32_t *bytes) {
    (void)self;
    (void)at;
    (void)left;
    (void)ref;
    (void)bytes;
    return false;
}

static void bench_rw1(const char *what, const struct hk_key_predictor *predictor) {
    for (unsigned pass = 0; pass < PASSES; pass++) {
        uint64_t points = 0;
        const int64_t start = hk_clock_process_cpu_ns();
        for (unsigned body = 0; body < BODIES; body++) {
            struct hk_rw1 rw;
            hk_rw1_init(&rw, bodies[body], (struct hk_hash128){ 0, 0 });
            rw.predictor = predictor;
            hk_err err = HK_FULL;
            while (err == HK_FULL) {
                hk_batch_clear(&batch);
                err = hk_parser_remote_write_1.parse(&rw, &batch);
                points += batch.points;
            }
            if (err < 0) abort();
        }
        results[pass] = (double)(hk_clock_process_cpu_ns() - start) / (double)points;
        if (points != SERIES) abort();
    }
    report(what);
}

static void bench_rw2(const char *what) {
    static struct hk_rw2 rw;
    struct hk_arena arena;
    hk_arena_init(&arena, 1 << 24);
    batch.arena = &arena;
    for (unsigned pass = 0; pass < PASSES; pass++) {
        uint64_t points = 0;
        const int64_t start = hk_clock_process_cpu_ns();
        for (unsigned body = 0; body < BODIES; body++) {
            hk_rw2_init(&rw, bodies[body], (struct hk_hash128){ 0, 0 }, NULL);
            hk_err err = HK_FULL;
            while (err == HK_FULL) {
                hk_batch_clear(&batch);
                err = hk_parser_remote_write_2.parse(&rw, &batch);
                points += batch.points;
            }
            hk_arena_reset(&arena);
            if (err < 0) abort();
        }
        results[pass] = (double)(hk_clock_process_cpu_ns() - start) / (double)points;
        if (points != SERIES) abort();
    }
    hk_arena_deinit(&arena);
    report(what);
}

static void bench_otlp(const char *what) {
    static struct hk_otlp otlp;
    static struct hk_meta_seen seen;
    struct hk_arena arena;
    hk_arena_init(&arena, 1 << 24);
    batch.arena = &arena;
    for (unsigned pass = 0; pass < PASSES; pass++) {
        uint64_t points = 0;
        const int64_t start = hk_clock_process_cpu_ns();
        for (unsigned body = 0; body < BODIES; body++) {
            hk_otlp_init(&otlp, bodies[body], (struct hk_hash128){ 0, 0 }, NULL, &seen);
            hk_err err = HK_FULL;
            while (err == HK_FULL) {
                hk_batch_clear(&batch);
                err = hk_parser_otlp.parse(&otlp, &batch);
                points += batch.points;
            }
            hk_arena_reset(&arena);
            if (err < 0) abort();
        }
        results[pass] = (double)(hk_clock_process_cpu_ns() - start) / (double)points;
        if (points != SERIES) abort();
    }
    hk_arena_deinit(&arena);
    report(what);
}

int main(void) {
    make(put_rw1_series);
    bench_rw1("remote write 1.0", NULL);
    const struct hk_key_predictor predictor = { NULL, never };
    bench_rw1("same, predictor that fails", &predictor);
    make(put_rw2_series);
    bench_rw2("remote write 2.0");
    make(put_otlp);
    bench_otlp("otlp sums");
    return 0;
}
