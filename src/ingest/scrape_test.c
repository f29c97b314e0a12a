/*
 * Goal: the manager fetches what it should, when it should, says clearly what went wrong, keeps
 * state over reloads, and ends series of removed targets. Against a tiny HTTP server in a thread.
 */
#include "ingest/scrape.h"

#include "hk_test.h"
#include "ingest/scrape_server_test.h"
#include "os/clock.h"
#include "os/file.h"
#include "os/thread.h"

enum { KEPT_MAX = 4096 };

static const int64_t wait_ns = 20000000000; /* far beyond what any step takes */

/* --- a sink that keeps copies of results ------------------------------------------------------ */

struct kept {
    uint64_t target_id;
    hk_err err;
    bool gone, shed;
    enum hk_scrape_format format;
    int status;
    int64_t start_ms, duration_ns;
    char instance[64], body[512], error[HK_SCRAPE_ERROR_BYTES_MAX];
    size_t body_bytes;
};

struct sink {
    struct hk_mutex lock;
    struct hk_event event;
    struct kept kept[KEPT_MAX];
    uint32_t count;
    struct hk_scrape_result *held[64]; /* results that are not ended, when `hold` */
    uint32_t held_count;
    bool hold;
    const char *refuse; /* error given back for each result; then what the list shows is kept */
    struct hk_scrape *scrape;
    enum hk_scrape_health health;
    char last_error[HK_SCRAPE_ERROR_BYTES_MAX];
};

static struct sink sink;

/* The scrape thread stands still in the sink, so nothing changes meanwhile. */
static void keep_listing(struct sink *to) {
    struct hk_arena arena;
    struct hk_scrape_listing listing;
    hk_arena_init(&arena, 16 << 20);
    if (hk_scrape_list(to->scrape, HK_STR("test"), &arena, &listing) == HK_OK &&
        listing.active_count == 1) {
        to->health = listing.active[0].health;
        (void)snprintf(
            to->last_error, sizeof(to->last_error), "%.*s",
            HK_STR_ARG(listing.active[0].last_error));
    }
    hk_arena_deinit(&arena);
}

static void take(void *self, struct hk_scrape_result *result) {
    struct sink *to = self;
    hk_mutex_lock(&to->lock);
    if (to->count < KEPT_MAX) {
        struct kept *kept = &to->kept[to->count];
        struct hk_str instance = hk_labels_get(result->target->labels, HK_STR("instance"));
        *kept = (struct kept){ .target_id = result->target_id,
                               .err = result->err,
                               .gone = result->gone,
                               .shed = result->shed,
                               .format = result->format,
                               .status = result->status,
                               .start_ms = result->start_ms,
                               .duration_ns = result->duration_ns,
                               .body_bytes = result->body.len };
        (void)snprintf(kept->instance, sizeof(kept->instance), "%.*s", HK_STR_ARG(instance));
        (void)snprintf(
            kept->body, sizeof(kept->body), "%.*s", (int)result->body.len,
            result->body.ptr == NULL ? "" : result->body.ptr);
        (void)snprintf(kept->error, sizeof(kept->error), "%s", result->error);
        to->count++;
    }
    bool hold = to->hold && to->held_count < HK_COUNT(to->held);
    if (hold) to->held[to->held_count++] = result;
    hk_mutex_unlock(&to->lock);
    if (!hold) hk_scrape_result_end(result, to->refuse);
    if (to->refuse != NULL) keep_listing(to);
    hk_event_raise(&to->event);
}

static void sink_init(void) {
    hk_mutex_init(&sink.lock);
    hk_event_init(&sink.event);
    sink.count = 0;
    sink.held_count = 0;
    sink.hold = false;
    sink.refuse = NULL;
}

static void sink_deinit(void) {
    hk_event_deinit(&sink.event);
    hk_mutex_deinit(&sink.lock);
}

/* Index of the first result from `from` on that `wanted` accepts (NULL: any); waits for it. */
static int find_result(uint32_t from, bool (*wanted)(const struct kept *kept)) {
    int64_t end_ns = hk_clock_monotonic_ns() + wait_ns;
    for (uint32_t at = from;;) {
        hk_mutex_lock(&sink.lock);
        uint32_t count = sink.count;
        hk_mutex_unlock(&sink.lock);
        for (; at < count; at++) {
            if (wanted == NULL || wanted(&sink.kept[at])) return (int)at;
        }
        int64_t left_ns = end_ns - hk_clock_monotonic_ns();
        if (left_ns <= 0 || count == KEPT_MAX) return -1;
        (void)hk_event_wait(&sink.event, left_ns);
    }
}

/* --- helpers ---------------------------------------------------------------------------------- */

static struct hk_scrape *start(uint32_t results_max) {
    struct hk_scrape *scrape = NULL;
    sink_init();
    struct hk_scrape_options options = { .sink = { &sink, take },
                                         .results_max = results_max,
                                         .external_host = HK_STR("outside"),
                                         .file_poll_ms = 10 };
    CHECK_INT(hk_scrape_create(&options, &scrape), HK_OK);
    return scrape;
}

static void stop(struct hk_scrape *scrape) {
    hk_scrape_destroy(scrape);
    for (uint32_t i = 0; i < sink.held_count; i++)
        hk_scrape_result_end(sink.held[i], NULL);
    sink_deinit();
}

static struct hk_str address; /* of the server */
static const struct hk_scrape_static one_static = { .targets = { &address, 1 } };

static struct hk_scrape_job_config job_of(const char *path) {
    return (struct hk_scrape_job_config){
        .name = HK_STR("test"),
        .metrics_path = hk_str_from(path),
        .interval_ms = 20,
        .timeout_ms = 20,
        .statics = { &one_static, 1 },
        .http = { .follow_redirects = true },
    };
}

static hk_err
list(struct hk_scrape *scrape, struct hk_arena *arena, struct hk_scrape_listing *out) {
    hk_arena_reset(arena);
    return hk_scrape_list(scrape, HK_STR(""), arena, out);
}

static bool has_body(const struct kept *kept) {
    return kept->err == HK_OK;
}

static bool is_gone(const struct kept *kept) {
    return kept->gone;
}

static bool is_shed(const struct kept *kept) {
    return kept->shed;
}

/* --- tests ------------------------------------------------------------------------------------ */

static const struct {
    const char *path;
    hk_err err;
    int status;
    enum hk_scrape_format format;
    const char *text; /* in the body, or in the error */
} pages[] = {
    { "/metrics", HK_OK, 200, HK_SCRAPE_TEXT, "up_and_running 1\n" },
    { "/openmetrics", HK_OK, 200, HK_SCRAPE_OPENMETRICS, "# EOF\n" },
    { "/protobuf", HK_OK, 200, HK_SCRAPE_PROTOBUF, "" },
    { "/gzip", HK_OK, 200, HK_SCRAPE_TEXT, "compressed 42\n" },
    { "/redirect", HK_OK, 200, HK_SCRAPE_TEXT, "up_and_running 1\n" },
    { "/chunked", HK_OK, 200, HK_SCRAPE_TEXT, "in_chunks 7\n" },
    { "/empty", HK_OK, 200, HK_SCRAPE_TEXT, "" },
    { "/html", HK_E_UNSUPPORTED, 200, HK_SCRAPE_TEXT, "unsupported Content-Type \"text/html\"" },
    { "/500", HK_E_IO, 500, HK_SCRAPE_TEXT, "server returned HTTP status 500" },
    { "/nothing", HK_E_IO, 404, HK_SCRAPE_TEXT, "server returned HTTP status 404" },
    { "/loop", HK_E_IO, 302, HK_SCRAPE_TEXT, "redirects" },
    { "/big", HK_E_LIMIT, 200, HK_SCRAPE_TEXT, "body size limit exceeded (1000 bytes)" },
    { "/bomb", HK_E_LIMIT, 200, HK_SCRAPE_TEXT, "body size limit exceeded (1000 bytes)" },
    { "/cut", HK_E_IO, 200, HK_SCRAPE_TEXT, "" },
    { "/slow", HK_E_TIMEOUT, 0, HK_SCRAPE_TEXT, "no complete answer within 100 ms" },
    { "/trickle", HK_E_TIMEOUT, 200, HK_SCRAPE_TEXT, "no complete answer within 100 ms" },
};

TEST(pages_of_all_kinds) {
    struct server *server = server_start();
    address = server_address(server);
    for (size_t i = 0; i < HK_COUNT(pages); i++) {
        struct hk_scrape *scrape = start(0);
        struct hk_scrape_job_config job = job_of(pages[i].path);
        bool late = pages[i].err == HK_E_TIMEOUT;
        /* On a loaded machine an answer may come too late: then the next one counts. */
        job.interval_ms = late ? 100 : 50;
        job.timeout_ms = job.interval_ms;
        job.limits.body_bytes = 1000;
        CHECK_INT(hk_scrape_apply(scrape, &job, 1), HK_OK);
        int at = -1;
        for (uint32_t from = 0; (at = find_result(from, NULL)) >= 0; from = (uint32_t)at + 1) {
            if (late || sink.kept[at].err != HK_E_TIMEOUT) break;
        }
        CHECK(at >= 0);
        if (at < 0) printf("# nothing from %s\n", pages[i].path);
        if (at >= 0) {
            const struct kept *kept = &sink.kept[at];
            CHECK_INT(kept->err, pages[i].err);
            CHECK_INT(kept->status, pages[i].status);
            if (kept->err == HK_OK) CHECK_INT(kept->format, pages[i].format);
            CHECK(strstr(kept->err == HK_OK ? kept->body : kept->error, pages[i].text) != NULL);
            if (kept->err < 0) CHECK(kept->error[0] != 0 && kept->body_bytes == 0);
        }
        stop(scrape);
    }
    server_stop(server);
}

TEST(connection_refused) {
    struct server *server = server_start();
    address = server_address(server);
    server_stop(server); /* the port is free again */
    struct hk_scrape *scrape = start(0);
    struct hk_scrape_job_config job = job_of("/metrics");
    CHECK_INT(hk_scrape_apply(scrape, &job, 1), HK_OK);
    int at = find_result(0, NULL);
    CHECK(at >= 0);
    if (at >= 0) {
        CHECK(sink.kept[at].err == HK_E_IO || sink.kept[at].err == HK_E_TIMEOUT);
        CHECK_INT(sink.kept[at].status, 0);
    }
    stop(scrape);
}

static bool echoes(const struct kept *kept) {
    return kept->err == HK_OK && strstr(kept->body, "GET /echo") != NULL;
}

/* Goal: the request says all that Prometheus' says. */
TEST(request_headers) {
    struct server *server = server_start();
    address = server_address(server);
    struct hk_scrape *scrape = start(0);
    struct hk_scrape_job_config job = job_of("/echo");
    const struct hk_str values[] = { HK_STR("a b") };
    const struct hk_scrape_param param = { HK_STR("q"), { values, 1 } };
    const struct hk_str headers[] = { HK_STR("X-Own"), HK_STR("yes") };
    job.params.items = &param;
    job.params.count = 1;
    job.http.username = HK_STR("u");
    job.http.password = HK_STR("p");
    job.http.headers = (struct hk_str_list){ headers, 2 };
    job.interval_ms = 50;
    job.timeout_ms = 50;
    CHECK_INT(hk_scrape_apply(scrape, &job, 1), HK_OK);
    int at = find_result(0, echoes);
    CHECK(at >= 0);
    const char *body = at < 0 ? "" : sink.kept[at].body;
    CHECK(strstr(body, "GET /echo?q=a+b HTTP/1.1") != NULL);
    CHECK(strstr(body, "Authorization: Basic dTpw") != NULL);
    CHECK(strstr(body, "X-Own: yes") != NULL);
    CHECK(strstr(body, "Accept: application/openmetrics-text;version=1.0.0") != NULL);
    CHECK(strstr(body, "X-Prometheus-Scrape-Timeout-Seconds: 0.05") != NULL);
    CHECK(strstr(body, "Accept-Encoding: gzip") != NULL);
    CHECK(strstr(body, "User-Agent: hark/") != NULL);
    stop(scrape);
    server_stop(server);
}

/* Goal: one connection serves many scrapes; stamps grow; ids do not change. */
TEST(keeps_connection) {
    struct server *server = server_start();
    address = server_address(server);
    struct hk_scrape *scrape = start(0);
    struct hk_scrape_job_config job = job_of("/metrics");
    job.interval_ms = 100;
    job.timeout_ms = 100;
    CHECK_INT(hk_scrape_apply(scrape, &job, 1), HK_OK);
    uint32_t from = 0;
    for (int i = 0; i < 4; i++) {
        int at = find_result(from, NULL);
        CHECK(at >= 0);
        if (at < 0) break;
        CHECK_INT(sink.kept[at].target_id, sink.kept[0].target_id);
        CHECK_TEXT(sink.kept[at].instance, sink.kept[0].instance);
        if (at > 0) {
            CHECK(sink.kept[at].start_ms > sink.kept[at - 1].start_ms);
        }
        from = (uint32_t)at + 1;
    }
    struct hk_scrape_stats stats;
    hk_scrape_get_stats(scrape, &stats);
    CHECK(server_connections(server) <= 1 + stats.timeouts); /* a timeout ends its connection */
    stop(scrape);
    server_stop(server);
}

static hk_err own_body(void *self, struct hk_buf *out) {
    uint32_t *calls = self;
    hk_buf_printf(out, "calls %u\n", ++*calls);
    return *calls == 3 ? hk_fail(HK_E_BUSY, "third call") : HK_OK;
}

TEST(internal_target) {
    struct hk_scrape *scrape = start(0);
    uint32_t calls = 0;
    struct hk_scrape_job_config job = job_of("");
    address = HK_STR("this-host");
    job.body = own_body;
    job.body_self = &calls;
    CHECK_INT(hk_scrape_apply(scrape, &job, 1), HK_OK);
    CHECK(find_result(2, NULL) == 2);
    CHECK_TEXT(sink.kept[0].body, "calls 1\n");
    CHECK_TEXT(sink.kept[0].instance, "this-host");
    CHECK_INT(sink.kept[0].format, HK_SCRAPE_TEXT);
    CHECK_TEXT(sink.kept[1].body, "calls 2\n");
    CHECK_INT(sink.kept[2].err, HK_E_BUSY);
    CHECK_TEXT(sink.kept[2].error, "third call");
    stop(scrape);
}

static bool other_id(const struct kept *kept) {
    return kept->err == HK_OK && kept->target_id != sink.kept[0].target_id;
}

/* Goal: a reload keeps targets that stay, ends those that go with one last result. */
TEST(reload) {
    struct server *server = server_start();
    address = server_address(server);
    struct hk_scrape *scrape = start(0);
    struct hk_arena arena;
    struct hk_scrape_listing listing;
    hk_arena_init(&arena, 16 << 20);
    struct hk_scrape_job_config job = job_of("/metrics");
    CHECK_INT(hk_scrape_apply(scrape, &job, 1), HK_OK);
    CHECK(find_result(0, has_body) >= 0);
    uint64_t id = sink.kept[0].target_id;

    /* The same again, then with another interval and path: the same series, so the same id. */
    CHECK_INT(hk_scrape_apply(scrape, &job, 1), HK_OK);
    job.interval_ms = 30;
    job.metrics_path = HK_STR("/openmetrics");
    CHECK_INT(hk_scrape_apply(scrape, &job, 1), HK_OK);
    uint32_t from = sink.count;
    int at = -1;
    while ((at = find_result(from, has_body)) >= 0 && sink.kept[at].format != HK_SCRAPE_OPENMETRICS)
        from = (uint32_t)at + 1;
    CHECK(at >= 0);
    CHECK_INT(sink.kept[at].target_id, id);
    for (int i = 0; i <= at; i++)
        CHECK(!sink.kept[i].gone);

    /* A broken set changes nothing. */
    struct hk_scrape_job_config two[] = { job, job };
    CHECK_INT(hk_scrape_apply(scrape, two, 2), HK_E_INVALID);
    CHECK(strstr(hk_fail_text(), "two scrape jobs are named \"test\"") != NULL);
    CHECK_INT(list(scrape, &arena, &listing), HK_OK);
    CHECK_INT(listing.active_count, 1);

    /* Another label: a new target, and the old one is gone. */
    const struct hk_label label = { HK_STR("env"), HK_STR("prod") };
    const struct hk_scrape_static labelled = { { &address, 1 }, { &label, 1 } };
    job.statics.items = &labelled;
    CHECK_INT(hk_scrape_apply(scrape, &job, 1), HK_OK);
    at = find_result(0, is_gone);
    CHECK(at >= 0 && sink.kept[at].target_id == id);
    CHECK(find_result((uint32_t)at, other_id) >= 0);

    CHECK_INT(hk_scrape_apply(scrape, NULL, 0), HK_OK);
    CHECK(find_result((uint32_t)at + 1, is_gone) >= 0);
    CHECK_INT(list(scrape, &arena, &listing), HK_OK);
    CHECK_INT(listing.active_count, 0);
    CHECK_INT(listing.pool_count, 0);
    hk_arena_deinit(&arena);
    stop(scrape);
    server_stop(server);
}

/* Goal: what /api/v1/targets shows. */
TEST(listing) {
    struct server *server = server_start();
    address = server_address(server);
    struct hk_scrape *scrape = start(0);
    struct hk_arena arena;
    struct hk_scrape_listing listing;
    hk_arena_init(&arena, 16 << 20);
    const struct hk_str targets[] = { address, HK_STR("drop.me:1"), address, HK_STR("bad/host") };
    const struct hk_scrape_static all = { .targets = { targets, 4 } };
    const struct hk_str source = HK_STR("__address__");
    const struct hk_relabel_config rule = { .action = HK_RELABEL_DROP,
                                            .source_labels = &source,
                                            .source_label_count = 1,
                                            .regex = HK_STR("drop.*") };
    struct hk_scrape_job_config job = job_of("/metrics");
    job.statics.items = &all;
    job.relabel.items = &rule;
    job.relabel.count = 1;
    CHECK_INT(hk_scrape_apply(scrape, &job, 1), HK_OK);
    CHECK(find_result(0, has_body) >= 0);
    CHECK_INT(list(scrape, &arena, &listing), HK_OK);
    CHECK_INT(listing.active_count, 1); /* the duplicate is united */
    CHECK_INT(listing.dropped_count, 1);
    CHECK_INT(listing.pool_count, 1);
    if (listing.active_count == 1 && listing.dropped_count == 1) {
        const struct hk_scrape_target_info *info = &listing.active[0];
        CHECK_STR(info->pool, HK_STR("test"));
        CHECK_STR(hk_labels_get(info->labels, HK_STR("job")), HK_STR("test"));
        CHECK_STR(hk_labels_get(info->discovered, HK_STR("__scheme__")), HK_STR("http"));
        CHECK(hk_str_starts(info->url, HK_STR("http://127.0.0.1:")));
        CHECK(hk_str_starts(info->global_url, HK_STR("http://outside:")));
        CHECK_INT(info->interval_ms, 20);
        CHECK(info->last_scrape_ms > 0);
        CHECK_STR(
            hk_labels_get(listing.dropped[0].discovered, HK_STR("__address__")),
            HK_STR("drop.me:1"));
    }
    CHECK_INT(hk_scrape_list(scrape, HK_STR("other"), &arena, &listing), HK_OK);
    CHECK_INT(listing.active_count, 0);
    struct hk_scrape_stats stats;
    hk_scrape_get_stats(scrape, &stats);
    CHECK_INT(stats.active, 1);
    CHECK_INT(stats.targets_invalid, 1);
    CHECK(stats.scrapes >= 1 && stats.body_bytes > 0);
    hk_arena_deinit(&arena);
    stop(scrape);
    server_stop(server);
}

/* Goal: what the sink finds wrong shows as the target's last error. */
TEST(refused_body) {
    struct server *server = server_start();
    address = server_address(server);
    struct hk_scrape *scrape = start(0);
    sink.refuse = "line 1: not a sample";
    sink.scrape = scrape;
    struct hk_scrape_job_config job = job_of("/metrics");
    CHECK_INT(hk_scrape_apply(scrape, &job, 1), HK_OK);
    CHECK(find_result(0, has_body) >= 0);
    stop(scrape);
    CHECK_INT(sink.health, HK_SCRAPE_DOWN);
    CHECK_TEXT(sink.last_error, "line 1: not a sample");
    server_stop(server);
}

/* Goal: when the sink does not keep up, scrapes are shed and said, not piled up. */
TEST(backpressure) {
    struct server *server = server_start();
    address = server_address(server);
    struct hk_scrape *scrape = start(2);
    sink.hold = true;
    struct hk_scrape_job_config job = job_of("/metrics");
    CHECK_INT(hk_scrape_apply(scrape, &job, 1), HK_OK);
    int at = find_result(0, is_shed);
    CHECK(at >= 2);
    if (at >= 0) {
        CHECK_INT(sink.kept[at].err, HK_E_BUSY);
        CHECK(strstr(sink.kept[at].error, "too many results wait") != NULL);
    }
    struct hk_scrape_stats stats;
    hk_scrape_get_stats(scrape, &stats);
    CHECK(stats.shed >= 1 && stats.in_flight >= 2);
    stop(scrape);
    server_stop(server);
}

/* Goal: a scrape that outlasts the interval is not overtaken; the missed ones are counted. */
TEST(no_overlap) {
    struct server *server = server_start();
    address = server_address(server);
    struct hk_scrape *scrape = start(0);
    struct hk_scrape_job_config job = job_of("/slow");
    struct hk_scrape_job_config other = job_of("/metrics");
    other.name = HK_STR("other");
    job.interval_ms = 60;
    job.timeout_ms = 60;
    struct hk_scrape_job_config jobs[] = { job, other };
    CHECK_INT(hk_scrape_apply(scrape, jobs, 2), HK_OK);
    struct hk_scrape_stats stats = { 0 };
    uint32_t from = 0;
    for (int at = 0; stats.timeouts < 2 && at >= 0; from = (uint32_t)at + 1) {
        at = find_result(from, NULL);
        hk_scrape_get_stats(scrape, &stats);
    }
    CHECK(stats.timeouts >= 2);
    CHECK(server_open_slow_max(server) == 1);
    stop(scrape);
    server_stop(server);
}

static bool over_targets(const struct kept *kept) {
    return kept->err == HK_E_LIMIT && strstr(kept->error, "target_limit") != NULL;
}

TEST(target_limit) {
    struct hk_scrape *scrape = start(0);
    const struct hk_str targets[] = { HK_STR("a:1"), HK_STR("b:1") };
    const struct hk_scrape_static all = { .targets = { targets, 2 } };
    struct hk_scrape_job_config job = job_of("/metrics");
    job.statics.items = &all;
    job.limits.targets = 1;
    CHECK_INT(hk_scrape_apply(scrape, &job, 1), HK_OK);
    CHECK(find_result(0, over_targets) >= 0);
    stop(scrape);
}

/* Goal: results may outlive the manager; many targets at 10 ms keep their pace. */
TEST(many_fast_targets) {
    struct server *server = server_start();
    struct hk_scrape *scrape = start(0);
    struct hk_arena arena;
    hk_arena_init(&arena, 16 << 20);
    address = server_address(server);
    struct hk_scrape_static statics[20];
    struct hk_label labels[20];
    for (uint32_t i = 0; i < HK_COUNT(statics); i++) {
        labels[i] = (struct hk_label){ HK_STR("n"), hk_arena_printf(&arena, "%u", i) };
        statics[i] = (struct hk_scrape_static){ { &address, 1 }, { &labels[i], 1 } };
    }
    struct hk_scrape_job_config job = job_of("/metrics");
    job.interval_ms = 10;
    job.timeout_ms = 10;
    job.statics.items = statics;
    job.statics.count = HK_COUNT(statics);
    CHECK_INT(hk_scrape_apply(scrape, &job, 1), HK_OK);
    CHECK(find_result(200, NULL) >= 0);
    hk_mutex_lock(&sink.lock);
    sink.hold = true;
    hk_mutex_unlock(&sink.lock);
    CHECK(find_result(sink.count + 5, NULL) >= 0);
    hk_arena_deinit(&arena);
    stop(scrape);
    server_stop(server);
}

static bool has_env(const struct kept *kept) {
    return kept->err == HK_OK && strcmp(kept->instance, "from-file") == 0;
}

static void write_targets(const char *path, const char *text) {
    char next[96];
    (void)snprintf(next, sizeof(next), "%s.next", path);
    int fd = hk_file_open(next, HK_FILE_WRITE | HK_FILE_CREATE | HK_FILE_TRUNCATE);
    CHECK(fd >= 0);
    CHECK_INT(hk_file_write(fd, text, strlen(text), 0), 0);
    hk_file_close(fd);
    CHECK_INT(hk_file_rename(next, path), 0);
}

/* Goal: targets of a file are scraped, and gone when the file says so; a reload keeps them. */
TEST(file_sd) {
    struct server *server = server_start();
    address = server_address(server);
    struct hk_scrape *scrape = start(0);
    char folder[] = "/tmp/hark-test-XXXXXX";
    char path[64];
    char text[256];
    CHECK(mkdtemp(folder) != NULL);
    (void)snprintf(path, sizeof(path), "%s/targets.json", folder);
    (void)snprintf(
        text, sizeof(text), "[{\"targets\":[\"%.*s\"],\"labels\":{\"instance\":\"from-file\"}}]",
        HK_STR_ARG(address));
    write_targets(path, text);
    const struct hk_str pattern = hk_str_from(path);
    const struct hk_scrape_file_sd files = { .patterns = { &pattern, 1 } };
    struct hk_scrape_job_config job = job_of("/metrics");
    job.statics.count = 0;
    job.files.items = &files;
    job.files.count = 1;
    CHECK_INT(hk_scrape_apply(scrape, &job, 1), HK_OK);
    int at = find_result(0, has_env);
    CHECK(at >= 0);
    job.honor_labels = true; /* another configuration, the same provider */
    CHECK_INT(hk_scrape_apply(scrape, &job, 1), HK_OK);
    at = find_result(sink.count, has_env);
    CHECK(at >= 0);
    for (int i = 0; i < at; i++)
        CHECK(!sink.kept[i].gone);
    write_targets(path, "[]");
    CHECK(find_result(0, is_gone) >= 0);
    stop(scrape);
    server_stop(server);
    (void)hk_file_remove(path);
    CHECK_INT(rmdir(folder), 0);
}

HK_TEST_MAIN()
