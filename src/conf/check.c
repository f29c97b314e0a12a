/* Relations between keys of one mapping, and values that come from an outer one. */
#include "base/regex.h"
#include "conf/table.h"
#include "model/relabel.h"

#include <stdio.h>

enum { RECEIVERS_COMPARED_MAX = 2000 };

static bool has(const struct hk_conf_node *node, const char *key) {
    const struct hk_conf_node *value = node == NULL ? NULL : hk_conf_node_get(node, key);
    return value != NULL && !hk_conf_node_is_null(value);
}

/* At most one of two keys of the mapping may be given. */
static void exclusive(
    struct hk_conf_reader *reader, const struct hk_conf_node *node, const char *a, const char *b) {
    if (!has(node, a) || !has(node, b)) return;
    hk_conf_problem_at(
        reader, false, node, b, "keep one of the two", "%s and %s exclude each other", a, b);
}

/* --- HTTP clients ----------------------------------------------------------------------------- */

void hk_check_basic_auth(
    struct hk_conf_reader *reader, const struct hk_conf_node *node, void *object) {
    (void)object;
    exclusive(reader, node, "username", "username_file");
    exclusive(reader, node, "password", "password_file");
}

void hk_check_authorization(
    struct hk_conf_reader *reader, const struct hk_conf_node *node, void *object) {
    struct hk_conf_authorization *authorization = object;
    exclusive(reader, node, "credentials", "credentials_file");
    if (node != NULL && hk_str_eq_nocase(authorization->type, HK_STR("basic"))) {
        hk_conf_problem_at(
            reader, false, node, "type", "use basic_auth with username and password",
            "authorization cannot be of type \"Basic\"");
    }
}

void hk_check_tls_client(
    struct hk_conf_reader *reader, const struct hk_conf_node *node, void *object) {
    const struct hk_conf_tls_client *tls = object;
    exclusive(reader, node, "ca", "ca_file");
    exclusive(reader, node, "cert", "cert_file");
    exclusive(reader, node, "key", "key_file");
    bool cert = has(node, "cert") || has(node, "cert_file");
    bool key = has(node, "key") || has(node, "key_file");
    if (cert != key) {
        hk_conf_problem_at(
            reader, false, node, cert ? "cert_file" : "key_file", "give both or none",
            "a client certificate needs cert_file and key_file");
    }
    if (tls->max_version != 0 && tls->min_version > tls->max_version) {
        hk_conf_problem_at(
            reader, false, node, "min_version", "swap the two", "min_version is above max_version");
    }
}

/* bearer_token[_file] is the old form of authorization. */
static void move_bearer(struct hk_conf_reader *reader, struct hk_conf_http *http) {
    if (http->authorization != NULL) return;
    if (http->bearer_token.value.len == 0 && http->bearer_token_file.len == 0) return;
    struct hk_conf_authorization *authorization =
        hk_arena_alloc(reader->arena, 1, sizeof(*authorization));
    if (authorization == NULL) {
        reader->report->out_of_memory = true;
        return;
    }
    authorization->type = HK_STR("Bearer");
    authorization->credentials = http->bearer_token;
    authorization->credentials_file = http->bearer_token_file;
    http->authorization = authorization;
}

void hk_check_http(struct hk_conf_reader *reader, const struct hk_conf_node *node, void *object) {
    struct hk_conf_http *http = object;
    static const char *const logins[] = {
        "basic_auth", "authorization", "oauth2", "bearer_token", "bearer_token_file",
    };
    const char *first = NULL;
    for (size_t i = 0; i < HK_COUNT(logins); i++) {
        if (!has(node, logins[i])) continue;
        if (first != NULL) {
            hk_conf_problem_at(
                reader, false, node, logins[i], "keep one way to log in",
                "%s and %s exclude each other", first, logins[i]);
        }
        first = first == NULL ? logins[i] : first;
    }
    exclusive(reader, node, "proxy_url", "proxy_from_environment");
    if (has(node, "no_proxy") && !has(node, "proxy_url")) {
        hk_conf_problem_at(
            reader, false, node, "no_proxy", "add proxy_url or remove no_proxy",
            "no_proxy means nothing without proxy_url");
    }
    move_bearer(reader, http);
}

/* --- relabelling ------------------------------------------------------------------------------ */

static void check_regex(
    struct hk_conf_reader *reader, const struct hk_conf_node *node, const char *key,
    struct hk_str pattern) {
    struct hk_regex *regex = NULL;
    if (hk_regex_create(pattern, &regex) < 0) {
        hk_conf_problem_at(
            reader, false, node, key, "see RE2's syntax; a backslash needs single quotes in YAML",
            "%s is not a regular expression: %s", key, hk_fail_text());
        hk_fail_clear();
    }
    hk_regex_destroy(regex);
}

/* Keys that an action does not read, when they say something else than their default: the
 * configuration would mean less than it says. */
static void refuse_keys(
    struct hk_conf_reader *reader, const struct hk_conf_node *node, const char *action,
    const char *const *keys, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (!has(node, keys[i])) continue;
        const struct hk_option *option = hk_option_find(&hk_table_relabel, hk_str_from(keys[i]));
        const struct hk_conf_node *value = hk_conf_node_get(node, keys[i]);
        if (option->fallback != NULL && hk_str_is(value->text, option->fallback)) continue;
        hk_conf_problem_at(
            reader, false, node, keys[i], "remove it", "action %s does not take %s", action,
            keys[i]);
    }
}

/* The last word is the relabeller's own. */
static void check_compiles(
    struct hk_conf_reader *reader, const struct hk_conf_node *node,
    const struct hk_conf_relabel *rule) {
    struct hk_relabel *relabel = NULL;
    hk_err err = hk_conf_relabel_compile(rule, 1, &relabel);
    hk_relabel_destroy(relabel);
    if (err == HK_E_NOMEM) reader->report->out_of_memory = true;
    if (err >= 0 || err == HK_E_NOMEM) return;
    hk_conf_problem_at(
        reader, false, node, NULL, "see hark help config relabel_config", "%s", hk_fail_text());
    hk_fail_clear();
}

void hk_check_relabel(
    struct hk_conf_reader *reader, const struct hk_conf_node *node, void *object) {
    static const char *const not_for_equal[] = { "regex", "modulus", "separator", "replacement" };
    static const char *const not_for_names[] = {
        "source_labels", "target_label", "modulus", "separator", "replacement",
    };
    const struct hk_conf_relabel *rule = object;
    if (node == NULL) return;
    const char *name = hk_relabel_action_name((enum hk_relabel_action)rule->action);
    uint32_t errors = reader->report->error_count;
    check_regex(reader, node, "regex", rule->regex);
    const struct hk_conf_node *action = hk_conf_node_get(node, "action");
    if (action != NULL && !hk_str_eq_nocase(action->text, hk_str_from(name))) return;
    bool writes = rule->action == HK_RELABEL_REPLACE || rule->action == HK_RELABEL_HASHMOD ||
                  rule->action == HK_RELABEL_LOWERCASE || rule->action == HK_RELABEL_UPPERCASE;
    bool equal = rule->action == HK_RELABEL_KEEP_EQUAL || rule->action == HK_RELABEL_DROP_EQUAL;
    bool by_name = rule->action == HK_RELABEL_LABEL_DROP || rule->action == HK_RELABEL_LABEL_KEEP;
    bool changes_case =
        rule->action == HK_RELABEL_LOWERCASE || rule->action == HK_RELABEL_UPPERCASE;
    if ((writes || equal) && rule->target_label.len == 0) {
        hk_conf_problem_at(
            reader, false, node, NULL, "add target_label: …", "action %s needs target_label", name);
    }
    if (rule->action == HK_RELABEL_HASHMOD && rule->modulus == 0) {
        hk_conf_problem_at(
            reader, false, node, NULL, "add modulus: …", "action hashmod needs a modulus above 0");
    }
    if (equal) refuse_keys(reader, node, name, not_for_equal, HK_COUNT(not_for_equal));
    if (by_name) refuse_keys(reader, node, name, not_for_names, HK_COUNT(not_for_names));
    if (changes_case) refuse_keys(reader, node, name, &not_for_equal[3], 1);
    if (reader->report->error_count == errors) check_compiles(reader, node, rule);
}

/* --- discovery -------------------------------------------------------------------------------- */

void hk_check_static(struct hk_conf_reader *reader, const struct hk_conf_node *node, void *object) {
    const struct hk_conf_static *group = object;
    const struct hk_conf_node *targets = node == NULL ? NULL : hk_conf_node_get(node, "targets");
    for (uint32_t i = 0; i < group->targets.count; i++) {
        struct hk_str target = group->targets.items[i];
        if (hk_str_find(target, '/', 0) == target.len && target.len > 0) continue;
        const struct hk_conf_node *at =
            targets != NULL && i < targets->count && targets->kind == HK_CONF_SEQUENCE
                ? targets->items[i]
                : node;
        if (at == NULL) continue;
        const char *mend = "write host:port; scheme and metrics_path are keys of the job";
        if (target.len == 0) {
            hk_conf_problem_at(reader, false, at, NULL, mend, "a target is empty");
            continue;
        }
        hk_conf_problem_at(
            reader, false, at, NULL, mend, "\"%.*s\" is not an address",
            (int)(target.len < 120 ? target.len : 120), target.ptr);
    }
}

void hk_check_file_sd(
    struct hk_conf_reader *reader, const struct hk_conf_node *node, void *object) {
    const struct hk_conf_file_sd *sd = object;
    for (uint32_t i = 0; i < sd->files.count && node != NULL; i++) {
        struct hk_str file = sd->files.items[i];
        bool fine = hk_str_ends(file, HK_STR(".json")) || hk_str_ends(file, HK_STR(".yml")) ||
                    hk_str_ends(file, HK_STR(".yaml"));
        if (fine) continue;
        hk_conf_problem_at(
            reader, false, node, "files", "let the pattern end in .json, .yml or .yaml",
            "\"%.*s\" names no file with targets", (int)(file.len < 200 ? file.len : 200),
            file.ptr);
    }
}

void hk_check_dns_sd(struct hk_conf_reader *reader, const struct hk_conf_node *node, void *object) {
    const struct hk_conf_dns_sd *sd = object;
    if (node == NULL) return;
    if (sd->names.count == 0 && has(node, "names")) {
        hk_conf_problem_at(reader, false, node, "names", "add a name", "names is empty");
    }
    if (sd->type != HK_CONF_DNS_SRV && sd->port == 0) {
        hk_conf_problem_at(
            reader, false, node, NULL, "add port: …",
            "only SRV records have a port; this type needs the key port");
    }
}

/* Keeps the names of discoveries that hark does not act on. */
void hk_check_discovery(
    struct hk_conf_reader *reader, const struct hk_conf_node *node, void *object) {
    struct hk_conf_discovery *discovery = object;
    if (node == NULL) return;
    struct hk_conf_strings *list = &discovery->unsupported;
    list->items = hk_arena_alloc(reader->arena, hk_table_discovery.count, sizeof(*list->items));
    if (list->items == NULL) {
        reader->report->out_of_memory = true;
        return;
    }
    for (size_t i = 0; i < hk_table_discovery.count; i++) {
        const struct hk_option *option = &hk_table_discovery.options[i];
        if (option->status != HK_OPTION_LATER || !has(node, option->key)) continue;
        list->items[list->count++] = hk_str_from(option->key);
    }
}

/* --- global and jobs -------------------------------------------------------------------------- */

static void check_timeout(
    struct hk_conf_reader *reader, const struct hk_conf_node *node, int64_t interval_ms,
    int64_t timeout_ms) {
    if (timeout_ms <= interval_ms || node == NULL) return;
    char interval[HK_TIME_BYTES_MAX];
    char timeout[HK_TIME_BYTES_MAX];
    int interval_len = (int)hk_format_duration_ms(interval_ms, interval);
    int timeout_len = (int)hk_format_duration_ms(timeout_ms, timeout);
    hk_conf_problem_at(
        reader, false, node, "scrape_timeout", "lower scrape_timeout or raise scrape_interval",
        "scrape_timeout %.*s is longer than scrape_interval %.*s", timeout_len, timeout,
        interval_len, interval);
}

/* Each format once. */
static void check_protocols(
    struct hk_conf_reader *reader, const struct hk_conf_node *node,
    const struct hk_conf_enums *protocols) {
    unsigned seen = 0;
    bool twice = false;
    for (uint32_t i = 0; i < protocols->count; i++) {
        twice = twice || (seen & (1U << protocols->items[i])) != 0;
        seen |= 1U << protocols->items[i];
    }
    if (node == NULL || !has(node, "scrape_protocols")) return;
    bool empty = hk_conf_node_get(node, "scrape_protocols")->count == 0;
    if (twice || empty || (seen & 1U) != 0) {
        hk_conf_problem_at(
            reader, false, node, "scrape_protocols", "name each format once, at least one",
            "scrape_protocols is empty or names a format twice");
    }
}

void hk_check_global(struct hk_conf_reader *reader, const struct hk_conf_node *node, void *object) {
    struct hk_conf_global *global = object;
    if (global->scrape_interval_ms == 0) global->scrape_interval_ms = 60000;
    if (global->evaluation_interval_ms == 0) global->evaluation_interval_ms = 60000;
    check_timeout(reader, node, global->scrape_interval_ms, global->scrape_timeout_ms);
    if (global->scrape_timeout_ms == 0) {
        bool shorter = global->scrape_interval_ms < 10000;
        global->scrape_timeout_ms = shorter ? global->scrape_interval_ms : 10000;
    }
    check_protocols(reader, node, &global->protocols);
}

/* The order in which Prometheus asks when nothing is configured. */
static void default_protocols(
    struct hk_conf_reader *reader, struct hk_conf_job *job, const struct hk_conf_global *global) {
    static const int order[] = {
        HK_CONF_PROTOBUF, HK_CONF_OPENMETRICS_100, HK_CONF_OPENMETRICS_001,
        HK_CONF_TEXT_100, HK_CONF_TEXT_004,
    };
    if (job->protocols.count > 0) return;
    job->protocols = global->protocols;
    if (job->protocols.count > 0) return;
    size_t skip = job->scrape_native ? 0 : 1;
    int *items = hk_arena_alloc(reader->arena, HK_COUNT(order), sizeof(*items));
    if (items == NULL) {
        reader->report->out_of_memory = true;
        return;
    }
    memcpy(items, order + skip, (HK_COUNT(order) - skip) * sizeof(*items));
    job->protocols = (struct hk_conf_enums){ items, (uint32_t)(HK_COUNT(order) - skip) };
}

static void
inherit_limits(struct hk_conf_scrape_limits *limits, const struct hk_conf_scrape_limits *outer) {
    if (limits->body_bytes == 0) limits->body_bytes = outer->body_bytes;
    if (limits->samples == 0) limits->samples = outer->samples;
    if (limits->targets == 0) limits->targets = outer->targets;
    if (limits->labels == 0) limits->labels = outer->labels;
    if (limits->label_name_bytes == 0) limits->label_name_bytes = outer->label_name_bytes;
    if (limits->label_value_bytes == 0) limits->label_value_bytes = outer->label_value_bytes;
    if (limits->dropped_targets == 0) limits->dropped_targets = outer->dropped_targets;
}

void hk_check_job(struct hk_conf_reader *reader, const struct hk_conf_node *node, void *object) {
    struct hk_conf_job *job = object;
    const struct hk_conf_global *global = &reader->config->global;
    if (node == NULL) return;
    job->file = node->file->path;
    job->line = node->line;
    job->column = node->column;
    if (has(node, "job_name") && job->name.len == 0) {
        hk_conf_problem_at(reader, false, node, "job_name", "name the job", "job_name is empty");
    }
    if (job->interval_ms == 0) job->interval_ms = global->scrape_interval_ms;
    check_timeout(reader, node, job->interval_ms, job->timeout_ms);
    if (job->timeout_ms == 0) {
        bool shorter = job->interval_ms < global->scrape_timeout_ms;
        job->timeout_ms = shorter ? job->interval_ms : global->scrape_timeout_ms;
    }
    inherit_limits(&job->limits, &global->limits);
    if (!has(node, "scrape_native_histograms")) job->scrape_native = global->scrape_native;
    if (!has(node, "convert_classic_histograms_to_nhcb")) {
        job->convert_classic_to_nhcb = global->convert_classic_to_nhcb;
    }
    if (!has(node, "always_scrape_classic_histograms")) {
        job->always_scrape_classic = global->always_scrape_classic;
    }
    if (!has(node, "extra_scrape_metrics"))
        job->extra_scrape_metrics = global->extra_scrape_metrics;
    if (job->validation == 0) job->validation = global->validation;
    if (job->escaping == 0) job->escaping = global->escaping;
    check_protocols(reader, node, &job->protocols);
    default_protocols(reader, job, global);
}

void hk_check_otlp(struct hk_conf_reader *reader, const struct hk_conf_node *node, void *object) {
    const struct hk_conf_otlp *otlp = object;
    if (otlp->promote_all) {
        exclusive(reader, node, "promote_all_resource_attributes", "promote_resource_attributes");
    } else if (otlp->ignore.count > 0) {
        hk_conf_problem_at(
            reader, false, node, "ignore_resource_attributes",
            "set promote_all_resource_attributes: true, or remove it",
            "ignore_resource_attributes means nothing when not all attributes are promoted");
    }
}

/* --- the server ------------------------------------------------------------------------------- */

hk_err hk_conf_address(struct hk_str address, bool *out_loopback) {
    size_t colon = address.len;
    while (colon > 0 && address.ptr[colon - 1] != ':')
        colon--;
    if (colon == 0) return HK_E_MALFORMED;
    struct hk_str host = hk_str_part(address, 0, colon - 1);
    uint64_t port = 0;
    HK_TRY(hk_parse_u64(hk_str_part(address, colon, address.len), &port));
    if (port > 65535) return HK_E_MALFORMED;
    bool v6 = host.len > 2 && host.ptr[0] == '[' && host.ptr[host.len - 1] == ']';
    if (v6) host = hk_str_part(host, 1, host.len - 1);
    for (size_t i = 0; i < host.len; i++) {
        char c = host.ptr[i];
        bool fine = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                    c == '.' || c == '-' || c == '_' || c == '*' || (v6 && (c == ':' || c == '%'));
        if (!fine) return HK_E_MALFORMED;
    }
    *out_loopback = hk_str_starts(host, HK_STR("127.")) || hk_str_is(host, "::1") ||
                    hk_str_eq_nocase(host, HK_STR("localhost"));
    return HK_OK;
}

static void check_listener(
    struct hk_conf_reader *reader, const struct hk_conf_node *node, const char *key,
    struct hk_str *address, const struct hk_conf_server *server) {
    bool loopback = true;
    if (hk_str_is(*address, "off")) *address = (struct hk_str){ "", 0 };
    if (address->len == 0 || node == NULL) return;
    if (hk_conf_address(*address, &loopback) < 0) {
        hk_conf_problem_at(
            reader, false, node, key, "write host:port, as 127.0.0.1:9090 or [::1]:9090",
            "\"%.*s\" is not an address to listen on",
            (int)(address->len < 100 ? address->len : 100), address->ptr);
        return;
    }
    bool secret = has(node, "token") || has(node, "token_file") ||
                  (server->tls != NULL && server->tls->client_ca_file.len > 0);
    if (loopback || server->insecure || (server->tls != NULL && secret)) return;
    hk_conf_problem_at(
        reader, false, node, key,
        "add tls and token (or tls.client_ca_file), or say insecure: true",
        "%s listens off loopback without TLS and token", key);
}

void hk_check_server(struct hk_conf_reader *reader, const struct hk_conf_node *node, void *object) {
    struct hk_conf_server *server = object;
    exclusive(reader, node, "token", "token_file");
    check_listener(reader, node, "http", &server->http, server);
    check_listener(reader, node, "otlp_grpc", &server->otlp_grpc, server);
    check_listener(reader, node, "otlp_http", &server->otlp_http, server);
    check_listener(reader, node, "otlp_legacy", &server->otlp_legacy, server);
    for (uint32_t i = 0; i < server->allowed_origins.count && node != NULL; i++) {
        struct hk_str origin = server->allowed_origins.items[i];
        bool fine = hk_str_starts(origin, HK_STR("http://")) ||
                    hk_str_starts(origin, HK_STR("https://")) || hk_str_is(origin, "null");
        if (fine) continue;
        hk_conf_problem_at(
            reader, false, node, "allowed_origins", "write it as https://host:port",
            "\"%.*s\" is not an origin", (int)(origin.len < 100 ? origin.len : 100), origin.ptr);
    }
}

void hk_check_server_tls(
    struct hk_conf_reader *reader, const struct hk_conf_node *node, void *object) {
    const struct hk_conf_server_tls *tls = object;
    if (node == NULL || tls->min_version >= HK_CONF_TLS12) return;
    hk_conf_problem_at(
        reader, false, node, "min_version", "choose TLS12 or TLS13",
        "min_version is below TLS12, which is not safe");
}

void hk_check_statsd(struct hk_conf_reader *reader, const struct hk_conf_node *node, void *object) {
    const struct hk_conf_statsd *statsd = object;
    bool loopback = true;
    if (node == NULL) return;
    if (statsd->listen.len == 0 && statsd->socket.len == 0) {
        hk_conf_problem_at(
            reader, false, node, NULL, "add listen: 127.0.0.1:8125 or socket: /path",
            "statsd has neither listen nor socket");
    }
    if (statsd->listen.len > 0 && hk_conf_address(statsd->listen, &loopback) < 0) {
        hk_conf_problem_at(
            reader, false, node, "listen", "write host:port, as 127.0.0.1:8125",
            "\"%.*s\" is not an address to listen on",
            (int)(statsd->listen.len < 100 ? statsd->listen.len : 100), statsd->listen.ptr);
    }
    if (!loopback && !reader->config->server.insecure) {
        hk_conf_problem_at(
            reader, false, node, "listen", "listen on loopback, or say server: {insecure: true}",
            "StatsD has no TLS and no token, and listen is off loopback");
    }
}

static void check_patterns(
    struct hk_conf_reader *reader, const struct hk_conf_node *node, const char *key,
    const struct hk_conf_strings *patterns) {
    for (uint32_t i = 0; i < patterns->count; i++) {
        struct hk_str pattern = patterns->items[i];
        bool nul = memchr(pattern.ptr, 0, pattern.len) != NULL;
        if (pattern.len > 0 && pattern.len < 4096 && !nul) continue;
        hk_conf_problem_at(
            reader, false, node, key, "give paths of less than 4096 bytes",
            "an entry of %s is empty or too long", key);
    }
}

void hk_check_config(struct hk_conf_reader *reader, const struct hk_conf_node *node, void *object) {
    const struct hk_config *config = object;
    if (node == NULL) return;
    exclusive(reader, node, "alertmanager", "alertmanager_file");
    check_patterns(reader, node, "rule_files", &config->rule_files);
    check_patterns(reader, node, "scrape_config_files", &config->scrape_config_files);
    for (uint32_t i = 0; i < config->remote_write.count; i++) {
        struct hk_str name = config->remote_write.items[i].name;
        for (uint32_t k = 0; k < i && name.len > 0 && i < 1000; k++) {
            if (!hk_str_eq(config->remote_write.items[k].name, name)) continue;
            hk_conf_problem_at(
                reader, false, node, "remote_write", "give each a name of its own",
                "two remote_write are called \"%.*s\"", (int)(name.len < 100 ? name.len : 100),
                name.ptr);
            break;
        }
    }
}

/* --- alertmanager ----------------------------------------------------------------------------- */

void hk_check_webhook(
    struct hk_conf_reader *reader, const struct hk_conf_node *node, void *object) {
    const struct hk_conf_webhook *webhook = object;
    if (node == NULL) return;
    exclusive(reader, node, "url", "url_file");
    struct hk_str url = webhook->url.value;
    if (url.len == 0 && webhook->url_file.len == 0) {
        hk_conf_problem_at(
            reader, false, node, NULL, "add url: http://…", "url is missing in webhook_config");
        return;
    }
    bool fine = hk_str_starts(url, HK_STR("http://")) || hk_str_starts(url, HK_STR("https://"));
    for (size_t i = 0; i < url.len && fine; i++)
        fine = (unsigned char)url.ptr[i] > ' ';
    if (url.len == 0 || fine) return;
    /* The URL is a secret: it is not shown. */
    hk_conf_problem_at(
        reader, false, node, "url", "write it as http://host:port/path",
        "url is not an http or https URL");
}

void hk_check_exec(struct hk_conf_reader *reader, const struct hk_conf_node *node, void *object) {
    const struct hk_conf_exec *exec = object;
    if (node == NULL || !has(node, "command")) return;
    if (exec->command.count == 0) {
        const struct hk_conf_node *command = hk_conf_node_get(node, "command");
        if (command->kind != HK_CONF_SEQUENCE || command->count > 0) return; /* said before */
        hk_conf_problem_at(
            reader, false, node, "command", "write [/path/to/program, argument]",
            "command is empty");
        return;
    }
    struct hk_str program = exec->command.items[0];
    if (program.len == 0 || program.ptr[0] != '/') {
        hk_conf_problem_at(
            reader, false, node, "command", "give the absolute path; no shell looks it up",
            "\"%.*s\" is not an absolute path", (int)(program.len < 200 ? program.len : 200),
            program.ptr);
    }
    for (uint32_t i = 0; i < exec->command.count; i++) {
        struct hk_str argument = exec->command.items[i];
        if (argument.len == 0 || memchr(argument.ptr, 0, argument.len) == NULL) continue;
        hk_conf_problem_at(
            reader, false, node, "command", "remove it", "an argument has a zero byte in it");
    }
}

void hk_check_receiver(
    struct hk_conf_reader *reader, const struct hk_conf_node *node, void *object) {
    struct hk_conf_receiver *receiver = object;
    if (node == NULL) return;
    receiver->unsupported.items =
        hk_arena_alloc(reader->arena, (size_t)node->count + 1, sizeof(struct hk_str));
    if (receiver->unsupported.items == NULL) {
        reader->report->out_of_memory = true;
        return;
    }
    for (uint32_t i = 0; i < node->count; i++) {
        if (!hk_str_ends(node->pairs[i].key, HK_STR("_configs"))) continue;
        if (hk_str_is(node->pairs[i].key, "webhook_configs")) continue;
        if (hk_str_is(node->pairs[i].key, "exec_configs")) continue;
        receiver->unsupported.items[receiver->unsupported.count++] = node->pairs[i].key;
    }
}

static const struct hk_conf_receiver *
find_receiver(const struct hk_conf_alertmanager *alertmanager, struct hk_str name) {
    for (uint32_t i = 0; i < alertmanager->receivers.count; i++) {
        if (hk_str_eq(alertmanager->receivers.items[i].name, name)) {
            return &alertmanager->receivers.items[i];
        }
    }
    return NULL;
}

/* Values that an inner route does not give are -1 (or empty); the outermost was filled before. */
void hk_check_route(struct hk_conf_reader *reader, const struct hk_conf_node *node, void *object) {
    struct hk_conf_route *route = object;
    const struct hk_conf_alertmanager *alertmanager = reader->config->alertmanager;
    if (node == NULL) return;
    if (!has(node, "group_wait") && route->group_wait_ms == 0) route->group_wait_ms = -1;
    if (!has(node, "group_interval") && route->group_interval_ms == 0) {
        route->group_interval_ms = -1;
    }
    if (!has(node, "repeat_interval") && route->repeat_interval_ms == 0) {
        route->repeat_interval_ms = -1;
    }
    for (uint32_t i = 0; i < route->match_re.count; i++)
        check_regex(reader, node, "match_re", route->match_re.items[i].value);
    if (route->group_by.count > 1) {
        for (uint32_t i = 0; i < route->group_by.count; i++) {
            if (!hk_str_is(route->group_by.items[i], "...")) continue;
            hk_conf_problem_at(
                reader, false, node, "group_by", "write only '...' or only labels",
                "'...' stands for all labels, and other labels stand beside it");
        }
    }
    if (route->receiver.len == 0 || alertmanager == NULL) return;
    if (alertmanager->receivers.count > RECEIVERS_COMPARED_MAX ||
        find_receiver(alertmanager, route->receiver)) {
        return;
    }
    struct hk_str names[64];
    size_t count = 0;
    for (uint32_t i = 0; i < alertmanager->receivers.count && count < HK_COUNT(names); i++)
        names[count++] = alertmanager->receivers.items[i].name;
    struct hk_str near = hk_nearest_name(route->receiver, names, count);
    char mend[200] = "add a receiver of that name under receivers";
    if (near.len > 0) {
        (void)snprintf(mend, sizeof(mend), "did you mean %.*s?", HK_STR_ARG(near));
    }
    hk_conf_problem_at(
        reader, false, node, "receiver", mend, "no receiver is called \"%.*s\"",
        (int)(route->receiver.len < 100 ? route->receiver.len : 100), route->receiver.ptr);
}

static void
outermost_route(struct hk_conf_reader *reader, const struct hk_conf_node *node, void *object) {
    struct hk_conf_route *route = object;
    const struct hk_conf_node *at = node == NULL ? NULL : hk_conf_node_get(node, "route");
    if (!has(at, "group_wait")) route->group_wait_ms = 30000;
    if (!has(at, "group_interval")) route->group_interval_ms = 300000;
    if (!has(at, "repeat_interval")) route->repeat_interval_ms = 14400000;
    if (at == NULL || at->kind != HK_CONF_MAPPING) return;
    if (route->receiver.len == 0) {
        hk_conf_problem_at(
            reader, false, at, NULL, "add receiver: …", "the outermost route has no receiver");
    }
    static const char *const matching[] = { "matchers", "match", "match_re" };
    for (size_t i = 0; i < HK_COUNT(matching); i++) {
        if (!has(at, matching[i])) continue;
        hk_conf_problem_at(
            reader, false, at, matching[i], "move it to an inner route",
            "the outermost route takes every alert and cannot have %s", matching[i]);
    }
}

void hk_check_alertmanager(
    struct hk_conf_reader *reader, const struct hk_conf_node *node, void *object) {
    struct hk_conf_alertmanager *alertmanager = object;
    outermost_route(reader, node, &alertmanager->route);
    for (uint32_t i = 0; i < alertmanager->receivers.count && i < RECEIVERS_COMPARED_MAX; i++) {
        struct hk_str name = alertmanager->receivers.items[i].name;
        const struct hk_conf_receiver *first = find_receiver(alertmanager, name);
        if (first == &alertmanager->receivers.items[i] || node == NULL) continue;
        hk_conf_problem_at(
            reader, false, node, "receivers", "give each receiver a name of its own",
            "two receivers are called \"%.*s\"", (int)(name.len < 100 ? name.len : 100), name.ptr);
    }
}
