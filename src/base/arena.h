/*
 * Arena: many allocations, one release. For what dies together: a batch, a request, a
 * configuration. Not thread-safe: an arena belongs to the thread that uses it.
 */
#ifndef HK_BASE_ARENA_H
#define HK_BASE_ARENA_H

#include "base/err.h"
#include "base/str.h"

struct hk_arena_chunk;

struct hk_arena {
    struct hk_arena_chunk *chunk; /* newest first */
    size_t used;                  /* bytes used in the newest chunk */
    size_t bytes_total;           /* reserved by all chunks */
    size_t bytes_max;             /* limit on bytes_total */
};

/* Makes an empty arena that never holds more than `bytes_max` bytes. Allocates nothing yet. */
void hk_arena_init(struct hk_arena *arena, size_t bytes_max);

/* Frees everything. */
void hk_arena_deinit(struct hk_arena *arena);

/* Forgets all allocations; keeps one chunk (the newest, if at most 256 KiB) for reuse. */
void hk_arena_reset(struct hk_arena *arena);

/* `count` × `size` zeroed bytes aligned for any type. NULL when the limit would be passed. */
void *hk_arena_alloc(struct hk_arena *arena, size_t count, size_t size);

/* As hk_arena_alloc but not zeroed. */
void *hk_arena_alloc_raw(struct hk_arena *arena, size_t count, size_t size);

/* Copy of `str` in the arena (NUL-terminated behind). Its ptr is NULL when out of memory. */
struct hk_str hk_arena_str(struct hk_arena *arena, struct hk_str str);

/* Formatted text in the arena; its ptr is NULL when out of memory. */
struct hk_str hk_arena_printf(struct hk_arena *arena, const char *format, ...) HK_PRINTF(2, 3);

#endif
