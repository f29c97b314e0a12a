/*
 * Directory of series: every label set once, as a sorted array of interned (name, value) pairs,
 * under a dense reference (`ref`, order of first appearance). Also the registration file that
 * makes references survive a restart, and the label index that selectors use.
 *
 * Threads: hk_directory_intern is called by shards (creation is rare; a mutex orders creators).
 * Everything else may be called from any thread at any time and never waits for a creator: the
 * arrays of a view only grow, its entries never change, and counts are published with release
 * stores.
 *
 * Series die (docs/decisions/series-death.md): a worker marks idle ones, the shards give up what
 * they know of them, and when many are dead the worker makes a new view without them and writes
 * the registration file anew. Their refs are given out again when the older views have no users.
 *
 * Invariants: (1) a live ref has its label array written; (2) pairs of one set are sorted by name;
 * (3) a registration is in the file buffer before its ref is returned; (4) a ref means one series
 * as long as a view that defines it is held.
 */
#ifndef HK_STORE_DIRECTORY_H
#define HK_STORE_DIRECTORY_H

#include "model/matcher.h"
#include "model/source.h"

struct hk_directory;
struct hk_directory_view;

enum {
    HK_DIRECTORY_SERIES_MAX = 1 << 28,
    HK_DIRECTORY_PAIRS_MAX = 1 << 28,
};

struct hk_directory_options {
    const char *path;   /* registration file */
    uint32_t dead_min;  /* dead series from which on they are dropped; 0 = 1024 */
    uint64_t bytes_max; /* memory of all arrays and strings; beyond: HK_E_LIMIT */
};

struct hk_directory_report {
    uint64_t series, pairs; /* loaded; series that were registered again count once */
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

/* First ref above all that were given out. */
uint32_t hk_directory_count(const struct hk_directory *directory);

/* Series that are not dead. */
uint32_t hk_directory_live(const struct hk_directory *directory);

/* Bytes of memory in use. */
uint64_t hk_directory_bytes(const struct hk_directory *directory);

/* Holds the directory as it is now: until released, refs and strings that were got through the
 * view keep their meaning. Takes a lock for a few instructions. */
struct hk_directory_view *hk_directory_hold(struct hk_directory *directory);
void hk_directory_release(struct hk_directory *directory, struct hk_directory_view *view);

/* Labels of a ref: writes up to HK_LABELS_MAX entries to `items`; strings live as long as the view.
 * No labels when the view does not know the ref. */
struct hk_labels
hk_view_labels(const struct hk_directory_view *view, uint32_t ref, struct hk_label *items);

/* Have two refs of the view the same labels? */
bool hk_view_same(const struct hk_directory_view *view, uint32_t a, uint32_t b);

/* Number of labels of a ref. */
uint32_t hk_view_label_count(const struct hk_directory_view *view, uint32_t ref);

/* The same of the newest view; the caller holds one, or is the worker. */
struct hk_labels
hk_directory_labels(const struct hk_directory *directory, uint32_t ref, struct hk_label *items);

/*
 * Writes buffered registrations to the file and syncs it. Called by the log thread before a group
 * that may name new refs. HK_E_IO, HK_E_NOSPACE: nothing is lost, call again.
 */
hk_err hk_directory_sync(struct hk_directory *directory) HK_MUST_CHECK;

/*
 * Refs that all matchers accept, in the arena, in no particular order; dead ones are left out.
 * `series_max` 0 = no limit, else HK_E_LIMIT beyond it. `cancel` may be NULL. HK_E_NOMEM,
 * HK_E_CANCELED.
 */
hk_err hk_view_select(
    struct hk_directory_view *view, const struct hk_matcher *matchers, uint32_t matcher_count,
    uint32_t series_max, const _Atomic bool *cancel, struct hk_arena *arena, uint32_t **out_refs,
    uint32_t *out_count) HK_MUST_CHECK;

/* Sorts refs by their labels (hk_labels_cmp). */
hk_err hk_view_sort(struct hk_directory_view *view, uint32_t *refs, uint32_t count) HK_MUST_CHECK;

/*
 * Groups refs of the view by their labels whose names are (`with`) or are not among `names`:
 * `out_numbers[i]` is the group of refs[i]; groups are numbered from 0 in the order in which they
 * appear. In the arena. HK_E_NOMEM.
 */
hk_err hk_view_group(
    const struct hk_directory_view *view, const uint32_t *refs, uint32_t count,
    const struct hk_str *names, uint32_t name_count, bool with, struct hk_arena *arena,
    uint32_t **out_numbers, uint32_t *out_count) HK_MUST_CHECK;

/* Brings the index up to date when enough new series wait; called by a worker. HK_E_NOMEM. */
hk_err hk_directory_index(struct hk_directory *directory) HK_MUST_CHECK;

/* ------------------------------------------------------------------ death, by the worker */

/* Marks a live series as leaving; false when it is not live. hk_directory_intern of its labels
 * makes it live again. */
bool hk_directory_leave(struct hk_directory *directory, uint32_t ref);

/* It is live again after all. */
void hk_directory_stay(struct hk_directory *directory, uint32_t ref);

/* A leaving series is dead; false when it came back. */
bool hk_directory_bury(struct hk_directory *directory, uint32_t ref);

/* Any thread: is it on its way out (leaving, dead or unknown)? Forms of it must go. */
bool hk_directory_is_leaving(const struct hk_directory *directory, uint32_t ref);

/* Any thread: was it retired? */
bool hk_directory_is_dead(const struct hk_directory *directory, uint32_t ref);

/* Shards: a sample of a known ref comes: a leaving series stays; false when it is dead. */
bool hk_directory_touch(struct hk_directory *directory, uint32_t ref);

/* No shard, log record or tail names these dead refs any more. HK_E_NOMEM: call again. */
hk_err hk_directory_forgotten(struct hk_directory *directory, const uint32_t *refs, uint32_t count)
    HK_MUST_CHECK;

/* Makes a new view without the dead when they are many, and gives refs back that no view holds.
 * Failures leave everything as it was: call again. HK_E_NOMEM, HK_E_IO, HK_E_NOSPACE. */
hk_err hk_directory_compact(struct hk_directory *directory) HK_MUST_CHECK;

struct hk_directory_stats {
    uint64_t live, dead, free, retired, compactions;
};

/* Worker. */
void hk_directory_get_stats(const struct hk_directory *directory, struct hk_directory_stats *out);

/* ------------------------------------------------------------------ names and values */

/* All distinct names, or values of one name, of the view's series (unsorted visit); some may
 * belong to dead series only. Stops when `visit` returns false. */
void hk_view_visit_names(
    struct hk_directory_view *view, bool (*visit)(void *self, struct hk_str name), void *self);
void hk_view_visit_values(
    struct hk_directory_view *view, struct hk_str name,
    bool (*visit)(void *self, struct hk_str value), void *self);

#endif
