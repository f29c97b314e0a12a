/* label_replace() and label_join(): labels change, points stay. */
#include "query/eval_internal.h"

#include "lang/text.h"

static struct hk_str text_of(const struct hk_promql_node *node, uint32_t index) {
    return hk_promql_unwrap(node->children[index])->text;
}

static bool is_label_name(struct hk_str name) {
    return name.len > 0 && hk_utf8_valid(name);
}

static bool is_word(char c) {
    return c == '_' || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           (c & 0x80) != 0;
}

/* The name behind a "$": "1", "name" or "{name}". False: the "$" stands for itself. */
static bool reference(struct hk_str text, size_t *at, struct hk_str *out_name) {
    size_t from = *at;
    bool brace = from < text.len && text.ptr[from] == '{';
    if (brace) from++;
    size_t to = from;
    while (to < text.len && is_word(text.ptr[to]))
        to++;
    if (to == from || (brace && (to == text.len || text.ptr[to] != '}'))) return false;
    *out_name = hk_str_part(text, from, to);
    *at = to + (brace ? 1 : 0);
    return true;
}

/* Number of the group that a reference names, -1 if there is none. */
static int group_of(const struct hk_regex *regex, struct hk_str name) {
    int number = 0;
    for (size_t i = 0; i < name.len; i++) {
        if (name.ptr[i] < '0' || name.ptr[i] > '9' || number >= 100000000) {
            return hk_regex_group_named(regex, name);
        }
        number = number * 10 + (name.ptr[i] - '0');
    }
    return name.ptr[0] == '0' && name.len > 1 ? hk_regex_group_named(regex, name) : number;
}

/* Puts the groups into the template, as Go's Regexp.Expand. */
static hk_err expand(
    const struct hk_regex *regex, struct hk_str text, const struct hk_str *groups,
    struct hk_buf *out) {
    for (size_t at = 0; at < text.len;) {
        char c = text.ptr[at++];
        if (c != '$') {
            hk_buf_char(out, c);
            continue;
        }
        if (at < text.len && text.ptr[at] == '$') {
            hk_buf_char(out, '$');
            at++;
            continue;
        }
        struct hk_str name;
        if (!reference(text, &at, &name)) {
            hk_buf_char(out, '$');
            continue;
        }
        int group = group_of(regex, name);
        if (group < 0) continue;
        if (group >= HK_REGEX_GROUPS_MAX) {
            return hk_fail(
                HK_E_EXECUTION, "label_replace(): only the first %d groups may be used",
                HK_REGEX_GROUPS_MAX - 1);
        }
        if (groups[group].ptr != NULL) hk_buf_str(out, groups[group]);
    }
    return HK_OK;
}

struct relabel {
    struct eval *eval;
    const struct hk_promql_node *node;
    struct hk_str target, template, source;
    struct hk_regex *regex;
    struct hk_buf buf;
};

static hk_err set_label(struct relabel *relabel, struct hk_labels from, struct hk_labels *out) {
    struct eval *eval = relabel->eval;
    struct hk_str value = hk_arena_str(eval->arena, hk_buf_get(&relabel->buf));
    if (relabel->buf.err < 0 || value.ptr == NULL) return hk_ev_nomem(eval);
    hk_label_set_clear(&eval->set);
    for (uint32_t i = 0; i < from.count; i++)
        hk_label_set_add(&eval->set, from.items[i].name, from.items[i].value);
    hk_label_set_put(&eval->set, relabel->target, value);
    return hk_ev_labels(eval, &eval->set, out);
}

static hk_err replace_one(struct relabel *relabel, struct hk_labels from, struct hk_labels *out) {
    struct hk_str groups[HK_REGEX_GROUPS_MAX] = { { NULL, 0 } };
    *out = from;
    struct hk_str value = hk_labels_get(from, relabel->source);
    if (!hk_regex_match_groups(relabel->regex, value, groups, HK_REGEX_GROUPS_MAX)) return HK_OK;
    hk_buf_clear(&relabel->buf);
    HK_TRY(expand(relabel->regex, relabel->template, groups, &relabel->buf));
    return set_label(relabel, from, out);
}

static hk_err join_one(struct relabel *relabel, struct hk_labels from, struct hk_labels *out) {
    hk_buf_clear(&relabel->buf);
    for (uint32_t i = 3; i < relabel->node->child_count; i++) {
        if (i > 3) hk_buf_str(&relabel->buf, relabel->template);
        hk_buf_str(&relabel->buf, hk_labels_get(from, text_of(relabel->node, i)));
    }
    return set_label(relabel, from, out);
}

static hk_err relabel_all(struct relabel *relabel, struct table *out) {
    struct eval *eval = relabel->eval;
    const struct table *in = &eval->tables[relabel->node->children[0]->id];
    for (uint32_t i = 0; i < in->count; i++) {
        struct column column = in->columns[i];
        HK_TRY(hk_ev_poll(eval));
        HK_TRY(
            relabel->regex != NULL ? replace_one(relabel, column.labels, &column.labels)
                                   : join_one(relabel, column.labels, &column.labels));
        HK_TRY(hk_ev_add(eval, out, &column));
    }
    return hk_ev_merge(eval, out, true);
}

static hk_err prepare_replace(struct relabel *relabel) {
    struct hk_str pattern = text_of(relabel->node, 4);
    relabel->template = text_of(relabel->node, 2);
    relabel->source = text_of(relabel->node, 3);
    hk_err err = hk_regex_create(pattern, &relabel->regex);
    if (err == HK_E_NOMEM) return hk_ev_nomem(relabel->eval);
    if (err < 0) {
        return hk_fail(
            HK_E_EXECUTION, "invalid regular expression in label_replace(): %.*s",
            HK_STR_ARG(pattern));
    }
    if (is_label_name(relabel->target)) return HK_OK;
    return hk_fail(
        HK_E_EXECUTION, "invalid destination label name in label_replace(): %.*s",
        HK_STR_ARG(relabel->target));
}

static hk_err prepare_join(struct relabel *relabel) {
    relabel->template = text_of(relabel->node, 2);
    for (uint32_t i = 3; i < relabel->node->child_count; i++) {
        struct hk_str source = text_of(relabel->node, i);
        if (is_label_name(source)) continue;
        return hk_fail(
            HK_E_EXECUTION, "invalid source label name in label_join(): %.*s", HK_STR_ARG(source));
    }
    if (is_label_name(relabel->target)) return HK_OK;
    return hk_fail(
        HK_E_EXECUTION, "invalid destination label name in label_join(): %.*s",
        HK_STR_ARG(relabel->target));
}

hk_err hk_ev_label_call(struct eval *eval, const struct hk_promql_node *node, struct table *out) {
    struct relabel relabel = { .eval = eval, .node = node, .target = text_of(node, 1) };
    bool replace = node->call.function->id == HK_PROMQL_FN_label_replace;
    hk_buf_init(&relabel.buf, HK_LABEL_VALUE_BYTES_MAX * 4);
    hk_err err = replace ? prepare_replace(&relabel) : prepare_join(&relabel);
    if (err == HK_OK) err = relabel_all(&relabel, out);
    hk_regex_destroy(relabel.regex);
    hk_buf_deinit(&relabel.buf);
    return err;
}
