/* Latency histograms. */
#include "stream/lag.h"

static const char *const hop_names[HK_HOPS] = { "decided", "visible", "durable", "acted" };

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

void hk_lag_add(struct hk_lag *lag, enum hk_hop hop, int64_t ns) {
    struct hk_lag_hop *to = &lag->hops[hop];
    uint64_t value = ns < 0 ? 0 : (uint64_t)ns;
    atomic_fetch_add_explicit(&to->buckets[bucket_of(value)], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&to->count, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&to->sum_ns, value, memory_order_relaxed);
}

int64_t hk_lag_quantile(const struct hk_lag *lag, enum hk_hop hop, double q) {
    const struct hk_lag_hop *from = &lag->hops[hop];
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

void hk_lag_json(const struct hk_lag *lag, struct hk_buf *out) {
    hk_buf_text(out, "{\"hops\":[");
    for (unsigned i = 0; i < HK_HOPS; i++) {
        uint64_t count = atomic_load_explicit(&lag->hops[i].count, memory_order_relaxed);
        uint64_t sum = atomic_load_explicit(&lag->hops[i].sum_ns, memory_order_relaxed);
        enum hk_hop hop = (enum hk_hop)i;
        hk_buf_printf(
            out,
            "%s{\"hop\":\"%s\",\"count\":%llu,\"p50_ns\":%lld,\"p90_ns\":%lld,\"p99_ns\":%lld,"
            "\"p999_ns\":%lld,\"mean_ns\":%llu}",
            i == 0 ? "" : ",", hop_names[i], (unsigned long long)count,
            (long long)hk_lag_quantile(lag, hop, 0.5), (long long)hk_lag_quantile(lag, hop, 0.9),
            (long long)hk_lag_quantile(lag, hop, 0.99), (long long)hk_lag_quantile(lag, hop, 0.999),
            (unsigned long long)(count == 0 ? 0 : sum / count));
    }
    hk_buf_text(out, "]}");
}

void hk_lag_text(const struct hk_lag *lag, struct hk_buf *out) {
    hk_buf_text(out, "# HELP hark_hop_seconds Time from readable bytes to the hop.\n");
    hk_buf_text(out, "# TYPE hark_hop_seconds histogram\n");
    for (unsigned i = 0; i < HK_HOPS; i++) {
        const struct hk_lag_hop *hop = &lag->hops[i];
        uint64_t total = 0;
        for (unsigned k = 0; k < HK_LAG_BUCKETS; k++) {
            total += atomic_load_explicit(&hop->buckets[k], memory_order_relaxed);
            bool edge = k % 32 == 31 && k > 96 && k < 16 * 36;
            if (!edge) continue;
            hk_buf_printf(out, "hark_hop_seconds_bucket{hop=\"%s\",le=\"", hop_names[i]);
            hk_buf_double(out, (double)(bucket_end(k) + 1) / 1e9);
            hk_buf_printf(out, "\"} %llu\n", (unsigned long long)total);
        }
        uint64_t sum = atomic_load_explicit(&hop->sum_ns, memory_order_relaxed);
        hk_buf_printf(
            out, "hark_hop_seconds_bucket{hop=\"%s\",le=\"+Inf\"} %llu\n", hop_names[i],
            (unsigned long long)total);
        hk_buf_printf(out, "hark_hop_seconds_sum{hop=\"%s\"} ", hop_names[i]);
        hk_buf_double(out, (double)sum / 1e9);
        hk_buf_printf(
            out, "\nhark_hop_seconds_count{hop=\"%s\"} %llu\n", hop_names[i],
            (unsigned long long)total);
    }
}
