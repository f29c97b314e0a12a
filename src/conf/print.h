/* Canonical text of what was read; see print.c. Private to src/conf. */
#ifndef HK_CONF_PRINT_H
#define HK_CONF_PRINT_H

#include "conf/read.h"

/*
 * Appends `node` (NULL: defaults only), which was read without errors by `table`, as YAML: all
 * defaults, no secrets. HK_OK, HK_E_NOMEM, HK_E_LIMIT.
 */
hk_err hk_conf_print(
    const struct hk_option_table *table, const struct hk_conf_node *node,
    struct hk_buf *out) HK_MUST_CHECK;

#endif
