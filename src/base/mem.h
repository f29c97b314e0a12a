/*
 * The only place that allocates from the C heap. Sizes are multiplied with overflow checks;
 * failures can be injected (hk_mem_fail_at) so that tests sweep every allocation.
 * Thread-safe.
 */
#ifndef HK_BASE_MEM_H
#define HK_BASE_MEM_H

#include "base/err.h"

#include <stdbool.h>

/* `count` × `size` zeroed bytes, NULL when out of memory or on overflow. Freed by hk_mem_free. */
void *hk_mem_alloc(size_t count, size_t size);

/* Resizes to `count` × `size` bytes, contents kept, new bytes not zeroed. NULL: old one is kept. */
void *hk_mem_resize(void *memory, size_t count, size_t size);

/* Frees what hk_mem_alloc or hk_mem_resize gave; NULL is fine. */
void hk_mem_free(void *memory);

/* HK_CLEANUP helper: frees the pointer that `pointer` points to. */
void hk_mem_free_at(void *pointer);

/*
 * Grows an array so that it holds at least `need` elements of `size` bytes: doubles `*capacity`.
 * `array` is the address of the pointer. HK_E_NOMEM leaves everything as it was.
 */
hk_err hk_mem_grow(void *array, size_t *capacity, size_t need, size_t size) HK_MUST_CHECK;

/* Heap copy of `bytes` bytes with a NUL behind. NULL when out of memory. */
char *hk_mem_copy(const void *from, size_t bytes);

/* Test hook: the `n`-th allocation from now on fails (1 = the next), 0 = none. */
void hk_mem_fail_at(uint64_t n);

/* Test hook: did the injected failure happen since the last hk_mem_fail_at()? */
bool hk_mem_failed(void);

#endif
