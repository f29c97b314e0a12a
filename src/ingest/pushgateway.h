/*
 * Pushed groups, as the Prometheus Pushgateway has them: PUT (replace), POST (merge) and DELETE of
 * `/metrics/job/<job>{/<label>/<value>}`.
 *
 * A group is the set of labels in the path; they replace labels of that name in the body. PUT makes
 * the group hold what the body says and nothing else; POST replaces the series of the metric names
 * that the body has; what vanishes gets a stale marker, as does all of a group on DELETE and when
 * nobody pushed to it for `ttl_ms`. Each group has `push_time_seconds` and
 * `push_failure_time_seconds`. Since nobody scrapes a group here, its last values are given out
 * again every `repeat_ms`: else a job that pushes once a night would be gone five minutes later.
 *
 * A push is all or nothing: begin, then parse the body with any metric parser whose samples got
 * HK_PUSH_NO_STAMP as their default stamp, add each batch, commit or abort. Refused, with a text
 * that says what and how to mend: samples with timestamps, a series twice, a series that another
 * group holds, limits. Then hand out what changed: the registry is a metric parser itself.
 *
 * Groups live in memory only and are bounded by count and bytes; a push needs room for its series
 * beside those that they replace. One thread, the owner's.
 */
#ifndef HK_INGEST_PUSHGATEWAY_H
#define HK_INGEST_PUSHGATEWAY_H

#include "model/batch.h"

#define HK_PUSH_NO_STAMP INT64_MIN

enum hk_push_method { HK_PUSH_PUT, HK_PUSH_POST };

/*
 * Reads the labels of a group from the decoded path of a request; `path` begins with
 * "/metrics/job". The label set is not finished, values may live in `arena`. A name with "@base64"
 * behind it has its value in base64 (RFC 4648, both alphabets, padding optional; "=" is empty).
 * HK_E_MALFORMED with a text for the 400 answer, HK_E_NOMEM.
 */
hk_err hk_push_path_parse(struct hk_str path, struct hk_arena *arena, struct hk_label_set *out)
    HK_MUST_CHECK;

struct hk_push;

struct hk_push_options {
    uint32_t groups_max; /* 0 = 10,000 */
    uint32_t series_max; /* of all groups; 0 = 100,000 */
    size_t bytes_max;    /* of keys, values and bookkeeping; 0 = 64 MiB */
    int64_t ttl_ms;      /* since the last push; 0 = seven days */
    int64_t repeat_ms;   /* 0 = one minute */
};

struct hk_push_stats {
    uint32_t group_count, series_count;
    size_t bytes;
    uint64_t expired;           /* groups whose time was over */
    uint64_t exemplars_skipped; /* exemplars are not kept */
};

/* Makes an empty registry; `context` (borrowed) stands in each entry. HK_E_NOMEM. */
hk_err hk_push_create(
    const struct hk_push_options *options, const struct hk_context *context,
    struct hk_push **out) HK_MUST_CHECK;

/* NULL is fine. */
void hk_push_destroy(struct hk_push *push);

/* Begins a push to the group of these (finished) labels; copies them. One push at a time. HK_E_BUSY
 * when another is under way, HK_E_LIMIT, HK_E_NOMEM with a text. */
hk_err hk_push_begin(
    struct hk_push *push, struct hk_labels group, enum hk_push_method method,
    int64_t now_ms) HK_MUST_CHECK;

/*
 * Takes the entries of a parsed batch into the push; labels are built by `parser` with `state`.
 * HK_E_MALFORMED (the 400 answer), HK_E_LIMIT, HK_E_NOMEM with a text: abort then.
 */
hk_err hk_push_add(
    struct hk_push *push, const struct hk_metric_parser *parser, void *state,
    struct hk_batch *batch) HK_MUST_CHECK;

/* Makes the push count. HK_E_MALFORMED (the body holds the group's own series), HK_E_LIMIT,
 * HK_E_NOMEM with a text: it was aborted instead. */
hk_err hk_push_commit(struct hk_push *push) HK_MUST_CHECK;

/* Forgets the push under way, if any; notes the failure in the group if that exists. */
void hk_push_abort(struct hk_push *push);

/* Deletes a group. HK_E_NOT_FOUND (the answer is 202 all the same). */
hk_err hk_push_delete(struct hk_push *push, struct hk_labels group, int64_t now_ms);

/* Ends groups whose time is over and starts the repetition of those due; call it about once a
 * second, then hand out. Costs a look at each group. */
void hk_push_tick(struct hk_push *push, int64_t now_ms);

/*
 * `state` is the struct hk_push. parse hands out what is new since the last call and stale markers:
 * HK_OK, HK_FULL, HK_E_NOMEM (arena full: drain, reset, call again). labels decodes an entry's key.
 * Entries borrow from the registry: drain the batch before anything else is done to it.
 */
extern const struct hk_metric_parser hk_push_parser;

/* Current figures. */
struct hk_push_stats hk_push_stats(const struct hk_push *push);

#endif
