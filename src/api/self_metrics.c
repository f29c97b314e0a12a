/* The server's own metrics as protobuf messages (io.prometheus.client, metrics.proto). */
#include "api/self_metrics.h"

#include "codec/proto.h"

enum {
    FAMILY_NAME = 1,
    FAMILY_TYPE = 3,
    FAMILY_METRIC = 4,
    METRIC_LABEL = 1,
    METRIC_GAUGE = 2,
    METRIC_COUNTER = 3,
    TYPE_COUNTER = 0,
    TYPE_GAUGE = 1,
    FAMILY_BYTES_MAX = 16 << 20,
};

/* ------------------------------------------------------------------ negotiation */

/* Takes the text up to `mark`, trimmed, from the front. */
static struct hk_str take_part(struct hk_str *rest, char mark) {
    size_t end = hk_str_find(*rest, mark, 0);
    struct hk_str part = hk_str_trim(hk_str_part(*rest, 0, end));
    *rest = end < rest->len ? hk_str_part(*rest, end + 1, rest->len) : HK_STR("");
    return part;
}

/* One media range of an Accept header. */
struct range {
    struct hk_str type, proto, encoding, version;
    double weight;
};

static struct range read_range(struct hk_str text) {
    struct range range = { .type = take_part(&text, ';'), .weight = 1 };
    while (text.len > 0) {
        struct hk_str value = take_part(&text, ';');
        struct hk_str name = take_part(&value, '=');
        if (hk_str_eq_nocase(name, HK_STR("proto"))) range.proto = value;
        if (hk_str_eq_nocase(name, HK_STR("encoding"))) range.encoding = value;
        if (hk_str_eq_nocase(name, HK_STR("version"))) range.version = value;
        bool weighed = hk_str_eq_nocase(name, HK_STR("q"));
        if (weighed && hk_parse_double(value, &range.weight) < 0) range.weight = 0;
    }
    return range;
}

static bool is_proto(const struct range *range) {
    return hk_str_eq_nocase(range->type, HK_STR("application/vnd.google.protobuf")) &&
           hk_str_is(range->proto, "io.prometheus.client.MetricFamily") &&
           hk_str_is(range->encoding, "delimited");
}

static bool is_text(const struct range *range) {
    bool any = hk_str_is(range->type, "*/*") || hk_str_is(range->type, "text/*");
    bool plain = hk_str_eq_nocase(range->type, HK_STR("text/plain"));
    return any || (plain && (range->version.len == 0 || hk_str_is(range->version, "0.0.4")));
}

bool hk_self_wants_proto(struct hk_str accept) {
    double proto = 0;
    double text = 0;
    while (accept.len > 0) {
        struct range range = read_range(take_part(&accept, ','));
        if (is_proto(&range) && range.weight > proto) proto = range.weight;
        if (is_text(&range) && range.weight > text) text = range.weight;
    }
    return proto > 0 && proto >= text;
}

/* ------------------------------------------------------------------ conversion */

/* The family whose lines are being read. */
struct family {
    struct hk_str name;
    int type; /* -1 = lines are left out */
    struct hk_buf message;
};

static void end_family(struct family *family, struct hk_buf *out) {
    bool some = family->name.len > 0 && family->type >= 0 && family->message.len > 0;
    if (some) {
        hk_proto_put_raw_varint(out, family->message.len);
        hk_buf_str(out, hk_buf_get(&family->message));
        if (family->message.err < 0) out->err = family->message.err;
    }
    hk_buf_clear(&family->message);
    family->name = HK_STR("");
}

/* "name kind" behind "# TYPE ". */
static void begin_family(struct family *family, struct hk_str line, struct hk_buf *out) {
    end_family(family, out);
    family->name = take_part(&line, ' ');
    family->type = hk_str_is(line, "counter") ? TYPE_COUNTER
                   : hk_str_is(line, "gauge") ? TYPE_GAUGE
                                              : -1;
    hk_proto_put_str(&family->message, FAMILY_NAME, family->name);
    hk_proto_put_varint(&family->message, FAMILY_TYPE, (uint64_t)(int64_t)family->type);
}

/* a="b",c="d" */
static bool put_labels(struct hk_str text, struct hk_buf *out) {
    while (text.len > 0) {
        size_t equals = hk_str_find(text, '=', 0);
        size_t end = hk_str_find(text, '"', equals + 2);
        if (end >= text.len || text.ptr[equals + 1] != '"') return false;
        size_t label = hk_proto_begin(out, METRIC_LABEL);
        hk_proto_put_str(out, 1, hk_str_part(text, 0, equals));
        hk_proto_put_str(out, 2, hk_str_part(text, equals + 2, end));
        hk_proto_end(out, label);
        text = hk_str_part(text, end + 1 < text.len ? end + 2 : text.len, text.len);
    }
    return true;
}

/* name{labels} value */
static void put_sample(struct family *family, struct hk_str line) {
    size_t blank = line.len;
    while (blank > 0 && line.ptr[blank - 1] != ' ')
        blank--;
    struct hk_str series = hk_str_trim(hk_str_part(line, 0, blank));
    size_t brace = hk_str_find(series, '{', 0);
    struct hk_str labels =
        brace < series.len ? hk_str_part(series, brace + 1, series.len - 1) : HK_STR("");
    double value = 0;
    bool own = hk_str_eq(hk_str_part(series, 0, brace), family->name) && family->type >= 0;
    if (!own || hk_parse_double(hk_str_part(line, blank, line.len), &value) < 0) return;
    size_t before = family->message.len;
    size_t metric = hk_proto_begin(&family->message, FAMILY_METRIC);
    if (!put_labels(labels, &family->message)) {
        family->message.len = before;
        return;
    }
    uint32_t kind = family->type == TYPE_COUNTER ? METRIC_COUNTER : METRIC_GAUGE;
    size_t body = hk_proto_begin(&family->message, kind);
    hk_proto_put_double(&family->message, 1, value);
    hk_proto_end(&family->message, body);
    hk_proto_end(&family->message, metric);
}

void hk_self_proto(struct hk_str text, struct hk_buf *out) {
    struct family family = { .type = -1 };
    hk_buf_init(&family.message, FAMILY_BYTES_MAX);
    while (text.len > 0) {
        struct hk_str line = take_part(&text, '\n');
        if (hk_str_starts(line, HK_STR("# TYPE ")))
            begin_family(&family, hk_str_part(line, 7, line.len), out);
        else if (line.len > 0 && line.ptr[0] != '#')
            put_sample(&family, line);
    }
    end_family(&family, out);
    hk_buf_deinit(&family.message);
}
