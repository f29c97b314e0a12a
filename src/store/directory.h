/*
 * Directory of series: every label set once, as a sorted array of interned (name, value) pairs,
 * under a dense reference (`ref`, order of first appearance). Also the registration file that
 * makes references survive a restart, and the label index that selectors use.
 *
 * Threads: hk_directory_intern is called by shards (creation is rare; a mutex orders creators).
 * Everything else may be called from any thread at any time and never waits for a creator: all
 * arrays only grow, entries never change, and counts are published with release stores.
 *
 * Invariants: (1) a ref below count() has its label array written; (2) pairs of one set are sorted
 * by name; (3) a registration is in the file buffer before its ref is returned.
 */
#ifndef HK_STORE_DIRECTORY_H
#define HK_STORE_DIRECTORY_H

#include "model/matcher.h"
#include "model/source.h"

struct hk_directory;

enum {
    HK_DIRECTORY_SERIES_MAX = 1 << 28,
    HK_DIRECTORY_PAIRS_MAX = 1 << 28,
};

struct hk_directory_options {
    const char *path;   /* registration file */
    uint64_t bytes_max; /* memory of all arrays and strings; beyond: HK_E_LIMIT */
};

struct hk_directory_report {
    uint64_t series, pairs; /* loaded */
    uint64_t bytes_torn;    /* cut from the end of the file */
    bool corrupt;           /* a damaged group before the end: the file was quarantined */
    char text[256];         /* what was found, for the log */
};

/* Opens or makes the registration file and loads it. HK_E_IO, HK_E_VERSION, HK_E_NOMEM. */
hk_err hk_directory_open(
    const struct hk_directory_options *options, struct hk_directory **out,
    struct hk_directory_report *out_report) HK_MUST_CHECK;

/* No other thread may use it any more. */
void hk_directory_close(struct hk_directory *directory);

/*
 * Finds or creates the ref of a canonical label set. `*out_created` tells which. HK_E_LIMIT when
 * the memory budget is used up (existing series are still found), HK_E_NOMEM.
 */
hk_err hk_directory_intern(
    struct hk_directory *directory, struct hk_labels labels, uint32_t *out_ref,
    bool *out_created) HK_MUST_CHECK;

/* Ref of a label set, HK_REF_NONE (UINT32_MAX) when unknown. */
uint32_t hk_directory_find(struct hk_directory *directory, struct hk_labels labels);

/* Number of refs given out. */
uint32_t hk_directory_count(const struct hk_directory *directory);

/* Bytes of memory in use. */
uint64_t hk_directory_bytes(const struct hk_directory *directory);

/* Labels of a ref: writes up to HK_LABELS_MAX entries to `items`; strings live for ever. */
struct hk_labels
hk_directory_labels(const struct hk_directory *directory, uint32_t ref, struct hk_label *items);

/* Number of labels of a ref. */
uint32_t hk_directory_label_count(const struct hk_directory *directory, uint32_t ref);

/*
 * Writes buffered registrations to the file and syncs it. Called by the log thread before a group
 * that may name new refs. HK_E_IO, HK_E_NOSPACE: nothing is lost, call again.
 */
hk_err hk_directory_sync(struct hk_directory *directory) HK_MUST_CHECK;

/*
 * Refs that all matchers accept, in the arena, in no particular order. `series_max` 0 = no limit,
 * else HK_E_LIMIT beyond it. `cancel` may be NULL. HK_E_NOMEM, HK_E_CANCELED.
 */
hk_err hk_directory_select(
    struct hk_directory *directory, const struct hk_matcher *matchers, uint32_t matcher_count,
    uint32_t series_max, const _Atomic bool *cancel, struct hk_arena *arena, uint32_t **out_refs,
    uint32_t *out_count) HK_MUST_CHECK;

/* Sorts refs by their labels (hk_labels_cmp). */
hk_err
hk_directory_sort(struct hk_directory *directory, uint32_t *refs, uint32_t count) HK_MUST_CHECK;

/*
 * Groups refs by their labels whose names are (`with`) or are not among `names`: `out_numbers[i]`
 * is the group of refs[i]; groups are numbered from 0 in the order in which they appear. In the
 * arena. HK_E_NOMEM.
 */
hk_err hk_directory_group(
    const struct hk_directory *directory, const uint32_t *refs, uint32_t count,
    const struct hk_str *names, uint32_t name_count, bool with, struct hk_arena *arena,
    uint32_t **out_numbers, uint32_t *out_count) HK_MUST_CHECK;

/* Brings the index up to date when enough new series wait; called by a worker. HK_E_NOMEM. */
hk_err hk_directory_index(struct hk_directory *directory) HK_MUST_CHECK;

/* All distinct names, or values of one name, of series created so far (unsorted visit).
 * Stops when `visit` returns false. */
void hk_directory_visit_names(
    struct hk_directory *directory, bool (*visit)(void *self, struct hk_str name), void *self);
void hk_directory_visit_values(
    struct hk_directory *directory, struct hk_str name,
    bool (*visit)(void *self, struct hk_str value), void *self);

#endif
