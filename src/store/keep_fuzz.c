/* Input: first byte chooses a decoder; the rest is a keep file, or a record of the log. */
#include "store/exemplars.h"
#include "store/meta.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static hk_err take_meta(void *self, struct hk_str record) {
    struct hk_metric_meta item;
    HK_TRY(hk_meta_decode(record, &item));
    hk_err err = hk_meta_put(self, &item);
    return err == HK_E_CORRUPT ? HK_E_LIMIT : err;
}

static void list_all(struct hk_meta *meta, struct hk_exemplars *exemplars) {
    struct hk_arena arena;
    struct hk_select every = { 0 };
    struct hk_meta_request request = { .limit = -1 };
    struct hk_metric_meta *items = NULL;
    struct hk_exemplar_series *series = NULL;
    uint32_t count = 0;
    hk_arena_init(&arena, (size_t)64 << 20);
    hk_err err = hk_meta_list(meta, &request, &arena, &items, &count);
    hk_assert(err == HK_OK);
    err = hk_exemplars_select(exemplars, &every, 1, INT64_MIN, INT64_MAX, &arena, &series, &count);
    hk_assert(err == HK_OK);
    for (uint32_t i = 1; i < count; i++)
        hk_assert(hk_labels_cmp(series[i - 1].labels, series[i].labels) < 0);
    hk_arena_deinit(&arena);
}

/* Records without a checksum around them: u16 length, then the record. */
static void take_plain(struct hk_exemplars_reader *reader, struct hk_meta *meta, struct hk_str in) {
    while (in.len >= 2) {
        size_t len = (size_t)(uint8_t)in.ptr[0] | (size_t)(uint8_t)in.ptr[1] << 8;
        if (len > in.len - 2) len = in.len - 2;
        struct hk_str record = hk_str_part(in, 2, 2 + len);
        hk_err err = hk_exemplars_take_record(reader, record);
        if (err < 0) err = take_meta(meta, record);
        (void)err;
        in = hk_str_part(in, 2 + len, in.len);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    if (bytes == 0) return 0;
    struct hk_meta *meta = NULL;
    struct hk_exemplars *exemplars = NULL;
    struct hk_keep_report report;
    if (hk_meta_create(1 << 20, &meta) < 0) return 0;
    if (hk_exemplars_create(64, 1 << 20, &exemplars) < 0) {
        hk_meta_destroy(meta);
        return 0;
    }
    struct hk_exemplars_reader reader = { .exemplars = exemplars };
    struct hk_str in = { (const char *)data + 1, bytes - 1 };
    hk_err err = HK_OK;
    if (data[0] % 3 == 0)
        err = hk_keep_parse(in, HK_KEEP_META, take_meta, meta, &report);
    else if (data[0] % 3 == 1)
        err = hk_keep_parse(in, HK_KEEP_EXEMPLARS, hk_exemplars_take_record, &reader, &report);
    else
        take_plain(&reader, meta, in);
    hk_assert(err <= 0);
    list_all(meta, exemplars);
    hk_exemplars_reader_deinit(&reader);
    hk_exemplars_destroy(exemplars);
    hk_meta_destroy(meta);
    return 0;
}
