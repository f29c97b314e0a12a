/* Goal: every kind of value and of error, with the exact text; real files of others are valid. */
#include "conf/config.h"
#include "hk_test.h"

TEST(empty) {
    struct hk_conf_report report;
    hk_conf_report_init(&report);
    struct hk_config *config = NULL;
    CHECK_INT(hk_config_parse(HK_STR("a.yml"), HK_STR(""), NULL, &report, &config), HK_OK);
    struct hk_buf out;
    hk_buf_init(&out, 1 << 20);
    hk_conf_report_print(&report, &out);
    printf("%.*s\n", (int)out.len, out.ptr);
    if (config) printf("%.*s\n", HK_STR_ARG(config->canonical));
    hk_config_destroy(config);
    hk_conf_report_deinit(&report);
}
HK_TEST_MAIN()
