/*
 * What the server and its helper process say to each other. Both are the same binary, so structs go
 * over the socket as they are. A message is its header, then its bytes; `bytes` counts the latter.
 */
#ifndef HK_RESPOND_EXEC_WIRE_H
#define HK_RESPOND_EXEC_WIRE_H

#include "respond/exec.h"

/* Then: argc + envc NUL-terminated strings, then the input. */
struct wire_request {
    uint64_t request;
    int64_t timeout_ms, kill_wait_ms;
    uint64_t memory_max, cpu_s_max;
    uint32_t bytes, argc, envc, input_bytes;
};

/* Then: head, tail, text. */
struct wire_report {
    uint64_t request;
    int64_t duration_ns;
    uint64_t output_bytes;
    int32_t state, pid, exit_code, signal, timed_out;
    uint32_t bytes, head_bytes, tail_bytes;
};

/* The helper's life: serves requests from `fd` until it closes and all commands have ended. */
void hk_exec_serve(int fd);

#endif
