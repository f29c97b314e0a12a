/*
 * Delta temporality (decision D20): running totals of series that send differences, so that what
 * is stored is cumulative. A point that starts before the end of the one before it was counted
 * already. On the shard's thread.
 */
#ifndef HK_ENGINE_DELTAS_H
#define HK_ENGINE_DELTAS_H

#include "engine/pass.h"

/* HK_E_NOMEM. */
hk_err hk_deltas_init(struct hk_pass *pass) HK_MUST_CHECK;
void hk_deltas_deinit(struct hk_pass *pass);

/* Adds a point; gives the total. HK_E_EXISTS when it was counted already, HK_E_NOMEM. */
hk_err
hk_delta_add(struct hk_pass *pass, const struct hk_staged *entry, double *out_value) HK_MUST_CHECK;

/* The same for an encoded histogram; the total's bytes stay in place until the next call. Different
 * resolutions and zero buckets are brought to the coarser; a histogram that cannot be added to the
 * former ones (other custom bounds) begins anew. Works in `arena`. */
hk_err hk_delta_histogram(
    struct hk_pass *pass, const struct hk_staged *entry, struct hk_arena *arena,
    struct hk_str *out_bytes) HK_MUST_CHECK;

/* Steps of a StatsD gauge go on from the value that was set. */
hk_err hk_delta_set(struct hk_pass *pass, uint32_t ref, double value) HK_MUST_CHECK;

/* Forgets the total of a series. */
void hk_delta_drop(struct hk_pass *pass, uint32_t ref);

#endif
