/*
 * The discovery thread and its providers. A provider belongs to the thread while it refreshes; the
 * lock guards the list, references, next_ns and the published finding.
 */
#include "ingest/discovery.h"

#include "base/log.h"
#include "base/mem.h"
#include "ingest/discovery_internal.h"
#include "ingest/scrape_internal.h"
#include "os/clock.h"

#include <stdio.h>

enum { FINDING_BYTES_MAX = 256 << 20, WAIT_MS_MAX = 3600000 };

static const struct {
    int64_t file_ms, http_ms, dns_ms;
} refresh_default = { 300000, 60000, 30000 };

/* --- findings --------------------------------------------------------------------------------- */

struct hk_discovery_finding *hk_discovery_finding_create(void) {
    struct hk_discovery_finding *finding = hk_mem_alloc(1, sizeof(*finding));
    if (finding == NULL) return NULL;
    atomic_init(&finding->references, 1);
    hk_arena_init(&finding->arena, FINDING_BYTES_MAX);
    return finding;
}

/* Was this the last reference? Releases our uses, acquires those of the others. */
static bool drop_reference(struct hk_discovery_finding *finding) {
    return atomic_fetch_sub_explicit(&finding->references, 1, memory_order_acq_rel) == 1;
}

static void free_finding(struct hk_discovery_finding *finding) {
    hk_mem_free(finding->parts);
    hk_mem_free(finding->groups);
    hk_arena_deinit(&finding->arena);
    hk_mem_free(finding);
}

void hk_discovery_finding_unref(struct hk_discovery_finding *finding) {
    if (finding == NULL || !drop_reference(finding)) return;
    for (size_t i = 0; i < finding->part_count; i++) {
        hk_assert(finding->parts[i]->part_count == 0); /* one level */
        if (drop_reference(finding->parts[i])) free_finding(finding->parts[i]);
    }
    free_finding(finding);
}

void hk_discovery_draft_init(struct hk_discovery_draft *draft) {
    hk_label_set_clear(&draft->labels);
    draft->targets = NULL;
    draft->target_count = 0;
    draft->target_capacity = 0;
}

void hk_discovery_draft_deinit(struct hk_discovery_draft *draft) {
    hk_mem_free(draft->targets);
    hk_discovery_draft_init(draft);
}

hk_err hk_discovery_add_target(
    struct hk_discovery_finding *finding, struct hk_discovery_draft *draft, struct hk_str address) {
    if (finding->target_count == HK_DISCOVERY_TARGETS_MAX) {
        return hk_fail(HK_E_LIMIT, "more than %d targets", HK_DISCOVERY_TARGETS_MAX);
    }
    struct hk_label *label = hk_arena_alloc(&finding->arena, 1, sizeof(*label));
    HK_TRY(hk_mem_grow(
        &draft->targets, &draft->target_capacity, draft->target_count + 1,
        sizeof(*draft->targets)));
    if (label == NULL) return HK_E_NOMEM;
    label->name = HK_STR("__address__");
    label->value = hk_arena_str(&finding->arena, address);
    if (label->value.ptr == NULL) return HK_E_NOMEM;
    draft->targets[draft->target_count++] = (struct hk_labels){ label, 1 };
    finding->target_count++;
    return HK_OK;
}

hk_err hk_discovery_add_label(
    struct hk_discovery_finding *finding, struct hk_discovery_draft *draft, struct hk_str name,
    struct hk_str value) {
    if (name.len == 0 || !hk_utf8_valid(name) || name.len > HK_LABEL_NAME_BYTES_MAX) {
        return hk_fail(
            HK_E_MALFORMED, "\"%.*s\" is not a valid label name",
            HK_STR_ARG(hk_str_part(name, 0, 100)));
    }
    if (!hk_utf8_valid(value) || value.len > HK_LABEL_VALUE_BYTES_MAX) {
        return hk_fail(
            HK_E_MALFORMED, "the value of label \"%.*s\" is too long or not UTF-8",
            HK_STR_ARG(hk_str_part(name, 0, 100)));
    }
    struct hk_str name_copy = hk_arena_str(&finding->arena, name);
    struct hk_str value_copy = hk_arena_str(&finding->arena, value);
    if (name_copy.ptr == NULL || value_copy.ptr == NULL) return HK_E_NOMEM;
    hk_label_set_put(&draft->labels, name_copy, value_copy);
    return draft->labels.err < 0 ? hk_fail(HK_E_LIMIT, "more than %d labels", HK_LABELS_MAX)
                                 : HK_OK;
}

hk_err
hk_discovery_end_group(struct hk_discovery_finding *finding, struct hk_discovery_draft *draft) {
    if (finding->group_count == HK_DISCOVERY_GROUPS_MAX) {
        return hk_fail(HK_E_LIMIT, "more than %d target groups", HK_DISCOVERY_GROUPS_MAX);
    }
    struct hk_labels labels;
    HK_TRY(hk_label_set_finish(&draft->labels, &labels));
    struct hk_label *items = hk_arena_alloc_raw(&finding->arena, labels.count, sizeof(*items));
    struct hk_labels *targets =
        hk_arena_alloc_raw(&finding->arena, draft->target_count, sizeof(*targets));
    if (items == NULL || targets == NULL) return HK_E_NOMEM;
    HK_TRY(hk_mem_grow(
        &finding->groups, &finding->group_capacity, finding->group_count + 1,
        sizeof(*finding->groups)));
    memcpy(items, labels.items, labels.count * sizeof(*items));
    if (draft->target_count > 0)
        memcpy(targets, draft->targets, draft->target_count * sizeof(*targets));
    finding->groups[finding->group_count++] = (struct hk_discovery_group){
        .labels = { items, labels.count },
        .targets = targets,
        .target_count = (uint32_t)draft->target_count,
    };
    hk_label_set_clear(&draft->labels);
    draft->target_count = 0;
    return HK_OK;
}

static bool groups_equal(const struct hk_discovery_group *a, const struct hk_discovery_group *b) {
    if (a->target_count != b->target_count || hk_labels_cmp(a->labels, b->labels) != 0)
        return false;
    for (uint32_t i = 0; i < a->target_count; i++) {
        if (hk_labels_cmp(a->targets[i], b->targets[i]) != 0) return false;
    }
    return true;
}

static bool
findings_equal(const struct hk_discovery_finding *a, const struct hk_discovery_finding *b) {
    if (a == NULL || b == NULL || a->group_count != b->group_count) return false;
    for (size_t i = 0; i < a->group_count; i++) {
        if (!groups_equal(&a->groups[i], &b->groups[i])) return false;
    }
    return true;
}

/* --- providers -------------------------------------------------------------------------------- */

static void discovery_unref(struct hk_discovery *discovery) {
    if (atomic_fetch_sub_explicit(&discovery->references, 1, memory_order_acq_rel) != 1) return;
    hk_event_deinit(&discovery->wake);
    hk_mutex_deinit(&discovery->lock);
    hk_mem_free(discovery);
}

static void free_provider(struct hk_discovery_provider *provider) {
    struct hk_discovery *discovery = provider->discovery;
    hk_discovery_free_files(provider);
    hk_discovery_finding_unref(provider->finding);
    hk_arena_deinit(&provider->arena);
    hk_mem_free(provider);
    discovery_unref(discovery);
}

void hk_discovery_release(struct hk_discovery_provider *provider) {
    if (provider == NULL) return;
    struct hk_discovery *discovery = provider->discovery;
    hk_mutex_lock(&discovery->lock);
    bool last = --provider->references == 0;
    struct hk_discovery_provider **at = &discovery->providers;
    while (last && *at != provider)
        at = &(*at)->next;
    if (last) *at = provider->next;
    hk_mutex_unlock(&discovery->lock);
    if (last) free_provider(provider);
}

struct hk_discovery_finding *hk_discovery_get(struct hk_discovery_provider *provider) {
    hk_mutex_lock(&provider->discovery->lock);
    struct hk_discovery_finding *finding = provider->finding;
    if (finding != NULL) atomic_fetch_add_explicit(&finding->references, 1, memory_order_relaxed);
    hk_mutex_unlock(&provider->discovery->lock);
    return finding;
}

/* NULL when out of memory; one reference, not listed yet. */
static struct hk_discovery_provider *
new_provider(struct hk_discovery *discovery, hk_discovery_refresh refresh) {
    struct hk_discovery_provider *provider = hk_mem_alloc(1, sizeof(*provider));
    if (provider == NULL) return NULL;
    provider->references = 1;
    provider->refresh = refresh;
    provider->discovery = discovery;
    atomic_fetch_add_explicit(&discovery->references, 1, memory_order_relaxed);
    hk_arena_init(&provider->arena, 64 << 20);
    return provider;
}

/* Lists `provider` (taken), or gives an equal one that is listed already. */
static hk_err list_provider(
    struct hk_discovery *discovery, struct hk_discovery_provider *provider, struct hk_buf *key,
    hk_err err, struct hk_discovery_provider **out) {
    if (err >= 0) err = key->err;
    if (err >= 0) {
        provider->key = hk_arena_str(&provider->arena, hk_buf_get(key));
        if (provider->key.ptr == NULL) err = HK_E_NOMEM;
    }
    hk_buf_deinit(key);
    if (err < 0) {
        free_provider(provider);
        return err;
    }
    hk_mutex_lock(&discovery->lock);
    struct hk_discovery_provider *same = discovery->providers;
    while (same != NULL &&
           (same->refresh != provider->refresh || !hk_str_eq(same->key, provider->key)))
        same = same->next;
    if (same != NULL) {
        same->references++;
    } else {
        provider->next = discovery->providers;
        discovery->providers = provider;
    }
    hk_mutex_unlock(&discovery->lock);
    if (same != NULL)
        free_provider(provider);
    else
        hk_event_raise(&discovery->wake);
    *out = same != NULL ? same : provider;
    return HK_OK;
}

static int64_t interval_ns(int64_t given_ms, int64_t default_ms) {
    return (given_ms > 0 ? given_ms : default_ms) * 1000000;
}

static hk_err check_pattern(struct hk_str pattern) {
    static const char *const endings[] = { ".json", ".yml", ".yaml" };
    size_t slash = pattern.len;
    while (slash > 0 && pattern.ptr[slash - 1] != '/')
        slash--;
    bool known = false;
    for (size_t i = 0; i < HK_COUNT(endings); i++)
        known = known || hk_str_ends(pattern, hk_str_from(endings[i]));
    if (!known || hk_str_find(hk_str_part(pattern, 0, slash), '*', 0) < slash) {
        return hk_fail(
            HK_E_INVALID,
            "file_sd: path \"%.*s\" must end in .json, .yml or .yaml, with '*' only in its last "
            "part",
            HK_STR_ARG(pattern));
    }
    return HK_OK;
}

hk_err hk_discovery_files(
    struct hk_discovery *discovery, const struct hk_scrape_file_sd *config,
    struct hk_discovery_provider **out) {
    for (uint32_t i = 0; i < config->patterns.count; i++)
        HK_TRY(check_pattern(config->patterns.items[i]));
    struct hk_discovery_provider *provider = new_provider(discovery, hk_discovery_refresh_files);
    if (provider == NULL) return HK_E_NOMEM;
    struct hk_buf key;
    hk_buf_init(&key, 64 << 20);
    hk_scrape_key_file_sd(config, &key);
    provider->config.file = *config;
    provider->interval_ns = discovery->file_poll_ms * 1000000;
    hk_err err = hk_scrape_copy_file_sd(&provider->config.file, &provider->arena);
    if (config->refresh_ms <= 0) provider->config.file.refresh_ms = refresh_default.file_ms;
    return list_provider(discovery, provider, &key, err, out);
}

hk_err hk_discovery_http(
    struct hk_discovery *discovery, const struct hk_scrape_http_sd *config,
    struct hk_discovery_provider **out) {
    if (!hk_str_starts(config->url, HK_STR("http://")) &&
        !hk_str_starts(config->url, HK_STR("https://"))) {
        return hk_fail(
            HK_E_INVALID, "http_sd: \"%.*s\" is no http or https URL", HK_STR_ARG(config->url));
    }
    struct hk_discovery_provider *provider = new_provider(discovery, hk_discovery_refresh_http);
    if (provider == NULL) return HK_E_NOMEM;
    struct hk_buf key;
    hk_buf_init(&key, 64 << 20);
    hk_scrape_key_http_sd(config, &key);
    provider->config.http = *config;
    provider->interval_ns = interval_ns(config->refresh_ms, refresh_default.http_ms);
    hk_err err = hk_scrape_copy_http_sd(&provider->config.http, &provider->arena);
    return list_provider(discovery, provider, &key, err, out);
}

hk_err hk_discovery_dns(
    struct hk_discovery *discovery, const struct hk_scrape_dns_sd *config,
    struct hk_discovery_provider **out) {
    if (config->names.count == 0) return hk_fail(HK_E_INVALID, "dns_sd: no names");
    if (config->type < HK_SCRAPE_DNS_SRV || config->type > HK_SCRAPE_DNS_NS) {
        return hk_fail(HK_E_INVALID, "dns_sd: unknown type of record");
    }
    if (config->type != HK_SCRAPE_DNS_SRV && (config->port == 0 || config->port > 65535)) {
        return hk_fail(HK_E_INVALID, "dns_sd: a port is required for all types but SRV");
    }
    struct hk_discovery_provider *provider = new_provider(discovery, hk_discovery_refresh_dns);
    if (provider == NULL) return HK_E_NOMEM;
    struct hk_buf key;
    hk_buf_init(&key, 64 << 20);
    hk_scrape_key_dns_sd(config, &key);
    provider->config.dns = *config;
    provider->interval_ns = interval_ns(config->refresh_ms, refresh_default.dns_ms);
    hk_err err = hk_scrape_copy_dns_sd(&provider->config.dns, &provider->arena);
    return list_provider(discovery, provider, &key, err, out);
}

/* --- the thread ------------------------------------------------------------------------------- */

/* A provider that is due, with a reference and its next time set; NULL: none, `*out_wait_ns` says
 * how long. */
static struct hk_discovery_provider *
next_provider(struct hk_discovery *discovery, int64_t *out_wait_ns) {
    int64_t now_ns = hk_clock_monotonic_ns();
    int64_t nearest_ns = now_ns + (int64_t)WAIT_MS_MAX * 1000000;
    hk_mutex_lock(&discovery->lock);
    struct hk_discovery_provider *due = NULL;
    for (struct hk_discovery_provider *at = discovery->providers; at != NULL; at = at->next) {
        if (at->next_ns < nearest_ns) {
            nearest_ns = at->next_ns;
            due = at;
        }
    }
    if (nearest_ns > now_ns) due = NULL;
    if (due != NULL) {
        due->references++;
        due->next_ns = now_ns + due->interval_ns;
    }
    hk_mutex_unlock(&discovery->lock);
    *out_wait_ns = nearest_ns - now_ns;
    return due;
}

static void publish(struct hk_discovery_provider *provider, struct hk_discovery_finding *finding) {
    struct hk_discovery *discovery = provider->discovery;
    /* Only this thread writes provider->finding, so it may read it without the lock. */
    if (findings_equal(provider->finding, finding)) {
        hk_discovery_finding_unref(finding);
        return;
    }
    hk_mutex_lock(&discovery->lock);
    struct hk_discovery_finding *old = provider->finding;
    provider->finding = finding;
    hk_mutex_unlock(&discovery->lock);
    hk_discovery_finding_unref(old);
    discovery->changed(discovery->changed_self, provider);
}

void hk_discovery_note_failure(struct hk_discovery_provider *provider, hk_err err) {
    atomic_fetch_add_explicit(&provider->discovery->failures, 1, memory_order_relaxed);
    const char *text = hk_fail_text()[0] != 0 ? hk_fail_text() : hk_err_text(err);
    if (strncmp(text, provider->error, sizeof(provider->error) - 1) == 0) return;
    (void)snprintf(provider->error, sizeof(provider->error), "%s", text);
    hk_log(HK_LOG_WARN, "service discovery: %s", text);
}

static void refresh(struct hk_discovery_provider *provider) {
    struct hk_discovery_finding *finding = NULL;
    hk_fail_clear();
    hk_err err = provider->refresh(provider, &finding);
    if (err == HK_END) return;
    atomic_fetch_add_explicit(&provider->discovery->refreshes, 1, memory_order_relaxed);
    if (err == HK_OK)
        publish(provider, finding);
    else
        hk_discovery_note_failure(provider, err);
}

static void run(void *arg) {
    struct hk_discovery *discovery = arg;
    while (!atomic_load_explicit(&discovery->stop, memory_order_acquire)) {
        int64_t wait_ns = 0;
        struct hk_discovery_provider *provider = next_provider(discovery, &wait_ns);
        if (provider == NULL) {
            (void)hk_event_wait(&discovery->wake, wait_ns);
            continue;
        }
        refresh(provider);
        hk_discovery_release(provider);
    }
}

hk_err hk_discovery_create(
    int64_t file_poll_ms, void (*changed)(void *self, struct hk_discovery_provider *provider),
    void *self, struct hk_discovery **out) {
    struct hk_discovery *discovery = hk_mem_alloc(1, sizeof(*discovery));
    if (discovery == NULL) return HK_E_NOMEM;
    atomic_init(&discovery->references, 1);
    discovery->changed = changed;
    discovery->changed_self = self;
    discovery->file_poll_ms = file_poll_ms > 0 ? file_poll_ms : 1000;
    hk_event_init(&discovery->wake);
    hk_mutex_init(&discovery->lock);
    int started = hk_thread_start(&discovery->thread, "discovery", run, discovery);
    if (started < 0) {
        discovery_unref(discovery);
        return hk_fail(HK_E_IO, "discovery thread: %s", strerror(-started));
    }
    *out = discovery;
    return HK_OK;
}

void hk_discovery_stop(struct hk_discovery *discovery) {
    if (discovery == NULL) return;
    atomic_store_explicit(&discovery->stop, true, memory_order_release);
    hk_event_raise(&discovery->wake);
    hk_thread_join(&discovery->thread);
}

void hk_discovery_destroy(struct hk_discovery *discovery) {
    if (discovery == NULL) return;
    hk_discovery_stop(discovery);
    discovery_unref(discovery);
}

void hk_discovery_get_stats(struct hk_discovery *discovery, struct hk_discovery_stats *out) {
    out->refreshes = atomic_load_explicit(&discovery->refreshes, memory_order_relaxed);
    out->failures = atomic_load_explicit(&discovery->failures, memory_order_relaxed);
}
