/*
 * Messages from shards to the outbox: an intrusive list with one atomic exchange per push (after
 * D. Vyukov's MPSC queue), so that no producer ever waits.
 *
 * (1) `tail` is the last message that was handed out, or the stub; its `next` is the next one.
 * (2) Between a producer's exchange and its store of `next` the list is cut there for a moment: the
 *     consumer sees "empty" and comes again, as the producer wakes it afterwards.
 */
#include "base/mem.h"
#include "respond/respond_internal.h"

void hk_respond_queue_init(struct queue *queue) {
    memset(queue, 0, sizeof(*queue));
    atomic_store_explicit(&queue->head, &queue->stub, memory_order_relaxed);
    queue->tail = &queue->stub;
}

struct message *hk_respond_message(enum message_kind kind, size_t bytes, char **out_space) {
    size_t all = 0;
    if (__builtin_add_overflow(bytes, sizeof(struct message), &all)) return NULL;
    struct message *message = hk_mem_alloc(1, all);
    if (message == NULL) return NULL;
    message->kind = kind;
    message->bytes = all;
    *out_space = (char *)(message + 1);
    return message;
}

static void link_message(struct queue *queue, struct message *message) {
    atomic_store_explicit(&message->next, NULL, memory_order_relaxed);
    struct message *before = atomic_exchange_explicit(&queue->head, message, memory_order_acq_rel);
    /* Partner: the acquire load in hk_respond_queue_pop. */
    atomic_store_explicit(&before->next, message, memory_order_release);
}

hk_err hk_respond_queue_push(struct queue *queue, struct message *message, bool force) {
    uint64_t count = atomic_fetch_add_explicit(&queue->count, 1, memory_order_relaxed);
    uint64_t bytes = atomic_fetch_add_explicit(&queue->bytes, message->bytes, memory_order_relaxed);
    if (!force &&
        (count >= HK_RESPOND_QUEUE_MAX || bytes + message->bytes > HK_RESPOND_QUEUE_BYTES_MAX)) {
        atomic_fetch_sub_explicit(&queue->count, 1, memory_order_relaxed);
        atomic_fetch_sub_explicit(&queue->bytes, message->bytes, memory_order_relaxed);
        hk_mem_free(message);
        return HK_E_LIMIT;
    }
    link_message(queue, message);
    return HK_OK;
}

struct message *hk_respond_queue_pop(struct queue *queue) {
    struct message *tail = queue->tail;
    struct message *next = atomic_load_explicit(&tail->next, memory_order_acquire);
    if (tail == &queue->stub) { /* the stub is never handed out */
        if (next == NULL) return NULL;
        queue->tail = next;
        tail = next;
        next = atomic_load_explicit(&tail->next, memory_order_acquire);
    }
    if (next == NULL) {
        /* `tail` is the last one: put the stub behind it, so that it can go. */
        if (tail != atomic_load_explicit(&queue->head, memory_order_acquire)) return NULL; /* (2) */
        link_message(queue, &queue->stub);
        next = atomic_load_explicit(&tail->next, memory_order_acquire);
        if (next == NULL) return NULL; /* (2) */
    }
    queue->tail = next;
    atomic_fetch_sub_explicit(&queue->count, 1, memory_order_relaxed);
    atomic_fetch_sub_explicit(&queue->bytes, tail->bytes, memory_order_relaxed);
    return tail;
}
