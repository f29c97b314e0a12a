/*
 * Fuzz: any body of either version gives entries or an error, and the same entries whatever the
 * room in the batch, which differs from turn to turn. The first byte is the version and the seed
 * of the rooms, the rest the body.
 */
#include "ingest/remote_write.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static struct hk_batch batch;
static struct hk_rw1 rw1;
static struct hk_rw2 rw2;

struct outcome {
    hk_err err;
    uint64_t entries, points, rejected;
};

static void look(const struct hk_metric_parser *parser, void *state, struct outcome *to) {
    for (; to->entries > 0 && batch.count > 0; batch.count--) {
        struct hk_label_set set;
        struct hk_labels labels;
        const struct hk_entry *entry = &batch.entries[batch.count - 1];
        hk_assert(entry->key_bytes > 0 && entry->context != NULL);
        hk_assert(entry->payload_bytes == 0 || entry->payload != NULL);
        hk_label_set_clear(&set);
        if (parser->labels(state, &batch, entry, &set) < 0) continue;
        (void)!hk_label_set_finish(&set, &labels);
    }
}

/* `seed` 0: all the room there is; else every turn has another. */
static struct outcome run(bool second, struct hk_str body, uint32_t seed) {
    struct outcome outcome = { 0 };
    struct hk_arena arena;
    hk_arena_init(&arena, 1 << 26);
    batch.arena = &arena;
    const struct hk_metric_parser *parser =
        second ? &hk_parser_remote_write_2 : &hk_parser_remote_write_1;
    void *state = second ? (void *)&rw2 : (void *)&rw1;
    hk_rw1_init(&rw1, body, (struct hk_hash128){ 1, 2 });
    hk_rw2_init(&rw2, body, (struct hk_hash128){ 1, 2 }, NULL);
    do {
        seed = seed * 1664525U + (seed != 0 ? 1013904223U : 0);
        const uint32_t room =
            seed == 0 ? HK_BATCH_ENTRIES_MAX : 1 + (seed >> 24) % ((seed >> 16) % 64 + 1);
        hk_batch_clear(&batch);
        for (uint32_t i = 0; i < HK_BATCH_ENTRIES_MAX - room; i++)
            batch.entries[i] = (struct hk_entry){ .key = "x", .key_bytes = 1 };
        const uint32_t first = batch.count = HK_BATCH_ENTRIES_MAX - room;
        outcome.err = parser->parse(state, &batch);
        outcome.entries += batch.count - first;
        outcome.points += batch.points;
        outcome.rejected += batch.rejected;
        if (first == 0) look(parser, state, &outcome);
    } while (outcome.err == HK_FULL);
    hk_arena_deinit(&arena);
    return outcome;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    if (bytes == 0) return 0;
    const struct hk_str body = { (const char *)data + 1, bytes - 1 };
    const bool second = data[0] % 2 == 1;
    const struct outcome whole = run(second, body, 0);
    const struct outcome parts = run(second, body, data[0] + 1U);
    hk_assert(whole.err == parts.err || whole.err == HK_E_NOMEM || parts.err == HK_E_NOMEM);
    if (whole.err != HK_OK) return 0;
    hk_assert(whole.entries == parts.entries && whole.points == parts.points);
    hk_assert(whole.rejected == parts.rejected);
    return 0;
}
