/* The block writer's state, shared by block_write.c (samples) and block_index.c (labels, pages). */
#ifndef HK_STORE_BLOCK_WRITE_INTERNAL_H
#define HK_STORE_BLOCK_WRITE_INTERNAL_H

#include "store/block_internal.h"

enum { HK_BLOCK_STAMP_CACHE = 16384 };

/* A name (`name` = HK_BLOCK_NO_NAME) or a pair of one of the names and a value. */
#define HK_BLOCK_NO_NAME UINT32_MAX

struct hk_block_term {
    struct hk_str text; /* in the arena */
    uint64_t hash;
    uint32_t name;  /* term of the name */
    uint32_t count; /* series that have the pair, or pairs that have the name */
    uint32_t rank;  /* number in sorted order, at commit */
};

struct hk_block_series_entry {
    uint32_t label_count, directory_bytes;
};

/* A chunk of the series being written. */
struct hk_block_new_chunk {
    uint64_t offset; /* 0 = inline */
    uint32_t stamp_column, bytes;
    uint32_t summary_bytes; /* in writer->summaries, in order */
    uint8_t inline_bytes[HK_BLOCK_INLINE_VALUES];
};

struct hk_block_writer {
    struct hk_block_info info;
    uint64_t *replaces;
    char *note, *directory, *path, *path_tmp;
    int fd;
    hk_err err; /* sticky */
    bool committed;
    size_t index_bytes_max;

    /* Output: `out` is what follows `offset` in the file. */
    struct hk_buf out;
    uint64_t offset;
    struct hk_block_span sections[HK_BLOCK_SECTIONS];
    enum hk_block_section section;

    struct hk_column_work *column;
    uint8_t *coded; /* HK_COLUMN_BYTES_MAX(HK_BLOCK_CHUNK_COUNT_MAX) */
    struct ZSTD_CCtx_s *compressor;
    struct hk_buf payload, squeezed;

    /* Stamp directory, whole pages with checksums; the open page begins at stamp_page. */
    struct hk_buf stamp_pages;
    size_t stamp_page;
    uint32_t stamp_count;
    int64_t stamp_min_before;
    uint64_t stamp_end_before;
    /* Recent stamp columns by hash; 128 keyed bits are taken for equality. */
    struct stamp_cache {
        struct hk_hash128 hash;
        uint32_t column_plus_one;
    } * stamp_cache;

    /* Labels: terms, a table of term + 1 by hash, the terms of all series. */
    struct hk_arena strings;
    struct hk_buf terms, labels, series, directories;
    uint32_t *table;
    uint32_t table_slots, term_count, name_count, pair_count;

    /* The current series. */
    bool series_open;
    bool stamp_seen[HK_BLOCK_COLUMNS];
    int64_t last_ms[HK_BLOCK_COLUMNS];
    struct hk_buf chunks[HK_BLOCK_COLUMNS], summaries;
    uint64_t page_chunk_offset; /* end of the chunk before in the page's directory */
    uint32_t page_stamp_column;

    struct hk_buf page_lengths[HK_BLOCK_SECTIONS]; /* u32 each */
};

/* Appends to the file, through a buffer, and to the section's checksum. */
hk_err hk_block_out(struct hk_block_writer *writer, const void *from, size_t bytes) HK_MUST_CHECK;

/* Offset at which the next byte goes. */
static inline uint64_t hk_block_out_at(const struct hk_block_writer *writer) {
    return writer->offset + writer->out.len;
}

/* Ends the current section and begins the next one. */
void hk_block_out_section(struct hk_block_writer *writer, enum hk_block_section section);

/* Writes what is buffered. */
hk_err hk_block_out_flush(struct hk_block_writer *writer) HK_MUST_CHECK;

/* Adds the labels of the next series to terms and series table. */
hk_err hk_block_index_series(struct hk_block_writer *writer, struct hk_labels labels) HK_MUST_CHECK;

/* Ends the open page of the stamp directory, if it has entries. */
hk_err hk_block_stamps_end_page(struct hk_block_writer *writer) HK_MUST_CHECK;

/* Writes postings, pairs, series, stamps and footer. */
hk_err hk_block_index_write(struct hk_block_writer *writer) HK_MUST_CHECK;

#endif
