/*
 * Fuzz: any text becomes well-formed protobuf or an error, the same in one turn and in many; what
 * comes out is taken by the protobuf parser without a complaint about the wire format.
 */
#include "ingest/otlp_json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static struct hk_batch batch;
static struct hk_otlp otlp;

static void parse(struct hk_str body) {
    struct hk_arena arena;
    hk_arena_init(&arena, 1 << 26);
    batch.arena = &arena;
    hk_otlp_init(&otlp, body, (struct hk_hash128){ 1, 2 }, NULL, NULL);
    hk_err err = HK_FULL;
    while (err == HK_FULL) {
        hk_batch_clear(&batch);
        err = hk_parser_otlp.parse(&otlp, &batch);
    }
    hk_assert(err != HK_E_MALFORMED);
    hk_arena_deinit(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    if (bytes == 0) return 0;
    const struct hk_str text = { (const char *)data + 1, bytes - 1 };
    const enum hk_otlp_signal signal = (enum hk_otlp_signal)(data[0] % 3);
    struct hk_otlp_transcoder transcoder;
    struct hk_buf once;
    hk_buf_init(&once, 1 << 22);
    const hk_err first = hk_otlp_json_to_proto(signal, text, &once);
    hk_otlp_transcoder_init(&transcoder, signal, text, 1 << 22);
    hk_err err = HK_MORE;
    while (err == HK_MORE)
        err = hk_otlp_transcoder_step(&transcoder, 3);
    hk_assert(err == first);
    if (err == HK_OK) {
        const struct hk_str body = hk_otlp_transcoder_get(&transcoder);
        hk_assert(hk_str_eq(body, hk_buf_get(&once)));
        hk_assert(hk_proto_check(hk_proto_from(body.ptr, body.len)) == HK_OK);
        if (signal == HK_OTLP_METRICS) parse(body);
    }
    hk_otlp_transcoder_deinit(&transcoder);
    hk_buf_deinit(&once);
    return 0;
}
