/* Goal: rule files as Prometheus reads them, and the place of each fault in them. */
#include "conf/rules.h"

#include "hk_test.h"

/* An "expression" is wrong at its first «!». */
static hk_err check_expr(void *self, struct hk_str expr, struct hk_text_error *out) {
    (void)self;
    size_t at = hk_str_find(expr, '!', 0);
    if (at == expr.len) return HK_OK;
    out->offset = at;
    (void)snprintf(out->text, sizeof(out->text), "unexpected !");
    (void)snprintf(out->mend, sizeof(out->mend), "remove it");
    return HK_E_MALFORMED;
}

static hk_err check_template(void *self, struct hk_str text, struct hk_text_error *out) {
    (void)self;
    if (hk_str_find(text, '{', 0) == text.len || hk_str_find(text, '}', 0) < text.len) {
        return HK_OK;
    }
    out->offset = hk_str_find(text, '{', 0);
    (void)snprintf(out->text, sizeof(out->text), "unclosed {");
    return HK_E_MALFORMED;
}

static const struct hk_rule_checks checks = { NULL, check_expr, check_template };

TEST(golden) {
    struct hk_conf_report report;
    struct hk_config *config = NULL;
    struct hk_rule_set *rules = NULL;
    hk_conf_report_init(&report);
    CHECK_INT(
        hk_config_parse(
            HK_STR("tests/golden/config/x.yml"),
            HK_STR("global: {rule_query_offset: 3s}\nrule_files: [rules/*.yml, none/*.yml]"), NULL,
            &report, &config),
        HK_OK);
    CHECK_INT(hk_rules_load(config, NULL, NULL, &report, &rules), HK_OK);
    struct hk_buf out;
    hk_buf_init(&out, 100000);
    hk_conf_report_print(&report, &out);
    CHECK_STR(
        hk_buf_get(&out), HK_STR("tests/golden/config/x.yml: warning: rule_files: no file matches "
                                 "tests/golden/config/none/*.yml, no rules come from it\n"));
    hk_buf_deinit(&out);
    if (rules != NULL) {
        CHECK_INT(rules->group_count, 1);
        CHECK_INT(rules->rule_count, 2);
        CHECK_INT(rules->alert_count, 1);
        CHECK_STR(rules->files.items[0], HK_STR("tests/golden/config/rules/alerts.yml"));
        const struct hk_conf_rule_group *group = &rules->groups[0];
        CHECK_INT(group->interval_ms, 10000);
        CHECK_INT(group->query_offset_ms, 1000);
        CHECK_INT(group->limit, 100);
        CHECK_STR(group->labels.items[0].value, HK_STR("infra"));
        const struct hk_conf_rule *alert = &group->rules.items[1];
        CHECK_STR(alert->alert, HK_STR("HostDown"));
        CHECK_INT(alert->for_ms, 300000);
        CHECK_INT(alert->keep_firing_for_ms, 60000);
        CHECK_INT(alert->line, 10);
        CHECK_INT(alert->expr_line, 12);
        CHECK_INT(alert->expr_column, 7);
        CHECK_STR(
            alert->expr, HK_STR("up{job=\"node\"} == 0\n  unless on (instance) maintenance\n"));
        CHECK_STR(alert->annotations.items[0].value, HK_STR("${NOT_REPLACED}"));
    }
    hk_rule_set_destroy(rules);
    hk_config_destroy(config);
    hk_conf_report_deinit(&report);
}

static const struct {
    const char *text;
    const char *problems;
} cases[] = {
    { "groups: []", "" },
    { "", "" },
    { "groups:\n- name: a\n  rules:\n  - record: x\n    expr: 1\n", "" },
    { "groups:\n- rules: []\n",
      "r.yml:2:3: error: name is missing in rule_group; mend: add name: …\n" },
    { "groups:\n- {name: a}\n- {name: a, intervall: 5s, interval: 5}\n",
      "r.yml:3:10: error: two groups of this file are called \"a\", the first on line 2; mend: "
      "give "
      "each group a name of its own\n"
      "r.yml:3:13: error: unknown key intervall in rule_group; mend: did you mean interval?\n"
      "r.yml:3:38: error: \"5\" is not a duration; mend: give a unit: 5s, 5ms or 5m\n" },
    { "groups:\n- name: a\n  rules:\n  - record: x\n    alert: y\n    expr: 1\n  - expr: 1\n"
      "  - alert: z\n",
      "r.yml:5:12: error: a rule has both record and alert; mend: split it into two rules\n"
      "r.yml:7:5: error: a rule has neither record nor alert; mend: add record: name or alert: "
      "Name\n"
      "r.yml:8:5: error: expr is missing in rule; mend: add expr: …\n" },
    { "groups:\n- name: a\n  rules:\n  - record: x{a=\"b\"}\n    expr: ' '\n    for: 5m\n"
      "    annotations: {a: b}\n    labels: {__name__: x}\n",
      "r.yml:4:13: error: record has braces in it; mend: give a metric name; expressions belong in "
      "expr\n"
      "r.yml:5:11: error: expr is empty; mend: write an expression\n"
      "r.yml:6:10: error: a recording rule has no for; mend: remove it, or write alert in place of "
      "record\n"
      "r.yml:7:18: error: a recording rule has no annotations; mend: remove it, or write alert in "
      "place of record\n"
      "r.yml:8:24: error: a rule cannot set the label __name__; mend: remove it; record or alert "
      "gives the name\n" },
    /* Places inside of plain, quoted, literal, folded and multi-line values. */
    { "groups:\n- name: a\n  rules:\n  - {alert: A, expr: a + ! b}\n",
      "r.yml:4:26: error: expr: unexpected !; mend: remove it\n" },
    { "groups:\n- name: a\n  rules:\n  - {alert: A, expr: 'x == ''y'' ! b'}\n",
      "r.yml:4:34: error: expr: unexpected !; mend: remove it\n" },
    { "groups:\n- name: a\n  rules:\n  - alert: A\n    expr: |\n      a\n        + ü !\n",
      "r.yml:7:13: error: expr: unexpected !; mend: remove it\n" },
    { "groups:\n- name: a\n  rules:\n  - alert: A\n    expr: >-\n      a\n      +\n\n      b !\n",
      "r.yml:9:9: error: expr: unexpected !; mend: remove it\n" },
    { "groups:\n- name: a\n  rules:\n  - alert: A\n    expr: a +\n      b !\n",
      "r.yml:6:9: error: expr: unexpected !; mend: remove it\n" },
    { "groups:\n- name: a\n  rules:\n  - alert: A\n    expr: a\n    annotations:\n"
      "      s: \"x \\\"y\\\" {{ $value\"\n    labels: {l: '{'}\n",
      "r.yml:7:19: error: template: unclosed {\n"
      "r.yml:8:18: error: template: unclosed {\n" },
    { "- a", "r.yml:1:1: error: rule_file must be a mapping, not a list; mend: write it as key: "
             "value\n" },
};

TEST(problems) {
    for (size_t i = 0; i < HK_COUNT(cases); i++) {
        struct hk_conf_report report;
        struct hk_rule_set *rules = NULL;
        struct hk_buf out;
        hk_conf_report_init(&report);
        hk_buf_init(&out, 1 << 20);
        hk_err err =
            hk_rules_parse(HK_STR("r.yml"), hk_str_from(cases[i].text), &checks, &report, &rules);
        hk_conf_report_print(&report, &out);
        CHECK_STR(hk_buf_get(&out), hk_str_from(cases[i].problems));
        CHECK_INT(err, report.error_count > 0 ? HK_E_INVALID : HK_OK);
        hk_rule_set_destroy(rules);
        hk_buf_deinit(&out);
        hk_conf_report_deinit(&report);
    }
}

TEST(missing_file) {
    struct hk_conf_report report;
    struct hk_rule_set *rules = NULL;
    hk_conf_report_init(&report);
    CHECK_INT(hk_rules_load_file("/nonexistent/r.yml", NULL, &report, &rules), HK_E_INVALID);
    CHECK_INT(report.error_count, 1);
    hk_conf_report_deinit(&report);
}

static hk_err parse_once(void) {
    struct hk_conf_report report;
    struct hk_rule_set *rules = NULL;
    hk_conf_report_init(&report);
    hk_err err = hk_rules_parse(
        HK_STR("r.yml"),
        HK_STR("groups:\n- name: a\n  rules:\n  - alert: x\n    expr: 1\n    labels: {a: b}\n"),
        NULL, &report, &rules);
    hk_rule_set_destroy(rules);
    hk_conf_report_deinit(&report);
    return err;
}

TEST(allocation_failures) {
    SWEEP_ALLOC(parse_once());
}

HK_TEST_MAIN()
