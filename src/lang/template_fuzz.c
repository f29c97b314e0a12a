/* Goal: any text parses or is refused, and executes within its bounds. */
#include "lang/template.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    const struct hk_label items[] = { { HK_STR("instance"), HK_STR("a.b:9100") },
                                      { HK_STR("job"), HK_STR("node") } };
    struct hk_template_source source = { HK_STR("fuzz"), { (const char *)data, bytes } };
    struct hk_template *tmpl = NULL;
    if (hk_template_create(&source, 1, &tmpl) < 0) return 0;
    struct hk_template_data input = { .labels = { items, 2 },
                                      .external_url = HK_STR("http://h:1/p"),
                                      .value = 12345.678,
                                      .now_ms = 1700000000123 };
    struct hk_buf out;
    hk_buf_init(&out, 1 << 20);
    (void)hk_template_expand(tmpl, &input, &out);
    hk_buf_deinit(&out);
    hk_template_destroy(tmpl);
    return 0;
}
