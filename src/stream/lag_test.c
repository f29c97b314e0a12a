/* Goal: every ns lands in the bucket of its native histogram, and what is handed out as protobuf
 * reads back as that histogram. */
#include "stream/lag.h"

#include "base/mem.h"
#include "hk_test.h"
#include "ingest/prom_proto.h"
#include "model/histogram.h"

#include <math.h>

static struct hk_lag lag;

/* Index of the bucket (2^((i-1)/16), 2^(i/16)] s that the hop's one value is in. */
static int index_of(int64_t ns) {
    memset(&lag, 0, sizeof(lag));
    hk_lag_add(&lag, HK_HOP_DECIDED, ns);
    for (int i = 0; i < HK_LAG_BUCKETS; i++) {
        if (lag.hops[HK_HOP_DECIDED].buckets[i] > 0) return i - 478;
    }
    return INT32_MAX;
}

PROPERTY(buckets) {
    for (int i = 0; i < 20000; i++) {
        int64_t ns = i < 3000 ? i + 1 : (int64_t)(hk_test_random() >> (17 + i % 46)) + 1;
        double seconds = (double)ns / 1e9;
        int index = index_of(ns);
        double lower = exp2((index - 1) / 16.0);
        double upper = exp2(index / 16.0);
        CHECK(seconds > lower * (1 - 1e-12) && seconds <= upper * (1 + 1e-12));
        int64_t quantile = hk_lag_quantile(&lag, HK_HOP_DECIDED, 0.5);
        CHECK(quantile >= ns - 1 && (double)quantile <= (double)ns * 1.045 + 1);
    }
    CHECK_INT(index_of(1000000000), 0); /* (2^(-1/16), 1] s */
    CHECK_INT(index_of(1000000001), 1);
    CHECK_INT(index_of(2000000000), 16);
    CHECK_INT(index_of(-5), -478);
    CHECK(index_of(INT64_MAX) < 291);
}

static struct hk_batch batch;

TEST(protobuf) {
    struct hk_buf out;
    struct hk_arena arena;
    hk_buf_init(&out, 1 << 20);
    hk_arena_init(&arena, 16 << 20);
    memset(&lag, 0, sizeof(lag));
    const int64_t values[] = { 800, 12000, 12001, 12900, 15000, 1000000000, 7000000000 };
    double sum = 0;
    for (size_t i = 0; i < HK_COUNT(values); i++) {
        hk_lag_add(&lag, HK_HOP_DURABLE, values[i]);
        sum += (double)values[i] / 1e9;
    }
    hk_lag_proto(&lag, 1700000000500, &out);
    struct hk_context context = { { 1, 2 }, NULL };
    struct hk_prom_proto *state = hk_mem_alloc(1, sizeof(*state));
    CHECK(state != NULL);
    if (state == NULL) return;
    hk_prom_proto_init(state, hk_buf_get(&out), &context, 1000);
    batch.arena = &arena;
    CHECK_INT(hk_prom_proto_parser.parse(state, &batch), HK_OK);
    uint32_t natives = 0;
    for (uint32_t i = 0; i < batch.count; i++) {
        const struct hk_entry *entry = &batch.entries[i];
        if (entry->kind != HK_ENTRY_HISTOGRAM) continue;
        struct hk_histogram back;
        struct hk_str bytes = { entry->payload, entry->payload_bytes };
        CHECK_INT(hk_histogram_decode(bytes, &arena, &back), HK_OK);
        CHECK_INT(back.schema, HK_LAG_SCHEMA);
        CHECK_INT(entry->start_ms, 1700000000500);
        natives++;
        if (back.count == 0) continue;
        CHECK_DOUBLE(back.count, HK_COUNT(values));
        CHECK(fabs(back.sum - sum) < 1e-9);
    }
    CHECK_INT(natives, HK_HOPS + HK_TURNS);
    CHECK_INT(batch.meta_count, 2);
    CHECK_STR(batch.metas[0].type, HK_STR("histogram"));
    hk_mem_free(state);
    hk_arena_deinit(&arena);
    hk_buf_deinit(&out);
}

HK_TEST_MAIN()
