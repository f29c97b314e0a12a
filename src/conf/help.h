/* Reference texts from the option tables: for the terminal, as Markdown, as JSON Schema. Pure. */
#ifndef HK_CONF_HELP_H
#define HK_CONF_HELP_H

#include "base/buf.h"

/*
 * Appends what is known about `topic`: "" lists the outermost keys; a table ("scrape_config"), a
 * key ("scrape_interval") or a path ("server.tls.cert_file") is explained. HK_E_NOT_FOUND: `out` is
 * unchanged and `out_near` is the nearest topic or empty.
 */
hk_err hk_conf_help(struct hk_str topic, struct hk_buf *out, struct hk_str *out_near) HK_MUST_CHECK;

/* Appends the whole reference as Markdown: docs/reference/config.md. */
void hk_conf_reference(struct hk_buf *out);

/* Appends the JSON Schema (2020-12) of the configuration; of rule files with `rules`. */
void hk_conf_schema(struct hk_buf *out, bool rules);

#endif
