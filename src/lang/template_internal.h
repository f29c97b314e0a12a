/* What the parts of the template engine share: tokens, instructions, the machine. */
#ifndef HK_LANG_TEMPLATE_INTERNAL_H
#define HK_LANG_TEMPLATE_INTERNAL_H

#include "lang/template.h"

/* --- Tokens ----------------------------------------------------------------------------------- */

enum tok {
    TOK_END, /* }} */
    TOK_IDENT,
    TOK_FIELD, /* .name, `text` without the dot */
    TOK_DOT,
    TOK_VARIABLE, /* `text` with the $ */
    TOK_STRING,   /* `text` is unescaped */
    TOK_INT,
    TOK_FLOAT,
    TOK_PIPE,
    TOK_OPEN,
    TOK_CLOSE,
    TOK_DECLARE,
    TOK_ASSIGN,
    TOK_COMMA,
};

struct token {
    enum tok kind;
    bool space_before;
    bool trim; /* of TOK_END: -}} */
    uint32_t at;
    struct hk_str text;
    int64_t integer;
    double number;
};

struct lexer {
    struct hk_str source_name, text;
    size_t at; /* next byte */
    struct hk_arena *arena;
};

/* Reads one token inside an action. HK_E_MALFORMED with a text, HK_E_NOMEM. */
hk_err hk_template_lex(struct lexer *lexer, struct token *out);

/* Fails with "template: NAME:LINE:COLUMN: <format>". */
hk_err hk_template_fail_at(
    hk_err code, struct hk_str name, struct hk_str text, size_t at, const char *format, ...)
    HK_PRINTF(5, 6);

/* --- Code ------------------------------------------------------------------------------------- */

enum op {
    OP_TEXT,       /* a: constant to write */
    OP_PRINT,      /* pops and writes */
    OP_POP,        /* pops */
    OP_CONST,      /* a: constant to push */
    OP_DOT,        /* pushes . */
    OP_LOAD,       /* a: variable to push */
    OP_STORE,      /* a: variable to pop into */
    OP_FIELD,      /* a: constant with the name; argc, piped: method call */
    OP_CALL,       /* a: function */
    OP_JUMP,       /* a: target */
    OP_JUMP_FALSE, /* pops */
    OP_AND,
    OP_OR,          /* a: target when decided (value stays), otherwise pops */
    OP_WITH,        /* a: target when false; otherwise . is the popped value */
    OP_WITH_END,    /* back to the outer . */
    OP_RANGE,       /* a: target when empty; pops */
    OP_NEXT,        /* a: target at the end */
    OP_RANGE_KEY,   /* a: variable */
    OP_RANGE_VALUE, /* a: variable */
    OP_BREAK,       /* a: target */
    OP_CONTINUE,    /* a: target, the OP_NEXT */
    OP_TEMPLATE,    /* a: routine; pops its . */
    OP_RETURN,
};

struct instruction {
    uint8_t op;
    bool piped;
    uint16_t argc;
    uint32_t a;
    uint32_t at; /* place in the source, for errors */
};

struct routine {
    struct hk_str name;
    uint32_t entry; /* UINT32_MAX: called but not defined */
    uint32_t variable_count;
    uint32_t source;
    uint32_t called_at, called_source; /* first call, for the error */
};

struct hk_template {
    struct hk_arena arena;
    struct hk_template_source *sources;
    uint32_t source_count;
    struct instruction *code;
    size_t code_count, code_capacity;
    struct hk_template_value *constants;
    size_t constant_count, constant_capacity;
    struct routine *routines; /* [0] is the first source's own text */
    size_t routine_count, routine_capacity;
};

/* Variables that exist before the first action of a rule's template; 0 is `$`. */
enum {
    VARIABLE_ROOT,
    VARIABLE_LABELS,
    VARIABLE_EXTERNAL_LABELS,
    VARIABLE_EXTERNAL_URL,
    VARIABLE_VALUE,
    VARIABLE_PREDEFINED
};

/* --- Machine ---------------------------------------------------------------------------------- */

enum {
    MACHINE_STACK_MAX = 128,
    MACHINE_VARIABLES_MAX = 1024,
    MACHINE_DOTS_MAX = 256,
    MACHINE_RANGES_MAX = 128
};

struct range {
    struct hk_template_value over;
    uint32_t next, count;
    uint32_t dots; /* of . outside */
    struct hk_template_value key, value;
};

struct call {
    uint32_t pc, routine, variables, dots, ranges;
};

struct machine {
    const struct hk_template *tmpl;
    const struct hk_template_data *data;
    struct hk_buf *out;
    size_t out_start;
    struct hk_arena arena;
    uint64_t steps;
    uint32_t pc, routine, variables; /* `variables`: base of the present routine's */
    uint32_t stack_count, dot_count, range_count, call_count;
    struct hk_template_value stack[MACHINE_STACK_MAX];
    struct hk_template_value slots[MACHINE_VARIABLES_MAX];
    struct hk_template_value dots[MACHINE_DOTS_MAX];
    struct range ranges[MACHINE_RANGES_MAX];
    struct call calls[HK_TEMPLATE_CALL_DEPTH_MAX];
};

struct template_function {
    const char *name;
    uint8_t argc_min, argc_max;
    /* Failures say what is wrong, without the function's name. */
    hk_err (*call)(
        struct machine *machine, const struct hk_template_value *args, uint32_t argc,
        struct hk_template_value *out);
};

/* Index of the function, -1 if there is none; the table's row. */
int hk_template_function_find(struct hk_str name);
const struct template_function *hk_template_function_get(uint32_t index);

/* Method of a value (times have some). HK_E_NOT_FOUND. */
hk_err hk_template_method(
    struct machine *machine, const struct hk_template_value *self, struct hk_str name,
    const struct hk_template_value *args, uint32_t argc, struct hk_template_value *out);

/* Adds to the steps; HK_E_LIMIT beyond HK_TEMPLATE_STEPS_MAX. */
hk_err hk_template_charge(struct machine *machine, uint64_t steps);

extern const struct hk_template_type hk_template_type_labels; /* self: struct hk_labels */

/* --- Values and text -------------------------------------------------------------------------- */

bool hk_template_truth(const struct hk_template_value *value);

/* Type name as Go says it. */
const char *hk_template_type_name(const struct hk_template_value *value);

/* Appends the value as Go's %v does. */
void hk_template_print(const struct hk_template_value *value, struct hk_buf *out);

/* Sprintf; a wrong format shows in the text, as in Go. */
void hk_template_printf(
    struct hk_str format, const struct hk_template_value *args, uint32_t argc, struct hk_buf *out);

/* Go's strconv.Quote. */
void hk_template_quote(struct hk_str text, struct hk_buf *out);

/* Go's %g with the shortest digits. */
void hk_template_float(double value, struct hk_buf *out);

/* Time by a Go layout; as Go's Time.String(). */
void hk_template_time_format(int64_t stamp_ms, struct hk_str layout, struct hk_buf *out);
void hk_template_time_text(int64_t stamp_ms, struct hk_buf *out);

/* Calendar part of a time: y year, m month, d day, h hour, M minute, s second, w weekday (0 =
 * Sunday), D day of the year. */
int64_t hk_template_time_part(int64_t stamp_ms, char part);

/* Name of month 1…12, of weekday 0…6. */
const char *hk_template_month(int64_t month);
const char *hk_template_weekday(int64_t day);

/* Upper (or lower) case of text; ASCII, Latin, Greek and Cyrillic. `title`: first of each word. */
void hk_template_case(struct hk_str text, bool upper, bool title, struct hk_buf *out);

#endif
