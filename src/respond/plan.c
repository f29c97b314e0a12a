/* Receivers, route and Alertmanagers of one configuration: checked and copied, never changed. */
#include "base/mem.h"
#include "respond/respond_internal.h"

#include <stdio.h>

enum { CONFIG_BYTES_MAX = 16 << 20, PRINT_BYTES_MAX = 64 << 20 };

/* --- Configuration ---------------------------------------------------------------------------- */

static hk_err copy_text(struct hk_arena *arena, struct hk_str *text) {
    *text = hk_arena_str(arena, *text);
    return text->ptr == NULL ? HK_E_NOMEM : HK_OK;
}

static hk_err check_url(struct hk_str url, struct hk_str owner) {
    bool fine = hk_str_starts(url, HK_STR("http://")) || hk_str_starts(url, HK_STR("https://"));
    for (size_t i = 0; i < url.len; i++)
        fine = fine && (unsigned char)url.ptr[i] > 0x20;
    if (fine) return HK_OK;
    return hk_fail(
        HK_E_INVALID, "receiver %.*s: the URL must begin with http:// or https://",
        HK_STR_ARG(owner));
}

static hk_err
copy_endpoint(struct hk_arena *arena, struct hk_endpoint_config *endpoint, struct hk_str owner) {
    struct hk_str *texts[] = { &endpoint->url,       &endpoint->authorization,
                               &endpoint->ca_file,   &endpoint->authorization_file,
                               &endpoint->cert_file, &endpoint->key_file,
                               &endpoint->proxy_url, &endpoint->server_name };
    for (size_t i = 0; i < HK_COUNT(texts); i++)
        HK_TRY(copy_text(arena, texts[i]));
    return check_url(endpoint->url, owner);
}

static hk_err copy_exec(struct hk_arena *arena, struct hk_exec_config *exec, struct hk_str owner) {
    const struct hk_str *from = exec->argv;
    if (exec->argc == 0 || exec->argc > HK_EXEC_ARGUMENTS_MAX || from[0].len == 0 ||
        from[0].ptr[0] != '/') {
        return hk_fail(
            HK_E_INVALID,
            "receiver %.*s: `command` must be a list of 1 to %d strings that begins with an "
            "absolute path",
            HK_STR_ARG(owner), HK_EXEC_ARGUMENTS_MAX);
    }
    struct hk_str *argv = hk_arena_alloc(arena, exec->argc, sizeof(argv[0]));
    if (argv == NULL) return HK_E_NOMEM;
    for (uint32_t i = 0; i < exec->argc; i++) {
        argv[i] = from[i];
        if (from[i].len > 0 && memchr(from[i].ptr, 0, from[i].len) != NULL) {
            return hk_fail(
                HK_E_INVALID, "receiver %.*s: `command` contains a NUL byte", HK_STR_ARG(owner));
        }
        HK_TRY(copy_text(arena, &argv[i]));
    }
    exec->argv = argv;
    struct hk_label *env = hk_arena_alloc(arena, exec->env.count + 1, sizeof(env[0]));
    if (env == NULL) return HK_E_NOMEM;
    for (uint32_t i = 0; i < exec->env.count; i++) {
        env[i] = exec->env.items[i];
        HK_TRY(copy_text(arena, &env[i].name));
        HK_TRY(copy_text(arena, &env[i].value));
    }
    exec->env.items = env;
    return HK_OK;
}

static hk_err add_integration(
    struct hk_respond_plan *plan, struct hk_str receiver, const char *kind, uint32_t number,
    struct integration **out) {
    struct integration *made = &plan->integrations[plan->integration_count++];
    made->receiver = receiver;
    made->name = hk_arena_printf(&plan->arena, "%.*s/%s/%u", HK_STR_ARG(receiver), kind, number);
    if (made->name.ptr == NULL) return HK_E_NOMEM;
    made->hash = hk_fnv1a(HK_FNV1A_START, made->name.ptr, made->name.len);
    *out = made;
    return HK_OK;
}

static hk_err add_receiver(struct hk_respond_plan *plan, const struct hk_receiver_config *from) {
    struct integration *made = NULL;
    struct hk_str name = from->name;
    HK_TRY(copy_text(&plan->arena, &name));
    for (uint32_t i = 0; i < from->webhook_count; i++) {
        HK_TRY(add_integration(plan, name, "webhook", i, &made));
        made->kind = INTEGRATION_WEBHOOK;
        made->webhook = from->webhooks[i];
        made->send_resolved = from->webhooks[i].send_resolved;
        HK_TRY(copy_endpoint(&plan->arena, &made->webhook.endpoint, name));
    }
    for (uint32_t i = 0; i < from->exec_count; i++) {
        HK_TRY(add_integration(plan, name, "exec", i, &made));
        made->kind = INTEGRATION_EXEC;
        made->exec = from->execs[i];
        made->send_resolved = from->execs[i].send_resolved;
        HK_TRY(copy_exec(&plan->arena, &made->exec, name));
    }
    return HK_OK;
}

static hk_err copy_route(struct hk_respond_plan *plan) {
    struct hk_route_config *route = &plan->config.route;
    struct hk_str *names =
        hk_arena_alloc(&plan->arena, route->group_by_count + 1, sizeof(names[0]));
    if (names == NULL) return HK_E_NOMEM;
    for (uint32_t i = 0; i < route->group_by_count; i++) {
        names[i] = route->group_by[i];
        HK_TRY(copy_text(&plan->arena, &names[i]));
    }
    route->group_by = names;
    return copy_text(&plan->arena, &route->receiver);
}

/* The route's receiver first, so that its integrations are bits of a mask from 0. */
static hk_err copy_receivers(struct hk_respond_plan *plan, const struct hk_respond_config *config) {
    size_t count = 1; /* the nameless one, for what is left of receivers that are gone */
    uint32_t chosen = UINT32_MAX;
    struct hk_str wanted = config->route.receiver;
    if (config->receiver_count > HK_RESPOND_RECEIVERS_MAX)
        return hk_fail(HK_E_LIMIT, "more than %d receivers", HK_RESPOND_RECEIVERS_MAX);
    for (uint32_t i = 0; i < config->receiver_count; i++) {
        const struct hk_receiver_config *receiver = &config->receivers[i];
        count += (size_t)receiver->webhook_count + receiver->exec_count;
        if (hk_str_eq(receiver->name, wanted)) chosen = i;
    }
    if (wanted.len > 0 && chosen == UINT32_MAX) {
        return hk_fail(
            HK_E_INVALID, "route: there is no receiver named \"%.*s\"", HK_STR_ARG(wanted));
    }
    plan->integrations = hk_arena_alloc(&plan->arena, count, sizeof(plan->integrations[0]));
    if (plan->integrations == NULL) return HK_E_NOMEM;
    if (chosen != UINT32_MAX) HK_TRY(add_receiver(plan, &config->receivers[chosen]));
    plan->route_count = plan->integration_count;
    if (plan->route_count > INTEGRATIONS_MAX) {
        return hk_fail(
            HK_E_LIMIT, "receiver %.*s: more than %d integrations", HK_STR_ARG(wanted),
            INTEGRATIONS_MAX);
    }
    for (uint32_t i = 0; i < config->receiver_count; i++) {
        if (i != chosen) HK_TRY(add_receiver(plan, &config->receivers[i]));
    }
    plan->integrations[plan->integration_count].name = HK_STR("(receiver is gone)");
    return HK_OK;
}

static hk_err copy_push(struct hk_respond_plan *plan, const struct hk_push_config *from) {
    struct hk_push_config *push = &plan->config.push;
    uint32_t labels = from->external_labels.count;
    struct hk_endpoint_config *endpoints =
        hk_arena_alloc(&plan->arena, from->endpoint_count + 1, sizeof(endpoints[0]));
    struct hk_label *items = hk_arena_alloc(&plan->arena, labels + 1, sizeof(items[0]));
    if (endpoints == NULL || items == NULL) return HK_E_NOMEM;
    for (uint32_t i = 0; i < from->endpoint_count; i++) {
        endpoints[i] = from->endpoints[i];
        HK_TRY(copy_endpoint(&plan->arena, &endpoints[i], HK_STR("alertmanagers")));
    }
    for (uint32_t i = 0; i < labels; i++) {
        items[i] = from->external_labels.items[i];
        HK_TRY(copy_text(&plan->arena, &items[i].name));
        HK_TRY(copy_text(&plan->arena, &items[i].value));
    }
    push->endpoints = endpoints;
    push->external_labels = (struct hk_labels){ items, labels };
    return HK_OK;
}

/* --- The same as before? ---------------------------------------------------------------------- */

static void print_text(struct hk_buf *out, struct hk_str text) {
    hk_buf_bytes(out, &text.len, sizeof(text.len));
    hk_buf_str(out, text);
}

static void print_number(struct hk_buf *out, int64_t number) {
    hk_buf_bytes(out, &number, sizeof(number));
}

static void print_labels(struct hk_buf *out, struct hk_labels labels) {
    print_number(out, labels.count);
    for (uint32_t i = 0; i < labels.count; i++) {
        print_text(out, labels.items[i].name);
        print_text(out, labels.items[i].value);
    }
}

static void print_endpoint(struct hk_buf *out, const struct hk_endpoint_config *endpoint) {
    const struct hk_str texts[] = { endpoint->url,       endpoint->authorization,
                                    endpoint->ca_file,   endpoint->authorization_file,
                                    endpoint->cert_file, endpoint->key_file,
                                    endpoint->proxy_url, endpoint->server_name };
    for (size_t i = 0; i < HK_COUNT(texts); i++)
        print_text(out, texts[i]);
    print_number(out, endpoint->insecure_skip_verify);
    print_number(out, endpoint->timeout_ms);
}

static void print_integration(struct hk_buf *out, const struct integration *integration) {
    print_text(out, integration->name);
    print_number(out, integration->send_resolved);
    if (integration->kind == INTEGRATION_WEBHOOK) {
        print_endpoint(out, &integration->webhook.endpoint);
        print_number(out, integration->webhook.max_alerts);
        return;
    }
    const struct hk_exec_config *exec = &integration->exec;
    print_number(out, exec->argc);
    for (uint32_t i = 0; i < exec->argc; i++)
        print_text(out, exec->argv[i]);
    print_labels(out, exec->env);
    const int64_t numbers[] = { exec->timeout_ms, exec->kill_wait_ms, (int64_t)exec->memory_max,
                                (int64_t)exec->cpu_s_max, exec->concurrency_max };
    hk_buf_bytes(out, numbers, sizeof(numbers));
}

static void print_route(struct hk_buf *out, const struct hk_route_config *route) {
    const int64_t numbers[] = { route->group_by_count, route->group_by_all, route->group_wait_ms,
                                route->group_interval_ms, route->repeat_interval_ms };
    print_text(out, route->receiver);
    hk_buf_bytes(out, numbers, sizeof(numbers));
    for (uint32_t i = 0; i < route->group_by_count; i++)
        print_text(out, route->group_by[i]);
}

static void print_push(struct hk_buf *out, const struct hk_push_config *push) {
    print_number(out, push->endpoint_count);
    for (uint32_t i = 0; i < push->endpoint_count; i++)
        print_endpoint(out, &push->endpoints[i]);
    print_labels(out, push->external_labels);
    print_number(out, push->resend_ms);
}

static hk_err digest(struct hk_respond_plan *plan) {
    struct hk_buf out;
    hk_buf_init(&out, PRINT_BYTES_MAX);
    print_push(&out, &plan->config.push);
    plan->push_digest = hk_hash128(out.ptr, out.len);
    print_route(&out, &plan->config.route);
    print_text(&out, plan->config.external_url);
    print_number(&out, plan->route_count);
    for (uint32_t i = 0; i < plan->integration_count; i++)
        print_integration(&out, &plan->integrations[i]);
    hk_err err = out.err;
    if (err >= 0) plan->digest = hk_hash128(out.ptr, out.len);
    hk_buf_deinit(&out);
    return err;
}

bool hk_respond_plan_same(const struct hk_respond_plan *left, const struct hk_respond_plan *right) {
    return left->digest.low == right->digest.low && left->digest.high == right->digest.high;
}

/* --- Making ----------------------------------------------------------------------------------- */

static hk_err copy_config(struct hk_respond_plan *plan, const struct hk_respond_config *config) {
    plan->config = *config;
    HK_TRY(copy_text(&plan->arena, &plan->config.directory));
    HK_TRY(copy_text(&plan->arena, &plan->config.external_url));
    HK_TRY(copy_route(plan));
    HK_TRY(copy_receivers(plan, config));
    HK_TRY(copy_push(plan, &config->push));
    return digest(plan);
}

hk_err
hk_respond_plan_create(const struct hk_respond_config *config, struct hk_respond_plan **out) {
    struct hk_respond_plan *plan = hk_mem_alloc(1, sizeof(*plan));
    if (plan == NULL) return HK_E_NOMEM;
    hk_arena_init(&plan->arena, CONFIG_BYTES_MAX);
    hk_err err = copy_config(plan, config);
    if (err < 0) {
        hk_respond_plan_destroy(plan);
        return err;
    }
    *out = plan;
    return HK_OK;
}

void hk_respond_plan_destroy(struct hk_respond_plan *plan) {
    if (plan == NULL) return;
    hk_arena_deinit(&plan->arena);
    hk_mem_free(plan);
}

int64_t hk_respond_find(const struct hk_respond_plan *plan, struct hk_str name) {
    for (uint32_t i = 0; i < plan->integration_count; i++) {
        if (hk_str_eq(plan->integrations[i].name, name)) return i;
    }
    return -1;
}
