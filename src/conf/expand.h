/*
 * Substitution in values: ${NAME}, ${NAME:-default}, ${file:path}; $${ stands for ${. Everything
 * else with a $ stays as it is ($1, ${1}, pa$$word). Results are not looked at again. Private to
 * src/conf.
 */
#ifndef HK_CONF_EXPAND_H
#define HK_CONF_EXPAND_H

#include "conf/tree.h"

struct hk_conf_expander {
    const struct hk_conf_source *source;
    struct hk_arena *arena;
    struct hk_conf_report *report;
};

/*
 * Gives the value of `node` after substitution, in the arena (or the node's own text). Problems
 * are reported at the node: HK_E_INVALID. `out_changed`: was anything substituted?
 */
hk_err hk_conf_expand(
    const struct hk_conf_expander *expander, const struct hk_conf_node *node, struct hk_str *out,
    bool *out_changed) HK_MUST_CHECK;

/* As Prometheus does for external_labels: $NAME and ${NAME}, $$ stands for $; what is not set is
 * empty, with a warning. */
hk_err hk_conf_expand_go(
    const struct hk_conf_expander *expander, const struct hk_conf_node *node, struct hk_str *out,
    bool *out_changed) HK_MUST_CHECK;

/*
 * Reads a whole file of at most `bytes_max` bytes into the arena. Negative errno values are
 * explained in `why` (bounded text). HK_OK, HK_E_NOT_FOUND, HK_E_IO, HK_E_LIMIT, HK_E_NOMEM.
 */
hk_err hk_conf_read_file(
    const char *path, size_t bytes_max, struct hk_arena *arena, struct hk_str *out,
    const char **why) HK_MUST_CHECK;

/* A file under reading: copies the path, borrows the text. HK_E_NOMEM. */
hk_err hk_conf_open_file(
    struct hk_arena *arena, struct hk_str path, struct hk_str text,
    struct hk_conf_file **out) HK_MUST_CHECK;

/* `path` made relative to the folder of `file`, unless absolute or empty; in the arena. */
struct hk_str
hk_conf_join(struct hk_arena *arena, const struct hk_conf_file *file, struct hk_str path);

#endif
