/*
 * Alert states as records, little endian:
 *   u8 version = 1 · u32 bytes that follow · u8 gone · u8 state · i64 episode, active, fires,
 *   fired, resolved, keep_since · f64 value · three label sets (series, labels, annotations; only
 *   the first when gone), each: u32 count, then u32 length + bytes of name and of value.
 */
#include "alert/alert_internal.h"

enum { VERSION = 1, ANNOTATIONS_MAX = HK_ALERT_PAIRS_MAX };

static void put_u32(struct hk_buf *out, uint32_t value) {
    hk_buf_bytes(out, &value, sizeof(value));
}

static void put_labels(struct hk_buf *out, struct hk_labels labels) {
    put_u32(out, labels.count);
    for (uint32_t i = 0; i < labels.count; i++) {
        put_u32(out, (uint32_t)labels.items[i].name.len);
        hk_buf_str(out, labels.items[i].name);
        put_u32(out, (uint32_t)labels.items[i].value.len);
        hk_buf_str(out, labels.items[i].value);
    }
}

void hk_alert_encode(const struct hk_alert *alert, bool gone, struct hk_buf *out) {
    const int64_t times[6] = { alert->episode_ms, alert->active_ms,   alert->fires_ms,
                               alert->fired_ms,   alert->resolved_ms, alert->keep_since_ms };
    hk_buf_char(out, VERSION);
    size_t start = out->len;
    put_u32(out, 0);
    hk_buf_char(out, gone ? 1 : 0);
    hk_buf_char(out, (char)alert->state);
    hk_buf_bytes(out, times, sizeof(times));
    hk_buf_bytes(out, &alert->value, sizeof(alert->value));
    put_labels(out, alert->series);
    if (!gone) put_labels(out, alert->labels);
    if (!gone) put_labels(out, alert->annotations);
    if (out->err < 0) return;
    uint32_t bytes = (uint32_t)(out->len - start - sizeof(bytes));
    memcpy(out->ptr + start, &bytes, sizeof(bytes));
}

void hk_alert_save(const struct hk_alert_rule *rule, struct hk_buf *out) {
    for (uint32_t i = 0; i < rule->slot_count; i++) {
        if (rule->slots[i] != NULL) hk_alert_encode(rule->slots[i], false, out);
    }
}

struct reader {
    struct hk_str rest;
    bool bad;
};

static void take(struct reader *reader, void *out, size_t bytes) {
    if (reader->bad || reader->rest.len < bytes) {
        reader->bad = true;
        memset(out, 0, bytes);
        return;
    }
    memcpy(out, reader->rest.ptr, bytes);
    reader->rest = hk_str_part(reader->rest, bytes, reader->rest.len);
}

static struct hk_str take_text(struct reader *reader) {
    uint32_t len = 0;
    take(reader, &len, sizeof(len));
    if (reader->bad || len > reader->rest.len) {
        reader->bad = true;
        return (struct hk_str){ "", 0 };
    }
    struct hk_str text = hk_str_part(reader->rest, 0, len);
    reader->rest = hk_str_part(reader->rest, len, reader->rest.len);
    return text;
}

static hk_err take_labels(struct reader *reader, struct hk_labels *out) {
    struct hk_label items[HK_LABELS_MAX];
    uint32_t count = 0;
    take(reader, &count, sizeof(count));
    if (count > HK_LABELS_MAX) reader->bad = true;
    for (uint32_t i = 0; i < count && !reader->bad; i++) {
        items[i].name = take_text(reader);
        items[i].value = take_text(reader);
        if (i > 0 && hk_str_cmp(items[i - 1].name, items[i].name) >= 0) reader->bad = true;
    }
    if (reader->bad) return HK_E_CORRUPT;
    return hk_alert_pack((struct hk_labels){ items, count }, out);
}

/* Fills an alert from the record behind its length. */
static hk_err take_alert(struct reader *reader, bool *out_gone, struct hk_alert *alert) {
    uint8_t head[2];
    int64_t times[6];
    take(reader, head, sizeof(head));
    take(reader, times, sizeof(times));
    take(reader, &alert->value, sizeof(alert->value));
    if (reader->bad || head[0] > 1 || head[1] > HK_ALERT_FIRING) return HK_E_CORRUPT;
    *out_gone = head[0] == 1;
    alert->state = (enum hk_alert_state)head[1];
    alert->episode_ms = times[0];
    alert->active_ms = times[1];
    alert->fires_ms = times[2];
    alert->fired_ms = times[3];
    alert->resolved_ms = times[4];
    alert->keep_since_ms = times[5];
    for (size_t i = 0; i < HK_COUNT(times); i++) {
        /* Years 0 … 9999: sums with durations cannot overflow, and times can be shown. */
        if (times[i] < 0 || times[i] > 253402300799999) return HK_E_CORRUPT;
    }
    HK_TRY(take_labels(reader, &alert->series));
    if (*out_gone) return HK_OK;
    HK_TRY(take_labels(reader, &alert->labels));
    HK_TRY(take_labels(reader, &alert->annotations));
    return reader->rest.len > 0 ? HK_E_CORRUPT : HK_OK;
}

static hk_err apply(struct hk_alert_rule *rule, struct hk_str record) {
    struct reader reader = { record, false };
    bool gone = false;
    struct hk_alert *alert = hk_mem_alloc(1, sizeof(*alert));
    if (alert == NULL) return HK_E_NOMEM;
    alert->rule = rule;
    hk_err err = take_alert(&reader, &gone, alert);
    if (err < 0) {
        hk_alert_free(alert);
        return err;
    }
    alert->series_hash = hk_alert_hash(alert->series);
    struct hk_alert *old = hk_alert_find(rule, alert->series, alert->series_hash);
    if (old != NULL) {
        hk_alert_unlink(old);
        hk_alert_free(old);
    }
    bool full = rule->pending + rule->firing + rule->remembered >= 2 * HK_ALERT_ACTIVE_MAX;
    if (full) rule->counts.refused_limit++;
    if (gone || full) {
        hk_alert_free(alert);
        return HK_OK;
    }
    alert->fingerprint = hk_fingerprint(alert->labels);
    alert->restored = alert->state != HK_ALERT_INACTIVE;
    alert->held = alert->state == HK_ALERT_PENDING;
    alert->seen_ms = INT64_MIN;
    err = hk_alert_link(rule, alert);
    if (err < 0)
        hk_alert_free(alert);
    else
        hk_alert_schedule(alert);
    return err;
}

hk_err hk_alert_load(struct hk_alert_rule *rule, struct hk_str records) {
    struct reader reader = { records, false };
    rule->waiting = true;
    while (reader.rest.len > 0) {
        size_t at = records.len - reader.rest.len;
        uint8_t version = 0;
        take(&reader, &version, 1);
        if (version != VERSION)
            return hk_fail(HK_E_VERSION, "alert state at byte %zu: version %u", at, version);
        struct hk_str record = take_text(&reader);
        hk_err err = reader.bad ? HK_E_CORRUPT : apply(rule, record);
        if (err == HK_E_CORRUPT) return hk_fail(err, "alert state at byte %zu: damaged", at);
        HK_TRY(err);
    }
    return HK_OK;
}
