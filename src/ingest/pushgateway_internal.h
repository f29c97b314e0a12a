/*
 * Registry of pushed groups: what its files share.
 *
 * (1) A series has one owner: the push under way (staged), its group, or the list of the dying,
 *     which wait for their stale marker. Staged and owned ones stand in the hash table; the dying
 *     do not.
 * (2) Series are immutable but for bookkeeping: a new value is a new series in place of the old.
 * (3) `bytes` is the sum of what series and groups take and never passes `bytes_max`.
 *
 * Key of a series = its canonical labels, each name and value behind its length (4 bytes).
 */
#ifndef HK_INGEST_PUSHGATEWAY_INTERNAL_H
#define HK_INGEST_PUSHGATEWAY_INTERNAL_H

#include "base/mem.h"
#include "ingest/pushgateway.h"

struct hk_push_group;

struct hk_push_series {
    struct hk_push_series *chain; /* of the table */
    struct hk_push_series *next;  /* of its owner's list */
    struct hk_push_group *group;  /* NULL while staged or dying */
    uint64_t hash, name_hash;
    double value;
    int64_t stale_ms; /* of a dying one: stamp of its marker */
    uint32_t key_bytes, payload_bytes;
    bool staged, dirty, seen; /* seen: part of the push being committed */
    char bytes[];             /* key, payload of a histogram */
};

struct hk_push_group {
    struct hk_push_group *chain; /* of the table */
    struct hk_push_group *next;  /* of all groups */
    struct hk_push_group *dirty_next;
    struct hk_push_series *series;
    struct hk_push_series *cursor; /* next to hand out while dirty */
    uint64_t hash;
    int64_t push_ms, failure_ms; /* 0 = never */
    int64_t shown_ms;            /* stamp of the entries being handed out */
    bool dirty, show_all;
    uint32_t key_bytes;
    char key[]; /* canonical labels */
};

/* The push under way. */
struct hk_push_transaction {
    struct hk_buf key; /* of the group */
    struct hk_push_series *staged;
    enum hk_push_method method;
    int64_t now_ms;
    uint32_t twins; /* staged series that take the place of one */
    bool open;
};

struct hk_push {
    const struct hk_context *context;
    struct hk_push_series **series_table;
    struct hk_push_group **group_table;
    struct hk_push_group *groups;
    struct hk_push_group *dirty_first, *dirty_last;
    struct hk_push_series *dying;
    uint32_t series_mask, group_mask;
    uint32_t groups_max, series_max;
    size_t bytes_max;
    int64_t ttl_ms, repeat_ms;
    struct hk_push_transaction transaction;
    struct hk_buf scratch; /* a key */
    struct hk_push_stats stats;
};

/* Frees a series, a list of them, a group without its series. */
void hk_push_free_series(struct hk_push *push, struct hk_push_series *series);
void hk_push_free_list(struct hk_push *push, struct hk_push_series *first);
void hk_push_free_group(struct hk_push *push, struct hk_push_group *group);

/* Canonical labels as bytes. HK_E_NOMEM, HK_E_LIMIT. */
hk_err hk_push_encode(struct hk_labels labels, struct hk_buf *out) HK_MUST_CHECK;

/* The next string of a key; moves past it. Keys are our own: always well formed. */
struct hk_str hk_push_next_string(struct hk_str *key);

/* Takes bytes from the budget. HK_E_LIMIT with a text. */
hk_err hk_push_charge(struct hk_push *push, size_t bytes) HK_MUST_CHECK;

/* The group of that key and its hash, NULL if there is none. */
struct hk_push_group *
hk_push_find_group(const struct hk_push *push, struct hk_str key, uint64_t hash);

/* Makes the group of that key. HK_E_LIMIT, HK_E_NOMEM with a text. */
hk_err hk_push_add_group(struct hk_push *push, struct hk_str key, struct hk_push_group **out)
    HK_MUST_CHECK;

/* Ends all series of a group with stale markers of `now_ms` and frees the group. */
void hk_push_remove_group(struct hk_push *push, struct hk_push_group *group, int64_t now_ms);

/* Where the table's chain of a hash begins. */
struct hk_push_series **hk_push_series_chain(struct hk_push *push, uint64_t hash);

/* The series of that key and its hash, staged or owned by a group; NULL if there is none. */
struct hk_push_series *
hk_push_find_series(struct hk_push *push, struct hk_str key, uint64_t hash, bool staged);

/* Takes a series out of the table. */
void hk_push_unchain(struct hk_push *push, struct hk_push_series *series);

/* Moves a series of a group, already off the group's list, to the dying. */
void hk_push_kill_series(struct hk_push *push, struct hk_push_series *series, int64_t now_ms);

/* Queues a group for handing out, from its first series on. */
void hk_push_mark_dirty(struct hk_push *push, struct hk_push_group *group, int64_t now_ms);

#endif
