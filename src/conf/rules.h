/*
 * Prometheus rule files: groups of alerting and recording rules. Expressions and templates stay
 * text here; the caller gives functions that check them. Immutable after loading; everything lives
 * in the arena of the struct. Thread-safe for readers.
 */
#ifndef HK_CONF_RULES_H
#define HK_CONF_RULES_H

#include "conf/config.h"

struct hk_conf_rule {
    struct hk_str record, alert; /* exactly one is set */
    struct hk_str expr;
    uint32_t line, column;           /* of the rule, from 1 */
    uint32_t expr_line, expr_column; /* of the first character of the expression */
    int64_t for_ms, keep_firing_for_ms;
    struct hk_labels labels, annotations; /* values are templates */
};

struct hk_conf_rule_group {
    struct hk_str name;
    struct hk_str file;      /* path as found by the pattern */
    int64_t interval_ms;     /* global.evaluation_interval when not given */
    int64_t query_offset_ms; /* global.rule_query_offset when not given */
    int64_t limit;           /* alerts or series a rule may give; 0 = no limit */
    struct hk_labels labels; /* added to each rule's */
    HK_CONF_LIST(struct hk_conf_rule) rules;
};

struct hk_rule_set {
    struct hk_arena arena;
    struct hk_conf_rule_group *groups;
    uint32_t group_count;
    uint32_t rule_count, alert_count;
    struct hk_conf_strings files;
};

/* Where a text is wrong. */
struct hk_text_error {
    size_t offset; /* bytes from its beginning */
    char text[384];
    char mend[256]; /* "" = none */
};

/* How to check texts; a NULL function accepts everything. Each returns HK_OK, or a negative code
 * with `out` filled. */
struct hk_rule_checks {
    void *self;
    hk_err (*check_expr)(void *self, struct hk_str expr, struct hk_text_error *out);
    hk_err (*check_template)(void *self, struct hk_str text, struct hk_text_error *out);
};

/*
 * Loads all files that config->rule_files name, in order of pattern and name. A pattern without
 * any match is a warning. HK_OK, HK_E_INVALID with all problems in `report`, HK_E_NOMEM.
 */
hk_err hk_rules_load(
    const struct hk_config *config, const struct hk_conf_source *source,
    const struct hk_rule_checks *checks, struct hk_conf_report *report,
    struct hk_rule_set **out) HK_MUST_CHECK;

/* Loads one file with the defaults of an empty configuration (`hark check rules FILE`). */
hk_err hk_rules_load_file(
    const char *path, const struct hk_rule_checks *checks, struct hk_conf_report *report,
    struct hk_rule_set **out) HK_MUST_CHECK;

/* Reads one rule file from `text`; `path` names it in problems. */
hk_err hk_rules_parse(
    struct hk_str path, struct hk_str text, const struct hk_rule_checks *checks,
    struct hk_conf_report *report, struct hk_rule_set **out) HK_MUST_CHECK;

/* Frees it with everything in it; NULL is fine. */
void hk_rule_set_destroy(struct hk_rule_set *rules);

#endif
