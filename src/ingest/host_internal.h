/*
 * Inside of the host collectors: the state that lives over rounds, reading and scanning of /proc
 * and /sys files, and writing of the text form. Parsers take text and never trust it: a missing or
 * odd field is skipped, a count over a limit ends in HK_E_LIMIT.
 */
#ifndef HK_INGEST_HOST_INTERNAL_H
#define HK_INGEST_HOST_INTERNAL_H

#include "base/buf.h"
#include "ingest/host.h"
#include "model/labels.h"

enum {
    HK_HOST_PATH_BYTES_MAX = 1024,
    HK_HOST_ROOT_BYTES_MAX = 256,
    HK_HOST_READ_BYTES_MAX = 4 << 20, /* a /proc file longer than this is cut */
    HK_HOST_CPUS_MAX = 1024,
    HK_HOST_DISKS_MAX = 256,
    HK_HOST_MOUNTS_MAX = 256,
    HK_HOST_NETS_MAX = 256,
    HK_HOST_CPU_MODES = 10,
    HK_HOST_DISK_FIELDS = 17,
    HK_HOST_NET_FIELDS = 16,
    HK_HOST_NET_NUMBERS = 18, /* numeric attributes of /sys/class/net */
    HK_HOST_NET_TEXTS = 5,
};

/* Files that stay open over rounds; paths in host.c. */
enum hk_host_file {
    HK_HOST_FILE_STAT,
    HK_HOST_FILE_LOADAVG,
    HK_HOST_FILE_PRESSURE_CPU,
    HK_HOST_FILE_PRESSURE_IO,
    HK_HOST_FILE_PRESSURE_MEMORY,
    HK_HOST_FILE_PRESSURE_IRQ,
    HK_HOST_FILE_MEMINFO,
    HK_HOST_FILE_VMSTAT,
    HK_HOST_FILE_DISKSTATS,
    HK_HOST_FILE_MOUNTS,
    HK_HOST_FILE_MOUNTS_SELF,
    HK_HOST_FILE_NET_DEV,
    HK_HOST_FILE_NETSTAT,
    HK_HOST_FILE_SNMP,
    HK_HOST_FILE_SNMP6,
    HK_HOST_FILE_SOCKSTAT,
    HK_HOST_FILE_SOCKSTAT6,
    HK_HOST_FILE_FILE_NR,
    HK_HOST_FILE_ENTROPY_AVAILABLE,
    HK_HOST_FILE_ENTROPY_POOL,
    HK_HOST_FILE_THREADS_MAX,
    HK_HOST_FILE_PID_MAX,
    HK_HOST_FILE_SELF_STAT,
    HK_HOST_FILE_SELF_CGROUP,
    HK_HOST_FILE_CLOCKSOURCE,
    HK_HOST_FILE_CLOCKSOURCES,
    HK_HOST_FILE_COUNT,
};

struct hk_host_cpu {
    uint32_t number;
    uint64_t ticks[HK_HOST_CPU_MODES]; /* in the order of /proc/stat */
};

struct hk_host_disk {
    char name[64];
    uint32_t major, minor;
    uint32_t field_count;
    uint64_t fields[HK_HOST_DISK_FIELDS];
};

struct hk_host_mount {
    struct hk_str device, point, type; /* in the read buffer, unescaped */
    bool failed, read_only;
    uint64_t values[5]; /* size, free, avail, files, files_free */
};

struct hk_host_net {
    char name[64];
    uint64_t fields[HK_HOST_NET_FIELDS]; /* of /proc/net/dev */
    bool listed, attributes_known;
    uint32_t numbers_set; /* bit per attribute that could be read */
    int64_t numbers[HK_HOST_NET_NUMBERS];
    char texts[HK_HOST_NET_TEXTS][256];
};

/* Result of one pass over all processes, spread over rounds. */
struct hk_host_processes {
    uint64_t states[128]; /* by state letter */
    uint64_t threads, pids;
};

struct hk_host {
    char proc_root[HK_HOST_ROOT_BYTES_MAX + 1];
    char sys_root[HK_HOST_ROOT_BYTES_MAX + 1];
    uint64_t page_bytes, ticks_per_second;
    uint64_t boot_time_s; /* from /proc/stat, for the start of processes */
    int files[HK_HOST_FILE_COUNT];
    struct hk_buf text;      /* what was read last */
    struct hk_str stat_text; /* /proc/stat in `text`, from the cpu to the stat collector */

    struct hk_host_cpu *cpus;
    struct hk_host_disk *disks;
    struct hk_host_mount *mounts;
    struct hk_host_net *nets;
    uint32_t cpu_count, disk_count, mount_count, net_count;
    uint32_t mounts_skipped; /* remote file systems seen in this round */
    uint32_t net_cursor;     /* whose attributes are read next */

    int processes_fd; /* directory /proc, its position is part of the pass */
    bool processes_known;
    struct hk_host_processes pass, processes; /* being counted, complete */
    char entries[16384];
    size_t entries_bytes, entries_at;
};

/* Constant text of a family whose samples have the label "device". */
struct hk_host_family {
    struct hk_str head, sample;
};

#define HK_DEVICE_FAMILY(name, type, help)                                                         \
    {                                                                                              \
        { "# HELP " name " " help "\n# TYPE " name " " type "\n",                                  \
          sizeof("# HELP " name " " help "\n# TYPE " name " " type "\n") - 1 },                    \
        {                                                                                          \
            name "{device=\"", sizeof(name "{device=\"") - 1                                       \
        }                                                                                          \
    }

/* `name{device="…"} ` of one sample; the value follows. */
void hk_put_device(struct hk_buf *out, const struct hk_host_family *family, const char *device);

/* Initialiser of a static struct hk_str. */
#define HK_TEXT(literal)                                                                           \
    { "" literal, sizeof(literal) - 1 }

/* A literal appended without strlen. */
#define HK_PUT(out, literal) hk_buf_bytes(out, "" literal, sizeof(literal) - 1)

/* The two comment lines of a family, precomputed by the compiler. */
#define HK_FAMILY(out, name, type, help)                                                           \
    HK_PUT(out, "# HELP " name " " help "\n# TYPE " name " " type "\n")

/* A family of one sample without labels. */
#define HK_SINGLE(out, name, type, help, value)                                                    \
    do {                                                                                           \
        HK_PUT(out, "# HELP " name " " help "\n# TYPE " name " " type "\n" name " ");              \
        hk_put_u64(out, value);                                                                    \
        hk_buf_char(out, '\n');                                                                    \
    } while (0)

/* Decimal integers. */
void hk_put_u64(struct hk_buf *out, uint64_t value);
void hk_put_i64(struct hk_buf *out, int64_t value);

/* value / 10^digits with exactly that many decimals, e.g. ticks or ms as seconds. */
void hk_put_fixed(struct hk_buf *out, uint64_t value, uint32_t digits);

/* value / divisor: exact decimals for powers of ten, a double otherwise. */
void hk_put_ratio(struct hk_buf *out, uint64_t value, uint64_t divisor);

/* Label value with the escapes of the text format; bytes that are not UTF-8 become '?'. */
void hk_put_label(struct hk_buf *out, struct hk_str value);

/* Next line without its end, false at the end of the text; `rest` moves on. */
bool hk_next_line(struct hk_str *rest, struct hk_str *out);

/* Next run of characters other than space and tab, false if there is none. */
bool hk_next_word(struct hk_str *line, struct hk_str *out);

/* Next word as an unsigned number; false (and nothing taken) when it is none. */
bool hk_next_u64(struct hk_str *line, uint64_t *out);

/* Copies at most `bytes` - 1 bytes, NUL-terminated. False if it had to cut. */
bool hk_copy_name(char *to, size_t bytes, struct hk_str from);

/*
 * Reads a file that stays open into host->text and gives it, borrowed until the next read. A file
 * that is gone is opened anew. HK_E_IO with a text, HK_E_NOMEM.
 */
hk_err hk_host_read(struct hk_host *host, enum hk_host_file file, struct hk_str *out) HK_MUST_CHECK;

/* Reads a short file once, opened and closed, into `to`; the text without the line's end. */
hk_err
hk_host_read_path(const char *path, char *to, size_t bytes, struct hk_str *out) HK_MUST_CHECK;

/* Parsers, one per file: text in, lines out (or state in `host`). Fuzzed. */
hk_err hk_host_parse_stat(struct hk_host *host, struct hk_str text, struct hk_buf *out);
hk_err hk_host_parse_cpu(struct hk_host *host, struct hk_str text, struct hk_buf *out);
hk_err hk_host_parse_loadavg(struct hk_str text, struct hk_buf *out);
hk_err hk_host_parse_meminfo(struct hk_str text, struct hk_buf *out);
hk_err hk_host_parse_vmstat(struct hk_str text, struct hk_buf *out);
hk_err hk_host_parse_diskstats(struct hk_host *host, struct hk_str text, struct hk_buf *out);
/* Unescapes in place: `text` lies in memory that may be written. */
hk_err hk_host_parse_mounts(struct hk_host *host, struct hk_str text);
hk_err hk_host_parse_net_dev(struct hk_host *host, struct hk_str text);
hk_err hk_host_parse_netstat(struct hk_str text, struct hk_buf *out);
hk_err hk_host_parse_snmp6(struct hk_str text, struct hk_buf *out);
hk_err
hk_host_parse_sockstat(struct hk_host *host, struct hk_str text, bool v6, struct hk_buf *out);
hk_err hk_host_parse_process(struct hk_host *host, struct hk_str text, struct hk_buf *out);
/* State and threads of one /proc/<pid>/stat, counted into `into`. */
void hk_host_count_process(struct hk_str text, struct hk_host_processes *into);
hk_err hk_host_parse_io_stat(struct hk_str text, struct hk_buf *out);
hk_err hk_host_parse_cpu_stat(struct hk_str text, struct hk_buf *out);
/* Path of the own cgroup v2 in /proc/self/cgroup; HK_E_NOT_FOUND. */
hk_err hk_host_parse_cgroup(struct hk_str text, struct hk_str *out) HK_MUST_CHECK;
/* "total=" of the line that begins with `kind` ("some", "full") in a pressure file, in µs. */
bool hk_host_parse_pressure(struct hk_str text, const char *kind, uint64_t *out_us);

/* Collectors: read their files, append their lines. */
hk_err hk_collect_cpu(struct hk_host *host, struct hk_buf *out);
hk_err hk_collect_stat(struct hk_host *host, struct hk_buf *out);
hk_err hk_collect_loadavg(struct hk_host *host, struct hk_buf *out);
hk_err hk_collect_pressure(struct hk_host *host, struct hk_buf *out);
hk_err hk_collect_meminfo(struct hk_host *host, struct hk_buf *out);
hk_err hk_collect_vmstat(struct hk_host *host, struct hk_buf *out);
hk_err hk_collect_diskstats(struct hk_host *host, struct hk_buf *out);
hk_err hk_collect_filesystem(struct hk_host *host, struct hk_buf *out);
hk_err hk_collect_netdev(struct hk_host *host, struct hk_buf *out);
hk_err hk_collect_netclass(struct hk_host *host, struct hk_buf *out);
hk_err hk_collect_netstat(struct hk_host *host, struct hk_buf *out);
hk_err hk_collect_sockstat(struct hk_host *host, struct hk_buf *out);
hk_err hk_collect_uname(struct hk_host *host, struct hk_buf *out);
hk_err hk_collect_time(struct hk_host *host, struct hk_buf *out);
hk_err hk_collect_filefd(struct hk_host *host, struct hk_buf *out);
hk_err hk_collect_entropy(struct hk_host *host, struct hk_buf *out);
hk_err hk_collect_processes(struct hk_host *host, struct hk_buf *out);
hk_err hk_collect_cgroup(struct hk_host *host, struct hk_buf *out);
hk_err hk_collect_process(struct hk_host *host, struct hk_buf *out);

#endif
