/*
 * The parser's inside: state shared by parse.c (expressions), parse_parts.c (selectors, durations,
 * grouping) and check.c (types).
 *
 * Errors: the first one wins and ends parsing, as Prometheus reports only its first. A function
 * that failed has set the error text and returns its code.
 */
#ifndef HK_LANG_PARSE_INTERNAL_H
#define HK_LANG_PARSE_INTERNAL_H

#include "lang/lex_internal.h"
#include "lang/promql.h"

/* What waits on the stack for an operand. */
enum frame_kind {
    FRAME_UNARY,
    FRAME_BINARY,
    FRAME_PAREN,
    FRAME_CALL,
    FRAME_AGGREGATE,
};

struct frame {
    enum frame_kind kind;
    struct token token;          /* operator, parenthesis or name */
    uint32_t value_count;        /* CALL, AGGREGATE: values on the stack before the arguments */
    struct hk_promql_node *node; /* BINARY: holds op and matching; AGGREGATE: holds the grouping */
    bool has_modifier;           /* AGGREGATE: by or without came before the arguments */
};

struct parser {
    struct lexer lexer;
    struct hk_arena *arena;
    struct hk_promql *promql;
    struct token token; /* the next one, if have_token */
    bool have_token;
    struct frame *frames;
    uint32_t frame_count, frame_capacity;
    uint32_t aggregate_depth; /* frames of FRAME_AGGREGATE, and an aggregation being read */
    struct hk_promql_node **values;
    uint32_t value_count, value_capacity;
    uint32_t node_capacity;
    uint32_t regex_capacity;
};

/* Text of a token. */
static inline struct hk_str token_text(const struct parser *parser, struct token token) {
    return hk_str_part(parser->promql->text, token.from, token.to);
}

/* Sets the error "line:column: parse error: …" at byte `at` and returns HK_E_MALFORMED. */
hk_err hk_pq_fail(const struct parser *parser, uint32_t at, const char *format, ...)
    HK_PRINTF(3, 4);

/* "unexpected <token>[ in <context>][, expected <expected>]" for the next token; either may be
 * NULL. Without context, an open aggregation is named, as Prometheus does. */
hk_err hk_pq_unexpected(struct parser *parser, const char *context, const char *expected);

/* Looks at the next token. An error of the lexer is forwarded. */
hk_err hk_pq_peek(struct parser *parser, struct token *out) HK_MUST_CHECK;

/* Takes the token that hk_pq_peek gave. */
static inline void parse_take(struct parser *parser) {
    parser->have_token = false;
}

/* An error once a list of the query (`what`) has HK_PROMQL_LIST_MAX entries. */
hk_err hk_pq_list_check(const struct parser *parser, uint32_t at, uint32_t count, const char *what)
    HK_MUST_CHECK;

/* Doubles the arena array `*array` when it is full. */
hk_err hk_pq_grow(
    struct parser *parser, void *array, uint32_t *capacity, uint32_t count,
    size_t size) HK_MUST_CHECK;

/* A new node, numbered. NULL when out of memory. */
struct hk_promql_node *hk_pq_node(
    struct parser *parser, enum hk_promql_kind kind, enum hk_promql_type type, uint32_t from,
    uint32_t to);

/* Gives `node` its children. */
hk_err hk_pq_children(
    struct parser *parser, struct hk_promql_node *node, struct hk_promql_node *const *children,
    uint32_t count) HK_MUST_CHECK;

/* parse_parts.c: each stands before its first token unless said otherwise. */

/* Number or duration token as a value (seconds). */
hk_err hk_pq_literal(struct parser *parser, struct token token, double *out) HK_MUST_CHECK;

/* The string that a string token stands for. */
hk_err hk_pq_text(struct parser *parser, struct token token, struct hk_str *out) HK_MUST_CHECK;

/* A selector; `name` is the token of the metric name, of kind TOKEN_EOF if there is none. */
hk_err
hk_pq_selector(struct parser *parser, struct token name, struct hk_promql_node **out) HK_MUST_CHECK;

/* "(a, b)" behind by, without, on, … */
hk_err
hk_pq_grouping(struct parser *parser, struct hk_str **out, uint32_t *out_count) HK_MUST_CHECK;

/* "offset …", "@ …" and "[…]" behind `*node`; the first token was taken. */
hk_err hk_pq_offset(struct parser *parser, struct hk_promql_node *node) HK_MUST_CHECK;
hk_err hk_pq_at(struct parser *parser, struct hk_promql_node *node) HK_MUST_CHECK;
hk_err
hk_pq_bracket(struct parser *parser, struct token open, struct hk_promql_node **node) HK_MUST_CHECK;

/* May the token be a metric name? */
bool hk_pq_is_metric(enum token_kind kind);

/* check.c: the type rules over the whole tree. */
hk_err hk_pq_check(struct parser *parser) HK_MUST_CHECK;

#endif
