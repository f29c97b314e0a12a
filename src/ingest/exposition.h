/*
 * Prometheus text format 0.0.4 and 1.0.0 (Exposition Formats): `# HELP`, `# TYPE` and
 * `name{label="value"} value [timestamp ms]`, names beyond [a-zA-Z0-9_:] quoted in the braces.
 *
 * Key of an entry = the bytes of the series as they stand on the line, `name{…}`, without the
 * blanks before the value. Context = the caller's (target and configuration epoch); labels() gives
 * the labels of the line and nothing else: labels of the target, honor_labels and relabelling
 * come after it. Behind `# TYPE … histogram` the value of `le` and behind `summary` that of
 * `quantile` is rewritten as a canonical number ("1" is "1.0"), as Prometheus 3 does; `part` tells.
 *
 * A scrape is all or nothing, as Prometheus has it: the first line that cannot be read ends the
 * parse with HK_E_MALFORMED and hk_fail_text() says line, what was expected and what stood there.
 * Entries given before it are well formed; whoever scrapes discards them. There is no `rejected`.
 * What Prometheus reads although the format's text does not name it is read too: a missing comma
 * between labels, a raw newline in a label value, an unknown escape (kept as it stands).
 *
 * Pure, used by one thread at a time; about 40 ns a line.
 */
#ifndef HK_INGEST_EXPOSITION_H
#define HK_INGEST_EXPOSITION_H

#include "model/batch.h"

struct hk_exposition {
    struct hk_str input; /* borrowed, outlives the batches; below 4 GiB */
    size_t at;           /* offset of the first line not yet read */
    const struct hk_context *context;
    int64_t stamp_ms;          /* of samples without their own */
    bool ignore_stamps;        /* the samples' own stamps are checked but not used */
    uint64_t part;             /* of the samples behind the last TYPE line */
    struct hk_batch_meta meta; /* of the family being read, not yet handed out */
};

/* Starts a parse of `input`; everything is borrowed. `context` stands in each entry. */
void hk_exposition_init(
    struct hk_exposition *state, struct hk_str input, const struct hk_context *context,
    int64_t stamp_ms);

/*
 * `state` is a struct hk_exposition. A family's type and help come as one meta, after its last
 * sample at the latest; an empty field was not said (type is "unknown" for untyped). HK_FULL also
 * when the metas are full. Besides HK_E_MALFORMED: HK_E_NOMEM (arena), HK_E_LIMIT (input ≥ 4 GiB).
 */
extern const struct hk_metric_parser hk_exposition_parser;

#endif
