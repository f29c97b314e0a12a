/*
 * Inside of the rules: members (a bound series under one side of one rule), groups (one label set
 * of a rule's result), timers. All of it belongs to the shard's thread, but the tick's jobs.
 *
 * A rule over one plain selector needs no groups: each of its members is judged alone ("solo").
 *
 * Invariants: (1) until its timer is due and without a new sample, a member's contribution at time
 * t is contribution + slope × (t − origin) up to rounding, or cannot change the verdict; (2) a
 * group's sums are those of its members' contributions and slopes, within `error`; (3) a member or
 * group whose verdict may have changed is on a list of the next commit.
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
    HK_RULE_FOREVER_MS = 60000, /* a verdict is looked ahead that far at most */
};

#define HK_NO_INDEX UINT32_MAX
#define HK_NEVER_MS INT64_MIN

/* Samples of a member, ascending: points[first] … */
struct hk_rule_window {
    uint32_t first, count, capacity;
    double rise;    /* at least the sum of all steps upwards; see rule_member.c */
    double largest; /* at least the largest magnitude */
    double slope;   /* of the contribution, per ms */
    struct hk_rule_point points[];
};

struct hk_rule_member {
    uint32_t ref, rule;
    uint32_t group;         /* HK_NO_INDEX: solo */
    uint32_t next_of_ref;   /* chain of the series' members, or of free ones */
    uint32_t next_of_group; /* ring-less list of the group's members on this side */
    uint32_t prev_of_group;
    uint32_t heap_at; /* place in the timer heap plus one, 0 = none */
    uint8_t side;
    bool present : 1; /* has a contribution */
    bool active : 1;  /* solo: in the rule's result */
    bool dirty : 1;   /* on the list of the next commit */
    bool used : 1;
    int64_t newest_ms;             /* stamp of the newest sample, HK_NEVER_MS = none */
    double value;                  /* instant: of the newest sample that is not in the future */
    double contribution;           /* at the group's origin (grouped), now (solo) */
    struct hk_rule_window *window; /* NULL: instant members mostly have none */
};

struct hk_rule_group_side {
    uint32_t first;     /* member */
    uint32_t members;   /* all */
    uint32_t present;   /* with a contribution */
    bool best_known;    /* min, max: `best` is that of the members */
    double sum, rest;   /* Neumaier */
    double slope;       /* sum of slopes, per ms */
    double slope_error; /* bound of the error of `slope` */
    double magnitude;   /* at least the sum of magnitudes; varying sides only need it */
    uint32_t changes;   /* since the sums were last exact */
    double error;       /* bound of the sum's error since it was last exact */
    double best;        /* smallest or largest contribution */
    int64_t newest_ms;  /* stamp of the newest sample of its members */
    int64_t decided_ms; /* newest_ms at the last decision */
};

struct hk_rule_group {
    struct hk_hash128 hash;
    struct hk_labels labels; /* one block of memory, `items` first */
    uint32_t rule;
    uint32_t heap_at;
    bool active, dirty, used;
    double value;
    int64_t wait_ms;   /* sides settle until then, 0 = not waiting */
    int64_t origin_ms; /* of its members' contributions */
    struct hk_rule_group_side sides[HK_RULE_SIDES_MAX];
};

/* What a sample needs of its rule, close together. */
struct hk_rule_hot {
    bool on_arrival;
    bool solo;
    bool keeps_name; /* solo: the result's series keep their metric name */
    bool simple;     /* solo: value `op` threshold is the verdict */
    bool varies;     /* a side's value moves with time */
    enum hk_promql_op op;
    double threshold;
    bool settles;                        /* two sides wait for the same stamp */
    double rise_screen;                  /* solo: a rise below it cannot cross; 0 = no screen */
    int64_t range_ms[HK_RULE_SIDES_MAX]; /* 0 = instant */
    int64_t alert_next_ms;
    uint64_t work; /* members visited by exact evaluations since the budget began */
};

struct hk_rule_state {
    const struct hk_conf_rule *conf;
    const struct hk_conf_rule_group *group;
    uint64_t identity; /* hk_rule_identity() */
    struct hk_promql *promql;
    struct hk_rule_plan plan;
    struct hk_alert_rule *alert; /* NULL for recording rules */
    int64_t next_ms;             /* tick */
    int64_t cost_ns, evaluated_ms;
    char last_error[256];
    bool running; /* a tick job is out */
    bool binds;   /* planned for the arrival path; never changes, unlike plan.on_arrival */
    uint32_t members;
    struct hk_rule_recorded *recorded; /* series that the last evaluation wrote */
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

/* A timer: of a member, or of a group (HK_RULE_OF_GROUP set). */
#define HK_RULE_OF_GROUP 0x80000000U
struct hk_rule_timer {
    int64_t due_ms;
    uint32_t owner;
};

/*
 * Priming: series are bound, then windows read from the store by the worker, then verdicts made.
 * While loading, samples only go into the windows; while settling, members are computed; groups are
 * judged when all members are.
 */
enum hk_rule_phase { HK_RULE_LOADING, HK_RULE_SETTLING, HK_RULE_PRIMED };

/* When a group of the set runs. */
struct hk_rule_schedule {
    int64_t next_ms, interval_ms;
    uint32_t first, end;   /* its rules */
    uint32_t records_last; /* its last recording rule, if any */
    bool records;
};

struct hk_rules {
    struct hk_rules_options options;
    struct hk_arena arena;
    struct hk_rule_state *states;
    struct hk_rule_hot *hot;
    uint32_t count;
    struct hk_rule_selector *selectors;
    size_t selector_count, selector_capacity;
    uint32_t *by_metric;                 /* hash table: selector + 1 */
    uint32_t by_metric_mask, any_metric; /* chain of selectors without a metric name */

    struct hk_rule_member *members;
    size_t member_count, member_capacity;
    uint32_t free_member; /* + 1 */
    struct hk_rule_group *groups;
    size_t group_count, group_capacity;
    uint32_t free_group; /* + 1, chained through `rule` */
    uint32_t *group_slots;
    uint32_t group_mask, group_used;
    uint32_t *first_member; /* per ref, + 1 */
    uint8_t *bound;
    size_t ref_capacity, bound_capacity;
    uint32_t *dirty; /* groups */
    size_t dirty_count, dirty_capacity;
    uint32_t *dirty_members;
    size_t dirty_member_count, dirty_member_capacity;
    struct hk_rule_timer *heap;
    size_t heap_count, heap_capacity;

    int64_t now_ms;        /* of the commit or tick in hand */
    int64_t down_from_ms;  /* of the restart, for rules that are confirmed by their first tick */
    int64_t alerts_due_ms; /* the earliest hot[].alert_next_ms */
    int64_t budget_ms;     /* begin of the second that hot[].work counts */
    bool started;

    /* Priming. */
    enum hk_rule_phase phase;
    bool judging;                   /* the first verdicts were given */
    uint32_t prime_ref, prime_refs; /* next to bind, end */
    uint32_t prime_member;          /* next to settle */
    _Atomic uint64_t prime_points;  /* on their way from the worker */

    /* Ticks. */
    uint32_t *tick_rules; /* alerting rules that left the arrival path, or never were on it */
    uint32_t tick_count;
    int64_t groups_due_ms;              /* the earliest of `schedules` */
    struct hk_rule_schedule *schedules; /* per group of the set */
    struct hk_thread worker;
    struct hk_event wake;
    struct hk_mutex lock;
    struct hk_rule_job *jobs;
    _Atomic bool stop, cancel;
    uint32_t jobs_out;

    struct hk_rules_stats stats;
};

/* rule_timer.c: the heap. */

/*
 * The owner is looked at again at `due_ms`. A later time than the one in the heap is left: the
 * owner computes its next time anew when the earlier one comes.
 */
void hk_rule_timer_set(struct hk_rules *rules, uint32_t owner, int64_t due_ms);
void hk_rule_timer_drop(struct hk_rules *rules, uint32_t owner);
void hk_rule_timers_serve(struct hk_rules *rules, int64_t now_ms, uint32_t budget);

/* rule_member.c: samples, contributions. */
void hk_member_sample(struct hk_rules *rules, uint32_t index, int64_t stamp_ms, double value);
void hk_member_mark(struct hk_rules *rules, uint32_t index);
void hk_member_compute(struct hk_rules *rules, uint32_t index);
void hk_member_free(struct hk_rules *rules, uint32_t index);

/* The member's value, slope and next bend now, from its samples. False: none. */
bool hk_member_line(
    struct hk_rules *rules, struct hk_rule_member *member, struct hk_rule_line *out);

/* rule_solo.c: verdicts of members without a group. */
void hk_solo_decide(
    struct hk_rules *rules, uint32_t index, bool present, const struct hk_rule_line *line);
void hk_solo_forget(struct hk_rules *rules, struct hk_rule_member *member);

/* rule_group.c: groups and verdicts. */
hk_err hk_group_of(
    struct hk_rules *rules, uint32_t rule, uint8_t side, struct hk_labels labels,
    uint32_t *out_group) HK_MUST_CHECK;

/* Puts the member into the group's list, or takes it out (its contribution goes). */
void hk_group_join(struct hk_rules *rules, uint32_t group, uint32_t member);
void hk_group_leave(struct hk_rules *rules, uint32_t member);

/* The member contributes `line` from now on (NULL: nothing). */
void hk_group_change(
    struct hk_rules *rules, struct hk_rule_member *member, const struct hk_rule_line *line);
void hk_group_mark(struct hk_rules *rules, uint32_t group);
void hk_groups_free(struct hk_rules *rules);

/* All verdicts that may have changed. */
void hk_rules_decide(struct hk_rules *rules);

/* hk_alert_update() with its error kept, and the alert's next time noted. */
void hk_rules_verdict(
    struct hk_rules *rules, uint32_t rule, struct hk_labels labels, double value, bool active);

/* The rule's alerts have changed: notes when they have something to do next. */
void hk_rules_note_alert(struct hk_rules *rules, uint32_t rule);

/* The rule is judged by ticks from now on. */
void hk_rules_leave_arrival(struct hk_rules *rules, uint32_t rule, const char *why);

/* rule_bind.c: which series a rule looks at. */
hk_err hk_rules_index(struct hk_rules *rules) HK_MUST_CHECK;
hk_err hk_rules_bind(struct hk_rules *rules, uint32_t ref, struct hk_labels labels) HK_MUST_CHECK;

/* A series could not be bound: the rules leave the arrival path, nothing is missed. */
void hk_rules_bind_failed(struct hk_rules *rules);

/* rule_prime.c: on the worker, all windows of all rules. */
void hk_rules_prime_job(struct hk_rules *rules, int64_t at_ms);

/* A sample that the store has; one of its stamp that has arrived meanwhile stays. */
void hk_member_load(struct hk_rules *rules, uint32_t index, int64_t stamp_ms, double value);

/* Queues a job: of a group, of one rule, or (both HK_NO_INDEX) the priming. */
bool hk_rules_queue_job(struct hk_rules *rules, uint32_t group, uint32_t rule, int64_t at_ms);

/* rule_tick.c: evaluation through the query engine. */
hk_err hk_ticks_open(struct hk_rules *rules) HK_MUST_CHECK;
void hk_ticks_close(struct hk_rules *rules);
void hk_ticks_serve(struct hk_rules *rules, int64_t now_ms);

/* rule_adopt.c: hash of group, name and labels, for ever the same: it is kept on disk. */
uint64_t hk_rule_identity(const struct hk_rule_state *state);

#endif
