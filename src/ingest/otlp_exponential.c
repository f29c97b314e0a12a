/* OTLP metrics: exponential histograms as native histograms. */
#include "ingest/otlp_internal.h"

hk_err
hk_otlp_open_exponential(struct hk_otlp *otlp, struct hk_batch *batch, struct hk_proto point) {
    (void)otlp;
    (void)point;
    hk_batch_reject(batch, 1, "otlp: exponential histograms are not supported yet");
    return HK_OK;
}
