/* Goal: groups notify when Alertmanager's would, once, on the warm connection first. */
#include "hk_test.h"
#include "os/clock.h"
#include "respond/respond.h"

#include <unistd.h>

/* --- A transport that remembers --------------------------------------------------------------- */

struct post {
    char id[128], status[16], labels[256];
    void (*done)(void *ctx, const struct hk_post_result *result);
    void *ctx;
};

static struct {
    struct post posts[64];
    uint32_t count, done;
    bool refuse;
} wire;

static hk_err fake_open(void *self, const struct hk_endpoint_config *config, void **out) {
    (void)config;
    *out = self;
    return HK_OK;
}

static void answer(int status) {
    for (; wire.done < wire.count; wire.done++) {
        struct post *post = &wire.posts[wire.done];
        struct hk_post_result result = { .status = status, .text = HK_STR("ok") };
        post->done(post->ctx, &result);
    }
}

static void fake_close(void *self, void *endpoint) {
    (void)self;
    (void)endpoint;
    for (; wire.done < wire.count; wire.done++) {
        struct post *post = &wire.posts[wire.done];
        struct hk_post_result result = { .err = HK_E_CANCELED };
        post->done(post->ctx, &result);
    }
}

/* Value of the first "key":"value" in the body. */
static void get_value(struct hk_str body, const char *key, char *out, size_t room) {
    char quoted[64];
    (void)snprintf(quoted, sizeof(quoted), "\"%s\":", key);
    const char *found = memmem(body.ptr, body.len, quoted, strlen(quoted));
    out[0] = 0;
    if (found == NULL) return;
    found += strlen(quoted);
    size_t len = 0;
    char close = *found == '{' ? '}' : '"';
    if (*found == '"') found++;
    while (len + 1 < room && found[len] != close)
        len++;
    memcpy(out, found, len);
    out[len] = 0;
}

static hk_err fake_post(
    void *self, void *endpoint, struct hk_str content_type, struct hk_str body,
    const struct hk_str *headers, uint32_t header_count,
    void (*done)(void *ctx, const struct hk_post_result *result), void *ctx) {
    (void)self;
    (void)endpoint;
    CHECK_STR(content_type, HK_STR("application/json"));
    CHECK_INT(header_count, 1);
    if (wire.refuse || wire.count == HK_COUNT(wire.posts)) return HK_E_BUSY;
    struct post *post = &wire.posts[wire.count++];
    (void)snprintf(post->id, sizeof(post->id), "%.*s", HK_STR_ARG(headers[1]));
    get_value(body, "status", post->status, sizeof(post->status));
    get_value(body, "commonLabels", post->labels, sizeof(post->labels));
    post->done = done;
    post->ctx = ctx;
    return HK_OK;
}

static const struct hk_transport transport = { &wire, fake_open, fake_close, fake_post };

/* --- Set-up ----------------------------------------------------------------------------------- */

static char directory[64];

static void new_directory(void) {
    (void)snprintf(directory, sizeof(directory), "/tmp/hk-dispatch-XXXXXX");
    CHECK(mkdtemp(directory) != NULL);
    memset(&wire, 0, sizeof(wire));
}

static void remove_directory(void) {
    static const char *const names[] = { "outbox.db", "outbox.db-wal", "outbox.db-shm" };
    for (size_t i = 0; i < HK_COUNT(names); i++) {
        char path[128];
        (void)snprintf(path, sizeof(path), "%s/%s", directory, names[i]);
        (void)unlink(path);
    }
    (void)rmdir(directory);
}

struct fixture {
    struct hk_respond *respond;
    struct hk_dispatch *dispatch;
};

static struct fixture
set_up(bool all, int64_t wait_ms, int64_t interval_ms, int64_t repeat_ms, bool send_resolved) {
    struct hk_str by[] = { HK_STR("job") };
    struct hk_webhook_config webhook = {
        .endpoint = { .url = HK_STR("http://127.0.0.1:1/hook") },
        .send_resolved = send_resolved,
    };
    struct hk_receiver_config receiver = { .name = HK_STR("ops"),
                                           .webhooks = &webhook,
                                           .webhook_count = 1 };
    struct hk_respond_config config = {
        .directory = hk_str_from(directory),
        .external_url = HK_STR("http://hark"),
        .receivers = &receiver,
        .receiver_count = 1,
        .route = { .receiver = HK_STR("ops"),
                   .group_by = by,
                   .group_by_count = all ? 0 : 1,
                   .group_by_all = all,
                   .group_wait_ms = wait_ms,
                   .group_interval_ms = interval_ms,
                   .repeat_interval_ms = repeat_ms },
    };
    struct fixture made = { NULL, NULL };
    CHECK_INT(hk_respond_create(&config, &made.respond), HK_OK);
    CHECK_INT(hk_dispatch_create(made.respond, &transport, &made.dispatch), HK_OK);
    return made;
}

static void tear_down(struct fixture *fixture) {
    hk_dispatch_destroy(fixture->dispatch);
    hk_respond_destroy(fixture->respond);
}

static hk_err send_event(
    struct fixture *fixture, const char *instance, bool resolved, int64_t at, int64_t episode) {
    struct hk_label items[] = { { HK_STR("alertname"), HK_STR("Down") },
                                { HK_STR("instance"), hk_str_from(instance) },
                                { HK_STR("job"), HK_STR("node") } };
    struct hk_alert_event event = { .rule = HK_STR("Down"),
                                    .labels = { items, 3 },
                                    .episode_ms = episode,
                                    .active_ms = episode,
                                    .starts_ms = episode,
                                    .ends_ms = resolved ? at : 0,
                                    .at_ms = at,
                                    .value = 1,
                                    .resolved = resolved };
    event.fingerprint = hk_fingerprint(event.labels);
    return hk_dispatch_event(fixture->dispatch, &event, at);
}

/* Another configuration: `count` webhooks of "ops", grouped by job or by everything. */
static void change(struct fixture *fixture, uint32_t count, bool all) {
    struct hk_str by[] = { HK_STR("job") };
    struct hk_webhook_config webhooks[2] = {
        { .endpoint = { .url = HK_STR("http://127.0.0.1:1/other") }, .send_resolved = true },
        { .endpoint = { .url = HK_STR("http://127.0.0.1:1/more") }, .send_resolved = true },
    };
    struct hk_receiver_config receiver = { .name = HK_STR("ops"),
                                           .webhooks = webhooks,
                                           .webhook_count = count };
    struct hk_respond_config config = {
        .directory = hk_str_from(directory),
        .external_url = HK_STR("http://hark"),
        .receivers = &receiver,
        .receiver_count = 1,
        .route = { .receiver = HK_STR("ops"),
                   .group_by = by,
                   .group_by_count = all ? 0 : 1,
                   .group_by_all = all },
    };
    struct hk_respond_plan *plan = NULL;
    struct hk_respond_plan *same = NULL;
    CHECK_INT(hk_respond_plan_create(&config, &plan), HK_OK);
    config.route.group_wait_ms = 7;
    CHECK_INT(hk_respond_plan_create(&config, &same), HK_OK);
    CHECK(!hk_respond_plan_same(plan, same));
    hk_respond_plan_destroy(same);
    config.route.group_wait_ms = 0;
    CHECK_INT(hk_respond_plan_create(&config, &same), HK_OK);
    CHECK(hk_respond_plan_same(plan, same));
    hk_respond_plan_destroy(same);
    CHECK_INT(hk_dispatch_replan(&fixture->dispatch, plan), HK_OK);
}

/* --- Tests ------------------------------------------------------------------------------------ */

TEST(at_once) {
    new_directory();
    struct fixture fixture = set_up(true, 0, 0, 3600000, true);
    CHECK_INT(send_event(&fixture, "a", false, 1000, 1000), HK_OK);
    CHECK_INT(wire.count, 1); /* written inside the call */
    CHECK_TEXT(wire.posts[0].status, "firing");
    CHECK_TEXT(wire.posts[0].labels, "{\"alertname\":\"Down\",\"instance\":\"a\",\"job\":\"node\"");
    CHECK(strstr(wire.posts[0].id, "-3e8-") != NULL);
    answer(200);
    CHECK_INT(send_event(&fixture, "a", true, 2000, 1000), HK_OK);
    CHECK_INT(wire.count, 2);
    CHECK_TEXT(wire.posts[1].status, "resolved");
    CHECK(strcmp(wire.posts[0].id, wire.posts[1].id) != 0);
    answer(200);
    CHECK(hk_respond_flush(fixture.respond, 5000));
    struct hk_respond_stats stats;
    hk_respond_get_stats(fixture.respond, &stats);
    CHECK_INT(stats.answered, 2);
    CHECK_INT(stats.written, 2);
    CHECK_INT(stats.unanswered, 0);
    struct hk_dispatch_stats dispatch;
    hk_dispatch_get_stats(fixture.dispatch, &dispatch);
    CHECK_INT(dispatch.groups, 0);
    CHECK_INT(dispatch.alerts, 0);
    CHECK_INT(hk_dispatch_next_ms(fixture.dispatch), INT64_MAX);
    /* Resolved without having fired: nobody hears of it. */
    CHECK_INT(send_event(&fixture, "b", true, 3000, 2500), HK_OK);
    CHECK_INT(wire.count, 2);
    tear_down(&fixture);
    remove_directory();
}

TEST(groups) {
    new_directory();
    struct fixture fixture = set_up(false, 30000, 300000, 3600000, true);
    CHECK_INT(send_event(&fixture, "a", false, 1000, 1000), HK_OK);
    CHECK_INT(send_event(&fixture, "b", false, 2000, 2000), HK_OK);
    CHECK_INT(wire.count, 0);
    CHECK_INT(hk_dispatch_next_ms(fixture.dispatch), 31000);
    hk_dispatch_tick(fixture.dispatch, 31000);
    CHECK_INT(wire.count, 1);
    CHECK_TEXT(wire.posts[0].labels, "{\"alertname\":\"Down\",\"job\":\"node\"");
    /* News wait for the next tick. */
    CHECK_INT(send_event(&fixture, "a", true, 40000, 1000), HK_OK);
    CHECK_INT(hk_dispatch_next_ms(fixture.dispatch), 331000);
    hk_dispatch_tick(fixture.dispatch, 331000);
    CHECK_INT(wire.count, 2);
    CHECK_TEXT(wire.posts[1].status, "firing");
    /* Nothing new: silence until more than the repeat interval has passed, at the next tick. */
    CHECK_INT(hk_dispatch_next_ms(fixture.dispatch), 31000 + 14 * 300000);
    hk_dispatch_tick(fixture.dispatch, 31000 + 14 * 300000);
    CHECK_INT(wire.count, 3);
    CHECK(strcmp(wire.posts[1].id, wire.posts[2].id) != 0);
    CHECK(hk_str_ends(hk_str_from(wire.posts[2].id), HK_STR("-firing-1")));
    CHECK_INT(send_event(&fixture, "b", true, 4300000, 2000), HK_OK);
    hk_dispatch_tick(fixture.dispatch, 31000 + 15 * 300000);
    CHECK_INT(wire.count, 4);
    CHECK_TEXT(wire.posts[3].status, "resolved");
    CHECK_INT(hk_dispatch_next_ms(fixture.dispatch), INT64_MAX);
    tear_down(&fixture);
    remove_directory();
}

TEST(without_resolved) {
    new_directory();
    struct fixture fixture = set_up(true, 0, 0, 0, false);
    CHECK_INT(send_event(&fixture, "a", false, 1000, 1000), HK_OK);
    CHECK_INT(send_event(&fixture, "a", true, 2000, 1000), HK_OK);
    CHECK_INT(wire.count, 1);
    CHECK_INT(send_event(&fixture, "a", false, 3000, 3000), HK_OK);
    CHECK_INT(wire.count, 2);
    tear_down(&fixture);
    remove_directory();
}

/* What was told is remembered over a restart; what was not is told then. */
TEST(restart) {
    new_directory();
    struct fixture fixture = set_up(true, 0, 0, 3600000, true);
    CHECK_INT(send_event(&fixture, "a", false, 1000, 1000), HK_OK);
    answer(200);
    CHECK(hk_respond_flush(fixture.respond, 5000));
    tear_down(&fixture);
    memset(&wire, 0, sizeof(wire));
    fixture = set_up(true, 0, 0, 3600000, true);
    CHECK_INT(send_event(&fixture, "a", false, 2000, 1000), HK_OK); /* the same episode */
    CHECK_INT(wire.count, 0);
    CHECK_INT(send_event(&fixture, "b", false, 2000, 1500), HK_OK);
    CHECK_INT(wire.count, 1);
    CHECK_INT(send_event(&fixture, "a", true, 3000, 1000), HK_OK);
    CHECK_INT(wire.count, 2);
    CHECK_TEXT(wire.posts[1].status, "resolved");
    answer(200);
    CHECK(hk_respond_flush(fixture.respond, 5000));
    tear_down(&fixture);
    /* A new episode of a told one is news. */
    memset(&wire, 0, sizeof(wire));
    fixture = set_up(true, 0, 0, 3600000, true);
    CHECK_INT(send_event(&fixture, "b", false, 4000, 3900), HK_OK);
    CHECK_INT(wire.count, 1);
    tear_down(&fixture);
    remove_directory();
}

/* A transport that cannot take it: the outbox sends, here to a closed port, and keeps trying. */
TEST(busy_transport) {
    new_directory();
    wire.refuse = true;
    struct fixture fixture = set_up(true, 0, 0, 3600000, true);
    CHECK_INT(send_event(&fixture, "a", false, 1000, 1000), HK_OK);
    struct hk_dispatch_stats stats;
    hk_dispatch_get_stats(fixture.dispatch, &stats);
    CHECK_INT(stats.queued_cold, 1);
    CHECK_INT(stats.written_warm, 0);
    CHECK(hk_respond_flush(fixture.respond, 5000));
    struct hk_respond_stats numbers;
    hk_respond_get_stats(fixture.respond, &numbers);
    CHECK_INT(numbers.unanswered, 1);
    tear_down(&fixture);
    remove_directory();
}

/* Refused by the receiver for good: listed, not repeated. */
TEST(refused) {
    new_directory();
    struct fixture fixture = set_up(true, 0, 0, 3600000, true);
    CHECK_INT(send_event(&fixture, "a", false, 1000, 1000), HK_OK);
    answer(400);
    CHECK(hk_respond_flush(fixture.respond, 5000));
    struct hk_respond_stats stats;
    hk_respond_get_stats(fixture.respond, &stats);
    CHECK_INT(stats.failed, 1);
    CHECK_INT(stats.unanswered, 0);
    struct hk_buf out;
    hk_buf_init(&out, 1 << 20);
    hk_respond_json_notifications(fixture.respond, 10, &out);
    CHECK(memmem(out.ptr, out.len, "\"state\":\"failed\"", 16) != NULL);
    CHECK(memmem(out.ptr, out.len, "\"httpStatus\":400", 16) != NULL);
    hk_buf_clear(&out);
    hk_respond_json_receivers(fixture.respond, &out);
    CHECK(memmem(out.ptr, out.len, "\"lastStatus\":400", 16) != NULL);
    CHECK(memmem(out.ptr, out.len, "http://127.0.0.1:1/…", 21) != NULL);
    hk_buf_deinit(&out);
    tear_down(&fixture);
    remove_directory();
}

/* Printed, not judged: what one crossing costs the shard. */
TEST(cost) {
    new_directory();
    struct fixture fixture = set_up(true, 0, 0, 3600000, true);
    enum { ROUNDS = 60 };
    int64_t best_ns = INT64_MAX;
    for (int i = 0; i < ROUNDS; i++) {
        char name[16];
        (void)snprintf(name, sizeof(name), "n%d", i);
        int64_t start_ns = hk_clock_monotonic_ns();
        CHECK_INT(send_event(&fixture, name, false, 1000, 1000), HK_OK);
        int64_t took_ns = hk_clock_monotonic_ns() - start_ns;
        if (took_ns < best_ns) best_ns = took_ns;
    }
    printf("# event to post: %lld ns at best\n", (long long)best_ns);
    tear_down(&fixture);
    remove_directory();
}

TEST(another_configuration) {
    new_directory();
    struct fixture fixture = set_up(true, 0, 0, 3600000, true);
    CHECK_INT(send_event(&fixture, "a", false, 1000, 1000), HK_OK);
    answer(200);
    CHECK_INT(wire.count, 1);
    /* A second webhook hears of it, the first (at another address) is not told again. */
    change(&fixture, 2, true);
    hk_dispatch_tick(fixture.dispatch, INT64_MAX / 2);
    CHECK_INT(wire.count, 2);
    answer(200);
    /* Grouped another way: nobody is told again, also not by a repetition of the event. */
    change(&fixture, 2, false);
    CHECK_INT(send_event(&fixture, "a", false, 1500, 1000), HK_OK);
    hk_dispatch_tick(fixture.dispatch, INT64_MAX / 2);
    CHECK_INT(wire.count, 2);
    CHECK_INT(send_event(&fixture, "a", true, 2000, 1000), HK_OK);
    CHECK_INT(wire.count, 4);
    CHECK_TEXT(wire.posts[2].status, "resolved");
    answer(200);
    CHECK(hk_respond_flush(fixture.respond, 5000));
    struct hk_respond_stats stats;
    hk_respond_get_stats(fixture.respond, &stats);
    CHECK_INT(stats.answered, 4);
    CHECK_INT(stats.failed, 0);
    tear_down(&fixture);
    remove_directory();
}

/* What was not answered fails when its receiver is gone; the others go on. */
TEST(a_receiver_is_gone) {
    new_directory();
    struct fixture fixture = set_up(true, 0, 0, 3600000, true);
    change(&fixture, 2, true);
    CHECK_INT(send_event(&fixture, "a", false, 1000, 1000), HK_OK);
    CHECK_INT(wire.count, 2);
    CHECK(hk_respond_flush(fixture.respond, 5000));
    change(&fixture, 0, true);
    CHECK(hk_respond_flush(fixture.respond, 5000));
    struct hk_respond_stats stats;
    hk_respond_get_stats(fixture.respond, &stats);
    CHECK_INT(stats.failed, 2);
    CHECK_INT(stats.unanswered, 0);
    CHECK_INT(send_event(&fixture, "b", false, 2000, 2000), HK_OK);
    CHECK_INT(wire.count, 2);
    tear_down(&fixture);
    remove_directory();
}

HK_TEST_MAIN()
