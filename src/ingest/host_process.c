/*
 * Collectors: processes (all of the host, by state), cgroup (our own, version 2), process
 * (ourselves). Sources: proc(5), Documentation/admin-guide/cgroup-v2.rst.
 */
#include "ingest/host_internal.h"
#include "os/file.h"
#include "os/host.h"

#include <stdio.h>

enum {
    PROCESSES_PER_ROUND = 128,      /* once a first pass is complete */
    PROCESSES_FIRST_ROUND = 100000, /* bound of the first pass */
};

/* Fields of /proc/<pid>/stat behind the name in parentheses, from 0 = state. */
enum {
    FIELD_UTIME = 11,
    FIELD_STIME = 12,
    FIELD_THREADS = 17,
    FIELD_START = 19,
    FIELD_VSIZE = 20,
    FIELD_RSS = 21
};

/* The text behind the last ')': the name before it may contain anything. */
static struct hk_str behind_name(struct hk_str text) {
    size_t at = text.len;
    while (at > 0 && text.ptr[at - 1] != ')')
        at--;
    return hk_str_part(text, at, text.len);
}

static void skip_words(struct hk_str *line, uint32_t count) {
    struct hk_str word;
    for (uint32_t i = 0; i < count; i++) {
        if (!hk_next_word(line, &word)) return;
    }
}

void hk_host_count_process(struct hk_str text, struct hk_host_processes *into) {
    struct hk_str rest = behind_name(text);
    struct hk_str state;
    uint64_t threads = 0;
    if (rest.len == text.len && text.len > 0 && text.ptr[0] == ')') return;
    if (!hk_next_word(&rest, &state)) return;
    skip_words(&rest, FIELD_THREADS - 1);
    if (!hk_next_u64(&rest, &threads)) return;
    bool letter = (state.ptr[0] >= 'A' && state.ptr[0] <= 'Z') ||
                  (state.ptr[0] >= 'a' && state.ptr[0] <= 'z');
    if (!letter) return;
    into->states[(unsigned char)state.ptr[0]]++;
    into->pids++;
    (void)__builtin_add_overflow(into->threads, threads, &into->threads);
}

static bool is_pid(const char *name) {
    size_t len = strlen(name);
    for (size_t i = 0; i < len; i++) {
        if (name[i] < '0' || name[i] > '9') return false;
    }
    return len > 0 && len < 20;
}

static void count_pid(struct hk_host *host, const char *name) {
    char path[40];
    char text[1024];
    (void)snprintf(path, sizeof(path), "%s/stat", name);
    int fd = hk_file_open_at(host->processes_fd, path);
    if (fd < 0) return; /* it has just ended */
    int64_t got = hk_file_read_once(fd, text, sizeof(text));
    hk_file_close(fd);
    if (got > 0) hk_host_count_process((struct hk_str){ text, (size_t)got }, &host->pass);
}

/* Continues the pass by at most `budget` processes; HK_END when the directory is through. */
static hk_err walk_processes(struct hk_host *host, uint32_t budget) {
    while (budget > 0) {
        const char *name = hk_dir_next(host->entries, host->entries_bytes, &host->entries_at);
        if (name == NULL) {
            int64_t got = hk_dir_read(host->processes_fd, host->entries, sizeof(host->entries));
            if (got < 0) return HK_E_IO;
            host->entries_bytes = (size_t)got;
            host->entries_at = 0;
            if (got == 0) return HK_END;
            continue;
        }
        if (!is_pid(name)) continue;
        count_pid(host, name);
        budget--;
    }
    return HK_OK;
}

static hk_err open_processes(struct hk_host *host) {
    if (host->processes_fd >= 0) return HK_OK;
    int fd = hk_dir_open(host->proc_root);
    if (fd < 0) return hk_fail(HK_E_IO, "%s: %s", host->proc_root, strerror(-fd));
    host->processes_fd = fd;
    return HK_OK;
}

static hk_err end_pass(struct hk_host *host) {
    host->processes = host->pass;
    host->processes_known = true;
    host->pass = (struct hk_host_processes){ 0 };
    host->entries_bytes = 0;
    host->entries_at = 0;
    return hk_dir_rewind(host->processes_fd) < 0 ? HK_E_IO : HK_OK;
}

static void put_processes(const struct hk_host_processes *counted, struct hk_buf *out) {
    HK_SINGLE(out, "node_processes_pids", "gauge", "Number of PIDs", counted->pids);
    HK_SINGLE(
        out, "node_processes_threads", "gauge", "Allocated threads in system", counted->threads);
    HK_FAMILY(out, "node_processes_state", "gauge", "Number of processes in each state.");
    for (size_t i = 0; i < HK_COUNT(counted->states); i++) {
        if (counted->states[i] == 0) continue;
        HK_PUT(out, "node_processes_state{state=\"");
        hk_buf_char(out, (char)i);
        HK_PUT(out, "\"} ");
        hk_put_u64(out, counted->states[i]);
        hk_buf_char(out, '\n');
    }
}

static bool read_number(struct hk_host *host, enum hk_host_file file, uint64_t *out) {
    struct hk_str text;
    if (hk_host_read(host, file, &text) < 0) return false;
    text = hk_str_trim(text);
    return hk_next_u64(&text, out);
}

/* A pass over many processes is spread over rounds; the values are those of the last whole one. */
hk_err hk_collect_processes(struct hk_host *host, struct hk_buf *out) {
    HK_TRY(open_processes(host));
    uint32_t budget = host->processes_known ? PROCESSES_PER_ROUND : PROCESSES_FIRST_ROUND;
    hk_err err = walk_processes(host, budget);
    if (err == HK_END) err = end_pass(host);
    if (err < 0) {
        hk_file_close(host->processes_fd);
        host->processes_fd = -1;
        host->entries_bytes = 0;
        return hk_fail(err, "%s: cannot be listed", host->proc_root);
    }
    if (host->processes_known) put_processes(&host->processes, out);
    uint64_t value = 0;
    if (read_number(host, HK_HOST_FILE_THREADS_MAX, &value)) {
        HK_SINGLE(
            out, "node_processes_max_threads", "gauge", "Limit of threads in the system", value);
    }
    if (read_number(host, HK_HOST_FILE_PID_MAX, &value)) {
        HK_SINGLE(out, "node_processes_max_processes", "gauge", "Number of max PIDs limit", value);
    }
    return HK_OK;
}

hk_err hk_host_parse_process(struct hk_host *host, struct hk_str text, struct hk_buf *out) {
    struct hk_str rest = behind_name(text);
    uint64_t fields[FIELD_RSS + 1] = { 0 };
    for (uint32_t i = 0; i <= FIELD_RSS; i++) {
        if (!hk_next_u64(&rest, &fields[i])) skip_words(&rest, 1);
    }
    uint64_t ticks = 0;
    if (fields[FIELD_VSIZE] == 0 ||
        __builtin_add_overflow(fields[FIELD_UTIME], fields[FIELD_STIME], &ticks)) {
        return hk_fail(HK_E_MALFORMED, "self/stat: too few fields");
    }
    HK_FAMILY(
        out, "process_cpu_seconds_total", "counter",
        "Total user and system CPU time spent in seconds.");
    HK_PUT(out, "process_cpu_seconds_total ");
    hk_put_ratio(out, ticks, host->ticks_per_second);
    hk_buf_char(out, '\n');
    HK_SINGLE(
        out, "process_resident_memory_bytes", "gauge", "Resident memory size in bytes.",
        fields[FIELD_RSS] * host->page_bytes);
    HK_SINGLE(
        out, "process_virtual_memory_bytes", "gauge", "Virtual memory size in bytes.",
        fields[FIELD_VSIZE]);
    uint64_t start = 0;
    if (host->boot_time_s == 0 ||
        __builtin_mul_overflow(host->boot_time_s, host->ticks_per_second, &start) ||
        __builtin_add_overflow(start, fields[FIELD_START], &start)) {
        return HK_OK;
    }
    HK_FAMILY(
        out, "process_start_time_seconds", "gauge",
        "Start time of the process since unix epoch in seconds.");
    HK_PUT(out, "process_start_time_seconds ");
    hk_put_ratio(out, start, host->ticks_per_second);
    hk_buf_char(out, '\n');
    return HK_OK;
}

/* Open descriptors: newer kernels tell the number as the directory's size, others are counted. */
static hk_err count_descriptors(const struct hk_host *host, uint64_t *out) {
    char path[HK_HOST_PATH_BYTES_MAX];
    (void)snprintf(path, sizeof(path), "%s/self/fd", host->proc_root);
    int fd = hk_dir_open(path);
    if (fd < 0) return HK_E_IO;
    uint64_t count = strcmp(host->proc_root, "/proc") == 0 ? hk_dir_size_hint(fd) : 0;
    char entries[4096];
    int64_t got = 0;
    bool known = count > 0;
    while (!known && (got = hk_dir_read(fd, entries, sizeof(entries))) > 0) {
        size_t at = 0;
        const char *name = NULL;
        while ((name = hk_dir_next(entries, (size_t)got, &at)) != NULL)
            count += is_pid(name);
    }
    hk_file_close(fd);
    *out = count > 0 ? count - 1 : 0; /* without the one that counted */
    return got < 0 ? HK_E_IO : HK_OK;
}

static void put_limit(struct hk_buf *out, uint64_t limit) {
    if (limit == UINT64_MAX)
        HK_PUT(out, "1.8446744073709552e+19");
    else
        hk_put_u64(out, limit);
    hk_buf_char(out, '\n');
}

hk_err hk_collect_process(struct hk_host *host, struct hk_buf *out) {
    struct hk_str text;
    HK_TRY(hk_host_read(host, HK_HOST_FILE_SELF_STAT, &text));
    HK_TRY(hk_host_parse_process(host, text, out));
    uint64_t count = 0;
    HK_TRY(count_descriptors(host, &count));
    HK_SINGLE(out, "process_open_fds", "gauge", "Number of open file descriptors.", count);
    uint64_t files = 0;
    uint64_t address_bytes = 0;
    hk_process_limits(&files, &address_bytes);
    HK_FAMILY(out, "process_max_fds", "gauge", "Maximum number of open file descriptors.");
    HK_PUT(out, "process_max_fds ");
    put_limit(out, files);
    HK_FAMILY(
        out, "process_virtual_memory_max_bytes", "gauge",
        "Maximum amount of virtual memory available in bytes.");
    HK_PUT(out, "process_virtual_memory_max_bytes ");
    put_limit(out, address_bytes);
    return HK_OK;
}
