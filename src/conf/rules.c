/* Rule files: table, checks, loading. */
#include "conf/rules.h"

#include "base/mem.h"
#include "conf/table.h"
#include "os/env.h"

#include <stdlib.h>

enum { PATH_BYTES_MAX = 4096, GROUPS_COMPARED_MAX = 5000 };

#define T struct hk_conf_rule
static const struct hk_option rule_options[] = {
    STRING(
        "record", record, .flags = HK_OPTION_RAW,
        .help = "Name of the series that a recording rule writes"),
    STRING("alert", alert, .flags = HK_OPTION_RAW, .help = "Name of the alert"),
    STRING(
        "expr", expr, .flags = HK_OPTION_RAW | HK_OPTION_REQUIRED,
        .help = "PromQL expression; an alert is true for each series that it gives"),
    DURATION(
        "for", for_ms, .flags = HK_OPTION_RAW, .fallback = "0s",
        .help = "The alert fires when it was true for so long"),
    DURATION(
        "keep_firing_for", keep_firing_for_ms, .flags = HK_OPTION_RAW, .fallback = "0s",
        .help = "The alert stays for so long after it was last true"),
    LABELS(
        "labels", labels, .flags = HK_OPTION_RAW,
        .help = "Labels to add or replace; templates in alerts"),
    LABELS("annotations", annotations, .flags = HK_OPTION_RAW, .help = "Texts; templates"),
};
static const struct hk_option_table rule_table = {
    .name = "rule",
    .summary = "A recording rule or an alerting rule. No ${…} substitution in rule files.",
    ROWS(rule_options),
    .bytes = sizeof(T),
    .check = hk_check_rule,
};
#undef T

#define T struct hk_conf_rule_group
static const struct hk_option group_options[] = {
    STRING(
        "name", name, .flags = HK_OPTION_RAW | HK_OPTION_REQUIRED,
        .help = "Name of the group; unique in its file"),
    DURATION(
        "interval", interval_ms, .flags = HK_OPTION_RAW,
        .fallback_text = "global.evaluation_interval", RANGE(0, INT64_MAX),
        .help = "How often recording rules of the group are written"),
    DURATION(
        "query_offset", query_offset_ms, .flags = HK_OPTION_RAW,
        .fallback_text = "global.rule_query_offset", RANGE(0, INT64_MAX),
        .help = "Evaluate the rules this far in the past"),
    INT("limit", limit, .flags = HK_OPTION_RAW, .fallback = "0", RANGE(0, INT64_MAX),
        .help = "Most alerts or series that a rule may give; 0 = no limit"),
    LABELS("labels", labels, .flags = HK_OPTION_RAW, .help = "Labels to add to each rule's"),
    STRUCTS("rules", rules, rule_table, .help = "The rules; recording rules are computed in order"),
};
static const struct hk_option_table group_table = {
    .name = "rule_group",
    .summary = "Rules that belong together.",
    ROWS(group_options),
    .bytes = sizeof(T),
    .check = hk_check_rule_group,
};
#undef T

/* What a file gives; the groups are copied into the set. */
struct rule_file {
    HK_CONF_LIST(struct hk_conf_rule_group) groups;
};

#define T struct rule_file
static const struct hk_option file_options[] = {
    STRUCTS("groups", groups, group_table, .help = "The groups"),
};
const struct hk_option_table hk_table_rule_file = {
    .name = "rule_file",
    .summary = "A file that rule_files names.",
    ROWS(file_options),
    .bytes = sizeof(T),
};
#undef T

/* --- checks ----------------------------------------------------------------------------------- */

static void text_problem(
    struct hk_conf_reader *reader, const struct hk_conf_node *node, const char *what,
    const struct hk_text_error *error) {
    uint32_t line = node->line;
    uint32_t column = node->column;
    hk_conf_text_place(node, error->offset, &line, &column);
    hk_conf_problem_add(
        reader->report, false, node->file, line, column, error->mend, "%s: %s", what, error->text);
}

static void check_expr(
    struct hk_conf_reader *reader, const struct hk_conf_node *node, struct hk_conf_rule *rule) {
    const struct hk_conf_node *expr = hk_conf_node_get(node, "expr");
    const struct hk_rule_checks *checks = reader->rule_checks;
    if (expr == NULL || expr->kind != HK_CONF_SCALAR) return;
    hk_conf_text_place(expr, 0, &rule->expr_line, &rule->expr_column);
    if (hk_str_trim(rule->expr).len == 0) {
        if (hk_conf_node_is_null(expr)) return; /* reported as missing */
        hk_conf_problem_at(reader, false, expr, NULL, "write an expression", "expr is empty");
        return;
    }
    struct hk_text_error error = { 0 };
    if (checks == NULL || checks->check_expr == NULL) return;
    if (checks->check_expr(checks->self, rule->expr, &error) >= 0) return;
    text_problem(reader, expr, "expr", &error);
}

static void
check_templates(struct hk_conf_reader *reader, const struct hk_conf_node *node, const char *key) {
    const struct hk_rule_checks *checks = reader->rule_checks;
    const struct hk_conf_node *map = hk_conf_node_get(node, key);
    if (map == NULL || map->kind != HK_CONF_MAPPING) return;
    if (checks == NULL || checks->check_template == NULL) return;
    for (uint32_t i = 0; i < map->count; i++) {
        const struct hk_conf_node *value = map->pairs[i].value;
        struct hk_text_error error = { 0 };
        if (value->kind != HK_CONF_SCALAR) continue;
        if (checks->check_template(checks->self, value->text, &error) >= 0) continue;
        text_problem(reader, value, "template", &error);
    }
}

/* __name__ is what `record` says, or the series of the alert. */
static void check_labels(struct hk_conf_reader *reader, const struct hk_conf_node *node) {
    const struct hk_conf_node *map = hk_conf_node_get(node, "labels");
    if (map == NULL || hk_conf_node_get(map, "__name__") == NULL) return;
    hk_conf_problem_at(
        reader, false, map, "__name__", "remove it; record or alert gives the name",
        "a rule cannot set the label __name__");
}

static void check_record(
    struct hk_conf_reader *reader, const struct hk_conf_node *node,
    const struct hk_conf_rule *rule) {
    static const char *const not_here[] = { "for", "keep_firing_for", "annotations" };
    for (size_t i = 0; i < HK_COUNT(not_here); i++) {
        const struct hk_conf_node *value = hk_conf_node_get(node, not_here[i]);
        if (value == NULL || hk_conf_node_is_null(value)) continue;
        hk_conf_problem_at(
            reader, false, node, not_here[i], "remove it, or write alert in place of record",
            "a recording rule has no %s", not_here[i]);
    }
    bool braces = hk_str_find(rule->record, '{', 0) < rule->record.len ||
                  hk_str_find(rule->record, '}', 0) < rule->record.len;
    if (braces) {
        hk_conf_problem_at(
            reader, false, node, "record", "give a metric name; expressions belong in expr",
            "record has braces in it");
    } else if (!hk_utf8_valid(rule->record)) {
        hk_conf_problem_at(
            reader, false, node, "record", "use UTF-8", "record is not a valid metric name");
    }
}

void hk_check_rule(struct hk_conf_reader *reader, const struct hk_conf_node *node, void *object) {
    struct hk_conf_rule *rule = object;
    if (node == NULL) return;
    rule->line = node->line;
    rule->column = node->column;
    bool record = rule->record.len > 0;
    bool alert = rule->alert.len > 0;
    if (record == alert) {
        hk_conf_problem_at(
            reader, false, node, alert ? "alert" : NULL,
            record ? "split it into two rules" : "add record: name or alert: Name",
            record ? "a rule has both record and alert" : "a rule has neither record nor alert");
    }
    if (record && !alert) check_record(reader, node, rule);
    check_expr(reader, node, rule);
    check_labels(reader, node);
    if (record) return;
    check_templates(reader, node, "labels");
    check_templates(reader, node, "annotations");
}

void hk_check_rule_group(
    struct hk_conf_reader *reader, const struct hk_conf_node *node, void *object) {
    struct hk_conf_rule_group *group = object;
    if (node == NULL) return;
    group->file = node->file->path;
    const struct hk_conf_node *name = hk_conf_node_get(node, "name");
    if (name != NULL && group->name.len == 0 && !hk_conf_node_is_null(name)) {
        hk_conf_problem_at(reader, false, node, "name", "name the group", "name is empty");
    }
    const struct hk_conf_global *global = reader->config == NULL ? NULL : &reader->config->global;
    if (group->interval_ms == 0) {
        group->interval_ms = global == NULL ? 60000 : global->evaluation_interval_ms;
    }
    const struct hk_conf_node *offset = hk_conf_node_get(node, "query_offset");
    if (offset == NULL || hk_conf_node_is_null(offset)) {
        group->query_offset_ms = global == NULL ? 0 : global->rule_query_offset_ms;
    }
    check_labels(reader, node);
}

static void check_group_names(
    struct hk_conf_reader *reader, const struct hk_conf_node *root, const struct rule_file *file) {
    const struct hk_conf_node *list = hk_conf_node_get(root, "groups");
    if (list == NULL || list->kind != HK_CONF_SEQUENCE) return;
    for (uint32_t i = 1; i < file->groups.count && i < GROUPS_COMPARED_MAX; i++) {
        struct hk_str name = file->groups.items[i].name;
        for (uint32_t k = 0; k < i && name.len > 0; k++) {
            if (!hk_str_eq(file->groups.items[k].name, name)) continue;
            hk_conf_problem_at(
                reader, false, list->items[i], "name", "give each group a name of its own",
                "two groups of this file are called \"%.*s\", the first on line %u",
                (int)(name.len < 100 ? name.len : 100), name.ptr, list->items[k]->line);
            break;
        }
    }
}

/* --- loading ---------------------------------------------------------------------------------- */

struct rules_loader {
    struct hk_rule_set *rules;
    struct hk_conf_report *report;
    struct hk_conf_reader reader;
    struct hk_conf_rule_group *groups; /* grows; copied into the arena at the end */
    size_t group_capacity;
    struct hk_str *files;
    size_t file_count, file_capacity;
    uint32_t matches; /* of the pattern at hand */
    uint32_t errors;  /* in the report before */
    hk_err err;
};

static hk_err add_file(struct rules_loader *loader, struct hk_conf_file *file) {
    struct hk_conf_reader *reader = &loader->reader;
    struct hk_rule_set *rules = loader->rules;
    struct hk_conf_node *root = NULL;
    hk_err err = hk_conf_tree_parse(file, &rules->arena, loader->report, &root);
    if (err < 0) return err == HK_E_INVALID ? HK_OK : err;
    struct rule_file *content = hk_arena_alloc(&rules->arena, 1, sizeof(*content));
    if (content == NULL) return HK_E_NOMEM;
    reader->work_count = reader->work_done = reader->work_checked = 0;
    HK_TRY(hk_conf_read(reader, &hk_table_rule_file, root, content));
    hk_conf_check(reader);
    check_group_names(reader, root, content);
    size_t total = (size_t)rules->group_count + content->groups.count;
    if (total > UINT32_MAX / 2) return HK_E_LIMIT;
    HK_TRY(
        hk_mem_grow(&loader->groups, &loader->group_capacity, total + 1, sizeof(*loader->groups)));
    for (uint32_t i = 0; i < content->groups.count; i++) {
        const struct hk_conf_rule_group *group = &content->groups.items[i];
        loader->groups[rules->group_count++] = *group;
        rules->rule_count += group->rules.count;
        for (uint32_t k = 0; k < group->rules.count; k++)
            rules->alert_count += group->rules.items[k].alert.len > 0;
    }
    return HK_OK;
}

static hk_err open_file(struct rules_loader *loader, const char *path) {
    struct hk_conf_file *file = NULL;
    struct hk_str empty = { "", 0 };
    const char *why = "";
    struct hk_arena *arena = &loader->rules->arena;
    HK_TRY(hk_conf_open_file(arena, hk_str_from(path), empty, &file));
    hk_err err = hk_conf_read_file(path, HK_CONF_FILE_BYTES_MAX, arena, &file->text, &why);
    if (err == HK_E_NOMEM) return err;
    if (err < 0) {
        hk_conf_problem_add(
            loader->report, false, file, 0, 0,
            "check the path and who may read it; files have at most 16 MiB", "%s", why);
        return HK_OK;
    }
    HK_TRY(hk_mem_grow(
        &loader->files, &loader->file_capacity, loader->file_count + 1, sizeof(*loader->files)));
    loader->files[loader->file_count++] = file->path;
    return add_file(loader, file);
}

static bool is_known(const struct rules_loader *loader, struct hk_str path) {
    for (size_t i = 0; i < loader->file_count; i++) {
        if (hk_str_eq(loader->files[i], path)) return true;
    }
    return false;
}

static int visit(void *self, const char *path) {
    struct rules_loader *loader = self;
    loader->matches++;
    if (is_known(loader, hk_str_from(path))) return 0; /* two patterns, one file */
    if (loader->file_count >= HK_CONF_FILES_MAX) {
        struct hk_conf_problem problem = {
            .file = hk_str_from(path),
            .text = HK_STR("rule_files names more than 4096 files"),
            .mend = HK_STR("name fewer files"),
        };
        hk_conf_report_add(loader->report, &problem);
        return 1;
    }
    loader->err = open_file(loader, path);
    return loader->err < 0 ? 1 : 0;
}

static hk_err load_patterns(struct rules_loader *loader, const struct hk_config *config) {
    for (uint32_t i = 0; i < config->rule_files.count; i++) {
        struct hk_str text = config->rule_files.items[i];
        char pattern[PATH_BYTES_MAX];
        if (text.len == 0 || text.len >= sizeof(pattern)) continue; /* refused by the loader */
        memcpy(pattern, text.ptr, text.len);
        pattern[text.len] = 0;
        loader->matches = 0;
        if (hk_path_glob(pattern, visit, loader) < 0) return HK_E_NOMEM;
        HK_TRY(loader->err);
        if (loader->matches > 0) continue;
        struct hk_conf_file file = { .path = config->path };
        hk_conf_problem_add(
            loader->report, true, &file, 0, 0, "",
            "rule_files: no file matches %.*s, no rules come from it",
            (int)(text.len < 400 ? text.len : 400), text.ptr);
    }
    return HK_OK;
}

static hk_err begin(
    struct rules_loader *loader, const struct hk_config *config,
    const struct hk_conf_source *source, const struct hk_rule_checks *checks,
    struct hk_conf_report *report) {
    *loader = (struct rules_loader){ .report = report, .errors = report->error_count };
    loader->rules = hk_mem_alloc(1, sizeof(*loader->rules));
    if (loader->rules == NULL) return HK_E_NOMEM;
    hk_arena_init(&loader->rules->arena, HK_CONF_ARENA_BYTES_MAX);
    hk_conf_reader_init(&loader->reader, &loader->rules->arena, source, report);
    loader->reader.config = config;
    loader->reader.rule_checks = checks;
    return HK_OK;
}

static hk_err collect(struct rules_loader *loader) {
    struct hk_rule_set *rules = loader->rules;
    struct hk_arena *arena = &rules->arena;
    rules->groups = hk_arena_alloc(arena, (size_t)rules->group_count + 1, sizeof(*rules->groups));
    rules->files.items = hk_arena_alloc(arena, loader->file_count + 1, sizeof(struct hk_str));
    if (rules->groups == NULL || rules->files.items == NULL) return HK_E_NOMEM;
    if (rules->group_count > 0) {
        memcpy(rules->groups, loader->groups, rules->group_count * sizeof(*rules->groups));
    }
    if (loader->file_count > 0) {
        memcpy(rules->files.items, loader->files, loader->file_count * sizeof(struct hk_str));
    }
    rules->files.count = (uint32_t)loader->file_count;
    if (loader->report->out_of_memory) return HK_E_NOMEM;
    uint32_t errors = loader->report->error_count - loader->errors;
    return errors == 0 ? HK_OK : hk_fail(HK_E_INVALID, "%u errors in rule files", errors);
}

static hk_err finish(struct rules_loader *loader, hk_err err, struct hk_rule_set **out) {
    if (err == HK_OK) err = collect(loader);
    hk_conf_reader_deinit(&loader->reader);
    hk_mem_free(loader->groups);
    hk_mem_free(loader->files);
    hk_conf_report_sort(loader->report);
    if (err == HK_OK) {
        *out = loader->rules;
        return HK_OK;
    }
    hk_rule_set_destroy(loader->rules);
    return err == HK_E_LIMIT ? HK_E_NOMEM : err;
}

hk_err hk_rules_load(
    const struct hk_config *config, const struct hk_conf_source *source,
    const struct hk_rule_checks *checks, struct hk_conf_report *report, struct hk_rule_set **out) {
    struct rules_loader loader;
    hk_err err = begin(&loader, config, source, checks, report);
    if (err == HK_OK) err = load_patterns(&loader, config);
    return finish(&loader, err, out);
}

hk_err hk_rules_load_file(
    const char *path, const struct hk_rule_checks *checks, struct hk_conf_report *report,
    struct hk_rule_set **out) {
    struct rules_loader loader;
    hk_err err = begin(&loader, NULL, NULL, checks, report);
    if (err == HK_OK) err = open_file(&loader, path);
    return finish(&loader, err, out);
}

hk_err hk_rules_parse(
    struct hk_str path, struct hk_str text, const struct hk_rule_checks *checks,
    struct hk_conf_report *report, struct hk_rule_set **out) {
    struct rules_loader loader;
    struct hk_conf_file *file = NULL;
    hk_err err = begin(&loader, NULL, NULL, checks, report);
    if (err == HK_OK) err = hk_conf_open_file(&loader.rules->arena, path, text, &file);
    if (err == HK_OK) err = add_file(&loader, file);
    return finish(&loader, err, out);
}

void hk_rule_set_destroy(struct hk_rule_set *rules) {
    if (rules == NULL) return;
    hk_arena_deinit(&rules->arena);
    hk_mem_free(rules);
}
