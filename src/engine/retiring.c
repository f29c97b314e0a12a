/*
 * Retirement of series on a shard: the store's worker asks, the shard answers in slices between
 * its other work (store.h, docs/decisions/series-death.md).
 */
#include "engine/engine_internal.h"

#include "os/clock.h"

enum { FORGET_SLICE = 64 };

static void sweep(struct hk_task *task) {
    struct hk_shard *shard =
        (struct hk_shard *)(void *)((char *)task - offsetof(struct hk_shard, sweep_task));
    if (!shard->sweeping) hk_pass_sweep_begin(&shard->pass, hk_clock_realtime_ms());
    shard->sweeping = !hk_pass_sweep(&shard->pass);
    if (shard->sweeping) {
        hk_loop_post(shard->loop, task);
        return;
    }
    shard->swept_bodies = shard->bodies.begun;
    hk_loop_work(shard->loop, &shard->swept_work);
}

/* What bodies had staged before the sweep's end is appended first. */
static bool swept(struct hk_work *work) {
    struct hk_shard *shard =
        (struct hk_shard *)(void *)((char *)work - offsetof(struct hk_shard, swept_work));
    if (!hk_bodies_are_past(shard, shard->swept_bodies)) return true;
    hk_store_swept(shard->pass.shard);
    return false;
}

static void forget(struct hk_task *task) {
    struct hk_shard *shard =
        (struct hk_shard *)(void *)((char *)task - offsetof(struct hk_shard, forget_task));
    if (shard->forget_at == 0) hk_scraping_forget(shard);
    uint32_t left = shard->forget_count - shard->forget_at;
    uint32_t end = shard->forget_at + (left < FORGET_SLICE ? left : FORGET_SLICE);
    for (; shard->forget_at < end; shard->forget_at++) {
        uint32_t ref = shard->forget_refs[shard->forget_at];
        hk_pass_forget(&shard->pass, ref);
        hk_rules_forget(shard->alerts.rules, ref);
    }
    if (shard->forget_at < shard->forget_count)
        hk_loop_post(shard->loop, task);
    else
        hk_store_forgot(shard->pass.shard);
}

void hk_retiring_open(struct hk_shard *shard) {
    shard->sweep_task.run = sweep;
    shard->swept_work.turn = swept;
    shard->forget_task.run = forget;
}

void hk_retiring_sweep(void *self, uint32_t index) {
    struct hk_engine *engine = self;
    struct hk_shard *shard = &engine->shards[index];
    hk_loop_post(shard->loop, &shard->sweep_task);
}

void hk_retiring_forget(void *self, uint32_t index, const uint32_t *refs, uint32_t count) {
    struct hk_engine *engine = self;
    struct hk_shard *shard = &engine->shards[index];
    shard->forget_refs = refs;
    shard->forget_count = count;
    shard->forget_at = 0;
    hk_loop_post(shard->loop, &shard->forget_task);
}
