/* The table of subcommands and the way from argv to one of them. */
#include "cli/commands.h"

#include "cli/client.h"
#include "os/env.h"

#include <stdio.h>

_Static_assert((int)QUERY_AT == (int)FLAG_OWN, "own flags stand behind the shared ones");
_Static_assert((int)TOP_ONCE == (int)FLAG_OWN, "own flags stand behind the shared ones");
_Static_assert((int)READY_WAIT == (int)FLAG_OWN, "own flags stand behind the shared ones");

enum { OUTPUT_BYTES_MAX = 1 << 30 };

static const struct hk_flag serve_flags[] = {
    { "config", "FILE", "configuration; an unmodified prometheus.yml is valid" },
    { "data", "DIR", "folder of the data; ./hark-data when not given" },
    { "http", "ADDR", "page, API and remote write; 127.0.0.1:9090 when not given" },
    { "otlp-grpc", "ADDR", "OTLP over gRPC; 127.0.0.1:4317 when not given, off = none" },
    { "otlp-http", "ADDR", "OTLP over HTTP; 127.0.0.1:4318 when not given, off = none" },
    { "otlp-legacy", "ADDR",
      "OTLP over HTTP once more, for the old port 55681; off when not given" },
    { "port-file", "FILE", "gets the ports as JSON once all listen (port 0 = any free port)" },
    { "retention", "DURATION", "age at which data is dropped; 0 keeps all" },
    { "memory", "SIZE", "hard cap on memory; 0 = none" },
    { "shards", "N", "threads that receive; half of the processors when not given" },
    { "spin", "off|adaptive|always", "whether shards poll in place of sleeping" },
};
static const struct hk_flag config_flags[] = {
    { "rules", NULL, "schema of rule files" },
};
static const struct hk_flag help_flags[] = {
    { "markdown", NULL, "help config: the whole reference as Markdown" },
};
static const struct hk_flag client_flags[] = { HK_CLIENT_FLAGS };
static const struct hk_flag query_flags[] = {
    HK_CLIENT_FLAGS,
    { "at", "TIME",
      "evaluate then: 2026-01-02T03:04:05Z, seconds since 1970, or -5m; now when not given" },
    { "range", "DURATION", "evaluate over this time up to --at" },
    { "step", "DURATION",
      "distance of points of --range; a 60th of it, at least 1s, when not given" },
};
static const struct hk_flag top_flags[] = {
    HK_CLIENT_FLAGS,
    { "once", NULL, "print one frame and end" },
    { "interval", "DURATION", "time between frames; 1s when not given" },
};
static const struct hk_flag ready_flags[] = {
    HK_CLIENT_FLAGS,
    { "wait", "DURATION", "wait so long for the server to become ready" },
};

#define FLAGS(array) .flags = (array), .flag_count = (int)HK_COUNT(array)

const struct hk_command hk_commands[] = {
    { .name = "serve",
      .arguments = "",
      .summary = "Run the server.",
      FLAGS(serve_flags),
      .detail = "Without flags: data in ./hark-data, page and API on 127.0.0.1:9090, OTLP on\n"
                "127.0.0.1:4317 (gRPC) and 4318 (HTTP), metrics of this host each second.\n"
                "SIGHUP reloads the configuration, SIGTERM drains and ends.",
      .run = hk_cmd_serve },
    { .name = "check",
      .arguments = "[config|rules] FILE…",
      .summary = "Say what is wrong with configurations and rule files.",
      .detail = "Without a word before it, FILE is a configuration; the rule files that it names\n"
                "are checked too. Warnings alone exit 0.",
      .arguments_min = 1,
      .arguments_max = HK_ARGUMENTS_MAX,
      .run = hk_cmd_check },
    { .name = "config",
      .arguments = "schema",
      .summary = "Print the JSON Schema of the configuration.",
      FLAGS(config_flags),
      .arguments_min = 1,
      .arguments_max = 1,
      .run = hk_cmd_config },
    { .name = "query",
      .arguments = "EXPR",
      .summary = "Evaluate a PromQL expression.",
      FLAGS(query_flags),
      .arguments_min = 1,
      .arguments_max = 1,
      .run = hk_cmd_query },
    { .name = "top",
      .arguments = "",
      .summary = "Watch the host and what the server receives.",
      .detail = "q ends it.",
      FLAGS(top_flags),
      .run = hk_cmd_top },
    { .name = "targets",
      .arguments = "",
      .summary = "List scrape targets and their health.",
      FLAGS(client_flags),
      .run = hk_cmd_targets },
    { .name = "rules",
      .arguments = "",
      .summary = "List rules, their state, and how each is judged: on arrival or by tick, and why.",
      FLAGS(client_flags),
      .run = hk_cmd_rules },
    { .name = "alerts",
      .arguments = "",
      .summary = "List pending and firing alerts.",
      FLAGS(client_flags),
      .run = hk_cmd_alerts },
    { .name = "ledger",
      .arguments = "",
      .summary = "Account for every point: received = stored + dropped + in flight.",
      FLAGS(client_flags),
      .run = hk_cmd_ledger },
    { .name = "lag",
      .arguments = "",
      .summary =
          "Show the time from a point's arrival to each hop: decided, durable, visible, acted.",
      FLAGS(client_flags),
      .run = hk_cmd_lag },
    { .name = "ready",
      .arguments = "",
      .summary = "Ask whether the server is ready.",
      .detail = "Exits 0 when it is, 1 while it starts, 3 when there is none.",
      FLAGS(ready_flags),
      .run = hk_cmd_ready },
    { .name = "reload",
      .arguments = "",
      .summary = "Make the server read its configuration again.",
      .detail = "Exits 0 when it applies, 1 when something is wrong: then the old one stays. What\n"
                "needs a restart is named.",
      FLAGS(client_flags),
      .run = hk_cmd_reload },
    { .name = "version", .arguments = "", .summary = "Print the version.", .run = hk_cmd_version },
    { .name = "help",
      .arguments = "[COMMAND | config [KEY]]",
      .summary = "Explain a subcommand or a key of the configuration.",
      FLAGS(help_flags),
      .arguments_max = 2,
      .run = hk_cmd_help },
};
const size_t hk_command_count = HK_COUNT(hk_commands);

void hk_cli_flush(struct hk_call *call) {
    if (call->out->len > 0) (void)fwrite(call->out->ptr, 1, call->out->len, stdout);
    (void)fflush(stdout);
    if (call->error->len > 0) (void)fwrite(call->error->ptr, 1, call->error->len, stderr);
    hk_buf_clear(call->out);
    hk_buf_clear(call->error);
}

int hk_cli_usage(struct hk_call *call) {
    hk_buf_printf(
        call->error, "hark %s: %s\nhark %s --help says more.\n", call->command->name,
        hk_fail_text(), call->command->name);
    return HK_EXIT_USAGE;
}

static int unknown_command(struct hk_call *call, const char *name, struct hk_str near) {
    hk_buf_printf(call->error, "hark: unknown subcommand \"%.60s\"; ", name);
    if (near.len > 0) {
        hk_buf_printf(call->error, "did you mean %.*s?\n", HK_STR_ARG(near));
    } else {
        hk_buf_text(call->error, "hark help lists them\n");
    }
    return HK_EXIT_USAGE;
}

static int dispatch(struct hk_call *call, int argc, const char *const *argv) {
    struct hk_str near = { 0 };
    const char *name = argc < 2 ? "help" : argv[1];
    int skip = argc < 2 ? 1 : 2;
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0) name = "help";
    if (strcmp(name, "--version") == 0) name = "version";
    const struct hk_command *command = hk_command_find(hk_commands, hk_command_count, name, &near);
    if (command == NULL) return unknown_command(call, name, near);
    hk_err err = hk_flags_parse(command, argc - skip, argv + skip, call);
    if (err == HK_END) {
        hk_flags_help(command, call->out);
        return HK_EXIT_FINE;
    }
    return err < 0 ? hk_cli_usage(call) : command->run(call);
}

int hk_cli_main(
    int argc, const char *const *argv, int (*serve)(const struct hk_serve_options *options)) {
    struct hk_buf out;
    struct hk_buf error;
    hk_buf_init(&out, OUTPUT_BYTES_MAX);
    hk_buf_init(&error, 64 << 20);
    struct hk_call call = { .out = &out, .error = &error, .serve = serve };
    int code = dispatch(&call, argc, argv);
    bool lost = out.err < 0 || error.err < 0;
    hk_cli_flush(&call);
    if (lost || ferror(stdout)) {
        (void)fprintf(stderr, "hark: the output could not be written\n");
        code = code == HK_EXIT_FINE ? HK_EXIT_FAILED : code;
    }
    hk_buf_deinit(&out);
    hk_buf_deinit(&error);
    return code;
}
