/* Samples of a block: decoding chunks, reading a series over a range, verifying the whole file. */
#include "base/hash.h"
#include "base/mem.h"
#include "store/block_internal.h"

#include <zstd.h>

static hk_err no_memory(const struct hk_block *block) {
    return hk_fail(HK_E_NOMEM, "block %s: out of memory", block->path);
}

/* The chunk's bytes, verified, borrowed. */
static hk_err chunk_bytes(
    struct hk_block *block, struct hk_block_work *work, const struct hk_block_chunk_entry *entry,
    size_t ahead, const uint8_t **out) {
    *out = entry->inline_bytes; /* the page's checksum covers them */
    if (entry->inline_bytes != NULL) return HK_OK;
    return hk_block_blob(
        block, work, HK_BLOCK_CHUNKS_SECTION, entry->chunk.offset, entry->chunk.bytes, ahead, out);
}

static hk_err chunk_stamps(
    struct hk_block *block, struct hk_block_work *work, const struct hk_block_chunk *chunk,
    int64_t *out_stamps_ms) {
    const int64_t *stamps_ms = NULL;
    uint32_t count = 0;
    HK_TRY(hk_block_stamps_get(block, work, chunk->stamp_column, &stamps_ms, &count));
    hk_assert(count == chunk->count);
    bool good = true;
    for (uint32_t i = 1; chunk->column != HK_BLOCK_EXEMPLAR && i < count; i++)
        good = good && stamps_ms[i - 1] < stamps_ms[i];
    if (!good) {
        return hk_block_corrupt(
            block, HK_BLOCK_CHUNKS_SECTION, chunk->offset, "stamps do not ascend");
    }
    memcpy(out_stamps_ms, stamps_ms, count * sizeof(*stamps_ms));
    return HK_OK;
}

hk_err hk_block_chunk_floats(
    struct hk_block *block, struct hk_block_work *work, const struct hk_block_chunk_entry *entry,
    size_t ahead, int64_t *out_stamps_ms, double *out_values) {
    HK_TRY(chunk_stamps(block, work, &entry->chunk, out_stamps_ms));
    const uint8_t *from = NULL;
    HK_TRY(chunk_bytes(block, work, entry, ahead, &from));
    hk_err err = hk_column_decode_values(
        work->column, from, entry->chunk.bytes, entry->chunk.count, out_values);
    if (err == HK_E_NOMEM) return no_memory(block);
    if (err == HK_OK) return HK_OK;
    return hk_block_corrupt(
        block, HK_BLOCK_CHUNKS_SECTION, entry->chunk.offset, "malformed values");
}

/* Unpacks lengths and bytes; false when malformed. */
static hk_err unpack_payloads(
    struct hk_block_work *work, const uint8_t *from, uint32_t bytes, struct hk_block_in *out) {
    struct hk_block_in in = { from, from + bytes, false };
    const uint8_t *form = hk_block_get_bytes(&in, 1);
    if (form == NULL || *form > 1) return HK_E_CORRUPT;
    *out = in;
    if (*form == 0) return HK_OK;
    const uint32_t plain = hk_block_get_max(&in, HK_BLOCK_CHUNK_BYTES_MAX * 2);
    if (in.bad) return HK_E_CORRUPT;
    hk_buf_clear(&work->payload);
    char *to = hk_buf_reserve(&work->payload, plain + 1UL);
    if (work->decompressor == NULL) work->decompressor = ZSTD_createDCtx();
    if (to == NULL || work->decompressor == NULL) return HK_E_NOMEM;
    const size_t got =
        ZSTD_decompressDCtx(work->decompressor, to, plain, in.at, (size_t)(in.end - in.at));
    if (ZSTD_isError(got) || got != plain) return HK_E_CORRUPT;
    *out = (struct hk_block_in){ (const uint8_t *)to, (const uint8_t *)to + plain, false };
    return HK_OK;
}

hk_err hk_block_chunk_payloads(
    struct hk_block *block, struct hk_block_work *work, const struct hk_block_chunk_entry *entry,
    size_t ahead, int64_t *out_stamps_ms, struct hk_str *out_payloads) {
    HK_TRY(chunk_stamps(block, work, &entry->chunk, out_stamps_ms));
    const uint8_t *from = NULL;
    HK_TRY(chunk_bytes(block, work, entry, ahead, &from));
    struct hk_block_in in = { 0 };
    hk_err err = unpack_payloads(work, from, entry->chunk.bytes, &in);
    if (err == HK_E_NOMEM) return no_memory(block);
    if (err == HK_OK) {
        for (uint32_t i = 0; i < entry->chunk.count; i++)
            out_payloads[i].len = hk_block_get_max(&in, HK_BLOCK_PAYLOAD_BYTES_MAX);
        for (uint32_t i = 0; i < entry->chunk.count; i++)
            out_payloads[i].ptr = (const char *)hk_block_get_bytes(&in, out_payloads[i].len);
        if (!in.bad && in.at == in.end) return HK_OK;
    }
    return hk_block_corrupt(
        block, HK_BLOCK_CHUNKS_SECTION, entry->chunk.offset, "malformed payloads");
}

/* ------------------------------------------------------------------ a series over a range */

/* Chunks of a column that overlap the range. */
struct range {
    const struct hk_block_chunk_entry *chunks; /* the cursor's */
    uint32_t first, end;
    size_t count; /* samples */
};

static hk_err find_range(
    struct hk_block *block, struct hk_block_work *work, uint32_t number,
    enum hk_block_column column, int64_t from_ms, int64_t to_ms, struct range *out) {
    HK_TRY(hk_block_series_chunks(block, work, number));
    const struct hk_block_cursor *cursor = hk_block_cursor_of(block, work);
    struct range range = { .chunks = cursor->chunks };
    for (uint32_t i = 0; i < cursor->chunk_count; i++) {
        const struct hk_block_chunk *chunk = &cursor->chunks[i].chunk;
        if (chunk->column != column || chunk->max_ms < from_ms || chunk->min_ms > to_ms) continue;
        if (range.count == 0) range.first = i;
        range.end = i + 1;
        range.count += chunk->count;
    }
    *out = range;
    return HK_OK;
}

/* Bytes in the file from chunk `i` to the end of the last one wanted, for reading ahead. */
static size_t bytes_ahead(const struct range *range, uint32_t i) {
    const struct hk_block_chunk *last = &range->chunks[range->end - 1].chunk;
    const uint64_t from = range->chunks[i].chunk.offset;
    if (from == 0 || last->offset < from) return 0;
    const uint64_t bytes = last->offset + last->bytes + 4 - from;
    return bytes < HK_BLOCK_WINDOW_BYTES ? bytes : HK_BLOCK_WINDOW_BYTES;
}

/* First stamp >= at. */
static uint32_t stamp_at(const int64_t *stamps_ms, uint32_t count, int64_t at) {
    uint32_t low = 0, high = count;
    while (low < high) {
        const uint32_t middle = low + (high - low) / 2;
        if (stamps_ms[middle] < at) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/* The part [*out_first, *out_end) of decoded stamps that lies in the range. */
static void clip(
    const int64_t *stamps_ms, uint32_t count, int64_t from_ms, int64_t to_ms, uint32_t *out_first,
    uint32_t *out_end) {
    *out_first = stamps_ms[0] >= from_ms ? 0 : stamp_at(stamps_ms, count, from_ms);
    *out_end = count;
    if (stamps_ms[count - 1] > to_ms) *out_end = stamp_at(stamps_ms, count, to_ms + 1);
}

hk_err hk_block_read_floats(
    struct hk_block *block, struct hk_block_work *work, uint32_t number, int64_t from_ms,
    int64_t to_ms, struct hk_arena *arena, int64_t **out_stamps_ms, double **out_values,
    uint32_t *out_count) {
    struct range range;
    HK_TRY(find_range(block, work, number, HK_BLOCK_FLOAT, from_ms, to_ms, &range));
    if (range.count > UINT32_MAX) return hk_fail(HK_E_LIMIT, "block: too many samples");
    int64_t *stamps_ms = hk_arena_alloc_raw(arena, range.count, sizeof(*stamps_ms));
    double *values = hk_arena_alloc_raw(arena, range.count, sizeof(*values));
    if (stamps_ms == NULL || values == NULL) return no_memory(block);
    uint32_t count = 0;
    for (uint32_t i = range.first; i < range.end; i++) {
        const struct hk_block_chunk_entry *entry = &range.chunks[i];
        /* A whole chunk has room: range.count counts it. */
        HK_TRY(hk_block_chunk_floats(
            block, work, entry, bytes_ahead(&range, i), stamps_ms + count, values + count));
        uint32_t first = 0, end = 0;
        clip(stamps_ms + count, entry->chunk.count, from_ms, to_ms, &first, &end);
        if (first > 0 && end > first) {
            memmove(stamps_ms + count, stamps_ms + count + first, (end - first) * sizeof(int64_t));
            memmove(values + count, values + count + first, (end - first) * sizeof(double));
        }
        count += end > first ? end - first : 0;
    }
    *out_stamps_ms = stamps_ms;
    *out_values = values;
    *out_count = count;
    return HK_OK;
}

hk_err hk_block_read_payloads(
    struct hk_block *block, struct hk_block_work *work, uint32_t number,
    enum hk_block_column column, int64_t from_ms, int64_t to_ms, struct hk_arena *arena,
    int64_t **out_stamps_ms, struct hk_str **out_payloads, uint32_t *out_count) {
    if (column != HK_BLOCK_HISTOGRAM && column != HK_BLOCK_EXEMPLAR) {
        return hk_fail(HK_E_INVALID, "block: payloads of column %d", (int)column);
    }
    struct range range;
    HK_TRY(find_range(block, work, number, column, from_ms, to_ms, &range));
    if (range.count > UINT32_MAX) return hk_fail(HK_E_LIMIT, "block: too many samples");
    int64_t *stamps_ms = hk_arena_alloc_raw(arena, range.count, sizeof(*stamps_ms));
    struct hk_str *payloads = hk_arena_alloc_raw(arena, range.count, sizeof(*payloads));
    if (stamps_ms == NULL || payloads == NULL) return no_memory(block);
    uint32_t count = 0;
    for (uint32_t i = range.first; i < range.end; i++) {
        const struct hk_block_chunk_entry *entry = &range.chunks[i];
        HK_TRY(hk_block_chunk_payloads(
            block, work, entry, bytes_ahead(&range, i), work->stamps_ms, work->payloads));
        uint32_t first = 0, end = 0;
        clip(work->stamps_ms, entry->chunk.count, from_ms, to_ms, &first, &end);
        for (uint32_t k = first; k < end; k++, count++) {
            stamps_ms[count] = work->stamps_ms[k];
            payloads[count] = hk_arena_str(arena, work->payloads[k]);
            if (payloads[count].ptr == NULL) return no_memory(block);
        }
    }
    *out_stamps_ms = stamps_ms;
    *out_payloads = payloads;
    *out_count = count;
    return HK_OK;
}

/* ------------------------------------------------------------------ verification */

static hk_err verify_section(
    struct hk_block *block, enum hk_block_section section, uint8_t *buffer, size_t room) {
    const struct hk_block_span *span = &block->sections[section];
    uint32_t crc = 0;
    for (uint64_t at = 0; at < span->bytes;) {
        const size_t bytes = span->bytes - at < room ? (size_t)(span->bytes - at) : room;
        HK_TRY(hk_block_file_read(block->fd, block->path, buffer, bytes, span->offset + at));
        crc = hk_crc32c(crc, buffer, bytes);
        at += bytes;
    }
    if (crc == span->crc) return HK_OK;
    return hk_block_corrupt(block, section, span->offset, "bad checksum of the section");
}

/* Counts that must agree with the footer and header. */
struct seen {
    uint64_t samples, exemplars, chunks;
    int64_t min_ms, max_ms;
};

static hk_err verify_series(
    struct hk_block *block, struct hk_block_work *work, uint32_t number, struct hk_arena *arena,
    struct seen *seen) {
    struct hk_labels labels;
    HK_TRY(hk_block_labels(block, work, number, arena, &labels));
    struct hk_block_chunk *chunks = NULL;
    uint32_t count = 0;
    HK_TRY(hk_block_chunks(block, work, number, arena, &chunks, &count));
    for (uint32_t i = 0; i < count; i++) {
        const struct hk_block_chunk_entry *entry = &hk_block_cursor_of(block, work)->chunks[i];
        const struct hk_block_chunk *chunk = &entry->chunk;
        const size_t ahead = HK_BLOCK_WINDOW_BYTES;
        if (chunk->column == HK_BLOCK_FLOAT) {
            HK_TRY(hk_block_chunk_floats(block, work, entry, ahead, work->stamps_ms, work->values));
        } else {
            HK_TRY(hk_block_chunk_payloads(
                block, work, entry, ahead, work->stamps_ms, work->payloads));
        }
        seen->chunks++;
        if (chunk->column == HK_BLOCK_EXEMPLAR) {
            seen->exemplars += chunk->count;
        } else {
            seen->samples += chunk->count;
        }
        seen->min_ms = chunk->min_ms < seen->min_ms ? chunk->min_ms : seen->min_ms;
        seen->max_ms = chunk->max_ms > seen->max_ms ? chunk->max_ms : seen->max_ms;
    }
    return HK_OK;
}

static hk_err verify_postings(struct hk_block *block, struct hk_block_work *work) {
    const size_t words = (size_t)block->info.series_count / 64 + 1;
    hk_buf_clear(&work->bitmaps[0]);
    char *bitmap = hk_buf_reserve(&work->bitmaps[0], words * 8);
    if (bitmap == NULL) return no_memory(block);
    for (uint32_t pair = 0; pair < block->pair_count; pair++) {
        memset(bitmap, 0, words * 8);
        HK_TRY(hk_block_pair_postings(block, work, pair, (void *)bitmap));
    }
    return HK_OK;
}

hk_err hk_block_verify(struct hk_block *block, struct hk_block_work *work) {
    enum { ROOM = 65536, ARENA_BYTES = 256 << 20 };
    uint8_t *buffer = hk_mem_alloc(ROOM, 1);
    if (buffer == NULL) return no_memory(block);
    hk_err err = HK_OK;
    for (int i = 0; i < HK_BLOCK_SECTIONS && err == HK_OK; i++)
        err = verify_section(block, (enum hk_block_section)i, buffer, ROOM);
    hk_mem_free(buffer);
    HK_TRY(err);
    struct hk_arena arena;
    hk_arena_init(&arena, ARENA_BYTES);
    struct seen seen = { .min_ms = INT64_MAX, .max_ms = INT64_MIN };
    for (uint32_t i = 0; i < block->info.series_count && err == HK_OK; i++) {
        err = verify_series(block, work, i, &arena, &seen);
        hk_arena_reset(&arena);
    }
    hk_arena_deinit(&arena);
    HK_TRY(err);
    HK_TRY(verify_postings(block, work));
    const struct hk_block_info *info = &block->info;
    if (seen.samples != info->sample_count || seen.exemplars != info->exemplar_count ||
        seen.chunks != info->chunk_count || seen.min_ms != info->min_ms ||
        seen.max_ms != info->max_ms) {
        return hk_fail(
            HK_E_CORRUPT,
            "block %s: the header's times or the footer's counts are not those "
            "of the content",
            block->path);
    }
    return HK_OK;
}
