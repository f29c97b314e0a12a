/* Goal: no input of the protobuf exposition reads past its end, hangs or upsets the labels. */
#include "ingest/prom_proto.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static struct hk_batch batch;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    static const struct hk_context context;
    struct hk_arena arena;
    struct hk_prom_proto state;
    hk_arena_init(&arena, 1 << 20);
    batch.arena = &arena;
    hk_prom_proto_init(&state, (struct hk_str){ (const char *)data, bytes }, &context, 0);
    state.classic_too = bytes % 2 == 0;
    hk_err err = HK_FULL;
    for (size_t rounds = 0; err == HK_FULL; rounds++) {
        hk_assert(rounds <= bytes + 1); /* each turn consumes something */
        hk_batch_clear(&batch);
        err = hk_prom_proto_parser.parse(&state, &batch);
        for (uint32_t i = 0; i < batch.count; i++) {
            struct hk_label_set set;
            struct hk_labels labels;
            hk_label_set_clear(&set);
            const hk_err made =
                hk_prom_proto_parser.labels(&state, &batch, &batch.entries[i], &set);
            hk_assert(made == HK_OK || made == HK_E_NOMEM);
            if (made == HK_OK) (void)!hk_label_set_finish(&set, &labels);
        }
    }
    hk_arena_deinit(&arena);
    return 0;
}
