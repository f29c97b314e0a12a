/* Shared by exemplars.c (the ring) and exemplars_keep.c (its file). */
#ifndef HK_STORE_EXEMPLARS_INTERNAL_H
#define HK_STORE_EXEMPLARS_INTERNAL_H

#include "base/hashindex.h"
#include "os/thread.h"
#include "store/exemplars.h"

#include <stdatomic.h>

enum {
    HK_EXEMPLARS_CHUNK = 1024, /* ring places that are allocated together */
    HK_EXEMPLARS_TURN = 128,   /* items or series that a reader looks at under the lock */
    HK_EXEMPLARS_LABEL_BYTES_MAX = 1 << 16, /* of a series that has exemplars */
    HK_EXEMPLARS_TAIL_BYTES = 16,           /* value and stamp at the end of a payload */
};

/* A place of the ring. Numbers of exemplars begin at 1 and are never used again. */
struct hk_exemplars_item {
    char *payload; /* model/exemplar.h */
    uint32_t bytes;
    uint32_t series; /* slot */
    int64_t stamp_ms;
    double value;
    uint64_t next; /* number of the next one of the series, 0 = none */
    bool stamped;  /* the stamp was in the payload */
};

/* Invariant (1): a series in a slot has at least one exemplar; first <= last, both kept. */
struct hk_exemplars_series {
    uint64_t id;   /* never used again, unlike the slot */
    uint64_t hash; /* of the labels */
    uint64_t first, last;
    size_t bytes;
    uint64_t file_epoch; /* of the save that gave it file_number */
    uint32_t file_number;
    uint32_t label_count;
    struct hk_label labels[]; /* then their bytes */
};

struct hk_exemplars {
    struct hk_mutex lock;
    _Atomic uint32_t waiting; /* shards that want the lock: readers step back */
    uint64_t count_max, bytes_max, bytes;
    struct hk_exemplars_item **chunks;
    uint64_t head, tail; /* next number to give out; oldest kept */
    struct hk_exemplars_series **slots;
    uint32_t *free_slots;
    size_t slot_count, slot_capacity, free_count, free_capacity;
    uint64_t series_ids;
    struct hk_hashindex index; /* of slots by labels */
    struct hk_exemplars_stats stats;
    uint64_t saved; /* head when it was saved last */
    uint64_t file_epoch;
};

/* The place of a kept number. */
static inline struct hk_exemplars_item *
hk_exemplars_at(const struct hk_exemplars *exemplars, uint64_t number) {
    uint64_t place = number % exemplars->count_max;
    return &exemplars->chunks[place / HK_EXEMPLARS_CHUNK][place % HK_EXEMPLARS_CHUNK];
}

/* Locks for a turn of reading; lets a waiting shard go first. */
void hk_exemplars_lock_turn(struct hk_exemplars *exemplars);

#endif
