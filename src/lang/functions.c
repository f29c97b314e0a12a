/* The function table and the names of operators, aggregations and types. */
#include "lang/promql.h"

#define SCALAR HK_PROMQL_SCALAR
#define STRING HK_PROMQL_STRING
#define VECTOR HK_PROMQL_VECTOR
#define MATRIX HK_PROMQL_MATRIX
#define NONE   HK_PROMQL_NONE
#define HK_PROMQL_FUNCTION(id_, result_, variadic_, count_, ...)                                   \
    { .id = HK_PROMQL_FN_##id_,                                                                    \
      .name = #id_,                                                                                \
      .result = result_,                                                                           \
      .arguments = { __VA_ARGS__ },                                                                \
      .argument_count = count_,                                                                    \
      .variadic = variadic_ },
static const struct hk_promql_function functions[] = {
#include "lang/functions.def"
};

const struct hk_promql_function *hk_promql_function_find(struct hk_str name) {
    size_t low = 0;
    size_t high = HK_COUNT(functions);
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = hk_str_cmp(name, hk_str_from(functions[middle].name));
        if (order == 0) return &functions[middle];
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

const char *hk_promql_op_text(enum hk_promql_op op) {
    static const char *const texts[] = { "+",  "-", "*", "/",  "%",  "^",   "atan2", "==",
                                         "!=", ">", "<", ">=", "<=", "and", "or",    "unless" };
    return texts[op];
}

const char *hk_promql_aggregation_text(enum hk_promql_aggregation aggregation) {
    static const char *const texts[] = { "sum",    "avg",        "count",        "min",
                                         "max",    "group",      "stddev",       "stdvar",
                                         "topk",   "bottomk",    "count_values", "quantile",
                                         "limitk", "limit_ratio" };
    return texts[aggregation];
}

const char *hk_promql_type_text(enum hk_promql_type type) {
    static const char *const texts[] = { "none", "scalar", "string", "instant vector",
                                         "range vector" };
    return texts[type];
}

const struct hk_promql_node *hk_promql_unwrap(const struct hk_promql_node *node) {
    while (node->kind == HK_PROMQL_PAREN)
        node = node->children[0];
    return node;
}

bool hk_promql_matchers_empty(const struct hk_matcher *matchers, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        if (!hk_matcher_accepts(&matchers[i], (struct hk_str){ "", 0 })) return false;
    }
    return true;
}

void hk_promql_position(struct hk_str text, uint32_t at, struct hk_buf *out) {
    if (text.len == 0 || at > text.len) {
        hk_buf_text(out, text.len == 0 ? "unknown position" : "invalid position");
        return;
    }
    uint32_t line = 1;
    uint32_t line_start = 0;
    for (uint32_t i = 0; i < at; i++) {
        if (text.ptr[i] != '\n') continue;
        line++;
        line_start = i + 1;
    }
    hk_buf_printf(out, "%u:%u", line, at - line_start + 1);
}
