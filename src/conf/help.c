/* `hark help config` and docs/reference/config.md. */
#include "conf/help.h"

#include "base/mem.h"
#include "conf/problem.h"
#include "conf/table.h"

#include <stdio.h>

enum { TOPICS_MAX = 2048, WRAP_COLUMNS = 96 };

/* --- one option in words ---------------------------------------------------------------------- */

static void put_bound(struct hk_buf *out, const struct hk_option *option, int64_t value) {
    char text[HK_TIME_BYTES_MAX];
    static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB" };
    size_t unit = 0;
    if (option->type == HK_OPTION_DURATION) {
        hk_buf_bytes(out, text, hk_format_duration_ms(value, text));
        return;
    }
    while (option->type == HK_OPTION_SIZE && unit < 4 && value >= 1024 && value % 1024 == 0) {
        value /= 1024;
        unit++;
    }
    hk_buf_printf(out, "%lld", (long long)value);
    if (option->type == HK_OPTION_SIZE && value > 0) hk_buf_text(out, units[unit]);
}

/* "duration, 100ms to 1h" · "one of http, https" · "list of …" */
static void put_value(struct hk_buf *out, const struct hk_option *option, const char *quote) {
    bool choice = option->type == HK_OPTION_ENUM || option->type == HK_OPTION_ENUMS;
    if (choice) {
        hk_buf_text(out, option->type == HK_OPTION_ENUM ? "one of " : "list of ");
        bool first = true;
        for (size_t i = 0; option->choices[i] != NULL; i++) {
            if (option->choices[i][0] == 0) continue;
            hk_buf_printf(out, "%s%s%s%s", first ? "" : ", ", quote, option->choices[i], quote);
            first = false;
        }
        return;
    }
    bool unit = option->type == HK_OPTION_INT && option->unit != NULL;
    hk_buf_text(out, unit ? "number of " : hk_option_type_name(option->type));
    if (unit) hk_buf_text(out, option->unit);
    if (option->min >= option->max) return;
    bool open = option->max == INT64_MAX;
    if (open && option->min == 0) return;
    hk_buf_text(out, open ? ", at least " : ", ");
    put_bound(out, option, option->min);
    if (open) return;
    hk_buf_text(out, " to ");
    put_bound(out, option, option->max);
}

static const char *default_text(const struct hk_option *option) {
    if ((option->flags & HK_OPTION_REQUIRED) != 0) return "required";
    if (option->fallback_text != NULL) return option->fallback_text;
    return option->fallback == NULL ? "" : option->fallback;
}

/* --- terminal --------------------------------------------------------------------------------- */

/* Words of `text` in lines that begin with `indent` spaces. */
static void put_wrapped(struct hk_buf *out, const char *text, size_t indent) {
    struct hk_str rest = hk_str_from(text);
    size_t column = 0;
    for (size_t at = 0; at < rest.len;) {
        size_t end = hk_str_find(rest, ' ', at);
        size_t len = end - at;
        if (column > 0 && column + 1 + len > WRAP_COLUMNS) {
            hk_buf_char(out, '\n');
            column = 0;
        }
        if (column == 0) {
            hk_buf_printf(out, "%*s", (int)indent, "");
            column = indent;
        } else {
            hk_buf_char(out, ' ');
            column++;
        }
        hk_buf_str(out, hk_str_part(rest, at, end));
        column += len;
        at = end + 1;
    }
    hk_buf_char(out, '\n');
}

static void put_option(struct hk_buf *out, const struct hk_option *option) {
    hk_buf_printf(out, "  %s: ", option->key);
    put_value(out, option, "");
    const char *text = default_text(option);
    if ((option->flags & HK_OPTION_REQUIRED) != 0) {
        hk_buf_text(out, "; required");
    } else if (text[0] != 0) {
        hk_buf_printf(out, "; default %s", text);
    }
    if (option->table != NULL) hk_buf_printf(out, "; see hark help config %s", option->table->name);
    hk_buf_char(out, '\n');
    put_wrapped(out, option->help, 6);
    if (option->status == HK_OPTION_LATER) {
        char note[300];
        (void)snprintf(note, sizeof(note), "Not acted on yet: %s.", option->consequence);
        put_wrapped(out, note, 6);
    }
}

static void put_table(struct hk_buf *out, const struct hk_option_table *table) {
    hk_buf_printf(out, "%s\n", table->name);
    put_wrapped(out, table->summary, 2);
    hk_buf_char(out, '\n');
    for (size_t i = 0; i < table->count; i++) {
        const struct hk_option *option = &table->options[i];
        if (option->type == HK_OPTION_INLINE) {
            hk_buf_printf(
                out, "  … and the keys of %s; see hark help config %s\n", option->table->name,
                option->table->name);
        } else {
            put_option(out, option);
        }
    }
}

/* Tables of the configuration and of rule files. */
static size_t all_tables(const struct hk_option_table **out) {
    size_t count = hk_option_tables(&hk_table_config, out, HK_OPTION_TABLES_MAX);
    return count + hk_option_tables(&hk_table_rule_file, out + count, HK_OPTION_TABLES_MAX - count);
}

/* Follows "server.tls.cert_file" from the outermost table; NULL when there is no such path. */
static const struct hk_option *find_path(struct hk_str path) {
    const struct hk_option_table *table = &hk_table_config;
    const struct hk_option *option = NULL;
    for (size_t at = 0; at < path.len && table != NULL;) {
        size_t end = hk_str_find(path, '.', at);
        option = hk_option_find(table, hk_str_part(path, at, end));
        if (option == NULL) return NULL;
        table = option->table;
        at = end + 1;
        if (at < path.len && table == NULL) return NULL;
    }
    return option;
}

static struct hk_str
nearest_topic(struct hk_str topic, const struct hk_option_table *const *tables, size_t count) {
    HK_CLEANUP(hk_mem_free_at)
    struct hk_str *names = hk_mem_alloc(TOPICS_MAX, sizeof(*names));
    size_t name_count = 0;
    for (size_t i = 0; i < count && names != NULL; i++) {
        if (name_count < TOPICS_MAX) names[name_count++] = hk_str_from(tables[i]->name);
        for (size_t k = 0; k < tables[i]->count && name_count < TOPICS_MAX; k++) {
            if (tables[i]->options[k].key == NULL) continue;
            names[name_count++] = hk_str_from(tables[i]->options[k].key);
        }
    }
    return hk_nearest_name(topic, names, name_count);
}

hk_err hk_conf_help(struct hk_str topic, struct hk_buf *out, struct hk_str *out_near) {
    const struct hk_option_table *tables[HK_OPTION_TABLES_MAX];
    size_t count = all_tables(tables);
    *out_near = (struct hk_str){ "", 0 };
    if (topic.len == 0) {
        put_table(out, &hk_table_config);
        return HK_OK;
    }
    bool found = false;
    for (size_t i = 0; i < count && !found; i++) {
        if (!hk_str_is(topic, tables[i]->name)) continue;
        put_table(out, tables[i]);
        found = true;
    }
    const struct hk_option *option = found ? NULL : find_path(topic);
    if (option != NULL) {
        put_option(out, option);
        if (option->table != NULL) hk_buf_char(out, '\n');
        if (option->table != NULL) put_table(out, option->table);
        return HK_OK;
    }
    for (size_t i = 0; i < count && !found; i++) {
        for (size_t k = 0; k < tables[i]->count; k++) {
            if (tables[i]->options[k].key == NULL) continue;
            if (!hk_str_is(topic, tables[i]->options[k].key)) continue;
            hk_buf_printf(out, "%s\n", tables[i]->name);
            put_option(out, &tables[i]->options[k]);
        }
    }
    if (found || out->len > 0) return HK_OK;
    *out_near = nearest_topic(topic, tables, count);
    return HK_E_NOT_FOUND;
}

/* --- Markdown --------------------------------------------------------------------------------- */

/* | would end a cell, and < begins HTML. */
static void put_cell(struct hk_buf *out, const char *text) {
    for (const char *at = text; *at != 0; at++) {
        if (*at == '|' || *at == '<') hk_buf_char(out, '\\');
        hk_buf_char(out, *at);
    }
}

static void put_row(struct hk_buf *out, const struct hk_option *option) {
    if (option->type == HK_OPTION_INLINE) {
        hk_buf_printf(
            out, "| … | | | the keys of [%s](#%s) |\n", option->table->name, option->table->name);
        return;
    }
    hk_buf_printf(out, "| `%s` | ", option->key);
    if (option->table != NULL) {
        bool list = option->type == HK_OPTION_STRUCTS;
        bool named = option->type == HK_OPTION_NAMED;
        hk_buf_printf(
            out, "%s[%s](#%s)",
            list    ? "list of "
            : named ? "by name: "
                    : "",
            option->table->name, option->table->name);
    } else {
        put_value(out, option, "`");
    }
    const char *text = default_text(option);
    bool required = (option->flags & HK_OPTION_REQUIRED) != 0;
    const char *quote = required || text[0] == 0 ? "" : "`";
    hk_buf_printf(out, " | %s%s%s | ", quote, required ? "**required**" : text, quote);
    put_cell(out, option->help);
    if (option->status == HK_OPTION_LATER) {
        hk_buf_text(out, ". *Not acted on yet:* ");
        put_cell(out, option->consequence);
    }
    hk_buf_text(out, " |\n");
}

static void put_section(struct hk_buf *out, const struct hk_option_table *table) {
    hk_buf_printf(out, "\n## %s\n\n", table->name);
    put_cell(out, table->summary);
    hk_buf_text(out, "\n\n| key | value | default | meaning |\n|---|---|---|---|\n");
    for (size_t i = 0; i < table->count; i++)
        put_row(out, &table->options[i]);
}

void hk_conf_reference(struct hk_buf *out) {
    hk_buf_text(
        out,
        "# Configuration reference\n\n"
        "<!-- Written by `hark help config --markdown`; a test compares the two. -->\n\n"
        "One YAML file, given to `hark serve --config`. An unmodified `prometheus.yml` is valid. "
        "`hark check FILE`\nsays what is wrong with a file, where, and how to mend it; `hark "
        "config "
        "schema` prints a JSON Schema for editors.\n\n"
        "- **Durations**: `100ms`, `15s`, `5m`, `1h30m`, `7d`; `0` is allowed. **Sizes**: `512MB`, "
        "`64MiB`, `1GiB` (powers of 1024).\n"
        "- **Substitution** in values, not in keys: `${NAME}` and `${NAME:-default}` from the "
        "environment, `${file:path}` from a\n  file; `$${` stands for `${`. None in relabelling "
        "steps and rule files, whose `$` has a meaning of its own.\n"
        "- **Paths** are relative to the folder of the file that they stand in.\n"
        "- **Secrets** are never shown: not in problems, logs or `/api/v1/status/config`.\n"
        "- A key that hark knows but does not act on yet is a warning; an unknown key is an "
        "error.\n");
    const struct hk_option_table *tables[HK_OPTION_TABLES_MAX];
    size_t count = all_tables(tables);
    for (size_t i = 0; i < count; i++)
        put_section(out, tables[i]);
}
