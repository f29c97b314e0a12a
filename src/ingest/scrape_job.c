/*
 * Scrape jobs: deep copy, defaults and checks of a configuration, driven by tables of its fields
 * so that copying and comparing cannot forget one.
 */
#include "base/mem.h"
#include "ingest/scrape_internal.h"

#include <stddef.h>
#include <stdlib.h>

enum field_type { TEXT, BYTES_1, BYTES_4, BYTES_8, LABELS, TEXTS, INTS, STRUCTS };

struct table;

struct field {
    enum field_type type;
    size_t offset;
    const struct table *elements; /* of STRUCTS */
};

struct table {
    size_t bytes; /* of one struct */
    const struct field *fields;
    size_t count;
};

/* Every list in the configuration has this form. */
struct list {
    const void *items;
    uint32_t count;
};

#define F(type, owner, member)                                                                     \
    { type, offsetof(struct owner, member), NULL }
#define S(owner, member, table)                                                                    \
    { STRUCTS, offsetof(struct owner, member), &(table) }
#define TABLE(owner, fields)                                                                       \
    { sizeof(struct owner), fields, HK_COUNT(fields) }

/* The fields of a struct hk_scrape_http that is a member of `owner`. */
#define HTTP_FIELDS(owner, member)                                                                 \
    F(TEXT, owner, member.username), F(TEXT, owner, member.username_file),                         \
        F(TEXT, owner, member.password), F(TEXT, owner, member.password_file),                     \
        F(TEXT, owner, member.authorization_type), F(TEXT, owner, member.credentials),             \
        F(TEXT, owner, member.credentials_file), F(TEXT, owner, member.tls.ca_file),               \
        F(TEXT, owner, member.tls.ca), F(TEXT, owner, member.tls.cert_file),                       \
        F(TEXT, owner, member.tls.cert), F(TEXT, owner, member.tls.key_file),                      \
        F(TEXT, owner, member.tls.key), F(TEXT, owner, member.tls.server_name),                    \
        F(BYTES_1, owner, member.tls.insecure_skip_verify),                                        \
        F(BYTES_4, owner, member.tls.version_min), F(BYTES_4, owner, member.tls.version_max),      \
        F(TEXT, owner, member.proxy_url), F(TEXT, owner, member.no_proxy),                         \
        F(TEXTS, owner, member.headers), F(BYTES_1, owner, member.follow_redirects),               \
        F(BYTES_1, owner, member.enable_http2)

static const struct field param_fields[] = { F(TEXT, hk_scrape_param, name),
                                             F(TEXTS, hk_scrape_param, values) };
static const struct table param_table = TABLE(hk_scrape_param, param_fields);

static const struct field static_fields[] = { F(TEXTS, hk_scrape_static, targets),
                                              F(LABELS, hk_scrape_static, labels) };
static const struct table static_table = TABLE(hk_scrape_static, static_fields);

static const struct field file_fields[] = { F(TEXTS, hk_scrape_file_sd, patterns),
                                            F(BYTES_8, hk_scrape_file_sd, refresh_ms) };
static const struct table file_table = TABLE(hk_scrape_file_sd, file_fields);

static const struct field http_fields[] = { F(TEXT, hk_scrape_http_sd, url),
                                            F(BYTES_8, hk_scrape_http_sd, refresh_ms),
                                            HTTP_FIELDS(hk_scrape_http_sd, http) };
static const struct table http_table = TABLE(hk_scrape_http_sd, http_fields);

static const struct field dns_fields[] = {
    F(TEXTS, hk_scrape_dns_sd, names),
    F(BYTES_8, hk_scrape_dns_sd, refresh_ms),
    F(BYTES_4, hk_scrape_dns_sd, type),
    F(BYTES_4, hk_scrape_dns_sd, port),
};
static const struct table dns_table = TABLE(hk_scrape_dns_sd, dns_fields);

static const struct field relabel_fields[] = {
    F(BYTES_4, hk_relabel_config, action),    F(TEXTS, hk_relabel_config, source_labels),
    F(TEXT, hk_relabel_config, separator),    F(TEXT, hk_relabel_config, regex),
    F(TEXT, hk_relabel_config, target_label), F(TEXT, hk_relabel_config, replacement),
    F(BYTES_8, hk_relabel_config, modulus),
};
static const struct table relabel_table = TABLE(hk_relabel_config, relabel_fields);

/* TEXTS of a relabel rule and INTS of a job are pointer and count side by side. */
_Static_assert(
    offsetof(struct hk_relabel_config, source_label_count) ==
        offsetof(struct hk_relabel_config, source_labels) + offsetof(struct list, count),
    "source_labels is a list");
_Static_assert(
    offsetof(struct hk_scrape_job_config, protocol_count) ==
        offsetof(struct hk_scrape_job_config, protocols) + offsetof(struct list, count),
    "protocols is a list");

#define JOB hk_scrape_job_config
static const struct field job_fields[] = {
    F(TEXT, JOB, name),
    F(TEXT, JOB, scheme),
    F(TEXT, JOB, metrics_path),
    F(BYTES_8, JOB, interval_ms),
    F(BYTES_8, JOB, timeout_ms),
    F(BYTES_1, JOB, honor_labels),
    F(BYTES_1, JOB, ignore_timestamps),
    F(BYTES_1, JOB, track_timestamps_staleness),
    F(BYTES_1, JOB, no_compression),
    F(BYTES_1, JOB, scrape_native),
    F(INTS, JOB, protocols),
    F(BYTES_4, JOB, fallback_protocol),
    F(BYTES_8, JOB, limits.body_bytes),
    F(BYTES_8, JOB, limits.samples),
    F(BYTES_8, JOB, limits.targets),
    F(BYTES_8, JOB, limits.labels),
    F(BYTES_8, JOB, limits.label_name_bytes),
    F(BYTES_8, JOB, limits.label_value_bytes),
    HTTP_FIELDS(JOB, http),
    S(JOB, params, param_table),
    S(JOB, statics, static_table),
    S(JOB, files, file_table),
    S(JOB, https, http_table),
    S(JOB, dns, dns_table),
    S(JOB, relabel, relabel_table),
    S(JOB, metric_relabel, relabel_table),
    F(BYTES_8, JOB, body),
    F(BYTES_8, JOB, body_self),
};
static const struct table job_table = TABLE(JOB, job_fields);
#undef JOB

/* A field's memory inside its struct. */
static void *at(void *base, const struct field *field) {
    return (char *)base + field->offset;
}

static void *copy_items(struct hk_arena *arena, const struct list *list, size_t bytes) {
    void *copy = hk_arena_alloc_raw(arena, list->count, bytes);
    if (copy != NULL && list->count > 0) memcpy(copy, list->items, list->count * bytes);
    return copy;
}

static hk_err copy_text(struct hk_arena *arena, struct hk_str *text) {
    if (text->ptr == NULL) return HK_OK; /* "not given" stays so */
    *text = hk_arena_str(arena, *text);
    return text->ptr == NULL ? HK_E_NOMEM : HK_OK;
}

static hk_err copy_texts(struct hk_arena *arena, struct list *list) {
    struct hk_str *items = copy_items(arena, list, sizeof(*items));
    if (items == NULL) return HK_E_NOMEM;
    list->items = items;
    for (uint32_t i = 0; i < list->count; i++)
        HK_TRY(copy_text(arena, &items[i]));
    return HK_OK;
}

static hk_err copy_labels(struct hk_arena *arena, struct hk_labels *labels) {
    struct list list = { labels->items, labels->count };
    struct hk_label *items = copy_items(arena, &list, sizeof(*items));
    if (items == NULL) return HK_E_NOMEM;
    for (uint32_t i = 0; i < labels->count; i++) {
        HK_TRY(copy_text(arena, &items[i].name));
        HK_TRY(copy_text(arena, &items[i].value));
    }
    labels->items = items;
    return HK_OK;
}

/* Replaces what the fields point to by copies; lists of structs are left to copy_struct. */
static hk_err copy_flat(struct hk_arena *arena, const struct table *table, void *base) {
    for (size_t i = 0; i < table->count; i++) {
        const struct field *field = &table->fields[i];
        if (field->type == TEXT) HK_TRY(copy_text(arena, at(base, field)));
        if (field->type == TEXTS) HK_TRY(copy_texts(arena, at(base, field)));
        if (field->type == LABELS) HK_TRY(copy_labels(arena, at(base, field)));
        if (field->type == INTS) {
            struct list *list = at(base, field);
            list->items = copy_items(arena, list, sizeof(int32_t));
            if (list->items == NULL) return HK_E_NOMEM;
        }
    }
    return HK_OK;
}

static hk_err copy_struct(struct hk_arena *arena, const struct table *table, void *base) {
    HK_TRY(copy_flat(arena, table, base));
    for (size_t i = 0; i < table->count; i++) {
        const struct field *field = &table->fields[i];
        if (field->type != STRUCTS) continue;
        struct list *list = at(base, field);
        char *items = copy_items(arena, list, field->elements->bytes);
        if (items == NULL) return HK_E_NOMEM;
        list->items = items;
        for (uint32_t k = 0; k < list->count; k++)
            HK_TRY(copy_flat(arena, field->elements, items + k * field->elements->bytes));
    }
    return HK_OK;
}

static void key_text(struct hk_buf *out, struct hk_str text) {
    uint64_t len = text.ptr == NULL ? UINT64_MAX : text.len;
    hk_buf_bytes(out, &len, sizeof(len));
    hk_buf_str(out, text);
}

static void key_labels(struct hk_buf *out, const struct hk_labels *labels) {
    hk_buf_bytes(out, &labels->count, sizeof(labels->count));
    for (uint32_t i = 0; i < labels->count; i++) {
        key_text(out, labels->items[i].name);
        key_text(out, labels->items[i].value);
    }
}

static void key_flat(struct hk_buf *out, const struct table *table, const void *base) {
    for (size_t i = 0; i < table->count; i++) {
        const struct field *field = &table->fields[i];
        const void *from = (const char *)base + field->offset;
        const struct list *list = from;
        switch (field->type) {
        case TEXT:
            key_text(out, *(const struct hk_str *)from);
            break;
        case BYTES_1:
            hk_buf_bytes(out, from, 1);
            break;
        case BYTES_4:
            hk_buf_bytes(out, from, 4);
            break;
        case BYTES_8:
            hk_buf_bytes(out, from, 8);
            break;
        case LABELS:
            key_labels(out, from);
            break;
        case TEXTS:
            hk_buf_bytes(out, &list->count, sizeof(list->count));
            for (uint32_t k = 0; k < list->count; k++)
                key_text(out, ((const struct hk_str *)list->items)[k]);
            break;
        case INTS:
            hk_buf_bytes(out, &list->count, sizeof(list->count));
            hk_buf_bytes(out, list->items, list->count * sizeof(int32_t));
            break;
        case STRUCTS:
        default:
            break; /* key_struct */
        }
    }
}

static void key_struct(struct hk_buf *out, const struct table *table, const void *base) {
    key_flat(out, table, base);
    for (size_t i = 0; i < table->count; i++) {
        const struct field *field = &table->fields[i];
        if (field->type != STRUCTS) continue;
        const struct list *list = (const void *)((const char *)base + field->offset);
        hk_buf_bytes(out, &list->count, sizeof(list->count));
        for (uint32_t k = 0; k < list->count; k++)
            key_flat(out, field->elements, (const char *)list->items + k * field->elements->bytes);
    }
}

void hk_scrape_key_file_sd(const struct hk_scrape_file_sd *config, struct hk_buf *out) {
    key_flat(out, &file_table, config);
}

void hk_scrape_key_http_sd(const struct hk_scrape_http_sd *config, struct hk_buf *out) {
    key_flat(out, &http_table, config);
}

void hk_scrape_key_dns_sd(const struct hk_scrape_dns_sd *config, struct hk_buf *out) {
    key_flat(out, &dns_table, config);
}

hk_err hk_scrape_copy_file_sd(struct hk_scrape_file_sd *config, struct hk_arena *arena) {
    return copy_flat(arena, &file_table, config);
}

hk_err hk_scrape_copy_http_sd(struct hk_scrape_http_sd *config, struct hk_arena *arena) {
    return copy_flat(arena, &http_table, config);
}

hk_err hk_scrape_copy_dns_sd(struct hk_scrape_dns_sd *config, struct hk_arena *arena) {
    return copy_flat(arena, &dns_table, config);
}

static void fill_defaults(struct hk_scrape_job_config *config) {
    if (config->scheme.len == 0)
        config->scheme = config->body != NULL ? HK_STR("internal") : HK_STR("http");
    if (config->metrics_path.len == 0) config->metrics_path = HK_STR("/metrics");
    if (config->interval_ms == 0) config->interval_ms = 60000;
    if (config->timeout_ms == 0)
        config->timeout_ms = config->interval_ms < 10000 ? config->interval_ms : 10000;
}

static hk_err check_job(const struct hk_scrape_job_config *config) {
    if (config->name.len == 0) return hk_fail(HK_E_INVALID, "a scrape job has no name");
    if (!hk_utf8_valid(config->name) || config->name.len > HK_LABEL_NAME_BYTES_MAX) {
        return hk_fail(HK_E_INVALID, "the name of a scrape job is too long or not UTF-8");
    }
    bool known = hk_str_is(config->scheme, "http") || hk_str_is(config->scheme, "https") ||
                 config->body != NULL;
    if (!known) {
        return hk_fail(
            HK_E_INVALID, "scheme \"%.*s\" is neither http nor https", HK_STR_ARG(config->scheme));
    }
    if (config->interval_ms < HK_SCRAPE_INTERVAL_MS_MIN) {
        return hk_fail(HK_E_INVALID, "scrape interval below %d ms", HK_SCRAPE_INTERVAL_MS_MIN);
    }
    if (config->timeout_ms < 0) return hk_fail(HK_E_INVALID, "scrape timeout below 0");
    if (config->timeout_ms > config->interval_ms) {
        return hk_fail(
            HK_E_INVALID,
            "scrape timeout (%lld ms) greater than scrape interval (%lld ms): lower the timeout",
            (long long)config->timeout_ms, (long long)config->interval_ms);
    }
    if (config->http.headers.count % 2 != 0) return hk_fail(HK_E_INVALID, "header without value");
    return HK_OK;
}

static const struct {
    enum hk_scrape_protocol protocol;
    const char *media_type;
} protocols[] = {
    { HK_SCRAPE_PROTO_PROTOBUF,
      "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;"
      "encoding=delimited" },
    { HK_SCRAPE_PROTO_OPENMETRICS_100,
      "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8" },
    { HK_SCRAPE_PROTO_OPENMETRICS_001, "application/openmetrics-text;version=0.0.1" },
    { HK_SCRAPE_PROTO_TEXT_100, "text/plain;version=1.0.0;escaping=allow-utf-8" },
    { HK_SCRAPE_PROTO_TEXT_004, "text/plain;version=0.0.4" },
};

static void put_accept(struct hk_buf *out, int32_t protocol, unsigned *weight) {
    for (size_t i = 0; i < HK_COUNT(protocols); i++) {
        if ((int32_t)protocols[i].protocol != protocol || *weight <= 1) continue;
        hk_buf_printf(out, "%s;q=0.%u,", protocols[i].media_type, (*weight)--);
    }
}

/* Media types from the best to the worst, weights from 0.6 down, then whatever there is. */
static hk_err build_accept(struct hk_scrape_job *job) {
    const struct hk_scrape_job_config *config = &job->config;
    unsigned weight = HK_COUNT(protocols) + 1;
    struct hk_buf out;
    hk_buf_init(&out, 4096);
    for (uint32_t i = 0; i < config->protocol_count; i++)
        put_accept(&out, config->protocols[i], &weight);
    for (size_t i = 0; i < HK_COUNT(protocols) && config->protocol_count == 0; i++) {
        if (protocols[i].protocol != HK_SCRAPE_PROTO_PROTOBUF || config->scrape_native)
            put_accept(&out, (int32_t)protocols[i].protocol, &weight);
    }
    hk_buf_printf(&out, "*/*;q=0.%u", weight);
    job->accept = hk_arena_str(&job->arena, hk_buf_get(&out));
    hk_err err = out.err < 0 ? out.err : job->accept.ptr == NULL ? HK_E_NOMEM : HK_OK;
    hk_buf_deinit(&out);
    return err;
}

static hk_err build_key(struct hk_scrape_job *job) {
    struct hk_buf out;
    hk_buf_init(&out, 256 << 20);
    key_struct(&out, &job_table, &job->config);
    job->key = hk_arena_str(&job->arena, hk_buf_get(&out));
    hk_err err = out.err < 0 ? out.err : job->key.ptr == NULL ? HK_E_NOMEM : HK_OK;
    hk_buf_deinit(&out);
    return err;
}

static hk_err build_job(struct hk_scrape_job *job, const struct hk_scrape_job_config *config) {
    job->config = *config;
    fill_defaults(&job->config);
    HK_TRY(check_job(&job->config));
    HK_TRY(copy_struct(&job->arena, &job_table, &job->config));
    HK_TRY(build_key(job));
    HK_TRY(build_accept(job));
    config = &job->config;
    hk_err err = hk_relabel_create(config->relabel.items, config->relabel.count, &job->relabel);
    if (err < 0) return hk_fail_note(err, "relabel_configs");
    if (config->metric_relabel.count == 0) return HK_OK;
    err = hk_relabel_create(
        config->metric_relabel.items, config->metric_relabel.count, &job->metric_relabel);
    return err < 0 ? hk_fail_note(err, "metric_relabel_configs") : HK_OK;
}

hk_err hk_scrape_job_create(const struct hk_scrape_job_config *config, struct hk_scrape_job **out) {
    struct hk_scrape_job *job = hk_mem_alloc(1, sizeof(*job));
    if (job == NULL) return HK_E_NOMEM;
    atomic_init(&job->references, 1);
    hk_arena_init(&job->arena, 512 << 20);
    hk_err err = build_job(job, config);
    if (err < 0) {
        hk_scrape_job_unref(job);
        return hk_fail_note(err, "scrape job \"%.*s\"", HK_STR_ARG(config->name));
    }
    *out = job;
    return HK_OK;
}

struct hk_scrape_job *hk_scrape_job_ref(struct hk_scrape_job *job) {
    atomic_fetch_add_explicit(&job->references, 1, memory_order_relaxed);
    return job;
}

void hk_scrape_job_unref(struct hk_scrape_job *job) {
    /* Release our uses, acquire those of the others before freeing. */
    if (job == NULL || atomic_fetch_sub_explicit(&job->references, 1, memory_order_acq_rel) != 1) {
        return;
    }
    for (uint32_t i = 0; i < job->provider_count; i++)
        hk_discovery_release(job->providers[i]);
    hk_mem_free(job->providers);
    hk_relabel_destroy(job->relabel);
    hk_relabel_destroy(job->metric_relabel);
    hk_arena_deinit(&job->arena);
    hk_mem_free(job);
}
