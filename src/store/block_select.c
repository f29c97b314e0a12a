/* Finding series by matchers: postings as bitmaps over the series of the block. */
#include "base/mem.h"
#include "store/block_internal.h"

static hk_err no_memory(const struct hk_block *block) {
    return hk_fail(HK_E_NOMEM, "block %s: out of memory", block->path);
}

static size_t word_count(const struct hk_block *block) {
    return (size_t)block->info.series_count / 64 + 1;
}

static bool canceled(const _Atomic bool *cancel) {
    return cancel != NULL && atomic_load_explicit(cancel, memory_order_relaxed);
}

/* Adds the series of all pairs of `name` that the matcher accepts (or rejects) to `bitmap`. */
static hk_err add_values(
    struct hk_block *block, struct hk_block_work *work, const struct hk_matcher *matcher,
    bool accepted, const _Atomic bool *cancel, uint64_t *bitmap) {
    const struct hk_block_name_entry *entry = hk_block_name_find(block, matcher->name);
    if (entry == NULL) return HK_OK;
    const uint32_t end = entry->pair_first + entry->pair_count;
    for (uint32_t pair = entry->pair_first; pair < end; pair++) {
        if (pair % HK_BLOCK_PAIRS_PER_PAGE == 0 && canceled(cancel)) return HK_E_CANCELED;
        struct hk_str value = { NULL, 0 };
        HK_TRY(hk_block_pair_value(block, work, pair, &value));
        if (hk_matcher_accepts(matcher, value) != accepted) continue;
        HK_TRY(hk_block_pair_postings(block, work, pair, bitmap));
    }
    return HK_OK;
}

/* Adds the series of one pair, if it exists. */
static hk_err add_pair(
    struct hk_block *block, struct hk_block_work *work, const struct hk_matcher *matcher,
    uint64_t *bitmap) {
    uint32_t pair = 0;
    hk_err err = hk_block_pair_find(block, work, matcher->name, matcher->value, &pair);
    if (err == HK_E_NOT_FOUND) return HK_OK;
    HK_TRY(err);
    return hk_block_pair_postings(block, work, pair, bitmap);
}

/* Takes from `result` what the matcher does not accept; `scratch` is as large. A matcher that
 * accepts the absent label removes the series of rejected values, another one keeps those of
 * accepted values. */
static hk_err apply(
    struct hk_block *block, struct hk_block_work *work, const struct hk_matcher *matcher,
    const _Atomic bool *cancel, uint64_t *result, uint64_t *scratch) {
    const size_t words = word_count(block);
    const bool absent = hk_matcher_accepts(matcher, (struct hk_str){ "", 0 });
    const bool plain = (matcher->type == HK_MATCH_EQUAL && !absent) ||
                       (matcher->type == HK_MATCH_NOT_EQUAL && absent);
    memset(scratch, 0, words * sizeof(*scratch));
    if (plain) {
        HK_TRY(add_pair(block, work, matcher, scratch));
    } else {
        HK_TRY(add_values(block, work, matcher, !absent, cancel, scratch));
    }
    for (size_t i = 0; i < words; i++)
        result[i] &= absent ? ~scratch[i] : scratch[i];
    return HK_OK;
}

hk_err hk_block_select(
    struct hk_block *block, struct hk_block_work *work, const struct hk_matcher *matchers,
    uint32_t matcher_count, const _Atomic bool *cancel, struct hk_arena *arena,
    uint32_t **out_numbers, uint32_t *out_count) {
    const size_t words = word_count(block);
    const uint32_t series = (uint32_t)block->info.series_count;
    uint64_t *maps[2];
    for (int i = 0; i < 2; i++) {
        hk_buf_clear(&work->bitmaps[i]);
        maps[i] = (void *)hk_buf_reserve(&work->bitmaps[i], words * sizeof(uint64_t));
        if (maps[i] == NULL) return no_memory(block);
    }
    memset(maps[0], 0xff, words * sizeof(uint64_t));
    maps[0][words - 1] = (1ULL << series % 64) - 1; /* the last word is partial, maybe empty */
    for (uint32_t i = 0; i < matcher_count; i++) {
        if (canceled(cancel)) return hk_fail(HK_E_CANCELED, "canceled");
        HK_TRY(apply(block, work, &matchers[i], cancel, maps[0], maps[1]));
    }
    size_t count = 0;
    for (size_t i = 0; i < words; i++)
        count += (size_t)__builtin_popcountll(maps[0][i]);
    uint32_t *numbers = hk_arena_alloc_raw(arena, count, sizeof(*numbers));
    if (numbers == NULL) return no_memory(block);
    uint32_t found = 0;
    for (size_t i = 0; i < words; i++) {
        for (uint64_t word = maps[0][i]; word != 0; word &= word - 1)
            numbers[found++] = (uint32_t)(i * 64 + (unsigned)__builtin_ctzll(word));
    }
    *out_numbers = numbers;
    *out_count = found;
    return HK_OK;
}

hk_err hk_block_label_names(
    struct hk_block *block, struct hk_block_work *work, struct hk_arena *arena,
    struct hk_str **out_names, uint32_t *out_count) {
    (void)work;
    struct hk_str *names = hk_arena_alloc_raw(arena, block->name_count, sizeof(*names));
    if (names == NULL) return no_memory(block);
    for (uint32_t i = 0; i < block->name_count; i++) {
        names[i] = hk_arena_str(arena, block->names[i].name);
        if (names[i].ptr == NULL) return no_memory(block);
    }
    *out_names = names;
    *out_count = block->name_count;
    return HK_OK;
}

/* Series that have the pair, from its postings entry. */
static hk_err
pair_series(struct hk_block *block, struct hk_block_work *work, uint32_t pair, uint32_t *out) {
    struct hk_block_slot *slot = NULL;
    HK_TRY(
        hk_block_page(block, work, HK_BLOCK_PAIRS_SECTION, pair / HK_BLOCK_PAIRS_PER_PAGE, &slot));
    const uint8_t *begin = (const uint8_t *)slot->bytes.ptr;
    struct hk_block_in in = { begin + slot->entries[pair % HK_BLOCK_PAIRS_PER_PAGE],
                              begin + slot->bytes.len, false };
    const uint64_t count = hk_block_get(&in) / 4;
    *out = count <= block->info.series_count ? (uint32_t)count : 0;
    return HK_OK;
}

hk_err hk_block_label_values(
    struct hk_block *block, struct hk_block_work *work, struct hk_str name, struct hk_arena *arena,
    struct hk_str **out_values, uint32_t **out_series, uint32_t *out_count) {
    const struct hk_block_name_entry *entry = hk_block_name_find(block, name);
    const uint32_t count = entry == NULL ? 0 : entry->pair_count;
    struct hk_str *values = hk_arena_alloc_raw(arena, count, sizeof(*values));
    uint32_t *series =
        out_series == NULL ? NULL : hk_arena_alloc_raw(arena, count, sizeof(*series));
    if (values == NULL || (out_series != NULL && series == NULL)) return no_memory(block);
    for (uint32_t i = 0; i < count; i++) {
        struct hk_str value = { NULL, 0 };
        HK_TRY(hk_block_pair_value(block, work, entry->pair_first + i, &value));
        values[i] = hk_arena_str(arena, value);
        if (values[i].ptr == NULL) return no_memory(block);
        if (series != NULL) HK_TRY(pair_series(block, work, entry->pair_first + i, &series[i]));
    }
    *out_values = values;
    if (out_series != NULL) *out_series = series;
    *out_count = count;
    return HK_OK;
}
