/*
 * Where queries read from: an interface that the store implements and the query engine uses.
 * Times are int64 milliseconds since 1970. All functions may be called from any worker thread.
 */
#ifndef HK_MODEL_SOURCE_H
#define HK_MODEL_SOURCE_H

#include "model/matcher.h"

struct hk_histogram; /* model/histogram.h */

/* NaN with this bit pattern marks the end of a series (Prometheus, "staleness"). */
#define HK_STALE_BITS 0x7ff0000000000002ULL

/* Compares bits: a normal NaN is not stale. */
static inline bool hk_is_stale(double value) {
    uint64_t bits = 0;
    memcpy(&bits, &value, sizeof(bits));
    return bits == HK_STALE_BITS;
}

/* The stale marker as a value. */
static inline double hk_stale_value(void) {
    const uint64_t bits = HK_STALE_BITS;
    double value = 0;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

/* What a selector wants: series that all matchers accept and their samples in [from, to]. */
struct hk_select {
    const struct hk_matcher *matchers;
    uint32_t matcher_count;
    int64_t from_ms, to_ms;     /* both inclusive */
    uint32_t series_max;        /* HK_E_LIMIT beyond it; 0 = no limit */
    bool labels_only;           /* samples are not needed */
    bool labels_later;          /* labels may be left out: labels_of and group give them */
    const _Atomic bool *cancel; /* polled; NULL = never cancelled */
};

/*
 * Samples of one series in ascending time, no stamp twice; stale markers are included.
 * `histograms` is NULL for a series without native histograms, otherwise an entry is NULL where
 * the sample is a float and points to the histogram where it is one (values[i] is then 0).
 */
struct hk_samples {
    const int64_t *stamps_ms;
    const double *values;
    const struct hk_histogram *const *histograms;
    uint32_t count;
};

/* Result of a select: labels of each series, sorted by hk_labels_cmp. Lives in the given arena. */
struct hk_selection {
    const struct hk_labels *labels; /* may be NULL for labels_later; the order is the same */
    uint32_t count;
    const uint32_t *refs; /* per series in the store's directory; NULL for other sources */
    void *impl;           /* the source's own */
};

/* The newest sample of a series in the range of the selection. */
enum hk_newest_kind {
    HK_NEWEST_NONE,  /* there is none */
    HK_NEWEST_FLOAT, /* stamp_ms and value (which may be the stale marker) */
    HK_NEWEST_READ,  /* not at hand: ask read */
};

struct hk_newest {
    int64_t stamp_ms;
    double value;
    enum hk_newest_kind kind;
};

struct hk_exemplar {
    struct hk_labels series, labels;
    double value;
    int64_t stamp_ms;
};

struct hk_metric_meta {
    struct hk_str metric, type, help, unit; /* type: "counter", "gauge", … "unknown" */
};

struct hk_source {
    void *self;

    /* Finds the series. Everything in `out` lives in `arena` until release. HK_E_LIMIT, HK_E_NOMEM,
     * HK_E_CANCELED, HK_E_IO. After success call release exactly once, before the arena dies. */
    hk_err (*select)(
        void *self, const struct hk_select *request, struct hk_arena *arena,
        struct hk_selection *out);

    /* Samples of series `index` of the selection; arrays live in `arena` (which may be reset
     * between reads, unlike the one given to select). Different indexes of one selection may be
     * read by different threads at once. */
    hk_err (*read)(
        void *self, struct hk_selection *selection, uint32_t index, struct hk_arena *arena,
        struct hk_samples *out);

    /* Ends a selection. */
    void (*release)(void *self, struct hk_selection *selection);

    /* The newest samples of series [first, first + count) at once: what read would give last. NULL:
     * the source has none. */
    void (*newest)(
        void *self, struct hk_selection *selection, uint32_t first, uint32_t count,
        struct hk_newest *out);

    /* Labels of series `index`; they live in `arena` and until release. HK_E_NOMEM. NULL: the
     * source knows neither labels_later nor group. */
    hk_err (*labels_of)(
        void *self, struct hk_selection *selection, uint32_t index, struct hk_arena *arena,
        struct hk_labels *out);

    /* Groups the series by their labels whose names are (`with`) or are not among `names`:
     * `out_numbers[i]` is the group of series i, groups are numbered from 0 in the order in which
     * they appear. In `arena`. HK_E_NOMEM. */
    hk_err (*group)(
        void *self, struct hk_selection *selection, const struct hk_str *names, uint32_t name_count,
        bool with, struct hk_arena *arena, uint32_t **out_numbers, uint32_t *out_count);

    /* Sorted distinct label names, or values of `name`, of the series that match one of the
     * requests' matchers (no request: of all series). `limit` 0 = none. In `arena`. */
    hk_err (*label_names)(
        void *self, const struct hk_select *requests, uint32_t request_count, uint32_t limit,
        struct hk_arena *arena, struct hk_str **out_names, uint32_t *out_count);
    hk_err (*label_values)(
        void *self, struct hk_str name, const struct hk_select *requests, uint32_t request_count,
        uint32_t limit, struct hk_arena *arena, struct hk_str **out_values, uint32_t *out_count);
};

#endif
