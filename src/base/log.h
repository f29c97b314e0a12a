/*
 * Log lines of hark itself: logfmt on stderr, one write per line, rate-limited per call site.
 * Only edges log (engine, connection close, CLI). Thread-safe. Never log payload bytes or secrets.
 */
#ifndef HK_BASE_LOG_H
#define HK_BASE_LOG_H

#include "base/err.h"

enum hk_log_level { HK_LOG_DEBUG, HK_LOG_INFO, HK_LOG_WARN, HK_LOG_ERROR };

/* Lines below `level` are dropped; the default is HK_LOG_INFO. */
void hk_log_set_level(enum hk_log_level level);

/* Writes `ts=… level=… msg="<text>"`; text is the formatted message, quoted. */
void hk_log(enum hk_log_level level, const char *format, ...) HK_PRINTF(2, 3);

#endif
