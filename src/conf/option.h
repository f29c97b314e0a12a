/*
 * Option tables: one table per YAML mapping, one row per key. Parsing, checks, defaults, `hark help
 * config`, the JSON Schema and docs/reference/config.md all come from these rows.
 */
#ifndef HK_CONF_OPTION_H
#define HK_CONF_OPTION_H

#include "base/str.h"

#include <stddef.h>

struct hk_conf_reader;
struct hk_conf_node;
struct hk_option_table;

/* Type of the value, and in brackets the C type of the field it is stored in. */
enum hk_option_type {
    HK_OPTION_BOOL,     /* bool */
    HK_OPTION_INT,      /* int64_t; min and max apply */
    HK_OPTION_DOUBLE,   /* double; min and max apply */
    HK_OPTION_STRING,   /* struct hk_str */
    HK_OPTION_SECRET,   /* struct hk_secret: never printed */
    HK_OPTION_FILE,     /* struct hk_str: path, made relative to the folder of its file */
    HK_OPTION_URL,      /* struct hk_str: http or https URL */
    HK_OPTION_DURATION, /* int64_t, ms; min and max apply */
    HK_OPTION_SIZE,     /* uint64_t, bytes; min and max apply */
    HK_OPTION_ENUM,     /* int: index into choices */
    HK_OPTION_STRINGS,  /* struct hk_conf_strings */
    HK_OPTION_SECRETS,  /* struct hk_conf_secrets */
    HK_OPTION_FILES,    /* struct hk_conf_strings of paths as HK_OPTION_FILE */
    HK_OPTION_ENUMS,    /* struct hk_conf_enums */
    HK_OPTION_LABELS,   /* struct hk_labels: label names and values */
    HK_OPTION_MAP,      /* struct hk_labels: any names and values */
    HK_OPTION_PARAMS,   /* struct hk_conf_params: name and list of values */
    HK_OPTION_INLINE,   /* the nested struct; its keys stand in the same mapping */
    HK_OPTION_STRUCT,   /* the nested struct, always there */
    HK_OPTION_OPTIONAL, /* pointer to the nested struct, NULL when the key is missing */
    HK_OPTION_STRUCTS,  /* HK_CONF_LIST of nested structs */
    HK_OPTION_NAMED,    /* HK_CONF_LIST of nested structs that begin with `struct hk_str name` */
    HK_OPTION_ANY,      /* not stored, content not looked at (only with HK_OPTION_LATER) */
};

enum hk_option_status {
    HK_OPTION_ACTS,
    HK_OPTION_LATER, /* known, but hark does not act on it: a warning with `consequence` */
};

enum {
    HK_OPTION_REQUIRED = 1,
    HK_OPTION_RAW = 2,    /* no ${…} substitution: the value has a $ syntax of its own */
    HK_OPTION_GO_ENV = 4, /* $NAME and ${NAME} as Prometheus' external_labels; unset = empty */
    HK_OPTION_HIDE = 8,   /* values of the map are secrets */
};

#define HK_OPTION_NOT_STORED ((size_t)-1)

struct hk_option {
    const char *key; /* NULL for HK_OPTION_INLINE */
    enum hk_option_type type;
    enum hk_option_status status;
    unsigned flags;
    size_t offset;             /* of the field, or HK_OPTION_NOT_STORED */
    const char *fallback;      /* the default as one would write it; NULL = empty, zero or false */
    const char *fallback_text; /* shown in place of the default, e.g. "global.scrape_interval" */
    int64_t min, max;          /* checked when min < max, in the unit of the field */
    const char *unit;          /* of an INT, e.g. "samples" */
    const char *help;
    const char *consequence;             /* of HK_OPTION_LATER: what hark does in its place */
    const char *const *choices;          /* ENUM, ENUMS: NULL-terminated */
    const struct hk_option_table *table; /* INLINE … NAMED */
};

struct hk_option_table {
    const char *name; /* in the reference and the schema, e.g. "scrape_config" */
    const char *summary;
    const struct hk_option *options;
    size_t count;
    size_t bytes; /* of the struct; 0 when nothing is stored */
    /* Relations between keys; called after all values of all files are read, outer tables first;
     * reports with hk_conf_problem_at(). May be NULL. */
    void (*check)(struct hk_conf_reader *reader, const struct hk_conf_node *node, void *object);
};

/* Offset of a field whose type is checked at compile time. */
#define HK_OPTION_FIELD(structure, field, type)                                                    \
    (offsetof(structure, field) +                                                                  \
     0 * sizeof(char                                                                               \
                    [__builtin_types_compatible_p(__typeof__(((structure *)NULL)->field), type)    \
                         ? 1                                                                       \
                         : -1]))

/* The outermost table of a configuration file, of an Alertmanager file and of a rule file. */
extern const struct hk_option_table hk_table_config;
extern const struct hk_option_table hk_table_alertmanager;
extern const struct hk_option_table hk_table_rule_file;

/*
 * All tables that can be reached from `root`, each once, outer ones first; `root` comes first.
 * Returns the count, at most `max`.
 */
size_t hk_option_tables(
    const struct hk_option_table *root, const struct hk_option_table **out, size_t max);

enum { HK_OPTION_TABLES_MAX = 160 };

/* Name of the type for readers, e.g. "duration", "list of strings". */
const char *hk_option_type_name(enum hk_option_type type);

#endif
