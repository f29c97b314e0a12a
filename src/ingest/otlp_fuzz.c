/*
 * Fuzz: any OTLP body gives entries whose labels are valid or refused, and the same number of
 * entries whatever the room in the batch, which differs from turn to turn. The first byte chooses
 * the options and the seed of the rooms.
 */
#include "ingest/otlp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static struct hk_batch batch;
static struct hk_otlp otlp;

struct outcome {
    hk_err err;
    uint64_t entries, points, rejected;
};

static void look(uint32_t first) {
    for (uint32_t i = first; i < batch.count; i++) {
        struct hk_label_set set;
        struct hk_labels labels;
        const struct hk_entry *entry = &batch.entries[i];
        hk_assert(entry->key != NULL && entry->context != NULL && entry->stamp_ms >= 0);
        hk_assert(entry->context->data != NULL);
        hk_assert(entry->payload_bytes == 0 || entry->payload != NULL);
        hk_label_set_clear(&set);
        if (hk_parser_otlp.labels(&otlp, &batch, entry, &set) < 0) continue;
        (void)!hk_label_set_finish(&set, &labels);
    }
}

/* `seed` 0: all the room there is; else every turn has another. */
static struct outcome
run(const struct hk_otlp_options *options, struct hk_str body, uint32_t seed) {
    struct outcome outcome = { 0 };
    struct hk_arena arena;
    hk_arena_init(&arena, 1 << 26);
    batch.arena = &arena;
    hk_otlp_init(&otlp, body, (struct hk_hash128){ 1, 2 }, options, NULL);
    do {
        seed = seed * 1664525U + (seed != 0 ? 1013904223U : 0);
        const uint32_t room =
            seed == 0 ? HK_BATCH_ENTRIES_MAX : 2 + (seed >> 24) % ((seed >> 16) % 64 + 1);
        hk_batch_clear(&batch);
        const uint32_t first = batch.count = HK_BATCH_ENTRIES_MAX - room;
        outcome.err = hk_parser_otlp.parse(&otlp, &batch);
        outcome.entries += batch.count - first;
        outcome.points += batch.points;
        outcome.rejected += batch.rejected;
        look(first);
    } while (outcome.err == HK_FULL);
    hk_arena_deinit(&arena);
    return outcome;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    if (bytes == 0) return 0;
    static const struct hk_str promote[] = { { "host.name", 9 } };
    const struct hk_otlp_options options = {
        .naming = (enum hk_otlp_naming)(data[0] % 4),
        .promote_scope = (data[0] & 4) != 0,
        .promote_all_resource = (data[0] & 8) != 0,
        .keep_identifying = (data[0] & 16) != 0,
        .promote = promote,
        .promote_count = data[0] >> 5 & 1,
    };
    const struct hk_str body = { (const char *)data + 1, bytes - 1 };
    const struct outcome whole = run(&options, body, 0);
    const struct outcome parts = run(&options, body, data[0] + 1U);
    hk_assert(whole.err == parts.err || whole.err == HK_E_NOMEM || parts.err == HK_E_NOMEM);
    if (whole.err != HK_OK) return 0;
    hk_assert(whole.entries == parts.entries && whole.points == parts.points);
    hk_assert(whole.rejected == parts.rejected);
    return 0;
}
