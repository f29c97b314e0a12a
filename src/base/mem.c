/* Heap allocation with overflow checks and failure injection. */
#include "base/mem.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static _Atomic uint64_t fail_countdown;
static _Atomic bool fail_happened;

static bool must_fail(void) {
    if (HK_LIKELY(atomic_load_explicit(&fail_countdown, memory_order_relaxed) == 0)) return false;
    if (atomic_fetch_sub_explicit(&fail_countdown, 1, memory_order_relaxed) != 1) return false;
    atomic_store_explicit(&fail_happened, true, memory_order_relaxed);
    return true;
}

void *hk_mem_alloc(size_t count, size_t size) {
    if (must_fail()) return NULL;
    return calloc(count == 0 ? 1 : count, size == 0 ? 1 : size);
}

void *hk_mem_resize(void *memory, size_t count, size_t size) {
    size_t bytes = 0;
    if (__builtin_mul_overflow(count, size, &bytes)) return NULL;
    if (must_fail()) return NULL;
    return realloc(memory, bytes == 0 ? 1 : bytes);
}

void hk_mem_free(void *memory) {
    free(memory);
}

void hk_mem_free_at(void *pointer) {
    void *memory = NULL;
    memcpy(&memory, pointer, sizeof(memory));
    free(memory);
}

hk_err hk_mem_grow(void *array, size_t *capacity, size_t need, size_t size) {
    if (need <= *capacity) return HK_OK;
    size_t next = *capacity < 8 ? 8 : *capacity;
    while (next < need) {
        if (__builtin_mul_overflow(next, (size_t)2, &next)) return HK_E_NOMEM;
    }
    void *old = NULL;
    memcpy(&old, array, sizeof(old));
    void *grown = hk_mem_resize(old, next, size);
    if (grown == NULL) return HK_E_NOMEM;
    memcpy(array, &grown, sizeof(grown));
    *capacity = next;
    return HK_OK;
}

char *hk_mem_copy(const void *from, size_t bytes) {
    size_t all = 0;
    if (__builtin_add_overflow(bytes, (size_t)1, &all)) return NULL;
    char *copy = hk_mem_alloc(all, 1);
    if (copy != NULL && bytes > 0) memcpy(copy, from, bytes);
    return copy;
}

void hk_mem_fail_at(uint64_t n) {
    atomic_store_explicit(&fail_happened, false, memory_order_relaxed);
    atomic_store_explicit(&fail_countdown, n, memory_order_relaxed);
}

bool hk_mem_failed(void) {
    return atomic_load_explicit(&fail_happened, memory_order_relaxed);
}
