/* Any bytes as a rule file: no crash, and places stay inside of the file. */
#include "conf/rules.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static hk_err check(void *self, struct hk_str text, struct hk_text_error *out) {
    (void)self;
    out->offset = text.len / 2;
    out->text[0] = 'x';
    return text.len % 3 == 0 ? HK_E_MALFORMED : HK_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    const struct hk_rule_checks checks = { NULL, check, check };
    struct hk_conf_report report;
    struct hk_rule_set *rules = NULL;
    hk_conf_report_init(&report);
    hk_err err = hk_rules_parse(
        HK_STR("fuzz.yml"), (struct hk_str){ (const char *)data, bytes }, &checks, &report, &rules);
    hk_assert((err == HK_OK) == (rules != NULL));
    hk_assert(err != HK_E_INVALID || report.error_count > 0);
    hk_rule_set_destroy(rules);
    hk_conf_report_deinit(&report);
    return 0;
}
