/* Goal: keep files give back what was put; every flipped bit is found, named, and costs no more
 * than the record that it hit. */
#include "store/keep.h"

#include "base/mem.h"
#include "hk_test.h"
#include "os/file.h"

#include <unistd.h>

enum { RECORDS = 40 };

struct taken {
    uint32_t count, wrong;
    uint32_t last;
};

static hk_err take(void *self, struct hk_str record) {
    struct taken *taken = self;
    uint32_t number = 0;
    bool fine = record.len >= sizeof(number);
    if (fine) memcpy(&number, record.ptr, sizeof(number));
    fine = fine && record.len == sizeof(number) + number % 7 * 100;
    for (size_t i = sizeof(number); fine && i < record.len; i++)
        fine = record.ptr[i] == (char)number;
    taken->wrong += !fine || (taken->count > 0 && number <= taken->last);
    taken->last = number;
    taken->count++;
    return HK_OK;
}

static void make_dir(char dir[64]) {
    (void)snprintf(dir, 64, "/tmp/hk_keep_test_XXXXXX");
    CHECK(mkdtemp(dir) != NULL);
}

static void remove_dir(const char *dir) {
    char path[128];
    (void)snprintf(path, sizeof(path), "%s/state", dir);
    (void)hk_file_remove(path);
    (void)rmdir(dir);
}

static void write_file(const char *dir) {
    struct hk_keep_writer *writer = hk_mem_alloc(1, sizeof(*writer));
    CHECK(writer != NULL);
    if (writer == NULL) return;
    CHECK_INT(hk_keep_begin(writer, dir, "state", HK_KEEP_META), HK_OK);
    for (uint32_t i = 0; i < RECORDS; i++) {
        char record[1000];
        memcpy(record, &i, sizeof(i));
        memset(record + sizeof(i), (int)i, sizeof(record) - sizeof(i));
        hk_keep_put(writer, (struct hk_str){ record, sizeof(i) + i % 7 * 100 });
    }
    CHECK_INT(hk_keep_end(writer), HK_OK);
    hk_mem_free(writer);
}

TEST(round_trip) {
    char dir[64];
    make_dir(dir);
    struct taken taken = { 0 };
    struct hk_keep_report report;
    CHECK_INT(hk_keep_read(dir, "state", HK_KEEP_META, take, &taken, &report), HK_OK);
    CHECK_INT(taken.count, 0); /* a missing file is an empty one */
    write_file(dir);
    write_file(dir);
    CHECK_INT(hk_keep_read(dir, "state", HK_KEEP_META, take, &taken, &report), HK_OK);
    CHECK_INT(taken.count, RECORDS);
    CHECK_INT(taken.wrong, 0);
    CHECK_INT(report.damaged, 0);
    CHECK_TEXT(report.text, "");
    CHECK_INT(hk_keep_read(dir, "state", HK_KEEP_EXEMPLARS, take, &taken, &report), HK_OK);
    CHECK_INT(report.damaged, 1); /* not what was asked for */
    remove_dir(dir);
}

TEST(flipped_bits) {
    char dir[64];
    char path[128];
    make_dir(dir);
    write_file(dir);
    (void)snprintf(path, sizeof(path), "%s/state", dir);
    int fd = hk_file_open(path, HK_FILE_READ);
    size_t bytes = (size_t)hk_file_size(fd);
    char *data = hk_mem_alloc(1, bytes);
    CHECK(data != NULL);
    if (data != NULL) CHECK_INT(hk_file_read(fd, data, bytes, 0), (int64_t)bytes);
    hk_file_close(fd);
    for (size_t at = 0; data != NULL && at < bytes; at++) {
        struct taken taken = { 0 };
        struct hk_keep_report report;
        char bit = (char)(1 << (at % 8));
        data[at] ^= bit;
        hk_err err =
            hk_keep_parse((struct hk_str){ data, bytes }, HK_KEEP_META, take, &taken, &report);
        CHECK_INT(err, HK_OK);
        CHECK_INT(taken.wrong, 0);
        CHECK(taken.count >= RECORDS - 1);
        CHECK_INT(report.damaged, 1);
        CHECK(report.text[0] != 0);
        data[at] ^= bit;
    }
    for (size_t len = 0; data != NULL && len < bytes; len += 13) {
        struct taken taken = { 0 };
        struct hk_keep_report report;
        hk_err err =
            hk_keep_parse((struct hk_str){ data, len }, HK_KEEP_META, take, &taken, &report);
        CHECK_INT(err, HK_OK);
        CHECK_INT(taken.wrong, 0);
    }
    hk_mem_free(data);
    remove_dir(dir);
}

TEST(too_long) {
    char dir[64];
    make_dir(dir);
    struct hk_keep_writer *writer = hk_mem_alloc(1, sizeof(*writer));
    char *record = hk_mem_alloc(1, HK_KEEP_RECORD_BYTES_MAX + 1);
    CHECK(writer != NULL && record != NULL);
    if (writer != NULL && record != NULL) {
        CHECK_INT(hk_keep_begin(writer, dir, "state", HK_KEEP_META), HK_OK);
        hk_keep_put(writer, (struct hk_str){ record, HK_KEEP_RECORD_BYTES_MAX + 1 });
        CHECK_INT(hk_keep_end(writer), HK_E_LIMIT);
    }
    hk_mem_free(writer);
    hk_mem_free(record);
    char path[128];
    (void)snprintf(path, sizeof(path), "%s/state.tmp", dir);
    (void)hk_file_remove(path);
    remove_dir(dir);
}

HK_TEST_MAIN()
