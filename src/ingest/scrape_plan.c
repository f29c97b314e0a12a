/* Plans: all targets of a job, from its static groups and from what its providers found. */
#include "base/log.h"
#include "base/mem.h"
#include "ingest/scrape_internal.h"

#include <stdlib.h>

enum { SCRATCH_BYTES_MAX = 16 << 20, ERRORS_LOGGED_MAX = 5 };

struct builder {
    struct hk_scrape_job *job;
    struct hk_scrape_plan *plan;
    size_t capacity, dropped_capacity;
    struct hk_arena scratch;
};

static hk_err keep_target(struct builder *builder, struct hk_scrape_target *target) {
    struct hk_scrape_plan *plan = builder->plan;
    hk_err err = plan->target_count == HK_SCRAPE_TARGETS_MAX
                     ? hk_fail(
                           HK_E_LIMIT, "scrape job \"%.*s\": more than %d targets",
                           HK_STR_ARG(builder->job->config.name), HK_SCRAPE_TARGETS_MAX)
                     : hk_mem_grow(
                           &plan->targets, &builder->capacity, plan->target_count + 1U,
                           sizeof(struct hk_scrape_target *));
    if (err < 0) {
        hk_scrape_target_unref(target);
        return err;
    }
    plan->targets[plan->target_count++] = target;
    return HK_OK;
}

static hk_err drop_target(struct builder *builder, struct hk_scrape_target *target) {
    struct hk_scrape_plan *plan = builder->plan;
    plan->dropped_total++;
    hk_err err = HK_OK;
    if (plan->dropped_count < HK_SCRAPE_DROPPED_MAX) {
        err = hk_mem_grow(
            &plan->dropped, &builder->dropped_capacity, plan->dropped_count + 1U,
            sizeof(struct hk_scrape_target *));
        if (err >= 0) {
            plan->dropped[plan->dropped_count++] = target;
            return HK_OK;
        }
    }
    hk_scrape_target_unref(target);
    return err;
}

/* An unusable target is counted and said; the others are taken. */
static hk_err add_target(struct builder *builder, struct hk_labels own, struct hk_labels group) {
    struct hk_scrape_target *target = NULL;
    hk_arena_reset(&builder->scratch);
    hk_fail_clear();
    hk_err err = hk_scrape_target_create(builder->job, own, group, &builder->scratch, &target);
    if (err == HK_OK) return keep_target(builder, target);
    if (err == HK_END) return drop_target(builder, target);
    if (err == HK_E_NOMEM) return err;
    if (builder->plan->invalid++ < ERRORS_LOGGED_MAX) {
        struct hk_str address = hk_labels_get(own, HK_STR("__address__"));
        hk_log(
            HK_LOG_WARN, "scrape job \"%.*s\": target \"%.*s\" is left out: %s",
            HK_STR_ARG(builder->job->config.name), HK_STR_ARG(address), hk_fail_text());
    }
    return HK_OK;
}

static hk_err add_static(struct builder *builder, const struct hk_scrape_static *group) {
    for (uint32_t i = 0; i < group->targets.count; i++) {
        struct hk_label address = { HK_STR("__address__"), group->targets.items[i] };
        HK_TRY(add_target(builder, (struct hk_labels){ &address, 1 }, group->labels));
    }
    return HK_OK;
}

static hk_err add_finding(struct builder *builder, const struct hk_discovery_finding *finding) {
    for (size_t i = 0; i < finding->group_count; i++) {
        const struct hk_discovery_group *group = &finding->groups[i];
        for (uint32_t k = 0; k < group->target_count; k++)
            HK_TRY(add_target(builder, group->targets[k], group->labels));
    }
    return HK_OK;
}

static hk_err add_all(struct builder *builder) {
    const struct hk_scrape_job *job = builder->job;
    for (uint32_t i = 0; i < job->config.statics.count; i++)
        HK_TRY(add_static(builder, &job->config.statics.items[i]));
    for (uint32_t i = 0; i < job->provider_count; i++) {
        struct hk_discovery_finding *finding = hk_discovery_get(job->providers[i]);
        if (finding == NULL) continue;
        hk_err err = add_finding(builder, finding);
        hk_discovery_finding_unref(finding);
        HK_TRY(err);
    }
    return HK_OK;
}

static int order_targets(const void *a, const void *b) {
    const struct hk_scrape_target *const *left = a;
    const struct hk_scrape_target *const *right = b;
    return hk_scrape_target_cmp(*left, *right);
}

static void sort_and_unite(struct hk_scrape_plan *plan) {
    if (plan->target_count == 0) return;
    qsort(plan->targets, plan->target_count, sizeof(struct hk_scrape_target *), order_targets);
    uint32_t count = 1;
    for (uint32_t i = 1; i < plan->target_count; i++) {
        if (hk_scrape_target_cmp(plan->targets[count - 1], plan->targets[i]) == 0)
            hk_scrape_target_unref(plan->targets[i]);
        else
            plan->targets[count++] = plan->targets[i];
    }
    plan->target_count = count;
}

hk_err hk_scrape_plan_build(struct hk_scrape_job *job, struct hk_scrape_plan *out) {
    *out = (struct hk_scrape_plan){ .job = hk_scrape_job_ref(job) };
    struct builder builder = { .job = job, .plan = out };
    hk_arena_init(&builder.scratch, SCRATCH_BYTES_MAX);
    hk_err err = add_all(&builder);
    hk_arena_deinit(&builder.scratch);
    if (err < 0) {
        hk_scrape_plan_deinit(out);
        return err;
    }
    sort_and_unite(out);
    return HK_OK;
}

void hk_scrape_plan_deinit(struct hk_scrape_plan *plan) {
    for (uint32_t i = 0; i < plan->target_count; i++)
        hk_scrape_target_unref(plan->targets[i]);
    for (uint32_t i = 0; i < plan->dropped_count; i++)
        hk_scrape_target_unref(plan->dropped[i]);
    hk_mem_free(plan->targets);
    hk_mem_free(plan->dropped);
    hk_scrape_job_unref(plan->job);
    *plan = (struct hk_scrape_plan){ .job = NULL };
}
