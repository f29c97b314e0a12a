/* Any bytes as a configuration: no crash; what loads prints a canonical text. */
#include "conf/config.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static const char *fuzz_env(void *self, const char *name) {
    (void)self;
    return name[0] == 'A' ? "value" : NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    const struct hk_conf_source source = { .env = fuzz_env, .no_files = true };
    struct hk_conf_report report;
    struct hk_config *config = NULL;
    struct hk_buf out;
    hk_conf_report_init(&report);
    hk_buf_init(&out, 4 << 20);
    hk_err err = hk_config_parse(
        HK_STR("fuzz.yml"), (struct hk_str){ (const char *)data, bytes }, &source, &report,
        &config);
    hk_conf_report_print(&report, &out);
    hk_assert((err == HK_OK) == (config != NULL));
    hk_assert(err != HK_OK || report.error_count == 0);
    hk_assert(err != HK_E_INVALID || report.error_count > 0);
    hk_assert(config == NULL || config->canonical.len > 0);
    hk_config_destroy(config);
    hk_buf_deinit(&out);
    hk_conf_report_deinit(&report);
    return 0;
}
