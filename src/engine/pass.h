/*
 * The ingest pass: from a parsed batch to the log, on the shard's thread. Resolves identities
 * (prediction, table, creation), appends samples, shows them to the rules, and keeps the ledger.
 */
#ifndef HK_ENGINE_PASS_H
#define HK_ENGINE_PASS_H

#include "ingest/remote_write.h"
#include "model/batch.h"
#include "store/store.h"
#include "stream/ledger.h"

/* Special refs of forms: the series' labels were refused or dropped by relabelling. */
#define HK_REF_DROPPED (UINT32_MAX - 1)

enum {
    HK_PASS_CURSORS = 256,
    HK_STAGE_ENTRIES_MAX = 1 << 16, /* of one body: then a part of it is committed */
    HK_STEP_ENTRIES_MIN = 32,       /* of a step that finds many new series, and of the first */
};

/* State of delta series (HK_ENTRY_ADD, HK_ENTRY_HISTOGRAM_ADD), open addressing by ref. */
struct hk_delta {
    uint32_t ref;           /* + 1, 0 = free */
    uint32_t payload_bytes; /* histograms: the encoded total, own memory */
    char *payload;
    int64_t end_ms;
    double value;
};

struct hk_pass_cursor {
    struct hk_ident_cursor order;
    uint32_t at;              /* predictor: form that the next guess follows */
    uint32_t guesses, misses; /* of the present body */
    uint32_t rest;            /* bodies to go without guessing */
};

/* Changes labels at creation: target labels, relabelling. False: the series is dropped. */
struct hk_pass_labels {
    void *self;
    bool (*apply)(void *self, struct hk_label_set *set, struct hk_arena *arena);
};

struct hk_pass {
    struct hk_store *store;
    struct hk_store_shard *shard;
    struct hk_directory *directory;
    struct hk_ident ident;
    struct hk_ledger *ledger;
    struct hk_batch *batch;
    struct hk_label_set *set; /* scratch of creation */
    struct hk_pass_cursor cursors[HK_PASS_CURSORS];
    struct hk_delta *deltas;
    size_t delta_count, delta_mask;
    /* Rules: called for samples of series with a binding; bound when a series is created. */
    void *rules_self;
    void (*series_created)(void *self, uint32_t ref, struct hk_labels labels);
    void (*sample)(void *self, uint32_t ref, int64_t stamp_ms, double value);
    const uint8_t *bound; /* per ref: 1 = some rule looks at it; below bound_count */
    uint32_t bound_count;
    uint64_t series_created_total;
    uint32_t sweep_at; /* form that the sweep in progress looks at next */
    int64_t aged_ms;   /* wall clock of the last sweep that dropped unused forms */
    bool aging;        /* the sweep in progress does */
};

/* An entry that is resolved and not appended yet. `payload` lives in the run's arena. */
struct hk_staged {
    int64_t stamp_ms;
    double value;
    const void *payload;
    int64_t start_ms;
    uint32_t ref, payload_bytes;
    uint8_t kind; /* enum hk_entry_kind */
};

/* What hk_pass_step() has prepared for hk_pass_commit(). Zero-initialise; reused over runs. */
struct hk_stage {
    struct hk_staged *entries;
    size_t capacity;
    uint32_t count;
    uint64_t points; /* that the entries stand for */
};

/* One request, scrape or batch of datagrams on its way. */
struct hk_pass_run {
    enum hk_ledger_receiver receiver;
    const struct hk_metric_parser *parser;
    void *state;
    struct hk_arena *arena;
    struct hk_pass_cursor *cursor;
    const struct hk_pass_labels *labels; /* or NULL */
    struct hk_stage *stage;              /* NULL: entries are appended at once */
    /* Counted, but not in the ledger yet. */
    uint64_t received, appended, dropped[HK_LEDGER_REASON_COUNT];
    hk_err failed; /* < 0: an error that no input causes */
    uint32_t
        room; /* entries of the next step, 0 = HK_STEP_ENTRIES_MIN; grows unless series are new */
    /* Results. */
    uint64_t points, stored, rejected; /* points on the wire; rejected = dropped for any reason */
    uint64_t series_added;
    uint64_t histograms, exemplars; /* entries that were appended */
    bool refused_memory;            /* some new series were refused: memory limit */
    char text[256];                 /* first reason for a rejection */
    /* Scrapes: called with the ref of every appended entry. May be NULL. */
    void (*seen)(void *self, uint32_t ref);
    void *seen_self;
};

hk_err hk_pass_init(
    struct hk_pass *pass, struct hk_store *store, uint32_t shard, struct hk_ledger *ledger,
    uint64_t memory_max) HK_MUST_CHECK;
void hk_pass_deinit(struct hk_pass *pass);

/* Cursor for a sender. */
struct hk_pass_cursor *hk_pass_cursor(struct hk_pass *pass, struct hk_str peer);

/* Predictor for the parser of Remote Write 1.0. */
struct hk_pass_guess {
    struct hk_pass *pass;
    struct hk_pass_cursor *cursor;
    const struct hk_context *context;
    struct hk_rw1 *rw1; /* the parser that it serves */
};
bool hk_pass_predict(
    void *self, const uint8_t *at, size_t left, uint32_t *out_ref, uint32_t *out_key_bytes);

/*
 * A body in turns: begin, then step until it returns something else than HK_FULL, then commit. A
 * step parses at most HK_BATCH_ENTRIES_MAX entries, finds their series (new ones are created) and
 * stages them; nothing is visible, counted in the ledger or shown to the rules before the commit,
 * which appends all in one go (decision D8: a body arrives as a whole). Outcomes of step as of
 * hk_pass_run; also after an error the commit takes what is staged. A cursor serves one run at a
 * time, other runs may have their turns in between. When hk_pass_stage_full(), commit and go on.
 */
void hk_pass_begin(struct hk_pass_run *run);
hk_err hk_pass_step(struct hk_pass *pass, struct hk_pass_run *run) HK_MUST_CHECK;
hk_err hk_pass_commit(struct hk_pass *pass, struct hk_pass_run *run) HK_MUST_CHECK;
static inline bool hk_pass_stage_full(const struct hk_stage *stage) {
    return stage->count > HK_STAGE_ENTRIES_MAX - HK_BATCH_ENTRIES_MAX;
}

/*
 * Parses the whole input and appends it. HK_OK (look at run->rejected), HK_E_MALFORMED (the input
 * broke off; what came before is in), HK_E_NOMEM, HK_E_LIMIT (no room in the store: nothing more
 * was taken). The caller publishes.
 */
hk_err hk_pass_run(struct hk_pass *pass, struct hk_pass_run *run) HK_MUST_CHECK;

/* Appends one sample of a series given by labels (recording rules, `up`). */
hk_err hk_pass_put(
    struct hk_pass *pass, struct hk_pass_run *run, struct hk_labels labels, int64_t stamp_ms,
    double value, uint32_t *out_ref) HK_MUST_CHECK;

/* Retirement (store.h): a slice of the sweep; true when no form leads to a leaving series. */
void hk_pass_sweep_begin(struct hk_pass *pass, int64_t now_ms);
bool hk_pass_sweep(struct hk_pass *pass);

/* Retirement: a dead ref's state goes. */
void hk_pass_forget(struct hk_pass *pass, uint32_t ref);

/* Appends one sample of a known series (stale markers). HK_E_NOT_FOUND when it was retired. */
hk_err
hk_pass_put_ref(struct hk_pass *pass, uint32_t ref, int64_t stamp_ms, double value) HK_MUST_CHECK;

#endif
