/* The canonical text of a tree. No recursion: the walk follows parents, and finds the next child by
 * comparing pointers. */
#include "lang/promql.h"
#include "lang/text.h"

#include <math.h>

static void print_name(struct hk_str name, bool metric, struct hk_buf *out) {
    if (hk_name_is_classic(name, metric))
        hk_buf_str(out, name);
    else
        hk_quote(name, out);
}

static void print_names(const struct hk_str *names, uint32_t count, struct hk_buf *out) {
    for (uint32_t i = 0; i < count; i++) {
        if (i > 0) hk_buf_text(out, ", ");
        print_name(names[i], true, out);
    }
}

static void print_duration(int64_t ms, struct hk_buf *out) {
    char text[HK_TIME_BYTES_MAX];
    hk_buf_bytes(out, text, hk_format_duration_ms(ms, text));
}

static void print_time(const struct hk_promql_time *time, struct hk_buf *out) {
    if (time->at == HK_PROMQL_AT_TIME) {
        uint64_t ms = time->at_ms < 0 ? 0 - (uint64_t)time->at_ms : (uint64_t)time->at_ms;
        hk_buf_printf(
            out, " @ %s%llu.%03llu", time->at_ms < 0 ? "-" : "", (unsigned long long)(ms / 1000),
            (unsigned long long)(ms % 1000));
    } else if (time->at != HK_PROMQL_AT_NONE) {
        hk_buf_text(out, time->at == HK_PROMQL_AT_START ? " @ start()" : " @ end()");
    }
    if (time->offset_ms == 0) return;
    hk_buf_text(out, " offset ");
    print_duration(time->offset_ms, out);
}

void hk_promql_print_matcher(const struct hk_matcher *matcher, struct hk_buf *out) {
    static const char *const ops[] = { "=", "!=", "=~", "!~" };
    print_name(matcher->name, false, out);
    hk_buf_text(out, ops[matcher->type]);
    hk_quote(matcher->value, out);
}

static bool is_name_matcher(const struct hk_promql_node *node, const struct hk_matcher *matcher) {
    return hk_str_is(matcher->name, "__name__") && matcher->type == HK_MATCH_EQUAL &&
           matcher->value.len > 0 && hk_str_eq(matcher->value, node->selector.name);
}

/* Order of the printed matchers: that of their texts. */
static int matcher_cmp(const struct hk_matcher *a, const struct hk_matcher *b) {
    struct hk_buf left;
    struct hk_buf right;
    hk_buf_init(&left, SIZE_MAX);
    hk_buf_init(&right, SIZE_MAX);
    hk_promql_print_matcher(a, &left);
    hk_promql_print_matcher(b, &right);
    int order = hk_str_cmp(hk_buf_get(&left), hk_buf_get(&right));
    hk_buf_deinit(&left);
    hk_buf_deinit(&right);
    return order;
}

/* Is matcher `a` printed before matcher `b`? Equal texts keep their order. */
static bool comes_before(const struct hk_matcher *matchers, uint32_t a, uint32_t b) {
    int order = matcher_cmp(&matchers[a], &matchers[b]);
    return order < 0 || (order == 0 && a < b);
}

/* Prints the matchers in order by selection: few, and no memory is needed. */
static void print_selector(const struct hk_promql_node *node, struct hk_buf *out) {
    const struct hk_matcher *matchers = node->selector.matchers;
    uint32_t count = node->selector.matcher_count;
    hk_buf_str(out, node->selector.name);
    uint32_t last = UINT32_MAX;
    bool open = false;
    for (;;) {
        uint32_t next = UINT32_MAX;
        for (uint32_t i = 0; i < count; i++) {
            if (is_name_matcher(node, &matchers[i])) continue;
            if (last != UINT32_MAX && (i == last || !comes_before(matchers, last, i))) continue;
            if (next == UINT32_MAX || comes_before(matchers, i, next)) next = i;
        }
        if (next == UINT32_MAX || out->err < 0) break;
        hk_buf_char(out, open ? ',' : '{');
        open = true;
        hk_promql_print_matcher(&matchers[next], out);
        last = next;
    }
    if (open)
        hk_buf_char(out, '}');
    else if (node->selector.name.len == 0)
        hk_buf_text(out, "{}");
}

static void print_number(const struct hk_promql_node *node, struct hk_buf *out) {
    if (node->number.duration) {
        print_duration(llround(node->number.value * 1000), out);
        return;
    }
    char text[HK_PLAIN_BYTES_MAX];
    hk_buf_bytes(out, text, hk_format_plain(node->number.value, text));
}

static void print_aggregate(const struct hk_promql_node *node, struct hk_buf *out) {
    hk_buf_text(out, hk_promql_aggregation_text(node->aggregate.op));
    if (node->aggregate.without || node->aggregate.label_count > 0) {
        hk_buf_text(out, node->aggregate.without ? " without (" : " by (");
        print_names(node->aggregate.labels, node->aggregate.label_count, out);
        hk_buf_text(out, ") ");
    }
    hk_buf_char(out, '(');
}

static void print_operator(const struct hk_promql_node *node, struct hk_buf *out) {
    hk_buf_printf(out, " %s", hk_promql_op_text(node->binary.op));
    if (node->binary.return_bool) hk_buf_text(out, " bool");
    if (node->binary.matching && (node->binary.on || node->binary.label_count > 0)) {
        hk_buf_text(out, node->binary.on ? " on (" : " ignoring (");
        print_names(node->binary.labels, node->binary.label_count, out);
        hk_buf_char(out, ')');
        enum hk_promql_card card = node->binary.card;
        if (card == HK_PROMQL_MANY_TO_ONE || card == HK_PROMQL_ONE_TO_MANY) {
            hk_buf_text(out, card == HK_PROMQL_MANY_TO_ONE ? " group_left (" : " group_right (");
            print_names(node->binary.include, node->binary.include_count, out);
            hk_buf_char(out, ')');
        }
    }
    hk_buf_char(out, ' ');
}

/* What stands before the first child. */
static void print_before(const struct hk_promql_node *node, struct hk_buf *out) {
    switch (node->kind) {
    case HK_PROMQL_NUMBER:
        print_number(node, out);
        break;
    case HK_PROMQL_TEXT:
        hk_quote(node->text, out);
        break;
    case HK_PROMQL_SELECTOR:
        print_selector(node, out);
        break;
    case HK_PROMQL_CALL:
        hk_buf_printf(out, "%s(", node->call.function->name);
        break;
    case HK_PROMQL_AGGREGATE:
        print_aggregate(node, out);
        break;
    case HK_PROMQL_NEGATE:
        hk_buf_char(out, '-');
        break;
    case HK_PROMQL_PLUS:
        hk_buf_char(out, '+');
        break;
    case HK_PROMQL_PAREN:
        hk_buf_char(out, '(');
        break;
    case HK_PROMQL_RANGE:
    case HK_PROMQL_SUBQUERY:
    case HK_PROMQL_BINARY:
    default:
        break;
    }
}

static void print_between(const struct hk_promql_node *node, struct hk_buf *out) {
    if (node->kind == HK_PROMQL_BINARY)
        print_operator(node, out);
    else
        hk_buf_text(out, ", ");
}

/* What stands behind the last child. */
static void print_behind(
    const struct hk_promql_node *node, const struct hk_promql_node *root, struct hk_buf *out) {
    switch (node->kind) {
    case HK_PROMQL_SELECTOR:
        /* In front of a range they belong behind the bracket. */
        if (node == root || node->parent->kind != HK_PROMQL_RANGE)
            print_time(&node->selector.time, out);
        break;
    case HK_PROMQL_RANGE:
        hk_buf_char(out, '[');
        print_duration(node->range.range_ms, out);
        hk_buf_char(out, ']');
        print_time(&node->children[0]->selector.time, out);
        break;
    case HK_PROMQL_SUBQUERY:
        hk_buf_char(out, '[');
        print_duration(node->subquery.range_ms, out);
        hk_buf_char(out, ':');
        if (node->subquery.step_ms != 0) print_duration(node->subquery.step_ms, out);
        hk_buf_char(out, ']');
        print_time(&node->subquery.time, out);
        break;
    case HK_PROMQL_CALL:
    case HK_PROMQL_AGGREGATE:
    case HK_PROMQL_PAREN:
        hk_buf_char(out, ')');
        break;
    case HK_PROMQL_NUMBER:
    case HK_PROMQL_TEXT:
    case HK_PROMQL_BINARY:
    case HK_PROMQL_NEGATE:
    case HK_PROMQL_PLUS:
    default:
        break;
    }
}

/* Child number `step` in the order of the text: an aggregation's parameter comes first. */
static const struct hk_promql_node *child_at(const struct hk_promql_node *node, uint32_t step) {
    if (step >= node->child_count) return NULL;
    bool swap = node->kind == HK_PROMQL_AGGREGATE && node->child_count == 2;
    return node->children[swap ? 1 - step : step];
}

void hk_promql_print_node(const struct hk_promql_node *root, struct hk_buf *out) {
    const struct hk_promql_node *node = root;
    print_before(node, out);
    const struct hk_promql_node *next = child_at(node, 0);
    while (out->err == HK_OK) {
        if (next != NULL) {
            node = next;
            print_before(node, out);
            next = child_at(node, 0);
            continue;
        }
        print_behind(node, root, out);
        if (node == root) return;
        const struct hk_promql_node *parent = node->parent;
        uint32_t step = 0;
        while (child_at(parent, step) != node)
            step++;
        next = child_at(parent, step + 1);
        if (next != NULL) print_between(parent, out);
        node = parent;
    }
}

void hk_promql_print(const struct hk_promql *promql, struct hk_buf *out) {
    hk_promql_print_node(promql->root, out);
}
