/*
 * Influx line protocol, v1 and v2: `measurement[,tag=value…] field=value[,…] [timestamp]`.
 *
 * Each number or boolean field is one entry (and one point): metric `measurement_field`, or the
 * measurement alone for a field named `value`; labels = tags; names stay as sent. Booleans are 1
 * and 0. String fields are no samples: skipped and counted in `strings_skipped`. A bad line is
 * skipped as a whole and counts once in the batch's `rejected`; the reason goes to reject_text as
 * `line <n>: …` and, with those of up to HK_INFLUX_ERRORS_MAX lines, to `errors`.
 *
 * Escapes: a backslash makes a comma, space, equals sign or backslash ordinary; before anything
 * else it stands for itself. In a string it hides `"` and `\`. A string may span lines. A line has
 * at most 512 number fields.
 *
 * Key of an entry = the bytes of `measurement,tags` as sent; `part` = keyed hash of the field's
 * name as sent; labels() finds the name behind the key in the input. Pure, one thread.
 */
#ifndef HK_INGEST_INFLUX_H
#define HK_INGEST_INFLUX_H

#include "model/batch.h"

enum { HK_INFLUX_ERRORS_MAX = 16 };

enum hk_influx_precision {
    HK_INFLUX_NS,
    HK_INFLUX_US,
    HK_INFLUX_MS,
    HK_INFLUX_S,
    HK_INFLUX_MIN,
    HK_INFLUX_HOUR,
    HK_INFLUX_AUTO, /* s, ms, µs or ns by the size of the number */
};

struct hk_influx {
    struct hk_str input; /* borrowed, outlives the batches; below 4 GiB */
    size_t at;           /* offset of the first line not yet read */
    uint64_t line;       /* its number, from 1 */
    const struct hk_context *context;
    int64_t stamp_ms; /* of lines without a timestamp */
    enum hk_influx_precision precision;
    struct hk_buf *errors;    /* one line of text per bad line; NULL = not wanted */
    uint64_t line_first_bad;  /* number of the first bad line, 0 = none */
    uint64_t lines_bad;       /* in the whole input so far */
    uint64_t strings_skipped; /* string fields in the whole input so far */
};

/*
 * Reads a `precision` parameter: the forms of v1 (n ns u us µ µs ms s m h), v2 (ns us ms s) and v3
 * (auto, nanosecond, …) alike; empty = ns. HK_E_INVALID with a text.
 */
hk_err hk_influx_precision_parse(struct hk_str text, enum hk_influx_precision *out) HK_MUST_CHECK;

/* Starts a parse of `input` that arrived at `stamp_ms`; everything is borrowed. */
void hk_influx_init(
    struct hk_influx *state, struct hk_str input, const struct hk_context *context,
    int64_t stamp_ms, enum hk_influx_precision precision);

/* `state` is a struct hk_influx. parse: HK_OK, HK_FULL, HK_E_LIMIT (input ≥ 4 GiB); a bad line is
 * never HK_E_MALFORMED. */
extern const struct hk_metric_parser hk_influx_parser;

/* Body of a v1 answer to a write with bad lines, status 400: `{"error":"…"}`; a partial write when
 * `points` entries were kept. `detail` is the text of the bad lines. */
void hk_influx_error_v1(
    struct hk_buf *out, struct hk_str detail, uint64_t points, uint64_t lines_bad);

/* Body of a v2 error: `{"code":"…","message":"…","line":n}`; `line` 0 is left out. Codes: "invalid"
 * (400), "unauthorized" (401), "not found" (404), "request too large" (413), "too many requests"
 * (429), "internal error" (500), "unavailable" (503). */
void hk_influx_error_v2(struct hk_buf *out, const char *code, struct hk_str message, uint64_t line);

#endif
