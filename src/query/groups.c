/* Groups of series by the source: aggregations need labels once per group, not per series. */
#include "query/aggregate.h"

static const char *const metadata[] = { "__name__", "__type__", "__unit__" };

bool hk_ev_wants_groups(const struct eval *eval, const struct sink *sink) {
    return sink->grouping != NULL && eval->source->group != NULL;
}

hk_err hk_ev_labels_of(
    struct eval *eval, struct hk_selection *selection, uint32_t index, struct hk_labels *out) {
    const struct hk_source *source = eval->source;
    if (selection->labels == NULL)
        return source->labels_of(source->self, selection, index, eval->arena, out);
    *out = selection->labels[index];
    return HK_OK;
}

static hk_err fill_labels(struct eval *eval, struct hk_selection *selection) {
    struct hk_labels *labels = hk_arena_alloc_raw(eval->arena, selection->count, sizeof(*labels));
    if (labels == NULL) return hk_ev_nomem(eval);
    for (uint32_t i = 0; i < selection->count; i++)
        HK_TRY(hk_ev_labels_of(eval, selection, i, &labels[i]));
    selection->labels = labels;
    return HK_OK;
}

/* The names of the grouping, as they are when metadata labels are dropped before. */
static hk_err dropped_names(
    struct eval *eval, const struct grouping *grouping, struct hk_str **out, uint32_t *out_count) {
    uint32_t room = grouping->name_count + (uint32_t)HK_COUNT(metadata);
    struct hk_str *names = hk_arena_alloc_raw(eval->arena, room, sizeof(*names));
    if (names == NULL) return hk_ev_nomem(eval);
    uint32_t count = 0;
    for (uint32_t i = 0; i < grouping->name_count; i++) {
        bool dropped = false;
        for (size_t k = 0; k < HK_COUNT(metadata); k++)
            dropped = dropped || hk_str_eq(grouping->names[i], hk_str_from(metadata[k]));
        if (!dropped) names[count++] = grouping->names[i];
    }
    for (size_t k = 0; !grouping->with && k < HK_COUNT(metadata); k++)
        names[count++] = hk_str_from(metadata[k]);
    *out = names;
    *out_count = count;
    return HK_OK;
}

/* May the metadata labels go without making two series the same? If all have the same. */
static hk_err is_one_metric(struct eval *eval, struct hk_selection *selection, bool *out) {
    struct hk_str names[HK_COUNT(metadata)];
    for (size_t i = 0; i < HK_COUNT(metadata); i++)
        names[i] = hk_str_from(metadata[i]);
    uint32_t *numbers = NULL;
    uint32_t count = 0;
    HK_TRY(eval->source->group(
        eval->source->self, selection, names, HK_COUNT(metadata), true, eval->arena, &numbers,
        &count));
    *out = count <= 1;
    return HK_OK;
}

hk_err hk_ev_groups(
    struct eval *eval, struct hk_selection *selection, struct sink *sink, bool drop_names,
    struct series_groups *out) {
    *out = (struct series_groups){ .numbers = NULL };
    bool has_labels = selection->labels != NULL || selection->count == 0;
    if (!hk_ev_wants_groups(eval, sink) || has_labels) return HK_OK;
    const struct hk_source *source = eval->source;
    const struct grouping *grouping = sink->grouping;
    struct hk_str *names = grouping->names;
    uint32_t name_count = grouping->name_count;
    if (drop_names) {
        bool one = false;
        HK_TRY(is_one_metric(eval, selection, &one));
        if (!one) return fill_labels(eval, selection);
        HK_TRY(dropped_names(eval, grouping, &names, &name_count));
    }
    HK_TRY(source->group(
        source->self, selection, names, name_count, grouping->with, eval->arena, &out->numbers,
        &out->count));
    out->seen = hk_arena_alloc(eval->arena, out->count, sizeof(bool));
    if (out->seen == NULL) return hk_ev_nomem(eval);
    sink->group_count = out->count;
    return HK_OK;
}
