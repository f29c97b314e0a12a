/*
 * Target groups as YAML: a list of mappings with the keys "targets" and "labels". libyaml gives
 * events; the fixed shape makes a state machine without a stack. Anchors and aliases are refused.
 */
#include "ingest/discovery_internal.h"

#include <yaml.h>

enum state {
    BEFORE,     /* no document yet */
    DOCUMENT,   /* expects the list */
    GROUPS,     /* in the list: a group or its end */
    GROUP,      /* in a group: a key or its end */
    TARGETS,    /* behind "targets": a list or null */
    TARGET,     /* in the list of targets */
    LABELS,     /* behind "labels": a mapping or null */
    LABEL_NAME, /* in the mapping */
    LABEL_VALUE,
    AFTER, /* the list has ended */
};

struct reader {
    enum state state;
    struct hk_buf name; /* of the label whose value comes next */
    struct hk_str meta_name, meta_value;
    struct hk_discovery_finding *finding;
    struct hk_discovery_draft *draft;
};

static hk_err broken(const yaml_event_t *event, const char *wanted) {
    return hk_fail(
        HK_E_MALFORMED, "YAML, line %zu, column %zu: %s", event->start_mark.line + 1,
        event->start_mark.column + 1, wanted);
}

static struct hk_str scalar_text(const yaml_event_t *event) {
    return (struct hk_str){ (const char *)event->data.scalar.value, event->data.scalar.length };
}

/* A plain scalar that YAML reads as null. */
static bool is_null(const yaml_event_t *event) {
    struct hk_str text = scalar_text(event);
    return event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
           (text.len == 0 || hk_str_is(text, "~") || hk_str_eq_nocase(text, HK_STR("null")));
}

static hk_err on_key(struct reader *reader, const yaml_event_t *event) {
    struct hk_str key = scalar_text(event);
    if (hk_str_is(key, "targets")) {
        reader->state = TARGETS;
    } else if (hk_str_is(key, "labels")) {
        reader->state = LABELS;
    } else {
        return broken(event, "unknown key: a target group has \"targets\" and \"labels\"");
    }
    return HK_OK;
}

static hk_err on_scalar(struct reader *reader, const yaml_event_t *event) {
    if (reader->state == DOCUMENT && is_null(event)) {
        reader->state = AFTER; /* an empty document */
        return HK_OK;
    }
    if (reader->state == GROUP) return on_key(reader, event);
    if ((reader->state == TARGETS || reader->state == LABELS) && is_null(event)) {
        reader->state = GROUP;
        return HK_OK;
    }
    if (reader->state == TARGET)
        return hk_discovery_add_target(reader->finding, reader->draft, scalar_text(event));
    if (reader->state == LABEL_NAME) {
        hk_buf_clear(&reader->name);
        hk_buf_str(&reader->name, scalar_text(event));
        reader->state = LABEL_VALUE;
        return reader->name.err;
    }
    if (reader->state == LABEL_VALUE) {
        reader->state = LABEL_NAME;
        struct hk_str value = is_null(event) ? HK_STR("") : scalar_text(event);
        return hk_discovery_add_label(
            reader->finding, reader->draft, hk_buf_get(&reader->name), value);
    }
    return broken(event, "a scalar does not belong here");
}

static hk_err on_sequence(struct reader *reader, const yaml_event_t *event, bool start) {
    if (start && reader->state == DOCUMENT)
        reader->state = GROUPS;
    else if (start && reader->state == TARGETS)
        reader->state = TARGET;
    else if (!start && reader->state == TARGET)
        reader->state = GROUP;
    else if (!start && reader->state == GROUPS)
        reader->state = AFTER;
    else
        return broken(event, "a list does not belong here");
    return HK_OK;
}

static hk_err end_group(struct reader *reader) {
    reader->state = GROUPS;
    HK_TRY(hk_discovery_add_label(
        reader->finding, reader->draft, reader->meta_name, reader->meta_value));
    return hk_discovery_end_group(reader->finding, reader->draft);
}

static hk_err on_mapping(struct reader *reader, const yaml_event_t *event, bool start) {
    if (start && reader->state == GROUPS)
        reader->state = GROUP;
    else if (start && reader->state == LABELS)
        reader->state = LABEL_NAME;
    else if (!start && reader->state == LABEL_NAME)
        reader->state = GROUP;
    else if (!start && reader->state == GROUP)
        return end_group(reader);
    else
        return broken(event, "a mapping does not belong here: expected a list of target groups");
    return HK_OK;
}

/* HK_END at the end of the stream. */
static hk_err on_event(struct reader *reader, const yaml_event_t *event) {
    switch (event->type) {
    case YAML_STREAM_END_EVENT:
        return HK_END;
    case YAML_DOCUMENT_START_EVENT:
        if (reader->state != BEFORE) return broken(event, "more than one document");
        reader->state = DOCUMENT;
        return HK_OK;
    case YAML_SCALAR_EVENT:
        return on_scalar(reader, event);
    case YAML_SEQUENCE_START_EVENT:
    case YAML_SEQUENCE_END_EVENT:
        return on_sequence(reader, event, event->type == YAML_SEQUENCE_START_EVENT);
    case YAML_MAPPING_START_EVENT:
    case YAML_MAPPING_END_EVENT:
        return on_mapping(reader, event, event->type == YAML_MAPPING_START_EVENT);
    case YAML_ALIAS_EVENT:
        return broken(event, "aliases are not supported in target files");
    case YAML_NO_EVENT:
    case YAML_STREAM_START_EVENT:
    case YAML_DOCUMENT_END_EVENT:
    default:
        return HK_OK;
    }
}

static hk_err read_all(struct reader *reader, yaml_parser_t *parser) {
    for (;;) {
        yaml_event_t event;
        if (yaml_parser_parse(parser, &event) == 0) {
            if (parser->error == YAML_MEMORY_ERROR) return HK_E_NOMEM;
            return hk_fail(
                HK_E_MALFORMED, "YAML, line %zu, column %zu: %s", parser->problem_mark.line + 1,
                parser->problem_mark.column + 1,
                parser->problem == NULL ? "not readable" : parser->problem);
        }
        hk_err err = on_event(reader, &event);
        yaml_event_delete(&event);
        if (err != HK_OK) return err == HK_END ? HK_OK : err;
    }
}

hk_err hk_discovery_parse_yaml(
    struct hk_str text, struct hk_str meta_name, struct hk_str meta_value,
    struct hk_discovery_finding *out) {
    struct hk_discovery_draft draft;
    struct reader reader = {
        .meta_name = meta_name, .meta_value = meta_value, .finding = out, .draft = &draft
    };
    yaml_parser_t parser;
    if (yaml_parser_initialize(&parser) == 0) return HK_E_NOMEM;
    yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&parser, (const unsigned char *)text.ptr, text.len);
    hk_discovery_draft_init(&draft);
    hk_buf_init(&reader.name, HK_DISCOVERY_BYTES_MAX);
    hk_err err = read_all(&reader, &parser);
    hk_buf_deinit(&reader.name);
    hk_discovery_draft_deinit(&draft);
    yaml_parser_delete(&parser);
    return err;
}
