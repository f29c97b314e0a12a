/* Goal: no line protocol reads past its end or hangs; every entry finds its labels. */
#include "ingest/influx.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static struct hk_batch batch;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    static const struct hk_context context;
    struct hk_arena arena;
    struct hk_influx state;
    struct hk_buf errors;
    hk_arena_init(&arena, 1 << 20);
    hk_buf_init(&errors, 4096);
    batch.arena = &arena;
    const enum hk_influx_precision precision =
        bytes == 0 ? HK_INFLUX_NS : (enum hk_influx_precision)(data[0] % (HK_INFLUX_AUTO + 1));
    hk_influx_init(&state, (struct hk_str){ (const char *)data, bytes }, &context, 0, precision);
    state.errors = &errors;
    hk_err err = HK_FULL;
    for (size_t rounds = 0; err == HK_FULL; rounds++) {
        hk_assert(rounds <= bytes);
        hk_batch_clear(&batch);
        err = hk_influx_parser.parse(&state, &batch);
        hk_assert(err >= 0);
        for (uint32_t i = 0; i < batch.count; i++) {
            struct hk_label_set set;
            struct hk_labels labels;
            hk_label_set_clear(&set);
            const hk_err made = hk_influx_parser.labels(&state, &batch, &batch.entries[i], &set);
            hk_assert(made == HK_OK || made == HK_E_NOMEM);
            if (made == HK_OK) (void)!hk_label_set_finish(&set, &labels);
        }
    }
    hk_assert(state.at == bytes);
    hk_buf_deinit(&errors);
    hk_arena_deinit(&arena);
    return 0;
}
