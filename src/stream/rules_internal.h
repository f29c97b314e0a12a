/*
 * Inside of the rules: members (a bound series under one side of one rule), groups (one label set
 * of a rule's result), timers. All of it belongs to the shard's thread, but the tick's jobs.
 *
 * Invariants: (1) a member's contribution is that of its samples at the time it was last computed,
 * and cannot differ now unless its timer is due; (2) a group's sums are those of its members'
 * contributions, within `error`; (3) a group that may have changed is on the dirty list.
 */
#ifndef HK_STREAM_RULES_INTERNAL_H
#define HK_STREAM_RULES_INTERNAL_H

#include "alert/alert.h"
#include "os/thread.h"
#include "query/engine.h"
#include "stream/rule_plan.h"
#include "stream/rules.h"

enum {
    HK_RULE_WINDOW_MAX = 4096, /* samples of one member's window */
    HK_RULE_LOOKBACK_MS = 300000,
    HK_RULE_SETTLE_MS = 100, /* sides of different stamps wait that long for each other */
    HK_RULE_TICK_MIN_MS = 50,
    HK_RULE_BEGIN_TIMERS = 256, /* due members that a commit looks at; the tick takes the rest */
};

#define HK_NO_INDEX UINT32_MAX

struct hk_rule_member {
    uint32_t ref, rule, group;
    uint32_t next_of_ref;   /* chain of the series' members */
    uint32_t next_of_group; /* chain of the group's members on this side */
    uint32_t heap_at;       /* place in the timer heap plus one, 0 = none */
    uint8_t side;
    bool present;
    double contribution;
    int64_t due_ms;    /* timer */
    int64_t newest_ms; /* stamp of the newest sample */
    /* Samples, ascending; instant members keep the newest and those of the future. */
    int64_t *stamps_ms;
    double *values;
    uint32_t count, capacity;
};

struct hk_rule_group_side {
    uint32_t first;     /* member */
    uint32_t members;   /* all */
    uint32_t present;   /* with a contribution */
    double sum, rest;   /* Neumaier */
    double error;       /* bound of the sum's error since it was last exact */
    int64_t newest_ms;  /* stamp of the newest sample of its members */
    int64_t decided_ms; /* newest_ms at the last decision */
};

struct hk_rule_group {
    struct hk_hash128 hash;
    struct hk_labels labels; /* own memory */
    uint32_t rule;
    bool active, dirty;
    double value;
    int64_t wait_ms; /* sides settle until then, 0 = not waiting */
    struct hk_rule_group_side sides[HK_RULE_SIDES_MAX];
};

struct hk_rule_state {
    const struct hk_conf_rule *conf;
    const struct hk_conf_rule_group *group;
    struct hk_promql *promql;
    struct hk_rule_plan plan;
    struct hk_alert_rule *alert; /* NULL for recording rules */
    char too_much[128];          /* why it left the arrival path */
    int64_t next_ms;             /* tick */
    int64_t cost_ns, evaluated_ms;
    char last_error[256];
    bool running; /* a tick job is out */
    uint32_t members;
};

/* A selector by metric name, for binding. */
struct hk_rule_selector {
    struct hk_str metric; /* value of an equality on __name__, or empty */
    uint32_t rule, next;  /* chain of the same hash */
    uint8_t side;
};

/* Ticks: one job at a time on the worker. */
struct hk_rule_job {
    struct hk_rules *rules;
    uint32_t group; /* recording and mixed groups: all rules of it in order */
    uint32_t rule;  /* or one alerting rule, HK_NO_INDEX else */
    int64_t at_ms;
    struct hk_rule_job *next;
};

struct hk_rules {
    struct hk_rules_options options;
    struct hk_arena arena;
    struct hk_rule_state *states;
    uint32_t count;
    struct hk_rule_selector *selectors;
    size_t selector_count, selector_capacity;
    uint32_t *by_metric;                 /* hash table: selector + 1 */
    uint32_t by_metric_mask, any_metric; /* chain of selectors without a metric name */

    struct hk_rule_member *members;
    size_t member_count, member_capacity;
    uint32_t
        free_member; /* chain by next_of_ref of members of retired series, HK_NO_INDEX at its end */
    struct hk_rule_group *groups;
    size_t group_count, group_capacity;
    uint32_t *group_slots;
    uint32_t group_mask;
    uint32_t *first_member; /* per ref, + 1 */
    uint8_t *bound;
    size_t ref_capacity, bound_capacity;
    uint32_t *dirty;
    size_t dirty_count, dirty_capacity;
    uint32_t *heap; /* member indexes by due_ms */
    size_t heap_count, heap_capacity;

    int64_t now_ms;        /* of the commit or tick in hand */
    int64_t down_from_ms;  /* of the restart, for rules that are confirmed by their first tick */
    int64_t write_next_ms; /* ALERTS series */
    bool started;
    uint32_t uid; /* of bound series so far */

    /* Ticks. */
    struct hk_thread worker;
    struct hk_event wake;
    struct hk_mutex lock;
    struct hk_rule_job *jobs;
    _Atomic bool stop, cancel;
    uint32_t jobs_out;

    struct hk_rules_stats stats;
};

/* rule_member.c: samples, contributions, timers. */
void hk_member_sample(struct hk_rules *rules, uint32_t index, int64_t stamp_ms, double value);
void hk_member_compute(struct hk_rules *rules, uint32_t index);
void hk_member_drop(struct hk_rules *rules, uint32_t index);
void hk_member_timers(struct hk_rules *rules, int64_t now_ms, uint32_t budget);

/* rule_group.c: groups and verdicts. */
hk_err hk_group_of(
    struct hk_rules *rules, uint32_t rule, uint8_t side, struct hk_labels labels,
    uint32_t *out_group) HK_MUST_CHECK;
void hk_group_change(
    struct hk_rules *rules, struct hk_rule_member *member, bool present, double contribution);
void hk_group_mark(struct hk_rules *rules, uint32_t group);
void hk_groups_decide(struct hk_rules *rules);

/* rule_bind.c: which series a rule looks at. */
hk_err hk_rules_index(struct hk_rules *rules) HK_MUST_CHECK;
hk_err hk_rules_bind(
    struct hk_rules *rules, uint32_t ref, struct hk_labels labels,
    uint32_t only_rule) HK_MUST_CHECK;

/* rule_tick.c: evaluation through the query engine. */
hk_err hk_ticks_open(struct hk_rules *rules) HK_MUST_CHECK;
void hk_ticks_close(struct hk_rules *rules);
void hk_ticks_serve(struct hk_rules *rules, int64_t now_ms);

#endif
