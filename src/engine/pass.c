/*
 * The ingest pass. An entry's `ref` holds a form number (store/ident.h) while it is in here:
 * parsers with prediction set it, the others leave HK_REF_NONE.
 */
#include "engine/pass.h"
#include "engine/deltas.h"

#include "base/mem.h"

#include <stdio.h>

enum { GUESS_REST = 16, SWEEP_FORMS = 2048, AGING_MS = 3600000 };

hk_err hk_pass_init(
    struct hk_pass *pass, struct hk_store *store, uint32_t shard, struct hk_ledger *ledger,
    uint64_t memory_max) {
    *pass = (struct hk_pass){
        .store = store,
        .shard = hk_store_get_shard(store, shard),
        .directory = hk_store_directory(store),
        .ledger = ledger,
    };
    pass->batch = hk_mem_alloc(1, sizeof(*pass->batch));
    pass->set = hk_mem_alloc(1, sizeof(*pass->set));
    for (size_t i = 0; i < HK_PASS_CURSORS; i++) {
        hk_ident_cursor_init(&pass->cursors[i].order);
        pass->cursors[i].at = HK_REF_NONE;
    }
    if (pass->batch == NULL || pass->set == NULL) return HK_E_NOMEM;
    HK_TRY(hk_deltas_init(pass));
    return hk_ident_init(&pass->ident, memory_max);
}

void hk_pass_deinit(struct hk_pass *pass) {
    hk_ident_deinit(&pass->ident);
    hk_mem_free(pass->batch);
    hk_mem_free(pass->set);
    hk_deltas_deinit(pass);
}

struct hk_pass_cursor *hk_pass_cursor(struct hk_pass *pass, struct hk_str peer) {
    return &pass->cursors[hk_hash64(peer.ptr, peer.len) % HK_PASS_CURSORS];
}

/* ------------------------------------------------------------------ prediction */

/* Is the key of `form` what stands at `at`? */
static bool guess_holds(
    const struct hk_pass_guess *guess, uint32_t number, const uint8_t *at, size_t left,
    uint32_t *out_key_bytes) {
    if (number == HK_REF_NONE) return false;
    const struct hk_form *form = hk_ident_form(&guess->pass->ident, number);
    if (form->key_bytes == 0 || form->key_bytes > left) return false;
    struct hk_hash128 hash = hk_ident_hash(guess->context, 0, at, form->key_bytes);
    if (hash.low != form->hash.low || hash.high != form->hash.high) return false;
    *out_key_bytes = form->key_bytes;
    return true;
}

bool hk_pass_predict(
    void *self, const uint8_t *at, size_t left, uint32_t *out_ref, uint32_t *out_key_bytes) {
    struct hk_pass_guess *guess = self;
    struct hk_pass_cursor *cursor = guess->cursor;
    struct hk_ident *ident = &guess->pass->ident;
    if (HK_UNLIKELY(cursor->rest > 0 || cursor->at == HK_REF_NONE)) return false;
    uint32_t next = hk_ident_form(ident, cursor->at)->next;
    cursor->guesses++;
    if (HK_LIKELY(guess_holds(guess, next, at, left, out_key_bytes))) {
        cursor->at = next;
        *out_ref = next;
        return true;
    }
    cursor->misses++;
    /* A series left out by the sender: the one after it is the second guess. */
    if (next == HK_REF_NONE) return false;
    uint32_t second = hk_ident_form(ident, next)->next;
    if (!guess_holds(guess, second, at, left, out_key_bytes)) return false;
    cursor->at = second;
    *out_ref = second;
    return true;
}

/* A body is done: prediction rests for some bodies when it was of little use. */
static void judge_guesses(struct hk_pass_cursor *cursor) {
    if (cursor->rest > 0)
        cursor->rest--;
    else if (cursor->guesses > 64 && cursor->misses * 2 > cursor->guesses) {
        cursor->rest = GUESS_REST;
    }
    cursor->guesses = 0;
    cursor->misses = 0;
}

/* ------------------------------------------------------------------ creation */

static void note(struct hk_pass_run *run, const char *text) {
    if (run->text[0] == 0) (void)snprintf(run->text, sizeof(run->text), "%s", text);
}

static void
drop(struct hk_pass *pass, struct hk_pass_run *run, enum hk_ledger_reason reason, uint64_t points) {
    hk_ledger_dropped(pass->ledger, run->receiver, reason, points);
    run->rejected += points;
}

/* Labels of a new form to a ref; HK_REF_DROPPED when relabelling drops it. */
static hk_err create_series(
    struct hk_pass *pass, struct hk_pass_run *run, const struct hk_entry *entry,
    uint32_t *out_ref) {
    struct hk_label_set *set = pass->set;
    hk_label_set_clear(set);
    HK_TRY(run->parser->labels(run->state, pass->batch, entry, set));
    if (run->labels != NULL && !run->labels->apply(run->labels->self, set, run->arena)) {
        *out_ref = HK_REF_DROPPED;
        return HK_OK;
    }
    struct hk_labels labels;
    HK_TRY(hk_label_set_finish(set, &labels));
    if (hk_labels_get(labels, HK_STR("__name__")).len == 0) {
        return hk_fail(HK_E_MALFORMED, "series without a metric name");
    }
    bool created = false;
    HK_TRY(hk_directory_intern(pass->directory, labels, out_ref, &created));
    if (!created) return HK_OK;
    run->series_added++;
    pass->series_created_total++;
    if (pass->series_created != NULL) {
        pass->series_created(pass->rules_self, *out_ref, labels);
    }
    return HK_OK;
}

/* Form of an entry that prediction did not know. */
static hk_err
resolve(struct hk_pass *pass, struct hk_pass_run *run, struct hk_entry *entry, uint32_t *out_ref) {
    struct hk_ident_cursor *order = &run->cursor->order;
    struct hk_hash128 hash =
        hk_ident_hash(entry->context, entry->part, entry->key, entry->key_bytes);
    *out_ref = hk_ident_find(&pass->ident, order, hash);
    if (HK_LIKELY(*out_ref != HK_REF_NONE)) return HK_OK;
    HK_TRY(create_series(pass, run, entry, out_ref));
    return hk_ident_add(&pass->ident, order, hash, entry->key_bytes, *out_ref);
}

/* ------------------------------------------------------------------ appending */

static hk_err append_side(
    struct hk_pass *pass, struct hk_pass_run *run, uint32_t ref, const struct hk_entry *entry) {
    struct hk_str bytes = { entry->payload, entry->payload_bytes };
    bool exemplar = entry->kind == HK_ENTRY_EXEMPLAR;
    if (entry->kind == HK_ENTRY_HISTOGRAM_ADD) {
        HK_TRY(hk_delta_histogram(pass, ref, entry, run->arena, &bytes));
    }
    HK_TRY(hk_store_append_side(
        pass->shard, exemplar ? HK_SIDE_EXEMPLAR : HK_SIDE_HISTOGRAM, ref, entry->stamp_ms, bytes));
    if (exemplar)
        run->exemplars++;
    else
        run->histograms++;
    return HK_OK;
}

static hk_err
append(struct hk_pass *pass, struct hk_pass_run *run, uint32_t ref, const struct hk_entry *entry) {
    if (entry->kind == HK_ENTRY_HISTOGRAM || entry->kind == HK_ENTRY_EXEMPLAR ||
        entry->kind == HK_ENTRY_HISTOGRAM_ADD) {
        return append_side(pass, run, ref, entry);
    }
    double value = entry->value;
    if (entry->kind == HK_ENTRY_ADD)
        HK_TRY(hk_delta_add(pass, ref, entry, &value));
    else if (HK_UNLIKELY(run->receiver == HK_RECEIVER_STATSD))
        HK_TRY(hk_delta_set(pass, ref, value));
    HK_TRY(hk_store_append(pass->shard, ref, entry->stamp_ms, value));
    if (HK_UNLIKELY(ref < pass->bound_count && pass->bound[ref] != 0)) {
        pass->sample(pass->rules_self, ref, entry->stamp_ms, value);
    }
    return HK_OK;
}

/* What a failed entry means: dropped with a reason (HK_OK), or the whole pass ends. */
static hk_err
drop_entry(struct hk_pass *pass, struct hk_pass_run *run, hk_err err, uint64_t *dropped) {
    (*dropped)++;
    note(run, hk_fail_text()[0] != 0 ? hk_fail_text() : hk_err_text(err));
    switch (err) {
    case HK_E_MALFORMED:
        drop(pass, run, HK_DROP_INVALID_LABELS, 1);
        return HK_OK;
    case HK_E_LIMIT:
    case HK_E_NOMEM:
        run->refused_memory = true;
        drop(pass, run, HK_DROP_MEMORY, 1);
        return HK_OK;
    case HK_E_EXISTS:
        drop(pass, run, HK_DROP_DUPLICATE, 1);
        return HK_OK;
    case HK_E_UNSUPPORTED:
        drop(pass, run, HK_DROP_UNSUPPORTED, 1);
        return HK_OK;
    default:
        drop(pass, run, HK_DROP_MALFORMED, 1);
        return err;
    }
}

static hk_err take_batch(struct hk_pass *pass, struct hk_pass_run *run) {
    struct hk_batch *batch = pass->batch;
    struct hk_ident_cursor *order = &run->cursor->order;
    uint64_t dropped = 0;
    uint64_t appended = 0;
    for (uint32_t i = 0; i < batch->count; i++) {
        struct hk_entry *entry = &batch->entries[i];
        uint32_t ref = HK_REF_NONE;
        hk_err err = HK_OK;
        if (HK_LIKELY(entry->ref != HK_REF_NONE)) {
            ref = hk_ident_form(&pass->ident, entry->ref)->ref;
            if (order->form != entry->ref) {
                hk_ident_advance(&pass->ident, order, entry->ref);
                pass->ident.predicted++;
            }
        } else {
            err = resolve(pass, run, entry, &ref);
        }
        bool counts = entry->kind != HK_ENTRY_EXEMPLAR;
        if (HK_UNLIKELY(err >= 0 && ref == HK_REF_DROPPED)) {
            if (counts && dropped < batch->points) {
                dropped++;
                drop(pass, run, HK_DROP_RELABEL, 1);
            }
            continue;
        }
        if (err >= 0) err = append(pass, run, ref, entry);
        if (HK_UNLIKELY(err < 0)) {
            if (counts && dropped < batch->points) HK_TRY(drop_entry(pass, run, err, &dropped));
            continue;
        }
        appended += counts;
        if (run->seen != NULL) run->seen(run->seen_self, ref);
    }
    (void)appended;
    run->points += batch->points + batch->rejected;
    hk_ledger_received(pass->ledger, run->receiver, batch->points + batch->rejected);
    hk_ledger_appended(pass->ledger, run->receiver, batch->points - dropped);
    run->stored += batch->points - dropped;
    if (batch->rejected > 0) {
        drop(pass, run, HK_DROP_MALFORMED, batch->rejected);
        note(run, batch->reject_text);
    }
    return HK_OK;
}

hk_err hk_pass_run(struct hk_pass *pass, struct hk_pass_run *run) {
    struct hk_batch *batch = pass->batch;
    run->cursor->at = run->cursor->order.form;
    hk_err err = HK_FULL;
    while (err == HK_FULL) {
        hk_batch_clear(batch);
        batch->arena = run->arena;
        hk_fail_clear();
        err = run->parser->parse(run->state, batch);
        if (err < 0) note(run, hk_fail_text()[0] != 0 ? hk_fail_text() : hk_err_text(err));
        hk_err taken = take_batch(pass, run);
        if (taken < 0) return taken;
        run->cursor->at = run->cursor->order.form;
    }
    judge_guesses(run->cursor);
    return err;
}

hk_err hk_pass_put_ref(struct hk_pass *pass, uint32_t ref, int64_t stamp_ms, double value) {
    if (HK_UNLIKELY(!hk_directory_touch(pass->directory, ref))) return HK_E_NOT_FOUND;
    HK_TRY(hk_store_append(pass->shard, ref, stamp_ms, value));
    if (HK_UNLIKELY(ref < pass->bound_count && pass->bound[ref] != 0)) {
        pass->sample(pass->rules_self, ref, stamp_ms, value);
    }
    return HK_OK;
}

hk_err hk_pass_put(
    struct hk_pass *pass, struct hk_pass_run *run, struct hk_labels labels, int64_t stamp_ms,
    double value, uint32_t *out_ref) {
    bool created = false;
    hk_ledger_received(pass->ledger, run->receiver, 1);
    run->points++;
    hk_err err = hk_directory_intern(pass->directory, labels, out_ref, &created);
    if (err >= 0 && created && pass->series_created != NULL) {
        pass->series_created(pass->rules_self, *out_ref, labels);
    }
    if (err >= 0) err = hk_pass_put_ref(pass, *out_ref, stamp_ms, value);
    if (err < 0) {
        uint64_t dropped = 0;
        return drop_entry(pass, run, err, &dropped);
    }
    pass->series_created_total += created;
    run->series_added += created;
    hk_ledger_appended(pass->ledger, run->receiver, 1);
    run->stored++;
    return HK_OK;
}

/* ------------------------------------------------------------------ retirement */

static bool leaves(void *self, uint32_t ref) {
    const struct hk_pass *pass = self;
    /* Dropped by relabelling: only its age counts. */
    return ref != HK_REF_DROPPED && hk_directory_is_leaving(pass->directory, ref);
}

void hk_pass_sweep_begin(struct hk_pass *pass, int64_t now_ms) {
    pass->sweep_at = 0;
    pass->aging = now_ms - pass->aged_ms >= AGING_MS || now_ms < pass->aged_ms;
    if (pass->aging) pass->aged_ms = now_ms;
}

bool hk_pass_sweep(struct hk_pass *pass) {
    return hk_ident_sweep(&pass->ident, &pass->sweep_at, SWEEP_FORMS, pass->aging, leaves, pass);
}

void hk_pass_forget(struct hk_pass *pass, uint32_t ref) {
    hk_delta_drop(pass, ref);
}
