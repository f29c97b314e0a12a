/* Error texts per thread. */
#include "base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TEXT_BYTES_MAX = 1024 };

static _Thread_local char fail_text[TEXT_BYTES_MAX];

int hk_fail_store(const char *format, ...) {
    char text[TEXT_BYTES_MAX];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    memcpy(fail_text, text, sizeof(text));
    return 0;
}

int hk_fail_store_note(const char *format, ...) {
    char old[TEXT_BYTES_MAX];
    memcpy(old, fail_text, sizeof(old));
    va_list args;
    va_start(args, format);
    int used = vsnprintf(fail_text, sizeof(fail_text), format, args);
    va_end(args);
    if (used < 0) used = 0;
    if ((size_t)used < sizeof(fail_text)) {
        (void)snprintf(
            fail_text + used, sizeof(fail_text) - (size_t)used, "%s%s", old[0] != 0 ? ": " : "",
            old);
    }
    return 0;
}

const char *hk_fail_text(void) {
    return fail_text;
}

void hk_fail_clear(void) {
    fail_text[0] = 0;
}

const char *hk_err_text(hk_err code) {
    switch (code) {
#define HK_ERR(name, number, text)                                                                 \
    case number:                                                                                   \
        return text;
#include "base/err.def"
#undef HK_ERR
    default:
        return "unknown error";
    }
}

void hk_assert_failed(const char *condition, const char *file, int line) {
    (void)fprintf(stderr, "%s:%d: assertion failed: %s\n", file, line, condition);
    abort();
}
