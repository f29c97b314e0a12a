/* Groups of one dispatcher: what dispatch.c and dispatch_send.c share. */
#ifndef HK_RESPOND_DISPATCH_INTERNAL_H
#define HK_RESPOND_DISPATCH_INTERNAL_H

#include "respond/respond_internal.h"

enum { RETRY_REFUSED_MS = 1000 };

/* A copy of an alert; one block of memory with all that it points to. */
struct entry {
    struct hk_webhook_alert shown; /* what messages need */
    int64_t episode_ms;
    double value;
    uint64_t told_firing, told_resolved; /* a bit per integration, for this episode */
    struct group *group;
    uint32_t slot, place; /* in the dispatcher's table, in its group */
};

/* What was sent for a group to one integration. */
struct sent {
    int64_t sent_ms; /* 0: nothing */
    uint32_t repeat_count;
};

/* One block of memory, but for `entries`. */
struct group {
    struct hk_deadline due; /* first */
    uint64_t hash, serial;
    struct hk_labels labels;
    struct hk_str key; /* "{}:{…}" */
    uint32_t slot;
    bool flushed;     /* group_wait is over */
    int64_t phase_ms; /* first flush: the ticks of group_interval count from here */
    int64_t last_ms;  /* last flush */
    struct entry **entries;
    size_t entry_count, entry_capacity;
    struct sent sent[];
};

/* Pointers with stable numbers. */
struct slots {
    void **items;
    size_t capacity;
    uint32_t count;
    uint32_t *gaps;
    size_t gap_count, gap_capacity;
};

struct hk_dispatch {
    struct hk_respond *respond;
    const struct hk_respond_plan *plan; /* the outbox's, or about to be */
    struct hk_transport transport;
    bool has_transport;
    void **endpoints; /* per integration of the route, NULL: not open */
    struct slots groups, alerts;
    struct hk_hashindex by_group, by_alert;
    struct hk_deadlines due;
    struct hk_buf body, scratch; /* reused */
    const struct hk_webhook_alert **chosen;
    struct told *told;
    size_t chosen_capacity, told_capacity;
    uint64_t serial;
    struct hk_dispatch_stats stats;
};

/* Sends what the group's integrations need to know. True if everything was accepted. */
bool hk_dispatch_flush(struct hk_dispatch *dispatch, struct group *group, int64_t now_ms);

/* Hands an event to the push to Alertmanagers, if there is one. */
void hk_dispatch_push(struct hk_dispatch *dispatch, const struct hk_alert_event *event);

#endif
