/*
 * Processes: a helper forked before any thread, and the commands that it starts. All descriptors
 * are close-on-exec. Functions return 0 or a positive count on success, a negative errno value on
 * failure. Not thread-safe: the helper has one thread.
 */
#ifndef HK_OS_PROCESS_H
#define HK_OS_PROCESS_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Forks a helper connected by a socket pair: `run(fd)` is called in the child, which has a session
 * of its own, ignores SIGINT, SIGTERM, SIGHUP and SIGPIPE, and has only descriptors 0, 1, 2 and
 * `fd`. The parent gets its end, which does not block.
 */
int hk_helper_fork(const char *name, void (*run)(int fd), int *out_fd, int64_t *out_pid);

/* Collects a helper that has ended; does not wait. */
void hk_helper_reap(int64_t pid);

struct hk_spawn {
    const char *const *argv; /* NULL-terminated, [0] is the path */
    const char *const *env;  /* NULL-terminated */
    int input_fd, output_fd; /* become 0, and 1 and 2 */
    uint64_t memory_max;     /* RLIMIT_AS, 0 = none */
    uint64_t cpu_s_max;      /* RLIMIT_CPU, 0 = none */
};

/*
 * Starts a command without a shell: own process group, directory /, no further descriptors, default
 * signals, no new privileges, no core dumps. Returns when exec has succeeded, or with its error.
 * `out_pidfd` becomes readable when the command ends.
 */
int hk_process_spawn(const struct hk_spawn *spawn, int64_t *out_pid, int *out_pidfd);

/* SIGTERM, or SIGKILL, to the process group. Only before hk_process_reap(). */
int hk_process_stop(int64_t pid, bool kill_now);

/*
 * Collects a command that has ended, after killing what is left of its process group. -EAGAIN: it
 * runs. `out_code` is -1 and `out_signal` set when a signal ended it.
 */
int hk_process_reap(int64_t pid, int *out_code, int *out_signal);

/* Pipe whose ends do not block. */
int hk_pipe_create(int out_fds[2]);

/* Makes a descriptor block again (for the command's end of a pipe). */
int hk_fd_set_blocking(int fd);

/* Up to `bytes`; -EAGAIN when it would block; read returns 0 at the end. No SIGPIPE. */
int64_t hk_fd_read(int fd, void *to, size_t bytes);
int64_t hk_fd_write(int fd, const void *from, size_t bytes);

/* Writes to a socket without raising SIGPIPE. */
int64_t hk_fd_send(int fd, const void *from, size_t bytes);

/* poll(2); a negative timeout waits for ever. -EINTR is returned as 0. */
int hk_fd_poll(struct pollfd *fds, unsigned count, int timeout_ms);

/* Anonymous memory of this process in RAM, bytes (RssAnon); negative errno. Any thread. */
int64_t hk_process_anon_bytes(void);

/* Gives free heap memory back to the system. Any thread; may take milliseconds. */
void hk_process_trim(void);

#endif
