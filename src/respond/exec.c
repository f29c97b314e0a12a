/*
 * The server's end of the helper process: requests out, reports in, nothing waits. Belongs to the
 * outbox's thread after the start.
 */
#include "respond/exec.h"

#include "base/buf.h"
#include "base/mem.h"
#include "os/file.h"
#include "os/process.h"
#include "respond/exec_wire.h"
#include "respond/respond_internal.h"

#include <errno.h>

enum { OUT_BYTES_MAX = 16 << 20, REPORT_BYTES_MAX = 4 * HK_EXEC_OUTPUT_BYTES };

struct hk_exec_helper {
    int fd; /* -1: dead */
    int64_t pid;
    struct hk_buf in, out;
    size_t out_at;
};

hk_err hk_exec_helper_start(struct hk_exec_helper **out) {
    struct hk_exec_helper *helper = hk_mem_alloc(1, sizeof(*helper));
    if (helper == NULL) return HK_E_NOMEM;
    hk_buf_init(&helper->in, 1 << 20);
    hk_buf_init(&helper->out, OUT_BYTES_MAX);
    int err = hk_helper_fork("hark-exec", hk_exec_serve, &helper->fd, &helper->pid);
    if (err < 0) {
        hk_mem_free(helper);
        return hk_fail(HK_E_IO, "cannot start the helper for commands: %s", strerror(-err));
    }
    *out = helper;
    return HK_OK;
}

static void bury(struct hk_exec_helper *helper) {
    if (helper->fd >= 0) hk_file_close(helper->fd);
    helper->fd = -1;
    hk_helper_reap(helper->pid);
}

void hk_exec_helper_stop(struct hk_exec_helper *helper) {
    if (helper == NULL) return;
    bury(helper);
    hk_buf_deinit(&helper->in);
    hk_buf_deinit(&helper->out);
    hk_mem_free(helper);
}

int64_t hk_exec_helper_pid(const struct hk_exec_helper *helper) {
    return helper->pid;
}

int hk_exec_fd(const struct hk_exec_helper *helper) {
    return helper->fd;
}

static hk_err flush(struct hk_exec_helper *helper) {
    while (helper->fd >= 0 && helper->out_at < helper->out.len) {
        int64_t wrote = hk_fd_send(
            helper->fd, helper->out.ptr + helper->out_at, helper->out.len - helper->out_at);
        if (wrote == -EAGAIN) return HK_OK;
        if (wrote < 0) {
            bury(helper);
            break;
        }
        helper->out_at += (size_t)wrote;
    }
    hk_buf_clear(&helper->out);
    helper->out_at = 0;
    return helper->fd < 0 ? HK_E_CLOSED : HK_OK;
}

static uint32_t count_strings(struct hk_str block) {
    uint32_t count = 0;
    for (size_t i = 0; i < block.len; i++)
        count += block.ptr[i] == 0;
    return count;
}

hk_err hk_exec_send(struct hk_exec_helper *helper, const struct exec_request *request) {
    const struct hk_exec_config *config = request->config;
    if (helper->fd < 0) return hk_fail(HK_E_CLOSED, "the helper process for commands is dead");
    size_t bytes = request->environment.len + request->input.len;
    for (uint32_t i = 0; i < config->argc; i++)
        bytes += config->argv[i].len + 1;
    struct wire_request head = {
        .request = request->request,
        .timeout_ms = config->timeout_ms,
        .kill_wait_ms = config->kill_wait_ms,
        .memory_max = config->memory_max,
        .cpu_s_max = config->cpu_s_max,
        .bytes = (uint32_t)bytes,
        .argc = config->argc,
        .envc = count_strings(request->environment),
        .input_bytes = (uint32_t)request->input.len,
    };
    if (bytes > HK_EXEC_REQUEST_BYTES_MAX || head.argc > HK_EXEC_ARGUMENTS_MAX ||
        head.envc > HK_EXEC_ENVIRONMENT_MAX) {
        return hk_fail(
            HK_E_LIMIT, "arguments, environment and input have %zu bytes, at most %d are allowed",
            bytes, HK_EXEC_REQUEST_BYTES_MAX);
    }
    if (helper->out_at > 0) {
        memmove(
            helper->out.ptr, helper->out.ptr + helper->out_at, helper->out.len - helper->out_at);
        helper->out.len -= helper->out_at;
        helper->out_at = 0;
    }
    if (hk_buf_reserve(&helper->out, sizeof(head) + bytes) == NULL) {
        helper->out.err = HK_OK;
        return hk_fail(HK_E_BUSY, "the helper process for commands does not keep up");
    }
    hk_buf_bytes(&helper->out, &head, sizeof(head));
    for (uint32_t i = 0; i < config->argc; i++) {
        hk_buf_str(&helper->out, config->argv[i]);
        hk_buf_char(&helper->out, 0);
    }
    hk_buf_str(&helper->out, request->environment);
    hk_buf_str(&helper->out, request->input);
    return flush(helper);
}

/* Reports that are complete in `in`. */
static hk_err take_reports(
    struct hk_exec_helper *helper, void (*visit)(void *self, const struct exec_report *report),
    void *self) {
    size_t at = 0;
    struct wire_report head;
    while (helper->in.len - at >= sizeof(head)) {
        memcpy(&head, helper->in.ptr + at, sizeof(head));
        if (head.bytes > REPORT_BYTES_MAX || head.head_bytes > head.bytes ||
            head.tail_bytes > head.bytes - head.head_bytes) {
            return HK_E_MALFORMED;
        }
        if (helper->in.len - at - sizeof(head) < head.bytes) break;
        const char *data = helper->in.ptr + at + sizeof(head);
        uint32_t text_at = head.head_bytes + head.tail_bytes;
        struct exec_report report = {
            .request = head.request,
            .state = (enum exec_state)head.state,
            .pid = head.pid,
            .exit_code = head.exit_code,
            .signal = head.signal,
            .timed_out = head.timed_out != 0,
            .duration_ns = head.duration_ns,
            .output_bytes = head.output_bytes,
            .head = { data, head.head_bytes },
            .tail = { data + head.head_bytes, head.tail_bytes },
            .text = { data + text_at, head.bytes - text_at },
        };
        visit(self, &report);
        at += sizeof(head) + head.bytes;
    }
    if (at > 0) memmove(helper->in.ptr, helper->in.ptr + at, helper->in.len - at);
    helper->in.len -= at;
    return HK_OK;
}

hk_err hk_exec_receive(
    struct hk_exec_helper *helper, void (*visit)(void *self, const struct exec_report *report),
    void *self) {
    HK_TRY(flush(helper));
    for (;;) {
        if (helper->fd < 0) return HK_E_CLOSED;
        char *to = hk_buf_reserve(&helper->in, 65536);
        int64_t got = to == NULL ? -ENOMEM : hk_fd_read(helper->fd, to, 65536);
        if (got == -EAGAIN) return HK_OK;
        if (got > 0) {
            helper->in.len += (size_t)got;
            if (take_reports(helper, visit, self) >= 0) continue;
        }
        bury(helper);
        return HK_E_CLOSED;
    }
}
