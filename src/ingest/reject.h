/* Refusing a point: counted, and the first refusal of a batch is explained. */
#ifndef HK_INGEST_REJECT_H
#define HK_INGEST_REJECT_H

#include "model/batch.h"

#include <stdarg.h>
#include <stdio.h>

/* Counts `points` refused points; keeps the text if it is the first one since the last drain. */
static inline void HK_PRINTF(3, 4)
    hk_batch_reject(struct hk_batch *batch, uint64_t points, const char *format, ...) {
    if (points == 0) return;
    if (batch->rejected == 0) {
        va_list args;
        va_start(args, format);
        (void)vsnprintf(batch->reject_text, sizeof(batch->reject_text), format, args);
        va_end(args);
    }
    batch->rejected += points;
}

#endif
