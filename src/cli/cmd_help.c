/* hark help, hark config schema, hark version: texts from the tables. */
#include "cli/commands.h"

#include "conf/help.h"

static void list_commands(struct hk_buf *out) {
    hk_buf_text(out, "hark: a telemetry server that judges data on arrival.\n\nSubcommands:\n");
    for (size_t i = 0; i < hk_command_count; i++)
        hk_buf_printf(out, "  %-8s  %s\n", hk_commands[i].name, hk_commands[i].summary);
    hk_buf_text(
        out, "\nhark COMMAND --help explains one; hark help config explains the configuration.\n"
             "Exit codes: 0 fine, 1 invalid or failed, 2 usage, 3 no server.\n");
}

static int help_config(struct hk_call *call) {
    struct hk_str near = { 0 };
    if (call->values[HELP_MARKDOWN] != NULL) {
        hk_conf_reference(call->out);
        return HK_EXIT_FINE;
    }
    struct hk_str topic = hk_str_from(call->argument_count > 1 ? call->arguments[1] : "");
    if (hk_conf_help(topic, call->out, &near) == HK_OK) return HK_EXIT_FINE;
    hk_buf_printf(
        call->error, "hark help config: no key or section is called \"%.100s\"; ", topic.ptr);
    if (near.len > 0) {
        hk_buf_printf(call->error, "did you mean %.*s?\n", HK_STR_ARG(near));
    } else {
        hk_buf_text(call->error, "hark help config lists the outermost keys\n");
    }
    return HK_EXIT_USAGE;
}

int hk_cmd_help(struct hk_call *call) {
    if (call->argument_count == 0) {
        list_commands(call->out);
        return HK_EXIT_FINE;
    }
    const char *topic = call->arguments[0];
    struct hk_str near = { 0 };
    if (strcmp(topic, "config") == 0) return help_config(call);
    if (strcmp(topic, "limits") == 0) {
        return hk_conf_help(HK_STR("limits"), call->out, &near) == HK_OK ? HK_EXIT_FINE
                                                                         : HK_EXIT_FAILED;
    }
    const struct hk_command *command = hk_command_find(hk_commands, hk_command_count, topic, &near);
    if (command != NULL) {
        hk_flags_help(command, call->out);
        return HK_EXIT_FINE;
    }
    hk_buf_printf(call->error, "hark help: there is no \"%.60s\"; ", topic);
    if (near.len > 0) {
        hk_buf_printf(call->error, "did you mean %.*s?\n", HK_STR_ARG(near));
    } else {
        hk_buf_text(call->error, "hark help lists the subcommands\n");
    }
    return HK_EXIT_USAGE;
}

int hk_cmd_config(struct hk_call *call) {
    if (strcmp(call->arguments[0], "schema") != 0) {
        (void)hk_fail(
            HK_E_INVALID,
            "unknown word \"%.60s\"; there is hark config schema, and hark help config",
            call->arguments[0]);
        return hk_cli_usage(call);
    }
    hk_conf_schema(call->out, call->values[CONFIG_RULES] != NULL);
    return HK_EXIT_FINE;
}

int hk_cmd_version(struct hk_call *call) {
    hk_buf_printf(call->out, "hark %s\n", HK_VERSION);
    return HK_EXIT_FINE;
}
