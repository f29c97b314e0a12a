/* Goal: what was accepted is sent at least once with the same id, over errors and crashes; commands
 * run at most once. */
#include "hk_test.h"
#include "os/clock.h"
#include "os/file.h"
#include "os/thread.h"
#include "respond/respond.h"

#include <arpa/inet.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* --- A receiver ------------------------------------------------------------------------------- */

enum { REQUESTS_MAX = 64 };

static struct {
    int fd;
    unsigned port;
    struct hk_thread thread;
    struct hk_event event;
    int fail_first; /* so many requests are answered with `fail_status` */
    int fail_status;
    _Atomic int count;
    char ids[REQUESTS_MAX][128];
    char bodies[REQUESTS_MAX][4096];
    char paths[REQUESTS_MAX][64];
} sink;

/* Reads one request; false at the end of the connection. */
static bool read_request(int fd, char *text, size_t room) {
    size_t len = 0;
    for (;;) {
        ssize_t got = read(fd, text + len, room - 1 - len);
        if (got <= 0) return false;
        len += (size_t)got;
        text[len] = 0;
        const char *end = strstr(text, "\r\n\r\n");
        const char *length = strcasestr(text, "content-length:");
        if (end == NULL || length == NULL) continue;
        if (len >= (size_t)(end + 4 - text) + strtoul(length + 15, NULL, 10)) return true;
    }
}

static void keep_request(const char *text, int at) {
    const char *id = strcasestr(text, "X-Hark-Notification-Id: ");
    const char *body = strstr(text, "\r\n\r\n");
    (void)sscanf(text, "POST %63s", sink.paths[at]);
    if (id != NULL) (void)sscanf(id + 24, "%127[^\r]", sink.ids[at]);
    (void)snprintf(sink.bodies[at], sizeof(sink.bodies[at]), "%s", body + 4);
}

static void serve_connection(int fd) {
    static char text[1 << 20];
    while (read_request(fd, text, sizeof(text))) {
        int at = atomic_load(&sink.count);
        if (at < REQUESTS_MAX) keep_request(text, at);
        int status = at < sink.fail_first ? sink.fail_status : 200;
        char answer[128];
        int len = snprintf(
            answer, sizeof(answer),
            "HTTP/1.1 %d x\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok", status);
        if (write(fd, answer, (size_t)len) < 0) return;
        atomic_store(&sink.count, at + 1);
        hk_event_raise(&sink.event);
        return;
    }
}

static void serve(void *arg) {
    (void)arg;
    for (;;) {
        int fd = accept(sink.fd, NULL, NULL);
        if (fd < 0) return;
        serve_connection(fd);
        (void)close(fd);
    }
}

static void start_sink(int fail_first, int fail_status) {
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof(address);
    memset(&sink, 0, sizeof(sink));
    sink.fail_first = fail_first;
    sink.fail_status = fail_status;
    sink.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK_INT(bind(sink.fd, (struct sockaddr *)&address, sizeof(address)), 0);
    CHECK_INT(getsockname(sink.fd, (struct sockaddr *)&address, &len), 0);
    sink.port = ntohs(address.sin_port);
    hk_event_init(&sink.event);
}

/* Takes connections from now on; before, they are refused. */
static void open_sink(void) {
    CHECK_INT(listen(sink.fd, 64), 0);
    CHECK_INT(hk_thread_start(&sink.thread, "sink", serve, NULL), 0);
}

static void stop_sink(void) {
    (void)shutdown(sink.fd, SHUT_RDWR);
    hk_thread_join(&sink.thread);
    (void)close(sink.fd);
    hk_event_deinit(&sink.event);
}

static void wait_requests(int count) {
    while (atomic_load(&sink.count) < count)
        (void)hk_event_wait(&sink.event, 1000000000);
}

/* --- Set-up ----------------------------------------------------------------------------------- */

static char directory[64];

static void new_directory(void) {
    (void)snprintf(directory, sizeof(directory), "/tmp/hk-outbox-XXXXXX");
    CHECK(mkdtemp(directory) != NULL);
}

static int remove_entry(void *self, const char *name) {
    char path[512];
    (void)self;
    (void)snprintf(path, sizeof(path), "%s/%s", directory, name);
    return hk_file_remove(path);
}

static void remove_directory(void) {
    CHECK_INT(hk_dir_list(directory, remove_entry, NULL), 0);
    CHECK_INT(rmdir(directory), 0);
}

struct fixture {
    struct hk_respond *respond;
    struct hk_dispatch *dispatch;
};

struct setting {
    bool webhook, push;
    struct hk_exec_helper *exec;
    const char *script;
    int64_t resend_ms;
};

static struct fixture set_up(const struct setting *setting) {
    char url[64];
    (void)snprintf(url, sizeof(url), "http://127.0.0.1:%u/hook", sink.port);
    struct hk_webhook_config webhook = { .endpoint = { .url = hk_str_from(url) },
                                         .send_resolved = true };
    struct hk_str argv[] = { HK_STR("/bin/sh"), HK_STR("-c"), hk_str_from(setting->script) };
    struct hk_exec_config exec = { .argv = argv, .argc = 3, .timeout_ms = 60000 };
    struct hk_receiver_config receiver = {
        .name = HK_STR("ops"),
        .webhooks = &webhook,
        .webhook_count = setting->webhook ? 1 : 0,
        .execs = &exec,
        .exec_count = setting->script != NULL ? 1 : 0,
    };
    struct hk_label external[] = { { HK_STR("dc"), HK_STR("x") } };
    struct hk_respond_config config = {
        .directory = hk_str_from(directory),
        .external_url = HK_STR("http://hark"),
        .receivers = &receiver,
        .receiver_count = 1,
        .route = { .receiver = HK_STR("ops"), .group_by_all = true },
        .exec = setting->exec,
        .push = { .endpoints = &webhook.endpoint,
                  .endpoint_count = setting->push ? 1 : 0,
                  .external_labels = { external, 1 },
                  .resend_ms = setting->resend_ms },
        .retry_first_ms = 10,
        .retry_last_ms = 40,
    };
    struct fixture made = { NULL, NULL };
    CHECK_INT(hk_respond_create(&config, &made.respond), HK_OK);
    CHECK_INT(hk_dispatch_create(made.respond, NULL, &made.dispatch), HK_OK);
    return made;
}

static void tear_down(struct fixture *fixture) {
    hk_dispatch_destroy(fixture->dispatch);
    hk_respond_destroy(fixture->respond);
}

static void send_event(struct fixture *fixture, const char *instance, bool resolved) {
    struct hk_label items[] = { { HK_STR("alertname"), HK_STR("Down") },
                                { HK_STR("instance"), hk_str_from(instance) } };
    struct hk_alert_event event = { .rule = HK_STR("Down"),
                                    .labels = { items, 2 },
                                    .episode_ms = 1000,
                                    .active_ms = 1000,
                                    .starts_ms = 1000,
                                    .ends_ms = resolved ? 2000 : 0,
                                    .value = 1.5,
                                    .resolved = resolved };
    event.fingerprint = hk_fingerprint(event.labels);
    CHECK_INT(hk_dispatch_event(fixture->dispatch, &event, resolved ? 2000 : 1000), HK_OK);
}

/* Waits until the condition holds for the numbers. */
#define WAIT_STATS(fixture, condition)                                                             \
    do {                                                                                           \
        struct hk_respond_stats stats;                                                             \
        hk_respond_get_stats((fixture)->respond, &stats);                                          \
        if (condition) break;                                                                      \
        hk_sleep_ns(1000000);                                                                      \
    } while (true)

/* --- Tests ------------------------------------------------------------------------------------ */

TEST(sends_and_repeats) {
    new_directory();
    start_sink(2, 503);
    open_sink();
    struct setting setting = { .webhook = true };
    struct fixture fixture = set_up(&setting);
    send_event(&fixture, "a", false);
    wait_requests(3);
    WAIT_STATS(&fixture, stats.answered == 1 && stats.unanswered == 0 && stats.retried == 2);
    CHECK_TEXT(sink.ids[0], sink.ids[1]);
    CHECK_TEXT(sink.ids[0], sink.ids[2]);
    CHECK_TEXT(sink.bodies[0], sink.bodies[2]);
    CHECK(strstr(sink.bodies[0], "\"version\":\"4\"") != NULL);
    CHECK(strstr(sink.bodies[0], sink.ids[0]) != NULL);
    CHECK_TEXT(sink.paths[0], "/hook");
    tear_down(&fixture);
    stop_sink();
    remove_directory();
}

TEST(final_answers) {
    new_directory();
    start_sink(1, 404);
    open_sink();
    struct setting setting = { .webhook = true };
    struct fixture fixture = set_up(&setting);
    send_event(&fixture, "a", false);
    WAIT_STATS(&fixture, stats.failed == 1 && stats.unanswered == 0);
    send_event(&fixture, "b", false);
    WAIT_STATS(&fixture, stats.answered == 1);
    CHECK_INT(atomic_load(&sink.count), 2);
    tear_down(&fixture);
    /* The failed one is still listed after a restart. */
    fixture = set_up(&setting);
    struct hk_buf out;
    hk_buf_init(&out, 1 << 20);
    hk_respond_json_notifications(fixture.respond, 10, &out);
    CHECK(memmem(out.ptr, out.len, "\"state\":\"failed\"", 16) != NULL);
    CHECK(memmem(out.ptr, out.len, "\"httpStatus\":404", 16) != NULL);
    hk_buf_deinit(&out);
    tear_down(&fixture);
    stop_sink();
    remove_directory();
}

/* Runs `body` in a child that is killed when it says so; returns when it is gone. */
static void in_killed_process(void (*body)(int say)) {
    int ends[2];
    char byte = 0;
    CHECK_INT(pipe(ends), 0);
    pid_t pid = fork();
    if (pid == 0) {
        (void)close(ends[0]);
        body(ends[1]);
        _exit(1);
    }
    (void)close(ends[1]);
    CHECK_INT(read(ends[0], &byte, 1), 1);
    (void)kill(pid, SIGKILL);
    CHECK_INT(waitpid(pid, NULL, 0), pid);
    (void)close(ends[0]);
}

static void accept_three(int say) {
    struct setting setting = { .webhook = true };
    struct fixture fixture = set_up(&setting); /* nobody listens yet */
    send_event(&fixture, "a", false);
    send_event(&fixture, "b", false);
    send_event(&fixture, "c", false);
    if (!hk_respond_flush(fixture.respond, 10000)) _exit(2);
    (void)!write(say, "x", 1);
    for (;;)
        (void)pause();
}

TEST(crash_before_the_answer) {
    new_directory();
    start_sink(0, 0);
    in_killed_process(accept_three);
    open_sink();
    struct setting setting = { .webhook = true };
    struct fixture fixture = set_up(&setting);
    wait_requests(3);
    WAIT_STATS(&fixture, stats.unanswered == 0 && stats.answered == 3);
    /* The alerts fire still: told already. */
    send_event(&fixture, "a", false);
    CHECK(hk_respond_flush(fixture.respond, 10000));
    struct hk_respond_stats stats;
    hk_respond_get_stats(fixture.respond, &stats);
    CHECK_INT(stats.written, 0);
    CHECK_INT(stats.duplicates_after_restart, 3);
    tear_down(&fixture);
    CHECK_INT(atomic_load(&sink.count), 3);
    CHECK(strcmp(sink.ids[0], sink.ids[1]) != 0);
    stop_sink();
    remove_directory();
}

static char marker[80];

static char script[256];

static void make_script(const char *then) {
    (void)snprintf(marker, sizeof(marker), "%s/marker", directory);
    (void)snprintf(
        script, sizeof(script), "echo \"$HARK_ALERTNAME $HARK_STATUS $HARK_VALUE\" >> %s; %s",
        marker, then);
}

static size_t read_marker(char *out, size_t room) {
    FILE *file = fopen(marker, "re");
    if (file == NULL) return 0;
    size_t len = fread(out, 1, room - 1, file);
    out[len] = 0;
    (void)fclose(file);
    return len;
}

TEST(command) {
    new_directory();
    make_script("cat; exit 0");
    struct hk_exec_helper *helper = NULL;
    CHECK_INT(hk_exec_helper_start(&helper), HK_OK);
    struct setting setting = { .exec = helper, .script = script };
    struct fixture fixture = set_up(&setting);
    send_event(&fixture, "a", false);
    WAIT_STATS(&fixture, stats.exec_done == 1 && stats.unanswered == 0);
    send_event(&fixture, "a", true); /* not asked for */
    CHECK(hk_respond_flush(fixture.respond, 10000));
    char text[256];
    CHECK(read_marker(text, sizeof(text)) > 0);
    CHECK_TEXT(text, "Down firing 1.5\n");
    struct hk_buf out;
    hk_buf_init(&out, 1 << 20);
    hk_respond_json_actions(fixture.respond, 10, &out);
    CHECK(memmem(out.ptr, out.len, "\"state\":\"done\"", 14) != NULL);
    CHECK(memmem(out.ptr, out.len, "\\\"version\\\":\\\"4\\\"", 17) != NULL);
    hk_buf_deinit(&out);
    tear_down(&fixture);
    hk_exec_helper_stop(helper);
    remove_directory();
}

static void run_and_say(int say) {
    struct hk_exec_helper *helper = NULL;
    if (hk_exec_helper_start(&helper) < 0) _exit(2);
    struct setting setting = { .exec = helper, .script = script };
    struct fixture fixture = set_up(&setting);
    char text[256];
    send_event(&fixture, "a", false);
    while (read_marker(text, sizeof(text)) == 0)
        hk_sleep_ns(1000000);
    (void)!write(say, "x", 1);
    for (;;)
        (void)pause();
}

/* Killed while the command runs: unknown afterwards, listed, and never run again. */
TEST(command_and_crash) {
    new_directory();
    make_script("sleep 0.05");
    in_killed_process(run_and_say);
    struct hk_exec_helper *helper = NULL;
    CHECK_INT(hk_exec_helper_start(&helper), HK_OK);
    struct setting setting = { .exec = helper, .script = script };
    struct fixture fixture = set_up(&setting);
    struct hk_respond_stats stats;
    hk_respond_get_stats(fixture.respond, &stats);
    CHECK_INT(stats.exec_unknown, 1);
    send_event(&fixture, "a", false); /* the same episode is restored */
    CHECK(hk_respond_flush(fixture.respond, 10000));
    hk_respond_get_stats(fixture.respond, &stats);
    CHECK_INT(stats.exec_started, 0);
    struct hk_buf out;
    hk_buf_init(&out, 1 << 20);
    hk_respond_json_actions(fixture.respond, 10, &out);
    CHECK(memmem(out.ptr, out.len, "\"state\":\"unknown\"", 17) != NULL);
    hk_buf_deinit(&out);
    tear_down(&fixture);
    char text[256];
    CHECK(read_marker(text, sizeof(text)) > 0);
    CHECK_TEXT(text, "Down firing 1.5\n");
    hk_exec_helper_stop(helper);
    remove_directory();
}

TEST(dead_helper) {
    new_directory();
    make_script("sleep 5");
    struct hk_exec_helper *helper = NULL;
    CHECK_INT(hk_exec_helper_start(&helper), HK_OK);
    struct setting setting = { .exec = helper, .script = script };
    struct fixture fixture = set_up(&setting);
    send_event(&fixture, "a", false);
    WAIT_STATS(&fixture, stats.exec_started == 1);
    (void)kill((pid_t)hk_exec_helper_pid(helper), SIGKILL);
    WAIT_STATS(&fixture, !stats.exec_alive && stats.exec_unknown == 1);
    send_event(&fixture, "b", false);
    WAIT_STATS(&fixture, stats.exec_refused == 1);
    tear_down(&fixture);
    hk_exec_helper_stop(helper);
    remove_directory();
}

TEST(push) {
    new_directory();
    start_sink(1, 500);
    open_sink();
    struct setting setting = { .push = true, .resend_ms = 60000 };
    struct fixture fixture = set_up(&setting);
    send_event(&fixture, "a", false);
    wait_requests(2); /* the first one is repeated */
    WAIT_STATS(&fixture, stats.push_sent == 1 && stats.push_alerts == 1);
    CHECK_TEXT(sink.bodies[0], sink.bodies[1]);
    static const char begins[] =
        "[{\"labels\":{\"alertname\":\"Down\",\"dc\":\"x\",\"instance\":\"a\"},\"annotations\":{},"
        "\"startsAt\":\"1970-01-01T00:00:01.000Z\",\"endsAt\":\"";
    CHECK(strncmp(sink.bodies[0], begins, strlen(begins)) == 0);
    send_event(&fixture, "a", true);
    wait_requests(3);
    CHECK(strstr(sink.bodies[2], "\"endsAt\":\"1970-01-01T00:00:02.000Z\"") != NULL);
    tear_down(&fixture);
    stop_sink();
    remove_directory();
}

TEST(damaged_file) {
    new_directory();
    char path[128];
    (void)snprintf(path, sizeof(path), "%s/outbox.db", directory);
    FILE *file = fopen(path, "we");
    CHECK(file != NULL);
    for (int i = 0; file != NULL && i < 10000; i++)
        (void)fputc("damaged "[i % 8], file);
    if (file != NULL) (void)fclose(file);
    start_sink(0, 0);
    open_sink();
    struct setting setting = { .webhook = true };
    struct fixture fixture = set_up(&setting);
    send_event(&fixture, "a", false);
    wait_requests(1);
    tear_down(&fixture);
    stop_sink();
    remove_directory();
}

TEST(bad_configuration) {
    new_directory();
    struct hk_webhook_config webhook = { .endpoint = { .url = HK_STR("ftp://x") } };
    struct hk_str argv[] = { HK_STR("relative") };
    struct hk_exec_config exec = { .argv = argv, .argc = 1 };
    struct hk_receiver_config receiver = { .name = HK_STR("ops"),
                                           .webhooks = &webhook,
                                           .webhook_count = 1 };
    struct hk_respond_config config = { .directory = hk_str_from(directory),
                                        .receivers = &receiver,
                                        .receiver_count = 1,
                                        .route = { .receiver = HK_STR("nobody") } };
    struct hk_respond *respond = NULL;
    CHECK_INT(hk_respond_create(&config, &respond), HK_E_INVALID);
    CHECK_TEXT(hk_fail_text(), "route: there is no receiver named \"nobody\"");
    config.route.receiver = HK_STR("ops");
    CHECK_INT(hk_respond_create(&config, &respond), HK_E_INVALID);
    CHECK_TEXT(hk_fail_text(), "receiver ops: the URL must begin with http:// or https://");
    receiver.webhook_count = 0;
    receiver.execs = &exec;
    receiver.exec_count = 1;
    CHECK_INT(hk_respond_create(&config, &respond), HK_E_INVALID);
    remove_directory();
}

HK_TEST_MAIN()
