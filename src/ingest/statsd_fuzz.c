/* Goal: no datagram reads past its end, hangs, or upsets the aggregator; labels always come. */
#include "ingest/statsd.h"

#include "ingest/statsd_agg.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static struct hk_batch batch;

static void check_labels(struct hk_statsd *state) {
    for (uint32_t i = 0; i < batch.count; i++) {
        struct hk_label_set set;
        struct hk_labels labels;
        hk_label_set_clear(&set);
        const hk_err made = hk_statsd_parser.labels(state, &batch, &batch.entries[i], &set);
        hk_assert(made == HK_OK || made == HK_E_NOMEM || made == HK_E_LIMIT);
        if (made == HK_OK) {
            const hk_err finished = hk_label_set_finish(&set, &labels);
            hk_assert(finished == HK_OK || finished == HK_E_LIMIT);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    static const struct hk_context context;
    static const struct hk_statsd_agg_options options = { .series_max = 16, .bytes_max = 16384 };
    struct hk_arena arena;
    struct hk_statsd state;
    struct hk_statsd_agg *agg = NULL;
    hk_arena_init(&arena, 1 << 20);
    if (hk_statsd_agg_create(&options, &agg) < 0) return 0;
    batch.arena = &arena;
    hk_statsd_init(&state, (struct hk_str){ (const char *)data, bytes }, &context, agg, 0);
    hk_err err = HK_FULL;
    for (size_t rounds = 0; err == HK_FULL; rounds++) {
        hk_assert(rounds <= bytes);
        hk_batch_clear(&batch);
        err = hk_statsd_parser.parse(&state, &batch);
        check_labels(&state);
    }
    hk_batch_clear(&batch);
    if (hk_statsd_agg_flush(agg, &batch, &context, 1) == HK_OK) check_labels(NULL);
    hk_statsd_agg_destroy(agg);
    hk_arena_deinit(&arena);
    return 0;
}
