/* JSON Schema (draft 2020-12) from the option tables. */
#include "conf/help.h"
#include "conf/table.h"

static void put_text(struct hk_buf *out, const char *text) {
    hk_buf_json(out, hk_str_from(text));
}

/* Values may be given by ${…}: each typed value has that as its alternative. */
static void open_typed(struct hk_buf *out) {
    hk_buf_text(out, "\"anyOf\":[{");
}

static void close_typed(struct hk_buf *out) {
    hk_buf_text(out, "},{\"$ref\":\"#/$defs/substitution\"}]");
}

static void put_choices(struct hk_buf *out, const struct hk_option *option) {
    hk_buf_text(out, "\"enum\":[");
    for (size_t i = 0; option->choices[i] != NULL; i++) {
        if (i > 0) hk_buf_char(out, ',');
        put_text(out, option->choices[i]);
    }
    hk_buf_char(out, ']');
}

static void put_number(struct hk_buf *out, const struct hk_option *option, const char *type) {
    open_typed(out);
    hk_buf_printf(out, "\"type\":\"%s\"", type);
    if (option->min < option->max) {
        hk_buf_printf(out, ",\"minimum\":%lld", (long long)option->min);
        if (option->max < INT64_MAX) {
            hk_buf_printf(out, ",\"maximum\":%lld", (long long)option->max);
        }
    }
    close_typed(out);
}

static void put_type(struct hk_buf *out, const struct hk_option *option) {
    static const char text[] = "{\"type\":[\"string\",\"number\",\"boolean\"]}";
    /* A flat switch over the types. */
    switch (option->type) {
    case HK_OPTION_BOOL:
        hk_buf_text(out, "\"anyOf\":[{\"type\":\"boolean\"},{\"$ref\":\"#/$defs/substitution\"}]");
        return;
    case HK_OPTION_INT:
        put_number(out, option, "integer");
        return;
    case HK_OPTION_DOUBLE:
        put_number(out, option, "number");
        return;
    case HK_OPTION_DURATION:
        hk_buf_text(
            out, "\"anyOf\":[{\"$ref\":\"#/$defs/duration\"},"
                 "{\"$ref\":\"#/$defs/substitution\"}]");
        return;
    case HK_OPTION_SIZE:
        hk_buf_text(
            out, "\"anyOf\":[{\"$ref\":\"#/$defs/size\"},"
                 "{\"$ref\":\"#/$defs/substitution\"}]");
        return;
    case HK_OPTION_ENUM:
        open_typed(out);
        put_choices(out, option);
        close_typed(out);
        return;
    case HK_OPTION_ENUMS:
        hk_buf_text(out, "\"type\":[\"array\",\"null\"],\"items\":{");
        put_choices(out, option);
        hk_buf_char(out, '}');
        return;
    case HK_OPTION_STRING:
    case HK_OPTION_SECRET:
    case HK_OPTION_FILE:
    case HK_OPTION_URL:
        hk_buf_text(out, "\"type\":[\"string\",\"number\",\"boolean\",\"null\"]");
        return;
    case HK_OPTION_STRINGS:
    case HK_OPTION_SECRETS:
    case HK_OPTION_FILES:
        hk_buf_printf(out, "\"type\":[\"array\",\"null\"],\"items\":%s", text);
        return;
    case HK_OPTION_LABELS:
    case HK_OPTION_MAP:
        hk_buf_printf(out, "\"type\":[\"object\",\"null\"],\"additionalProperties\":%s", text);
        return;
    case HK_OPTION_PARAMS:
        hk_buf_printf(
            out,
            "\"type\":[\"object\",\"null\"],\"additionalProperties\":{\"type\":\"array\","
            "\"items\":%s}",
            text);
        return;
    case HK_OPTION_STRUCT:
    case HK_OPTION_OPTIONAL:
        hk_buf_printf(
            out, "\"anyOf\":[{\"$ref\":\"#/$defs/%s\"},{\"type\":\"null\"}]", option->table->name);
        return;
    case HK_OPTION_STRUCTS:
        hk_buf_printf(
            out, "\"type\":[\"array\",\"null\"],\"items\":{\"$ref\":\"#/$defs/%s\"}",
            option->table->name);
        return;
    case HK_OPTION_NAMED:
        hk_buf_printf(
            out,
            "\"type\":[\"object\",\"null\"],\"additionalProperties\":{\"$ref\":\"#/$defs/%s\"}",
            option->table->name);
        return;
    case HK_OPTION_INLINE:
    case HK_OPTION_ANY:
    default:
        return;
    }
}

static void put_property(struct hk_buf *out, const struct hk_option *option, bool first) {
    hk_buf_text(out, first ? "\n" : ",\n");
    put_text(out, option->key);
    hk_buf_text(out, ":{\"description\":");
    if (option->status == HK_OPTION_LATER) {
        struct hk_buf help;
        hk_buf_init(&help, 4096);
        hk_buf_printf(&help, "%s. Not acted on yet: %s.", option->help, option->consequence);
        hk_buf_json(out, hk_buf_get(&help));
        if (help.err < 0) out->err = help.err;
        hk_buf_deinit(&help);
    } else {
        put_text(out, option->help);
    }
    if (option->fallback != NULL && option->type != HK_OPTION_ENUMS &&
        option->fallback_text == NULL && option->fallback[0] != 0) {
        bool bare = option->type == HK_OPTION_BOOL || option->type == HK_OPTION_INT ||
                    option->type == HK_OPTION_DOUBLE;
        hk_buf_text(out, ",\"default\":");
        if (bare) hk_buf_text(out, option->fallback);
        if (!bare) put_text(out, option->fallback);
    }
    if (option->type != HK_OPTION_ANY) hk_buf_char(out, ',');
    put_type(out, option);
    hk_buf_char(out, '}');
}

static void put_table(struct hk_buf *out, const struct hk_option_table *table) {
    const struct hk_option_table *tables[8] = { table };
    size_t table_count = 1;
    hk_buf_text(out, ",\n");
    put_text(out, table->name);
    hk_buf_text(out, ":{\"description\":");
    put_text(out, table->summary);
    hk_buf_text(out, ",\"type\":\"object\",\"additionalProperties\":false,\"properties\":{");
    bool first = true;
    for (size_t t = 0; t < table_count; t++) {
        for (size_t i = 0; i < tables[t]->count; i++) {
            const struct hk_option *option = &tables[t]->options[i];
            if (option->type == HK_OPTION_INLINE && table_count < HK_COUNT(tables)) {
                tables[table_count++] = option->table;
                continue;
            }
            put_property(out, option, first);
            first = false;
        }
    }
    hk_buf_text(out, "},\"required\":[");
    first = true;
    for (size_t i = 0; i < table->count; i++) {
        if ((table->options[i].flags & HK_OPTION_REQUIRED) == 0) continue;
        if (!first) hk_buf_char(out, ',');
        put_text(out, table->options[i].key);
        first = false;
    }
    hk_buf_text(out, "]}");
}

void hk_conf_schema(struct hk_buf *out, bool rules) {
    const struct hk_option_table *root = rules ? &hk_table_rule_file : &hk_table_config;
    const struct hk_option_table *tables[HK_OPTION_TABLES_MAX];
    size_t count = hk_option_tables(root, tables, HK_OPTION_TABLES_MAX);
    hk_buf_printf(
        out,
        "{\"$schema\":\"https://json-schema.org/draft/2020-12/schema\",\n"
        "\"title\":\"hark %s\",\n\"anyOf\":[{\"$ref\":\"#/$defs/%s\"},{\"type\":\"null\"}],\n"
        "\"$defs\":{\n"
        "\"substitution\":{\"type\":\"string\",\"pattern\":\"\\\\$\\\\{\"},\n"
        "\"duration\":{\"anyOf\":[{\"type\":\"string\",\"pattern\":"
        "\"^(0|([0-9]+y)?([0-9]+w)?([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?)$\"},"
        "{\"const\":0}]},\n"
        "\"size\":{\"anyOf\":[{\"type\":\"string\",\"pattern\":"
        "\"^[0-9]+(\\\\.[0-9]+)?([KMGTPEkmgtpe]i?)?[Bb]?$\"},{\"type\":\"integer\",\"minimum\":0}]"
        "}",
        rules ? "rules" : "configuration", root->name);
    for (size_t i = 0; i < count; i++)
        put_table(out, tables[i]);
    hk_buf_text(out, "}}\n");
}
