/*
 * Goal: no rule and no label set, however odd, breaks relabelling. Input: lines; action, regex,
 * target, replacement, separator, source labels by ',', then names and values in turn.
 */
#include "model/relabel.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

enum { LINES_MAX = 64, SOURCES_MAX = 8 };

static uint32_t split(struct hk_str text, char separator, struct hk_str *out, uint32_t max) {
    uint32_t count = 0;
    for (size_t at = 0; at <= text.len && count < max;) {
        size_t end = hk_str_find(text, separator, at);
        out[count++] = hk_str_part(text, at, end);
        at = end + 1;
    }
    return count;
}

/* An empty line stands for "not given". */
static struct hk_str given(struct hk_str text) {
    return text.len == 0 ? (struct hk_str){ NULL, 0 } : text;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    static struct hk_label_set set;
    struct hk_str lines[LINES_MAX];
    struct hk_str sources[SOURCES_MAX];
    if (bytes > 1 << 16) return 0;
    uint32_t count = split((struct hk_str){ (const char *)data, bytes }, '\n', lines, LINES_MAX);
    if (count < 6) return 0;
    enum hk_relabel_action action = HK_RELABEL_REPLACE;
    if (!hk_relabel_action_find(lines[0], &action)) return 0;
    struct hk_relabel_config config = {
        .action = action,
        .regex = given(lines[1]),
        .target_label = given(lines[2]),
        .replacement = given(lines[3]),
        .separator = given(lines[4]),
        .source_labels = sources,
        .source_label_count = lines[5].len == 0 ? 0 : split(lines[5], ',', sources, SOURCES_MAX),
        .modulus = action == HK_RELABEL_HASHMOD ? 17 : 0,
    };
    struct hk_relabel *relabel = NULL;
    if (hk_relabel_create(&config, 1, &relabel) < 0) return 0;
    struct hk_arena arena;
    hk_arena_init(&arena, 16 << 20);
    hk_label_set_clear(&set);
    for (uint32_t i = 6; i + 1 < count; i += 2)
        hk_label_set_put(&set, lines[i], lines[i + 1]);
    struct hk_labels labels;
    if (hk_relabel_apply(relabel, &set, &arena) == HK_OK &&
        hk_label_set_finish(&set, &labels) == HK_OK) {
        for (uint32_t i = 0; i < labels.count; i++)
            hk_assert(labels.items[i].value.len > 0);
    }
    hk_relabel_destroy(relabel);
    hk_arena_deinit(&arena);
    return 0;
}
