/* hark query and the subcommands that show one document of the server. */
#include "cli/answers.h"
#include "cli/client.h"
#include "cli/commands.h"
#include "os/clock.h"

#include <inttypes.h>
#include <stdio.h>

enum { POINTS_DEFAULT = 60, READY_POLL_NS = 50000000 };

typedef hk_err (*answer_function)(
    const struct hk_value *root, struct hk_arena *arena, struct hk_table *table);

/* Asks `path` and shows the answer as --output says. */
static int
ask(struct hk_call *call, struct hk_client *client, const char *path, const struct hk_param *params,
    size_t count, answer_function to_table) {
    struct hk_answer answer;
    const struct hk_value *root = NULL;
    struct hk_table table = { 0 };
    hk_err err = hk_client_json(client, path, params, count, &answer, &root);
    if (err < 0) return hk_client_fail(call, err);
    if (client->output == HK_OUTPUT_JSON) {
        hk_buf_str(call->out, answer.body);
        if (!hk_str_ends(answer.body, HK_STR("\n"))) hk_buf_char(call->out, '\n');
        return HK_EXIT_FINE;
    }
    err = to_table(root, &client->arena, &table);
    int code = err < 0 ? hk_client_fail(call, err) : hk_client_show(client, &table, call);
    const struct hk_value *warnings = hk_value_get(root, "warnings");
    const struct hk_value *warning = warnings == NULL ? NULL : warnings->first;
    for (; warning != NULL; warning = warning->next) {
        hk_buf_text(call->error, "warning: ");
        hk_text_clean(hk_value_text(warning), call->error);
        hk_buf_char(call->error, '\n');
    }
    hk_table_deinit(&table);
    return code;
}

static int show_document(struct hk_call *call, const char *path, answer_function to_table) {
    struct hk_client client;
    hk_err err = hk_client_init(&client, call);
    int code = err < 0 ? hk_client_fail(call, err) : ask(call, &client, path, NULL, 0, to_table);
    hk_client_deinit(&client);
    return code;
}

/* Milliseconds as decimal seconds, in the client's arena. */
static struct hk_str seconds(struct hk_client *client, int64_t ms) {
    int64_t whole = ms / 1000;
    int64_t rest = ms % 1000 < 0 ? -(ms % 1000) : ms % 1000;
    return hk_arena_printf(
        &client->arena, "%s%" PRId64 ".%03" PRId64, ms < 0 && whole == 0 ? "-" : "", whole, rest);
}

/* --at, --range and --step as parameters; gives their count. */
static hk_err
read_times(struct hk_call *call, struct hk_client *client, struct hk_param *params, size_t *count) {
    int64_t now_ms = hk_clock_realtime_ms();
    int64_t at_ms = now_ms;
    int64_t range_ms = 0;
    if (call->values[QUERY_AT] != NULL) HK_TRY(hk_flag_time_ms(call, QUERY_AT, now_ms, &at_ms));
    if (call->values[QUERY_RANGE] == NULL) {
        if (call->values[QUERY_STEP] != NULL) {
            return hk_fail(HK_E_INVALID, "--step means nothing without --range");
        }
        if (call->values[QUERY_AT] == NULL) return HK_OK;
        params[(*count)++] = (struct hk_param){ "time", seconds(client, at_ms) };
        return HK_OK;
    }
    HK_TRY(hk_flag_duration_ms(call, QUERY_RANGE, &range_ms));
    int64_t step_ms = range_ms / POINTS_DEFAULT < 1000 ? 1000 : range_ms / POINTS_DEFAULT;
    if (call->values[QUERY_STEP] != NULL) HK_TRY(hk_flag_duration_ms(call, QUERY_STEP, &step_ms));
    if (step_ms == 0) return hk_fail(HK_E_INVALID, "--step: 0 is not valid; choose 1ms or more");
    params[(*count)++] = (struct hk_param){ "start", seconds(client, at_ms - range_ms) };
    params[(*count)++] = (struct hk_param){ "end", seconds(client, at_ms) };
    params[(*count)++] = (struct hk_param){ "step", seconds(client, step_ms) };
    return HK_OK;
}

int hk_cmd_query(struct hk_call *call) {
    struct hk_client client;
    struct hk_param params[4] = { { "query", hk_str_from(call->arguments[0]) } };
    size_t count = 1;
    hk_err err = hk_client_init(&client, call);
    if (err >= 0) err = read_times(call, &client, params, &count);
    for (size_t i = 0; i < count && err >= 0; i++)
        err = params[i].value.ptr == NULL ? HK_E_NOMEM : HK_OK;
    bool range = call->values[QUERY_RANGE] != NULL;
    const char *path = range ? "/api/v1/query_range" : "/api/v1/query";
    int code = err < 0 ? hk_client_fail(call, err)
                       : ask(call, &client, path, params, count, hk_answer_query);
    hk_client_deinit(&client);
    return code;
}

int hk_cmd_targets(struct hk_call *call) {
    return show_document(call, "/api/v1/targets", hk_answer_targets);
}

int hk_cmd_rules(struct hk_call *call) {
    return show_document(call, "/api/v1/rules", hk_answer_rules);
}

int hk_cmd_alerts(struct hk_call *call) {
    return show_document(call, "/api/v1/alerts", hk_answer_alerts);
}

int hk_cmd_ledger(struct hk_call *call) {
    return show_document(call, "/api/hark/v1/ledger", hk_answer_ledger);
}

int hk_cmd_lag(struct hk_call *call) {
    return show_document(call, "/api/hark/v1/lag", hk_answer_lag);
}

static int poll_ready(struct hk_call *call, struct hk_client *client, int64_t wait_ms) {
    int64_t end_ns = hk_clock_monotonic_ns() + wait_ms * 1000000;
    for (;;) {
        struct hk_answer answer = { 0 };
        hk_err err = hk_client_get(client, "/-/ready", NULL, 0, &answer);
        if (err < 0 && err != HK_E_IO) return hk_client_fail(call, err);
        if (err == HK_OK && answer.status == 200) {
            hk_buf_text(call->out, "ready\n");
            return HK_EXIT_FINE;
        }
        if (hk_clock_monotonic_ns() < end_ns) {
            hk_sleep_ns(READY_POLL_NS);
            continue;
        }
        if (err < 0) return hk_client_fail(call, err);
        hk_buf_text(call->error, "hark: not ready: ");
        hk_text_clean(hk_str_trim(hk_str_part(answer.body, 0, 1000)), call->error);
        hk_buf_printf(call->error, " (status %ld)\n", answer.status);
        return HK_EXIT_FAILED;
    }
}

int hk_cmd_ready(struct hk_call *call) {
    struct hk_client client;
    int64_t wait_ms = 0;
    hk_err err = hk_client_init(&client, call);
    if (err >= 0 && call->values[READY_WAIT] != NULL) {
        err = hk_flag_duration_ms(call, READY_WAIT, &wait_ms);
    }
    if (err >= 0 && wait_ms > 86400000) err = hk_fail(HK_E_INVALID, "--wait: choose at most 1d");
    int code = err < 0 ? hk_client_fail(call, err) : poll_ready(call, &client, wait_ms);
    hk_client_deinit(&client);
    return code;
}

/* The server's lines without control characters. */
static void put_lines(struct hk_str text, struct hk_buf *out) {
    for (size_t at = 0; at < text.len;) {
        size_t end = hk_str_find(text, '\n', at);
        hk_text_clean(hk_str_part(text, at, end), out);
        hk_buf_char(out, '\n');
        at = end + 1;
    }
}

static int tell_reload(struct hk_call *call, const struct hk_answer *answer) {
    if (answer->status == 200) {
        put_lines(answer->body, call->out);
        return HK_EXIT_FINE;
    }
    put_lines(answer->body, call->error);
    if (answer->status != 500) {
        hk_buf_printf(call->error, "hark: the server refused (status %ld)\n", answer->status);
    }
    return HK_EXIT_FAILED;
}

int hk_cmd_reload(struct hk_call *call) {
    struct hk_client client;
    struct hk_answer answer = { 0 };
    hk_err err = hk_client_init(&client, call);
    if (err >= 0) err = hk_client_tell(&client, "/-/reload", &answer);
    int code = err < 0 ? hk_client_fail(call, err) : tell_reload(call, &answer);
    hk_client_deinit(&client);
    return code;
}
