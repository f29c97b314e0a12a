/* Input: flags, two bytes of count, then a column to decode or doubles to encode and decode. */
#include "base/mem.h"
#include "codec/column.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static double values[HK_COLUMN_COUNT_MAX], back[HK_COLUMN_COUNT_MAX];
static int64_t stamps[HK_COLUMN_COUNT_MAX], stamps_back[HK_COLUMN_COUNT_MAX];
static uint8_t coded[HK_COLUMN_BYTES_MAX(HK_COLUMN_COUNT_MAX)];

static void encode(struct hk_column_work *work, const uint8_t *data, uint32_t count) {
    memcpy(values, data, count * sizeof(*values));
    size_t used = hk_column_encode_values(work, values, count, coded);
    hk_assert(hk_column_decode_values(work, coded, used, count, back) == HK_OK);
    hk_assert(memcmp(values, back, count * sizeof(*values)) == 0);
    memcpy(stamps, data, count * sizeof(*stamps));
    used = hk_column_encode_stamps(work, stamps, count, stamps[count / 2], coded);
    hk_assert(
        hk_column_decode_stamps(work, coded, used, count, stamps[count / 2], stamps_back) == HK_OK);
    hk_assert(memcmp(stamps, stamps_back, count * sizeof(*stamps)) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    static struct hk_column_work *work;
    if (work == NULL) work = hk_column_work_create();
    if (work == NULL || bytes < 3) return 0;
    (void)hk_column_use_simd(data[0] & 1);
    uint32_t count = 1 + (data[1] + 256U * data[2]) % HK_COLUMN_COUNT_MAX;
    const uint8_t *from = data + 3;
    bytes -= 3;
    if ((data[0] & 2) != 0) {
        if (count > bytes / 8) count = (uint32_t)(bytes / 8);
        if (count > 0) encode(work, from, count);
        return 0;
    }
    hk_err value_err = hk_column_decode_values(work, from, bytes, count, values);
    hk_err stamp_err = hk_column_decode_stamps(work, from, bytes, count, 0, stamps);
    hk_assert(value_err == HK_OK || value_err == HK_E_CORRUPT);
    hk_assert(stamp_err == HK_OK || stamp_err == HK_E_CORRUPT);
    return 0;
}
