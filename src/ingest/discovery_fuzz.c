/* Goal: no file, answer of a server or DNS message breaks the readers of service discovery. */
#include "ingest/discovery_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void
parse_dns(const void *data, size_t bytes, int32_t type, struct hk_discovery_finding *finding) {
    struct hk_scrape_dns_sd config = { .type = type, .port = 80 };
    struct hk_discovery_draft draft;
    hk_discovery_draft_init(&draft);
    hk_err err = hk_discovery_parse_dns(&config, HK_STR("n"), data, bytes, finding, &draft);
    hk_assert(err <= 0);
    hk_discovery_draft_deinit(&draft);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    if (bytes == 0) return 0;
    struct hk_discovery_finding *finding = hk_discovery_finding_create();
    if (finding == NULL) return 0;
    struct hk_str text = { (const char *)data + 1, bytes - 1 };
    hk_err err = HK_OK;
    switch (data[0] % 5) {
    case 0:
        err = hk_discovery_parse_json(text, HK_STR("m"), HK_STR("v"), finding);
        break;
    case 1:
        err = hk_discovery_parse_yaml(text, HK_STR("m"), HK_STR("v"), finding);
        break;
    case 2:
        parse_dns(text.ptr, text.len, HK_SCRAPE_DNS_SRV, finding);
        break;
    case 3:
        parse_dns(text.ptr, text.len, HK_SCRAPE_DNS_MX, finding);
        break;
    default:
        parse_dns(text.ptr, text.len, HK_SCRAPE_DNS_NS, finding);
        break;
    }
    hk_assert(err <= 0);
    for (size_t i = 0; i < finding->group_count; i++)
        hk_assert(finding->groups[i].labels.count > 0);
    hk_discovery_finding_unref(finding);
    return 0;
}
