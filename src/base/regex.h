/*
 * Regular expressions: RE2's syntax, linear time. Always matched against the whole string, as
 * Prometheus does. Thread-safe after compilation.
 */
#ifndef HK_BASE_REGEX_H
#define HK_BASE_REGEX_H

#include "base/str.h"

#ifdef __cplusplus
extern "C" {
#endif

struct hk_regex;

enum { HK_REGEX_GROUPS_MAX = 16 };

/* Compiles `pattern`. HK_E_INVALID with RE2's message, HK_E_LIMIT when too large. */
hk_err hk_regex_create(struct hk_str pattern, struct hk_regex **out);

/* NULL is fine. */
void hk_regex_destroy(struct hk_regex *regex);

/* Does the whole of `text` match? */
bool hk_regex_match(const struct hk_regex *regex, struct hk_str text);

/*
 * As hk_regex_match, and sets `groups[0..count)`: 0 the whole match, then the capture groups; a
 * group that took no part has ptr NULL. `count` at most HK_REGEX_GROUPS_MAX.
 */
bool hk_regex_match_groups(
    const struct hk_regex *regex, struct hk_str text, struct hk_str *groups, size_t count);

/*
 * The first match at or after byte `from`, anywhere in `text` (^ and \b see what stands before
 * `from`). Sets groups as hk_regex_match_groups does.
 */
bool hk_regex_search(
    const struct hk_regex *regex, struct hk_str text, size_t from, struct hk_str *groups,
    size_t count);

/* Number of the capture group of that name, -1 if there is none. */
int hk_regex_group_named(const struct hk_regex *regex, struct hk_str name);

#ifdef __cplusplus
}
#endif

#endif
