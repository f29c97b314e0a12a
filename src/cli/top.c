/* The frame of `hark top`. */
#include "cli/top.h"

#include "cli/table.h"

#include <math.h>
#include <stdio.h>

static const char *const queries[HK_TOP_FIGURES] = {
    [HK_TOP_LOAD1] = "max(node_load1{job=\"hark-host\"})",
    [HK_TOP_LOAD5] = "max(node_load5{job=\"hark-host\"})",
    [HK_TOP_LOAD15] = "max(node_load15{job=\"hark-host\"})",
    [HK_TOP_CPU] = "1 - avg(rate(node_cpu_seconds_total{job=\"hark-host\",mode=\"idle\"}[5s]))",
    [HK_TOP_IOWAIT] = "avg(rate(node_cpu_seconds_total{job=\"hark-host\",mode=\"iowait\"}[5s]))",
    [HK_TOP_MEMORY_TOTAL] = "max(node_memory_MemTotal_bytes{job=\"hark-host\"})",
    [HK_TOP_MEMORY_FREE] = "max(node_memory_MemAvailable_bytes{job=\"hark-host\"})",
    [HK_TOP_DISK_READ] = "sum(rate(node_disk_read_bytes_total{job=\"hark-host\"}[5s]))",
    [HK_TOP_DISK_WRITE] = "sum(rate(node_disk_written_bytes_total{job=\"hark-host\"}[5s]))",
    [HK_TOP_NET_IN] =
        "sum(rate(node_network_receive_bytes_total{job=\"hark-host\",device!=\"lo\"}[5s]))",
    [HK_TOP_NET_OUT] =
        "sum(rate(node_network_transmit_bytes_total{job=\"hark-host\",device!=\"lo\"}[5s]))",
    [HK_TOP_ROOT_USED] =
        ("1 - max(node_filesystem_avail_bytes{job=\"hark-host\",mountpoint=\"/\"}) / "
         "max(node_filesystem_size_bytes{job=\"hark-host\",mountpoint=\"/\"})"),
};

const char *hk_top_query(enum hk_top_figure figure) {
    return queries[figure];
}

double hk_top_first_value(const struct hk_value *root) {
    const struct hk_value *result = hk_value_get(hk_value_get(root, "data"), "result");
    const struct hk_value *first = hk_value_at(result, 0);
    bool scalar = first != NULL && first->type == HK_JSON_NUMBER;
    const struct hk_value *point = scalar ? result : hk_value_get(first, "value");
    return hk_value_number(hk_value_at(point, 1), (double)NAN);
}

void hk_top_read_ledger(const struct hk_value *root, struct hk_top_sample *out) {
    const struct hk_value *accounts = hk_value_get(root, "accounts");
    const struct hk_value *row = accounts == NULL ? NULL : accounts->first;
    out->account_count = 0;
    for (; row != NULL && out->account_count < HK_TOP_ACCOUNTS_MAX; row = row->next) {
        struct hk_top_account *account = &out->accounts[out->account_count++];
        struct hk_str name = hk_value_text(hk_value_get(row, "receiver"));
        struct hk_str signal = hk_value_text(hk_value_get(row, "signal"));
        (void)snprintf(
            account->name, sizeof(account->name), "%.*s %.*s", (int)(name.len < 30 ? name.len : 30),
            name.ptr, (int)(signal.len < 15 ? signal.len : 15), signal.ptr);
        account->received = hk_value_number(hk_value_get(row, "received"), 0);
        account->stored = hk_value_number(hk_value_get(row, "stored"), 0);
        account->in_flight = hk_value_number(hk_value_get(row, "in_flight"), 0);
        account->dropped = 0;
        const struct hk_value *dropped = hk_value_get(row, "dropped");
        const struct hk_value *reason = dropped == NULL ? NULL : dropped->first;
        for (; reason != NULL; reason = reason->next)
            account->dropped += hk_value_number(reason, 0);
    }
}

void hk_top_read_alerts(const struct hk_value *root, struct hk_top_sample *out) {
    const struct hk_value *alerts = hk_value_get(hk_value_get(root, "data"), "alerts");
    out->alerts_firing = alerts == NULL ? (double)NAN : 0;
    out->alerts_pending = out->alerts_firing;
    const struct hk_value *alert = alerts == NULL ? NULL : alerts->first;
    for (; alert != NULL; alert = alert->next) {
        struct hk_str state = hk_value_text(hk_value_get(alert, "state"));
        out->alerts_firing += hk_str_is(state, "firing") ? 1 : 0;
        out->alerts_pending += hk_str_is(state, "pending") ? 1 : 0;
    }
}

/* "1.5 MiB", "340 B", "-" when unknown. */
static void put_bytes(double value, char *out, size_t bytes) {
    static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB" };
    size_t unit = 0;
    if (isnan(value)) {
        (void)snprintf(out, bytes, "-");
        return;
    }
    while (fabs(value) >= 1024 && unit + 1 < HK_COUNT(units)) {
        value /= 1024;
        unit++;
    }
    (void)snprintf(out, bytes, unit == 0 ? "%.0f %s" : "%.1f %s", value, units[unit]);
}

/* "12.3 M", "-" when unknown. */
static void put_count(double value, char *out, size_t bytes) {
    static const char *const units[] = { "", " k", " M", " G", " T" };
    size_t unit = 0;
    if (isnan(value)) {
        (void)snprintf(out, bytes, "-");
        return;
    }
    while (fabs(value) >= 10000 && unit + 1 < HK_COUNT(units)) {
        value /= 1000;
        unit++;
    }
    (void)snprintf(out, bytes, unit == 0 ? "%.0f%s" : "%.1f%s", value, units[unit]);
}

/* "[||||      ]  40%" in 20 columns of bar. */
static void put_bar(double part, char *out, size_t bytes) {
    enum { WIDTH = 20 };
    char bar[WIDTH + 1];
    if (isnan(part)) {
        (void)snprintf(out, bytes, "[%*s]    -", (int)WIDTH, "");
        return;
    }
    part = part < 0 ? 0 : part > 1 ? 1 : part;
    for (int i = 0; i < WIDTH; i++)
        bar[i] = i < (int)(part * WIDTH + 0.5) ? '|' : ' ';
    bar[WIDTH] = 0;
    (void)snprintf(out, bytes, "[%s] %3.0f%%", bar, part * 100);
}

struct frame {
    struct hk_buf *out;
    unsigned columns, rows, used;
};

/* One line, cut at the width of the terminal; none when the frame is full. */
static void line(struct frame *frame, const char *text) {
    struct hk_str rest = hk_str_from(text);
    if (frame->used == frame->rows) return;
    frame->used++;
    while (hk_text_width(rest) > frame->columns)
        rest.len--;
    hk_text_clean(rest, frame->out);
    hk_buf_char(frame->out, '\n');
}

static void put_host(struct frame *frame, const struct hk_top_sample *sample) {
    const double *figures = sample->figures;
    char text[256];
    char bar[40];
    char part[2][32];
    char loads[3][16];
    for (int i = 0; i < 3; i++) {
        (void)snprintf(loads[i], sizeof(loads[i]), "%.2f", figures[HK_TOP_LOAD1 + i]);
        if (isnan(figures[HK_TOP_LOAD1 + i])) (void)snprintf(loads[i], sizeof(loads[i]), "-");
    }
    put_bar(figures[HK_TOP_CPU], bar, sizeof(bar));
    double iowait = figures[HK_TOP_IOWAIT];
    (void)snprintf(
        text, sizeof(text), "cpu     %s   iowait %3.0f%%   load %s %s %s", bar,
        isnan(iowait) ? 0 : iowait * 100, loads[0], loads[1], loads[2]);
    line(frame, text);
    double total = figures[HK_TOP_MEMORY_TOTAL];
    double used = total - figures[HK_TOP_MEMORY_FREE];
    put_bar(used / total, bar, sizeof(bar));
    put_bytes(used, part[0], sizeof(part[0]));
    put_bytes(total, part[1], sizeof(part[1]));
    (void)snprintf(text, sizeof(text), "memory  %s   %s of %s", bar, part[0], part[1]);
    line(frame, text);
    put_bar(figures[HK_TOP_ROOT_USED], bar, sizeof(bar));
    put_bytes(figures[HK_TOP_DISK_READ], part[0], sizeof(part[0]));
    put_bytes(figures[HK_TOP_DISK_WRITE], part[1], sizeof(part[1]));
    (void)snprintf(
        text, sizeof(text), "disk /  %s   read %s/s   write %s/s", bar, part[0], part[1]);
    line(frame, text);
    put_bytes(figures[HK_TOP_NET_IN], part[0], sizeof(part[0]));
    put_bytes(figures[HK_TOP_NET_OUT], part[1], sizeof(part[1]));
    (void)snprintf(text, sizeof(text), "network in %s/s   out %s/s", part[0], part[1]);
    line(frame, text);
}

/* The account of the same name one frame ago. */
static const struct hk_top_account *
find_account(const struct hk_top_sample *before, const char *name) {
    for (uint32_t i = 0; before != NULL && i < before->account_count; i++) {
        if (strcmp(before->accounts[i].name, name) == 0) return &before->accounts[i];
    }
    return NULL;
}

static void put_ledger(
    struct frame *frame, const struct hk_top_sample *sample, const struct hk_top_sample *before) {
    char text[256];
    if (sample->account_count == 0) {
        line(frame, "Nothing was received yet.");
        return;
    }
    (void)snprintf(
        text, sizeof(text), "%-32s %10s %10s %10s %10s %9s", "RECEIVER", "PER SECOND", "RECEIVED",
        "STORED", "DROPPED", "IN FLIGHT");
    line(frame, text);
    for (uint32_t i = 0; i < sample->account_count; i++) {
        const struct hk_top_account *account = &sample->accounts[i];
        const struct hk_top_account *old = find_account(before, account->name);
        double rate = (double)NAN;
        if (old != NULL && sample->stamp_ms > before->stamp_ms) {
            double elapsed_s = (double)(sample->stamp_ms - before->stamp_ms) / 1000;
            rate = (account->received - old->received) / elapsed_s;
        }
        char cells[5][32];
        put_count(rate, cells[0], sizeof(cells[0]));
        put_count(account->received, cells[1], sizeof(cells[1]));
        put_count(account->stored, cells[2], sizeof(cells[2]));
        put_count(account->dropped, cells[3], sizeof(cells[3]));
        put_count(account->in_flight, cells[4], sizeof(cells[4]));
        (void)snprintf(
            text, sizeof(text), "%-32s %10s %10s %10s %10s %9s", account->name, cells[0], cells[1],
            cells[2], cells[3], cells[4]);
        line(frame, text);
    }
}

void hk_top_frame(
    const struct hk_top_sample *sample, const struct hk_top_sample *before, const char *server,
    unsigned columns, unsigned rows, struct hk_buf *out) {
    struct frame frame = { out, columns, rows, 0 };
    char text[640];
    char stamp[HK_TIME_BYTES_MAX];
    char firing[32];
    char pending[32];
    int len = (int)hk_format_time_ms(sample->stamp_ms, stamp);
    put_count(sample->alerts_firing, firing, sizeof(firing));
    put_count(sample->alerts_pending, pending, sizeof(pending));
    (void)snprintf(
        text, sizeof(text), "hark top  %.*s  %s  alerts: %s firing, %s pending", len, stamp, server,
        firing, pending);
    line(&frame, text);
    line(&frame, "");
    put_host(&frame, sample);
    line(&frame, "");
    put_ledger(&frame, sample, before);
}
