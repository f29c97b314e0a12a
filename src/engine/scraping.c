/* Taking scrapes: parse, `up`, stale markers. On the shard's thread, but done(). */
#include "engine/scraping.h"

#include "base/log.h"
#include "base/mem.h"
#include "engine/engine_internal.h"
#include "ingest/exposition.h"
#include "ingest/openmetrics.h"
#include "ingest/prom_proto.h"
#include "ingest/scrape_labels.h"
#include "os/clock.h"

#include <stdio.h>
#include <stdlib.h>

enum { REPORTS = 5, TARGETS_MIN = 64 };

static const char *const report_names[REPORTS] = {
    "up",
    "scrape_duration_seconds",
    "scrape_samples_scraped",
    "scrape_samples_post_metric_relabeling",
    "scrape_series_added",
};

/* What is known of a target between scrapes. */
struct hk_scraped {
    uint64_t id;
    struct hk_scrape_target *target; /* a reference: the snapshot that `context` stands for */
    struct hk_context context;
    struct hk_pass_cursor cursor;
    uint32_t *last, *now; /* refs of the scrape before and of this one */
    size_t last_count, now_count, last_capacity, now_capacity;
    uint32_t reports[REPORTS]; /* refs, HK_REF_NONE at first */
    int64_t last_ms;
    bool failed; /* out of memory while noting refs */
};

/* A result on its way from the scrape thread. */
struct arrival {
    struct hk_task task; /* first */
    struct hk_shard *shard;
    struct hk_scrape_result *result;
};

/* ------------------------------------------------------------------ targets */

static void free_target(struct hk_scraped *target) {
    hk_scrape_target_unref(target->target);
    hk_mem_free(target->last);
    hk_mem_free(target->now);
    hk_mem_free(target);
}

static hk_err grow_targets(struct hk_scraping *scraping) {
    if (scraping->targets != NULL && (scraping->count + 1) * 2 <= scraping->mask + 1) return HK_OK;
    size_t live = 0;
    for (size_t i = 0; scraping->targets != NULL && i <= scraping->mask; i++) {
        live += scraping->targets[i] != NULL && scraping->targets[i]->id != 0;
    }
    size_t slots = TARGETS_MIN;
    while (slots < (live + 1) * 4)
        slots *= 2;
    struct hk_scraped **grown = hk_mem_alloc(slots, sizeof(struct hk_scraped *));
    if (grown == NULL) return HK_E_NOMEM;
    for (size_t i = 0; scraping->targets != NULL && i <= scraping->mask; i++) {
        struct hk_scraped *target = scraping->targets[i];
        if (target == NULL) continue;
        if (target->id == 0) { /* it is gone */
            free_target(target);
            continue;
        }
        size_t at = target->id * 0x9e3779b97f4a7c15ULL & (slots - 1);
        while (grown[at] != NULL)
            at = (at + 1) & (slots - 1);
        grown[at] = target;
    }
    hk_mem_free(scraping->targets);
    scraping->targets = grown;
    scraping->mask = slots - 1;
    scraping->count = live;
    return HK_OK;
}

/* What is known of its series' labels holds for one snapshot: relabelling may have changed. */
static void
take_snapshot(struct hk_shard *shard, struct hk_scraped *known, struct hk_scrape_target *target) {
    if (known->target == target) return;
    bool first = known->target == NULL;
    uint64_t parts[3] = { known->id, target->hash, first ? 0 : ++shard->scraping.snapshots };
    known->context.hash =
        hk_hash_mix(shard->engine->identity_base, hk_hash128(parts, sizeof(parts)));
    hk_scrape_target_unref(known->target);
    known->target = hk_scrape_target_ref(target);
}

static struct hk_scraped *
find_target(struct hk_shard *shard, const struct hk_scrape_result *result) {
    struct hk_scraping *scraping = &shard->scraping;
    if (grow_targets(scraping) < 0) return NULL;
    size_t at = result->target_id * 0x9e3779b97f4a7c15ULL & scraping->mask;
    for (; scraping->targets[at] != NULL; at = (at + 1) & scraping->mask) {
        if (scraping->targets[at]->id != result->target_id) continue;
        take_snapshot(shard, scraping->targets[at], result->target);
        return scraping->targets[at];
    }
    struct hk_scraped *fresh = hk_mem_alloc(1, sizeof(*fresh));
    if (fresh == NULL) return NULL;
    fresh->id = result->target_id;
    hk_ident_cursor_init(&fresh->cursor.order);
    fresh->cursor.at = HK_REF_NONE;
    for (size_t i = 0; i < REPORTS; i++)
        fresh->reports[i] = HK_REF_NONE;
    take_snapshot(shard, fresh, result->target);
    scraping->targets[at] = fresh;
    scraping->count++;
    return fresh;
}

/* ------------------------------------------------------------------ parsing */

union parsers {
    struct hk_exposition text;
    struct hk_openmetrics openmetrics;
    struct hk_prom_proto proto;
};

/* A body that is checked before it is taken. */
struct body {
    union parsers *state;
    const struct hk_metric_parser *parser;
    uint64_t samples, kept;               /* on the page; after relabelling */
    char over[HK_SCRAPE_ERROR_BYTES_MAX]; /* the limit that it breaks, "" = none */
};

static const struct hk_metric_parser *begin_parse(
    union parsers *state, const struct hk_scrape_result *result, const struct hk_context *context) {
    struct hk_str body = hk_buf_get(&result->body);
    bool ignore = !result->target->honor_timestamps;
    switch (result->format) {
    case HK_SCRAPE_OPENMETRICS:
        hk_openmetrics_init(&state->openmetrics, body, context, result->start_ms);
        state->openmetrics.ignore_stamps = ignore;
        return &hk_openmetrics_parser;
    case HK_SCRAPE_PROTOBUF:
        hk_prom_proto_init(&state->proto, body, context, result->start_ms);
        state->proto.ignore_stamps = ignore;
        return &hk_prom_proto_parser;
    case HK_SCRAPE_TEXT:
    default:
        hk_exposition_init(&state->text, body, context, result->start_ms);
        state->text.ignore_stamps = ignore;
        return &hk_exposition_parser;
    }
}

static enum hk_ledger_receiver receiver_of(const struct hk_scrape_result *result) {
    return hk_str_is(result->target->pool, "hark-host") ? HK_RECEIVER_HOST : HK_RECEIVER_SCRAPE;
}

/* Would the entry become a sample? Not when relabelling drops it. Notes a limit that its labels
 * break; what else is wrong with them is found when the entry is taken. */
static bool check_entry(
    struct hk_shard *shard, const struct hk_scrape_target *target, struct body *body,
    const struct hk_entry *entry) {
    struct hk_label_set *set = shard->pass.set;
    struct hk_batch *batch = shard->pass.batch;
    struct hk_labels labels;
    hk_label_set_clear(set);
    if (body->parser->labels(body->state, batch, entry, set) < 0) return true;
    hk_err err = hk_scrape_series_labels(target, set, batch->arena);
    if (err != HK_OK || hk_label_set_finish(set, &labels) < 0) return err != HK_END;
    if (body->over[0] == 0 && hk_scrape_check_labels(target, labels) < 0)
        (void)snprintf(body->over, sizeof(body->over), "%s", hk_fail_text());
    return true;
}

/* Do the target's limits ask for the labels of each sample? */
static bool limits_need_labels(const struct hk_scrape_target *target) {
    const struct hk_scrape_limits *limits = &target->limits;
    return limits->labels > 0 || limits->label_name_bytes > 0 || limits->label_value_bytes > 0 ||
           (limits->samples > 0 && target->metric_relabel != NULL);
}

/*
 * A scrape is all or nothing: the body is read once without effect. Counts its samples; a broken
 * body or one over a limit is refused with a text.
 */
static hk_err
check_body(struct hk_shard *shard, const struct hk_scrape_result *result, struct body *body) {
    const struct hk_scrape_target *target = result->target;
    const bool look = limits_need_labels(target);
    struct hk_batch *batch = shard->pass.batch;
    hk_err err = HK_FULL;
    while (err == HK_FULL) {
        hk_arena_reset(&shard->arena);
        hk_batch_clear(batch);
        batch->arena = &shard->arena;
        err = body->parser->parse(body->state, batch);
        for (uint32_t i = 0; i < batch->count; i++) {
            if (batch->entries[i].kind == HK_ENTRY_EXEMPLAR) continue;
            body->samples++;
            body->kept += !look || check_entry(shard, target, body, &batch->entries[i]);
        }
    }
    if (err < 0) return err;
    uint64_t limit = target->limits.samples;
    if (body->over[0] == 0 && limit > 0 && body->kept > limit)
        (void)snprintf(body->over, sizeof(body->over), "sample limit exceeded");
    if (body->over[0] == 0) return err;
    hk_ledger_received(&shard->ledger, receiver_of(result), body->samples);
    hk_ledger_dropped(&shard->ledger, receiver_of(result), HK_DROP_SCRAPE_LIMIT, body->samples);
    return hk_fail(HK_E_LIMIT, "%s", body->over);
}

static bool apply_labels(void *self, struct hk_label_set *set, struct hk_arena *arena) {
    const struct hk_scrape_target *target = self;
    return hk_scrape_series_labels(target, set, arena) == HK_OK;
}

static void on_seen(void *self, uint32_t ref) {
    struct hk_scraped *target = self;
    hk_err err = hk_mem_grow(
        &target->now, &target->now_capacity, target->now_count + 1, sizeof(target->now[0]));
    if (err < 0) {
        target->failed = true;
        return;
    }
    target->now[target->now_count++] = ref;
}

/* ------------------------------------------------------------------ stale markers */

static int ref_order(const void *a, const void *b) {
    uint32_t left = *(const uint32_t *)a;
    uint32_t right = *(const uint32_t *)b;
    return (left > right) - (left < right);
}

/* Ends every series of the scrape before that is missing now. */
static void end_vanished(struct hk_shard *shard, struct hk_scraped *target, int64_t stamp_ms) {
    bool same = target->last_count == target->now_count &&
                (target->now_count == 0 ||
                 memcmp(target->last, target->now, target->now_count * sizeof(uint32_t)) == 0);
    uint64_t marked = 0;
    if (!same && target->last_count > 0) {
        size_t count = target->now_count;
        uint32_t *sorted HK_CLEANUP(hk_mem_free_at) = hk_mem_resize(NULL, count + 1, 4);
        if (sorted == NULL) return; /* they go stale by age */
        if (count > 0) memcpy(sorted, target->now, count * sizeof(uint32_t));
        if (count > 1) qsort(sorted, count, sizeof(sorted[0]), ref_order);
        for (size_t i = 0; i < target->last_count; i++) {
            const uint32_t *key = &target->last[i];
            bool there = count > 0 && bsearch(key, sorted, count, 4, ref_order) != NULL;
            if (there) continue;
            if (*key == HK_REF_NONE) continue;
            hk_err err = hk_pass_put_ref(&shard->pass, *key, stamp_ms, hk_stale_value());
            if (err == HK_E_NOT_FOUND) continue; /* retired: it ended long ago */
            if (err < 0) break;
            marked++;
        }
    }
    (void)marked;
    uint32_t *swap = target->last;
    size_t capacity = target->last_capacity;
    target->last = target->now;
    target->last_count = target->now_count;
    target->last_capacity = target->now_capacity;
    target->now = swap;
    target->now_capacity = capacity;
    target->now_count = 0;
}

/* ------------------------------------------------------------------ samples of the scrape */

static void report(
    struct hk_shard *shard, struct hk_scraped *target, const struct hk_scrape_result *result,
    const double values[REPORTS]) {
    struct hk_pass_run run = { .receiver = receiver_of(result) };
    for (size_t i = 0; i < REPORTS; i++) {
        if (target->reports[i] != HK_REF_NONE) {
            hk_ledger_received(&shard->ledger, run.receiver, 1);
            hk_err err =
                hk_pass_put_ref(&shard->pass, target->reports[i], result->start_ms, values[i]);
            if (err == HK_E_NOT_FOUND) target->reports[i] = HK_REF_NONE; /* once per retirement */
            if (err < 0)
                hk_ledger_dropped(&shard->ledger, run.receiver, HK_DROP_MEMORY, 1);
            else
                hk_ledger_appended(&shard->ledger, run.receiver, 1);
            continue;
        }
        struct hk_label_set *set = shard->pass.set;
        struct hk_labels labels;
        hk_label_set_clear(set);
        hk_scrape_report_labels(result->target, hk_str_from(report_names[i]), set);
        if (hk_label_set_finish(set, &labels) < 0) continue;
        uint32_t ref = HK_REF_NONE;
        hk_err err = hk_pass_put(&shard->pass, &run, labels, result->start_ms, values[i], &ref);
        if (err >= 0 && run.stored > 0) target->reports[i] = ref;
    }
}

static void end_target(struct hk_shard *shard, struct hk_scraped *target, int64_t stamp_ms) {
    target->now_count = 0;
    end_vanished(shard, target, stamp_ms);
    for (size_t i = 0; i < REPORTS; i++) {
        if (target->reports[i] == HK_REF_NONE) continue;
        hk_err err = hk_pass_put_ref(&shard->pass, target->reports[i], stamp_ms, hk_stale_value());
        if (err < 0) return;
    }
}

/* Parses and appends a whole body; false with a text when it is refused. */
static bool take_body(
    struct hk_shard *shard, struct hk_scraped *target, struct hk_scrape_result *result,
    double values[REPORTS], char *out_error, size_t error_bytes) {
    struct body body = { .state = hk_mem_alloc(1, sizeof(*body.state)) };
    hk_err err = HK_E_NOMEM;
    hk_fail_clear();
    if (body.state != NULL) {
        body.parser = begin_parse(body.state, result, &target->context);
        err = check_body(shard, result, &body);
    }
    values[2] = (double)body.samples;
    values[3] = (double)body.kept;
    if (err >= 0) {
        struct hk_pass_labels labels = { result->target, apply_labels };
        hk_arena_reset(&shard->arena);
        struct hk_pass_run run = {
            .receiver = receiver_of(result),
            .state = body.state,
            .arena = &shard->arena,
            .cursor = &target->cursor,
            .labels = &labels,
            .seen = on_seen,
            .seen_self = target,
        };
        run.parser = begin_parse(body.state, result, &target->context);
        err = hk_pass_run(&shard->pass, &run);
        values[3] = (double)run.stored;
        values[4] = (double)run.series_added;
    }
    hk_mem_free(body.state);
    if (err >= 0) return true;
    (void)snprintf(
        out_error, error_bytes, "%s", hk_fail_text()[0] != 0 ? hk_fail_text() : hk_err_text(err));
    return false;
}

static void take_result(struct hk_shard *shard, struct hk_scrape_result *result) {
    struct hk_scraped *target = find_target(shard, result);
    char error[HK_SCRAPE_ERROR_BYTES_MAX] = "";
    if (target == NULL || !hk_store_has_room(shard->pass.shard)) {
        hk_scrape_result_end(result, "no room: sealing does not keep up");
        return;
    }
    shard->readable_ns = hk_clock_monotonic_ns();
    hk_alerts_begin(shard, hk_clock_realtime_ms());
    if (result->gone) {
        end_target(shard, target, hk_clock_realtime_ms());
        target->id = 0; /* never given out: the entry stays as a hole */
        target->last_count = 0;
        hk_scrape_target_unref(target->target);
        target->target = NULL;
    } else {
        double values[REPORTS] = { 0 };
        values[1] = (double)result->duration_ns / 1e9;
        target->now_count = 0;
        bool up =
            result->err >= 0 && take_body(shard, target, result, values, error, sizeof(error));
        values[0] = up;
        if (!up) target->now_count = 0;
        end_vanished(shard, target, result->start_ms);
        report(shard, target, result, values);
    }
    (void)hk_store_publish(shard->pass.shard);
    hk_alerts_commit(shard, hk_clock_realtime_ms());
    hk_scrape_result_end(result, error[0] != 0 ? error : NULL);
}

static void arrived(struct hk_task *task) {
    struct arrival *arrival = (struct arrival *)task;
    hk_shard_turn(arrival->shard, HK_TURN_SCRAPE);
    take_result(arrival->shard, arrival->result);
    hk_mem_free(arrival);
}

/* On the scrape thread. */
static void on_done(void *self, struct hk_scrape_result *result) {
    struct hk_shard *shard = self;
    struct arrival *arrival = hk_mem_alloc(1, sizeof(*arrival));
    if (arrival == NULL) {
        hk_scrape_result_end(result, "out of memory");
        return;
    }
    *arrival = (struct arrival){ .task.run = arrived, .shard = shard, .result = result };
    hk_loop_post(shard->loop, &arrival->task);
}

void hk_scraping_forget(struct hk_shard *shard) {
    const struct hk_scraping *scraping = &shard->scraping;
    const struct hk_directory *directory = shard->pass.directory;
    for (size_t i = 0; scraping->targets != NULL && i <= scraping->mask; i++) {
        struct hk_scraped *target = scraping->targets[i];
        if (target == NULL) continue;
        for (size_t k = 0; k < target->last_count; k++) {
            if (hk_directory_is_dead(directory, target->last[k])) target->last[k] = HK_REF_NONE;
        }
        for (size_t k = 0; k < REPORTS; k++) {
            if (hk_directory_is_dead(directory, target->reports[k])) {
                target->reports[k] = HK_REF_NONE;
            }
        }
    }
}

hk_err hk_scraping_open(struct hk_shard *shard) {
    struct hk_scraping *scraping = &shard->scraping;
    struct hk_host_options host = { 0 };
    HK_TRY(hk_host_create(&host, &scraping->host));
    struct hk_scrape_options options = { .sink = { shard, on_done } };
    HK_TRY(hk_scrape_create(&options, &scraping->manager));
    return hk_scraping_apply(shard, shard->engine->config);
}

void hk_scraping_close(struct hk_shard *shard) {
    struct hk_scraping *scraping = &shard->scraping;
    hk_scrape_destroy(scraping->manager);
    hk_host_destroy(scraping->host);
    for (size_t i = 0; scraping->targets != NULL && i <= scraping->mask; i++) {
        if (scraping->targets[i] != NULL) free_target(scraping->targets[i]);
    }
    hk_mem_free(scraping->targets);
}

/* ------------------------------------------------------------------ documents */

static void target_json(const struct hk_scrape_target_info *info, struct hk_buf *out) {
    static const char *const health[] = { "unknown", "up", "down" };
    char time[HK_TIME_BYTES_MAX];
    hk_buf_text(out, "{\"discoveredLabels\":");
    hk_labels_json(info->discovered, out);
    hk_buf_text(out, ",\"labels\":");
    hk_labels_json(info->labels, out);
    hk_buf_text(out, ",\"scrapePool\":");
    hk_buf_json(out, info->pool);
    hk_buf_text(out, ",\"scrapeUrl\":");
    hk_buf_json(out, info->url);
    hk_buf_text(out, ",\"globalUrl\":");
    hk_buf_json(out, info->global_url);
    hk_buf_text(out, ",\"lastError\":");
    hk_buf_json(out, info->last_error);
    (void)hk_format_time_ms(info->last_scrape_ms, time);
    hk_buf_printf(
        out, ",\"lastScrape\":\"%s\",\"lastScrapeDuration\":",
        info->last_scrape_ms == 0 ? "0001-01-01T00:00:00Z" : time);
    hk_buf_double(out, (double)info->last_duration_ns / 1e9);
    hk_buf_printf(out, ",\"health\":\"%s\"", health[info->health]);
    size_t len = hk_format_duration_ms(info->interval_ms, time);
    hk_buf_printf(out, ",\"scrapeInterval\":\"%.*s\"", (int)len, time);
    len = hk_format_duration_ms(info->timeout_ms, time);
    hk_buf_printf(out, ",\"scrapeTimeout\":\"%.*s\"}", (int)len, time);
}

/* Jobs whose service discovery hark does not act on: one entry each, so that nobody looks for their
 * targets in vain. */
static void unsupported_json(const struct hk_config *config, bool first, struct hk_buf *out) {
    for (uint32_t i = 0; i < config->jobs.count; i++) {
        const struct hk_conf_job *job = &config->jobs.items[i];
        if (job->discovery.unsupported.count == 0) continue;
        hk_buf_text(
            out, first ? "{\"discoveredLabels\":{},\"labels\":{\"job\":"
                       : ",{\"discoveredLabels\":{},\"labels\":{\"job\":");
        first = false;
        hk_buf_json(out, job->name);
        hk_buf_text(out, "},\"scrapePool\":");
        hk_buf_json(out, job->name);
        hk_buf_text(
            out,
            ",\"scrapeUrl\":\"\",\"globalUrl\":\"\",\"health\":\"unsupported\",\"lastError\":\"");
        for (uint32_t k = 0; k < job->discovery.unsupported.count; k++) {
            hk_buf_text(out, k > 0 ? ", " : "");
            hk_buf_str(out, job->discovery.unsupported.items[k]); /* names from our own table */
        }
        hk_buf_text(
            out,
            " not supported\",\"lastScrape\":\"0001-01-01T00:00:00Z\",\"lastScrapeDuration\":0,"
            "\"scrapeInterval\":\"\",\"scrapeTimeout\":\"\"}");
    }
}

void hk_scraping_json(
    struct hk_shard *shard, struct hk_str pool, struct hk_str state, struct hk_buf *out) {
    struct hk_arena arena;
    struct hk_scrape_listing listing = { 0 };
    hk_arena_init(&arena, 256 << 20);
    if (hk_scrape_list(shard->scraping.manager, pool, &arena, &listing) < 0) {
        hk_log(HK_LOG_ERROR, "targets cannot be listed: out of memory");
    }
    bool active = !hk_str_is(state, "dropped");
    bool dropped = !hk_str_is(state, "active");
    hk_buf_text(out, "{\"activeTargets\":[");
    for (uint32_t i = 0; active && i < listing.active_count; i++) {
        if (i > 0) hk_buf_char(out, ',');
        target_json(&listing.active[i], out);
    }
    if (active && pool.len == 0) {
        unsupported_json(shard->engine->config, listing.active_count == 0, out);
    }
    hk_buf_text(out, "],\"droppedTargets\":[");
    for (uint32_t i = 0; dropped && i < listing.dropped_count; i++) {
        hk_buf_text(out, i > 0 ? ",{\"discoveredLabels\":" : "{\"discoveredLabels\":");
        hk_labels_json(listing.dropped[i].discovered, out);
        hk_buf_text(out, ",\"scrapePool\":");
        hk_buf_json(out, listing.dropped[i].pool);
        hk_buf_char(out, '}');
    }
    hk_buf_text(out, "],\"droppedTargetCounts\":{");
    for (uint32_t i = 0; i < listing.pool_count; i++) {
        if (i > 0) hk_buf_char(out, ',');
        hk_buf_json(out, listing.pools[i].name);
        hk_buf_printf(out, ":%u", listing.pools[i].dropped);
    }
    hk_buf_text(out, "}}");
    hk_arena_deinit(&arena);
}
