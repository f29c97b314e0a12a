/*
 * Goal: each kind of OTLP point gives the series and values that Prometheus would give, in any
 * field order and at any boundary of batches; broken bodies are refused, never read past.
 */
#include "hk_otlp_build.h"
#include "hk_test.h"
#include "ingest/otlp.h"
#include "model/exemplar.h"
#include "model/histogram.h"

/* What a body gives: one line per entry, then the metadata. */
struct transcript {
    struct hk_buf text, metas;
    struct hk_arena arena;
    struct hk_batch *batch;
    hk_err err;
    uint64_t points, rejected, turns, entries;
    struct hk_otlp_counts counts;
};

static struct hk_otlp_options options;
static struct hk_meta_seen *seen;

static void note_exemplar(struct transcript *to, const struct hk_entry *entry) {
    struct hk_exemplar exemplar = { 0 };
    const struct hk_str payload = { entry->payload, entry->payload_bytes };
    CHECK_INT(hk_exemplar_decode(payload, &to->arena, &exemplar), HK_OK);
    hk_buf_text(&to->text, " # ");
    hk_labels_format(exemplar.labels, &to->text);
}

static void note_side(struct hk_buf *text, const struct hk_histogram_side *side, char sign) {
    uint32_t bucket = 0;
    int64_t index = 0;
    for (uint32_t i = 0; i < side->span_count; i++) {
        index += side->spans[i].offset;
        hk_buf_printf(text, " %c%" PRId64 ":", sign, index);
        for (uint32_t k = 0; k < side->spans[i].length; k++) {
            if (k > 0) hk_buf_char(text, ',');
            hk_buf_double(text, side->counts[bucket++]);
        }
        index += side->spans[i].length;
    }
}

/* " schema 3 count 9 zero 1@1e-128 +2:1,2 -1:3": spans with the index of their first bucket. */
static void note_histogram(struct transcript *to, const struct hk_entry *entry) {
    struct hk_histogram histogram = { 0 };
    const struct hk_str payload = { entry->payload, entry->payload_bytes };
    CHECK_INT(hk_histogram_decode(payload, &to->arena, &histogram), HK_OK);
    hk_buf_printf(&to->text, " schema %d count ", histogram.schema);
    hk_buf_double(&to->text, histogram.count);
    hk_buf_text(&to->text, " zero ");
    hk_buf_double(&to->text, histogram.zero_count);
    hk_buf_char(&to->text, '@');
    hk_buf_double(&to->text, histogram.zero_threshold);
    note_side(&to->text, &histogram.positive, '+');
    note_side(&to->text, &histogram.negative, '-');
}

static void note(struct transcript *to, struct hk_otlp *otlp, const struct hk_entry *entry) {
    static const char *const kinds[] = { "set", "add", "histogram", "exemplar", "histogram-add" };
    struct hk_label_set set;
    struct hk_labels labels = { 0 };
    hk_label_set_clear(&set);
    hk_err err = hk_parser_otlp.labels(otlp, to->batch, entry, &set);
    if (err == HK_OK) err = hk_label_set_finish(&set, &labels);
    hk_buf_printf(&to->text, "%s ", kinds[entry->kind]);
    if (err < 0) {
        hk_buf_text(&to->text, hk_fail_text());
    } else {
        hk_labels_format(labels, &to->text);
    }
    hk_buf_char(&to->text, ' ');
    if (hk_is_stale(entry->value)) {
        hk_buf_text(&to->text, "stale");
    } else {
        hk_buf_double(&to->text, entry->value);
    }
    hk_buf_printf(&to->text, " %" PRId64, entry->stamp_ms);
    if (entry->start_ms != 0) hk_buf_printf(&to->text, " since %" PRId64, entry->start_ms);
    if (entry->kind == HK_ENTRY_EXEMPLAR) note_exemplar(to, entry);
    if (entry->kind == HK_ENTRY_HISTOGRAM || entry->kind == HK_ENTRY_HISTOGRAM_ADD) {
        note_histogram(to, entry);
    }
    hk_buf_char(&to->text, '\n');
    to->entries++;
}

static void note_metas(struct transcript *to) {
    for (uint32_t i = 0; i < to->batch->meta_count; i++) {
        const struct hk_batch_meta *meta = &to->batch->metas[i];
        hk_buf_printf(
            &to->metas, "meta %.*s %.*s [%.*s] [%.*s]\n", HK_STR_ARG(meta->metric),
            HK_STR_ARG(meta->type), HK_STR_ARG(meta->help), HK_STR_ARG(meta->unit));
    }
}

/* Parses with `room` free entries in each turn. */
static void run(struct transcript *to, struct hk_str body, uint32_t room) {
    static struct hk_batch batch;
    static struct hk_otlp otlp;
    hk_otlp_init(&otlp, body, (struct hk_hash128){ 1, 2 }, &options, seen);
    *to = (struct transcript){ .batch = &batch };
    hk_arena_init(&to->arena, 1 << 26);
    hk_buf_init(&to->text, 1 << 26);
    hk_buf_init(&to->metas, 1 << 26);
    batch.arena = &to->arena;
    do {
        hk_batch_clear(&batch);
        batch.count = HK_BATCH_ENTRIES_MAX - room;
        const uint32_t first = batch.count;
        to->err = hk_parser_otlp.parse(&otlp, &batch);
        for (uint32_t i = first; i < batch.count; i++)
            note(to, &otlp, &batch.entries[i]);
        note_metas(to);
        to->points += batch.points;
        to->rejected += batch.rejected;
        to->turns++;
    } while (to->err == HK_FULL && to->turns < 1000000);
    hk_buf_str(&to->text, hk_buf_get(&to->metas));
    to->counts = otlp.counts;
}

static void end(struct transcript *to) {
    hk_buf_deinit(&to->text);
    hk_buf_deinit(&to->metas);
    hk_arena_deinit(&to->arena);
}

static void check_text(const char *want) {
    struct transcript got;
    run(&got, hk_buf_get(&o.buf), HK_BATCH_ENTRIES_MAX);
    CHECK_INT(got.err, HK_OK);
    CHECK_STR(hk_buf_get(&got.text), hk_str_from(want));
    end(&got);
    o_reset();
}

static void check_refused(uint64_t count, const char *why) {
    struct transcript got;
    run(&got, hk_buf_get(&o.buf), HK_BATCH_ENTRIES_MAX);
    CHECK_INT(got.err, HK_OK);
    CHECK_INT(got.rejected, count);
    CHECK_INT(got.points, 0);
    CHECK_INT(got.entries, 0);
    CHECK_TEXT(got.batch->reject_text, why);
    end(&got);
    o_reset();
}

static void ends(unsigned count) {
    for (; count > 0; count--)
        o_end();
}

TEST(gauge) {
    o_reset();
    o_resource("shop", NULL);
    o_metric("room.temperature", "How warm.", "Cel", 5);
    o_number(21.5, "a", 0);
    o_begin(1); /* an integer, attributes first */
    o_attr(7, "host", "b");
    hk_proto_put_fixed64(&o.buf, 6, (uint64_t)-7);
    hk_proto_put_fixed64(&o.buf, 3, O_TIME_NS);
    o_end();
    o_metric_end(0, false);
    ends(2);
    check_text("set room_temperature_celsius{host=\"a\", job=\"shop\"} 21.5 1700000060500\n"
               "set room_temperature_celsius{host=\"b\", job=\"shop\"} -7 1700000060500\n"
               "meta room_temperature_celsius gauge [How warm.] [celsius]\n");
}

TEST(sums) {
    o_reset();
    o_resource("shop", NULL);
    o_metric("requests", "", "", 7);
    o_number(5, NULL, 200);
    o_metric_end(2, true);
    o_metric("requests.delta", "", "", 7);
    o_number(6, NULL, 0);
    o_metric_end(1, true);
    o_metric("queue", "", "1", 7);
    o_number(7, NULL, 0);
    o_metric_end(2, false);
    ends(2);
    check_text(
        "set requests_total{http_code=\"200\", job=\"shop\"} 5 1700000060500 since 1700000000000\n"
        "add requests_delta_total{job=\"shop\"} 6 1700000060500 since 1700000000000\n"
        "set queue{job=\"shop\"} 7 1700000060500 since 1700000000000\n"
        "meta requests_total counter [] []\n"
        "meta requests_delta_total counter [] []\n"
        "meta queue gauge [] []\n");
}

static void put_histogram(unsigned flags) {
    o_begin(1);
    hk_proto_put_fixed64(&o.buf, 2, O_START_NS);
    hk_proto_put_fixed64(&o.buf, 3, O_TIME_NS);
    hk_proto_put_fixed64(&o.buf, 4, 10);
    hk_proto_put_double(&o.buf, 5, 12.5);
    o_begin(6);
    static const uint64_t counts[] = { 2, 3, 5 };
    hk_buf_bytes(&o.buf, counts, sizeof(counts));
    o_end();
    o_begin(7);
    static const double bounds[] = { -0.0, 2.5 };
    hk_buf_bytes(&o.buf, bounds, sizeof(bounds));
    o_end();
    static const double values[] = { 2.5, 100 };
    for (unsigned i = 0; i < HK_COUNT(values) && flags == 0; i++) {
        o_begin(8);
        hk_proto_put_fixed64(&o.buf, 2, O_TIME_NS);
        hk_proto_put_double(&o.buf, 3, values[i]);
        hk_proto_put_str(&o.buf, 4, HK_STR("\x01\x02\x03\x04\x05\x06\x07\x08"));
        hk_proto_put_str(&o.buf, 5, HK_STR("\xff\xfe"));
        o_attr(7, "user.id", "42");
        o_end();
    }
    o_attr(9, "host", "a");
    if (flags != 0) hk_proto_put_varint(&o.buf, 10, flags);
    o_end();
}

TEST(histogram) {
    o_reset();
    o_resource("shop", NULL);
    o_metric("latency", "", "s", 9);
    put_histogram(0);
    o_metric_end(2, false);
    ends(2);
#define TAIL "job=\"shop\"}"
#define AT   " 1700000060500 since 1700000000000\n"
    check_text(
        "set latency_seconds_sum{host=\"a\", " TAIL " 12.5" AT
        "set latency_seconds_count{host=\"a\", " TAIL " 10" AT
        "set latency_seconds_bucket{host=\"a\", job=\"shop\", le=\"0\"} 2" AT
        "set latency_seconds_bucket{host=\"a\", job=\"shop\", le=\"2.5\"} 5" AT
        "set latency_seconds_bucket{host=\"a\", job=\"shop\", le=\"+Inf\"} 10" AT
        "exemplar latency_seconds_bucket{host=\"a\", job=\"shop\", le=\"2.5\"} 2.5 1700000060500"
        " # {span_id=\"0102030405060708\", trace_id=\"fffe\", user_id=\"42\"}\n"
        "exemplar latency_seconds_bucket{host=\"a\", job=\"shop\", le=\"+Inf\"} 100 1700000060500"
        " # {span_id=\"0102030405060708\", trace_id=\"fffe\", user_id=\"42\"}\n"
        "meta latency_seconds histogram [] [seconds]\n");
    o_resource("shop", NULL);
    o_metric("latency", "", "s", 9);
    put_histogram(1);
    o_metric_end(1, false);
    ends(2);
    check_text("set latency_seconds_sum{host=\"a\", " TAIL " stale" AT
               "set latency_seconds_count{host=\"a\", " TAIL " stale" AT
               "set latency_seconds_bucket{host=\"a\", job=\"shop\", le=\"0\"} stale" AT
               "set latency_seconds_bucket{host=\"a\", job=\"shop\", le=\"2.5\"} stale" AT
               "set latency_seconds_bucket{host=\"a\", job=\"shop\", le=\"+Inf\"} stale" AT
               "meta latency_seconds histogram [] [seconds]\n");
}

TEST(histogram_forms) {
    o_reset(); /* unpacked, in two parts, without a sum, delta */
    o_resource("shop", NULL);
    o_metric("h", "", "", 9);
    o_begin(1);
    hk_proto_put_double(&o.buf, 7, 1);
    hk_proto_put_fixed64(&o.buf, 6, 1);
    hk_proto_put_fixed64(&o.buf, 3, O_TIME_NS);
    hk_proto_put_double(&o.buf, 7, 2);
    hk_proto_put_fixed64(&o.buf, 6, 2);
    hk_proto_put_fixed64(&o.buf, 6, 3);
    hk_proto_put_fixed64(&o.buf, 4, 6);
    o_end();
    o_begin(1); /* count only */
    hk_proto_put_fixed64(&o.buf, 3, O_TIME_NS);
    hk_proto_put_fixed64(&o.buf, 4, 4);
    o_attr(9, "host", "a");
    o_end();
    o_metric_end(1, false);
    ends(2);
    check_text("add h_count{job=\"shop\"} 6 1700000060500\n"
               "add h_bucket{job=\"shop\", le=\"1\"} 1 1700000060500\n"
               "add h_bucket{job=\"shop\", le=\"2\"} 3 1700000060500\n"
               "add h_bucket{job=\"shop\", le=\"+Inf\"} 6 1700000060500\n"
               "add h_count{host=\"a\", job=\"shop\"} 4 1700000060500\n"
               "add h_bucket{host=\"a\", job=\"shop\", le=\"+Inf\"} 4 1700000060500\n"
               "meta h histogram [] []\n");
}

static void put_buckets(uint32_t number, int64_t offset, const char *counts) {
    o_begin(number);
    hk_proto_put_zigzag(&o.buf, 1, offset);
    hk_proto_put_str(&o.buf, 2, hk_str_from(counts)); /* packed varints, none of them 0 or "10" */
    o_end();
}

static void put_exponential(int64_t scale, unsigned flags) {
    o_begin(1);
    o_attr(1, "host", "a");
    hk_proto_put_fixed64(&o.buf, 2, O_START_NS);
    hk_proto_put_fixed64(&o.buf, 3, O_TIME_NS);
    hk_proto_put_fixed64(&o.buf, 4, 20);
    hk_proto_put_double(&o.buf, 5, 12.5);
    hk_proto_put_zigzag(&o.buf, 6, scale);
    hk_proto_put_fixed64(&o.buf, 7, 2);
    put_buckets(8, -3, "\x01\x02\x03\x04\x05");
    put_buckets(9, 6, "\x03");
    if (flags != 0) hk_proto_put_varint(&o.buf, 10, flags);
    o_begin(11);
    hk_proto_put_fixed64(&o.buf, 2, O_TIME_NS);
    hk_proto_put_double(&o.buf, 3, 9);
    o_end();
    o_end();
}

static void put_exponential_metric(int64_t scale, unsigned flags, unsigned temporality) {
    o_resource("shop", NULL);
    o_metric("e", "", "s", 10);
    put_exponential(scale, flags);
    o_metric_end(temporality, false);
    ends(2);
}

#define E_META     "meta e_seconds histogram [] [seconds]\n"
#define E_EXEMPLAR "exemplar e_seconds{host=\"a\", job=\"shop\"} 9 1700000060500 # {}\n" E_META

TEST(exponential_histograms) {
    o_reset();
    put_exponential_metric(3, 0, 2);
    check_text("histogram e_seconds{host=\"a\", " TAIL " 12.5 1700000060500 since 1700000000000"
               " schema 3 count 20 zero 2@1e-128 +-2:1,2,3,4,5 -7:3\n" E_EXEMPLAR);
    put_exponential_metric(-4, 0, 1);
    check_text("histogram-add e_seconds{host=\"a\", " TAIL " 12.5 1700000060500 since "
               "1700000000000 schema -4 count 20 zero 2@1e-128 +-2:1,2,3,4,5 -7:3\n" E_EXEMPLAR);
    /* Scale 10: OTLP buckets -3…1 are -1, -1, -1, 0, 0 of scale 8, that is 0 and 1 natively. */
    put_exponential_metric(10, 0, 2);
    check_text("histogram e_seconds{host=\"a\", " TAIL " 12.5 1700000060500 since 1700000000000"
               " schema 8 count 20 zero 2@1e-128 +0:6,9 -2:3\n" E_EXEMPLAR);
    put_exponential_metric(3, 1, 2);
    check_text("histogram e_seconds{host=\"a\", " TAIL " stale 1700000060500 since 1700000000000"
               " schema 0 count 0 zero 0@0\n" E_EXEMPLAR);
    put_exponential_metric(-5, 0, 2);
    check_refused(1, "otlp: metric \"e\": histogram: scale -5 is under -4");
}

TEST(exponential_gaps) {
    o_reset();
    o_resource("shop", NULL);
    o_metric("e", "", "", 10);
    o_begin(1);
    hk_proto_put_fixed64(&o.buf, 3, O_TIME_NS);
    hk_proto_put_fixed64(&o.buf, 4, 6);
    hk_proto_put_double(&o.buf, 14, 0.25);
    o_begin(8); /* empty at both ends; gaps of 2 and of 3; in two parts, one not packed */
    hk_proto_put_str(&o.buf, 2, (struct hk_str){ "\0\1\0\0\2\0", 6 });
    hk_proto_put_varint(&o.buf, 2, 0);
    hk_proto_put_str(&o.buf, 2, (struct hk_str){ "\0\3\0", 3 });
    o_end();
    o_end();
    o_metric_end(2, false);
    ends(2);
    check_text("histogram e{job=\"shop\"} 0 1700000060500 schema 0 count 6 zero 0@0.25"
               " +2:1,0,0,2 +9:3\nmeta e histogram [] []\n");
    o_resource("shop", NULL);
    o_metric("e", "", "", 10);
    o_begin(1);
    hk_proto_put_fixed64(&o.buf, 3, O_TIME_NS);
    put_buckets(8, INT32_MAX, "\x01");
    o_end();
    o_begin(1);
    o_end();
    o_metric_end(2, false);
    ends(2);
    check_refused(2, "otlp: metric \"e\": histogram: bucket offset out of range");
}

TEST(summary) {
    o_reset();
    o_resource("shop", NULL);
    o_metric("s", "", "", 11);
    o_begin(1);
    hk_proto_put_fixed64(&o.buf, 3, O_TIME_NS);
    hk_proto_put_fixed64(&o.buf, 4, 4);
    hk_proto_put_double(&o.buf, 5, 8);
    o_begin(6);
    hk_proto_put_double(&o.buf, 1, 0.5);
    hk_proto_put_double(&o.buf, 2, 1.5);
    o_end();
    o_begin(6);
    hk_proto_put_double(&o.buf, 1, 0.99);
    hk_proto_put_double(&o.buf, 2, 3);
    o_end();
    o_attr(7, "host", "a");
    o_end();
    o_metric_end(0, false);
    ends(2);
    check_text("set s_sum{host=\"a\", job=\"shop\"} 8 1700000060500\n"
               "set s_count{host=\"a\", job=\"shop\"} 4 1700000060500\n"
               "set s{host=\"a\", job=\"shop\", quantile=\"0.5\"} 1.5 1700000060500\n"
               "set s{host=\"a\", job=\"shop\", quantile=\"0.99\"} 3 1700000060500\n"
               "meta s summary [] []\n");
}

TEST(stale_and_exemplar_of_sums) {
    o_reset();
    o_resource("shop", NULL);
    o_metric("c", "", "", 7);
    o_begin(1);
    hk_proto_put_fixed64(&o.buf, 3, O_TIME_NS);
    hk_proto_put_varint(&o.buf, 8, 1);
    o_end();
    o_begin(1);
    hk_proto_put_fixed64(&o.buf, 3, O_TIME_NS);
    hk_proto_put_double(&o.buf, 4, 3);
    o_begin(5);
    hk_proto_put_fixed64(&o.buf, 2, O_TIME_NS);
    hk_proto_put_fixed64(&o.buf, 6, 9);
    o_end();
    o_begin(5); /* no value: refused */
    hk_proto_put_fixed64(&o.buf, 2, O_TIME_NS);
    o_end();
    o_end();
    o_metric_end(2, true);
    ends(2);
    struct transcript got;
    run(&got, hk_buf_get(&o.buf), 8);
    CHECK_INT(got.counts.exemplars, 1);
    CHECK_INT(got.counts.exemplars_rejected, 1);
    end(&got);
    check_text("set c_total{job=\"shop\"} stale 1700000060500\n"
               "set c_total{job=\"shop\"} 3 1700000060500\n"
               "exemplar c_total{job=\"shop\"} 9 1700000060500 # {}\n"
               "meta c_total counter [] []\n");
}

static void put_one(const char *name) {
    o_metric(name, "", "", 5);
    o_number(1, NULL, 0);
    o_metric_end(0, false);
}

TEST(resources) {
    o_reset();
    o_resource("shop", "h1"); /* two resources: target_info each */
    put_one("a");
    ends(2);
    o_resource("cart", "h2");
    put_one("a");
    ends(2);
    o_resource(NULL, "h3"); /* nothing identifies it */
    put_one("a");
    ends(2);
    o_resource("empty", "h4"); /* no points */
    ends(2);
    check_text("set a{job=\"shop\"} 1 1700000060500\n"
               "set target_info{host_name=\"h1\", job=\"shop\"} 1 1700000060500\n"
               "set a{job=\"cart\"} 1 1700000060500\n"
               "set target_info{host_name=\"h2\", job=\"cart\"} 1 1700000060500\n"
               "set a 1 1700000060500\n"
               "meta a gauge [] []\nmeta a gauge [] []\nmeta a gauge [] []\n");
    o_begin(1); /* resource behind its metrics, in two parts; namespace and instance */
    o_begin(2);
    put_one("b");
    o_end();
    o_begin(1);
    o_attr(1, "service.namespace", "ns");
    o_attr(1, "service.name", "svc");
    o_end();
    o_begin(1);
    o_attr(1, "service.instance.id", "i-1");
    o_attr_int(1, "process.pid", 77);
    o_end();
    o_end();
    check_text("set b{instance=\"i-1\", job=\"ns/svc\"} 1 1700000060500\n"
               "set target_info{instance=\"i-1\", job=\"ns/svc\", process_pid=\"77\"} 1 "
               "1700000060500\n"
               "meta b gauge [] []\n");
}

TEST(promotion) {
    static const struct hk_str promote[] = { { "host.name", 9 } };
    o_reset();
    options.promote = promote;
    options.promote_count = 1;
    options.promote_scope = true;
    o_resource("shop", "h1");
    put_one("a");
    ends(2);
    check_text("set a{host_name=\"h1\", job=\"shop\", otel_scope_name=\"scope\", "
               "otel_scope_version=\"1.0\"} 1 1700000060500\n"
               "set target_info{host_name=\"h1\", job=\"shop\"} 1 1700000060500\n"
               "meta a gauge [] []\n");
    options = (struct hk_otlp_options){ .promote_all_resource = true,
                                        .keep_identifying = true,
                                        .promote = promote,
                                        .promote_count = 1 };
    o_resource("shop", "h1");
    put_one("a");
    ends(2);
    check_text("set a{job=\"shop\", service_name=\"shop\"} 1 1700000060500\n"
               "set target_info{host_name=\"h1\", job=\"shop\", service_name=\"shop\"} 1 "
               "1700000060500\n"
               "meta a gauge [] []\n");
    options = (struct hk_otlp_options){ .naming = HK_OTLP_UTF8_SUFFIXES };
    o_resource("shop", NULL);
    o_metric("a.b", "", "", 7);
    o_number(1, NULL, 5);
    o_metric_end(2, true);
    ends(2);
    check_text("set {\"a.b_total\", \"http.code\"=\"5\", job=\"shop\"} 1 1700000060500 since "
               "1700000000000\n"
               "meta a.b_total counter [] []\n");
    options = (struct hk_otlp_options){ .promote_scope = false };
}

TEST(colliding_and_scattered_attributes) {
    o_reset();
    o_resource("shop", NULL);
    o_metric("a", "", "", 5);
    o_begin(1);
    o_attr(7, "x.y", "2");
    hk_proto_put_fixed64(&o.buf, 3, O_TIME_NS);
    o_attr(7, "x_y", "3");
    hk_proto_put_double(&o.buf, 4, 1);
    o_attr(7, "x-y", "1");
    o_attr(7, "le", "");
    o_end();
    o_metric_end(0, false);
    ends(2);
    check_text("set a{job=\"shop\", x_y=\"1;2;3\"} 1 1700000060500\nmeta a gauge [] []\n");
}

TEST(refusals) {
    o_reset();
    o_resource("shop", "h1");
    o_metric("a", "", "", 5);
    o_begin(1);
    hk_proto_put_double(&o.buf, 4, 1);
    o_end();
    o_metric_end(0, false);
    ends(2);
    check_refused(1, "otlp: metric \"a\" has a point without a time");
    o_resource("shop", NULL);
    o_metric("a", "", "", 5);
    o_begin(1);
    hk_proto_put_fixed64(&o.buf, 3, O_TIME_NS);
    o_end();
    o_metric_end(0, false);
    ends(2);
    check_refused(1, "otlp: metric \"a\" has a point without a value");
    o_resource("shop", NULL);
    o_metric("a", "", "", 7);
    o_number(1, NULL, 0);
    o_number(2, NULL, 0);
    o_metric_end(0, true);
    ends(2);
    check_refused(2, "otlp: a metric without aggregation temporality (\"a\")");
    o_resource("shop", NULL);
    o_metric("", "", "", 5);
    o_number(1, NULL, 0);
    o_metric_end(0, true);
    ends(2);
    check_refused(1, "otlp: a metric without a name (\"\")");
    o_resource("shop", NULL);
    o_metric("h", "", "", 9);
    o_begin(1);
    hk_proto_put_fixed64(&o.buf, 3, O_TIME_NS);
    hk_proto_put_fixed64(&o.buf, 6, 1);
    hk_proto_put_fixed64(&o.buf, 6, 1);
    hk_proto_put_fixed64(&o.buf, 6, 1);
    hk_proto_put_double(&o.buf, 7, 2);
    hk_proto_put_double(&o.buf, 7, 2);
    o_end();
    o_begin(1);
    hk_proto_put_fixed64(&o.buf, 3, O_TIME_NS);
    hk_proto_put_fixed64(&o.buf, 6, 1);
    hk_proto_put_double(&o.buf, 7, 2);
    o_end();
    o_metric_end(2, true);
    ends(2);
    check_refused(2, "otlp: metric \"h\" has a histogram whose bounds do not ascend");
}

TEST(empty) {
    o_reset();
    check_text("");
}

/* Context and key are what identity is made of. */
TEST(identity) {
    static struct hk_batch batch;
    static struct hk_otlp otlp;
    struct hk_arena arena;
    o_reset();
    for (unsigned i = 0; i < 2; i++) {
        o_resource("shop", "h1");
        o_metric("a", "help", "s", 7);
        o_number(1, "x", 0);
        o_number(1, "y", 0);
        o_metric_end(2, true);
        o_metric("a", "help", "s", 7);
        o_number(1, "x", 0);
        o_metric_end(1, true);
        o_begin(2); /* header in another order, behind the data */
        o_begin(7);
        o_number(1, "x", 0);
        hk_proto_put_varint(&o.buf, 2, 2);
        hk_proto_put_varint(&o.buf, 3, 1);
        o_end();
        hk_proto_put_str(&o.buf, 3, HK_STR("s"));
        hk_proto_put_str(&o.buf, 1, HK_STR("a"));
        hk_proto_put_str(&o.buf, 2, HK_STR("help"));
        o_end();
        ends(2);
    }
    hk_arena_init(&arena, 1 << 20);
    hk_batch_clear(&batch);
    batch.arena = &arena;
    hk_otlp_init(&otlp, hk_buf_get(&o.buf), (struct hk_hash128){ 1, 2 }, NULL, NULL);
    CHECK_INT(hk_parser_otlp.parse(&otlp, &batch), HK_OK);
    CHECK_INT(batch.count, 10);
    CHECK_INT(batch.points, 8);
    const struct hk_entry *e = batch.entries;
    CHECK(e[0].context == e[1].context);
    CHECK(memcmp(&e[0].context->hash, &e[2].context->hash, 16) != 0);
    CHECK(memcmp(&e[0].context->hash, &e[3].context->hash, 16) == 0);
    CHECK(memcmp(&e[0].context->hash, &e[4].context->hash, 16) != 0);
    for (unsigned i = 0; i < 5; i++)
        CHECK(memcmp(&e[i].context->hash, &e[i + 5].context->hash, 16) == 0);
    CHECK_INT(e[0].key_bytes, e[2].key_bytes);
    CHECK(memcmp(e[0].key, e[2].key, e[0].key_bytes) == 0);
    CHECK(memcmp(e[0].key, e[1].key, e[0].key_bytes) != 0);
    hk_arena_deinit(&arena);
    o_reset();
}

static void put_everything(unsigned count) {
    for (unsigned i = 0; i < count; i++) {
        char name[32];
        (void)snprintf(name, sizeof(name), "metric.%u", i);
        if (i % 10 == 0) o_resource(name, i % 20 == 0 ? "h" : NULL);
        static const uint32_t data[] = { 5, 7, 9, 10 };
        o_metric(name, "help", "s", data[i % 4]);
        for (unsigned k = 0; k < 5; k++) {
            if (i % 4 == 2) {
                put_histogram(k == 3);
            } else if (i % 4 == 3) {
                put_exponential(k, 0);
            } else {
                o_number(i + k, "host", k + 1);
            }
        }
        o_metric_end(i % 7 == 0 ? 1 : 2, i % 2 == 0);
        if (i % 10 == 9 || i + 1 == count) ends(2);
    }
}

TEST(any_room_gives_the_same) {
    o_reset();
    put_everything(300);
    struct transcript whole;
    run(&whole, hk_buf_get(&o.buf), HK_BATCH_ENTRIES_MAX);
    CHECK_INT(whole.err, HK_OK);
    CHECK_INT(whole.points, 1500);
    CHECK(whole.entries > 3000);
    static const uint32_t rooms[] = { 1, 2, 3, 7, 64, 511 };
    for (size_t i = 0; i < HK_COUNT(rooms); i++) {
        struct transcript got;
        run(&got, hk_buf_get(&o.buf), rooms[i]);
        CHECK_INT(got.err, HK_OK);
        CHECK_INT(got.points, whole.points);
        CHECK(hk_str_eq(hk_buf_get(&got.text), hk_buf_get(&whole.text)));
        end(&got);
    }
    end(&whole);
    o_reset();
}

TEST(metadata_once) {
    seen = hk_mem_alloc(1, sizeof(*seen));
    CHECK(seen != NULL);
    o_reset();
    o_resource("shop", NULL);
    put_one("a");
    ends(2);
    struct transcript got;
    run(&got, hk_buf_get(&o.buf), 8);
    CHECK_STR(hk_buf_get(&got.metas), HK_STR("meta a gauge [] []\n"));
    end(&got);
    run(&got, hk_buf_get(&o.buf), 8);
    CHECK_INT(got.metas.len, 0);
    end(&got);
    o_reset();
    put_everything(300);
    run(&got, hk_buf_get(&o.buf), HK_BATCH_ENTRIES_MAX);
    CHECK_INT(got.err, HK_OK);
    CHECK(got.metas.len > 300 * 10);
    end(&got);
    run(&got, hk_buf_get(&o.buf), HK_BATCH_ENTRIES_MAX);
    CHECK(got.metas.len < 1000); /* but for slots that two metrics share */
    end(&got);
    hk_mem_free(seen);
    seen = NULL;
    o_reset();
}

TEST(cut_anywhere) {
    o_reset();
    put_everything(8);
    for (size_t len = 0; len < o.buf.len; len++) {
        char *cut =
            hk_mem_copy(o.buf.ptr, len); /* exact, so that a sanitizer sees each step over */
        struct transcript got;
        run(&got, (struct hk_str){ cut, len }, 50);
        CHECK(got.err == HK_OK || got.err == HK_E_MALFORMED);
        end(&got);
        hk_mem_free(cut);
    }
    o_reset();
}

PROPERTY(bent_bytes) {
    o_reset();
    put_everything(8);
    for (int i = 0; i < 1500; i++) {
        char *bent = hk_mem_copy(o.buf.ptr, o.buf.len);
        for (int k = 0; k < 2; k++)
            bent[hk_test_random() % o.buf.len] = (char)hk_test_random();
        struct transcript got;
        run(&got, (struct hk_str){ bent, o.buf.len }, 50);
        CHECK(got.err == HK_OK || got.err == HK_E_MALFORMED);
        end(&got);
        hk_mem_free(bent);
    }
    hk_buf_deinit(&o.buf);
}

HK_TEST_MAIN()
