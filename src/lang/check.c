/*
 * The type rules, checked in Prometheus' order (a call's argument count before its arguments, else
 * children first) so that the first error is the same. No recursion: the walk follows parents.
 */
#include "lang/parse_internal.h"
#include "lang/text.h"

#include <ctype.h>

/* The raw names that some messages use. */
static const char *plain_type(enum hk_promql_type type) {
    if (type == HK_PROMQL_VECTOR) return "vector";
    return type == HK_PROMQL_MATRIX ? "matrix" : hk_promql_type_text(type);
}

static hk_err check_selector(struct parser *parser, const struct hk_promql_node *node) {
    const struct hk_matcher *matchers = node->selector.matchers;
    uint32_t count = node->selector.matcher_count;
    if (node->selector.name.len > 0) {
        for (uint32_t i = 0; i + 1 < count; i++) {
            if (!hk_str_is(matchers[i].name, "__name__")) continue;
            struct hk_buf buf;
            hk_buf_init(&buf, 700);
            hk_quote(node->selector.name, &buf);
            hk_buf_text(&buf, " or ");
            hk_quote(matchers[i].value, &buf);
            hk_err err = hk_pq_fail(
                parser, node->from, "metric name must not be set twice: %.*s",
                HK_STR_ARG(hk_buf_get(&buf)));
            hk_buf_deinit(&buf);
            return err;
        }
        return HK_OK;
    }
    const struct hk_promql_node *parent = node->parent;
    bool of_info = parent != NULL && parent->kind == HK_PROMQL_CALL &&
                   parent->call.function->id == HK_PROMQL_FN_info && parent->child_count > 1 &&
                   parent->children[1] == node;
    if (of_info || !hk_promql_matchers_empty(matchers, count)) return HK_OK;
    return hk_pq_fail(
        parser, node->from, "vector selector must contain at least one non-empty matcher");
}

static hk_err check_info(struct parser *parser, const struct hk_promql_node *node) {
    const struct hk_promql_node *second = node->children[1];
    if (second->type != HK_PROMQL_VECTOR) {
        return hk_pq_fail(
            parser, node->from, "expected type instant vector in call to function \"info\", got %s",
            hk_promql_type_text(second->type));
    }
    if (second->kind != HK_PROMQL_SELECTOR || second->selector.name.len > 0) {
        return hk_pq_fail(
            parser, second->from, "expected label selectors only, got vector selector instead");
    }
    return HK_OK;
}

static hk_err check_call(struct parser *parser, const struct hk_promql_node *node) {
    const struct hk_promql_function *function = node->call.function;
    uint32_t wanted = function->argument_count;
    uint32_t got = node->child_count;
    if (function->variadic == 0 && got != wanted) {
        return hk_pq_fail(
            parser, node->from, "expected %u argument(s) in call to \"%s\", got %u", wanted,
            function->name, got);
    }
    if (function->variadic != 0 && got + 1 < wanted) {
        return hk_pq_fail(
            parser, node->from, "expected at least %u argument(s) in call to \"%s\", got %u",
            wanted - 1, function->name, got);
    }
    uint32_t most = (uint32_t)(function->argument_count - 1 + function->variadic);
    if (function->variadic > 0 && got > most) {
        return hk_pq_fail(
            parser, node->from, "expected at most %u argument(s) in call to \"%s\", got %u", most,
            function->name, got);
    }
    return function->id == HK_PROMQL_FN_info && got > 1 ? check_info(parser, node) : HK_OK;
}

static hk_err check_enter(struct parser *parser, const struct hk_promql_node *node) {
    if (node->kind == HK_PROMQL_SELECTOR) return check_selector(parser, node);
    return node->kind == HK_PROMQL_CALL ? check_call(parser, node) : HK_OK;
}

/* After child number `index` of `node` was checked. */
static hk_err
check_child(struct parser *parser, const struct hk_promql_node *node, uint32_t index) {
    const struct hk_promql_node *child = node->children[index];
    enum hk_promql_type wanted = HK_PROMQL_VECTOR;
    if (node->kind == HK_PROMQL_CALL) {
        const struct hk_promql_function *function = node->call.function;
        uint32_t last = (uint32_t)function->argument_count - 1;
        wanted = function->arguments[index < last ? index : last];
        if (child->type == wanted) return HK_OK;
        return hk_pq_fail(
            parser, child->from, "expected type %s in call to function \"%s\", got %s",
            hk_promql_type_text(wanted), function->name, hk_promql_type_text(child->type));
    }
    if (node->kind != HK_PROMQL_AGGREGATE) return HK_OK;
    if (index > 0) {
        wanted = node->aggregate.op == HK_PROMQL_COUNT_VALUES ? HK_PROMQL_STRING : HK_PROMQL_SCALAR;
    }
    if (child->type == wanted) return HK_OK;
    return hk_pq_fail(
        parser, child->from, "expected type %s in aggregation %s, got %s",
        hk_promql_type_text(wanted), index == 0 ? "expression" : "parameter",
        hk_promql_type_text(child->type));
}

/* Where the operator of a binary expression stands: behind the left side and white space. */
static uint32_t operator_at(const struct parser *parser, const struct hk_promql_node *node) {
    struct hk_str text = parser->promql->text;
    uint32_t at = node->children[0]->to;
    while (at < text.len && isspace((unsigned char)text.ptr[at]))
        at++;
    return at;
}

static hk_err check_on_labels(struct parser *parser, const struct hk_promql_node *node) {
    for (uint32_t i = 0; node->binary.on && i < node->binary.label_count; i++) {
        for (uint32_t k = 0; k < node->binary.include_count; k++) {
            if (!hk_str_eq(node->binary.labels[i], node->binary.include[k])) continue;
            struct hk_buf buf;
            hk_buf_init(&buf, 700);
            hk_quote(node->binary.labels[i], &buf);
            hk_err err = hk_pq_fail(
                parser, operator_at(parser, node),
                "label %.*s must not occur in ON and GROUP clause at once",
                HK_STR_ARG(hk_buf_get(&buf)));
            hk_buf_deinit(&buf);
            return err;
        }
    }
    return HK_OK;
}

static bool is_operand(enum hk_promql_type type) {
    return type == HK_PROMQL_SCALAR || type == HK_PROMQL_VECTOR;
}

static hk_err check_binary_sides(struct parser *parser, const struct hk_promql_node *node) {
    static const char wrong[] =
        "binary expression must contain only scalar and instant vector types";
    for (uint32_t i = 0; i < 2; i++) {
        if (!is_operand(node->children[i]->type)) {
            return hk_pq_fail(parser, node->children[i]->from, "%s", wrong);
        }
    }
    return HK_OK;
}

static hk_err check_binary(struct parser *parser, struct hk_promql_node *node) {
    enum hk_promql_op op = node->binary.op;
    enum hk_promql_type left = node->children[0]->type;
    enum hk_promql_type right = node->children[1]->type;
    bool set = hk_promql_op_is_set(op);
    if (node->binary.return_bool && !hk_promql_op_is_comparison(op)) {
        return hk_pq_fail(
            parser, operator_at(parser, node),
            "bool modifier can only be used on comparison operators");
    }
    if (hk_promql_op_is_comparison(op) && !node->binary.return_bool && left == HK_PROMQL_SCALAR &&
        right == HK_PROMQL_SCALAR) {
        return hk_pq_fail(
            parser, operator_at(parser, node),
            "comparisons between scalars must use BOOL modifier");
    }
    HK_TRY(check_on_labels(parser, node));
    HK_TRY(check_binary_sides(parser, node));
    node->binary.matching = left == HK_PROMQL_VECTOR && right == HK_PROMQL_VECTOR;
    if (!node->binary.matching && node->binary.label_count > 0) {
        return hk_pq_fail(
            parser, node->from, "vector matching only allowed between instant vectors");
    }
    if (set && node->binary.matching && node->binary.card != HK_PROMQL_ONE_TO_ONE) {
        return hk_pq_fail(
            parser, node->from, "no grouping allowed for \"%s\" operation", hk_promql_op_text(op));
    }
    if (set && !node->binary.matching) {
        return hk_pq_fail(
            parser, node->from, "set operator \"%s\" not allowed in binary scalar expression",
            hk_promql_op_text(op));
    }
    if (set) node->binary.card = HK_PROMQL_MANY_TO_MANY;
    return HK_OK;
}

/* After all children of `node` were checked. */
static hk_err check_leave(struct parser *parser, struct hk_promql_node *node) {
    if (node->kind == HK_PROMQL_BINARY) return check_binary(parser, node);
    enum hk_promql_type child = node->child_count == 0 ? HK_PROMQL_NONE : node->children[0]->type;
    if ((node->kind == HK_PROMQL_NEGATE || node->kind == HK_PROMQL_PLUS) && !is_operand(child)) {
        return hk_pq_fail(
            parser, node->from,
            "unary expression only allowed on expressions of type scalar or instant vector, got "
            "\"%s\"",
            hk_promql_type_text(child));
    }
    if (node->kind == HK_PROMQL_SUBQUERY && child != HK_PROMQL_VECTOR) {
        return hk_pq_fail(
            parser, node->from, "subquery is only allowed on instant vector, got %s instead",
            plain_type(child));
    }
    return HK_OK;
}

hk_err hk_pq_check(struct parser *parser) {
    struct hk_promql *promql = parser->promql;
    uint32_t *done = hk_arena_alloc(parser->arena, promql->node_count, sizeof(uint32_t));
    if (done == NULL) return hk_fail(HK_E_NOMEM, "query: out of memory");
    struct hk_promql_node *node = promql->root;
    HK_TRY(check_enter(parser, node));
    while (node != NULL) {
        if (done[node->id] < node->child_count) {
            node = node->children[done[node->id]];
            HK_TRY(check_enter(parser, node));
            continue;
        }
        HK_TRY(check_leave(parser, node));
        node = node->parent;
        if (node == NULL) break;
        HK_TRY(check_child(parser, node, done[node->id]));
        done[node->id]++;
    }
    return HK_OK;
}
