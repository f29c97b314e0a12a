/* Two sets of copied label sets, of this evaluation and of the one before: open hash tables. */
#include "stream/rule_recorded.h"

#include "base/mem.h"

enum { SLOTS_MIN = 16, BYTES_MAX = 256 << 20 };

struct written {
    struct hk_hash128 hash;
    struct hk_labels labels;
};

struct set {
    struct hk_arena arena;
    struct written *series;
    size_t count, capacity;
    uint32_t *slots; /* series + 1 */
    uint32_t mask;
};

struct hk_rule_recorded {
    struct set sets[2];
    uint32_t now; /* which of them is being written */
};

struct hk_rule_recorded *hk_rule_recorded_create(void) {
    struct hk_rule_recorded *recorded = hk_mem_alloc(1, sizeof(*recorded));
    if (recorded == NULL) return NULL;
    hk_arena_init(&recorded->sets[0].arena, BYTES_MAX);
    hk_arena_init(&recorded->sets[1].arena, BYTES_MAX);
    return recorded;
}

void hk_rule_recorded_destroy(struct hk_rule_recorded *recorded) {
    if (recorded == NULL) return;
    for (size_t i = 0; i < HK_COUNT(recorded->sets); i++) {
        hk_arena_deinit(&recorded->sets[i].arena);
        hk_mem_free(recorded->sets[i].series);
        hk_mem_free(recorded->sets[i].slots);
    }
    hk_mem_free(recorded);
}

/* Slot of the series, or the free one where it belongs. The table is never full. */
static uint32_t *slot_of(struct set *set, struct hk_hash128 hash, struct hk_labels labels) {
    uint32_t at = (uint32_t)hash.low & set->mask;
    for (; set->slots[at] != 0; at = (at + 1) & set->mask) {
        const struct written *one = &set->series[set->slots[at] - 1];
        bool same = one->hash.low == hash.low && one->hash.high == hash.high &&
                    hk_labels_cmp(one->labels, labels) == 0;
        if (same) break;
    }
    return &set->slots[at];
}

static hk_err grow(struct set *set) {
    if (set->slots != NULL && (set->count + 1) * 2 <= (size_t)set->mask + 1) return HK_OK;
    uint32_t slots = set->slots == NULL ? SLOTS_MIN : (set->mask + 1) * 2;
    uint32_t *grown = hk_mem_alloc(slots, sizeof(uint32_t));
    if (grown == NULL) return HK_E_NOMEM;
    for (uint32_t i = 0; i < set->count; i++) {
        uint32_t at = (uint32_t)set->series[i].hash.low & (slots - 1);
        while (grown[at] != 0)
            at = (at + 1) & (slots - 1);
        grown[at] = i + 1;
    }
    hk_mem_free(set->slots);
    set->slots = grown;
    set->mask = slots - 1;
    return HK_OK;
}

hk_err hk_rule_recorded_add(struct hk_rule_recorded *recorded, struct hk_labels labels) {
    struct set *set = &recorded->sets[recorded->now];
    struct hk_hash128 hash = hk_labels_hash(labels);
    HK_TRY(grow(set));
    uint32_t *slot = slot_of(set, hash, labels);
    if (*slot != 0) return HK_OK;
    HK_TRY(hk_mem_grow(&set->series, &set->capacity, set->count + 1, sizeof(set->series[0])));
    struct hk_label *items = hk_arena_alloc_raw(&set->arena, labels.count, sizeof(*items));
    if (items == NULL) return HK_E_NOMEM;
    for (uint32_t i = 0; i < labels.count; i++) {
        items[i].name = hk_arena_str(&set->arena, labels.items[i].name);
        items[i].value = hk_arena_str(&set->arena, labels.items[i].value);
        if (items[i].name.ptr == NULL || items[i].value.ptr == NULL) return HK_E_NOMEM;
    }
    set->series[set->count++] = (struct written){ hash, { items, labels.count } };
    *slot = (uint32_t)set->count;
    return HK_OK;
}

void hk_rule_recorded_end(
    struct hk_rule_recorded *recorded, void (*gone)(void *self, struct hk_labels labels),
    void *self) {
    struct set *now = &recorded->sets[recorded->now];
    struct set *before = &recorded->sets[1 - recorded->now];
    for (size_t i = 0; i < before->count; i++) {
        const struct written *one = &before->series[i];
        bool again = now->slots != NULL && *slot_of(now, one->hash, one->labels) != 0;
        if (!again) gone(self, one->labels);
    }
    hk_arena_reset(&before->arena);
    before->count = 0;
    if (before->slots != NULL) memset(before->slots, 0, ((size_t)before->mask + 1) * 4);
    recorded->now = 1 - recorded->now;
}
