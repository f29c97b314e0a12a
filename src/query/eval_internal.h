/*
 * The engine's inside.
 *
 * A node is evaluated over a frame (the steps at which its parent wants values) into a table of
 * columns: one series each, one slot per step. Invariants:
 * (1) nodes are evaluated in the order of their numbers, so children are ready before parents;
 * (2) the columns of a table have distinct labels, and each column has at least one point;
 * (3) a slot without a point holds the absent mark; a slot with a histogram holds 0 and the
 *     histogram stands beside; all other bit patterns are floats;
 * (4) a scalar's table has exactly one column, with no labels and a float in every slot.
 */
#ifndef HK_QUERY_EVAL_INTERNAL_H
#define HK_QUERY_EVAL_INTERNAL_H

#include "query/engine.h"
#include "query/hist.h"

#include <math.h>

/* The mark of a slot without a point: a quiet NaN that no source and no calculation gives (sources'
 * values are checked for it). */
#define ABSENT_BITS 0x7ff8686b6e6f6e65ULL

static inline double absent_value(void) {
    const uint64_t bits = ABSENT_BITS;
    double value = 0;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

static inline bool is_absent(double value) {
    uint64_t bits = 0;
    memcpy(&bits, &value, sizeof(bits));
    return bits == ABSENT_BITS;
}

/* start, start + step, …: `count` steps. */
struct frame {
    int64_t start_ms, step_ms;
    uint32_t count;
};

struct column {
    struct hk_labels labels;                /* not set where `group` has appeared before */
    uint32_t group;                         /* number + 1 in groups of the source, 0 = none */
    double *values;                         /* one per step */
    const struct hk_histogram **histograms; /* NULL: floats only */
};

struct table {
    struct column *columns;
    uint32_t count, capacity;
    struct frame frame;
};

struct annotation {
    struct hk_str text; /* with prefix, without position */
    uint32_t at;        /* in the query */
    bool info;
};

enum { ANNOTATIONS_MAX = 1000, ANNOTATIONS_SHOWN = 10 };

/* How a node takes part, decided once by plan.c. */
struct plan {
    struct frame frame; /* steps of the node itself */
    uint32_t spread;    /* steps its parent wants when the node has one that serves them all */
    bool invariant;     /* the same at every step: evaluated once */
    bool skip;          /* its parent evaluates it (ranges, selectors in them, texts, fused) */
};

struct open_selection {
    struct hk_selection selection;
    struct open_selection *next;
};

struct eval {
    const struct hk_source *source;
    const struct hk_promql *promql;
    struct hk_query_options options;
    struct hk_arena *arena;
    struct hk_arena scratch; /* samples of one series at a time */
    struct hk_arena series;  /* what one series' calculation needs beside, reset with scratch */
    struct hk_arena work;    /* for one step; whoever uses it empties it first */
    int64_t start_ms, end_ms;
    struct plan *plans;                /* per node */
    struct table *tables;              /* per node */
    struct open_selection *selections; /* released at the end: labels may live as long as they */
    uint64_t held;                     /* samples and points held */
    uint32_t polls;
    struct annotation *annotations;
    uint32_t annotation_count, annotation_capacity;
    struct hk_query_stats stats;
    struct hk_label_set set; /* for building labels */
};

/* ---- engine.c: limits ---- */

/* Deadline and cancellation; cheap enough for every series. HK_E_TIMEOUT, HK_E_CANCELED. */
hk_err hk_ev_poll(struct eval *eval) HK_MUST_CHECK;

/* Counts `count` more samples as held. HK_E_EXECUTION beyond the limit. */
hk_err hk_ev_hold(struct eval *eval, uint64_t count) HK_MUST_CHECK;

/* Sets the text for memory that ran out and returns HK_E_NOMEM. */
static inline hk_err hk_ev_nomem(const struct eval *eval) {
    return hk_fail(
        HK_E_NOMEM, "query needs more than its %zu bytes of memory: ask for fewer series or steps",
        eval->arena->bytes_max);
}

/* "vector cannot contain metrics with the same labelset". */
hk_err hk_ev_fail_same_labels(void);

/* ---- plan.c ---- */

/* Fills eval->plans. `root` is the frame of the query. */
hk_err hk_ev_plan(struct eval *eval, struct frame root) HK_MUST_CHECK;

/* Time of step `step`. */
static inline int64_t frame_time(const struct frame *frame, uint32_t step) {
    return (int64_t)((uint64_t)frame->start_ms + (uint64_t)frame->step_ms * step);
}

/* a - b and a + b that stay in range. */
static inline int64_t time_sub(int64_t a, int64_t b) {
    int64_t result = 0;
    return __builtin_sub_overflow(a, b, &result) ? (b > 0 ? INT64_MIN : INT64_MAX) : result;
}

static inline int64_t time_add(int64_t a, int64_t b) {
    int64_t result = 0;
    return __builtin_add_overflow(a, b, &result) ? (b > 0 ? INT64_MAX : INT64_MIN) : result;
}

/* The time that offset and @ make of the evaluation time `ms`. */
int64_t hk_ev_time(const struct eval *eval, const struct hk_promql_time *time, int64_t ms);

/* ---- table.c ---- */

/* A new column with `steps` slots, absent unless `raw`. The column is not yet part of the table.
 * HK_E_NOMEM. */
hk_err hk_ev_column(struct eval *eval, uint32_t steps, bool raw, struct column *out) HK_MUST_CHECK;

/* Makes room for histograms in the column. */
hk_err
hk_ev_column_histograms(struct eval *eval, uint32_t steps, struct column *column) HK_MUST_CHECK;

/* Adds a column to the table; counts its points as held. Columns without points are not added. */
hk_err hk_ev_add(struct eval *eval, struct table *table, const struct column *column) HK_MUST_CHECK;

/* Puts a point (a histogram, or `value` when it is NULL) into a slot. */
hk_err hk_ev_put(
    struct eval *eval, struct column *column, uint32_t steps, uint32_t step, double value,
    const struct hk_histogram *histogram) HK_MUST_CHECK;

/* The histogram of a slot, NULL for floats and absent points. */
static inline const struct hk_histogram *column_histogram(const struct column *column, uint32_t i) {
    return column->histograms == NULL ? NULL : column->histograms[i];
}

/* Spreads the one step of every column over `count` steps of `frame`. */
hk_err
hk_ev_spread(struct eval *eval, struct table *table, const struct frame *frame) HK_MUST_CHECK;

/*
 * Merges columns of the same labels: fails where two have a point at the same step (or at once, if
 * `strict`). Call it after labels changed.
 */
hk_err hk_ev_merge(struct eval *eval, struct table *table, bool strict) HK_MUST_CHECK;

/* The values of a scalar node, one per step of `frame`. */
const double *hk_ev_scalar(const struct eval *eval, const struct hk_promql_node *node);

/* ---- names.c: labels ---- */

/* Hash of labels to numbers, in an arena. */
struct label_map {
    struct hk_hash128 *keys;
    uint32_t *numbers; /* number + 1, 0 = free */
    uint32_t count, capacity;
};

/* Finds `key`, or adds it with `number`. Gives the number that it has; `*out_new` tells which. */
hk_err hk_ev_map(
    struct eval *eval, struct label_map *map, struct hk_hash128 key, uint32_t number,
    uint32_t *out_number, bool *out_new) HK_MUST_CHECK;

/* Finds `key`: its number, UINT32_MAX if there is none. */
uint32_t hk_ev_map_find(const struct label_map *map, struct hk_hash128 key);

/* Follows what metadata labels series lose, to know whether two could become the same. */
struct name_drop {
    struct hk_str dropped[3];
    bool any, mixed;
};

/* The labels without __name__, __type__ and __unit__; shares the memory of `labels` if it can. */
hk_err hk_ev_drop_name(
    struct eval *eval, struct hk_labels labels, struct name_drop *drop,
    struct hk_labels *out) HK_MUST_CHECK;

/* Sorted copy of names, without doubles. */
hk_err hk_ev_names_sort(
    struct eval *eval, const struct hk_str *names, uint32_t count, struct hk_str **out,
    uint32_t *out_count) HK_MUST_CHECK;

/* Hash of the labels whose names are (`with`) or are not in the sorted list. */
struct hk_hash128
hk_ev_hash(struct hk_labels labels, const struct hk_str *names, uint32_t count, bool with);

/* The labels whose names are (`with`) or are not in the sorted list. */
hk_err hk_ev_pick(
    struct eval *eval, struct hk_labels labels, const struct hk_str *names, uint32_t count,
    bool with, struct hk_labels *out) HK_MUST_CHECK;

/* Copy in the arena of a label set under construction, finished. */
hk_err
hk_ev_labels(struct eval *eval, struct hk_label_set *set, struct hk_labels *out) HK_MUST_CHECK;

/* Appends labels as Prometheus' messages write them: {__name__="a", b="c"}. */
void hk_ev_print_labels(struct hk_labels labels, struct hk_buf *out);

/* ---- annotate.c ---- */

/* Adds an annotation; the text is given without the "PromQL …:" prefix. Those that are there
 * already are not added again. */
void hk_ev_warn(struct eval *eval, const struct hk_promql_node *node, const char *format, ...)
    HK_PRINTF(3, 4);
void hk_ev_info(struct eval *eval, const struct hk_promql_node *node, const char *format, ...)
    HK_PRINTF(3, 4);

/* As hk_ev_warn and hk_ev_info for texts that end with the quoted name of a metric. */
void hk_ev_warn_metric(
    struct eval *eval, const struct hk_promql_node *node, const char *text, struct hk_str metric);
void hk_ev_info_metric(
    struct eval *eval, const struct hk_promql_node *node, const char *text, struct hk_str metric);

/* Gives the texts with positions, at most ANNOTATIONS_SHOWN of each kind. */
hk_err hk_ev_annotations(struct eval *eval, struct hk_query_result *out) HK_MUST_CHECK;

/* ---- select.c ---- */

/* Opens a selection of the source, which lives until the query ends. */
hk_err hk_ev_open(struct eval *eval, const struct hk_select *request, struct hk_selection **out)
    HK_MUST_CHECK;

/* Releases all selections. */
void hk_ev_close(struct eval *eval);

/* Where the series of a range function or an aggregation go, one by one. The column is the
 * producer's again afterwards, unless the sink sets its `values` to NULL: then it was kept. */
struct grouping;
struct sink {
    hk_err (*push)(struct sink *sink, struct column *column);
    void *self;
    const struct grouping *grouping; /* all that the sink wants of labels; NULL: all of them */
    uint32_t group_count;            /* set by the producer before it pushes columns with groups */
};

/*
 * Series of a selection in groups, so that labels are made once per group and not per series: for a
 * sink with a grouping, if the source can. `numbers` is NULL where it cannot.
 */
struct series_groups {
    uint32_t *numbers;
    bool *seen; /* per group: its labels were pushed */
    uint32_t count;
};

/* Would hk_ev_groups use groups? Then the request asks for labels_later. */
bool hk_ev_wants_groups(const struct eval *eval, const struct sink *sink);

/*
 * Groups a selection made with labels_later. `drop_names`: the producer drops metadata labels. When
 * that could make two series the same, the selection gets its labels and `out` no numbers.
 */
hk_err hk_ev_groups(
    struct eval *eval, struct hk_selection *selection, struct sink *sink, bool drop_names,
    struct series_groups *out) HK_MUST_CHECK;

/* Labels of series `index`: of the selection, or made. */
hk_err hk_ev_labels_of(
    struct eval *eval, struct hk_selection *selection, uint32_t index,
    struct hk_labels *out) HK_MUST_CHECK;

/* Evaluates an instant selector into a sink. */
hk_err hk_ev_select(
    struct eval *eval, const struct hk_promql_node *node, const struct frame *frame,
    bool want_stamps, struct sink *sink) HK_MUST_CHECK;

/* A sink that keeps the columns in `table`. */
struct table_sink {
    struct sink sink;
    struct eval *eval;
    struct table *table;
};
void hk_ev_table_sink(struct eval *eval, struct table *table, struct table_sink *out);

/* ---- range.c ---- */

/* One series that a range function reads: floats and histograms apart, no stale markers. */
struct range_series {
    struct hk_labels labels;
    struct hk_str metric;
    const int64_t *float_stamps;
    const double *floats;
    const int64_t *histogram_stamps;
    const struct hk_histogram **histograms;
    const uint32_t *resets; /* indexes of floats below their predecessor, only for counters */
    uint32_t float_count, histogram_count, reset_count;
};

/* The part of a series in (start, end], and the step it is for. */
struct range_window {
    uint32_t float_from, float_to, histogram_from, histogram_to;
    uint32_t reset_from;
    int64_t time_ms; /* of the evaluation */
    int64_t start_ms, end_ms;
    uint32_t step;
};

struct range_call {
    struct eval *eval;
    const struct hk_promql_node *node;     /* the call */
    const struct hk_promql_node *argument; /* the range, for positions */
    const double *scalars[HK_PROMQL_ARGUMENTS_MAX];
    double range_seconds;
    double *values; /* room for the values of a window */
    size_t value_capacity;
};

struct range_point {
    double value;
    const struct hk_histogram *histogram;
    bool present;
};

/* Calculates the point of one window that is not empty. */
typedef hk_err (*range_function)(
    struct range_call *call, const struct range_series *series, const struct range_window *window,
    struct range_point *out);

/* The function of a call over a range, NULL if there is none. */
range_function hk_ev_range_function(enum hk_promql_function_id id);

/* Evaluates a call with a range argument into a sink. */
hk_err hk_ev_range_call(
    struct eval *eval, const struct hk_promql_node *node, const struct frame *frame,
    struct sink *sink) HK_MUST_CHECK;

/* Evaluates a range selector at one time: the samples themselves. */
hk_err hk_ev_raw_range(
    struct eval *eval, const struct hk_promql_node *node,
    struct hk_query_result *out) HK_MUST_CHECK;

/* The child of a call that is a range or a subquery; UINT32_MAX if there is none. */
uint32_t hk_ev_range_argument(const struct hk_promql_node *node);

/* ---- vector functions, aggregation, operators ---- */

hk_err
hk_ev_call(struct eval *eval, const struct hk_promql_node *node, struct table *out) HK_MUST_CHECK;
hk_err hk_ev_aggregate(struct eval *eval, const struct hk_promql_node *node, struct table *out)
    HK_MUST_CHECK;
hk_err
hk_ev_binary(struct eval *eval, const struct hk_promql_node *node, struct table *out) HK_MUST_CHECK;
hk_err hk_ev_label_call(struct eval *eval, const struct hk_promql_node *node, struct table *out)
    HK_MUST_CHECK;
hk_err hk_ev_histogram_call(struct eval *eval, const struct hk_promql_node *node, struct table *out)
    HK_MUST_CHECK;
hk_err hk_ev_absent(
    struct eval *eval, const struct hk_promql_node *node, const bool *found,
    struct table *out) HK_MUST_CHECK;

/* Evaluates a node (a selector or a call with a range) series by series into a sink. */
hk_err hk_ev_produce(
    struct eval *eval, const struct hk_promql_node *node, const struct frame *frame,
    struct sink *sink) HK_MUST_CHECK;

/* ---- arithmetic ---- */

/* Adds `value` to the sum with Neumaier's compensation, as Prometheus does. */
static inline void kahan_add(double value, double *sum, double *compensation) {
    double total = *sum + value;
    if (isinf(total))
        *compensation = 0;
    else if (fabs(*sum) >= fabs(value))
        *compensation += (*sum - total) + value;
    else
        *compensation += (value - total) + *sum;
    *sum = total;
}

/* The q-quantile of `count` values, which get sorted (NaN first). */
double hk_ev_quantile(double q, double *values, size_t count);

/* The warning for a quantile outside of [0, 1]. */
void hk_ev_check_quantile(struct eval *eval, const struct hk_promql_node *node, double q);

/* Sorts ascending, NaN first. */
void hk_ev_sort_values(double *values, size_t count);

/* NaN as Go's math.NaN() gives it. */
static inline double nan_value(void) {
    return (double)NAN;
}

#endif
