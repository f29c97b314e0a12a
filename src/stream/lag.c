/* Latency histograms. */
#include "stream/lag.h"

static const char *const hop_names[HK_HOPS] = { "decided", "visible", "durable", "acted" };

static const char *const turn_names[HK_TURNS] = {
    "other", "socket",   "log",    "answer", "document", "tick",
    "parse", "datagram", "scrape", "commit", "request",
};

static unsigned bucket_of(uint64_t ns) {
    if (ns < 16) return (unsigned)ns;
    unsigned octave = 63U - (unsigned)__builtin_clzll(ns);
    unsigned bucket = (octave - 3) * 16 + (unsigned)(ns >> (octave - 4) & 15);
    return bucket < HK_LAG_BUCKETS ? bucket : HK_LAG_BUCKETS - 1;
}

/* Largest ns of a bucket. */
static int64_t bucket_end(unsigned bucket) {
    if (bucket < 16) return bucket;
    unsigned octave = bucket / 16 + 3;
    return (int64_t)(((uint64_t)(16 + bucket % 16 + 1) << (octave - 4)) - 1);
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

/* One series set of a classic histogram: `metric`{`key`="`name`"}. */
static void histogram_text(
    const struct hk_lag_histogram *from, const char *metric, const char *key, const char *name,
    struct hk_buf *out) {
    uint64_t total = 0;
    for (unsigned k = 0; k < HK_LAG_BUCKETS; k++) {
        total += atomic_load_explicit(&from->buckets[k], memory_order_relaxed);
        bool edge = k % 32 == 31 && k > 96 && k < 16 * 36;
        if (!edge) continue;
        hk_buf_printf(out, "%s_bucket{%s=\"%s\",le=\"", metric, key, name);
        hk_buf_double(out, (double)(bucket_end(k) + 1) / 1e9);
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
    hk_buf_text(out, "# HELP hark_hop_seconds Time from readable bytes to the hop.\n");
    hk_buf_text(out, "# TYPE hark_hop_seconds histogram\n");
    for (unsigned i = 0; i < HK_HOPS; i++)
        histogram_text(&lag->hops[i], "hark_hop_seconds", "hop", hop_names[i], out);
    hk_buf_text(out, "# HELP hark_turn_seconds Turns of the shards' loops by what they did.\n");
    hk_buf_text(out, "# TYPE hark_turn_seconds histogram\n");
    for (unsigned i = 0; i < HK_TURNS; i++)
        histogram_text(&lag->turns[i], "hark_turn_seconds", "turn", turn_names[i], out);
}
