/*
 * Goal: target groups are read from JSON, YAML and DNS answers exactly, errors name the place;
 * files that change, break, come and go are followed.
 */
#include "hk_test.h"
#include "ingest/discovery_internal.h"
#include "ingest/scrape_server_test.h"
#include "os/clock.h"
#include "os/file.h"

/* "target,target{name=value,…}" per group, joined by ' '. */
static struct hk_str
write_finding(const struct hk_discovery_finding *finding, struct hk_arena *arena) {
    struct hk_buf out;
    hk_buf_init(&out, 1 << 20);
    for (size_t i = 0; finding != NULL && i < finding->group_count; i++) {
        const struct hk_discovery_group *group = &finding->groups[i];
        if (i > 0) hk_buf_char(&out, ' ');
        for (uint32_t k = 0; k < group->target_count; k++) {
            if (k > 0) hk_buf_char(&out, ',');
            hk_buf_str(&out, hk_labels_get(group->targets[k], HK_STR("__address__")));
        }
        hk_buf_char(&out, '{');
        for (uint32_t k = 0; k < group->labels.count; k++) {
            if (k > 0) hk_buf_char(&out, ',');
            hk_buf_str(&out, group->labels.items[k].name);
            hk_buf_char(&out, '=');
            hk_buf_str(&out, group->labels.items[k].value);
        }
        hk_buf_char(&out, '}');
    }
    struct hk_str copy = hk_arena_str(arena, hk_buf_get(&out));
    hk_buf_deinit(&out);
    return copy;
}

struct text_row {
    const char *text;
    hk_err err;
    const char *want; /* groups, or part of the error */
};

static const struct text_row json_rows[] = {
    { "[]", HK_OK, "" },
    { " [ { } ] ", HK_OK, "{m=v}" },
    { "[{\"targets\":[\"a:1\",\"b:2\"],\"labels\":{\"x\":\"1\",\"e\":\"\"}}]", HK_OK,
      "a:1,b:2{m=v,x=1}" },
    { "[{\"labels\":null,\"targets\":null},{\"targets\":[]}]", HK_OK, "{m=v} {m=v}" },
    { "[{\"targets\":[\"\\u00e4\\ud83d\\ude00\\n\\/\\\"\"]}]", HK_OK,
      "\xc3\xa4\xf0\x9f\x98\x80\n/\"{m=v}" },
    { "[{\"targets\":[\"\\ud83d\\u0041\"]}]", HK_OK,
      "\xef\xbf\xbd"
      "A{m=v}" },
    { "[{\"labels\":{\"a\":\"1\",\"a\":\"2\"}}]", HK_OK, "{a=2,m=v}" },
    { "", HK_E_MALFORMED, "line 1, column 1: expected a list of target groups" },
    { "{}", HK_E_MALFORMED, "expected a list of target groups" },
    { "[{}", HK_E_MALFORMED, "expected ',' or ']'" },
    { "[null]", HK_E_MALFORMED, "expected a target group" },
    { "[{\"target\":[]}]", HK_E_MALFORMED, "unknown key" },
    { "[\n {\"targets\": \"a\"}]", HK_E_MALFORMED,
      "line 2, column 14: expected a list of targets" },
    { "[{\"targets\":[1]}]", HK_E_MALFORMED, "expected a string" },
    { "[{\"labels\":{\"a\":1}}]", HK_E_MALFORMED, "expected a string" },
    { "[{\"labels\":{\"\":\"x\"}}]", HK_E_MALFORMED, "not a valid label name" },
    { "[{\"labels\":{\"a\":\"\xff\"}}]", HK_E_MALFORMED, "UTF-8" },
    { "[{\"targets\":[\"a\x01\"]}]", HK_E_MALFORMED, "control character" },
    { "[{\"targets\":[\"\\x\"]}]", HK_E_MALFORMED, "unknown escape" },
    { "[{\"targets\":[\"\\u12", HK_E_MALFORMED, "hexadecimal" },
    { "[{\"targets\":[\"abc", HK_E_MALFORMED, "does not end" },
    { "[] x", HK_E_MALFORMED, "text behind the list" },
    { "[{\"targets\":[\"a\",]}]", HK_E_MALFORMED, "expected a string" },
};

static const struct text_row yaml_rows[] = {
    { "", HK_OK, "" },
    { "# nothing\n---\n", HK_OK, "" },
    { "[]", HK_OK, "" },
    { "- targets: ['a:1', b:2]\n  labels:\n    x: 1\n    e:\n", HK_OK, "a:1,b:2{m=v,x=1}" },
    { "- targets:\n  - a:1\n- labels: {y: \"z w\"}\n", HK_OK, "a:1{m=v} {m=v,y=z w}" },
    { "- targets: ~\n  labels: null\n", HK_OK, "{m=v}" },
    { "[{\"targets\": [\"a:1\"]}]", HK_OK, "a:1{m=v}" },
    { "x: y", HK_E_MALFORMED, "line 1, column 1: a mapping does not belong here" },
    { "- a", HK_E_MALFORMED, "a scalar does not belong here" },
    { "- targets: a", HK_E_MALFORMED, "a scalar does not belong here" },
    { "- target: [a]", HK_E_MALFORMED, "unknown key" },
    { "- targets: [[a]]", HK_E_MALFORMED, "a list does not belong here" },
    { "- labels: {a: {b: c}}", HK_E_MALFORMED, "a mapping does not belong here" },
    { "- targets: &x [a]\n- targets: *x\n", HK_E_MALFORMED, "aliases are not supported" },
    { "[]\n---\n[]\n", HK_E_MALFORMED, "more than one document" },
    { "- targets: [a\n", HK_E_MALFORMED, "YAML, line" },
    { "\t- a", HK_E_MALFORMED, "YAML, line" },
};

typedef hk_err (*parse_function)(
    struct hk_str text, struct hk_str meta_name, struct hk_str meta_value,
    struct hk_discovery_finding *out);

static void check_rows(parse_function parse, const struct text_row *rows, size_t count) {
    struct hk_arena arena;
    hk_arena_init(&arena, 16 << 20);
    for (size_t i = 0; i < count; i++) {
        struct hk_discovery_finding *finding = hk_discovery_finding_create();
        CHECK(finding != NULL);
        hk_err err = parse(hk_str_from(rows[i].text), HK_STR("m"), HK_STR("v"), finding);
        CHECK_INT(err, rows[i].err);
        if (err == HK_OK) {
            CHECK_STR(write_finding(finding, &arena), hk_str_from(rows[i].want));
        } else if (strstr(hk_fail_text(), rows[i].want) == NULL) {
            CHECK_TEXT(hk_fail_text(), rows[i].want);
        }
        hk_discovery_finding_unref(finding);
    }
    hk_arena_deinit(&arena);
}

TEST(json) {
    check_rows(hk_discovery_parse_json, json_rows, HK_COUNT(json_rows));
}

TEST(yaml) {
    check_rows(hk_discovery_parse_yaml, yaml_rows, HK_COUNT(yaml_rows));
}

static hk_err parse_and_free(void) {
    struct hk_discovery_finding *finding = hk_discovery_finding_create();
    if (finding == NULL) return HK_E_NOMEM;
    hk_err err =
        hk_discovery_parse_json(hk_str_from(json_rows[2].text), HK_STR("m"), HK_STR("v"), finding);
    if (err >= 0) {
        err = hk_discovery_parse_yaml(
            hk_str_from(yaml_rows[4].text), HK_STR("m"), HK_STR("v"), finding);
    }
    hk_discovery_finding_unref(finding);
    return err;
}

TEST(out_of_memory) {
    SWEEP_ALLOC(parse_and_free());
}

/* Header with one question "s." and `count` answers. */
#define HEAD(count) "\0\1\x81\x80\0\1\0" count "\0\0\0\0\1s\0\0\x21\0\1"
/* Record: owner = pointer to the question, type, class IN, TTL, length. */
#define RECORD(type, length) "\xc0\x0c\0" type "\0\1\0\0\0\x0a\0" length

static const struct {
    const char *bytes;
    size_t len;
    int32_t type;
    hk_err err;
    const char *want;
} dns_rows[] = {
#define DNS(text) text, sizeof(text) - 1
    { DNS(HEAD("\0")), HK_SCRAPE_DNS_SRV, HK_OK, "" },
    { DNS(HEAD("\2") RECORD("\x21", "\x0d") "\0\1\0\2\x23\x8c\1h\3org\0" RECORD(
          "\x21", "\x0a") "\0\1\0\2\0\x50\1i\xc0\x27"),
      HK_SCRAPE_DNS_SRV, HK_OK,
      "h.org:9100{__meta_dns_name=n,__meta_dns_srv_record_port=9100,"
      "__meta_dns_srv_record_target=h.org.} "
      "i.org:80{__meta_dns_name=n,__meta_dns_srv_record_port=80,"
      "__meta_dns_srv_record_target=i.org.}" },
    /* A CNAME among the answers is passed over. */
    { DNS(HEAD("\2") RECORD("\5", "\3") "\1c\0" RECORD("\x0f", "\5") "\0\1\1m\0"), HK_SCRAPE_DNS_MX,
      HK_OK, "m:7{__meta_dns_mx_record_target=m.,__meta_dns_name=n}" },
    { DNS(HEAD("\1") RECORD("\2", "\3") "\1/\0"), HK_SCRAPE_DNS_NS, HK_OK,
      "_:7{__meta_dns_name=n,__meta_dns_ns_record_target=_.}" },
    { DNS("\0\1\x81"), HK_SCRAPE_DNS_SRV, HK_E_MALFORMED, "cut short" },
    { DNS(HEAD("\1")), HK_SCRAPE_DNS_SRV, HK_E_MALFORMED, "cut short" },
    { DNS(HEAD("\1") RECORD("\x21", "\x0d") "\0\1"), HK_SCRAPE_DNS_SRV, HK_E_MALFORMED,
      "cut short" },
    { DNS(HEAD("\1") RECORD("\x21", "\3") "\0\1\0"), HK_SCRAPE_DNS_SRV, HK_E_MALFORMED,
      "broken record" },
    { DNS("\0\1\x81\x80\0\1\0\0\0\0\0\0\xc0\x0c\0\1\0\1"), HK_SCRAPE_DNS_SRV, HK_E_MALFORMED,
      "broken question" }, /* a name that points to itself */
};

TEST(dns_answers) {
    struct hk_arena arena;
    hk_arena_init(&arena, 16 << 20);
    for (size_t i = 0; i < HK_COUNT(dns_rows); i++) {
        struct hk_scrape_dns_sd config = { .type = dns_rows[i].type, .port = 7 };
        struct hk_discovery_finding *finding = hk_discovery_finding_create();
        struct hk_discovery_draft draft;
        CHECK(finding != NULL);
        hk_discovery_draft_init(&draft);
        hk_err err = hk_discovery_parse_dns(
            &config, HK_STR("n"), dns_rows[i].bytes, dns_rows[i].len, finding, &draft);
        CHECK_INT(err, dns_rows[i].err);
        if (err == HK_OK)
            CHECK_STR(write_finding(finding, &arena), hk_str_from(dns_rows[i].want));
        else
            CHECK(strstr(hk_fail_text(), dns_rows[i].want) != NULL);
        hk_discovery_draft_deinit(&draft);
        hk_discovery_finding_unref(finding);
    }
    hk_arena_deinit(&arena);
}

/* --- providers -------------------------------------------------------------------------------- */

static struct hk_event changes;

static void on_change(void *self, struct hk_discovery_provider *provider) {
    (void)provider;
    hk_event_raise(self);
}

static struct hk_discovery *start(void) {
    struct hk_discovery *discovery = NULL;
    hk_event_init(&changes);
    CHECK_INT(hk_discovery_create(5, on_change, &changes, &discovery), HK_OK);
    return discovery;
}

static void stop(struct hk_discovery *discovery) {
    hk_discovery_destroy(discovery);
    hk_event_deinit(&changes);
}

/* Waits until the provider has found `want`. */
static void expect(struct hk_discovery_provider *provider, const char *want) {
    struct hk_arena arena;
    hk_arena_init(&arena, 16 << 20);
    int64_t end_ns = hk_clock_monotonic_ns() + 20000000000;
    for (;;) {
        hk_arena_reset(&arena);
        struct hk_discovery_finding *finding = hk_discovery_get(provider);
        bool known = finding != NULL;
        struct hk_str got = write_finding(finding, &arena);
        hk_discovery_finding_unref(finding);
        int64_t left_ns = end_ns - hk_clock_monotonic_ns();
        if ((known && hk_str_is(got, want)) || left_ns <= 0) {
            CHECK_STR(got, hk_str_from(want));
            break;
        }
        (void)hk_event_wait(&changes, left_ns);
    }
    hk_arena_deinit(&arena);
}

struct folder {
    char path[64], file[2][80], pattern[80];
};

static void folder_init(struct folder *folder) {
    (void)snprintf(folder->path, sizeof(folder->path), "/tmp/hark-test-XXXXXX");
    CHECK(mkdtemp(folder->path) != NULL);
    (void)snprintf(folder->file[0], sizeof(folder->file[0]), "%s/a.json", folder->path);
    (void)snprintf(folder->file[1], sizeof(folder->file[1]), "%s/b.yml", folder->path);
    (void)snprintf(folder->pattern, sizeof(folder->pattern), "%s/*.yml", folder->path);
}

static void folder_deinit(const struct folder *folder) {
    (void)hk_file_remove(folder->file[0]);
    (void)hk_file_remove(folder->file[1]);
    CHECK_INT(rmdir(folder->path), 0);
}

static void write_file(const char *path, const char *text) {
    char next[96];
    (void)snprintf(next, sizeof(next), "%s.next", path);
    int fd = hk_file_open(next, HK_FILE_WRITE | HK_FILE_CREATE | HK_FILE_TRUNCATE);
    CHECK(fd >= 0);
    CHECK_INT(hk_file_write(fd, text, strlen(text), 0), 0);
    hk_file_close(fd);
    CHECK_INT(hk_file_rename(next, path), 0);
}

TEST(files_that_change) {
    struct folder folder;
    folder_init(&folder);
    struct hk_discovery *discovery = start();
    const struct hk_str patterns[] = { hk_str_from(folder.file[0]), hk_str_from(folder.pattern) };
    const struct hk_scrape_file_sd config = { .patterns = { patterns, 2 }, .refresh_ms = 100000 };
    struct hk_discovery_provider *provider = NULL;
    struct hk_discovery_provider *same = NULL;
    char want[512];
    CHECK_INT(hk_discovery_files(discovery, &config, &provider), HK_OK);
    CHECK_INT(hk_discovery_files(discovery, &config, &same), HK_OK);
    CHECK(provider == same); /* equal configurations share */
    hk_discovery_release(same);
    expect(provider, "");
    write_file(folder.file[0], "[{\"targets\":[\"a:1\"]}]");
    (void)snprintf(want, sizeof(want), "a:1{__meta_filepath=%s}", folder.file[0]);
    expect(provider, want);
    write_file(folder.file[1], "- targets: [b:1]\n");
    (void)snprintf(
        want, sizeof(want), "a:1{__meta_filepath=%s} b:1{__meta_filepath=%s}", folder.file[0],
        folder.file[1]);
    expect(provider, want);
    /* A broken file keeps its groups; the other one is still followed. */
    struct hk_discovery_stats before;
    struct hk_discovery_stats after;
    hk_discovery_get_stats(discovery, &before);
    write_file(folder.file[0], "[{");
    write_file(folder.file[1], "- targets: [b:2]\n");
    (void)snprintf(
        want, sizeof(want), "a:1{__meta_filepath=%s} b:2{__meta_filepath=%s}", folder.file[0],
        folder.file[1]);
    expect(provider, want);
    hk_discovery_get_stats(discovery, &after);
    CHECK(after.failures > before.failures);
    CHECK_INT(hk_file_remove(folder.file[0]), 0);
    (void)snprintf(want, sizeof(want), "b:2{__meta_filepath=%s}", folder.file[1]);
    expect(provider, want);
    hk_discovery_release(provider);
    stop(discovery);
    folder_deinit(&folder);
}

TEST(http) {
    struct server *server = server_start();
    struct hk_discovery *discovery = start();
    char url[96];
    char want[256];
    server_set_page(server, "application/json", "[{\"targets\":[\"a:1\"]}]");
    (void)snprintf(url, sizeof(url), "http://%s/page", server->address);
    struct hk_scrape_http_sd config = { .url = hk_str_from(url), .refresh_ms = 20 };
    struct hk_discovery_provider *provider = NULL;
    CHECK_INT(hk_discovery_http(discovery, &config, &provider), HK_OK);
    (void)snprintf(want, sizeof(want), "a:1{__meta_url=%s}", url);
    expect(provider, want);
    server_set_page(server, "application/json", "[{\"targets\":[\"b:1\"]}]");
    (void)snprintf(want, sizeof(want), "b:1{__meta_url=%s}", url);
    expect(provider, want);
    hk_discovery_release(provider);
    stop(discovery);
    server_stop(server);
}

TEST(dns_of_this_host) {
    struct hk_discovery *discovery = start();
    const struct hk_str name = HK_STR("127.0.0.1"); /* numeric: no server is asked */
    const struct hk_scrape_dns_sd config = { .names = { &name, 1 },
                                             .type = HK_SCRAPE_DNS_A,
                                             .port = 9100 };
    struct hk_discovery_provider *provider = NULL;
    CHECK_INT(hk_discovery_dns(discovery, &config, &provider), HK_OK);
    expect(provider, "127.0.0.1:9100{__meta_dns_name=127.0.0.1}");
    hk_discovery_release(provider);
    stop(discovery);
}

TEST(refused_configurations) {
    struct hk_discovery *discovery = start();
    struct hk_discovery_provider *provider = NULL;
    const struct hk_str bad[] = { HK_STR("/tmp/x.txt"), HK_STR("/tmp/*/x.json") };
    for (size_t i = 0; i < HK_COUNT(bad); i++) {
        const struct hk_scrape_file_sd config = { .patterns = { &bad[i], 1 } };
        CHECK_INT(hk_discovery_files(discovery, &config, &provider), HK_E_INVALID);
    }
    const struct hk_scrape_http_sd http = { .url = HK_STR("ftp://x") };
    CHECK_INT(hk_discovery_http(discovery, &http, &provider), HK_E_INVALID);
    struct hk_scrape_dns_sd dns = { .type = HK_SCRAPE_DNS_SRV };
    CHECK_INT(hk_discovery_dns(discovery, &dns, &provider), HK_E_INVALID);
    dns.names = (struct hk_str_list){ &bad[0], 1 };
    dns.type = HK_SCRAPE_DNS_A;
    CHECK_INT(hk_discovery_dns(discovery, &dns, &provider), HK_E_INVALID);
    stop(discovery);
}

HK_TEST_MAIN()
