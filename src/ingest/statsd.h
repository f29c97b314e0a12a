/*
 * StatsD and DogStatsD datagrams: lines `name:value|type[|@rate][|#tag:value,…][|T<unix s>]…`.
 *
 *   c        HK_ENTRY_ADD of value / rate (values of one line are summed)
 *   g        HK_ENTRY_SET, or HK_ENTRY_ADD for a value with a sign (+n, -n)
 *   ms h d   into the aggregator, as a native histogram of weight 1 / rate (statsd_agg.h)
 *   s        into the aggregator, as a distinct count per flush
 *
 * Packed values (`name:1:2:3|ms`) are read, but for sets, whose member may hold a colon. Sections
 * that are not known (container `c:`, external data `e:`, cardinality `card:`) are skipped. Events
 * (`_e{`) and service checks (`_sc|`) are no metrics: skipped and counted in `unsupported`. A bad
 * line is skipped as a whole and counted in the batch's `rejected`, one per value.
 *
 * Key of an entry = `name` or `name|#tags` as sent. Labels: the name with bytes outside
 * [a-zA-Z0-9_:] made '_' (and '_' before a leading digit), tags as labels with names treated
 * alike: a tag without value has the value "true"; values of a repeated tag are joined by ',';
 * reserved names (`__…`) get "tag" in front.
 *
 * Several datagrams can fill one batch: init and parse each without clearing it in between.
 * Pure but for the aggregator; one thread.
 */
#ifndef HK_INGEST_STATSD_H
#define HK_INGEST_STATSD_H

#include "model/batch.h"

struct hk_statsd_agg;

struct hk_statsd {
    struct hk_str input; /* borrowed, outlives the batch */
    size_t at;           /* offset of the first line not yet read */
    const struct hk_context *context;
    struct hk_statsd_agg *agg; /* borrowed; NULL: timers and sets are rejected */
    int64_t stamp_ms;          /* of lines without `|T` */
    uint64_t unsupported;      /* events and service checks skipped since init */
};

/* Starts the parse of one datagram that arrived at `stamp_ms`. */
void hk_statsd_init(
    struct hk_statsd *state, struct hk_str input, const struct hk_context *context,
    struct hk_statsd_agg *agg, int64_t stamp_ms);

/*
 * `state` is a struct hk_statsd. parse: HK_OK, HK_FULL, HK_E_NOMEM (the arena holds no more keys);
 * never HK_E_MALFORMED. Points that went to the aggregator count in `points`, too. labels also
 * serves the entries of hk_statsd_agg_flush and then needs no state (NULL).
 */
extern const struct hk_metric_parser hk_statsd_parser;

#endif
