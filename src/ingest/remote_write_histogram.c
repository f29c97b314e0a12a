/* Native histograms of Remote Write. */
#include "ingest/remote_write_internal.h"

hk_err hk_rw_put_histogram(
    struct hk_batch *batch, struct hk_entry *entry, struct hk_str message,
    struct hk_rw_counts *counts) {
    (void)entry;
    (void)message;
    (void)counts;
    hk_batch_reject(batch, 1, "remote write: native histograms are not supported yet");
    return HK_OK;
}
