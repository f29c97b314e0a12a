/*
 * Errors: one set of codes for the project (err.def) and a bounded text per thread.
 *
 * Negative = failure, forwarded unchanged; 0 = done; positive = an expected outcome that the
 * function's comment names. Where something fails, hk_fail() stores the text; callers may add to
 * it. Only edges (engine, connection close, CLI) print it. Hot paths return the bare code.
 */
#ifndef HK_BASE_ERR_H
#define HK_BASE_ERR_H

#include <stddef.h>
#include <stdint.h>

#define HK_ERR(name, number, text) name = number,
enum {
#include "base/err.def"
};
#undef HK_ERR

typedef int hk_err;

#define HK_MUST_CHECK        __attribute__((warn_unused_result))
#define HK_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#define HK_CLEANUP(function) __attribute__((cleanup(function)))
#define HK_COUNT(array)      (sizeof(array) / sizeof((array)[0]))
#define HK_LIKELY(x)         __builtin_expect(!!(x), 1)
#define HK_UNLIKELY(x)       __builtin_expect(!!(x), 0)

/* Forwards a failure (negative code) of `call`; positive outcomes pass on to the next line. */
#define HK_TRY(call)                                                                               \
    do {                                                                                           \
        hk_err hk_try_err_ = (call);                                                               \
        if (hk_try_err_ < 0) return hk_try_err_;                                                   \
    } while (0)

/* Always-on assertion on our own state, never on input. Prints and aborts. */
#define hk_assert(condition)                                                                       \
    (HK_LIKELY(condition) ? (void)0 : hk_assert_failed(#condition, __FILE__, __LINE__))

#ifdef HK_SLOW_ASSERTS
#define hk_assert_slow(condition) hk_assert(condition)
#else
#define hk_assert_slow(condition) ((void)0)
#endif

/* True if `x`, which cannot be reached by any input; marks defence in depth. */
#define HK_NEVER(x) HK_UNLIKELY(x)

/* hk_fail(code, format, ...): stores the formatted text as this thread's error (replacing the
 * former) and returns `code`, which must be no call that fails itself: which of the two comes first
 * is not said. A macro, so that compilers and analyzers see what it returns. */
#define hk_fail(code, ...) hk_err_after(code, hk_fail_store(__VA_ARGS__))

/* hk_fail_note(code, format, ...): puts "<text>: " in front of this thread's error text and returns
 * `code`. */
#define hk_fail_note(code, ...) hk_err_after(code, hk_fail_store_note(__VA_ARGS__))

/* The halves of the two macros above; the stores return 0. */
int hk_fail_store(const char *format, ...) HK_PRINTF(1, 2);
int hk_fail_store_note(const char *format, ...) HK_PRINTF(1, 2);
static inline hk_err hk_err_after(hk_err code, int stored) {
    (void)stored;
    return code;
}

/* This thread's last error text, "" if none. Valid until the next hk_fail on this thread. */
const char *hk_fail_text(void);

/* Forgets this thread's error text. */
void hk_fail_clear(void);

/* The constant text of a code, "unknown error" for numbers outside err.def. */
const char *hk_err_text(hk_err code);

/* Called by hk_assert; prints condition, file and line to stderr and aborts. */
void hk_assert_failed(const char *condition, const char *file, int line) __attribute__((noreturn));

#endif
