/*
 * Series pages: labels and chunk directory of one series after another. The cursor of the work area
 * keeps its place, so that ascending numbers cost one parse each.
 */
#include "base/mem.h"
#include "store/block_internal.h"

static hk_err corrupt_page(const struct hk_block *block, uint32_t page, const char *what) {
    return hk_block_corrupt(
        block, HK_BLOCK_SERIES_SECTION, block->pages[HK_BLOCK_SERIES_SECTION][page], what);
}

/* Pairs ascend strictly: they are sorted by name. */
static bool
parse_pairs(const struct hk_block *block, struct hk_block_cursor *cursor, struct hk_block_in *in) {
    const uint32_t shared = hk_block_get_max(in, cursor->pair_count);
    const uint32_t more = hk_block_get_max(in, HK_LABELS_MAX);
    if (in->bad || shared + more > HK_LABELS_MAX) return false;
    for (uint32_t i = shared; i < shared + more; i++) {
        const uint64_t before = i < cursor->pair_count ? cursor->pairs[i] : 0;
        const uint64_t pair = before + (uint64_t)hk_block_get_signed(in);
        if (pair >= block->pair_count) return false;
        if (i > 0 && pair <= cursor->pairs[i - 1]) return false;
        cursor->pairs[i] = (uint32_t)pair;
    }
    cursor->pair_count = shared + more;
    return !in->bad;
}

static bool parse_chunk(
    struct hk_block_cursor *cursor, struct hk_block_in *in, uint8_t column,
    struct hk_block_chunk_entry *entry) {
    *entry = (struct hk_block_chunk_entry){ .chunk.column = column };
    struct hk_block_chunk *chunk = &entry->chunk;
    const uint64_t stamp = cursor->stamp_column + (uint64_t)hk_block_get_signed(in);
    if (stamp > UINT32_MAX) return false;
    chunk->stamp_column = cursor->stamp_column = (uint32_t)stamp;
    const uint32_t head = hk_block_get_max(in, UINT32_MAX);
    const unsigned form = head % 4;
    chunk->bytes = head / 4;
    if (chunk->bytes == 0 || chunk->bytes > HK_BLOCK_CHUNK_BYTES_MAX * 2U) return false;
    if (form == HK_BLOCK_INLINE) {
        entry->inline_bytes = hk_block_get_bytes(in, chunk->bytes);
        return column == HK_BLOCK_FLOAT && chunk->bytes <= HK_BLOCK_INLINE_VALUES && !in->bad;
    }
    chunk->offset = cursor->chunk_end + (uint64_t)hk_block_get_signed(in);
    cursor->chunk_end = chunk->offset + chunk->bytes + 4;
    if (form == HK_BLOCK_PLAIN) return !in->bad;
    if (form != HK_BLOCK_SUMMARIZED || column != HK_BLOCK_FLOAT) return false;
    entry->summary = in->at;
    struct hk_block_summary ignored;
    if (!hk_block_summary_get(in, 0, &ignored)) return false;
    entry->summary_end = in->at;
    return !in->bad;
}

/* The whole of `in` is the directory. */
static hk_err parse_directory(struct hk_block_cursor *cursor, struct hk_block_in *in) {
    uint32_t counts[HK_BLOCK_COLUMNS] = { 0 };
    cursor->chunk_count = 0;
    if (in->at == in->end) return HK_OK;
    const uint32_t head = hk_block_get_max(in, HK_BLOCK_CHUNKS_MAX * 2 + 1);
    counts[HK_BLOCK_FLOAT] = head / 2;
    if (head % 2 != 0) {
        counts[HK_BLOCK_HISTOGRAM] = hk_block_get_max(in, HK_BLOCK_CHUNKS_MAX);
        counts[HK_BLOCK_EXEMPLAR] = hk_block_get_max(in, HK_BLOCK_CHUNKS_MAX);
    }
    const size_t all = (size_t)counts[0] + counts[1] + counts[2];
    /* A chunk takes three bytes at least. */
    if (in->bad || all > (size_t)(in->end - in->at) / 3) return HK_E_CORRUPT;
    HK_TRY(hk_mem_grow(&cursor->chunks, &cursor->chunk_capacity, all, sizeof(*cursor->chunks)));
    for (uint8_t column = 0; column < HK_BLOCK_COLUMNS; column++) {
        for (uint32_t i = 0; i < counts[column]; i++) {
            if (!parse_chunk(cursor, in, column, &cursor->chunks[cursor->chunk_count++])) {
                return HK_E_CORRUPT;
            }
        }
    }
    return in->at == in->end ? HK_OK : HK_E_CORRUPT;
}

static hk_err parse_next(const struct hk_block *block, struct hk_block_cursor *cursor) {
    struct hk_block_in in = { cursor->at, cursor->end, false };
    if (!parse_pairs(block, cursor, &in)) return HK_E_CORRUPT;
    const uint64_t bytes = hk_block_get(&in);
    const uint8_t *from = hk_block_get_bytes(&in, bytes);
    if (from == NULL) return HK_E_CORRUPT;
    struct hk_block_in directory = { from, in.at, false };
    cursor->at = in.at;
    cursor->complete = false;
    return parse_directory(cursor, &directory);
}

hk_err hk_block_series_parse(struct hk_block *block, struct hk_block_work *work, uint32_t number) {
    if (number >= block->info.series_count) {
        return hk_fail(HK_E_INVALID, "block %s: no series %u", block->path, number);
    }
    struct hk_block_cursor *cursor = hk_block_cursor_of(block, work);
    const uint32_t page = number / HK_BLOCK_SERIES_PER_PAGE;
    const bool here = cursor->serial == block->serial && cursor->page == page;
    if (here && cursor->number == number) return HK_OK;
    uint32_t next = cursor->number + 1;
    if (!here || number < next) {
        struct hk_block_slot *slot = NULL;
        cursor->serial = 0;
        HK_TRY(hk_block_page(block, work, HK_BLOCK_SERIES_SECTION, page, &slot));
        cursor->at = (const uint8_t *)slot->bytes.ptr;
        cursor->end = cursor->at + slot->bytes.len;
        cursor->slot = slot;
        cursor->page = page;
        cursor->pair_count = 0;
        cursor->chunk_end = 0;
        cursor->stamp_column = 0;
        next = page * HK_BLOCK_SERIES_PER_PAGE;
    }
    for (; next <= number; next++) {
        cursor->serial = 0; /* until parsed */
        hk_err err = parse_next(block, cursor);
        if (err == HK_E_NOMEM) return hk_fail(err, "block %s: out of memory", block->path);
        if (err < 0) return corrupt_page(block, page, "malformed series");
    }
    const bool last =
        (number + 1) % HK_BLOCK_SERIES_PER_PAGE == 0 || number + 1 == block->info.series_count;
    if (last && cursor->at != cursor->end) {
        return corrupt_page(block, page, "a page with bytes left over");
    }
    cursor->number = number;
    cursor->serial = block->serial;
    return HK_OK;
}

/* Exact summaries of inline chunks come from their values. */
static hk_err fill_summary(
    const struct hk_block *block, struct hk_block_work *work, struct hk_block_chunk_entry *entry) {
    struct hk_block_chunk *chunk = &entry->chunk;
    if (entry->inline_bytes != NULL) {
        hk_err err = hk_column_decode_values(
            work->column, entry->inline_bytes, chunk->bytes, chunk->count, work->values);
        if (err < 0) return err;
        hk_block_summary_of(work->values, chunk->count, &chunk->summary);
        return HK_OK;
    }
    if (entry->summary != NULL) {
        struct hk_block_in in = { entry->summary, entry->summary_end, false };
        const bool good = hk_block_summary_get(&in, chunk->count, &chunk->summary);
        return good ? HK_OK
                    : corrupt_page(
                          block, hk_block_cursor_of(block, work)->page, "malformed summary");
    }
    /* Short chunks have none: no bound is known. */
    chunk->summary = (struct hk_block_summary){ .min = -__builtin_inf(),
                                                .max = __builtin_inf(),
                                                .has_nan = true };
    return HK_OK;
}

hk_err hk_block_series_chunks(struct hk_block *block, struct hk_block_work *work, uint32_t number) {
    HK_TRY(hk_block_series_parse(block, work, number));
    struct hk_block_cursor *cursor = hk_block_cursor_of(block, work);
    if (cursor->complete) return HK_OK;
    for (uint32_t i = 0; i < cursor->chunk_count; i++) {
        struct hk_block_chunk *chunk = &cursor->chunks[i].chunk;
        struct hk_block_stamps stamps;
        HK_TRY(hk_block_stamps_entry(block, work, chunk->stamp_column, &stamps));
        chunk->count = stamps.count;
        chunk->min_ms = stamps.min_ms;
        chunk->max_ms = stamps.max_ms;
        if (i == 0 || cursor->chunks[i - 1].chunk.column != chunk->column) continue;
        const int64_t before = cursor->chunks[i - 1].chunk.max_ms;
        const bool repeats = chunk->column == HK_BLOCK_EXEMPLAR && chunk->min_ms == before;
        if (chunk->min_ms > before || repeats) continue;
        return corrupt_page(block, cursor->page, "chunks of a series are not in time order");
    }
    cursor->complete = true;
    return HK_OK;
}

hk_err hk_block_chunks(
    struct hk_block *block, struct hk_block_work *work, uint32_t number, struct hk_arena *arena,
    struct hk_block_chunk **out_chunks, uint32_t *out_count) {
    HK_TRY(hk_block_series_chunks(block, work, number));
    struct hk_block_cursor *cursor = hk_block_cursor_of(block, work);
    struct hk_block_chunk *chunks = hk_arena_alloc_raw(arena, cursor->chunk_count, sizeof(*chunks));
    if (chunks == NULL) return hk_fail(HK_E_NOMEM, "block %s: out of memory", block->path);
    for (uint32_t i = 0; i < cursor->chunk_count; i++) {
        struct hk_block_chunk_entry *entry = &cursor->chunks[i];
        if (entry->chunk.column == HK_BLOCK_FLOAT) {
            hk_err err = fill_summary(block, work, entry);
            if (err < 0) return corrupt_page(block, cursor->page, "malformed inline values");
        }
        chunks[i] = entry->chunk;
    }
    *out_chunks = chunks;
    *out_count = cursor->chunk_count;
    return HK_OK;
}

hk_err hk_block_labels(
    struct hk_block *block, struct hk_block_work *work, uint32_t number, struct hk_arena *arena,
    struct hk_labels *out) {
    HK_TRY(hk_block_series_parse(block, work, number));
    const struct hk_block_cursor *cursor = hk_block_cursor_of(block, work);
    struct hk_label *labels = hk_arena_alloc_raw(arena, cursor->pair_count, sizeof(*labels));
    if (labels == NULL) return hk_fail(HK_E_NOMEM, "block %s: out of memory", block->path);
    for (uint32_t i = 0; i < cursor->pair_count; i++) {
        struct hk_str value = { NULL, 0 };
        HK_TRY(hk_block_pair_value(block, work, cursor->pairs[i], &value));
        labels[i].name = hk_arena_str(arena, hk_block_name_of(block, cursor->pairs[i])->name);
        labels[i].value = hk_arena_str(arena, value);
        if (labels[i].name.ptr == NULL || labels[i].value.ptr == NULL) {
            return hk_fail(HK_E_NOMEM, "block %s: out of memory", block->path);
        }
        if (i > 0 && hk_str_cmp(labels[i - 1].name, labels[i].name) >= 0) {
            return corrupt_page(block, cursor->page, "a label name twice in a series");
        }
    }
    *out = (struct hk_labels){ labels, cursor->pair_count };
    return HK_OK;
}

/* ------------------------------------------------------------------ finding a series */

static int compare_pairs(const uint32_t *a, uint32_t a_count, const uint32_t *b, uint32_t b_count) {
    for (uint32_t i = 0; i < a_count && i < b_count; i++) {
        if (a[i] != b[i]) return a[i] < b[i] ? -1 : 1;
    }
    return (a_count > b_count) - (a_count < b_count);
}

hk_err hk_block_find(
    struct hk_block *block, struct hk_block_work *work, struct hk_labels labels,
    uint32_t *out_number) {
    if (labels.count > HK_LABELS_MAX) return HK_E_NOT_FOUND;
    uint32_t pairs[HK_LABELS_MAX];
    for (uint32_t i = 0; i < labels.count; i++) {
        HK_TRY(hk_block_pair_find(
            block, work, labels.items[i].name, labels.items[i].value, &pairs[i]));
    }
    /* The last page whose first series is not greater, then that page. */
    uint32_t low = 0, high = block->page_count[HK_BLOCK_SERIES_SECTION];
    const struct hk_block_cursor *cursor = hk_block_cursor_of(block, work);
    while (high - low > 1 && low < high) {
        const uint32_t middle = low + (high - low) / 2;
        HK_TRY(hk_block_series_parse(block, work, middle * HK_BLOCK_SERIES_PER_PAGE));
        if (compare_pairs(cursor->pairs, cursor->pair_count, pairs, labels.count) <= 0) {
            low = middle;
        } else {
            high = middle;
        }
    }
    const uint32_t first = low * HK_BLOCK_SERIES_PER_PAGE;
    for (uint32_t i = first; i < block->info.series_count && i < first + HK_BLOCK_SERIES_PER_PAGE;
         i++) {
        HK_TRY(hk_block_series_parse(block, work, i));
        const int order = compare_pairs(cursor->pairs, cursor->pair_count, pairs, labels.count);
        if (order > 0) break;
        if (order < 0) continue;
        *out_number = i;
        return HK_OK;
    }
    return HK_E_NOT_FOUND;
}
