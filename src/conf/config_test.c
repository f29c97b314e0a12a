/* Goal: every kind of value and of error, with the exact text; real files of others are valid. */
#include "conf/config.h"
#include "conf/rules.h"
#include "hk_test.h"

#include <unistd.h>

static const char *test_env(void *self, const char *name) {
    (void)self;
    if (strcmp(name, "HARK_TEST_SITE") == 0) return "berlin";
    if (strcmp(name, "HARK_TEST_REPLICA") == 0) return "r1";
    if (strcmp(name, "HARK_TEST_TOKEN") == 0) return "t0ken";
    if (strcmp(name, "EMPTY") == 0) return "";
    if (strcmp(name, "PORT") == 0) return "1234";
    if (strcmp(name, "BROKEN") == 0) return "\xff";
    return NULL;
}

static const struct hk_conf_source test_source = { NULL, test_env, false };

static struct hk_str file_text(const char *path, char *to, size_t bytes_max) {
    FILE *file = fopen(path, "rb");
    size_t bytes = file == NULL ? 0 : fread(to, 1, bytes_max, file);
    if (file != NULL) (void)fclose(file);
    return (struct hk_str){ to, bytes };
}

/* Compares with a committed file; HK_TEST_UPDATE=1 writes it anew. */
static void check_golden(const char *path, struct hk_str got) {
    static char want[1 << 20];
    if (getenv("HK_TEST_UPDATE") != NULL) {
        FILE *file = fopen(path, "wb");
        CHECK(file != NULL && fwrite(got.ptr, 1, got.len, file) == got.len);
        if (file != NULL) (void)fclose(file);
    }
    CHECK_STR(got, file_text(path, want, sizeof(want)));
}

/* Loads a golden file and prints its problems and canonical text. */
static struct hk_config *load_golden(const char *name, hk_err want) {
    char path[256];
    char golden[256];
    (void)snprintf(path, sizeof(path), "tests/golden/config/%s.yml", name);
    (void)snprintf(golden, sizeof(golden), "tests/golden/config/%s.out", name);
    struct hk_conf_report report;
    struct hk_config *config = NULL;
    struct hk_buf out;
    hk_conf_report_init(&report);
    hk_buf_init(&out, 1 << 20);
    CHECK_INT(hk_config_load(path, &test_source, &report, &config), want);
    hk_conf_report_print(&report, &out);
    if (config != NULL) {
        hk_buf_text(&out, "---\n");
        hk_buf_str(&out, config->canonical);
        if (config->alertmanager_file.len > 0) {
            hk_buf_text(&out, "---\n");
            hk_buf_str(&out, config->alertmanager_canonical);
        }
    }
    check_golden(golden, hk_buf_get(&out));
    hk_buf_deinit(&out);
    hk_conf_report_deinit(&report);
    return config;
}

TEST(prometheus) {
    struct hk_config *config = load_golden("prometheus", HK_OK);
    if (config == NULL) return;
    CHECK_INT(config->jobs.count, 4);
    CHECK_STR(config->global.external_labels.items[0].value, HK_STR("edge-berlin"));
    CHECK_STR(config->global.external_labels.items[1].value, HK_STR("5$"));
    CHECK_STR(config->global.external_labels.items[2].value, HK_STR("r1"));
    const struct hk_conf_job *node = &config->jobs.items[1];
    CHECK_INT(node->interval_ms, 5000);
    CHECK_INT(node->timeout_ms, 5000);
    CHECK_STR(node->relabel.items[0].replacement, HK_STR("${1}"));
    CHECK_STR(node->relabel.items[1].replacement, HK_STR("${team}"));
    CHECK_STR(
        node->discovery.files.items[0].files.items[0],
        HK_STR("tests/golden/config/targets/*.json"));
    CHECK_INT(node->metric_relabel.items[1].action, HK_RELABEL_HASHMOD);
    CHECK_INT(node->protocols.count, 4);
    CHECK_INT(node->protocols.items[0], HK_CONF_OPENMETRICS_100);
    const struct hk_conf_job *blackbox = &config->jobs.items[2];
    CHECK_INT(blackbox->interval_ms, 15000);
    CHECK_INT(blackbox->timeout_ms, 10000);
    CHECK_INT(blackbox->scheme, HK_CONF_SCHEME_HTTPS);
    CHECK_STR(blackbox->http.basic_auth->password.value, HK_STR("pa$$word$1"));
    CHECK(blackbox->http.tls.insecure_skip_verify);
    CHECK_INT(blackbox->params.count, 2);
    CHECK_STR(blackbox->params.items[1].values.items[1], HK_STR("yes"));
    CHECK_STR(blackbox->discovery.statics.items[0].labels.items[1].value, HK_STR("1"));
    CHECK_INT(blackbox->discovery.dns.items[1].type, HK_CONF_DNS_A);
    CHECK_STR(
        blackbox->discovery.https.items[0].http.authorization->credentials.value, HK_STR("abc"));
    const struct hk_conf_job *pods = &config->jobs.items[3];
    CHECK_INT(pods->discovery.unsupported.count, 1);
    CHECK_STR(pods->discovery.unsupported.items[0], HK_STR("kubernetes_sd_configs"));
    CHECK_INT(pods->limits.samples, 50000);
    CHECK_INT(pods->limits.body_bytes, 10 << 20);
    CHECK_STR(pods->http.authorization->type, HK_STR("Bearer"));
    CHECK_INT(pods->line, 93);
    CHECK_INT(config->alerting.alertmanagers.items[0].timeout_ms, 5000);
    CHECK_INT(config->remote_write.items[0].samples_per_send_max, 5000);
    CHECK_INT(config->remote_write.items[0].shards_max, 50);
    hk_config_destroy(config);
}

TEST(hark) {
    struct hk_config *config = load_golden("hark", HK_OK);
    if (config == NULL) return;
    CHECK_INT(config->jobs.count, 1);
    CHECK_INT(config->jobs.items[0].interval_ms, 1000);
    CHECK_STR(config->jobs.items[0].file, HK_STR("tests/golden/config/jobs/more.yml"));
    const struct hk_conf_alertmanager *alertmanager = config->alertmanager;
    CHECK_INT(alertmanager->route.group_wait_ms, 0);
    CHECK_INT(alertmanager->route.group_interval_ms, 300000);
    CHECK_STR(
        alertmanager->receivers.items[0].webhooks.items[0].url.value,
        HK_STR("http://127.0.0.1:9999/hook"));
    CHECK(alertmanager->receivers.items[0].webhooks.items[0].send_resolved);
    CHECK_STR(alertmanager->receivers.items[0].execs.items[0].command.items[1], HK_STR("--yes"));
    CHECK_INT(config->retention_ms, 90LL * 86400000);
    CHECK_INT(config->retention_bytes, 3 << 29);
    CHECK_INT(config->memory_bytes, 512 << 20);
    CHECK_INT(config->spin, HK_CONF_SPIN_ALWAYS);
    CHECK_STR(config->server.http, HK_STR("0.0.0.0:9090"));
    CHECK_STR(config->server.otlp_http, HK_STR(""));
    CHECK_STR(config->server.token.value, HK_STR("t0ken"));
    CHECK_STR(config->server.tls->cert_file, HK_STR("tests/golden/config/tls/cert.pem"));
    CHECK(!config->influx.enabled);
    CHECK_INT(config->pushgateway.ttl_ms, 3600000);
    CHECK_STR(config->statsd->listen, HK_STR("127.0.0.1:8125"));
    hk_config_destroy(config);
}

TEST(merge_keys_and_alertmanager_file) {
    struct hk_config *config = load_golden("split", HK_OK);
    if (config == NULL) return;
    CHECK_INT(config->jobs.count, 2);
    CHECK_STR(config->jobs.items[1].name, HK_STR("b"));
    CHECK_INT(config->jobs.items[1].interval_ms, 100);
    CHECK_INT(config->jobs.items[1].scheme, HK_CONF_SCHEME_HTTPS);
    CHECK_INT(config->alertmanager->receivers.count, 2);
    CHECK_STR(
        config->alertmanager->receivers.items[0].unsupported.items[0], HK_STR("email_configs"));
    CHECK_INT(config->alertmanager->route.routes.items[0].group_wait_ms, -1);
    hk_config_destroy(config);
}

/* No secret of the golden files may appear in what is printed. */
TEST(secrets_are_hidden) {
    static const char *const names[] = { "prometheus", "hark", "split" };
    static const char *const secrets[] = { "pa$$word",    "abc",       "hidden", "t0ken",
                                           "user:secret", "9999/hook", "team-a" };
    static char text[1 << 16];
    for (size_t i = 0; i < HK_COUNT(names); i++) {
        char path[256];
        (void)snprintf(path, sizeof(path), "tests/golden/config/%s.out", names[i]);
        struct hk_str got = file_text(path, text, sizeof(text) - 1);
        CHECK(got.len > 0);
        text[got.len] = 0;
        for (size_t k = 0; k < HK_COUNT(secrets); k++)
            CHECK(strstr(text, secrets[k]) == NULL);
    }
}

/* The canonical text of the canonical text is itself, unless values were hidden. */
TEST(canonical_is_stable) {
    static const char text[] = "scrape_configs:\n- job_name: 'a b'\n  static_configs:\n"
                               "  - targets: [x:1]\n    labels: {z: '', a: 'true', b: \"\\n\"}\n"
                               "  relabel_configs: [{action: drop, source_labels: [a]}]\n"
                               "statsd: {listen: 127.0.0.1:0}\n";
    struct hk_conf_report report;
    hk_conf_report_init(&report);
    struct hk_config *first = NULL;
    struct hk_config *second = NULL;
    CHECK_INT(hk_config_parse(HK_STR("a"), hk_str_from(text), NULL, &report, &first), HK_OK);
    if (first != NULL) {
        CHECK_INT(hk_config_parse(HK_STR("a"), first->canonical, NULL, &report, &second), HK_OK);
    }
    if (second != NULL) {
        CHECK_STR(second->canonical, first->canonical);
        CHECK_STR(
            second->jobs.items[0].discovery.statics.items[0].labels.items[1].value, HK_STR("\n"));
        CHECK_STR(
            second->jobs.items[0].discovery.statics.items[0].labels.items[0].value, HK_STR("true"));
    }
    hk_config_destroy(first);
    hk_config_destroy(second);
    hk_conf_report_deinit(&report);
}

HK_TEST_MAIN()
