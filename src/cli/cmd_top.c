/* hark top: polls the server and draws frames until q. */
#include "cli/client.h"
#include "cli/commands.h"
#include "cli/top.h"
#include "os/clock.h"
#include "os/terminal.h"

#include <math.h>

enum { INTERVAL_DEFAULT_MS = 1000, KEY_CTRL_C = 3 };

/* One document as a tree; NULL when the server does not have it (yet). */
static hk_err fetch(
    struct hk_client *client, const char *path, const struct hk_param *params, size_t count,
    const struct hk_value **out) {
    struct hk_answer answer;
    hk_err err = hk_client_json(client, path, params, count, &answer, out);
    if (err == HK_E_EXECUTION || err == HK_E_MALFORMED) *out = NULL;
    return err == HK_E_IO || err == HK_E_NOMEM ? err : HK_OK;
}

static hk_err poll_server(struct hk_client *client, struct hk_top_sample *out) {
    const struct hk_value *root = NULL;
    *out = (struct hk_top_sample){ .stamp_ms = hk_clock_realtime_ms() };
    for (int i = 0; i < HK_TOP_FIGURES; i++) {
        struct hk_param query = { "query", hk_str_from(hk_top_query((enum hk_top_figure)i)) };
        HK_TRY(fetch(client, "/api/v1/query", &query, 1, &root));
        out->figures[i] = hk_top_first_value(root);
    }
    HK_TRY(fetch(client, "/api/hark/v1/ledger", NULL, 0, &root));
    hk_top_read_ledger(root, out);
    HK_TRY(fetch(client, "/api/v1/alerts", NULL, 0, &root));
    hk_top_read_alerts(root, out);
    return HK_OK;
}

/* Home, the frame with each line's rest erased, then everything below erased (ECMA-48). */
static int draw(struct hk_str frame) {
    struct hk_buf out;
    hk_buf_init(&out, 1 << 20);
    hk_buf_text(&out, "\033[H");
    for (size_t at = 0; at < frame.len;) {
        size_t end = hk_str_find(frame, '\n', at);
        hk_buf_str(&out, hk_str_part(frame, at, end));
        hk_buf_text(&out, "\033[K\n");
        at = end + 1;
    }
    hk_buf_text(&out, "\033[J");
    int err = out.err < 0 ? -1 : hk_terminal_write(out.ptr, out.len);
    hk_buf_deinit(&out);
    return err;
}

static bool is_quit(int key) {
    return key == 'q' || key == 'Q' || key == KEY_CTRL_C || key == -2;
}

static hk_err watch(struct hk_client *client, int64_t interval_ms) {
    static const char clear[] = "\033[2J";
    struct hk_top_sample samples[2];
    struct hk_buf frame;
    hk_buf_init(&frame, 1 << 20);
    hk_err err = HK_OK;
    bool end = hk_terminal_write(clear, sizeof(clear) - 1) < 0;
    for (unsigned turn = 0; !end; turn++) {
        unsigned columns = 80;
        unsigned rows = 24;
        struct hk_top_sample *sample = &samples[turn % 2];
        int64_t due_ns = hk_clock_monotonic_ns() + interval_ms * 1000000;
        hk_arena_reset(&client->arena);
        err = poll_server(client, sample);
        if (err < 0) break;
        hk_terminal_size(&columns, &rows);
        hk_buf_clear(&frame);
        hk_top_frame(
            sample, turn == 0 ? NULL : &samples[(turn + 1) % 2], client->server, columns,
            rows > 1 ? rows - 1 : 1, &frame);
        end = draw(hk_buf_get(&frame)) < 0;
        for (int64_t left_ns = 1; left_ns > 0 && !end;) {
            left_ns = due_ns - hk_clock_monotonic_ns();
            end = left_ns > 0 && is_quit(hk_terminal_key(left_ns));
        }
    }
    hk_buf_deinit(&frame);
    return err;
}

static hk_err print_once(struct hk_call *call, struct hk_client *client) {
    struct hk_top_sample sample;
    HK_TRY(poll_server(client, &sample));
    hk_top_frame(&sample, NULL, client->server, 120, 100, call->out);
    return HK_OK;
}

static hk_err run(struct hk_call *call, struct hk_client *client) {
    int64_t interval_ms = INTERVAL_DEFAULT_MS;
    if (call->values[TOP_INTERVAL] != NULL) {
        HK_TRY(hk_flag_duration_ms(call, TOP_INTERVAL, &interval_ms));
        if (interval_ms < 50 || interval_ms > 3600000) {
            return hk_fail(HK_E_INVALID, "--interval: choose 50ms to 1h");
        }
    }
    if (call->values[TOP_ONCE] != NULL) return print_once(call, client);
    struct hk_terminal terminal = { .changed = false };
    if (!hk_terminal_is() || hk_terminal_begin(&terminal) < 0) {
        return hk_fail(HK_E_INVALID, "this is no terminal; print one frame with --once");
    }
    hk_err err = watch(client, interval_ms);
    hk_terminal_end(&terminal);
    return err;
}

int hk_cmd_top(struct hk_call *call) {
    struct hk_client client;
    hk_err err = hk_client_init(&client, call);
    if (err >= 0) err = run(call, &client);
    int code = err < 0 ? hk_client_fail(call, err) : HK_EXIT_FINE;
    hk_client_deinit(&client);
    return code;
}
