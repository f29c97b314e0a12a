/* Goal: what is written is read back; anything that protobuf forbids is refused. */
#include "codec/base64.h"
#include "codec/proto.h"
#include "hk_test.h"

static struct hk_buf buf;

TEST(round_trip) {
    hk_buf_init(&buf, 1 << 20);
    static const uint64_t values[] = { 0, 1, 127, 128, 16383, 16384, UINT32_MAX, UINT64_MAX };
    for (size_t i = 0; i < HK_COUNT(values); i++) {
        hk_buf_clear(&buf);
        hk_proto_put_varint(&buf, 1, values[i]);
        hk_proto_put_fixed64(&buf, 2, values[i]);
        hk_proto_put_fixed32(&buf, 536870911, (uint32_t)values[i]);
        hk_proto_put_zigzag(&buf, 4, (int64_t)values[i]);
        hk_proto_put_double(&buf, 5, 1.5);
        hk_proto_put_str(&buf, 6, HK_STR("text"));
        struct hk_proto reader = hk_proto_from(buf.ptr, buf.len);
        struct hk_proto_field field = { 0 };
        CHECK_INT(hk_proto_next(&reader, &field), HK_OK);
        CHECK_INT(field.tag, HK_PROTO_TAG(1, HK_PROTO_VARINT));
        CHECK(field.value == values[i]);
        CHECK_INT(hk_proto_next(&reader, &field), HK_OK);
        CHECK(field.value == values[i]);
        CHECK_INT(hk_proto_next(&reader, &field), HK_OK);
        CHECK_INT(field.tag >> 3, 536870911);
        CHECK_INT(field.value, (uint32_t)values[i]);
        CHECK_INT(hk_proto_next(&reader, &field), HK_OK);
        CHECK_INT(hk_proto_zigzag(field.value), (int64_t)values[i]);
        CHECK_INT(hk_proto_next(&reader, &field), HK_OK);
        CHECK_DOUBLE(hk_proto_double(field.value), 1.5);
        CHECK_INT(hk_proto_next(&reader, &field), HK_OK);
        CHECK_STR(hk_proto_str(&field), HK_STR("text"));
        CHECK_INT(hk_proto_next(&reader, &field), HK_END);
        CHECK_INT(hk_proto_check(hk_proto_from(buf.ptr, buf.len)), HK_OK);
    }
    hk_buf_deinit(&buf);
}

TEST(nesting) {
    static const size_t sizes[] = { 0, 1, 127, 128, 16383, 16384, 70000 };
    hk_buf_init(&buf, 1 << 20);
    for (size_t i = 0; i < HK_COUNT(sizes); i++) {
        hk_buf_clear(&buf);
        const size_t outer = hk_proto_begin(&buf, 1);
        const size_t inner = hk_proto_begin(&buf, 2);
        char *text = hk_mem_alloc(sizes[i] + 1, 1);
        memset(text, 'x', sizes[i]);
        hk_proto_put_str(&buf, 3, (struct hk_str){ text, sizes[i] });
        hk_proto_end(&buf, inner);
        hk_proto_put_varint(&buf, 4, 7);
        hk_proto_end(&buf, outer);
        struct hk_proto reader = hk_proto_from(buf.ptr, buf.len);
        struct hk_proto_field field = { 0 };
        CHECK_INT(hk_proto_next(&reader, &field), HK_OK);
        CHECK(reader.at == reader.end);
        reader = hk_proto_sub(&field);
        CHECK_INT(hk_proto_next(&reader, &field), HK_OK);
        struct hk_proto deeper = hk_proto_sub(&field);
        CHECK_INT(hk_proto_next(&reader, &field), HK_OK);
        CHECK_INT(field.value, 7);
        CHECK_INT(hk_proto_next(&deeper, &field), HK_OK);
        CHECK(hk_str_eq(hk_proto_str(&field), (struct hk_str){ text, sizes[i] }));
        hk_mem_free(text);
    }
    hk_buf_deinit(&buf);
}

TEST(malformed) {
    static const struct {
        const char *bytes;
        size_t len;
    } cases[] = {
        { "\x00", 1 },                                              /* field number 0 */
        { "\x08", 1 },                                              /* no value */
        { "\x08\x80", 2 },                                          /* cut varint */
        { "\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 12 }, /* eleven bytes */
        { "\x09\x01\x02", 3 },                                      /* cut fixed64 */
        { "\x0d\x01\x02", 3 },                                      /* cut fixed32 */
        { "\x0a\x05xx", 4 },                                        /* longer than there is */
        { "\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11 },     /* overflows */
        { "\x0b\x0c", 2 },                                          /* group */
        { "\x0e", 1 },                                              /* wire type 6 */
        { "\xf8\xff\xff\xff\xff\x01\x00", 7 },                      /* tag over 32 bits */
    };
    for (size_t i = 0; i < HK_COUNT(cases); i++) {
        char *copy = hk_mem_copy(cases[i].bytes, cases[i].len);
        CHECK_INT(hk_proto_check(hk_proto_from(copy, cases[i].len)), HK_E_MALFORMED);
        hk_mem_free(copy);
    }
    CHECK_INT(hk_proto_check(hk_proto_from(NULL, 0)), HK_OK);
    CHECK_INT(hk_proto_check(hk_proto_from("\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11)), 0);
}

TEST(base64) {
    static const struct {
        const char *plain, *coded;
    } cases[] = {
        { "", "" },        { "f", "Zg==" },          { "fo", "Zm8=" },
        { "foo", "Zm9v" }, { "foobar", "Zm9vYmFy" }, { "\xfb\xff\xfe", "+//+" },
    };
    hk_buf_init(&buf, 1 << 20);
    for (size_t i = 0; i < HK_COUNT(cases); i++) {
        hk_buf_clear(&buf);
        hk_base64_encode(hk_str_from(cases[i].plain), &buf);
        CHECK_STR(hk_buf_get(&buf), hk_str_from(cases[i].coded));
        hk_buf_clear(&buf);
        CHECK_INT(hk_base64_decode(hk_str_from(cases[i].coded), &buf), HK_OK);
        CHECK_STR(hk_buf_get(&buf), hk_str_from(cases[i].plain));
    }
    hk_buf_clear(&buf);
    CHECK_INT(hk_base64_decode(HK_STR("-__-"), &buf), HK_OK);
    CHECK_STR(hk_buf_get(&buf), HK_STR("\xfb\xff\xfe"));
    CHECK_INT(hk_base64_decode(HK_STR("Zg"), &buf), HK_OK);
    static const char *const bad[] = {
        "Z", "Zg=", "Z===", "Zh==", "Zm9v=", "Z g=", "====", "Zg==x"
    };
    for (size_t i = 0; i < HK_COUNT(bad); i++)
        CHECK_INT(hk_base64_decode(hk_str_from(bad[i]), &buf), HK_E_MALFORMED);
    hk_buf_deinit(&buf);
}

HK_TEST_MAIN()
