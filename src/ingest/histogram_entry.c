/* Native histograms of any protocol as entries. */
#include "ingest/histogram_entry.h"

hk_err hk_histogram_entry(
    const struct hk_histogram *histogram, struct hk_batch *batch, struct hk_entry *entry) {
    HK_TRY(hk_histogram_check(histogram));
    struct hk_buf buf;
    hk_buf_init(&buf, 4U << 20); /* two sides of 65,536 buckets and as many bounds fit */
    hk_histogram_encode(histogram, &buf);
    hk_err err = buf.err < 0 ? hk_fail(buf.err, "histogram: too large") : HK_OK;
    if (err == HK_OK) {
        const struct hk_str payload = hk_arena_str(batch->arena, hk_buf_get(&buf));
        if (payload.ptr == NULL) err = hk_fail(HK_E_NOMEM, "histogram: out of memory");
        entry->payload = payload.ptr;
        entry->payload_bytes = (uint32_t)payload.len;
    }
    hk_buf_deinit(&buf);
    return err;
}
