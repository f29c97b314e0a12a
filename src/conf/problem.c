/* Collects, sorts and prints problems; finds the nearest name. */
#include "conf/problem.h"

#include <stdlib.h>

enum {
    REPORT_BYTES_MAX = 8 << 20,
    NAME_BYTES_MAX = 64, /* longer names are not compared */
};

void hk_conf_report_init(struct hk_conf_report *report) {
    *report = (struct hk_conf_report){ 0 };
    hk_arena_init(&report->arena, REPORT_BYTES_MAX);
}

void hk_conf_report_deinit(struct hk_conf_report *report) {
    hk_arena_deinit(&report->arena);
    *report = (struct hk_conf_report){ 0 };
}

void hk_conf_report_add(struct hk_conf_report *report, const struct hk_conf_problem *problem) {
    if (problem->warning) {
        report->warning_count++;
    } else {
        report->error_count++;
    }
    if (report->items == NULL) {
        report->items =
            hk_arena_alloc(&report->arena, HK_CONF_PROBLEMS_MAX, sizeof(*report->items));
    }
    struct hk_conf_problem copy = *problem;
    copy.file = hk_arena_str(&report->arena, problem->file);
    copy.text = hk_arena_str(&report->arena, problem->text);
    copy.mend = hk_arena_str(&report->arena, problem->mend);
    if (report->items == NULL || copy.file.ptr == NULL || copy.text.ptr == NULL ||
        copy.mend.ptr == NULL) {
        report->out_of_memory = true;
        return;
    }
    if (report->count < HK_CONF_PROBLEMS_MAX) {
        report->items[report->count++] = copy;
        return;
    }
    /* Full: an error takes the place of the last warning, so that errors are never hidden. */
    for (uint32_t i = report->count; i > 0 && !copy.warning; i--) {
        if (!report->items[i - 1].warning) continue;
        report->items[i - 1] = copy;
        return;
    }
}

/* Files keep the order in which they first appear: `rank` is found by a scan of at most 200. */
struct sortable {
    struct hk_conf_problem problem;
    uint32_t rank, order;
};

static int compare(const void *a, const void *b) {
    const struct sortable *x = a;
    const struct sortable *y = b;
    if (x->rank != y->rank) return x->rank < y->rank ? -1 : 1;
    if (x->problem.line != y->problem.line) return x->problem.line < y->problem.line ? -1 : 1;
    if (x->problem.column != y->problem.column) {
        return x->problem.column < y->problem.column ? -1 : 1;
    }
    return x->order < y->order ? -1 : 1;
}

void hk_conf_report_sort(struct hk_conf_report *report) {
    if (report->count < 2) return;
    struct sortable *list = hk_arena_alloc(&report->arena, report->count, sizeof(*list));
    if (list == NULL) return;
    for (uint32_t i = 0; i < report->count; i++) {
        list[i] = (struct sortable){ report->items[i], i, i };
        for (uint32_t k = 0; k < i; k++) {
            if (!hk_str_eq(report->items[k].file, report->items[i].file)) continue;
            list[i].rank = k;
            break;
        }
    }
    qsort(list, report->count, sizeof(*list), compare);
    for (uint32_t i = 0; i < report->count; i++)
        report->items[i] = list[i].problem;
}

/* Control characters would let a configuration write to the reader's terminal. */
static void print_clean(struct hk_buf *out, struct hk_str text) {
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        if (c >= 0x20 && c != 0x7f) {
            hk_buf_char(out, (char)c);
        } else {
            hk_buf_printf(out, "\\x%02x", c);
        }
    }
}

void hk_conf_report_print(const struct hk_conf_report *report, struct hk_buf *out) {
    for (uint32_t i = 0; i < report->count; i++) {
        const struct hk_conf_problem *problem = &report->items[i];
        print_clean(out, problem->file);
        if (problem->line > 0) hk_buf_printf(out, ":%u:%u", problem->line, problem->column);
        hk_buf_text(out, problem->warning ? ": warning: " : ": error: ");
        print_clean(out, problem->text);
        if (problem->mend.len > 0) {
            hk_buf_text(out, "; mend: ");
            print_clean(out, problem->mend);
        }
        hk_buf_char(out, '\n');
    }
    uint32_t hidden = report->error_count + report->warning_count - report->count;
    if (hidden > 0) {
        hk_buf_printf(out, "… and %u more (the first %u are shown)\n", hidden, report->count);
    }
}

/*
 * Edit distance with swaps of neighbours ("optimal string alignment"), three rows of the matrix.
 * Both names are at most NAME_BYTES_MAX long.
 */
static size_t distance(struct hk_str a, struct hk_str b) {
    size_t rows[3][NAME_BYTES_MAX + 1];
    for (size_t k = 0; k <= b.len; k++)
        rows[0][k] = k;
    for (size_t i = 1; i <= a.len; i++) {
        size_t *row = rows[i % 3];
        const size_t *above = rows[(i + 2) % 3];
        const size_t *above2 = rows[(i + 1) % 3];
        row[0] = i;
        for (size_t k = 1; k <= b.len; k++) {
            size_t best = above[k - 1] + (a.ptr[i - 1] != b.ptr[k - 1]);
            if (above[k] + 1 < best) best = above[k] + 1;
            if (row[k - 1] + 1 < best) best = row[k - 1] + 1;
            bool swap =
                i > 1 && k > 1 && a.ptr[i - 1] == b.ptr[k - 2] && a.ptr[i - 2] == b.ptr[k - 1];
            if (swap && above2[k - 2] + 1 < best) best = above2[k - 2] + 1;
            row[k] = best;
        }
    }
    return rows[a.len % 3][b.len];
}

struct hk_str hk_nearest_name(struct hk_str name, const struct hk_str *names, size_t count) {
    struct hk_str found = { "", 0 };
    if (name.len == 0 || name.len > NAME_BYTES_MAX) return found;
    size_t best = name.len / 3 + 1; /* farther is no likely slip */
    for (size_t i = 0; i < count; i++) {
        if (names[i].len == 0 || names[i].len > NAME_BYTES_MAX) continue;
        size_t d = distance(name, names[i]);
        if (d > best || (d == best && found.len > 0) || d >= names[i].len) continue;
        best = d;
        found = names[i];
    }
    return found;
}
