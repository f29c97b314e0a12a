/* From JSON answers to rows. */
#include "cli/answers.h"

#include "model/labels.h"

#include <stdio.h>

static hk_err malformed(const char *what) {
    return hk_fail(HK_E_MALFORMED, "the answer has no %s; is the server a hark?", what);
}

struct hk_str hk_answer_labels(const struct hk_value *labels, struct hk_arena *arena) {
    struct hk_str name = hk_value_text(hk_value_get(labels, "__name__"));
    struct hk_buf buf;
    hk_buf_init(&buf, 1 << 20);
    bool classic = name.len > 0 && hk_name_is_classic(name, true);
    if (classic) hk_buf_str(&buf, name);
    bool first = true;
    const struct hk_value *label = labels == NULL ? NULL : labels->first;
    for (; label != NULL; label = label->next) {
        bool is_name = hk_str_is(label->key, "__name__");
        if (is_name && (classic || name.len == 0)) continue;
        hk_buf_char(&buf, first ? '{' : ',');
        first = false;
        if (is_name) {
            hk_buf_json(&buf, name);
            continue;
        }
        if (hk_name_is_classic(label->key, false)) {
            hk_buf_str(&buf, label->key);
        } else {
            hk_buf_json(&buf, label->key);
        }
        hk_buf_char(&buf, '=');
        hk_buf_json(&buf, hk_value_text(label));
    }
    if (!first) hk_buf_char(&buf, '}');
    if (first && !classic) hk_buf_text(&buf, "{}");
    struct hk_str copy = { NULL, 0 };
    if (buf.err == HK_OK) copy = hk_arena_str(arena, hk_buf_get(&buf));
    hk_buf_deinit(&buf);
    return copy;
}

/* A cell that may be out of memory. */
static void put_cell(struct hk_table *table, struct hk_str text) {
    if (text.ptr == NULL) table->err = HK_E_NOMEM;
    hk_table_cell(table, text);
}

/* Seconds since 1970 as RFC 3339. */
static void put_time(struct hk_table *table, const struct hk_value *seconds) {
    double value = hk_value_number(seconds, 0);
    char text[HK_TIME_BYTES_MAX];
    bool fine = value > -6e10 && value < 2.5e11;
    size_t len = fine ? hk_format_time_ms((int64_t)(value * 1000), text) : 0;
    if (fine) {
        hk_table_printf(table, "%.*s", (int)len, text);
    } else {
        hk_table_cell(table, hk_value_text(seconds));
    }
}

/* "count=3 sum=4.5" of a native histogram. */
static void put_histogram(struct hk_table *table, const struct hk_value *histogram) {
    struct hk_str count = hk_value_text(hk_value_get(histogram, "count"));
    struct hk_str sum = hk_value_text(hk_value_get(histogram, "sum"));
    hk_table_printf(
        table, "histogram count=%.*s sum=%.*s", (int)(count.len < 64 ? count.len : 64), count.ptr,
        (int)(sum.len < 64 ? sum.len : 64), sum.ptr);
}

/* [time, "value"] */
static void put_point(struct hk_table *table, const struct hk_value *point, bool histogram) {
    put_time(table, hk_value_at(point, 0));
    const struct hk_value *value = hk_value_at(point, 1);
    if (histogram) {
        put_histogram(table, value);
    } else {
        hk_table_cell(table, hk_value_text(value));
    }
}

static void
put_series(struct hk_table *table, const struct hk_value *series, struct hk_arena *arena) {
    static const char *const kinds[] = { "value", "histogram", "values", "histograms" };
    struct hk_str name = hk_answer_labels(hk_value_get(series, "metric"), arena);
    for (size_t i = 0; i < HK_COUNT(kinds); i++) {
        const struct hk_value *data = hk_value_get(series, kinds[i]);
        if (data == NULL) continue;
        if (i < 2) {
            put_cell(table, name);
            put_point(table, data, i == 1);
            continue;
        }
        for (const struct hk_value *point = data->first; point != NULL; point = point->next) {
            put_cell(table, name);
            put_point(table, point, i == 3);
        }
    }
}

hk_err
hk_answer_query(const struct hk_value *root, struct hk_arena *arena, struct hk_table *table) {
    static const char *const columns[] = { "series", "time", "value" };
    const struct hk_value *data = hk_value_get(root, "data");
    const struct hk_value *result = hk_value_get(data, "result");
    struct hk_str type = hk_value_text(hk_value_get(data, "resultType"));
    bool single = hk_str_is(type, "scalar") || hk_str_is(type, "string");
    if (result == NULL || result->type != HK_JSON_ARRAY) return malformed("result");
    hk_table_init(table, arena, single ? columns + 1 : columns, single ? 2 : 3, single ? 2 : 4);
    if (single) {
        put_point(table, result, false);
        return table->err;
    }
    for (const struct hk_value *series = result->first; series != NULL; series = series->next)
        put_series(table, series, arena);
    return table->err;
}

hk_err
hk_answer_targets(const struct hk_value *root, struct hk_arena *arena, struct hk_table *table) {
    static const char *const columns[] = { "job", "target", "health", "last", "took", "error" };
    const struct hk_value *data = hk_value_get(root, "data");
    const struct hk_value *active = hk_value_get(data, "activeTargets");
    if (active == NULL) return malformed("activeTargets");
    hk_table_init(table, arena, columns, HK_COUNT(columns), 1U << 4);
    for (const struct hk_value *target = active->first; target != NULL; target = target->next) {
        double took = hk_value_number(hk_value_get(target, "lastScrapeDuration"), -1);
        hk_table_cell(table, hk_value_text(hk_value_get(target, "scrapePool")));
        hk_table_cell(table, hk_value_text(hk_value_get(target, "scrapeUrl")));
        hk_table_cell(table, hk_value_text(hk_value_get(target, "health")));
        hk_table_cell(table, hk_value_text(hk_value_get(target, "lastScrape")));
        if (took >= 0) {
            hk_table_printf(table, "%.1fms", took * 1000);
        } else {
            hk_table_cell(table, HK_STR(""));
        }
        hk_table_cell(table, hk_value_text(hk_value_get(target, "lastError")));
    }
    return table->err;
}

static void
put_rule(struct hk_table *table, const struct hk_value *group, const struct hk_value *rule) {
    struct hk_str type = hk_value_text(hk_value_get(rule, "type"));
    bool alert = hk_str_is(type, "alerting");
    struct hk_str state = hk_value_text(hk_value_get(rule, alert ? "state" : "health"));
    hk_table_cell(table, hk_value_text(hk_value_get(group, "name")));
    hk_table_cell(table, hk_value_text(hk_value_get(rule, "name")));
    hk_table_cell(table, alert ? HK_STR("alert") : HK_STR("record"));
    hk_table_cell(table, state);
    hk_table_cell(table, hk_value_text(hk_value_get(rule, "path")));
    struct hk_str why = hk_value_text(hk_value_get(rule, "pathReason"));
    struct hk_str error = hk_value_text(hk_value_get(rule, "lastError"));
    hk_table_cell(table, error.len > 0 ? error : why);
    hk_table_cell(table, hk_value_text(hk_value_get(rule, "query")));
}

hk_err
hk_answer_rules(const struct hk_value *root, struct hk_arena *arena, struct hk_table *table) {
    static const char *const columns[] = {
        "group", "rule", "kind", "state", "judged", "why", "expression",
    };
    const struct hk_value *groups = hk_value_get(hk_value_get(root, "data"), "groups");
    if (groups == NULL) return malformed("groups");
    hk_table_init(table, arena, columns, HK_COUNT(columns), 0);
    for (const struct hk_value *group = groups->first; group != NULL; group = group->next) {
        const struct hk_value *rules = hk_value_get(group, "rules");
        const struct hk_value *rule = rules == NULL ? NULL : rules->first;
        for (; rule != NULL; rule = rule->next)
            put_rule(table, group, rule);
    }
    return table->err;
}

hk_err
hk_answer_alerts(const struct hk_value *root, struct hk_arena *arena, struct hk_table *table) {
    static const char *const columns[] = { "alert", "state", "since", "value", "labels" };
    const struct hk_value *alerts = hk_value_get(hk_value_get(root, "data"), "alerts");
    if (alerts == NULL) return malformed("alerts");
    hk_table_init(table, arena, columns, HK_COUNT(columns), 1U << 3);
    for (const struct hk_value *alert = alerts->first; alert != NULL; alert = alert->next) {
        const struct hk_value *labels = hk_value_get(alert, "labels");
        hk_table_cell(table, hk_value_text(hk_value_get(labels, "alertname")));
        hk_table_cell(table, hk_value_text(hk_value_get(alert, "state")));
        hk_table_cell(table, hk_value_text(hk_value_get(alert, "activeAt")));
        hk_table_cell(table, hk_value_text(hk_value_get(alert, "value")));
        put_cell(table, hk_answer_labels(labels, arena));
    }
    return table->err;
}

/* "3 too_large, 1 malformed" */
static void put_dropped(struct hk_table *table, const struct hk_value *dropped) {
    char text[1024] = "";
    size_t len = 0;
    const struct hk_value *reason = dropped == NULL ? NULL : dropped->first;
    for (; reason != NULL && len + 120 < sizeof(text); reason = reason->next) {
        struct hk_str count = hk_value_text(reason);
        len += (size_t)snprintf(
            text + len, sizeof(text) - len, "%s%.*s %.*s", len == 0 ? "" : ", ",
            (int)(count.len < 24 ? count.len : 24), count.ptr,
            (int)(reason->key.len < 64 ? reason->key.len : 64), reason->key.ptr);
    }
    hk_table_printf(table, "%s", len == 0 ? "0" : text);
}

hk_err
hk_answer_ledger(const struct hk_value *root, struct hk_arena *arena, struct hk_table *table) {
    static const char *const columns[] = {
        "receiver", "signal", "received", "stored", "in flight", "dropped",
    };
    const struct hk_value *accounts = hk_value_get(root, "accounts");
    if (accounts == NULL) return malformed("accounts");
    hk_table_init(table, arena, columns, HK_COUNT(columns), 7U << 2);
    for (const struct hk_value *row = accounts->first; row != NULL; row = row->next) {
        hk_table_cell(table, hk_value_text(hk_value_get(row, "receiver")));
        hk_table_cell(table, hk_value_text(hk_value_get(row, "signal")));
        hk_table_cell(table, hk_value_text(hk_value_get(row, "received")));
        hk_table_cell(table, hk_value_text(hk_value_get(row, "stored")));
        hk_table_cell(table, hk_value_text(hk_value_get(row, "in_flight")));
        put_dropped(table, hk_value_get(row, "dropped"));
    }
    return table->err;
}

/* Nanoseconds as people read them. */
static void put_ns(struct hk_table *table, const struct hk_value *value) {
    double ns = hk_value_number(value, -1);
    if (ns < 0) {
        hk_table_cell(table, HK_STR(""));
    } else if (ns < 1e3) {
        hk_table_printf(table, "%.0fns", ns);
    } else if (ns < 1e6) {
        hk_table_printf(table, "%.1fus", ns / 1e3);
    } else if (ns < 1e9) {
        hk_table_printf(table, "%.1fms", ns / 1e6);
    } else {
        hk_table_printf(table, "%.2fs", ns / 1e9);
    }
}

hk_err hk_answer_lag(const struct hk_value *root, struct hk_arena *arena, struct hk_table *table) {
    static const char *const columns[] = {
        "hop", "count", "mean", "p50", "p90", "p99", "p99.9",
    };
    static const char *const keys[] = { "mean_ns", "p50_ns", "p90_ns", "p99_ns", "p999_ns" };
    const struct hk_value *hops = hk_value_get(root, "hops");
    if (hops == NULL) return malformed("hops");
    hk_table_init(table, arena, columns, HK_COUNT(columns), 0x7e);
    for (const struct hk_value *hop = hops->first; hop != NULL; hop = hop->next) {
        hk_table_cell(table, hk_value_text(hk_value_get(hop, "hop")));
        hk_table_cell(table, hk_value_text(hk_value_get(hop, "count")));
        for (size_t i = 0; i < HK_COUNT(keys); i++)
            put_ns(table, hk_value_get(hop, keys[i]));
    }
    return table->err;
}
