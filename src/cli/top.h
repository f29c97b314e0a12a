/*
 * One frame of `hark top` from the server's answers. Pure: trees and the former frame in, text out.
 */
#ifndef HK_CLI_TOP_H
#define HK_CLI_TOP_H

#include "base/buf.h"
#include "cli/value.h"

/* Figures of the host, each one PromQL query. */
enum hk_top_figure {
    HK_TOP_LOAD1,
    HK_TOP_LOAD5,
    HK_TOP_LOAD15,
    HK_TOP_CPU,          /* 0 … 1 */
    HK_TOP_IOWAIT,       /* 0 … 1 */
    HK_TOP_MEMORY_TOTAL, /* bytes */
    HK_TOP_MEMORY_FREE,  /* bytes available */
    HK_TOP_DISK_READ,    /* bytes per second */
    HK_TOP_DISK_WRITE,
    HK_TOP_NET_IN,
    HK_TOP_NET_OUT,
    HK_TOP_ROOT_USED, /* 0 … 1 of the root file system */
    HK_TOP_FIGURES,
};

enum { HK_TOP_ACCOUNTS_MAX = 64, HK_TOP_NAME_BYTES = 48 };

struct hk_top_account {
    char name[HK_TOP_NAME_BYTES];
    double received, stored, dropped, in_flight;
};

/* What one poll found. */
struct hk_top_sample {
    int64_t stamp_ms;
    double figures[HK_TOP_FIGURES]; /* NaN = unknown */
    struct hk_top_account accounts[HK_TOP_ACCOUNTS_MAX];
    uint32_t account_count;
    double alerts_firing, alerts_pending; /* NaN = unknown */
};

/* The query of a figure. */
const char *hk_top_query(enum hk_top_figure figure);

/* First value of the answer of /api/v1/query, NaN when it has none. */
double hk_top_first_value(const struct hk_value *root);

/* Takes over the accounts of /api/hark/v1/ledger; `root` may be NULL. */
void hk_top_read_ledger(const struct hk_value *root, struct hk_top_sample *out);

/* Counts the alerts of /api/v1/alerts; `root` may be NULL. */
void hk_top_read_alerts(const struct hk_value *root, struct hk_top_sample *out);

/*
 * Appends the frame: at most `rows` lines of at most `columns` characters, each ended by "\n".
 * `before` gives rates; NULL for the first frame.
 */
void hk_top_frame(
    const struct hk_top_sample *sample, const struct hk_top_sample *before, const char *server,
    unsigned columns, unsigned rows, struct hk_buf *out);

#endif
