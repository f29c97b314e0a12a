/*
 * Questions to a running server over HTTP (libcurl), with the flags that all client subcommands
 * share.
 */
#ifndef HK_CLI_CLIENT_H
#define HK_CLI_CLIENT_H

#include "cli/flags.h"
#include "cli/table.h"
#include "cli/value.h"

/* The first flags of every client subcommand, in this order. */
enum { FLAG_SERVER, FLAG_OUTPUT, FLAG_TOKEN_FILE, FLAG_CA, FLAG_TIMEOUT, FLAG_OWN };

#define HK_CLIENT_FLAGS                                                                            \
    { "server", "URL", "the server; else HARK_SERVER, else http://127.0.0.1:9090" },               \
        { "output", "table|json|csv", "form of the answer; table when not given" },                \
        { "token-file", "FILE", "file with the server's token; else HARK_TOKEN" },                 \
        { "ca", "FILE", "certificates to trust, PEM" }, {                                          \
        "timeout", "DURATION", "longest wait for an answer; 30s when not given"                    \
    }

enum hk_output { HK_OUTPUT_TABLE, HK_OUTPUT_JSON, HK_OUTPUT_CSV };

enum { HK_ANSWER_BYTES_MAX = 512 << 20 };

struct hk_client {
    char server[512]; /* without a slash at its end */
    struct hk_str token;
    const char *ca;
    long timeout_ms;
    enum hk_output output;
    struct hk_arena arena; /* of answers, tables and texts */
    void *curl;
};

struct hk_answer {
    long status;
    struct hk_str body;
};

struct hk_param {
    const char *name;
    struct hk_str value;
};

/* Reads the shared flags. HK_E_INVALID (usage), HK_E_NOMEM. Ended by hk_client_deinit, also after a
 * failure. */
hk_err hk_client_init(struct hk_client *client, const struct hk_call *call) HK_MUST_CHECK;

/* Frees everything; answers are gone. */
void hk_client_deinit(struct hk_client *client);

/*
 * GETs `path` with the parameters. HK_OK for every HTTP status; HK_E_IO: the server cannot be
 * reached (the text says which and what to do), HK_E_LIMIT, HK_E_NOMEM.
 */
hk_err hk_client_get(
    struct hk_client *client, const char *path, const struct hk_param *params, size_t count,
    struct hk_answer *out) HK_MUST_CHECK;

/* POSTs an empty body to `path`; otherwise as hk_client_get. */
hk_err
hk_client_tell(struct hk_client *client, const char *path, struct hk_answer *out) HK_MUST_CHECK;

/*
 * As hk_client_get, and parses the JSON of a 2xx answer. Another status is HK_E_EXECUTION with the
 * server's own text; an answer that is not JSON is HK_E_MALFORMED.
 */
hk_err hk_client_json(
    struct hk_client *client, const char *path, const struct hk_param *params, size_t count,
    struct hk_answer *out_answer, const struct hk_value **out) HK_MUST_CHECK;

/* Says the current error on call->error; gives the exit code that belongs to `err`. */
int hk_client_fail(struct hk_call *call, hk_err err);

/* Writes the table as --output says (not for JSON). Gives the exit code. */
int hk_client_show(
    const struct hk_client *client, const struct hk_table *table, struct hk_call *call);

/* Server address as a URL without a slash at its end: adds http:// where no scheme is given.
 * HK_E_INVALID. Pure. */
hk_err hk_server_url(const char *text, char *out, size_t bytes) HK_MUST_CHECK;

#endif
