/*
 * The canonical text of a configuration: keys in the order of the tables, defaults filled in,
 * aliases and merges resolved, secrets hidden. A value with ${…} is shown as written, so that
 * what came from the environment or a file is never shown. An explicit stack in place of recursion.
 */
#include "conf/print.h"

#include "base/mem.h"

enum { FRAMES_MAX = 4 * HK_CONF_DEPTH_MAX };

/* A mapping (table set) or a list of mappings (table set, `entries` set) under printing. */
struct frame {
    const struct hk_option_table *table;
    const struct hk_conf_node *node; /* NULL: defaults only */
    bool entries;                    /* node's children are printed with `table`, one by one */
    bool defaults;                   /* print them */
    bool header;                     /* a line "key:" stands before */
    size_t index;                    /* of the next option or child */
    size_t indent;
    size_t start; /* length of the output behind the header */
};

struct printer {
    struct hk_buf *out;
    struct frame *frames;
    size_t count;
    bool dash; /* the next line begins an entry of a list */
};

static void begin_line(struct printer *printer, size_t indent) {
    size_t spaces = printer->dash ? indent - 2 : indent;
    for (size_t i = 0; i < spaces; i++)
        hk_buf_char(printer->out, ' ');
    if (printer->dash) hk_buf_text(printer->out, "- ");
    printer->dash = false;
}

static bool is_plain(struct hk_str text, bool string) {
    static const char *const words[] = { "true", "false", "yes",  "no",  "on", "off",
                                         "y",    "n",     "null", "inf", "nan" };
    if (text.len == 0 || text.ptr[text.len - 1] == ':') return false;
    for (size_t i = 0; i < HK_COUNT(words) && string; i++) {
        if (hk_str_eq_nocase(text, hk_str_from(words[i]))) return false;
    }
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '/';
        bool digit = c >= '0' && c <= '9';
        bool inner = c == '.' || c == '+' || c == '-' || c == ':' || c == '@' || c == '=';
        if (i == 0 && string && !letter) return false;
        if (!letter && !digit && !inner) return false;
    }
    return true;
}

static void put_string(struct printer *printer, struct hk_str text) {
    if (is_plain(text, true)) {
        hk_buf_str(printer->out, text);
    } else {
        hk_buf_json(printer->out, text);
    }
}

/* A URL without the password in it (RFC 3986 §3.2.1). */
static void put_text(struct printer *printer, struct hk_str text) {
    size_t at = 0;
    while (at + 3 <= text.len && memcmp(text.ptr + at, "://", 3) != 0)
        at++;
    size_t host = at + 3;
    size_t sign = hk_str_find(text, '@', host);
    size_t slash = hk_str_find(text, '/', host);
    size_t colon = hk_str_find(text, ':', host);
    if (host > text.len || sign >= slash || colon >= sign) {
        put_string(printer, text);
        return;
    }
    struct hk_buf buf;
    hk_buf_init(&buf, HK_CONF_SCALAR_BYTES_MAX + 64);
    hk_buf_str(&buf, hk_str_part(text, 0, colon + 1));
    hk_buf_text(&buf, "<secret>");
    hk_buf_str(&buf, hk_str_part(text, sign, text.len));
    put_string(printer, hk_buf_get(&buf));
    if (buf.err < 0) printer->out->err = buf.err;
    hk_buf_deinit(&buf);
}

static void put_typed(struct printer *printer, const struct hk_option *option, struct hk_str text) {
    union {
        bool flag;
        int64_t number;
        uint64_t bytes;
        double real;
        int choice;
        struct hk_str str;
    } value = { 0 };
    struct hk_conf_why why;
    char duration[HK_TIME_BYTES_MAX];
    bool fine = hk_conf_convert(option, text, &value, &why) == HK_OK;
    if (fine && option->type == HK_OPTION_BOOL) {
        hk_buf_text(printer->out, value.flag ? "true" : "false");
    } else if (fine && option->type == HK_OPTION_DURATION) {
        size_t len = hk_format_duration_ms(value.number, duration);
        hk_buf_bytes(printer->out, duration, len);
    } else if (fine && option->type == HK_OPTION_INT) {
        hk_buf_printf(printer->out, "%lld", (long long)value.number);
    } else if (is_plain(text, false)) {
        hk_buf_str(printer->out, text);
    } else {
        hk_buf_json(printer->out, text);
    }
}

static void
put_scalar(struct printer *printer, const struct hk_option *option, struct hk_str text) {
    bool hidden = option->type == HK_OPTION_SECRET || option->type == HK_OPTION_SECRETS ||
                  (option->flags & HK_OPTION_HIDE) != 0;
    if (hidden) {
        hk_buf_text(printer->out, "<secret>");
        return;
    }
    bool typed = option->type == HK_OPTION_BOOL || option->type == HK_OPTION_INT ||
                 option->type == HK_OPTION_DOUBLE || option->type == HK_OPTION_DURATION ||
                 option->type == HK_OPTION_SIZE || option->type == HK_OPTION_ENUM ||
                 option->type == HK_OPTION_ENUMS;
    if (typed && hk_str_find(text, '$', 0) == text.len) {
        put_typed(printer, option, text);
    } else {
        put_text(printer, text);
    }
}

static void
put_list(struct printer *printer, const struct hk_option *option, const struct hk_conf_node *node) {
    hk_buf_char(printer->out, '[');
    for (uint32_t i = 0; i < node->count && node->kind == HK_CONF_SEQUENCE; i++) {
        if (i > 0) hk_buf_text(printer->out, ", ");
        put_scalar(printer, option, node->items[i]->text);
    }
    hk_buf_char(printer->out, ']');
}

/* LABELS, MAP and PARAMS: one line per name. */
static void put_map(
    struct printer *printer, const struct hk_option *option, const struct hk_conf_node *node,
    size_t indent) {
    if (node->kind != HK_CONF_MAPPING || node->count == 0) {
        hk_buf_text(printer->out, " {}\n");
        return;
    }
    hk_buf_char(printer->out, '\n');
    for (uint32_t i = 0; i < node->count; i++) {
        begin_line(printer, indent + 2);
        put_string(printer, node->pairs[i].key);
        hk_buf_text(printer->out, ": ");
        if (option->type == HK_OPTION_PARAMS) {
            put_list(printer, option, node->pairs[i].value);
        } else {
            put_scalar(printer, option, node->pairs[i].value->text);
        }
        hk_buf_char(printer->out, '\n');
    }
}

static bool is_nested(const struct hk_option *option) {
    return option->type == HK_OPTION_STRUCT || option->type == HK_OPTION_OPTIONAL ||
           option->type == HK_OPTION_STRUCTS || option->type == HK_OPTION_NAMED;
}

static void push(struct printer *printer, struct frame frame) {
    if (HK_NEVER(printer->count == FRAMES_MAX)) {
        printer->out->err = HK_E_LIMIT;
        return;
    }
    frame.start = printer->out->len;
    printer->frames[printer->count++] = frame;
}

static void
put_default(struct printer *printer, const struct frame *frame, const struct hk_option *option) {
    if (!frame->defaults || option->status != HK_OPTION_ACTS) return;
    if (option->type == HK_OPTION_STRUCT) {
        begin_line(printer, frame->indent);
        hk_buf_printf(printer->out, "%s:\n", option->key);
        push(
            printer, (struct frame){ .table = option->table,
                                     .defaults = true,
                                     .header = true,
                                     .indent = frame->indent + 2 });
    } else if (
        option->fallback != NULL && option->fallback[0] != 0 && option->fallback_text == NULL) {
        begin_line(printer, frame->indent);
        hk_buf_printf(printer->out, "%s: ", option->key);
        if (option->type == HK_OPTION_STRING || option->type == HK_OPTION_FILE) {
            put_string(printer, hk_str_from(option->fallback));
        } else {
            put_typed(printer, option, hk_str_from(option->fallback));
        }
        hk_buf_char(printer->out, '\n');
    }
}

static void
put_option(struct printer *printer, const struct frame *frame, const struct hk_option *option) {
    const struct hk_conf_node *value =
        frame->node == NULL ? NULL : hk_conf_node_get(frame->node, option->key);
    if (value == NULL || hk_conf_node_is_null(value)) {
        put_default(printer, frame, option);
        return;
    }
    begin_line(printer, frame->indent);
    hk_buf_printf(printer->out, "%s:", option->key);
    if (is_nested(option)) {
        bool list = option->type == HK_OPTION_STRUCTS || option->type == HK_OPTION_NAMED;
        hk_buf_char(printer->out, '\n');
        push(
            printer,
            (struct frame){ .table = option->table,
                            .node = value,
                            .entries = list,
                            .defaults = frame->defaults && option->status == HK_OPTION_ACTS,
                            .header = true,
                            .indent = frame->indent +
                                      (list && value->kind == HK_CONF_SEQUENCE ? 0 : 2) });
        return;
    }
    /* Three shapes of values; everything else is a scalar. */
    switch ((int)option->type) {
    case HK_OPTION_LABELS:
    case HK_OPTION_MAP:
    case HK_OPTION_PARAMS:
        put_map(printer, option, value, frame->indent);
        return;
    case HK_OPTION_STRINGS:
    case HK_OPTION_SECRETS:
    case HK_OPTION_FILES:
    case HK_OPTION_ENUMS:
        hk_buf_char(printer->out, ' ');
        put_list(printer, option, value);
        break;
    case HK_OPTION_ANY:
        hk_buf_text(printer->out, " <not shown>");
        break;
    default:
        hk_buf_char(printer->out, ' ');
        put_scalar(printer, option, value->text);
        break;
    }
    hk_buf_char(printer->out, '\n');
}

/* One entry of a list of mappings, or of a mapping of mappings. */
static void put_entry(struct printer *printer, struct frame *frame) {
    const struct hk_conf_node *list = frame->node;
    size_t index = frame->index++;
    struct frame entry = { .table = frame->table,
                           .defaults = frame->defaults,
                           .indent = frame->indent + 2 };
    if (list->kind == HK_CONF_SEQUENCE) {
        entry.node = list->items[index];
        printer->dash = true;
    } else {
        entry.node = list->pairs[index].value;
        entry.header = true;
        begin_line(printer, frame->indent);
        put_string(printer, list->pairs[index].key);
        hk_buf_text(printer->out, ":\n");
    }
    push(printer, entry);
}

/* Nothing was printed: the mapping is empty. */
static void end_frame(struct printer *printer) {
    struct frame frame = printer->frames[--printer->count];
    if (printer->dash && !frame.entries && frame.table != NULL &&
        printer->out->len == frame.start && !frame.header) {
        begin_line(printer, frame.indent);
        hk_buf_text(printer->out, "{}\n");
        return;
    }
    if (!frame.header || printer->out->len != frame.start || printer->out->err < 0) return;
    bool list = frame.entries && frame.node != NULL && frame.node->kind == HK_CONF_SEQUENCE;
    printer->out->len--; /* the line end behind "key:" */
    hk_buf_text(printer->out, list ? " []\n" : " {}\n");
}

static void step(struct printer *printer) {
    struct frame *frame = &printer->frames[printer->count - 1];
    if (frame->entries) {
        bool fine = frame->node->kind != HK_CONF_SCALAR && frame->index < frame->node->count;
        if (fine) {
            put_entry(printer, frame);
        } else {
            end_frame(printer);
        }
        return;
    }
    if (frame->index == frame->table->count) {
        bool inlined = !frame->header && !printer->dash && printer->count > 1;
        if (inlined && printer->out->len == frame->start) {
            printer->count--;
        } else {
            end_frame(printer);
        }
        return;
    }
    const struct hk_option *option = &frame->table->options[frame->index++];
    if (option->type == HK_OPTION_INLINE) {
        struct frame inner = *frame;
        inner.table = option->table;
        inner.index = 0;
        inner.header = false;
        push(printer, inner);
        return;
    }
    struct frame copy = *frame;
    put_option(printer, &copy, option);
}

hk_err hk_conf_print(
    const struct hk_option_table *table, const struct hk_conf_node *node, struct hk_buf *out) {
    struct printer printer = { .out = out };
    printer.frames = hk_mem_alloc(FRAMES_MAX, sizeof(*printer.frames));
    if (printer.frames == NULL) return HK_E_NOMEM;
    push(&printer, (struct frame){ .table = table, .node = node, .defaults = true });
    while (printer.count > 0 && out->err == HK_OK)
        step(&printer);
    hk_mem_free(printer.frames);
    return out->err;
}
