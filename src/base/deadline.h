/*
 * Deadlines: an intrusive heap of millisecond times. A deadline is embedded in its owner and stays
 * at its address while set. Not thread-safe.
 */
#ifndef HK_BASE_DEADLINE_H
#define HK_BASE_DEADLINE_H

#include "base/mem.h"

/* Zero-initialise before first use. */
struct hk_deadline {
    int64_t at_ms;
    uint32_t place; /* in the heap plus one, 0 = not set */
};

/* Zero-initialise; free with hk_deadlines_deinit. */
struct hk_deadlines {
    struct hk_deadline **items;
    size_t count, capacity;
};

/* Frees the heap; the deadlines in it are simply forgotten. */
static inline void hk_deadlines_deinit(struct hk_deadlines *heap) {
    hk_mem_free(heap->items);
    *heap = (struct hk_deadlines){ 0 };
}

/* Private: puts `item` where it belongs, starting at `place` (from 0). */
static inline void
hk_deadlines_settle(struct hk_deadlines *heap, struct hk_deadline *item, size_t place) {
    while (place > 0 && heap->items[(place - 1) / 2]->at_ms > item->at_ms) {
        heap->items[place] = heap->items[(place - 1) / 2];
        heap->items[place]->place = (uint32_t)place + 1;
        place = (place - 1) / 2;
    }
    for (size_t child = 2 * place + 1; child < heap->count; child = 2 * place + 1) {
        if (child + 1 < heap->count && heap->items[child + 1]->at_ms < heap->items[child]->at_ms) {
            child++;
        }
        if (heap->items[child]->at_ms >= item->at_ms) break;
        heap->items[place] = heap->items[child];
        heap->items[place]->place = (uint32_t)place + 1;
        place = child;
    }
    heap->items[place] = item;
    item->place = (uint32_t)place + 1;
}

/* Sets or moves a deadline. HK_E_NOMEM. */
static inline HK_MUST_CHECK hk_err
hk_deadline_set(struct hk_deadlines *heap, struct hk_deadline *item, int64_t at_ms) {
    if (item->place == 0) {
        HK_TRY(hk_mem_grow(&heap->items, &heap->capacity, heap->count + 1, sizeof(item)));
        heap->items[heap->count++] = item;
        item->place = (uint32_t)heap->count;
    }
    item->at_ms = at_ms;
    hk_deadlines_settle(heap, item, item->place - 1);
    return HK_OK;
}

/* Takes it out; fine if it is not set. */
static inline void hk_deadline_clear(struct hk_deadlines *heap, struct hk_deadline *item) {
    if (item->place == 0) return;
    size_t place = item->place - 1;
    struct hk_deadline *last = heap->items[--heap->count];
    item->place = 0;
    if (last != item) hk_deadlines_settle(heap, last, place);
}

/* The earliest, NULL if none is set. */
static inline struct hk_deadline *hk_deadlines_first(const struct hk_deadlines *heap) {
    return heap->count == 0 ? NULL : heap->items[0];
}

#endif
