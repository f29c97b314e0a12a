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

/* Immutable label index over refs below `series` and pairs below `pairs`. */
struct hk_label_index {
    uint32_t series, pairs, names;
    uint64_t *postings_at; /* pairs + 1 offsets into postings */
    uint8_t *postings;     /* per pair: ref deltas as varints, ascending */
    uint32_t *counts;      /* per pair: number of refs */
    uint32_t *name_at;     /* names + 1 offsets into name_pairs */
    uint32_t *name_pairs;  /* pair ids grouped by name */
    uint32_t *rank;        /* per ref: place in the order of labels */
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

struct hk_directory {
    struct hk_mutex lock; /* creators, and the registration buffer */
    struct hk_grow names; /* struct hk_str */
    struct hk_grow pairs; /* struct hk_pair */
    struct hk_grow sets;  /* const uint32_t *: count, then pair ids sorted by name */
    _Atomic uint32_t name_count, pair_count, set_count;
    _Atomic uint32_t newest; /* ref + 1 of the newest series, 0 = none: the next one is alike */
    _Atomic(struct hk_id_table *) name_table, pair_table, set_table;
    struct hk_string_chunk *strings;
    uint64_t string_bytes, table_bytes, bytes_max;
    _Atomic uint64_t bytes;

    int fd; /* registration file */
    int64_t file_bytes;
    char path[4096];
    struct hk_buf pending; /* records not written yet */
    struct hk_buf writing; /* swapped with pending by sync */
    uint64_t group_next;
    _Atomic bool dirty;
    struct hk_mutex sync_lock;

    struct hk_rwlock index_lock; /* swap of the index pointer; readers hold it for a moment */
    struct hk_label_index *index;
};

/* Id of a name / pair / set, HK_ID_NONE when unknown. Lock-free. */
uint32_t hk_directory_find_name(const struct hk_directory *directory, struct hk_str name);
uint32_t
hk_directory_find_pair(const struct hk_directory *directory, uint32_t name, struct hk_str value);
uint32_t
hk_directory_find_set(const struct hk_directory *directory, const uint32_t *ids, uint32_t count);

/* Appends without looking for an equal one; the caller holds the lock (or is alone). */
hk_err hk_directory_add_name(struct hk_directory *directory, struct hk_str name, uint32_t *out);
hk_err hk_directory_add_pair(
    struct hk_directory *directory, uint32_t name, struct hk_str value, uint32_t *out);
hk_err hk_directory_add_set(
    struct hk_directory *directory, const uint32_t *ids, uint32_t count, uint32_t *out);

/* Reads the registration file at open. */
hk_err hk_registration_load(struct hk_directory *directory, struct hk_directory_report *out_report);

/* Appends a record of each kind to the pending buffer; the caller holds the lock. */
void hk_registration_name(struct hk_directory *directory, struct hk_str name);
void hk_registration_pair(struct hk_directory *directory, uint32_t name, struct hk_str value);
void hk_registration_set(struct hk_directory *directory, const uint32_t *ids, uint32_t count);

/* Fills index->rank from the directory's current index and the series since. */
hk_err hk_directory_rank(struct hk_directory *directory, struct hk_label_index *index);

/* Frees an index. */
void hk_label_index_free(struct hk_label_index *index);

#endif
