/* Loads a configuration: the file, the files it names, all checks, then the canonical text. */
#include "conf/config.h"

#include "base/mem.h"
#include "conf/print.h"
#include "conf/table.h"
#include "os/env.h"

#include <stdlib.h>

enum { PATH_BYTES_MAX = 4096, CANONICAL_BYTES_MAX = 64 << 20 };

/* The jobs of one file of scrape_config_files. */
struct part {
    struct hk_config jobs; /* only `jobs` is used */
    struct part *next;
};

struct loader {
    struct hk_config *config;
    struct hk_conf_report *report;
    const struct hk_conf_source *source;
    struct hk_conf_reader reader;
    struct part *parts, **parts_last;
    struct hk_conf_node *root, *alertmanager; /* of the file, of alertmanager_file */
    uint32_t file_count;
    uint32_t errors; /* in the report before */
    hk_err err;      /* of a visit */
};

hk_err hk_conf_open_file(
    struct hk_arena *arena, struct hk_str path, struct hk_str text, struct hk_conf_file **out) {
    struct hk_conf_file *file = hk_arena_alloc(arena, 1, sizeof(*file));
    if (file == NULL) return HK_E_NOMEM;
    file->path = hk_arena_str(arena, path);
    file->text = text;
    size_t end = path.len;
    while (end > 0 && path.ptr[end - 1] != '/')
        end--;
    if (file->path.ptr == NULL) return HK_E_NOMEM;
    file->dir = hk_str_part(file->path, 0, end);
    *out = file;
    return HK_OK;
}

/* A file of the configuration as nodes; a fault goes to the report and gives HK_E_INVALID. */
static hk_err read_tree(struct loader *loader, const char *path, struct hk_conf_node **out) {
    struct hk_arena *arena = &loader->config->arena;
    struct hk_str text = { 0 };
    struct hk_conf_file *file = NULL;
    const char *why = "";
    HK_TRY(hk_conf_open_file(arena, hk_str_from(path), text, &file));
    hk_err err = hk_conf_read_file(path, HK_CONF_FILE_BYTES_MAX, arena, &file->text, &why);
    if (err == HK_E_NOMEM) return err;
    if (err < 0) {
        hk_conf_problem_add(
            loader->report, false, file, 0, 0,
            "check the path and who may read it; files have at most 16 MiB", "%s", why);
        return err;
    }
    return hk_conf_tree_parse(file, arena, loader->report, out);
}

static hk_err add_part(struct loader *loader, const char *path) {
    struct hk_conf_node *node = NULL;
    hk_err err = read_tree(loader, path, &node);
    if (err < 0) return err == HK_E_NOMEM ? err : HK_OK;
    struct part *part = hk_arena_alloc(&loader->config->arena, 1, sizeof(*part));
    if (part == NULL) return HK_E_NOMEM;
    *loader->parts_last = part;
    loader->parts_last = &part->next;
    return hk_conf_read(&loader->reader, &hk_table_scrape_config_file, node, &part->jobs);
}

static int visit_part(void *self, const char *path) {
    struct loader *loader = self;
    if (loader->file_count++ == HK_CONF_FILES_MAX) {
        struct hk_conf_problem problem = {
            .file = loader->config->path,
            .text = HK_STR("scrape_config_files names more than 4096 files"),
            .mend = HK_STR("name fewer files"),
        };
        hk_conf_report_add(loader->report, &problem);
    }
    if (loader->file_count > HK_CONF_FILES_MAX) return 1;
    loader->err = add_part(loader, path);
    return loader->err < 0 ? 1 : 0;
}

static hk_err load_parts(struct loader *loader) {
    const struct hk_conf_strings *patterns = &loader->config->scrape_config_files;
    if (loader->source != NULL && loader->source->no_files) return HK_OK;
    for (uint32_t i = 0; i < patterns->count; i++) {
        char pattern[PATH_BYTES_MAX];
        if (patterns->items[i].len >= sizeof(pattern)) continue; /* reported by the checks */
        memcpy(pattern, patterns->items[i].ptr, patterns->items[i].len);
        pattern[patterns->items[i].len] = 0;
        if (hk_path_glob(pattern, visit_part, loader) < 0) return HK_E_NOMEM;
        HK_TRY(loader->err);
    }
    return HK_OK;
}

static hk_err load_alertmanager(struct loader *loader) {
    struct hk_config *config = loader->config;
    struct hk_str file = config->alertmanager_file;
    char path[PATH_BYTES_MAX];
    if (file.len == 0 || file.len >= sizeof(path) || config->alertmanager != NULL) return HK_OK;
    if (loader->source != NULL && loader->source->no_files) return HK_OK;
    memcpy(path, file.ptr, file.len);
    path[file.len] = 0;
    struct hk_conf_node *node = NULL;
    hk_err err = read_tree(loader, path, &node);
    if (err < 0) return err == HK_E_NOMEM ? err : HK_OK;
    loader->alertmanager = node;
    config->alertmanager = hk_arena_alloc(&config->arena, 1, sizeof(*config->alertmanager));
    if (config->alertmanager == NULL) return HK_E_NOMEM;
    return hk_conf_read(&loader->reader, &hk_table_alertmanager, node, config->alertmanager);
}

/* All jobs in one list, those of the main file first. */
static hk_err merge_jobs(struct loader *loader) {
    struct hk_config *config = loader->config;
    size_t total = config->jobs.count;
    for (const struct part *part = loader->parts; part != NULL; part = part->next)
        total += part->jobs.jobs.count;
    if (total == config->jobs.count) return HK_OK;
    struct hk_conf_job *jobs = hk_arena_alloc(&config->arena, total, sizeof(*jobs));
    if (jobs == NULL) return HK_E_NOMEM;
    uint32_t count = config->jobs.count;
    if (count > 0) memcpy(jobs, config->jobs.items, count * sizeof(*jobs));
    for (const struct part *part = loader->parts; part != NULL; part = part->next) {
        for (uint32_t i = 0; i < part->jobs.jobs.count; i++)
            jobs[count++] = part->jobs.jobs.items[i];
    }
    config->jobs.items = jobs;
    config->jobs.count = count;
    return HK_OK;
}

static int compare_jobs(const void *a, const void *b) {
    const struct hk_conf_job *x = *(const struct hk_conf_job *const *)a;
    const struct hk_conf_job *y = *(const struct hk_conf_job *const *)b;
    int order = hk_str_cmp(x->name, y->name);
    if (order != 0) return order;
    return x < y ? -1 : x > y;
}

static hk_err check_job_names(struct loader *loader) {
    const struct hk_config *config = loader->config;
    if (config->jobs.count < 2) return HK_OK;
    HK_CLEANUP(hk_mem_free_at)
    const struct hk_conf_job **jobs = hk_mem_alloc(config->jobs.count, sizeof(*jobs));
    if (jobs == NULL) return HK_E_NOMEM;
    for (uint32_t i = 0; i < config->jobs.count; i++)
        jobs[i] = &config->jobs.items[i];
    qsort(jobs, config->jobs.count, sizeof(*jobs), compare_jobs);
    for (uint32_t i = 1; i < config->jobs.count; i++) {
        if (jobs[i]->name.len == 0 || !hk_str_eq(jobs[i - 1]->name, jobs[i]->name)) continue;
        struct hk_conf_file file = { .path = jobs[i]->file };
        hk_conf_problem_add(
            loader->report, false, &file, jobs[i]->line, jobs[i]->column,
            "give each job a name of its own", "two jobs are called \"%.*s\", the first at %.*s:%u",
            (int)(jobs[i]->name.len < 100 ? jobs[i]->name.len : 100), jobs[i]->name.ptr,
            HK_STR_ARG(jobs[i - 1]->file), jobs[i - 1]->line);
    }
    return HK_OK;
}

static hk_err print_table(
    struct loader *loader, const struct hk_option_table *table, const struct hk_conf_node *node,
    struct hk_str *out) {
    struct hk_buf buf;
    hk_buf_init(&buf, CANONICAL_BYTES_MAX);
    hk_err err = hk_conf_print(table, node, &buf);
    if (err == HK_OK) {
        *out = hk_arena_str(&loader->config->arena, hk_buf_get(&buf));
        if (out->ptr == NULL) err = HK_E_NOMEM;
    }
    hk_buf_deinit(&buf);
    return err;
}

static hk_err print_canonical(struct loader *loader) {
    struct hk_config *config = loader->config;
    HK_TRY(print_table(loader, &hk_table_config, loader->root, &config->canonical));
    config->alertmanager_canonical = (struct hk_str){ "", 0 };
    const struct hk_conf_node *node = hk_conf_node_get(loader->root, "alertmanager");
    if (config->alertmanager == NULL) return HK_OK;
    if (loader->alertmanager != NULL) node = loader->alertmanager;
    return print_table(loader, &hk_table_alertmanager, node, &config->alertmanager_canonical);
}

static hk_err load_rest(struct loader *loader) {
    HK_TRY(hk_conf_read(&loader->reader, &hk_table_config, loader->root, loader->config));
    HK_TRY(load_parts(loader));
    HK_TRY(load_alertmanager(loader));
    hk_conf_check(&loader->reader);
    HK_TRY(merge_jobs(loader));
    HK_TRY(check_job_names(loader));
    if (loader->report->out_of_memory) return HK_E_NOMEM;
    uint32_t errors = loader->report->error_count - loader->errors;
    if (errors > 0) return hk_fail(HK_E_INVALID, "%u errors in the configuration", errors);
    return print_canonical(loader);
}

static hk_err begin(
    struct loader *loader, struct hk_str path, const struct hk_conf_source *source,
    struct hk_conf_report *report) {
    *loader = (struct loader){ .report = report, .source = source };
    loader->errors = report->error_count;
    struct hk_config *config = hk_mem_alloc(1, sizeof(*config));
    if (config == NULL) return HK_E_NOMEM;
    loader->config = config;
    loader->parts_last = &loader->parts;
    hk_arena_init(&config->arena, HK_CONF_ARENA_BYTES_MAX);
    config->path = hk_arena_str(&config->arena, path);
    if (config->path.ptr == NULL) return HK_E_NOMEM;
    size_t end = path.len;
    while (end > 0 && path.ptr[end - 1] != '/')
        end--;
    config->dir = hk_str_part(config->path, 0, end);
    hk_conf_reader_init(&loader->reader, &config->arena, source, report);
    loader->reader.config = config;
    return HK_OK;
}

static hk_err finish(struct loader *loader, hk_err err, struct hk_config **out) {
    hk_conf_reader_deinit(&loader->reader);
    hk_conf_report_sort(loader->report);
    if (err >= 0) {
        *out = loader->config;
        return HK_OK;
    }
    hk_config_destroy(loader->config);
    return err == HK_E_LIMIT ? HK_E_NOMEM : err;
}

hk_err hk_config_load(
    const char *path, const struct hk_conf_source *source, struct hk_conf_report *report,
    struct hk_config **out) {
    struct loader loader;
    hk_err err = begin(&loader, hk_str_from(path), source, report);
    if (err == HK_OK) err = read_tree(&loader, path, &loader.root);
    if (err == HK_OK) err = load_rest(&loader);
    return finish(&loader, err, out);
}

hk_err hk_config_parse(
    struct hk_str path, struct hk_str text, const struct hk_conf_source *source,
    struct hk_conf_report *report, struct hk_config **out) {
    struct loader loader;
    struct hk_conf_file *file = NULL;
    hk_err err = begin(&loader, path, source, report);
    if (err == HK_OK) err = hk_conf_open_file(&loader.config->arena, path, text, &file);
    if (err == HK_OK) err = hk_conf_tree_parse(file, &loader.config->arena, report, &loader.root);
    if (err == HK_OK) err = load_rest(&loader);
    return finish(&loader, err, out);
}

void hk_config_destroy(struct hk_config *config) {
    if (config == NULL) return;
    hk_arena_deinit(&config->arena);
    hk_mem_free(config);
}
