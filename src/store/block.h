/*
 * Immutable block files: the samples of many series over a span of time, with their own series
 * table and label index, so that nothing outside is needed to read them (docs/formats/block.md).
 *
 * Stamps are int64 ms. A series has up to three columns, each in ascending time: floats,
 * histograms (opaque bytes per sample) and exemplars (opaque bytes). Series stand in the order of
 * hk_labels_cmp and are numbered from 0.
 *
 * All functions return HK_E_CORRUPT with file, section and offset in the error text for bytes that
 * are not what the writer wrote, HK_E_VERSION for a newer format, HK_E_IO, HK_E_NOSPACE and
 * HK_E_NOMEM.
 */
#ifndef HK_STORE_BLOCK_H
#define HK_STORE_BLOCK_H

#include "model/labels.h"
#include "model/matcher.h"

enum {
    HK_BLOCK_MAJOR = 1,
    HK_BLOCK_MINOR = 0,
    HK_BLOCK_CHUNK_COUNT_MAX = 1024,     /* samples of one chunk */
    HK_BLOCK_PAYLOAD_BYTES_MAX = 131072, /* bytes of one histogram or exemplar */
    HK_BLOCK_SERIES_MAX = 16777216,      /* series of one block */
    HK_BLOCK_CHUNKS_MAX = 65536,         /* chunks of one series */
    HK_BLOCK_REPLACES_MAX = 4096,
    HK_BLOCK_NOTE_BYTES_MAX = 65536,
    HK_BLOCK_PATH_BYTES_MAX = 4096,
};

enum hk_block_column { HK_BLOCK_FLOAT, HK_BLOCK_HISTOGRAM, HK_BLOCK_EXEMPLAR, HK_BLOCK_COLUMNS };

/* What a block says of itself. */
struct hk_block_info {
    uint64_t id;    /* unique within its directory, never 0; also in the file's name */
    uint64_t order; /* of two blocks with the same stamp of a series the higher order wins */
    uint32_t tenant;
    uint32_t level;         /* 0 = sealed from the head, higher = merged */
    int64_t min_ms, max_ms; /* of all samples; min > max when there are none */
    uint64_t series_count;
    uint64_t sample_count; /* floats and histograms, without exemplars */
    uint64_t exemplar_count;
    uint64_t chunk_count;
    uint64_t bytes;           /* of the file */
    const uint64_t *replaces; /* ids of the blocks that this one was merged from, borrowed */
    uint32_t replaces_count;
    struct hk_str note; /* what the writer was given, borrowed */
};

/* File name of a block within its directory ("0000000000000012.block"); `out` has 32 bytes. */
void hk_block_name(uint64_t id, char out[32]);

/* ------------------------------------------------------------------ writing, one thread */

struct hk_block_writer;

struct hk_block_writer_options {
    const char *directory; /* exists; the file appears there at commit under hk_block_name(id) */
    uint64_t id;
    uint64_t order; /* 0 = same as id */
    uint32_t tenant;
    uint32_t level;
    const uint64_t *replaces;
    uint32_t replaces_count;
    struct hk_str note;     /* opaque bytes for whoever seals; not kept by compaction */
    size_t index_bytes_max; /* memory for labels and index while writing; 0 = 1 GiB */
};

/* Begins a block in a temporary file ("<name>.tmp", replaced if it is there). Strings and arrays
 * of `options` are copied. End it with hk_block_writer_destroy. */
hk_err hk_block_writer_create(
    const struct hk_block_writer_options *options, struct hk_block_writer **out) HK_MUST_CHECK;

/* Begins the next series; labels must be greater than those before (hk_labels_cmp), else
 * HK_E_INVALID. They are copied. HK_E_LIMIT beyond HK_BLOCK_SERIES_MAX or index_bytes_max. A series
 * to which nothing is added is kept too. */
hk_err
hk_block_writer_series(struct hk_block_writer *writer, struct hk_labels labels) HK_MUST_CHECK;

/* Adds one chunk of `count` (1…1,024) float samples to the current series. Stamps ascend strictly,
 * also over the chunks of the column; else HK_E_INVALID. Chunks whose stamps equal those of a
 * recent chunk share them on disk. */
hk_err hk_block_writer_floats(
    struct hk_block_writer *writer, const int64_t *stamps_ms, const double *values,
    uint32_t count) HK_MUST_CHECK;

/* Adds `count` (1…1,024) histograms or exemplars to the current series. The same rules; exemplars
 * may repeat a stamp. HK_E_LIMIT for a payload over HK_BLOCK_PAYLOAD_BYTES_MAX. */
hk_err hk_block_writer_payloads(
    struct hk_block_writer *writer, enum hk_block_column column, const int64_t *stamps_ms,
    const struct hk_str *payloads, uint32_t count) HK_MUST_CHECK;

/* Bytes written so far, without the index. */
uint64_t hk_block_writer_bytes(const struct hk_block_writer *writer);

/* Writes the index, syncs the file, renames it and syncs the directory: after HK_OK the block is
 * durable. On failure nothing is visible under the block's name, unless only the last directory
 * sync failed: then the name is there and not known durable, and the caller must treat the block
 * as not written (hk_block_writer_destroy removes it). */
hk_err hk_block_writer_commit(struct hk_block_writer *writer) HK_MUST_CHECK;

/* Frees the writer; removes the temporary file when it was not committed. NULL is fine. */
void hk_block_writer_destroy(struct hk_block_writer *writer);

/* ------------------------------------------------------------------ reading, any thread */

struct hk_block;

/* Opens a block file and reads footer and sparse index, verifying their checksums; pages and
 * chunks are verified when they are read. Memory: about 1 byte per series. The file may be removed
 * while it is open. One reference belongs to the caller. */
hk_err hk_block_open(const char *path, struct hk_block **out) HK_MUST_CHECK;

/* Takes / gives back a reference; the last one closes. Thread-safe. unref accepts NULL. */
struct hk_block *hk_block_ref(struct hk_block *block);
void hk_block_unref(struct hk_block *block);

/* Borrowed from the block. */
const struct hk_block_info *hk_block_info(const struct hk_block *block);
const char *hk_block_path(const struct hk_block *block);

/* Reads the whole file and checks every checksum and every chunk. For `hark check` and tests. */
struct hk_block_work;
hk_err hk_block_verify(struct hk_block *block, struct hk_block_work *work) HK_MUST_CHECK;

/* Scratch of one thread for reading any blocks: a page, a chunk buffer, a column decoder. */
hk_err hk_block_work_create(struct hk_block_work **out) HK_MUST_CHECK;

/* NULL is fine. */
void hk_block_work_destroy(struct hk_block_work *work);

/* Numbers of the series that all matchers accept, ascending, in `arena`. No matcher: all series.
 * `cancel` is polled (NULL = never cancelled): HK_E_CANCELED. */
hk_err hk_block_select(
    struct hk_block *block, struct hk_block_work *work, const struct hk_matcher *matchers,
    uint32_t matcher_count, const _Atomic bool *cancel, struct hk_arena *arena,
    uint32_t **out_numbers, uint32_t *out_count) HK_MUST_CHECK;

/* Labels of series `number`, strings included, in `arena`. Ascending numbers are cheapest. */
hk_err hk_block_labels(
    struct hk_block *block, struct hk_block_work *work, uint32_t number, struct hk_arena *arena,
    struct hk_labels *out) HK_MUST_CHECK;

/* Number of the series with exactly these labels; HK_E_NOT_FOUND (no error text). */
hk_err hk_block_find(
    struct hk_block *block, struct hk_block_work *work, struct hk_labels labels,
    uint32_t *out_number) HK_MUST_CHECK;

/* Sorted label names of the block, in `arena`. */
hk_err hk_block_label_names(
    struct hk_block *block, struct hk_block_work *work, struct hk_arena *arena,
    struct hk_str **out_names, uint32_t *out_count) HK_MUST_CHECK;

/* Sorted values of label `name` in `arena`, and how many series have each (out_series may be NULL).
 * None when no series has that label. */
hk_err hk_block_label_values(
    struct hk_block *block, struct hk_block_work *work, struct hk_str name, struct hk_arena *arena,
    struct hk_str **out_values, uint32_t **out_series, uint32_t *out_count) HK_MUST_CHECK;

/* Bounds of a float chunk: all values that are not NaN lie in [min, max]. When `exact`, min, max,
 * sum, first and last are what the chunk holds; otherwise min and max are rounded outwards and the
 * others are 0. `has_nan` tells of NaN or stale markers, which sum and bounds leave out. */
struct hk_block_summary {
    double min, max, sum, first, last;
    bool exact, has_nan;
};

/* One chunk in the directory of a series. */
struct hk_block_chunk {
    uint64_t offset; /* of the value bytes in the file; 0 = inline in the series page */
    uint32_t bytes;
    uint32_t count;
    int64_t min_ms, max_ms;
    uint32_t stamp_column;           /* shared stamp columns have the same number */
    uint8_t column;                  /* enum hk_block_column */
    struct hk_block_summary summary; /* float chunks only */
};

/* The chunks of a series, by column, then in time order, in `arena`. Nothing is read but the
 * series page and stamp directory. */
hk_err hk_block_chunks(
    struct hk_block *block, struct hk_block_work *work, uint32_t number, struct hk_arena *arena,
    struct hk_block_chunk **out_chunks, uint32_t *out_count) HK_MUST_CHECK;

/* Float samples of a series in [from_ms, to_ms], ascending, in `arena`. */
hk_err hk_block_read_floats(
    struct hk_block *block, struct hk_block_work *work, uint32_t number, int64_t from_ms,
    int64_t to_ms, struct hk_arena *arena, int64_t **out_stamps_ms, double **out_values,
    uint32_t *out_count) HK_MUST_CHECK;

/* Histograms or exemplars of a series in [from_ms, to_ms], ascending, in `arena`. */
hk_err hk_block_read_payloads(
    struct hk_block *block, struct hk_block_work *work, uint32_t number,
    enum hk_block_column column, int64_t from_ms, int64_t to_ms, struct hk_arena *arena,
    int64_t **out_stamps_ms, struct hk_str **out_payloads, uint32_t *out_count) HK_MUST_CHECK;

#endif
