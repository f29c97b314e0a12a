/* Goal: the reader takes what RFC 8259 takes, nothing else, and says where a text is wrong. */
#include "base/buf.h"
#include "codec/json.h"
#include "hk_test.h"

static struct hk_arena arena;
static struct hk_buf out;

/* Tokens of a text as one line: "{a=1 b=[s:x ]}". */
static hk_err flatten(struct hk_str text) {
    struct hk_json json;
    hk_buf_clear(&out);
    hk_json_init(&json, text, &arena);
    hk_err err = HK_OK;
    while ((err = hk_json_next(&json)) == HK_OK) {
        if (json.key.len > 0) hk_buf_printf(&out, "%.*s=", HK_STR_ARG(json.key));
        static const char *const marks[] = { "?", "{", "}", "[", "]", "s:", "", "T", "F", "N" };
        hk_buf_text(&out, marks[json.type]);
        hk_buf_str(&out, json.text);
        hk_buf_char(&out, ' ');
    }
    return err;
}

TEST(good) {
    static const struct {
        const char *text, *want;
    } cases[] = {
        { "{}", "{ } " },
        { " [ ] ", "[ ] " },
        { "{\"a\":1,\"b\":[true,false,null]}", "{ a=1 b=[ T F N ] } " },
        { "\"plain\"", "s:plain " },
        { "\"a\\n\\\"\\\\\\/\\u00e4\\u20ac\\ud83d\\ude00\"", "s:a\n\"\\/ä€😀 " },
        { "\"\\ud83d\"", "s:\xef\xbf\xbd " },
        { "\"\\udc00x\"", "s:\xef\xbf\xbdx " },
        { "\"\\ud83d\\u0041\"", "s:\xef\xbf\xbd"
                                "A " },
        { "[0,-1,1.5,-0.0,1e5,2E-3,1.25e+7]", "[ 0 -1 1.5 -0.0 1e5 2E-3 1.25e+7 ] " },
        { "{\"\\u0061\":{\"b\":[[]]}}", "{ a={ b=[ [ ] ] } } " },
        { "\t\r\n12 ", "12 " },
        { "{\"a\":1,\"a\":2}", "{ a=1 a=2 } " },
    };
    hk_arena_init(&arena, 1 << 20);
    hk_buf_init(&out, 1 << 20);
    for (size_t i = 0; i < HK_COUNT(cases); i++) {
        CHECK_INT(flatten(hk_str_from(cases[i].text)), HK_END);
        CHECK_STR(hk_buf_get(&out), hk_str_from(cases[i].want));
    }
    hk_buf_deinit(&out);
    hk_arena_deinit(&arena);
}

TEST(bad) {
    static const struct {
        const char *text, *why;
    } cases[] = {
        { "", "json: the text ends where a value should be at byte 0" },
        { "  ", "json: the text ends where a value should be at byte 2" },
        { "{", "json: expected a key at byte 1" },
        { "[1,]", "json: unexpected character at byte 3" },
        { "{\"a\":1,}", "json: expected a key at byte 7" },
        { "{a:1}", "json: expected a key at byte 1" },
        { "{\"a\" 1}", "json: expected ':' at byte 5" },
        { "[1 2]", "json: expected ',' or ']' at byte 3" },
        { "{\"a\":1]", "json: expected ',' or '}' at byte 6" },
        { "1 2", "json: text behind the value at byte 2" },
        { "01", "json: number with a leading zero at byte 1" },
        { "-", "json: unexpected character at byte 1" },
        { "1.", "json: bad number at byte 2" },
        { "1e", "json: bad number at byte 2" },
        { "+1", "json: unexpected character at byte 0" },
        { ".5", "json: unexpected character at byte 0" },
        { "tru", "json: unexpected character at byte 0" },
        { "NaN", "json: unexpected character at byte 0" },
        { "\"a", "json: the text ends inside a string at byte 2" },
        { "\"a\\", "json: the text ends in an escape at byte 2" },
        { "\"a\nb\"", "json: control character in a string at byte 2" },
        { "\"\\x\"", "json: unknown escape at byte 1" },
        { "\"\\u12g4\"", "json: bad \\u escape at byte 1" },
        { "\"\\u12\"", "json: bad \\u escape at byte 1" },
        { "\"\xff\"", "json: invalid UTF-8 at byte 1" },
        { "\"\xc3", "json: invalid UTF-8 at byte 1" },
        { "\"\xed\xa0\x80\"", "json: invalid UTF-8 at byte 1" },
        { "'a'", "json: unexpected character at byte 0" },
    };
    hk_arena_init(&arena, 1 << 20);
    hk_buf_init(&out, 1 << 20);
    for (size_t i = 0; i < HK_COUNT(cases); i++) {
        CHECK_INT(flatten(hk_str_from(cases[i].text)), HK_E_MALFORMED);
        CHECK_TEXT(hk_fail_text(), cases[i].why);
    }
    hk_buf_deinit(&out);
    hk_arena_deinit(&arena);
}

TEST(depth) {
    char text[2 * HK_JSON_DEPTH_MAX + 2];
    hk_arena_init(&arena, 1 << 20);
    hk_buf_init(&out, 1 << 20);
    memset(text, '[', HK_JSON_DEPTH_MAX + 1);
    memset(text + HK_JSON_DEPTH_MAX, ']', HK_JSON_DEPTH_MAX);
    CHECK_INT(flatten((struct hk_str){ text, 2 * HK_JSON_DEPTH_MAX }), HK_END);
    text[HK_JSON_DEPTH_MAX] = '[';
    CHECK_INT(flatten((struct hk_str){ text, 2 * HK_JSON_DEPTH_MAX }), HK_E_LIMIT);
    hk_buf_deinit(&out);
    hk_arena_deinit(&arena);
}

TEST(numbers) {
    static const struct {
        const char *text;
        hk_err i64, u64, real;
        int64_t want;
    } cases[] = {
        { "17", HK_OK, HK_OK, HK_OK, 17 },
        { "\"17\"", HK_OK, HK_OK, HK_OK, 17 },
        { "1.0", HK_OK, HK_OK, HK_OK, 1 },
        { "12e2", HK_OK, HK_OK, HK_OK, 1200 },
        { "-5", HK_OK, HK_E_MALFORMED, HK_OK, -5 },
        { "1.5", HK_E_MALFORMED, HK_E_MALFORMED, HK_OK, 0 },
        { "9223372036854775807", HK_OK, HK_OK, HK_OK, INT64_MAX },
        { "9223372036854775808", HK_E_MALFORMED, HK_OK, HK_OK, 0 },
        { "18446744073709551616", HK_E_MALFORMED, HK_E_MALFORMED, HK_OK, 0 },
        { "1e400", HK_E_MALFORMED, HK_E_MALFORMED, HK_OK, 0 },
        { "\"NaN\"", HK_E_MALFORMED, HK_E_MALFORMED, HK_OK, 0 },
        { "\"-Infinity\"", HK_E_MALFORMED, HK_E_MALFORMED, HK_OK, 0 },
        { "\"x\"", HK_E_MALFORMED, HK_E_MALFORMED, HK_E_MALFORMED, 0 },
        { "true", HK_E_MALFORMED, HK_E_MALFORMED, HK_E_MALFORMED, 0 },
    };
    hk_arena_init(&arena, 1 << 20);
    for (size_t i = 0; i < HK_COUNT(cases); i++) {
        struct hk_json json;
        int64_t i64 = 0;
        uint64_t u64 = 0;
        double real = 0;
        hk_json_init(&json, hk_str_from(cases[i].text), &arena);
        CHECK_INT(hk_json_next(&json), HK_OK);
        CHECK_INT(hk_json_i64(&json, &i64), cases[i].i64);
        CHECK_INT(hk_json_u64(&json, &u64), cases[i].u64);
        CHECK_INT(hk_json_double(&json, &real), cases[i].real);
        CHECK_INT(i64, cases[i].want);
    }
    hk_arena_deinit(&arena);
}

TEST(walking) {
    struct hk_json json;
    int64_t port = 0;
    bool on = false;
    struct hk_str name = { "", 0 };
    hk_arena_init(&arena, 1 << 20);
    const struct hk_str text = HK_STR("{\"skip\":{\"port\":[1,{}]},\"port\":8,\"on\":true,"
                                      "\"name\":\"x\"}");
    hk_json_init(&json, text, &arena);
    CHECK_INT(hk_json_begin(&json, HK_JSON_OBJECT), HK_OK);
    while (hk_json_next(&json) == HK_OK && json.type != HK_JSON_OBJECT_END) {
        if (hk_str_is(json.key, "port")) {
            CHECK_INT(hk_json_i64(&json, &port), HK_OK);
        } else if (hk_str_is(json.key, "on")) {
            CHECK_INT(hk_json_bool(&json, &on), HK_OK);
            CHECK_INT(hk_json_i64(&json, &port), HK_E_MALFORMED);
            CHECK_TEXT(hk_fail_text(), "json: \"on\" should be an integer, found true at byte 42");
        } else if (hk_str_is(json.key, "name")) {
            CHECK_INT(hk_json_str(&json, &name), HK_OK);
        } else {
            CHECK_INT(hk_json_skip(&json), HK_OK);
        }
    }
    CHECK_INT(hk_json_next(&json), HK_END);
    CHECK_INT(port, 8);
    CHECK(on);
    CHECK_STR(name, HK_STR("x"));
    hk_json_init(&json, HK_STR("[]"), &arena);
    CHECK_INT(hk_json_begin(&json, HK_JSON_OBJECT), HK_E_MALFORMED);
    CHECK_TEXT(hk_fail_text(), "json: expected an object, found an array at byte 1");
    hk_arena_deinit(&arena);
}

PROPERTY(damage) {
    static const char text[] =
        "{\"a\\u00e4\":[1,-2.5e3,\"x\\\"y\",true,null,{\"b\":{}}],\"c\":\"ä\"}";
    hk_arena_init(&arena, 1 << 22);
    hk_buf_init(&out, 1 << 20);
    for (size_t len = 0; len < sizeof(text) - 1; len++) {
        char *cut = hk_mem_copy(text, len);
        CHECK_INT(flatten((struct hk_str){ cut, len }), HK_E_MALFORMED);
        hk_mem_free(cut);
    }
    for (int i = 0; i < 20000; i++) {
        char *bent = hk_mem_copy(text, sizeof(text) - 1);
        bent[hk_test_random() % (sizeof(text) - 1)] = (char)hk_test_random();
        const hk_err err = flatten((struct hk_str){ bent, sizeof(text) - 1 });
        CHECK(err == HK_END || err == HK_E_MALFORMED);
        hk_mem_free(bent);
        hk_arena_reset(&arena);
    }
    hk_buf_deinit(&out);
    hk_arena_deinit(&arena);
}

HK_TEST_MAIN()
