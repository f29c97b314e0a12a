/* Goal: commands get what they should and nothing else, end when they should, and their helper's
 * death is noticed. */
#include "hk_test.h"
#include "os/clock.h"
#include "respond/respond_internal.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

static struct {
    bool started, ended, refused, timed_out;
    int code, signal;
    uint64_t output_bytes;
    int64_t duration_ns;
    char head[HK_EXEC_OUTPUT_BYTES + 1], tail[HK_EXEC_OUTPUT_BYTES + 1], text[256];
} got;

static void on_report(void *self, const struct exec_report *report) {
    (void)self;
    got.started |= report->state == EXEC_STARTED;
    got.ended |= report->state == EXEC_ENDED;
    got.refused |= report->state == EXEC_REFUSED;
    got.timed_out = report->timed_out;
    got.code = report->exit_code;
    got.signal = report->signal;
    got.output_bytes = report->output_bytes;
    got.duration_ns = report->duration_ns;
    memcpy(got.head, report->head.ptr, report->head.len);
    got.head[report->head.len] = 0;
    memcpy(got.tail, report->tail.ptr, report->tail.len);
    got.tail[report->tail.len] = 0;
    (void)snprintf(got.text, sizeof(got.text), "%.*s", HK_STR_ARG(report->text));
}

/* Waits until `flag` or the helper's death; false on death. */
static bool wait_for(struct hk_exec_helper *helper, const bool *flag) {
    while (!*flag) {
        if (hk_exec_receive(helper, on_report, NULL) < 0) return *flag;
        if (*flag) break;
        struct pollfd fd = { .fd = hk_exec_fd(helper), .events = POLLIN };
        (void)poll(&fd, 1, 10000);
    }
    return true;
}

static hk_err send_script(
    struct hk_exec_helper *helper, const char *script, int64_t timeout_ms, struct hk_str input) {
    const struct hk_str argv[] = { HK_STR("/bin/sh"), HK_STR("-c"), hk_str_from(script) };
    struct hk_exec_config config = {
        .argv = argv, .argc = 3, .timeout_ms = timeout_ms, .kill_wait_ms = 100
    };
    struct exec_request request = {
        .request = 7,
        .config = &config,
        .environment = HK_STR("PATH=/usr/bin:/bin\0HARK_LABEL_a=b c;$(id)\0"),
        .input = input,
    };
    memset(&got, 0, sizeof(got));
    return hk_exec_send(helper, &request);
}

static struct hk_exec_helper *new_helper(void) {
    struct hk_exec_helper *helper = NULL;
    CHECK_INT(hk_exec_helper_start(&helper), HK_OK);
    return helper;
}

TEST(environment_and_input) {
    struct hk_exec_helper *helper = new_helper();
    CHECK_INT(
        send_script(
            helper, "echo \"$HARK_LABEL_a\"; cat; echo err >&2; pwd; exit 3", 5000,
            HK_STR("the input\n")),
        HK_OK);
    CHECK(wait_for(helper, &got.ended));
    CHECK(got.started);
    CHECK_INT(got.code, 3);
    CHECK_INT(got.signal, 0);
    CHECK_TEXT(got.head, "b c;$(id)\nthe input\nerr\n/\n");
    hk_exec_helper_stop(helper);
}

TEST(nothing_inherited) {
    /* Descriptors of this process, opened before and after the helper's start. */
    int before = open("/dev/null", O_RDONLY);
    struct hk_exec_helper *helper = new_helper();
    int after = open("/dev/null", O_RDONLY);
    (void)setenv("HK_SECRET", "x", 1);
    CHECK_INT(
        send_script(
            helper,
            "for n in 3 4 5 6 7 8 9 10 11 12; do [ -e /proc/$$/fd/$n ] && echo $n; done; "
            "env | grep -c SECRET",
            5000, HK_STR("")),
        HK_OK);
    CHECK(wait_for(helper, &got.ended));
    CHECK_TEXT(got.head, "0\n");
    (void)close(before);
    (void)close(after);
    hk_exec_helper_stop(helper);
}

TEST(no_new_privileges) {
    struct hk_exec_helper *helper = new_helper();
    CHECK_INT(
        send_script(
            helper,
            "while read a b; do [ $a = NoNewPrivs: ] && echo $b; done < /proc/$$/status; "
            "ulimit -c",
            5000, HK_STR("")),
        HK_OK);
    CHECK(wait_for(helper, &got.ended));
    CHECK_TEXT(got.head, "1\n0\n");
    hk_exec_helper_stop(helper);
}

/* Is a process with this number there? */
static bool lives(int pid) {
    char path[32];
    char text[256] = { 0 };
    (void)snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    int fd = open(path, O_RDONLY);
    if (fd < 0) return false;
    ssize_t len = read(fd, text, sizeof(text) - 1);
    (void)close(fd);
    const char *state = len > 0 ? strchr(text, ')') : NULL;
    return state != NULL && state[2] != 'Z'; /* ended, but not collected by its new parent */
}

TEST(timeout_ends_the_group) {
    struct hk_exec_helper *helper = new_helper();
    /* Both the shell and its child ignore SIGTERM; the child's number is printed. */
    CHECK_INT(
        send_script(
            helper, "trap '' TERM; sleep 60 & echo $!; wait; wait; sleep 60", 50, HK_STR("")),
        HK_OK);
    CHECK(wait_for(helper, &got.ended));
    CHECK(got.timed_out);
    CHECK_INT(got.signal, SIGKILL);
    int child = (int)strtol(got.head, NULL, 10);
    CHECK(child > 1);
    while (lives(child)) /* it was killed before the report */
        hk_sleep_ns(1000000);
    hk_exec_helper_stop(helper);
}

TEST(gentle_end) {
    struct hk_exec_helper *helper = new_helper();
    CHECK_INT(
        send_script(helper, "trap 'echo bye; exit 5' TERM; sleep 60 & wait", 50, HK_STR("")),
        HK_OK);
    CHECK(wait_for(helper, &got.ended));
    CHECK(got.timed_out);
    CHECK_INT(got.code, 5);
    CHECK_TEXT(got.head, "bye\n");
    hk_exec_helper_stop(helper);
}

/* What a command leaves running is ended with it. */
TEST(leftovers) {
    struct hk_exec_helper *helper = new_helper();
    CHECK_INT(send_script(helper, "sleep 60 & echo $!", 5000, HK_STR("")), HK_OK);
    CHECK(wait_for(helper, &got.ended));
    CHECK_INT(got.code, 0);
    int child = (int)strtol(got.head, NULL, 10);
    CHECK(child > 1);
    while (lives(child))
        hk_sleep_ns(1000000);
    hk_exec_helper_stop(helper);
}

TEST(bounded_output) {
    struct hk_exec_helper *helper = new_helper();
    CHECK_INT(
        send_script(
            helper, "echo begin; head -c 1000000 /dev/zero | tr '\\0' x; echo end", 5000,
            HK_STR("")),
        HK_OK);
    CHECK(wait_for(helper, &got.ended));
    CHECK_INT(got.output_bytes, 1000010);
    CHECK_INT(strlen(got.head), HK_EXEC_OUTPUT_BYTES);
    CHECK_INT(strlen(got.tail), HK_EXEC_OUTPUT_BYTES);
    CHECK(strncmp(got.head, "begin\nxxx", 9) == 0);
    CHECK(strcmp(got.tail + HK_EXEC_OUTPUT_BYTES - 5, "xend\n") == 0);
    hk_exec_helper_stop(helper);
}

/* A command that does not read a large input, and one that reads it late. */
TEST(large_input) {
    struct hk_exec_helper *helper = new_helper();
    static char input[300000];
    memset(input, 'y', sizeof(input));
    CHECK_INT(send_script(helper, "exit 0", 5000, (struct hk_str){ input, sizeof(input) }), HK_OK);
    CHECK(wait_for(helper, &got.ended));
    CHECK_INT(got.code, 0);
    CHECK_INT(send_script(helper, "wc -c", 5000, (struct hk_str){ input, sizeof(input) }), HK_OK);
    CHECK(wait_for(helper, &got.ended));
    CHECK_INT(strtol(got.head, NULL, 10), 300000);
    hk_exec_helper_stop(helper);
}

TEST(refusals) {
    struct hk_exec_helper *helper = new_helper();
    const struct hk_str argv[] = { HK_STR("/nowhere/at/all") };
    struct hk_exec_config config = { .argv = argv, .argc = 1 };
    struct exec_request request = { .request = 1, .config = &config };
    memset(&got, 0, sizeof(got));
    CHECK_INT(hk_exec_send(helper, &request), HK_OK);
    CHECK(wait_for(helper, &got.refused));
    CHECK_TEXT(got.text, "cannot start: No such file or directory");
    static char input[HK_EXEC_REQUEST_BYTES_MAX];
    CHECK_INT(send_script(helper, "true", 0, (struct hk_str){ input, sizeof(input) }), HK_E_LIMIT);
    /* More at once than may wait and run: the rest is refused, nothing is lost. */
    for (int i = 0; i < HK_EXEC_RUNNING_MAX + HK_EXEC_WAITING_MAX + 1; i++)
        CHECK_INT(send_script(helper, "sleep 60", 2000, HK_STR("")), HK_OK);
    CHECK(wait_for(helper, &got.refused));
    CHECK_TEXT(got.text, "too many commands run and wait already");
    hk_exec_helper_stop(helper); /* the helper drops what waits and ends the others */
}

TEST(dead_helper) {
    struct hk_exec_helper *helper = new_helper();
    bool never = false;
    CHECK_INT(kill((pid_t)hk_exec_helper_pid(helper), SIGKILL), 0);
    CHECK(!wait_for(helper, &never));
    CHECK_INT(hk_exec_fd(helper), -1);
    CHECK_INT(send_script(helper, "true", 0, HK_STR("")), HK_E_CLOSED);
    hk_exec_helper_stop(helper);
}

/* The server goes: a running command ends by its own timeout, watched by the helper. */
TEST(server_goes) {
    struct hk_exec_helper *helper = new_helper();
    char path[] = "/tmp/hk-exec-XXXXXX";
    int file = mkstemp(path);
    char script[256];
    (void)snprintf(
        script, sizeof(script), "echo $$ > %s.pid; mv %s.pid %s; sleep 60", path, path, path);
    CHECK_INT(send_script(helper, script, 300, HK_STR("")), HK_OK);
    CHECK(wait_for(helper, &got.started));
    hk_exec_helper_stop(helper);
    int pid = 0;
    while (pid == 0) {
        char text[32] = { 0 };
        int fd = open(path, O_RDONLY);
        if (read(fd, text, sizeof(text) - 1) > 0) pid = (int)strtol(text, NULL, 10);
        (void)close(fd);
        hk_sleep_ns(1000000);
    }
    CHECK(pid > 1);
    while (lives(pid))
        hk_sleep_ns(1000000);
    (void)close(file);
    (void)unlink(path);
}

/* Printed, not judged: from the call to "exec has succeeded". */
TEST(cost) {
    struct hk_exec_helper *helper = new_helper();
    int64_t best_ns = INT64_MAX;
    int64_t best_call_ns = INT64_MAX;
    const struct hk_str argv[] = { HK_STR("/bin/true") };
    struct hk_exec_config config = { .argv = argv, .argc = 1 };
    struct exec_request request = { .request = 1, .config = &config };
    for (int i = 0; i < 30; i++) {
        memset(&got, 0, sizeof(got));
        int64_t start_ns = hk_clock_monotonic_ns();
        CHECK_INT(hk_exec_send(helper, &request), HK_OK);
        int64_t call_ns = hk_clock_monotonic_ns() - start_ns;
        CHECK(wait_for(helper, &got.started));
        int64_t took_ns = hk_clock_monotonic_ns() - start_ns;
        if (took_ns < best_ns) best_ns = took_ns;
        if (call_ns < best_call_ns) best_call_ns = call_ns;
        CHECK(wait_for(helper, &got.ended));
    }
    printf(
        "# call: %lld ns, begun and known after %lld us at best\n", (long long)best_call_ns,
        (long long)best_ns / 1000);
    hk_exec_helper_stop(helper);
}

HK_TEST_MAIN()
