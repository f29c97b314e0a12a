/*
 * Commands: run by a helper process that was forked before any thread existed, so that starting one
 * costs the server a write to a socket. No shell; own process group; nothing inherited.
 */
#ifndef HK_RESPOND_EXEC_H
#define HK_RESPOND_EXEC_H

#include "base/str.h"

enum {
    HK_EXEC_ARGUMENTS_MAX = 256,
    HK_EXEC_ENVIRONMENT_MAX = 512,         /* variables */
    HK_EXEC_REQUEST_BYTES_MAX = 512 << 10, /* arguments, environment and input together */
    HK_EXEC_OUTPUT_BYTES = 4096,           /* kept of the output's head, and of its tail */
    HK_EXEC_RUNNING_MAX = 16,              /* commands at once; more wait in the helper */
    HK_EXEC_WAITING_MAX = 256,             /* more are refused */
};

struct hk_exec_helper;

/*
 * Forks the helper. Call first in main, before any thread, file or socket. HK_E_IO. The caller owns
 * the result. The helper ends when the server closes the handle or dies, but watches running
 * commands to their end or timeout.
 */
hk_err hk_exec_helper_start(struct hk_exec_helper **out) HK_MUST_CHECK;

/* Closes the connection; commands that run are left to the helper. NULL is fine. */
void hk_exec_helper_stop(struct hk_exec_helper *helper);

/* Process id of the helper, for reports and tests. */
int64_t hk_exec_helper_pid(const struct hk_exec_helper *helper);

#endif
