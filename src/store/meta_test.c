/* Goal: descriptions are kept once, in order, within the limits, listed as asked, and come back
 * from their file. */
#include "store/meta.h"

#include "hk_test.h"
#include "os/file.h"

#include <unistd.h>

static struct hk_metric_meta
item(const char *metric, const char *type, const char *help, const char *unit) {
    return (struct hk_metric_meta){ hk_str_from(metric), hk_str_from(type), hk_str_from(help),
                                    hk_str_from(unit) };
}

static hk_err put(struct hk_meta *meta, const char *metric, const char *type, const char *help) {
    struct hk_metric_meta all = item(metric, type, help, "");
    return hk_meta_put(meta, &all);
}

/* "name type help unit;" of each. */
static void list(struct hk_meta *meta, struct hk_meta_request request, struct hk_buf *out) {
    struct hk_arena arena;
    struct hk_metric_meta *items = NULL;
    uint32_t count = 0;
    hk_arena_init(&arena, 1 << 24);
    hk_buf_clear(out);
    CHECK_INT(hk_meta_list(meta, &request, &arena, &items, &count), HK_OK);
    for (uint32_t i = 0; i < count; i++) {
        hk_buf_printf(
            out, "%.*s %.*s %.*s %.*s;", HK_STR_ARG(items[i].metric), HK_STR_ARG(items[i].type),
            HK_STR_ARG(items[i].help), HK_STR_ARG(items[i].unit));
    }
    hk_arena_deinit(&arena);
}

TEST(put_and_list) {
    struct hk_meta *meta = NULL;
    struct hk_buf out;
    hk_buf_init(&out, 1 << 20);
    CHECK_INT(hk_meta_create(1 << 20, &meta), HK_OK);
    CHECK_INT(put(meta, "up", "gauge", "Is it up?"), HK_OK);
    CHECK_INT(put(meta, "up", "gauge", "Is it up?"), HK_END);
    CHECK_INT(put(meta, "down", "no such type", ""), HK_OK);
    CHECK_INT(put(meta, "up", "gauge", "It is up."), HK_OK);
    struct hk_metric_meta unit = item("size_bytes", "counter", "Size.", "bytes");
    CHECK_INT(hk_meta_put(meta, &unit), HK_OK);
    CHECK_INT(put(meta, "", "gauge", "no name"), HK_E_LIMIT);
    struct hk_meta_request all = { .limit = -1, .limit_per_metric = -1 };
    list(meta, all, &out);
    CHECK_STR(
        hk_buf_get(&out), HK_STR("down unknown  ;size_bytes counter Size. bytes;"
                                 "up gauge Is it up? ;up gauge It is up. ;"));
    list(meta, (struct hk_meta_request){ .limit = 2 }, &out);
    CHECK_STR(hk_buf_get(&out), HK_STR("down unknown  ;size_bytes counter Size. bytes;"));
    list(meta, (struct hk_meta_request){ .limit = 0 }, &out);
    CHECK_INT(out.len, 0);
    list(meta, (struct hk_meta_request){ HK_STR("up"), -1, 1 }, &out);
    CHECK_STR(hk_buf_get(&out), HK_STR("up gauge It is up. ;"));
    list(meta, (struct hk_meta_request){ HK_STR("none"), -1, -1 }, &out);
    CHECK_INT(out.len, 0);
    hk_meta_destroy(meta);
    hk_buf_deinit(&out);
}

TEST(limits) {
    struct hk_meta *meta = NULL;
    struct hk_buf out;
    struct hk_meta_stats stats;
    char text[16];
    hk_buf_init(&out, 1 << 20);
    CHECK_INT(hk_meta_create(20000, &meta), HK_OK);
    for (int i = 0; i < 6; i++) {
        (void)snprintf(text, sizeof(text), "h%d", i);
        CHECK_INT(put(meta, "m", "gauge", text), HK_OK);
    }
    list(meta, (struct hk_meta_request){ .limit = -1 }, &out);
    CHECK_STR(hk_buf_get(&out), HK_STR("m gauge h2 ;m gauge h3 ;m gauge h4 ;m gauge h5 ;"));
    hk_err err = HK_OK;
    for (int i = 0; i < 1000 && err == HK_OK; i++) {
        (void)snprintf(text, sizeof(text), "n%d", i);
        err = put(meta, text, "gauge", "");
    }
    CHECK_INT(err, HK_E_LIMIT);
    CHECK_INT(put(meta, "m", "gauge", "h5"), HK_END); /* known ones still are */
    hk_meta_get_stats(meta, &stats);
    CHECK(stats.bytes <= 20000);
    CHECK_INT(stats.replaced, 2);
    CHECK_INT(stats.left_out, 1);
    hk_meta_destroy(meta);
    hk_buf_deinit(&out);
}

TEST(bytes) {
    struct hk_buf out;
    struct hk_metric_meta back;
    struct hk_metric_meta from = item("a_seconds", "gaugehistogram", "Line\nand \"quote\"", "s");
    hk_buf_init(&out, 1 << 20);
    hk_meta_encode(&from, &out);
    CHECK_INT(hk_meta_decode(hk_buf_get(&out), &back), HK_OK);
    CHECK_STR(back.metric, from.metric);
    CHECK_STR(back.type, from.type);
    CHECK_STR(back.help, from.help);
    CHECK_STR(back.unit, from.unit);
    for (size_t len = 0; len < out.len; len++) {
        CHECK_INT(hk_meta_decode((struct hk_str){ out.ptr, len }, &back), HK_E_CORRUPT);
    }
    hk_buf_deinit(&out);
}

TEST(file) {
    char dir[] = "/tmp/hk_meta_test_XXXXXX";
    char path[128];
    CHECK(mkdtemp(dir) != NULL);
    struct hk_meta *meta = NULL;
    struct hk_meta *back = NULL;
    struct hk_keep_report report;
    struct hk_buf a;
    struct hk_buf b;
    hk_buf_init(&a, 1 << 20);
    hk_buf_init(&b, 1 << 20);
    CHECK_INT(hk_meta_create(1 << 20, &meta), HK_OK);
    CHECK_INT(hk_meta_create(1 << 20, &back), HK_OK);
    CHECK_INT(hk_meta_load(meta, dir, &report), HK_OK);
    CHECK_INT(put(meta, "b", "counter", "old"), HK_OK);
    CHECK_INT(put(meta, "b", "counter", "new"), HK_OK);
    CHECK_INT(put(meta, "a", "summary", ""), HK_OK);
    CHECK_INT(hk_meta_save(meta, dir), HK_OK);
    CHECK_INT(hk_meta_save(meta, dir), HK_OK);
    CHECK_INT(hk_meta_load(back, dir, &report), HK_OK);
    CHECK_INT(report.records, 3);
    CHECK_INT(report.damaged, 0);
    list(meta, (struct hk_meta_request){ .limit = -1 }, &a);
    list(back, (struct hk_meta_request){ .limit = -1 }, &b);
    CHECK_STR(hk_buf_get(&a), hk_buf_get(&b));
    hk_meta_destroy(meta);
    hk_meta_destroy(back);
    hk_buf_deinit(&a);
    hk_buf_deinit(&b);
    (void)snprintf(path, sizeof(path), "%s/metadata", dir);
    (void)hk_file_remove(path);
    (void)rmdir(dir);
}

HK_TEST_MAIN()
