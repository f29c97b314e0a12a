/*
 * Calls over a range: each series is read once, its stale markers are dropped, floats and
 * histograms are parted, and a window (start, end] slides over it step by step.
 */
#include "query/eval_internal.h"

#include "query/hist.h"

struct slider {
    struct range_call call;
    range_function function;
    const struct hk_promql_time *time;
    int64_t range_ms;
    const struct frame *frame;
    struct sink *sink;
    struct column column;
    struct name_drop drop;
    bool keep_name, is_counter, check_counter_name;
    bool subquery;         /* reset hints of the histograms mean nothing between subquery steps */
    struct label_map seen; /* labels pushed, once names are mixed */
    struct hk_labels *pushed;
    uint32_t pushed_count, pushed_capacity;
    struct hk_selection *selection; /* NULL over a subquery */
    struct series_groups groups;
};

uint32_t hk_ev_range_argument(const struct hk_promql_node *node) {
    for (uint32_t i = 0; i < node->child_count; i++) {
        if (node->children[i]->type == HK_PROMQL_MATRIX) return i;
    }
    return UINT32_MAX;
}

static bool is_counter_function(enum hk_promql_function_id id) {
    return id == HK_PROMQL_FN_rate || id == HK_PROMQL_FN_increase || id == HK_PROMQL_FN_resets;
}

/* Drops stale markers and parts floats from histograms. Without either the arrays stay. */
static hk_err
part_samples(struct eval *eval, const struct hk_samples *samples, struct range_series *out) {
    bool plain = samples->histograms == NULL;
    for (uint32_t i = 0; plain && i < samples->count; i++)
        plain = !hk_is_stale(samples->values[i]) && !is_absent(samples->values[i]);
    if (plain) {
        out->float_stamps = samples->stamps_ms;
        out->floats = samples->values;
        out->float_count = samples->count;
        return HK_OK;
    }
    size_t count = samples->count;
    int64_t *stamps = hk_arena_alloc_raw(&eval->series, count * 2, sizeof(int64_t));
    double *floats = hk_arena_alloc_raw(&eval->series, count, sizeof(double));
    const struct hk_histogram **histograms =
        hk_arena_alloc_raw(&eval->series, count, sizeof(struct hk_histogram *));
    if (stamps == NULL || floats == NULL || histograms == NULL) return hk_ev_nomem(eval);
    out->float_stamps = stamps;
    out->floats = floats;
    out->histogram_stamps = stamps + count;
    out->histograms = histograms;
    for (uint32_t i = 0; i < samples->count; i++) {
        const struct hk_histogram *histogram =
            samples->histograms == NULL ? NULL : samples->histograms[i];
        double value = samples->values[i];
        if (histogram == NULL && !hk_is_stale(value)) {
            floats[out->float_count] = is_absent(value) ? nan_value() : value;
            stamps[out->float_count++] = samples->stamps_ms[i];
        } else if (histogram != NULL && !hk_histogram_is_stale(histogram)) {
            histograms[out->histogram_count] = histogram;
            stamps[count + out->histogram_count++] = samples->stamps_ms[i];
        }
    }
    return HK_OK;
}

/* Where a counter fell: few, so that rate() looks at the ends of a window and at these. */
static hk_err find_resets(struct eval *eval, struct range_series *series) {
    uint32_t count = 0;
    for (uint32_t i = 1; i < series->float_count; i++)
        count += series->floats[i] < series->floats[i - 1];
    series->reset_count = count;
    if (count == 0) return HK_OK;
    uint32_t *resets = hk_arena_alloc_raw(&eval->series, count, sizeof(uint32_t));
    if (resets == NULL) return hk_ev_nomem(eval);
    uint32_t at = 0;
    for (uint32_t i = 1; i < series->float_count; i++) {
        if (series->floats[i] < series->floats[i - 1]) resets[at++] = i;
    }
    series->resets = resets;
    return HK_OK;
}

/* Moves the window on to (start, end]. */
static void slide(const struct range_series *series, struct range_window *window) {
    while (window->float_to < series->float_count &&
           series->float_stamps[window->float_to] <= window->end_ms)
        window->float_to++;
    while (window->float_from < window->float_to &&
           series->float_stamps[window->float_from] <= window->start_ms)
        window->float_from++;
    while (window->histogram_to < series->histogram_count &&
           series->histogram_stamps[window->histogram_to] <= window->end_ms)
        window->histogram_to++;
    while (window->histogram_from < window->histogram_to &&
           series->histogram_stamps[window->histogram_from] <= window->start_ms)
        window->histogram_from++;
    while (window->reset_from < series->reset_count &&
           series->resets[window->reset_from] <= window->float_from)
        window->reset_from++;
}

/* Has the series a point with a float? Then rate() says what it thinks of the name. */
static void check_counter(struct slider *slider, const struct range_series *series) {
    static const char *const endings[] = { "_total", "_sum", "_count", "_bucket" };
    if (series->metric.len == 0) return;
    for (size_t i = 0; i < HK_COUNT(endings); i++) {
        if (hk_str_ends(series->metric, hk_str_from(endings[i]))) return;
    }
    const struct column *column = &slider->column;
    for (uint32_t i = 0; i < slider->frame->count; i++) {
        if (is_absent(column->values[i]) || column_histogram(column, i) != NULL) continue;
        hk_ev_info_metric(
            slider->call.eval, slider->call.argument,
            "metric might not be a counter, name does not end in _total/_sum/_count/_bucket:",
            series->metric);
        return;
    }
}

/* Remembers the labels of a column with points, to find two that became the same. */
static hk_err remember(struct slider *slider) {
    struct eval *eval = slider->call.eval;
    if (slider->keep_name) return HK_OK;
    if (slider->pushed_count == slider->pushed_capacity) {
        uint32_t wanted = slider->pushed_capacity == 0 ? 64 : slider->pushed_capacity * 2;
        struct hk_labels *bigger = hk_arena_alloc_raw(eval->arena, wanted, sizeof(*bigger));
        if (bigger == NULL) return hk_ev_nomem(eval);
        if (slider->pushed_count > 0)
            memcpy(bigger, slider->pushed, slider->pushed_count * sizeof(*bigger));
        slider->pushed = bigger;
        slider->pushed_capacity = wanted;
    }
    slider->pushed[slider->pushed_count++] = slider->column.labels;
    return HK_OK;
}

static hk_err check_same_labels(struct slider *slider) {
    if (!slider->drop.mixed) return HK_OK;
    for (uint32_t i = 0; i < slider->pushed_count; i++) {
        uint32_t number = 0;
        bool is_new = false;
        HK_TRY(hk_ev_map(
            slider->call.eval, &slider->seen, hk_labels_hash(slider->pushed[i]), i, &number,
            &is_new));
        if (!is_new) return hk_ev_fail_same_labels();
    }
    return HK_OK;
}

static hk_err eval_steps(struct slider *slider, const struct range_series *series, bool *out_any) {
    struct eval *eval = slider->call.eval;
    struct range_window window = { 0 };
    for (uint32_t step = 0; step < slider->frame->count; step++) {
        window.step = step;
        window.time_ms = frame_time(slider->frame, step);
        window.end_ms = hk_ev_time(eval, slider->time, window.time_ms);
        window.start_ms = time_sub(window.end_ms, slider->range_ms);
        slide(series, &window);
        if (window.float_from == window.float_to && window.histogram_from == window.histogram_to)
            continue;
        struct range_point point = { .present = true };
        HK_TRY(slider->function(&slider->call, series, &window, &point));
        if (!point.present) continue;
        *out_any = true;
        if (point.histogram == NULL)
            slider->column.values[step] = point.value;
        else
            HK_TRY(
                hk_ev_put(eval, &slider->column, slider->frame->count, step, 0, point.histogram));
    }
    return HK_OK;
}

static hk_err fresh_column(struct slider *slider) {
    if (slider->column.values == NULL || slider->column.histograms != NULL) {
        return hk_ev_column(slider->call.eval, slider->frame->count, false, &slider->column);
    }
    double absent = absent_value();
    for (uint32_t i = 0; i < slider->frame->count; i++)
        slider->column.values[i] = absent;
    return HK_OK;
}

/* Gives the column of series `index` its labels, or only its group. */
static hk_err label_column(struct slider *slider, uint32_t index, struct hk_labels labels) {
    struct eval *eval = slider->call.eval;
    const struct series_groups *groups = &slider->groups;
    struct column *column = &slider->column;
    column->group = groups->numbers == NULL ? 0 : groups->numbers[index] + 1;
    column->labels = labels;
    if (column->group != 0) {
        bool *seen = &groups->seen[column->group - 1];
        if (*seen && column->histograms == NULL) return HK_OK;
        *seen = true;
        HK_TRY(hk_ev_labels_of(eval, slider->selection, index, &column->labels));
    }
    if (!slider->keep_name)
        HK_TRY(hk_ev_drop_name(eval, column->labels, &slider->drop, &column->labels));
    return column->group == 0 ? remember(slider) : HK_OK;
}

/* `labels` of a grouped series is any that has its metric's name. */
static hk_err eval_series(
    struct slider *slider, uint32_t index, struct hk_labels labels,
    const struct hk_samples *samples) {
    struct eval *eval = slider->call.eval;
    struct range_series series = { .labels = labels };
    HK_TRY(part_samples(eval, samples, &series));
    if (series.float_count + series.histogram_count == 0) return HK_OK;
    if (slider->is_counter) HK_TRY(find_resets(eval, &series));
    HK_TRY(hk_ev_hold(eval, samples->count));
    series.metric = hk_labels_get(labels, HK_STR("__name__"));
    HK_TRY(fresh_column(slider));
    bool any = false;
    HK_TRY(eval_steps(slider, &series, &any));
    eval->held -= samples->count;
    if (!any) return HK_OK;
    if (slider->check_counter_name) check_counter(slider, &series);
    HK_TRY(label_column(slider, index, labels));
    return slider->sink->push(slider->sink, &slider->column);
}

static hk_err eval_selection(struct slider *slider, struct hk_selection *selection) {
    struct eval *eval = slider->call.eval;
    bool grouped = slider->groups.numbers != NULL;
    struct hk_labels labels = { NULL, 0 };
    for (uint32_t i = 0; i < selection->count; i++) {
        struct hk_samples samples = { 0 };
        HK_TRY(hk_ev_poll(eval));
        hk_arena_reset(&eval->scratch);
        hk_arena_reset(&eval->series);
        if (!grouped || i == 0) HK_TRY(hk_ev_labels_of(eval, selection, i, &labels));
        HK_TRY(eval->source->read(eval->source->self, selection, i, &eval->scratch, &samples));
        eval->stats.samples_read += samples.count;
        if (samples.count > 0) HK_TRY(eval_series(slider, i, labels, &samples));
    }
    return check_same_labels(slider);
}

/* What a range selector reads at the steps of `frame`. */
static struct hk_select range_request(
    const struct eval *eval, const struct hk_promql_node *node, const struct frame *frame) {
    const struct hk_promql_node *selector = node->children[0];
    int64_t first_ms = hk_ev_time(eval, &selector->selector.time, frame->start_ms);
    int64_t last_ms =
        hk_ev_time(eval, &selector->selector.time, frame_time(frame, frame->count - 1));
    return (struct hk_select){
        .matchers = selector->selector.matchers,
        .matcher_count = selector->selector.matcher_count,
        .from_ms = time_add(time_sub(first_ms, node->range.range_ms), 1),
        .to_ms = last_ms,
        .series_max = eval->options.series_max,
        .cancel = eval->options.cancel,
    };
}

static hk_err over_selector(struct slider *slider, const struct hk_promql_node *node) {
    struct eval *eval = slider->call.eval;
    slider->time = &node->children[0]->selector.time;
    slider->range_ms = node->range.range_ms;
    struct hk_select request = range_request(eval, node, slider->frame);
    struct hk_selection *selection = NULL;
    request.labels_later = hk_ev_wants_groups(eval, slider->sink);
    HK_TRY(hk_ev_open(eval, &request, &selection));
    slider->selection = selection;
    HK_TRY(hk_ev_groups(eval, selection, slider->sink, !slider->keep_name, &slider->groups));
    return eval_selection(slider, selection);
}

/* The points of a subquery's column as samples, in the series arena. */
static hk_err column_samples(
    struct eval *eval, const struct table *table, const struct column *column,
    struct hk_samples *out) {
    uint32_t steps = table->frame.count;
    int64_t *stamps = hk_arena_alloc_raw(&eval->series, steps, sizeof(*stamps));
    double *values = hk_arena_alloc_raw(&eval->series, steps, sizeof(*values));
    const struct hk_histogram **histograms = NULL;
    if (stamps == NULL || values == NULL) return hk_ev_nomem(eval);
    if (column->histograms != NULL) {
        histograms = hk_arena_alloc(&eval->series, steps, sizeof(struct hk_histogram *));
        if (histograms == NULL) return hk_ev_nomem(eval);
    }
    uint32_t count = 0;
    for (uint32_t i = 0; i < steps; i++) {
        if (is_absent(column->values[i])) continue;
        const struct hk_histogram *histogram = column_histogram(column, i);
        if (histogram != NULL &&
            (histogram->reset_hint == HK_RESET_YES || histogram->reset_hint == HK_RESET_NO)) {
            struct hk_histogram *copy = hk_arena_alloc_raw(&eval->series, 1, sizeof(*copy));
            if (copy == NULL) return hk_ev_nomem(eval);
            *copy = *histogram;
            copy->reset_hint = HK_RESET_UNKNOWN;
            histogram = copy;
        }
        stamps[count] = frame_time(&table->frame, i);
        values[count] = column->values[i];
        if (histograms != NULL) histograms[count] = histogram;
        count++;
    }
    *out = (struct hk_samples){ stamps, values, histograms, count };
    return HK_OK;
}

static hk_err over_subquery(struct slider *slider, const struct hk_promql_node *node) {
    struct eval *eval = slider->call.eval;
    const struct table *table = &eval->tables[node->id];
    slider->time = &node->subquery.time;
    slider->range_ms = node->subquery.range_ms;
    for (uint32_t i = 0; i < table->count; i++) {
        struct hk_samples samples = { 0 };
        HK_TRY(hk_ev_poll(eval));
        hk_arena_reset(&eval->series);
        HK_TRY(column_samples(eval, table, &table->columns[i], &samples));
        if (samples.count > 0) HK_TRY(eval_series(slider, i, table->columns[i].labels, &samples));
    }
    return check_same_labels(slider);
}

/* As Go's Duration.Seconds. */
static double range_seconds(int64_t ms) {
    return (double)(ms / 1000) + (double)(ms % 1000 * 1000000) / 1e9;
}

hk_err hk_ev_range_call(
    struct eval *eval, const struct hk_promql_node *node, const struct frame *frame,
    struct sink *sink) {
    enum hk_promql_function_id id = node->call.function->id;
    uint32_t index = hk_ev_range_argument(node);
    const struct hk_promql_node *argument = hk_promql_unwrap(node->children[index]);
    struct slider slider = {
        .call = { .eval = eval, .node = node, .argument = argument },
        .function = hk_ev_range_function(id),
        .frame = frame,
        .sink = sink,
        .keep_name = id == HK_PROMQL_FN_last_over_time || id == HK_PROMQL_FN_absent_over_time,
        .is_counter = is_counter_function(id),
        .check_counter_name = id == HK_PROMQL_FN_rate || id == HK_PROMQL_FN_increase,
    };
    if (slider.function == NULL) {
        return hk_fail(
            HK_E_UNSUPPORTED, "function %s() is not supported", node->call.function->name);
    }
    if (frame->count == 0) return HK_OK;
    for (uint32_t i = 0; i < node->child_count && i < HK_PROMQL_ARGUMENTS_MAX; i++) {
        if (node->children[i]->type == HK_PROMQL_SCALAR)
            slider.call.scalars[i] = hk_ev_scalar(eval, node->children[i]);
    }
    bool subquery = argument->kind == HK_PROMQL_SUBQUERY;
    slider.call.range_seconds =
        range_seconds(subquery ? argument->subquery.range_ms : argument->range.range_ms);
    return subquery ? over_subquery(&slider, argument) : over_selector(&slider, argument);
}

static hk_err raw_series(
    struct eval *eval, struct hk_labels labels, const struct hk_samples *samples,
    struct hk_query_series *out) {
    struct hk_query_series series = { .labels = labels };
    int64_t *stamps = hk_arena_alloc_raw(eval->arena, samples->count, sizeof(*stamps));
    double *values = hk_arena_alloc_raw(eval->arena, samples->count, sizeof(*values));
    const struct hk_histogram **histograms = NULL;
    if (stamps == NULL || values == NULL) return hk_ev_nomem(eval);
    if (samples->histograms != NULL) {
        histograms = hk_arena_alloc(eval->arena, samples->count, sizeof(struct hk_histogram *));
        if (histograms == NULL) return hk_ev_nomem(eval);
    }
    for (uint32_t i = 0; i < samples->count; i++) {
        const struct hk_histogram *histogram = histograms == NULL ? NULL : samples->histograms[i];
        if (histogram == NULL ? hk_is_stale(samples->values[i]) : hk_histogram_is_stale(histogram))
            continue;
        if (histogram != NULL) {
            histograms[series.count] = hk_histogram_copy(histogram, eval->arena);
            if (histograms[series.count] == NULL) return hk_ev_nomem(eval);
        }
        stamps[series.count] = samples->stamps_ms[i];
        values[series.count++] = samples->values[i];
    }
    series.stamps_ms = stamps;
    series.values = values;
    series.histograms = histograms;
    *out = series;
    return hk_ev_hold(eval, series.count);
}

static hk_err
raw_selection(struct eval *eval, struct hk_selection *selection, struct hk_query_result *out) {
    struct hk_query_series *series = hk_arena_alloc(eval->arena, selection->count, sizeof(*series));
    if (series == NULL) return hk_ev_nomem(eval);
    uint32_t count = 0;
    for (uint32_t i = 0; i < selection->count; i++) {
        struct hk_samples samples = { 0 };
        HK_TRY(hk_ev_poll(eval));
        hk_arena_reset(&eval->scratch);
        HK_TRY(eval->source->read(eval->source->self, selection, i, &eval->scratch, &samples));
        eval->stats.samples_read += samples.count;
        HK_TRY(raw_series(eval, selection->labels[i], &samples, &series[count]));
        if (series[count].count > 0) count++;
    }
    out->series = series;
    out->series_count = count;
    return HK_OK;
}

hk_err
hk_ev_raw_range(struct eval *eval, const struct hk_promql_node *node, struct hk_query_result *out) {
    struct frame frame = { .start_ms = eval->start_ms, .step_ms = 1, .count = 1 };
    struct hk_select request = range_request(eval, node, &frame);
    struct hk_selection *selection = NULL;
    HK_TRY(hk_ev_open(eval, &request, &selection));
    return raw_selection(eval, selection, out);
}
