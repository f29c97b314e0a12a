/* Warnings and infos: each text once, a bounded number. */
#include "lang/text.h"
#include "query/eval_internal.h"

#include <stdarg.h>
#include <stdio.h>

static void
add(struct eval *eval, const struct hk_promql_node *node, bool info, struct hk_str text) {
    /* Newest first: the same one often comes again. */
    for (uint32_t i = eval->annotation_count; i-- > 0;) {
        if (eval->annotations[i].info == info && hk_str_eq(eval->annotations[i].text, text)) {
            eval->annotations[i].at = node->from;
            return;
        }
    }
    if (eval->annotation_count == eval->annotation_capacity) {
        uint32_t wanted = eval->annotation_capacity == 0 ? 16 : eval->annotation_capacity * 2;
        if (wanted > ANNOTATIONS_MAX * 2) return;
        struct annotation *bigger = hk_arena_alloc_raw(eval->arena, wanted, sizeof(*bigger));
        if (bigger == NULL) return;
        if (eval->annotation_count > 0)
            memcpy(bigger, eval->annotations, eval->annotation_count * sizeof(*bigger));
        eval->annotations = bigger;
        eval->annotation_capacity = wanted;
    }
    struct hk_str copy = hk_arena_str(eval->arena, text);
    if (copy.ptr == NULL) return;
    eval->annotations[eval->annotation_count++] = (struct annotation){ copy, node->from, info };
}

static void HK_PRINTF(4, 0) add_formatted(
    struct eval *eval, const struct hk_promql_node *node, bool info, const char *format,
    va_list args) HK_PRINTF(4, 0);

static void add_formatted(
    struct eval *eval, const struct hk_promql_node *node, bool info, const char *format,
    va_list args) {
    char text[1024];
    int len = vsnprintf(text, sizeof(text), format, args);
    if (len < 0) return;
    if ((size_t)len >= sizeof(text)) len = (int)sizeof(text) - 1;
    add(eval, node, info, (struct hk_str){ text, (size_t)len });
}

void hk_ev_warn(struct eval *eval, const struct hk_promql_node *node, const char *format, ...) {
    va_list args;
    va_start(args, format);
    add_formatted(eval, node, false, format, args);
    va_end(args);
}

void hk_ev_info(struct eval *eval, const struct hk_promql_node *node, const char *format, ...) {
    va_list args;
    va_start(args, format);
    add_formatted(eval, node, true, format, args);
    va_end(args);
}

static void add_metric(
    struct eval *eval, const struct hk_promql_node *node, bool info, const char *text,
    struct hk_str metric) {
    struct hk_buf buf;
    hk_buf_init(&buf, 16384);
    hk_buf_text(&buf, text);
    hk_buf_char(&buf, ' ');
    hk_quote(metric, &buf);
    add(eval, node, info, hk_buf_get(&buf));
    hk_buf_deinit(&buf);
}

void hk_ev_warn_metric(
    struct eval *eval, const struct hk_promql_node *node, const char *text, struct hk_str metric) {
    add_metric(eval, node, false, text, metric);
}

void hk_ev_info_metric(
    struct eval *eval, const struct hk_promql_node *node, const char *text, struct hk_str metric) {
    add_metric(eval, node, true, text, metric);
}

static hk_err
show(struct eval *eval, bool info, const struct hk_str **out_texts, uint32_t *out_count) {
    struct hk_str *texts =
        hk_arena_alloc(eval->arena, ANNOTATIONS_SHOWN + 1, sizeof(struct hk_str));
    if (texts == NULL) return hk_ev_nomem(eval);
    uint32_t count = 0;
    uint32_t omitted = 0;
    for (uint32_t i = 0; i < eval->annotation_count; i++) {
        const struct annotation *from = &eval->annotations[i];
        if (from->info != info) continue;
        if (count == ANNOTATIONS_SHOWN) {
            omitted++;
            continue;
        }
        struct hk_buf at;
        hk_buf_init(&at, 64);
        hk_promql_position(eval->promql->text, from->at, &at);
        texts[count++] = hk_arena_printf(
            eval->arena, "PromQL %s: %.*s (%.*s)", info ? "info" : "warning",
            HK_STR_ARG(from->text), HK_STR_ARG(hk_buf_get(&at)));
        hk_buf_deinit(&at);
    }
    if (omitted > 0) {
        texts[count++] = hk_arena_printf(
            eval->arena, "%u more %s annotations omitted", omitted, info ? "info" : "warning");
    }
    *out_texts = texts;
    *out_count = count;
    return HK_OK;
}

hk_err hk_ev_annotations(struct eval *eval, struct hk_query_result *out) {
    HK_TRY(show(eval, false, &out->warnings, &out->warning_count));
    return show(eval, true, &out->infos, &out->info_count);
}
