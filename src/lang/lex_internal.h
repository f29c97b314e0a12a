/*
 * Lexer of PromQL: one token at a time, in Prometheus' states (inside braces, inside brackets) and
 * with its error texts. Pure; borrows the input.
 */
#ifndef HK_LANG_LEX_INTERNAL_H
#define HK_LANG_LEX_INTERNAL_H

#include "base/str.h"

/* The order of the operators is that of enum hk_promql_op, that of the aggregations that of
 * enum hk_promql_aggregation. */
enum token_kind {
    TOKEN_EOF,
    TOKEN_ERROR, /* the text is in lexer.error */
    TOKEN_IDENTIFIER,
    TOKEN_METRIC_IDENTIFIER, /* with a colon */
    TOKEN_NUMBER,
    TOKEN_DURATION,
    TOKEN_STRING,
    TOKEN_COMMA,
    TOKEN_COLON,
    TOKEN_EQL,
    TOKEN_EQL_REGEX,
    TOKEN_NEQ_REGEX,
    TOKEN_LEFT_BRACE,
    TOKEN_RIGHT_BRACE,
    TOKEN_LEFT_BRACKET,
    TOKEN_RIGHT_BRACKET,
    TOKEN_LEFT_PAREN,
    TOKEN_RIGHT_PAREN,
    TOKEN_AT,
    TOKEN_ADD, /* binary operators from here */
    TOKEN_SUB,
    TOKEN_MUL,
    TOKEN_DIV,
    TOKEN_MOD,
    TOKEN_POW,
    TOKEN_ATAN2,
    TOKEN_EQLC,
    TOKEN_NEQ,
    TOKEN_GTR,
    TOKEN_LSS,
    TOKEN_GTE,
    TOKEN_LTE,
    TOKEN_LAND,
    TOKEN_LOR,
    TOKEN_LUNLESS,
    TOKEN_SUM, /* aggregations from here */
    TOKEN_AVG,
    TOKEN_COUNT,
    TOKEN_MIN,
    TOKEN_MAX,
    TOKEN_GROUP,
    TOKEN_STDDEV,
    TOKEN_STDVAR,
    TOKEN_TOPK,
    TOKEN_BOTTOMK,
    TOKEN_COUNT_VALUES,
    TOKEN_QUANTILE,
    TOKEN_LIMITK,
    TOKEN_LIMIT_RATIO,
    TOKEN_BOOL, /* keywords from here */
    TOKEN_BY,
    TOKEN_GROUP_LEFT,
    TOKEN_GROUP_RIGHT,
    TOKEN_IGNORING,
    TOKEN_OFFSET,
    TOKEN_ON,
    TOKEN_WITHOUT,
    TOKEN_START,
    TOKEN_END,
};

struct token {
    enum token_kind kind;
    uint32_t from, to; /* byte range in the input */
};

struct lexer {
    struct hk_str input;
    uint32_t at;    /* next byte */
    uint32_t start; /* of the token being read */
    int paren_depth;
    bool brace_open;
    bool bracket_open;
    bool duration_start; /* behind "[", no number yet: only duration arithmetic may follow */
    bool got_colon, got_duration;
    char error[320]; /* set with TOKEN_ERROR */
    uint32_t error_at;
};

/* Starts at the begin of `input`. */
void hk_lex_init(struct lexer *lexer, struct hk_str input);

/* Reads the next token, comments skipped; after TOKEN_ERROR it must not be called again. */
struct token hk_lex_next(struct lexer *lexer);

/* Appends how messages name the token: `number "5"`, `<op:+>`, "end of input". */
struct hk_buf;
void hk_lex_describe(struct hk_str input, struct token token, struct hk_buf *out);

static inline bool token_is_operator(enum token_kind kind) {
    return kind >= TOKEN_ADD && kind <= TOKEN_LUNLESS;
}

static inline bool token_is_aggregation(enum token_kind kind) {
    return kind >= TOKEN_SUM && kind <= TOKEN_LIMIT_RATIO;
}

#endif
