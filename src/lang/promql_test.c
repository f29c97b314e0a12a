/* Goal: the whole grammar is read, printed in Prometheus' canonical form, and refused with its
 * words. */
#include "hk_test.h"

#include "lang/promql.h"
#include "lang/text.h"

#include <math.h>

static const struct {
    const char *query;
    const char *printed;
} good[] = {
    { "1", "1" },
    { "1.5e3", "1500" },
    { "0x1F", "31" },
    { "017", "15" },
    { "1_000.5", "1000.5" },
    { ".5", "0.5" },
    { "Inf", "+Inf" },
    { "-NaN", "NaN" },
    { "5m", "5m" },
    { "-1h30m", "-1h30m" },
    { "\"a\\tb\"", "\"a\\tb\"" },
    { "'it\"s'", "\"it\\\"s\"" },
    { "`raw\\n`", "\"raw\\\\n\"" },
    { "up", "up" },
    { ":rec:ord", ":rec:ord" },
    { "sum", "sum" },
    { "by{a=\"b\"}", "by{a=\"b\"}" },
    { "start", "start" },
    { "up{job=\"x\"}", "up{job=\"x\"}" },
    { "up{job=\"x\",}", "up{job=\"x\"}" },
    { "up{b=\"1\",a!=\"2\",c=~\"3.*\",d!~\"4\"}", "up{a!=\"2\",b=\"1\",c=~\"3.*\",d!~\"4\"}" },
    { "{__name__=\"up\"}", "{__name__=\"up\"}" },
    { "{\"my.metric\"}", "{__name__=\"my.metric\"}" },
    { "{\"my.metric\",'l.x'=`y`}", "{\"l.x\"=\"y\",__name__=\"my.metric\"}" },
    { "up{\"l x\"=~\"a|b\"}", "up{\"l x\"=~\"a|b\"}" },
    { "up offset 5m", "up offset 5m" },
    { "up offset -1d", "up offset -1d" },
    { "up offset 90", "up offset 1m30s" },
    { "up @ 10", "up @ 10.000" },
    { "up @ -1.5", "up @ -1.500" },
    { "up @ start() offset 1m", "up @ start() offset 1m" },
    { "up offset 1m @ end()", "up @ end() offset 1m" },
    { "up[5m]", "up[5m]" },
    { "up[90]", "up[1m30s]" },
    { "up[1h30m] offset 5m @ 60", "up[1h30m] @ 60.000 offset 5m" },
    { "up[5m:1m]", "up[5m:1m]" },
    { "up[5m:]", "up[5m:]" },
    { "rate(up[5m])[1h:1m] offset 1w @ end()", "rate(up[5m])[1h:1m] @ end() offset 1w" },
    { "-up", "-up" },
    { "+up", "+up" },
    { "--up", "--up" },
    { "-1", "-1" },
    { "- 1", "-1" },
    { "-(1)", "-(1)" },
    { "1 + 2 * 3", "1 + 2 * 3" },
    { "(1 + 2) * 3", "(1 + 2) * 3" },
    { "2 ^ 3 ^ 2", "2 ^ 3 ^ 2" },
    { "-2 ^ 2", "-2 ^ 2" },
    { "-up * 2", "-up * 2" },
    { "a and b or c unless d", "a and b or c unless d" },
    { "a == bool 1", "a == bool 1" },
    { "a > b", "a > b" },
    { "1 != bool 2", "1 != bool 2" },
    { "a + on (x) b", "a + on (x) b" },
    { "a + on() b", "a + on () b" },
    { "a + ignoring (x,y) b", "a + ignoring (x, y) b" },
    { "a + ignoring () b", "a + b" },
    { "a * on (x) group_left b", "a * on (x) group_left () b" },
    { "a * on (x) group_left () b", "a * on (x) group_left () b" },
    { "a * on (x) group_left (y, z,) b", "a * on (x) group_left (y, z) b" },
    { "a * ignoring (x) group_right (y) b", "a * ignoring (x) group_right (y) b" },
    { "a and on (\"x y\") b", "a and on (\"x y\") b" },
    { "a % b atan2 c", "a % b atan2 c" },
    { "a <= b >= c < d", "a <= b >= c < d" },
    { "sum(a)", "sum(a)" },
    { "sum (a) by (b)", "sum by (b) (a)" },
    { "sum by (b, c) (a)", "sum by (b, c) (a)" },
    { "sum without (b) (a)", "sum without (b) (a)" },
    { "sum without () (a)", "sum without () (a)" },
    { "sum by () (a)", "sum(a)" },
    { "SUM BY (B) (a)", "sum by (B) (a)" },
    { "avg by (on, bool, sum, group_left) (a)", "avg by (on, bool, sum, group_left) (a)" },
    { "topk(3, a)", "topk(3, a)" },
    { "topk by (x) (3, a)", "topk by (x) (3, a)" },
    { "bottomk(scalar(a), b)", "bottomk(scalar(a), b)" },
    { "quantile(0.9, a)", "quantile(0.9, a)" },
    { "count_values(\"v\", a)", "count_values(\"v\", a)" },
    { "limitk(2, a)", "limitk(2, a)" },
    { "limit_ratio(-0.5, a)", "limit_ratio(-0.5, a)" },
    { "group(stddev(stdvar(a)))", "group(stddev(stdvar(a)))" },
    { "time()", "time()" },
    { "pi()", "pi()" },
    { "rate(a[5m])", "rate(a[5m])" },
    { "round(a, 5)", "round(a, 5)" },
    { "round(a)", "round(a)" },
    { "label_replace(a, \"b\", \"$1\", \"c\", \"(.*)\")",
      "label_replace(a, \"b\", \"$1\", \"c\", \"(.*)\")" },
    { "label_join(a, \"b\", \",\", \"c\", \"d\", \"e\")",
      "label_join(a, \"b\", \",\", \"c\", \"d\", \"e\")" },
    { "histogram_quantile(0.9, sum by (le) (rate(a_bucket[5m])))",
      "histogram_quantile(0.9, sum by (le) (rate(a_bucket[5m])))" },
    { "day_of_month()", "day_of_month()" },
    { "absent(a{b=\"c\"})", "absent(a{b=\"c\"})" },
    { "sort_by_label(a, \"b\", \"c\")", "sort_by_label(a, \"b\", \"c\")" },
    { "info(a, {b=\"c\"})", "info(a, {b=\"c\"})" },
    { "clamp(a, -1, 1)", "clamp(a, -1, 1)" },
    { "min_over_time(rate(a[1m])[5m:])", "min_over_time(rate(a[1m])[5m:])" },
    { "# comment\na # comment", "a" },
    { "a{ # comment\nb=\"c\"}", "a{b=\"c\"}" },
    { "a + # x\nb", "a + b" },
    { "((a))", "((a))" },
    { "a{b=\"\\u00e4\\x41\\101\\U0001F600\"}", "a{b=\"\303\244AA\360\237\230\200\"}" },
    { "a{b=\"\303\244\"}", "a{b=\"\303\244\"}" },
    { "1e-10", "0.0000000001" },
    { "100000000000000000000000", "100000000000000000000000" },
    { "a + b - c / d", "a + b - c / d" },
    { "(a or b) and c", "(a or b) and c" },
};

static const struct {
    const char *query;
    const char *error;
} bad[] = {
    { "", "unknown position: parse error: no expression found in input" },
    { "# only a comment", "1:1: parse error: no expression found in input" },
    { "1 +", "1:4: parse error: unexpected end of input" },
    { "1 + * 2", "1:5: parse error: unexpected <op:*>" },
    { "*", "1:1: parse error: unexpected <op:*>" },
    { ".", "1:1: parse error: unexpected character: '.'" },
    { "1.2.3", "1:1: parse error: bad number or duration syntax: \"1.2.\"" },
    { "1e", "1:1: parse error: bad number or duration syntax: \"1e\"" },
    { "1e1000", "1:1: parse error: error parsing number: strconv.ParseFloat: parsing \"1e1000\": "
                "value out of range" },
    { "0x", "1:1: parse error: error parsing number: strconv.ParseFloat: parsing \"0x\": invalid "
            "syntax" },
    { "5mm", "1:1: parse error: bad number or duration syntax: \"5mm\"" },
    { "5y1hs", "1:1: parse error: unknown unit \"hs\" in duration \"5y1hs\"" },
    { "1m1m", "1:1: parse error: not a valid duration string: \"1m1m\"" },
    { "a b", "1:3: parse error: unexpected identifier \"b\"" },
    { "a \"b\"", "1:3: parse error: unexpected string \"\\\"b\\\"\"" },
    { "a 1", "1:3: parse error: unexpected number \"1\"" },
    { "(a", "1:3: parse error: unclosed left parenthesis" },
    { "a)", "1:3: parse error: unexpected right parenthesis ')'" },
    { "a]", "1:2: parse error: unexpected right bracket ']'" },
    { "a[", "1:3: parse error: unexpected end of input in duration expression" },
    { "a[]",
      "1:3: parse error: unexpected \"]\" in subquery selector, expected number or duration" },
    { "a[5m", "1:5: parse error: unclosed left bracket" },
    { "a[x]", "1:3: parse error: unexpected character in duration expression: 'x'" },
    { "a[-5m]", "1:3: parse error: duration must be greater than 0" },
    { "a[0]", "1:3: parse error: duration must be greater than 0" },
    { "a[5m][1m]", "1:6: parse error: ranges only allowed for vector selectors" },
    { "a[5m:1m", "1:8: parse error: unclosed left bracket" },
    { "a[:1m]", "1:4: parse error: unexpected colon before duration in duration expression" },
    { "a[5m:1m:1m]", "1:8: parse error: unexpected colon ':'" },
    { "a[5m:-1m]", "1:6: parse error: duration must be greater than 0" },
    { "a[5m 1m]", "1:6: parse error: unexpected duration \"1m\" in subquery or range, expected "
                  "\":\" or \"]\"" },
    { "(a)[5m]", "1:4: parse error: ranges only allowed for vector selectors" },
    { "1[5m]", "1:2: parse error: ranges only allowed for vector selectors" },
    { "a offset 1m[5m]", "1:12: parse error: no offset modifiers allowed before range" },
    { "a @ 1[5m]", "1:6: parse error: no @ modifiers allowed before range" },
    { "a[5m:1m][5m]", "1:9: parse error: ranges only allowed for vector selectors" },
    { "a[5m] offset",
      "1:13: parse error: unexpected end of input in offset, expected number or duration" },
    { "a offset x",
      "1:10: parse error: unexpected identifier \"x\" in offset, expected number or duration" },
    { "a offset 5m offset 1m", "1:1: parse error: offset may not be set multiple times" },
    { "1 offset 5m", "1:1: parse error: offset modifier must be preceded by an instant vector "
                     "selector or range vector selector or a subquery" },
    { "(a) offset 5m", "1:1: parse error: offset modifier must be preceded by an instant vector "
                       "selector or range vector selector or a subquery" },
    { "a @", "1:4: parse error: unexpected end of input in @, expected timestamp" },
    { "a @ x", "1:5: parse error: unexpected identifier \"x\" in @, expected timestamp" },
    { "a @ start", "1:10: parse error: unexpected end of input in @, expected timestamp" },
    { "a @ 1 @ 2", "1:1: parse error: @ <timestamp> may not be set multiple times" },
    { "1 @ 2", "1:1: parse error: @ modifier must be preceded by an instant vector selector or "
               "range vector selector or a subquery" },
    { "a @ Inf", "1:1: parse error: timestamp out of bounds for @ modifier: +Inf" },
    { "a{", "1:3: parse error: unexpected end of input inside braces" },
    { "a{b", "1:4: parse error: unexpected end of input inside braces" },
    { "a{b}",
      "1:4: parse error: unexpected \"}\" in label matching, expected label matching operator" },
    { "a{b=", "1:5: parse error: unexpected end of input inside braces" },
    { "a{b=c}",
      "1:5: parse error: unexpected identifier \"c\" in label matching, expected string" },
    { "a{b=\"c\"", "1:8: parse error: unexpected end of input inside braces" },
    { "a{b=\"c\" d=\"e\"}",
      "1:9: parse error: unexpected identifier \"d\" in label matching, expected \",\" or \"}\"" },
    { "a{,}",
      "1:3: parse error: unexpected \",\" in label matching, expected identifier or \"}\"" },
    { "a{b=\"c\",,}",
      "1:9: parse error: unexpected \",\" in label matching, expected identifier or \"}\"" },
    { "a{=}",
      "1:3: parse error: unexpected \"=\" in label matching, expected identifier or \"}\"" },
    { "a{b==\"c\"}", "1:5: parse error: unexpected \"=\" in label matching, expected string" },
    { "a{b!\"c\"}", "1:4: parse error: unexpected character after '!' inside braces: '\"'" },
    { "a{b~\"c\"}", "1:4: parse error: unexpected character inside braces: '~'" },
    { "a{b=~\"(\"}", "1:3: parse error: error parsing regexp: missing closing ): `(`" },
    { "a{b=~\"[a\"}", "1:3: parse error: error parsing regexp: missing closing ]: `[a`" },
    { "a{b=~\"+\"}",
      "1:3: parse error: error parsing regexp: missing argument to repetition operator: `+`" },
    { "a{{}}", "1:3: parse error: unexpected left brace '{'" },
    { "a{__name__=\"b\"}", "1:1: parse error: metric name must not be set twice: \"a\" or \"b\"" },
    { "a{\"b\"}", "1:1: parse error: metric name must not be set twice: \"a\" or \"b\"" },
    { "{}", "1:1: parse error: vector selector must contain at least one non-empty matcher" },
    { "{a=\"\"}", "1:1: parse error: vector selector must contain at least one non-empty matcher" },
    { "{a!=\"b\"}",
      "1:1: parse error: vector selector must contain at least one non-empty matcher" },
    { "{a=~\".*\"}",
      "1:1: parse error: vector selector must contain at least one non-empty matcher" },
    { "\"a", "1:1: parse error: unterminated quoted string" },
    { "'a", "1:1: parse error: unterminated quoted string" },
    { "`a", "1:1: parse error: unterminated raw string" },
    { "\"a\\q\"", "1:1: parse error: unknown escape sequence U+0071 'q'" },
    { "\"\\xg0\"", "1:1: parse error: illegal character U+0067 'g' in escape sequence" },
    { "\"\\ud800\"", "1:1: parse error: escape sequence is an invalid Unicode code point" },
    { "\"\\400\"", "1:1: parse error: escape sequence is an invalid Unicode code point" },
    { "sum(", "1:5: parse error: unclosed left parenthesis" },
    { "sum()", "1:1: parse error: no arguments for aggregate expression provided" },
    { "sum(a, b)", "1:1: parse error: wrong number of arguments for aggregate expression provided, "
                   "expected 1, got 2" },
    { "sum(a b)", "1:7: parse error: unexpected identifier \"b\" in aggregation" },
    { "sum(a) by", "1:10: parse error: unexpected end of input in grouping opts, expected \"(\"" },
    { "sum(a) by x",
      "1:11: parse error: unexpected identifier \"x\" in grouping opts, expected \"(\"" },
    { "sum(a) by (x", "1:13: parse error: unclosed left parenthesis" },
    { "sum(a) by (x y)",
      "1:14: parse error: unexpected identifier \"y\" in grouping opts, expected \",\" or \")\"" },
    { "sum(a) by (1)",
      "1:12: parse error: unexpected number \"1\" in grouping opts, expected label" },
    { "sum by (a)", "1:11: parse error: unexpected end of input in aggregation" },
    { "sum by (a) b", "1:12: parse error: unexpected identifier \"b\" in aggregation" },
    { "sum by (without) (a)",
      "1:9: parse error: unexpected <without> in grouping opts, expected label" },
    { "topk(a)", "1:1: parse error: wrong number of arguments for aggregate expression provided, "
                 "expected 2, got 1" },
    { "topk(a, b)",
      "1:6: parse error: expected type scalar in aggregation parameter, got instant vector" },
    { "topk(\"x\", b)",
      "1:6: parse error: expected type scalar in aggregation parameter, got string" },
    { "count_values(1, a)",
      "1:14: parse error: expected type string in aggregation parameter, got scalar" },
    { "sum(\"a\")",
      "1:5: parse error: expected type instant vector in aggregation expression, got string" },
    { "sum(a[5m])", "1:5: parse error: expected type instant vector in aggregation expression, got "
                    "range vector" },
    { "foo(a)", "1:1: parse error: unknown function with name \"foo\"" },
    { "rate(a)", "1:6: parse error: expected type range vector in call to function \"rate\", got "
                 "instant vector" },
    { "rate()", "1:1: parse error: expected 1 argument(s) in call to \"rate\", got 0" },
    { "rate(a[5m], 1)", "1:1: parse error: expected 1 argument(s) in call to \"rate\", got 2" },
    { "rate(a[5m],)", "1:11: parse error: trailing commas not allowed in function call args" },
    { "rate(,)", "1:6: parse error: unexpected \",\"" },
    { "round(a, 1, 2)",
      "1:1: parse error: expected at most 2 argument(s) in call to \"round\", got 3" },
    { "label_join(a)",
      "1:1: parse error: expected at least 3 argument(s) in call to \"label_join\", got 1" },
    { "clamp(a, \"b\", 1)",
      "1:10: parse error: expected type scalar in call to function \"clamp\", got string" },
    { "time(1)", "1:1: parse error: expected 0 argument(s) in call to \"time\", got 1" },
    { "info(a, b)",
      "1:9: parse error: expected label selectors only, got vector selector instead" },
    { "info(a, 1)",
      "1:1: parse error: expected type instant vector in call to function \"info\", got scalar" },
    { "info(a, sum(b))",
      "1:9: parse error: expected label selectors only, got vector selector instead" },
    { "a == bool", "1:10: parse error: unexpected end of input" },
    { "1 == 2", "1:3: parse error: comparisons between scalars must use BOOL modifier" },
    { "1 and 2", "1:1: parse error: set operator \"and\" not allowed in binary scalar expression" },
    { "a and 1", "1:1: parse error: set operator \"and\" not allowed in binary scalar expression" },
    { "a + bool b", "1:3: parse error: bool modifier can only be used on comparison operators" },
    { "a bool b", "1:3: parse error: unexpected <bool>" },
    { "a on (b) c", "1:3: parse error: unexpected <on>" },
    { "a + group_left b", "1:5: parse error: unexpected <group_left>" },
    { "a + on b",
      "1:8: parse error: unexpected identifier \"b\" in grouping opts, expected \"(\"" },
    { "a + on (b) group_left (b) c",
      "1:3: parse error: label \"b\" must not occur in ON and GROUP clause at once" },
    { "a and on (b) group_left c", "1:1: parse error: no grouping allowed for \"and\" operation" },
    { "a + on (b) 1", "1:1: parse error: vector matching only allowed between instant vectors" },
    { "1 + ignoring (b) 2",
      "1:1: parse error: vector matching only allowed between instant vectors" },
    { "a + \"b\"",
      "1:5: parse error: binary expression must contain only scalar and instant vector types" },
    { "\"a\" + \"b\"",
      "1:1: parse error: binary expression must contain only scalar and instant vector types" },
    { "a[5m] + 1",
      "1:1: parse error: binary expression must contain only scalar and instant vector types" },
    { "-\"a\"", "1:1: parse error: unary expression only allowed on expressions of type scalar or "
                "instant vector, got \"string\"" },
    { "-a[5m]", "1:1: parse error: unary expression only allowed on expressions of type scalar or "
                "instant vector, got \"range vector\"" },
    { "1[5m:1m]",
      "1:1: parse error: subquery is only allowed on instant vector, got scalar instead" },
    { "time()[5m:1m]",
      "1:1: parse error: subquery is only allowed on instant vector, got scalar instead" },
    { "\"a\"[5m:]",
      "1:1: parse error: subquery is only allowed on instant vector, got string instead" },
    { "a[5m][5m:]",
      "1:1: parse error: subquery is only allowed on instant vector, got matrix instead" },
    { "a = b", "1:3: parse error: unexpected \"=\"" },
    { "a ! b", "1:3: parse error: unexpected character after '!': ' '" },
    { "a =~ b", "1:3: parse error: unexpected character after '=': '~'" },
    { "a !~ b", "1:3: parse error: unexpected character after '!': '~'" },
    { "a & b", "1:3: parse error: unexpected character: '&'" },
    { "a; b", "1:2: parse error: unexpected character: ';'" },
    { "a \303\244", "1:3: parse error: unexpected character: '\303\244'" },
    { "\303\244", "1:1: parse error: unexpected character: '\303\244'" },
    { "a\n  + b c", "2:7: parse error: unexpected identifier \"c\"" },
    { "a[5m+1m]", "1:3: parse error: experimental duration expression is not enabled" },
    { "a[(5m)]", "1:4: parse error: experimental duration expression is not enabled" },
    { "a offset (5m)", "1:11: parse error: experimental duration expression is not enabled" },
    { "a[1h/2]", "1:3: parse error: experimental duration expression is not enabled" },
    { "@ 1", "1:1: parse error: unexpected <op:@>" },
    { "offset 1m", "1:8: parse error: unexpected duration \"1m\"" },
    { "by (a)", "1:4: parse error: unexpected \"(\"" },
    { "a,b", "1:2: parse error: unexpected \",\"" },
    { "(a,b)", "1:3: parse error: unexpected \",\"" },
    { "()", "1:2: parse error: unexpected \")\"" },
    { "rate(a[5m]) by (x)", "1:13: parse error: unexpected <by>" },
};

static hk_err print_of(const char *query, struct hk_buf *out) {
    struct hk_arena arena;
    struct hk_promql *promql = NULL;
    hk_arena_init(&arena, (size_t)64 << 20);
    hk_err err = hk_promql_parse(hk_str_from(query), &arena, &promql);
    hk_buf_clear(out);
    if (err == HK_OK) hk_promql_print(promql, out);
    hk_promql_release(promql);
    hk_arena_deinit(&arena);
    return err;
}

TEST(good_queries) {
    struct hk_buf buf;
    struct hk_buf again;
    hk_buf_init(&buf, 65536);
    hk_buf_init(&again, 65536);
    for (size_t i = 0; i < HK_COUNT(good); i++) {
        CHECK_INT(print_of(good[i].query, &buf), HK_OK);
        CHECK_STR(hk_buf_get(&buf), hk_str_from(good[i].printed));
        /* The canonical text is its own canonical text. */
        hk_buf_char(&buf, 0);
        CHECK_INT(print_of(hk_buf_get(&buf).ptr, &again), HK_OK);
        CHECK_STR(hk_buf_get(&again), hk_str_from(good[i].printed));
    }
    hk_buf_deinit(&again);
    hk_buf_deinit(&buf);
}

TEST(bad_queries) {
    struct hk_buf buf;
    hk_buf_init(&buf, 65536);
    for (size_t i = 0; i < HK_COUNT(bad); i++) {
        CHECK_INT(print_of(bad[i].query, &buf), HK_E_MALFORMED);
        CHECK_TEXT(hk_fail_text(), bad[i].error);
    }
    hk_buf_deinit(&buf);
}

TEST(tree) {
    struct hk_arena arena;
    struct hk_promql *promql = NULL;
    hk_arena_init(&arena, 1 << 20);
    CHECK_INT(
        hk_promql_parse(
            HK_STR("sum by (b) (rate(a{x=~\"y.*\"}[5m] offset 1m)) > bool on (b) c"), &arena,
            &promql),
        HK_OK);
    const struct hk_promql_node *root = promql->root;
    CHECK_INT(root->kind, HK_PROMQL_BINARY);
    CHECK_INT(root->binary.op, HK_PROMQL_GT);
    CHECK(root->binary.return_bool && root->binary.on && root->binary.matching);
    CHECK_INT(root->binary.card, HK_PROMQL_ONE_TO_ONE);
    CHECK_INT(root->id, promql->node_count - 1);
    const struct hk_promql_node *sum = root->children[0];
    CHECK_INT(sum->aggregate.op, HK_PROMQL_SUM);
    CHECK_INT(sum->aggregate.label_count, 1);
    const struct hk_promql_node *rate = sum->children[0];
    CHECK_INT(rate->call.function->id, HK_PROMQL_FN_rate);
    const struct hk_promql_node *range = rate->children[0];
    CHECK_INT(range->range.range_ms, 300000);
    const struct hk_promql_node *selector = range->children[0];
    CHECK_INT(selector->selector.time.offset_ms, 60000);
    CHECK_INT(selector->selector.matcher_count, 2);
    CHECK(hk_matcher_accepts(&selector->selector.matchers[0], HK_STR("yes")));
    CHECK(!hk_matcher_accepts(&selector->selector.matchers[0], HK_STR("no")));
    for (uint32_t i = 0; i < promql->node_count; i++) {
        const struct hk_promql_node *node = promql->nodes[i];
        CHECK_INT(node->id, i);
        for (uint32_t k = 0; k < node->child_count; k++)
            CHECK(node->children[k]->id < i && node->children[k]->parent == node);
    }
    hk_promql_release(promql);
    hk_arena_deinit(&arena);
}

static const struct {
    const char *text;
    hk_err err;
    bool empty;
    const char *printed; /* or the error */
} selectors[] = {
    { "up", HK_OK, false, "up" },
    { "up{a=\"b\"}", HK_OK, false, "up{a=\"b\"}" },
    { "{\"a b\"}", HK_OK, false, "{__name__=\"a b\"}" },
    { "{}", HK_OK, true, "{}" },
    { "{a=~\".*\"}", HK_OK, true, "{a=~\".*\"}" },
    { "", HK_E_MALFORMED, false, "unknown position: parse error: unexpected end of input" },
    { "up[5m]", HK_E_MALFORMED, false, "1:3: parse error: unexpected \"[\"" },
    { "up offset 1m", HK_E_MALFORMED, false, "1:4: parse error: unexpected <offset>" },
    { "1", HK_E_MALFORMED, false, "1:1: parse error: unexpected number \"1\"" },
    { "sum(up)", HK_E_MALFORMED, false, "1:4: parse error: unexpected \"(\"" },
};

TEST(match_selectors) {
    for (size_t i = 0; i < HK_COUNT(selectors); i++) {
        struct hk_arena arena;
        struct hk_promql *promql = NULL;
        hk_arena_init(&arena, 1 << 20);
        hk_err err = hk_promql_parse_selector(hk_str_from(selectors[i].text), &arena, &promql);
        CHECK_INT(err, selectors[i].err);
        if (err < 0) {
            CHECK_TEXT(hk_fail_text(), selectors[i].printed);
        } else {
            struct hk_buf buf;
            const struct hk_promql_node *root = promql->root;
            hk_buf_init(&buf, 4096);
            hk_promql_print(promql, &buf);
            CHECK_STR(hk_buf_get(&buf), hk_str_from(selectors[i].printed));
            CHECK(
                hk_promql_matchers_empty(root->selector.matchers, root->selector.matcher_count) ==
                selectors[i].empty);
            hk_buf_deinit(&buf);
        }
        hk_promql_release(promql);
        hk_arena_deinit(&arena);
    }
}

/* Goal: no input makes the stack grow; too much is an error. */
TEST(depth) {
    static const char *const parts[] = { "(", "-", "1+(", "sum(", "a^", "1 or " };
    for (size_t i = 0; i < HK_COUNT(parts); i++) {
        struct hk_buf buf;
        struct hk_arena arena;
        struct hk_promql *promql = NULL;
        hk_buf_init(&buf, 1 << 20);
        hk_arena_init(&arena, (size_t)512 << 20);
        for (int k = 0; k < 100000; k++)
            hk_buf_text(&buf, parts[i]);
        CHECK(hk_promql_parse(hk_buf_get(&buf), &arena, &promql) < 0);
        hk_promql_release(promql);
        hk_arena_deinit(&arena);
        hk_buf_deinit(&buf);
    }
    struct hk_buf buf;
    struct hk_buf out;
    hk_buf_init(&buf, 1 << 20);
    hk_buf_init(&out, 1 << 22);
    hk_buf_text(&buf, "a");
    for (int k = 0; k < 20000; k++)
        hk_buf_text(&buf, " + a");
    struct hk_str text = hk_buf_get(&buf);
    struct hk_arena arena;
    struct hk_promql *promql = NULL;
    hk_arena_init(&arena, (size_t)512 << 20);
    CHECK_INT(hk_promql_parse(text, &arena, &promql), HK_OK);
    hk_promql_print(promql, &out);
    CHECK_STR(hk_buf_get(&out), text);
    hk_promql_release(promql);
    hk_arena_deinit(&arena);
    hk_buf_deinit(&out);
    hk_buf_deinit(&buf);
}

static hk_err parse_once(const char *query) {
    struct hk_arena arena;
    struct hk_promql *promql = NULL;
    hk_arena_init(&arena, (size_t)16 << 20);
    hk_err err = hk_promql_parse(hk_str_from(query), &arena, &promql);
    hk_promql_release(promql);
    hk_arena_deinit(&arena);
    return err;
}

TEST(lists_are_bounded) {
    struct hk_buf buf;
    hk_buf_init(&buf, 1 << 20);
    hk_buf_text(&buf, "a{");
    for (int i = 0; i < HK_PROMQL_LIST_MAX + 1; i++)
        hk_buf_text(&buf, "b=\"c\",");
    hk_buf_bytes(&buf, "}", 2);
    CHECK_INT(parse_once(hk_buf_get(&buf).ptr), HK_E_LIMIT);
    hk_buf_clear(&buf);
    hk_buf_text(&buf, "label_join(a, \"b\", \"c\"");
    for (int i = 0; i < HK_PROMQL_LIST_MAX + 1; i++)
        hk_buf_text(&buf, ", \"d\"");
    hk_buf_bytes(&buf, ")", 2);
    CHECK_INT(parse_once(hk_buf_get(&buf).ptr), HK_E_LIMIT);
    hk_buf_deinit(&buf);
}

TEST(functions_are_found) {
    CHECK(hk_promql_function_find(HK_STR("abs")) != NULL);
    CHECK(hk_promql_function_find(HK_STR("year")) != NULL);
    CHECK(hk_promql_function_find(HK_STR("Rate")) == NULL);
    CHECK(hk_promql_function_find(HK_STR("")) == NULL);
    CHECK_INT(HK_PROMQL_FN_COUNT, 80);
}

static const struct {
    double value;
    const char *plain, *general;
} numbers[] = {
    { 0, "0", "0" },
    { -0.0, "-0", "-0" },
    { 1, "1", "1" },
    { 0.1, "0.1", "0.1" },
    { 0.0001, "0.0001", "0.0001" },
    { 0.00001, "0.00001", "1e-05" },
    { 1e-7, "0.0000001", "1e-07" },
    { 123456, "123456", "123456" },
    { 1234567, "1234567", "1.234567e+06" },
    { 1e21, "1000000000000000000000", "1e+21" },
    { -1.5e22, "-15000000000000000000000", "-1.5e+22" },
    { HUGE_VAL, "+Inf", "+Inf" },
    { 100.25, "100.25", "100.25" },
};

TEST(number_texts) {
    for (size_t i = 0; i < HK_COUNT(numbers); i++) {
        char text[HK_PLAIN_BYTES_MAX];
        size_t len = hk_format_plain(numbers[i].value, text);
        CHECK_STR(((struct hk_str){ text, len }), hk_str_from(numbers[i].plain));
        len = hk_format_general(numbers[i].value, text);
        CHECK_STR(((struct hk_str){ text, len }), hk_str_from(numbers[i].general));
    }
}

PROPERTY(plain_numbers_read_back) {
    for (int i = 0; i < 5000; i++) {
        uint64_t bits = hk_test_random();
        double value = 0;
        double back = 0;
        memcpy(&value, &bits, 8);
        if (isnan(value)) continue;
        char text[HK_PLAIN_BYTES_MAX];
        size_t len = hk_format_plain(value, text);
        CHECK_INT(hk_parse_double((struct hk_str){ text, len }, &back), HK_OK);
        CHECK_DOUBLE(back, value);
    }
}

PROPERTY(quoting_reads_back) {
    for (int i = 0; i < 2000; i++) {
        char bytes[40];
        size_t len = hk_test_random() % sizeof(bytes);
        for (size_t k = 0; k < len; k++)
            bytes[k] = (char)hk_test_random();
        struct hk_buf quoted;
        struct hk_buf back;
        hk_buf_init(&quoted, 4096);
        hk_buf_init(&back, 4096);
        hk_quote((struct hk_str){ bytes, len }, &quoted);
        CHECK_INT(hk_unquote(hk_buf_get(&quoted), &back), HK_OK);
        CHECK_STR(hk_buf_get(&back), ((struct hk_str){ bytes, len }));
        hk_buf_deinit(&back);
        hk_buf_deinit(&quoted);
    }
}

/* Goal: whatever allocation fails, the error is said and nothing is lost. */
TEST(allocation_failures) {
    SWEEP_ALLOC(parse_once("sum by (a) (rate(b{c=~\"d.*\"}[5m])) / on (a) group_left (e) f"));
}

HK_TEST_MAIN()
