/* Goal: names, units, attribute keys and values come out as Prometheus writes them. */
#include "hk_test.h"
#include "ingest/otlp.h"

static struct hk_arena arena;

#define A HK_OTLP_UNDERSCORES_SUFFIXES
#define B HK_OTLP_UTF8_SUFFIXES
#define C HK_OTLP_UNDERSCORES

static const struct {
    enum hk_otlp_naming naming;
    enum hk_otlp_type type;
    const char *name, *unit, *want; /* want NULL: refused */
} names[] = {
    { A, HK_OTLP_COUNTER, "http.server.requests", "", "http_server_requests_total" },
    { A, HK_OTLP_COUNTER, "http.requests.total", "", "http_requests_total" },
    { A, HK_OTLP_COUNTER, "total.requests", "", "requests_total" },
    { A, HK_OTLP_COUNTER, "system.network.io", "By", "system_network_io_bytes_total" },
    { A, HK_OTLP_COUNTER, "requests", "{request}", "requests_total" },
    { A, HK_OTLP_COUNTER, "hits", "1", "hits_total" },
    { A, HK_OTLP_GAUGE, "system.cpu.utilization", "1", "system_cpu_utilization_ratio" },
    { A, HK_OTLP_GAUGE, "cache_ratio", "1", "cache_ratio" },
    { A, HK_OTLP_GAUGE, "io", "By/s", "io_bytes_per_second" },
    { A, HK_OTLP_GAUGE, "io_bytes", "By/s", "io_bytes_per_second" },
    { A, HK_OTLP_GAUGE, "rate", "{packet}/min", "rate_per_min" },
    { A, HK_OTLP_GAUGE, "rate", "/m", "rate_per_minute" },
    { A, HK_OTLP_GAUGE, "rate", "m/", "rate_meters" },
    { A, HK_OTLP_GAUGE, "speed", "m/s", "speed_meters_per_second" },
    { A, HK_OTLP_GAUGE, "a", "foo/{x}", "a_foo" },
    { A, HK_OTLP_GAUGE, "temp", "°C", "temp_C" },
    { A, HK_OTLP_GAUGE, "hum", "%", "hum_percent" },
    { A, HK_OTLP_GAUGE, "unfinished", "  s ", "unfinished_seconds" },
    { A, HK_OTLP_SUM, "queue.length", "1", "queue_length" },
    { A, HK_OTLP_SUM, "queue.length", "", "queue_length" },
    { A, HK_OTLP_HISTOGRAM, "http.server.duration", "s", "http_server_duration_seconds" },
    { A, HK_OTLP_HISTOGRAM, "duration_seconds", "s", "duration_seconds" },
    { A, HK_OTLP_HISTOGRAM, "d", "ms", "d_milliseconds" },
    { A, HK_OTLP_GAUGE, "3.14.digits", "", "_3_14_digits" },
    { A, HK_OTLP_GAUGE, "a__b..c", "", "a_b_c" },
    { A, HK_OTLP_GAUGE, "_lead.trail_", "", "lead_trail" },
    { A, HK_OTLP_GAUGE, "job:sum", "", "job:sum" },
    { A, HK_OTLP_GAUGE, "größe", "", "gr_e" },
    { A, HK_OTLP_GAUGE, "…", "", NULL },
    { A, HK_OTLP_GAUGE, "", "", NULL },
    { A, HK_OTLP_GAUGE, "x", "d", "x_days" },
    { A, HK_OTLP_GAUGE, "x", "h", "x_hours" },
    { A, HK_OTLP_GAUGE, "x", "min", "x_minutes" },
    { A, HK_OTLP_GAUGE, "x", "us", "x_microseconds" },
    { A, HK_OTLP_GAUGE, "x", "ns", "x_nanoseconds" },
    { A, HK_OTLP_GAUGE, "x", "KiBy", "x_kibibytes" },
    { A, HK_OTLP_GAUGE, "x", "MiBy", "x_mebibytes" },
    { A, HK_OTLP_GAUGE, "x", "GiBy", "x_gibibytes" },
    { A, HK_OTLP_GAUGE, "x", "TiBy", "x_tibibytes" },
    { A, HK_OTLP_GAUGE, "x", "KBy", "x_kilobytes" },
    { A, HK_OTLP_GAUGE, "x", "MBy", "x_megabytes" },
    { A, HK_OTLP_GAUGE, "x", "GBy", "x_gigabytes" },
    { A, HK_OTLP_GAUGE, "x", "TBy", "x_terabytes" },
    { A, HK_OTLP_GAUGE, "x", "V", "x_volts" },
    { A, HK_OTLP_GAUGE, "x", "A", "x_amperes" },
    { A, HK_OTLP_GAUGE, "x", "J", "x_joules" },
    { A, HK_OTLP_GAUGE, "x", "W", "x_watts" },
    { A, HK_OTLP_GAUGE, "x", "g", "x_grams" },
    { A, HK_OTLP_GAUGE, "x", "Cel", "x_celsius" },
    { A, HK_OTLP_GAUGE, "x", "Hz", "x_hertz" },
    { A, HK_OTLP_GAUGE, "x", "1/h", "x_per_hour" },
    { A, HK_OTLP_GAUGE, "x", "1/d", "x_per_day" },
    { A, HK_OTLP_GAUGE, "x", "1/w", "x_per_week" },
    { A, HK_OTLP_GAUGE, "x", "1/mo", "x_per_month" },
    { A, HK_OTLP_GAUGE, "x", "1/y", "x_per_year" },
    { B, HK_OTLP_COUNTER, "http.requests", "", "http.requests_total" },
    { B, HK_OTLP_COUNTER, "http.requests.total", "", "http.requests_total" },
    { B, HK_OTLP_GAUGE, "cpu.use", "1", "cpu.use_ratio" },
    { B, HK_OTLP_GAUGE, "io", "By/s", "io_bytes_per_second" },
    { B, HK_OTLP_HISTOGRAM, "req.seconds", "s", "req.seconds" },
    { B, HK_OTLP_COUNTER, "größe", "By", "größe_bytes_total" },
    { C, HK_OTLP_COUNTER, "http.requests", "s", "http_requests" },
    { C, HK_OTLP_COUNTER, "a__b", "", "a__b" },
    { C, HK_OTLP_COUNTER, "1st", "", "_1st" },
    { C, HK_OTLP_COUNTER, "..a...b..", "", "a_b" },
    { HK_OTLP_AS_IS, HK_OTLP_COUNTER, "http.requests", "s", "http.requests" },
};

TEST(metric_names) {
    hk_arena_init(&arena, 1 << 20);
    for (size_t i = 0; i < HK_COUNT(names); i++) {
        struct hk_str got = { "", 0 };
        const hk_err err = hk_otlp_metric_name(
            names[i].naming, hk_str_from(names[i].name), hk_str_from(names[i].unit), names[i].type,
            &arena, &got);
        CHECK_INT(err, names[i].want == NULL ? HK_E_MALFORMED : HK_OK);
        CHECK_STR(got, hk_str_from(names[i].want));
    }
    hk_arena_deinit(&arena);
}

TEST(label_names) {
    static const struct {
        enum hk_otlp_naming naming;
        const char *name, *want;
    } cases[] = {
        { A, "http.method", "http_method" },
        { A, "plain", "plain" },
        { A, "a..b", "a__b" },
        { A, "1st", "key_1st" },
        { A, "_private", "key_private" },
        { A, ".private", "key_private" },
        { A, "__name__", "__name__" },
        { A, "größe", "gr__e" },
        { A, "", NULL },
        { A, "__", NULL },
        { C, "http.method", "http_method" },
        { B, "http.method", "http.method" },
        { B, "größe", "größe" },
        { B, "_", NULL },
    };
    hk_arena_init(&arena, 1 << 20);
    for (size_t i = 0; i < HK_COUNT(cases); i++) {
        struct hk_str got = { "", 0 };
        const hk_err err =
            hk_otlp_label_name(cases[i].naming, hk_str_from(cases[i].name), &arena, &got);
        CHECK_INT(err, cases[i].want == NULL ? HK_E_MALFORMED : HK_OK);
        CHECK_STR(got, hk_str_from(cases[i].want));
    }
    hk_arena_deinit(&arena);
}

TEST(units) {
    static const struct {
        const char *unit, *want;
    } cases[] = {
        { "s", "seconds" },        { "By/s", "bytes_per_second" }, { "1", "" }, { "{x}", "" },
        { "{x}/s", "per_second" }, { "foo bar", "foo_bar" },       { "", "" },
    };
    hk_arena_init(&arena, 1 << 20);
    for (size_t i = 0; i < HK_COUNT(cases); i++) {
        struct hk_str got = { "x", 1 };
        CHECK_INT(hk_otlp_unit_name(A, hk_str_from(cases[i].unit), &arena, &got), HK_OK);
        CHECK_STR(got, hk_str_from(cases[i].want));
    }
    hk_arena_deinit(&arena);
}

static struct hk_buf buf;

static void check_value(const char *want) {
    struct hk_str got = { "", 0 };
    CHECK_INT(hk_otlp_value_text(hk_buf_get(&buf), &arena, &got), HK_OK);
    CHECK_STR(got, hk_str_from(want));
    hk_buf_clear(&buf);
}

TEST(values) {
    hk_arena_init(&arena, 1 << 20);
    hk_buf_init(&buf, 1 << 20);
    check_value("");
    hk_proto_put_str(&buf, 1, HK_STR("text \"quoted\""));
    check_value("text \"quoted\"");
    hk_proto_put_varint(&buf, 2, 1);
    check_value("true");
    hk_proto_put_varint(&buf, 3, (uint64_t)-7);
    check_value("-7");
    hk_proto_put_double(&buf, 4, 1.5);
    check_value("1.5");
    hk_proto_put_str(&buf, 7, HK_STR("\x01\xff"));
    check_value("Af8=");
    const size_t list = hk_proto_begin(&buf, 5);
    for (unsigned i = 0; i < 2; i++) {
        const size_t item = hk_proto_begin(&buf, 1);
        hk_proto_put_varint(&buf, 3, i);
        hk_proto_end(&buf, item);
    }
    const size_t nested = hk_proto_begin(&buf, 1);
    const size_t map = hk_proto_begin(&buf, 6);
    static const char *const keys[] = { "zebra", "ant" };
    for (unsigned i = 0; i < 2; i++) {
        const size_t pair = hk_proto_begin(&buf, 1);
        hk_proto_put_str(&buf, 1, hk_str_from(keys[i]));
        const size_t value = hk_proto_begin(&buf, 2);
        if (i == 0) hk_proto_put_str(&buf, 1, HK_STR("a\"b"));
        hk_proto_end(&buf, value);
        hk_proto_end(&buf, pair);
    }
    hk_proto_end(&buf, map);
    hk_proto_end(&buf, nested);
    hk_proto_end(&buf, list);
    check_value("[0,1,{\"ant\":null,\"zebra\":\"a\\\"b\"}]");
    hk_buf_deinit(&buf);
    hk_arena_deinit(&arena);
}

TEST(deep_value) {
    hk_arena_init(&arena, 1 << 20);
    hk_buf_init(&buf, 1 << 20);
    size_t begins[2 * (HK_OTLP_VALUE_DEPTH_MAX + 1)];
    size_t count = 0;
    for (unsigned i = 0; i <= HK_OTLP_VALUE_DEPTH_MAX; i++) {
        begins[count++] = hk_proto_begin(&buf, 5);
        begins[count++] = hk_proto_begin(&buf, 1);
    }
    while (count > 0)
        hk_proto_end(&buf, begins[--count]);
    struct hk_str got = { "", 0 };
    CHECK_INT(hk_otlp_value_text(hk_buf_get(&buf), &arena, &got), HK_E_LIMIT);
    hk_buf_deinit(&buf);
    hk_arena_deinit(&arena);
}

HK_TEST_MAIN()
