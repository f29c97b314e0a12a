/* OTLP/JSON to protobuf, by tables of the messages' members. */
#include "ingest/otlp_json.h"

#include "codec/base64.h"
#include "ingest/otlp_internal.h"

enum kind {
    STRING,
    HEX,
    BASE64,
    BOOLEAN,
    VARINT,        /* uint32, uint64, enum */
    VARINT_SIGNED, /* int32, int64 */
    VARINT_ZIGZAG, /* sint32 */
    FIXED64,
    FIXED64_SIGNED,
    FIXED32,
    REAL, /* double */
    MESSAGE,
    KIND_MASK = 15,
    REPEATED = 16,
    PRESENT = 32,
};

struct hk_otlp_json_field {
    const char *key;
    uint8_t number, kind;
    const struct hk_otlp_json_message *message;
};

struct hk_otlp_json_message {
    const struct hk_otlp_json_field *fields;
    uint32_t count;
};

typedef struct hk_otlp_json_message message_table;

/* First the messages' names, which refer to each other, then their fields, then the tables. */
#define F(key, number, kind, message)
#define BEGIN(name) static const message_table message_##name;
#define END(name)
#include "ingest/otlp_json.def"
#undef F
#undef BEGIN
#undef END

/* clang-format off */
#define F(key, number, kind, message) { key, number, kind, message },
#define BEGIN(name) static const struct hk_otlp_json_field fields_##name[] = {
#define END(name) \
    }; \
    static const message_table message_##name = { fields_##name, HK_COUNT(fields_##name) };
/* clang-format on */
#include "ingest/otlp_json.def"
#undef F
#undef BEGIN
#undef END

void hk_otlp_transcoder_init(
    struct hk_otlp_transcoder *transcoder, enum hk_otlp_signal signal, struct hk_str text,
    size_t bytes_max) {
    static const message_table *const roots[] = {
        [HK_OTLP_METRICS] = &message_metrics_request,
        [HK_OTLP_LOGS] = &message_logs_request,
        [HK_OTLP_TRACES] = &message_traces_request,
    };
    *transcoder = (struct hk_otlp_transcoder){ .root = roots[signal] };
    /* A turn unescapes strings of its tokens; one string may be as long as the text. */
    hk_arena_init(&transcoder->arena, text.len * 2 + (1U << 20));
    hk_buf_init(&transcoder->out, bytes_max);
    hk_json_init(&transcoder->json, text, &transcoder->arena);
}

void hk_otlp_transcoder_deinit(struct hk_otlp_transcoder *transcoder) {
    hk_buf_deinit(&transcoder->out);
    hk_arena_deinit(&transcoder->arena);
}

static hk_err push(
    struct hk_otlp_transcoder *t, const message_table *message,
    const struct hk_otlp_json_field *field, size_t begin) {
    if (t->depth == HK_COUNT(t->frames)) return hk_json_fail(&t->json, "nested too deep");
    t->frames[t->depth++] = (struct hk_otlp_json_frame){ message, field, begin };
    return HK_OK;
}

static void pop(struct hk_otlp_transcoder *t) {
    const struct hk_otlp_json_frame *frame = &t->frames[--t->depth];
    if (frame->begin != 0) hk_proto_end(&t->out, frame->begin);
}

static const struct hk_otlp_json_field *
find_field(const message_table *message, struct hk_str key) {
    for (uint32_t i = 0; i < message->count; i++) {
        if (hk_str_is(key, message->fields[i].key)) return &message->fields[i];
    }
    return NULL;
}

static int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

/* A field of bytes whose text is in hex or base64. */
static hk_err put_bytes(struct hk_otlp_transcoder *t, uint32_t number, bool is_hex) {
    struct hk_str text = { "", 0 };
    HK_TRY(hk_json_str(&t->json, &text));
    const size_t begin = hk_proto_begin(&t->out, number);
    if (!is_hex) {
        if (hk_base64_decode(text, &t->out) == HK_E_MALFORMED) {
            return hk_json_fail(&t->json, "invalid base64");
        }
    } else if (text.len % 2 != 0) {
        return hk_json_fail(&t->json, "odd number of hex digits");
    }
    for (size_t i = 0; is_hex && i < text.len; i += 2) {
        const int high = hex_digit(text.ptr[i]), low = hex_digit(text.ptr[i + 1]);
        if (high < 0 || low < 0) return hk_json_fail(&t->json, "invalid hex digit");
        hk_buf_char(&t->out, (char)(high << 4 | low));
    }
    hk_proto_end(&t->out, begin);
    return HK_OK;
}

/* Bits of a number as the wire carries them. */
static hk_err number_bits(struct hk_otlp_transcoder *t, unsigned kind, uint64_t *out) {
    int64_t number = 0;
    double real = 0;
    bool truth = false;
    switch (kind) {
    case BOOLEAN:
        HK_TRY(hk_json_bool(&t->json, &truth));
        *out = truth;
        return HK_OK;
    case REAL:
        HK_TRY(hk_json_double(&t->json, &real));
        memcpy(out, &real, sizeof(real));
        return HK_OK;
    case VARINT_SIGNED:
    case FIXED64_SIGNED:
        HK_TRY(hk_json_i64(&t->json, &number));
        *out = (uint64_t)number;
        return HK_OK;
    case VARINT_ZIGZAG:
        HK_TRY(hk_json_i64(&t->json, &number));
        if (number < INT32_MIN || number > INT32_MAX) {
            return hk_json_fail(&t->json, "number beyond 32 bits");
        }
        *out = (uint32_t)((uint32_t)number << 1) ^ (uint32_t)(number >> 63);
        return HK_OK;
    default:
        return hk_json_u64(&t->json, out);
    }
}

static void
put_number(struct hk_otlp_transcoder *t, const struct hk_otlp_json_field *field, uint64_t bits) {
    const unsigned kind = field->kind & KIND_MASK;
    /* In arrays numbers are packed: without a tag of their own. */
    const bool packed = (field->kind & REPEATED) != 0;
    if (kind == FIXED32) {
        hk_proto_put_fixed32(&t->out, field->number, (uint32_t)bits);
    } else if (kind == FIXED64 || kind == FIXED64_SIGNED || kind == REAL) {
        if (packed) {
            hk_buf_bytes(&t->out, &bits, sizeof(bits));
        } else {
            hk_proto_put_fixed64(&t->out, field->number, bits);
        }
    } else if (packed) {
        hk_proto_put_raw_varint(&t->out, bits);
    } else {
        hk_proto_put_varint(&t->out, field->number, bits);
    }
}

static hk_err put_scalar(struct hk_otlp_transcoder *t, const struct hk_otlp_json_field *field) {
    const unsigned kind = field->kind & KIND_MASK;
    const bool always = (field->kind & (PRESENT | REPEATED)) != 0;
    uint64_t bits = 0;
    if (kind == STRING) {
        struct hk_str text = { "", 0 };
        HK_TRY(hk_json_str(&t->json, &text));
        if (text.len > 0 || always) hk_proto_put_str(&t->out, field->number, text);
        return HK_OK;
    }
    if (kind == HEX || kind == BASE64) {
        if (t->json.type == HK_JSON_STRING && t->json.text.len == 0 && !always) return HK_OK;
        return put_bytes(t, field->number, kind == HEX);
    }
    HK_TRY(number_bits(t, kind, &bits));
    if (bits != 0 || always) put_number(t, field, bits);
    return HK_OK;
}

static hk_err open_object(struct hk_otlp_transcoder *t, const struct hk_otlp_json_field *field) {
    if (t->json.type != HK_JSON_OBJECT) return hk_json_fail(&t->json, "expected an object");
    return push(t, field->message, NULL, hk_proto_begin(&t->out, field->number));
}

/* A member's value: a scalar is written, an object or array opened. */
static hk_err take_member(struct hk_otlp_transcoder *t, const struct hk_otlp_json_field *field) {
    const unsigned kind = field->kind & KIND_MASK;
    if (t->json.type == HK_JSON_NULL) return HK_OK;
    if ((field->kind & REPEATED) == 0) {
        return kind == MESSAGE ? open_object(t, field) : put_scalar(t, field);
    }
    if (t->json.type != HK_JSON_ARRAY) return hk_json_fail(&t->json, "expected an array");
    const bool packed = kind != MESSAGE && kind != STRING;
    return push(t, NULL, field, packed ? hk_proto_begin(&t->out, field->number) : 0);
}

static hk_err take_token(struct hk_otlp_transcoder *t) {
    if (t->skip_depth > 0) {
        if (t->json.depth < t->skip_depth) t->skip_depth = 0;
        return HK_OK;
    }
    if (t->json.type == HK_JSON_OBJECT_END || t->json.type == HK_JSON_ARRAY_END) {
        pop(t);
        return HK_OK;
    }
    if (t->depth == 0) {
        if (t->json.type != HK_JSON_OBJECT) return hk_json_fail(&t->json, "expected an object");
        return push(t, t->root, NULL, 0);
    }
    const struct hk_otlp_json_frame *frame = &t->frames[t->depth - 1];
    if (frame->message == NULL) { /* an item of an array */
        const bool message = (frame->field->kind & KIND_MASK) == MESSAGE;
        return message ? open_object(t, frame->field) : put_scalar(t, frame->field);
    }
    const struct hk_otlp_json_field *field = find_field(frame->message, t->json.key);
    if (field != NULL) return take_member(t, field);
    const bool nested = t->json.type == HK_JSON_OBJECT || t->json.type == HK_JSON_ARRAY;
    if (nested) t->skip_depth = t->json.depth;
    return HK_OK;
}

hk_err hk_otlp_transcoder_step(struct hk_otlp_transcoder *transcoder, uint32_t tokens_max) {
    hk_arena_reset(&transcoder->arena);
    for (uint32_t i = 0; i < tokens_max; i++) {
        const hk_err err = hk_json_next(&transcoder->json);
        if (err == HK_END) return HK_OK;
        HK_TRY(err);
        HK_TRY(take_token(transcoder));
        if (transcoder->out.err < 0) {
            return hk_fail(
                transcoder->out.err, "otlp: the request takes over %zu bytes",
                transcoder->out.bytes_max);
        }
    }
    return HK_MORE;
}

hk_err hk_otlp_json_to_proto(enum hk_otlp_signal signal, struct hk_str text, struct hk_buf *out) {
    enum { STEP_TOKENS = 65536 };
    struct hk_otlp_transcoder transcoder;
    hk_otlp_transcoder_init(&transcoder, signal, text, 0);
    transcoder.out = *out; /* lent until the end */
    hk_err err = HK_MORE;
    while (err == HK_MORE)
        err = hk_otlp_transcoder_step(&transcoder, STEP_TOKENS);
    *out = transcoder.out;
    hk_buf_init(&transcoder.out, 0);
    hk_otlp_transcoder_deinit(&transcoder);
    return err;
}

enum { TURN_TOKENS = 2048 };

void hk_otlp_json_init(
    struct hk_otlp_json *state, struct hk_str body, size_t bytes_max, struct hk_hash128 base,
    const struct hk_otlp_options *options, struct hk_meta_seen *seen) {
    hk_otlp_transcoder_init(&state->transcoder, HK_OTLP_METRICS, body, bytes_max);
    state->base = base;
    state->options = options;
    state->seen = seen;
    state->ready = false;
}

void hk_otlp_json_deinit(struct hk_otlp_json *state) {
    hk_otlp_transcoder_deinit(&state->transcoder);
}

static hk_err otlp_json_parse(void *self, struct hk_batch *batch) {
    struct hk_otlp_json *state = self;
    if (!state->ready) {
        const hk_err err = hk_otlp_transcoder_step(&state->transcoder, TURN_TOKENS);
        if (err != HK_OK) return err == HK_MORE ? HK_FULL : err;
        const struct hk_str body = hk_otlp_transcoder_get(&state->transcoder);
        hk_otlp_init(&state->otlp, body, state->base, state->options, state->seen);
        state->ready = true;
    }
    return hk_parser_otlp.parse(&state->otlp, batch);
}

static hk_err otlp_json_labels(
    void *self, struct hk_batch *batch, const struct hk_entry *entry, struct hk_label_set *out) {
    struct hk_otlp_json *state = self;
    return hk_otlp_labels(&state->otlp, batch, entry, out);
}

const struct hk_metric_parser hk_parser_otlp_json = {
    .name = "otlp_json",
    .parse = otlp_json_parse,
    .labels = otlp_json_labels,
};
