/*
 * What is wrong with a configuration: every error and warning with its place and how to mend it.
 * All problems of a load are collected, sorted by file and place, and printed together.
 * Not thread-safe: a report belongs to the thread that loads.
 */
#ifndef HK_CONF_PROBLEM_H
#define HK_CONF_PROBLEM_H

#include "base/arena.h"
#include "base/buf.h"

enum { HK_CONF_PROBLEMS_MAX = 200 }; /* kept; more are only counted */

struct hk_conf_problem {
    struct hk_str file;
    uint32_t line, column; /* from 1; 0 = the whole file */
    bool warning;
    struct hk_str text;
    struct hk_str mend; /* what to do; empty for most warnings */
};

struct hk_conf_report {
    struct hk_arena arena;
    struct hk_conf_problem *items;
    uint32_t count;
    uint32_t error_count, warning_count; /* all, kept or not */
    bool out_of_memory;
};

/* Makes an empty report. Ended by hk_conf_report_deinit. */
void hk_conf_report_init(struct hk_conf_report *report);

/* Frees everything. */
void hk_conf_report_deinit(struct hk_conf_report *report);

/* Adds a problem; all strings are copied. */
void hk_conf_report_add(struct hk_conf_report *report, const struct hk_conf_problem *problem);

/* Sorts by file (in order of first appearance), line and column. */
void hk_conf_report_sort(struct hk_conf_report *report);

/* Appends one line per problem: `file:line:column: error: text; mend: …`. */
void hk_conf_report_print(const struct hk_conf_report *report, struct hk_buf *out);

/*
 * The nearest of `names` to `name` by edit distance (insert, delete, replace, swap of neighbours),
 * an empty string when none is near. Pure; used for keys, subcommands and flags.
 */
struct hk_str hk_nearest_name(struct hk_str name, const struct hk_str *names, size_t count);

#endif
