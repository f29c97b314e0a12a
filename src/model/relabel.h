/*
 * Relabelling as Prometheus defines it (relabel_config): a list of rules that change a label set
 * or drop it. Rules are compiled once from typed fields and are immutable afterwards, so one list
 * may be applied by many threads at once.
 */
#ifndef HK_MODEL_RELABEL_H
#define HK_MODEL_RELABEL_H

#include "base/arena.h"
#include "model/labels.h"

/* Order and spelling are those of hk_relabel_action_name. */
enum hk_relabel_action {
    HK_RELABEL_REPLACE,
    HK_RELABEL_KEEP,
    HK_RELABEL_DROP,
    HK_RELABEL_KEEP_EQUAL,
    HK_RELABEL_DROP_EQUAL,
    HK_RELABEL_HASHMOD,
    HK_RELABEL_LABEL_MAP,
    HK_RELABEL_LABEL_DROP,
    HK_RELABEL_LABEL_KEEP,
    HK_RELABEL_LOWERCASE,
    HK_RELABEL_UPPERCASE,
    HK_RELABEL_ACTIONS, /* their number */
};

/* "replace", "keepequal", …; NULL for a number outside of the enum. */
const char *hk_relabel_action_name(enum hk_relabel_action action);

/* The action of that name, in any case. False if there is none. */
bool hk_relabel_action_find(struct hk_str name, enum hk_relabel_action *out);

/* One rule as it stands in a configuration; borrowed. A string with ptr NULL has the default. */
struct hk_relabel_config {
    enum hk_relabel_action action;
    const struct hk_str *source_labels;
    uint32_t source_label_count;
    struct hk_str separator;    /* default ";" */
    struct hk_str regex;        /* default "(.*)"; always matches the whole text */
    struct hk_str target_label; /* may contain $1, ${name} for "replace" */
    struct hk_str replacement;  /* default "$1" */
    uint64_t modulus;           /* for "hashmod" */
};

struct hk_relabel;

enum { HK_RELABEL_RULES_MAX = 10000, HK_RELABEL_SOURCE_LABELS_MAX = 256 };

/*
 * Checks and compiles `count` rules; copies everything. HK_E_INVALID with the rule's number and
 * what is wrong, HK_E_LIMIT, HK_E_NOMEM. No rules give a list that changes nothing.
 */
hk_err hk_relabel_create(
    const struct hk_relabel_config *configs, uint32_t count, struct hk_relabel **out) HK_MUST_CHECK;

/* NULL is fine. */
void hk_relabel_destroy(struct hk_relabel *relabel);

/* Number of rules; 0 for NULL. */
uint32_t hk_relabel_count(const struct hk_relabel *relabel);

/*
 * Applies the rules in order to `set` (not finished, names unique). New strings live in `arena`.
 * HK_OK: kept; HK_END: a rule dropped the set (which is then half-changed); HK_E_NOMEM, HK_E_LIMIT
 * when there are too many labels or a text passes 1 MiB. `relabel` may be NULL: kept unchanged.
 */
hk_err hk_relabel_apply(
    const struct hk_relabel *relabel, struct hk_label_set *set,
    struct hk_arena *arena) HK_MUST_CHECK;

/*
 * Appends `pattern` with $1, ${1}, $name, ${name} and $$ replaced from `groups` (0 = whole match),
 * by the rules of Go's regexp.Expand. `regex` resolves names and may be NULL.
 */
struct hk_regex;
void hk_regex_expand(
    const struct hk_regex *regex, struct hk_str pattern, const struct hk_str *groups,
    size_t group_count, struct hk_buf *out);

#endif
