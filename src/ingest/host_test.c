/*
 * Goal: from a fixture tree every collector writes the names, labels and values that node_exporter
 * would; on the running host every collector of a common kernel works; nothing disturbs the rest.
 */
#include "hk_test.h"
#include "ingest/host.h"
#include "ingest/host_internal.h"

static const char proc_root[] = "tests/golden/host/proc";
static const char sys_root[] = "tests/golden/host/sys";
static const char expected_path[] = "tests/golden/host/expected.txt";

/* What differs from host to host and from run to run. */
static const char *const volatile_families[] = {
    "node_filesystem_size",  "node_filesystem_free",
    "node_filesystem_avail", "node_filesystem_files",
    "node_uname_info",       "node_time_seconds",
    "node_time_zone",        "node_scrape_collector_duration",
    "process_max_fds",       "process_virtual_memory_max",
};

static bool is_volatile(struct hk_str line) {
    for (size_t i = 0; i < HK_COUNT(volatile_families); i++) {
        if (memmem(line.ptr, line.len, volatile_families[i], strlen(volatile_families[i])) != NULL)
            return true;
    }
    return false;
}

static void read_expected(struct hk_buf *out) {
    FILE *file = fopen(expected_path, "rb");
    CHECK(file != NULL);
    if (file == NULL) return;
    char part[4096];
    size_t got = 0;
    while ((got = fread(part, 1, sizeof(part), file)) > 0)
        hk_buf_bytes(out, part, got);
    (void)fclose(file);
}

static void write_expected(const struct hk_buf *stable) {
    FILE *file = fopen(expected_path, "wb");
    if (file == NULL) return;
    (void)fwrite(stable->ptr, 1, stable->len, file);
    (void)fclose(file);
}

/* HK_UPDATE=1 rewrites the expected text; the difference is for review. */
TEST(fixture) {
    struct hk_host *host = NULL;
    struct hk_host_options options = { .proc_root = proc_root, .sys_root = sys_root };
    CHECK_INT(hk_host_create(&options, &host), HK_OK);
    struct hk_buf out;
    struct hk_buf stable;
    struct hk_buf expected;
    hk_buf_init(&out, 1 << 20);
    hk_buf_init(&stable, 1 << 20);
    hk_buf_init(&expected, 1 << 20);
    host->page_bytes = 4096;
    host->ticks_per_second = 100;
    CHECK_INT(hk_host_render(host, &out), HK_OK);
    struct hk_str rest = hk_buf_get(&out);
    struct hk_str line;
    while (hk_next_line(&rest, &line)) {
        if (is_volatile(line)) continue;
        hk_buf_str(&stable, line);
        hk_buf_char(&stable, '\n');
    }
    if (getenv("HK_UPDATE") != NULL) write_expected(&stable);
    read_expected(&expected);
    CHECK_STR(hk_buf_get(&stable), hk_buf_get(&expected));
    hk_buf_deinit(&out);
    hk_buf_deinit(&stable);
    hk_buf_deinit(&expected);
    hk_host_destroy(host);
}

static bool contains(const struct hk_buf *text, const char *part) {
    return text->len > 0 && memmem(text->ptr, text->len, part, strlen(part)) != NULL;
}

/* Every line is a comment or "name[{labels}] number", every sample follows its TYPE line. */
static void check_form(const struct hk_buf *text) {
    struct hk_str rest = hk_buf_get(text);
    struct hk_str line;
    struct hk_str family = HK_STR("");
    while (hk_next_line(&rest, &line)) {
        if (hk_str_starts(line, HK_STR("# TYPE "))) {
            family = hk_str_part(line, 7, hk_str_find(line, ' ', 7));
        } else if (!hk_str_starts(line, HK_STR("# HELP "))) {
            size_t space = line.len;
            while (space > 0 && line.ptr[space - 1] != ' ')
                space--;
            double value = 0;
            CHECK_INT(hk_parse_double(hk_str_part(line, space, line.len), &value), HK_OK);
            CHECK(hk_str_starts(line, family));
            CHECK(line.len > family.len && strchr("{ ", line.ptr[family.len]) != NULL);
        }
    }
}

TEST(live) {
    static const char *const present[] = {
        "\nnode_cpu_seconds_total{cpu=\"0\",mode=\"idle\"} ",
        "\nnode_load1 ",
        "\nnode_boot_time_seconds 1",
        "\nnode_memory_MemTotal_bytes ",
        "\nnode_vmstat_pgfault ",
        "\nnode_network_receive_bytes_total{device=\"lo\"} ",
        "\nnode_uname_info{",
        "\nnode_time_seconds 1",
        "\nnode_filefd_allocated ",
        "\nnode_processes_state{state=\"",
        "\nprocess_open_fds ",
        "\nprocess_resident_memory_bytes ",
        "\nprocess_start_time_seconds 1",
        "\nnode_scrape_collector_success{collector=\"cpu\"} 1\n",
        "\nnode_scrape_collector_success{collector=\"process\"} 1\n",
    };
    struct hk_host *host = NULL;
    struct hk_buf out;
    hk_buf_init(&out, 16 << 20);
    CHECK_INT(hk_host_create(&(struct hk_host_options){ 0 }, &host), HK_OK);
    for (int round = 0; round < 3; round++) {
        hk_buf_clear(&out);
        CHECK_INT(hk_host_body(host, &out), HK_OK);
        for (size_t i = 0; i < HK_COUNT(present); i++)
            CHECK(contains(&out, present[i]));
        check_form(&out);
    }
    /* Steady rounds allocate nothing. */
    hk_buf_clear(&out);
    hk_mem_fail_at(1);
    CHECK_INT(hk_host_render(host, &out), HK_OK);
    CHECK(!hk_mem_failed());
    hk_mem_fail_at(0);
    hk_buf_deinit(&out);
    hk_host_destroy(host);
}

/* Roots that do not exist: all file collectors fail, each says so, and the round goes on. */
TEST(nothing_there) {
    struct hk_host *host = NULL;
    struct hk_host_options options = { .proc_root = "/nonexistent/proc",
                                       .sys_root = "/nonexistent" };
    struct hk_buf out;
    hk_buf_init(&out, 1 << 20);
    CHECK_INT(hk_host_create(&options, &host), HK_OK);
    CHECK_INT(hk_host_render(host, &out), HK_OK);
    CHECK(contains(&out, "node_scrape_collector_success{collector=\"cpu\"} 0\n"));
    CHECK(contains(&out, "node_scrape_collector_success{collector=\"cgroup\"} 0\n"));
    CHECK(contains(&out, "node_scrape_collector_success{collector=\"time\"} 1\n"));
    CHECK(!contains(&out, "node_cpu_seconds_total"));
    check_form(&out);
    hk_buf_deinit(&out);
    hk_host_destroy(host);
}

static hk_err create_and_render(void) {
    struct hk_host *host = NULL;
    struct hk_host_options options = { .proc_root = proc_root, .sys_root = sys_root };
    struct hk_buf out;
    hk_buf_init(&out, 1 << 20);
    hk_err err = hk_host_create(&options, &host);
    if (err == HK_OK) err = hk_host_render(host, &out);
    hk_buf_deinit(&out);
    hk_host_destroy(host);
    return err;
}

TEST(out_of_memory) {
    SWEEP_ALLOC(create_and_render());
}

/* Idle time may step back in the kernel's file; the counter must not. */
TEST(idle_is_monotonic) {
    struct hk_host *host = NULL;
    struct hk_buf out;
    hk_buf_init(&out, 1 << 16);
    CHECK_INT(hk_host_create(&(struct hk_host_options){ 0 }, &host), HK_OK);
    host->ticks_per_second = 100;
    CHECK_INT(hk_host_parse_cpu(host, HK_STR("cpu0 10 0 0 1000 5\n"), &out), HK_OK);
    CHECK_INT(hk_host_parse_cpu(host, HK_STR("cpu0 11 0 0 999 4\n"), &out), HK_OK);
    CHECK_INT(host->cpus[0].ticks[3], 1000);
    CHECK_INT(host->cpus[0].ticks[0], 11);
    CHECK_INT(hk_host_parse_cpu(host, HK_STR("cpu0 1 0 0 10 0\n"), &out), HK_OK);
    CHECK_INT(host->cpus[0].ticks[3], 10);
    CHECK_INT(host->cpus[0].ticks[0], 1);
    CHECK_INT(hk_host_parse_cpu(host, HK_STR("cpu  1 2 3 4\n"), &out), HK_E_MALFORMED);
    hk_buf_deinit(&out);
    hk_host_destroy(host);
}

TEST(numbers) {
    static const struct {
        uint64_t value;
        uint32_t digits;
        const char *text;
    } cases[] = {
        { 0, 2, "0" },   { 5, 2, "0.05" },           { 147151, 2, "1471.51" },
        { 100, 2, "1" }, { 1000001, 6, "1.000001" }, { 7, 0, "7" },
    };
    struct hk_buf out;
    hk_buf_init(&out, 4096);
    for (size_t i = 0; i < HK_COUNT(cases); i++) {
        hk_buf_clear(&out);
        hk_put_fixed(&out, cases[i].value, cases[i].digits);
        CHECK_STR(hk_buf_get(&out), hk_str_from(cases[i].text));
    }
    hk_buf_clear(&out);
    hk_put_i64(&out, INT64_MIN);
    hk_buf_char(&out, ' ');
    hk_put_ratio(&out, 512, 1024);
    hk_buf_char(&out, ' ');
    hk_put_label(&out, HK_STR("a\"b\\c\nd"));
    hk_put_label(&out, HK_STR("\xff"));
    CHECK_STR(hk_buf_get(&out), HK_STR("-9223372036854775808 0.5 a\\\"b\\\\c\\nd?"));
    hk_buf_deinit(&out);
}

HK_TEST_MAIN()
