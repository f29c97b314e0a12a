/* The terminal through termios. */
#include "os/terminal.h"

#include <errno.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

bool hk_terminal_is(void) {
    return isatty(STDIN_FILENO) == 1 && isatty(STDOUT_FILENO) == 1;
}

int hk_terminal_begin(struct hk_terminal *terminal) {
    struct termios raw;
    terminal->changed = false;
    if (tcgetattr(STDIN_FILENO, &terminal->saved) < 0) return -errno;
    raw = terminal->saved;
    raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO | ISIG);
    raw.c_cc[VMIN] = 0;
    raw.c_cc[VTIME] = 0;
    if (tcsetattr(STDIN_FILENO, TCSANOW, &raw) < 0) return -errno;
    terminal->changed = true;
    return 0;
}

void hk_terminal_end(struct hk_terminal *terminal) {
    if (terminal->changed) (void)tcsetattr(STDIN_FILENO, TCSANOW, &terminal->saved);
    terminal->changed = false;
}

void hk_terminal_size(unsigned *out_columns, unsigned *out_rows) {
    struct winsize size = { 0 };
    bool known = ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
    *out_columns = known ? size.ws_col : 80;
    *out_rows = known && size.ws_row > 0 ? size.ws_row : 24;
}

int hk_terminal_key(int64_t timeout_ns) {
    struct pollfd input = { .fd = STDIN_FILENO, .events = POLLIN };
    struct timespec wait = { timeout_ns / 1000000000, timeout_ns % 1000000000 };
    int ready = ppoll(&input, 1, &wait, NULL);
    unsigned char key = 0;
    if (ready <= 0) return -1;
    return read(STDIN_FILENO, &key, 1) == 1 ? key : -2;
}

int hk_terminal_write(const void *from, size_t bytes) {
    const char *at = from;
    while (bytes > 0) {
        ssize_t put = write(STDOUT_FILENO, at, bytes);
        if (put < 0 && errno == EINTR) continue;
        if (put <= 0) return put < 0 ? -errno : -EIO;
        at += put;
        bytes -= (size_t)put;
    }
    return 0;
}
