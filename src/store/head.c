/* The shard's side of the store: slabs, gathering of commits, side records. */
#include "store/store_internal.h"

#include "base/mem.h"
#include "os/clock.h"

enum { SIDE_CHUNK_BYTES = 65536, SIDE_BYTES_MAX = 256 << 20 };

void hk_slab_free(struct hk_slab *slab) {
    if (slab == NULL) return;
    while (slab->bytes != NULL) {
        struct hk_slab_bytes *next = slab->bytes->next;
        hk_mem_free(slab->bytes);
        slab->bytes = next;
    }
    hk_mem_free(slab->records);
    hk_mem_free(slab->sides);
    hk_mem_free(slab);
}

static struct hk_slab *slab_create(void) {
    struct hk_slab *slab = hk_mem_alloc(1, sizeof(*slab));
    if (slab == NULL) return NULL;
    slab->records = hk_mem_alloc(HK_SLAB_RECORDS, sizeof(struct hk_record));
    if (slab->records == NULL) {
        hk_mem_free(slab);
        return NULL;
    }
    return slab;
}

/* A clean slab: a recycled or a new one; NULL at the limit. */
static struct hk_slab *slab_get(struct hk_store *store) {
    hk_mutex_lock(&store->slabs_lock);
    struct hk_slab *slab = store->free_slabs;
    bool may_make = store->slabs_made < HK_SLABS_MAX;
    if (slab != NULL)
        store->free_slabs = slab->next;
    else if (may_make)
        store->slabs_made++;
    hk_mutex_unlock(&store->slabs_lock);
    if (slab == NULL && may_make) {
        slab = slab_create();
        if (slab == NULL) {
            hk_mutex_lock(&store->slabs_lock);
            store->slabs_made--;
            hk_mutex_unlock(&store->slabs_lock);
        }
    }
    if (slab == NULL) return NULL;
    slab->next = NULL;
    slab->used = 0;
    slab->side_used = 0;
    slab->opened_ms = 0;
    atomic_store_explicit(&slab->count, 0, memory_order_relaxed);
    atomic_store_explicit(&slab->side_count, 0, memory_order_relaxed);
    atomic_fetch_add_explicit(&store->slabs_used, 1, memory_order_relaxed);
    return slab;
}

/* Frees the payload bytes and puts the slab on the free list. Under slabs_lock. */
static void make_free(struct hk_store *store, struct hk_slab *slab) {
    while (slab->bytes != NULL) {
        struct hk_slab_bytes *next = slab->bytes->next;
        hk_mem_free(slab->bytes);
        slab->bytes = next;
    }
    slab->next = store->free_slabs;
    store->free_slabs = slab;
    atomic_fetch_sub_explicit(&store->slabs_used, 1, memory_order_relaxed);
}

void hk_slab_recycle(struct hk_store *store, struct hk_slab *slab) {
    hk_mutex_lock(&store->slabs_lock);
    if (slab != NULL) {
        slab->next = store->limbo;
        store->limbo = slab;
    }
    struct hk_slab **at = &store->limbo;
    while (*at != NULL) {
        struct hk_slab *waiting = *at;
        if (atomic_load_explicit(&waiting->users, memory_order_acquire) == 0) {
            *at = waiting->next;
            make_free(store, waiting);
        } else {
            at = &waiting->next;
        }
    }
    hk_mutex_unlock(&store->slabs_lock);
}

hk_err hk_shard_init(struct hk_store_shard *shard, struct hk_store *store, uint32_t index) {
    shard->store = store;
    shard->index = index;
    shard->closed_last = &shard->closed_first;
    shard->commit_next = 1;
    hk_buf_init(&shard->side[0], SIDE_BYTES_MAX);
    hk_buf_init(&shard->side[1], SIDE_BYTES_MAX);
    shard->open = slab_get(store);
    shard->published_open = shard->open;
    if (shard->open != NULL) shard->open->serial = 1;
    return shard->open == NULL ? HK_E_NOMEM : HK_OK;
}

void hk_shard_deinit(struct hk_store_shard *shard) {
    hk_slab_free(shard->open);
    while (shard->closed_first != NULL) {
        struct hk_slab *next = shard->closed_first->next;
        hk_slab_free(shard->closed_first);
        shard->closed_first = next;
    }
    hk_buf_deinit(&shard->side[0]);
    hk_buf_deinit(&shard->side[1]);
}

/* Notes that the open slab has data from `from` on that belong to the gathering commit. */
static hk_err gather_span(struct hk_store_shard *shard, uint32_t from) {
    if (shard->gather_count > 0 && shard->gather_slab[shard->gather_count - 1] == shard->open) {
        return HK_OK;
    }
    if (shard->gather_count == HK_WAL_SPANS_MAX) return HK_E_LIMIT;
    shard->gather_slab[shard->gather_count] = shard->open;
    shard->gather_from[shard->gather_count++] = from;
    return HK_OK;
}

/* Closes the open slab and opens the next. */
static hk_err rotate(struct hk_store_shard *shard) {
    struct hk_store *store = shard->store;
    if (shard->gather_count == HK_WAL_SPANS_MAX) return HK_E_LIMIT;
    struct hk_slab *fresh = slab_get(store);
    if (fresh == NULL) return HK_E_LIMIT;
    struct hk_slab *full = shard->open;
    fresh->serial = full->serial + 1;
    bool gathers = shard->gather_count > 0 || shard->gather_dirty;
    full->last_commit = gathers ? shard->commit_next : shard->commit_next - 1;
    atomic_store_explicit(&full->count, full->used, memory_order_release);
    atomic_store_explicit(&full->side_count, full->side_used, memory_order_release);
    full->next = NULL;
    hk_mutex_lock(&store->slabs_lock);
    *shard->closed_last = full;
    shard->closed_last = &full->next;
    shard->published_open = fresh;
    hk_mutex_unlock(&store->slabs_lock);
    shard->open = fresh;
    return HK_OK;
}

static hk_err put_record(struct hk_store_shard *shard, struct hk_record record) {
    struct hk_slab *slab = shard->open;
    HK_TRY(gather_span(shard, slab->used));
    slab->records[slab->used++] = record;
    return HK_OK;
}

hk_err hk_store_append(struct hk_store_shard *shard, uint32_t ref, int64_t stamp_ms, double value) {
    if (HK_UNLIKELY(shard->open->used + 2 > HK_SLAB_RECORDS)) HK_TRY(rotate(shard));
    struct hk_slab *slab = shard->open;
    if (HK_UNLIKELY(slab->opened_ms == 0)) {
        slab->base_ms = stamp_ms;
        slab->opened_ms = hk_clock_realtime_ms();
    }
    int64_t delta = (int64_t)((uint64_t)stamp_ms - (uint64_t)slab->base_ms);
    struct hk_record record = { ref, (int32_t)delta, value };
    if (HK_UNLIKELY(delta != (int32_t)delta)) {
        struct hk_record far = { HK_RECORD_FAR, 0, 0 };
        memcpy(&far.value, &stamp_ms, sizeof(stamp_ms));
        record.delta_ms = 0;
        HK_TRY(put_record(shard, far));
    }
    if (HK_UNLIKELY(
            shard->gather_count == 0 || shard->gather_slab[shard->gather_count - 1] != slab)) {
        HK_TRY(gather_span(shard, slab->used));
    }
    slab->records[slab->used++] = record;
    return HK_OK;
}

/* Copy of payload bytes that lives as long as the slab. */
static const uint8_t *slab_copy(struct hk_slab *slab, struct hk_str bytes) {
    struct hk_slab_bytes *chunk = slab->bytes;
    if (chunk == NULL || chunk->bytes - chunk->used < bytes.len) {
        size_t want = bytes.len > SIDE_CHUNK_BYTES ? bytes.len : SIDE_CHUNK_BYTES;
        chunk = hk_mem_resize(NULL, sizeof(*chunk) + want, 1);
        if (chunk == NULL) return NULL;
        chunk->next = slab->bytes;
        chunk->used = 0;
        chunk->bytes = want;
        slab->bytes = chunk;
    }
    uint8_t *copy = chunk->data + chunk->used;
    if (bytes.len > 0) memcpy(copy, bytes.ptr, bytes.len);
    chunk->used += bytes.len;
    return copy;
}

static hk_err add_side_item(
    struct hk_store_shard *shard, enum hk_side_kind kind, uint32_t ref, int64_t stamp_ms,
    struct hk_str bytes) {
    if (shard->open->side_used == HK_SLAB_SIDES) HK_TRY(rotate(shard));
    struct hk_slab *slab = shard->open;
    if (slab->sides == NULL) {
        slab->sides = hk_mem_alloc(HK_SLAB_SIDES, sizeof(slab->sides[0]));
        if (slab->sides == NULL) return HK_E_NOMEM;
    }
    const uint8_t *copy = slab_copy(slab, bytes);
    if (copy == NULL) return HK_E_NOMEM;
    if (slab->opened_ms == 0) {
        slab->opened_ms = hk_clock_realtime_ms();
        slab->base_ms = stamp_ms;
    }
    slab->sides[slab->side_used++] = (struct hk_side_item){
        .data = copy,
        .stamp_ms = stamp_ms,
        .ref = ref,
        .bytes = (uint32_t)bytes.len,
        .kind = (uint8_t)kind,
    };
    return HK_OK;
}

hk_err hk_store_append_side(
    struct hk_store_shard *shard, enum hk_side_kind kind, uint32_t ref, int64_t stamp_ms,
    struct hk_str bytes) {
    if (bytes.len > UINT32_MAX) return HK_E_LIMIT;
    if (kind == HK_SIDE_HISTOGRAM) {
        HK_TRY(add_side_item(shard, kind, ref, stamp_ms, bytes));
    }
    uint32_t len = (uint32_t)bytes.len;
    char header[HK_SIDE_HEADER_BYTES];
    header[0] = (char)kind;
    memcpy(header + 1, &ref, sizeof(ref));
    memcpy(header + 5, &stamp_ms, sizeof(stamp_ms));
    memcpy(header + 13, &len, sizeof(len));
    hk_buf_bytes(&shard->side[0], header, sizeof(header));
    hk_buf_str(&shard->side[0], bytes);
    shard->gather_dirty = true;
    return shard->side[0].err;
}

bool hk_side_next(
    struct hk_str *rest, enum hk_side_kind *out_kind, uint32_t *out_ref, int64_t *out_stamp_ms,
    struct hk_str *out_bytes) {
    uint32_t len = 0;
    if (rest->len < HK_SIDE_HEADER_BYTES) return false;
    memcpy(&len, rest->ptr + 13, sizeof(len));
    if (len > rest->len - HK_SIDE_HEADER_BYTES) return false;
    *out_kind = (enum hk_side_kind)rest->ptr[0];
    memcpy(out_ref, rest->ptr + 1, sizeof(*out_ref));
    memcpy(out_stamp_ms, rest->ptr + 5, sizeof(*out_stamp_ms));
    *out_bytes = (struct hk_str){ rest->ptr + HK_SIDE_HEADER_BYTES, len };
    *rest = hk_str_part(*rest, HK_SIDE_HEADER_BYTES + (size_t)len, rest->len);
    return true;
}

uint64_t hk_store_publish(struct hk_store_shard *shard) {
    struct hk_slab *slab = shard->open;
    atomic_store_explicit(&slab->count, slab->used, memory_order_release);
    atomic_store_explicit(&slab->side_count, slab->side_used, memory_order_release);
    /* Without anything new, the newest commit that was handed over is the one to wait for. */
    bool gathers = shard->gather_count > 0 || shard->gather_dirty;
    return gathers ? shard->commit_next : shard->submitted;
}

void hk_store_kick(struct hk_store_shard *shard, int64_t now_ms) {
    if (!hk_wal_idle(shard->wal)) return;
    if (shard->gather_count == 0 && !shard->gather_dirty) {
        bool aged = shard->open->opened_ms != 0 && now_ms - shard->open->opened_ms > HK_SLAB_AGE_MS;
        /* No slab left: the next turn tries again. */
        if (aged && rotate(shard) < 0) return;
        return;
    }
    struct hk_wal_commit commit = { .commit_ms = now_ms };
    uint64_t first = hk_wal_next(shard->wal);
    for (uint32_t i = 0; i < shard->gather_count; i++) {
        const struct hk_slab *slab = shard->gather_slab[i];
        uint32_t from = shard->gather_from[i];
        shard->gather_slab[i]->last_group = first + i;
        commit.spans[i] = (struct hk_wal_span){
            .records = slab->records + from,
            .count = slab->used - from,
            .base_ms = slab->base_ms,
        };
    }
    commit.span_count = shard->gather_count;
    if (commit.span_count == 0) commit.spans[commit.span_count++].base_ms = now_ms;
    struct hk_buf swap = shard->side[1];
    shard->side[1] = shard->side[0];
    shard->side[0] = swap;
    hk_buf_clear(&shard->side[0]);
    commit.side = hk_buf_get(&shard->side[1]);
    shard->gather_count = 0;
    shard->gather_dirty = false;
    shard->submitted = shard->commit_next++;
    shard->open->last_group = first + commit.span_count - 1;
    if (shard->state_gathers) shard->state_submitted = first;
    shard->state_gathers = false;
    atomic_store_explicit(&shard->submitted_commit, shard->submitted, memory_order_release);
    (void)hk_wal_submit(shard->wal, &commit);
}

bool hk_store_idle(const struct hk_store_shard *shard) {
    return hk_wal_idle(shard->wal);
}

uint64_t hk_store_durable(const struct hk_store_shard *shard) {
    return atomic_load_explicit(&shard->durable_commit, memory_order_acquire);
}

bool hk_store_pending(const struct hk_store_shard *shard) {
    return shard->gather_count > 0 || shard->gather_dirty ||
           shard->submitted > hk_store_durable(shard);
}

bool hk_store_has_room(const struct hk_store_shard *shard) {
    const struct hk_store *store = shard->store;
    uint32_t used = atomic_load_explicit(&store->slabs_used, memory_order_relaxed);
    return used + 12 < HK_SLABS_MAX;
}

struct hk_slab *hk_shard_take_closed(struct hk_store_shard *shard) {
    uint64_t durable = hk_store_durable(shard);
    hk_mutex_lock(&shard->store->slabs_lock);
    struct hk_slab *slab = shard->closed_first;
    if (slab != NULL && slab->last_commit > durable) slab = NULL;
    hk_mutex_unlock(&shard->store->slabs_lock);
    return slab;
}

void hk_store_swept(struct hk_store_shard *shard) {
    const struct hk_slab *open = shard->open;
    bool empty = open->used == 0 && open->side_used == 0;
    shard->swept_serial = empty ? open->serial - 1 : open->serial;
    hk_store_forgot(shard);
}

void hk_store_forgot(struct hk_store_shard *shard) {
    /* Pairs with the acquire in hk_retire_step. */
    atomic_fetch_sub_explicit(&shard->store->retire.waiting, 1, memory_order_release);
}

void hk_store_state_mark(struct hk_store_shard *shard) {
    shard->state_gathers = true;
}
