/* Goal: a block gives back exactly what was written, finds series as the matchers say, is as small
 * as decision D23 asks, and every changed byte or failing call is noticed. */
#include "store/block.h"

#include "hk_test.h"
#include "os/file.h"
#include "store/block_internal.h"

#include <math.h>
#include <unistd.h>

enum { SERIES_MAX = 700, LABELS = 5, CHUNKS_MAX = 3, SAMPLES_MAX = 400 };

/* What a series holds, by its seed: everything else is computed. */
struct model {
    struct hk_label labels[LABELS];
    uint32_t label_count;
    uint32_t seed;
};

static char texts[64][24];
static struct model models[SERIES_MAX];
static uint32_t model_count;
static char directory[64];
static struct hk_arena arena;

static struct hk_str text(uint32_t i, const char *prefix) {
    (void)snprintf(texts[i], sizeof(texts[i]), "%s%u", prefix, i);
    return hk_str_from(texts[i]);
}

static int by_labels(const void *a, const void *b) {
    const struct model *x = a, *y = b;
    return hk_labels_cmp(
        (struct hk_labels){ x->labels, x->label_count },
        (struct hk_labels){ y->labels, y->label_count });
}

static uint32_t mix(uint32_t seed, uint32_t i) {
    uint64_t x = ((uint64_t)seed << 32 | i) * 0x9e3779b97f4a7c15ULL;
    x ^= x >> 29;
    x *= 0xbf58476d1ce4e5b9ULL;
    return (uint32_t)(x >> 32);
}

/* Random label sets over few names and values, sorted, each once. */
static void make_models(uint32_t count) {
    static const char *const names[LABELS] = { "__name__", "cpu", "instance", "job", "mode" };
    for (uint32_t i = 0; i < count; i++) {
        struct model *model = &models[i];
        *model = (struct model){ .seed = (uint32_t)hk_test_random() };
        for (uint32_t k = 0; k < LABELS; k++) {
            uint32_t random = (uint32_t)hk_test_random();
            if (k > 0 && random % 4 == 0) continue;
            struct hk_label *label = &model->labels[model->label_count++];
            label->name = hk_str_from(names[k]);
            label->value = text(k * 12 + random / 4 % 12, k == 3 ? "" : "value_");
        }
    }
    qsort(models, count, sizeof(*models), by_labels);
    model_count = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (i > 0 && by_labels(&models[model_count - 1], &models[i]) == 0) continue;
        models[model_count++] = models[i];
    }
}

static struct hk_labels labels_of(uint32_t i) {
    return (struct hk_labels){ models[i].labels, models[i].label_count };
}

static const int64_t start_ms = 1700000000000;

/* Samples of a column of a series: a third of the series is constant, a tenth empty. */
static uint32_t column_count(uint32_t seed, unsigned column) {
    if (mix(seed, 1000 + column) % 10 == 0) return 0;
    if (column != HK_BLOCK_FLOAT && mix(seed, 2000 + column) % 5 != 0) return 0;
    return 1 + mix(seed, 3000 + column) % SAMPLES_MAX;
}

static int64_t stamp_of(uint32_t seed, unsigned column, uint32_t i) {
    int64_t jitter = mix(seed, 7) % 3 == 0 ? (int64_t)(mix(seed, i) % 9000) : 0;
    return start_ms + (int64_t)column + 15000 * (int64_t)i + jitter;
}

static double value_of(uint32_t seed, uint32_t i) {
    switch (mix(seed, 9) % 5) {
    case 0:
        return 3;
    case 1:
        return 100.0 * seed + 10.0 * i;
    case 2:
        return (double)(mix(seed, i) % 1000) / 100;
    case 3:
        return mix(seed, i) % 10 == 0 ? (double)NAN : (double)mix(seed, i) / 7;
    default:
        return mix(seed, i) % 20 == 0 ? -HUGE_VAL : (double)(mix(seed, i) % 7);
    }
}

static struct hk_str payload_of(uint32_t seed, uint32_t i, char room[64]) {
    int len = snprintf(room, 64, "histogram %u of %u", i / 3, seed);
    return (struct hk_str){ room, mix(seed, i) % 13 == 0 ? 0 : (size_t)len };
}

static hk_err write_column(struct hk_block_writer *writer, uint32_t seed, unsigned column) {
    static int64_t stamps[SAMPLES_MAX];
    static double values[SAMPLES_MAX];
    static struct hk_str payloads[SAMPLES_MAX];
    static char rooms[SAMPLES_MAX][64];
    const uint32_t count = column_count(seed, column);
    for (uint32_t i = 0; i < count; i++) {
        stamps[i] = stamp_of(seed, column, i);
        values[i] = value_of(seed, i);
        payloads[i] = payload_of(seed, i, rooms[i]);
    }
    for (uint32_t i = 0; i < count;) {
        uint32_t part = 1 + mix(seed, 50 + i) % 200;
        if (part > count - i) part = count - i;
        if (column == HK_BLOCK_FLOAT) {
            HK_TRY(hk_block_writer_floats(writer, stamps + i, values + i, part));
        } else {
            HK_TRY(hk_block_writer_payloads(
                writer, (enum hk_block_column)column, stamps + i, payloads + i, part));
        }
        i += part;
    }
    return HK_OK;
}

static hk_err write_series(struct hk_block_writer *writer) {
    for (uint32_t i = 0; i < model_count; i++) {
        HK_TRY(hk_block_writer_series(writer, labels_of(i)));
        for (unsigned column = 0; column < HK_BLOCK_COLUMNS; column++)
            HK_TRY(write_column(writer, models[i].seed, column));
    }
    return HK_OK;
}

static hk_err write_block(uint64_t id) {
    const uint64_t replaces[] = { 3, 4 };
    const struct hk_block_writer_options options = {
        .directory = directory,
        .id = id,
        .order = 5,
        .tenant = 9,
        .level = 1,
        .replaces = replaces,
        .replaces_count = 2,
        .note = HK_STR("sealed by a test"),
    };
    struct hk_block_writer *writer = NULL;
    HK_TRY(hk_block_writer_create(&options, &writer));
    hk_err err = write_series(writer);
    if (err == HK_OK) err = hk_block_writer_commit(writer);
    hk_block_writer_destroy(writer);
    return err;
}

static const char *path_of(uint64_t id) {
    static char path[128];
    char name[32];
    hk_block_name(id, name);
    (void)snprintf(path, sizeof(path), "%s/%s", directory, name);
    return path;
}

static void begin(void) {
    (void)snprintf(directory, sizeof(directory), "/tmp/hark-block-XXXXXX");
    CHECK(mkdtemp(directory) != NULL);
    hk_arena_init(&arena, 1 << 30);
}

static int remove_entry(void *self, const char *name) {
    char path[512];
    (void)snprintf(path, sizeof(path), "%s/%s", (const char *)self, name);
    return hk_file_remove(path);
}

static void end(void) {
    hk_arena_deinit(&arena);
    (void)hk_dir_list(directory, remove_entry, directory);
    CHECK_INT(rmdir(directory), 0);
}

static void check_floats(
    struct hk_block *block, struct hk_block_work *work, uint32_t number, int64_t from, int64_t to) {
    int64_t *stamps = NULL;
    double *values = NULL;
    uint32_t count = 0, found = 0;
    const uint32_t seed = models[number].seed;
    CHECK_INT(
        hk_block_read_floats(block, work, number, from, to, &arena, &stamps, &values, &count),
        HK_OK);
    for (uint32_t i = 0; i < column_count(seed, HK_BLOCK_FLOAT); i++) {
        int64_t stamp = stamp_of(seed, HK_BLOCK_FLOAT, i);
        double value = value_of(seed, i);
        if (stamp < from || stamp > to) continue;
        CHECK(found < count && stamps[found] == stamp && memcmp(&values[found], &value, 8) == 0);
        found++;
    }
    CHECK_INT(count, found);
}

static void check_payloads(
    struct hk_block *block, struct hk_block_work *work, uint32_t number, unsigned column,
    int64_t from, int64_t to) {
    int64_t *stamps = NULL;
    struct hk_str *payloads = NULL;
    uint32_t count = 0, found = 0;
    const uint32_t seed = models[number].seed;
    CHECK_INT(
        hk_block_read_payloads(
            block, work, number, (enum hk_block_column)column, from, to, &arena, &stamps, &payloads,
            &count),
        HK_OK);
    for (uint32_t i = 0; i < column_count(seed, column); i++) {
        int64_t stamp = stamp_of(seed, column, i);
        char room[64];
        struct hk_str payload = payload_of(seed, i, room);
        if (stamp < from || stamp > to) continue;
        CHECK(found < count && stamps[found] == stamp && hk_str_eq(payloads[found], payload));
        found++;
    }
    CHECK_INT(count, found);
}

/* Bounds hold for every value of the chunk, and are exact where they say so. */
static void check_summaries(struct hk_block *block, struct hk_block_work *work, uint32_t number) {
    struct hk_block_chunk *chunks = NULL;
    uint32_t count = 0;
    CHECK_INT(hk_block_chunks(block, work, number, &arena, &chunks, &count), HK_OK);
    const uint32_t seed = models[number].seed;
    uint32_t at = 0;
    for (uint32_t i = 0; i < count && chunks[i].column == HK_BLOCK_FLOAT; i++) {
        const struct hk_block_summary *summary = &chunks[i].summary;
        double min = HUGE_VAL, max = -HUGE_VAL, sum = 0;
        bool has_nan = false;
        for (uint32_t k = 0; k < chunks[i].count; k++) {
            double value = value_of(seed, at + k);
            has_nan = has_nan || isnan(value);
            if (isnan(value)) continue;
            min = value < min ? value : min;
            max = value > max ? value : max;
            sum += value;
        }
        CHECK(summary->min <= min && summary->max >= max);
        CHECK(!has_nan || summary->has_nan);
        if (summary->exact) {
            CHECK(summary->min == min && summary->max == max);
            CHECK(isinf(sum) ? isinf(summary->sum) : fabs(summary->sum - sum) <= fabs(sum) * 1e-12);
            if (!has_nan) CHECK(summary->first == value_of(seed, at));
            if (!has_nan) CHECK(summary->last == value_of(seed, at + chunks[i].count - 1));
        }
        at += chunks[i].count;
    }
    CHECK_INT(at, column_count(seed, HK_BLOCK_FLOAT));
}

PROPERTY(what_is_written_is_read) {
    begin();
    struct hk_block_work *work = NULL;
    CHECK_INT(hk_block_work_create(&work), HK_OK);
    static const uint32_t counts[] = { 0, 1, 40, 64, 65, SERIES_MAX };
    for (uint64_t round = 0; round < HK_COUNT(counts); round++) {
        make_models(counts[round]);
        CHECK_INT(write_block(round + 1), HK_OK);
        struct hk_block *block = NULL;
        CHECK_INT(hk_block_open(path_of(round + 1), &block), HK_OK);
        const struct hk_block_info *info = hk_block_info(block);
        CHECK_INT(info->id, round + 1);
        CHECK_INT(info->order, 5);
        CHECK_INT(info->tenant, 9);
        CHECK_INT(info->level, 1);
        CHECK_INT(info->series_count, model_count);
        CHECK_INT(info->replaces_count, 2);
        CHECK_INT(info->replaces[1], 4);
        CHECK_STR(info->note, HK_STR("sealed by a test"));
        CHECK_INT(hk_block_verify(block, work), HK_OK);
        uint64_t samples = 0;
        for (uint32_t i = 0; i < model_count; i++) {
            const uint32_t number = round % 2 == 0 ? i : model_count - 1 - i;
            hk_arena_reset(&arena);
            struct hk_labels labels;
            CHECK_INT(hk_block_labels(block, work, number, &arena, &labels), HK_OK);
            CHECK_INT(hk_labels_cmp(labels, labels_of(number)), 0);
            uint32_t found = UINT32_MAX;
            CHECK_INT(hk_block_find(block, work, labels_of(number), &found), HK_OK);
            CHECK_INT(found, number);
            check_floats(block, work, number, INT64_MIN, INT64_MAX);
            int64_t from = start_ms + (int64_t)(hk_test_random() % (SAMPLES_MAX * 15000));
            int64_t to = from + (int64_t)(hk_test_random() % (SAMPLES_MAX * 7000));
            check_floats(block, work, number, from, to);
            for (unsigned c = HK_BLOCK_HISTOGRAM; c <= HK_BLOCK_EXEMPLAR; c++) {
                check_payloads(block, work, number, c, INT64_MIN, INT64_MAX);
                check_payloads(block, work, number, c, from, to);
            }
            check_summaries(block, work, number);
            samples += column_count(models[number].seed, HK_BLOCK_FLOAT) +
                       column_count(models[number].seed, HK_BLOCK_HISTOGRAM);
        }
        CHECK_INT(info->sample_count, samples);
        const struct hk_label none = { HK_STR("a"), HK_STR("b") };
        uint32_t found = 0;
        CHECK_INT(
            hk_block_find(block, work, (struct hk_labels){ &none, 1 }, &found), HK_E_NOT_FOUND);
        hk_block_unref(block);
    }
    hk_block_work_destroy(work);
    end();
}

/* ------------------------------------------------------------------ matchers */

static const struct {
    enum hk_match_type type;
    const char *name, *value;
} matcher_rows[] = {
    { HK_MATCH_EQUAL, "__name__", "value_3" },
    { HK_MATCH_EQUAL, "__name__", "nothing" },
    { HK_MATCH_EQUAL, "nothing", "x" },
    { HK_MATCH_EQUAL, "nothing", "" },
    { HK_MATCH_EQUAL, "mode", "" },
    { HK_MATCH_NOT_EQUAL, "mode", "" },
    { HK_MATCH_NOT_EQUAL, "cpu", "value_15" },
    { HK_MATCH_NOT_EQUAL, "nothing", "x" },
    { HK_MATCH_NOT_EQUAL, "nothing", "" },
    { HK_MATCH_REGEX, "instance", "value_2.*" },
    { HK_MATCH_REGEX, "instance", ".*" },
    { HK_MATCH_REGEX, "instance", ".+" },
    { HK_MATCH_REGEX, "job", "|38" },
    { HK_MATCH_NOT_REGEX, "job", "3[0-9]" },
    { HK_MATCH_NOT_REGEX, "mode", ".*" },
    { HK_MATCH_NOT_REGEX, "mode", ".+" },
    { HK_MATCH_REGEX, "__name__", "value_(1|5|9)" },
    { HK_MATCH_NOT_REGEX, "cpu", "|value_14" },
};

TEST(select_is_what_matchers_say) {
    begin();
    make_models(SERIES_MAX);
    CHECK_INT(write_block(1), HK_OK);
    struct hk_block *block = NULL;
    struct hk_block_work *work = NULL;
    CHECK_INT(hk_block_open(path_of(1), &block), HK_OK);
    CHECK_INT(hk_block_work_create(&work), HK_OK);
    struct hk_matcher matchers[HK_COUNT(matcher_rows)];
    for (size_t i = 0; i < HK_COUNT(matcher_rows); i++) {
        matchers[i] = (struct hk_matcher){ .type = matcher_rows[i].type,
                                           .name = hk_str_from(matcher_rows[i].name),
                                           .value = hk_str_from(matcher_rows[i].value) };
        if (matchers[i].type < HK_MATCH_REGEX) continue;
        CHECK_INT(hk_regex_create(matchers[i].value, &matchers[i].regex), HK_OK);
    }
    for (size_t i = 0; i <= HK_COUNT(matchers); i++) {
        for (size_t k = i; k <= HK_COUNT(matchers); k++) {
            struct hk_matcher both[2];
            uint32_t used = 0;
            if (i < HK_COUNT(matchers)) both[used++] = matchers[i];
            if (k < HK_COUNT(matchers) && k != i) both[used++] = matchers[k];
            uint32_t *numbers = NULL, count = 0, at = 0;
            hk_arena_reset(&arena);
            CHECK_INT(
                hk_block_select(block, work, both, used, NULL, &arena, &numbers, &count), HK_OK);
            for (uint32_t s = 0; s < model_count; s++) {
                if (!hk_matchers_accept(both, used, labels_of(s))) continue;
                CHECK(at < count && numbers[at] == s);
                at++;
            }
            CHECK_INT(at, count);
        }
    }
    const _Atomic bool cancel = true;
    uint32_t *numbers = NULL, count = 0;
    CHECK_INT(
        hk_block_select(block, work, matchers, 1, &cancel, &arena, &numbers, &count),
        HK_E_CANCELED);
    for (size_t i = 0; i < HK_COUNT(matchers); i++)
        hk_regex_destroy(matchers[i].regex);
    struct hk_str *strings = NULL;
    uint32_t *series = NULL;
    CHECK_INT(hk_block_label_names(block, work, &arena, &strings, &count), HK_OK);
    CHECK_INT(count, LABELS);
    CHECK_STR(strings[1], HK_STR("cpu"));
    CHECK_INT(
        hk_block_label_values(block, work, HK_STR("job"), &arena, &strings, &series, &count),
        HK_OK);
    CHECK_INT(count, 12);
    CHECK_STR(strings[0], HK_STR("36"));
    uint32_t have = 0;
    for (uint32_t s = 0; s < model_count; s++)
        have += hk_str_is(hk_labels_get(labels_of(s), HK_STR("job")), "36");
    CHECK_INT(series[0], have);
    CHECK_INT(
        hk_block_label_values(block, work, HK_STR("no"), &arena, &strings, NULL, &count), HK_OK);
    CHECK_INT(count, 0);
    hk_block_unref(block);
    hk_block_work_destroy(work);
    end();
}

/* ------------------------------------------------------------------ what the writer refuses */

TEST(writer_refuses) {
    begin();
    const struct hk_block_writer_options options = { .directory = directory, .id = 7 };
    const int64_t stamps[] = { 5, 6, 6 };
    const double values[] = { 1, 2, 3 };
    const struct hk_label a[] = { { HK_STR("a"), HK_STR("1") } };
    const struct hk_label b[] = { { HK_STR("a"), HK_STR("0") } };
    const struct hk_label c[] = { { HK_STR("b"), HK_STR("0") }, { HK_STR("a"), HK_STR("0") } };
    const struct hk_label d[] = { { HK_STR("b"), HK_STR("") } };
    for (unsigned i = 0; i < 9; i++) {
        struct hk_block_writer *writer = NULL;
        CHECK_INT(hk_block_writer_create(&options, &writer), HK_OK);
        hk_err err = HK_OK;
        if (i > 0) CHECK_INT(hk_block_writer_series(writer, (struct hk_labels){ a, 1 }), HK_OK);
        switch (i) {
        case 0: /* no series */
        case 1: /* too many */
            err = hk_block_writer_floats(writer, stamps, values, i == 0 ? 1 : 1025);
            break;
        case 2: /* the same stamp twice */
            err = hk_block_writer_floats(writer, stamps, values, 3);
            break;
        case 3: /* a stamp again in the next chunk */
            CHECK_INT(hk_block_writer_floats(writer, stamps, values, 1), HK_OK);
            err = hk_block_writer_floats(writer, stamps, values, 1);
            break;
        case 4: /* the same series, a smaller one, two not canonical */
            err = hk_block_writer_series(writer, (struct hk_labels){ a, 1 });
            break;
        case 5:
            err = hk_block_writer_series(writer, (struct hk_labels){ b, 1 });
            break;
        case 6:
            err = hk_block_writer_series(writer, (struct hk_labels){ c, 2 });
            break;
        case 7:
            err = hk_block_writer_series(writer, (struct hk_labels){ d, 1 });
            break;
        default:
            err = hk_block_writer_floats(writer, stamps, values, 0);
            break;
        }
        CHECK_INT(err, HK_E_INVALID);
        CHECK_INT(hk_block_writer_commit(writer), HK_E_INVALID);
        hk_block_writer_destroy(writer);
    }
    struct hk_block *block = NULL;
    CHECK_INT(hk_block_open(path_of(7), &block), HK_E_NOT_FOUND);
    end();
}

/* ------------------------------------------------------------------ damage */

/* Reads everything; the answer must be right or an error. */
static hk_err read_all(struct hk_block_work *work, const char *path, uint64_t *out_hash) {
    struct hk_block *block = NULL;
    HK_TRY(hk_block_open(path, &block));
    hk_err err = hk_block_verify(block, work);
    uint64_t hash = 0;
    for (uint32_t i = 0; err == HK_OK && i < hk_block_info(block)->series_count; i++) {
        int64_t *stamps = NULL;
        double *values = NULL;
        uint32_t count = 0;
        hk_arena_reset(&arena);
        err = hk_block_read_floats(
            block, work, i, INT64_MIN, INT64_MAX, &arena, &stamps, &values, &count);
        if (err == HK_OK) hash = hash * 31 + hk_hash64(values, count * sizeof(*values));
    }
    hk_block_unref(block);
    *out_hash = hash;
    return err;
}

TEST(every_flipped_byte_is_noticed) {
    begin();
    make_models(9);
    CHECK_INT(write_block(1), HK_OK);
    struct hk_block_work *work = NULL;
    CHECK_INT(hk_block_work_create(&work), HK_OK);
    uint64_t good = 0, hash = 0;
    CHECK_INT(read_all(work, path_of(1), &good), HK_OK);
    int fd = hk_file_open(path_of(1), HK_FILE_READ | HK_FILE_WRITE);
    const int64_t bytes = hk_file_size(fd);
    CHECK(bytes > 500);
    /* Beyond 6,000 bytes of chunks each byte would only repeat the same check. */
    for (int64_t at = 0; at<bytes; at += at> 3000 && at < bytes - 3000 ? 7 : 1) {
        uint8_t byte = 0;
        CHECK_INT(hk_file_read(fd, &byte, 1, at), 1);
        const uint8_t flipped = byte ^ (uint8_t)(1U << at % 8);
        CHECK_INT(hk_file_write(fd, &flipped, 1, at), 0);
        hk_err err = read_all(work, path_of(1), &hash);
        CHECK(err == HK_E_CORRUPT || err == HK_E_VERSION);
        if (err == HK_OK) printf("# byte %d of %d\n", (int)at, (int)bytes);
        CHECK(strstr(hk_fail_text(), path_of(1)) != NULL);
        CHECK_INT(hk_file_write(fd, &byte, 1, at), 0);
    }
    CHECK_INT(read_all(work, path_of(1), &hash), HK_OK);
    CHECK(hash == good);
    for (int64_t cut = bytes - 1; cut >= 0; cut -= 1 + bytes / 50) {
        CHECK_INT(hk_file_truncate(fd, cut), 0);
        CHECK_INT(read_all(work, path_of(1), &hash), HK_E_CORRUPT);
    }
    hk_file_close(fd);
    hk_block_work_destroy(work);
    end();
}

TEST(failing_writes_leave_nothing) {
    begin();
    make_models(20);
    uint64_t n = 1;
    for (; n < 100; n++) {
        (void)hk_block_io_fail_at(n);
        hk_err err = write_block(1);
        (void)hk_block_io_fail_at(0);
        if (err == HK_OK) break;
        CHECK_INT(err, HK_E_IO);
        struct hk_block *block = NULL;
        err = hk_block_open(path_of(1), &block);
        CHECK(err == HK_E_NOT_FOUND || err == HK_OK);
        if (err != HK_OK) continue;
        /* Only the directory's sync failed: then the block is whole. */
        struct hk_block_work *work = NULL;
        CHECK_INT(hk_block_work_create(&work), HK_OK);
        CHECK_INT(hk_block_verify(block, work), HK_OK);
        hk_block_work_destroy(work);
        hk_block_unref(block);
    }
    CHECK(n > 5 && n < 100);
    end();
}

static hk_err write_and_read(void) {
    HK_TRY(write_block(1));
    struct hk_block_work *work = NULL;
    HK_TRY(hk_block_work_create(&work));
    uint64_t hash = 0;
    hk_err err = read_all(work, path_of(1), &hash);
    hk_block_work_destroy(work);
    return err;
}

TEST(failing_allocations) {
    begin();
    make_models(3);
    SWEEP_ALLOC(write_and_read());
    end();
}

/* ------------------------------------------------------------------ size */

/* Ten targets of 120 series, half of them constant, 1,024 samples per chunk: at most half a byte
 * per sample, index and stamps included (core-design.md section 6, decision D23). */
static hk_err write_typical(uint64_t *out_samples) {
    enum { NAMES = 120, TARGETS = 10, COUNT = 1024 };
    static int64_t stamps[COUNT];
    static double values[COUNT];
    struct hk_block_writer_options options = { .directory = directory, .id = 1 };
    struct hk_block_writer *writer = NULL;
    HK_TRY(hk_block_writer_create(&options, &writer));
    hk_err err = HK_OK;
    for (uint32_t i = 0; err == HK_OK && i < NAMES * TARGETS; i++) {
        char name[64], instance[64], mode[32];
        const uint32_t metric = i / TARGETS, target = i % TARGETS;
        (void)snprintf(name, sizeof(name), "node_subsystem%02u_something_total", metric / 8);
        (void)snprintf(instance, sizeof(instance), "host%u.example.org:9100", target);
        (void)snprintf(mode, sizeof(mode), "mode%u", metric % 8);
        const struct hk_label labels[] = { { HK_STR("__name__"), hk_str_from(name) },
                                           { HK_STR("device"), hk_str_from(mode) },
                                           { HK_STR("instance"), hk_str_from(instance) },
                                           { HK_STR("job"), HK_STR("node") } };
        double at = 1e6 * (1 + i % 50);
        for (uint32_t k = 0; k < COUNT; k++) {
            stamps[k] = start_ms + 1500 * target + 15000 * (int64_t)k + mix(target, k) % 2;
            const uint32_t random = mix(i, k);
            if (metric % 2 == 0) {
                values[k] = metric % 3;
            } else if (metric % 8 == 1) { /* seconds */
                at += (double)(1400 + random % 80) / 100;
                values[k] = round(at * 100) / 100;
            } else if (metric % 8 == 3) { /* rare events */
                at += random % 30 == 0 ? random % 5 : 0;
                values[k] = at;
            } else if (metric % 8 == 5) { /* packets */
                at += 20 + random % 40;
                values[k] = at;
            } else { /* a gauge */
                values[k] = 40 + (double)(random % 60) / 10;
            }
        }
        err = hk_block_writer_series(writer, (struct hk_labels){ labels, 4 });
        if (err == HK_OK) err = hk_block_writer_floats(writer, stamps, values, COUNT);
        *out_samples += COUNT;
    }
    if (err == HK_OK) err = hk_block_writer_commit(writer);
    hk_block_writer_destroy(writer);
    return err;
}

TEST(typical_block_is_small) {
    begin();
    uint64_t samples = 0;
    CHECK_INT(write_typical(&samples), HK_OK);
    struct hk_block *block = NULL;
    CHECK_INT(hk_block_open(path_of(1), &block), HK_OK);
    const double per_sample = (double)hk_block_info(block)->bytes / (double)samples;
    printf("# %.3f bytes per sample\n", per_sample);
    for (int i = 0; i < HK_BLOCK_SECTIONS; i++) {
        printf(
            "# section %s: %u bytes\n", hk_block_section_name((enum hk_block_section)i),
            (unsigned)block->sections[i].bytes);
    }
    CHECK(per_sample <= 0.5);
    hk_block_unref(block);
    end();
}

HK_TEST_MAIN()
