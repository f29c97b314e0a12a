/* Arena: a list of chunks, the newest is filled. Invariant (1): used <= chunk->bytes. */
#include "base/arena.h"

#include "base/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { CHUNK_BYTES_MIN = 4096, CHUNK_BYTES_STEP = 65536, CHUNK_BYTES_KEPT = 262144, ALIGN = 16 };

struct hk_arena_chunk {
    struct hk_arena_chunk *next;
    size_t bytes;
    _Alignas(ALIGN) unsigned char data[];
};

void hk_arena_init(struct hk_arena *arena, size_t bytes_max) {
    *arena = (struct hk_arena){ .bytes_max = bytes_max };
}

void hk_arena_deinit(struct hk_arena *arena) {
    struct hk_arena_chunk *chunk = arena->chunk;
    while (chunk != NULL) {
        struct hk_arena_chunk *next = chunk->next;
        hk_mem_free(chunk);
        chunk = next;
    }
    hk_arena_init(arena, arena->bytes_max);
}

void hk_arena_reset(struct hk_arena *arena) {
    struct hk_arena_chunk *kept = arena->chunk;
    if (kept != NULL && kept->bytes <= CHUNK_BYTES_KEPT) {
        arena->chunk = kept->next;
        kept->next = NULL;
    } else {
        kept = NULL;
    }
    hk_arena_deinit(arena);
    arena->chunk = kept;
    arena->bytes_total = kept == NULL ? 0 : kept->bytes;
}

static hk_err add_chunk(struct hk_arena *arena, size_t bytes) {
    size_t want = arena->chunk == NULL ? CHUNK_BYTES_MIN : CHUNK_BYTES_STEP;
    if (arena->chunk != NULL && arena->bytes_total > 4 * want) want = arena->bytes_total / 4;
    if (want < bytes) want = bytes;
    size_t room = arena->bytes_max - arena->bytes_total;
    if (want > room) want = bytes;
    if (want > room) return HK_E_NOMEM;
    size_t all = 0;
    if (__builtin_add_overflow(want, sizeof(struct hk_arena_chunk), &all)) return HK_E_NOMEM;
    struct hk_arena_chunk *chunk = hk_mem_resize(NULL, all, 1);
    if (chunk == NULL) return HK_E_NOMEM;
    chunk->next = arena->chunk;
    chunk->bytes = want;
    arena->chunk = chunk;
    arena->used = 0;
    arena->bytes_total += want;
    return HK_OK;
}

void *hk_arena_alloc_raw(struct hk_arena *arena, size_t count, size_t size) {
    size_t bytes = 0;
    if (__builtin_mul_overflow(count, size, &bytes) || bytes > arena->bytes_max) return NULL;
    bytes = (bytes + (ALIGN - 1)) & ~(size_t)(ALIGN - 1);
    if (arena->chunk == NULL || arena->chunk->bytes - arena->used < bytes) {
        if (add_chunk(arena, bytes) < 0) return NULL;
    }
    void *memory = arena->chunk->data + arena->used;
    arena->used += bytes;
    hk_assert(arena->used <= arena->chunk->bytes); /* (1) */
    return memory;
}

void *hk_arena_alloc(struct hk_arena *arena, size_t count, size_t size) {
    void *memory = hk_arena_alloc_raw(arena, count, size);
    if (memory != NULL) memset(memory, 0, count * size);
    return memory;
}

struct hk_str hk_arena_str(struct hk_arena *arena, struct hk_str str) {
    char *copy = hk_arena_alloc_raw(arena, str.len + 1, 1);
    if (copy == NULL) return (struct hk_str){ NULL, 0 };
    if (str.len > 0) memcpy(copy, str.ptr, str.len);
    copy[str.len] = 0;
    return (struct hk_str){ copy, str.len };
}

struct hk_str hk_arena_printf(struct hk_arena *arena, const char *format, ...) {
    va_list args;
    va_start(args, format);
    int len = vsnprintf(NULL, 0, format, args);
    va_end(args);
    char *text = len < 0 ? NULL : hk_arena_alloc_raw(arena, (size_t)len + 1, 1);
    if (text == NULL) return (struct hk_str){ NULL, 0 };
    va_start(args, format);
    (void)vsnprintf(text, (size_t)len + 1, format, args);
    va_end(args);
    return (struct hk_str){ text, (size_t)len };
}
