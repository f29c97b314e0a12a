/* Collectors: cpu, stat, loadavg, pressure. Sources: proc(5), Documentation/accounting/psi.rst. */
#include "ingest/host_internal.h"

/* Columns of a cpu line in /proc/stat; guest time is contained in user and nice. */
enum { USER, NICE, SYSTEM, IDLE, IOWAIT, IRQ, SOFTIRQ, STEAL, GUEST, GUEST_NICE };

static const struct {
    uint8_t column;
    struct hk_str text;
} modes[] = {
    { IDLE, HK_TEXT("\",mode=\"idle\"} ") },       { IOWAIT, HK_TEXT("\",mode=\"iowait\"} ") },
    { IRQ, HK_TEXT("\",mode=\"irq\"} ") },         { NICE, HK_TEXT("\",mode=\"nice\"} ") },
    { SOFTIRQ, HK_TEXT("\",mode=\"softirq\"} ") }, { STEAL, HK_TEXT("\",mode=\"steal\"} ") },
    { SYSTEM, HK_TEXT("\",mode=\"system\"} ") },   { USER, HK_TEXT("\",mode=\"user\"} ") },
};

static const struct {
    uint8_t column;
    struct hk_str text;
} guest_modes[] = {
    { GUEST_NICE, HK_TEXT("\",mode=\"nice\"} ") },
    { GUEST, HK_TEXT("\",mode=\"user\"} ") },
};

/*
 * Idle and iowait may step back a little (proc(5)); counters must not, or rate() sees a reset. A
 * step of more than three seconds is a processor that came back: all its values are taken anew.
 */
static void
update_cpu(struct hk_host *host, struct hk_host_cpu *cpu, const struct hk_host_cpu *now) {
    uint64_t slack = 3 * host->ticks_per_second;
    bool anew = cpu->number != now->number || now->ticks[IDLE] + slack < cpu->ticks[IDLE];
    for (size_t i = 0; i < HK_HOST_CPU_MODES; i++) {
        if (anew || now->ticks[i] > cpu->ticks[i]) cpu->ticks[i] = now->ticks[i];
    }
    cpu->number = now->number;
}

/* "cpu12 1 2 3 …" into `now`; false for other lines, also for the sum over all "cpu". */
static bool parse_cpu_line(struct hk_str line, struct hk_host_cpu *now) {
    struct hk_str word;
    if (!hk_str_starts(line, HK_STR("cpu")) || !hk_next_word(&line, &word)) return false;
    struct hk_str digits = hk_str_part(word, 3, word.len);
    uint64_t number = 0;
    if (!hk_next_u64(&digits, &number) || number > UINT32_MAX) return false;
    *now = (struct hk_host_cpu){ .number = (uint32_t)number };
    for (size_t i = 0; i < HK_HOST_CPU_MODES; i++) {
        if (!hk_next_u64(&line, &now->ticks[i])) break;
        if (now->ticks[i] > UINT64_MAX / 2) now->ticks[i] = 0;
    }
    return true;
}

static void put_cpu(
    const struct hk_host *host, struct hk_buf *out, struct hk_str family,
    const struct hk_host_cpu *cpu, struct hk_str mode, uint8_t column) {
    hk_buf_str(out, family);
    hk_put_u64(out, cpu->number);
    hk_buf_str(out, mode);
    hk_put_ratio(out, cpu->ticks[column], host->ticks_per_second);
    hk_buf_char(out, '\n');
}

hk_err hk_host_parse_cpu(struct hk_host *host, struct hk_str text, struct hk_buf *out) {
    struct hk_str line;
    uint32_t count = 0;
    bool over = false;
    while (hk_next_line(&text, &line)) {
        struct hk_host_cpu now;
        if (!parse_cpu_line(line, &now)) continue;
        over = count == HK_HOST_CPUS_MAX;
        if (over) break;
        if (count >= host->cpu_count) host->cpus[count] = now;
        update_cpu(host, &host->cpus[count++], &now);
    }
    host->cpu_count = count;
    if (count == 0) return hk_fail(HK_E_MALFORMED, "/proc/stat: no cpu line");
    HK_FAMILY(
        out, "node_cpu_guest_seconds_total", "counter",
        "Seconds the CPUs spent in guests (VMs) for each mode.");
    for (uint32_t i = 0; i < count; i++) {
        for (size_t k = 0; k < HK_COUNT(guest_modes); k++) {
            put_cpu(
                host, out, HK_STR("node_cpu_guest_seconds_total{cpu=\""), &host->cpus[i],
                guest_modes[k].text, guest_modes[k].column);
        }
    }
    HK_FAMILY(out, "node_cpu_seconds_total", "counter", "Seconds the CPUs spent in each mode.");
    for (uint32_t i = 0; i < count; i++) {
        for (size_t k = 0; k < HK_COUNT(modes); k++) {
            put_cpu(
                host, out, HK_STR("node_cpu_seconds_total{cpu=\""), &host->cpus[i], modes[k].text,
                modes[k].column);
        }
    }
    return over ? hk_fail(HK_E_LIMIT, "more than %d processors", HK_HOST_CPUS_MAX) : HK_OK;
}

hk_err hk_collect_cpu(struct hk_host *host, struct hk_buf *out) {
    struct hk_str text;
    HK_TRY(hk_host_read(host, HK_HOST_FILE_STAT, &text));
    host->stat_text = text;
    return hk_host_parse_cpu(host, text, out);
}

static const struct {
    const char *key;
    struct hk_str head;
} stat_lines[] = {
    { "intr", HK_TEXT("# HELP node_intr_total Total number of interrupts serviced.\n"
                      "# TYPE node_intr_total counter\nnode_intr_total ") },
    { "ctxt", HK_TEXT("# HELP node_context_switches_total Total number of context switches.\n"
                      "# TYPE node_context_switches_total counter\nnode_context_switches_total ") },
    { "processes", HK_TEXT("# HELP node_forks_total Total number of forks.\n"
                           "# TYPE node_forks_total counter\nnode_forks_total ") },
    { "btime", HK_TEXT("# HELP node_boot_time_seconds Node boot time, in unixtime.\n"
                       "# TYPE node_boot_time_seconds gauge\nnode_boot_time_seconds ") },
    { "procs_running", HK_TEXT("# HELP node_procs_running Number of processes in runnable state.\n"
                               "# TYPE node_procs_running gauge\nnode_procs_running ") },
    { "procs_blocked",
      HK_TEXT("# HELP node_procs_blocked Number of processes blocked waiting for I/O to complete.\n"
              "# TYPE node_procs_blocked gauge\nnode_procs_blocked ") },
};

hk_err hk_host_parse_stat(struct hk_host *host, struct hk_str text, struct hk_buf *out) {
    struct hk_str line;
    unsigned seen = 0;
    while (hk_next_line(&text, &line)) {
        struct hk_str key;
        uint64_t value = 0;
        if (!hk_next_word(&line, &key) || !hk_next_u64(&line, &value)) continue;
        for (size_t i = 0; i < HK_COUNT(stat_lines); i++) {
            if ((seen & 1U << i) != 0 || !hk_str_is(key, stat_lines[i].key)) continue;
            hk_buf_str(out, stat_lines[i].head);
            hk_put_u64(out, value);
            hk_buf_char(out, '\n');
            seen |= 1U << i;
            if (hk_str_is(key, "btime")) host->boot_time_s = value;
        }
    }
    return seen == 0 ? hk_fail(HK_E_MALFORMED, "/proc/stat: no known line") : HK_OK;
}

hk_err hk_collect_stat(struct hk_host *host, struct hk_buf *out) {
    /* The cpu collector has just read the same file into the same buffer. */
    struct hk_str text = host->stat_text;
    host->stat_text = (struct hk_str){ NULL, 0 };
    if (text.len == 0) HK_TRY(hk_host_read(host, HK_HOST_FILE_STAT, &text));
    return hk_host_parse_stat(host, text, out);
}

static const struct hk_str loads[] = {
    HK_TEXT("# HELP node_load1 1m load average.\n# TYPE node_load1 gauge\nnode_load1 "),
    HK_TEXT("# HELP node_load5 5m load average.\n# TYPE node_load5 gauge\nnode_load5 "),
    HK_TEXT("# HELP node_load15 15m load average.\n# TYPE node_load15 gauge\nnode_load15 "),
};

hk_err hk_host_parse_loadavg(struct hk_str text, struct hk_buf *out) {
    for (size_t i = 0; i < HK_COUNT(loads); i++) {
        struct hk_str word;
        double value = 0;
        if (!hk_next_word(&text, &word) || hk_parse_double(word, &value) < 0) {
            return hk_fail(HK_E_MALFORMED, "/proc/loadavg: not three numbers");
        }
        hk_buf_str(out, loads[i]);
        hk_buf_double(out, value);
        hk_buf_char(out, '\n');
    }
    return HK_OK;
}

hk_err hk_collect_loadavg(struct hk_host *host, struct hk_buf *out) {
    struct hk_str text;
    HK_TRY(hk_host_read(host, HK_HOST_FILE_LOADAVG, &text));
    return hk_host_parse_loadavg(text, out);
}

bool hk_host_parse_pressure(struct hk_str text, const char *kind, uint64_t *out_us) {
    struct hk_str line;
    while (hk_next_line(&text, &line)) {
        struct hk_str word;
        if (!hk_next_word(&line, &word) || !hk_str_is(word, kind)) continue;
        while (hk_next_word(&line, &word)) {
            if (!hk_str_starts(word, HK_STR("total="))) continue;
            struct hk_str digits = hk_str_part(word, 6, word.len);
            return hk_next_u64(&digits, out_us);
        }
    }
    return false;
}

static const struct {
    enum hk_host_file file;
    bool optional;
    const char *kind;
    struct hk_str head;
} pressures[] = {
    { HK_HOST_FILE_PRESSURE_CPU, false, "some",
      HK_TEXT("# HELP node_pressure_cpu_waiting_seconds_total Total time in seconds that processes "
              "have waited for CPU time\n"
              "# TYPE node_pressure_cpu_waiting_seconds_total counter\n"
              "node_pressure_cpu_waiting_seconds_total ") },
    { HK_HOST_FILE_PRESSURE_IO, false, "some",
      HK_TEXT("# HELP node_pressure_io_waiting_seconds_total Total time in seconds that processes "
              "have waited due to IO congestion\n"
              "# TYPE node_pressure_io_waiting_seconds_total counter\n"
              "node_pressure_io_waiting_seconds_total ") },
    { HK_HOST_FILE_PRESSURE_IO, false, "full",
      HK_TEXT(
          "# HELP node_pressure_io_stalled_seconds_total Total time in seconds no process could "
          "make progress due to IO congestion\n"
          "# TYPE node_pressure_io_stalled_seconds_total counter\n"
          "node_pressure_io_stalled_seconds_total ") },
    { HK_HOST_FILE_PRESSURE_MEMORY, false, "some",
      HK_TEXT("# HELP node_pressure_memory_waiting_seconds_total Total time in seconds that "
              "processes have waited for memory\n"
              "# TYPE node_pressure_memory_waiting_seconds_total counter\n"
              "node_pressure_memory_waiting_seconds_total ") },
    { HK_HOST_FILE_PRESSURE_MEMORY, false, "full",
      HK_TEXT("# HELP node_pressure_memory_stalled_seconds_total Total time in seconds no process "
              "could make progress due to memory congestion\n"
              "# TYPE node_pressure_memory_stalled_seconds_total counter\n"
              "node_pressure_memory_stalled_seconds_total ") },
    { HK_HOST_FILE_PRESSURE_IRQ, true, "full",
      HK_TEXT(
          "# HELP node_pressure_irq_stalled_seconds_total Total time in seconds no process could "
          "make progress due to IRQ congestion\n"
          "# TYPE node_pressure_irq_stalled_seconds_total counter\n"
          "node_pressure_irq_stalled_seconds_total ") },
};

hk_err hk_collect_pressure(struct hk_host *host, struct hk_buf *out) {
    for (size_t i = 0; i < HK_COUNT(pressures); i++) {
        struct hk_str text;
        uint64_t total_us = 0;
        hk_err err = hk_host_read(host, pressures[i].file, &text);
        if (err < 0 && pressures[i].optional) continue;
        HK_TRY(err);
        if (!hk_host_parse_pressure(text, pressures[i].kind, &total_us)) continue;
        hk_buf_str(out, pressures[i].head);
        hk_put_fixed(out, total_us, 6);
        hk_buf_char(out, '\n');
    }
    return HK_OK;
}
