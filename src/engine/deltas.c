/* Running totals of delta series: open addressing by ref. */
#include "engine/deltas.h"

#include "base/mem.h"
#include "query/hist.h"

enum { DELTAS_MIN = 256, PAYLOAD_BYTES_MAX = 4 << 20 };

hk_err hk_deltas_init(struct hk_pass *pass) {
    pass->deltas = hk_mem_alloc(DELTAS_MIN, sizeof(pass->deltas[0]));
    pass->delta_mask = DELTAS_MIN - 1;
    return pass->deltas == NULL ? HK_E_NOMEM : HK_OK;
}

void hk_deltas_deinit(struct hk_pass *pass) {
    for (size_t i = 0; pass->deltas != NULL && i <= pass->delta_mask; i++)
        hk_mem_free(pass->deltas[i].payload);
    hk_mem_free(pass->deltas);
    pass->deltas = NULL;
}

static size_t home_of(const struct hk_pass *pass, uint32_t ref) {
    return (ref * 2654435761U) & pass->delta_mask;
}

static struct hk_delta *find_delta(struct hk_pass *pass, uint32_t ref) {
    size_t at = home_of(pass, ref);
    while (pass->deltas[at].ref != 0 && pass->deltas[at].ref != ref + 1) {
        at = (at + 1) & pass->delta_mask;
    }
    return &pass->deltas[at];
}

static hk_err grow_deltas(struct hk_pass *pass) {
    if ((pass->delta_count + 1) * 2 <= pass->delta_mask + 1) return HK_OK;
    size_t old_count = pass->delta_mask + 1;
    struct hk_delta *old = pass->deltas;
    struct hk_delta *grown = hk_mem_alloc(old_count * 2, sizeof(grown[0]));
    if (grown == NULL) return HK_E_NOMEM;
    pass->deltas = grown;
    pass->delta_mask = old_count * 2 - 1;
    for (size_t i = 0; i < old_count; i++) {
        if (old[i].ref != 0) *find_delta(pass, old[i].ref - 1) = old[i];
    }
    hk_mem_free(old);
    return HK_OK;
}

/* The point's time begins before the end of what was counted. */
static bool counted_already(const struct hk_delta *delta, const struct hk_staged *entry) {
    return entry->start_ms != 0 && delta->end_ms != 0 && entry->start_ms < delta->end_ms;
}

hk_err hk_delta_add(struct hk_pass *pass, const struct hk_staged *entry, double *out_value) {
    HK_TRY(grow_deltas(pass));
    uint32_t ref = entry->ref;
    struct hk_delta *delta = find_delta(pass, ref);
    if (delta->ref == 0) {
        *delta = (struct hk_delta){ .ref = ref + 1 };
        pass->delta_count++;
        int64_t last_ms = 0;
        double last = 0;
        /* After a restart the total goes on from the last durable sample. */
        if (hk_store_last(pass->store, ref, &last_ms, &last) >= 0 && !hk_is_stale(last)) {
            delta->value = last;
            delta->end_ms = last_ms;
        }
    }
    if (counted_already(delta, entry)) return HK_E_EXISTS;
    delta->value += entry->value;
    if (entry->start_ms != 0) delta->end_ms = entry->stamp_ms;
    *out_value = delta->value;
    return HK_OK;
}

/* ------------------------------------------------------------------ histograms */

/* The state of a histogram series; a new one goes on from the last durable histogram. */
static hk_err
open_histogram(struct hk_pass *pass, uint32_t ref, struct hk_arena *arena, struct hk_delta **out) {
    HK_TRY(grow_deltas(pass));
    struct hk_delta *delta = find_delta(pass, ref);
    *out = delta;
    if (delta->ref != 0) return HK_OK;
    struct hk_str bytes = { NULL, 0 };
    int64_t last_ms = 0;
    char *copy = NULL;
    hk_err err = hk_store_last_histogram(pass->store, ref, arena, &last_ms, &bytes);
    if (err == HK_E_NOMEM) return err;
    if (err >= 0) {
        copy = hk_mem_copy(bytes.ptr, bytes.len);
        if (copy == NULL) return HK_E_NOMEM;
    }
    *delta = (struct hk_delta){
        .ref = ref + 1,
        .payload = copy,
        .payload_bytes = (uint32_t)bytes.len,
        .end_ms = last_ms,
    };
    pass->delta_count++;
    return HK_OK;
}

/* The total with the point; `*out` is the point alone when there is nothing to add it to. */
static hk_err add_histogram(
    const struct hk_delta *delta, const struct hk_histogram *point, struct hk_arena *arena,
    struct hk_histogram *out) {
    *out = *point;
    out->reset_hint = HK_RESET_UNKNOWN;
    if (delta->payload == NULL) return HK_OK;
    struct hk_histogram before;
    struct hk_str bytes = { delta->payload, delta->payload_bytes };
    HK_TRY(hk_histogram_decode(bytes, arena, &before));
    if (hk_histogram_is_stale(&before)) return HK_OK;
    const struct hk_histogram *sum = NULL;
    int fit = hk_hist_add(arena, &before, point, false, &sum);
    if (fit < 0) return (hk_err)fit;
    if (fit != HIST_FITS) {
        out->reset_hint = HK_RESET_YES;
        return HK_OK;
    }
    *out = *sum;
    out->reset_hint = HK_RESET_UNKNOWN;
    return HK_OK;
}

hk_err hk_delta_histogram(
    struct hk_pass *pass, const struct hk_staged *entry, struct hk_arena *arena,
    struct hk_str *out_bytes) {
    struct hk_delta *delta = NULL;
    HK_TRY(open_histogram(pass, entry->ref, arena, &delta));
    if (counted_already(delta, entry)) return HK_E_EXISTS;
    struct hk_histogram point;
    struct hk_histogram total;
    struct hk_str bytes = { entry->payload, entry->payload_bytes };
    HK_TRY(hk_histogram_decode(bytes, arena, &point));
    HK_TRY(add_histogram(delta, &point, arena, &total));
    HK_TRY(hk_histogram_check(&total));
    struct hk_buf buf;
    hk_buf_init(&buf, PAYLOAD_BYTES_MAX);
    hk_histogram_encode(&total, &buf);
    char *copy = buf.err < 0 ? NULL : hk_mem_copy(buf.ptr, buf.len);
    hk_err err = buf.err < 0 ? buf.err : copy == NULL ? HK_E_NOMEM : HK_OK;
    if (err >= 0) {
        hk_mem_free(delta->payload);
        delta->payload = copy;
        delta->payload_bytes = (uint32_t)buf.len;
        if (entry->start_ms != 0) delta->end_ms = entry->stamp_ms;
        *out_bytes = (struct hk_str){ delta->payload, delta->payload_bytes };
    }
    hk_buf_deinit(&buf);
    return err;
}

/* ------------------------------------------------------------------ setting and dropping */

hk_err hk_delta_set(struct hk_pass *pass, uint32_t ref, double value) {
    HK_TRY(grow_deltas(pass));
    struct hk_delta *delta = find_delta(pass, ref);
    if (delta->ref == 0) pass->delta_count++;
    hk_mem_free(delta->payload);
    *delta = (struct hk_delta){ .ref = ref + 1, .value = value };
    return HK_OK;
}

/* What follows it in its run moves up. */
void hk_delta_drop(struct hk_pass *pass, uint32_t ref) {
    struct hk_delta *found = find_delta(pass, ref);
    if (found->ref == 0) return;
    hk_mem_free(found->payload);
    size_t hole = (size_t)(found - pass->deltas);
    for (size_t at = (hole + 1) & pass->delta_mask; pass->deltas[at].ref != 0;
         at = (at + 1) & pass->delta_mask) {
        size_t home = home_of(pass, pass->deltas[at].ref - 1);
        if (((at - home) & pass->delta_mask) < ((at - hole) & pass->delta_mask)) continue;
        pass->deltas[hole] = pass->deltas[at];
        hole = at;
    }
    pass->deltas[hole] = (struct hk_delta){ 0 };
    pass->delta_count--;
}
