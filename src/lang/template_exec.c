/*
 * The machine that executes templates. Every loop is bounded by HK_TEMPLATE_STEPS_MAX; functions
 * that do more work than an instruction charge for it.
 *
 * (1) `dot_count` > 0: there always is a `.`.
 * (2) The parser has balanced pushes and pops, so the stack never runs empty; it may run full.
 */
#include "lang/template_internal.h"

#include "base/mem.h"

#include <stdarg.h>
#include <stdio.h>

/* --- Data of rule templates ------------------------------------------------------------------- */

static bool labels_get(const void *self, struct hk_str name, struct hk_template_value *out) {
    const struct hk_labels *labels = self;
    for (uint32_t i = 0; i < labels->count; i++) {
        if (!hk_str_eq(labels->items[i].name, name)) continue;
        *out = (struct hk_template_value){ .kind = HK_TEMPLATE_STRING,
                                           .as.text = labels->items[i].value };
        return true;
    }
    *out = (struct hk_template_value){ .kind = HK_TEMPLATE_STRING, .as.text = HK_STR("") };
    return false;
}

static uint32_t labels_count(const void *self) {
    const struct hk_labels *labels = self;
    return labels->count;
}

static void
labels_at(const void *self, uint32_t index, struct hk_str *out_key, struct hk_template_value *out) {
    const struct hk_labels *labels = self;
    *out_key = labels->items[index].name;
    *out = (struct hk_template_value){ .kind = HK_TEMPLATE_STRING,
                                       .as.text = labels->items[index].value };
}

const struct hk_template_type hk_template_type_labels = {
    .name = "map[string]string",
    .is_map = true,
    .get = labels_get,
    .count = labels_count,
    .at = labels_at,
};

static struct hk_template_value labels_value(const struct hk_labels *labels) {
    return (struct hk_template_value){ .kind = HK_TEMPLATE_OBJECT,
                                       .as.self = labels,
                                       .type = &hk_template_type_labels };
}

static bool root_get(const void *self, struct hk_str name, struct hk_template_value *out) {
    const struct hk_template_data *data = self;
    if (hk_str_is(name, "Labels")) {
        *out = labels_value(&data->labels);
        return true;
    }
    if (hk_str_is(name, "ExternalLabels")) {
        *out = labels_value(&data->external_labels);
        return true;
    }
    if (hk_str_is(name, "ExternalURL")) {
        *out =
            (struct hk_template_value){ .kind = HK_TEMPLATE_STRING, .as.text = data->external_url };
        return true;
    }
    if (!hk_str_is(name, "Value")) return false;
    *out = (struct hk_template_value){ .kind = HK_TEMPLATE_FLOAT, .as.number = data->value };
    return true;
}

static const struct hk_template_type root_type = { .name = "alert data", .get = root_get };

/* --- Steps ------------------------------------------------------------------------------------ */

/* Fails with the place of the present instruction. */
__attribute__((format(printf, 3, 4))) static hk_err
fail(struct machine *machine, hk_err code, const char *format, ...) {
    char message[512];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(message, sizeof(message), format, args);
    va_end(args);
    const struct routine *routine = &machine->tmpl->routines[machine->routine];
    const struct hk_template_source *source = &machine->tmpl->sources[routine->source];
    size_t at = machine->tmpl->code[machine->pc - 1].at;
    return hk_template_fail_at(
        code, source->name, source->text, at, "executing \"%.*s\": %s", HK_STR_ARG(routine->name),
        message);
}

hk_err hk_template_charge(struct machine *machine, uint64_t steps) {
    machine->steps += steps;
    if (machine->steps <= HK_TEMPLATE_STEPS_MAX) return HK_OK;
    return hk_fail(HK_E_LIMIT, "it takes more than %d steps", HK_TEMPLATE_STEPS_MAX);
}

static hk_err push(struct machine *machine, struct hk_template_value value) {
    if (machine->stack_count == MACHINE_STACK_MAX)
        return fail(machine, HK_E_LIMIT, "expression too deep");
    machine->stack[machine->stack_count++] = value;
    return HK_OK;
}

static struct hk_template_value pop(struct machine *machine) {
    hk_assert(machine->stack_count > 0); /* (2) */
    return machine->stack[--machine->stack_count];
}

static hk_err push_dot(struct machine *machine, struct hk_template_value value) {
    if (machine->dot_count == MACHINE_DOTS_MAX)
        return fail(machine, HK_E_LIMIT, "blocks nested too deeply");
    machine->dots[machine->dot_count++] = value;
    return HK_OK;
}

static hk_err write_value(struct machine *machine, const struct hk_template_value *value) {
    struct hk_buf *out = machine->out;
    size_t before = out->len;
    if (value->kind == HK_TEMPLATE_STRING)
        hk_buf_str(out, value->as.text);
    else
        hk_template_print(value, out);
    if (out->err == HK_E_LIMIT || out->len - machine->out_start > HK_TEMPLATE_OUTPUT_BYTES_MAX)
        return fail(machine, HK_E_LIMIT, "the output is too long");
    if (out->err < 0) return out->err;
    return hk_template_charge(machine, (out->len - before) / 64);
}

/* Puts the arguments of a call in order (a piped value goes last) and takes them off the stack. */
static const struct hk_template_value *
take_arguments(struct machine *machine, const struct instruction *code, uint32_t extra) {
    uint32_t count = code->argc + extra + (code->piped ? 1U : 0U);
    hk_assert(machine->stack_count >= count);
    machine->stack_count -= count;
    struct hk_template_value *args = &machine->stack[machine->stack_count];
    if (code->piped) {
        struct hk_template_value piped = args[0];
        memmove(args, args + 1, (count - 1) * sizeof(args[0]));
        args[count - 1] = piped;
    }
    return args;
}

static hk_err do_call(struct machine *machine, const struct instruction *code) {
    const struct template_function *function = hk_template_function_get(code->a);
    uint32_t argc = code->argc + (code->piped ? 1U : 0U);
    const struct hk_template_value *args = take_arguments(machine, code, 0);
    if (argc < function->argc_min || argc > function->argc_max) {
        return fail(
            machine, HK_E_EXECUTION, "wrong number of args for %s: want %s%u got %u",
            function->name, function->argc_min == function->argc_max ? "" : "at least ",
            function->argc_min, argc);
    }
    struct hk_template_value result = { .kind = HK_TEMPLATE_NIL };
    hk_fail_clear();
    hk_err err = function->call(machine, args, argc, &result);
    if (err < 0) {
        char why[400];
        const char *text = hk_fail_text();
        (void)snprintf(why, sizeof(why), "%s", text[0] == 0 ? hk_err_text(err) : text);
        return fail(machine, err, "error calling %s: %s", function->name, why);
    }
    return push(machine, result);
}

static hk_err do_field(struct machine *machine, const struct instruction *code) {
    struct hk_str name = machine->tmpl->constants[code->a].as.text;
    const struct hk_template_value *args = take_arguments(machine, code, 1);
    const struct hk_template_value self = args[0];
    struct hk_template_value result = { .kind = HK_TEMPLATE_NIL };
    uint32_t argc = code->argc + (code->piped ? 1U : 0U);
    if (self.kind == HK_TEMPLATE_TIME) {
        hk_fail_clear();
        hk_err err = hk_template_method(machine, &self, name, args + 1, argc, &result);
        if (err == HK_E_NOT_FOUND) {
            return fail(
                machine, HK_E_EXECUTION, "can't evaluate field %.*s in type *time.Time",
                HK_STR_ARG(name));
        }
        if (err < 0) return fail(machine, err, "error calling %.*s", HK_STR_ARG(name));
        return push(machine, result);
    }
    if (self.kind == HK_TEMPLATE_NIL) {
        return fail(
            machine, HK_E_EXECUTION, "nil data; no entry for key \"%.*s\"", HK_STR_ARG(name));
    }
    bool object = self.kind == HK_TEMPLATE_OBJECT;
    if (!object || (!self.type->get(self.as.self, name, &result) && !self.type->is_map)) {
        return fail(
            machine, HK_E_EXECUTION, "can't evaluate field %.*s in type %s", HK_STR_ARG(name),
            hk_template_type_name(&self));
    }
    if (argc > 0) {
        return fail(
            machine, HK_E_EXECUTION, "%.*s is not a method but has arguments", HK_STR_ARG(name));
    }
    return push(machine, result);
}

static hk_err do_range(struct machine *machine, const struct instruction *code) {
    struct hk_template_value over = pop(machine);
    uint32_t count = 0;
    if (over.kind == HK_TEMPLATE_LIST)
        count = over.count;
    else if (over.kind == HK_TEMPLATE_OBJECT && over.type->is_map)
        count = over.type->count(over.as.self);
    else if (over.kind != HK_TEMPLATE_NIL)
        return fail(
            machine, HK_E_EXECUTION, "range can't iterate over a value of type %s",
            hk_template_type_name(&over));
    if (count == 0) {
        machine->pc = code->a;
        return HK_OK;
    }
    if (machine->range_count == MACHINE_RANGES_MAX)
        return fail(machine, HK_E_LIMIT, "ranges nested too deeply");
    machine->ranges[machine->range_count++] =
        (struct range){ .over = over, .count = count, .dots = machine->dot_count };
    return push_dot(machine, over);
}

static void end_range(struct machine *machine, uint32_t target) {
    hk_assert(machine->range_count > 0);
    machine->dot_count = machine->ranges[--machine->range_count].dots;
    machine->pc = target;
}

static void do_next(struct machine *machine, const struct instruction *code) {
    struct range *range = &machine->ranges[machine->range_count - 1];
    if (range->next == range->count) {
        end_range(machine, code->a);
        return;
    }
    uint32_t index = range->next++;
    if (range->over.kind == HK_TEMPLATE_LIST) {
        range->key = (struct hk_template_value){ .kind = HK_TEMPLATE_INT, .as.integer = index };
        range->value = range->over.as.items[index];
    } else {
        struct hk_str key = { "", 0 };
        range->over.type->at(range->over.as.self, index, &key, &range->value);
        range->key = (struct hk_template_value){ .kind = HK_TEMPLATE_STRING, .as.text = key };
    }
    machine->dot_count = range->dots + 1;
    machine->dots[range->dots] = range->value;
}

static hk_err enter(struct machine *machine, uint32_t index, struct hk_template_value dot) {
    const struct routine *routine = &machine->tmpl->routines[index];
    if (routine->entry == UINT32_MAX) {
        return fail(
            machine, HK_E_EXECUTION, "template \"%.*s\" not defined", HK_STR_ARG(routine->name));
    }
    uint32_t used = machine->tmpl->routines[machine->routine].variable_count;
    if (machine->call_count == HK_TEMPLATE_CALL_DEPTH_MAX ||
        machine->variables + used + routine->variable_count > MACHINE_VARIABLES_MAX) {
        return fail(machine, HK_E_LIMIT, "templates call each other too deeply");
    }
    machine->calls[machine->call_count++] = (struct call){
        .pc = machine->pc,
        .routine = machine->routine,
        .variables = machine->variables,
        .dots = machine->dot_count,
        .ranges = machine->range_count,
    };
    machine->variables += used;
    machine->routine = index;
    machine->pc = routine->entry;
    machine->slots[machine->variables] = dot;
    return push_dot(machine, dot);
}

/* True when the outermost routine has returned. */
static bool leave(struct machine *machine) {
    if (machine->call_count == 0) return true;
    const struct call *call = &machine->calls[--machine->call_count];
    machine->pc = call->pc;
    machine->routine = call->routine;
    machine->variables = call->variables;
    machine->dot_count = call->dots;
    machine->range_count = call->ranges;
    return false;
}

static hk_err do_with(struct machine *machine, const struct instruction *code) {
    struct hk_template_value value = pop(machine);
    if (hk_template_truth(&value)) return push_dot(machine, value);
    machine->pc = code->a;
    return HK_OK;
}

/* `and`, `or`: the value on top decides, or makes room for the next one. */
static void do_short(struct machine *machine, const struct instruction *code) {
    hk_assert(machine->stack_count > 0);
    bool truth = hk_template_truth(&machine->stack[machine->stack_count - 1]);
    if (truth == (code->op == OP_OR))
        machine->pc = code->a;
    else
        machine->stack_count--;
}

/* One instruction. HK_END when done. Long, but a flat switch. */
static hk_err step(struct machine *machine) {
    const struct instruction *code = &machine->tmpl->code[machine->pc++];
    struct hk_template_value value;
    switch ((enum op)code->op) {
    case OP_TEXT:
        return write_value(machine, &machine->tmpl->constants[code->a]);
    case OP_PRINT:
        value = pop(machine);
        return write_value(machine, &value);
    case OP_POP:
        (void)pop(machine);
        return HK_OK;
    case OP_CONST:
        return push(machine, machine->tmpl->constants[code->a]);
    case OP_DOT:
        return push(machine, machine->dots[machine->dot_count - 1]); /* (1) */
    case OP_LOAD:
        return push(machine, machine->slots[machine->variables + code->a]);
    case OP_STORE:
        machine->slots[machine->variables + code->a] = pop(machine);
        return HK_OK;
    case OP_FIELD:
        return do_field(machine, code);
    case OP_CALL:
        return do_call(machine, code);
    case OP_JUMP:
        machine->pc = code->a;
        return HK_OK;
    case OP_JUMP_FALSE:
        value = pop(machine);
        if (!hk_template_truth(&value)) machine->pc = code->a;
        return HK_OK;
    case OP_AND:
    case OP_OR:
        do_short(machine, code);
        return HK_OK;
    case OP_WITH:
        return do_with(machine, code);
    case OP_WITH_END:
        hk_assert(machine->dot_count > 1); /* (1) */
        machine->dot_count--;
        return HK_OK;
    case OP_RANGE:
        return do_range(machine, code);
    case OP_NEXT:
        do_next(machine, code);
        return HK_OK;
    case OP_RANGE_KEY:
        machine->slots[machine->variables + code->a] =
            machine->ranges[machine->range_count - 1].key;
        return HK_OK;
    case OP_RANGE_VALUE:
        machine->slots[machine->variables + code->a] =
            machine->ranges[machine->range_count - 1].value;
        return HK_OK;
    case OP_BREAK:
        end_range(machine, code->a);
        return HK_OK;
    case OP_CONTINUE:
        machine->pc = code->a;
        return HK_OK;
    case OP_TEMPLATE:
        return enter(machine, code->a, pop(machine));
    case OP_RETURN:
        return leave(machine) ? HK_END : HK_OK;
    default:
        return HK_E_CORRUPT;
    }
}

static void set_start(struct machine *machine) {
    const struct hk_template_data *data = machine->data;
    struct hk_template_value root = { .kind = HK_TEMPLATE_OBJECT,
                                      .as.self = data,
                                      .type = &root_type };
    if (data->root != NULL) root = *data->root;
    machine->slots[VARIABLE_ROOT] = root;
    machine->slots[VARIABLE_LABELS] = labels_value(&data->labels);
    machine->slots[VARIABLE_EXTERNAL_LABELS] = labels_value(&data->external_labels);
    machine->slots[VARIABLE_EXTERNAL_URL] =
        (struct hk_template_value){ .kind = HK_TEMPLATE_STRING, .as.text = data->external_url };
    machine->slots[VARIABLE_VALUE] =
        (struct hk_template_value){ .kind = HK_TEMPLATE_FLOAT, .as.number = data->value };
    machine->dots[0] = root;
    machine->dot_count = 1;
    machine->pc = machine->tmpl->routines[0].entry;
}

hk_err hk_template_execute(
    const struct hk_template *tmpl, const struct hk_template_data *data, struct hk_buf *out) {
    struct hk_str text;
    if (hk_template_is_constant(tmpl, &text)) {
        hk_buf_str(out, text);
        return out->err;
    }
    /* Not zeroed: 100 KB that mostly stay untouched. The counts are what matters. */
    struct machine *machine = hk_mem_resize(NULL, 1, sizeof(*machine));
    if (machine == NULL) return HK_E_NOMEM;
    machine->tmpl = tmpl;
    machine->data = data;
    machine->out = out;
    machine->out_start = out->len;
    machine->steps = 0;
    machine->routine = machine->variables = 0;
    machine->stack_count = machine->range_count = machine->call_count = 0;
    hk_arena_init(&machine->arena, HK_TEMPLATE_SCRATCH_BYTES_MAX);
    set_start(machine);
    hk_err err = HK_OK;
    while (err >= 0 && err != HK_END) {
        err = step(machine);
        if (err >= 0 && ++machine->steps > HK_TEMPLATE_STEPS_MAX) {
            err = fail(machine, HK_E_LIMIT, "it takes more than %d steps", HK_TEMPLATE_STEPS_MAX);
        }
    }
    hk_arena_deinit(&machine->arena);
    hk_mem_free(machine);
    return err < 0 ? err : HK_OK;
}

hk_err hk_template_expand(
    const struct hk_template *tmpl, const struct hk_template_data *data, struct hk_buf *out) {
    size_t start = out->len;
    hk_fail_clear();
    hk_err err = hk_template_execute(tmpl, data, out);
    if (err >= 0) return err;
    out->len = start;
    out->err = HK_OK;
    const char *why = hk_fail_text();
    hk_buf_printf(
        out, "<error expanding template: error executing template %.*s: %s>",
        HK_STR_ARG(tmpl->sources[0].name), why[0] == 0 ? hk_err_text(err) : why);
    return err;
}
