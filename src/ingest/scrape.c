/* The scrape manager: life, configuration, listing. */
#include "ingest/scrape.h"

#include "base/log.h"
#include "base/mem.h"
#include "ingest/host.h"
#include "ingest/scrape_internal.h"
#include "os/file.h"
#include "os/host.h"
#include "os/timer.h"

#include <stdio.h>

enum { RESULTS_MAX_DEFAULT = 1024, CONNECTIONS_KEPT_MIN = 16, CONNECTIONS_KEPT_MAX = 4096 };

static void provider_changed(void *self, struct hk_discovery_provider *provider);

/* Kept connections take at most half of the descriptors that this process may have. */
static long connections_kept(void) {
    uint64_t files = 0;
    uint64_t address_bytes = 0;
    hk_process_limits(&files, &address_bytes);
    if (files / 2 > CONNECTIONS_KEPT_MAX) return CONNECTIONS_KEPT_MAX;
    return files / 2 < CONNECTIONS_KEPT_MIN ? CONNECTIONS_KEPT_MIN : (long)(files / 2);
}

static hk_err open_parts(struct hk_scrape *scrape, const struct hk_scrape_options *options) {
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) return HK_E_NOMEM;
    scrape->multi = curl_multi_init();
    if (scrape->multi == NULL) return HK_E_NOMEM;
    (void)curl_multi_setopt(scrape->multi, CURLMOPT_MAXCONNECTS, connections_kept());
    scrape->timer_fd = hk_timer_create();
    if (scrape->timer_fd < 0) {
        return hk_fail(HK_E_IO, "scrape timer: %s", strerror(-scrape->timer_fd));
    }
    return hk_discovery_create(options->file_poll_ms, provider_changed, scrape, &scrape->discovery);
}

static void close_parts(struct hk_scrape *scrape) {
    hk_discovery_destroy(scrape->discovery);
    if (scrape->multi != NULL) (void)curl_multi_cleanup(scrape->multi);
    hk_file_close(scrape->timer_fd);
    hk_mem_free(scrape->heap);
    scrape->heap = NULL;
}

hk_err hk_scrape_create(const struct hk_scrape_options *options, struct hk_scrape **out) {
    struct hk_scrape *scrape = hk_mem_alloc(1, sizeof(*scrape));
    if (scrape == NULL) return HK_E_NOMEM;
    atomic_init(&scrape->references, 1);
    scrape->sink = options->sink;
    scrape->results_max = options->results_max == 0 ? RESULTS_MAX_DEFAULT : options->results_max;
    scrape->results_bytes_max =
        options->results_bytes_max == 0 ? (uint64_t)512 << 20 : options->results_bytes_max;
    scrape->timer_fd = -1;
    scrape->messages_end = &scrape->messages;
    hk_mutex_init(&scrape->control);
    hk_mutex_init(&scrape->lock);
    size_t len = options->external_host.len;
    if (len > 0 && len < sizeof(scrape->external_host))
        memcpy(scrape->external_host, options->external_host.ptr, len);
    else
        hk_host_name(scrape->external_host, sizeof(scrape->external_host));
    hk_err err = open_parts(scrape, options);
    if (err >= 0) {
        int started = hk_thread_start(&scrape->thread, "scrape", hk_scrape_run, scrape);
        if (started < 0) err = hk_fail(HK_E_IO, "scrape thread: %s", strerror(-started));
    }
    if (err < 0) {
        close_parts(scrape);
        hk_scrape_unref(scrape);
        return err;
    }
    *out = scrape;
    return HK_OK;
}

void hk_scrape_message_free(struct hk_scrape_message *message) {
    for (uint32_t i = 0; i < message->plan_count; i++)
        hk_scrape_plan_deinit(&message->plans[i]);
    hk_mem_free(message);
}

void hk_scrape_destroy(struct hk_scrape *scrape) {
    if (scrape == NULL) return;
    hk_discovery_stop(scrape->discovery); /* no more messages */
    hk_mutex_lock(&scrape->lock);
    scrape->stop = true;
    hk_mutex_unlock(&scrape->lock);
    (void)curl_multi_wakeup(scrape->multi);
    hk_thread_join(&scrape->thread);
    while (scrape->messages != NULL) {
        struct hk_scrape_message *message = scrape->messages;
        scrape->messages = message->next;
        hk_scrape_message_free(message);
    }
    hk_scrape_end_pools(scrape);
    for (uint32_t i = 0; i < scrape->job_count; i++)
        hk_scrape_job_unref(scrape->jobs[i]);
    hk_mem_free(scrape->jobs);
    close_parts(scrape);
    hk_scrape_unref(scrape);
}

/* --- configuration ---------------------------------------------------------------------------- */

static struct hk_scrape_message *new_message(uint32_t plan_count) {
    struct hk_scrape_message *message =
        hk_mem_alloc(1, sizeof(*message) + plan_count * sizeof(struct hk_scrape_plan));
    return message;
}

/* Takes the message. */
static void post(struct hk_scrape *scrape, struct hk_scrape_message *message) {
    hk_mutex_lock(&scrape->lock);
    *scrape->messages_end = message;
    scrape->messages_end = &message->next;
    hk_mutex_unlock(&scrape->lock);
    (void)curl_multi_wakeup(scrape->multi);
}

static bool
has_provider(const struct hk_scrape_job *job, const struct hk_discovery_provider *provider) {
    for (uint32_t i = 0; i < job->provider_count; i++) {
        if (job->providers[i] == provider) return true;
    }
    return false;
}

/* On the discovery thread: new plans for the jobs that use this provider. */
static void provider_changed(void *self, struct hk_discovery_provider *provider) {
    struct hk_scrape *scrape = self;
    hk_mutex_lock(&scrape->control);
    for (uint32_t i = 0; i < scrape->job_count; i++) {
        struct hk_scrape_job *job = scrape->jobs[i];
        if (!has_provider(job, provider)) continue;
        struct hk_scrape_message *message = new_message(1);
        hk_err err = message == NULL ? HK_E_NOMEM : hk_scrape_plan_build(job, &message->plans[0]);
        if (err >= 0) {
            message->plan_count = 1;
            post(scrape, message);
            continue;
        }
        hk_mem_free(message);
        hk_scrape_count(&scrape->counters.lost, 1);
        hk_log(
            HK_LOG_ERROR, "scrape job \"%.*s\": new targets are not taken: %s",
            HK_STR_ARG(job->config.name), hk_fail_text());
    }
    hk_mutex_unlock(&scrape->control);
}

static hk_err add_providers(struct hk_scrape *scrape, struct hk_scrape_job *job) {
    const struct hk_scrape_job_config *config = &job->config;
    size_t count = (size_t)config->files.count + config->https.count + config->dns.count;
    job->providers = hk_mem_alloc(count, sizeof(struct hk_discovery_provider *));
    if (job->providers == NULL) return HK_E_NOMEM;
    for (uint32_t i = 0; i < config->files.count; i++) {
        HK_TRY(hk_discovery_files(
            scrape->discovery, &config->files.items[i], &job->providers[job->provider_count]));
        job->provider_count++;
    }
    for (uint32_t i = 0; i < config->https.count; i++) {
        HK_TRY(hk_discovery_http(
            scrape->discovery, &config->https.items[i], &job->providers[job->provider_count]));
        job->provider_count++;
    }
    for (uint32_t i = 0; i < config->dns.count; i++) {
        HK_TRY(hk_discovery_dns(
            scrape->discovery, &config->dns.items[i], &job->providers[job->provider_count]));
        job->provider_count++;
    }
    return HK_OK;
}

/* An equal job that runs already, or a new one; with a reference. */
static hk_err get_job(
    struct hk_scrape *scrape, const struct hk_scrape_job_config *config,
    struct hk_scrape_job **out) {
    struct hk_scrape_job *job = NULL;
    HK_TRY(hk_scrape_job_create(config, &job));
    for (uint32_t i = 0; i < scrape->job_count; i++) {
        if (!hk_str_eq(scrape->jobs[i]->key, job->key)) continue;
        hk_scrape_job_unref(job);
        *out = hk_scrape_job_ref(scrape->jobs[i]);
        return HK_OK;
    }
    hk_err err = add_providers(scrape, job);
    if (err < 0) {
        hk_err noted = hk_fail_note(err, "scrape job \"%.*s\"", HK_STR_ARG(config->name));
        hk_scrape_job_unref(job);
        return noted;
    }
    *out = job;
    return HK_OK;
}

static hk_err check_names(struct hk_scrape_job *const *jobs, uint32_t count) {
    for (uint32_t i = 0; i + 1 < count; i++) {
        if (!hk_str_eq(jobs[i]->config.name, jobs[count - 1]->config.name)) continue;
        return hk_fail(
            HK_E_INVALID, "two scrape jobs are named \"%.*s\": give each its own name",
            HK_STR_ARG(jobs[i]->config.name));
    }
    return HK_OK;
}

static void unref_jobs(struct hk_scrape_job **jobs, uint32_t count) {
    for (uint32_t i = 0; i < count; i++)
        hk_scrape_job_unref(jobs[i]);
    hk_mem_free(jobs);
}

/* Under control. Fills `jobs` and `message`, both of `count`; what was made is counted. */
static hk_err prepare(
    struct hk_scrape *scrape, const struct hk_scrape_job_config *configs, uint32_t count,
    struct hk_scrape_job **jobs, uint32_t *job_count, struct hk_scrape_message *message) {
    for (uint32_t i = 0; i < count; i++) {
        HK_TRY(get_job(scrape, &configs[i], &jobs[i]));
        *job_count = i + 1;
        HK_TRY(check_names(jobs, i + 1));
        HK_TRY(hk_scrape_plan_build(jobs[i], &message->plans[i]));
        message->plan_count = i + 1;
    }
    return HK_OK;
}

hk_err
hk_scrape_apply(struct hk_scrape *scrape, const struct hk_scrape_job_config *jobs, uint32_t count) {
    if (count > HK_SCRAPE_JOBS_MAX) {
        return hk_fail(HK_E_LIMIT, "more than %d scrape jobs", HK_SCRAPE_JOBS_MAX);
    }
    struct hk_scrape_job **next = hk_mem_alloc(count, sizeof(struct hk_scrape_job *));
    struct hk_scrape_message *message = new_message(count);
    if (next == NULL || message == NULL) {
        hk_mem_free(next);
        hk_mem_free(message);
        return HK_E_NOMEM;
    }
    uint32_t next_count = 0;
    message->all = true;
    hk_mutex_lock(&scrape->control);
    hk_err err = prepare(scrape, jobs, count, next, &next_count, message);
    if (err >= 0) {
        struct hk_scrape_job **old = scrape->jobs;
        uint32_t old_count = scrape->job_count;
        scrape->jobs = next;
        scrape->job_count = next_count;
        next = old;
        next_count = old_count;
        post(scrape, message);
    }
    hk_mutex_unlock(&scrape->control);
    unref_jobs(next, next_count);
    if (err < 0) hk_scrape_message_free(message);
    return err;
}

/* --- results ---------------------------------------------------------------------------------- */

void hk_scrape_result_end(struct hk_scrape_result *result, const char *error) {
    struct hk_scrape_slot *slot = result->slot;
    struct hk_scrape *scrape = slot->scrape;
    if (error != NULL && !result->gone) {
        hk_mutex_lock(&scrape->lock);
        slot->health = HK_SCRAPE_DOWN;
        (void)snprintf(slot->error, sizeof(slot->error), "%s", error);
        hk_mutex_unlock(&scrape->lock);
    }
    atomic_fetch_sub_explicit(&scrape->in_flight_bytes, result->body_bytes, memory_order_relaxed);
    atomic_fetch_sub_explicit(&scrape->in_flight, 1, memory_order_relaxed);
    hk_buf_deinit(&result->body);
    hk_scrape_target_unref(result->target);
    hk_mem_free(result);
    hk_scrape_slot_unref(slot);
}

/* --- listing ---------------------------------------------------------------------------------- */

static hk_err copy_text(struct hk_arena *arena, struct hk_str from, struct hk_str *out) {
    *out = hk_arena_str(arena, from);
    return out->ptr == NULL ? HK_E_NOMEM : HK_OK;
}

static hk_err copy_labels(struct hk_arena *arena, struct hk_labels from, struct hk_labels *out) {
    struct hk_label *items = hk_arena_alloc(arena, from.count, sizeof(*items));
    if (items == NULL) return HK_E_NOMEM;
    for (uint32_t i = 0; i < from.count; i++) {
        HK_TRY(copy_text(arena, from.items[i].name, &items[i].name));
        HK_TRY(copy_text(arena, from.items[i].value, &items[i].value));
    }
    *out = (struct hk_labels){ items, from.count };
    return HK_OK;
}

/* The URL as others reach it: a loopback host becomes this host's name. */
static struct hk_str
global_url(const struct hk_scrape *scrape, struct hk_str url, struct hk_arena *arena) {
    static const char *const locals[] = { "127.0.0.1", "localhost", "[::1]" };
    const char *found = memmem(url.ptr, url.len, "://", 3);
    size_t from = found == NULL ? 0 : (size_t)(found - url.ptr) + 3;
    for (size_t i = 0; i < HK_COUNT(locals); i++) {
        size_t len = strlen(locals[i]);
        struct hk_str host = hk_str_part(url, from, from + len);
        struct hk_str rest = hk_str_part(url, from + len, url.len);
        bool ends = rest.len == 0 || strchr(":/?", rest.ptr[0]) != NULL;
        if (!hk_str_is(host, locals[i]) || !ends) continue;
        return hk_arena_printf(
            arena, "%.*s%s%.*s", (int)from, url.ptr, scrape->external_host, HK_STR_ARG(rest));
    }
    return hk_arena_str(arena, url);
}

static hk_err list_slot(
    const struct hk_scrape_slot *slot, struct hk_arena *arena, struct hk_scrape_target_info *out) {
    const struct hk_scrape_target *target = slot->target;
    HK_TRY(copy_labels(arena, target->discovered, &out->discovered));
    HK_TRY(copy_labels(arena, target->labels, &out->labels));
    HK_TRY(copy_text(arena, target->pool, &out->pool));
    HK_TRY(copy_text(arena, target->url, &out->url));
    HK_TRY(copy_text(arena, hk_str_from(slot->error), &out->last_error));
    out->global_url = global_url(slot->scrape, target->url, arena);
    if (out->global_url.ptr == NULL) return HK_E_NOMEM;
    out->last_scrape_ms = slot->last_scrape_ms;
    out->last_duration_ns = slot->last_duration_ns;
    out->health = slot->health;
    out->interval_ms = target->interval_ms;
    out->timeout_ms = target->timeout_ms;
    return HK_OK;
}

static hk_err list_pool(
    const struct hk_scrape_pool *pool, struct hk_arena *arena, struct hk_scrape_listing *out) {
    struct hk_scrape_pool_info *info = &out->pools[out->pool_count];
    HK_TRY(copy_text(arena, pool->job->config.name, &info->name));
    info->active = pool->slot_count;
    info->dropped = pool->dropped_total;
    out->pool_count++;
    for (uint32_t i = 0; i < pool->slot_count; i++)
        HK_TRY(list_slot(pool->slots[i], arena, &out->active[out->active_count++]));
    for (uint32_t i = 0; i < pool->dropped_count; i++) {
        struct hk_scrape_dropped_info *dropped = &out->dropped[out->dropped_count++];
        dropped->pool = info->name;
        HK_TRY(copy_labels(arena, pool->dropped[i]->discovered, &dropped->discovered));
    }
    return HK_OK;
}

static hk_err list_pools(
    const struct hk_scrape *scrape, struct hk_str name, struct hk_arena *arena,
    struct hk_scrape_listing *out) {
    size_t active = 0;
    size_t dropped = 0;
    for (uint32_t i = 0; i < scrape->pool_count; i++) {
        active += scrape->pools[i].slot_count;
        dropped += scrape->pools[i].dropped_count;
    }
    out->active = hk_arena_alloc(arena, active, sizeof(*out->active));
    out->dropped = hk_arena_alloc(arena, dropped, sizeof(*out->dropped));
    out->pools = hk_arena_alloc(arena, scrape->pool_count, sizeof(*out->pools));
    if (out->active == NULL || out->dropped == NULL || out->pools == NULL) return HK_E_NOMEM;
    for (uint32_t i = 0; i < scrape->pool_count; i++) {
        const struct hk_scrape_pool *pool = &scrape->pools[i];
        if (name.len > 0 && !hk_str_eq(pool->job->config.name, name)) continue;
        HK_TRY(list_pool(pool, arena, out));
    }
    return HK_OK;
}

hk_err hk_scrape_list(
    struct hk_scrape *scrape, struct hk_str pool, struct hk_arena *arena,
    struct hk_scrape_listing *out) {
    struct hk_scrape_listing listing = { .active = NULL };
    hk_mutex_lock(&scrape->lock);
    hk_err err = list_pools(scrape, pool, arena, &listing);
    hk_mutex_unlock(&scrape->lock);
    if (err >= 0) *out = listing;
    return err;
}

static uint64_t load(const _Atomic uint64_t *counter) {
    return atomic_load_explicit(counter, memory_order_relaxed);
}

void hk_scrape_get_stats(struct hk_scrape *scrape, struct hk_scrape_stats *out) {
    struct hk_discovery_stats discovery = { 0 };
    hk_discovery_get_stats(scrape->discovery, &discovery);
    *out = (struct hk_scrape_stats){
        .scrapes = load(&scrape->counters.scrapes),
        .failed = load(&scrape->counters.failed),
        .timeouts = load(&scrape->counters.timeouts),
        .skipped_overlap = load(&scrape->counters.skipped_overlap),
        .shed = load(&scrape->counters.shed),
        .lost = load(&scrape->counters.lost),
        .body_bytes = load(&scrape->counters.body_bytes),
        .targets_invalid = load(&scrape->counters.targets_invalid),
        .discovery_refreshes = discovery.refreshes,
        .discovery_failures = discovery.failures,
        .in_flight = atomic_load_explicit(&scrape->in_flight, memory_order_relaxed),
    };
    hk_mutex_lock(&scrape->lock);
    for (uint32_t i = 0; i < scrape->pool_count; i++)
        out->active += scrape->pools[i].slot_count;
    hk_mutex_unlock(&scrape->lock);
}
