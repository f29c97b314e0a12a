/*
 * Binary operators. Series are matched by their labels once; then each pair is calculated over all
 * steps. What Prometheus checks per step (several matches in a group) is checked per step here too.
 */
#include "query/eval_internal.h"

struct side {
    const struct table *table;
    uint32_t *group_of; /* per column */
    uint32_t *next;     /* per column: the next one of its group, UINT32_MAX at the end */
};

struct match_group {
    uint32_t first[2], last[2]; /* columns of the many side and of the one side */
    uint32_t many_count, one_count;
    bool *matched; /* one to one with several on the many side: steps that have a result */
};

struct output {
    struct column column;
    uint32_t group;
};

struct matching {
    struct eval *eval;
    const struct hk_promql_node *node;
    struct table *out;
    struct side sides[2]; /* 0: many (or left), 1: one (or right) */
    struct hk_str *names; /* sorted; of ignoring: with __name__ */
    uint32_t name_count;
    struct hk_str *picked; /* names that one to one results keep or lose */
    uint32_t picked_count;
    struct match_group *groups;
    uint32_t group_count, group_capacity;
    struct label_map group_map;
    struct label_map out_map;
    struct output *outs;
    uint32_t out_count, out_capacity;
    bool swapped; /* group_right: the many side is the right one */
};

/* A point of a result, or of an operand. */
struct point {
    double value;
    const struct hk_histogram *histogram;
};

static bool changes_meaning(enum hk_promql_op op) {
    return op <= HK_PROMQL_ATAN2;
}

/* Compared values are kept, others are calculated. False: the point is dropped. */
static bool calculate(enum hk_promql_op op, double left, double right, double *out) {
    *out = left;
    switch (op) {
    case HK_PROMQL_ADD:
        *out = left + right;
        return true;
    case HK_PROMQL_SUB:
        *out = left - right;
        return true;
    case HK_PROMQL_MUL:
        *out = left * right;
        return true;
    case HK_PROMQL_DIV:
        *out = left / right;
        return true;
    case HK_PROMQL_MOD:
        *out = fmod(left, right);
        return true;
    case HK_PROMQL_POW:
        *out = pow(left, right);
        return true;
    case HK_PROMQL_ATAN2:
        *out = atan2(left, right);
        return true;
    case HK_PROMQL_EQ:
        return left == right;
    case HK_PROMQL_NE:
        return left != right;
    case HK_PROMQL_GT:
        return left > right;
    case HK_PROMQL_LT:
        return left < right;
    case HK_PROMQL_GE:
        return left >= right;
    case HK_PROMQL_LE:
        return left <= right;
    case HK_PROMQL_AND:
    case HK_PROMQL_OR:
    case HK_PROMQL_UNLESS:
    default:
        return false;
    }
}

enum outcome {
    OUTCOME_KEEP,
    OUTCOME_DROP,  /* a comparison that is false */
    OUTCOME_WRONG, /* the operands do not go together: no result, an annotation */
};

static enum outcome wrong_types(
    struct eval *eval, const struct hk_promql_node *node, const struct point *left,
    const struct point *right) {
    const char *op = hk_promql_op_text(node->binary.op);
    hk_ev_info(
        eval, node, "incompatible sample types encountered for binary operator \"%s\": %s %s %s",
        op, left->histogram == NULL ? "float" : "histogram", op,
        right->histogram == NULL ? "float" : "histogram");
    return OUTCOME_WRONG;
}

static hk_err calculate_histograms(
    struct eval *eval, const struct hk_promql_node *node, const struct point *left,
    const struct point *right, struct point *out, enum outcome *outcome) {
    enum hk_promql_op op = node->binary.op;
    *out = *left;
    if (op == HK_PROMQL_EQ || op == HK_PROMQL_NE) {
        bool same = false;
        hk_arena_reset(&eval->work);
        if (hk_hist_equal(&eval->work, left->histogram, right->histogram, &same) < 0)
            return hk_ev_nomem(eval);
        *outcome = same == (op == HK_PROMQL_EQ) ? OUTCOME_KEEP : OUTCOME_DROP;
        return HK_OK;
    }
    if (op != HK_PROMQL_ADD && op != HK_PROMQL_SUB) {
        *outcome = wrong_types(eval, node, left, right);
        return HK_OK;
    }
    int fit = hk_hist_add(
        eval->arena, left->histogram, right->histogram, op == HK_PROMQL_SUB, &out->histogram);
    if (fit < 0) return hk_ev_nomem(eval);
    *outcome = OUTCOME_KEEP;
    if (fit == HIST_FITS) return HK_OK;
    *outcome = OUTCOME_WRONG;
    hk_ev_warn(
        eval, node, "incompatible bucket layout encountered for binary operator %s",
        hk_promql_op_text(op));
    return HK_OK;
}

/* A histogram times or by a number. */
static hk_err scale_histogram(
    struct eval *eval, const struct hk_promql_node *node, const struct point *left,
    const struct point *right, struct point *out, enum outcome *outcome) {
    enum hk_promql_op op = node->binary.op;
    const struct hk_histogram *histogram =
        left->histogram != NULL ? left->histogram : right->histogram;
    double factor = left->histogram != NULL ? right->value : left->value;
    if (op != HK_PROMQL_MUL && !(op == HK_PROMQL_DIV && left->histogram != NULL)) {
        *outcome = wrong_types(eval, node, left, right);
        return HK_OK;
    }
    hk_err err = op == HK_PROMQL_MUL
                     ? hk_hist_scale(eval->arena, histogram, factor, &out->histogram)
                     : hk_hist_divide(eval->arena, histogram, factor, &out->histogram);
    if (err == HK_OK) err = hk_hist_compact(eval->arena, out->histogram, &out->histogram);
    *outcome = OUTCOME_KEEP;
    return err < 0 ? hk_ev_nomem(eval) : HK_OK;
}

static hk_err combine(
    struct eval *eval, const struct hk_promql_node *node, const struct point *left,
    const struct point *right, struct point *out, enum outcome *outcome) {
    *out = (struct point){ 0, NULL };
    if (HK_LIKELY(left->histogram == NULL && right->histogram == NULL)) {
        bool keep = calculate(node->binary.op, left->value, right->value, &out->value);
        if (HK_UNLIKELY(is_absent(out->value))) out->value = nan_value();
        *outcome = keep ? OUTCOME_KEEP : OUTCOME_DROP;
        return HK_OK;
    }
    if (left->histogram != NULL && right->histogram != NULL)
        return calculate_histograms(eval, node, left, right, out, outcome);
    return scale_histogram(eval, node, left, right, out, outcome);
}

/* With bool, the outcome of a comparison is the value. */
static void
apply_bool(const struct hk_promql_node *node, struct point *out, enum outcome *outcome) {
    if (!node->binary.return_bool || *outcome == OUTCOME_WRONG) return;
    *out = (struct point){ *outcome == OUTCOME_KEEP ? 1 : 0, NULL };
    *outcome = OUTCOME_KEEP;
}

static hk_err
scalar_scalar(struct eval *eval, const struct hk_promql_node *node, struct table *out) {
    const double *left = hk_ev_scalar(eval, node->children[0]);
    const double *right = hk_ev_scalar(eval, node->children[1]);
    bool compares = hk_promql_op_is_comparison(node->binary.op);
    struct column column;
    HK_TRY(hk_ev_column(eval, out->frame.count, true, &column));
    for (uint32_t s = 0; s < out->frame.count; s++) {
        double value = 0;
        bool keep = calculate(node->binary.op, left[s], right[s], &value);
        if (compares) value = keep ? 1 : 0;
        column.values[s] = is_absent(value) ? nan_value() : value;
    }
    return hk_ev_add(eval, out, &column);
}

static hk_err vector_scalar_column(
    struct eval *eval, const struct hk_promql_node *node, const struct column *from,
    const double *scalar, bool vector_left, struct column *column, uint32_t steps) {
    bool compares = hk_promql_op_is_comparison(node->binary.op);
    for (uint32_t s = 0; s < steps; s++) {
        if (is_absent(from->values[s])) continue;
        struct point vector = { from->values[s], column_histogram(from, s) };
        struct point number = { scalar[s], NULL };
        struct point result;
        enum outcome outcome = OUTCOME_DROP;
        HK_TRY(combine(
            eval, node, vector_left ? &vector : &number, vector_left ? &number : &vector, &result,
            &outcome));
        /* A comparison keeps the vector's value, on whichever side it stands. */
        if (compares && outcome == OUTCOME_KEEP) result = vector;
        apply_bool(node, &result, &outcome);
        if (outcome == OUTCOME_KEEP)
            HK_TRY(hk_ev_put(eval, column, steps, s, result.value, result.histogram));
    }
    return HK_OK;
}

static hk_err
vector_scalar(struct eval *eval, const struct hk_promql_node *node, struct table *out) {
    bool vector_left = node->children[0]->type == HK_PROMQL_VECTOR;
    const struct table *in = &eval->tables[node->children[vector_left ? 0 : 1]->id];
    const double *scalar = hk_ev_scalar(eval, node->children[vector_left ? 1 : 0]);
    bool drops_name = changes_meaning(node->binary.op) || node->binary.return_bool;
    struct name_drop drop = { 0 };
    for (uint32_t i = 0; i < in->count; i++) {
        const struct column *from = &in->columns[i];
        struct column column;
        HK_TRY(hk_ev_poll(eval));
        HK_TRY(hk_ev_column(eval, out->frame.count, false, &column));
        column.labels = from->labels;
        if (drops_name) HK_TRY(hk_ev_drop_name(eval, from->labels, &drop, &column.labels));
        HK_TRY(
            vector_scalar_column(eval, node, from, scalar, vector_left, &column, out->frame.count));
        HK_TRY(hk_ev_add(eval, out, &column));
    }
    return drop.mixed ? hk_ev_merge(eval, out, false) : HK_OK;
}

static hk_err group_number(struct matching *matching, struct hk_labels labels, uint32_t *out) {
    struct eval *eval = matching->eval;
    bool is_new = false;
    struct hk_hash128 key =
        hk_ev_hash(labels, matching->names, matching->name_count, matching->node->binary.on);
    HK_TRY(hk_ev_map(eval, &matching->group_map, key, matching->group_count, out, &is_new));
    if (!is_new) return HK_OK;
    if (matching->group_count == matching->group_capacity) {
        uint32_t wanted = matching->group_capacity == 0 ? 64 : matching->group_capacity * 2;
        struct match_group *bigger = hk_arena_alloc_raw(eval->arena, wanted, sizeof(*bigger));
        if (bigger == NULL) return hk_ev_nomem(eval);
        if (matching->group_count > 0)
            memcpy(bigger, matching->groups, matching->group_count * sizeof(*bigger));
        matching->groups = bigger;
        matching->group_capacity = wanted;
    }
    matching->groups[matching->group_count++] = (struct match_group){
        .first = { UINT32_MAX, UINT32_MAX },
        .last = { UINT32_MAX, UINT32_MAX },
    };
    return HK_OK;
}

static hk_err group_side(struct matching *matching, int which) {
    struct side *side = &matching->sides[which];
    uint32_t count = side->table->count;
    side->group_of = hk_arena_alloc_raw(matching->eval->arena, count, sizeof(uint32_t));
    side->next = hk_arena_alloc_raw(matching->eval->arena, count, sizeof(uint32_t));
    if (side->group_of == NULL || side->next == NULL) return hk_ev_nomem(matching->eval);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t number = 0;
        HK_TRY(group_number(matching, side->table->columns[i].labels, &number));
        struct match_group *group = &matching->groups[number];
        side->group_of[i] = number;
        side->next[i] = UINT32_MAX;
        if (group->first[which] == UINT32_MAX)
            group->first[which] = i;
        else
            side->next[group->last[which]] = i;
        group->last[which] = i;
        if (which == 0)
            group->many_count++;
        else
            group->one_count++;
    }
    return HK_OK;
}

static hk_err prepare(struct matching *matching) {
    struct eval *eval = matching->eval;
    const struct hk_promql_node *node = matching->node;
    uint32_t count = node->binary.label_count;
    struct hk_str *names = hk_arena_alloc_raw(eval->arena, (size_t)count + 1, sizeof(*names));
    if (names == NULL) return hk_ev_nomem(eval);
    if (count > 0) memcpy(names, node->binary.labels, count * sizeof(*names));
    HK_TRY(hk_ev_names_sort(eval, names, count, &matching->picked, &matching->picked_count));
    if (!node->binary.on) names[count++] = HK_STR("__name__");
    HK_TRY(hk_ev_names_sort(eval, names, count, &matching->names, &matching->name_count));
    HK_TRY(group_side(matching, 0));
    return group_side(matching, 1);
}

/* Is there any point of the side at the step? */
static bool any_at(const struct side *side, uint32_t step) {
    for (uint32_t i = 0; i < side->table->count; i++) {
        if (!is_absent(side->table->columns[i].values[step])) return true;
    }
    return false;
}

static hk_err
fail_many(struct matching *matching, const struct column *later, const struct column *former) {
    struct eval *eval = matching->eval;
    struct hk_labels matched;
    HK_TRY(hk_ev_pick(
        eval, later->labels, matching->names, matching->name_count, matching->node->binary.on,
        &matched));
    struct hk_buf buf;
    hk_buf_init(&buf, 2048);
    hk_buf_text(&buf, "found duplicate series for the match group ");
    hk_ev_print_labels(matched, &buf);
    hk_buf_printf(
        &buf, " on the %s hand-side of the operation: [", matching->swapped ? "left" : "right");
    hk_ev_print_labels(later->labels, &buf);
    hk_buf_text(&buf, ", ");
    hk_ev_print_labels(former->labels, &buf);
    hk_buf_text(
        &buf, "];many-to-many matching not allowed: matching labels must be unique on one side");
    hk_err err = hk_fail(HK_E_EXECUTION, "%.*s", HK_STR_ARG(hk_buf_get(&buf)));
    hk_buf_deinit(&buf);
    return err;
}

/* Each match group may have one series of the one side at a step. */
static hk_err check_one_side(struct matching *matching) {
    const struct side *one = &matching->sides[1];
    uint32_t steps = matching->out->frame.count;
    for (uint32_t g = 0; g < matching->group_count; g++) {
        const struct match_group *group = &matching->groups[g];
        if (group->one_count < 2) continue;
        HK_TRY(hk_ev_poll(matching->eval));
        for (uint32_t s = 0; s < steps; s++) {
            const struct column *former = NULL;
            for (uint32_t i = group->first[1]; i != UINT32_MAX; i = one->next[i]) {
                const struct column *column = &one->table->columns[i];
                if (is_absent(column->values[s])) continue;
                if (former != NULL && any_at(&matching->sides[0], s))
                    return fail_many(matching, column, former);
                former = column;
            }
        }
    }
    return HK_OK;
}

/* The labels of a result of these two series. */
static hk_err result_labels(
    struct matching *matching, struct hk_labels many, struct hk_labels one, struct hk_labels *out) {
    struct eval *eval = matching->eval;
    const struct hk_promql_node *node = matching->node;
    struct name_drop drop = { 0 };
    *out = many;
    if (changes_meaning(node->binary.op)) HK_TRY(hk_ev_drop_name(eval, *out, &drop, out));
    if (node->binary.card == HK_PROMQL_ONE_TO_ONE) {
        HK_TRY(
            hk_ev_pick(eval, *out, matching->picked, matching->picked_count, node->binary.on, out));
    }
    if (node->binary.include_count > 0) {
        hk_label_set_clear(&eval->set);
        for (uint32_t i = 0; i < out->count; i++)
            hk_label_set_add(&eval->set, out->items[i].name, out->items[i].value);
        for (uint32_t i = 0; i < node->binary.include_count; i++) {
            struct hk_str name = node->binary.include[i];
            hk_label_set_put(&eval->set, name, hk_labels_get(one, name));
        }
        HK_TRY(hk_ev_labels(eval, &eval->set, out));
    }
    return node->binary.return_bool ? hk_ev_drop_name(eval, *out, &drop, out) : HK_OK;
}

/* The output series of these labels. */
static hk_err
output_of(struct matching *matching, struct hk_labels labels, uint32_t group, struct output **out) {
    struct eval *eval = matching->eval;
    uint32_t number = 0;
    bool is_new = false;
    HK_TRY(hk_ev_map(
        eval, &matching->out_map, hk_labels_hash(labels), matching->out_count, &number, &is_new));
    if (is_new && number == matching->out_capacity) {
        uint32_t wanted = matching->out_capacity == 0 ? 64 : matching->out_capacity * 2;
        struct output *bigger = hk_arena_alloc_raw(eval->arena, wanted, sizeof(*bigger));
        if (bigger == NULL) return hk_ev_nomem(eval);
        if (number > 0) memcpy(bigger, matching->outs, number * sizeof(*bigger));
        matching->outs = bigger;
        matching->out_capacity = wanted;
    }
    *out = &matching->outs[number];
    if (!is_new) return HK_OK;
    HK_TRY(hk_ev_column(eval, matching->out->frame.count, false, &(*out)->column));
    (*out)->column.labels = labels;
    (*out)->group = group;
    matching->out_count++;
    return HK_OK;
}

static hk_err
fail_multiple(const struct matching *matching, const struct output *output, uint32_t group) {
    if (matching->node->binary.card == HK_PROMQL_ONE_TO_ONE && output->group == group) {
        return hk_fail(
            HK_E_EXECUTION, "multiple matches for labels: many-to-one matching must be explicit "
                            "(group_left/group_right)");
    }
    if (output->group != group) return hk_ev_fail_same_labels();
    return hk_fail(
        HK_E_EXECUTION, "multiple matches for labels: grouping labels must ensure unique matches");
}

/* One to one, several series on the left: a step may have one result in the group. */
static hk_err mark_matched(struct matching *matching, struct match_group *group, uint32_t step) {
    if (matching->node->binary.card != HK_PROMQL_ONE_TO_ONE || group->many_count < 2) return HK_OK;
    if (group->matched == NULL) {
        group->matched =
            hk_arena_alloc(matching->eval->arena, matching->out->frame.count, sizeof(bool));
        if (group->matched == NULL) return hk_ev_nomem(matching->eval);
    }
    if (group->matched[step]) {
        return hk_fail(
            HK_E_EXECUTION, "multiple matches for labels: many-to-one matching must be explicit "
                            "(group_left/group_right)");
    }
    group->matched[step] = true;
    return HK_OK;
}

static hk_err combine_pair(
    struct matching *matching, uint32_t number, const struct column *many,
    const struct column *one) {
    struct eval *eval = matching->eval;
    const struct hk_promql_node *node = matching->node;
    uint32_t steps = matching->out->frame.count;
    struct output *output = NULL;
    for (uint32_t s = 0; s < steps; s++) {
        if (is_absent(many->values[s]) || is_absent(one->values[s])) continue;
        struct point left = { many->values[s], column_histogram(many, s) };
        struct point right = { one->values[s], column_histogram(one, s) };
        struct point result;
        enum outcome outcome = OUTCOME_DROP;
        HK_TRY(combine(
            eval, node, matching->swapped ? &right : &left, matching->swapped ? &left : &right,
            &result, &outcome));
        apply_bool(node, &result, &outcome);
        if (outcome != OUTCOME_KEEP) continue;
        if (output == NULL) {
            struct hk_labels labels;
            HK_TRY(result_labels(matching, many->labels, one->labels, &labels));
            HK_TRY(output_of(matching, labels, number, &output));
        }
        HK_TRY(mark_matched(matching, &matching->groups[number], s));
        if (!is_absent(output->column.values[s])) return fail_multiple(matching, output, number);
        HK_TRY(hk_ev_put(eval, &output->column, steps, s, result.value, result.histogram));
    }
    return HK_OK;
}

static hk_err add_outputs(struct matching *matching) {
    for (uint32_t i = 0; i < matching->out_count; i++)
        HK_TRY(hk_ev_add(matching->eval, matching->out, &matching->outs[i].column));
    return HK_OK;
}

static hk_err vector_vector(struct matching *matching) {
    const struct side *many = &matching->sides[0];
    const struct side *one = &matching->sides[1];
    HK_TRY(check_one_side(matching));
    for (uint32_t i = 0; i < many->table->count; i++) {
        uint32_t number = many->group_of[i];
        HK_TRY(hk_ev_poll(matching->eval));
        for (uint32_t k = matching->groups[number].first[1]; k != UINT32_MAX; k = one->next[k]) {
            HK_TRY(
                combine_pair(matching, number, &many->table->columns[i], &one->table->columns[k]));
        }
    }
    return add_outputs(matching);
}

/* Has the group a point of the side at each step? NULL in `present`: at none. */
static hk_err
side_present(struct matching *matching, uint32_t number, int which, bool *present, bool *out_any) {
    const struct side *side = &matching->sides[which];
    uint32_t steps = matching->out->frame.count;
    *out_any = false;
    memset(present, 0, steps * sizeof(bool));
    for (uint32_t i = matching->groups[number].first[which]; i != UINT32_MAX; i = side->next[i]) {
        *out_any = true;
        for (uint32_t s = 0; s < steps; s++)
            present[s] = present[s] || !is_absent(side->table->columns[i].values[s]);
    }
    return hk_ev_poll(matching->eval);
}

/* Takes the points of a column over into the result where `present` is (or is not) set. */
static hk_err
take_points(struct matching *matching, const struct column *from, const bool *present, bool want) {
    uint32_t steps = matching->out->frame.count;
    struct output *output = NULL;
    for (uint32_t s = 0; s < steps; s++) {
        if (is_absent(from->values[s]) || present[s] != want) continue;
        if (output == NULL) HK_TRY(output_of(matching, from->labels, 0, &output));
        if (!is_absent(output->column.values[s])) return hk_ev_fail_same_labels();
        HK_TRY(hk_ev_put(
            matching->eval, &output->column, steps, s, from->values[s], column_histogram(from, s)));
    }
    return HK_OK;
}

/* The points of one side where its group has (or has not) a point on the other side. */
static hk_err take_side(struct matching *matching, int which, bool *present, bool want) {
    const struct side *side = &matching->sides[which];
    uint32_t known = UINT32_MAX;
    bool any = false;
    for (uint32_t i = 0; i < side->table->count; i++) {
        if (side->group_of[i] != known) {
            known = side->group_of[i];
            HK_TRY(side_present(matching, known, 1 - which, present, &any));
        }
        if (!any && want) continue;
        HK_TRY(take_points(matching, &side->table->columns[i], present, want));
    }
    return HK_OK;
}

static hk_err set_operation(struct matching *matching) {
    enum hk_promql_op op = matching->node->binary.op;
    uint32_t steps = matching->out->frame.count;
    bool *present = hk_arena_alloc(matching->eval->arena, steps, sizeof(bool));
    if (present == NULL) return hk_ev_nomem(matching->eval);
    if (op == HK_PROMQL_OR) {
        for (uint32_t i = 0; i < matching->sides[0].table->count; i++)
            HK_TRY(take_points(matching, &matching->sides[0].table->columns[i], present, false));
        HK_TRY(take_side(matching, 1, present, false));
    } else {
        HK_TRY(take_side(matching, 0, present, op == HK_PROMQL_AND));
    }
    return add_outputs(matching);
}

hk_err hk_ev_binary(struct eval *eval, const struct hk_promql_node *node, struct table *out) {
    const struct hk_promql_node *left = node->children[0];
    const struct hk_promql_node *right = node->children[1];
    if (left->type == HK_PROMQL_SCALAR && right->type == HK_PROMQL_SCALAR)
        return scalar_scalar(eval, node, out);
    if (!node->binary.matching) return vector_scalar(eval, node, out);
    bool swapped = node->binary.card == HK_PROMQL_ONE_TO_MANY;
    struct matching matching = { .eval = eval, .node = node, .out = out, .swapped = swapped };
    matching.sides[0].table = &eval->tables[(swapped ? right : left)->id];
    matching.sides[1].table = &eval->tables[(swapped ? left : right)->id];
    HK_TRY(prepare(&matching));
    return node->binary.card == HK_PROMQL_MANY_TO_MANY ? set_operation(&matching)
                                                       : vector_vector(&matching);
}
