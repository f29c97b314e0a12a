/* Inside of service discovery: providers, their kinds, and how findings are built. */
#ifndef HK_INGEST_DISCOVERY_INTERNAL_H
#define HK_INGEST_DISCOVERY_INTERNAL_H

#include "ingest/discovery.h"
#include "ingest/scrape.h"
#include "os/host.h"
#include "os/thread.h"

#include <stdatomic.h>

struct hk_discovery {
    _Atomic uint32_t references; /* the owner's and one per provider */
    void (*changed)(void *self, struct hk_discovery_provider *provider);
    void *changed_self;
    int64_t file_poll_ms;
    struct hk_thread thread;
    struct hk_event wake;
    _Atomic bool stop;
    struct hk_mutex lock; /* providers, their references, findings and next_ns */
    struct hk_discovery_provider *providers;
    _Atomic uint64_t refreshes, failures;
};

/*
 * Looks for targets. HK_OK: `*out` has one reference; HK_END: nothing has changed; a failure keeps
 * what was found before. On the discovery thread; may block for seconds.
 */
typedef hk_err (*hk_discovery_refresh)(
    struct hk_discovery_provider *provider, struct hk_discovery_finding **out);

/* A file of file_sd as last read. */
struct hk_discovery_file {
    char *name; /* path; on the heap */
    struct hk_file_version version;
    struct hk_discovery_finding *finding; /* NULL: never read successfully */
    bool listed;                          /* matched by a pattern in this round */
};

struct hk_discovery_provider {
    struct hk_discovery *discovery; /* with a reference */
    struct hk_discovery_provider *next;
    uint32_t references; /* under lock */
    hk_discovery_refresh refresh;
    struct hk_arena arena; /* configuration and key */
    struct hk_str key;
    union {
        struct hk_scrape_file_sd file;
        struct hk_scrape_http_sd http;
        struct hk_scrape_dns_sd dns;
    } config;
    int64_t interval_ns; /* between refreshes */
    int64_t next_ns;     /* monotonic */
    struct hk_discovery_finding *finding;
    char error[256]; /* last failure, to log a new one only */
    /* of file_sd */
    struct hk_discovery_file *files;
    size_t file_count, file_capacity;
    int64_t reread_ns; /* when all files are read again */
};

/* Counts a failure and logs this thread's error text, if it is not the one logged last. */
void hk_discovery_note_failure(struct hk_discovery_provider *provider, hk_err err);

hk_err hk_discovery_refresh_files(
    struct hk_discovery_provider *provider, struct hk_discovery_finding **out);
void hk_discovery_free_files(struct hk_discovery_provider *provider);
hk_err hk_discovery_refresh_http(
    struct hk_discovery_provider *provider, struct hk_discovery_finding **out);
hk_err
hk_discovery_refresh_dns(struct hk_discovery_provider *provider, struct hk_discovery_finding **out);

/* --- building findings ------------------------------------------------------------------------ */

/* An empty finding with one reference; NULL when out of memory. */
struct hk_discovery_finding *hk_discovery_finding_create(void);

/* Labels while they are read: at most HK_LABELS_MAX, names unique. */
struct hk_discovery_draft {
    struct hk_label_set labels; /* of the group */
    struct hk_labels *targets;
    size_t target_count, target_capacity; /* heap, until the group is added */
};

void hk_discovery_draft_init(struct hk_discovery_draft *draft);
void hk_discovery_draft_deinit(struct hk_discovery_draft *draft);

/* Adds a target that has just an address; copied into the finding's arena. */
hk_err hk_discovery_add_target(
    struct hk_discovery_finding *finding, struct hk_discovery_draft *draft,
    struct hk_str address) HK_MUST_CHECK;

/* Adds a label to the group (a repeated name replaces); copied. */
hk_err hk_discovery_add_label(
    struct hk_discovery_finding *finding, struct hk_discovery_draft *draft, struct hk_str name,
    struct hk_str value) HK_MUST_CHECK;

/* Ends the group: appends it to the finding and empties the draft. */
hk_err hk_discovery_end_group(
    struct hk_discovery_finding *finding, struct hk_discovery_draft *draft) HK_MUST_CHECK;

/*
 * Target groups as JSON or YAML: a list of {targets: [address…], labels: {name: value…}}. Each
 * group gets the label `meta_name` = `meta_value` in addition. HK_E_MALFORMED with the place.
 */
hk_err hk_discovery_parse_json(
    struct hk_str text, struct hk_str meta_name, struct hk_str meta_value,
    struct hk_discovery_finding *out) HK_MUST_CHECK;
hk_err hk_discovery_parse_yaml(
    struct hk_str text, struct hk_str meta_name, struct hk_str meta_value,
    struct hk_discovery_finding *out) HK_MUST_CHECK;

/* Records of the configured type (SRV, MX, NS) in a DNS answer; each becomes a group. */
hk_err hk_discovery_parse_dns(
    const struct hk_scrape_dns_sd *config, struct hk_str name, const void *answer, size_t bytes,
    struct hk_discovery_finding *finding, struct hk_discovery_draft *draft) HK_MUST_CHECK;

#endif
