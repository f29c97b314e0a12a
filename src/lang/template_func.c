/* The functions of templates: Go's own and Prometheus'. */
#include "lang/template_internal.h"

#include "base/regex.h"

#include <arpa/inet.h>
#include <math.h>
#include <stdio.h>

enum { COST_REGEX = 500, COST_QUERY = 2000 };

typedef struct hk_template_value value_t;

#define ARGS   struct machine *machine, const value_t *args, uint32_t argc, value_t *out
#define UNUSED (void)machine, (void)args, (void)argc

/* --- Small helpers ---------------------------------------------------------------------------- */

static value_t make_text(struct hk_str text) {
    return (value_t){ .kind = HK_TEMPLATE_STRING, .as.text = text };
}

static value_t make_bool(bool truth) {
    return (value_t){ .kind = HK_TEMPLATE_BOOL, .as.boolean = truth };
}

static value_t make_int(int64_t integer) {
    return (value_t){ .kind = HK_TEMPLATE_INT, .as.integer = integer };
}

static value_t make_float(double number) {
    return (value_t){ .kind = HK_TEMPLATE_FLOAT, .as.number = number };
}

/* Moves a text that was built to the machine's arena; ends the buffer. */
static hk_err keep(struct machine *machine, struct hk_buf *built, value_t *out) {
    hk_err err = built->err;
    if (err >= 0) err = hk_template_charge(machine, built->len / 64);
    if (err >= 0) {
        struct hk_str copy = hk_arena_str(&machine->arena, hk_buf_get(built));
        if (copy.ptr == NULL) err = hk_fail(HK_E_LIMIT, "it needs too much memory");
        *out = make_text(copy);
    }
    hk_buf_deinit(built);
    return err;
}

static void begin(struct hk_buf *buf) {
    hk_buf_init(buf, HK_TEMPLATE_OUTPUT_BYTES_MAX);
}

static hk_err want_text(const value_t *value, struct hk_str *out) {
    if (value->kind != HK_TEMPLATE_STRING) {
        return hk_fail(
            HK_E_EXECUTION, "wrong type for value; expected string; got %s",
            hk_template_type_name(value));
    }
    *out = value->as.text;
    return HK_OK;
}

/* Number of a value as Prometheus' functions take it: also from text. */
static hk_err want_number(const value_t *value, double *out) {
    switch (value->kind) {
    case HK_TEMPLATE_FLOAT:
        *out = value->as.number;
        return HK_OK;
    case HK_TEMPLATE_INT:
        *out = (double)value->as.integer;
        return HK_OK;
    case HK_TEMPLATE_STRING:
        if (hk_parse_double(value->as.text, out) >= 0) return HK_OK;
        return hk_fail(
            HK_E_EXECUTION, "strconv.ParseFloat: parsing \"%.*s\": invalid syntax",
            HK_STR_ARG(hk_str_part(value->as.text, 0, 100)));
    case HK_TEMPLATE_BOOL:
    case HK_TEMPLATE_NIL:
    case HK_TEMPLATE_TIME:
    case HK_TEMPLATE_LIST:
    case HK_TEMPLATE_OBJECT:
    default:
        return hk_fail(HK_E_EXECUTION, "can't convert %s to float", hk_template_type_name(value));
    }
}

/* --- Logic and comparison --------------------------------------------------------------------- */

static hk_err fn_and(ARGS) {
    UNUSED;
    uint32_t i = 0;
    while (i + 1 < argc && hk_template_truth(&args[i]))
        i++;
    *out = args[i];
    return HK_OK;
}

static hk_err fn_or(ARGS) {
    UNUSED;
    uint32_t i = 0;
    while (i + 1 < argc && !hk_template_truth(&args[i]))
        i++;
    *out = args[i];
    return HK_OK;
}

static hk_err fn_not(ARGS) {
    UNUSED;
    *out = make_bool(!hk_template_truth(&args[0]));
    return HK_OK;
}

static bool is_basic(const value_t *value) {
    return value->kind != HK_TEMPLATE_LIST && value->kind != HK_TEMPLATE_OBJECT &&
           value->kind != HK_TEMPLATE_TIME;
}

static hk_err equal(const value_t *a, const value_t *b, bool *out) {
    if (!is_basic(a) || !is_basic(b)) return hk_fail(HK_E_EXECUTION, "non-comparable type");
    if (a->kind == HK_TEMPLATE_NIL || b->kind == HK_TEMPLATE_NIL) {
        *out = a->kind == b->kind;
        return HK_OK;
    }
    if (a->kind != b->kind) return hk_fail(HK_E_EXECUTION, "incompatible types for comparison");
    switch (a->kind) {
    case HK_TEMPLATE_BOOL:
        *out = a->as.boolean == b->as.boolean;
        return HK_OK;
    case HK_TEMPLATE_INT:
        *out = a->as.integer == b->as.integer;
        return HK_OK;
    case HK_TEMPLATE_FLOAT:
        *out = a->as.number == b->as.number;
        return HK_OK;
    case HK_TEMPLATE_STRING:
        *out = hk_str_eq(a->as.text, b->as.text);
        return HK_OK;
    case HK_TEMPLATE_NIL:
    case HK_TEMPLATE_LIST:
    case HK_TEMPLATE_OBJECT:
    case HK_TEMPLATE_TIME:
    default:
        return hk_fail(HK_E_EXECUTION, "non-comparable type");
    }
}

static hk_err fn_eq(ARGS) {
    (void)machine;
    bool same = false;
    for (uint32_t i = 1; i < argc && !same; i++)
        HK_TRY(equal(&args[0], &args[i], &same));
    *out = make_bool(same);
    return HK_OK;
}

static hk_err fn_ne(ARGS) {
    UNUSED;
    bool same = false;
    HK_TRY(equal(&args[0], &args[1], &same));
    *out = make_bool(!same);
    return HK_OK;
}

static hk_err less(const value_t *a, const value_t *b, bool *out) {
    bool ordered =
        a->kind == HK_TEMPLATE_INT || a->kind == HK_TEMPLATE_FLOAT || a->kind == HK_TEMPLATE_STRING;
    if (!ordered) return hk_fail(HK_E_EXECUTION, "invalid type for comparison");
    if (a->kind != b->kind) return hk_fail(HK_E_EXECUTION, "incompatible types for comparison");
    if (a->kind == HK_TEMPLATE_INT)
        *out = a->as.integer < b->as.integer;
    else if (a->kind == HK_TEMPLATE_FLOAT)
        *out = a->as.number < b->as.number;
    else
        *out = hk_str_cmp(a->as.text, b->as.text) < 0;
    return HK_OK;
}

static hk_err fn_lt(ARGS) {
    UNUSED;
    bool truth = false;
    HK_TRY(less(&args[0], &args[1], &truth));
    *out = make_bool(truth);
    return HK_OK;
}

/* Go defines a <= b as a < b or a == b, and a > b as the opposite of that: so NaN > 1 is true. */
static hk_err less_or_equal(const value_t *a, const value_t *b, bool *out) {
    HK_TRY(less(a, b, out));
    return *out ? HK_OK : equal(a, b, out);
}

static hk_err fn_le(ARGS) {
    UNUSED;
    bool truth = false;
    HK_TRY(less_or_equal(&args[0], &args[1], &truth));
    *out = make_bool(truth);
    return HK_OK;
}

static hk_err fn_gt(ARGS) {
    UNUSED;
    bool truth = false;
    HK_TRY(less_or_equal(&args[0], &args[1], &truth));
    *out = make_bool(!truth);
    return HK_OK;
}

static hk_err fn_ge(ARGS) {
    UNUSED;
    bool truth = false;
    HK_TRY(less(&args[0], &args[1], &truth));
    *out = make_bool(!truth);
    return HK_OK;
}

/* --- Containers ------------------------------------------------------------------------------- */

static hk_err fn_len(ARGS) {
    UNUSED;
    const value_t *value = &args[0];
    if (value->kind == HK_TEMPLATE_STRING)
        *out = make_int((int64_t)value->as.text.len);
    else if (value->kind == HK_TEMPLATE_LIST)
        *out = make_int(value->count);
    else if (value->kind == HK_TEMPLATE_OBJECT && value->type->is_map)
        *out = make_int(value->type->count(value->as.self));
    else
        return hk_fail(HK_E_EXECUTION, "len of type %s", hk_template_type_name(value));
    return HK_OK;
}

static hk_err index_one(const value_t *over, const value_t *index, value_t *out) {
    if (over->kind == HK_TEMPLATE_OBJECT && over->type->is_map) {
        struct hk_str key = { "", 0 };
        HK_TRY(want_text(index, &key));
        (void)over->type->get(over->as.self, key, out);
        return HK_OK;
    }
    bool text = over->kind == HK_TEMPLATE_STRING;
    if (!text && over->kind != HK_TEMPLATE_LIST) {
        return hk_fail(HK_E_EXECUTION, "can't index item of type %s", hk_template_type_name(over));
    }
    if (index->kind != HK_TEMPLATE_INT) {
        return hk_fail(
            HK_E_EXECUTION, "cannot index slice/array with type %s", hk_template_type_name(index));
    }
    int64_t at = index->as.integer;
    int64_t count = text ? (int64_t)over->as.text.len : (int64_t)over->count;
    if (at < 0 || at >= count)
        return hk_fail(HK_E_EXECUTION, "index out of range: %lld", (long long)at);
    *out = text ? make_int((unsigned char)over->as.text.ptr[at]) : over->as.items[at];
    return HK_OK;
}

static hk_err fn_index(ARGS) {
    (void)machine;
    value_t value = args[0];
    for (uint32_t i = 1; i < argc; i++) {
        value_t inner = { .kind = HK_TEMPLATE_NIL };
        HK_TRY(index_one(&value, &args[i], &inner));
        value = inner;
    }
    *out = value;
    return HK_OK;
}

static hk_err fn_slice(ARGS) {
    (void)machine;
    bool text = args[0].kind == HK_TEMPLATE_STRING;
    if (!text && args[0].kind != HK_TEMPLATE_LIST) {
        return hk_fail(
            HK_E_EXECUTION, "can't slice item of type %s", hk_template_type_name(&args[0]));
    }
    int64_t count = text ? (int64_t)args[0].as.text.len : (int64_t)args[0].count;
    int64_t bounds[2] = { 0, count };
    for (uint32_t i = 1; i < argc && i < 3; i++) {
        if (args[i].kind != HK_TEMPLATE_INT)
            return hk_fail(HK_E_EXECUTION, "cannot index slice/array with this type");
        bounds[i - 1] = args[i].as.integer;
    }
    if (bounds[0] < 0 || bounds[0] > bounds[1] || bounds[1] > count) {
        return hk_fail(
            HK_E_EXECUTION, "slice index out of range: %lld:%lld", (long long)bounds[0],
            (long long)bounds[1]);
    }
    *out = args[0];
    if (text) {
        out->as.text = hk_str_part(args[0].as.text, (size_t)bounds[0], (size_t)bounds[1]);
    } else {
        out->as.items = args[0].as.items + bounds[0];
        out->count = (uint32_t)(bounds[1] - bounds[0]);
    }
    return HK_OK;
}

/* Names arg0, arg1, … of the list that `args` made. */
struct argument_map {
    const value_t *items;
    uint32_t count;
};

static bool argument_get(const void *self, struct hk_str name, value_t *out) {
    const struct argument_map *map = self;
    uint64_t index = 0;
    *out = (value_t){ .kind = HK_TEMPLATE_NIL };
    if (!hk_str_starts(name, HK_STR("arg"))) return false;
    if (hk_parse_u64(hk_str_part(name, 3, name.len), &index) < 0 || index >= map->count)
        return false;
    *out = map->items[index];
    return true;
}

static uint32_t argument_count(const void *self) {
    const struct argument_map *map = self;
    return map->count;
}

static void argument_at(const void *self, uint32_t index, struct hk_str *key, value_t *out) {
    static const char names[HK_TEMPLATE_ARGUMENTS_MAX][6] = {
        "arg0",  "arg1",  "arg2",  "arg3",  "arg4",  "arg5",  "arg6",  "arg7",
        "arg8",  "arg9",  "arg10", "arg11", "arg12", "arg13", "arg14", "arg15",
        "arg16", "arg17", "arg18", "arg19", "arg20", "arg21", "arg22", "arg23",
        "arg24", "arg25", "arg26", "arg27", "arg28", "arg29", "arg30", "arg31",
    };
    const struct argument_map *map = self;
    *key = hk_str_from(names[index]);
    *out = map->items[index];
}

static const struct hk_template_type argument_type = {
    .name = "map[string]interface {}",
    .is_map = true,
    .get = argument_get,
    .count = argument_count,
    .at = argument_at,
};

static hk_err fn_args(ARGS) {
    struct argument_map *map = hk_arena_alloc(&machine->arena, 1, sizeof(*map));
    value_t *items = hk_arena_alloc(&machine->arena, argc == 0 ? 1 : argc, sizeof(*items));
    if (map == NULL || items == NULL) return HK_E_NOMEM;
    if (argc > 0) memcpy(items, args, argc * sizeof(*items));
    *map = (struct argument_map){ items, argc };
    *out = (value_t){ .kind = HK_TEMPLATE_OBJECT, .as.self = map, .type = &argument_type };
    return hk_template_charge(machine, 4);
}

/* --- Text ------------------------------------------------------------------------------------- */

static hk_err fn_print(ARGS) {
    struct hk_buf text;
    begin(&text);
    for (uint32_t i = 0; i < argc; i++) {
        bool space =
            i > 0 && args[i].kind != HK_TEMPLATE_STRING && args[i - 1].kind != HK_TEMPLATE_STRING;
        if (space) hk_buf_char(&text, ' ');
        hk_template_print(&args[i], &text);
    }
    return keep(machine, &text, out);
}

static hk_err fn_println(ARGS) {
    struct hk_buf text;
    begin(&text);
    for (uint32_t i = 0; i < argc; i++) {
        if (i > 0) hk_buf_char(&text, ' ');
        hk_template_print(&args[i], &text);
    }
    hk_buf_char(&text, '\n');
    return keep(machine, &text, out);
}

static hk_err fn_printf(ARGS) {
    struct hk_str format = { "", 0 };
    HK_TRY(want_text(&args[0], &format));
    struct hk_buf text;
    begin(&text);
    hk_template_printf(format, args + 1, argc - 1, &text);
    return keep(machine, &text, out);
}

static hk_err fn_html(ARGS) {
    value_t printed;
    HK_TRY(fn_print(machine, args, argc, &printed));
    struct hk_buf text;
    begin(&text);
    for (size_t i = 0; i < printed.as.text.len; i++) {
        char c = printed.as.text.ptr[i];
        const char *escaped = c == '<'    ? "&lt;"
                              : c == '>'  ? "&gt;"
                              : c == '&'  ? "&amp;"
                              : c == '\'' ? "&#39;"
                              : c == '"'  ? "&#34;"
                              : c == 0    ? "\xef\xbf\xbd"
                                          : NULL;
        if (escaped != NULL)
            hk_buf_text(&text, escaped);
        else
            hk_buf_char(&text, c);
    }
    return keep(machine, &text, out);
}

static void put_query_escaped(struct hk_str from, struct hk_buf *to) {
    for (size_t i = 0; i < from.len; i++) {
        char c = from.ptr[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                     c == '-' || c == '_' || c == '.' || c == '~';
        if (plain)
            hk_buf_char(to, c);
        else if (c == ' ')
            hk_buf_char(to, '+');
        else
            hk_buf_printf(to, "%%%02X", (unsigned)(unsigned char)c);
    }
}

static hk_err fn_urlquery(ARGS) {
    value_t printed;
    HK_TRY(fn_print(machine, args, argc, &printed));
    struct hk_buf text;
    begin(&text);
    put_query_escaped(printed.as.text, &text);
    return keep(machine, &text, out);
}

static hk_err fn_safe_html(ARGS) {
    UNUSED;
    struct hk_str text = { "", 0 };
    HK_TRY(want_text(&args[0], &text));
    *out = args[0];
    return HK_OK;
}

static hk_err
change_case(struct machine *machine, const value_t *arg, bool up, bool title, value_t *out) {
    struct hk_str from = { "", 0 };
    HK_TRY(want_text(arg, &from));
    struct hk_buf text;
    begin(&text);
    hk_template_case(from, up, title, &text);
    return keep(machine, &text, out);
}

static hk_err fn_title(ARGS) {
    (void)argc;
    return change_case(machine, args, true, true, out);
}

static hk_err fn_to_upper(ARGS) {
    (void)argc;
    return change_case(machine, args, true, false, out);
}

static hk_err fn_to_lower(ARGS) {
    (void)argc;
    return change_case(machine, args, false, false, out);
}

static hk_err compile(struct machine *machine, const value_t *pattern, struct hk_regex **out) {
    struct hk_str text = { "", 0 };
    HK_TRY(want_text(pattern, &text));
    HK_TRY(hk_template_charge(machine, COST_REGEX + text.len));
    /* In Go `.` does not match a newline unless the pattern says so; here it does by default. */
    struct hk_buf wrapped;
    hk_buf_init(&wrapped, text.len + 32);
    hk_buf_text(&wrapped, "(?-s:");
    hk_buf_str(&wrapped, text);
    hk_buf_char(&wrapped, ')');
    hk_err err = wrapped.err;
    if (err >= 0) err = hk_regex_create(hk_buf_get(&wrapped), out);
    hk_buf_deinit(&wrapped);
    if (err < 0) {
        char why[256];
        (void)snprintf(why, sizeof(why), "%s", hk_fail_text());
        return hk_fail(
            HK_E_EXECUTION, "regexp: Compile(`%.*s`): %s", HK_STR_ARG(hk_str_part(text, 0, 200)),
            why);
    }
    return HK_OK;
}

/* One $… of a replacement at `*at`; false: the dollar stands for itself. */
static bool put_reference(
    const struct hk_regex *regex, struct hk_str text, size_t *at, const struct hk_str *groups,
    struct hk_buf *out) {
    size_t from = *at + 1;
    bool braces = from < text.len && text.ptr[from] == '{';
    from += braces ? 1 : 0;
    size_t end = from;
    while (end < text.len) {
        char c = text.ptr[end];
        bool word =
            (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
        if (!word) break;
        end++;
    }
    if (end == from || (braces && (end >= text.len || text.ptr[end] != '}'))) return false;
    struct hk_str name = hk_str_part(text, from, end);
    uint64_t number = HK_REGEX_GROUPS_MAX;
    if (hk_parse_u64(name, &number) < 0) {
        int named = hk_regex_group_named(regex, name);
        number = named < 0 ? HK_REGEX_GROUPS_MAX : (uint64_t)named;
    }
    if (number < HK_REGEX_GROUPS_MAX && groups[number].ptr != NULL) hk_buf_str(out, groups[number]);
    *at = end + (braces ? 1 : 0);
    return true;
}

static void put_replacement(
    const struct hk_regex *regex, struct hk_str text, const struct hk_str *groups,
    struct hk_buf *out) {
    size_t at = 0;
    while (at < text.len) {
        size_t dollar = hk_str_find(text, '$', at);
        hk_buf_str(out, hk_str_part(text, at, dollar));
        at = dollar;
        if (at == text.len) return;
        if (at + 1 < text.len && text.ptr[at + 1] == '$') {
            hk_buf_char(out, '$');
            at += 2;
        } else if (!put_reference(regex, text, &at, groups, out)) {
            hk_buf_char(out, '$');
            at++;
        }
    }
}

static hk_err replace_all(
    struct machine *machine, const struct hk_regex *regex, struct hk_str with, struct hk_str text,
    struct hk_buf *out) {
    size_t copied = 0;
    size_t from = 0;
    struct hk_str groups[HK_REGEX_GROUPS_MAX];
    while (from <= text.len && out->err >= 0) {
        if (!hk_regex_search(regex, text, from, groups, HK_REGEX_GROUPS_MAX)) break;
        size_t start = (size_t)(groups[0].ptr - text.ptr);
        size_t end = start + groups[0].len;
        HK_TRY(hk_template_charge(machine, 4 + (end - from) / 16));
        hk_buf_str(out, hk_str_part(text, copied, start));
        /* An empty match right behind the former match does not count. */
        bool counts = groups[0].len > 0 || start > copied || start == 0 || copied == 0;
        if (counts) put_replacement(regex, with, groups, out);
        copied = end;
        from = end;
        if (groups[0].len == 0) {
            do
                from++;
            while (from < text.len && (text.ptr[from] & 0xc0) == 0x80);
        }
    }
    hk_buf_str(out, hk_str_part(text, copied, text.len));
    return HK_OK;
}

static hk_err fn_replace(ARGS) {
    (void)argc;
    struct hk_str with = { "", 0 };
    struct hk_str text = { "", 0 };
    struct hk_regex *regex = NULL;
    HK_TRY(want_text(&args[1], &with));
    HK_TRY(want_text(&args[2], &text));
    HK_TRY(compile(machine, &args[0], &regex));
    struct hk_buf built;
    begin(&built);
    hk_err err = replace_all(machine, regex, with, text, &built);
    hk_regex_destroy(regex);
    if (err >= 0) return keep(machine, &built, out);
    hk_buf_deinit(&built);
    return err;
}

static hk_err fn_match(ARGS) {
    (void)argc;
    struct hk_str text = { "", 0 };
    struct hk_regex *regex = NULL;
    struct hk_str groups[1];
    HK_TRY(want_text(&args[1], &text));
    HK_TRY(compile(machine, &args[0], &regex));
    *out = make_bool(hk_regex_search(regex, text, 0, groups, 1));
    hk_regex_destroy(regex);
    return hk_template_charge(machine, text.len / 16);
}

/* Go's net.SplitHostPort; false: `text` has no port. */
static bool split_host_port(struct hk_str text, struct hk_str *host, struct hk_str *port) {
    size_t colon = text.len;
    while (colon > 0 && text.ptr[colon - 1] != ':')
        colon--;
    if (colon == 0) return false;
    *port = hk_str_part(text, colon, text.len);
    struct hk_str before = hk_str_part(text, 0, colon - 1);
    if (before.len > 0 && before.ptr[0] == '[') {
        size_t close = hk_str_find(before, ']', 0);
        if (close + 1 != before.len) return false;
        *host = hk_str_part(before, 1, close);
    } else {
        *host = before;
        if (hk_str_find(before, ':', 0) < before.len) return false;
    }
    bool stray = hk_str_find(*host, '[', 0) < host->len || hk_str_find(*host, ']', 0) < host->len;
    return !stray;
}

static hk_err fn_strip_port(ARGS) {
    UNUSED;
    struct hk_str text = { "", 0 };
    struct hk_str host = { "", 0 };
    struct hk_str port = { "", 0 };
    HK_TRY(want_text(&args[0], &text));
    *out = make_text(split_host_port(text, &host, &port) ? host : text);
    return HK_OK;
}

static bool is_address(struct hk_str text) {
    char copy[INET6_ADDRSTRLEN + 1];
    unsigned char address[16];
    if (text.len >= sizeof(copy)) return false;
    if (text.len > 0) memcpy(copy, text.ptr, text.len);
    copy[text.len] = 0;
    return inet_pton(AF_INET, copy, address) == 1 || inet_pton(AF_INET6, copy, address) == 1;
}

static hk_err fn_strip_domain(ARGS) {
    (void)argc;
    struct hk_str text = { "", 0 };
    struct hk_str host = { "", 0 };
    struct hk_str port = { "", 0 };
    HK_TRY(want_text(&args[0], &text));
    if (!split_host_port(text, &host, &port)) {
        host = text;
        port.len = 0;
    }
    *out = make_text(text);
    if (is_address(host)) return HK_OK;
    host = hk_str_part(host, 0, hk_str_find(host, '.', 0));
    *out = make_text(host);
    if (port.len == 0) return HK_OK;
    struct hk_buf joined;
    begin(&joined);
    hk_buf_str(&joined, host);
    hk_buf_char(&joined, ':');
    hk_buf_str(&joined, port);
    return keep(machine, &joined, out);
}

/* --- Numbers and times ------------------------------------------------------------------------ */

static hk_err humanized(
    struct machine *machine, const value_t *arg, void (*put)(double, struct hk_buf *),
    value_t *out) {
    double number = 0;
    HK_TRY(want_number(arg, &number));
    struct hk_buf text;
    begin(&text);
    put(number, &text);
    return keep(machine, &text, out);
}

static hk_err fn_humanize(ARGS) {
    (void)argc;
    return humanized(machine, args, hk_humanize, out);
}

static hk_err fn_humanize_1024(ARGS) {
    (void)argc;
    return humanized(machine, args, hk_humanize_1024, out);
}

static hk_err fn_humanize_duration(ARGS) {
    (void)argc;
    return humanized(machine, args, hk_humanize_duration, out);
}

static void put_percentage(double number, struct hk_buf *out) {
    value_t value = make_float(number * 100);
    hk_template_printf(HK_STR("%.4g%%"), &value, 1, out);
}

static hk_err fn_humanize_percentage(ARGS) {
    (void)argc;
    return humanized(machine, args, put_percentage, out);
}

static hk_err to_time(double seconds, int64_t *out_ms) {
    double ns = seconds * 1e9;
    if (isnan(ns) || ns > 9223372036854774784.0 || ns < -9223372036854775808.0) {
        struct hk_buf text;
        hk_buf_init(&text, 64);
        hk_template_float(seconds, &text);
        hk_err err = hk_fail(
            HK_E_EXECUTION,
            "%.*s cannot be represented as a nanoseconds timestamp since it overflows int64",
            HK_STR_ARG(hk_buf_get(&text)));
        hk_buf_deinit(&text);
        return err;
    }
    *out_ms = (int64_t)ns / 1000000;
    return HK_OK;
}

static hk_err fn_humanize_timestamp(ARGS) {
    (void)argc;
    double number = 0;
    int64_t ms = 0;
    HK_TRY(want_number(&args[0], &number));
    struct hk_buf text;
    begin(&text);
    if (isnan(number) || isinf(number)) {
        value_t value = make_float(number);
        hk_template_printf(HK_STR("%.4g"), &value, 1, &text);
        return keep(machine, &text, out);
    }
    HK_TRY(to_time(number, &ms));
    hk_template_time_text(ms, &text);
    return keep(machine, &text, out);
}

static hk_err fn_to_time(ARGS) {
    UNUSED;
    double number = 0;
    int64_t ms = 0;
    HK_TRY(want_number(&args[0], &number));
    HK_TRY(to_time(number, &ms));
    *out = (value_t){ .kind = HK_TEMPLATE_TIME, .as.integer = ms };
    return HK_OK;
}

static hk_err fn_now(ARGS) {
    UNUSED;
    *out = make_float((double)machine->data->now_ms / 1000);
    return HK_OK;
}

/* Seconds as Go prints a time.Duration: 1h30m0s, 1.5s, 200ms. */
static void put_duration(double seconds, struct hk_buf *out) {
    double size = fabs(seconds);
    if (size == 0) {
        hk_buf_text(out, "0s");
        return;
    }
    if (seconds < 0) hk_buf_char(out, '-');
    if (size < 1) {
        static const char *const units[] = { "ms", "µs", "ns" };
        size_t unit = size >= 1e-3 ? 0 : size >= 1e-6 ? 1 : 2;
        hk_buf_double(out, round(size * 1e9) / (unit == 0 ? 1e6 : unit == 1 ? 1e3 : 1));
        hk_buf_text(out, units[unit]);
        return;
    }
    if (!(size < 9.2e9)) size = 9.2e9; /* int64 nanoseconds */
    long long minutes = (long long)(size / 60);
    if (minutes >= 60) hk_buf_printf(out, "%lldh", minutes / 60);
    if (minutes > 0) hk_buf_printf(out, "%lldm", minutes % 60);
    hk_buf_double(out, round((size - (double)minutes * 60) * 1e9) / 1e9);
    hk_buf_char(out, 's');
}

static hk_err fn_to_duration(ARGS) {
    (void)argc;
    return humanized(machine, args, put_duration, out);
}

static hk_err fn_parse_duration(ARGS) {
    UNUSED;
    struct hk_str text = { "", 0 };
    int64_t ms = 0;
    HK_TRY(want_text(&args[0], &text));
    if (hk_parse_duration_ms(text, &ms) < 0) {
        return hk_fail(
            HK_E_EXECUTION, "not a valid duration string: \"%.*s\"",
            HK_STR_ARG(hk_str_part(text, 0, 100)));
    }
    *out = make_float((double)ms / 1000);
    return HK_OK;
}

/* --- Surroundings ----------------------------------------------------------------------------- */

static hk_err fn_external_url(ARGS) {
    UNUSED;
    *out = make_text(machine->data->external_url);
    return HK_OK;
}

static hk_err fn_path_prefix(ARGS) {
    UNUSED;
    struct hk_str url = machine->data->external_url;
    size_t start = 0;
    while (start + 2 < url.len && memcmp(url.ptr + start, "://", 3) != 0)
        start++;
    size_t path = start + 2 < url.len ? hk_str_find(url, '/', start + 3) : hk_str_find(url, '/', 0);
    size_t end = path;
    while (end < url.len && url.ptr[end] != '?' && url.ptr[end] != '#')
        end++;
    *out = make_text(hk_str_part(url, path, end));
    return HK_OK;
}

static hk_err link_to(struct machine *machine, const value_t *arg, const char *tab, value_t *out) {
    struct hk_str expr = { "", 0 };
    HK_TRY(want_text(arg, &expr));
    struct hk_buf text;
    begin(&text);
    hk_buf_text(&text, "/graph?g0.expr=");
    put_query_escaped(expr, &text);
    hk_buf_text(&text, tab);
    return keep(machine, &text, out);
}

static hk_err fn_graph_link(ARGS) {
    (void)argc;
    return link_to(machine, args, "&g0.tab=0", out);
}

static hk_err fn_table_link(ARGS) {
    (void)argc;
    return link_to(machine, args, "&g0.tab=1", out);
}

/* --- Query results ---------------------------------------------------------------------------- */

static bool sample_get(const void *self, struct hk_str name, value_t *out) {
    const struct hk_template_sample *sample = self;
    if (hk_str_is(name, "Labels")) {
        *out = (value_t){ .kind = HK_TEMPLATE_OBJECT,
                          .as.self = &sample->labels,
                          .type = &hk_template_type_labels };
        return true;
    }
    if (!hk_str_is(name, "Value")) return false;
    *out = make_float(sample->value);
    return true;
}

static const struct hk_template_type sample_type = { .name = "*template.sample",
                                                     .get = sample_get };

static const struct hk_template_sample no_sample;

static hk_err want_sample(const value_t *value, const struct hk_template_sample **out) {
    if (value->kind != HK_TEMPLATE_OBJECT || value->type != &sample_type) {
        return hk_fail(
            HK_E_EXECUTION, "wrong type for value; expected *template.sample; got %s",
            hk_template_type_name(value));
    }
    *out = value->as.self;
    return HK_OK;
}

static hk_err fn_query(ARGS) {
    (void)argc;
    struct hk_str expr = { "", 0 };
    struct hk_template_sample *samples = NULL;
    uint32_t count = 0;
    HK_TRY(want_text(&args[0], &expr));
    if (machine->data->query == NULL)
        return hk_fail(HK_E_UNSUPPORTED, "queries are not possible here");
    HK_TRY(hk_template_charge(machine, COST_QUERY));
    HK_TRY(machine->data->query(
        machine->data->query_self, expr, machine->data->now_ms, &machine->arena, &samples, &count));
    HK_TRY(hk_template_charge(machine, count));
    value_t *items = hk_arena_alloc(&machine->arena, count == 0 ? 1 : count, sizeof(*items));
    if (items == NULL) return HK_E_NOMEM;
    for (uint32_t i = 0; i < count; i++) {
        items[i] =
            (value_t){ .kind = HK_TEMPLATE_OBJECT, .as.self = &samples[i], .type = &sample_type };
    }
    *out = (value_t){ .kind = HK_TEMPLATE_LIST, .count = count, .as.items = items };
    return HK_OK;
}

static hk_err fn_first(ARGS) {
    UNUSED;
    if (args[0].kind != HK_TEMPLATE_LIST) {
        return hk_fail(
            HK_E_EXECUTION, "wrong type for value; expected template.queryResult; got %s",
            hk_template_type_name(&args[0]));
    }
    if (args[0].count == 0)
        return hk_fail(HK_E_EXECUTION, "first() called on vector with no elements");
    *out = args[0].as.items[0];
    return HK_OK;
}

static hk_err fn_label(ARGS) {
    UNUSED;
    struct hk_str name = { "", 0 };
    const struct hk_template_sample *sample = &no_sample;
    HK_TRY(want_text(&args[0], &name));
    HK_TRY(want_sample(&args[1], &sample));
    *out = make_text(hk_labels_get(sample->labels, name));
    return HK_OK;
}

static hk_err fn_value(ARGS) {
    UNUSED;
    const struct hk_template_sample *sample = &no_sample;
    HK_TRY(want_sample(&args[0], &sample));
    *out = make_float(sample->value);
    return HK_OK;
}

static hk_err fn_strvalue(ARGS) {
    UNUSED;
    const struct hk_template_sample *sample = &no_sample;
    HK_TRY(want_sample(&args[0], &sample));
    *out = make_text(hk_labels_get(sample->labels, HK_STR("__value__")));
    return HK_OK;
}

/* Bottom-up merge sort: stable, bounded, without recursion. */
static void sort_by_label(value_t *items, value_t *spare, uint32_t count, struct hk_str name) {
    for (uint32_t width = 1; width < count; width *= 2) {
        for (uint32_t start = 0; start < count; start += 2 * width) {
            uint32_t middle = count - start < width ? count : start + width;
            uint32_t end = count - start < 2 * width ? count : start + 2 * width;
            uint32_t a = start;
            uint32_t b = middle;
            for (uint32_t i = start; i < end; i++) {
                const struct hk_template_sample *left = a < middle ? items[a].as.self : NULL;
                const struct hk_template_sample *right = b < end ? items[b].as.self : NULL;
                bool take_right =
                    left == NULL || (right != NULL && hk_str_cmp(
                                                          hk_labels_get(right->labels, name),
                                                          hk_labels_get(left->labels, name)) < 0);
                spare[i] = take_right ? items[b++] : items[a++];
            }
        }
        memcpy(items, spare, count * sizeof(*items));
    }
}

static hk_err fn_sort_by_label(ARGS) {
    (void)argc;
    struct hk_str name = { "", 0 };
    HK_TRY(want_text(&args[0], &name));
    uint32_t count = args[1].count;
    const struct hk_template_sample *sample = &no_sample;
    if (args[1].kind != HK_TEMPLATE_LIST)
        return hk_fail(HK_E_EXECUTION, "wrong type for value; expected template.queryResult");
    for (uint32_t i = 0; i < count; i++)
        HK_TRY(want_sample(&args[1].as.items[i], &sample));
    value_t *items = hk_arena_alloc(&machine->arena, count == 0 ? 1 : count, 2 * sizeof(*items));
    if (items == NULL) return HK_E_NOMEM;
    if (count > 0) memcpy(items, args[1].as.items, count * sizeof(*items));
    sort_by_label(items, items + count, count, name);
    *out = (value_t){ .kind = HK_TEMPLATE_LIST, .count = count, .as.items = items };
    return hk_template_charge(machine, (uint64_t)count * 16);
}

/* --- Methods of times ------------------------------------------------------------------------- */

hk_err hk_template_method(
    struct machine *machine, const value_t *self, struct hk_str name, const value_t *args,
    uint32_t argc, value_t *out) {
    static const struct {
        const char *name;
        char part;
    } parts[] = { { "Year", 'y' },   { "Day", 'd' },    { "Hour", 'h' },
                  { "Minute", 'M' }, { "Second", 's' }, { "YearDay", 'D' } };
    int64_t at = self->as.integer;
    bool format = hk_str_is(name, "Format");
    bool text = format || hk_str_is(name, "String");
    if (argc != (format ? 1U : 0U)) return hk_fail(HK_E_EXECUTION, "wrong number of args");
    for (size_t i = 0; i < HK_COUNT(parts); i++) {
        if (!hk_str_is(name, parts[i].name)) continue;
        *out = make_int(hk_template_time_part(at, parts[i].part));
        return HK_OK;
    }
    if (text) {
        struct hk_str layout = HK_STR("2006-01-02 15:04:05.999 -0700 MST");
        struct hk_buf built;
        if (format) HK_TRY(want_text(&args[0], &layout));
        begin(&built);
        hk_template_time_format(at, layout, &built);
        return keep(machine, &built, out);
    }
    if (hk_str_is(name, "Unix"))
        *out = make_int(at / 1000 - (at % 1000 < 0));
    else if (hk_str_is(name, "UnixMilli"))
        *out = make_int(at);
    else if (hk_str_is(name, "Month"))
        *out = make_text(hk_str_from(hk_template_month(hk_template_time_part(at, 'm'))));
    else if (hk_str_is(name, "Weekday"))
        *out = make_text(hk_str_from(hk_template_weekday(hk_template_time_part(at, 'w'))));
    else if (hk_str_is(name, "UTC"))
        *out = *self;
    else
        return HK_E_NOT_FOUND;
    return HK_OK;
}

/* --- Table ------------------------------------------------------------------------------------ */

enum { MANY = HK_TEMPLATE_ARGUMENTS_MAX };

static const struct template_function functions[] = {
    { "and", 1, MANY, fn_and },
    { "args", 0, MANY, fn_args },
    { "eq", 2, MANY, fn_eq },
    { "externalURL", 0, 0, fn_external_url },
    { "first", 1, 1, fn_first },
    { "ge", 2, 2, fn_ge },
    { "graphLink", 1, 1, fn_graph_link },
    { "gt", 2, 2, fn_gt },
    { "html", 1, MANY, fn_html },
    { "humanize", 1, 1, fn_humanize },
    { "humanize1024", 1, 1, fn_humanize_1024 },
    { "humanizeDuration", 1, 1, fn_humanize_duration },
    { "humanizePercentage", 1, 1, fn_humanize_percentage },
    { "humanizeTimestamp", 1, 1, fn_humanize_timestamp },
    { "index", 1, MANY, fn_index },
    { "label", 2, 2, fn_label },
    { "le", 2, 2, fn_le },
    { "len", 1, 1, fn_len },
    { "lt", 2, 2, fn_lt },
    { "match", 2, 2, fn_match },
    { "ne", 2, 2, fn_ne },
    { "not", 1, 1, fn_not },
    { "now", 0, 0, fn_now },
    { "or", 1, MANY, fn_or },
    { "parseDuration", 1, 1, fn_parse_duration },
    { "pathPrefix", 0, 0, fn_path_prefix },
    { "print", 0, MANY, fn_print },
    { "printf", 1, MANY, fn_printf },
    { "println", 0, MANY, fn_println },
    { "query", 1, 1, fn_query },
    { "reReplaceAll", 3, 3, fn_replace },
    { "safeHtml", 1, 1, fn_safe_html },
    { "slice", 1, 3, fn_slice },
    { "sortByLabel", 2, 2, fn_sort_by_label },
    { "stripDomain", 1, 1, fn_strip_domain },
    { "stripPort", 1, 1, fn_strip_port },
    { "strvalue", 1, 1, fn_strvalue },
    { "tableLink", 1, 1, fn_table_link },
    { "title", 1, 1, fn_title },
    { "toDuration", 1, 1, fn_to_duration },
    { "toLower", 1, 1, fn_to_lower },
    { "toTime", 1, 1, fn_to_time },
    { "toUpper", 1, 1, fn_to_upper },
    { "urlQueryEscape", 1, 1, fn_urlquery },
    { "urlquery", 1, MANY, fn_urlquery },
    { "value", 1, 1, fn_value },
};

int hk_template_function_find(struct hk_str name) {
    for (size_t i = 0; i < HK_COUNT(functions); i++) {
        if (hk_str_is(name, functions[i].name)) return (int)i;
    }
    return -1;
}

const struct template_function *hk_template_function_get(uint32_t index) {
    return &functions[index];
}
