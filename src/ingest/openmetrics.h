/*
 * OpenMetrics 1.0 text (OpenMetrics specification, "Text format"): `# HELP`, `# TYPE`, `# UNIT`,
 * samples with stamps in seconds and exemplars, `# EOF` at the end.
 *
 * Keys, contexts and labels as in exposition.h; an exemplar is an entry of kind HK_ENTRY_EXEMPLAR
 * (payload: model/exemplar.h) right behind its sample, with the same key. `_created` samples are
 * ordinary series, as Prometheus has it.
 *
 * All or nothing, too: the first bad line, a missing `# EOF` and anything behind it end the parse
 * with HK_E_MALFORMED and a text. The grammar of a line is strict (single spaces, no blank lines,
 * commas between labels); what the specification says of whole families (`_total`, order,
 * interleaving) is not checked, as Prometheus does not. An exemplar whose labels are over 128
 * characters, repeated or over the limits of model/exemplar.h is left out and counted.
 *
 * Pure, used by one thread at a time.
 */
#ifndef HK_INGEST_OPENMETRICS_H
#define HK_INGEST_OPENMETRICS_H

#include "model/batch.h"

enum { HK_OPENMETRICS_EXEMPLAR_CHARS_MAX = 128 };

struct hk_openmetrics {
    struct hk_str input; /* borrowed, outlives the batches; below 4 GiB */
    size_t at;           /* offset of the first line not yet read */
    const struct hk_context *context;
    int64_t stamp_ms;            /* of samples without their own, and of their exemplars */
    bool ignore_stamps;          /* the samples' own stamps are checked but not used */
    bool ended;                  /* `# EOF` was read */
    uint64_t part;               /* of the samples behind the last TYPE line */
    struct hk_batch_meta meta;   /* of the family being read, not yet handed out */
    uint64_t exemplars_rejected; /* left out since init */
};

/* Starts a parse of `input`; everything is borrowed. `context` stands in each entry. */
void hk_openmetrics_init(
    struct hk_openmetrics *state, struct hk_str input, const struct hk_context *context,
    int64_t stamp_ms);

/* Have the labels of an exemplar at most 128 characters in all (specification, "Exemplars")? */
bool hk_openmetrics_exemplar_fits(struct hk_labels labels);

/* `state` is a struct hk_openmetrics. Errors and metas as in exposition.h; `unit` is set, too. */
extern const struct hk_metric_parser hk_openmetrics_parser;

#endif
