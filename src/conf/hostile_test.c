/* Goal: no text makes the loader slow, deep, large or wrong: everything has a bound and says so. */
#include "conf/config.h"
#include "hk_test.h"

/* Loads the text and gives the first problem. */
static hk_err load(struct hk_str text, char *problem, size_t bytes) {
    struct hk_conf_report report;
    struct hk_config *config = NULL;
    hk_conf_report_init(&report);
    const struct hk_conf_source source = { .no_files = true };
    hk_err err = hk_config_parse(HK_STR("f.yml"), text, &source, &report, &config);
    problem[0] = 0;
    if (report.count > 0) {
        (void)snprintf(problem, bytes, "%.*s", HK_STR_ARG(report.items[0].text));
    }
    hk_config_destroy(config);
    hk_conf_report_deinit(&report);
    return err;
}

TEST(alias_bomb) {
    struct hk_buf text;
    hk_buf_init(&text, 1 << 20);
    hk_buf_text(&text, "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
    for (int i = 1; i < 12; i++) {
        hk_buf_printf(&text, "a%d: &a%d [", i, i);
        for (int k = 0; k < 10; k++)
            hk_buf_printf(&text, "%s*a%d", k > 0 ? "," : "", i - 1);
        hk_buf_text(&text, "]\n");
    }
    char problem[512];
    CHECK_INT(load(hk_buf_get(&text), problem, sizeof(problem)), HK_E_INVALID);
    CHECK_TEXT(problem, "aliases expand to more than 400000 values");
    hk_buf_deinit(&text);
}

TEST(merge_bomb) {
    struct hk_buf text;
    hk_buf_init(&text, 1 << 20);
    hk_buf_text(&text, "a: &a {");
    for (int i = 0; i < 300; i++)
        hk_buf_printf(&text, "k%d: 1,", i);
    hk_buf_text(&text, "}\nb: {<<: *a}\n");
    char problem[512];
    CHECK_INT(load(hk_buf_get(&text), problem, sizeof(problem)), HK_E_INVALID);
    CHECK_TEXT(problem, "<< merges too many keys (at most 200 into 2000)");
    hk_buf_deinit(&text);
}

TEST(merge_list_bomb) {
    struct hk_buf text;
    hk_buf_init(&text, 1 << 20);
    for (int i = 0; i < 20; i++) {
        hk_buf_printf(&text, "a%d: &a%d {", i, i);
        for (int k = 0; k < 190; k++)
            hk_buf_printf(&text, "k%d_%d: 1,", i, k);
        hk_buf_text(&text, "}\n");
    }
    hk_buf_text(&text, "b: {<<: [");
    for (int i = 0; i < 20; i++)
        hk_buf_printf(&text, "*a%d,", i);
    hk_buf_text(&text, "]}\n");
    char problem[512];
    CHECK_INT(load(hk_buf_get(&text), problem, sizeof(problem)), HK_E_INVALID);
    CHECK_TEXT(problem, "<< merges too many keys (at most 200 into 2000)");
    hk_buf_deinit(&text);
}

TEST(deep_nesting) {
    char problem[512];
    struct hk_buf text;
    hk_buf_init(&text, 4 << 20);
    for (int i = 0; i < 100000; i++)
        hk_buf_char(&text, '[');
    CHECK_INT(load(hk_buf_get(&text), problem, sizeof(problem)), HK_E_INVALID);
    CHECK_TEXT(problem, "mappings and lists are nested more than 48 levels deep");
    hk_buf_clear(&text);
    for (int i = 0; i < 60; i++)
        hk_buf_printf(&text, "%*sa:\n", i, "");
    CHECK_INT(load(hk_buf_get(&text), problem, sizeof(problem)), HK_E_INVALID);
    CHECK_TEXT(problem, "mappings and lists are nested more than 48 levels deep");
    hk_buf_deinit(&text);
}

/* Routes nest in themselves: the deepest that fits is read without recursion. */
TEST(nested_routes) {
    struct hk_buf text;
    hk_buf_init(&text, 1 << 20);
    hk_buf_text(&text, "alertmanager: {receivers: [{name: a}], route: ");
    for (int i = 0; i < 22; i++)
        hk_buf_text(&text, "{receiver: a, routes: [");
    for (int i = 0; i < 22; i++)
        hk_buf_text(&text, "]}");
    hk_buf_text(&text, "}");
    char problem[512];
    CHECK_INT(load(hk_buf_get(&text), problem, sizeof(problem)), HK_OK);
    CHECK_TEXT(problem, "routes is not acted on yet: every alert takes the outermost route");
    hk_buf_deinit(&text);
}

TEST(too_many) {
    char problem[512];
    struct hk_buf text;
    hk_buf_init(&text, 8 << 20);
    hk_buf_text(&text, "rule_files:\n");
    for (int i = 0; i < 400001; i++)
        hk_buf_text(&text, "- a\n");
    CHECK_INT(load(hk_buf_get(&text), problem, sizeof(problem)), HK_E_INVALID);
    CHECK_TEXT(problem, "the file has more than 400000 values");
    hk_buf_clear(&text);
    hk_buf_text(&text, "global: {external_labels: {");
    for (int i = 0; i < 300; i++)
        hk_buf_printf(&text, "l%d: x,", i);
    hk_buf_text(&text, "}}");
    CHECK_INT(load(hk_buf_get(&text), problem, sizeof(problem)), HK_E_INVALID);
    CHECK_TEXT(problem, "external_labels has 300 entries, more than 256");
    hk_buf_clear(&text);
    for (int i = 0; i < 1002; i++)
        hk_buf_printf(&text, "k%d: &a%d x\n", i, i);
    CHECK_INT(load(hk_buf_get(&text), problem, sizeof(problem)), HK_E_INVALID);
    CHECK_TEXT(problem, "the file has more than 1000 anchors");
    hk_buf_deinit(&text);
}

/* More problems than are kept: errors push warnings out, all are counted. */
TEST(many_problems) {
    struct hk_conf_report report;
    struct hk_config *config = NULL;
    struct hk_buf text;
    hk_conf_report_init(&report);
    hk_buf_init(&text, 1 << 20);
    hk_buf_text(&text, "scrape_configs:\n");
    for (int i = 0; i < 300; i++)
        hk_buf_printf(&text, "- job_name: j%d\n  consul_sd_configs: [{}]\n", i);
    hk_buf_text(&text, "- zzz: 1\n");
    CHECK_INT(
        hk_config_parse(HK_STR("f"), hk_buf_get(&text), NULL, &report, &config), HK_E_INVALID);
    CHECK_INT(report.count, HK_CONF_PROBLEMS_MAX);
    CHECK_INT(report.warning_count, 300);
    CHECK_INT(report.error_count, 2);
    hk_buf_clear(&text);
    hk_conf_report_print(&report, &text);
    CHECK(hk_str_ends(hk_buf_get(&text), HK_STR("… and 102 more (the first 200 are shown)\n")));
    hk_buf_char(&text, 0);
    CHECK(strstr(text.ptr, "unknown key zzz") != NULL);
    hk_buf_deinit(&text);
    hk_conf_report_deinit(&report);
}

/* What is printed cannot command the reader's terminal. */
TEST(control_characters) {
    struct hk_conf_report report;
    struct hk_config *config = NULL;
    struct hk_buf out;
    hk_conf_report_init(&report);
    hk_buf_init(&out, 10000);
    CHECK_INT(
        hk_config_parse(HK_STR("f"), HK_STR("\"a\\e[31m\": 1"), NULL, &report, &config),
        HK_E_INVALID);
    hk_conf_report_print(&report, &out);
    CHECK(memchr(out.ptr, 0x1b, out.len) == NULL);
    hk_buf_deinit(&out);
    hk_conf_report_deinit(&report);
}

static hk_err load_once(void) {
    char problem[512];
    return load(
        HK_STR("scrape_configs:\n- &x {job_name: 'a${Y:-b}', params: {a: [b]},\n"
               "  static_configs: [{targets: [a:1], labels: {a: b}}], bearer_token: x,\n"
               "  consul_sd_configs: [{}], relabel_configs: [{target_label: x}]}\n"
               "- {<<: *x, job_name: c}\n"
               "alertmanager: {route: {receiver: a}, receivers: [{name: a}]}\n"),
        problem, sizeof(problem));
}

TEST(allocation_failures) {
    SWEEP_ALLOC(load_once());
}

HK_TEST_MAIN()
