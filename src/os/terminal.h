/* The terminal on standard input and output, for `hark top`. One thread. */
#ifndef HK_OS_TERMINAL_H
#define HK_OS_TERMINAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <termios.h>

struct hk_terminal {
    struct termios saved;
    bool changed;
};

/* Are standard input and output a terminal? */
bool hk_terminal_is(void);

/* Keys come at once and unseen from now on, also Ctrl-C (byte 3); ended by hk_terminal_end.
 * Negative errno. */
int hk_terminal_begin(struct hk_terminal *terminal);

/* Restores what hk_terminal_begin changed; does nothing without it. */
void hk_terminal_end(struct hk_terminal *terminal);

/* Columns and rows; 80 and 24 when unknown. */
void hk_terminal_size(unsigned *out_columns, unsigned *out_rows);

/* Waits at most `timeout_ns` for a key; its byte, -1 when none came, -2 at the end of the input. */
int hk_terminal_key(int64_t timeout_ns);

/* Writes all bytes to standard output. Negative errno. */
int hk_terminal_write(const void *from, size_t bytes);

#endif
