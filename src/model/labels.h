/*
 * Labels: name/value pairs that identify a series. A label set is sorted by name (byte order),
 * names are unique and values not empty; an empty value means "no such label" (Prometheus data
 * model). The metric name is the label "__name__". Names and values are UTF-8.
 */
#ifndef HK_MODEL_LABELS_H
#define HK_MODEL_LABELS_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/hash.h"
#include "base/str.h"

struct hk_label {
    struct hk_str name, value;
};

/* Borrowed, immutable, sorted. */
struct hk_labels {
    const struct hk_label *items;
    uint32_t count;
};

enum {
    HK_LABELS_MAX = 256,            /* labels of one series */
    HK_LABEL_NAME_BYTES_MAX = 4096, /* also metric names */
    HK_LABEL_VALUE_BYTES_MAX = 65536,
};

/* Value of the label `name`, an empty string when there is none. */
struct hk_str hk_labels_get(struct hk_labels labels, struct hk_str name);

/* Order by names and values, a shorter prefix first. */
int hk_labels_cmp(struct hk_labels a, struct hk_labels b);

/* Keyed hash of the canonical form. */
struct hk_hash128 hk_labels_hash(struct hk_labels labels);

/* A copy in one block of memory, freed by hk_labels_free(). HK_E_NOMEM. */
hk_err hk_labels_copy(struct hk_labels labels, struct hk_labels *out) HK_MUST_CHECK;
void hk_labels_free(struct hk_labels labels);

/* Appends `name{a="b"}` in Prometheus' form; names that are not classic are quoted in the braces.
 */
void hk_labels_format(struct hk_labels labels, struct hk_buf *out);

/* Appends a JSON object of the labels. */
void hk_labels_json(struct hk_labels labels, struct hk_buf *out);

/*
 * A label set under construction, unsorted until finished; strings are borrowed unless copied by
 * the caller. Fixed capacity: adding a label beyond it sets `err` to HK_E_LIMIT.
 */
struct hk_label_set {
    struct hk_label items[HK_LABELS_MAX];
    uint32_t count;
    hk_err err; /* sticky: HK_OK, HK_E_LIMIT, HK_E_MALFORMED (duplicate name at finish) */
};

/* Empties it. */
static inline void hk_label_set_clear(struct hk_label_set *set) {
    set->count = 0;
    set->err = HK_OK;
}

/* Appends without looking for an older label of that name (finish reports duplicates). */
void hk_label_set_add(struct hk_label_set *set, struct hk_str name, struct hk_str value);

/* Sets or replaces; an empty value removes. */
void hk_label_set_put(struct hk_label_set *set, struct hk_str name, struct hk_str value);

/* Value of `name`, empty when there is none. */
struct hk_str hk_label_set_get(const struct hk_label_set *set, struct hk_str name);

/*
 * Sorts, drops empty values and checks: HK_E_MALFORMED for a duplicate or empty name or bytes that
 * are not UTF-8, HK_E_LIMIT beyond the limits above. Gives the labels, borrowed from the set.
 */
hk_err hk_label_set_finish(struct hk_label_set *set, struct hk_labels *out) HK_MUST_CHECK;

/* Is it valid UTF-8 (RFC 3629)? */
bool hk_utf8_valid(struct hk_str text);

/* [a-zA-Z_:][a-zA-Z0-9_:]* (metric) or without the colon (label name)? */
bool hk_name_is_classic(struct hk_str name, bool metric);

#endif
