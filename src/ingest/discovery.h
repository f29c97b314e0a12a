/*
 * Service discovery: providers that look for targets in files, over HTTP and in DNS, on a thread
 * of their own because name resolution blocks. A provider's finding is an immutable list of groups;
 * whoever wants it takes a reference. Equal configurations share one provider, also over reloads.
 */
#ifndef HK_INGEST_DISCOVERY_H
#define HK_INGEST_DISCOVERY_H

#include "base/arena.h"
#include "model/labels.h"

struct hk_scrape_file_sd;
struct hk_scrape_http_sd;
struct hk_scrape_dns_sd;

enum {
    HK_DISCOVERY_BYTES_MAX = 64 << 20, /* of one file or answer */
    HK_DISCOVERY_TARGETS_MAX = 100000, /* of one provider */
    HK_DISCOVERY_GROUPS_MAX = 100000,
    HK_DISCOVERY_FILES_MAX = 4096, /* of one provider */
};

/* Targets that share labels. */
struct hk_discovery_group {
    struct hk_labels labels;         /* sorted */
    const struct hk_labels *targets; /* each with __address__; sorted */
    uint32_t target_count;
};

/* Immutable once published, reference-counted. */
struct hk_discovery_finding {
    _Atomic uint32_t references;
    struct hk_arena arena;
    struct hk_discovery_group *groups;
    size_t group_count, group_capacity;
    size_t target_count;
    struct hk_discovery_finding **parts; /* whose groups are among ours; with references */
    size_t part_count;
};

struct hk_discovery;
struct hk_discovery_provider;

/*
 * Starts the thread. `changed` is called on it after a provider found something new. HK_E_NOMEM,
 * HK_E_IO. `file_poll_ms`: how often files are looked at, 0 = 1,000.
 */
hk_err hk_discovery_create(
    int64_t file_poll_ms, void (*changed)(void *self, struct hk_discovery_provider *provider),
    void *self, struct hk_discovery **out) HK_MUST_CHECK;

/* Ends the thread: `changed` is not called any more. NULL is fine. */
void hk_discovery_stop(struct hk_discovery *discovery);

/* Stops, and frees when the last provider has been given back. NULL is fine. */
void hk_discovery_destroy(struct hk_discovery *discovery);

/*
 * A provider of that configuration: an existing one with a further reference, or a new one, which
 * begins at once. Any thread. HK_E_INVALID, HK_E_NOMEM.
 */
hk_err hk_discovery_files(
    struct hk_discovery *discovery, const struct hk_scrape_file_sd *config,
    struct hk_discovery_provider **out) HK_MUST_CHECK;
hk_err hk_discovery_http(
    struct hk_discovery *discovery, const struct hk_scrape_http_sd *config,
    struct hk_discovery_provider **out) HK_MUST_CHECK;
hk_err hk_discovery_dns(
    struct hk_discovery *discovery, const struct hk_scrape_dns_sd *config,
    struct hk_discovery_provider **out) HK_MUST_CHECK;

/* Gives a provider back; the last reference ends it. Any thread; NULL is fine. */
void hk_discovery_release(struct hk_discovery_provider *provider);

/* What the provider found last, with a reference; NULL before the first success. Any thread. */
struct hk_discovery_finding *hk_discovery_get(struct hk_discovery_provider *provider);

/* NULL is fine. */
void hk_discovery_finding_unref(struct hk_discovery_finding *finding);

struct hk_discovery_stats {
    uint64_t refreshes, failures;
};

/* Any thread. */
void hk_discovery_get_stats(struct hk_discovery *discovery, struct hk_discovery_stats *out);

#endif
