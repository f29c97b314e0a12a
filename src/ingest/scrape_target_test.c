/* Goal: labels and URLs of targets come out as Prometheus builds them, row by row. */
#include "hk_test.h"
#include "ingest/scrape_internal.h"
#include "ingest/scrape_labels.h"

/* Initialiser of a static struct hk_str. */
#define TEXT(literal)                                                                              \
    { "" literal, sizeof(literal) - 1 }

enum { PAIRS_MAX = 16 };

/* "a=1 b=2" as labels in `items`. */
static struct hk_labels read_labels(const char *text, struct hk_label *items) {
    struct hk_str rest = hk_str_from(text);
    uint32_t count = 0;
    for (size_t at = 0; at < rest.len && count < PAIRS_MAX;) {
        size_t end = hk_str_find(rest, ' ', at);
        struct hk_str pair = hk_str_part(rest, at, end);
        size_t equal = hk_str_find(pair, '=', 0);
        items[count++] = (struct hk_label){ hk_str_part(pair, 0, equal),
                                            hk_str_part(pair, equal + 1, pair.len) };
        at = end + 1;
    }
    return (struct hk_labels){ items, count };
}

static struct hk_str write_labels(struct hk_labels labels, struct hk_arena *arena) {
    struct hk_str text = HK_STR("");
    for (uint32_t i = 0; i < labels.count; i++) {
        text = hk_arena_printf(
            arena, "%.*s%s%.*s=%.*s", HK_STR_ARG(text), i > 0 ? " " : "",
            HK_STR_ARG(labels.items[i].name), HK_STR_ARG(labels.items[i].value));
    }
    return text;
}

/* A job with two parameters; relabel rules are chosen by the row. */
static const struct hk_str param_values[] = { TEXT("x y"), TEXT("2") };
static const struct hk_scrape_param params[] = {
    { TEXT("module"), { param_values, 2 } },
    { TEXT("a&b"), { param_values + 1, 1 } },
};

static const struct hk_str address_source[] = { TEXT("__address__") };
static const struct hk_str meta_source[] = { TEXT("__meta_zone") };

static const struct hk_relabel_config rules[][2] = {
    { { .target_label = TEXT("__tmp"), .replacement = TEXT("x") },
      { .action = HK_RELABEL_LABEL_MAP, .regex = TEXT("__meta_(.*)") } },
    /* The blackbox pattern: the address becomes a parameter. */
    { { .source_labels = address_source,
        .source_label_count = 1,
        .target_label = TEXT("__param_target") },
      { .target_label = TEXT("__address__"), .replacement = TEXT("prober:9115") } },
    { { .action = HK_RELABEL_KEEP,
        .source_labels = meta_source,
        .source_label_count = 1,
        .regex = TEXT("eu") },
      { .target_label = TEXT("__scrape_interval__"), .replacement = TEXT("250ms") } },
    { { .target_label = TEXT("__scrape_timeout__"), .replacement = TEXT("50ms") },
      { .target_label = TEXT("__scheme__"), .replacement = TEXT("https") } },
    { { .target_label = TEXT("__metrics_path__"), .replacement = TEXT("probe me?") },
      { .target_label = TEXT("__param_module"), .replacement = TEXT("z") } },
};

static const struct row {
    const char *own, *group;
    int rules; /* -1 = none */
    bool with_params;
    hk_err err;
    const char *labels; /* or part of the error */
    const char *url;
    int64_t interval_ms;
} rows[] = {
    { "__address__=host:9100", "", -1, false, HK_OK, "instance=host:9100 job=j",
      "http://host:9100/metrics", 1000 },
    { "__address__=host", "env=prod __meta_x=1 empty=", -1, false, HK_OK,
      "env=prod instance=host job=j", "http://host/metrics", 1000 },
    { "__address__=[::1]:80 env=dev", "env=prod job=own", -1, false, HK_OK,
      "env=dev instance=[::1]:80 job=own", "http://[::1]:80/metrics", 1000 },
    { "__address__=h:1 __scheme__=https __metrics_path__=/m/%d\xc3\xa4", "", -1, false, HK_OK,
      "instance=h:1 job=j", "https://h:1/m/%25d%C3%A4", 1000 },
    { "__address__=h:1 instance=me", "", -1, true, HK_OK, "instance=me job=j",
      "http://h:1/metrics?a%26b=2&module=x+y&module=2", 1000 },
    { "__address__=h:1 __meta_zone=eu", "", 0, false, HK_OK, "instance=h:1 job=j zone=eu",
      "http://h:1/metrics", 1000 },
    { "__address__=example.org/p", "", 1, false, HK_OK, "instance=prober:9115 job=j",
      "http://prober:9115/metrics?target=example.org%2Fp", 1000 },
    { "__address__=h:1 __meta_zone=us", "", 2, false, HK_END, "", "", 0 },
    { "__address__=h:1 __meta_zone=eu __scrape_timeout__=250ms", "", 2, false, HK_OK,
      "instance=h:1 job=j", "http://h:1/metrics", 250 },
    { "__address__=h:1", "", 3, false, HK_OK, "instance=h:1 job=j", "https://h:1/metrics", 1000 },
    { "__address__=h:1", "", 4, true, HK_OK, "instance=h:1 job=j",
      "http://h:1/probe%20me%3F?a%26b=2&module=z&module=2", 1000 },
    { "a=b", "", -1, false, HK_E_INVALID, "no address", "", 0 },
    { "__address__=http://x/", "", -1, false, HK_E_INVALID, "not a valid hostname", "", 0 },
    { "__address__=a@b", "", -1, false, HK_E_INVALID, "not a valid hostname", "", 0 },
    { "__address__=h:1 __scrape_interval__=x", "", -1, false, HK_E_INVALID, "scrape interval", "",
      0 },
    { "__address__=h:1 __scrape_interval__=0s", "", -1, false, HK_E_INVALID, "cannot be 0", "", 0 },
    { "__address__=h:1 __scrape_interval__=5ms __scrape_timeout__=1ms", "", -1, false, HK_E_INVALID,
      "below 10 ms", "", 0 },
    { "__address__=h:1 __scrape_timeout__=2s", "", -1, false, HK_E_INVALID, "greater than", "", 0 },
    { "__address__=h:1 a=\xff", "", -1, false, HK_E_MALFORMED, "UTF-8", "", 0 },
};

static struct hk_scrape_job_config base_config(void) {
    return (
        struct hk_scrape_job_config){ .name = HK_STR("j"), .interval_ms = 1000, .timeout_ms = 500 };
}

static hk_err
build_row(const struct row *row, struct hk_arena *arena, struct hk_scrape_target **out) {
    struct hk_scrape_job_config config = base_config();
    struct hk_label own[PAIRS_MAX];
    struct hk_label group[PAIRS_MAX];
    struct hk_scrape_job *job = NULL;
    if (row->rules >= 0) {
        config.relabel.items = rules[row->rules];
        config.relabel.count = 2;
    }
    if (row->with_params) {
        config.params.items = params;
        config.params.count = 2;
    }
    HK_TRY(hk_scrape_job_create(&config, &job));
    hk_err err = hk_scrape_target_create(
        job, read_labels(row->own, own), read_labels(row->group, group), arena, out);
    hk_scrape_job_unref(job);
    return err;
}

TEST(targets) {
    struct hk_arena arena;
    hk_arena_init(&arena, 16 << 20);
    for (size_t i = 0; i < HK_COUNT(rows); i++) {
        struct hk_scrape_target *target = NULL;
        hk_err err = build_row(&rows[i], &arena, &target);
        CHECK_INT(err, rows[i].err);
        if (err == HK_OK) {
            CHECK_STR(write_labels(target->labels, &arena), hk_str_from(rows[i].labels));
            CHECK_STR(target->url, hk_str_from(rows[i].url));
            CHECK_INT(target->interval_ms, rows[i].interval_ms);
        } else if (err < 0) {
            CHECK(strstr(hk_fail_text(), rows[i].labels) != NULL);
        } else {
            CHECK_INT(target->labels.count, 0);
            CHECK(target->discovered.count > 0);
        }
        hk_scrape_target_unref(target);
    }
    hk_arena_deinit(&arena);
}

/* Goal: what was there before relabelling is shown, with the job's defaults. */
TEST(discovered_labels) {
    struct hk_arena arena;
    hk_arena_init(&arena, 16 << 20);
    struct hk_scrape_target *target = NULL;
    CHECK_INT(build_row(&rows[6], &arena, &target), HK_OK);
    const struct hk_labels none = { NULL, 0 };
    CHECK_STR(
        write_labels(target == NULL ? none : target->discovered, &arena),
        HK_STR("__address__=example.org/p __metrics_path__=/metrics __scheme__=http "
               "__scrape_interval__=1s __scrape_timeout__=500ms job=j"));
    hk_scrape_target_unref(target);
    hk_arena_deinit(&arena);
}

static hk_err build_and_free(void) {
    struct hk_arena arena;
    hk_arena_init(&arena, 16 << 20);
    struct hk_scrape_target *target = NULL;
    hk_err err = build_row(&rows[10], &arena, &target);
    if (err >= 0) hk_scrape_target_unref(target);
    hk_arena_deinit(&arena);
    return err;
}

TEST(out_of_memory) {
    SWEEP_ALLOC(build_and_free());
}

static const struct {
    struct hk_scrape_job_config config;
    const char *text;
} refused[] = {
    { { .interval_ms = 1000 }, "no name" },
    { { .name = TEXT("a"), .interval_ms = 9 }, "below 10 ms" },
    { { .name = TEXT("a"), .interval_ms = 100, .timeout_ms = 101 }, "greater than" },
    { { .name = TEXT("a"), .scheme = TEXT("ftp") }, "neither http nor https" },
    { { .name = TEXT("a"), .relabel = { &(const struct hk_relabel_config){ 0 }, 1 } },
      "relabel_configs" },
};

TEST(refused_jobs) {
    for (size_t i = 0; i < HK_COUNT(refused); i++) {
        struct hk_scrape_job *job = NULL;
        CHECK_INT(hk_scrape_job_create(&refused[i].config, &job), HK_E_INVALID);
        CHECK(strstr(hk_fail_text(), refused[i].text) != NULL);
    }
}

/* Goal: equal configurations have equal keys, and every kind of field tells others apart. */
TEST(job_keys) {
    struct hk_scrape_job_config variants[8];
    for (size_t i = 0; i < HK_COUNT(variants); i++)
        variants[i] = base_config();
    variants[1].http.tls.server_name = HK_STR("x");
    variants[2].params.items = params;
    variants[2].params.count = 1;
    variants[3].honor_labels = true;
    variants[4].limits.samples = 1;
    variants[5].metric_relabel.items = rules[0];
    variants[5].metric_relabel.count = 2;
    variants[6].metric_relabel.items = rules[1];
    variants[6].metric_relabel.count = 2;
    variants[7].protocols = (const int32_t[]){ HK_SCRAPE_PROTO_TEXT_004 };
    variants[7].protocol_count = 1;
    struct hk_scrape_job *jobs[HK_COUNT(variants)] = { NULL };
    struct hk_scrape_job *again = NULL;
    for (size_t i = 0; i < HK_COUNT(variants); i++)
        CHECK_INT(hk_scrape_job_create(&variants[i], &jobs[i]), HK_OK);
    for (size_t i = 0; i < HK_COUNT(variants); i++) {
        CHECK_INT(hk_scrape_job_create(&variants[i], &again), HK_OK);
        for (size_t k = 0; k < HK_COUNT(variants); k++)
            CHECK_INT(hk_str_eq(jobs[k]->key, again->key), i == k);
        hk_scrape_job_unref(again);
    }
    CHECK_STR(
        jobs[0]->accept,
        HK_STR("application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
               "application/openmetrics-text;version=0.0.1;q=0.5,"
               "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,"
               "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"));
    CHECK_STR(jobs[7]->accept, HK_STR("text/plain;version=0.0.4;q=0.6,*/*;q=0.5"));
    for (size_t i = 0; i < HK_COUNT(variants); i++)
        hk_scrape_job_unref(jobs[i]);
}

/* Target labels are instance=i job=j; rules: 0 none, 1 drop b.*, 2 rename the metric away. */
static const struct {
    const char *exposed;
    bool honor;
    int rule;
    hk_err err;
    const char *labels;
} series[] = {
    { "__name__=up a=1", false, 0, HK_OK, "__name__=up a=1 instance=i job=j" },
    { "__name__=x job=theirs", false, 0, HK_OK, "__name__=x exported_job=theirs instance=i job=j" },
    { "__name__=x job=theirs exported_job=old", false, 0, HK_OK,
      "__name__=x exported_exported_job=theirs exported_job=old instance=i job=j" },
    { "__name__=x job=theirs instance=", false, 0, HK_OK,
      "__name__=x exported_job=theirs instance=i job=j" },
    { "__name__=x job=theirs", true, 0, HK_OK, "__name__=x instance=i job=theirs" },
    { "__name__=x instance=", true, 0, HK_OK, "__name__=x job=j" },
    { "__name__=x b=1", false, 1, HK_OK, "__name__=x instance=i job=j" },
    { "__name__=x b=1", false, 2, HK_E_MALFORMED, "" },
    { "__name__=x b=drop", false, 3, HK_END, "" },
    { "b=1", false, 0, HK_E_MALFORMED, "" },
};

static const struct hk_str b_source[] = { TEXT("b") };
static const struct hk_relabel_config series_rules[] = {
    { .action = HK_RELABEL_LABEL_DROP, .regex = TEXT("b.*") },
    { .target_label = TEXT("__name__"), .replacement = TEXT("") },
    { .action = HK_RELABEL_DROP,
      .source_labels = b_source,
      .source_label_count = 1,
      .regex = TEXT("drop") },
};

TEST(series_labels) {
    static struct hk_label_set set;
    struct hk_arena arena;
    hk_arena_init(&arena, 16 << 20);
    struct hk_label own[] = { { HK_STR("instance"), HK_STR("i") }, { HK_STR("job"), HK_STR("j") } };
    for (size_t i = 0; i < HK_COUNT(series); i++) {
        struct hk_relabel *relabel = NULL;
        if (series[i].rule > 0)
            CHECK_INT(hk_relabel_create(&series_rules[series[i].rule - 1], 1, &relabel), HK_OK);
        struct hk_scrape_target target = { .labels = { own, 2 },
                                           .honor_labels = series[i].honor,
                                           .metric_relabel = relabel };
        struct hk_label items[PAIRS_MAX];
        struct hk_labels exposed = read_labels(series[i].exposed, items);
        hk_label_set_clear(&set);
        for (uint32_t k = 0; k < exposed.count; k++)
            hk_label_set_add(&set, exposed.items[k].name, exposed.items[k].value);
        hk_err err = hk_scrape_series_labels(&target, &set, &arena);
        CHECK_INT(err, series[i].err);
        struct hk_labels labels;
        if (err == HK_OK) {
            CHECK_INT(hk_label_set_finish(&set, &labels), HK_OK);
            CHECK_STR(write_labels(labels, &arena), hk_str_from(series[i].labels));
        }
        hk_relabel_destroy(relabel);
    }
    hk_arena_deinit(&arena);
}

TEST(label_limits) {
    struct hk_label items[] = { { HK_STR("__name__"), HK_STR("metric") },
                                { HK_STR("long_name"), HK_STR("long value") } };
    struct hk_labels labels = { items, 2 };
    struct hk_scrape_target target = { .hash = 0 };
    CHECK_INT(hk_scrape_check_labels(&target, labels), HK_OK);
    target.limits.labels = 1;
    CHECK_INT(hk_scrape_check_labels(&target, labels), HK_E_LIMIT);
    CHECK_TEXT(
        hk_fail_text(), "label_limit exceeded (metric: metric, number of labels: 2, limit: 1)");
    target.limits = (struct hk_scrape_limits){ .label_name_bytes = 8 };
    CHECK_INT(hk_scrape_check_labels(&target, labels), HK_E_LIMIT);
    target.limits = (struct hk_scrape_limits){ .label_value_bytes = 9 };
    CHECK_INT(hk_scrape_check_labels(&target, labels), HK_E_LIMIT);
    target.limits = (struct hk_scrape_limits){ .label_value_bytes = 10, .label_name_bytes = 9 };
    CHECK_INT(hk_scrape_check_labels(&target, labels), HK_OK);
}

TEST(content_types) {
    static const struct {
        const char *type;
        int32_t fallback;
        hk_err err;
        enum hk_scrape_format format;
    } cases[] = {
        { "text/plain; version=0.0.4; charset=utf-8", 0, HK_OK, HK_SCRAPE_TEXT },
        { "TEXT/Plain", 0, HK_OK, HK_SCRAPE_TEXT },
        { "", 0, HK_OK, HK_SCRAPE_TEXT },
        { "", HK_SCRAPE_PROTO_PROTOBUF, HK_OK, HK_SCRAPE_PROTOBUF },
        { "application/openmetrics-text; version=1.0.0", 0, HK_OK, HK_SCRAPE_OPENMETRICS },
        { "application/vnd.google.protobuf; proto=\"io.prometheus.client.MetricFamily\"; "
          "encoding=delimited",
          0, HK_OK, HK_SCRAPE_PROTOBUF },
        { "application/vnd.google.protobuf; proto=other", 0, HK_E_UNSUPPORTED, HK_SCRAPE_TEXT },
        { "text/html", 0, HK_E_UNSUPPORTED, HK_SCRAPE_TEXT },
        { "text/html", HK_SCRAPE_PROTO_TEXT_004, HK_OK, HK_SCRAPE_TEXT },
        { "text/html", HK_SCRAPE_PROTO_OPENMETRICS_100, HK_OK, HK_SCRAPE_OPENMETRICS },
    };
    for (size_t i = 0; i < HK_COUNT(cases); i++) {
        enum hk_scrape_format format = HK_SCRAPE_TEXT;
        CHECK_INT(
            hk_scrape_format_of(hk_str_from(cases[i].type), cases[i].fallback, &format),
            cases[i].err);
        if (cases[i].err == HK_OK) CHECK_INT(format, cases[i].format);
    }
}

HK_TEST_MAIN()
