/*
 * Relabelling. The reference is Prometheus' documentation of <relabel_config>; the hash of
 * "hashmod" is the last eight bytes of MD5, big-endian.
 */
#include "model/relabel.h"

#include "base/mem.h"
#include "base/regex.h"

#include <locale.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <wctype.h>

enum { TEXT_BYTES_MAX = 1 << 20 };

static const char *const action_names[HK_RELABEL_ACTIONS] = {
    [HK_RELABEL_REPLACE] = "replace",
    [HK_RELABEL_KEEP] = "keep",
    [HK_RELABEL_DROP] = "drop",
    [HK_RELABEL_KEEP_EQUAL] = "keepequal",
    [HK_RELABEL_DROP_EQUAL] = "dropequal",
    [HK_RELABEL_HASHMOD] = "hashmod",
    [HK_RELABEL_LABEL_MAP] = "labelmap",
    [HK_RELABEL_LABEL_DROP] = "labeldrop",
    [HK_RELABEL_LABEL_KEEP] = "labelkeep",
    [HK_RELABEL_LOWERCASE] = "lowercase",
    [HK_RELABEL_UPPERCASE] = "uppercase",
};

struct rule {
    enum hk_relabel_action action;
    uint32_t source_count;
    const struct hk_str *sources;
    struct hk_str separator, target, replacement;
    struct hk_regex *regex;
    bool target_varies, replacement_varies; /* they contain '$' */
    uint64_t modulus;
};

struct hk_relabel {
    struct hk_arena arena; /* rules and their strings */
    uint32_t count;
    struct rule *rules;
    EVP_MD *md5;   /* NULL without a hashmod rule */
    locale_t utf8; /* for case mapping; 0 without such a rule */
};

static bool contains(struct hk_str text, char c) {
    return hk_str_find(text, c, 0) < text.len;
}

/* What may stand between $ and the end of a name; bytes of multi-byte characters end it. */
static bool is_name_char(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

struct reference {
    struct hk_str name;
    int64_t number; /* -1: refers by name */
    size_t bytes;   /* length in the template, without the '$' */
};

/* Reads the reference behind a '$'. False when malformed: the '$' then stands for itself. */
static bool parse_reference(struct hk_str text, struct reference *out) {
    bool brace = text.len > 0 && text.ptr[0] == '{';
    size_t from = brace ? 1 : 0;
    size_t to = from;
    while (to < text.len && is_name_char(text.ptr[to]))
        to++;
    if (to == from || (brace && (to == text.len || text.ptr[to] != '}'))) return false;
    struct hk_str name = hk_str_part(text, from, to);
    int64_t number = 0;
    for (size_t i = 0; i < name.len && number >= 0; i++) {
        bool digit = name.ptr[i] >= '0' && name.ptr[i] <= '9' && number < 100000000;
        number = digit ? number * 10 + (name.ptr[i] - '0') : -1;
    }
    if (name.len > 1 && name.ptr[0] == '0') number = -1;
    *out = (struct reference){ name, number, brace ? to + 1 : to };
    return true;
}

/* Index of the group that a reference means, -1 if there is none. */
static int64_t reference_group(const struct hk_regex *regex, const struct reference *reference) {
    if (reference->number >= 0) return reference->number;
    return regex == NULL ? -1 : hk_regex_group_named(regex, reference->name);
}

void hk_regex_expand(
    const struct hk_regex *regex, struct hk_str pattern, const struct hk_str *groups,
    size_t group_count, struct hk_buf *out) {
    size_t at = 0;
    while (at < pattern.len) {
        size_t dollar = hk_str_find(pattern, '$', at);
        hk_buf_str(out, hk_str_part(pattern, at, dollar));
        if (dollar == pattern.len) return;
        at = dollar + 1;
        struct reference reference;
        if (at < pattern.len && pattern.ptr[at] == '$') {
            hk_buf_char(out, '$');
            at++;
        } else if (!parse_reference(hk_str_part(pattern, at, pattern.len), &reference)) {
            hk_buf_char(out, '$');
        } else {
            int64_t group = reference_group(regex, &reference);
            if (group >= 0 && (uint64_t)group < group_count && groups[group].ptr != NULL)
                hk_buf_str(out, groups[group]);
            at += reference.bytes;
        }
    }
}

/* A group that we could not deliver must not silently be empty. */
static hk_err check_references(const struct hk_regex *regex, struct hk_str pattern) {
    for (size_t at = 0; (at = hk_str_find(pattern, '$', at)) < pattern.len;) {
        at++;
        struct reference reference;
        if (at < pattern.len && pattern.ptr[at] == '$') {
            at++;
        } else if (parse_reference(hk_str_part(pattern, at, pattern.len), &reference)) {
            if (reference_group(regex, &reference) >= HK_REGEX_GROUPS_MAX) {
                return hk_fail(
                    HK_E_LIMIT, "\"%.*s\" refers to a group beyond the %dth", HK_STR_ARG(pattern),
                    HK_REGEX_GROUPS_MAX - 1);
            }
            at += reference.bytes;
        }
    }
    return HK_OK;
}

const char *hk_relabel_action_name(enum hk_relabel_action action) {
    return (size_t)action < HK_COUNT(action_names) ? action_names[action] : NULL;
}

bool hk_relabel_action_find(struct hk_str name, enum hk_relabel_action *out) {
    for (size_t i = 0; i < HK_COUNT(action_names); i++) {
        if (!hk_str_eq_nocase(name, hk_str_from(action_names[i]))) continue;
        *out = (enum hk_relabel_action)i;
        return true;
    }
    return false;
}

#define SEPARATOR_DEFAULT   HK_STR(";")
#define REGEX_DEFAULT       HK_STR("(.*)")
#define REPLACEMENT_DEFAULT HK_STR("$1")

/* Given, and not just the default written out? */
static bool differs(struct hk_str text, struct hk_str fallback) {
    return text.ptr != NULL && !hk_str_eq(text, fallback);
}

/* Label names are any UTF-8 text but the empty one. */
static bool name_valid(struct hk_str name) {
    return name.len > 0 && name.len <= HK_LABEL_NAME_BYTES_MAX && hk_utf8_valid(name);
}

static bool needs_target(enum hk_relabel_action action) {
    return action == HK_RELABEL_REPLACE || action == HK_RELABEL_HASHMOD ||
           action == HK_RELABEL_LOWERCASE || action == HK_RELABEL_UPPERCASE ||
           action == HK_RELABEL_KEEP_EQUAL || action == HK_RELABEL_DROP_EQUAL;
}

/* The checks that Prometheus makes when it loads a rule. */
static hk_err check_config(const struct hk_relabel_config *config, enum hk_relabel_action action) {
    const char *name = action_names[action];
    if (action == HK_RELABEL_HASHMOD && config->modulus == 0) {
        return hk_fail(HK_E_INVALID, "action hashmod needs \"modulus\" of at least 1");
    }
    if (needs_target(action)) {
        if (config->target_label.len == 0) {
            return hk_fail(HK_E_INVALID, "action %s needs \"target_label\"", name);
        }
        if (!name_valid(config->target_label)) {
            return hk_fail(HK_E_INVALID, "\"target_label\" is no valid label name");
        }
    }
    bool fixed = action == HK_RELABEL_LOWERCASE || action == HK_RELABEL_UPPERCASE ||
                 action == HK_RELABEL_KEEP_EQUAL || action == HK_RELABEL_DROP_EQUAL;
    if (fixed && differs(config->replacement, REPLACEMENT_DEFAULT)) {
        return hk_fail(HK_E_INVALID, "action %s takes no \"replacement\"", name);
    }
    if ((action == HK_RELABEL_KEEP_EQUAL || action == HK_RELABEL_DROP_EQUAL) &&
        (differs(config->regex, REGEX_DEFAULT) || differs(config->separator, SEPARATOR_DEFAULT) ||
         config->modulus != 0)) {
        return hk_fail(
            HK_E_INVALID, "action %s takes only \"source_labels\" and \"target_label\"", name);
    }
    if (action == HK_RELABEL_LABEL_MAP && differs(config->replacement, REPLACEMENT_DEFAULT) &&
        !name_valid(config->replacement)) {
        return hk_fail(HK_E_INVALID, "\"replacement\" of labelmap is no valid label name");
    }
    if ((action == HK_RELABEL_LABEL_DROP || action == HK_RELABEL_LABEL_KEEP) &&
        (config->source_label_count > 0 || config->target_label.len > 0 || config->modulus != 0 ||
         differs(config->separator, SEPARATOR_DEFAULT) ||
         differs(config->replacement, REPLACEMENT_DEFAULT))) {
        return hk_fail(HK_E_INVALID, "action %s takes only \"regex\"", name);
    }
    if (config->source_label_count > HK_RELABEL_SOURCE_LABELS_MAX) {
        return hk_fail(HK_E_LIMIT, "more than %d source labels", HK_RELABEL_SOURCE_LABELS_MAX);
    }
    return HK_OK;
}

static hk_err copy_str(struct hk_arena *arena, struct hk_str from, struct hk_str *out) {
    if (from.len > TEXT_BYTES_MAX) return hk_fail(HK_E_LIMIT, "text over %d bytes", TEXT_BYTES_MAX);
    *out = hk_arena_str(arena, from);
    return out->ptr == NULL ? HK_E_NOMEM : HK_OK;
}

static hk_err
copy_sources(struct hk_arena *arena, const struct hk_relabel_config *config, struct rule *rule) {
    struct hk_str *sources = hk_arena_alloc(arena, config->source_label_count, sizeof(*sources));
    if (sources == NULL) return HK_E_NOMEM;
    for (uint32_t i = 0; i < config->source_label_count; i++) {
        if (!name_valid(config->source_labels[i])) {
            return hk_fail(HK_E_INVALID, "an entry of \"source_labels\" is no valid label name");
        }
        HK_TRY(copy_str(arena, config->source_labels[i], &sources[i]));
    }
    rule->sources = sources;
    rule->source_count = config->source_label_count;
    return HK_OK;
}

static struct hk_str or_default(struct hk_str text, struct hk_str fallback) {
    return text.ptr != NULL ? text : fallback;
}

static hk_err
build_rule(struct hk_relabel *relabel, const struct hk_relabel_config *config, struct rule *rule) {
    struct hk_arena *arena = &relabel->arena;
    if ((size_t)config->action >= HK_COUNT(action_names)) {
        return hk_fail(HK_E_INVALID, "unknown action %d", (int)config->action);
    }
    rule->action = config->action;
    HK_TRY(check_config(config, rule->action));
    HK_TRY(copy_sources(arena, config, rule));
    HK_TRY(copy_str(arena, or_default(config->separator, SEPARATOR_DEFAULT), &rule->separator));
    HK_TRY(copy_str(arena, or_default(config->target_label, HK_STR("")), &rule->target));
    HK_TRY(
        copy_str(arena, or_default(config->replacement, REPLACEMENT_DEFAULT), &rule->replacement));
    hk_err err = hk_regex_create(or_default(config->regex, REGEX_DEFAULT), &rule->regex);
    if (err < 0) return hk_fail_note(err, "\"regex\"");
    rule->modulus = config->modulus;
    rule->target_varies = contains(rule->target, '$');
    rule->replacement_varies = contains(rule->replacement, '$');
    HK_TRY(check_references(rule->regex, rule->target));
    HK_TRY(check_references(rule->regex, rule->replacement));
    if (rule->action == HK_RELABEL_HASHMOD && relabel->md5 == NULL) {
        relabel->md5 = EVP_MD_fetch(NULL, "MD5", NULL);
        if (relabel->md5 == NULL) {
            return hk_fail(HK_E_UNSUPPORTED, "hashmod: this system's OpenSSL offers no MD5");
        }
    }
    bool maps_case = rule->action == HK_RELABEL_LOWERCASE || rule->action == HK_RELABEL_UPPERCASE;
    if (maps_case && relabel->utf8 == (locale_t)0)
        relabel->utf8 = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
    return HK_OK;
}

hk_err hk_relabel_create(
    const struct hk_relabel_config *configs, uint32_t count, struct hk_relabel **out) {
    if (count > HK_RELABEL_RULES_MAX) {
        return hk_fail(HK_E_LIMIT, "more than %d relabelling rules", HK_RELABEL_RULES_MAX);
    }
    struct hk_relabel *relabel = hk_mem_alloc(1, sizeof(*relabel));
    if (relabel == NULL) return HK_E_NOMEM;
    hk_arena_init(&relabel->arena, 64 << 20);
    relabel->rules = hk_arena_alloc(&relabel->arena, count, sizeof(*relabel->rules));
    hk_err err = relabel->rules == NULL ? HK_E_NOMEM : HK_OK;
    for (uint32_t i = 0; i < count && err >= 0; i++) {
        relabel->count = i + 1;
        hk_fail_clear();
        err = build_rule(relabel, &configs[i], &relabel->rules[i]);
        if (err < 0) err = hk_fail_note(err, "relabelling rule %u", i + 1);
    }
    if (err < 0) {
        hk_relabel_destroy(relabel);
        return err;
    }
    *out = relabel;
    return HK_OK;
}

void hk_relabel_destroy(struct hk_relabel *relabel) {
    if (relabel == NULL) return;
    for (uint32_t i = 0; relabel->rules != NULL && i < relabel->count; i++)
        hk_regex_destroy(relabel->rules[i].regex);
    EVP_MD_free(relabel->md5);
    if (relabel->utf8 != (locale_t)0) freelocale(relabel->utf8);
    hk_arena_deinit(&relabel->arena);
    hk_mem_free(relabel);
}

uint32_t hk_relabel_count(const struct hk_relabel *relabel) {
    return relabel == NULL ? 0 : relabel->count;
}

/* Values of the source labels with the separator between them; one label costs no copy. */
static hk_err join_sources(
    const struct rule *rule, const struct hk_label_set *set, struct hk_arena *arena,
    struct hk_str *out) {
    if (rule->source_count <= 1) {
        *out = rule->source_count == 0 ? HK_STR("") : hk_label_set_get(set, rule->sources[0]);
        return HK_OK;
    }
    size_t len = 0;
    for (uint32_t i = 0; i < rule->source_count; i++) {
        len += hk_label_set_get(set, rule->sources[i]).len + (i > 0 ? rule->separator.len : 0);
        if (len > TEXT_BYTES_MAX) return HK_E_LIMIT;
    }
    char *text = hk_arena_alloc_raw(arena, len + 1, 1);
    if (text == NULL) return HK_E_NOMEM;
    size_t at = 0;
    for (uint32_t i = 0; i < rule->source_count; i++) {
        struct hk_str value = hk_label_set_get(set, rule->sources[i]);
        if (i > 0 && rule->separator.len > 0)
            memcpy(text + at, rule->separator.ptr, rule->separator.len);
        at += i > 0 ? rule->separator.len : 0;
        if (value.len > 0) memcpy(text + at, value.ptr, value.len);
        at += value.len;
    }
    *out = (struct hk_str){ text, len };
    return HK_OK;
}

/* Expands into the arena: the set may outlive the rules. */
static hk_err expand(
    const struct rule *rule, struct hk_str pattern, bool varies, const struct hk_str *groups,
    struct hk_arena *arena, struct hk_str *out) {
    struct hk_buf text;
    hk_buf_init(&text, TEXT_BYTES_MAX);
    if (varies) hk_regex_expand(rule->regex, pattern, groups, HK_REGEX_GROUPS_MAX, &text);
    hk_err err = text.err;
    struct hk_str result = varies ? hk_buf_get(&text) : pattern;
    if (err >= 0) {
        *out = hk_arena_str(arena, result);
        if (out->ptr == NULL) err = HK_E_NOMEM;
    }
    hk_buf_deinit(&text);
    return err;
}

static hk_err replace(
    const struct rule *rule, struct hk_str value, struct hk_label_set *set,
    struct hk_arena *arena) {
    struct hk_str groups[HK_REGEX_GROUPS_MAX];
    struct hk_str target;
    struct hk_str result;
    if (!hk_regex_match_groups(rule->regex, value, groups, HK_REGEX_GROUPS_MAX)) return HK_OK;
    HK_TRY(expand(rule, rule->target, rule->target_varies, groups, arena, &target));
    if (!name_valid(target)) return HK_OK;
    HK_TRY(expand(rule, rule->replacement, rule->replacement_varies, groups, arena, &result));
    hk_label_set_put(set, target, result);
    return HK_OK;
}

static hk_err hashmod(
    const struct hk_relabel *relabel, const struct rule *rule, struct hk_str value,
    struct hk_label_set *set, struct hk_arena *arena) {
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned int len = 0;
    if (EVP_Digest(value.ptr, value.len, digest, &len, relabel->md5, NULL) != 1 || len != 16) {
        return hk_fail(HK_E_UNSUPPORTED, "hashmod: MD5 failed");
    }
    uint64_t hash = 0;
    for (size_t i = 8; i < 16; i++)
        hash = hash << 8 | digest[i];
    struct hk_str target = hk_arena_str(arena, rule->target);
    struct hk_str text = hk_arena_printf(arena, "%llu", (unsigned long long)(hash % rule->modulus));
    if (target.ptr == NULL || text.ptr == NULL) return HK_E_NOMEM;
    hk_label_set_put(set, target, text);
    return HK_OK;
}

static int order_by_name(const void *a, const void *b) {
    const struct hk_label *left = a;
    const struct hk_label *right = b;
    return hk_str_cmp(left->name, right->name);
}

/* Copies values to mapped names. The names are those before the rule, in sorted order: where two
 * map to one name, the last wins. */
static hk_err label_map(const struct rule *rule, struct hk_label_set *set, struct hk_arena *arena) {
    uint32_t count = set->count;
    struct hk_label *before = hk_arena_alloc_raw(arena, count, sizeof(*before));
    if (before == NULL) return HK_E_NOMEM;
    memcpy(before, set->items, count * sizeof(*before));
    qsort(before, count, sizeof(*before), order_by_name);
    for (uint32_t i = 0; i < count; i++) {
        struct hk_str groups[HK_REGEX_GROUPS_MAX];
        struct hk_str name;
        if (!hk_regex_match_groups(rule->regex, before[i].name, groups, HK_REGEX_GROUPS_MAX))
            continue;
        HK_TRY(expand(rule, rule->replacement, rule->replacement_varies, groups, arena, &name));
        if (name.len > 0) hk_label_set_put(set, name, before[i].value);
    }
    return HK_OK;
}

static void filter_names(const struct rule *rule, struct hk_label_set *set, bool keep_matching) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < set->count; i++) {
        if (hk_regex_match(rule->regex, set->items[i].name) == keep_matching)
            set->items[count++] = set->items[i];
    }
    set->count = count;
}

/* Length of the UTF-8 sequence that `lead` begins, in valid text. */
static size_t sequence_len(unsigned char lead) {
    return lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
}

static uint32_t decode(const unsigned char *at, size_t len) {
    static const unsigned char masks[] = { 0, 0x7f, 0x1f, 0x0f, 0x07 };
    uint32_t c = at[0] & masks[len];
    for (size_t i = 1; i < len; i++)
        c = c << 6 | (at[i] & 0x3f);
    return c;
}

static size_t encode(uint32_t c, char *to) {
    size_t len = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    static const unsigned char leads[] = { 0, 0, 0xc0, 0xe0, 0xf0 };
    for (size_t i = len - 1; i > 0; i--) {
        to[i] = (char)(0x80 | (c & 0x3f));
        c >>= 6;
    }
    to[0] = (char)(leads[len] | c);
    return len;
}

static uint32_t map_case(const struct hk_relabel *relabel, uint32_t c, bool upper) {
    if (c < 0x80) {
        bool change = upper ? c >= 'a' && c <= 'z' : c >= 'A' && c <= 'Z';
        return change ? c ^ 0x20 : c;
    }
    if (relabel->utf8 == (locale_t)0) return c;
    wint_t mapped = upper ? towupper_l(c, relabel->utf8) : towlower_l(c, relabel->utf8);
    return mapped > 0x10ffff ? c : (uint32_t)mapped;
}

/* Text that is not UTF-8 is left as it is; finishing the set refuses it. */
static hk_err change_case(
    const struct hk_relabel *relabel, const struct rule *rule, struct hk_str value,
    struct hk_label_set *set, struct hk_arena *arena) {
    if (value.len > TEXT_BYTES_MAX) return HK_E_LIMIT;
    char *text = hk_arena_alloc_raw(arena, 2 * value.len + 1, 1); /* a mapping may grow by one */
    struct hk_str target = hk_arena_str(arena, rule->target);
    if (text == NULL || target.ptr == NULL) return HK_E_NOMEM;
    size_t len = 0;
    if (!hk_utf8_valid(value)) {
        memcpy(text, value.ptr, value.len);
        len = value.len;
    } else {
        for (size_t i = 0; i < value.len;) {
            const unsigned char *at = (const unsigned char *)value.ptr + i;
            size_t bytes = sequence_len(at[0]);
            len += encode(
                map_case(relabel, decode(at, bytes), rule->action == HK_RELABEL_UPPERCASE),
                text + len);
            i += bytes;
        }
    }
    hk_label_set_put(set, target, (struct hk_str){ text, len });
    return HK_OK;
}

/* HK_END = drop. */
static hk_err apply_rule(
    const struct hk_relabel *relabel, const struct rule *rule, struct hk_label_set *set,
    struct hk_arena *arena) {
    struct hk_str value;
    HK_TRY(join_sources(rule, set, arena, &value));
    switch (rule->action) {
    case HK_RELABEL_REPLACE:
        return replace(rule, value, set, arena);
    case HK_RELABEL_KEEP:
        return hk_regex_match(rule->regex, value) ? HK_OK : HK_END;
    case HK_RELABEL_DROP:
        return hk_regex_match(rule->regex, value) ? HK_END : HK_OK;
    case HK_RELABEL_KEEP_EQUAL:
        return hk_str_eq(hk_label_set_get(set, rule->target), value) ? HK_OK : HK_END;
    case HK_RELABEL_DROP_EQUAL:
        return hk_str_eq(hk_label_set_get(set, rule->target), value) ? HK_END : HK_OK;
    case HK_RELABEL_HASHMOD:
        return hashmod(relabel, rule, value, set, arena);
    case HK_RELABEL_LABEL_MAP:
        return label_map(rule, set, arena);
    case HK_RELABEL_LABEL_DROP:
        filter_names(rule, set, false);
        return HK_OK;
    case HK_RELABEL_LABEL_KEEP:
        filter_names(rule, set, true);
        return HK_OK;
    case HK_RELABEL_LOWERCASE:
    case HK_RELABEL_UPPERCASE:
        return change_case(relabel, rule, value, set, arena);
    case HK_RELABEL_ACTIONS:
    default:
        return HK_OK;
    }
}

hk_err hk_relabel_apply(
    const struct hk_relabel *relabel, struct hk_label_set *set, struct hk_arena *arena) {
    uint32_t count = hk_relabel_count(relabel);
    for (uint32_t i = 0; i < count; i++) {
        hk_err err = apply_rule(relabel, &relabel->rules[i], set, arena);
        if (err != HK_OK) return err;
        if (set->err < 0) return set->err;
    }
    return HK_OK;
}
