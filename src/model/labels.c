/* Label sets. */
#include "model/labels.h"

#include "base/mem.h"

struct hk_str hk_labels_get(struct hk_labels labels, struct hk_str name) {
    for (uint32_t i = 0; i < labels.count; i++) {
        if (hk_str_eq(labels.items[i].name, name)) return labels.items[i].value;
    }
    return (struct hk_str){ "", 0 };
}

int hk_labels_cmp(struct hk_labels a, struct hk_labels b) {
    uint32_t shorter = a.count < b.count ? a.count : b.count;
    for (uint32_t i = 0; i < shorter; i++) {
        int order = hk_str_cmp(a.items[i].name, b.items[i].name);
        if (order == 0) order = hk_str_cmp(a.items[i].value, b.items[i].value);
        if (order != 0) return order;
    }
    return (a.count > b.count) - (a.count < b.count);
}

struct hk_hash128 hk_labels_hash(struct hk_labels labels) {
    struct hk_hash128 hash = { labels.count, 0 };
    for (uint32_t i = 0; i < labels.count; i++) {
        struct hk_str name = labels.items[i].name;
        struct hk_str value = labels.items[i].value;
        hash = hk_hash_mix(hash, hk_hash128(name.ptr, name.len));
        hash = hk_hash_mix(hash, hk_hash128(value.ptr, value.len));
    }
    return hash;
}

bool hk_name_is_classic(struct hk_str name, bool metric) {
    if (name.len == 0) return false;
    for (size_t i = 0; i < name.len; i++) {
        char c = name.ptr[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
        bool digit = c >= '0' && c <= '9' && i > 0;
        if (!letter && !digit && !(metric && c == ':')) return false;
    }
    return true;
}

static void format_quoted(struct hk_buf *out, struct hk_str text) {
    hk_buf_char(out, '"');
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        if (c == '"' || c == '\\') hk_buf_char(out, '\\');
        if (c == '\n')
            hk_buf_text(out, "\\n");
        else
            hk_buf_char(out, c);
    }
    hk_buf_char(out, '"');
}

static struct hk_str copy_text(char **text, struct hk_str from) {
    if (from.len > 0) memcpy(*text, from.ptr, from.len);
    struct hk_str out = { *text, from.len };
    *text += from.len;
    return out;
}

hk_err hk_labels_copy(struct hk_labels labels, struct hk_labels *out) {
    size_t bytes = labels.count * sizeof(labels.items[0]) + 1;
    for (uint32_t i = 0; i < labels.count; i++) {
        bytes += labels.items[i].name.len + labels.items[i].value.len;
    }
    struct hk_label *items = hk_mem_resize(NULL, 1, bytes);
    if (items == NULL) return HK_E_NOMEM;
    char *text = (char *)(items + labels.count);
    for (uint32_t i = 0; i < labels.count; i++) {
        items[i].name = copy_text(&text, labels.items[i].name);
        items[i].value = copy_text(&text, labels.items[i].value);
    }
    *out = (struct hk_labels){ items, labels.count };
    return HK_OK;
}

void hk_labels_free(struct hk_labels labels) {
    hk_mem_free((void *)(uintptr_t)labels.items);
}

void hk_labels_format(struct hk_labels labels, struct hk_buf *out) {
    struct hk_str metric = hk_labels_get(labels, HK_STR("__name__"));
    bool classic = hk_name_is_classic(metric, true);
    if (classic) hk_buf_str(out, metric);
    bool open = false;
    if (metric.len > 0 && !classic) {
        hk_buf_char(out, '{');
        format_quoted(out, metric);
        open = true;
    }
    for (uint32_t i = 0; i < labels.count; i++) {
        struct hk_str name = labels.items[i].name;
        if (hk_str_is(name, "__name__")) continue;
        hk_buf_text(out, open ? ", " : "{");
        open = true;
        if (hk_name_is_classic(name, false))
            hk_buf_str(out, name);
        else
            format_quoted(out, name);
        hk_buf_char(out, '=');
        format_quoted(out, labels.items[i].value);
    }
    if (open)
        hk_buf_char(out, '}');
    else if (metric.len == 0)
        hk_buf_text(out, "{}");
}

void hk_labels_json(struct hk_labels labels, struct hk_buf *out) {
    hk_buf_char(out, '{');
    for (uint32_t i = 0; i < labels.count; i++) {
        if (i > 0) hk_buf_char(out, ',');
        hk_buf_json(out, labels.items[i].name);
        hk_buf_char(out, ':');
        hk_buf_json(out, labels.items[i].value);
    }
    hk_buf_char(out, '}');
}

void hk_label_set_add(struct hk_label_set *set, struct hk_str name, struct hk_str value) {
    if (set->count == HK_LABELS_MAX) {
        set->err = HK_E_LIMIT;
        return;
    }
    set->items[set->count++] = (struct hk_label){ name, value };
}

void hk_label_set_put(struct hk_label_set *set, struct hk_str name, struct hk_str value) {
    for (uint32_t i = 0; i < set->count; i++) {
        if (!hk_str_eq(set->items[i].name, name)) continue;
        if (value.len == 0)
            set->items[i] = set->items[--set->count];
        else
            set->items[i].value = value;
        return;
    }
    if (value.len > 0) hk_label_set_add(set, name, value);
}

struct hk_str hk_label_set_get(const struct hk_label_set *set, struct hk_str name) {
    return hk_labels_get((struct hk_labels){ set->items, set->count }, name);
}

/* ASCII in words; the last one overlaps the one before. */
static bool is_ascii(const char *at, size_t len) {
    uint64_t eight = 0;
    uint64_t all = 0;
    uint32_t four = 0;
    if (len >= sizeof(eight)) {
        for (size_t i = 0; i < len - sizeof(eight); i += sizeof(eight)) {
            memcpy(&eight, at + i, sizeof(eight));
            all |= eight;
        }
        memcpy(&eight, at + len - sizeof(eight), sizeof(eight));
        return ((all | eight) & 0x8080808080808080ULL) == 0;
    }
    if (len >= sizeof(four)) {
        memcpy(&four, at, sizeof(four));
        all = four;
        memcpy(&four, at + len - sizeof(four), sizeof(four));
        return ((all | four) & 0x80808080U) == 0;
    }
    for (size_t i = 0; i < len; i++)
        all |= (unsigned char)at[i];
    return all < 0x80;
}

bool hk_utf8_valid(struct hk_str text) {
    if (HK_LIKELY(is_ascii(text.ptr, text.len))) return true;
    const unsigned char *at = (const unsigned char *)text.ptr;
    size_t i = 0;
    while (i < text.len) {
        unsigned char c = at[i];
        if (c < 0x80) {
            i++;
            continue;
        }
        size_t len = (c >= 0xc2 && c < 0xe0) ? 2 : (c & 0xf0) == 0xe0 ? 3 : 0;
        if (c >= 0xf0 && c < 0xf5) len = 4;
        if (len == 0 || len > text.len - i) return false;
        for (size_t k = 1; k < len; k++) {
            if ((at[i + k] & 0xc0) != 0x80) return false;
        }
        unsigned char second = at[i + 1];
        if ((c == 0xe0 && second < 0xa0) || (c == 0xed && second > 0x9f)) return false;
        if ((c == 0xf0 && second < 0x90) || (c == 0xf4 && second > 0x8f)) return false;
        i += len;
    }
    return true;
}

static hk_err check_label(const struct hk_label *label) {
    if (label->name.len == 0) return hk_fail(HK_E_MALFORMED, "empty label name");
    if (label->name.len > HK_LABEL_NAME_BYTES_MAX) {
        return hk_fail(HK_E_LIMIT, "label name over %d bytes", HK_LABEL_NAME_BYTES_MAX);
    }
    if (label->value.len > HK_LABEL_VALUE_BYTES_MAX) {
        return hk_fail(
            HK_E_LIMIT, "value of label \"%.*s\" over %d bytes", HK_STR_ARG(label->name),
            HK_LABEL_VALUE_BYTES_MAX);
    }
    if (!hk_utf8_valid(label->name) || !hk_utf8_valid(label->value)) {
        return hk_fail(HK_E_MALFORMED, "label is not valid UTF-8");
    }
    return HK_OK;
}

hk_err hk_label_set_finish(struct hk_label_set *set, struct hk_labels *out) {
    if (set->err < 0) return hk_fail(set->err, "more than %d labels", HK_LABELS_MAX);
    uint32_t count = 0;
    for (uint32_t i = 0; i < set->count; i++) {
        struct hk_label label = set->items[i];
        if (label.value.len == 0) continue;
        HK_TRY(check_label(&label));
        /* Insertion sort: senders send labels sorted, so this is one comparison each. */
        uint32_t at = count;
        int order = 1;
        while (at > 0 && (order = hk_str_cmp(set->items[at - 1].name, label.name)) > 0) {
            set->items[at] = set->items[at - 1];
            at--;
        }
        set->items[at] = label;
        count++;
        if (at > 0 && order == 0) {
            return hk_fail(HK_E_MALFORMED, "duplicate label name \"%.*s\"", HK_STR_ARG(label.name));
        }
    }
    set->count = count;
    *out = (struct hk_labels){ set->items, count };
    return HK_OK;
}
