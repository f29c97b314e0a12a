/* RE2 behind a C interface. No exception leaves this file: RE2 throws none. */
#include <cstdint>
#include <cstring>
#include <new>
#include <re2/re2.h>
#include <string>

extern "C" {
#include "base/regex.h"
}

struct hk_regex {
    re2::RE2 re;
    hk_regex(const re2::StringPiece &pattern, const re2::RE2::Options &options)
        : re(pattern, options) {
    }
};

extern "C" hk_err hk_regex_create(struct hk_str pattern, struct hk_regex **out) {
    if (pattern.len > 65536) return hk_fail(HK_E_LIMIT, "regular expression over 65536 bytes");
    re2::RE2::Options options;
    options.set_log_errors(false);
    options.set_max_mem(16 << 20);
    options.set_dot_nl(true);
    hk_regex *regex =
        new (std::nothrow) hk_regex(re2::StringPiece(pattern.ptr, pattern.len), options);
    if (regex == nullptr) return HK_E_NOMEM;
    if (!regex->re.ok()) {
        hk_err err = hk_fail(
            regex->re.error_code() == re2::RE2::ErrorPatternTooLarge ? HK_E_LIMIT : HK_E_INVALID,
            "%s", regex->re.error().c_str());
        delete regex;
        return err;
    }
    *out = regex;
    return HK_OK;
}

extern "C" void hk_regex_destroy(struct hk_regex *regex) {
    delete regex;
}

extern "C" bool hk_regex_match(const struct hk_regex *regex, struct hk_str text) {
    return regex->re.Match(
        re2::StringPiece(text.ptr, text.len), 0, text.len, re2::RE2::ANCHOR_BOTH, nullptr, 0);
}

static bool match_groups(
    const struct hk_regex *regex, struct hk_str text, size_t from, re2::RE2::Anchor anchor,
    struct hk_str *groups, size_t count) {
    re2::StringPiece found[HK_REGEX_GROUPS_MAX];
    int wanted = 1 + regex->re.NumberOfCapturingGroups();
    if (wanted > HK_REGEX_GROUPS_MAX) wanted = HK_REGEX_GROUPS_MAX;
    if (!regex->re.Match(
            re2::StringPiece(text.ptr, text.len), from, text.len, anchor, found, wanted)) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        bool have = i < static_cast<size_t>(wanted);
        groups[i].ptr = have ? found[i].data() : nullptr;
        groups[i].len = have ? found[i].size() : 0;
    }
    return true;
}

extern "C" bool hk_regex_match_groups(
    const struct hk_regex *regex, struct hk_str text, struct hk_str *groups, size_t count) {
    return match_groups(regex, text, 0, re2::RE2::ANCHOR_BOTH, groups, count);
}

extern "C" bool hk_regex_search(
    const struct hk_regex *regex, struct hk_str text, size_t from, struct hk_str *groups,
    size_t count) {
    if (from > text.len) return false;
    return match_groups(regex, text, from, re2::RE2::UNANCHORED, groups, count);
}

extern "C" int hk_regex_group_named(const struct hk_regex *regex, struct hk_str name) {
    const auto &names = regex->re.NamedCapturingGroups();
    auto found = names.find(std::string(name.ptr, name.len));
    return found == names.end() ? -1 : found->second;
}
