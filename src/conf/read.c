/* Walks option tables over nodes. */
#include "conf/read.h"

#include "base/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { KEYS_MAX = 160 }; /* of one mapping, with its inline tables */

void hk_conf_reader_init(
    struct hk_conf_reader *reader, struct hk_arena *arena, const struct hk_conf_source *source,
    struct hk_conf_report *report) {
    *reader = (struct hk_conf_reader){ .arena = arena, .report = report };
    reader->expander = (struct hk_conf_expander){ source, arena, report };
}

void hk_conf_reader_deinit(struct hk_conf_reader *reader) {
    hk_mem_free(reader->work);
    reader->work = NULL;
}

void hk_conf_problem_at(
    struct hk_conf_reader *reader, bool warning, const struct hk_conf_node *node, const char *key,
    const char *mend, const char *format, ...) {
    char text[1024];
    va_list args;
    va_start(args, format);
    int len = vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    const struct hk_conf_node *value = key == NULL ? NULL : hk_conf_node_get(node, key);
    if (value != NULL) node = value;
    if (len < 0) text[0] = 0;
    hk_conf_problem_add(
        reader->report, warning, node->file, node->line, node->column, mend, "%s", text);
}

/* All keys of a table and its inline tables (which nest no deeper than `KEYS_MAX` allows). */
static size_t collect_keys(const struct hk_option_table *table, const struct hk_option **out) {
    const struct hk_option_table *tables[8] = { table };
    size_t table_count = 1;
    size_t count = 0;
    for (size_t t = 0; t < table_count; t++) {
        for (size_t i = 0; i < tables[t]->count; i++) {
            const struct hk_option *option = &tables[t]->options[i];
            if (option->type == HK_OPTION_INLINE && table_count < HK_COUNT(tables)) {
                tables[table_count++] = option->table;
            } else if (count < KEYS_MAX) {
                out[count++] = option;
            }
        }
    }
    return count;
}

const struct hk_option *hk_option_find(const struct hk_option_table *table, struct hk_str key) {
    const struct hk_option *options[KEYS_MAX];
    size_t count = collect_keys(table, options);
    for (size_t i = 0; i < count; i++) {
        if (hk_str_is(key, options[i]->key)) return options[i];
    }
    return NULL;
}

static void unknown_key(
    struct hk_conf_reader *reader, const struct hk_option_table *table,
    const struct hk_conf_node *node, const struct hk_conf_pair *pair) {
    const struct hk_option *options[KEYS_MAX];
    struct hk_str names[KEYS_MAX] = { { 0 } };
    size_t count = collect_keys(table, options);
    for (size_t i = 0; i < count; i++)
        names[i] = hk_str_from(options[i]->key);
    struct hk_str near = hk_nearest_name(pair->key, names, count);
    char mend[400];
    if (near.len > 0) {
        (void)snprintf(mend, sizeof(mend), "did you mean %.*s?", HK_STR_ARG(near));
    } else if (count <= 10) {
        size_t len = (size_t)snprintf(mend, sizeof(mend), "known here:");
        for (size_t i = 0; i < count && len < 300; i++) {
            len += (size_t)snprintf(
                mend + len, sizeof(mend) - len, "%s%s", i == 0 ? " " : ", ", options[i]->key);
        }
    } else {
        bool root = table == &hk_table_config;
        (void)snprintf(
            mend, sizeof(mend), "hark help config%s%s lists the keys known here", root ? "" : " ",
            root ? "" : table->name);
    }
    int len = (int)(pair->key.len < 100 ? pair->key.len : 100);
    hk_conf_problem_add(
        reader->report, false, node->file, pair->line, pair->column, mend, "unknown key %.*s in %s",
        len, pair->key.ptr, table->name);
}

/* Does "%s" of the consequence stand for the job? Then its name is put there. */
static void warn_later(
    struct hk_conf_reader *reader, const struct hk_conf_work *work, const struct hk_conf_pair *pair,
    const struct hk_option *option) {
    const struct hk_conf_node *name = hk_conf_node_get(work->node, "job_name");
    const char *consequence =
        option->consequence == NULL ? "it has no effect" : option->consequence;
    bool job = name != NULL && name->kind == HK_CONF_SCALAR && option->type == HK_OPTION_STRUCTS &&
               hk_str_ends(pair->key, HK_STR("_sd_configs"));
    if (job) {
        hk_conf_problem_add(
            reader->report, true, work->node->file, pair->line, pair->column, "",
            "%s is not acted on yet: job \"%.*s\" shows as unsupported in /api/v1/targets",
            option->key, (int)(name->text.len < 100 ? name->text.len : 100), name->text.ptr);
        return;
    }
    hk_conf_problem_add(
        reader->report, true, work->node->file, pair->line, pair->column, "",
        "%s is not acted on yet: %s", option->key, consequence);
}

static void check_keys(struct hk_conf_reader *reader, const struct hk_conf_work *work) {
    for (uint32_t i = 0; i < work->node->count; i++) {
        const struct hk_conf_pair *pair = &work->node->pairs[i];
        const struct hk_option *option = hk_option_find(work->table, pair->key);
        if (option == NULL) {
            unknown_key(reader, work->table, work->node, pair);
        } else if (
            option->status == HK_OPTION_LATER && !work->quiet &&
            !hk_conf_node_is_null(pair->value)) {
            warn_later(reader, work, pair, option);
        }
    }
}

static hk_err push(struct hk_conf_reader *reader, struct hk_conf_work work) {
    HK_TRY(hk_mem_grow(
        &reader->work, &reader->work_capacity, reader->work_count + 1, sizeof(*reader->work)));
    reader->work[reader->work_count++] = work;
    return HK_OK;
}

/* A value of the wrong kind: says what was expected. */
static bool is_kind(
    struct hk_conf_reader *reader, const struct hk_option *option, const struct hk_conf_node *node,
    enum hk_conf_kind kind) {
    if (node->kind == kind) return true;
    bool structs = option->type == HK_OPTION_STRUCTS;
    const char *mend = structs ? "begin each entry with \"- key: value\""
                       : kind == HK_CONF_SEQUENCE && node->kind == HK_CONF_SCALAR
                           ? "put brackets around it: [value]"
                       : kind == HK_CONF_SEQUENCE ? "begin each entry with \"- \""
                       : kind == HK_CONF_MAPPING  ? "write it as key: value, indented below"
                                                  : "write one value behind the colon";
    hk_conf_problem_add(
        reader->report, false, node->file, node->line, node->column, mend,
        "%s must be a %s, not %s", option->key, hk_option_type_name(option->type),
        hk_conf_kind_name(node));
    return false;
}

/* A scalar after substitution. HK_MORE: was reported, nothing to store. */
static hk_err scalar_text(
    struct hk_conf_reader *reader, const struct hk_option *option, const struct hk_conf_node *node,
    struct hk_str *out, bool *out_changed) {
    bool changed = false;
    *out = node->text;
    hk_err err = HK_OK;
    if ((option->flags & HK_OPTION_GO_ENV) != 0) {
        err = hk_conf_expand_go(&reader->expander, node, out, &changed);
    } else if ((option->flags & HK_OPTION_RAW) == 0) {
        err = hk_conf_expand(&reader->expander, node, out, &changed);
    }
    *out_changed = changed;
    if (err == HK_E_INVALID) return HK_MORE;
    if (err < 0) return err;
    if (option->type == HK_OPTION_FILE || option->type == HK_OPTION_FILES) {
        *out = hk_conf_join(reader->arena, node->file, *out);
        if (out->ptr == NULL) return HK_E_NOMEM;
    }
    return HK_OK;
}

/* One scalar into `field` (any of the C types; `scratch` when nothing is stored). */
static hk_err read_scalar(
    struct hk_conf_reader *reader, const struct hk_option *option, const struct hk_conf_node *node,
    void *field) {
    union {
        bool flag;
        int64_t number;
        uint64_t bytes;
        double real;
        int choice;
        struct hk_str str;
    } value = { 0 };
    struct hk_conf_why why = { "", "" };
    struct hk_str text = { 0 };
    bool changed = false;
    hk_err err = scalar_text(reader, option, node, &text, &changed);
    if (err != HK_OK) return err;
    if (hk_conf_convert(option, text, &value, &why) < 0) {
        /* What a variable or a file held may be a secret: it is not shown. */
        hk_conf_problem_add(
            reader->report, false, node->file, node->line, node->column, why.mend,
            changed ? "%.0swhat %s gives is not a valid value of %s" : "%s%.0s%.0s", why.text,
            "the substitution", option->key);
        return HK_MORE;
    }
    if (field == NULL) return HK_OK;
    size_t bytes = option->type == HK_OPTION_BOOL       ? sizeof(value.flag)
                   : option->type == HK_OPTION_INT      ? sizeof(value.number)
                   : option->type == HK_OPTION_DOUBLE   ? sizeof(value.real)
                   : option->type == HK_OPTION_DURATION ? sizeof(value.number)
                   : option->type == HK_OPTION_SIZE     ? sizeof(value.bytes)
                   : option->type == HK_OPTION_ENUM || option->type == HK_OPTION_ENUMS
                       ? sizeof(value.choice)
                       : sizeof(value.str);
    memcpy(field, &value, bytes);
    return HK_OK;
}

/* Entry `index` of a list as scalar; reports other kinds. */
static hk_err read_entry(
    struct hk_conf_reader *reader, const struct hk_option *option, const struct hk_conf_node *entry,
    void *field) {
    if (entry->kind == HK_CONF_SCALAR) return read_scalar(reader, option, entry, field);
    hk_conf_problem_add(
        reader->report, false, entry->file, entry->line, entry->column, "write one value per entry",
        "an entry of %s must be a single value, not %s", option->key, hk_conf_kind_name(entry));
    return HK_MORE;
}

/* A list of scalars: struct { T *items; uint32_t count; }, T being hk_str, hk_secret or int. */
static hk_err read_list(
    struct hk_conf_reader *reader, const struct hk_option *option, const struct hk_conf_node *node,
    void *field) {
    if (!is_kind(reader, option, node, HK_CONF_SEQUENCE)) return HK_OK;
    size_t size = option->type == HK_OPTION_ENUMS ? sizeof(int) : sizeof(struct hk_str);
    char *items = hk_arena_alloc(reader->arena, (size_t)node->count + 1, size);
    if (items == NULL) return HK_E_NOMEM;
    uint32_t count = 0;
    for (uint32_t i = 0; i < node->count; i++) {
        hk_err err = read_entry(reader, option, node->items[i], items + count * size);
        if (err < 0) return err;
        count += err == HK_OK ? 1 : 0;
    }
    struct hk_conf_strings list = { (void *)items, count };
    if (field != NULL) memcpy(field, &list, sizeof(list));
    return HK_OK;
}

static int compare_labels(const void *a, const void *b) {
    const struct hk_label *x = a;
    const struct hk_label *y = b;
    return hk_str_cmp(x->name, y->name);
}

static bool label_name_fits(
    struct hk_conf_reader *reader, const struct hk_option *option, const struct hk_conf_node *node,
    const struct hk_conf_pair *pair) {
    const char *why = pair->key.len == 0                        ? "is empty"
                      : pair->key.len > HK_LABEL_NAME_BYTES_MAX ? "is longer than 4096 bytes"
                      : !hk_utf8_valid(pair->key)               ? "is not valid UTF-8"
                                                                : NULL;
    if (why == NULL) return true;
    hk_conf_problem_add(
        reader->report, false, node->file, pair->line, pair->column,
        "give the label a name of letters, digits and underscores", "a label name of %s %s",
        option->key, why);
    return false;
}

/* Names and values, sorted by name; values stay even when empty. */
static hk_err read_map(
    struct hk_conf_reader *reader, const struct hk_option *option, const struct hk_conf_node *node,
    void *field) {
    if (!is_kind(reader, option, node, HK_CONF_MAPPING)) return HK_OK;
    if (node->count > HK_LABELS_MAX) {
        hk_conf_problem_add(
            reader->report, false, node->file, node->line, node->column, "use fewer",
            "%s has %u entries, more than %d", option->key, node->count, HK_LABELS_MAX);
        return HK_OK;
    }
    struct hk_label *items = hk_arena_alloc(reader->arena, (size_t)node->count + 1, sizeof(*items));
    if (items == NULL) return HK_E_NOMEM;
    uint32_t count = 0;
    for (uint32_t i = 0; i < node->count; i++) {
        const struct hk_conf_pair *pair = &node->pairs[i];
        if (option->type == HK_OPTION_LABELS && !label_name_fits(reader, option, node, pair)) {
            continue;
        }
        items[count].name = pair->key;
        hk_err err = read_entry(reader, option, pair->value, &items[count].value);
        if (err < 0) return err;
        count += err == HK_OK ? 1 : 0;
    }
    qsort(items, count, sizeof(*items), compare_labels);
    struct hk_labels labels = { items, count };
    if (field != NULL) memcpy(field, &labels, sizeof(labels));
    return HK_OK;
}

/* Name → list of values; a single value counts as a list of one. */
static hk_err read_params(
    struct hk_conf_reader *reader, const struct hk_option *option, const struct hk_conf_node *node,
    void *field) {
    if (!is_kind(reader, option, node, HK_CONF_MAPPING)) return HK_OK;
    struct hk_conf_params params = { 0 };
    params.items = hk_arena_alloc(reader->arena, (size_t)node->count + 1, sizeof(*params.items));
    if (params.items == NULL) return HK_E_NOMEM;
    for (uint32_t i = 0; i < node->count; i++) {
        struct hk_conf_param *param = &params.items[params.count++];
        param->name = node->pairs[i].key;
        HK_TRY(read_list(reader, option, node->pairs[i].value, &param->values));
    }
    if (field != NULL) memcpy(field, &params, sizeof(params));
    return HK_OK;
}

/* STRUCTS and NAMED: an array of objects, each of them work for later. */
static hk_err read_structs(
    struct hk_conf_reader *reader, const struct hk_option *option, const struct hk_conf_node *node,
    void *field, bool quiet) {
    bool named = option->type == HK_OPTION_NAMED;
    if (!is_kind(reader, option, node, named ? HK_CONF_MAPPING : HK_CONF_SEQUENCE)) return HK_OK;
    size_t bytes = option->table->bytes;
    char *items = NULL;
    if (field != NULL) {
        items = hk_arena_alloc(reader->arena, (size_t)node->count + 1, bytes);
        if (items == NULL) return HK_E_NOMEM;
        struct hk_conf_strings list = { (void *)items, node->count };
        memcpy(field, &list, sizeof(list));
    }
    for (uint32_t i = 0; i < node->count; i++) {
        void *object = items == NULL ? NULL : items + i * bytes;
        const struct hk_conf_node *entry = named ? node->pairs[i].value : node->items[i];
        if (named && object != NULL) {
            memcpy(object, &node->pairs[i].key, sizeof(struct hk_str));
        }
        if (!named && hk_conf_node_is_null(entry)) {
            hk_conf_problem_add(
                reader->report, false, entry->file, entry->line, entry->column,
                "fill it in or remove the dash", "an entry of %s is empty", option->key);
            continue;
        }
        HK_TRY(push(reader, (struct hk_conf_work){ option->table, entry, object, false, quiet }));
    }
    return HK_OK;
}

static hk_err read_struct(
    struct hk_conf_reader *reader, const struct hk_option *option, const struct hk_conf_node *node,
    void *field, bool quiet) {
    void *object = field;
    if (option->type == HK_OPTION_OPTIONAL && field != NULL) {
        object = hk_arena_alloc(reader->arena, 1, option->table->bytes);
        if (object == NULL) return HK_E_NOMEM;
        memcpy(field, &object, sizeof(object));
    }
    return push(reader, (struct hk_conf_work){ option->table, node, object, false, quiet });
}

static hk_err read_value(
    struct hk_conf_reader *reader, const struct hk_option *option, const struct hk_conf_node *node,
    void *field, bool quiet) {
    /* Only the composed types are told apart; everything else is a scalar. */
    switch ((int)option->type) {
    case HK_OPTION_STRINGS:
    case HK_OPTION_SECRETS:
    case HK_OPTION_FILES:
    case HK_OPTION_ENUMS:
        return read_list(reader, option, node, field);
    case HK_OPTION_LABELS:
    case HK_OPTION_MAP:
        return read_map(reader, option, node, field);
    case HK_OPTION_PARAMS:
        return read_params(reader, option, node, field);
    case HK_OPTION_STRUCT:
    case HK_OPTION_OPTIONAL:
        return read_struct(reader, option, node, field, quiet);
    case HK_OPTION_STRUCTS:
    case HK_OPTION_NAMED:
        return read_structs(reader, option, node, field, quiet);
    case HK_OPTION_ANY:
        return HK_OK;
    default:
        if (!is_kind(reader, option, node, HK_CONF_SCALAR)) return HK_OK;
        return read_scalar(reader, option, node, field);
    }
}

/* The default of an option, written as in a file; lists of words are split at spaces. */
static hk_err
read_fallback(struct hk_conf_reader *reader, const struct hk_option *option, void *field) {
    struct hk_conf_why why = { "", "" };
    struct hk_str text = hk_str_from(option->fallback);
    if (option->type != HK_OPTION_ENUMS) {
        hk_err err = hk_conf_convert(option, text, field, &why);
        hk_assert(err == HK_OK); /* a default of our own tables */
        return HK_OK;
    }
    int *items = hk_arena_alloc(reader->arena, text.len + 1, sizeof(*items));
    if (items == NULL) return HK_E_NOMEM;
    struct hk_conf_enums list = { items, 0 };
    for (size_t at = 0; at < text.len;) {
        size_t end = hk_str_find(text, ' ', at);
        hk_err err =
            hk_conf_convert(option, hk_str_part(text, at, end), &list.items[list.count++], &why);
        hk_assert(err == HK_OK);
        at = end + 1;
    }
    memcpy(field, &list, sizeof(list));
    return HK_OK;
}

static hk_err read_missing(
    struct hk_conf_reader *reader, const struct hk_conf_work *work, const struct hk_option *option,
    void *field) {
    if ((option->flags & HK_OPTION_REQUIRED) != 0 && work->node != NULL) {
        char mend[200];
        (void)snprintf(mend, sizeof(mend), "add %s: …", option->key);
        hk_conf_problem_add(
            reader->report, false, work->node->file, work->node->line, work->node->column, mend,
            "%s is missing in %s", option->key, work->table->name);
    }
    if (field == NULL) return HK_OK;
    if (option->type == HK_OPTION_STRUCT) {
        return push(
            reader, (struct hk_conf_work){ option->table, NULL, field, false, work->quiet });
    }
    return option->fallback == NULL ? HK_OK : read_fallback(reader, option, field);
}

static hk_err read_one(struct hk_conf_reader *reader, struct hk_conf_work work) {
    if (work.node != NULL && hk_conf_node_is_null(work.node)) work.node = NULL;
    if (work.node != NULL && work.node->kind != HK_CONF_MAPPING) {
        hk_conf_problem_add(
            reader->report, false, work.node->file, work.node->line, work.node->column,
            "write it as key: value", "%s must be a mapping, not %s", work.table->name,
            hk_conf_kind_name(work.node));
        work.node = NULL;
    }
    if (work.node != NULL && !work.same_mapping) check_keys(reader, &work);
    for (size_t i = 0; i < work.table->count; i++) {
        const struct hk_option *option = &work.table->options[i];
        bool stored = work.object != NULL && option->offset != HK_OPTION_NOT_STORED;
        void *field = stored ? (char *)work.object + option->offset : NULL;
        if (option->type == HK_OPTION_INLINE) {
            HK_TRY(push(
                reader,
                (struct hk_conf_work){ option->table, work.node, field, true, work.quiet }));
            continue;
        }
        const struct hk_conf_node *value =
            work.node == NULL ? NULL : hk_conf_node_get(work.node, option->key);
        if (value == NULL || hk_conf_node_is_null(value)) {
            HK_TRY(read_missing(reader, &work, option, field));
            continue;
        }
        /* The default stands where a wrong value cannot be stored. */
        if (field != NULL && option->fallback != NULL) {
            HK_TRY(read_fallback(reader, option, field));
        }
        bool quiet = work.quiet || option->status == HK_OPTION_LATER;
        HK_TRY(read_value(reader, option, value, field, quiet));
    }
    return HK_OK;
}

hk_err hk_conf_read(
    struct hk_conf_reader *reader, const struct hk_option_table *table,
    const struct hk_conf_node *node, void *object) {
    HK_TRY(push(reader, (struct hk_conf_work){ table, node, object, false, false }));
    while (reader->work_done < reader->work_count)
        HK_TRY(read_one(reader, reader->work[reader->work_done++]));
    return HK_OK;
}

void hk_conf_check(struct hk_conf_reader *reader) {
    for (; reader->work_checked < reader->work_count; reader->work_checked++) {
        const struct hk_conf_work *work = &reader->work[reader->work_checked];
        bool mapping = work->node != NULL && work->node->kind == HK_CONF_MAPPING;
        if (work->table->check == NULL || work->object == NULL) continue;
        work->table->check(reader, mapping ? work->node : NULL, work->object);
    }
}
