/* JSON of notifications. What is common to all alerts is found by merging sorted label sets. */
#include "respond/webhook.h"

#include <stdio.h>

static const char hex_digits[] = "0123456789abcdef";

static void put_hex(uint64_t value, struct hk_buf *out) {
    char *to = hk_buf_reserve(out, 16);
    if (to == NULL) return;
    for (int i = 15; i >= 0; i--, value >>= 4)
        to[i] = hex_digits[value & 15];
    out->len += 16;
}

static void put_time(int64_t stamp_ms, struct hk_buf *out) {
    char text[HK_TIME_BYTES_MAX];
    hk_buf_char(out, '"');
    hk_buf_bytes(out, text, hk_format_time_ms(stamp_ms, text));
    hk_buf_char(out, '"');
}

/* Keeps in `common` (count labels, sorted) only what `labels` has with the same value. */
static uint32_t intersect(struct hk_label *common, uint32_t count, struct hk_labels labels) {
    uint32_t kept = 0;
    uint32_t at = 0;
    for (uint32_t i = 0; i < count; i++) {
        while (at < labels.count && hk_str_cmp(labels.items[at].name, common[i].name) < 0)
            at++;
        if (at == labels.count) break;
        if (!hk_str_eq(labels.items[at].name, common[i].name)) continue;
        if (hk_str_eq(labels.items[at].value, common[i].value)) common[kept++] = common[i];
    }
    return kept;
}

uint32_t hk_webhook_common(
    const struct hk_webhook_message *message, bool annotations, struct hk_label *out) {
    const struct hk_webhook_alert *first = message->alerts[0];
    struct hk_labels from = annotations ? first->annotations : first->labels;
    uint32_t count = from.count < HK_LABELS_MAX ? from.count : HK_LABELS_MAX;
    if (count > 0) memcpy(out, from.items, count * sizeof(out[0]));
    for (uint32_t i = 1; i < message->alert_count && count > 0; i++) {
        const struct hk_webhook_alert *alert = message->alerts[i];
        count = intersect(out, count, annotations ? alert->annotations : alert->labels);
    }
    return count;
}

/* Labels (or annotations) that all alerts share, as a JSON object. */
static void
put_common(const struct hk_webhook_message *message, bool annotations, struct hk_buf *out) {
    const struct hk_webhook_alert *first = message->alerts[0];
    if (message->alert_count == 1) {
        hk_buf_str(out, annotations ? first->annotations_json : first->labels_json);
        return;
    }
    struct hk_label common[HK_LABELS_MAX];
    uint32_t count = hk_webhook_common(message, annotations, common);
    hk_labels_json((struct hk_labels){ common, count }, out);
}

static void put_alert(const struct hk_webhook_alert *alert, struct hk_buf *out) {
    hk_buf_str(
        out, alert->resolved ? HK_STR("{\"status\":\"resolved\",\"labels\":")
                             : HK_STR("{\"status\":\"firing\",\"labels\":"));
    hk_buf_str(out, alert->labels_json);
    hk_buf_str(out, HK_STR(",\"annotations\":"));
    hk_buf_str(out, alert->annotations_json);
    hk_buf_str(out, HK_STR(",\"startsAt\":"));
    put_time(alert->starts_ms, out);
    hk_buf_str(out, HK_STR(",\"endsAt\":"));
    if (alert->resolved)
        put_time(alert->ends_ms, out);
    else
        hk_buf_str(out, HK_STR("\"0001-01-01T00:00:00Z\"")); /* no end: Go's zero time */
    hk_buf_str(out, HK_STR(",\"generatorURL\":"));
    hk_buf_json(out, alert->generator_url);
    hk_buf_str(out, HK_STR(",\"fingerprint\":\""));
    put_hex(alert->fingerprint, out);
    hk_buf_str(out, HK_STR("\"}"));
}

void hk_webhook_render(const struct hk_webhook_message *message, struct hk_buf *out) {
    if (message->alert_count == 0) return;
    bool firing = false;
    for (uint32_t i = 0; i < message->alert_count && !firing; i++)
        firing = !message->alerts[i]->resolved;
    hk_buf_str(out, HK_STR("{\"receiver\":"));
    hk_buf_json(out, message->receiver);
    hk_buf_str(
        out, firing ? HK_STR(",\"status\":\"firing\",\"alerts\":[")
                    : HK_STR(",\"status\":\"resolved\",\"alerts\":["));
    for (uint32_t i = 0; i < message->alert_count && out->err >= 0; i++) {
        if (i > 0) hk_buf_char(out, ',');
        put_alert(message->alerts[i], out);
    }
    hk_buf_str(out, HK_STR("],\"groupLabels\":"));
    if (message->group_labels_json.len > 0)
        hk_buf_str(out, message->group_labels_json);
    else
        hk_labels_json(message->group_labels, out);
    hk_buf_str(out, HK_STR(",\"commonLabels\":"));
    put_common(message, false, out);
    hk_buf_str(out, HK_STR(",\"commonAnnotations\":"));
    put_common(message, true, out);
    hk_buf_str(out, HK_STR(",\"externalURL\":"));
    hk_buf_json(out, message->external_url);
    hk_buf_str(out, HK_STR(",\"version\":\"4\",\"groupKey\":"));
    hk_buf_json(out, message->group_key);
    if (message->truncated_count == 0)
        hk_buf_str(out, HK_STR(",\"truncatedAlerts\":0"));
    else
        hk_buf_printf(out, ",\"truncatedAlerts\":%u", message->truncated_count);
    if (message->notification_id.len > 0) {
        hk_buf_str(out, HK_STR(",\"notificationId\":"));
        hk_buf_json(out, message->notification_id);
    }
    hk_buf_str(out, HK_STR("}\n"));
}

void hk_push_render(
    struct hk_str labels_json, struct hk_str annotations_json, int64_t starts_ms, int64_t ends_ms,
    struct hk_str generator_url, struct hk_buf *out) {
    hk_buf_str(out, HK_STR("{\"labels\":"));
    hk_buf_str(out, labels_json);
    hk_buf_str(out, HK_STR(",\"annotations\":"));
    hk_buf_str(out, annotations_json);
    hk_buf_str(out, HK_STR(",\"startsAt\":"));
    put_time(starts_ms, out);
    hk_buf_str(out, HK_STR(",\"endsAt\":"));
    put_time(ends_ms, out);
    hk_buf_str(out, HK_STR(",\"generatorURL\":"));
    hk_buf_json(out, generator_url);
    hk_buf_char(out, '}');
}

/* As Go quotes strings. */
static void put_quoted(struct hk_str text, struct hk_buf *out) {
    static const char plain[] = "\a\b\f\n\r\t\v\\\"";
    static const char letters[] = "abfnrtv\\\"";
    hk_buf_char(out, '"');
    size_t from = 0;
    for (size_t i = 0; i < text.len; i++) {
        unsigned char byte = (unsigned char)text.ptr[i];
        if (byte >= 0x20 && byte != 0x7f && byte != '"' && byte != '\\') continue;
        hk_buf_bytes(out, text.ptr + from, i - from);
        from = i + 1;
        const char *found = byte == 0 ? NULL : strchr(plain, (char)byte);
        if (found == NULL) {
            hk_buf_printf(out, "\\x%02x", byte);
            continue;
        }
        hk_buf_char(out, '\\');
        hk_buf_char(out, letters[found - plain]);
    }
    hk_buf_bytes(out, text.ptr + from, text.len - from);
    hk_buf_char(out, '"');
}

void hk_group_key(struct hk_labels group_labels, struct hk_buf *out) {
    hk_buf_str(out, HK_STR("{}:{"));
    for (uint32_t i = 0; i < group_labels.count; i++) {
        if (i > 0) hk_buf_str(out, HK_STR(", "));
        hk_buf_str(out, group_labels.items[i].name);
        hk_buf_char(out, '=');
        put_quoted(group_labels.items[i].value, out);
    }
    hk_buf_char(out, '}');
}
