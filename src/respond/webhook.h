/*
 * Alertmanager's webhook message, version "4" (Alertmanager documentation, <webhook_config>), and
 * the array of POST /api/v2/alerts (its OpenAPI). Pure functions.
 */
#ifndef HK_RESPOND_WEBHOOK_H
#define HK_RESPOND_WEBHOOK_H

#include "base/buf.h"
#include "model/alert.h"

/* One alert in a message. `labels_json` and `annotations_json`: as objects, rendered once by
 * hk_labels_json(). All borrowed. */
struct hk_webhook_alert {
    struct hk_labels labels, annotations;
    struct hk_str labels_json, annotations_json;
    struct hk_str generator_url;
    uint64_t fingerprint;
    int64_t starts_ms, ends_ms; /* ends 0 = firing */
    bool resolved;
};

struct hk_webhook_message {
    const struct hk_webhook_alert *const *alerts;
    uint32_t alert_count, truncated_count;
    struct hk_str receiver, group_key, external_url;
    struct hk_labels group_labels;
    struct hk_str group_labels_json; /* empty: rendered from group_labels */
    struct hk_str notification_id;   /* empty: not in the body */
};

/* Appends the message. Its status is "firing" if one alert fires. */
void hk_webhook_render(const struct hk_webhook_message *message, struct hk_buf *out);

/* Labels (or annotations) that all alerts of the message share, borrowed; `out` has room for
 * HK_LABELS_MAX. Returns their count. */
uint32_t
hk_webhook_common(const struct hk_webhook_message *message, bool annotations, struct hk_label *out);

/* Appends one alert of /api/v2/alerts: labels and annotations as JSON objects, times, URL. */
void hk_push_render(
    struct hk_str labels_json, struct hk_str annotations_json, int64_t starts_ms, int64_t ends_ms,
    struct hk_str generator_url, struct hk_buf *out);

/* Appends `{}:{a="b", c="d"}`: the key of the root route's group. */
void hk_group_key(struct hk_labels group_labels, struct hk_buf *out);

#endif
