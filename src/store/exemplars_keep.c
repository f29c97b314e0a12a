/*
 * The keep file of the exemplars: a record per series, then its exemplars in the order of the
 * ring, each naming its series by number. A series' record stands before its first exemplar.
 */
#include "store/exemplars_internal.h"

enum {
    RECORD_SERIES = 'S',
    RECORD_EXEMPLAR = 'E',
    RECORDS_PER_TURN = 2 * HK_EXEMPLARS_TURN,
    SERIES_HEADER_BYTES = 5,
    TURN_BYTES_MAX = 64 << 20,
    NUMBERS_MISSING_MAX = 1 << 16,
};

/* Records gathered under the lock, written after it. */
struct turn {
    struct hk_buf bytes;
    size_t ends[RECORDS_PER_TURN];
    size_t count;
};

static void put_u32(struct hk_buf *out, uint32_t value) {
    hk_buf_bytes(out, &value, sizeof(value));
}

static void gather_series(struct turn *turn, const struct hk_exemplars_series *series) {
    hk_buf_char(&turn->bytes, RECORD_SERIES);
    put_u32(&turn->bytes, series->file_number);
    for (uint32_t i = 0; i < series->label_count; i++) {
        put_u32(&turn->bytes, (uint32_t)series->labels[i].name.len);
        hk_buf_str(&turn->bytes, series->labels[i].name);
        put_u32(&turn->bytes, (uint32_t)series->labels[i].value.len);
        hk_buf_str(&turn->bytes, series->labels[i].value);
    }
    turn->ends[turn->count++] = turn->bytes.len;
}

static void gather_exemplar(
    struct turn *turn, const struct hk_exemplars_series *series,
    const struct hk_exemplars_item *item) {
    hk_buf_char(&turn->bytes, RECORD_EXEMPLAR);
    put_u32(&turn->bytes, series->file_number);
    hk_buf_bytes(&turn->bytes, &item->stamp_ms, sizeof(item->stamp_ms));
    hk_buf_bytes(&turn->bytes, item->payload, item->bytes);
    turn->ends[turn->count++] = turn->bytes.len;
}

/* Gathers the next ones from `*at` on, below `end`. */
static void gather(
    struct hk_exemplars *exemplars, struct turn *turn, uint64_t *at, uint64_t end,
    uint32_t *numbers) {
    hk_buf_clear(&turn->bytes);
    turn->count = 0;
    hk_exemplars_lock_turn(exemplars);
    if (*at < exemplars->tail) *at = exemplars->tail;
    for (size_t i = 0; i < HK_EXEMPLARS_TURN && *at < end; i++) {
        const struct hk_exemplars_item *item = hk_exemplars_at(exemplars, (*at)++);
        struct hk_exemplars_series *series = exemplars->slots[item->series];
        if (series->file_epoch != exemplars->file_epoch) {
            series->file_epoch = exemplars->file_epoch;
            series->file_number = (*numbers)++;
            gather_series(turn, series);
        }
        gather_exemplar(turn, series, item);
    }
    hk_mutex_unlock(&exemplars->lock);
}

static void write_turn(struct hk_keep_writer *writer, const struct turn *turn) {
    size_t from = 0;
    if (writer->err >= 0) writer->err = turn->bytes.err;
    for (size_t i = 0; i < turn->count; i++) {
        hk_keep_put(writer, hk_str_part(hk_buf_get(&turn->bytes), from, turn->ends[i]));
        from = turn->ends[i];
    }
}

hk_err hk_exemplars_save(struct hk_exemplars *exemplars, const char *dir) {
    hk_mutex_lock(&exemplars->lock);
    uint64_t end = exemplars->head;
    exemplars->file_epoch++;
    hk_mutex_unlock(&exemplars->lock);
    if (end == exemplars->saved) return HK_OK;
    struct hk_keep_writer *writer HK_CLEANUP(hk_mem_free_at) = hk_mem_alloc(1, sizeof(*writer));
    struct turn *turn HK_CLEANUP(hk_mem_free_at) = hk_mem_alloc(1, sizeof(*turn));
    if (writer == NULL || turn == NULL) return HK_E_NOMEM;
    HK_TRY(hk_keep_begin(writer, dir, "exemplars", HK_KEEP_EXEMPLARS));
    hk_buf_init(&turn->bytes, TURN_BYTES_MAX);
    uint64_t at = 0;
    uint32_t numbers = 0;
    do {
        gather(exemplars, turn, &at, end, &numbers);
        write_turn(writer, turn);
    } while (at < end && writer->err >= 0);
    hk_buf_deinit(&turn->bytes);
    HK_TRY(hk_keep_end(writer));
    exemplars->saved = end;
    return HK_OK;
}

/* ------------------------------------------------------------------ reading */

static hk_err take_series(struct hk_exemplars_reader *reader, uint32_t number, struct hk_str rest) {
    /* Numbers grow by one: more than those that damage took away is damage, too. */
    bool sane = number >= reader->count && number - reader->count <= NUMBERS_MISSING_MAX;
    if (!sane) return HK_E_CORRUPT;
    HK_TRY(hk_mem_grow(
        &reader->series, &reader->capacity, (size_t)number + 1, sizeof(reader->series[0])));
    char *copy = hk_mem_copy(rest.ptr, rest.len);
    if (copy == NULL) return HK_E_NOMEM;
    while (reader->count < number)
        reader->series[reader->count++] = (struct hk_str){ NULL, 0 };
    reader->series[reader->count++] = (struct hk_str){ copy, rest.len };
    return HK_OK;
}

static bool get_text(struct hk_str *rest, struct hk_str *out) {
    uint32_t len = 0;
    if (rest->len < sizeof(len)) return false;
    memcpy(&len, rest->ptr, sizeof(len));
    if (len > rest->len - sizeof(len)) return false;
    *out = (struct hk_str){ rest->ptr + sizeof(len), len };
    *rest = hk_str_part(*rest, sizeof(len) + (size_t)len, rest->len);
    return true;
}

/* Labels of a series' record. Bytes that are no finished label set are damage. */
static hk_err read_labels(struct hk_str rest, struct hk_label *items, struct hk_labels *out) {
    uint32_t count = 0;
    while (rest.len > 0) {
        if (count == HK_LABELS_MAX) return HK_E_CORRUPT;
        struct hk_label *label = &items[count++];
        if (!get_text(&rest, &label->name) || !get_text(&rest, &label->value)) return HK_E_CORRUPT;
        bool sorted = count < 2 || hk_str_cmp(items[count - 2].name, label->name) < 0;
        bool fine = sorted && label->name.len > 0 && label->value.len > 0 &&
                    hk_utf8_valid(label->name) && hk_utf8_valid(label->value);
        if (!fine) return HK_E_CORRUPT;
    }
    *out = (struct hk_labels){ items, count };
    return HK_OK;
}

static hk_err
take_exemplar(struct hk_exemplars_reader *reader, uint32_t number, struct hk_str rest) {
    struct hk_label items[HK_LABELS_MAX];
    struct hk_labels labels = { 0 };
    int64_t stamp_ms = 0;
    if (number >= reader->count || reader->series[number].ptr == NULL) return HK_E_CORRUPT;
    if (rest.len < sizeof(stamp_ms)) return HK_E_CORRUPT;
    memcpy(&stamp_ms, rest.ptr, sizeof(stamp_ms));
    HK_TRY(read_labels(reader->series[number], items, &labels));
    struct hk_str payload = hk_str_part(rest, sizeof(stamp_ms), rest.len);
    hk_err err = hk_exemplars_put(reader->exemplars, labels, stamp_ms, payload);
    bool fatal = err == HK_E_NOMEM || err == HK_E_CORRUPT;
    return fatal ? err : HK_OK; /* otherwise it does not fit now, or is there already */
}

hk_err hk_exemplars_take_record(void *self, struct hk_str record) {
    struct hk_exemplars_reader *reader = self;
    uint32_t number = 0;
    if (record.len < SERIES_HEADER_BYTES) return HK_E_CORRUPT;
    memcpy(&number, record.ptr + 1, sizeof(number));
    struct hk_str rest = hk_str_part(record, SERIES_HEADER_BYTES, record.len);
    if (record.ptr[0] == RECORD_SERIES) return take_series(reader, number, rest);
    if (record.ptr[0] == RECORD_EXEMPLAR) return take_exemplar(reader, number, rest);
    return HK_E_CORRUPT;
}

void hk_exemplars_reader_deinit(struct hk_exemplars_reader *reader) {
    for (size_t i = 0; i < reader->count; i++) {
        union {
            const char *borrowed;
            void *owned;
        } text = { reader->series[i].ptr };
        hk_mem_free(text.owned);
    }
    hk_mem_free(reader->series);
}

hk_err hk_exemplars_load(
    struct hk_exemplars *exemplars, const char *dir, struct hk_keep_report *out_report) {
    struct hk_exemplars_reader reader = { .exemplars = exemplars };
    hk_err err = hk_keep_read(
        dir, "exemplars", HK_KEEP_EXEMPLARS, hk_exemplars_take_record, &reader, out_report);
    hk_exemplars_reader_deinit(&reader);
    /* A damaged file is written anew soon. */
    if (out_report->damaged == 0) exemplars->saved = exemplars->head;
    return err;
}
