/*
 * Pages of a block through the caches of a work area: verified when they are read, parsed once.
 * Everything read is bounded by its section.
 */
#include "base/mem.h"
#include "store/block_internal.h"

#include <zstd.h>

/* ------------------------------------------------------------------ work area */

hk_err hk_block_work_create(struct hk_block_work **out) {
    struct hk_block_work *work = hk_mem_alloc(1, sizeof(*work));
    if (work == NULL) return hk_fail(HK_E_NOMEM, "block reader: out of memory");
    work->column = hk_column_work_create();
    work->stamps = hk_mem_alloc(HK_BLOCK_STAMP_SLOTS, sizeof(*work->stamps));
    work->stamp_pages = hk_mem_alloc(HK_BLOCK_STAMP_PAGE_SLOTS, sizeof(*work->stamp_pages));
    for (int i = 0; i < HK_BLOCK_SLOTS; i++) {
        hk_buf_init(&work->slots[i].bytes, HK_BLOCK_PAGE_BYTES_MAX);
        hk_buf_init(&work->slots[i].values, HK_BLOCK_PAGE_BYTES_MAX);
    }
    hk_buf_init(&work->window, HK_BLOCK_PAGE_BYTES_MAX + HK_BLOCK_WINDOW_BYTES);
    hk_buf_init(&work->lone, HK_BLOCK_PAGE_BYTES_MAX);
    hk_buf_init(&work->payload, HK_BLOCK_CHUNK_BYTES_MAX * 2UL);
    hk_buf_init(&work->bitmaps[0], HK_BLOCK_SERIES_MAX);
    hk_buf_init(&work->bitmaps[1], HK_BLOCK_SERIES_MAX);
    if (work->column == NULL || work->stamps == NULL || work->stamp_pages == NULL) {
        hk_block_work_destroy(work);
        return hk_fail(HK_E_NOMEM, "block reader: out of memory");
    }
    *out = work;
    return HK_OK;
}

void hk_block_work_destroy(struct hk_block_work *work) {
    if (work == NULL) return;
    for (int i = 0; i < HK_BLOCK_SLOTS; i++) {
        hk_buf_deinit(&work->slots[i].bytes);
        hk_buf_deinit(&work->slots[i].values);
    }
    hk_buf_deinit(&work->window);
    hk_buf_deinit(&work->lone);
    hk_buf_deinit(&work->payload);
    hk_buf_deinit(&work->bitmaps[0]);
    hk_buf_deinit(&work->bitmaps[1]);
    (void)ZSTD_freeDCtx(work->decompressor);
    hk_column_work_destroy(work->column);
    hk_mem_free(work->stamp_pages);
    hk_mem_free(work->stamps);
    for (int i = 0; i < HK_BLOCK_CURSORS; i++)
        hk_mem_free(work->cursors[i].chunks);
    hk_mem_free(work);
}

/* ------------------------------------------------------------------ pages */

/* Expands the front-coded values of a page of pairs. */
static bool expand_pairs(struct hk_block_slot *slot, uint32_t count) {
    const uint8_t *begin = (const uint8_t *)slot->bytes.ptr;
    struct hk_block_in in = { begin, begin + slot->bytes.len, false };
    struct hk_buf *values = &slot->values;
    hk_buf_clear(values);
    slot->count = count;
    uint32_t before = 0; /* offset of the value before */
    for (uint32_t i = 0; i < count; i++) {
        const uint32_t at = (uint32_t)values->len;
        slot->offsets[i] = at;
        const uint32_t shared = hk_block_get_max(&in, at - before);
        const uint32_t rest = hk_block_get_max(&in, HK_LABEL_VALUE_BYTES_MAX);
        const uint8_t *text = hk_block_get_bytes(&in, rest);
        if (in.bad || shared + rest == 0 || shared + rest > HK_LABEL_VALUE_BYTES_MAX) return false;
        char *to = hk_buf_reserve(values, (size_t)shared + rest);
        if (to == NULL) return false;
        memcpy(to, values->ptr + before, shared);
        memcpy(to + shared, text, rest);
        values->len += (size_t)shared + rest;
        before = at;
        slot->entries[i] = (uint32_t)(in.at - begin);
        if (hk_block_get(&in) % 4 == HK_POSTINGS_ALL) continue;
        const uint64_t head = hk_block_get(&in);
        if (head % 2 != 0) {
            (void)hk_block_get_bytes(&in, head / 2);
        } else {
            (void)hk_block_get(&in);
        }
    }
    slot->offsets[count] = (uint32_t)values->len;
    return !in.bad && in.at == in.end;
}

static hk_err load_page(
    struct hk_block *block, enum hk_block_section section, uint32_t page,
    struct hk_block_slot *slot) {
    const uint64_t at = block->pages[section][page];
    const size_t bytes = (size_t)(block->pages[section][page + 1] - at);
    slot->serial = 0;
    if (slot->bytes.capacity > HK_BLOCK_SLOT_BYTES) hk_buf_deinit(&slot->bytes);
    if (slot->values.capacity > HK_BLOCK_SLOT_BYTES) hk_buf_deinit(&slot->values);
    hk_buf_clear(&slot->bytes);
    char *to = hk_buf_reserve(&slot->bytes, bytes);
    if (to == NULL) return hk_fail(HK_E_NOMEM, "block %s: out of memory", block->path);
    HK_TRY(hk_block_file_read(block->fd, block->path, to, bytes, at));
    if (!hk_block_crc_good(to, bytes - 4, hk_block_get_u32((const uint8_t *)to + bytes - 4))) {
        return hk_block_corrupt(block, section, at, "bad checksum of a page");
    }
    slot->bytes.len = bytes - 4;
    if (section == HK_BLOCK_PAIRS_SECTION) {
        const uint32_t left = block->pair_count - page * HK_BLOCK_PAIRS_PER_PAGE;
        const uint32_t count = left < HK_BLOCK_PAIRS_PER_PAGE ? left : HK_BLOCK_PAIRS_PER_PAGE;
        const bool good = expand_pairs(slot, count);
        if (slot->values.err == HK_E_NOMEM) return hk_fail(HK_E_NOMEM, "block: out of memory");
        if (!good) return hk_block_corrupt(block, section, at, "malformed page");
    }
    slot->serial = block->serial;
    slot->page = page;
    return HK_OK;
}

/* The same page of blocks opened one after another goes to different slots. */
static struct hk_block_slot *slot_of(
    const struct hk_block *block, struct hk_block_work *work, enum hk_block_section section,
    uint32_t page) {
    const uint64_t key = page + block->serial;
    if (section == HK_BLOCK_PAIRS_SECTION) return &work->slots[key % HK_BLOCK_PAIR_SLOTS];
    struct hk_block_slot *others = work->slots + HK_BLOCK_PAIR_SLOTS;
    if (section == HK_BLOCK_SERIES_SECTION) return &others[key % HK_BLOCK_SERIES_SLOTS];
    return &others[HK_BLOCK_SERIES_SLOTS + key % HK_BLOCK_STAMP_PAGE_SLOTS];
}

hk_err hk_block_page(
    struct hk_block *block, struct hk_block_work *work, enum hk_block_section section,
    uint32_t page, struct hk_block_slot **out) {
    hk_assert(page < block->page_count[section]);
    struct hk_block_slot *slot = slot_of(block, work, section, page);
    if (slot->serial != block->serial || slot->page != page) {
        for (int i = 0; i < HK_BLOCK_CURSORS; i++) {
            if (work->cursors[i].slot == slot) work->cursors[i].serial = 0;
        }
        HK_TRY(load_page(block, section, page, slot));
    }
    *out = slot;
    return HK_OK;
}

/* ------------------------------------------------------------------ blobs */

/* Reads `bytes` at `offset` into `buf` from its start. */
static hk_err
read_into(struct hk_block *block, struct hk_buf *buf, uint64_t bytes, uint64_t offset) {
    hk_buf_clear(buf);
    char *to = hk_buf_reserve(buf, bytes);
    if (to == NULL) return hk_fail(HK_E_NOMEM, "block %s: out of memory", block->path);
    HK_TRY(hk_block_file_read(block->fd, block->path, to, bytes, offset));
    buf->len = bytes;
    return HK_OK;
}

static bool in_window(
    const struct hk_block *block, const struct hk_block_work *work, uint64_t offset,
    uint64_t need) {
    const uint64_t from = work->window_offset, len = work->window.len;
    return work->window_serial == block->serial && offset >= from && offset - from <= len &&
           len - (offset - from) >= need;
}

hk_err hk_block_blob(
    struct hk_block *block, struct hk_block_work *work, enum hk_block_section section,
    uint64_t offset, uint32_t bytes, size_t ahead, const uint8_t **out) {
    const struct hk_block_span *span = &block->sections[section];
    const uint64_t end = span->offset + span->bytes, need = bytes + 4ULL;
    if (offset < span->offset || offset > end || end - offset < need ||
        bytes > HK_BLOCK_PAGE_BYTES_MAX) {
        return hk_block_corrupt(block, section, offset, "a reference leaves its section");
    }
    const uint8_t *from = NULL;
    if (in_window(block, work, offset, need)) {
        from = (const uint8_t *)work->window.ptr + (offset - work->window_offset);
    } else if (ahead == HK_BLOCK_NO_WINDOW) {
        HK_TRY(read_into(block, &work->lone, need, offset));
        from = (const uint8_t *)work->lone.ptr;
    } else {
        uint64_t want = need + (ahead > work->read_ahead ? ahead : work->read_ahead);
        if (want > HK_BLOCK_WINDOW_BYTES) want = HK_BLOCK_WINDOW_BYTES;
        if (want < need) want = need;
        if (want > end - offset) want = end - offset;
        work->window_serial = 0;
        if (work->window.capacity > 4UL * HK_BLOCK_WINDOW_BYTES) hk_buf_deinit(&work->window);
        HK_TRY(read_into(block, &work->window, want, offset));
        work->window_offset = offset;
        work->window_serial = block->serial;
        from = (const uint8_t *)work->window.ptr;
    }
    if (!hk_block_crc_good(from, bytes, hk_block_get_u32(from + bytes))) {
        return hk_block_corrupt(block, section, offset, "bad checksum");
    }
    *out = from;
    return HK_OK;
}

/* ------------------------------------------------------------------ stamps */

static hk_err parse_stamps(
    struct hk_block *block, const struct hk_block_slot *slot, uint32_t count,
    struct hk_block_stamp_page *page) {
    const uint8_t *begin = (const uint8_t *)slot->bytes.ptr;
    struct hk_block_in in = { begin, begin + slot->bytes.len, false };
    uint64_t min = 0, end = 0;
    for (uint32_t i = 0; i < count; i++) {
        struct hk_block_stamps *entry = &page->entries[i];
        entry->count = hk_block_get_max(&in, HK_BLOCK_CHUNK_COUNT_MAX);
        min += (uint64_t)hk_block_get_signed(&in);
        entry->min_ms = (int64_t)min;
        entry->max_ms = (int64_t)(min + hk_block_get(&in));
        const uint32_t head = hk_block_get_max(&in, UINT32_MAX);
        entry->bytes = head / 2;
        entry->offset = 0;
        entry->inline_bytes = NULL;
        if (head % 2 != 0) {
            entry->inline_bytes = hk_block_get_bytes(&in, entry->bytes);
        } else {
            entry->offset = end + (uint64_t)hk_block_get_signed(&in);
            end = entry->offset + entry->bytes + 4;
        }
        if (in.bad || entry->count == 0 || entry->max_ms < entry->min_ms ||
            entry->bytes > HK_COLUMN_BYTES_MAX(HK_BLOCK_CHUNK_COUNT_MAX)) {
            const uint64_t at = block->pages[HK_BLOCK_STAMPS_SECTION][slot->page];
            return hk_block_corrupt(
                block, HK_BLOCK_STAMPS_SECTION, at + (uint64_t)(in.at - begin), "malformed entry");
        }
    }
    if (in.at == in.end) return HK_OK;
    return hk_block_corrupt(
        block, HK_BLOCK_STAMPS_SECTION, block->pages[HK_BLOCK_STAMPS_SECTION][slot->page],
        "a page with bytes left over");
}

hk_err hk_block_stamps_entry(
    struct hk_block *block, struct hk_block_work *work, uint32_t column,
    struct hk_block_stamps *out) {
    if (column >= block->stamp_count) {
        return hk_block_corrupt(
            block, HK_BLOCK_SERIES_SECTION, block->sections[HK_BLOCK_SERIES_SECTION].offset,
            "a series refers to stamps that do not exist");
    }
    const uint32_t number = column / HK_BLOCK_STAMPS_PER_PAGE;
    struct hk_block_stamp_page *page =
        &work->stamp_pages[(number + block->serial) % HK_BLOCK_STAMP_PAGE_SLOTS];
    if (page->serial != block->serial || page->page != number) {
        page->serial = 0;
        struct hk_block_slot *slot = NULL;
        HK_TRY(hk_block_page(block, work, HK_BLOCK_STAMPS_SECTION, number, &slot));
        const uint32_t left = block->stamp_count - number * HK_BLOCK_STAMPS_PER_PAGE;
        HK_TRY(parse_stamps(
            block, slot, left < HK_BLOCK_STAMPS_PER_PAGE ? left : HK_BLOCK_STAMPS_PER_PAGE, page));
        page->serial = block->serial;
        page->page = number;
    }
    *out = page->entries[column % HK_BLOCK_STAMPS_PER_PAGE];
    return HK_OK;
}

hk_err hk_block_stamps_get(
    struct hk_block *block, struct hk_block_work *work, uint32_t column, const int64_t **out,
    uint32_t *out_count) {
    struct hk_block_stamp_slot *slot =
        &work->stamps[(column + block->serial * 5) % HK_BLOCK_STAMP_SLOTS];
    if (slot->serial != block->serial || slot->column != column) {
        struct hk_block_stamps entry = { 0 };
        HK_TRY(hk_block_stamps_entry(block, work, column, &entry));
        const uint8_t *from = entry.inline_bytes;
        if (from == NULL) {
            HK_TRY(hk_block_blob(
                block, work, HK_BLOCK_CHUNKS_SECTION, entry.offset, entry.bytes, HK_BLOCK_NO_WINDOW,
                &from));
        }
        slot->serial = 0;
        hk_err err = hk_column_decode_stamps(
            work->column, from, entry.bytes, entry.count, entry.min_ms, slot->stamps_ms);
        bool good = err == HK_OK && slot->stamps_ms[0] == entry.min_ms &&
                    slot->stamps_ms[entry.count - 1] == entry.max_ms;
        for (uint32_t i = 1; good && i < entry.count; i++)
            good = slot->stamps_ms[i - 1] <= slot->stamps_ms[i];
        if (!good) {
            return hk_block_corrupt(
                block, HK_BLOCK_CHUNKS_SECTION, entry.offset, "malformed stamps");
        }
        slot->count = entry.count;
        slot->column = column;
        slot->serial = block->serial;
    }
    *out = slot->stamps_ms;
    *out_count = slot->count;
    return HK_OK;
}

/* ------------------------------------------------------------------ pairs */

hk_err hk_block_pair_value(
    struct hk_block *block, struct hk_block_work *work, uint32_t pair, struct hk_str *out) {
    struct hk_block_slot *slot = NULL;
    HK_TRY(
        hk_block_page(block, work, HK_BLOCK_PAIRS_SECTION, pair / HK_BLOCK_PAIRS_PER_PAGE, &slot));
    const uint32_t i = pair % HK_BLOCK_PAIRS_PER_PAGE;
    *out = (struct hk_str){ slot->values.ptr + slot->offsets[i],
                            slot->offsets[i + 1] - slot->offsets[i] };
    return HK_OK;
}

const struct hk_block_name_entry *hk_block_name_of(const struct hk_block *block, uint32_t pair) {
    uint32_t low = 0, high = block->name_count; /* the name is in [low, high) */
    while (high - low > 1) {
        const uint32_t middle = low + (high - low) / 2;
        if (block->names[middle].pair_first <= pair) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return &block->names[low];
}

const struct hk_block_name_entry *
hk_block_name_find(const struct hk_block *block, struct hk_str name) {
    uint32_t low = 0, high = block->name_count;
    while (low < high) {
        const uint32_t middle = low + (high - low) / 2;
        const int order = hk_str_cmp(block->names[middle].name, name);
        if (order == 0) return &block->names[middle];
        if (order < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return NULL;
}

hk_err hk_block_pair_find(
    struct hk_block *block, struct hk_block_work *work, struct hk_str name, struct hk_str value,
    uint32_t *out) {
    const struct hk_block_name_entry *entry = hk_block_name_find(block, name);
    if (entry == NULL) return HK_E_NOT_FOUND;
    uint32_t low = entry->pair_first, high = low + entry->pair_count;
    while (low < high) {
        const uint32_t middle = low + (high - low) / 2;
        struct hk_str here = { NULL, 0 };
        HK_TRY(hk_block_pair_value(block, work, middle, &here));
        const int order = hk_str_cmp(here, value);
        if (order == 0) {
            *out = middle;
            return HK_OK;
        }
        if (order < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return HK_E_NOT_FOUND;
}

hk_err hk_block_pair_postings(
    struct hk_block *block, struct hk_block_work *work, uint32_t pair, uint64_t *bitmap) {
    struct hk_block_slot *slot = NULL;
    const uint32_t page = pair / HK_BLOCK_PAIRS_PER_PAGE;
    HK_TRY(hk_block_page(block, work, HK_BLOCK_PAIRS_SECTION, page, &slot));
    const uint8_t *begin = (const uint8_t *)slot->bytes.ptr;
    struct hk_block_in in = { begin + slot->entries[pair % HK_BLOCK_PAIRS_PER_PAGE],
                              begin + slot->bytes.len, false };
    const uint64_t head = hk_block_get(&in);
    const enum hk_block_postings kind = (enum hk_block_postings)(head % 4);
    struct hk_block_in bytes = { in.at, in.at, false };
    if (kind != HK_POSTINGS_ALL) {
        const uint32_t length = hk_block_get_max(&in, UINT32_MAX);
        const uint8_t *from = NULL;
        if (length % 2 != 0) {
            from = hk_block_get_bytes(&in, length / 2);
        } else {
            const uint64_t at = hk_block_get(&in);
            const struct hk_block_span *span = &block->sections[HK_BLOCK_POSTINGS_SECTION];
            if (in.bad || at > span->bytes) {
                return hk_block_corrupt(
                    block, HK_BLOCK_PAIRS_SECTION, block->pages[HK_BLOCK_PAIRS_SECTION][page],
                    "a reference leaves the section postings");
            }
            HK_TRY(hk_block_blob(
                block, work, HK_BLOCK_POSTINGS_SECTION, span->offset + at, length / 2, 0, &from));
        }
        bytes = (struct hk_block_in){ from, from == NULL ? NULL : from + length / 2, in.bad };
    }
    const uint32_t series = (uint32_t)block->info.series_count;
    if (head / 4 <= series && bytes.at != NULL &&
        hk_block_postings_get(kind, &bytes, (uint32_t)(head / 4), series, bitmap)) {
        return HK_OK;
    }
    return hk_block_corrupt(
        block, HK_BLOCK_PAIRS_SECTION, block->pages[HK_BLOCK_PAIRS_SECTION][page],
        "malformed postings");
}
