/* Goal: help, reference and schema say what the tables say; the committed reference is current. */
#include "conf/help.h"

#include "conf/table.h"
#include "hk_test.h"

static struct hk_str file_text(const char *path, char *to, size_t bytes_max) {
    FILE *file = fopen(path, "rb");
    size_t bytes = file == NULL ? 0 : fread(to, 1, bytes_max, file);
    if (file != NULL) (void)fclose(file);
    return (struct hk_str){ to, bytes };
}

TEST(reference_is_current) {
    static const char path[] = "docs/reference/config.md";
    static char want[1 << 20];
    struct hk_buf out;
    hk_buf_init(&out, 1 << 20);
    hk_conf_reference(&out);
    CHECK_INT(out.err, HK_OK);
    if (getenv("HK_TEST_UPDATE") != NULL) {
        FILE *file = fopen(path, "wb");
        CHECK(file != NULL && fwrite(out.ptr, 1, out.len, file) == out.len);
        if (file != NULL) (void)fclose(file);
    }
    /* Stale: run `hark help config --markdown > docs/reference/config.md`. */
    CHECK(hk_str_eq(hk_buf_get(&out), file_text(path, want, sizeof(want))));
    hk_buf_deinit(&out);
}

static size_t all_tables(const struct hk_option_table **out) {
    size_t count = hk_option_tables(&hk_table_config, out, HK_OPTION_TABLES_MAX);
    return count + hk_option_tables(&hk_table_rule_file, out + count, HK_OPTION_TABLES_MAX - count);
}

/* What a row must have, so that no text of ours is empty and every default can be read. */
TEST(tables_are_whole) {
    const struct hk_option_table *tables[HK_OPTION_TABLES_MAX];
    size_t count = all_tables(tables);
    CHECK(count < HK_OPTION_TABLES_MAX);
    for (size_t i = 0; i < count; i++) {
        CHECK(tables[i]->summary != NULL && tables[i]->name != NULL && tables[i]->count > 0);
        for (size_t k = 0; k < i; k++)
            CHECK(!hk_str_eq(hk_str_from(tables[i]->name), hk_str_from(tables[k]->name)));
        for (size_t k = 0; k < tables[i]->count; k++) {
            const struct hk_option *option = &tables[i]->options[k];
            bool later = option->status == HK_OPTION_LATER;
            bool choice = option->type == HK_OPTION_ENUM || option->type == HK_OPTION_ENUMS;
            bool nested = option->type >= HK_OPTION_INLINE && option->type <= HK_OPTION_NAMED;
            bool stored = option->offset != HK_OPTION_NOT_STORED;
            CHECK(option->type == HK_OPTION_INLINE || option->help != NULL);
            CHECK((option->type == HK_OPTION_INLINE) == (option->key == NULL));
            CHECK(later == (option->consequence != NULL));
            CHECK(choice == (option->choices != NULL));
            CHECK(nested == (option->table != NULL));
            CHECK(option->type != HK_OPTION_ANY || (later && !stored));
            CHECK(!stored || option->table == NULL || option->table->bytes > 0);
            CHECK(!stored || option->offset < tables[i]->bytes);
            int64_t room[4] = { 0 };
            struct hk_conf_why why;
            if (option->fallback == NULL || option->type == HK_OPTION_ENUMS) continue;
            CHECK_INT(hk_conf_convert(option, hk_str_from(option->fallback), room, &why), HK_OK);
        }
        for (size_t k = 1; k < tables[i]->count; k++) {
            for (size_t j = 0; j < k && tables[i]->options[k].key != NULL; j++) {
                if (tables[i]->options[j].key == NULL) continue;
                CHECK(strcmp(tables[i]->options[j].key, tables[i]->options[k].key) != 0);
            }
        }
    }
}

/* The words of relabelling actions stand in the order of the model's enum. */
TEST(relabel_actions) {
    const struct hk_option *option = hk_option_find(&hk_table_relabel, HK_STR("action"));
    int count = 0;
    for (; option->choices[count] != NULL; count++) {
        CHECK_TEXT(option->choices[count], hk_relabel_action_name((enum hk_relabel_action)count));
    }
    CHECK_INT(count, HK_RELABEL_ACTIONS);
}

static const struct {
    const char *topic;
    hk_err err;
    const char *part; /* of the answer; of the nearest topic when it is not found */
} topics[] = {
    { "", HK_OK, "scrape_configs: list of mappings; see hark help config scrape_config\n" },
    { "server", HK_OK, "http: string; default 127.0.0.1:9090\n" },
    { "server.tls.cert_file", HK_OK, "  cert_file: path; required\n" },
    { "scrape_interval", HK_OK, "duration; default global.scrape_interval" },
    { "host_metrics.interval", HK_OK, "interval: duration, 100ms to 1h; default 1s" },
    { "limits", HK_OK, "request_bytes: size, 64KiB to 1GiB; default 64MiB" },
    { "spin", HK_OK, "one of off, adaptive, always; default off" },
    { "remote_write", HK_OK, "write_relabel_configs" },
    { "kubernetes_sd_configs", HK_OK, "Not acted on yet" },
    { "rule", HK_OK, "keep_firing_for" },
    { "scrape_confg", HK_E_NOT_FOUND, "scrape_config" },
    { "server.tsl", HK_E_NOT_FOUND, "server_tls" },
    { "zzz", HK_E_NOT_FOUND, "" },
};

TEST(topics) {
    for (size_t i = 0; i < HK_COUNT(topics); i++) {
        struct hk_buf out;
        struct hk_str near = { 0 };
        hk_buf_init(&out, 1 << 20);
        CHECK_INT(hk_conf_help(hk_str_from(topics[i].topic), &out, &near), topics[i].err);
        hk_buf_char(&out, 0);
        if (topics[i].err == HK_OK) {
            if (strstr(out.ptr, topics[i].part) == NULL) printf("# %s\n", out.ptr);
            CHECK(strstr(out.ptr, topics[i].part) != NULL);
        } else {
            CHECK_STR(near, hk_str_from(topics[i].part));
        }
        hk_buf_deinit(&out);
    }
}

/* Braces, brackets and quotes of JSON text balance. */
static bool is_balanced(struct hk_str text) {
    int depth = 0;
    bool quoted = false;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        if (quoted && c == '\\') {
            i++;
        } else if (c == '"') {
            quoted = !quoted;
        } else if (!quoted) {
            depth += (c == '{' || c == '[') - (c == '}' || c == ']');
        }
        if (depth < 0) return false;
    }
    return depth == 0 && !quoted;
}

TEST(schema) {
    for (int rules = 0; rules < 2; rules++) {
        struct hk_buf out;
        hk_buf_init(&out, 1 << 20);
        hk_conf_schema(&out, rules == 1);
        CHECK_INT(out.err, HK_OK);
        CHECK(is_balanced(hk_buf_get(&out)));
        hk_buf_char(&out, 0);
        CHECK(strstr(out.ptr, rules == 1 ? "\"rule_group\"" : "\"scrape_config\"") != NULL);
        hk_buf_deinit(&out);
    }
}

HK_TEST_MAIN()
