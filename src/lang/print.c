/* The canonical text of a tree. No recursion: the walk follows parents, and finds the next child by
 * comparing pointers. */
#include "lang/promql.h"
#include "lang/text.h"

#include <math.h>
#include <stdlib.h>

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

/* The printed matchers of a selector, one behind the other in `text`. */
struct printed {
    uint32_t from[HK_PROMQL_LIST_MAX + 2];
    uint32_t count;
    struct hk_buf text;
};

static struct hk_str printed_at(const struct printed *printed, uint16_t index) {
    return hk_str_part(hk_buf_get(&printed->text), printed->from[index], printed->from[index + 1]);
}

static int printed_cmp(const void *a, const void *b, void *arg) {
    return hk_str_cmp(printed_at(arg, *(const uint16_t *)a), printed_at(arg, *(const uint16_t *)b));
}

/* The matchers stand in the order of their texts. */
static void print_selector(const struct hk_promql_node *node, struct hk_buf *out) {
    struct printed printed = { .count = 0 };
    uint16_t order[HK_PROMQL_LIST_MAX + 1];
    hk_buf_init(&printed.text, out->bytes_max);
    hk_buf_str(out, node->selector.name);
    for (uint32_t i = 0; i < node->selector.matcher_count; i++) {
        const struct hk_matcher *matcher = &node->selector.matchers[i];
        if (is_name_matcher(node, matcher) || printed.count > HK_PROMQL_LIST_MAX) continue;
        hk_promql_print_matcher(matcher, &printed.text);
        order[printed.count] = (uint16_t)printed.count;
        printed.from[++printed.count] = (uint32_t)printed.text.len;
    }
    if (printed.text.err < 0) out->err = printed.text.err;
    qsort_r(order, printed.count, sizeof(order[0]), printed_cmp, &printed);
    for (uint32_t i = 0; i < printed.count; i++) {
        hk_buf_char(out, i == 0 ? '{' : ',');
        hk_buf_str(out, printed_at(&printed, order[i]));
    }
    if (printed.count > 0)
        hk_buf_char(out, '}');
    else if (node->selector.name.len == 0)
        hk_buf_text(out, "{}");
    hk_buf_deinit(&printed.text);
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
    bool swap = node->kind == HK_PROMQL_AGGREGATE && node->child_count == 2;
    return node->children[swap ? 1 - step : step];
}

void hk_promql_print_node(const struct hk_promql_node *root, struct hk_buf *out) {
    const struct hk_promql_node *node = root;
    uint32_t step = 0; /* the child to print next */
    print_before(node, out);
    while (out->err == HK_OK) {
        if (step < node->child_count) {
            node = child_at(node, step);
            step = 0;
            print_before(node, out);
            continue;
        }
        print_behind(node, root, out);
        if (node == root) return;
        const struct hk_promql_node *parent = node->parent;
        step = 0;
        while (child_at(parent, step) != node)
            step++;
        step++;
        if (step < parent->child_count) print_between(parent, out);
        node = parent;
    }
}

void hk_promql_print(const struct hk_promql *promql, struct hk_buf *out) {
    hk_promql_print_node(promql->root, out);
}
