/* Targets: from discovered labels to the labels of series and a URL, as Prometheus 3 does it. */
#include "base/mem.h"
#include "ingest/scrape_internal.h"

#include <stdlib.h>

#define ADDRESS  HK_STR("__address__")
#define SCHEME   HK_STR("__scheme__")
#define PATH     HK_STR("__metrics_path__")
#define INTERVAL HK_STR("__scrape_interval__")
#define TIMEOUT  HK_STR("__scrape_timeout__")
#define PARAM    HK_STR("__param_")

/* A target while it is built; everything in the scratch arena. */
struct draft {
    struct hk_label_set *set;
    struct hk_labels discovered, all, visible;
    struct hk_str url;
    int64_t interval_ms, timeout_ms;
};

static void add_if_missing(struct hk_label_set *set, struct hk_str name, struct hk_str value) {
    if (hk_label_set_get(set, name).len == 0) hk_label_set_put(set, name, value);
}

static struct hk_str duration_text(struct hk_arena *arena, int64_t ms) {
    char text[HK_TIME_BYTES_MAX];
    return hk_arena_str(arena, (struct hk_str){ text, hk_format_duration_ms(ms, text) });
}

/* Labels of the target, then of its group, then what the job says. */
static hk_err discover(
    const struct hk_scrape_job *job, struct hk_labels own, struct hk_labels group,
    struct hk_arena *scratch, struct draft *draft) {
    const struct hk_scrape_job_config *config = &job->config;
    struct hk_label_set *set = draft->set;
    hk_label_set_clear(set);
    for (uint32_t i = 0; i < own.count; i++)
        hk_label_set_put(set, own.items[i].name, own.items[i].value);
    for (uint32_t i = 0; i < group.count; i++)
        add_if_missing(set, group.items[i].name, group.items[i].value);
    struct hk_str interval = duration_text(scratch, config->interval_ms);
    struct hk_str timeout = duration_text(scratch, config->timeout_ms);
    if (interval.ptr == NULL || timeout.ptr == NULL) return HK_E_NOMEM;
    add_if_missing(set, HK_STR("job"), config->name);
    add_if_missing(set, INTERVAL, interval);
    add_if_missing(set, TIMEOUT, timeout);
    add_if_missing(set, PATH, config->metrics_path);
    add_if_missing(set, SCHEME, config->scheme);
    for (uint32_t i = 0; i < config->params.count; i++) {
        const struct hk_scrape_param *param = &config->params.items[i];
        if (param->values.count == 0) continue;
        struct hk_str name = hk_arena_printf(scratch, "__param_%.*s", HK_STR_ARG(param->name));
        if (name.ptr == NULL) return HK_E_NOMEM;
        add_if_missing(set, name, param->values.items[0]);
    }
    struct hk_labels labels;
    HK_TRY(hk_label_set_finish(set, &labels));
    struct hk_label *copy = hk_arena_alloc_raw(scratch, labels.count, sizeof(*copy));
    if (copy == NULL) return HK_E_NOMEM;
    memcpy(copy, labels.items, labels.count * sizeof(*copy));
    draft->discovered = (struct hk_labels){ copy, labels.count };
    return HK_OK;
}

/* Only what may stand in the host and port of a URL. */
static hk_err check_address(struct hk_str address) {
    if (address.len == 0) return hk_fail(HK_E_INVALID, "no address");
    for (size_t i = 0; i < address.len; i++) {
        unsigned char c = (unsigned char)address.ptr[i];
        if (c <= ' ' || c == 0x7f || strchr("/?#@\\\"<>^`{|}", c) != NULL) {
            return hk_fail(HK_E_INVALID, "\"%.*s\" is not a valid hostname", HK_STR_ARG(address));
        }
    }
    return HK_OK;
}

static hk_err parse_span(struct hk_str text, const char *what, int64_t *out_ms) {
    int64_t ms = 0;
    if (hk_parse_duration_ms(text, &ms) < 0) {
        return hk_fail(HK_E_INVALID, "error parsing %s: \"%.*s\"", what, HK_STR_ARG(text));
    }
    if (ms == 0) return hk_fail(HK_E_INVALID, "%s cannot be 0", what);
    *out_ms = ms;
    return HK_OK;
}

static hk_err check_times(struct draft *draft) {
    HK_TRY(
        parse_span(hk_label_set_get(draft->set, INTERVAL), "scrape interval", &draft->interval_ms));
    HK_TRY(parse_span(hk_label_set_get(draft->set, TIMEOUT), "scrape timeout", &draft->timeout_ms));
    if (draft->interval_ms < HK_SCRAPE_INTERVAL_MS_MIN) {
        return hk_fail(HK_E_INVALID, "scrape interval below %d ms", HK_SCRAPE_INTERVAL_MS_MIN);
    }
    if (draft->timeout_ms > draft->interval_ms) {
        return hk_fail(
            HK_E_INVALID, "scrape timeout cannot be greater than scrape interval (%lld > %lld ms)",
            (long long)draft->timeout_ms, (long long)draft->interval_ms);
    }
    return HK_OK;
}

static void drop_meta(struct hk_label_set *set) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < set->count; i++) {
        if (!hk_str_starts(set->items[i].name, HK_STR("__meta_")))
            set->items[count++] = set->items[i];
    }
    set->count = count;
}

static bool is_unreserved(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c != 0 && strchr("-_.~", c) != NULL);
}

/* RFC 3986 §2.1; `also` are further bytes that stand for themselves. */
static void put_escaped(struct hk_buf *out, struct hk_str text, const char *also, bool plus) {
    static const char digits[] = "0123456789ABCDEF";
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        if (is_unreserved(c) || (c != 0 && strchr(also, c) != NULL)) {
            hk_buf_char(out, c);
        } else if (plus && c == ' ') {
            hk_buf_char(out, '+');
        } else {
            unsigned char byte = (unsigned char)c;
            hk_buf_bytes(out, (const char[]){ '%', digits[byte >> 4], digits[byte & 15] }, 3);
        }
    }
}

/* Parameters of the URL: those of the job, the first value replaced by the label's. */
struct pair {
    struct hk_str name, value;
    uint32_t order;
};

static int order_pairs(const void *a, const void *b) {
    const struct pair *left = a;
    const struct pair *right = b;
    int order = hk_str_cmp(left->name, right->name);
    return order != 0 ? order : (left->order > right->order) - (left->order < right->order);
}

static const struct hk_scrape_param *
find_param(const struct hk_scrape_job_config *config, struct hk_str name) {
    for (uint32_t i = 0; i < config->params.count; i++) {
        if (hk_str_eq(config->params.items[i].name, name)) return &config->params.items[i];
    }
    return NULL;
}

static hk_err collect_pairs(
    const struct hk_scrape_job_config *config, struct hk_labels labels, struct hk_arena *scratch,
    struct pair **out, uint32_t *out_count) {
    size_t count_max = labels.count;
    for (uint32_t i = 0; i < config->params.count; i++)
        count_max += config->params.items[i].values.count;
    struct pair *pairs = hk_arena_alloc(scratch, count_max, sizeof(*pairs));
    if (pairs == NULL) return HK_E_NOMEM;
    uint32_t count = 0;
    for (uint32_t i = 0; i < labels.count; i++) {
        if (!hk_str_starts(labels.items[i].name, PARAM)) continue;
        struct hk_str name = hk_str_part(labels.items[i].name, PARAM.len, SIZE_MAX);
        pairs[count] = (struct pair){ name, labels.items[i].value, count };
        count++;
    }
    for (uint32_t i = 0; i < config->params.count; i++) {
        const struct hk_scrape_param *param = &config->params.items[i];
        if (find_param(config, param->name) != param) continue; /* the first of a name counts */
        struct hk_str label = hk_arena_printf(scratch, "__param_%.*s", HK_STR_ARG(param->name));
        if (label.ptr == NULL) return HK_E_NOMEM;
        bool replaced = hk_labels_get(labels, label).len > 0;
        for (uint32_t k = replaced ? 1 : 0; k < param->values.count; k++, count++)
            pairs[count] = (struct pair){ param->name, param->values.items[k], count };
    }
    qsort(pairs, count, sizeof(*pairs), order_pairs);
    *out = pairs;
    *out_count = count;
    return HK_OK;
}

static hk_err
build_url(const struct hk_scrape_job *job, struct hk_arena *scratch, struct draft *draft) {
    struct pair *pairs = NULL;
    uint32_t count = 0;
    HK_TRY(collect_pairs(&job->config, draft->all, scratch, &pairs, &count));
    struct hk_str path = hk_labels_get(draft->all, PATH);
    struct hk_buf url;
    hk_buf_init(&url, 1 << 20);
    hk_buf_str(&url, hk_labels_get(draft->all, SCHEME));
    hk_buf_text(&url, "://");
    hk_buf_str(&url, hk_labels_get(draft->all, ADDRESS));
    if (path.len > 0 && path.ptr[0] != '/') hk_buf_char(&url, '/');
    put_escaped(&url, path, "$&+,/:;=@", false);
    for (uint32_t i = 0; i < count; i++) {
        hk_buf_char(&url, i == 0 ? '?' : '&');
        put_escaped(&url, pairs[i].name, "", true);
        hk_buf_char(&url, '=');
        put_escaped(&url, pairs[i].value, "", true);
    }
    draft->url = hk_arena_str(scratch, hk_buf_get(&url));
    hk_err err = url.err < 0 ? url.err : draft->url.ptr == NULL ? HK_E_NOMEM : HK_OK;
    hk_buf_deinit(&url);
    return err;
}

static hk_err pick_visible(struct hk_arena *scratch, struct draft *draft) {
    struct hk_label *visible = hk_arena_alloc_raw(scratch, draft->all.count, sizeof(*visible));
    if (visible == NULL) return HK_E_NOMEM;
    uint32_t count = 0;
    for (uint32_t i = 0; i < draft->all.count; i++) {
        if (!hk_str_starts(draft->all.items[i].name, HK_STR("__")))
            visible[count++] = draft->all.items[i];
    }
    draft->visible = (struct hk_labels){ visible, count };
    return HK_OK;
}

/* After relabelling: HK_E_INVALID when this cannot be a target. */
static hk_err
complete(const struct hk_scrape_job *job, struct hk_arena *scratch, struct draft *draft) {
    struct hk_str address = hk_label_set_get(draft->set, ADDRESS);
    HK_TRY(check_address(address));
    HK_TRY(check_times(draft));
    drop_meta(draft->set);
    add_if_missing(draft->set, HK_STR("instance"), address);
    HK_TRY(hk_label_set_finish(draft->set, &draft->all));
    HK_TRY(pick_visible(scratch, draft));
    return build_url(job, scratch, draft);
}

/* FNV-1a: the same in each process, so that a restart keeps the schedule. */
static uint64_t hash_text(uint64_t hash, struct hk_str text) {
    for (size_t i = 0; i < text.len; i++)
        hash = (hash ^ (unsigned char)text.ptr[i]) * 0x100000001b3ULL;
    return (hash ^ 0xff) * 0x100000001b3ULL; /* 0xff never occurs in UTF-8 */
}

static uint64_t hash_target(struct hk_labels labels, struct hk_str url) {
    uint64_t hash = 0xcbf29ce484222325ULL;
    for (uint32_t i = 0; i < labels.count; i++) {
        hash = hash_text(hash, labels.items[i].name);
        hash = hash_text(hash, labels.items[i].value);
    }
    hash = hash_text(hash, url);
    return hash ^ hash >> 32; /* the low bits of FNV are weak */
}

static size_t labels_bytes(struct hk_labels labels) {
    size_t bytes = labels.count * sizeof(struct hk_label);
    for (uint32_t i = 0; i < labels.count; i++)
        bytes += labels.items[i].name.len + labels.items[i].value.len;
    return bytes;
}

/* Where the next label array and the next string of a packed target go. */
struct packer {
    struct hk_label *labels;
    char *text;
};

static struct hk_str pack_text(struct packer *packer, struct hk_str text) {
    char *to = packer->text;
    if (text.len > 0) memcpy(to, text.ptr, text.len);
    packer->text += text.len;
    return (struct hk_str){ to, text.len };
}

static struct hk_labels pack_labels(struct packer *packer, struct hk_labels labels) {
    struct hk_label *to = packer->labels;
    packer->labels += labels.count;
    for (uint32_t i = 0; i < labels.count; i++) {
        to[i].name = pack_text(packer, labels.items[i].name);
        to[i].value = pack_text(packer, labels.items[i].value);
    }
    return (struct hk_labels){ to, labels.count };
}

/* One block of memory: the struct, arrays of labels, strings. */
static struct hk_scrape_target *pack(struct hk_scrape_job *job, const struct draft *draft) {
    const struct hk_scrape_job_config *config = &job->config;
    size_t arrays = draft->discovered.count + draft->all.count + draft->visible.count;
    size_t bytes = sizeof(struct hk_scrape_target) + labels_bytes(draft->discovered) +
                   labels_bytes(draft->all) + labels_bytes(draft->visible) + draft->url.len + 1;
    struct hk_scrape_target *target = hk_mem_alloc(1, bytes);
    if (target == NULL) return NULL;
    struct hk_label *labels = (struct hk_label *)(void *)(target + 1);
    struct packer packer = { labels, (char *)(labels + arrays) };
    atomic_init(&target->references, 1);
    target->job = hk_scrape_job_ref(job);
    target->discovered = pack_labels(&packer, draft->discovered);
    target->all = pack_labels(&packer, draft->all);
    target->labels = pack_labels(&packer, draft->visible);
    target->url = pack_text(&packer, draft->url); /* a NUL follows: curl wants one */
    target->pool = config->name;
    target->interval_ms = draft->interval_ms;
    target->timeout_ms = draft->timeout_ms;
    target->metric_relabel = job->metric_relabel;
    target->limits = config->limits;
    target->honor_labels = config->honor_labels;
    target->honor_timestamps = !config->ignore_timestamps;
    target->track_timestamps_staleness = config->track_timestamps_staleness;
    target->hash = hash_target(target->all, target->url);
    return target;
}

hk_err hk_scrape_target_create(
    struct hk_scrape_job *job, struct hk_labels own, struct hk_labels group,
    struct hk_arena *scratch, struct hk_scrape_target **out) {
    struct draft draft = { .set = hk_arena_alloc_raw(scratch, 1, sizeof(*draft.set)) };
    if (draft.set == NULL) return HK_E_NOMEM;
    HK_TRY(discover(job, own, group, scratch, &draft));
    hk_err kept = hk_relabel_apply(job->relabel, draft.set, scratch);
    if (kept < 0) return hk_fail(kept, "relabelling failed: %s", hk_err_text(kept));
    if (kept == HK_OK) HK_TRY(complete(job, scratch, &draft));
    struct hk_scrape_target *target = pack(job, &draft);
    if (target == NULL) return HK_E_NOMEM;
    *out = target;
    return kept;
}

struct hk_scrape_target *hk_scrape_target_ref(struct hk_scrape_target *target) {
    atomic_fetch_add_explicit(&target->references, 1, memory_order_relaxed);
    return target;
}

void hk_scrape_target_unref(struct hk_scrape_target *target) {
    /* Release our uses, acquire those of the others before freeing. */
    if (target == NULL ||
        atomic_fetch_sub_explicit(&target->references, 1, memory_order_acq_rel) != 1) {
        return;
    }
    hk_scrape_job_unref(target->job);
    hk_mem_free(target);
}

int hk_scrape_target_cmp(const struct hk_scrape_target *a, const struct hk_scrape_target *b) {
    if (a->hash != b->hash) return a->hash < b->hash ? -1 : 1;
    int order = hk_labels_cmp(a->all, b->all);
    return order != 0 ? order : hk_str_cmp(a->url, b->url);
}
