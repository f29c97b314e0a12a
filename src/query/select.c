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

enum { NEWEST_COUNT = 256 };

/* The newest samples of the series from `first` on, read ahead for evaluations at one time. */
struct newest {
    struct hk_newest items[NEWEST_COUNT];
    uint32_t first, end;
};

/* The samples of series `index` that matter. */
static hk_err read_one(
    struct picker *picker, struct hk_selection *selection, uint32_t index, struct newest *newest,
    struct hk_samples *out) {
    struct eval *eval = picker->eval;
    const struct hk_source *source = eval->source;
    if (picker->frame->count == 1 && source->newest != NULL) {
        if (index >= newest->end) {
            uint32_t left = selection->count - index;
            newest->first = index;
            newest->end = index + (left < NEWEST_COUNT ? left : NEWEST_COUNT);
            source->newest(source->self, selection, index, newest->end - index, &newest->items[0]);
        }
        const struct hk_newest *item = &newest->items[index - newest->first];
        if (item->kind != HK_NEWEST_READ) {
            bool any = item->kind == HK_NEWEST_FLOAT;
            *out = (struct hk_samples){ &item->stamp_ms, &item->value, NULL, any };
            return HK_OK;
        }
    }
    hk_arena_reset(&eval->scratch);
    return source->read(source->self, selection, index, &eval->scratch, out);
}

/* An absent column, the last one again if the sink left it. */
static hk_err fresh_column(struct picker *picker, struct column *column) {
    if (column->values == NULL || column->histograms != NULL)
        return hk_ev_column(picker->eval, picker->frame->count, false, column);
    double absent = absent_value();
    for (uint32_t s = 0; s < picker->frame->count; s++)
        column->values[s] = absent;
    return HK_OK;
}

static hk_err select_series(
    struct picker *picker, struct hk_selection *selection, const struct series_groups *groups,
    struct sink *sink) {
    struct eval *eval = picker->eval;
    struct column column = { .values = NULL };
    struct newest newest;
    newest.end = 0;
    for (uint32_t i = 0; i < selection->count; i++) {
        struct hk_samples samples = { 0 };
        HK_TRY(hk_ev_poll(eval));
        HK_TRY(read_one(picker, selection, i, &newest, &samples));
        eval->stats.samples_read += samples.count;
        if (samples.count == 0) continue;
        HK_TRY(fresh_column(picker, &column));
        picker->source_histogram = NULL;
        HK_TRY(pick_series(picker, &samples, &column));
        uint32_t group = groups->numbers == NULL ? 0 : groups->numbers[i];
        column.labels = (struct hk_labels){ NULL, 0 };
        column.group = groups->numbers == NULL ? 0 : group + 1;
        if (column.group == 0 || !groups->seen[group] || column.histograms != NULL)
            HK_TRY(hk_ev_labels_of(eval, selection, i, &column.labels));
        if (column.group != 0) groups->seen[group] = true;
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
        .labels_later = hk_ev_wants_groups(eval, sink),
    };
    struct hk_selection *selection = NULL;
    struct series_groups groups;
    HK_TRY(hk_ev_open(eval, &request, &selection));
    HK_TRY(hk_ev_groups(eval, selection, sink, false, &groups));
    return select_series(&picker, selection, &groups, sink);
}
