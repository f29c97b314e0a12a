/* The subcommands; each gives the exit code. Private to src/cli. */
#ifndef HK_CLI_COMMANDS_H
#define HK_CLI_COMMANDS_H

#include "cli/flags.h"
#include "engine/serve.h"

extern const struct hk_command hk_commands[];
extern const size_t hk_command_count;

/* Runs the program; `serve` is what `hark serve` starts (hk_engine_serve). Gives the exit code. */
int hk_cli_main(
    int argc, const char *const *argv, int (*serve)(const struct hk_serve_options *options));

/* Writes what is in call->out and call->error to the process' standard streams, and empties it. */
void hk_cli_flush(struct hk_call *call);

/* Says a usage error (hk_fail_text) and gives HK_EXIT_USAGE. */
int hk_cli_usage(struct hk_call *call);

/* The subcommands: cmd_*.c. */
int hk_cmd_serve(struct hk_call *call);
int hk_cmd_check(struct hk_call *call);
int hk_cmd_config(struct hk_call *call);
int hk_cmd_help(struct hk_call *call);
int hk_cmd_query(struct hk_call *call);
int hk_cmd_top(struct hk_call *call);
int hk_cmd_targets(struct hk_call *call);
int hk_cmd_rules(struct hk_call *call);
int hk_cmd_alerts(struct hk_call *call);
int hk_cmd_ledger(struct hk_call *call);
int hk_cmd_lag(struct hk_call *call);
int hk_cmd_ready(struct hk_call *call);
int hk_cmd_reload(struct hk_call *call);
int hk_cmd_version(struct hk_call *call);

/* Flags of serve, by index in its table. */
enum {
    SERVE_CONFIG,
    SERVE_DATA,
    SERVE_HTTP,
    SERVE_OTLP_GRPC,
    SERVE_OTLP_HTTP,
    SERVE_OTLP_LEGACY,
    SERVE_PORT_FILE,
    SERVE_RETENTION,
    SERVE_MEMORY,
    SERVE_SHARDS,
    SERVE_SPIN,
};

/* Typed options of a call of serve. HK_E_INVALID with a text. Pure. */
hk_err hk_serve_read(const struct hk_call *call, struct hk_serve_options *out) HK_MUST_CHECK;

/* Own flags of the client subcommands, behind the shared ones (client.h: FLAG_OWN). */
enum { QUERY_AT = 5, QUERY_RANGE, QUERY_STEP };
enum { TOP_ONCE = 5, TOP_INTERVAL };
enum { READY_WAIT = 5 };
enum { HELP_MARKDOWN };
enum { CONFIG_RULES };

#endif
