/*
 * Goal: a JSON request and its protobuf form give the same entries, contexts and keys; JSON that is
 * not OTLP is refused with the place; answers are what clients parse.
 */
#include "hk_otlp_build.h"
#include "hk_test.h"
#include "ingest/otlp_json.h"
#include "ingest/otlp_response.h"

static struct hk_otlp_transcoder transcoder;

/* Transcodes in turns of `tokens`; the result is in the transcoder. */
static hk_err transcode(enum hk_otlp_signal signal, struct hk_str text, uint32_t tokens) {
    hk_err err = HK_MORE;
    hk_otlp_transcoder_init(&transcoder, signal, text, 1 << 24);
    while (err == HK_MORE)
        err = hk_otlp_transcoder_step(&transcoder, tokens);
    return err;
}

static const char request[] =
    "{\"resourceMetrics\":[{\"resource\":{\"attributes\":[{\"key\":\"service.name\",\"value\":"
    "{\"stringValue\":\"shop\"}},{\"key\":\"host.name\",\"value\":{\"stringValue\":\"h1\"}}],"
    "\"droppedAttributesCount\":0},\"unknown\":{\"a\":[1,{\"resource\":{}}]},"
    "\"scopeMetrics\":[{\"scope\":{\"name\":\"scope\",\"version\":\"1.0\"},\"metrics\":["
    "{\"name\":\"room.temperature\",\"description\":\"How warm.\",\"unit\":\"Cel\",\"gauge\":"
    "{\"dataPoints\":[{\"startTimeUnixNano\":\"1700000000000000000\",\"timeUnixNano\":"
    "\"1700000060500000000\",\"asDouble\":21.5,\"attributes\":[{\"key\":\"host\",\"value\":"
    "{\"stringValue\":\"a\"}},{\"key\":\"http.code\",\"value\":{\"intValue\":\"200\"}}],"
    "\"flags\":0}]}},"
    "{\"name\":\"requests\",\"description\":\"\",\"sum\":{\"dataPoints\":[{\"startTimeUnixNano\":"
    "1700000000000000000,\"timeUnixNano\":\"1700000060500000000\",\"asDouble\":0,"
    "\"attributes\":[{\"key\":\"host\",\"value\":{\"stringValue\":\"b\"}}]}],"
    "\"aggregationTemporality\":2,\"isMonotonic\":true}}]}]}]}";

static void put_request(void) {
    o_reset();
    o_resource("shop", "h1");
    o_metric("room.temperature", "How warm.", "Cel", 5);
    o_number(21.5, "a", 200);
    o_metric_end(0, false);
    o_metric("requests", "", "", 7);
    o_number(0, "b", 0);
    o_metric_end(2, true);
    o_end();
    o_end();
}

TEST(same_bytes) {
    put_request();
    static const uint32_t turns[] = { 1, 2, 7, 100000 };
    for (size_t i = 0; i < HK_COUNT(turns); i++) {
        CHECK_INT(transcode(HK_OTLP_METRICS, hk_str_from(request), turns[i]), HK_OK);
        CHECK(hk_str_eq(hk_otlp_transcoder_get(&transcoder), hk_buf_get(&o.buf)));
        hk_otlp_transcoder_deinit(&transcoder);
    }
}

TEST(same_entries) {
    static struct hk_otlp otlp;
    static struct hk_otlp_json json;
    static struct hk_batch a, b;
    struct hk_arena arena;
    hk_arena_init(&arena, 1 << 20);
    put_request();
    const struct hk_hash128 base = { 3, 4 };
    a.arena = b.arena = &arena;
    hk_batch_clear(&a);
    hk_batch_clear(&b);
    hk_otlp_init(&otlp, hk_buf_get(&o.buf), base, NULL, NULL);
    hk_otlp_json_init(&json, hk_str_from(request), 1 << 20, base, NULL, NULL);
    CHECK_INT(hk_parser_otlp.parse(&otlp, &a), HK_OK);
    CHECK_INT(hk_parser_otlp_json.parse(&json, &b), HK_OK);
    CHECK_INT(a.count, 3);
    CHECK_INT(b.count, a.count);
    CHECK_INT(b.meta_count, a.meta_count);
    for (uint32_t i = 0; i < a.count; i++) {
        const struct hk_entry *x = &a.entries[i], *y = &b.entries[i];
        CHECK(memcmp(&x->context->hash, &y->context->hash, 16) == 0);
        CHECK_INT(x->key_bytes, y->key_bytes);
        CHECK(memcmp(x->key, y->key, x->key_bytes) == 0);
        CHECK_DOUBLE(x->value, y->value);
        CHECK_INT(x->stamp_ms, y->stamp_ms);
        CHECK_INT(x->start_ms, y->start_ms);
        CHECK_INT(x->kind, y->kind);
        struct hk_label_set set;
        struct hk_labels labels = { 0 };
        hk_label_set_clear(&set);
        CHECK_INT(hk_parser_otlp_json.labels(&json, &b, y, &set), HK_OK);
        CHECK_INT(hk_label_set_finish(&set, &labels), HK_OK);
        CHECK_STR(hk_labels_get(labels, HK_STR("job")), HK_STR("shop"));
    }
    hk_otlp_json_deinit(&json);
    hk_arena_deinit(&arena);
}

/* One point of each kind, as JSON and by hand. */
TEST(in_one_go) {
    struct hk_buf out;
    put_request();
    hk_buf_init(&out, 1 << 20);
    CHECK_INT(hk_otlp_json_to_proto(HK_OTLP_METRICS, hk_str_from(request), &out), HK_OK);
    CHECK(hk_str_eq(hk_buf_get(&out), hk_buf_get(&o.buf)));
    hk_buf_clear(&out);
    CHECK_INT(hk_otlp_json_to_proto(HK_OTLP_METRICS, HK_STR("{"), &out), HK_E_MALFORMED);
    hk_buf_deinit(&out);
}

TEST(points) {
    static const char text[] =
        "{\"resourceMetrics\":[{\"scopeMetrics\":[{\"metrics\":[{\"name\":\"h\",\"histogram\":{"
        "\"dataPoints\":[{\"timeUnixNano\":\"5\",\"count\":\"3\",\"sum\":0,\"bucketCounts\":"
        "[\"1\",2],\"explicitBounds\":[0.5],\"exemplars\":[{\"timeUnixNano\":\"4\",\"asInt\":\"-"
        "9\","
        "\"spanId\":\"00ff\",\"traceId\":\"AbCd\",\"filteredAttributes\":[]}],\"min\":-1,\"max\":"
        "\"Infinity\"}],\"aggregationTemporality\":1}},{\"name\":\"e\",\"exponentialHistogram\":{"
        "\"dataPoints\":[{\"timeUnixNano\":\"5\",\"count\":4,\"scale\":-1,\"zeroCount\":\"1\","
        "\"positive\":{\"offset\":2,\"bucketCounts\":[\"1\",\"200\"]},\"negative\":{},"
        "\"zeroThreshold\":0.5}]}},{\"name\":\"s\",\"summary\":{\"dataPoints\":[{\"timeUnixNano\":"
        "\"5\",\"quantileValues\":[{\"quantile\":0.5,\"value\":2}]}]}}]}]}]}";
    static const uint64_t counts[] = { 1, 2 };
    o_reset();
    o_begin(1);
    o_begin(2);
    o_metric("h", "", "", 9);
    o_begin(1);
    hk_proto_put_fixed64(&o.buf, 3, 5);
    hk_proto_put_fixed64(&o.buf, 4, 3);
    hk_proto_put_double(&o.buf, 5, 0);
    hk_proto_put_str(&o.buf, 6, (struct hk_str){ (const char *)counts, 16 });
    o_begin(7);
    const double bound = 0.5;
    hk_buf_bytes(&o.buf, &bound, 8);
    o_end();
    o_begin(8);
    hk_proto_put_fixed64(&o.buf, 2, 4);
    hk_proto_put_fixed64(&o.buf, 6, (uint64_t)-9);
    hk_proto_put_str(&o.buf, 4, (struct hk_str){ "\x00\xff", 2 });
    hk_proto_put_str(&o.buf, 5, (struct hk_str){ "\xab\xcd", 2 });
    o_end();
    hk_proto_put_double(&o.buf, 11, -1);
    hk_proto_put_double(&o.buf, 12, __builtin_inf());
    o_end();
    o_metric_end(1, false);
    o_metric("e", "", "", 10);
    o_begin(1);
    hk_proto_put_fixed64(&o.buf, 3, 5);
    hk_proto_put_fixed64(&o.buf, 4, 4);
    hk_proto_put_zigzag(&o.buf, 6, -1);
    hk_proto_put_fixed64(&o.buf, 7, 1);
    o_begin(8);
    hk_proto_put_zigzag(&o.buf, 1, 2);
    hk_proto_put_str(&o.buf, 2, HK_STR("\x01\xc8\x01"));
    o_end();
    o_begin(9);
    o_end();
    hk_proto_put_double(&o.buf, 14, 0.5);
    o_end();
    o_metric_end(0, false);
    o_metric("s", "", "", 11);
    o_begin(1);
    hk_proto_put_fixed64(&o.buf, 3, 5);
    o_begin(6);
    hk_proto_put_double(&o.buf, 1, 0.5);
    hk_proto_put_double(&o.buf, 2, 2);
    o_end();
    o_end();
    o_metric_end(0, false);
    o_end();
    o_end();
    CHECK_INT(transcode(HK_OTLP_METRICS, hk_str_from(text), 1000), HK_OK);
    CHECK(hk_str_eq(hk_otlp_transcoder_get(&transcoder), hk_buf_get(&o.buf)));
    hk_otlp_transcoder_deinit(&transcoder);
}

TEST(values_logs_and_spans) {
    static const char logs[] =
        "{\"resourceLogs\":[{\"scopeLogs\":[{\"logRecords\":[{\"timeUnixNano\":\"7\","
        "\"severityNumber\":9,\"body\":{\"kvlistValue\":{\"values\":[{\"key\":\"k\",\"value\":"
        "{\"arrayValue\":{\"values\":[{\"boolValue\":false},{\"intValue\":-1},{\"doubleValue\":0.5}"
        ","
        "{\"bytesValue\":\"AQI=\"},{\"stringValue\":\"\"},{}]}}}]}},\"flags\":1,\"traceId\":"
        "\"0102\"}]}]}]}";
    o_reset();
    o_begin(1);
    o_begin(2);
    o_begin(2);
    hk_proto_put_fixed64(&o.buf, 1, 7);
    hk_proto_put_varint(&o.buf, 2, 9);
    o_begin(5);
    o_begin(6);
    o_begin(1);
    hk_proto_put_str(&o.buf, 1, HK_STR("k"));
    o_begin(2);
    o_begin(5);
    for (unsigned i = 0; i < 6; i++) {
        o_begin(1);
        if (i == 0) hk_proto_put_varint(&o.buf, 2, 0);
        if (i == 1) hk_proto_put_varint(&o.buf, 3, (uint64_t)-1);
        if (i == 2) hk_proto_put_double(&o.buf, 4, 0.5);
        if (i == 3) hk_proto_put_str(&o.buf, 7, HK_STR("\x01\x02"));
        if (i == 4) hk_proto_put_str(&o.buf, 1, HK_STR(""));
        o_end();
    }
    for (unsigned i = 0; i < 5; i++)
        o_end();
    hk_proto_put_fixed32(&o.buf, 8, 1);
    hk_proto_put_str(&o.buf, 9, HK_STR("\x01\x02"));
    for (unsigned i = 0; i < 3; i++)
        o_end();
    CHECK_INT(transcode(HK_OTLP_LOGS, hk_str_from(logs), 3), HK_OK);
    CHECK(hk_str_eq(hk_otlp_transcoder_get(&transcoder), hk_buf_get(&o.buf)));
    hk_otlp_transcoder_deinit(&transcoder);
    static const char spans[] =
        "{\"resourceSpans\":[{\"scopeSpans\":[{\"spans\":[{\"name\":\"s\",\"kind\":2,\"events\":"
        "[{\"name\":\"e\"}],\"status\":{\"code\":2},\"parentSpanId\":\"\"}]}]}]}";
    CHECK_INT(transcode(HK_OTLP_TRACES, hk_str_from(spans), 3), HK_OK);
    CHECK_STR(
        hk_otlp_transcoder_get(&transcoder),
        HK_STR("\x0a\x12\x12\x10\x12\x0e\x2a\x01s\x30\x02\x5a\x03\x12\x01"
               "e\x7a\x02\x18\x02"));
    hk_otlp_transcoder_deinit(&transcoder);
}

TEST(refused) {
    static const struct {
        const char *text, *why;
    } cases[] = {
        { "", "json: the text ends where a value should be at byte 0" },
        { "[]", "json: expected an object at byte 1" },
        { "{\"resourceMetrics\":{}}", "json: expected an array at byte 20" },
        { "{\"resourceMetrics\":[1]}", "json: expected an object at byte 21" },
        { "{\"resourceMetrics\":[{\"schemaUrl\":1}]}",
          "json: \"schemaUrl\" should be a string, found a number at byte 34" },
        { "{\"resourceMetrics\":[{\"resource\":{\"droppedAttributesCount\":-1}}]}",
          "json: \"droppedAttributesCount\" should be an unsigned 64-bit integer, found a number "
          "at "
          "byte 60" },
        { "{\"resourceMetrics\":[{}]", "json: expected ',' or '}' at byte 23" },
    };
    for (size_t i = 0; i < HK_COUNT(cases); i++) {
        CHECK_INT(transcode(HK_OTLP_METRICS, hk_str_from(cases[i].text), 100), HK_E_MALFORMED);
        CHECK_TEXT(hk_fail_text(), cases[i].why);
        hk_otlp_transcoder_deinit(&transcoder);
    }
    hk_otlp_transcoder_init(&transcoder, HK_OTLP_METRICS, hk_str_from(request), 40);
    CHECK_INT(hk_otlp_transcoder_step(&transcoder, 1000), HK_E_LIMIT);
    hk_otlp_transcoder_deinit(&transcoder);
    CHECK_INT(transcode(HK_OTLP_METRICS, HK_STR("{\"resourceMetrics\":null}"), 100), HK_OK);
    CHECK_INT(hk_otlp_transcoder_get(&transcoder).len, 0);
    hk_otlp_transcoder_deinit(&transcoder);
}

PROPERTY(damage) {
    static struct hk_otlp_json json;
    static struct hk_batch batch;
    struct hk_arena arena;
    const size_t len = sizeof(request) - 1;
    hk_arena_init(&arena, 1 << 22);
    batch.arena = &arena;
    for (size_t i = 0; i < 3000; i++) {
        const bool cut = i < len;
        char *text = hk_mem_copy(request, len);
        if (!cut) text[hk_test_random() % len] = (char)hk_test_random();
        const struct hk_str body = { text, cut ? i : len };
        hk_otlp_json_init(&json, body, 1 << 20, (struct hk_hash128){ 0, 0 }, NULL, NULL);
        hk_err err = HK_FULL;
        while (err == HK_FULL) {
            hk_batch_clear(&batch);
            err = hk_parser_otlp_json.parse(&json, &batch);
        }
        CHECK(err == HK_E_MALFORMED || (err == HK_OK && !cut));
        hk_otlp_json_deinit(&json);
        hk_mem_free(text);
        hk_arena_reset(&arena);
    }
    hk_arena_deinit(&arena);
}

TEST(answers) {
    struct hk_buf out;
    hk_buf_init(&out, 1 << 20);
    hk_otlp_response(&(struct hk_otlp_partial){ 0, HK_STR(""), HK_OTLP_METRICS }, &out);
    CHECK_INT(out.len, 0);
    hk_otlp_response_json(&(struct hk_otlp_partial){ 0, HK_STR(""), HK_OTLP_METRICS }, &out);
    CHECK_STR(hk_buf_get(&out), HK_STR("{}"));
    hk_buf_clear(&out);
    hk_otlp_response_json(
        &(struct hk_otlp_partial){ 3, HK_STR("no \"time\""), HK_OTLP_METRICS }, &out);
    CHECK_STR(
        hk_buf_get(&out),
        HK_STR("{\"partialSuccess\":{\"rejectedDataPoints\":\"3\",\"errorMessage\":\"no "
               "\\\"time\\\"\"}}"));
    hk_buf_clear(&out);
    hk_otlp_response(&(struct hk_otlp_partial){ 3, HK_STR("bad"), HK_OTLP_LOGS }, &out);
    CHECK_STR(
        hk_buf_get(&out), HK_STR("\x0a\x07\x08\x03\x12\x03"
                                 "bad"));
    hk_buf_clear(&out);
    hk_otlp_response(&(struct hk_otlp_partial){ 0, HK_STR("w"), HK_OTLP_TRACES }, &out);
    CHECK_STR(hk_buf_get(&out), HK_STR("\x0a\x03\x12\x01w"));
    hk_buf_clear(&out);
    hk_rpc_status_json(3, HK_STR("no"), 0, &out);
    CHECK_STR(hk_buf_get(&out), HK_STR("{\"code\":3,\"message\":\"no\"}"));
    hk_buf_clear(&out);
    hk_rpc_status_json(14, HK_STR("busy"), 1500, &out);
    CHECK_STR(
        hk_buf_get(&out),
        HK_STR("{\"code\":14,\"message\":\"busy\",\"details\":[{\"@type\":\"type.googleapis.com/"
               "google.rpc.RetryInfo\",\"retryDelay\":\"1.500s\"}]}"));
    hk_buf_clear(&out);
    hk_rpc_status(14, HK_STR("busy"), 1500, &out);
    struct hk_proto reader = hk_proto_from(out.ptr, out.len);
    struct hk_proto_field field = { 0 };
    CHECK_INT(hk_proto_next(&reader, &field), HK_OK);
    CHECK_INT(field.value, 14);
    CHECK_INT(hk_proto_next(&reader, &field), HK_OK);
    CHECK_STR(hk_proto_str(&field), HK_STR("busy"));
    CHECK_INT(hk_proto_next(&reader, &field), HK_OK);
    reader = hk_proto_sub(&field);
    CHECK_INT(hk_proto_next(&reader, &field), HK_OK);
    CHECK_STR(hk_proto_str(&field), HK_STR("type.googleapis.com/google.rpc.RetryInfo"));
    CHECK_INT(hk_proto_next(&reader, &field), HK_OK);
    CHECK_STR(hk_proto_str(&field), HK_STR("\x0a\x08\x08\x01\x10\x80\xca\xb5\xee\x01"));
    hk_buf_deinit(&out);
}

HK_TEST_MAIN()
