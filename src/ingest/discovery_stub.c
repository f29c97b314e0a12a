#include "ingest/discovery_internal.h"
hk_err hk_discovery_refresh_files(
    struct hk_discovery_provider *provider, struct hk_discovery_finding **out) {
    (void)provider;
    (void)out;
    return HK_END;
}
void hk_discovery_free_files(struct hk_discovery_provider *provider) {
    (void)provider;
}
hk_err hk_discovery_refresh_http(
    struct hk_discovery_provider *provider, struct hk_discovery_finding **out) {
    (void)provider;
    (void)out;
    return HK_END;
}
hk_err hk_discovery_refresh_dns(
    struct hk_discovery_provider *provider, struct hk_discovery_finding **out) {
    (void)provider;
    (void)out;
    return HK_END;
}
