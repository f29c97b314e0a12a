/* Input: a block file. Checksums are taken for good, so that the parsers see hostile bytes; all
 * that a reader offers is called. */
#include "os/file.h"
#include "store/block_internal.h"

#include <stdio.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

enum { SERIES_MAX = 200 };

/* A hostile block is answered with a failure, never with a positive outcome. */
static bool answered(hk_err err) {
    hk_assert(err <= 0);
    return err == HK_OK;
}

static void read_series(
    struct hk_block *block, struct hk_block_work *work, uint32_t number, struct hk_arena *arena) {
    struct hk_labels labels = { 0 };
    uint32_t found = 0;
    hk_arena_reset(arena);
    if (answered(hk_block_labels(block, work, number, arena, &labels)))
        (void)answered(hk_block_find(block, work, labels, &found));
    struct hk_block_chunk *chunks = NULL;
    uint32_t count = 0;
    (void)answered(hk_block_chunks(block, work, number, arena, &chunks, &count));
    int64_t *stamps = NULL;
    double *values = NULL;
    struct hk_str *payloads = NULL;
    if (answered(hk_block_read_floats(
            block, work, number, INT64_MIN, INT64_MAX, arena, &stamps, &values, &count))) {
        for (uint32_t i = 1; i < count; i++)
            hk_assert(stamps[i - 1] < stamps[i]);
    }
    for (int column = HK_BLOCK_HISTOGRAM; column <= HK_BLOCK_EXEMPLAR; column++) {
        (void)answered(hk_block_read_payloads(
            block, work, number, (enum hk_block_column)column, 0, INT64_MAX, arena, &stamps,
            &payloads, &count));
    }
}

static void read_block(struct hk_block *block, struct hk_block_work *work) {
    struct hk_arena arena;
    hk_arena_init(&arena, (size_t)64 << 20);
    const struct hk_matcher matchers[] = {
        { .type = HK_MATCH_NOT_EQUAL, .name = HK_STR("job"), .value = HK_STR("") },
        { .type = HK_MATCH_EQUAL, .name = HK_STR("cpu"), .value = HK_STR("value_13") },
    };
    uint32_t *numbers = NULL, *series = NULL, count = 0;
    struct hk_str *strings = NULL;
    for (uint32_t i = 0; i < HK_COUNT(matchers); i++) {
        (void)answered(
            hk_block_select(block, work, matchers + i, 1, NULL, &arena, &numbers, &count));
    }
    bool good = answered(hk_block_label_names(block, work, &arena, &strings, &count));
    for (uint32_t i = 0; good && i < count && i < 20; i++) {
        struct hk_str *values = NULL;
        uint32_t value_count = 0;
        good = answered(
            hk_block_label_values(block, work, strings[i], &arena, &values, &series, &value_count));
    }
    const uint64_t all = hk_block_info(block)->series_count;
    for (uint32_t i = 0; i < all && i < SERIES_MAX; i++)
        read_series(block, work, i, &arena);
    (void)answered(hk_block_verify(block, work));
    hk_arena_deinit(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    static struct hk_block_work *work;
    if (work == NULL && hk_block_work_create(&work) < 0) return 0;
    hk_block_ignore_checksums(true);
    char path[64];
    (void)snprintf(path, sizeof(path), "/tmp/hark-block-fuzz-%d", (int)getpid());
    int fd = hk_file_open(path, HK_FILE_WRITE | HK_FILE_CREATE | HK_FILE_TRUNCATE);
    if (fd < 0) return 0;
    struct hk_block *block = NULL;
    hk_err err = hk_file_write(fd, data, bytes, 0) < 0 ? HK_E_IO : hk_block_open(path, &block);
    hk_file_close(fd);
    (void)hk_file_remove(path);
    if (err == HK_OK) read_block(block, work);
    hk_block_unref(block);
    return 0;
}
