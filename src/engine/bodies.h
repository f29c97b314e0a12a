/*
 * Bodies of remote write and OTLP on their way into the store, in turns (decision D16).
 *
 * A body takes as many turns of the loop as it needs: each parses at most HK_BATCH_ENTRIES_MAX
 * entries and stages them. The last turn commits: it appends all, shows them to the rules, decides,
 * and makes them visible and part of the log group (decision D8: a body arrives as a whole, at its
 * commit). Only a body of over HK_STAGE_ENTRIES_MAX entries is committed in parts of about that
 * size. A small body is taken at once, within the turn in which it was read.
 *
 * (1) A lane is what connections share that share a cursor of the pass. It takes one body at a
 *     time, in the order of arrival: so the bodies of a connection keep their order.
 * (2) Lanes take turns. A lane without a body in work needs a taking (parser and memory); when all
 *     HK_TAKINGS_MAX are in use, or what is decoded is over the limit, it waits for one to end.
 * (3) A body was received whole before it came here: when its connection closes it goes on, is
 *     counted and stored, and the answer is dropped.
 * (4) The ledger knows nothing of a body before its commit.
 * (5) What is staged names series: their retirement waits for the bodies that were in work.
 */
#ifndef HK_ENGINE_BODIES_H
#define HK_ENGINE_BODIES_H

#include "engine/answers.h"
#include "engine/pass.h"
#include "net/loop.h"

struct hk_shard;
struct hk_taking;

enum {
    HK_TAKINGS_MAX = 32,         /* bodies in work */
    HK_BODY_SMALL_BYTES = 32768, /* decoded; taken at once when its lane is free */
};

/* What is to be undone before a body is parsed (the HTTP layer has undone zstd, gzip, deflate). */
enum hk_body_coding { HK_BODY_PLAIN, HK_BODY_SNAPPY, HK_BODY_OTLP_JSON };

/* A request whose headers were checked. In the arena of its exchange. */
struct hk_body {
    struct hk_body *next; /* of the lane */
    struct hk_http_exchange *exchange;
    enum hk_ledger_receiver receiver;
    enum hk_answer answer; /* tells the protocol, too */
    enum hk_body_coding coding;
    uint64_t decoded_bytes; /* as announced */
    struct hk_waiting waiting;
};

struct hk_lane {
    struct hk_lane *next; /* in the ring */
    struct hk_body *first, **last;
    struct hk_taking *taking; /* of `first`, or NULL: not begun */
};

struct hk_bodies {
    struct hk_work work;
    struct hk_lane lanes[HK_PASS_CURSORS];
    struct hk_lane *ring, **ring_last; /* lanes with bodies, the next one first */
    struct hk_taking *idle;            /* not in use */
    struct hk_taking *small;           /* for what is taken at once */
    uint32_t takings, used;            /* made and in use, without `small` */
    uint64_t decoded_bytes;            /* of the bodies in work, as announced */
    uint64_t kept_bytes;               /* buffers of the idle takings */
    uint64_t begun;                    /* bodies, ever */
};

/* Before the loop runs. HK_E_NOMEM. */
hk_err hk_bodies_open(struct hk_shard *shard) HK_MUST_CHECK;

/* Is no body in work that was begun as one of the first `begun` (see there)? */
bool hk_bodies_are_past(const struct hk_shard *shard, uint64_t begun);

/* After the servers are closed: what was not committed is forgotten, and was never counted. */
void hk_bodies_close(struct hk_shard *shard);

/* Takes the body and answers its request, now or later, in every case. The store has room. On the
 * shard. */
void hk_bodies_add(struct hk_shard *shard, struct hk_body *body);

#endif
