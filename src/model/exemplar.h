/*
 * Exemplars as bytes, for batches, the log and blocks: the labels (varint count, then name and
 * value each with a varint length), the value (8 bytes, IEEE 754) and the stamp (8 bytes, ms).
 * Little-endian. The series is told by what the bytes are filed under. Pure functions.
 */
#ifndef HK_MODEL_EXEMPLAR_H
#define HK_MODEL_EXEMPLAR_H

#include "model/labels.h"
#include "model/source.h"

enum {
    HK_EXEMPLAR_LABELS_MAX = 64,
    HK_EXEMPLAR_BYTES_MAX = 4096, /* encoded */
    HK_EXEMPLAR_CHARS_MAX = 128,  /* of names and values (OpenMetrics 1.0, "Exemplars") */
};

/* Stamp of an exemplar that had none where it came from (OpenMetrics): its sample's stamp counts,
 * and two of them with equal labels and values are the same one. */
#define HK_EXEMPLAR_NO_STAMP INT64_MIN

/* Encodes labels (finished), value and stamp; `series` is ignored. The bytes live in `arena`.
 * HK_E_LIMIT with a text, HK_E_NOMEM. */
hk_err hk_exemplar_encode(
    const struct hk_exemplar *exemplar, struct hk_arena *arena, struct hk_str *out) HK_MUST_CHECK;

/* Reads what hk_exemplar_encode wrote; the whole of `bytes` must be one exemplar. Strings borrow
 * from `bytes`, the label array lives in `arena`; `series` is left empty. HK_E_CORRUPT, HK_E_NOMEM.
 */
hk_err hk_exemplar_decode(struct hk_str bytes, struct hk_arena *arena, struct hk_exemplar *out)
    HK_MUST_CHECK;

/* Checks the bytes and counts the characters of names and values as OpenMetrics does ("Exemplars").
 * HK_E_CORRUPT without a text. */
hk_err hk_exemplar_chars(struct hk_str bytes, uint32_t *out_chars) HK_MUST_CHECK;

#endif
