/* Tables for people and programs. */
#include "cli/table.h"

#include "base/mem.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>

void hk_table_init(
    struct hk_table *table, struct hk_arena *arena, const char *const *columns, uint32_t count,
    uint32_t right) {
    hk_assert(count > 0 && count <= HK_TABLE_COLUMNS_MAX);
    *table = (struct hk_table){
        .arena = arena, .columns = columns, .column_count = count, .right = right
    };
}

void hk_table_deinit(struct hk_table *table) {
    hk_mem_free(table->cells);
    table->cells = NULL;
    table->row_count = 0;
}

void hk_table_cell(struct hk_table *table, struct hk_str text) {
    if (table->err < 0) return;
    if (table->cell == 0) {
        if (table->row_count == HK_TABLE_ROWS_MAX) table->err = HK_E_LIMIT;
        if (table->err < 0) return;
        size_t need = (table->row_count + 1) * table->column_count;
        table->err = hk_mem_grow(&table->cells, &table->row_capacity, need, sizeof(*table->cells));
        if (table->err < 0) return;
        table->row_count++;
    }
    table->cells[(table->row_count - 1) * table->column_count + table->cell] = text;
    table->cell = (table->cell + 1) % table->column_count;
}

void hk_table_printf(struct hk_table *table, const char *format, ...) {
    char text[1024];
    va_list args;
    va_start(args, format);
    int len = vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    if (len < 0) len = 0;
    if ((size_t)len >= sizeof(text)) len = (int)sizeof(text) - 1;
    struct hk_str copy = hk_arena_str(table->arena, (struct hk_str){ text, (size_t)len });
    if (copy.ptr == NULL) {
        table->err = HK_E_NOMEM;
        return;
    }
    hk_table_cell(table, copy);
}

/* One character of UTF-8 at `at` (RFC 3629); 0 bytes when it is none. */
static size_t decode(struct hk_str text, size_t at, uint32_t *out) {
    unsigned char first = (unsigned char)text.ptr[at];
    size_t len = first < 0x80 ? 1 : first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : first >= 0xc2 ? 2 : 0;
    if (len == 0 || len > text.len - at) return 0;
    if (!hk_utf8_valid((struct hk_str){ text.ptr + at, len })) return 0;
    uint32_t point = len == 1 ? first : first & (0x7fU >> len);
    for (size_t i = 1; i < len; i++)
        point = point << 6 | ((unsigned char)text.ptr[at + i] & 0x3fU);
    *out = point;
    return len;
}

static bool is_control(uint32_t point) {
    return point < 0x20 || (point >= 0x7f && point < 0xa0) ||
           (point >= 0x202a && point <= 0x202e) || (point >= 0x2066 && point <= 0x2069);
}

/* Unicode's East Asian wide blocks and emoji, roughly; combining marks take no room. */
static size_t point_width(uint32_t point) {
    bool none = (point >= 0x300 && point <= 0x36f) || (point >= 0x200b && point <= 0x200f) ||
                (point >= 0xfe00 && point <= 0xfe0f) || (point >= 0x20d0 && point <= 0x20ff);
    bool wide = (point >= 0x1100 && point <= 0x115f) || (point >= 0x2e80 && point <= 0xa4cf) ||
                (point >= 0xac00 && point <= 0xd7a3) || (point >= 0xf900 && point <= 0xfaff) ||
                (point >= 0xfe30 && point <= 0xfe6f) || (point >= 0xff00 && point <= 0xff60) ||
                (point >= 0xffe0 && point <= 0xffe6) || (point >= 0x1f300 && point <= 0x1faff) ||
                (point >= 0x20000 && point <= 0x3fffd);
    return none ? 0 : wide ? 2 : 1;
}

size_t hk_text_width(struct hk_str text) {
    size_t width = 0;
    for (size_t at = 0; at < text.len;) {
        uint32_t point = 0;
        size_t len = decode(text, at, &point);
        width += len == 0 || is_control(point) ? 1 : point_width(point);
        at += len == 0 ? 1 : len;
    }
    return width;
}

void hk_text_clean(struct hk_str text, struct hk_buf *out) {
    for (size_t at = 0; at < text.len;) {
        uint32_t point = 0;
        size_t len = decode(text, at, &point);
        if (len == 0 || is_control(point)) {
            hk_buf_text(out, "\xef\xbf\xbd");
        } else {
            hk_buf_bytes(out, text.ptr + at, len);
        }
        at += len == 0 ? 1 : len;
    }
}

static void put_spaces(struct hk_buf *out, size_t count) {
    for (size_t i = 0; i < count; i++)
        hk_buf_char(out, ' ');
}

static void
put_aligned(struct hk_buf *out, struct hk_str text, size_t width, bool right, bool last) {
    size_t own = hk_text_width(text);
    size_t pad = own < width ? width - own : 0;
    if (right) put_spaces(out, pad);
    hk_text_clean(text, out);
    if (last) return;
    put_spaces(out, 2 + (right ? 0 : pad));
}

void hk_table_print(const struct hk_table *table, struct hk_buf *out) {
    size_t widths[HK_TABLE_COLUMNS_MAX] = { 0 };
    uint32_t columns = table->column_count;
    for (uint32_t c = 0; c < columns; c++) {
        widths[c] = hk_text_width(hk_str_from(table->columns[c]));
        for (size_t r = 0; r < table->row_count; r++) {
            size_t width = hk_text_width(table->cells[r * columns + c]);
            if (width > widths[c]) widths[c] = width;
        }
    }
    for (uint32_t c = 0; c < columns; c++) {
        char heading[64];
        size_t len = 0;
        for (const char *at = table->columns[c]; *at != 0 && len < sizeof(heading); at++)
            heading[len++] = (char)toupper((unsigned char)*at);
        bool right = (table->right >> c & 1U) != 0;
        put_aligned(out, (struct hk_str){ heading, len }, widths[c], right, c + 1 == columns);
    }
    hk_buf_char(out, '\n');
    for (size_t r = 0; r < table->row_count; r++) {
        for (uint32_t c = 0; c < columns; c++) {
            bool right = (table->right >> c & 1U) != 0;
            put_aligned(out, table->cells[r * columns + c], widths[c], right, c + 1 == columns);
        }
        hk_buf_char(out, '\n');
    }
}

static void put_csv(struct hk_buf *out, struct hk_str text) {
    bool quote = false;
    for (size_t i = 0; i < text.len && !quote; i++)
        quote = memchr(",\"\r\n", text.ptr[i], 4) != NULL;
    if (!quote) {
        hk_buf_str(out, text);
        return;
    }
    hk_buf_char(out, '"');
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] == '"') hk_buf_char(out, '"');
        hk_buf_char(out, text.ptr[i]);
    }
    hk_buf_char(out, '"');
}

void hk_table_csv(const struct hk_table *table, struct hk_buf *out) {
    for (uint32_t c = 0; c < table->column_count; c++) {
        if (c > 0) hk_buf_char(out, ',');
        put_csv(out, hk_str_from(table->columns[c]));
    }
    hk_buf_text(out, "\r\n");
    for (size_t r = 0; r < table->row_count; r++) {
        for (uint32_t c = 0; c < table->column_count; c++) {
            if (c > 0) hk_buf_char(out, ',');
            put_csv(out, table->cells[r * table->column_count + c]);
        }
        hk_buf_text(out, "\r\n");
    }
}
