/* Labels of scraped series. */
#include "ingest/scrape_labels.h"

/* Also true for a label exposed with an empty value: with honor_labels it suppresses ours. */
static bool has_name(const struct hk_label_set *set, struct hk_str name) {
    for (uint32_t i = 0; i < set->count; i++) {
        if (hk_str_eq(set->items[i].name, name)) return true;
    }
    return false;
}

/* Sets the value of `name` whatever stood there. */
static void overwrite(struct hk_label_set *set, struct hk_str name, struct hk_str value) {
    for (uint32_t i = 0; i < set->count; i++) {
        if (!hk_str_eq(set->items[i].name, name)) continue;
        set->items[i].value = value;
        return;
    }
    hk_label_set_add(set, name, value);
}

/* Moves the value of a label that the target overrules to exported_<name>, with as many prefixes
 * as it takes to be free. */
static hk_err
move_exported(struct hk_label_set *set, struct hk_label conflict, struct hk_arena *arena) {
    struct hk_str name = conflict.name;
    do {
        if (name.len + 9 > HK_LABEL_NAME_BYTES_MAX) return HK_E_LIMIT;
        name = hk_arena_printf(arena, "exported_%.*s", HK_STR_ARG(name));
        if (name.ptr == NULL) return HK_E_NOMEM;
    } while (hk_label_set_get(set, name).len > 0);
    overwrite(set, name, conflict.value);
    return HK_OK;
}

static hk_err override_labels(
    const struct hk_scrape_target *target, struct hk_label_set *set, struct hk_arena *arena) {
    struct hk_label *conflicts =
        hk_arena_alloc_raw(arena, target->labels.count, sizeof(*conflicts));
    uint32_t count = 0;
    if (conflicts == NULL) return HK_E_NOMEM;
    for (uint32_t i = 0; i < target->labels.count; i++) {
        struct hk_label own = target->labels.items[i];
        struct hk_str exposed = hk_label_set_get(set, own.name);
        if (exposed.len > 0) {
            /* Shorter names first, so that exported_x finds its place before exported_exported_x.
             */
            uint32_t at = count++;
            for (; at > 0 && conflicts[at - 1].name.len > own.name.len; at--)
                conflicts[at] = conflicts[at - 1];
            conflicts[at] = (struct hk_label){ own.name, exposed };
        }
        overwrite(set, own.name, own.value);
    }
    for (uint32_t i = 0; i < count; i++)
        HK_TRY(move_exported(set, conflicts[i], arena));
    return HK_OK;
}

static void drop_empty(struct hk_label_set *set) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < set->count; i++) {
        if (set->items[i].value.len > 0) set->items[count++] = set->items[i];
    }
    set->count = count;
}

hk_err hk_scrape_series_labels(
    const struct hk_scrape_target *target, struct hk_label_set *set, struct hk_arena *arena) {
    if (target->honor_labels) {
        for (uint32_t i = 0; i < target->labels.count; i++) {
            struct hk_label own = target->labels.items[i];
            if (!has_name(set, own.name)) hk_label_set_add(set, own.name, own.value);
        }
    } else {
        HK_TRY(override_labels(target, set, arena));
    }
    if (set->err < 0) return set->err;
    drop_empty(set);
    hk_err err = hk_relabel_apply(target->metric_relabel, set, arena);
    if (err != HK_OK) return err;
    if (hk_label_set_get(set, HK_STR("__name__")).len == 0) {
        return hk_fail(HK_E_MALFORMED, "missing metric name (__name__ label)");
    }
    return HK_OK;
}

void hk_scrape_report_labels(
    const struct hk_scrape_target *target, struct hk_str metric, struct hk_label_set *set) {
    hk_label_set_clear(set);
    hk_label_set_add(set, HK_STR("__name__"), metric);
    for (uint32_t i = 0; i < target->labels.count; i++)
        hk_label_set_add(set, target->labels.items[i].name, target->labels.items[i].value);
}

hk_err hk_scrape_check_labels(const struct hk_scrape_target *target, struct hk_labels labels) {
    const struct hk_scrape_limits *limits = &target->limits;
    struct hk_str metric = hk_str_part(hk_labels_get(labels, HK_STR("__name__")), 0, 50);
    if (limits->labels > 0 && labels.count > limits->labels) {
        return hk_fail(
            HK_E_LIMIT, "label_limit exceeded (metric: %.*s, number of labels: %u, limit: %llu)",
            HK_STR_ARG(metric), labels.count, (unsigned long long)limits->labels);
    }
    if (limits->label_name_bytes == 0 && limits->label_value_bytes == 0) return HK_OK;
    for (uint32_t i = 0; i < labels.count; i++) {
        struct hk_label label = labels.items[i];
        struct hk_str shown = hk_str_part(label.name, 0, 50);
        if (limits->label_name_bytes > 0 && label.name.len > limits->label_name_bytes) {
            return hk_fail(
                HK_E_LIMIT,
                "label_name_length_limit exceeded (metric: %.*s, label name: %.*s, length: %zu, "
                "limit: %llu)",
                HK_STR_ARG(metric), HK_STR_ARG(shown), label.name.len,
                (unsigned long long)limits->label_name_bytes);
        }
        if (limits->label_value_bytes > 0 && label.value.len > limits->label_value_bytes) {
            return hk_fail(
                HK_E_LIMIT,
                "label_value_length_limit exceeded (metric: %.*s, label name: %.*s, value "
                "length: %zu, limit: %llu)",
                HK_STR_ARG(metric), HK_STR_ARG(shown), label.value.len,
                (unsigned long long)limits->label_value_bytes);
        }
    }
    return HK_OK;
}
