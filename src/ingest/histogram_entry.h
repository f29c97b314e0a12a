/* Native histograms of any protocol as entries. */
#ifndef HK_INGEST_HISTOGRAM_ENTRY_H
#define HK_INGEST_HISTOGRAM_ENTRY_H

#include "model/batch.h"
#include "model/histogram.h"

/* Checks and encodes the histogram as the entry's payload, in the batch arena. HK_E_MALFORMED and
 * HK_E_LIMIT with a text: refuse the point; HK_E_NOMEM: give up. */
hk_err hk_histogram_entry(
    const struct hk_histogram *histogram, struct hk_batch *batch,
    struct hk_entry *entry) HK_MUST_CHECK;

#endif
