/* Parts of the directory shared by directory.c, registration.c and label_index.c. */
#ifndef HK_STORE_DIRECTORY_INTERNAL_H
#define HK_STORE_DIRECTORY_INTERNAL_H

#include "base/buf.h"
#include "os/thread.h"
#include "store/directory.h"
#include "store/grow.h"

#define HK_ID_NONE UINT32_MAX

struct hk_pair {
    const char *value;
    uint32_t value_len;
    uint32_t name; /* name id */
};

/* Open-addressing table of ids + 1 (0 = free), insert-only, replaced when 2/3 full. */
struct hk_id_table {
    uint64_t mask;
    struct hk_id_table *older; /* kept until close: a reader may still look into it */
    _Atomic uint32_t slots[];
};

/* Immutable label index over the first `series` definitions of a view and pairs below `pairs`. */
struct hk_label_index {
    uint32_t series, pairs, names;
    uint32_t ref_end;      /* all refs in it are below */
    uint64_t *postings_at; /* pairs + 1 offsets into postings */
    uint8_t *postings;     /* per pair: ref deltas as varints, ascending */
    uint32_t *counts;      /* per pair: number of refs */
    uint32_t *name_at;     /* names + 1 offsets into name_pairs */
    uint32_t *name_pairs;  /* pair ids grouped by name */
    uint32_t *rank;        /* per ref: place in the order of labels, HK_ID_NONE = not covered */
    uint64_t bytes;
    _Atomic uint32_t users;
    struct hk_label_index *retired_next;
};

/* Append-only strings and label arrays; never freed before close. */
struct hk_string_chunk {
    struct hk_string_chunk *next;
    size_t used, bytes;
    unsigned char data[];
};

/*
 * One generation of names, pairs and sets. Within it arrays only grow, entries never change, and a
 * ref is defined at most once; the series that died are left behind when the next generation is
 * made (directory_compact.c).
 */
struct hk_directory_view {
    struct hk_directory *directory;
    struct hk_grow names; /* struct hk_str */
    struct hk_grow pairs; /* struct hk_pair */
    struct hk_grow
        sets; /* by ref: const uint32_t *: count, then pair ids sorted by name; or NULL */
    struct hk_grow order; /* refs (uint32_t) in the order of their definition */
    _Atomic uint32_t name_count, pair_count, set_count;
    _Atomic uint32_t newest; /* ref + 1 of the newest series, 0 = none: the next one is alike */
    _Atomic(struct hk_id_table *) name_table, pair_table, set_table;
    struct hk_string_chunk *strings;
    uint64_t string_bytes, table_bytes;
    struct hk_rwlock index_lock; /* swap of the index pointer; readers hold it for a moment */
    struct hk_label_index *index;
    _Atomic uint64_t index_missed; /* work that a newer index would have spared queries */
    bool loads;     /* pairs and sets are not put into their tables: hk_view_fill_tables does it */
    uint32_t users; /* under views_lock */
    struct hk_directory_view *older;
};

/* States of a ref (hk_directory.states). */
enum {
    HK_SERIES_FREE, /* not defined */
    HK_SERIES_LIVE,
    HK_SERIES_LEAVING, /* about to be retired unless it comes back */
    HK_SERIES_DEAD,    /* retired; a series with these labels gets another ref */
};

struct hk_directory {
    struct hk_mutex lock; /* creators, and the registration buffer */
    _Atomic(struct hk_directory_view *) view;
    struct hk_grow states; /* by ref: _Atomic uint8_t, outlives the views */
    _Atomic uint32_t ref_end;
    uint32_t *free_refs; /* descending, so that the lowest is taken first; under lock */
    size_t free_count, free_capacity;
    uint32_t dead_min; /* a new view is made when so many are dead, and a quarter of the living */
    uint64_t bytes_max;
    _Atomic uint64_t bytes;

    struct hk_mutex views_lock; /* users of the views; held for a few instructions */
    /* Worker only: refs that nobody but views knows any more. */
    uint32_t *dead; /* their sets are in the newest view */
    size_t dead_count, dead_capacity;
    uint32_t *limbo; /* left behind by the newest view; free when the older views are gone */
    size_t limbo_count;
    _Atomic uint32_t live_count;
    _Atomic uint64_t retired, compactions;

    int fd; /* registration file */
    int64_t file_bytes;
    char path[4096];
    struct hk_buf pending; /* records not written yet */
    struct hk_buf writing; /* swapped with pending by sync */
    uint64_t group_next;
    uint32_t file_ref_end; /* first ref above all that the file and `pending` define */
    bool rename_due;       /* fd is a rewritten file that has not taken its place yet */
    _Atomic bool dirty;
    struct hk_mutex sync_lock;
};

/* State of a ref. */
static inline _Atomic uint8_t *
hk_directory_state(const struct hk_directory *directory, uint32_t ref) {
    return hk_grow_at(&directory->states, ref);
}

/* Was the ref retired? */
static inline bool hk_series_is_dead(const struct hk_directory *directory, uint32_t ref) {
    return atomic_load_explicit(hk_directory_state(directory, ref), memory_order_acquire) ==
           HK_SERIES_DEAD;
}

/* Label set of a ref that the view defines. */
static inline const uint32_t *hk_view_set(const struct hk_directory_view *view, uint32_t ref) {
    return *(const uint32_t **)hk_grow_at(&view->sets, ref);
}

/* The newest view: for creators under the lock, and for the worker, which alone replaces it. */
static inline struct hk_directory_view *hk_view_now(const struct hk_directory *directory) {
    return atomic_load_explicit(&directory->view, memory_order_acquire);
}

/* An empty view. */
hk_err hk_view_create(struct hk_directory *directory, struct hk_directory_view **out) HK_MUST_CHECK;
void hk_view_destroy(struct hk_directory_view *view);

/* Id of a name / pair, ref of a set that is not dead; HK_ID_NONE when unknown. Lock-free. */
uint32_t hk_view_find_name(const struct hk_directory_view *view, struct hk_str name);
uint32_t
hk_view_find_pair(const struct hk_directory_view *view, uint32_t name, struct hk_str value);
uint32_t
hk_view_find_set(const struct hk_directory_view *view, const uint32_t *ids, uint32_t count);

/* Appends without looking for an equal one; the caller holds the lock (or is alone). */
hk_err hk_view_add_name(struct hk_directory_view *view, struct hk_str name, uint32_t *out);
hk_err
hk_view_add_pair(struct hk_directory_view *view, uint32_t name, struct hk_str value, uint32_t *out);
hk_err
hk_view_add_set(struct hk_directory_view *view, uint32_t ref, const uint32_t *ids, uint32_t count);

/* Makes refs up to `ref` known: states and ref_end. The caller holds the lock. */
hk_err hk_directory_reserve(struct hk_directory *directory, uint32_t ref);

/* Sums up the memory of all views. */
void hk_directory_count_bytes(struct hk_directory *directory);

/*
 * At the end of loading: puts all pairs and sets into tables of the right size. Of two series that
 * are not dead and have the same labels the earlier one is dead then. HK_E_NOMEM.
 */
hk_err hk_view_fill_tables(struct hk_directory_view *view) HK_MUST_CHECK;

/* Reads the registration file at open. */
hk_err hk_registration_load(struct hk_directory *directory, struct hk_directory_report *out_report);

/* Appends a record of each kind to a buffer; a set needs the running end of refs of its file. */
void hk_registration_name(struct hk_buf *buf, struct hk_str name);
void hk_registration_pair(struct hk_buf *buf, uint32_t name, struct hk_str value);
void hk_registration_set(
    struct hk_buf *buf, uint32_t *ref_end, uint32_t ref, const uint32_t *ids, uint32_t count);

/* A rewritten file on its way: opened, its groups written and synced by hk_rewrite_group. */
struct hk_rewrite {
    int fd;
    int64_t bytes;
    uint64_t group_next;
};
hk_err hk_rewrite_open(const struct hk_directory *directory, struct hk_rewrite *out) HK_MUST_CHECK;
hk_err hk_rewrite_group(
    const struct hk_directory *directory, struct hk_rewrite *rewrite,
    const struct hk_buf *payload) HK_MUST_CHECK;
void hk_rewrite_abandon(const struct hk_directory *directory, struct hk_rewrite *rewrite);

/* Fills index->rank: `old` (or NULL) knows the order of many; the rest is sorted. */
hk_err hk_view_rank(
    struct hk_directory_view *view, const struct hk_label_index *old, struct hk_label_index *index);

/* Builds an index of the view as it is now; `old` as above. */
hk_err hk_view_index(
    struct hk_directory_view *view, const struct hk_label_index *old,
    struct hk_label_index **out) HK_MUST_CHECK;

/* Order of two series by their labels, as hk_labels_cmp. */
int hk_view_compare(const struct hk_directory_view *view, uint32_t left, uint32_t right);

/* Sorts refs by their labels: for many, of all the pairs there are. HK_E_NOMEM. */
hk_err
hk_view_rank_sort(struct hk_directory_view *view, uint32_t *refs, uint32_t count) HK_MUST_CHECK;

/* Notes series that a query looked at one by one because the index does not cover them: when these
 * cost more than a new index would, hk_directory_index builds one. */
static inline void hk_label_index_miss(struct hk_directory_view *view, uint64_t series) {
    if (series == 0) return;
    atomic_fetch_add_explicit(&view->index_missed, series, memory_order_relaxed);
}

/* Frees an index. */
void hk_label_index_free(struct hk_label_index *index);

#endif
