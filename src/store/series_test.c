/* Goal: series are sorted by labels however many they are, and grouped as their labels say. */
#include "base/mem.h"
#include "hk_test.h"
#include "store/directory_internal.h"
#include "store/radix.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { SERIES = 6000, LABELS = 7 };

static struct hk_arena arena;

/* Labels that differ in length, in the names they have, late in a value, and by zero bytes. */
static struct hk_labels make_labels(uint32_t i) {
    static const char *const names[LABELS] = { "__name__", "a", "b", "c", "d", "e", "f" };
    struct hk_label *items = hk_arena_alloc(&arena, LABELS + 1, sizeof(*items));
    uint32_t count = 0;
    for (uint32_t k = 0; k < LABELS && items != NULL; k++) {
        uint64_t random = hk_test_random();
        if (random % 4 == 0) continue;
        uint32_t range = k % 2 == 0 ? 7 : 5000;
        items[count].name = hk_str_from(names[k]);
        items[count].value = hk_arena_printf(
            &arena, "%s%u", random % 8 == 1 ? "a-long-common-beginning-" : "v",
            (unsigned)(random >> 8) % range);
        if (random % 64 == 2) items[count].value = (struct hk_str){ "v1\0", 3 };
        count++;
    }
    if (i < 3 && items != NULL) items[count++] = (struct hk_label){ HK_STR("z"), HK_STR("long") };
    return (struct hk_labels){ items, count };
}

static struct hk_directory *make_directory(char *folder, char *path, size_t room) {
    struct hk_directory_report report;
    struct hk_directory *directory = NULL;
    hk_arena_init(&arena, (size_t)64 << 20);
    CHECK(mkdtemp(folder) != NULL);
    (void)snprintf(path, room, "%s/series", folder);
    struct hk_directory_options options = { .path = path, .bytes_max = 1ULL << 30 };
    CHECK_INT(hk_directory_open(&options, &directory, &report), HK_OK);
    return directory;
}

static void end(struct hk_directory *directory, const char *folder, const char *path) {
    hk_directory_close(directory);
    hk_arena_deinit(&arena);
    (void)unlink(path);
    (void)rmdir(folder);
}

static void add_series(struct hk_directory *directory, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        uint32_t ref = 0;
        bool created = false;
        CHECK_INT(hk_directory_intern(directory, make_labels(i), &ref, &created), HK_OK);
    }
}

static void check_order(struct hk_directory_view *view, const uint32_t *refs, uint32_t count) {
    for (uint32_t i = 1; i < count; i++) {
        struct hk_label left[LABELS + 1];
        struct hk_label right[LABELS + 1];
        int order = hk_labels_cmp(
            hk_view_labels(view, refs[i - 1], left), hk_view_labels(view, refs[i], right));
        CHECK(order < 0);
    }
}

static uint32_t all_refs(const struct hk_directory_view *view, uint32_t *refs) {
    uint32_t count = atomic_load_explicit(&view->set_count, memory_order_acquire);
    for (uint32_t i = 0; i < count; i++)
        refs[i] = *(const uint32_t *)hk_grow_at(&view->order, i);
    return count;
}

PROPERTY(rank_is_the_order_of_labels) {
    char folder[] = "/tmp/hark-series-XXXXXX";
    char path[64];
    static uint32_t refs[SERIES];
    struct hk_directory *directory = make_directory(folder, path, sizeof(path));
    add_series(directory, SERIES - 100);
    struct hk_directory_view *view = hk_directory_hold(directory);
    uint32_t count = all_refs(view, refs);
    CHECK(count > SERIES / 2);
    CHECK_INT(hk_view_rank_sort(view, refs, count), HK_OK);
    check_order(view, refs, count);
    /* Through the index, and with some that it does not cover. */
    CHECK_INT(hk_directory_index(directory), HK_OK);
    add_series(directory, 100);
    count = all_refs(view, refs);
    CHECK_INT(hk_view_sort(view, refs, count), HK_OK);
    check_order(view, refs, count);
    hk_directory_release(directory, view);
    end(directory, folder, path);
}

/* Opened again, every series is found under its ref. */
TEST(tables_are_filled_at_open) {
    char folder[] = "/tmp/hark-series-XXXXXX";
    char path[64];
    static uint32_t before[SERIES];
    static uint32_t after[SERIES];
    struct hk_directory *directory = make_directory(folder, path, sizeof(path));
    add_series(directory, SERIES);
    struct hk_directory_view *view = hk_directory_hold(directory);
    uint32_t count = all_refs(view, before);
    hk_directory_release(directory, view);
    CHECK_INT(hk_directory_sync(directory), HK_OK);
    hk_directory_close(directory);
    struct hk_directory_report report;
    struct hk_directory_options options = { .path = path, .bytes_max = 1ULL << 30 };
    CHECK_INT(hk_directory_open(&options, &directory, &report), HK_OK);
    CHECK_INT((int)report.series, (int)count);
    view = hk_directory_hold(directory);
    CHECK_INT((int)all_refs(view, after), (int)count);
    for (uint32_t i = 0; i < count; i++) {
        struct hk_label items[LABELS + 1];
        CHECK(before[i] == after[i]);
        CHECK(hk_directory_find(directory, hk_view_labels(view, after[i], items)) == after[i]);
    }
    hk_directory_release(directory, view);
    end(directory, folder, path);
}

/* Two series are in one group exactly if the labels that count are the same. */
PROPERTY(groups) {
    char folder[] = "/tmp/hark-series-XXXXXX";
    char path[64];
    static uint32_t refs[SERIES];
    const struct hk_str names[] = { HK_STR("b"), HK_STR("d"), HK_STR("unknown") };
    struct hk_directory *directory = make_directory(folder, path, sizeof(path));
    add_series(directory, 400);
    struct hk_directory_view *view = hk_directory_hold(directory);
    uint32_t count = all_refs(view, refs);
    for (uint32_t name_count = 0; name_count <= HK_COUNT(names); name_count++) {
        uint32_t *numbers = NULL;
        uint32_t groups = 0;
        uint32_t met = 0;
        CHECK_INT(
            hk_view_group(view, refs, count, names, name_count, true, &arena, &numbers, &groups),
            HK_OK);
        for (uint32_t i = 0; i < count; i++) {
            struct hk_label left[LABELS + 1];
            struct hk_labels a = hk_view_labels(view, refs[i], left);
            CHECK(numbers[i] <= met);
            met += numbers[i] == met;
            for (uint32_t k = 0; k < i; k++) {
                struct hk_label right[LABELS + 1];
                struct hk_labels b = hk_view_labels(view, refs[k], right);
                bool same = true;
                for (uint32_t n = 0; n < name_count; n++)
                    same =
                        same && hk_str_eq(hk_labels_get(a, names[n]), hk_labels_get(b, names[n]));
                CHECK((numbers[i] == numbers[k]) == same);
            }
        }
        CHECK_INT((int)groups, (int)met);
    }
    uint32_t *numbers = NULL;
    uint32_t groups = 0;
    CHECK_INT(hk_view_group(view, refs, count, names, 0, false, &arena, &numbers, &groups), HK_OK);
    CHECK_INT((int)groups, (int)count); /* without () keeps all labels: every series for itself */
    hk_directory_release(directory, view);
    end(directory, folder, path);
}

PROPERTY(radix) {
    uint64_t keys[500];
    for (uint32_t count = 0; count < HK_COUNT(keys); count += 37) {
        for (uint32_t i = 0; i < count; i++)
            keys[i] = (hk_test_random() & 0xff00ffULL) << 32 | i;
        CHECK_INT(hk_radix_sort(keys, count, 32), HK_OK);
        for (uint32_t i = 1; i < count; i++)
            CHECK(keys[i - 1] < keys[i]); /* stable: the low half breaks ties as it was */
    }
}

HK_TEST_MAIN()
