/*
 * Block writer: chunks go to the file as they come, labels and directories are kept in memory until
 * the commit (block_index.c). Any failure is sticky.
 */
#include "base/hash.h"
#include "base/mem.h"
#include "os/file.h"
#include "store/block_write_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <zstd.h>

enum { OUT_BYTES = 262144, NAME_BYTES = 32 };

void hk_block_name(uint64_t id, char out[32]) {
    (void)snprintf(out, NAME_BYTES, "%016" PRIx64 ".block", id);
}

/* ------------------------------------------------------------------ output */

hk_err hk_block_out_flush(struct hk_block_writer *writer) {
    if (writer->out.len == 0) return HK_OK;
    HK_TRY(hk_block_file_write(
        writer->fd, writer->path_tmp, writer->out.ptr, writer->out.len, writer->offset));
    writer->offset += writer->out.len;
    writer->out.len = 0;
    return HK_OK;
}

hk_err hk_block_out(struct hk_block_writer *writer, const void *from, size_t bytes) {
    struct hk_block_span *span = &writer->sections[writer->section];
    span->crc = hk_crc32c(span->crc, from, bytes);
    span->bytes += bytes;
    const char *at = from;
    while (bytes > 0) {
        size_t room = OUT_BYTES - writer->out.len;
        size_t part = bytes < room ? bytes : room;
        hk_buf_bytes(&writer->out, at, part);
        if (writer->out.err < 0) return writer->out.err;
        at += part;
        bytes -= part;
        if (writer->out.len == OUT_BYTES) HK_TRY(hk_block_out_flush(writer));
    }
    return HK_OK;
}

void hk_block_out_section(struct hk_block_writer *writer, enum hk_block_section section) {
    writer->section = section;
    writer->sections[section] = (struct hk_block_span){ .offset = hk_block_out_at(writer) };
}

/* Bytes and their checksum. */
static hk_err out_checked(struct hk_block_writer *writer, const void *from, size_t bytes) {
    uint8_t crc[4];
    hk_block_put_u32(crc, hk_crc32c(0, from, bytes));
    HK_TRY(hk_block_out(writer, from, bytes));
    return hk_block_out(writer, crc, sizeof(crc));
}

/* ------------------------------------------------------------------ creation */

static char *path_of(const char *directory, uint64_t id, const char *suffix) {
    char name[NAME_BYTES], path[HK_BLOCK_PATH_BYTES_MAX];
    hk_block_name(id, name);
    int len = snprintf(path, sizeof(path), "%s/%s%s", directory, name, suffix);
    return len > 0 && (size_t)len < sizeof(path) ? hk_mem_copy(path, (size_t)len) : NULL;
}

static void init_buffers(struct hk_block_writer *writer, size_t index_max) {
    hk_buf_init(&writer->out, OUT_BYTES);
    hk_buf_init(&writer->payload, HK_BLOCK_CHUNK_BYTES_MAX * 2UL);
    hk_buf_init(&writer->squeezed, HK_BLOCK_CHUNK_BYTES_MAX * 2UL);
    hk_buf_init(&writer->stamp_pages, index_max);
    hk_arena_init(&writer->strings, index_max);
    hk_buf_init(&writer->terms, index_max);
    hk_buf_init(&writer->labels, index_max);
    hk_buf_init(&writer->series, index_max);
    hk_buf_init(&writer->directories, index_max);
    hk_buf_init(&writer->summaries, HK_BLOCK_CHUNKS_MAX * 64UL);
    for (int i = 0; i < HK_BLOCK_COLUMNS; i++) {
        hk_buf_init(&writer->chunks[i], HK_BLOCK_CHUNKS_MAX * sizeof(struct hk_block_new_chunk));
    }
    for (int i = 0; i < HK_BLOCK_SECTIONS; i++)
        hk_buf_init(&writer->page_lengths[i], index_max);
}

static hk_err
writer_fill(struct hk_block_writer *writer, const struct hk_block_writer_options *options) {
    writer->directory = hk_mem_copy(options->directory, strlen(options->directory));
    writer->path = path_of(options->directory, options->id, "");
    writer->path_tmp = path_of(options->directory, options->id, ".tmp");
    writer->note = hk_mem_copy(options->note.ptr, options->note.len);
    writer->replaces = hk_mem_alloc(options->replaces_count, sizeof(uint64_t));
    writer->column = hk_column_work_create();
    writer->coded = hk_mem_alloc(HK_COLUMN_BYTES_MAX(HK_BLOCK_CHUNK_COUNT_MAX), 1);
    writer->stamp_cache = hk_mem_alloc(HK_BLOCK_STAMP_CACHE, sizeof(*writer->stamp_cache));
    if (writer->directory == NULL || writer->path == NULL || writer->path_tmp == NULL ||
        writer->note == NULL || writer->replaces == NULL || writer->column == NULL ||
        writer->coded == NULL || writer->stamp_cache == NULL) {
        return hk_fail(HK_E_NOMEM, "block writer: out of memory");
    }
    if (options->replaces_count > 0) {
        memcpy(writer->replaces, options->replaces, options->replaces_count * sizeof(uint64_t));
    }
    writer->info = (struct hk_block_info){
        .id = options->id,
        .order = options->order == 0 ? options->id : options->order,
        .tenant = options->tenant,
        .level = options->level,
        .min_ms = INT64_MAX,
        .max_ms = INT64_MIN,
        .replaces = writer->replaces,
        .replaces_count = options->replaces_count,
        .note = { writer->note, options->note.len },
    };
    HK_TRY(hk_block_file_open(
        writer->path_tmp, HK_FILE_READ | HK_FILE_WRITE | HK_FILE_CREATE | HK_FILE_TRUNCATE,
        &writer->fd));
    /* The header is written at the end over these zeros. */
    static const uint8_t empty[HK_BLOCK_HEADER_BYTES] = { 0 };
    HK_TRY(hk_block_out(writer, empty, sizeof(empty)));
    hk_block_out_section(writer, HK_BLOCK_CHUNKS_SECTION);
    return HK_OK;
}

hk_err hk_block_writer_create(
    const struct hk_block_writer_options *options, struct hk_block_writer **out) {
    if (options->id == 0 || options->replaces_count > HK_BLOCK_REPLACES_MAX ||
        options->note.len > HK_BLOCK_NOTE_BYTES_MAX ||
        strlen(options->directory) + NAME_BYTES * 2 > HK_BLOCK_PATH_BYTES_MAX) {
        return hk_fail(HK_E_INVALID, "block writer: id, replaced ids, note or path out of range");
    }
    struct hk_block_writer *writer = hk_mem_alloc(1, sizeof(*writer));
    if (writer == NULL) return hk_fail(HK_E_NOMEM, "block writer: out of memory");
    writer->fd = -1;
    writer->index_bytes_max =
        options->index_bytes_max == 0 ? (size_t)1 << 30 : options->index_bytes_max;
    init_buffers(writer, writer->index_bytes_max);
    hk_err err = writer_fill(writer, options);
    if (err < 0) {
        hk_block_writer_destroy(writer);
        return err;
    }
    *out = writer;
    return HK_OK;
}

void hk_block_writer_destroy(struct hk_block_writer *writer) {
    if (writer == NULL) return;
    hk_file_close(writer->fd);
    if (!writer->committed && writer->fd >= 0) {
        /* Best effort: opening the directory removes what is left. */
        if (hk_block_file_remove(writer->path_tmp) < 0) hk_fail_clear();
    }
    (void)ZSTD_freeCCtx(writer->compressor);
    hk_column_work_destroy(writer->column);
    hk_arena_deinit(&writer->strings);
    struct hk_buf *const buffers[] = { &writer->out,      &writer->payload,
                                       &writer->squeezed, &writer->stamp_pages,
                                       &writer->terms,    &writer->labels,
                                       &writer->series,   &writer->directories,
                                       &writer->summaries };
    for (size_t i = 0; i < HK_COUNT(buffers); i++)
        hk_buf_deinit(buffers[i]);
    for (int i = 0; i < HK_BLOCK_COLUMNS; i++)
        hk_buf_deinit(&writer->chunks[i]);
    for (int i = 0; i < HK_BLOCK_SECTIONS; i++)
        hk_buf_deinit(&writer->page_lengths[i]);
    void *const memory[] = { writer->replaces, writer->note,  writer->directory,   writer->path,
                             writer->path_tmp, writer->coded, writer->stamp_cache, writer->table };
    for (size_t i = 0; i < HK_COUNT(memory); i++)
        hk_mem_free(memory[i]);
    hk_mem_free(writer);
}

uint64_t hk_block_writer_bytes(const struct hk_block_writer *writer) {
    return hk_block_out_at(writer);
}

void hk_block_writer_set_order(struct hk_block_writer *writer, uint64_t order) {
    writer->info.order = order;
}

uint64_t hk_block_writer_id(const struct hk_block_writer *writer) {
    return writer->info.id;
}

/* ------------------------------------------------------------------ stamps */

hk_err hk_block_stamps_end_page(struct hk_block_writer *writer) {
    struct hk_buf *pages = &writer->stamp_pages;
    if (pages->len == writer->stamp_page) return pages->err;
    uint8_t crc[4];
    hk_block_put_u32(
        crc, hk_crc32c(0, pages->ptr + writer->stamp_page, pages->len - writer->stamp_page));
    hk_buf_bytes(pages, crc, sizeof(crc));
    if (pages->err < 0) return pages->err;
    const uint32_t bytes = (uint32_t)(pages->len - writer->stamp_page);
    hk_buf_bytes(&writer->page_lengths[HK_BLOCK_STAMPS_SECTION], &bytes, sizeof(bytes));
    writer->stamp_page = pages->len;
    writer->stamp_min_before = 0;
    writer->stamp_end_before = 0;
    return writer->page_lengths[HK_BLOCK_STAMPS_SECTION].err;
}

/* Writes the column and its directory entry. */
static hk_err add_stamps(struct hk_block_writer *writer, const int64_t *stamps_ms, uint32_t count) {
    if (writer->stamp_count == UINT32_MAX) return hk_fail(HK_E_LIMIT, "block: too many stamps");
    const int64_t min = stamps_ms[0];
    const uint64_t span = (uint64_t)stamps_ms[count - 1] - (uint64_t)min;
    size_t bytes = hk_column_encode_stamps(writer->column, stamps_ms, count, min, writer->coded);
    struct hk_buf *pages = &writer->stamp_pages;
    hk_block_varint(pages, count);
    hk_block_signed(pages, (int64_t)((uint64_t)min - (uint64_t)writer->stamp_min_before));
    hk_block_varint(pages, span);
    writer->stamp_min_before = min;
    if (bytes <= HK_BLOCK_INLINE_STAMPS) {
        hk_block_varint(pages, bytes * 2 + 1);
        hk_buf_bytes(pages, writer->coded, bytes);
    } else {
        hk_block_varint(pages, bytes * 2);
        hk_block_signed(pages, (int64_t)(hk_block_out_at(writer) - writer->stamp_end_before));
        HK_TRY(out_checked(writer, writer->coded, bytes));
        writer->stamp_end_before = hk_block_out_at(writer);
    }
    if (pages->err < 0) return hk_fail(pages->err, "block: stamp directory is full");
    writer->stamp_count++;
    if (writer->stamp_count % HK_BLOCK_STAMPS_PER_PAGE != 0) return HK_OK;
    return hk_block_stamps_end_page(writer);
}

/* Number of the stamp column; an equal recent one is shared. */
static hk_err share_stamps(
    struct hk_block_writer *writer, const int64_t *stamps_ms, uint32_t count, uint32_t *out) {
    struct hk_hash128 hash = hk_hash128(stamps_ms, count * sizeof(*stamps_ms));
    struct stamp_cache *cached = &writer->stamp_cache[hash.low % HK_BLOCK_STAMP_CACHE];
    if (cached->column_plus_one == 0 || cached->hash.low != hash.low ||
        cached->hash.high != hash.high) {
        HK_TRY(add_stamps(writer, stamps_ms, count));
        *cached = (struct stamp_cache){ hash, writer->stamp_count };
    }
    *out = cached->column_plus_one - 1;
    return HK_OK;
}

/* ------------------------------------------------------------------ chunks */

static hk_err check_stamps(
    struct hk_block_writer *writer, enum hk_block_column column, const int64_t *stamps_ms,
    uint32_t count) {
    if (!writer->series_open) return hk_fail(HK_E_INVALID, "block: samples before a series");
    if (count == 0 || count > HK_BLOCK_CHUNK_COUNT_MAX) {
        return hk_fail(HK_E_INVALID, "block: a chunk of %u samples", count);
    }
    const int64_t step = column == HK_BLOCK_EXEMPLAR ? 0 : 1; /* smallest allowed */
    bool good = !writer->stamp_seen[column] || stamps_ms[0] > writer->last_ms[column] ||
                (step == 0 && stamps_ms[0] == writer->last_ms[column]);
    for (uint32_t i = 1; i < count; i++)
        good = good &&
               (stamps_ms[i] > stamps_ms[i - 1] || (step == 0 && stamps_ms[i] == stamps_ms[i - 1]));
    if (!good) return hk_fail(HK_E_INVALID, "block: stamps of a series do not ascend");
    return HK_OK;
}

/* Writes the chunk's bytes, unless `inline_max` allows to keep them in the directory. */
static hk_err put_chunk(
    struct hk_block_writer *writer, const void *bytes_ptr, size_t bytes, size_t inline_max,
    struct hk_block_new_chunk *chunk) {
    chunk->bytes = (uint32_t)bytes;
    if (bytes <= inline_max) {
        memcpy(chunk->inline_bytes, bytes_ptr, bytes);
        return HK_OK;
    }
    chunk->offset = hk_block_out_at(writer);
    return out_checked(writer, bytes_ptr, bytes);
}

static hk_err end_chunk(
    struct hk_block_writer *writer, enum hk_block_column column, const int64_t *stamps_ms,
    uint32_t count, const struct hk_block_new_chunk *chunk) {
    hk_buf_bytes(&writer->chunks[column], chunk, sizeof(*chunk));
    if (writer->chunks[column].err < 0 || writer->summaries.err < 0) {
        return hk_fail(HK_E_LIMIT, "block: more than %d chunks in a series", HK_BLOCK_CHUNKS_MAX);
    }
    writer->stamp_seen[column] = true;
    writer->last_ms[column] = stamps_ms[count - 1];
    struct hk_block_info *info = &writer->info;
    if (stamps_ms[0] < info->min_ms) info->min_ms = stamps_ms[0];
    if (stamps_ms[count - 1] > info->max_ms) info->max_ms = stamps_ms[count - 1];
    info->chunk_count++;
    if (column == HK_BLOCK_EXEMPLAR) {
        info->exemplar_count += count;
    } else {
        info->sample_count += count;
    }
    return HK_OK;
}

static hk_err write_floats(
    struct hk_block_writer *writer, const int64_t *stamps_ms, const double *values,
    uint32_t count) {
    HK_TRY(check_stamps(writer, HK_BLOCK_FLOAT, stamps_ms, count));
    struct hk_block_new_chunk chunk = { 0 };
    HK_TRY(share_stamps(writer, stamps_ms, count, &chunk.stamp_column));
    size_t bytes = hk_column_encode_values(writer->column, values, count, writer->coded);
    HK_TRY(put_chunk(writer, writer->coded, bytes, HK_BLOCK_INLINE_VALUES, &chunk));
    if (chunk.offset != 0 && count > HK_BLOCK_SUMMARY_MIN) {
        size_t before = writer->summaries.len;
        hk_block_summary_put(
            &writer->summaries, values, count, hk_column_exponent(writer->coded, bytes));
        chunk.summary_bytes = (uint32_t)(writer->summaries.len - before);
    }
    return end_chunk(writer, HK_BLOCK_FLOAT, stamps_ms, count, &chunk);
}

hk_err hk_block_writer_floats(
    struct hk_block_writer *writer, const int64_t *stamps_ms, const double *values,
    uint32_t count) {
    if (writer->err < 0) return writer->err;
    return writer->err = write_floats(writer, stamps_ms, values, count);
}

/* Form, lengths and bytes of the payloads, squeezed if that helps; the result is borrowed. */
static hk_err pack_payloads(
    struct hk_block_writer *writer, const struct hk_str *payloads, uint32_t count,
    struct hk_str *out) {
    struct hk_buf *plain = &writer->payload, *squeezed = &writer->squeezed;
    hk_buf_clear(plain);
    hk_buf_char(plain, 0);
    for (uint32_t i = 0; i < count; i++)
        hk_block_varint(plain, payloads[i].len);
    for (uint32_t i = 0; i < count; i++)
        hk_buf_str(plain, payloads[i]);
    if (plain->err < 0) return hk_fail(plain->err, "block: payloads of a chunk are too large");
    *out = hk_buf_get(plain);
    if (plain->len < 64) return HK_OK;
    if (writer->compressor == NULL) writer->compressor = ZSTD_createCCtx();
    if (writer->compressor == NULL) return HK_OK;
    hk_buf_clear(squeezed);
    hk_buf_char(squeezed, 1);
    hk_block_varint(squeezed, plain->len - 1);
    size_t room = ZSTD_compressBound(plain->len - 1);
    char *to = hk_buf_reserve(squeezed, room);
    if (to == NULL) return hk_fail(HK_E_NOMEM, "block: out of memory for payloads");
    size_t bytes =
        ZSTD_compressCCtx(writer->compressor, to, room, plain->ptr + 1, plain->len - 1, 1);
    if (ZSTD_isError(bytes) || squeezed->len + bytes >= plain->len) return HK_OK;
    squeezed->len += bytes;
    *out = hk_buf_get(squeezed);
    return HK_OK;
}

static hk_err write_payloads(
    struct hk_block_writer *writer, enum hk_block_column column, const int64_t *stamps_ms,
    const struct hk_str *payloads, uint32_t count) {
    if (column != HK_BLOCK_HISTOGRAM && column != HK_BLOCK_EXEMPLAR) {
        return hk_fail(HK_E_INVALID, "block: payloads of column %d", (int)column);
    }
    HK_TRY(check_stamps(writer, column, stamps_ms, count));
    /* A chunk holds as many as fit into HK_BLOCK_CHUNK_BYTES_MAX. */
    for (uint32_t first = 0; first < count;) {
        uint32_t next = first;
        for (size_t bytes = 0; next < count; next++) {
            if (payloads[next].len > HK_BLOCK_PAYLOAD_BYTES_MAX) {
                return hk_fail(HK_E_LIMIT, "block: a payload of %zu bytes", payloads[next].len);
            }
            bytes += payloads[next].len + 8;
            if (bytes > HK_BLOCK_CHUNK_BYTES_MAX) break;
        }
        struct hk_block_new_chunk chunk = { 0 };
        struct hk_str packed = { 0 };
        HK_TRY(share_stamps(writer, stamps_ms + first, next - first, &chunk.stamp_column));
        HK_TRY(pack_payloads(writer, payloads + first, next - first, &packed));
        HK_TRY(put_chunk(writer, packed.ptr, packed.len, 0, &chunk));
        HK_TRY(end_chunk(writer, column, stamps_ms + first, next - first, &chunk));
        first = next;
    }
    return HK_OK;
}

hk_err hk_block_writer_payloads(
    struct hk_block_writer *writer, enum hk_block_column column, const int64_t *stamps_ms,
    const struct hk_str *payloads, uint32_t count) {
    if (writer->err < 0) return writer->err;
    return writer->err = write_payloads(writer, column, stamps_ms, payloads, count);
}

/* ------------------------------------------------------------------ series and commit */

hk_err hk_block_writer_series(struct hk_block_writer *writer, struct hk_labels labels) {
    if (writer->err < 0) return writer->err;
    return writer->err = hk_block_index_series(writer, labels);
}

static void put_header(const struct hk_block_info *info, uint8_t *out) {
    memset(out, 0, HK_BLOCK_HEADER_BYTES);
    memcpy(out, HK_BLOCK_MAGIC, 8);
    out[8] = HK_BLOCK_MAJOR;
    out[10] = HK_BLOCK_MINOR;
    hk_block_put_u32(out + 16, info->tenant);
    hk_block_put_u32(out + 20, info->level);
    hk_block_put_u64(out + 24, info->id);
    hk_block_put_u64(out + 32, info->order);
    hk_block_put_u64(out + 40, (uint64_t)info->min_ms);
    hk_block_put_u64(out + 48, (uint64_t)info->max_ms);
    hk_block_put_u32(out + 60, hk_crc32c(0, out, 60));
}

static hk_err commit(struct hk_block_writer *writer) {
    HK_TRY(hk_block_index_write(writer));
    HK_TRY(hk_block_out_flush(writer));
    uint8_t header[HK_BLOCK_HEADER_BYTES];
    put_header(&writer->info, header);
    HK_TRY(hk_block_file_write(writer->fd, writer->path_tmp, header, sizeof(header), 0));
    HK_TRY(hk_block_file_sync(writer->fd, writer->path_tmp));
    HK_TRY(hk_block_file_rename(writer->path_tmp, writer->path));
    hk_err err = hk_block_dir_sync(writer->directory);
    if (err == HK_OK) writer->committed = true;
    if (err == HK_OK) return HK_OK;
    /* Not known durable: take it back. Whether that works or not, the samples are safe elsewhere
     * and a second copy does no harm. */
    char text[HK_BLOCK_PATH_BYTES_MAX + 256];
    (void)snprintf(text, sizeof(text), "%s", hk_fail_text());
    if (hk_block_file_rename(writer->path, writer->path_tmp) < 0) hk_fail_clear();
    return hk_fail(err, "%s", text);
}

hk_err hk_block_writer_commit(struct hk_block_writer *writer) {
    if (writer->err < 0) return writer->err;
    writer->err = commit(writer);
    if (writer->err < 0) return writer->err;
    writer->err = HK_E_CLOSED; /* nothing may follow */
    return HK_OK;
}
