/* hark check: configurations and rule files. */
#include "cli/commands.h"

#include "conf/config.h"
#include "conf/rules.h"
#include "engine/rule_checks.h"

#include <stdio.h>

/* Prints the problems, then a line that sums up; gives the exit code. */
static int conclude(
    struct hk_call *call, const char *path, const struct hk_conf_report *report, hk_err err,
    const char *content) {
    hk_conf_report_print(report, call->error);
    if (err == HK_E_NOMEM || report->out_of_memory) {
        hk_buf_printf(call->error, "%s: too large: out of memory\n", path);
        return HK_EXIT_FAILED;
    }
    if (report->error_count > 0) {
        hk_buf_printf(
            call->out, "%s: %u error%s, %u warning%s\n", path, report->error_count,
            report->error_count == 1 ? "" : "s", report->warning_count,
            report->warning_count == 1 ? "" : "s");
        return HK_EXIT_FAILED;
    }
    hk_buf_printf(call->out, "%s: fine", path);
    if (report->warning_count > 0) {
        hk_buf_printf(
            call->out, ", %u warning%s", report->warning_count,
            report->warning_count == 1 ? "" : "s");
    }
    hk_buf_printf(call->out, " (%s)\n", content);
    return HK_EXIT_FINE;
}

static int check_config(struct hk_call *call, const char *path) {
    struct hk_conf_report report;
    struct hk_config *config = NULL;
    struct hk_rule_set *rules = NULL;
    const struct hk_rule_checks *checks = hk_engine_rule_checks();
    char content[128] = "";
    hk_conf_report_init(&report);
    hk_err err = hk_config_load(path, NULL, &report, &config);
    if (err == HK_OK) err = hk_rules_load(config, NULL, checks, &report, &rules);
    if (err == HK_OK) {
        (void)snprintf(
            content, sizeof(content), "%u scrape job%s, %u rule%s in %u file%s", config->jobs.count,
            config->jobs.count == 1 ? "" : "s", rules->rule_count,
            rules->rule_count == 1 ? "" : "s", rules->files.count,
            rules->files.count == 1 ? "" : "s");
    }
    int code = conclude(call, path, &report, err, content);
    hk_rule_set_destroy(rules);
    hk_config_destroy(config);
    hk_conf_report_deinit(&report);
    return code;
}

static int check_rules(struct hk_call *call, const char *path) {
    struct hk_conf_report report;
    struct hk_rule_set *rules = NULL;
    char content[128] = "";
    hk_conf_report_init(&report);
    hk_err err = hk_rules_load_file(path, hk_engine_rule_checks(), &report, &rules);
    if (err == HK_OK) {
        (void)snprintf(
            content, sizeof(content), "%u group%s, %u alert%s, %u recording rule%s",
            rules->group_count, rules->group_count == 1 ? "" : "s", rules->alert_count,
            rules->alert_count == 1 ? "" : "s", rules->rule_count - rules->alert_count,
            rules->rule_count - rules->alert_count == 1 ? "" : "s");
    }
    int code = conclude(call, path, &report, err, content);
    hk_rule_set_destroy(rules);
    hk_conf_report_deinit(&report);
    return code;
}

int hk_cmd_check(struct hk_call *call) {
    bool rules = strcmp(call->arguments[0], "rules") == 0;
    bool config = strcmp(call->arguments[0], "config") == 0;
    int first = rules || config ? 1 : 0;
    int code = HK_EXIT_FINE;
    if (first == call->argument_count) {
        (void)hk_fail(HK_E_INVALID, "a FILE is missing: hark check %s FILE", call->arguments[0]);
        return hk_cli_usage(call);
    }
    for (int i = first; i < call->argument_count; i++) {
        int one =
            rules ? check_rules(call, call->arguments[i]) : check_config(call, call->arguments[i]);
        code = one > code ? one : code;
    }
    return code;
}
