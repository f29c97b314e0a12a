/* Rule files' texts: from the languages' messages to places in the file. */
#include "engine/rule_checks.h"

#include "lang/promql.h"
#include "lang/template.h"

#include <stdio.h>

enum { CHECK_BYTES_MAX = 64 << 20 };

/* Reads "LINE:COLUMN: " at the start of `text`; gives the offset in `source` and cuts it off. */
static bool cut_place(struct hk_str *text, struct hk_str source, size_t *out_offset) {
    size_t first = hk_str_find(*text, ':', 0);
    size_t second = hk_str_find(*text, ':', first + 1);
    uint64_t line = 0;
    uint64_t column = 0;
    if (second == text->len) return false;
    if (hk_parse_u64(hk_str_part(*text, 0, first), &line) < 0) return false;
    if (hk_parse_u64(hk_str_part(*text, first + 1, second), &column) < 0) return false;
    size_t at = 0;
    for (uint64_t i = 1; i < line && at < source.len; i++)
        at = hk_str_find(source, '\n', at) + 1;
    at += column > 0 ? (size_t)column - 1 : 0;
    *out_offset = at < source.len ? at : source.len;
    *text = hk_str_trim(hk_str_part(*text, second + 1, text->len));
    return true;
}

static hk_err
explain(hk_err err, struct hk_str source, const char *prefix, struct hk_text_error *out) {
    struct hk_str text = hk_str_from(hk_fail_text());
    struct hk_str before = hk_str_from(prefix);
    if (hk_str_starts(text, before)) text = hk_str_part(text, before.len, text.len);
    (void)cut_place(&text, source, &out->offset);
    (void)snprintf(out->text, sizeof(out->text), "%.*s", HK_STR_ARG(text));
    hk_fail_clear();
    return err;
}

static hk_err check_expr(void *self, struct hk_str expr, struct hk_text_error *out) {
    (void)self;
    struct hk_arena arena;
    struct hk_promql *promql = NULL;
    hk_arena_init(&arena, CHECK_BYTES_MAX);
    hk_err err = hk_promql_parse(expr, &arena, &promql);
    if (err >= 0) hk_promql_release(promql);
    hk_arena_deinit(&arena);
    return err < 0 ? explain(err, expr, "", out) : HK_OK;
}

static hk_err check_template(void *self, struct hk_str text, struct hk_text_error *out) {
    (void)self;
    struct hk_template_source source = { HK_STR("text"), text };
    struct hk_template *tmpl = NULL;
    hk_err err = hk_template_create(&source, 1, &tmpl);
    hk_template_destroy(tmpl);
    return err < 0 ? explain(err, text, "template: text:", out) : HK_OK;
}

const struct hk_rule_checks *hk_engine_rule_checks(void) {
    static const struct hk_rule_checks checks = { NULL, check_expr, check_template };
    return &checks;
}
