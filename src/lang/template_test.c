/* Goal: templates give what Prometheus gives, and every failure is a clear text. */
#include "hk_test.h"
#include "lang/template.h"

/* A struct hk_str in a static initialiser. */
#define LIT(text)                                                                                  \
    { text, sizeof(text) - 1 }

static const struct hk_label label_items[] = {
    { LIT("instance"), LIT("db1.example.org:9100") },
    { LIT("job"), LIT("node") },
    { LIT("path"), LIT("/a/b") },
};

static hk_err fake_query(
    void *self, struct hk_str expr, int64_t at_ms, struct hk_arena *arena,
    struct hk_template_sample **out, uint32_t *out_count) {
    static const struct hk_label first[] = { { LIT("__value__"), LIT("v1") },
                                             { LIT("instance"), LIT("b") } };
    static const struct hk_label second[] = { { LIT("instance"), LIT("a") } };
    (void)self;
    (void)at_ms;
    *out_count = 0;
    *out = hk_arena_alloc(arena, 2, sizeof(**out));
    if (*out == NULL) return HK_E_NOMEM;
    if (hk_str_is(expr, "broken")) return hk_fail(HK_E_EXECUTION, "no such metric");
    if (hk_str_is(expr, "none")) return HK_OK;
    (*out)[0] = (struct hk_template_sample){ { first, 2 }, 11 };
    (*out)[1] = (struct hk_template_sample){ { second, 1 }, 21 };
    *out_count = 2;
    return HK_OK;
}

static const struct hk_template_data data = {
    .labels = { label_items, HK_COUNT(label_items) },
    .external_labels = { label_items, 1 },
    .external_url = LIT("http://hark.example:9090/sub/path"),
    .value = 0.123456789,
    .now_ms = 1700000000123,
    .query = fake_query,
};

/* Expands `text`; errors become the text that Prometheus shows. */
static void expand(const char *text, struct hk_buf *out) {
    struct hk_template_source source = { LIT("t"), hk_str_from(text) };
    struct hk_template *tmpl = NULL;
    hk_err err = hk_template_create(&source, 1, &tmpl);
    if (err < 0)
        hk_buf_text(out, hk_fail_text());
    else
        (void)hk_template_expand(tmpl, &data, out);
    hk_template_destroy(tmpl);
}

struct row {
    const char *text, *want;
};

static void check_rows(const struct row *rows, size_t count) {
    struct hk_buf out;
    hk_buf_init(&out, 1 << 20);
    for (size_t i = 0; i < count; i++) {
        hk_buf_clear(&out);
        expand(rows[i].text, &out);
        CHECK_STR(hk_buf_get(&out), hk_str_from(rows[i].want));
    }
    hk_buf_deinit(&out);
}

static const struct row language_rows[] = {
    { "", "" },
    { "plain { text }", "plain { text }" },
    { "{{ $labels.instance }}", "db1.example.org:9100" },
    { "a {{ .Labels.job }} b", "a node b" },
    { "{{ $labels.missing }}|", "|" },
    { "{{ $value }}", "0.123456789" },
    { "{{ .Value }}", "0.123456789" },
    { "{{ $externalLabels.instance }} {{ .ExternalLabels.instance }}",
      "db1.example.org:9100 db1.example.org:9100" },
    { "{{ $externalURL }} {{ .ExternalURL }} {{ externalURL }}",
      "http://hark.example:9090/sub/path http://hark.example:9090/sub/path "
      "http://hark.example:9090/sub/path" },
    { "{{ pathPrefix }}", "/sub/path" },
    { "a  {{- 1 -}}  b", "a1b" },
    { "a {{- /* note */ -}} b", "ab" },
    { "a {{/* note */}} b", "a  b" },
    { "{{ \"q\\\"\\u00e4\\n\" }}{{ `raw\\n` }}", "q\"ä\nraw\\n" },
    { "{{ 1 }} {{ -2 }} {{ 0x10 }} {{ 1e3 }} {{ 1.5 }} {{ 'a' }} {{ true }}",
      "1 -2 16 1000 1.5 97 true" },
    { "{{ if true }}yes{{ end }}", "yes" },
    { "{{ if eq $labels.job \"x\" }}x{{ else if eq $labels.job \"node\" }}n{{ else }}o{{ end "
      "}}",
      "n" },
    { "{{ if 0 }}a{{ else }}b{{ end }}", "b" },
    { "{{ with $labels.job }}[{{ . }}]{{ end }}", "[node]" },
    { "{{ with $labels.none }}a{{ else }}{{ .Labels.job }}{{ end }}", "node" },
    { "{{ with $x := 3 }}{{ $x }}{{ . }}{{ end }}", "33" },
    { "{{ range $k, $v := $labels }}{{ $k }}={{ $v }};{{ end }}",
      "instance=db1.example.org:9100;job=node;path=/a/b;" },
    { "{{ range .Labels }}{{ . }};{{ end }}", "db1.example.org:9100;node;/a/b;" },
    { "{{ range query \"none\" }}a{{ else }}nothing{{ end }}", "nothing" },
    { "{{ range $i, $s := query \"up\" }}{{ $i }}:{{ $s.Labels.instance }}={{ .Value }} "
      "{{ end }}",
      "0:b=11 1:a=21 " },
    { "{{ range query \"up\" }}{{ .Value }}{{ break }}{{ end }}", "11" },
    { "{{ range query \"up\" }}{{ if eq .Value 11.0 }}{{ continue }}{{ end }}{{ .Value }}"
      "{{ end }}",
      "21" },
    { "{{ range query \"up\" }}{{ with 1 }}{{ break }}{{ end }}{{ end }}{{ .Labels.job }}",
      "node" },
    { "{{ $x := 1 }}{{ if true }}{{ $x = 2 }}{{ $x := 3 }}{{ $x }}{{ end }}{{ $x }}", "32" },
    { "{{ (index (query \"up\") 1).Value }}", "21" },
    { "{{ ((query \"up\") | first).Labels.instance }}", "b" },
    { "{{ define \"tt\" }}<{{ . }}>{{ end }}{{ template \"tt\" $labels.job }}", "<node>" },
    { "{{ define \"tt\" }}{{ .arg0 }}/{{ .arg1 }}/{{ .arg2 }}{{ end }}"
      "{{ template \"tt\" (args 1 \"b\") }}",
      "1/b/<no value>" },
    { "{{ block \"b\" $labels.job }}{{ . }}{{ $ }}{{ end }}!", "nodenode!" },
    { "{{ template \"tt\" 1 }}{{ define \"tt\" }}{{ $y := . }}{{ $y }}{{ end }}", "1" },
    { "{{ $ | len }}", NULL },
    { "{{ and 1 2 }}{{ and 0 2 }}{{ or 0 3 }}{{ or 0 \"\" }}|{{ not 1 }}", "203|false" },
    { "{{ and false (index (query \"none\") 0) }}", "false" },
    { "{{ or true (index (query \"none\") 0) }}", "true" },
    { "{{ 1 | and true }}", "1" },
    { "{{ eq 1 2 3 1 }}{{ ne \"a\" \"b\" }}{{ lt 1 2 }}{{ le 2 2 }}{{ gt 1.5 1.0 }}{{ ge 1 2 "
      "}}",
      "truetruetruetruetruefalse" },
    { "{{ len \"abc\" }}{{ len $labels }}{{ index $labels \"job\" }}{{ slice \"hello\" 1 3 }}",
      "33nodeel" },
    { "{{ print 1 2 \"a\" 3 }}|{{ println 1 \"a\" }}", "1 2a3|1 a\n" },
    { "{{ $labels }}", "map[instance:db1.example.org:9100 job:node path:/a/b]" },
    { "{{ (toTime 1435065584.128).Format \"2006-01-02T15:04:05.000Z07:00 Mon Jan _2 3PM\" }}",
      "2015-06-23T13:19:44.128Z Tue Jun 23 1PM" },
    { "{{ (1435065584 | toTime).Year }} {{ (toTime 0).Unix }} {{ (toTime 0).Weekday }}",
      "2015 0 Thursday" },
    { "{{ html \"<a&b>\" }} {{ urlquery \"a b&c\" }}", "&lt;a&amp;b&gt; a+b%26c" },
    { "{{ \"x\" | printf \"%s-%s\" \"a\" }}", "a-x" },
};

TEST(language) {
    for (size_t i = 0; i < HK_COUNT(language_rows); i++) {
        if (language_rows[i].want != NULL) check_rows(&language_rows[i], 1);
    }
}

/* Expected texts follow from the definitions in Prometheus' template reference. */
TEST(functions) {
    static const struct row rows[] = {
        { "{{ humanize 0.0 }}:{{ humanize 1.0 }}:{{ humanize 1234567.0 }}:{{ humanize .12 }}",
          "0:1:1.235M:120m" },
        { "{{ humanize \"1234.5\" }}:{{ humanize -1e25 }}:{{ humanize 1e-25 }}",
          "1.234k:-10Y:0.1y" },
        { "{{ humanize1024 0.0 }}:{{ humanize1024 1.0 }}:{{ humanize1024 1048576.0 }}:"
          "{{ humanize1024 .12 }}",
          "0:1:1Mi:0.12" },
        { "{{ humanizeDuration 0.0 }}:{{ humanizeDuration 1 }}:{{ humanizeDuration 60 }}:"
          "{{ humanizeDuration 3600 }}:{{ humanizeDuration 86400 }}:{{ humanizeDuration -90061 }}",
          "0s:1s:1m 0s:1h 0m 0s:1d 0h 0m 0s:-1d 1h 1m 1s" },
        { "{{ humanizeDuration .1 }}:{{ humanizeDuration .0001 }}:{{ humanizeDuration .12345 }}:"
          "{{ humanizeDuration 59.99 }}:{{ humanizeDuration 12345678 }}",
          "100ms:100us:123.5ms:59.99s:142d 21h 21m 18s" },
        { "{{ humanizePercentage 0.1234567 }}:{{ humanizePercentage -0.22222 }}:"
          "{{ humanizePercentage 0.0 }}",
          "12.35%:-22.22%:0%" },
        { "{{ humanizeTimestamp 1435065584.128 }}", "2015-06-23 13:19:44.128 +0000 UTC" },
        { "{{ 0 | humanizeTimestamp }}", "1970-01-01 00:00:00 +0000 UTC" },
        { "{{ $value | humanize }} {{ $value | humanizePercentage }} {{ $value | printf \"%.2f\" "
          "}}",
          "123.5m 12.35% 0.12" },
        { "{{ title \"aa bb-cc\" }} {{ toUpper \"aé\" }} {{ toLower \"AÄ\" }}", "Aa Bb-Cc AÉ aä" },
        { "{{ reReplaceAll \"(.*)\\\\.(.*)\" \"$2-${1}$$x$3\" \"a.b\" }}", "b-a$x" },
        { "{{ reReplaceAll \"a*\" \"x\" \"baac\" }}", "xbxcx" },
        { "{{ reReplaceAll \"^a\" \"x\" \"aaa\" }}{{ reReplaceAll \"b$\" \"\" \"abb\" }}",
          "xaaab" },
        { "{{ match \"a+\" \"baac\" }} {{ match \"^a\" \"baac\" }}", "true false" },
        { "{{ stripPort $labels.instance }} {{ stripPort \"[::1]:80\" }} {{ stripPort \"host\" }}",
          "db1.example.org ::1 host" },
        { "{{ stripDomain $labels.instance }} {{ stripDomain \"192.0.2.1:80\" }} "
          "{{ stripDomain \"a.b.c\" }}",
          "db1:9100 192.0.2.1:80 a" },
        { "{{ \"<b>\" | safeHtml }}", "<b>" },
        { "{{ parseDuration \"1h30m\" }} {{ toDuration 90 }} {{ toDuration 0.25 }}",
          "5400 1m30s 250ms" },
        { "{{ graphLink \"up == 1\" }} {{ tableLink \"up\" }}",
          "/graph?g0.expr=up+%3D%3D+1&g0.tab=0 /graph?g0.expr=up&g0.tab=1" },
        { "{{ query \"up\" | first | value }} {{ query \"up\" | first | label \"instance\" }} "
          "{{ query \"up\" | first | strvalue }}",
          "11 b v1" },
        { "{{ range query \"up\" | sortByLabel \"instance\" }}{{ .Labels.instance }}{{ end }}",
          "ab" },
        { "{{ printf \"%d|%5d|%-5d|%05d|%+d|%x|%c|%t\" 1 2 3 4 5 255 65 true }}",
          "1|    2|3    |00004|+5|ff|A|true" },
        { "{{ printf \"%f %.1f %8.3f %e %g %.3g %v\" 1.5 1.25 3.14159 1e6 1e6 1234.5 1e20 }}",
          "1.500000 1.2    3.142 1.000000e+06 1e+06 1.23e+03 1e+20" },
        { "{{ printf \"%s %q %10s|%-4s|%.2s %x\" \"a\" \"b\\\"\" \"c\" \"d\" \"efg\" \"hi\" }}",
          "a \"b\\\"\"          c|d   |ef 6869" },
        { "{{ printf \"%d %s\" 1.5 }} {{ printf \"%s\" 3 }} {{ printf \"a\" 1 }} {{ printf \"%\" "
          "}}",
          "%!d(float64=1.5) %!s(MISSING) %!s(int=3) a%!(EXTRA int=1) %!(NOVERB)" },
        { "{{ printf \"%T %T %5t|%%\" 1 \"a\" true }}", "int string  true|%" },
        { "{{ 1000000.0 }} {{ 123456.7 }} {{ 1234567.0 }} {{ 0.00001 }} {{ 1e21 }}",
          "1e+06 123456.7 1.234567e+06 1e-05 1e+21" },
    };
    check_rows(rows, HK_COUNT(rows));
}

TEST(errors) {
    static const struct row rows[] = {
        { "{{ nofunc 1 }}", "template: t:1:4: function \"nofunc\" not defined" },
        { "{{ $nope }}", "template: t:1:4: undefined variable \"$nope\"" },
        { "a\n{{ if true }}", "template: t:2:4: this block has no {{end}}" },
        { "{{ end }}", "template: t:1:4: unexpected {{end}}" },
        { "{{ else }}", "template: t:1:4: unexpected else" },
        { "{{ \"abc }}", "template: t:1:4: unterminated quoted string" },
        { "{{ 1", "template: t:1:5: unclosed action" },
        { "{{ }}", "template: t:1:4: missing value for command" },
        { "{{ 1 | }}", "template: t:1:8: missing value for command" },
        { "{{ (1 }}", "template: t:1:7: unclosed left paren" },
        { "{{ 1 ) }}", "template: t:1:6: unexpected right paren" },
        { "{{ break }}", "template: t:1:4: {{break}} outside {{range}}" },
        { "{{ 1 2 }}", "template: t:1:4: can't give argument to non-function" },
        { "{{ nil }}", "template: t:1:4: nil is not a command" },
        { "{{ /* x }}", "template: t:1:3: unclosed comment" },
        { "{{ .Nope }}",
          "<error expanding template: error executing template t: template: t:1:4: executing "
          "\"t\": can't evaluate field Nope in type alert data>" },
        { "x {{ humanize }}",
          "<error expanding template: error executing template t: template: t:1:6: executing "
          "\"t\": wrong number of args for humanize: want 1 got 0>" },
        { "{{ humanize \"x\" }}",
          "<error expanding template: error executing template t: template: t:1:4: executing "
          "\"t\": error calling humanize: strconv.ParseFloat: parsing \"x\": invalid syntax>" },
        { "{{ gt $value 1 }}",
          "<error expanding template: error executing template t: template: t:1:4: executing "
          "\"t\": error calling gt: incompatible types for comparison>" },
        { "{{ query \"none\" | first }}",
          "<error expanding template: error executing template t: template: t:1:19: executing "
          "\"t\": error calling first: first() called on vector with no elements>" },
        { "{{ query \"broken\" }}",
          "<error expanding template: error executing template t: template: t:1:4: executing "
          "\"t\": error calling query: no such metric>" },
        { "{{ template \"no\" }}",
          "<error expanding template: error executing template t: template: t:1:4: executing "
          "\"t\": template \"no\" not defined>" },
        { "{{ define \"r\" }}{{ template \"r\" }}{{ end }}{{ template \"r\" }}",
          "<error expanding template: error executing template t: template: t:1:20: executing "
          "\"r\": templates call each other too deeply>" },
        { "{{ match \"(\" \"a\" }}",
          "<error expanding template: error executing template t: template: t:1:4: executing "
          "\"t\": error calling match: regexp: Compile(`(`): missing ): (?-s:()>" },
    };
    check_rows(rows, HK_COUNT(rows));
}

TEST(bounds) {
    struct hk_buf text;
    struct hk_buf out;
    hk_buf_init(&text, 1 << 20);
    hk_buf_init(&out, 4 << 20);
    /* 2 ** 40 calls of an innermost template end at the step limit. */
    for (int i = 0; i < 40; i++) {
        hk_buf_printf(&text, "{{define \"t%d\"}}{{template \"t%d\"}}", i, i + 1);
        hk_buf_printf(&text, "{{template \"t%d\"}}{{end}}", i + 1);
    }
    hk_buf_text(&text, "{{define \"t40\"}}x{{end}}{{template \"t0\"}}");
    hk_buf_char(&text, 0);
    expand(text.ptr, &out);
    CHECK(hk_str_ends(hk_buf_get(&out), HK_STR("it takes more than 200000 steps>")));
    /* Deep nesting is refused by the parser. */
    hk_buf_clear(&text);
    hk_buf_clear(&out);
    for (int i = 0; i < 1000; i++)
        hk_buf_text(&text, "{{if 1}}");
    hk_buf_char(&text, 0);
    expand(text.ptr, &out);
    CHECK(hk_str_ends(hk_buf_get(&out), HK_STR("blocks nested too deeply")));
    hk_buf_clear(&text);
    hk_buf_clear(&out);
    hk_buf_text(&text, "{{");
    for (int i = 0; i < 1000; i++)
        hk_buf_char(&text, '(');
    hk_buf_char(&text, 0);
    expand(text.ptr, &out);
    CHECK(hk_str_ends(hk_buf_get(&out), HK_STR("brackets nested too deeply")));
    /* A text that doubles itself ends at the output limit. */
    hk_buf_clear(&text);
    hk_buf_clear(&out);
    hk_buf_text(&text, "{{ $x := \"xxxxxxxxxxxxxxxx\" }}");
    for (int i = 0; i < 30; i++)
        hk_buf_text(&text, "{{ $x = print $x $x }}");
    hk_buf_char(&text, 0);
    expand(text.ptr, &out);
    CHECK(hk_str_starts(hk_buf_get(&out), HK_STR("<error expanding template:")));
    hk_buf_deinit(&text);
    hk_buf_deinit(&out);
}

static hk_err make_and_run(void) {
    struct hk_template_source source = { HK_STR("t"),
                                         HK_STR("{{ range $k, $v := $labels }}{{ $v | toUpper "
                                                "| printf \"%q\" }}{{ end }}") };
    struct hk_template *tmpl = NULL;
    struct hk_buf out;
    hk_buf_init(&out, 1 << 16);
    hk_err err = hk_template_create(&source, 1, &tmpl);
    if (err >= 0) err = hk_template_execute(tmpl, &data, &out);
    hk_template_destroy(tmpl);
    hk_buf_deinit(&out);
    return err;
}

TEST(out_of_memory) {
    SWEEP_ALLOC(make_and_run());
}

TEST(constant) {
    struct hk_template_source sources[2] = {
        { HK_STR("a"), HK_STR("just text") },
        { HK_STR("b"), HK_STR("{{ define \"x\" }}1{{ end }}") },
    };
    struct hk_template *tmpl = NULL;
    struct hk_str text;
    CHECK_INT(hk_template_create(sources, 2, &tmpl), HK_OK);
    CHECK(hk_template_is_constant(tmpl, &text));
    CHECK_STR(text, HK_STR("just text"));
    hk_template_destroy(tmpl);
    sources[0].text = HK_STR("{{ template \"x\" }}{{ $value }}");
    CHECK_INT(hk_template_create(sources, 2, &tmpl), HK_OK);
    CHECK(!hk_template_is_constant(tmpl, NULL));
    struct hk_buf out;
    hk_buf_init(&out, 100);
    CHECK_INT(hk_template_execute(tmpl, &data, &out), HK_OK);
    CHECK_STR(hk_buf_get(&out), HK_STR("10.123456789"));
    hk_buf_deinit(&out);
    hk_template_destroy(tmpl);
}

HK_TEST_MAIN()
