/* hark serve: flags to options, then the engine takes over. */
#include "cli/commands.h"

#include "conf/config.h"

static hk_err read_address(const struct hk_call *call, int flag, const char **out) {
    const char *text = call->values[flag];
    bool loopback = false;
    if (text == NULL) return HK_OK;
    *out = text;
    if (strcmp(text, "off") == 0 || text[0] == 0) {
        *out = "";
        if (flag != SERVE_HTTP) return HK_OK;
        return hk_fail(HK_E_INVALID, "--http cannot be off; the API lives there");
    }
    if (hk_conf_address(hk_str_from(text), &loopback) == HK_OK) return HK_OK;
    return hk_fail(
        HK_E_INVALID, "--%s: \"%.100s\" is no address; write host:port, as 127.0.0.1:9090",
        call->command->flags[flag].name, text);
}

static hk_err read_spin(const struct hk_call *call, struct hk_serve_options *out) {
    static const struct {
        const char *name;
        enum hk_spin spin;
    } modes[] = {
        { "off", HK_SPIN_OFF },
        { "adaptive", HK_SPIN_ADAPTIVE },
        { "always", HK_SPIN_ALWAYS },
    };
    const char *text = call->values[SERVE_SPIN];
    if (text == NULL) return HK_OK;
    for (size_t i = 0; i < HK_COUNT(modes); i++) {
        if (strcmp(text, modes[i].name) != 0) continue;
        out->spin = modes[i].spin;
        out->spin_given = true;
        return HK_OK;
    }
    return hk_fail(
        HK_E_INVALID, "--spin: \"%.50s\" is not valid; choose off, adaptive or always", text);
}

hk_err hk_serve_read(const struct hk_call *call, struct hk_serve_options *out) {
    struct hk_serve_options options = {
        .config_path = call->values[SERVE_CONFIG],
        .data_dir = call->values[SERVE_DATA],
        .port_file = call->values[SERVE_PORT_FILE],
    };
    HK_TRY(read_address(call, SERVE_HTTP, &options.http));
    HK_TRY(read_address(call, SERVE_OTLP_GRPC, &options.otlp_grpc));
    HK_TRY(read_address(call, SERVE_OTLP_HTTP, &options.otlp_http));
    HK_TRY(read_address(call, SERVE_OTLP_LEGACY, &options.otlp_legacy));
    if (call->values[SERVE_RETENTION] != NULL) {
        HK_TRY(hk_flag_duration_ms(call, SERVE_RETENTION, &options.retention_ms));
        options.retention_given = true;
    }
    if (call->values[SERVE_MEMORY] != NULL) {
        HK_TRY(hk_flag_bytes(call, SERVE_MEMORY, &options.memory_bytes));
        options.memory_given = true;
    }
    if (call->values[SERVE_SHARDS] != NULL) {
        uint64_t shards = 0;
        HK_TRY(hk_flag_number(call, SERVE_SHARDS, 256, &shards));
        options.shards = (uint32_t)shards;
        options.shards_given = true;
    }
    HK_TRY(read_spin(call, &options));
    *out = options;
    return HK_OK;
}

int hk_cmd_serve(struct hk_call *call) {
    struct hk_serve_options options;
    if (hk_serve_read(call, &options) < 0) return hk_cli_usage(call);
    hk_assert(call->serve != NULL);
    return call->serve(&options);
}
