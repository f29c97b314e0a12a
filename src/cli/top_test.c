/* Goal: a frame of `hark top` from answers, at any size of the terminal. */
#include "cli/top.h"

#include "cli/table.h"
#include "hk_test.h"

#include <math.h>

static const char ledger[] =
    "{\"accounts\":[{\"receiver\":\"remote_write\",\"signal\":\"metrics\",\"received\":%d,"
    "\"stored\":%d,\"dropped\":{\"a\":1,\"b\":2},\"in_flight\":4}]}";

static void fill(struct hk_top_sample *sample, int received, int64_t stamp_ms) {
    struct hk_arena arena;
    const struct hk_value *root = NULL;
    char text[512];
    hk_arena_init(&arena, 1 << 20);
    *sample = (struct hk_top_sample){ .stamp_ms = stamp_ms };
    for (int i = 0; i < HK_TOP_FIGURES; i++)
        sample->figures[i] = i == HK_TOP_MEMORY_TOTAL ? 4096.0 * (1 << 20) : 0.25;
    (void)snprintf(text, sizeof(text), ledger, received, received - 7);
    CHECK_INT(hk_value_parse(hk_str_from(text), &arena, &root), HK_OK);
    hk_top_read_ledger(root, sample);
    CHECK_INT(
        hk_value_parse(
            HK_STR("{\"data\":{\"alerts\":[{\"state\":\"firing\"},{\"state\":\"pending\"},"
                   "{\"state\":\"firing\"}]}}"),
            &arena, &root),
        HK_OK);
    hk_top_read_alerts(root, sample);
    hk_arena_deinit(&arena);
}

TEST(frame) {
    struct hk_top_sample before;
    struct hk_top_sample now;
    struct hk_buf out;
    hk_buf_init(&out, 1 << 16);
    fill(&before, 1000, 1000);
    fill(&now, 501000, 2000);
    hk_top_frame(&now, &before, "http://a", 120, 30, &out);
    CHECK_STR(
        hk_buf_get(&out),
        HK_STR("hark top  1970-01-01T00:00:02.000Z  http://a  alerts: 2 firing, 1 pending\n"
               "\n"
               "cpu     [|||||               ]  25%   iowait  25%   load 0.25 0.25 0.25\n"
               "memory  [||||||||||||||||||||] 100%   4.0 GiB of 4.0 GiB\n"
               "disk /  [|||||               ]  25%   read 0 B/s   write 0 B/s\n"
               "network in 0 B/s   out 0 B/s\n"
               "\n"
               "RECEIVER                         PER SECOND   RECEIVED     STORED    DROPPED "
               "IN FLIGHT\n"
               "remote_write metrics                500.0 k    501.0 k    501.0 k          3     "
               "    4\n"));
    hk_buf_deinit(&out);
}

TEST(nothing_is_known_yet) {
    struct hk_top_sample sample = { 0 };
    struct hk_buf out;
    for (int i = 0; i < HK_TOP_FIGURES; i++)
        sample.figures[i] = (double)NAN;
    hk_top_read_ledger(NULL, &sample);
    hk_top_read_alerts(NULL, &sample);
    hk_buf_init(&out, 1 << 16);
    hk_top_frame(&sample, NULL, "http://a", 120, 30, &out);
    CHECK_STR(
        hk_buf_get(&out),
        HK_STR("hark top  1970-01-01T00:00:00.000Z  http://a  alerts: - firing, - pending\n"
               "\n"
               "cpu     [                    ]    -   iowait   0%   load - - -\n"
               "memory  [                    ]    -   - of -\n"
               "disk /  [                    ]    -   read -/s   write -/s\n"
               "network in -/s   out -/s\n"
               "\n"
               "Nothing was received yet.\n"));
    hk_buf_deinit(&out);
}

/* Never more lines nor wider ones than the terminal has. */
TEST(small_terminals) {
    struct hk_top_sample sample;
    fill(&sample, 5, 0);
    for (unsigned columns = 1; columns < 100; columns += 7) {
        for (unsigned rows = 1; rows < 12; rows++) {
            struct hk_buf out;
            unsigned lines = 0;
            hk_buf_init(&out, 1 << 16);
            hk_top_frame(&sample, NULL, "http://中文", columns, rows, &out);
            for (size_t at = 0; at < out.len; lines++) {
                size_t end = hk_str_find(hk_buf_get(&out), '\n', at);
                CHECK(hk_text_width(hk_str_part(hk_buf_get(&out), at, end)) <= columns);
                at = end + 1;
            }
            CHECK(lines <= rows);
            hk_buf_deinit(&out);
        }
    }
}

TEST(first_values) {
    static const struct {
        const char *json;
        double value;
    } cases[] = {
        { "{\"data\":{\"resultType\":\"vector\",\"result\":[{\"value\":[1,\"2.5\"]}]}}", 2.5 },
        { "{\"data\":{\"resultType\":\"scalar\",\"result\":[1,\"3\"]}}", 3 },
    };
    struct hk_arena arena;
    const struct hk_value *root = NULL;
    hk_arena_init(&arena, 1 << 20);
    for (size_t i = 0; i < HK_COUNT(cases); i++) {
        CHECK_INT(hk_value_parse(hk_str_from(cases[i].json), &arena, &root), HK_OK);
        CHECK_DOUBLE(hk_top_first_value(root), cases[i].value);
    }
    CHECK_INT(hk_value_parse(HK_STR("{\"data\":{\"result\":[]}}"), &arena, &root), HK_OK);
    CHECK(isnan(hk_top_first_value(root)));
    CHECK(isnan(hk_top_first_value(NULL)));
    hk_arena_deinit(&arena);
}

HK_TEST_MAIN()
