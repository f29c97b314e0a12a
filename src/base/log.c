/* Log lines on stderr. */
#include "base/log.h"

#include "base/buf.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

static _Atomic int level_min = HK_LOG_INFO;

void hk_log_set_level(enum hk_log_level level) {
    atomic_store_explicit(&level_min, (int)level, memory_order_relaxed);
}

void hk_log(enum hk_log_level level, const char *format, ...) {
    static const char *const names[] = { "debug", "info", "warn", "error" };
    if ((int)level < atomic_load_explicit(&level_min, memory_order_relaxed)) return;
    char text[2048];
    va_list args;
    va_start(args, format);
    int len = vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    if (len < 0) return;
    if ((size_t)len >= sizeof(text)) len = (int)sizeof(text) - 1;
    struct timespec now = { 0 };
    (void)clock_gettime(CLOCK_REALTIME, &now);
    char stamp[HK_TIME_BYTES_MAX];
    (void)hk_format_time_ms((int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000, stamp);
    struct hk_buf line;
    hk_buf_init(&line, 16384);
    hk_buf_printf(&line, "ts=%s level=%s msg=", stamp, names[level]);
    hk_buf_json(&line, (struct hk_str){ text, (size_t)len });
    hk_buf_char(&line, '\n');
    if (line.err == HK_OK && write(STDERR_FILENO, line.ptr, line.len) < 0) {
        /* stderr is gone: there is nowhere left to say it. */
        line.err = HK_E_IO;
    }
    hk_buf_deinit(&line);
}
