/*
 * From the labels of a parsed sample to those of its series: target labels, honor_labels with the
 * exported_ prefix, metric_relabel_configs, label limits. Pure; used when a series is created.
 */
#ifndef HK_INGEST_SCRAPE_LABELS_H
#define HK_INGEST_SCRAPE_LABELS_H

#include "ingest/scrape.h"

/*
 * `set` comes with the exposed labels (metric name included, empty values kept, not finished) and
 * becomes the series' labels; new strings live in `arena`. HK_OK; HK_END when metric_relabel drops
 * the sample; HK_E_MALFORMED when no metric name is left; HK_E_NOMEM, HK_E_LIMIT.
 */
hk_err hk_scrape_series_labels(
    const struct hk_scrape_target *target, struct hk_label_set *set,
    struct hk_arena *arena) HK_MUST_CHECK;

/* Labels of a sample about the scrape itself: `up`, `scrape_duration_seconds`, … (not relabelled).
 */
void hk_scrape_report_labels(
    const struct hk_scrape_target *target, struct hk_str metric, struct hk_label_set *set);

/* Finished labels against the target's label limits: HK_E_LIMIT with Prometheus' text. */
hk_err hk_scrape_check_labels(const struct hk_scrape_target *target, struct hk_labels labels)
    HK_MUST_CHECK;

#endif
