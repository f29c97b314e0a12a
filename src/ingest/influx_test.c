/* Goal: each rule of the line protocol, each way to break it, and the answers to broken lines. */
#include "ingest/influx.h"

#include "hk_test.h"

static struct hk_batch batch;
static const struct hk_context context = { { 1, 2 }, NULL };

static void collect(struct hk_influx *state, struct hk_buf *out) {
    for (uint32_t i = 0; i < batch.count; i++) {
        const struct hk_entry *entry = &batch.entries[i];
        struct hk_label_set set;
        struct hk_labels labels = { NULL, 0 };
        hk_label_set_clear(&set);
        CHECK(entry->context == &context && entry->ref == HK_REF_NONE);
        CHECK_INT(entry->kind, HK_ENTRY_SET);
        CHECK_INT(hk_influx_parser.labels(state, &batch, entry, &set), HK_OK);
        if (hk_label_set_finish(&set, &labels) < 0) {
            hk_buf_text(out, "invalid");
        } else {
            hk_labels_format(labels, out);
        }
        hk_buf_char(out, ' ');
        hk_buf_double(out, entry->value);
        if (entry->stamp_ms != 1000) hk_buf_printf(out, " %" PRId64, entry->stamp_ms);
        hk_buf_char(out, ';');
    }
    if (batch.rejected > 0) {
        hk_buf_printf(out, "!%" PRIu64 " %s", batch.rejected, batch.reject_text);
    }
}

struct totals {
    uint64_t points, strings, bad, first_bad;
};

/* Parses an exact-size copy of `input`; what was read goes to `out`. */
static struct totals
run(struct hk_str input, enum hk_influx_precision precision, struct hk_buf *out) {
    struct hk_influx state;
    struct hk_arena arena;
    struct totals totals = { 0, 0, 0, 0 };
    char *exact = hk_mem_resize(hk_mem_copy(input.ptr, input.len), input.len + 1, 1);
    if (input.len > 0) exact = hk_mem_resize(exact, input.len, 1);
    hk_arena_init(&arena, 1 << 22);
    hk_influx_init(&state, (struct hk_str){ exact, input.len }, &context, 1000, precision);
    batch.arena = &arena;
    hk_err err = HK_FULL;
    while (err == HK_FULL) {
        hk_batch_clear(&batch);
        err = hk_influx_parser.parse(&state, &batch);
        CHECK_INT(batch.points, batch.count);
        totals.points += batch.points;
        collect(&state, out);
    }
    CHECK_INT(err, HK_OK);
    CHECK_INT(state.at, input.len);
    totals.strings = state.strings_skipped;
    totals.bad = state.lines_bad;
    totals.first_bad = state.line_first_bad;
    hk_mem_free(exact);
    hk_arena_deinit(&arena);
    return totals;
}

static const struct {
    const char *input, *want;
} lines[] = {
    { "", "" },
    { "\n \r\n# comment, with=all f=1\n\t#x", "" },
    { "cpu value=1", "cpu 1;" },
    { "cpu,host=a,region=eu value=1.5,idle=2 5000000", "cpu{host=\"a\", region=\"eu\"} 1.5 5;"
                                                       "cpu_idle{host=\"a\", region=\"eu\"} 2 5;" },
    { "  cpu f=1\r\nmem f=2\r\n", "cpu_f 1;mem_f 2;" },
    { "cpu   f=1   7000000  \n", "cpu_f 1 7;" },
    { "cpu f=1 -1", "cpu_f 1 -1;" },
    { "c a=1i,b=-2i,c=3u,d=18446744073709551615u", "c_a 1;c_b -2;c_c 3;c_d 18446744073709552000;" },
    { "c a=t,b=T,c=true,d=True,e=TRUE", "c_a 1;c_b 1;c_c 1;c_d 1;c_e 1;" },
    { "c a=f,b=F,c=false,d=False,e=FALSE", "c_a 0;c_b 0;c_c 0;c_d 0;c_e 0;" },
    { "c a=1e3,b=-.5,c=+2,d=1.", "c_a 1000;c_b -0.5;c_c 2;c_d 1;" },
    { "c s=\"text\"", "" },
    { "c s=\"a, b=1 \\\" \\\\\",f=1,t=\"\" 6000000", "c_f 1 6;" },
    { "c s=\"one\ntwo\",f=1\nd f=2", "c_f 1;d_f 2;" },
    { "a\\,b\\ c,k\\=1\\,=v\\ \\=\\, f\\ 1\\==2", "{\"a,b c_f 1=\", \"k=1,\"=\"v =,\"} 2;" },
    { "c:\\dir,p=C:\\x\\\\y f=1", "{\"c:\\\\dir_f\", p=\"C:\\\\x\\\\y\"} 1;" },
    { "a=b f=1", "{\"a=b_f\"} 1;" },
    { "m\xc3\xa9,t=\xe2\x82\xac f=1", "{\"m\xc3\xa9_f\", t=\"\xe2\x82\xac\"} 1;" },
    { "m,t=\xff f=1", "invalid 1;" },
    { "m,t=1,t=2 f=1", "invalid 1;" },
    { "m,t=\"quoted\" f=1", "m_f{t=\"\\\"quoted\\\"\"} 1;" },
    { "m,z=1,a=2 f=1", "m_f{a=\"2\", z=\"1\"} 1;" },
    { "cpu", "!1 line 1: unable to parse 'cpu': missing fields" },
    { "cpu \n", "!1 line 1: unable to parse 'cpu ': missing fields" },
    { "cpu,a=b", "!1 line 1: unable to parse 'cpu,a=b': missing fields" },
    { ",a=b f=1", "!1 line 1: unable to parse ',a=b f=1': missing measurement" },
    { "m, f=1", "!1 line 1: unable to parse 'm, f=1': missing tag key" },
    { "m,=1 f=1", "!1 line 1: unable to parse 'm,=1 f=1': missing tag key" },
    { "m,a f=1", "!1 line 1: unable to parse 'm,a f=1': missing tag value" },
    { "m,a= f=1", "!1 line 1: unable to parse 'm,a= f=1': missing tag value" },
    { "m,a=b=c f=1", "!1 line 1: unable to parse 'm,a=b=c f=1': invalid tag format" },
    { "m f", "!1 line 1: unable to parse 'm f': missing field value" },
    { "m f=", "!1 line 1: unable to parse 'm f=': missing field value" },
    { "m f=,g=1", "!1 line 1: unable to parse 'm f=,g=1': missing field value" },
    { "m =1", "!1 line 1: unable to parse 'm =1': missing field key" },
    { "m f=1,", "!1 line 1: unable to parse 'm f=1,': missing fields" },
    { "m f=1,,g=2", "!1 line 1: unable to parse 'm f=1,,g=2': missing field key" },
    { "m f=x", "!1 line 1: unable to parse 'm f=x': invalid field value" },
    { "m f=1.5i", "!1 line 1: unable to parse 'm f=1.5i': invalid field value" },
    { "m f=-1u", "!1 line 1: unable to parse 'm f=-1u': invalid field value" },
    { "m f=9223372036854775808i",
      "!1 line 1: unable to parse 'm f=9223372036854775808i': invalid field value" },
    { "m f=i", "!1 line 1: unable to parse 'm f=i': invalid field value" },
    { "m f=NaN", "!1 line 1: unable to parse 'm f=NaN': invalid field value" },
    { "m f=inf", "!1 line 1: unable to parse 'm f=inf': invalid field value" },
    { "m f=tRUE", "!1 line 1: unable to parse 'm f=tRUE': invalid field value" },
    { "m f=\"open", "!1 line 1: unable to parse 'm f=\"open': unbalanced quotes" },
    { "m f=\"a\"b", "!1 line 1: unable to parse 'm f=\"a\"b': invalid field value" },
    { "m f=1 x", "!1 line 1: unable to parse 'm f=1 x': bad timestamp" },
    { "m f=1 1 2", "!1 line 1: unable to parse 'm f=1 1 2': bad timestamp" },
    { "m f=1 1.5", "!1 line 1: unable to parse 'm f=1 1.5': bad timestamp" },
    { "m f=1 9999999999999999999",
      "!1 line 1: unable to parse 'm f=1 9999999999999999999': bad timestamp" },
    { "a f=1\nb\n# c\n\nd\ne f=2\n", "a_f 1;e_f 2;!2 line 2: unable to parse 'b': missing fields" },
    { "a s=\"1\n2\"\nb", "!1 line 3: unable to parse 'b': missing fields" },
    { "a s=\"1\nb f=2\n", "b_f 2;!1 line 1: unable to parse 'a s=\"1': unbalanced quotes" },
    { "a f=1,g=2,h\nb f=3", "b_f 3;!1 line 1: unable to parse 'a f=1,g=2,h': missing field value" },
};

TEST(lines_of_the_grammar) {
    for (size_t i = 0; i < HK_COUNT(lines); i++) {
        struct hk_buf out;
        hk_buf_init(&out, 65536);
        (void)run(hk_str_from(lines[i].input), HK_INFLUX_NS, &out);
        CHECK_STR(hk_buf_get(&out), hk_str_from(lines[i].want));
        hk_buf_deinit(&out);
    }
}

static const struct {
    const char *precision, *stamp;
    int64_t want_ms; /* -1: the line is refused */
} stamps[] = {
    { "", "1700000000123999999", 1700000000123 },
    { "n", "-1", -1 },
    { "ns", "1700000000123999999", 1700000000123 },
    { "us", "1700000000123999", 1700000000123 },
    { "\xc2\xb5", "1999", 1 },
    { "u", "-1999", -2 },
    { "ms", "1700000000123", 1700000000123 },
    { "s", "1700000000", 1700000000000 },
    { "m", "2", 120000 },
    { "h", "2", 7200000 },
    { "s", "9223372036854775807", -1 },
    { "auto", "1700000000", 1700000000000 },
    { "auto", "1700000000123", 1700000000123 },
    { "auto", "1700000000123999", 1700000000123 },
    { "auto", "1700000000123999999", 1700000000123 },
    { "auto", "-9223372036854775808", -9223372036855 },
    { "millisecond", "5", 5 },
};

TEST(precisions) {
    for (size_t i = 0; i < HK_COUNT(stamps); i++) {
        enum hk_influx_precision precision = HK_INFLUX_NS;
        struct hk_influx state;
        char text[64];
        (void)snprintf(text, sizeof(text), "m f=1 %s", stamps[i].stamp);
        CHECK_INT(hk_influx_precision_parse(hk_str_from(stamps[i].precision), &precision), HK_OK);
        hk_influx_init(&state, hk_str_from(text), &context, 1000, precision);
        hk_batch_clear(&batch);
        CHECK_INT(hk_influx_parser.parse(&state, &batch), HK_OK);
        CHECK_INT(batch.count == 1 ? batch.entries[0].stamp_ms : -1, stamps[i].want_ms);
    }
    enum hk_influx_precision precision = HK_INFLUX_NS;
    CHECK_INT(hk_influx_precision_parse(HK_STR("d"), &precision), HK_E_INVALID);
}

/* Lines of 1 to 7 fields; each boundary of a batch falls inside some line. */
TEST(resumes_at_every_boundary) {
    struct hk_buf text, out;
    hk_buf_init(&text, 1 << 20);
    hk_buf_init(&out, 1 << 20);
    uint64_t fields = 0;
    for (unsigned line = 0; line < 700; line++) {
        hk_buf_printf(&text, "m%u,t=%u s=\"x\"", line, line);
        for (unsigned k = 0; k <= line % 7; k++, fields++)
            hk_buf_printf(&text, ",f%u=%u", k, k);
        hk_buf_printf(&text, " %u000000\n", line);
    }
    const struct totals totals = run(hk_buf_get(&text), HK_INFLUX_NS, &out);
    CHECK_INT(totals.points, fields);
    CHECK_INT(totals.strings, 700);
    CHECK_INT(totals.bad, 0);
    struct hk_buf want;
    hk_buf_init(&want, 1 << 20);
    for (unsigned line = 0; line < 700; line++) {
        for (unsigned k = 0; k <= line % 7; k++) {
            hk_buf_printf(&want, "m%u_f%u{t=\"%u\"} %u", line, k, line, k);
            if (line != 1000) hk_buf_printf(&want, " %u;", line);
        }
    }
    CHECK_STR(hk_buf_get(&out), hk_buf_get(&want));
    hk_buf_deinit(&want);
    hk_buf_deinit(&out);
    hk_buf_deinit(&text);
}

TEST(a_line_holds_at_most_512_fields) {
    for (unsigned count = 511; count <= 513; count++) {
        struct hk_buf text, out;
        hk_buf_init(&text, 1 << 20);
        hk_buf_init(&out, 1 << 20);
        hk_buf_text(&text, "a f=1\nm ");
        for (unsigned k = 0; k < count; k++)
            hk_buf_printf(&text, "%sf%u=1", k == 0 ? "" : ",", k);
        hk_buf_text(&text, "\nb f=1");
        const struct totals totals = run(hk_buf_get(&text), HK_INFLUX_NS, &out);
        CHECK_INT(totals.points, count <= 512 ? 2 + count : 2);
        CHECK_INT(totals.bad, count <= 512 ? 0 : 1);
        CHECK_INT(totals.first_bad, count <= 512 ? 0 : 2);
        hk_buf_deinit(&out);
        hk_buf_deinit(&text);
    }
}

TEST(every_truncation_is_safe) {
    static const char text[] = "c\\ pu,ho\\=st=a\\,b,r=e value=1.5,s=\"x \\\" y\",b=t 17000000\n"
                               "mem,x=y f=1i,g=2u,h=False\n#c\nbad,\n";
    for (size_t len = 0; len < sizeof(text); len++) {
        struct hk_buf out;
        hk_buf_init(&out, 65536);
        (void)run((struct hk_str){ text, len }, HK_INFLUX_NS, &out);
        hk_buf_deinit(&out);
    }
    CHECK(true);
}

TEST(errors_of_many_lines_are_bounded) {
    struct hk_buf errors, body;
    struct hk_influx state;
    hk_buf_init(&errors, 65536);
    hk_buf_init(&body, 65536);
    hk_influx_init(&state, HK_STR("a f=1\nb\nc x\n"), &context, 0, HK_INFLUX_NS);
    state.errors = &errors;
    hk_batch_clear(&batch);
    CHECK_INT(hk_influx_parser.parse(&state, &batch), HK_OK);
    CHECK_INT(batch.rejected, 2);
    hk_influx_error_v1(&body, hk_buf_get(&errors), batch.points, state.lines_bad);
    CHECK_STR(
        hk_buf_get(&body),
        HK_STR("{\"error\":\"partial write: line 2: unable to parse 'b': missing "
               "fields\\nline 3: unable to parse 'c x': missing field value "
               "dropped=2\"}\n"));
    hk_buf_clear(&body);
    hk_influx_error_v2(&body, "invalid", HK_STR("unable to \"parse\""), state.line_first_bad);
    CHECK_STR(
        hk_buf_get(&body),
        HK_STR("{\"code\":\"invalid\",\"message\":\"unable to \\\"parse\\\"\",\"line\":2}\n"));
    hk_buf_clear(&body);
    hk_influx_error_v1(&body, HK_STR("database is required"), 0, 0);
    CHECK_STR(hk_buf_get(&body), HK_STR("{\"error\":\"database is required\"}\n"));

    struct hk_buf text;
    hk_buf_init(&text, 65536);
    for (unsigned i = 0; i < 1000; i++)
        hk_buf_text(&text, "b\n");
    hk_buf_clear(&errors);
    hk_influx_init(&state, hk_buf_get(&text), &context, 0, HK_INFLUX_NS);
    state.errors = &errors;
    hk_batch_clear(&batch);
    CHECK_INT(hk_influx_parser.parse(&state, &batch), HK_OK);
    CHECK_INT(batch.rejected, 1000);
    size_t newlines = 0;
    for (size_t i = 0; i < errors.len; i++)
        newlines += errors.ptr[i] == '\n';
    CHECK_INT(newlines, HK_INFLUX_ERRORS_MAX - 1);
    hk_buf_deinit(&text);
    hk_buf_deinit(&errors);
    hk_buf_deinit(&body);
}

HK_TEST_MAIN()
