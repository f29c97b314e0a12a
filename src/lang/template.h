/*
 * Text templates: the part of Go's text/template that rule files and notification templates use,
 * with the functions of Prometheus. Parsed once, executed often, with bounds on output, steps and
 * depth. A parsed template is immutable: any thread may execute it.
 *
 * Understood: actions with pipelines, parentheses, fields, methods of times, variables ($x := …,
 * $x = …), if / else if / else / end, range (with else, break, continue, index and key variables),
 * with / else, define, template, block, comments, whitespace trim ({{- and -}}); all comparison,
 * logic and text functions of the language but `call` and `js`; Prometheus' functions.
 */
#ifndef HK_LANG_TEMPLATE_H
#define HK_LANG_TEMPLATE_H

#include "base/arena.h"
#include "base/buf.h"
#include "model/labels.h"

enum {
    HK_TEMPLATE_TEXT_BYTES_MAX = 1 << 20,   /* all sources of one template */
    HK_TEMPLATE_NESTING_MAX = 64,           /* blocks in blocks, brackets in brackets */
    HK_TEMPLATE_CALL_DEPTH_MAX = 64,        /* templates calling templates */
    HK_TEMPLATE_STEPS_MAX = 200000,         /* instructions of one execution */
    HK_TEMPLATE_OUTPUT_BYTES_MAX = 1 << 20, /* also the caller's buffer limits it */
    HK_TEMPLATE_SCRATCH_BYTES_MAX = 8 << 20,
    HK_TEMPLATE_ARGUMENTS_MAX = 32,
    HK_TEMPLATE_VARIABLES_MAX = 64, /* of one template, visible at once */
};

struct hk_template;

enum hk_template_kind {
    HK_TEMPLATE_NIL,
    HK_TEMPLATE_BOOL,
    HK_TEMPLATE_INT,
    HK_TEMPLATE_FLOAT,
    HK_TEMPLATE_STRING,
    HK_TEMPLATE_TIME, /* ms since 1970, UTC */
    HK_TEMPLATE_LIST,
    HK_TEMPLATE_OBJECT,
};

struct hk_template_type;

/* A value of the language; strings and lists are borrowed. */
struct hk_template_value {
    enum hk_template_kind kind;
    uint32_t count; /* items of a list */
    union {
        bool boolean;
        int64_t integer; /* also a time */
        double number;
        struct hk_str text;
        const struct hk_template_value *items;
        const void *self; /* of an object */
    } as;
    const struct hk_template_type *type; /* of an object */
};

/* How templates see an object of the host: a map (labels) or a struct with named fields. */
struct hk_template_type {
    const char *name; /* in error texts */
    bool is_map;      /* a missing key is the zero value, not an error; `range` walks the pairs */
    /* Value of a field or key. False: there is none. */
    bool (*get)(const void *self, struct hk_str name, struct hk_template_value *out);
    /* Maps and printing: pairs in the order of their keys. NULL for a struct that never prints. */
    uint32_t (*count)(const void *self);
    void (*at)(
        const void *self, uint32_t index, struct hk_str *out_key, struct hk_template_value *out);
};

/* One row of a query's result. */
struct hk_template_sample {
    struct hk_labels labels;
    double value;
};

/* What an execution works on: the data of Prometheus' rule templates. Borrowed. */
struct hk_template_data {
    struct hk_labels labels;          /* .Labels, $labels */
    struct hk_labels external_labels; /* .ExternalLabels, $externalLabels */
    struct hk_str external_url;       /* .ExternalURL, $externalURL */
    double value;                     /* .Value, $value */
    int64_t now_ms;                   /* `now`, and evaluation time of `query` */
    /* `query`: rows live in `arena`. NULL: the function is an error. Failures leave their text in
     * hk_fail_text(). */
    hk_err (*query)(
        void *self, struct hk_str expr, int64_t at_ms, struct hk_arena *arena,
        struct hk_template_sample **out, uint32_t *out_count);
    void *query_self;
    /* NULL, or what `.` and `$` are instead of the above (notification templates). */
    const struct hk_template_value *root;
};

/* One text. The first of several is what is executed, the others add definitions. */
struct hk_template_source {
    struct hk_str name; /* in error texts */
    struct hk_str text;
};

/*
 * Parses. The texts are copied. HK_E_MALFORMED ("template: NAME:LINE:COLUMN: what"), HK_E_LIMIT,
 * HK_E_NOMEM. The caller owns the result.
 */
hk_err hk_template_create(
    const struct hk_template_source *sources, uint32_t source_count,
    struct hk_template **out) HK_MUST_CHECK;

/* NULL is fine. */
void hk_template_destroy(struct hk_template *tmpl);

/* True when the text has no action; `out` (may be NULL) is then the whole result. */
bool hk_template_is_constant(const struct hk_template *tmpl, struct hk_str *out);

/*
 * Appends the result to `out`. HK_E_EXECUTION when the template fails on this data, HK_E_LIMIT
 * beyond a bound (steps, depth, output), HK_E_NOMEM; `out` then holds what was written so far.
 */
hk_err hk_template_execute(
    const struct hk_template *tmpl, const struct hk_template_data *data,
    struct hk_buf *out) HK_MUST_CHECK;

/*
 * As hk_template_execute, but a failure becomes the text that Prometheus puts in its place:
 * "<error expanding template: error executing template NAME: …>". Returns the error.
 */
hk_err hk_template_expand(
    const struct hk_template *tmpl, const struct hk_template_data *data, struct hk_buf *out);

/* Prometheus' humanize functions, also for others: append the text of `value`. */
void hk_humanize(double value, struct hk_buf *out);
void hk_humanize_1024(double value, struct hk_buf *out);
void hk_humanize_duration(double seconds, struct hk_buf *out);

#endif
