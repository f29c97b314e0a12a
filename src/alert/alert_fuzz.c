/* Goal: any bytes load as alert states or are refused, and the states then live on. */
#include "alert/alert.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    struct hk_alert_pair pair = { HK_STR("summary"), HK_STR("{{ $value }}") };
    struct hk_alert_options options = { .name = HK_STR("A"),
                                        .annotations = &pair,
                                        .annotation_count = 1,
                                        .for_ms = 1000,
                                        .keep_firing_ms = 500 };
    struct hk_alert_rule *rule = NULL;
    if (hk_alert_rule_create(&options, &rule) < 0) return 0;
    hk_err err = hk_alert_load(rule, (struct hk_str){ (const char *)data, bytes });
    (void)err; /* what came before the damage lives on */
    struct hk_buf out;
    hk_buf_init(&out, 1 << 20);
    hk_alert_save(rule, &out);
    hk_buf_clear(&out);
    hk_alert_confirm(rule, 1000, 2000);
    hk_alert_tick(rule, 5000);
    uint32_t cursor = 0;
    bool first = true;
    while (hk_alert_json_some(rule, &cursor, &first, 10, &out)) {
    }
    hk_alert_tick(rule, INT64_MAX - 1);
    hk_buf_deinit(&out);
    hk_alert_rule_destroy(rule);
    return 0;
}
