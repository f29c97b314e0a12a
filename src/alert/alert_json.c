/* Alerts as Prometheus' HTTP API shows them. */
#include "alert/alert_internal.h"

#include <math.h>
#include <stdio.h>

const char *hk_alert_state_text(enum hk_alert_state state) {
    static const char *const texts[] = { "inactive", "pending", "firing" };
    return (unsigned)state < HK_COUNT(texts) ? texts[state] : "unknown";
}

/* Go's FormatFloat(v, 'e', -1, 64): "1e+00". */
static void put_value(double value, struct hk_buf *out) {
    if (isnan(value) || isinf(value)) {
        hk_buf_double(out, value);
        return;
    }
    char text[HK_DOUBLE_BYTES_MAX];
    for (int precision = 0; precision <= 16; precision++) {
        int len = snprintf(text, sizeof(text), "%.*e", precision, value);
        double back = 0;
        if (hk_parse_double((struct hk_str){ text, (size_t)len }, &back) >= 0 && back == value)
            break;
    }
    hk_buf_text(out, text);
}

static void put_time(const char *key, int64_t stamp_ms, struct hk_buf *out) {
    char text[HK_TIME_BYTES_MAX];
    hk_buf_text(out, key);
    hk_buf_bytes(out, text, hk_format_time_ms(stamp_ms, text));
    hk_buf_char(out, '"');
}

void hk_alert_json(const struct hk_alert *alert, struct hk_buf *out) {
    hk_buf_text(out, "{\"labels\":");
    hk_labels_json(alert->labels, out);
    hk_buf_text(out, ",\"annotations\":");
    hk_labels_json(alert->annotations, out);
    hk_buf_text(out, ",\"state\":\"");
    hk_buf_text(out, hk_alert_state_text(alert->state));
    put_time("\",\"activeAt\":\"", alert->active_ms, out);
    if (alert->keep_since_ms > 0) put_time(",\"keepFiringSince\":\"", alert->keep_since_ms, out);
    hk_buf_text(out, ",\"value\":\"");
    put_value(alert->value, out);
    hk_buf_printf(out, "\",\"fingerprint\":\"%016llx\"}", (unsigned long long)alert->fingerprint);
}

bool hk_alert_json_some(
    const struct hk_alert_rule *rule, uint32_t *cursor, bool *first, uint32_t count_max,
    struct hk_buf *out) {
    for (uint32_t count = 0; count < count_max;) {
        const struct hk_alert *alert = hk_alert_each(rule, cursor);
        if (alert == NULL) return false;
        if (alert->state == HK_ALERT_INACTIVE) continue;
        if (!*first) hk_buf_char(out, ',');
        *first = false;
        hk_alert_json(alert, out);
        count++;
    }
    return true;
}
