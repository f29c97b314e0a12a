/*
 * Processes on Linux. A command starts by clone(CLONE_VM | CLONE_VFORK): the caller stands still
 * until exec, nothing is copied. Between the two only system calls are made.
 */
#include "os/process.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <malloc.h>
#include <sched.h>
#include <signal.h>
#include <stdalign.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* The thread sanitizer's wrapper of clone(2) does not know children that share the memory. */
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
extern int __clone(int (*run)(void *arg), void *stack, int flags, void *arg, ...);
#define clone __clone
#endif
#endif

enum { CHILD_STACK_BYTES = 65536, FILES_MAX = 1024 };

static int result(int64_t value) {
    return value < 0 ? -errno : (int)value;
}

static _Noreturn void helper_main(const char *name, void (*run)(int fd), int fd) {
    static const int ignored[] = { SIGINT, SIGTERM, SIGHUP, SIGPIPE };
    for (size_t i = 0; i < sizeof(ignored) / sizeof(ignored[0]); i++)
        (void)signal(ignored[i], SIG_IGN);
    sigset_t none;
    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    (void)setsid();
    (void)prctl(PR_SET_NAME, name);
    (void)prctl(PR_SET_DUMPABLE, 0);
    int kept = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    if (kept > 3) {
        (void)dup3(kept, 3, O_CLOEXEC);
        kept = 3;
    }
    (void)syscall(SYS_close_range, (unsigned)kept + 1, ~0U, 0);
    run(kept);
    _exit(0);
}

int hk_helper_fork(const char *name, void (*run)(int fd), int *out_fd, int64_t *out_pid) {
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) < 0) return -errno;
    int bytes = 1 << 20;
    (void)setsockopt(ends[0], SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
    (void)setsockopt(ends[1], SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
    pid_t pid = fork();
    if (pid == 0) {
        (void)close(ends[0]);
        helper_main(name, run, ends[1]);
    }
    int err = errno;
    (void)close(ends[1]);
    if (pid < 0) {
        (void)close(ends[0]);
        return -err;
    }
    *out_fd = ends[0];
    *out_pid = pid;
    return 0;
}

void hk_helper_reap(int64_t pid) {
    (void)waitpid((pid_t)pid, NULL, WNOHANG);
}

/* --- Commands --------------------------------------------------------------------------------- */

struct child {
    const struct hk_spawn *spawn;
    volatile int error; /* errno of what failed; the memory is shared until exec */
};

static void set_limit(__rlimit_resource_t what, uint64_t value) {
    struct rlimit limit = { value, value };
    (void)setrlimit(what, &limit);
}

/* Runs in the child on its own stack. No return: exec or exit. */
__attribute__((no_sanitize_address, no_sanitize_thread)) static int child_main(void *arg) {
    struct child *child = arg;
    const struct hk_spawn *spawn = child->spawn;
    sigset_t none;
    for (int number = 1; number < NSIG; number++)
        (void)signal(number, SIG_DFL);
    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    if (setpgid(0, 0) < 0 || dup2(spawn->input_fd, 0) < 0 || dup2(spawn->output_fd, 1) < 0 ||
        dup2(spawn->output_fd, 2) < 0 || syscall(SYS_close_range, 3U, ~0U, 0) < 0 ||
        prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || chdir("/") < 0) {
        child->error = errno;
        _exit(127);
    }
    (void)umask(022);
    set_limit(RLIMIT_CORE, 0);
    set_limit(RLIMIT_NOFILE, FILES_MAX);
    if (spawn->memory_max > 0) set_limit(RLIMIT_AS, spawn->memory_max);
    if (spawn->cpu_s_max > 0) set_limit(RLIMIT_CPU, spawn->cpu_s_max);
    union {
        const char *const *in;
        char *const *out;
    } argv = { spawn->argv }, env = { spawn->env }; /* execve does not write to them */
    (void)execve(spawn->argv[0], argv.out, env.out);
    child->error = errno;
    _exit(127);
}

int hk_process_spawn(const struct hk_spawn *spawn, int64_t *out_pid, int *out_pidfd) {
    static alignas(64) char stack[CHILD_STACK_BYTES];
    struct child child = { spawn, 0 };
    pid_t pid =
        clone(child_main, stack + CHILD_STACK_BYTES, CLONE_VM | CLONE_VFORK | SIGCHLD, &child);
    if (pid < 0) return -errno;
    if (child.error != 0) {
        (void)waitpid(pid, NULL, 0);
        return -child.error;
    }
    int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (fd < 0) {
        int err = errno;
        (void)kill(-pid, SIGKILL);
        (void)waitpid(pid, NULL, 0);
        return -err;
    }
    *out_pid = pid;
    *out_pidfd = fd;
    return 0;
}

int hk_process_stop(int64_t pid, bool kill_now) {
    return result(kill(-(pid_t)pid, kill_now ? SIGKILL : SIGTERM));
}

int hk_process_reap(int64_t pid, int *out_code, int *out_signal) {
    siginfo_t info = { 0 };
    /* While it is not collected its number, and so its group's, cannot be given away. */
    if (waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) < 0) return -errno;
    if (info.si_pid == 0) return -EAGAIN;
    (void)kill(-(pid_t)pid, SIGKILL);
    int status = 0;
    if (waitpid((pid_t)pid, &status, 0) < 0) return -errno;
    *out_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    *out_signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    return 0;
}

/* --- Descriptors ------------------------------------------------------------------------------ */

int hk_pipe_create(int out_fds[2]) {
    return result(pipe2(out_fds, O_CLOEXEC | O_NONBLOCK));
}

int hk_fd_set_blocking(int fd) {
    int flags = fcntl(fd, F_GETFL);
    return flags < 0 ? -errno : result(fcntl(fd, F_SETFL, flags & ~O_NONBLOCK));
}

int64_t hk_fd_read(int fd, void *to, size_t bytes) {
    ssize_t count = 0;
    do
        count = read(fd, to, bytes);
    while (count < 0 && errno == EINTR);
    return count < 0 ? -errno : count;
}

int64_t hk_fd_write(int fd, const void *from, size_t bytes) {
    ssize_t count = 0;
    do
        count = write(fd, from, bytes);
    while (count < 0 && errno == EINTR);
    return count < 0 ? -errno : count;
}

int64_t hk_fd_send(int fd, const void *from, size_t bytes) {
    ssize_t count = 0;
    do
        count = send(fd, from, bytes, MSG_NOSIGNAL);
    while (count < 0 && errno == EINTR);
    return count < 0 ? -errno : count;
}

int hk_fd_poll(struct pollfd *fds, unsigned count, int timeout_ms) {
    int ready = poll(fds, count, timeout_ms);
    return ready < 0 && errno == EINTR ? 0 : result(ready);
}

int64_t hk_process_anon_bytes(void) {
    char text[128];
    int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    if (fd < 0) return -errno;
    ssize_t got = read(fd, text, sizeof(text) - 1);
    int err = errno;
    (void)close(fd);
    if (got <= 0) return got < 0 ? -err : -EIO;
    text[got] = 0;
    /* Pages: size, resident, shared (files and shared memory; hark has none of the latter). */
    char *at = NULL;
    (void)strtoll(text, &at, 10);
    int64_t resident = strtoll(at, &at, 10);
    int64_t shared = strtoll(at, &at, 10);
    return (resident - shared) * sysconf(_SC_PAGESIZE);
}

void hk_process_trim(void) {
    (void)malloc_trim(0);
}
