/*
 * Labels of an OTLP series, built once per series: the point's attributes (joined with ';' where
 * two get one name), promoted resource attributes and scope, job and instance, then the metric's
 * name and what tells the entries of one point apart (le, quantile). Later ones win.
 */
#include "ingest/otlp_internal.h"

struct builder {
    const struct hk_otlp_options *options;
    const struct hk_otlp_context *context;
    struct hk_arena *arena;
    struct hk_label_set *out;
};

/* Attributes of one message, sorted by key. */
struct attributes {
    struct hk_label items[HK_LABELS_MAX];
    uint32_t count;
};

/* Adds all fields of `message` with this tag (0: all fields of wire type bytes), key and text. */
static hk_err read_attributes(
    const struct builder *builder, struct hk_str message, uint32_t tag, struct attributes *out) {
    struct hk_proto reader = hk_proto_from(message.ptr, message.len);
    struct hk_proto_field field = { 0 };
    hk_err err = HK_OK;
    out->count = 0;
    while ((err = hk_proto_next(&reader, &field)) == HK_OK) {
        if (tag == 0 ? (field.tag & 7) != HK_PROTO_BYTES : field.tag != tag) continue;
        if (out->count == HK_LABELS_MAX) {
            return hk_fail(HK_E_LIMIT, "otlp: more than %d attributes", HK_LABELS_MAX);
        }
        struct hk_label pair;
        if (hk_otlp_key_value(hk_proto_str(&field), &pair) < 0) break;
        HK_TRY(hk_otlp_value_text(pair.value, builder->arena, &pair.value));
        uint32_t at = out->count++;
        for (; at > 0 && hk_str_cmp(out->items[at - 1].name, pair.name) > 0; at--)
            out->items[at] = out->items[at - 1];
        out->items[at] = pair;
    }
    return err == HK_END ? HK_OK : hk_fail(HK_E_MALFORMED, "otlp: broken attributes");
}

/* Puts a label, joined behind the value that the name has already. */
static hk_err put_joined(const struct builder *builder, struct hk_str name, struct hk_str value) {
    const struct hk_str old = hk_label_set_get(builder->out, name);
    if (old.len > 0) {
        value = hk_arena_printf(builder->arena, "%.*s;%.*s", HK_STR_ARG(old), HK_STR_ARG(value));
        if (value.ptr == NULL) return hk_fail(HK_E_NOMEM, "otlp: out of memory");
    }
    hk_label_set_put(builder->out, name, value);
    return HK_OK;
}

static hk_err label_name(const struct builder *builder, struct hk_str *name) {
    return hk_otlp_label_name(builder->options->naming, *name, builder->arena, name);
}

static bool is_identifying(struct hk_str key) {
    return hk_str_is(key, "service.name") || hk_str_is(key, "service.namespace") ||
           hk_str_is(key, "service.instance.id");
}

static bool is_listed(const struct hk_otlp_options *options, struct hk_str key) {
    for (uint32_t i = 0; i < options->promote_count; i++) {
        if (hk_str_eq(options->promote[i], key)) return true;
    }
    return false;
}

/* Resource attributes that go on every series, where the point has no label of that name. */
static hk_err put_promoted(const struct builder *builder, const struct attributes *resource) {
    const struct hk_otlp_options *options = builder->options;
    if (!options->promote_all_resource && options->promote_count == 0) return HK_OK;
    for (uint32_t i = 0; i < resource->count; i++) {
        struct hk_label pair = resource->items[i];
        if (is_listed(options, pair.name) == options->promote_all_resource) continue;
        HK_TRY(label_name(builder, &pair.name));
        if (hk_label_set_get(builder->out, pair.name).len > 0) continue;
        hk_label_set_put(builder->out, pair.name, pair.value);
    }
    return HK_OK;
}

/* otel_scope_name, …_version, …_schema_url and the scope's attributes. */
static hk_err put_scope(const struct builder *builder) {
    const struct hk_str scope = builder->context->scope;
    struct hk_proto reader = hk_proto_from(scope.ptr, scope.len);
    struct hk_proto_field field = { 0 };
    struct hk_str name = { "", 0 }, version = { "", 0 };
    hk_err err = HK_OK;
    while ((err = hk_proto_next(&reader, &field)) == HK_OK) {
        if (field.tag == SCOPE_NAME) name = hk_proto_str(&field);
        if (field.tag == SCOPE_VERSION) version = hk_proto_str(&field);
        if (field.tag != SCOPE_ATTRIBUTE) continue;
        struct hk_label pair;
        HK_TRY(hk_otlp_key_value(hk_proto_str(&field), &pair));
        HK_TRY(hk_otlp_value_text(pair.value, builder->arena, &pair.value));
        pair.name = hk_arena_printf(builder->arena, "otel_scope_%.*s", HK_STR_ARG(pair.name));
        if (pair.name.ptr == NULL) return hk_fail(HK_E_NOMEM, "otlp: out of memory");
        HK_TRY(label_name(builder, &pair.name));
        hk_label_set_put(builder->out, pair.name, pair.value);
    }
    if (err < 0) return hk_fail(HK_E_MALFORMED, "otlp: broken scope");
    hk_label_set_put(builder->out, HK_STR("otel_scope_name"), name);
    hk_label_set_put(builder->out, HK_STR("otel_scope_version"), version);
    hk_label_set_put(
        builder->out, HK_STR("otel_scope_schema_url"), builder->context->scope_schema_url);
    return HK_OK;
}

static struct hk_str attribute(const struct attributes *attributes, const char *key) {
    for (uint32_t i = 0; i < attributes->count; i++) {
        if (hk_str_is(attributes->items[i].name, key)) return attributes->items[i].value;
    }
    return (struct hk_str){ "", 0 };
}

/* job and instance from the service's attributes. */
static hk_err put_target(const struct builder *builder, const struct attributes *resource) {
    const struct hk_str name = attribute(resource, "service.name");
    const struct hk_str space = attribute(resource, "service.namespace");
    const struct hk_str instance = attribute(resource, "service.instance.id");
    if (name.len > 0) {
        struct hk_str job = name;
        if (space.len > 0) {
            job = hk_arena_printf(builder->arena, "%.*s/%.*s", HK_STR_ARG(space), HK_STR_ARG(name));
            if (job.ptr == NULL) return hk_fail(HK_E_NOMEM, "otlp: out of memory");
        }
        hk_label_set_put(builder->out, HK_STR("job"), job);
    }
    if (instance.len > 0) hk_label_set_put(builder->out, HK_STR("instance"), instance);
    return HK_OK;
}

/* Text of a bucket's bound or a quantile. */
static hk_err bound_text(const struct builder *builder, uint64_t part, struct hk_str *out) {
    char text[HK_DOUBLE_BYTES_MAX];
    const size_t len = hk_format_double(hk_proto_double(part), text);
    *out = hk_arena_str(builder->arena, (struct hk_str){ text, len });
    return out->ptr == NULL ? hk_fail(HK_E_NOMEM, "otlp: out of memory") : HK_OK;
}

/* Metric name with its suffix, le or quantile. */
static hk_err put_name(const struct builder *builder, uint64_t part) {
    const struct hk_otlp_context *context = builder->context;
    struct hk_str name = { "", 0 }, bound = { "", 0 };
    HK_TRY(hk_otlp_metric_name(
        builder->options->naming, context->name, context->unit, context->type, builder->arena,
        &name));
    const char *suffix = "";
    const bool summary = context->type == HK_OTLP_SUMMARY;
    if (summary || context->type == HK_OTLP_HISTOGRAM) {
        if (part == HK_OTLP_PART_SUM) {
            suffix = "_sum";
        } else if (part == HK_OTLP_PART_COUNT) {
            suffix = "_count";
        } else {
            suffix = summary ? "" : "_bucket";
            HK_TRY(bound_text(builder, part, &bound));
            hk_label_set_put(builder->out, summary ? HK_STR("quantile") : HK_STR("le"), bound);
        }
    }
    if (suffix[0] != 0) {
        name = hk_arena_printf(builder->arena, "%.*s%s", HK_STR_ARG(name), suffix);
        if (name.ptr == NULL) return hk_fail(HK_E_NOMEM, "otlp: out of memory");
    }
    hk_label_set_put(builder->out, HK_STR("__name__"), name);
    return HK_OK;
}

static hk_err put_attributes(
    const struct builder *builder, const struct attributes *attributes, bool skip_identifying) {
    for (uint32_t i = 0; i < attributes->count; i++) {
        struct hk_label pair = attributes->items[i];
        if (skip_identifying && is_identifying(pair.name)) continue;
        HK_TRY(label_name(builder, &pair.name));
        HK_TRY(put_joined(builder, pair.name, pair.value));
    }
    return HK_OK;
}

hk_err hk_otlp_labels(
    void *state, struct hk_batch *batch, const struct hk_entry *entry, struct hk_label_set *out) {
    const struct hk_otlp *otlp = state;
    const struct hk_otlp_context *context = entry->context->data;
    const struct builder builder = { otlp->options, context, batch->arena, out };
    struct attributes attributes;
    if (context->type == HK_OTLP_TARGET_INFO) {
        HK_TRY(read_attributes(&builder, context->resource, RESOURCE_ATTRIBUTE, &attributes));
        HK_TRY(put_attributes(&builder, &attributes, !otlp->options->keep_identifying));
        HK_TRY(put_target(&builder, &attributes));
        hk_label_set_put(out, HK_STR("__name__"), HK_STR("target_info"));
        return out->err;
    }
    const struct hk_str key = { entry->key, entry->key_bytes };
    HK_TRY(read_attributes(&builder, key, 0, &attributes));
    HK_TRY(put_attributes(&builder, &attributes, false));
    HK_TRY(read_attributes(&builder, context->resource, RESOURCE_ATTRIBUTE, &attributes));
    HK_TRY(put_promoted(&builder, &attributes));
    if (otlp->options->promote_scope) HK_TRY(put_scope(&builder));
    HK_TRY(put_target(&builder, &attributes));
    HK_TRY(put_name(&builder, entry->part));
    return out->err;
}
