/*
 * YAML text as a tree of nodes with their places, in an arena. Bounded in bytes, depth and nodes;
 * aliases are counted as if written out, so that no alias can expand without bound; merge keys
 * (`<<`) are applied; a key given twice is an error. Private to src/conf.
 */
#ifndef HK_CONF_TREE_H
#define HK_CONF_TREE_H

#include "conf/config.h"

enum hk_conf_kind { HK_CONF_SCALAR, HK_CONF_SEQUENCE, HK_CONF_MAPPING };

enum hk_conf_style { HK_CONF_PLAIN, HK_CONF_QUOTED, HK_CONF_LITERAL, HK_CONF_FOLDED };

/* A file under reading. */
struct hk_conf_file {
    struct hk_str path; /* as shown in problems */
    struct hk_str dir;  /* "" or with a slash behind: put before relative paths */
    struct hk_str text;
};

struct hk_conf_pair {
    struct hk_str key;
    uint32_t line, column; /* of the key */
    const struct hk_conf_node *value;
};

struct hk_conf_node {
    enum hk_conf_kind kind;
    enum hk_conf_style style; /* of a scalar */
    uint32_t line, column;    /* from 1 */
    const struct hk_conf_file *file;
    struct hk_str text; /* of a scalar */
    uint32_t count;     /* of items or pairs */
    uint32_t weight;    /* nodes in it, itself included, aliases expanded */
    uint32_t depth;     /* levels in it: 1 for a scalar */
    struct hk_conf_node **items;
    struct hk_conf_pair *pairs;
};

/*
 * Parses file->text. An empty document gives an empty mapping. HK_OK with a whole tree, also when
 * `report` got errors that leave one (a key given twice); HK_E_INVALID with the fault in `report`
 * when there is no tree, HK_E_LIMIT, HK_E_NOMEM.
 */
hk_err hk_conf_tree_parse(
    const struct hk_conf_file *file, struct hk_arena *arena, struct hk_conf_report *report,
    struct hk_conf_node **out) HK_MUST_CHECK;

/* Value of `key` in a mapping, NULL when there is none. */
const struct hk_conf_node *hk_conf_node_get(const struct hk_conf_node *mapping, const char *key);

/* A plain scalar that YAML reads as null: nothing, ~ or null. */
bool hk_conf_node_is_null(const struct hk_conf_node *node);

/* Byte offset in file->text of a place (columns count characters, as libyaml does). Scans. */
size_t hk_conf_file_offset(const struct hk_conf_file *file, uint32_t line, uint32_t column);

/*
 * Where in the file byte `offset` of a scalar's text stands: matches the characters of text and
 * source that are not spaces, so that it holds for folded and indented blocks too. Falls back to
 * the nearest place it knows.
 */
void hk_conf_text_place(
    const struct hk_conf_node *node, size_t offset, uint32_t *out_line, uint32_t *out_column);

/* "a value", "a list" or "a mapping". */
const char *hk_conf_kind_name(const struct hk_conf_node *node);

/* Formats into the arena and adds a problem; `mend` may be "". */
void hk_conf_problem_add(
    struct hk_conf_report *report, bool warning, const struct hk_conf_file *file, uint32_t line,
    uint32_t column, const char *mend, const char *format, ...) HK_PRINTF(7, 8);

#endif
