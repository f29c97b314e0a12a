/*
 * Scrapes on a shard: the manager's threads fetch, the shard parses the bodies, adds `up` and the
 * other samples of a scrape, and ends vanished series with stale markers, as Prometheus does.
 */
#ifndef HK_ENGINE_SCRAPING_H
#define HK_ENGINE_SCRAPING_H

#include "conf/config.h"
#include "ingest/host.h"
#include "ingest/scrape.h"

struct hk_engine;
struct hk_shard;

struct hk_scraping {
    struct hk_scrape *manager;
    struct hk_host *host;
    struct hk_scraped **targets; /* hash table by target id */
    size_t count, mask;
    uint64_t snapshots; /* of targets that were replaced by a reload */
};

/* Starts the manager with the configuration's jobs and the host's own metrics. */
hk_err hk_scraping_open(struct hk_shard *shard) HK_MUST_CHECK;

/* Shard: series were retired: their refs must not be used again. */
void hk_scraping_forget(struct hk_shard *shard);

/* Stops the manager; the loop has stopped. */
void hk_scraping_close(struct hk_shard *shard);

/* Hands the jobs of a configuration to the manager: all or none. Any thread but the manager's. */
hk_err hk_scraping_apply(struct hk_shard *shard, const struct hk_config *config) HK_MUST_CHECK;

/* Appends the `data` of /api/v1/targets. `state`: "active", "dropped", "any" or empty. */
void hk_scraping_json(
    struct hk_shard *shard, struct hk_str pool, struct hk_str state, struct hk_buf *out);

#endif
