/* Latency histograms. */
#include "stream/lag.h"

#include "codec/proto.h"

#include <math.h>

static const char *const hop_names[HK_HOPS] = { "decided", "visible", "durable", "acted" };

static const char *const turn_names[HK_TURNS] = {
    "other", "socket", "log",      "answer", "document", "tick",
    "parse", "decode", "datagram", "scrape", "commit",   "request",
};

/* Bucket 0 ends at 2^(-FIRST_INDEX / 16) s, the first bound at or above 1 ns. */
enum { FIRST_INDEX = 478, EDGE_STEP = 32 };

/* Bounds of an octave: 2^((k + f) / 16) × 2^63, where f is the fraction of 16 × log2(10^9), which
 * is what the unit of seconds moves the bounds by. */
static const uint64_t bounds[16] = {
    0x81ffa7a9549ca6e3, 0x87c11235836d16a3, 0x8dc3b8960164a7d9, 0x940a7e28259fb382,
    0x9a9867054d512391, 0xa1709975dfb06757, 0xa8965f74bf065071, 0xb00d2843e1060dc2,
    0xb7d88a12d0dd9ea0, 0xbffc43b7e604a922, 0xc87c3e7d03cdbec3, 0xd15c9000bf211c1f,
    0xdaa17c2cd19555db, 0xe44f7742cb56e3dd, 0xee6b280000000000, 0xf8f969d9b5abf948,
};

/* How many bounds are below each sixteenth of an octave. */
static const uint8_t below[16] = { 0, 2, 3, 4, 5, 6, 7, 9, 10, 10, 11, 12, 13, 14, 15, 15 };

static unsigned bucket_of(uint64_t ns) {
    if (ns == 0) return 0;
    unsigned shift = (unsigned)__builtin_clzll(ns);
    uint64_t mantissa = ns << shift;
    unsigned place = below[mantissa >> 59 & 15];
    while (place < HK_COUNT(bounds) && mantissa > bounds[place])
        place++;
    unsigned bucket = (63U - shift) * 16 + place;
    return bucket < HK_LAG_BUCKETS ? bucket : HK_LAG_BUCKETS - 1;
}

/* Where a bucket ends, in seconds. */
static double bound_of(unsigned bucket) {
    return exp2(((double)bucket - FIRST_INDEX) / 16);
}

/* Largest ns of a bucket. */
static int64_t bucket_end(unsigned bucket) {
    return (int64_t)(bound_of(bucket) * 1e9);
}

static void add(struct hk_lag_histogram *to, int64_t ns) {
    uint64_t value = ns < 0 ? 0 : (uint64_t)ns;
    atomic_fetch_add_explicit(&to->buckets[bucket_of(value)], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&to->count, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&to->sum_ns, value, memory_order_relaxed);
    uint64_t max_ns = atomic_load_explicit(&to->max_ns, memory_order_relaxed);
    while (value > max_ns &&
           !atomic_compare_exchange_weak_explicit(
               &to->max_ns, &max_ns, value, memory_order_relaxed, memory_order_relaxed)) {
    }
}

void hk_lag_add(struct hk_lag *lag, enum hk_hop hop, int64_t ns) {
    add(&lag->hops[hop], ns);
}

void hk_lag_turn(struct hk_lag *lag, enum hk_turn turn, int64_t ns) {
    add(&lag->turns[turn], ns);
}

static int64_t quantile(const struct hk_lag_histogram *from, double q) {
    uint64_t count = atomic_load_explicit(&from->count, memory_order_relaxed);
    if (count == 0) return 0;
    uint64_t rank = (uint64_t)(q * (double)count);
    if (rank >= count) rank = count - 1;
    uint64_t seen = 0;
    for (unsigned i = 0; i < HK_LAG_BUCKETS; i++) {
        seen += atomic_load_explicit(&from->buckets[i], memory_order_relaxed);
        if (seen > rank) return bucket_end(i);
    }
    return bucket_end(HK_LAG_BUCKETS - 1);
}

int64_t hk_lag_quantile(const struct hk_lag *lag, enum hk_hop hop, double q) {
    return quantile(&lag->hops[hop], q);
}

static void histogram_json(
    const struct hk_lag_histogram *from, const char *key, const char *name, struct hk_buf *out) {
    uint64_t count = atomic_load_explicit(&from->count, memory_order_relaxed);
    uint64_t sum = atomic_load_explicit(&from->sum_ns, memory_order_relaxed);
    hk_buf_printf(
        out,
        "{\"%s\":\"%s\",\"count\":%llu,\"p50_ns\":%lld,\"p90_ns\":%lld,\"p99_ns\":%lld,"
        "\"p999_ns\":%lld,\"max_ns\":%llu,\"mean_ns\":%llu}",
        key, name, (unsigned long long)count, (long long)quantile(from, 0.5),
        (long long)quantile(from, 0.9), (long long)quantile(from, 0.99),
        (long long)quantile(from, 0.999),
        (unsigned long long)atomic_load_explicit(&from->max_ns, memory_order_relaxed),
        (unsigned long long)(count == 0 ? 0 : sum / count));
}

void hk_lag_json(const struct hk_lag *lag, struct hk_buf *out) {
    hk_buf_text(out, "{\"hops\":[");
    for (unsigned i = 0; i < HK_HOPS; i++) {
        if (i > 0) hk_buf_char(out, ',');
        histogram_json(&lag->hops[i], "hop", hop_names[i], out);
    }
    hk_buf_text(out, "],\"turns\":[");
    for (unsigned i = 0; i < HK_TURNS; i++) {
        if (i > 0) hk_buf_char(out, ',');
        histogram_json(&lag->turns[i], "turn", turn_names[i], out);
    }
    hk_buf_text(out, "]}");
}

/* Bounds of the classic form: 2^-20 s (0.95 µs), then each second octave, to 2^6 s. */
static bool is_edge(unsigned bucket) {
    int index = (int)bucket - FIRST_INDEX;
    return index % EDGE_STEP == 0 && index >= -20 * 16 && index <= 6 * 16;
}

static const char hop_help[] = "Time from readable bytes to the hop.";
static const char turn_help[] = "Turns of the shards' loops by what they did.";

/* One series set of a classic histogram: `metric`{`key`="`name`"}. */
static void histogram_text(
    const struct hk_lag_histogram *from, const char *metric, const char *key, const char *name,
    struct hk_buf *out) {
    uint64_t total = 0;
    for (unsigned k = 0; k < HK_LAG_BUCKETS; k++) {
        total += atomic_load_explicit(&from->buckets[k], memory_order_relaxed);
        if (!is_edge(k)) continue;
        hk_buf_printf(out, "%s_bucket{%s=\"%s\",le=\"", metric, key, name);
        hk_buf_double(out, bound_of(k));
        hk_buf_printf(out, "\"} %llu\n", (unsigned long long)total);
    }
    uint64_t sum = atomic_load_explicit(&from->sum_ns, memory_order_relaxed);
    hk_buf_printf(
        out, "%s_bucket{%s=\"%s\",le=\"+Inf\"} %llu\n", metric, key, name,
        (unsigned long long)total);
    hk_buf_printf(out, "%s_sum{%s=\"%s\"} ", metric, key, name);
    hk_buf_double(out, (double)sum / 1e9);
    hk_buf_printf(
        out, "\n%s_count{%s=\"%s\"} %llu\n", metric, key, name, (unsigned long long)total);
}

void hk_lag_text(const struct hk_lag *lag, struct hk_buf *out) {
    hk_buf_printf(out, "# HELP hark_hop_seconds %s\n", hop_help);
    hk_buf_text(out, "# TYPE hark_hop_seconds histogram\n");
    for (unsigned i = 0; i < HK_HOPS; i++)
        histogram_text(&lag->hops[i], "hark_hop_seconds", "hop", hop_names[i], out);
    hk_buf_printf(out, "# HELP hark_turn_seconds %s\n", turn_help);
    hk_buf_text(out, "# TYPE hark_turn_seconds histogram\n");
    for (unsigned i = 0; i < HK_TURNS; i++)
        histogram_text(&lag->turns[i], "hark_turn_seconds", "turn", turn_names[i], out);
}

/* ------------------------------------------------------------------ protobuf */

/* Field numbers of io.prometheus.client (metrics.proto). */
enum {
    FAMILY_NAME = 1,
    FAMILY_HELP = 2,
    FAMILY_TYPE = 3,
    FAMILY_METRIC = 4,
    TYPE_HISTOGRAM = 4,
    METRIC_LABEL = 1,
    METRIC_HISTOGRAM = 7,
    HISTOGRAM_COUNT = 1,
    HISTOGRAM_SUM = 2,
    HISTOGRAM_BUCKET = 3,
    HISTOGRAM_SCHEMA = 5,
    HISTOGRAM_ZERO_THRESHOLD = 6,
    HISTOGRAM_SPAN = 12,
    HISTOGRAM_DELTA = 13,
    HISTOGRAM_START = 15,
};

/* What was counted, once: the buckets must add up to the count. */
struct snapshot {
    uint64_t buckets[HK_LAG_BUCKETS];
    uint64_t count;
    double sum;
};

static void take_snapshot(const struct hk_lag_histogram *hop, struct snapshot *out) {
    out->count = 0;
    for (unsigned i = 0; i < HK_LAG_BUCKETS; i++) {
        out->buckets[i] = atomic_load_explicit(&hop->buckets[i], memory_order_relaxed);
        out->count += out->buckets[i];
    }
    out->sum = (double)atomic_load_explicit(&hop->sum_ns, memory_order_relaxed) / 1e9;
}

static void put_classic(const struct snapshot *from, struct hk_buf *out) {
    uint64_t total = 0;
    for (unsigned i = 0; i < HK_LAG_BUCKETS; i++) {
        total += from->buckets[i];
        if (!is_edge(i)) continue;
        size_t bucket = hk_proto_begin(out, HISTOGRAM_BUCKET);
        hk_proto_put_varint(out, 1, total);
        hk_proto_put_double(out, 2, bound_of(i));
        hk_proto_end(out, bucket);
    }
}

/* Runs of buckets that are not empty, and their counts as steps from bucket to bucket. */
static void put_native(const struct snapshot *from, struct hk_buf *out) {
    int expected = 0; /* index behind the span before */
    for (unsigned i = 0; i < HK_LAG_BUCKETS; i++) {
        if (from->buckets[i] == 0) continue;
        unsigned end = i;
        while (end < HK_LAG_BUCKETS && from->buckets[end] > 0)
            end++;
        size_t span = hk_proto_begin(out, HISTOGRAM_SPAN);
        hk_proto_put_zigzag(out, 1, (int)i - FIRST_INDEX - expected);
        hk_proto_put_varint(out, 2, end - i);
        hk_proto_end(out, span);
        expected = (int)end - FIRST_INDEX;
        i = end;
    }
    uint64_t before = 0;
    for (unsigned i = 0; i < HK_LAG_BUCKETS; i++) {
        if (from->buckets[i] == 0) continue;
        hk_proto_put_zigzag(out, HISTOGRAM_DELTA, (int64_t)(from->buckets[i] - before));
        before = from->buckets[i];
    }
}

static void put_histogram(
    const char *key, const char *name, const struct snapshot *from, int64_t start_ms,
    struct hk_buf *out) {
    size_t metric = hk_proto_begin(out, FAMILY_METRIC);
    size_t label = hk_proto_begin(out, METRIC_LABEL);
    hk_proto_put_str(out, 1, hk_str_from(key));
    hk_proto_put_str(out, 2, hk_str_from(name));
    hk_proto_end(out, label);
    size_t histogram = hk_proto_begin(out, METRIC_HISTOGRAM);
    hk_proto_put_varint(out, HISTOGRAM_COUNT, from->count);
    hk_proto_put_double(out, HISTOGRAM_SUM, from->sum);
    put_classic(from, out);
    hk_proto_put_zigzag(out, HISTOGRAM_SCHEMA, HK_LAG_SCHEMA);
    hk_proto_put_double(out, HISTOGRAM_ZERO_THRESHOLD, 0x1p-128); /* marks it as native */
    put_native(from, out);
    size_t start = hk_proto_begin(out, HISTOGRAM_START);
    hk_proto_put_varint(out, 1, (uint64_t)(start_ms / 1000));
    hk_proto_put_varint(out, 2, (uint64_t)(start_ms % 1000 * 1000000));
    hk_proto_end(out, start);
    hk_proto_end(out, histogram);
    hk_proto_end(out, metric);
}

static void put_family(
    const char *metric, const char *help, const char *key, const char *const *names,
    const struct hk_lag_histogram *from, unsigned count, int64_t start_ms, struct hk_buf *out) {
    struct hk_buf family;
    struct snapshot now;
    hk_buf_init(&family, 1 << 20);
    hk_proto_put_str(&family, FAMILY_NAME, hk_str_from(metric));
    hk_proto_put_str(&family, FAMILY_HELP, hk_str_from(help));
    hk_proto_put_varint(&family, FAMILY_TYPE, TYPE_HISTOGRAM);
    for (unsigned i = 0; i < count; i++) {
        take_snapshot(&from[i], &now);
        put_histogram(key, names[i], &now, start_ms, &family);
    }
    hk_proto_put_raw_varint(out, family.len);
    hk_buf_str(out, hk_buf_get(&family));
    if (family.err < 0) out->err = family.err;
    hk_buf_deinit(&family);
}

void hk_lag_proto(const struct hk_lag *lag, int64_t start_ms, struct hk_buf *out) {
    put_family("hark_hop_seconds", hop_help, "hop", hop_names, lag->hops, HK_HOPS, start_ms, out);
    put_family(
        "hark_turn_seconds", turn_help, "turn", turn_names, lag->turns, HK_TURNS, start_ms, out);
}
