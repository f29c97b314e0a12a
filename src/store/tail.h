/*
 * Tail: the samples of one series since its last block, packed in memory, about one to three bytes
 * each. Appended in time order; decoding gives the exact values back.
 *
 * Coding of a sample: one control byte, then the stamp, then the value.
 *   bits 7-6: stamp. 0 = same step as before; else the change of the step, zigzag, in 1, 2 or
 *             8 bytes.
 *   bits 5-0: value. 0 = same bits as before; 1 = XOR with the value before (next byte:
 *             trailing zero bytes << 4 | bytes that follow); 2 + 4 × scale + size: the integer
 *             round(value × 10^scale) changed by a zigzag number of 1 << size bytes.
 * An integer form is used only if both values are exactly integer / 10^scale.
 */
#ifndef HK_STORE_TAIL_H
#define HK_STORE_TAIL_H

#include "base/err.h"

#include <stdbool.h>

struct hk_tail {
    uint8_t *bytes;
    uint32_t len, capacity;
    uint32_t count;
    int32_t step_ms; /* last difference of stamps, saturated */
    int64_t first_ms, last_ms;
    double last_value;
    uint8_t scale; /* that the last integer form used */
};

enum { HK_TAIL_SAMPLE_BYTES_MAX = 1 + 8 + 9 };

/* Appends a sample with stamp > last_ms (or any, if it is the first). HK_E_NOMEM. */
hk_err hk_tail_append(struct hk_tail *tail, int64_t stamp_ms, double value) HK_MUST_CHECK;

/* Decodes all samples; both arrays have room for tail->count. */
void hk_tail_decode(const struct hk_tail *tail, int64_t *out_stamps_ms, double *out_values);

/* Frees the bytes; the tail is empty and usable again. */
void hk_tail_clear(struct hk_tail *tail);

#endif
