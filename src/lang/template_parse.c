/*
 * Templates to code for a small stack machine. No recursion: blocks and brackets have their own
 * bounded stacks.
 *
 * (1) A pipeline leaves exactly one value on the machine's stack, or has stored it in a variable.
 * (2) Variables are numbered within their routine; a number is reused when its block has ended.
 * (3) A definition's code stands where the definition stood, jumped over by what surrounds it.
 */
#include "lang/template_internal.h"

#include "base/mem.h"

enum block_kind { BLOCK_IF, BLOCK_WITH, BLOCK_RANGE, BLOCK_DEFINE };

#define NOWHERE UINT32_MAX

struct block {
    enum block_kind kind;
    bool has_else;
    uint32_t fix_else;  /* jump to patch at else or end */
    uint32_t end_chain; /* jumps to patch at end, linked through their targets */
    uint32_t loop;      /* OP_NEXT of a range */
    uint32_t variables; /* visible before the block */
    uint32_t at;
    uint32_t base, routine; /* of what surrounds a definition */
};

/* The command of a pipeline that is being read. */
struct command {
    enum { HEAD_NONE, HEAD_VALUE, HEAD_FUNCTION, HEAD_FIELD } head;
    bool piped;       /* a value came by | */
    uint32_t id, at;  /* function, or constant with the field's name */
    uint32_t argc;    /* not counting the piped value */
    uint32_t decided; /* chain of OP_AND / OP_OR */
    enum op short_by; /* OP_AND, OP_OR, or OP_RETURN for others */
};

struct parser {
    struct hk_template *tmpl;
    struct lexer lexer;
    struct token token;
    uint32_t source, routine;
    uint32_t block_count, variable_count, variable_base;
    struct block blocks[HK_TEMPLATE_NESTING_MAX];
    struct hk_str variables[HK_TEMPLATE_VARIABLES_MAX * 2];
    struct command commands[HK_TEMPLATE_NESTING_MAX];
};

#define FAIL(parser, where, ...)                                                                   \
    hk_err_after(                                                                                  \
        HK_E_MALFORMED, hk_template_fail_at(                                                       \
                            HK_E_MALFORMED, (parser)->lexer.source_name, (parser)->lexer.text,     \
                            (where), __VA_ARGS__))

static hk_err next(struct parser *parser) {
    return hk_template_lex(&parser->lexer, &parser->token);
}

static uint32_t here(const struct parser *parser) {
    return (uint32_t)parser->tmpl->code_count;
}

static hk_err emit(struct parser *parser, enum op op, uint32_t a, uint32_t at) {
    struct hk_template *tmpl = parser->tmpl;
    HK_TRY(hk_mem_grow(
        &tmpl->code, &tmpl->code_capacity, tmpl->code_count + 1, sizeof(tmpl->code[0])));
    tmpl->code[tmpl->code_count++] = (struct instruction){ .op = (uint8_t)op, .a = a, .at = at };
    return HK_OK;
}

static hk_err
emit_call(struct parser *parser, enum op op, uint32_t a, uint32_t at, uint32_t argc, bool piped) {
    HK_TRY(emit(parser, op, a, at));
    struct instruction *last = &parser->tmpl->code[parser->tmpl->code_count - 1];
    last->argc = (uint16_t)argc;
    last->piped = piped;
    return HK_OK;
}

static hk_err add_constant(struct parser *parser, struct hk_template_value value, uint32_t *out) {
    struct hk_template *tmpl = parser->tmpl;
    HK_TRY(hk_mem_grow(
        &tmpl->constants, &tmpl->constant_capacity, tmpl->constant_count + 1,
        sizeof(tmpl->constants[0])));
    *out = (uint32_t)tmpl->constant_count;
    tmpl->constants[tmpl->constant_count++] = value;
    return HK_OK;
}

static hk_err add_text(struct parser *parser, struct hk_str text, uint32_t *out) {
    return add_constant(
        parser, (struct hk_template_value){ .kind = HK_TEMPLATE_STRING, .as.text = text }, out);
}

/* Points a chain of jumps to the present place. */
static void patch(struct parser *parser, uint32_t chain) {
    while (chain != NOWHERE) {
        uint32_t linked = parser->tmpl->code[chain].a;
        parser->tmpl->code[chain].a = here(parser);
        chain = linked;
    }
}

/* --- Variables and routines ------------------------------------------------------------------- */

static hk_err find_variable(struct parser *parser, struct hk_str name, uint32_t *out) {
    for (uint32_t i = parser->variable_count; i > parser->variable_base; i--) {
        if (!hk_str_eq(parser->variables[i - 1], name)) continue;
        *out = i - 1 - parser->variable_base;
        return HK_OK;
    }
    return FAIL(parser, parser->token.at, "undefined variable \"%.*s\"", HK_STR_ARG(name));
}

static hk_err declare_variable(struct parser *parser, struct hk_str name, uint32_t *out) {
    uint32_t number = parser->variable_count - parser->variable_base;
    if (number >= HK_TEMPLATE_VARIABLES_MAX ||
        parser->variable_count >= HK_COUNT(parser->variables)) {
        return FAIL(parser, parser->token.at, "more than %d variables", HK_TEMPLATE_VARIABLES_MAX);
    }
    parser->variables[parser->variable_count++] = name;
    struct routine *routine = &parser->tmpl->routines[parser->routine];
    if (routine->variable_count <= number) routine->variable_count = number + 1;
    *out = number;
    return HK_OK;
}

static hk_err get_routine(struct parser *parser, struct hk_str name, uint32_t *out) {
    struct hk_template *tmpl = parser->tmpl;
    for (uint32_t i = 0; i < tmpl->routine_count; i++) {
        if (!hk_str_eq(tmpl->routines[i].name, name)) continue;
        *out = i;
        return HK_OK;
    }
    HK_TRY(hk_mem_grow(
        &tmpl->routines, &tmpl->routine_capacity, tmpl->routine_count + 1,
        sizeof(tmpl->routines[0])));
    *out = (uint32_t)tmpl->routine_count;
    tmpl->routines[tmpl->routine_count++] =
        (struct routine){ .name = name, .entry = NOWHERE, .source = parser->source };
    return HK_OK;
}

/* Makes `routine` begin here, with only `$` visible. */
static hk_err begin_routine(struct parser *parser, uint32_t routine) {
    uint32_t root = 0;
    parser->routine = routine;
    parser->variable_base = parser->variable_count;
    struct routine *begun = &parser->tmpl->routines[routine];
    begun->entry = here(parser);
    begun->source = parser->source;
    begun->variable_count = 0;
    return declare_variable(parser, HK_STR("$"), &root);
}

/* --- Pipelines -------------------------------------------------------------------------------- */

static hk_err end_command(struct parser *parser, struct command *command) {
    uint32_t given = command->argc + (command->piped ? 1 : 0);
    if (given > HK_TEMPLATE_ARGUMENTS_MAX)
        return FAIL(parser, command->at, "more than %d arguments", HK_TEMPLATE_ARGUMENTS_MAX);
    switch (command->head) {
    case HEAD_NONE:
        return FAIL(parser, parser->token.at, "missing value for command");
    case HEAD_VALUE:
        if (given == 0) return HK_OK;
        return FAIL(parser, command->at, "can't give argument to non-function");
    case HEAD_FIELD:
        return emit_call(parser, OP_FIELD, command->id, command->at, command->argc, command->piped);
    case HEAD_FUNCTION:
    default:
        break;
    }
    if (command->short_by == OP_RETURN || command->piped || command->argc == 0) {
        return emit_call(parser, OP_CALL, command->id, command->at, command->argc, command->piped);
    }
    patch(parser, command->decided); /* the last value stands for the whole */
    return HK_OK;
}

/* Fields that follow an operand without a space. The last one of a command's first operand waits
 * for its arguments. */
static hk_err read_fields(struct parser *parser, struct command *command, bool first) {
    while (parser->token.kind == TOK_FIELD && !parser->token.space_before) {
        if (first && command->head == HEAD_FUNCTION)
            HK_TRY(emit_call(parser, OP_CALL, command->id, command->at, 0, false));
        if (first && command->head == HEAD_FIELD)
            HK_TRY(emit_call(parser, OP_FIELD, command->id, command->at, 0, false));
        uint32_t name = 0;
        HK_TRY(add_text(parser, parser->token.text, &name));
        if (first) {
            command->head = HEAD_FIELD;
            command->id = name;
            command->at = parser->token.at;
        } else {
            HK_TRY(emit_call(parser, OP_FIELD, name, parser->token.at, 0, false));
        }
        HK_TRY(next(parser));
    }
    if ((parser->token.kind == TOK_DOT || parser->token.kind == TOK_VARIABLE ||
         parser->token.kind == TOK_STRING || parser->token.kind == TOK_OPEN ||
         parser->token.kind == TOK_IDENT || parser->token.kind == TOK_INT ||
         parser->token.kind == TOK_FLOAT) &&
        !parser->token.space_before) {
        return FAIL(parser, parser->token.at, "unexpected operand: a space is missing");
    }
    return HK_OK;
}

/* Before the second, third … argument of `and` and `or`: is it decided already? */
static hk_err short_circuit(struct parser *parser, struct command *command) {
    if (command->head != HEAD_FUNCTION || command->short_by == OP_RETURN || command->piped ||
        command->argc == 0) {
        return HK_OK;
    }
    uint32_t at = here(parser);
    HK_TRY(emit(parser, command->short_by, command->decided, command->at));
    command->decided = at;
    return HK_OK;
}

static hk_err read_identifier(struct parser *parser, struct command *command, bool first) {
    struct hk_str name = parser->token.text;
    struct hk_template_value value = { .kind = HK_TEMPLATE_NIL };
    bool truth = hk_str_is(name, "true");
    if (truth || hk_str_is(name, "false")) {
        value = (struct hk_template_value){ .kind = HK_TEMPLATE_BOOL, .as.boolean = truth };
    } else if (!hk_str_is(name, "nil")) {
        int function = hk_template_function_find(name);
        if (function < 0) {
            return FAIL(
                parser, parser->token.at, "function \"%.*s\" not defined", HK_STR_ARG(name));
        }
        if (!first) {
            return emit_call(parser, OP_CALL, (uint32_t)function, parser->token.at, 0, false);
        }
        command->head = HEAD_FUNCTION;
        command->id = (uint32_t)function;
        command->short_by = hk_str_is(name, "and")  ? OP_AND
                            : hk_str_is(name, "or") ? OP_OR
                                                    : OP_RETURN;
        return HK_OK;
    } else if (first) {
        return FAIL(parser, parser->token.at, "nil is not a command");
    }
    uint32_t constant = 0;
    HK_TRY(add_constant(parser, value, &constant));
    return emit(parser, OP_CONST, constant, parser->token.at);
}

/* One operand but a bracket; the token is not consumed, except where a field follows the dot. */
static hk_err read_operand(struct parser *parser, struct command *command, bool first) {
    const struct token *token = &parser->token;
    struct hk_template_value value = { .kind = HK_TEMPLATE_STRING, .as.text = token->text };
    uint32_t id = 0;
    switch (token->kind) {
    case TOK_DOT:
        return emit(parser, OP_DOT, 0, token->at);
    case TOK_FIELD:
        parser->token.space_before = false; /* read_fields goes on with it */
        return emit(parser, OP_DOT, 0, token->at);
    case TOK_VARIABLE:
        HK_TRY(find_variable(parser, token->text, &id));
        return emit(parser, OP_LOAD, id, token->at);
    case TOK_IDENT:
        return read_identifier(parser, command, first);
    case TOK_INT:
        value = (struct hk_template_value){ .kind = HK_TEMPLATE_INT, .as.integer = token->integer };
        break;
    case TOK_FLOAT:
        value = (struct hk_template_value){ .kind = HK_TEMPLATE_FLOAT, .as.number = token->number };
        break;
    case TOK_STRING:
        break;
    case TOK_END:
    case TOK_PIPE:
    case TOK_OPEN:
    case TOK_CLOSE:
    case TOK_DECLARE:
    case TOK_ASSIGN:
    case TOK_COMMA:
    default:
        return FAIL(parser, token->at, "unexpected token in operand");
    }
    HK_TRY(add_constant(parser, value, &id));
    return emit(parser, OP_CONST, id, token->at);
}

static struct command new_command(bool piped, uint32_t at) {
    return (struct command){ .piped = piped, .at = at, .decided = NOWHERE, .short_by = OP_RETURN };
}

/* Counts a read operand for its command and reads what is attached to it. */
static hk_err end_operand(struct parser *parser, struct command *command, bool first) {
    if (first && command->head == HEAD_NONE) command->head = HEAD_VALUE;
    if (!first) command->argc++;
    return read_fields(parser, command, first);
}

/* From the present token up to (not including) TOK_END. (1) */
static hk_err read_pipeline(struct parser *parser, const char *context) {
    uint32_t depth = 0;
    struct command *command = &parser->commands[0];
    *command = new_command(false, parser->token.at);
    for (;;) {
        bool first = command->head == HEAD_NONE;
        switch (parser->token.kind) {
        case TOK_END:
            if (depth > 0) return FAIL(parser, parser->token.at, "unclosed left paren");
            if (first && !command->piped)
                return FAIL(parser, parser->token.at, "missing value for %s", context);
            return end_command(parser, command);
        case TOK_PIPE:
            HK_TRY(end_command(parser, command));
            HK_TRY(next(parser));
            *command = new_command(true, parser->token.at);
            continue;
        case TOK_OPEN:
            HK_TRY(short_circuit(parser, command));
            if (++depth == HK_TEMPLATE_NESTING_MAX)
                return FAIL(parser, parser->token.at, "brackets nested too deeply");
            HK_TRY(next(parser));
            command = &parser->commands[depth];
            *command = new_command(false, parser->token.at);
            continue;
        case TOK_CLOSE:
            if (depth == 0) return FAIL(parser, parser->token.at, "unexpected right paren");
            HK_TRY(end_command(parser, command));
            command = &parser->commands[--depth];
            first = command->head == HEAD_NONE;
            HK_TRY(next(parser));
            HK_TRY(end_operand(parser, command, first));
            continue;
        case TOK_IDENT:
        case TOK_FIELD:
        case TOK_DOT:
        case TOK_VARIABLE:
        case TOK_STRING:
        case TOK_INT:
        case TOK_FLOAT:
        case TOK_DECLARE:
        case TOK_ASSIGN:
        case TOK_COMMA:
        default:
            HK_TRY(short_circuit(parser, command));
            if (first) command->at = parser->token.at;
            bool dotted = parser->token.kind == TOK_FIELD;
            HK_TRY(read_operand(parser, command, first));
            if (!dotted) HK_TRY(next(parser));
            HK_TRY(end_operand(parser, command, first));
        }
    }
}

/* `$x :=` or `$x =` in front of a pipeline (`$i, $x :=` too, for range). */
struct declaration {
    uint32_t count; /* 0, 1 or 2 */
    bool assign;
    struct token names[2];
};

static hk_err read_declaration(struct parser *parser, bool pairs, struct declaration *out) {
    *out = (struct declaration){ 0 };
    if (parser->token.kind != TOK_VARIABLE) return HK_OK;
    struct token start = parser->token;
    size_t resume = parser->lexer.at;
    out->names[0] = start;
    HK_TRY(next(parser));
    uint32_t count = 1;
    if (pairs && parser->token.kind == TOK_COMMA) {
        HK_TRY(next(parser));
        if (parser->token.kind != TOK_VARIABLE)
            return FAIL(parser, parser->token.at, "range can only initialize variables");
        out->names[count++] = parser->token;
        HK_TRY(next(parser));
    }
    if (parser->token.kind == TOK_DECLARE || parser->token.kind == TOK_ASSIGN) {
        out->count = count;
        out->assign = parser->token.kind == TOK_ASSIGN;
        return next(parser);
    }
    if (count == 2) return FAIL(parser, parser->token.at, "expected := or = in range");
    parser->token = start;
    parser->lexer.at = resume;
    return HK_OK;
}

/* Variable of a declaration, made if it is a new one. */
static hk_err place_variable(
    struct parser *parser, const struct declaration *declaration, uint32_t index, uint32_t *out) {
    struct hk_str name = declaration->names[index].text;
    if (declaration->assign) return find_variable(parser, name, out);
    return declare_variable(parser, name, out);
}

/* A pipeline with optional declaration; the value stays on the stack (`keep`) or is stored. */
static hk_err read_value(struct parser *parser, const char *context, bool keep, bool *out_stored) {
    struct declaration declaration;
    HK_TRY(read_declaration(parser, false, &declaration));
    HK_TRY(read_pipeline(parser, context));
    if (out_stored != NULL) *out_stored = declaration.count > 0;
    if (declaration.count == 0) return HK_OK;
    uint32_t variable = 0;
    uint32_t at = declaration.names[0].at;
    HK_TRY(place_variable(parser, &declaration, 0, &variable));
    HK_TRY(emit(parser, OP_STORE, variable, at));
    return keep ? emit(parser, OP_LOAD, variable, at) : HK_OK;
}

/* --- Blocks ----------------------------------------------------------------------------------- */

static hk_err push_block(struct parser *parser, enum block_kind kind, struct block **out) {
    if (parser->block_count == HK_TEMPLATE_NESTING_MAX)
        return FAIL(parser, parser->token.at, "blocks nested too deeply");
    struct block *block = &parser->blocks[parser->block_count++];
    *block = (struct block){
        .kind = kind,
        .fix_else = NOWHERE,
        .end_chain = NOWHERE,
        .at = parser->token.at,
        .variables = parser->variable_count,
        .base = parser->variable_base,
        .routine = parser->routine,
    };
    *out = block;
    return HK_OK;
}

static hk_err begin_test(struct parser *parser, struct block *block) {
    HK_TRY(next(parser));
    HK_TRY(read_value(parser, block->kind == BLOCK_IF ? "if" : "with", true, NULL));
    block->fix_else = here(parser);
    return emit(parser, block->kind == BLOCK_IF ? OP_JUMP_FALSE : OP_WITH, NOWHERE, block->at);
}

static hk_err begin_range(struct parser *parser) {
    struct block *block = NULL;
    struct declaration declaration;
    HK_TRY(push_block(parser, BLOCK_RANGE, &block));
    HK_TRY(next(parser));
    HK_TRY(read_declaration(parser, true, &declaration));
    HK_TRY(read_pipeline(parser, "range"));
    block->fix_else = here(parser);
    HK_TRY(emit(parser, OP_RANGE, NOWHERE, block->at));
    block->loop = here(parser);
    block->end_chain = here(parser);
    HK_TRY(emit(parser, OP_NEXT, NOWHERE, block->at));
    for (uint32_t i = 0; i < declaration.count; i++) {
        uint32_t variable = 0;
        bool key = declaration.count == 2 && i == 0;
        HK_TRY(place_variable(parser, &declaration, i, &variable));
        HK_TRY(emit(parser, key ? OP_RANGE_KEY : OP_RANGE_VALUE, variable, block->at));
    }
    return HK_OK;
}

static hk_err read_name(struct parser *parser, const char *context, struct hk_str *out) {
    HK_TRY(next(parser));
    if (parser->token.kind != TOK_STRING)
        return FAIL(parser, parser->token.at, "missing name (a string) in %s clause", context);
    *out = parser->token.text;
    return next(parser);
}

/* The routine's body follows; what surrounds it jumps over it. (3) */
static hk_err open_definition(struct parser *parser, struct hk_str name) {
    struct block *block = NULL;
    uint32_t routine = 0;
    HK_TRY(push_block(parser, BLOCK_DEFINE, &block));
    HK_TRY(get_routine(parser, name, &routine));
    const struct routine *found = &parser->tmpl->routines[routine];
    if (found->entry != NOWHERE && found->source == parser->source)
        return FAIL(parser, block->at, "multiple definition of \"%.*s\"", HK_STR_ARG(name));
    block->end_chain = here(parser);
    HK_TRY(emit(parser, OP_JUMP, NOWHERE, block->at));
    return begin_routine(parser, routine);
}

static hk_err begin_define(struct parser *parser) {
    struct hk_str name;
    if (parser->block_count > 0)
        return FAIL(parser, parser->token.at, "define must not stand inside a block");
    HK_TRY(read_name(parser, "define", &name));
    if (parser->token.kind != TOK_END)
        return FAIL(parser, parser->token.at, "unexpected operand in define clause");
    return open_definition(parser, name);
}

static hk_err emit_template(struct parser *parser, struct hk_str name, uint32_t at) {
    uint32_t routine = 0;
    if (parser->token.kind == TOK_END) {
        uint32_t nil = 0;
        struct hk_template_value none = { .kind = HK_TEMPLATE_NIL };
        HK_TRY(add_constant(parser, none, &nil));
        HK_TRY(emit(parser, OP_CONST, nil, at));
    } else {
        HK_TRY(read_value(parser, "template clause", true, NULL));
    }
    HK_TRY(get_routine(parser, name, &routine));
    return emit(parser, OP_TEMPLATE, routine, at);
}

static hk_err begin_block(struct parser *parser) {
    uint32_t at = parser->token.at;
    struct hk_str name;
    HK_TRY(read_name(parser, "block", &name));
    if (parser->token.kind == TOK_END) return FAIL(parser, at, "missing value for block clause");
    HK_TRY(emit_template(parser, name, at));
    return open_definition(parser, name);
}

static hk_err read_else(struct parser *parser) {
    struct block *block =
        parser->block_count == 0 ? NULL : &parser->blocks[parser->block_count - 1];
    if (block == NULL || block->kind == BLOCK_DEFINE || block->has_else)
        return FAIL(parser, parser->token.at, "unexpected else");
    uint32_t at = parser->token.at;
    if (block->kind == BLOCK_WITH) HK_TRY(emit(parser, OP_WITH_END, 0, at));
    if (block->kind == BLOCK_RANGE) {
        HK_TRY(emit(parser, OP_JUMP, block->loop, at));
    } else {
        uint32_t jump = here(parser);
        HK_TRY(emit(parser, OP_JUMP, block->end_chain, at));
        block->end_chain = jump;
    }
    patch(parser, block->fix_else);
    block->fix_else = NOWHERE;
    HK_TRY(next(parser));
    if (parser->token.kind == TOK_END) {
        block->has_else = true;
        return HK_OK;
    }
    const char *same = block->kind == BLOCK_IF ? "if" : block->kind == BLOCK_WITH ? "with" : "";
    if (parser->token.kind == TOK_IDENT && hk_str_is(parser->token.text, same))
        return begin_test(parser, block);
    return FAIL(parser, parser->token.at, "unexpected operand after else");
}

static hk_err read_end(struct parser *parser) {
    if (parser->block_count == 0) return FAIL(parser, parser->token.at, "unexpected {{end}}");
    struct block *block = &parser->blocks[--parser->block_count];
    uint32_t at = parser->token.at;
    if (block->kind == BLOCK_WITH && !block->has_else) HK_TRY(emit(parser, OP_WITH_END, 0, at));
    if (block->kind == BLOCK_RANGE && !block->has_else)
        HK_TRY(emit(parser, OP_JUMP, block->loop, at));
    if (block->kind == BLOCK_DEFINE) HK_TRY(emit(parser, OP_RETURN, 0, at));
    patch(parser, block->fix_else);
    patch(parser, block->end_chain);
    parser->variable_count = block->variables; /* (2) */
    parser->variable_base = block->base;
    parser->routine = block->routine;
    return next(parser);
}

/* break and continue: the innermost range of this routine. */
static hk_err read_jump(struct parser *parser, bool is_break) {
    uint32_t at = parser->token.at;
    struct block *range = NULL;
    for (uint32_t i = parser->block_count; i > 0 && range == NULL; i--) {
        if (parser->blocks[i - 1].kind == BLOCK_DEFINE) break;
        bool body = parser->blocks[i - 1].kind == BLOCK_RANGE && !parser->blocks[i - 1].has_else;
        if (body) range = &parser->blocks[i - 1];
    }
    if (range == NULL)
        return FAIL(parser, at, "{{%s}} outside {{range}}", is_break ? "break" : "continue");
    HK_TRY(next(parser));
    if (!is_break) return emit(parser, OP_CONTINUE, range->loop, at);
    uint32_t jump = here(parser);
    HK_TRY(emit(parser, OP_BREAK, range->end_chain, at));
    range->end_chain = jump;
    return HK_OK;
}

static hk_err read_print(struct parser *parser) {
    bool stored = false;
    uint32_t at = parser->token.at;
    HK_TRY(read_value(parser, "command", false, &stored));
    return stored ? HK_OK : emit(parser, OP_PRINT, 0, at);
}

static hk_err read_if_or_with(struct parser *parser, enum block_kind kind) {
    struct block *block = NULL;
    HK_TRY(push_block(parser, kind, &block));
    return begin_test(parser, block);
}

static hk_err read_template(struct parser *parser) {
    uint32_t at = parser->token.at;
    struct hk_str name;
    HK_TRY(read_name(parser, "template", &name));
    return emit_template(parser, name, at);
}

/* What stands between {{ and }}; afterwards the token is TOK_END. */
static hk_err read_action(struct parser *parser) {
    HK_TRY(next(parser));
    if (parser->token.kind != TOK_IDENT) return read_print(parser);
    struct hk_str word = parser->token.text;
    if (hk_str_is(word, "if")) return read_if_or_with(parser, BLOCK_IF);
    if (hk_str_is(word, "with")) return read_if_or_with(parser, BLOCK_WITH);
    if (hk_str_is(word, "range")) return begin_range(parser);
    if (hk_str_is(word, "else")) return read_else(parser);
    if (hk_str_is(word, "end")) return read_end(parser);
    if (hk_str_is(word, "define")) return begin_define(parser);
    if (hk_str_is(word, "block")) return begin_block(parser);
    if (hk_str_is(word, "template")) return read_template(parser);
    if (hk_str_is(word, "break")) return read_jump(parser, true);
    if (hk_str_is(word, "continue")) return read_jump(parser, false);
    return read_print(parser);
}

/* --- Text and sources ------------------------------------------------------------------------- */

static struct hk_str trim_side(struct hk_str text, bool left, bool right) {
    static const char spaces[] = " \t\r\n";
    while (left && text.len > 0 && memchr(spaces, text.ptr[0], 4) != NULL) {
        text.ptr++;
        text.len--;
    }
    while (right && text.len > 0 && memchr(spaces, text.ptr[text.len - 1], 4) != NULL)
        text.len--;
    return text;
}

/* Skips a comment after {{; true if there was one. The lexer then stands behind its }}. */
static hk_err skip_comment(struct parser *parser, bool *out_trim) {
    struct lexer *lexer = &parser->lexer;
    size_t start = lexer->at;
    size_t at = start;
    while (at < lexer->text.len && memchr(" \t\r\n", lexer->text.ptr[at], 4) != NULL)
        at++;
    if (!hk_str_starts(hk_str_part(lexer->text, at, lexer->text.len), HK_STR("/*"))) return HK_OK;
    for (at += 2;; at++) {
        at = hk_str_find(lexer->text, '*', at);
        if (at + 1 >= lexer->text.len) return FAIL(parser, start, "unclosed comment");
        if (lexer->text.ptr[at + 1] == '/') break;
    }
    lexer->at = at + 2;
    HK_TRY(next(parser));
    if (parser->token.kind != TOK_END)
        return FAIL(parser, parser->token.at, "comment ends before closing delimiter");
    *out_trim = parser->token.trim;
    return HK_END;
}

static hk_err emit_text(struct parser *parser, struct hk_str text) {
    if (text.len == 0) return HK_OK;
    uint32_t constant = 0;
    HK_TRY(add_text(parser, text, &constant));
    return emit(parser, OP_TEXT, constant, (uint32_t)(text.ptr - parser->lexer.text.ptr));
}

static hk_err read_source(struct parser *parser) {
    struct lexer *lexer = &parser->lexer;
    bool trim_left = false;
    for (;;) {
        size_t from = lexer->at;
        size_t open = from;
        for (;; open++) {
            open = hk_str_find(lexer->text, '{', open);
            if (open + 1 >= lexer->text.len) open = lexer->text.len;
            if (open == lexer->text.len || lexer->text.ptr[open + 1] == '{') break;
        }
        struct hk_str rest = hk_str_part(lexer->text, open, lexer->text.len);
        bool trim_right =
            rest.len > 3 && rest.ptr[2] == '-' && memchr(" \t\r\n", rest.ptr[3], 4) != NULL;
        HK_TRY(emit_text(
            parser, trim_side(hk_str_part(lexer->text, from, open), trim_left, trim_right)));
        if (rest.len == 0) break;
        lexer->at = open + (trim_right ? 3 : 2);
        hk_err err = skip_comment(parser, &trim_left);
        HK_TRY(err);
        if (err == HK_END) continue;
        HK_TRY(read_action(parser));
        if (parser->token.kind != TOK_END)
            return FAIL(parser, parser->token.at, "unexpected operand in action");
        trim_left = parser->token.trim;
    }
    if (parser->block_count > 0) {
        return FAIL(
            parser, parser->blocks[parser->block_count - 1].at, "this block has no {{end}}");
    }
    return emit(parser, OP_RETURN, 0, (uint32_t)lexer->text.len);
}

static hk_err parse_source(struct parser *parser, uint32_t index) {
    struct hk_template *tmpl = parser->tmpl;
    uint32_t routine = 0;
    uint32_t variable = 0;
    parser->source = index;
    parser->block_count = 0;
    parser->variable_count = 0;
    parser->lexer = (struct lexer){ .source_name = tmpl->sources[index].name,
                                    .text = tmpl->sources[index].text,
                                    .arena = &tmpl->arena };
    HK_TRY(get_routine(parser, tmpl->sources[index].name, &routine));
    if (index == 0 && routine != 0) return HK_E_INVALID;
    HK_TRY(begin_routine(parser, routine));
    static const char *const predefined[] = { "$labels", "$externalLabels", "$externalURL",
                                              "$value" };
    for (size_t i = 0; index == 0 && i < HK_COUNT(predefined); i++)
        HK_TRY(declare_variable(parser, hk_str_from(predefined[i]), &variable));
    return read_source(parser);
}

static hk_err parse_all(struct hk_template *tmpl) {
    struct parser *parser = hk_mem_alloc(1, sizeof(*parser));
    if (parser == NULL) return HK_E_NOMEM;
    parser->tmpl = tmpl;
    hk_err err = HK_OK;
    for (uint32_t i = 0; i < tmpl->source_count && err >= 0; i++)
        err = parse_source(parser, i);
    hk_mem_free(parser);
    return err;
}

hk_err hk_template_create(
    const struct hk_template_source *sources, uint32_t source_count, struct hk_template **out) {
    size_t bytes = 0;
    for (uint32_t i = 0; i < source_count; i++)
        bytes += sources[i].text.len + sources[i].name.len;
    if (source_count == 0 || bytes > HK_TEMPLATE_TEXT_BYTES_MAX) {
        return hk_fail(
            HK_E_LIMIT, "template text has %zu bytes, at most %d are allowed", bytes,
            HK_TEMPLATE_TEXT_BYTES_MAX);
    }
    struct hk_template *tmpl = hk_mem_alloc(1, sizeof(*tmpl));
    if (tmpl == NULL) return HK_E_NOMEM;
    hk_arena_init(&tmpl->arena, bytes * 4 + 65536 + source_count * 256);
    tmpl->sources = hk_arena_alloc(&tmpl->arena, source_count, sizeof(tmpl->sources[0]));
    hk_err err = tmpl->sources == NULL ? HK_E_NOMEM : HK_OK;
    for (uint32_t i = 0; i < source_count && err >= 0; i++) {
        tmpl->sources[i].name = hk_arena_str(&tmpl->arena, sources[i].name);
        tmpl->sources[i].text = hk_arena_str(&tmpl->arena, sources[i].text);
        if (tmpl->sources[i].name.ptr == NULL || tmpl->sources[i].text.ptr == NULL)
            err = HK_E_NOMEM;
        tmpl->source_count = i + 1;
    }
    if (err >= 0) err = parse_all(tmpl);
    if (err < 0) {
        hk_template_destroy(tmpl);
        return err;
    }
    *out = tmpl;
    return HK_OK;
}

void hk_template_destroy(struct hk_template *tmpl) {
    if (tmpl == NULL) return;
    hk_mem_free(tmpl->code);
    hk_mem_free(tmpl->constants);
    hk_mem_free(tmpl->routines);
    hk_arena_deinit(&tmpl->arena);
    hk_mem_free(tmpl);
}

bool hk_template_is_constant(const struct hk_template *tmpl, struct hk_str *out) {
    const struct instruction *code = &tmpl->code[tmpl->routines[0].entry];
    struct hk_str text = { "", 0 };
    if (code[0].op == OP_TEXT) {
        text = tmpl->constants[code[0].a].as.text;
        code++;
    }
    if (code[0].op != OP_RETURN) return false;
    if (out != NULL) *out = text;
    return true;
}
