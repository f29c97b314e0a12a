/*
 * The helper process: starts commands, feeds them their input, keeps the head and tail of their
 * output, ends them at their timeout. One thread, one poll loop.
 *
 * (1) A slot is used from the start of a command until its report is written to `out`.
 * (2) A command's process group is only signalled while its leader is not collected.
 */
#include "base/buf.h"
#include "base/mem.h"
#include "os/clock.h"
#include "os/file.h"
#include "os/process.h"
#include "respond/exec_wire.h"
#include "respond/respond_internal.h"

#include <errno.h>
#include <stdio.h>

enum {
    OUT_BYTES_MAX = 8 << 20,
    FDS_PER_COMMAND = 3,
    READS_PER_TURN = 16, /* of 4 KiB: a command that floods does not starve the others */
    TIMEOUT_MS_DEFAULT = 30000,
    KILL_WAIT_MS_DEFAULT = 5000
};

/* A request that waits or runs. */
struct command {
    struct wire_request head;
    char *data; /* strings and input, owned */
    size_t input_at;
    int64_t pid, started_ns, term_ns, kill_ns;
    int pidfd, input_fd, output_fd;
    bool terminated, killed;
    uint64_t output_bytes;
    size_t output_head_len, tail_at; /* tail: ring */
    char output_head[HK_EXEC_OUTPUT_BYTES], tail[HK_EXEC_OUTPUT_BYTES];
};

struct helper {
    int fd; /* -1: the server has gone */
    struct hk_buf in, out;
    size_t out_at; /* written so far */
    struct command *running[HK_EXEC_RUNNING_MAX];
    struct command *waiting[HK_EXEC_WAITING_MAX]; /* ring */
    uint32_t waiting_first, waiting_count;
};

static void free_command(struct command *command) {
    if (command == NULL) return;
    if (command->pidfd >= 0) hk_file_close(command->pidfd);
    if (command->input_fd >= 0) hk_file_close(command->input_fd);
    if (command->output_fd >= 0) hk_file_close(command->output_fd);
    hk_mem_free(command->data);
    hk_mem_free(command);
}

/* --- Reports ---------------------------------------------------------------------------------- */

static void report(
    struct helper *helper, const struct command *command, enum exec_state state, int code,
    int signal_number, const char *text) {
    struct hk_str head = { command->output_head, command->output_head_len };
    size_t beyond =
        command->output_bytes > head.len ? (size_t)(command->output_bytes - head.len) : 0;
    size_t tail = beyond < HK_EXEC_OUTPUT_BYTES ? beyond : HK_EXEC_OUTPUT_BYTES;
    if (state != EXEC_ENDED) head.len = tail = 0;
    struct wire_report wire = {
        .request = command->head.request,
        .duration_ns = command->started_ns == 0 ? 0 : hk_clock_monotonic_ns() - command->started_ns,
        .output_bytes = command->output_bytes,
        .state = (int32_t)state,
        .pid = (int32_t)command->pid,
        .exit_code = code,
        .signal = signal_number,
        .timed_out = command->terminated,
        .bytes = (uint32_t)(head.len + tail + strlen(text)),
        .head_bytes = (uint32_t)head.len,
        .tail_bytes = (uint32_t)tail,
    };
    if (hk_buf_reserve(&helper->out, sizeof(wire) + wire.bytes) == NULL) {
        hk_buf_clear(&helper->out); /* nobody has read 8 MiB of reports: give up on the server */
        helper->out_at = 0;
        hk_file_close(helper->fd);
        helper->fd = -1;
        return;
    }
    hk_buf_bytes(&helper->out, &wire, sizeof(wire));
    hk_buf_str(&helper->out, head);
    size_t start = beyond > HK_EXEC_OUTPUT_BYTES ? command->tail_at : 0;
    for (size_t i = 0; i < tail; i++)
        hk_buf_char(&helper->out, command->tail[(start + i) % HK_EXEC_OUTPUT_BYTES]);
    hk_buf_text(&helper->out, text);
}

static void flush(struct helper *helper) {
    while (helper->fd >= 0 && helper->out_at < helper->out.len) {
        int64_t wrote = hk_fd_send(
            helper->fd, helper->out.ptr + helper->out_at, helper->out.len - helper->out_at);
        if (wrote == -EAGAIN) return;
        if (wrote < 0) {
            hk_file_close(helper->fd);
            helper->fd = -1;
            return;
        }
        helper->out_at += (size_t)wrote;
    }
    hk_buf_clear(&helper->out);
    helper->out_at = 0;
}

/* --- Commands --------------------------------------------------------------------------------- */

/* Points at the strings in a request's data. False: they do not fit. */
static bool split_strings(
    const struct wire_request *head, const char *data, const char **argv, const char **env) {
    size_t at = 0;
    size_t end = head->bytes - head->input_bytes;
    for (uint32_t i = 0; i < head->argc + head->envc; i++) {
        const char *nul = at < end ? memchr(data + at, 0, end - at) : NULL;
        if (nul == NULL) return false;
        if (i < head->argc)
            argv[i] = data + at;
        else
            env[i - head->argc] = data + at;
        at = (size_t)(nul - data) + 1;
    }
    argv[head->argc] = NULL;
    env[head->envc] = NULL;
    return at == end;
}

static int start_process(struct command *command, const char **argv, const char **env) {
    int input[2];
    int output[2];
    int err = hk_pipe_create(input);
    if (err < 0) return err;
    err = hk_pipe_create(output);
    if (err < 0) {
        hk_file_close(input[0]);
        hk_file_close(input[1]);
        return err;
    }
    /* The command's ends block as a command expects. */
    (void)hk_fd_set_blocking(input[0]);
    (void)hk_fd_set_blocking(output[1]);
    struct hk_spawn spawn = { .argv = argv,
                              .env = env,
                              .input_fd = input[0],
                              .output_fd = output[1],
                              .memory_max = command->head.memory_max,
                              .cpu_s_max = command->head.cpu_s_max };
    command->started_ns = hk_clock_monotonic_ns();
    err = hk_process_spawn(&spawn, &command->pid, &command->pidfd);
    hk_file_close(input[0]);
    hk_file_close(output[1]);
    command->input_fd = input[1];
    command->output_fd = output[0];
    return err;
}

/* Takes the command. */
static void start(struct helper *helper, struct command *command, struct command **slot) {
    const char *argv[HK_EXEC_ARGUMENTS_MAX + 1];
    const char *env[HK_EXEC_ENVIRONMENT_MAX + 1];
    char text[RESULT_TEXT_MAX];
    int err = -EINVAL;
    if (split_strings(&command->head, command->data, argv, env))
        err = start_process(command, argv, env);
    if (err < 0) {
        (void)snprintf(text, sizeof(text), "cannot start: %s", strerror(-err));
        report(helper, command, EXEC_REFUSED, -1, 0, text);
        free_command(command);
        return;
    }
    int64_t timeout_ms = command->head.timeout_ms;
    if (timeout_ms <= 0) timeout_ms = TIMEOUT_MS_DEFAULT;
    command->term_ns = command->started_ns + timeout_ms * 1000000;
    report(helper, command, EXEC_STARTED, 0, 0, "");
    *slot = command;
}

static struct command **free_slot(struct helper *helper) {
    for (size_t i = 0; i < HK_EXEC_RUNNING_MAX; i++) {
        if (helper->running[i] == NULL) return &helper->running[i];
    }
    return NULL;
}

static void start_waiting(struct helper *helper) {
    while (helper->waiting_count > 0) {
        struct command **slot = free_slot(helper);
        if (slot == NULL) return;
        struct command *command = helper->waiting[helper->waiting_first];
        helper->waiting_first = (helper->waiting_first + 1) % HK_EXEC_WAITING_MAX;
        helper->waiting_count--;
        start(helper, command, slot);
    }
}

static void take_request(struct helper *helper, const struct wire_request *head, const char *data) {
    struct command *command = hk_mem_alloc(1, sizeof(*command));
    if (command != NULL) command->data = hk_mem_copy(data, head->bytes);
    if (command == NULL || command->data == NULL) {
        hk_mem_free(command);
        return; /* the server lists it as unknown when this helper ends */
    }
    command->head = *head;
    command->pidfd = command->input_fd = command->output_fd = -1;
    if (helper->waiting_count == HK_EXEC_WAITING_MAX) {
        report(helper, command, EXEC_REFUSED, -1, 0, "too many commands run and wait already");
        free_command(command);
        return;
    }
    uint32_t at = (helper->waiting_first + helper->waiting_count) % HK_EXEC_WAITING_MAX;
    helper->waiting[at] = command;
    helper->waiting_count++;
}

/* Requests that are complete in `in`. False: what came is not a request. */
static bool take_requests(struct helper *helper) {
    size_t at = 0;
    struct wire_request head;
    while (helper->in.len - at >= sizeof(head)) {
        memcpy(&head, helper->in.ptr + at, sizeof(head));
        if (head.bytes > HK_EXEC_REQUEST_BYTES_MAX || head.argc == 0 ||
            head.argc > HK_EXEC_ARGUMENTS_MAX || head.envc > HK_EXEC_ENVIRONMENT_MAX ||
            head.input_bytes > head.bytes) {
            return false;
        }
        if (helper->in.len - at - sizeof(head) < head.bytes) break;
        take_request(helper, &head, helper->in.ptr + at + sizeof(head));
        at += sizeof(head) + head.bytes;
        start_waiting(helper);
    }
    if (at > 0) memmove(helper->in.ptr, helper->in.ptr + at, helper->in.len - at);
    helper->in.len -= at;
    return true;
}

static void receive(struct helper *helper) {
    for (;;) {
        char *to = hk_buf_reserve(&helper->in, 65536);
        int64_t got = to == NULL ? -ENOMEM : hk_fd_read(helper->fd, to, 65536);
        if (got == -EAGAIN) return;
        bool fine = got > 0;
        if (fine) {
            helper->in.len += (size_t)got;
            fine = take_requests(helper);
        }
        if (!fine) { /* the server has gone, or does not make sense */
            hk_file_close(helper->fd);
            helper->fd = -1;
            return;
        }
    }
}

/* --- Running commands ------------------------------------------------------------------------- */

static void keep_output(struct command *command, const char *from, size_t bytes) {
    command->output_bytes += bytes;
    size_t room = HK_EXEC_OUTPUT_BYTES - command->output_head_len;
    size_t part = bytes < room ? bytes : room;
    memcpy(command->output_head + command->output_head_len, from, part);
    command->output_head_len += part;
    for (size_t i = part; i < bytes; i++) {
        command->tail[command->tail_at] = from[i];
        command->tail_at = (command->tail_at + 1) % HK_EXEC_OUTPUT_BYTES;
    }
}

static void read_output(struct command *command) {
    char bytes[4096];
    for (int turn = 0; turn < READS_PER_TURN && command->output_fd >= 0; turn++) {
        int64_t got = hk_fd_read(command->output_fd, bytes, sizeof(bytes));
        if (got == -EAGAIN) return;
        if (got <= 0) {
            hk_file_close(command->output_fd);
            command->output_fd = -1;
            return;
        }
        keep_output(command, bytes, (size_t)got);
    }
}

static void write_input(struct command *command) {
    const char *input = command->data + (command->head.bytes - command->head.input_bytes);
    while (command->input_at < command->head.input_bytes) {
        int64_t wrote = hk_fd_write(
            command->input_fd, input + command->input_at,
            command->head.input_bytes - command->input_at);
        if (wrote == -EAGAIN) return;
        if (wrote < 0) break; /* it does not want to read: fine */
        command->input_at += (size_t)wrote;
    }
    hk_file_close(command->input_fd);
    command->input_fd = -1;
}

/* Timeouts; gives back when it must be called again, in ns. */
static int64_t check_timeout(struct command *command, int64_t now_ns) {
    if (!command->terminated && now_ns >= command->term_ns) {
        int64_t wait_ms = command->head.kill_wait_ms;
        if (wait_ms <= 0) wait_ms = KILL_WAIT_MS_DEFAULT;
        command->terminated = true;
        command->kill_ns = now_ns + wait_ms * 1000000;
        (void)hk_process_stop(command->pid, false); /* (2) */
    }
    if (command->terminated && !command->killed && now_ns >= command->kill_ns) {
        command->killed = true;
        (void)hk_process_stop(command->pid, true); /* (2) */
    }
    if (command->killed) return INT64_MAX;
    return command->terminated ? command->kill_ns : command->term_ns;
}

/* True when the command has ended and was reported. */
static bool check_end(struct helper *helper, struct command *command) {
    int code = 0;
    int signal_number = 0;
    if (hk_process_reap(command->pid, &code, &signal_number) == -EAGAIN) return false;
    read_output(command); /* what is in the pipe; its group is gone */
    report(helper, command, EXEC_ENDED, code, signal_number, "");
    return true;
}

static void serve_commands(struct helper *helper) {
    for (size_t i = 0; i < HK_EXEC_RUNNING_MAX; i++) {
        struct command *command = helper->running[i];
        if (command == NULL) continue;
        if (command->input_fd >= 0) write_input(command);
        if (command->output_fd >= 0) read_output(command);
        if (!check_end(helper, command)) continue;
        free_command(command);
        helper->running[i] = NULL; /* (1) */
    }
    start_waiting(helper);
}

static void add_fd(struct pollfd *fds, unsigned *count, int fd, short events) {
    if (fd >= 0) fds[(*count)++] = (struct pollfd){ .fd = fd, .events = events };
}

/* Waits for something to do. False: there is nothing left to do. */
static bool wait_for_work(struct helper *helper) {
    struct pollfd fds[1 + HK_EXEC_RUNNING_MAX * FDS_PER_COMMAND];
    unsigned count = 0;
    int64_t now_ns = hk_clock_monotonic_ns();
    int64_t next_ns = INT64_MAX;
    bool writing = helper->out_at < helper->out.len;
    bool running = false;
    add_fd(fds, &count, helper->fd, writing ? POLLIN | POLLOUT : POLLIN);
    for (size_t i = 0; i < HK_EXEC_RUNNING_MAX; i++) {
        struct command *command = helper->running[i];
        if (command == NULL) continue;
        running = true;
        int64_t again_ns = check_timeout(command, now_ns);
        if (again_ns < next_ns) next_ns = again_ns;
        add_fd(fds, &count, command->pidfd, POLLIN);
        add_fd(fds, &count, command->output_fd, POLLIN);
        add_fd(fds, &count, command->input_fd, POLLOUT);
    }
    if (helper->fd < 0 && !running) return false;
    int64_t wait_ms = next_ns == INT64_MAX ? -1 : (next_ns - now_ns + 999999) / 1000000;
    if (wait_ms > 3600000) wait_ms = 3600000;
    (void)hk_fd_poll(fds, count, (int)wait_ms);
    return true;
}

void hk_exec_serve(int fd) {
    struct helper *helper = hk_mem_alloc(1, sizeof(*helper));
    if (helper == NULL) return;
    helper->fd = fd;
    hk_buf_init(&helper->in, HK_EXEC_REQUEST_BYTES_MAX + sizeof(struct wire_request) + 2 * 65536);
    hk_buf_init(&helper->out, OUT_BYTES_MAX);
    while (wait_for_work(helper)) {
        if (helper->fd >= 0) receive(helper);
        serve_commands(helper);
        flush(helper);
        /* A server that has gone wants nothing begun any more. */
        while (helper->fd < 0 && helper->waiting_count > 0) {
            free_command(helper->waiting[helper->waiting_first]);
            helper->waiting_first = (helper->waiting_first + 1) % HK_EXEC_WAITING_MAX;
            helper->waiting_count--;
        }
    }
    hk_buf_deinit(&helper->in);
    hk_buf_deinit(&helper->out);
    hk_mem_free(helper);
}
