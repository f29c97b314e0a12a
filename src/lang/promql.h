/*
 * PromQL, the language of Prometheus 3.5: text to typed syntax tree and back. Pure; a tree is
 * immutable once parsed and may be read by many threads at once.
 *
 * Errors carry Prometheus' own texts with position ("1:5: parse error: …").
 * Read first: struct hk_promql_node. Nodes are numbered so that children come before their
 * parents: a loop over `nodes` visits the tree bottom-up without recursion, a loop backwards
 * visits it top-down.
 */
#ifndef HK_LANG_PROMQL_H
#define HK_LANG_PROMQL_H

#include "base/arena.h"
#include "base/buf.h"
#include "model/matcher.h"

enum {
    HK_PROMQL_TEXT_BYTES_MAX = 1 << 20, /* longest query */
    HK_PROMQL_DEPTH_MAX = 1000,         /* nesting of operators, calls and parentheses */
    HK_PROMQL_LIST_MAX = 1024,          /* matchers, grouping labels, arguments in one list */
};

/* Type of a value. */
enum hk_promql_type {
    HK_PROMQL_NONE,
    HK_PROMQL_SCALAR,
    HK_PROMQL_STRING,
    HK_PROMQL_VECTOR, /* "instant vector" */
    HK_PROMQL_MATRIX, /* "range vector" */
};

enum hk_promql_kind {
    HK_PROMQL_NUMBER,    /* 1.5, 5m */
    HK_PROMQL_TEXT,      /* "text" */
    HK_PROMQL_SELECTOR,  /* up{job="x"} offset 5m @ 10 */
    HK_PROMQL_RANGE,     /* up[5m]: child 0 is the selector, which holds offset and @ */
    HK_PROMQL_SUBQUERY,  /* expr[1h:1m] offset 5m: child 0 is the expression */
    HK_PROMQL_CALL,      /* f(…): children are the arguments */
    HK_PROMQL_AGGREGATE, /* sum by (a) (…): child 0 is the expression, child 1 the parameter */
    HK_PROMQL_BINARY,    /* children 0 and 1 are the left and right sides */
    HK_PROMQL_NEGATE,    /* -expr */
    HK_PROMQL_PLUS,      /* +expr */
    HK_PROMQL_PAREN,     /* (expr) */
};

enum hk_promql_op {
    HK_PROMQL_ADD,
    HK_PROMQL_SUB,
    HK_PROMQL_MUL,
    HK_PROMQL_DIV,
    HK_PROMQL_MOD,
    HK_PROMQL_POW,
    HK_PROMQL_ATAN2,
    HK_PROMQL_EQ, /* comparisons from here */
    HK_PROMQL_NE,
    HK_PROMQL_GT,
    HK_PROMQL_LT,
    HK_PROMQL_GE,
    HK_PROMQL_LE,
    HK_PROMQL_AND, /* set operators from here */
    HK_PROMQL_OR,
    HK_PROMQL_UNLESS,
};

enum hk_promql_aggregation {
    HK_PROMQL_SUM,
    HK_PROMQL_AVG,
    HK_PROMQL_COUNT,
    HK_PROMQL_MIN,
    HK_PROMQL_MAX,
    HK_PROMQL_GROUP,
    HK_PROMQL_STDDEV,
    HK_PROMQL_STDVAR,
    HK_PROMQL_TOPK, /* those with a parameter from here */
    HK_PROMQL_BOTTOMK,
    HK_PROMQL_COUNT_VALUES,
    HK_PROMQL_QUANTILE,
    HK_PROMQL_LIMITK,
    HK_PROMQL_LIMIT_RATIO,
};

/* How vectors are matched: which side may have several elements per match group. */
enum hk_promql_card {
    HK_PROMQL_ONE_TO_ONE,
    HK_PROMQL_MANY_TO_ONE,  /* group_left */
    HK_PROMQL_ONE_TO_MANY,  /* group_right */
    HK_PROMQL_MANY_TO_MANY, /* set operators */
};

/* The @ modifier. */
enum hk_promql_at { HK_PROMQL_AT_NONE, HK_PROMQL_AT_TIME, HK_PROMQL_AT_START, HK_PROMQL_AT_END };

/* offset and @ of a selector or subquery. */
struct hk_promql_time {
    int64_t offset_ms; /* subtracted from the evaluation time; may be negative */
    int64_t at_ms;     /* with HK_PROMQL_AT_TIME */
    enum hk_promql_at at;
};

/* Identities of functions; HK_PROMQL_FN_<name>. */
#define HK_PROMQL_FUNCTION(name, ...) HK_PROMQL_FN_##name,
enum hk_promql_function_id {
#include "lang/functions.def"
    HK_PROMQL_FN_COUNT
};
#undef HK_PROMQL_FUNCTION

enum { HK_PROMQL_ARGUMENTS_MAX = 5 };

/* A row of the function table (functions.def). */
struct hk_promql_function {
    enum hk_promql_function_id id;
    const char *name;
    enum hk_promql_type result;
    enum hk_promql_type arguments[HK_PROMQL_ARGUMENTS_MAX];
    uint8_t argument_count;
    int8_t variadic; /* 0: exact; n: the last one may miss or come up to n times; -1: any number */
};

struct hk_promql_node {
    enum hk_promql_kind kind;
    enum hk_promql_type type;
    uint32_t id;       /* index in hk_promql.nodes */
    uint32_t from, to; /* byte range in the text */
    uint32_t child_count;
    struct hk_promql_node **children;
    struct hk_promql_node *parent; /* NULL for the root */
    union {
        struct {
            double value;
            bool duration; /* written as a duration */
        } number;
        struct hk_str text;
        struct {
            struct hk_str name; /* written before the braces, else empty */
            struct hk_matcher *matchers;
            uint32_t matcher_count; /* the one of `name` is the last */
            struct hk_promql_time time;
        } selector;
        struct {
            int64_t range_ms;
        } range;
        struct {
            int64_t range_ms;
            int64_t step_ms; /* 0: the default step */
            struct hk_promql_time time;
        } subquery;
        struct {
            const struct hk_promql_function *function;
        } call;
        struct {
            enum hk_promql_aggregation op;
            bool without;
            struct hk_str *labels; /* of by or without, as written */
            uint32_t label_count;
        } aggregate;
        struct {
            enum hk_promql_op op;
            bool return_bool;
            bool matching; /* both sides are vectors: what follows counts */
            bool on;       /* on (labels), else ignoring (labels) */
            enum hk_promql_card card;
            struct hk_str *labels;
            uint32_t label_count;
            struct hk_str *include; /* labels of group_left or group_right */
            uint32_t include_count;
        } binary;
    };
};

/* A parsed query. Lives in the arena given to hk_promql_parse, the regular expressions apart. */
struct hk_promql {
    struct hk_str text; /* copy of the query */
    struct hk_promql_node *root;
    struct hk_promql_node **nodes; /* children before parents; the root is the last */
    uint32_t node_count;
    uint32_t regex_count;
    struct hk_regex **regexes;
};

/*
 * Parses and checks `text`. HK_E_MALFORMED with Prometheus' error text, HK_E_LIMIT (text or nesting
 * too large), HK_E_NOMEM. After success call hk_promql_release once, before the arena dies.
 */
hk_err
hk_promql_parse(struct hk_str text, struct hk_arena *arena, struct hk_promql **out) HK_MUST_CHECK;

/*
 * As hk_promql_parse for a single selector (`match[]` of the API): the root is a
 * HK_PROMQL_SELECTOR without modifiers. As in Prometheus, `{}` is no parse error here; see
 * hk_promql_matchers_empty.
 */
hk_err hk_promql_parse_selector(struct hk_str text, struct hk_arena *arena, struct hk_promql **out)
    HK_MUST_CHECK;

/* Frees what does not live in the arena. NULL is fine. */
void hk_promql_release(struct hk_promql *promql);

/* Do all matchers accept the empty string, so that they would select every series? */
bool hk_promql_matchers_empty(const struct hk_matcher *matchers, uint32_t count);

/* Appends the canonical text of the tree, as Prometheus prints expressions. */
void hk_promql_print(const struct hk_promql *promql, struct hk_buf *out);

/* As hk_promql_print for the part of the tree under `node`. */
void hk_promql_print_node(const struct hk_promql_node *node, struct hk_buf *out);

/* Appends `name=~"value"`, the name quoted where it is not a classic one. */
void hk_promql_print_matcher(const struct hk_matcher *matcher, struct hk_buf *out);

/* The node without parentheses around it. */
const struct hk_promql_node *hk_promql_unwrap(const struct hk_promql_node *node);

/* "line:column" of the start of the node in the query, as in Prometheus' messages; in `out`. */
void hk_promql_position(struct hk_str text, uint32_t at, struct hk_buf *out);

/* Texts: "+", "sum", "instant vector". */
const char *hk_promql_op_text(enum hk_promql_op op);
const char *hk_promql_aggregation_text(enum hk_promql_aggregation aggregation);
const char *hk_promql_type_text(enum hk_promql_type type);

/* Row of the function table, NULL when there is none of that name. */
const struct hk_promql_function *hk_promql_function_find(struct hk_str name);

static inline bool hk_promql_op_is_comparison(enum hk_promql_op op) {
    return op >= HK_PROMQL_EQ && op <= HK_PROMQL_LE;
}

static inline bool hk_promql_op_is_set(enum hk_promql_op op) {
    return op >= HK_PROMQL_AND;
}

static inline bool hk_promql_aggregation_has_parameter(enum hk_promql_aggregation aggregation) {
    return aggregation >= HK_PROMQL_TOPK;
}

#endif
