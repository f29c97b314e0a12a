/* Flags of subcommands. */
#include "cli/flags.h"

#include "conf/problem.h"

#include <stdio.h>
#include <string.h>

/* The flag `name[0..len)`, -1 when there is none. */
static int find_flag(const struct hk_command *command, const char *name, size_t len) {
    for (int i = 0; i < command->flag_count; i++) {
        const char *own = command->flags[i].name;
        if (strlen(own) == len && memcmp(own, name, len) == 0) return i;
    }
    return -1;
}

static hk_err unknown_flag(const struct hk_command *command, const char *name, size_t len) {
    struct hk_str names[HK_FLAGS_MAX];
    for (int i = 0; i < command->flag_count; i++)
        names[i] = hk_str_from(command->flags[i].name);
    struct hk_str near =
        hk_nearest_name((struct hk_str){ name, len }, names, (size_t)command->flag_count);
    if (near.len > 0) {
        return hk_fail(
            HK_E_INVALID, "unknown flag --%.*s; did you mean --%.*s?", (int)len, name,
            HK_STR_ARG(near));
    }
    return hk_fail(
        HK_E_INVALID, "unknown flag --%.*s; hark %s --help lists the flags", (int)len, name,
        command->name);
}

/* argv[*at] begins with "--"; takes its value, moves `*at` to the last word that was used. */
static hk_err take_flag(int argc, const char *const *argv, int *at, struct hk_call *call) {
    const char *name = argv[*at] + 2;
    const char *equal = strchr(name, '=');
    size_t len = equal == NULL ? strlen(name) : (size_t)(equal - name);
    if (len == 4 && memcmp(name, "help", 4) == 0 && equal == NULL) return HK_END;
    int flag = find_flag(call->command, name, len);
    if (flag < 0) return unknown_flag(call->command, name, len);
    const struct hk_flag *row = &call->command->flags[flag];
    if (call->values[flag] != NULL) return hk_fail(HK_E_INVALID, "--%s is given twice", row->name);
    if (row->value == NULL && equal != NULL) {
        return hk_fail(HK_E_INVALID, "--%s takes no value", row->name);
    }
    if (row->value == NULL) {
        call->values[flag] = "";
        return HK_OK;
    }
    if (equal == NULL && *at + 1 >= argc) {
        return hk_fail(
            HK_E_INVALID, "--%s needs a value: --%s %s", row->name, row->name, row->value);
    }
    call->values[flag] = equal != NULL ? equal + 1 : argv[++*at];
    return HK_OK;
}

static hk_err check_count(const struct hk_call *call) {
    const struct hk_command *command = call->command;
    if (call->argument_count < command->arguments_min) {
        return hk_fail(
            HK_E_INVALID, "an argument is missing: hark %s %s", command->name, command->arguments);
    }
    if (call->argument_count <= command->arguments_max) return HK_OK;
    return hk_fail(
        HK_E_INVALID, "\"%.100s\" is one argument too many: hark %s %s",
        call->arguments[command->arguments_max], command->name, command->arguments);
}

hk_err hk_flags_parse(
    const struct hk_command *command, int argc, const char *const *argv, struct hk_call *call) {
    call->command = command;
    call->argument_count = 0;
    memset(call->values, 0, sizeof(call->values));
    bool flags = true;
    for (int i = 0; i < argc; i++) {
        if (flags && strcmp(argv[i], "--") == 0) {
            flags = false;
        } else if (flags && strcmp(argv[i], "-h") == 0) {
            return HK_END;
        } else if (flags && strncmp(argv[i], "--", 2) == 0) {
            hk_err err = take_flag(argc, argv, &i, call);
            if (err != HK_OK) return err;
        } else if (call->argument_count == HK_ARGUMENTS_MAX) {
            return hk_fail(HK_E_INVALID, "more than %d arguments", HK_ARGUMENTS_MAX);
        } else {
            call->arguments[call->argument_count++] = argv[i];
        }
    }
    return check_count(call);
}

void hk_flags_help(const struct hk_command *command, struct hk_buf *out) {
    hk_buf_printf(
        out, "hark %s%s%s%s\n\n%s\n", command->name, command->arguments[0] == 0 ? "" : " ",
        command->arguments, command->flag_count > 0 ? " [flags]" : "", command->summary);
    if (command->detail != NULL) hk_buf_printf(out, "\n%s\n", command->detail);
    if (command->flag_count > 0) hk_buf_text(out, "\nFlags:\n");
    int width = 0;
    for (int i = 0; i < command->flag_count; i++) {
        const struct hk_flag *flag = &command->flags[i];
        int len =
            (int)strlen(flag->name) + (flag->value == NULL ? 0 : 1 + (int)strlen(flag->value));
        width = len > width ? len : width;
    }
    for (int i = 0; i < command->flag_count; i++) {
        const struct hk_flag *flag = &command->flags[i];
        char text[128];
        (void)snprintf(
            text, sizeof(text), "%s%s%s", flag->name, flag->value == NULL ? "" : " ",
            flag->value == NULL ? "" : flag->value);
        hk_buf_printf(out, "  --%-*s  %s\n", width, text, flag->help);
    }
}

const struct hk_command *hk_command_find(
    const struct hk_command *commands, size_t count, const char *name, struct hk_str *out_near) {
    struct hk_str names[64];
    *out_near = (struct hk_str){ "", 0 };
    size_t name_count = 0;
    for (size_t i = 0; i < count; i++) {
        if (strcmp(commands[i].name, name) == 0) return &commands[i];
        if (name_count < HK_COUNT(names)) names[name_count++] = hk_str_from(commands[i].name);
    }
    *out_near = hk_nearest_name(hk_str_from(name), names, name_count);
    return NULL;
}

static hk_err wrong(const struct hk_call *call, int flag, const char *mend) {
    return hk_fail(
        HK_E_INVALID, "--%s: \"%.100s\" is not valid; %s", call->command->flags[flag].name,
        call->values[flag], mend);
}

hk_err hk_flag_duration_ms(const struct hk_call *call, int flag, int64_t *out) {
    if (hk_parse_duration_ms(hk_str_from(call->values[flag]), out) == HK_OK) return HK_OK;
    return wrong(call, flag, "write a duration as 100ms, 15s, 5m or 1h30m");
}

hk_err hk_flag_bytes(const struct hk_call *call, int flag, uint64_t *out) {
    if (hk_parse_bytes(hk_str_from(call->values[flag]), out) == HK_OK) return HK_OK;
    return wrong(call, flag, "write a size as 512MB, 64MiB or 1GiB");
}

hk_err hk_flag_number(const struct hk_call *call, int flag, uint64_t max, uint64_t *out) {
    uint64_t value = 0;
    char mend[64];
    (void)snprintf(mend, sizeof(mend), "write a whole number up to %llu", (unsigned long long)max);
    if (hk_parse_u64(hk_str_from(call->values[flag]), &value) < 0 || value > max) {
        return wrong(call, flag, mend);
    }
    *out = value;
    return HK_OK;
}

hk_err hk_flag_time_ms(const struct hk_call *call, int flag, int64_t now_ms, int64_t *out) {
    struct hk_str text = hk_str_from(call->values[flag]);
    int64_t value = 0;
    double seconds = 0;
    if (hk_str_is(text, "now")) {
        *out = now_ms;
        return HK_OK;
    }
    struct hk_str rest = hk_str_part(text, 1, text.len);
    if (text.len > 1 && text.ptr[0] == '-' && hk_parse_duration_ms(rest, &value) == HK_OK) {
        *out = now_ms - value;
        return HK_OK;
    }
    if (hk_parse_rfc3339_ns(text, &value) == HK_OK) {
        *out = value / 1000000;
        return HK_OK;
    }
    if (hk_parse_double(text, &seconds) == HK_OK && seconds > -9e12 && seconds < 9e12) {
        *out = (int64_t)(seconds * 1000);
        return HK_OK;
    }
    return wrong(
        call, flag, "write 2026-01-02T03:04:05Z, seconds since 1970, or -5m for five minutes ago");
}
