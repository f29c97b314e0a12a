/* Bounds and quantiles as label values: Prometheus writes them in one form whatever the sender
 * wrote ("1" and "1.00" are "1.0"), so that all formats of a target give the same series. */
#ifndef HK_INGEST_EXPOSITION_FLOAT_H
#define HK_INGEST_EXPOSITION_FLOAT_H

#include "base/str.h"

/* Writes `value` as OpenMetrics' canonical numbers: shortest digits, with a point or an exponent:
 * "0.5", "1.0", "1e+06", "1e-05", "+Inf". `out` has HK_DOUBLE_BYTES_MAX bytes; returns the length.
 */
size_t hk_exposition_float(double value, char *out);

#endif
