/* Collectors: meminfo, vmstat. Source: proc(5). */
#include "ingest/host_internal.h"

enum { NAME_BYTES_MAX = 96 };

/* "Active(anon)" → "Active_anon"; other bytes that no metric name may have become '_'. */
static size_t metric_name(struct hk_str key, char *to) {
    size_t len = 0;
    for (size_t i = 0; i < key.len && len < NAME_BYTES_MAX; i++) {
        char c = key.ptr[i];
        if (c == ')' && i + 1 == key.len) break;
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
        to[len++] = letter || (c >= '0' && c <= '9') ? c : '_';
    }
    return len;
}

hk_err hk_host_parse_meminfo(struct hk_str text, struct hk_buf *out) {
    struct hk_str line;
    uint32_t count = 0;
    while (hk_next_line(&text, &line) && count < 512) {
        size_t colon = hk_str_find(line, ':', 0);
        if (colon == 0 || colon == line.len) continue;
        struct hk_str rest = hk_str_part(line, colon + 1, line.len);
        uint64_t value = 0;
        if (!hk_next_u64(&rest, &value)) continue;
        struct hk_str unit;
        bool kib = hk_next_word(&rest, &unit) && hk_str_is(unit, "kB");
        if (kib && __builtin_mul_overflow(value, (uint64_t)1024, &value)) continue;
        char name[NAME_BYTES_MAX];
        size_t len = metric_name(hk_str_part(line, 0, colon), name);
        struct hk_str suffix = kib ? HK_STR("_bytes") : HK_STR("");
        HK_PUT(out, "# HELP node_memory_");
        hk_buf_bytes(out, name, len);
        hk_buf_str(out, suffix);
        HK_PUT(out, " Memory information field ");
        hk_buf_bytes(out, name, len);
        hk_buf_str(out, suffix);
        HK_PUT(out, ".\n# TYPE node_memory_");
        hk_buf_bytes(out, name, len);
        hk_buf_str(out, suffix);
        HK_PUT(out, " gauge\nnode_memory_");
        hk_buf_bytes(out, name, len);
        hk_buf_str(out, suffix);
        hk_buf_char(out, ' ');
        hk_put_u64(out, value);
        hk_buf_char(out, '\n');
        count++;
    }
    return count == 0 ? hk_fail(HK_E_MALFORMED, "/proc/meminfo: no known line") : HK_OK;
}

hk_err hk_collect_meminfo(struct hk_host *host, struct hk_buf *out) {
    struct hk_str text;
    HK_TRY(hk_host_read(host, HK_HOST_FILE_MEMINFO, &text));
    return hk_host_parse_meminfo(text, out);
}

/* node_exporter's default: ^(oom_kill|pgpg|pswp|pg.*fault).* */
static bool vmstat_wanted(struct hk_str key) {
    if (hk_str_starts(key, HK_STR("oom_kill")) || hk_str_starts(key, HK_STR("pgpg")) ||
        hk_str_starts(key, HK_STR("pswp"))) {
        return true;
    }
    return hk_str_starts(key, HK_STR("pg")) && memmem(key.ptr, key.len, "fault", 5) != NULL;
}

hk_err hk_host_parse_vmstat(struct hk_str text, struct hk_buf *out) {
    struct hk_str line;
    uint32_t count = 0;
    while (hk_next_line(&text, &line) && count < 512) {
        struct hk_str key;
        uint64_t value = 0;
        if (line.len == 0 || (line.ptr[0] != 'o' && line.ptr[0] != 'p')) continue;
        if (!hk_next_word(&line, &key) || !vmstat_wanted(key)) continue;
        if (!hk_name_is_classic(key, false) || !hk_next_u64(&line, &value)) continue;
        HK_PUT(out, "# HELP node_vmstat_");
        hk_buf_str(out, key);
        HK_PUT(out, " /proc/vmstat information field ");
        hk_buf_str(out, key);
        HK_PUT(out, ".\n# TYPE node_vmstat_");
        hk_buf_str(out, key);
        HK_PUT(out, " untyped\nnode_vmstat_");
        hk_buf_str(out, key);
        hk_buf_char(out, ' ');
        hk_put_u64(out, value);
        hk_buf_char(out, '\n');
        count++;
    }
    return count == 0 ? hk_fail(HK_E_MALFORMED, "/proc/vmstat: no known line") : HK_OK;
}

hk_err hk_collect_vmstat(struct hk_host *host, struct hk_buf *out) {
    struct hk_str text;
    HK_TRY(hk_host_read(host, HK_HOST_FILE_VMSTAT, &text));
    return hk_host_parse_vmstat(text, out);
}
