/* Label matchers of selectors: =, !=, =~, !~. Regular expressions match the whole value. */
#ifndef HK_MODEL_MATCHER_H
#define HK_MODEL_MATCHER_H

#include "base/regex.h"
#include "model/labels.h"

enum hk_match_type { HK_MATCH_EQUAL, HK_MATCH_NOT_EQUAL, HK_MATCH_REGEX, HK_MATCH_NOT_REGEX };

/* Borrowed strings; `regex` is set for the regex types and owned by whoever made the matcher. */
struct hk_matcher {
    enum hk_match_type type;
    struct hk_str name, value;
    struct hk_regex *regex;
};

/* Does the matcher accept this label value (empty = the label is absent)? */
static inline bool hk_matcher_accepts(const struct hk_matcher *matcher, struct hk_str value) {
    switch (matcher->type) {
    case HK_MATCH_EQUAL:
        return hk_str_eq(matcher->value, value);
    case HK_MATCH_NOT_EQUAL:
        return !hk_str_eq(matcher->value, value);
    case HK_MATCH_REGEX:
        return hk_regex_match(matcher->regex, value);
    case HK_MATCH_NOT_REGEX:
        return !hk_regex_match(matcher->regex, value);
    default:
        return false;
    }
}

/* Do all matchers accept the labels? */
static inline bool
hk_matchers_accept(const struct hk_matcher *matchers, uint32_t count, struct hk_labels labels) {
    for (uint32_t i = 0; i < count; i++) {
        if (!hk_matcher_accepts(&matchers[i], hk_labels_get(labels, matchers[i].name))) {
            return false;
        }
    }
    return true;
}

#endif
