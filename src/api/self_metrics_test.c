/* Goal: the form that a scraper prefers, and messages that read back as the text's samples. */
#include "api/self_metrics.h"

#include "base/mem.h"
#include "hk_test.h"
#include "ingest/prom_proto.h"

#define PROTO                                                                                      \
    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"

TEST(negotiation) {
    static const struct {
        const char *accept;
        bool proto;
    } cases[] = {
        { "", false },
        { "*/*", false },
        { "text/plain", false },
        { PROTO, true },
        /* Prometheus 2.42 with native histograms, and without. */
        { PROTO ",application/openmetrics-text;version=1.0.0;q=0.8,"
                "application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,"
                "*/*;q=0.1",
          true },
        { "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
          false },
        /* Prometheus 3.5. */
        { PROTO ";q=0.6,application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,"
                "text/plain;version=1.0.0;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
          true },
        { "text/plain;version=0.0.4;q=0.6, " PROTO ";q=0.5", false },
        { "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; "
          "encoding=delimited; q=0.7, text/*;q=0.3",
          true },
        { "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=text",
          false },
        { "application/vnd.google.protobuf", false },
        { PROTO ";q=0", false },
        { PROTO ";q=x", false },
        { ",;,;=;q=", false },
    };
    for (size_t i = 0; i < HK_COUNT(cases); i++)
        CHECK_INT(hk_self_wants_proto(hk_str_from(cases[i].accept)), cases[i].proto);
}

static struct hk_batch batch;

TEST(conversion) {
    static const char text[] = "# TYPE hits_total counter\n"
                               "hits_total{a=\"b\",c=\"d e\"} 7\n"
                               "hits_total{a=\"x\"} 1e+30\n"
                               "# TYPE depth gauge\n"
                               "depth -1.5\n"
                               "# TYPE left histogram\n"
                               "left_bucket{le=\"1\"} 1\n"
                               "# TYPE empty gauge\n"
                               "# TYPE last gauge\n"
                               "stranger 3\n"
                               "last{a=\"broken} 1\n"
                               "last NaN";
    struct hk_buf out;
    struct hk_buf lines;
    struct hk_arena arena;
    hk_buf_init(&out, 1 << 20);
    hk_buf_init(&lines, 1 << 20);
    hk_arena_init(&arena, 16 << 20);
    hk_self_proto(hk_str_from(text), &out);
    struct hk_context context = { { 1, 2 }, NULL };
    struct hk_prom_proto *state = hk_mem_alloc(1, sizeof(*state));
    CHECK(state != NULL);
    if (state == NULL) return;
    hk_prom_proto_init(state, hk_buf_get(&out), &context, 1000);
    batch.arena = &arena;
    CHECK_INT(hk_prom_proto_parser.parse(state, &batch), HK_OK);
    for (uint32_t i = 0; i < batch.count; i++) {
        struct hk_label_set set;
        struct hk_labels labels = { 0 };
        hk_label_set_clear(&set);
        CHECK_INT(hk_prom_proto_parser.labels(state, &batch, &batch.entries[i], &set), HK_OK);
        CHECK_INT(hk_label_set_finish(&set, &labels), HK_OK);
        hk_labels_format(labels, &lines);
        hk_buf_char(&lines, ' ');
        hk_buf_double(&lines, batch.entries[i].value);
        hk_buf_char(&lines, ';');
    }
    CHECK_STR(
        hk_buf_get(&lines), HK_STR("hits_total{a=\"b\", c=\"d e\"} 7;hits_total{a=\"x\"} 1e+30;"
                                   "depth -1.5;last NaN;"));
    CHECK_INT(batch.meta_count, 4);
    hk_mem_free(state);
    hk_arena_deinit(&arena);
    hk_buf_deinit(&lines);
    hk_buf_deinit(&out);
}

HK_TEST_MAIN()
