/*
 * Parser of expressions: operator precedence with an explicit stack, no recursion.
 *
 * Invariants: (1) every operand that was read lies in `values` or is the current one; (2) frames
 * between a parenthesis and the next hold operators whose right side is missing, with rising
 * precedence; (3) nodes are numbered in the order they are finished, so children come first.
 */
#include "lang/parse_internal.h"
#include "lang/text.h"

#include <stdarg.h>
#include <stdio.h>

enum { PRECEDENCE_UNARY = 5, PRECEDENCE_POW = 6, FRAMES_MAX = HK_PROMQL_DEPTH_MAX };

hk_err hk_pq_fail(const struct parser *parser, uint32_t at, const char *format, ...) {
    char text[900];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    struct hk_buf position;
    hk_buf_init(&position, 64);
    hk_promql_position(parser->promql->text, at, &position);
    hk_err err =
        hk_fail(HK_E_MALFORMED, "%.*s: parse error: %s", HK_STR_ARG(hk_buf_get(&position)), text);
    hk_buf_deinit(&position);
    return err;
}

hk_err hk_pq_unexpected(struct parser *parser, const char *context, const char *expected) {
    struct hk_buf text;
    hk_buf_init(&text, 700);
    hk_lex_describe(parser->promql->text, parser->token, &text);
    if (context == NULL && parser->aggregate_depth > 0) context = "aggregation";
    hk_err err = hk_pq_fail(
        parser, parser->token.from, "unexpected %.*s%s%s%s%s", HK_STR_ARG(hk_buf_get(&text)),
        context == NULL ? "" : " in ", context == NULL ? "" : context,
        expected == NULL ? "" : ", expected ", expected == NULL ? "" : expected);
    hk_buf_deinit(&text);
    return err;
}

hk_err hk_pq_peek(struct parser *parser, struct token *out) {
    if (!parser->have_token) {
        parser->token = hk_lex_next(&parser->lexer);
        parser->have_token = true;
    }
    *out = parser->token;
    if (parser->token.kind == TOKEN_ERROR) {
        return hk_pq_fail(parser, parser->lexer.error_at, "%s", parser->lexer.error);
    }
    return HK_OK;
}

hk_err
hk_pq_grow(struct parser *parser, void *array, uint32_t *capacity, uint32_t count, size_t size) {
    if (count < *capacity) return HK_OK;
    uint32_t wanted = *capacity == 0 ? 16 : *capacity * 2;
    void *bigger = hk_arena_alloc_raw(parser->arena, wanted, size);
    if (bigger == NULL) return hk_fail(HK_E_NOMEM, "query: out of memory");
    void **place = array;
    if (count > 0) memcpy(bigger, *place, count * size);
    *place = bigger;
    *capacity = wanted;
    return HK_OK;
}

hk_err
hk_pq_list_check(const struct parser *parser, uint32_t at, uint32_t count, const char *what) {
    if (count < HK_PROMQL_LIST_MAX) return HK_OK;
    (void)hk_pq_fail(parser, at, "more than %d %s", HK_PROMQL_LIST_MAX, what);
    return HK_E_LIMIT;
}

struct hk_promql_node *hk_pq_node(
    struct parser *parser, enum hk_promql_kind kind, enum hk_promql_type type, uint32_t from,
    uint32_t to) {
    struct hk_promql *promql = parser->promql;
    struct hk_promql_node *node = hk_arena_alloc(parser->arena, 1, sizeof(*node));
    if (node == NULL || hk_pq_grow(
                            parser, &promql->nodes, &parser->node_capacity, promql->node_count,
                            sizeof(struct hk_promql_node *)) < 0) {
        (void)hk_fail(HK_E_NOMEM, "query: out of memory");
        return NULL;
    }
    node->kind = kind;
    node->type = type;
    node->from = from;
    node->to = to;
    node->id = promql->node_count;
    promql->nodes[promql->node_count++] = node;
    return node;
}

hk_err hk_pq_children(
    struct parser *parser, struct hk_promql_node *node, struct hk_promql_node *const *children,
    uint32_t count) {
    node->children = hk_arena_alloc_raw(parser->arena, count == 0 ? 1 : count, sizeof(children[0]));
    if (node->children == NULL) return hk_fail(HK_E_NOMEM, "query: out of memory");
    node->child_count = count;
    for (uint32_t i = 0; i < count; i++) {
        node->children[i] = children[i];
        children[i]->parent = node;
    }
    return HK_OK;
}

static hk_err push_value(struct parser *parser, struct hk_promql_node *node) {
    HK_TRY(hk_pq_grow(
        parser, &parser->values, &parser->value_capacity, parser->value_count, sizeof(node)));
    parser->values[parser->value_count++] = node;
    return HK_OK;
}

static hk_err push_frame(struct parser *parser, const struct frame *frame) {
    if (parser->frame_count >= FRAMES_MAX) {
        (void)hk_pq_fail(
            parser, frame->token.from, "expression is nested deeper than %d levels", FRAMES_MAX);
        return HK_E_LIMIT;
    }
    HK_TRY(hk_pq_grow(
        parser, &parser->frames, &parser->frame_capacity, parser->frame_count, sizeof(*frame)));
    parser->frames[parser->frame_count++] = *frame;
    return HK_OK;
}

static int precedence(enum token_kind kind) {
    switch ((int)kind) {
    case TOKEN_LOR:
        return 1;
    case TOKEN_LAND:
    case TOKEN_LUNLESS:
        return 2;
    case TOKEN_ADD:
    case TOKEN_SUB:
        return 4;
    case TOKEN_MUL:
    case TOKEN_DIV:
    case TOKEN_MOD:
    case TOKEN_ATAN2:
        return PRECEDENCE_UNARY;
    case TOKEN_POW:
        return PRECEDENCE_POW;
    default:
        return 3; /* comparisons */
    }
}

static bool starts_expression(enum token_kind kind) {
    return kind == TOKEN_NUMBER || kind == TOKEN_DURATION || kind == TOKEN_STRING ||
           kind == TOKEN_LEFT_PAREN || kind == TOKEN_LEFT_BRACE || kind == TOKEN_ADD ||
           kind == TOKEN_SUB || hk_pq_is_metric(kind);
}

static hk_err
finish_unary(struct parser *parser, const struct frame *frame, struct hk_promql_node **node) {
    bool negative = frame->token.kind == TOKEN_SUB;
    struct hk_promql_node *operand = *node;
    if (operand->kind == HK_PROMQL_NUMBER) {
        if (negative) operand->number.value = -operand->number.value;
        operand->from = frame->token.from;
        return HK_OK;
    }
    *node = hk_pq_node(
        parser, negative ? HK_PROMQL_NEGATE : HK_PROMQL_PLUS, operand->type, frame->token.from,
        operand->to);
    return *node == NULL ? HK_E_NOMEM : hk_pq_children(parser, *node, &operand, 1);
}

static hk_err
finish_binary(struct parser *parser, const struct frame *frame, struct hk_promql_node **node) {
    struct hk_promql_node *sides[2] = { parser->values[--parser->value_count], *node };
    bool scalar = sides[0]->type == HK_PROMQL_SCALAR && sides[1]->type == HK_PROMQL_SCALAR;
    *node = hk_pq_node(
        parser, HK_PROMQL_BINARY, scalar ? HK_PROMQL_SCALAR : HK_PROMQL_VECTOR, sides[0]->from,
        sides[1]->to);
    if (*node == NULL) return HK_E_NOMEM;
    (*node)->binary = frame->node->binary;
    return hk_pq_children(parser, *node, sides, 2);
}

/* Finishes the operators on the stack that bind at least as strongly as `below` (0: all). */
static hk_err reduce(struct parser *parser, int below, struct hk_promql_node **node) {
    while (parser->frame_count > 0) {
        struct frame *frame = &parser->frames[parser->frame_count - 1];
        if (frame->kind != FRAME_UNARY && frame->kind != FRAME_BINARY) break;
        int own = frame->kind == FRAME_UNARY ? PRECEDENCE_UNARY : precedence(frame->token.kind);
        if (own < below || (own == below && below == PRECEDENCE_POW)) break;
        if (frame->kind == FRAME_UNARY)
            HK_TRY(finish_unary(parser, frame, node));
        else
            HK_TRY(finish_binary(parser, frame, node));
        parser->frame_count--;
    }
    return HK_OK;
}

/* bool, on, ignoring, group_left and group_right behind an operator. */
static hk_err parse_matching(struct parser *parser, struct hk_promql_node *node) {
    struct token token;
    HK_TRY(hk_pq_peek(parser, &token));
    if (token.kind == TOKEN_BOOL) {
        node->binary.return_bool = true;
        parse_take(parser);
        HK_TRY(hk_pq_peek(parser, &token));
    }
    if (token.kind != TOKEN_ON && token.kind != TOKEN_IGNORING) return HK_OK;
    node->binary.on = token.kind == TOKEN_ON;
    parse_take(parser);
    HK_TRY(hk_pq_grouping(parser, &node->binary.labels, &node->binary.label_count));
    HK_TRY(hk_pq_peek(parser, &token));
    if (token.kind != TOKEN_GROUP_LEFT && token.kind != TOKEN_GROUP_RIGHT) return HK_OK;
    node->binary.card =
        token.kind == TOKEN_GROUP_LEFT ? HK_PROMQL_MANY_TO_ONE : HK_PROMQL_ONE_TO_MANY;
    parse_take(parser);
    HK_TRY(hk_pq_peek(parser, &token));
    if (token.kind != TOKEN_LEFT_PAREN) return HK_OK;
    return hk_pq_grouping(parser, &node->binary.include, &node->binary.include_count);
}

static hk_err push_binary(struct parser *parser, struct token token, struct hk_promql_node *left) {
    HK_TRY(reduce(parser, precedence(token.kind), &left));
    HK_TRY(push_value(parser, left));
    struct frame frame = { .kind = FRAME_BINARY, .token = token };
    /* Not numbered: only its `binary` is kept. */
    frame.node = hk_arena_alloc(parser->arena, 1, sizeof(*frame.node));
    if (frame.node == NULL) return hk_fail(HK_E_NOMEM, "query: out of memory");
    frame.node->binary.op = (enum hk_promql_op)(token.kind - TOKEN_ADD);
    parse_take(parser);
    HK_TRY(parse_matching(parser, frame.node));
    return push_frame(parser, &frame);
}

static hk_err parse_aggregate_modifier(struct parser *parser, struct frame *frame) {
    struct token token;
    HK_TRY(hk_pq_peek(parser, &token));
    if (token.kind != TOKEN_BY && token.kind != TOKEN_WITHOUT) return HK_OK;
    parse_take(parser);
    frame->has_modifier = true;
    frame->node->aggregate.without = token.kind == TOKEN_WITHOUT;
    return hk_pq_grouping(
        parser, &frame->node->aggregate.labels, &frame->node->aggregate.label_count);
}

static hk_err finish_call(
    struct parser *parser, const struct frame *frame, struct token close,
    struct hk_promql_node **node) {
    struct hk_str name = token_text(parser, frame->token);
    const struct hk_promql_function *function = hk_promql_function_find(name);
    if (function == NULL) {
        struct hk_buf quoted;
        hk_buf_init(&quoted, 700);
        hk_quote(name, &quoted);
        hk_err err = hk_pq_fail(
            parser, frame->token.from, "unknown function with name %.*s",
            HK_STR_ARG(hk_buf_get(&quoted)));
        hk_buf_deinit(&quoted);
        return err;
    }
    *node = hk_pq_node(parser, HK_PROMQL_CALL, function->result, frame->token.from, close.to);
    if (*node == NULL) return HK_E_NOMEM;
    (*node)->call.function = function;
    uint32_t count = parser->value_count - frame->value_count;
    parser->value_count = frame->value_count;
    struct hk_promql_node **given = count == 0 ? NULL : parser->values + frame->value_count;
    return hk_pq_children(parser, *node, given, count);
}

static hk_err finish_aggregate(
    struct parser *parser, struct frame *frame, struct token close, struct hk_promql_node **node) {
    if (!frame->has_modifier) HK_TRY(parse_aggregate_modifier(parser, frame));
    parser->aggregate_depth--;
    uint32_t count = parser->value_count - frame->value_count;
    parser->value_count = frame->value_count;
    enum hk_promql_aggregation op = (enum hk_promql_aggregation)(frame->token.kind - TOKEN_SUM);
    uint32_t wanted = hk_promql_aggregation_has_parameter(op) ? 2 : 1;
    uint32_t at = frame->token.from;
    if (count == 0) {
        return hk_pq_fail(parser, at, "no arguments for aggregate expression provided");
    }
    if (count != wanted) {
        return hk_pq_fail(
            parser, at,
            "wrong number of arguments for aggregate expression provided, expected %u, got %u",
            wanted, count);
    }
    struct hk_promql_node **given = parser->values + frame->value_count;
    struct hk_promql_node *children[2] = { given[wanted - 1], given[0] };
    *node = hk_pq_node(parser, HK_PROMQL_AGGREGATE, HK_PROMQL_VECTOR, at, close.to);
    if (*node == NULL) return HK_E_NOMEM;
    (*node)->aggregate = frame->node->aggregate;
    (*node)->aggregate.op = op;
    return hk_pq_children(parser, *node, children, wanted);
}

/* A name: function call, aggregation or selector. `*out` NULL: an operand must follow. */
static hk_err parse_name(struct parser *parser, struct token name, struct hk_promql_node **out) {
    struct token token;
    *out = NULL;
    parse_take(parser);
    HK_TRY(hk_pq_peek(parser, &token));
    bool aggregate =
        token_is_aggregation(name.kind) &&
        (token.kind == TOKEN_LEFT_PAREN || token.kind == TOKEN_BY || token.kind == TOKEN_WITHOUT);
    bool call = name.kind == TOKEN_IDENTIFIER && token.kind == TOKEN_LEFT_PAREN;
    if (!aggregate && !call) return hk_pq_selector(parser, name, out);
    struct frame frame = {
        .kind = call ? FRAME_CALL : FRAME_AGGREGATE,
        .token = name,
        .value_count = parser->value_count,
    };
    if (aggregate) {
        frame.node = hk_arena_alloc(parser->arena, 1, sizeof(*frame.node));
        if (frame.node == NULL) return hk_fail(HK_E_NOMEM, "query: out of memory");
        parser->aggregate_depth++;
        HK_TRY(parse_aggregate_modifier(parser, &frame));
        HK_TRY(hk_pq_peek(parser, &token));
        if (token.kind != TOKEN_LEFT_PAREN) return hk_pq_unexpected(parser, NULL, NULL);
    }
    parse_take(parser);
    HK_TRY(push_frame(parser, &frame));
    HK_TRY(hk_pq_peek(parser, &token));
    if (token.kind != TOKEN_RIGHT_PAREN) return HK_OK;
    parse_take(parser);
    parser->frame_count--;
    return call ? finish_call(parser, &frame, token, out)
                : finish_aggregate(parser, &frame, token, out);
}

/* Reads an operand or what stands before one; `*out` NULL: an operand must still follow. */
static hk_err parse_operand(struct parser *parser, struct hk_promql_node **out) {
    struct token token;
    *out = NULL;
    HK_TRY(hk_pq_peek(parser, &token));
    if (hk_pq_is_metric(token.kind)) return parse_name(parser, token, out);
    if (token.kind == TOKEN_LEFT_BRACE) {
        return hk_pq_selector(parser, (struct token){ .kind = TOKEN_EOF }, out);
    }
    if (!starts_expression(token.kind)) return hk_pq_unexpected(parser, NULL, NULL);
    parse_take(parser);
    if (token.kind == TOKEN_NUMBER || token.kind == TOKEN_DURATION) {
        double value = 0;
        HK_TRY(hk_pq_literal(parser, token, &value));
        *out = hk_pq_node(parser, HK_PROMQL_NUMBER, HK_PROMQL_SCALAR, token.from, token.to);
        if (*out == NULL) return HK_E_NOMEM;
        (*out)->number.value = value;
        (*out)->number.duration = token.kind == TOKEN_DURATION;
        return HK_OK;
    }
    if (token.kind == TOKEN_STRING) {
        *out = hk_pq_node(parser, HK_PROMQL_TEXT, HK_PROMQL_STRING, token.from, token.to);
        return *out == NULL ? HK_E_NOMEM : hk_pq_text(parser, token, &(*out)->text);
    }
    return push_frame(
        parser, &(struct frame){
                    .kind = token.kind == TOKEN_LEFT_PAREN ? FRAME_PAREN : FRAME_UNARY,
                    .token = token,
                });
}

/* A "," between arguments; an expression must follow. */
static hk_err next_argument(struct parser *parser, struct hk_promql_node *node) {
    struct token comma = parser->token;
    const struct frame *frame = &parser->frames[parser->frame_count - 1];
    HK_TRY(hk_pq_list_check(
        parser, comma.from, parser->value_count - frame->value_count, "arguments"));
    HK_TRY(push_value(parser, node));
    parse_take(parser);
    struct token token;
    HK_TRY(hk_pq_peek(parser, &token));
    if (starts_expression(token.kind)) return HK_OK;
    return hk_pq_fail(parser, comma.from, "trailing commas not allowed in function call args");
}

/* A ")" that closes what is on top of the stack. */
static hk_err close_paren(struct parser *parser, struct hk_promql_node **node) {
    struct token close = parser->token;
    parse_take(parser);
    struct frame frame = parser->frames[--parser->frame_count];
    if (frame.kind == FRAME_PAREN) {
        struct hk_promql_node *inner = *node;
        *node = hk_pq_node(parser, HK_PROMQL_PAREN, inner->type, frame.token.from, close.to);
        return *node == NULL ? HK_E_NOMEM : hk_pq_children(parser, *node, &inner, 1);
    }
    HK_TRY(push_value(parser, *node));
    return frame.kind == FRAME_CALL ? finish_call(parser, &frame, close, node)
                                    : finish_aggregate(parser, &frame, close, node);
}

/* What stands behind an operand. `*node` becomes NULL when an operand must follow; HK_END at the
 * end of the input. */
static hk_err parse_behind(struct parser *parser, struct hk_promql_node **node) {
    struct token token;
    HK_TRY(hk_pq_peek(parser, &token));
    if (token_is_operator(token.kind)) {
        HK_TRY(push_binary(parser, token, *node));
        *node = NULL;
        return HK_OK;
    }
    if (token.kind == TOKEN_OFFSET || token.kind == TOKEN_AT || token.kind == TOKEN_LEFT_BRACKET) {
        parse_take(parser);
        if (token.kind == TOKEN_OFFSET) return hk_pq_offset(parser, *node);
        if (token.kind == TOKEN_AT) return hk_pq_at(parser, *node);
        return hk_pq_bracket(parser, token, node);
    }
    HK_TRY(reduce(parser, 0, node));
    if (parser->frame_count == 0) {
        return token.kind == TOKEN_EOF ? HK_END : hk_pq_unexpected(parser, NULL, NULL);
    }
    enum frame_kind kind = parser->frames[parser->frame_count - 1].kind;
    if (token.kind == TOKEN_RIGHT_PAREN) return close_paren(parser, node);
    if (token.kind == TOKEN_COMMA && kind != FRAME_PAREN) {
        HK_TRY(next_argument(parser, *node));
        *node = NULL;
        return HK_OK;
    }
    return hk_pq_unexpected(parser, NULL, NULL);
}

static hk_err parse_expression(struct parser *parser) {
    struct token token;
    struct hk_promql_node *node = NULL;
    HK_TRY(hk_pq_peek(parser, &token));
    if (token.kind == TOKEN_EOF) return hk_pq_fail(parser, 0, "no expression found in input");
    for (;;) {
        if (node == NULL) {
            HK_TRY(parse_operand(parser, &node));
            continue;
        }
        hk_err err = parse_behind(parser, &node);
        if (err < 0) return err;
        if (err == HK_END) break;
    }
    parser->promql->root = node;
    return hk_pq_check(parser);
}

static hk_err parse_only_selector(struct parser *parser) {
    struct token token;
    HK_TRY(hk_pq_peek(parser, &token));
    struct token name = { .kind = TOKEN_EOF };
    if (hk_pq_is_metric(token.kind)) {
        name = token;
        parse_take(parser);
    } else if (token.kind != TOKEN_LEFT_BRACE) {
        return hk_pq_unexpected(parser, NULL, NULL);
    }
    HK_TRY(hk_pq_selector(parser, name, &parser->promql->root));
    HK_TRY(hk_pq_peek(parser, &token));
    return token.kind == TOKEN_EOF ? HK_OK : hk_pq_unexpected(parser, NULL, NULL);
}

static hk_err parse_with(
    hk_err (*parse)(struct parser *parser), struct hk_str text, struct hk_arena *arena,
    struct hk_promql **out) {
    if (text.len > HK_PROMQL_TEXT_BYTES_MAX) {
        return hk_fail(
            HK_E_LIMIT, "query of %zu bytes is over the limit of %d bytes", text.len,
            HK_PROMQL_TEXT_BYTES_MAX);
    }
    struct parser parser = { .arena = arena };
    struct hk_promql *promql = hk_arena_alloc(arena, 1, sizeof(*promql));
    if (promql == NULL) return hk_fail(HK_E_NOMEM, "query: out of memory");
    promql->text = hk_arena_str(arena, text);
    if (promql->text.ptr == NULL) return hk_fail(HK_E_NOMEM, "query: out of memory");
    parser.promql = promql;
    hk_lex_init(&parser.lexer, promql->text);
    hk_err err = parse(&parser);
    if (err < 0) {
        hk_promql_release(promql);
        return err;
    }
    *out = promql;
    return HK_OK;
}

hk_err hk_promql_parse(struct hk_str text, struct hk_arena *arena, struct hk_promql **out) {
    return parse_with(parse_expression, text, arena, out);
}

hk_err
hk_promql_parse_selector(struct hk_str text, struct hk_arena *arena, struct hk_promql **out) {
    return parse_with(parse_only_selector, text, arena, out);
}

void hk_promql_release(struct hk_promql *promql) {
    if (promql == NULL) return;
    for (uint32_t i = 0; i < promql->regex_count; i++)
        hk_regex_destroy(promql->regexes[i]);
    promql->regex_count = 0;
}
