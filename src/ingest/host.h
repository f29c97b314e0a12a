/*
 * Metrics of this host as Prometheus text 0.0.4, under the names that node_exporter made common:
 * dashboards and rules written for it work unchanged. Sources are /proc, /sys and statvfs; files
 * stay open and are read with pread, so a round costs about a millisecond.
 *
 * Each collector ends with node_scrape_collector_success{collector="…"} 1 or 0; one that fails
 * leaves no lines of its own and does not disturb the others.
 */
#ifndef HK_INGEST_HOST_H
#define HK_INGEST_HOST_H

#include "base/buf.h"

struct hk_host;

struct hk_host_options {
    const char *proc_root; /* NULL = "/proc"; borrowed only during the call */
    const char *sys_root;  /* NULL = "/sys" */
};

/* Opens nothing yet. HK_E_NOMEM; HK_E_LIMIT when a root is longer than 256 bytes. */
hk_err hk_host_create(const struct hk_host_options *options, struct hk_host **out) HK_MUST_CHECK;

/* Closes the files. NULL is fine. */
void hk_host_destroy(struct hk_host *host);

/*
 * Appends one round of all metrics to `out`. Belongs to the thread that calls it; does not block
 * beyond reads of /proc and /sys (file systems over a network are skipped and counted in
 * hark_host_filesystems_skipped). HK_E_NOMEM or HK_E_LIMIT when `out` is full. About 50 KiB.
 */
hk_err hk_host_render(struct hk_host *host, struct hk_buf *out) HK_MUST_CHECK;

/*
 * The same as the body of an internal scrape target (ingest/scrape.h): `self` is the struct
 * hk_host, so that host metrics travel like any other scrape.
 */
hk_err hk_host_body(void *self, struct hk_buf *out) HK_MUST_CHECK;

enum { HK_HOST_NAME_BYTES_MAX = 256 };

/* This host's name for the label "instance", NUL-terminated; "localhost" if it has none. */
void hk_host_name(char *out, size_t bytes);

#endif
