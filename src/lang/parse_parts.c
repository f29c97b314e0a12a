/* The parts of expressions that have a grammar of their own: literals, selectors, grouping, offset,
 * @ and what stands in brackets. */
#include "lang/parse_internal.h"
#include "lang/text.h"

#include <math.h>

static const double DURATION_SECONDS_MAX = 9223372036.854775807;

static hk_err out_of_memory(void) {
    return hk_fail(HK_E_NOMEM, "query: out of memory");
}

bool hk_pq_is_metric(enum token_kind kind) {
    switch ((int)kind) {
    case TOKEN_IDENTIFIER:
    case TOKEN_METRIC_IDENTIFIER:
    case TOKEN_BY:
    case TOKEN_LAND:
    case TOKEN_LOR:
    case TOKEN_LUNLESS:
    case TOKEN_OFFSET:
    case TOKEN_WITHOUT:
    case TOKEN_START:
    case TOKEN_END:
        return true;
    default:
        return token_is_aggregation(kind);
    }
}

static bool is_label(enum token_kind kind) {
    return (hk_pq_is_metric(kind) && kind != TOKEN_WITHOUT) || kind == TOKEN_BOOL ||
           kind == TOKEN_GROUP_LEFT || kind == TOKEN_GROUP_RIGHT || kind == TOKEN_IGNORING ||
           kind == TOKEN_ON || kind == TOKEN_ATAN2;
}

static hk_err fail_quoted(
    struct parser *parser, uint32_t at, const char *before, struct hk_str text, const char *after) {
    struct hk_buf quoted;
    hk_buf_init(&quoted, 700);
    hk_quote(text, &quoted);
    hk_err err = hk_pq_fail(parser, at, "%s%.*s%s", before, HK_STR_ARG(hk_buf_get(&quoted)), after);
    hk_buf_deinit(&quoted);
    return err;
}

/* Whole numbers as Go's ParseInt with base 0 reads them: 0x, 0o, 0b, a leading 0 is octal. */
static bool parse_whole(struct hk_str text, double *out) {
    unsigned base = 10;
    if (text.len > 1 && text.ptr[0] == '0') {
        char c = text.ptr[1];
        base = (c == 'x' || c == 'X') ? 16 : (c == 'b' || c == 'B') ? 2 : 8;
        text = hk_str_part(text, base != 8 || c == 'o' || c == 'O' ? 2 : 1, text.len);
    }
    uint64_t value = 0;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        unsigned digit = c >= '0' && c <= '9'   ? (unsigned)(c - '0')
                         : c >= 'a' && c <= 'f' ? (unsigned)(c - 'a') + 10
                         : c >= 'A' && c <= 'F' ? (unsigned)(c - 'A') + 10
                                                : 99;
        if (digit >= base) return false;
        if (__builtin_mul_overflow(value, (uint64_t)base, &value)) return false;
        if (__builtin_add_overflow(value, (uint64_t)digit, &value)) return false;
    }
    if (text.len == 0 || value > INT64_MAX) return false;
    *out = (double)value;
    return true;
}

static hk_err parse_number(struct parser *parser, struct token token, double *out) {
    char plain[512];
    size_t len = 0;
    struct hk_str text = token_text(parser, token);
    if (text.len >= sizeof(plain)) {
        return hk_pq_fail(parser, token.from, "number is longer than %zu bytes", sizeof(plain) - 1);
    }
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] != '_') plain[len++] = text.ptr[i];
    }
    struct hk_str digits = { plain, len };
    if (parse_whole(digits, out)) return HK_OK;
    bool named =
        len > 0 && (plain[0] == 'i' || plain[0] == 'I' || plain[0] == 'n' || plain[0] == 'N');
    hk_err err = hk_parse_double(digits, out);
    if (err == HK_OK && (named || !isinf(*out))) return HK_OK;
    return fail_quoted(
        parser, token.from, "error parsing number: strconv.ParseFloat: parsing ", text,
        err == HK_OK ? ": value out of range" : ": invalid syntax");
}

/* Names a unit that there is not, else the duration as a whole (order, number). */
static hk_err fail_duration(struct parser *parser, struct token token, struct hk_str text) {
    static const char *const units[] = { "ms", "s", "m", "h", "d", "w", "y" };
    for (size_t at = 0; at < text.len;) {
        size_t from = at;
        while (from < text.len && text.ptr[from] >= '0' && text.ptr[from] <= '9')
            from++;
        size_t to = from;
        while (to < text.len && !(text.ptr[to] >= '0' && text.ptr[to] <= '9'))
            to++;
        struct hk_str unit = hk_str_part(text, from, to);
        bool known = unit.len == 0;
        for (size_t i = 0; i < HK_COUNT(units) && !known; i++)
            known = hk_str_is(unit, units[i]);
        if (!known) {
            return hk_pq_fail(
                parser, token.from, "unknown unit \"%.*s\" in duration \"%.*s\"", HK_STR_ARG(unit),
                HK_STR_ARG(text));
        }
        at = to;
    }
    return fail_quoted(parser, token.from, "not a valid duration string: ", text, "");
}

hk_err hk_pq_literal(struct parser *parser, struct token token, double *out) {
    if (token.kind == TOKEN_NUMBER) return parse_number(parser, token, out);
    int64_t ms = 0;
    struct hk_str text = token_text(parser, token);
    hk_err err = hk_parse_duration_ms(text, &ms);
    if (err == HK_E_LIMIT || (err == HK_OK && ms > INT64_MAX / 1000000)) {
        return hk_pq_fail(parser, token.from, "duration out of range");
    }
    if (err < 0) return fail_duration(parser, token, text);
    /* As Go's Duration.Seconds: whole seconds and the rest apart. */
    *out = (double)(ms / 1000) + (double)(ms % 1000 * 1000000) / 1e9;
    return HK_OK;
}

hk_err hk_pq_text(struct parser *parser, struct token token, struct hk_str *out) {
    struct hk_str literal = token_text(parser, token);
    struct hk_buf text;
    hk_buf_init(&text, literal.len * 4 + 16);
    hk_err err = hk_unquote(literal, &text);
    if (err == HK_OK) err = text.err;
    if (err == HK_OK) *out = hk_arena_str(parser->arena, hk_buf_get(&text));
    hk_buf_deinit(&text);
    if (err == HK_OK) return out->ptr == NULL ? out_of_memory() : HK_OK;
    if (err != HK_E_MALFORMED) return out_of_memory();
    return fail_quoted(parser, token.from, "error unquoting string ", literal, ": invalid syntax");
}

/* RE2's error texts in the words of Go's regexp package. */
static const struct {
    const char *re2, *go;
} regex_errors[] = {
    { "missing ]", "missing closing ]" },
    { "missing )", "missing closing )" },
    { "trailing \\", "trailing backslash at end of expression" },
    { "no argument for repetition operator", "missing argument to repetition operator" },
    { "invalid repetition size", "invalid repeat count" },
    { "bad repetition operator", "invalid nested repetition operator" },
    { "invalid perl operator", "invalid or unsupported Perl syntax" },
};

static hk_err fail_regex(struct parser *parser, uint32_t at) {
    struct hk_str text = hk_str_from(hk_fail_text());
    size_t colon = 0;
    while (colon + 1 < text.len && memcmp(text.ptr + colon, ": ", 2) != 0)
        colon++;
    struct hk_str what = hk_str_part(text, 0, colon);
    struct hk_str part = hk_str_part(text, colon + 2, text.len);
    for (size_t i = 0; i < HK_COUNT(regex_errors); i++) {
        if (hk_str_is(what, regex_errors[i].re2)) what = hk_str_from(regex_errors[i].go);
    }
    char copy[700];
    struct hk_buf buf;
    hk_buf_init(&buf, sizeof(copy));
    hk_buf_printf(&buf, "%.*s: `%.*s`", HK_STR_ARG(what), HK_STR_ARG(part));
    struct hk_str got = hk_buf_get(&buf);
    memcpy(copy, got.ptr, got.len);
    hk_err err = hk_pq_fail(parser, at, "error parsing regexp: %.*s", (int)got.len, copy);
    hk_buf_deinit(&buf);
    return err;
}

static hk_err compile_regex(struct parser *parser, struct hk_matcher *matcher, uint32_t at) {
    struct hk_promql *promql = parser->promql;
    HK_TRY(hk_pq_grow(
        parser, &promql->regexes, &parser->regex_capacity, promql->regex_count,
        sizeof(struct hk_regex *)));
    hk_err err = hk_regex_create(matcher->value, &matcher->regex);
    if (err == HK_E_INVALID) return fail_regex(parser, at);
    if (err == HK_E_LIMIT) {
        (void)hk_pq_fail(parser, at, "regular expression is too large");
        return err;
    }
    if (err < 0) return out_of_memory();
    promql->regexes[promql->regex_count++] = matcher->regex;
    return HK_OK;
}

static hk_err
parse_matcher_value(struct parser *parser, struct token name, struct hk_matcher *matcher) {
    struct token op;
    struct token value;
    HK_TRY(hk_pq_peek(parser, &op));
    parse_take(parser);
    HK_TRY(hk_pq_peek(parser, &value));
    if (value.kind != TOKEN_STRING) return hk_pq_unexpected(parser, "label matching", "string");
    parse_take(parser);
    HK_TRY(hk_pq_text(parser, value, &matcher->value));
    switch ((int)op.kind) {
    case TOKEN_EQL:
        matcher->type = HK_MATCH_EQUAL;
        return HK_OK;
    case TOKEN_NEQ:
        matcher->type = HK_MATCH_NOT_EQUAL;
        return HK_OK;
    case TOKEN_EQL_REGEX:
        matcher->type = HK_MATCH_REGEX;
        return compile_regex(parser, matcher, name.from);
    default:
        matcher->type = HK_MATCH_NOT_REGEX;
        return compile_regex(parser, matcher, name.from);
    }
}

/* One matcher, or a quoted metric name. */
static hk_err parse_matcher(struct parser *parser, struct hk_matcher *matcher) {
    struct token name;
    struct token next;
    HK_TRY(hk_pq_peek(parser, &name));
    if (name.kind != TOKEN_IDENTIFIER && name.kind != TOKEN_STRING) {
        return hk_pq_unexpected(parser, "label matching", "identifier or \"}\"");
    }
    parse_take(parser);
    matcher->name = token_text(parser, name);
    if (name.kind == TOKEN_STRING) HK_TRY(hk_pq_text(parser, name, &matcher->name));
    HK_TRY(hk_pq_peek(parser, &next));
    if (next.kind == TOKEN_EQL || next.kind == TOKEN_NEQ || next.kind == TOKEN_EQL_REGEX ||
        next.kind == TOKEN_NEQ_REGEX) {
        return parse_matcher_value(parser, name, matcher);
    }
    if (name.kind == TOKEN_IDENTIFIER) {
        return hk_pq_unexpected(parser, "label matching", "label matching operator");
    }
    matcher->type = HK_MATCH_EQUAL;
    matcher->value = matcher->name;
    matcher->name = HK_STR("__name__");
    return HK_OK;
}

struct matcher_list {
    struct hk_matcher *items;
    uint32_t count, capacity;
};

static hk_err
add_matcher(struct parser *parser, struct matcher_list *list, struct hk_matcher matcher) {
    HK_TRY(hk_pq_grow(parser, &list->items, &list->capacity, list->count, sizeof(matcher)));
    list->items[list->count++] = matcher;
    return HK_OK;
}

/* From behind "{" to "}". */
static hk_err
parse_matchers(struct parser *parser, struct matcher_list *list, struct token *out_close) {
    struct token token;
    HK_TRY(hk_pq_peek(parser, &token));
    while (token.kind != TOKEN_RIGHT_BRACE) {
        struct hk_matcher matcher = { .type = HK_MATCH_EQUAL };
        HK_TRY(hk_pq_list_check(parser, token.from, list->count, "matchers"));
        HK_TRY(parse_matcher(parser, &matcher));
        HK_TRY(add_matcher(parser, list, matcher));
        HK_TRY(hk_pq_peek(parser, &token));
        if (token.kind == TOKEN_RIGHT_BRACE) break;
        if (token.kind != TOKEN_COMMA) {
            return hk_pq_unexpected(parser, "label matching", "\",\" or \"}\"");
        }
        parse_take(parser);
        HK_TRY(hk_pq_peek(parser, &token));
    }
    parse_take(parser);
    *out_close = token;
    return HK_OK;
}

hk_err hk_pq_selector(struct parser *parser, struct token name, struct hk_promql_node **out) {
    struct token token;
    struct token last = name;
    struct matcher_list list = { 0 };
    HK_TRY(hk_pq_peek(parser, &token));
    uint32_t from = name.kind == TOKEN_EOF ? token.from : name.from;
    if (token.kind == TOKEN_LEFT_BRACE) {
        parse_take(parser);
        HK_TRY(parse_matchers(parser, &list, &last));
    }
    struct hk_str metric = { "", 0 };
    if (name.kind != TOKEN_EOF) {
        metric = token_text(parser, name);
        HK_TRY(add_matcher(
            parser, &list,
            (struct hk_matcher){
                .type = HK_MATCH_EQUAL, .name = HK_STR("__name__"), .value = metric }));
    }
    *out = hk_pq_node(parser, HK_PROMQL_SELECTOR, HK_PROMQL_VECTOR, from, last.to);
    if (*out == NULL) return HK_E_NOMEM;
    (*out)->selector.name = metric;
    (*out)->selector.matchers = list.items;
    (*out)->selector.matcher_count = list.count;
    return HK_OK;
}

struct label_list {
    struct hk_str *items;
    uint32_t count, capacity;
};

static hk_err parse_label(struct parser *parser, struct token token, struct label_list *list) {
    struct hk_str label = token_text(parser, token);
    if (token.kind == TOKEN_STRING) {
        HK_TRY(hk_pq_text(parser, token, &label));
    } else if (!is_label(token.kind)) {
        return hk_pq_unexpected(parser, "grouping opts", "label");
    }
    if (label.len == 0 || !hk_utf8_valid(label)) {
        return fail_quoted(parser, token.from, "invalid label name for grouping: ", label, "");
    }
    parse_take(parser);
    HK_TRY(hk_pq_grow(parser, &list->items, &list->capacity, list->count, sizeof(label)));
    list->items[list->count++] = label;
    return HK_OK;
}

hk_err hk_pq_grouping(struct parser *parser, struct hk_str **out, uint32_t *out_count) {
    struct token token;
    struct label_list list = { 0 };
    HK_TRY(hk_pq_peek(parser, &token));
    if (token.kind != TOKEN_LEFT_PAREN) {
        return hk_pq_unexpected(parser, "grouping opts", "\"(\"");
    }
    parse_take(parser);
    HK_TRY(hk_pq_peek(parser, &token));
    while (token.kind != TOKEN_RIGHT_PAREN) {
        HK_TRY(hk_pq_list_check(parser, token.from, list.count, "labels"));
        HK_TRY(parse_label(parser, token, &list));
        HK_TRY(hk_pq_peek(parser, &token));
        if (token.kind == TOKEN_RIGHT_PAREN) break;
        if (token.kind != TOKEN_COMMA) {
            return hk_pq_unexpected(parser, "grouping opts", "\",\" or \")\"");
        }
        parse_take(parser);
        HK_TRY(hk_pq_peek(parser, &token));
    }
    parse_take(parser);
    *out = list.items;
    *out_count = list.count;
    return HK_OK;
}

/* Offset and @ of a node, NULL when it can have none. */
static struct hk_promql_time *time_of(struct hk_promql_node *node) {
    if (node->kind == HK_PROMQL_SELECTOR) return &node->selector.time;
    if (node->kind == HK_PROMQL_RANGE) return &node->children[0]->selector.time;
    return node->kind == HK_PROMQL_SUBQUERY ? &node->subquery.time : NULL;
}

/* Whole ms of seconds, as Prometheus: rounded to ns, the rest below a ms cut. */
static int64_t seconds_to_ms(double seconds) {
    return (int64_t)round(seconds * 1e9) / 1000000;
}

static bool duration_fits(double seconds) {
    return seconds <= DURATION_SECONDS_MAX && seconds >= -DURATION_SECONDS_MAX &&
           fabs(round(seconds * 1e9)) < 9223372036854775807.0;
}

hk_err hk_pq_offset(struct parser *parser, struct hk_promql_node *node) {
    struct token token;
    HK_TRY(hk_pq_peek(parser, &token));
    struct token first = token;
    if (token.kind == TOKEN_ADD || token.kind == TOKEN_SUB) {
        parse_take(parser);
        HK_TRY(hk_pq_peek(parser, &token));
    }
    if (token.kind == TOKEN_LEFT_PAREN) {
        return hk_pq_fail(parser, token.to, "experimental duration expression is not enabled");
    }
    if (token.kind != TOKEN_NUMBER && token.kind != TOKEN_DURATION) {
        return hk_pq_unexpected(parser, "offset", "number or duration");
    }
    parse_take(parser);
    double seconds = 0;
    HK_TRY(hk_pq_literal(parser, token, &seconds));
    if (first.kind == TOKEN_SUB) seconds = -seconds;
    if (!duration_fits(seconds)) return hk_pq_fail(parser, first.from, "duration out of range");
    struct hk_promql_time *time = time_of(node);
    if (time == NULL) {
        return hk_pq_fail(
            parser, node->from,
            "offset modifier must be preceded by an instant vector selector or range vector "
            "selector or a subquery");
    }
    if (time->offset_ms != 0) {
        return hk_pq_fail(parser, node->from, "offset may not be set multiple times");
    }
    time->offset_ms = seconds_to_ms(seconds);
    node->to = token.to;
    return HK_OK;
}

/* "start()" or "end()" behind @. */
static hk_err parse_at_function(struct parser *parser, uint32_t *out_to) {
    struct token token;
    parse_take(parser);
    for (int i = 0; i < 2; i++) {
        HK_TRY(hk_pq_peek(parser, &token));
        if (token.kind != (i == 0 ? TOKEN_LEFT_PAREN : TOKEN_RIGHT_PAREN)) {
            return hk_pq_unexpected(parser, "@", "timestamp");
        }
        parse_take(parser);
    }
    *out_to = token.to;
    return HK_OK;
}

static hk_err parse_at_time(
    struct parser *parser, const struct hk_promql_node *node, struct hk_promql_time *time,
    uint32_t *out_to) {
    struct token token;
    HK_TRY(hk_pq_peek(parser, &token));
    bool negative = token.kind == TOKEN_SUB;
    if (token.kind == TOKEN_ADD || negative) {
        parse_take(parser);
        HK_TRY(hk_pq_peek(parser, &token));
    }
    if (token.kind != TOKEN_NUMBER && token.kind != TOKEN_DURATION) {
        return hk_pq_unexpected(parser, "@", "timestamp");
    }
    parse_take(parser);
    double seconds = 0;
    HK_TRY(hk_pq_literal(parser, token, &seconds));
    if (negative) seconds = -seconds;
    double ms = round(seconds * 1000);
    if (!(fabs(ms) < 9.2e18)) {
        char text[HK_PLAIN_BYTES_MAX];
        (void)hk_format_plain(seconds, text);
        return hk_pq_fail(
            parser, node->from, "timestamp out of bounds for @ modifier: %s%s", text,
            isfinite(seconds) ? ".000000" : "");
    }
    time->at = HK_PROMQL_AT_TIME;
    time->at_ms = (int64_t)ms;
    *out_to = token.to;
    return HK_OK;
}

hk_err hk_pq_at(struct parser *parser, struct hk_promql_node *node) {
    struct token token;
    struct hk_promql_time time = { 0 };
    uint32_t to = node->to;
    HK_TRY(hk_pq_peek(parser, &token));
    if (token.kind == TOKEN_START || token.kind == TOKEN_END) {
        time.at = token.kind == TOKEN_START ? HK_PROMQL_AT_START : HK_PROMQL_AT_END;
        HK_TRY(parse_at_function(parser, &to));
    } else {
        HK_TRY(parse_at_time(parser, node, &time, &to));
    }
    struct hk_promql_time *own = time_of(node);
    if (own == NULL) {
        return hk_pq_fail(
            parser, node->from,
            "@ modifier must be preceded by an instant vector selector or range vector selector "
            "or a subquery");
    }
    if (own->at != HK_PROMQL_AT_NONE) {
        return hk_pq_fail(parser, node->from, "@ <timestamp> may not be set multiple times");
    }
    own->at = time.at;
    own->at_ms = time.at_ms;
    node->to = to;
    return HK_OK;
}

/* A duration in brackets, positive. Arithmetic is refused as Prometheus does by default. */
static hk_err parse_bracket_duration(
    struct parser *parser, const char *context, const char *expected, int64_t *out_ms) {
    struct token token;
    HK_TRY(hk_pq_peek(parser, &token));
    struct token first = token;
    bool negative = false;
    while (token.kind == TOKEN_ADD || token.kind == TOKEN_SUB) {
        negative ^= token.kind == TOKEN_SUB;
        parse_take(parser);
        HK_TRY(hk_pq_peek(parser, &token));
    }
    if (token.kind == TOKEN_LEFT_PAREN) {
        return hk_pq_fail(parser, token.to, "experimental duration expression is not enabled");
    }
    if (token.kind != TOKEN_NUMBER && token.kind != TOKEN_DURATION) {
        return hk_pq_unexpected(parser, context, expected);
    }
    parse_take(parser);
    double seconds = 0;
    HK_TRY(hk_pq_literal(parser, token, &seconds));
    if (negative) seconds = -seconds;
    if (!duration_fits(seconds)) return hk_pq_fail(parser, first.from, "duration out of range");
    HK_TRY(hk_pq_peek(parser, &token));
    if (token.kind >= TOKEN_ADD && token.kind <= TOKEN_POW) {
        return hk_pq_fail(parser, first.from, "experimental duration expression is not enabled");
    }
    if (seconds <= 0) return hk_pq_fail(parser, first.from, "duration must be greater than 0");
    *out_ms = seconds_to_ms(seconds);
    return HK_OK;
}

static hk_err finish_range(
    struct parser *parser, struct token open, struct token close, int64_t range_ms,
    struct hk_promql_node **node) {
    struct hk_promql_node *inner = *node;
    const char *why = NULL;
    if (inner->kind != HK_PROMQL_SELECTOR)
        why = "ranges only allowed for vector selectors";
    else if (inner->selector.time.offset_ms != 0)
        why = "no offset modifiers allowed before range";
    else if (inner->selector.time.at == HK_PROMQL_AT_TIME)
        why = "no @ modifiers allowed before range";
    if (why != NULL) return hk_pq_fail(parser, open.from, "%s", why);
    *node = hk_pq_node(parser, HK_PROMQL_RANGE, HK_PROMQL_MATRIX, inner->from, close.to);
    if (*node == NULL) return HK_E_NOMEM;
    (*node)->range.range_ms = range_ms;
    return hk_pq_children(parser, *node, &inner, 1);
}

hk_err hk_pq_bracket(struct parser *parser, struct token open, struct hk_promql_node **node) {
    struct token token;
    int64_t range_ms = 0;
    int64_t step_ms = 0;
    HK_TRY(parse_bracket_duration(parser, "subquery selector", "number or duration", &range_ms));
    HK_TRY(hk_pq_peek(parser, &token));
    if (token.kind == TOKEN_RIGHT_BRACKET) {
        parse_take(parser);
        return finish_range(parser, open, token, range_ms, node);
    }
    if (token.kind != TOKEN_COLON) {
        return hk_pq_unexpected(parser, "subquery or range", "\":\" or \"]\"");
    }
    parse_take(parser);
    HK_TRY(hk_pq_peek(parser, &token));
    if (token.kind != TOKEN_RIGHT_BRACKET) {
        uint32_t at = token.from;
        HK_TRY(parse_bracket_duration(
            parser, "subquery selector", "number or duration or \"]\"", &step_ms));
        if (step_ms == 0) return hk_pq_fail(parser, at, "duration must be greater than 0");
        HK_TRY(hk_pq_peek(parser, &token));
    }
    if (token.kind != TOKEN_RIGHT_BRACKET) {
        return hk_pq_unexpected(parser, "subquery selector", "\"]\"");
    }
    parse_take(parser);
    struct hk_promql_node *inner = *node;
    *node = hk_pq_node(parser, HK_PROMQL_SUBQUERY, HK_PROMQL_MATRIX, inner->from, token.to);
    if (*node == NULL) return HK_E_NOMEM;
    (*node)->subquery.range_ms = range_ms;
    (*node)->subquery.step_ms = step_ms;
    return hk_pq_children(parser, *node, &inner, 1);
}
