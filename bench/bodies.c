#include "bodies.h"
#include "base/mem.h"

#include <snappy-c.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HEADER_BYTES_MAX = 512 };

static uint64_t seed = 42;

uint64_t bench_random(void) {
    uint64_t x = seed += 0x9e3779b97f4a7c15ULL;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
    return x ^ (x >> 31);
}

static void put_varint(struct hk_buf *buf, uint64_t value) {
    while (value >= 0x80) {
        hk_buf_char(buf, (char)(value | 0x80));
        value >>= 7;
    }
    hk_buf_char(buf, (char)value);
}

void bench_put_label(struct hk_buf *buf, const char *name, const char *value) {
    size_t name_len = strlen(name);
    size_t value_len = strlen(value);
    hk_buf_char(buf, 0x0a);
    put_varint(buf, 4 + name_len + value_len);
    hk_buf_char(buf, 0x0a);
    put_varint(buf, name_len);
    hk_buf_bytes(buf, name, name_len);
    hk_buf_char(buf, 0x12);
    put_varint(buf, value_len);
    hk_buf_bytes(buf, value, value_len);
}

void bench_put_sample(struct hk_buf *buf, double value, int64_t stamp_ms) {
    struct hk_buf one;
    hk_buf_init(&one, 64);
    hk_buf_char(&one, 0x09);
    hk_buf_bytes(&one, &value, sizeof(value));
    hk_buf_char(&one, 0x10);
    put_varint(&one, (uint64_t)stamp_ms);
    hk_buf_char(buf, 0x12);
    put_varint(buf, one.len);
    hk_buf_str(buf, hk_buf_get(&one));
    hk_buf_deinit(&one);
}

void bench_put_entry(struct hk_buf *buf, const struct hk_buf *one) {
    hk_buf_char(buf, 0x0a);
    put_varint(buf, one->len);
    hk_buf_str(buf, hk_buf_get(one));
}

/* Half of the series are constant, the rest counters and gauges with two decimals. */
static double value_of(uint32_t series, uint32_t round) {
    if (series % 2 == 0) return series;
    if (series % 4 == 1) return series * 1000.0 + round * (1.0 + series % 97);
    return (double)(bench_random() % 10000) / 100;
}

void bench_put_series(struct hk_buf *buf, uint32_t series, uint32_t round, int64_t stamp_ms) {
    static const char *const modes[] = { "idle",    "iowait", "irq",    "nice",
                                         "softirq", "steal",  "system", "user" };
    struct hk_buf one;
    char text[96];
    hk_buf_init(&one, 65536);
    bool cpu = series % 10 == 0;
    (void)snprintf(text, sizeof(text), "node_metric_%u_total", series % 500);
    bench_put_label(&one, "__name__", cpu ? "node_cpu_seconds_total" : text);
    bench_put_label(&one, "cluster", "production-eu-west-1");
    (void)snprintf(text, sizeof(text), "%u", series / 80 % 64);
    bench_put_label(&one, "cpu", text);
    bench_put_label(&one, "datacenter", "eu-west-1a");
    (void)snprintf(text, sizeof(text), "device-%u", series);
    bench_put_label(&one, "device", text);
    (void)snprintf(text, sizeof(text), "node-%u.example.org:9100", series / 1000);
    bench_put_label(&one, "instance", text);
    bench_put_label(&one, "job", "node-exporter");
    bench_put_label(&one, "mode", modes[series / 10 % 8]);
    bench_put_label(&one, "namespace", "monitoring");
    bench_put_label(&one, "team", "platform");
    bench_put_sample(&one, value_of(series, round), stamp_ms);
    bench_put_entry(buf, &one);
    hk_buf_deinit(&one);
}

struct bench_body bench_pack(const struct hk_buf *raw, const char *path) {
    size_t bytes = snappy_max_compressed_length(raw->len);
    char *out = hk_mem_alloc(bytes + HEADER_BYTES_MAX, 1);
    char *packed = hk_mem_alloc(bytes, 1);
    if (out == NULL || packed == NULL) abort();
    if (snappy_compress(raw->ptr, raw->len, packed, &bytes) != SNAPPY_OK) abort();
    int head = snprintf(
        out, HEADER_BYTES_MAX,
        "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Encoding: snappy\r\nContent-Type: "
        "application/x-protobuf\r\nX-Prometheus-Remote-Write-Version: 0.1.0\r\n"
        "Content-Length: %zu\r\n\r\n",
        path, bytes);
    memcpy(out + head, packed, bytes);
    hk_mem_free(packed);
    return (struct bench_body){ out, (size_t)head + bytes };
}
