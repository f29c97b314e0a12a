/* Instant selectors: per series, the newest sample not older than the lookback at each step. */
#include "query/eval_internal.h"

hk_err hk_ev_open(struct eval *eval, const struct hk_select *request, struct hk_selection **out) {
    struct open_selection *open = hk_arena_alloc(eval->arena, 1, sizeof(*open));
    if (open == NULL) return hk_ev_nomem(eval);
    if (request->from_ms <= request->to_ms) {
        HK_TRY(eval->source->select(eval->source->self, request, eval->arena, &open->selection));
        open->next = eval->selections;
        eval->selections = open;
    }
    eval->stats.series_read += open->selection.count;
    *out = &open->selection;
    return HK_OK;
}

void hk_ev_close(struct eval *eval) {
    for (struct open_selection *open = eval->selections; open != NULL; open = open->next)
        eval->source->release(eval->source->self, &open->selection);
    eval->selections = NULL;
}

struct picker {
    struct eval *eval;
    const struct frame *frame;
    const struct hk_promql_time *time;
    bool want_stamps;                            /* values become the samples' stamps in seconds */
    const struct hk_histogram *source_histogram; /* copied last */
    const struct hk_histogram *copy;
};

/* The samples are the source's; what goes into a result is copied, once per sample. */
static hk_err copy_histogram(
    struct picker *picker, const struct hk_histogram *from, const struct hk_histogram **out) {
    if (picker->source_histogram != from || picker->copy == NULL) {
        picker->copy = hk_histogram_copy(from, picker->eval->arena);
        if (picker->copy == NULL) return hk_ev_nomem(picker->eval);
        picker->source_histogram = from;
    }
    *out = picker->copy;
    return HK_OK;
}

static hk_err pick_one(
    struct picker *picker, const struct hk_samples *samples, uint32_t index, uint32_t step,
    struct column *column) {
    const struct hk_histogram *histogram =
        samples->histograms == NULL ? NULL : samples->histograms[index];
    double value = samples->values[index];
    if (histogram == NULL ? hk_is_stale(value) : hk_histogram_is_stale(histogram)) return HK_OK;
    if (picker->want_stamps) {
        column->values[step] = (double)samples->stamps_ms[index] / 1000;
        return HK_OK;
    }
    if (histogram == NULL) {
        column->values[step] = is_absent(value) ? nan_value() : value;
        return HK_OK;
    }
    HK_TRY(copy_histogram(picker, histogram, &histogram));
    return hk_ev_put(picker->eval, column, picker->frame->count, step, 0, histogram);
}

static hk_err
pick_series(struct picker *picker, const struct hk_samples *samples, struct column *column) {
    const struct eval *eval = picker->eval;
    uint32_t next = 0;
    for (uint32_t step = 0; step < picker->frame->count; step++) {
        int64_t time_ms = hk_ev_time(eval, picker->time, frame_time(picker->frame, step));
        int64_t oldest_ms = time_sub(time_ms, eval->options.lookback_ms);
        while (next < samples->count && samples->stamps_ms[next] <= time_ms)
            next++;
        if (next > 0 && samples->stamps_ms[next - 1] > oldest_ms)
            HK_TRY(pick_one(picker, samples, next - 1, step, column));
    }
    return HK_OK;
}

static hk_err
select_series(struct picker *picker, struct hk_selection *selection, struct sink *sink) {
    struct eval *eval = picker->eval;
    struct column column = { .values = NULL };
    for (uint32_t i = 0; i < selection->count; i++) {
        struct hk_samples samples = { 0 };
        HK_TRY(hk_ev_poll(eval));
        hk_arena_reset(&eval->scratch);
        HK_TRY(eval->source->read(eval->source->self, selection, i, &eval->scratch, &samples));
        eval->stats.samples_read += samples.count;
        if (samples.count == 0) continue;
        if (column.values == NULL || column.histograms != NULL) {
            HK_TRY(hk_ev_column(eval, picker->frame->count, false, &column));
        } else {
            double absent = absent_value();
            for (uint32_t s = 0; s < picker->frame->count; s++)
                column.values[s] = absent;
        }
        picker->source_histogram = NULL;
        column.labels = selection->labels[i];
        HK_TRY(pick_series(picker, &samples, &column));
        HK_TRY(sink->push(sink, &column));
    }
    return HK_OK;
}

hk_err hk_ev_select(
    struct eval *eval, const struct hk_promql_node *node, const struct frame *frame,
    bool want_stamps, struct sink *sink) {
    if (frame->count == 0) return HK_OK;
    struct picker picker = {
        .eval = eval,
        .frame = frame,
        .time = &node->selector.time,
        .want_stamps = want_stamps,
    };
    int64_t first_ms = hk_ev_time(eval, picker.time, frame->start_ms);
    int64_t last_ms = hk_ev_time(eval, picker.time, frame_time(frame, frame->count - 1));
    struct hk_select request = {
        .matchers = node->selector.matchers,
        .matcher_count = node->selector.matcher_count,
        .from_ms = time_add(time_sub(first_ms, eval->options.lookback_ms), 1),
        .to_ms = last_ms,
        .series_max = eval->options.series_max,
        .cancel = eval->options.cancel,
    };
    struct hk_selection *selection = NULL;
    HK_TRY(hk_ev_open(eval, &request, &selection));
    return select_series(&picker, selection, sink);
}
