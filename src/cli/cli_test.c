/* Goal: flags, suggestions, exit codes, tables and answers of the subcommands. */
#include "cli/answers.h"
#include "cli/client.h"
#include "cli/commands.h"
#include "hk_test.h"

#include <unistd.h>

/* Runs a command line as main would; gives the exit code and what was printed. */
static int run(const char *line, struct hk_buf *out, struct hk_buf *error) {
    static char words[512];
    const char *argv[32] = { NULL };
    int argc = 0;
    (void)snprintf(words, sizeof(words), "%s", line);
    for (char *at = words; *at != 0 && argc < 32;) {
        while (*at == ' ')
            *at++ = 0;
        if (*at != 0) argv[argc++] = at;
        while (*at != 0 && *at != ' ')
            at++;
    }
    hk_buf_init(out, 1 << 24);
    hk_buf_init(error, 1 << 20);
    struct hk_call call = { .out = out, .error = error };
    struct hk_str near = { 0 };
    const struct hk_command *command =
        hk_command_find(hk_commands, hk_command_count, argv[0], &near);
    if (command == NULL || argc == 0) return -1;
    hk_err err = hk_flags_parse(command, argc - 1, argv + 1, &call);
    if (err == HK_END) {
        hk_flags_help(command, out);
        return HK_EXIT_FINE;
    }
    return err < 0 ? hk_cli_usage(&call) : command->run(&call);
}

static const struct {
    const char *line;
    int code;
    const char *error;
} lines[] = {
    { "query", 2,
      "hark query: an argument is missing: hark query EXPR\nhark query --help says more.\n" },
    { "query a b", 2,
      "hark query: \"b\" is one argument too many: hark query EXPR\nhark query --help says "
      "more.\n" },
    { "query --serve x a", 2,
      "hark query: unknown flag --serve; did you mean --server?\nhark query --help says more.\n" },
    { "query --zzz a", 2,
      "hark query: unknown flag --zzz; hark query --help lists the flags\n"
      "hark query --help says more.\n" },
    { "query a --at", 2,
      "hark query: --at needs a value: --at TIME\nhark query --help says more.\n" },
    { "query a --at 1 --at 2", 2,
      "hark query: --at is given twice\nhark query --help says more.\n" },
    { "top --once=1", 2, "hark top: --once takes no value\nhark top --help says more.\n" },
    { "query a --output xml", 2,
      "hark: --output: \"xml\" is not valid; choose table, json or csv\n"
      "hark query --help says more.\n" },
    { "query a --at never", 2,
      "hark: --at: \"never\" is not valid; write 2026-01-02T03:04:05Z, seconds since 1970, or -5m "
      "for five minutes ago\nhark query --help says more.\n" },
    { "query a --step 5s", 2,
      "hark: --step means nothing without --range\nhark query --help says more.\n" },
    { "query a --range 5s --step 0", 2,
      "hark: --step: 0 is not valid; choose 1ms or more\nhark query --help says more.\n" },
    { "query a --server ftp://x", 2,
      "hark: \"ftp://x\" is no server; write host:port, http://host:port or https://…\n"
      "hark query --help says more.\n" },
    { "query a --server 127.0.0.1:1", 3,
      "hark: no server at http://127.0.0.1:1 (Couldn't connect to server); start one with hark "
      "serve, or name it with --server or HARK_SERVER\n" },
    { "ready --server 127.0.0.1:1", 3,
      "hark: no server at http://127.0.0.1:1 (Couldn't connect to server); start one with hark "
      "serve, or name it with --server or HARK_SERVER\n" },
    { "lag --timeout 0", 2, "hark: --timeout: choose 1ms to 1d\nhark lag --help says more.\n" },
    { "lag --token-file /nonexistent", 2,
      "hark: --token-file: /nonexistent cannot be read\nhark lag --help says more.\n" },
    { "serve --spin x", 2,
      "hark serve: --spin: \"x\" is not valid; choose off, adaptive or always\n"
      "hark serve --help says more.\n" },
    { "serve --http off", 2,
      "hark serve: --http cannot be off; the API lives there\nhark serve --help says more.\n" },
    { "serve --otlp-grpc 4317", 2,
      "hark serve: --otlp-grpc: \"4317\" is no address; write host:port, as 127.0.0.1:9090\n"
      "hark serve --help says more.\n" },
    { "serve --memory lots", 2,
      "hark serve: --memory: \"lots\" is not valid; write a size as 512MB, 64MiB or 1GiB\n"
      "hark serve --help says more.\n" },
    { "serve --shards 1000", 2,
      "hark serve: --shards: \"1000\" is not valid; write a whole number up to 256\n"
      "hark serve --help says more.\n" },
    { "check", 2,
      "hark check: an argument is missing: hark check [config|rules] FILE…\n"
      "hark check --help says more.\n" },
    { "check rules", 2,
      "hark check: a FILE is missing: hark check rules FILE\nhark check --help says more.\n" },
    { "check /nonexistent", 1,
      "/nonexistent: error: no such file; mend: check the path and who may read it; files have at "
      "most 16 MiB\n" },
    { "check rules tests/golden/config/rules/alerts.yml", 0, "" },
    { "config schemo", 2,
      "hark config: unknown word \"schemo\"; there is hark config schema, and hark help config\n"
      "hark config --help says more.\n" },
    { "config schema", 0, "" },
    { "config schema --rules", 0, "" },
    { "help", 0, "" },
    { "help serve", 0, "" },
    { "help serv", 2, "hark help: there is no \"serv\"; did you mean serve?\n" },
    { "help config server", 0, "" },
    { "help config sever", 2,
      "hark help config: no key or section is called \"sever\"; did you mean server?\n" },
    { "help config --markdown", 0, "" },
    { "version --help", 0, "" },
    { "version", 0, "" },
};

TEST(command_lines) {
    for (size_t i = 0; i < HK_COUNT(lines); i++) {
        struct hk_buf out;
        struct hk_buf error;
        int code = run(lines[i].line, &out, &error);
        CHECK_INT(code, lines[i].code);
        CHECK_STR(hk_buf_get(&error), hk_str_from(lines[i].error));
        if (code == 0) CHECK(out.len > 0);
        hk_buf_deinit(&out);
        hk_buf_deinit(&error);
    }
}

TEST(unknown_command) {
    struct hk_str near = { 0 };
    CHECK(hk_command_find(hk_commands, hk_command_count, "qurey", &near) == NULL);
    CHECK_STR(near, HK_STR("query"));
    CHECK(hk_command_find(hk_commands, hk_command_count, "zzzzzz", &near) == NULL);
    CHECK_STR(near, HK_STR(""));
}

/* Every row of the table has a help that says what it must. */
TEST(commands_are_whole) {
    for (size_t i = 0; i < hk_command_count; i++) {
        const struct hk_command *command = &hk_commands[i];
        struct hk_buf out;
        hk_buf_init(&out, 1 << 16);
        CHECK(command->run != NULL && command->summary != NULL && command->arguments != NULL);
        CHECK(command->flag_count <= HK_FLAGS_MAX);
        CHECK(command->arguments_max <= HK_ARGUMENTS_MAX);
        hk_flags_help(command, &out);
        CHECK(out.len > strlen(command->summary));
        hk_buf_deinit(&out);
    }
}

static const struct hk_command *command_named(const char *name) {
    struct hk_str near = { 0 };
    return hk_command_find(hk_commands, hk_command_count, name, &near);
}

TEST(serve_options) {
    static const char *const argv[] = {
        "--config", "a.yml",    "--data=d", "--http",      "0.0.0.0:0", "--otlp-grpc",
        "off",      "--spin",   "always",   "--shards",    "4",         "--retention",
        "0",        "--memory", "64MiB",    "--port-file", "p.json",    "--otlp-legacy=127.0.0.1:0",
    };
    struct hk_call call = { 0 };
    struct hk_serve_options options;
    CHECK_INT(hk_flags_parse(command_named("serve"), HK_COUNT(argv), argv, &call), HK_OK);
    CHECK_INT(hk_serve_read(&call, &options), HK_OK);
    CHECK_TEXT(options.config_path, "a.yml");
    CHECK_TEXT(options.data_dir, "d");
    CHECK_TEXT(options.http, "0.0.0.0:0");
    CHECK_TEXT(options.otlp_grpc, "");
    CHECK(options.otlp_http == NULL);
    CHECK_TEXT(options.otlp_legacy, "127.0.0.1:0");
    CHECK_TEXT(options.port_file, "p.json");
    CHECK(options.spin_given && options.spin == HK_SPIN_ALWAYS);
    CHECK(options.shards_given && options.shards == 4);
    CHECK(options.retention_given && options.retention_ms == 0);
    CHECK(options.memory_given && options.memory_bytes == 64 << 20);
    CHECK_INT(hk_flags_parse(command_named("serve"), 0, argv, &call), HK_OK);
    CHECK_INT(hk_serve_read(&call, &options), HK_OK);
    CHECK(!options.spin_given && !options.shards_given && !options.memory_given);
}

TEST(double_dash_ends_flags) {
    static const char *const argv[] = { "--", "--server" };
    struct hk_call call = { 0 };
    CHECK_INT(hk_flags_parse(command_named("query"), 2, argv, &call), HK_OK);
    CHECK_INT(call.argument_count, 1);
    CHECK_TEXT(call.arguments[0], "--server");
}

TEST(times) {
    static const struct {
        const char *text;
        int64_t ms;
    } cases[] = {
        { "now", 5000000 }, { "-5s", 4995000 }, { "1970-01-01T00:00:01.5Z", 1500 },
        { "12.25", 12250 }, { "-1", -1000 },
    };
    for (size_t i = 0; i < HK_COUNT(cases); i++) {
        const char *const argv[] = { "x", "--at", cases[i].text };
        struct hk_call call = { 0 };
        int64_t ms = 0;
        CHECK_INT(hk_flags_parse(command_named("query"), 3, argv, &call), HK_OK);
        CHECK_INT(hk_flag_time_ms(&call, QUERY_AT, 5000000, &ms), HK_OK);
        CHECK_INT(ms, cases[i].ms);
    }
}

TEST(server_urls) {
    static const struct {
        const char *text, *url;
    } cases[] = {
        { "a:1", "http://a:1" },
        { "http://a:1/", "http://a:1" },
        { "https://a", "https://a" },
        { ":9090", "http://127.0.0.1:9090" },
        { "[::1]:1", "http://[::1]:1" },
        { "", NULL },
        { "http://", NULL },
        { "a b", NULL },
        { "unix://x", NULL },
    };
    for (size_t i = 0; i < HK_COUNT(cases); i++) {
        char url[64] = "";
        hk_err err = hk_server_url(cases[i].text, url, sizeof(url));
        CHECK_INT(err, cases[i].url == NULL ? HK_E_INVALID : HK_OK);
        if (cases[i].url != NULL) CHECK_TEXT(url, cases[i].url);
    }
}

TEST(widths) {
    CHECK_INT(hk_text_width(HK_STR("abc")), 3);
    CHECK_INT(hk_text_width(HK_STR("äöü")), 3);
    CHECK_INT(hk_text_width(HK_STR("中文")), 4);
    CHECK_INT(hk_text_width(HK_STR("e\xcc\x81")), 1); /* e and a combining acute */
    CHECK_INT(hk_text_width(HK_STR("\xff\x1b")), 2);
    struct hk_buf out;
    hk_buf_init(&out, 100);
    hk_text_clean(HK_STR("a\x1b[m\xff\xe2\x80\xae"), &out);
    CHECK_STR(hk_buf_get(&out), HK_STR("a\xef\xbf\xbd[m\xef\xbf\xbd\xef\xbf\xbd"));
    hk_buf_deinit(&out);
}

TEST(tables) {
    static const char *const columns[] = { "name", "n" };
    struct hk_arena arena;
    struct hk_table table;
    struct hk_buf out;
    hk_arena_init(&arena, 1 << 20);
    hk_buf_init(&out, 1 << 16);
    hk_table_init(&table, &arena, columns, 2, 2);
    hk_table_cell(&table, HK_STR("中"));
    hk_table_printf(&table, "%d", 12345);
    hk_table_cell(&table, HK_STR("a \"b\", c"));
    hk_table_cell(&table, HK_STR("1"));
    hk_table_print(&table, &out);
    CHECK_STR(
        hk_buf_get(&out), HK_STR("NAME          N\n"
                                 "中        12345\n"
                                 "a \"b\", c      1\n"));
    hk_buf_clear(&out);
    hk_table_csv(&table, &out);
    CHECK_STR(hk_buf_get(&out), HK_STR("name,n\r\n中,12345\r\n\"a \"\"b\"\", c\",1\r\n"));
    hk_table_deinit(&table);
    hk_buf_deinit(&out);
    hk_arena_deinit(&arena);
}

typedef hk_err (*answer_function)(
    const struct hk_value *root, struct hk_arena *arena, struct hk_table *table);

static const struct {
    answer_function read;
    const char *json;
    const char *csv; /* NULL: malformed */
} answers[] = {
    { hk_answer_query,
      "{\"data\":{\"resultType\":\"vector\",\"result\":[{\"metric\":{\"__name__\":"
      "\"up\",\"a\":\"b\"},\"value\":[1.5,\"1\"]},{\"metric\":{\"x.y\":\"\"},"
      "\"histogram\":[2,{\"count\":\"3\",\"sum\":\"4\"}]}]}}",
      "series,time,value\r\n\"up{a=\"\"b\"\"}\",1970-01-01T00:00:01.500Z,1\r\n"
      "\"{\"\"x.y\"\"=\"\"\"\"}\",1970-01-01T00:00:02.000Z,histogram count=3 sum=4\r\n" },
    { hk_answer_query,
      "{\"data\":{\"resultType\":\"matrix\",\"result\":[{\"metric\":{},\"values\":"
      "[[1,\"NaN\"],[2,\"+Inf\"]]}]}}",
      "series,time,value\r\n{},1970-01-01T00:00:01.000Z,NaN\r\n{},1970-01-01T00:00:02.000Z,+"
      "Inf\r\n" },
    { hk_answer_query, "{\"data\":{\"resultType\":\"scalar\",\"result\":[0,\"7\"]}}",
      "time,value\r\n1970-01-01T00:00:00.000Z,7\r\n" },
    { hk_answer_query, "{\"data\":{\"resultType\":\"string\",\"result\":[1e300,\"a,b\"]}}",
      "time,value\r\n1e300,\"a,b\"\r\n" },
    { hk_answer_query, "{\"data\":{\"result\":5}}", NULL },
    { hk_answer_query, "[]", NULL },
    { hk_answer_targets,
      "{\"data\":{\"activeTargets\":[{\"scrapePool\":\"n\",\"scrapeUrl\":\"u\","
      "\"health\":\"up\",\"lastScrapeDuration\":0.0015}]}}",
      "job,target,health,last,took,error\r\nn,u,up,,1.5ms,\r\n" },
    { hk_answer_targets, "{}", NULL },
    { hk_answer_rules,
      "{\"data\":{\"groups\":[{\"name\":\"g\",\"rules\":[{\"name\":\"A\",\"type\":"
      "\"alerting\",\"state\":\"firing\",\"path\":\"tick\",\"pathReason\":\"subquery\","
      "\"query\":\"x\"},{\"name\":\"r\",\"type\":\"recording\",\"health\":\"err\","
      "\"lastError\":\"bad\"}]}]}}",
      "group,rule,kind,state,judged,why,expression\r\ng,A,alert,firing,tick,subquery,x\r\n"
      "g,r,record,err,,bad,\r\n" },
    { hk_answer_alerts,
      "{\"data\":{\"alerts\":[{\"labels\":{\"alertname\":\"A\"},\"state\":"
      "\"pending\",\"activeAt\":\"t\",\"value\":\"1e+00\"}]}}",
      "alert,state,since,value,labels\r\nA,pending,t,1e+00,\"{alertname=\"\"A\"\"}\"\r\n" },
    { hk_answer_ledger,
      "{\"accounts\":[{\"receiver\":\"otlp\",\"signal\":\"metrics\",\"received\":"
      "9,\"stored\":5,\"dropped\":{\"a\":3,\"b\":1},\"in_flight\":0}]}",
      "receiver,signal,received,stored,in flight,dropped\r\notlp,metrics,9,5,0,\"3 a, 1 b\"\r\n" },
    { hk_answer_lag,
      "{\"hops\":[{\"hop\":\"decided\",\"count\":2,\"mean_ns\":999,\"p50_ns\":1500,"
      "\"p90_ns\":2500000,\"p99_ns\":3000000000}]}",
      "hop,count,mean,p50,p90,p99,p99.9\r\ndecided,2,999ns,1.5us,2.5ms,3.00s,\r\n" },
};

TEST(answers_to_tables) {
    for (size_t i = 0; i < HK_COUNT(answers); i++) {
        struct hk_arena arena;
        struct hk_table table = { 0 };
        struct hk_buf out;
        const struct hk_value *root = NULL;
        hk_arena_init(&arena, 1 << 20);
        hk_buf_init(&out, 1 << 16);
        CHECK_INT(hk_value_parse(hk_str_from(answers[i].json), &arena, &root), HK_OK);
        hk_err err = answers[i].read(root, &arena, &table);
        CHECK_INT(err, answers[i].csv == NULL ? HK_E_MALFORMED : HK_OK);
        if (err == HK_OK) {
            hk_table_csv(&table, &out);
            CHECK_STR(hk_buf_get(&out), hk_str_from(answers[i].csv));
        }
        hk_table_deinit(&table);
        hk_buf_deinit(&out);
        hk_arena_deinit(&arena);
    }
}

HK_TEST_MAIN()
