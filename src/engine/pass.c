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

static void drop(struct hk_pass_run *run, enum hk_ledger_reason reason, uint64_t points) {
    run->dropped[reason] += points;
    run->rejected += points;
}

/* What was counted goes into the ledger. */
static void settle(struct hk_pass *pass, struct hk_pass_run *run) {
    hk_ledger_received(pass->ledger, run->receiver, run->received);
    hk_ledger_appended(pass->ledger, run->receiver, run->appended);
    for (size_t i = 0; run->rejected > 0 && i < HK_LEDGER_REASON_COUNT; i++) {
        if (run->dropped[i] == 0) continue;
        hk_ledger_dropped(pass->ledger, run->receiver, (enum hk_ledger_reason)i, run->dropped[i]);
        run->dropped[i] = 0;
    }
    run->received = 0;
    run->appended = 0;
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

static hk_err
append_side(struct hk_pass *pass, struct hk_pass_run *run, const struct hk_staged *entry) {
    struct hk_str bytes = { entry->payload, entry->payload_bytes };
    if (entry->kind == HK_ENTRY_EXEMPLAR) {
        /* A duplicate is in the log already, in this commit or an earlier one: it counts. */
        HK_TRY(hk_store_append_exemplar(pass->shard, entry->ref, entry->stamp_ms, bytes));
        run->exemplars++;
        return HK_OK;
    }
    if (entry->kind == HK_ENTRY_HISTOGRAM_ADD) {
        HK_TRY(hk_delta_histogram(pass, entry, run->arena, &bytes));
    }
    HK_TRY(
        hk_store_append_side(pass->shard, HK_SIDE_HISTOGRAM, entry->ref, entry->stamp_ms, bytes));
    run->histograms++;
    return HK_OK;
}

/* Appends a sample of a series that a form led to just now: it cannot be retired. */
static inline hk_err put(struct hk_pass *pass, uint32_t ref, int64_t stamp_ms, double value) {
    HK_TRY(hk_store_append(pass->shard, ref, stamp_ms, value));
    if (HK_UNLIKELY(ref < pass->bound_count && pass->bound[ref] != 0)) {
        pass->sample(pass->rules_self, ref, stamp_ms, value);
    }
    return HK_OK;
}

/* Entries of unusual kinds. */
static hk_err
append_other(struct hk_pass *pass, struct hk_pass_run *run, const struct hk_staged *entry) {
    if (entry->kind == HK_ENTRY_HISTOGRAM || entry->kind == HK_ENTRY_EXEMPLAR ||
        entry->kind == HK_ENTRY_HISTOGRAM_ADD) {
        return append_side(pass, run, entry);
    }
    double value = entry->value;
    if (entry->kind == HK_ENTRY_ADD)
        HK_TRY(hk_delta_add(pass, entry, &value));
    else
        HK_TRY(hk_delta_set(pass, entry->ref, value));
    return put(pass, entry->ref, entry->stamp_ms, value);
}

static inline hk_err
append(struct hk_pass *pass, struct hk_pass_run *run, const struct hk_staged *entry) {
    if (HK_UNLIKELY(entry->kind != HK_ENTRY_SET || run->receiver == HK_RECEIVER_STATSD)) {
        return append_other(pass, run, entry);
    }
    return put(pass, entry->ref, entry->stamp_ms, entry->value);
}

/* Appends the entry, or keeps it for the commit: there is room (hk_pass_step). */
static inline hk_err
hand_on(struct hk_pass *pass, struct hk_pass_run *run, uint32_t ref, const struct hk_entry *entry) {
    struct hk_staged staged = {
        .stamp_ms = entry->stamp_ms,
        .value = entry->value,
        .payload = entry->payload,
        .start_ms = entry->start_ms,
        .ref = ref,
        .payload_bytes = entry->payload_bytes,
        .kind = entry->kind,
    };
    if (run->stage == NULL) return append(pass, run, &staged);
    run->stage->entries[run->stage->count++] = staged;
    return HK_OK;
}

/* An entry failed: it is dropped with a reason. Errors that no input causes end the run. */
static void drop_entry(struct hk_pass_run *run, hk_err err) {
    note(run, hk_fail_text()[0] != 0 ? hk_fail_text() : hk_err_text(err));
    switch (err) {
    case HK_E_MALFORMED:
        drop(run, HK_DROP_INVALID_LABELS, 1);
        break;
    case HK_E_LIMIT:
    case HK_E_NOMEM:
        run->refused_memory = true;
        drop(run, HK_DROP_MEMORY, 1);
        break;
    case HK_E_EXISTS:
        drop(run, HK_DROP_DUPLICATE, 1);
        break;
    case HK_E_UNSUPPORTED:
        drop(run, HK_DROP_UNSUPPORTED, 1);
        break;
    default:
        drop(run, HK_DROP_MALFORMED, 1);
        run->failed = err;
        break;
    }
}

/* Ref of an entry that prediction knew. */
static inline uint32_t
predicted(struct hk_pass *pass, struct hk_ident_cursor *order, const struct hk_entry *entry) {
    if (order->form != entry->ref) {
        hk_ident_advance(&pass->ident, order, entry->ref);
        pass->ident.predicted++;
    }
    return hk_ident_form(&pass->ident, entry->ref)->ref;
}

/* Takes the entries from `first` on; returns how many of the batch's points were dropped. */
static uint64_t take_entries(struct hk_pass *pass, struct hk_pass_run *run, uint32_t first) {
    struct hk_batch *batch = pass->batch;
    struct hk_ident_cursor *order = &run->cursor->order;
    uint64_t dropped = 0;
    for (uint32_t i = first; i < batch->count; i++) {
        struct hk_entry *entry = &batch->entries[i];
        uint32_t ref = HK_REF_NONE;
        hk_err err = HK_OK;
        if (HK_LIKELY(entry->ref != HK_REF_NONE)) {
            ref = predicted(pass, order, entry);
        } else {
            err = resolve(pass, run, entry, &ref);
        }
        bool counts = entry->kind != HK_ENTRY_EXEMPLAR;
        if (HK_UNLIKELY(err >= 0 && ref == HK_REF_DROPPED)) {
            if (counts && dropped < batch->points) {
                dropped++;
                drop(run, HK_DROP_RELABEL, 1);
            }
            continue;
        }
        if (err >= 0) err = hand_on(pass, run, ref, entry);
        if (HK_UNLIKELY(err < 0)) {
            if (counts && dropped < batch->points) {
                dropped++;
                drop_entry(run, err);
            }
            continue;
        }
        if (run->seen != NULL) run->seen(run->seen_self, ref);
    }
    return dropped;
}

static void take_batch(struct hk_pass *pass, struct hk_pass_run *run, uint32_t first) {
    struct hk_batch *batch = pass->batch;
    uint64_t good = batch->points - take_entries(pass, run, first);
    if (batch->meta_count > 0) hk_store_take_metas(pass->shard, batch->metas, batch->meta_count);
    run->points += batch->points + batch->rejected;
    run->received += batch->points + batch->rejected;
    if (run->stage != NULL) {
        run->stage->points += good;
    } else {
        run->appended += good;
        run->stored += good;
    }
    if (batch->rejected > 0) {
        drop(run, HK_DROP_MALFORMED, batch->rejected);
        note(run, batch->reject_text);
    }
    if (run->stage == NULL) settle(pass, run);
}

void hk_pass_begin(struct hk_pass_run *run) {
    if (run->stage == NULL) return;
    run->stage->count = 0;
    run->stage->points = 0;
}

hk_err hk_pass_step(struct hk_pass *pass, struct hk_pass_run *run) {
    struct hk_batch *batch = pass->batch;
    struct hk_stage *stage = run->stage;
    if (stage != NULL) {
        HK_TRY(hk_mem_grow(
            &stage->entries, &stage->capacity, (size_t)stage->count + HK_BATCH_ENTRIES_MAX,
            sizeof(stage->entries[0])));
    }
    if (run->room == 0) run->room = HK_STEP_ENTRIES_MIN;
    uint64_t added = run->series_added;
    uint32_t first = HK_BATCH_ENTRIES_MAX - run->room;
    run->cursor->at = run->cursor->order.form;
    hk_batch_clear(batch);
    batch->count = first;
    batch->arena = run->arena;
    hk_fail_clear();
    hk_err err = run->parser->parse(run->state, batch);
    if (err < 0) { /* what ends the body is told rather than what was wrong with a point */
        run->text[0] = 0;
        note(run, hk_fail_text()[0] != 0 ? hk_fail_text() : hk_err_text(err));
    }
    take_batch(pass, run, first);
    bool slow = stage != NULL && run->series_added - added > run->room / 8;
    if (slow)
        run->room = HK_STEP_ENTRIES_MIN;
    else if (run->room <= HK_BATCH_ENTRIES_MAX / 2)
        run->room *= 2;
    if (run->failed < 0) err = run->failed;
    if (err != HK_FULL) judge_guesses(run->cursor);
    return err;
}

hk_err hk_pass_commit(struct hk_pass *pass, struct hk_pass_run *run) {
    struct hk_stage *stage = run->stage;
    uint64_t dropped = 0;
    hk_fail_clear();
    for (uint32_t i = 0; i < stage->count; i++) {
        const struct hk_staged *entry = &stage->entries[i];
        hk_err err = append(pass, run, entry);
        if (HK_LIKELY(err >= 0)) continue;
        if (entry->kind == HK_ENTRY_EXEMPLAR || dropped == stage->points) continue;
        dropped++;
        drop_entry(run, err);
    }
    run->appended += stage->points - dropped;
    run->stored += stage->points - dropped;
    settle(pass, run);
    hk_pass_begin(run);
    return run->failed;
}

hk_err hk_pass_run(struct hk_pass *pass, struct hk_pass_run *run) {
    hk_err err = HK_FULL;
    hk_pass_begin(run);
    if (run->room == 0) run->room = HK_BATCH_ENTRIES_MAX;
    while (err == HK_FULL)
        err = hk_pass_step(pass, run);
    return err;
}

hk_err hk_pass_put_ref(struct hk_pass *pass, uint32_t ref, int64_t stamp_ms, double value) {
    if (HK_UNLIKELY(!hk_directory_touch(pass->directory, ref))) return HK_E_NOT_FOUND;
    return put(pass, ref, stamp_ms, value);
}

hk_err hk_pass_put(
    struct hk_pass *pass, struct hk_pass_run *run, struct hk_labels labels, int64_t stamp_ms,
    double value, uint32_t *out_ref) {
    bool created = false;
    run->received++;
    run->points++;
    hk_err err = hk_directory_intern(pass->directory, labels, out_ref, &created);
    if (err >= 0 && created && pass->series_created != NULL) {
        pass->series_created(pass->rules_self, *out_ref, labels);
    }
    if (err >= 0) err = hk_pass_put_ref(pass, *out_ref, stamp_ms, value);
    if (err < 0) {
        drop_entry(run, err);
        settle(pass, run);
        return run->failed;
    }
    pass->series_created_total += created;
    run->series_added += created;
    run->appended++;
    run->stored++;
    settle(pass, run);
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
