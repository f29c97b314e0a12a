/* Opening a block: header, tail and footer, each bounded and checked against the others. */
#include "store/block.h"

#include "base/mem.h"
#include "os/file.h"
#include "store/block_internal.h"

#include <inttypes.h>

static const char *const section_names[HK_BLOCK_SECTIONS] = { "chunks", "postings", "pairs",
                                                              "series", "stamps" };

static const uint32_t per_page[HK_BLOCK_SECTIONS] = {
    [HK_BLOCK_PAIRS_SECTION] = HK_BLOCK_PAIRS_PER_PAGE,
    [HK_BLOCK_SERIES_SECTION] = HK_BLOCK_SERIES_PER_PAGE,
    [HK_BLOCK_STAMPS_SECTION] = HK_BLOCK_STAMPS_PER_PAGE,
};

const char *hk_block_section_name(enum hk_block_section section) {
    return section_names[section];
}

hk_err hk_block_corrupt(
    const struct hk_block *block, enum hk_block_section section, uint64_t offset,
    const char *what) {
    return hk_fail(
        HK_E_CORRUPT, "block %s: section %s, offset %" PRIu64 ": %s", block->path,
        section_names[section], offset, what);
}

/* The same for the parts that are no section. */
static hk_err
broken(const struct hk_block *block, const char *part, uint64_t offset, const char *what) {
    return hk_fail(
        HK_E_CORRUPT, "block %s: %s, offset %" PRIu64 ": %s", block->path, part, offset, what);
}

/* ------------------------------------------------------------------ header and tail */

static hk_err read_header(struct hk_block *block) {
    uint8_t head[HK_BLOCK_HEADER_BYTES];
    HK_TRY(hk_block_file_read(block->fd, block->path, head, sizeof(head), 0));
    if (memcmp(head, HK_BLOCK_MAGIC, 8) != 0) return broken(block, "header", 0, "no block file");
    if (!hk_block_crc_good(head, 60, hk_block_get_u32(head + 60))) {
        return broken(block, "header", 0, "bad checksum");
    }
    const unsigned major = head[8] | (unsigned)head[9] << 8;
    const unsigned minor = head[10] | (unsigned)head[11] << 8;
    const uint32_t features = hk_block_get_u32(head + 12);
    if (major > HK_BLOCK_MAJOR || features != 0) {
        return hk_fail(
            HK_E_VERSION,
            "block %s: version %u.%u with features %#x was written by a newer hark; this one "
            "reads version %d",
            block->path, major, minor, (unsigned)features, HK_BLOCK_MAJOR);
    }
    if (major == 0 || hk_block_get_u32(head + 56) != 0) {
        return broken(block, "header", 8, "no such version");
    }
    struct hk_block_info *info = &block->info;
    info->tenant = hk_block_get_u32(head + 16);
    info->level = hk_block_get_u32(head + 20);
    info->id = hk_block_get_u64(head + 24);
    info->order = hk_block_get_u64(head + 32);
    info->min_ms = (int64_t)hk_block_get_u64(head + 40);
    info->max_ms = (int64_t)hk_block_get_u64(head + 48);
    return info->id == 0 ? broken(block, "header", 24, "id 0") : HK_OK;
}

/* Reads tail and footer; *out_at is the footer's offset and *out_bytes its length. */
static hk_err read_footer(struct hk_block *block, uint64_t *out_at, uint32_t *out_bytes) {
    const int64_t size = hk_file_size(block->fd);
    if (size < HK_BLOCK_HEADER_BYTES + HK_BLOCK_TAIL_BYTES) {
        return broken(block, "tail", 0, "the file is too short");
    }
    const uint64_t tail_at = (uint64_t)size - HK_BLOCK_TAIL_BYTES;
    uint8_t tail[HK_BLOCK_TAIL_BYTES];
    HK_TRY(hk_block_file_read(block->fd, block->path, tail, sizeof(tail), tail_at));
    if (memcmp(tail + 28, HK_BLOCK_MAGIC_TAIL, 4) != 0 ||
        !hk_block_crc_good(tail, 24, hk_block_get_u32(tail + 24))) {
        return broken(block, "tail", tail_at, "bad checksum; the file may be cut off");
    }
    const uint64_t at = hk_block_get_u64(tail);
    const uint32_t bytes = hk_block_get_u32(tail + 8);
    if (hk_block_get_u64(tail + 16) != (uint64_t)size || at > tail_at || at + bytes != tail_at ||
        bytes > HK_BLOCK_FOOTER_BYTES_MAX) {
        return broken(block, "tail", tail_at, "the lengths do not fit the file");
    }
    block->info.bytes = (uint64_t)size;
    block->footer = hk_mem_alloc(bytes, 1);
    if (block->footer == NULL) return hk_fail(HK_E_NOMEM, "block: out of memory for the footer");
    HK_TRY(hk_block_file_read(block->fd, block->path, block->footer, bytes, at));
    if (!hk_block_crc_good(block->footer, bytes, hk_block_get_u32(tail + 12))) {
        return broken(block, "footer", at, "bad checksum");
    }
    *out_at = at;
    *out_bytes = bytes;
    return HK_OK;
}

/* ------------------------------------------------------------------ footer */

/* Sections follow one another without gaps from the header to the footer. */
static bool get_sections(struct hk_block *block, struct hk_block_in *in, uint64_t footer_at) {
    if (hk_block_get(in) != HK_BLOCK_SECTIONS) return false;
    uint64_t at = HK_BLOCK_HEADER_BYTES;
    for (int i = 0; i < HK_BLOCK_SECTIONS; i++) {
        struct hk_block_span *span = &block->sections[i];
        span->offset = hk_block_get(in);
        span->bytes = hk_block_get(in);
        const uint8_t *crc = hk_block_get_bytes(in, 4);
        if (crc == NULL || span->offset != at || span->bytes > footer_at - at) return false;
        span->crc = hk_block_get_u32(crc);
        at += span->bytes;
    }
    return at == footer_at;
}

static hk_err get_replaces(struct hk_block *block, struct hk_block_in *in, uint32_t count) {
    const uint8_t *from = hk_block_get_bytes(in, count * 8ULL);
    const uint32_t note_bytes = hk_block_get_max(in, HK_BLOCK_NOTE_BYTES_MAX);
    const uint8_t *note = hk_block_get_bytes(in, note_bytes);
    if (from == NULL || note == NULL) return HK_E_CORRUPT;
    block->replaces = hk_mem_alloc(count, sizeof(uint64_t));
    if (block->replaces == NULL) return HK_E_NOMEM;
    for (uint32_t i = 0; i < count; i++)
        block->replaces[i] = hk_block_get_u64(from + 8ULL * i);
    block->info.replaces = block->replaces;
    block->info.replaces_count = count;
    block->info.note = (struct hk_str){ (const char *)note, note_bytes };
    return HK_OK;
}

static hk_err get_names(struct hk_block *block, struct hk_block_in *in) {
    /* Each name takes three bytes at least. */
    if (block->name_count > (size_t)(in->end - in->at) / 3) return HK_E_CORRUPT;
    block->names = hk_mem_alloc(block->name_count, sizeof(*block->names));
    if (block->names == NULL) return HK_E_NOMEM;
    uint32_t pairs = 0;
    for (uint32_t i = 0; i < block->name_count; i++) {
        struct hk_block_name_entry *entry = &block->names[i];
        const uint32_t bytes = hk_block_get_max(in, HK_LABEL_NAME_BYTES_MAX);
        const uint8_t *text = hk_block_get_bytes(in, bytes);
        if (text == NULL || bytes == 0) return HK_E_CORRUPT;
        entry->name = (struct hk_str){ (const char *)text, bytes };
        entry->pair_first = pairs;
        entry->pair_count = hk_block_get_max(in, block->pair_count - pairs);
        pairs += entry->pair_count;
        if (in->bad || entry->pair_count == 0) return HK_E_CORRUPT;
        if (i > 0 && hk_str_cmp(block->names[i - 1].name, entry->name) >= 0) return HK_E_CORRUPT;
    }
    return pairs == block->pair_count ? HK_OK : HK_E_CORRUPT;
}

static hk_err
get_pages(struct hk_block *block, struct hk_block_in *in, int section, uint64_t entries) {
    const uint64_t count = (entries + per_page[section] - 1) / per_page[section];
    if (count > (uint64_t)(in->end - in->at)) return HK_E_CORRUPT;
    uint64_t *offsets = hk_mem_alloc(count + 1, sizeof(*offsets));
    block->pages[section] = offsets;
    if (offsets == NULL) return HK_E_NOMEM;
    block->page_count[section] = (uint32_t)count;
    uint64_t at = block->sections[section].offset;
    const uint64_t end = at + block->sections[section].bytes;
    for (uint64_t i = 0; i < count; i++) {
        offsets[i] = at;
        uint32_t bytes = hk_block_get_max(in, HK_BLOCK_PAGE_BYTES_MAX);
        if (bytes < 5 || bytes > end - at) return HK_E_CORRUPT;
        at += bytes;
    }
    offsets[count] = at;
    return at == end ? HK_OK : HK_E_CORRUPT;
}

static hk_err parse_footer(struct hk_block *block, struct hk_block_in *in, uint64_t footer_at) {
    struct hk_block_info *info = &block->info;
    if (!get_sections(block, in, footer_at)) return HK_E_CORRUPT;
    info->series_count = hk_block_get_max(in, HK_BLOCK_SERIES_MAX);
    info->sample_count = hk_block_get(in);
    info->exemplar_count = hk_block_get(in);
    info->chunk_count = hk_block_get(in);
    block->stamp_count = hk_block_get_max(in, UINT32_MAX);
    block->pair_count = hk_block_get_max(in, HK_BLOCK_PAIRS_MAX);
    block->name_count = hk_block_get_max(in, block->pair_count);
    const uint32_t replaces = hk_block_get_max(in, HK_BLOCK_REPLACES_MAX);
    if (in->bad) return HK_E_CORRUPT;
    HK_TRY(get_replaces(block, in, replaces));
    HK_TRY(get_names(block, in));
    HK_TRY(get_pages(block, in, HK_BLOCK_PAIRS_SECTION, block->pair_count));
    HK_TRY(get_pages(block, in, HK_BLOCK_SERIES_SECTION, info->series_count));
    HK_TRY(get_pages(block, in, HK_BLOCK_STAMPS_SECTION, block->stamp_count));
    return !in->bad && in->at == in->end ? HK_OK : HK_E_CORRUPT;
}

/* ------------------------------------------------------------------ open and close */

static void block_free(struct hk_block *block) {
    hk_file_close(block->fd);
    for (int i = 0; i < HK_BLOCK_SECTIONS; i++)
        hk_mem_free(block->pages[i]);
    hk_mem_free(block->names);
    hk_mem_free(block->replaces);
    hk_mem_free(block->footer);
    hk_mem_free(block->path);
    hk_mem_free(block);
}

static hk_err open_file(struct hk_block *block) {
    HK_TRY(hk_block_file_open(block->path, HK_FILE_READ, &block->fd));
    HK_TRY(read_header(block));
    uint64_t footer_at = 0;
    uint32_t footer_bytes = 0;
    HK_TRY(read_footer(block, &footer_at, &footer_bytes));
    struct hk_block_in in = { block->footer, block->footer + footer_bytes, false };
    hk_err err = parse_footer(block, &in, footer_at);
    if (err == HK_E_NOMEM) return hk_fail(err, "block %s: out of memory", block->path);
    if (err < 0) {
        const uint64_t at = footer_at + (uint64_t)(in.at - block->footer);
        return broken(block, "footer", at, "contradictory content");
    }
    return HK_OK;
}

hk_err hk_block_open(const char *path, struct hk_block **out) {
    static _Atomic uint64_t serials;
    struct hk_block *block = hk_mem_alloc(1, sizeof(*block));
    if (block == NULL) return hk_fail(HK_E_NOMEM, "block %s: out of memory", path);
    block->fd = -1;
    block->serial = atomic_fetch_add_explicit(&serials, 1, memory_order_relaxed) + 1;
    atomic_init(&block->refs, 1);
    block->path = hk_mem_copy(path, strlen(path));
    hk_err err = block->path == NULL ? hk_fail(HK_E_NOMEM, "block %s: out of memory", path)
                                     : open_file(block);
    if (err < 0) {
        block_free(block);
        return err;
    }
    *out = block;
    return HK_OK;
}

struct hk_block *hk_block_ref(struct hk_block *block) {
    (void)atomic_fetch_add_explicit(&block->refs, 1, memory_order_relaxed);
    return block;
}

void hk_block_unref(struct hk_block *block) {
    if (block == NULL) return;
    /* Acquire-release: whoever frees sees what all others did before. */
    uint32_t before = atomic_fetch_sub_explicit(&block->refs, 1, memory_order_acq_rel);
    hk_assert(before > 0);
    if (before == 1) block_free(block);
}

const struct hk_block_info *hk_block_info(const struct hk_block *block) {
    return &block->info;
}

const char *hk_block_path(const struct hk_block *block) {
    return block->path;
}
