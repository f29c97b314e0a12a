/*
 * YAML events (libyaml) to nodes. One stack of open collections, no recursion.
 *
 * (1) depth(open collections) + depth(new node) ≤ HK_CONF_DEPTH_MAX, also through aliases.
 * (2) Σ weight ≤ HK_CONF_NODES_MAX, where an alias weighs as much as what it stands for.
 * (3) An alias names a finished node: a node never contains itself.
 */
#include "conf/tree.h"

#include "base/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <yaml.h>

enum {
    ANCHORS_MAX = 1000,
    MERGE_KEYS_MAX = 200,         /* of one merged mapping */
    MERGE_RESULT_KEYS_MAX = 2000, /* of a mapping that merges */
};

struct frame {
    struct hk_conf_node *node;
    size_t first; /* of its children on the stack of values */
};

struct anchor {
    struct hk_str name;
    struct hk_conf_node *node;
    bool finished;
};

struct builder {
    const struct hk_conf_file *file;
    struct hk_arena *arena;
    struct hk_conf_report *report;
    struct frame frames[HK_CONF_DEPTH_MAX];
    size_t frame_count;
    struct hk_conf_node **values; /* children of all open collections */
    size_t value_count, value_capacity;
    struct anchor *anchors;
    size_t anchor_count, anchor_capacity;
    uint32_t weight;
    uint32_t documents;
    struct hk_conf_node *root;
};

void hk_conf_problem_add(
    struct hk_conf_report *report, bool warning, const struct hk_conf_file *file, uint32_t line,
    uint32_t column, const char *mend, const char *format, ...) {
    char text[1024];
    va_list args;
    va_start(args, format);
    int len = vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    if (len < 0) len = 0;
    if ((size_t)len >= sizeof(text)) len = (int)sizeof(text) - 1;
    struct hk_conf_problem problem = {
        file->path, line, column, warning, { text, (size_t)len }, hk_str_from(mend)
    };
    hk_conf_report_add(report, &problem);
}

const struct hk_conf_node *hk_conf_node_get(const struct hk_conf_node *mapping, const char *key) {
    for (uint32_t i = 0; i < mapping->count && mapping->kind == HK_CONF_MAPPING; i++) {
        if (hk_str_is(mapping->pairs[i].key, key)) return mapping->pairs[i].value;
    }
    return NULL;
}

bool hk_conf_node_is_null(const struct hk_conf_node *node) {
    if (node->kind != HK_CONF_SCALAR || node->style != HK_CONF_PLAIN) return false;
    return node->text.len == 0 || hk_str_is(node->text, "~") ||
           hk_str_eq_nocase(node->text, HK_STR("null"));
}

size_t hk_conf_file_offset(const struct hk_conf_file *file, uint32_t line, uint32_t column) {
    size_t at = 0;
    for (uint32_t i = 1; i < line && at < file->text.len; i++)
        at = hk_str_find(file->text, '\n', at) + 1;
    for (uint32_t i = 1; i < column && at < file->text.len; i++) {
        at++;
        while (at < file->text.len && ((unsigned char)file->text.ptr[at] & 0xc0) == 0x80)
            at++;
    }
    return at < file->text.len ? at : file->text.len;
}

static bool is_space(char c) {
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

void hk_conf_text_place(
    const struct hk_conf_node *node, size_t offset, uint32_t *out_line, uint32_t *out_column) {
    struct hk_str source = node->file->text;
    bool block = node->style == HK_CONF_LITERAL || node->style == HK_CONF_FOLDED;
    size_t at = block ? hk_conf_file_offset(node->file, node->line + 1, 1)
                      : hk_conf_file_offset(node->file, node->line, node->column);
    bool single = node->style == HK_CONF_QUOTED && at < source.len && source.ptr[at] == '\'';
    if (node->style == HK_CONF_QUOTED) at++;
    for (size_t i = 0; i <= offset && i < node->text.len; i++) {
        char c = node->text.ptr[i];
        if (is_space(c)) continue;
        while (at < source.len && is_space(source.ptr[at]))
            at++;
        /* A backslash stands before some characters in double quotes. */
        bool escaped = at + 1 < source.len && source.ptr[at] != c && source.ptr[at + 1] == c;
        if (escaped) at++;
        if (i == offset || at >= source.len || source.ptr[at] != c) break;
        at++;
        if (single && c == '\'' && at < source.len && source.ptr[at] == c) at++;
    }
    uint32_t line = 1;
    size_t start = 0;
    for (size_t i = 0; i < at && i < source.len; i++) {
        if (source.ptr[i] != '\n') continue;
        line++;
        start = i + 1;
    }
    uint32_t column = 1;
    for (size_t i = start; i < at && i < source.len; i++)
        column += ((unsigned char)source.ptr[i] & 0xc0) != 0x80;
    *out_line = line;
    *out_column = column;
}

const char *hk_conf_kind_name(const struct hk_conf_node *node) {
    if (node->kind == HK_CONF_SEQUENCE) return "a list";
    return node->kind == HK_CONF_MAPPING ? "a mapping" : "a single value";
}

static void
fault(struct builder *builder, const yaml_mark_t *mark, const char *mend, const char *text) {
    hk_conf_problem_add(
        builder->report, false, builder->file, (uint32_t)mark->line + 1, (uint32_t)mark->column + 1,
        mend, "%s", text);
}

/* A new node whose place is `mark`; NULL when memory or the limit of nodes is used up. */
static hk_err
new_node(struct builder *builder, const yaml_mark_t *mark, struct hk_conf_node **out) {
    if (builder->weight >= HK_CONF_NODES_MAX) {
        fault(builder, mark, "split the file", "the file has more than 400000 values");
        return HK_E_INVALID;
    }
    struct hk_conf_node *node = hk_arena_alloc(builder->arena, 1, sizeof(*node));
    if (node == NULL) return HK_E_NOMEM;
    builder->weight++;
    node->file = builder->file;
    node->line = (uint32_t)mark->line + 1;
    node->column = (uint32_t)mark->column + 1;
    node->weight = 1;
    node->depth = 1;
    *out = node;
    return HK_OK;
}

static hk_err push_value(struct builder *builder, struct hk_conf_node *node) {
    if (builder->frame_count == 0) {
        builder->root = node;
        return HK_OK;
    }
    HK_TRY(hk_mem_grow(
        &builder->values, &builder->value_capacity, builder->value_count + 1,
        sizeof(*builder->values)));
    builder->values[builder->value_count++] = node;
    return HK_OK;
}

static hk_err push_anchor(
    struct builder *builder, const yaml_char_t *name, struct hk_conf_node *node, bool finished) {
    if (name == NULL) return HK_OK;
    if (builder->anchor_count == ANCHORS_MAX) {
        hk_conf_problem_add(
            builder->report, false, builder->file, node->line, node->column, "use fewer",
            "the file has more than %d anchors", ANCHORS_MAX);
        return HK_E_INVALID;
    }
    HK_TRY(hk_mem_grow(
        &builder->anchors, &builder->anchor_capacity, builder->anchor_count + 1,
        sizeof(*builder->anchors)));
    struct hk_str copy = hk_arena_str(builder->arena, hk_str_from((const char *)name));
    if (copy.ptr == NULL) return HK_E_NOMEM;
    builder->anchors[builder->anchor_count++] = (struct anchor){ copy, node, finished };
    return HK_OK;
}

static hk_err on_scalar(struct builder *builder, const yaml_event_t *event) {
    if (event->data.scalar.length > HK_CONF_SCALAR_BYTES_MAX) {
        fault(builder, &event->start_mark, "shorten it", "this value is longer than 1 MiB");
        return HK_E_INVALID;
    }
    struct hk_conf_node *node = NULL;
    HK_TRY(new_node(builder, &event->start_mark, &node));
    node->kind = HK_CONF_SCALAR;
    node->text = hk_arena_str(
        builder->arena,
        (struct hk_str){ (const char *)event->data.scalar.value, event->data.scalar.length });
    if (node->text.ptr == NULL) return HK_E_NOMEM;
    yaml_scalar_style_t style = event->data.scalar.style;
    node->style = style == YAML_LITERAL_SCALAR_STYLE  ? HK_CONF_LITERAL
                  : style == YAML_FOLDED_SCALAR_STYLE ? HK_CONF_FOLDED
                  : style == YAML_PLAIN_SCALAR_STYLE  ? HK_CONF_PLAIN
                                                      : HK_CONF_QUOTED;
    HK_TRY(push_anchor(builder, event->data.scalar.anchor, node, true));
    return push_value(builder, node);
}

static hk_err on_open(
    struct builder *builder, const yaml_event_t *event, enum hk_conf_kind kind,
    const yaml_char_t *anchor) {
    if (builder->frame_count == HK_CONF_DEPTH_MAX) {
        fault(
            builder, &event->start_mark, "write it flatter",
            "mappings and lists are nested more than 48 levels deep");
        return HK_E_INVALID;
    }
    struct hk_conf_node *node = NULL;
    HK_TRY(new_node(builder, &event->start_mark, &node));
    node->kind = kind;
    HK_TRY(push_anchor(builder, anchor, node, false));
    HK_TRY(push_value(builder, node));
    builder->frames[builder->frame_count++] = (struct frame){ node, builder->value_count };
    return HK_OK;
}

static hk_err on_alias(struct builder *builder, const yaml_event_t *event) {
    struct hk_str name = hk_str_from((const char *)event->data.alias.anchor);
    const struct anchor *found = NULL;
    for (size_t i = builder->anchor_count; i > 0 && found == NULL; i--) {
        if (hk_str_eq(builder->anchors[i - 1].name, name)) found = &builder->anchors[i - 1];
    }
    if (found == NULL) {
        fault(
            builder, &event->start_mark, "define it with & above this line, or quote the *",
            "this alias has no anchor");
        return HK_E_INVALID;
    }
    if (!found->finished) {
        fault(
            builder, &event->start_mark, "move the anchor out of what it names",
            "this alias stands inside of its own anchor");
        return HK_E_INVALID;
    }
    if (builder->frame_count + found->node->depth > HK_CONF_DEPTH_MAX) {
        fault(
            builder, &event->start_mark, "write it flatter",
            "mappings and lists are nested more than 48 levels deep");
        return HK_E_INVALID;
    }
    if (found->node->weight > HK_CONF_NODES_MAX - builder->weight) {
        fault(
            builder, &event->start_mark, "write out what is meant; aliases of aliases grow fast",
            "aliases expand to more than 400000 values");
        return HK_E_INVALID;
    }
    builder->weight += found->node->weight;
    return push_value(builder, found->node);
}

/* Sorts by key, then by place; stable through the index. */
static int compare_pairs(const void *a, const void *b) {
    const struct hk_conf_pair *x = *(const struct hk_conf_pair *const *)a;
    const struct hk_conf_pair *y = *(const struct hk_conf_pair *const *)b;
    int order = hk_str_cmp(x->key, y->key);
    if (order != 0) return order;
    return x < y ? -1 : x > y;
}

static hk_err find_duplicates(struct builder *builder, const struct hk_conf_node *node) {
    if (node->count < 2) return HK_OK;
    HK_CLEANUP(hk_mem_free_at)
    const struct hk_conf_pair **sorted = hk_mem_alloc(node->count, sizeof(struct hk_conf_pair *));
    if (sorted == NULL) return HK_E_NOMEM;
    for (uint32_t i = 0; i < node->count; i++)
        sorted[i] = &node->pairs[i];
    qsort(sorted, node->count, sizeof(struct hk_conf_pair *), compare_pairs);
    for (uint32_t i = 1; i < node->count; i++) {
        if (!hk_str_eq(sorted[i - 1]->key, sorted[i]->key)) continue;
        hk_conf_problem_add(
            builder->report, false, builder->file, sorted[i]->line, sorted[i]->column,
            "keep one of the two", "the key \"%.*s\" is given twice, first on line %u",
            (int)(sorted[i]->key.len < 200 ? sorted[i]->key.len : 200), sorted[i]->key.ptr,
            sorted[i - 1]->line);
    }
    return HK_OK;
}

static bool is_merge(const struct hk_conf_node *key) {
    return key->style == HK_CONF_PLAIN && hk_str_is(key->text, "<<");
}

/* Appends the pairs of `from` whose keys `node` does not have yet (YAML 1.1 merge key type). */
static hk_err
merge(struct builder *builder, struct hk_conf_node *node, const struct hk_conf_node *from) {
    if (from->kind != HK_CONF_MAPPING) {
        hk_conf_problem_add(
            builder->report, false, builder->file, from->line, from->column,
            "give the alias of a mapping", "<< takes a mapping or a list of mappings, not %s",
            hk_conf_kind_name(from));
        return HK_OK;
    }
    size_t total = (size_t)node->count + from->count;
    struct hk_conf_pair *pairs = hk_arena_alloc(builder->arena, total, sizeof(*pairs));
    if (pairs == NULL) return HK_E_NOMEM;
    if (node->count > 0) memcpy(pairs, node->pairs, node->count * sizeof(*pairs));
    uint32_t own = node->count;
    uint32_t count = own;
    for (uint32_t i = 0; i < from->count; i++) {
        bool have = false;
        for (uint32_t k = 0; k < own && !have; k++)
            have = hk_str_eq(pairs[k].key, from->pairs[i].key);
        if (!have) pairs[count++] = from->pairs[i];
    }
    node->pairs = pairs;
    node->count = count;
    return HK_OK;
}

/* Merging scans both mappings: bounded so that it stays cheap. */
static hk_err
merge_bounded(struct builder *builder, struct hk_conf_node *node, const struct hk_conf_node *from) {
    if (from->count > MERGE_KEYS_MAX || node->count > MERGE_RESULT_KEYS_MAX) {
        hk_conf_problem_add(
            builder->report, false, builder->file, node->line, node->column, "write the keys out",
            "<< merges too many keys (at most %d into %d)", MERGE_KEYS_MAX, MERGE_RESULT_KEYS_MAX);
        return HK_E_INVALID;
    }
    return merge(builder, node, from);
}

static hk_err merge_all(
    struct builder *builder, struct hk_conf_node *node, struct hk_conf_node **children,
    size_t count) {
    for (size_t i = 0; i + 1 < count; i += 2) {
        const struct hk_conf_node *value = children[i + 1];
        if (!is_merge(children[i])) continue;
        if (value->kind != HK_CONF_SEQUENCE) {
            HK_TRY(merge_bounded(builder, node, value));
            continue;
        }
        for (uint32_t k = 0; k < value->count; k++)
            HK_TRY(merge_bounded(builder, node, value->items[k]));
    }
    return HK_OK;
}

static hk_err close_mapping(
    struct builder *builder, struct hk_conf_node *node, struct hk_conf_node **children,
    size_t count) {
    node->pairs = hk_arena_alloc(builder->arena, count / 2 + 1, sizeof(*node->pairs));
    if (node->pairs == NULL) return HK_E_NOMEM;
    for (size_t i = 0; i + 1 < count; i += 2) {
        const struct hk_conf_node *key = children[i];
        if (key->kind != HK_CONF_SCALAR) {
            hk_conf_problem_add(
                builder->report, false, builder->file, key->line, key->column,
                "write a plain word as the key", "a key must be a word, not %s",
                hk_conf_kind_name(key));
            continue;
        }
        if (is_merge(key)) continue;
        node->pairs[node->count++] =
            (struct hk_conf_pair){ key->text, key->line, key->column, children[i + 1] };
    }
    HK_TRY(find_duplicates(builder, node));
    return merge_all(builder, node, children, count);
}

static hk_err on_close(struct builder *builder) {
    if (HK_NEVER(builder->frame_count == 0)) return HK_E_MALFORMED;
    struct frame frame = builder->frames[builder->frame_count - 1];
    struct hk_conf_node *node = frame.node;
    struct hk_conf_node **children = builder->values == NULL ? NULL : builder->values + frame.first;
    size_t count = children == NULL ? 0 : builder->value_count - frame.first;
    for (size_t i = 0; i < count; i++) {
        node->weight += children[i]->weight;
        if (children[i]->depth + 1 > node->depth) node->depth = children[i]->depth + 1;
    }
    if (node->kind == HK_CONF_MAPPING) {
        HK_TRY(close_mapping(builder, node, children, count));
    } else {
        node->items = hk_arena_alloc(builder->arena, count + 1, sizeof(struct hk_conf_node *));
        if (node->items == NULL) return HK_E_NOMEM;
        if (count > 0) memcpy(node->items, children, count * sizeof(struct hk_conf_node *));
        node->count = (uint32_t)count;
    }
    for (size_t i = 0; i < builder->anchor_count; i++) {
        if (builder->anchors[i].node == node) builder->anchors[i].finished = true;
    }
    builder->value_count = frame.first;
    builder->frame_count--;
    return HK_OK;
}

static hk_err on_event(struct builder *builder, const yaml_event_t *event) {
    /* The default is for the events that open and close stream and document. */
    switch ((int)event->type) {
    case YAML_DOCUMENT_START_EVENT:
        if (builder->documents++ == 0) return HK_OK;
        fault(
            builder, &event->start_mark, "keep one document per file",
            "a second YAML document begins here");
        return HK_E_INVALID;
    case YAML_SCALAR_EVENT:
        return on_scalar(builder, event);
    case YAML_ALIAS_EVENT:
        return on_alias(builder, event);
    case YAML_SEQUENCE_START_EVENT:
        return on_open(builder, event, HK_CONF_SEQUENCE, event->data.sequence_start.anchor);
    case YAML_MAPPING_START_EVENT:
        return on_open(builder, event, HK_CONF_MAPPING, event->data.mapping_start.anchor);
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        return on_close(builder);
    default:
        return HK_OK;
    }
}

/* What libyaml says, with a hint for the two usual causes. */
static hk_err yaml_fault(struct builder *builder, const yaml_parser_t *parser) {
    if (parser->error == YAML_MEMORY_ERROR) return HK_E_NOMEM;
    yaml_mark_t mark = parser->problem_mark;
    const char *problem = parser->problem == NULL ? "unreadable" : parser->problem;
    if (parser->error == YAML_READER_ERROR) {
        hk_conf_problem_add(
            builder->report, false, builder->file, 0, 0, "save the file as UTF-8",
            "not valid YAML: %s at byte %zu", problem, parser->problem_offset);
        return HK_E_INVALID;
    }
    size_t at =
        hk_conf_file_offset(builder->file, (uint32_t)mark.line + 1, (uint32_t)mark.column + 1);
    bool tab = at < builder->file->text.len && builder->file->text.ptr[at] == '\t';
    const char *mend =
        tab ? "indent with spaces, YAML does not allow tabs"
            : "check the indentation of this line and the quotes and colons before it";
    hk_conf_problem_add(
        builder->report, false, builder->file, (uint32_t)mark.line + 1, (uint32_t)mark.column + 1,
        mend, "not valid YAML: %s%s%s", problem, parser->context == NULL ? "" : " ",
        parser->context == NULL ? "" : parser->context);
    return HK_E_INVALID;
}

static hk_err run(struct builder *builder, yaml_parser_t *parser) {
    for (bool end = false; !end;) {
        yaml_event_t event;
        if (!yaml_parser_parse(parser, &event)) return yaml_fault(builder, parser);
        end = event.type == YAML_STREAM_END_EVENT;
        hk_err err = on_event(builder, &event);
        yaml_event_delete(&event);
        if (err < 0) return err;
    }
    return HK_OK;
}

/* A file without any value is an empty mapping. */
static hk_err finish(struct builder *builder, struct hk_conf_node **out) {
    yaml_mark_t start = { 0 };
    if (builder->root == NULL || hk_conf_node_is_null(builder->root)) {
        HK_TRY(new_node(builder, &start, &builder->root));
        builder->root->kind = HK_CONF_MAPPING;
    }
    *out = builder->root;
    return HK_OK;
}

hk_err hk_conf_tree_parse(
    const struct hk_conf_file *file, struct hk_arena *arena, struct hk_conf_report *report,
    struct hk_conf_node **out) {
    struct builder builder = { .file = file, .arena = arena, .report = report };
    yaml_parser_t parser;
    if (!yaml_parser_initialize(&parser)) return HK_E_NOMEM;
    yaml_parser_set_input_string(&parser, (const unsigned char *)file->text.ptr, file->text.len);
    hk_err err = run(&builder, &parser);
    yaml_parser_delete(&parser);
    if (err == HK_OK) err = finish(&builder, out);
    hk_mem_free(builder.values);
    hk_mem_free(builder.anchors);
    return err;
}
