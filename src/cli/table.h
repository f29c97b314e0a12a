/*
 * Tables of text for people (aligned columns) and programs (CSV, RFC 4180). Cells are UTF-8;
 * control characters and broken bytes are shown as U+FFFD so that no answer can command the
 * terminal.
 */
#ifndef HK_CLI_TABLE_H
#define HK_CLI_TABLE_H

#include "base/arena.h"
#include "base/buf.h"
#include "model/labels.h"

enum { HK_TABLE_COLUMNS_MAX = 12, HK_TABLE_ROWS_MAX = 1000000 };

struct hk_table {
    struct hk_arena *arena; /* of rows and cells */
    const char *const *columns;
    uint32_t column_count;
    uint32_t right; /* bit per column: numbers, aligned at the right */
    struct hk_str *cells;
    size_t row_count, row_capacity;
    uint32_t cell; /* of the row at hand */
    hk_err err;    /* sticky: HK_E_NOMEM, HK_E_LIMIT */
};

/* Begins an empty table; `columns` are the headings, borrowed. Ended by hk_table_deinit. */
void hk_table_init(
    struct hk_table *table, struct hk_arena *arena, const char *const *columns, uint32_t count,
    uint32_t right);

/* Frees the list of cells. */
void hk_table_deinit(struct hk_table *table);

/* Adds the next cell, row by row; the text is borrowed. */
void hk_table_cell(struct hk_table *table, struct hk_str text);

/* Adds a cell of formatted text, at most 1,023 bytes. */
void hk_table_printf(struct hk_table *table, const char *format, ...) HK_PRINTF(2, 3);

/* Appends the table with a heading in capitals, columns two spaces apart. */
void hk_table_print(const struct hk_table *table, struct hk_buf *out);

/* Appends it as CSV with a heading. */
void hk_table_csv(const struct hk_table *table, struct hk_buf *out);

/* Columns that the text takes on a terminal: wide characters count twice, combining ones nothing.
 */
size_t hk_text_width(struct hk_str text);

/* Appends the text with control characters and bytes that are not UTF-8 replaced by U+FFFD. */
void hk_text_clean(struct hk_str text, struct hk_buf *out);

#endif
