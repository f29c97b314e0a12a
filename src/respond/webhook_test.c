/* Goal: messages are those of Alertmanager's webhook, byte for byte where it matters. */
#include "hk_test.h"
#include "os/clock.h"
#include "respond/webhook.h"

#define LIT(text)                                                                                  \
    { text, sizeof(text) - 1 }

static const struct hk_label first_labels[] = { { LIT("alertname"), LIT("Down") },
                                                { LIT("instance"), LIT("a") },
                                                { LIT("job"), LIT("node \"x\"") } };
static const struct hk_label second_labels[] = { { LIT("alertname"), LIT("Down") },
                                                 { LIT("instance"), LIT("b") },
                                                 { LIT("job"), LIT("node \"x\"") } };
static const struct hk_label notes[] = { { LIT("summary"), LIT("it is\ndown") } };

static struct hk_webhook_alert
make_alert(const struct hk_label *labels, bool resolved, struct hk_buf *json) {
    struct hk_webhook_alert alert = {
        .labels = { labels, 3 },
        .annotations = { notes, 1 },
        .generator_url = HK_STR("http://h/graph?a=1&b=2"),
        .starts_ms = 1767323045678,
        .ends_ms = resolved ? 1767323105678 : 0,
        .resolved = resolved,
    };
    alert.fingerprint = hk_fingerprint(alert.labels);
    hk_labels_json(alert.labels, json);
    size_t cut = json->len;
    hk_labels_json(alert.annotations, json);
    alert.labels_json = hk_str_part(hk_buf_get(json), 0, cut);
    alert.annotations_json = hk_str_part(hk_buf_get(json), cut, json->len);
    return alert;
}

TEST(one_alert) {
    struct hk_buf json;
    struct hk_buf key;
    struct hk_buf out;
    hk_buf_init(&json, 10000);
    hk_buf_init(&key, 10000);
    hk_buf_init(&out, 10000);
    struct hk_webhook_alert alert = make_alert(first_labels, false, &json);
    const struct hk_webhook_alert *alerts[] = { &alert };
    hk_group_key(alert.labels, &key);
    CHECK_STR(
        hk_buf_get(&key),
        HK_STR("{}:{alertname=\"Down\", instance=\"a\", job=\"node \\\"x\\\"\"}"));
    struct hk_webhook_message message = { .alerts = alerts,
                                          .alert_count = 1,
                                          .receiver = HK_STR("ops"),
                                          .group_key = hk_buf_get(&key),
                                          .external_url = HK_STR("http://hark:9090"),
                                          .group_labels = alert.labels };
    hk_webhook_render(&message, &out);
    CHECK_STR(
        hk_buf_get(&out),
        HK_STR("{\"receiver\":\"ops\",\"status\":\"firing\",\"alerts\":[{\"status\":\"firing\","
               "\"labels\":{\"alertname\":\"Down\",\"instance\":\"a\",\"job\":\"node \\\"x\\\"\"},"
               "\"annotations\":{\"summary\":\"it is\\ndown\"},"
               "\"startsAt\":\"2026-01-02T03:04:05.678Z\",\"endsAt\":\"0001-01-01T00:00:00Z\","
               "\"generatorURL\":\"http://h/graph?a=1&b=2\","
               "\"fingerprint\":\"d1eca2a11ea0a679\"}],"
               "\"groupLabels\":{\"alertname\":\"Down\",\"instance\":\"a\","
               "\"job\":\"node \\\"x\\\"\"},"
               "\"commonLabels\":{\"alertname\":\"Down\",\"instance\":\"a\","
               "\"job\":\"node \\\"x\\\"\"},"
               "\"commonAnnotations\":{\"summary\":\"it is\\ndown\"},"
               "\"externalURL\":\"http://hark:9090\",\"version\":\"4\","
               "\"groupKey\":\"{}:{alertname=\\\"Down\\\", instance=\\\"a\\\", "
               "job=\\\"node \\\\\\\"x\\\\\\\"\\\"}\",\"truncatedAlerts\":0}\n"));
    hk_buf_deinit(&json);
    hk_buf_deinit(&key);
    hk_buf_deinit(&out);
}

TEST(several_alerts) {
    struct hk_buf json[2];
    struct hk_buf out;
    hk_buf_init(&json[0], 10000);
    hk_buf_init(&json[1], 10000);
    hk_buf_init(&out, 10000);
    struct hk_webhook_alert both[] = { make_alert(first_labels, true, &json[0]),
                                       make_alert(second_labels, false, &json[1]) };
    const struct hk_webhook_alert *alerts[] = { &both[0], &both[1] };
    struct hk_webhook_message message = { .alerts = alerts,
                                          .alert_count = 2,
                                          .truncated_count = 3,
                                          .receiver = HK_STR("ops"),
                                          .group_key = HK_STR("{}:{}"),
                                          .notification_id = HK_STR("id-1") };
    hk_webhook_render(&message, &out);
    struct hk_str got = hk_buf_get(&out);
    CHECK(hk_str_starts(
        got, HK_STR("{\"receiver\":\"ops\",\"status\":\"firing\",\"alerts\":[{"
                    "\"status\":\"resolved\",")));
    CHECK(memmem(got.ptr, got.len, "\"endsAt\":\"2026-01-02T03:05:05.678Z\"", 35) != NULL);
    static const char end[] =
        "\"groupLabels\":{},\"commonLabels\":{\"alertname\":\"Down\",\"job\":\"node \\\"x\\\"\"},"
        "\"commonAnnotations\":{\"summary\":\"it is\\ndown\"},\"externalURL\":\"\","
        "\"version\":\"4\",\"groupKey\":\"{}:{}\",\"truncatedAlerts\":3,"
        "\"notificationId\":\"id-1\"}\n";
    CHECK(hk_str_ends(got, hk_str_from(end)));
    hk_buf_deinit(&json[0]);
    hk_buf_deinit(&json[1]);
    hk_buf_deinit(&out);
}

TEST(push_form) {
    struct hk_buf out;
    hk_buf_init(&out, 10000);
    hk_push_render(
        HK_STR("{\"a\":\"b\"}"), HK_STR("{}"), 1767323045678, 1767323105678, HK_STR("http://h"),
        &out);
    CHECK_STR(
        hk_buf_get(&out),
        HK_STR("{\"labels\":{\"a\":\"b\"},\"annotations\":{},"
               "\"startsAt\":\"2026-01-02T03:04:05.678Z\",\"endsAt\":\"2026-01-02T03:05:05.678Z\","
               "\"generatorURL\":\"http://h\"}"));
    hk_buf_deinit(&out);
}

/* Printed, not judged: the time of rendering one alert. */
TEST(cost) {
    struct hk_buf json;
    struct hk_buf out;
    hk_buf_init(&json, 10000);
    hk_buf_init(&out, 10000);
    struct hk_webhook_alert alert = make_alert(first_labels, false, &json);
    const struct hk_webhook_alert *alerts[] = { &alert };
    struct hk_webhook_message message = { .alerts = alerts,
                                          .alert_count = 1,
                                          .receiver = HK_STR("ops"),
                                          .group_key = HK_STR("{}:{alertname=\"Down\"}"),
                                          .group_labels_json = alert.labels_json,
                                          .notification_id = HK_STR("id") };
    enum { ROUNDS = 20000 };
    int64_t start_ns = hk_clock_monotonic_ns();
    for (int i = 0; i < ROUNDS; i++) {
        hk_buf_clear(&out);
        hk_webhook_render(&message, &out);
    }
    printf("# render: %lld ns\n", (long long)(hk_clock_monotonic_ns() - start_ns) / ROUNDS);
    CHECK_INT(out.err, HK_OK);
    hk_buf_deinit(&json);
    hk_buf_deinit(&out);
}

HK_TEST_MAIN()
