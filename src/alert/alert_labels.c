/* Labels and annotations of alerts: templates expanded, packed into one block each. */
#include "alert/alert_internal.h"

hk_err hk_alert_pack(struct hk_labels labels, struct hk_labels *out) {
    size_t bytes = 0;
    for (uint32_t i = 0; i < labels.count; i++)
        bytes += labels.items[i].name.len + labels.items[i].value.len;
    struct hk_label *items = hk_mem_resize(NULL, labels.count * sizeof(items[0]) + bytes + 1, 1);
    if (items == NULL) return HK_E_NOMEM;
    char *text = (char *)(items + labels.count);
    for (uint32_t i = 0; i < labels.count; i++) {
        const struct hk_label *from = &labels.items[i];
        if (from->name.len > 0) memcpy(text, from->name.ptr, from->name.len);
        items[i].name = (struct hk_str){ text, from->name.len };
        text += from->name.len;
        if (from->value.len > 0) memcpy(text, from->value.ptr, from->value.len);
        items[i].value = (struct hk_str){ text, from->value.len };
        text += from->value.len;
    }
    *out = (struct hk_labels){ items, labels.count };
    return HK_OK;
}

void hk_alert_unpack(struct hk_labels *labels) {
    hk_mem_free_at(&labels->items);
    *labels = (struct hk_labels){ NULL, 0 };
}

static struct hk_template_data
template_data(const struct hk_alert_rule *rule, struct hk_labels series, double value, int64_t at) {
    return (struct hk_template_data){
        .labels = series,
        .external_labels = rule->options.external_labels,
        .external_url = rule->options.external_url,
        .value = value,
        .now_ms = at,
        .query = rule->options.query,
        .query_self = rule->options.query_self,
    };
}

/* Expands one pair into the arena. A text over the limit is cut at a character's start. */
static hk_err expand_pair(
    struct hk_alert_rule *rule, const struct rule_pair *pair, const struct hk_template_data *data,
    struct hk_arena *arena, struct hk_str *out) {
    struct hk_str text;
    if (hk_template_is_constant(pair->value, &text)) {
        *out = text;
        return HK_OK;
    }
    struct hk_buf built;
    hk_buf_init(&built, HK_ALERT_TEXT_BYTES_MAX);
    hk_err err = hk_template_expand(pair->value, data, &built);
    if (err < 0) rule->counts.template_errors++;
    *out = hk_arena_str(arena, hk_buf_get(&built));
    hk_buf_deinit(&built);
    return err == HK_E_NOMEM || out->ptr == NULL ? HK_E_NOMEM : HK_OK;
}

hk_err hk_alert_expand_labels(
    struct hk_alert_rule *rule, struct hk_labels series, double value, int64_t at_ms,
    struct hk_labels *out) {
    struct hk_label_set set;
    struct hk_arena arena;
    struct hk_labels labels = { NULL, 0 };
    struct hk_template_data data = template_data(rule, series, value, at_ms);
    hk_arena_init(&arena, HK_ALERT_BYTES_MAX);
    hk_label_set_clear(&set);
    for (uint32_t i = 0; i < series.count; i++) {
        if (!hk_str_is(series.items[i].name, "__name__"))
            hk_label_set_add(&set, series.items[i].name, series.items[i].value);
    }
    hk_err err = HK_OK;
    for (uint32_t i = 0; i < rule->options.label_count && err >= 0; i++) {
        struct hk_str text = { "", 0 };
        err = expand_pair(rule, &rule->labels[i], &data, &arena, &text);
        if (err >= 0) hk_label_set_put(&set, rule->labels[i].name, text);
    }
    hk_label_set_put(&set, HK_STR("alertname"), rule->options.name);
    if (err >= 0) err = hk_label_set_finish(&set, &labels);
    if (err >= 0) err = hk_alert_pack(labels, out);
    hk_arena_deinit(&arena);
    return err;
}

void hk_alert_expand_annotations(struct hk_alert *alert, int64_t at_ms) {
    struct hk_alert_rule *rule = alert->rule;
    struct hk_label items[HK_ALERT_PAIRS_MAX];
    struct hk_arena arena;
    struct hk_labels packed;
    struct hk_template_data data = template_data(rule, alert->series, alert->value, at_ms);
    hk_arena_init(&arena, HK_ALERT_BYTES_MAX);
    uint32_t count = 0;
    hk_err err = HK_OK;
    for (uint32_t i = 0; i < rule->options.annotation_count && err >= 0; i++) {
        struct hk_str text = { "", 0 };
        err = expand_pair(rule, &rule->annotations[i], &data, &arena, &text);
        items[count++] = (struct hk_label){ rule->annotations[i].name, text };
    }
    if (err >= 0) err = hk_alert_pack((struct hk_labels){ items, count }, &packed);
    if (err >= 0) {
        hk_alert_unpack(&alert->annotations);
        alert->annotations = packed;
    } else {
        rule->counts.template_errors++;
    }
    hk_arena_deinit(&arena);
}
