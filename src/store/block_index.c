/*
 * The index of a block under construction: label terms, the directory of each series, and the
 * sections written at the commit.
 *
 * (1) A pair's number is its rank by (name, value), so the order of series by their pair numbers is
 *     the order of hk_labels_cmp.
 */
#include "base/hash.h"
#include "base/mem.h"
#include "store/block_write_internal.h"

#include <stdlib.h>

enum { TABLE_SLOTS_MIN = 1024 };

static struct hk_block_term *terms_of(const struct hk_block_writer *writer) {
    return (void *)writer->terms.ptr;
}

static const struct hk_block_series_entry *series_of(const struct hk_block_writer *writer) {
    return (const void *)writer->series.ptr;
}

/* ------------------------------------------------------------------ directory of a series */

static void put_chunk_entry(
    struct hk_block_writer *writer, const struct hk_block_new_chunk *chunk, size_t *summary) {
    struct hk_buf *to = &writer->directories;
    hk_block_signed(to, (int64_t)chunk->stamp_column - (int64_t)writer->page_stamp_column);
    writer->page_stamp_column = chunk->stamp_column;
    const enum hk_block_form form = chunk->offset == 0          ? HK_BLOCK_INLINE
                                    : chunk->summary_bytes == 0 ? HK_BLOCK_PLAIN
                                                                : HK_BLOCK_SUMMARIZED;
    hk_block_varint(to, chunk->bytes * 4ULL + form);
    if (form == HK_BLOCK_INLINE) {
        hk_buf_bytes(to, chunk->inline_bytes, chunk->bytes);
        return;
    }
    hk_block_signed(to, (int64_t)(chunk->offset - writer->page_chunk_offset));
    writer->page_chunk_offset = chunk->offset + chunk->bytes + 4;
    if (chunk->summary_bytes == 0) return;
    hk_buf_bytes(to, writer->summaries.ptr + *summary, chunk->summary_bytes);
    *summary += chunk->summary_bytes;
}

/* Encodes the directory of the open series. */
static hk_err end_series(struct hk_block_writer *writer) {
    if (!writer->series_open) return HK_OK;
    struct hk_buf *to = &writer->directories;
    const size_t before = to->len;
    size_t counts[HK_BLOCK_COLUMNS];
    for (int i = 0; i < HK_BLOCK_COLUMNS; i++)
        counts[i] = writer->chunks[i].len / sizeof(struct hk_block_new_chunk);
    const bool others = counts[HK_BLOCK_HISTOGRAM] + counts[HK_BLOCK_EXEMPLAR] > 0;
    if (counts[HK_BLOCK_FLOAT] > 0 || others) {
        hk_block_varint(to, counts[HK_BLOCK_FLOAT] * 2 + others);
        if (others) hk_block_varint(to, counts[HK_BLOCK_HISTOGRAM]);
        if (others) hk_block_varint(to, counts[HK_BLOCK_EXEMPLAR]);
    }
    size_t summary = 0;
    for (int i = 0; i < HK_BLOCK_COLUMNS; i++) {
        const struct hk_block_new_chunk *chunks = (const void *)writer->chunks[i].ptr;
        for (size_t k = 0; k < counts[i]; k++)
            put_chunk_entry(writer, &chunks[k], &summary);
        hk_buf_clear(&writer->chunks[i]);
    }
    hk_buf_clear(&writer->summaries);
    if (to->err < 0) return hk_fail(to->err, "block: index memory is full");
    struct hk_block_series_entry *series = (void *)writer->series.ptr;
    series[writer->info.series_count - 1].directory_bytes = (uint32_t)(to->len - before);
    writer->series_open = false;
    return HK_OK;
}

/* ------------------------------------------------------------------ terms */

static hk_err grow_table(struct hk_block_writer *writer) {
    uint32_t slots = writer->table_slots == 0 ? TABLE_SLOTS_MIN : writer->table_slots * 2;
    uint32_t *table = hk_mem_alloc(slots, sizeof(*table));
    if (table == NULL) return hk_fail(HK_E_NOMEM, "block: out of memory for labels");
    const struct hk_block_term *terms = terms_of(writer);
    for (uint32_t i = 0; i < writer->term_count; i++) {
        uint32_t at = (uint32_t)terms[i].hash & (slots - 1);
        while (table[at] != 0)
            at = (at + 1) & (slots - 1);
        table[at] = i + 1;
    }
    hk_mem_free(writer->table);
    writer->table = table;
    writer->table_slots = slots;
    return HK_OK;
}

/* The term of a name or a pair; made when new. */
static hk_err
intern(struct hk_block_writer *writer, uint32_t name, struct hk_str text, uint32_t *out) {
    if (writer->term_count >= writer->table_slots / 2) HK_TRY(grow_table(writer));
    const uint64_t hash = hk_hash64(text.ptr, text.len) ^ (name + 1ULL) * 0x9e3779b97f4a7c15ULL;
    uint32_t at = (uint32_t)hash & (writer->table_slots - 1);
    for (; writer->table[at] != 0; at = (at + 1) & (writer->table_slots - 1)) {
        const struct hk_block_term *term = &terms_of(writer)[writer->table[at] - 1];
        if (term->hash != hash || term->name != name || !hk_str_eq(term->text, text)) continue;
        *out = writer->table[at] - 1;
        return HK_OK;
    }
    if (writer->term_count == HK_BLOCK_PAIRS_MAX)
        return hk_fail(HK_E_LIMIT, "block: too many labels");
    struct hk_block_term term = { .text = hk_arena_str(&writer->strings, text),
                                  .hash = hash,
                                  .name = name };
    if (term.text.ptr == NULL) return hk_fail(HK_E_LIMIT, "block: label memory is full");
    hk_buf_bytes(&writer->terms, &term, sizeof(term));
    if (writer->terms.err < 0) return hk_fail(writer->terms.err, "block: label memory is full");
    if (name == HK_BLOCK_NO_NAME) {
        writer->name_count++;
    } else {
        writer->pair_count++;
        terms_of(writer)[name].count++;
    }
    writer->table[at] = writer->term_count + 1;
    *out = writer->term_count++;
    return HK_OK;
}

static hk_err check_labels(struct hk_labels labels) {
    bool good = labels.count <= HK_LABELS_MAX;
    for (uint32_t i = 0; good && i < labels.count; i++) {
        const struct hk_label *label = &labels.items[i];
        good = label->name.len > 0 && label->name.len <= HK_LABEL_NAME_BYTES_MAX &&
               label->value.len > 0 && label->value.len <= HK_LABEL_VALUE_BYTES_MAX &&
               (i == 0 || hk_str_cmp(labels.items[i - 1].name, label->name) < 0);
    }
    return good ? HK_OK : hk_fail(HK_E_INVALID, "block: labels are not in canonical form");
}

/* Leading labels equal to those of the series before; HK_E_INVALID unless the new ones are
 * greater. */
static hk_err shared_labels(
    const struct hk_block_writer *writer, struct hk_labels labels, const uint32_t **out_terms,
    uint32_t *out_shared) {
    *out_terms = NULL;
    *out_shared = 0;
    if (writer->info.series_count == 0) return HK_OK;
    const uint32_t before = series_of(writer)[writer->info.series_count - 1].label_count;
    const uint32_t *old = NULL;
    if (before > 0) {
        old = (const uint32_t *)(const void *)(writer->labels.ptr + writer->labels.len) - before;
    }
    const struct hk_block_term *terms = terms_of(writer);
    uint32_t i = 0;
    int order = 0;
    for (; i < before && i < labels.count && order == 0; i++) {
        const struct hk_block_term *term = &terms[old[i]];
        order = hk_str_cmp(labels.items[i].name, terms[term->name].text);
        if (order == 0) order = hk_str_cmp(labels.items[i].value, term->text);
    }
    if (order < 0 || (order == 0 && labels.count <= before)) {
        return hk_fail(HK_E_INVALID, "block: series are not in ascending order");
    }
    *out_terms = old;
    *out_shared = order == 0 ? i : i - 1;
    return HK_OK;
}

static size_t index_bytes(const struct hk_block_writer *writer) {
    return writer->terms.len + writer->labels.len + writer->series.len + writer->directories.len +
           writer->stamp_pages.len + writer->strings.bytes_total + writer->table_slots * 4UL;
}

hk_err hk_block_index_series(struct hk_block_writer *writer, struct hk_labels labels) {
    HK_TRY(end_series(writer));
    HK_TRY(check_labels(labels));
    if (writer->info.series_count == HK_BLOCK_SERIES_MAX ||
        index_bytes(writer) > writer->index_bytes_max) {
        return hk_fail(
            HK_E_LIMIT, "block: too many series (%llu)",
            (unsigned long long)writer->info.series_count);
    }
    const uint32_t *old = NULL;
    uint32_t shared = 0;
    HK_TRY(shared_labels(writer, labels, &old, &shared));
    uint32_t terms[HK_LABELS_MAX];
    if (shared > 0) memcpy(terms, old, shared * sizeof(*terms));
    for (uint32_t i = shared; i < labels.count; i++) {
        uint32_t name = 0;
        HK_TRY(intern(writer, HK_BLOCK_NO_NAME, labels.items[i].name, &name));
        HK_TRY(intern(writer, name, labels.items[i].value, &terms[i]));
    }
    for (uint32_t i = 0; i < labels.count; i++)
        terms_of(writer)[terms[i]].count++;
    hk_buf_bytes(&writer->labels, terms, labels.count * sizeof(*terms));
    const struct hk_block_series_entry entry = { labels.count, 0 };
    hk_buf_bytes(&writer->series, &entry, sizeof(entry));
    if (writer->labels.err < 0 || writer->series.err < 0) {
        return hk_fail(HK_E_LIMIT, "block: label memory is full");
    }
    if (writer->info.series_count % HK_BLOCK_SERIES_PER_PAGE == 0) {
        writer->page_chunk_offset = 0;
        writer->page_stamp_column = 0;
    }
    writer->info.series_count++;
    writer->series_open = true;
    memset(writer->stamp_seen, 0, sizeof(writer->stamp_seen));
    return HK_OK;
}

/* ------------------------------------------------------------------ sections */

/* What the sections need in sorted order. */
struct sorted {
    uint32_t *names;  /* terms of names by rank */
    uint32_t *pairs;  /* terms of pairs by rank */
    uint64_t *starts; /* per pair rank: first of its series in numbers; and the end */
    uint32_t *numbers;
    struct hk_buf pages, postings;
};

static int by_text(const void *a, const void *b, void *self) {
    const struct hk_block_term *terms = self;
    uint32_t x = 0, y = 0;
    memcpy(&x, a, sizeof(x));
    memcpy(&y, b, sizeof(y));
    if (terms[x].name != terms[y].name) {
        const uint32_t p = terms[terms[x].name].rank, q = terms[terms[y].name].rank;
        return (p > q) - (p < q);
    }
    return hk_str_cmp(terms[x].text, terms[y].text);
}

static void sort_terms(struct hk_block_writer *writer, struct sorted *sorted) {
    struct hk_block_term *terms = terms_of(writer);
    uint32_t names = 0, pairs = 0;
    for (uint32_t i = 0; i < writer->term_count; i++) {
        if (terms[i].name == HK_BLOCK_NO_NAME) {
            sorted->names[names++] = i;
        } else {
            sorted->pairs[pairs++] = i;
        }
    }
    qsort_r(sorted->names, names, sizeof(uint32_t), by_text, terms);
    for (uint32_t i = 0; i < names; i++)
        terms[sorted->names[i]].rank = i;
    qsort_r(sorted->pairs, pairs, sizeof(uint32_t), by_text, terms);
    for (uint32_t i = 0; i < pairs; i++)
        terms[sorted->pairs[i]].rank = i;
}

/* Fills the series numbers of every pair, ascending. */
static void invert(struct hk_block_writer *writer, struct sorted *sorted) {
    const struct hk_block_term *terms = terms_of(writer);
    uint64_t at = 0;
    for (uint32_t i = 0; i < writer->pair_count; i++) {
        sorted->starts[i] = at;
        at += terms[sorted->pairs[i]].count;
    }
    sorted->starts[writer->pair_count] = at;
    const uint32_t *label = (const void *)writer->labels.ptr;
    for (uint32_t number = 0; number < writer->info.series_count; number++) {
        for (uint32_t i = 0; i < series_of(writer)[number].label_count; i++)
            sorted->numbers[sorted->starts[terms[*label++].rank]++] = number;
    }
    /* Filling moved each start to the next pair's. */
    for (uint32_t i = writer->pair_count; i > 0; i--)
        sorted->starts[i] = sorted->starts[i - 1];
    sorted->starts[0] = 0;
}

/* Adds the checksum to the page that began at `begin` and notes its length. */
static hk_err end_page(
    struct hk_block_writer *writer, struct hk_buf *pages, size_t begin,
    enum hk_block_section section) {
    uint8_t crc[4];
    if (pages->err < 0) return hk_fail(pages->err, "block: index memory is full");
    hk_block_put_u32(crc, hk_crc32c(0, pages->ptr + begin, pages->len - begin));
    hk_buf_bytes(pages, crc, sizeof(crc));
    const size_t bytes = pages->len - begin;
    if (bytes > HK_BLOCK_PAGE_BYTES_MAX) return hk_fail(HK_E_LIMIT, "block: page too large");
    const uint32_t length = (uint32_t)bytes;
    hk_buf_bytes(&writer->page_lengths[section], &length, sizeof(length));
    if (pages->err < 0) return hk_fail(pages->err, "block: index memory is full");
    return writer->page_lengths[section].err;
}

static uint32_t shared_bytes(struct hk_str a, struct hk_str b) {
    uint32_t i = 0;
    while (i < a.len && i < b.len && a.ptr[i] == b.ptr[i])
        i++;
    return i;
}

static hk_err put_pair(
    struct hk_block_writer *writer, struct sorted *sorted, uint32_t pair, struct hk_str before) {
    const struct hk_block_term *term = &terms_of(writer)[sorted->pairs[pair]];
    struct hk_buf *to = &sorted->pages;
    const uint32_t shared = shared_bytes(before, term->text);
    hk_block_varint(to, shared);
    hk_block_varint(to, term->text.len - shared);
    hk_buf_bytes(to, term->text.ptr + shared, term->text.len - shared);
    hk_buf_clear(&sorted->postings);
    enum hk_block_postings kind = hk_block_postings_put(
        &sorted->postings, sorted->numbers + sorted->starts[pair], term->count,
        (uint32_t)writer->info.series_count);
    if (sorted->postings.err < 0) return hk_fail(HK_E_NOMEM, "block: out of memory for postings");
    hk_block_varint(to, term->count * 4ULL + kind);
    if (kind == HK_POSTINGS_ALL) return HK_OK;
    const size_t bytes = sorted->postings.len;
    if (bytes <= HK_BLOCK_INLINE_POSTINGS) {
        hk_block_varint(to, bytes * 2 + 1);
        hk_buf_bytes(to, sorted->postings.ptr, bytes);
        return HK_OK;
    }
    hk_block_varint(to, bytes * 2);
    hk_block_varint(to, writer->sections[HK_BLOCK_POSTINGS_SECTION].bytes);
    uint8_t crc[4];
    hk_block_put_u32(crc, hk_crc32c(0, sorted->postings.ptr, bytes));
    hk_buf_bytes(&sorted->postings, crc, sizeof(crc));
    if (sorted->postings.err < 0) return hk_fail(HK_E_NOMEM, "block: out of memory for postings");
    return hk_block_out(writer, sorted->postings.ptr, sorted->postings.len);
}

/* Sections postings and pairs. */
static hk_err write_pairs(struct hk_block_writer *writer, struct sorted *sorted) {
    hk_block_out_section(writer, HK_BLOCK_POSTINGS_SECTION);
    struct hk_str before = { "", 0 };
    size_t begin = 0;
    for (uint32_t pair = 0; pair < writer->pair_count; pair++) {
        HK_TRY(put_pair(writer, sorted, pair, before));
        before = terms_of(writer)[sorted->pairs[pair]].text;
        if ((pair + 1) % HK_BLOCK_PAIRS_PER_PAGE != 0 && pair + 1 < writer->pair_count) continue;
        HK_TRY(end_page(writer, &sorted->pages, begin, HK_BLOCK_PAIRS_SECTION));
        begin = sorted->pages.len;
        before = (struct hk_str){ "", 0 };
    }
    hk_block_out_section(writer, HK_BLOCK_PAIRS_SECTION);
    return hk_block_out(writer, sorted->pages.ptr, sorted->pages.len);
}

/* Labels of one series, by pair numbers against the ones of the series before. */
static void put_series_labels(
    struct hk_buf *to, const uint32_t *pairs, uint32_t count, const uint32_t *before,
    uint32_t before_count) {
    uint32_t shared = 0;
    while (shared < count && shared < before_count && pairs[shared] == before[shared])
        shared++;
    hk_block_varint(to, shared);
    hk_block_varint(to, count - shared);
    for (uint32_t i = shared; i < count; i++)
        hk_block_signed(to, (int64_t)pairs[i] - (i < before_count ? (int64_t)before[i] : 0));
}

static hk_err write_series(struct hk_block_writer *writer, struct sorted *sorted) {
    hk_block_out_section(writer, HK_BLOCK_SERIES_SECTION);
    const struct hk_block_term *terms = terms_of(writer);
    uint32_t *label = (void *)writer->labels.ptr;
    size_t directory = 0; /* offset */
    struct hk_buf *page = &sorted->pages;
    hk_buf_clear(page);
    const uint32_t *before = NULL;
    uint32_t before_count = 0;
    for (uint32_t number = 0; number < writer->info.series_count; number++) {
        const struct hk_block_series_entry *entry = &series_of(writer)[number];
        for (uint32_t i = 0; i < entry->label_count; i++)
            label[i] = terms[label[i]].rank;
        put_series_labels(page, label, entry->label_count, before, before_count);
        hk_block_varint(page, entry->directory_bytes);
        if (entry->directory_bytes > 0) {
            hk_buf_bytes(page, writer->directories.ptr + directory, entry->directory_bytes);
        }
        before = label;
        before_count = entry->label_count;
        if (entry->label_count > 0) label += entry->label_count;
        directory += entry->directory_bytes;
        if ((number + 1) % HK_BLOCK_SERIES_PER_PAGE != 0 &&
            number + 1 < writer->info.series_count) {
            continue;
        }
        HK_TRY(end_page(writer, page, 0, HK_BLOCK_SERIES_SECTION));
        HK_TRY(hk_block_out(writer, page->ptr, page->len));
        hk_buf_clear(page);
        before_count = 0;
    }
    return HK_OK;
}

/* ------------------------------------------------------------------ footer */

static void
put_footer(const struct hk_block_writer *writer, const struct sorted *sorted, struct hk_buf *to) {
    const struct hk_block_info *info = &writer->info;
    uint8_t word[8];
    hk_block_varint(to, HK_BLOCK_SECTIONS);
    for (int i = 0; i < HK_BLOCK_SECTIONS; i++) {
        hk_block_varint(to, writer->sections[i].offset);
        hk_block_varint(to, writer->sections[i].bytes);
        hk_block_put_u32(word, writer->sections[i].crc);
        hk_buf_bytes(to, word, 4);
    }
    const uint64_t counts[] = { info->series_count, info->sample_count,  info->exemplar_count,
                                info->chunk_count,  writer->stamp_count, writer->pair_count,
                                writer->name_count, info->replaces_count };
    for (size_t i = 0; i < HK_COUNT(counts); i++)
        hk_block_varint(to, counts[i]);
    for (uint32_t i = 0; i < info->replaces_count; i++) {
        hk_block_put_u64(word, info->replaces[i]);
        hk_buf_bytes(to, word, 8);
    }
    hk_block_varint(to, info->note.len);
    hk_buf_str(to, info->note);
    for (uint32_t i = 0; i < writer->name_count; i++) {
        const struct hk_block_term *term = &terms_of(writer)[sorted->names[i]];
        hk_block_varint(to, term->text.len);
        hk_buf_str(to, term->text);
        hk_block_varint(to, term->count);
    }
    for (int s = HK_BLOCK_PAIRS_SECTION; s <= HK_BLOCK_STAMPS_SECTION; s++) {
        const uint32_t *lengths = (const void *)writer->page_lengths[s].ptr;
        for (size_t i = 0; i < writer->page_lengths[s].len / sizeof(*lengths); i++)
            hk_block_varint(to, lengths[i]);
    }
}

static hk_err write_footer(struct hk_block_writer *writer, struct sorted *sorted) {
    struct hk_buf *footer = &sorted->pages;
    hk_buf_clear(footer);
    put_footer(writer, sorted, footer);
    if (footer->err < 0) return hk_fail(footer->err, "block: index memory is full");
    if (footer->len > HK_BLOCK_FOOTER_BYTES_MAX)
        return hk_fail(HK_E_LIMIT, "block: footer too large");
    uint8_t tail[HK_BLOCK_TAIL_BYTES];
    const uint64_t at = hk_block_out_at(writer);
    writer->info.bytes = at + footer->len + HK_BLOCK_TAIL_BYTES;
    hk_block_put_u64(tail, at);
    hk_block_put_u32(tail + 8, (uint32_t)footer->len);
    hk_block_put_u32(tail + 12, hk_crc32c(0, footer->ptr, footer->len));
    hk_block_put_u64(tail + 16, writer->info.bytes);
    hk_block_put_u32(tail + 24, hk_crc32c(0, tail, 24));
    memcpy(tail + 28, HK_BLOCK_MAGIC_TAIL, 4);
    HK_TRY(hk_block_out(writer, footer->ptr, footer->len));
    return hk_block_out(writer, tail, sizeof(tail));
}

static hk_err write_sections(struct hk_block_writer *writer, struct sorted *sorted) {
    const uint64_t labels = writer->labels.len / sizeof(uint32_t);
    sorted->names = hk_mem_alloc(writer->name_count, sizeof(uint32_t));
    sorted->pairs = hk_mem_alloc(writer->pair_count, sizeof(uint32_t));
    sorted->starts = hk_mem_alloc(writer->pair_count + 1UL, sizeof(uint64_t));
    sorted->numbers = hk_mem_alloc(labels, sizeof(uint32_t));
    if (sorted->names == NULL || sorted->pairs == NULL || sorted->starts == NULL ||
        sorted->numbers == NULL) {
        return hk_fail(HK_E_NOMEM, "block: out of memory for the index");
    }
    sort_terms(writer, sorted);
    invert(writer, sorted);
    HK_TRY(write_pairs(writer, sorted));
    HK_TRY(write_series(writer, sorted));
    hk_block_out_section(writer, HK_BLOCK_STAMPS_SECTION);
    HK_TRY(hk_block_out(writer, writer->stamp_pages.ptr, writer->stamp_pages.len));
    return write_footer(writer, sorted);
}

hk_err hk_block_index_write(struct hk_block_writer *writer) {
    HK_TRY(end_series(writer));
    HK_TRY(hk_block_stamps_end_page(writer));
    struct sorted sorted = { 0 };
    hk_buf_init(&sorted.pages, writer->index_bytes_max);
    hk_buf_init(&sorted.postings, (size_t)HK_BLOCK_SERIES_MAX * 8);
    hk_err err = write_sections(writer, &sorted);
    hk_mem_free(sorted.names);
    hk_mem_free(sorted.pairs);
    hk_mem_free(sorted.starts);
    hk_mem_free(sorted.numbers);
    hk_buf_deinit(&sorted.pages);
    hk_buf_deinit(&sorted.postings);
    return err;
}
