/*
 * Reads nodes into structs as the option tables say. A list of work in place of recursion: outer
 * structs stand before the ones in them. Private to src/conf.
 */
#ifndef HK_CONF_READ_H
#define HK_CONF_READ_H

#include "conf/expand.h"
#include "conf/option.h"

/* One mapping that is read into one object. */
struct hk_conf_work {
    const struct hk_option_table *table;
    const struct hk_conf_node *node; /* NULL: only defaults */
    void *object;                    /* NULL: looked at, not stored */
    bool same_mapping;               /* of an INLINE table: keys were checked by the outer one */
    bool quiet;                      /* inside of something hark does not act on */
};

struct hk_conf_reader {
    struct hk_arena *arena;
    struct hk_conf_report *report;
    struct hk_conf_expander expander;
    const struct hk_config *config;           /* for checks; NULL while reading rule files */
    const struct hk_rule_checks *rule_checks; /* for checks of rule files */
    struct hk_conf_work *work;
    size_t work_count, work_capacity, work_done, work_checked;
};

/* Sets up a reader; ended by hk_conf_reader_deinit. */
void hk_conf_reader_init(
    struct hk_conf_reader *reader, struct hk_arena *arena, const struct hk_conf_source *source,
    struct hk_conf_report *report);

/* Frees the list of work. */
void hk_conf_reader_deinit(struct hk_conf_reader *reader);

/*
 * Reads `node` (NULL or a null value: defaults only) and everything in it into `object`. Problems
 * go to the report; negative only when out of memory.
 */
hk_err hk_conf_read(
    struct hk_conf_reader *reader, const struct hk_option_table *table,
    const struct hk_conf_node *node, void *object) HK_MUST_CHECK;

/* Calls the checks of everything read since the last call, outer structs first. */
void hk_conf_check(struct hk_conf_reader *reader);

/* The row of `key` in a table or its inline tables, NULL when there is none. */
const struct hk_option *hk_option_find(const struct hk_option_table *table, struct hk_str key);

/* Reports at the value of `key` in the mapping, at the mapping when it has none. */
void hk_conf_problem_at(
    struct hk_conf_reader *reader, bool warning, const struct hk_conf_node *node, const char *key,
    const char *mend, const char *format, ...) HK_PRINTF(6, 7);

enum { HK_CONF_WHY_BYTES = 384 };

/* Why a value is wrong, and how to mend it. */
struct hk_conf_why {
    char text[HK_CONF_WHY_BYTES];
    char mend[HK_CONF_WHY_BYTES];
};

/*
 * Converts one scalar (BOOL … ENUM) into `field` of the option's C type; strings are borrowed.
 * HK_E_INVALID with the reason in `why`. Pure.
 */
hk_err hk_conf_convert(
    const struct hk_option *option, struct hk_str text, void *field,
    struct hk_conf_why *why) HK_MUST_CHECK;

#endif
