/* Goal: over publishing, merging, retention, damage and death at any step, a set of blocks gives
 * each sample that was published exactly once, the newest one of equal stamps. */
#include "store/blockset.h"

#include "hk_test.h"
#include "os/file.h"
#include "os/thread.h"
#include "store/blockset_internal.h"

#include <unistd.h>

enum { SERIES = 12, SLOTS = 600 };

static const int64_t start_ms = 1700006400000; /* a multiple of two hours */
static const int64_t step_ms = 60000;

/* The model: for each series and slot what was written last. */
static struct cell {
    bool used;
    bool histogram;
    uint32_t version;
} model[SERIES][SLOTS];

static char directory[64];
static struct hk_arena arena;

static void begin(void) {
    (void)snprintf(directory, sizeof(directory), "/tmp/hark-set-XXXXXX");
    CHECK(mkdtemp(directory) != NULL);
    hk_arena_init(&arena, 1 << 28);
    memset(model, 0, sizeof(model));
}

static int remove_entry(void *self, const char *name) {
    char path[512];
    (void)snprintf(path, sizeof(path), "%s/%s", (const char *)self, name);
    return hk_file_remove(path);
}

static void empty_directory(void) {
    (void)hk_dir_list(directory, remove_entry, directory);
}

static void end(void) {
    hk_arena_deinit(&arena);
    empty_directory();
    CHECK_INT(rmdir(directory), 0);
}

struct counting {
    const char *part;
    unsigned count;
};

static int count_entry(void *self, const char *name) {
    struct counting *counting = self;
    counting->count += strstr(name, counting->part) != NULL;
    return 0;
}

static unsigned files_with(const char *part) {
    struct counting counting = { part, 0 };
    (void)hk_dir_list(directory, count_entry, &counting);
    return counting.count;
}

static struct hk_blockset *open_set(void) {
    const struct hk_blockset_options options = { .directory = directory };
    struct hk_blockset *set = NULL;
    CHECK_INT(hk_blockset_open(&options, &set), HK_OK);
    return set;
}

static char label_texts[SERIES][16];

static struct hk_labels labels_of(uint32_t series, struct hk_label room[2]) {
    (void)snprintf(label_texts[series], sizeof(label_texts[series]), "host%02u", series);
    room[0] = (struct hk_label){ HK_STR("__name__"), HK_STR("up") };
    room[1] = (struct hk_label){ HK_STR("instance"), hk_str_from(label_texts[series]) };
    return (struct hk_labels){ room, 2 };
}

static double value_of(uint32_t series, uint32_t slot, uint32_t version) {
    return (double)((slot * 7919U + series * 104729U) % 10007U) + version / 8.0;
}

static struct hk_str payload_of(uint32_t series, uint32_t slot, uint32_t version, char room[48]) {
    int len = snprintf(room, 48, "h%u.%u.%u", series, slot, version);
    return (struct hk_str){ room, (size_t)len };
}

/* What a block will hold: slots [first, end) of the series in `mask`, all with one version; every
 * `histogram_every`-th slot is a histogram (0 = none). */
struct content {
    uint32_t first, end, version, mask, histogram_every;
    uint32_t stride; /* 0 = 1 */
};

static bool has(const struct content *content, uint32_t series, uint32_t slot) {
    return (content->mask >> series & 1) != 0 && slot >= content->first && slot < content->end &&
           (slot - content->first) % (content->stride == 0 ? 1 : content->stride) == 0;
}

static bool is_histogram(const struct content *content, uint32_t slot) {
    return content->histogram_every != 0 && slot % content->histogram_every == 0;
}

static hk_err write_content_series(
    struct hk_block_writer *writer, const struct content *content, uint32_t series) {
    struct hk_label room[2];
    HK_TRY(hk_block_writer_series(writer, labels_of(series, room)));
    int64_t stamps[2][SLOTS];
    double values[SLOTS];
    static char texts[SLOTS][48];
    static struct hk_str payloads[SLOTS];
    uint32_t counts[2] = { 0 };
    for (uint32_t slot = content->first; slot < content->end; slot++) {
        if (!has(content, series, slot)) continue;
        const unsigned kind = is_histogram(content, slot);
        stamps[kind][counts[kind]] = start_ms + step_ms * (int64_t)slot;
        if (kind == 0) {
            values[counts[0]] = value_of(series, slot, content->version);
        } else {
            payloads[counts[1]] = payload_of(series, slot, content->version, texts[counts[1]]);
        }
        counts[kind]++;
    }
    for (uint32_t i = 0; i < counts[0]; i += 128) {
        const uint32_t part = counts[0] - i < 128 ? counts[0] - i : 128;
        HK_TRY(hk_block_writer_floats(writer, stamps[0] + i, values + i, part));
    }
    if (counts[1] == 0) return HK_OK;
    return hk_block_writer_payloads(writer, HK_BLOCK_HISTOGRAM, stamps[1], payloads, counts[1]);
}

static hk_err publish(struct hk_blockset *set, const struct content *content, uint32_t tenant) {
    struct hk_block_writer *writer = NULL;
    HK_TRY(hk_blockset_writer(set, tenant, HK_STR(""), &writer));
    hk_err err = HK_OK;
    for (uint32_t series = 0; err == HK_OK && series < SERIES; series++) {
        if ((content->mask >> series & 1) != 0) err = write_content_series(writer, content, series);
    }
    if (err == HK_OK) return hk_blockset_publish(set, writer, NULL);
    hk_block_writer_destroy(writer);
    return err;
}

static void remember(const struct content *content) {
    for (uint32_t series = 0; series < SERIES; series++) {
        for (uint32_t slot = 0; slot < SLOTS; slot++) {
            if (!has(content, series, slot)) continue;
            model[series][slot] =
                (struct cell){ true, is_histogram(content, slot), content->version };
        }
    }
}

static void check_series(
    const struct hk_blockset_snapshot *snapshot, struct hk_block_work *work,
    const struct hk_blockset_series *series, uint32_t number, uint32_t first, uint32_t last) {
    struct hk_blockset_samples samples = { 0 };
    CHECK_INT(
        hk_blockset_read(
            snapshot, work, series, start_ms + step_ms * (int64_t)first,
            start_ms + step_ms * (int64_t)last, &arena, &samples),
        HK_OK);
    uint32_t at = 0;
    for (uint32_t slot = first; slot <= last; slot++) {
        const struct cell *cell = &model[number][slot];
        if (!cell->used) continue;
        CHECK(at < samples.count);
        if (at >= samples.count) return;
        CHECK_INT(samples.stamps_ms[at], start_ms + step_ms * (int64_t)slot);
        char room[48];
        if (cell->histogram) {
            CHECK(samples.payloads != NULL);
            if (samples.payloads == NULL) return;
            CHECK_STR(samples.payloads[at], payload_of(number, slot, cell->version, room));
        } else {
            CHECK(samples.payloads == NULL || samples.payloads[at].ptr == NULL);
            CHECK_DOUBLE(samples.values[at], value_of(number, slot, cell->version));
        }
        at++;
    }
    CHECK_INT(samples.count, at);
}

/* The set holds what the model says. */
static void check_set(struct hk_blockset *set) {
    struct hk_block_work *work = NULL;
    CHECK_INT(hk_block_work_create(&work), HK_OK);
    struct hk_blockset_snapshot *snapshot = hk_blockset_snapshot(set);
    struct hk_blockset_series *series = NULL;
    uint32_t count = 0, at = 0;
    hk_arena_reset(&arena);
    CHECK_INT(
        hk_blockset_select(
            snapshot, work, 0, NULL, 0, INT64_MIN, INT64_MAX, 0, NULL, &arena, &series, &count),
        HK_OK);
    for (uint32_t number = 0; number < SERIES; number++) {
        bool any = false;
        for (uint32_t slot = 0; slot < SLOTS; slot++)
            any = any || model[number][slot].used;
        struct hk_label room[2];
        const struct hk_labels labels = labels_of(number, room);
        struct hk_blockset_series found = { 0 };
        CHECK_INT(
            hk_blockset_find(snapshot, work, 0, labels, INT64_MIN, INT64_MAX, &arena, &found),
            HK_OK);
        CHECK_INT(found.place_count > 0, any);
        if (!any) continue;
        CHECK(at < count && hk_labels_cmp(series[at].labels, labels) == 0);
        if (at >= count) break;
        check_series(snapshot, work, &series[at], number, 0, SLOTS - 1);
        const uint32_t first = (uint32_t)(hk_test_random() % SLOTS);
        const uint32_t last = first + (uint32_t)(hk_test_random() % (SLOTS - first));
        check_series(snapshot, work, &found, number, first, last);
        at++;
    }
    CHECK_INT(at, count);
    hk_blockset_snapshot_unref(snapshot);
    hk_block_work_destroy(work);
}

static int64_t end_of_slots(void) {
    return start_ms + step_ms * SLOTS;
}

/* Merges all that is due. */
static unsigned compact_all(struct hk_blockset *set, int64_t now_ms) {
    unsigned steps = 0;
    hk_err err = HK_MORE;
    while (err == HK_MORE && steps < 100) {
        err = hk_blockset_compact_step(set, now_ms, NULL);
        steps += err == HK_MORE;
    }
    CHECK_INT(err, HK_OK);
    return steps;
}

/* ------------------------------------------------------------------ the merge itself */

PROPERTY(merge_is_newest_by_stamp) {
    enum { SOURCES = 5, COUNT = 40, RANGE = 100 };
    for (int round = 0; round < 300; round++) {
        struct hk_merge_source sources[SOURCES] = { 0 };
        int64_t stamps[SOURCES][COUNT];
        double values[SOURCES][COUNT];
        int newest[RANGE];
        memset(newest, -1, sizeof(newest));
        uint32_t all = 0, got = 0, dropped = 0;
        const int64_t spread = 1 + (int64_t)(hk_test_random() % 30);
        for (int s = 0; s < SOURCES; s++) {
            int64_t at = (int64_t)(hk_test_random() % RANGE);
            uint32_t count = 0;
            for (; count < COUNT && at < RANGE; count++) {
                stamps[s][count] = at;
                values[s][count] = s;
                newest[at] = s;
                at += 1 + (int64_t)(hk_test_random() % (uint64_t)spread);
            }
            all += count;
            sources[s] = (struct hk_merge_source){ stamps[s], values[s], NULL, count, 0 };
        }
        struct hk_merge_run run;
        int64_t before = -1;
        while (hk_merge_next(sources, SOURCES, &run)) {
            dropped += run.dropped;
            for (uint32_t i = run.first; i < run.first + run.count; i++, got++) {
                const int64_t stamp = stamps[run.source][i];
                CHECK(stamp > before);
                CHECK_INT(newest[stamp], run.source);
                before = stamp;
            }
        }
        CHECK_INT(got + dropped, all);
    }
}

/* ------------------------------------------------------------------ publishing and merging */

PROPERTY(blocks_merge_to_the_newest) {
    begin();
    for (unsigned round = 0; round < 3; round++) {
        empty_directory();
        memset(model, 0, sizeof(model));
        struct hk_blockset *set = open_set();
        for (uint32_t version = 1; version <= 14; version++) {
            struct content content = { .version = version, .mask = (uint32_t)hk_test_random() };
            content.first = (uint32_t)(hk_test_random() % SLOTS);
            content.end = content.first + 1 + (uint32_t)(hk_test_random() % 250);
            if (content.end > SLOTS) content.end = SLOTS;
            content.histogram_every = (uint32_t)(hk_test_random() % 4);
            content.stride = (uint32_t)(hk_test_random() % 3);
            content.mask |= 1; /* never empty */
            CHECK_INT(publish(set, &content, 0), HK_OK);
            remember(&content);
            if (version % 4 == 0) {
                (void)compact_all(set, end_of_slots() - 3600000);
                check_set(set);
            }
            if (version % 5 == 0) {
                hk_blockset_close(set);
                set = open_set();
                check_set(set);
            }
        }
        (void)compact_all(set, end_of_slots() + 30LL * 86400000);
        check_set(set);
        struct hk_blockset_stats stats;
        hk_blockset_stats(set, &stats);
        CHECK(stats.compactions > 0);
        CHECK_INT(stats.problems, 0);
        CHECK(stats.blocks <= 3);
        CHECK_INT(files_with(""), stats.blocks);
        hk_blockset_close(set);
    }
    end();
}

TEST(short_chunks_become_long) {
    begin();
    struct hk_blockset *set = open_set();
    for (uint32_t i = 0; i < 4; i++) {
        const struct content content = { i * 128, i * 128 + 128, i, 0xfff, 0, 0 };
        CHECK_INT(publish(set, &content, 0), HK_OK);
        remember(&content);
    }
    CHECK(compact_all(set, end_of_slots() + 30LL * 86400000) >= 1);
    struct hk_blockset_snapshot *snapshot = hk_blockset_snapshot(set);
    CHECK_INT(snapshot->count, 1);
    const struct hk_block_info *info = hk_block_info(snapshot->blocks[0]);
    CHECK_INT(info->chunk_count, SERIES);
    CHECK_INT(info->sample_count, SERIES * 512);
    CHECK(info->replaces_count >= 2);
    hk_blockset_snapshot_unref(snapshot);
    check_set(set);
    hk_blockset_close(set);
    end();
}

/* Exemplars are merged by time; the same one twice is kept once. */
TEST(exemplars_merge) {
    begin();
    struct hk_blockset *set = open_set();
    static const struct {
        int64_t stamps[3];
        const char *texts[3];
    } rows[2] = { { { 10, 20, 20 }, { "a", "b", "c" } }, { { 15, 20, 30 }, { "d", "c", "e" } } };
    struct hk_label room[2];
    for (int i = 0; i < 2; i++) {
        struct hk_block_writer *writer = NULL;
        struct hk_str payloads[3];
        for (int k = 0; k < 3; k++)
            payloads[k] = hk_str_from(rows[i].texts[k]);
        CHECK_INT(hk_blockset_writer(set, 0, HK_STR(""), &writer), HK_OK);
        CHECK_INT(hk_block_writer_series(writer, labels_of(0, room)), HK_OK);
        CHECK_INT(
            hk_block_writer_payloads(writer, HK_BLOCK_EXEMPLAR, rows[i].stamps, payloads, 3),
            HK_OK);
        CHECK_INT(hk_blockset_publish(set, writer, NULL), HK_OK);
    }
    CHECK_INT(compact_all(set, start_ms), 1);
    struct hk_blockset_snapshot *snapshot = hk_blockset_snapshot(set);
    struct hk_block_work *work = NULL;
    CHECK_INT(hk_block_work_create(&work), HK_OK);
    int64_t *stamps = NULL;
    struct hk_str *payloads = NULL;
    uint32_t count = 0;
    CHECK_INT(
        hk_block_read_payloads(
            snapshot->blocks[0], work, 0, HK_BLOCK_EXEMPLAR, INT64_MIN, INT64_MAX, &arena, &stamps,
            &payloads, &count),
        HK_OK);
    char all[32] = "";
    for (uint32_t i = 0; i < count; i++)
        (void)strncat(all, payloads[i].ptr, payloads[i].len);
    CHECK_TEXT(all, "adbce");
    hk_block_work_destroy(work);
    hk_blockset_snapshot_unref(snapshot);
    hk_blockset_close(set);
    end();
}

/* A block between two others in order that overlaps them is merged with them, though its middle
 * lies in another partition; a block of another tenant is not. */
TEST(order_is_kept) {
    begin();
    struct hk_blockset_options options = { .directory = directory, .fan_in = 2 };
    options.partition_ms[0] = 3600000;
    struct hk_blockset *set = NULL;
    CHECK_INT(hk_blockset_open(&options, &set), HK_OK);
    const struct content contents[] = {
        { 10, 20, 1, 1, 0, 0 },
        { 10, 130, 2, 1, 0, 0 },
        { 12, 14, 3, 1, 0, 0 },
    };
    for (size_t i = 0; i < HK_COUNT(contents); i++) {
        CHECK_INT(publish(set, &contents[i], 0), HK_OK);
        remember(&contents[i]);
    }
    const struct content other = { 0, 300, 9, 0xff, 0, 0 };
    CHECK_INT(publish(set, &other, 1), HK_OK);
    CHECK_INT(hk_blockset_compact_step(set, start_ms, NULL), HK_MORE);
    check_set(set);
    CHECK_INT(hk_blockset_compact_step(set, start_ms, NULL), HK_OK);
    struct hk_blockset_stats stats;
    hk_blockset_stats(set, &stats);
    CHECK_INT(stats.blocks, 2);
    CHECK_INT(stats.overwritten, 12);
    hk_blockset_close(set);
    end();
}

/* While a block with an order in between is being committed, nothing around it is merged. */
TEST(commits_in_flight_are_not_passed) {
    begin();
    const struct hk_blockset_options options = { .directory = directory, .fan_in = 2 };
    struct hk_blockset *set = NULL;
    CHECK_INT(hk_blockset_open(&options, &set), HK_OK);
    const struct content contents[] = { { 0, 9, 1, 1, 0, 0 }, { 0, 9, 2, 1, 0, 0 } };
    CHECK_INT(publish(set, &contents[0], 0), HK_OK);
    uint64_t order = 0;
    CHECK_INT(hk_blockset_begin_commit(set, &order), HK_OK);
    CHECK_INT(publish(set, &contents[1], 0), HK_OK);
    CHECK_INT(hk_blockset_compact_step(set, start_ms, NULL), HK_OK);
    hk_blockset_end_commit(set, order);
    CHECK_INT(hk_blockset_compact_step(set, start_ms, NULL), HK_MORE);
    hk_blockset_close(set);
    end();
}

TEST(cancel_and_busy) {
    begin();
    struct hk_blockset *set = open_set();
    const struct content contents[] = { { 0, 50, 1, 1, 0, 0 }, { 0, 50, 2, 1, 0, 0 } };
    for (size_t i = 0; i < HK_COUNT(contents); i++) {
        CHECK_INT(publish(set, &contents[i], 0), HK_OK);
        remember(&contents[i]);
    }
    const _Atomic bool cancel = true;
    CHECK_INT(hk_blockset_compact_step(set, end_of_slots(), &cancel), HK_E_CANCELED);
    CHECK_INT(files_with(".tmp"), 0);
    check_set(set);
    set->maintaining = true;
    CHECK_INT(hk_blockset_compact_step(set, end_of_slots(), NULL), HK_E_BUSY);
    CHECK_INT(hk_blockset_retain(set, end_of_slots()), HK_E_BUSY);
    set->maintaining = false;
    CHECK_INT(hk_blockset_compact_step(set, end_of_slots(), NULL), HK_MORE);
    check_set(set);
    hk_blockset_close(set);
    end();
}

/* ------------------------------------------------------------------ death at every step */

/* Publishes and merges until something fails; the model gets what was acknowledged. An unacked
 * publish may or may not have happened: `*out_maybe` is its version. */
static void live_until_death(uint32_t *out_maybe) {
    *out_maybe = 0;
    const struct hk_blockset_options options = { .directory = directory, .fan_in = 3 };
    struct hk_blockset *set = NULL;
    if (hk_blockset_open(&options, &set) < 0) return;
    hk_err err = HK_OK;
    for (uint32_t version = 1; err >= 0 && version <= 4; version++) {
        const struct content content = { version * 7, 60 + version * 9, version, 0x7, 2, 0 };
        err = publish(set, &content, 0);
        if (err == HK_OK) remember(&content);
        if (err < 0) *out_maybe = version;
        while (err >= 0) {
            err = hk_blockset_compact_step(set, start_ms, NULL);
            if (err != HK_MORE) break;
        }
    }
    if (err >= 0 && hk_blockset_retain(set, start_ms) < 0) hk_fail_clear();
    hk_blockset_close(set);
}

TEST(death_at_every_step) {
    begin();
    uint64_t n = 1;
    for (; n < 500; n++) {
        empty_directory();
        memset(model, 0, sizeof(model));
        (void)hk_block_io_fail_at(n);
        uint32_t maybe = 0;
        live_until_death(&maybe);
        const uint64_t done = hk_block_io_fail_at(0);
        struct hk_blockset *set = open_set();
        struct hk_blockset_stats stats;
        hk_blockset_stats(set, &stats);
        CHECK_INT(files_with(""), stats.blocks); /* nothing is left over */
        struct hk_block_work *work = NULL;
        CHECK_INT(hk_block_work_create(&work), HK_OK);
        /* The unacknowledged block is there when only its directory's sync failed. */
        struct hk_blockset_snapshot *snapshot = hk_blockset_snapshot(set);
        for (uint32_t i = 0; i < snapshot->count; i++) {
            const struct hk_block_info *info = hk_block_info(snapshot->blocks[i]);
            CHECK_INT(hk_block_verify(snapshot->blocks[i], work), HK_OK);
            const struct content content = { maybe * 7, 60 + maybe * 9, maybe, 0x7, 2, 0 };
            if (maybe != 0 && info->level == 0 &&
                info->max_ms == start_ms + step_ms * (int64_t)(content.end - 1)) {
                remember(&content);
            }
        }
        hk_blockset_snapshot_unref(snapshot);
        hk_block_work_destroy(work);
        check_set(set);
        (void)compact_all(set, end_of_slots() + 30LL * 86400000);
        check_set(set);
        hk_blockset_close(set);
        if (done < n) break;
    }
    printf("# %u steps\n", (unsigned)n);
    CHECK(n > 30 && n < 500);
    end();
}

static hk_err whole_life(void) {
    empty_directory();
    const struct hk_blockset_options options = { .directory = directory, .fan_in = 2 };
    struct hk_blockset *set = NULL;
    HK_TRY(hk_blockset_open(&options, &set));
    hk_err err = HK_OK;
    for (uint32_t version = 1; err >= 0 && version <= 2; version++) {
        const struct content content = { 0, 20, version, 0x1, 2, 0 };
        err = publish(set, &content, 0);
    }
    if (err >= 0) {
        err = hk_blockset_compact_step(set, start_ms, NULL);
        if (err == HK_OK) err = HK_E_NOMEM; /* the plan had no memory: it would come next time */
    }
    hk_blockset_close(set);
    return err;
}

TEST(failing_allocations) {
    begin();
    SWEEP_ALLOC(whole_life());
    end();
}

/* ------------------------------------------------------------------ damage */

static void damage(uint64_t id, int64_t at) {
    char name[32], path[128];
    hk_block_name(id, name);
    (void)snprintf(path, sizeof(path), "%s/%s", directory, name);
    int fd = hk_file_open(path, HK_FILE_READ | HK_FILE_WRITE);
    CHECK(fd >= 0);
    if (at < 0) at += hk_file_size(fd);
    uint8_t byte = 0;
    CHECK_INT(hk_file_read(fd, &byte, 1, at), 1);
    byte ^= 0x10;
    CHECK_INT(hk_file_write(fd, &byte, 1, at), 0);
    hk_file_close(fd);
}

TEST(damaged_files_are_put_aside) {
    begin();
    struct hk_blockset *set = open_set();
    for (uint32_t i = 1; i <= 3; i++) {
        const struct content content = { i * 20, i * 20 + 20, i, 1, 0, 0 };
        CHECK_INT(publish(set, &content, 0), HK_OK);
        if (i != 2) remember(&content);
    }
    hk_blockset_close(set);
    /* Each block took an id and an order: the second one has id 3. */
    damage(3, -40);
    char path[128];
    (void)snprintf(path, sizeof(path), "%s/00000000000000ff.block.tmp", directory);
    hk_file_close(hk_file_open(path, HK_FILE_WRITE | HK_FILE_CREATE));
    set = open_set();
    struct hk_blockset_stats stats;
    hk_blockset_stats(set, &stats);
    CHECK_INT(stats.problems, 1);
    CHECK_INT(stats.quarantined, 1);
    CHECK_INT(stats.blocks, 2);
    CHECK_INT(files_with(".quarantined"), 1);
    CHECK_INT(files_with(".tmp"), 0);
    CHECK(hk_blockset_problem(set, 0) != NULL && hk_blockset_problem(set, 1) == NULL);
    CHECK(strstr(hk_blockset_problem(set, 0), "footer") != NULL);
    CHECK(set->next_id > 0xff);
    check_set(set);
    hk_blockset_close(set);
    /* A newer version: nothing is touched. */
    damage(1, 8);
    const struct hk_blockset_options options = { .directory = directory };
    set = NULL;
    hk_err err = hk_blockset_open(&options, &set);
    CHECK_INT(err, HK_OK); /* the header's checksum fails first: that is damage */
    hk_blockset_close(set);
    CHECK_INT(files_with(".quarantined"), 2);
    end();
}

/* A merged block that turns out corrupt at the start does not cost its inputs. */
TEST(corrupt_merge_keeps_inputs) {
    begin();
    const struct hk_blockset_options options = { .directory = directory, .fan_in = 2 };
    unsigned tried = 0;
    for (uint64_t steps = 1; steps < 50; steps++) {
        empty_directory();
        memset(model, 0, sizeof(model));
        struct hk_blockset *set = NULL;
        CHECK_INT(hk_blockset_open(&options, &set), HK_OK);
        for (uint32_t i = 1; i <= 2; i++) {
            const struct content content = { i * 20, i * 20 + 40, i, 1, 0, 0 };
            CHECK_INT(publish(set, &content, 0), HK_OK);
            remember(&content);
        }
        const uint64_t merged = set->next_id;
        (void)hk_block_io_fail_at(steps);
        const hk_err err = hk_blockset_compact_step(set, start_ms, NULL);
        const uint64_t done = hk_block_io_fail_at(0);
        CHECK(err == HK_MORE || err == HK_E_IO);
        hk_blockset_close(set);
        if (files_with(".block") == 3 && files_with(".tmp") == 0) {
            damage(merged, 70); /* the first chunk */
            tried++;
        }
        CHECK_INT(hk_blockset_open(&options, &set), HK_OK);
        check_set(set);
        hk_blockset_close(set);
        if (done < steps) break;
    }
    CHECK(tried >= 2);
    end();
}

TEST(damaged_chunk_costs_only_itself) {
    begin();
    const struct hk_blockset_options options = { .directory = directory, .fan_in = 2 };
    struct hk_blockset *set = NULL;
    CHECK_INT(hk_blockset_open(&options, &set), HK_OK);
    for (uint32_t i = 1; i <= 2; i++) {
        const struct content content = { 0, 200 * i, i, 1, 0, 0 };
        CHECK_INT(publish(set, &content, 0), HK_OK);
        if (i == 1) remember(&content);
    }
    struct hk_blockset_snapshot *snapshot = hk_blockset_snapshot(set);
    struct hk_block_work *work = NULL;
    CHECK_INT(hk_block_work_create(&work), HK_OK);
    struct hk_block_chunk *chunks = NULL;
    uint32_t count = 0;
    struct hk_block *block = snapshot->blocks[1];
    const uint64_t id = hk_block_info(block)->id;
    CHECK_INT(hk_block_chunks(block, work, 0, &arena, &chunks, &count), HK_OK);
    CHECK_INT(count, 4);
    hk_block_work_destroy(work);
    hk_blockset_snapshot_unref(snapshot);
    CHECK(chunks[0].offset != 0); /* not inline */
    damage(id, (int64_t)chunks[0].offset);
    for (uint32_t slot = 128; slot < 400; slot++) /* the first chunk keeps the older version */
        model[0][slot] = (struct cell){ true, false, 2 };
    CHECK_INT(hk_blockset_compact_step(set, start_ms, NULL), HK_MORE);
    check_set(set);
    CHECK_INT(files_with(".quarantined"), 1);
    struct hk_blockset_stats stats;
    hk_blockset_stats(set, &stats);
    CHECK_INT(stats.blocks, 1);
    CHECK(stats.problems >= 1);
    hk_blockset_close(set);
    end();
}

/* ------------------------------------------------------------------ retention */

static void forget_before(uint32_t slot) {
    for (uint32_t series = 0; series < SERIES; series++)
        memset(model[series], 0, slot * sizeof(struct cell));
}

TEST(retention) {
    begin();
    struct hk_blockset *set = open_set();
    for (uint32_t i = 0; i < 5; i++) {
        const struct content content = { i * 100, i * 100 + 100, i, 0xfff, 0, 0 };
        CHECK_INT(publish(set, &content, 0), HK_OK);
        remember(&content);
    }
    struct hk_blockset_stats before, after;
    hk_blockset_stats(set, &before);
    CHECK_INT(before.blocks, 5);
    struct hk_blockset_snapshot *held = hk_blockset_snapshot(set);
    /* Now is slot 500: blocks that ended more than 250 minutes ago go. */
    hk_blockset_limits(set, 250 * step_ms, 0);
    CHECK_INT(hk_blockset_retain(set, start_ms + 500 * step_ms), HK_OK);
    forget_before(200);
    check_set(set);
    hk_blockset_stats(set, &after);
    CHECK_INT(after.blocks, 3);
    CHECK_INT(after.retired_blocks, 2);
    CHECK_INT(after.retired_samples, 200 * SERIES);
    CHECK_INT(before.bytes, after.bytes + after.retired_bytes);
    CHECK_INT(files_with(".block"), 3);
    /* Held snapshots stay readable. */
    struct hk_block_work *work = NULL;
    CHECK_INT(hk_block_work_create(&work), HK_OK);
    CHECK_INT(hk_block_verify(held->blocks[0], work), HK_OK);
    hk_block_work_destroy(work);
    hk_blockset_snapshot_unref(held);
    /* By size: room for two and no merge that is due. */
    hk_blockset_limits(set, 0, after.bytes - 1);
    CHECK_INT(hk_blockset_retain(set, start_ms), HK_OK);
    forget_before(300);
    check_set(set);
    /* The last one stays. */
    hk_blockset_limits(set, 0, 1);
    CHECK_INT(hk_blockset_retain(set, start_ms), HK_OK);
    forget_before(400);
    check_set(set);
    hk_blockset_close(set);
    end();
}

/* ------------------------------------------------------------------ threads */

static _Atomic bool stop;

static void read_for_ever(void *arg) {
    struct hk_blockset *set = arg;
    struct hk_block_work *work = NULL;
    if (hk_block_work_create(&work) < 0) return;
    struct hk_arena memory;
    hk_arena_init(&memory, 1 << 26);
    while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
        struct hk_blockset_snapshot *snapshot = hk_blockset_snapshot(set);
        struct hk_blockset_series *series = NULL;
        struct hk_blockset_samples samples;
        uint32_t count = 0;
        hk_arena_reset(&memory);
        if (hk_blockset_select(
                snapshot, work, 0, NULL, 0, INT64_MIN, INT64_MAX, 0, NULL, &memory, &series,
                &count) < 0) {
            hk_assert(false);
        }
        for (uint32_t i = 0; i < count; i++) {
            if (hk_blockset_read(
                    snapshot, work, &series[i], INT64_MIN, INT64_MAX, &memory, &samples) < 0) {
                hk_assert(false);
            }
        }
        hk_blockset_snapshot_unref(snapshot);
    }
    hk_arena_deinit(&memory);
    hk_block_work_destroy(work);
}

TEST(readers_beside_publishing_and_merging) {
    begin();
    const struct hk_blockset_options options = { .directory = directory, .fan_in = 3 };
    struct hk_blockset *set = NULL;
    CHECK_INT(hk_blockset_open(&options, &set), HK_OK);
    struct hk_thread readers[2] = { 0 };
    atomic_store(&stop, false);
    for (int i = 0; i < 2; i++)
        CHECK_INT(hk_thread_start(&readers[i], "reader", read_for_ever, set), 0);
    for (uint32_t i = 0; i < 12; i++) {
        const struct content content = { i * 40, i * 40 + 60, i, 0xfff, 3, 0 };
        CHECK_INT(publish(set, &content, 0), HK_OK);
        remember(&content);
        (void)compact_all(set, start_ms);
    }
    atomic_store(&stop, true);
    for (int i = 0; i < 2; i++)
        hk_thread_join(&readers[i]);
    check_set(set);
    hk_blockset_close(set);
    end();
}

HK_TEST_MAIN()
