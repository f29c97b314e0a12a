/* Tables: columns of points. */
#include "query/eval_internal.h"

hk_err hk_ev_column(struct eval *eval, uint32_t steps, bool raw, struct column *out) {
    *out = (struct column){ .labels = { NULL, 0 } };
    out->values = hk_arena_alloc_raw(eval->arena, steps, sizeof(double));
    if (out->values == NULL) return hk_ev_nomem(eval);
    double absent = absent_value();
    for (uint32_t i = 0; !raw && i < steps; i++)
        out->values[i] = absent;
    return HK_OK;
}

hk_err hk_ev_column_histograms(struct eval *eval, uint32_t steps, struct column *column) {
    if (column->histograms != NULL) return HK_OK;
    column->histograms = hk_arena_alloc(eval->arena, steps, sizeof(struct hk_histogram *));
    return column->histograms == NULL ? hk_ev_nomem(eval) : HK_OK;
}

hk_err hk_ev_put(
    struct eval *eval, struct column *column, uint32_t steps, uint32_t step, double value,
    const struct hk_histogram *histogram) {
    column->values[step] = histogram == NULL ? value : 0;
    if (histogram != NULL) HK_TRY(hk_ev_column_histograms(eval, steps, column));
    if (column->histograms != NULL) column->histograms[step] = histogram;
    return HK_OK;
}

static bool has_points(const struct column *column, uint32_t steps) {
    for (uint32_t i = 0; i < steps; i++) {
        if (!is_absent(column->values[i])) return true;
    }
    return false;
}

hk_err hk_ev_add(struct eval *eval, struct table *table, const struct column *column) {
    if (table->frame.count > 0 && !has_points(column, table->frame.count)) return HK_OK;
    if (table->count == table->capacity) {
        uint32_t wanted = table->capacity == 0 ? 8 : table->capacity * 2;
        struct column *bigger = hk_arena_alloc_raw(eval->arena, wanted, sizeof(*bigger));
        if (bigger == NULL) return hk_ev_nomem(eval);
        if (table->count > 0) memcpy(bigger, table->columns, table->count * sizeof(*bigger));
        table->columns = bigger;
        table->capacity = wanted;
    }
    table->columns[table->count++] = *column;
    return hk_ev_hold(eval, table->frame.count);
}

hk_err hk_ev_spread(struct eval *eval, struct table *table, const struct frame *frame) {
    struct table out = { .frame = *frame };
    for (uint32_t i = 0; i < table->count; i++) {
        const struct column *from = &table->columns[i];
        struct column column;
        HK_TRY(hk_ev_poll(eval));
        HK_TRY(hk_ev_column(eval, frame->count, true, &column));
        column.labels = from->labels;
        for (uint32_t s = 0; s < frame->count; s++)
            column.values[s] = from->values[0];
        if (column_histogram(from, 0) != NULL) {
            HK_TRY(hk_ev_column_histograms(eval, frame->count, &column));
            for (uint32_t s = 0; s < frame->count; s++)
                column.histograms[s] = from->histograms[0];
        }
        HK_TRY(hk_ev_add(eval, &out, &column));
    }
    *table = out;
    return HK_OK;
}

/* Puts the points of `from` into the empty slots of `into`. */
static hk_err
merge_columns(struct eval *eval, uint32_t steps, const struct column *from, struct column *into) {
    for (uint32_t s = 0; s < steps; s++) {
        if (is_absent(from->values[s])) continue;
        if (!is_absent(into->values[s])) return hk_ev_fail_same_labels();
        HK_TRY(hk_ev_put(eval, into, steps, s, from->values[s], column_histogram(from, s)));
    }
    return HK_OK;
}

hk_err hk_ev_merge(struct eval *eval, struct table *table, bool strict) {
    struct label_map map = { 0 };
    uint32_t count = 0;
    for (uint32_t i = 0; i < table->count; i++) {
        uint32_t number = 0;
        bool is_new = false;
        struct hk_hash128 key = hk_labels_hash(table->columns[i].labels);
        HK_TRY(hk_ev_map(eval, &map, key, count, &number, &is_new));
        if (is_new) {
            table->columns[count++] = table->columns[i];
            continue;
        }
        if (strict) return hk_ev_fail_same_labels();
        HK_TRY(
            merge_columns(eval, table->frame.count, &table->columns[i], &table->columns[number]));
    }
    table->count = count;
    return HK_OK;
}

static hk_err keep_column(struct sink *sink, struct column *column) {
    struct table_sink *own = sink->self;
    HK_TRY(hk_ev_add(own->eval, own->table, column));
    column->values = NULL;
    return HK_OK;
}

void hk_ev_table_sink(struct eval *eval, struct table *table, struct table_sink *out) {
    *out = (struct table_sink){ .eval = eval, .table = table };
    out->sink.push = keep_column;
    out->sink.self = out;
}
