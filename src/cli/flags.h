/*
 * Subcommands and their flags: one table; parsing, help and suggestions come from it. Pure but for
 * what `run` does.
 */
#ifndef HK_CLI_FLAGS_H
#define HK_CLI_FLAGS_H

#include "base/buf.h"

enum {
    HK_FLAGS_MAX = 24,
    HK_ARGUMENTS_MAX = 64,
};

/* Exit codes of every subcommand. */
enum {
    HK_EXIT_FINE = 0,
    HK_EXIT_FAILED = 1, /* invalid input, or the server said no */
    HK_EXIT_USAGE = 2,
    HK_EXIT_UNREACHABLE = 3,
};

struct hk_flag {
    const char *name;  /* without the dashes */
    const char *value; /* what stands for its value in help; NULL: a switch */
    const char *help;
};

struct hk_command;
struct hk_serve_options;

/* One call of a subcommand; everything is borrowed from argv. */
struct hk_call {
    const struct hk_command *command;
    const char *values[HK_FLAGS_MAX]; /* by index of the flag; NULL = not given, "" for a switch */
    const char *arguments[HK_ARGUMENTS_MAX];
    int argument_count;
    struct hk_buf *out;   /* standard output, written at the end or by hk_cli_flush */
    struct hk_buf *error; /* standard error, likewise */
    int (*serve)(const struct hk_serve_options *options); /* what `hark serve` starts */
};

struct hk_command {
    const char *name;
    const char *arguments; /* as shown: "EXPR", "[config|rules] FILE…" */
    const char *summary;   /* one line */
    const char *detail;    /* more lines, or NULL */
    const struct hk_flag *flags;
    int flag_count;
    int arguments_min, arguments_max;
    int (*run)(struct hk_call *call); /* gives the exit code */
};

/*
 * Sorts `argc` words behind the subcommand into flags and arguments: --flag VALUE, --flag=VALUE,
 * --switch, -- ends flags. HK_OK; HK_END: --help was asked for; HK_E_INVALID: the text says what is
 * wrong and how to mend it.
 */
hk_err hk_flags_parse(
    const struct hk_command *command, int argc, const char *const *argv,
    struct hk_call *call) HK_MUST_CHECK;

/* Appends the help of one subcommand. */
void hk_flags_help(const struct hk_command *command, struct hk_buf *out);

/* Finds a subcommand; NULL when there is none, then `out_near` is the nearest name or empty. */
const struct hk_command *hk_command_find(
    const struct hk_command *commands, size_t count, const char *name, struct hk_str *out_near);

/* Value of a flag as typed text. HK_E_INVALID with a text that names the flag. */
hk_err hk_flag_duration_ms(const struct hk_call *call, int flag, int64_t *out) HK_MUST_CHECK;
hk_err hk_flag_bytes(const struct hk_call *call, int flag, uint64_t *out) HK_MUST_CHECK;
hk_err
hk_flag_number(const struct hk_call *call, int flag, uint64_t max, uint64_t *out) HK_MUST_CHECK;

/* RFC 3339 time, seconds since 1970 (with decimals), "now", or "-5m" before `now_ms`. */
hk_err
hk_flag_time_ms(const struct hk_call *call, int flag, int64_t now_ms, int64_t *out) HK_MUST_CHECK;

#endif
