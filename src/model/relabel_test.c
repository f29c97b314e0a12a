/* Goal: each action, default and check of Prometheus' relabel_config, row by row. */
#include "model/relabel.h"

#include "base/regex.h"
#include "hk_test.h"

/* One rule on one label set; labels are "name=value" joined by ' '. */
struct row {
    const char *action, *sources, *separator, *regex, *target, *replacement;
    uint64_t modulus;
    const char *before, *after; /* after NULL: dropped */
};

static const struct row rows[] = {
    /* replace and its defaults */
    { .sources = "a",
      .target = "d",
      .regex = "f(.*)",
      .replacement = "ch${1}-ch${1}",
      .before = "a=foo b=bar",
      .after = "a=foo b=bar d=choo-choo" },
    { .sources = "a", .target = "b", .before = "a=x", .after = "a=x b=x" },
    { .sources = "a,b", .target = "c", .before = "a=1 b=2", .after = "a=1 b=2 c=1;2" },
    { .sources = "a,none,b",
      .separator = "",
      .target = "c",
      .before = "a=1 b=2",
      .after = "a=1 b=2 c=12" },
    { .sources = "a", .regex = "oo", .target = "b", .before = "a=foo", .after = "a=foo" },
    { .sources = "a", .regex = ".*", .target = "b", .before = "a=foo b=x", .after = "a=foo" },
    { .target = "b", .replacement = "static", .before = "a=1", .after = "a=1 b=static" },
    { .target = "a", .replacement = "", .before = "a=1 b=2", .after = "b=2" },
    { .sources = "a",
      .regex = "(?P<x>.)(?P<y>.*)",
      .target = "__$y",
      .replacement = "$x$$${y}z$yz",
      .before = "a=foo",
      .after = "__oo=f$ooz a=foo" },
    { .sources = "a",
      .regex = "(.)(.)?",
      .target = "b",
      .replacement = "<$1$2$3>",
      .before = "a=f",
      .after = "a=f b=<f>" },
    { .sources = "none", .target = "${1}", .replacement = "x", .before = "a=1", .after = "a=1" },
    { .sources = "a", .target = "b", .replacement = "$1x", .before = "a=1 b=2", .after = "a=1" },
    { .action = "Replace",
      .sources = "a",
      .target = "b",
      .replacement = "$ ${ ${1 $",
      .before = "a=1",
      .after = "a=1 b=$_${_${1_$" },
    /* keep, drop and their equal forms */
    { .action = "keep", .sources = "a", .regex = "f.*", .before = "a=foo", .after = "a=foo" },
    { .action = "keep", .sources = "a", .regex = "f", .before = "a=foo", .after = NULL },
    { .action = "drop", .sources = "a", .regex = "f.*", .before = "a=foo", .after = NULL },
    { .action = "drop", .sources = "a", .regex = "x|y", .before = "a=foo", .after = "a=foo" },
    { .action = "drop", .sources = "none", .regex = "", .before = "a=foo", .after = NULL },
    { .action = "keepequal",
      .sources = "a",
      .target = "b",
      .before = "a=1 b=1",
      .after = "a=1 b=1" },
    { .action = "keepequal", .sources = "a", .target = "b", .before = "a=1 b=2", .after = NULL },
    { .action = "dropequal", .sources = "a", .target = "b", .before = "a=1 b=1", .after = NULL },
    { .action = "dropequal", .sources = "a", .target = "b", .before = "a=1", .after = "a=1" },
    /* hashmod: the last eight bytes of MD5 */
    { .action = "hashmod",
      .sources = "c",
      .target = "d",
      .modulus = 1000,
      .before = "a=foo b=bar c=baz",
      .after = "a=foo b=bar c=baz d=976" },
    { .action = "hashmod",
      .sources = "a",
      .target = "d",
      .modulus = 1,
      .before = "a=foo",
      .after = "a=foo d=0" },
    { .action = "hashmod",
      .sources = "a",
      .target = "d",
      .modulus = 1000,
      .before = "a=foo\nbar",
      .after = "a=foo\nbar d=734" },
    /* names */
    { .action = "labelmap",
      .regex = "(b.*)",
      .replacement = "x_$1",
      .before = "a=1 b1=2 b2=3",
      .after = "a=1 b1=2 b2=3 x_b1=2 x_b2=3" },
    { .action = "labelmap",
      .regex = "meta_(ng.*)",
      .before = "a=1 meta_ng_x=2",
      .after = "a=1 meta_ng_x=2 ng_x=2" },
    { .action = "labelmap",
      .regex = "b.",
      .replacement = "z",
      .before = "b2=2 b1=1",
      .after = "b1=1 b2=2 z=2" },
    { .action = "labeldrop", .regex = "b.*", .before = "a=1 b1=2 b2=3", .after = "a=1" },
    { .action = "labelkeep", .regex = "b.*", .before = "a=1 b1=2 b2=3", .after = "b1=2 b2=3" },
    /* case */
    { .action = "lowercase",
      .sources = "a",
      .target = "b",
      .before = "a=FoO-\xc3\x84\xd0\x96",
      .after = "a=FoO-\xc3\x84\xd0\x96 b=foo-\xc3\xa4\xd0\xb6" },
    { .action = "uppercase",
      .sources = "a,b",
      .target = "a",
      .before = "a=x b=\xc3\xa9",
      .after = "a=X;\xc3\x89 b=\xc3\xa9" },
    { .action = "lowercase",
      .sources = "none",
      .target = "a",
      .before = "a=x b=y",
      .after = "b=y" },
};

static uint32_t split(const char *text, char separator, struct hk_str *out, uint32_t max) {
    uint32_t count = 0;
    struct hk_str rest = hk_str_from(text);
    for (size_t at = 0; at < rest.len && count < max;) {
        size_t end = hk_str_find(rest, separator, at);
        out[count++] = hk_str_part(rest, at, end);
        at = end + 1;
    }
    return count;
}

static void read_set(const char *text, struct hk_label_set *set) {
    struct hk_str parts[16];
    uint32_t count = split(text, ' ', parts, HK_COUNT(parts));
    hk_label_set_clear(set);
    for (uint32_t i = 0; i < count; i++) {
        size_t equal = hk_str_find(parts[i], '=', 0);
        hk_label_set_add(
            set, hk_str_part(parts[i], 0, equal), hk_str_part(parts[i], equal + 1, parts[i].len));
    }
}

static struct hk_str write_set(struct hk_label_set *set, struct hk_arena *arena) {
    struct hk_labels labels;
    if (hk_label_set_finish(set, &labels) < 0) return HK_STR("broken");
    struct hk_buf out;
    hk_buf_init(&out, 4096);
    for (uint32_t i = 0; i < labels.count; i++) {
        if (i > 0) hk_buf_char(&out, ' ');
        hk_buf_str(&out, labels.items[i].name);
        hk_buf_char(&out, '=');
        for (size_t k = 0; k < labels.items[i].value.len; k++) {
            char c = labels.items[i].value.ptr[k];
            hk_buf_char(&out, c == ' ' ? '_' : c);
        }
    }
    struct hk_str copy = hk_arena_str(arena, hk_buf_get(&out));
    hk_buf_deinit(&out);
    return copy;
}

static struct hk_str optional(const char *text) {
    return text == NULL ? (struct hk_str){ NULL, 0 } : hk_str_from(text);
}

static struct hk_relabel_config config_of(const struct row *row, struct hk_str *sources) {
    enum hk_relabel_action action = HK_RELABEL_REPLACE;
    if (row->action != NULL && !hk_relabel_action_find(hk_str_from(row->action), &action))
        action = HK_RELABEL_ACTIONS;
    return (struct hk_relabel_config){
        .action = action,
        .source_labels = sources,
        .source_label_count = row->sources == NULL ? 0 : split(row->sources, ',', sources, 8),
        .separator = optional(row->separator),
        .regex = optional(row->regex),
        .target_label = optional(row->target),
        .replacement = optional(row->replacement),
        .modulus = row->modulus,
    };
}

static struct hk_label_set set;

TEST(actions) {
    struct hk_arena arena;
    hk_arena_init(&arena, 16 << 20);
    for (size_t i = 0; i < HK_COUNT(rows); i++) {
        struct hk_str sources[8];
        struct hk_relabel_config config = config_of(&rows[i], sources);
        struct hk_relabel *relabel = NULL;
        CHECK_INT(hk_relabel_create(&config, 1, &relabel), HK_OK);
        if (relabel == NULL) {
            printf("# row %zu: %s\n", i, hk_fail_text());
            continue;
        }
        read_set(rows[i].before, &set);
        CHECK_INT(hk_relabel_apply(relabel, &set, &arena), rows[i].after == NULL ? HK_END : HK_OK);
        hk_relabel_destroy(relabel); /* results do not depend on the rules */
        if (rows[i].after != NULL) CHECK_STR(write_set(&set, &arena), hk_str_from(rows[i].after));
    }
    hk_arena_deinit(&arena);
}

static const struct {
    struct row row;
    const char *text; /* part of the message */
} refused[] = {
    { { .action = "frob" }, "unknown action" },
    { { .action = "hashmod", .target = "x" }, "modulus" },
    { { .action = "hashmod", .modulus = 3 }, "target_label" },
    { { .action = "replace" }, "target_label" },
    { { .action = "lowercase" }, "target_label" },
    { { .action = "uppercase", .target = "x", .replacement = "y" }, "takes no \"replacement\"" },
    { { .action = "keepequal", .target = "x", .regex = "y" }, "takes only" },
    { { .action = "dropequal", .target = "x", .separator = "y" }, "takes only" },
    { { .action = "labeldrop", .regex = "x", .target = "y" }, "takes only \"regex\"" },
    { { .action = "labelkeep", .regex = "x", .sources = "y" }, "takes only \"regex\"" },
    { { .action = "labelmap", .replacement = "" }, "labelmap" },
    { { .action = "keep", .regex = "a(" }, "\"regex\"" },
    { { .target = "x", .replacement = "$16" }, "beyond" },
    { { .target = "\xff" }, "label name" },
};

TEST(refused_rules) {
    for (size_t i = 0; i < HK_COUNT(refused); i++) {
        struct hk_str sources[8];
        struct hk_relabel_config configs[2] = { { .target_label = HK_STR("ok") } };
        configs[1] = config_of(&refused[i].row, sources);
        struct hk_relabel *relabel = NULL;
        CHECK(hk_relabel_create(configs, 2, &relabel) < 0);
        CHECK(relabel == NULL);
        CHECK(strstr(hk_fail_text(), refused[i].text) != NULL);
        CHECK(strstr(hk_fail_text(), "rule 2") != NULL);
    }
}

/* Goal: rules run in order, the first drop ends; labels of earlier rules are seen by later ones. */
TEST(chain) {
    struct hk_str address = HK_STR("__address__");
    struct hk_str tmp = HK_STR("__tmp");
    struct hk_relabel_config configs[] = {
        { .source_labels = &address,
          .source_label_count = 1,
          .regex = HK_STR("(.*):\\d+"),
          .target_label = HK_STR("__tmp") },
        { .action = HK_RELABEL_KEEP,
          .source_labels = &tmp,
          .source_label_count = 1,
          .regex = HK_STR("web.*") },
        { .action = HK_RELABEL_LABEL_DROP, .regex = HK_STR("__tmp") },
    };
    struct hk_arena arena;
    hk_arena_init(&arena, 16 << 20);
    struct hk_relabel *relabel = NULL;
    CHECK_INT(hk_relabel_create(configs, HK_COUNT(configs), &relabel), HK_OK);
    CHECK_INT(hk_relabel_count(relabel), 3);
    read_set("__address__=web1:9100", &set);
    CHECK_INT(hk_relabel_apply(relabel, &set, &arena), HK_OK);
    CHECK_STR(write_set(&set, &arena), HK_STR("__address__=web1:9100"));
    read_set("__address__=db1:9100", &set);
    CHECK_INT(hk_relabel_apply(relabel, &set, &arena), HK_END);
    CHECK_INT(hk_relabel_apply(NULL, &set, &arena), HK_OK);
    hk_relabel_destroy(relabel);
    hk_arena_deinit(&arena);
}

TEST(expansion) {
    static const struct {
        const char *pattern, *text;
    } cases[] = {
        { "$1", "a" },          { "${1}", "a" },     { "$2", "" },
        { "$9", "" },           { "$10", "" },       { "$01", "" },
        { "$$1", "$1" },        { "$", "$" },        { "$-", "$-" },
        { "${1", "${1" },       { "${}", "${}" },    { "$0!", "whole!" },
        { "$n-$nn", "b-" },     { "x${n}y", "xby" }, { "$1\xc3\xa9", "a\xc3\xa9" },
        { "$99999999999", "" },
    };
    struct hk_str groups[] = { HK_STR("whole"), HK_STR("a"), { NULL, 0 }, HK_STR("b") };
    struct hk_regex *regex = NULL;
    CHECK_INT(hk_regex_create(HK_STR("(.)(.)(?P<n>.)"), &regex), HK_OK);
    for (size_t i = 0; i < HK_COUNT(cases); i++) {
        struct hk_buf out;
        hk_buf_init(&out, 4096);
        hk_regex_expand(regex, hk_str_from(cases[i].pattern), groups, 4, &out);
        CHECK_STR(hk_buf_get(&out), hk_str_from(cases[i].text));
        hk_buf_deinit(&out);
    }
    hk_regex_destroy(regex);
}

static hk_err create_and_apply(void) {
    struct hk_arena arena;
    hk_arena_init(&arena, 16 << 20);
    hk_err err = HK_OK;
    for (size_t i = 0; i < HK_COUNT(rows) && err >= 0; i++) {
        struct hk_str sources[8];
        struct hk_relabel_config config = config_of(&rows[i], sources);
        struct hk_relabel *relabel = NULL;
        err = hk_relabel_create(&config, 1, &relabel);
        if (err < 0) break;
        read_set(rows[i].before, &set);
        err = hk_relabel_apply(relabel, &set, &arena);
        hk_relabel_destroy(relabel);
    }
    hk_arena_deinit(&arena);
    return err;
}

TEST(out_of_memory) {
    SWEEP_ALLOC(create_and_apply());
}

/* Goal: a set that overflows is refused, not cut. */
TEST(too_many_labels) {
    struct hk_arena arena;
    hk_arena_init(&arena, 16 << 20);
    struct hk_relabel_config config = { .target_label = HK_STR("one_more"),
                                        .replacement = HK_STR("x") };
    struct hk_relabel *relabel = NULL;
    CHECK_INT(hk_relabel_create(&config, 1, &relabel), HK_OK);
    hk_label_set_clear(&set);
    for (int i = 0; i < HK_LABELS_MAX; i++)
        hk_label_set_add(&set, hk_arena_printf(&arena, "l%d", i), HK_STR("x"));
    CHECK_INT(hk_relabel_apply(relabel, &set, &arena), HK_E_LIMIT);
    hk_relabel_destroy(relabel);
    hk_arena_deinit(&arena);
}

HK_TEST_MAIN()
