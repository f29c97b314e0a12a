/* What the files of the block module share; the layout is in docs/formats/block.md. */
#ifndef HK_STORE_BLOCK_INTERNAL_H
#define HK_STORE_BLOCK_INTERNAL_H

#include "codec/column.h"
#include "store/block.h"

#include <stdatomic.h>

#define HK_BLOCK_MAGIC      "HARKBLK\n"
#define HK_BLOCK_MAGIC_TAIL "KBLK"

enum {
    HK_BLOCK_HEADER_BYTES = 64,
    HK_BLOCK_TAIL_BYTES = 32,
    HK_BLOCK_PAIRS_PER_PAGE = 64,
    HK_BLOCK_SERIES_PER_PAGE = 64,
    HK_BLOCK_STAMPS_PER_PAGE = 256,
    HK_BLOCK_INLINE_VALUES = 12,
    HK_BLOCK_INLINE_STAMPS = 16,
    HK_BLOCK_INLINE_POSTINGS = 32,
    HK_BLOCK_SUMMARY_MIN = 8, /* samples up to which a chunk has no summary */
    HK_BLOCK_FOOTER_BYTES_MAX = 268435456,
    HK_BLOCK_PAGE_BYTES_MAX = 67108864,
    HK_BLOCK_CHUNK_BYTES_MAX = 4194304, /* of payloads, unpacked */
    HK_BLOCK_PAIRS_MAX = 67108864,
};

enum hk_block_section {
    HK_BLOCK_CHUNKS_SECTION,
    HK_BLOCK_POSTINGS_SECTION,
    HK_BLOCK_PAIRS_SECTION,
    HK_BLOCK_SERIES_SECTION,
    HK_BLOCK_STAMPS_SECTION,
    HK_BLOCK_SECTIONS
};

/* How a chunk stands in the directory of its series. */
enum hk_block_form { HK_BLOCK_PLAIN, HK_BLOCK_INLINE, HK_BLOCK_SUMMARIZED };

enum hk_block_postings {
    HK_POSTINGS_ALL,
    HK_POSTINGS_DELTAS,
    HK_POSTINGS_RUNS,
    HK_POSTINGS_BITMAP
};

/* ------------------------------------------------------------------ files (block_io.c) */

/* os/file.h with hk_err codes and error texts that name `path`. */
hk_err hk_block_file_open(const char *path, int flags, int *out_fd) HK_MUST_CHECK;
hk_err hk_block_file_write(
    int fd, const char *path, const void *from, size_t bytes, uint64_t offset) HK_MUST_CHECK;
hk_err hk_block_file_sync(int fd, const char *path) HK_MUST_CHECK;
hk_err hk_block_file_rename(const char *from, const char *to) HK_MUST_CHECK;
hk_err hk_block_file_remove(const char *path) HK_MUST_CHECK;
hk_err hk_block_dir_sync(const char *path) HK_MUST_CHECK;

/* Reads exactly `bytes`; HK_E_CORRUPT when the file ends before. */
hk_err
hk_block_file_read(int fd, const char *path, void *to, size_t bytes, uint64_t offset) HK_MUST_CHECK;

/* Changes the order that the header will say; before the commit. */
void hk_block_writer_set_order(struct hk_block_writer *writer, uint64_t order);

/* Id that the writer was created with. */
uint64_t hk_block_writer_id(const struct hk_block_writer *writer);

/* Is `crc` the CRC-32C of the bytes? */
bool hk_block_crc_good(const void *from, size_t bytes, uint32_t crc);

/* Fuzz hook: takes every checksum for good, so that the parsers behind them are reached. */
void hk_block_ignore_checksums(bool ignore);

/* Test hook: the `n`-th changing operation (write, sync, rename, remove) from now on and all after
 * it fail, as if the process had died there; 0 = none. Returns the operations since the last call.
 */
uint64_t hk_block_io_fail_at(uint64_t n);

/* ------------------------------------------------------------------ bytes */

static inline uint64_t hk_block_zigzag(int64_t x) {
    return ((uint64_t)x << 1) ^ (uint64_t)(x >> 63);
}

static inline void hk_block_put_u32(uint8_t *to, uint32_t x) {
    for (unsigned i = 0; i < 4; i++)
        to[i] = (uint8_t)(x >> (8 * i));
}

static inline void hk_block_put_u64(uint8_t *to, uint64_t x) {
    for (unsigned i = 0; i < 8; i++)
        to[i] = (uint8_t)(x >> (8 * i));
}

static inline uint32_t hk_block_get_u32(const uint8_t *from) {
    return (uint32_t)from[0] | (uint32_t)from[1] << 8 | (uint32_t)from[2] << 16 |
           (uint32_t)from[3] << 24;
}

static inline uint64_t hk_block_get_u64(const uint8_t *from) {
    return (uint64_t)hk_block_get_u32(from) | (uint64_t)hk_block_get_u32(from + 4) << 32;
}

/* Appends a varint / zigzag varint. */
static inline void hk_block_varint(struct hk_buf *buf, uint64_t x) {
    char *to = hk_buf_reserve(buf, 10);
    if (to == NULL) return;
    size_t n = 0;
    for (; x >= 128; x >>= 7)
        to[n++] = (char)(x | 128);
    to[n++] = (char)x;
    buf->len += n;
}

static inline void hk_block_signed(struct hk_buf *buf, int64_t x) {
    hk_block_varint(buf, hk_block_zigzag(x));
}

/* A read position; `bad` is sticky and set by any read at the end or malformed varint, which then
 * gives 0. */
struct hk_block_in {
    const uint8_t *at, *end;
    bool bad;
};

static inline uint64_t hk_block_get(struct hk_block_in *in) {
    uint64_t x = 0;
    for (unsigned shift = 0; shift < 64 && in->at < in->end; shift += 7) {
        uint8_t byte = *in->at++;
        if (shift == 63 && byte > 1) break;
        x |= (uint64_t)(byte & 127) << shift;
        if (byte < 128) return x;
    }
    in->bad = true;
    in->at = in->end;
    return 0;
}

static inline int64_t hk_block_get_signed(struct hk_block_in *in) {
    uint64_t x = hk_block_get(in);
    return (int64_t)((x >> 1) ^ (0 - (x & 1)));
}

/* A number of at most `max`, else bad. */
static inline uint32_t hk_block_get_max(struct hk_block_in *in, uint32_t max) {
    uint64_t x = hk_block_get(in);
    if (x <= max) return (uint32_t)x;
    in->bad = true;
    in->at = in->end;
    return 0;
}

/* The next `bytes` bytes; NULL and bad when there are fewer. */
static inline const uint8_t *hk_block_get_bytes(struct hk_block_in *in, uint64_t bytes) {
    if ((uint64_t)(in->end - in->at) < bytes) {
        in->bad = true;
        in->at = in->end;
        return NULL;
    }
    const uint8_t *from = in->at;
    in->at += bytes;
    return from;
}

/* ------------------------------------------------------------------ an open block */

struct hk_block_name_entry {
    struct hk_str name; /* in the footer */
    uint32_t pair_first, pair_count;
};

struct hk_block_span {
    uint64_t offset, bytes;
    uint32_t crc;
};

/* Immutable after opening but for `refs`. */
struct hk_block {
    _Atomic uint32_t refs;
    int fd;
    uint64_t serial; /* unique in the process: key of the work area's caches */
    char *path;
    uint8_t *footer;
    struct hk_block_info info;
    uint64_t *replaces;
    struct hk_block_span sections[HK_BLOCK_SECTIONS];
    struct hk_block_name_entry *names;
    uint32_t name_count;
    uint32_t pair_count;
    uint32_t stamp_count;
    /* Offsets of the pages of PAIRS, SERIES, STAMPS, and the end; NULL for the other sections. */
    uint64_t *pages[HK_BLOCK_SECTIONS];
    uint32_t page_count[HK_BLOCK_SECTIONS];
};

/* Text of a section for errors. */
const char *hk_block_section_name(enum hk_block_section section);

/* HK_E_CORRUPT with file, section, offset and `what`. */
hk_err hk_block_corrupt(
    const struct hk_block *block, enum hk_block_section section, uint64_t offset, const char *what);

/* ------------------------------------------------------------------ work area (block_page.c) */

enum {
    HK_BLOCK_PAIR_SLOTS = 48, /* cached pages of each kind */
    HK_BLOCK_SERIES_SLOTS = 16,
    HK_BLOCK_STAMP_PAGE_SLOTS = 8,
    HK_BLOCK_SLOTS = HK_BLOCK_PAIR_SLOTS + HK_BLOCK_SERIES_SLOTS + HK_BLOCK_STAMP_PAGE_SLOTS,
    HK_BLOCK_CURSORS = 16,
    HK_BLOCK_STAMP_SLOTS = 32,    /* cached decoded stamp columns */
    HK_BLOCK_SLOT_BYTES = 262144, /* larger pages are not kept */
    HK_BLOCK_WINDOW_BYTES = 262144,
};

/* A page of a block, verified; `bytes` without its checksum. */
struct hk_block_slot {
    uint64_t serial; /* 0 = empty */
    uint32_t page;
    struct hk_buf bytes;
    /* Pairs: value i is values[offsets[i] … offsets[i + 1]), entries[i] the offset of its postings
     * entry in `bytes`. */
    struct hk_buf values;
    uint32_t count;
    uint32_t offsets[HK_BLOCK_PAIRS_PER_PAGE + 1], entries[HK_BLOCK_PAIRS_PER_PAGE];
};

/* Where a stamp column is. */
struct hk_block_stamps {
    uint32_t count, bytes;
    int64_t min_ms, max_ms;
    uint64_t offset; /* 0 = inline */
    const uint8_t *inline_bytes;
};

/* A parsed page of the stamp directory; inline bytes are in the page's slot. */
struct hk_block_stamp_page {
    uint64_t serial;
    uint32_t page;
    struct hk_block_stamps entries[HK_BLOCK_STAMPS_PER_PAGE];
};

/* Decoded stamps. */
struct hk_block_stamp_slot {
    uint64_t serial;
    uint32_t column, count;
    int64_t stamps_ms[HK_COLUMN_COUNT_MAX];
};

/* A chunk with its inline bytes and summary (borrowed from the series page). */
struct hk_block_chunk_entry {
    struct hk_block_chunk chunk;
    const uint8_t *inline_bytes;
    const uint8_t *summary, *summary_end; /* NULL = none */
};

/* Position in a page of series: the series parsed last and what the next one refers to. */
struct hk_block_cursor {
    uint64_t serial;                  /* 0 = none */
    const struct hk_block_slot *slot; /* that `at` points into */
    uint32_t page;
    uint32_t number; /* the series parsed last */
    const uint8_t *at, *end;
    uint32_t pairs[HK_LABELS_MAX];
    uint32_t pair_count;
    uint64_t chunk_end;    /* context of gaps */
    uint32_t stamp_column; /* context of stamp columns */
    struct hk_block_chunk_entry *chunks;
    size_t chunk_capacity;
    uint32_t chunk_count;
    bool complete; /* counts and times of the chunks are filled */
};

struct hk_block_work {
    struct hk_column_work *column;
    struct hk_block_slot slots[HK_BLOCK_SLOTS];
    struct hk_block_stamp_page *stamp_pages; /* HK_BLOCK_STAMP_PAGE_SLOTS */
    struct hk_block_stamp_slot *stamps;      /* HK_BLOCK_STAMP_SLOTS */
    struct hk_block_cursor cursors[HK_BLOCK_CURSORS];
    /* Bytes read ahead. */
    uint64_t window_serial, window_offset;
    struct hk_buf window;
    struct hk_buf lone;       /* one blob read without the window */
    size_t read_ahead;        /* bytes to read ahead at least, for scans */
    struct hk_buf payload;    /* unpacked */
    struct hk_buf bitmaps[2]; /* of select */
    double values[HK_COLUMN_COUNT_MAX];
    int64_t stamps_ms[HK_COLUMN_COUNT_MAX];
    struct hk_str payloads[HK_COLUMN_COUNT_MAX];
    struct ZSTD_DCtx_s *decompressor;
};

/* The page, from cache or file; stays valid until the next call for the same section. */
hk_err hk_block_page(
    struct hk_block *block, struct hk_block_work *work, enum hk_block_section section,
    uint32_t page, struct hk_block_slot **out) HK_MUST_CHECK;

/* Value of pair `pair`, borrowed from the cache until the next call for pairs. */
hk_err hk_block_pair_value(
    struct hk_block *block, struct hk_block_work *work, uint32_t pair,
    struct hk_str *out) HK_MUST_CHECK;

/* The name that pair `pair` belongs to. */
const struct hk_block_name_entry *hk_block_name_of(const struct hk_block *block, uint32_t pair);

/* The name's entry or NULL. */
const struct hk_block_name_entry *
hk_block_name_find(const struct hk_block *block, struct hk_str name);

/* Number of the pair; HK_E_NOT_FOUND. */
hk_err hk_block_pair_find(
    struct hk_block *block, struct hk_block_work *work, struct hk_str name, struct hk_str value,
    uint32_t *out) HK_MUST_CHECK;

/* Reads `bytes` verified bytes (a checksum follows them) at `offset` of a section without pages;
 * borrowed until the next call. `ahead` more bytes are likely to be wanted next;
 * HK_BLOCK_NO_WINDOW: nothing near it is, keep what was read ahead before. */
#define HK_BLOCK_NO_WINDOW SIZE_MAX

hk_err hk_block_blob(
    struct hk_block *block, struct hk_block_work *work, enum hk_block_section section,
    uint64_t offset, uint32_t bytes, size_t ahead, const uint8_t **out) HK_MUST_CHECK;

/* Directory entry of a stamp column; inline bytes are borrowed until the next call. */
hk_err hk_block_stamps_entry(
    struct hk_block *block, struct hk_block_work *work, uint32_t column,
    struct hk_block_stamps *out) HK_MUST_CHECK;

/* Decoded stamps, borrowed until the next call; ascending (exemplars: not descending). */
hk_err hk_block_stamps_get(
    struct hk_block *block, struct hk_block_work *work, uint32_t column, const int64_t **out,
    uint32_t *out_count) HK_MUST_CHECK;

/* Adds the series of pair `pair` to `bitmap`. */
hk_err hk_block_pair_postings(
    struct hk_block *block, struct hk_block_work *work, uint32_t pair,
    uint64_t *bitmap) HK_MUST_CHECK;

/* ------------------------------------------------------------------ series (block_series.c) */

/* The cursor for a block: blocks read in turns, as over a set of them, keep their places. */
static inline struct hk_block_cursor *
hk_block_cursor_of(const struct hk_block *block, struct hk_block_work *work) {
    return &work->cursors[block->serial % HK_BLOCK_CURSORS];
}

/* Moves the block's cursor to series `number`: its pairs and chunks (without counts and times) are
 * there until the next call. */
hk_err hk_block_series_parse(struct hk_block *block, struct hk_block_work *work, uint32_t number)
    HK_MUST_CHECK;

/* The same with counts and times, checked to ascend. */
hk_err hk_block_series_chunks(struct hk_block *block, struct hk_block_work *work, uint32_t number)
    HK_MUST_CHECK;

/* Decodes a float chunk into 1,024 stamps and values. */
hk_err hk_block_chunk_floats(
    struct hk_block *block, struct hk_block_work *work, const struct hk_block_chunk_entry *entry,
    size_t ahead, int64_t *out_stamps_ms, double *out_values) HK_MUST_CHECK;

/* Decodes a payload chunk; payloads are borrowed until the next call. */
hk_err hk_block_chunk_payloads(
    struct hk_block *block, struct hk_block_work *work, const struct hk_block_chunk_entry *entry,
    size_t ahead, int64_t *out_stamps_ms, struct hk_str *out_payloads) HK_MUST_CHECK;

/* ------------------------------------------------------------------ summaries (block_summary.c) */

/* Appends the summary of a float chunk; `exponent` is hk_column_exponent's. */
void hk_block_summary_put(struct hk_buf *buf, const double *values, uint32_t count, int exponent);

/* Reads one; false when malformed. */
bool hk_block_summary_get(struct hk_block_in *in, uint32_t count, struct hk_block_summary *out);

/* The summary of decoded values. */
void hk_block_summary_of(const double *values, uint32_t count, struct hk_block_summary *out);

/* Appends the postings of a pair with `count` ascending series numbers out of `series_count`: the
 * bytes to `out`; returns the kind. */
enum hk_block_postings hk_block_postings_put(
    struct hk_buf *out, const uint32_t *numbers, uint32_t count, uint32_t series_count);

/* Sets the bits of the postings; false when malformed. */
bool hk_block_postings_get(
    enum hk_block_postings kind, struct hk_block_in *in, uint32_t count, uint32_t series_count,
    uint64_t *bitmap);

#endif
