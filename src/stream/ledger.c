/* The ledger. */
#include "stream/ledger.h"

enum { RECORD_VERSION = 1 };

#define HK_RECEIVER(id, name, signal) { name, signal },
static const struct {
    const char *name, *signal;
} receivers[] = { HK_LEDGER_RECEIVERS(HK_RECEIVER) };
#undef HK_RECEIVER

#define HK_REASON(id, name) name,
static const char *const reasons[] = { HK_LEDGER_REASONS(HK_REASON) };
#undef HK_REASON

static void add(_Atomic uint64_t *counter, uint64_t n) {
    /* One writer: a plain add that readers see whole. */
    uint64_t value = atomic_load_explicit(counter, memory_order_relaxed);
    atomic_store_explicit(counter, value + n, memory_order_relaxed);
}

static uint64_t get(const _Atomic uint64_t *counter) {
    return atomic_load_explicit(counter, memory_order_relaxed);
}

void hk_ledger_received(struct hk_ledger *ledger, enum hk_ledger_receiver receiver, uint64_t n) {
    add(&ledger->accounts[receiver].received, n);
}

void hk_ledger_appended(struct hk_ledger *ledger, enum hk_ledger_receiver receiver, uint64_t n) {
    add(&ledger->accounts[receiver].appended, n);
}

void hk_ledger_dropped(
    struct hk_ledger *ledger, enum hk_ledger_receiver receiver, enum hk_ledger_reason reason,
    uint64_t n) {
    if (n > 0) add(&ledger->accounts[receiver].dropped[reason], n);
}

static void put(struct hk_buf *out, uint64_t value) {
    hk_buf_bytes(out, &value, sizeof(value));
}

void hk_ledger_submit(struct hk_ledger *ledger, struct hk_buf *out) {
    hk_buf_char(out, RECORD_VERSION);
    hk_buf_char(out, HK_LEDGER_REASON_COUNT);
    for (size_t i = 0; i < HK_LEDGER_RECEIVER_COUNT; i++) {
        struct hk_ledger_account *account = &ledger->accounts[i];
        account->submitted = get(&account->appended);
        uint64_t dropped = 0;
        for (size_t k = 0; k < HK_LEDGER_REASON_COUNT; k++)
            dropped += get(&account->dropped[k]);
        if (account->submitted == 0 && dropped == 0) continue;
        hk_buf_char(out, (char)i);
        put(out, account->submitted);
        for (size_t k = 0; k < HK_LEDGER_REASON_COUNT; k++)
            put(out, get(&account->dropped[k]));
    }
}

void hk_ledger_durable(struct hk_ledger *ledger) {
    for (size_t i = 0; i < HK_LEDGER_RECEIVER_COUNT; i++) {
        struct hk_ledger_account *account = &ledger->accounts[i];
        atomic_store_explicit(&account->stored, account->submitted, memory_order_relaxed);
    }
}

hk_err hk_ledger_restore(struct hk_ledger *ledger, struct hk_str record) {
    if (record.len < 2 || record.ptr[0] != RECORD_VERSION) return HK_E_CORRUPT;
    size_t reason_count = (unsigned char)record.ptr[1];
    size_t row = 1 + 8 * (1 + reason_count);
    for (size_t at = 2; at + row <= record.len; at += row) {
        size_t receiver = (unsigned char)record.ptr[at];
        if (receiver >= HK_LEDGER_RECEIVER_COUNT) continue; /* of a newer hark */
        struct hk_ledger_account *account = &ledger->accounts[receiver];
        uint64_t value = 0;
        memcpy(&value, record.ptr + at + 1, sizeof(value));
        uint64_t total = value;
        account->submitted = value;
        atomic_store_explicit(&account->appended, value, memory_order_relaxed);
        atomic_store_explicit(&account->stored, value, memory_order_relaxed);
        for (size_t k = 0; k < reason_count && k < HK_LEDGER_REASON_COUNT; k++) {
            memcpy(&value, record.ptr + at + 9 + 8 * k, sizeof(value));
            atomic_store_explicit(&account->dropped[k], value, memory_order_relaxed);
            total += value;
        }
        atomic_store_explicit(&account->received, total, memory_order_relaxed);
    }
    return HK_OK;
}

struct sums {
    uint64_t received, stored, dropped[HK_LEDGER_REASON_COUNT], dropped_all;
};

/* Stored and dropped first: what is received meanwhile shows as in flight, never as missing. */
static struct sums sum_up(const struct hk_ledger *const *ledgers, uint32_t count, size_t receiver) {
    struct sums sums = { 0 };
    for (uint32_t i = 0; i < count; i++) {
        const struct hk_ledger_account *account = &ledgers[i]->accounts[receiver];
        sums.stored += get(&account->stored);
        for (size_t k = 0; k < HK_LEDGER_REASON_COUNT; k++) {
            uint64_t dropped = get(&account->dropped[k]);
            sums.dropped[k] += dropped;
            sums.dropped_all += dropped;
        }
        sums.received += get(&account->received);
    }
    return sums;
}

void hk_ledger_json(const struct hk_ledger *const *ledgers, uint32_t count, struct hk_buf *out) {
    hk_buf_text(out, "{\"accounts\":[");
    bool first = true;
    for (size_t i = 0; i < HK_LEDGER_RECEIVER_COUNT; i++) {
        struct sums sums = sum_up(ledgers, count, i);
        if (sums.received == 0) continue;
        hk_buf_printf(
            out, "%s{\"receiver\":\"%s\",\"signal\":\"%s\",\"received\":%llu,\"stored\":%llu,",
            first ? "" : ",", receivers[i].name, receivers[i].signal,
            (unsigned long long)sums.received, (unsigned long long)sums.stored);
        first = false;
        hk_buf_text(out, "\"dropped\":{");
        bool first_reason = true;
        for (size_t k = 0; k < HK_LEDGER_REASON_COUNT; k++) {
            if (sums.dropped[k] == 0) continue;
            hk_buf_printf(
                out, "%s\"%s\":%llu", first_reason ? "" : ",", reasons[k],
                (unsigned long long)sums.dropped[k]);
            first_reason = false;
        }
        hk_buf_printf(
            out, "},\"in_flight\":%llu}",
            (unsigned long long)(sums.received - sums.stored - sums.dropped_all));
    }
    hk_buf_text(out, "]}");
}

void hk_ledger_text(const struct hk_ledger *const *ledgers, uint32_t count, struct hk_buf *out) {
    static const char *const names[] = { "received", "stored" };
    for (size_t n = 0; n < HK_COUNT(names); n++) {
        hk_buf_printf(out, "# TYPE hark_ledger_%s_points_total counter\n", names[n]);
        for (size_t i = 0; i < HK_LEDGER_RECEIVER_COUNT; i++) {
            struct sums sums = sum_up(ledgers, count, i);
            if (sums.received == 0) continue;
            hk_buf_printf(
                out, "hark_ledger_%s_points_total{receiver=\"%s\",signal=\"%s\"} %llu\n", names[n],
                receivers[i].name, receivers[i].signal,
                (unsigned long long)(n == 0 ? sums.received : sums.stored));
        }
    }
    hk_buf_text(out, "# TYPE hark_ledger_dropped_points_total counter\n");
    for (size_t i = 0; i < HK_LEDGER_RECEIVER_COUNT; i++) {
        struct sums sums = sum_up(ledgers, count, i);
        for (size_t k = 0; k < HK_LEDGER_REASON_COUNT; k++) {
            if (sums.dropped[k] == 0) continue;
            hk_buf_printf(
                out,
                "hark_ledger_dropped_points_total{receiver=\"%s\",signal=\"%s\",reason=\"%s\"} "
                "%llu\n",
                receivers[i].name, receivers[i].signal, reasons[k],
                (unsigned long long)sums.dropped[k]);
        }
    }
}
